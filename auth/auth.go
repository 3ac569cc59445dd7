// Package auth signs users in and out on the sessions of package adapter, and
// keeps those who are not signed in away from a handler.
//
// Login, Logout, Restricted and Fresh serve programs (JSON) and browsers
// (forms and redirects) alike: what the Accept header prefers decides. All of
// them, and the methods that take a context, need Manager.LoadAndSave around
// them, and panic with that advice where it is missing.
//
// Signing in regenerates the session: its id changes, and what an anonymous
// visitor had in it (a cart, say) is dropped, as after Express's regenerate. A
// handler of its own can keep some of it around SignIn, as the example there does.
//
// What is stored is what an Express app expects to find: the user under
// Options.Key, and under the key "auth_time" when the user last gave their
// credentials, in whole seconds since 1970 (the claim of that name in OpenID
// Connect Core, section 2). An Express app that signs users in itself sets both:
//
//	req.session.user = user
//	req.session.auth_time = Math.floor(Date.now() / 1000)
package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/samesid/samesid/adapter"
)

// timeKey holds the time of the sign-in.
const timeKey = "auth_time"

// ErrInvalid is what a Verifier must return, or wrap, for an unknown user and
// for a wrong password alike.
var ErrInvalid = errors.New("auth: unknown user or wrong password")

// A Verifier checks credentials and returns the user they belong to. It must
// return an error that is ErrInvalid, by errors.Is, if they are no good, and
// take as long for an unknown user as for a wrong password; Passwords makes one
// that does. Any other error is a failure of the server: the client gets a 500
// with a fixed text, and the error is logged, so it must not hold the
// credentials.
//
// Neither username nor password is empty, and both are UTF-8 without NUL. A
// Verifier must be safe for concurrent use.
type Verifier[U any] func(ctx context.Context, username, password string) (U, error)

// Options are the settings of an Auth. The zero value of every field is usable.
type Options struct {
	// Key is the session's key for the user. A dot in it is a step down:
	// "passport.user" is where Passport keeps it, {"passport":{"user":…}}. Zero
	// value: "user".
	Key string

	// LoginPage is the local path of the page with the login form, to which
	// browsers are sent with the query parameters that Login documents. Zero
	// value: none; browsers then get the same answers as programs.
	LoginPage string

	// AfterLogin is the local path that a browser is sent to after it has
	// signed in, if it did not come from a page of its own. Zero value: "/".
	AfterLogin string

	// AfterLogout is the local path that a browser is sent to after it has
	// signed out. Zero value: "/".
	AfterLogout string

	// UsernameField and PasswordField are the names of the fields in a login's
	// form or JSON. Zero values: "username" and "password".
	UsernameField, PasswordField string

	// MaxBody is the longest body of a login, in bytes. Zero value: 4096.
	MaxBody int64

	// Attempts is how many failed logins one client address may make at one
	// account at once; after that it may make one more each
	// AttemptsWindow/Attempts. One address at all accounts together, and all
	// addresses at one account together, may make ten times as many: with the
	// default, the 100 of NIST SP 800-63B-4, section 3.2.2. An address from which
	// the account was signed in to in the last 30 days is exempt from these two,
	// so that someone else's attempts lock its owner out nowhere but at a new
	// address, and there no longer than they last. Successful logins are not
	// counted.
	//
	// The counts are kept in this process, and in bounded memory: about 30 MB at most.
	// Zero value: 10 (OWASP ASVS 6.3.1).
	Attempts int

	// AttemptsWindow is the time in which Attempts are regained. Zero value: 15
	// minutes.
	AttemptsWindow time.Duration

	// Unlimited leaves limiting logins to someone else. Attempts and
	// AttemptsWindow must then be left zero.
	Unlimited bool

	// ClientAddr returns the address of the client, for a server behind a
	// proxy, where every request seems to come from the proxy and would count
	// as one client. It must take the address from what the proxy itself has
	// set, never from what a client can send. IPv6 addresses count by their
	// /64. It must be safe for concurrent use. Zero value: the host in
	// Request.RemoteAddr.
	ClientAddr func(*http.Request) string

	// TrustedOrigins may send logins and logouts across origins, in the form
	// "https://host[:port]" (http.CrossOriginProtection). They also need CORS
	// headers, which this package does not send. Zero value: none but the
	// server's own.
	TrustedOrigins []string

	// Logger gets a failing Verifier's errors and the refusals of too many
	// attempts. No record has credentials, a cookie or a session id in it. Zero
	// value: slog.Default().
	Logger *slog.Logger
}

// Auth signs users of the type U in and out. U must be a concrete type that
// survives encoding/json, and should hold no more than handlers need of a user:
// it is stored in each session. An Auth is safe for concurrent use.
type Auth[U any] struct {
	m      *adapter.Manager
	verify Verifier[U]
	opts   Options
	outer  string // the session's key
	inner  string // the key inside it, or ""
	origin *http.CrossOriginProtection
	limits *limits // nil: unlimited

	proxyWarning sync.Once
}

// New makes an Auth on the sessions of m. The error names every field that
// can't be used, and the fix.
func New[U any](m *adapter.Manager, verify Verifier[U], opts Options) (*Auth[U], error) {
	var errs []error
	if m == nil {
		errs = append(errs, errors.New("auth: the Manager is nil; make one with adapter.New"))
	}
	if verify == nil {
		errs = append(errs, errors.New("auth: the Verifier is nil; Passwords makes one"))
	}
	if t := reflect.TypeFor[U](); t.Kind() == reflect.Interface {
		errs = append(errs, fmt.Errorf("auth: the user type %v is an interface, which a session can't give back; use a concrete type", t))
	}
	opts, err := opts.checked()
	if err != nil {
		errs = append(errs, err)
	}
	a := &Auth[U]{m: m, verify: verify, opts: opts, origin: http.NewCrossOriginProtection()}
	a.outer, a.inner, _ = strings.Cut(opts.Key, ".")
	for i, origin := range opts.TrustedOrigins {
		if err := a.origin.AddTrustedOrigin(origin); err != nil {
			errs = append(errs, fmt.Errorf("auth: Options.TrustedOrigins[%d]: %w", i, err))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if !opts.Unlimited {
		a.limits = newLimits(opts.Attempts, opts.AttemptsWindow, maxCounters)
	}
	return a, nil
}

// checked returns a copy with the defaults filled in, or an error that names
// every field that can't be used.
func (o Options) checked() (Options, error) {
	var errs []error
	refuse := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("auth: Options."+format, args...))
	}

	for _, f := range []struct {
		field *string
		value string
	}{
		{&o.Key, "user"},
		{&o.AfterLogin, "/"},
		{&o.AfterLogout, "/"},
		{&o.UsernameField, "username"},
		{&o.PasswordField, "password"},
	} {
		if *f.field == "" {
			*f.field = f.value
		}
	}

	outer, inner, nested := strings.Cut(o.Key, ".")
	switch {
	case outer == "" || nested && inner == "" || strings.Contains(inner, "."):
		refuse("Key: %q is neither a key nor two with a dot between them", o.Key)
	case outer == "cookie" || outer == timeKey || strings.HasPrefix(outer, "__"):
		refuse("Key: %q is taken by the session itself; use another", outer)
	}

	for _, f := range []struct{ name, path string }{
		{"LoginPage", o.LoginPage},
		{"AfterLogin", o.AfterLogin},
		{"AfterLogout", o.AfterLogout},
	} {
		if f.path != "" && !isLocal(f.path) {
			refuse("%s: %q is not a path on this server; begin it with one \"/\" and escape what is not ASCII", f.name, f.path)
		}
	}

	switch {
	case o.UsernameField == o.PasswordField:
		refuse("UsernameField and Options.PasswordField: both are %q", o.UsernameField)
	case o.UsernameField == returnToField || o.PasswordField == returnToField:
		refuse("UsernameField and Options.PasswordField: %q is the field for the page to return to; use another", returnToField)
	}

	if o.MaxBody < 0 {
		refuse("MaxBody: is negative (%d); 0 is the default", o.MaxBody)
	}
	if o.MaxBody == 0 {
		o.MaxBody = 4096
	}

	switch {
	case o.Unlimited && (o.Attempts != 0 || o.AttemptsWindow != 0):
		refuse("Unlimited and Options.Attempts, Options.AttemptsWindow: Unlimited means none; drop one or the other")
	case o.Attempts < 0:
		refuse("Attempts: is negative (%d); 0 is the default, and Unlimited is no limit", o.Attempts)
	case o.AttemptsWindow < 0:
		refuse("AttemptsWindow: is negative (%v); 0 is the default", o.AttemptsWindow)
	}
	if o.Attempts == 0 {
		o.Attempts = 10
	}
	if o.AttemptsWindow == 0 {
		o.AttemptsWindow = 15 * time.Minute
	}

	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o, errors.Join(errs...)
}

// SignIn makes user the signed-in user of a new session, and now the time at
// which they gave their credentials. It is what Login does once they are
// verified, for code that verifies in another way, such as the callback of
// OAuth. The session that the request came with is ended (OWASP ASVS 7.2.4).
//
// A user that is JSON's null, false or "" is an error, as nobody would be signed
// in. Other errors are the Manager's: pass them to its ErrorFunc. The session is
// stored, and its cookie set, when the response begins.
func (a *Auth[U]) SignIn(ctx context.Context, user U) error {
	b, err := json.Marshal(user)
	if err != nil {
		return fmt.Errorf("auth: sign in: the user can't be stored: %w", err)
	}
	if isNobody(b) {
		return errors.New("auth: sign in: the user is empty")
	}
	if err := a.m.Regenerate(ctx); err != nil {
		return fmt.Errorf("auth: sign in: %w", err)
	}
	if a.inner == "" {
		err = adapter.Put(ctx, a.m, a.outer, user)
	} else {
		err = adapter.Put(ctx, a.m, a.outer, map[string]U{a.inner: user})
	}
	if err != nil {
		return fmt.Errorf("auth: sign in: %w", err)
	}
	a.m.Put(ctx, timeKey, time.Now().Unix())
	return nil
}

// SignOut ends the session, with everything in it, for good: no request that
// still holds it can bring it back. The browser forgets its cookie. Errors are
// the Manager's: pass them to its ErrorFunc.
func (a *Auth[U]) SignOut(ctx context.Context) error {
	if err := a.m.Destroy(ctx); err != nil {
		return fmt.Errorf("auth: sign out: %w", err)
	}
	return nil
}

// User returns the signed-in user. It is false if there is none: nothing under
// Options.Key, or what Passport also takes for nobody there (null, false or "").
// A value that is not a U counts as none too, with a line in the log.
func (a *Auth[U]) User(ctx context.Context) (U, bool) {
	a.needSession(ctx)
	user, ok, err := a.user(ctx)
	if err != nil {
		a.opts.Logger.WarnContext(ctx, "auth: what the session has for a user can't be read, so nobody is signed in", "key", a.opts.Key, "error", err)
	}
	return user, ok && err == nil
}

func (a *Auth[U]) user(ctx context.Context) (user U, ok bool, err error) {
	if a.inner == "" {
		switch a.m.Get(ctx, a.outer) {
		case nil, false, "":
			return user, false, nil
		}
		user, err = adapter.Get[U](ctx, a.m, a.outer)
		return user, true, err
	}
	values, err := adapter.Get[map[string]json.RawMessage](ctx, a.m, a.outer)
	if errors.Is(err, adapter.ErrNoValue) || err == nil && isNobody(values[a.inner]) {
		return user, false, nil
	}
	if err != nil {
		return user, false, err
	}
	if json.Unmarshal(values[a.inner], &user) != nil {
		// Its own text may quote what is in the session.
		return user, false, fmt.Errorf("it is not a %T", user)
	}
	return user, true, nil
}

// isNobody tells whether JSON stands for no user.
func isNobody(b []byte) bool {
	switch string(bytes.TrimSpace(b)) {
	case "", "null", "false", `""`:
		return true
	}
	return false
}

// needSession panics, with advice, on a route without the session middleware.
// Otherwise a login there would fail only once the credentials are right.
func (a *Auth[U]) needSession(ctx context.Context) { a.m.Token(ctx) }
