package postgres

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"
)

// Layout names the table and columns that the sessions are kept in.
type Layout string

// The layouts. The zero value is LayoutSCS. The connect-* tables hold Express's
// JSON records, and Express may read and write them at the same time; in them a
// column may also be jsonb in place of json, and a timestamp with or without
// time zone.
const (
	// LayoutSCS is the table of scs's postgresstore:
	// sessions(token text, data bytea, expiry timestamptz).
	LayoutSCS Layout = "scs"

	// LayoutConnectPgSimple is the table of connect-pg-simple:
	// session(sid varchar, sess json, expire timestamp(6)). Expiries are
	// rounded up to whole seconds, as it does. See the package comment for what
	// its column without a time zone means.
	LayoutConnectPgSimple Layout = "connect-pg-simple"

	// LayoutConnectSessionKnex is the table of connect-session-knex:
	// sessions(sid varchar(255), sess json, expired timestamptz).
	LayoutConnectSessionKnex Layout = "connect-session-knex"
)

// Options say where the sessions are and how the store works. The zero value
// is scs's table, found through the search_path, which must exist.
type Options struct {
	// Layout of the table. Zero value: LayoutSCS.
	Layout Layout

	// SchemaName of the table. Zero value: the table is found through the
	// connection's search_path. connect-pg-simple: schemaName.
	SchemaName string

	// TableName is case-sensitive and may hold any character. Zero value: the
	// layout's own. connect-pg-simple and connect-session-knex: tableName.
	TableName string

	// SIDFieldName is the column of the session's id, for
	// LayoutConnectSessionKnex alone. Zero value: "sid".
	// connect-session-knex: sidFieldName.
	SIDFieldName string

	// CreateTable makes the table and its index on the expiry if they are not
	// there. Zero value: false, so that a missing table is an error.
	// connect-pg-simple: createTableIfMissing, connect-session-knex:
	// createTable.
	CreateTable bool

	// CleanupInterval is how often expired sessions are deleted; each pause is
	// between half and one and a half of it, so that instances don't all start
	// at once. Zero value: 15 minutes. Negative: never. connect-pg-simple:
	// pruneSessionInterval, connect-session-knex: cleanupInterval.
	CleanupInterval time.Duration

	// Timeout limits each call to the store, and each page of one that pages;
	// waiting for a free connection counts. Zero value: 5 seconds. Negative: no
	// limit but the context's.
	Timeout time.Duration

	// Logger gets the clean-up's errors and a warning for a table that will
	// work badly. Zero value: slog.Default().
	Logger *slog.Logger

	// The fields below are for Open alone.

	// MaxOpenConns limits the connections. Zero value: 20.
	MaxOpenConns int

	// MaxIdleConns is how many connections stay open without work. Zero value:
	// as many as MaxOpenConns, since opening one costs more than keeping it.
	MaxIdleConns int

	// ConnMaxIdleTime closes a connection that had no work for this long. Zero
	// value: 5 minutes.
	ConnMaxIdleTime time.Duration

	// ConnMaxLifetime closes a connection at this age, so that the pool follows
	// a server that has moved. Zero value: 1 hour.
	ConnMaxLifetime time.Duration

	// ConnectTimeout limits the opening of a connection. Zero value: the DSN's
	// connect_timeout, or else 5 seconds.
	ConnectTimeout time.Duration

	// SSLMode, SSLRootCert, SSLCert and SSLKey take the place of the DSN's
	// sslmode ("disable", "prefer", "require", "verify-ca", "verify-full"),
	// sslrootcert, sslcert and sslkey: the last three are paths of PEM files.
	// Zero value: what the DSN says, which without an sslmode is "require".
	SSLMode, SSLRootCert, SSLCert, SSLKey string
}

const (
	defaultCleanupInterval = 15 * time.Minute
	defaultTimeout         = 5 * time.Second
	defaultMaxOpenConns    = 20
	defaultConnMaxIdleTime = 5 * time.Minute
	defaultConnMaxLifetime = time.Hour
	defaultConnectTimeout  = 5 * time.Second

	// maxName is how many bytes of a name Postgres keeps; it cuts off the rest.
	maxName = 63
)

// check returns o with its defaults, or an error that names each bad field.
func (o Options) check() (Options, error) {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("postgres: Options."+format, args...))
	}

	o.Layout = cmp.Or(o.Layout, LayoutSCS)
	l, ok := layouts[o.Layout]
	if !ok {
		bad("Layout: %q is unknown; use %q, %q or %q", o.Layout, LayoutSCS, LayoutConnectPgSimple, LayoutConnectSessionKnex)
	}
	if o.SIDFieldName != "" {
		switch {
		case o.Layout != LayoutConnectSessionKnex:
			bad("SIDFieldName: only Options.Layout %q has it; leave it empty", LayoutConnectSessionKnex)
		case o.SIDFieldName == l.data, o.SIDFieldName == l.expiry:
			bad("SIDFieldName: %q is another column of the table; use another name", o.SIDFieldName)
		}
	}
	for _, n := range []struct{ field, name string }{
		{"SchemaName", o.SchemaName}, {"TableName", o.TableName}, {"SIDFieldName", o.SIDFieldName},
	} {
		switch {
		case !storable(n.name):
			bad("%s: not a name that Postgres can hold; use UTF-8 without NUL bytes", n.field)
		case len(n.name) > maxName:
			bad("%s: longer than %d bytes, and Postgres would cut it; use a shorter name", n.field, maxName)
		}
	}
	for _, n := range []struct {
		field string
		n     int64
	}{
		{"MaxOpenConns", int64(o.MaxOpenConns)},
		{"MaxIdleConns", int64(o.MaxIdleConns)},
		{"ConnMaxIdleTime", int64(o.ConnMaxIdleTime)},
		{"ConnMaxLifetime", int64(o.ConnMaxLifetime)},
		{"ConnectTimeout", int64(o.ConnectTimeout)},
	} {
		if n.n < 0 {
			bad("%s: negative; leave it 0 for the default", n.field)
		}
	}
	if open := cmp.Or(o.MaxOpenConns, defaultMaxOpenConns); open > 0 && o.MaxIdleConns > open {
		bad("MaxIdleConns: %d is more than Options.MaxOpenConns, %d; lower it or raise that", o.MaxIdleConns, open)
	}
	if err := errors.Join(errs...); err != nil {
		return Options{}, err
	}

	o.TableName = cmp.Or(o.TableName, l.table)
	o.CleanupInterval = cmp.Or(o.CleanupInterval, defaultCleanupInterval)
	o.Timeout = cmp.Or(o.Timeout, defaultTimeout)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o, nil
}

// openOnly returns an error that names each set field that New can't honour.
func (o Options) openOnly() error {
	var errs []error
	for _, f := range []struct {
		field string
		set   bool
	}{
		{"MaxOpenConns", o.MaxOpenConns != 0},
		{"MaxIdleConns", o.MaxIdleConns != 0},
		{"ConnMaxIdleTime", o.ConnMaxIdleTime != 0},
		{"ConnMaxLifetime", o.ConnMaxLifetime != 0},
		{"ConnectTimeout", o.ConnectTimeout != 0},
		{"SSLMode", o.SSLMode != ""},
		{"SSLRootCert", o.SSLRootCert != ""},
		{"SSLCert", o.SSLCert != ""},
		{"SSLKey", o.SSLKey != ""},
	} {
		if f.set {
			errs = append(errs, fmt.Errorf("postgres: Options.%s: is for Open; set it up on the *sql.DB given to New", f.field))
		}
	}
	return errors.Join(errs...)
}

// storable says whether Postgres's text can hold s.
func storable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsRune(s, 0)
}
