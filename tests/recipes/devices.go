package recipes

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
)

// Devices adds the routes to a mux inside of LoadAndSave. It is for a Manager with UserPath, and
// an Auth with NoteDevice.
func Devices(mux *http.ServeMux, sessions *adapter.Manager, users *auth.Auth[User]) {
	csrf := http.NewCrossOriginProtection()
	handle := func(pattern string, guard func(http.Handler) http.Handler, do func(auth.Account, *http.Request) (any, error)) {
		mux.Handle(pattern, csrf.Handler(guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var answer any
			account, err := users.Account(r.Context())
			if err == nil {
				answer, err = do(account, r)
			}
			if err != nil {
				sessions.ErrorFunc(w, r, err)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(answer)
		}))))
	}
	handle("GET /devices", users.Restricted, func(a auth.Account, r *http.Request) (any, error) { return a.Sessions(r.Context()) })
	fresh := users.Fresh(10 * time.Minute) // to end sessions, users give their password again (OWASP ASVS 7.5.2)
	handle("POST /devices/{handle}/end", fresh, func(a auth.Account, r *http.Request) (any, error) {
		return a.End(r.Context(), r.PathValue("handle"))
	})
	handle("POST /devices/end-others", fresh, func(a auth.Account, r *http.Request) (any, error) { return a.EndOthers(r.Context()) })
	handle("POST /devices/end-all", fresh, func(a auth.Account, r *http.Request) (any, error) { return a.EndAll(r.Context()) })
}
