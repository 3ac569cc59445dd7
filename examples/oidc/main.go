// Command oidc is an app whose users sign in at an OpenID Connect provider, and are signed
// out when the provider says so: Back-Channel Logout 1.0. See README.md.
package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"log"
	"mime"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
)

func main() {
	c := config{
		issuer:   os.Getenv("OIDC_ISSUER"),
		clientID: os.Getenv("OIDC_CLIENT_ID"),
		secret:   os.Getenv("OIDC_CLIENT_SECRET"),
		url:      os.Getenv("APP_URL"), // http://localhost:8080
		cookies:  os.Getenv("SESSION_SECRET"),
	}
	a, err := newApp(context.Background(), c)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", a))
}

type config struct{ issuer, clientID, secret, url, cookies string }

// User is what a session holds of a user. sub names the user at the provider.
type User struct {
	Sub  string `json:"sub"`
	Name string `json:"name"`
	SID  string `json:"sid,omitempty"` // the provider's name for its own session
}

type app struct {
	http.Handler
	sessions   *adapter.Manager
	users      *auth.Auth[User]
	oauth      oauth2.Config
	verifier   *oidc.IDTokenVerifier
	endSession string // where the provider signs a user out; "" if it has no such page
	url        string
	used       expiring // logout tokens
	ended      expiring // the provider's sessions that it has ended
}

func newApp(ctx context.Context, c config) (*app, error) {
	provider, err := oidc.NewProvider(ctx, c.issuer)
	if err != nil {
		return nil, err
	}
	var more struct {
		EndSession string `json:"end_session_endpoint"`
	}
	if err := provider.Claims(&more); err != nil {
		return nil, err
	}
	sessions, err := adapter.New(adapter.Options{
		Secrets:  []string{c.cookies},
		UserPath: "user.sub",
		Cookie:   adapter.Cookie{SameSite: adapter.SameSiteLax},
	})
	if err != nil {
		return nil, err
	}
	// Nobody signs in here with a password.
	none := func(context.Context, string, string) (User, error) { return User{}, auth.ErrInvalid }
	users, err := auth.New(sessions, none, auth.Options{LoginPage: "/login", NoteDevice: true})
	if err != nil {
		return nil, err
	}
	a := &app{
		sessions: sessions, users: users, url: c.url, endSession: more.EndSession,
		oauth: oauth2.Config{
			ClientID: c.clientID, ClientSecret: c.secret, Endpoint: provider.Endpoint(),
			RedirectURL: c.url + "/callback", Scopes: []string{oidc.ScopeOpenID, "profile"},
		},
		verifier: provider.VerifierContext(ctx, &oidc.Config{ClientID: c.clientID}),
	}
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", users.Restricted(http.HandlerFunc(a.home)))
	mux.HandleFunc("GET /login", a.login)
	mux.HandleFunc("GET /callback", a.callback)
	mux.Handle("POST /logout", http.NewCrossOriginProtection().Handler(http.HandlerFunc(a.logout)))
	pages := sessions.LoadAndSave(mux)

	// The provider has no session, and no business with the app's.
	outer := http.NewServeMux()
	outer.HandleFunc("POST /backchannel-logout", a.backChannelLogout)
	outer.Handle("/", pages)
	a.Handler = outer
	return a, nil
}

// attempt is a login that has been begun. It is in the session, under attemptKey.
type attempt struct {
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"` // of PKCE
}

const (
	attemptKey = "oidc_attempt"
	tokenKey   = "oidc_id_token" // for its logout
)

func (a *app) login(w http.ResponseWriter, r *http.Request) {
	t := attempt{rand.Text(), rand.Text(), oauth2.GenerateVerifier()}
	if err := adapter.Put(r.Context(), a.sessions, attemptKey, t); err != nil {
		a.sessions.ErrorFunc(w, r, err)
		return
	}
	http.Redirect(w, r, a.oauth.AuthCodeURL(t.State, oidc.Nonce(t.Nonce), oauth2.S256ChallengeOption(t.Verifier)), http.StatusSeeOther)
}

func (a *app) callback(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	t, err := adapter.Get[attempt](ctx, a.sessions, attemptKey)
	a.sessions.Remove(ctx, attemptKey) // it serves once
	if err != nil || subtle.ConstantTimeCompare([]byte(r.FormValue("state")), []byte(t.State)) != 1 {
		http.Error(w, "This login was not begun here, or some time ago: begin again.", http.StatusBadRequest)
		return
	}
	token, err := a.oauth.Exchange(ctx, r.FormValue("code"), oauth2.VerifierOption(t.Verifier))
	if err != nil {
		http.Error(w, "The provider has refused the login.", http.StatusUnauthorized)
		return
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := a.verifier.Verify(ctx, raw)
	var claims struct {
		Name     string   `json:"name"`
		SID      string   `json:"sid"`
		AuthTime int64    `json:"auth_time"`
		Methods  []string `json:"amr"`
	}
	if err == nil {
		err = id.Claims(&claims)
	}
	if err != nil || id.Nonce != t.Nonce {
		http.Error(w, "The provider's answer is not valid.", http.StatusUnauthorized)
		return
	}
	o := auth.SignInOptions{Methods: claims.Methods, From: r}
	if claims.AuthTime > 0 {
		o.At = time.Unix(claims.AuthTime, 0)
	}
	err = a.users.SignInWith(ctx, User{Sub: id.Subject, Name: claims.Name, SID: claims.SID}, o)
	if err == nil && a.ended.has(claims.SID) {
		err = errors.Join(adapter.ErrUserEnded, a.sessions.Destroy(ctx))
	}
	if errors.Is(err, adapter.ErrUserEnded) {
		http.Error(w, "You were signed out meanwhile.", http.StatusUnauthorized)
		return
	}
	if err != nil {
		a.sessions.ErrorFunc(w, r, err)
		return
	}
	a.sessions.Put(ctx, tokenKey, raw)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (a *app) home(w http.ResponseWriter, r *http.Request) {
	user, err := a.users.User(r.Context())
	if err != nil {
		a.sessions.ErrorFunc(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, `<!doctype html><title>oidc</title><p>Hello, %s.<form method="post" action="/logout"><button>Sign out</button></form>`, html.EscapeString(user.Name))
}

// logout signs the user out here, and then at the provider: RP-Initiated Logout 1.0.
func (a *app) logout(w http.ResponseWriter, r *http.Request) {
	hint := a.sessions.GetString(r.Context(), tokenKey)
	if err := a.users.SignOut(r.Context()); err != nil {
		a.sessions.ErrorFunc(w, r, err)
		return
	}
	to := "/login"
	if a.endSession != "" && hint != "" {
		to = a.endSession + "?" + url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {a.url}}.Encode()
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// maxLogout bounds the body of the provider's request.
const maxLogout = 64 << 10

// backChannelLogout ends sessions as the provider asks for in a logout token: those of a
// user (sub), or one (sid).
func (a *app) backChannelLogout(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	ctx := r.Context()
	r.Body = http.MaxBytesReader(w, r.Body, maxLogout)
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/x-www-form-urlencoded" || r.ParseForm() != nil {
		refuse(w, "invalid_request", "the body is not a form")
		return
	}
	// The library checks all that section 2.6 of the specification lists, but for repetitions.
	token, err := a.verifier.VerifyLogout(ctx, r.PostForm.Get("logout_token"))
	if err != nil {
		refuse(w, "invalid_request", "the logout token is not valid")
		return
	}
	if !a.used.add(token.TokenID, token.Expiry) {
		refuse(w, "invalid_request", "the logout token was used before")
		return
	}
	if err := a.end(ctx, token.Subject, token.SessionID); err != nil {
		a.used.forget(token.TokenID) // the provider may try again
		log.Printf("back-channel logout: %v", err)
		refuse(w, "logout_failed", "the sessions could not be ended")
		return
	}
	w.WriteHeader(http.StatusOK)
}

// end ends the sessions of a user, or the one that the provider calls sid. A login under way
// fails: EndAll sees to it for a user, and ended for a sid.
func (a *app) end(ctx context.Context, sub, sid string) error {
	if sid == "" {
		_, err := a.users.AccountOf(sub).EndAll(ctx)
		return err
	}
	a.ended.add(sid, time.Now().Add(time.Hour))
	is := func(ctx context.Context) bool {
		user, err := a.users.User(ctx)
		return err == nil && user.SID == sid
	}
	if sub == "" {
		// This reads all sessions. Most providers send both.
		_, err := a.sessions.DestroyWhere(ctx, is)
		return err
	}
	return a.sessions.IterateUser(ctx, sub, func(ctx context.Context) error {
		if !is(ctx) {
			return nil
		}
		return a.sessions.Destroy(ctx)
	})
}

func refuse(w http.ResponseWriter, code, description string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadRequest)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": code, "error_description": description})
}

// expiring is a set whose elements expire. An app of several processes keeps it in a place that
// these share.
type expiring struct {
	mu    sync.Mutex
	until map[string]time.Time
}

// add reports whether the element is new.
func (e *expiring) add(id string, until time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for other, until := range e.until {
		if time.Now().After(until) {
			delete(e.until, other)
		}
	}
	if _, there := e.until[id]; there {
		return false
	}
	if e.until == nil {
		e.until = make(map[string]time.Time)
	}
	e.until[id] = until
	return true
}

func (e *expiring) has(id string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	until, there := e.until[id]
	return there && time.Now().Before(until)
}

func (e *expiring) forget(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.until, id)
}
