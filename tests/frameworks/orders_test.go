package frameworks

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/go-chi/chi/v5"
	chimiddleware "github.com/go-chi/chi/v5/middleware"
	"github.com/gorilla/mux"
	echo4 "github.com/labstack/echo/v4"
	echo4middleware "github.com/labstack/echo/v4/middleware"
	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"
	"github.com/rs/cors"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends/memory"
	"github.com/samesid/samesid/internal/testserver"
)

// The lines that the page names.
const (
	lateChange = "a change made after the response had begun is lost: make it before the first byte, or call Save (docs/frameworks.md)"
	goesAround = "the response was not written by the writer that LoadAndSave hands on, so the session's cookie is not sent: " +
		"give the framework that writer, or use Begin and End (docs/frameworks.md)"
)

// store fails while it is down.
type store struct {
	*memory.Store
	down atomic.Bool
}

func (s *store) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	if s.down.Load() {
		return nil, false, errors.New("the store is down")
	}
	return s.Store.Swap(ctx, token, old, data, expiry)
}

// routes are the handlers of net/http that the orders of middlewares are tried with.
func routes(d *deps) *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /visit", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, d.visit(r.Context())) })
	mux.HandleFunc("GET /panic", func(_ http.ResponseWriter, r *http.Request) { d.visit(r.Context()); panic("a mistake") })
	mux.Handle("POST /login", d.users.Login())
	mux.Handle("GET /protected", d.users.Restricted(http.HandlerFunc(d.protected)))
	return mux
}

// with puts a handler into middlewares; the first one is the outermost.
func with(h http.Handler, middlewares ...func(http.Handler) http.Handler) http.Handler {
	for i := len(middlewares) - 1; i >= 0; i-- {
		h = middlewares[i](h)
	}
	return h
}

func with4(d *deps, middlewares ...echo4.MiddlewareFunc) *echo4.Echo {
	e := echo4.New()
	e.Logger.SetOutput(discard{})
	e.Use(middlewares...)
	e.Any("/*", echo4.WrapHandler(routes(d)))
	return e
}

func with5(d *deps, middlewares ...echo.MiddlewareFunc) *echo.Echo {
	e := echo.New()
	e.Logger = slog.New(slog.DiscardHandler)
	e.Use(middlewares...)
	e.Any("/*", echo.WrapHandler(routes(d)))
	return e
}

// A handler that panics saves nothing, but where a recover inside leaves the answer to others.
func TestRecoverers(t *testing.T) {
	for _, c := range []struct {
		name  string
		app   func(d *deps) http.Handler
		saves bool
	}{
		{"chi, outside", func(d *deps) http.Handler { return with(routes(d), chimiddleware.Recoverer, d.sessions.LoadAndSave) }, false},
		{"chi, inside", func(d *deps) http.Handler { return with(routes(d), d.sessions.LoadAndSave, chimiddleware.Recoverer) }, false},
		{"Echo 4, outside", func(d *deps) http.Handler {
			return with4(d, echo4middleware.Recover(), echo4.WrapMiddleware(d.sessions.LoadAndSave))
		}, false},
		{"Echo 4, inside", func(d *deps) http.Handler {
			return with4(d, echo4.WrapMiddleware(d.sessions.LoadAndSave), echo4middleware.Recover())
		}, false},
		{"Echo 4, inside, DisableErrorHandler", func(d *deps) http.Handler {
			return with4(d, echo4.WrapMiddleware(d.sessions.LoadAndSave), echo4middleware.RecoverWithConfig(echo4middleware.RecoverConfig{DisableErrorHandler: true}))
		}, true},
		{"Echo 4, inside, in a buffer", func(d *deps) http.Handler {
			return with4(d, echo4.WrapMiddleware(d.sessions.LoadAndSave), echo4middleware.GzipWithConfig(echo4middleware.GzipConfig{MinLength: 1000}), echo4middleware.Recover())
		}, true},
		{"Echo 5, outside", func(d *deps) http.Handler {
			return with5(d, middleware.Recover(), echo.WrapMiddleware(d.sessions.LoadAndSave))
		}, false},
		{"Echo 5, inside", func(d *deps) http.Handler {
			return with5(d, echo.WrapMiddleware(d.sessions.LoadAndSave), middleware.Recover())
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, log := newDeps(t)
			b := browse(t, c.app(d))
			b.visit(1)
			if status, body, _ := b.do("GET", "/panic", ""); status != 500 {
				t.Errorf("%d %s", status, body)
			}
			if c.saves {
				b.visit(3)
			} else {
				b.visit(2)
			}
			if got := log.String(); got != "" {
				t.Errorf("log: %s", got)
			}
		})
	}
}

// A compressor, outside or inside, leaves the cookie and a flush alone.
func TestCompressors(t *testing.T) {
	for name, app := range map[string]func(d *deps, h http.Handler) http.Handler{
		"chi, outside": func(d *deps, h http.Handler) http.Handler {
			return with(h, chimiddleware.Compress(5), d.sessions.LoadAndSave)
		},
		"chi, inside": func(d *deps, h http.Handler) http.Handler {
			return with(h, d.sessions.LoadAndSave, chimiddleware.Compress(5))
		},
		"Echo 4, outside": func(d *deps, h http.Handler) http.Handler {
			e := echo4.New()
			e.Use(echo4middleware.Gzip(), echo4.WrapMiddleware(d.sessions.LoadAndSave))
			e.GET("/*", echo4.WrapHandler(h))
			return e
		},
		"Echo 4, inside": func(d *deps, h http.Handler) http.Handler {
			e := echo4.New()
			e.Use(echo4.WrapMiddleware(d.sessions.LoadAndSave), echo4middleware.Gzip())
			e.GET("/*", echo4.WrapHandler(h))
			return e
		},
		"Echo 5, outside": func(d *deps, h http.Handler) http.Handler {
			e := echo.New()
			e.Use(middleware.Gzip(), echo.WrapMiddleware(d.sessions.LoadAndSave))
			e.GET("/*", echo.WrapHandler(h))
			return e
		},
		"Echo 5, inside": func(d *deps, h http.Handler) http.Handler {
			e := echo.New()
			e.Use(echo.WrapMiddleware(d.sessions.LoadAndSave), middleware.Gzip())
			e.GET("/*", echo.WrapHandler(h))
			return e
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, log := newDeps(t)
			read := make(chan struct{})
			b := browse(t, app(d, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/plain")
				d.visit(r.Context())
				fmt.Fprint(w, "first")
				if err := http.NewResponseController(w).Flush(); err != nil {
					t.Error(err)
				}
				<-read
				fmt.Fprint(w, "second")
			})))
			r, err := http.NewRequest("GET", b.url+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Accept-Encoding", "gzip") // so that the client leaves it as it is
			res, err := b.client.Do(r)
			if err != nil {
				close(read)
				t.Fatal(err)
			}
			defer res.Body.Close()
			if res.Header.Get("Content-Encoding") != "gzip" || len(res.Header["Set-Cookie"]) != 1 {
				t.Errorf("%q, %d cookies", res.Header.Get("Content-Encoding"), len(res.Header["Set-Cookie"]))
			}
			unzip, err := gzip.NewReader(res.Body)
			if err != nil {
				close(read)
				t.Fatal(err)
			}
			first := make([]byte, len("first"))
			_, err = io.ReadFull(unzip, first)
			close(read)
			rest, err2 := io.ReadAll(unzip)
			if string(first) != "first" || string(rest) != "second" || err != nil || err2 != nil {
				t.Errorf("%q %q, %v, %v", first, rest, err, err2)
			}
			if got := log.String(); got != "" {
				t.Errorf("log: %s", got)
			}
		})
	}
}

// untilOver has the time of a timeout be over when over is called, in place of its own: a short
// one could be over before the session was read.
func untilOver(timeout func(http.Handler) http.Handler) (middleware func(http.Handler) http.Handler, over func()) {
	done := make(chan struct{})
	return func(h http.Handler) http.Handler {
		h = timeout(h)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(w, r.WithContext(testserver.Late(r.Context(), done)))
		})
	}, sync.OnceFunc(func() { close(done) })
}

// http.TimeoutHandler inside drops both the response of a handler that is too late and what it
// does to the session. Outside, it drops the response alone: after a login, the store has another
// session than the client.
func TestTimeoutHandler(t *testing.T) {
	for _, inside := range []bool{true, false} {
		t.Run(fmt.Sprintf("inside=%v", inside), func(t *testing.T) {
			d, log := newDeps(t)
			answered, ended := make(chan struct{}), make(chan struct{})
			timeout, over := untilOver(func(h http.Handler) http.Handler { return http.TimeoutHandler(h, time.Hour, "too late") })
			note := func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					defer close(ended)
					h.ServeHTTP(w, r)
				})
			}
			order := []func(http.Handler) http.Handler{timeout, note, d.sessions.LoadAndSave}
			if inside {
				order = []func(http.Handler) http.Handler{d.sessions.LoadAndSave, timeout, note}
			}
			mux := http.NewServeMux()
			mux.Handle("/", d.sessions.LoadAndSave(routes(d)))
			mux.Handle("/late", with(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				over()
				<-answered
				if err := d.sessions.Regenerate(r.Context()); inside != errors.Is(err, adapter.ErrResponseBegun) { // as a login does
					t.Error(err)
				}
				d.visit(r.Context())
				if _, err := fmt.Fprint(w, "done"); !errors.Is(err, http.ErrHandlerTimeout) {
					t.Error(err)
				}
			}), order...))
			b := browse(t, mux)
			b.visit(1)
			if status, body, cookies := b.do("GET", "/late", ""); status != 503 || cookies != 0 {
				t.Errorf("%d %s, %d cookies", status, body, cookies)
			}
			close(answered)
			<-ended
			if inside {
				b.visit(2)
			} else {
				b.visit(1)
			}
			if got := log.String(); got != "" { // the page says that it is not in the log
				t.Errorf("log: %s", got)
			}
		})
	}
}

// A timeout that ends the context leaves the answer, and the session, to the handler. chi's
// answers 504 for one that does not answer.
func TestTimeouts(t *testing.T) {
	for _, inside := range []bool{true, false} {
		t.Run(fmt.Sprintf("inside=%v", inside), func(t *testing.T) {
			d, log := newDeps(t)
			timeout, over := untilOver(chimiddleware.Timeout(time.Hour))
			order := []func(http.Handler) http.Handler{timeout, d.sessions.LoadAndSave}
			if inside {
				slices.Reverse(order)
			}
			mux := http.NewServeMux()
			mux.Handle("/", d.sessions.LoadAndSave(routes(d)))
			mux.Handle("/late", with(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				over()
				<-r.Context().Done()
				d.visit(r.Context())
			}), order...))
			b := browse(t, mux)
			if status, _, cookies := b.do("GET", "/late", ""); status != 504 || cookies != 1 {
				t.Errorf("%d, %d cookies", status, cookies)
			}
			b.visit(2)
			if got := log.String(); got != "" {
				t.Errorf("log: %s", got)
			}
		})
	}
}

// A log outside has the status that was sent when the session could not be saved, one inside
// that of the handler.
func TestLoggers(t *testing.T) {
	for _, inside := range []bool{true, false} {
		t.Run(fmt.Sprintf("inside=%v", inside), func(t *testing.T) {
			d, _ := newDeps(t)
			requests := &logged{}
			logger := chimiddleware.RequestLogger(&chimiddleware.DefaultLogFormatter{Logger: log.New(requests, "", 0), NoColor: true})
			order, want := []func(http.Handler) http.Handler{logger, d.sessions.LoadAndSave}, " - 503 "
			if inside {
				order, want = []func(http.Handler) http.Handler{d.sessions.LoadAndSave, logger}, " - 200 "
			}
			b := browse(t, with(routes(d), order...))
			d.store.down.Store(true)
			if status, body, cookies := b.do("GET", "/visit", ""); status != 503 || cookies != 0 {
				t.Errorf("%d %s, %d cookies", status, body, cookies)
			}
			if got := requests.String(); !strings.Contains(got, want) {
				t.Errorf("log: %s, want %s", got, want)
			}
		})
	}
}

// A preflight that is answered outside asks no store, and its answer is not private.
func TestCORS(t *testing.T) {
	d, _ := newDeps(t)
	c := cors.New(cors.Options{AllowedOrigins: []string{"https://example.org"}, AllowCredentials: true})
	for inside, order := range map[bool][]func(http.Handler) http.Handler{
		true:  {d.sessions.LoadAndSave, c.Handler},
		false: {c.Handler, d.sessions.LoadAndSave},
	} {
		b := browse(t, with(routes(d), order...))
		r, err := http.NewRequest("OPTIONS", b.url+"/visit", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Origin", "https://example.org")
		r.Header.Set("Access-Control-Request-Method", "GET")
		status, h, _ := b.answer(r)
		if vary := slices.Contains(h["Vary"], "Cookie"); status != 204 || vary != inside {
			t.Errorf("inside=%v: %d, Vary: %q", inside, status, h["Vary"])
		}
	}
}

// net/http closes the connection of a body that is too large where it is given its own writer.
func TestBodyLimits(t *testing.T) {
	limit := func(h http.Handler) http.Handler { return http.MaxBytesHandler(h, 10) }
	for _, inside := range []bool{true, false} {
		d, _ := newDeps(t)
		order := []func(http.Handler) http.Handler{limit, d.sessions.LoadAndSave}
		if inside {
			order = []func(http.Handler) http.Handler{d.sessions.LoadAndSave, limit}
		}
		b := browse(t, with(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); err != nil {
				http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
			}
		}), order...))
		r, err := http.NewRequest("POST", b.url, strings.NewReader(strings.Repeat("x", 1000)))
		if err != nil {
			t.Fatal(err)
		}
		if status, h, _ := b.answer(r); status != 413 || (h.Get("Connection") == "close") == inside {
			t.Errorf("inside=%v: %d, Connection: %q", inside, status, h.Get("Connection"))
		}
	}
}

// A middleware that keeps a copy of the response leaves the cookie alone, where it is.
func TestBodyDumps(t *testing.T) {
	for name, app := range map[string]func(d *deps) http.Handler{
		"Echo 4, outside": func(d *deps) http.Handler {
			return with4(d, echo4middleware.BodyDump(func(echo4.Context, []byte, []byte) {}), echo4.WrapMiddleware(d.sessions.LoadAndSave))
		},
		"Echo 4, inside": func(d *deps) http.Handler {
			return with4(d, echo4.WrapMiddleware(d.sessions.LoadAndSave), echo4middleware.BodyDump(func(echo4.Context, []byte, []byte) {}))
		},
		"Echo 5, outside": func(d *deps) http.Handler {
			return with5(d, middleware.BodyDump(func(*echo.Context, []byte, []byte, error) {}), echo.WrapMiddleware(d.sessions.LoadAndSave))
		},
		"Echo 5, inside": func(d *deps) http.Handler {
			return with5(d, echo.WrapMiddleware(d.sessions.LoadAndSave), middleware.BodyDump(func(*echo.Context, []byte, []byte, error) {}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, log := newDeps(t)
			b := browse(t, app(d))
			b.visit(1)
			b.visit(2)
			if got := log.String(); got != "" {
				t.Errorf("log: %s", got)
			}
		})
	}
}

// Echo answers an error after its middlewares: what the handler changed is saved by then, and
// the cookie set; what the error handler changes takes a Save, or LoadAndSave around all of Echo.
func TestEchoErrorHandlers(t *testing.T) {
	e4 := func(d *deps, save bool, middlewares ...echo4.MiddlewareFunc) http.Handler {
		e := with4(d, middlewares...)
		e.GET("/error", func(c echo4.Context) error { d.visit(c.Request().Context()); return errors.New("a failure") })
		e.HTTPErrorHandler = func(_ error, c echo4.Context) {
			d.visit(c.Request().Context())
			if save {
				_ = d.sessions.Save(c.Request().Context())
			}
			_ = c.String(500, "sorry")
		}
		return e
	}
	e5 := func(d *deps, save bool, middlewares ...echo.MiddlewareFunc) http.Handler {
		e := with5(d, middlewares...)
		e.GET("/error", func(c *echo.Context) error { d.visit(c.Request().Context()); return errors.New("a failure") })
		e.HTTPErrorHandler = func(c *echo.Context, _ error) {
			d.visit(c.Request().Context())
			if save {
				_ = d.sessions.Save(c.Request().Context())
			}
			_ = c.String(500, "sorry")
		}
		return e
	}
	for _, c := range []struct {
		name string
		app  func(d *deps) http.Handler
		want int // the visit after it
	}{
		{"Echo 4", func(d *deps) http.Handler { return e4(d, false, echo4.WrapMiddleware(d.sessions.LoadAndSave)) }, 2},
		{"Echo 4, which saves", func(d *deps) http.Handler { return e4(d, true, echo4.WrapMiddleware(d.sessions.LoadAndSave)) }, 3},
		{"around Echo 4", func(d *deps) http.Handler { return d.sessions.LoadAndSave(e4(d, false)) }, 3},
		{"Echo 5", func(d *deps) http.Handler { return e5(d, false, echo.WrapMiddleware(d.sessions.LoadAndSave)) }, 2},
		{"Echo 5, which saves", func(d *deps) http.Handler { return e5(d, true, echo.WrapMiddleware(d.sessions.LoadAndSave)) }, 3},
		{"around Echo 5", func(d *deps) http.Handler { return d.sessions.LoadAndSave(e5(d, false)) }, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, _ := newDeps(t)
			b := browse(t, c.app(d))
			if status, body, cookies := b.do("GET", "/error", ""); status != 500 || body != "sorry" || cookies != 1 {
				t.Errorf("%d %s, %d cookies", status, body, cookies)
			}
			b.visit(c.want)
			d.store.down.Store(true)
			if status, body, _ := b.do("GET", "/error", ""); status != 503 || strings.Contains(body, "sorry") {
				t.Errorf("with the store down: %d %s", status, body)
			}
		})
	}
}

// A handler for what no route matches has a session in chi and in Echo, and none in gorilla/mux,
// which says so, unless it is wrapped.
func TestNotFound(t *testing.T) {
	visit := func(d *deps) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, d.visit(r.Context())) }
	}
	for name, app := range map[string]func(d *deps) http.Handler{
		"chi": func(d *deps) http.Handler {
			r := chi.NewRouter()
			r.Use(d.sessions.LoadAndSave)
			r.Get("/", visit(d))
			r.NotFound(visit(d))
			return r
		},
		"Echo 4": func(d *deps) http.Handler {
			e := echo4.New()
			e.Use(echo4.WrapMiddleware(d.sessions.LoadAndSave))
			e.RouteNotFound("/*", echo4.WrapHandler(visit(d)))
			return e
		},
		"Echo 5": func(d *deps) http.Handler {
			e := echo.New()
			e.Use(echo.WrapMiddleware(d.sessions.LoadAndSave))
			e.RouteNotFound("/*", echo.WrapHandler(visit(d)))
			return e
		},
		"gorilla/mux, wrapped": func(d *deps) http.Handler {
			r := mux.NewRouter()
			r.Use(d.sessions.LoadAndSave)
			r.HandleFunc("/", visit(d))
			r.NotFoundHandler = d.sessions.LoadAndSave(visit(d))
			return r
		},
		"gorilla/mux, around": func(d *deps) http.Handler {
			r := mux.NewRouter()
			r.HandleFunc("/", visit(d))
			r.NotFoundHandler = visit(d)
			return d.sessions.LoadAndSave(r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, _ := newDeps(t)
			b := browse(t, app(d))
			b.do("GET", "/nowhere", "")
			if status, body, _ := b.do("GET", "/nowhere", ""); status != 200 || body != "2" {
				t.Errorf("%d %s", status, body)
			}
		})
	}
	t.Run("gorilla/mux", func(t *testing.T) {
		d, _ := newDeps(t)
		r := mux.NewRouter()
		r.Use(d.sessions.LoadAndSave)
		r.HandleFunc("/", visit(d))
		r.NotFoundHandler = visit(d)
		defer namesPage(t)
		r.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/nowhere", nil))
	})
}

// namesPage recovers, and looks for the page in the reason.
func namesPage(t *testing.T) {
	t.Helper()
	if got := fmt.Sprint(recover()); !strings.Contains(got, "docs/frameworks.md") {
		t.Errorf("the panic does not name the page: %s", got)
	}
}

func TestNoLoadAndSave(t *testing.T) {
	d, _ := newDeps(t)
	defer namesPage(t)
	d.visit(t.Context())
}

// A response that goes around the writer is in the log.
func TestGoesAround(t *testing.T) {
	d, log := newDeps(t)
	b := browse(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		outer := chimiddleware.NewWrapResponseWriter(w, 1)
		d.sessions.LoadAndSave(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			d.visit(r.Context())
			fmt.Fprint(outer, "text") // and not to the writer that it was given
		})).ServeHTTP(outer, r)
	}))
	if _, _, cookies := b.do("GET", "/", ""); cookies != 0 {
		t.Errorf("%d cookies", cookies)
	}
	if got := log.String(); !strings.Contains(got, "level=ERROR") || !strings.Contains(got, goesAround) {
		t.Errorf("log: %s", got)
	}
}

// The pattern that a ServeMux inside finds is not on the request that is outside.
func TestPattern(t *testing.T) {
	d, _ := newDeps(t)
	mux := http.NewServeMux()
	inside := make(chan string, 1)
	mux.HandleFunc("GET /visit", func(_ http.ResponseWriter, r *http.Request) { inside <- r.Pattern })
	r := httptest.NewRequest("GET", "/visit", nil)
	d.sessions.LoadAndSave(mux).ServeHTTP(httptest.NewRecorder(), r)
	if got := <-inside; got != "GET /visit" || r.Pattern != "" {
		t.Errorf("inside %q, outside %q", got, r.Pattern)
	}
}

// connect's own recover is inside, and answers later: it must unset the session.
func TestConnectRecover(t *testing.T) {
	for _, unset := range []bool{true, false} {
		t.Run(fmt.Sprintf("unset=%v", unset), func(t *testing.T) {
			d, _ := newDeps(t)
			const path = "/visits.v1.Visits/Panic"
			mux := routes(d)
			mux.Handle(path, connect.NewUnaryHandler(path,
				func(ctx context.Context, _ *connect.Request[emptypb.Empty]) (*connect.Response[emptypb.Empty], error) {
					d.visit(ctx)
					panic("a mistake")
				}, connect.WithRecover(func(ctx context.Context, _ connect.Spec, _ http.Header, _ any) error {
					if unset {
						d.sessions.Unset(ctx)
					}
					return connect.NewError(connect.CodeInternal, nil)
				})))
			b := browse(t, d.sessions.LoadAndSave(mux))
			b.visit(1)
			client := connect.NewClient[emptypb.Empty, emptypb.Empty](b.client, b.url+path)
			if _, err := client.CallUnary(t.Context(), connect.NewRequest(&emptypb.Empty{})); connect.CodeOf(err) != connect.CodeInternal {
				t.Error(err)
			}
			if unset {
				b.visit(2)
			} else {
				b.visit(3)
			}
		})
	}
}

// A stream of connect's has begun with its first message.
func TestConnectStream(t *testing.T) {
	for _, save := range []bool{true, false} {
		t.Run(fmt.Sprintf("save=%v", save), func(t *testing.T) {
			d, log := newDeps(t)
			const path = "/visits.v1.Visits/Watch"
			mux := routes(d)
			mux.Handle(path, connect.NewServerStreamHandler(path,
				func(ctx context.Context, _ *connect.Request[emptypb.Empty], s *connect.ServerStream[wrapperspb.Int64Value]) error {
					for range 2 {
						n := d.visit(ctx)
						if save {
							if err := d.sessions.Save(ctx); err != nil {
								return err
							}
						}
						if err := s.Send(wrapperspb.Int64(int64(n))); err != nil {
							return err
						}
					}
					return nil
				}))
			b := browse(t, d.sessions.LoadAndSave(mux))
			client := connect.NewClient[emptypb.Empty, wrapperspb.Int64Value](b.client, b.url+path)
			stream, err := client.CallServerStream(t.Context(), connect.NewRequest(&emptypb.Empty{}))
			if err != nil {
				t.Fatal(err)
			}
			var got []int64
			for stream.Receive() {
				got = append(got, stream.Msg().Value)
			}
			if err := errors.Join(stream.Err(), stream.Close()); err != nil || !slices.Equal(got, []int64{1, 2}) {
				t.Errorf("%v, %v", got, err)
			}
			if save {
				b.visit(3)
			} else {
				b.visit(2)
			}
			if got := log.String(); save != (got == "") || !save && (!strings.Contains(got, lateChange) || !strings.Contains(got, "route="+path)) {
				t.Errorf("log: %s", got)
			}
		})
	}
}
