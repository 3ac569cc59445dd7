package adapter

import (
	"bytes"
	"context"
	"log/slog"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/backends/contract"
)

// ID returns the session's id, the sid of Express. A session has one from its
// start, saved or not. It is a secret: whoever has it, and the key that signs
// the cookie, is signed in. Inside Iterate and DestroyWhere it is the store key, which is
// the hash of the id with StoreKeyHash.
func (m *Manager) ID(ctx context.Context) string {
	s := m.mustSession(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.need(m.cfg, s.r) != nil {
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
	return s.token()
}

func (s *session) token() string {
	if s.exists() || s.renewed && s.data.status() == scs.Modified {
		return s.id
	}
	return ""
}

// Status returns what the request has done to the session: scs's Status. Of a Manager
// that Wrap has made of one with an IdleTimeout, each session that was loaded counts as
// modified, as in scs.
func (m *Manager) Status(ctx context.Context) scs.Status {
	s := m.mustSession(ctx)
	status := s.data.status()
	if status == scs.Unmodified && m.cfg.resends {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.exists() {
			return scs.Modified
		}
	}
	return status
}

// mayRenew returns why the session can't have a new id, or nil.
func (s *session) mayRenew() error {
	switch {
	case s.phase == outside:
		return ErrOutsidePath
	case s.begun:
		return ErrResponseBegun
	}
	return nil
}

// Regenerate ends the session and begins an empty one with a new id: Express's
// regenerate. Call it when a user signs in, so that an id that was planted
// before is worth nothing (OWASP ASVS 7.2.4). To keep the data, use RenewToken.
//
// The old session ends when the new one is saved, before the response: if that fails, or
// the handler panics, it is as it was.
func (m *Manager) Regenerate(ctx context.Context) error {
	s := m.mustSession(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.mayRenew(); err != nil {
		return err
	}
	at, stored, others, tried := s.at, s.stored, s.merged, s.tried
	if len(tried) > 0 && at == "" {
		// The new session may have been stored although its reply was lost.
		wctx, cancel := s.writeContext()
		defer cancel()
		if err := s.removeTried(wctx); err != nil {
			return err
		}
		tried = nil
	}
	s.reset()
	s.at, s.stored, s.fresh = at, stored, at != ""
	for _, t := range tried {
		s.tried = append(s.tried, &attempt{key: t.key, private: t.private, data: t.data})
	}
	for _, m := range others {
		s.merged = append(s.merged, merged{Record: m.Record})
	}
	return s.newID()
}

// RenewToken gives the session a new id and keeps its data, as scs's does. If
// the session was ended while this request ran, its data does not come back
// under the new id: the session is then a new one, with what is put from then on.
//
// The old id ends when the session is saved, before the response: if that fails, or the
// handler panics, it is as it was.
func (m *Manager) RenewToken(ctx context.Context) error {
	s := m.mustSession(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.mayRenew(); err != nil {
		return err
	}
	if err := s.refresh(ctx); err != nil {
		return err
	}
	if s.phase == ended {
		// A new one, which is saved if something is put into it.
		s.data.clear()
		s.forget()
		s.renewed = false
		s.data.renew()
		return s.need(m.cfg, s.r)
	}
	if err := s.newID(); err != nil || !s.exists() {
		return err
	}
	for i := range s.merged {
		s.merged[i].renewed = true
	}
	var err error
	s.since, err = s.current()
	return err
}

// refresh looks whether the store still has the session, so that the handler does not go
// on with one that has ended.
func (s *session) refresh(ctx context.Context) error {
	if !s.exists() {
		_, err := s.wasDone(ctx) // stored after all
		return err
	}
	if s.fresh {
		return nil
	}
	data, there, err := s.m.cfg.store.find(ctx, s.at)
	if err == nil && !there {
		var done bool
		if done, err = s.wasDone(ctx); done {
			return err
		}
	}
	switch {
	case err != nil:
		return storeError("find", err)
	case !there:
		return s.gone(ctx, s.key(s.m.cfg))
	case bytes.Equal(data, s.stored.data):
		return nil
	}
	return s.adoptStored(s.at, data)
}

// newID gives the session a new id, which marks it as changed.
func (s *session) newID() error {
	s.saved = false
	if s.phase == unset {
		s.phase = live
	}
	err := s.renew(s.m.cfg, s.r)
	s.data.renew()
	return err
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
	outsideStill := s.phase == outside
	s.reset()
	if outsideStill {
		s.phase = outside
	}
	return nil
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
	if s.phase == live {
		s.phase = unset
	}
	s.data.clear()
	if s.begun && m.cfg.Unset == UnsetDestroy {
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
	return s.save()
}

func (s *session) save() error {
	switch {
	case s.phase == outside:
		return ErrOutsidePath
	case s.phase != live:
		return ErrGone
	case s.data.status() == scs.Destroyed:
		return nil // there is nothing left to save
	case s.begun && !s.exists():
		return ErrResponseBegun
	}
	s.mute = s.mute || s.begun
	cur, err := s.current()
	if err != nil {
		return err
	}
	if err := s.write(cur); err != nil {
		return err
	}
	if s.phase == ended {
		return ErrGone
	}
	return nil
}

// Reload reads the session from the store again and drops this request's
// changes: Express's reload. The error is ErrGone if it is no longer there.
func (m *Manager) Reload(ctx context.Context) error {
	s := m.mustSession(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.exists() || s.renewed && s.at != s.key(m.cfg) {
		return ErrGone
	}
	identity, cookie, life, original, base, stored, saved := s.identity, s.cookie, s.life, s.original, s.base, s.stored, s.saved
	values, _, err := s.find(ctx)
	if err != nil { // all is as it was
		s.identity, s.cookie, s.life, s.original, s.base, s.stored, s.saved = identity, cookie, life, original, base, stored, saved
		return err
	}
	s.original, s.merged = original, nil // what was loaded first still decides whether the session is modified
	s.unsure = unsure{}
	if values == nil {
		s.markEnded(slog.LevelInfo, "it is not reloaded")
		return ErrGone
	}
	s.data.clear()
	for k, v := range values {
		s.data.put(k, v)
	}
	s.data.extend(s.life.deadline)
	return nil
}

// Touch moves the session's expiry in the store to now + OriginalMaxAge, which
// each response does anyway. It is for a handler that runs for longer than
// that, such as a stream of events. The error is ErrGone or a *StoreError.
func (m *Manager) Touch(ctx context.Context) error {
	s := m.mustSession(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase == ended {
		return ErrGone
	}
	if !s.exists() || s.fresh {
		return nil
	}
	s.noteDeadline(s.data.until())
	if now := time.Now(); !s.life.end(m.cfg.idle, now).After(now) {
		return nil // a negative maxAge: saving ends the session
	}
	wctx, cancel := s.writeContext()
	defer cancel()
	if err := s.moveExpiry(wctx); err != nil {
		return err
	}
	if s.phase == ended {
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
	s.life.maxAge = nil
	if age != 0 {
		s.life.maxAge = &age
	}
	s.life.own, s.life.changedAge = true, true
}

// OriginalMaxAge is how long the session lives after each use; ok is false for
// a cookie that ends with the browser. Express: cookie.originalMaxAge.
func (m *Manager) OriginalMaxAge(ctx context.Context) (age time.Duration, ok bool) {
	s := m.mustSession(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.needCookie()
	if s.life.maxAge == nil {
		return 0, false
	}
	return *s.life.maxAge, true
}

// MaxAge is how long the session has left if nothing uses it after this
// request, its absolute lifetime included; ok is false for a cookie that ends
// with the browser. Express: cookie.maxAge.
func (m *Manager) MaxAge(ctx context.Context) (left time.Duration, ok bool) {
	s := m.mustSession(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.needCookie()
	if s.life.maxAge == nil {
		return 0, false
	}
	s.noteDeadline(s.data.until())
	now := time.Now()
	return s.life.end(m.cfg.idle, now).Sub(now), true
}

// MergeSession puts the data of the session with this id over that of the current one,
// as scs's does. The other session ends when this one is saved, before the response: if
// that fails, or the handler panics, both are as they were. If the other one is changed
// or ended before that, its values follow. The id is what ID or Token returned: never
// pass one that a client sent.
func (m *Manager) MergeSession(ctx context.Context, id string) error {
	s := m.mustSession(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.phase == outside:
		return ErrOutsidePath
	case s.begun:
		return ErrResponseBegun
	case s.phase != live:
		return ErrGone
	}
	other, err := m.newSession(s.r)
	if err != nil {
		return err
	}
	if id == "" || id == s.token() {
		return nil
	}
	other.id = id
	other.enter(s.scope.Context) // without this session, for a logger that asks the Manager
	values, _, err := other.find(ctx)
	if err != nil || values == nil {
		return err
	}
	if other.at == s.at || m.cfg.migrate && s.exists() && other.at == hashID(s.at) {
		return nil
	}
	for _, m := range s.merged {
		if m.Token == other.at || s.m.cfg.migrate && hashID(m.Token) == other.at {
			return nil
		}
	}
	if until := s.data.until(); !until.IsZero() && other.life.deadline.After(until) {
		s.data.extend(other.life.deadline)
	}
	s.mergeIn(contract.Record{Token: other.at, Data: other.stored.data}, values)
	return nil
}
