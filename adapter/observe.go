package adapter

import (
	"bytes"
	"context"
	"errors"
	"path"
	"reflect"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/backends/contract"
)

// StoreCall is one call of the store, for Options.Observe. It has no session id, no user and
// nothing of what a session holds.
type StoreCall struct {
	// Op is the method: "find", "findtouch" (a read that slides the expiry), "findexpiry",
	// "swap" (compare-and-set), "touch" (a swap that moves the expiry alone), "move", "commit",
	// "delete" or "range"; of an index of users "noteuser", "forgetuser", "usertokens", "enduser" or "userended".
	Op string

	// Store names the kind of store by its package: "memory", "redis", "postgres", "sqlite",
	// or that of the app's own.
	Store string

	// Start and Duration are those of the call, with all that it has waited.
	Start    time.Time
	Duration time.Duration

	// Outcome is what came of it.
	Outcome Outcome

	// Err is the error of a failed call, and nil otherwise. Its text has no secret in it.
	Err error

	// Bytes is the size of the records that were read or written; 0 if there were none.
	Bytes int

	// Together is the number of calls that the command was for which answered this one: 1 if
	// it was for this one alone.
	Together int
}

// Outcome is what came of a call of the store.
type Outcome string

const (
	// OutcomeOK is a call that did what it was for.
	OutcomeOK Outcome = "ok"

	// OutcomeNone is a read that found no record.
	OutcomeNone Outcome = "none"

	// OutcomeConflict is a swap or move that found another record than it knew: the Manager
	// merges and tries again, or finds that the session has ended.
	OutcomeConflict Outcome = "conflict"

	// OutcomeCanceled is a call whose request was cancelled, such as by a client that has left.
	OutcomeCanceled Outcome = "canceled"

	// OutcomeRejected is a write of what the store can't hold (contract.ErrRejected), which is
	// the application's mistake.
	OutcomeRejected Outcome = "rejected"

	// OutcomeError is any other failure.
	OutcomeError Outcome = "error"
)

// observed is a store of which each call is reported.
type observed struct {
	guardedStore // whose calls are not
	report       func(context.Context, StoreCall)
	kind         string
}

// observe reports each call of g from then on.
func (g *guardedStore) observe(report func(context.Context, StoreCall)) *observed {
	o := &observed{guardedStore: *g, report: report, kind: kindOf(g.name)}
	g.ctxStore, g.ranger = o, o
	if g.findToucher != nil {
		g.findToucher = o
	}
	if g.findExpirer != nil {
		g.findExpirer = o
	}
	if g.swapper != nil {
		g.swapper = o
	}
	if g.mover != nil {
		g.mover = o
	}
	return o
}

// kindOf returns the last part of the path of a store's package.
func kindOf(store any) string {
	t := reflect.TypeOf(store)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return path.Base(t.PkgPath())
}

// call is a call that is under way.
type call struct {
	o   *observed
	ctx context.Context // the caller's
	StoreCall
}

// begin returns the context to make a call with.
func (o *observed) begin(ctx context.Context, op string) (context.Context, *call) {
	c := &call{o, ctx, StoreCall{Op: op, Store: o.kind, Start: time.Now(), Outcome: OutcomeOK, Together: 1}}
	return contract.NoteTogether(ctx, &c.Together), c
}

// end reports a call. otherwise is what came of it if it was not done.
func (c *call) end(done bool, otherwise Outcome, size int, err error) {
	c.Duration, c.Bytes, c.Err = time.Since(c.Start), size, err
	switch {
	case err != nil && errors.Is(c.ctx.Err(), context.Canceled):
		c.Outcome = OutcomeCanceled
	case errors.Is(err, contract.ErrRejected):
		c.Outcome = OutcomeRejected
	case err != nil:
		c.Outcome = OutcomeError
	case !done:
		c.Outcome = otherwise
	}
	c.o.report(c.ctx, c.StoreCall)
}

func (o *observed) FindCtx(ctx context.Context, token string) (data []byte, found bool, err error) {
	ctx, c := o.begin(ctx, "find")
	defer func() { c.end(found, OutcomeNone, len(data), err) }()
	return o.find(ctx, token)
}

func (o *observed) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) (err error) {
	ctx, c := o.begin(ctx, "commit")
	defer func() { c.end(true, "", len(data), err) }()
	return o.commit(ctx, token, data, expiry)
}

func (o *observed) DeleteCtx(ctx context.Context, token string) (err error) {
	ctx, c := o.begin(ctx, "delete")
	defer func() { c.end(true, "", 0, err) }()
	return o.deleteLocked(ctx, token)
}

func (o *observed) FindTouch(ctx context.Context, token string, expiry time.Time) (data []byte, found bool, err error) {
	ctx, c := o.begin(ctx, "findtouch")
	defer func() { c.end(found, OutcomeNone, len(data), err) }()
	return o.findToucher.FindTouch(ctx, token, expiry)
}

func (o *observed) FindExpiry(ctx context.Context, token string) (data []byte, expiry time.Time, found bool, err error) {
	ctx, c := o.begin(ctx, "findexpiry")
	defer func() { c.end(found, OutcomeNone, len(data), err) }()
	return o.findExpirer.FindExpiry(ctx, token)
}

func (o *observed) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) (current []byte, swapped bool, err error) {
	op, size := "swap", len(data)
	switch {
	case data == nil:
		op = "delete"
	case old != nil && bytes.Equal(old, data):
		op, size = "touch", 0
	}
	ctx, c := o.begin(ctx, op)
	defer func() { c.end(swapped, OutcomeConflict, size, err) }()
	return o.swapper.Swap(ctx, token, old, data, expiry)
}

func (o *observed) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) (current [][]byte, moved bool, err error) {
	ctx, c := o.begin(ctx, "move")
	defer func() { c.end(moved, OutcomeConflict, len(data), err) }()
	return o.mover.Move(ctx, from, to, data, expiry)
}

func (o *observed) Range(ctx context.Context, fn func(token string, data []byte) error) (err error) {
	size, stopped := 0, false // stopped: the error is fn's, and the store has not failed
	ctx, c := o.begin(ctx, "range")
	defer func() {
		failed := err
		if stopped {
			failed = nil
		}
		c.end(true, "", size, failed)
	}()
	return o.each(ctx, func(token string, data []byte) error {
		size += len(data)
		err := fn(token, data)
		stopped = err != nil
		return err
	})
}

// What only an scs.CtxStore has to have.

func (o *observed) Find(token string) ([]byte, bool, error) {
	return o.FindCtx(context.Background(), token)
}

func (o *observed) Commit(token string, data []byte, expiry time.Time) error {
	return o.CommitCtx(context.Background(), token, data, expiry)
}

func (o *observed) Delete(token string) error { return o.DeleteCtx(context.Background(), token) }

var _ scs.CtxStore = (*observed)(nil)

// observedUsers is an index of users of which each call is reported.
type observedUsers struct {
	contract.UserIndex
	o *observed
}

func (u *observedUsers) NoteUser(ctx context.Context, user, token string, ttl time.Duration) (err error) {
	ctx, c := u.o.begin(ctx, "noteuser")
	defer func() { c.end(true, "", 0, err) }()
	return u.UserIndex.NoteUser(ctx, user, token, ttl)
}

func (u *observedUsers) ForgetUser(ctx context.Context, user, token string, age time.Duration) (err error) {
	ctx, c := u.o.begin(ctx, "forgetuser")
	defer func() { c.end(true, "", 0, err) }()
	return u.UserIndex.ForgetUser(ctx, user, token, age)
}

func (u *observedUsers) UserTokens(ctx context.Context, user string) (tokens []string, err error) {
	ctx, c := u.o.begin(ctx, "usertokens")
	defer func() { c.end(true, "", 0, err) }()
	return u.UserIndex.UserTokens(ctx, user)
}

func (u *observedUsers) EndUser(ctx context.Context, user string, ttl time.Duration) (at time.Time, err error) {
	ctx, c := u.o.begin(ctx, "enduser")
	defer func() { c.end(true, "", 0, err) }()
	return u.UserIndex.EndUser(ctx, user, ttl)
}

func (u *observedUsers) UserEnded(ctx context.Context, user string) (at time.Time, ago time.Duration, err error) {
	ctx, c := u.o.begin(ctx, "userended")
	defer func() { c.end(true, "", 0, err) }()
	return u.UserIndex.UserEnded(ctx, user)
}
