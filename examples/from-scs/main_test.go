package main

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"
)

// A user who has signed in while the app was on scs alone is signed in after the move, too,
// and gets a signed cookie.
func Test(t *testing.T) {
	store := memstore.NewWithCleanupInterval(0)
	manager := func() *scs.SessionManager {
		sm := scs.New()
		sm.Store, sm.Cookie.Name = store, "session_id"
		return sm
	}
	before := manager()
	beforeTheMove := before.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		before.Put(r.Context(), "name", "ann")
	}))
	after, err := newHandler(manager(), strings.Repeat("secret", 8))
	if err != nil {
		t.Fatal(err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	handler := beforeTheMove
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	defer srv.Close()
	// read gets a page, or posts a form to it.
	read := func(path string, form url.Values) string {
		t.Helper()
		method := http.MethodGet
		if form != nil {
			method = http.MethodPost
		}
		r, err := http.NewRequest(method, srv.URL+path, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		res, err := browser.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	cookie := func() string {
		u, err := url.Parse(srv.URL)
		if err != nil {
			t.Fatal(err)
		}
		return jar.Cookies(u)[0].Value
	}

	read("/", nil)
	if strings.HasPrefix(cookie(), "s%3A") {
		t.Fatal("scs has signed its cookie")
	}
	handler = after
	if got := read("/", nil); got != "You are ann.\n" {
		t.Errorf("after the move: %q", got)
	}
	if !strings.HasPrefix(cookie(), "s%3A") {
		t.Error("after the move, the cookie is not signed")
	}
	if got := read("/login", url.Values{"name": {"ben"}}); got != "Welcome!\nYou are ben.\n" {
		t.Errorf("after the login: %q", got)
	}
	if got := read("/", nil); got != "You are ben.\n" {
		t.Errorf("the flash message is shown again: %q", got)
	}
	if got := read("/logout", url.Values{}); got != "You are nobody.\n" {
		t.Errorf("after the logout: %q", got)
	}
}
