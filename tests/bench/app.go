package main

import (
	"encoding/gob"
	"encoding/json"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// secret is the signing secret of every peer that signs its cookies.
	secret = "a secret for the benchmarks alone, of enough bytes"

	// lifetime is how long a session lives after its last use.
	lifetime = 24 * time.Hour

	// touchAfter is the minimum time between two touches, for the peers that don't
	// slide the expiry on each request.
	touchAfter = time.Hour

	// postgresPool and redisPool are the numbers of connections of each Go peer.
	// Node's peers also have postgresPool connections; Node's Redis client has one.
	postgresPool = 16
	redisPool    = 64
)

// user is the content of a session.
type user struct {
	ID    int      `json:"id"`
	Name  string   `json:"name"`
	Email string   `json:"email"`
	Roles []string `json:"roles"`
	Note  string   `json:"note"`
}

func init() {
	gob.Register(user{})
}

// newUser returns a user whose JSON has size bytes, or more if size is too small.
func newUser(id, size int) user {
	name := userName(id)
	u := user{ID: id, Name: name, Email: name + "@example.com", Roles: []string{"reader", "writer"}}
	if b, err := json.Marshal(u); err == nil && len(b) < size {
		u.Note = strings.Repeat("x", size-len(b))
	}
	return u
}

func userName(id int) string { return "user-" + strconv.Itoa(id) }

// app is one server under test, as a child process runs it.
type app struct {
	serve func(net.Listener) error

	filler *filler // nil for a peer without one
}

// sessions is what a peer on net/http implements for the workloads.
type sessions interface {
	// read returns the signed-in user.
	read(w http.ResponseWriter, r *http.Request) (u user, ok bool, err error)
	// login gives the session a new id and puts the user into it.
	login(w http.ResponseWriter, r *http.Request, u user) error
	// change adds one to the session's counter and returns it, with the user.
	change(w http.ResponseWriter, r *http.Request) (u user, n int, err error)
}

// onHTTP serves s with net/http, inside a middleware if that is not nil.
func onHTTP(s sessions, middleware func(http.Handler) http.Handler) *app {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		u, ok, err := s.read(w, r)
		if !ok {
			u.Name = anonymous
		}
		respond(w, u.Name, err)
	})
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		u, err := parseUser(query.Get("user"), query.Get("size"))
		if err == nil {
			err = s.login(w, r, u)
		}
		respond(w, u.Name, err)
	})
	mux.HandleFunc("POST /change", func(w http.ResponseWriter, r *http.Request) {
		u, n, err := s.change(w, r)
		respond(w, changeText(u, n), err)
	})
	var handler http.Handler = mux
	if middleware != nil {
		handler = middleware(mux)
	}
	return &app{serve: func(l net.Listener) error { return http.Serve(l, handler) }}
}

const anonymous = "anonymous"

func changeText(u user, n int) string { return u.Name + " " + strconv.Itoa(n) }

func parseUser(id, size string) (user, error) {
	n, err := strconv.Atoi(id)
	if err != nil {
		return user{}, err
	}
	s, err := strconv.Atoi(size)
	if err != nil {
		return user{}, err
	}
	return newUser(n, s), nil
}

func respond(w http.ResponseWriter, text string, err error) {
	if err != nil {
		log.Print(err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Write([]byte(text))
}
