package adapter_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends/contract"
)

// everyStore runs a test under each codec, on a store with every optional
// method, one with Swap alone beside scs's, and one with none.
func everyStore(t *testing.T, o adapter.Options, test func(t *testing.T, m *adapter.Manager, store *mapStore)) {
	t.Helper()
	for name, make := range map[string]func(*mapStore) scs.Store{
		"full":  func(s *mapStore) scs.Store { return fullStore{s} },
		"swap":  func(s *mapStore) scs.Store { return swapStore{s, s, fullStore{s}} },
		"plain": func(s *mapStore) scs.Store { return plainStore{s} },
	} {
		t.Run(name, func(t *testing.T) {
			store := newMapStore()
			o.Store = make(store)
			bothCodecs(t, o, func(t *testing.T, m *adapter.Manager) { test(t, m, store) })
		})
	}
}

type swapStore struct {
	scs.CtxStore
	scs.IterableCtxStore
	contract.Swapper
}

// Whatever another request does with a session that has ended, the session
// stays ended, and the request gets its answer without a cookie.
func TestLogoutIsFinal(t *testing.T) {
	ends := map[string]func(m *adapter.Manager, s *mapStore, id string, t *testing.T){
		"destroy": func(m *adapter.Manager, s *mapStore, id string, t *testing.T) {
			within(t, m, id, func(ctx context.Context) { _ = m.Destroy(ctx) })
		},
		"regenerate": func(m *adapter.Manager, s *mapStore, id string, t *testing.T) {
			within(t, m, id, func(ctx context.Context) { _ = m.Regenerate(ctx) })
		},
		"renew": func(m *adapter.Manager, s *mapStore, id string, t *testing.T) {
			within(t, m, id, func(ctx context.Context) { _ = m.RenewToken(ctx) })
		},
		"expiry": func(m *adapter.Manager, s *mapStore, id string, t *testing.T) {
			s.records[id] = mapRecord{s.records[id].data, time.Now()}
		},
		"operator": func(m *adapter.Manager, s *mapStore, id string, t *testing.T) { delete(s.records, id) },
	}
	uses := map[string]func(m *adapter.Manager, ctx context.Context){
		"put":       func(m *adapter.Manager, ctx context.Context) { m.Put(ctx, "late", true) },
		"nothing":   func(m *adapter.Manager, ctx context.Context) {},
		"save":      func(m *adapter.Manager, ctx context.Context) { _ = m.Save(ctx) },
		"touch":     func(m *adapter.Manager, ctx context.Context) { _ = m.Touch(ctx) },
		"setMaxAge": func(m *adapter.Manager, ctx context.Context) { m.SetMaxAge(ctx, time.Hour) },
		"save twice": func(m *adapter.Manager, ctx context.Context) {
			m.Put(ctx, "late", true)
			_ = m.Save(ctx)
			m.Put(ctx, "later", true)
			_ = m.Save(ctx)
		},
		"save and reload": func(m *adapter.Manager, ctx context.Context) {
			_ = m.Reload(ctx)
			m.Put(ctx, "late", true)
		},
		"deadline": func(m *adapter.Manager, ctx context.Context) { m.SetDeadline(ctx, time.Now().Add(time.Hour)) },
	}
	for _, o := range []adapter.Options{{}, {Resave: true}, {Resave: true, Rolling: true, SaveUninitialized: true}, {Cookie: adapter.Cookie{MaxAge: time.Hour}}} {
		for end, ended := range ends {
			for use, used := range uses {
				t.Run(fmt.Sprintf("%s/%s/resave=%t,maxAge=%v", end, use, o.Resave, o.Cookie.MaxAge), func(t *testing.T) {
					everyStore(t, o, func(t *testing.T, m *adapter.Manager, store *mapStore) {
						id := begin(t, m, map[string]any{"user": "u"})
						w := within(t, m, id, func(ctx context.Context) {
							ended(m, store, id, t)
							used(m, ctx)
						})
						if values := read(t, m, id); values != nil {
							t.Errorf("the session is back: %v", values)
						}
						if got := w.Header().Get("Set-Cookie"); strings.HasPrefix(got, cookieFor(id)) && !o.Rolling {
							t.Errorf("its cookie is sent: %q", got)
						}
					})
				})
			}
		}
	}
}

// The data of a session that was ended meanwhile does not go on under a new id.
func TestRenewAfterLogoutIsEmpty(t *testing.T) {
	everyStore(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager, store *mapStore) {
		id := begin(t, m, map[string]any{"user": "u"})
		var next string
		within(t, m, id, func(ctx context.Context) {
			m.Put(ctx, "mine", 1)
			within(t, m, id, func(ctx context.Context) { _ = m.Destroy(ctx) })
			if err := m.RenewToken(ctx); err != nil {
				t.Error(err)
			}
			if m.Exists(ctx, "user") {
				t.Error("still signed in")
			}
			m.Put(ctx, "after", 2)
			next = m.ID(ctx)
		})
		if got := read(t, m, next); next == id || !reflect.DeepEqual(got, map[string]any{"after": 2}) {
			t.Errorf("the new session has %v", got)
		}
	})
}

// What another request saved between load and RenewToken goes along.
func TestRenewKeepsWhatOthersSaved(t *testing.T) {
	everyStore(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager, store *mapStore) {
		id := begin(t, m, map[string]any{"a": 1, "b": 1})
		var next string
		within(t, m, id, func(ctx context.Context) {
			m.Put(ctx, "mine", 1)
			within(t, m, id, func(ctx context.Context) { m.Put(ctx, "theirs", 2); m.Remove(ctx, "a") })
			if err := m.RenewToken(ctx); err != nil {
				t.Error(err)
			}
			m.Put(ctx, "b", 3)
			next = m.ID(ctx)
		})
		if got := read(t, m, next); !reflect.DeepEqual(got, map[string]any{"b": 3, "mine": 1, "theirs": 2}) {
			t.Errorf("the session has %v", got)
		}
	})
}

func TestNoUpdateIsLost(t *testing.T) {
	everyStore(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager, store *mapStore) {
		id := begin(t, m, map[string]any{"same": 0, "drop": 0, "keep": 0, "nested": "x"})
		within(t, m, id, func(ctx context.Context) {
			m.Put(ctx, "outer", 1)
			m.Put(ctx, "same", 1)
			m.Put(ctx, "keep", 0)
			within(t, m, id, func(ctx context.Context) {
				m.Put(ctx, "inner", 2)
				m.Put(ctx, "same", 2)
				m.Put(ctx, "keep", 2)
				m.Remove(ctx, "drop")
			})
			if err := m.Save(ctx); err != nil {
				t.Error(err)
			}
			// This request has not seen what the other one did, and must not
			// undo it at its second save either.
			within(t, m, id, func(ctx context.Context) { m.Put(ctx, "third", 3) })
			m.Put(ctx, "last", 4)
		})
		want := map[string]any{"outer": 1, "inner": 2, "same": 1, "keep": 2, "nested": "x", "third": 3, "last": 4}
		if got := read(t, m, id); !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// A maxAge or deadline that one request sets stays when another saves data.
// What another program writes in its own way, such as 1e2, is not a change of the
// request that only reads it.
func TestNumbersOfOthersAreNoChange(t *testing.T) {
	store := newMapStore()
	m := newManager(t, adapter.Options{Store: fullStore{store}, Codec: adapter.JSONCodec{}})
	for _, number := range []string{"1e2", "100.0", "-0.0", "1e18", "1e19", "1e21", "1.50"} {
		store.records["id"] = mapRecord{[]byte(`{"cookie":{},"n":[` + number + `]}`), time.Now().Add(time.Hour)}
		within(t, m, "id", func(ctx context.Context) {
			within(t, m, "id", func(ctx context.Context) { m.Put(ctx, "n", "new") })
			m.Put(ctx, "user", "u")
		})
		if got, want := read(t, m, "id"), map[string]any{"n": "new", "user": "u"}; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", number, got, want)
		}
	}
}

func TestNoAgeIsLost(t *testing.T) {
	everyStore(t, adapter.Options{Cookie: adapter.Cookie{MaxAge: time.Hour}}, func(t *testing.T, m *adapter.Manager, store *mapStore) {
		id := begin(t, m, map[string]any{"k": 0})
		within(t, m, id, func(ctx context.Context) {
			m.Put(ctx, "k", 1)
			within(t, m, id, func(ctx context.Context) { m.SetMaxAge(ctx, 48*time.Hour) })
		})
		within(t, m, id, func(ctx context.Context) {
			if age, _ := m.OriginalMaxAge(ctx); age != 48*time.Hour || m.GetInt(ctx, "k") != 1 {
				t.Errorf("maxAge %v, k %d", age, m.GetInt(ctx, "k"))
			}
		})
	})
}

func TestManyRequestsOnOneSession(t *testing.T) {
	everyStore(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager, store *mapStore) {
		const n = 100
		id := begin(t, m, map[string]any{"k": 0})
		var wg sync.WaitGroup
		var loaded sync.WaitGroup
		loaded.Add(n)
		for i := range n {
			wg.Go(func() {
				serve(m, cookieFor(id), func(w http.ResponseWriter, r *http.Request) {
					loaded.Done()
					loaded.Wait()
					m.Put(r.Context(), fmt.Sprintf("key%d", i), i)
				})
			})
		}
		wg.Wait()
		if got := read(t, m, id); len(got) != n+1 {
			t.Errorf("%d keys, want %d", len(got), n+1)
		}
	})
}

// A store without Swap is written under a lock, which must cover the whole of
// reading, comparing and writing.
func TestManyRequestsOnASlowPlainStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, adapter.Options{Store: slowStore{plainStore{newMapStore()}}})
		id := begin(t, m, map[string]any{"k": 0})
		var wg, loaded sync.WaitGroup
		loaded.Add(20)
		for i := range 20 {
			wg.Go(func() {
				serve(m, cookieFor(id), func(w http.ResponseWriter, r *http.Request) {
					loaded.Done()
					loaded.Wait()
					m.Put(r.Context(), fmt.Sprintf("key%d", i), i)
				})
			})
		}
		wg.Wait()
		if got := read(t, m, id); len(got) != 21 {
			t.Errorf("%d keys, want 21", len(got))
		}
	})
}

// slowStore lets every other goroutine run before it writes, in a bubble.
type slowStore struct{ plainStore }

func (s slowStore) Commit(token string, b []byte, expiry time.Time) error {
	time.Sleep(time.Millisecond)
	return s.plainStore.Commit(token, b, expiry)
}

// One request may use its session from several goroutines.
func TestGoroutinesOfOneRequest(t *testing.T) {
	everyStore(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager, store *mapStore) {
		id := begin(t, m, map[string]any{"k": 0})
		within(t, m, id, func(ctx context.Context) {
			var wg sync.WaitGroup
			for i := range 20 {
				wg.Go(func() {
					m.Put(ctx, fmt.Sprintf("key%d", i), i)
					m.ID(ctx)
					if err := errors.Join(m.Save(ctx), m.Touch(ctx)); err != nil {
						t.Error(err)
					}
					m.SetMaxAge(ctx, time.Hour)
				})
			}
			wg.Wait()
		})
		if got := read(t, m, id); len(got) != 21 {
			t.Errorf("%d keys", len(got))
		}
	})
}

// A save that never gets through gives up instead of hanging.
func TestContentionEnds(t *testing.T) {
	store := newMapStore()
	m := newManager(t, adapter.Options{Store: busyStore{fullStore{store}}})
	synctest.Test(t, func(t *testing.T) {
		id := begin(t, m, map[string]any{"k": 0})
		start := time.Now()
		w := serve(m, cookieFor(id), func(w http.ResponseWriter, r *http.Request) { m.Put(r.Context(), "k", 1) })
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Set-Cookie") != "" {
			t.Errorf("status %d, Set-Cookie %q", w.Code, w.Header().Get("Set-Cookie"))
		}
		if took := time.Since(start); took > 11*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// busyStore lets no replacement through.
type busyStore struct{ fullStore }

func (s busyStore) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	if old == nil {
		return s.fullStore.Swap(ctx, token, old, data, expiry)
	}
	b, _, err := s.FindCtx(ctx, token)
	return b, false, err
}

// On a store without Swap, a delete and a touch wait for a write that is under
// way, or the write would bring the session back, or the touch the old data.
func TestPlainStoreWritesOneAtATime(t *testing.T) {
	for name, do := range map[string]func(m *adapter.Manager, ctx context.Context) error{
		"delete": func(m *adapter.Manager, ctx context.Context) error { return m.Destroy(ctx) },
		"touch":  func(m *adapter.Manager, ctx context.Context) error { return m.Touch(ctx) },
	} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { plainStoreWritesOneAtATime(t, name, do) }) })
	}
}

func plainStoreWritesOneAtATime(t *testing.T, name string, do func(m *adapter.Manager, ctx context.Context) error) {
	store := &gatedStore{plainStore: plainStore{newMapStore()}}
	m := newManager(t, adapter.Options{Store: store})
	id := begin(t, m, map[string]any{"k": 0})
	found := make(chan struct{})
	resume := make(chan struct{})
	saved := make(chan struct{})
	within(t, m, id, func(ctx context.Context) {
		go func() {
			defer close(saved)
			within(t, m, id, func(ctx context.Context) {
				m.Put(ctx, "k", 1)
				store.beforeCommit = func() { close(found); <-resume; store.beforeCommit = nil }
			})
		}()
		<-found
		done := make(chan error, 1)
		go func() { done <- do(m, ctx) }()
		synctest.Wait()
		if len(done) > 0 {
			t.Error("it did not wait")
		}
		close(resume)
		<-saved
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	values := read(t, m, id)
	if name == "delete" && values != nil || name == "touch" && values["k"] != 1 {
		t.Errorf("record %v", values)
	}
}

// gatedStore stops in the middle of a write in two steps.
type gatedStore struct {
	plainStore
	beforeCommit func()
}

func (s *gatedStore) Commit(token string, b []byte, expiry time.Time) error {
	if s.beforeCommit != nil {
		s.beforeCommit()
	}
	return s.plainStore.Commit(token, b, expiry)
}

// In a conflict, an age that this request set stays, and so does another's.
func TestAgesInAConflict(t *testing.T) {
	everyStore(t, adapter.Options{Cookie: adapter.Cookie{MaxAge: time.Hour}}, func(t *testing.T, m *adapter.Manager, store *mapStore) {
		end := time.Now().Add(30 * time.Minute).UTC().Truncate(time.Millisecond)
		id := begin(t, m, map[string]any{"k": 0})
		within(t, m, id, func(ctx context.Context) {
			m.SetMaxAge(ctx, 2*time.Hour)
			m.Put(ctx, "mine", 1)
			within(t, m, id, func(ctx context.Context) {
				m.SetMaxAge(ctx, 3*time.Hour)
				m.SetDeadline(ctx, end)
			})
		})
		within(t, m, id, func(ctx context.Context) {
			if age, _ := m.OriginalMaxAge(ctx); age != 2*time.Hour {
				t.Errorf("maxAge %v, want this request's own", age)
			}
			if got := m.Deadline(ctx); !got.Equal(end) {
				t.Errorf("deadline %v, want the other request's %v", got, end)
			}
		})
	})
}
