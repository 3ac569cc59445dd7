package adapter_test

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/internal/leaktest"
)

// A session that has got its new id, and is then ended elsewhere, does not come back by
// what the handler does next.
func TestLogoutAfterANewIDIsFinal(t *testing.T) {
	for name, renew := range map[string]func(m *adapter.Manager, ctx context.Context) error{
		"regenerate": func(m *adapter.Manager, ctx context.Context) error { return m.Regenerate(ctx) },
		"renew":      func(m *adapter.Manager, ctx context.Context) error { return m.RenewToken(ctx) },
		"destroy":    func(m *adapter.Manager, ctx context.Context) error { return m.Destroy(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			everyStore(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager, store *mapStore) {
				clear(store.records)
				id := begin(t, m, map[string]any{"user": "u"})
				serve(m, cookieFor(id), func(w http.ResponseWriter, r *http.Request) {
					ctx := r.Context()
					if err := renew(m, ctx); err != nil {
						t.Error(err)
					}
					m.Put(ctx, "user", "u")
					w.WriteHeader(http.StatusOK)
					within(t, m, m.ID(ctx), func(ctx context.Context) { _ = m.Destroy(ctx) })
					m.Put(ctx, "late", true)
					if err := m.Save(ctx); !errors.Is(err, adapter.ErrGone) {
						t.Errorf("Save: %v", err)
					}
				})
				if len(store.records) != 0 {
					t.Error("the session came back after its logout")
				}
			})
		})
	}
}

func TestMergeInOddOrders(t *testing.T) {
	everyStore(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager, store *mapStore) {
		merge := func(ctx context.Context, id string) {
			t.Helper()
			if err := m.MergeSession(ctx, id); err != nil {
				t.Error(err)
			}
		}
		id := begin(t, m, map[string]any{"user": "u"})
		other := begin(t, m, map[string]any{"cart": 1})
		within(t, m, id, func(ctx context.Context) {
			merge(ctx, other)
			if err := m.Reload(ctx); err != nil {
				t.Error(err)
			}
			m.Put(ctx, "k", 1)
		})
		if got := read(t, m, other); !reflect.DeepEqual(got, map[string]any{"cart": 1}) {
			t.Errorf("after Reload the other session has %v", got)
		}

		// One with nothing new in it ends as well.
		empty := begin(t, m, map[string]any{"user": "u"})
		within(t, m, id, func(ctx context.Context) { merge(ctx, empty) })
		empty2 := begin(t, m, map[string]any{"user": "u"})
		within(t, m, id, func(ctx context.Context) {
			m.Put(ctx, "k", time.Now().String())
			if err := m.Save(ctx); err != nil {
				t.Error(err)
			}
			merge(ctx, empty2)
		})
		if read(t, m, empty) != nil || read(t, m, empty2) != nil {
			t.Error("the other session lives on")
		}
		nothing := begin(t, m, map[string]any{"k": 1})
		within(t, m, nothing, func(ctx context.Context) { m.Remove(ctx, "k") })
		w := serve(m, "", func(w http.ResponseWriter, r *http.Request) { merge(r.Context(), nothing) })
		if w.Header().Get("Set-Cookie") == "" {
			t.Error("a session that took over another one has no cookie")
		}

		// Two that both end before the save leave nothing behind.
		a, b := begin(t, m, map[string]any{"cart": "a"}), begin(t, m, map[string]any{"cart": "b"})
		within(t, m, id, func(ctx context.Context) {
			merge(ctx, a)
			merge(ctx, b)
			for _, other := range []string{a, b} {
				within(t, m, other, func(ctx context.Context) { _ = m.Destroy(ctx) })
			}
		})
		if got := read(t, m, id); got["cart"] != nil || got["user"] != "u" {
			t.Errorf("the session has %v", got)
		}
	})
}

// A deadline that another request has set stays, although this one saves later.
func TestDeadlineOfAnotherRequestStays(t *testing.T) {
	everyStore(t, adapter.Options{AbsoluteLifetime: 10 * time.Hour}, func(t *testing.T, m *adapter.Manager, store *mapStore) {
		id := begin(t, m, map[string]any{"user": "u"})
		within(t, m, id, func(ctx context.Context) {
			within(t, m, id, func(ctx context.Context) { m.SetDeadline(ctx, time.Now().Add(time.Minute)) })
			m.Put(ctx, "a", 1)
			if err := m.Save(ctx); err != nil {
				t.Error(err)
			}
			m.Put(ctx, "b", 1)
		})
		if left := time.Until(store.records[id].expiry); left > time.Minute {
			t.Errorf("the session lives for another %v", left)
		}
	})
}

// A listing sees every session, whatever CookieFunc makes of a request that is none.
func TestListingWithCookieFunc(t *testing.T) {
	m := newManager(t, adapter.Options{CookieFunc: func(r *http.Request) adapter.Cookie {
		if r.Host == "" {
			return adapter.Cookie{Path: "no path"}
		}
		return adapter.Cookie{MaxAge: time.Hour, Domain: r.Host}
	}})
	id := begin(t, m, map[string]any{"user": "u"})
	if got := read(t, m, id); !reflect.DeepEqual(got, map[string]any{"user": "u"}) {
		t.Errorf("Iterate shows %v", got)
	}
	if n, err := m.DestroyWhere(t.Context(), func(context.Context) bool { return true }); n != 1 || err != nil {
		t.Errorf("%d sessions were ended, %v", n, err)
	}
}

func TestEndTwice(t *testing.T) {
	m := newManager(t, adapter.Options{})
	ctx, err := m.Begin(httptest.NewRequest("GET", "/", nil))
	if err != nil {
		t.Fatal(err)
	}
	m.Put(ctx, "k", 1)
	for i, want := range []int{1, 0} {
		if h, err := m.End(ctx); err != nil || len(h["Set-Cookie"]) != want || h.Get("Vary") != "Cookie" {
			t.Errorf("call %d: %v, %v", i, h, err)
		}
	}
}

// A response that went around the writer ends the session where the handler asked for it,
// and gives it no id that the browser does not learn.
func TestAnswerAroundTheWriterInOddOrders(t *testing.T) {
	for name, tt := range map[string]struct {
		do   func(m *adapter.Manager, ctx context.Context) error
		live bool
	}{
		"unset":      {func(m *adapter.Manager, ctx context.Context) error { m.Unset(ctx); return nil }, false},
		"destroy":    {func(m *adapter.Manager, ctx context.Context) error { return m.Destroy(ctx) }, false},
		"regenerate": {func(m *adapter.Manager, ctx context.Context) error { return m.Regenerate(ctx) }, true},
		"renew":      {func(m *adapter.Manager, ctx context.Context) error { return m.RenewToken(ctx) }, true},
	} {
		out, store := &leaktest.Log{}, newMapStore()
		m := newManager(t, adapter.Options{Store: fullStore{store}, Logger: out.Logger(), Unset: adapter.UnsetDestroy})
		id := begin(t, m, map[string]any{"user": "u"})
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Cookie", cookieFor(id))
		w := &tellingWriter{ResponseRecorder: httptest.NewRecorder()}
		m.LoadAndSave(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if err := tt.do(m, r.Context()); err != nil {
				t.Error(err)
			}
			w.WriteHeader(http.StatusOK)
		})).ServeHTTP(w, r)
		if _, live := store.records[id]; live != tt.live || !strings.Contains(out.String(), "level=ERROR") {
			t.Errorf("%s: the session is there: %t; log: %s", name, live, out)
		}
	}
}

func TestGobErrorsNameTheKey(t *testing.T) {
	type unregistered struct{ A int }
	m := newManager(t, adapter.Options{})
	within(t, m, "", func(ctx context.Context) {
		m.Put(ctx, "good", 1)
		m.Put(ctx, "cart", unregistered{})
		if err := m.Save(ctx); err == nil || !strings.Contains(err.Error(), `the key "cart"`) || !strings.Contains(err.Error(), "adapter.Put") {
			t.Errorf("Save: %v", err)
		}
		m.Remove(ctx, "cart")
	})
}

func TestLoadIDTellsACookie(t *testing.T) {
	m := newManager(t, adapter.Options{})
	for _, value := range []string{"s:id.signature", "s%3Aid.signature"} {
		if _, err := m.LoadID(t.Context(), value); err == nil || !strings.Contains(err.Error(), "give it to Load") {
			t.Errorf("%v", err)
		}
	}
}

// A session whose end a request has noticed does not come back by Regenerate.
func TestRegenerateAfterANoticedEnd(t *testing.T) {
	for name, notice := range map[string]func(m *adapter.Manager, ctx context.Context) error{
		"touch":  func(m *adapter.Manager, ctx context.Context) error { return m.Touch(ctx) },
		"reload": func(m *adapter.Manager, ctx context.Context) error { return m.Reload(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			everyStore(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager, store *mapStore) {
				id := begin(t, m, map[string]any{"user": "u"})
				var next string
				within(t, m, id, func(ctx context.Context) {
					within(t, m, id, func(ctx context.Context) { _ = m.Destroy(ctx) })
					if err := notice(m, ctx); !errors.Is(err, adapter.ErrGone) {
						t.Errorf("%s: %v", name, err)
					}
					if err := m.Regenerate(ctx); err != nil {
						t.Error(err)
					}
					m.Put(ctx, "lang", "en")
					next = m.ID(ctx)
				})
				if got := read(t, m, next); !reflect.DeepEqual(got, map[string]any{"lang": "en"}) {
					t.Errorf("the new session has %v", got)
				}
			})
		})
	}
}

// A session that Regenerate has begun is saved, although the old one has ended before Touch.
func TestTouchAfterRegenerate(t *testing.T) {
	everyStore(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager, store *mapStore) {
		id := begin(t, m, map[string]any{"lang": "en"})
		w := within(t, m, id, func(ctx context.Context) {
			if err := m.Regenerate(ctx); err != nil {
				t.Error(err)
			}
			within(t, m, id, func(ctx context.Context) { _ = m.Destroy(ctx) })
			if err := m.Touch(ctx); err != nil {
				t.Errorf("Touch: %v", err)
			}
			m.Put(ctx, "user", "u")
		})
		if w.Header().Get("Set-Cookie") == "" {
			t.Error("the login is lost")
		}
	})
}

// What a handler does with the values of a merged session stays, although the other
// session is changed before the save.
func TestChangesAfterAMergeStay(t *testing.T) {
	gob.Register(map[string]string{})
	everyStore(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager, store *mapStore) {
		id := begin(t, m, map[string]any{"user": "u"})
		first := begin(t, m, map[string]any{"coupon": "x", "qty": 1, "colour": "red", "nested": map[string]string{"k": "v"}})
		second := begin(t, m, map[string]any{"colour": "blue"})
		within(t, m, id, func(ctx context.Context) {
			for _, other := range []string{first, second} {
				if err := m.MergeSession(ctx, other); err != nil {
					t.Error(err)
				}
			}
			m.Remove(ctx, "coupon")
			m.Put(ctx, "qty", 2)
			switch nested := m.Get(ctx, "nested").(type) {
			case map[string]string:
				nested["k"] = "w"
				m.Put(ctx, "nested", nested)
			case map[string]any:
				nested["k"] = "w"
				m.Put(ctx, "nested", nested)
			}
			within(t, m, first, func(ctx context.Context) { m.Put(ctx, "more", 1) })
		})
		got := read(t, m, id)
		if n := fmt.Sprint(got["nested"]); n != "map[k:w]" || got["coupon"] != nil || got["qty"] != 2 || got["more"] != 1 || got["colour"] != "blue" || len(got) != 5 {
			t.Errorf("the session has %v", got)
		}
	})
}

// A session that was merged before RenewToken stays as it was, if what it was merged into
// has ended since.
func TestMergeIntoASessionThatEnds(t *testing.T) {
	everyStore(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager, store *mapStore) {
		id := begin(t, m, map[string]any{"user": "u"})
		other := begin(t, m, map[string]any{"cart": 1})
		within(t, m, id, func(ctx context.Context) {
			if err := errors.Join(m.MergeSession(ctx, other), m.RenewToken(ctx)); err != nil {
				t.Error(err)
			}
			within(t, m, id, func(ctx context.Context) { _ = m.Destroy(ctx) })
			m.Put(ctx, "lang", "en")
		})
		if got := read(t, m, other); got["cart"] != 1 {
			t.Error("the other session's data is lost")
		}
	})
}

// While ids are being hashed, a session is the same one under both of its keys.
func TestTwoKeysOfOneSession(t *testing.T) {
	for name, test := range map[string]func(t *testing.T, m *adapter.Manager, id string){
		"two requests": func(t *testing.T, m *adapter.Manager, id string) {
			within(t, m, id, func(ctx context.Context) {
				within(t, m, id, func(ctx context.Context) { m.Put(ctx, "a", 1) })
				m.Put(ctx, "b", 1)
			})
		},
		"a listing": func(t *testing.T, m *adapter.Manager, id string) {
			if err := m.Iterate(t.Context(), func(ctx context.Context) error {
				within(t, m, id, func(theirs context.Context) {
					m.Put(theirs, "a", 1)
					if err := m.Save(theirs); err != nil {
						t.Error(err)
					}
					if err := m.Reload(ctx); err != nil {
						t.Error(err)
					}
					if err := m.Save(ctx); err != nil {
						t.Error(err)
					}
					m.Put(theirs, "b", 1)
				})
				return nil
			}); err != nil {
				t.Error(err)
			}
		},
		"a listing that saves": func(t *testing.T, m *adapter.Manager, id string) {
			if err := m.Iterate(t.Context(), func(ctx context.Context) error {
				within(t, m, id, func(theirs context.Context) {
					m.Put(theirs, "a", 1)
					if err := m.Save(theirs); err != nil {
						t.Error(err)
					}
					if err := m.Save(ctx); err != nil {
						t.Error(err)
					}
					m.Put(theirs, "b", 1)
				})
				return nil
			}); err != nil {
				t.Error(err)
			}
		},
		"merged twice": func(t *testing.T, m *adapter.Manager, id string) {
			serve(m, "", func(w http.ResponseWriter, r *http.Request) {
				if err := m.MergeSession(r.Context(), id); err != nil {
					t.Error(err)
				}
				m.Put(r.Context(), "a", 1)
				within(t, m, id, func(ctx context.Context) { m.Put(ctx, "a", 2) })
				if err := m.MergeSession(r.Context(), id); err != nil {
					t.Error(err)
				}
				if m.Get(r.Context(), "a") != 1 {
					t.Error("it was merged again")
				}
			})
		},
	} {
		for kind, make := range map[string]func(*mapStore) scs.Store{
			"full": func(s *mapStore) scs.Store { return fullStore{s} },
			"swap": func(s *mapStore) scs.Store { return swapStore{s, s, fullStore{s}} },
		} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				store := newMapStore()
				id := begin(t, newManager(t, adapter.Options{Store: fullStore{store}}), map[string]any{"user": "u"})
				m := newManager(t, adapter.Options{Store: make(store), StoreKey: adapter.StoreKeyMigrating})
				test(t, m, id)
				if name != "merged twice" {
					within(t, m, id, func(ctx context.Context) {
						if got := m.Keys(ctx); !reflect.DeepEqual(got, []string{"a", "b", "user"}) || len(store.records) != 1 {
							t.Errorf("the session has %v, and there are %d records", got, len(store.records))
						}
					})
				}
			})
		}
	}
}
