package adapter

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/samesid/samesid/internal/wire"
)

// Begin and End are LoadAndSave for code that is no http.Handler, such as a framework
// with writers of its own. Begin finds the session that the request's cookie names, and
// returns the context that it is in. Call End with that before the response's headers
// are sent, and not at all if the handler has failed.
//
// An error means that the store has failed: the request must not go on.
func (m *Manager) Begin(r *http.Request) (context.Context, error) {
	if m.sessionOf(r.Context()) != nil {
		return r.Context(), nil
	}
	m.checkFields()
	s, err := m.newSession(r)
	if err != nil {
		return nil, err
	}
	return s.loadRequest()
}

// End saves the session of a context that Begin returned, and returns the headers to add
// to the response: Vary, and the cookie if one is due. With an error, the response must
// be an error too. Changes that come later are lost; Save is for them. Inside of
// LoadAndSave, which ends the session itself, it does nothing.
func (m *Manager) End(ctx context.Context) (http.Header, error) {
	s := m.mustSession(ctx)
	if s.writer.session != nil {
		return http.Header{}, nil
	}
	h := http.Header{"Vary": {"Cookie"}}
	s.mu.Lock()
	begun := s.begun
	s.mu.Unlock()
	if begun { // it has been called before
		return h, nil
	}
	setCookie, err := s.finish()
	if err != nil {
		return nil, err
	}
	s.addCookies(h, setCookie)
	return h, nil
}

// Load puts a session into a context, for code without the middleware that has the
// cookie's value alone; Begin and End do more. The value is that of a signed cookie, as
// the browser sent it; a bare id is accepted where an unsigned cookie is. Any other value,
// and one of a session that is not there, begins a new session.
//
// It is scs's Load but for the token of a Manager that signs: LoadID takes an id.
func (m *Manager) Load(ctx context.Context, cookie string) (context.Context, error) {
	if m.sessionOf(ctx) != nil {
		return ctx, nil
	}
	value, _ := wire.CookieValue([]string{"v=" + strings.ReplaceAll(cookie, ";", "%3B")}, "v")
	id := ""
	if value != "" && len(value) <= maxCookieValue {
		id, _, _ = m.idIn(value)
	}
	return m.load(ctx, id, false)
}

// LoadID puts the session with this id into a context, for code without a request, such
// as a job or a websocket; an unknown or empty id begins a new session. The id is what
// ID, Token or Commit returned: never pass one that a client sent, as nothing shows that
// it is the client's.
//
// A context that has this session already is returned as it is.
func (m *Manager) LoadID(ctx context.Context, id string) (context.Context, error) {
	if own := m.sessionOf(ctx); own != nil && (id == "" || id == m.ID(ctx)) {
		return ctx, nil
	}
	if strings.HasPrefix(id, "s:") || strings.HasPrefix(id, "s%3A") {
		return nil, errors.New("adapter: LoadID: this is the value of a cookie and no id; give it to Load, which checks its signature")
	}
	return m.load(ctx, id, true)
}

// load loads the session with an id outside of a request.
func (m *Manager) load(ctx context.Context, id string, mute bool) (context.Context, error) {
	m.checkFields()
	s, err := m.newSession(noRequest())
	if err != nil {
		return nil, err
	}
	s.cookie.id, s.mute = id, mute
	return s.load(ctx, id)
}

// noRequest stands for the request outside of one.
func noRequest() *http.Request { return &http.Request{URL: &url.URL{}, Header: http.Header{}} }

// Commit is Save for code that does without the middleware, as with scs: it
// returns the session's id, and its expiry for WriteSessionCookie.
func (m *Manager) Commit(ctx context.Context) (id string, expiry time.Time, err error) {
	s := m.mustSession(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.save(); err != nil {
		return "", time.Time{}, err
	}
	return s.id, s.life.expiry, nil
}

// WriteSessionCookie adds the cookie for an id to a response, signed, with
// the session's attributes; a zero expiry makes the browser forget it. It is
// for code that does without the middleware, as with scs.
func (m *Manager) WriteSessionCookie(ctx context.Context, w http.ResponseWriter, id string, expiry time.Time) {
	s := m.mustSession(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.needCookie()
	if expiry.IsZero() {
		addCookie(w.Header(), clearCookie(m.cfg.Name, &s.cookie.attrs))
		return
	}
	if !s.lasting() {
		expiry = time.Time{}
	}
	addCookie(w.Header(), setCookie(m.cfg.Name, m.cookieValue(id), &s.cookie.attrs, expiry, time.Now()))
}
