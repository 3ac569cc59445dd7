package auth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
	"github.com/samesid/samesid/backends/memory"
	"github.com/samesid/samesid/internal/leaktest"
)

// account adds routes for the user's own sessions.
func account(t *testing.T, mux *http.ServeMux, m *adapter.Manager, a *auth.Auth[user]) {
	handle := func(path string, fn func(ctx context.Context, account auth.Account) (any, error)) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			account, err := a.Account(r.Context())
			if errors.Is(err, auth.ErrNotSignedIn) {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			var answer any
			if err == nil {
				answer, err = fn(r.Context(), account)
			}
			if err != nil {
				t.Errorf("%s: %v", path, err)
			}
			_ = json.NewEncoder(w).Encode(answer)
		})
	}
	handle("/sessions", func(ctx context.Context, account auth.Account) (any, error) { return account.Sessions(ctx) })
	handle("/others", func(ctx context.Context, account auth.Account) (any, error) { return account.EndOthers(ctx) })
	handle("/all", func(ctx context.Context, account auth.Account) (any, error) { return account.EndAll(ctx) })
	mux.HandleFunc("/end", func(w http.ResponseWriter, r *http.Request) {
		ended, err := a.AccountOf("7").End(r.Context(), r.URL.Query().Get("handle"))
		if err != nil {
			t.Error(err)
		}
		fmt.Fprint(w, ended)
	})
}

func sessions(t *testing.T, b *browser) (all []auth.Session) {
	t.Helper()
	res := b.do("GET", "/sessions", "")
	if res.StatusCode == http.StatusOK {
		if err := json.Unmarshal([]byte(res.body), &all); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func login(t *testing.T, b *browser, header ...string) {
	t.Helper()
	if res := b.do("POST", "/login", goodJSON, append([]string{"Content-Type", typeJSON}, header...)...); res.StatusCode != http.StatusOK {
		t.Fatalf("login: %d %s", res.StatusCode, res.body)
	}
}

func TestAccount(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			m := newManager(t, adapter.Options{Codec: v.codec, UserPath: v.key + ".id"})
			a := newAuth(t, m, verifyAda, auth.Options{Key: v.key, NoteDevice: true, ClientAddr: func(r *http.Request) string { return "192.0.2." + r.Header.Get("Last") }})
			mux := routes(m, a)
			account(t, mux, m, a)
			url := serve(t, m, mux)
			laptop, phone, tablet := newBrowser(t, url), newBrowser(t, url), newBrowser(t, url)
			long := "Mozilla/5.0 (\xff" + strings.Repeat("x", 1000)
			login(t, laptop, "User-Agent", "Laptop", "Last", "1")
			login(t, phone, "User-Agent", long, "Last", "2")
			login(t, tablet)

			all := sessions(t, laptop)
			if len(all) != 3 || !all[0].Current || all[1].Current || all[2].Current {
				t.Fatalf("the sessions are %+v", all)
			}
			if all[0].UserAgent != "Laptop" || all[0].Addr != "192.0.2.1" || time.Since(all[0].SignedIn).Abs() > time.Minute || all[0].Expires.IsZero() || all[0].LastUsed.IsZero() {
				t.Errorf("the session of the laptop is %+v", all[0])
			}
			var other auth.Session
			for _, s := range all[1:] {
				if strings.HasPrefix(s.UserAgent, "Mozilla") {
					other = s
				}
			}
			if other.Addr != "192.0.2.2" || len(other.UserAgent) > 256 || !strings.Contains(other.UserAgent, "(xxx") {
				t.Errorf("the session of the phone is %+v", other)
			}

			if got := laptop.do("GET", "/end?handle="+other.Handle, "").body; got != "true" {
				t.Errorf("ending it: %s", got)
			}
			if got := laptop.do("GET", "/end?handle="+other.Handle, "").body; got != "false" {
				t.Errorf("ending it once more: %s", got)
			}
			if sessions(t, phone) != nil || len(sessions(t, tablet)) != 2 {
				t.Error("the wrong session has ended")
			}
			if got := laptop.do("GET", "/others", "").body; got != "1\n" {
				t.Errorf("ending the others: %s", got)
			}
			if sessions(t, tablet) != nil || len(sessions(t, laptop)) != 1 {
				t.Error("the others have not ended, or the current one has")
			}
			login(t, tablet)
			if got := laptop.do("GET", "/all", "").body; got != "2\n" {
				t.Errorf("ending all: %s", got)
			}
			if sessions(t, tablet) != nil || sessions(t, laptop) != nil || laptop.cookie() != "" {
				t.Error("not all have ended")
			}
		})
	}
}

// A request that ends its own session can tell.
func TestEndOfOnesOwn(t *testing.T) {
	m := newManager(t, adapter.Options{UserPath: "user.id"})
	a := newAuth(t, m, verifyAda, auth.Options{})
	mux := routes(m, a)
	mux.HandleFunc("/leave", func(w http.ResponseWriter, r *http.Request) {
		account, err := a.Account(r.Context())
		if err != nil {
			t.Fatal(err)
		}
		all, err := account.Sessions(r.Context())
		if err != nil || len(all) != 2 {
			t.Fatal(len(all), err)
		}
		for _, s := range []auth.Session{all[1], all[0]} { // the current one is the first
			ended, err := account.End(r.Context(), s.Handle)
			_, out := a.User(r.Context())
			if !ended || err != nil || errors.Is(out, auth.ErrNotSignedIn) != s.Current || (m.UserID(r.Context()) == "") != s.Current {
				t.Errorf("current %t: ended %t, %v; the user is %q, %v", s.Current, ended, err, m.UserID(r.Context()), out)
			}
		}
	})
	url := serve(t, m, mux)
	laptop, phone := newBrowser(t, url), newBrowser(t, url)
	login(t, laptop)
	login(t, phone)
	if laptop.do("GET", "/leave", ""); laptop.cookie() != "" {
		t.Error("the cookie of the session that has ended stays")
	}
}

// With NewByID, the id is what the session holds.
func TestAccountByID(t *testing.T) {
	m := newManager(t, adapter.Options{UserPath: "passport.user"})
	a, err := auth.NewByID(m, verifyAda, func(u user) int { return u.ID }, func(context.Context, int) (user, error) { return ada, nil }, auth.Options{Key: "passport.user"})
	if err != nil {
		t.Fatal(err)
	}
	mux := routes(m, a)
	account(t, mux, m, a)
	url := serve(t, m, mux)
	laptop, phone := newBrowser(t, url), newBrowser(t, url)
	login(t, laptop)
	login(t, phone)
	if n, err := a.AccountOf("7").EndAll(t.Context()); n != 2 || err != nil {
		t.Errorf("EndAll: %d, %v", n, err)
	}
	if sessions(t, laptop) != nil || sessions(t, phone) != nil {
		t.Error("not all have ended")
	}
}

// A login whose password was right when all sessions were ended does not succeed.
func TestLoginWhileAllEnd(t *testing.T) {
	m := newManager(t, adapter.Options{UserPath: "user.id", Logger: (&leaktest.Log{}).Logger()})
	var a *auth.Auth[user]
	ends := true
	a = newAuth(t, m, func(ctx context.Context, name, pw string) (user, error) {
		u, err := verifyAda(ctx, name, pw)
		if ends {
			if _, err := a.AccountOf("7").EndAll(context.Background()); err != nil {
				t.Error(err)
			}
		}
		return u, err
	}, auth.Options{LoginPage: "/signin"})
	mux := routes(m, a)
	account(t, mux, m, a)
	b := newBrowser(t, serve(t, m, mux))
	res := b.do("POST", "/login", goodJSON, "Content-Type", typeJSON)
	check(t, "a program", res.StatusCode, res.body, 401, "Invalid Credentials")
	res = b.do("POST", "/login", goodForm, "Content-Type", typeForm, "Accept", acceptChrome)
	if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/signin?error=1" {
		t.Errorf("a browser: %d %s", res.StatusCode, res.Header.Get("Location"))
	}
	if sessions(t, b) != nil {
		t.Error("it is signed in")
	}
	ends = false
	login(t, b)
}

// Which login is one too many does not depend on what the clocks say: not on when the user gave
// their credentials to a provider, nor on a server whose clock is behind, nor within a second.
func TestMaxSessionsInOrder(t *testing.T) {
	for _, keep := range []bool{false, true} {
		m := newManager(t, adapter.Options{UserPath: "user.id"})
		a := newAuth(t, m, verifyAda, auth.Options{MaxSessions: 2, KeepSessions: keep})
		var ids []string
		for i := range 8 {
			ctx, err := m.LoadID(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			err = a.SignInWith(ctx, ada, auth.SignInOptions{At: time.Now().Add(-time.Duration(i/2) * time.Hour)})
			tooMany := errors.Is(err, auth.ErrTooManySessions)
			if err != nil && !tooMany || tooMany != (keep && i >= 2) {
				t.Errorf("keep %t: login %d: %v", keep, i, err)
			}
			ids = append(ids, m.ID(ctx))
		}
		for i, id := range ids {
			ctx, err := m.LoadID(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if stays := i < 2 && keep || i >= 6 && !keep; (m.UserID(ctx) != "") != stays {
				t.Errorf("keep %t: session %d is alive: %t", keep, i, !stays)
			}
		}
	}
}

// A login that fails while it looks for the sessions that are too many signs nobody in.
func TestMaxSessionsCantBeFound(t *testing.T) {
	for _, call := range []int{1, 2} { // before and after the new one is stored
		store := &blindStore{Store: memory.New(memory.Options{})}
		m := newManager(t, adapter.Options{Store: store, UserPath: "user.id", Logger: (&leaktest.Log{}).Logger()})
		mux := routes(m, newAuth(t, m, verifyAda, auth.Options{MaxSessions: 1}))
		b := newBrowser(t, serve(t, m, mux))
		login(t, b)
		other := newBrowser(t, b.base)
		store.fails.Store(int64(call))
		res := other.do("POST", "/login", goodJSON, "Content-Type", typeJSON)
		if res.StatusCode != http.StatusServiceUnavailable || strings.Contains(res.Header.Get("Set-Cookie"), "s%3A") {
			t.Errorf("call %d fails: login answered %d, with the cookie %q", call, res.StatusCode, res.Header.Get("Set-Cookie"))
		}
		if res := other.do("GET", "/protected", ""); res.StatusCode != http.StatusUnauthorized {
			t.Errorf("call %d fails: /protected answered %d after the login", call, res.StatusCode)
		}
		all := 0
		if err := m.Iterate(t.Context(), func(context.Context) error { all++; return nil }); all != 1 || err != nil {
			t.Errorf("call %d fails: there are %d sessions, want 1; %v", call, all, err)
		}
		if res := b.do("GET", "/protected", ""); res.StatusCode != http.StatusOK {
			t.Errorf("call %d fails: /protected answered the other one %d", call, res.StatusCode)
		}
	}
}

// blindStore fails in the call of UserTokens with this number from now.
type blindStore struct {
	*memory.Store
	fails atomic.Int64
}

func (s *blindStore) UserTokens(ctx context.Context, user string) ([]string, error) {
	if s.fails.Add(-1) == 0 {
		return nil, errors.New("it fails")
	}
	return s.Store.UserTokens(ctx, user)
}

// Of more sessions than the user may have, the first ones end, or the last ones don't
// begin, also when many begin at once.
func TestMaxSessions(t *testing.T) {
	for _, keep := range []bool{false, true} {
		m := newManager(t, adapter.Options{UserPath: "user.id"})
		a := newAuth(t, m, verifyAda, auth.Options{MaxSessions: 2, KeepSessions: keep})
		mux := routes(m, a)
		account(t, mux, m, a)
		// A login at a known time, as all of the test are within a second.
		mux.HandleFunc("/at", func(w http.ResponseWriter, r *http.Request) {
			at, err := time.Parse(time.RFC3339, r.URL.Query().Get("t"))
			if err != nil {
				t.Error(err)
			}
			if err := a.SignInWith(r.Context(), ada, auth.SignInOptions{At: at}); err != nil && !errors.Is(err, auth.ErrTooManySessions) {
				t.Error(err)
			}
		})
		url := serve(t, m, mux)
		var browsers []*browser
		for i := range 4 {
			b := newBrowser(t, url)
			b.do("GET", fmt.Sprintf("/at?t=2026-01-01T10:00:0%dZ", i), "")
			browsers = append(browsers, b)
		}
		for i, b := range browsers {
			if stays := i < 2 == keep; (sessions(t, b) != nil) != stays {
				t.Errorf("keep %t: session %d is alive: %t", keep, i, !stays)
			}
		}
		b := newBrowser(t, url)
		res := b.do("POST", "/login", goodJSON, "Content-Type", typeJSON)
		if keep {
			check(t, "one too many", res.StatusCode, res.body, 403, "Too Many Sessions")
		} else {
			check(t, "one more", res.StatusCode, res.body, 200, "You are logged in")
		}
		if (sessions(t, b) != nil) == keep {
			t.Errorf("keep %t: the new one is alive: %t", keep, keep)
		}

		if _, err := a.AccountOf("7").EndAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { newBrowser(t, url).do("GET", "/at?t=2026-01-01T11:00:00Z", "") })
		}
		wg.Wait()
		all, err := a.AccountOf("7").Sessions(t.Context())
		if err != nil || len(all) != 2 {
			t.Errorf("keep %t: after ten logins at once there are %d sessions, want 2; %v", keep, len(all), err)
		}
	}
}

// stamped is a user whose sessions end when the password changes, or from a time on.
type stamped struct {
	ID    int
	stamp string
	since time.Time
}

func (s stamped) SessionStamp() string     { return s.stamp }
func (s stamped) SessionsSince() time.Time { return s.since }

func TestStamp(t *testing.T) {
	now := stamped{ID: 7, stamp: "a hash of a password"}
	leaktest.Note(now.stamp)
	m := newManager(t, adapter.Options{})
	log := &leaktest.Log{}
	a, err := auth.NewByID(m, func(context.Context, string, string) (stamped, error) { return now, nil }, func(s stamped) int { return s.ID },
		func(context.Context, int) (stamped, error) { return now, nil }, auth.Options{Logger: log.Logger()})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/login", a.Login())
	mux.Handle("/protected", a.Restricted(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	mux.Handle("/fresh", a.Fresh(time.Hour)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	mux.HandleFunc("/express", func(w http.ResponseWriter, r *http.Request) { m.Put(r.Context(), "user", 7) })
	mux.HandleFunc("/stored", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, m.GetString(r.Context(), "auth_stamp")) })
	b := newBrowser(t, serve(t, m, mux))
	want := func(what string, status int) {
		t.Helper()
		for _, path := range []string{"/protected", "/fresh"} {
			if res := b.do("GET", path, ""); res.StatusCode != status {
				t.Errorf("%s: %s: %d, want %d", what, path, res.StatusCode, status)
			}
		}
	}
	login(t, b)
	want("signed in", 200)
	if got := b.do("GET", "/stored", "").body; got != "ixO6NbJDFNyfQGb8Ct6bIDY_jXKRUWJuT3KQuWPgrg0" && len(got) != 43 {
		t.Errorf("the stamp is stored as %q", got)
	}
	now.stamp = "a hash of another one"
	want("the password has changed", 401)
	login(t, b)
	want("signed in with it", 200)
	now.since = time.Now().Add(-time.Minute)
	want("sessions count since a minute ago", 200)
	now.since = time.Now().Add(time.Minute)
	want("sessions count from in a minute on", 401)
	now.since = time.Time{}
	want("all count again", 200)
	if got := log.String(); strings.Contains(got, "auth_stamp") {
		t.Errorf("all sessions have had a stamp: %s", got)
	}
	b = newBrowser(t, b.base)
	b.do("GET", "/express", "")
	want("a session without a stamp", 401)
	if got := log.String(); strings.Count(got, "level=WARN") != 1 || strings.Count(got, "req.session.auth_stamp") != 1 {
		t.Errorf("two requests without a stamp: %s", got)
	}

	if _, err := auth.New(m, func(context.Context, string, string) (stamped, error) { return now, nil }, auth.Options{}); err == nil || !strings.Contains(err.Error(), "use NewByID") {
		t.Errorf("New with such a user: %v", err)
	}
}

func TestAccountErrors(t *testing.T) {
	without, with := newManager(t, adapter.Options{}), newManager(t, adapter.Options{UserPath: "user.id"})
	for _, c := range []struct {
		m    *adapter.Manager
		o    auth.Options
		want string
	}{
		{without, auth.Options{MaxSessions: 1}, `MaxSessions: takes a Manager with Options.UserPath, such as "user.id"`},
		{with, auth.Options{Key: "passport.user"}, `looks for the user; use the same key in both`},
		{with, auth.Options{Key: "us"}, `looks for the user; use the same key in both`},
		{with, auth.Options{MaxSessions: -1}, `MaxSessions: is negative`},
		{with, auth.Options{KeepSessions: true}, `KeepSessions and Options.MaxSessions: the first has no effect`},
	} {
		if _, err := auth.New(c.m, verifyAda, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %s", c.o, err, c.want)
		}
	}
	for _, path := range []string{"user.none", "user"} {
		m := newManager(t, adapter.Options{UserPath: path})
		none := newAuth(t, m, verifyAda, auth.Options{})
		do(m, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := none.SignIn(r.Context(), ada); err == nil || !strings.Contains(err.Error(), "no user's id under the Manager's Options.UserPath") {
				t.Errorf("SignIn of a user without an id under %s: %v", path, err)
			}
			if _, err := none.User(r.Context()); !errors.Is(err, auth.ErrNotSignedIn) {
				t.Errorf("after a SignIn that has failed: %v", err)
			}
		}), "GET", "/", "")
	}
	a := newAuth(t, without, verifyAda, auth.Options{})
	do(without, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := a.Account(r.Context()); !errors.Is(err, auth.ErrNotSignedIn) {
			t.Errorf("nobody's account: %v", err)
		}
		if err := a.SignIn(r.Context(), ada); err != nil {
			t.Error(err)
		}
		if _, err := a.Account(r.Context()); !errors.Is(err, adapter.ErrNoUserPath) {
			t.Errorf("without UserPath: %v", err)
		}
		if _, err := a.AccountOf("7").Sessions(r.Context()); !errors.Is(err, adapter.ErrNoUserPath) {
			t.Errorf("without UserPath: %v", err)
		}
	}), "GET", "/", "")
}
