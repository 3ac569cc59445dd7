//go:build unix

package testserver

import (
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// StartPgBouncer starts a PgBouncer before a server of StartPostgres, only for this
// test. conf holds settings, such as "pool_mode=transaction".
func StartPgBouncer(tb testing.TB, server *Server, conf ...string) *Server {
	tb.Helper()
	s, err := LaunchPgBouncer(server, conf...)
	check(tb, err)
	return s.own(tb)
}

// PgBouncerVersion returns the version of the PgBouncer on this machine, as {1, 18}, or
// ends the test by [Missing] if there is none.
func PgBouncerVersion(tb testing.TB) (version [2]int) {
	tb.Helper()
	path, err := findProgram("pgbouncer")
	check(tb, err)
	out, err := exec.Command(path, "--version").Output()
	if err == nil {
		_, err = fmt.Sscanf(string(out), "PgBouncer %d.%d", &version[0], &version[1])
	}
	check(tb, err)
	return version
}

// LaunchPgBouncer is StartPgBouncer for a program that is no test, which must call Close.
func LaunchPgBouncer(server *Server, conf ...string) (*Server, error) {
	path, err := findProgram("pgbouncer")
	if err != nil {
		return nil, err
	}
	cred, err := postgresUser() // PgBouncer refuses to run as root, too
	if err != nil {
		return nil, err
	}
	host, toPort, err := net.SplitHostPort(server.Addr)
	if err != nil {
		return nil, err
	}
	return launch(func(port int) (*Server, error) {
		s := &Server{name: "pgbouncer", path: path, cred: cred, stop: syscall.SIGTERM, kill: syscall.SIGKILL}
		if err := s.makeDir(); err != nil {
			return s, err
		}
		s.Addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		s.URL = "postgres://postgres@" + s.Addr + "/postgres?sslmode=disable"
		s.Socket = filepath.Join(s.Dir, ".s.PGSQL."+strconv.Itoa(port))
		s.ready = func(string) error {
			db, err := sql.Open("postgres", "postgres://postgres@"+s.Addr+"/pgbouncer?sslmode=disable")
			if err != nil {
				return err
			}
			defer db.Close()
			var version string
			return db.QueryRow("SHOW VERSION").Scan(&version)
		}
		lines := append([]string{
			"[databases]",
			"* = host=" + host + " port=" + toPort,
			"[pgbouncer]",
			"listen_addr = 127.0.0.1",
			"listen_port = " + strconv.Itoa(port),
			"unix_socket_dir = " + s.Dir,
			"auth_type = trust",
			"auth_file = " + filepath.Join(s.Dir, "users"),
			"admin_users = postgres",
			"max_client_conn = 500",
			"server_login_retry = 1",
		}, conf...)
		if err := s.write("pgbouncer.ini", strings.Join(lines, "\n")+"\n"); err != nil {
			return s, err
		}
		if err := s.write("users", `"postgres" ""`+"\n"); err != nil {
			return s, err
		}
		s.args = []string{filepath.Join(s.Dir, "pgbouncer.ini")}
		return s, s.start()
	})
}

// StartHAProxy starts an HAProxy that forwards TCP connections to a server, only for
// this test. conf holds lines of its section defaults, such as "timeout client 1s".
func StartHAProxy(tb testing.TB, server *Server, conf ...string) *Server {
	tb.Helper()
	path, err := findProgram("haproxy")
	check(tb, err)
	s, err := launch(func(port int) (*Server, error) {
		s := &Server{name: "haproxy", path: path, stop: syscall.SIGTERM, kill: syscall.SIGKILL}
		if err := s.makeDir(); err != nil {
			return s, err
		}
		s.Addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		s.URL = strings.Replace(server.URL, server.Addr, s.Addr, 1)
		s.ready = func(string) error {
			c, err := net.Dial("tcp", s.Addr)
			if err == nil {
				c.Close()
			}
			return err
		}
		lines := append(append([]string{"defaults", "mode tcp", "timeout connect 5s"}, conf...),
			"listen here", "bind "+s.Addr, "server there "+server.Addr)
		if err := s.write("haproxy.cfg", strings.Join(lines, "\n")+"\n"); err != nil {
			return s, err
		}
		s.args = []string{"-db", "-f", filepath.Join(s.Dir, "haproxy.cfg")}
		return s, s.start()
	})
	check(tb, err)
	return s.own(tb)
}

// write writes a file to the server's folder, for the server to read.
func (s *Server) write(name, text string) error {
	if s.cred != nil {
		if err := os.Chown(s.Dir, int(s.cred.Uid), int(s.cred.Gid)); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(s.Dir, name), []byte(text), 0o644)
}

// findProgram returns the path of a program, also of one that Debian keeps out of the
// PATH of users.
func findProgram(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	if path := "/usr/sbin/" + name; executable(path) {
		return path, nil
	}
	return "", fmt.Errorf("testserver: %s is %w: install %[1]s", name, ErrMissing)
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&0o111 != 0
}
