package main

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/samesid/samesid/backends/contract"
	"github.com/samesid/samesid/backends/memory"
	"github.com/samesid/samesid/internal/leaktest"
)

// store is a store whose calls a test sees, and can let fail.
type store struct {
	*memory.Store
	t      *testing.T
	before func(op string) error
}

func newStore(t *testing.T) *store {
	t.Helper()
	s := &store{memory.New(memory.Options{}), t, func(string) error { return nil }}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func (s *store) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	if err := s.before("Find"); err != nil {
		return nil, false, err
	}
	return s.Store.FindCtx(ctx, token)
}

func (s *store) FindTouch(ctx context.Context, token string, expiry time.Time) ([]byte, bool, error) {
	if err := s.before("FindTouch"); err != nil {
		return nil, false, err
	}
	return s.Store.FindTouch(ctx, token, expiry)
}

func (s *store) FindExpiry(ctx context.Context, token string) ([]byte, time.Time, bool, error) {
	if err := s.before("FindExpiry"); err != nil {
		return nil, time.Time{}, false, err
	}
	return s.Store.FindExpiry(ctx, token)
}

func (s *store) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	if err := s.before("Commit"); err != nil {
		return err
	}
	return s.Store.CommitCtx(ctx, token, data, expiry)
}

func (s *store) DeleteCtx(ctx context.Context, token string) error {
	if err := s.before("Delete"); err != nil {
		return err
	}
	return s.Store.DeleteCtx(ctx, token)
}

func (s *store) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	if err := s.before("Swap"); err != nil {
		return nil, false, err
	}
	return s.Store.Swap(ctx, token, old, data, expiry)
}

func (s *store) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	if err := s.before("Move"); err != nil {
		return nil, false, err
	}
	return s.Store.Move(ctx, from, to, data, expiry)
}

func (s *store) NoteUser(ctx context.Context, user, token string, ttl time.Duration) error {
	if err := s.before("NoteUser"); err != nil {
		return err
	}
	return s.Store.NoteUser(ctx, user, token, ttl)
}

func (s *store) EndUser(ctx context.Context, user string, ttl time.Duration) (at time.Time, err error) {
	if err := s.before("EndUser"); err != nil {
		return time.Time{}, err
	}
	return s.Store.EndUser(ctx, user, ttl)
}

func (s *store) UserEnded(ctx context.Context, user string) (at time.Time, ago time.Duration, err error) {
	if err := s.before("UserEnded"); err != nil {
		return time.Time{}, 0, err
	}
	return s.Store.UserEnded(ctx, user)
}

// UserTokens calls before with what it has found already.
func (s *store) UserTokens(ctx context.Context, user string) ([]string, error) {
	tokens, err := s.Store.UserTokens(ctx, user)
	if failed := s.before("UserTokens"); failed != nil {
		return nil, failed
	}
	return tokens, err
}

func (s *store) Range(context.Context, func(string, []byte) error) error {
	s.t.Error("all sessions are read")
	return nil
}

// world is an app of two processes, and its provider.
type world struct {
	t         *testing.T
	provider  *provider
	app       *app
	url       string
	otherURL  string // of the process that the provider reaches
	store     *store
	noteStore *store
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, provider: newProvider(t), store: newStore(t), noteStore: newStore(t)}
	secret := strings.Repeat("a secret of the app ", 2)
	leaktest.Note(secret)
	serve := func() (*app, string) {
		var handler http.Handler
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
		t.Cleanup(s.Close)
		a, err := newApp(t.Context(), config{
			issuer: w.provider.URL, clientID: "app", secret: "secret", url: s.URL, cookies: secret, store: w.store, notes: w.noteStore,
		})
		if err != nil {
			t.Fatal(err)
		}
		handler = a
		return a, s.URL
	}
	_, w.otherURL = serve()
	w.app, w.url = serve()
	return w
}

// browser is a browser with cookies of its own.
type browser struct {
	*world
	client *http.Client
}

func (w *world) browser() browser {
	w.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return browser{w, &http.Client{Jar: jar}}
}

func (b browser) do(client *http.Client, method, address string) (status int, header http.Header, body string) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, address, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	res, err := client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	leaktest.Note(b.cookie())
	return res.StatusCode, res.Header, string(text)
}

// open opens an address, and the ones to which it redirects.
func (b browser) open(method, address string) (status int, body string) {
	b.t.Helper()
	status, _, body = b.do(b.client, method, address)
	return status, body
}

// step opens an address, and returns the one to which it redirects.
func (b browser) step(address string) (status int, location string) {
	b.t.Helper()
	client := *b.client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	status, header, _ := b.do(&client, http.MethodGet, address)
	return status, header.Get("Location")
}

// cookie returns the value of the browser's cookie, "" if it has none.
func (b browser) cookie() string {
	u, err := url.Parse(b.url)
	if err != nil {
		b.t.Fatal(err)
	}
	cookies := b.client.Jar.Cookies(u)
	if len(cookies) == 0 {
		return ""
	}
	value, err := url.QueryUnescape(cookies[0].Value)
	if err != nil {
		b.t.Fatal(err)
	}
	return value
}

// isSignedIn reports whether the app knows the browser's user, without signing in.
func (b browser) isSignedIn() bool {
	b.t.Helper()
	status, location := b.step(b.url)
	if status != http.StatusOK && (status != http.StatusSeeOther || !strings.HasPrefix(location, "/login")) {
		b.t.Errorf("the home page: %d", status)
	}
	return status == http.StatusOK
}

// signIn signs a browser in, by way of the provider, in whose session sid it is.
func (w *world) signIn(sid string) browser {
	w.t.Helper()
	w.provider.sid = sid
	b := w.browser()
	if status, body := b.open(http.MethodGet, w.url+"/login"); status != http.StatusOK || !strings.Contains(body, "Hello, Ann.") {
		w.t.Fatalf("signing in: %d %s", status, body)
	}
	return b
}

// answer is what the provider gets.
type answer struct {
	status int
	header http.Header
	body   string
}

// backChannel sends a logout token as the provider does.
func (w *world) backChannel(token string) answer {
	w.t.Helper()
	return w.post("application/x-www-form-urlencoded", url.Values{"logout_token": {token}, "more": {"x"}}.Encode())
}

func (w *world) post(contentType, body string) answer {
	w.t.Helper()
	res, err := http.Post(w.otherURL+"/backchannel-logout", contentType, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	if got := res.Header.Get("Cache-Control"); got != "no-store" {
		w.t.Errorf("Cache-Control is %q", got)
	}
	if res.Header.Get("Set-Cookie") != "" {
		w.t.Error("the provider gets a cookie")
	}
	return answer{res.StatusCode, res.Header, string(text)}
}

// mustLogout sends a logout token that must be obeyed.
func (w *world) mustLogout(token string) {
	w.t.Helper()
	if got := w.backChannel(token); got.status != http.StatusOK {
		w.t.Errorf("the provider got %d %s", got.status, got.body)
	}
}
