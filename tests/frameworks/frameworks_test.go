package frameworks

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
	"github.com/samesid/samesid/backends/memory"
	"github.com/samesid/samesid/internal/leaktest"
)

// logged is a log that several goroutines write.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newDeps(t *testing.T) (*deps, *logged) { return newDepsWith(t, auth.Options{}) }

func newDepsWith(t *testing.T, opts auth.Options) (*deps, *logged) {
	t.Helper()
	log, store := &logged{}, &store{Store: memory.New(memory.Options{})}
	logger := slog.New(slog.NewTextHandler(leaktest.Copy(log), &slog.HandlerOptions{Level: slog.LevelWarn}))
	const secret = "a secret of at least thirty-two bytes"
	leaktest.Note(secret)
	sessions, err := adapter.New(adapter.Options{
		Secrets: []string{secret},
		Store:   store,
		Logger:  logger,
	})
	if err != nil {
		t.Fatal(err)
	}
	opts.Logger = logger
	users, err := auth.New(sessions, func(_ context.Context, name, password string) (user, error) {
		if name != "ann" || password != "correct" {
			return user{}, auth.ErrInvalid
		}
		return user{7}, nil
	}, opts)
	if err != nil {
		t.Fatal(err)
	}
	return &deps{sessions, users, store}, log
}

// browser has a cookie jar.
type browser struct {
	t      *testing.T
	url    string
	client *http.Client
}

func browse(t *testing.T, h http.Handler) *browser {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	srv.Start()
	t.Cleanup(srv.Close)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t, srv.URL, &http.Client{Jar: jar, Timeout: 10 * time.Second}} // what hangs has failed
}

func (b *browser) do(method, path, body string) (status int, text string, cookies int) {
	b.t.Helper()
	target := b.url + path
	if method == "GET" {
		target += "?connect=v1&encoding=json&message=%7B%7D" // as connect wants its calls by GET; no others mind
	}
	r, err := http.NewRequest(method, target, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	status, h, text := b.answer(r)
	return status, text, len(h["Set-Cookie"])
}

func (b *browser) answer(r *http.Request) (status int, h http.Header, text string) {
	b.t.Helper()
	res, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	for _, c := range res.Cookies() {
		leaktest.Note(c.Value)
	}
	all, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	if res.Close {
		res.Header.Set("Connection", "close") // which net/http's client has taken out
	}
	return res.StatusCode, res.Header, string(all)
}

var lastNumber = regexp.MustCompile(`(\d+)\D*$`) // of an answer: each framework writes it in its own way

func (b *browser) visit(want int) {
	b.t.Helper()
	status, body, _ := b.do("GET", "/visit", "")
	if got := lastNumber.FindStringSubmatch(body); status != 200 || got == nil || got[1] != fmt.Sprint(want) {
		b.t.Errorf("%d %q, want visit %d", status, body, want)
	}
}

func TestApps(t *testing.T) {
	for name, app := range apps {
		t.Run(name, func(t *testing.T) {
			d, log := newDeps(t)
			b := browse(t, app(d))
			if status, body, cookies := b.do("GET", "/panic", ""); status != 500 || cookies != 0 {
				t.Errorf("a panic: %d %s, %d cookies", status, body, cookies)
			}
			b.visit(1)
			if status, _, _ := b.do("GET", "/panic", ""); status != 500 {
				t.Errorf("a panic: %d", status)
			}
			b.visit(2) // what the handler did before it panicked is not saved
			if status, body, _ := b.do("GET", "/error", ""); status != 409 {
				t.Errorf("an error: %d %s", status, body)
			}
			b.visit(4) // what it did before it returned an error is

			if status, body, _ := b.do("GET", "/protected", ""); status != 401 || !strings.Contains(body, "Invalid Credentials") {
				t.Errorf("nobody is signed in: %d %s", status, body)
			}
			if status, body, _ := b.do("POST", "/login", `{"username":"ann","password":"wrong"}`); status != 401 {
				t.Errorf("a wrong password: %d %s", status, body)
			}
			if status, body, cookies := b.do("POST", "/login", `{"username":"ann","password":"correct"}`); status != 200 || cookies != 1 {
				t.Errorf("login: %d %s, %d cookies", status, body, cookies)
			}
			if status, body, _ := b.do("GET", "/protected", ""); status != 200 || body != "You are authorized" {
				t.Errorf("signed in: %d %s", status, body)
			}
			if status, body, _ := b.do("POST", "/logout", ""); status != 200 || !strings.Contains(body, "You are logged out") {
				t.Errorf("logout: %d %s", status, body)
			}
			if status, _, _ := b.do("GET", "/protected", ""); status != 401 {
				t.Errorf("after the logout: %d", status)
			}
			if status, _, _ := b.do("GET", "/nowhere", ""); status != 404 {
				t.Errorf("no route: %d", status)
			}
			if got := log.String(); got != "" {
				t.Errorf("log: %s", got)
			}
		})
	}
}

// A connect client is told who it is, or that it is nobody.
func TestConnectInterceptor(t *testing.T) {
	d, _ := newDeps(t)
	b := browse(t, newConnect(d))
	client := connect.NewClient[emptypb.Empty, wrapperspb.Int64Value](b.client, b.url+"/visits.v1.Visits/Account")
	if _, err := client.CallUnary(t.Context(), connect.NewRequest(&emptypb.Empty{})); connect.CodeOf(err) != connect.CodeUnauthenticated {
		t.Errorf("nobody is signed in: %v", err)
	}
	b.do("POST", "/login", `{"username":"ann","password":"correct"}`)
	res, err := client.CallUnary(t.Context(), connect.NewRequest(&emptypb.Empty{}))
	if err != nil || res.Msg.Value != 7 {
		t.Errorf("signed in: %v, %v", res, err)
	}
}

// An operation of huma's is refused in huma's own way.
func TestHumaMiddleware(t *testing.T) {
	d, _ := newDeps(t)
	b := browse(t, newHuma(d))
	if status, body, _ := b.do("GET", "/account", ""); status != 401 || !strings.Contains(body, `"detail":"Invalid Credentials"`) {
		t.Errorf("nobody is signed in: %d %s", status, body)
	}
	b.do("POST", "/login", `{"username":"ann","password":"correct"}`)
	if status, body, _ := b.do("GET", "/account", ""); status != 200 || !strings.Contains(body, "7") {
		t.Errorf("signed in: %d %s", status, body)
	}
}

// The lines of the log on the page are those that there are.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/frameworks.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{lateChange, goesAround} {
		if !strings.Contains(string(page), line) {
			t.Errorf("the page does not have the line %q", line)
		}
	}
}
