package auth_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
)

// The routes of a page "your devices". Ending sessions asks for the password again if the
// last login is some time ago (OWASP ASVS 7.5.2).
func ExampleAuth_Account() {
	sessions := adapter.MustNew(adapter.Options{
		Secrets:  []string{strings.Repeat("a secret ", 4)},
		UserPath: "user.name",
	})
	verify := func(_ context.Context, username, password string) (User, error) {
		if password != "correct horse" {
			return User{}, auth.ErrInvalid
		}
		return User{Name: username}, nil
	}
	users, err := auth.New(sessions, verify, auth.Options{NoteDevice: true, MaxSessions: 5})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("POST /login", users.Login())
	mux.Handle("GET /devices", users.Restricted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		account, err := users.Account(r.Context())
		var all []auth.Session
		if err == nil {
			all, err = account.Sessions(r.Context())
		}
		if err != nil {
			sessions.ErrorFunc(w, r, err)
			return
		}
		for _, s := range all {
			fmt.Fprintf(w, "%s, current: %t; ", s.UserAgent, s.Current)
		}
	})))
	fresh := users.Fresh(10 * time.Minute)
	mux.Handle("POST /devices/end-others", fresh(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		account, err := users.Account(r.Context())
		n := 0
		if err == nil {
			n, err = account.EndOthers(r.Context())
		}
		if err != nil {
			sessions.ErrorFunc(w, r, err)
			return
		}
		fmt.Fprintf(w, "%d ended", n)
	})))

	server := httptest.NewServer(sessions.LoadAndSave(mux))
	defer server.Close()
	laptop, phone := newClient(), newClient()
	post(phone, server.URL+"/login", `{"username":"ada","password":"correct horse"}`)
	post(laptop, server.URL+"/login", `{"username":"ada","password":"correct horse"}`)
	post(laptop, server.URL+"/devices/end-others", "")
	get(laptop, server.URL+"/devices")
	get(phone, server.URL+"/devices")
	// Output:
	// 200 {"message":"You are logged in"}
	// 200 {"message":"You are logged in"}
	// 200 1 ended
	// 200 Go-http-client/1.1, current: true;
	// 401 {"message":"Invalid Credentials"}
}

// Member is a user whose sessions end when the password changes.
type Member struct {
	ID           int64
	PasswordHash string
}

// SessionStamp implements auth.Stamper.
func (m Member) SessionStamp() string { return m.PasswordHash }

// A user's sessions end with a change of the password, also those that Express has begun
// and a login that is under way: whoever loads the user sees it.
func ExampleStamper() {
	sessions := adapter.MustNew(adapter.Options{Secrets: []string{strings.Repeat("a secret ", 4)}})
	table := map[int64]Member{1: {ID: 1, PasswordHash: "$argon2id$…1"}}
	members, err := auth.NewByID(sessions,
		func(context.Context, string, string) (Member, error) { return table[1], nil },
		func(m Member) int64 { return m.ID },
		func(_ context.Context, id int64) (Member, error) { return table[id], nil },
		auth.Options{},
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/login", members.Login())
	mux.Handle("/protected", members.Restricted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "hello")
	})))
	server := httptest.NewServer(sessions.LoadAndSave(mux))
	defer server.Close()
	client := newClient()
	post(client, server.URL+"/login", `{"username":"ada","password":"correct horse"}`)
	get(client, server.URL+"/protected")
	table[1] = Member{ID: 1, PasswordHash: "$argon2id$…2"}
	get(client, server.URL+"/protected")
	// Output:
	// 200 {"message":"You are logged in"}
	// 200 hello
	// 401 {"message":"Invalid Credentials"}
}
