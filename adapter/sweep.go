package adapter

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Iterate calls fn with the context of each live session in the store, in no
// order. Inside fn the session can be read, destroyed, or changed and saved. The
// request's own session, if ctx has one, comes as the request has it. A
// record that can't be read is left out, with a line in the log. It returns
// fn's first error, and an error that wraps errors.ErrUnsupported if the store
// has no way to list its sessions.
//
// A session that is given a new id meanwhile may be missed, or be ended under the old
// id alone: to end all sessions of a kind, use DestroyWhere.
func (m *Manager) Iterate(ctx context.Context, fn func(context.Context) error) error {
	return m.cfg.store.each(ctx, func(key string, data []byte) error {
		visited := m.visited(ctx, key, data)
		if visited == nil {
			return nil
		}
		return fn(visited)
	})
}

// visited returns a context with the session of a record, nil if there is none in it.
func (m *Manager) visited(ctx context.Context, key string, data []byte) context.Context {
	if own := m.sessionOf(ctx); own != nil && own.storedAs(key) {
		return &own.scope
	}
	// CookieFunc is not asked: the record has what it gave.
	s := &session{m: m, r: noRequest()}
	s.cookie.given = &Cookie{Path: "/"}
	if m.cfg.CookieFunc == nil {
		s.cookie.given = &m.cfg.Cookie
	}
	s.id, s.fixed, s.at, s.mute = key, key, key, true
	s.arrive(ctx)
	s.enter(ctx)
	r, err := m.cfg.codec.decode(data)
	if err != nil {
		m.stats.unreadable.Add(1)
		s.log(slog.LevelWarn, "a stored record can't be read and is left out", "error", err)
		return nil
	}
	if !r.deadline.IsZero() && !time.Now().Before(r.deadline) {
		return nil
	}
	s.adopt(s.version(data), &r)
	if s.start(r.values) != nil {
		return nil
	}
	return &s.scope
}

// storedAs reports whether the store has the session under a key.
func (s *session) storedAs(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Another request may have moved it to the hash of its id.
	return s.exists() && (s.at == key || s.m.cfg.migrate && hashID(s.at) == key)
}

// sweep is a call of DestroyWhere.
type sweep struct {
	match func(context.Context) bool
}

// DestroyWhere ends the sessions that match reports true for, and returns how many it
// has ended. match reads the session in its context, and must not change it; it is called
// from other goroutines too.
//
// A session that a request of this Manager moves meanwhile, to a new id or to the hash of
// its id, is ended as well. DestroyWhere returns when a whole pass over the store has found
// no session that matches: one that another process, or another Manager, moves past that
// pass may be missed, and so may one that begins meanwhile, as by a login. The error is
// that of listing or deleting, after what it has ended so far.
//
// match is not asked about a session that this program can't read, and it stays: another
// version of the app may know its types. DestroyAll ends those too.
func (m *Manager) DestroyWhere(ctx context.Context, match func(ctx context.Context) bool) (n int, err error) {
	return m.destroyWhere(ctx, match, func(string) (bool, error) { return false, nil })
}

// DestroyAll is DestroyWhere for all sessions of the store, those too that this program
// can't read. Express: store.clear.
func (m *Manager) DestroyAll(ctx context.Context) (n int, err error) {
	return m.destroyWhere(ctx, func(context.Context) bool { return true }, func(key string) (bool, error) {
		return true, m.endUnread(ctx, key, "")
	})
}

// endUnread ends the session of a record that can't be read.
func (m *Manager) endUnread(ctx context.Context, key, user string) error {
	if err := m.cfg.store.delete(ctx, key); err != nil {
		return storeError("delete", err)
	}
	m.auditUnread(ctx, key, user)
	return nil
}

// auditUnread tells of that.
func (m *Manager) auditUnread(ctx context.Context, key, user string) {
	m.Audit(ctx, slog.LevelInfo, EventDestroyed, "session", m.cfg.nameOf(key), "user", user)
}

func (m *Manager) destroyWhere(ctx context.Context, match func(ctx context.Context) bool, unread func(key string) (ended bool, err error)) (n int, err error) {
	sw := &sweep{match}
	m.setSweeps(func(all []*sweep) []*sweep { return append(all, sw) })
	defer m.setSweeps(func(all []*sweep) []*sweep {
		return slices.DeleteFunc(all, func(other *sweep) bool { return other == sw })
	})
	for range maxPasses {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		matched, failed := 0, m.moves.failed.Load()
		err := m.cfg.store.each(ctx, func(key string, data []byte) (err error) {
			ended := false
			if visited := m.visited(ctx, key, data); visited == nil {
				ended, err = unread(key)
			} else if ended = match(visited); ended {
				err = m.Destroy(visited)
			}
			if ended && err == nil {
				matched++
			}
			return err
		})
		n += matched
		if err != nil {
			return n, err
		}
		if matched > 0 {
			continue
		}
		// A move that the pass has overtaken ends what it has moved by itself, unless it fails.
		if err := m.moves.wait(ctx); err != nil || m.moves.failed.Load() == failed {
			return n, err
		}
	}
	return n, errors.New("session: there are still sessions that match, and were not there before or can't be deleted")
}

// maxPasses is more than any sweep needs, unless sessions begin as fast as they are ended.
const maxPasses = 100

// setSweeps replaces the list of sweeps, which is never changed in place.
func (m *Manager) setSweeps(change func([]*sweep) []*sweep) {
	for {
		old := m.sweeps.Load()
		var all []*sweep
		if old != nil {
			all = slices.Clone(*old)
		}
		all = change(all)
		if m.sweeps.CompareAndSwap(old, &all) {
			return
		}
	}
}

// moves are the moves under way.
type moves struct {
	mu     sync.Mutex
	done   map[chan struct{}]bool
	failed atomic.Int64 // those that may have been done, and did not look whether a sweep is after the session
}

// begin notes a move until the function that it returns is called.
func (m *moves) begin() (end func()) {
	done := make(chan struct{})
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.done == nil {
		m.done = map[chan struct{}]bool{}
	}
	m.done[done] = true
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.done, done)
		close(done)
	}
}

// wait waits for the moves that are under way; the error is ctx's.
func (m *moves) wait(ctx context.Context) error {
	m.mu.Lock()
	under := slices.Collect(maps.Keys(m.done))
	m.mu.Unlock()
	for _, done := range under {
		select {
		case <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// swept reports whether a sweep is after the session of a record. A move asks once it is
// done, and then ends what it has moved past the sweep.
func (s *session) swept(key string, data []byte) bool {
	m := s.m
	all := m.sweeps.Load()
	if all == nil || len(*all) == 0 || data == nil {
		return false
	}
	// The match may ask for the session that it was called from, which can be this one.
	s.mu.Unlock()
	defer s.mu.Lock()
	visited := m.visited(context.Background(), key, data)
	if visited != nil {
		m.sessionOf(visited).id = s.id // as the request that sweeps may know it
	}
	return visited != nil && slices.ContainsFunc(*all, func(sw *sweep) bool { return sw.match(visited) })
}
