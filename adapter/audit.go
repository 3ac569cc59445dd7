package adapter

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"log/slog"
	"net"
	"time"
)

// The events of Options.Audit. The names of those that it has are from OWASP's Application
// Logging Vocabulary.
const (
	// EventCreated: a session was stored for the first time. "replaces" is the one that
	// Regenerate has ended for it.
	EventCreated = "session_created"
	// EventRenewed: a session was given a new id. "replaces" is the old one.
	EventRenewed = "session_renewed"
	// EventDestroyed: a session was ended. "by" is the session of the request that did so,
	// if it was another one.
	EventDestroyed = "session_destroyed"
	// EventUnknown: a cookie is well signed, and the store does not have its session: it
	// has ended or expired.
	EventUnknown = "session_use_after_expire"
	// EventBadSignature: none of the secrets has signed a cookie.
	EventBadSignature = "session_bad_signature"
	// EventUnreadable: a stored record can't be decoded.
	EventUnreadable = "session_unreadable"
)

// Audit sends an event to Options.Audit, if there is one, with its time in UTC and what is
// known of the request in ctx: the hash that names the session in the log, the user's id
// with Options.UserPath, the client's address, the method and the route. Later args replace
// these. It is for packages on top of this one, such as auth, and for an app's own events.
// args must have no session id, cookie, secret or password.
func (m *Manager) Audit(ctx context.Context, level slog.Level, event string, args ...any) {
	if m.cfg.Audit == nil {
		return
	}
	if s := m.sessionOf(ctx); s != nil {
		user := m.UserID(ctx)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.audit(level, event, user, args...)
		return
	}
	m.event(ctx, level, event, args...)
}

// event writes a record with the time in UTC.
func (m *Manager) event(ctx context.Context, level slog.Level, event string, args ...any) {
	h := m.cfg.Audit.Handler()
	if !h.Enabled(ctx, level) {
		return
	}
	r := slog.NewRecord(time.Now().UTC(), level, event, 0)
	r.Add(args...)
	_ = h.Handle(ctx, r)
}

// audit is Audit for a caller that has the lock.
func (s *session) audit(level slog.Level, event, user string, args ...any) {
	if s.m.cfg.Audit == nil {
		return
	}
	var all []any
	add := func(key, value string) {
		for i := 0; i+1 < len(args); i += 2 {
			if args[i] == key {
				return
			}
		}
		if value != "" {
			all = append(all, key, value)
		}
	}
	add("session", s.name())
	add("user", user)
	from := s
	if by := s.m.sessionOf(s.scope.Context); by != nil { // s is visited by its request
		from = by
	}
	if host, _, err := net.SplitHostPort(from.r.RemoteAddr); err == nil {
		add("client", host)
	}
	if from.r.Method != "" {
		add("method", from.r.Method)
		add("route", from.route()[3].(string))
	}
	s.m.event(s.scope.Context, level, event, append(all, args...)...)
}

// name returns the hash that names the session in the log.
func (s *session) name() string {
	switch {
	case s.fixed != "":
		return s.m.cfg.nameOf(s.fixed)
	case s.id != "":
		return shortHash(s.id)
	}
	return ""
}

// nameOf is shortHash of the id of a session with this store key.
func (c *config) nameOf(key string) string {
	if sum, err := base64.RawURLEncoding.DecodeString(key); c.hash && err == nil && len(sum) == sha256.Size {
		return hex.EncodeToString(sum[:6])
	}
	return shortHash(key)
}

// auditStored tells of a session that was stored under another key than before.
func (s *session) auditStored(was string, fresh bool) {
	switch {
	case was == "":
		s.audit(slog.LevelInfo, EventCreated, s.signIn.user)
	case fresh:
		s.audit(slog.LevelInfo, EventCreated, s.signIn.user, "replaces", s.m.cfg.nameOf(was))
	case s.renewed:
		s.audit(slog.LevelInfo, EventRenewed, s.signIn.user, "replaces", s.m.cfg.nameOf(was))
	}
}

// auditRemoved tells of a session that was ended.
func (s *session) auditRemoved(args ...any) {
	if s.m.cfg.Audit == nil {
		return
	}
	user := ""
	if u := s.m.cfg.users; u != nil && s.data.ctx != nil {
		user, _ = u.of(map[string]any{u.path[0]: s.data.get(u.path[0])})
	}
	if by := s.m.sessionOf(s.scope.Context); by != nil {
		by.mu.Lock()
		name := by.name()
		by.mu.Unlock()
		if name != "" {
			args = append(args, "by", name)
		}
	}
	s.audit(slog.LevelInfo, EventDestroyed, user, args...)
}
