// Package redis keeps sessions in Redis 6.2 or later, or in Valkey: those of
// scs's own redisstore, or those of Express's connect-redis.
//
// A read that slides the expiry, a change and a touch are one command and one
// round trip each. Nothing here lists keys with KEYS, and nothing touches a key
// that does not start with the store's prefix.
package redis

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/alexedwards/scs/redisstore"
	redigo "github.com/gomodule/redigo/redis"
)

// Store is a session store: an [scs.CtxStore] that implements every optional
// interface of package adapter too. Create it with [Open] or [New]. It is safe
// for concurrent use.
//
// A method with a context ends at its deadline, be it in the wait for a
// connection, in dialling or in the wait for a reply. A command that has been
// sent is not cut short by cancelling: that would cost the connection, and so
// let clients that hang up wear out the pool; its reply is awaited for
// Options.ReadTimeout at most.
//
// A read or a touch that meets a connection which the server has closed is
// tried once more. A write is not: it may have been done.
//
// No error has a session id, or the password of the URL, in it.
//
// [scs.CtxStore]: https://pkg.go.dev/github.com/alexedwards/scs/v2#CtxStore
type Store struct {
	pool      *redigo.Pool
	owned     bool // the pool is ours to close
	scs       *redisstore.RedisStore
	prefix    string
	match     string // glob that matches the keys that start with prefix
	step      time.Duration
	json      bool
	scanCount int
	connect   time.Duration
	read      time.Duration

	// suspect is the time, in Unix nanoseconds, when a connection last turned
	// out to be broken, or its server to be a replica. What lay idle in the
	// pool then most likely shares the fault, and is not used again.
	suspect atomic.Int64
}

// New returns a store on the caller's own pool, which Close leaves open. It does
// not connect. Of Options, what is for Open alone must be zero.
//
// Options.DialTimeout and Options.ReadTimeout apply to the pool's connections
// as well. After a restart of the server each of the pool's idle connections
// may cost one error, unless the pool has a TestOnBorrow of its own.
func New(pool *redigo.Pool, opts Options) (*Store, error) {
	if pool == nil {
		return nil, errors.New("redis: the pool is nil")
	}
	if err := opts.openOnly(); err != nil {
		return nil, err
	}
	opts, err := opts.check()
	if err != nil {
		return nil, err
	}
	return newStore(pool, opts), nil
}

// Open connects to the server at a URL, which is one of
//
//	redis://user:password@host:6379/0
//	rediss://user:password@host:6379/0
//	unix://user:password@/path/to/redis.sock?db=0
//
// where rediss is TLS, and user, password, port and the number of the database
// can be left out; valkey, valkeys and redis+unix are accepted as schemes too.
// A user name that stands alone is the password, as for redis-cli. Special
// characters must be percent-encoded.
//
// It is an error if the server cannot be reached before ctx ends, refuses the
// user, or is older than Redis 6.2. Close closes the connections.
func Open(ctx context.Context, url string, opts Options) (*Store, error) {
	opts, err := opts.check()
	if err != nil {
		return nil, err
	}
	dial, err := dialer(url, opts)
	if err != nil {
		return nil, err
	}
	pool := &redigo.Pool{
		DialContext: dial,
		MaxActive:   opts.MaxActive,
		MaxIdle:     opts.MaxIdle,
		IdleTimeout: opts.IdleTimeout,
		Wait:        true,
	}
	s := newStore(pool, opts)
	s.owned = true
	pool.TestOnBorrow = func(_ redigo.Conn, lastUsed time.Time) error {
		if lastUsed.UnixNano() <= s.suspect.Load() {
			return errors.New("it may be broken")
		}
		return nil
	}
	if err := s.probe(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	return s, nil
}

// probe finds out whether the server is there, lets us in and at our keys, can be
// written to, and is new enough: GETEX is the newest command that is needed. It
// changes nothing: no session has the empty token.
func (s *Store) probe(ctx context.Context) error {
	_, err := s.do(ctx, twice, "GETEX", s.prefix)
	if err == nil {
		_, err = s.swap(ctx, "", nil, nil, 0)
	}
	return failed("open", err)
}

func newStore(pool *redigo.Pool, opts Options) *Store {
	s := &Store{
		pool:      pool,
		scs:       redisstore.NewWithPrefix(pool, opts.Prefix),
		prefix:    opts.Prefix,
		match:     glob.Replace(opts.Prefix) + "*",
		step:      time.Millisecond,
		scanCount: opts.ScanCount,
		connect:   opts.DialTimeout,
		read:      opts.ReadTimeout,
	}
	if opts.Layout == LayoutConnectRedis {
		s.step, s.json = time.Second, true
	}
	return s
}

// glob escapes what SCAN's MATCH would take for a pattern.
var glob = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)

// Close closes the connections of a store made by Open. On one made by New it
// does nothing: the pool is the caller's.
func (s *Store) Close() error {
	if !s.owned {
		return nil
	}
	return s.pool.Close()
}

// Ping asks the server for a sign of life.
func (s *Store) Ping(ctx context.Context) error {
	_, err := s.do(ctx, twice, "PING")
	return failed("ping", err)
}

// JSONRecords reports whether the layout is Express's, whose records are JSON.
func (s *Store) JSONRecords() bool { return s.json }

// Find is FindCtx without a context, and redisstore's own.
func (s *Store) Find(token string) (data []byte, found bool, err error) {
	data, found, err = s.scs.Find(token)
	if s.broken(err) {
		data, found, err = s.scs.Find(token)
	}
	return data, found, failed("find", err)
}

// FindCtx returns a session's bytes. found is false when there is none, or it
// has expired.
func (s *Store) FindCtx(ctx context.Context, token string) (data []byte, found bool, err error) {
	reply, err := s.do(ctx, twice, "GET", s.prefix+token)
	return record("find", reply, err)
}

// FindTouch is FindCtx, and moves the expiry of the record that it finds.
func (s *Store) FindTouch(ctx context.Context, token string, expiry time.Time) (data []byte, found bool, err error) {
	const op = "find and touch"
	ttl := s.ttl(expiry)
	if ttl == 0 {
		reply, err := s.do(ctx, once, "GETDEL", s.prefix+token)
		return record(op, reply, err)
	}
	reply, err := s.do(ctx, twice, "GETEX", s.prefix+token, "PX", ttl)
	return record(op, reply, err)
}

// FindExpiry is FindCtx, and returns the expiry that Redis holds for the
// record, to the millisecond, by this machine's clock. It is zero for a record
// that does not expire, as connect-redis writes them with disableTTL.
func (s *Store) FindExpiry(ctx context.Context, token string) (data []byte, expiry time.Time, found bool, err error) {
	const op = "find with expiry"
	key := s.prefix + token
	// A transaction, so that bytes and expiry belong to one and the same write.
	replies, err := redigo.Values(s.use(ctx, twice, func(c conn) (any, error) {
		for _, err := range []error{c.Send("MULTI"), c.Send("GET", key), c.Send("PTTL", key)} {
			if err != nil {
				return nil, err
			}
		}
		return c.do("EXEC")
	}))
	if err != nil {
		return nil, time.Time{}, false, failed(op, err)
	}
	data, found, err = record(op, replies[0], nil)
	if !found {
		return nil, time.Time{}, false, err
	}
	const never, gone = -1, -2
	switch ttl, err := redigo.Int64(replies[1], nil); {
	case err != nil:
		return nil, time.Time{}, false, failed(op, err)
	case ttl == gone:
		return nil, time.Time{}, false, nil
	case ttl == never:
		return data, time.Time{}, true, nil
	default:
		return data, time.UnixMilli(time.Now().UnixMilli() + ttl), true, nil
	}
}

// Touch moves a record's expiry. found is false when there is no such record.
func (s *Store) Touch(ctx context.Context, token string, expiry time.Time) (found bool, err error) {
	found, err = redigo.Bool(s.do(ctx, twice, "PEXPIRE", s.prefix+token, s.ttl(expiry)))
	return found, failed("touch", err)
}

// Rename gives a live record another token: see adapter.Renamer.
func (s *Store) Rename(ctx context.Context, old, new string) (renamed bool, err error) {
	renamed, err = redigo.Bool(s.do(ctx, once, "RENAMENX", s.prefix+old, s.prefix+new))
	if replied(err, "ERR no such") {
		return false, nil
	}
	return renamed, failed("rename", err)
}

// Commit is CommitCtx without a context.
//
// It is not redisstore's own, which writes in two steps and gives Redis the
// expiry as a date: see ttl.
func (s *Store) Commit(token string, data []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), token, data, expiry)
}

// CommitCtx writes a record, over whatever is there, to expire at expiry. If
// that has passed, the record is deleted.
func (s *Store) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	ttl := s.ttl(expiry)
	if ttl == 0 {
		return s.DeleteCtx(ctx, token)
	}
	_, err := s.do(ctx, once, "SET", s.prefix+token, data, "PX", ttl)
	return failed("commit", err)
}

// Delete is DeleteCtx without a context, and redisstore's own.
func (s *Store) Delete(token string) error {
	err := s.scs.Delete(token)
	if s.broken(err) {
		err = s.scs.Delete(token)
	}
	return failed("delete", err)
}

// DeleteCtx deletes a record; that there is none is no error.
func (s *Store) DeleteCtx(ctx context.Context, token string) error {
	// To delete twice is to delete once: a token is never used again.
	_, err := s.do(ctx, twice, "DEL", s.prefix+token)
	return failed("delete", err)
}

// A missing key is false in Lua, and so equal to the false of "none expected".
const swapScript = `
local current = redis.call('GET', KEYS[1])
if current ~= (ARGV[1] == '1' and ARGV[2]) then
	return current
end
if ARGV[4] == '0' then
	redis.call('DEL', KEYS[1])
else
	redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
end
return 1`

var swapHash = redigo.NewScript(1, swapScript).Hash()

// Swap writes a record only if it is still old: see adapter.Swapper. It is one
// script, so nothing comes between the comparison and the write.
//
// When the reply is lost the write may have been done. That is an error, and
// nothing is tried again.
func (s *Store) Swap(ctx context.Context, token string, old, new []byte, expiry time.Time) (current []byte, swapped bool, err error) {
	var ttl int64
	if new != nil {
		ttl = s.ttl(expiry)
	}
	reply, err := s.swap(ctx, token, old, new, ttl)
	if reply == int64(1) {
		return nil, true, nil
	}
	current, _, err = record("swap", reply, err)
	return current, false, err
}

func (s *Store) swap(ctx context.Context, token string, old, new []byte, ttl int64) (reply any, err error) {
	return s.use(ctx, once, func(c conn) (any, error) {
		args := []any{swapHash, 1, s.prefix + token, old != nil, old, new, ttl}
		reply, err := c.do("EVALSHA", args...)
		if replied(err, "NOSCRIPT") { // so it has not run
			args[0] = swapScript
			reply, err = c.do("EVAL", args...)
		}
		return reply, err
	})
}

// All is AllCtx without a context.
func (s *Store) All() (map[string][]byte, error) {
	return s.AllCtx(context.Background())
}

// AllCtx returns every live record by its token. It holds them all in memory:
// prefer Range.
//
// It is not redisstore's own, which stops the whole server for a KEYS, and then
// reads one record at a time.
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

// Range calls fn for each live record: see adapter.Ranger. It holds about
// Options.ScanCount records at a time, and no connection while fn runs.
//
// What comes or goes meanwhile may be seen or not; the rest is seen, and in
// rare cases twice, if Redis resizes its table meanwhile: that is what SCAN
// promises.
func (s *Store) Range(ctx context.Context, fn func(token string, data []byte) error) error {
	return s.pages(ctx, "list", func(keys []any) error {
		values, err := redigo.ByteSlices(s.do(ctx, twice, "MGET", keys...))
		if err != nil {
			return failed("list", err)
		}
		for i, data := range values {
			if data == nil {
				continue // gone since SCAN saw it
			}
			if err := fn(string(keys[i].([]byte)[len(s.prefix):]), data); err != nil {
				return err
			}
		}
		return nil
	})
}

// Len returns how many records there are, as exactly as Range would see them.
// Express: store.length.
func (s *Store) Len(ctx context.Context) (int, error) {
	n := 0
	err := s.pages(ctx, "count", func(keys []any) error {
		n += len(keys)
		return nil
	})
	return n, err
}

// Clear deletes every record of this store, and nothing else. Express:
// store.clear.
func (s *Store) Clear(ctx context.Context) error {
	return s.pages(ctx, "clear", func(keys []any) error {
		_, err := s.do(ctx, twice, "UNLINK", keys...)
		return failed("clear", err)
	})
}

// pages calls fn with the keys of this store, page by page, none of them empty.
func (s *Store) pages(ctx context.Context, op string, fn func(keys []any) error) error {
	cursor := "0"
	for {
		page, err := redigo.Values(s.do(ctx, twice, "SCAN", cursor, "MATCH", s.match, "COUNT", s.scanCount))
		if err != nil {
			return failed(op, err)
		}
		var keys []any
		if _, err := redigo.Scan(page, &cursor, &keys); err != nil {
			return failed(op, err)
		}
		if len(keys) > 0 {
			if err := fn(keys); err != nil {
				return err
			}
		}
		if cursor == "0" {
			return nil
		}
	}
}

// ttl is how long a record that expires at expiry has left, in milliseconds, or
// 0 if it has expired. It is rounded up to what the layout counts in: scs
// milliseconds, connect-redis seconds.
//
// Redis is always given the time that is left, never the date. What is left is
// the same on every clock, so a clock that is wrong, on this machine or on the
// server, ends no session early and keeps none for longer.
func (s *Store) ttl(expiry time.Time) int64 {
	left := time.Until(expiry)
	if left <= 0 {
		return 0
	}
	steps := int64(left / s.step)
	if left%s.step > 0 {
		steps++
	}
	return steps * int64(s.step/time.Millisecond)
}

// record makes a record of a reply, where nil says that there is none.
func record(op string, reply any, err error) (data []byte, found bool, _ error) {
	data, err = redigo.Bytes(reply, err)
	if errors.Is(err, redigo.ErrNil) {
		return nil, false, nil
	}
	return data, err == nil, failed(op, err)
}
