package samesidgin_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
	"github.com/samesid/samesid/backends/memory"
	"github.com/samesid/samesid/frameworks/gin"
)

func init() { gin.SetMode(gin.TestMode) }

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

func (s *store) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	s.mu.Lock()
	down := s.down
	s.mu.Unlock()
	if down {
		return nil, false, errors.New("the store is down")
	}
	return s.Store.Swap(ctx, token, old, data, expiry)
}

// app is a Gin app, and a browser on it.
type app struct {
	*gin.Engine
	t        *testing.T
	sessions *adapter.Manager
	store    *store
	log      *strings.Builder
	client   *http.Client
	url      string
}

// newApp serves what routes adds. It has them add the sessions too.
func newApp(t *testing.T, routes func(a *app)) *app {
	t.Helper()
	a := &app{Engine: gin.New(), t: t, store: &store{Store: memory.New(memory.Options{})}, log: &strings.Builder{}}
	t.Cleanup(func() { a.store.Close() })
	a.sessions = adapter.MustNew(adapter.Options{
		Secrets: []string{"a secret of at least thirty-two bytes"},
		Store:   a.store,
		Logger:  slog.New(slog.NewTextHandler(a.log, nil)),
	})
	a.Use(gin.RecoveryWithWriter(io.Discard))
	routes(a)
	a.serve(a.Engine)
	return a
}

func (a *app) serve(h http.Handler) {
	srv := httptest.NewServer(h)
	a.t.Cleanup(srv.Close)
	a.url = srv.URL
	a.client = a.browser()
}

func (a *app) browser() *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		a.t.Fatal(err)
	}
	return &http.Client{Jar: jar, Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func (a *app) do(method, path string) (status int, body string, h http.Header) {
	a.t.Helper()
	r, err := http.NewRequest(method, a.url+path, nil)
	if err != nil {
		a.t.Fatal(err)
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
func visit(a *app, answer gin.HandlerFunc) gin.HandlerFunc {
	return func(c *gin.Context) {
		ctx := c.Request.Context()
		a.sessions.Put(ctx, "visits", a.sessions.GetInt(ctx, "visits")+1)
		answer(c)
	}
}

func (a *app) count(c *gin.Context) {
	c.String(http.StatusOK, "%d", a.sessions.GetInt(c.Request.Context(), "visits"))
}

// places are where the sessions can be put.
var places = map[string]func(a *app) gin.IRoutes{
	"engine": func(a *app) gin.IRoutes {
		a.Use(samesidgin.Sessions(a.sessions))
		return a.Engine
	},
	"group": func(a *app) gin.IRoutes { return a.Group("/", samesidgin.Sessions(a.sessions)) },
	"both": func(a *app) gin.IRoutes {
		a.Use(samesidgin.Sessions(a.sessions))
		return a.Group("/", samesidgin.Sessions(a.sessions))
	},
}

// Whatever way a handler answers, its session is saved, and the cookie is sent.
func TestAnswers(t *testing.T) {
	for place, sessions := range places {
		for name, test := range map[string]struct {
			answer gin.HandlerFunc
			status int
			body   string
		}{
			"string":  {func(c *gin.Context) { c.String(http.StatusCreated, "text") }, 201, "text"},
			"JSON":    {func(c *gin.Context) { c.JSON(http.StatusOK, gin.H{"a": 1}) }, 200, `{"a":1}`},
			"status":  {func(c *gin.Context) { c.Status(http.StatusNoContent) }, 204, ""},
			"nothing": {func(*gin.Context) {}, 200, ""},
			"now": {func(c *gin.Context) {
				c.AbortWithStatus(http.StatusAccepted)
				if !c.Writer.Written() {
					panic("the writer does not tell the truth")
				}
				c.Status(http.StatusTeapot) // too late
			}, 202, ""},
			"abort":    {func(c *gin.Context) { c.AbortWithStatusJSON(http.StatusTeapot, "no") }, 418, `"no"`},
			"redirect": {func(c *gin.Context) { c.Redirect(http.StatusSeeOther, "/count") }, 303, `<a href="/count">`},
			"file":     {func(c *gin.Context) { c.File("go.mod") }, 200, "// A module"},
			"stream": {func(c *gin.Context) {
				n := 0
				c.Stream(func(w io.Writer) bool { n++; fmt.Fprint(w, n); return n < 3 })
			}, 200, "123"},
			"events": {func(c *gin.Context) { c.SSEvent("tick", "1") }, 200, "event:tick"},
			"plain": {func(c *gin.Context) {
				c.Writer.WriteHeader(http.StatusAccepted)
				_, _ = c.Writer.WriteString("plain")
				if !c.Writer.Written() || c.Writer.Status() != http.StatusAccepted || c.Writer.Size() != 5 {
					panic("the writer does not tell the truth")
				}
			}, 202, "plain"},
			"net/http": {gin.WrapF(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "gone", http.StatusGone) }), 410, "gone"},
		} {
			t.Run(place+"/"+name, func(t *testing.T) {
				a := newApp(t, func(a *app) {
					r := sessions(a)
					r.GET("/", visit(a, test.answer))
					r.GET("/count", a.count)
				})
				status, body, h := a.do("GET", "/")
				if status != test.status || !strings.HasPrefix(body, test.body) {
					t.Errorf("%d %q, want %d %q", status, body, test.status, test.body)
				}
				if n := len(h["Set-Cookie"]); n != 1 {
					t.Errorf("%d cookies are sent", n)
				}
				if status, body, h := a.do("GET", "/count"); status != 200 || body != "1" || len(h["Set-Cookie"]) != 0 {
					t.Errorf("the next request: %d %q, %d cookies", status, body, len(h["Set-Cookie"]))
				}
				if a.log.Len() > 0 {
					t.Errorf("log: %s", a.log)
				}
			})
		}
	}
}

// A path without a route, and one with another method, are answered by Gin as ever.
func TestNoRoute(t *testing.T) {
	a := newApp(t, func(a *app) {
		a.HandleMethodNotAllowed = true
		a.Use(samesidgin.Sessions(a.sessions))
		a.GET("/", visit(a, a.count))
	})
	for path, want := range map[string]string{"/nowhere": "404 404 page not found"} {
		if status, body, _ := a.do("GET", path); fmt.Sprint(status, " ", body) != want {
			t.Errorf("%s: %d %q, want %q", path, status, body, want)
		}
	}
	if status, _, _ := a.do("POST", "/"); status != http.StatusMethodNotAllowed {
		t.Errorf("another method: %d", status)
	}
	a = newApp(t, func(a *app) {
		a.Use(samesidgin.Sessions(a.sessions))
		a.NoRoute(visit(a, func(c *gin.Context) { c.String(http.StatusNotFound, "none of ours") }))
	})
	if status, body, h := a.do("GET", "/nowhere"); status != 404 || body != "none of ours" || len(h["Set-Cookie"]) != 1 {
		t.Errorf("NoRoute: %d %q, %d cookies", status, body, len(h["Set-Cookie"]))
	}
}

// A session that can't be saved: the client gets the error, and no cookie.
func TestStoreDown(t *testing.T) {
	for place, sessions := range places {
		for name, answer := range map[string]gin.HandlerFunc{
			"body": func(c *gin.Context) {
				c.JSON(http.StatusOK, "signed in")
				if c.Writer.Status() != http.StatusServiceUnavailable {
					panic("the writer does not tell the truth")
				}
			},
			"status":  func(c *gin.Context) { c.Status(http.StatusNoContent) },
			"nothing": func(*gin.Context) {},
		} {
			t.Run(place+"/"+name, func(t *testing.T) {
				a := newApp(t, func(a *app) { sessions(a).GET("/", visit(a, answer)) })
				a.store.fail(true)
				status, body, h := a.do("GET", "/")
				if status != http.StatusServiceUnavailable || strings.Contains(body, "signed in") || len(h["Set-Cookie"]) != 0 {
					t.Errorf("%d %q, %d cookies", status, body, len(h["Set-Cookie"]))
				}
			})
		}
	}
}

// A handler that panics saves nothing, whether Gin's Recovery is outside or inside.
func TestPanic(t *testing.T) {
	for name, inside := range map[string]bool{"outside": false, "inside": true} {
		for _, begun := range []bool{false, true} {
			t.Run(fmt.Sprint(name, "/", begun), func(t *testing.T) {
				a := newApp(t, func(a *app) {
					a.Use(samesidgin.Sessions(a.sessions))
					if inside {
						a.Use(gin.RecoveryWithWriter(io.Discard))
					}
					a.GET("/begin", visit(a, a.count))
					a.GET("/count", a.count)
					a.GET("/panic", visit(a, func(*gin.Context) { panic("a mistake") }))
				})
				want := "0"
				if begun {
					a.do("GET", "/begin")
					want = "1"
				}
				status, _, h := a.do("GET", "/panic")
				if status != http.StatusInternalServerError || len(h["Set-Cookie"]) != 0 {
					t.Errorf("%d, %d cookies", status, len(h["Set-Cookie"]))
				}
				if _, body, _ := a.do("GET", "/count"); body != want {
					t.Errorf("after the panic: %s visits", body)
				}
			})
		}
	}
}

// gin.Recovery logs the cookies of a request that panics, in debug mode, and in each mode if it
// panics because the connection is broken or with http.ErrAbortHandler. The page has another.
func TestRecoveryLogsNoCookie(t *testing.T) {
	gin.SetMode(gin.DebugMode)
	defer gin.SetMode(gin.TestMode)
	text := &bytes.Buffer{}
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(slog.NewTextHandler(text, nil)))
	defer func(out, err io.Writer) { gin.DefaultWriter, gin.DefaultErrorWriter = out, err }(gin.DefaultWriter, gin.DefaultErrorWriter)
	gin.DefaultWriter, gin.DefaultErrorWriter = text, text

	for name, of := range map[string]struct {
		recovery gin.HandlerFunc
		shows    bool
	}{"Gin's": {gin.Recovery(), true}, "the page's": {gin.CustomRecoveryWithWriter(nil, recovered), false}} {
		for _, mistake := range []any{"a mistake", http.ErrAbortHandler} {
			a := &app{Engine: gin.New(), t: t}
			a.Use(gin.Logger(), of.recovery)
			a.GET("/panic", func(*gin.Context) { panic(mistake) })
			text.Reset()
			w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/panic", nil)
			r.Header.Set("Cookie", "connect.sid=the-value")
			a.ServeHTTP(w, r)
			if shows := strings.Contains(text.String(), "the-value"); shows != of.shows {
				t.Errorf("%s recovery from %v shows the cookie: %t\n%s", name, mistake, shows, text)
			}
			if mistake == "a mistake" && (w.Code != http.StatusInternalServerError || !strings.Contains(text.String(), "TestRecoveryLogsNoCookie")) {
				t.Errorf("%s recovery answers %d, and logs no stack with the handler:\n%s", name, w.Code, text)
			}
		}
	}
}

// What is outside gets its own writer back, also after a panic.
func TestWriterIsGivenBack(t *testing.T) {
	for name, handler := range map[string]gin.HandlerFunc{
		"returns": func(c *gin.Context) { c.String(200, "text") },
		"panics":  func(*gin.Context) { panic("a mistake") },
	} {
		a := newApp(t, func(a *app) {
			a.Use(func(c *gin.Context) {
				before := c.Writer
				defer func() {
					if c.Writer != before {
						t.Errorf("%s: the writer is another one", name)
					}
				}()
				c.Next()
			}, samesidgin.Sessions(a.sessions))
			a.GET("/", handler)
		})
		a.do("GET", "/")
	}
}

// auth's handlers and middlewares work in Gin, in one line each.
func TestAuth(t *testing.T) {
	for place, sessions := range places {
		t.Run(place, func(t *testing.T) {
			ran := false
			a := newApp(t, func(a *app) {
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
				r.POST("/login", gin.WrapH(users.Login()))
				r.POST("/logout", gin.WrapH(users.Logout()))
				r.GET("/protected", samesidgin.Wrap(users.Restricted), func(c *gin.Context) {
					ran = true
					u, err := users.User(c.Request.Context())
					c.JSON(http.StatusOK, gin.H{"id": u.ID, "err": err})
				})
			})
			post := func(path, body string) (int, string) {
				res, err := a.client.Post(a.url+path, "application/json", strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				b, _ := io.ReadAll(res.Body)
				return res.StatusCode, string(b)
			}
			if status, body, _ := a.do("GET", "/protected"); status != 401 || !strings.Contains(body, "Invalid Credentials") || ran {
				t.Errorf("without a session: %d %s, the handler ran: %v", status, body, ran)
			}
			if status, _ := post("/login", `{"username":"ann","password":"wrong"}`); status != 401 {
				t.Errorf("a wrong password: %d", status)
			}
			if status, body := post("/login", `{"username":"ann","password":"correct"}`); status != 200 {
				t.Fatalf("login: %d %s", status, body)
			}
			status, body, _ := a.do("GET", "/protected")
			var got struct{ ID int }
			if err := json.Unmarshal([]byte(body), &got); status != 200 || err != nil || got.ID != 7 {
				t.Errorf("signed in: %d %s", status, body)
			}
			if status, body := post("/logout", ""); status != 200 || !strings.Contains(body, "You are logged out") {
				t.Errorf("logout: %d %s", status, body)
			}
			if status, _, _ := a.do("GET", "/protected"); status != 401 {
				t.Errorf("after the logout: %d", status)
			}
		})
	}
}

// Requests of one session side by side lose no update.
func TestNoLostUpdate(t *testing.T) {
	a := newApp(t, func(a *app) {
		a.Use(samesidgin.Sessions(a.sessions))
		a.GET("/", visit(a, a.count))
		a.GET("/put/:key", func(c *gin.Context) { a.sessions.Put(c.Request.Context(), c.Param("key"), true) })
		a.GET("/keys", func(c *gin.Context) { c.String(200, "%d", len(a.sessions.Keys(c.Request.Context()))) })
	})
	a.do("GET", "/")
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
	if _, body, _ := a.do("GET", "/keys"); body != fmt.Sprint(n+1) {
		t.Errorf("%s keys, want %d", body, n+1)
	}
}

// The session is stored, and its cookie sent, before a stream ends.
func TestStreamIsSavedFirst(t *testing.T) {
	release := make(chan struct{})
	a := newApp(t, func(a *app) {
		a.Use(samesidgin.Sessions(a.sessions))
		a.GET("/", visit(a, func(c *gin.Context) {
			_, _ = c.Writer.WriteString("first\n")
			c.Writer.Flush()
			<-release
		}))
		a.GET("/count", a.count)
	})
	res, err := a.client.Get(a.url + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if line, err := bufio.NewReader(res.Body).ReadString('\n'); line != "first\n" || err != nil {
		t.Errorf("%q, %v", line, err)
	}
	if _, body, _ := a.do("GET", "/count"); body != "1" {
		t.Errorf("while the stream goes on: %s visits", body)
	}
	close(release)
}

func TestHijack(t *testing.T) {
	a := newApp(t, func(a *app) {
		a.Use(samesidgin.Sessions(a.sessions))
		a.GET("/", func(c *gin.Context) {
			conn, rw, err := c.Writer.Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_, _ = rw.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nhijacked")
			_ = rw.Flush()
		})
	})
	if _, body, _ := a.do("GET", "/"); body != "hijacked" {
		t.Errorf("got %q", body)
	}
}

// LoadAndSave around the whole Engine is another way, without this package: streams work too.
func TestAroundTheEngine(t *testing.T) {
	a := newApp(t, func(a *app) {
		a.ContextWithFallback = true
		a.GET("/", func(c *gin.Context) {
			a.sessions.Put(c, "visits", a.sessions.GetInt(c, "visits")+1) // a *gin.Context does, with ContextWithFallback
			n := 0
			c.Stream(func(w io.Writer) bool { n++; fmt.Fprint(w, n); return n < 3 })
		})
		a.GET("/count", a.count)
	})
	a.serve(a.sessions.LoadAndSave(a.Engine))
	if status, body, h := a.do("GET", "/"); status != 200 || body != "123" || len(h["Set-Cookie"]) != 1 {
		t.Errorf("%d %q, %d cookies", status, body, len(h["Set-Cookie"]))
	}
	if _, body, _ := a.do("GET", "/count"); body != "1" {
		t.Errorf("%s visits", body)
	}
}

// A logout is final for a request of the session that is under way.
func TestLogoutIsFinal(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	a := newApp(t, func(a *app) {
		a.Use(samesidgin.Sessions(a.sessions))
		a.GET("/", visit(a, a.count))
		a.GET("/count", a.count)
		a.GET("/slow", visit(a, func(c *gin.Context) {
			close(started)
			<-release
			a.count(c)
		}))
		a.GET("/logout", func(c *gin.Context) {
			if err := a.sessions.Destroy(c.Request.Context()); err != nil {
				t.Error(err)
			}
		})
	})
	a.do("GET", "/")
	u, err := url.Parse(a.url)
	if err != nil {
		t.Fatal(err)
	}
	cookies := a.client.Jar.Cookies(u)
	var wg sync.WaitGroup
	wg.Go(func() { a.do("GET", "/slow") })
	<-started
	a.do("GET", "/logout")
	close(release)
	wg.Wait()
	a.client.Jar.SetCookies(u, cookies)
	if _, body, _ := a.do("GET", "/count"); body != "0" {
		t.Errorf("after the logout: %s visits", body)
	}
}

// The sessions of two Managers are apart, and the failure of one's store is the answer.
func TestTwoManagers(t *testing.T) {
	other := adapter.MustNew(adapter.Options{Name: "other", Secrets: []string{"a secret of at least thirty-two bytes"}})
	a := newApp(t, func(a *app) {
		a.Use(samesidgin.Sessions(a.sessions), samesidgin.Sessions(other))
		a.GET("/", visit(a, func(c *gin.Context) {
			ctx := c.Request.Context()
			other.Put(ctx, "visits", other.GetInt(ctx, "visits")+10)
			c.String(http.StatusOK, "%d %d", a.sessions.GetInt(ctx, "visits"), other.GetInt(ctx, "visits"))
		}))
	})
	for _, want := range []string{"1 10", "2 20"} {
		if _, body, _ := a.do("GET", "/"); body != want {
			t.Errorf("%q, want %q", body, want)
		}
	}
	a.store.fail(true)
	if status, body, _ := a.do("GET", "/"); status != http.StatusServiceUnavailable || strings.Contains(body, "30") {
		t.Errorf("a store is down: %d %q", status, body)
	}
}
