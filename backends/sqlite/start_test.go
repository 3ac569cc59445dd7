package sqlite

import (
	"bytes"
	"database/sql"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
)

func TestBadOptions(t *testing.T) {
	for _, c := range []struct {
		opts Options
		want string
	}{
		{Options{Layout: "knex"}, `sqlite: Options.Layout: "knex" is unknown; use scs, connect-session-knex or connect-sqlite3`},
		{Options{SIDFieldName: "id"}, `sqlite: Options.SIDFieldName and Options.Layout: only connect-session-knex lets its column be renamed; drop the first or change the second`},
		{Options{Layout: LayoutConnectSQLite3, SIDFieldName: "id"}, `sqlite: Options.SIDFieldName and Options.Layout: only connect-session-knex lets its column be renamed; drop the first or change the second`},
		{Options{Layout: LayoutConnectSessionKnex, SIDFieldName: "Sess"}, `sqlite: Options.SIDFieldName: "Sess" is another column of the table; use another name`},
		{Options{Layout: LayoutConnectSessionKnex, SIDFieldName: "EXPIRED"}, `sqlite: Options.SIDFieldName: "EXPIRED" is another column of the table; use another name`},
		{Options{TableName: "a\x00"}, `sqlite: Options.TableName: not a name that SQLite can hold; use UTF-8 without NUL bytes`},
		{Options{TableName: "\xff"}, `sqlite: Options.TableName: not a name that SQLite can hold; use UTF-8 without NUL bytes`},
		{Options{TableName: "SQLite_x"}, `sqlite: Options.TableName: SQLite keeps names that begin with sqlite_ for itself; use another name`},
		{Options{Timeout: 5}, `sqlite: Options.Timeout: 5ns is too short: a number without a unit is in nanoseconds; did you mean 5*time.Second (if it is in seconds) or 5*time.Millisecond (in milliseconds, as in Express)?`},
		{Options{Synchronous: "off"}, `sqlite: Options.Synchronous: "off" is unknown; use normal or full`},
		{Options{Synchronous: "off", TableName: "\x00"}, `sqlite: Options.Synchronous: "off" is unknown; use normal or full` +
			"\nsqlite: Options.TableName: not a name that SQLite can hold; use UTF-8 without NUL bytes"},
	} {
		if _, err := Open(t.Context(), "", c.opts); err == nil || err.Error() != c.want {
			t.Errorf("Open gave %v\nwant %s", err, c.want)
		}
		if err := c.opts.Validate(); err == nil || err.Error() != c.want {
			t.Errorf("Validate gave %v\nwant %s", err, c.want)
		}
	}
	for _, o := range []Options{{}, {Timeout: -1, CleanupInterval: -1, Synchronous: SynchronousFull}} {
		if err := o.Validate(); err != nil {
			t.Errorf("Validate gave %v", err)
		}
	}
	for _, c := range []struct {
		opts Options
		want string
	}{
		{Options{Layout: "knex"}, `sqlite: Options.Layout: "knex" is unknown; use scs, connect-session-knex or connect-sqlite3`},
		{Options{Synchronous: SynchronousFull}, `sqlite: Options.Synchronous: is for Open; Synchronous is PRAGMA synchronous on the connections of the *sql.DB given to New, where each write commits by itself`},
	} {
		if _, err := New(t.Context(), &sql.DB{}, c.opts); err == nil || err.Error() != c.want {
			t.Errorf("New gave %v\nwant %s", err, c.want)
		}
	}
	for url, want := range map[string]string{
		"sqlite:sessions.db":    "",
		"sessions.db":           "",
		"sqlite:":               "sqlite: url: the path is empty; give the path of the file",
		"sqlite::memory:":       "sqlite: url: \":memory:\" would be another database for each connection",
		"sqlite:///sessions.db": "sqlite: url: with two slashes it can be read in several ways",
	} {
		err := Backend.Validate(url, Options{})
		if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", url, err, want)
		}
	}
	if _, err := New(t.Context(), nil, Options{}); err == nil {
		t.Error("New took a nil *sql.DB")
	}
}

func TestBadPaths(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "nothing"), link); err != nil {
		t.Fatal(err)
	}
	none := filepath.Join(dir, "none.db")
	text := write("text", bytes.Repeat([]byte("no database "), 1000))
	header := write("header", append([]byte("SQLite format 3\x00"), bytes.Repeat([]byte("x"), 8192)...))
	for _, c := range []struct {
		path   string
		create bool
		want   string // begins with
	}{
		{"", true, "sqlite: open: the path is empty; give the path of the file"},
		{":memory:", true, `sqlite: open: ":memory:" would be another database for each connection, and lost with the process; use package backends/memory, or give the path of a file`},
		{"file:x.db?mode=memory", true, `sqlite: open: "file:x.db?mode=memory" is a URI; give the path of the file alone, and use New for other connections`},
		{"a\x00", true, `sqlite: open: the path "a\x00" holds a NUL byte`},
		{dir, true, "sqlite: open: " + dir + " is a folder; name a file in it, such as " + dir + "/sessions.db"},
		{none, false, "sqlite: open: the file " + none + " does not exist; set Options.CreateTable to have it created, or give another path"},
		{dir + "/no/x.db", true, "sqlite: open: the folder " + dir + "/no does not exist; create it, or give another path"},
		{dir + "/no/x.db", false, "sqlite: open: the folder " + dir + "/no does not exist; create it, or give another path"},
		{text + "/x.db", true, "sqlite: open: stat " + text + "/x.db: not a directory"},
		{link, true, "sqlite: open: stat " + link + ": no such file or directory"},
		{"/dev/null", true, "sqlite: open: /dev/null is not a regular file"},
		{text, true, "sqlite: open: " + text + ": the file is no SQLite database, or an encrypted one; give the path of another file, or move this one away: sqlite3: file is not a database"},
		{header, true, "sqlite: open: " + header + ": the file is no SQLite database, or an encrypted one; give the path of another file, or move this one away: sqlite3: file is not a database"},
	} {
		opts := quiet(LayoutSCS)
		opts.CreateTable = c.create
		if _, err := Open(t.Context(), c.path, opts); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("Open of %q gave %v\nwant %s", c.path, err, c.want)
		}
	}
	if _, err := os.Stat(none); !errors.Is(err, fs.ErrNotExist) {
		t.Error("Open without CreateTable has made a file")
	}
	if data, err := os.ReadFile(text); err != nil || len(data) != 12000 {
		t.Errorf("a file that is no database has %d bytes, %v, want it unchanged", len(data), err)
	}
}

// Any name that the file system takes is a path.
func TestOddPaths(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a b?mode=memory#x%20&.db", "é😀", "-", "file", "'\";"} {
		path := filepath.Join(dir, name)
		s := open(t, path, quiet(LayoutSCS))
		commit(t, s, "id", body, inAnHour())
		if s.path != path {
			t.Errorf("the path is %s, want %s", s.path, path)
		}
		if _, err := os.Stat(path + "-wal"); err != nil {
			t.Error(err)
		}
	}
	t.Chdir(dir)
	relative := open(t, "file", quiet(LayoutSCS))
	wantFound(t, relative, "id", body)
	if err := os.Symlink("file", "link"); err != nil {
		t.Fatal(err)
	}
	wantFound(t, open(t, "link", quiet(LayoutSCS)), "id", body)
}

// The files are readable by their owner alone if Open creates them, and as the
// database is otherwise.
func TestFileModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // it has no modes
	}
	wantModes := func(path string, want fs.FileMode) {
		t.Helper()
		for _, end := range []string{"", "-wal", "-shm"} {
			if info, err := os.Stat(path + end); err != nil || info.Mode() != want {
				t.Errorf("%s has mode %v, %v, want %v", path+end, info.Mode(), err, want)
			}
		}
	}
	path := newPath(t)
	commit(t, open(t, path, quiet(LayoutSCS)), "id", body, inAnHour())
	wantModes(path, 0o600)

	path = newPath(t)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o664); err != nil {
		t.Fatal(err)
	}
	commit(t, open(t, path, quiet(LayoutSCS)), "id", body, inAnHour())
	wantModes(path, 0o664)
}

func TestCreatedFileSettings(t *testing.T) {
	for sync, want := range map[Synchronous]string{"": "1", SynchronousNormal: "1", SynchronousFull: "2"} {
		opts := quiet(LayoutSCS)
		opts.Synchronous = sync
		s := open(t, newPath(t), opts)
		var journal, synchronous string
		if err := s.writer.QueryRow("PRAGMA journal_mode").Scan(&journal); err != nil {
			t.Fatal(err)
		}
		if err := s.writer.QueryRow("PRAGMA synchronous").Scan(&synchronous); err != nil {
			t.Fatal(err)
		}
		if journal != "wal" || synchronous != want {
			t.Errorf("journal_mode is %s and synchronous %s, want wal and %s", journal, synchronous, want)
		}
		if _, err := s.reader.Exec("DELETE FROM sessions"); err == nil {
			t.Error("the readers can write")
		}
	}
}

func TestBadConnections(t *testing.T) {
	path := newPath(t)
	run(t, rawDB(t, path), "CREATE TABLE other (x)")
	for _, c := range []struct{ dsn, want string }{
		{"file::memory:", "sqlite: open: the database is in memory, where each connection may have another one; use package backends/memory, or a file"},
		{"file:" + path + "?_pragma=journal_mode(off)", "sqlite: open: " + path + ": PRAGMA journal_mode is off: a crash of the process could destroy the file; use WAL"},
		{"file:" + path + "?_pragma=journal_mode(memory)", "sqlite: open: " + path + ": PRAGMA journal_mode is memory: a crash of the process could destroy the file; use WAL"},
		{"file:" + path + "?_pragma=synchronous(off)", "sqlite: open: " + path + ": PRAGMA synchronous is 0: a loss of power could destroy the file; use NORMAL or FULL"},
		{"file:" + path + "?_pragma=locking_mode(exclusive)", "sqlite: open: " + path + ": PRAGMA locking_mode is exclusive: every other connection would wait for ever; use NORMAL"},
		{"file:" + path + "?_pragma=query_only(on)", "sqlite: open: " + path + ": PRAGMA query_only is 1: no session could be written; use OFF"},
		{"file:" + path + "?_pragma=read_uncommitted(on)", "sqlite: open: " + path + ": PRAGMA read_uncommitted is 1: a call could read what is then rolled back; use OFF"},
		{"file:" + newPath(t) + "?_pragma=encoding('UTF-16le')", "PRAGMA encoding is UTF-16le: only UTF-8 is supported; make a new file"},
		{"file:" + path + "?mode=ro", "sqlite: open: " + path + ": table \"sessions\" does not exist; set Options.CreateTable"},
	} {
		db, err := sql.Open("sqlite3", c.dsn)
		if err != nil {
			t.Fatal(err)
		}
		db.SetMaxOpenConns(1)
		if _, err := New(t.Context(), db, Options{CleanupInterval: -1, Logger: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("New on %s gave %v\nwant %s", c.dsn, err, c.want)
		}
		db.Close()
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
		{"no scs table", "", Options{}, `table "sessions" does not exist; set Options.CreateTable, or run:

CREATE TABLE "sessions" (
  "token" TEXT PRIMARY KEY,
  "data" BLOB NOT NULL,
  "expiry" REAL NOT NULL
);
CREATE INDEX "sessions_expiry_idx" ON "sessions" ("expiry");`, false},
		{"no connect-session-knex table", "", Options{Layout: LayoutConnectSessionKnex, TableName: `My"Ta-ble`, SIDFieldName: "Id"}, `table "My""Ta-ble" does not exist; set Options.CreateTable, or run:

CREATE TABLE "My""Ta-ble" (
  "Id" varchar(255),
  "sess" json NOT NULL,
  "expired" datetime NOT NULL,
  PRIMARY KEY ("Id")
);
CREATE INDEX "my""ta_ble_expired_index" ON "My""Ta-ble" ("expired");`, false},
		{"no connect-sqlite3 table", "", Options{Layout: LayoutConnectSQLite3}, `table "sessions" does not exist; set Options.CreateTable, or run:

CREATE TABLE "sessions" (
  "sid" PRIMARY KEY,
  "expired",
  "sess"
);`, false},
		{
			"scs's for Knex's", `CREATE TABLE sessions (token TEXT PRIMARY KEY, data BLOB NOT NULL, expiry REAL NOT NULL)`,
			Options{Layout: LayoutConnectSessionKnex, CreateTable: true},
			`table "sessions" is one of layout "scs"; set Options.Layout to it, or Options.TableName to another table`, true,
		},
		{
			"Knex's for connect-sqlite3's", express[LayoutConnectSessionKnex].create,
			Options{Layout: LayoutConnectSQLite3, CreateTable: true},
			`table "sessions" is one of layout "connect-session-knex"; set Options.Layout to it, or Options.TableName to another table`, true,
		},
		{
			"connect-sqlite3's for Knex's", express[LayoutConnectSQLite3].create,
			Options{Layout: LayoutConnectSessionKnex, CreateTable: true},
			`table "sessions" is one of layout "connect-sqlite3"; set Options.Layout to it, or Options.TableName to another table`, true,
		},
		{
			"a view", `CREATE VIEW sessions AS SELECT 1 token, 2 data, 3 expiry`,
			Options{CreateTable: true},
			`"sessions" cannot hold sessions: it is a view; set Options.TableName to another name`, true,
		},
		{
			"wrong columns", `CREATE TABLE sessions (token INTEGER, data TEXT, extra NOT NULL)`,
			Options{},
			`table "sessions": column "token" is of type INTEGER, whose affinity is INTEGER, not TEXT; column "data" is of type TEXT, whose affinity is TEXT, not BLOB; ` +
				`column "expiry" is missing; column "token" is not unique; column "extra" has no default, so no session can be inserted; ` +
				`set Options.TableName to another table, or put this one aside and run:

ALTER TABLE "sessions" RENAME TO "sessions_old";
DROP INDEX IF EXISTS "sessions_expiry_idx";
CREATE TABLE "sessions" (
  "token" TEXT PRIMARY KEY,
  "data" BLOB NOT NULL,
  "expiry" REAL NOT NULL
);
CREATE INDEX "sessions_expiry_idx" ON "sessions" ("expiry");`, false,
		},
		{
			"case-insensitive ids", `CREATE TABLE sessions (token TEXT PRIMARY KEY COLLATE NOCASE, data BLOB, expiry REAL); CREATE INDEX sessions_expiry_idx ON sessions (expiry)`,
			Options{CreateTable: true},
			`table "sessions": column "token" takes different ids for equal (collation NOCASE); set Options.TableName to another table`, false,
		},
		{
			"partly unique", `CREATE TABLE sessions (token TEXT, data BLOB, expiry REAL); CREATE UNIQUE INDEX i ON sessions (token) WHERE expiry > 0; CREATE UNIQUE INDEX j ON sessions (token, data)`,
			Options{},
			`table "sessions": column "token" is not unique;`, false,
		},
		{
			"another order", `CREATE TABLE sessions (sid PRIMARY KEY, sess, expired)`,
			Options{Layout: LayoutConnectSQLite3},
			`table "sessions": its columns are sid, sess, expired, and connect-sqlite3 inserts by position: they must be sid, expired, sess; set Options.TableName`, false,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := newPath(t)
			db := rawDB(t, path)
			for _, query := range strings.Split(c.sql, ";") {
				run(t, db, query+";")
			}
			if c.sql == "" {
				run(t, db, "PRAGMA user_version = 1")
			}
			c.opts.CleanupInterval = -1
			_, err := Open(t.Context(), path, c.opts)
			if err == nil || !strings.HasPrefix(err.Error(), "sqlite: open: "+path+": "+c.want) {
				t.Fatalf("Open gave %v\nwant %s", err, c.want)
			}
			if c.stays {
				return
			}
			_, fix, _ := strings.Cut(err.Error(), "run:\n\n")
			for _, query := range strings.SplitAfter(fix, ";") {
				if query != "" {
					run(t, db, query)
				}
			}
			s := open(t, path, c.opts)
			commit(t, s, "id", body, inAnHour())
			wantFound(t, s, "id", body)
		})
	}
}

// Tables that no Node package creates, but that work.
func TestOtherTables(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		layout Layout
		sql    string
	}{
		"strict":        {LayoutSCS, `CREATE TABLE sessions (token TEXT PRIMARY KEY, data ANY NOT NULL, expiry REAL NOT NULL) STRICT`},
		"without rowid": {LayoutSCS, `CREATE TABLE "Sessions" (expiry NUMERIC, extra TEXT, data BLOB, TOKEN TEXT PRIMARY KEY) WITHOUT ROWID`},
		"text":          {LayoutConnectSessionKnex, `CREATE TABLE sessions (sid TEXT NOT NULL UNIQUE, sess TEXT, expired TEXT, extra NOT NULL DEFAULT 1)`},
		"typed":         {LayoutConnectSQLite3, `CREATE TABLE sessions (sid TEXT PRIMARY KEY, expired INTEGER, sess TEXT)`},
	} {
		t.Run(name, func(t *testing.T) {
			path := newPath(t)
			run(t, rawDB(t, path), c.sql)
			s := open(t, path, Options{Layout: c.layout, CleanupInterval: -1})
			commit(t, s, "id", body, inAnHour())
			wantFound(t, s, "id", body)
			commit(t, s, "expired", body, inAnHour().AddDate(-1, 0, 0))
			if n, err := s.deleteExpired(t.Context()); n != 1 || err != nil {
				t.Errorf("deleted %d, %v, want 1", n, err)
			}
		})
	}
}

// A table without an index on the expiry is warned of, unless Node's has none.
func TestMissingIndex(t *testing.T) {
	for layout, want := range map[Layout]bool{LayoutSCS: true, LayoutConnectSessionKnex: true, LayoutConnectSQLite3: false} {
		path := newPath(t)
		run(t, rawDB(t, path), newTable(Options{Layout: layout, TableName: "sessions"}).createTable)
		var log bytes.Buffer
		opts := Options{Layout: layout, Logger: slog.New(slog.NewTextHandler(&log, nil))}
		open(t, path, opts)
		if got := strings.Contains(log.String(), "has no index"); got != want {
			t.Errorf("%s: warned: %t, want %t: %s", layout, got, want, log.String())
		}
		log.Reset()
		opts.CreateTable = true
		open(t, path, opts)
		if log.Len() > 0 {
			t.Errorf("%s: CreateTable left %s", layout, log.String())
		}
	}
}

// CreateTable creates exactly what the Node package creates, but for the quotes.
func TestCreatedAsExpress(t *testing.T) {
	for layout, node := range express {
		describe := func(path string) string {
			var text string
			err := rawDB(t, path).QueryRow(`SELECT group_concat(line, char(10)) FROM (
				SELECT concat_ws(' ', name, type, "notnull", dflt_value, pk) line FROM pragma_table_info('sessions')
				UNION ALL SELECT concat_ws(' ', l.name, l."unique", l.origin, l.partial, x.name, x.coll, x."desc")
					FROM pragma_index_list('sessions') l, pragma_index_xinfo(l.name) x)`).Scan(&text)
			if err != nil {
				t.Fatal(err)
			}
			return text
		}
		theirs, ours := newPath(t), newPath(t)
		for _, query := range strings.Split(node.create, ";") {
			run(t, rawDB(t, theirs), query)
		}
		open(t, ours, quiet(layout))
		if got, want := describe(ours), describe(theirs); got != want {
			t.Errorf("CreateTable made\n%s\nand %s makes\n%s", got, layout, want)
		}
	}
}

// Ten stores start at once, and a Node process.
func TestConcurrentCreation(t *testing.T) {
	for _, layout := range allLayouts {
		path := newPath(t)
		start := make(chan struct{})
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				<-start
				s, err := Open(t.Context(), path, quiet(layout))
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
		close(start)
		wg.Wait()
		s := open(t, path, quiet(layout))
		wantFound(t, s, "id", body)
		var names string
		if err := s.reader.QueryRow("SELECT group_concat(name, ' ') FROM (SELECT name FROM sqlite_master WHERE sql NOT NULL ORDER BY name)").Scan(&names); err != nil {
			t.Fatal(err)
		}
		if want := map[Layout]string{
			LayoutSCS:                "sessions sessions_expiry_idx",
			LayoutConnectSessionKnex: "sessions sessions_expired_index",
			LayoutConnectSQLite3:     "sessions",
		}[layout]; names != want {
			t.Errorf("the file has %s, want %s", names, want)
		}
	}
}

func TestNewLeavesDBOpen(t *testing.T) {
	path := newPath(t)
	db := rawDB(t, path)
	s, err := New(t.Context(), db, quiet(LayoutSCS))
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

// A single connection of the caller's is enough.
func TestNewOnOneConnection(t *testing.T) {
	db := rawDB(t, newPath(t))
	db.SetMaxOpenConns(1)
	s, err := New(t.Context(), db, quiet(LayoutConnectSQLite3))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	commit(t, s, "id", body, inAnHour())
	if _, moved, err := s.Move(t.Context(), one("id", string(body)), "new", body2, inAnHour()); !moved || err != nil {
		t.Error(moved, err)
	}
	wantFound(t, s, "new", body2)
}

// asNobody runs a test again as a user without rights, if this one is root.
func asNobody(t *testing.T) (child bool) {
	t.Helper()
	if os.Getuid() != 0 {
		return true
	}
	dir, err := os.MkdirTemp("", "sqlite")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "test")
	data, err := os.ReadFile(os.Args[0])
	if err == nil {
		err = os.WriteFile(binary, data, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "TMPDIR="+dir, "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
	return false
}

func TestReadOnly(t *testing.T) {
	if !asNobody(t) {
		return
	}
	const writable = "let this process's user write to it and to its folder"
	wantError := func(path, want string) {
		t.Helper()
		_, err := Open(t.Context(), path, quiet(LayoutSCS))
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), want) {
			t.Errorf("Open gave %v\nwant %s", err, want)
		}
	}
	chmod := func(path string, mode fs.FileMode) {
		t.Helper()
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	path := newPath(t)
	dir := filepath.Dir(path)
	s := open(t, path, quiet(LayoutSCS))
	commit(t, s, "id", body, inAnHour())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	chmod(path, 0o400)
	wantError(path, writable)
	chmod(path, 0o000)
	wantError(path, writable)
	chmod(path, 0o600)
	chmod(dir, 0o500)
	wantError(path, writable)
	wantError(filepath.Join(dir, "new.db"), "let this process's user write to the folder")
	chmod(dir, 0o000)
	wantError(path, "let this process's user enter the folder")
	chmod(dir, 0o700)
	wantFound(t, open(t, path, quiet(LayoutSCS)), "id", body)
}
