package adapter

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"strconv"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/alexedwards/scs/v2"
)

// data is the values of a session while the handler runs. scs holds them, in the
// request's context, so that all of its data methods work on them; this file is the
// only one that knows how it is made to. scs has no hooks, but asks its Store and its
// Codec for everything: data gives each request a SessionManager with hook as both. The
// request's context has its data under the Manager's own key too.
type data struct {
	scs scs.SessionManager
	ctx context.Context // holds the values under the engine's key, and nothing else

	// On the way into scs, and out of it.
	values   map[string]any
	deadline time.Time
	given    time.Time // the deadline that scs was last given: another one is a handler's
	look     func(deadline time.Time, values map[string]any)
}

// forever stands for "no absolute lifetime" where scs wants a deadline. One that is
// this far away is not stored.
const forever = 100 * 365 * 24 * time.Hour

// loaded is the token that scs has for each session. Nothing reads it.
const loaded = "loaded"

// engineOf returns the SessionManager whose copies hold the data. Its key in a context is
// the empty text, which costs no allocation each time that scs asks for it.
func engineOf(lifetime time.Duration) scs.SessionManager {
	if lifetime == 0 {
		lifetime = forever
	}
	// With IdleTimeout scs would mark every session that was loaded as modified.
	return scs.SessionManager{Lifetime: lifetime}
}

// keyOf returns the key that a SessionManager's data has in a context.
func keyOf(sm *scs.SessionManager) any {
	n := &keyNoter{Context: context.Background()}
	_, _ = sm.Load(n, "") // a new session's, which needs no store
	return n.key
}

// keyNoter is a context that notes what it is asked for.
type keyNoter struct {
	context.Context
	key any
}

// Value implements context.Context.
func (n *keyNoter) Value(key any) any {
	n.key = key
	return nil
}

// begin takes the values over. The map is scs's from then on.
func (d *data) begin(engine *scs.SessionManager, deadline time.Time, values map[string]any) error {
	d.scs = *engine
	d.scs.Store, d.scs.Codec = (*hook)(d), (*hook)(d)
	d.values, d.deadline, d.given = values, d.shown(deadline), deadline
	// In a context that has the values of another session of the Manager, such as the
	// request's in Iterate, scs would go on with those.
	ctx, err := d.scs.Load(context.Background(), loaded)
	d.ctx, d.values = ctx, nil
	return err
}

// shown is a session's deadline as scs has it.
func (d *data) shown(deadline time.Time) time.Time {
	if deadline.IsZero() {
		return time.Now().Add(d.scs.Lifetime).UTC()
	}
	return deadline
}

// status returns what has been done to the values since begin.
func (d *data) status() scs.Status { return d.scs.Status(d.ctx) }

// visit calls fn with the values, which do not change while it runs and are not fn's
// to keep. The deadline is zero if it is forever away.
func (d *data) visit(fn func(deadline time.Time, values map[string]any)) {
	d.look = fn
	_, _, _ = d.scs.Commit(d.ctx) // to hook, which never fails
	d.look = nil
}

// snapshot returns a copy of the map of values, and the deadline.
func (d *data) snapshot() (values map[string]any, deadline time.Time) {
	d.visit(func(at time.Time, live map[string]any) { values, deadline = maps.Clone(live), at })
	return values, deadline
}

// until returns the session's deadline, zero if it is forever away.
func (d *data) until() time.Time { return fromShown(d.scs.Deadline(d.ctx)) }

// fromShown undoes shown.
func fromShown(deadline time.Time) time.Time {
	if time.Until(deadline) > forever/2 {
		return time.Time{}
	}
	return deadline
}

// put sets a value, and remove removes one.
func (d *data) put(key string, v any) { d.scs.Put(d.ctx, key, v) }
func (d *data) remove(key string)     { d.scs.Remove(d.ctx, key) }
func (d *data) clear()                { _ = d.scs.Clear(d.ctx) }      // never fails
func (d *data) renew()                { _ = d.scs.RenewToken(d.ctx) } // to hook, which never fails
func (d *data) destroy()              { _ = d.scs.Destroy(d.ctx) }    // to hook, which never fails
func (d *data) get(key string) any    { return d.scs.Get(d.ctx, key) }
func (d *data) pop(key string) any    { return d.scs.Pop(d.ctx, key) }
func (d *data) has(key string) bool   { return d.scs.Exists(d.ctx, key) }
func (d *data) rememberMe() bool      { return d.scs.GetBool(d.ctx, rememberMeKey) }

// extend sets the deadline; zero is forever away.
func (d *data) extend(until time.Time) {
	d.given = until
	d.scs.SetDeadline(d.ctx, d.shown(until))
}

// rememberMeKey is where scs keeps what RememberMe was told.
const rememberMeKey = "__rememberMe"

// hook is what scs takes for the Store and the Codec of one request's data.
type hook data

func (h *hook) FindCtx(context.Context, string) ([]byte, bool, error) { return nil, true, nil }
func (h *hook) CommitCtx(context.Context, string, []byte, time.Time) error {
	return nil
}
func (h *hook) DeleteCtx(context.Context, string) error { return nil }

func (h *hook) Find(string) ([]byte, bool, error)      { return nil, true, nil }
func (h *hook) Commit(string, []byte, time.Time) error { return nil }
func (h *hook) Delete(string) error                    { return nil }

// Decode hands scs what begin was given.
func (h *hook) Decode([]byte) (time.Time, map[string]any, error) { return h.deadline, h.values, nil }

// Encode shows visit what scs holds. scs keeps it still meanwhile.
func (h *hook) Encode(deadline time.Time, values map[string]any) ([]byte, error) {
	if h.look != nil {
		h.look(fromShown(deadline), values)
	}
	return nil, nil
}

// errEmbedded is what the embedded SessionManager's own methods run into.
var errEmbedded = errors.New("adapter: this is the scs.SessionManager inside a Manager, whose own LoadAndSave, Load, Commit, RenewToken, " +
	"Destroy, MergeSession and Iterate know no signature and keep no guarantee; call the Manager's methods of the same name")

// detached is the Store of the embedded SessionManager: a call that goes around the
// Manager fails, where it would otherwise work on other sessions than the Manager.
type detached struct{}

func (*detached) FindCtx(context.Context, string) ([]byte, bool, error) {
	return nil, false, errEmbedded
}
func (*detached) CommitCtx(context.Context, string, []byte, time.Time) error { return errEmbedded }
func (*detached) DeleteCtx(context.Context, string) error                    { return errEmbedded }
func (*detached) AllCtx(context.Context) (map[string][]byte, error)          { return nil, errEmbedded }

func (*detached) Find(string) ([]byte, bool, error)      { return nil, false, errEmbedded }
func (*detached) Commit(string, []byte, time.Time) error { return errEmbedded }
func (*detached) Delete(string) error                    { return errEmbedded }

var managers atomic.Uint64

// newSessionManager is scs.New without its memory store, whose goroutine can't be
// stopped: each has a key of its own in a context, which only scs.New can give it.
// Should scs keep its key otherwise one day, it is scs.New.
func newSessionManager() *scs.SessionManager {
	sm := &scs.SessionManager{Codec: scs.GobCodec{}}
	key := reflect.ValueOf(sm).Elem().FieldByName("contextKey")
	if !key.IsValid() || key.Kind() != reflect.String {
		return scs.New()
	}
	*(*string)(unsafe.Pointer(key.UnsafeAddr())) = "samesid." + strconv.FormatUint(managers.Add(1), 10)
	return sm
}
