//go:build unix

package testserver

import (
	"cmp"
	"database/sql"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"

	_ "github.com/lib/pq" // the driver
)

// Postgres returns the URL of a database on the shared Postgres server, or ends
// the test by [Missing] if there is none. The user may create schemas.
func Postgres(tb testing.TB) string {
	tb.Helper()
	s, err := sharedPostgres()
	check(tb, err)
	return s.URL
}

var sharedPostgres = sync.OnceValues(func() (*Server, error) {
	if url := os.Getenv("TEST_POSTGRES_URL"); url != "" {
		if err := pingPostgres(url); err != nil {
			return nil, fmt.Errorf("testserver: the server of TEST_POSTGRES_URL: %w", err)
		}
		return &Server{URL: url}, nil
	}
	s, err := LaunchPostgres()
	if err != nil {
		return nil, fmt.Errorf("%w, or set TEST_POSTGRES_URL", err)
	}
	return s, nil
})

// StartPostgres starts a Postgres server only for this test. Its user postgres is a
// superuser. conf holds settings, such as "max_connections=5".
func StartPostgres(tb testing.TB, conf ...string) *Server {
	tb.Helper()
	s, err := LaunchPostgres(conf...)
	check(tb, err)
	return s.own(tb)
}

// LaunchPostgres is StartPostgres for a program, which must call Close.
func LaunchPostgres(conf ...string) (*Server, error) {
	bin, err := postgresBin()
	if err != nil {
		return nil, err
	}
	cred, err := postgresUser()
	if err != nil {
		return nil, err
	}
	return launch(func(port int) (*Server, error) {
		s := &Server{
			name: "postgres", path: filepath.Join(bin, "postgres"), cred: cred,
			// The fast and the immediate shutdown, which do not wait for clients.
			// SIGKILL would leave processes that answer for a while.
			stop: syscall.SIGINT, kill: syscall.SIGQUIT,
		}
		if err := s.makeDir(); err != nil {
			return s, err
		}
		dir := s.Dir
		s.Socket = filepath.Join(dir, ".s.PGSQL."+strconv.Itoa(port))
		s.Addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		s.URL = "postgres://postgres@" + s.Addr + "/postgres?sslmode=disable"
		s.ready = func(string) error {
			return pingPostgres("user=postgres dbname=postgres sslmode=disable host=" + dir + " port=" + strconv.Itoa(port))
		}
		empty, err := emptyDatabase()
		if err != nil {
			return s, err
		}
		data := filepath.Join(dir, "data")
		if err := s.run("cp", "-Rp", filepath.Join(empty.Dir, "data"), data); err != nil {
			return s, err
		}
		s.args = []string{"-D", data}
		for _, c := range append([]string{
			"listen_addresses=127.0.0.1",
			"port=" + strconv.Itoa(port),
			"unix_socket_directories=" + dir,
			"max_connections=200",
			// A test's data need not survive a power failure, but a commit must
			// survive Kill, which rules out synchronous_commit=off.
			"fsync=off", "full_page_writes=off",
		}, conf...) {
			s.args = append(s.args, "-c", c)
		}
		return s, s.start()
	})
}

// emptyDatabase has the folder of what initdb makes. Each server gets a copy, which takes a
// third of initdb's time. TEST_RUN is a folder in which one test binary leaves it to the next.
var emptyDatabase = sync.OnceValues(func() (*Server, error) {
	left := ""
	if run := os.Getenv("TEST_RUN"); run != "" {
		left = filepath.Join(run, "initdb")
		if _, err := os.Stat(left); err == nil {
			return &Server{Dir: left}, nil
		}
	}
	bin, err := postgresBin()
	if err != nil {
		return nil, err
	}
	cred, err := postgresUser()
	if err != nil {
		return nil, err
	}
	s := &Server{name: "initdb", cred: cred}
	if err := s.makeDir(); err != nil {
		return nil, err
	}
	if err := s.run(filepath.Join(bin, "initdb"), "--pgdata", filepath.Join(s.Dir, "data"),
		"--username", "postgres", "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync"); err != nil {
		return nil, err
	}
	// If another binary was faster, or the folder is on another file system, this is for one.
	if left != "" && os.Rename(s.Dir, left) == nil {
		s.Dir = left
	}
	return s, nil
})

// run runs a program as the server's user, who then owns the server's folder.
func (s *Server) run(program string, args ...string) error {
	if s.cred != nil {
		if err := os.Chown(s.Dir, int(s.cred.Uid), int(s.cred.Gid)); err != nil {
			return err
		}
	}
	cmd := exec.Command(program, args...)
	cmd.Dir = s.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.cred}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("testserver: %s: %w\n%s", filepath.Base(program), err, out)
	}
	return nil
}

// postgresBin returns the folder of the server's binaries: the one in PATH, or the
// newest of those that Debian keeps out of PATH.
func postgresBin() (string, error) {
	if path, err := exec.LookPath("postgres"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return "", err
		}
		return filepath.Dir(path), nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", fmt.Errorf("testserver: postgres is %w: install postgresql", ErrMissing)
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		return n
	}
	newest := slices.MaxFunc(found, func(a, b string) int { return cmp.Compare(version(a), version(b)) })
	return filepath.Dir(newest), nil
}

// PostgresProgram returns the path of a program that comes with the server, such as pg_dump.
func PostgresProgram(tb testing.TB, name string) string {
	tb.Helper()
	bin, err := postgresBin()
	check(tb, err)
	path := filepath.Join(bin, name)
	if _, err := os.Stat(path); err != nil {
		Missing(tb, path)
	}
	return path
}

// postgresUser returns the user to run Postgres as, since Postgres refuses to run as
// root. It returns nil for the test's own user.
func postgresUser() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
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
	return nil, fmt.Errorf("testserver: a user to run postgres is %w: it refuses to run as root, and there is neither postgres nor nobody", ErrMissing)
}

func pingPostgres(dsn string) error {
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	return db.Ping()
}

// Schema creates a schema on the shared Postgres server for this test, and drops it with
// its contents when the test ends. dsn is a URL whose connections have the schema as
// their search_path.
func Schema(tb testing.TB) (dsn, schema string) {
	tb.Helper()
	u, err := url.Parse(Postgres(tb))
	if err != nil || u.Scheme == "" {
		tb.Fatal("testserver: TEST_POSTGRES_URL must be a URL: postgres://user:password@host:port/database")
	}
	schema = unique()
	exec := func(query string) error {
		db, err := sql.Open("postgres", u.String())
		if err != nil {
			return err
		}
		defer db.Close()
		_, err = db.Exec(query)
		return err
	}
	if err := exec("CREATE SCHEMA " + schema); err != nil {
		tb.Fatalf("testserver: create schema: %v", err)
	}
	tb.Cleanup(func() {
		if err := exec("DROP SCHEMA " + schema + " CASCADE"); err != nil {
			tb.Errorf("testserver: drop schema: %v", err)
		}
	})
	with := *u
	query := with.Query()
	query.Set("search_path", schema)
	with.RawQuery = query.Encode()
	return with.String(), schema
}
