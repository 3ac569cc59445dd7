package adapter

import (
	"maps"
	"net/http"
)

// LoadAndSave is the middleware that gives each request its session. It loads
// the session by the request's cookie, and saves it and sets the cookie before
// the first byte of the response leaves, so that no client can be faster than
// the save. When the store fails, ErrorFunc answers, and nothing that the
// handler writes reaches the client.
//
// A request outside Options.Cookie.Path gets a session that is never saved. A handler
// that panics saves nothing, whoever recovers, if it is outside of LoadAndSave or writes
// its answer as it recovers. One that recovers inside and leaves the answer to others, as
// Gin's Recovery does or a middleware that buffers, looks like a handler that returned:
// put LoadAndSave inside of it.
// Using the middleware twice on one route does no harm; the sessions of two
// Managers on one request are apart, if their cookies' names are.
func (m *Manager) LoadAndSave(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if m.sessionOf(r.Context()) != nil {
			next.ServeHTTP(w, r)
			return
		}
		m.checkFields()
		s, err := m.newSession(r)
		if err != nil {
			m.fail(w, r, err)
			return
		}
		var before http.Header
		if h := w.Header(); len(h) > 0 {
			before = maps.Clone(h)
		}
		s.addVary(w.Header())
		ctx, err := s.loadRequest()
		if err != nil {
			m.fail(w, r, err)
			return
		}
		sw := &s.writer
		*sw = responseWriter{ResponseWriter: w, session: s, request: r.WithContext(ctx), before: before}
		sw.serve(next)
	})
}

// serve runs the handler, and finishes the session if the handler has not begun the
// response.
func (w *responseWriter) serve(next http.Handler) {
	returned := false
	defer func() {
		if !returned {
			w.panicked = true // what whoever recovers writes saves nothing
		}
	}()
	next.ServeHTTP(w, w.request)
	returned = true
	switch {
	case w.dropped:
	case w.begun:
		w.session.reportLate()
	case responseBegun(w.ResponseWriter):
		w.session.finishAround()
	default:
		_ = w.begin() // ErrorFunc has answered, if it failed
	}
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
