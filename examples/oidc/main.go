// Command oidc is an app whose users sign in at an OpenID Connect provider, and are signed
// out when the provider says so: Back-Channel Logout 1.0. See README.md.
package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"html"
	"log"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
	"github.com/samesid/samesid/backends/memory"
)

func main() {
	a, err := newApp(context.Background(), config{
		issuer:   os.Getenv("OIDC_ISSUER"),
		clientID: os.Getenv("OIDC_CLIENT_ID"),
		secret:   os.Getenv("OIDC_CLIENT_SECRET"),
		url:      os.Getenv("APP_URL"), // http://localhost:8080
		cookies:  os.Getenv("SESSION_SECRET"),
		store:    memory.New(memory.Options{}),
		notes:    memory.New(memory.Options{}),
	})
	if err != nil {
		log.Fatal(err)
	}
	s := &http.Server{Addr: "127.0.0.1:8080", Handler: a, ReadTimeout: 15 * time.Second, IdleTimeout: time.Minute}
	log.Fatal(s.ListenAndServe())
}

type config struct {
	issuer, clientID, secret, url, cookies string

	store scs.Store    // of the sessions
	notes scs.CtxStore // another one, so that no note is taken for a session
}

const (
	// sessionLife bounds a session's life, and so that of the note on its sid.
	sessionLife = 12 * time.Hour

	// loginLife is how long a user may take to sign in at the provider.
	loginLife = 10 * time.Minute

	// endedLife is how long a logout is remembered: longer than any login that was begun
	// before it takes.
	endedLife = time.Hour
)

// User is what a session holds of a user. Sub names the user at the provider.
type User struct {
	Sub  string `json:"sub"`
	Name string `json:"name"`
	SID  string `json:"sid,omitempty"` // the provider's name for its own session
}

type app struct {
	http.Handler
	sessions   *adapter.Manager
	users      *auth.Auth[User]
	notes      notes
	client     *http.Client // to the provider
	oauth      oauth2.Config
	verifier   *oidc.IDTokenVerifier
	endSession *url.URL // where the provider signs a user out; nil if it has no such page
	url        string
	now        func() time.Time
}

func newApp(ctx context.Context, c config) (*app, error) {
	client := &http.Client{Timeout: 10 * time.Second}
	ctx = oidc.ClientContext(ctx, client)
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
	var endSession *url.URL
	if more.EndSession != "" {
		if endSession, err = url.Parse(more.EndSession); err != nil {
			return nil, err
		}
	}
	sessions, err := adapter.New(adapter.Options{
		Secrets:          []string{c.cookies},
		Store:            c.store,
		UserPath:         "user.sub",
		AbsoluteLifetime: sessionLife,
		Cookie:           adapter.Cookie{SameSite: adapter.SameSiteLax}, // sent when the provider redirects to /callback
	})
	if err != nil {
		return nil, err
	}
	// Nobody signs in here with a password, so there is no Verifier.
	users, err := auth.New[User](sessions, nil, auth.Options{Key: userKey, LoginPage: "/login", NoteDevice: true})
	if err != nil {
		return nil, err
	}
	a := &app{
		sessions: sessions, users: users, notes: notes{c.notes}, client: client, url: c.url, endSession: endSession, now: time.Now,
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
	State    string    `json:"state"`
	Nonce    string    `json:"nonce"`
	Verifier string    `json:"verifier"` // of PKCE
	Begun    time.Time `json:"begun"`
}

const (
	userKey    = "user"
	attemptKey = "oidc_attempt"
	tokenKey   = "oidc_id_token" // for its logout
)

func (a *app) login(w http.ResponseWriter, r *http.Request) {
	t := attempt{rand.Text(), rand.Text(), oauth2.GenerateVerifier(), a.now()}
	if err := adapter.Put(r.Context(), a.sessions, attemptKey, t); err != nil {
		a.sessions.ErrorFunc(w, r, err)
		return
	}
	http.Redirect(w, r, a.oauth.AuthCodeURL(t.State, oidc.Nonce(t.Nonce), oauth2.S256ChallengeOption(t.Verifier)), http.StatusSeeOther)
}

func (a *app) callback(w http.ResponseWriter, r *http.Request) {
	ctx := oidc.ClientContext(r.Context(), a.client)
	t, err := adapter.Get[attempt](ctx, a.sessions, attemptKey)
	a.sessions.Remove(ctx, attemptKey) // it serves once
	if err != nil || subtle.ConstantTimeCompare([]byte(r.FormValue("state")), []byte(t.State)) != 1 || a.now().Sub(t.Begun) > loginLife {
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
	err = a.signIn(ctx, User{Sub: id.Subject, Name: claims.Name, SID: claims.SID}, o, t.Begun)
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

// signIn begins a session of a user, unless the provider has ended its own since the login
// was begun: then the error is adapter.ErrUserEnded.
func (a *app) signIn(ctx context.Context, user User, o auth.SignInOptions, begun time.Time) error {
	// A logout finds this note, or this finds the logout's: each writes its own first.
	if err := a.noteSession(ctx, user); err != nil {
		return err
	}
	if err := a.users.SignInWith(ctx, user, o); err != nil {
		return err
	}
	err := a.checkEnded(ctx, user, begun)
	if err != nil {
		// A session that can't be destroyed is saved as nobody's. If that fails too, its
		// cookie is not sent.
		a.sessions.Remove(ctx, userKey)
		err = errors.Join(err, a.sessions.Destroy(ctx))
	}
	return err
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
	if a.endSession != nil && hint != "" {
		u := *a.endSession
		q := u.Query()
		q.Set("id_token_hint", hint)
		q.Set("post_logout_redirect_uri", a.url)
		u.RawQuery = q.Encode()
		to = u.String()
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}
