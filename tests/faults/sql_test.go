//go:build unix

package faults

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/samesid/samesid/internal/eachstore"
	"github.com/samesid/samesid/internal/rig"
	"github.com/samesid/samesid/internal/testserver"
)

// The server stops or crashes under load, whatever its connections are doing. It loses
// nothing that was acknowledged.
func TestServerCrash(t *testing.T) {
	onOwn(t, limits{}, func(t *testing.T, s *system) {
		l := s.run(t)
		for _, end := range []func(){s.Server.Stop, s.Server.Kill} {
			l.Next(false)
			l.Await("answers", rig.Each(func(c rig.Tally) bool { return c.Pages >= 1 && c.Writes >= 2 }))
			end()
			out(l, allFailTwice)
			s.Server.Start()
		}
		l.Recover()
	}, eachstore.Kind.HasServer)
}

// onPostgres runs a test on layouts (eachstore.RunOwn) in turn, on one server.
func onPostgres(t *testing.T, l limits, test func(*testing.T, *system, *database)) {
	onOwn(t, l, func(t *testing.T, s *system) { test(t, s, s.database(t)) }, eachstore.IsOf("postgres"))
}

// database is access to the table of a system that bypasses the proxy.
type database struct {
	*eachstore.Table
	t *testing.T
}

func (s *system) database(t *testing.T) *database {
	t.Helper()
	return &database{s.Records(t, nil).Table, t}
}

func (db *database) exec(query string, args ...any) {
	db.t.Helper()
	if _, err := db.ExecContext(db.t.Context(), query, args...); err != nil {
		db.t.Fatalf("%s: %v", query, err)
	}
}

// is waits until a query returns true.
func (db *database) is(what, query string) {
	db.t.Helper()
	testserver.Until(db.t, what, func() (is bool) {
		return db.QueryRow(query).Scan(&is) == nil && is
	})
}

// The server terminates the connections, whatever they are doing.
func TestPostgresTerminated(t *testing.T) {
	onPostgres(t, limits{}, func(t *testing.T, s *system, db *database) {
		l := s.run(t)
		for range 5 {
			db.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'")
			l.Next(false)
			l.Await("answers", rig.Sum(func(c rig.Tally) bool { return c.OK() >= 20 }))
		}
		l.Recover()
	})
}

// The server rejects writes, as a standby does.
func TestPostgresReadOnly(t *testing.T) {
	onPostgres(t, limits{}, func(t *testing.T, s *system, db *database) {
		l := s.run(t)
		set := func(to string) {
			db.exec("ALTER SYSTEM SET default_transaction_read_only = " + to)
			db.exec("SELECT pg_reload_conf()")
		}
		set("on")
		l.Next(false)
		l.Await("failures", allFailTwice)
		out(l, allFailTwice) // by now the setting applies to every connection
		set("off")
		l.Recover()
	})
}

// The disk is full: each write that needs room fails. Here a trigger raises the error, since
// mounting a small disk would require root.
func TestPostgresDiskFull(t *testing.T) {
	onNetwork(t, limits{}, func(t *testing.T, s *system) {
		l, db := s.run(t), s.database(t)
		db.exec(`CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
			$$ BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$`)
		db.exec("CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON " + db.Name + " EXECUTE FUNCTION full_disk()")
		out(l, allFailTwice)
		db.exec("DROP TRIGGER full_disk ON " + db.Name)
		l.Recover()
	}, eachstore.IsOf("postgres"))
}

// Another transaction locks one session's row. That session's requests time out, and all
// others go on.
func TestPostgresRowLocked(t *testing.T) {
	onNetwork(t, limits{wait: time.Second}, func(t *testing.T, s *system) {
		l, db := s.run(t), s.database(t)
		g := l.Groups[0]
		tx, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		var one int
		if err := tx.QueryRow(fmt.Sprintf("SELECT 1 FROM %s WHERE %s = $1 FOR UPDATE", db.Name, db.ID), rig.ID(l.Cookie(g))).Scan(&one); err != nil {
			t.Fatal(err)
		}
		l.Next(false)
		l.Await("failures of the session that is locked", func([]*rig.Group) bool { return g.Tally.Failed >= 2 })
		l.Await("answers for the others", func(groups []*rig.Group) bool {
			return rig.Each(func(c rig.Tally) bool { return c.Pages >= 3 && c.Writes >= 3 })(groups[1:])
		})
		l.Do(func() {
			if g.Tally.OK() > 1 { // one may have had its answer when the lock was taken
				t.Errorf("%d requests of the session that is locked were answered", g.Tally.OK())
			}
		})
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		l.Recover()
	}, eachstore.IsOf("postgres"))
}

// onFile runs a test on layouts (eachstore.RunSome) whose sessions are in a file.
func onFile(t *testing.T, test func(*testing.T, *eachstore.Place)) {
	t.Parallel()
	eachstore.RunSome(t, func(t *testing.T, k eachstore.Kind) {
		t.Parallel()
		test(t, k.Place(t))
	}, eachstore.Kind.HasTable, func(k eachstore.Kind) bool { return !k.HasServer() })
}

// Another process holds the write lock of the file for longer than the timeout.
func TestFileLocked(t *testing.T) {
	onFile(t, func(t *testing.T, p *eachstore.Place) {
		s := newSystem(t, p, limits{})
		l := s.run(t)
		tx, err := s.database(t).BeginTx(t.Context(), nil) // takes the lock at once
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		out(l, allFailTwice)
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		l.Recover()
	})
}

// Parts of the file are overwritten. The users whose sessions are there get errors, and
// nobody is signed out or sees another's page. With a copy of the file all is as before.
func TestFileCorrupt(t *testing.T) {
	onFile(t, func(t *testing.T, p *eachstore.Place) {
		path := strings.TrimPrefix(p.URL, "sqlite:")
		var users []*rig.User
		// with runs fn on an app that has the file open.
		with := func(name string, fn func(t *testing.T, s *system)) {
			t.Run(name, func(t *testing.T) { fn(t, newSystem(t, p, limits{})) })
		}
		with("before", func(t *testing.T, s *system) {
			for i := range 40 {
				u := rig.NewUser(t, fmt.Sprint("user-", i), s.url)
				u.Login()
				u.Put("a", strings.Repeat("x", 1000))
				users = append(users, u)
			}
		})
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		const page = 4096
		corrupt := bytes.Clone(whole)
		for at := 5 * page; at < len(corrupt); at += 2 * page {
			copy(corrupt[at:min(at+page, len(corrupt))], bytes.Repeat([]byte{0xaa}, page))
		}
		write := func(data []byte) {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		see := func(s *system) (failed int) {
			for _, u := range users {
				for _, path := range []string{"/page", "/me"} {
					a := rig.Do(context.Background(), http.DefaultClient, "GET", s.url+path, u.Cookie, "")
					switch {
					case a.Status == http.StatusServiceUnavailable && a.Cookie() == "":
						failed++
					case a.Status != http.StatusOK || strings.Fields(a.Body + " ")[0] != u.Name:
						t.Errorf("%s of %s: %v", path, u.Name, a)
					}
				}
			}
			return failed
		}
		write(corrupt)
		with("corrupt", func(t *testing.T, s *system) {
			if see(s) == 0 {
				t.Error("no request has failed")
			}
		})
		write(whole)
		with("after", func(t *testing.T, s *system) {
			if n := see(s); n != 0 {
				t.Errorf("%d requests have failed", n)
			}
		})
	})
}

// The server is gone for good, and a standby with its data takes over at another
// address.
func TestPostgresFailover(t *testing.T) {
	t.Parallel()
	server := testserver.StartPostgres(t, "wal_level=logical")
	standby := testserver.StartPostgres(t, "wal_level=logical")
	open := func(s *testserver.Server) *database {
		t.Helper()
		db, err := sql.Open("postgres", s.URL)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		return &database{&eachstore.Table{DB: db}, t}
	}
	admin, there := open(server), open(standby)
	var systems []*system
	for _, k := range eachstore.All() {
		if k.Backend.Type == "postgres" {
			p := k.On(t, server)
			systems = append(systems, newSystem(t, p, limits{}))

			// The standby gets the table, and replicates what is written to it.
			twin := *p
			twin.Server, twin.URL = standby, strings.Replace(p.URL, server.Addr, standby.Addr, 1)
			there.exec("CREATE SCHEMA " + p.Schema(t))
			twin.Open(t)
		}
	}
	admin.exec("CREATE PUBLICATION sessions FOR ALL TABLES")
	there.exec("CREATE SUBSCRIPTION standby CONNECTION '" + server.URL + "' PUBLICATION sessions WITH (copy_data = false, synchronous_commit = 'on')")
	// Each commit waits until the standby has it.
	admin.exec("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
	admin.exec("SELECT pg_reload_conf()")
	admin.is("the replication", "SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync' AND state = 'streaming'")

	var loads []*rig.Load
	for _, s := range systems {
		loads = append(loads, s.run(t))
	}
	server.Kill()
	for _, l := range loads {
		l.Next(true)
	}
	there.exec("ALTER SUBSCRIPTION standby DISABLE")
	there.is("the end of the replication", "SELECT count(pid) = 0 FROM pg_stat_subscription")
	for i, l := range loads {
		l.Await("failures", allFailTwice)
		l.Next(false)
		systems[i].proxy.lead(standby.Addr)
		l.Recover()
	}
}
