package auth_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/alexedwards/scs/v2/memstore"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
)

// The tests in this file are attacks on the signed-in state. SECURITY.md lists them.

// verifyAnyone accepts every username with one password. The user is the username.
func verifyAnyone(_ context.Context, username, pw string) (string, error) {
	if pw != password {
		return "", auth.ErrInvalid
	}
	return username, nil
}

// names returns an application whose /me answers with the signed-in user's name.
func names(m *adapter.Manager, a *auth.Auth[string]) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("/login", a.Login())
	mux.Handle("/logout", a.Logout())
	mux.Handle("/me", a.Restricted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, _ := a.User(r.Context())
		_, _ = w.Write([]byte(name))
	})))
	return mux
}

func (b *browser) signIn(username string, header ...string) {
	b.t.Helper()
	body := `{"username":"` + username + `","password":"` + password + `"}`
	if res := b.do("POST", "/login", body, append([]string{"Content-Type", typeJSON}, header...)...); res.StatusCode != 200 {
		b.t.Fatalf("login as %s: %d %s", username, res.StatusCode, res.body)
	}
}

// as returns the user that the server sees in a cookie, "" for nobody.
func (b *browser) as(cookie string) string {
	b.t.Helper()
	res := newBrowser(b.t, b.base).do("GET", "/me", "", "Cookie", "connect.sid="+cookie)
	if res.StatusCode != 200 {
		return ""
	}
	return res.body
}

// The attacker plants their own signed-in session. The victim's login replaces it:
// neither of them ends up in the other's session.
func TestPlantedSessionOfSomeoneElse(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			m := newManager(t, adapter.Options{Codec: v.codec})
			base := serve(t, m, names(m, newAuth(t, m, verifyAnyone, auth.Options{Key: v.key})))
			attacker := newBrowser(t, base)
			attacker.signIn("mallory")
			planted := attacker.cookie()

			victim := newBrowser(t, base)
			victim.signIn("ada", "Cookie", "connect.sid="+planted)
			if own := victim.cookie(); own == planted || victim.as(own) != "ada" {
				t.Errorf("the victim is %q", victim.as(own))
			}
			if got := attacker.as(planted); got != "" {
				t.Errorf("the planted session is signed in as %q", got)
			}
		})
	}
}

// Signing in again, as the same user or as another, gives a new id and ends the
// old one (OWASP ASVS 7.2.4).
func TestSignInAgain(t *testing.T) {
	m := newManager(t, adapter.Options{})
	b := newBrowser(t, serve(t, m, names(m, newAuth(t, m, verifyAnyone, auth.Options{}))))
	seen := map[string]bool{}
	for _, name := range []string{"ada", "ada", "bob", "ada"} {
		before := b.cookie()
		b.signIn(name)
		if seen[b.cookie()] || b.as(b.cookie()) != name {
			t.Errorf("after the login of %s, the cookie is an old one or %q's", name, b.as(b.cookie()))
		}
		seen[b.cookie()] = true
		if before != "" && b.as(before) != "" {
			t.Errorf("the cookie from before the login of %s is signed in as %q", name, b.as(before))
		}
	}
}

// A request that does not sign in creates no session, so a flood can't fill the store.
func TestRefusedRequestsMakeNoSessions(t *testing.T) {
	store := memstore.NewWithCleanupInterval(0)
	m := newManager(t, adapter.Options{Store: store, Logger: new(logs).logger()})
	h := names(m, newAuth(t, m, verifyAnyone, auth.Options{Logger: new(logs).logger()}))
	bad := `{"username":"ada","password":"wrong"}`
	for range 50 {
		for _, tt := range []struct{ method, path, body, contentType string }{
			{"GET", "/me", "", ""},
			{"POST", "/login", bad, typeJSON},
			{"POST", "/login", "username=ada&password=wrong", typeForm},
			{"POST", "/login", "{", typeJSON},
			{"POST", "/login", strings.Repeat("x", 10_000), typeJSON},
			{"GET", "/login", "", ""},
			{"POST", "/logout", "", ""},
		} {
			w := do(m, h, tt.method, tt.path, tt.body, "Content-Type", tt.contentType)
			if w.Header().Get("Set-Cookie") != "" {
				t.Fatalf("%s %s sets a cookie", tt.method, tt.path)
			}
		}
	}
	all, err := store.All()
	if err != nil || len(all) != 0 {
		t.Errorf("%d sessions, %v", len(all), err)
	}
}

// Iterating over all sessions ends those of one user. The user can do it and keep
// the current one, or an administrator can (OWASP ASVS 7.4.2, 7.4.3, 7.4.5, 7.5.2).
func TestEndTheSessionsOfAUser(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			m := newManager(t, adapter.Options{Codec: v.codec})
			a := newAuth(t, m, verifyAnyone, auth.Options{Key: v.key})
			base := serve(t, m, names(m, a))
			cookies := map[string]string{}
			for _, device := range []string{"phone", "laptop", "bob's"} {
				b := newBrowser(t, base)
				name := "ada"
				if device == "bob's" {
					name = "bob"
				}
				b.signIn(name)
				cookies[device] = b.cookie()
			}
			check := func(when string, want map[string]string) {
				t.Helper()
				for device, cookie := range cookies {
					if got := newBrowser(t, base).as(cookie); got != want[device] {
						t.Errorf("%s: %s is signed in as %q, want %q", when, device, got, want[device])
					}
				}
			}
			end := func(name, but string) {
				t.Helper()
				if err := m.Iterate(t.Context(), func(ctx context.Context) error {
					if user, ok := a.User(ctx); !ok || user != name || m.ID(ctx) == but {
						return nil
					}
					return m.Destroy(ctx)
				}); err != nil {
					t.Error(err)
				}
			}

			check("before", map[string]string{"phone": "ada", "laptop": "ada", "bob's": "bob"})
			laptop := strings.TrimPrefix(cookies["laptop"], "s%3A")
			id, _, _ := strings.Cut(laptop, ".")
			end("ada", id)
			check("all others", map[string]string{"laptop": "ada", "bob's": "bob"})
			end("ada", "")
			check("all", map[string]string{"bob's": "bob"})
		})
	}
}
