package recipes

import (
	"net/http"

	"github.com/rs/cors"

	"github.com/samesid/samesid/adapter"
)

// SPASessions is given the app's own options: the secrets, the store.
func SPASessions(o adapter.Options) (*adapter.Manager, error) {
	o.Cookie = adapter.Cookie{SameSite: adapter.SameSiteNone, Secure: adapter.SecureAlways}
	return adapter.New(o)
}

// SPA serves an API to the pages of one origin, such as https://app.example.com.
func SPA(sessions *adapter.Manager, api http.Handler, origin string) (http.Handler, error) {
	csrf := http.NewCrossOriginProtection()
	if err := csrf.AddTrustedOrigin(origin); err != nil {
		return nil, err
	}
	allow := cors.New(cors.Options{
		AllowedOrigins:   []string{origin}, // exact: with cookies, a wildcard hands every site its visitors' data
		AllowCredentials: true,
		AllowedMethods:   []string{"GET", "POST", "PUT", "PATCH", "DELETE"},
		AllowedHeaders:   []string{"Content-Type"},
		MaxAge:           600, // seconds
	})
	// Outermost, it answers preflights without a session, and lets the page read a 503 of LoadAndSave.
	return allow.Handler(csrf.Handler(sessions.LoadAndSave(api))), nil
}
