//go:build unix

// Package rig is an app for tests, and users who log in, write, are checked and log out
// over HTTP. User does one thing after another, Load many at once. It is for tests.
package rig

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
	"github.com/samesid/samesid/internal/leaktest"
)

const (
	// Secret signs the cookies of the app.
	Secret = "0123456789abcdef0123456789abcdef"

	// Password is everybody's.
	Password = "difference-engine-of-babbage"
)

// Serve serves the app until the test ends. Zero value of the cookie's MaxAge: an hour.
// Zero value of Logger: the log is discarded.
func Serve(tb testing.TB, o adapter.Options) (*adapter.Manager, *httptest.Server) {
	tb.Helper()
	leaktest.Note(Secret, Password)
	o.Secrets = []string{Secret}
	o.Cookie.MaxAge = cmp.Or(o.Cookie.MaxAge, time.Hour)
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(leaktest.Copy(io.Discard), nil))
	}
	m, err := adapter.New(o)
	if err != nil {
		tb.Fatal(err)
	}
	h, err := Handler(m)
	if err != nil {
		tb.Fatal(err)
	}
	s := httptest.NewServer(h)
	tb.Cleanup(s.Close)
	return m, s
}

// Note is the prefix of the keys of the session that hold what users write.
const Note = "note-"

// Handler returns the app.
//
//	POST /login, /logout
//	GET  /page                     for everybody: the user's name, or nothing
//	GET  /me                       for users, as all below: the name, and key=value of each note
//	POST /put/{key}/{value}        writes a note
//	POST /count/{key}              writes a note, and adds one to the note "count"
//	POST /renew                    changes the session's id
//	POST /slow/{name}/{key}/{value}  writes a note, sends a 103, and ends when it is told to
//
// and, without a session, POST /slow/{name}/finish, which lets such a request end;
// /slow/{name}/gone, which waits until the app notices that its client has disconnected;
// and /slow/{name}/over, which waits until its session is saved.
func Handler(m *adapter.Manager) (http.Handler, error) {
	verify := func(_ context.Context, username, password string) (string, error) {
		if password != Password {
			return "", auth.ErrInvalid
		}
		return username, nil
	}
	users, err := auth.New(m, verify, auth.Options{Unlimited: true})
	if err != nil {
		return nil, err
	}
	put := func(r *http.Request) { m.Put(r.Context(), Note+r.PathValue("key"), r.PathValue("value")) }
	slow := &slowRequests{all: map[string]*slowRequest{}}

	mux := http.NewServeMux()
	mux.Handle("POST /login", users.Login())
	mux.Handle("POST /logout", users.Logout())
	mux.HandleFunc("GET /page", func(w http.ResponseWriter, r *http.Request) {
		user, _ := users.User(r.Context())
		fmt.Fprint(w, user)
	})
	for pattern, handler := range map[string]http.HandlerFunc{
		"GET /me": func(w http.ResponseWriter, r *http.Request) {
			user, _ := users.User(r.Context())
			text := []string{user}
			for _, k := range m.Keys(r.Context()) {
				if key, ok := strings.CutPrefix(k, Note); ok {
					text = append(text, fmt.Sprintf("%s=%v", key, m.Get(r.Context(), k)))
				}
			}
			slices.Sort(text[1:])
			fmt.Fprint(w, strings.Join(text, " "))
		},
		"POST /put/{key}/{value}": func(_ http.ResponseWriter, r *http.Request) { put(r) },
		"POST /count/{key}": func(_ http.ResponseWriter, r *http.Request) {
			put(r)
			m.Put(r.Context(), Note+"count", m.GetInt(r.Context(), Note+"count")+1)
		},
		"POST /renew": func(w http.ResponseWriter, r *http.Request) {
			if err := m.RenewToken(r.Context()); err != nil {
				m.ErrorFunc(w, r, err)
			}
		},
		"POST /slow/{name}/{key}/{value}": func(w http.ResponseWriter, r *http.Request) {
			put(r)
			s := slow.of(r.PathValue("name"))
			context.AfterFunc(r.Context(), func() { close(s.gone) })
			w.WriteHeader(http.StatusEarlyHints)
			select {
			case <-s.finish:
			case <-time.After(Patience): // the test has failed
			}
		},
	} {
		mux.Handle(pattern, users.Restricted(handler))
	}

	app := http.NewServeMux()
	sessions := m.LoadAndSave(mux)
	app.Handle("/", sessions)
	app.HandleFunc("POST /slow/{name}/{key}/{value}", func(w http.ResponseWriter, r *http.Request) {
		s := slow.begin(r.PathValue("name"))
		defer slow.end(r.PathValue("name"), s)
		sessions.ServeHTTP(w, r)
	})
	app.HandleFunc("POST /slow/{name}/{what}", func(_ http.ResponseWriter, r *http.Request) {
		s := slow.of(r.PathValue("name"))
		switch what := r.PathValue("what"); {
		case s == nil: // it is over
		case what == "finish":
			close(s.finish)
		case what == "gone":
			<-s.gone
		case what == "over":
			<-s.over
		}
	})
	return app, nil
}

// slowRequests are the requests to /slow that are running, by name.
type slowRequests struct {
	mu  sync.Mutex
	all map[string]*slowRequest
}

type slowRequest struct{ finish, gone, over chan struct{} }

func (r *slowRequests) begin(name string) *slowRequest {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &slowRequest{make(chan struct{}), make(chan struct{}), make(chan struct{})}
	r.all[name] = s
	return s
}

func (r *slowRequests) of(name string) *slowRequest {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all[name]
}

func (r *slowRequests) end(name string, s *slowRequest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.all, name)
	close(s.over)
}
