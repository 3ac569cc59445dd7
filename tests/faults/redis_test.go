//go:build unix

package faults

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/samesid/samesid/internal/eachstore"
	"github.com/samesid/samesid/internal/rig"
	"github.com/samesid/samesid/internal/testserver"
)

// onRedis runs a test on layouts of Redis (eachstore.RunSome), with a separate server.
func onRedis(t *testing.T, l limits, test func(*testing.T, *system)) {
	t.Parallel()
	eachstore.RunSome(t, func(t *testing.T, k eachstore.Kind) {
		t.Parallel()
		test(t, newSystem(t, k.On(t, testserver.StartRedis(t)), l))
	}, eachstore.IsOf("redis"))
}

// After a server has lost everything in a crash, its users must log in again. No old
// cookie becomes valid again.
func TestRedisRestartedEmpty(t *testing.T) {
	onRedis(t, limits{}, func(t *testing.T, s *system) {
		l := s.run(t)
		end := l.Forget()
		old := l.Cookie(l.Groups[0])
		s.Server.Kill()
		out(l, allFailTwice)
		s.Server.Start()
		end()
		l.Recover()

		u := rig.NewUser(t, "u", s.url)
		u.Cookie = old
		if a := u.Do("GET", "/page", ""); a.Status != http.StatusOK || a.Body != "" || a.Cookie() != "" {
			t.Errorf("a cookie from before gave %v", a)
		}
		if u.Login(); u.Cookie == old {
			t.Error("a login with a cookie from before: the id was adopted, or there is none")
		}
	})
}

// The server becomes a replica, and later the primary again.
func TestRedisReadOnlyReplica(t *testing.T) {
	onRedis(t, limits{}, func(t *testing.T, s *system) {
		l := s.run(t)
		s.Redis(t, "REPLICAOF", "127.0.0.1", "1")
		out(l, allFailTwice)
		s.Redis(t, "REPLICAOF", "NO", "ONE")
		l.Recover()
	})
}

// Without memory for writes, pages are served and changes are refused. A user whose session
// can't be given a new id stays signed in under the old one.
func TestRedisOutOfMemory(t *testing.T) {
	onRedis(t, limits{}, func(t *testing.T, s *system) {
		l := s.run(t)
		u := rig.NewUser(t, "renewing", s.url)
		u.Login()
		cookie := u.Cookie
		stays := func(when string) {
			t.Helper()
			if a := u.Do("GET", "/page", ""); a.Status != http.StatusOK || a.Body != u.Name || a.Cookie() != "" {
				t.Errorf("%s, the old cookie gave %v", when, a)
			}
		}
		s.Redis(t, "CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "1mb")
		l.Next(false)
		l.Await("failures", someFail)
		l.Await("pages", rig.Sum(func(c rig.Tally) bool { return c.Pages > 0 }))
		for range 3 {
			if a := u.Do("POST", "/renew", ""); a.Status != http.StatusServiceUnavailable || a.Cookie() != "" {
				t.Errorf("a new id: %v", a)
			}
			stays("out of memory")
		}
		s.Redis(t, "CONFIG", "SET", "maxmemory", "0")
		l.Recover()
		stays("after the recovery")
		if a := u.Do("POST", "/renew", ""); a.Status != http.StatusOK || u.Cookie == cookie {
			t.Errorf("a new id after the recovery: %v", a)
		}
	})
}

// A server that can't save its snapshots, because the disk is full, say, refuses writes.
// Here a folder has the snapshot's name.
func TestRedisDiskFull(t *testing.T) {
	onRedis(t, limits{}, func(t *testing.T, s *system) {
		snapshot := filepath.Join(s.Server.Dir, "dump.rdb")
		if err := os.Mkdir(snapshot, 0o700); err != nil {
			t.Fatal(err)
		}
		s.Redis(t, "CONFIG", "SET", "save", "3600 1000000")
		l := s.run(t)
		save := func(status string) {
			s.Redis(t, "BGSAVE")
			testserver.Until(t, "a snapshot", func() bool {
				info := s.info(t, "persistence")
				return strings.Contains(info, "rdb_bgsave_in_progress:0") && strings.Contains(info, "rdb_last_bgsave_status:"+status)
			})
		}
		save("err")
		out(l, allFailTwice)
		if err := os.Remove(snapshot); err != nil {
			t.Fatal(err)
		}
		save("ok")
		l.Recover()
	})
}

func (s *system) info(t *testing.T, section string) string {
	t.Helper()
	return string(s.Redis(t, "INFO", section).([]byte))
}

// The server repeatedly flushes its scripts, and no client notices.
func TestRedisScriptsFlushed(t *testing.T) {
	onRedis(t, limits{wait: rig.Patience}, func(t *testing.T, s *system) {
		l := s.run(t)
		for range 5 {
			s.Redis(t, "SCRIPT", "FLUSH")
			l.Next(false)
			l.Await("writes", rig.Sum(func(c rig.Tally) bool { return c.Writes >= 20 }))
			l.Do(func() {
				if !rig.Sum(func(c rig.Tally) bool { return c.Failed == 0 })(l.Groups) {
					t.Error("requests failed")
				}
			})
		}
		l.Recover()
	})
}

// The replica takes over in a planned failover, and the old primary becomes its replica.
// It has everything that was acknowledged.
func TestRedisFailover(t *testing.T) {
	onRedis(t, limits{}, func(t *testing.T, s *system) {
		replica := testserver.StartRedis(t)
		host, port, err := net.SplitHostPort(replica.Addr)
		if err != nil {
			t.Fatal(err)
		}
		s.Redis(t, "CONFIG", "SET", "repl-diskless-sync-delay", "0")
		primary := strings.Split(s.Server.Addr, ":")
		(&eachstore.Place{URL: replica.URL}).Redis(t, "REPLICAOF", primary[0], primary[1])
		testserver.Until(t, "the replication", func() bool { return strings.Contains(s.info(t, "replication"), "state=online") })
		l := s.run(t)
		s.Redis(t, "FAILOVER", "TO", host, port)
		testserver.Until(t, "the new primary", func() bool { return strings.Contains(s.info(t, "replication"), "role:slave") })
		out(l, allFailTwice)
		s.proxy.lead(replica.Addr)
		l.Recover()
	})
}
