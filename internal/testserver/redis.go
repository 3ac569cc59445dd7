//go:build unix

package testserver

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/gomodule/redigo/redis"
)

// Redis returns the URL of the shared Redis server, or ends the test by
// [Missing] if there is none.
func Redis(tb testing.TB) string {
	tb.Helper()
	s, err := sharedRedis()
	check(tb, err)
	return s.URL
}

var sharedRedis = sync.OnceValues(func() (*Server, error) {
	if url := os.Getenv("TEST_REDIS_URL"); url != "" {
		c, err := redis.DialURL(url)
		if err != nil {
			return nil, fmt.Errorf("testserver: the server of TEST_REDIS_URL: %w", err)
		}
		return &Server{URL: url}, c.Close()
	}
	s, err := LaunchRedis()
	if err != nil {
		return nil, fmt.Errorf("%w, or set TEST_REDIS_URL", err)
	}
	return s, nil
})

// StartRedis starts a Redis server only for this test. args are arguments of
// redis-server, such as "--maxmemory", "10mb", and precede StartRedis's own. By default
// the server writes nothing to disk, so that it is empty after a restart.
func StartRedis(tb testing.TB, args ...string) *Server {
	tb.Helper()
	s, err := LaunchRedis(args...)
	check(tb, err)
	return s.own(tb)
}

// LaunchRedis is StartRedis for a program, which must call Close.
func LaunchRedis(args ...string) (*Server, error) {
	path, err := redisBinary()
	if err != nil {
		return nil, err
	}
	return launch(func(port int) (*Server, error) {
		s := &Server{name: "redis", path: path, stop: syscall.SIGTERM, kill: syscall.SIGKILL, ready: pingRedis}
		if err := s.makeDir(); err != nil {
			return s, err
		}
		s.Socket = filepath.Join(s.Dir, "redis.sock")
		s.Addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		s.URL = "redis://" + s.Addr
		s.args = append([]string{
			"--bind", "127.0.0.1", "--port", strconv.Itoa(port),
			"--unixsocket", s.Socket, "--dir", s.Dir, "--save", "",
		}, args...)
		return s, s.start()
	})
}

// RedisCLI returns the path of Redis's or Valkey's client program.
func RedisCLI(tb testing.TB) string {
	tb.Helper()
	for _, name := range []string{"redis-cli", "valkey-cli"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	Missing(tb, "redis-cli")
	return ""
}

func redisBinary() (string, error) {
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("testserver: redis is %w: install redis-server or valkey-server", ErrMissing)
}

func pingRedis(socket string) error {
	c, err := redis.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Do("PING")
	// A server that requires a password is up too.
	if err != nil && strings.HasPrefix(err.Error(), "NOAUTH") {
		return nil
	}
	return err
}

// Prefix returns a key prefix on the shared Redis server for this test, and deletes its
// keys when the test ends. It contains no glob characters.
func Prefix(tb testing.TB) string {
	tb.Helper()
	url := Redis(tb)
	prefix := unique() + ":"
	tb.Cleanup(func() {
		c, err := redis.DialURL(url)
		if err != nil {
			tb.Errorf("testserver: %v", err)
			return
		}
		defer c.Close()
		// The store's lists of users have keys that begin with a word of their own.
		for _, prefix := range []string{prefix, "samesid-users:" + prefix} {
			if err := unlinkPrefix(c, prefix); err != nil {
				tb.Errorf("testserver: delete prefix: %v", err)
			}
		}
	})
	return prefix
}

func unlinkPrefix(c redis.Conn, prefix string) error {
	cursor := "0"
	for {
		page, err := redis.Values(c.Do("SCAN", cursor, "MATCH", prefix+"*", "COUNT", 1000))
		if err != nil {
			return err
		}
		var keys []any
		if _, err := redis.Scan(page, &cursor, &keys); err != nil {
			return err
		}
		if len(keys) > 0 {
			if _, err := c.Do("UNLINK", keys...); err != nil {
				return err
			}
		}
		if cursor == "0" {
			return nil
		}
	}
}
