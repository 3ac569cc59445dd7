//go:build unix

package testserver_test

import (
	"bufio"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/gomodule/redigo/redis"

	"github.com/samesid/samesid/internal/testserver"
)

func TestRedis(t *testing.T) {
	var prefix string
	dial := func() redis.Conn {
		c, err := redis.DialURL(testserver.Redis(t))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	other := testserver.Prefix(t)
	if _, err := dial().Do("SET", other+"kept", "1"); err != nil {
		t.Fatal(err)
	}
	t.Run("prefix", func(t *testing.T) {
		prefix = testserver.Prefix(t)
		if _, err := dial().Do("SET", prefix+"a", "1"); err != nil {
			t.Fatal(err)
		}
	})
	if n, err := redis.Int(dial().Do("EXISTS", prefix+"a", other+"kept")); n != 1 || err != nil {
		t.Errorf("keys left of both prefixes: %d, %v; want the kept one alone", n, err)
	}
}

func TestPostgres(t *testing.T) {
	var name string
	t.Run("schema", func(t *testing.T) {
		dsn, schema := testserver.Schema(t)
		name = schema
		db := openDB(t, dsn)
		if _, err := db.Exec("CREATE TABLE a (b int)"); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec("INSERT INTO " + schema + ".a VALUES (1)"); err != nil {
			t.Errorf("the table is not in the schema: %v", err)
		}
	})
	var n int
	err := openDB(t, testserver.Postgres(t)).
		QueryRow("SELECT count(*) FROM information_schema.schemata WHERE schema_name = $1", name).Scan(&n)
	if n != 0 || err != nil {
		t.Errorf("schemas left: %d, %v", n, err)
	}
}

func TestRestartRedis(t *testing.T) {
	s := testserver.StartRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	do := func(cmd string, args ...any) (any, error) {
		c, err := redis.DialURL(s.URL)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		return c.Do(cmd, args...)
	}
	if _, err := do("SET", "a", "1"); err != nil {
		t.Fatal(err)
	}
	for name, end := range map[string]func(){"stop": s.Stop, "kill": s.Kill} {
		end()
		if _, err := do("PING"); err == nil {
			t.Fatalf("%s: it still answers", name)
		}
		s.Start()
		if got, err := redis.String(do("GET", "a")); got != "1" || err != nil {
			t.Errorf("%s: after the restart: %q, %v", name, got, err)
		}
	}
}

func TestRestartPostgres(t *testing.T) {
	s := testserver.StartPostgres(t, "max_connections=7")
	db := openDB(t, s.URL)
	var conns string
	if err := db.QueryRow("SHOW max_connections").Scan(&conns); err != nil || conns != "7" {
		t.Errorf("max_connections = %q, %v", conns, err)
	}
	if _, err := db.Exec("CREATE TABLE a (b int)"); err != nil {
		t.Fatal(err)
	}
	for name, end := range map[string]func(){"stop": s.Stop, "kill": s.Kill} {
		end()
		if err := db.Ping(); err == nil {
			t.Fatalf("%s: it still answers", name)
		}
		s.Start()
		if _, err := openDB(t, s.URL).Exec("INSERT INTO a VALUES (1)"); err != nil {
			t.Errorf("%s: after the restart: %v", name, err)
		}
	}
}

// Without a server a test is skipped, or fails if REQUIRE_SERVERS is 1.
func TestMissing(t *testing.T) {
	run := func(env ...string) (string, error) {
		helper := exec.Command(os.Args[0], "-test.run=^TestRedis$", "-test.v")
		helper.Env = append(append(os.Environ(), "TEST_REDIS_URL=", "REQUIRE_SERVERS=", "PATH=/nonexistent"), env...)
		out, err := helper.CombinedOutput()
		return string(out), err
	}
	const why = "install redis-server or valkey-server, or set TEST_REDIS_URL"
	if out, err := run(); err != nil || !strings.Contains(out, "--- SKIP") || !strings.Contains(out, why) {
		t.Errorf("without a server: %v\n%s", err, out)
	}
	if out, err := run("REQUIRE_SERVERS=1"); err == nil || !strings.Contains(out, "--- FAIL") || !strings.Contains(out, why) {
		t.Errorf("without a server, REQUIRE_SERVERS=1: %v\n%s", err, out)
	}
	if out, err := run("TEST_REDIS_URL=redis://127.0.0.1:1"); err == nil || !strings.Contains(out, "--- FAIL") {
		t.Errorf("with a server that is not there: %v\n%s", err, out)
	}
}

// A helper process starts the shared servers and is killed. Both servers must then exit,
// and their folders must be removed.
func TestServersEndWithTheBinary(t *testing.T) {
	if os.Getenv("TESTSERVER_HELPER") == "1" {
		os.Stdout.WriteString(testserver.Redis(t) + "\n" + testserver.Postgres(t) + "\n")
		select {}
	}
	// A short path, as those of sockets are limited. Postgres may run as another user.
	tmp, err := os.MkdirTemp("", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(tmp) })
	if err := os.Chmod(tmp, 0o755); err != nil {
		t.Fatal(err)
	}
	helper := exec.Command(os.Args[0], "-test.run=^TestServersEndWithTheBinary$")
	helper.Env = append(os.Environ(), "TESTSERVER_HELPER=1", "TEST_REDIS_URL=", "TEST_POSTGRES_URL=", "TMPDIR="+tmp)
	out, err := helper.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := helper.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	var urls []string
	for len(urls) < 2 && lines.Scan() {
		urls = append(urls, lines.Text())
	}
	if err := helper.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = helper.Wait()
	if len(urls) != 2 || !strings.HasPrefix(urls[1], "postgres://") {
		testserver.Missing(t, "the helper could not start both servers: "+strings.Join(urls, "\n"))
	}

	testserver.Until(t, "the end of both servers' folders", func() bool {
		left, err := os.ReadDir(tmp)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return len(left) == 0
	})
	if _, err := redis.DialURL(urls[0]); err == nil {
		t.Error("redis still runs")
	}
	if err := openDB(t, urls[1]).Ping(); err == nil {
		t.Error("postgres still runs")
	}
}

func openDB(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}
