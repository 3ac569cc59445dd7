package adapter

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/internal/wire"
)

// ErrGone is returned by Save, Touch, Reload and Commit when the session was
// ended (by a logout, its expiry or an operator) after this request loaded it,
// or was unset by it.
var ErrGone = errors.New("session: the session has ended")

// ErrResponseBegun is returned by Regenerate, RenewToken, MergeSession, and by
// Save of a new session, when the cookie could no longer be sent. The session is
// left as it was.
var ErrResponseBegun = errors.New("session: the response has begun, so a new session id can't be sent")

// ErrOutsidePath is returned by Save, Commit, Regenerate and RenewToken for a
// request outside Options.Cookie.Path, whose session is never saved: a login
// there must not look as if it had worked.
var ErrOutsidePath = errors.New("session: the request's path is outside the cookie's, so its session can't be saved")

// ErrRecordTooLarge is returned by Save and Commit, and given to ErrorFunc at the
// end of a request, when the session has more bytes than Options.MaxRecordSize.
// What the store has is left as it was.
var ErrRecordTooLarge = errors.New("session: the session is too large to be saved")

// ID returns the session's id, the sid of Express. A session has one from its
// start, saved or not. It is a secret: whoever has it, and the key that signs
// the cookie, is signed in.
func (m *Manager) ID(ctx context.Context) string {
	s := m.mustSession(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.needID() != nil {
		return "" // saving the session reports the error
	}
	return s.id
}

// Token returns the id of a session that is in the store, or that RenewToken
// has given it, and "" for one that is new: scs's Token. ID has it from the start.
func (m *Manager) Token(ctx context.Context) string {
	s := m.mustSession(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stored || s.renewed && s.engine.Status(s.ctx) == scs.Modified {
		return s.id
	}
	return ""
}

// Regenerate ends the session and begins an empty one with a new id: Express's
// regenerate. Call it when a user signs in, so that an id that was planted
// before is worth nothing (OWASP ASVS 7.2.4). To keep the data, use RenewToken.
func (m *Manager) Regenerate(ctx context.Context) error {
	s := m.mustSession(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.skipped {
		return ErrOutsidePath
	}
	if s.headerSent {
		return ErrResponseBegun
	}
	if err := s.remove(); err != nil {
		return err
	}
	if err := s.reset(); err != nil {
		return err
	}
	return s.renew()
}

// renew gives the session a new id, which marks it as changed.
func (s *session) renew() error {
	s.id, s.storedKey, s.renewed, s.unset = "", "", true, false
	s.hasSaved, s.saved = false, nil
	if err := s.needID(); err != nil {
		return err
	}
	return s.engine.RenewToken(s.ctx)
}

// RenewToken gives the session a new id and keeps its data, as scs's does. If
// the session was ended while this request ran, its data does not come back
// under the new id: the session is then a new and empty one.
func (m *Manager) RenewToken(ctx context.Context) error {
	s := m.mustSession(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.skipped {
		return ErrOutsidePath
	}
	if s.headerSent {
		return ErrResponseBegun
	}
	if s.stored {
		found, err := s.take()
		if err != nil {
			return err
		}
		if !found {
			s.m.stats.droppedWrites.Add(1)
			s.ended("its data is not taken over")
		}
	}
	if s.gone {
		if err := s.reset(); err != nil {
			return err
		}
	}
	return s.renew()
}

// Destroy deletes the session from the store and has the browser forget its
// cookie: a logout. It is final: no other request that still has the session
// can bring it back. What is put afterwards, in the same request, begins a new
// session, as in scs.
func (m *Manager) Destroy(ctx context.Context) error {
	s := m.mustSession(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.remove(); err != nil {
		return err
	}
	return s.reset()
}

// Unset is what setting req.session to null is in Express: the session's data
// is gone for this request, and at its end the stored session is left as it
// was or deleted, as Options.Unset says. What is put afterwards is not saved.
// After the response has begun, UnsetDestroy deletes at once; a store that fails
// to is logged.
func (m *Manager) Unset(ctx context.Context) {
	s := m.mustSession(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unset = true
	_ = s.engine.Clear(s.ctx) // never fails
	if s.headerSent && s.cfg.Unset == UnsetDestroy {
		if err := s.remove(); err != nil {
			s.log(slog.LevelError, "the session could not be deleted", "error", err)
		}
	}
}

// Save stores the session now, changed or not, instead of before the response:
// Express's save. It may also be used after the response has begun, unless the
// session is new, as its cookie could not be sent: that is ErrResponseBegun. The
// error can also be ErrGone, ErrOutsidePath or a *StoreError, or say what can't
// be encoded.
func (m *Manager) Save(ctx context.Context) error {
	s := m.mustSession(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.skipped {
		return ErrOutsidePath
	}
	if s.gone || s.unset {
		return ErrGone
	}
	if s.engine.Status(s.ctx) == scs.Destroyed {
		return nil // there is nothing left to save
	}
	if s.headerSent && !s.stored {
		return ErrResponseBegun
	}
	cur, err := s.current()
	if err != nil {
		return err
	}
	if err := s.write(cur); err != nil {
		return err
	}
	if s.gone {
		return ErrGone
	}
	return nil
}

// Commit is Save for code that does without the middleware, as with scs: it
// returns the session's id, and its expiry for WriteSessionCookie.
func (m *Manager) Commit(ctx context.Context) (token string, expiry time.Time, err error) {
	if err := m.Save(ctx); err != nil {
		return "", time.Time{}, err
	}
	s := m.mustSession(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id, s.expiry, nil
}

// Reload reads the session from the store again and drops this request's
// changes: Express's reload. The error is ErrGone if it is no longer there.
func (m *Manager) Reload(ctx context.Context) error {
	s := m.mustSession(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stored {
		return ErrGone
	}
	// What was loaded first still decides whether the session is modified.
	loaded := s.loaded
	p, err := s.find(ctx)
	if err != nil {
		return err
	}
	s.loaded = loaded
	if p == nil {
		s.ended("it is not reloaded")
		return ErrGone
	}
	values := s.decoded
	s.decoded = nil
	_ = s.engine.Clear(s.ctx) // never fails
	for k, v := range values {
		s.engine.Put(s.ctx, k, v)
	}
	s.engine.SetDeadline(s.ctx, s.scsDeadline())
	return nil
}

// Touch moves the session's expiry in the store to now + OriginalMaxAge, which
// each response does anyway. It is for a handler that runs for longer than
// that, such as a stream of events. The error is ErrGone or a *StoreError.
func (m *Manager) Touch(ctx context.Context) error {
	s := m.mustSession(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return ErrGone
	}
	if !s.stored {
		return nil
	}
	s.noteDeadline(s.engine.Deadline(s.ctx))
	now := time.Now()
	end := s.end(now)
	if !end.After(now) {
		return nil // a negative maxAge: saving ends the session
	}
	wctx, cancel := s.writeContext()
	defer cancel()
	if err := s.moveExpiry(wctx, end); err != nil {
		return err
	}
	if s.gone {
		return ErrGone
	}
	return nil
}

// SetMaxAge gives this session an age of its own: req.session.cookie.maxAge.
// It is kept with the session. 0 is a cookie that ends with the browser, and a
// session that the store keeps for Options.TTL; a negative age ends the
// session with this response. As in Express, the cookie is sent again only if
// the session's data changes too, or Options.Rolling is set.
func (m *Manager) SetMaxAge(ctx context.Context, age time.Duration) {
	s := m.mustSession(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.needCookie()
	s.cookie.OriginalMaxAge = nil
	if age != 0 {
		s.cookie.OriginalMaxAge = &age
	}
	s.ownAge, s.changedAge = true, true
}

// OriginalMaxAge is how long the session lives after each use; ok is false for
// a cookie that ends with the browser. Express: cookie.originalMaxAge.
func (m *Manager) OriginalMaxAge(ctx context.Context) (age time.Duration, ok bool) {
	s := m.mustSession(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.needCookie()
	if s.cookie.OriginalMaxAge == nil {
		return 0, false
	}
	return *s.cookie.OriginalMaxAge, true
}

// MaxAge is how long the session has left if nothing uses it after this
// request, its absolute lifetime included; ok is false for a cookie that ends
// with the browser. Express: cookie.maxAge.
func (m *Manager) MaxAge(ctx context.Context) (left time.Duration, ok bool) {
	s := m.mustSession(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.needCookie()
	if s.cookie.OriginalMaxAge == nil {
		return 0, false
	}
	s.noteDeadline(s.engine.Deadline(s.ctx))
	now := time.Now()
	return s.end(now).Sub(now), true
}

// Load puts the session with this token into a context, for code that does
// without the middleware; an unknown or empty token begins a new session. The
// token is an id, as Token, ID and Commit return it, or the value of a signed
// cookie, whose signature is then checked. Never pass it what a browser sent
// without making sure that it is signed: LoadAndSave does.
func (m *Manager) Load(ctx context.Context, token string) (context.Context, error) {
	if m.sessionOf(ctx) != nil {
		return ctx, nil
	}
	cfg, err := m.config()
	if err != nil {
		return nil, err
	}
	s, err := m.newSession(cfg, noRequest())
	if err != nil {
		return nil, err
	}
	s.cookieID = m.idInToken(token)
	return s.load(ctx, s.cookieID)
}

// noRequest stands for the request outside of one.
func noRequest() *http.Request { return &http.Request{URL: &url.URL{}, Header: http.Header{}} }

func (m *Manager) idInToken(token string) string {
	if m.signer == nil {
		return token
	}
	if value, _ := wire.CookieValue([]string{"t=" + token}, "t"); strings.HasPrefix(value, "s:") {
		id, _ := m.signer.Unsign(value)
		return id
	}
	return token
}

// WriteSessionCookie adds the cookie for a token to a response, signed, with
// the configured attributes; a zero expiry makes the browser forget it. It is
// for code that does without the middleware, as with scs.
func (m *Manager) WriteSessionCookie(ctx context.Context, w http.ResponseWriter, token string, expiry time.Time) {
	s := m.mustSession(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.needCookie()
	if expiry.IsZero() {
		addCookie(w.Header(), cleared(s.header(&s.cookie, "")))
		return
	}
	c := s.header(&s.cookie, s.cookieValue(token))
	if s.lasting() {
		setExpiry(c, expiry, time.Now())
	}
	addCookie(w.Header(), c.String())
}

// MergeSession puts the data of the session with this token over that of the
// current one and ends the other session, as scs's does.
func (m *Manager) MergeSession(ctx context.Context, token string) error {
	s := m.mustSession(ctx)
	if err := s.canTake(); err != nil {
		return err
	}
	other, err := m.newSession(s.cfg, s.r)
	if err != nil {
		return err
	}
	other.outer, other.ctx, other.id = s.outer, ctx, m.idInToken(token)
	if other.id == "" || other.id == m.Token(ctx) {
		return nil
	}
	if p, err := other.find(ctx); err != nil || p == nil {
		return err
	}
	if found, err := other.take(); err != nil || !found {
		return err
	}
	rec, err := other.base.decode()
	if err != nil {
		return storeError("find", err)
	}
	if rec.deadline.After(m.Deadline(ctx)) {
		m.SetDeadline(ctx, rec.deadline)
	}
	for k, v := range rec.values {
		m.Put(ctx, k, v)
	}
	return nil
}

// canTake tells whether what is put into the session now will be saved.
func (s *session) canTake() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.headerSent:
		return ErrResponseBegun
	case s.skipped:
		return ErrOutsidePath
	case s.gone || s.unset:
		return ErrGone
	}
	return nil
}

// Iterate calls fn with the context of each live session in the store, in no
// order. Inside fn the session can be read, destroyed, or changed and saved. A
// record that can't be read is left out, with a line in the log. It returns
// fn's first error, and an error that wraps errors.ErrUnsupported if the store
// has no way to list its sessions.
func (m *Manager) Iterate(ctx context.Context, fn func(context.Context) error) error {
	cfg, err := m.config()
	if err != nil {
		return err
	}
	return cfg.store.each(ctx, func(key string, data []byte) error {
		return m.visit(ctx, cfg, key, data, fn)
	})
}

// visit calls fn with one session of Iterate's.
func (m *Manager) visit(ctx context.Context, cfg *config, key string, data []byte, fn func(context.Context) error) error {
	s, err := m.newSession(cfg, noRequest())
	if err != nil {
		return err
	}
	s.id, s.storedKey = key, key
	s.outer, s.ctx = ctx, context.WithValue(ctx, m, s)
	rec, err := cfg.codec.decode(data)
	if err != nil {
		m.stats.unreadable.Add(1)
		s.log(slog.LevelWarn, "a stored record can't be read and is left out", "error", err)
		return nil
	}
	if !rec.deadline.IsZero() && !time.Now().Before(rec.deadline) {
		return nil
	}
	s.adopt(s.snapshot(data), rec)
	return s.engine.Iterate(s.ctx, func(ctx context.Context) error {
		s.ctx = ctx
		return fn(ctx)
	})
}
