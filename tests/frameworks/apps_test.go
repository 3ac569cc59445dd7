package frameworks

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"

	"connectrpc.com/connect"
	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	chimiddleware "github.com/go-chi/chi/v5/middleware"
	"github.com/gorilla/mux"
	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
)

// user is who is signed in.
type user struct {
	ID int `json:"id"`
}

// deps are what every app has.
type deps struct {
	sessions *adapter.Manager
	users    *auth.Auth[user]
	store    *store
}

// visit counts in the session.
func (d *deps) visit(ctx context.Context) int {
	n := d.sessions.GetInt(ctx, "visits") + 1
	d.sessions.Put(ctx, "visits", n)
	return n
}

func (d *deps) protected(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprint(w, "You are authorized")
}

// apps make the handler of each app. All have POST /login and /logout, and GET /visit, /panic,
// /error and /protected.
var apps = map[string]func(d *deps) http.Handler{
	"chi": newChi, "gorilla/mux": newMux, "Echo 4": newEcho4, "Echo 5": newEcho5, "huma": newHuma, "connect": newConnect,
	"grpc-gateway": newGateway, "templ": newTempl,
}

func newMux(d *deps) http.Handler {
	sessions, users := d.sessions, d.users
	visit := func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, d.visit(r.Context())) }
	recoverer := chimiddleware.Recoverer // gorilla/mux has none

	r := mux.NewRouter()
	r.Use(recoverer, sessions.LoadAndSave)
	r.HandleFunc("/visit", visit).Methods("GET")
	r.Handle("/login", users.Login()).Methods("POST")
	r.Handle("/logout", users.Logout()).Methods("POST")
	account := r.PathPrefix("/protected").Subrouter()
	account.Use(users.Restricted)
	account.HandleFunc("", d.protected)

	r.HandleFunc("/panic", func(_ http.ResponseWriter, r *http.Request) { d.visit(r.Context()); panic("a mistake") })
	r.HandleFunc("/error", func(w http.ResponseWriter, r *http.Request) {
		d.visit(r.Context())
		http.Error(w, "in conflict", http.StatusConflict)
	})
	return r
}

func newEcho5(d *deps) http.Handler {
	sessions, users := d.sessions, d.users
	visit := func(c *echo.Context) error {
		return c.String(http.StatusOK, fmt.Sprint(d.visit(c.Request().Context())))
	}
	protected := echo.WrapHandler(http.HandlerFunc(d.protected))

	e := echo.New()
	e.Use(middleware.Recover(), middleware.Gzip())
	e.Use(echo.WrapMiddleware(sessions.LoadAndSave))
	e.GET("/visit", visit)
	e.POST("/login", echo.WrapHandler(users.Login()))
	e.POST("/logout", echo.WrapHandler(users.Logout()))
	e.GET("/protected", protected, echo.WrapMiddleware(users.Restricted))

	e.Logger = slog.New(slog.DiscardHandler)
	e.GET("/panic", func(c *echo.Context) error { d.visit(c.Request().Context()); panic("a mistake") })
	e.GET("/error", func(c *echo.Context) error {
		d.visit(c.Request().Context())
		return echo.NewHTTPError(http.StatusConflict, "in conflict")
	})
	return e
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

// humaVisits is what an operation answers.
type humaVisits struct {
	Body struct {
		Visits int `json:"visits"`
	}
}

func newHuma(d *deps) http.Handler {
	sessions, users := d.sessions, d.users

	mux := http.NewServeMux()
	api := humago.New(mux, huma.DefaultConfig("Visits", "1.0.0"))
	huma.Get(api, "/visit", func(ctx context.Context, _ *struct{}) (*humaVisits, error) {
		out := &humaVisits{}
		out.Body.Visits = d.visit(ctx) // the session is in an operation's context
		return out, nil
	})
	signedIn := func(c huma.Context, next func(huma.Context)) {
		if _, err := users.User(c.Context()); err != nil {
			_ = huma.WriteErr(api, c, http.StatusUnauthorized, "Invalid Credentials")
			return
		}
		next(c)
	}
	account := func(o *huma.Operation) { o.Middlewares = append(o.Middlewares, signedIn) }
	huma.Get(api, "/account", func(ctx context.Context, _ *struct{}) (*humaVisits, error) {
		u, err := users.User(ctx)
		out := &humaVisits{}
		out.Body.Visits = u.ID
		return out, err
	}, account)
	mux.Handle("POST /login", users.Login())
	mux.Handle("POST /logout", users.Logout())
	mux.Handle("GET /protected", users.Restricted(http.HandlerFunc(d.protected)))
	handler := sessions.LoadAndSave(mux)

	huma.Get(api, "/panic", func(ctx context.Context, _ *struct{}) (*struct{}, error) { d.visit(ctx); panic("a mistake") })
	huma.Get(api, "/error", func(ctx context.Context, _ *struct{}) (*struct{}, error) {
		d.visit(ctx)
		return nil, huma.Error409Conflict("in conflict")
	})
	return chimiddleware.Recoverer(handler)
}

func newConnect(d *deps) http.Handler {
	sessions, users := d.sessions, d.users

	signedIn := connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
			if _, err := users.User(ctx); err != nil {
				return nil, connect.NewError(connect.CodeUnauthenticated, err)
			}
			return next(ctx, r)
		}
	})
	mux := http.NewServeMux()
	mux.Handle("/visits.v1.Visits/Account", connect.NewUnaryHandler("/visits.v1.Visits/Account",
		func(ctx context.Context, _ *connect.Request[emptypb.Empty]) (*connect.Response[wrapperspb.Int64Value], error) {
			u, err := users.User(ctx)
			return connect.NewResponse(wrapperspb.Int64(int64(u.ID))), err
		}, connect.WithInterceptors(signedIn)))
	mux.Handle("POST /login", users.Login())
	mux.Handle("POST /logout", users.Logout())
	handler := sessions.LoadAndSave(mux)

	mux.Handle("GET /protected", users.Restricted(http.HandlerFunc(d.protected)))
	unary := func(path string, do func(ctx context.Context) error) {
		mux.Handle(path, connect.NewUnaryHandler(path, func(ctx context.Context, _ *connect.Request[emptypb.Empty]) (*connect.Response[wrapperspb.Int64Value], error) {
			n := d.visit(ctx)
			return connect.NewResponse(wrapperspb.Int64(int64(n))), do(ctx)
		}, connect.WithIdempotency(connect.IdempotencyNoSideEffects)))
	}
	unary("/visit", func(context.Context) error { return nil })
	unary("/panic", func(context.Context) error { panic("a mistake") })
	unary("/error", func(context.Context) error { return connect.NewError(connect.CodeAlreadyExists, nil) })
	return chimiddleware.Recoverer(handler)
}
