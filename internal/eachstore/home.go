//go:build unix

package eachstore

import (
	"database/sql"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gomodule/redigo/redis"
	_ "github.com/lib/pq"                    // the driver "postgres"
	_ "github.com/ncruces/go-sqlite3/driver" // the driver "sqlite3"

	"github.com/samesid/samesid/internal/testserver"
)

// home says where the sessions of a kind of store are in tests. It is what a new kind of
// store, not a new layout, adds here.
type home struct {
	// settle gives a place its URL, and the settings that keep it from others.
	settle func(testing.TB, *Place)

	// start starts a server of a test's own. nil: there is no server.
	start func(testing.TB) *testserver.Server

	// driver and columns are database/sql's driver, and a query of the name, the columns
	// and their types of the only table. Zero value: there are no tables.
	driver, columns string
}

// homes has a home for each URL scheme.
var homes = map[string]home{
	"memory://": {settle: func(testing.TB, *Place) {}},
	"redis://": {
		settle: func(tb testing.TB, p *Place) {
			if p.Server != nil {
				p.URL, p.Settings["prefix"] = p.Server.URL, p.Layout.Name+":"
				return
			}
			p.URL, p.Settings["prefix"] = testserver.Redis(tb), testserver.Prefix(tb)
		},
		start: func(tb testing.TB) *testserver.Server {
			return testserver.StartRedis(tb, "--appendonly", "yes", "--appendfsync", "always")
		},
	},
	"postgres://": {
		settle: func(tb testing.TB, p *Place) {
			if p.Server != nil {
				p.URL = schema(tb, p.Server, fmt.Sprintf("%s %d", p.Layout.Name, schemas.Add(1)))
				return
			}
			p.URL, _ = testserver.Schema(tb)
		},
		start:  func(tb testing.TB) *testserver.Server { return testserver.StartPostgres(tb) },
		driver: "postgres",
		columns: `SELECT table_name, column_name, data_type FROM information_schema.columns
			WHERE table_schema = current_schema() AND table_name NOT LIKE '%\_users' ORDER BY ordinal_position`,
	},
	"sqlite:": {
		settle:  func(tb testing.TB, p *Place) { p.URL = "sqlite:" + filepath.Join(tb.TempDir(), "sessions.db") },
		driver:  "sqlite3",
		columns: "SELECT t.name, c.name, lower(c.type) FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table' AND t.name NOT LIKE '%_users'",
	},
}

func (k Kind) home() home {
	h, ok := homes[k.Backend.Schemes[0]]
	if !ok {
		panic("eachstore: homes does not say where the sessions of " + k.Backend.Type + " are")
	}
	return h
}

// schemas is the number of schemas on servers of tests' own.
var schemas atomic.Int32

// schema creates a schema, and returns the URL of connections that use it.
func schema(tb testing.TB, s *testserver.Server, name string) string {
	tb.Helper()
	db := openDB(tb, "postgres", s.URL)
	if _, err := db.Exec(`CREATE SCHEMA "` + name + `"`); err != nil {
		tb.Fatal(err)
	}
	return s.URL + "&search_path=" + url.QueryEscape(`"`+name+`"`) + "&application_name=stores"
}

// Schema returns the schema of a place on a Postgres server of the test's own, quoted.
func (p *Place) Schema(tb testing.TB) string {
	tb.Helper()
	u, err := url.Parse(p.URL)
	if err != nil {
		tb.Fatal(err)
	}
	return u.Query().Get("search_path")
}

func openDB(tb testing.TB, driver, dsn string) *sql.DB {
	tb.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { db.Close() })
	return db
}

// DB returns connections of its own to the database of a place.
func (p *Place) DB(tb testing.TB) *sql.DB {
	tb.Helper()
	dsn := strings.TrimSuffix(p.URL, "&application_name=stores") // Conns does not count these
	if path, ok := strings.CutPrefix(dsn, "sqlite:"); ok {
		dsn = "file:" + path + "?_pragma=busy_timeout(20000)&_txlock=immediate"
	}
	return openDB(tb, p.home().driver, dsn)
}

// Redis sends a command to the server of a place, and returns the reply.
func (p *Place) Redis(tb testing.TB, command string, args ...any) any {
	tb.Helper()
	c, err := redis.DialURL(p.URL)
	if err != nil {
		tb.Fatal(err)
	}
	defer c.Close()
	reply, err := c.Do(command, args...)
	if err != nil {
		tb.Fatalf("%s: %v", command, err)
	}
	return reply
}

// Conns returns the number of connections that stores have to the test's own server.
func (p *Place) Conns(tb testing.TB, r *Records) (n int) {
	tb.Helper()
	if r.Table == nil {
		return strings.Count(string(p.Redis(tb, "CLIENT", "LIST").([]byte)), "\n") - 1
	}
	if err := r.QueryRow("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'stores'").Scan(&n); err != nil {
		tb.Error(err)
	}
	return n
}
