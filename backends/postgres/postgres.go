// Package postgres keeps sessions in PostgreSQL, in the table of scs's
// postgresstore, of connect-pg-simple, connect-session-knex or
// connect-session-sequelize, so that the program that created the table can still read
// it.
//
// The SQL is this package's own. postgresstore defines the default layout, and the
// tests verify that each reads the other's rows. Its statements are not used because
// they take no context, delete all expired rows at once, and cost lib/pq a second round
// trip for every call, between which a pooler may hand on the connection.
//
// # Time
//
// The server's clock alone decides whether a session has expired, and it is told ages,
// not dates, so all processes that use this package agree, whatever their clocks say.
// Express's stores and postgresstore send dates by their own clock. If that of this
// process differs from the server's by more than some seconds, New and Open log a warning.
//
// connect-pg-simple's column expire has no time zone. Express writes it as local time
// in the zone of its connection, which is set for the role, the database or the
// server, in this order; so does this package. Both agree unless one of them sets a
// zone for its own connections (TimeZone in the DSN, options, or SET). If this
// package's connections have such a zone, New and Open log a warning. In a zone with
// summer time, an expiry within the hour that repeats in autumn is read as the later
// of the two, by Express too. A database in UTC has no such hour.
//
// A touch (FindTouch, or a Swap that changes no bytes) does not wait for the server's
// disk: synchronous_commit is off for that statement. A crash of the server can
// undo its latest touches, so that a session expires as its earlier use implies. A
// write of data always waits.
//
// # Connections
//
// A call on a store that Open returned takes at most about Options.Timeout plus
// Options.ConnectTimeout, even if the server vanishes without closing its
// connections. The driver alone would wait until the operating system gives up such
// a connection. For a store that New returned, give the connector a Dialer whose
// connections have deadlines.
//
// Statements have no names, and nothing that they set outlives their transaction, as
// node-postgres does it. So a pooler may give each of them another connection to the
// server. Named statements are faster, and an option for a direct connection:
// Options.PreparedStatements.
package postgres

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/alexedwards/scs/v2"
	"github.com/lib/pq"

	"github.com/samesid/samesid/backends/contract"
	"github.com/samesid/samesid/backends/driver"
	"github.com/samesid/samesid/internal/batch"
	"github.com/samesid/samesid/internal/sqlstore"
)

var (
	_ driver.Store          = (*Store)(nil)
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
//
// Each call works the same at any default isolation level of the role or database. A
// token that the table's column can't hold counts as absent in calls that read, move
// or delete it, and is an error in calls that would write it.
type Store struct {
	db        *sql.DB
	connector *connector // of the db that Open made, or nil
	table     table
	named     bool // Options.PreparedStatements

	createTable bool // Options.CreateTable
	users       users

	timeout time.Duration
	logger  *slog.Logger

	stmts    atomic.Pointer[statements]
	changing chan struct{} // capacity 1; whoever holds the slot inspects a table that has changed
	outdated []*statements // guarded by changing; prepared, and perhaps in use

	queues
	large batch.Large // by token

	page, batch int // the sizes of a page of Range and of a batch of deletions

	stopCleanup context.CancelFunc
	cleanupDone chan struct{}
	close       func() error
	closed      atomic.Bool
}

// New returns a store on the caller's db, which Close leaves open. Options that are
// only for Open are errors. ctx limits the start: finding or creating the table, and
// preparing the statements.
func New(ctx context.Context, db *sql.DB, opts Options) (*Store, error) {
	if db == nil {
		return nil, errors.New("postgres: New: the *sql.DB is nil; use Open to have one made from a DSN")
	}
	if err := opts.openOnly(); err != nil {
		return nil, err
	}
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	if !opts.PreparedStatements {
		if err := binaryParameters(ctx, db); err != nil {
			return nil, err
		}
	}
	return newStore(ctx, db, opts)
}

// Open returns a store with a connection pool of its own, which Close closes. dsn is
// a URL, as for node-postgres or libpq, or key=value pairs, as for libpq; docs/deployments.md
// has what differs. The usual PG* variables of the environment supply what it lacks.
//
// ctx limits the start. While the server is not up yet, Open tries again until ctx ends,
// or for a minute if it has no deadline.
func Open(ctx context.Context, dsn string, opts Options) (*Store, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	connector, err := newConnector(dsn, opts)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	open := cmp.Or(opts.MaxConns, defaultMaxConns)
	db.SetMaxOpenConns(open)
	db.SetMaxIdleConns(cmp.Or(opts.MaxIdleConns, open))
	db.SetConnMaxIdleTime(cmp.Or(opts.ConnMaxIdleTime, defaultConnMaxIdleTime))
	db.SetConnMaxLifetime(cmp.Or(opts.ConnMaxLifetime, defaultConnMaxLifetime))
	s, err := start(ctx, db, opts, connector.cfg)
	if err != nil {
		return nil, errors.Join(err, db.Close(), connector.close())
	}
	s.connector = connector
	if opts.Timeout > 0 {
		// The limit applies only from here on, since building an index may take
		// long. The answer to a cancellation comes after the timeout.
		connector.dial.limit.Store(int64(opts.Timeout + cancelGrace))
	}
	return s, nil
}

// start is newStore on a pool of this package's own, to a server that may not be up yet.
func start(ctx context.Context, db *sql.DB, opts Options, cfg pq.Config) (*Store, error) {
	if err := await(ctx, db, opts.Logger); err != nil {
		return nil, err
	}
	// A pooler can be told to ignore parameters. This is the one that decides on the
	// table.
	if want, ok := searchPath(cfg); ok {
		var have string
		if err := db.QueryRowContext(ctx, "SHOW search_path").Scan(&have); err != nil {
			return nil, explain(cleanStart(ctx, err))
		}
		if have != want {
			return nil, errors.New("postgres: open: the pooler ignores the parameter search_path; drop it from the url, and " + instead("search_path"))
		}
	}
	return newStore(ctx, db, opts)
}

// searchPath returns the search_path that a connection asks for.
func searchPath(cfg pq.Config) (path string, ok bool) {
	if path, ok = cfg.Runtime["search_path"]; ok {
		return path, true
	}
	_, path, ok = strings.Cut(cfg.Options, "search_path=")
	path, _, _ = strings.Cut(path, " ")
	return path, ok && path != "" && !strings.Contains(path, "\\")
}

// newStore expects validated options.
func newStore(ctx context.Context, db *sql.DB, opts Options) (*Store, error) {
	s := &Store{
		db:    db,
		table: newTable(opts),
		named: opts.PreparedStatements,

		createTable: opts.CreateTable,

		timeout:  opts.Timeout,
		logger:   opts.Logger,
		changing: make(chan struct{}, 1),
		page:     rangePage,
		batch:    cleanupBatch,
	}
	s.changing <- struct{}{}
	if err := s.prepareTable(ctx, opts); err != nil {
		if q := s.stmts.Load(); q != nil {
			err = errors.Join(err, q.close())
		}
		return nil, err
	}
	<-s.changing
	s.shareStatements(opts)
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

// prepareTable inspects the table, and creates it if Options.CreateTable is set.
func (s *Store) prepareTable(ctx context.Context, opts Options) error {
	if err := s.writable(ctx); err != nil {
		return err
	}
	columns, err := s.look(ctx)
	if err == nil && opts.CreateTable && !s.table.complete(columns) {
		// Someone else's table may lack an index alone, which costs a warning.
		if err := s.table.create(ctx, s.db); err != nil && (len(columns) == 0 || sqlState(err) != codeInsufficientPrivilege) {
			return err
		}
		columns, err = s.table.inspect(ctx, s.db)
	}
	switch {
	case sqlState(err) == codeInsufficientPrivilege:
		return s.table.granted(ctx, s.db, "USAGE", err)
	case err != nil:
		return explain(cleanStart(ctx, err))
	}
	if err := s.use(ctx, columns); err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	if err := s.rehearse(ctx); err != nil {
		return err
	}
	expiry := columns[s.table.expiry]
	if !expiry.indexed && opts.CleanupInterval > 0 {
		s.logger.Warn("the sessions' expiry has no index, so each clean-up reads the whole table",
			"table", s.table.q, "run", s.table.createIndex)
	}
	return s.warn(ctx, expiry.typ)
}

// use makes the statements for a table with these columns. The caller holds the slot of
// changing.
func (s *Store) use(ctx context.Context, columns map[string]column) error {
	if err := s.table.validate(columns); err != nil {
		return err
	}
	q := newStatements(s.table, columns[s.table.data].typ, columns[s.table.expiry].typ)
	if s.named {
		if err := q.prepare(ctx, s.db); err != nil {
			return fmt.Errorf("prepare: %w", cleanStart(ctx, err))
		}
	}
	if old := s.stmts.Swap(q); old != nil && s.named {
		s.outdated = append(s.outdated, old)
	}
	return nil
}

// follow makes the statements anew after the table has changed. It reports whether to try
// again those that failed. used are the statements that did, and code is that of the error.
func (s *Store) follow(ctx context.Context, used *statements, code string) (again bool, err error) {
	select {
	case s.changing <- struct{}{}:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	defer func() { <-s.changing }()
	if s.closed.Load() {
		return false, errClosed
	}
	if s.stmts.Load() != used {
		return true, nil
	}
	columns, err := s.table.inspect(ctx, s.db)
	if err != nil {
		return false, cleanStart(ctx, err)
	}
	// The server itself looks at the table again for a named statement, unless its result
	// has changed or the connection is another one. Each set of statements costs memory on
	// each connection, so none is made for an error that has another reason.
	gone := s.named && (code == planChanged || code == noSuchName)
	if !gone && columns[s.table.data].typ == used.dataType && columns[s.table.expiry].typ == used.expiryType {
		return false, s.table.validate(columns)
	}
	if err := s.use(ctx, columns); err != nil {
		return false, err
	}
	return true, nil
}

// writable returns an error if the server takes no writes. In a transaction the driver asks
// for writes itself, and so would not see it.
func (s *Store) writable(ctx context.Context) error {
	var readOnly bool
	if err := s.db.QueryRowContext(ctx, "SELECT current_setting('transaction_read_only')::bool").Scan(&readOnly); err != nil {
		return explain(cleanStart(ctx, err))
	}
	if readOnly {
		return errors.New("postgres: open: " + noWrites)
	}
	return nil
}

// look inspects the table within a transaction, since a move of several sessions will need
// one.
func (s *Store) look(ctx context.Context) (map[string]column, error) {
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if errors.Is(err, sqldriver.ErrBadConn) {
		var one int
		if err := s.db.QueryRowContext(ctx, "SELECT 1").Scan(&one); err != nil {
			return nil, err
		}
		return nil, errNoTransactions
	}
	if err != nil {
		return nil, err
	}
	defer tx.Rollback()
	return s.table.inspect(ctx, tx)
}

// clockSlack is by how much the server's clock may differ without a warning.
const clockSlack = 5 * time.Second

// warn logs a warning if the server's clock differs from this machine's, or if this
// connection's time zone may differ from that of Express's connections.
func (s *Store) warn(ctx context.Context, expiryType string) error {
	var micros int64
	var zone, source string
	before := time.Now()
	err := s.db.QueryRowContext(ctx, "SELECT (extract(epoch FROM now()) * 1000000)::bigint, setting, source FROM pg_settings WHERE name = 'TimeZone'").
		Scan(&micros, &zone, &source)
	if err != nil {
		return explain(cleanStart(ctx, err))
	}
	took := time.Since(before)
	ahead := time.UnixMicro(micros).Sub(before.Add(took / 2))
	if by := ahead.Abs(); by > clockSlack+took {
		than := "behind"
		if ahead > 0 {
			than = "ahead of"
		}
		s.logger.Warn("the server's clock is "+than+" this machine's; Express's stores and scs's write expiries by their own clock, so that their sessions end early or late",
			"table", s.table.q, "by", by.Round(time.Second))
	}
	if expiryType == typeTimestamp && (source == "client" || source == "session") {
		s.logger.Warn("the connection sets a time zone of its own; Express's connections must set the same, or expiries will differ by hours",
			"table", s.table.q, "TimeZone", zone)
	}
	return nil
}

// Close stops the clean-up, waits for it, and closes the connection pool that Open
// made. The db given to New stays open. Calls after Close return errors. A second
// Close does nothing.
func (s *Store) Close() error { return s.close() }

func (s *Store) closeAll() error {
	s.closed.Store(true)
	if s.stopCleanup != nil {
		s.stopCleanup()
		<-s.cleanupDone
	}
	s.stopSharing()
	err := s.closeStatements()
	if s.connector != nil {
		err = errors.Join(err, s.db.Close(), s.connector.close())
	}
	if err != nil {
		return fmt.Errorf("postgres: close: %w", err)
	}
	return nil
}

func (s *Store) closeStatements() error {
	s.changing <- struct{}{}
	defer func() { <-s.changing }() // from now on nobody follows a change of the table
	var err error
	for _, q := range append(s.outdated, s.stmts.Load()) {
		err = errors.Join(err, q.close())
	}
	return err
}

// abortGrace is how long a statement may still run once its context is cancelled.
const abortGrace = time.Second

// outlive returns the context of a statement. It has the deadline of ctx or the timeout,
// whichever is earlier, and it is cancelled some time after ctx is. The driver closes a
// connection whose statement is cancelled: if it were cancelled at once, each client that
// hangs up would cost a connection, although most statements end in a moment.
func (s *Store) outlive(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, limited := ctx.Deadline()
	if s.timeout > 0 {
		if end := time.Now().Add(s.timeout); !limited || end.Before(deadline) {
			deadline, limited = end, true
		}
	}
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	if limited {
		cancel()
		longer, cancel = context.WithDeadline(context.WithoutCancel(ctx), deadline)
	}
	stop := context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.Canceled) { // else its deadline is also longer's
			timer := time.AfterFunc(abortGrace, cancel)
			context.AfterFunc(longer, func() { timer.Stop() })
		}
	})
	return longer, func() {
		stop()
		cancel()
	}
}

var errClosed = errors.New("the store is closed")

// do runs fn, a single statement or transaction, within the timeout. It retries fn
// after a deadlock or a serialization failure, for which the server has rolled it back,
// and once if the table has changed so that the statements no longer fit.
func (s *Store) do(ctx context.Context, op string, fn func(context.Context) error) error {
	if s.closed.Load() {
		return fmt.Errorf("postgres: %s: %w", op, errClosed)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("postgres: %s: %w", op, err)
	}
	ctx, cancel := s.outlive(ctx)
	defer cancel()
	for followed := false; ; {
		used := s.stmts.Load()
		err := fn(ctx)
		code := sqlState(err)
		switch {
		case err == nil:
			return nil
		case code == codeSerializationFailure, code == codeDeadlockDetected:
			continue
		case !followed && outdated(code):
			followed = true
			again, followErr := s.follow(ctx, used, code)
			if again {
				continue
			}
			if followErr != nil {
				err = followErr
			}
		}
		return fmt.Errorf("postgres: %s: %w", op, clean(ctx, err))
	}
}

// row runs a statement that returns at most one row.
func (s *Store) row(ctx context.Context, op string, st statement, args []any, dest ...any) (found bool, err error) {
	err = s.do(ctx, op, func(ctx context.Context) error {
		err := s.stmts.Load().queryRow(ctx, s.db, st, args...).Scan(dest...)
		found = err == nil
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	return found, err
}

// exec runs a statement and reports whether it changed a row.
func (s *Store) exec(ctx context.Context, op string, st statement, args ...any) (changed bool, err error) {
	err = s.do(ctx, op, func(ctx context.Context) error {
		result, err := s.stmts.Load().exec(ctx, s.db, st, args...)
		if err != nil {
			if id, ok := args[0].(*sent); ok && sqlState(err) != "" {
				id.times-- // the server has rolled it back
			}
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
	x := &ask{token: token}
	err = s.together(ctx, op, s.queues.find, x, func() error {
		x.found, err = s.row(ctx, op, sqlFind, []any{token}, &x.data)
		return err
	})
	return s.answer(x, err)
}

// answer returns the record of a call that reads, and notes whether it is large.
func (s *Store) answer(x *ask, err error) (data []byte, found bool, _ error) {
	if err != nil || !x.found {
		return nil, false, err
	}
	s.large.Note(x.token, len(x.data))
	return x.data, true, nil
}

// FindExpiry returns the record of a live session and its expiry, by this machine's
// clock. A later expiry than the end of the year 9999, such as infinity, is returned as
// that date.
func (s *Store) FindExpiry(ctx context.Context, token string) (data []byte, expiry time.Time, found bool, err error) {
	if !storable(token) {
		return nil, time.Time{}, false, nil
	}
	const op = "find"
	x := &ask{token: token}
	err = s.together(ctx, op, s.queues.findExpiry, x, func() error {
		x.found, err = s.row(ctx, op, sqlFindExpiry, []any{token}, &x.data, &x.expires)
		return err
	})
	if data, found, err = s.answer(x, err); !found {
		return nil, time.Time{}, false, err
	}
	return data, time.UnixMicro(time.Now().UnixMicro() + x.expires), true, nil
}

// FindTouch returns the record of a live session and sets its expiry, in one
// statement that doesn't write the record again.
func (s *Store) FindTouch(ctx context.Context, token string, expiry time.Time) (data []byte, found bool, err error) {
	if !storable(token) {
		return nil, false, nil
	}
	const op = "find and touch"
	x := &ask{token: token, left: age(expiry)}
	q := s.queues.findTouch
	if x.left <= 0 {
		q = nil // it ends the session
	}
	err = s.together(ctx, op, q, x, func() error {
		x.found, err = s.row(ctx, op, sqlFindTouch, []any{token, x.left}, &x.data)
		return err
	})
	return s.answer(x, err)
}

// CommitCtx creates or overwrites a record. In a connect-* layout, data that is not
// JSON is an error.
func (s *Store) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	if err := s.validateToken("commit", token); err != nil {
		return err
	}
	s.large.Note(token, len(data))
	_, err := s.exec(ctx, "commit", sqlCommit, token, age(expiry), notNull(data))
	return err
}

// DeleteCtx deletes a record. It is not an error if there is none, but one if the server
// removes nothing and the record is there.
func (s *Store) DeleteCtx(ctx context.Context, token string) error {
	if !storable(token) {
		return nil
	}
	const op = "delete"
	before := ""
	for range deleteTries {
		deleted, err := s.exec(ctx, op, sqlDelete, token)
		if deleted || err != nil {
			return err
		}
		// Perhaps it was created, or changed, just now.
		var version string
		there, err := s.row(ctx, op, sqlVersion, []any{token}, &version)
		if !there || err != nil {
			return err
		}
		if version == before { // it was there all the time
			break
		}
		before = version
	}
	return kept(op)
}

// deleteTries is the number of tries of a delete while the row is another one each time.
const deleteTries = 100

func kept(op string) error {
	return fmt.Errorf("postgres: %s: the server has removed nothing, and the row is still there: does a trigger, a rule or row security keep it?", op)
}

// cancelGrace is how long the server may take to answer a cancellation before
// the connection is closed.
const cancelGrace = time.Second

// swapTries is the number of tries of Swap and Move. They retry when the record that
// prevented the write no longer does so by the time it is read.
const swapTries = 100

// sent is a token that counts how often a statement was sent with it and perhaps took
// effect. When a connection is lost before the answer, database/sql sends the statement again on
// another one, which then sees the effect of the first.
type sent struct {
	token string
	times int
}

// Value implements database/sql/driver.Valuer.
func (s *sent) Value() (sqldriver.Value, error) {
	s.times++
	return s.token, nil
}

// Swap writes a record only if it is still old: see contract.Swapper. In a jsonb
// column, which does not keep the text, old is compared as JSON.
//
// When the server's answer is lost, the write may have happened. If Swap can't
// determine that, it returns an error.
func (s *Store) Swap(ctx context.Context, token string, old, new []byte, expiry time.Time) (current []byte, swapped bool, err error) {
	return s.swap(ctx, "swap", token, old, new, expiry)
}

func (s *Store) swap(ctx context.Context, op, token string, old, new []byte, expiry time.Time) (current []byte, swapped bool, err error) {
	if !storable(token) {
		if old == nil && new != nil {
			return nil, false, s.validateToken(op, token)
		}
		return nil, false, nil
	}
	if old == nil && new == nil {
		current, _, err = s.find(ctx, op, token)
		return current, false, err
	}
	s.large.Note(token, max(len(old), len(new)))
	touch := old != nil && new != nil && bytes.Equal(old, new)
	for range swapTries {
		id := &sent{token: token}
		switch {
		case old == nil:
			swapped, err = s.exec(ctx, op, sqlSwapCreate, id, age(expiry), new)
		case !s.comparable(old):
		case new == nil:
			swapped, err = s.exec(ctx, op, sqlSwapDelete, id, old)
		case touch:
			swapped, err = s.change(ctx, op, s.queues.touch, id, old, nil, age(expiry))
		default:
			swapped, err = s.change(ctx, op, s.queues.replace, id, old, new, age(expiry))
		}
		if swapped || err != nil {
			return nil, swapped, err
		}
		// This must be a separate statement. The one above would not see a record
		// that was committed after it began.
		current, found, err := s.find(ctx, op, token)
		if err != nil {
			return nil, false, err
		}
		same := found == (old != nil) && bytes.Equal(current, old)
		if id.times > 1 && (!touch || !same) {
			if found && new != nil && bytes.Equal(current, new) {
				return nil, true, nil
			}
			return nil, false, lost(op)
		}
		if !same {
			return current, false, nil
		}
	}
	return nil, false, toAndFro(op)
}

// change replaces a record if it is still old, or sets its expiry if new is nil.
func (s *Store) change(ctx context.Context, op string, q *batch.Queue[*ask], id *sent, old, new []byte, left int64) (swapped bool, err error) {
	x := &ask{token: id.token, left: left, old: old, new: new}
	err = s.together(ctx, op, q, x, func() (err error) {
		if x.unsure {
			id.times++
		}
		if new == nil {
			swapped, err = s.exec(ctx, op, sqlSwapTouch, id, old, left)
		} else {
			swapped, err = s.exec(ctx, op, sqlSwapReplace, id, old, new, left)
		}
		return err
	})
	return err == nil && (swapped || x.answered), err
}

// Move replaces records by one, if each of them is still what the caller knows:
// see contract.Mover. One record takes one statement, several take a transaction.
// In a jsonb column the records are compared as JSON.
//
// When the server's answer is lost, the write may have happened. If Move can't
// determine that, it returns an error.
func (s *Store) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) (current [][]byte, moved bool, err error) {
	const op = "move"
	data = notNull(data)
	inPlace := slices.ContainsFunc(from, func(r contract.Record) bool { return r.Token == to })
	if inPlace && len(from) == 1 {
		now, moved, err := s.swap(ctx, op, to, notNull(from[0].Data), data, expiry)
		if moved || err != nil {
			return nil, moved, err
		}
		return [][]byte{now}, false, nil
	}
	if !inPlace {
		if err := s.validateToken(op, to); err != nil {
			return nil, false, err
		}
	}
	s.large.Note(to, len(data))
	possible := !slices.ContainsFunc(from, func(r contract.Record) bool {
		return !storable(r.Token) || !s.comparable(notNull(r.Data))
	})
	for range swapTries {
		id := &sent{token: from[0].Token}
		switch {
		case !possible:
		case len(from) == 1:
			moved, err = s.exec(ctx, op, sqlMove, id, notNull(from[0].Data), data, age(expiry), to)
			if sqlState(err) == codeUniqueViolation {
				// The existing row has expired, or was created after the
				// statement began; the next try sees it.
				if _, err := s.exec(ctx, op, sqlMakeRoom, to); err != nil {
					return nil, false, err
				}
				continue
			}
		default:
			moved, err = s.merge(ctx, op, from, to, data, age(expiry), inPlace)
		}
		if moved || err != nil {
			return nil, moved, err
		}
		current, target, err := s.findAll(ctx, op, from, to)
		if err != nil {
			return nil, false, err
		}
		if id.times > 1 {
			if current[0] == nil && target != nil && bytes.Equal(target, data) {
				return nil, true, nil
			}
			return nil, false, lost(op)
		}
		known := true
		for i, r := range from {
			known = known && current[i] != nil && bytes.Equal(current[i], r.Data)
		}
		if !known || target != nil && !inPlace {
			return current, false, nil
		}
	}
	return nil, false, toAndFro(op)
}

// merge moves several records in a transaction. It locks them in the order of their
// tokens, so that concurrent merges of the same records don't deadlock.
func (s *Store) merge(ctx context.Context, op string, from []contract.Record, to string, data []byte, left int64, inPlace bool) (moved bool, err error) {
	if !inPlace {
		// Without this check, two merges would deadlock if the target of each is
		// a record that the other has locked.
		if _, taken, err := s.find(ctx, op, to); taken || err != nil {
			return false, err
		}
	}
	sorted := slices.SortedFunc(slices.Values(from), func(a, b contract.Record) int { return strings.Compare(a.Token, b.Token) })
	err = s.do(ctx, op, func(ctx context.Context) error {
		moved = false
		q := s.stmts.Load()
		// At this level, each statement sees what was committed while the one
		// before it waited.
		tx, err := s.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
		if err != nil {
			return err
		}
		defer tx.Rollback()
		changed := func(st statement, args ...any) (bool, error) {
			result, err := q.execTx(ctx, tx, st, args...)
			if err != nil {
				return false, err
			}
			n, err := result.RowsAffected()
			return n > 0, err
		}
		for _, r := range sorted {
			if known, err := changed(sqlLock, r.Token, notNull(r.Data)); !known || err != nil {
				return err
			}
		}
		for _, r := range sorted {
			if r.Token == to {
				continue
			}
			if _, err := changed(sqlDelete, r.Token); err != nil {
				return err
			}
		}
		write := sqlSwapCreate
		if inPlace {
			write = sqlCommit
		}
		if written, err := changed(write, to, left, data); !written || err != nil {
			return err
		}
		if err := tx.Commit(); err != nil {
			return err
		}
		moved = true
		return nil
	})
	return moved, err
}

// findAll returns the live records of from, with nil for those that are gone, and that
// of to. All are from one snapshot.
func (s *Store) findAll(ctx context.Context, op string, from []contract.Record, to string) (current [][]byte, target []byte, err error) {
	var tokens []string
	for _, r := range from {
		if storable(r.Token) {
			tokens = append(tokens, r.Token)
		}
	}
	if storable(to) {
		tokens = append(tokens, to)
	}
	found := make(map[string][]byte)
	err = s.do(ctx, op, func(ctx context.Context) error {
		clear(found)
		rows, err := s.stmts.Load().query(ctx, s.db, sqlFindAll, pq.Array(tokens))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var token string
			var data []byte
			if err := rows.Scan(&token, &data); err != nil {
				return err
			}
			found[token] = data
		}
		return rows.Err()
	})
	for _, r := range from {
		current = append(current, found[r.Token])
	}
	return current, found[to], err
}

// lost returns the error of a write whose answer was lost.
func lost(op string) error {
	return fmt.Errorf("postgres: %s: the connection was lost, and it is not known whether the record was written", op)
}

func toAndFro(op string) error {
	return fmt.Errorf("postgres: %s: the record changed back and forth %d times", op, swapTries)
}

// comparable reports whether the column could contain old. If it could not, the
// server would reject the comparison.
func (s *Store) comparable(old []byte) bool {
	switch {
	case s.stmts.Load().dataType == typeJSONB:
		return json.Valid(old)
	case s.JSONRecords():
		return utf8.Valid(old) && bytes.IndexByte(old, 0) < 0
	default:
		return true
	}
}

// rangePage is small enough to hold a page of large records in memory.
const rangePage = 200

// Range calls fn for each live record, in no particular order. It reads pages, and
// holds no connection while fn runs.
func (s *Store) Range(ctx context.Context, fn func(token string, data []byte) error) error {
	page := func(ctx context.Context, args ...any) (*sql.Rows, error) {
		return s.stmts.Load().query(ctx, s.db, sqlPage, args...)
	}
	return sqlstore.Range(ctx, s.do, page, s.page, fn)
}

// AllCtx returns all live records by token. Range needs less memory.
func (s *Store) AllCtx(ctx context.Context) (map[string][]byte, error) {
	return sqlstore.All(ctx, s.Range)
}

// Len counts the live sessions. The server reads every row to do so.
func (s *Store) Len(ctx context.Context) (int, error) {
	var n int
	_, err := s.row(ctx, "len", sqlCount, nil, &n)
	return n, err
}

// Clear deletes every session of the table, including expired ones, in batches. One
// that is written meanwhile may stay.
func (s *Store) Clear(ctx context.Context) error {
	last := ""
	for same := 0; same < deleteTries; same++ {
		before := last
		found, err := s.row(ctx, "clear", sqlClear, []any{last, s.batch}, &last)
		if err != nil || !found {
			return err
		}
		if last != before { // else it was created again, or is kept
			same = 0
		}
	}
	return kept("clear")
}

// Ping returns an error if the server does not answer, or Close has been called.
func (s *Store) Ping(ctx context.Context) error {
	var one int
	_, err := s.row(ctx, "ping", sqlPing, nil, &one)
	return err
}

// String returns the store's name in log lines, with its table.
func (s *Store) String() string { return "postgres store, table " + s.table.q }

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

// age returns how long it is until t, in microseconds. It is an argument of a statement.
func age(t time.Time) int64 {
	left := time.Until(t)
	if whole := left.Truncate(time.Microsecond); whole < left {
		return whole.Microseconds() + 1
	}
	return left.Microseconds()
}

func (s *Store) validateToken(op, token string) error {
	if !storable(token) {
		return fmt.Errorf("postgres: %s: the session id holds a NUL byte or is not UTF-8: %w", op, contract.ErrRejected)
	}
	return nil
}

// notNull returns an empty slice for nil, as the driver would send NULL.
func notNull(data []byte) []byte {
	if data == nil {
		return []byte{}
	}
	return data
}
