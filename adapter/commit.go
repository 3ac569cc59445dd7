package adapter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/internal/wire"
)

// writeTimeout bounds what the end of a request may take. It runs on a context
// of its own: a client that goes away does not lose its save.
const writeTimeout = 10 * time.Second

func (s *session) writeContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(s.ctx), writeTimeout)
}

// finish does what the end of a request does to the session, by the rules of
// express-session, and returns the Set-Cookie header's value, or "".
func (s *session) finish() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.headerSent = true
	defer func() { s.changedAge, s.changedEnd = false, false }() // what comes later is lost
	if s.skipped {
		return "", nil
	}

	status := s.engine.Status(s.ctx)
	switch {
	case status == scs.Destroyed:
		return s.clearedCookie(), nil
	case s.unset && s.cfg.Unset == UnsetKeep:
		return "", nil
	case s.unset:
		if err := s.remove(); err != nil {
			return "", err
		}
		return s.clearedCookie(), nil
	case s.gone:
		return "", nil
	}

	isNew := s.id == "" || s.id != s.cookieID
	cur, modified := s.view, s.renewed
	if status == scs.Modified || isNew && s.cfg.SaveUninitialized {
		var err error
		if cur, err = s.current(); err != nil {
			return "", err
		}
		if !modified {
			same, err := sameData(cur, s.loaded)
			if err != nil {
				return "", err
			}
			modified = !same
		}
	}

	save := !s.hasSaved
	switch {
	case isNew && !s.cfg.SaveUninitialized && !s.hasSaved:
		save = modified
	case s.hasSaved:
		same, err := sameData(cur, s.saved)
		if err != nil {
			return "", err
		}
		save = !same
	}
	switch {
	case save, s.stored && (s.changedAge || s.changedEnd):
		if err := s.write(cur); err != nil {
			return "", err
		}
	case s.stored:
		if err := s.slide(); err != nil {
			return "", err
		}
	}
	if s.gone {
		return "", nil
	}

	lasting := s.lasting()
	send := s.cfg.Rolling || s.isUnsigned || lasting && modified
	if isNew {
		send = s.cfg.SaveUninitialized || modified
	}
	if !send {
		return "", nil
	}
	if s.cookie.Secure && !s.isSecure() {
		s.m.plainHTTP.Do(func() {
			s.log(slog.LevelWarn, "the cookie is secure and this connection is not, so it is not sent (said once): "+
				"serve HTTPS, or set Options.Proxy to True behind a proxy that sets X-Forwarded-Proto")
		})
		return "", nil
	}
	return s.setCookie(lasting, time.Now()), nil
}

// write stores the session, if the store still has what this request knows. If
// someone else has changed it meanwhile, only what this request changed is put
// over it; if someone has ended it, nothing is written.
func (s *session) write(cur *snapshot) error {
	if err := s.needID(); err != nil {
		return err
	}
	ctx, cancel := s.writeContext()
	defer cancel()
	var t tries
	defer t.done()
	for {
		now := time.Now()
		end := s.end(now)
		data, err := s.merged(cur, now)
		if err != nil {
			return err
		}
		var old []byte
		if s.stored {
			old = s.base.bytes
		}
		if !end.After(now) {
			data = nil // a negative maxAge: the session is over
		}
		if data == nil && old == nil {
			return nil
		}
		if limit := s.cfg.MaxRecordSize; limit > 0 && len(data) > limit {
			return fmt.Errorf("%w: it has %d bytes, Options.MaxRecordSize is %d", ErrRecordTooLarge, len(data), limit)
		}
		current, swapped, err := s.cfg.store.swap(ctx, s.key(), old, data, end)
		switch {
		case err != nil:
			return storeError("save", err)
		case swapped, data != nil && bytes.Equal(current, data):
			// The second: a driver has run the statement again after its reply
			// was lost, and found what it had written.
			s.stored = data != nil
			s.base, s.view = s.snapshot(data), cur
			if data == nil {
				s.base, s.view = nil, nil
			}
			s.saved, s.hasSaved = cur, true
			s.expiry, s.touched = end, true
			s.changedAge, s.changedEnd = false, false
			return nil
		case current == nil:
			s.m.stats.droppedWrites.Add(1)
			s.ended("its changes were dropped")
			return nil
		case old == nil:
			return errors.New("session: save: there is a session with the id of this new one: GenID must never return an id twice")
		}
		s.m.stats.conflicts.Add(1)
		s.base = s.snapshot(current)
		if err := s.adoptBase(); err != nil {
			return err
		}
		if err := t.again(ctx, s); err != nil {
			return storeError("save", err)
		}
	}
}

// adoptBase takes over what another request has set beside the data.
func (s *session) adoptBase() error {
	r, err := s.base.decode()
	if err != nil {
		return storeError("save", err)
	}
	if !s.changedAge {
		s.adoptAge(r)
	}
	if !s.changedEnd {
		s.deadline = r.deadline
	}
	return nil
}

// merged is what to store for cur: what this request changed since view, put
// over what the store has.
func (s *session) merged(cur *snapshot, now time.Time) ([]byte, error) {
	if s.base == s.view && cur != s.view && (s.base == nil || !s.cfg.codec.verbatim()) {
		return cur.bytes, nil // nobody else has written, and nothing is to be kept to the byte
	}
	mine, err := cur.against(s.view)
	if err != nil {
		return nil, err
	}
	known, err := s.view.decode()
	if err != nil {
		return nil, err
	}
	theirs, err := s.base.decode()
	if err != nil {
		return nil, err
	}
	values := maps.Clone(theirs.unchanged())
	if values == nil {
		values = make(map[string]any, len(mine.values))
	}
	for k := range known.values {
		if _, ok := mine.values[k]; !ok {
			delete(values, k)
		}
	}
	for k, v := range mine.values {
		was, ok := known.values[k]
		if !ok || !equal(v, was) {
			values[k] = mine.unchanged()[k]
		}
	}
	return s.cfg.codec.encode(s.record(values, now))
}

const (
	freeTries = 4   // conflicts that a write meets before it gets in line
	hopeless  = 100 // conflicts after which it spares the store
)

// tries is how the writes of one session at the same time get out of each other's
// way: some at once, and then one after the other. Without the line, those that
// have just come would always be faster than those that wait to try again.
type tries struct {
	n     int
	leave func() // not nil in line
}

func (t *tries) done() {
	if t.leave != nil {
		t.leave()
	}
}

// again waits until the next try. The error is ctx's.
func (t *tries) again(ctx context.Context, s *session) (err error) {
	switch t.n++; {
	case t.n < freeTries:
		return ctx.Err()
	case t.leave == nil:
		t.leave, err = s.cfg.store.getInLine(ctx, s.key())
		return err
	case t.n < hopeless:
		// Others came between. A swap is faster than a request, so this one is
		// soon faster than they are.
		return ctx.Err()
	default:
		return pause(ctx)
	}
}

// pause waits for a moment.
func pause(ctx context.Context) error {
	t := time.NewTimer(rand.N(4 * time.Millisecond))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// slide moves the expiry of a session that was used and not saved.
func (s *session) slide() error {
	if s.touched || s.cfg.idle == 0 && s.cookie.OriginalMaxAge == nil {
		return nil
	}
	now := time.Now()
	end := s.end(now)
	if !s.expiry.IsZero() { // told by the store
		// Half of what is left at most, or a session in use could end.
		after := min(s.cfg.TouchAfter, end.Sub(now)/2)
		if moved := end.Sub(s.expiry); moved >= 0 && moved < after || !differs(end, s.expiry, now) {
			return nil
		}
	}
	ctx, cancel := s.writeContext()
	defer cancel()
	return s.moveExpiry(ctx, end)
}

func (s *session) moveExpiry(ctx context.Context, end time.Time) error {
	found, err := s.cfg.store.touch(ctx, s.key(), end)
	if err != nil {
		return storeError("touch", err)
	}
	if !found {
		s.ended("it is not touched")
		return nil
	}
	s.expiry, s.touched = end, true
	return nil
}

// ended notes that the session was ended while this request ran.
func (s *session) ended(consequence string) {
	s.gone, s.stored = true, false
	s.log(slog.LevelWarn, "the session was ended while this request ran: "+consequence)
}

// remove deletes the session from the store.
func (s *session) remove() error {
	if !s.stored {
		return nil
	}
	ctx, cancel := s.writeContext()
	defer cancel()
	if err := s.cfg.store.delete(ctx, s.key()); err != nil {
		return storeError("delete", err)
	}
	s.stored = false
	return nil
}

// take removes the session from the store as it is there now, for its data to
// go on under another id. false: it is gone.
func (s *session) take() (bool, error) {
	ctx, cancel := s.writeContext()
	defer cancel()
	var t tries
	defer t.done()
	for {
		current, swapped, err := s.cfg.store.swap(ctx, s.key(), s.base.bytes, nil, time.Time{})
		switch {
		case err != nil:
			return false, storeError("delete", err)
		case swapped:
			s.stored = false
			return true, nil
		case current == nil:
			return false, nil
		}
		s.base = s.snapshot(current)
		if err := s.adoptBase(); err != nil {
			return false, err
		}
		if err := t.again(ctx, s); err != nil {
			return false, storeError("delete", err)
		}
	}
}

// reset turns the session into a new one without data or id.
func (s *session) reset() error {
	// scs's own Destroy empties the data and RenewToken marks it as changed.
	if err := s.engine.Destroy(s.ctx); err != nil {
		return err
	}
	s.forget()
	s.renewed = true
	return nil
}

// forget drops what is known of a stored session.
func (s *session) forget() {
	s.id, s.storedKey, s.stored, s.gone, s.unset = "", "", false, false, false
	s.cookie, s.cookieSet, s.ownAge = wire.Cookie{}, false, false
	s.deadline, s.expiry, s.touched = time.Time{}, time.Time{}, false
	s.loaded, s.saved, s.view, s.base = nil, nil, nil, nil
	s.hasSaved, s.changedAge, s.changedEnd = false, false, false
}

// reportLost says in the log what was changed too late to be saved.
func (s *session) reportLost() {
	s.mu.Lock()
	defer s.mu.Unlock()
	modified := s.engine.Status(s.ctx) == scs.Modified
	if s.skipped || s.unset || s.gone || !modified && !s.changedAge {
		return
	}
	var err error
	if modified {
		s.noteDeadline(s.engine.Deadline(s.ctx))
		same := s.isStill(s.view)
		if !same {
			var cur *snapshot
			if cur, err = s.current(); err == nil {
				same, err = sameData(cur, s.view)
			}
		}
		if same && !s.changedAge && (!s.changedEnd || !s.stored) {
			return
		}
	}
	s.m.stats.lostChanges.Add(1)
	s.log(slog.LevelError, "a change made after the response had begun is lost: make it before the first byte, or call Save", "error", err)
}
