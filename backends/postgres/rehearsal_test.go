package postgres

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/samesid/samesid/internal/testserver"
)

const (
	scsTable   = `CREATE TABLE sessions (token text PRIMARY KEY, data bytea NOT NULL, expiry timestamptz NOT NULL); CREATE INDEX ON sessions (expiry);`
	pgTable    = `CREATE TABLE session (sid varchar PRIMARY KEY, sess json NOT NULL, expire timestamp(6) NOT NULL); CREATE INDEX ON session (expire);`
	grantAll   = `GRANT SELECT, INSERT, UPDATE, DELETE ON sessions TO "the app";`
	grantAllPg = `GRANT SELECT, INSERT, UPDATE, DELETE ON session TO "the app";`
)

// Whatever keeps a role from its sessions is an error of Open, with the SQL that helps.
func TestRights(t *testing.T) {
	t.Parallel()
	server := testserver.StartPostgres(t)
	admin := rawDB(t, server.URL)
	exec(t, admin, `CREATE ROLE "the app" LOGIN`)
	fill := `INSERT INTO sessions SELECT i, '', now() + interval '1 hour' FROM generate_series(1, 10) i;`
	for name, c := range map[string]struct {
		sql, want string
		opts      Options
		stays     bool // the error has no SQL
	}{
		"nothing": {
			sql:  scsTable,
			want: `postgres: table "sessions": role "the app" may not SELECT, INSERT, UPDATE, DELETE; run:` + "\n\n" + `GRANT SELECT, INSERT, UPDATE, DELETE ON "sessions" TO "the app";` + "\n",
		},
		"read only": {
			sql:  scsTable + `GRANT SELECT ON sessions TO "the app";`,
			want: `postgres: table "sessions": role "the app" may not INSERT, UPDATE, DELETE; run:` + "\n\n" + `GRANT INSERT, UPDATE, DELETE ON "sessions" TO "the app";` + "\n",
		},
		"no DELETE": {
			sql:  scsTable + `GRANT SELECT, INSERT, UPDATE ON sessions TO "the app";`,
			want: `postgres: table "sessions": role "the app" may not DELETE; run:` + "\n\n" + `GRANT DELETE ON "sessions" TO "the app";` + "\n",
		},
		"no UPDATE": {
			sql:  scsTable + `GRANT SELECT, INSERT, DELETE ON sessions TO "the app";`,
			want: `postgres: table "sessions": role "the app" may not UPDATE; run:` + "\n\n" + `GRANT UPDATE ON "sessions" TO "the app";` + "\n",
		},
		"no INSERT": {
			sql:  scsTable + `GRANT SELECT, UPDATE, DELETE ON sessions TO "the app";`,
			want: `postgres: table "sessions": role "the app" may not INSERT; run:` + "\n\n" + `GRANT INSERT ON "sessions" TO "the app";` + "\n",
		},
		"no schema": {
			opts: Options{SchemaName: "app"},
			sql:  `CREATE SCHEMA app; SET search_path = app; ` + scsTable + grantAll,
			want: `postgres: table "app"."sessions": pq: permission denied for schema app (42501); run:` + "\n\n" + `GRANT USAGE ON SCHEMA "app" TO "the app";`,
		},
		"no right to create": {
			opts: Options{CreateTable: true},
			want: `postgres: table "sessions": pq: permission denied for schema public at position 1:14 (42501); run:` + "\n\n" + `GRANT USAGE, CREATE ON SCHEMA "public" TO "the app";`,
		},
		"no policy": {
			sql: scsTable + grantAll + `ALTER TABLE sessions ENABLE ROW LEVEL SECURITY;`,
			want: `postgres: table "sessions": row security keeps role "the app" from the sessions: INSERT was refused or did nothing; run:` + "\n\n" +
				`CREATE POLICY "sessions_samesid" ON "sessions" TO "the app" USING (true) WITH CHECK (true);` + "\n",
		},
		"a policy that hides rows": {
			sql: scsTable + grantAll + `ALTER TABLE sessions ENABLE ROW LEVEL SECURITY; CREATE POLICY a ON sessions FOR INSERT WITH CHECK (true);`,
			want: `postgres: table "sessions": row security keeps role "the app" from the sessions: INSERT was refused or did nothing; run:` + "\n\n" +
				`CREATE POLICY "sessions_samesid" ON "sessions" TO "the app" USING (true) WITH CHECK (true);` + "\n",
		},
		"a policy without DELETE": {
			sql: scsTable + grantAll + `ALTER TABLE sessions ENABLE ROW LEVEL SECURITY; CREATE POLICY a ON sessions FOR INSERT WITH CHECK (true);
				CREATE POLICY b ON sessions FOR SELECT USING (true); CREATE POLICY c ON sessions FOR UPDATE USING (true);`,
			want: `postgres: table "sessions": row security keeps role "the app" from the sessions: DELETE was refused or did nothing; run:` + "\n\n" +
				`CREATE POLICY "sessions_samesid" ON "sessions" TO "the app" USING (true) WITH CHECK (true);` + "\n",
		},
		"a restrictive policy": {
			sql: scsTable + grantAll + `ALTER TABLE sessions ENABLE ROW LEVEL SECURITY; CREATE POLICY a ON sessions USING (true);
				CREATE POLICY b ON sessions AS RESTRICTIVE FOR DELETE USING (data = 'x');`,
			want: `postgres: table "sessions": row security keeps role "the app" from the sessions: DELETE was refused or did nothing; run:` + "\n\n" +
				`ALTER TABLE "sessions" DISABLE ROW LEVEL SECURITY;` + "\n",
		},
		"short ids": {
			opts: Options{Layout: LayoutConnectPgSimple},
			sql: `CREATE TABLE session (sid varchar(20) PRIMARY KEY, sess json NOT NULL, expire timestamp(6) NOT NULL); CREATE INDEX ON session (expire);
				INSERT INTO session VALUES ('a', '{"cookie":{}}', now() + interval '1 hour');` + grantAllPg,
			want: `postgres: table "session": column "sid" or "sess" is too short for an id of 32 characters or a record of 1000; run:` + "\n\n" +
				`ALTER TABLE "session" ALTER COLUMN "sid" TYPE varchar(255), ALTER COLUMN "sess" TYPE json;` + "\n",
		},
		"short records": {
			opts: Options{Layout: LayoutConnectSessionSequelize},
			sql: `CREATE TABLE "Sessions" (sid varchar(36) PRIMARY KEY, data varchar(255), expires timestamptz, "createdAt" timestamptz NOT NULL, "updatedAt" timestamptz NOT NULL);
				GRANT SELECT, INSERT, UPDATE, DELETE ON "Sessions" TO "the app";`,
			want: `postgres: table "Sessions": column "sid" or "data" is too short for an id of 32 characters or a record of 1000; run:` + "\n\n" +
				`ALTER TABLE "Sessions" ALTER COLUMN "sid" TYPE varchar(36), ALTER COLUMN "data" TYPE text;` + "\n",
		},
		"a trigger that keeps rows": {
			sql: scsTable + grantAll + `CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
				CREATE TRIGGER "Keep" BEFORE DELETE ON sessions FOR EACH ROW EXECUTE FUNCTION keep();`,
			want:  `postgres: table "sessions": DELETE was accepted and did nothing; it has triggers or rules: "Keep"`,
			stays: true,
		},
		"a rule that keeps rows": {
			sql:   scsTable + grantAll + `CREATE RULE keep AS ON DELETE TO sessions DO INSTEAD NOTHING;`,
			want:  `postgres: table "sessions": DELETE was accepted and did nothing; it has triggers or rules: "keep"`,
			stays: true,
		},
		"a trigger that changes records": {
			sql: scsTable + grantAll + `CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.data = ''x''; RETURN NEW; END';
				CREATE TRIGGER change BEFORE INSERT ON sessions FOR EACH ROW EXECUTE FUNCTION change();`,
			want:  `postgres: table "sessions": what was written is not what is there; it has triggers or rules: "change"`,
			stays: true,
		},
		"a constraint": {
			sql:   scsTable + grantAll + `ALTER TABLE sessions ADD CONSTRAINT small CHECK (length(data) < 100);`,
			want:  `postgres: table "sessions": the INSERT of a session is refused: pq: new row for relation "sessions" violates check constraint "small" (23514)`,
			stays: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer exec(t, admin, `DROP TABLE IF EXISTS sessions, session, "Sessions"; DROP SCHEMA IF EXISTS app CASCADE; DROP FUNCTION IF EXISTS keep, change;
				REVOKE ALL ON SCHEMA public FROM "the app"; RESET search_path`)
			conn := rawDB(t, server.URL)
			conn.SetMaxOpenConns(1)
			if c.sql != "" {
				exec(t, conn, c.sql)
			}
			if strings.Contains(c.sql, "CREATE TABLE sessions") {
				exec(t, conn, fill)
			}
			dsn := strings.Replace(server.URL, "postgres@", "the%20app@", 1)
			c.opts.CleanupInterval = -1
			_, err := Open(t.Context(), dsn, c.opts)
			if err == nil || err.Error() != c.want {
				t.Fatalf("Open gave %v\nwant %s", err, c.want)
			}
			if c.stays {
				return
			}
			_, fix, _ := strings.Cut(err.Error(), "run:\n\n")
			exec(t, admin, fix)
			s := open(t, dsn, c.opts)
			use(t, s)
		})
	}
}

// use does everything with a record once.
func use(t *testing.T, s *Store) {
	t.Helper()
	commit(t, s, "id", body, inAnHour())
	wantFound(t, s, "id", body)
	if _, found, err := s.FindTouch(t.Context(), "id", inAnHour()); !found || err != nil {
		t.Errorf("FindTouch gave %t, %v", found, err)
	}
	if _, swapped, err := s.Swap(t.Context(), "id", body, body2, inAnHour()); !swapped || err != nil {
		t.Errorf("Swap gave %t, %v", swapped, err)
	}
	if _, moved, err := s.Move(t.Context(), one("id", string(body2)), "new", body, inAnHour()); !moved || err != nil {
		t.Errorf("Move gave %t, %v", moved, err)
	}
	if err := s.DeleteCtx(t.Context(), "new"); err != nil {
		t.Error(err)
	}
	wantAbsent(t, s, "new")
	if _, err := s.Prune(t.Context()); err != nil {
		t.Error(err)
	}
}

// A rehearsal leaves nothing behind.
func TestRehearsalLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, layout := range allLayouts {
		dsn, _ := testserver.Schema(t)
		s := open(t, dsn, quiet(layout))
		var n int
		if err := s.db.QueryRow("SELECT count(*) FROM " + s.table.q).Scan(&n); err != nil || n != 0 {
			t.Errorf("%s: %d rows, %v", layout, n, err)
		}
	}
}

// A delete that removes nothing is an error while the row is there: a logout must not
// look as if it had worked.
func TestDeleteThatRemovesNothing(t *testing.T) {
	t.Parallel()
	for name, prevent := range map[string]string{
		"trigger": `CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
			CREATE TRIGGER keep BEFORE DELETE ON sessions FOR EACH ROW EXECUTE FUNCTION keep();`,
		"rule": `CREATE RULE keep AS ON DELETE TO sessions DO INSTEAD NOTHING;`,
	} {
		t.Run(name, func(t *testing.T) {
			dsn, _ := testserver.Schema(t)
			s := open(t, dsn, quiet(LayoutSCS))
			commit(t, s, "id", body, inAnHour())
			commit(t, s, "expired", body, time.Now().Add(-time.Hour))
			exec(t, s.db, prevent)
			const want = `postgres: delete: the server has removed nothing, and the row is still there: does a trigger, a rule or row security keep it?`
			for _, id := range []string{"id", "expired"} {
				if err := s.DeleteCtx(t.Context(), id); err == nil || err.Error() != want {
					t.Errorf("Delete gave %v, want %s", err, want)
				}
			}
			if _, swapped, err := s.Swap(t.Context(), "id", body, nil, time.Time{}); swapped || err == nil {
				t.Errorf("Swap to nil gave %t, %v", swapped, err)
			}
			if err := s.DeleteCtx(t.Context(), "none"); err != nil {
				t.Errorf("Delete of nothing gave %v", err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if err := s.Clear(ctx); err == nil || ctx.Err() != nil {
				t.Errorf("Clear gave %v", err)
			}
		})
	}
}

// The server's clock may be wrong by any amount: it is told ages. Open warns, since
// Express tells it dates.
func TestClocks(t *testing.T) {
	t.Parallel()
	for minutes, says := range map[string]string{"-2": "behind", "2": "ahead of", "0": ""} {
		for _, layout := range allLayouts {
			t.Run(minutes+" "+string(layout), func(t *testing.T) {
				t.Parallel()
				dsn, schema := testserver.Schema(t)
				exec(t, rawDB(t, dsn), `CREATE FUNCTION now() RETURNS timestamptz STABLE LANGUAGE sql AS 'SELECT pg_catalog.now() + interval ''`+minutes+` minutes'''`)
				l := newLogs()
				opts := quiet(layout)
				opts.Logger = slog.New(l)
				s := open(t, with(t, dsn, "search_path", schema+", pg_catalog"), opts)
				if says == "" {
					if len(l.records) > 0 {
						t.Errorf("logged %s", attrs(<-l.records))
					}
				} else if got := attrs(l.next(t, slog.LevelWarn)); !strings.HasPrefix(got, "the server's clock is "+says+" this machine's; ") || !strings.Contains(got, "by=2m0s") {
					t.Errorf("logged %s", got)
				}
				soon := time.Now().Add(time.Minute)
				check := func(what string) {
					t.Helper()
					if _, expiry, found, err := s.FindExpiry(t.Context(), "id"); !found || err != nil || !near(expiry, soon) {
						t.Errorf("%s: FindExpiry gave %v, %t, %v, want %v", what, expiry, found, err, soon)
					}
				}
				commit(t, s, "id", body, soon)
				check("Commit")
				if _, found, err := s.FindTouch(t.Context(), "id", soon); !found || err != nil {
					t.Errorf("FindTouch gave %t, %v", found, err)
				}
				check("FindTouch")
				if _, swapped, err := s.Swap(t.Context(), "id", body, body, soon); !swapped || err != nil {
					t.Errorf("a touch gave %t, %v", swapped, err)
				}
				check("touch")
				if _, swapped, err := s.Swap(t.Context(), "id", body, body2, soon); !swapped || err != nil {
					t.Errorf("Swap gave %t, %v", swapped, err)
				}
				check("Swap")
				if _, moved, err := s.Move(t.Context(), one("id", string(body2)), "other", body, soon); !moved || err != nil {
					t.Errorf("Move gave %t, %v", moved, err)
				}
				if _, moved, err := s.Move(t.Context(), one("other", string(body)), "id", body, soon); !moved || err != nil {
					t.Errorf("Move gave %t, %v", moved, err)
				}
				check("Move")
				commit(t, s, "expired", body, time.Now().Add(-time.Second))
				wantAbsent(t, s, "expired")
				if n, err := s.Prune(t.Context()); n != 1 || err != nil {
					t.Errorf("deleted %d, %v, want 1", n, err)
				}
			})
		}
	}
}

// A server that takes no writes is refused at the start.
func TestReadOnlyServer(t *testing.T) {
	t.Parallel()
	dsn, _ := testserver.Schema(t)
	use(t, open(t, dsn, quiet(LayoutSCS)))
	const want = `postgres: open: the server takes no writes; give the primary's address, or all addresses and target_session_attrs=read-write`
	_, err := Open(t.Context(), with(t, dsn, "default_transaction_read_only", "on"), quiet(LayoutSCS))
	if err == nil || err.Error() != want {
		t.Errorf("Open gave %v\nwant %s", err, want)
	}
}

// Another role's table that lacks the index alone is used, with a warning, also with
// CreateTable.
func TestCreateTableOnAnothersTable(t *testing.T) {
	t.Parallel()
	server := testserver.StartPostgres(t)
	exec(t, rawDB(t, server.URL), `CREATE TABLE sessions (token text PRIMARY KEY, data bytea NOT NULL, expiry timestamptz NOT NULL);
		CREATE ROLE app LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON sessions TO app`)
	l := newLogs()
	s, err := Open(t.Context(), strings.Replace(server.URL, "postgres@", "app@", 1), Options{CreateTable: true, Logger: slog.New(l)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := attrs(l.next(t, slog.LevelWarn)); !strings.Contains(got, "has no index") {
		t.Errorf("logged %s", got)
	}
	use(t, s)
}
