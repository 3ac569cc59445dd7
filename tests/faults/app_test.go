//go:build unix

package faults

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
	"github.com/samesid/samesid/backends"
	"github.com/samesid/samesid/backends/postgres"
	"github.com/samesid/samesid/backends/redis"
	"github.com/samesid/samesid/internal/leaktest"
)

const (
	secret   = "0123456789abcdef0123456789abcdef"
	password = "difference-engine-of-babbage"

	// timeout is the timeout of the stores under test, for a connection and for an
	// answer. It is short to keep the tests short.
	timeout = 500 * time.Millisecond
)

// The tests mostly wait, so some can run in parallel. Of more, each would be late for the
// others' load.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// system is an app, reached over HTTP, and the proxy to its store's server.
type system struct {
	t     *testing.T
	proxy *proxy
	url   string
	store backends.Store

	// The app reports each request to /watched: that it runs, that its client has
	// disconnected, and that it is over. leave lets it continue to its save.
	running, gone, leave, over chan struct{}
}

// limits are options that both stores have. Zero value of wait: timeout.
type limits struct {
	conns int
	wait  time.Duration // for a connection, and for an answer
}

// newSystem starts an app on the server at url, in a layout of a backend. addr is the
// server's host and port; without it there is no proxy in between.
func newSystem(t *testing.T, addr, url string, options any, l limits) *system {
	t.Helper()
	leaktest.Note(secret, password)
	logger := slog.New(slog.NewTextHandler(leaktest.Copy(io.Discard), nil))

	s := &system{
		t: t,
		running: make(chan struct{}), gone: make(chan struct{}, 1), leave: make(chan struct{}), over: make(chan struct{}),
	}
	if addr != "" {
		s.proxy = newProxy(t, addr)
		url = s.proxy.url(url)
	}
	wait := cmp.Or(l.wait, timeout)
	switch o := options.(type) {
	case redis.Options:
		o.MaxConns, o.Timeout, o.ConnectTimeout = l.conns, wait, wait
		options = o
	case postgres.Options:
		o.MaxConns, o.Timeout, o.ConnectTimeout = l.conns, wait, wait
		o.CreateTable, o.CleanupInterval = true, -1
		options = o
	}
	var err error
	if s.store, err = backends.Open(t.Context(), backends.Config{URL: url, Options: options, Logger: logger}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.store.Close() })
	m, err := adapter.New(adapter.Options{
		Secrets: []string{secret},
		Store:   s.store,
		Cookie:  adapter.Cookie{MaxAge: time.Hour},
		Logger:  logger,
	})
	if err != nil {
		t.Fatal(err)
	}
	verify := func(_ context.Context, username, given string) (string, error) {
		if given != password {
			return "", auth.ErrInvalid
		}
		return username, nil
	}
	users, err := auth.New(m, verify, auth.Options{Unlimited: true, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}

	mux := http.NewServeMux()
	mux.Handle("POST /login", users.Login())
	mux.Handle("POST /logout", users.Logout())
	// A page for everybody, which greets signed-in users.
	mux.HandleFunc("GET /page", func(w http.ResponseWriter, r *http.Request) {
		user, _ := users.User(r.Context())
		if _, err := io.WriteString(w, user); err != nil {
			t.Log(err)
		}
	})
	write := func(r *http.Request) {
		m.Put(r.Context(), written+r.PathValue("id"), true)
		m.Put(r.Context(), "count", m.GetInt(r.Context(), "count")+1)
	}
	mux.Handle("POST /write/{id}", users.Restricted(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		write(r)
	})))
	mux.Handle("POST /renew", users.Restricted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := m.RenewToken(r.Context()); err != nil {
			m.ErrorFunc(w, r, err)
		}
	})))
	mux.Handle("GET /written", users.Restricted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		found := found{Count: m.GetInt(r.Context(), "count")}
		for _, k := range m.Keys(r.Context()) {
			if id, ok := strings.CutPrefix(k, written); ok {
				found.IDs = append(found.IDs, id)
			}
		}
		if err := json.NewEncoder(w).Encode(found); err != nil {
			t.Log(err)
		}
	})))
	mux.Handle("POST /watched/{id}", users.Restricted(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		write(r)
		context.AfterFunc(r.Context(), func() { s.gone <- struct{}{} })
		s.running <- struct{}{}
		<-s.leave
	})))
	sessions := m.LoadAndSave(mux)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sessions.ServeHTTP(w, r)
		if strings.HasPrefix(r.URL.Path, "/watched/") {
			s.over <- struct{}{}
		}
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// written is the prefix of the keys that hold writes.
const written = "written-"

// found is what a session holds of the writes to it: their ids and their number.
type found struct {
	Count int
	IDs   []string
}
