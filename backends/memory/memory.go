// Package memory keeps sessions in the memory of the process, for a single
// instance, for development and for tests. No other process sees them, and they
// end with the process.
//
// It does not use a cache library, because a cache may evict an entry at any
// time, and an evicted session logs a user out. Caches also lack the
// compare-and-set that makes a logout final, and an expiry that is exact to the
// nanosecond on read.
//
// # At the bound
//
// A store never holds more than Options.MaxSessions records. When it is full, a
// new record is rejected with ErrFull, and the existing records keep working: a
// flood of new visitors can't evict a user who is signed in. Before it rejects a
// record, the store searches a bounded number of records for expired ones, so some
// that have expired since the last clean-up may still take up room. The bound is
// on the number of records, not on their size.
//
// # Clean-up
//
// A store that holds records removes the expired ones periodically. It uses a
// timer and no permanent goroutine. A store that is unused, or that a clean-up has
// found empty, has no timer either, so the garbage collector frees it even if
// nobody calls Close.
package memory

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/backends/contract"
	"github.com/samesid/samesid/backends/driver"
	"github.com/samesid/samesid/internal/refusal"
)

var (
	_ driver.Store         = (*Store)(nil)
	_ scs.CtxStore         = (*Store)(nil)
	_ scs.IterableStore    = (*Store)(nil)
	_ scs.IterableCtxStore = (*Store)(nil)
	_ contract.FindToucher = (*Store)(nil)
	_ contract.FindExpirer = (*Store)(nil)
	_ contract.Swapper     = (*Store)(nil)
	_ contract.Mover       = (*Store)(nil)
	_ contract.Ranger      = (*Store)(nil)
	_ contract.UserIndex   = (*Store)(nil)
)

// ErrFull is the error of a write that would create a record in a full store. Test
// for it with errors.Is.
var ErrFull = errors.New("the store is full")

// Backend describes this store to packages backends and adapter/config.
var Backend = driver.New(driver.Backend{
	Type: "memory", Title: "Memory",
	Schemes:   []string{scheme},
	Transient: true,
}, validate, func(_ context.Context, _ string, o Options, logger *slog.Logger) (*Store, error) {
	o.Logger = cmp.Or(o.Logger, logger)
	return New(o), nil
})

const scheme = "memory://"

func validate(url string, o Options) error {
	r := refusal.List{Package: "memory", Struct: "Options"}
	switch {
	case url != "" && !strings.HasPrefix(url, scheme):
		r.Add("type url", "a memory store has no server; drop the second, or say in the first which store it is for")
	case len(url) > len(scheme):
		r.Add("url", "nothing can follow memory://")
	}
	r.Numbers(o, "MaxSessions", "CleanupInterval")
	return r.Err()
}

// Options are the limits of a store. The zero value is usable.
type Options struct {
	// MaxSessions is the maximum number of sessions. Zero value: 1000000.
	//
	// With 200 bytes of data each, a million take about 350 MB. Negative: no bound,
	// so that any client that can start sessions can exhaust the process's memory.
	MaxSessions int `key:"maxSessions"`

	// CleanupInterval is the time between two deletions of expired sessions. Zero
	// value: 1m.
	//
	// It is also the time from the first record to the first deletion. No method
	// returns an expired record, deleted or not. Negative: never; expired records
	// stay until they are overwritten or the store is full.
	CleanupInterval time.Duration `key:"cleanupInterval also=clearInterval unit=ms never=0|false"`

	// Logger receives a warning when a new record is rejected, at most once a
	// minute. Zero value: slog.Default().
	Logger *slog.Logger
}

const (
	defaultMaxSessions     = 1_000_000
	defaultCleanupInterval = time.Minute

	// shards is a power of two, so that the modulo compiles to a mask.
	shards = 256

	// batch is how many records a visit reads before it releases the shard's lock.
	batch = 128

	// search is how many records a write to a full store searches for expired
	// ones. It takes tens of microseconds, an acceptable cost for each request of
	// a flood.
	search = 1024

	logInterval = time.Minute
)

// Store is a session store in memory: an scs.CtxStore with the optional methods
// of package contract. It is safe for concurrent use. If the context is done, a
// method that takes one does nothing and returns an error that wraps the context's.
type Store struct {
	seed   maphash.Seed
	shards [shards]shard
	max    int64        // the maximum of count
	count  atomic.Int64 // records, including expired ones
	cursor atomic.Uint32
	logger *slog.Logger
	logged atomic.Int64 // when a refusal was last logged, in Unix nanoseconds

	users users

	interval time.Duration

	// armed is true while a timer is armed or its clean-up runs, and always if
	// there is no clean-up. A write that finds it true need not arm a timer.
	armed    atomic.Bool
	closed   atomic.Bool
	cleaning sync.Mutex // held while a clean-up runs
}

type shard struct {
	mu      sync.Mutex
	records map[string]record
	_       [48]byte // pads the shard to a cache line
}

// record keeps the token and the data in one string; the map's key is a prefix of
// it. A session is therefore one allocation, and never retains the string that a
// caller passed, which may be part of a whole request header.
type record struct {
	text   string
	expiry int64 // Unix nanoseconds
}

func newRecord(token string, data []byte, expiry time.Time) record {
	var text strings.Builder
	text.Grow(len(token) + len(data))
	text.WriteString(token)
	text.Write(data)
	return record{text.String(), unixNano(expiry)}
}

// unixNano is t.UnixNano, clamped to the range of int64 (the years 1678 to 2262).
func unixNano(t time.Time) int64 {
	switch s := t.Unix(); {
	case s < math.MinInt64/int64(time.Second):
		return math.MinInt64
	case s >= math.MaxInt64/int64(time.Second):
		return math.MaxInt64
	}
	return t.UnixNano()
}

// New returns an empty store. Every value of every option is valid.
func New(opts Options) *Store {
	s := &Store{
		seed:     maphash.MakeSeed(),
		max:      int64(opts.MaxSessions),
		logger:   opts.Logger,
		interval: opts.CleanupInterval,
	}
	switch {
	case opts.MaxSessions == 0:
		s.max = defaultMaxSessions
	case opts.MaxSessions < 0:
		s.max = math.MaxInt64
	}
	if s.logger == nil {
		s.logger = slog.Default()
	}
	for i := range s.shards {
		s.shards[i].records = make(map[string]record)
	}
	if s.interval == 0 {
		s.interval = defaultCleanupInterval
	}
	s.armed.Store(s.interval < 0)
	return s
}

// Close stops the clean-up, and waits for one that is running. The store keeps its
// sessions and continues to work without clean-up. A second call does nothing. The
// error is always nil.
func (s *Store) Close() error {
	s.closed.Store(true)
	// The timer is not stopped: a clean-up that begins later finds the store closed.
	// Stopping a timer from outside the testing/synctest bubble that armed it would
	// crash the test of an app that uses the store.
	s.cleaning.Lock()
	defer s.cleaning.Unlock()
	return nil
}

// Ping returns an error if Close has been called.
func (s *Store) Ping(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("memory: ping: %w", err)
	}
	if s.closed.Load() {
		return errors.New("memory: ping: the store is closed")
	}
	return nil
}

// String names the store in log lines.
func (s *Store) String() string { return "memory store" }

// Find is FindCtx without a context.
func (s *Store) Find(token string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), token)
}

// FindCtx returns the data of a session. found is false if there is none or it has
// expired.
func (s *Store) FindCtx(ctx context.Context, token string) (data []byte, found bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, fmt.Errorf("memory: find: %w", err)
	}
	r, found := s.find(token)
	if !found {
		return nil, false, nil
	}
	return r.data(token), true, nil
}

// FindExpiry is FindCtx and also returns the expiry. An expiry after 11 April 2262
// is stored as that date, the last one that fits.
func (s *Store) FindExpiry(ctx context.Context, token string) (data []byte, expiry time.Time, found bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, time.Time{}, false, fmt.Errorf("memory: find expiry: %w", err)
	}
	r, found := s.find(token)
	if !found {
		return nil, time.Time{}, false, nil
	}
	return r.data(token), time.Unix(0, r.expiry), true, nil
}

// FindTouch is FindCtx and also sets the expiry. It returns the data even if the new
// expiry is in the past.
func (s *Store) FindTouch(ctx context.Context, token string, expiry time.Time) (data []byte, found bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, fmt.Errorf("memory: find and touch: %w", err)
	}
	r, found := s.touch(token, expiry)
	if !found {
		return nil, false, nil
	}
	return r.data(token), true, nil
}

// Commit is CommitCtx without a context.
func (s *Store) Commit(token string, data []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), token, data, expiry)
}

// CommitCtx creates or overwrites a session. It returns ErrFull if it would create
// one and the store is full.
func (s *Store) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("memory: commit: %w", err)
	}
	sh, r := s.shard(token), newRecord(token, data, expiry)
	put := func() bool {
		sh.mu.Lock()
		defer sh.mu.Unlock()
		return s.put(sh, token, r)
	}
	for !put() {
		if !s.makeRoom() {
			return s.full("commit")
		}
	}
	return nil
}

// Swap writes a session only if the store still holds old for it: see
// contract.Swapper. It returns ErrFull if it would create a session and the store is
// full.
func (s *Store) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) (current []byte, swapped bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, fmt.Errorf("memory: swap: %w", err)
	}
	sh := s.shard(token)
	touch := old != nil && data != nil && bytes.Equal(old, data)
	var next record
	switch {
	case data == nil:
		next.expiry = math.MinInt64
	case touch:
		next.expiry = unixNano(expiry)
	default:
		next = newRecord(token, data, expiry)
	}
	swap := func() (was record, found, swapped, room bool) {
		sh.mu.Lock()
		defer sh.mu.Unlock()
		was, found = sh.live(token)
		if found != (old != nil) || found && was.text[len(token):] != string(old) {
			return was, found, false, true
		}
		if touch {
			next.text = was.text
		}
		return was, found, true, s.put(sh, token, next)
	}
	for {
		was, found, swapped, room := swap()
		switch {
		case room && swapped:
			return nil, true, nil
		case room && found:
			return was.data(token), false, nil
		case room:
			return nil, false, nil
		case !s.makeRoom():
			return nil, false, s.full("swap")
		}
	}
}

// Move replaces sessions by one, if each of them is still what the caller knows:
// see contract.Mover. It works in a full store too, since the new session takes the
// place of an old one.
func (s *Store) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) (current [][]byte, moved bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, fmt.Errorf("memory: move: %w", err)
	}
	next := newRecord(to, data, expiry)
	// The shards are locked in the order of their indices, so that two calls can't
	// deadlock.
	var buf [8]uint64
	locked := append(buf[:0], s.index(to))
	for _, r := range from {
		locked = append(locked, s.index(r.Token))
	}
	slices.Sort(locked)
	locked = slices.Compact(locked)
	for _, i := range locked {
		s.shards[i].mu.Lock()
	}
	defer s.unlock(locked)

	now := time.Now().UnixNano()
	_, refused := s.shard(to).liveAt(to, now)
	for _, r := range from {
		if r.Token == to {
			refused = false // to is to be replaced
		}
	}
	for _, r := range from {
		was, found := s.shard(r.Token).liveAt(r.Token, now)
		refused = refused || !found || was.text[len(r.Token):] != string(r.Data)
	}
	if refused {
		current = make([][]byte, len(from))
		for i, r := range from {
			if was, found := s.shard(r.Token).liveAt(r.Token, now); found {
				current[i] = was.data(r.Token)
			}
		}
		return current, false, nil
	}

	// The count changes only once, at the end: otherwise a concurrent write could
	// reserve a place that is free only for a moment.
	change := s.take(to) // an expired record may be there
	for _, r := range from {
		change += s.take(r.Token)
	}
	if next.expiry > now {
		s.shard(to).set(to, next)
		change++
	}
	s.count.Add(change)
	return nil, true, nil
}

// take removes a record from a locked shard. It returns the change of count, which
// the caller must apply.
func (s *Store) take(token string) int64 {
	sh := s.shard(token)
	before := len(sh.records)
	delete(sh.records, token)
	return int64(len(sh.records) - before)
}

func (s *Store) unlock(locked []uint64) {
	for _, i := range locked {
		s.shards[i].mu.Unlock()
	}
}

// Delete is DeleteCtx without a context.
func (s *Store) Delete(token string) error { return s.DeleteCtx(context.Background(), token) }

// DeleteCtx removes a session if there is one.
func (s *Store) DeleteCtx(ctx context.Context, token string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("memory: delete: %w", err)
	}
	sh := s.shard(token)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	s.remove(sh, token)
	return nil
}

// Range calls fn for each session, in no particular order, until fn returns an error,
// which Range then returns. fn may call the store. Range may or may not see sessions
// that are created or deleted meanwhile.
func (s *Store) Range(ctx context.Context, fn func(token string, data []byte) error) error {
	type entry struct{ token, text string }
	page := make([]entry, 0, batch)
	now := time.Now().UnixNano()
	return s.visit(
		func() error {
			for _, e := range page {
				if err := fn(strings.Clone(e.token), []byte(e.text[len(e.token):])); err != nil {
					return err
				}
			}
			page, now = page[:0], time.Now().UnixNano()
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("memory: range: %w", err)
			}
			return nil
		},
		func(_ *shard, token string, r record) {
			if r.expiry > now {
				page = append(page, entry{token, r.text})
			}
		},
	)
}

// All is AllCtx without a context.
func (s *Store) All() (map[string][]byte, error) { return s.AllCtx(context.Background()) }

// AllCtx returns all sessions by token. Range needs less memory.
func (s *Store) AllCtx(ctx context.Context) (map[string][]byte, error) {
	all := make(map[string][]byte)
	err := s.Range(ctx, func(token string, data []byte) error {
		all[token] = data
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// Len counts the live sessions. It visits each record, since some may have expired.
func (s *Store) Len(ctx context.Context) (int, error) {
	n, now := 0, time.Now().UnixNano()
	err := s.visit(
		func() error {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("memory: len: %w", err)
			}
			return nil
		},
		func(_ *shard, _ string, r record) {
			if r.expiry > now {
				n++
			}
		},
	)
	if err != nil {
		return 0, err
	}
	return n, nil
}

// Clear removes every session. One that is written or moved meanwhile may stay.
func (s *Store) Clear(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("memory: clear: %w", err)
	}
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		s.count.Add(-int64(len(sh.records)))
		// Not a new map: a visit may be iterating over this one.
		clear(sh.records)
		sh.mu.Unlock()
	}
	return nil
}

func (s *Store) shard(token string) *shard { return &s.shards[s.index(token)] }

func (s *Store) index(token string) uint64 { return maphash.String(s.seed, token) % shards }

// data returns a copy of a record's data. It needs no lock, as text never changes.
func (r record) data(token string) []byte {
	return []byte(r.text[len(token):])
}

// live returns a record that has not expired. It reads the time under the lock, so
// that no call finds a record which an earlier call has seen expired.
func (sh *shard) live(token string) (record, bool) {
	return sh.liveAt(token, time.Now().UnixNano())
}

func (sh *shard) liveAt(token string, now int64) (record, bool) {
	r, ok := sh.records[token]
	return r, ok && r.expiry > now
}

func (s *Store) find(token string) (record, bool) {
	sh := s.shard(token)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.live(token)
}

func (s *Store) touch(token string, expiry time.Time) (record, bool) {
	sh := s.shard(token)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	r, found := sh.live(token)
	if found {
		r.expiry = unixNano(expiry)
		sh.set(token, r)
	}
	return r, found
}

// set uses the record's own copy of the token as the key, so that the map does not
// retain the caller's string.
func (sh *shard) set(token string, r record) { sh.records[r.text[:len(token)]] = r }

// put writes a record to a locked shard, or removes the token's record if r has
// expired. It returns false, and does nothing, if the store is full.
func (s *Store) put(sh *shard, token string, r record) bool {
	if r.expiry <= time.Now().UnixNano() {
		s.remove(sh, token)
		return true
	}
	if _, ok := sh.records[token]; ok {
		sh.set(token, r)
		return true
	}
	if !s.reserve() {
		return false
	}
	sh.set(token, r)
	if !s.armed.Load() {
		s.arm()
	}
	return true
}

func (s *Store) remove(sh *shard, token string) {
	if _, ok := sh.records[token]; ok {
		delete(sh.records, token)
		s.count.Add(-1)
	}
}

// reserve increments count unless it has reached max.
func (s *Store) reserve() bool {
	for {
		n := s.count.Load()
		if n >= s.max {
			return false
		}
		if s.count.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// makeRoom removes the expired records that a short search of a full store finds,
// and reports whether there were any. The next search begins at the next shard, so
// that all shards have their turn.
func (s *Store) makeRoom() bool {
	left := search
	for range shards {
		sh := &s.shards[s.cursor.Add(1)%shards]
		removed := false
		sh.mu.Lock()
		now := time.Now().UnixNano()
		for token, r := range sh.records { // in random order
			if left--; left < 0 {
				break
			}
			if r.expiry <= now {
				s.remove(sh, token)
				removed = true
			}
		}
		sh.mu.Unlock()
		if removed || left < 0 {
			return removed
		}
	}
	return false
}

func (s *Store) full(operation string) error {
	now, last := time.Now().UnixNano(), s.logged.Load()
	if (last == 0 || now-last >= int64(logInterval)) && s.logged.CompareAndSwap(last, now) {
		s.logger.Warn("memory: the store is full, so new sessions are refused", "max_sessions", s.max)
	}
	return fmt.Errorf("memory: %s: %w", operation, ErrFull)
}

// arm starts the timer of the next clean-up, unless there is one already. The
// invariant is that a store with records has a timer: a write increments count before
// it reads armed, and a clean-up sets armed to false before it reads count, so at
// least one of the two sees the other.
func (s *Store) arm() {
	if !s.armed.Swap(true) && !s.closed.Load() {
		w := weak.Make(s) // the timer does not keep a store that nobody else holds
		time.AfterFunc(s.interval, func() {
			if s := w.Value(); s != nil {
				s.cleanup()
			}
		})
	}
}

func (s *Store) cleanup() {
	s.cleaning.Lock()
	defer s.cleaning.Unlock()
	s.removeExpired()
	s.users.removeExpired(func(token string) bool {
		_, found := s.find(token)
		return found
	})
	s.armed.Store(false)
	if s.count.Load() > 0 || s.users.any() {
		s.arm()
	}
}

var errClosed = errors.New("closed")

// removeExpired removes the expired records. It stops early once the store is closed.
func (s *Store) removeExpired() {
	now := time.Now().UnixNano()
	_ = s.visit(
		func() error {
			if s.closed.Load() {
				return errClosed
			}
			now = time.Now().UnixNano()
			return nil
		},
		func(sh *shard, token string, r record) {
			if r.expiry <= now {
				s.remove(sh, token)
			}
		},
	)
}

// visit calls see for every record, with the shard's lock held. It calls between, with
// no lock held, before each shard, after at most batch records, and at the end. An
// error from between ends the visit. Go allows a map to change while it is ranged over,
// so the lock can be released in the middle of a shard of any size.
func (s *Store) visit(between func() error, see func(sh *shard, token string, r record)) error {
	for i := range s.shards {
		if err := between(); err != nil {
			return err
		}
		if err := s.shards[i].visit(between, see); err != nil {
			return err
		}
	}
	return between()
}

func (sh *shard) visit(between func() error, see func(sh *shard, token string, r record)) error {
	seen := 0
	sh.mu.Lock()
	for token, r := range sh.records {
		see(sh, token, r)
		if seen++; seen%batch != 0 {
			continue
		}
		sh.mu.Unlock()
		// Otherwise this goroutine could take the lock again before a waiting call does.
		runtime.Gosched()
		if err := between(); err != nil {
			return err
		}
		sh.mu.Lock()
	}
	sh.mu.Unlock()
	return nil
}
