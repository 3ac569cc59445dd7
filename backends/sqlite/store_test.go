package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	_ "github.com/ncruces/go-sqlite3/driver"

	"github.com/samesid/samesid/backends/contract"
	"github.com/samesid/samesid/backends/storetest"
)

var allLayouts = []Layout{LayoutSCS, LayoutConnectSessionKnex, LayoutConnectSQLite3}

// body and body2 are records that every layout can hold.
var (
	body  = []byte(`{"cookie":{"originalMaxAge":null},"n":1}`)
	body2 = []byte(`{"cookie":{"originalMaxAge":null},"n":2}`)
)

func inAnHour() time.Time { return time.Now().Add(time.Hour) }

// newPath returns the path of a file that does not exist.
func newPath(t testing.TB) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "sessions.db")
}

// rawDB returns connections of the driver's own, which belong to no store.
func rawDB(t testing.TB, path string, params ...string) *sql.DB {
	t.Helper()
	dsn := "file:" + path + "?_pragma=busy_timeout(20000)"
	for _, p := range params {
		dsn += "&" + p
	}
	db, err := sql.Open("sqlite3", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func exec(t testing.TB, db *sql.DB, query string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(context.Background(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func open(t testing.TB, path string, opts Options) *Store {
	t.Helper()
	s, err := Open(context.Background(), path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// quiet returns options for a store without background work.
func quiet(layout Layout) Options {
	return Options{Layout: layout, CreateTable: true, CleanupInterval: -1, Logger: slog.New(slog.DiscardHandler)}
}

func commit(t testing.TB, s scs.CtxStore, token string, data []byte, expiry time.Time) {
	t.Helper()
	if err := s.CommitCtx(context.Background(), token, data, expiry); err != nil {
		t.Fatal(err)
	}
}

func wantFound(t *testing.T, s scs.Store, token string, want []byte) {
	t.Helper()
	data, found, err := s.Find(token)
	if err != nil || !found || string(data) != string(want) {
		t.Errorf("Find gave %q, %t, %v, want %q", data, found, err, want)
	}
}

func wantAbsent(t *testing.T, s scs.Store, token string) {
	t.Helper()
	if data, found, err := s.Find(token); err != nil || found {
		t.Errorf("Find gave %q, %t, %v, want nothing", data, found, err)
	}
}

func one(token, data string) []contract.Record {
	return []contract.Record{{Token: token, Data: []byte(data)}}
}

func TestContract(t *testing.T) {
	for _, layout := range allLayouts {
		t.Run(string(layout), func(t *testing.T) {
			t.Parallel()
			testContract(t, layout, func(t *testing.T, path string, opts Options) *Store { return open(t, path, opts) })
		})
	}
	// The driver's connections return at once when the file is locked, and begin
	// transactions without a lock, in a file that is not in WAL mode.
	t.Run("a caller's db", func(t *testing.T) {
		t.Parallel()
		testContract(t, LayoutConnectSessionKnex, func(t *testing.T, path string, opts Options) *Store {
			db, err := sql.Open("sqlite3", "file:"+path+"?_pragma=busy_timeout(0)&_txlock=deferred")
			if err != nil {
				t.Fatal(err)
			}
			s, err := New(t.Context(), db, opts)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				s.Close()
				db.Close()
			})
			return s
		})
	})
}

// testContract gives each test a file of its own. The second handle has connections of
// its own.
func testContract(t *testing.T, layout Layout, open func(*testing.T, string, Options) *Store) {
	opts := quiet(layout)
	opts.Timeout = time.Minute
	dir := t.TempDir()
	var files atomic.Int64
	h := storetest.Harness{
		JSON: layout != LayoutSCS,
		New: func(t *testing.T) scs.CtxStore {
			return open(t, filepath.Join(dir, fmt.Sprint(files.Add(1), ".db")), opts)
		},
		Reopen: func(t *testing.T, store scs.CtxStore) scs.CtxStore {
			return open(t, store.(*Store).path, opts)
		},
		Advance: func(_ *testing.T, d time.Duration) { time.Sleep(d) },
	}
	if layout == LayoutConnectSessionKnex {
		h.Granularity = time.Second
	}
	storetest.Run(t, h)
}
