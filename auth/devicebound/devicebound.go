// Package devicebound ties a session to the browser in which its user signed in, so that a
// copy of its cookie is worth nothing elsewhere: Device Bound Session Credentials (DBSC), a
// draft of the W3C's Web Application Security Working Group that Chrome has. It is
// experimental: the draft changes, and so may this package, in any release.
//
// After a login the browser makes a key, which it can't be made to give away, and registers
// its public half. From then on it proves every few minutes that it has the key, and gets a
// second cookie for each proof, which lasts until the next. auth.Restricted and auth.Fresh
// demand that cookie of a session once its browser has registered. A browser without DBSC
// ignores all this, and its session is as it was; Require demands a proof of every browser.
//
//	bound, err := devicebound.New(m, devicebound.Options{})
//	…
//	a, err := auth.New(m, verify, auth.Options{Binding: bound})
//	…
//	mux.Handle("POST /device-bound/", bound)
//
// The session has the public key under "auth_binding", and its own cookie stays as it is, so
// that Express shares the session. Express does not ask for the second cookie: a route that
// Express serves is as open to a copied cookie as before. docs/device-bound.md has the
// threats, and how to switch this on and off.
package devicebound

import (
	"context"
	"crypto"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/internal/refusal"
)

// sessionKey is the session's key for the binding. Package auth reserves it.
const sessionKey = "auth_binding"

// The purposes of signatures. What one of them has signed is worth nothing for another.
const (
	forRegistration = "devicebound registration" // of a time and a session's id
	forChallenge    = "devicebound challenge"    // of a time and a binding's id
	forCookie       = "devicebound cookie"       // of a time and a binding's id
)

const (
	// challengeLife is how long a challenge can be answered. A TPM takes a second at most.
	challengeLife = 2 * time.Minute

	// skew is how far the clocks of two servers may differ, and how long a request may be
	// under way when the cookie that it has ends.
	skew = 30 * time.Second

	// grace is how long Check admits a session without the cookie after its registration:
	// requests that the browser sent before it had the answer are under way.
	grace = 10 * time.Second
)

// The errors of Check.
var (
	// ErrNoProof is a request without the cookie that a proof gives.
	ErrNoProof = errors.New("devicebound: the request has no proof of the browser's key")

	// ErrBadProof is a request with such a cookie that has expired, or is not this session's.
	ErrBadProof = errors.New("devicebound: the proof of the browser's key has expired, or is another session's")
)

// The events that go to the Manager's Options.Audit.
const (
	// EventBound: a browser has registered its key for a session.
	EventBound = "device_bound"
	// EventProofFailed: a registration, a proof or a request to Require was refused, for a
	// "reason". auth.EventRefused tells of those to auth.Restricted and auth.Fresh.
	EventProofFailed = "device_proof_fail"
)

// Options are the settings of a Binding. The zero value of every field is usable.
type Options struct {
	// Path is the local path below which the browser finds the Binding, as the browser sees
	// it. Zero value: "/device-bound".
	Path string

	// Age is how long a proof lasts: a copied cookie is worth something for no longer. At
	// least 5 minutes: Chromium renews two minutes before the end, and signs no more than six
	// proofs in nine minutes. Zero value: 10 minutes.
	Age time.Duration

	// Off demands no proof any more, of Require too, and ends the bindings that there are,
	// each at its session's next request. Nobody is logged out. Zero value: false.
	Off bool
}

// Binding is an auth.Binding, and the handler of its two endpoints, which must run inside the
// Manager's LoadAndSave. It is safe for concurrent use.
type Binding struct {
	m      *adapter.Manager
	opts   Options
	cookie string // the name of the second cookie
	origin *http.CrossOriginProtection
}

// New returns a Binding for the sessions of m. The error names every field that can't be
// used, and the fix. The Manager must sign its cookies, and its cookie must be for all paths
// of one host, and not for other sites' frames. A CookieFunc must keep to that too.
func New(m *adapter.Manager, opts Options) (*Binding, error) {
	r := refusal.List{Package: "devicebound", Struct: "Options"}
	if opts.Path == "" {
		opts.Path = "/device-bound"
	}
	if opts.Age == 0 {
		opts.Age = 10 * time.Minute
	}
	if !isPath(opts.Path) {
		r.Add("Path", "%q is not a local path of letters, digits and -._~ between slashes, such as \"/device-bound\"", opts.Path)
	}
	if opts.Age < 5*time.Minute {
		r.Add("Age", "is %v; Chromium does not renew that often: use 5 minutes or more", opts.Age)
	}
	if m == nil {
		r.Add("manager", "is nil; make one with adapter.New")
		return nil, r.Err()
	}
	c := m.Cookie
	if m.SecretUses() == nil {
		r.Add("manager", "has SignatureNone, and so no secrets to sign with; use SignatureRequired or SignatureMigrating")
	}
	if c.Domain != "" {
		r.Add("manager", "has Cookie.Domain %q, and the second cookie is for one host alone; drop the domain", c.Domain)
	}
	if c.Path != "/" {
		r.Add("manager", "has Cookie.Path %q, and a browser that holds back a request must find the session for every path; use \"/\"", c.Path)
	}
	if c.Partitioned || c.SameSite == http.SameSiteNoneMode {
		r.Add("manager", "has a cookie for frames in other sites (SameSite None, or Partitioned), where the second cookie is not sent; use SameSite Lax")
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	name := strings.TrimPrefix(strings.TrimPrefix(c.Name, "__Host-"), "__Secure-")
	return &Binding{m: m, opts: opts, cookie: "__Host-" + name + ".device", origin: http.NewCrossOriginProtection()}, nil
}

// isPath reports whether a path needs no quoting anywhere.
func isPath(path string) bool {
	for i := range len(path) {
		if c := path[i]; !isToken(c) && c != '~' && c != '/' {
			return false
		}
	}
	return len(path) > 1 && path[0] == '/' && path[len(path)-1] != '/' && !strings.Contains(path, "//") && !strings.Contains(path, "/.")
}

// A binding is what a session has under sessionKey. Times are in milliseconds since 1970.
type binding struct {
	ID   string `json:"id"`   // names it to the browser; nothing else is named so
	Key  string `json:"key"`  // encodeKey
	At   int64  `json:"at"`   // when the browser registered
	Last int64  `json:"last"` // the time of the last challenge that was answered

	key crypto.PublicKey
}

// load returns the session's binding. bound is whether there is one; what can't be read
// counts, and has no key, so that it admits nothing.
func (b *Binding) load(ctx context.Context) (is binding, bound bool) {
	if !b.m.Exists(ctx, sessionKey) {
		return binding{}, false
	}
	is, err := adapter.Get[binding](ctx, b.m, sessionKey)
	if err != nil {
		return binding{}, true
	}
	var ok bool
	if is.key, ok = decodeKey(is.Key); !ok || is.ID == "" {
		return binding{}, true
	}
	return is, true
}

// Offer asks the browser to register a key for the session, which must have begun in this
// request: call it when a user has just given their credentials, after auth's SignIn. Login
// does so. Whoever reads this response can register; the session's cookie alone is not
// enough.
func (b *Binding) Offer(w http.ResponseWriter, r *http.Request) {
	if b.opts.Off {
		return
	}
	challenge := b.stamp(forRegistration, b.m.ID(r.Context()), time.Now().UnixMilli())
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Add("Secure-Session-Registration", `(ES256 RS256);path="`+b.opts.Path+`/register";challenge="`+challenge+`"`)
}

// Check admits a request whose session no browser has registered for, and one that has the
// cookie of a proof. It refuses any other with ErrNoProof or ErrBadProof, but for those that
// are under way when the browser registers. A user who follows a link from another origin,
// for which a browser does not renew the cookie, gets a page that loads itself again.
func (b *Binding) Check(w http.ResponseWriter, r *http.Request) (answered bool, err error) {
	is, bound := b.load(r.Context())
	if !bound {
		return false, nil
	}
	if b.opts.Off {
		b.m.Remove(r.Context(), sessionKey)
		return false, nil
	}
	err = b.proof(r, is)
	if age := time.Since(time.UnixMilli(is.At)); err == nil || age >= -skew && age < grace {
		return false, nil
	}
	return b.refused(w, r, err), err
}

// Proven reports whether a browser has registered for the request's session, and the request
// has the cookie of a proof.
func (b *Binding) Proven(r *http.Request) bool {
	is, bound := b.load(r.Context())
	return bound && b.proof(r, is) == nil
}

// Require is a middleware that admits what is Proven alone, so that no browser without DBSC
// is admitted, nor a session from before it was switched on, nor one whose browser is still
// registering. It answers others with 403 {"message":"Device Bound Session Required"}. Put it
// behind auth.Restricted.
func (b *Binding) Require(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		is, bound := b.load(r.Context())
		err := ErrNoProof
		if bound {
			err = b.proof(r, is)
		}
		switch {
		case b.opts.Off || err == nil:
			next.ServeHTTP(w, r)
		case bound && b.refused(w, r, err):
		default:
			b.fail(w, r, http.StatusForbidden, "Device Bound Session Required", err)
		}
	})
}

// End has the browser forget the second cookie, as the session has ended. The browser's own
// end of it ends when it next tries to renew. Logout calls it.
func (b *Binding) End(w http.ResponseWriter, r *http.Request) {
	if _, err := r.Cookie(b.cookie); err == nil {
		b.setCookie(w, "", -1)
	}
}

// proof returns nil if a request has the cookie of a proof for its session's binding.
func (b *Binding) proof(r *http.Request, is binding) error {
	c, err := r.Cookie(b.cookie)
	switch {
	case err != nil:
		return ErrNoProof
	case is.key == nil:
		return ErrBadProof
	}
	until, ok := b.stamped(forCookie, is.ID, c.Value)
	if !ok || time.Now().UnixMilli() >= until {
		return ErrBadProof
	}
	return nil
}

// refused prepares the refusal of a request of a bound session, and reports whether it has
// answered it.
func (b *Binding) refused(w http.ResponseWriter, r *http.Request, err error) (answered bool) {
	if errors.Is(err, ErrBadProof) {
		b.setCookie(w, "", -1) // a browser renews one that it does not have
	}
	h := r.Header
	site := h.Get("Sec-Fetch-Site")
	if r.Method != http.MethodGet || h.Get("Sec-Fetch-Mode") != "navigate" || h.Get("Sec-Fetch-Dest") != "document" || site != "cross-site" && site != "same-site" {
		return false
	}
	// A browser lets no other origin cause a renewal, which takes time and so would show who
	// is signed in. The page's own request is of its own origin: it comes here once.
	w.Header().Set("Refresh", "0")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = w.Write([]byte("One moment …\n"))
	return true
}

// stamp returns a time with its signature, for a purpose and an id.
func (b *Binding) stamp(purpose, id string, at int64) string {
	t := strconv.FormatInt(at, 10)
	return t + "." + b.m.Sign(purpose, t+"."+id)
}

// stamped returns the time of a stamp. ok is false for anything that stamp has not returned.
func (b *Binding) stamped(purpose, id, value string) (at int64, ok bool) {
	if len(value) > 64 {
		return 0, false
	}
	t, signature, ok := strings.Cut(value, ".")
	if !ok || !b.m.Verify(purpose, t+"."+id, signature) {
		return 0, false
	}
	at, err := strconv.ParseInt(t, 10, 64)
	return at, err == nil
}

// setCookie sets the second cookie; with a negative maxAge, it clears it.
func (b *Binding) setCookie(w http.ResponseWriter, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{Name: b.cookie, Value: value, MaxAge: maxAge, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
}
