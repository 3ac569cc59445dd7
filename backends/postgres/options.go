package postgres

import (
	"cmp"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/samesid/samesid/internal/refusal"
)

// Layout selects the table and the columns of the sessions.
type Layout string

// The layouts. The zero value is LayoutSCS. The connect-* tables hold Express's
// JSON records, and Express may read and write them concurrently. Their sess column
// may also be jsonb, and their timestamps may be with or without time zone.
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

// Options configure a store. The zero value uses scs's table, which is resolved through
// the search_path and must exist.
type Options struct {
	// Layout is the format of table and records. Zero value: LayoutSCS.
	Layout Layout

	// SchemaName is the table's schema. Zero value: the table is resolved through
	// the connection's search_path. connect-pg-simple: schemaName.
	SchemaName string

	// TableName is the table's name. It is case-sensitive and may contain any
	// character. Zero value: the layout's own. connect-pg-simple and
	// connect-session-knex: tableName.
	TableName string

	// SIDFieldName is the column of the session's id; only for
	// LayoutConnectSessionKnex. Zero value: "sid".
	// connect-session-knex: sidFieldName.
	SIDFieldName string

	// CreateTable creates the table, and its index on the expiry, if they are
	// missing. Zero value: false; a missing table is an error. connect-pg-simple:
	// createTableIfMissing, connect-session-knex: createTable.
	CreateTable bool

	// CleanupInterval is the mean time between two deletions of expired sessions.
	// Each pause is random, from 0.5 to 1.5 times the interval, so that instances
	// don't run at once. Zero value: 15 minutes. Negative: never. connect-pg-simple:
	// pruneSessionInterval, connect-session-knex: cleanupInterval.
	CleanupInterval time.Duration

	// Timeout limits each call to the store, and each page of a call that reads
	// pages. The wait for a free connection counts. Zero value: 5 seconds.
	// Negative: only the context limits a call.
	Timeout time.Duration

	// Logger receives the errors of the clean-up, and warnings about the table. Zero
	// value: slog.Default().
	Logger *slog.Logger

	// The fields below are for Open; New rejects them.

	// MaxOpenConns is the maximum number of open connections. Zero value: 20.
	MaxOpenConns int

	// MaxIdleConns is the maximum number of idle connections. Zero value:
	// MaxOpenConns, because opening a connection costs more than keeping it.
	MaxIdleConns int

	// ConnMaxIdleTime is the time after which an idle connection is closed. Zero
	// value: 5 minutes.
	ConnMaxIdleTime time.Duration

	// ConnMaxLifetime is the age at which a connection is closed, so that the pool
	// follows a server that has moved. Zero value: 1 hour.
	ConnMaxLifetime time.Duration

	// ConnectTimeout limits the opening of a connection. Zero value: the DSN's
	// connect_timeout, or else 5 seconds.
	ConnectTimeout time.Duration

	// SSLMode, SSLRootCert, SSLCert and SSLKey override the DSN's sslmode
	// ("disable", "prefer", "require", "verify-ca" or "verify-full"), sslrootcert,
	// sslcert and sslkey; the last three are paths of PEM files. Zero value: the
	// DSN's; without an sslmode it is "require".
	SSLMode, SSLRootCert, SSLCert, SSLKey string
}

const (
	defaultCleanupInterval = 15 * time.Minute
	defaultTimeout         = 5 * time.Second
	defaultMaxOpenConns    = 20
	defaultConnMaxIdleTime = 5 * time.Minute
	defaultConnMaxLifetime = time.Hour
	defaultConnectTimeout  = 5 * time.Second

	// maxName is the length, in bytes, to which Postgres truncates a name.
	maxName = 63
)

// Validate returns an error that names every field that Open would reject, and the fix.
// It neither connects to the server nor reads a file.
func (o Options) Validate() error {
	_, err := o.withDefaults()
	return err
}

// refusals returns an empty list of errors about Options.
func refusals() refusal.List { return refusal.List{Package: "postgres", Struct: "Options"} }

// withDefaults returns a copy with the defaults filled in, or Validate's error. Open
// itself sets the defaults of its own fields, since some of them depend on the DSN.
func (o Options) withDefaults() (Options, error) {
	r := refusals()

	o.Layout = cmp.Or(o.Layout, LayoutSCS)
	l, ok := layouts[o.Layout]
	if !ok {
		r.Add("Layout", "%q is unknown; use %q, %q or %q", o.Layout, LayoutSCS, LayoutConnectPgSimple, LayoutConnectSessionKnex)
	}
	if o.SIDFieldName != "" {
		switch {
		case o.Layout != LayoutConnectSessionKnex:
			r.Add("SIDFieldName", "only Options.Layout %q has it; leave it empty", LayoutConnectSessionKnex)
		case o.SIDFieldName == l.data, o.SIDFieldName == l.expiry:
			r.Add("SIDFieldName", "%q is another column of the table; use another name", o.SIDFieldName)
		}
	}
	for _, n := range []struct{ field, name string }{
		{"SchemaName", o.SchemaName}, {"TableName", o.TableName}, {"SIDFieldName", o.SIDFieldName},
	} {
		switch {
		case !storable(n.name):
			r.Add(n.field, "not a name that Postgres can hold; use UTF-8 without NUL bytes")
		case len(n.name) > maxName:
			r.Add(n.field, "longer than %d bytes, and Postgres would cut it; use a shorter name", maxName)
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
			r.Add(n.field, "negative; leave it 0 for the default")
		}
	}
	if open := cmp.Or(o.MaxOpenConns, defaultMaxOpenConns); open > 0 && o.MaxIdleConns > open {
		r.Add("MaxIdleConns", "%d is more than Options.MaxOpenConns, %d; lower it or raise that", o.MaxIdleConns, open)
	}
	if err := r.Err(); err != nil {
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

// openOnly returns an error that names each field that is set and is only for Open.
func (o Options) openOnly() error {
	r := refusals()
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
			r.Add(f.field, "is for Open; set it up on the *sql.DB given to New")
		}
	}
	return r.Err()
}

// storable reports whether Postgres's text type can hold s.
func storable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsRune(s, 0)
}
