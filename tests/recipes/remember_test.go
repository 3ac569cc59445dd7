//go:build unix

package recipes

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends/memory"
	"github.com/samesid/samesid/internal/leaktest"
)

func TestRemember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // days pass at once
		store := memory.New(memory.Options{CleanupInterval: 30 * 24 * time.Hour})
		defer store.Close()
		o := adapter.Options{Secrets: []string{secret}, Store: store}
		sessions, users, err := Remember(o, func(context.Context, string, string) (string, error) { return "ada", nil })
		if err != nil {
			t.Fatal(err)
		}
		mux := http.NewServeMux()
		mux.Handle("POST /login", users.Login())
		mux.Handle("GET /me", users.Restricted(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
		h := sessions.LoadAndSave(mux)
		var cookie *http.Cookie
		send := func(method, path, body string) (status int, sent *http.Cookie) {
			r := httptest.NewRequest(method, path, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if cookie != nil {
				r.AddCookie(cookie)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			for _, c := range w.Result().Cookies() {
				cookie, sent = c, c
				leaktest.Note(c.Value)
			}
			return w.Code, sent
		}
		const day, month = 24 * time.Hour, 30 * 24 * time.Hour

		if status, sent := send("POST", "/login", "username=ada&password=x"); status != http.StatusOK || sent.MaxAge != 0 || !sent.Expires.IsZero() {
			t.Errorf("without the tick: %d %d", status, sent.MaxAge)
		}
		time.Sleep(13 * time.Hour)
		if status, _ := send("GET", "/me", ""); status != http.StatusUnauthorized {
			t.Errorf("unused for 13 hours without the tick: %d", status)
		}

		if status, sent := send("POST", "/login", "username=ada&password=x&remember=on"); status != http.StatusOK || sent.MaxAge != int(month/time.Second) {
			t.Errorf("with the tick: %d %d", status, sent.MaxAge)
		}
		time.Sleep(time.Hour)
		if status, sent := send("GET", "/me", ""); status != http.StatusOK || sent != nil {
			t.Errorf("after an hour: %d, a cookie: %t", status, sent != nil)
		}
		for range 2 { // each visit counts, so two months pass
			time.Sleep(month - 2*time.Hour)
			if status, sent := send("GET", "/me", ""); status != http.StatusOK || sent == nil || sent.MaxAge != int(month/time.Second) {
				t.Errorf("a month later: %d, a cookie: %t", status, sent != nil)
			}
		}
		time.Sleep(month + day)
		if status, _ := send("GET", "/me", ""); status != http.StatusUnauthorized {
			t.Errorf("unused for a month: %d", status)
		}
	})
}
