//go:build unix

package testserver

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/gomodule/redigo/redis"
)

// Sentinels is a Redis with one replica, and three Sentinels that watch it, that one test
// owns.
type Sentinels struct {
	Name   string   // of the master, as the Sentinels know it
	Addrs  []string // of the Sentinels
	Master *Server  // that was the master at the start
	Other  *Server  // that was the replica
	tb     testing.TB
}

// StartSentinels starts a Redis with a replica and three Sentinels only for this test. A
// failover takes about a second. password, if not "", is what the Sentinels want.
func StartSentinels(tb testing.TB, password string) *Sentinels {
	tb.Helper()
	s := &Sentinels{Name: "mymaster", tb: tb}
	args := []string{"--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"}
	s.Master = StartRedis(tb, args...)
	host, port, _ := net.SplitHostPort(s.Master.Addr)
	s.Other = StartRedis(tb, append(args, "--replicaof", host+" "+port)...)
	Until(tb, "the replica", func() bool { return strings.Contains(s.info(s.Other.Addr, "replication"), "master_link_status:up") })
	for range 3 {
		sentinel, err := launchSentinel(s.Name, host, port, password)
		check(tb, err)
		s.Addrs = append(s.Addrs, sentinel.own(tb).Addr)
	}
	Until(tb, "the Sentinels", func() bool {
		for _, addr := range s.Addrs {
			c, err := redis.Dial("tcp", addr, redis.DialPassword(password))
			if err != nil {
				return false
			}
			m, err := redis.StringMap(c.Do("SENTINEL", "MASTER", s.Name))
			c.Close()
			if err != nil || m["num-other-sentinels"] != "2" || m["num-slaves"] != "1" || m["flags"] != "master" {
				return false
			}
		}
		return true
	})
	return s
}

func launchSentinel(name, host, port, password string) (*Server, error) {
	path, err := redisBinary()
	if err != nil {
		return nil, err
	}
	return launch(func(own int) (*Server, error) {
		s := &Server{name: "sentinel", path: path, stop: syscall.SIGTERM, kill: syscall.SIGKILL, ready: pingRedis}
		if err := s.makeDir(); err != nil {
			return s, err
		}
		s.Socket = filepath.Join(s.Dir, "redis.sock")
		s.Addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(own))
		s.URL = "redis://" + s.Addr
		conf := fmt.Sprintf("bind 127.0.0.1\nport %d\nunixsocket %s\ndir %s\nsentinel monitor %s %s %s 2\n"+
			"sentinel down-after-milliseconds %s 500\nsentinel failover-timeout %s 3000\n", own, s.Socket, s.Dir, name, host, port, name, name)
		if password != "" {
			conf += "requirepass " + password + "\nsentinel sentinel-pass " + password + "\n"
		}
		file := filepath.Join(s.Dir, "sentinel.conf") // it writes to it
		if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
			return s, err
		}
		s.args = []string{file, "--sentinel"}
		return s, s.start()
	})
}

// Promoted waits until a server is the master, and a Sentinel names it.
func (s *Sentinels) Promoted(server *Server, password string) {
	s.tb.Helper()
	Until(s.tb, "the failover", func() bool {
		c, err := redis.Dial("tcp", s.Addrs[0], redis.DialPassword(password))
		if err != nil {
			return false
		}
		defer c.Close()
		parts, err := redis.Strings(c.Do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", s.Name))
		return err == nil && len(parts) == 2 && net.JoinHostPort(parts[0], parts[1]) == server.Addr &&
			strings.Contains(s.info(server.Addr, "replication"), "role:master")
	})
}

func (s *Sentinels) info(addr, section string) string {
	c, err := redis.Dial("tcp", addr)
	if err != nil {
		return ""
	}
	defer c.Close()
	text, _ := redis.String(c.Do("INFO", section))
	return text
}
