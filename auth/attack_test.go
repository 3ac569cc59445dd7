package auth_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/alexedwards/scs/v2/memstore"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
	"github.com/samesid/samesid/backends/memory"
	"github.com/samesid/samesid/internal/leaktest"
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
	m := newManager(t, adapter.Options{Store: store, Logger: new(leaktest.Log).Logger()})
	h := names(m, newAuth(t, m, verifyAnyone, auth.Options{Logger: new(leaktest.Log).Logger()}))
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

// DestroyWhere ends the sessions of one user, also one that has a new id meanwhile, by
// another process. The user can do it and keep the current one, or an administrator can
// (OWASP ASVS 7.4.2, 7.4.3, 7.4.5, 7.5.2).
func TestEndTheSessionsOfAUser(t *testing.T) {
	for _, v := range variants {
		for _, storeKey := range []adapter.StoreKey{adapter.StoreKeyID, adapter.StoreKeyHash, adapter.StoreKeyMigrating} {
			t.Run(fmt.Sprintf("%s/StoreKey %q", v.name, storeKey), func(t *testing.T) {
				store := &movedMeanwhile{Store: memory.New(memory.Options{})}
				t.Cleanup(func() { _ = store.Close() })
				o := adapter.Options{Store: store, Codec: v.codec, StoreKey: storeKey, Logger: new(leaktest.Log).Logger()}
				m, other := newManager(t, o), newManager(t, o)
				a := newAuth(t, m, verifyAnyone, auth.Options{Key: v.key})
				end := func(ctx context.Context, whose string, but func(ctx context.Context) bool) {
					if _, err := m.DestroyWhere(ctx, func(ctx context.Context) bool {
						user, err := a.User(ctx)
						return err == nil && user == whose && !but(ctx)
					}); err != nil {
						t.Error(err)
					}
				}
				mux := names(m, a)
				mux.Handle("POST /end-others", a.Restricted(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					ctx := r.Context()
					if r.FormValue("renew") != "" { // as after a change of password
						if err := m.RenewToken(ctx); err != nil {
							t.Error(err)
						}
					}
					user, _ := a.User(ctx)
					end(ctx, user, func(c context.Context) bool { return m.ID(c) == m.ID(ctx) })
				})))
				base := serve(t, m, mux)
				elsewhere := serve(t, other, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					if err := other.RenewToken(r.Context()); err != nil {
						t.Error(err)
					}
				}))
				devices := map[string]*browser{}
				for _, device := range []string{"phone", "tablet", "laptop", "bob's"} {
					devices[device] = newBrowser(t, base)
					if device == "bob's" {
						devices[device].signIn("bob")
					} else {
						devices[device].signIn("ada")
					}
				}
				move := func(device string) func() {
					return func() { // cookies know no ports
						b := *devices[device]
						b.base = elsewhere
						b.do("POST", "/", "")
					}
				}
				check := func(when string, want map[string]string) {
					t.Helper()
					for device, b := range devices {
						if got := b.as(b.cookie()); got != want[device] {
							t.Errorf("%s: %s is signed in as %q, want %q", when, device, got, want[device])
						}
					}
				}

				check("before", map[string]string{"phone": "ada", "tablet": "ada", "laptop": "ada", "bob's": "bob"})
				for _, renew := range []string{"", "?renew=1"} {
					store.meanwhile = move("phone")
					if res := devices["laptop"].do("POST", "/end-others"+renew, ""); res.StatusCode != 200 {
						t.Errorf("%d %s", res.StatusCode, res.body)
					}
					check("all others", map[string]string{"laptop": "ada", "bob's": "bob"})
					devices["phone"].signIn("ada")
				}
				store.meanwhile = move("phone")
				end(t.Context(), "ada", func(context.Context) bool { return false })
				check("all", map[string]string{"bob's": "bob"})
			})
		}
	}
}

// movedMeanwhile is a store in which a session gets a new id once a listing has begun, so
// that the listing has it under its old id alone.
type movedMeanwhile struct {
	*memory.Store
	meanwhile func()
}

func (s *movedMeanwhile) Range(ctx context.Context, fn func(token string, data []byte) error) error {
	listed, err := s.AllCtx(ctx)
	if err != nil {
		return err
	}
	if move := s.meanwhile; move != nil {
		s.meanwhile = nil
		move()
	}
	for token, data := range listed {
		if err := fn(token, data); err != nil {
			return err
		}
	}
	return nil
}
