// Package postgres keeps sessions in PostgreSQL, in the table of scs's
// postgresstore, of connect-pg-simple or of connect-session-knex, so that what
// is there stays readable for whoever made it.
//
// The SQL is this package's own. postgresstore defines the default layout, and
// the tests hold both to reading each other's rows, but each of its statements
// would have had to be replaced: it takes no context, prepares nothing, which
// costs lib/pq a second round trip for every call, and deletes all expired rows
// in one statement.
//
// # Time
//
// Whether a session has expired is decided by the server's clock alone, so all
// processes that use this package agree on it. The expiry itself is computed by
// the caller: a clock that is wrong by some seconds moves an expiry by as much,
// and nothing else.
//
// connect-pg-simple's column expire has no time zone. Express writes it as local
// time in the zone of its connection, which is the one set for the role, the
// database or the server, in this order; so does this package. Both sides agree
// unless one of them sets a zone for its own connections (TimeZone in the DSN,
// options, or SET); New and Open then log a warning. In a zone with a summer time
// an expiry within the hour that repeats in autumn is read as the later of the
// two, by Express too; a database whose zone is UTC has no such hour.
//
// A touch does not wait until the server's disk has it (synchronous_commit is off
// for that statement): a crash of the server can take back the touches of its
// last moments, so that a session ends as its use before that would have it. A
// write of data always waits.
//
// # Connections
//
// A call on a store that Open made returns within about Options.Timeout and
// Options.ConnectTimeout together, even from a server that has vanished without
// closing its connections. The driver alone would wait until the operating
// system gives such a connection up, so for a store made by New, give the
// connector a Dialer whose connections have deadlines.
//
// Statements are prepared once on each connection. A pooler between this package
// and the server must keep prepared statements (PgBouncer: session pooling, or
// max_prepared_statements).
package postgres

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/lib/pq"
)

// Store is an scs.CtxStore on a table. It is safe for concurrent use.
//
// Each call means the same at any default isolation level of the role or
// database. A token that the table's column cannot hold is absent to every call
// that reads, moves or deletes, and an error to one that would write it.
type Store struct {
	db     *sql.DB
	ownsDB bool
	layout Layout
	table  table
	jsonb  bool
	// expiryType is the type of the table's column.
	expiryType string
	timeout    time.Duration
	logger     *slog.Logger
	stmts      statements
	prepared   []*sql.Stmt

	// The sizes of a page of Range and of a batch of deletions.
	page, batch int

	stopCleanup context.CancelFunc
	cleanupDone chan struct{}
	close       func() error
}

// statements are prepared by database/sql on each connection that runs them.
type statements struct {
	find, findExpiry, findTouch, touch, commit, delete *sql.Stmt
	rename, makeRoom                                   *sql.Stmt
	swapCreate, swapReplace, swapDelete                *sql.Stmt
	page, count, clear, deleteExpired                  *sql.Stmt
}

// New returns a store on db, which stays the caller's: Close leaves it open.
// Options that are for Open alone are errors. ctx limits the start: finding or
// creating the table, and preparing the statements.
func New(ctx context.Context, db *sql.DB, opts Options) (*Store, error) {
	if db == nil {
		return nil, errors.New("postgres: New: the *sql.DB is nil; use Open to have one made from a DSN")
	}
	if err := opts.openOnly(); err != nil {
		return nil, err
	}
	opts, err := opts.check()
	if err != nil {
		return nil, err
	}
	return newStore(ctx, db, opts)
}

// Open returns a store with a connection pool of its own, which Close closes.
// dsn is what lib/pq takes: a URL or key=value pairs, with the usual PG*
// variables of the environment for what is missing in it. ctx limits the start.
func Open(ctx context.Context, dsn string, opts Options) (*Store, error) {
	opts, err := opts.check()
	if err != nil {
		return nil, err
	}
	cfg, err := pq.NewConfig(dsn)
	if err != nil {
		return nil, dsnError(err)
	}
	cfg.ConnectTimeout = cmp.Or(opts.ConnectTimeout, cfg.ConnectTimeout, defaultConnectTimeout)
	cfg.SSLMode = cmp.Or(pq.SSLMode(opts.SSLMode), cfg.SSLMode)
	cfg.SSLRootCert = cmp.Or(opts.SSLRootCert, cfg.SSLRootCert)
	cfg.SSLCert = cmp.Or(opts.SSLCert, cfg.SSLCert)
	cfg.SSLKey = cmp.Or(opts.SSLKey, cfg.SSLKey)
	connector, err := pq.NewConnectorConfig(cfg)
	if err != nil {
		return nil, dsnError(err)
	}
	d := &dialer{}
	connector.Dialer(d)

	db := sql.OpenDB(connector)
	open := cmp.Or(opts.MaxOpenConns, defaultMaxOpenConns)
	db.SetMaxOpenConns(open)
	db.SetMaxIdleConns(cmp.Or(opts.MaxIdleConns, open))
	db.SetConnMaxIdleTime(cmp.Or(opts.ConnMaxIdleTime, defaultConnMaxIdleTime))
	db.SetConnMaxLifetime(cmp.Or(opts.ConnMaxLifetime, defaultConnMaxLifetime))
	s, err := newStore(ctx, db, opts)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	s.ownsDB = true
	if opts.Timeout > 0 {
		// Not before: building an index may take the server long. What a
		// cancelled statement's answer takes is beyond the timeout.
		d.limit.Store(int64(opts.Timeout + cancelGrace))
	}
	return s, nil
}

// newStore takes options that have been checked.
func newStore(ctx context.Context, db *sql.DB, opts Options) (*Store, error) {
	s := &Store{
		db:      db,
		layout:  opts.Layout,
		table:   newTable(opts),
		timeout: opts.Timeout,
		logger:  opts.Logger,
		page:    rangePage,
		batch:   cleanupBatch,
	}
	if err := s.prepareTable(ctx, opts); err != nil {
		return nil, err
	}
	if err := s.prepareStatements(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("postgres: open: prepare: %w", clean(ctx, err)), s.closeStatements())
	}
	s.close = sync.OnceValue(s.closeAll)
	if opts.CleanupInterval > 0 {
		// The clean-up lives as long as the store, not as long as its start.
		cleanupCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
		s.stopCleanup, s.cleanupDone = stop, make(chan struct{})
		go s.runCleanup(cleanupCtx, opts.CleanupInterval)
	}
	return s, nil
}

// prepareTable finds the table, and makes it if it is to.
func (s *Store) prepareTable(ctx context.Context, opts Options) error {
	columns, err := s.table.inspect(ctx, s.db)
	if err == nil && opts.CreateTable && !s.table.complete(columns) {
		if err := s.table.create(ctx, s.db); err != nil {
			return err
		}
		columns, err = s.table.inspect(ctx, s.db)
	}
	switch {
	case errors.Is(err, pq.ErrSSLNotSupported):
		return fmt.Errorf("postgres: open: the server has no TLS; if the way to it is safe without, set sslmode=disable: %w", err)
	case err != nil:
		return fmt.Errorf("postgres: open: %w", clean(ctx, err))
	}
	if err := s.table.check(columns); err != nil {
		return err
	}
	s.jsonb = columns[s.table.data].typ == typeJSONB

	expiry := columns[s.table.expiry]
	s.expiryType = expiry.typ
	if !expiry.indexed && opts.CleanupInterval > 0 {
		s.logger.Warn("the sessions' expiry has no index, so each clean-up reads the whole table",
			"table", s.table.q, "run", s.table.createIndex)
	}
	if expiry.typ == typeTimestamp {
		return s.warnTimeZone(ctx)
	}
	return nil
}

// warnTimeZone says so if this connection's time zone may not be the one of
// Express's connections.
func (s *Store) warnTimeZone(ctx context.Context) error {
	var zone, source string
	err := s.db.QueryRowContext(ctx, "SELECT setting, source FROM pg_settings WHERE name = 'TimeZone'").Scan(&zone, &source)
	if err != nil {
		return fmt.Errorf("postgres: open: %w", clean(ctx, err))
	}
	if source == "client" || source == "session" {
		s.logger.Warn("the connection sets a time zone of its own; Express's connections must set the same, or expiries will differ by hours",
			"table", s.table.q, "TimeZone", zone)
	}
	return nil
}

func (s *Store) prepareStatements(ctx context.Context) error {
	t := s.table
	var isOld, newData string
	switch {
	case !s.JSONRecords():
		isOld, newData = t.qData+" = $2", "$3"
	case s.jsonb:
		// The parameter is json, which every driver setting sends as text.
		isOld, newData = t.qData+" = $2::json::jsonb", "$3::json"
	default:
		// json has no equality, but keeps the text that was written.
		isOld, newData = t.qData+"::text = $2", "$3::json"
	}
	// Always true, and for this statement alone: a touch that a crash of the
	// server takes back moves an expiry and loses no data, so nobody waits for
	// the disk.
	const unsynced = "set_config('synchronous_commit', 'off', true) = 'off'"
	names := strings.NewReplacer("{table}", t.q, "{id}", t.qID, "{data}", t.qData, "{expiry}", t.qExpiry,
		"{old}", isOld, "{new}", newData, "{unsynced}", unsynced, "{expiryType}", s.expiryType)

	// The casts to timestamptz make a parameter an instant, whatever the
	// column's type: of a parameter that is a timestamp, Postgres would take
	// the digits and drop the zone.
	for _, p := range []struct {
		stmt  **sql.Stmt
		query string
	}{
		{&s.stmts.find, `SELECT {data} FROM {table} WHERE {id} = $1 AND {expiry} > now()`},
		{&s.stmts.findExpiry, `SELECT {data}, least({expiry}::timestamptz, '9999-12-31 00:00:00Z')
			FROM {table} WHERE {id} = $1 AND {expiry} > now()`},
		{&s.stmts.findTouch, `UPDATE {table} SET {expiry} = $2::timestamptz
			WHERE {id} = $1 AND {expiry} > now() AND {unsynced} RETURNING {data}`},
		{&s.stmts.touch, `UPDATE {table} SET {expiry} = $2::timestamptz WHERE {id} = $1 AND {expiry} > now() AND {unsynced}`},
		{&s.stmts.commit, `INSERT INTO {table} ({id}, {expiry}, {data}) VALUES ($1, $2::timestamptz, {new})
			ON CONFLICT ({id}) DO UPDATE SET {data} = excluded.{data}, {expiry} = excluded.{expiry}`},
		{&s.stmts.rename, `UPDATE {table} SET {id} = $2 WHERE {id} = $1 AND {expiry} > now()
			AND NOT EXISTS (SELECT FROM {table} WHERE {id} = $2 AND {expiry} > now())`},
		{&s.stmts.makeRoom, `DELETE FROM {table} WHERE {id} = $1 AND {expiry} <= now()`},
		{&s.stmts.delete, `DELETE FROM {table} WHERE {id} = $1`},

		// An update or delete that has to wait for another one looks at the
		// row again as that one left it, so none of these acts on stale bytes.
		{&s.stmts.swapCreate, `INSERT INTO {table} AS t ({id}, {expiry}, {data}) VALUES ($1, $2::timestamptz, {new})
			ON CONFLICT ({id}) DO UPDATE SET {data} = excluded.{data}, {expiry} = excluded.{expiry}
			WHERE t.{expiry} <= now()`},
		{&s.stmts.swapReplace, `UPDATE {table} SET {data} = {new}, {expiry} = $4::timestamptz
			WHERE {id} = $1 AND {old} AND {expiry} > now()`},
		{&s.stmts.swapDelete, `DELETE FROM {table} WHERE {id} = $1 AND {old} AND {expiry} > now()`},

		{&s.stmts.page, `SELECT {id}, {data} FROM {table} WHERE {id} >= $1 AND {expiry} > now() ORDER BY {id} LIMIT $2`},
		{&s.stmts.count, `SELECT count(*) FROM {table} WHERE {expiry} > now()`},
		{&s.stmts.clear, `WITH gone AS (SELECT {id} FROM {table} WHERE {id} >= $1 ORDER BY {id} LIMIT $2),
			deleted AS (DELETE FROM {table} t USING gone WHERE t.{id} = gone.{id})
			SELECT {id} FROM gone ORDER BY {id} DESC LIMIT 1`},

		// By key and not by ctid, which is not unique in a partitioned table.
		{&s.stmts.deleteExpired, `WITH gone AS (SELECT {id}, {expiry} FROM {table}
				WHERE {expiry} <= now() AND {expiry} >= $2::text::{expiryType}
				ORDER BY {expiry} LIMIT $1 FOR UPDATE SKIP LOCKED),
			deleted AS (DELETE FROM {table} t USING gone WHERE t.{id} = gone.{id} AND t.{expiry} <= now() RETURNING 1)
			SELECT (SELECT count(*) FROM deleted), (SELECT max({expiry})::text FROM gone)`},
	} {
		stmt, err := s.db.PrepareContext(ctx, names.Replace(p.query)) //nolint:sqlclosecheck // Close closes it
		if err != nil {
			return err
		}
		*p.stmt = stmt
		s.prepared = append(s.prepared, stmt)
	}
	return nil
}

// Close stops the clean-up, waits for it, and closes what Open opened: of a
// store made by New, the database stays open. Calls after Close are errors.
// Closing again does nothing.
func (s *Store) Close() error { return s.close() }

func (s *Store) closeAll() error {
	if s.stopCleanup != nil {
		s.stopCleanup()
		<-s.cleanupDone
	}
	err := s.closeStatements()
	if s.ownsDB {
		err = errors.Join(err, s.db.Close())
	}
	if err != nil {
		return fmt.Errorf("postgres: close: %w", err)
	}
	return nil
}

func (s *Store) closeStatements() error {
	var err error
	for _, stmt := range s.prepared {
		err = errors.Join(err, stmt.Close())
	}
	return err
}

// do runs fn, a single statement, within the timeout. It runs it again if the
// server undid it in favour of another one, as an isolation level stricter than
// the default does.
func (s *Store) do(ctx context.Context, op string, fn func(context.Context) error) error {
	if s.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.timeout)
		defer cancel()
	}
	for {
		err := fn(ctx)
		if err == nil {
			return nil
		}
		if code := sqlState(err); code == codeSerializationFailure || code == codeDeadlockDetected {
			continue
		}
		return fmt.Errorf("postgres: %s: %w", op, clean(ctx, err))
	}
}

// row runs a statement that returns at most one row.
func (s *Store) row(ctx context.Context, op string, stmt *sql.Stmt, args []any, dest ...any) (found bool, err error) {
	err = s.do(ctx, op, func(ctx context.Context) error {
		err := stmt.QueryRowContext(ctx, args...).Scan(dest...)
		found = err == nil
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	return found, err
}

// exec runs a statement and says whether it changed a row.
func (s *Store) exec(ctx context.Context, op string, stmt *sql.Stmt, args ...any) (changed bool, err error) {
	err = s.do(ctx, op, func(ctx context.Context) error {
		if id, ok := args[0].(*sent); ok {
			id.times = 0 // what was sent before was undone, and the server said so
		}
		result, err := stmt.ExecContext(ctx, args...)
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		changed = n > 0
		return err
	})
	return changed, err
}

// FindCtx returns the record of a live session.
func (s *Store) FindCtx(ctx context.Context, token string) (data []byte, found bool, err error) {
	return s.find(ctx, "find", token)
}

func (s *Store) find(ctx context.Context, op, token string) (data []byte, found bool, err error) {
	if !storable(token) {
		return nil, false, nil
	}
	found, err = s.row(ctx, op, s.stmts.find, []any{token}, &data)
	return data, found, err
}

// FindExpiry returns the record of a live session and its expiry: no later than
// the end of the year 9999, which stands for infinity too.
func (s *Store) FindExpiry(ctx context.Context, token string) (data []byte, expiry time.Time, found bool, err error) {
	if !storable(token) {
		return nil, time.Time{}, false, nil
	}
	found, err = s.row(ctx, "find", s.stmts.findExpiry, []any{token}, &data, &expiry)
	return data, expiry, found, err
}

// FindTouch returns the record of a live session and sets its expiry, in one
// statement that doesn't write the record again.
func (s *Store) FindTouch(ctx context.Context, token string, expiry time.Time) (data []byte, found bool, err error) {
	if !storable(token) {
		return nil, false, nil
	}
	found, err = s.row(ctx, "find and touch", s.stmts.findTouch, []any{token, s.expiry(expiry)}, &data)
	return data, found, err
}

// Touch sets the expiry of a live session.
func (s *Store) Touch(ctx context.Context, token string, expiry time.Time) (found bool, err error) {
	if !storable(token) {
		return false, nil
	}
	return s.exec(ctx, "touch", s.stmts.touch, token, s.expiry(expiry))
}

// Rename gives a live record another token: see adapter.Renamer.
func (s *Store) Rename(ctx context.Context, old, new string) (renamed bool, err error) {
	const op = "rename"
	if !storable(old) {
		return false, nil
	}
	if err := s.checkToken(op, new); err != nil {
		return false, err
	}
	for {
		renamed, err = s.exec(ctx, op, s.stmts.rename, old, new)
		if sqlState(err) != codeUniqueViolation {
			return renamed, err
		}
		// The row in the way has expired, or was made since the statement began.
		if expired, err := s.exec(ctx, op, s.stmts.makeRoom, new); !expired {
			return false, err
		}
	}
}

// CommitCtx writes a record, whether there is one or not. In a connect-* layout
// data that is not JSON is an error.
func (s *Store) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	if err := s.checkToken("commit", token); err != nil {
		return err
	}
	_, err := s.exec(ctx, "commit", s.stmts.commit, token, s.expiry(expiry), notNull(data))
	return err
}

// DeleteCtx deletes a record. That there is none is not an error.
func (s *Store) DeleteCtx(ctx context.Context, token string) error {
	if !storable(token) {
		return nil
	}
	_, err := s.exec(ctx, "delete", s.stmts.delete, token)
	return err
}

// cancelGrace is how long the server may take to answer a cancellation before
// the connection is given up.
const cancelGrace = time.Second

// swapTries is how often Swap tries again when the record that stood in its way
// was gone, or was old again, by the time it was read.
const swapTries = 100

// sent is a token that counts how often a statement was sent with it. database/sql
// sends one again, by another connection, when the first was lost before the
// answer; what the first did is then what the second finds.
type sent struct {
	token string
	times int
}

// Value implements driver.Valuer.
func (s *sent) Value() (driver.Value, error) {
	s.times++
	return s.token, nil
}

// Swap writes a record only if the store still holds the bytes old: nil for no
// record. A new of nil deletes it. When swapped is false nothing was written,
// and current holds what is there now, nil for nothing. In a jsonb column, which
// doesn't keep the text, old is compared as JSON.
//
// When the server's answer is lost the write may have been done. If that can't be
// found out, it is an error.
func (s *Store) Swap(ctx context.Context, token string, old, new []byte, expiry time.Time) (current []byte, swapped bool, err error) {
	const op = "swap"
	if !storable(token) {
		if old == nil && new != nil {
			return nil, false, s.checkToken(op, token)
		}
		return nil, false, nil
	}
	if old == nil && new == nil {
		current, _, err = s.find(ctx, op, token)
		return current, false, err
	}
	for range swapTries {
		id := &sent{token: token}
		switch {
		case old == nil:
			swapped, err = s.exec(ctx, op, s.stmts.swapCreate, id, s.expiry(expiry), new)
		case !s.comparable(old):
		case new == nil:
			swapped, err = s.exec(ctx, op, s.stmts.swapDelete, id, old)
		default:
			swapped, err = s.exec(ctx, op, s.stmts.swapReplace, id, old, new, s.expiry(expiry))
		}
		if swapped || err != nil {
			return nil, swapped, err
		}
		// A statement of its own: what stood in the way may have been
		// committed after the first one began, which would not see it.
		current, found, err := s.find(ctx, op, token)
		if err != nil {
			return nil, false, err
		}
		if id.times > 1 {
			if found && new != nil && bytes.Equal(current, new) {
				return nil, true, nil
			}
			return nil, false, errors.New("postgres: swap: the connection was lost, and it is not known whether the record was written")
		}
		if found != (old != nil) || found && !bytes.Equal(current, old) {
			return current, false, nil
		}
	}
	return nil, false, fmt.Errorf("postgres: swap: the record changed to and fro %d times", swapTries)
}

// comparable says whether old could be in the column at all: if not, comparing
// with it would be an error of the server's.
func (s *Store) comparable(old []byte) bool {
	switch {
	case s.jsonb:
		return json.Valid(old)
	case s.JSONRecords():
		return utf8.Valid(old) && bytes.IndexByte(old, 0) < 0
	default:
		return true
	}
}

// rangePage is few enough records to hold at once, however large they are.
const rangePage = 200

// Range calls fn for each live record, in pages, the order of which is not
// defined. It holds no connection while fn runs.
func (s *Store) Range(ctx context.Context, fn func(token string, data []byte) error) error {
	type record struct {
		token string
		data  []byte
	}
	page := make([]record, 0, s.page)
	last := ""
	for first := true; first || len(page) == s.page; first = false {
		err := s.do(ctx, "range", func(ctx context.Context) error {
			page = page[:0]
			rows, err := s.stmts.page.QueryContext(ctx, last, s.page)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var r record
				if err := rows.Scan(&r.token, &r.data); err != nil {
					return err
				}
				page = append(page, r)
			}
			return rows.Err()
		})
		if err != nil {
			return err
		}
		for _, r := range page {
			// A page begins with the last record of the one before it.
			if !first && r.token == last {
				continue
			}
			if err := fn(r.token, r.data); err != nil {
				return err
			}
		}
		if len(page) > 0 {
			last = page[len(page)-1].token
		}
	}
	return nil
}

// AllCtx returns all live records at once; Range needs less memory.
func (s *Store) AllCtx(ctx context.Context) (map[string][]byte, error) {
	all := make(map[string][]byte)
	err := s.Range(ctx, func(token string, data []byte) error {
		all[token] = data
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// Len returns the number of live sessions. The server counts them one by one.
func (s *Store) Len(ctx context.Context) (int, error) {
	var n int
	_, err := s.row(ctx, "len", s.stmts.count, nil, &n)
	return n, err
}

// Clear deletes every session of the table, expired ones too, in batches. One
// that is written meanwhile may stay.
func (s *Store) Clear(ctx context.Context) error {
	last := ""
	for {
		found, err := s.row(ctx, "clear", s.stmts.clear, []any{last, s.batch}, &last)
		if err != nil || !found {
			return err
		}
	}
}

// Ping says whether the server answers.
func (s *Store) Ping(ctx context.Context) error {
	return s.do(ctx, "ping", s.db.PingContext)
}

// JSONRecords is true for the connect-* layouts, whose records Express reads.
func (s *Store) JSONRecords() bool { return s.layout != LayoutSCS }

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

// expiry returns t as the layout keeps it.
func (s *Store) expiry(t time.Time) time.Time {
	if s.table.wholeSeconds {
		if whole := t.Truncate(time.Second); whole.Before(t) {
			return whole.Add(time.Second)
		}
	}
	return t
}

func (s *Store) checkToken(op, token string) error {
	if !storable(token) {
		return fmt.Errorf("postgres: %s: the session id holds a NUL byte or is not UTF-8, and cannot be kept", op)
	}
	return nil
}

// notNull makes nil an empty record: the driver would send NULL.
func notNull(data []byte) []byte {
	if data == nil {
		return []byte{}
	}
	return data
}
