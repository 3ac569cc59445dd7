package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/samesid/samesid/adapter"
)

// A Hook is called by Login once the credentials are right, and before the session
// begins. It may change how the session begins. A Hook that returns true has answered the
// request itself, with the form for a second factor, say: nobody is signed in then, and
// the session stays as it is, with what the Hook has put into it. The credentials count as
// right all the same: a code that the Hook finds wrong is not limited. Check one in the
// Verifier, or with the Attempt of a second Auth.
//
// What is put under a key of Options.Keep is in the new session too. A Hook must be safe
// for concurrent use.
type Hook[U any] func(w http.ResponseWriter, r *http.Request, user U, opts *SignInOptions) (answered bool)

// rememberField is the field of Options.RememberFor.
const rememberField = "remember"

type fieldsKey struct{}

// fields are what Login has read beside the credentials.
type fields struct {
	declared []string
	values   map[string]string
}

// Field returns a field of the login that Options.Fields declares. ctx is a Verifier's, or
// that of the request that a Hook gets; in another context, and for a field that was not
// sent, it is the zero value. A bool is true if JSON has true, or if a form has "on",
// "true", "yes" or "1". A string is a field's text, and JSON's own for true, false and
// numbers. Field panics if Options.Fields does not have the name.
func Field[T string | bool](ctx context.Context, name string) T {
	var v T
	f, ok := ctx.Value(fieldsKey{}).(*fields)
	if !ok {
		return v
	}
	if !slices.Contains(f.declared, name) {
		panic(fmt.Sprintf("auth: Field: Options.Fields does not have %q", name))
	}
	text := f.values[name]
	switch v := any(&v).(type) {
	case *string:
		*v = text
	case *bool:
		*v = slices.Contains([]string{"on", "true", "yes", "1"}, strings.ToLower(text))
	}
	return v
}

// Login returns the handler that signs a user in. It takes a POST of JSON,
//
//	{"username":"…","password":"…"}
//
// or of an urlencoded form with these fields, and with those of Options.Fields. Other
// fields are an error in JSON and ignored in a form. Credentials in the query are ignored.
//
// A program gets {"message":"…"} and one of these statuses: 200 signed in; 400
// malformed body; 401 wrong credentials, whether the user exists or not, or an
// empty field; 403 cross-origin request; 405 not a POST; 413 longer than
// Options.MaxBody; 415 neither JSON nor a form; 429 too many attempts, with
// Retry-After; 500 the Verifier failed. When the store fails, the Manager's
// ErrorFunc answers. Options.Refused can answer otherwise.
//
// A browser is a client that sends a form and prefers HTML. After a login it is
// redirected to the returnTo of the form or else of the query, if that is a path
// on this server, and otherwise to Options.AfterLogin. If the credentials are
// wrong, it is redirected to Options.LoginPage with the query parameters error=1
// and returnTo, and after too many attempts also wait, in seconds.
//
// A failed login leaves the session unchanged. A successful one calls the hooks in their
// order, up to one that answers, and then begins a new session, as SignInWith does.
//
// Login panics, as the program starts, if the Auth has no Verifier.
func (a *Auth[U]) Login(hooks ...Hook[U]) http.Handler {
	a.needVerifier("Login")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { a.login(w, r, hooks) })
}

func (a *Auth[U]) login(w http.ResponseWriter, r *http.Request, hooks []Hook[U]) {
	a.needSession(r.Context())
	setHeaders(w)
	if !allowMethods(w, r, http.MethodPost) {
		return
	}
	if err := a.checkOrigin(r); err != nil {
		a.auditFailure(r, "", err)
		a.refuse(w, r, Refusal{Reason: err}, "")
		return
	}
	c, bad := a.readCredentials(w, r)
	if bad != nil {
		a.auditFailure(r, c.username, bad)
		a.refuse(w, r, Refusal{Reason: bad, Username: c.username}, "")
		return
	}
	if len(a.opts.Fields) > 0 {
		r = r.WithContext(context.WithValue(r.Context(), fieldsKey{}, &fields{a.opts.Fields, c.fields}))
	}
	user, err := a.attempt(r, c)
	if err != nil {
		a.refuse(w, r, Refusal{Reason: err, Username: c.username}, a.failedPage(c, err))
		return
	}
	opts := SignInOptions{From: r}
	if a.opts.RememberFor > 0 && Field[bool](r.Context(), rememberField) {
		opts.MaxAge = a.opts.RememberFor
	}
	for _, hook := range hooks {
		if hook(w, r, user, &opts) {
			return
		}
	}
	err = a.SignInWith(r.Context(), user, opts)
	if err != nil {
		a.auditFailure(r, c.username, err)
	}
	switch {
	case errors.Is(err, ErrTooManySessions), errors.Is(err, adapter.ErrUserEnded):
		a.refuse(w, r, Refusal{Reason: err, Username: c.username}, a.failedPage(c, err))
		return
	case err != nil:
		a.m.ErrorFunc(w, r, err)
		return
	}
	if a.opts.Binding != nil {
		a.opts.Binding.Offer(w, r)
	}
	switch {
	case !c.browser:
		respond(w, http.StatusOK, textLoggedIn)
	case isLocal(c.returnTo):
		redirect(w, c.returnTo)
	default:
		redirect(w, a.opts.AfterLogin)
	}
}

// Attempt verifies credentials as Login does, for a login route of the app's own: with
// the same limits, which both share, and the same check of the origin. It neither reads
// the session nor changes it; SignIn begins one. The request's body is left alone.
//
// The error is, or wraps, ErrCrossOrigin, ErrMalformed if a text is not UTF-8 or has a
// NUL, ErrInvalid, or a *TooManyError, whose credentials were not verified. Any other is
// the Verifier's own. Attempt panics if the Auth has no Verifier. It is safe for concurrent
// use.
func (a *Auth[U]) Attempt(r *http.Request, username, password string) (U, error) {
	a.needVerifier("Attempt")
	var nobody U
	err := a.checkOrigin(r)
	if err == nil && (!isText(username) || !isText(password)) {
		err = errNotText
	}
	if err != nil {
		a.auditFailure(r, username, err)
		return nobody, err
	}
	return a.attempt(r, credentials{username: username, password: password})
}

// attempt verifies credentials, if there are attempts left.
func (a *Auth[U]) attempt(r *http.Request, c credentials) (user U, err error) {
	defer func() {
		if err != nil {
			a.auditFailure(r, c.username, err)
		}
	}()
	if c.username == "" || c.password == "" {
		// Some verifiers, such as LDAP, treat an empty password as an anonymous login.
		return user, ErrInvalid
	}
	outcome := failed // a panic counts as a failure
	if a.limits != nil {
		a.warnOfProxy(r)
		addr := a.clientAddr(r)
		begun, wait := a.limits.begin(c.username, networks(addr)...)
		if begun == nil {
			a.opts.Logger.WarnContext(r.Context(), "auth: a login was refused: too many attempts", "client", networks(addr)[0])
			return user, &TooManyError{RetryAfter: wait}
		}
		defer func() { begun.end(outcome) }()
	}
	user, err = a.verify(r.Context(), c.username, c.password)
	switch {
	case err == nil:
		outcome = succeeded
	case !errors.Is(err, ErrInvalid):
		outcome = undecided
		a.logFailure(r, c, err)
	}
	return user, err
}

// needVerifier panics, with advice, if New was given no Verifier.
func (a *Auth[U]) needVerifier(method string) {
	if a.verify == nil {
		panic("auth: " + method + " verifies credentials, and the Verifier that New was given is nil; Passwords makes one")
	}
}
