package adapter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/internal/wire"
)

// Manager is scs's SessionManager with the behaviour of express-session. Code
// written for scs works on it unchanged: the data methods (Put, GetString,
// Remove, Keys, …) are scs's own, and those that reach the store or the cookie
// (LoadAndSave, Load, Commit, Destroy, RenewToken, Iterate, …) are replaced by
// methods of the same name and meaning. Call them on the Manager: the embedded
// SessionManager's own would go round the signature and the guarantees.
//
// The embedded fields (Cookie, Lifetime, IdleTimeout, Store, Codec, ErrorFunc,
// HashTokenInStore) hold what New made of the Options and may be changed until
// the first request. They are read then, once; what can't be honoured is an
// error on every request.
//
// A Manager is safe for concurrent use.
type Manager struct {
	*scs.SessionManager

	opts   Options
	signer *wire.Signer       // nil: cookies are not signed
	given  scs.SessionManager // the fields as New set them, to see what was changed since

	once sync.Once
	cfg  *config
	err  error

	plainHTTP sync.Once // the warning for a secure cookie on a plain connection

	stats counters
}

// config is what a request reads. It is made once, at the first request, from
// the Options and the fields of scs.
type config struct {
	Options
	engine scs.SessionManager // scs's fields as scs is to see them; copied for each request
	store  *guardedStore
	codec  recordCodec
	hash   bool          // Options.IDs, or HashTokenInStore
	rename Renamer       // MigrateIDs; else nil
	idle   time.Duration // sliding expiry of a session without an age of its own; 0: none, it ends at its deadline
	// persist sends an expiry with the cookie of a session without an age of
	// its own: scs's Cookie.Persist.
	persist bool
	cookie  wire.Cookie // a new session's, but for what depends on the request
}

// forever stands for "no absolute lifetime" where scs wants a Lifetime. A
// deadline that far away is not stored.
const forever = 100 * 365 * 24 * time.Hour

// New makes a Manager. The error names every field that can't be used, and the
// fix. New warns in the log about a secret that is short.
//
// Like scs.New, it starts a memory store, whose clean-up goroutine runs as long
// as the process does: make a Manager once, not for each request.
func New(opts Options) (*Manager, error) {
	opts, err := opts.checked()
	if err != nil {
		return nil, err
	}
	sm := scs.New()
	if opts.Store == nil {
		opts.Store = sm.Store
	}
	m := &Manager{SessionManager: sm, opts: opts}
	if opts.Cookies != UnsignedCookies {
		m.signer = wire.NewSigner(opts.Secrets)
	}
	sm.Store = opts.Store
	sm.Codec = opts.Codec
	sm.Lifetime = opts.AbsoluteLifetime
	sm.IdleTimeout = opts.TTL
	if opts.Cookie.MaxAge > 0 {
		sm.IdleTimeout = opts.Cookie.MaxAge
	}
	sm.HashTokenInStore = opts.IDs != PlainIDs
	sm.ErrorFunc = m.respondError
	sm.Cookie = scs.SessionCookie{
		Name:        opts.Name,
		Domain:      opts.Cookie.Domain,
		Path:        cmp.Or(opts.Cookie.Path, "/"),
		HttpOnly:    opts.Cookie.HTTPOnly != False,
		Secure:      opts.Cookie.Secure == True,
		SameSite:    opts.Cookie.SameSite.http(),
		Partitioned: opts.Cookie.Partitioned,
		Persist:     opts.Cookie.MaxAge > 0,
	}
	m.given = *sm
	if _, err := m.makeConfig(); err != nil {
		return nil, err
	}
	for i, s := range opts.Secrets {
		if len(s) < 32 {
			opts.Logger.Warn(fmt.Sprintf("session: Secrets[%d] is %d bytes long: use 32 random bytes or more", i, len(s)))
		}
		opts.Secrets[i] = "hidden" // printing a Manager must not show it; the signer has it
	}
	return m, nil
}

// config returns what requests read, made at the first call.
func (m *Manager) config() (*config, error) {
	m.once.Do(func() { m.cfg, m.err = m.makeConfig() })
	return m.cfg, m.err
}

// makeConfig joins the Options and what was set on scs's fields since New.
func (m *Manager) makeConfig() (*config, error) {
	now, given := m.SessionManager, &m.given
	o := m.opts
	var errs []error
	refuse := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("adapter: Manager."+format, args...))
	}

	idle := now.IdleTimeout
	cookie := now.Cookie
	o.Name, cookie.Name = cookie.Name, given.Cookie.Name
	if o.CookieFunc == nil {
		if cookie.Path == "" {
			refuse("Cookie.Path: is empty; say \"/\"")
		}
		o.Cookie.Path, o.Cookie.Domain, o.Cookie.Partitioned = cookie.Path, cookie.Domain, cookie.Partitioned
		if cookie.HttpOnly != given.Cookie.HttpOnly {
			o.Cookie.HTTPOnly = boolOf(cookie.HttpOnly)
		}
		if cookie.Secure != given.Cookie.Secure {
			o.Cookie.Secure = boolOf(cookie.Secure)
		}
		if cookie.SameSite != given.Cookie.SameSite {
			o.Cookie.SameSite = sameSiteOf(cookie.SameSite)
		}
	} else if cookie != given.Cookie || idle != given.IdleTimeout {
		refuse("Cookie and Manager.IdleTimeout: Options.CookieFunc makes the cookie; set it there")
	}

	switch {
	case o.Cookie.MaxAge == 0:
		o.TTL = idle
	case cookie.Persist:
		o.Cookie.MaxAge = idle
	default:
		o.Cookie.MaxAge, o.TTL = 0, idle
	}
	o.AbsoluteLifetime = now.Lifetime
	switch {
	case idle < 0:
		refuse("IdleTimeout: is negative (%v); 0 is none", idle)
	case idle == 0 && now.Lifetime == 0:
		refuse("IdleTimeout and Manager.Lifetime: are both 0, so that a session would never end; set one")
	}

	o.Store, o.Codec = now.Store, now.Codec
	if o.Store == nil {
		refuse("Store: is nil")
	}
	if o.Codec == nil {
		refuse("Codec: is nil")
	}
	if now.ErrorFunc == nil {
		refuse("ErrorFunc: is nil")
	}
	switch {
	case !now.HashTokenInStore:
		o.IDs = PlainIDs
	case o.IDs == PlainIDs && sharedWithExpress(o.Store):
		refuse("HashTokenInStore: can't be used with this store: Express looks for the id itself; use another layout")
	case o.IDs == PlainIDs:
		o.IDs = HashedIDs
	}
	if _, err := o.checked(); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}

	c := &config{
		Options: o,
		engine:  *now,
		store:   newGuardedStore(o.Store),
		codec:   recordCodecOf(o.Codec),
		hash:    o.IDs != PlainIDs,
		idle:    idle,
		persist: cookie.Persist && o.Cookie.MaxAge == 0,
		cookie:  o.Cookie.wire(),
	}
	if o.IDs == MigrateIDs {
		c.rename = o.Store.(Renamer)
	}
	if o.Cookie.MaxAge > 0 {
		c.idle = o.TTL
	}
	// scs marks every loaded session as modified when IdleTimeout is set, and
	// hashes the token before a store sees it: both are done here instead.
	c.engine.IdleTimeout = 0
	c.engine.HashTokenInStore = false
	if c.engine.Lifetime == 0 {
		c.engine.Lifetime = forever
	}
	return c, nil
}

// StoreError is the failure of a store, as ErrorFunc and the Manager's methods
// see it. The session's state is unknown, so the request must not go on as if
// nobody were signed in.
type StoreError struct {
	Op  string // find, save, touch, delete, list
	Err error
}

func (e *StoreError) Error() string { return "session: " + e.Op + ": " + e.Err.Error() }

// Unwrap returns the store's own error.
func (e *StoreError) Unwrap() error { return e.Err }

func storeError(op string, err error) error {
	if err == nil {
		return nil
	}
	return &StoreError{Op: op, Err: err}
}

// fail has ErrorFunc answer, and sees to it that there is an answer.
func (m *Manager) fail(w http.ResponseWriter, r *http.Request, err error) {
	ew := &errorWriter{ResponseWriter: w}
	m.ErrorFunc(ew, r, err)
	if !ew.begun {
		w.WriteHeader(http.StatusInternalServerError)
	}
}

// respondError is the ErrorFunc that New sets: 503 with Retry-After when the
// store fails, 500 for anything else, and a line in the log.
func (m *Manager) respondError(w http.ResponseWriter, r *http.Request, err error) {
	level := slog.LevelError
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		level = slog.LevelDebug // the client has gone; nobody waits for the answer
	}
	m.opts.Logger.Log(r.Context(), level, "session: request failed", "error", err)
	status := http.StatusInternalServerError
	var store *StoreError
	if errors.As(err, &store) {
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "5")
	}
	http.Error(w, http.StatusText(status), status)
}
