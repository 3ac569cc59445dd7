package samesidfiber_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofiber/fiber/v3"
	recoverer "github.com/gofiber/fiber/v3/middleware/recover"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
	"github.com/samesid/samesid/backends/memory"
	"github.com/samesid/samesid/frameworks/fiber"
)

type account struct {
	ID int `json:"id"`
}

// store fails when told to.
type store struct {
	*memory.Store
	mu   sync.Mutex
	down bool
}

func (s *store) fail(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

func (s *store) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return errors.New("the store is down")
	}
	return nil
}

func (s *store) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	if err := s.err(); err != nil {
		return nil, false, err
	}
	return s.Store.Swap(ctx, token, old, data, expiry)
}

func (s *store) FindTouch(ctx context.Context, token string, expiry time.Time) ([]byte, bool, error) {
	if err := s.err(); err != nil {
		return nil, false, err
	}
	return s.Store.FindTouch(ctx, token, expiry)
}

// app is a Fiber app, and a browser on it.
type app struct {
	*fiber.App
	t        *testing.T
	sessions *adapter.Manager
	store    *store
	client   *http.Client
	url      string
}

func newApp(t *testing.T, o adapter.Options, routes func(a *app)) *app {
	t.Helper()
	a := &app{App: fiber.New(), t: t, store: &store{Store: memory.New(memory.Options{})}}
	t.Cleanup(func() { a.store.Close() })
	if o.Signature != adapter.SignatureNone {
		o.Secrets = []string{"a secret of at least thirty-two bytes"}
	}
	o.Store, o.Logger = a.store, slog.New(slog.DiscardHandler)
	a.sessions = adapter.MustNew(o)
	routes(a)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- a.Listener(l, fiber.ListenConfig{DisableStartupMessage: true}) }()
	t.Cleanup(func() {
		if err := a.Shutdown(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	a.url = "http://" + l.Addr().String()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	a.client = &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return a
}

func (a *app) do(method, path, body string) (status int, text string, h http.Header) {
	a.t.Helper()
	r, err := http.NewRequest(method, a.url+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	res, err := a.client.Do(r)
	if err != nil {
		a.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return res.StatusCode, string(b), res.Header
}

// visit puts a value, and answer answers.
func visit(a *app, answer fiber.Handler) fiber.Handler {
	return func(c fiber.Ctx) error {
		a.sessions.Put(c, "visits", a.sessions.GetInt(c.Context(), "visits")+1)
		return answer(c)
	}
}

func (a *app) count(c fiber.Ctx) error {
	return c.SendString(fmt.Sprint(a.sessions.GetInt(c, "visits")))
}

var places = map[string]func(a *app) fiber.Router{
	"app": func(a *app) fiber.Router {
		a.Use(samesidfiber.Sessions(a.sessions))
		return a.App
	},
	"group": func(a *app) fiber.Router { return a.Group("/", samesidfiber.Sessions(a.sessions)) },
	"both": func(a *app) fiber.Router {
		a.Use(samesidfiber.Sessions(a.sessions))
		return a.Group("/", samesidfiber.Sessions(a.sessions))
	},
}

// Whatever way a handler answers, its session is saved, and the cookie is sent.
func TestAnswers(t *testing.T) {
	for place, sessions := range places {
		for name, test := range map[string]struct {
			answer fiber.Handler
			status int
			body   string
		}{
			"text":     {func(c fiber.Ctx) error { return c.Status(201).SendString("text") }, 201, "text"},
			"JSON":     {func(c fiber.Ctx) error { return c.JSON(fiber.Map{"a": 1}) }, 200, `{"a":1}`},
			"status":   {func(c fiber.Ctx) error { c.Status(204); return nil }, 204, ""},
			"nothing":  {func(fiber.Ctx) error { return nil }, 200, ""},
			"redirect": {func(c fiber.Ctx) error { return c.Redirect().To("/count") }, 303, ""},
			"file":     {func(c fiber.Ctx) error { return c.SendFile("go.mod") }, 200, "// A module"},
			"stream":   {func(c fiber.Ctx) error { return c.SendStream(strings.NewReader("stream")) }, 200, "stream"},
			"error":    {func(fiber.Ctx) error { return fiber.NewError(409, "in conflict") }, 409, "in conflict"},
		} {
			t.Run(place+"/"+name, func(t *testing.T) {
				a := newApp(t, adapter.Options{}, func(a *app) {
					r := sessions(a)
					r.Get("/", visit(a, test.answer))
					r.Get("/count", a.count)
				})
				status, body, h := a.do("GET", "/", "")
				if status != test.status || !strings.HasPrefix(body, test.body) {
					t.Errorf("%d %q, want %d %q", status, body, test.status, test.body)
				}
				if n := len(h["Set-Cookie"]); n != 1 || !strings.Contains(strings.Join(h["Vary"], ","), "Cookie") {
					t.Errorf("%d cookies are sent, Vary: %q", n, h["Vary"])
				}
				if status, body, h := a.do("GET", "/count", ""); status != 200 || body != "1" || len(h["Set-Cookie"]) != 0 {
					t.Errorf("the next request: %d %q, %d cookies", status, body, len(h["Set-Cookie"]))
				}
			})
		}
	}
}

// A store that fails, at the beginning or at the end: the client gets the error and no
// cookie, and what is outside keeps its headers.
func TestStoreDown(t *testing.T) {
	a := newApp(t, adapter.Options{}, func(a *app) {
		a.Use(func(c fiber.Ctx) error {
			c.Set("Access-Control-Allow-Origin", "https://example.com")
			return c.Next()
		})
		a.Use(samesidfiber.Sessions(a.sessions))
		a.Get("/", visit(a, func(c fiber.Ctx) error {
			c.Set("X-Handler", "1")
			return c.Status(201).SendString("signed in")
		}))
		a.Get("/begin", visit(a, a.count))
	})
	a.store.fail(true)
	for _, when := range []string{"at the end", "at the beginning"} {
		status, body, h := a.do("GET", "/", "")
		if status != 503 || strings.Contains(body, "signed in") || len(h["Set-Cookie"]) != 0 || h.Get("X-Handler") != "" ||
			h.Get("Access-Control-Allow-Origin") == "" {
			t.Errorf("%s: %d %q, %d cookies, %v", when, status, body, len(h["Set-Cookie"]), h["X-Handler"])
		}
		a.store.fail(false)
		a.do("GET", "/begin", "")
		a.store.fail(true)
	}
}

// A handler that panics saves nothing if the recover middleware is outside.
func TestPanic(t *testing.T) {
	a := newApp(t, adapter.Options{}, func(a *app) {
		a.Use(recoverer.New(), samesidfiber.Sessions(a.sessions))
		a.Get("/begin", visit(a, a.count))
		a.Get("/count", a.count)
		a.Get("/panic", visit(a, func(fiber.Ctx) error { panic("a mistake") }))
	})
	for _, want := range []string{"0", "1"} {
		if status, _, h := a.do("GET", "/panic", ""); status != 500 || len(h["Set-Cookie"]) != 0 {
			t.Errorf("%d, %d cookies", status, len(h["Set-Cookie"]))
		}
		if _, body, _ := a.do("GET", "/count", ""); body != want {
			t.Errorf("after the panic: %s visits, want %s", body, want)
		}
		a.do("GET", "/begin", "")
		if want == "1" {
			break
		}
	}
}

// auth's handlers and middlewares work in Fiber, in one line each.
func TestAuth(t *testing.T) {
	for place, sessions := range places {
		t.Run(place, func(t *testing.T) {
			ran := false
			a := newApp(t, adapter.Options{}, func(a *app) {
				users, err := auth.New(a.sessions, func(_ context.Context, name, password string) (account, error) {
					if name != "ann" || password != "correct" {
						return account{}, auth.ErrInvalid
					}
					return account{7}, nil
				}, auth.Options{})
				if err != nil {
					t.Fatal(err)
				}
				r := sessions(a)
				r.Post("/login", samesidfiber.Handler(users.Login()))
				r.Post("/logout", samesidfiber.Handler(users.Logout()))
				r.Get("/protected", samesidfiber.Wrap(users.Restricted), func(c fiber.Ctx) error {
					ran = true
					u, err := users.User(c)
					if err != nil {
						return err
					}
					return c.JSON(u)
				})
			})
			if status, body, h := a.do("GET", "/protected", ""); status != 401 || !strings.Contains(body, "Invalid Credentials") || ran ||
				!strings.HasPrefix(h.Get("Content-Type"), "application/json") || len(h["Content-Type"]) != 1 {
				t.Errorf("without a session: %d %s, the handler ran: %v, %q", status, body, ran, h["Content-Type"])
			}
			if status, _, _ := a.do("POST", "/login", `{"username":"ann","password":"wrong"}`); status != 401 {
				t.Errorf("a wrong password: %d", status)
			}
			if status, body, _ := a.do("POST", "/login", `{"username":"ann","password":"correct"}`); status != 200 {
				t.Fatalf("login: %d %s", status, body)
			}
			status, body, _ := a.do("GET", "/protected", "")
			var got account
			if err := json.Unmarshal([]byte(body), &got); status != 200 || err != nil || got.ID != 7 {
				t.Errorf("signed in: %d %s", status, body)
			}
			if status, body, h := a.do("POST", "/logout", ""); status != 200 || !strings.Contains(body, "You are logged out") || len(h["Set-Cookie"]) != 1 {
				t.Errorf("logout: %d %s, %d cookies", status, body, len(h["Set-Cookie"]))
			}
			if status, _, _ := a.do("GET", "/protected", ""); status != 401 {
				t.Errorf("after the logout: %d", status)
			}
		})
	}
}

// Requests of one session side by side lose no update.
func TestNoLostUpdate(t *testing.T) {
	a := newApp(t, adapter.Options{}, func(a *app) {
		a.Use(samesidfiber.Sessions(a.sessions))
		a.Get("/", visit(a, a.count))
		a.Get("/put/:key", func(c fiber.Ctx) error { a.sessions.Put(c, c.Params("key"), true); return nil })
		a.Get("/keys", func(c fiber.Ctx) error { return c.SendString(fmt.Sprint(len(a.sessions.Keys(c)))) })
	})
	a.do("GET", "/", "")
	const n = 20
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			res, err := a.client.Get(fmt.Sprint(a.url, "/put/", i))
			if err != nil {
				t.Error(err)
				return
			}
			res.Body.Close()
		})
	}
	wg.Wait()
	if _, body, _ := a.do("GET", "/keys", ""); body != fmt.Sprint(n+1) {
		t.Errorf("%s keys, want %d", body, n+1)
	}
}

// A stream's writer runs when its handler has returned: the session is saved before, and what
// the writer changes is saved by Save.
func TestStreamWriter(t *testing.T) {
	release := make(chan struct{})
	a := newApp(t, adapter.Options{}, func(a *app) {
		a.Use(samesidfiber.Sessions(a.sessions))
		a.Get("/", visit(a, func(c fiber.Ctx) error {
			ctx := c.Context() // c itself is another request's by then
			return c.SendStreamWriter(func(w *bufio.Writer) {
				fmt.Fprintln(w, "first")
				_ = w.Flush()
				<-release
				a.sessions.Put(ctx, "visits", 5)
				fmt.Fprintln(w, a.sessions.Save(ctx))
			})
		}))
		a.Get("/count", a.count)
	})
	res, err := a.client.Get(a.url + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body := bufio.NewReader(res.Body)
	if line, err := body.ReadString('\n'); line != "first\n" || err != nil {
		t.Fatalf("%q, %v", line, err)
	}
	if _, n, _ := a.do("GET", "/count", ""); n != "1" {
		t.Errorf("while the stream goes on: %s visits", n)
	}
	close(release)
	if line, err := body.ReadString('\n'); line != "<nil>\n" || err != nil {
		t.Errorf("Save: %q, %v", line, err)
	}
	if _, n, _ := a.do("GET", "/count", ""); n != "5" {
		t.Errorf("after the stream: %s visits", n)
	}
}

// Where the cookie is Secure and the connection is not, what a proxy says counts.
func TestProxy(t *testing.T) {
	a := newApp(t, adapter.Options{Cookie: adapter.Cookie{Secure: adapter.SecureAlways}, Proxy: adapter.ProxyTrusted}, func(a *app) {
		a.Use(samesidfiber.Sessions(a.sessions))
		a.Get("/", visit(a, a.count))
	})
	for proto, want := range map[string]int{"http": 0, "https": 1} {
		r, _ := http.NewRequest("GET", a.url+"/", nil)
		r.Header.Set("X-Forwarded-Proto", proto)
		res, err := a.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if n := len(res.Header["Set-Cookie"]); n != want {
			t.Errorf("%s: %d cookies, want %d", proto, n, want)
		}
	}
}
