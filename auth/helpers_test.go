package auth_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
	"github.com/samesid/samesid/internal/leaktest"
)

const (
	secret   = "a secret of at least thirty-two bytes"
	password = "correct horse battery staple"

	goodJSON = `{"username":"ada","password":"` + password + `"}`
	badJSON  = `{"username":"ada","password":"wrong"}`

	acceptChrome = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"

	typeJSON = "application/json"
	typeForm = "application/x-www-form-urlencoded"
)

var goodForm = url.Values{"username": {"ada"}, "password": {password}}.Encode()

type user struct {
	ID    int      `json:"id"`
	Name  string   `json:"name"`
	Roles []string `json:"roles"`
}

var ada = user{ID: 7, Name: "Ada", Roles: []string{"admin"}}

// verifyAda knows one user.
func verifyAda(_ context.Context, username, pw string) (user, error) {
	if username == "ada" && pw == password {
		return ada, nil
	}
	return user{}, auth.ErrInvalid
}

// variants are the codecs and the keys with which users are stored.
var variants = []struct {
	name  string
	codec scs.Codec
	key   string
}{
	{"gob, user", scs.GobCodec{}, "user"},
	{"json, user", adapter.JSONCodec{}, "user"},
	{"gob, passport.user", scs.GobCodec{}, "passport.user"},
	{"json, passport.user", adapter.JSONCodec{}, "passport.user"},
}

func newManager(t testing.TB, o adapter.Options) *adapter.Manager {
	t.Helper()
	o.Secrets = []string{secret}
	leaktest.Note(secret, password)
	m, err := adapter.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func newAuth[U any](t testing.TB, m *adapter.Manager, verify auth.Verifier[U], o auth.Options) *auth.Auth[U] {
	t.Helper()
	a, err := auth.New(m, verify, o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// routes returns an application that uses auth.
func routes(m *adapter.Manager, a *auth.Auth[user]) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("/login", a.Login())
	mux.Handle("/logout", a.Logout())
	mux.Handle("/protected", a.Restricted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, _ := a.User(r.Context())
		_ = json.NewEncoder(w).Encode(u)
	})))
	mux.HandleFunc("/cart", func(w http.ResponseWriter, r *http.Request) {
		if item := r.URL.Query().Get("add"); item != "" {
			m.Put(r.Context(), "cart", item)
		}
		_, _ = io.WriteString(w, m.GetString(r.Context(), "cart"))
	})
	return mux
}

// A browser is a client with a cookie jar that does not follow redirects.
type browser struct {
	t      testing.TB
	client *http.Client
	base   string
}

func serve(t testing.TB, m *adapter.Manager, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(m.LoadAndSave(h))
	t.Cleanup(s.Close)
	return s.URL
}

func newBrowser(t testing.TB, base string) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t, &http.Client{
		Jar:           jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, base}
}

// response is a response whose body has been read.
type response struct {
	*http.Response
	body string
}

func (b *browser) do(method, path, body string, header ...string) response {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.base+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	setHeader(r, header)
	res, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	noteCookies(res)
	all, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return response{res, string(all)}
}

// cookie returns the browser's session cookie, "" for none.
func (b *browser) cookie() string {
	u, err := url.Parse(b.base)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range b.client.Jar.Cookies(u) {
		if c.Name == "connect.sid" {
			return c.Value
		}
	}
	return ""
}

// do sends one request straight to a handler behind the session middleware.
func do(m *adapter.Manager, h http.Handler, method, target, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	setHeader(r, header)
	w := httptest.NewRecorder()
	m.LoadAndSave(h).ServeHTTP(w, r)
	noteCookies(w.Result())
	return w
}

// noteCookies records the values of the cookies that a response sets.
func noteCookies(res *http.Response) {
	for _, c := range res.Cookies() {
		leaktest.Note(c.Value)
	}
}

func setHeader(r *http.Request, header []string) {
	for i := 0; i < len(header); i += 2 {
		switch header[i] {
		case "RemoteAddr":
			r.RemoteAddr = header[i+1]
		case "Host":
			r.Host = header[i+1]
		default:
			r.Header.Set(header[i], header[i+1])
		}
	}
}

// check compares an answer's status and message.
func check(t testing.TB, what string, status int, body string, wantStatus int, wantMessage string) {
	t.Helper()
	want := `{"message":"` + wantMessage + `"}`
	if status != wantStatus || body != want {
		t.Errorf("%s: got %d %s, want %d %s", what, status, body, wantStatus, want)
	}
}

// faultyStore is a store whose operations can be made to fail.
type faultyStore struct {
	*memstore.MemStore
	commit, delete atomic.Bool // whether the operation fails
}

func (s *faultyStore) breaks(commit, delete bool) {
	s.commit.Store(commit)
	s.delete.Store(delete)
}

func (s *faultyStore) Commit(token string, b []byte, expiry time.Time) error {
	if s.commit.Load() {
		return errDown
	}
	return s.MemStore.Commit(token, b, expiry)
}

func (s *faultyStore) Delete(token string) error {
	if s.delete.Load() {
		return errDown
	}
	return s.MemStore.Delete(token)
}

var errDown = errors.New("connection refused")
