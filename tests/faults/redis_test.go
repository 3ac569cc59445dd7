//go:build unix

package faults

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/samesid/samesid/backends/redis"
	"github.com/samesid/samesid/internal/leaktest"
	"github.com/samesid/samesid/internal/testserver"
)

// onRedis runs a test on each layout, with a separate server.
func onRedis(t *testing.T, test func(t *testing.T, server *testserver.Server, s *system)) {
	for _, layout := range redisLayouts {
		t.Run(layout, func(t *testing.T) {
			t.Parallel()
			server := testserver.StartRedis(t)
			test(t, server, newSystem(t, server.Addr, server.URL, redis.Options{Layout: redis.Layout(layout)}, limits{}))
		})
	}
}

// command sends a command directly to the server, bypassing the proxy.
func command(t *testing.T, server *testserver.Server, name string, args ...any) any {
	t.Helper()
	c, err := redigo.DialURL(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	reply, err := c.Do(name, args...)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return reply
}

// After a server has lost everything in a crash, its users must log in again. No old
// cookie becomes valid again.
func TestRedisRestartedEmpty(t *testing.T) {
	onRedis(t, func(t *testing.T, server *testserver.Server, s *system) {
		l := s.run(t)
		l.forget()
		old := l.session(l.groups[0])
		server.Kill()
		l.next(true)
		l.await("failures", allFailTwice)
		l.next(false)
		server.Start()
		l.mu.Lock()
		l.forgets = false
		l.mu.Unlock()
		l.recover()

		status, header, body, err := l.request("GET", "/page", old.cookie, "")
		if status != http.StatusOK || body != "" || header.Get("Set-Cookie") != "" || err != nil {
			t.Errorf("a cookie from before gave %d, %q, %d cookies, %v", status, body, len(header["Set-Cookie"]), err)
		}
		_, header, _, err = l.request("POST", "/login", old.cookie, "username=u&password="+password)
		if got := header.Get("Set-Cookie"); got == "" || strings.HasPrefix(got, old.cookie) || err != nil {
			t.Errorf("a login with a cookie from before: the id was adopted, or there is none; %v", err)
		}
	})
}

// A server that syncs before it acknowledges loses nothing, neither in a crash nor in a
// shutdown.
func TestRedisCrash(t *testing.T) {
	for _, layout := range redisLayouts {
		t.Run(layout, func(t *testing.T) {
			t.Parallel()
			server := testserver.StartRedis(t, "--appendonly", "yes", "--appendfsync", "always")
			l := newSystem(t, server.Addr, server.URL, redis.Options{Layout: redis.Layout(layout)}, limits{}).run(t)
			for _, end := range []func(){server.Stop, server.Kill} {
				l.next(false)
				l.await("answers", each(func(c tally) bool { return c.pages >= 1 && c.writes >= 2 }))
				end()
				l.next(true)
				l.await("failures", allFailTwice)
				l.next(false)
				server.Start()
			}
			l.recover()
		})
	}
}

// The server becomes a replica, and later the primary again.
func TestRedisReadOnlyReplica(t *testing.T) {
	onRedis(t, func(t *testing.T, server *testserver.Server, s *system) {
		l := s.run(t)
		command(t, server, "REPLICAOF", "127.0.0.1", "1")
		l.next(true)
		l.await("failures", allFailTwice)
		l.next(false)
		command(t, server, "REPLICAOF", "NO", "ONE")
		l.recover()
	})
}

// Without memory for writes, pages are served and changes are refused. A user whose session
// can't be given a new id stays signed in under the old one.
func TestRedisOutOfMemory(t *testing.T) {
	onRedis(t, func(t *testing.T, server *testserver.Server, s *system) {
		l := s.run(t)
		status, header, _, err := l.request("POST", "/login", "", "username=renewing&password="+password)
		cookie, _, _ := strings.Cut(header.Get("Set-Cookie"), ";")
		if status != http.StatusOK || cookie == "" || err != nil {
			t.Fatalf("login: %d, %v", status, err)
		}
		leaktest.Note(strings.TrimPrefix(cookie, "connect.sid="))
		stays := func(when string) {
			t.Helper()
			if status, header, body, err := l.request("GET", "/page", cookie, ""); status != http.StatusOK || body != "renewing" || header.Get("Set-Cookie") != "" || err != nil {
				t.Errorf("%s, the old cookie gave %d, %q, %d cookies, %v", when, status, body, len(header["Set-Cookie"]), err)
			}
		}
		command(t, server, "CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "1mb")
		l.next(false)
		l.await("failures", someFail)
		l.await("pages", all(func(c tally) bool { return c.pages > 0 }))
		for range 3 {
			if status, header, _, err := l.request("POST", "/renew", cookie, ""); status != http.StatusServiceUnavailable || header.Get("Set-Cookie") != "" || err != nil {
				t.Errorf("a new id: %d, %d cookies, %v", status, len(header["Set-Cookie"]), err)
			}
			stays("out of memory")
		}
		command(t, server, "CONFIG", "SET", "maxmemory", "0")
		l.recover()
		stays("after the recovery")
		status, header, _, err = l.request("POST", "/renew", cookie, "")
		if next := header.Get("Set-Cookie"); status != http.StatusOK || next == "" || strings.HasPrefix(next, cookie) || err != nil {
			t.Errorf("a new id after the recovery: %d, a cookie: %t, %v", status, next != "", err)
		}
	})
}

// A server that can't save its snapshots, because the disk is full, say, refuses writes.
// Here a folder has the snapshot's name.
func TestRedisDiskFull(t *testing.T) {
	onRedis(t, func(t *testing.T, server *testserver.Server, s *system) {
		snapshot := filepath.Join(server.Dir, "dump.rdb")
		if err := os.Mkdir(snapshot, 0o700); err != nil {
			t.Fatal(err)
		}
		command(t, server, "CONFIG", "SET", "save", "3600 1000000")
		l := s.run(t)
		save := func(status string) {
			command(t, server, "BGSAVE")
			until(t, "a snapshot", func() bool {
				info := string(command(t, server, "INFO", "persistence").([]byte))
				return strings.Contains(info, "rdb_bgsave_in_progress:0") && strings.Contains(info, "rdb_last_bgsave_status:"+status)
			})
		}
		save("err")
		l.next(true)
		l.await("failures", allFailTwice)
		l.next(false)
		if err := os.Remove(snapshot); err != nil {
			t.Fatal(err)
		}
		save("ok")
		l.recover()
	})
}

// until polls until ok returns true.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// The server repeatedly flushes its scripts, and no client notices.
func TestRedisScriptsFlushed(t *testing.T) {
	for _, layout := range redisLayouts {
		t.Run(layout, func(t *testing.T) {
			t.Parallel()
			server := testserver.StartRedis(t)
			s := newSystem(t, server.Addr, server.URL, redis.Options{Layout: redis.Layout(layout)}, limits{wait: patience})
			l := s.run(t)
			for range 10 {
				command(t, server, "SCRIPT", "FLUSH")
				l.next(false)
				l.await("writes", all(func(c tally) bool { return c.writes >= 20 }))
				l.mu.Lock()
				if !all(func(c tally) bool { return c.failed == 0 })(l.groups) {
					t.Error("requests failed")
				}
				l.mu.Unlock()
			}
			l.recover()
		})
	}
}

// The replica takes over in a planned failover, and the old primary becomes its replica.
// It has everything that was acknowledged.
func TestRedisFailover(t *testing.T) {
	onRedis(t, func(t *testing.T, server *testserver.Server, s *system) {
		replica := testserver.StartRedis(t)
		replicaHost, replicaPort, err := net.SplitHostPort(replica.Addr)
		if err != nil {
			t.Fatal(err)
		}
		primaryHost, primaryPort, err := net.SplitHostPort(server.Addr)
		if err != nil {
			t.Fatal(err)
		}
		command(t, server, "CONFIG", "SET", "repl-diskless-sync-delay", "0")
		command(t, replica, "REPLICAOF", primaryHost, primaryPort)
		until(t, "the replication", func() bool {
			return strings.Contains(string(command(t, server, "INFO", "replication").([]byte)), "state=online")
		})
		l := s.run(t)
		command(t, server, "FAILOVER", "TO", replicaHost, replicaPort)
		until(t, "the new primary", func() bool {
			return strings.Contains(string(command(t, server, "INFO", "replication").([]byte)), "role:slave")
		})
		l.next(true)
		l.await("failures", allFailTwice)
		l.next(false)
		s.proxy.lead(replica.Addr)
		l.recover()
	})
}
