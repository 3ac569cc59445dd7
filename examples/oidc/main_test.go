package main

import (
	"errors"
	"net/http"
	"testing"
	"time"
)

func TestLoginAndLogout(t *testing.T) {
	w := newWorld(t)
	b := w.signIn("sid-1")
	if !b.isSignedIn() {
		t.Fatal("nobody is signed in")
	}
	all, err := w.app.users.AccountOf("ann").Sessions(t.Context())
	if err != nil || len(all) != 1 || len(all[0].Methods) != 1 || time.Since(all[0].SignedIn) > time.Minute {
		t.Errorf("the user has the sessions %+v, %v", all, err)
	}
	if status, body := b.open(http.MethodPost, w.url+"/logout"); status != http.StatusOK || body != "signed out at the provider" {
		t.Errorf("signing out: %d %s", status, body)
	}
	if b.isSignedIn() {
		t.Error("still signed in")
	}
}

func TestForgedCallback(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	for _, query := range []string{"", "?code=x&state=", "?code=x&state=y"} {
		if status, _ := b.step(w.url + "/callback" + query); status != http.StatusBadRequest {
			t.Errorf("callback%s: %d", query, status)
		}
	}
	begin := func(b browser) (callback string) {
		_, authorize := b.step(w.url + "/login")
		_, callback = b.step(authorize)
		return callback
	}
	callback := begin(b)
	other := w.browser()
	begin(other)
	if status, _ := other.step(callback); status != http.StatusBadRequest {
		t.Errorf("in another browser: %d", status)
	}
	w.app.now = func() time.Time { return time.Now().Add(loginLife + time.Second) }
	if status, _ := b.step(callback); status != http.StatusBadRequest {
		t.Errorf("too late: %d", status)
	}
	w.app.now = time.Now
	if status, _ := b.step(callback); status != http.StatusBadRequest || b.isSignedIn() {
		t.Errorf("once more: %d, signed in: %t", status, b.isSignedIn())
	}
}

func TestBadIDTokens(t *testing.T) {
	w := newWorld(t)
	for name, changes := range map[string]map[string]any{
		"another nonce":  {"nonce": "n"},
		"no nonce":       {"nonce": nil},
		"another issuer": {"iss": "https://id.example.com"},
		"another app":    {"aud": "another"},
		"expired":        {"exp": time.Now().Unix() - 60},
	} {
		w.provider.changes = changes
		b := w.browser()
		if status, body := b.open(http.MethodGet, w.url+"/login"); status != http.StatusUnauthorized || b.isSignedIn() {
			t.Errorf("%s: %d %s, signed in: %t", name, status, body, b.isSignedIn())
		}
	}
}

// A login is not to succeed because nobody can tell whether it may, or note it for a logout.
func TestUncheckedLogin(t *testing.T) {
	down := func(string) error { return errors.New("the store is down") }
	up := func(string) error { return nil }
	for _, op := range []string{"Commit", "Find"} {
		for _, both := range []bool{false, true} {
			w := newWorld(t)
			w.noteStore.before = func(called string) error {
				if called != op {
					return nil
				}
				if both {
					w.store.before = down
				}
				return down(op)
			}
			b := w.browser()
			status, _ := b.open(http.MethodGet, w.url+"/login")
			w.noteStore.before, w.store.before = up, up
			if status != http.StatusServiceUnavailable || b.isSignedIn() {
				t.Errorf("without %s of the notes, both stores %t: %d, signed in: %t", op, both, status, b.isSignedIn())
			}
		}
	}
}
