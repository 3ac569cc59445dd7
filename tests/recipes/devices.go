package recipes

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
)

// Devices is for a Manager with UserPath, and an Auth with NoteDevice.
func Devices(sessions *adapter.Manager, users *auth.Auth[User]) http.Handler {
	with := func(do func(context.Context, auth.Account, *http.Request) (any, error)) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var answer any
			account, err := users.Account(r.Context())
			if err == nil {
				answer, err = do(r.Context(), account, r)
			}
			if err != nil {
				sessions.ErrorFunc(w, r, err)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(answer)
		})
	}
	fresh := users.Fresh(10 * time.Minute) // to end sessions, users give their password again (OWASP ASVS 7.5.2)
	mux := http.NewServeMux()
	mux.Handle("GET /devices", users.Restricted(with(func(ctx context.Context, a auth.Account, _ *http.Request) (any, error) {
		return a.Sessions(ctx)
	})))
	mux.Handle("POST /devices/{handle}/end", fresh(with(func(ctx context.Context, a auth.Account, r *http.Request) (any, error) {
		return a.End(ctx, r.PathValue("handle"))
	})))
	mux.Handle("POST /devices/end-others", fresh(with(func(ctx context.Context, a auth.Account, _ *http.Request) (any, error) {
		return a.EndOthers(ctx)
	})))
	mux.Handle("POST /devices/end-all", fresh(with(func(ctx context.Context, a auth.Account, _ *http.Request) (any, error) {
		return a.EndAll(ctx)
	})))
	return http.NewCrossOriginProtection().Handler(mux)
}
