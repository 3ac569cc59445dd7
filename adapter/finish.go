package adapter

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/alexedwards/scs/v2"
)

// finish does what the end of a request does to the session, by the rules of
// express-session, and returns the Set-Cookie header's value, or "".
func (s *session) finish() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun = true
	status := s.data.status()
	if s.writer.panicked || (status == scs.Modified || s.phase == unset || s.life.changedAge) && panicking() {
		s.discard()
		return "", nil
	}
	defer func() { s.life.changedAge, s.life.changedDeadline = false, false }() // what comes later is lost
	switch {
	case s.phase == outside:
		return "", nil
	case status == scs.Destroyed:
		return s.clearedCookie(), nil
	case s.phase == unset && s.m.cfg.Unset == UnsetKeep && !s.fresh, s.phase == ended:
		return "", nil
	case s.phase == unset && s.fresh: // Regenerate has ended what was there
		return "", s.remove()
	case s.phase == unset:
		if err := s.remove(); err != nil {
			return "", err
		}
		return s.clearedCookie(), nil
	}

	cur, modified, err := s.compare(status)
	if err != nil {
		return "", err
	}
	save, err := s.needsSave(cur, modified)
	switch {
	case err != nil:
	case save:
		err = s.write(cur)
	case s.exists():
		err = s.slide()
	case len(s.tried) > 0:
		err = s.remove()
	}
	if err != nil || s.phase == ended {
		return "", err
	}
	return s.newCookie(modified, status), nil
}

// isNew reports whether the request's cookie did not carry the session's id.
func (s *session) isNew() bool { return s.id == "" || s.id != s.cookie.id }

// compare returns the session's data as it is now, and whether it is modified.
func (s *session) compare(status scs.Status) (cur *version, modified bool, err error) {
	cur, modified = s.base, s.renewed || len(s.merged) > 0
	if status != scs.Modified && (!s.isNew() || !s.m.cfg.SaveUninitialized) {
		return cur, modified, nil
	}
	if cur, err = s.current(); err != nil || modified {
		return cur, modified, err
	}
	same, err := cur.sameAs(s.original)
	return cur, !same, err
}

// needsSave decides whether the session is to be saved.
func (s *session) needsSave(cur *version, modified bool) (bool, error) {
	switch {
	case len(s.merged) > 0:
		return true, nil
	case s.exists() && (len(s.tried) > 0 || len(s.perhaps) > 0 || s.life.changedAge || s.life.changedDeadline || s.resendDue() || s.at != s.key(s.m.cfg)):
		return true, nil
	case s.saved && s.base == s.original && !s.renewed:
		return modified, nil
	case s.saved:
		same, err := cur.sameAs(s.base)
		return !same, err
	case s.isNew() && !s.m.cfg.SaveUninitialized:
		return modified, nil
	}
	return true, nil
}

// lasting reports whether the browser is to keep the cookie after it is closed.
func (s *session) lasting() bool {
	s.needCookie()
	return s.life.maxAge != nil || s.m.cfg.persist || s.data.rememberMe()
}

// resendDue reports whether Options.ResendAfter has passed since the cookie was last sent.
func (s *session) resendDue() bool {
	after := s.m.cfg.ResendAfter
	return after > 0 && s.exists() && s.lasting() && time.Since(s.life.sent) >= after
}

// newCookie returns the Set-Cookie header for a session that stays, "" if the browser
// has a cookie that does.
func (s *session) newCookie(modified bool, status scs.Status) string {
	cfg := s.m.cfg
	lasting := s.lasting()
	var send bool
	switch {
	case s.isNew():
		send = cfg.SaveUninitialized || modified
	case s.cookie.outdated, cfg.Rolling:
		send = true
	case cfg.fromSCS: // whatever has been put counts, also what was there before
		send = cfg.resends || modified || status == scs.Modified
	default:
		send = lasting && (modified || s.written && cfg.ResendAfter > 0)
	}
	if !send {
		return ""
	}
	secure := s.isSecure()
	switch {
	case s.cookie.attrs.Secure && !secure && (!cfg.fromSCS || cfg.Proxy != ProxyUnset): // scs does not look
		s.m.plainHTTP.Do(func() {
			s.log(slog.LevelWarn, "the cookie is secure and this connection is not, so it is not sent (said once): "+
				"serve HTTPS, or set Options.Proxy to ProxyTrusted behind a proxy that sets X-Forwarded-Proto")
		})
		return ""
	case s.cookie.attrs.SameSite == string(SameSiteNone) && !s.cookie.attrs.Secure:
		s.m.plainHTTP.Do(func() {
			s.log(slog.LevelWarn, "the cookie is SameSite=None and not Secure, as this connection is not, so browsers drop it (said once): "+
				"serve HTTPS, or set Options.Cookie.SameSite to SameSiteAuto")
		})
	}
	now := time.Now()
	var end time.Time
	if lasting {
		end = s.life.end(cfg.idle, now)
	}
	return setCookie(cfg.Name, s.m.cookieValue(s.id), &s.cookie.attrs, end, now)
}

// addCookies adds what finish returned to a response's headers. A browser that has a cookie
// with Cookie.Domain, and one from before that was set, sends both, the older one first: beside
// a cookie with it, the one without is cleared, and a logout clears both.
func (s *session) addCookies(h http.Header, setCookie string) {
	if setCookie == "" {
		return
	}
	addCookie(h, setCookie)
	if !s.cookie.several || s.cookie.given.Domain == "" {
		return
	}
	sent, err := http.ParseSetCookie(setCookie)
	other := s.cookie.fresh(s.m.cfg, s.isSecure())
	switch {
	case err != nil:
		return
	case sent.Domain != "":
		other.Domain = ""
	case sent.MaxAge >= 0: // a session from before keeps the cookie that it has
		return
	}
	h.Add("Set-Cookie", clearCookie(s.m.cfg.Name, &other))
}

// clearedCookie is the Set-Cookie header that makes the browser forget the
// cookie it sent; "" if it sent none.
func (s *session) clearedCookie() string {
	if !s.cookie.present {
		return ""
	}
	attrs := s.cookie.cleared
	if attrs == nil {
		s.needCookie()
		attrs = &s.cookie.attrs
	}
	return clearCookie(s.m.cfg.Name, attrs)
}

// reportLate says in the log what was changed too late to be saved.
func (s *session) reportLate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase != live {
		return
	}
	modified := s.data.status() == scs.Modified
	if !modified && !s.life.changedAge {
		return
	}
	var keys []string
	var err error
	if modified {
		if keys, err = s.lateKeys(); err == nil && len(keys) == 0 && !s.life.changedAge && (!s.life.changedDeadline || !s.exists()) {
			return
		}
	}
	s.m.stats.lostChanges.Add(1)
	args := s.route("keys", keys)
	if err != nil {
		args = append(args, "error", err)
	}
	s.log(slog.LevelError, "a change made after the response had begun is lost: make it before the first byte, or call Save (docs/frameworks.md)", args...)
}

// lateKeys returns the keys that differ from what was last saved.
func (s *session) lateKeys() (keys []string, err error) {
	same := false
	s.data.visit(func(deadline time.Time, values map[string]any) {
		s.noteDeadline(deadline)
		same = s.base.holds(values)
	})
	if same {
		return nil, nil
	}
	cur, err := s.current()
	if err != nil {
		return nil, err
	}
	err = cur.changes(s.base, func(key string) bool { keys = append(keys, key); return true })
	return keys, err
}
