package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"math/rand/v2"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// connector opens connections for a *sql.DB. The driver's own package is not used: it
// registers the name "sqlite3", as mattn/go-sqlite3 does, and a program that links both
// would panic when it starts.
type connector struct {
	uri     string
	pragmas []string
}

func (c *connector) Driver() driver.Driver { return noDriver{} }

// noDriver is the Driver of a connector, which cannot be used by name.
type noDriver struct{}

func (noDriver) Open(string) (driver.Conn, error) {
	return nil, errors.New("sqlite: use sqlite.Open")
}

// Connect opens a connection to a file that exists.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	raw, err := sqlite3.OpenFlags(c.uri, sqlite3.OPEN_READWRITE|sqlite3.OPEN_URI)
	if err != nil {
		return nil, err
	}
	err = raw.BusyHandler(waitForLock)
	cn := &conn{Conn: raw}
	for _, p := range c.pragmas {
		if err == nil {
			err = cn.run(ctx, "PRAGMA "+p)
		}
	}
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return cn, nil
}

// waitForLock is called again and again while another connection holds a lock, until
// the context of the call ends. Without it, a call would give its connection back, and
// all that wait would try in turn.
func waitForLock(_ context.Context, count int) bool {
	time.Sleep(rand.N(time.Duration(min(count+1, 10)) * time.Millisecond))
	return true
}

// conn is a connection. Its statements stop when the context of the call ends.
type conn struct {
	*sqlite3.Conn
	tx context.Context // of the transaction, which Commit belongs to
}

// within sets the context of a call, and returns the function that takes it back.
func (c *conn) within(ctx context.Context) (end func()) {
	old := c.SetInterrupt(ctx)
	return func() { c.SetInterrupt(old) }
}

func (c *conn) run(ctx context.Context, query string) error {
	defer c.within(ctx)()
	return c.Exec(query)
}

// BeginTx takes the write lock at once. A transaction that reads before it writes
// could otherwise not go on if another connection has written meanwhile.
func (c *conn) BeginTx(ctx context.Context, _ driver.TxOptions) (driver.Tx, error) {
	if err := c.run(ctx, "BEGIN IMMEDIATE"); err != nil {
		return nil, err
	}
	c.tx = ctx
	return c, nil
}

func (c *conn) Begin() (driver.Tx, error) { return c.BeginTx(context.Background(), driver.TxOptions{}) }

func (c *conn) Commit() error {
	err := c.run(c.tx, "COMMIT")
	if err != nil && !c.GetAutocommit() {
		err = errors.Join(err, c.Rollback())
	}
	return err
}

func (c *conn) Rollback() error {
	if c.GetAutocommit() {
		return nil // the error that ended the transaction has rolled it back
	}
	return c.run(context.Background(), "ROLLBACK")
}

// ResetSession makes database/sql close a connection whose transaction has not ended.
func (c *conn) ResetSession(context.Context) error {
	if !c.GetAutocommit() {
		return driver.ErrBadConn
	}
	return nil
}

func (c *conn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	defer c.within(ctx)()
	s, rest, err := c.Conn.Prepare(query)
	switch {
	case err != nil:
		return nil, err
	case s == nil || rest != "":
		return nil, errors.Join(errors.New("sqlite: not one statement"), s.Close())
	}
	return &stmt{Stmt: s, conn: c, params: s.BindCount()}, nil
}

type stmt struct {
	*sqlite3.Stmt
	conn   *conn
	params int
}

func (s *stmt) NumInput() int { return s.params }

func (s *stmt) bind(args []driver.NamedValue) (err error) {
	for _, a := range args {
		switch v := a.Value.(type) {
		case string:
			err = s.BindText(a.Ordinal, v)
		case []byte:
			err = s.BindBlob(a.Ordinal, v)
		case int64:
			err = s.BindInt64(a.Ordinal, v)
		case float64:
			err = s.BindFloat(a.Ordinal, v)
		default:
			err = errors.New("sqlite: an argument of an unknown type")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *stmt) Exec([]driver.Value) (driver.Result, error) { return nil, driver.ErrSkip }
func (s *stmt) Query([]driver.Value) (driver.Rows, error)  { return nil, driver.ErrSkip }

func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	if err := s.bind(args); err != nil {
		return nil, err
	}
	defer s.conn.within(ctx)()
	if err := errors.Join(s.Stmt.Exec(), s.ClearBindings()); err != nil {
		return nil, err
	}
	return driver.RowsAffected(s.conn.Changes()), nil
}

func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	if err := s.bind(args); err != nil {
		return nil, err
	}
	return &rows{stmt: s, ctx: ctx}, nil
}

type rows struct {
	stmt *stmt
	ctx  context.Context
}

func (r *rows) Columns() []string {
	names := make([]string, r.stmt.ColumnCount())
	for i := range names {
		names[i] = r.stmt.ColumnName(i)
	}
	return names
}

func (r *rows) Next(dest []driver.Value) error {
	defer r.stmt.conn.within(r.ctx)()
	if !r.stmt.Step() {
		if err := r.stmt.Err(); err != nil {
			return err
		}
		return io.EOF
	}
	for i := range dest {
		switch r.stmt.ColumnType(i) {
		case sqlite3.INTEGER:
			dest[i] = r.stmt.ColumnInt64(i)
		case sqlite3.FLOAT:
			dest[i] = r.stmt.ColumnFloat(i)
		case sqlite3.TEXT:
			dest[i] = r.stmt.ColumnText(i)
		case sqlite3.BLOB:
			dest[i] = r.stmt.ColumnRawBlob(i) // database/sql copies it
		default:
			dest[i] = nil
		}
	}
	return r.stmt.Err()
}

func (r *rows) Close() error { return errors.Join(r.stmt.Reset(), r.stmt.ClearBindings()) }
