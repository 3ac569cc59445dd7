//go:build unix

package main

import (
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/samesid/samesid/internal/testserver"
)

func Test(t *testing.T) {
	dir := t.TempDir()
	browser := testserver.NewBrowser(t, nil)
	// The cookie goes to a host, whatever its port.
	run := func(visit func(do func(path string, form url.Values) (int, string))) {
		t.Helper()
		handler, stop, err := newHandler(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewServer(handler)
		visit(func(path string, form url.Values) (int, string) {
			t.Helper()
			return browser.Do(srv.URL+path, form)
		})
		srv.Close()
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
	login := func(password string) url.Values { return url.Values{"username": {"ann"}, "password": {password}} }

	run(func(do func(string, url.Values) (int, string)) {
		if status, body := do("/protected", nil); status != 401 || !strings.Contains(body, "Invalid Credentials") {
			t.Errorf("without a session: %d %s", status, body)
		}
		if status, body := do("/login", login("wrong")); status != 401 {
			t.Errorf("a wrong password: %d %s", status, body)
		}
		if status, body := do("/login", login("correct horse battery staple")); status != 200 {
			t.Errorf("login: %d %s", status, body)
		}
	})
	run(func(do func(string, url.Values) (int, string)) {
		if status, body := do("/protected", nil); status != 200 || body != "You are authorized, Ann\n" {
			t.Errorf("after a restart: %d %s", status, body)
		}
		if status, body := do("/logout", url.Values{}); status != 200 || !strings.Contains(body, "You are logged out") {
			t.Errorf("logout: %d %s", status, body)
		}
	})
	run(func(do func(string, url.Values) (int, string)) {
		if status, body := do("/protected", nil); status != 401 {
			t.Errorf("after the logout: %d %s", status, body)
		}
	})
}

// The calls that main.go begins with.
func TestComment(t *testing.T) {
	handler, stop, err := newHandler(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stop() }()
	srv := httptest.NewServer(handler)
	defer srv.Close()
	text, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	got := testserver.Curl(t, strings.ReplaceAll(string(text), "//\t", ""), "127.0.0.1:8080", srv.URL)
	want := []string{`{"message":"You are logged in"}`, "You are authorized, Ann", `{"message":"You are logged out"}`}
	if !slices.Equal(got, want) {
		t.Errorf("they print %q, want %q", got, want)
	}
}
