package sqlite

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	_ "github.com/ncruces/go-sqlite3/driver"

	"github.com/samesid/samesid/backends/contract"
	"github.com/samesid/samesid/backends/storetest"
	"github.com/samesid/samesid/internal/leaktest"
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

func run(t testing.TB, db *sql.DB, query string, args ...any) {
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
	// transactions without a lock.
	t.Run("a caller's db", func(t *testing.T) {
		t.Parallel()
		testContract(t, LayoutConnectSessionKnex, func(t *testing.T, path string, opts Options) *Store {
			db, err := sql.Open("sqlite3", "file:"+path+"?_pragma=busy_timeout(0)&_pragma=journal_mode(wal)&_pragma=synchronous(normal)&_txlock=deferred")
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

// express holds the statements of the Node packages, as connect-session-knex 5.0.0 and
// connect-sqlite3 0.9.18 send them.
var express = map[Layout]struct{ create, set, get, touch, cleanup string }{
	LayoutConnectSessionKnex: {
		create: "CREATE TABLE `sessions` (`sid` varchar(255), `sess` json not null, `expired` datetime not null, primary key (`sid`));" +
			"CREATE INDEX `sessions_expired_index` on `sessions` (`expired`)",
		set:     "insert or replace into sessions (sid, expired, sess) values (?, ?, ?);",
		get:     "select `sess` from `sessions` where `sid` = ? and datetime(?) <= datetime(expired)",
		touch:   "update `sessions` set `expired` = ? where `sid` = ? and datetime(?) <= datetime(expired)",
		cleanup: "delete from `sessions` where datetime(expired) < datetime(?)",
	},
	LayoutConnectSQLite3: {
		create:  "CREATE TABLE IF NOT EXISTS sessions (sid PRIMARY KEY, expired, sess)",
		set:     "INSERT OR REPLACE INTO sessions VALUES (?, ?, ?)",
		get:     "SELECT sess FROM sessions WHERE sid = ? AND ? <= expired",
		touch:   "UPDATE sessions SET expired=? WHERE sid = ? AND ? <= expired",
		cleanup: "DELETE FROM sessions WHERE ? > expired",
	},
}

// at returns a time as the Node package of this layout sends it. better-sqlite3 and
// sqlite3 send every number as a REAL.
func at(layout Layout, t time.Time) any {
	if layout == LayoutConnectSQLite3 {
		return float64(t.UnixMilli())
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

// Express's statements and the store agree on records and expiries, to the second or
// the millisecond.
func TestExpress(t *testing.T) {
	for layout, node := range express {
		t.Run(string(layout), func(t *testing.T) {
			t.Parallel()
			path := newPath(t)
			db := rawDB(t, path)
			for _, query := range strings.Split(node.create, ";") {
				run(t, db, query)
			}
			s := open(t, path, Options{Layout: layout, CleanupInterval: -1})
			expressFinds := func(token string, now time.Time) bool {
				t.Helper()
				var data string
				err := db.QueryRow(node.get, token, at(layout, now)).Scan(&data)
				if err != nil && !errors.Is(err, sql.ErrNoRows) {
					t.Fatal(err)
				}
				if err == nil && data != string(body) {
					t.Errorf("Express reads %q", data)
				}
				return err == nil
			}

			run(t, db, node.set, "theirs", at(layout, inAnHour()), string(body))
			wantFound(t, s, "theirs", body)
			until := time.Now().Add(90 * time.Minute)
			run(t, db, node.touch, at(layout, until), "theirs", at(layout, time.Now()))
			if _, expiry, _, err := s.FindExpiry(t.Context(), "theirs"); err != nil || !expiry.Equal(until.Truncate(time.Millisecond)) {
				t.Errorf("FindExpiry gave %v, %v, want %v", expiry, err, until)
			}
			if _, swapped, err := s.Swap(t.Context(), "theirs", body, body2, inAnHour()); !swapped || err != nil {
				t.Error(swapped, err)
			}
			if _, moved, err := s.Move(t.Context(), one("theirs", string(body2)), "moved", body, inAnHour()); !moved || err != nil {
				t.Error(moved, err)
			}
			if expressFinds("theirs", time.Now()) || !expressFinds("moved", time.Now()) {
				t.Error("Express does not see the move")
			}

			// The store and Express agree on whether a session is live.
			base := inAnHour().Truncate(time.Second)
			step := time.Second // beyond which the session is gone
			if layout == LayoutConnectSQLite3 {
				step = time.Millisecond
			}
			for _, fraction := range []time.Duration{0, 1, 300 * time.Microsecond, 999 * time.Microsecond, time.Millisecond, 500 * time.Millisecond, 999999999} {
				expiry := base.Add(fraction)
				commit(t, s, "ours", body, expiry)
				last := expiry.Truncate(step).Add(step - time.Millisecond)
				if !expressFinds("ours", last) || expressFinds("ours", last.Add(time.Millisecond)) {
					t.Errorf("Express does not find a session of expiry %v until %v", expiry, last)
				}
				if _, got, _, err := s.FindExpiry(t.Context(), "ours"); err != nil || !got.Equal(expiry.Truncate(time.Millisecond)) {
					t.Errorf("FindExpiry gave %v, %v, want %v", got, err, expiry)
				}
				// The same for the store, by a clock that is an hour ahead.
				query := strings.ReplaceAll(s.table.sql("SELECT {live}, {expired} FROM {table} WHERE {id} = 'ours'"), "'now'", "?")
				for now, want := range map[time.Time]bool{last: true, last.Add(time.Millisecond): false} {
					var live, expired bool
					args := slices.Repeat([]any{now.UTC().Format("2006-01-02 15:04:05.000")}, strings.Count(query, "?"))
					if err := db.QueryRow(query, args...).Scan(&live, &expired); err != nil || live != want || expired == want {
						t.Errorf("at %v a session of expiry %v is live: %t, expired: %t, %v", now, expiry, live, expired, err)
					}
				}
			}

			run(t, db, node.set, "theirs", at(layout, time.Now().Add(-2*time.Second)), string(body))
			wantAbsent(t, s, "theirs")
			if n, err := s.deleteExpired(t.Context()); n != 1 || err != nil {
				t.Errorf("the clean-up has deleted %d of Express's, %v, want 1", n, err)
			}
			commit(t, s, "ours", body, time.Now().Add(-2*time.Second))
			result, err := db.Exec(node.cleanup, at(layout, time.Now()))
			if err != nil {
				t.Fatal(err)
			}
			if n, err := result.RowsAffected(); n != 1 || err != nil {
				t.Errorf("Express's clean-up has deleted %d of ours, %v, want 1", n, err)
			}
		})
	}
}

// The statements are those of scs's sqlite3store.
func TestUpstream(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s, db := open(t, path, quiet(LayoutSCS)), rawDB(t, path)
	upstreamCommits := func(token string, data []byte, expiry time.Time) {
		t.Helper()
		run(t, db, "REPLACE INTO sessions (token, data, expiry) VALUES ($1, $2, julianday($3))", token, data, expiry.UTC().Format("2006-01-02T15:04:05.999"))
	}
	upstreamFinds := func(token string) (data []byte) {
		t.Helper()
		err := db.QueryRow("SELECT data FROM sessions WHERE token = $1 AND julianday('now') < expiry", token).Scan(&data)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			t.Fatal(err)
		}
		return data
	}
	data := []byte("\x00gob\xff\\x41")
	expiry := inAnHour()
	upstreamCommits("theirs", data, expiry)
	wantFound(t, s, "theirs", data)
	if _, got, _, err := s.FindExpiry(t.Context(), "theirs"); err != nil || !got.Equal(expiry.Truncate(time.Millisecond)) {
		t.Errorf("FindExpiry gave %v, %v, want %v", got, err, expiry)
	}
	commit(t, s, "ours", data, expiry.Truncate(time.Millisecond))
	if got := upstreamFinds("ours"); !bytes.Equal(got, data) {
		t.Errorf("upstream reads %q", got)
	}
	var same bool
	if err := db.QueryRow("SELECT count(DISTINCT expiry) = 1 FROM sessions").Scan(&same); err != nil || !same {
		t.Errorf("the same expiry is another number upstream, %v", err)
	}
	if _, swapped, err := s.Swap(t.Context(), "theirs", data, []byte("new"), inAnHour()); !swapped || err != nil {
		t.Error(swapped, err)
	}
	if got := upstreamFinds("theirs"); string(got) != "new" {
		t.Errorf("upstream reads %q", got)
	}
	upstreamCommits("ours", data, time.Now().Add(-time.Millisecond))
	wantAbsent(t, s, "ours")
	if n, err := s.deleteExpired(t.Context()); n != 1 || err != nil {
		t.Errorf("deleted %d, %v, want 1", n, err)
	}
}

// A record whose column holds it in another type, a text for a blob, say, can be
// compared all the same.
func TestOddStorage(t *testing.T) {
	for layout, value := range map[Layout]string{LayoutSCS: "'old'", LayoutConnectSessionKnex: "x'313233'", LayoutConnectSQLite3: "123"} {
		path := newPath(t)
		s, db := open(t, path, quiet(layout)), rawDB(t, path)
		run(t, db, s.table.sql("INSERT INTO {table} ({id}, {data}, {expiry}) VALUES ('id', "+value+", ?)"), s.table.writeExpiry(inAnHour()))
		old, _, err := s.Find("id")
		if err != nil {
			t.Fatal(err)
		}
		if _, swapped, err := s.Swap(t.Context(), "id", old, old, inAnHour()); !swapped || err != nil {
			t.Errorf("%s: a touch gave %t, %v", layout, swapped, err)
		}
		if _, swapped, err := s.Swap(t.Context(), "id", old, body, inAnHour()); !swapped || err != nil {
			t.Errorf("%s: Swap gave %t, %v", layout, swapped, err)
		}
	}
}

// What Node could not parse, or the column would change, is not written.
func TestBadRecords(t *testing.T) {
	for _, layout := range allLayouts[1:] {
		s := open(t, newPath(t), quiet(layout))
		commit(t, s, "id", body, inAnHour())
		bad := []string{"", "{", "gob\x00", "{\"a\":\"\xff\"}"}
		if layout == LayoutConnectSessionKnex {
			bad = append(bad, "1.0", "1e5", " 7", "-0", "123456789012345678901234567890")
		}
		for _, data := range bad {
			if err := s.Commit("id", []byte(data), inAnHour()); !errors.Is(err, contract.ErrRejected) || strings.Contains(err.Error(), "gob") {
				t.Errorf("%s: Commit of %q gave %v", layout, data, err)
			}
			if _, swapped, err := s.Swap(t.Context(), "id", body, []byte(data), inAnHour()); !errors.Is(err, contract.ErrRejected) || swapped {
				t.Errorf("%s: Swap to %q gave %t, %v", layout, data, swapped, err)
			}
			if _, moved, err := s.Move(t.Context(), one("id", string(body)), "new", []byte(data), inAnHour()); !errors.Is(err, contract.ErrRejected) || moved {
				t.Errorf("%s: Move to %q gave %t, %v", layout, data, moved, err)
			}
		}
		wantFound(t, s, "id", body)
	}
}

// An expiry that can't be read is neither live nor deleted, and can be overwritten.
func TestOddExpiry(t *testing.T) {
	path := newPath(t)
	s, db := open(t, path, quiet(LayoutConnectSessionKnex)), rawDB(t, path)
	run(t, db, "INSERT INTO sessions (sid, sess, expired) VALUES ('id', ?, 'soon'), ('id2', ?, 'never')", string(body), string(body))
	wantAbsent(t, s, "id")
	if n, err := s.deleteExpired(t.Context()); n != 0 || err != nil {
		t.Errorf("deleted %d, %v", n, err)
	}
	if _, swapped, err := s.Swap(t.Context(), "id", nil, body2, inAnHour()); !swapped || err != nil {
		t.Error(swapped, err)
	}
	wantFound(t, s, "id", body2)
	if _, moved, err := s.Move(t.Context(), one("id", string(body2)), "id2", body2, inAnHour()); !moved || err != nil {
		t.Error(moved, err)
	}
	wantFound(t, s, "id2", body2)
}

// On a full disk a write fails and what was there stays; a touch, a deletion and a
// shorter record may still be written.
func TestFullDisk(t *testing.T) {
	for _, layout := range allLayouts {
		path := newPath(t)
		s := open(t, path, quiet(layout))
		run(t, s.writer, "PRAGMA max_page_count = 30")
		big := []byte(`"` + strings.Repeat("x", 4000) + `"`)
		var err error
		n := 0
		for ; err == nil; n++ {
			err = s.Commit(fmt.Sprint("secret", n), big, inAnHour())
		}
		n-- // the last one has failed
		want := "sqlite: commit: " + path + ": the disk is full; free some space: "
		if !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("Commit gave %v\nwant %s", err, want)
		}
		bigger := []byte(`"` + strings.Repeat("y", 40000) + `"`)
		if _, swapped, err := s.Swap(t.Context(), "secret0", big, bigger, inAnHour()); err == nil || swapped {
			t.Errorf("Swap gave %t, %v", swapped, err)
		}
		two := append(one("secret0", string(big)), one("secret1", string(big))...)
		if _, moved, err := s.Move(t.Context(), two, "secret new", bigger, inAnHour()); err == nil || moved {
			t.Errorf("Move gave %t, %v", moved, err)
		}
		if got, err := s.Len(t.Context()); got != n || err != nil {
			t.Errorf("%d sessions, %v, want %d", got, err, n)
		}
		wantFound(t, s, "secret0", big)
		if _, found, err := s.FindTouch(t.Context(), "secret0", inAnHour()); !found || err != nil {
			t.Errorf("FindTouch gave %t, %v", found, err)
		}
		if err := s.Delete("secret1"); err != nil {
			t.Error(err)
		}
		commit(t, s, "secret new", big, inAnHour())
	}
}

// A record that the table does not take is the application's mistake.
func TestRejectedRecord(t *testing.T) {
	path := newPath(t)
	s := open(t, path, quiet(LayoutSCS))
	run(t, s.writer, "CREATE TRIGGER small BEFORE INSERT ON sessions WHEN length(new.data) > 100 BEGIN INSERT INTO sessions VALUES (new.token, new.data, NULL); END")
	err := s.Commit("secret", []byte(strings.Repeat("secret", 100)), inAnHour())
	if !errors.Is(err, contract.ErrRejected) || strings.Contains(err.Error(), "secret") {
		t.Errorf("Commit gave %v", err)
	}
	commit(t, s, "id", body, inAnHour())
}

// A corrupt page is an error of the sessions that it holds.
func TestCorruptFile(t *testing.T) {
	path := newPath(t)
	s := open(t, path, quiet(LayoutSCS))
	for i := range 1000 {
		commit(t, s, fmt.Sprint("secret", i), body, inAnHour())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	for offset := int64(5 * 4096); offset < info.Size(); offset += 2 * 4096 {
		if _, err := f.WriteAt(bytes.Repeat([]byte{0xaa}, 4096), offset); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, path, quiet(LayoutSCS))
	failed := 0
	for i := range 1000 {
		data, found, err := s.Find(fmt.Sprint("secret", i))
		switch {
		case err == nil && found && !bytes.Equal(data, body):
			t.Fatalf("a corrupt page gave %q", data)
		case err == nil:
			continue
		}
		failed++
		if text := err.Error(); !strings.HasPrefix(text, "sqlite: find: "+path+": the file is corrupt; ") || strings.Contains(text, "secret") {
			t.Fatalf("Find gave %v", err)
		}
	}
	if failed == 0 {
		t.Error("no error from a corrupt file")
	}
}

// A write waits for another process's lock until the timeout or the end of the context.
// Reads don't wait.
func TestLocked(t *testing.T) {
	for name, newStore := range map[string]func(string, time.Duration) *Store{
		"Open": func(path string, timeout time.Duration) *Store {
			opts := quiet(LayoutSCS)
			opts.Timeout = timeout
			return open(t, path, opts)
		},
		"New": func(path string, timeout time.Duration) *Store {
			db, err := sql.Open("sqlite3", "file:"+path+"?_pragma=busy_timeout(0)&_pragma=journal_mode(wal)")
			if err != nil {
				t.Fatal(err)
			}
			opts := quiet(LayoutSCS)
			opts.Timeout = timeout
			s, err := New(t.Context(), db, opts)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				s.Close()
				db.Close()
			})
			return s
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := newPath(t)
			patient, impatient := newStore(path, -1), newStore(path, time.Minute)
			commit(t, patient, "id", body, inAnHour())
			holder, err := rawDB(t, path).Begin()
			if err != nil {
				t.Fatal(err)
			}
			defer holder.Rollback()
			if _, err := holder.Exec("DELETE FROM sessions WHERE token = 'other'"); err != nil {
				t.Fatal(err)
			}

			wantFound(t, impatient, "id", body)
			for op, call := range map[string]func(context.Context, *Store) error{
				"commit":         func(ctx context.Context, s *Store) error { return s.CommitCtx(ctx, "secret", body, inAnHour()) },
				"delete":         func(ctx context.Context, s *Store) error { return s.DeleteCtx(ctx, "id") },
				"find and touch": func(ctx context.Context, s *Store) error { _, _, err := s.FindTouch(ctx, "id", inAnHour()); return err },
				"swap": func(ctx context.Context, s *Store) error {
					_, _, err := s.Swap(ctx, "id", body, body2, inAnHour())
					return err
				},
				"move": func(ctx context.Context, s *Store) error {
					_, _, err := s.Move(ctx, one("id", string(body)), "secret", body2, inAnHour())
					return err
				},
			} {
				want := "sqlite: " + op + ": another connection holds the write lock of " + path + ": context deadline exceeded"
				inTime(t, &impatient.timeout, func() error {
					if err := call(t.Context(), impatient); err == nil || err.Error() != want || !errors.Is(err, context.DeadlineExceeded) {
						return fmt.Errorf("%s gave %w\nwant %s", op, err, want)
					}
					return nil
				})
				ctx, cancel := context.WithCancel(t.Context())
				var cancelled time.Time
				time.AfterFunc(20*time.Millisecond, func() { cancelled = time.Now(); cancel() })
				if err := call(ctx, patient); !errors.Is(err, context.Canceled) {
					t.Errorf("%s gave %v, want that the context was canceled", op, err)
				}
				if late := time.Since(cancelled); late > 5*time.Second {
					t.Errorf("%s has returned %v after its context ended", op, late)
				}
			}
			// The store is not stuck afterwards, and the next call gets the lock.
			done := make(chan error)
			go func() { done <- patient.Commit("new", body, inAnHour()) }()
			select {
			case err := <-done:
				t.Fatalf("a write has not waited: %v", err)
			case <-time.After(50 * time.Millisecond):
			}
			if err := holder.Rollback(); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
			wantFound(t, impatient, "id", body)
			wantFound(t, impatient, "new", body)
			wantAbsent(t, impatient, "secret")
			commit(t, impatient, "id", body2, inAnHour())
		})
	}
}

// Open, too, ends when the file is locked for longer than the timeout.
func TestOpenLocked(t *testing.T) {
	path := newPath(t)
	open(t, path, quiet(LayoutSCS)).Close()
	db := rawDB(t, path, "_pragma=locking_mode(exclusive)")
	db.SetMaxOpenConns(1)
	run(t, db, "DELETE FROM sessions")
	opts := quiet(LayoutSCS)
	opts.Timeout = 50 * time.Millisecond
	want := "sqlite: open: another connection holds the write lock of " + path + ": context deadline exceeded"
	inTime(t, &startTimeout, func() error {
		if _, err := Open(t.Context(), path, opts); err == nil || err.Error() != want {
			return fmt.Errorf("Open gave %w\nwant %s", err, want)
		}
		return nil
	})
}

// inTime calls f with ever longer timeouts, until it has no error: on a busy machine a short
// one can be over before the lock was tried.
func inTime(t *testing.T, timeout *time.Duration, f func() error) {
	t.Helper()
	defer func(was time.Duration) { *timeout = was }(*timeout)
	for *timeout = 50 * time.Millisecond; ; *timeout *= 2 {
		err := f()
		if err == nil {
			return
		}
		if *timeout > 5*time.Second {
			t.Error(err)
			return
		}
	}
}

// logs is a slog.Handler that sends each record to a channel.
type logs struct {
	slog.Handler
	records chan slog.Record
}

func (l logs) Enabled(context.Context, slog.Level) bool { return true }

func (l logs) Handle(_ context.Context, r slog.Record) error {
	select {
	case l.records <- r:
	default:
	}
	return nil
}

// next returns the text of the next record of a level.
func (l logs) next(t *testing.T, level slog.Level) string {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case r := <-l.records:
			if r.Level != level {
				continue
			}
			text := r.Message
			r.Attrs(func(a slog.Attr) bool {
				text += " " + a.String()
				return true
			})
			return text
		case <-timeout:
			t.Fatalf("no %v was logged", level)
		}
	}
}

func TestCleanup(t *testing.T) {
	path := newPath(t)
	db := rawDB(t, path)
	defer leaktest.Goroutines(t)()
	l := logs{slog.DiscardHandler, make(chan slog.Record, 100)}
	s, err := Open(t.Context(), path, Options{CreateTable: true, CleanupInterval: 10 * time.Millisecond, Logger: slog.New(l)})
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, "live", body, inAnHour())
	commit(t, s, "expired", body, time.Now().Add(-time.Minute))
	if got := l.next(t, slog.LevelDebug); got != `expired sessions deleted table="sessions" count=1` {
		t.Errorf("logged %s", got)
	}
	wantFound(t, s, "live", body)

	run(t, db, "ALTER TABLE sessions RENAME TO away")
	if got := l.next(t, slog.LevelError); !strings.Contains(got, "sqlite: clean-up: ") || !strings.Contains(got, "no such table: sessions") {
		t.Errorf("logged %s", got)
	}
	run(t, db, "ALTER TABLE away RENAME TO sessions")
	commit(t, s, "expired", body, time.Now().Add(-time.Minute))
	l.next(t, slog.LevelDebug) // the clean-up continues after an error
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	db.Close()
}

// Close returns only after the clean-up has logged its last record.
func TestCloseWaitsForCleanup(t *testing.T) {
	l := waiting{slog.DiscardHandler, make(chan bool)}
	s, err := Open(t.Context(), newPath(t), Options{CreateTable: true, CleanupInterval: 10 * time.Millisecond, Logger: slog.New(l)})
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, "expired", body, time.Now().Add(-time.Minute))
	<-l.step
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		t.Fatalf("Close has not waited for the clean-up: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	<-l.step
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// waiting is a slog.Handler that blocks until the test has received from it twice.
type waiting struct {
	slog.Handler
	step chan bool
}

func (w waiting) Enabled(context.Context, slog.Level) bool { return true }

func (w waiting) Handle(context.Context, slog.Record) error {
	w.step <- true
	w.step <- true
	return nil
}

// Close ends a clean-up that waits for a lock, and logs nothing about it.
func TestCloseEndsCleanup(t *testing.T) {
	path := newPath(t)
	l := logs{slog.DiscardHandler, make(chan slog.Record, 100)}
	s, err := Open(t.Context(), path, Options{CreateTable: true, CleanupInterval: time.Millisecond, Timeout: -1, Logger: slog.New(l)})
	if err != nil {
		t.Fatal(err)
	}
	holder, err := rawDB(t, path).Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Rollback()
	if _, err := holder.Exec("INSERT INTO sessions VALUES ('x', x'', 0)"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.CommitCtx(ctx, "expired", body, time.Now().Add(-time.Minute)); err == nil {
		t.Error("no lock is held")
	}
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Close waits for the lock")
	}
	select {
	case r := <-l.records:
		t.Errorf("Close has logged %s", r.Message)
	default:
	}
}

// Two clean-ups share the work and leave what is live. Writes go on meanwhile.
func TestCleanupBatches(t *testing.T) {
	for _, layout := range allLayouts {
		t.Run(string(layout), func(t *testing.T) {
			t.Parallel()
			path := newPath(t)
			stores := []*Store{open(t, path, quiet(layout)), open(t, path, quiet(layout))}
			tx, err := stores[0].writer.Begin()
			if err != nil {
				t.Fatal(err)
			}
			insert := stores[0].table.sql("INSERT INTO {table} ({id}, {data}, {expiry}) VALUES (?, ?, ?)")
			const expired = 1000
			for i := range expired + 100 {
				expiry := inAnHour()
				if i%11 != 0 {
					expiry = time.Now().Add(-time.Minute)
				}
				if _, err := tx.Exec(insert, fmt.Sprint(i), string(body), stores[0].table.writeExpiry(expiry)); err != nil {
					t.Fatal(err)
				}
			}
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
			var deleted [2]int64
			var wg sync.WaitGroup
			for i, s := range stores {
				s.batch = 10
				wg.Go(func() {
					var err error
					if deleted[i], err = s.deleteExpired(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			for i := range 50 {
				commit(t, stores[0], fmt.Sprint("new", i), body, inAnHour())
			}
			wg.Wait()
			for range 2 { // a clean-up ends when another one has deleted its whole batch
				n, err := stores[0].deleteExpired(t.Context())
				if err != nil {
					t.Error(err)
				}
				deleted[0] += n
			}
			if deleted[0]+deleted[1] != expired {
				t.Errorf("%d expired rows were deleted, want all %d", deleted, expired)
			}
			if n, err := stores[0].Len(t.Context()); n != 150 || err != nil {
				t.Errorf("%d live rows are left, %v, want 150", n, err)
			}
			stores[1].batch = 7
			if err := stores[1].Clear(t.Context()); err != nil {
				t.Error(err)
			}
			if n, err := stores[0].Len(t.Context()); n != 0 || err != nil {
				t.Errorf("%d rows are left after Clear, %v", n, err)
			}
		})
	}
}

// A session that is touched after the clean-up has found it expired stays.
func TestCleanupSparesTouched(t *testing.T) {
	for _, layout := range allLayouts {
		s := open(t, newPath(t), quiet(layout))
		commit(t, s, "id", body, inAnHour())
		if deleted, err := s.exec(t.Context(), "clean-up", s.stmts.deleteExpired, "id"); deleted || err != nil {
			t.Errorf("%s: a live session is deleted: %t, %v", layout, deleted, err)
		}
	}
}

// The -wal file does not grow with the calls, of whatever kind.
func TestWALSize(t *testing.T) {
	for name, call := range map[string]func(*Store) error{
		"FindTouch": func(s *Store) error { _, _, err := s.FindTouch(t.Context(), "id", inAnHour()); return err },
		"Commit":    func(s *Store) error { return s.Commit("id", body, inAnHour()) },
		"Move": func(s *Store) error {
			_, _, err := s.Move(t.Context(), one("id", string(body)), "id", body, inAnHour())
			return err
		},
	} {
		path := newPath(t)
		s := open(t, path, quiet(LayoutSCS))
		commit(t, s, "id", body, inAnHour())
		for range 2000 {
			if err := call(s); err != nil {
				t.Fatal(err)
			}
		}
		info, err := os.Stat(path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		// SQLite's own limit is 1,000 pages of 4 kB.
		if info.Size() > 5<<20 {
			t.Errorf("after 2,000 calls of %s the -wal file has %d bytes", name, info.Size())
		}
	}
}

func TestPages(t *testing.T) {
	s := open(t, newPath(t), quiet(LayoutSCS))
	s.page = 2
	want := make(map[string][]byte)
	for i := range 7 {
		token := fmt.Sprint("id", i)
		commit(t, s, token, body, inAnHour())
		want[token] = body
	}
	all, err := s.All()
	if err != nil || len(all) != len(want) {
		t.Errorf("All gave %d records, %v, want %d", len(all), err, len(want))
	}
}

// In a file that is not in WAL mode, reads and writes wait for each other, and no
// update is lost.
func TestRollbackJournal(t *testing.T) {
	path := newPath(t)
	var log bytes.Buffer
	var stores []*Store
	for range 2 {
		db, err := sql.Open("sqlite3", "file:"+path+"?_pragma=busy_timeout(0)&_txlock=deferred")
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		s, err := New(t.Context(), db, Options{CreateTable: true, CleanupInterval: -1, Timeout: time.Minute, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		stores = append(stores, s)
	}
	if !strings.Contains(log.String(), "not in WAL mode") {
		t.Errorf("logged %s", log.String())
	}
	const each = 10
	commit(t, stores[0], "id", []byte("0"), inAnHour())
	var wg sync.WaitGroup
	for _, s := range stores {
		for range 2 {
			wg.Go(func() {
				if err := increment(t.Context(), s, "id", each); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	wantFound(t, stores[0], "id", []byte(strconv.Itoa(4*each)))
}

// increment adds 1 to a record n times, by compare-and-set.
func increment(ctx context.Context, s *Store, token string, n int) error {
	data, found, err := s.FindCtx(ctx, token)
	if err != nil || !found {
		return fmt.Errorf("find: %t, %w", found, err)
	}
	for n > 0 {
		i, err := strconv.Atoi(string(data))
		if err != nil {
			return err
		}
		next := []byte(strconv.Itoa(i + 1))
		current, swapped, err := s.Swap(ctx, token, data, next, inAnHour())
		switch {
		case err != nil:
			return err
		case swapped:
			data = next
			n--
		default:
			data = current
		}
	}
	return nil
}

// childEnv names what a test has another process of this binary do.
const childEnv = "SAMESID_SQLITE_CHILD"

func TestMain(m *testing.M) {
	if task := os.Getenv(childEnv); task != "" {
		if err := child(task, os.Args[1], Layout(os.Args[2])); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child is the other process.
func child(task, path string, layout Layout) error {
	ctx := context.Background()
	s, err := Open(ctx, path, Options{Layout: layout, CleanupInterval: -1, Timeout: time.Minute})
	if err != nil {
		return err
	}
	switch task {
	case "increment":
		var wg sync.WaitGroup
		errs := make([]error, 4)
		for i := range errs {
			wg.Go(func() { errs[i] = increment(ctx, s, "counter", 200) })
		}
		wg.Wait()
		return errors.Join(append(errs, s.Close())...)
	case "write for ever":
		for i := 0; ; i++ {
			if err := s.Commit(fmt.Sprint("id", i), body, inAnHour()); err != nil {
				return err
			}
			fmt.Println(i)
		}
	}
	return fmt.Errorf("no task %q", task)
}

func startChild(t *testing.T, task, path string, layout Layout) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], path, string(layout))
	cmd.Env = append(os.Environ(), childEnv+"="+task)
	cmd.Stderr = os.Stderr
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

// Two processes increment a record 1,600 times by compare-and-set, and none is lost.
func TestProcesses(t *testing.T) {
	for _, layout := range allLayouts {
		t.Run(string(layout), func(t *testing.T) {
			t.Parallel()
			path := newPath(t)
			s := open(t, path, quiet(layout))
			commit(t, s, "counter", []byte("0"), inAnHour())
			var wg sync.WaitGroup
			for range 2 {
				cmd := startChild(t, "increment", path, layout)
				wg.Go(func() {
					if out, err := cmd.Output(); err != nil {
						t.Errorf("%v: %s", err, out)
					}
				})
			}
			wg.Wait()
			wantFound(t, s, "counter", []byte("1600"))
		})
	}
}

// What a process has written is there after it is killed, and the file is intact.
func TestKilledProcess(t *testing.T) {
	for range 3 {
		path := newPath(t)
		s := open(t, path, quiet(LayoutSCS))
		cmd := startChild(t, "write for ever", path, LayoutSCS)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		written := -1
		for stop := 500 + rand.IntN(1000); lines.Scan(); {
			if written, err = strconv.Atoi(lines.Text()); err != nil {
				t.Fatal(err)
			}
			if written == stop {
				_ = cmd.Process.Kill()
			}
		}
		for i := range written + 1 {
			if _, found, err := s.Find(fmt.Sprint("id", i)); !found || err != nil {
				t.Fatalf("record %d of %d is lost: %v", i, written, err)
			}
		}
		var verdict string
		if err := s.reader.QueryRow("PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
			t.Errorf("the file is %s, %v", verdict, err)
		}
		commit(t, s, "id", body, inAnHour()) // the lock of the dead process is gone
	}
}
