package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/samesid/samesid/internal/testserver"
)

// TestMain also runs this test binary as a child process.
func TestMain(m *testing.M) {
	if name := os.Getenv(envServe); name != "" {
		panic(serveChild(context.Background(), name))
	}
	os.Exit(m.Run())
}

// samesidTurns are the round trips per request that samesid promises.
var samesidTurns = map[string]map[string]float64{
	"samesid-redis-connect":       {read: 1, change: 2, visit: 0, login: 2},
	"samesid-redis-scs":           {read: 1, change: 2, visit: 0, login: 2},
	"samesid-postgres-touchafter": {read: 1, change: 2, visit: 0, login: 2},
	"samesid-postgres":            {read: 1, change: 2, visit: 0, login: 2},
	"samesid-postgres-pooled":     {read: 1, change: 2, visit: 0, login: 2},
	"samesid-redis-users":         {read: 1, change: 2, visit: 0, login: 4},
	"samesid-postgres-users":      {read: 1, change: 2, visit: 0, login: 3},
}

// TestServers starts each server once and verifies what the comparison says about it: that
// it does the work, that it verifies its cookie and slides its expiry if its role says so,
// and, for samesid, the number of round trips.
func TestServers(t *testing.T) {
	if _, err := exec.LookPath("node"); err != nil {
		testserver.Missing(t, "Node.js is not on this machine: install nodejs")
	}
	if _, err := os.Stat("node/node_modules"); err != nil {
		testserver.Missing(t, "the packages of Node are missing: run npm ci in tests/bench/node")
	}
	b, err := startBackend()
	if errors.Is(err, testserver.ErrMissing) {
		testserver.Missing(t, err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.stop)

	for name := range samesidTurns {
		if _, ok := roleNamed(name); !ok {
			t.Errorf("there is no server %s", name)
		}
	}
	of := func(r role) string {
		if _, promised := samesidTurns[r.name]; promised {
			return r.name
		}
		return fmt.Sprint(r.kind, r.store)
	}
	for _, r := range slices.Concat(testserver.Sample(t, roles, of)...) {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel() // each server has a database of its own
			turns, err := b.countTurns(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			if want, ok := samesidTurns[r.name]; ok && !maps.Equal(turns, want) {
				t.Errorf("round trips to the store: %v, want %v", turns, want)
			}
			url, err := b.empty(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			c, err := startChild(t.Context(), r, url)
			if err != nil {
				t.Fatal(err)
			}
			defer c.stop()
			testServer(t, c, url)
		})
	}
}

func testServer(t *testing.T, c *child, url string) {
	visitors := newVisitors(3)
	run := func(workload string) {
		t.Helper()
		l := load{addr: c.addr, workload: workload, size: defaultSize, conns: 2, visitors: visitors, noID: c.noID}
		if _, err := l.run(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	run(login)
	first := string(visitors[0].cookie)
	if c.signed {
		if got := get(t, c.addr, tamper(t, first)); got != anonymous {
			t.Errorf("with another signature in the cookie, the user is %q", got)
		}
	}
	if c.store != inMemory {
		testSlide(t, c.role, url, func() { run(read) })
	}
	if !c.noID {
		run(login)
		if got := get(t, c.addr, first); got != anonymous {
			t.Errorf("with the cookie from before a login, the user is %q", got)
		}
	}
	if c.sweep {
		filled, err := c.fill(t.Context(), 5, 8)
		if err != nil {
			t.Fatal(err)
		}
		visitors = filled
		run(read)
	}
}

// testSlide shortens the time that the sessions in the store have left, and checks whether
// a read of each restores their lifetime.
func testSlide(t *testing.T, r role, url string, readAll func()) {
	t.Helper()
	var shorten func()
	var shortest func() time.Duration
	switch r.store {
	case inSQLite:
		db, err := sql.Open("sqlite3", "file:"+url+"?_pragma=busy_timeout(10000)")
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		// connect-sqlite3 has milliseconds since 1970, scs days of the Julian calendar.
		unit, zero := 86400.0, 2440587.5
		if r.expiry == "expired" {
			unit, zero = 0.001, 0
		}
		shorten = func() {
			soon := zero + float64(time.Now().Unix()+1000)/unit
			if _, err := db.Exec("UPDATE "+r.table+" SET "+r.expiry+" = ?", soon); err != nil {
				t.Fatal(err)
			}
		}
		shortest = func() time.Duration {
			var at float64
			if err := db.QueryRow("SELECT min(" + r.expiry + ") FROM " + r.table).Scan(&at); err != nil {
				t.Fatal(err)
			}
			return time.Until(time.Unix(int64((at-zero)*unit), 0))
		}
	case inRedis:
		conn, err := redigo.DialURL(url)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		keys, err := redigo.Strings(conn.Do("KEYS", "*"))
		keys = slices.DeleteFunc(keys, func(key string) bool { return strings.HasPrefix(key, "samesid-users:") })
		if err != nil || len(keys) == 0 {
			t.Fatal(keys, err)
		}
		shorten = func() {
			for _, key := range keys {
				if _, err := conn.Do("EXPIRE", key, 1000); err != nil {
					t.Fatal(err)
				}
			}
		}
		shortest = func() time.Duration {
			left := 2 * lifetime
			for _, key := range keys {
				n, err := redigo.Int64(conn.Do("PTTL", key))
				if err != nil {
					t.Fatal(err)
				}
				left = min(left, time.Duration(n)*time.Millisecond)
			}
			return left
		}
	default:
		db, err := sql.Open("postgres", url)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		shorten = func() {
			if _, err := db.Exec("UPDATE " + r.table + " SET " + r.expiry + " = now() + interval '1000 seconds'"); err != nil {
				t.Fatal(err)
			}
		}
		shortest = func() time.Duration {
			var seconds float64
			err := db.QueryRow("SELECT extract(epoch FROM min(" + r.expiry + "::timestamptz) - now()) FROM " + r.table).Scan(&seconds)
			if err != nil {
				t.Fatal(err)
			}
			return time.Duration(seconds * float64(time.Second))
		}
	}
	shorten()
	readAll()
	if left := shortest(); r.slides != (left > lifetime-time.Minute) {
		t.Errorf("after a read the session has %v left; it is said to slide: %t", left, r.slides)
	}
}

func get(t *testing.T, addr, cookie string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Cookie", cookie)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// tamper changes one letter of a cookie's signature, which is at the cookie's end.
func tamper(t *testing.T, cookie string) string {
	t.Helper()
	b := []byte(cookie)
	for i := len(b) - 6; i > len(b)-30; i-- {
		if b[i] >= 'a' && b[i] <= 'y' { // lower case, so not part of a %2B
			b[i]++
			return string(b)
		}
	}
	t.Fatal("no letter to change")
	return ""
}
