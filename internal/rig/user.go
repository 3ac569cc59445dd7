//go:build unix

package rig

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/samesid/samesid/internal/leaktest"
)

// Patience is how long a test waits for what must come.
const Patience = 30 * time.Second

// Answer is an answer, or Err.
type Answer struct {
	Status int
	Header http.Header
	Body   string
	Err    error
}

func (a Answer) String() string {
	if a.Err != nil {
		return a.Err.Error()
	}
	return fmt.Sprintf("%d %q with %d cookies", a.Status, a.Body, len(a.Header["Set-Cookie"]))
}

// Cookie returns the cookie that the answer sets, name=value, or "".
func (a Answer) Cookie() string {
	cookie, _, _ := strings.Cut(a.Header.Get("Set-Cookie"), ";")
	return cookie
}

// ID returns the id in a cookie of the app.
func ID(cookie string) string {
	_, value, _ := strings.Cut(cookie, "=s%3A")
	id, _, _ := strings.Cut(value, ".")
	return id
}

// Do sends a request. form is a body to send, if it is not empty.
func Do(ctx context.Context, c *http.Client, method, url, cookie, form string) Answer {
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(form))
	if err != nil {
		return Answer{Err: err}
	}
	if form != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	}
	res, err := c.Do(r)
	if err != nil {
		return Answer{Err: err}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	a := Answer{res.StatusCode, res.Header, string(body), err}
	_, value, _ := strings.Cut(a.Cookie(), "=")
	leaktest.Note(value)
	return a
}

// Credentials is the form that signs a user in.
func Credentials(username, password string) string {
	return url.Values{"username": {username}, "password": {password}}.Encode()
}

// ErrExpired is the error of a user whose session has ended because this machine was busy
// for most of its age.
var ErrExpired = errors.New("the session has expired")

// User is a user with a browser. After the first wrong answer it does nothing more.
type User struct {
	TB     testing.TB // fails with Err, if it is not nil
	Err    error      // the first wrong answer
	Name   string
	URL    string // where the next request goes
	Cookie string
	Client *http.Client

	// Age is how long a session lives without a request. Zero value: for ever.
	Age time.Duration
	// Used is when the last request that found the session was sent.
	Used time.Time
}

// NewUser returns a user with connections of its own.
func NewUser(tb testing.TB, name, url string) *User {
	transport := &http.Transport{}
	tb.Cleanup(transport.CloseIdleConnections)
	return &User{TB: tb, Name: name, URL: url, Client: &http.Client{Transport: transport, Timeout: Patience}}
}

// On sends the next requests to another address. A cookie has no port, so it is sent to
// every process.
func (u *User) On(url string) *User {
	u.URL = url
	return u
}

// Fail notes an error, the first one.
func (u *User) Fail(err error) {
	if u.Err != nil {
		return
	}
	u.Err = err
	if u.TB != nil {
		u.TB.Helper()
		u.TB.Error(err)
	}
}

// Do sends a request whatever has happened, and keeps the cookie of the answer. It also
// keeps that of a session that ends, with which it must not be signed in.
func (u *User) Do(method, path, form string) Answer {
	sent := time.Now()
	a := Do(context.Background(), u.Client, method, u.URL+path, u.Cookie, form)
	if c := a.Cookie(); c != "" && !strings.HasSuffix(c, "=") {
		u.Cookie = c
	}
	if a.Status == http.StatusOK {
		u.Used = sent
	}
	return a
}

// want sends a request and wants an answer with this status.
func (u *User) want(status int, method, path, form string) (body string) {
	if u.TB != nil {
		u.TB.Helper()
	}
	if u.Err != nil {
		return ""
	}
	a := u.Do(method, path, form)
	if a.Err == nil && a.Status == status {
		return a.Body
	}
	u.wrong(a, fmt.Errorf("%s %s: %v, want %d", method, path, a, status))
	return ""
}

// wrong notes a wrong answer, or that the session has expired.
func (u *User) wrong(a Answer, err error) {
	if u.TB != nil {
		u.TB.Helper()
	}
	if a.Status == http.StatusUnauthorized && u.Age > 0 && time.Since(u.Used) > u.Age*3/4 {
		err = ErrExpired
	}
	u.Fail(err)
}

// Login signs in.
func (u *User) Login() {
	u.want(http.StatusOK, http.MethodPost, "/login", Credentials(u.Name, Password))
}

// Logout signs out.
func (u *User) Logout() { u.want(http.StatusOK, http.MethodPost, "/logout", "") }

// Put writes a note.
func (u *User) Put(key, value string) {
	u.want(http.StatusOK, http.MethodPost, "/put/"+key+"/"+value, "")
}

// Sees wants to be signed in, with these notes: "a=1 b=2".
func (u *User) Sees(notes string) {
	if u.TB != nil {
		u.TB.Helper()
	}
	want := strings.TrimSpace(u.Name + " " + notes)
	if got := u.want(http.StatusOK, http.MethodGet, "/me", ""); u.Err == nil && got != want {
		u.Fail(fmt.Errorf("the page says %q, want %q", got, want))
	}
}

// IsOut wants to be signed out.
func (u *User) IsOut() {
	if u.TB != nil {
		u.TB.Helper()
	}
	if u.Err != nil {
		return
	}
	if a := u.Do(http.MethodGet, "/me", ""); a.Status != http.StatusUnauthorized {
		u.Fail(fmt.Errorf("the page of a session that has ended: %v", a))
	}
}

// Visit writes n notes, sees each, and signs out.
func (u *User) Visit(n int) {
	for i := range n {
		u.Put("a", fmt.Sprint(i))
		u.Sees(fmt.Sprintf("a=%d", i))
	}
	u.Logout()
	u.IsOut()
}

// HangUp begins a request that writes a note, and disconnects while it runs: in the
// handler, or, after inSave is called, at any time until it is over. It returns then.
func (u *User) HangUp(ctx context.Context, key, value string, inSave func()) {
	gone, hangUp := context.WithCancel(ctx)
	defer hangUp()
	s := u.Slow(gone, key, value)
	if inSave != nil {
		inSave()
		s.Release()
	}
	hangUp()
	if inSave == nil {
		s.Await("gone")
		s.Release()
	}
	if a := s.Answer(); !errors.Is(a.Err, context.Canceled) {
		u.Fail(fmt.Errorf("the client did not disconnect: %v", a))
	}
	s.Await("over")
}

// Slow is a request that has changed its session, and is not over.
type Slow struct {
	u      *User
	url    string
	answer chan Answer
}

// Slow begins such a request, which writes a note. The request ends early if ctx does.
func (u *User) Slow(ctx context.Context, key, value string) *Slow {
	s := &Slow{u, u.URL + "/slow/" + rand.Text(), make(chan Answer, 1)}
	if u.Err != nil {
		s.answer <- Answer{Err: u.Err}
		return s
	}
	running := make(chan struct{})
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got1xxResponse: func(int, textproto.MIMEHeader) error {
		close(running)
		return nil
	}})
	cookie := u.Cookie
	go func() { s.answer <- Do(ctx, u.Client, http.MethodPost, s.url+"/"+key+"/"+value, cookie, "") }()
	select {
	case <-running:
	case a := <-s.answer:
		u.wrong(a, fmt.Errorf("a slow request ended before it ran: %v", a))
		s.answer <- a
	}
	return s
}

// Await waits until the app notices that the client is "gone", or that the request is
// "over".
func (s *Slow) Await(what string) { s.tell(what) }

// Release lets the request end.
func (s *Slow) Release() { s.tell("finish") }

func (s *Slow) tell(what string) {
	if a := Do(context.Background(), s.u.Client, http.MethodPost, s.url+"/"+what, "", ""); a.Status != http.StatusOK {
		s.u.Fail(fmt.Errorf("the slow request, %s: %v", what, a))
	}
}

// Finish lets the request end, and wants a 200. It returns its answer.
func (s *Slow) Finish() Answer {
	s.Release()
	a := s.Answer()
	if a.Status != http.StatusOK || a.Err != nil {
		s.u.Fail(fmt.Errorf("the slow request: %v", a))
	}
	return a
}

// Answer waits for the request's answer.
func (s *Slow) Answer() Answer { return <-s.answer }
