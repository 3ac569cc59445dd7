//go:build unix

package testserver

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// StartHAProxy starts HAProxy in front of a TCP server only for this test, and returns its
// address. It closes connections that have been idle for some time, such as "500ms".
func StartHAProxy(tb testing.TB, upstream, idle string) string {
	tb.Helper()
	path, err := exec.LookPath("haproxy")
	if err != nil {
		for _, p := range []string{"/usr/sbin/haproxy", "/usr/local/sbin/haproxy"} {
			if _, statErr := os.Stat(p); statErr == nil {
				path, err = p, nil
			}
		}
	}
	if err != nil {
		err = fmt.Errorf("testserver: haproxy is %w: install haproxy", ErrMissing)
	}
	check(tb, err)
	s, err := launch(func(port int) (*Server, error) {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		s := &Server{name: "haproxy", path: path, stop: syscall.SIGTERM, kill: syscall.SIGKILL, Addr: addr}
		s.ready = func(string) error {
			c, err := net.Dial("tcp", addr)
			if err == nil {
				c.Close()
			}
			return err
		}
		if err := s.makeDir(); err != nil {
			return s, err
		}
		conf := fmt.Sprintf("defaults\n  mode tcp\n  timeout connect 5s\n  timeout client %s\n  timeout server %s\n"+
			"listen front\n  bind %s\n  server back %s\n", idle, idle, addr, upstream)
		file := filepath.Join(s.Dir, "haproxy.cfg")
		if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
			return s, err
		}
		s.args = []string{"-db", "-f", file}
		return s, s.start()
	})
	check(tb, err)
	s.own(tb)
	return s.Addr
}
