package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2/memstore"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/internal/leaktest"
)

// Each case configures a Manager so that a request has one of the page's reasons. The
// reason must be what happened.
func TestWhy(t *testing.T) {
	secret := []string{strings.Repeat("x", 32)}
	lasting := adapter.Cookie{MaxAge: time.Hour}
	nothing := func(*adapter.Manager, context.Context) {}
	put := func(m *adapter.Manager, ctx context.Context) { m.Put(ctx, "k", time.Now().String()) }
	destroy := func(m *adapter.Manager, ctx context.Context) { _ = m.Destroy(ctx) }
	regenerate := func(m *adapter.Manager, ctx context.Context) {
		_ = m.Regenerate(ctx)
		m.Put(ctx, "k", "v")
	}
	var store *memstore.MemStore // without FindTouch, so that a concurrent end is noticed
	endElsewhere := func(m *adapter.Manager, ctx context.Context) { _ = store.Delete(m.Token(ctx)) }

	for _, tt := range []struct {
		name    string
		opts    adapter.Options
		stored  bool // the request comes with the cookie of a stored session
		bare    bool // the cookie has no signature
		path    string
		handler func(*adapter.Manager, context.Context)
		set     bool
		why     string
	}{
		{name: "nothing yet", handler: nothing, why: "saveUninitialized is off"},
		{name: "new", handler: put, set: true, why: "The session is new and has data"},
		{name: "new and empty", opts: adapter.Options{SaveUninitialized: true}, handler: nothing, set: true, why: "saveUninitialized is on"},
		{name: "unchanged", stored: true, handler: nothing, why: "data not changed"},
		{name: "changed", stored: true, opts: adapter.Options{Cookie: lasting}, handler: put, set: true, why: "has an expiry, which moves"},
		{name: "changed, until the browser ends", stored: true, handler: put, why: "there is no expiry to renew"},
		{name: "rolling", stored: true, opts: adapter.Options{Rolling: true}, handler: nothing, set: true, why: "rolling is on"},
		{name: "rolling and changed", stored: true, opts: adapter.Options{Rolling: true}, handler: put, set: true, why: "rolling is on"},
		{name: "regenerated", stored: true, handler: regenerate, set: true, why: "got a new id"},
		{name: "destroyed", stored: true, handler: destroy, set: true, why: "was destroyed"},
		{name: "ended elsewhere", stored: true, opts: adapter.Options{Cookie: lasting}, handler: endElsewhere, why: "ended by another request"},
		{name: "ended elsewhere and changed", stored: true, handler: func(m *adapter.Manager, ctx context.Context) {
			endElsewhere(m, ctx)
			put(m, ctx)
		}, why: "ended by another request"},
		{name: "secure", opts: adapter.Options{Cookie: adapter.Cookie{Secure: adapter.SecureAlways}}, handler: put, why: "cookie.secure"},
		{name: "secure and changed", stored: true, opts: adapter.Options{Proxy: adapter.ProxyTrusted, Cookie: adapter.Cookie{Secure: adapter.SecureAlways, MaxAge: time.Hour}}, handler: put, why: "cookie.secure"},
		{name: "outside", opts: adapter.Options{Cookie: adapter.Cookie{Path: "/app"}}, path: "/other", handler: put, why: "outside cookie.path"},
		{name: "inside", opts: adapter.Options{Cookie: adapter.Cookie{Path: "/app"}}, path: "/app/x", handler: put, set: true, why: "is new and has data"},
		{name: "migrated", stored: true, bare: true, opts: adapter.Options{Signature: adapter.SignatureMigrating}, handler: nothing, set: true, why: "without a signature"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.opts.Secrets, tt.opts.Logger = secret, slog.New(slog.NewTextHandler(leaktest.Copy(io.Discard), nil))
			store = memstore.NewWithCleanupInterval(0)
			tt.opts.Store = store
			m, err := adapter.New(tt.opts)
			if err != nil {
				t.Fatal(err)
			}
			tr := &tracer{m: m}
			serve := func(cookie string, handler func(*adapter.Manager, context.Context)) (*httptest.ResponseRecorder, *exchange) {
				r := httptest.NewRequest(http.MethodGet, "/"+strings.TrimPrefix(tt.path, "/"), nil)
				r.Header.Set("Cookie", cookie)
				if cookie == "" && tt.stored {
					r.Header.Set("X-Forwarded-Proto", "https")
				}
				var e *exchange
				w := httptest.NewRecorder()
				tr.observe(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					e = exchangeOf(r.Context())
					handler(m, r.Context())
				})).ServeHTTP(w, r)
				return w, e
			}
			cookie := ""
			if tt.stored {
				w, _ := serve("", func(m *adapter.Manager, ctx context.Context) { m.Put(ctx, "k", "v") })
				cookie, _, _ = strings.Cut(w.Header().Get("Set-Cookie"), ";")
				if tt.bare {
					cookie = strings.Replace(cookie[:strings.LastIndex(cookie, ".")], "s%3A", "", 1)
				}
			}
			w, e := serve(cookie, tt.handler)
			set := w.Header().Get("Set-Cookie")
			if (set != "") != tt.set || (e.SetCookie != nil) != tt.set {
				t.Errorf("Set-Cookie %q, seen as %+v; want one: %t", set, e.SetCookie, tt.set)
			}
			if !strings.Contains(e.Why, tt.why) {
				t.Errorf("the reason given is %q, want one with %q", e.Why, tt.why)
			}
			if e.Status != http.StatusOK {
				t.Errorf("the status seen is %d", e.Status)
			}
		})
	}
}

// The tracer sees the handler's status, however the response begins.
func TestObserveStatus(t *testing.T) {
	m, err := adapter.New(adapter.Options{Secrets: []string{strings.Repeat("x", 32)}})
	if err != nil {
		t.Fatal(err)
	}
	tr := &tracer{m: m}
	for name, tt := range map[string]struct {
		handler http.HandlerFunc
		want    int
	}{
		"none":     {func(http.ResponseWriter, *http.Request) {}, 200},
		"a body":   {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("x")) }, 200},
		"a status": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(418) }, 418},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://a.example/", http.StatusSeeOther)
		}, 303},
		"hints first": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(103)
			w.WriteHeader(204)
		}, 204},
		"a flush": {func(w http.ResponseWriter, _ *http.Request) { _ = http.NewResponseController(w).Flush() }, 200},
	} {
		t.Run(name, func(t *testing.T) {
			seen := make(chan *exchange, 1)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				tr.observe(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					seen <- exchangeOf(r.Context())
					tt.handler(w, r)
				})).ServeHTTP(w, r)
			}))
			res, err := server.Client().Transport.RoundTrip(httptest.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil))
			server.Close() // this waits for the handler
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			e := <-seen
			if e.Status != tt.want || res.StatusCode != tt.want {
				t.Errorf("seen %d, sent %d, want %d", e.Status, res.StatusCode, tt.want)
			}
			if e.Why == "" {
				t.Error("there is no reason")
			}
			if to := res.Header.Get("Location"); to != "" && to != "https://a.example/" {
				t.Errorf("a redirect to another site was changed to %q", to)
			}
		})
	}
}
