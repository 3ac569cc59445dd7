package adapter_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/internal/leaktest"
)

// bothCodecs runs a test with a Manager on each codec.
func bothCodecs(t *testing.T, o adapter.Options, test func(t *testing.T, m *adapter.Manager)) {
	t.Helper()
	for _, codec := range []scs.Codec{scs.GobCodec{}, adapter.JSONCodec{}} {
		t.Run(fmt.Sprintf("%T", codec), func(t *testing.T) {
			o.Codec = codec
			test(t, newManager(t, o))
		})
	}
}

// within runs a handler on the session with this id.
func within(t *testing.T, m *adapter.Manager, id string, do func(ctx context.Context)) *httptest.ResponseRecorder {
	t.Helper()
	w := serve(m, cookieFor(id), func(w http.ResponseWriter, r *http.Request) { do(r.Context()) })
	if w.Code != http.StatusOK {
		t.Fatalf("status %d", w.Code)
	}
	return w
}

func TestTouchOfAnEndedSession(t *testing.T) {
	everyStore(t, adapter.Options{Rolling: true}, func(t *testing.T, m *adapter.Manager, store *mapStore) {
		id := begin(t, m, map[string]any{"k": "v"})
		w := within(t, m, id, func(ctx context.Context) {
			delete(store.records, id)
			if err := m.Touch(ctx); !errors.Is(err, adapter.ErrGone) {
				t.Errorf("Touch: %v", err)
			}
		})
		if got := w.Header().Get("Set-Cookie"); got != "" {
			t.Errorf("its cookie is sent: %q", got)
		}
	})
}

func TestOwnMaxAgeSurvivesTheStore(t *testing.T) {
	for _, configured := range []time.Duration{0, time.Hour} {
		for _, own := range []time.Duration{0, time.Minute, 30 * 24 * time.Hour, 1500 * time.Millisecond} {
			bothCodecs(t, adapter.Options{Cookie: adapter.Cookie{MaxAge: configured}}, func(t *testing.T, m *adapter.Manager) {
				synctest.Test(t, func(t *testing.T) {
					id := begin(t, m, map[string]any{"k": "v"})
					within(t, m, id, func(ctx context.Context) { m.SetMaxAge(ctx, own) })
					w := within(t, m, id, func(ctx context.Context) {
						if got, ok := m.OriginalMaxAge(ctx); got != own || ok != (own != 0) {
							t.Errorf("OriginalMaxAge %v, %t; want %v", got, ok, own)
						}
						if got, ok := m.MaxAge(ctx); got != own || ok != (own != 0) {
							t.Errorf("MaxAge %v, %t; want %v", got, ok, own)
						}
						m.Put(ctx, "k", "w")
					})
					set := w.Header().Get("Set-Cookie")
					switch {
					case own == 0 && configured == 0 && set != "":
						t.Errorf("Set-Cookie %q", set)
					case own != 0 && !strings.Contains(set, fmt.Sprintf("Max-Age=%d;", int((own+time.Second-1)/time.Second))):
						t.Errorf("Set-Cookie %q", set)
					}
				})
			})
		}
	}
}

// FindTouch moves the expiry by the configuration's age before the session's
// own is known: the store must end up with the session's own.
func TestOwnMaxAgeRulesTheStore(t *testing.T) {
	store := newMapStore()
	bothCodecs(t, adapter.Options{Store: fullStore{store}, Cookie: adapter.Cookie{MaxAge: time.Hour}}, func(t *testing.T, m *adapter.Manager) {
		synctest.Test(t, func(t *testing.T) {
			for _, own := range []time.Duration{time.Minute, 30 * 24 * time.Hour} {
				id := begin(t, m, map[string]any{"k": "v"})
				within(t, m, id, func(ctx context.Context) { m.SetMaxAge(ctx, own) })
				time.Sleep(time.Second)
				store.takeCalls()
				within(t, m, id, func(context.Context) {})
				if got := store.takeCalls(); got != "findtouch touch" {
					t.Errorf("store calls %q", got)
				}
				if got := time.Until(store.records[id].expiry); got != own {
					t.Errorf("the record ends in %v, want %v", got, own)
				}
			}
		})
	})
}

func TestNegativeMaxAgeEndsTheSession(t *testing.T) {
	store := newMapStore()
	bothCodecs(t, adapter.Options{Store: fullStore{store}}, func(t *testing.T, m *adapter.Manager) {
		id := begin(t, m, map[string]any{"k": "v"})
		within(t, m, id, func(ctx context.Context) { m.SetMaxAge(ctx, -1) })
		if len(store.records) != 0 {
			t.Error("the record is still there")
		}
	})
}

func TestAbsoluteLifetime(t *testing.T) {
	store := newMapStore()
	o := adapter.Options{Store: fullStore{store}, AbsoluteLifetime: time.Hour, Cookie: adapter.Cookie{MaxAge: 20 * time.Minute}}
	bothCodecs(t, o, func(t *testing.T, m *adapter.Manager) {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			id := begin(t, m, map[string]any{"k": "v"})
			for range 5 { // used every 11 minutes: it would never be idle for 20
				time.Sleep(11 * time.Minute)
				within(t, m, id, func(ctx context.Context) {
					if !m.Exists(ctx, "k") {
						t.Fatalf("the session ended %v after it began", time.Since(start))
					}
					m.Put(ctx, "n", time.Since(start).String())
				})
			}
			if end := store.records[id].expiry; !end.Equal(start.Add(time.Hour)) {
				t.Errorf("the record ends %v after the start", end.Sub(start))
			}
			// Even a store that would keep it does not make it last.
			store.records[id] = mapRecord{store.records[id].data, start.Add(24 * time.Hour)}
			time.Sleep(5 * time.Minute)
			within(t, m, id, func(ctx context.Context) {
				if m.Exists(ctx, "k") {
					t.Error("the session outlives its absolute lifetime")
				}
			})
			if read(t, m, id) != nil {
				t.Error("Iterate shows it")
			}
		})
	})
}

// A record from before the limit was set gets one when it is first used.
func TestAbsoluteLifetimeOfAnOldRecord(t *testing.T) {
	store := newMapStore()
	bothCodecs(t, adapter.Options{Store: fullStore{store}}, func(t *testing.T, before *adapter.Manager) {
		limited := newManager(t, adapter.Options{Store: fullStore{store}, Codec: before.Codec, AbsoluteLifetime: time.Hour})
		synctest.Test(t, func(t *testing.T) {
			id := begin(t, before, map[string]any{"k": "v"})
			within(t, limited, id, func(context.Context) {})
			time.Sleep(59 * time.Minute)
			within(t, limited, id, func(ctx context.Context) {
				if !limited.Exists(ctx, "k") {
					t.Error("ended too early")
				}
			})
			time.Sleep(2 * time.Minute)
			within(t, limited, id, func(ctx context.Context) {
				if limited.Exists(ctx, "k") {
					t.Error("has no limit")
				}
			})
		})
	})
}

func TestTouchAfter(t *testing.T) {
	store := newMapStore()
	o := adapter.Options{Store: fullStore{store}, TouchAfter: 10 * time.Minute, Cookie: adapter.Cookie{MaxAge: time.Hour}}
	bothCodecs(t, o, func(t *testing.T, m *adapter.Manager) {
		synctest.Test(t, func(t *testing.T) {
			id := begin(t, m, map[string]any{"k": "v"})
			for _, step := range []struct {
				wait  time.Duration
				calls string
				left  time.Duration
			}{
				{time.Minute, "findexpiry", 59 * time.Minute},
				{8 * time.Minute, "findexpiry", 51 * time.Minute},
				{time.Minute, "findexpiry touch", time.Hour},
				{9 * time.Minute, "findexpiry", 51 * time.Minute},
			} {
				time.Sleep(step.wait)
				store.takeCalls()
				within(t, m, id, func(context.Context) {})
				if got := store.takeCalls(); got != step.calls {
					t.Errorf("store calls %q, want %q", got, step.calls)
				}
				if got := time.Until(store.records[id].expiry); got != step.left {
					t.Errorf("the record ends in %v, want %v", got, step.left)
				}
			}
		})
	})
}

func TestReload(t *testing.T) {
	bothCodecs(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager) {
		id := begin(t, m, map[string]any{"k": "v", "n": 1})
		within(t, m, id, func(ctx context.Context) {
			within(t, m, id, func(ctx context.Context) { m.Put(ctx, "k", "other"); m.Put(ctx, "new", true) })
			m.Put(ctx, "k", "mine")
			m.Put(ctx, "x", 1)
			if err := m.Reload(ctx); err != nil {
				t.Fatal(err)
			}
			want := []string{"k", "n", "new"}
			if got := m.Keys(ctx); !reflect.DeepEqual(got, want) || m.GetString(ctx, "k") != "other" || m.GetInt(ctx, "n") != 1 {
				t.Errorf("keys %v, k %q", got, m.GetString(ctx, "k"))
			}
			m.Put(ctx, "y", 2)
		})
		if got := read(t, m, id); got["k"] != "other" || got["y"] != 2 || got["x"] != nil {
			t.Errorf("record %v", got)
		}
		within(t, m, id, func(ctx context.Context) {
			within(t, m, id, func(ctx context.Context) { _ = m.Destroy(ctx) })
			for name, err := range map[string]error{
				"Reload": m.Reload(ctx), "Save": m.Save(ctx), "Touch": m.Touch(ctx),
			} {
				if !errors.Is(err, adapter.ErrGone) {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	})
}

func TestSaveTwiceAndThenMore(t *testing.T) {
	store := newMapStore()
	m := newManager(t, adapter.Options{Store: fullStore{store}})
	serve(m, "", func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		if m.Token(ctx) != "" || len(m.ID(ctx)) != 32 {
			t.Errorf("before the save: Token %q, ID %q", m.Token(ctx), m.ID(ctx))
		}
		m.Put(ctx, "a", 1)
		if err := m.Save(ctx); err != nil {
			t.Fatal(err)
		}
		if m.Token(ctx) == "" || m.Token(ctx) != m.ID(ctx) {
			t.Errorf("after the save: Token %q, ID %q", m.Token(ctx), m.ID(ctx))
		}
		m.Put(ctx, "b", 2)
	})
	if got := store.takeCalls(); got != "create replace" {
		t.Errorf("store calls %q", got)
	}
}

func TestTouchMovesTheExpiryNow(t *testing.T) {
	store := newMapStore()
	m := newManager(t, adapter.Options{Store: fullStore{store}, Cookie: adapter.Cookie{MaxAge: time.Hour}})
	synctest.Test(t, func(t *testing.T) {
		id := begin(t, m, map[string]any{"k": 1})
		within(t, m, id, func(ctx context.Context) {
			time.Sleep(50 * time.Minute)
			if err := m.Touch(ctx); err != nil {
				t.Error(err)
			}
			if got := time.Until(store.records[id].expiry); got != time.Hour {
				t.Errorf("the record ends in %v", got)
			}
		})
	})
}

func TestDestroyThenPutBeginsANewSession(t *testing.T) {
	bothCodecs(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager) {
		id := begin(t, m, map[string]any{"user": "u"})
		var next string
		w := within(t, m, id, func(ctx context.Context) {
			if err := m.Destroy(ctx); err != nil {
				t.Error(err)
			}
			m.Put(ctx, "flash", "bye")
			next = m.ID(ctx)
		})
		if next == id || read(t, m, id) != nil || !reflect.DeepEqual(read(t, m, next), map[string]any{"flash": "bye"}) {
			t.Errorf("old %v, new %v", read(t, m, id), read(t, m, next))
		}
		if got := w.Header()["Set-Cookie"]; len(got) != 1 || !strings.HasPrefix(got[0], cookieFor(next)) {
			t.Errorf("Set-Cookie %q", got)
		}
	})
}

// The cookie is cleared with the attributes that the browser has it under.
func TestClearedCookieHasTheStoredAttributes(t *testing.T) {
	store := fullStore{newMapStore()}
	before := newManager(t, adapter.Options{Store: store, Codec: adapter.JSONCodec{}, Cookie: adapter.Cookie{Domain: "example.com"}})
	id := begin(t, before, map[string]any{"user": "u"})
	after := newManager(t, adapter.Options{Store: store, Codec: adapter.JSONCodec{}})
	w := within(t, after, id, func(ctx context.Context) { _ = after.Destroy(ctx) })
	if got := w.Header().Get("Set-Cookie"); !strings.Contains(got, "; Domain=example.com;") {
		t.Errorf("Set-Cookie %q", got)
	}
}

func TestMergeSession(t *testing.T) {
	bothCodecs(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager) {
		first := begin(t, m, map[string]any{"a": "first", "b": "first"})
		second := begin(t, m, map[string]any{"b": "second", "c": "second"})
		within(t, m, first, func(ctx context.Context) {
			for _, token := range []string{second, first, "unknown", ""} {
				if err := m.MergeSession(ctx, token); err != nil {
					t.Error(err)
				}
			}
		})
		if got := read(t, m, first); !reflect.DeepEqual(got, map[string]any{"a": "first", "b": "second", "c": "second"}) {
			t.Errorf("session %v", got)
		}
		if read(t, m, second) != nil {
			t.Error("the other session is still there")
		}
	})
}

// Load, Commit and WriteSessionCookie do without the middleware, as with scs.
func TestWithoutTheMiddleware(t *testing.T) {
	bothCodecs(t, adapter.Options{Cookie: adapter.Cookie{MaxAge: time.Hour}}, func(t *testing.T, m *adapter.Manager) {
		ctx, err := m.Load(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		m.Put(ctx, "k", "v")
		token, expiry, err := m.Commit(ctx)
		if err != nil || token != m.ID(ctx) || time.Until(expiry).Round(time.Minute) != time.Hour {
			t.Fatalf("%q, %v, %v", token, expiry, err)
		}
		w := httptest.NewRecorder()
		m.WriteSessionCookie(ctx, w, token, expiry)
		set := w.Result().Cookies()[0]
		if cookieFor(token) != "connect.sid="+set.Value || set.MaxAge != 3600 {
			t.Errorf("Set-Cookie %q", w.Header())
		}
		for name, load := range map[string]func() (context.Context, error){
			"id":           func() (context.Context, error) { return m.LoadID(t.Context(), token) },
			"cookie value": func() (context.Context, error) { return m.Load(t.Context(), set.Value) },
		} {
			ctx, err := load()
			if err != nil || m.GetString(ctx, "k") != "v" {
				t.Errorf("Load of an %s: %q, %v", name, m.GetString(ctx, "k"), err)
			}
			if again, err := m.Load(ctx, ""); again != ctx || err != nil {
				t.Error("a second Load makes another session")
			}
		}
		for _, value := range []string{"s:" + token + ".forged", token} {
			if ctx, err := m.Load(t.Context(), value); err != nil || m.Exists(ctx, "k") {
				t.Errorf("a value without a good signature is accepted: %v", err)
			}
		}
		w = httptest.NewRecorder()
		m.WriteSessionCookie(ctx, w, "", time.Time{})
		if got := w.Result().Cookies()[0]; got.MaxAge != -1 || got.Value != "" {
			t.Errorf("cleared: %q", w.Header())
		}
	})
}

func TestIterateChanges(t *testing.T) {
	for name, store := range map[string]func(*mapStore) scs.Store{
		"full":  func(s *mapStore) scs.Store { return fullStore{s} },
		"plain": func(s *mapStore) scs.Store { return plainStore{s} },
	} {
		t.Run(name, func(t *testing.T) {
			s := newMapStore()
			out := &leaktest.Log{}
			m := newManager(t, adapter.Options{Store: store(s), Logger: out.Logger()})
			drop := begin(t, m, map[string]any{"user": "drop"})
			keep := begin(t, m, map[string]any{"user": "keep"})
			s.records["foreign"] = mapRecord{[]byte("?"), time.Now().Add(time.Hour)}
			if err := m.Iterate(t.Context(), func(ctx context.Context) error {
				if m.GetString(ctx, "user") == "drop" {
					return m.Destroy(ctx)
				}
				m.Put(ctx, "seen", true)
				_, _, err := m.Commit(ctx)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			if read(t, m, drop) != nil || !reflect.DeepEqual(read(t, m, keep), map[string]any{"user": "keep", "seen": true}) {
				t.Errorf("%v, %v", read(t, m, drop), read(t, m, keep))
			}
			if !strings.Contains(out.String(), "left out") || s.records["foreign"].data == nil {
				t.Error("the foreign record")
			}
		})
	}
	m := newManager(t, adapter.Options{Store: struct{ scs.Store }{newMapStore()}})
	if err := m.Iterate(t.Context(), nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a store without listing: %v", err)
	}
}

func TestStoreErrorsReachTheHandler(t *testing.T) {
	down := errors.New("down")
	for call, do := range map[string]func(m *adapter.Manager, ctx context.Context) error{
		"delete":    func(m *adapter.Manager, ctx context.Context) error { return m.Destroy(ctx) },
		"find":      func(m *adapter.Manager, ctx context.Context) error { return m.RenewToken(ctx) },
		"replace":   func(m *adapter.Manager, ctx context.Context) error { return m.Save(ctx) },
		"touch":     func(m *adapter.Manager, ctx context.Context) error { return m.Touch(ctx) },
		"findtouch": func(m *adapter.Manager, ctx context.Context) error { return m.Reload(ctx) },
	} {
		t.Run(call, func(t *testing.T) {
			store := newMapStore()
			m := newManager(t, adapter.Options{Store: fullStore{store}})
			id := begin(t, m, map[string]any{"user": "u"})
			within(t, m, id, func(ctx context.Context) {
				store.fail = map[string]error{call: down}
				var s *adapter.StoreError
				if err := do(m, ctx); !errors.As(err, &s) || !errors.Is(err, down) {
					t.Errorf("error %v", err)
				}
				store.fail = nil
				if m.ID(ctx) != id || m.GetString(ctx, "user") != "u" {
					t.Error("the session is not what it was")
				}
			})
			if read(t, m, id) == nil {
				t.Error("the session is gone")
			}
		})
	}
}
