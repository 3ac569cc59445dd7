package adapter

import (
	"context"
	"log/slog"
	"time"
)

// loadRequest finds the session that the request's cookie names, and returns the
// context that it is in.
func (s *session) loadRequest() (context.Context, error) {
	ctx := s.r.Context()
	if path := s.cookie.given.Path; path != "/" && !covers(path, requestPath(s.r)) {
		s.phase = outside
		s.m.outside(path, s.r.Header["Cookie"])
		return s.load(ctx, "")
	}
	s.cookie.read(s.m, s.r.Header)
	ctx, err := s.load(ctx, s.cookie.id)
	if s.cookie.bad {
		s.audit(slog.LevelWarn, EventBadSignature, "")
	}
	s.cookie.outdated = s.cookie.outdated && s.exists()
	return ctx, err
}

// load finds the session with this id and puts it into a context; with "" it
// begins a new one.
func (s *session) load(ctx context.Context, id string) (context.Context, error) {
	s.enter(ctx)
	var values map[string]any
	if id != "" {
		s.id = id
		var there bool
		var err error
		if values, there, err = s.find(ctx); err != nil {
			return nil, err
		}
		if !there && s.cookie.present {
			s.m.unknownSession(id)
			if s.cookie.signed { // else anybody may have made it up
				s.audit(slog.LevelWarn, EventUnknown, "")
			}
		}
		if values == nil {
			s.forget()
		}
	}
	if values == nil {
		values = make(map[string]any)
	}
	return &s.scope, s.start(values)
}

// enter puts the session into a context.
func (s *session) enter(ctx context.Context) { s.scope = requestScope{ctx, s} }

// start hands the values over to the handler.
func (s *session) start(values map[string]any) error {
	return s.data.begin(&s.m.cfg.engine, s.life.deadline, values)
}

// requestScope is a context with a session and its data, in the place of any other session
// of the same Manager.
type requestScope struct {
	context.Context
	s *session
}

// Value implements context.Context.
func (c *requestScope) Value(key any) any {
	if m, ok := key.(*Manager); ok && m == c.s.m {
		return c.s
	}
	if cfg := c.s.m.cfg; key == cfg.key && c.s.data.ctx != nil {
		return c.s.data.ctx.Value(cfg.engineKey)
	}
	return c.Context.Value(key)
}

// reading is what a read of the store returns.
type reading struct {
	data    []byte
	ok      bool
	expiry  time.Time // zero: not known
	touched bool      // the expiry was moved by the read
}

// find reads the session from the store and takes its state over. The values are nil if
// there is none, or none that can be used; there reports whether the store has one.
func (s *session) find(ctx context.Context) (values map[string]any, there bool, err error) {
	cfg, now := s.m.cfg, time.Now()
	// Most sessions have the configuration's age, and can be touched while they are
	// read. One with its own is put right below.
	slide := endOf(s.cookie.age(cfg), cfg.idle, time.Time{}, now)
	at := s.key(cfg)
	got, err := s.read(ctx, at, slide, now)
	switch {
	case !cfg.migrate || err != nil || got.ok:
	case s.fixed != "": // another request may have moved it since it was listed
		at = hashID(s.fixed)
		if got, err = s.read(ctx, at, slide, now); got.ok {
			s.fixed = at
		}
	default:
		// It may be stored under its id still. The end of the request moves it.
		at, got = s.id, reading{}
		if got.data, got.ok, err = cfg.store.find(ctx, at); err == nil && !got.ok {
			at = s.key(cfg) // or have been moved since the first look
			got, err = s.read(ctx, at, slide, now)
		}
	}
	if err != nil || !got.ok {
		return nil, false, storeError("find", err)
	}
	rec, err := cfg.codec.decode(got.data)
	if err != nil {
		s.m.stats.unreadable.Add(1)
		s.log(slog.LevelWarn, "a stored record can't be read and counts as no session", "error", err)
		s.audit(slog.LevelWarn, EventUnreadable, "")
		return nil, true, nil
	}
	if !rec.deadline.IsZero() && !now.Before(rec.deadline) {
		ctx, cancel := s.writeContext()
		defer cancel()
		_, _, err := cfg.store.swap(ctx, at, got.data, nil, time.Time{})
		return nil, true, storeError("delete", err)
	}
	v := &s.first
	if v.data != nil { // this is a reload, and the first one is still compared with
		v = new(version)
	}
	*v = version{codec: cfg.codec, data: got.data}
	if c, ok := v.codec.(scsRecords); ok {
		v.basic = c.basics(rec.values)
	}
	s.at = at
	s.adopt(v, &rec)
	s.life.expiry, s.life.touched = got.expiry, got.touched
	if end := s.life.end(cfg.idle, now); got.touched && differs(end, slide, now) {
		// A client that hangs up must not leave this half done.
		ctx, cancel := s.writeContext()
		defer cancel()
		if err := s.moveExpiry(ctx); err != nil {
			return nil, true, err
		}
		if s.phase == ended {
			s.phase = live
			return nil, true, nil
		}
	}
	return rec.values, true, s.noteLoaded(ctx, rec.values, now)
}

// read reads the record under a key, and slides its expiry if the store can do both
// at once.
func (s *session) read(ctx context.Context, key string, slide, now time.Time) (f reading, err error) {
	cfg := s.m.cfg
	st := cfg.store
	// A session that may be unused for as long as it may last ends at its deadline:
	// there is nothing to slide.
	endsAtDeadline := cfg.AbsoluteLifetime > 0 && slide.Sub(now) >= cfg.AbsoluteLifetime
	switch {
	case cfg.idle == 0 || cfg.Resave || s.fixed != "" || !slide.After(now):
		f.data, f.ok, err = st.find(ctx, key)
	case (cfg.TouchAfter > 0 || endsAtDeadline) && st.findExpirer != nil:
		f.data, f.expiry, f.ok, err = st.findExpirer.FindExpiry(ctx, key)
	case cfg.TouchAfter == 0 && st.findToucher != nil:
		f.data, f.ok, err = st.findToucher.FindTouch(ctx, key, slide)
		f.touched, f.expiry = true, slide
	default:
		f.data, f.ok, err = st.find(ctx, key)
	}
	return f, err
}

// adopt makes a record that was read from the store the session's state.
func (s *session) adopt(v *version, r *record) {
	s.life.changedAge, s.life.changedDeadline = false, false
	s.adoptBeside(r)
	if r.deadline.IsZero() && s.m.cfg.AbsoluteLifetime > 0 {
		// The record is from before the limit was set, or from Express.
		s.life.setDeadline(time.Now().Add(s.m.cfg.AbsoluteLifetime).UTC())
	}
	s.original, s.base, s.stored = v, v, v
	s.saved = !s.m.cfg.Resave
}

// adoptBeside takes over what a record has beside the data.
func (s *session) adoptBeside(r *record) {
	s.cookie.adopt(s.m.cfg, r, s.isSecure())
	s.life.adopt(r, s.cookie.age(s.m.cfg))
}
