package adapter_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends/contract"
	"github.com/samesid/samesid/backends/memory"
	"github.com/samesid/samesid/internal/leaktest"
)

// calls notes what was observed.
type calls struct {
	mu  sync.Mutex
	all []adapter.StoreCall
}

func (c *calls) note(_ context.Context, call adapter.StoreCall) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, call)
}

// take returns the calls since it was last called, each as its operation and outcome.
func (c *calls) take() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var text []string
	for _, call := range c.all {
		text = append(text, call.Op+" "+string(call.Outcome))
	}
	c.all = nil
	return strings.Join(text, ", ")
}

func TestObserve(t *testing.T) {
	for name, test := range map[string]struct {
		store                                       func() scs.Store
		kind                                        string
		begin, read, change, renew, logout, unknown string
	}{
		"memory": {
			func() scs.Store { return memory.New(memory.Options{}) }, "memory",
			"swap ok", "findtouch ok", "findtouch ok, swap ok", "findtouch ok, find ok, move ok", "findtouch ok, delete ok", "findtouch none",
		},
		"scs": {
			func() scs.Store { return memstore.NewWithCleanupInterval(0) }, "memstore",
			"find none, commit ok", "find ok, find ok, commit ok", "find ok, find ok, commit ok",
			"find ok, find ok, find ok, find none, commit ok, delete ok", "find ok, delete ok", "find none",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var c calls
			m := newManager(t, adapter.Options{Store: test.store(), Observe: c.note, Logger: (&leaktest.Log{}).Logger()})
			id := begin(t, m, map[string]any{"user": "u"})
			for _, call := range c.all {
				if call.Store != test.kind || call.Start.IsZero() || call.Duration < 0 || call.Together != 1 || call.Err != nil {
					t.Errorf("%+v", call)
				}
			}
			if last := c.all[len(c.all)-1]; last.Bytes == 0 {
				t.Errorf("%s has written no bytes", last.Op)
			}
			step := func(name, want string, handler func(ctx context.Context)) {
				t.Helper()
				serve(m, cookieFor(id), func(_ http.ResponseWriter, r *http.Request) {
					handler(r.Context())
					id = m.ID(r.Context())
				})
				if got := c.take(); got != want {
					t.Errorf("%s: %s\nwant: %s", name, got, want)
				}
			}
			if got := c.take(); got != test.begin {
				t.Errorf("begin: %s\nwant: %s", got, test.begin)
			}
			step("read", test.read, func(context.Context) {})
			step("change", test.change, func(ctx context.Context) { m.Put(ctx, "a", 1) })
			step("renew", test.renew, func(ctx context.Context) { _ = m.RenewToken(ctx) })
			old := id
			step("logout", test.logout, func(ctx context.Context) { _ = m.Destroy(ctx) })
			id = old
			step("unknown", test.unknown, func(context.Context) {})
		})
	}
}

// What a store can't hold is the application's mistake: one user's text is not to ring the alarm
// of a store that fails.
func TestObserveRejected(t *testing.T) {
	var c calls
	m := newManager(t, adapter.Options{Store: rejects{fullStore{newMapStore()}, "huge"}, Observe: c.note, Logger: (&leaktest.Log{}).Logger()})
	w := serve(m, "", func(_ http.ResponseWriter, r *http.Request) { m.Put(r.Context(), "k", "huge") })
	last := c.all[len(c.all)-1]
	if got := c.take(); got != "swap rejected" || !errors.Is(last.Err, contract.ErrRejected) || w.Code != http.StatusInternalServerError {
		t.Errorf("%d, %s, %v", w.Code, got, last.Err)
	}
}

// What fails, what meets another writer, and what its client has left is told apart.
func TestObserveOutcomes(t *testing.T) {
	var c calls
	store := newMapStore()
	m := newManager(t, adapter.Options{Store: fullStore{store}, Observe: c.note, Logger: (&leaktest.Log{}).Logger()})
	id := begin(t, m, map[string]any{"user": "u"})
	c.take()
	serve(m, cookieFor(id), func(_ http.ResponseWriter, r *http.Request) {
		within(t, m, id, func(ctx context.Context) { m.Put(ctx, "b", 1) })
		m.Put(r.Context(), "a", 1)
	})
	if got := c.take(); !strings.Contains(got, "swap conflict, swap ok") {
		t.Errorf("a conflict: %s", got)
	}

	// Who lists may stop; that is no failure of the store, and its error is the app's.
	found := errors.New("found ann@example.org")
	if err := m.Iterate(t.Context(), func(context.Context) error { return found }); !errors.Is(err, found) {
		t.Error(err)
	}
	last := c.all[len(c.all)-1]
	if got := c.take(); got != "range ok" || last.Err != nil || last.Bytes == 0 {
		t.Errorf("a listing that was stopped: %s, %v", got, last.Err)
	}
	store.fail = map[string]error{"all": errors.New("down")}
	if err := m.Iterate(t.Context(), func(context.Context) error { return nil }); err == nil || c.take() != "range error" {
		t.Errorf("a listing that has failed: %v", err)
	}

	down := errors.New("down")
	store.fail = map[string]error{"find": down, "findtouch": down, "findexpiry": down}
	serve(m, cookieFor(id), func(http.ResponseWriter, *http.Request) {})
	last = c.all[len(c.all)-1]
	if got := c.take(); !strings.HasSuffix(got, " error") || !errors.Is(last.Err, down) {
		t.Errorf("a failure: %s, %v", got, last.Err)
	}
	store.fail = map[string]error{"find": context.Canceled, "findtouch": context.Canceled}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Begin(httptest.NewRequestWithContext(gone, "GET", "/", nil)); err != nil {
		t.Error(err) // without a cookie, the store is not asked
	}
	r := httptest.NewRequestWithContext(gone, "GET", "/", nil)
	r.Header.Set("Cookie", cookieFor(id))
	if _, err := m.Begin(r); err == nil {
		t.Error("a cancelled call succeeds")
	}
	if got := c.take(); got != "findtouch canceled" {
		t.Errorf("a client that has left: %s", got)
	}
	if text := fmt.Sprintf("%+v", last); strings.Contains(text, id) {
		t.Error("a call shows the session's id")
	}
}
