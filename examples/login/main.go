// Command login has users who sign in, in sessions that lie in an SQLite file: stop it, start
// it, and they are signed in still. It needs nothing but Go; SQLite takes half a minute to compile
// at first.
//
//	go run ./examples/login
//	curl -c jar -d 'username=ann&password=correct horse battery staple' 127.0.0.1:8080/login
//	curl -b jar 127.0.0.1:8080/protected
//	curl -b jar -X POST 127.0.0.1:8080/logout
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
	"github.com/samesid/samesid/backends/sqlite"
)

// user is who is signed in. It is stored in the session.
type user struct {
	ID   int    `json:"id"`
	Name string `json:"name"`
}

func main() {
	handler, stop, err := newHandler(context.Background(), ".")
	if err != nil {
		log.Fatal(err)
	}
	log.Print("http://127.0.0.1:8080")
	err = http.ListenAndServe("127.0.0.1:8080", handler)
	log.Fatal(errors.Join(err, stop()))
}

// newHandler keeps sessions.db and session.secret in a folder.
func newHandler(ctx context.Context, dir string) (handler http.Handler, stop func() error, err error) {
	secret, err := secretIn(filepath.Join(dir, "session.secret"))
	if err != nil {
		return nil, nil, err
	}
	store, err := sqlite.Open(ctx, filepath.Join(dir, "sessions.db"), sqlite.Options{CreateTable: true})
	if err != nil {
		return nil, nil, err
	}
	sessions, err := adapter.New(adapter.Options{
		Secrets: []string{secret},
		Store:   store,
		Cookie:  adapter.Cookie{MaxAge: 7 * 24 * time.Hour, SameSite: adapter.SameSiteLax},
	})
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	// A real app has this hash in its table of users.
	hash, err := auth.HashPassword("correct horse battery staple")
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	users, err := auth.New(sessions, auth.Passwords(func(_ context.Context, name string) (user, string, error) {
		if name != "ann" {
			return user{}, "", auth.ErrInvalid
		}
		return user{ID: 7, Name: "Ann"}, hash, nil
	}), auth.Options{})
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	mux := http.NewServeMux()
	mux.Handle("POST /login", users.Login())
	mux.Handle("POST /logout", users.Logout())
	mux.Handle("GET /protected", users.Restricted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, err := users.User(r.Context())
		if err != nil {
			sessions.RespondError(w, r, err)
			return
		}
		fmt.Fprintf(w, "You are authorized, %s\n", u.Name)
	})))
	return sessions.LoadAndSave(mux), store.Close, nil
}

// secretIn returns the secret in a file, which is made if it is not there.
func secretIn(path string) (string, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		b = []byte(rand.Text() + rand.Text())
		err = os.WriteFile(path, b, 0o600)
	}
	return string(b), err
}
