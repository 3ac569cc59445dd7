package main

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func Test(t *testing.T) {
	dir := t.TempDir()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	// The cookie goes to a host, whatever its port.
	run := func(visit func(do func(method, path string, form url.Values) (int, string))) {
		t.Helper()
		handler, stop, err := newHandler(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewServer(handler)
		visit(func(method, path string, form url.Values) (int, string) {
			t.Helper()
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
			return res.StatusCode, string(b)
		})
		srv.Close()
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
	login := func(password string) url.Values { return url.Values{"username": {"ann"}, "password": {password}} }

	run(func(do func(string, string, url.Values) (int, string)) {
		if status, body := do("GET", "/protected", nil); status != 401 || !strings.Contains(body, "Invalid Credentials") {
			t.Errorf("without a session: %d %s", status, body)
		}
		if status, body := do("POST", "/login", login("wrong")); status != 401 {
			t.Errorf("a wrong password: %d %s", status, body)
		}
		if status, body := do("POST", "/login", login("correct horse battery staple")); status != 200 {
			t.Errorf("login: %d %s", status, body)
		}
	})
	run(func(do func(string, string, url.Values) (int, string)) {
		if status, body := do("GET", "/protected", nil); status != 200 || body != "You are authorized, Ann\n" {
			t.Errorf("after a restart: %d %s", status, body)
		}
		if status, body := do("POST", "/logout", nil); status != 200 || !strings.Contains(body, "You are logged out") {
			t.Errorf("logout: %d %s", status, body)
		}
	})
	run(func(do func(string, string, url.Values) (int, string)) {
		if status, body := do("GET", "/protected", nil); status != 401 {
			t.Errorf("after the logout: %d %s", status, body)
		}
	})
}
