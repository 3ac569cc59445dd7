package sessiontest_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/adapter/sessiontest"
	"github.com/samesid/samesid/auth"
)

type account struct {
	ID   int
	Name string
}

func newManager(t *testing.T, o adapter.Options) *adapter.Manager {
	t.Helper()
	o.Secrets = []string{"a secret of at least thirty-two bytes"}
	m, err := adapter.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func get(path string) *http.Request {
	return httptest.NewRequest("GET", "https://example.com"+path, nil)
}

func TestValues(t *testing.T) {
	for name, o := range map[string]adapter.Options{
		"gob":             {},
		"JSON":            {Codec: adapter.JSONCodec{}},
		"path and secure": {Cookie: adapter.Cookie{Path: "/app", Secure: adapter.SecureAlways}},
		"lasting":         {Cookie: adapter.Cookie{MaxAge: time.Hour}, Rolling: true},
	} {
		t.Run(name, func(t *testing.T) {
			m := newManager(t, o)
			b := sessiontest.New(t, m, sessiontest.With("visits", 1), sessiontest.With("user", account{7, "ann"}))
			count := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				m.Put(r.Context(), "visits", m.GetInt(r.Context(), "visits")+1)
			})
			for range 2 {
				if w := b.Serve(count, get("/app")); w.Code != http.StatusOK {
					t.Fatal(w.Code)
				}
			}
			if n := m.GetInt(b.Session(), "visits"); n != 3 {
				t.Errorf("%d visits, want 3", n)
			}
			if a, err := adapter.Get[account](b.Session(), m, "user"); err != nil || a.Name != "ann" {
				t.Errorf("user %+v, %v", a, err)
			}
			// Around a handler that has the middleware already, it does no harm.
			b.Serve(m.LoadAndSave(count), get("/app"))
			if n := m.GetInt(b.Session(), "visits"); n != 4 {
				t.Errorf("%d visits, want 4", n)
			}
			other := sessiontest.New(t, m)
			if other.Serve(count, get("/app")); m.GetInt(other.Session(), "visits") != 1 {
				t.Error("two browsers share a session")
			}
		})
	}
}

func TestSignedIn(t *testing.T) {
	m := newManager(t, adapter.Options{})
	users, err := auth.New[account](m, nil, auth.Options{})
	if err != nil {
		t.Fatal(err)
	}
	hello := users.Restricted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, _ := users.User(r.Context())
		_, _ = w.Write([]byte(u.Name))
	}))
	b := sessiontest.New(t, m, sessiontest.SignedIn(users, account{7, "ann"}))
	if w := b.Serve(hello, get("/")); w.Code != http.StatusOK {
		t.Errorf("signed in: %d", w.Code)
	}
	b.Serve(users.Logout(), httptest.NewRequest("POST", "https://example.com/logout", nil))
	if _, err := users.User(b.Session()); !errors.Is(err, auth.ErrNotSignedIn) {
		t.Errorf("after the logout: %v", err)
	}
	if w := b.Serve(hello, get("/")); w.Code != http.StatusUnauthorized {
		t.Errorf("after the logout: %d", w.Code)
	}
	if w := sessiontest.New(t, m).Serve(hello, get("/")); w.Code != http.StatusUnauthorized {
		t.Errorf("without a session: %d", w.Code)
	}
}

// fatal is a test that notes how it ended.
type fatal struct {
	testing.TB
	text string
}

func (f *fatal) Helper() {}
func (f *fatal) Fatalf(format string, args ...any) {
	f.text = format
	for _, a := range args {
		if err, ok := a.(error); ok {
			f.text = err.Error()
		}
	}
	panic(f)
}

// A session that can't be set up ends the test, and says why.
func TestFails(t *testing.T) {
	m := newManager(t, adapter.Options{MaxRecordSize: 100})
	for name, test := range map[string]struct {
		setup sessiontest.Setup
		want  string
	}{
		"a setup":   {func(context.Context, *adapter.Manager) error { return errors.New("no such user") }, "no such user"},
		"no JSON":   {sessiontest.With("f", func() {}), "func()"},
		"too large": {sessiontest.With("text", strings.Repeat("x", 200)), "could not be saved"},
	} {
		f := &fatal{}
		func() {
			defer func() {
				if got := recover(); got != f {
					t.Errorf("%s: %v", name, got)
				}
			}()
			sessiontest.New(f, m, test.setup)
		}()
		if !strings.Contains(f.text, test.want) {
			t.Errorf("%s: %q, want %q", name, f.text, test.want)
		}
	}
}
