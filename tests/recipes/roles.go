package recipes

import (
	"net/http"

	"github.com/samesid/samesid/auth"
)

// RequireRole admits users who have the role now, whatever they had when they signed in.
func RequireRole(users *auth.Auth[User], role string, next http.Handler) http.Handler {
	return users.Restricted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, err := users.User(r.Context()); err != nil || user.Role != role {
			http.Error(w, "Forbidden", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	}))
}
