//go:build unix

package recipes

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
	"github.com/samesid/samesid/internal/leaktest"
)

const (
	secret   = "0123456789abcdef0123456789abcdef"
	password = "difference-engine-of-babbage"
)

func TestMain(m *testing.M) {
	leaktest.Note(secret, password)
	os.Exit(m.Run())
}

// browser has a cookie jar, and does not follow redirects.
type browser struct {
	t      *testing.T
	client *http.Client
	server string
}

// serve serves a handler until the test ends, over TLS, and returns a function that makes browsers.
func serve(t *testing.T, h http.Handler) func() browser {
	t.Helper()
	s := httptest.NewTLSServer(h)
	t.Cleanup(s.Close)
	return func() browser { return newBrowser(t, s.URL, s.Client().Transport) }
}

func newBrowser(t *testing.T, server string, transport http.RoundTripper) browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return browser{t, &http.Client{Transport: transport, Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}, server}
}

// open sends a request with headers, by name and value, and returns the response with its body open.
func (b browser) open(method, path, body string, headers ...string) *http.Response {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.server+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range res.Cookies() {
		leaktest.Note(c.Value)
	}
	return res
}

// An answer is a response whose body has been read.
type answer struct {
	status  int
	header  http.Header
	cookies []*http.Cookie
	body    string
}

func (b browser) send(method, path, body string, headers ...string) answer {
	b.t.Helper()
	res := b.open(method, path, body, headers...)
	defer res.Body.Close()
	all, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, res.Cookies(), string(all)}
}

// want fails the test unless the answer has the status, and text in its body.
func (b browser) want(status int, text, method, path, body string, headers ...string) (got string) {
	b.t.Helper()
	a := b.send(method, path, body, headers...)
	if a.status != status || !strings.Contains(a.body, text) {
		b.t.Errorf("%s %s: %d %s, want %d %s", method, path, a.status, a.body, status, text)
	}
	return a.body
}

func (b browser) login(status int, name, password string, headers ...string) {
	b.t.Helper()
	form := url.Values{"username": {name}, "password": {password}}.Encode()
	b.want(status, "", "POST", "/login", form, append([]string{"Content-Type", "application/x-www-form-urlencoded"}, headers...)...)
}

// cookie returns the value of a cookie that the browser sends with a path.
func (b browser) cookie(path, name string) string {
	b.t.Helper()
	u, err := url.Parse(b.server + path)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range b.client.Jar.Cookies(u) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

// people are users who are kept in a map.
type people struct {
	mu  sync.Mutex
	all map[int64]User
	err error // of a look-up
}

func (p *people) byID(_ context.Context, id int64) (User, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	user, ok := p.all[id]
	if p.err == nil && !ok {
		return user, auth.ErrInvalid
	}
	return user, p.err
}

// fail has look-ups return an error.
func (p *people) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

func (p *people) set(id int64, change func(*User)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	user := p.all[id]
	change(&user)
	p.all[id] = user
}

// newPeople returns the users ada and bob, whose sessions hold their ids.
func newPeople(t *testing.T, o auth.Options) (*people, *adapter.Manager, *auth.Auth[User]) {
	t.Helper()
	p := &people{all: map[int64]User{1: {ID: 1, Name: "ada", Role: "admin"}, 2: {ID: 2, Name: "bob", Role: "user"}}}
	sessions, err := adapter.New(adapter.Options{Secrets: []string{secret}, UserPath: "user", Cookie: adapter.Cookie{Secure: adapter.SecureAlways}})
	if err != nil {
		t.Fatal(err)
	}
	verify := func(_ context.Context, name, pass string) (User, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, user := range p.all {
			if user.Name == name && pass == password {
				return user, nil
			}
		}
		return User{}, auth.ErrInvalid
	}
	users, err := auth.NewByID(sessions, verify, func(u User) int64 { return u.ID }, p.byID, o)
	if err != nil {
		t.Fatal(err)
	}
	return p, sessions, users
}

// hello answers with the user's name.
func hello(users *auth.Auth[User]) http.Handler {
	return users.Restricted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := users.User(r.Context())
		_, _ = io.WriteString(w, "hello "+user.Name)
	}))
}
