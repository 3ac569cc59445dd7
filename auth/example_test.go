package auth_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
)

// A User holds what handlers need to know about a user.
type User struct {
	Name string `json:"name"`
}

// A server with a login, a page for signed-in users, and a logout.
func Example() {
	hash, err := auth.HashPassword("correct horse battery staple")
	if err != nil {
		log.Fatal(err)
	}
	verify := auth.Passwords(func(_ context.Context, username string) (User, string, error) {
		if username != "ada" {
			return User{}, "", auth.ErrInvalid
		}
		return User{Name: "Ada"}, hash, nil // from a database, say
	})

	sessions, err := adapter.New(adapter.Options{Secrets: []string{"32 random bytes, from a safe place"}})
	if err != nil {
		log.Fatal(err)
	}
	users, err := auth.New(sessions, verify, auth.Options{})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/login", users.Login())
	mux.Handle("/logout", users.Logout())
	mux.Handle("/protected", users.Restricted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := users.User(r.Context())
		fmt.Fprintf(w, "Hello, %s", user.Name)
	})))

	server := httptest.NewServer(sessions.LoadAndSave(mux))
	defer server.Close()
	client := newClient()
	get(client, server.URL+"/protected")
	post(client, server.URL+"/login", `{"username":"ada","password":"wrong"}`)
	post(client, server.URL+"/login", `{"username":"ada","password":"correct horse battery staple"}`)
	get(client, server.URL+"/protected")
	post(client, server.URL+"/logout", "")
	get(client, server.URL+"/protected")
	// Output:
	// 401 {"message":"Invalid Credentials"}
	// 401 {"message":"Invalid Credentials"}
	// 200 {"message":"You are logged in"}
	// 200 Hello, Ada
	// 200 {"message":"You are logged out"}
	// 401 {"message":"Invalid Credentials"}
}

// SignInWith for a user whom an identity provider has verified, with the time and the
// methods that it says, and with the visitor's cart.
func ExampleAuth_SignInWith() {
	sessions, users := exampleAuth(auth.Options{Keep: []string{"cart"}})
	mux := http.NewServeMux()
	mux.HandleFunc("/cart", func(w http.ResponseWriter, r *http.Request) {
		sessions.Put(r.Context(), "cart", "apples")
		fmt.Fprint(w, "in the cart")
	})
	mux.HandleFunc("/callback", func(w http.ResponseWriter, r *http.Request) {
		// Here the provider's answer would be checked.
		err := users.SignInWith(r.Context(), User{Name: "Ada"}, auth.SignInOptions{
			At:      time.Now().Add(-time.Minute),
			Methods: []string{"pwd", "otp", "mfa"},
		})
		if err != nil {
			sessions.ErrorFunc(w, r, err)
			return
		}
		fmt.Fprint(w, "signed in")
	})
	mux.Handle("/order", users.Fresh(5*time.Minute, "mfa")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := users.User(r.Context())
		fmt.Fprintf(w, "%s orders %s", user.Name, sessions.GetString(r.Context(), "cart"))
	})))

	server := httptest.NewServer(sessions.LoadAndSave(mux))
	defer server.Close()
	client := newClient()
	get(client, server.URL+"/cart")
	get(client, server.URL+"/callback")
	get(client, server.URL+"/order")
	// Output:
	// 200 in the cart
	// 200 signed in
	// 200 Ada orders apples
}

// A page that asks for the password again if the last login is too old.
func ExampleAuth_Fresh() {
	sessions, users := exampleAuth(auth.Options{})
	changePassword := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "changed")
	})
	mux := http.NewServeMux()
	mux.Handle("/password", users.Fresh(5*time.Minute)(changePassword))
	mux.HandleFunc("/an-hour-ago", func(w http.ResponseWriter, r *http.Request) {
		err := users.SignInWith(r.Context(), User{Name: "Ada"}, auth.SignInOptions{At: time.Now().Add(-time.Hour)})
		if err != nil {
			sessions.ErrorFunc(w, r, err)
		}
	})
	mux.Handle("/login", users.Login())

	server := httptest.NewServer(sessions.LoadAndSave(mux))
	defer server.Close()
	client := newClient()
	get(client, server.URL+"/an-hour-ago")
	post(client, server.URL+"/password", "")
	post(client, server.URL+"/login", `{"username":"ada","password":"secret"}`)
	post(client, server.URL+"/password", "")
	// Output:
	// 200
	// 401 {"message":"Sign In Again"}
	// 200 {"message":"You are logged in"}
	// 200 changed
}

func exampleAuth(o auth.Options) (*adapter.Manager, *auth.Auth[User]) {
	sessions, err := adapter.New(adapter.Options{Secrets: []string{"32 random bytes, from a safe place"}})
	if err != nil {
		log.Fatal(err)
	}
	users, err := auth.New(sessions, func(_ context.Context, username, password string) (User, error) {
		if username == "ada" && password == "secret" {
			return User{Name: "Ada"}, nil
		}
		return User{}, auth.ErrInvalid
	}, o)
	if err != nil {
		log.Fatal(err)
	}
	return sessions, users
}

func newClient() *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	return &http.Client{Jar: jar}
}

func get(client *http.Client, url string) { show(client.Get(url)) }

func post(client *http.Client, url, body string) {
	show(client.Post(url, "application/json", strings.NewReader(body)))
}

func show(res *http.Response, err error) {
	if err != nil {
		log.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(strings.TrimSpace(fmt.Sprint(res.StatusCode, " ", string(body))))
}
