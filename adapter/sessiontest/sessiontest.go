// Package sessiontest gives the tests of an app's handlers a session, and reads back what
// the handlers have made of it:
//
//	browser := sessiontest.New(t, sessions, sessiontest.With("visits", 41))
//	w := browser.Serve(handler, httptest.NewRequest("GET", "/", nil))
//
//	fmt.Println(w.Code, sessions.GetInt(browser.Session(), "visits"))
//
// The Manager is the app's own, or one with the same Options on a store in memory, which is
// what a Manager without a Store has.
package sessiontest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/samesid/samesid/adapter"
)

// Browser has one session, and its cookie from request to request. It is for one goroutine
// at a time.
type Browser struct {
	tb     testing.TB
	m      *adapter.Manager
	cookie *http.Cookie // nil: none
}

// A Setup prepares the session of a new Browser. An error ends the test.
type Setup func(ctx context.Context, m *adapter.Manager) error

// With puts a value of any type under a key, as adapter.Put does.
func With(key string, value any) Setup {
	return func(ctx context.Context, m *adapter.Manager) error { return adapter.Put(ctx, m, key, value) }
}

// signer is what SignedIn needs of an *auth.Auth.
type signer[U any] interface {
	SignIn(ctx context.Context, user U) error
}

// SignedIn signs a user in. users is an *auth.Auth.
func SignedIn[U any](users signer[U], user U) Setup {
	return func(ctx context.Context, _ *adapter.Manager) error { return users.SignIn(ctx, user) }
}

// New returns a Browser whose session is as setup makes it. Without one it has none.
func New(tb testing.TB, m *adapter.Manager, setup ...Setup) *Browser {
	tb.Helper()
	b := &Browser{tb: tb, m: m}
	if len(setup) == 0 {
		return b
	}
	var failed error
	w := b.Serve(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		for _, s := range setup {
			if failed = s(r.Context(), m); failed != nil {
				return
			}
		}
	}), b.request())
	switch {
	case failed != nil:
		tb.Fatalf("sessiontest: %v", failed)
	case w.Code != http.StatusOK:
		tb.Fatalf("sessiontest: the session could not be saved: status %d", w.Code)
	}
	return b
}

// request returns a request that the session's cookie is sent with.
func (b *Browser) request() *http.Request {
	return httptest.NewRequest(http.MethodGet, "https://example.com"+b.m.Cookie.Path, nil)
}

// Serve sends a request with the session's cookie to a handler, and returns the response.
// The handler need not have the middleware: LoadAndSave is around it. A Secure cookie is set
// over HTTPS alone: give httptest.NewRequest a target such as "https://example.com/".
func (b *Browser) Serve(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	b.tb.Helper()
	if b.cookie != nil {
		r.AddCookie(b.cookie)
	}
	w := httptest.NewRecorder()
	b.m.LoadAndSave(h).ServeHTTP(w, r)
	for _, line := range w.Header()["Set-Cookie"] {
		c, err := http.ParseSetCookie(line)
		switch {
		case err != nil || c.Name != b.m.Cookie.Name:
		case c.MaxAge < 0:
			b.cookie = nil
		default:
			b.cookie = &http.Cookie{Name: c.Name, Value: c.Value}
		}
	}
	return w
}

// Session returns a context with the session as it is stored now, for the methods that read
// it. What is put into it is not saved. A Browser whose session has ended, or that never had
// one, has an empty one.
func (b *Browser) Session() context.Context {
	b.tb.Helper()
	r := b.request()
	if b.cookie != nil {
		r.AddCookie(b.cookie)
	}
	ctx, err := b.m.Begin(r)
	if err != nil {
		b.tb.Fatalf("sessiontest: %v", err)
	}
	return ctx
}
