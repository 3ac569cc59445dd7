package adapter_test

import (
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/samesid/samesid/adapter"
)

// A login begins an empty session with a new id.
func ExampleManager_Regenerate() {
	sessions := adapter.MustNew(adapter.Options{Secrets: []string{secret}})
	mux := http.NewServeMux()
	mux.HandleFunc("POST /cart", func(w http.ResponseWriter, r *http.Request) {
		sessions.Put(r.Context(), "cart", 3)
	})
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		before := sessions.ID(r.Context())
		// … check the password …
		if err := sessions.Regenerate(r.Context()); err != nil {
			http.Error(w, "please try again", http.StatusServiceUnavailable)
			return
		}
		sessions.Put(r.Context(), "user", "ann")
		fmt.Fprintf(w, "new id: %t", sessions.ID(r.Context()) != before)
	})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "user %s, cart %d", sessions.GetString(r.Context(), "user"), sessions.GetInt(r.Context(), "cart"))
	})

	browser := browse(sessions.LoadAndSave(mux))
	browser.post("/cart")
	browser.post("/login")
	browser.get("/")
	// Output:
	// new id: true
	// user ann, cart 0
}

// A login that keeps the cart from before it.
func ExampleManager_RenewToken() {
	sessions := adapter.MustNew(adapter.Options{Secrets: []string{secret}})
	mux := http.NewServeMux()
	mux.HandleFunc("POST /cart", func(w http.ResponseWriter, r *http.Request) {
		sessions.Put(r.Context(), "cart", 3)
	})
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		before := sessions.ID(r.Context())
		// … check the password …
		if err := sessions.RenewToken(r.Context()); err != nil {
			http.Error(w, "please try again", http.StatusServiceUnavailable)
			return
		}
		sessions.Put(r.Context(), "user", "ann")
		fmt.Fprintf(w, "new id: %t", sessions.ID(r.Context()) != before)
	})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "user %s, cart %d", sessions.GetString(r.Context(), "user"), sessions.GetInt(r.Context(), "cart"))
	})

	browser := browse(sessions.LoadAndSave(mux))
	browser.post("/cart")
	browser.post("/login")
	browser.get("/")
	// Output:
	// new id: true
	// user ann, cart 3
}

// A logout: the stored session is deleted, and the cookie is cleared.
func ExampleManager_Destroy() {
	sessions := adapter.MustNew(adapter.Options{Secrets: []string{secret}})
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		sessions.Put(r.Context(), "user", "ann")
		fmt.Fprint(w, "welcome")
	})
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		if err := sessions.Destroy(r.Context()); err != nil {
			http.Error(w, "please try again", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, "goodbye")
	})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "signed in: %t", sessions.Exists(r.Context(), "user"))
	})

	browser := browse(sessions.LoadAndSave(mux))
	browser.post("/login")
	stolen := *browser
	browser.get("/")
	browser.post("/logout")
	stolen.get("/")
	// Output:
	// welcome
	// signed in: true
	// goodbye
	// signed in: false
}

// A stream saves what it changes after the response has begun.
func ExampleManager_Save() {
	sessions := adapter.MustNew(adapter.Options{Secrets: []string{secret}})
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		sessions.Put(r.Context(), "user", "ann")
	})
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) {
		events := http.NewResponseController(w)
		for n := range 3 {
			fmt.Fprintf(w, "event %d\n", n+1)
			if err := events.Flush(); err != nil { // the session is saved before the first byte
				return
			}
			sessions.Put(r.Context(), "seen", n+1)
			if err := sessions.Save(r.Context()); err != nil {
				return // ErrGone, if the user has logged out meanwhile
			}
		}
	})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "seen: %d", sessions.GetInt(r.Context(), "seen"))
	})

	browser := browse(sessions.LoadAndSave(mux))
	browser.post("/login")
	browser.get("/events")
	browser.get("/")
	// Output:
	// event 1
	// event 2
	// event 3
	// seen: 3
}

// The cookie of a new session depends on the request.
func ExampleOptions_cookieFunc() {
	sessions, err := adapter.New(adapter.Options{
		Secrets: []string{secret},
		CookieFunc: func(r *http.Request) adapter.Cookie {
			if r.Host == "admin.example.com" {
				return adapter.Cookie{MaxAge: 15 * time.Minute, SameSite: adapter.SameSiteStrict}
			}
			return adapter.Cookie{MaxAge: 30 * 24 * time.Hour, SameSite: adapter.SameSiteLax}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	handler := sessions.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sessions.Put(r.Context(), "user", "ann")
	}))
	for _, url := range []string{"http://shop.example.com/", "http://admin.example.com/"} {
		browser := browse(handler)
		browser.get(url)
		fmt.Println(url, browser.cookie.MaxAge)
	}
	// Output:
	// http://shop.example.com/ 2592000
	// http://admin.example.com/ 900
}
