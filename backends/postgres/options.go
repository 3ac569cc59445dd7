package postgres

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/samesid/samesid/backends/driver"
	"github.com/samesid/samesid/internal/refusal"
)

// Layout selects the table and the columns of the sessions.
type Layout string

// The layouts. The zero value is LayoutSCS. The connect-* tables hold Express's
// JSON records, and Express may read and write them concurrently. A column of type json
// may also be jsonb, and the timestamps may be with or without time zone.
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

	// LayoutConnectSessionSequelize is the table of connect-session-sequelize:
	// Sessions(sid varchar(36), expires timestamptz, data text, createdAt, updatedAt).
	// An id has at most 36 characters. Express reads an expired session until a
	// clean-up deletes it; this package does not.
	LayoutConnectSessionSequelize Layout = "connect-session-sequelize"
)

// Backend describes this store to packages backends and adapter/config.
var Backend = driver.New(driver.Backend{
	Type: "postgres", Title: "Postgres",
	Schemes: []string{"postgres://"}, MoreSchemes: []string{"postgresql://"},
	URLDoc:  "With type postgres it may also be key=value pairs, or be left out for the PG* variables.",
	Layouts: described(),
	Unavailable: map[string]string{
		"pool":                           connectsItself,
		"pgPromise":                      connectsItself,
		"conObject":                      connectsItself,
		"knex":                           connectsItself,
		"db":                             connectsItself,
		"errorLog":                       "is a function; set Options.Logger in code",
		"onDbCleanupError":               "is a function; set Options.Logger in code",
		"pruneSessionRandomizedInterval": "is not needed: the pauses are never the same; drop it",
		"expiration":                     "is called ttl; give it as store.ttl, in the same milliseconds",
	},
}, func(_ string, o Options) error { return o.Validate() },
	func(ctx context.Context, url string, o Options, logger *slog.Logger) (*Store, error) {
		o.Logger = cmp.Or(o.Logger, logger)
		return Open(ctx, url, o)
	})

const connectsItself = "is an object of Express's program; give the server as store.url"

// Options configure a store. The zero value uses scs's table, which is resolved through
// the search_path and must exist.
type Options struct {
	// Layout is the names and the format of the records. Zero value: LayoutSCS.
	Layout Layout `key:"layout"`

	// SchemaName is the table's schema. Zero value: the table is resolved through the
	// search_path.
	//
	// connect-pg-simple: schemaName.
	SchemaName string `key:"schemaName"`

	// TableName is the table. Zero value: the layout's own.
	//
	// It is case-sensitive and may contain any character. connect-pg-simple,
	// connect-session-knex and connect-session-sequelize: tableName.
	TableName string `key:"tableName also=tablename"`

	// SIDFieldName is the column of the session id, with the layout
	// connect-session-knex. Zero value: sid.
	//
	// connect-session-knex: sidFieldName.
	SIDFieldName string `key:"sidFieldName also=sidfieldname"`

	// CreateTable creates the table and its index if they are missing. Zero value:
	// false; the error then has the SQL to run.
	//
	// connect-pg-simple: createTableIfMissing, connect-session-knex: createTable,
	// connect-session-sequelize: sync.
	CreateTable bool `key:"createTable also=createtable|createTableIfMissing"`

	// CleanupInterval is the time between two deletions of expired sessions. Zero
	// value: 15m.
	//
	// It is the mean: each pause is random, from 0.5 to 1.5 times the interval, so
	// that instances don't run at once. Negative: never. connect-pg-simple:
	// pruneSessionInterval, connect-session-knex: cleanupInterval,
	// connect-session-sequelize: checkExpirationInterval.
	CleanupInterval time.Duration `key:"cleanupInterval also=clearInterval|checkExpirationInterval unit=ms never=0|false" or:"pruneSessionInterval unit=s never=false of=connect-pg-simple"`

	// Timeout limits the wait for an answer. Zero value: 5s.
	//
	// It counts for each call, and for each page of a call that reads pages, from the
	// wait for a free connection on. Negative: only the context limits a call.
	Timeout time.Duration `key:"timeout"`

	// PreparedStatements prepares named statements on each connection. Zero value: each
	// statement is sent without a name.
	//
	// It makes calls faster on a direct connection to the server, or through a pooler
	// in session mode. Behind one in transaction mode, statements may meet those of
	// other clients.
	PreparedStatements bool `key:"preparedStatements"`

	// NoBatching sends each statement by itself. Zero value: while the pool is busy, reads
	// that wait share a statement, and so do writes of different sessions.
	//
	// None waits for a row that another one has locked, or fails for another one's record:
	// it is sent by itself then.
	NoBatching bool `key:"noBatching"`

	// Logger receives the errors of the clean-up, and warnings about the table. Zero
	// value: slog.Default().
	Logger *slog.Logger

	// The fields below are for Open; New rejects them.

	// MaxConns is the maximum number of open connections. Zero value: 20.
	MaxConns int `key:"maxConnections" for:"Open"`

	// MaxIdleConns is the maximum number of idle connections. Zero value: MaxConns.
	//
	// Opening a connection costs more than keeping it.
	MaxIdleConns int `key:"maxIdleConnections" for:"Open"`

	// ConnMaxIdleTime is the time after which an idle connection is closed. Zero
	// value: 30s.
	//
	// It should be shorter than what proxies on the way allow, which is often a minute.
	ConnMaxIdleTime time.Duration `key:"connectionMaxIdleTime" for:"Open"`

	// ConnMaxLifetime is the age at which a connection is closed. Zero value: 1h.
	//
	// It makes the pool follow a server that has moved.
	ConnMaxLifetime time.Duration `key:"connectionMaxLifetime" for:"Open"`

	// ConnectTimeout limits the wait for a connection. Zero value: the url's
	// connect_timeout or 5s.
	ConnectTimeout time.Duration `key:"connectTimeout" for:"Open"`

	// SSLMode overrides the url's sslmode. Zero value: the url's, or
	// verify-full with TLS.CAFile and require without.
	//
	// It has libpq's meaning: require verifies the certificate, but not its name, if a CA is
	// given, and none otherwise; prefer encrypts if it can. In a URL, allow, prefer, require and verify-ca have
	// node-postgres's, which is verify-full.
	// no-verify is node-postgres's: TLS with any certificate, of which a warning is logged.
	SSLMode string `key:"sslMode oneof=disable|allow|prefer|require|verify-ca|verify-full|no-verify" for:"Open"`

	// PasswordFile is a file that contains the password. Zero value: the url's password.
	//
	// It is read for each connection, so that a new password needs no restart.
	PasswordFile string `key:"passwordFile path" for:"Open"`

	// Credentials returns the user and the password for a connection, such as a token
	// that expires. An empty user is the url's. It may be called concurrently, and ctx
	// is that of the connection. A password that ends before ConnMaxLifetime needs
	// that set to less. Zero value: the url's.
	Credentials func(ctx context.Context) (user, password string, err error) `for:"Open"`

	// TLS sets the CA for the server and the client certificate. Zero value: the
	// DSN's.
	TLS TLS `for:"Open"`
}

// TLS sets the CA for the server and the client certificate, in place of the DSN's
// sslrootcert, sslcert and sslkey. The files are PEM.
type TLS struct {
	// CAFile is a PEM file with the CA certificates that the server's certificate is
	// verified against. Zero value: the url's sslrootcert or the system's CAs.
	//
	// An SSLMode that does not verify the certificate is an error with it.
	CAFile string `key:"caFile path"`

	// CertFile is a PEM file with the client certificate. Zero value: the url's
	// sslcert or none.
	CertFile string `key:"certFile path"`

	// KeyFile is a PEM file with the private key of the client certificate. Zero
	// value: the url's sslkey or none.
	KeyFile string `key:"keyFile path"`

	// Fingerprint is the SHA-256 of the server's certificate in hexadecimal, which is
	// then verified by that alone. Zero value: it is verified as sslmode says.
	//
	// openssl x509 -noout -fingerprint -sha256 prints it. Whoever renews the
	// certificate changes it.
	Fingerprint string `key:"fingerprint"`
}

const (
	defaultCleanupInterval = 15 * time.Minute
	defaultTimeout         = 5 * time.Second
	defaultMaxConns        = 20
	defaultConnMaxIdleTime = 30 * time.Second
	defaultConnMaxLifetime = time.Hour
	defaultConnectTimeout  = 5 * time.Second

	// maxName is the length, in bytes, to which Postgres truncates a name.
	maxName = 63
)

// Validate returns an error that names every field that Open would reject, and the fix.
// It neither connects to the server nor reads a file.
func (o Options) Validate() error {
	r := refusals()
	r.OneOf("Layout", string(cmp.Or(o.Layout, LayoutSCS)), driver.Names(described()))
	if l := o.layout(); o.SIDFieldName != "" {
		switch {
		case !l.anyID:
			r.Add("SIDFieldName Layout", "only %s lets its column be renamed; drop the first or change the second", renamable())
		case slices.ContainsFunc(l.columns()[1:], func(c columnOf) bool { return c.name == o.SIDFieldName }):
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
	r.Numbers(o, "CleanupInterval", "Timeout")
	r.Pool(o.MaxIdleConns, o.MaxConns, defaultMaxConns)
	r.OneOf("SSLMode", cmp.Or(o.SSLMode, sslModes[0]), sslModes)
	r.Pair(o.TLS.CertFile, o.TLS.KeyFile)
	if _, err := fingerprint(o.TLS.Fingerprint); err != nil {
		r.Add("TLS.Fingerprint", "%w", err)
	}
	if o.TLS.Fingerprint != "" && o.TLS.CAFile != "" {
		r.Add("TLS.Fingerprint TLS.CAFile", "the certificate is verified by one of them; drop the other")
	}
	if o.PasswordFile != "" && o.Credentials != nil {
		r.Add("PasswordFile Credentials", "both give the password; drop one")
	}
	return r.Err()
}

// refusals returns an empty list of errors about Options.
func refusals() refusal.List { return refusal.List{Package: "postgres", Struct: "Options"} }

// withDefaults returns a copy with the defaults filled in, or Validate's error. Open
// itself sets the defaults of its own fields, since some of them depend on the DSN.
func (o Options) withDefaults() (Options, error) {
	if err := o.Validate(); err != nil {
		return Options{}, err
	}
	l := o.layout()
	o.Layout = Layout(l.Name)
	o.TableName = cmp.Or(o.TableName, l.table)
	o.CleanupInterval = cmp.Or(o.CleanupInterval, defaultCleanupInterval)
	o.Timeout = cmp.Or(o.Timeout, defaultTimeout)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o, nil
}

// DDL returns the SQL of what a store with these options needs, for a role that may create
// it: what CreateTable creates. users is adapter.Options.UserPath, split at its dots; nil
// for none. The error is Validate's.
func (o Options) DDL(users []string) (string, error) {
	o, err := o.withDefaults()
	if err != nil {
		return "", err
	}
	t := newTable(o)
	all := []string{t.createTable, t.createIndex}
	if users != nil {
		all = append(all, t.createLists()...)
		if value := t.looksAt(users, t.dataType); value != "" {
			all = append(all, t.createUserIndex(users, value))
		}
	}
	return strings.Join(all, ";\n") + ";\n", nil
}

// openOnly returns an error that names each field that is set and is only for Open.
func (o Options) openOnly() error {
	r := refusals()
	r.OnlyOpen(o, "set it up on the *sql.DB given to New")
	return r.Err()
}

// storable reports whether Postgres's text type can hold s.
func storable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsRune(s, 0)
}
