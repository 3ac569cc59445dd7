package adapter

import (
	"net/http"
	"strings"
	"time"

	"github.com/samesid/samesid/internal/wire"
)

// cookie is the session's cookie in one request: what came, its attributes, and
// whether it is to be sent again.
type cookie struct {
	given *Cookie // the configuration's, or CookieFunc's for this request

	// What came.
	id       string // the id in it, if it may be used
	present  bool   // the request has a cookie of the name, good or bad
	signed   bool   // one of the secrets has signed it
	bad      bool   // it has no id that may be used
	several  bool   // the request has more of the name, and the first counts
	outdated bool   // it is good, and is to be replaced: unsigned, or signed by a later secret

	// What goes. OriginalMaxAge and Expires are the lifetime's.
	known bool // attrs is filled in
	attrs wire.Cookie
	// cleared are the attributes of the cookie that the browser has, if attrs are those
	// of another one by now.
	cleared *wire.Cookie
}

// maxCookieValue is the longest value that is looked at. Browsers send none
// longer than 4096 bytes.
const maxCookieValue = 4096

// read finds the session id in a request's cookie.
func (c *cookie) read(m *Manager, header http.Header) {
	value, ok := wire.CookieValue(header["Cookie"], m.cfg.Name)
	c.present = ok
	if !ok {
		m.otherNames(header["Cookie"])
	}
	if ok && wire.CookieCount(header["Cookie"], m.cfg.Name) > 1 {
		c.several = true
		m.severalCookies()
	}
	if ok && value != "" && len(value) <= maxCookieValue {
		c.id, c.signed, c.outdated = m.idIn(value)
		c.bad = c.id == ""
	}
}

// idIn returns the session id in a cookie's value, "" if it may not be used, whether it is
// signed, and whether the cookie is to be replaced by one that the first secret signs.
func (m *Manager) idIn(value string) (id string, signed, outdated bool) {
	form := m.cfg.Signature
	if form != SignatureNone && strings.HasPrefix(value, "s:") {
		signer := m.signer.Load()
		id, secret, ok := signer.Verify(value)
		if ok {
			signer.secrets[secret].verified.Add(1)
		} else {
			m.badSignature()
		}
		return id, ok, secret > 0
	}
	if form == SignatureRequired {
		m.badSignature()
		return "", false, false
	}
	if validateID(value) != nil {
		return "", false, false
	}
	return value, false, form == SignatureMigrating
}

// value is the cookie's value for an id.
func (m *Manager) cookieValue(id string) string {
	if signer := m.signer.Load(); signer != nil {
		return signer.Sign(id)
	}
	return id
}

// adopt takes the attributes over from a record, as far as it has them.
func (c *cookie) adopt(cfg *config, r *record, secure bool) {
	c.keep()
	if r.ownCookie {
		c.attrs = r.cookie
	} else {
		c.attrs = c.fresh(cfg, secure || r.secure)
		c.attrs.Secure = c.attrs.Secure || r.secure
	}
	c.known = true
}

// keep notes the attributes that the browser's cookie can be cleared with, before others
// take their place.
func (c *cookie) keep() {
	if c.known && c.cleared == nil {
		attrs := c.attrs
		c.cleared = &attrs
	}
}

// age returns how long a session that this request would begin lives after each use;
// nil for a cookie that ends with the browser.
func (c *cookie) age(cfg *config) *time.Duration {
	if cfg.CookieFunc != nil || !c.given.Expires.IsZero() {
		return c.given.wire().OriginalMaxAge
	}
	return cfg.cookie.OriginalMaxAge
}

// fresh returns the attributes of a session that this request would begin. secure is
// whether it came over a secure connection.
func (c *cookie) fresh(cfg *config, secure bool) wire.Cookie {
	w := cfg.cookie
	if cfg.CookieFunc != nil || !c.given.Expires.IsZero() {
		w = c.given.wire()
	}
	if c.given.Secure == SecureAuto {
		w.Secure = secure
	}
	if w.SameSite == string(SameSiteAuto) {
		w.SameSite = string(SameSiteLax)
		if secure {
			w.SameSite = string(SameSiteNone)
		}
	}
	return w
}

// covers reports whether a browser sends a cookie with this Path attribute along with
// a request for a path: RFC 6265, 5.1.4.
func covers(cookiePath, path string) bool {
	rest, ok := strings.CutPrefix(path, cookiePath)
	return ok && (rest == "" || rest[0] == '/' || cookiePath[len(cookiePath)-1] == '/')
}

// requestPath is the path the client asked for, before any StripPrefix, and as
// it was sent.
func requestPath(r *http.Request) string {
	if strings.HasPrefix(r.RequestURI, "/") {
		path, _, _ := strings.Cut(r.RequestURI, "?")
		return path
	}
	return r.URL.EscapedPath()
}

// isSecure reports whether a request came over a secure connection, by what
// Options.Proxy trusts.
func (cfg *config) isSecure(r *http.Request) bool {
	switch {
	case r.TLS != nil:
		return true
	case cfg.Proxy == ProxyIgnored:
		return false
	case cfg.Proxy == ProxyTrusted:
		first, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Proto"), ",")
		return strings.EqualFold(strings.TrimSpace(first), "https")
	}
	// Set by a middleware for proxy headers, not by a client that sends its
	// request to an absolute URL.
	return strings.EqualFold(r.URL.Scheme, "https") && (r.RequestURI == "" || r.RequestURI[0] == '/')
}

// setCookie returns the Set-Cookie header for a value. With an end, the browser keeps
// the cookie until then.
func setCookie(name, value string, attrs *wire.Cookie, end, now time.Time) string {
	c := header(name, value, attrs)
	if !end.IsZero() {
		// Rounded up to whole seconds, so that a short age is not none.
		left := max(0, int64((end.Sub(now)+time.Second-1)/time.Second))
		c.MaxAge, c.Expires = &left, end.Add(time.Second-1).Truncate(time.Second)
	}
	return c.String()
}

// clearCookie returns the Set-Cookie header that makes a browser forget the cookie.
func clearCookie(name string, attrs *wire.Cookie) string {
	c := header(name, "", attrs)
	var zero int64
	c.MaxAge, c.Expires = &zero, time.Unix(1, 0)
	return c.String()
}

func header(name, value string, attrs *wire.Cookie) *wire.SetCookie {
	return &wire.SetCookie{
		Name:        name,
		Value:       value,
		Domain:      attrs.Domain,
		Path:        attrs.Path,
		HTTPOnly:    attrs.HTTPOnly,
		Secure:      attrs.Secure,
		Partitioned: attrs.Partitioned,
		Priority:    attrs.Priority,
		SameSite:    attrs.SameSite,
	}
}

// addCookie sets the header, and keeps caches from storing it, as scs does.
func addCookie(h http.Header, setCookie string) {
	h.Add("Set-Cookie", setCookie)
	h.Add("Cache-Control", `no-cache="Set-Cookie"`)
}
