// Command basic counts the visits of each browser. It needs nothing but Go:
//
//	go run ./examples/basic
package main

import (
	"crypto/rand"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/samesid/samesid/adapter"
)

func main() {
	secret := os.Getenv("SESSION_SECRET")
	if secret == "" {
		secret = rand.Text() + rand.Text() // the cookies are worth nothing after a restart
	}
	handler, err := newHandler(secret)
	if err != nil {
		log.Fatal(err)
	}
	log.Print("http://127.0.0.1:8080")
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", handler))
}

func newHandler(secret string) (http.Handler, error) {
	sessions, err := adapter.New(adapter.Options{ // in memory, as there is no Store
		Secrets: []string{secret},
		Cookie:  adapter.Cookie{MaxAge: 24 * time.Hour, SameSite: adapter.SameSiteLax},
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		n := sessions.GetInt(r.Context(), "visits") + 1
		sessions.Put(r.Context(), "visits", n)
		fmt.Fprintf(w, "visit %d\n", n)
	})
	mux.HandleFunc("POST /reset", func(w http.ResponseWriter, r *http.Request) {
		if err := sessions.Destroy(r.Context()); err != nil {
			sessions.RespondError(w, r, err)
		}
	})
	return sessions.LoadAndSave(mux), nil
}
