package adapter

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/samesid/samesid/backends/contract"
)

// Copied counts what CopyTo has done.
type Copied struct {
	Sessions int `json:"sessions"` // live sessions that were read
	Written  int `json:"written"`  // that were written, as they were missing or different
	Moved    int `json:"moved"`    // whose expiry alone was moved
	Ended    int `json:"ended"`    // that were deleted, as this store does not have them
	Refused  int `json:"refused"`  // that were left out: they can't be read, or the other store can't hold them
}

// Changes is how many sessions a pass found to be different.
func (c Copied) Changes() int { return c.Written + c.Moved + c.Ended }

// CopyTo gives the store of another Manager the sessions that this one's has, whatever
// their layouts: same ids, data, cookies and ends, so that nobody is logged out when the
// app goes over to it. A session that this store does not have is deleted there, so that a
// logout is one there too. In this store nothing is changed.
//
// It may be called again, and while this store is in use: then it writes what has changed
// since. A pass without Changes has compared all sessions, and found them equal. What
// changes behind a pass is seen by the next one, so the last one is made when no app
// writes to this store any more, and before one uses the other.
//
// A session that can't be read, or that the other store can't hold, is left out, and is in
// the log. An older copy of it is deleted: the app would take that for the session. The
// error is that of a store, or says why the ids of the two can't be the same. progress, if
// not nil, is called now and then, by one goroutine at a time.
//
// It needs memory for one page of sessions; if the keys are hashed on the way, for some 20
// bytes a session besides.
func (m *Manager) CopyTo(ctx context.Context, to *Manager, progress func(Copied)) (Copied, error) {
	c := &copying{from: m.cfg, to: to, progress: progress}
	if err := c.prepare(); err != nil {
		return Copied{}, err
	}
	if err := c.rehearse(ctx); err != nil {
		return Copied{}, err
	}
	err := c.each(ctx, c.from.store, c.write)
	if err == nil {
		err = c.each(ctx, c.to.cfg.store, c.end)
	}
	return c.done, err
}

// copying is a call of CopyTo.
type copying struct {
	from *config
	to   *Manager

	verbatim bool // records are the same in both
	// listed has the keys that were read, if they are hashed on the way; nil: they are
	// the same in both.
	listed map[uint64]bool
	seed   maphash.Seed

	mu       sync.Mutex // guards listed and what follows
	done     Copied
	progress func(Copied)
}

func (c *copying) prepare() error {
	to := c.to.cfg
	switch {
	case c.from.StoreKey == to.StoreKey, to.migrate:
	case !c.from.hash:
		c.listed, c.seed = map[uint64]bool{}, maphash.MakeSeed()
	default:
		return errors.New("adapter: CopyTo: this store has sessions under the hash of their ids, which can't be undone: " +
			"set the other's Options.StoreKey to the same, or to StoreKeyMigrating")
	}
	c.verbatim = sameCodec(c.from.Codec, to.Codec)
	return nil
}

// prefixer is a store whose records are all that begins with a prefix, in a place where there
// is more.
type prefixer interface{ Prefix() string }

// rehearse makes sure that the two stores have no records in common, and that the other one
// takes records, by one that nobody's cookie can name.
func (c *copying) rehearse(ctx context.Context) error {
	to := c.to.cfg
	key := "samesid-copy-" + rand.Text()[:19] // no longer than an id of Express
	seen := key                               // by the store that is read
	a, okA := contract.As[prefixer](c.from.Store)
	b, okB := contract.As[prefixer](to.Store)
	nested := okA && okB && a.Prefix() != b.Prefix()
	if nested {
		// Each of the two takes the keys of the longer prefix for its own.
		if rest, ok := strings.CutPrefix(b.Prefix(), a.Prefix()); ok {
			seen = rest + key
		} else if rest, ok := strings.CutPrefix(a.Prefix(), b.Prefix()); ok {
			key = rest + key
		}
	}
	expiry := time.Now().Add(time.Minute)
	s := &session{m: c.to, r: noRequest()}
	s.cookie.given = &Cookie{Path: "/"}
	record := s.record(map[string]any{}, time.Now())
	record.expiry = expiry
	data, err := to.codec.encode(record)
	if err != nil {
		return err
	}
	if _, _, err := to.store.swap(ctx, key, nil, data, expiry); err != nil {
		return storeError("save", err)
	}
	_, same, err := c.from.store.find(ctx, seen)
	if err = errors.Join(storeError("find", err), storeError("delete", to.store.delete(context.WithoutCancel(ctx), key))); err != nil {
		return err
	}
	switch {
	case same && nested:
		return fmt.Errorf("adapter: CopyTo: both stores are on one server, and one's prefix begins with the other's, so that each "+
			"has the other's sessions among its own: %q and %q; give the store that is copied to another prefix", a.Prefix(), b.Prefix())
	case same:
		return errors.New("adapter: CopyTo: both Managers have the same store")
	}
	return nil
}

// copiers is how many sessions are copied at a time: enough for calls to share commands.
const copiers = 64

// each calls fn for each record of a store, from several goroutines.
func (c *copying) each(ctx context.Context, store *guardedStore, fn func(ctx context.Context, token string, data []byte) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	records := make(chan contract.Record)
	var all sync.WaitGroup
	for range copiers {
		all.Go(func() {
			for r := range records {
				if err := fn(ctx, r.Token, r.Data); err != nil {
					cancel(err)
				}
			}
		})
	}
	err := store.each(ctx, func(token string, data []byte) error {
		select {
		case records <- contract.Record{Token: token, Data: data}:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	close(records)
	all.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// count changes the counts.
func (c *copying) count(change func(*Copied)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.done)
	if c.progress != nil {
		c.progress(c.done)
	}
}

// write gives the other store a session. What Range has read may be old by now.
func (c *copying) write(ctx context.Context, token string, data []byte) error {
	to, key := c.to.cfg, token
	if c.listed != nil {
		key = hashID(token)
	}
	for range copyTries {
		got, err := c.from.store.look(ctx, token)
		if err != nil || !got.ok {
			return storeError("find", err)
		}
		c.list(key)
		next, expiry, err := c.convert(got)
		if err != nil {
			return c.refuse(ctx, token, key, err)
		}
		if next == nil { // it has reached its deadline
			return c.drop(ctx, key)
		}
		there, err := to.store.look(ctx, key)
		if err != nil {
			return storeError("find", err)
		}
		same := there.ok && c.same(there.data, next)
		if same {
			next = there.data
		}
		if err := c.note(ctx, key, next, expiry); err != nil {
			return err
		}
		if same && (got.expiry.IsZero() || there.expiry.IsZero() || there.expiry.Sub(expiry).Abs() <= copyStep) {
			c.count(func(n *Copied) { n.Sessions++ })
			return nil
		}
		var old []byte
		if there.ok {
			old = there.data
		}
		_, swapped, err := to.store.swap(ctx, key, old, next, expiry)
		switch {
		case errors.Is(err, contract.ErrRejected):
			return c.refuse(ctx, token, key, err)
		case err != nil:
			return storeError("save", err)
		case swapped && same:
			c.count(func(n *Copied) { n.Sessions++; n.Moved++ })
			return nil
		case swapped:
			c.count(func(n *Copied) { n.Sessions++; n.Written++ })
			return nil
		}
	}
	// Somebody writes to it all the time: the next pass is to look again.
	c.count(func(n *Copied) { n.Sessions++; n.Written++ })
	return nil
}

const (
	copyTries = 3

	// copyStep is by what two readings of an expiry may differ: a layout rounds it to a
	// second, and a store that tells how much is left does so after a while.
	copyStep = 3 * time.Second
)

// look reads a record as it is, with its expiry if the store has a way to tell it.
func (g *guardedStore) look(ctx context.Context, token string) (got reading, err error) {
	if g.findExpirer != nil {
		got.data, got.expiry, got.ok, err = g.findExpirer.FindExpiry(ctx, token)
	} else {
		got.data, got.ok, err = g.find(ctx, token)
	}
	if got.ok && got.data == nil {
		got.data = []byte{}
	}
	return got, err
}

// convert returns a session as the other store is to have it; nil if it has ended.
func (c *copying) convert(got reading) (next []byte, expiry time.Time, err error) {
	now, to := time.Now(), c.to.cfg
	verbatim := c.verbatim && (!to.isJSON || isObject(got.data))
	if verbatim && !got.expiry.IsZero() {
		return got.data, got.expiry, nil
	}
	r, err := c.from.codec.decode(got.data)
	if err != nil {
		return nil, expiry, err
	}
	s := &session{m: c.to, r: noRequest(), mute: true}
	s.cookie.given = &Cookie{Path: "/"}
	if to.CookieFunc == nil {
		s.cookie.given = &to.Cookie
	}
	s.adoptBeside(&r)
	if expiry = got.expiry; expiry.IsZero() {
		// The store can't tell. It is not before this one.
		expiry = s.life.end(c.from.idle, now)
	}
	if !r.deadline.IsZero() && !now.Before(r.deadline) {
		return nil, expiry, nil
	}
	if verbatim {
		return got.data, expiry, nil
	}
	if to.isJSON {
		if r.values, err = encodeValues(r.values); err != nil {
			return nil, expiry, err
		}
	}
	stored := s.record(r.values, now)
	stored.expiry = expiry
	stored.noteSent = stored.noteSent && !s.life.sent.IsZero()
	if stored.cookie.OriginalMaxAge != nil && !stored.noteSent {
		stored.cookie.Expires = expiry
	}
	next, err = to.codec.encode(stored)
	return next, expiry, err
}

func isObject(data []byte) bool {
	data = bytes.TrimLeft(data, " \t\r\n")
	return len(data) > 0 && data[0] == '{'
}

// same reports whether two records of the other store are of the same session as it is now:
// bytes alone don't tell, as gob and jsonb have an order of their own.
func (c *copying) same(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	codec := c.to.cfg.codec
	if c.to.cfg.isJSON && isObject(a) != isObject(b) {
		return false // one is from before the change to JSON
	}
	ra, errA := codec.decodeVerbatim(a)
	rb, errB := codec.decodeVerbatim(b)
	if errA != nil || errB != nil || !sameBeside(&ra, &rb) {
		return false
	}
	same, err := (&version{codec: codec, data: a}).sameAs(&version{codec: codec, data: b})
	return same && err == nil
}

// sameBeside reports whether two records have the same beside their data.
func sameBeside(a, b *record) bool {
	age, other := a.cookie.OriginalMaxAge, b.cookie.OriginalMaxAge
	if (age == nil) != (other == nil) || age != nil && *age != *other || a.ownAge != b.ownAge || a.secure != b.secure || !a.deadline.Equal(b.deadline) {
		return false
	}
	// What is made of a store's expiry differs as that does.
	if a.cookie.Expires.Sub(b.cookie.Expires).Abs() > copyStep || a.sent.Sub(b.sent).Abs() > copyStep {
		return false
	}
	ca, cb := a.cookie, b.cookie
	ca.OriginalMaxAge, ca.Expires, cb.OriginalMaxAge, cb.Expires = nil, time.Time{}, nil, time.Time{}
	return ca == cb
}

// note has the other store find the session as one of its user.
func (c *copying) note(ctx context.Context, key string, data []byte, expiry time.Time) error {
	u := c.to.cfg.users
	if u == nil || u.looks {
		return nil
	}
	r, err := c.to.cfg.codec.decode(data)
	if err != nil {
		return nil //nolint:nilerr // it is nobody's that can be told
	}
	user, _ := u.of(r.values)
	return u.note(ctx, user, key, expiry, time.Now())
}

// refuse leaves a session out.
func (c *copying) refuse(ctx context.Context, token, key string, err error) error {
	c.from.Logger.Error("session: a session can't be copied and is left out", "error", err, "session", c.from.nameOf(token))
	c.count(func(n *Copied) { n.Sessions++; n.Refused++ })
	return c.drop(ctx, key)
}

// drop deletes what an earlier pass has copied of a session that is not to be there.
func (c *copying) drop(ctx context.Context, key string) error {
	data, there, err := c.to.cfg.store.find(ctx, key)
	if err != nil || !there {
		return storeError("find", err)
	}
	return c.delete(ctx, key, data, func() (bool, error) { return false, nil })
}

// end deletes a session of the other store that this one does not have.
func (c *copying) end(ctx context.Context, key string, data []byte) error {
	return c.delete(ctx, key, data, func() (bool, error) { return c.isThere(ctx, key) })
}

// delete deletes a record of the other store, unless it is to be kept.
func (c *copying) delete(ctx context.Context, key string, data []byte, keep func() (bool, error)) error {
	to := c.to.cfg.store
	for range copyTries {
		if kept, err := keep(); err != nil || kept {
			return err
		}
		current, swapped, err := to.swap(ctx, key, slices.Clip(data), nil, time.Time{})
		switch {
		case err != nil:
			return storeError("delete", err)
		case swapped:
			c.count(func(n *Copied) { n.Ended++ })
			return nil
		case current == nil:
			return nil
		}
		data = current
	}
	return errors.New("session: another program writes to the sessions of the store that is copied to")
}

// list notes that this store has the session of a key.
func (c *copying) list(key string) {
	if c.listed == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listed[maphash.String(c.seed, key)] = true
}

// isThere reports whether this store has the session of one of the other's keys.
func (c *copying) isThere(ctx context.Context, key string) (bool, error) {
	if c.listed != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.listed[maphash.String(c.seed, key)], nil
	}
	_, there, err := c.from.store.find(ctx, key)
	return there, storeError("find", err)
}
