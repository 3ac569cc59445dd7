package auth_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
)

// "Remember me": a user who ticks it stays signed in for a month after each visit; anybody
// else, until the browser is closed.
func ExampleOptions_rememberFor() {
	sessions, users := exampleAuth(auth.Options{RememberFor: 30 * 24 * time.Hour})
	server := httptest.NewServer(sessions.LoadAndSave(users.Login()))
	defer server.Close()

	for _, remember := range []string{"false", "true"} {
		res, err := http.Post(server.URL, "application/json", strings.NewReader(`{"username":"ada","password":"secret","remember":`+remember+`}`))
		if err != nil {
			log.Fatal(err)
		}
		res.Body.Close()
		fmt.Println(remember, res.Cookies()[0].MaxAge)
	}
	// Output:
	// false 0
	// true 2592000
}

// A second factor: the first step keeps the name in the visitor's session, the second has
// an Auth of its own, so that codes have their own limit of attempts.
func ExampleHook() {
	sessions, users := exampleAuth(auth.Options{})
	codes, err := auth.New(sessions, func(_ context.Context, username, code string) (User, error) {
		if username != "Ada" || code != "123456" { // here the code would be computed
			return User{}, auth.ErrInvalid
		}
		return User{Name: username}, nil
	}, auth.Options{Attempts: 5})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/login", users.Login(func(w http.ResponseWriter, r *http.Request, user User, _ *auth.SignInOptions) bool {
		sessions.Put(r.Context(), "pending", user.Name)
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprint(w, "the code?")
		return true
	}))
	mux.HandleFunc("/code", func(w http.ResponseWriter, r *http.Request) {
		user, err := codes.Attempt(r, sessions.GetString(r.Context(), "pending"), r.FormValue("code"))
		if err != nil {
			http.Error(w, "wrong code", http.StatusUnauthorized)
			return
		}
		err = users.SignInWith(r.Context(), user, auth.SignInOptions{Methods: []string{"pwd", "otp", "mfa"}})
		if err != nil {
			sessions.ErrorFunc(w, r, err)
			return
		}
		fmt.Fprint(w, "signed in")
	})
	mux.Handle("/me", users.Restricted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := users.User(r.Context())
		fmt.Fprintf(w, "Hello, %s", user.Name)
	})))

	server := httptest.NewServer(sessions.LoadAndSave(mux))
	defer server.Close()
	client := newClient()
	post(client, server.URL+"/login", `{"username":"ada","password":"secret"}`)
	get(client, server.URL+"/me")
	get(client, server.URL+"/code?code=000000")
	get(client, server.URL+"/code?code=123456")
	get(client, server.URL+"/me")
	// Output:
	// 202 the code?
	// 401 {"message":"Invalid Credentials"}
	// 401 wrong code
	// 200 signed in
	// 200 Hello, Ada
}

// A field beside the credentials, which the Verifier reads.
func ExampleField() {
	sessions, err := adapter.New(adapter.Options{Secrets: []string{"32 random bytes, from a safe place"}})
	if err != nil {
		log.Fatal(err)
	}
	users, err := auth.New(sessions, func(ctx context.Context, username, password string) (User, error) {
		if auth.Field[string](ctx, "tenant") != "acme" || username != "ada" || password != "secret" {
			return User{}, auth.ErrInvalid
		}
		return User{Name: "Ada"}, nil
	}, auth.Options{Fields: []string{"tenant"}})
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(sessions.LoadAndSave(users.Login()))
	defer server.Close()
	post(newClient(), server.URL, `{"username":"ada","password":"secret","tenant":"acme"}`)
	post(newClient(), server.URL, `{"username":"ada","password":"secret"}`)
	// Output:
	// 200 {"message":"You are logged in"}
	// 401 {"message":"Invalid Credentials"}
}

// Passport keeps the user's id in the session. The app's own functions load the user.
func ExampleNewByID() {
	sessions, err := adapter.New(adapter.Options{
		Secrets: []string{"32 random bytes, from a safe place"},
		Codec:   adapter.JSONCodec{}, // as Express
	})
	if err != nil {
		log.Fatal(err)
	}
	type account struct {
		ID   int
		Name string
	}
	ada := account{7, "Ada"}
	verify := func(_ context.Context, username, password string) (account, error) {
		if username != "ada" || password != "secret" {
			return account{}, auth.ErrInvalid
		}
		return ada, nil
	}
	load := func(_ context.Context, id int) (account, error) { // deserializeUser
		if id != ada.ID {
			return account{}, auth.ErrInvalid
		}
		return ada, nil
	}
	id := func(a account) int { return a.ID } // serializeUser
	users, err := auth.NewByID(sessions, verify, id, load, auth.Options{Key: "passport.user"})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/login", users.Login())
	mux.Handle("/me", users.Restricted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := users.User(r.Context())
		fmt.Fprint(w, user.Name, " ", sessions.Get(r.Context(), "passport"))
	})))
	server := httptest.NewServer(sessions.LoadAndSave(mux))
	defer server.Close()
	client := newClient()
	post(client, server.URL+"/login", `{"username":"ada","password":"secret"}`)
	get(client, server.URL+"/me")
	// Output:
	// 200 {"message":"You are logged in"}
	// 200 Ada map[user:7]
}

// htmx swaps the body of an answer into the page. To show the login page in place of the
// whole page, it needs a header.
func ExampleOptions_refused() {
	sessions, users := exampleAuth(auth.Options{
		Refused: func(w http.ResponseWriter, r *http.Request, why auth.Refusal) bool {
			if r.Header.Get("HX-Request") == "" || !errors.Is(why.Reason, auth.ErrNotSignedIn) {
				return false // the usual answer
			}
			w.Header().Set("HX-Redirect", "/login")
			w.WriteHeader(why.Status)
			return true
		},
	})
	page := sessions.LoadAndSave(users.Restricted(http.NotFoundHandler()))
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("HX-Request", "true")
	w := httptest.NewRecorder()
	page.ServeHTTP(w, r)
	fmt.Println(w.Code, w.Header().Get("HX-Redirect"))
	// Output: 401 /login
}

// Attempts count by the client's address, which nginx passes on:
//
//	proxy_set_header Host      $http_host;
//	proxy_set_header X-Real-IP $remote_addr;
func ExampleOptions_clientHeader() {
	sessions, users := exampleAuth(auth.Options{ClientHeader: "X-Real-IP", TrustedProxies: []string{"127.0.0.1"}, Attempts: 1})
	server := httptest.NewServer(sessions.LoadAndSave(users.Login()))
	defer server.Close()
	for _, client := range []string{"192.0.2.1", "192.0.2.1", "192.0.2.2"} {
		r, err := http.NewRequest("POST", server.URL, strings.NewReader(`{"username":"ada","password":"wrong"}`))
		if err != nil {
			log.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-Real-IP", client)
		show(http.DefaultClient.Do(r))
	}
	// Output:
	// 401 {"message":"Invalid Credentials"}
	// 429 {"message":"Too Many Attempts"}
	// 401 {"message":"Invalid Credentials"}
}

// A login route of the app's own, with Login's limits.
func ExampleAuth_Attempt() {
	sessions, users := exampleAuth(auth.Options{})
	login := func(w http.ResponseWriter, r *http.Request) {
		username, password, _ := r.BasicAuth()
		user, err := users.Attempt(r, username, password)
		var tooMany *auth.TooManyError
		switch {
		case errors.As(err, &tooMany):
			http.Error(w, "wait for "+tooMany.RetryAfter.String(), http.StatusTooManyRequests)
			return
		case errors.Is(err, auth.ErrInvalid):
			http.Error(w, "wrong", http.StatusUnauthorized)
			return
		case err != nil:
			http.Error(w, "failed", http.StatusInternalServerError)
			return
		}
		if err := users.SignIn(r.Context(), user); err != nil {
			sessions.ErrorFunc(w, r, err)
			return
		}
		fmt.Fprint(w, "Hello, ", user.Name)
	}
	r := httptest.NewRequest("POST", "/", nil)
	r.SetBasicAuth("ada", "secret")
	w := httptest.NewRecorder()
	sessions.LoadAndSave(http.HandlerFunc(login)).ServeHTTP(w, r)
	fmt.Println(w.Code, w.Body)
	// Output: 200 Hello, Ada
}
