package adapter

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/alexedwards/scs/v2"
)

// Options are express-session's options under their own names, and a few that
// Express has no name for. The zero value of every field but Secrets is usable.
//
// New copies Options: changing them, or the slice in Secrets, afterwards has no
// effect.
type Options struct {
	// Name is the cookie's name. Zero value: "connect.sid", as in Express.
	Name string

	// Secrets sign the cookie. The first one signs, all of them verify. At least one
	// is required unless Signature is SignatureNone; each should be 32 random bytes
	// or more. Express: secret.
	//
	// To rotate a secret while several instances run: put the new one last and
	// restart all of them, then put it first, and drop the old one when the oldest
	// cookie has expired. A cookie that another than the first secret has signed is
	// sent again, signed by the first. SetSecrets does it without a restart, and SecretUses
	// tells whether an old one is in use.
	Secrets []string

	// Resave saves a session that a request has loaded and not changed. Zero
	// value: false (Express: true, deprecated).
	Resave bool

	// SaveUninitialized saves a session that is new and has no data, and sends
	// its cookie. Zero value: false (Express: true, deprecated).
	SaveUninitialized bool

	// Rolling sends the cookie, with its expiry reset, on every response. Zero
	// value: false, as in Express: see Cookie.MaxAge for what that means.
	Rolling bool

	// ResendAfter sends a lasting cookie again, with its expiry reset, once this much
	// time has passed since it was last sent: a cheaper Rolling, such as a day for a
	// Cookie.MaxAge of a month. Zero value: only when the session changes, as in
	// Express.
	ResendAfter time.Duration

	// Unset selects what Manager.Unset does to the stored session. Zero value:
	// UnsetKeep, as in Express.
	Unset UnsetMode

	// GenID makes the id of a new session: between 1 and 128 bytes, printable
	// ASCII, unique and not to be guessed (OWASP ASVS 7.2.3: at least 128 bits
	// of entropy). It is called when the id is first needed, with an empty request
	// outside LoadAndSave, and must not use the Manager. Zero value: 24 random
	// bytes in base64url, as in Express.
	GenID func(*http.Request) string

	// Proxy selects what decides whether a connection is secure. Zero value:
	// ProxyUnset. Express: proxy.
	Proxy Proxy

	// Store keeps the sessions: any scs.Store. The interfaces of package
	// backends/contract that it has too are used. Zero value: a memory store of
	// package backends/memory.
	Store scs.Store

	// Cookie is the cookie of a new session.
	Cookie Cookie

	// CookieFunc, if not nil, makes the cookie of a new session from the
	// request, as a function does in Express 1.19; Cookie must then be left
	// zero. It is called for each request, with an empty one outside
	// LoadAndSave, and must be safe for concurrent use. A cookie that New would
	// refuse fails the request.
	CookieFunc func(*http.Request) Cookie

	// TTL is how long the store keeps a session whose cookie has no MaxAge or
	// Expires. Zero value: 24 hours. The stores of Express: ttl.
	TTL time.Duration

	// AbsoluteLifetime ends a session this long after it began, whatever its
	// use (OWASP ASVS 7.3.2). As in scs, RenewToken begins it anew. Zero value:
	// no such limit, as in Express; Manager.Deadline is then a century away.
	// scs: Lifetime.
	AbsoluteLifetime time.Duration

	// TouchAfter slides a session's expiry at most this often, which makes
	// most reads a plain read for the store. Zero value: on each request, as
	// in Express.
	TouchAfter time.Duration

	// MaxRecordSize is how many bytes a stored session may have. To save a larger
	// one is ErrRecordTooLarge, and leaves what is stored as it was. Zero value:
	// 4 MiB; negative: no limit, as in Express. Reading has no limit.
	MaxRecordSize int

	// Codec turns a session into bytes. Zero value: scs.GobCodec, which keeps
	// Go types, or JSONCodec for a store that is a JSONRecorder.
	Codec scs.Codec

	// Signature selects whether cookies are signed. Zero value: SignatureRequired, as
	// in Express.
	Signature Signature

	// StoreKey selects the store key of a session: its id, or a hash of it. Zero
	// value: StoreKeyID, as in Express. scs: HashTokenInStore.
	StoreKey StoreKey

	// UserPath is where a session has the id of its signed-in user: one to three keys
	// with dots between, such as "user.id", or "passport.user" for Passport. With it,
	// IterateUser, DestroyUser, DestroyOthers and DestroyHandle find the sessions of a user
	// without reading those of others, and New gets the store's index ready, which may
	// take long in a large table. The id is a number or a text of 1 to 256 bytes
	// without control characters; to save another one is an error. Zero value: none.
	UserPath string

	// Audit gets the events that a security team looks for (OWASP ASVS 16.3): what becomes
	// of sessions, as the Event constants name it, and what package auth adds. Each has its
	// time in UTC, the client's address, a hash for the session and, with UserPath, the
	// user's id. No event has a session id, a cookie's value, a secret or a password in it.
	// A handler that blocks, blocks the request. Zero value: none.
	Audit *slog.Logger

	// Observe is called after each call of the store, for metrics and traces. It runs in the
	// goroutine of the call and must be quick. Zero value: none, which costs nothing.
	Observe func(ctx context.Context, call StoreCall)

	// Logger gets the warnings and errors. No record has a session id, a
	// cookie's value or a secret in it. Zero value: slog.Default().
	Logger *slog.Logger
}

// Format implements fmt.Formatter: printed, Options don't show the secrets.
func (o Options) Format(f fmt.State, verb rune) {
	type plain Options // without this method
	o.Secrets = slices.Repeat([]string{"hidden"}, len(o.Secrets))
	fmt.Fprintf(f, fmt.FormatString(f, verb), plain(o))
}

// Cookie holds the attributes of the session cookie: Express's cookie.*.
type Cookie struct {
	// MaxAge is how long the store keeps a session after its last use, and how long
	// the browser keeps the cookie after it was last sent. As in Express, it is sent
	// when the session changes, so a user who is active but changes nothing is logged
	// out MaxAge after the login; Options.ResendAfter and Rolling prevent that. Zero
	// value: the cookie ends with the browser, and the store keeps the session for
	// Options.TTL. At least a second. Express: cookie.maxAge, there in milliseconds.
	MaxAge time.Duration

	// Expires is a fixed date in place of MaxAge; giving both is an error. As
	// in Express, it sets how long a new session has from its start, and each
	// use slides it by that much. Zero value: not set.
	Expires time.Time

	// Path is the attribute. Requests for other paths, by the rule of browsers (RFC
	// 6265, 5.1.4), have no session. Zero value: "/".
	Path string

	// Domain attribute. Zero value: none, so the cookie is for this host alone.
	Domain string

	// ScriptAccess lets scripts read the cookie. Zero value: false, so that the
	// attribute HttpOnly is sent. Express: httpOnly, the opposite.
	ScriptAccess bool

	// Secure sends the cookie on secure connections alone. Zero value: SecureNever,
	// as in Express.
	Secure Secure

	// SameSite attribute. Zero value: none sent.
	SameSite SameSite

	// Partitioned keeps the cookie apart for each top-level site (CHIPS). It
	// requires Secure.
	Partitioned bool

	// Priority attribute: "low", "medium" or "high". Zero value: none sent.
	Priority string
}

// Secure is the cookie attribute of that name: express-session's cookie.secure.
type Secure string

// The values of Secure. SecureAuto sends the attribute if the connection that began the
// session is secure.
const (
	SecureNever  Secure = ""
	SecureAlways Secure = "always"
	SecureAuto   Secure = "auto"
)

// Proxy selects what decides whether a connection is secure: express-session's proxy.
type Proxy string

// The values of Proxy.
const (
	// ProxyUnset: TLS on the connection, or a request URL whose scheme a middleware for
	// proxy headers has set to https.
	ProxyUnset Proxy = ""
	// ProxyTrusted: the first value of X-Forwarded-Proto too, which the proxy must
	// set. Express: true.
	ProxyTrusted Proxy = "trusted"
	// ProxyIgnored: TLS on the connection alone. Express: false.
	ProxyIgnored Proxy = "ignored"
)

// SameSite is the cookie attribute of that name.
type SameSite string

// The values of SameSite. SameSiteAuto is None on a secure connection and Lax
// otherwise, as in Express.
const (
	SameSiteUnset  SameSite = ""
	SameSiteLax    SameSite = "lax"
	SameSiteStrict SameSite = "strict"
	SameSiteNone   SameSite = "none"
	SameSiteAuto   SameSite = "auto"
)

// UnsetMode selects what becomes of a session that a handler unsets.
type UnsetMode string

// The values of UnsetMode.
const (
	UnsetKeep    UnsetMode = ""        // the stored session stays, this request's changes are dropped
	UnsetDestroy UnsetMode = "destroy" // the stored session is deleted at the end of the request
)

// Signature selects whether cookies are signed.
type Signature string

// The values of Signature.
const (
	// SignatureRequired is Express's cookie, s:id.signature. No other is accepted.
	SignatureRequired Signature = ""

	// SignatureMigrating accepts the bare token of plain scs too, and replaces it
	// with a signed cookie, so that nobody is logged out by the change. Until
	// you go on to SignatureRequired, an id that leaks is as good as a cookie, and
	// whatever key a visitor names after the store's prefix is looked at, and
	// its expiry moved.
	SignatureMigrating Signature = "migrating"

	// SignatureNone is plain scs's bare token. Secrets are not used.
	SignatureNone Signature = "none"
)

// StoreKey selects the store key of a session.
type StoreKey string

// The values of StoreKey.
const (
	// StoreKeyID is the id itself, which Express looks for too.
	StoreKeyID StoreKey = ""

	// StoreKeyMigrating is StoreKeyHash, and moves a session that is still stored
	// under its id when its user next comes back, so that nobody is logged out by the
	// change. All processes must change over together: one with StoreKeyID does not
	// find what was moved. It requires SignatureRequired, as without a signature a
	// hash read from the store would pass for an id.
	StoreKeyMigrating StoreKey = "migrating"

	// StoreKeyHash is the SHA-256 hash of the id, that of scs's HashTokenInStore:
	// who reads the store learns no id that a cookie could carry.
	StoreKeyHash StoreKey = "hash"
)
