package storetest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"

	"github.com/samesid/samesid/backends/contract"
	"github.com/samesid/samesid/backends/storetest"
)

// good is the simplest correct store: one map, one lock. Each broken store embeds it
// and adds one fault.
type good struct {
	mu      lock
	records map[string]entry
	ahead   time.Duration // how far its own clock is ahead of time.Now
	closed  bool

	users map[string]map[string]noted // tokens, and "" for EndUser
}

type noted struct{ at, until time.Time }

type entry struct {
	data   []byte
	expiry time.Time
}

// lock is a mutex on which a synctest bubble detects a deadlock.
type lock chan struct{}

func (l lock) hold() func() {
	l <- struct{}{}
	return func() { <-l }
}

func newGood() *good {
	return &good{mu: make(lock, 1), records: make(map[string]entry), users: make(map[string]map[string]noted)}
}

func (s *good) IndexUsers(ctx context.Context, _ []string) (bool, error) { return false, ctx.Err() }

func (s *good) NoteUser(ctx context.Context, user, token string, ttl time.Duration) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	defer s.mu.hold()()
	if s.users[user] == nil {
		s.users[user] = make(map[string]noted)
	}
	s.users[user][token] = noted{s.now(), s.now().Add(ttl)}
	return nil
}

func (s *good) ForgetUser(ctx context.Context, user, token string, age time.Duration) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	defer s.mu.hold()()
	if s.now().Sub(s.users[user][token].at) >= age {
		delete(s.users[user], token)
	}
	return nil
}

func (s *good) UserTokens(ctx context.Context, user string) (tokens []string, err error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	defer s.mu.hold()()
	for token, n := range s.users[user] {
		if token != "" && n.until.After(s.now()) {
			tokens = append(tokens, token)
		}
	}
	return tokens, nil
}

func (s *good) EndUser(ctx context.Context, user string, ttl time.Duration) (at time.Time, err error) {
	last, _, err := s.UserEnded(ctx, user)
	if err == nil {
		err = s.NoteUser(ctx, user, "", ttl)
	}
	if err != nil {
		return time.Time{}, err
	}
	defer s.mu.hold()()
	n := s.users[user][""]
	if !n.at.After(last) {
		n.at = last.Add(1)
	}
	s.users[user][""] = n
	return n.at, nil
}

func (s *good) UserEnded(ctx context.Context, user string) (at time.Time, ago time.Duration, err error) {
	if ctx.Err() != nil {
		return time.Time{}, 0, ctx.Err()
	}
	defer s.mu.hold()()
	n := s.users[user][""]
	if !n.until.After(s.now()) {
		return time.Time{}, 0, nil
	}
	return n.at, max(0, s.now().Sub(n.at)), nil
}

// looks is a store that finds the users in its records.
type looks struct {
	*good
	path []string
}

func (s *looks) IndexUsers(ctx context.Context, path []string) (bool, error) {
	s.path = path
	return true, ctx.Err()
}

func (s *looks) NoteUser(ctx context.Context, _, _ string, _ time.Duration) error { return ctx.Err() }

func (s *looks) ForgetUser(ctx context.Context, _, _ string, _ time.Duration) error { return ctx.Err() }

func (s *looks) UserTokens(ctx context.Context, user string) (tokens []string, err error) {
	all, err := s.AllCtx(ctx)
	for token, data := range all {
		if s.userIn(data) == user {
			tokens = append(tokens, token)
		}
	}
	return tokens, err
}

func (s *looks) userIn(data []byte) string {
	for _, key := range s.path {
		var object map[string]json.RawMessage
		if json.Unmarshal(data, &object) != nil {
			return ""
		}
		data = object[key]
	}
	var text string
	var number json.Number
	switch {
	case json.Unmarshal(data, &text) == nil:
		return text
	case json.Unmarshal(data, &number) == nil:
		return number.String()
	}
	return ""
}

func clone(b []byte) []byte { return append([]byte{}, b...) }

func (s *good) live(token string) (entry, bool) {
	e, ok := s.records[token]
	return e, ok && e.expiry.After(s.now())
}

func (s *good) now() time.Time { return time.Now().Add(s.ahead) }

func (s *good) Close() error {
	s.closed = true
	return nil
}

func (s *good) Ping(ctx context.Context) error {
	if s.closed {
		return errors.New("closed")
	}
	return ctx.Err()
}

func (s *good) Find(token string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), token)
}

func (s *good) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	data, _, found, err := s.FindExpiry(ctx, token)
	return data, found, err
}

func (s *good) FindExpiry(ctx context.Context, token string) ([]byte, time.Time, bool, error) {
	if ctx.Err() != nil {
		return nil, time.Time{}, false, ctx.Err()
	}
	defer s.mu.hold()()
	e, found := s.live(token)
	if !found {
		return nil, time.Time{}, false, nil
	}
	return clone(e.data), e.expiry, true, nil
}

func (s *good) FindTouch(ctx context.Context, token string, expiry time.Time) ([]byte, bool, error) {
	if ctx.Err() != nil {
		return nil, false, ctx.Err()
	}
	defer s.mu.hold()()
	e, found := s.live(token)
	if !found {
		return nil, false, nil
	}
	s.records[token] = entry{e.data, expiry}
	return clone(e.data), true, nil
}

func (s *good) Commit(token string, data []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), token, data, expiry)
}

func (s *good) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	defer s.mu.hold()()
	s.records[token] = entry{clone(data), expiry}
	return nil
}

func (s *good) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	if ctx.Err() != nil {
		return nil, false, ctx.Err()
	}
	defer s.mu.hold()()
	e, found := s.live(token)
	switch {
	case !found && old != nil:
		return nil, false, nil
	case found && (old == nil || !bytes.Equal(e.data, old)):
		return clone(e.data), false, nil
	case data == nil:
		delete(s.records, token)
	default:
		s.records[token] = entry{clone(data), expiry}
	}
	return nil, true, nil
}

func (s *good) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	if ctx.Err() != nil {
		return nil, false, ctx.Err()
	}
	defer s.mu.hold()()
	current, known := make([][]byte, len(from)), true
	_, taken := s.live(to)
	for i, r := range from {
		e, found := s.live(r.Token)
		if found {
			current[i] = clone(e.data)
		}
		known = known && found && bytes.Equal(e.data, r.Data)
		taken = taken && r.Token != to
	}
	if !known || taken {
		return current, false, nil
	}
	for _, r := range from {
		delete(s.records, r.Token)
	}
	s.records[to] = entry{clone(data), expiry}
	return nil, true, nil
}

func (s *good) Delete(token string) error { return s.DeleteCtx(context.Background(), token) }

func (s *good) DeleteCtx(ctx context.Context, token string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	defer s.mu.hold()()
	delete(s.records, token)
	return nil
}

func (s *good) All() (map[string][]byte, error) { return s.AllCtx(context.Background()) }

func (s *good) AllCtx(ctx context.Context) (map[string][]byte, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	defer s.mu.hold()()
	all := make(map[string][]byte)
	for token := range s.records {
		if e, ok := s.live(token); ok {
			all[token] = clone(e.data)
		}
	}
	return all, nil
}

func (s *good) Range(ctx context.Context, fn func(string, []byte) error) error {
	all, err := s.AllCtx(ctx)
	if err != nil {
		return err
	}
	for token, data := range all {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := fn(token, data); err != nil {
			return err
		}
	}
	return nil
}

func (s *good) Len(ctx context.Context) (int, error) {
	all, err := s.AllCtx(ctx)
	return len(all), err
}

func (s *good) Clear(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	defer s.mu.hold()()
	clear(s.records)
	return nil
}

func TestGoodStore(t *testing.T) {
	storetest.Run(t, storetest.Harness{New: func(*testing.T) scs.CtxStore { return newGood() }})
}

func TestGoodLooks(t *testing.T) {
	storetest.Run(t, storetest.Harness{New: func(*testing.T) scs.CtxStore { return &looks{good: newGood()} }})
}

// A store like a server's: it has a clock of its own, rounds up to whole seconds,
// accepts only JSON, and has two handles.
func TestGoodServer(t *testing.T) {
	storetest.Run(t, server(func(s *good) scs.CtxStore { return &seconds{s} }))
}

func server(open func(*good) scs.CtxStore) storetest.Harness {
	var data *good
	return storetest.Harness{
		New: func(*testing.T) scs.CtxStore {
			data = newGood()
			return open(data)
		},
		Reopen: func(*testing.T, scs.CtxStore) scs.CtxStore { return open(data) },
		Advance: func(_ *testing.T, d time.Duration) {
			defer data.mu.hold()()
			data.ahead += d
		},
		Granularity: time.Second,
		JSON:        true,
	}
}

type seconds struct{ *good }

func roundUp(t time.Time) time.Time { return t.Add(time.Second - 1).Truncate(time.Second) }

func (s *seconds) Commit(token string, data []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), token, data, expiry)
}

func (s *seconds) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	if !json.Valid(data) {
		return errors.New("no JSON")
	}
	return s.good.CommitCtx(ctx, token, data, roundUp(expiry))
}

func (s *seconds) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	if data != nil && !json.Valid(data) {
		return nil, false, errors.New("no JSON")
	}
	return s.good.Swap(ctx, token, old, data, roundUp(expiry))
}

func (s *seconds) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	if !json.Valid(data) {
		return nil, false, errors.New("no JSON")
	}
	return s.good.Move(ctx, from, to, data, roundUp(expiry))
}

func (s *seconds) FindTouch(ctx context.Context, token string, expiry time.Time) ([]byte, bool, error) {
	return s.good.FindTouch(ctx, token, roundUp(expiry))
}

// memStore is scs's own memory store with contexts. Unlike upstream, it copies its
// data, and clamps an expiry after 2262.
type memStore struct{ *memstore.MemStore }

var lastNano = time.Unix(0, 1<<63-1)

func (s memStore) Find(token string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), token)
}

func (s memStore) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	if ctx.Err() != nil {
		return nil, false, ctx.Err()
	}
	data, found, err := s.MemStore.Find(token)
	if !found {
		return nil, false, err
	}
	return clone(data), true, err
}

func (s memStore) Commit(token string, data []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), token, data, expiry)
}

func (s memStore) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if expiry.After(lastNano) {
		expiry = lastNano
	}
	return s.MemStore.Commit(token, clone(data), expiry)
}

func (s memStore) DeleteCtx(ctx context.Context, token string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.MemStore.Delete(token)
}

func (s memStore) All() (map[string][]byte, error) {
	all, err := s.MemStore.All()
	for token, data := range all {
		all[token] = clone(data)
	}
	return all, err
}

func TestMemStore(t *testing.T) {
	storetest.Run(t, storetest.Harness{
		New: func(*testing.T) scs.CtxStore {
			return memStore{memstore.NewWithCleanupInterval(0)}
		},
		Without: []string{"FindTouch", "FindExpiry", "Swap", "Move", "Range", "AllCtx", "Len", "Clear", "Ping", "UserTokens"},
	})
}
