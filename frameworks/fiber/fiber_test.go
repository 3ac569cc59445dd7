package samesidfiber_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
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
	return newAppWith(t, fiber.Config{}, o, routes)
}

func newAppWith(t *testing.T, config fiber.Config, o adapter.Options, routes func(a *app)) *app {
	t.Helper()
	a := &app{App: fiber.New(config), t: t, store: &store{Store: memory.New(memory.Options{})}}
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

// What wraps a handler leaves the request's body to it, as it came: a body is neither decoded nor, if
// Fiber streams it, read before the middleware has let it pass.
func TestBody(t *testing.T) {
	read := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s, %d, %v", b, r.ContentLength, err)
	})
	for name, config := range map[string]fiber.Config{"read": {}, "streamed": {StreamRequestBody: true}} {
		for _, encoding := range []string{"", "gzip", "unknown"} {
			t.Run(name+"/"+encoding, func(t *testing.T) {
				a := newAppWith(t, config, adapter.Options{}, func(a *app) {
					pass := samesidfiber.Wrap(func(next http.Handler) http.Handler { return next })
					a.Post("/handler", pass, samesidfiber.Handler(read))
					a.Post("/wrap", pass, func(c fiber.Ctx) error {
						if c.Request().IsBodyStream() != config.StreamRequestBody {
							return errors.New("the body has been read")
						}
						return c.SendString(string(c.BodyRaw()))
					})
				})
				for path, want := range map[string]string{"/handler": "body, 4, <nil>", "/wrap": "body"} {
					r, err := http.NewRequestWithContext(t.Context(), "POST", a.url+path, strings.NewReader("body"))
					if err != nil {
						t.Fatal(err)
					}
					if encoding != "" {
						r.Header.Set("Content-Encoding", encoding)
					}
					res, err := a.client.Do(r)
					if err != nil {
						t.Fatal(err)
					}
					b, err := io.ReadAll(res.Body)
					res.Body.Close()
					if res.StatusCode != 200 || string(b) != want || err != nil {
						t.Errorf("%s: %d %q, want %q; %v", path, res.StatusCode, b, want, err)
					}
				}
			})
		}
	}
}

// A middleware that must see the response, such as LoadAndSave, is refused: Fiber's handlers
// don't write to its writer, so that no cookie would be sent.
func TestWrapRefusesWriters(t *testing.T) {
	a := newApp(t, adapter.Options{}, func(a *app) {
		a.Use(recoverer.New(), samesidfiber.Wrap(a.sessions.LoadAndSave))
		a.Get("/", func(c fiber.Ctx) error {
			t.Error("the handler runs")
			return nil
		})
	})
	if status, body, _ := a.do("GET", "/", ""); status != 500 || !strings.Contains(body, "use Sessions") {
		t.Errorf("%d %q", status, body)
	}
}

// Fiber's strings lie in memory that later requests overwrite. A session's values are encoded
// before that.
func TestValuesAreCopied(t *testing.T) {
	var kept string
	a := newApp(t, adapter.Options{}, func(a *app) {
		a.Use(func(c fiber.Ctx) error {
			err := c.Next()
			copy(c.RequestCtx().QueryArgs().Peek("value"), "two") // as a later request does
			return err
		}, samesidfiber.Sessions(a.sessions))
		a.Get("/put", func(c fiber.Ctx) error {
			kept = c.Query("value")
			a.sessions.Put(c, "value", kept)
			return nil
		})
		a.Get("/get", func(c fiber.Ctx) error { return c.SendString(a.sessions.GetString(c, "value")) })
	})
	a.do("GET", "/put?value=one", "")
	if kept != "two" {
		t.Fatalf("Fiber's string is still %q", kept)
	}
	if _, body, _ := a.do("GET", "/get", ""); body != "one" {
		t.Errorf("the session has %q", body)
	}
}

// A logout is final for a request of the session that is under way.
func TestLogoutIsFinal(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	a := newApp(t, adapter.Options{}, func(a *app) {
		a.Use(samesidfiber.Sessions(a.sessions))
		a.Get("/", visit(a, a.count))
		a.Get("/count", a.count)
		a.Get("/slow", visit(a, func(c fiber.Ctx) error {
			close(started)
			<-release
			return a.count(c)
		}))
		a.Get("/logout", func(c fiber.Ctx) error { return a.sessions.Destroy(c) })
	})
	a.do("GET", "/", "")
	u, err := url.Parse(a.url)
	if err != nil {
		t.Fatal(err)
	}
	cookies := a.client.Jar.Cookies(u)
	var wg sync.WaitGroup
	wg.Go(func() { a.do("GET", "/slow", "") })
	<-started
	a.do("GET", "/logout", "")
	close(release)
	wg.Wait()
	a.client.Jar.SetCookies(u, cookies)
	if _, body, _ := a.do("GET", "/count", ""); body != "0" {
		t.Errorf("after the logout: %s visits", body)
	}
}

// On a TLS connection, a cookie whose Secure is left to the request is Secure.
func TestTLS(t *testing.T) {
	a := newApp(t, adapter.Options{Cookie: adapter.Cookie{Secure: adapter.SecureAuto}}, func(a *app) {
		a.Use(samesidfiber.Sessions(a.sessions))
		a.Get("/", visit(a, a.count))
	})
	if _, _, h := a.do("GET", "/", ""); strings.Contains(h.Get("Set-Cookie"), "Secure") {
		t.Errorf("without TLS: %d cookies, one is Secure", len(h["Set-Cookie"]))
	}
	other := httptest.NewTLSServer(nil) // for its certificate
	defer other.Close()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: other.TLS.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = a.Listener(l, fiber.ListenConfig{DisableStartupMessage: true}) }()
	res, err := other.Client().Get("https://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	other.Client().CloseIdleConnections()
	if cookies := res.Cookies(); len(cookies) != 1 || !cookies[0].Secure {
		t.Errorf("with TLS: %d cookies, which should be one that is Secure", len(cookies))
	}
}

// The sessions of two Managers are apart.
func TestTwoManagers(t *testing.T) {
	other := adapter.MustNew(adapter.Options{Name: "other", Secrets: []string{"a secret of at least thirty-two bytes"}})
	a := newApp(t, adapter.Options{}, func(a *app) {
		a.Use(samesidfiber.Sessions(a.sessions), samesidfiber.Sessions(other))
		a.Get("/", visit(a, func(c fiber.Ctx) error {
			other.Put(c, "visits", other.GetInt(c.Context(), "visits")+10)
			return c.SendString(fmt.Sprint(a.sessions.GetInt(c, "visits"), other.GetInt(c, "visits")))
		}))
	})
	for _, want := range []string{"1 10", "2 20"} {
		if _, body, _ := a.do("GET", "/", ""); body != want {
			t.Errorf("%q, want %q", body, want)
		}
	}
}
