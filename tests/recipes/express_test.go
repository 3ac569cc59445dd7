//go:build unix

package recipes

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
	"github.com/samesid/samesid/backends"
	"github.com/samesid/samesid/backends/redis"
	"github.com/samesid/samesid/internal/testserver"
)

// startExpress runs the Express app until the test ends, and returns its address.
func startExpress(t *testing.T, args ...string) string {
	t.Helper()
	address, err := testserver.StartNode(t, "express", "express/server.mjs", args...).ReadString('\n')
	if err != nil {
		t.Fatalf("the Express app did not start: %v", err)
	}
	return strings.TrimSpace(address)
}

// One browser on both apps: what connect-flash, csurf and Passport keep in the session.
func TestExpressMiddleware(t *testing.T) {
	prefix := testserver.Prefix(t)
	store, err := backends.Open(t.Context(), backends.Config{
		URL: testserver.Redis(t), Options: redis.Options{Layout: "connect-redis", Prefix: prefix},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	sessions, err := adapter.New(adapter.Options{Secrets: []string{secret}, Store: store, UserPath: "passport.user"})
	if err != nil {
		t.Fatal(err)
	}
	// A user without SessionStamp, as Express does not set one.
	type account struct {
		ID   int64
		Name string
	}
	verify := func(context.Context, string, string) (account, error) { return account{1, "ada"}, nil }
	load := func(_ context.Context, id int64) (account, error) {
		if id != 1 {
			return account{}, auth.ErrInvalid
		}
		return account{1, "ada"}, nil
	}
	users, err := auth.NewByID(sessions, verify, func(a account) int64 { return a.ID }, load, auth.Options{Key: "passport.user"})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("POST /login", users.Login())
	mux.Handle("POST /logout", users.Logout())
	mux.Handle("GET /me", users.Restricted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := users.User(r.Context())
		fmt.Fprint(w, "hello ", user.Name)
	})))
	mux.Handle("/change", CSURF(sessions, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "changed") })))
	mux.HandleFunc("GET /csrf", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, CSURFToken(sessions.GetString(r.Context(), "csrfSecret"), "salted"))
	})
	mux.HandleFunc("POST /flash", func(w http.ResponseWriter, r *http.Request) {
		if err := Flash(r.Context(), sessions, "info", r.FormValue("text")); err != nil {
			sessions.ErrorFunc(w, r, err)
		}
	})
	mux.HandleFunc("GET /flash", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(PopFlashes(r.Context(), sessions))
	})
	address := startExpress(t, testserver.Redis(t), prefix, secret)
	plain := httptest.NewServer(sessions.LoadAndSave(mux))
	defer plain.Close()
	visitor := func() (here, express browser) {
		here = newBrowser(t, plain.URL, &http.Transport{DisableKeepAlives: true})
		express = here // with the same cookies: those of 127.0.0.1 are the same on every port
		express.server = address
		return here, express
	}
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}

	here, express := visitor()
	express.want(http.StatusOK, "", "POST", "/flash", "text=one", form...)
	here.want(http.StatusOK, "", "POST", "/flash", "text=two", form...)
	express.want(http.StatusOK, `{"info":["one","two"]}`, "GET", "/flash", "")
	here.want(http.StatusOK, "", "POST", "/flash", "text=three", form...)
	express.want(http.StatusOK, `2`, "POST", "/flash", "text=four", form...)
	here.want(http.StatusOK, `{"info":["three","four"]}`, "GET", "/flash", "")
	express.want(http.StatusOK, `{}`, "GET", "/flash", "")

	token := express.want(http.StatusOK, "-", "GET", "/csrf", "")
	for range 20 { // most have a "-" or "_" in their hash
		good := express.want(http.StatusOK, "-", "GET", "/csrf", "")
		here.want(http.StatusOK, "changed", "POST", "/change", "", "CSRF-Token", good)
	}
	own := here.want(http.StatusOK, "salted-", "GET", "/csrf", "")
	_, other := visitor()
	foreign := other.want(http.StatusOK, "-", "GET", "/csrf", "")
	for _, b := range []browser{here, express} {
		for _, good := range []string{token, own} {
			b.want(http.StatusOK, "changed", "POST", "/change", url.Values{"_csrf": {good}}.Encode(), form...)
			for _, header := range []string{"CSRF-Token", "X-CSRF-Token", "X-XSRF-Token"} {
				b.want(http.StatusOK, "changed", "POST", "/change", "", header, good)
			}
		}
		for _, bad := range []string{"", "-", "x", foreign, token + "x", token[:len(token)-1], "x" + token, CSURFToken("", "x")} {
			b.want(http.StatusForbidden, "invalid csrf token", "POST", "/change", url.Values{"_csrf": {bad}}.Encode(), form...)
		}
	}
	// A session without a secret: an attacker would know what an empty one makes.
	nobody, _ := visitor()
	nobody.want(http.StatusForbidden, "", "POST", "/change", "", "CSRF-Token", CSURFToken("", "x"))
	nobody.want(http.StatusOK, "changed", "GET", "/change", "")

	here.want(http.StatusUnauthorized, "", "GET", "/me", "")
	express.want(http.StatusOK, "signed in", "POST", "/login", "username=ada&password=x", form...)
	here.want(http.StatusOK, "hello ada", "GET", "/me", "")
	here.want(http.StatusOK, "", "POST", "/logout", "")
	express.want(http.StatusUnauthorized, "", "GET", "/me", "")
	here.login(http.StatusOK, "ada", "x")
	express.want(http.StatusOK, "hello ada", "GET", "/me", "")
	express.want(http.StatusOK, "signed out", "POST", "/logout", "")
	here.want(http.StatusUnauthorized, "", "GET", "/me", "")
	express.want(http.StatusOK, "", "POST", "/login", "username=ada&password=x", form...)
	here.want(http.StatusOK, "hello ada", "GET", "/me", "")
	if n, err := sessions.DestroyUser(t.Context(), "1"); n != 1 || err != nil {
		t.Errorf("%d ended, %v", n, err)
	}
	express.want(http.StatusUnauthorized, "", "GET", "/me", "")
}

// A login of Express's that sets what the comment of package auth lists is one for Fresh and for
// the list of devices, in Go.
func TestExpressSignIn(t *testing.T) {
	prefix := testserver.Prefix(t)
	store, err := backends.Open(t.Context(), backends.Config{
		URL: testserver.Redis(t), Options: redis.Options{Layout: "connect-redis", Prefix: prefix},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	sessions, err := adapter.New(adapter.Options{Secrets: []string{secret}, Store: store, UserPath: "user.id"})
	if err != nil {
		t.Fatal(err)
	}
	type account struct {
		ID   int64  `json:"id"`
		Name string `json:"name"`
	}
	users, err := auth.New[account](sessions, nil, auth.Options{NoteDevice: true})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /secret", users.Fresh(time.Minute, "mfa")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, err := users.Account(r.Context())
		if err != nil {
			t.Error(err)
			return
		}
		all, err := a.Sessions(r.Context())
		if err != nil || len(all) != 1 {
			t.Errorf("%d sessions, %v", len(all), err)
			return
		}
		fmt.Fprint(w, all[0].UserAgent, " from ", all[0].Addr)
	})))
	address := startExpress(t, testserver.Redis(t), prefix, secret)
	plain := httptest.NewServer(sessions.LoadAndSave(mux))
	defer plain.Close()
	here := newBrowser(t, plain.URL, &http.Transport{DisableKeepAlives: true})
	express := here
	express.server = address

	here.want(http.StatusUnauthorized, "", "GET", "/secret", "")
	express.want(http.StatusOK, "signed in", "POST", "/signin", "", "User-Agent", "a browser")
	here.want(http.StatusOK, "a browser from 127.0.0.1", "GET", "/secret", "")
}
