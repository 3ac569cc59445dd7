// Package memory keeps sessions in the process: for one instance, for
// development and for tests. They end with the process and are seen by it alone.
//
// It is its own code and not a cache library because a cache may drop an entry
// whenever it likes, and a dropped session is a user logged out. Nor do caches
// have the compare-and-swap that makes a logout final, or an expiry that is
// exact to the nanosecond on read.
//
// # At the bound
//
// A store holds Options.MaxSessions records and never more. When it is full, a
// new record is refused with ErrFull, and every record that is there goes on
// working: no flood of new visitors pushes out a user who is signed in. Before
// it refuses, the store looks for expired records among a bounded number, so a
// few that have expired since the last clean-up may still take up room. The
// bound is on records, not on their bytes.
package memory

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"math"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// ErrFull is the error of a write that would make a new record in a store that
// is full. Test for it with errors.Is.
var ErrFull = errors.New("the store is full")

// Options are the limits of a store. The zero value is usable.
type Options struct {
	// MaxSessions is how many records the store holds; with 200 bytes of data
	// each, a million take up about 350 MB. Zero value: 1,000,000. Negative: no
	// bound, which leaves the process's memory to whoever can start a session.
	MaxSessions int

	// CleanupInterval is the time between two removals of expired records; they
	// are not found in any case. Zero value: a minute. Negative: none, and
	// expired records stay until they are overwritten or the store is full.
	CleanupInterval time.Duration

	// Logger gets a warning when a new record is refused, once a minute at
	// most. Zero value: slog.Default().
	Logger *slog.Logger
}

const (
	defaultMaxSessions     = 1_000_000
	defaultCleanupInterval = time.Minute

	// shards is a power of two, so that a hash is masked and not divided.
	shards = 256

	// batch is how many records are visited under one hold of a shard's lock.
	batch = 128

	// search is how many records a write to a full store looks at for expired
	// ones: tens of microseconds, which a flood may cost each time.
	search = 1024

	logInterval = time.Minute
)

// Store is a session store in memory: an scs.CtxStore with the optional methods
// that package adapter knows. It is safe for concurrent use. Every method that
// takes a context returns its error, and does nothing else, if it is done.
type Store struct {
	seed   maphash.Seed
	shards [shards]shard
	max    int64        // the bound
	count  atomic.Int64 // records, the expired ones included
	cursor atomic.Uint32
	logger *slog.Logger
	logged atomic.Int64 // when a refusal was last logged, in Unix nanoseconds

	closing sync.Once
	stop    chan struct{}
	done    sync.WaitGroup
}

type shard struct {
	mu      sync.Mutex
	records map[string]record
	_       [48]byte // a cache line for each
}

// record keeps the token and the data in one string, and the map's key is the
// front of it. That is one allocation a session, and it never holds on to the
// string that a caller passed, which may be part of a whole request header.
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

// unixNano is t.UnixNano, clamped: an int64 overflows in 1678 and 2262.
func unixNano(t time.Time) int64 {
	switch s := t.Unix(); {
	case s < math.MinInt64/int64(time.Second):
		return math.MinInt64
	case s >= math.MaxInt64/int64(time.Second):
		return math.MaxInt64
	}
	return t.UnixNano()
}

// New makes a store and starts its clean-up, which Close stops. Each value of
// each option is valid.
func New(opts Options) *Store {
	s := &Store{
		seed:   maphash.MakeSeed(),
		max:    int64(opts.MaxSessions),
		logger: opts.Logger,
		stop:   make(chan struct{}),
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
	interval := opts.CleanupInterval
	if interval == 0 {
		interval = defaultCleanupInterval
	}
	if interval > 0 {
		s.done.Go(func() { s.cleanup(interval) })
	}
	return s
}

// Close stops the clean-up and waits for it to end. The sessions stay, and the
// store goes on working as one without clean-up. Calling it again does nothing.
// The error is always nil.
func (s *Store) Close() error {
	s.closing.Do(func() { close(s.stop) })
	s.done.Wait()
	return nil
}

// Find is FindCtx without a context.
func (s *Store) Find(token string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), token)
}

// FindCtx returns the data of a session, and found false if there is none or it
// has expired.
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

// FindExpiry is FindCtx with the expiry. One after 11 April 2262 is kept as that
// date, the last one that fits.
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

// FindTouch is FindCtx and moves the expiry. The data returned is what was there,
// also if the new expiry is in the past.
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

// Touch moves a session's expiry, and says if there is such a session.
func (s *Store) Touch(ctx context.Context, token string, expiry time.Time) (found bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, fmt.Errorf("memory: touch: %w", err)
	}
	_, found = s.touch(token, expiry)
	return found, nil
}

// Commit is CommitCtx without a context.
func (s *Store) Commit(token string, data []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), token, data, expiry)
}

// CommitCtx writes a session, whether there is one or not. It returns ErrFull if
// there is none and no room for one.
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

// Swap writes a session only if the store still holds old for it; old nil means
// that there must be none, and data nil deletes. If not, swapped is false and
// current is what the store holds, nil if that is nothing. It returns ErrFull if
// there is no room for a session that it would create.
func (s *Store) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) (current []byte, swapped bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, fmt.Errorf("memory: swap: %w", err)
	}
	sh := s.shard(token)
	var next record
	if data != nil {
		next = newRecord(token, data, expiry)
	} else {
		next.expiry = math.MinInt64
	}
	swap := func() (was record, found, swapped, room bool) {
		sh.mu.Lock()
		defer sh.mu.Unlock()
		was, found = sh.live(token)
		if found != (old != nil) || found && was.text[len(token):] != string(old) {
			return was, found, false, true
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

// Range calls fn for each session, in no order, until fn returns an error, and
// returns that. fn may call the store, and sessions that come or go meanwhile
// may be seen or not.
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

// AllCtx returns every session by its token. Range needs less memory.
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

// Len counts the sessions. It looks at each record, since some have expired.
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

// Clear removes every session that was there when it was called.
func (s *Store) Clear(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("memory: clear: %w", err)
	}
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		s.count.Add(-int64(len(sh.records)))
		// Not a new map: a visit may be under way in this one.
		clear(sh.records)
		sh.mu.Unlock()
	}
	return nil
}

func (s *Store) shard(token string) *shard {
	return &s.shards[maphash.String(s.seed, token)%shards]
}

// data copies a record's data, outside the lock: the text never changes.
func (r record) data(token string) []byte {
	return []byte(r.text[len(token):])
}

// live returns a record that has not expired. It reads the time under the lock,
// so that no call finds what another has already seen expire.
func (sh *shard) live(token string) (record, bool) {
	r, ok := sh.records[token]
	return r, ok && r.expiry > time.Now().UnixNano()
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

// set writes with the record's own copy of the token, since a map takes over the
// key of every assignment.
func (sh *shard) set(token string, r record) { sh.records[r.text[:len(token)]] = r }

// put writes a record to a locked shard, or removes it if it has expired. It
// returns false, and does nothing, if there is no room.
func (s *Store) put(sh *shard, token string, r record) bool {
	if r.expiry <= time.Now().UnixNano() {
		s.remove(sh, token)
		return true
	}
	if _, ok := sh.records[token]; !ok && !s.reserve() {
		return false
	}
	sh.set(token, r)
	return true
}

func (s *Store) remove(sh *shard, token string) {
	if _, ok := sh.records[token]; ok {
		delete(sh.records, token)
		s.count.Add(-1)
	}
}

// reserve takes one place of max, never one more.
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

// makeRoom removes expired records from a full store, as many as a short search
// finds, and says if there were any. The next search begins at the next shard, so
// that all of them have their turn.
func (s *Store) makeRoom() bool {
	left := search
	for range shards {
		sh := &s.shards[s.cursor.Add(1)%shards]
		removed := false
		sh.mu.Lock()
		now := time.Now().UnixNano()
		for token, r := range sh.records { // begins anywhere in the shard
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

func (s *Store) cleanup(interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-ticker.C:
			s.removeExpired()
		}
	}
}

var errStopped = errors.New("stopped")

// removeExpired visits every record, or those until Close.
func (s *Store) removeExpired() {
	now := time.Now().UnixNano()
	_ = s.visit(
		func() error {
			select {
			case <-s.stop:
				return errStopped
			default:
				now = time.Now().UnixNano()
				return nil
			}
		},
		func(sh *shard, token string, r record) {
			if r.expiry <= now {
				s.remove(sh, token)
			}
		},
	)
}

// visit calls see for every record, with the shard's lock held, and between, with
// no lock held, before each shard, after at most batch records, and at the end.
// An error from between ends it. A map may change while it is ranged over, so the
// lock can be let go in the middle of a shard of any size.
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
		// Without it, a waiting call could stay behind this goroutine for long.
		runtime.Gosched()
		if err := between(); err != nil {
			return err
		}
		sh.mu.Lock()
	}
	sh.mu.Unlock()
	return nil
}
