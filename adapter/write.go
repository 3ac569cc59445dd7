package adapter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
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
		if err := s.noteStored(ctx, to, end, now); err != nil {
			return err
		}
		moves := len(from) > 1 || len(from) == 1 && from[0].Token != to
		if moves {
			defer s.m.moves.begin()()
		}
		current, done, err := s.m.cfg.store.replace(ctx, from, to, data, end)
		if errors.Is(err, contract.ErrRejected) {
			return s.rejected(cur, err)
		}
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
			was, fresh := s.at, s.fresh
			s.wrote(cur, to, data, end)
			if data != nil && was != to {
				s.auditStored(was, fresh)
			} else if data == nil {
				s.auditRemoved()
			}
			if moves && s.swept(to, data) {
				return s.sweepUp(ctx)
			}
			return s.endIfLate(ctx)
		}
		if cur, err = s.resolve(ctx, cur, to, current); err != nil || s.phase == ended {
			return err
		}
		if err := b.again(ctx, s); err != nil {
			return storeError("save", err)
		}
	}
}

// rejected returns the error of a record that the store can't hold, with the keys that
// this request has changed: one of their values is the reason.
func (s *session) rejected(cur *version, err error) error {
	var keys []string
	if cur != nil {
		// Without the keys the error is still true.
		_ = cur.changes(s.base, func(key string) bool { keys = append(keys, key); return true })
	}
	slices.Sort(keys)
	return fmt.Errorf("session: save: the keys %q were changed: %w", keys, err)
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
		return cur.data, s.noteUser(cur.live) // encoded already, and nobody else has written
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
	if err := s.noteUser(values); err != nil {
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
	if known && s.at != to && (!s.m.cfg.migrate || to != hashID(s.at)) { // another request is moving it to the hash
		return cur, errTaken
	}
	return cur, nil
}

// adoptStored takes over what the store has of the session, under a key.
func (s *session) adoptStored(at string, data []byte) error {
	s.m.stats.conflicts.Add(1)
	was := s.at
	s.at, s.stored = at, s.version(data)
	s.settle(data, was)
	r, err := s.stored.record()
	if err != nil {
		return storeError("save", err)
	}
	if !s.fresh {
		s.adoptBeside(r)
	}
	return nil
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
			// Another request may have moved it from its id to the hash. On a store
			// without Move, one that has died on the way has left both.
			other := hashID(s.at)
			if s.at == hashID(s.cookie.id) {
				other = s.cookie.id
			}
			tokens = append(tokens, other)
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
	if s.exists() {
		s.auditRemoved()
	}
	s.at, s.merged = "", nil
	return nil
}

// sweepUp ends a session that a sweep was after while it was being moved.
func (s *session) sweepUp(ctx context.Context) error {
	err := s.m.cfg.store.delete(ctx, s.at)
	if err != nil {
		s.m.moves.failed.Add(1)
	}
	s.auditRemoved()
	s.markEnded(slog.LevelWarn, "its changes were dropped")
	return storeError("delete", err)
}
