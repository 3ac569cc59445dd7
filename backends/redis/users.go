package redis

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// usersPrefix is the beginning of the keys of users, before the store's prefix. Those of
// sessions must not begin like them.
const usersPrefix = "samesid-users:"

// tokensKey returns the key of the tokens of a user: a sorted set with two members for
// each. "+" and the token has the time until which it is noted as its score. "-" and the
// token has the time at which it was noted, below zero. Times are in milliseconds.
//
// The user is hashed, as an id may be an e-mail address, which lists of keys and
// MONITOR must not show.
func (s *Store) tokensKey(user string) string {
	hash := sha256.Sum256([]byte(user))
	return usersPrefix + s.prefix + base64.RawURLEncoding.EncodeToString(hash[:])
}

// endedKey returns the key of the time at which the sessions of a user were ended.
func (s *Store) endedKey(user string) string { return s.tokensKey(user) + ":ended" }

// serverClock defines now. Each script calls it once.
const serverClock = `
local function now()
	local t = redis.call('TIME')
	return t[1] * 1000 + t[2] / 1000
end
`

// keepTokens defines keep, which lets the key expire with the last of its tokens.
const keepTokens = `
local function keep(at)
	local last = redis.call('ZRANGE', KEYS[1], 0, 0, 'REV', 'WITHSCORES')[2]
	if last then
		redis.call('PEXPIRE', KEYS[1], math.ceil(last - at))
	end
end
`

// noteUser notes a token. Its arguments are the token and the time to live. It drops some
// tokens that have expired: more than the one that it adds, and so few that it does not
// hold up the server.
var noteUser = newScript(serverClock + keepTokens + `
local at = now()
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, at, 'BYSCORE', 'LIMIT', 0, 100)) do
	redis.call('ZREM', KEYS[1], member, '-' .. string.sub(member, 2))
end
redis.call('ZADD', KEYS[1], 'GT', at + ARGV[2], '+' .. ARGV[1])
redis.call('ZADD', KEYS[1], -at, '-' .. ARGV[1])
keep(at)
return 1`)

// forgetUser drops a token. Its arguments are the token and the least age of its note.
var forgetUser = newScript(serverClock + keepTokens + `
local at, noted = now(), redis.call('ZSCORE', KEYS[1], '-' .. ARGV[1])
if noted and at + noted >= tonumber(ARGV[2]) then
	redis.call('ZREM', KEYS[1], '+' .. ARGV[1], '-' .. ARGV[1])
	keep(at)
end
return 1`)

// userTokens returns the tokens that have not expired.
var userTokens = newScript(serverClock + `
local tokens = redis.call('ZRANGE', KEYS[1], now(), '+inf', 'BYSCORE')
for i, member in ipairs(tokens) do
	tokens[i] = string.sub(member, 2)
end
return tokens`)

// endUser notes the present time, or a later one that no call before has had, and returns
// it in microseconds. Its argument is the time to live. A longer one of an earlier call
// still counts, as the last call also says what that one has said.
var endUser = newScript(serverClock + `
local at, left, last = now(), redis.call('PTTL', KEYS[1]), tonumber(redis.pcall('GET', KEYS[1]))
if last and last >= at and last < at + 1000 then
	at = last + 0.001
end
redis.call('SET', KEYS[1], string.format('%.3f', at), 'PX', math.max(left, ARGV[1], 1))
return string.format('%.0f', at * 1000)`)

// userEnded returns the time of endUser, and how long ago that was, in microseconds.
var userEnded = newScript(serverClock + `
local at = redis.call('GET', KEYS[1])
return at and {string.format('%.0f', at * 1000), math.floor((now() - at) * 1000)}`)

// tryUsers tries what the other scripts do, where there is no key, and makes none. It
// returns the commands that it may not run, or the error of one that fails.
const tryUsers = `
local lacks = {}
for _, c in ipairs({
	{'TIME'}, {'ZADD', KEYS[1], 'XX', 'GT', 1, '+'}, {'ZSCORE', KEYS[1], '+'},
	{'ZRANGE', KEYS[1], 0, 1, 'BYSCORE', 'LIMIT', 0, 1}, {'ZRANGE', KEYS[1], 0, 0, 'REV', 'WITHSCORES'},
	{'ZREM', KEYS[1], '+'}, {'SET', KEYS[1], '', 'XX', 'PX', 1000}, {'GET', KEYS[1]}, {'PTTL', KEYS[1]}, {'PEXPIRE', KEYS[1], 1000},
}) do
	local reply = redis.pcall(unpack(c))
	local err = type(reply) == 'table' and reply.err
	if err and (string.find(err, 'NOPERM') or string.find(err, "can't run")) then
		if lacks[#lacks] ~= c[1] then
			table.insert(lacks, c[1])
		end
	elseif err and not string.find(err, 'OOM') then
		return reply
	end
end
return lacks`

// IndexUsers implements contract.UserIndex. The store keeps lists beside its records, for
// each user under keys that do not begin with Options.Prefix. It verifies on each server
// that its ACL permits such keys and the commands of the lists, and that it does not evict
// keys.
func (s *Store) IndexUsers(ctx context.Context, _ []string) (looks bool, err error) {
	if strings.HasPrefix(usersPrefix+s.prefix, s.prefix) {
		return false, refused("Prefix", "the keys of the users' lists, %s…, begin with it too, and so would count as sessions; give another one, such as sess:", usersPrefix)
	}
	err = s.onMasters(ctx, func() string { return s.tokensKey(rand.Text()) }, func(n *node, key string) error {
		return s.inspectUsers(ctx, n, key)
	})
	return false, failed("index users", err)
}

// inspectUsers tries on one server what the lists need, with a key that it serves.
func (s *Store) inspectUsers(ctx context.Context, n *node, key string) error {
	// Without the permission for INFO, what it would say is not known.
	memory, err := s.useNode(ctx, n, twice, func(c conn) (any, error) { return c.do("INFO", "memory") })
	if said := redigo.Error(""); err != nil && !errors.As(err, &said) {
		return err
	}
	info := infos([]any{memory})
	if policy := info["maxmemory_policy"]; policy != "" && policy != "noeviction" && info["maxmemory"] != "0" {
		return fmt.Errorf("the server evicts keys when its memory is full (maxmemory-policy %s), and may so lose sessions of a user; set maxmemory-policy noeviction", policy)
	}
	noScript := strings.Repeat("0", 40)
	for _, call := range [][]any{{"EVALSHA", noScript, 1, key}, {"EVAL", tryUsers, 1, key}} {
		name := call[0].(string)
		lacks, err := redigo.Strings(s.use(ctx, key, twice, func(c conn) (any, error) {
			replies, err := c.pipe([][]any{call})
			if err != nil {
				return nil, err
			}
			if said, ok := replies[0].(redigo.Error); ok {
				return nil, said // as the server says it; do would scrub it
			}
			return replies[0], nil
		}))
		switch {
		case replied(err, "NOSCRIPT"):
		case replied(err, "NOPERM") && strings.Contains(err.Error(), "to run"):
			return lacking("the user", []string{name})
		case replied(err, "NOPERM"):
			return lacksKeys(usersPrefix + s.prefix)
		case err != nil:
			return scrub(err)
		case len(lacks) > 0:
			return lacking("the user's scripts", lacks)
		}
	}
	return nil
}

// NoteUser implements contract.UserIndex.
func (s *Store) NoteUser(ctx context.Context, user, token string, ttl time.Duration) error {
	_, err := s.run(ctx, twice, noteUser, false, []string{s.tokensKey(user)}, token, millis(ttl))
	return failed("note user", err)
}

// ForgetUser implements contract.UserIndex.
func (s *Store) ForgetUser(ctx context.Context, user, token string, age time.Duration) error {
	_, err := s.run(ctx, twice, forgetUser, false, []string{s.tokensKey(user)}, token, millis(age))
	return failed("forget user", err)
}

// UserTokens implements contract.UserIndex.
func (s *Store) UserTokens(ctx context.Context, user string) ([]string, error) {
	key := s.tokensKey(user)
	tokens, err := redigo.Strings(s.run(ctx, twice, userTokens, false, []string{key}))
	if err != nil {
		return nil, failed("user tokens", err)
	}
	size := 0
	for _, token := range tokens {
		size += len(token)
	}
	s.large.Note(key, size)
	return tokens, nil
}

// EndUser implements contract.UserIndex. Options.WaitReplicas must confirm it, as they
// must the end of a session.
func (s *Store) EndUser(ctx context.Context, user string, ttl time.Duration) (at time.Time, err error) {
	micros, err := redigo.Int64(s.run(ctx, twice, endUser, true, []string{s.endedKey(user)}, millis(ttl)))
	if err != nil {
		return time.Time{}, failed("end user", err)
	}
	return time.UnixMicro(micros), nil
}

// UserEnded implements contract.UserIndex.
func (s *Store) UserEnded(ctx context.Context, user string) (at time.Time, ago time.Duration, err error) {
	micros, err := redigo.Int64s(s.run(ctx, twice, userEnded, false, []string{s.endedKey(user)}))
	switch {
	case errors.Is(err, redigo.ErrNil):
		return time.Time{}, 0, nil
	case err != nil:
		return time.Time{}, 0, failed("user ended", err)
	}
	// It is below zero if the server's clock was set back.
	return time.UnixMicro(micros[0]), time.Duration(max(micros[1], 0)) * time.Microsecond, nil
}

// millis returns a time to live, or an age, in milliseconds, rounded up.
func millis(d time.Duration) int64 {
	n := d.Milliseconds()
	if d%time.Millisecond > 0 {
		n++
	}
	return n
}
