package adapter

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/backends/contract"
	"github.com/samesid/samesid/backends/memory"
	"github.com/samesid/samesid/internal/refusal"
	"github.com/samesid/samesid/internal/wire"
)

// Manager is scs's SessionManager with the behaviour of express-session. Code
// written for scs works on it unchanged: the data methods (Put, GetString,
// Remove, Keys, …) are scs's own, and those that reach the store or the cookie
// (LoadAndSave, Load, Commit, Destroy, RenewToken, Iterate, …) are replaced by
// methods of the same name and meaning. Call them on the Manager: those of the
// embedded SessionManager fail as soon as they reach the store.
//
// The embedded fields show what the Manager was made with. Only ErrorFunc can be changed
// afterwards, before the first request; a change of another one has no effect, and is an
// error in the log.
//
// A Manager is safe for concurrent use.
type Manager struct {
	*scs.SessionManager

	cfg    *config
	signer atomic.Pointer[signer] // nil: cookies are not signed
	sweeps atomic.Pointer[[]*sweep]
	moves  moves
	stats  counters

	secretsMu sync.Mutex // held by whoever replaces signer

	// What is said once.
	plainHTTP, noSignature, unknown, several, changed, otherName sync.Once

	typesNoted  sync.Map     // reflect.Type → true
	foreign     atomic.Int32 // the cookies of other names that were verified
	outsideSaid atomic.Bool
}

// config is what a request reads. It never changes.
type config struct {
	Options
	fields scs.SessionManager // the embedded fields, to see what was changed since
	engine scs.SessionManager // holds the data of a request: see data
	// What the data of the two has in a context: see data.
	key, engineKey any
	store          *guardedStore
	codec          recordCodec
	isJSON         bool
	users          *users // nil without Options.UserPath

	hash    bool          // the store key is the hash of the id
	migrate bool          // and a session may be stored under its id still
	idle    time.Duration // sliding expiry of a session without an age of its own; 0: none, it ends at its deadline
	cookie  wire.Cookie   // a new session's, but for what depends on the request

	// What scs does, for Wrap.
	fromSCS bool // the cookie is sent whenever scs would send it
	persist bool // with an expiry, also without a maxAge
	resends bool // with each response
}

// New makes a Manager. The error names every field that can't be used, and the
// fix. New warns in the log about a secret that is short, and about guarantees that the
// store can't keep across processes.
func New(opts Options) (*Manager, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	if opts.Store == nil {
		opts.Store = memory.New(memory.Options{Logger: opts.Logger})
	}
	sm := newSessionManager()
	sm.Codec = opts.Codec
	sm.Lifetime = opts.AbsoluteLifetime
	sm.IdleTimeout = opts.TTL
	if opts.Cookie.MaxAge > 0 {
		sm.IdleTimeout = opts.Cookie.MaxAge
	}
	sm.HashTokenInStore = opts.StoreKey != StoreKeyID
	sm.Cookie = scs.SessionCookie{
		Name:        opts.Name,
		Domain:      opts.Cookie.Domain,
		Path:        cmp.Or(opts.Cookie.Path, "/"),
		HttpOnly:    !opts.Cookie.ScriptAccess,
		Secure:      opts.Cookie.Secure == SecureAlways,
		SameSite:    opts.Cookie.SameSite.http(),
		Partitioned: opts.Cookie.Partitioned,
		Persist:     opts.Cookie.MaxAge > 0,
	}
	m, err := newManager(sm, &config{Options: opts, idle: opts.TTL})
	if err != nil {
		return nil, err
	}
	sm.ErrorFunc = m.RespondError
	return m, nil
}

// MustNew is New for a program that can't run without: an error is a panic.
func MustNew(opts Options) *Manager {
	m, err := New(opts)
	if err != nil {
		panic(err)
	}
	return m
}

// Wrap makes a Manager of scs's, for a program that comes from scs: all of its fields
// hold as they are, defaults included, and cookies are sent as scs sends them. Secrets
// are required, unless opts.Signature is SignatureNone; SignatureMigrating logs nobody
// out. In opts, what is a field of scs's must be left zero: Name, Store, Codec,
// Cookie, CookieFunc, TTL, AbsoluteLifetime, Rolling and ResendAfter. The error names
// every field that can't be used, and the fix.
//
// sm belongs to the Manager from then on. Its data methods work on the Manager's
// sessions; its own LoadAndSave, Load, Commit, RenewToken, Destroy, MergeSession and
// Iterate fail as soon as they reach the store. HashTokenInStore is StoreKeyHash.
func Wrap(sm *scs.SessionManager, opts Options) (*Manager, error) {
	if sm == nil {
		return nil, errors.New("adapter: Wrap: the scs.SessionManager is nil; use New")
	}
	opts, err := opts.fromSCS(sm)
	if err != nil {
		return nil, err
	}
	sliding := sm.IdleTimeout > 0
	return newManager(sm, &config{
		Options: opts,
		idle:    sm.IdleTimeout,
		fromSCS: true,
		persist: sm.Cookie.Persist,
		resends: sliding,
	})
}

// MustWrap is Wrap for a program that can't run without: an error is a panic.
func MustWrap(sm *scs.SessionManager, opts Options) *Manager {
	m, err := Wrap(sm, opts)
	if err != nil {
		panic(err)
	}
	return m
}

// fromSCS returns the Options that say what the fields of scs's do, with the defaults
// filled in.
func (o Options) fromSCS(sm *scs.SessionManager) (Options, error) {
	given := refusal.List{Package: "adapter", Struct: "Options"}
	for _, f := range []struct {
		name string
		set  bool
		use  string
	}{
		{"Name", o.Name != "", "Cookie.Name"},
		{"Store", o.Store != nil, "Store"},
		{"Codec", o.Codec != nil, "Codec"},
		{"Cookie", o.Cookie != Cookie{}, "Cookie"},
		{"CookieFunc", o.CookieFunc != nil, "Cookie"},
		{"TTL", o.TTL != 0, "IdleTimeout"},
		{"AbsoluteLifetime", o.AbsoluteLifetime != 0, "Lifetime"},
		{"Rolling", o.Rolling, "IdleTimeout"},
		{"ResendAfter", o.ResendAfter != 0, "IdleTimeout"},
	} {
		if f.set {
			given.Add(f.name, "Wrap takes the SessionManager's %s in its place; drop it, or use New", f.use)
		}
	}
	r := refusal.List{Package: "adapter", Struct: "SessionManager"}
	for _, f := range []struct {
		name string
		age  time.Duration
	}{{"Lifetime", sm.Lifetime}, {"IdleTimeout", sm.IdleTimeout}} {
		switch {
		case f.age < 0:
			r.Add(f.name, "is negative (%v)", f.age)
		case f.age > 0 && f.age < time.Millisecond:
			r.Add(f.name, "%s", refusal.WithoutUnit(f.age))
		}
	}
	if sm.Lifetime == 0 && sm.IdleTimeout == 0 {
		r.Add("Lifetime IdleTimeout", "are both 0, so that a session would never end; set one")
	}
	for _, f := range []struct {
		name  string
		isNil bool
	}{{"Store", sm.Store == nil}, {"Codec", sm.Codec == nil}, {"ErrorFunc", sm.ErrorFunc == nil}} {
		if f.isNil {
			r.Add(f.name, "is nil; begin with scs.New()")
		}
	}
	if _, ok := sm.Store.(*detached); ok {
		r.Add("Store", "is a Manager's already: make a SessionManager for each Manager, with scs.New()")
	}
	if sm.Cookie.Path == "" {
		r.Add("Cookie.Path", `is empty; use "/"`)
	}
	if err := errors.Join(given.Err(), r.Err()); err != nil {
		return o, err
	}
	o.Name, o.Store, o.Codec = sm.Cookie.Name, sm.Store, sm.Codec
	o.Cookie = Cookie{
		Path:         sm.Cookie.Path,
		Domain:       sm.Cookie.Domain,
		ScriptAccess: !sm.Cookie.HttpOnly,
		SameSite:     sameSiteOf(sm.Cookie.SameSite),
		Partitioned:  sm.Cookie.Partitioned,
	}
	if sm.Cookie.Secure {
		o.Cookie.Secure = SecureAlways
	}
	if sm.HashTokenInStore && o.StoreKey == StoreKeyID {
		o.StoreKey = StoreKeyHash
	}
	touchAfter := o.TouchAfter
	o.TouchAfter = 0 // it is compared with IdleTimeout
	o, err := o.withDefaults()
	if err != nil {
		return o, err
	}
	if o.TouchAfter = touchAfter; touchAfter < 0 || touchAfter > 0 && touchAfter >= sm.IdleTimeout {
		given.Add("TouchAfter", "must be less than the SessionManager's IdleTimeout (%v, %v), or a session in use would end before it is touched", touchAfter, sm.IdleTimeout)
	}
	o.TTL, o.AbsoluteLifetime = sm.IdleTimeout, sm.Lifetime
	if sm.Cookie.Persist && sm.IdleTimeout > 0 {
		o.Cookie.MaxAge = sm.IdleTimeout // as Express would say it
	}
	return o, given.Err()
}

// newManager makes the Manager of a SessionManager and of a config that has the Options
// and what only Wrap says.
func newManager(sm *scs.SessionManager, c *config) (*Manager, error) {
	c.Logger = cmp.Or(c.Logger, slog.Default())
	c.store = newGuardedStore(c.Store)
	var o *observed
	if c.Observe != nil {
		o = c.store.observe(c.Observe)
	}
	c.codec = recordCodecOf(c.Codec)
	_, c.isJSON = c.codec.(jsonRecords)
	c.hash, c.migrate = c.StoreKey != StoreKeyID, c.StoreKey == StoreKeyMigrating
	c.cookie = c.Cookie.wire()
	c.engine = engineOf(c.AbsoluteLifetime)
	c.key, c.engineKey = keyOf(sm), keyOf(&c.engine)
	if c.UserPath != "" {
		var err error
		if c.users, err = newUsers(c); err != nil {
			return nil, err
		}
		if o != nil {
			c.users.UserIndex = &observedUsers{c.users.UserIndex, o}
		}
	}
	sm.Store = &detached{}
	c.fields = *sm
	m := &Manager{SessionManager: sm, cfg: c}

	c.store.warn(c.Logger)
	if c.Signature != SignatureNone {
		m.setSecrets(c.Secrets)
	}
	for i := range c.Secrets {
		c.Secrets[i] = "hidden" // printing a Manager must not show it; the signer has it
	}
	return m, nil
}

// checkFields reports a change of the embedded fields, which has no effect.
func (m *Manager) checkFields() {
	now, was := m.SessionManager, &m.cfg.fields
	if now.Lifetime == was.Lifetime && now.IdleTimeout == was.IdleTimeout && now.HashTokenInStore == was.HashTokenInStore &&
		now.Cookie == was.Cookie && now.Store == was.Store && sameCodec(now.Codec, was.Codec) {
		return
	}
	m.changed.Do(func() {
		for _, f := range []struct {
			name    string
			changed bool
			use     string
		}{
			{"Lifetime", now.Lifetime != was.Lifetime, "Options.AbsoluteLifetime"},
			{"IdleTimeout", now.IdleTimeout != was.IdleTimeout, "Options.TTL or Options.Cookie.MaxAge"},
			{"HashTokenInStore", now.HashTokenInStore != was.HashTokenInStore, "Options.StoreKey"},
			{"Cookie", now.Cookie != was.Cookie, "Options.Cookie and Options.Name"},
			{"Store", now.Store != was.Store, "Options.Store"},
			{"Codec", !sameCodec(now.Codec, was.Codec), "Options.Codec"},
		} {
			if f.changed {
				m.cfg.Logger.Error("session: the Manager's field "+f.name+" was changed after it was made, which has no effect (said once): set "+
					f.use+" for New, or the field of the scs.SessionManager before Wrap", "field", f.name)
			}
		}
	})
}

// sameCodec reports whether two codecs are the same, as far as they can be compared.
func sameCodec(a, b scs.Codec) (same bool) {
	defer func() {
		if recover() != nil {
			same = true
		}
	}()
	return a == b
}

// badSignature counts a cookie that no secret has signed, and says so once.
func (m *Manager) badSignature() {
	m.stats.badSignatures.Add(1)
	m.noSignature.Do(func() {
		m.cfg.Logger.Warn("session: a cookie was not signed by any of the secrets, and counts as none (said once; Stats has the number): "+
			"if users of another app are to be signed in, its secret must be one of Options.Secrets; Load takes a cookie's value, LoadID an id", "cookie", m.cfg.Name)
	})
}

// noteTypes says once for each type of a value that JSON gives it back as another one.
func (m *Manager) noteTypes(values map[string]any) {
	for key, v := range values {
		switch v.(type) {
		case nil, *lazyValue, map[string]any, []any, json.Number:
			continue
		}
		if isBasic(v) {
			continue
		}
		if _, said := m.typesNoted.LoadOrStore(reflect.TypeOf(v), true); !said {
			m.cfg.Logger.Warn("session: a value is stored as JSON, so that the next request's Get returns no such type, and asserting it panics (said once for each type): "+
				"store it with adapter.Put, and read it with adapter.Get", "key", key, "type", fmt.Sprintf("%T", v))
		}
	}
}

// severalCookies says once that a request has more than one cookie of the session's name.
func (m *Manager) severalCookies() {
	m.several.Do(func() {
		m.cfg.Logger.Warn("session: a request has several cookies of the session's name, and the first one counts (said once): the browser keeps one from before "+
			"Cookie.Domain or Cookie.Path was changed, or another app on the domain has the same name; with Cookie.Domain set, the one without is cleared "+
			"whenever a cookie is sent, and otherwise another Options.Name helps", "cookie", m.cfg.Name)
	})
}

// unknownSession counts a cookie with an id that may be used and whose session the store does
// not have, and says so once.
func (m *Manager) unknownSession(id string) {
	m.stats.unknownSessions.Add(1)
	m.unknown.Do(func() {
		advice := "this is not its store: compare database, prefix or table, and layout"
		if strings.HasPrefix(id, "s:") {
			advice = "that app signs its cookies, and Options.Signature is SignatureNone: set Options.Secrets, and SignatureRequired"
		}
		m.cfg.Logger.Info("session: a cookie is good, and the store does not have its session (said once; Stats has the number): it may have ended; "+
			"if it is so for each user of another app, "+advice, "store", describe(m.cfg.Store))
	})
}

// maxForeign is how many cookies of other names are verified at most, so that nobody can make
// that cost much.
const maxForeign = 1000

// otherNames says once that a request without the session's cookie has one that the secrets
// have signed, under another name.
func (m *Manager) otherNames(header []string) {
	signer := m.signer.Load()
	if signer == nil || m.foreign.Load() >= maxForeign {
		return
	}
	for name, value := range wire.SignedCookies(header) {
		if m.foreign.Add(1) > maxForeign {
			return
		}
		if _, _, ok := signer.Verify(value); ok {
			m.foreign.Store(maxForeign)
			m.otherName.Do(func() {
				m.cfg.Logger.Info("session: a cookie that the secrets have signed came under another name, and does not count (said once): "+
					"if it is the one of another app's sessions, set Options.Name to its name", "cookie", m.cfg.Name, "other", name)
			})
			return
		}
	}
}

// outside says once that a good cookie came with a request that has no session for its path.
func (m *Manager) outside(path string, header []string) {
	if m.outsideSaid.Load() {
		return
	}
	value, ok := wire.CookieValue(header, m.cfg.Name)
	if signer := m.signer.Load(); ok && signer != nil && m.cfg.Signature != SignatureNone {
		_, _, ok = signer.Verify(value)
	}
	if ok && m.outsideSaid.CompareAndSwap(false, true) {
		m.cfg.Logger.Info("session: a cookie came with a request outside of Options.Cookie.Path, where there is no session (said once): "+
			"if another app set it for all of its paths, set the same path here", "cookie", m.cfg.Name, "path", path)
	}
}

// describe names a store and where it keeps its records.
func describe(store scs.Store) string {
	if s, ok := contract.As[fmt.Stringer](store); ok {
		return s.String()
	}
	return fmt.Sprintf("%T", store)
}

// fail has ErrorFunc answer, and sees to it that there is an answer.
func (m *Manager) fail(w http.ResponseWriter, r *http.Request, err error) {
	ew := &errorWriter{ResponseWriter: w}
	m.ErrorFunc(ew, r, err)
	if !ew.begun {
		w.WriteHeader(http.StatusInternalServerError)
	}
}

// RespondError is the ErrorFunc that New sets: 503 with Retry-After when the
// store fails, 401 for ErrUserEnded, 500 for anything else, such as a record that the store can't hold
// (contract.ErrRejected), and a line in the log. Wrap leaves scs's, which
// answers 500 to all of them, until it is set to this one.
func (m *Manager) RespondError(w http.ResponseWriter, r *http.Request, err error) {
	level := slog.LevelError
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		level = slog.LevelDebug // the client has gone; nobody waits for the answer
	}
	m.cfg.Logger.Log(r.Context(), level, "session: request failed", "error", err)
	status := http.StatusInternalServerError
	var store *StoreError
	switch {
	case errors.Is(err, ErrUserEnded):
		status = http.StatusUnauthorized
	case errors.As(err, &store):
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "5")
	}
	http.Error(w, http.StatusText(status), status)
}
