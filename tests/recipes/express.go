package recipes

import (
	"cmp"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/samesid/samesid/adapter"
)

// CSURFToken returns the token that csurf makes of a secret and a salt. The salt has no "-".
func CSURFToken(secret, salt string) string {
	sum := sha1.Sum([]byte(salt + "-" + secret))
	return salt + "-" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// CSURF refuses what csurf does: a POST, say, without a token of the session's secret.
func CSURF(sessions *adapter.Manager, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet, http.MethodHead, http.MethodOptions:
			next.ServeHTTP(w, r)
			return
		}
		secret := sessions.GetString(r.Context(), "csrfSecret")
		token := cmp.Or(r.PostFormValue("_csrf"), r.Header.Get("CSRF-Token"), r.Header.Get("X-CSRF-Token"), r.Header.Get("X-XSRF-Token"))
		salt, _, _ := strings.Cut(token, "-")
		if secret == "" || subtle.ConstantTimeCompare([]byte(token), []byte(CSURFToken(secret, salt))) != 1 {
			http.Error(w, "invalid csrf token", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}
