// Command express is the Go half of an app whose routes move from Express to Go one by one:
// app.mjs is the other half. README.md has the steps.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/adapter/config"
	"github.com/samesid/samesid/auth"
)

// user is what app.mjs puts under "user".
type user struct {
	ID   int    `json:"id"`
	Name string `json:"name"`
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: express session.yaml")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	sessions, store, err := config.Open(ctx, os.Args[1])
	cancel()
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	handler, err := newHandler(sessions)
	if err != nil {
		log.Fatal(err)
	}
	log.Print("http://127.0.0.1:8080")
	log.Print(http.ListenAndServe("127.0.0.1:8080", handler))
}

func newHandler(sessions *adapter.Manager) (http.Handler, error) {
	// Express has the login still, so there is no Verifier.
	users, err := auth.New[user](sessions, nil, auth.Options{Key: "user"})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /account", users.Restricted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, err := users.User(r.Context())
		if err != nil {
			sessions.RespondError(w, r, err)
			return
		}
		views := sessions.GetInt(r.Context(), "views") + 1
		sessions.Put(r.Context(), "views", views)
		fmt.Fprintf(w, "Go: %s, %d views\n", u.Name, views)
	})))
	mux.Handle("POST /logout", users.Logout())
	return sessions.LoadAndSave(mux), nil
}
