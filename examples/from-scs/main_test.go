//go:build unix

package main

import (
	"database/sql"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"
	"github.com/gomodule/redigo/redis"

	"github.com/samesid/samesid/internal/testserver"
)

type stores struct {
	redis    func(*scs.SessionManager, *redis.Pool) error
	postgres func(*scs.SessionManager, *sql.DB) error
}

// A user who has signed in on scs's own store is signed in after the move, on the same pool.
func TestStores(t *testing.T) {
	url := testserver.StartRedis(t).URL
	pool := &redis.Pool{Dial: func() (redis.Conn, error) { return redis.DialURL(url) }}
	defer pool.Close()
	dsn, _ := testserver.Schema(t)
	db, err := sql.Open("postgres", dsn+"&binary_parameters=yes")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, statement := range []string{
		"CREATE TABLE sessions (token TEXT PRIMARY KEY, data BYTEA NOT NULL, expiry TIMESTAMPTZ NOT NULL)",
		"CREATE INDEX sessions_expiry_idx ON sessions (expiry)",
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	for name, set := range map[string]func(stores, *scs.SessionManager) error{
		"redis":    func(s stores, sm *scs.SessionManager) error { return s.redis(sm, pool) },
		"postgres": func(s stores, sm *scs.SessionManager) error { return s.postgres(sm, db) },
	} {
		t.Run(name, func(t *testing.T) {
			manager := func(s stores) *scs.SessionManager {
				sm := newApplication().sessionManager
				sm.Cookie.Name = "session_id"
				if err := set(s, sm); err != nil {
					t.Fatal(err)
				}
				// scs's own are left as they are: StopCleanup races with the goroutine that it stops.
				if s, ok := sm.Store.(interface{ Close() error }); ok {
					t.Cleanup(func() { _ = s.Close() })
				}
				return sm
			}
			theMove(t, manager(before), manager(after))
		})
	}
}

// A user who has signed in while the app was on scs alone is signed in after the move, too,
// and gets a signed cookie.
func Test(t *testing.T) {
	store := memstore.NewWithCleanupInterval(0)
	manager := func() *scs.SessionManager {
		sm := newApplication().sessionManager
		sm.Store, sm.Cookie.Name = store, "session_id"
		return sm
	}
	theMove(t, manager(), manager())
}

func theMove(t *testing.T, before, wrapped *scs.SessionManager) {
	t.Helper()
	beforeTheMove := before.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		before.Put(r.Context(), "name", "ann")
	}))
	after, err := newHandler(wrapped, strings.Repeat("secret", 8))
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
