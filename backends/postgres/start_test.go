package postgres

import (
	"cmp"
	"context"
	"database/sql"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/samesid/samesid/internal/testserver"
)

func TestBadOptions(t *testing.T) {
	for _, c := range []struct {
		opts Options
		want string
	}{
		{Options{Layout: "knex"}, `postgres: Options.Layout: "knex" is unknown; use scs, connect-pg-simple, connect-session-knex or connect-session-sequelize`},
		{Options{SIDFieldName: "id"}, `postgres: Options.SIDFieldName and Options.Layout: only connect-session-knex lets its column be renamed; drop the first or change the second`},
		{Options{Layout: LayoutConnectSessionKnex, SIDFieldName: "sess"}, `postgres: Options.SIDFieldName: "sess" is another column of the table; use another name`},
		{Options{Layout: LayoutConnectSessionKnex, SIDFieldName: "expired"}, `postgres: Options.SIDFieldName: "expired" is another column of the table; use another name`},
		{Options{SchemaName: "a\x00"}, `postgres: Options.SchemaName: not a name that Postgres can hold; use UTF-8 without NUL bytes`},
		{Options{TableName: "\xff"}, `postgres: Options.TableName: not a name that Postgres can hold; use UTF-8 without NUL bytes`},
		{Options{TableName: strings.Repeat("ä", 32)}, `postgres: Options.TableName: longer than 63 bytes, and Postgres would cut it; use a shorter name`},
		{Options{MaxConns: -1}, `postgres: Options.MaxConns: is negative; 0 is the default`},
		{Options{MaxIdleConns: -1}, `postgres: Options.MaxIdleConns: is negative; 0 is the default`},
		{Options{ConnMaxIdleTime: -1}, `postgres: Options.ConnMaxIdleTime: is negative; 0 is the default`},
		{Options{ConnMaxLifetime: -1}, `postgres: Options.ConnMaxLifetime: is negative; 0 is the default`},
		{Options{ConnectTimeout: -1}, `postgres: Options.ConnectTimeout: is negative; 0 is the default`},
		{Options{MaxIdleConns: 21}, `postgres: Options.MaxIdleConns and Options.MaxConns: no more connections can stay open (21) than there may be (by default 20); lower the first or give the second`},
		{Options{TLS: TLS{KeyFile: "f"}}, `postgres: Options.TLS.CertFile and Options.TLS.KeyFile: go together; give both or neither`},
		{Options{SSLMode: "on"}, `postgres: Options.SSLMode: "on" is unknown; use disable, allow, prefer, require, verify-ca, verify-full or no-verify`},
		{Options{TLS: TLS{Fingerprint: "ab"}}, `postgres: Options.TLS.Fingerprint: is no SHA-256 in hexadecimal; openssl x509 -noout -fingerprint -sha256 prints it`},
		{Options{TLS: TLS{Fingerprint: strings.Repeat("ab", 32), CAFile: "f"}}, `postgres: Options.TLS.Fingerprint and Options.TLS.CAFile: the certificate is verified by one of them; drop the other`},
		{Options{PasswordFile: "f", Credentials: func(context.Context) (string, string, error) { return "", "", nil }}, `postgres: Options.PasswordFile and Options.Credentials: both give the password; drop one`},
		{Options{MaxConns: -1, TableName: "\x00"}, "postgres: Options.TableName: not a name that Postgres can hold; use UTF-8 without NUL bytes\n" +
			"postgres: Options.MaxConns: is negative; 0 is the default"},
	} {
		if _, err := Open(t.Context(), "", c.opts); err == nil || err.Error() != c.want {
			t.Errorf("Open gave %v\nwant %s", err, c.want)
		}
		if err := c.opts.Validate(); err == nil || err.Error() != c.want {
			t.Errorf("Validate gave %v\nwant %s", err, c.want)
		}
	}
	for _, o := range []Options{{}, {MaxConns: 2, MaxIdleConns: 2, Timeout: -1, CleanupInterval: -1, TLS: TLS{CAFile: "none.pem"}}} {
		if err := o.Validate(); err != nil {
			t.Errorf("Validate gave %v", err)
		}
	}
	for _, c := range []struct {
		opts Options
		want string
	}{
		{Options{Layout: "knex"}, `postgres: Options.Layout: "knex" is unknown; use scs, connect-pg-simple, connect-session-knex or connect-session-sequelize`},
		{Options{MaxConns: 1}, `postgres: Options.MaxConns: is for Open; set it up on the *sql.DB given to New`},
		{Options{MaxIdleConns: 1}, `postgres: Options.MaxIdleConns: is for Open; set it up on the *sql.DB given to New`},
		{Options{ConnMaxIdleTime: 1}, `postgres: Options.ConnMaxIdleTime: is for Open; set it up on the *sql.DB given to New`},
		{Options{ConnMaxLifetime: 1}, `postgres: Options.ConnMaxLifetime: is for Open; set it up on the *sql.DB given to New`},
		{Options{ConnectTimeout: 1}, `postgres: Options.ConnectTimeout: is for Open; set it up on the *sql.DB given to New`},
		{Options{SSLMode: "require"}, `postgres: Options.SSLMode: is for Open; set it up on the *sql.DB given to New`},
		{Options{PasswordFile: "f"}, `postgres: Options.PasswordFile: is for Open; set it up on the *sql.DB given to New`},
		{Options{Credentials: func(context.Context) (string, string, error) { return "", "", nil }}, `postgres: Options.Credentials: is for Open; set it up on the *sql.DB given to New`},
		{Options{TLS: TLS{CAFile: "f"}}, `postgres: Options.TLS: is for Open; set it up on the *sql.DB given to New`},
		{Options{TLS: TLS{CertFile: "f", KeyFile: "f"}}, `postgres: Options.TLS: is for Open; set it up on the *sql.DB given to New`},
	} {
		if _, err := New(t.Context(), &sql.DB{}, c.opts); err == nil || err.Error() != c.want {
			t.Errorf("New gave %v\nwant %s", err, c.want)
		}
	}
	if _, err := New(t.Context(), nil, Options{}); err == nil {
		t.Error("New took a nil *sql.DB")
	}
}

// An error quotes no part of a DSN's password, even if it is not escaped.
func TestBadDSN(t *testing.T) {
	const unreadable = "postgres: open: the DSN is neither a URL, postgres://user:password@host:port/database, nor key=value pairs; " +
		"special characters of a password must be percent-encoded in the one and quoted in the other"
	for dsn, want := range map[string]string{
		"postgres://u:hunter2/x@127.0.0.1/db":                    unreadable,
		"postgres://u:hunter2%zz@127.0.0.1/db":                   unreadable,
		"postgres://u:hunter2 x@127.0.0.1/db\x00":                unreadable,
		"host=127.0.0.1 password=x hunter2 user=u":               unreadable,
		"host=127.0.0.1 password='hunter2":                       unreadable,
		"host=127.0.0.1 password=hunter2\\":                      unreadable,
		"host=127.0.0.1 password=x port=hunter2":                 `postgres: open: DSN: wrong value for "port"`,
		"postgres://u:hunter2@127.0.0.1/db?sslmode=on":           `postgres: open: DSN: sslmode: is not one of disable, allow, prefer, require, verify-ca, verify-full, no-verify`,
		"postgres://u:hunter2@127.0.0.1/db?client_encoding=SJIS": `postgres: open: DSN: unsupported client_encoding "SJIS"`,
	} {
		// Nothing that can't be read is tried, and so tried again, at all.
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		_, err := Open(ctx, dsn, Options{Logger: slog.New(slog.DiscardHandler)})
		cancel()
		if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("Open of %q gave %v\nwant %s", dsn, err, want)
		}
	}
}

func TestServerWithoutTLS(t *testing.T) {
	dsn := testserver.StartPostgres(t).URL
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.RawQuery = ""
	const want = "postgres: open: the server has no TLS; if the way to it is safe without, set sslmode=disable: pq: SSL is not enabled on the server"
	if _, err := Open(t.Context(), u.String(), Options{}); err == nil || err.Error() != want {
		t.Errorf("Open gave %v\nwant %s", err, want)
	}
	opts := quiet(LayoutSCS)
	opts.SSLMode = "disable"
	open(t, u.String(), opts)
	opts.SSLMode = "require"
	if _, err := Open(t.Context(), dsn, opts); err == nil || err.Error() != want {
		t.Errorf("Open gave %v\nwant %s", err, want)
	}
	opts.SSLMode, opts.TLS.CAFile = "verify-ca", "/nonexistent.pem"
	if _, err := Open(t.Context(), dsn, opts); err == nil {
		t.Error("Open took no notice of Options.TLS.CAFile")
	}
}

func TestTableErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, sql string
		opts      Options
		want      string
		stays     bool // the SQL in the error does not fix everything
	}{
		{"no scs table", "", Options{}, `postgres: table "sessions" does not exist; set Options.CreateTable, or run:

CREATE TABLE "sessions" (
  "token" text NOT NULL,
  "data" bytea NOT NULL,
  "expiry" timestamptz NOT NULL,
  CONSTRAINT "sessions_pkey" PRIMARY KEY ("token")
);
CREATE INDEX "sessions_expiry_idx" ON "sessions" ("expiry");`, false},
		{"no connect-pg-simple table", "", Options{Layout: LayoutConnectPgSimple, TableName: `My"Table`}, `postgres: table "My""Table" does not exist; set Options.CreateTable, or run:

CREATE TABLE "My""Table" (
  "sid" varchar NOT NULL,
  "sess" json NOT NULL,
  "expire" timestamp(6) NOT NULL,
  CONSTRAINT "My""Table_pkey" PRIMARY KEY ("sid")
);
CREATE INDEX "IDX_My""Table_expire" ON "My""Table" ("expire");`, false},
		{"no connect-session-knex table", "", Options{Layout: LayoutConnectSessionKnex, SIDFieldName: "Id"}, `postgres: table "sessions" does not exist; set Options.CreateTable, or run:

CREATE TABLE "sessions" (
  "Id" varchar(255) NOT NULL,
  "sess" json NOT NULL,
  "expired" timestamptz NOT NULL,
  CONSTRAINT "sessions_pkey" PRIMARY KEY ("Id")
);
CREATE INDEX "sessions_expired_index" ON "sessions" ("expired");`, false},
		{"no schema", "", Options{SchemaName: "No such"}, `postgres: table "No such"."sessions" does not exist; set Options.CreateTable, or run:

CREATE TABLE "No such"."sessions" (
  "token" text NOT NULL,
  "data" bytea NOT NULL,
  "expiry" timestamptz NOT NULL,
  CONSTRAINT "sessions_pkey" PRIMARY KEY ("token")
);
CREATE INDEX "sessions_expiry_idx" ON "No such"."sessions" ("expiry");`, true},
		{
			"no schema to create in", "",
			Options{SchemaName: `No "such`, CreateTable: true},
			`postgres: create table "No ""such"."sessions": the schema is missing: run CREATE SCHEMA "No ""such": ` +
				`pq: schema "No "such" does not exist at position 1:14 (3F000)`, true,
		},
		{
			"another layout", `CREATE TABLE sessions (token text PRIMARY KEY, data bytea, expiry timestamptz)`,
			Options{Layout: LayoutConnectSessionKnex, CreateTable: true},
			`postgres: table "sessions" is one of layout "scs"; set Layout to it, or TableName to another table`, true,
		},
		{
			"wrong columns", `CREATE TABLE session (sid varchar, sess text); INSERT INTO session VALUES ('a', '{}')`,
			Options{Layout: LayoutConnectPgSimple},
			`postgres: table "session": column "sess" is of type text, not json; column "expire" is missing; column "sid" is not unique; run:

ALTER TABLE "session" ALTER COLUMN "sess" TYPE json USING "sess"::json;
ALTER TABLE "session" ADD COLUMN "expire" timestamp(6) NOT NULL DEFAULT now();
ALTER TABLE "session" ALTER COLUMN "expire" DROP DEFAULT;
ALTER TABLE "session" ADD PRIMARY KEY ("sid");
`, false,
		},
		{
			"wrong types", `CREATE TABLE sessions (token char(43), data text, expiry timestamp); CREATE UNIQUE INDEX ON sessions (token) WHERE expiry IS NULL`,
			Options{CreateTable: true},
			`postgres: table "sessions": column "token" is of type character, not text; column "data" is of type text, not bytea; column "expiry" is of type timestamp without time zone, not timestamptz; column "token" is not unique; run:

ALTER TABLE "sessions" ALTER COLUMN "token" TYPE text USING "token"::text;
ALTER TABLE "sessions" ALTER COLUMN "data" TYPE bytea USING convert_to("data"::text, 'UTF8');
ALTER TABLE "sessions" ALTER COLUMN "expiry" TYPE timestamptz USING "expiry"::timestamptz;
ALTER TABLE "sessions" ADD PRIMARY KEY ("token");
`, false,
		},
		{
			"a column of somebody else's",
			`CREATE TABLE "Sessions" (sid varchar PRIMARY KEY, data text, expires timestamptz, "createdAt" timestamptz NOT NULL, "updatedAt" timestamptz NOT NULL,
				"userId" int NOT NULL, seen int NOT NULL DEFAULT 0, n int GENERATED ALWAYS AS IDENTITY, note text)`,
			Options{Layout: LayoutConnectSessionSequelize},
			`postgres: table "Sessions": column "userId" needs a value that is not the session's, and has no default; run:

ALTER TABLE "Sessions" ALTER COLUMN "userId" DROP NOT NULL;
`, false,
		},
		{
			"no times of writes", `CREATE TABLE "Sessions" (sid varchar PRIMARY KEY, data text, expires timestamptz); INSERT INTO "Sessions" VALUES ('a'), ('b')`,
			Options{Layout: LayoutConnectSessionSequelize},
			`postgres: table "Sessions": column "createdAt" is missing; column "updatedAt" is missing; run:

ALTER TABLE "Sessions" ADD COLUMN "createdAt" timestamptz NOT NULL DEFAULT now();
ALTER TABLE "Sessions" ALTER COLUMN "createdAt" DROP DEFAULT;
ALTER TABLE "Sessions" ADD COLUMN "updatedAt" timestamptz NOT NULL DEFAULT now();
ALTER TABLE "Sessions" ALTER COLUMN "updatedAt" DROP DEFAULT;
`, false,
		},
		{
			"a key of its own", `CREATE TABLE sessions (id serial PRIMARY KEY, token text, expiry timestamptz); INSERT INTO sessions (token, expiry) VALUES ('a', now()), ('b', now())`,
			Options{},
			`postgres: table "sessions": column "data" is missing; column "token" is not unique; run:

ALTER TABLE "sessions" ADD COLUMN "data" bytea NOT NULL DEFAULT '';
ALTER TABLE "sessions" ALTER COLUMN "data" DROP DEFAULT;
CREATE UNIQUE INDEX ON "sessions" ("token");
`, false,
		},
		{
			"a key of two columns", `CREATE TABLE sessions (token text, tenant int, data bytea, expiry timestamptz, PRIMARY KEY (tenant, token)); INSERT INTO sessions VALUES ('a', 1, '', now())`,
			Options{},
			`postgres: table "sessions": column "tenant" needs a value that is not the session's, and has no default; column "token" is not unique; run:

ALTER TABLE "sessions" DROP CONSTRAINT "sessions_pkey";
ALTER TABLE "sessions" ALTER COLUMN "tenant" DROP NOT NULL;
ALTER TABLE "sessions" ADD PRIMARY KEY ("token");
`, false,
		},
		{
			"a deferrable key", `CREATE TABLE session (sid varchar CONSTRAINT "Key" PRIMARY KEY DEFERRABLE, sess json, expire timestamp); INSERT INTO session VALUES ('a')`,
			Options{Layout: LayoutConnectPgSimple},
			`postgres: table "session": the key of column "sid" is deferrable; run:

ALTER TABLE "session" DROP CONSTRAINT "Key", ADD CONSTRAINT "Key" PRIMARY KEY ("sid");
`, false,
		},
		{
			"a deferrable key beside another", `CREATE TABLE session (sid varchar PRIMARY KEY CONSTRAINT u UNIQUE DEFERRABLE, sess json, expire timestamp); INSERT INTO session VALUES ('a')`,
			Options{Layout: LayoutConnectPgSimple},
			`postgres: table "session": the key of column "sid" is deferrable; run:

ALTER TABLE "session" DROP CONSTRAINT "u", ADD CONSTRAINT "u" UNIQUE ("sid");
`, false,
		},
		{
			"no ids", `CREATE TABLE session (sess json, expire timestamp); INSERT INTO session VALUES ('{}'), ('{}')`,
			Options{Layout: LayoutConnectPgSimple},
			`postgres: table "session": column "sid" is missing; column "sid" is not unique; run:

ALTER TABLE "session" ADD COLUMN "sid" varchar NOT NULL DEFAULT md5(random()::text);
ALTER TABLE "session" ALTER COLUMN "sid" DROP DEFAULT;
ALTER TABLE "session" ADD PRIMARY KEY ("sid");
`, false,
		},
		{
			"bytes for JSON", `CREATE TABLE session (sid varchar PRIMARY KEY, sess bytea, expire timestamptz)`,
			Options{Layout: LayoutConnectPgSimple},
			`postgres: table "session": column "sess" is of type bytea, not json; run:

ALTER TABLE "session" ALTER COLUMN "sess" TYPE json USING convert_from("sess", 'UTF8')::json;
`, false,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			dsn, _ := testserver.Schema(t)
			db := rawDB(t, dsn)
			if c.sql != "" {
				exec(t, db, c.sql)
			}
			c.opts.CleanupInterval = -1
			_, err := New(t.Context(), db, c.opts)
			if err == nil || err.Error() != c.want {
				t.Fatalf("New gave %v\nwant %s", err, c.want)
			}
			if c.stays {
				return
			}
			_, fix, _ := strings.Cut(err.Error(), "run:\n\n")
			exec(t, db, fix)
			s, err := New(t.Context(), db, c.opts)
			if err != nil {
				t.Fatalf("after running the SQL in the error: %v", err)
			}
			defer s.Close()
			commit(t, s, "id", body, inAnHour())
			wantFound(t, s, "id", body)
		})
	}
}

// relations returns the names of the tables and indexes in a schema.
func relations(t *testing.T, db *sql.DB, schema string) []string {
	t.Helper()
	var names string
	err := db.QueryRow(`SELECT coalesce(string_agg(relname, E'\n' ORDER BY relname COLLATE "C"), '') FROM pg_class
		WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) AND relkind IN ('r', 'i')`, schema).Scan(&names)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(names, "\n")
}

// Ten processes start concurrently, and an Express process that does not take their
// lock.
func TestConcurrentCreation(t *testing.T) {
	t.Parallel()
	for _, layout := range allLayouts {
		t.Run(string(layout), func(t *testing.T) {
			dsn, schema := testserver.Schema(t)
			start := make(chan struct{})
			var wg sync.WaitGroup
			for range 10 {
				wg.Go(func() {
					<-start
					s, err := Open(t.Context(), dsn, quiet(layout))
					if err != nil {
						t.Error(err)
						return
					}
					if err := s.Commit("id", body, inAnHour()); err != nil {
						t.Error(err)
					}
					s.Close()
				})
			}
			db := rawDB(t, dsn)
			if layout != LayoutSCS {
				wg.Go(func() {
					<-start
					// It fails if the table is there already.
					_, _ = db.Exec(express[layout].create)
				})
			}
			close(start)
			wg.Wait()
			want := map[Layout][]string{
				LayoutSCS:                     {"sessions", "sessions_expiry_idx", "sessions_pkey"},
				LayoutConnectPgSimple:         {"IDX_session_expire", "session", "session_pkey"},
				LayoutConnectSessionKnex:      {"sessions", "sessions_expired_index", "sessions_pkey"},
				LayoutConnectSessionSequelize: {"Sessions", "Sessions_expires", "Sessions_pkey"},
			}[layout]
			if got := relations(t, db, schema); !slices.Equal(got, want) {
				t.Errorf("the schema has %q, want %q", got, want)
			}
		})
	}
}

// CreateTable creates exactly the table that the Express store creates, in every
// detail of the catalogue.
func TestCreatedAsExpress(t *testing.T) {
	t.Parallel()
	describe := func(t *testing.T, db *sql.DB, schema string) string {
		t.Helper()
		var text string
		err := db.QueryRow(`SELECT string_agg(line, E'\n' ORDER BY line) FROM (
			SELECT format('%s %s %s %s %s', attname, format_type(atttypid, atttypmod), attnotnull, attcollation::regcollation, atthasdef) line
				FROM pg_attribute WHERE attrelid = ANY (SELECT oid FROM pg_class WHERE relnamespace = $1::text::regnamespace AND relkind = 'r') AND attnum > 0
			UNION ALL SELECT replace(pg_get_indexdef(indexrelid), $1::text, '') FROM pg_index
				WHERE indrelid = ANY (SELECT oid FROM pg_class WHERE relnamespace = $1::text::regnamespace)
			UNION ALL SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
				WHERE connamespace = $1::text::regnamespace AND contype = 'p') d`, schema).Scan(&text)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for layout, node := range express {
		t.Run(string(layout), func(t *testing.T) {
			theirs, theirSchema := testserver.Schema(t)
			exec(t, rawDB(t, theirs), node.create)
			ours, ourSchema := testserver.Schema(t)
			open(t, ours, quiet(layout))
			db := rawDB(t, ours)
			if got, want := describe(t, db, ourSchema), describe(t, db, theirSchema); got != want {
				t.Errorf("CreateTable made\n%s\nand Express makes\n%s", got, want)
			}
		})
	}
}

// The constraints and indexes of two tables in one schema have different names, even
// if Postgres would truncate them to the same one.
func TestNames(t *testing.T) {
	t.Parallel()
	dsn, plain := testserver.Schema(t)
	db := rawDB(t, dsn)
	schema := `S "` + plain
	exec(t, db, `CREATE SCHEMA "S ""`+plain+`"`)
	t.Cleanup(func() {
		if _, err := db.Exec(`DROP SCHEMA "S ""` + plain + `" CASCADE`); err != nil {
			t.Error(err)
		}
	})
	long := strings.Repeat("ä", 31)
	names := []string{"Sessions", "sessions", `we"ird; DROP TABLE x --`, "a.b", "{id} %s $1 '", long, long[:60] + "aa", long[:60] + "bb"}
	for _, layout := range allLayouts {
		for _, name := range names {
			opts := quiet(layout)
			opts.SchemaName = schema
			opts.TableName = name
			if layout == LayoutConnectSessionKnex {
				opts.SIDFieldName = `Sid "{table}`
			}
			s := open(t, dsn, opts)
			for _, data := range []string{`{"a":1}`, `{"a":2}`} {
				commit(t, s, "id", []byte(data), inAnHour())
			}
			if _, swapped, err := s.Swap(t.Context(), "id", []byte(`{"a":2}`), body, inAnHour()); err != nil || !swapped {
				t.Errorf("%s: Swap gave %t, %v", name, swapped, err)
			}
			wantFound(t, s, "id", body)
			if n, err := s.Len(t.Context()); n != 1 || err != nil {
				t.Errorf("table %s has %d sessions, %v", name, n, err)
			}
		}
		if got := relations(t, db, schema); len(got) != 3*len(names) {
			t.Errorf("%s: the schema has %d tables and indexes, want %d: %q", layout, len(got), 3*len(names), got)
		}
		for _, name := range names {
			exec(t, db, "DROP TABLE "+newTable(Options{Layout: layout, SchemaName: schema, TableName: name}).q)
		}
	}
	if got := relations(t, db, plain); got[0] != "" {
		t.Errorf("something was made in the search_path: %q", got)
	}
}

// CreateTable adds a missing index to an existing table. Without CreateTable the store
// logs a warning, if its clean-up needs the index.
func TestMissingIndex(t *testing.T) {
	t.Parallel()
	dsn, schema := testserver.Schema(t)
	db := rawDB(t, dsn)
	exec(t, db, "CREATE TABLE sessions (token text PRIMARY KEY, data bytea NOT NULL, expiry timestamptz NOT NULL)")
	start := func(opts Options) string {
		l := newLogs()
		opts.Logger = slog.New(l)
		open(t, dsn, opts)
		if len(l.records) == 0 {
			return ""
		}
		return attrs(<-l.records)
	}
	want := `the sessions' expiry has no index, so each clean-up reads the whole table table="sessions" run=CREATE INDEX "sessions_expiry_idx" ON "sessions" ("expiry")`
	if got := start(Options{}); got != want {
		t.Errorf("logged %s\nwant %s", got, want)
	}
	if got := start(Options{CleanupInterval: -1}); got != "" {
		t.Errorf("logged %s without a clean-up", got)
	}
	for range 2 {
		if got := start(Options{CreateTable: true}); got != "" {
			t.Errorf("logged %s although the index is made", got)
		}
	}
	if got := relations(t, db, schema); !slices.Contains(got, "sessions_expiry_idx") {
		t.Errorf("there is no index: %q", got)
	}
}

// An expiry is the intended instant, for Express and for us, whatever sets the zone of
// a connection.
func TestTimeZones(t *testing.T) {
	t.Parallel()
	server := testserver.StartPostgres(t, "timezone=Asia/Kolkata")
	admin := rawDB(t, server.URL)
	for _, query := range []string{
		"CREATE DATABASE berlin",
		"ALTER DATABASE berlin SET timezone = 'Europe/Berlin'",
		"CREATE ROLE plain SUPERUSER LOGIN",
		"CREATE ROLE john SUPERUSER LOGIN",
		"ALTER ROLE john SET timezone = 'America/St_Johns'",
		"ALTER ROLE john IN DATABASE berlin SET timezone = 'Pacific/Chatham'",
	} {
		exec(t, admin, query)
	}

	for _, c := range []struct{ user, database, zone string }{
		{"plain", "postgres", "Asia/Kolkata"},
		{"plain", "berlin", "Europe/Berlin"},
		{"john", "postgres", "America/St_Johns"},
		{"john", "berlin", "Pacific/Chatham"},
	} {
		t.Run(c.zone, func(t *testing.T) {
			dsn := "postgres://" + c.user + "@" + server.Addr + "/" + c.database + "?sslmode=disable"
			node := rawDB(t, dsn)
			var zone string
			if err := node.QueryRow("SHOW timezone").Scan(&zone); err != nil || zone != c.zone {
				t.Fatalf("the connection's zone is %s, %v, want %s", zone, err, c.zone)
			}
			for _, layout := range allLayouts {
				opts := quiet(layout)
				opts.TableName = cmp.Or(map[Layout]string{LayoutSCS: "scs_sessions"}[layout], "")
				l := newLogs()
				opts.Logger = slog.New(l)
				s := open(t, dsn, opts)
				zones(t, s, node)
				if len(l.records) > 0 {
					t.Errorf("%s: logged %s", layout, attrs(<-l.records))
				}
				exec(t, node, "DROP TABLE "+s.table.q)
			}
		})
	}
}

func zones(t *testing.T, s *Store, node *sql.DB) {
	commit(t, s, "live", body, time.Now().Add(5*time.Second))
	wantFound(t, s, "live", body)
	commit(t, s, "expired", body, time.Now().Add(-2*time.Second))
	wantAbsent(t, s, "expired")
	if _, moved, err := s.Move(t.Context(), one("live", string(body)), "live", body2, time.Now().Add(5*time.Second)); !moved || err != nil {
		t.Errorf("Move gave %t, %v", moved, err)
	}
	wantFound(t, s, "live", body2)
	if _, swapped, err := s.Swap(t.Context(), "live", body2, body2, time.Now().Add(5*time.Second)); !swapped || err != nil {
		t.Errorf("a touch gave %t, %v", swapped, err)
	}
	wantFound(t, s, "live", body2)
	if _, moved, err := s.Move(t.Context(), one("live", string(body2)), "moved", body, time.Now().Add(5*time.Second)); !moved || err != nil {
		t.Errorf("Move gave %t, %v", moved, err)
	}
	wantFound(t, s, "moved", body)
	if _, swapped, err := s.Swap(t.Context(), "moved", body, body, time.Now().Add(-2*time.Second)); !swapped || err != nil {
		t.Errorf("a touch to the past gave %t, %v", swapped, err)
	}
	wantAbsent(t, s, "moved")
	if n, err := s.Prune(t.Context()); n != 2 || err != nil {
		t.Errorf("%d expired rows were deleted, %v, want 2", n, err)
	}

	year := time.Now().Year() + 1
	for _, expiry := range []time.Time{
		time.Now().Add(time.Hour).Truncate(time.Second),
		time.Date(year, time.January, 15, 12, 0, 0, 0, time.UTC),
		time.Date(year, time.July, 15, 12, 0, 0, 0, time.UTC),
		// Within the hour that Berlin skips in spring.
		time.Date(2027, time.March, 28, 1, 30, 0, 0, time.UTC),
	} {
		commit(t, s, "ours", body, expiry)
		wantExpiry(t, s, "ours", expiry)
		if !s.table.Express {
			continue
		}
		for seconds, want := range map[int]bool{-20: true, 20: false} {
			now := expiry.Add(time.Duration(seconds) * time.Second)
			if data, found := expressFinds(t, node, Layout(s.table.Name), "ours", now); found != (want || express[Layout(s.table.Name)].findsExpired) {
				t.Errorf("%s: Express finds %q, %t, %d s after %v", s.table.Name, data, found, seconds, expiry)
			}
		}
		exec(t, node, express[Layout(s.table.Name)].set, body, at(Layout(s.table.Name), expiry), "theirs")
		wantExpiry(t, s, "theirs", expiry)
	}
}

func wantExpiry(t *testing.T, s *Store, token string, want time.Time) {
	t.Helper()
	_, got, found, err := s.FindExpiry(t.Context(), token)
	if err != nil || !found || !near(got, want) {
		t.Errorf("%s: FindExpiry gave %v, %t, %v, want %v", s.table.Name, got.UTC(), found, err, want.UTC())
	}
}

// A column without a zone can't distinguish the two passes of the hour that repeats in
// autumn. No session expires early because of it, and none more than an hour late.
func TestRepeatedHour(t *testing.T) {
	t.Parallel()
	dsn, _ := testserver.Schema(t)
	s := open(t, with(t, dsn, "timezone", "Europe/Berlin"), quiet(LayoutConnectPgSimple))
	for _, minutes := range []int{-45, -15, 0, 15, 45, 75} {
		expiry := time.Date(2027, time.October, 31, 1, minutes, 0, 0, time.UTC)
		commit(t, s, "id", body, expiry)
		_, got, _, err := s.FindExpiry(t.Context(), "id")
		if err != nil || got.Before(expiry.Add(-time.Minute)) || got.After(expiry.Add(time.Hour+time.Minute)) {
			t.Errorf("FindExpiry gave %v, %v for %v", got.UTC(), err, expiry)
		}
	}
}

// Express's driver ignores PGTZ, so it must have no effect here either. A zone in the
// DSN has one, and causes a warning if the column has no zone.
func TestOwnTimeZone(t *testing.T) {
	t.Setenv("PGTZ", "Pacific/Auckland")
	dsn, _ := testserver.Schema(t)
	l := newLogs()
	opts := quiet(LayoutConnectPgSimple)
	opts.Logger = slog.New(l)
	s := open(t, dsn, opts)
	var zone string
	if err := s.db.QueryRow("SHOW timezone").Scan(&zone); err != nil || zone == "Pacific/Auckland" {
		t.Errorf("the connection's zone is %s, %v", zone, err)
	}
	if len(l.records) > 0 {
		t.Errorf("logged %s", attrs(<-l.records))
	}

	open(t, with(t, dsn, "TimeZone", "Asia/Tokyo"), opts)
	want := `the connection sets a time zone of its own; Express's connections must set the same, or expiries will differ by hours table="session" TimeZone=Asia/Tokyo`
	if got := attrs(l.next(t, slog.LevelWarn)); got != want {
		t.Errorf("logged %s\nwant %s", got, want)
	}
	opts.Layout = LayoutConnectSessionKnex
	open(t, with(t, dsn, "TimeZone", "Asia/Tokyo"), opts)
	if len(l.records) > 0 {
		t.Errorf("logged %s for a column with a zone", attrs(<-l.records))
	}
}
