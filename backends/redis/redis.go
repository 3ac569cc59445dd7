// Package redis keeps sessions in Redis 6.2 or later, or in Valkey, with the keys of
// scs's own redisstore or of Express's connect-redis: on one server, on the master that
// Sentinels name, or in a Redis Cluster.
//
// A read that slides the expiry, a write and a touch each take one command and one
// round trip. The package never lists keys with KEYS, and never uses a key that does
// not begin with the store's prefix, but for the lists of each user's sessions, if they
// are asked for: samesid-users:, the prefix and a hash of the user. A failover that loses
// a note and not the session, which in a cluster is on another node, leaves it out of the
// list.
//
// In a cluster each session is on the node of its key's slot. A session that is given
// another id moves to another slot; that is then two steps, the new record before the
// old one goes, unless the prefix has a hash tag, such as {sess}:, which keeps all
// sessions on one node.
//
// redigo has no Sentinel and no Cluster. The package has its own, on redigo's pools,
// because those that there are, github.com/FZambia/sentinel and github.com/mna/redisc,
// look for servers without the caller's context, the second sends no pipelines where it
// follows keys that move, and neither says whether a listing has missed what moved.
package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/alexedwards/scs/v2"
	redigo "github.com/gomodule/redigo/redis"

	"github.com/samesid/samesid/backends/contract"
	"github.com/samesid/samesid/backends/driver"
	"github.com/samesid/samesid/internal/batch"
)

var (
	_ driver.Store          = (*Store)(nil)
	_ scs.CtxStore          = (*Store)(nil)
	_ scs.IterableStore     = (*Store)(nil)
	_ scs.IterableCtxStore  = (*Store)(nil)
	_ contract.FindToucher  = (*Store)(nil)
	_ contract.FindExpirer  = (*Store)(nil)
	_ contract.Swapper      = (*Store)(nil)
	_ contract.Mover        = (*Store)(nil)
	_ contract.Ranger       = (*Store)(nil)
	_ contract.JSONRecorder = (*Store)(nil)
	_ contract.UserIndex    = (*Store)(nil)
)

// Store is a session store: an [scs.CtxStore] that also implements the optional
// interfaces of package contract. Create it with [Open] or [New]. It is safe for
// concurrent use.
//
// A method with a context returns at its deadline, whether it waits for a connection,
// dials or waits for a reply. Cancelling does not interrupt a command that has been
// sent; its reply is awaited for at most Options.Timeout, or a second if it went out with
// others. An interrupted command would cost its connection, and clients that hang up could
// exhaust the pool.
//
// While the server is busy, commands that wait go out together, over one connection, and
// those of large records by themselves: see Options.NoBatching.
//
// A read, a touch, a deletion or a note about a user is retried once when the server has closed its
// connection. Other writes are not, since they may have happened. On the connections of
// Open, one that was closed while it was idle is noticed before anything is sent on it.
// A command that the server says it has not run, such as one for a key that has moved, is
// sent to where it belongs.
//
// No error contains a session id or the URL's password.
//
// [scs.CtxStore]: https://pkg.go.dev/github.com/alexedwards/scs/v2#CtxStore
type Store struct {
	single    *node    // nil with a cluster
	cluster   *cluster // nil without one
	owned     bool     // Close closes the pools
	prefix    string
	match     string // glob that matches the keys that begin with prefix
	step      time.Duration
	json      bool
	scanCount int
	connect   time.Duration
	read      time.Duration
	replicas  int // that must confirm the end of sessions
	confirm   time.Duration
	large     batch.Large // by key
}

// New returns a store on the caller's own pool, which Close leaves open. It does
// not connect. The Options that are only for Open must be zero.
//
// Options.ConnectTimeout and Options.Timeout apply to the pool's connections too.
// After a restart of the server, each idle connection of the pool may cause one
// error, unless the pool has a TestOnBorrow.
func New(pool *redigo.Pool, opts Options) (*Store, error) {
	if pool == nil {
		return nil, errors.New("redis: the pool is nil")
	}
	if err := opts.openOnly(); err != nil {
		return nil, err
	}
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	s := newStore(opts)
	if pool.MaxActive > 0 {
		opts.MaxConns = min(opts.MaxConns, pool.MaxActive)
	}
	s.single = &node{pool: pool}
	s.single.share(opts)
	return s, nil
}

// Open connects to the servers at a URL, which is one of
//
//	redis://user:password@host:6379/0
//	rediss://user:password@host:6379/0
//	unix://user:password@/path/to/redis.sock?db=0
//	redis-sentinel://user:password@host:26379,host:26379/mymaster/0
//	redis-cluster://user:password@host:6379,host:6379
//
// where rediss, also in rediss-sentinel and rediss-cluster, means TLS, and the user,
// password, port and database number are optional. A redis URL with several hosts is a
// cluster. The hosts can be Options.Addresses instead. The schemes valkey, valkeys,
// redis+unix, redis+sentinel and redis+cluster work too, and so does the name of the
// master as a fragment. A user name without a password is taken as the password, as in
// redis-cli. Special characters must be percent-encoded. The parameters db and family
// have ioredis's meaning; those of other clients are errors that name the fix.
//
// Open waits for a server that refuses connections or still loads its data until ctx
// ends, or for a minute if ctx has no deadline, and then returns the last reason. It
// returns an error at once if the server rejects the user, lacks or forbids a command
// or the keys, is older than Redis 6.2, or is of another kind than Options.Mode says: a
// replica, a Sentinel, or a node of a cluster. Close closes the connections.
func Open(ctx context.Context, url string, opts Options) (*Store, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	t, err := resolve(url, opts)
	if err != nil {
		return nil, err
	}
	d, err := newDialer(t, opts)
	if err != nil {
		return nil, err
	}
	s := newStore(opts)
	s.owned = true
	switch t.mode {
	case modeCluster:
		s.cluster = newCluster(t.addrs, opts, d.data)
	case modeSentinel:
		find := &sentinels{master: t.master, addrs: t.addrs, dial: d.sentinel, data: d.data, limit: opts.Timeout}
		s.single = newNode("", opts, find.connect)
	default:
		addr := t.addrs[0]
		s.single = newNode(addr, opts, func(ctx context.Context) (redigo.Conn, error) { return d.data(ctx, addr) })
	}
	if opts.TLS.InsecureSkipVerify {
		opts.Logger.Warn("redis: the server's certificate is not verified, so that whoever is on the way can read and change all sessions; " +
			"give TLS.Fingerprint (fingerprint), or TLS.CAFile (caFile), in place of TLS.InsecureSkipVerify")
	}
	if err := s.start(ctx, d, opts.Logger); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func newStore(opts Options) *Store {
	l := opts.layout()
	return &Store{
		prefix:    opts.Prefix,
		match:     glob.Replace(opts.Prefix) + "*",
		step:      l.Step,
		json:      l.Express,
		scanCount: opts.ScanCount,
		connect:   opts.ConnectTimeout,
		read:      opts.Timeout,
		replicas:  opts.WaitReplicas,
		confirm:   opts.WaitTimeout,
	}
}

// glob escapes the characters that have a meaning in SCAN's MATCH.
var glob = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)

// Close closes the connections of a store that Open returned. The pool of a store that New
// returned stays open, as the caller owns it. The store must not be used afterwards.
func (s *Store) Close() error {
	switch {
	case s.cluster != nil:
		return s.cluster.close()
	case !s.owned:
		s.single.stopSharing()
		return nil
	}
	err := s.single.pool.Close()
	s.single.stopSharing()
	return err
}

// Ping returns an error if the server does not answer, or Close has closed the
// connections.
func (s *Store) Ping(ctx context.Context) error {
	ping := func(n *node) error {
		_, err := s.useNode(ctx, n, twice, func(c conn) (any, error) { return c.do("PING") })
		return failed("ping", err)
	}
	if s.cluster == nil {
		return ping(s.single)
	}
	// A failover is being noticed here too.
	nodes, _, _, err := s.cluster.state(ctx, s)
	if err != nil {
		return failed("ping", err)
	}
	for _, n := range nodes {
		if err := ping(n); err != nil {
			return err
		}
	}
	return nil
}

// String returns the store's name in log lines, with the pattern of its keys.
func (s *Store) String() string { return fmt.Sprintf("redis store, keys %q", s.prefix+"*") }

// Prefix returns what the keys of all records begin with.
func (s *Store) Prefix() string { return s.prefix }

// JSONRecords reports whether the layout is Express's, whose records are JSON.
func (s *Store) JSONRecords() bool { return s.json }

// Find is FindCtx without a context.
func (s *Store) Find(token string) (data []byte, found bool, err error) {
	return s.FindCtx(context.Background(), token)
}

// FindCtx returns a session's record. found is false if there is none or it has
// expired.
func (s *Store) FindCtx(ctx context.Context, token string) (data []byte, found bool, err error) {
	reply, err := s.do(ctx, twice, "GET", s.prefix+token)
	return record("find", reply, err)
}

// FindTouch is FindCtx, and also sets the record's expiry.
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

// FindExpiry is FindCtx, and also returns the record's expiry in Redis, to the
// millisecond, by this machine's clock. It is zero for a record that does not expire;
// connect-redis writes such records with disableTTL.
func (s *Store) FindExpiry(ctx context.Context, token string) (data []byte, expiry time.Time, found bool, err error) {
	const op = "find with expiry"
	key := s.prefix + token
	// A transaction ensures that data and expiry belong to the same write.
	replies, err := redigo.Values(s.use(ctx, key, twice.shared(), func(c conn) (any, error) {
		return c.transact([][]any{{"MULTI"}, {"GET", key}, {"PTTL", key}})
	}))
	if err != nil {
		return nil, time.Time{}, false, failed(op, err)
	}
	data, found, err = record(op, replies[0], nil)
	if !found {
		return nil, time.Time{}, false, err
	}
	s.large.Note(key, len(data))
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

// Commit is CommitCtx without a context.
//
// It does not use redisstore's Commit, which writes in two steps and sends the expiry
// as a date: see ttl.
func (s *Store) Commit(token string, data []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), token, data, expiry)
}

// CommitCtx creates or overwrites a record that expires at expiry. If that has
// passed, it deletes the record.
func (s *Store) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	ttl := s.ttl(expiry)
	if ttl == 0 {
		return s.DeleteCtx(ctx, token)
	}
	s.large.Note(s.prefix+token, len(data))
	_, err := s.do(ctx, once, "SET", s.prefix+token, data, "PX", ttl)
	return failed("commit", err)
}

// Delete is DeleteCtx without a context.
func (s *Store) Delete(token string) error {
	return s.DeleteCtx(context.Background(), token)
}

// DeleteCtx deletes a record. It is not an error if there is none.
func (s *Store) DeleteCtx(ctx context.Context, token string) error {
	key := s.prefix + token
	// Deleting is idempotent, as a token is never reused.
	w := twice
	w.share = s.replicas == 0 // WAIT is about one connection
	_, err := s.use(ctx, key, w, func(c conn) (any, error) {
		return s.confirmed(c, func() (any, error) {
			reply, err := c.do("DEL", key)
			if err != nil || reply != int64(0) || s.replicas == 0 {
				return reply, err
			}
			// Perhaps it was deleted before, and not confirmed. WAIT counts from the last write
			// of this connection, so that there must be one.
			if err := c.ask(); err != nil {
				return nil, err
			}
			return c.do("EVAL", deleteAnew, 1, key)
		})
	})
	return failed("delete", err)
}

// deleteAnew is a write, and leaves no key.
const deleteAnew = `
redis.call('SET', KEYS[1], '', 'PX', 1000)
return redis.call('DEL', KEYS[1])`

// confirmed runs a command that ends sessions, and returns an error unless the replicas
// of Options.WaitReplicas have it too.
func (s *Store) confirmed(c conn, run func() (any, error)) (any, error) {
	reply, err := run()
	if err != nil || s.replicas == 0 {
		return reply, err
	}
	c.limit += s.confirm
	n, err := redigo.Int(c.do("WAIT", s.replicas, s.confirm.Milliseconds()))
	if err != nil {
		return nil, fmt.Errorf("it is done, but not confirmed by replicas: %w", err)
	}
	if n < s.replicas {
		return nil, &unconfirmedError{n, s.replicas, s.confirm}
	}
	return reply, nil
}

// unconfirmedError is that of an end of sessions that a failover could undo.
type unconfirmedError struct {
	have, want int
	in         time.Duration
}

func (e *unconfirmedError) Error() string {
	return fmt.Sprintf("it is done, but %d of %d replicas have confirmed it within %v, so that a failover could undo it", e.have, e.want, e.in)
}

// script is a Lua script, and its hash.
type script struct{ text, hash string }

func newScript(text string) script {
	return script{text, redigo.NewScript(-1, text).Hash()}
}

// swap is a compare-and-set. Its arguments are: whether a record is expected ('1' or
// '0'), the expected record, the time to live, and the new record. Without the last
// one, it sets only the expiry. GET returns false for a missing key, which equals the
// false of "none expected".
var swap = newScript(`
local current = redis.call('GET', KEYS[1])
if current ~= (ARGV[1] == '1' and ARGV[2]) then
	return current
end
if ARGV[3] == '0' then
	redis.call('DEL', KEYS[1])
elseif ARGV[4] then
	redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[3])
else
	redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return 1`)

// move replaces the first n keys by one. Its arguments are the time to live, the new
// record, the index of the key to write, and the n expected records. If the key to
// write is not among the first n, it is the last one and must not exist. The script
// writes before it deletes, because the write may fail for lack of memory or of
// permission.
var move = newScript(`
local n, target = #ARGV - 3, KEYS[tonumber(ARGV[3])]
local current, known = {}, true
for i = 1, n do
	current[i] = redis.call('GET', KEYS[i])
	known = known and current[i] == ARGV[i + 3]
end
if not known or #KEYS > n and redis.call('EXISTS', target) == 1 then
	return current
end
local expired = ARGV[1] == '0'
if not expired then
	redis.call('SET', target, ARGV[2], 'PX', ARGV[1])
end
for i = 1, n do
	if expired or KEYS[i] ~= target then
		redis.call('DEL', KEYS[i])
	end
end
return 1`)

// Swap writes a record only if it is still old: see contract.Swapper. It runs one
// script, so the compare-and-set is atomic.
//
// When the reply is lost, the write may have happened. That is an error, and Swap does
// not retry. It does retry a touch, which is idempotent: if another call has written
// the record meanwhile, the retry changes nothing.
func (s *Store) Swap(ctx context.Context, token string, old, new []byte, expiry time.Time) (current []byte, swapped bool, err error) {
	var ttl int64
	if new != nil {
		ttl = s.ttl(expiry)
	}
	w, args := once, []any{old != nil, old, ttl}
	switch {
	case ttl == 0: // delete it
	case old != nil && bytes.Equal(old, new):
		w = twice
	default:
		args = append(args, new)
	}
	s.large.Note(s.prefix+token, max(len(old), len(new)))
	reply, err := s.run(ctx, w, swap, ttl == 0, []string{s.prefix + token}, args...)
	if reply == int64(1) {
		return nil, true, nil
	}
	current, _, err = record("swap", reply, err)
	return current, false, err
}

// Move replaces records by one, if each of them is still what the caller knows:
// see contract.Mover. It runs one script. When the reply is lost, the write may have
// happened; that is an error.
//
// In a Redis Cluster, keys of different slots can't be moved at once, and neither can
// those of a slot that is itself being moved. The error then wraps
// errors.ErrUnsupported, and nothing is written.
func (s *Store) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) (current [][]byte, moved bool, err error) {
	const op = "move"
	keys := make([]string, 0, len(from)+1)
	for _, r := range from {
		keys = append(keys, s.prefix+r.Token)
	}
	target := 1 + slices.IndexFunc(from, func(r contract.Record) bool { return r.Token == to })
	if target == 0 {
		keys = append(keys, s.prefix+to)
		target = len(keys)
	}
	args := append(make([]any, 0, len(from)+3), s.ttl(expiry), data, target)
	size := len(data)
	for _, r := range from {
		args = append(args, r.Data)
		size += len(r.Data)
	}
	s.large.Note(s.prefix+to, len(data))
	s.large.Note(keys[0], size)
	reply, err := s.run(ctx, once, move, s.ttl(expiry) == 0, keys, args...)
	if replied(err, "CROSSSLOT") || replied(err, "TRYAGAIN") { // TRYAGAIN: on two nodes for a moment
		err = fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	if reply == int64(1) {
		return nil, true, nil
	}
	current, err = redigo.ByteSlices(reply, err)
	return current, false, failed(op, err)
}

// run runs a script. ends reports whether it may end sessions.
func (s *Store) run(ctx context.Context, w way, sc script, ends bool, keys []string, args ...any) (reply any, err error) {
	all := append(make([]any, 0, 2+len(keys)+len(args)), sc.hash, len(keys))
	for _, k := range keys {
		all = append(all, k)
	}
	all = append(all, args...)
	ends = ends && s.replicas > 0
	w.share = !ends // WAIT is about one connection
	return s.use(ctx, keys[0], w, func(c conn) (any, error) {
		run := func() (any, error) {
			all[0] = sc.hash
			reply, err := c.do("EVALSHA", all...)
			if replied(err, "NOSCRIPT") { // the script has not run
				all[0] = sc.text
				if err := c.ask(); err != nil {
					return nil, err
				}
				reply, err = c.do("EVAL", all...)
			}
			return reply, err
		}
		if ends {
			return s.confirmed(c, run)
		}
		return run()
	})
}

// All is AllCtx without a context.
func (s *Store) All() (map[string][]byte, error) {
	return s.AllCtx(context.Background())
}

// AllCtx returns all live records by token. Range needs less memory.
//
// It does not use redisstore's All, which blocks the whole server with KEYS and then
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

// ttl returns the time until expiry in milliseconds, or 0 if it has passed. It is
// rounded up to the layout's unit: scs's milliseconds or connect-redis's seconds.
//
// The store always sends Redis a duration, never a date. A duration does not depend on
// a clock's setting, so a wrong clock, on this machine or on the server, neither
// shortens nor extends a session.
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

// record returns the record in a reply. A nil reply means that there is none.
func record(op string, reply any, err error) (data []byte, found bool, _ error) {
	data, err = redigo.Bytes(reply, err)
	if errors.Is(err, redigo.ErrNil) {
		return nil, false, nil
	}
	return data, err == nil, failed(op, err)
}
