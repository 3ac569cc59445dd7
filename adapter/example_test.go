package adapter_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/adapter"
)

// An option that can't be meant is refused, with the field and the fix.
func ExampleNew() {
	_, err := adapter.New(adapter.Options{
		Secrets: []string{secret},
		Cookie:  adapter.Cookie{MaxAge: 604800, SameSite: adapter.SameSiteNone},
	})
	fmt.Println(err)
	// Output:
	// adapter: Options.Cookie.MaxAge: 604.8µs is too short: a number without a unit is in nanoseconds; did you mean 7*24*time.Hour (if it is in seconds) or 604800*time.Millisecond (in milliseconds, as in Express)?
	// adapter: Options.Cookie.SameSite and Options.Cookie.Secure: browsers drop a SameSite=None cookie that is not secure; set Secure
}

// The code of the package comment.
func Example() {
	sessions, err := adapter.New(adapter.Options{Secrets: []string{secret}})
	if err != nil {
		log.Fatal(err)
	}
	visits := func(w http.ResponseWriter, r *http.Request) {
		n := sessions.GetInt(r.Context(), "visits") + 1
		sessions.Put(r.Context(), "visits", n)
		fmt.Fprintf(w, "visit %d", n)
	}
	handler := sessions.LoadAndSave(http.HandlerFunc(visits))

	browser := browse(handler)
	browser.get("/")
	browser.get("/")
	// Output:
	// visit 1
	// visit 2
}

// A program that uses scs keeps its settings, its store and its users' sessions.
func ExampleWrap() {
	sm := scs.New()
	sm.Lifetime = 12 * time.Hour

	sessions, err := adapter.Wrap(sm, adapter.Options{
		Secrets:   []string{secret},
		Signature: adapter.SignatureMigrating, // scs's own cookies too, for now
	})
	if err != nil {
		log.Fatal(err)
	}

	browser := browse(sessions.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sessions.Put(r.Context(), "user", "ann")
		fmt.Fprintf(w, "hello, %s", sessions.GetString(r.Context(), "user"))
	})))
	browser.get("/")
	fmt.Println(browser.cookie.Name, browser.cookie.MaxAge, browser.cookie.SameSite == http.SameSiteLaxMode)
	// Output:
	// hello, ann
	// session 43200 true
}

// The field that had scs's manager has the Manager.
func ExampleMustWrap() {
	type application struct {
		sessionManager *adapter.Manager
	}
	secrets := []string{secret}

	sm := scs.New()
	sm.Lifetime = 12 * time.Hour

	app := &application{
		sessionManager: adapter.MustWrap(sm, adapter.Options{Secrets: secrets, Signature: adapter.SignatureMigrating}),
	}
	fmt.Println(app.sessionManager.Lifetime)
	// Output: 12h0m0s
}

// A struct needs no gob.Register, and Express sees it as a plain object.
func ExamplePut() {
	type Cart struct {
		Items []string
		Total int
	}
	sessions := adapter.MustNew(adapter.Options{Secrets: []string{secret}})
	browser := browse(sessions.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cart, err := adapter.Get[Cart](r.Context(), sessions, "cart")
		if err != nil && !errors.Is(err, adapter.ErrNoValue) {
			http.Error(w, "Internal Server Error", http.StatusInternalServerError)
			return
		}
		cart.Items = append(cart.Items, "tea")
		cart.Total += 4
		if err := adapter.Put(r.Context(), sessions, "cart", cart); err != nil {
			http.Error(w, "Internal Server Error", http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, cart)
	})))
	browser.get("/")
	browser.get("/")
	// Output:
	// {[tea] 4}
	// {[tea tea] 8}
}

func ExampleGet() {
	type User struct {
		Name  string
		Roles []string
	}
	sessions := adapter.MustNew(adapter.Options{Secrets: []string{secret}})
	ctx, err := sessions.LoadID(context.Background(), "") // a new session, without a request
	if err != nil {
		log.Fatal(err)
	}
	if err := adapter.Put(ctx, sessions, "user", User{"Ann", []string{"admin"}}); err != nil {
		log.Fatal(err)
	}
	user, err := adapter.Get[User](ctx, sessions, "user")
	fmt.Println(user.Name, user.Roles, err)
	// Output: Ann [admin] <nil>
}
