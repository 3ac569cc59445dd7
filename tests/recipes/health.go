package recipes

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/samesid/samesid/backends"
)

// Health adds the checks to a mux outside of LoadAndSave: they have no session.
func Health(mux *http.ServeMux, store backends.Store) {
	mux.HandleFunc("GET /livez", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		if err := store.Ping(ctx); err != nil {
			slog.WarnContext(ctx, "not ready", "error", err) // and not to the client
			http.Error(w, "the session store does not answer", http.StatusServiceUnavailable)
		}
	})
}
