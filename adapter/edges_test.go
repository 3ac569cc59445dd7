package adapter_test

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/gob"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/internal/leaktest"
)

// The cases here are those that the larger tests do not reach: rare options,
// calls in an unusual order, and what goes wrong in between.

func TestNoMaxAgeUnderAConfiguredOne(t *testing.T) {
	store := newMapStore()
	bothCodecs(t, adapter.Options{Store: fullStore{store}, TTL: time.Hour, Cookie: adapter.Cookie{MaxAge: 30 * 24 * time.Hour}}, func(t *testing.T, m *adapter.Manager) {
		var id string
		w := serve(m, "", func(w http.ResponseWriter, r *http.Request) {
			m.Put(r.Context(), "user", "u")
			m.SetMaxAge(r.Context(), 0) // "remember me" not ticked
			id = m.ID(r.Context())
		})
		if set := w.Header().Get("Set-Cookie"); strings.Contains(set, "Expires") {
			t.Errorf("persistent cookie: %q", set)
		}
		if left := time.Until(store.records[id].expiry); left > 2*time.Hour {
			t.Errorf("store keeps it %v, TTL is 1h", left)
		}
	})
}

func TestPastExpiresSparesOwnAges(t *testing.T) {
	store := newMapStore()
	m1 := newManager(t, adapter.Options{Store: fullStore{store}, Codec: adapter.JSONCodec{}, Cookie: adapter.Cookie{Expires: time.Now().Add(time.Hour)}})
	m2 := newManager(t, adapter.Options{Store: fullStore{store}, Codec: adapter.JSONCodec{}, Cookie: adapter.Cookie{Expires: time.Now().Add(-time.Second)}})
	id := begin(t, m1, map[string]any{"user": "u"})
	within(t, m2, id, func(ctx context.Context) {
		if !m2.Exists(ctx, "user") {
			t.Error("a live session with an age of its own was ended by a read")
		}
	})
}

func TestTouchAfterWithAShortAge(t *testing.T) {
	store := newMapStore()
	bothCodecs(t, adapter.Options{Store: fullStore{store}, TouchAfter: 10 * time.Minute, Cookie: adapter.Cookie{MaxAge: time.Hour}}, func(t *testing.T, m *adapter.Manager) {
		synctest.Test(t, func(t *testing.T) {
			id := begin(t, m, map[string]any{"k": "v"})
			within(t, m, id, func(ctx context.Context) { m.SetMaxAge(ctx, 5*time.Minute) })
			for i := range 6 {
				time.Sleep(time.Minute)
				within(t, m, id, func(ctx context.Context) {
					if !m.Exists(ctx, "k") {
						t.Errorf("used each minute, ended after %d", i+1)
					}
				})
			}
		})
	})
}

func TestAgeOfCookieFuncIsKept(t *testing.T) {
	bothCodecs(t, adapter.Options{CookieFunc: func(r *http.Request) adapter.Cookie {
		if r.Header.Get("Remember") != "" {
			return adapter.Cookie{MaxAge: 30 * 24 * time.Hour}
		}
		return adapter.Cookie{}
	}}, func(t *testing.T, m *adapter.Manager) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Remember", "1")
		w := httptest.NewRecorder()
		var id string
		m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.Put(r.Context(), "k", 1); id = m.ID(r.Context()) })).ServeHTTP(w, r)
		within(t, m, id, func(ctx context.Context) {
			if age, _ := m.OriginalMaxAge(ctx); age != 30*24*time.Hour {
				t.Errorf("age %v on the second request", age)
			}
		})
	})
}

func TestLoadWithGenID(t *testing.T) {
	defer func() {
		if v := recover(); v != nil {
			t.Errorf("panic: %v", v)
		}
	}()
	m := newManager(t, adapter.Options{GenID: func(r *http.Request) string { return r.RemoteAddr + "12345678901234567890" }})
	ctx, _ := m.Load(t.Context(), "")
	m.Put(ctx, "a", 1)
	_, _, _ = m.Commit(ctx)
}

func TestNegativeMaxAgeThenMore(t *testing.T) {
	bothCodecs(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager) {
		id := begin(t, m, map[string]any{"k": "v"})
		w := serve(m, cookieFor(id), func(w http.ResponseWriter, r *http.Request) {
			ctx := r.Context()
			m.SetMaxAge(ctx, -1)
			if err := m.Save(ctx); err != nil {
				t.Error(err)
			}
			m.Put(ctx, "x", 1)
		})
		if w.Code != 200 {
			t.Errorf("put: status %d", w.Code)
		}
		id = begin(t, m, map[string]any{"k": "v"})
		w = serve(m, cookieFor(id), func(w http.ResponseWriter, r *http.Request) {
			ctx := r.Context()
			m.SetMaxAge(ctx, -1)
			_ = m.Save(ctx)
			m.SetMaxAge(ctx, time.Hour)
			_ = m.RenewToken(ctx)
		})
		if w.Code != 200 {
			t.Errorf("renew: status %d", w.Code)
		}
	})
}

func TestLateUnsetDestroys(t *testing.T) {
	out := &leaktest.Log{}
	m := newManager(t, adapter.Options{Unset: adapter.UnsetDestroy, Logger: out.Logger(), Cookie: adapter.Cookie{MaxAge: time.Hour}})
	id := begin(t, m, map[string]any{"user": "u"})
	serve(m, cookieFor(id), func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("x"))
		m.Unset(r.Context())
	})
	if read(t, m, id) != nil && out.String() == "" {
		t.Error("Unset after the first byte: record stays, nothing logged")
	}
}

func TestTokenAfterRenew(t *testing.T) {
	m := newManager(t, adapter.Options{})
	id := begin(t, m, map[string]any{"user": "u"})
	within(t, m, id, func(ctx context.Context) {
		if err := m.RenewToken(ctx); err != nil {
			t.Error(err)
		}
		if m.Token(ctx) == "" {
			t.Error("Token is empty after RenewToken; scs returns the new token")
		}
	})
}

func TestPrintingAManagerHidesTheSecrets(t *testing.T) {
	m := newManager(t, adapter.Options{})
	if strings.Contains(fmt.Sprintf("%+v", m), secret) {
		t.Error("printing a Manager shows the secret")
	}
	o := adapter.Options{Name: "sid", Secrets: []string{secret}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		for _, v := range []any{o, &o, struct{ O adapter.Options }{o}} {
			if got := fmt.Sprintf(verb, v); strings.Contains(got, secret) || strings.Contains(got, fmt.Sprintf("%x", secret)) {
				t.Errorf("printing Options by %s shows the secret", verb)
			}
		}
	}
	if got := fmt.Sprintf("%+v", o); !strings.Contains(got, "Name:sid") || o.Secrets[0] != secret {
		t.Errorf("printed: %s", got)
	}
}

type idHandler struct {
	slog.Handler
	m **adapter.Manager
}

func (h idHandler) Handle(ctx context.Context, r slog.Record) error {
	has := "no session in the context"
	func() {
		defer func() { _ = recover() }()
		has = fmt.Sprint((*h.m).Token(ctx) != "")
	}()
	r.AddAttrs(slog.String("has", has))
	return h.Handler.Handle(ctx, r)
}

// A logger's handler may ask for the session: no line waits for a lock that its writer
// holds.
func TestLoggerThatAsksTheManager(t *testing.T) {
	out := &leaktest.Log{}
	var m *adapter.Manager
	m = newManager(t, adapter.Options{Logger: slog.New(idHandler{out.Logger().Handler(), &m})})
	id := begin(t, m, map[string]any{"user": "u"})
	serve(m, cookieFor(id), func(w http.ResponseWriter, r *http.Request) {
		within(t, m, id, func(ctx context.Context) { _ = m.Destroy(ctx) })
		m.Put(r.Context(), "a", 1)
	})
	if got := out.String(); !strings.Contains(got, "was ended while this request ran") || !strings.Contains(got, "has=") {
		t.Errorf("log: %s", got)
	}
}

// An expiry that is as far away as people like to write does not end the session at once,
// although stores count in nanoseconds.
func TestFarExpires(t *testing.T) {
	for name, store := range map[string]scs.Store{"default": nil, "scs, memory": memstore.NewWithCleanupInterval(0)} {
		m := adapter.MustNew(adapter.Options{
			Secrets: []string{secret},
			Store:   store,
			Cookie:  adapter.Cookie{Expires: time.UnixMilli(253402300000000)},
		})
		id := begin(t, m, map[string]any{"user": "u"})
		within(t, m, id, func(ctx context.Context) {
			if !m.Exists(ctx, "user") {
				t.Errorf("%s: the session has ended", name)
			}
		})
	}
}

func TestAutoSecureIsKept(t *testing.T) {
	bothCodecs(t, adapter.Options{Rolling: true, Cookie: adapter.Cookie{Secure: adapter.SecureAuto, MaxAge: time.Hour}, Proxy: adapter.ProxyTrusted}, func(t *testing.T, m *adapter.Manager) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("X-Forwarded-Proto", "https")
		w := httptest.NewRecorder()
		var id string
		m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.Put(r.Context(), "k", 1); id = m.ID(r.Context()) })).ServeHTTP(w, r)
		w = within(t, m, id, func(ctx context.Context) {})
		if set := w.Header().Get("Set-Cookie"); set != "" {
			t.Errorf("session begun on https, cookie sent in clear: %q", set)
		}
	})
}

func TestDestroyThenUnset(t *testing.T) {
	m := newManager(t, adapter.Options{})
	id := begin(t, m, map[string]any{"user": "u"})
	w := within(t, m, id, func(ctx context.Context) { _ = m.Destroy(ctx); m.Unset(ctx) })
	if w.Header().Get("Set-Cookie") == "" {
		t.Error("destroy then unset: cookie stays")
	}
}

func TestDestroyThenSave(t *testing.T) {
	store := newMapStore()
	m := newManager(t, adapter.Options{Store: fullStore{store}})
	id := begin(t, m, map[string]any{"user": "u"})
	within(t, m, id, func(ctx context.Context) { _ = m.Destroy(ctx); _ = m.Save(ctx) })
	if n := len(store.records); n != 0 {
		t.Errorf("%d orphan records", n)
	}
}

func TestMergeIntoASessionThatIsNotSaved(t *testing.T) {
	for name, do := range map[string]func(m *adapter.Manager, w http.ResponseWriter, ctx context.Context, id string){
		"begun": func(m *adapter.Manager, w http.ResponseWriter, ctx context.Context, id string) {
			_, _ = w.Write([]byte("x"))
		},
		"unset": func(m *adapter.Manager, w http.ResponseWriter, ctx context.Context, id string) { m.Unset(ctx) },
		"gone": func(m *adapter.Manager, w http.ResponseWriter, ctx context.Context, id string) {
			within(t, m, id, func(ctx context.Context) { _ = m.Destroy(ctx) })
			_ = m.Save(ctx)
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newManager(t, adapter.Options{})
			id := begin(t, m, map[string]any{"user": "u"})
			other := begin(t, m, map[string]any{"cart": "c"})
			var err error
			serve(m, cookieFor(id), func(w http.ResponseWriter, r *http.Request) {
				do(m, w, r.Context(), id)
				err = m.MergeSession(r.Context(), other)
			})
			if err == nil && read(t, m, other) == nil && read(t, m, id)["cart"] == nil {
				t.Error("the other session's data is gone for good, and no error")
			}
		})
	}
}

func TestMaxAgeHeedsTheDeadline(t *testing.T) {
	m := newManager(t, adapter.Options{AbsoluteLifetime: time.Hour, Cookie: adapter.Cookie{MaxAge: time.Hour}})
	serve(m, "", func(w http.ResponseWriter, r *http.Request) {
		m.SetMaxAge(r.Context(), 48*time.Hour)
		if left, _ := m.MaxAge(r.Context()); left > time.Hour {
			t.Errorf("MaxAge %v", left)
		}
	})
	id := begin(t, m, map[string]any{"user": "u"})
	within(t, m, id, func(ctx context.Context) {
		m.SetDeadline(ctx, time.Now().Add(time.Minute))
		if left, _ := m.MaxAge(ctx); left > time.Minute {
			t.Errorf("MaxAge after SetDeadline %v", left)
		}
	})
}

func TestNothingLivesPastItsDeadline(t *testing.T) {
	store := newMapStore()
	m := newManager(t, adapter.Options{Store: fullStore{store}, Codec: adapter.JSONCodec{}, AbsoluteLifetime: 8 * time.Hour, Cookie: adapter.Cookie{MaxAge: time.Hour}})
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		id := begin(t, m, map[string]any{"user": "u"})
		for range 8 {
			time.Sleep(52*time.Minute + 31*time.Second)
			within(t, m, id, func(ctx context.Context) {})
		}
		time.Sleep(time.Until(start.Add(8*time.Hour)) + time.Second)
		t.Logf("store keeps %v past the deadline", store.records[id].expiry.Sub(start.Add(8*time.Hour)))
		for range 3 {
			within(t, m, id, func(ctx context.Context) {})
			if past := store.records[id].expiry.Sub(start.Add(8 * time.Hour)); past > 0 {
				t.Errorf("expiry is %v past the deadline (Express would accept it)", past)
			}
			time.Sleep(30 * time.Minute)
		}
	})
}

func TestErrorFuncThatWritesNothing(t *testing.T) {
	store := newMapStore()
	m := newManager(t, adapter.Options{Store: fullStore{store}})
	m.ErrorFunc = func(http.ResponseWriter, *http.Request, error) {}
	store.fail = map[string]error{"create": errors.New("down")}
	w := serve(m, "", func(w http.ResponseWriter, r *http.Request) { m.Put(r.Context(), "a", 1); w.WriteHeader(201) })
	if w.Code == 200 {
		t.Error("failed save is a 200 with an ErrorFunc that writes nothing")
	}
}

func TestReloadThatFailsChangesNothing(t *testing.T) {
	store := newMapStore()
	m := newManager(t, adapter.Options{Store: fullStore{store}, Cookie: adapter.Cookie{MaxAge: time.Hour}})
	id := begin(t, m, map[string]any{"a": 1})
	within(t, m, id, func(ctx context.Context) { m.SetMaxAge(ctx, time.Minute) })
	within(t, m, id, func(ctx context.Context) {
		within(t, m, id, func(ctx context.Context) { m.Put(ctx, "a", 2) })
		store.fail = map[string]error{"touch": errors.New("down")}
		err := m.Reload(ctx)
		store.fail = nil
		if err == nil {
			t.Error("no error")
		}
		m.Put(ctx, "mine", 1)
	})
	if got := read(t, m, id); got["a"] != 2 {
		t.Errorf("the other request's change is lost: %v", got)
	}
}

// A limit that can't be read must not become none.
func TestUnreadableDeadline(t *testing.T) {
	store := newMapStore()
	m := newManager(t, adapter.Options{Store: fullStore{store}, Codec: adapter.JSONCodec{}})
	store.records["id"] = mapRecord{[]byte(`{"cookie":{},"user":"u","__deadline":"tomorrow"}`), time.Now().Add(time.Hour)}
	within(t, m, "id", func(ctx context.Context) {
		if m.Exists(ctx, "user") {
			t.Error("signed in without a limit")
		}
	})
	if m.Stats().UnreadableRecords != 1 {
		t.Error("it does not count as unreadable")
	}
}

func TestCodecsOwnKeys(t *testing.T) {
	for _, key := range []string{"__deadline", "__sliding", "__originalMaxAge"} {
		bothCodecs(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager) {
			w := serve(m, "", func(w http.ResponseWriter, r *http.Request) {
				m.Put(r.Context(), key, 5)
				m.Put(r.Context(), "user", "u")
			})
			if w.Code != 200 {
				return
			}
			ck := strings.Split(w.Header().Get("Set-Cookie"), ";")[0]
			serve(m, ck, func(w http.ResponseWriter, r *http.Request) {
				if m.GetInt(r.Context(), key) != 5 || m.GetString(r.Context(), "user") != "u" {
					t.Errorf("%s: %v %v", key, m.Get(r.Context(), key), m.Get(r.Context(), "user"))
				}
			})
		})
	}
}

func TestClientThatLeavesWhileLoading(t *testing.T) {
	store := newMapStore()
	ctx, cancel := context.WithCancel(t.Context())
	leave := func() {}
	m := newManager(t, adapter.Options{Store: cancelStore{fullStore{store}, &leave}, Cookie: adapter.Cookie{MaxAge: 7 * 24 * time.Hour}})
	id := begin(t, m, map[string]any{"a": 1})
	within(t, m, id, func(ctx context.Context) { m.SetMaxAge(ctx, 5*time.Minute) })
	leave = cancel
	r := httptest.NewRequest("GET", "/", nil).WithContext(ctx)
	r.Header.Set("Cookie", cookieFor(id))
	m.LoadAndSave(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), r)
	if left := time.Until(store.records[id].expiry); left > 5*time.Minute {
		t.Errorf("a session of 5 minutes lives %v after a client that left", left)
	}
}

// cancelStore calls leave when it has read a record.
type cancelStore struct {
	fullStore
	leave *func()
}

func (s cancelStore) FindTouch(ctx context.Context, token string, expiry time.Time) ([]byte, bool, error) {
	b, ok, err := s.fullStore.FindTouch(ctx, token, expiry)
	(*s.leave)()
	return b, ok, err
}

func (s cancelStore) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	if ctx.Err() != nil {
		return nil, false, ctx.Err()
	}
	return s.fullStore.Swap(ctx, token, old, data, expiry)
}

func TestOddUnsignedIDs(t *testing.T) {
	for _, form := range []adapter.Signature{adapter.SignatureMigrating, adapter.SignatureNone} {
		store := newMapStore()
		m := newManager(t, adapter.Options{Store: fullStore{store}, Signature: form})
		for _, v := range []string{"%00", "\xff\xfe", strings.Repeat("a", 4000)} {
			serve(m, "connect.sid="+v, func(w http.ResponseWriter, r *http.Request) {})
			if got := store.takeCalls(); got != "" {
				t.Errorf("form %q, %.8q: store calls %q", form, v, got)
			}
		}
	}
}

func TestTextIsNoBytesUnderGob(t *testing.T) {
	m := newManager(t, adapter.Options{Codec: scs.GobCodec{}})
	id := begin(t, m, map[string]any{"s": "abcd", "t": "2024-01-01T00:00:00Z"})
	within(t, m, id, func(ctx context.Context) {
		if m.GetBytes(ctx, "s") != nil || !m.GetTime(ctx, "t").IsZero() {
			t.Error("under gob a string is decoded as bytes/time; scs gives the zero value")
		}
	})
}

func TestSubMillisecondAge(t *testing.T) {
	bothCodecs(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager) {
		id := begin(t, m, map[string]any{"s": "abcd"})
		within(t, m, id, func(ctx context.Context) { m.SetMaxAge(ctx, time.Hour+500*time.Microsecond) })
		within(t, m, id, func(ctx context.Context) {
			if a, _ := m.OriginalMaxAge(ctx); a != time.Hour+500*time.Microsecond {
				t.Error(a)
			}
		})
	})
}

func TestReadOfASessionThatCantSlide(t *testing.T) {
	store := newMapStore()
	m := newManager(t, adapter.Options{Store: fullStore{store}, AbsoluteLifetime: 24 * time.Hour})
	synctest.Test(t, func(t *testing.T) {
		id := begin(t, m, map[string]any{"s": "abcd"})
		for range 3 {
			time.Sleep(time.Hour)
			store.takeCalls()
			within(t, m, id, func(ctx context.Context) {})
			if got := store.takeCalls(); got != "findexpiry" {
				t.Errorf("a read is %q", got)
			}
		}
	})
}

func TestUnsetThenLogin(t *testing.T) {
	out := &leaktest.Log{}
	m := newManager(t, adapter.Options{Logger: out.Logger()})
	id := begin(t, m, map[string]any{"user": "u"})
	var err error
	w := within(t, m, id, func(ctx context.Context) {
		m.Unset(ctx)
		err = m.Regenerate(ctx)
		m.Put(ctx, "user", "v")
	})
	if err == nil && w.Header().Get("Set-Cookie") == "" && out.String() == "" {
		t.Error("Unset, Regenerate, Put: old session deleted, new one not saved, no error, no log, cookie left")
	}
}

func TestCommitAfterUnset(t *testing.T) {
	m := newManager(t, adapter.Options{})
	ctx, _ := m.Load(t.Context(), "")
	m.Put(ctx, "a", 1)
	m.Unset(ctx)
	token, exp, err := m.Commit(ctx)
	if err == nil && (token == "" || exp.IsZero()) {
		t.Errorf("Commit says %q, %v, nil", token, exp)
	}
}

func TestPutThatCantBeStored(t *testing.T) {
	bothCodecs(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager) {
		var err error
		w := serve(m, "", func(w http.ResponseWriter, r *http.Request) { err = adapter.Put(r.Context(), m, "f", func() {}) })
		if err == nil || w.Code != http.StatusOK {
			t.Errorf("Put gives %v, and the request %d", err, w.Code)
		}
	})
}

func TestPanicWhileSaving(t *testing.T) {
	m := newManager(t, adapter.Options{GenID: func(*http.Request) string { panic("boom") }})
	func() {
		defer func() { _ = recover() }()
		serve(m, "", func(w http.ResponseWriter, r *http.Request) {
			defer func() { _ = recover(); m.Token(r.Context()); _, _ = w.Write([]byte("later")) }()
			m.Put(r.Context(), "a", 1)
			w.WriteHeader(200)
		})
	}()
	w := httptest.NewRecorder()
	func() {
		defer func() { _ = recover() }()
		m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			func() { defer func() { _ = recover() }(); m.Put(r.Context(), "a", 1); w.WriteHeader(201) }()
			_, _ = w.Write([]byte("signed in"))
		})).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	}()
	if w.Body.String() == "signed in" {
		t.Errorf("a panic while saving, recovered by the handler: status %d, %q goes out unsaved", w.Code, w.Body)
	}
}

func TestNegativeMaxAgeTouchedAndSaved(t *testing.T) {
	bothCodecs(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager) {
		id := begin(t, m, map[string]any{"k": "v"})
		within(t, m, id, func(ctx context.Context) {
			m.SetMaxAge(ctx, -time.Second)
			if err := errors.Join(m.Touch(ctx), m.Save(ctx)); err != nil {
				t.Error(err)
			}
		})
		if read(t, m, id) != nil {
			t.Error("the session is still there")
		}
	})
}

func TestCachesAreTold(t *testing.T) {
	m := newManager(t, adapter.Options{})
	w := serve(m, "", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		m.Put(r.Context(), "k", 1)
	})
	if got := w.Header().Get("Vary"); got != "Cookie" {
		t.Errorf("Vary %q", got)
	}
	if got := strings.Join(w.Header()["Cache-Control"], ", "); got != `max-age=60, no-cache="Set-Cookie"` {
		t.Errorf("Cache-Control %q", got)
	}
}

// What decides whether a connection is secure, one reason at a time.
func TestSecureConnections(t *testing.T) {
	for name, tt := range map[string]struct {
		proxy  adapter.Proxy
		tls    bool
		target string // of the request; "" is "/"
		scheme string
		header string
		secure bool
	}{
		"plain":                        {},
		"plain, proxy true":            {proxy: adapter.ProxyTrusted},
		"TLS":                          {tls: true, secure: true},
		"TLS, proxy false":             {proxy: adapter.ProxyIgnored, tls: true, secure: true},
		"TLS, proxy true":              {proxy: adapter.ProxyTrusted, tls: true, secure: true},
		"TLS, http in header":          {proxy: adapter.ProxyTrusted, tls: true, header: "http", secure: true},
		"scheme":                       {scheme: "https", secure: true},
		"scheme in capitals":           {scheme: "HTTPS", secure: true},
		"scheme, proxy false":          {proxy: adapter.ProxyIgnored, scheme: "https"},
		"scheme, proxy true":           {proxy: adapter.ProxyTrusted, scheme: "https"},
		"absolute URL":                 {target: "https://example.com/"}, // the client's own word
		"absolute URL, TLS":            {target: "https://example.com/", tls: true, secure: true},
		"header":                       {header: "https"},
		"header, proxy false":          {proxy: adapter.ProxyIgnored, header: "https"},
		"header, proxy true":           {proxy: adapter.ProxyTrusted, header: "https", secure: true},
		"header in capitals":           {proxy: adapter.ProxyTrusted, header: "HTTPS", secure: true},
		"first in header, proxy true":  {proxy: adapter.ProxyTrusted, header: "HTTPS , http", secure: true},
		"second in header, proxy true": {proxy: adapter.ProxyTrusted, header: "http, https"},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, cmp.Or(tt.target, "/"), nil)
			r.URL.Scheme = cmp.Or(tt.scheme, r.URL.Scheme)
			r.TLS = nil
			if tt.tls {
				r.TLS = &tls.ConnectionState{}
			}
			if tt.header != "" {
				r.Header.Set("X-Forwarded-Proto", tt.header)
			}
			for secure, want := range map[adapter.Secure]string{adapter.SecureAlways: "", adapter.SecureAuto: "; Path=/; HttpOnly"} {
				if tt.secure {
					want = "; Path=/; HttpOnly; Secure"
				}
				m := newManager(t, adapter.Options{Proxy: tt.proxy, Cookie: adapter.Cookie{Secure: secure}})
				w := httptest.NewRecorder()
				m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					m.Put(r.Context(), "k", 1)
				})).ServeHTTP(w, r)
				noteCookies(w)
				set := w.Header().Get("Set-Cookie")
				if got := set[max(0, strings.Index(set, ";")):]; got != want {
					t.Errorf("%s: Set-Cookie has %q, want %q", secure, got, want)
				}
			}
		})
	}
}

// An error of Get must not show what the session holds.
func TestGetHidesTheValue(t *testing.T) {
	type small struct {
		N int8 `json:"n"`
	}
	bothCodecs(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager) {
		id := begin(t, m, map[string]any{"k": 1})
		within(t, m, id, func(ctx context.Context) {
			if err := adapter.Put(ctx, m, "s", map[string]any{"n": 987654321}); err != nil {
				t.Fatal(err)
			}
			if _, err := adapter.Get[small](ctx, m, "s"); err == nil || strings.Contains(err.Error(), "987654321") {
				t.Errorf("error %v", err)
			}
		})
	})
}

// Reload brings the deadline back too, and Reload of what was changed elsewhere
// counts as a change, as in Express: the cookie is sent again.
func TestReloadOfAChangedSession(t *testing.T) {
	bothCodecs(t, adapter.Options{Cookie: adapter.Cookie{MaxAge: time.Hour}}, func(t *testing.T, m *adapter.Manager) {
		id := begin(t, m, map[string]any{"k": 1})
		end := time.Now().Add(20 * time.Minute).UTC().Truncate(time.Millisecond)
		w := within(t, m, id, func(ctx context.Context) {
			within(t, m, id, func(ctx context.Context) {
				m.Put(ctx, "k", 2)
				m.SetDeadline(ctx, end)
			})
			if err := m.Reload(ctx); err != nil {
				t.Fatal(err)
			}
			if !m.Deadline(ctx).Equal(end) {
				t.Errorf("deadline %v, want %v", m.Deadline(ctx), end)
			}
		})
		if w.Header().Get("Set-Cookie") == "" {
			t.Error("no cookie")
		}
	})
}

// upper is a codec that does not give back what it was given.
type upper struct{ scs.GobCodec }

func (c upper) Encode(deadline time.Time, values map[string]any) ([]byte, error) {
	changed := maps.Clone(values)
	for k, v := range changed {
		if s, ok := v.(string); ok && k == "k" {
			changed[k] = strings.ToUpper(s)
		}
	}
	return c.GobCodec.Encode(deadline, changed)
}

// What counts is what comes out of the store: a value put back in another type
// that becomes the same there is no change.
func TestModifiedIsAboutWhatIsStored(t *testing.T) {
	for name, tt := range map[string]struct {
		codec      scs.Codec
		key        string
		first, put any
		same       bool
	}{
		"int64 in JSON":     {adapter.JSONCodec{}, "k", 5, int64(5), true},
		"float64 in JSON":   {adapter.JSONCodec{}, "k", 5, 5.0, true},
		"bytes in JSON":     {adapter.JSONCodec{}, "k", "aGk=", []byte("hi"), true},
		"half UTF-8":        {adapter.JSONCodec{}, "k", "a\ufffd", "a\xff", true},
		"half UTF-8 in key": {adapter.JSONCodec{}, "k\xff", 1, 1, true},
		"nil list in JSON":  {adapter.JSONCodec{}, "k", []any{}, []any(nil), false},
		"nil map in JSON":   {adapter.JSONCodec{}, "k", map[string]any{}, map[string]any(nil), false},
		"empty list again":  {adapter.JSONCodec{}, "k", []any{}, []any{}, true},
		"other in JSON":     {adapter.JSONCodec{}, "k", 5, 6, false},
		"int64 in gob":      {scs.GobCodec{}, "k", 5, int64(5), false},
		"same in gob":       {scs.GobCodec{}, "k", "a", "a", true},
		"codec of its own":  {upper{}, "k", "A", "a", true},
	} {
		t.Run(name, func(t *testing.T) {
			store := newMapStore()
			m := newManager(t, adapter.Options{Store: fullStore{store}, Codec: tt.codec})
			id := begin(t, m, map[string]any{tt.key: tt.first})
			store.takeCalls()
			within(t, m, id, func(ctx context.Context) { m.Put(ctx, tt.key, tt.put) })
			if same := !strings.Contains(store.takeCalls(), "replace"); same != tt.same {
				t.Errorf("taken for the same: %t, want %t", same, tt.same)
			}
		})
	}
}

// A value that was saved, changed in place and put again is saved again.
func TestChangedInPlaceAndPutAgain(t *testing.T) {
	gob.Register([]any{})
	bothCodecs(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager) {
		id := begin(t, m, map[string]any{"user": "u"})
		within(t, m, id, func(ctx context.Context) {
			list := []any{1}
			m.Put(ctx, "list", list)
			if err := m.Save(ctx); err != nil {
				t.Error(err)
			}
			list[0] = 2
			m.Put(ctx, "list", list)
		})
		if got := read(t, m, id)["list"]; !reflect.DeepEqual(got, []any{2}) {
			t.Errorf("stored: %v", got)
		}
	})
}
