package adapter_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/adapter"
)

// A Save that failed, and was not done, is made up for by the next one, also after another
// request has changed the session in between.
func TestSaveAfterAFailedSave(t *testing.T) {
	everyStore(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager, store *mapStore) {
		down := map[string]error{"replace": errors.New("down"), "move": errors.New("down"), "commit": errors.New("down")}
		id := begin(t, m, map[string]any{"user": "u"})
		other := begin(t, m, map[string]any{"cart": 1})
		for name, change := range map[string]func(ctx context.Context){
			"mine": func(ctx context.Context) { m.Put(ctx, "mine", 1) },
			"cart": func(ctx context.Context) {
				if err := m.MergeSession(ctx, other); err != nil {
					t.Error(err)
				}
			},
		} {
			within(t, m, id, func(ctx context.Context) {
				change(ctx)
				store.fail = down
				if err := m.Save(ctx); err == nil {
					t.Error("no error")
				}
				store.fail = nil
				within(t, m, id, func(ctx context.Context) { m.Put(ctx, "theirs", name) })
				if err := m.Save(ctx); err != nil {
					t.Error(err)
				}
			})
			if got := read(t, m, id); got[name] != 1 || got["theirs"] != name {
				t.Errorf("%s: the session has %v", name, got)
			}
		}
		if read(t, m, other) != nil {
			t.Error("the other session lives on")
		}
	})
}

// While ids are being hashed, a login ends the old session wherever another request has
// moved it meanwhile.
func TestLoginWhileIDsMove(t *testing.T) {
	for name, do := range map[string]func(m *adapter.Manager, ctx context.Context, other string) error{
		"renew":      func(m *adapter.Manager, ctx context.Context, _ string) error { return m.RenewToken(ctx) },
		"regenerate": func(m *adapter.Manager, ctx context.Context, _ string) error { return m.Regenerate(ctx) },
		"merge":      func(m *adapter.Manager, ctx context.Context, other string) error { return m.MergeSession(ctx, other) },
	} {
		t.Run(name, func(t *testing.T) {
			store := newMapStore()
			before := newManager(t, adapter.Options{Store: fullStore{store}})
			id := begin(t, before, map[string]any{"lang": "en"})
			other := begin(t, before, map[string]any{"cart": 1})
			m := newManager(t, adapter.Options{Store: fullStore{store}, StoreKey: adapter.StoreKeyMigrating})
			var next string
			within(t, m, id, func(ctx context.Context) {
				if err := do(m, ctx, other); err != nil {
					t.Error(err)
				}
				for _, id := range []string{id, other} {
					within(t, m, id, func(ctx context.Context) {})
				}
				m.Put(ctx, "user", "u")
				next = m.ID(ctx)
			})
			got := map[string]any{}
			within(t, m, next, func(ctx context.Context) {
				for _, k := range m.Keys(ctx) {
					got[k] = m.Get(ctx, k)
				}
			})
			want := map[string]map[string]any{
				"renew":      {"lang": "en", "user": "u"},
				"regenerate": {"user": "u"},
				"merge":      {"lang": "en", "user": "u", "cart": 1},
			}[name]
			records := map[string]int{"renew": 2, "regenerate": 2, "merge": 1}[name]
			if !reflect.DeepEqual(got, want) || len(store.records) != records {
				t.Errorf("the session has %v, and there are %d records", got, len(store.records))
			}
		})
	}
}

// A request that renews a session which has just been renewed by another one, and puts
// nothing into it, sends no cookie in the place of the other's.
func TestTwoRenewals(t *testing.T) {
	everyStore(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager, store *mapStore) {
		id := begin(t, m, map[string]any{"user": "u"})
		w := within(t, m, id, func(ctx context.Context) {
			within(t, m, id, func(ctx context.Context) { _ = m.RenewToken(ctx) })
			if err := m.RenewToken(ctx); err != nil {
				t.Error(err)
			}
		})
		if got := w.Header().Get("Set-Cookie"); got != "" {
			t.Errorf("Set-Cookie %q", got)
		}
	})
}

// The match of a sweep may ask for the session that it was called from, which can be the
// one that is being moved.
func TestMatchMayAskForTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &overtakenStore{fullStore: fullStore{newMapStore()}, moving: make(chan bool), swept: make(chan bool), moved: make(chan bool)}
		m := newManager(t, adapter.Options{Store: store})
		id := begin(t, m, map[string]any{"user": "u"})
		w := within(t, m, id, func(ctx context.Context) {
			if err := m.RenewToken(ctx); err != nil {
				t.Error(err)
			}
			go func() {
				<-store.moving
				_, _ = m.DestroyWhere(context.Background(), func(c context.Context) bool { return m.ID(c) != m.ID(ctx) })
			}()
		})
		if w.Code != http.StatusOK {
			t.Errorf("status %d", w.Code)
		}
	})
}

// A sweep over a store that can't delete comes to an end.
func TestSweepThatCantDelete(t *testing.T) {
	s := newMapStore()
	m := newManager(t, adapter.Options{Store: deletesNothing{plainStore{s}}})
	begin(t, m, map[string]any{"user": "u"})
	if _, err := m.DestroyWhere(t.Context(), func(context.Context) bool { return true }); err == nil {
		t.Error("no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.DestroyWhere(ctx, func(context.Context) bool { return true }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

type deletesNothing struct{ plainStore }

func (deletesNothing) Delete(string) error { return nil }

// Two Managers on one store that has no compare-and-set, or whose stores are wrappers of
// the same one, share its locks: no update is lost, and a logout is final.
func TestWrappersShareLocks(t *testing.T) {
	inside := &takesTime{plainStore{newMapStore()}}
	for name, stores := range map[string][2]scs.Store{
		"one store":    {inside, inside},
		"two wrappers": {&unwraps{inside}, &unwraps{inside}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				managers := []*adapter.Manager{newManager(t, adapter.Options{Store: stores[0]}), newManager(t, adapter.Options{Store: stores[1]})}
				// atOnce has requests of one session load it, and then end together.
				atOnce := func(id string, requests ...func(m *adapter.Manager, ctx context.Context)) {
					var wg sync.WaitGroup
					for i, do := range requests {
						m := managers[i%2]
						wg.Go(func() {
							within(t, m, id, func(ctx context.Context) {
								time.Sleep(time.Second)
								do(m, ctx)
							})
						})
					}
					wg.Wait()
				}
				var puts []func(m *adapter.Manager, ctx context.Context)
				for i := range 10 {
					puts = append(puts, func(m *adapter.Manager, ctx context.Context) { m.Put(ctx, fmt.Sprint(i), true) })
				}
				id := begin(t, managers[0], map[string]any{"user": "u"})
				atOnce(id, puts...)
				if got := len(read(t, managers[0], id)); got != len(puts)+1 {
					t.Errorf("%d of %d updates are left", got-1, len(puts))
				}
				change := func(m *adapter.Manager, ctx context.Context) { m.Put(ctx, "more", true) }
				logout := func(m *adapter.Manager, ctx context.Context) {
					time.Sleep(time.Millisecond) // the change is being written
					if err := m.Destroy(ctx); err != nil {
						t.Error(err)
					}
				}
				atOnce(id, change, logout)
				if read(t, managers[0], id) != nil {
					t.Error("the session came back after its logout")
				}
			})
		})
	}
}

// takesTime takes its time to write, in a bubble.
type takesTime struct{ plainStore }

func (s *takesTime) Commit(token string, b []byte, expiry time.Time) error {
	time.Sleep(5 * time.Millisecond)
	return s.plainStore.Commit(token, b, expiry)
}

// unwraps is a wrapper that says what it wraps.
type unwraps struct{ *takesTime }

func (u *unwraps) Unwrap() scs.Store { return u.takesTime }

// With ResendAfter, a request that saves by itself has the cookie sent as well.
func TestResendAfterBesideSave(t *testing.T) {
	bothCodecs(t, adapter.Options{ResendAfter: time.Hour, Cookie: adapter.Cookie{MaxAge: 24 * time.Hour}}, func(t *testing.T, m *adapter.Manager) {
		synctest.Test(t, func(t *testing.T) {
			id := begin(t, m, map[string]any{"user": "u"})
			sent := 0
			for range 48 {
				time.Sleep(30 * time.Minute)
				w := within(t, m, id, func(ctx context.Context) {
					if err := m.Save(ctx); err != nil {
						t.Error(err)
					}
				})
				if w.Header().Get("Set-Cookie") != "" {
					sent++
				}
			}
			if sent < 23 {
				t.Errorf("sent %d times in a day", sent)
			}
		})
	})
}

// A page that is served while another handler's panic is being recovered has a session of
// its own, which is saved.
func TestErrorPageWithASession(t *testing.T) {
	m := newManager(t, adapter.Options{})
	page := m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.Put(r.Context(), "csrf", "token")
		w.WriteHeader(http.StatusInternalServerError)
	}))
	w := httptest.NewRecorder()
	func() {
		r := httptest.NewRequest("GET", "/", nil)
		defer func() {
			if recover() != nil {
				page.ServeHTTP(w, r)
			}
		}()
		m.LoadAndSave(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("of the handler") })).ServeHTTP(httptest.NewRecorder(), r)
	}()
	if w.Header().Get("Set-Cookie") == "" {
		t.Error("the page's session is not saved")
	}
}

// A store may go on to use a call's context in a goroutine of its own, as the timer of a
// context with a timeout does. The session is not in it.
func TestContextThatAStoreGets(t *testing.T) {
	store := &lateStore{fullStore: fullStore{newMapStore()}}
	m := newManager(t, adapter.Options{Store: store})
	store.key = m
	within(t, m, begin(t, m, map[string]any{"user": "u"}), func(ctx context.Context) { m.Put(ctx, "k", 1) })
	store.wg.Wait()
	if store.calls.Load() < 3 || store.seen.Load() {
		t.Errorf("%d calls, the session is in a context: %t", store.calls.Load(), store.seen.Load())
	}
}

type lateStore struct {
	fullStore
	key   any
	wg    sync.WaitGroup
	calls atomic.Int32
	seen  atomic.Bool
}

func (s *lateStore) look(ctx context.Context) {
	s.calls.Add(1)
	s.wg.Go(func() {
		if ctx.Value(s) != nil || ctx.Value(s.key) != nil {
			s.seen.Store(true)
		}
	})
}

func (s *lateStore) FindTouch(ctx context.Context, token string, expiry time.Time) ([]byte, bool, error) {
	s.look(ctx)
	return s.fullStore.FindTouch(ctx, token, expiry)
}

func (s *lateStore) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	s.look(ctx)
	return s.fullStore.Swap(ctx, token, old, data, expiry)
}
