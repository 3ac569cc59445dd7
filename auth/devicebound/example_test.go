package devicebound_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
	"github.com/samesid/samesid/auth/devicebound"
)

// Sessions are bound to the browsers that can, and what is worth most takes one that can:
// a route for everybody, and all routes for administrators.
func Example() {
	m := adapter.MustNew(adapter.Options{Secrets: []string{"a secret of at least thirty-two bytes"}})
	bound, err := devicebound.New(m, devicebound.Options{})
	if err != nil {
		panic(err)
	}
	verify := func(_ context.Context, username, _ string) (string, error) { return username, nil }
	a, err := auth.New(m, verify, auth.Options{Binding: bound})
	if err != nil {
		panic(err)
	}
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "in") })
	restricted := func(next http.Handler) http.Handler {
		return a.Restricted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if user, _ := a.User(r.Context()); user == "admin" {
				bound.Require(next).ServeHTTP(w, r)
				return
			}
			next.ServeHTTP(w, r)
		}))
	}

	mux := http.NewServeMux()
	mux.Handle("POST /device-bound/", bound)
	mux.Handle("POST /login", a.Login())
	mux.Handle("POST /logout", a.Logout())
	mux.Handle("GET /account", restricted(page))
	mux.Handle("POST /transfer", a.Restricted(bound.Require(page)))

	// A program registers no key.
	server := httptest.NewServer(m.LoadAndSave(mux))
	defer server.Close()
	for _, user := range []string{"ada", "admin"} {
		res, err := http.Post(server.URL+"/login", "application/json", strings.NewReader(`{"username":"`+user+`","password":"x"}`))
		if err != nil {
			panic(err)
		}
		res.Body.Close()
		offer, _, _ := strings.Cut(res.Header.Get("Secure-Session-Registration"), ";challenge")
		fmt.Println(user, offer)
		for _, route := range []string{"GET /account", "POST /transfer"} {
			method, path, _ := strings.Cut(route, " ")
			r, _ := http.NewRequest(method, server.URL+path, nil)
			r.AddCookie(res.Cookies()[0])
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				panic(err)
			}
			res.Body.Close()
			fmt.Println(user, route, res.StatusCode)
		}
	}
	// Output:
	// ada (ES256 RS256);path="/device-bound/register"
	// ada GET /account 200
	// ada POST /transfer 403
	// admin (ES256 RS256);path="/device-bound/register"
	// admin GET /account 403
	// admin POST /transfer 403
}

// A login route of the app's own, such as that of a provider's callback, offers the binding
// once it has signed the user in, and nowhere else.
func ExampleBinding_Offer() {
	m := adapter.MustNew(adapter.Options{Secrets: []string{"a secret of at least thirty-two bytes"}})
	bound, err := devicebound.New(m, devicebound.Options{})
	if err != nil {
		panic(err)
	}
	verify := func(context.Context, string, string) (string, error) { return "", auth.ErrInvalid }
	a, err := auth.New(m, verify, auth.Options{Binding: bound})
	if err != nil {
		panic(err)
	}
	callback := func(w http.ResponseWriter, r *http.Request) {
		if err := a.SignIn(r.Context(), "ada"); err != nil {
			m.ErrorFunc(w, r, err)
			return
		}
		bound.Offer(w, r)
		http.Redirect(w, r, "/", http.StatusSeeOther)
	}
	w := httptest.NewRecorder()
	m.LoadAndSave(http.HandlerFunc(callback)).ServeHTTP(w, httptest.NewRequest("GET", "/callback", nil))
	fmt.Println(w.Code, w.Header().Get("Secure-Session-Registration") != "")
	// Output: 303 true
}
