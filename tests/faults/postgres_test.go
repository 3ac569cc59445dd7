//go:build unix

package faults

import (
	"database/sql"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/samesid/samesid/backends/postgres"
	"github.com/samesid/samesid/internal/testserver"
)

// onPostgres runs a test on each layout in turn, on one server. admin is a superuser's
// connection that bypasses the proxy, with the layout's tables in its search_path.
func onPostgres(t *testing.T, l limits, test func(t *testing.T, server *testserver.Server, admin *database, s *system)) {
	server := testserver.StartPostgres(t)
	for _, layout := range postgresLayouts {
		t.Run(layout, func(t *testing.T) {
			url := schema(t, server, "on-"+layout)
			admin := &database{t, openDB(t, url)}
			test(t, server, admin, newSystem(t, server.Addr, url, postgres.Options{Layout: postgres.Layout(layout)}, l))
		})
	}
}

// schema creates a schema and returns the URL of connections that use it.
func schema(t *testing.T, server *testserver.Server, name string) string {
	t.Helper()
	(&database{t, openDB(t, server.URL)}).exec(`CREATE SCHEMA "` + name + `"`)
	return server.URL + "&search_path=" + url.QueryEscape(`"`+name+`"`)
}

type database struct {
	t *testing.T
	*sql.DB
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

func (db *database) exec(query string, args ...any) {
	db.t.Helper()
	if _, err := db.ExecContext(db.t.Context(), query, args...); err != nil {
		db.t.Fatalf("%s: %v", query, err)
	}
}

// table returns the name of the layout's table.
func table(layout string) string {
	switch layout {
	case "connect-pg-simple":
		return "session"
	case "connect-session-sequelize":
		return `"Sessions"`
	}
	return "sessions"
}

// The server terminates the connections, whatever they are doing.
func TestPostgresTerminated(t *testing.T) {
	onPostgres(t, limits{}, func(t *testing.T, _ *testserver.Server, admin *database, s *system) {
		l := s.run(t)
		for range 10 {
			admin.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'")
			l.next(false)
			l.await("answers", all(func(c tally) bool { return c.ok() >= 20 }))
		}
		l.recover()
	})
}

// The server crashes under load, whatever its connections are doing.
func TestPostgresCrash(t *testing.T) {
	onPostgres(t, limits{}, func(t *testing.T, server *testserver.Server, _ *database, s *system) {
		l := s.run(t)
		server.Kill()
		l.next(true)
		l.await("failures", allFailTwice)
		l.next(false)
		server.Start()
		l.recover()
	})
}

// The server rejects writes, as a standby does.
func TestPostgresReadOnly(t *testing.T) {
	onPostgres(t, limits{}, func(t *testing.T, _ *testserver.Server, admin *database, s *system) {
		l := s.run(t)
		set := func(to string) {
			admin.exec("ALTER SYSTEM SET default_transaction_read_only = " + to)
			admin.exec("SELECT pg_reload_conf()")
		}
		set("on")
		l.next(false)
		l.await("failures", allFailTwice)
		// By now the setting applies to every connection.
		l.next(true)
		l.await("failures", allFailTwice)
		l.next(false)
		set("off")
		l.recover()
	})
}

// The disk is full: the server reports SQLSTATE 53100 for every write that needs room.
// Here a trigger raises it, since mounting a small disk would require root.
func TestPostgresDiskFull(t *testing.T) {
	onPostgres(t, limits{}, func(t *testing.T, _ *testserver.Server, admin *database, s *system) {
		l := s.run(t)
		name := table(layoutOf(t))
		admin.exec(`CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
			$$ BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$`)
		admin.exec("CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON " + name + " EXECUTE FUNCTION full_disk()")
		l.next(true)
		l.await("failures", allFailTwice)
		l.next(false)
		admin.exec("DROP TRIGGER full_disk ON " + name)
		l.recover()
	})
}

func layoutOf(t *testing.T) string {
	return t.Name()[strings.LastIndex(t.Name(), "/")+1:]
}

// Another transaction locks one session's row. That session's requests time out, and all
// others go on.
func TestPostgresRowLocked(t *testing.T) {
	onPostgres(t, limits{wait: time.Second}, func(t *testing.T, _ *testserver.Server, admin *database, s *system) {
		t.Parallel() // the lock affects only this test's table
		l := s.run(t)
		g := l.groups[0]
		held := l.session(g)
		id, _, _ := strings.Cut(strings.TrimPrefix(held.cookie, "connect.sid=s%3A"), ".")

		tx, err := admin.Begin()
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		column := "sid"
		if layoutOf(t) == "scs" {
			column = "token"
		}
		var one int
		if err := tx.QueryRow("SELECT 1 FROM "+table(layoutOf(t))+" WHERE "+column+" = $1 FOR UPDATE", id).Scan(&one); err != nil {
			t.Fatal(err)
		}
		l.next(false)
		l.await("failures of the session that is locked", func([]*group) bool { return g.tally.failed >= 2 })
		l.await("answers for the others", func(groups []*group) bool {
			return each(func(c tally) bool { return c.pages >= 10 && c.writes >= 10 })(groups[1:])
		})
		l.mu.Lock()
		if g.tally.ok() > 1 { // one may have had its answer when the lock was taken
			t.Errorf("%d requests of the session that is locked were answered", g.tally.ok())
		}
		l.mu.Unlock()
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		l.recover()
	})
}

// The server is gone for good, and a standby with its data takes over at another
// address.
func TestPostgresFailover(t *testing.T) {
	server := testserver.StartPostgres(t, "wal_level=logical")
	standby := testserver.StartPostgres(t, "wal_level=logical")
	admin, there := &database{t, openDB(t, server.URL)}, &database{t, openDB(t, standby.URL)}
	var systems []*system
	var tables []string
	for _, layout := range postgresLayouts {
		o := postgres.Options{Layout: postgres.Layout(layout)}
		systems = append(systems, newSystem(t, server.Addr, schema(t, server, layout), o, limits{}))
		tables = append(tables, `"`+layout+`".`+table(layout))

		// The standby gets the tables, and replicates what is written to them.
		o.CreateTable = true
		store, err := postgres.Open(t.Context(), schema(t, standby, layout), o)
		if err != nil {
			t.Fatal(err)
		}
		store.Close()
	}
	admin.exec("CREATE PUBLICATION sessions FOR TABLE " + strings.Join(tables, ", "))
	there.exec("CREATE SUBSCRIPTION standby CONNECTION '" + server.URL + "' PUBLICATION sessions WITH (copy_data = false, synchronous_commit = 'on')")
	// Each commit waits until the standby has it.
	admin.exec("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
	admin.exec("SELECT pg_reload_conf()")
	until(t, "the replication", func() bool {
		var n int
		err := admin.QueryRow("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync' AND state = 'streaming'").Scan(&n)
		return err == nil && n == 1
	})

	var loads []*load
	for _, s := range systems {
		loads = append(loads, s.run(t))
	}
	server.Kill()
	for _, l := range loads {
		l.next(true)
	}
	there.exec("ALTER SUBSCRIPTION standby DISABLE")
	until(t, "the end of the replication", func() bool {
		var n int
		err := there.QueryRow("SELECT count(pid) FROM pg_stat_subscription").Scan(&n)
		return err == nil && n == 0
	})
	for _, l := range loads {
		l.await("failures", allFailTwice)
		l.next(false)
		l.proxy.lead(standby.Addr)
		l.recover()
	}
}
