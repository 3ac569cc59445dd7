// Command from-scs is an app for scs that has moved to samesid. Lines with a mark are what has
// changed: all else, its handlers, its settings and its users' sessions, is as it was.
//
//	SESSION_SECRET=$(openssl rand -hex 32) go run ./examples/from-scs
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/adapter" // new
)

// app has what the handlers need.
type app struct {
	sessions *adapter.Manager // was *scs.SessionManager
}

func main() {
	sm := scs.New()
	sm.Lifetime = 12 * time.Hour
	sm.Cookie.Name = "session_id"

	handler, err := newHandler(sm, os.Getenv("SESSION_SECRET"))
	if err != nil {
		log.Fatal(err)
	}
	log.Print("http://127.0.0.1:8080")
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", handler))
}

func newHandler(sm *scs.SessionManager, secret string) (http.Handler, error) {
	sessions, err := adapter.Wrap(sm, adapter.Options{ // new: after sm's fields are set
		Secrets:   []string{secret},
		Signature: adapter.SignatureMigrating, // scs's cookies are good, and are replaced by signed ones
	})
	if err != nil {
		return nil, err
	}
	a := &app{sessions: sessions} // was sm
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", a.login)
	mux.HandleFunc("POST /logout", a.logout)
	mux.HandleFunc("GET /{$}", a.home)
	return sessions.LoadAndSave(mux), nil // was sm.LoadAndSave
}

// login is a stand-in: a real one checks a password, as package auth does.
func (a *app) login(w http.ResponseWriter, r *http.Request) {
	if err := a.sessions.RenewToken(r.Context()); err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	a.sessions.Put(r.Context(), "name", r.PostFormValue("name"))
	a.sessions.Put(r.Context(), "flash", "Welcome!")
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (a *app) logout(w http.ResponseWriter, r *http.Request) {
	if err := a.sessions.Destroy(r.Context()); err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (a *app) home(w http.ResponseWriter, r *http.Request) {
	flash := a.sessions.PopString(r.Context(), "flash") // before anything is written
	if flash != "" {
		fmt.Fprintln(w, flash)
	}
	name := a.sessions.GetString(r.Context(), "name")
	if name == "" {
		name = "nobody"
	}
	fmt.Fprintf(w, "You are %s.\n", name)
}
