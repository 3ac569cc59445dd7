package main

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	osuser "os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// errMissing marks a program that is not installed on this machine.
var errMissing = errors.New("not on this machine")

// server is a Redis or Postgres server that was started for the benchmarks, with default
// settings except those that isolate it from others.
type server struct {
	addr  string
	dir   string
	cmd   *exec.Cmd
	leash io.Closer
}

// leashScript stops the server and removes its folder when standard input ends. That is
// a pipe from this process, which closes however this process ends.
const leashScript = `dir=$1; shift
cd "$dir" || exit
"$@" </dev/null >log 2>&1 & pid=$!
read _
kill -INT $pid
wait $pid
cd / && rm -rf "$dir"`

func (s *server) start(cred *syscall.Credential, args ...string) error {
	s.cmd = exec.Command("/bin/sh", append([]string{"-c", leashScript, "sh", s.dir}, args...)...)
	// A separate process group keeps a terminal's Ctrl-C from the server.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: cred}
	var err error
	if s.leash, err = s.cmd.StdinPipe(); err != nil {
		return err
	}
	return s.cmd.Start()
}

func (s *server) stop() {
	if s.leash != nil {
		s.leash.Close()
		_ = s.cmd.Wait()
	}
	os.RemoveAll(s.dir)
}

// await calls ping until the server answers.
func (s *server) await(ctx context.Context, ping func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ping()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			return fmt.Errorf("the server does not start: %w\n%s", err, log)
		}
	}
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func startRedis(ctx context.Context) (*server, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		if path, err = exec.LookPath("valkey-server"); err != nil {
			return nil, fmt.Errorf("redis is %w: install redis-server or valkey-server", errMissing)
		}
	}
	return launch("redis", nil, func(s *server) error {
		_, port, _ := net.SplitHostPort(s.addr)
		if err := s.start(nil, path, "--bind", "127.0.0.1", "--port", port, "--databases", strconv.Itoa(len(roles))); err != nil {
			return err
		}
		return s.await(ctx, func() error {
			c, err := redigo.DialContext(ctx, "tcp", s.addr)
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Do("PING")
			return err
		})
	})
}

func startPostgres(ctx context.Context) (*server, error) {
	bin, err := postgresBin()
	if err != nil {
		return nil, err
	}
	cred, err := postgresUser()
	if err != nil {
		return nil, err
	}
	return launch("postgres", cred, func(s *server) error {
		data := filepath.Join(s.dir, "data")
		initdb := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "--pgdata", data,
			"--username", "postgres", "--auth", "trust", "--encoding", "UTF8", "--locale", "C")
		initdb.Dir = s.dir
		initdb.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
		if out, err := initdb.CombinedOutput(); err != nil {
			return fmt.Errorf("initdb: %w\n%s", err, out)
		}
		_, port, _ := net.SplitHostPort(s.addr)
		if err := s.start(cred, filepath.Join(bin, "postgres"), "-D", data, "-c", "listen_addresses=127.0.0.1",
			"-c", "port="+port, "-c", "unix_socket_directories="+s.dir, "-c", "max_connections=300"); err != nil {
			return err
		}
		return s.await(ctx, func() error {
			db, err := sql.Open("postgres", s.postgresURL("postgres"))
			if err != nil {
				return err
			}
			defer db.Close()
			return db.PingContext(ctx)
		})
	})
}

// launch calls start for a new server whose folder belongs to cred, and stops the server
// if start fails.
func launch(name string, cred *syscall.Credential, start func(*server) error) (_ *server, err error) {
	s := &server{}
	defer func() {
		if err != nil {
			s.stop()
			err = fmt.Errorf("%s: %w", name, err)
		}
	}()
	if s.addr, err = freeAddr(); err != nil {
		return nil, err
	}
	if s.dir, err = os.MkdirTemp("", "samesid-bench-"+name+"-"); err != nil {
		return nil, err
	}
	if cred != nil {
		if err := os.Chown(s.dir, int(cred.Uid), int(cred.Gid)); err != nil {
			return nil, err
		}
	}
	return s, start(s)
}

// postgresBin returns the folder of the server's programs: the one in PATH, or the newest
// of those that Debian keeps out of PATH.
func postgresBin() (string, error) {
	if path, err := exec.LookPath("postgres"); err == nil {
		path, err = filepath.EvalSymlinks(path)
		return filepath.Dir(path), err
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", fmt.Errorf("postgres is %w: install postgresql", errMissing)
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		return n
	}
	return slices.MaxFunc(found, func(a, b string) int { return cmp.Compare(version(a), version(b)) }), nil
}

// postgresUser returns the user to run Postgres as, since Postgres refuses to run as root.
// It returns nil for this program's own user.
func postgresUser() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := osuser.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, fmt.Errorf("a user to run postgres as is %w: it refuses to run as root", errMissing)
}

func (s *server) postgresURL(database string) string {
	return "postgres://postgres@" + s.addr + "/" + database + "?sslmode=disable"
}

// backend holds the servers of one run.
type backend struct {
	redis, postgres *server
	admin           *sql.DB // a superuser's pool on Postgres
}

func startBackend(ctx context.Context) (_ *backend, err error) {
	b := &backend{}
	defer func() {
		if err != nil {
			b.stop()
		}
	}()
	if b.redis, err = startRedis(ctx); err != nil {
		return nil, err
	}
	if b.postgres, err = startPostgres(ctx); err != nil {
		return nil, err
	}
	b.admin, err = sql.Open("postgres", b.postgres.postgresURL("postgres"))
	return b, err
}

func (b *backend) stop() {
	if b.admin != nil {
		b.admin.Close()
	}
	for _, s := range []*server{b.redis, b.postgres} {
		if s != nil {
			s.stop()
		}
	}
}

// addr returns the address of the role's store, or "" for memory.
func (b *backend) addr(r role) string {
	switch r.store {
	case inRedis:
		return b.redis.addr
	case inPostgres:
		return b.postgres.addr
	default:
		return ""
	}
}

// empty creates or empties the role's own database, and returns its URL.
func (b *backend) empty(ctx context.Context, r role) (string, error) {
	switch r.store {
	case inRedis:
		number := slices.IndexFunc(roles, func(o role) bool { return o.name == r.name })
		url := "redis://" + b.redis.addr + "/" + strconv.Itoa(number)
		c, err := redigo.DialURLContext(ctx, url)
		if err != nil {
			return "", err
		}
		defer c.Close()
		_, err = c.Do("FLUSHDB")
		return url, err
	case inPostgres:
		name := strings.ReplaceAll(r.name, "-", "_")
		for _, query := range []string{"DROP DATABASE IF EXISTS " + name + " WITH (FORCE)", "CREATE DATABASE " + name} {
			if _, err := b.admin.ExecContext(ctx, query); err != nil {
				return "", err
			}
		}
		return b.postgres.postgresURL(name), nil
	default:
		return "", nil
	}
}

// walBytes returns how many bytes Postgres has written to its write-ahead log so far.
func (b *backend) walBytes(ctx context.Context) (n int64, err error) {
	err = b.admin.QueryRowContext(ctx, "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn").Scan(&n)
	return n, err
}
