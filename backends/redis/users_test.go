//go:build unix

package redis_test

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/samesid/samesid/backends/redis"
	"github.com/samesid/samesid/internal/testserver"
)

// usersOf returns a store that keeps lists of users.
func usersOf(t *testing.T, url string, opts redis.Options) *redis.Store {
	t.Helper()
	s := open(t, url, opts)
	if looks, err := s.IndexUsers(t.Context(), nil); looks || err != nil {
		t.Fatalf("IndexUsers: %t, %v", looks, err)
	}
	return s
}

// userCalls are all calls about a user.
func userCalls(ctx context.Context, s *redis.Store, user string) map[string]func() error {
	return map[string]func() error{
		"NoteUser":   func() error { return s.NoteUser(ctx, user, "token", time.Hour) },
		"ForgetUser": func() error { return s.ForgetUser(ctx, user, "other", 0) },
		"UserTokens": func() error { _, err := s.UserTokens(ctx, user); return err },
		"EndUser":    func() error { _, err := s.EndUser(ctx, user, time.Hour); return err },
		"UserEnded":  func() error { _, _, err := s.UserEnded(ctx, user); return err },
	}
}

// monitor returns what a server has run meanwhile, a line for each command. Those of
// scripts have " lua]" in front.
func monitor(t *testing.T, url string, run func()) (lines []string) {
	t.Helper()
	c := dial(t, url)
	if _, err := c.Do("MONITOR"); err != nil {
		t.Fatal(err)
	}
	run()
	if _, err := dial(t, url).Do("ECHO", "the end"); err != nil {
		t.Fatal(err)
	}
	for {
		line, err := redigo.String(c.Receive())
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(line, `"the end"`) {
			return lines
		}
		lines = append(lines, line)
	}
}

func keysOf(t *testing.T, c redigo.Conn) []string {
	t.Helper()
	keys, err := redigo.Strings(c.Do("KEYS", "*"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(keys)
	return keys
}

// The lists have keys that no listing of sessions sees, and that do not show the user.
func TestUsersKeys(t *testing.T) {
	server := testserver.StartRedis(t)
	c := dial(t, server.URL)
	const user = "ann@example.com"
	var all []string
	lines := monitor(t, server.URL, func() {
		for _, prefix := range []string{"sess:", "samesid:", "{s}:"} {
			s := usersOf(t, server.URL, redis.Options{Prefix: prefix})
			if keys := keysOf(t, c); !slices.Equal(keys, all) {
				t.Errorf("IndexUsers has left %q", keys)
			}
			if err := s.Commit("id", []byte("data"), time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			for name, call := range userCalls(t.Context(), s, user) {
				if err := call(); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			if n, err := s.Len(t.Context()); n != 1 || err != nil {
				t.Errorf("%s: Len: %d, %v", prefix, n, err)
			}
			if records, err := s.All(); len(records) != 1 || err != nil {
				t.Errorf("%s: All: %q, %v", prefix, records, err)
			}
			if err := s.Clear(t.Context()); err != nil {
				t.Error(err)
			}
			keys := keysOf(t, c)
			if len(keys) != len(all)+2 {
				t.Errorf("%s: with two lists more than %q there are the keys %q", prefix, all, keys)
			}
			all = keys
		}
	})
	shape := regexp.MustCompile(`^samesid-users:(sess|samesid|\{s\}):[A-Za-z0-9_-]{43}(:ended)?$`)
	for _, key := range all {
		if !shape.MatchString(key) {
			t.Errorf("the key %q", key)
		}
	}
	for _, line := range lines {
		if strings.Contains(line, "ann") {
			t.Errorf("the user is in %s", line)
		}
	}
}

// What a list has, and the list, last as long as they must, and no longer.
func TestUsersExpire(t *testing.T) {
	server := testserver.StartRedis(t)
	c := dial(t, server.URL)
	s := usersOf(t, server.URL, redis.Options{})
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	note := func(token string, ttl time.Duration) { t.Helper(); ok(s.NoteUser(t.Context(), "ann", token, ttl)) }
	forget := func(token string) { t.Helper(); ok(s.ForgetUser(t.Context(), "ann", token, 0)) }
	end := func(ttl time.Duration) { t.Helper(); _, err := s.EndUser(t.Context(), "ann", ttl); ok(err) }
	wantKey := func(ttl time.Duration, what string) (key string) {
		t.Helper()
		keys := keysOf(t, c)
		if len(keys) != 1 {
			t.Fatalf("%s: the keys are %q", what, keys)
		}
		left, err := redigo.Int64(c.Do("PTTL", keys[0]))
		if d := ttl - time.Duration(left)*time.Millisecond; left < 0 || d < -time.Millisecond || d > time.Minute || err != nil {
			t.Errorf("%s: the key lasts %d ms, %v; want %v", what, left, err, ttl)
		}
		return keys[0]
	}
	none := func(what string) {
		t.Helper()
		if keys := keysOf(t, c); len(keys) > 0 {
			t.Errorf("%s: there is %q", what, keys)
		}
	}
	pass := func(d time.Duration) {
		t.Helper()
		if _, err := redigo.DoWithTimeout(c, 0, "BLPOP", "none", d.Seconds()); err != nil {
			t.Fatal(err)
		}
	}
	wantMembers := func(want int, key, what string) {
		t.Helper()
		if n, err := redigo.Int(c.Do("ZCARD", key)); n != 2*want || err != nil {
			t.Errorf("%s: %d members, %v; want two for each of %d tokens", what, n, err, want)
		}
	}

	note("a", time.Hour)
	wantKey(time.Hour, "one token")
	note("b", 3*time.Hour)
	wantKey(3*time.Hour, "a longer one")
	note("c", 2*time.Hour)
	note("b", time.Hour)
	key := wantKey(3*time.Hour, "a shorter one, and one noted again for less")
	wantMembers(3, key, "three tokens")
	forget("unknown")
	wantKey(3*time.Hour, "one forgotten that was not there")
	forget("b")
	wantKey(2*time.Hour, "the longest forgotten")
	wantMembers(2, key, "one forgotten")
	note("renewed", 0)
	note("renewed", time.Hour)
	note("short", 0)
	wantMembers(4, key, "one has expired")
	if tokens, err := s.UserTokens(t.Context(), "ann"); len(tokens) != 3 || slices.Contains(tokens, "short") || err != nil {
		t.Errorf("of 4 tokens, one of which has expired: %q, %v", tokens, err)
	}
	note("a", time.Hour)
	wantMembers(3, key, "noted after one has expired")
	wantKey(2*time.Hour, "after one has expired")
	for _, token := range []string{"a", "c", "renewed"} {
		forget(token)
	}
	none("all forgotten")
	note("short", 20*time.Millisecond)
	note("now", 0)
	end(0)
	end(20 * time.Millisecond)
	end(1)
	pass(40 * time.Millisecond)
	none("all expired")

	end(2 * time.Hour)
	end(time.Hour)
	key = wantKey(2*time.Hour, "ended again for less")
	end(3 * time.Hour)
	wantKey(3*time.Hour, "ended again for longer")
	// Two calls in one microsecond: the later one has another time. After the clock was set
	// back, it has the present one.
	for i := range 99 {
		last := time.Now().Add(900 * time.Millisecond).Truncate(time.Millisecond).Add(time.Duration(i) * time.Microsecond)
		_, err := c.Do("SET", key, fmt.Sprintf("%.3f", float64(last.UnixMicro())/1000))
		ok(err)
		want := last.Add(time.Microsecond)
		if at, err := s.EndUser(t.Context(), "ann", time.Hour); !at.Equal(want) || err != nil {
			t.Errorf("EndUser at once: %v, %v, want %v", at, err, want)
		}
		if at, _, err := s.UserEnded(t.Context(), "ann"); !at.Equal(want) || err != nil {
			t.Errorf("UserEnded at once: %v, %v, want %v", at, err, want)
		}
	}
	_, err := c.Do("SET", key, time.Now().Add(time.Hour).UnixMilli())
	ok(err)
	if at, err := s.EndUser(t.Context(), "ann", time.Hour); at.After(time.Now().Add(time.Minute)) || err != nil {
		t.Errorf("EndUser after the clock was set back: %v, %v", at, err)
	}
	_, err = c.Do("SET", key, time.Now().Add(time.Hour).UnixMilli())
	ok(err)
	if at, ago, err := s.UserEnded(t.Context(), "ann"); ago != 0 || at.IsZero() || err != nil {
		t.Errorf("ended in an hour: at %v, %v ago, %v", at, ago, err)
	}
	_, err = c.Do("UNLINK", key)
	ok(err)
	_, err = c.Do("SADD", key, "member")
	ok(err)
	if _, _, err := s.UserEnded(t.Context(), "ann"); err == nil || !strings.HasPrefix(err.Error(), "redis: user ended: WRONGTYPE") {
		t.Errorf("a key of another type: %v", err)
	}
}

// After a note of many tokens that have expired, those that come drop them bit by bit.
func TestUsersDropWhatHasExpired(t *testing.T) {
	server := testserver.StartRedis(t)
	c := dial(t, server.URL)
	s := usersOf(t, server.URL, redis.Options{})
	note := func(token string) int {
		t.Helper()
		if err := s.NoteUser(t.Context(), "ann", token, time.Hour); err != nil {
			t.Fatal(err)
		}
		n, err := redigo.Int(c.Do("ZCARD", keysOf(t, c)[0]))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	note("first")
	key := keysOf(t, c)[0]
	for i := range 250 {
		if _, err := c.Do("ZADD", key, 1000+i, fmt.Sprint("+old", i), -1000, fmt.Sprint("-old", i)); err != nil {
			t.Fatal(err)
		}
	}
	if tokens, err := s.UserTokens(t.Context(), "ann"); !slices.Equal(tokens, []string{"first"}) || err != nil {
		t.Errorf("%q, %v", tokens, err)
	}
	for _, want := range []int{304, 106, 8, 10} {
		if n := note(fmt.Sprint("token", want)); n != want {
			t.Errorf("%d members are left, want %d", n, want)
		}
	}
}

// The clock of this machine does not count: neither for what is written, nor for what is
// read.
func TestUsersGoByTheServersClock(t *testing.T) {
	server := testserver.StartRedis(t)
	s := usersOf(t, server.URL, redis.Options{})
	var ends time.Time
	check := func(s *redis.Store, mine, want string) {
		t.Helper()
		if err := s.NoteUser(t.Context(), "ann", mine, time.Hour); err != nil {
			t.Error(err)
		}
		if err := s.ForgetUser(t.Context(), "ann", mine, time.Minute); err != nil {
			t.Error(err)
		}
		if err := s.ForgetUser(t.Context(), "ann", want, time.Minute); err != nil {
			t.Error(err)
		}
		if tokens, err := s.UserTokens(t.Context(), "ann"); !slices.Contains(tokens, mine) || want != "" && !slices.Contains(tokens, want) || err != nil {
			t.Errorf("the tokens are %q, %v; want %s and %s", tokens, err, mine, want)
		}
		if at, ago, err := s.UserEnded(t.Context(), "ann"); at.IsZero() == (want != "") || ago > time.Minute || err != nil {
			t.Errorf("ended at %v, %v ago, %v", at, ago, err)
		}
		if _, err := s.EndUser(t.Context(), "ann", time.Hour); err != nil {
			t.Error(err)
		}
		ends = time.Now()
	}
	check(s, "now", "")
	real := ends
	synctest.Test(t, func(t *testing.T) {
		// Here it is the year 2000.
		pool := &redigo.Pool{MaxIdle: 1, Dial: func() (redigo.Conn, error) { return redigo.DialURL(server.URL) }}
		defer pool.Close()
		s, err := redis.New(pool, redis.Options{})
		if err != nil {
			t.Fatal(err)
		}
		check(s, "long ago", "now")
		if real.Sub(ends) < 24*time.Hour {
			t.Error("the clock is that of this machine")
		}
	})
	check(s, "now", "long ago")
}

// 10,000 sessions of other users change nothing in what a server does for one user.
func TestUsersBesideManyOthers(t *testing.T) {
	server := testserver.StartRedis(t)
	c := dial(t, server.URL)
	s := usersOf(t, server.URL, redis.Options{})
	before := make(map[string][]string)
	own := regexp.MustCompile(`^ "(TIME"|EVALSHA" "[0-9a-f]{40}" "1" "samesid-users:|(Z[A-Z]+|PEXPIRE|PTTL|SET|GET)" "samesid-users:)`)
	times := regexp.MustCompile(`-?[0-9]{13}[0-9.]*|[0-9]{7}`)
	for _, call := range userCalls(t.Context(), s, "ann") {
		if err := call(); err != nil { // loads the script
			t.Fatal(err)
		}
	}
	for _, first := range []bool{true, false} {
		if !first {
			if _, err := c.Do("EVAL", `
				for i = 1, 10000 do
					redis.call('SET', 'scs:session:' .. i, 'data', 'PX', 3600000)
					redis.call('ZADD', 'samesid-users:scs:session:' .. i, 9e15, '+' .. i, -1, '-' .. i)
				end`, 0); err != nil {
				t.Fatal(err)
			}
		}
		for name, call := range userCalls(t.Context(), s, "ann") {
			lines := monitor(t, server.URL, func() {
				if err := call(); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
			for i, line := range lines {
				_, command, _ := strings.Cut(line, "]")
				if !own.MatchString(command) {
					t.Errorf("%s runs%s, which is not about one key of the user alone", name, command)
				}
				lines[i] = times.ReplaceAllString(command, "time")
			}
			if first {
				before[name] = lines
				if len(lines) < 2 {
					t.Errorf("%s is %q", name, lines)
				}
			} else if !slices.Equal(lines, before[name]) {
				t.Errorf("%s runs\n%s\nand before there were others\n%s", name, strings.Join(lines, "\n"), strings.Join(before[name], "\n"))
			}
		}
	}
}

// The permissions that the guide lists for users are enough, and each is missed.
func TestUsersPermissions(t *testing.T) {
	t.Parallel()
	server, cluster := testserver.StartRedis(t), testserver.StartCluster(t, 3)
	permissions := "reset on >pw ~sess:* " + guidePermissions(t) + " +cluster|slots +cluster|nodes +asking ~samesid-users:sess:* +time +zadd +zrem +zscore +zrange"
	acl := func(c redigo.Conn, rules string) {
		t.Helper()
		if _, err := c.Do("ACL", redigo.Args{"SETUSER", "app"}.AddFlat(strings.Fields(rules))...); err != nil {
			t.Fatal(err)
		}
	}
	opts := redis.Options{Prefix: "sess:"}
	one := dial(t, server.URL)
	var nodes []redigo.Conn
	for _, addr := range cluster.Addrs {
		nodes = append(nodes, dial(t, "redis://"+addr))
	}
	for _, c := range append(nodes, one) {
		acl(c, permissions)
	}
	for _, url := range []string{"redis://app:pw@" + server.Addr, "redis-cluster://app:pw@" + cluster.Addrs[0]} {
		s := usersOf(t, url, opts)
		for i := range 20 {
			for name, call := range userCalls(t.Context(), s, fmt.Sprint("user", i)) {
				if err := call(); err != nil {
					t.Errorf("%s: %s: %v", url, name, err)
				}
			}
		}
	}

	pool := newPool(t, "redis://app:pw@"+server.Addr)
	s, err := redis.New(pool, opts)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ lacks, want string }{
		{"-time", "NOPERM the user's scripts may not run TIME; allow it by +time"},
		{"-zadd -zrem", "NOPERM the user's scripts may not run ZADD, ZREM; allow it by +zadd +zrem"},
		{"-zscore", "NOPERM the user's scripts may not run ZSCORE; allow it by +zscore"},
		{"-zrange", "NOPERM the user's scripts may not run ZRANGE; allow it by +zrange"},
		{"-set -get", "NOPERM the user's scripts may not run SET, GET; allow it by +set +get"},
		{"-pttl", "NOPERM the user's scripts may not run PTTL; allow it by +pttl"},
		{"-pexpire", "NOPERM the user's scripts may not run PEXPIRE; allow it by +pexpire"},
		{"-eval", "NOPERM the user may not run EVAL; allow it by +eval"},
		{"-evalsha", "NOPERM the user may not run EVALSHA; allow it by +evalsha"},
		{"resetkeys ~sess:*", `NOPERM the user may not use keys that begin with "samesid-users:sess:"; allow them by ~samesid-users:sess:*`},
	} {
		acl(one, permissions)
		acl(one, c.lacks)
		if _, err := s.IndexUsers(t.Context(), nil); err == nil || err.Error() != "redis: index users: "+c.want {
			t.Errorf("%s: %v; want %s", c.lacks, err, c.want)
		}
	}
	if n, err := redigo.Int(one.Do("DBSIZE")); n != 40 || err != nil {
		t.Errorf("there are %d keys, %v; want the two of each of 20 users", n, err)
	}
	acl(one, permissions+" ~other:*")
	// Another program's key of a user.
	other, err := redis.New(pool, redis.Options{Prefix: "other:"})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.NoteUser(t.Context(), "ann", "token", time.Hour); err == nil || strings.Contains(err.Error(), "token") {
		t.Errorf("NoteUser without the permission: %v", err)
	}
	for i, addr := range cluster.Addrs {
		if !cluster.IsMaster(addr) {
			continue
		}
		s := open(t, "redis-cluster://app:pw@"+cluster.Addrs[0], opts)
		acl(nodes[i], "-zadd")
		want := "redis: index users: the node at " + addr + ": NOPERM the user's scripts may not run ZADD; allow it by +zadd"
		if _, err := s.IndexUsers(t.Context(), nil); err == nil || err.Error() != want {
			t.Errorf("without a permission on one node: %v; want %s", err, want)
		}
		acl(nodes[i], "+zadd")
	}
}

// IndexUsers refuses what would lose a user's sessions, or count lists as sessions.
func TestUsersRefused(t *testing.T) {
	server := testserver.StartRedis(t)
	for prefix, refused := range map[string]bool{
		"s": true, "sam": true, "samesid-users:": true, "samesid-users:s": true, "samesid-users:x": false, "samesid-users:samesid-users:sam": true,
		"sess:": false, "samesid:": false, "samesid-users2:": false, "S": false, "": false,
	} {
		s := open(t, server.URL, redis.Options{Prefix: prefix})
		_, err := s.IndexUsers(t.Context(), nil)
		want := "redis: Options.Prefix: the keys of the users' lists, samesid-users:…, begin with it too, and so would count as sessions; give another one, such as sess:"
		if refused && (err == nil || err.Error() != want) || !refused && err != nil {
			t.Errorf("%q: %v", prefix, err)
		}
	}

	s := open(t, server.URL, redis.Options{})
	c := dial(t, server.URL)
	for _, test := range []struct {
		maxmemory, policy, want string
	}{
		{"0", "allkeys-lru", ""},
		{"100mb", "noeviction", ""},
		{"100mb", "allkeys-lru", "redis: index users: the server evicts keys when its memory is full (maxmemory-policy allkeys-lru), and may so lose sessions of a user; set maxmemory-policy noeviction"},
		{"100mb", "volatile-ttl", "redis: index users: the server evicts keys when its memory is full (maxmemory-policy volatile-ttl), and may so lose sessions of a user; set maxmemory-policy noeviction"},
		{"1mb", "noeviction", ""}, // it is full, and will not always be
	} {
		if _, err := c.Do("CONFIG", "SET", "maxmemory", test.maxmemory, "maxmemory-policy", test.policy); err != nil {
			t.Fatal(err)
		}
		if _, err := s.IndexUsers(t.Context(), nil); fmt.Sprint(err) != test.want && (err != nil || test.want != "") {
			t.Errorf("%s, %s: %v; want %s", test.maxmemory, test.policy, err, test.want)
		}
	}
	if err := s.NoteUser(t.Context(), "ann", "token", time.Hour); err == nil || !strings.Contains(err.Error(), "redis: note user: OOM (") {
		t.Errorf("NoteUser on a server that is full: %v", err)
	}

	// A server that does not know how to list a part of a sorted set by its scores.
	old := testserver.StartRedis(t, "--rename-command", "ZRANGE", "")
	pool := newPool(t, old.URL)
	before, err := redis.New(pool, redis.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := before.IndexUsers(t.Context(), nil); err == nil || !strings.HasPrefix(err.Error(), "redis: index users: ") {
		t.Errorf("without ZRANGE: %v", err)
	}
	if keys := keysOf(t, dial(t, old.URL)); len(keys) > 0 {
		t.Errorf("IndexUsers has left %q", keys)
	}
	old.Stop()
	if _, err := before.IndexUsers(t.Context(), nil); err == nil {
		t.Error("without a server: no error")
	}
}
