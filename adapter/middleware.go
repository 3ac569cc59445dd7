package adapter

import (
	"context"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/samesid/samesid/internal/wire"
)

// maxCookieValue is the longest value that is looked at. Browsers send none
// longer than 4096 bytes.
const maxCookieValue = 4096

// LoadAndSave is the middleware that gives each request its session. It loads
// the session by the request's cookie, and saves it and sets the cookie before
// the first byte of the response leaves, so that no client can be faster than
// the save. When the store fails, ErrorFunc answers, and nothing that the
// handler writes reaches the client.
//
// A request outside Options.Cookie.Path gets a session that is never saved.
// Using the middleware twice on one route does no harm; the sessions of two
// Managers on one request are apart, if their cookies' names are.
func (m *Manager) LoadAndSave(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if m.sessionOf(r.Context()) != nil {
			next.ServeHTTP(w, r)
			return
		}
		// What was there before the handler stays if its response is dropped.
		var before http.Header
		if len(w.Header()) > 0 {
			before = maps.Clone(w.Header())
		}
		cfg, err := m.config()
		if err != nil {
			m.respondError(w, r, err)
			return
		}
		s, err := m.newSession(cfg, r)
		if err != nil {
			m.fail(w, r, err)
			return
		}
		s.addVary(w.Header())
		ctx, err := s.loadRequest()
		if err != nil {
			m.fail(w, r, err)
			return
		}
		sw := &s.writer
		*sw = responseWriter{ResponseWriter: w, session: s, request: r.WithContext(ctx), before: before}
		next.ServeHTTP(sw, sw.request)
		switch {
		case sw.dropped:
			return
		case sw.begun:
			s.reportLost()
			return
		}
		_ = sw.begin() // ErrorFunc has answered, if it failed
	})
}

// addVary tells caches that the response depends on the cookie.
func (s *session) addVary(h http.Header) {
	if len(h["Vary"]) > 0 {
		h.Add("Vary", "Cookie")
		return
	}
	s.vary[0] = "Cookie"
	h["Vary"] = s.vary[:]
}

// loadRequest finds the session that the request's cookie names.
func (s *session) loadRequest() (context.Context, error) {
	ctx := s.r.Context()
	if s.given.Path != "/" && !strings.HasPrefix(requestPath(s.r), s.given.Path) {
		s.skipped = true
		return s.load(ctx, "")
	}
	value, ok := wire.CookieValue(s.r.Header["Cookie"], s.cfg.Name)
	s.hasCookie = ok
	if ok && len(value) <= maxCookieValue {
		s.cookieID, s.isUnsigned = s.idIn(value)
	}
	ctx, err := s.load(ctx, s.cookieID)
	if !s.stored {
		s.isUnsigned = false
	}
	return ctx, err
}

// idIn returns the session id in a cookie's value, "" if it may not be used,
// and whether it came without a signature where one is wanted.
func (s *session) idIn(value string) (id string, unsigned bool) {
	form := s.cfg.Cookies
	switch {
	case form != UnsignedCookies && strings.HasPrefix(value, "s:"):
		id, _ = s.m.signer.Unsign(value)
		return id, false
	case form == SignedCookies || checkID(value) != nil:
		return "", false
	}
	return value, form == MigrateCookies
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

// lasting tells whether the cookie has an expiry.
func (s *session) lasting() bool {
	s.needCookie()
	// scs keeps what RememberMe was told under this key.
	return s.cookie.OriginalMaxAge != nil || s.cfg.persist || s.engine.GetBool(s.ctx, "__rememberMe")
}

// setCookie is the Set-Cookie header for the session.
func (s *session) setCookie(lasting bool, now time.Time) string {
	c := s.header(&s.cookie, s.cookieValue(s.id))
	if lasting {
		setExpiry(c, s.end(now), now)
	}
	return c.String()
}

// setExpiry rounds up to whole seconds, so that a short age is not none.
func setExpiry(c *wire.SetCookie, end, now time.Time) {
	left := max(0, int64((end.Sub(now)+time.Second-1)/time.Second))
	c.MaxAge, c.Expires = &left, end.Add(time.Second-1).Truncate(time.Second)
}

// clearedCookie is the Set-Cookie header that makes the browser forget the
// cookie it sent; "" if it sent none.
func (s *session) clearedCookie() string {
	if !s.hasCookie {
		return ""
	}
	c := &s.sent
	if !s.wasSent {
		s.needCookie()
		c = &s.cookie
	}
	return cleared(s.header(c, ""))
}

func cleared(c *wire.SetCookie) string {
	var zero int64
	c.MaxAge, c.Expires = &zero, time.Unix(1, 0)
	return c.String()
}

// header is the cookie with this value and these attributes.
func (s *session) header(c *wire.Cookie, value string) *wire.SetCookie {
	return &wire.SetCookie{
		Name:        s.cfg.Name,
		Value:       value,
		Domain:      c.Domain,
		Path:        c.Path,
		HTTPOnly:    c.HTTPOnly,
		Secure:      c.Secure,
		Partitioned: c.Partitioned,
		Priority:    c.Priority,
		SameSite:    c.SameSite,
	}
}

func (s *session) cookieValue(id string) string {
	if s.m.signer == nil {
		return id
	}
	return s.m.signer.Sign(id)
}

// addCookie sets the header, and keeps caches from storing it, as scs does.
func addCookie(h http.Header, setCookie string) {
	h.Add("Set-Cookie", setCookie)
	h.Add("Cache-Control", `no-cache="Set-Cookie"`)
}
