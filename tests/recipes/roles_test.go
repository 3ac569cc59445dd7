//go:build unix

package recipes

import (
	"errors"
	"net/http"
	"testing"

	"github.com/samesid/samesid/auth"
)

func TestRequireRole(t *testing.T) {
	p, sessions, users := newPeople(t, auth.Options{})
	mux := http.NewServeMux()
	mux.Handle("POST /login", users.Login())
	mux.Handle("GET /admin", RequireRole(users, "admin", hello(users)))
	visitor := serve(t, sessions.LoadAndSave(mux))
	visitor().want(http.StatusUnauthorized, "", "GET", "/admin", "")
	ada, bob := visitor(), visitor()
	ada.login(http.StatusOK, "ada", password)
	bob.login(http.StatusOK, "bob", password)

	ada.want(http.StatusOK, "hello ada", "GET", "/admin", "")
	bob.want(http.StatusForbidden, "", "GET", "/admin", "")
	p.set(1, func(u *User) { u.Role = "user" })
	p.set(2, func(u *User) { u.Role = "admin" })
	ada.want(http.StatusForbidden, "", "GET", "/admin", "")
	bob.want(http.StatusOK, "hello bob", "GET", "/admin", "")

	p.fail(errors.New("the users' database is down"))
	bob.want(http.StatusInternalServerError, "", "GET", "/admin", "")
	p.fail(nil)
	p.set(2, func(u *User) { u.version++ })
	bob.want(http.StatusUnauthorized, "", "GET", "/admin", "")
}
