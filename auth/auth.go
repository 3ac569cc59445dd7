// Package auth signs users in and out on the sessions of package adapter, and
// restricts handlers to users who are signed in.
//
// Login, Logout, Restricted and Fresh serve both programs (JSON) and browsers
// (forms and redirects); the Accept header decides. All of them, and the methods
// that take a context, must run inside Manager.LoadAndSave, and panic with that
// advice otherwise.
//
// Signing in regenerates the session: its id changes, and its values (an anonymous
// visitor's cart, say) are dropped, as with Express's regenerate. A handler that
// calls SignIn itself can carry some values over, as SignIn's example does.
//
// The session holds what an Express app expects: the user under Options.Key, and
// under "auth_time" the time at which the user last gave their credentials, in
// whole seconds since 1970 (as the claim of that name in OpenID Connect Core,
// section 2). An Express app that signs users in itself sets both:
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
	"github.com/samesid/samesid/internal/refusal"
)

// timeKey holds the time of the sign-in.
const timeKey = "auth_time"

// ErrInvalid is the error that a Verifier must return, or wrap, both for an
// unknown user and for a wrong password.
var ErrInvalid = errors.New("auth: unknown user or wrong password")

// A Verifier checks credentials and returns the user they belong to. For wrong
// credentials it must return an error that is ErrInvalid, by errors.Is. It must
// take as long for an unknown user as for a wrong password; Passwords returns one
// that does. Any other error is a failure of the server: the client gets a 500
// with a fixed text, and the error is logged, so it must not contain the
// credentials.
//
// Neither username nor password is empty, and both are UTF-8 without NUL. A
// Verifier must be safe for concurrent use.
type Verifier[U any] func(ctx context.Context, username, password string) (U, error)

// Options are the settings of an Auth. The zero value of every field is usable.
type Options struct {
	// Key is the session's key for the user. A dot separates two levels:
	// "passport.user" is where Passport keeps it, {"passport":{"user":…}}. Zero
	// value: "user".
	Key string

	// LoginPage is the local path of the page with the login form. Browsers are
	// redirected to it with the query parameters that Login documents. Zero
	// value: none; browsers then get the same answers as programs.
	LoginPage string

	// AfterLogin is the local path to which a browser is redirected after a
	// login without a returnTo. Zero value: "/".
	AfterLogin string

	// AfterLogout is the local path to which a browser is redirected after a
	// logout. Zero value: "/".
	AfterLogout string

	// UsernameField and PasswordField are the names of the fields in a login's
	// form or JSON. Zero values: "username" and "password".
	UsernameField, PasswordField string

	// MaxBody is the maximum size of a login's body, in bytes. Zero value: 4096.
	MaxBody int64

	// Attempts is how many failed logins one client address may make at one
	// account in a burst; after that it may make one more each
	// AttemptsWindow/Attempts. Two wider limits are ten times as high: one address
	// at all accounts, and all addresses at one account. With the default, that is
	// the 100 of NIST SP 800-63B-4, section 3.2.2. A successful login exempts its
	// address from the two wider limits at that account for 30 days. Someone
	// else's attempts can therefore lock an owner out only at a new address, and
	// only while they go on. Successful logins are not counted.
	//
	// The counts are kept in this process, in bounded memory: about 30 MB at most.
	// Zero value: 10 (OWASP ASVS 6.3.1).
	Attempts int

	// AttemptsWindow is the time in which all Attempts are regained. Zero value:
	// 15 minutes.
	AttemptsWindow time.Duration

	// Unlimited turns the limits off, for a server that limits logins elsewhere.
	// Attempts and AttemptsWindow must then be zero.
	Unlimited bool

	// ClientAddr returns the address of the client, for a server behind a
	// proxy. Without it, all clients behind the proxy count as one. It must take
	// the address from what the proxy itself has set, never from what a client
	// can send. IPv6 addresses count by their /64. It must be safe for concurrent
	// use. Zero value: the host in Request.RemoteAddr.
	ClientAddr func(*http.Request) string

	// TrustedOrigins are the other origins that may send logins and logouts, in
	// the form "https://host[:port]" (http.CrossOriginProtection). They also need
	// CORS headers, which this package does not send. Zero value: none.
	TrustedOrigins []string

	// Logger receives a Verifier's failures, the logins refused after too many
	// attempts, and warnings. No record contains credentials, a cookie or a
	// session id. Zero value: slog.Default().
	Logger *slog.Logger
}

// Auth signs users of the type U in and out. U must be a concrete type that
// round-trips through encoding/json. As it is stored in each session, it should
// hold only what handlers need. An Auth is safe for concurrent use.
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

// New returns an Auth that keeps the signed-in user in the sessions of m. The error names
// every invalid field, and the fix; see Options.Validate.
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
	opts, err := opts.withDefaults()
	if errs = append(errs, err); errors.Join(errs...) != nil {
		return nil, errors.Join(errs...)
	}
	a := &Auth[U]{m: m, verify: verify, opts: opts, origin: opts.crossOrigin(&refusal.List{})}
	a.outer, a.inner, _ = strings.Cut(opts.Key, ".")
	if !opts.Unlimited {
		a.limits = newLimits(opts.Attempts, opts.AttemptsWindow, maxCounters)
	}
	return a, nil
}

// Validate returns an error that names every field that New would reject, and the fix.
func (o Options) Validate() error {
	_, err := o.withDefaults()
	return err
}

// withDefaults returns a copy with the defaults filled in, or Validate's error.
func (o Options) withDefaults() (Options, error) {
	r := refusal.List{Package: "auth", Struct: "Options"}

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
		r.Add("Key", "%q is neither a key nor two with a dot between them", o.Key)
	case outer == "cookie" || outer == timeKey || strings.HasPrefix(outer, "__"):
		r.Add("Key", "%q is taken by the session itself; use another", outer)
	}

	for _, f := range []struct{ name, path string }{
		{"LoginPage", o.LoginPage},
		{"AfterLogin", o.AfterLogin},
		{"AfterLogout", o.AfterLogout},
	} {
		if f.path != "" && !isLocal(f.path) {
			r.Add(f.name, "%q is not a path on this server; begin it with one \"/\" and escape what is not ASCII", f.path)
		}
	}

	switch {
	case o.UsernameField == o.PasswordField:
		r.Add("UsernameField PasswordField", "both are %q", o.UsernameField)
	case o.UsernameField == returnToField || o.PasswordField == returnToField:
		r.Add("UsernameField PasswordField", "%q is the field for the page to return to; use another", returnToField)
	}

	if o.MaxBody < 0 {
		r.Add("MaxBody", "is negative (%d); 0 is the default", o.MaxBody)
	}
	if o.MaxBody == 0 {
		o.MaxBody = 4096
	}

	switch {
	case o.Unlimited && (o.Attempts != 0 || o.AttemptsWindow != 0):
		r.Add("Unlimited Attempts AttemptsWindow", "Unlimited means none; drop one or the other")
	case o.Attempts < 0:
		r.Add("Attempts", "is negative (%d); 0 is the default, and Unlimited is no limit", o.Attempts)
	default:
		r.Age("AttemptsWindow", o.AttemptsWindow, time.Second)
	}
	if o.Attempts == 0 {
		o.Attempts = 10
	}
	if o.AttemptsWindow == 0 {
		o.AttemptsWindow = 15 * time.Minute
	}

	o.crossOrigin(&r)

	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o, r.Err()
}

// crossOrigin returns the protection that trusts TrustedOrigins. It adds the invalid ones
// to r.
func (o Options) crossOrigin(r *refusal.List) *http.CrossOriginProtection {
	p := http.NewCrossOriginProtection()
	for i, origin := range o.TrustedOrigins {
		if err := p.AddTrustedOrigin(origin); err != nil {
			r.Add(fmt.Sprintf("TrustedOrigins[%d]", i), "%w", err)
		}
	}
	return p
}

// SignIn begins a new session with user signed in, and with now as the time at
// which they gave their credentials. Login calls it after verification; code that
// verifies in another way, such as an OAuth callback, calls it directly. The
// request's previous session is destroyed (OWASP ASVS 7.2.4).
//
// A user that encodes as null, false or "" is an error, as these mean that nobody
// is signed in. Other errors are the Manager's: pass them to its ErrorFunc. The
// session is stored, and its cookie set, when the response begins.
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

// SignOut destroys the session with all its values. A concurrent request that
// still holds it can't restore it. The browser's cookie is removed. Errors are the
// Manager's: pass them to its ErrorFunc.
func (a *Auth[U]) SignOut(ctx context.Context) error {
	if err := a.m.Destroy(ctx); err != nil {
		return fmt.Errorf("auth: sign out: %w", err)
	}
	return nil
}

// User returns the signed-in user, or false if there is none: Options.Key has no
// value, or one that Passport also takes for nobody (null, false or ""). A value
// that is not a U counts as none too, and is logged.
func (a *Auth[U]) User(ctx context.Context) (U, bool) {
	a.needSession(ctx)
	user, ok, err := a.user(ctx)
	if err != nil {
		a.opts.Logger.WarnContext(ctx, "auth: the session's user can't be decoded, so nobody is signed in", "key", a.opts.Key, "error", err)
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
		// The decoder's error may quote the session's content.
		return user, false, fmt.Errorf("it is not a %T", user)
	}
	return user, true, nil
}

// isNobody reports whether a JSON value stands for no user.
func isNobody(b []byte) bool {
	switch string(bytes.TrimSpace(b)) {
	case "", "null", "false", `""`:
		return true
	}
	return false
}

// needSession panics, with advice, on a route without the session middleware.
// Without it, a login there would fail only when the credentials are right.
func (a *Auth[U]) needSession(ctx context.Context) { a.m.Token(ctx) }
