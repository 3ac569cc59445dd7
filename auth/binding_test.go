package auth_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
	"github.com/samesid/samesid/internal/leaktest"
)

var errCopied = errors.New("the cookie is a copy")

// fakeBinding notes what it is asked.
type fakeBinding struct {
	m       *adapter.Manager
	calls   []string
	err     error
	answers bool
}

func (b *fakeBinding) Offer(w http.ResponseWriter, r *http.Request) {
	b.calls = append(b.calls, "offer "+b.m.GetString(r.Context(), "user"))
	w.Header().Set("X-Offer", b.m.ID(r.Context()))
}

func (b *fakeBinding) Check(w http.ResponseWriter, _ *http.Request) (bool, error) {
	b.calls = append(b.calls, "check")
	if b.answers {
		w.WriteHeader(http.StatusTeapot)
	}
	return b.answers, b.err
}

func (b *fakeBinding) End(w http.ResponseWriter, r *http.Request) {
	b.calls = append(b.calls, "end "+b.m.Token(r.Context()))
	w.Header().Set("X-End", "yes")
}

// A Binding is asked at a login, at each request of a signed-in user, and at a logout, and at
// no other time.
func TestBinding(t *testing.T) {
	m := newManager(t, adapter.Options{})
	b := &fakeBinding{m: m}
	var refusals []auth.Refusal
	log := new(leaktest.Log)
	a := newAuth(t, m, func(_ context.Context, username, pw string) (string, error) {
		if pw != password {
			return "", auth.ErrInvalid
		}
		return username, nil
	}, auth.Options{Binding: b, LoginPage: "/login", Logger: log.Logger(), Refused: func(_ http.ResponseWriter, _ *http.Request, why auth.Refusal) bool {
		refusals = append(refusals, why)
		return false
	}})
	reached := 0
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reached++
		_, _ = io.WriteString(w, "in")
	})
	mux := http.NewServeMux()
	mux.Handle("/login", a.Login())
	mux.Handle("/logout", a.Logout())
	mux.Handle("/protected", a.Restricted(page))
	mux.Handle("/fresh", a.Fresh(time.Hour)(page))
	c := newBrowser(t, serve(t, m, mux))
	called := func(want ...string) {
		t.Helper()
		if !slices.Equal(b.calls, want) {
			t.Errorf("called %q, want %q", b.calls, want)
		}
		b.calls = nil
	}

	c.do("GET", "/protected", "")
	c.do("POST", "/login", badJSON, "Content-Type", typeJSON)
	c.do("POST", "/login", goodJSON, "Content-Type", typeJSON, "Sec-Fetch-Site", "cross-site")
	called()
	refusals = nil
	res := c.do("POST", "/login", goodJSON, "Content-Type", typeJSON)
	if id := res.Header.Get("X-Offer"); id == "" || !strings.Contains(c.cookie(), id) {
		t.Error("the offer was made for another session than the login's")
	}
	called("offer ada")
	for _, path := range []string{"/protected", "/fresh"} {
		if res := c.do("GET", path, ""); res.body != "in" {
			t.Errorf("%s: %s", path, res.body)
		}
		called("check")
	}

	reached, b.err = 0, errCopied
	for _, path := range []string{"/protected", "/fresh"} {
		res := c.do("GET", path, "")
		check(t, path, res.StatusCode, res.body, 401, "Sign In Again")
		if res := c.do("GET", path, "", "Accept", acceptChrome); res.StatusCode != 303 || res.Header.Get("Location") != "/login?returnTo=%2F"+path[1:] {
			t.Errorf("%s: %d to %s", path, res.StatusCode, res.Header.Get("Location"))
		}
		called("check", "check")
	}
	for _, why := range refusals {
		if !errors.Is(why.Reason, auth.ErrUnproven) || !errors.Is(why.Reason, errCopied) || why.Status != 401 {
			t.Errorf("refused for %v, with status %d", why.Reason, why.Status)
		}
	}
	if len(refusals) != 4 {
		t.Errorf("there are %d refusals", len(refusals))
	}
	refusals, b.answers = nil, true
	for _, b.err = range []error{errCopied, nil} {
		if res := c.do("GET", "/protected", ""); res.StatusCode != http.StatusTeapot || len(refusals) > 0 {
			t.Errorf("the Binding's own answer: %d, %d refusals", res.StatusCode, len(refusals))
		}
	}
	if reached > 0 {
		t.Errorf("%d requests that are refused have reached the handler", reached)
	}
	called("check", "check")

	if res := c.do("POST", "/logout", ""); res.Header.Get("X-End") != "yes" {
		t.Error("the logout does not end the binding")
	}
	called("end ")
}
