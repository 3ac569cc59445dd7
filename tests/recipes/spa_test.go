//go:build unix

package recipes

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
)

func TestSPA(t *testing.T) {
	const app, evil = "https://app.example.com", "https://app.example.com.evil.example"
	var calls atomic.Int64 // of the store
	sessions, err := SPASessions(adapter.Options{
		Secrets: []string{secret},
		Observe: func(context.Context, adapter.StoreCall) { calls.Add(1) },
	})
	if err != nil {
		t.Fatal(err)
	}
	verify := func(_ context.Context, name, pass string) (string, error) {
		if pass != password {
			return "", auth.ErrInvalid
		}
		return name, nil
	}
	users, err := auth.New(sessions, verify, auth.Options{TrustedOrigins: []string{app}})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("POST /login", users.Login())
	mux.Handle("/note", users.Restricted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			sessions.Put(r.Context(), "note", "changed")
		}
		_, _ = io.WriteString(w, "note "+sessions.GetString(r.Context(), "note"))
	})))
	h, err := SPA(sessions, mux, app)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := SPA(sessions, mux, app+"/path"); err == nil {
		t.Error("a path is taken for an origin")
	}
	b := serve(t, h)()
	readable := func(res answer, origin string) {
		t.Helper()
		allowed := ""
		if origin == app {
			allowed = app
		}
		if got := res.header.Get("Access-Control-Allow-Origin"); got != allowed {
			t.Errorf("for %s, the allowed origin is %q", origin, got)
		}
		if got := res.header.Get("Access-Control-Allow-Credentials"); (got == "true") != (origin == app) {
			t.Errorf("for %s, credentials: %q", origin, got)
		}
		if !strings.Contains(strings.Join(res.header.Values("Vary"), ","), "Origin") {
			t.Errorf("a cache may give the answer to other origins")
		}
	}
	preflight := func(origin string) {
		t.Helper()
		before := calls.Load()
		res := b.send("OPTIONS", "/note", "", "Origin", origin, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type")
		readable(res, origin)
		if res.status != http.StatusNoContent || len(res.cookies) > 0 {
			t.Errorf("the preflight of %s: %d", origin, res.status)
		}
		if n := calls.Load() - before; n != 0 {
			t.Errorf("the preflight of %s has called the store %d times", origin, n)
		}
	}
	from := func(origin string) []string {
		return []string{"Origin", origin, "Sec-Fetch-Site", "cross-site", "Content-Type", "application/json"}
	}
	body := func(pass string) string { return `{"username":"ada","password":"` + pass + `"}` }

	refused := b.send("POST", "/login", body("wrong"), from(app)...)
	readable(refused, app) // the page can show the reason
	b.want(http.StatusForbidden, "", "POST", "/login", body(password), from(evil)...)
	b.want(http.StatusUnauthorized, "", "GET", "/note", "", from(app)...)
	res := b.send("POST", "/login", body(password), from(app)...)
	readable(res, app)
	if c := res.cookies; len(c) != 1 || c[0].SameSite != http.SameSiteNoneMode || !c[0].Secure || !c[0].HttpOnly {
		t.Errorf("the cookies are %d, want one that other sites' pages send", len(c))
	}

	preflight(app)
	preflight(evil)
	b.want(http.StatusForbidden, "", "POST", "/note", "", from(evil)...)
	b.want(http.StatusForbidden, "", "POST", "/note", "", "Origin", "null", "Sec-Fetch-Site", "cross-site")
	b.want(http.StatusOK, "note ", "GET", "/note", "")
	if got := b.want(http.StatusOK, "", "GET", "/note", ""); got != "note " {
		t.Errorf("a foreign origin has made it %q", got)
	}
	readable(b.send("GET", "/note", "", from(evil)...), evil)
	b.want(http.StatusOK, "note changed", "POST", "/note", "", from(app)...)
}
