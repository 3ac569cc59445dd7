package adapter

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/samesid/samesid/backends/contract"
)

// writeTimeout bounds what the end of a request may take. It runs on a context
// of its own: a client that goes away does not lose its save.
const writeTimeout = 10 * time.Second

func (s *session) writeContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(s.scope.Context), writeTimeout)
}

// attempt is a write whose reply was lost, so that it may have been done.
type attempt struct {
	from    []contract.Record
	key     string
	private bool // nobody else can have written under the key
	data    []byte
	version *version // nil: of a session that Regenerate has ended since
}

// write stores the session, if the store still has what this request knows. If
// someone else has changed it meanwhile, only what this request changed is put
// over it; if someone has ended it, nothing is written.
//
// A new id, the hash of an id and the sessions that were merged into this one take
// effect in the same step, so that whatever fails leaves the store as it was.
func (s *session) write(cur *version) error {
	if err := s.need(s.m.cfg, s.r); err != nil {
		return err
	}
	s.needCookie()
	ctx, cancel := s.writeContext()
	defer cancel()
	var b backoff
	defer b.done()
	for {
		now := time.Now()
		end := s.life.end(s.m.cfg.idle, now)
		data, err := s.merge(cur, now)
		if err != nil {
			return err
		}
		if !end.After(now) {
			data = nil // a negative maxAge: the session is over
		}
		if limit := s.m.cfg.MaxRecordSize; limit > 0 && len(data) > limit {
			return fmt.Errorf("%w: it has %d bytes, Options.MaxRecordSize is %d", ErrRecordTooLarge, len(data), limit)
		}
		var held []byte
		if s.exists() {
			held = s.stored.data
		}
		from, to := s.records(held), s.key(s.m.cfg)
		if data == nil && len(from) == 0 {
			return nil
		}
		moves := len(from) > 1 || len(from) == 1 && from[0].Token != to
		if moves {
			defer s.m.moves.begin()()
		}
		current, done, err := s.m.cfg.store.replace(ctx, from, to, data, end)
		if err != nil {
			s.tried = append(s.tried, &attempt{from, to, s.random, data, cur})
			if moves {
				s.m.moves.failed.Add(1)
			}
			return storeError("save", err)
		}
		// A driver has perhaps run the statement again after its reply was lost, and
		// found what it had written.
		if done || data != nil && len(current) == 1 && !moves && bytes.Equal(current[0], data) {
			s.wrote(cur, to, data, end)
			if moves && s.swept(to, data) {
				return s.sweepUp(ctx)
			}
			return nil
		}
		if cur, err = s.resolve(ctx, cur, to, current); err != nil || s.phase == ended {
			return err
		}
		if err := b.again(ctx, s); err != nil {
			return storeError("save", err)
		}
	}
}

// wrote notes that the store has data under the key to; nil for nothing.
func (s *session) wrote(cur *version, to string, data []byte, end time.Time) {
	s.at, s.fresh, s.merged, s.unsure = to, false, nil, unsure{}
	s.stored, s.base = s.version(data), cur
	if data == nil {
		s.at, s.base = "", nil
	}
	s.saved, s.written = true, true
	if !s.mute {
		s.life.sent = time.Now()
	}
	s.life.saved(end)
}

// merge returns what to store for cur: what this request changed since base, put
// over what the store has.
func (s *session) merge(cur *version, now time.Time) ([]byte, error) {
	theirs := s.stored
	if s.fresh {
		theirs = nil
	}
	if cur != nil && cur.data != nil && cur != s.base && s.base == theirs && len(s.perhaps) == 0 {
		return cur.data, nil // encoded already, and nobody else has written
	}
	values, err := cur.merge(s.base, theirs)
	for _, v := range s.perhaps {
		if err == nil {
			err = cur.putOver(values, v)
		}
	}
	if err != nil {
		return nil, err
	}
	data, err := s.m.cfg.codec.encode(s.record(values, now))
	if err != nil {
		return nil, fmt.Errorf("session: encode: %w", err)
	}
	return data, nil
}

// resolve takes over what the store has in place of what this request knows: current,
// for each of the session's records. It returns the data to write in place of cur. The
// session has ended if there is nothing to write.
func (s *session) resolve(ctx context.Context, cur *version, to string, current [][]byte) (*version, error) {
	if done, err := s.wasDone(ctx); err != nil || done {
		return cur, err
	}
	if !s.exists() && len(s.merged) == 0 {
		return nil, errTaken
	}
	known := true
	if s.exists() {
		there := current[0]
		current = current[1:]
		switch {
		case there == nil:
			known = false
			n := len(s.merged)
			if err := s.gone(ctx, to); err != nil || s.phase == ended || len(s.merged) < n {
				return cur, err
			}
		case !bytes.Equal(there, s.stored.data):
			known = false
			if err := s.adoptStored(s.at, there); err != nil {
				return cur, err
			}
		}
	}
	others := s.merged
	for i, there := range current {
		if i >= len(others) || bytes.Equal(there, others[i].Data) && there != nil {
			continue
		}
		known = false
		token, carried := others[i].Token, others[i].put != nil
		var err error
		if there == nil && s.m.cfg.migrate { // perhaps it was moved to the hash of its id
			token = hashID(token)
			if there, _, err = s.m.cfg.store.find(ctx, token); err != nil {
				return cur, storeError("save", err)
			}
		}
		if there == nil && carried {
			taken, err := s.tookOver(others[i])
			if err != nil {
				return cur, storeError("save", err)
			}
			if taken {
				s.merged = slices.DeleteFunc(slices.Clone(s.merged), func(m merged) bool { return m.Token == others[i].Token })
				continue
			}
		}
		var rec record
		if there != nil && carried {
			if rec, err = s.m.cfg.codec.decode(there); err != nil {
				return cur, storeError("save", err)
			}
		}
		changed, err := s.unmerge(others[i].Token, cur)
		if err != nil {
			return cur, storeError("save", err)
		}
		if there != nil && !carried { // Regenerate has dropped its values
			s.merged = append(s.merged, merged{Record: contract.Record{Token: token, Data: there}})
		} else if there != nil {
			maps.DeleteFunc(rec.values, func(k string, _ any) bool { return changed[k] })
			s.mergeIn(contract.Record{Token: token, Data: there}, rec.values)
		}
		if cur, err = s.current(); err != nil {
			return cur, err
		}
	}
	if known && s.at != to && !(s.m.cfg.migrate && to == hashID(s.at)) { // which another request is moving it to
		return cur, errTaken
	}
	return cur, nil
}

// tookOver reports whether a write whose reply was lost has put a merged session, which is
// gone, into what the store has.
func (s *session) tookOver(m merged) (bool, error) {
	if len(s.perhaps) == 0 {
		return false, nil
	}
	theirs, err := s.stored.record()
	if err != nil {
		return false, err
	}
	base, err := s.base.record()
	if err != nil {
		return false, err
	}
	other, err := s.version(m.Data).record()
	if err != nil {
		return false, err
	}
	for k := range m.put {
		v := plain(other.values[k])
		if equal(plain(theirs.values[k]), v) && !equal(plain(base.values[k]), v) {
			return true, nil
		}
	}
	return false, nil
}

// wasDone reports whether an earlier write, whose reply was lost, has been done after all,
// and goes on from it.
func (s *session) wasDone(ctx context.Context) (bool, error) {
	for _, t := range s.tried {
		if t.key == s.at {
			continue
		}
		data, there, err := s.m.cfg.store.find(ctx, t.key)
		if err != nil {
			return false, storeError("save", err)
		}
		if there && (t.private || bytes.Equal(data, t.data)) { // by GenID it may be another session's
			return true, s.adoptStored(t.key, data)
		}
	}
	return false, nil
}

// adoptStored takes over what the store has of the session, under a key.
func (s *session) adoptStored(at string, data []byte) error {
	s.m.stats.conflicts.Add(1)
	moved := at != s.at
	s.at, s.stored = at, s.version(data)
	s.settle(data, moved)
	r, err := s.stored.record()
	if err != nil {
		return storeError("save", err)
	}
	if !s.fresh {
		s.adoptBeside(r)
	}
	return nil
}

// settle finds out which of the writes that were tried under the session's key was done, by
// the data that the store has there.
func (s *session) settle(data []byte, moved bool) {
	var here, elsewhere []*attempt
	for _, t := range s.tried {
		switch {
		case t.key != s.at:
			elsewhere = append(elsewhere, t)
		case t.version != nil:
			here = append(here, t)
		}
	}
	s.tried = elsewhere
	for _, t := range here {
		if bytes.Equal(data, t.data) {
			s.wasWritten(t)
			return
		}
	}
	// One of them may have been done, and be changed by another request since.
	for i, t := range here {
		if i == 0 && moved && t.private { // one of them was
			s.wasWritten(t)
			continue
		}
		s.perhaps = append(s.perhaps, t.version)
	}
}

// wasWritten goes on from a write that has been done although its reply was lost: it is
// what this request's changes are relative to.
func (s *session) wasWritten(t *attempt) {
	others := s.merged
	s.base, s.perhaps, s.fresh, s.merged = t.version, nil, false, nil
	for _, r := range t.from { // perhaps it was done by halves
		if r.Token != s.at {
			s.merged = append(s.merged, merged{Record: r})
		}
	}
	for _, m := range others { // merged since
		if !slices.ContainsFunc(t.from, func(r contract.Record) bool { return r.Token == m.Token }) {
			s.merged = append(s.merged, m)
		}
	}
}

// gone is called when the session is not where this request knows it. It may have been
// moved to the key; if not, it has ended.
func (s *session) gone(ctx context.Context, to string) error {
	if hashed, err := s.followToHash(ctx); err != nil || hashed {
		return err
	}
	moving := s.at != to
	s.at, s.stored = "", nil
	switch {
	case s.fresh: // nothing of it was to be taken over
	case s.renewed && moving:
		// What was put since goes on under the new id, without what was there.
		s.base, s.perhaps = s.since, nil
		s.merged = slices.DeleteFunc(s.merged, func(m merged) bool { return m.renewed })
		s.m.stats.droppedWrites.Add(1)
		s.log(slog.LevelWarn, endedMeanwhile+"its data is not taken over", s.route()...)
	default:
		s.m.stats.droppedWrites.Add(1)
		s.markEnded(slog.LevelWarn, "its changes were dropped")
	}
	return nil
}

// followToHash goes on with a session that another request has moved to the hash of its id.
func (s *session) followToHash(ctx context.Context) (found bool, err error) {
	if !s.m.cfg.migrate {
		return false, nil
	}
	data, found, err := s.m.cfg.store.find(ctx, hashID(s.at))
	if err != nil || !found {
		return false, storeError("find", err)
	}
	if s.fixed != "" {
		s.fixed = hashID(s.at)
	}
	return true, s.adoptStored(hashID(s.at), data)
}

const endedMeanwhile = "the session was ended while this request ran: "

// markEnded notes that the session was ended while this request ran.
func (s *session) markEnded(level slog.Level, consequence string) {
	s.phase, s.at, s.stored = ended, "", nil
	s.log(level, endedMeanwhile+consequence, s.route()...)
}

// slide moves the expiry of a session that was used and not saved.
func (s *session) slide() error {
	cfg, now := s.m.cfg, time.Now()
	if !s.life.slides(cfg.idle) || !s.life.due(s.life.end(cfg.idle, now), now, cfg.TouchAfter) {
		return nil
	}
	ctx, cancel := s.writeContext()
	defer cancel()
	return s.moveExpiry(ctx)
}

// moveExpiry moves the store's expiry, if the store still has what this request knows: a
// change may have shortened the session's age. The session has ended if it is gone.
func (s *session) moveExpiry(ctx context.Context) error {
	var b backoff
	defer b.done()
	for {
		end := s.life.end(s.m.cfg.idle, time.Now())
		current, touched, err := s.m.cfg.store.swap(ctx, s.at, s.stored.data, s.stored.data, end)
		switch {
		case err != nil:
			return storeError("touch", err)
		case touched:
			s.life.expiry, s.life.touched = end, true
			return nil
		case current == nil:
			if done, err := s.wasDone(ctx); err != nil || done {
				if err != nil {
					return err
				}
				continue
			}
			if hashed, err := s.followToHash(ctx); err != nil {
				return err
			} else if hashed {
				continue
			}
			s.markEnded(slog.LevelInfo, "it is not touched") // nothing is lost
			return nil
		}
		if err := s.adoptStored(s.at, current); err != nil {
			return err
		}
		if err := b.again(ctx, s); err != nil {
			return storeError("touch", err)
		}
	}
}

// remove deletes the session, and those that it was to take over, from the store.
func (s *session) remove() error {
	if !s.exists() && len(s.merged) == 0 && len(s.tried) == 0 {
		return nil
	}
	ctx, cancel := s.writeContext()
	defer cancel()
	tokens := make([]string, 0, 3)
	if s.exists() {
		tokens = append(tokens, s.at)
		if s.m.cfg.migrate {
			// Another request may have moved it from its id to the hash, which may
			// be this one's key already. A session has no other keys.
			tokens = append(tokens, hashID(s.at))
		}
	}
	for _, m := range s.merged {
		tokens = append(tokens, m.Token)
	}
	if err := s.removeTried(ctx); err != nil {
		return err
	}
	for _, token := range tokens {
		if err := s.m.cfg.store.delete(ctx, token); err != nil {
			return storeError("delete", err)
		}
	}
	s.at, s.merged = "", nil
	return nil
}

// removeTried deletes what the writes whose replies were lost may have stored.
func (s *session) removeTried(ctx context.Context) error {
	for _, t := range s.tried {
		if err := s.m.cfg.store.delete(ctx, t.key); err != nil {
			return storeError("delete", err)
		}
	}
	s.tried = nil
	return nil
}

// mergeIn puts the values of another session over this one's. The other ends when this
// one is saved.
func (s *session) mergeIn(r contract.Record, values map[string]any) {
	m := merged{Record: r, put: values, was: make(map[string]any, len(values))}
	for k, v := range values {
		if s.data.has(k) {
			m.was[k] = s.data.get(k)
		}
		s.data.put(k, v)
	}
	s.merged = append(s.merged, m)
}

// unmerge undoes mergeIn: the other session was changed, or has ended. What the handler
// has put or removed since stays so, by a later merge too: those keys are returned.
func (s *session) unmerge(token string, cur *version) (changed map[string]bool, err error) {
	for i, m := range s.merged {
		if m.Token != token {
			continue
		}
		r, err := s.version(m.Data).record()
		if err != nil {
			return nil, err
		}
		s.merged = append(s.merged[:i:i], s.merged[i+1:]...)
		changed = map[string]bool{}
		for k := range m.put {
			changed[k] = s.putLater(i, k, m.was)
			if !changed[k] {
				if changed[k], err = cur.differs(k, r.values[k]); err != nil {
					return nil, err
				}
			}
			if changed[k] {
				continue
			}
			if was, ok := m.was[k]; ok {
				s.data.put(k, was)
			} else {
				s.data.remove(k)
			}
		}
		break
	}
	return changed, nil
}

// putLater reports whether a merge from the i-th on has put a key too, and hands it what
// was there before.
func (s *session) putLater(i int, key string, was map[string]any) bool {
	for _, later := range s.merged[i:] {
		if _, ok := later.put[key]; !ok {
			continue
		}
		delete(later.was, key)
		if v, ok := was[key]; ok {
			later.was[key] = v
		}
		return true
	}
	return false
}

const (
	freeTries = 4   // conflicts that a write meets before it queues
	maxTries  = 100 // after this many conflicts, retry with random backoff
)

// backoff keeps the concurrent writes of one session out of each other's way: a few
// retry at once, and then one after the other. Without the queue, those that have just
// come would always be faster than those that retry.
type backoff struct {
	n       int
	release func() // not nil while it is first in the queue
}

func (b *backoff) done() {
	if b.release != nil {
		b.release()
	}
}

// again waits until the next try. The error is ctx's.
func (b *backoff) again(ctx context.Context, s *session) (err error) {
	switch b.n++; {
	case b.n < freeTries:
		return ctx.Err()
	case b.release == nil:
		b.release, err = s.m.cfg.store.queue(ctx, s.key(s.m.cfg))
		return err
	case b.n < maxTries:
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

// sweepUp ends a session that a sweep was after while it was being moved.
func (s *session) sweepUp(ctx context.Context) error {
	err := s.m.cfg.store.delete(ctx, s.at)
	if err != nil {
		s.m.moves.failed.Add(1)
	}
	s.markEnded(slog.LevelWarn, "its changes were dropped")
	return storeError("delete", err)
}
