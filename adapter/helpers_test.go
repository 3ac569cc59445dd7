package adapter_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends/contract"
	"github.com/samesid/samesid/internal/leaktest"
	"github.com/samesid/samesid/internal/wire"
)

const secret = "a secret of at least thirty-two bytes"

// mapStore is a store that notes its calls and fails when told to.
type mapStore struct {
	mu      sync.Mutex
	records map[string]mapRecord
	calls   []string
	fail    map[string]error // by call
}

type mapRecord struct {
	data   []byte
	expiry time.Time
}

func newMapStore() *mapStore { return &mapStore{records: map[string]mapRecord{}} }

// call notes a call and returns the error that it is to fail with. The caller
// must unlock.
func (s *mapStore) call(name string) error {
	s.mu.Lock()
	s.calls = append(s.calls, name)
	return s.fail[name]
}

func (s *mapStore) live(token string) ([]byte, bool) {
	r, ok := s.records[token]
	if !ok || !time.Now().Before(r.expiry) {
		return nil, false
	}
	return bytes.Clone(r.data), true
}

func (s *mapStore) put(token string, b []byte, expiry time.Time) {
	s.records[token] = mapRecord{bytes.Clone(b), expiry}
}

func (s *mapStore) takeCalls() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := strings.Join(s.calls, " ")
	s.calls = nil
	return calls
}

func (s *mapStore) FindCtx(_ context.Context, token string) ([]byte, bool, error) {
	err := s.call("find")
	defer s.mu.Unlock()
	if err != nil {
		return nil, false, err
	}
	b, ok := s.live(token)
	return b, ok, nil
}

func (s *mapStore) CommitCtx(_ context.Context, token string, b []byte, expiry time.Time) error {
	err := s.call("commit")
	defer s.mu.Unlock()
	if err == nil {
		s.put(token, b, expiry)
	}
	return err
}

func (s *mapStore) DeleteCtx(_ context.Context, token string) error {
	err := s.call("delete")
	defer s.mu.Unlock()
	if err == nil {
		delete(s.records, token)
	}
	return err
}

func (s *mapStore) AllCtx(context.Context) (map[string][]byte, error) {
	err := s.call("all")
	defer s.mu.Unlock()
	all := map[string][]byte{}
	for token := range s.records {
		if b, ok := s.live(token); ok {
			all[token] = b
		}
	}
	return all, err
}

func (s *mapStore) Find(token string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), token)
}

func (s *mapStore) Commit(token string, b []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), token, b, expiry)
}

func (s *mapStore) Delete(token string) error { return s.DeleteCtx(context.Background(), token) }

// fullStore has every optional method too.
type fullStore struct{ *mapStore }

func (s fullStore) FindTouch(_ context.Context, token string, expiry time.Time) ([]byte, bool, error) {
	err := s.call("findtouch")
	defer s.mu.Unlock()
	b, ok := s.live(token)
	if err != nil || !ok {
		return nil, false, err
	}
	s.put(token, b, expiry)
	return b, true, nil
}

func (s fullStore) FindExpiry(_ context.Context, token string) ([]byte, time.Time, bool, error) {
	err := s.call("findexpiry")
	defer s.mu.Unlock()
	b, ok := s.live(token)
	if err != nil || !ok {
		return nil, time.Time{}, false, err
	}
	return b, s.records[token].expiry, true, nil
}

func (s fullStore) Swap(_ context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	name := "replace"
	switch {
	case old == nil:
		name = "create"
	case data == nil:
		name = "take"
	case bytes.Equal(old, data):
		name = "touch"
	}
	err := s.call(name)
	defer s.mu.Unlock()
	if err != nil {
		return nil, false, err
	}
	b, ok := s.live(token)
	if ok != (old != nil) || ok && !bytes.Equal(b, old) {
		return b, false, nil
	}
	if data == nil {
		delete(s.records, token)
	} else {
		s.put(token, data, expiry)
	}
	return nil, true, nil
}

func (s fullStore) Move(_ context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	err := s.call("move")
	defer s.mu.Unlock()
	if err != nil {
		return nil, false, err
	}
	_, taken := s.live(to)
	current, same := make([][]byte, len(from)), true
	for i, r := range from {
		b, ok := s.live(r.Token)
		current[i], same = b, same && ok && bytes.Equal(b, r.Data)
		taken = taken && r.Token != to
	}
	if !same || taken {
		return current, false, nil
	}
	for _, r := range from {
		delete(s.records, r.Token)
	}
	s.put(to, data, expiry)
	return nil, true, nil
}

// plainStore hides all but scs.Store and listing.
type plainStore struct{ s *mapStore }

func (p plainStore) Find(token string) ([]byte, bool, error) { return p.s.Find(token) }
func (p plainStore) Commit(token string, b []byte, expiry time.Time) error {
	return p.s.Commit(token, b, expiry)
}
func (p plainStore) Delete(token string) error       { return p.s.Delete(token) }
func (p plainStore) All() (map[string][]byte, error) { return p.s.AllCtx(context.Background()) }

var (
	_ scs.CtxStore         = (*mapStore)(nil)
	_ contract.FindToucher = fullStore{}
	_ contract.FindExpirer = fullStore{}
	_ contract.Swapper     = fullStore{}
	_ contract.Mover       = fullStore{}
	_ scs.IterableStore    = plainStore{}
	_ scs.IterableCtxStore = (*mapStore)(nil)
)

// newManager makes a Manager on a fullStore, with a secret, unless the options
// say otherwise.
func newManager(t testing.TB, o adapter.Options) *adapter.Manager {
	t.Helper()
	if o.Secrets == nil && o.Signature != adapter.SignatureNone {
		o.Secrets = []string{secret}
	}
	if o.Store == nil {
		o.Store = fullStore{newMapStore()}
	}
	leaktest.Note(o.Secrets...)
	m, err := adapter.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// cookieFor is the Cookie header for a session id.
func cookieFor(id string) string {
	return "connect.sid=" + wire.EncodeURIComponent(wire.NewSigner([]string{secret}).Sign(id))
}

// serve runs one request through the Manager's middleware.
func serve(m *adapter.Manager, cookie string, handler http.HandlerFunc) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	}
	w := httptest.NewRecorder()
	m.LoadAndSave(handler).ServeHTTP(w, r)
	noteCookies(w)
	return w
}

// noteCookies notes the values of the cookies that a response sets.
func noteCookies(w *httptest.ResponseRecorder) {
	for _, c := range w.Result().Cookies() {
		leaktest.Note(c.Value)
	}
}

// begin makes a session with these values and returns its id.
func begin(t testing.TB, m *adapter.Manager, values map[string]any) string {
	t.Helper()
	var id string
	w := serve(m, "", func(w http.ResponseWriter, r *http.Request) {
		for k, v := range values {
			m.Put(r.Context(), k, v)
		}
		id = m.ID(r.Context())
	})
	if w.Code != http.StatusOK || w.Header().Get("Set-Cookie") == "" {
		t.Fatalf("no session was made: status %d, Set-Cookie %q", w.Code, w.Header().Get("Set-Cookie"))
	}
	leaktest.Note(id)
	return id
}

// read returns the values of a stored session, nil if there is none.
func read(t testing.TB, m *adapter.Manager, id string) map[string]any {
	t.Helper()
	var values map[string]any
	if err := m.Iterate(t.Context(), func(ctx context.Context) error {
		if m.Token(ctx) != id {
			return nil
		}
		values = map[string]any{}
		for _, k := range m.Keys(ctx) {
			values[k] = m.Get(ctx, k)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return values
}
