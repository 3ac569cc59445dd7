package postgres

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/scs/postgresstore"
	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/backends/contract"
	"github.com/samesid/samesid/backends/storetest"
	"github.com/samesid/samesid/internal/leaktest"
	"github.com/samesid/samesid/internal/testserver"
)

var allLayouts = func() (all []Layout) {
	for _, l := range Backend.Layouts {
		all = append(all, Layout(l.Name))
	}
	return all
}()

// body and body2 are records that every layout can hold.
var (
	body  = []byte(`{"cookie":{"originalMaxAge":null},"n":1}`)
	body2 = []byte(`{"cookie":{"originalMaxAge":null},"n":2}`)
)

func inAnHour() time.Time { return time.Now().Add(time.Hour) }

// rawDB returns a connection pool that belongs to no store. One can be made on it,
// unless dsn has binary_parameters.
func rawDB(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	if !strings.Contains(dsn, "binary_parameters") {
		dsn = with(t, dsn, "binary_parameters", "yes")
	}
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func exec(t *testing.T, db *sql.DB, query string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func open(t *testing.T, dsn string, opts Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), dsn, opts)
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
	return Options{Layout: layout, CreateTable: true, CleanupInterval: -1}
}

// with adds run-time parameters to a DSN.
func with(t *testing.T, dsn string, params ...string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	for i := 0; i < len(params); i += 2 {
		q.Set(params[i], params[i+1])
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// near reports whether an expiry is the wanted one, but for the time that calls take and
// for rounding.
func near(got, want time.Time) bool { return got.Sub(want).Abs() < 20*time.Second }

func commit(t *testing.T, s *Store, token string, data []byte, expiry time.Time) {
	t.Helper()
	if err := s.CommitCtx(t.Context(), token, data, expiry); err != nil {
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

// Each layout and each kind of connection is tested, connect-pg-simple by TestPgBouncer; if
// thorough, more pairs of them.
func TestContract(t *testing.T) {
	run := func(name string, layout Layout, param, value string, named ...bool) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn, _ := testserver.Schema(t)
			if param != "" {
				dsn = with(t, dsn, param, value)
			}
			testContract(t, layout, dsn, named...)
		})
	}
	run("serializable by default", LayoutConnectSessionKnex, "default_transaction_isolation", "serializable")
	run("prepared statements", LayoutConnectSessionSequelize, "binary_parameters", "yes", true)
	for _, layout := range allLayouts {
		tested := layout == LayoutConnectSessionKnex || layout == LayoutConnectSessionSequelize || layout == LayoutConnectPgSimple
		if !tested || testserver.Thorough() {
			run(string(layout), layout, "", "")
		}
		if testserver.Thorough() {
			run(string(layout)+", prepared statements as text", layout, "binary_parameters", "no", true)
		}
	}
}

// testContract gives each test a table of its own on one pool. The second handle is
// a store that Open made, with a pool of its own.
func testContract(t *testing.T, layout Layout, dsn string, named ...bool) {
	db := rawDB(t, dsn)
	db.SetMaxOpenConns(10)
	db.SetMaxIdleConns(10)
	var tables atomic.Int64
	described := Backend.Layout(Options{Layout: layout})
	h := storetest.Harness{
		JSON:        described.Express,
		Granularity: described.Step,
		MaxID:       described.MaxID,
		New: func(t *testing.T) scs.CtxStore {
			opts := quiet(layout)
			opts.PreparedStatements = len(named) > 0
			opts.TableName = fmt.Sprint("t", tables.Add(1))
			opts.Timeout = time.Minute
			s, err := New(t.Context(), db, opts)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			return s
		},
		Reopen: func(t *testing.T, store scs.CtxStore) scs.CtxStore {
			opts := quiet(layout)
			opts.PreparedStatements = len(named) > 0
			opts.TableName = store.(*Store).table.table
			opts.Timeout = time.Minute
			opts.CreateTable = false
			return open(t, dsn, opts)
		},
		Advance: func(t *testing.T, d time.Duration) {
			exec(t, db, "SELECT pg_sleep($1)", d.Seconds())
		},
	}
	storetest.Run(t, h)
}

func TestUpstream(t *testing.T) {
	t.Parallel()
	dsn, _ := testserver.Schema(t)
	s := open(t, dsn, quiet(LayoutSCS))
	upstream := postgresstore.NewWithCleanupInterval(rawDB(t, dsn), 0)

	data := []byte("\x00gob\xff\\x41")
	if err := upstream.Commit("theirs", data, inAnHour()); err != nil {
		t.Fatal(err)
	}
	wantFound(t, s, "theirs", data)
	commit(t, s, "ours", data, inAnHour())
	wantFound(t, upstream, "ours", data)

	current, swapped, err := s.Swap(t.Context(), "theirs", data, []byte("new"), inAnHour())
	if !swapped || err != nil {
		t.Errorf("Swap of upstream's record gave %q, %t, %v", current, swapped, err)
	}
	wantFound(t, upstream, "theirs", []byte("new"))
	if err := upstream.Commit("ours", []byte("new"), time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	wantAbsent(t, s, "ours")
	if _, moved, err := s.Move(t.Context(), one("theirs", "new"), "moved", data, inAnHour()); !moved || err != nil {
		t.Errorf("Move of upstream's record gave %t, %v", moved, err)
	}
	wantFound(t, upstream, "moved", data)
	wantAbsent(t, upstream, "theirs")
	if _, swapped, err := s.Swap(t.Context(), "moved", data, data, time.Now().Add(-time.Second)); !swapped || err != nil {
		t.Errorf("a touch of upstream's record gave %t, %v", swapped, err)
	}
	wantAbsent(t, upstream, "moved")
	wantAbsent(t, upstream, "theirs")
	all, err := upstream.All()
	if err != nil || len(all) != 0 {
		t.Errorf("upstream's All gave %q, %v, want nothing", all, err)
	}
}

// express holds the statements of the Express stores, as connect-pg-simple 10.0.0,
// connect-session-knex 5.0.0 and connect-session-sequelize 7.1.7 (with Sequelize 6.37.8)
// send them.
var express = map[Layout]struct {
	create, set, get, touch string
	findsExpired            bool // get has no condition on the expiry
}{
	LayoutConnectPgSimple: {
		create: `CREATE TABLE "session" (
			"sid" varchar NOT NULL COLLATE "default",
			"sess" json NOT NULL,
			"expire" timestamp(6) NOT NULL
		)
		WITH (OIDS=FALSE);
		ALTER TABLE "session" ADD CONSTRAINT "session_pkey" PRIMARY KEY ("sid") NOT DEFERRABLE INITIALLY IMMEDIATE;
		CREATE INDEX "IDX_session_expire" ON "session" ("expire");`,
		set: `INSERT INTO "session" (sess, expire, sid) SELECT $1, to_timestamp($2), $3
			ON CONFLICT (sid) DO UPDATE SET sess=$1, expire=to_timestamp($2) RETURNING sid`,
		get:   `SELECT sess FROM "session" WHERE sid = $1 AND expire >= to_timestamp($2)`,
		touch: `UPDATE "session" SET expire = to_timestamp($1) WHERE sid = $2 RETURNING sid`,
	},
	LayoutConnectSessionKnex: {
		create: `create table "sessions" ("sid" varchar(255), "sess" json not null, "expired" timestamptz not null,
			constraint "sessions_pkey" primary key ("sid"));
		create index "sessions_expired_index" on "sessions" ("expired")`,
		set: `with new_values (sid, expired, sess) as (values ($3, $2::timestamp with time zone, $1::json)),
			upsert as (update "sessions" cs set sid = nv.sid, expired = nv.expired, sess = nv.sess
				from new_values nv where cs.sid = nv.sid returning cs.*)
			insert into "sessions" (sid, expired, sess) select sid, expired, sess from new_values
			where not exists (select 1 from upsert up where up.sid = new_values.sid)`,
		get:   `select "sess" from "sessions" where "sid" = $1 and CAST($2 as timestamp with time zone) <= expired`,
		touch: `update "sessions" set "expired" = $1 where "sid" = $2 and CAST(now() as timestamp with time zone) <= expired`,
	},
	LayoutConnectSessionSequelize: {
		// The index is not Sequelize's: without it a clean-up reads the whole table.
		create: `CREATE TABLE IF NOT EXISTS "Sessions" ("sid" VARCHAR(36) , "expires" TIMESTAMP WITH TIME ZONE, "data" TEXT,
			"createdAt" TIMESTAMP WITH TIME ZONE NOT NULL, "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL, PRIMARY KEY ("sid"));
		CREATE INDEX "Sessions_expires" ON "Sessions" ("expires")`,
		// It finds the row first, and inserts or updates it in a second statement.
		set: `INSERT INTO "Sessions" ("data","expires","sid","createdAt","updatedAt") VALUES ($1,$2,$3,now(),now())
			ON CONFLICT ("sid") DO UPDATE SET "data"=$1,"expires"=$2,"updatedAt"=now()`,
		get:          `SELECT "data" FROM "Sessions" AS "Session" WHERE "Session"."sid" = $1`, // and the other columns
		touch:        `UPDATE "Sessions" SET "expires"=$1,"updatedAt"=now() WHERE "sid" = $2`,
		findsExpired: true,
	},
}

// at returns a time as the Express store of this layout sends it.
func at(layout Layout, t time.Time) any {
	if layout == LayoutConnectPgSimple {
		return (t.UnixMilli() + 999) / 1000
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

func expressFinds(t *testing.T, db *sql.DB, layout Layout, token string, now time.Time) (data string, found bool) {
	t.Helper()
	args := []any{token}
	if !express[layout].findsExpired {
		args = append(args, at(layout, now))
	}
	err := db.QueryRowContext(t.Context(), express[layout].get, args...).Scan(&data)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		t.Fatal(err)
	}
	return data, err == nil
}

func TestExpress(t *testing.T) {
	for layout, node := range express {
		t.Run(string(layout), func(t *testing.T) {
			t.Parallel()
			dsn, _ := testserver.Schema(t)
			db := rawDB(t, dsn)
			exec(t, db, node.create)
			opts := quiet(layout)
			opts.CreateTable = false
			s := open(t, dsn, opts)
			if !s.JSONRecords() {
				t.Error("JSONRecords is false")
			}

			record := `{"cookie":{"originalMaxAge":60000,"expires":"2026-11-29T20:52:08.665Z","httpOnly":true,"path":"/"},"user":{"name":"Zoë"}}`
			expiry := inAnHour().Truncate(time.Millisecond)
			exec(t, db, node.set, record, at(layout, expiry), "theirs")
			wantFound(t, s, "theirs", []byte(record))
			_, got, _, err := s.FindExpiry(t.Context(), "theirs")
			if err != nil || !near(got, expiry) {
				t.Errorf("FindExpiry gave %v, %v for what Express set to %v", got, err, expiry)
			}
			current, swapped, err := s.Swap(t.Context(), "theirs", []byte(record), body, inAnHour())
			if !swapped || err != nil {
				t.Errorf("Swap of Express's record gave %q, %t, %v", current, swapped, err)
			}
			if data, _ := expressFinds(t, db, layout, "theirs", time.Now()); data != string(body) {
				t.Errorf("Express finds %q after Swap, want %q", data, body)
			}

			commit(t, s, "ours", []byte(record), time.Now().Add(-time.Minute))
			if data, found := expressFinds(t, db, layout, "ours", time.Now()); found != node.findsExpired {
				t.Errorf("Express finds %q, %t, which has expired", data, found)
			}
			commit(t, s, "ours", []byte(record), expiry)
			exec(t, db, node.touch, at(layout, expiry.Add(time.Hour)), "ours")
			_, got, _, err = s.FindExpiry(t.Context(), "ours")
			if err != nil || !near(got, expiry.Add(time.Hour)) {
				t.Errorf("FindExpiry gave %v, %v for what Express touched to %v", got, err, expiry.Add(time.Hour))
			}
			exec(t, db, node.touch, at(layout, time.Now().Add(-time.Minute)), "ours")
			wantAbsent(t, s, "ours")
		})
	}
}

func TestJSONB(t *testing.T) {
	t.Parallel()
	dsn, _ := testserver.Schema(t)
	exec(t, rawDB(t, dsn), `CREATE TABLE session (sid text PRIMARY KEY, sess jsonb NOT NULL, expire timestamptz NOT NULL)`)
	opts := quiet(LayoutConnectPgSimple)
	s := open(t, with(t, dsn, "binary_parameters", "yes"), opts)

	written := []byte(`{"b":1,  "a":2.0}`)
	stored := []byte(`{"a": 2.0, "b": 1}`)
	commit(t, s, "id", written, inAnHour())
	wantFound(t, s, "id", stored)
	for _, old := range [][]byte{[]byte(`{"a":3}`), []byte("no JSON"), {}, []byte("\xff")} {
		current, swapped, err := s.Swap(t.Context(), "id", old, body, inAnHour())
		if swapped || err != nil || string(current) != string(stored) {
			t.Errorf("Swap of %q gave %q, %t, %v, want it refused with %q", old, current, swapped, err, stored)
		}
	}
	for _, old := range [][]byte{written, stored} {
		current, swapped, err := s.Swap(t.Context(), "id", old, stored, inAnHour())
		if !swapped || err != nil {
			t.Errorf("Swap of %q gave %q, %t, %v", old, current, swapped, err)
		}
	}
	until := inAnHour().Add(time.Hour).Truncate(time.Second)
	for _, old := range [][]byte{written, stored} {
		until = until.Add(time.Hour)
		if current, swapped, err := s.Swap(t.Context(), "id", old, old, until); !swapped || err != nil {
			t.Errorf("a touch of %q gave %q, %t, %v", old, current, swapped, err)
		}
		if data, expiry, _, err := s.FindExpiry(t.Context(), "id"); string(data) != string(stored) || !near(expiry, until) || err != nil {
			t.Errorf("touched until %v: %q until %v, %v", until, data, expiry, err)
		}
	}
	for _, old := range [][]byte{[]byte(`{"a":3}`), []byte("no JSON"), {}, []byte("\xff")} {
		for _, to := range []string{"new", "id"} {
			current, moved, err := s.Move(t.Context(), one("id", string(old)), to, body, inAnHour())
			if moved || err != nil || len(current) != 1 || string(current[0]) != string(stored) {
				t.Errorf("Move of %q to %s gave %q, %t, %v, want it refused with %q", old, to, current, moved, err, stored)
			}
			two := append(one("none", "{}"), one("id", string(old))...)
			current, moved, err = s.Move(t.Context(), two, to, body, inAnHour())
			if moved || err != nil || len(current) != 2 || current[0] != nil || string(current[1]) != string(stored) {
				t.Errorf("Move of two, %q, to %s gave %q, %t, %v, want it refused with %q", old, to, current, moved, err, stored)
			}
		}
	}
	commit(t, s, "other", written, inAnHour())
	for _, from := range [][]contract.Record{
		one("id", string(written)),
		append(one("new", string(written)), one("other", string(written))...),
		one("new", string(stored)),
	} {
		if current, moved, err := s.Move(t.Context(), from, "new", written, inAnHour()); !moved || err != nil {
			t.Errorf("Move of %q gave %q, %t, %v", from, current, moved, err)
		}
		wantFound(t, s, "new", stored)
		for _, r := range from {
			if r.Token != "new" {
				wantAbsent(t, s, r.Token)
			}
		}
	}
	if _, swapped, err := s.Swap(t.Context(), "new", written, nil, time.Time{}); !swapped || err != nil {
		t.Errorf("Swap to nil gave %t, %v", swapped, err)
	}
	wantAbsent(t, s, "new")
}

// one returns a single record for Move.
func one(token, data string) []contract.Record {
	return []contract.Record{{Token: token, Data: []byte(data)}}
}

// A Move that is refused returns a true reason, while others keep changing its source
// and its target.
func TestMoveRefusal(t *testing.T) {
	t.Parallel()
	dsn, _ := testserver.Schema(t)
	s := open(t, dsn, quiet(LayoutSCS))
	commit(t, s, "beside", []byte("b"), inAnHour())
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				err := s.Commit("changing", []byte{"ab"[i%2]}, inAnHour())
				if i%3 == 0 {
					err = errors.Join(err, s.Commit("coming and going", []byte("a"), inAnHour()))
				} else {
					err = errors.Join(err, s.Delete("coming and going"))
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	defer wg.Wait()
	defer close(done)
	for i := range 100 { // a Move that does not look again is seen within 20
		from := one("changing", "a")
		if i%2 == 1 {
			from = append(from, one("beside", "b")...)
		}
		current, moved, err := s.Move(t.Context(), from, "changing", []byte("a"), inAnHour())
		if err != nil || !moved && string(current[0]) == "a" {
			t.Fatalf("Move of what changes gave %q, %t, %v", current, moved, err)
		}
		if moved {
			commit(t, s, "beside", []byte("b"), inAnHour())
		}
		// It may be refused only if its target exists.
		if current, moved, err = s.Move(t.Context(), one("beside", "b"), "coming and going", []byte("c"), inAnHour()); err != nil || !moved && string(current[0]) != "b" {
			t.Fatalf("Move to what comes and goes gave %q, %t, %v", current, moved, err)
		}
		if moved {
			commit(t, s, "beside", []byte("b"), inAnHour())
		}
	}
}

// Merges in a deadlock are retried after the server has broken it.
func TestMoveDeadlock(t *testing.T) {
	t.Parallel()
	dsn, schema := testserver.Schema(t)
	dsn = with(t, dsn, "application_name", schema)
	s := open(t, dsn, quiet(LayoutSCS))
	commit(t, s, "a", body, inAnHour())
	commit(t, s, "b", body, inAnHour())
	db := rawDB(t, dsn)
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	for _, query := range []string{"SET LOCAL deadlock_timeout = '1h'", "SELECT FROM sessions WHERE token = 'b' FOR UPDATE"} {
		if _, err := tx.Exec(query); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
	}
	moved := make(chan error, 1)
	go func() {
		current, moves, err := s.Move(t.Context(), append(one("b", string(body)), one("a", string(body))...), "new", body, inAnHour())
		if err == nil && !moves {
			err = fmt.Errorf("not moved, current %q", current)
		}
		moved <- err
	}()
	waitForLock(t, db, schema, moved)
	if _, err := tx.Exec("SELECT FROM sessions WHERE token = 'a' FOR UPDATE"); err != nil {
		t.Errorf("somebody else's transaction is the one that the deadlock has ended: %v", err)
	}
	if err := tx.Commit(); err != nil {
		t.Error(err)
	}
	if err := <-moved; err != nil {
		t.Errorf("Move after a deadlock: %v", err)
	}
	wantFound(t, s, "new", body)
	wantAbsent(t, s, "a")
	wantAbsent(t, s, "b")
}

// waitForLock returns when a connection of that application waits for a lock, or when
// a call has ended without waiting.
func waitForLock[T any](t *testing.T, db *sql.DB, application string, ended chan T) {
	t.Helper()
	for waiting := false; !waiting && len(ended) == 0; {
		err := db.QueryRow(`SELECT EXISTS (SELECT FROM pg_stat_activity, pg_sleep(0.01)
			WHERE application_name = $1 AND wait_event_type = 'Lock')`, application).Scan(&waiting)
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestString(t *testing.T) {
	t.Parallel()
	dsn, schema := testserver.Schema(t)
	for want, opts := range map[string]Options{
		`postgres store, table "sessions"`:                      quiet(LayoutSCS),
		`postgres store, table "` + schema + `"."it ""is"" so"`: {SchemaName: schema, TableName: `it "is" so`, CreateTable: true, CleanupInterval: -1},
	} {
		if got := fmt.Sprint(open(t, dsn, opts)); got != want {
			t.Errorf("String gave %s, want %s", got, want)
		}
	}
}

// connect-pg-simple writes whole seconds, rounded up.
func TestWholeSeconds(t *testing.T) {
	t.Parallel()
	dsn, _ := testserver.Schema(t)
	s := open(t, dsn, quiet(LayoutConnectPgSimple))
	for i := range 20 {
		var before, after, expire time.Time
		query := "SELECT clock_timestamp() + interval '1 hour'"
		if err := s.db.QueryRow(query).Scan(&before); err != nil {
			t.Fatal(err)
		}
		commit(t, s, "id", body, inAnHour().Add(time.Duration(i)*50*time.Millisecond))
		if err := s.db.QueryRow(query).Scan(&after); err != nil {
			t.Fatal(err)
		}
		if err := s.db.QueryRow("SELECT expire::timestamptz FROM session").Scan(&expire); err != nil {
			t.Fatal(err)
		}
		if expire.Nanosecond() != 0 || expire.Before(before.Add(-time.Second)) || expire.After(after.Add(2*time.Second)) {
			t.Errorf("the expiry is %v, written between %v and %v less an hour", expire, before, after)
		}
	}
}

// The record that a refused Swap returns differs from the expected one, even while
// others keep writing and deleting the expected one.
func TestSwapRefusal(t *testing.T) {
	t.Parallel()
	dsn, _ := testserver.Schema(t)
	s := open(t, dsn, quiet(LayoutSCS))
	a, b := []byte("a"), []byte("b")
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				err := s.Commit("changing", [][]byte{a, b}[i%2], inAnHour())
				if i%2 == 0 {
					err = errors.Join(err, s.Commit("coming and going", a, inAnHour()))
				} else {
					err = errors.Join(err, s.Delete("coming and going"))
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	defer wg.Wait()
	defer close(done)
	for range 200 { // a Swap that does not look again is seen within 20
		current, swapped, err := s.Swap(t.Context(), "changing", a, a, inAnHour())
		if err != nil || !swapped && string(current) == "a" {
			t.Fatalf("Swap of %q gave %q, %t, %v", a, current, swapped, err)
		}
		current, swapped, err = s.Swap(t.Context(), "coming and going", nil, b, inAnHour())
		if err != nil || !swapped && current == nil {
			t.Fatalf("Swap of nothing gave %q, %t, %v", current, swapped, err)
		}
	}
}

// A touch waits for neither disk nor standby, and a write of data waits for both.
func TestTouchIsNotSynchronous(t *testing.T) {
	t.Parallel()
	server := testserver.StartPostgres(t)
	s := open(t, server.URL, quiet(LayoutSCS))
	commit(t, s, "touched", body, inAnHour())
	commit(t, s, "swapped", body, inAnHour())

	db := rawDB(t, server.URL)
	exec(t, db, "ALTER SYSTEM SET synchronous_standby_names = nobody")
	exec(t, db, "SELECT pg_reload_conf()")
	written := make(chan error, 1)
	for waiting := false; !waiting; { // a backend may not have read the setting yet
		go func() {
			_, swapped, err := s.Swap(t.Context(), "swapped", body, body2, inAnHour())
			if err == nil && !swapped {
				_, _, err = s.Swap(t.Context(), "swapped", body2, body, inAnHour())
			}
			written <- err
		}()
		for done := false; !done && !waiting; {
			select {
			case err := <-written:
				if err != nil {
					t.Fatal(err)
				}
				done = true
			default:
				if err := db.QueryRow("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep')").Scan(&waiting); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if _, swapped, err := s.Swap(t.Context(), "touched", body, body, inAnHour()); !swapped || err != nil {
		t.Errorf("a touch gave %t, %v", swapped, err)
	}
	if _, found, err := s.FindTouch(t.Context(), "touched", inAnHour()); !found || err != nil {
		t.Errorf("FindTouch gave %t, %v", found, err)
	}
	select {
	case err := <-written:
		t.Errorf("a touch waited as long as the write: %v", err)
	default:
		exec(t, db, "ALTER SYSTEM RESET synchronous_standby_names")
		exec(t, db, "SELECT pg_reload_conf()")
		if err := <-written; err != nil {
			t.Errorf("the write, once it had a standby no more: %v", err)
		}
	}
}

// A row with the new id that appears after Move's check blocks the move if it is live.
func TestMoveWaits(t *testing.T) {
	for name, c := range map[string]struct {
		expiry time.Time
		want   bool
	}{
		"live":    {inAnHour(), false},
		"expired": {time.Now().Add(-time.Minute), true},
	} {
		for _, from := range [][]contract.Record{one("id", string(body)), append(one("id", string(body)), one("beside", string(body))...)} {
			t.Run(fmt.Sprint(name, ", ", len(from)), func(t *testing.T) {
				t.Parallel()
				dsn, schema := testserver.Schema(t)
				s := open(t, with(t, dsn, "application_name", schema), quiet(LayoutSCS))
				commit(t, s, "id", body, inAnHour())
				commit(t, s, "beside", body, inAnHour())
				current, moved := move{from, "new"}.beside(t, s, rawDB(t, dsn), schema, "INSERT INTO sessions VALUES ('new', 'theirs', $1)", c.expiry)
				if moved != c.want {
					t.Errorf("Move gave %q, %t, want %t", current, moved, c.want)
				}
				if c.want {
					wantFound(t, s, "new", body2)
				} else {
					wantFound(t, s, "new", []byte("theirs"))
				}
				for i, r := range from {
					if c.want {
						wantAbsent(t, s, r.Token)
					} else {
						wantFound(t, s, r.Token, body)
						if len(current) != len(from) || string(current[i]) != string(body) {
							t.Errorf("Move gave %q", current)
						}
					}
				}
			})
		}
	}
}

// A record that changes while Move waits for its lock is no longer the expected one.
func TestMoveSeesWhatItHasWaitedFor(t *testing.T) {
	for name, c := range map[string]struct {
		change string
		want   []byte // nil for a record that is gone
		moved  bool
	}{
		"changed":  {"UPDATE sessions SET data = 'theirs' WHERE token = 'b'", []byte("theirs"), false},
		"deleted":  {"DELETE FROM sessions WHERE token = 'b'", nil, false},
		"expired":  {"UPDATE sessions SET expiry = now() WHERE token = 'b'", nil, false},
		"touched":  {"UPDATE sessions SET expiry = expiry + interval '1 hour' WHERE token = 'b'", nil, true},
		"replaced": {"DELETE FROM sessions WHERE token = 'b'; INSERT INTO sessions VALUES ('b', 'theirs', now() + interval '1 hour')", []byte("theirs"), false},
	} {
		for _, level := range []string{"read committed", "repeatable read", "serializable"} {
			t.Run(name+", "+level, func(t *testing.T) {
				t.Parallel()
				dsn, schema := testserver.Schema(t)
				dsn = with(t, dsn, "default_transaction_isolation", level)
				s, db := open(t, with(t, dsn, "application_name", schema), quiet(LayoutSCS)), rawDB(t, dsn)
				b, ba := one("b", string(body)), append(one("b", string(body)), one("a", string(body))...)
				for _, m := range []move{{b, "b"}, {b, "new"}, {ba, "a"}, {ba, "b"}, {ba, "new"}} {
					exec(t, db, "DELETE FROM sessions")
					commit(t, s, "a", body, inAnHour())
					commit(t, s, "b", body, inAnHour())
					what := fmt.Sprint(len(m.from), " to ", m.to)
					current, moved := m.beside(t, s, db, schema, c.change)
					if moved != c.moved {
						t.Fatalf("%s: Move gave %q, %t", what, current, moved)
					}
					if c.moved {
						wantFound(t, s, m.to, body2)
						continue
					}
					if len(current) != len(m.from) || string(current[0]) != string(c.want) || (current[0] == nil) != (c.want == nil) {
						t.Errorf("%s: Move gave %q, want %q", what, current, c.want)
					}
					if c.want == nil {
						wantAbsent(t, s, "b")
					} else {
						wantFound(t, s, "b", c.want)
					}
					wantFound(t, s, "a", body)
					wantAbsent(t, s, "new")
				}
			})
		}
	}
}

type move struct {
	from []contract.Record
	to   string
}

// beside runs a move to body2 that waits for another transaction.
func (m move) beside(t *testing.T, s *Store, db *sql.DB, application, query string, args ...any) (current [][]byte, moved bool) {
	t.Helper()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec(query, args...); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		var err error
		current, moved, err = s.Move(t.Context(), m.from, m.to, body2, inAnHour())
		ended <- err
	}()
	waitForLock(t, db, application, ended)
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("Move gave %v", err)
	}
	return current, moved
}

// A token that Postgres can't store is an error only in a write.
func TestUnstorable(t *testing.T) {
	t.Parallel()
	dsn, _ := testserver.Schema(t)
	for _, layout := range allLayouts {
		opts := quiet(layout)
		opts.TableName = "t_" + strings.ReplaceAll(string(layout), "-", "_")
		s := open(t, dsn, opts)
		tokens := []string{"\x00", "secret\x00id", "secret\xffid"}
		if most := s.table.MaxID; most > 0 {
			tokens = append(tokens, strings.Repeat("x", most+1))
		}
		for _, token := range tokens {
			err := s.Commit(token, body, inAnHour())
			if err == nil || strings.Contains(err.Error(), "secret") || !strings.HasPrefix(err.Error(), "postgres: commit: ") {
				t.Errorf("%s: Commit gave %v", layout, err)
			}
			if _, _, err := s.Swap(t.Context(), token, nil, body, inAnHour()); err == nil {
				t.Errorf("%s: Swap created what cannot be kept", layout)
			}
			commit(t, s, "plain", body, inAnHour())
			commit(t, s, "plain too", body, inAnHour())
			two := append(one("plain", string(body)), one("plain too", string(body))...)
			for _, from := range [][]contract.Record{two[:1], two} {
				_, moved, err := s.Move(t.Context(), from, token, body, inAnHour())
				if moved || err == nil || strings.Contains(err.Error(), "secret") || !strings.HasPrefix(err.Error(), "postgres: move: ") {
					t.Errorf("%s: Move to what cannot be kept gave %t, %v", layout, moved, err)
				}
				if !errors.Is(err, contract.ErrRejected) {
					t.Errorf("%s: Move to what cannot be kept gave %v, want ErrRejected", layout, err)
				}
				if !storable(token) && !strings.Contains(fmt.Sprint(err), "NUL byte") {
					t.Errorf("%s: Move asked the server: %v", layout, err)
				}
				wantFound(t, s, "plain", body)
				wantFound(t, s, "plain too", body)
			}
			two[1].Token = token
			for _, from := range [][]contract.Record{two[1:], two} {
				for _, to := range []string{"new", token, "plain"} {
					current, moved, err := s.Move(t.Context(), from, to, body2, inAnHour())
					if moved || err != nil || len(current) != len(from) || current[len(from)-1] != nil {
						t.Errorf("%s: Move gave %q, %t, %v", layout, current, moved, err)
					}
				}
			}
			wantFound(t, s, "plain", body)
			wantAbsent(t, s, token)
			if current, swapped, err := s.Swap(t.Context(), token, body, body, inAnHour()); current != nil || swapped || err != nil {
				t.Errorf("%s: Swap gave %q, %t, %v", layout, current, swapped, err)
			}
		}
	}
}

func TestInvalidData(t *testing.T) {
	t.Parallel()
	dsn, _ := testserver.Schema(t)
	for _, layout := range allLayouts[1:] {
		opts := quiet(layout)
		opts.TableName = "t_" + strings.ReplaceAll(string(layout), "-", "_")
		s := open(t, dsn, opts)
		for _, data := range []string{"", "secret", `{"a":secret}`, "{\"a\":\"secret\xff\"}", "\"secret\x00\""} {
			err := s.Commit("secret-id", []byte(data), inAnHour())
			if err == nil || strings.Contains(err.Error(), "secret") || !strings.HasPrefix(err.Error(), "postgres: commit: ") {
				t.Errorf("%s: Commit of %q gave %v", layout, data, err)
			}
			if !errors.Is(err, contract.ErrRejected) {
				t.Errorf("%s: Commit of %q gave %v, want ErrRejected", layout, data, err)
			}
		}
		wantAbsent(t, s, "secret-id")
		if _, _, err := s.Swap(t.Context(), "id", nil, []byte("no JSON"), inAnHour()); err == nil {
			t.Errorf("%s: Swap took what is no JSON", layout)
		}
		commit(t, s, "id", body, inAnHour())
		commit(t, s, "other", body, inAnHour())
		two := append(one("id", string(body)), one("other", string(body))...)
		for _, from := range [][]contract.Record{two[:1], two} {
			for _, to := range []string{"new", "id"} {
				_, moved, err := s.Move(t.Context(), from, to, []byte("a secret"), inAnHour())
				if moved || err == nil || strings.Contains(err.Error(), "secret") || !strings.HasPrefix(err.Error(), "postgres: move: ") {
					t.Errorf("%s: Move to what is no JSON gave %t, %v", layout, moved, err)
				}
				wantFound(t, s, "id", body)
				wantFound(t, s, "other", body)
			}
		}
	}
}

func TestInfinity(t *testing.T) {
	t.Parallel()
	dsn, _ := testserver.Schema(t)
	s := open(t, dsn, quiet(LayoutConnectPgSimple))
	exec(t, s.db, `INSERT INTO session VALUES ('id', '{}', 'infinity')`)
	_, expiry, found, err := s.FindExpiry(t.Context(), "id")
	if err != nil || !found || expiry.UTC().Year() != 9999 {
		t.Errorf("FindExpiry gave %v, %t, %v", expiry, found, err)
	}
}

// Range shows no record twice where two pages meet, and misses none if the record
// there is deleted meanwhile.
func TestRangePages(t *testing.T) {
	t.Parallel()
	dsn, _ := testserver.Schema(t)
	opts := quiet(LayoutSCS)
	opts.MaxConns = 1 // fn calls the store
	s := open(t, dsn, opts)
	s.page = 3
	const n = 10
	for i := range n {
		commit(t, s, strings.Repeat("i", i), body, inAnHour()) // the empty id too
	}
	for _, deleting := range []bool{false, true} {
		seen := 0
		err := s.Range(t.Context(), func(token string, _ []byte) error {
			seen++
			if deleting {
				return s.Delete(token)
			}
			return nil
		})
		if err != nil || seen != n {
			t.Errorf("deleting=%t: Range saw %d records, %v, want %d", deleting, seen, err, n)
		}
	}
}

func TestClearBatches(t *testing.T) {
	t.Parallel()
	dsn, _ := testserver.Schema(t)
	s := open(t, dsn, quiet(LayoutSCS))
	s.batch = 3
	for i := range 10 {
		commit(t, s, strings.Repeat("i", i), body, time.Now().Add(time.Duration(i-5)*time.Hour))
	}
	if err := s.Clear(t.Context()); err != nil {
		t.Fatal(err)
	}
	var left int
	if err := s.db.QueryRow("SELECT count(*) FROM sessions").Scan(&left); err != nil || left != 0 {
		t.Errorf("%d rows are left after Clear, %v", left, err)
	}
}

// Each call ends with its context or after Options.Timeout, both when the server
// doesn't answer and when the pool has no free connection.
func TestDeadlines(t *testing.T) {
	t.Parallel()
	dsn, _ := testserver.Schema(t)
	s := open(t, dsn, quiet(LayoutSCS))
	opts := quiet(LayoutSCS)
	opts.Timeout = 50 * time.Millisecond
	opts.MaxConns = 1
	hasty := open(t, dsn, opts)
	hasty.timeout = time.Minute
	commit(t, s, "id", body, inAnHour())
	commit(t, hasty, "id", body, inAnHour())
	hasty.timeout = opts.Timeout

	tx, err := rawDB(t, dsn).Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec("LOCK TABLE sessions"); err != nil {
		t.Fatal(err)
	}

	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := s.FindCtx(short, "id"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("FindCtx past its deadline gave %v", err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if err := s.CommitCtx(cancelled, "id", body, inAnHour()); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled CommitCtx gave %v", err)
	}
	if _, _, err := hasty.Find("id"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Find past Options.Timeout gave %v", err)
	}
	conn, err := hasty.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := hasty.Find("id"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Find without a free connection gave %v", err)
	}
	conn.Close()
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	wantFound(t, s, "id", body)
	hasty.timeout = time.Minute
	wantFound(t, hasty, "id", body)
}

// proxy forwards connections to a server. While it holds them, no data arrives and no
// connection is closed.
type proxy struct {
	net.Listener
	held chan chan struct{} // holds a channel; closing that lets data through
	// lose is called once, for the server's answer after the next skip ones. That
	// answer and its connection are lost.
	lose atomic.Pointer[func()]
	skip atomic.Int64

	accepted atomic.Int64 // connections
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l, held: make(chan chan struct{}, 1)}
	through := make(chan struct{})
	close(through)
	p.held <- through
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			p.accepted.Add(1)
			server, err := net.Dial("tcp", to)
			if err != nil {
				client.Close()
				continue
			}
			go p.forward(client, server, nil)
			go p.forward(server, client, &p.lose)
		}
	}()
	return p
}

func (p *proxy) forward(from, to net.Conn, lose *atomic.Pointer[func()]) {
	defer from.Close()
	defer to.Close()
	b := make([]byte, 1<<16)
	for {
		n, err := from.Read(b)
		gate := <-p.held
		p.held <- gate
		<-gate
		if lose != nil {
			if lose.Load() != nil && p.skip.Add(-1) < 0 {
				if f := lose.Swap(nil); f != nil {
					(*f)()
					return
				}
			}
		}
		if _, werr := to.Write(b[:n]); err != nil || werr != nil {
			return
		}
	}
}

func (p *proxy) hold() (release func()) {
	<-p.held
	gate := make(chan struct{})
	p.held <- gate
	return sync.OnceFunc(func() { close(gate) })
}

// A server that vanishes closes no connection. Calls return nevertheless, and succeed
// once the server is back.
func TestVanishedServer(t *testing.T) {
	t.Parallel()
	dsn, _ := testserver.Schema(t)
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	p := newProxy(t, u.Host)
	u.Host = p.Addr().String()
	opts := quiet(LayoutSCS)
	opts.Timeout, opts.ConnectTimeout, opts.MaxConns = 100*time.Millisecond, time.Second, 2
	s := open(t, u.String(), opts)
	s.timeout = time.Minute
	commit(t, s, "id", body, inAnHour())
	s.timeout = opts.Timeout

	release := p.hold()
	defer time.AfterFunc(30*time.Second, release).Stop()
	start := time.Now()
	for range 3 {
		if _, _, err := s.Find("id"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Find gave %v", err)
		}
	}
	if took := time.Since(start); took > 15*time.Second {
		t.Errorf("3 calls took %v", took)
	}
	release()
	s.timeout = time.Minute
	wantFound(t, s, "id", body)
}

// A client that hangs up while its statement runs costs no connection, and its statement
// is done.
func TestAbortedCallsKeepTheirConnection(t *testing.T) {
	t.Parallel()
	dsn, _ := testserver.Schema(t)
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	p := newProxy(t, u.Host)
	u.Host = p.Addr().String()
	for _, named := range []bool{false, true} {
		opts := quiet(LayoutSCS)
		opts.Timeout, opts.MaxConns, opts.PreparedStatements = time.Minute, 1, named
		s := open(t, u.String(), opts)
		commit(t, s, "id", body, inAnHour())
		commit(t, s, "id", body2, inAnHour())
		wantFound(t, s, "id", body2)
		before := p.accepted.Load()
		for i := range 50 {
			release := p.hold()
			ctx, cancel := context.WithCancel(t.Context())
			called := make(chan error, 1)
			data := fmt.Append(nil, i)
			go func() {
				err := s.CommitCtx(ctx, "id", data, inAnHour())
				if _, _, findErr := s.FindCtx(ctx, "id"); !errors.Is(findErr, context.Canceled) {
					err = errors.Join(err, fmt.Errorf("Find after a hang-up gave %w", findErr))
				}
				called <- err
			}()
			for s.db.Stats().InUse == 0 {
				runtime.Gosched()
			}
			cancel()
			release()
			if err := <-called; err != nil {
				t.Fatal(err)
			}
			wantFound(t, s, "id", data)
		}
		if made := p.accepted.Load() - before; made != 0 {
			t.Errorf("named=%t: 50 aborted calls made %d connections", named, made)
		}
	}
}

// An answer that arrives byte by byte times out too.
func TestDrippingServer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	defer close(done)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		drops := time.NewTicker(10 * time.Millisecond)
		defer drops.Stop()
		for {
			select {
			case <-done:
				return
			case <-drops.C:
			}
			if _, err := c.Write([]byte{0}); err != nil {
				return
			}
		}
	}()

	d := &dialer{}
	d.limit.Store(int64(100 * time.Millisecond))
	c, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(10*time.Second, func() { c.Close() }).Stop()
	// The driver does this once it is connected.
	if err := c.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := c.Write([]byte("a statement")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, c); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("reading the answer ended with %v", err)
		}
	}
}

// The answer to a Swap is lost with its connection, and database/sql sends the
// statement again on another one. The second one fails because of the first, or
// because of a write that followed it. Swap must not report that as a refusal.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	one, two, three := []byte(`{"n":1}`), []byte(`{"n":2}`), []byte(`{"n":3}`)
	for _, layout := range allLayouts {
		t.Run(string(layout), func(t *testing.T) {
			t.Parallel()
			dsn, schema := testserver.Schema(t)
			u, err := url.Parse(dsn)
			if err != nil {
				t.Fatal(err)
			}
			p := newProxy(t, u.Host)
			u.Host = p.Addr().String()
			opts := quiet(layout)
			opts.MaxConns = 1
			s, other := open(t, with(t, u.String(), "application_name", schema), opts), open(t, dsn, opts)
			past := time.Now().Add(-time.Minute)
			for name, c := range map[string]struct {
				old, new []byte
				then     func(token string) // another client's write
				swapped  bool
				until    time.Time
			}{
				"touch": {old: one, new: one, swapped: true},
				"touch, and touched": {old: one, new: one, swapped: true, then: func(token string) {
					if _, swapped, err := other.Swap(t.Context(), token, one, one, inAnHour()); !swapped || err != nil {
						t.Error(swapped, err)
					}
				}},
				"touch, and changed": {old: one, new: one, then: func(token string) {
					commit(t, other, token, three, inAnHour())
				}},
				"touch to the past":   {old: one, new: one, until: past},
				"replace in the past": {old: one, new: two, until: past},
				"replace":             {old: one, new: two, swapped: true},
				"create":              {new: two, swapped: true},
				"delete":              {old: one},
				"replace, and changed": {old: one, new: two, then: func(token string) {
					commit(t, other, token, three, inAnHour())
				}},
				"replace, and deleted": {old: one, new: two, then: func(token string) {
					if err := other.DeleteCtx(t.Context(), token); err != nil {
						t.Error(err)
					}
				}},
				"create, and changed": {new: two, then: func(token string) {
					commit(t, other, token, three, inAnHour())
				}},
			} {
				// This prepares the statement on the connection, so that the lost
				// answer is that of the Swap.
				if c.until.IsZero() {
					c.until = inAnHour()
				}
				if _, _, err := s.Swap(t.Context(), "other "+name, c.old, c.new, c.until); err != nil {
					t.Fatal(err)
				}
				if c.old != nil {
					commit(t, other, name, c.old, inAnHour())
				}
				lost := func() {
					if c.then != nil {
						c.then(name)
					}
				}
				p.lose.Store(&lost)
				current, swapped, err := s.Swap(t.Context(), name, c.old, c.new, c.until)
				check := func(name string) {
					t.Helper()
					if p.lose.Load() != nil {
						t.Fatalf("%s: no answer was lost", name)
					}
					if swapped != c.swapped || (err == nil) != c.swapped {
						t.Errorf("%s: Swap gave %q, %t, %v", name, current, swapped, err)
					}
				}
				check(name)
				if c.old == nil || c.new == nil || bytes.Equal(c.old, c.new) {
					continue // does not go in a batch
				}
				commit(t, other, name, c.old, inAnHour())
				s.queues.replace.Together(1, func(int) {
					p.lose.Store(&lost)
					current, swapped, err = s.Swap(t.Context(), name, c.old, c.new, c.until)
				})
				check(name + ", in a batch")
			}

			// A statement that could not be sent at all is retried.
			commit(t, other, "id", one, inAnHour())
			exec(t, rawDB(t, dsn), "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = $1", schema)
			if current, swapped, err := s.Swap(t.Context(), "id", one, two, inAnHour()); !swapped || err != nil {
				t.Errorf("Swap on a terminated connection gave %q, %t, %v", current, swapped, err)
			}
		})
	}
}

// The same for Move: the lost answer is that of the statement for one record, or that
// of the transaction's end for two.
func TestLostAnswerOfMove(t *testing.T) {
	t.Parallel()
	data, next, three := `{"n":1}`, []byte(`{"n":2}`), []byte(`{"n":3}`)
	for _, layout := range allLayouts {
		t.Run(string(layout), func(t *testing.T) {
			t.Parallel()
			dsn, schema := testserver.Schema(t)
			u, err := url.Parse(dsn)
			if err != nil {
				t.Fatal(err)
			}
			p := newProxy(t, u.Host)
			u.Host = p.Addr().String()
			opts := quiet(layout)
			opts.MaxConns = 1
			s, other := open(t, with(t, u.String(), "application_name", schema), opts), open(t, dsn, opts)
			terminate := func() {
				exec(t, rawDB(t, dsn), "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = $1", schema)
			}
			for name, c := range map[string]struct {
				then  func(token string) // another client's write
				until time.Time
				moved bool
			}{
				"moved": {moved: true},
				"moved, and changed": {then: func(token string) {
					commit(t, other, token+" new", three, inAnHour())
				}},
				"moved, and deleted": {then: func(token string) {
					if err := other.DeleteCtx(t.Context(), token+" new"); err != nil {
						t.Error(err)
					}
				}},
				"moved, and made again": {then: func(token string) {
					commit(t, other, token, three, inAnHour())
				}},
				"moved in the past": {until: time.Now().Add(-time.Minute)},
			} {
				if c.until.IsZero() {
					c.until = inAnHour()
				}
				// This prepares the statements on the connection, so that the lost
				// answer is that of the Move.
				if _, _, err := s.Move(t.Context(), one("none", data), "new", next, c.until); err != nil {
					t.Fatal(err)
				}
				commit(t, other, name, []byte(data), inAnHour())
				loseNext := func() {
					if c.then != nil {
						c.then(name)
					}
				}
				p.lose.Store(&loseNext)
				current, moved, err := s.Move(t.Context(), one(name, data), name+" new", next, c.until)
				if p.lose.Load() != nil {
					t.Fatalf("%s: no answer was lost", name)
				}
				if moved != c.moved || (err == nil) != c.moved {
					t.Errorf("%s: Move gave %q, %t, %v", name, current, moved, err)
				}
			}

			// Whichever answer is lost, a merge is atomic and its result is never
			// reported wrongly.
			ends := make(map[bool]int)
			for answer := 0; ; answer++ {
				token := fmt.Sprint("merge ", answer)
				two := append(one(token, data), one(token+" too", data)...)
				commit(t, other, two[0].Token, []byte(data), inAnHour())
				commit(t, other, two[1].Token, []byte(data), inAnHour())
				if _, moved, err := s.Move(t.Context(), append(one("none", data), two...), "new", next, inAnHour()); moved || err != nil {
					t.Fatal(moved, err)
				}
				lose := func() {}
				p.skip.Store(int64(answer))
				p.lose.Store(&lose)
				_, moved, err := s.Move(t.Context(), two, token+" new", next, inAnHour())
				kept := p.lose.Swap(nil) != nil
				p.skip.Store(0)
				all, findErr := other.All()
				if findErr != nil {
					t.Fatal(findErr)
				}
				_, there := all[token+" new"]
				_, a := all[two[0].Token]
				_, b := all[two[1].Token]
				if there == a || a != b {
					t.Errorf("without answer %d: the new record is there: %t, the old ones: %t, %t", answer, there, a, b)
				}
				if moved && !there || !moved && err == nil {
					t.Errorf("without answer %d: Move gave %t, %v, and the record is there: %t", answer, moved, err, there)
				}
				if kept {
					if !moved || err != nil {
						t.Errorf("no answer was lost: Move gave %t, %v", moved, err)
					}
					break
				}
				if err != nil {
					ends[there]++
				}
			}
			if ends[true] == 0 || ends[false] == 0 {
				t.Errorf("%d merges have failed after they were done, and %d before, want some of each", ends[true], ends[false])
			}

			// A statement that could not be sent at all is retried.
			commit(t, other, "id", []byte(data), inAnHour())
			terminate()
			if current, moved, err := s.Move(t.Context(), one("id", data), "id new", next, inAnHour()); !moved || err != nil {
				t.Errorf("Move on a terminated connection gave %q, %t, %v", current, moved, err)
			}
			commit(t, other, "id", []byte(data), inAnHour())
			terminate()
			two := append(one("id", data), one("id new", string(next))...)
			if current, moved, err := s.Move(t.Context(), two, "id", next, inAnHour()); !moved || err != nil {
				t.Errorf("Move of two on a terminated connection gave %q, %t, %v", current, moved, err)
			}
		})
	}
}

func TestTerminatedConnections(t *testing.T) {
	t.Parallel()
	dsn, schema := testserver.Schema(t)
	s := open(t, with(t, dsn, "application_name", schema), quiet(LayoutSCS))
	commit(t, s, "id", body, inAnHour())
	exec(t, rawDB(t, dsn), "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = $1", schema)
	wantFound(t, s, "id", body)
}

func TestNewLeavesDBOpen(t *testing.T) {
	t.Parallel()
	dsn, _ := testserver.Schema(t)
	db := rawDB(t, dsn)
	s, err := New(t.Context(), db, Options{CreateTable: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := s.Find("id"); err == nil {
		t.Error("Find worked after Close")
	}
	if err := db.Ping(); err != nil {
		t.Errorf("the caller's database is closed: %v", err)
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

func newLogs() logs { return logs{slog.DiscardHandler, make(chan slog.Record, 100)} }

// next returns the next record of a level.
func (l logs) next(t *testing.T, level slog.Level) slog.Record {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case r := <-l.records:
			if r.Level == level {
				return r
			}
		case <-timeout:
			t.Fatalf("no %v was logged", level)
		}
	}
}

func attrs(r slog.Record) string {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		text += " " + a.String()
		return true
	})
	return text
}

func TestCleanup(t *testing.T) {
	dsn, _ := testserver.Schema(t)
	db := rawDB(t, dsn)
	exec(t, db, "SELECT") // starts the pool's own goroutines
	defer leaktest.Goroutines(t)()

	l := newLogs()
	s, err := Open(t.Context(), dsn, Options{CreateTable: true, CleanupInterval: 10 * time.Millisecond, Logger: slog.New(l)})
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, "live", body, inAnHour())
	commit(t, s, "expired", body, time.Now().Add(-time.Minute))
	if got := attrs(l.next(t, slog.LevelDebug)); got != `expired sessions deleted table="sessions" count=1` {
		t.Errorf("logged %s", got)
	}
	wantFound(t, s, "live", body)

	exec(t, db, "ALTER TABLE sessions RENAME TO away")
	if got := attrs(l.next(t, slog.LevelError)); !strings.Contains(got, `postgres: clean-up: table "sessions" does not exist`) {
		t.Errorf("logged %s", got)
	}
	exec(t, db, "ALTER TABLE away RENAME TO sessions")
	commit(t, s, "expired", body, time.Now().Add(-time.Minute))
	l.next(t, slog.LevelDebug) // the clean-up continues after an error

	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// Close returns only after the clean-up has logged its last record.
func TestCloseWaitsForCleanup(t *testing.T) {
	t.Parallel()
	dsn, _ := testserver.Schema(t)
	l := logs{slog.DiscardHandler, make(chan slog.Record)}
	s, err := Open(t.Context(), dsn, Options{CreateTable: true, CleanupInterval: 10 * time.Millisecond, Logger: slog.New(waiting{l})})
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, "expired", body, time.Now().Add(-time.Minute))
	<-l.records
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		t.Fatalf("Close has not waited for the clean-up: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	<-l.records
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// waiting is a slog.Handler that blocks until the record has been received twice.
type waiting struct{ logs }

func (w waiting) Handle(_ context.Context, r slog.Record) error {
	w.records <- r
	w.records <- r
	return nil
}

// Close cancels a clean-up that waits for the server, and logs nothing about it.
func TestCloseEndsCleanup(t *testing.T) {
	dsn, _ := testserver.Schema(t)
	db := rawDB(t, dsn)
	exec(t, db, "SELECT")
	defer leaktest.Goroutines(t)()

	l := newLogs()
	s, err := Open(t.Context(), dsn, Options{CreateTable: true, CleanupInterval: time.Millisecond, Timeout: -1, Logger: slog.New(l)})
	if err != nil {
		t.Fatal(err)
	}
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	var table int
	if err := tx.QueryRow("SELECT 'sessions'::regclass::oid").Scan(&table); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec("LOCK TABLE sessions"); err != nil {
		t.Fatal(err)
	}
	for waiting := false; !waiting; {
		err := tx.QueryRow("SELECT EXISTS (SELECT FROM pg_locks, pg_sleep(0.01) WHERE relation = $1 AND NOT granted)", table).Scan(&waiting)
		if err != nil {
			t.Fatal(err)
		}
	}
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("Close waits for the clean-up's statement")
		_ = tx.Rollback()
		if err := <-closed; err != nil {
			t.Error(err)
		}
	}
	select {
	case r := <-l.records:
		t.Errorf("Close has logged %s", attrs(r))
	default:
	}
}

// Two concurrent clean-ups share the work, and neither waits for a row that another
// transaction has locked.
func TestCleanupBatches(t *testing.T) {
	for _, layout := range allLayouts {
		t.Run(string(layout), func(t *testing.T) {
			t.Parallel()
			dsn, _ := testserver.Schema(t)
			stores := []*Store{open(t, dsn, quiet(layout)), open(t, dsn, quiet(layout))}
			table := stores[0].table
			stamps, now, _ := table.stamps()
			fill := fmt.Sprintf(`INSERT INTO %s (%s, %s, %s%s) SELECT $1 || i, $2, now() + $3::interval%s FROM generate_series(1, $4) i`,
				table.q, table.qID, table.qData, table.qExpiry, stamps, now)
			const expired = 1000
			exec(t, stores[0].db, fill, "expired", body, "-1 minute", expired)
			exec(t, stores[0].db, fill, "live", body, "1 minute", 100)

			tx, err := stores[0].db.Begin()
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback()
			if _, err := tx.Exec(fmt.Sprintf("SELECT FROM %s WHERE %s = 'expired500' FOR UPDATE", table.q, table.qID)); err != nil {
				t.Fatal(err)
			}
			var deleted [2]int64
			var wg sync.WaitGroup
			for i, s := range stores {
				s.batch = 10
				wg.Go(func() {
					var err error
					if deleted[i], err = s.Prune(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if deleted[0]+deleted[1] != expired-1 {
				t.Errorf("%d expired rows were deleted, want all %d but the locked one", deleted, expired)
			}
			if err := tx.Rollback(); err != nil {
				t.Fatal(err)
			}
			if n, err := stores[0].Prune(t.Context()); n != 1 || err != nil {
				t.Errorf("deleted %d, %v when the row was free, want 1", n, err)
			}
			if n, err := stores[0].Len(t.Context()); n != 100 || err != nil {
				t.Errorf("%d live rows are left, %v, want 100", n, err)
			}
		})
	}
}

// The rows of several partitions have the same ctid.
func TestCleanupPartitioned(t *testing.T) {
	t.Parallel()
	dsn, _ := testserver.Schema(t)
	db := rawDB(t, dsn)
	exec(t, db, `CREATE TABLE sessions (token text PRIMARY KEY, data bytea NOT NULL, expiry timestamptz NOT NULL) PARTITION BY HASH (token);
		CREATE TABLE p0 PARTITION OF sessions FOR VALUES WITH (MODULUS 2, REMAINDER 0);
		CREATE TABLE p1 PARTITION OF sessions FOR VALUES WITH (MODULUS 2, REMAINDER 1);
		INSERT INTO sessions SELECT i, '', now() + i * interval '1 minute' FROM generate_series(-49, 50) i`)
	s := open(t, dsn, quiet(LayoutSCS))
	if n, err := s.Prune(t.Context()); n != 50 || err != nil {
		t.Errorf("deleted %d, %v, want 50", n, err)
	}
	if n, err := s.Len(t.Context()); n != 50 || err != nil {
		t.Errorf("%d live rows are left, %v, want 50", n, err)
	}
}
