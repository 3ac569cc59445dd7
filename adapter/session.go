package adapter

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/samesid/samesid/internal/wire"
)

// session is one session during one request. It is loaded before the handler (load.go)
// and finished before the first byte of the response (finish.go); write.go has the guarded
// writes, methods.go what a handler can ask of it in between.
type session struct {
	m     *Manager
	r     *http.Request // as it came; an empty one outside of a request
	scope requestScope  // the request's own context, with this session and its data in it

	mu sync.Mutex // held by the methods that handlers call

	identity
	cookie cookie
	life   lifetime
	data   data
	versions
	unsure
	phase   phase
	begun   bool // the response has begun
	saved   bool // base is saved, or counts as it
	written bool // this request has written the record
	mute    bool // no cookie goes out with what is saved

	signIn

	// What each request needs besides, here and not in allocations of their own.
	writer responseWriter
	first  version
	vary   [1]string
}

// versions are the states of a session's data that a save is decided and made by.
type versions struct {
	original *version // as the request found it: decides "modified"
	base     *version // what this request's changes are relative to
	stored   *version // what the store has, which others may have changed since base
	since    *version // as RenewToken found it
}

// phase says what a session can still become.
type phase uint8

const (
	live    phase = iota
	outside       // the request's path is outside the cookie's: never saved
	unset         // the handler has unset it: its changes are dropped
	ended         // someone else has ended it while this request ran
)

// newSession makes the session of a request.
func (m *Manager) newSession(r *http.Request) (*session, error) {
	s := &session{m: m, r: r}
	s.arrive(context.Background())
	s.cookie.given = &m.cfg.Cookie
	if m.cfg.CookieFunc != nil {
		given := m.cfg.CookieFunc(r)
		if err := given.validate(m.cfg.Name); err != nil {
			return nil, err
		}
		if given.Path == "" {
			given.Path = "/"
		}
		s.cookie.given = &given
	}
	return s, nil
}

// sessionOf returns the Manager's session in ctx, or nil.
func (m *Manager) sessionOf(ctx context.Context) *session {
	s, _ := ctx.Value(m).(*session)
	return s
}

// mustSession returns the Manager's session in ctx. Like scs's own methods, it
// panics when there is none: that is a route without the middleware, or another context
// than the request's.
func (m *Manager) mustSession(ctx context.Context) *session {
	s := m.sessionOf(ctx)
	if s == nil {
		panic("adapter: no session in the context: either the route is not behind Manager.LoadAndSave, or this is not the context of the request " +
			"that it handed on, such as a *gin.Context in place of c.Request.Context(); see docs/frameworks.md")
	}
	return s
}

// needCookie fills in the cookie of a new session.
func (s *session) needCookie() {
	if s.cookie.known {
		return
	}
	cfg := s.m.cfg
	s.cookie.attrs, s.cookie.known = s.cookie.fresh(cfg, s.isSecure()), true
	if !s.life.changedAge {
		s.life.maxAge = s.cookie.age(cfg)
		// An age that the next request's configuration need not have.
		s.life.own = cfg.CookieFunc != nil || !s.cookie.given.Expires.IsZero()
	}
}

func (s *session) isSecure() bool { return s.m.cfg.isSecure(s.r) }

// record returns the session with these values, as it would be stored now.
func (s *session) record(values map[string]any, now time.Time) record {
	s.needCookie()
	r := record{
		cookie:   s.cookie.attrs,
		ownAge:   s.life.own,
		secure:   s.cookie.attrs.Secure && s.cookie.given.Secure == SecureAuto,
		deadline: s.life.deadline,
		expiry:   s.life.end(s.m.cfg.idle, now),
		sent:     now,
		noteSent: s.m.cfg.ResendAfter > 0,
		values:   values,
	}
	age := s.life.maxAge
	r.cookie.OriginalMaxAge, r.cookie.Expires = age, time.Time{}
	if age != nil {
		r.cookie.Expires = r.expiry
	}
	if r.noteSent && s.mute && !s.life.sent.IsZero() {
		r.sent = s.life.sent
		if age != nil { // the record in JSON has the time in this alone
			r.cookie.Expires = endOf(age, 0, s.life.deadline, r.sent)
		}
	}
	return r
}

// version returns a version of the store's.
func (s *session) version(data []byte) *version {
	if data == nil {
		return nil
	}
	return &version{codec: s.m.cfg.codec, data: data}
}

// noteDeadline takes over the deadline that scs has for the session, if a handler has set it.
func (s *session) noteDeadline(at time.Time) {
	if !at.Equal(s.data.given) {
		s.data.given = at
		s.life.setDeadline(at)
	}
}

// current returns the session's data as it is now. Nothing is written.
func (s *session) current() (*version, error) {
	values, deadline := s.data.snapshot()
	s.noteDeadline(deadline)
	v := &version{codec: s.m.cfg.codec, live: values}
	var err error
	if s.m.cfg.isJSON {
		v.rec = new(record)
		v.rec.values, err = encodeValues(values)
		s.m.noteTypes(values)
	} else {
		v.data, err = v.codec.encode(s.record(values, time.Now()))
	}
	if err != nil {
		return nil, fmt.Errorf("session: encode: %w", err)
	}
	return v, nil
}

// reset turns the session into a new one without data or id.
func (s *session) reset() {
	s.data.destroy()
	s.forget()
	s.renewed = true
}

// forget drops what is known of a stored session.
func (s *session) forget() {
	s.identity = identity{renewed: s.renewed}
	s.cookie.keep()
	s.cookie.attrs, s.cookie.known = wire.Cookie{}, false
	s.life = lifetime{}
	s.phase = live
	s.versions, s.unsure, s.saved = versions{}, unsure{}, false
	s.admitted = ""
}

// log writes a line about the session, which is named by a short hash.
func (s *session) log(level slog.Level, msg string, args ...any) {
	if s.id != "" {
		args = append(args, "session", shortHash(s.id))
	}
	s.m.cfg.Logger.Log(s.scope.Context, level, "session: "+msg, args...)
}

// route is what a line in the log has to find the handler by.
func (s *session) route(args ...any) []any {
	r := s.r
	if s.writer.request != nil {
		r = s.writer.request // a ServeMux sets its Pattern
	}
	route := r.Pattern
	if route == "" {
		route = r.URL.Path
	}
	return append(args, "method", r.Method, "route", route)
}
