package auth_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/scs/v2/memstore"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
	"github.com/samesid/samesid/internal/leaktest"
)

func TestTooManyAttempts(t *testing.T) {
	m := newManager(t, adapter.Options{Store: memstore.NewWithCleanupInterval(0)})
	synctest.Test(t, func(t *testing.T) {
		l := new(leaktest.Log)
		verified := 0
		a := newAuth(t, m, func(ctx context.Context, username, pw string) (user, error) {
			verified++
			return verifyAda(ctx, username, pw)
		}, auth.Options{Attempts: 3, AttemptsWindow: 30 * time.Second, LoginPage: "/login", Logger: l.Logger()})
		for range 3 {
			w := do(m, a.Login(), "POST", "/login", badJSON, "Content-Type", typeJSON)
			check(t, "wrong", w.Code, w.Body.String(), 401, "Invalid Credentials")
		}
		time.Sleep(500 * time.Millisecond)
		w := do(m, a.Login(), "POST", "/login", goodJSON, "Content-Type", typeJSON)
		check(t, "one too many", w.Code, w.Body.String(), 429, "Too Many Attempts")
		if got := w.Header().Get("Retry-After"); got != "10" {
			t.Errorf("Retry-After %q, want 10", got)
		}
		w = do(m, a.Login(), "POST", "/login", goodForm+"&returnTo=/a", "Content-Type", typeForm, "Accept", acceptChrome)
		if got := w.Header().Get("Location"); w.Code != 303 || got != "/login?error=1&returnTo=%2Fa&wait=10" {
			t.Errorf("a browser: %d to %q", w.Code, got)
		}
		if verified != 3 {
			t.Errorf("%d logins were verified, want 3", verified)
		}
		if got := l.String(); !strings.Contains(got, "client=192.0.2.1") || strings.Contains(got, password) {
			t.Errorf("log: %s", got)
		}
		time.Sleep(10 * time.Second)
		w = do(m, a.Login(), "POST", "/login", goodJSON, "Content-Type", typeJSON)
		check(t, "after the wait", w.Code, w.Body.String(), 200, "You are logged in")
	})
}

// One account can't fill the store with sessions: successful logins have a limit too.
func TestTooManyLogins(t *testing.T) {
	store := memstore.NewWithCleanupInterval(0)
	m := newManager(t, adapter.Options{Store: store})
	synctest.Test(t, func(t *testing.T) {
		a := newAuth(t, m, verifyAda, auth.Options{Logger: new(leaktest.Log).Logger()})
		login := func(from string) *httptest.ResponseRecorder {
			return do(m, a.Login(), "POST", "/login", goodJSON, "Content-Type", typeJSON, "RemoteAddr", from)
		}
		for range 100 {
			w := login("192.0.2.1:1")
			check(t, "login", w.Code, w.Body.String(), 200, "You are logged in")
		}
		w := login("192.0.2.1:1")
		check(t, "one too many", w.Code, w.Body.String(), 429, "Too Many Attempts")
		if got := w.Header().Get("Retry-After"); got != "9" {
			t.Errorf("Retry-After %q, want 9", got)
		}
		if w = login("192.0.2.2:1"); w.Code != 200 {
			t.Errorf("from another address: %d", w.Code)
		}
		for i := range 2000 {
			login(fmt.Sprintf("[2001:db8:%x:1::1]:1", i))
		}
		if all, err := store.All(); err != nil || len(all) != 1000 {
			t.Errorf("%d sessions of one account, %v, want 1000", len(all), err)
		}
		time.Sleep(9 * time.Second)
		if w = login("192.0.2.1:1"); w.Code != 200 {
			t.Errorf("after the wait: %d", w.Code)
		}
	})
}

// Someone who has a /48 has not 65,536 limits.
func TestNetworkAroundAClient(t *testing.T) {
	m := newManager(t, adapter.Options{})
	a := newAuth(t, m, verifyAda, auth.Options{Attempts: 1, Logger: new(leaktest.Log).Logger()})
	verified := 0
	for i := range 1000 {
		w := do(m, a.Login(), "POST", "/login", fmt.Sprintf(`{"username":"user%d","password":"x"}`, i), "Content-Type", typeJSON,
			"RemoteAddr", fmt.Sprintf("[2001:db8:0:%x::1]:1", i))
		if w.Code == 401 {
			verified++
		}
	}
	if verified != 160 { // of 4 /56s, 40 each
		t.Errorf("%d guesses were verified, want 160", verified)
	}
}

// Unknown accounts have the same limit; otherwise it would reveal which accounts exist.
func TestLimitOfUnknownUser(t *testing.T) {
	m := newManager(t, adapter.Options{})
	a := newAuth(t, m, verifyAda, auth.Options{Attempts: 2, Logger: new(leaktest.Log).Logger()})
	for i, want := range []int{401, 401, 429} {
		for _, name := range []string{"ada", "nobody"} {
			w := do(m, a.Login(), "POST", "/login", `{"username":"`+name+`","password":"x"}`, "Content-Type", typeJSON)
			if w.Code != want {
				t.Errorf("attempt %d at %s: %d, want %d", i, name, w.Code, want)
			}
		}
	}
}

func TestUnlimited(t *testing.T) {
	m := newManager(t, adapter.Options{})
	a := newAuth(t, m, verifyAda, auth.Options{Unlimited: true})
	for range 200 {
		if w := do(m, a.Login(), "POST", "/login", badJSON, "Content-Type", typeJSON); w.Code != 401 {
			t.Fatalf("got %d", w.Code)
		}
	}
}

// Concurrent guesses can't exceed the limit.
func TestAttemptsAtOnce(t *testing.T) {
	m := newManager(t, adapter.Options{})
	var verified atomic.Int32
	goOn := make(chan struct{})
	a := newAuth(t, m, func(context.Context, string, string) (user, error) {
		verified.Add(1)
		<-goOn
		return user{}, auth.ErrInvalid
	}, auth.Options{Attempts: 5, Logger: new(leaktest.Log).Logger()})
	base := serve(t, m, routes(m, a))
	var refused, done sync.WaitGroup
	refused.Add(15)
	for range 20 {
		done.Go(func() {
			if res := newBrowser(t, base).do("POST", "/login", badJSON, "Content-Type", typeJSON); res.StatusCode == 429 {
				refused.Done()
			}
		})
	}
	refused.Wait()
	close(goOn)
	done.Wait()
	if n := verified.Load(); n != 5 {
		t.Errorf("%d guesses were verified, want 5", n)
	}
}

func TestPanickingVerifierCounts(t *testing.T) {
	m := newManager(t, adapter.Options{})
	a := newAuth(t, m, func(context.Context, string, string) (user, error) { panic("verifier") },
		auth.Options{Attempts: 1, Logger: new(leaktest.Log).Logger()})
	login := func() *httptest.ResponseRecorder {
		defer func() { _ = recover() }()
		return do(m, a.Login(), "POST", "/login", goodJSON, "Content-Type", typeJSON)
	}
	if login() != nil {
		t.Fatal("the panic was swallowed")
	}
	if w := login(); w == nil || w.Code != 429 {
		t.Error("an attempt that ended in a panic did not count")
	}
}

func TestClientAddr(t *testing.T) {
	for _, tt := range []struct {
		name, first, second string
		same                bool
	}{
		{"ports", "192.0.2.1:1000", "192.0.2.1:2000", true},
		{"IPv4", "192.0.2.1:1000", "192.0.2.2:1000", false},
		{"IPv4 in IPv6", "192.0.2.1:1000", "[::ffff:192.0.2.1]:1000", true},
		{"a /64", "[2001:db8:0:1::1]:1000", "[2001:db8:0:1:ffff::2]:1000", true},
		{"two /64s", "[2001:db8:0:1::1]:1000", "[2001:db8:0:2::1]:1000", false},
		{"a zone", "[fe80::1%eth0]:1000", "[fe80::2%eth1]:1000", true},
		{"sockets", "@", "@", true},
		{"without a port", "192.0.2.1", "192.0.2.1:1000", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newManager(t, adapter.Options{})
			want := 401
			if tt.same {
				want = 429
			}
			direct := newAuth(t, m, verifyAda, auth.Options{Attempts: 1, Logger: new(leaktest.Log).Logger()})
			do(m, direct.Login(), "POST", "/login", badJSON, "Content-Type", typeJSON, "RemoteAddr", tt.first)
			if w := do(m, direct.Login(), "POST", "/login", badJSON, "Content-Type", typeJSON, "RemoteAddr", tt.second); w.Code != want {
				t.Errorf("RemoteAddr: %d, want %d", w.Code, want)
			}
			proxied := newAuth(t, m, verifyAda, auth.Options{
				Attempts:   1,
				ClientAddr: func(r *http.Request) string { return r.Header.Get("X-Real-Ip") },
				Logger:     new(leaktest.Log).Logger(),
			})
			do(m, proxied.Login(), "POST", "/login", badJSON, "Content-Type", typeJSON, "X-Real-Ip", tt.first)
			if w := do(m, proxied.Login(), "POST", "/login", badJSON, "Content-Type", typeJSON, "X-Real-Ip", tt.second); w.Code != want {
				t.Errorf("ClientAddr: %d, want %d", w.Code, want)
			}
		})
	}
}

// Headers that a client can forge are ignored.
func TestForwardedForIsNotBelieved(t *testing.T) {
	l := new(leaktest.Log)
	m := newManager(t, adapter.Options{})
	a := newAuth(t, m, verifyAda, auth.Options{Attempts: 1, Logger: l.Logger()})
	for i, want := range []int{401, 429, 429} {
		w := do(m, a.Login(), "POST", "/login", badJSON, "Content-Type", typeJSON, "X-Forwarded-For", fmt.Sprintf("192.0.2.%d", i))
		if w.Code != want {
			t.Errorf("attempt %d: %d, want %d", i, w.Code, want)
		}
	}
	if strings.Contains(l.String(), "proxy") {
		t.Errorf("a client's header was taken for a proxy's: %s", l)
	}
	for range 3 {
		do(m, a.Login(), "POST", "/login", badJSON, "Content-Type", typeJSON, "X-Forwarded-For", "192.0.2.1", "RemoteAddr", "127.0.0.1:1000")
	}
	if n := strings.Count(l.String(), "Options.ClientHeader"); n != 1 {
		t.Errorf("the proxy was mentioned %d times, want once: %s", n, l)
	}
}
