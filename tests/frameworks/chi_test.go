package frameworks

import (
	"fmt"
	"net/http"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
)

func newChi(d *deps) http.Handler {
	sessions, users := d.sessions, d.users
	visit := func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, d.visit(r.Context())) }

	r := chi.NewRouter()
	r.Use(middleware.Recoverer, middleware.Compress(5))
	r.Use(sessions.LoadAndSave)
	r.Get("/visit", visit)
	r.Method("POST", "/login", users.Login())
	r.Method("POST", "/logout", users.Logout())
	r.With(users.Restricted).Get("/protected", d.protected)

	r.Get("/panic", func(_ http.ResponseWriter, r *http.Request) { d.visit(r.Context()); panic("a mistake") })
	r.Get("/error", func(w http.ResponseWriter, r *http.Request) {
		d.visit(r.Context())
		http.Error(w, "in conflict", http.StatusConflict)
	})
	return r
}
