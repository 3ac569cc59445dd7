//go:build unix

package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"

	"github.com/samesid/samesid/internal/testserver"
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
	handler := beforeTheMove
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	defer srv.Close()
	browser := testserver.NewBrowser(t, nil)
	read := func(path string, form url.Values) string {
		t.Helper()
		_, body := browser.Do(srv.URL+path, form)
		return body
	}
	cookie := func() string { return browser.Cookies(srv.URL)[0].Value }

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
