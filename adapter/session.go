package adapter

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/internal/wire"
)

// session is one session during one request. It is the Store and the Codec of
// its own copy of scs's manager: scs keeps the data and asks it to read, and
// to encode, and it decides what of that reaches the store.
type session struct {
	m      *Manager
	cfg    *config
	engine scs.SessionManager
	r      *http.Request   // as it came; an empty one outside LoadAndSave
	outer  context.Context // the request's own, for the log
	ctx    context.Context // that with this session and scs's data

	mu sync.Mutex // held by the methods that handlers call

	// What each request needs besides, here and not in allocations of their own.
	writer responseWriter
	first  snapshot  // as it was loaded
	vary   [1]string // the header's value

	// The request's cookie.
	cookieID   string      // the id it carried, if its signature is good
	hasCookie  bool        // there was one of the name, good or bad
	sent       wire.Cookie // the attributes it was set with
	wasSent    bool        // sent is known: the session was found
	isUnsigned bool        // it was accepted without a signature, and is to be replaced

	// The session.
	id        string // "" until it is needed
	storedKey string // set by Iterate, where the id itself may not be known
	stored    bool   // the store has it, as far as this request knows
	cookie    wire.Cookie
	ownAge    bool // the maxAge is this session's own
	cookieSet bool // cookie is filled in
	deadline  time.Time
	expiry    time.Time      // the store's, if known
	touched   bool           // the expiry was moved by this request
	given     Cookie         // the configuration's, or CookieFunc's for this request
	decoded   map[string]any // what adopt has read, for scs to take
	encoded   *snapshot      // what Encode made last

	// What the session's data is compared with; nil is a session without data.
	loaded *snapshot // as the request found it: decides "modified"
	saved  *snapshot // as last saved, with hasSaved: decides "saved"
	view   *snapshot // what this request's changes are relative to
	base   *snapshot // what the store holds

	hasSaved   bool
	changedAge bool // the maxAge was changed
	changedEnd bool // the deadline was changed
	renewed    bool // the id is another than the request began with
	unset      bool
	gone       bool // ended by someone else while this request ran
	skipped    bool // the path is outside the cookie's: never saved
	headerSent bool
}

// snapshot is a record as bytes, decoded when needed. Its values are never
// handed out, so they stay as they were.
type snapshot struct {
	bytes  []byte
	codec  recordCodec
	record *record
	live   map[string]any // the values that were encoded, if it was made here: what they hold may change later
	plain  map[string]any // those of the decoded values that the codec keeps, if decoding again takes long
}

func (s *session) snapshot(b []byte) *snapshot { return &snapshot{bytes: b, codec: s.cfg.codec} }

func (p *snapshot) decode() (*record, error) {
	if p == nil {
		return &record{}, nil
	}
	if p.record == nil && p.live != nil && p.keeps(func(string, any) bool { return false }) {
		p.record = &record{values: p.live}
	}
	if p.record == nil {
		r, err := p.codec.decodeVerbatim(p.bytes)
		if err != nil {
			return nil, err
		}
		p.record = &r
	}
	return p.record, nil
}

// keeps tells whether the values that were encoded come out of the store just as
// they are, but for those that other knows to.
func (p *snapshot) keeps(other func(key string, v any) bool) bool {
	for k, v := range p.live {
		if !p.codec.keeps(k) || !p.codec.keeps(v) && !other(k, v) {
			return false
		}
	}
	return true
}

// against is decode for a comparison with a snapshot that came out of the store:
// what is equal to that was not changed, and needs no decoding.
func (p *snapshot) against(q *snapshot) (*record, error) {
	if p == nil || p.record != nil || p.live == nil {
		return p.decode()
	}
	there, err := q.decode()
	if err != nil {
		return nil, err
	}
	if p.keeps(func(k string, v any) bool {
		w, ok := there.values[k]
		return ok && equal(v, w)
	}) {
		return &record{values: p.live}, nil
	}
	return p.decode()
}

// sameData tells whether two snapshots have the same keys and values, as they
// come out of the store.
func sameData(a, b *snapshot) (bool, error) {
	if a == b {
		return true, nil
	}
	if a != nil && b != nil {
		for k, v := range b.plain {
			if w, ok := a.live[k]; ok && a.codec.keeps(w) && v != w {
				return false, nil
			}
		}
	}
	ra, err := a.against(b)
	if err != nil {
		return false, err
	}
	rb, err := b.decode()
	if err != nil {
		return false, err
	}
	return len(ra.values) == 0 && len(rb.values) == 0 || equal(ra.values, rb.values), nil
}

// equal is reflect.DeepEqual, at a fraction of its cost for what comes out of JSON.
func equal(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) || (a == nil) != (b == nil) {
			return false
		}
		for k, v := range a {
			if w, ok := b[k]; !ok || !equal(v, w) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		return ok && (a == nil) == (b == nil) && slices.EqualFunc(a, b, equal)
	case nil, bool, string, int, float64:
		return a == b
	}
	return reflect.DeepEqual(a, b)
}

// newSession makes the session of a request.
func (m *Manager) newSession(cfg *config, r *http.Request) (*session, error) {
	s := &session{m: m, cfg: cfg, engine: cfg.engine, r: r, given: cfg.Cookie}
	s.engine.Store = s
	s.engine.Codec = s
	if cfg.CookieFunc != nil {
		s.given = cfg.CookieFunc(r)
		if errs := s.given.problems(cfg.Name); len(errs) > 0 {
			return nil, fmt.Errorf("adapter: Options.CookieFunc: %w", errors.Join(errs...))
		}
		if s.given.Path == "" {
			s.given.Path = "/"
		}
	}
	return s, nil
}

// sessionOf returns the Manager's session in ctx, or nil.
func (m *Manager) sessionOf(ctx context.Context) *session {
	s, _ := ctx.Value(m).(*session)
	return s
}

// mustSession returns the Manager's session in ctx. Like scs's own methods, it
// panics when there is none: that is a route without the middleware.
func (m *Manager) mustSession(ctx context.Context) *session {
	s := m.sessionOf(ctx)
	if s == nil {
		panic("adapter: no session in the context: is the route behind Manager.LoadAndSave?")
	}
	return s
}

// load finds the session with this id and puts it into a context; with "" it
// begins a new one.
func (s *session) load(ctx context.Context, id string) (context.Context, error) {
	// The session goes in before scs loads, and is replaced by the context with
	// scs's data after.
	s.outer, s.ctx = ctx, context.WithValue(ctx, s.m, s)
	ctx, err := s.engine.Load(s.ctx, id)
	if err != nil {
		return nil, err
	}
	s.ctx = ctx
	return ctx, nil
}

// FindCtx is asked by scs's Load.
func (s *session) FindCtx(ctx context.Context, id string) ([]byte, bool, error) {
	s.id = id
	p, err := s.find(ctx)
	if p == nil || err != nil {
		s.forget()
		return nil, false, err
	}
	return p.bytes, true, nil
}

// find reads the session from the store and takes its state over. nil: there is
// none, or none that can be read.
func (s *session) find(ctx context.Context) (*snapshot, error) {
	var (
		data   []byte
		found  bool
		err    error
		now    = time.Now()
		st     = s.cfg.store
		expiry time.Time // the store's, if known
		// Most sessions have the configuration's age, and can be touched while
		// they are read. One with its own is put right below.
		age   = s.newCookie().OriginalMaxAge
		slide = s.expiryFor(age, time.Time{}, now)
		// A session that may be unused for as long as it may last ends at its
		// deadline: there is nothing to slide.
		fixed = s.cfg.AbsoluteLifetime > 0 && slide.Sub(now) >= s.cfg.AbsoluteLifetime
	)
	touched := false
	read := func() {
		switch {
		case s.cfg.idle == 0 || s.cfg.Resave || s.storedKey != "" || !slide.After(now):
			data, found, err = st.find(ctx, s.key())
		case (s.cfg.TouchAfter > 0 || fixed) && st.findExpirer != nil:
			data, expiry, found, err = st.findExpirer.FindExpiry(ctx, s.key())
		case s.cfg.TouchAfter == 0 && st.findToucher != nil:
			data, found, err = st.findToucher.FindTouch(ctx, s.key(), slide)
			touched, expiry = true, slide
		default:
			data, found, err = st.find(ctx, s.key())
		}
	}
	read()
	if !found && err == nil && s.cfg.rename != nil && s.storedKey == "" {
		// Another request may have renamed it meanwhile, so look again in any case.
		if _, err = s.cfg.rename.Rename(ctx, s.id, s.key()); err == nil {
			read()
		}
	}
	if err != nil || !found {
		return nil, storeError("find", err)
	}
	rec, err := s.cfg.codec.decode(data)
	if err != nil {
		s.m.stats.unreadable.Add(1)
		s.log(slog.LevelWarn, "a stored record can't be read and counts as no session", "error", err)
		return nil, nil
	}

	if !rec.deadline.IsZero() && !now.Before(rec.deadline) {
		ctx, cancel := s.writeContext()
		defer cancel()
		return nil, storeError("delete", st.delete(ctx, s.key()))
	}
	if rec.ownAge {
		age = rec.cookie.OriginalMaxAge
	}
	if want := s.expiryFor(age, rec.deadline, now); touched && differs(want, slide, now) {
		// A client that hangs up must not leave this half done.
		ctx, cancel := s.writeContext()
		defer cancel()
		found, err := st.touch(ctx, s.key(), want)
		if err != nil || !found {
			return nil, storeError("touch", err)
		}
		expiry = want
	}
	p := &s.first
	if p.bytes != nil { // this is a reload, and the first one is still compared with
		p = new(snapshot)
	}
	*p = snapshot{bytes: data, codec: s.cfg.codec}
	if c, ok := p.codec.(scsRecords); ok {
		p.plain = c.plain(rec.values)
	}
	s.adopt(p, rec)
	s.touched, s.expiry = touched, expiry
	return p, nil
}

// differs tells whether two expiries are apart by more than Express's clock
// leaves between a maxAge and the originalMaxAge it stores.
func differs(want, got, now time.Time) bool {
	return want.Sub(got).Abs() > want.Sub(now)/100
}

// adopt makes a record that was read from the store the session's state.
func (s *session) adopt(p *snapshot, r record) {
	s.decoded = r.values
	s.changedAge, s.changedEnd = false, false
	s.adoptAge(&r)
	s.cookieSet = true
	if !s.wasSent {
		s.sent, s.wasSent = s.cookie, true
	}
	s.deadline = r.deadline
	if r.deadline.IsZero() && s.cfg.AbsoluteLifetime > 0 {
		// The record is from before the limit was set, or from Express.
		s.deadline = time.Now().Add(s.cfg.AbsoluteLifetime).UTC()
		s.changedEnd = true
	}
	s.stored = true
	s.loaded, s.view, s.base = p, p, p
	if !s.cfg.Resave {
		s.saved, s.hasSaved = p, true
	}
}

// adoptAge takes the cookie over from a record, as far as it has one.
func (s *session) adoptAge(r *record) {
	s.ownAge = r.ownAge
	switch {
	case r.ownCookie:
		s.cookie = r.cookie
	default:
		s.cookie = s.newCookie()
		if r.ownAge {
			s.cookie.OriginalMaxAge = r.cookie.OriginalMaxAge
		}
		if r.secure {
			s.cookie.Secure = true
			if s.given.SameSite == SameSiteAuto {
				s.cookie.SameSite = string(SameSiteNone)
			}
		}
	}
}

// Decode hands scs what adopt has read.
func (s *session) Decode([]byte) (time.Time, map[string]any, error) {
	values := s.decoded
	s.decoded = nil
	return s.scsDeadline(), values, nil
}

// scsDeadline is the deadline as scs is to see it.
func (s *session) scsDeadline() time.Time {
	if s.deadline.IsZero() {
		return time.Now().Add(forever)
	}
	return s.deadline
}

// Encode is asked by scs's Commit, which holds scs's data still meanwhile.
func (s *session) Encode(deadline time.Time, values map[string]any) ([]byte, error) {
	s.noteDeadline(deadline)
	b, err := s.cfg.codec.encode(s.record(values, time.Now()))
	if err != nil {
		return nil, fmt.Errorf("session: encode: %w", err)
	}
	s.encoded = s.snapshot(b)
	s.encoded.live = maps.Clone(values)
	return b, nil
}

// isStill tells whether scs holds the very values that were encoded for a
// snapshot. false: perhaps not.
func (s *session) isStill(p *snapshot) bool {
	if p == nil || p.live == nil {
		return false
	}
	keys := s.engine.Keys(s.ctx)
	for _, k := range keys {
		if v, ok := p.live[k]; !ok || !identical(reflect.ValueOf(v), reflect.ValueOf(s.engine.Get(s.ctx, k))) {
			return false
		}
	}
	return len(keys) == len(p.live)
}

// identical tells whether two values are one and the same, one that was changed in
// place since included. false: perhaps not.
func identical(a, b reflect.Value) bool {
	if !a.IsValid() || !b.IsValid() {
		return a.IsValid() == b.IsValid()
	}
	if a.Type() != b.Type() {
		return false
	}
	switch a.Kind() {
	case reflect.Map, reflect.Pointer:
		return a.UnsafePointer() == b.UnsafePointer()
	case reflect.Slice:
		return a.UnsafePointer() == b.UnsafePointer() && a.Len() == b.Len()
	case reflect.Struct:
		for i := range a.NumField() {
			if !identical(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	}
	return a.Comparable() && a.Equal(b)
}

// noteDeadline takes over the deadline that scs has for the session.
func (s *session) noteDeadline(deadline time.Time) {
	if time.Until(deadline) > forever/2 {
		deadline = time.Time{}
	}
	if !deadline.Equal(s.deadline) {
		s.deadline, s.changedEnd = deadline, true
	}
}

// record is the session with these values, as it would be stored now.
func (s *session) record(values map[string]any, now time.Time) record {
	s.needCookie()
	r := record{
		cookie:   s.cookie,
		ownAge:   s.ownAge,
		secure:   s.cookie.Secure && s.given.Secure == Auto,
		deadline: s.deadline,
		expiry:   s.expiryFor(s.cookie.OriginalMaxAge, s.deadline, now),
		values:   values,
	}
	r.cookie.Expires = time.Time{}
	if r.cookie.OriginalMaxAge != nil {
		r.cookie.Expires = r.expiry
	}
	return r
}

// current encodes the session as it is. scs's Commit is its only public way to
// the values; nothing is written.
func (s *session) current() (*snapshot, error) {
	if _, _, err := s.engine.Commit(s.ctx); err != nil {
		return nil, err
	}
	return s.encoded, nil
}

// CommitCtx, DeleteCtx and the rest complete scs.CtxStore. scs's own writes
// and deletes do nothing: the Manager's methods do them.
func (s *session) CommitCtx(context.Context, string, []byte, time.Time) error { return nil }

// DeleteCtx does nothing, as CommitCtx.
func (s *session) DeleteCtx(context.Context, string) error { return nil }

// Find implements scs.Store.
func (s *session) Find(id string) ([]byte, bool, error) { return s.FindCtx(s.ctx, id) }

// Commit implements scs.Store.
func (s *session) Commit(string, []byte, time.Time) error { return nil }

// Delete implements scs.Store.
func (s *session) Delete(string) error { return nil }

// AllCtx is how Iterate gets a session that is loaded already into scs.
func (s *session) AllCtx(context.Context) (map[string][]byte, error) {
	return map[string][]byte{s.id: s.base.bytes}, nil
}

// needCookie fills in the cookie of a new session.
func (s *session) needCookie() {
	if !s.cookieSet {
		s.cookie, s.cookieSet = s.newCookie(), true
		// An age that the next request's configuration need not have.
		s.ownAge = s.cfg.CookieFunc != nil || !s.given.Expires.IsZero()
	}
}

// newCookie is the cookie of a session that this request would begin.
func (s *session) newCookie() wire.Cookie {
	w := s.cfg.cookie
	if s.cfg.CookieFunc != nil || !s.given.Expires.IsZero() {
		w = s.given.wire()
	}
	if s.given.Secure == Auto {
		w.Secure = s.isSecure()
	}
	if w.SameSite == string(SameSiteAuto) {
		w.SameSite = string(SameSiteLax)
		if s.isSecure() {
			w.SameSite = string(SameSiteNone)
		}
	}
	return w
}

// isSecure tells whether the request came over a secure connection, by what
// Options.Proxy trusts.
func (s *session) isSecure() bool {
	r := s.r
	switch {
	case r.TLS != nil:
		return true
	case s.cfg.Proxy == False:
		return false
	case s.cfg.Proxy == True:
		first, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Proto"), ",")
		return strings.EqualFold(strings.TrimSpace(first), "https")
	}
	// Set by a middleware for proxy headers, not by a client that sends its
	// request to an absolute URL.
	return strings.EqualFold(r.URL.Scheme, "https") && (r.RequestURI == "" || r.RequestURI[0] == '/')
}

// expiryFor is when a session used now ends.
func (s *session) expiryFor(maxAge *time.Duration, deadline, now time.Time) time.Time {
	var end time.Time
	switch {
	case maxAge != nil:
		end = now.Add(*maxAge)
	case s.cfg.idle > 0:
		end = now.Add(s.cfg.idle)
	default:
		end = now.Add(forever)
	}
	if !deadline.IsZero() && deadline.Before(end) {
		end = deadline
	}
	if limit := now.Add(forever); end.After(limit) {
		end = limit // stores have a last date
	}
	return end.UTC()
}

// end is when this session ends if nothing uses it after now.
func (s *session) end(now time.Time) time.Time {
	s.needCookie()
	return s.expiryFor(s.cookie.OriginalMaxAge, s.deadline, now)
}

// key is the session's name in the store.
func (s *session) key() string {
	switch {
	case s.storedKey != "":
		return s.storedKey
	case s.cfg.hash:
		return hashID(s.id)
	}
	return s.id
}

// hashID is what scs's HashTokenInStore makes of a token.
func hashID(id string) string {
	sum := sha256.Sum256([]byte(id))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// shortHash names a session in the log without giving its id away.
func shortHash(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:6])
}

// needID makes sure that the session has an id.
func (s *session) needID() error {
	if s.id != "" {
		return nil
	}
	if s.cfg.GenID == nil {
		var b [24]byte
		if _, err := rand.Read(b[:]); err != nil {
			return fmt.Errorf("session: new id: %w", err)
		}
		s.id = base64.RawURLEncoding.EncodeToString(b[:])
		return nil
	}
	id := s.cfg.GenID(s.r)
	if err := checkID(id); err != nil {
		return fmt.Errorf("session: GenID returned %w", err)
	}
	s.id = id
	return nil
}

// checkID says what is wrong with an id that did not come signed.
func checkID(id string) error {
	if len(id) == 0 || len(id) > 128 {
		return fmt.Errorf("an id of %d bytes; it must have 1 to 128", len(id))
	}
	for _, c := range []byte(id) {
		if c <= ' ' || c > '~' {
			return errors.New("an id that is not printable ASCII")
		}
	}
	return nil
}

// log writes a line about the session, which is named by a short hash.
func (s *session) log(level slog.Level, msg string, args ...any) {
	if s.id != "" {
		args = append(args, "session", shortHash(s.id))
	}
	s.cfg.Logger.Log(s.outer, level, "session: "+msg, args...)
}
