// Command redis has its sessions where session.yaml says: in Redis, as connect-redis keeps
// them. With another url there it runs on Postgres, or in memory.
//
//	SESSION_SECRET=$(openssl rand -hex 32) go run ./examples/redis examples/redis/session.yaml
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/adapter/config"
	"github.com/samesid/samesid/backends"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: redis session.yaml")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, file string) (err error) {
	start, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	sessions, store, err := config.Open(start, file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()

	srv := &http.Server{Addr: "127.0.0.1:8080", Handler: newHandler(sessions, store)}
	ended := make(chan error, 1)
	go func() { ended <- srv.ListenAndServe() }()
	log.Print("http://", srv.Addr)
	select {
	case err := <-ended:
		return err
	case <-ctx.Done(): // requests that run may end, and then the store is closed
		end, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return srv.Shutdown(end)
	}
}

func newHandler(sessions *adapter.Manager, store backends.Store) http.Handler {
	app := http.NewServeMux()
	app.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		n := sessions.GetInt(r.Context(), "visits") + 1
		sessions.Put(r.Context(), "visits", n)
		fmt.Fprintf(w, "visit %d\n", n)
	})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { // without a session
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		if err := store.Ping(ctx); err != nil {
			http.Error(w, "the session store does not answer", http.StatusServiceUnavailable)
			log.Print(err)
		}
	})
	mux.Handle("/", sessions.LoadAndSave(app))
	return mux
}
