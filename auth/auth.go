// Package auth signs users in and out on the sessions of package adapter, and
// restricts handlers to users who are signed in.
//
// Login, Logout, Restricted and Fresh serve both programs (JSON) and browsers
// (forms and redirects); the Accept header decides. All of them, and the methods
// that take a context, must run inside Manager.LoadAndSave, and panic with that
// advice otherwise.
//
// Signing in regenerates the session: its id changes, and its values are dropped, as
// with Express's regenerate, but for those that Options.Keep names (an anonymous
// visitor's cart, say).
//
// A [Hook] of Login asks for a second factor, or says how the session begins.
// Options.Refused answers and hears of all that is refused. An app with a login route of
// its own calls Attempt, which has Login's limits and its check of the origin, and SignIn.
//
// The session holds what an Express app expects: the user, or with NewByID the user's id,
// under Options.Key; under "auth_time" the time at which the user last gave their
// credentials, in whole seconds since 1970; and under "amr" the methods that were used, if
// the app names them (the claims of these names in OpenID Connect Core, section 2). An
// Express app that signs users in itself sets them:
//
//	req.session.user = user
//	req.session.auth_time = Math.floor(Date.now() / 1000)
//	req.session.amr = ['pwd', 'otp', 'mfa']
//	req.session.auth_device = { userAgent: req.get('User-Agent'), addr: req.ip } // Options.NoteDevice
package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/internal/refusal"
)

const (
	timeKey    = "auth_time" // the time of the sign-in
	methodsKey = "amr"       // how the user gave their credentials
)

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

	// Fields are the names of further fields that a login may have, at most once each: text,
	// true, false or a number. The Verifier and the hooks read them with Field. Other
	// fields are an error in JSON and ignored in a form. Zero value: none.
	Fields []string

	// RememberFor is the age of the session, and of its cookie, of a user who ticks
	// "remember me", the field "remember": what Express apps set as cookie.maxAge. Without
	// the tick, the Manager's options decide. Zero value: there is no such field.
	RememberFor time.Duration

	// Keep are the keys of the session whose values SignIn carries over into the new one,
	// such as "cart". Values of a session in which another user is signed in are not
	// carried over. Whoever planted a visitor's session has chosen its values, so keep none
	// that are trusted. Zero value: none.
	Keep []string

	// MaxSessions is how many sessions a user may have (OWASP ASVS 7.1.2). A login beyond
	// that ends the one that signed in first, or itself with KeepSessions. The order is that
	// of the logins here, whatever SignInOptions.At says; it is in the sessions, under
	// "auth_order". One without it counts by "auth_time". It takes a Manager with
	// Options.UserPath. Zero value: any number.
	MaxSessions int

	// KeepSessions refuses a login beyond MaxSessions, with ErrTooManySessions, 403 and
	// "Too Many Sessions". Zero value: it ends the session that signed in first.
	KeepSessions bool

	// NoteDevice notes in the session, under "auth_device", the browser's User-Agent header
	// and the client's address, for a page on which users find their devices. Both are
	// personal data. Zero value: false.
	NoteDevice bool

	// MaxBody is the maximum size of a login's body, in bytes. Zero value: 4096.
	MaxBody int64

	// Attempts is how many failed logins one client address may make at one
	// account in a burst; after that it may make one more each
	// AttemptsWindow/Attempts. Two wider limits are ten times as high: one address
	// at all accounts, and all addresses at one account. With the default, that is
	// the 100 of NIST SP 800-63B-4, section 3.2.2. A successful login exempts its
	// address from the two wider limits at that account for 30 days. Someone
	// else's attempts can therefore lock an owner out only at a new address, and
	// only while they go on. An account has its last 16 such addresses, and the 262,144
	// accounts that signed in last have any.
	//
	// An IPv6 address counts by its /64. At all accounts, its /56 may make four times as many
	// attempts as a /64, and its /48 sixteen times as many.
	//
	// A name counts without its case and the spaces around it. A Verifier that takes other
	// spellings of a name too gives an account a limit for each.
	//
	// The counts are kept in this process, in bounded memory: at most
	// 75 MB, if all these accounts have 16 addresses.
	// Zero value: 10 (OWASP ASVS 6.3.1).
	Attempts int

	// Logins is how many successful logins one client address may make at one account in a
	// burst, and one more each AttemptsWindow/Logins: each is a session in the store. All
	// addresses at one account may make ten times as many. Only who has the credentials can
	// use them up. Zero value: 100, which is more than people and their devices need; raise
	// it for programs that sign in for each of their requests.
	Logins int

	// AttemptsWindow is the time in which all Attempts, and all Logins, are regained. Zero
	// value: 15 minutes.
	AttemptsWindow time.Duration

	// Unlimited turns the limits off, for a server that limits logins elsewhere.
	// Attempts, Logins and AttemptsWindow must then be zero.
	Unlimited bool

	// ClientHeader is the header in which the proxies in front of this server name their
	// client: "X-Real-IP", "X-Forwarded-For", "Forwarded" (RFC 7239), or one of their own. Of
	// several addresses, the last one that is not of TrustedProxies counts. A request that
	// does not come from TrustedProxies counts by its RemoteAddr. Zero value: each does, so
	// all clients behind a proxy count as one.
	ClientHeader string

	// TrustedProxies are the addresses, such as "127.0.0.1", and the prefixes, such as
	// "10.0.0.0/8", of these proxies. They are needed with ClientHeader. Zero value: none.
	TrustedProxies []string

	// ClientAddr returns the address of the client, in place of ClientHeader: for a proxy
	// on a Unix socket, say. It must take the address from what the proxy itself has set,
	// never from what a client can send. It must be safe for concurrent use. Zero value:
	// ClientHeader decides.
	ClientAddr func(*http.Request) string

	// TrustedOrigins are the other origins that may send logins and logouts, in
	// the form "https://host[:port]" (http.CrossOriginProtection). They also need
	// CORS headers, which this package does not send. Zero value: none.
	TrustedOrigins []string

	// Binding ties a session to the browser in which its user signed in; the package
	// devicebound has one. Zero value: whoever has a session's cookie has the session.
	Binding Binding

	// Refused is called for each request that Login, Logout, Restricted or Fresh refuses,
	// before the answer. It may answer in its own way (for htmx, say), and returns true if it
	// has. Cache-Control is set to no-store by then. It must be safe for concurrent use.
	// Zero value: the answers that these methods document.
	Refused func(w http.ResponseWriter, r *http.Request, why Refusal) (answered bool)

	// Logger receives a Verifier's failures, the logins refused after too many
	// attempts, and warnings. No record contains credentials, a cookie or a
	// session id. Zero value: slog.Default().
	Logger *slog.Logger
}

// Auth signs users of the type U in and out. U must be a concrete type that
// round-trips through encoding/json. As it is stored in each session, it should
// hold only what handlers need. An Auth is safe for concurrent use.
type Auth[U any] struct {
	*core
	verify  Verifier[U]
	stored  func(U) any                                       // what the session holds of a user
	current func(ctx context.Context) (U, error)              // the error is ErrNotSignedIn, or that of a load
	with    func(ctx context.Context, user U) context.Context // saves a second load; or nil
}

// core is what does not depend on the type of the users. The rest of an Auth is compiled anew
// for each type, in each package that has one.
type core struct {
	m       *adapter.Manager
	opts    Options
	outer   string // the session's key
	inner   string // the key inside it, or ""
	origin  *http.CrossOriginProtection
	limits  *limits // nil: unlimited
	proxies []netip.Prefix

	proxyWarning  sync.Once
	keyNote       sync.Once
	stampWarning  sync.Once
	originWarning bounded
}

// New returns an Auth that keeps the signed-in user in the sessions of m. verify is nil where
// users do not sign in by a password here: an Express app has the login, say, or SignIn is
// called after an OAuth callback. The type is then named, auth.New[User](m, nil, opts), and
// Login and Attempt panic. The error names every invalid field, and the fix; see
// Options.Validate.
func New[U any](m *adapter.Manager, verify Verifier[U], opts Options) (*Auth[U], error) {
	c, err := newCore(m, opts, reflect.TypeFor[U]())
	if t := reflect.TypeFor[U](); t.Implements(reflect.TypeFor[Stamper]()) || t.Implements(reflect.TypeFor[Revoker]()) {
		err = errors.Join(err, fmt.Errorf("auth: a %v has SessionStamp or SessionsSince, of the user as they are now; sessions hold the user as they were: use NewByID", t))
	}
	if err != nil {
		return nil, err
	}
	return &Auth[U]{
		core: c, verify: verify,
		stored:  func(user U) any { return user },
		current: func(ctx context.Context) (U, error) { return readUser[U](ctx, c) },
	}, nil
}

// NewByID is New for sessions that hold the user's id alone, as Passport's do: with
// Options.Key "passport.user", id is its serializeUser and load its deserializeUser. ID is
// the id's type, such as string or int64, and must round-trip through encoding/json.
//
// load must return ErrInvalid, or wrap it, if there is no such user (any more): nobody is
// signed in then, which is logged. Any other error fails the request: Restricted and Fresh
// have the Manager's ErrorFunc answer, and User returns it. A request is never taken for a
// visitor's because the users can't be reached. load is called once for a request behind
// Restricted or Fresh, and elsewhere at each call of User. It must be safe for concurrent
// use.
func NewByID[U any, ID comparable](m *adapter.Manager, verify Verifier[U], id func(U) ID,
	load func(ctx context.Context, id ID) (U, error), opts Options,
) (*Auth[U], error) {
	c, err := newCore(m, opts, reflect.TypeFor[ID]())
	if id == nil || load == nil {
		err = errors.Join(err, errors.New("auth: NewByID needs both functions, id and load"))
	}
	if err != nil {
		return nil, err
	}
	a := &Auth[U]{core: c, verify: verify}
	type key struct{ *Auth[U] }
	type loaded struct {
		id   ID
		user U
	}
	a.stored = func(user U) any { return id(user) }
	a.with = func(ctx context.Context, user U) context.Context {
		return context.WithValue(ctx, key{a}, loaded{id(user), user})
	}
	a.current = func(ctx context.Context) (U, error) {
		var nobody U
		is, err := readUser[ID](ctx, c)
		if err != nil {
			return nobody, err
		}
		if l, ok := ctx.Value(key{a}).(loaded); ok && l.id == is {
			return l.user, nil
		}
		user, err := load(ctx, is)
		switch {
		case errors.Is(err, ErrInvalid):
			a.opts.Logger.WarnContext(ctx, "auth: there is no user with the session's id, so nobody is signed in", "key", a.opts.Key)
			return nobody, ErrNotSignedIn
		case err != nil:
			return nobody, fmt.Errorf("auth: load the user: %w", err)
		case !a.counts(ctx, user):
			return nobody, ErrNotSignedIn
		}
		return user, nil
	}
	return a, nil
}

func newCore(m *adapter.Manager, opts Options, stored reflect.Type) (*core, error) {
	var errs []error
	if m == nil {
		errs = append(errs, errors.New("auth: the Manager is nil; make one with adapter.New"))
	}
	if stored.Kind() == reflect.Interface {
		errs = append(errs, fmt.Errorf("auth: the type %v of what the session holds is an interface, which it can't give back; use a concrete type", stored))
	}
	opts, err := opts.withDefaults()
	if m != nil && err == nil {
		r := refusal.List{Package: "auth", Struct: "Options"}
		path := m.UserPath()
		if opts.MaxSessions > 0 && path == "" {
			r.Add("MaxSessions", "takes a Manager with Options.UserPath, such as %q", opts.Key+".id")
		}
		if path != "" && path != opts.Key && !strings.HasPrefix(path, opts.Key+".") {
			r.Add("Key", "%q is not where the Manager's Options.UserPath, %q, looks for the user; use the same key in both", opts.Key, path)
		}
		err = r.Err()
	}
	if errs = append(errs, err); errors.Join(errs...) != nil {
		return nil, errors.Join(errs...)
	}
	a := &core{m: m, opts: opts, origin: opts.crossOrigin(&refusal.List{}), proxies: opts.proxies(&refusal.List{})}
	a.outer, a.inner, _ = strings.Cut(opts.Key, ".")
	if !opts.Unlimited {
		a.limits = newLimits(opts.Attempts, opts.Logins, opts.AttemptsWindow, maxCounters, maxKnownAccounts)
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
	case isTaken(outer):
		r.Add("Key", "%q is taken by the session itself; use another", outer)
	}
	for i, key := range o.Keep {
		if key == "" || key == outer || isTaken(key) {
			r.Add(fmt.Sprintf("Keep[%d]", i), "%q is not a key that the app's own values have", key)
		}
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
	r.Age("RememberFor", o.RememberFor, time.Second)
	if o.RememberFor > 0 {
		if o.UsernameField == rememberField || o.PasswordField == rememberField {
			r.Add("RememberFor UsernameField PasswordField", "%q is the field of RememberFor", rememberField)
		}
		o.Fields = append(slices.Clone(o.Fields), rememberField)
	}
	for i, name := range o.Fields {
		if name == "" || name == o.UsernameField || name == o.PasswordField || name == returnToField || slices.Contains(o.Fields[:i], name) {
			r.Add(fmt.Sprintf("Fields[%d]", i), "%q is empty, or the name of another field", name)
		}
	}

	switch {
	case o.MaxSessions < 0:
		r.Add("MaxSessions", "is negative (%d); 0 is any number", o.MaxSessions)
	case o.KeepSessions && o.MaxSessions == 0:
		r.Add("KeepSessions MaxSessions", "the first has no effect without the second; set both or none")
	}

	if o.MaxBody < 0 {
		r.Add("MaxBody", "is negative (%d); 0 is the default", o.MaxBody)
	}
	if o.MaxBody == 0 {
		o.MaxBody = 4096
	}

	switch {
	case o.Unlimited && (o.Attempts != 0 || o.Logins != 0 || o.AttemptsWindow != 0):
		r.Add("Unlimited Attempts Logins AttemptsWindow", "Unlimited means none; drop one or the other")
	case o.Attempts < 0:
		r.Add("Attempts", "is negative (%d); 0 is the default, and Unlimited is no limit", o.Attempts)
	case o.Logins < 0:
		r.Add("Logins", "is negative (%d); 0 is the default, and Unlimited is no limit", o.Logins)
	default:
		r.Age("AttemptsWindow", o.AttemptsWindow, time.Second)
	}
	if o.Attempts == 0 {
		o.Attempts = 10
	}
	if o.Logins == 0 {
		o.Logins = 100
	}
	if o.AttemptsWindow == 0 {
		o.AttemptsWindow = 15 * time.Minute
	}

	o.crossOrigin(&r)
	o.proxies(&r)

	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o, r.Err()
}

// isTaken reports whether a key of the session is not the app's own.
func isTaken(key string) bool {
	return key == "cookie" || key == timeKey || key == methodsKey || key == deviceKey || key == stampKey || key == orderKey || key == bindingKey || strings.HasPrefix(key, "__")
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

// SignInOptions say how a session begins. The zero value of every field is usable.
type SignInOptions struct {
	// At is the time at which the user gave their credentials: OpenID Connect's
	// "auth_time", which Fresh goes by. Zero value: now.
	At time.Time

	// Methods are how the user gave them: OpenID Connect's "amr", by the names of RFC 8176,
	// such as "pwd", "otp", "hwk", and "mfa" for more than one factor. Fresh can ask for
	// them. Zero value: none are stored.
	Methods []string

	// MaxAge is the session's own age, as Manager.SetMaxAge sets it. Zero value: the
	// Manager's options decide.
	MaxAge time.Duration

	// From is the request whose User-Agent and address Options.NoteDevice notes. Login sets
	// it. Zero value: nothing is noted.
	From *http.Request
}

// SignIn begins a new session with user signed in, now. Login calls it after
// verification; code that verifies in another way, such as an OAuth callback, calls it, or
// SignInWith, directly. The request's previous session is destroyed (OWASP ASVS 7.2.4),
// but for the values that Options.Keep names.
//
// A user (or, with NewByID, an id) that encodes as null, false or "" is an error, as these
// mean that nobody is signed in. Other errors are the Manager's: pass them to its
// ErrorFunc; with Options.MaxSessions, it can also be ErrTooManySessions. With an error,
// user is not signed in. The session is stored, and its cookie set, when the response begins.
func (a *Auth[U]) SignIn(ctx context.Context, user U) error {
	return a.SignInWith(ctx, user, SignInOptions{})
}

// SignInWith is SignIn with options.
func (a *Auth[U]) SignInWith(ctx context.Context, user U, opts SignInOptions) error {
	return a.signIn(ctx, user, a.stored(user), opts)
}

// signIn is SignInWith for a user of whom the session holds what is stored.
func (a *core) signIn(ctx context.Context, user, stored any, opts SignInOptions) error {
	b, err := json.Marshal(stored)
	if err != nil {
		return fmt.Errorf("auth: sign in: the user can't be stored: %w", err)
	}
	if isNobody(b) {
		return errors.New("auth: sign in: the user is empty")
	}
	kept := a.kept(ctx, b)
	if err := a.m.Regenerate(ctx); err != nil {
		return fmt.Errorf("auth: sign in: %w", err)
	}
	if a.inner == "" {
		err = adapter.Put(ctx, a.m, a.outer, stored)
	} else {
		err = adapter.Put(ctx, a.m, a.outer, map[string]any{a.inner: stored})
	}
	if err != nil {
		return fmt.Errorf("auth: sign in: %w", err)
	}
	at := opts.At
	if at.IsZero() {
		at = time.Now()
	}
	a.m.Put(ctx, timeKey, at.Unix())
	if len(opts.Methods) > 0 {
		err = adapter.Put(ctx, a.m, methodsKey, opts.Methods)
	}
	if opts.MaxAge != 0 {
		a.m.SetMaxAge(ctx, opts.MaxAge)
	}
	for key, value := range kept {
		a.m.Put(ctx, key, value)
	}
	if s, ok := user.(Stamper); ok {
		a.m.Put(ctx, stampKey, stampOf(s))
	}
	if err == nil {
		err = a.noteDevice(ctx, opts.From)
	}
	if err == nil {
		err = a.bound(ctx)
	}
	if err != nil { // the end of the request would save the session, with its user
		return errors.Join(fmt.Errorf("auth: sign in: %w", err), a.m.Destroy(ctx))
	}
	a.auditLogin(ctx, opts)
	return nil
}

// kept returns the values to carry over into a session of this user, as they are stored.
func (a *core) kept(ctx context.Context, user []byte) map[string]any {
	if len(a.opts.Keep) == 0 {
		return nil
	}
	if was, err := readUser[json.RawMessage](ctx, a); err == nil {
		var compact bytes.Buffer
		if json.Compact(&compact, was) != nil || !bytes.Equal(compact.Bytes(), user) {
			return nil // another user's
		}
	}
	kept := map[string]any{}
	for _, key := range a.opts.Keep {
		// scs's own Get does not decode a value, so it stays as it is.
		if value := a.m.SessionManager.Get(ctx, key); value != nil {
			kept[key] = value
		}
	}
	return kept
}

// SignOut destroys the session with all its values. A concurrent request that
// still holds it can't restore it. The browser's cookie is removed. Errors are the
// Manager's: pass them to its ErrorFunc.
func (a *Auth[U]) SignOut(ctx context.Context) error { return a.signOut(ctx) }

func (a *core) signOut(ctx context.Context) error {
	was, user := a.m.Token(ctx) != "", a.m.UserID(ctx)
	if err := a.m.Destroy(ctx); err != nil {
		return fmt.Errorf("auth: sign out: %w", err)
	}
	if was {
		a.m.Audit(ctx, slog.LevelInfo, EventLogout, "user", user)
	}
	return nil
}

// User returns the signed-in user. The error is ErrNotSignedIn if there is none:
// Options.Key has no value, or one that Passport also takes for nobody (null, false or
// ""). A value that is not a U counts as none too, and is logged. With NewByID there can
// be other errors, which are not to be taken for that: pass them to the Manager's
// ErrorFunc. Behind Restricted or Fresh there is always a user, and no error.
func (a *Auth[U]) User(ctx context.Context) (U, error) {
	a.needSession(ctx)
	return a.current(ctx)
}

// readUser returns what the session holds of the user. The error is ErrNotSignedIn.
func readUser[T any](ctx context.Context, a *core) (T, error) {
	var nobody T
	v, ok, err := readKey[T](ctx, a.m, a.outer, a.inner)
	if err != nil {
		a.opts.Logger.WarnContext(ctx, "auth: the session's user can't be decoded, so nobody is signed in", "key", a.opts.Key, "error", err)
	}
	if !ok || err != nil {
		return nobody, ErrNotSignedIn
	}
	return v, nil
}

func readKey[T any](ctx context.Context, m *adapter.Manager, outer, inner string) (v T, ok bool, err error) {
	if inner == "" {
		switch m.Get(ctx, outer) {
		case nil, false, "":
			return v, false, nil
		}
		v, err = adapter.Get[T](ctx, m, outer)
		return v, true, err
	}
	values, err := adapter.Get[map[string]json.RawMessage](ctx, m, outer)
	if errors.Is(err, adapter.ErrNoValue) || err == nil && isNobody(values[inner]) {
		return v, false, nil
	}
	if err != nil {
		return v, false, err
	}
	if json.Unmarshal(values[inner], &v) != nil {
		// The decoder's error may quote the session's content.
		return v, false, fmt.Errorf("it is not a %T", v)
	}
	return v, true, nil
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
func (a *core) needSession(ctx context.Context) { a.m.Token(ctx) }
