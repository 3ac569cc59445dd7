// Package sqlite keeps sessions in an SQLite file, in the table of scs's sqlite3store,
// of connect-session-knex or of connect-sqlite3, so that the program that created the
// table can still read it, and write to it at the same time. It needs no server and no
// cgo.
//
//	store, err := sqlite.Open(ctx, file, sqlite.Options{
//		Layout:      sqlite.LayoutConnectSessionKnex,
//		CreateTable: true,
//	})
//
// Open registers no driver with database/sql, so that a program may link another
// SQLite driver beside it. New takes a *sql.DB of any driver.
//
// # Processes
//
// Processes share a file by SQLite's own locks, Node's among them: better-sqlite3 and
// sqlite3 use the same. Every method of a Store is atomic across them. Open puts the
// file into WAL mode, which lasts, and which a Node process that has the file open
// follows: then reads never wait, and a write waits for other writes alone. All
// processes must be on one machine, because WAL mode does not work on a network file
// system. In one process, though, a file is for one SQLite library: with POSIX locks, two of
// them, such as better-sqlite3 and the sqlite3 of connect-sqlite3, release each other's, and
// updates are lost. SQLite keeps two more files beside the database, -wal and -shm; the newest
// sessions are in the first, so a backup must be made by SQLite (VACUUM INTO).
//
// # What survives
//
// A write that has returned survives a crash or kill of any process. A loss of power,
// or a crash of the operating system, leaves the file intact, but can undo the last
// writes: a session may be as it was some seconds before, and one that was destroyed
// may be back. With Options.Synchronous set to SynchronousFull, or PRAGMA synchronous =
// FULL on the connections given to New, nothing that has returned is undone, and each
// write waits for the disk.
//
// # Time
//
// The machine's clock decides whether a session has expired. SQLite reads it once a
// statement has its lock, so a write that has waited does not revive a session that
// expired meanwhile.
package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/backends/contract"
	"github.com/samesid/samesid/internal/batch"
	"github.com/samesid/samesid/internal/sqlstore"
)

var (
	_ scs.CtxStore          = (*Store)(nil)
	_ scs.IterableStore     = (*Store)(nil)
	_ scs.IterableCtxStore  = (*Store)(nil)
	_ contract.FindToucher  = (*Store)(nil)
	_ contract.FindExpirer  = (*Store)(nil)
	_ contract.Swapper      = (*Store)(nil)
	_ contract.Mover        = (*Store)(nil)
	_ contract.Ranger       = (*Store)(nil)
	_ contract.UserIndex    = (*Store)(nil)
	_ contract.JSONRecorder = (*Store)(nil)
)

// Store is an scs.CtxStore on a table. It is safe for concurrent use.
type Store struct {
	// writer and reader are the same if New made the store.
	writer, reader *sql.DB
	ownsDB         bool
	path           string
	layout         Layout
	table          table
	numbers        bool // the data's column would turn a text that is a number into one
	indexed        bool // the table has an index on the expiry
	timeout        time.Duration
	logger         *slog.Logger
	stmts          statements
	prepared       []*sql.Stmt
	createTable    bool                       // Options.CreateTable
	users          atomic.Pointer[usersIndex] // nil until IndexUsers

	writes *batch.Queue[*ask] // nil: each write commits by itself

	page, batch int // the sizes of a page of Range and of a batch of deletions

	stopCleanup context.CancelFunc
	cleanupDone chan struct{}
	close       func() error
}

// statements are prepared by database/sql on each connection that runs them.
type statements struct {
	// on the reader
	find, findExpiry, page, count, expiredPage *sql.Stmt
	// on the writer
	findTouch, commit, delete, clear, deleteExpired *sql.Stmt
	swapCreate, swapReplace, swapTouch, swapDelete  *sql.Stmt
	findLocked                                      *sql.Stmt
}

// New returns a store on the caller's db, which Close leaves open. db may be of any
// driver with SQLite 3.37 or later; its connections must be to a file, and their
// pragmas such that no guarantee is lost, or New returns an error. Options that are
// only for Open are errors. ctx limits the start: finding or creating the table, and
// preparing the statements.
//
// Whether a call returns promptly when its context ends depends on the driver, and on
// its busy timeout. A call tries again while the file is locked, so that timeout may
// be 0.
func New(ctx context.Context, db *sql.DB, opts Options) (*Store, error) {
	if db == nil {
		return nil, errors.New("sqlite: New: the *sql.DB is nil; use Open to have one made from a path")
	}
	if err := opts.openOnly(); err != nil {
		return nil, err
	}
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	return newStore(ctx, db, db, "", opts)
}

// Open returns a store on the file at path, with connections of its own, which Close
// closes. path is neither a URI nor ":memory:". ctx limits the start.
func Open(ctx context.Context, path string, opts Options) (*Store, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	path, err = openFile(path, opts.CreateTable)
	if err != nil {
		return nil, fmt.Errorf("sqlite: open: %w", err)
	}
	// SQLite lets one connection write at a time. With one for all writes of this
	// process, they queue here, where a context can end the wait, and not at the lock.
	writer := sql.OpenDB(&connector{uri(path), []string{"journal_mode = WAL", "synchronous = " + string(opts.Synchronous)}})
	writer.SetMaxOpenConns(1)
	reader := sql.OpenDB(&connector{uri(path), []string{"query_only = ON"}})
	readers := max(4, runtime.GOMAXPROCS(0))
	reader.SetMaxOpenConns(readers)
	reader.SetMaxIdleConns(readers)

	s, err := newStore(ctx, writer, reader, path, opts)
	if err != nil {
		return nil, errors.Join(err, reader.Close(), writer.Close())
	}
	s.ownsDB = true
	if !opts.NoBatching {
		s.shareCommits()
	}
	return s, nil
}

// startTimeout is what each step of a store's start has at least: making an index may take
// long. A test makes it shorter.
var startTimeout = time.Minute

// newStore expects validated options.
func newStore(ctx context.Context, writer, reader *sql.DB, path string, opts Options) (*Store, error) {
	s := &Store{
		writer:  writer,
		reader:  reader,
		path:    path,
		layout:  opts.Layout,
		table:   newTable(opts),
		timeout: opts.Timeout,
		logger:  opts.Logger,
		page:    rangePage,
		batch:   cleanupBatch,

		createTable: opts.CreateTable,
	}
	if s.timeout > 0 {
		s.timeout = max(s.timeout, startTimeout)
	}
	if err := s.do(ctx, "open", s.checkConnection); err != nil {
		return nil, err
	}
	err := s.do(ctx, "open", func(ctx context.Context) error { return s.prepareTable(ctx, opts) })
	if err != nil {
		return nil, err
	}
	if err := s.do(ctx, "open", s.prepareStatements); err != nil {
		return nil, errors.Join(err, s.closeStatements())
	}
	s.timeout = opts.Timeout
	s.close = sync.OnceValue(s.closeAll)
	if opts.CleanupInterval > 0 {
		// The clean-up must outlive ctx, which limits only the start.
		cleanupCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
		s.stopCleanup, s.cleanupDone = stop, make(chan struct{})
		go func() {
			defer close(s.cleanupDone)
			sqlstore.CleanUp(cleanupCtx, opts.CleanupInterval, s.logger, s.table.q, s.Prune)
		}()
	}
	return s, nil
}

// settings are pragmas, and the values on which a guarantee can't be kept.
var settings = []struct {
	pragma string
	bad    []string
	why    string
}{
	{"journal_mode", []string{"off", "memory"}, "a crash of the process could destroy the file; use WAL"},
	{"synchronous", []string{"0"}, "a loss of power could destroy the file; use NORMAL or FULL"},
	{"locking_mode", []string{"exclusive"}, "every other connection would wait for ever; use NORMAL"},
	{"query_only", []string{"1"}, "no session could be written; use OFF"},
	{"read_uncommitted", []string{"1"}, "a call could read what is then rolled back; use OFF"},
	{"encoding", []string{"UTF-16le", "UTF-16be"}, "only UTF-8 is supported; make a new file"},
}

// checkConnection returns an error if no guarantee could be kept on the writer's
// connections.
func (s *Store) checkConnection(ctx context.Context) error {
	var version, file string
	if err := s.writer.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&version); err != nil {
		return err
	}
	var major, minor int
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil || major < 3 || major == 3 && minor < 37 {
		return fmt.Errorf("the driver has SQLite %s; use one with 3.37 or later", version)
	}
	err := s.writer.QueryRowContext(ctx, "SELECT coalesce(file, '') FROM pragma_database_list WHERE name = 'main'").Scan(&file)
	if err != nil {
		return err
	}
	if file == "" {
		return errors.New("the database is in memory, where each connection may have another one; use package backends/memory, or a file")
	}
	s.path = file
	for _, p := range settings {
		var value string
		if err := s.writer.QueryRowContext(ctx, "PRAGMA "+p.pragma).Scan(&value); err != nil {
			return err
		}
		if slices.Contains(p.bad, value) {
			return fmt.Errorf("%s: PRAGMA %s is %s: %s", s.path, p.pragma, value, p.why)
		}
		if p.pragma == "journal_mode" && value != "wal" {
			if s.reader != s.writer {
				return fmt.Errorf("%s: SQLite can't use WAL mode here, as on a network file system; use a local disk", s.path)
			}
			s.logger.Warn("the sessions' file is not in WAL mode, so reads and writes wait for each other", "file", s.path, "run", "PRAGMA journal_mode = WAL")
		}
	}
	return nil
}

// prepareTable inspects the table, and creates it if Options.CreateTable is set.
func (s *Store) prepareTable(ctx context.Context, opts Options) error {
	f, err := s.table.inspect(ctx, s.writer)
	if err == nil && opts.CreateTable && !s.table.complete(f) {
		if err := s.table.createMissing(ctx, s.writer); err != nil {
			return fmt.Errorf("create table %s: %w", s.table.q, err)
		}
		f, err = s.table.inspect(ctx, s.writer)
	}
	if err != nil {
		return err
	}
	if err := s.table.validate(f); err != nil {
		return fmt.Errorf("%s: %w", s.path, err)
	}
	data, _ := f.column(s.table.data)
	expiry, _ := f.column(s.table.expiry)
	s.numbers = data.affinity == numeric
	s.indexed = expiry.indexed
	if !s.indexed && s.table.createIndex != "" && opts.CleanupInterval > 0 {
		s.logger.Warn("the sessions' expiry has no index, so each clean-up reads the whole table",
			"table", s.table.q, "run", s.table.createIndex)
	}
	return nil
}

func (s *Store) prepareStatements(ctx context.Context) error {
	// As a blob the data is the same bytes with every driver, which could otherwise
	// parse a text by the column's declared type.
	const data = "CAST({data} AS BLOB)"
	const isOld = data + " = ?"
	expiredPage := "SELECT {id} FROM {table} WHERE {expired} ORDER BY {expiry} LIMIT ?"
	if !s.indexed {
		expiredPage = "SELECT {id} FROM {table} WHERE {id} >= ? AND {expired} ORDER BY {id} LIMIT ?"
	}
	const upsert = `INSERT INTO {table} ({id}, {expiry}, {data}) VALUES (?, ?, ?)
			ON CONFLICT ({id}) DO UPDATE SET {data} = excluded.{data}, {expiry} = excluded.{expiry}`
	for _, p := range []struct {
		db    *sql.DB
		stmt  **sql.Stmt
		query string
	}{
		{s.reader, &s.stmts.find, "SELECT " + data + " FROM {table} WHERE {id} = ? AND {live}"},
		{s.reader, &s.stmts.findExpiry, "SELECT " + data + ", {readExpiry} FROM {table} WHERE {id} = ? AND {live}"},
		{s.reader, &s.stmts.page, "SELECT {id}, " + data + " FROM {table} WHERE {id} >= ? AND {live} ORDER BY {id} LIMIT ?"},
		{s.reader, &s.stmts.count, "SELECT count(*) FROM {table} WHERE {live}"},
		{s.reader, &s.stmts.expiredPage, expiredPage},

		{s.writer, &s.stmts.findTouch, "UPDATE {table} SET {expiry} = ? WHERE {id} = ? AND {live} RETURNING " + data},
		{s.writer, &s.stmts.commit, upsert},
		{s.writer, &s.stmts.delete, "DELETE FROM {table} WHERE {id} = ?"},
		{s.writer, &s.stmts.clear, "DELETE FROM {table} WHERE {id} IN (SELECT {id} FROM {table} LIMIT ?)"},
		{s.writer, &s.stmts.deleteExpired, "DELETE FROM {table} WHERE {id} = ? AND {expired}"},

		// An expiry that can't be read is neither live nor expired.
		{s.writer, &s.stmts.swapCreate, upsert + " WHERE ({live}) IS NOT TRUE"},
		{s.writer, &s.stmts.swapReplace, "UPDATE {table} SET {data} = ?, {expiry} = ? WHERE {id} = ? AND " + isOld + " AND {live}"},
		{s.writer, &s.stmts.swapTouch, "UPDATE {table} SET {expiry} = ? WHERE {id} = ? AND " + isOld + " AND {live}"},
		{s.writer, &s.stmts.swapDelete, "DELETE FROM {table} WHERE {id} = ? AND " + isOld + " AND {live}"},

		{s.writer, &s.stmts.findLocked, "SELECT " + data + " FROM {table} WHERE {id} = ? AND {live}"},
	} {
		stmt, err := p.db.PrepareContext(ctx, s.table.sql(p.query)) //nolint:sqlclosecheck // Close closes it
		if err != nil {
			return err
		}
		*p.stmt = stmt
		s.prepared = append(s.prepared, stmt)
	}
	return nil
}

// Close stops the clean-up, waits for it, and closes the connections that Open made.
// The db given to New stays open. Calls after Close return errors. A second Close does
// nothing.
func (s *Store) Close() error { return s.close() }

func (s *Store) closeAll() error {
	if s.stopCleanup != nil {
		s.stopCleanup()
		<-s.cleanupDone
	}
	if s.writes != nil {
		s.writes.Close()
	}
	err := s.closeStatements()
	if s.ownsDB {
		// The last connection moves what is in the -wal file to the database.
		err = errors.Join(err, s.reader.Close(), s.writer.Close())
	}
	return err
}

func (s *Store) closeStatements() error {
	var errs []error
	for _, stmt := range s.prepared {
		errs = append(errs, stmt.Close())
	}
	return errors.Join(errs...)
}

// do calls fn with the timeout, again while the file is locked.
func (s *Store) do(ctx context.Context, op string, fn func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("sqlite: %s: %w", op, err)
	}
	if s.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.timeout)
		defer cancel()
	}
	var locked error
	for {
		err := fn(ctx)
		switch {
		case err == nil:
			return nil
		case isLocked(err):
			locked = err
		case locked == nil || ctx.Err() == nil:
			return s.explain(ctx, op, err)
		}
		// The driver has given up by itself. Nothing was written.
		select {
		case <-ctx.Done():
			return s.explain(ctx, op, locked)
		case <-time.After(rand.N(5 * time.Millisecond)):
		}
	}
}

// row runs a statement that returns at most one row, and writes nothing.
func (s *Store) row(ctx context.Context, op string, stmt *sql.Stmt, args []any, dest ...any) (found bool, err error) {
	err = s.do(ctx, op, func(ctx context.Context) error {
		found, err = scan(ctx, stmt, false, args, dest...)
		return err
	})
	return found && err == nil, err
}

func scan(ctx context.Context, stmt *sql.Stmt, wrote bool, args []any, dest ...any) (found bool, err error) {
	rows, err := stmt.QueryContext(ctx, args...)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	if found = rows.Next(); !found {
		return false, rows.Err()
	}
	if err := rows.Scan(dest...); err != nil {
		return false, err
	}
	// SQLite moves what is in the -wal file to the database only when a statement that
	// writes comes to its end; otherwise the file would grow. Close ends any other.
	for wrote && rows.Next() {
	}
	return true, errors.Join(rows.Err(), rows.Close())
}

// exec runs a statement, perhaps in a transaction with others, and reports whether it changed
// a row.
func (s *Store) exec(ctx context.Context, op string, stmt *sql.Stmt, args ...any) (changed bool, err error) {
	changed, _, err = s.grouped(ctx, op, stmt, args, func() (bool, error) { return s.execAlone(ctx, op, stmt, args...) })
	return changed, err
}

func (s *Store) execAlone(ctx context.Context, op string, stmt *sql.Stmt, args ...any) (changed bool, err error) {
	err = s.do(ctx, op, func(ctx context.Context) error {
		changed, err = affected(stmt.ExecContext(ctx, args...))
		return err
	})
	return changed && err == nil, err
}

// changed is exec in a transaction.
func (s *Store) changed(ctx context.Context, tx *sql.Tx, stmt *sql.Stmt, args ...any) (bool, error) {
	return affected(tx.StmtContext(ctx, stmt).ExecContext(ctx, args...)) //nolint:sqlclosecheck // ends with the transaction
}

func affected(result sql.Result, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n > 0, err
}

// write runs fn in a transaction, which it commits if fn returns true. Open's
// connections have the write lock from its beginning. With a driver that begins without,
// SQLite refuses the first write if what fn has read is no longer the present state, as
// if the file were locked, and fn runs again.
func (s *Store) write(ctx context.Context, op string, fn func(context.Context, *sql.Tx) (bool, error)) error {
	return s.do(ctx, op, func(ctx context.Context) error {
		tx, err := s.writer.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if done, err := fn(ctx, tx); !done || err != nil {
			return err
		}
		return tx.Commit()
	})
}

// FindCtx returns the record of a live session.
func (s *Store) FindCtx(ctx context.Context, token string) (data []byte, found bool, err error) {
	return s.find(ctx, "find", token)
}

func (s *Store) find(ctx context.Context, op, token string) (data []byte, found bool, err error) {
	found, err = s.row(ctx, op, s.stmts.find, []any{token}, &data)
	return record(data, found), found, err
}

// FindExpiry returns the record of a live session and its expiry. A later expiry than
// the end of the year 9999 is returned as that date.
func (s *Store) FindExpiry(ctx context.Context, token string) (data []byte, expiry time.Time, found bool, err error) {
	var millis int64
	found, err = s.row(ctx, "find", s.stmts.findExpiry, []any{token}, &data, &millis)
	if found {
		expiry = time.UnixMilli(min(millis, maxExpiry.UnixMilli()))
	}
	return record(data, found), expiry, found, err
}

// FindTouch returns the record of a live session and sets its expiry, in one statement
// that doesn't write the record again.
func (s *Store) FindTouch(ctx context.Context, token string, expiry time.Time) (data []byte, found bool, err error) {
	const op = "find and touch"
	args := []any{s.table.writeExpiry(expiry), token}
	var alone []byte
	found, data, err = s.grouped(ctx, op, s.stmts.findTouch, args, func() (found bool, err error) {
		err = s.do(ctx, op, func(ctx context.Context) error {
			found, err = scan(ctx, s.stmts.findTouch, true, args, &alone)
			return err
		})
		return found && err == nil, err
	})
	if data == nil {
		data = alone
	}
	return record(data, found), found, err
}

// CommitCtx creates or overwrites a record. In a connect-* layout, data that is not
// JSON in UTF-8 is an error.
func (s *Store) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	value, err := s.value("commit", data)
	if err != nil {
		return err
	}
	_, err = s.exec(ctx, "commit", s.stmts.commit, token, s.table.writeExpiry(expiry), value)
	return err
}

// DeleteCtx deletes a record. It is not an error if there is none.
func (s *Store) DeleteCtx(ctx context.Context, token string) error {
	_, err := s.exec(ctx, "delete", s.stmts.delete, token)
	return err
}

// swapTries is the number of tries of Swap. It tries again if the record that was in the
// way no longer is when it is read.
const swapTries = 100

// Swap writes a record only if it is still old: see contract.Swapper. The write is one
// statement.
func (s *Store) Swap(ctx context.Context, token string, old, new []byte, expiry time.Time) (current []byte, swapped bool, err error) {
	const op = "swap"
	touch := old != nil && new != nil && bytes.Equal(old, new)
	var value any
	if new != nil && !touch {
		if value, err = s.value(op, new); err != nil {
			return nil, false, err
		}
	}
	until := s.table.writeExpiry(expiry)
	for range swapTries {
		switch {
		case old == nil && new == nil:
		case old == nil:
			swapped, err = s.exec(ctx, op, s.stmts.swapCreate, token, until, value)
		case new == nil:
			swapped, err = s.exec(ctx, op, s.stmts.swapDelete, token, old)
		case touch:
			swapped, err = s.exec(ctx, op, s.stmts.swapTouch, until, token, old)
		default:
			swapped, err = s.exec(ctx, op, s.stmts.swapReplace, value, until, token, old)
		}
		if swapped || err != nil {
			return nil, swapped, err
		}
		current, found, err := s.find(ctx, op, token)
		if err != nil {
			return nil, false, err
		}
		if found != (old != nil) || !bytes.Equal(current, old) || old == nil && new == nil {
			return current, false, nil
		}
	}
	return nil, false, fmt.Errorf("sqlite: swap: the record changed back and forth %d times", swapTries)
}

// Move replaces records by one, if each of them is still what the caller knows: see
// contract.Mover. It is one transaction.
func (s *Store) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) (current [][]byte, moved bool, err error) {
	const op = "move"
	value, err := s.value(op, data)
	if err != nil {
		return nil, false, err
	}
	inPlace := slices.ContainsFunc(from, func(r contract.Record) bool { return r.Token == to })
	err = s.write(ctx, op, func(ctx context.Context, tx *sql.Tx) (bool, error) {
		current, moved = make([][]byte, len(from)), false
		find := tx.StmtContext(ctx, s.stmts.findLocked) //nolint:sqlclosecheck // ends with the transaction
		known := true
		for i, r := range from {
			var now []byte
			found, err := scan(ctx, find, false, []any{r.Token}, &now)
			if err != nil {
				return false, err
			}
			current[i] = record(now, found)
			known = known && found && bytes.Equal(now, r.Data)
		}
		if !known {
			return false, nil
		}
		for _, r := range from {
			if r.Token == to {
				continue
			}
			if _, err := s.changed(ctx, tx, s.stmts.delete, r.Token); err != nil {
				return false, err
			}
		}
		write := s.stmts.swapCreate
		if inPlace {
			write = s.stmts.commit
		}
		moved, err = s.changed(ctx, tx, write, to, s.table.writeExpiry(expiry), value)
		return moved, err
	})
	if err != nil {
		return nil, false, err
	}
	if moved {
		current = nil
	}
	return current, moved, nil
}

// rangePage is small enough to hold a page of large records in memory.
const rangePage = 200

// Range calls fn for each live record, in no particular order. It reads pages, and
// holds no connection while fn runs.
func (s *Store) Range(ctx context.Context, fn func(token string, data []byte) error) error {
	return sqlstore.Range(ctx, s.do, s.stmts.page.QueryContext, s.page, func(token string, data []byte) error {
		return fn(token, record(data, true))
	})
}

// AllCtx returns all live records by token. Range needs less memory.
func (s *Store) AllCtx(ctx context.Context) (map[string][]byte, error) {
	return sqlstore.All(ctx, s.Range)
}

// Len counts the live sessions. It reads every row.
func (s *Store) Len(ctx context.Context) (int, error) {
	var n int
	_, err := s.row(ctx, "len", s.stmts.count, nil, &n)
	return n, err
}

// Clear deletes every session of the table, including expired ones, in batches. One
// that is written meanwhile may stay.
func (s *Store) Clear(ctx context.Context) error {
	for {
		if changed, err := s.execAlone(ctx, "clear", s.stmts.clear, s.batch); err != nil || !changed {
			return err
		}
	}
}

// Ping returns an error if the file can't be read.
func (s *Store) Ping(ctx context.Context) error {
	_, _, err := s.find(ctx, "ping", "")
	return err
}

// String returns the store's name in log lines, with its table.
func (s *Store) String() string { return "sqlite store, table " + s.table.q }

// JSONRecords reports whether the layout is a connect-* one, whose records Express
// reads.
func (s *Store) JSONRecords() bool { return s.table.Express }

// Find is FindCtx without a context.
func (s *Store) Find(token string) (data []byte, found bool, err error) {
	return s.FindCtx(context.Background(), token)
}

// Commit is CommitCtx without a context.
func (s *Store) Commit(token string, data []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), token, data, expiry)
}

// Delete is DeleteCtx without a context.
func (s *Store) Delete(token string) error {
	return s.DeleteCtx(context.Background(), token)
}

// All is AllCtx without a context.
func (s *Store) All() (map[string][]byte, error) {
	return s.AllCtx(context.Background())
}

// value returns data as the column holds it: a text in the connect-* layouts, which
// Node could not parse otherwise, and a blob in scs's.
func (s *Store) value(op string, data []byte) (any, error) {
	switch {
	case !s.table.Express:
		return notNull(data), nil
	case !utf8.Valid(data) || !json.Valid(data):
		return nil, fmt.Errorf("sqlite: %s: %w: it is not JSON in UTF-8, as layout %q has it", op, contract.ErrRejected, s.layout)
	case s.numbers && isOddNumber(data):
		return nil, fmt.Errorf("sqlite: %s: %w: it is a number that the column %s would change; layout %q is for JSON objects", op, contract.ErrRejected, s.table.qData, s.layout)
	}
	return string(data), nil
}

// isOddNumber reports whether a JSON text is a number that SQLite would write in
// another way.
func isOddNumber(data []byte) bool {
	c := bytes.TrimLeft(data, " \t\r\n")[0]
	if c != '-' && (c < '0' || c > '9') {
		return false
	}
	n, err := strconv.ParseInt(string(data), 10, 64)
	return err != nil || strconv.FormatInt(n, 10) != string(data)
}

// record returns an empty slice, not nil, for a record of no bytes.
func record(data []byte, found bool) []byte {
	if found {
		return notNull(data)
	}
	return nil
}

func notNull(data []byte) []byte {
	if data == nil {
		return []byte{}
	}
	return data
}
