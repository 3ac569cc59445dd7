package auth_test

import (
	"context"
	"io"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
)

// It is compiled but not run, since it serves forever; the README has it as a complete program.
func Example_server() {
	sessions, err := adapter.New(adapter.Options{
		Secrets: []string{os.Getenv("SESSION_SECRET")},
		Cookie:  adapter.Cookie{MaxAge: 24 * time.Hour, SameSite: "lax"},
	})
	if err != nil {
		log.Fatal(err)
	}
	users, err := auth.New(sessions, auth.Passwords(findUser), auth.Options{})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("POST /login", users.Login())
	mux.Handle("POST /logout", users.Logout())
	mux.Handle("GET /protected", users.Restricted(hello))
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", sessions.LoadAndSave(mux)))
}

var hello = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	_, _ = io.WriteString(w, `{"message":"You are authorized"}`)
})

func findUser(context.Context, string) (user, hash string, err error) {
	return "", "", auth.ErrInvalid
}
