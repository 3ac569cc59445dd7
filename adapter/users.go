package adapter

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/samesid/samesid/backends/contract"
)

// users finds the sessions of one user: see Options.UserPath.
type users struct {
	contract.UserIndex
	path  []string
	looks bool // the store looks into its records, and need not be told

	// noted has what the store was told of late, so that it is told once per session and
	// process, and again before the note expires.
	seed  maphash.Seed
	noted [][notesTogether]atomic.Pointer[note]
}

// note is what the store was told of a session.
type note struct {
	token, user string // no user: there was none
	until       time.Time
}

const (
	// notesKept bounds the memory for them: about 10 MB. Each is in one of the places that
	// its token has.
	notesKept     = 1 << 16
	notesTogether = 4

	// endedKept is how long a store remembers that all sessions of a user were ended, and
	// so how long a request that signs in may take.
	endedKept = time.Hour

	// endedSettles is the least time that DestroyUser takes once that is noted. A login that
	// begins afterwards must be told from one that was under way: by clocks of milliseconds,
	// and with an answer from the store that takes a while.
	endedSettles = 5 * time.Millisecond

	// unusedNote is the age of a note on a session that is not there from which it is
	// dropped. A save is over long before.
	unusedNote = 10 * time.Minute

	// endTries is how often to ask whether a session may begin, and to try to delete one that
	// must not. If all fail, the request does too; with a new id, nobody has been told it.
	endTries = 3

	// maxUser is the length in bytes of the longest id of a user.
	maxUser = 256
)

// newUsers gets a store's index ready.
func newUsers(c *config) (*users, error) {
	u := &users{path: strings.Split(c.UserPath, ".")}
	var ok bool
	if u.UserIndex, ok = contract.As[contract.UserIndex](c.Store); !ok {
		c.Logger.Warn("session: the store has no index of users, so that all sessions are read to find those of one, and a login that is under way "+
			"in another process outlives their end: use a store of package backends, or give yours the methods of contract.UserIndex", "store", fmt.Sprintf("%T", c.Store))
		u.UserIndex = &scanned{store: c.store, userIn: func(data []byte) string {
			r, err := c.codec.decode(data)
			if err != nil {
				return ""
			}
			user, _ := u.of(r.values)
			return user
		}}
	}
	looks, err := u.IndexUsers(context.Background(), u.path)
	if err != nil {
		return nil, fmt.Errorf("adapter: Options.UserPath: %w", err)
	}
	if u.looks = looks; !looks {
		u.seed, u.noted = maphash.MakeSeed(), make([][notesTogether]atomic.Pointer[note], notesKept/notesTogether)
	}
	return u, nil
}

// of returns the user in the values of a session, "" if there is none.
func (u *users) of(values map[string]any) (string, error) {
	v, ok := values[u.path[0]]
	if !ok {
		return "", nil
	}
	raw, err := marshal(plain(v))
	for _, key := range u.path[1:] {
		var object map[string]json.RawMessage
		if err != nil || json.Unmarshal(raw, &object) != nil {
			return "", nil // nothing is under the path
		}
		raw = []byte(object[key])
	}
	if err != nil {
		return "", fmt.Errorf("session: the user's id, %s, can't be encoded", strings.Join(u.path, "."))
	}
	user := string(raw)
	switch {
	case user == "", user == "null", user == "false", user == `""`:
		return "", nil // nobody, as for Passport
	case raw[0] == '"':
		if json.Unmarshal(raw, &user) != nil {
			user = ""
		}
	case raw[0] != '-' && (raw[0] < '0' || raw[0] > '9'):
		user = ""
	}
	if !validUser(user) {
		return "", fmt.Errorf("session: the user's id, %s, is neither a number nor a text of 1 to %d bytes without control characters", strings.Join(u.path, "."), maxUser)
	}
	return user, nil
}

func validUser(user string) bool {
	return user != "" && len(user) <= maxUser && utf8.ValidString(user) && !strings.ContainsFunc(user, func(r rune) bool {
		return unicode.IsControl(r) || r == utf8.RuneError
	})
}

// places are where the note on a token can be.
func (u *users) places(token string) *[notesTogether]atomic.Pointer[note] {
	return &u.noted[maphash.String(u.seed, token)%uint64(len(u.noted))]
}

// fresh returns the note on a token if it lasts for longer than a session that ends at
// end, even if that is used until then.
func (u *users) fresh(token string, end, now time.Time) *note {
	places := u.places(token)
	for i := range places {
		if n := places[i].Load(); n != nil && n.token == token {
			if n.until.Sub(now) < end.Sub(now)*3/2 {
				return nil
			}
			return n
		}
	}
	return nil
}

// keep keeps a note, in the place of an older one on the token, or of that which ends first.
func (u *users) keep(n *note) {
	places := u.places(n.token)
	at := &places[0]
	var first *note
	for i := range places {
		was := places[i].Load()
		if was == nil || was.token == n.token {
			at = &places[i]
			break
		}
		if first == nil || was.until.Before(first.until) {
			at, first = &places[i], was
		}
	}
	at.Store(n)
}

// note tells the store of a session that ends at end unless it is used.
func (u *users) note(ctx context.Context, user, token string, end, now time.Time) error {
	if n := u.fresh(token, end, now); n != nil && n.user == user {
		return nil
	}
	ttl := 2 * end.Sub(now)
	if user != "" {
		if err := u.NoteUser(ctx, user, token, ttl); err != nil {
			return storeError("note user", err)
		}
	}
	u.keep(&note{strings.Clone(token), strings.Clone(user), now.Add(ttl)})
	return nil
}

// noteLoaded has a session that another program has begun, or that was noted long ago,
// found as one of its user.
func (s *session) noteLoaded(ctx context.Context, values map[string]any, now time.Time) error {
	u := s.m.cfg.users
	if u == nil || u.looks {
		return nil
	}
	end := s.life.end(s.m.cfg.idle, now)
	if u.fresh(s.at, end, now) != nil {
		return nil
	}
	user, err := u.of(values)
	if err != nil {
		s.log(slog.LevelWarn, "the session is not one of its user's", "error", err)
	}
	return u.note(ctx, user, s.at, end, now)
}

// noteStored has the session found as one of its user before it is written.
func (s *session) noteStored(ctx context.Context, token string, end, now time.Time) error {
	u := s.m.cfg.users
	if u == nil || u.looks || s.sameUser && token == s.at && u.fresh(token, end, now) != nil {
		return nil
	}
	if s.sameUser {
		s.user, _ = u.of(s.holder) // noteLoaded has told what is wrong with it
	}
	if s.user == "" {
		return nil
	}
	return u.note(ctx, s.user, token, end, now)
}

// noteUser notes the user in the values that are to be stored. Whether it is the same one as
// the request has found shows without looking for the id, which most requests have no need
// of.
func (s *session) noteUser(values map[string]any) (err error) {
	u := s.m.cfg.users
	if u == nil {
		return nil
	}
	key := u.path[0]
	v, ok := values[key]
	s.user, s.sameUser, s.holder = "", false, nil
	if s.original != nil && !s.renewed && !s.written {
		was, err := s.original.record()
		if err != nil {
			return err
		}
		before, had := was.values[key]
		s.sameUser = ok == had && equal(plain(v), plain(before))
	}
	if s.sameUser {
		if ok {
			s.holder = map[string]any{key: v}
		}
		return nil
	}
	s.user, err = u.of(values)
	return err
}

// signIn is what is known of a user who signs in with Options.UserPath.
type signIn struct {
	user     string         // in what was last made for the store; "" if it is sameUser, and not needed
	sameUser bool           // it is the one that the request has found
	holder   map[string]any // has that user
	admitted string         // the user who has signed in, and is stored
	arrived  time.Time      // the request has verified nobody's credentials before

	// ended are the users all of whose sessions this request has ended, and when, by the
	// store's clock.
	ended map[string]time.Time
}

// arrive notes that what may sign a user in begins now or, for a session that a request has
// found among others, that it began with the request.
func (s *session) arrive(ctx context.Context) {
	if s.m.cfg.users == nil {
		return
	}
	s.arrived = time.Now()
	if own := s.m.sessionOf(ctx); own != nil {
		own.mu.Lock()
		defer own.mu.Unlock()
		s.arrived, s.ended = own.arrived, maps.Clone(own.ended)
	}
}

// signsIn reports whether this request has given the session its user.
func (s *session) signsIn() (bool, error) {
	if s.m.cfg.users == nil || s.sameUser || s.user == "" || s.user == s.admitted {
		return false, nil
	}
	if s.renewed || s.original == nil {
		return true, nil
	}
	was, err := s.original.record()
	if err != nil {
		return false, err
	}
	before, _ := s.m.cfg.users.of(was.values)        // the object around the id may have changed
	return before != s.user || s.admitted != "", nil // it may have been another one's meanwhile
}

// endIfLate ends a session that was signed in while all those of its user were ended: the
// credentials may have been verified before.
func (s *session) endIfLate(ctx context.Context) error {
	signsIn, err := s.signsIn()
	if err != nil || !signsIn {
		return err
	}
	late, err := s.late(ctx)
	if err == nil && !late {
		s.admitted = s.user
		return nil
	}
	var removed error
	for range endTries {
		if removed = s.m.cfg.store.delete(ctx, s.at); removed == nil {
			break
		}
	}
	s.auditRemoved("reason", "all sessions of the user were ended while it was signed in")
	s.markEnded(slog.LevelWarn, "it does not begin")
	if err = errors.Join(err, removed); err != nil {
		return storeError("save", err)
	}
	return ErrUserEnded
}

// late reports whether all sessions of the user who signs in were ended after the request
// arrived, other than by itself. If it can't be told, they were.
func (s *session) late(ctx context.Context) (bool, error) {
	for tries := 1; ; tries++ {
		asked := time.Since(s.arrived)
		at, ago, err := s.m.cfg.users.UserEnded(ctx, s.user)
		took := time.Since(s.arrived)
		own, isOwn := s.ended[s.user]
		switch {
		case err != nil:
			return false, err
		case isOwn && at.Equal(own), took < endedKept && (at.IsZero() || ago > took):
			return false, nil
		case tries == endTries || ago+endedSettles < asked: // otherwise a faster answer may tell
			return true, nil
		}
	}
}

// UserPath returns Options.UserPath.
func (m *Manager) UserPath() string { return m.cfg.UserPath }

// UserID returns the id that the session of ctx has under Options.UserPath, "" if there is
// none, or none that can be an id.
func (m *Manager) UserID(ctx context.Context) string {
	s := m.mustSession(ctx)
	if m.cfg.users == nil {
		return ""
	}
	key := m.cfg.users.path[0]
	user, _ := m.cfg.users.of(map[string]any{key: s.data.get(key)})
	return user
}

// Info is what is known of a session without its data.
type Info struct {
	// Handle names the session, on a page for its user, say: 32 hexadecimal digits. It does
	// not give the id away, and changes with it.
	Handle string

	// Name is the hash that stands for the session in the log and in audit events, as
	// "session" there.
	Name string

	// Current reports whether it is the session of the request that asks.
	Current bool

	// LastUsed is when it was last used, as far as the store notes that: see
	// Options.TouchAfter. Zero: it is not known.
	LastUsed time.Time

	// Expires is when it ends unless it is used. Zero: it is not known.
	Expires time.Time
}

// handleOf returns the name of a session that the store has under a key. It is an argument on a
// command line, so it never begins with "-", as base64 could.
func handleOf(key string) string {
	if key == "" {
		return ""
	}
	sum := sha256.Sum256([]byte("samesid handle\x00" + key))
	return hex.EncodeToString(sum[:16])
}

// Info describes the session of ctx: that of the request or, in IterateUser and Iterate,
// the one that is visited. One that is not stored has no handle.
func (m *Manager) Info(ctx context.Context) Info {
	s := m.mustSession(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	i := Info{Handle: handleOf(s.at), Name: s.name(), Current: s.fixed == "", Expires: s.life.expiry}
	age := s.life.maxAge
	if age == nil && s.m.cfg.idle > 0 {
		age = &s.m.cfg.idle
	}
	// A store rounds the expiry.
	if age != nil && *age > 0 && !i.Expires.IsZero() && (s.life.deadline.IsZero() || i.Expires.Before(s.life.deadline.Add(-time.Second))) {
		i.LastUsed = i.Expires.Add(-*age)
	}
	return i
}

// IterateUser is Iterate for the sessions of one user, with Options.UserPath. It does not
// read those of others. The sessions of a store in Redis or memory, and of layouts that
// have no JSON, are those that a Manager with this UserPath has seen.
func (m *Manager) IterateUser(ctx context.Context, user string, fn func(ctx context.Context) error) error {
	u, err := m.usersFor(user)
	if err != nil {
		return err
	}
	tokens, err := u.UserTokens(ctx, user)
	if err != nil {
		return storeError("find", err)
	}
	for _, token := range tokens {
		visited, _, err := m.visitUser(ctx, user, token)
		if err != nil {
			return err
		}
		if visited == nil {
			continue
		}
		if err := fn(visited); err != nil {
			return err
		}
	}
	return nil
}

// usersFor returns the index, or an error if there is none or this can't be a user.
func (m *Manager) usersFor(user string) (*users, error) {
	switch {
	case m.cfg.users == nil:
		return nil, ErrNoUserPath
	case !validUser(user):
		return nil, fmt.Errorf("session: a user's id is a text of 1 to %d bytes without control characters", maxUser)
	}
	return m.cfg.users, nil
}

// visitUser returns a context with the session of a token, and its record. Both are nil if
// the token has no record, or one that is not the user's, and the context alone if the record
// can't be read: it is the user's, as far as is known.
func (m *Manager) visitUser(ctx context.Context, user, token string) (visited context.Context, data []byte, err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, storeError("find", err)
	}
	u, st := m.cfg.users, m.cfg.store
	var there bool
	var expiry time.Time
	if st.findExpirer != nil {
		data, expiry, there, err = st.findExpirer.FindExpiry(ctx, token)
	} else {
		data, there, err = st.find(ctx, token)
	}
	if err != nil {
		return nil, nil, storeError("find", err)
	}
	if there {
		r, err := m.cfg.codec.decode(data)
		if err != nil {
			m.visited(ctx, token, data) // which says so in the log
			return nil, data, nil
		}
		is, _ := u.of(r.values)
		there = is == user
	}
	if there {
		visited = m.visited(ctx, token, data)
	}
	if visited == nil {
		return nil, nil, storeError("delete", u.ForgetUser(ctx, user, token, unusedNote))
	}
	if s := m.sessionOf(visited); s.fixed != "" {
		s.life.expiry = expiry
	}
	return visited, data, nil
}

// DestroyUser ends all sessions of a user, with Options.UserPath, and returns how many. That
// is final: it also ends one that is given a new id meanwhile, and a login under way fails
// with ErrUserEnded, unless it is Express that signs in. If ctx has a session of the user,
// it ends too, and the request may sign in anew.
//
// In Redis, in memory, and in layouts that have no JSON, a session that Express has begun is
// ended if a Manager with this UserPath has seen it; DestroyWhere finds all.
//
// A session of the user's that this program can't read, as another version of the app has
// written it, ends too. With an error, some may have ended. Calling it again goes on.
func (m *Manager) DestroyUser(ctx context.Context, user string) (n int, err error) {
	return m.destroyUser(ctx, user, func(Info) bool { return true })
}

// DestroyOthers is DestroyUser for all sessions but that of ctx.
func (m *Manager) DestroyOthers(ctx context.Context, user string) (n int, err error) {
	m.mustSession(ctx)
	return m.destroyUser(ctx, user, func(i Info) bool { return !i.Current })
}

func (m *Manager) destroyUser(ctx context.Context, user string, match func(Info) bool) (n int, err error) {
	u, err := m.usersFor(user)
	if err != nil {
		return 0, err
	}
	// It may be noted, and not confirmed by all servers. Ending what there is does no harm.
	at, failed := u.EndUser(ctx, user, endedKept)
	if failed != nil {
		defer func() { err = errors.Join(storeError("delete", failed), err) }()
	} else if own := m.sessionOf(ctx); own != nil {
		own.mu.Lock()
		if own.ended == nil {
			own.ended = make(map[string]time.Time)
		}
		own.ended[user] = at
		own.mu.Unlock()
	}
	settled := time.Now().Add(endedSettles)
	defer func() { time.Sleep(time.Until(settled)) }()
	// A session can move from one token to another while they are read one by one, and be
	// seen at neither. It does so twice only if it is noted at a third one in between. So
	// there is none left when two passes have found none, and nothing new was noted.
	var before [2][]string
	quiet := 0
	for range maxPasses {
		tokens, err := u.UserTokens(ctx, user)
		if err != nil {
			return n, storeError("find", err)
		}
		if len(tokens) == 0 || quiet >= 2 && !slices.ContainsFunc(tokens, func(token string) bool { return !slices.Contains(before[0], token) }) {
			return n, nil
		}
		quiet++
		for _, token := range tokens {
			visited, data, err := m.visitUser(ctx, user, token)
			switch {
			case err != nil:
				return n, err
			case visited == nil && data != nil:
				err = m.endUnread(ctx, token, user)
			case visited == nil || !match(m.Info(visited)):
				continue
			default:
				err = m.Destroy(visited)
			}
			if err != nil {
				return n, err
			}
			n, quiet = n+1, 0
		}
		before = [2][]string{before[1], tokens}
	}
	return n, errors.New("session: there are still sessions of the user, which have been given new ids as fast as they were found")
}

// DestroyHandle ends the session of a user that Info has given this handle. ended is false
// if the user has none with it: it has ended before, or has another id by now. If it is that
// of ctx, UserID of ctx is "" from then on.
func (m *Manager) DestroyHandle(ctx context.Context, user, handle string) (ended bool, err error) {
	u, err := m.usersFor(user)
	if err != nil {
		return false, err
	}
	tokens, err := u.UserTokens(ctx, user)
	if err != nil {
		return false, storeError("find", err)
	}
	i := slices.IndexFunc(tokens, func(token string) bool { return handleOf(token) == handle })
	for i >= 0 {
		visited, data, err := m.visitUser(ctx, user, tokens[i])
		if err != nil || data == nil {
			return false, err
		}
		// A delete would not tell whether it was there still.
		current, swapped, err := m.cfg.store.swap(ctx, tokens[i], data, nil, time.Time{})
		switch {
		case err != nil:
			return false, storeError("delete", err)
		case swapped && visited == nil:
			m.auditUnread(ctx, tokens[i], user)
			return true, nil
		case swapped:
			return true, m.Destroy(visited) // and the cookie, if it is the request's own
		case current == nil || bytes.Equal(current, data):
			return false, nil
		}
	}
	return false, nil
}
