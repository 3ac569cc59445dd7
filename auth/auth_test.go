package auth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
	"github.com/samesid/samesid/internal/leaktest"
	"github.com/samesid/samesid/internal/refusal"
)

func TestLoginRestrictedLogout(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			m := newManager(t, adapter.Options{Codec: v.codec})
			a := newAuth(t, m, verifyAda, auth.Options{Key: v.key})
			b := newBrowser(t, serve(t, m, routes(m, a)))

			res := b.do("GET", "/protected", "")
			check(t, "before", res.StatusCode, res.body, 401, "Invalid Credentials")
			res = b.do("POST", "/login", badJSON, "Content-Type", typeJSON)
			check(t, "wrong password", res.StatusCode, res.body, 401, "Invalid Credentials")
			if got := res.Header["Set-Cookie"]; got != nil {
				t.Errorf("a failed login set a cookie: %q", got)
			}

			res = b.do("POST", "/login", goodJSON, "Content-Type", typeJSON)
			check(t, "login", res.StatusCode, res.body, 200, "You are logged in")
			if res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("Cache-Control of a login: %q", res.Header["Cache-Control"])
			}
			stolen := b.cookie()
			res = b.do("GET", "/protected", "")
			var got user
			if err := json.Unmarshal([]byte(res.body), &got); err != nil || !reflect.DeepEqual(got, ada) {
				t.Errorf("protected: %d %s, want %+v", res.StatusCode, res.body, ada)
			}
			if res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("Cache-Control of a protected page: %q", res.Header["Cache-Control"])
			}

			// A failed login does not end the session of the signed-in user.
			b.do("POST", "/login", badJSON, "Content-Type", typeJSON)
			if res = b.do("GET", "/protected", ""); res.StatusCode != 200 {
				t.Errorf("after another login failed: %d", res.StatusCode)
			}

			res = b.do("POST", "/logout", "")
			check(t, "logout", res.StatusCode, res.body, 200, "You are logged out")
			if got := b.cookie(); got != "" {
				t.Error("the browser still has its cookie after the logout")
			}
			thief := newBrowser(t, b.base)
			res = thief.do("GET", "/protected", "", "Cookie", "connect.sid="+stolen)
			check(t, "the old cookie", res.StatusCode, res.body, 401, "Invalid Credentials")
			res = b.do("POST", "/logout", "")
			check(t, "logout again", res.StatusCode, res.body, 200, "You are logged out")
		})
	}
}

// A session id that was planted before the login is useless after it.
func TestLoginRegenerates(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			m := newManager(t, adapter.Options{Codec: v.codec})
			a := newAuth(t, m, verifyAda, auth.Options{Key: v.key})
			base := serve(t, m, routes(m, a))
			attacker := newBrowser(t, base)
			attacker.do("GET", "/cart?add=apple", "")
			planted := attacker.cookie()
			if planted == "" {
				t.Fatal("there is no session to plant")
			}

			victim := newBrowser(t, base)
			res := victim.do("POST", "/login", goodJSON, "Content-Type", typeJSON, "Cookie", "connect.sid="+planted)
			check(t, "login", res.StatusCode, res.body, 200, "You are logged in")
			if victim.cookie() == "" || victim.cookie() == planted {
				t.Error("the login kept the session's id")
			}
			if res := attacker.do("GET", "/protected", ""); res.StatusCode != 401 {
				t.Errorf("the planted session is signed in: %d %s", res.StatusCode, res.body)
			}
			if res := attacker.do("GET", "/cart", ""); res.body != "" {
				t.Errorf("the planted session lives on: %q", res.body)
			}
			if res := victim.do("GET", "/cart", ""); res.body != "" {
				t.Errorf("the anonymous session's data was taken over: %q", res.body)
			}
		})
	}
}

// A request that is running while the user signs out does not restore the session.
func TestLogoutIsFinal(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			m := newManager(t, adapter.Options{Codec: v.codec, Logger: new(leaktest.Log).Logger()})
			a := newAuth(t, m, verifyAda, auth.Options{Key: v.key})
			mux := routes(m, a)
			started, goOn := make(chan struct{}), make(chan struct{})
			mux.Handle("/slow", a.Restricted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				close(started)
				<-goOn
				m.Put(r.Context(), "cart", "late")
			})))
			b := newBrowser(t, serve(t, m, mux))
			b.do("POST", "/login", goodJSON, "Content-Type", typeJSON)
			cookie := "connect.sid=" + b.cookie()

			var wg sync.WaitGroup
			wg.Go(func() {
				if res := newBrowser(t, b.base).do("GET", "/slow", "", "Cookie", cookie); res.Header.Get("Set-Cookie") != "" {
					t.Error("the slow request set a session cookie")
				}
			})
			<-started
			b.do("POST", "/logout", "")
			close(goOn)
			wg.Wait()
			if res := newBrowser(t, b.base).do("GET", "/protected", "", "Cookie", cookie); res.StatusCode != 401 {
				t.Errorf("the session came back: %d %s", res.StatusCode, res.body)
			}
		})
	}
}

func TestConcurrentUse(t *testing.T) {
	m := newManager(t, adapter.Options{Codec: adapter.JSONCodec{}})
	a := newAuth(t, m, verifyAda, auth.Options{Key: "passport.user"})
	base := serve(t, m, routes(m, a))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			b := newBrowser(t, base)
			for range 5 {
				b.do("POST", "/login", goodJSON, "Content-Type", typeJSON)
				if res := b.do("GET", "/protected", ""); res.StatusCode != 200 {
					t.Errorf("signed in: %d", res.StatusCode)
				}
				b.do("POST", "/logout", "")
				if res := b.do("GET", "/protected", ""); res.StatusCode != 401 {
					t.Errorf("signed out: %d", res.StatusCode)
				}
			}
		})
	}
	wg.Wait()
}

// The stored session has the form that Express expects.
func TestStoredForm(t *testing.T) {
	// The bubble's clock begins at 946684800.
	for key, want := range map[string]string{
		"user":          `{"user":{"id":7,"name":"Ada","roles":["admin"]},"auth_time":946684800}`,
		"passport.user": `{"passport":{"user":{"id":7,"name":"Ada","roles":["admin"]}},"auth_time":946684800}`,
	} {
		store := memstore.NewWithCleanupInterval(0)
		m := newManager(t, adapter.Options{Codec: adapter.JSONCodec{}, Store: store})
		a := newAuth(t, m, verifyAda, auth.Options{Key: key})
		synctest.Test(t, func(t *testing.T) {
			do(m, a.Login(), "POST", "/login", goodJSON, "Content-Type", typeJSON)
			all, err := store.All()
			if err != nil || len(all) != 1 {
				t.Fatalf("%s: %d records, error %v", key, len(all), err)
			}
			for _, b := range all {
				var got, wanted map[string]any
				if err := json.Unmarshal(b, &got); err != nil {
					t.Fatal(err)
				}
				if err := json.Unmarshal([]byte(want), &wanted); err != nil {
					t.Fatal(err)
				}
				delete(got, "cookie")
				if !reflect.DeepEqual(got, wanted) {
					t.Errorf("%s: stored %s, want %s beside the cookie", key, b, want)
				}
			}
		})
	}
}

// User understands the sessions of Express apps.
func TestUserFromExpress(t *testing.T) {
	for _, tt := range []struct {
		name, key, data string
		want            string // the user's name; "" for nobody
		warns           bool
	}{
		{"a user", "user", `"user":{"id":1,"name":"Eve"}`, "Eve", false},
		{"nothing", "user", `"cart":1`, "", false},
		{"null", "user", `"user":null`, "", false},
		{"false", "user", `"user":false`, "", false},
		{"no text", "user", `"user":""`, "", false},
		{"another type", "user", `"user":["Eve"]`, "", true},
		{"a field of another type", "user", `"user":{"name":5}`, "", true},
		{"a text that looks like a user", "user", `"user":"{\"name\":\"Eve\"}"`, "", true},
		{"Passport's user", "passport.user", `"passport":{"user":{"name":"Eve"}}`, "Eve", false},
		{"Passport's, signed out", "passport.user", `"passport":{}`, "", false},
		{"Passport's null", "passport.user", `"passport":{"user": null }`, "", false},
		{"Passport's false", "passport.user", `"passport":{"user":false}`, "", false},
		{"no Passport", "passport.user", `"user":{"name":"Eve"}`, "", false},
		{"Passport is null", "passport.user", `"passport":null`, "", false},
		{"Passport is text", "passport.user", `"passport":"user"`, "", true},
		{"Passport's text that looks like a user", "passport.user", `"passport":{"user":"{\"name\":\"Eve\"}"}`, "", true},
		{"Passport is a text that looks like it", "passport.user", `"passport":"{\"user\":{\"name\":\"Eve\"}}"`, "", true},
		{"Passport's of another type", "passport.user", `"passport":{"user":"Eve"}`, "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			store := memstore.NewWithCleanupInterval(0)
			m := newManager(t, adapter.Options{Codec: adapter.JSONCodec{}, Store: store})
			l := new(leaktest.Log)
			a := newAuth(t, m, verifyAda, auth.Options{Key: tt.key, Logger: l.Logger()})
			record := `{"cookie":{"originalMaxAge":null,"expires":null,"httpOnly":true,"path":"/"},` + tt.data + `}`
			if err := store.Commit("id", []byte(record), time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			ctx, err := m.LoadID(t.Context(), "id")
			if err != nil || m.Token(ctx) != "id" {
				t.Fatalf("the record was not loaded: %v", err)
			}
			u, err := a.User(ctx)
			if (err == nil) != (tt.want != "") || u.Name != tt.want || err != nil && !errors.Is(err, auth.ErrNotSignedIn) {
				t.Errorf("User: %+v, %v, want %q", u, err, tt.want)
			}
			if (l.String() != "") != tt.warns || strings.Contains(l.String(), "Eve") {
				t.Errorf("log: %q", l)
			}
		})
	}
}

// A user need not be a struct: Passport's is often only an id.
func TestUserTypes(t *testing.T) {
	type account struct { // beyond what a float64 holds
		ID  uint64
		Min int64
		Max *int64
	}
	most := int64(math.MaxInt64)
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			m := newManager(t, adapter.Options{Codec: v.codec})
			roundTrip(t, m, v.key, "ada")
			roundTrip(t, m, v.key, "123")
			roundTrip(t, m, v.key, `{"a":1}`)
			roundTrip(t, m, v.key, 7)
			roundTrip(t, m, v.key, 0)
			roundTrip(t, m, v.key, int64(1)<<53-1)
			roundTrip(t, m, v.key, int64(1)<<53+1)
			roundTrip(t, m, v.key, most)
			roundTrip(t, m, v.key, int64(math.MinInt64))
			roundTrip(t, m, v.key, uint64(12345678901234567891))
			roundTrip(t, m, v.key, account{12345678901234567891, math.MinInt64, &most})
			roundTrip(t, m, v.key, true)
			roundTrip(t, m, v.key, &ada)
			roundTrip(t, m, v.key, map[string]string{"name": "Ada"})
			roundTrip(t, m, v.key, []string{"Ada"})
			roundTrip(t, m, v.key, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
		})
	}
}

func roundTrip[U any](t *testing.T, m *adapter.Manager, key string, want U) {
	t.Helper()
	a := newAuth(t, m, func(context.Context, string, string) (U, error) { return want, nil }, auth.Options{Key: key})
	w := do(m, a.Login(), "POST", "/login", goodJSON, "Content-Type", typeJSON)
	cookie, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";")
	do(m, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if got, err := a.User(r.Context()); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%T %v came back as %v, %v", want, want, got, err)
		}
	}), "GET", "/", "", "Cookie", cookie)
}

func TestSignInRefusesNobody(t *testing.T) {
	m := newManager(t, adapter.Options{})
	nobody := newAuth(t, m, func(context.Context, string, string) (*user, error) { return nil, nil }, auth.Options{})
	noName := newAuth(t, m, func(context.Context, string, string) (string, error) { return "", nil }, auth.Options{Key: "passport.user"})
	noJSON := newAuth(t, m, func(context.Context, string, string) (chan int, error) { return nil, nil }, auth.Options{})
	do(m, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		m.Put(ctx, "cart", "apple")
		for _, err := range []error{nobody.SignIn(ctx, nil), noName.SignIn(ctx, ""), noJSON.SignIn(ctx, make(chan int))} {
			if err == nil {
				t.Error("SignIn took a user that can't be stored")
			}
		}
		if m.GetString(ctx, "cart") != "apple" {
			t.Error("a refused SignIn ended the session")
		}
	}), "GET", "/", "")
	w := do(m, nobody.Login(), "POST", "/login", goodJSON, "Content-Type", typeJSON)
	if w.Code != 500 || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("a Verifier without a user: %d, Set-Cookie %q", w.Code, w.Header()["Set-Cookie"])
	}
}

func TestSignInAndSignOut(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			m := newManager(t, adapter.Options{Codec: v.codec})
			a := newAuth(t, m, verifyAda, auth.Options{Key: v.key})
			mux := routes(m, a)
			mux.HandleFunc("/callback", func(_ http.ResponseWriter, r *http.Request) {
				if err := a.SignIn(r.Context(), ada); err != nil {
					t.Error(err)
				}
				if u, err := a.User(r.Context()); err != nil || u.ID != ada.ID {
					t.Errorf("User in the same request: %+v, %v", u, err)
				}
			})
			mux.HandleFunc("/leave", func(_ http.ResponseWriter, r *http.Request) {
				if err := a.SignOut(r.Context()); err != nil {
					t.Error(err)
				}
				if _, err := a.User(r.Context()); err == nil {
					t.Error("User in the same request is still signed in")
				}
			})
			b := newBrowser(t, serve(t, m, mux))
			b.do("GET", "/cart?add=apple", "")
			before := b.cookie()
			b.do("GET", "/callback", "")
			if b.cookie() == before {
				t.Error("SignIn kept the session's id")
			}
			if res := b.do("GET", "/protected", ""); res.StatusCode != 200 {
				t.Errorf("after SignIn: %d", res.StatusCode)
			}
			b.do("GET", "/leave", "")
			if res := b.do("GET", "/protected", ""); res.StatusCode != 401 || b.cookie() != "" {
				t.Errorf("after SignOut: %d", res.StatusCode)
			}
		})
	}
}

func TestFresh(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			m := newManager(t, adapter.Options{Codec: v.codec, Store: memstore.NewWithCleanupInterval(0)})
			synctest.Test(t, func(t *testing.T) {
				a := newAuth(t, m, verifyAda, auth.Options{Key: v.key, LoginPage: "/login"})
				h := a.Fresh(time.Minute)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					_, _ = w.Write([]byte("secret"))
				}))
				w := do(m, h, "GET", "/password", "")
				check(t, "nobody", w.Code, w.Body.String(), 401, "Invalid Credentials")

				w = do(m, a.Login(), "POST", "/login", goodJSON, "Content-Type", typeJSON)
				cookie, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";")
				if w = do(m, h, "GET", "/password", "", "Cookie", cookie); w.Body.String() != "secret" {
					t.Errorf("at once: %d %s", w.Code, w.Body)
				}
				time.Sleep(time.Minute)
				if w = do(m, h, "GET", "/password", "", "Cookie", cookie); w.Body.String() != "secret" {
					t.Errorf("after a minute: %d %s", w.Code, w.Body)
				}
				time.Sleep(time.Second)
				w = do(m, h, "GET", "/password", "", "Cookie", cookie)
				check(t, "after more than a minute", w.Code, w.Body.String(), 401, "Sign In Again")
				w = do(m, h, "GET", "/password?x=1", "", "Cookie", cookie, "Accept", acceptChrome)
				if got := w.Header().Get("Location"); w.Code != 303 || got != "/login?returnTo=%2Fpassword%3Fx%3D1" {
					t.Errorf("a browser: %d %q", w.Code, got)
				}
				w = do(m, a.Restricted(h), "GET", "/", "", "Cookie", cookie)
				check(t, "inside Restricted", w.Code, w.Body.String(), 401, "Sign In Again")

				w = do(m, a.Login(), "POST", "/login", goodJSON, "Content-Type", typeJSON, "Cookie", cookie)
				cookie, _, _ = strings.Cut(w.Header().Get("Set-Cookie"), ";")
				if w = do(m, h, "GET", "/password", "", "Cookie", cookie); w.Body.String() != "secret" {
					t.Errorf("signed in again: %d %s", w.Code, w.Body)
				}
			})
		})
	}
}

func TestFreshWithoutTime(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		name string
		at   any
		want int
	}{
		{"none", nil, 401},
		{"now", now.Unix(), 200},
		{"with a fraction", float64(now.UnixMilli()) / 1000, 200},
		{"text", now.Format(time.RFC3339), 401},
		{"in milliseconds", now.UnixMilli(), 401},
		{"a slow clock", now.Unix() + 5, 200},
		{"far ahead", now.Unix() + 3600, 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newManager(t, adapter.Options{})
			a := newAuth(t, m, verifyAda, auth.Options{})
			h := a.Fresh(time.Minute)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			w := do(m, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if err := adapter.Put(r.Context(), m, "user", ada); err != nil {
					t.Error(err)
				}
				if tt.at != nil {
					m.Put(r.Context(), "auth_time", tt.at)
				}
				h.ServeHTTP(w, r)
			}), "GET", "/", "")
			if w.Code != tt.want {
				t.Errorf("got %d, want %d", w.Code, tt.want)
			}
		})
	}
	m := newManager(t, adapter.Options{})
	a := newAuth(t, m, verifyAda, auth.Options{})
	defer func() {
		if recover() == nil {
			t.Error("Fresh(0) did not panic")
		}
	}()
	a.Fresh(0)
}

func TestWithoutMiddleware(t *testing.T) {
	m := newManager(t, adapter.Options{})
	a := newAuth(t, m, verifyAda, auth.Options{})
	ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	for name, call := range map[string]func(http.ResponseWriter, *http.Request){
		"Login":      a.Login().ServeHTTP,
		"Logout":     a.Logout().ServeHTTP,
		"Restricted": a.Restricted(ok).ServeHTTP,
		"Fresh":      a.Fresh(time.Minute)(ok).ServeHTTP,
		"User":       func(_ http.ResponseWriter, r *http.Request) { _, _ = a.User(r.Context()) },
		"SignIn":     func(_ http.ResponseWriter, r *http.Request) { _ = a.SignIn(r.Context(), ada) },
		"SignOut":    func(_ http.ResponseWriter, r *http.Request) { _ = a.SignOut(r.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, "Manager.LoadAndSave") {
					t.Errorf("the panic does not say what is missing: %s", got)
				}
			}()
			r := httptest.NewRequest("POST", "/login", strings.NewReader(badJSON))
			r.Header.Set("Content-Type", typeJSON)
			call(httptest.NewRecorder(), r)
		})
	}
}

func TestStoreFailure(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			store := &faultyStore{MemStore: memstore.NewWithCleanupInterval(0)}
			m := newManager(t, adapter.Options{Codec: v.codec, Store: store, Logger: new(leaktest.Log).Logger()})
			a := newAuth(t, m, verifyAda, auth.Options{Key: v.key})
			b := newBrowser(t, serve(t, m, routes(m, a)))

			store.breaks(true, false)
			res := b.do("POST", "/login", goodJSON, "Content-Type", typeJSON)
			if res.StatusCode != 503 || res.Header.Get("Set-Cookie") != "" || strings.Contains(res.body, "logged in") {
				t.Errorf("a new session can't be saved: %d %s", res.StatusCode, res.body)
			}
			store.breaks(false, false)
			b.do("GET", "/cart?add=apple", "")
			anonymous := b.cookie()
			for name, broken := range map[string]struct{ commit, delete bool }{
				"the new session can't be saved": {commit: true},
				"the old session can't be ended": {delete: true},
				"neither":                        {commit: true, delete: true},
			} {
				store.breaks(broken.commit, broken.delete)
				res = b.do("POST", "/login", goodJSON, "Content-Type", typeJSON)
				if res.StatusCode != 503 || res.Header.Get("Set-Cookie") != "" || strings.Contains(res.body, "logged in") {
					t.Errorf("%s: %d %s", name, res.StatusCode, res.body)
				}
				store.breaks(false, false)
				if res = b.do("GET", "/cart", ""); b.cookie() != anonymous || res.body != "apple" {
					t.Errorf("%s: after it the cart is %q", name, res.body)
				}
			}
			if res = b.do("GET", "/protected", ""); res.StatusCode != 401 {
				t.Errorf("after logins that failed: %d", res.StatusCode)
			}

			b.do("POST", "/login", goodJSON, "Content-Type", typeJSON)
			store.breaks(false, true)
			for _, accept := range []string{"*/*", acceptChrome} {
				res = b.do("POST", "/logout", "", "Accept", accept)
				if res.StatusCode != 503 || strings.Contains(res.body, "logged out") || b.cookie() == "" {
					t.Errorf("the session can't be ended: %d %s", res.StatusCode, res.body)
				}
			}
			if res = b.do("GET", "/protected", ""); res.StatusCode != 200 {
				t.Errorf("after a logout that failed: %d", res.StatusCode)
			}
		})
	}
}

func TestVerifierFailure(t *testing.T) {
	l := new(leaktest.Log)
	m := newManager(t, adapter.Options{Logger: l.Logger()})
	a := newAuth(t, m, func(_ context.Context, username, pw string) (user, error) {
		return user{}, fmt.Errorf("ldap bind of %s with %s: %w", username, pw, errDown)
	}, auth.Options{Logger: l.Logger(), LoginPage: "/login", Attempts: 2})
	for range 5 { // more than Attempts: a Verifier's failure does not count
		w := do(m, a.Login(), "POST", "/login", goodJSON, "Content-Type", typeJSON)
		check(t, "a Verifier that fails", w.Code, w.Body.String(), 500, "Internal Server Error")
	}
	w := do(m, a.Login(), "POST", "/login", goodForm, "Content-Type", typeForm, "Accept", acceptChrome)
	check(t, "for a browser", w.Code, w.Body.String(), 500, "Internal Server Error")
	got := l.String()
	if !strings.Contains(got, "connection refused") {
		t.Errorf("the log does not say why: %s", got)
	}
	if strings.Contains(got, password) || strings.Contains(got, "ada") {
		t.Errorf("the log has the credentials: %s", got)
	}

	wrapped := newAuth(t, m, func(context.Context, string, string) (user, error) {
		return user{}, fmt.Errorf("no such user: %w", auth.ErrInvalid)
	}, auth.Options{})
	w = do(m, wrapped.Login(), "POST", "/login", goodJSON, "Content-Type", typeJSON)
	check(t, "a wrapped ErrInvalid", w.Code, w.Body.String(), 401, "Invalid Credentials")
}

func TestNewRefuses(t *testing.T) {
	m := newManager(t, adapter.Options{})
	for _, tt := range []struct {
		opts auth.Options
		want string
	}{
		{auth.Options{Key: "a.b.c"}, "Options.Key"},
		{auth.Options{Key: ".user"}, "Options.Key"},
		{auth.Options{Key: "passport."}, "Options.Key"},
		{auth.Options{Key: "cookie"}, "Options.Key"},
		{auth.Options{Key: "cookie.user"}, "Options.Key"},
		{auth.Options{Key: "auth_time"}, "Options.Key"},
		{auth.Options{Key: "__deadline"}, "Options.Key"},
		{auth.Options{LoginPage: "login"}, "Options.LoginPage"},
		{auth.Options{LoginPage: "https://example.com/"}, "Options.LoginPage"},
		{auth.Options{AfterLogin: "//example.com"}, "Options.AfterLogin"},
		{auth.Options{AfterLogout: `/\example.com`}, "Options.AfterLogout"},
		{auth.Options{UsernameField: "password"}, "Options.PasswordField"},
		{auth.Options{UsernameField: "returnTo"}, "Options.UsernameField"},
		{auth.Options{MaxBody: -1}, "Options.MaxBody"},
		{auth.Options{Attempts: -1}, "Options.Attempts"},
		{auth.Options{AttemptsWindow: -1}, "Options.AttemptsWindow"},
		{auth.Options{AttemptsWindow: 900}, "Options.AttemptsWindow"}, // nanoseconds
		{auth.Options{Unlimited: true, Attempts: 5}, "Options.Unlimited"},
		{auth.Options{Unlimited: true, AttemptsWindow: time.Hour}, "Options.Unlimited"},
		{auth.Options{Unlimited: true, Logins: 1}, "Options.Logins"},
		{auth.Options{Logins: -1}, "Options.Logins"},
		{auth.Options{ClientHeader: "X-Real-IP"}, "Options.TrustedProxies"},
		{auth.Options{TrustedProxies: []string{"10.0.0.0/8"}}, "Options.TrustedProxies"},
		{auth.Options{ClientHeader: "X-Real-IP:", TrustedProxies: []string{"10.0.0.0/8"}}, "Options.ClientHeader"},
		{auth.Options{ClientHeader: "X-Real-IP", TrustedProxies: []string{"::1", "10.0.0.0/33"}}, "Options.TrustedProxies[1]"},
		{auth.Options{ClientHeader: "X-Real-IP", TrustedProxies: []string{"nginx"}}, "Options.TrustedProxies[0]"},
		{auth.Options{ClientHeader: "X-Real-IP", TrustedProxies: []string{"0.0.0.0/0"}}, "Options.TrustedProxies[0]"},
		{auth.Options{ClientHeader: "X-Real-IP", TrustedProxies: []string{"::/0"}}, "Options.TrustedProxies[0]"},
		{auth.Options{ClientHeader: "X-Real-IP", TrustedProxies: []string{"::ffff:10.0.0.0/104"}}, "Options.TrustedProxies[0]"},
		{auth.Options{ClientHeader: "X-Real-IP", TrustedProxies: []string{"fe80::1%eth0"}}, "Options.TrustedProxies[0]"},
		{auth.Options{ClientHeader: "X-Real-IP", TrustedProxies: []string{"::1"}, ClientAddr: func(*http.Request) string { return "" }}, "Options.ClientAddr"},
		{auth.Options{TrustedOrigins: []string{"https://ok.example", "example.com"}}, "Options.TrustedOrigins[1]"},
	} {
		if _, err := auth.New(m, verifyAda, tt.opts); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: error %v, want one that names %s", tt.opts, err, tt.want)
		}
		var r *refusal.Error
		if err := tt.opts.Validate(); !errors.As(err, &r) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Validate, %+v: error %v, want one that names %s", tt.opts, err, tt.want)
		}
	}
	if err := (auth.Options{TrustedOrigins: []string{"https://ok.example"}, Unlimited: true}).Validate(); err != nil {
		t.Errorf("Validate refuses good options: %v", err)
	}
	if _, err := auth.New(m, func(context.Context, string, string) (any, error) { return nil, nil }, auth.Options{}); err == nil {
		t.Error("New took an interface for a user type")
	}
	_, err := auth.New[user](nil, nil, auth.Options{MaxBody: -1, Key: "."})
	for _, want := range []string{"Manager", "MaxBody", "Key"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not name %s", err, want)
		}
	}
}

var _ scs.Store = (*faultyStore)(nil)

// Where the login is elsewhere there is no Verifier: all works but what would verify, which
// says so, Login as the program starts.
func TestWithoutVerifier(t *testing.T) {
	m := newManager(t, adapter.Options{})
	byObject, err := auth.New[user](m, nil, auth.Options{})
	if err != nil {
		t.Fatal(err)
	}
	byID, err := auth.NewByID(m, nil, func(u user) int { return u.ID }, func(context.Context, int) (user, error) { return ada, nil }, auth.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for name, a := range map[string]*auth.Auth[user]{"object": byObject, "id": byID} {
		t.Run(name, func(t *testing.T) {
			mux := http.NewServeMux()
			mux.HandleFunc("/callback", func(w http.ResponseWriter, r *http.Request) {
				if err := a.SignIn(r.Context(), ada); err != nil {
					m.ErrorFunc(w, r, err)
				}
			})
			mux.Handle("/protected", a.Restricted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				u, _ := a.User(r.Context())
				_, _ = w.Write([]byte(u.Name))
			})))
			mux.Handle("/logout", a.Logout())
			b := newBrowser(t, serve(t, m, mux))
			for _, step := range []struct {
				method, path string
				status       int
			}{{"GET", "/protected", 401}, {"POST", "/callback", 200}, {"GET", "/protected", 200}, {"POST", "/logout", 200}, {"GET", "/protected", 401}} {
				if res := b.do(step.method, step.path, ""); res.StatusCode != step.status {
					t.Errorf("%s: %d %s, want %d", step.path, res.StatusCode, res.body, step.status)
				}
			}
			for method, call := range map[string]func(){
				"Login":   func() { a.Login() },
				"Attempt": func() { _, _ = a.Attempt(httptest.NewRequest("POST", "/", nil), "ada", password) },
			} {
				if said := fmt.Sprint(panicOf(call)); !strings.HasPrefix(said, "auth: "+method) || !strings.Contains(said, "Verifier") {
					t.Errorf("%s: %s", method, said)
				}
			}
		})
	}
}

func panicOf(call func()) (value any) {
	defer func() { value = recover() }()
	call()
	return nil
}
