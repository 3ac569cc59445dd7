package sqlite

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
// JSON records, and Express may read and write them concurrently.
const (
	// LayoutSCS is the table of scs's sqlite3store:
	// sessions(token TEXT, data BLOB, expiry REAL). An expiry is a Julian day, and
	// is rounded up to whole milliseconds.
	LayoutSCS Layout = "scs"

	// LayoutConnectSessionKnex is the table that connect-session-knex has on SQLite:
	// sessions(sid varchar(255), sess json, expired datetime). An expiry is a text
	// such as 2026-11-25T20:33:32.074Z. As in Express, a session lives to the end of
	// the second of its expiry.
	LayoutConnectSessionKnex Layout = "connect-session-knex"

	// LayoutConnectSQLite3 is the table of connect-sqlite3: sessions(sid, expired,
	// sess). An expiry is in milliseconds since 1970. As in Express, a session lives
	// to the end of that millisecond.
	LayoutConnectSQLite3 Layout = "connect-sqlite3"
)

// Synchronous is SQLite's setting of the same name. It says which writes survive a
// power loss.
type Synchronous string

// The settings. A write that has returned survives a crash of the process with either.
const (
	// SynchronousNormal lets a write return before it is on the disk. After a power
	// loss or a crash of the operating system, the file is intact, but the latest
	// writes may be undone, all of them after some point in time.
	SynchronousNormal Synchronous = "normal"

	// SynchronousFull makes each write, and each touch, wait for the disk. What has
	// returned survives a power loss too.
	SynchronousFull Synchronous = "full"
)

// Options configure a store. The zero value uses scs's table, which must exist.
type Options struct {
	// Layout is the format of table and records. Zero value: LayoutSCS.
	Layout Layout

	// TableName is the table's name. It may contain any character, and SQLite ignores
	// its case. Zero value: "sessions". connect-session-knex: tableName,
	// connect-sqlite3: table.
	TableName string

	// SIDFieldName is the column of the session's id; only for
	// LayoutConnectSessionKnex. Zero value: "sid". connect-session-knex:
	// sidFieldName.
	SIDFieldName string

	// CreateTable creates what is missing: the file, readable by its owner alone, the
	// table as the Node package creates it, and its index on the expiry. Zero value:
	// false; a missing file or table is an error. connect-session-knex: createTable.
	CreateTable bool

	// CleanupInterval is the mean time between two deletions of expired sessions.
	// Each pause is random, from 0.5 to 1.5 times the interval, so that instances
	// don't run at once. Zero value: 15 minutes. Negative: never.
	// connect-session-knex: cleanupInterval.
	CleanupInterval time.Duration

	// Timeout limits each call to the store, and each page of a call that reads
	// pages. The wait for the file's write lock, which another process may hold,
	// counts. Zero value: 5 seconds. Negative: only the context limits a call.
	Timeout time.Duration

	// Synchronous is for Open; New rejects it. Zero value: SynchronousNormal.
	Synchronous Synchronous

	// Logger receives the errors of the clean-up, and warnings about the table. Zero
	// value: slog.Default().
	Logger *slog.Logger
}

const (
	defaultCleanupInterval = 15 * time.Minute
	defaultTimeout         = 5 * time.Second
)

// Validate returns an error that names every field that Open would reject, and the fix.
// It opens no file.
func (o Options) Validate() error {
	_, err := o.withDefaults()
	return err
}

// withDefaults returns a copy with the defaults filled in, or Validate's error.
func (o Options) withDefaults() (Options, error) {
	r := refusal.List{Package: "sqlite", Struct: "Options"}

	o.Layout = cmp.Or(o.Layout, LayoutSCS)
	l, ok := layouts[o.Layout]
	if !ok {
		r.Add("Layout", "%q is unknown; use %q, %q or %q", o.Layout, LayoutSCS, LayoutConnectSessionKnex, LayoutConnectSQLite3)
	}
	if o.SIDFieldName != "" {
		switch {
		case o.Layout != LayoutConnectSessionKnex:
			r.Add("SIDFieldName", "only Options.Layout %q has it; leave it empty", LayoutConnectSessionKnex)
		case strings.EqualFold(o.SIDFieldName, l.data), strings.EqualFold(o.SIDFieldName, l.expiry):
			r.Add("SIDFieldName", "%q is another column of the table; use another name", o.SIDFieldName)
		}
	}
	for _, n := range []struct{ field, name string }{{"TableName", o.TableName}, {"SIDFieldName", o.SIDFieldName}} {
		if !utf8.ValidString(n.name) || strings.ContainsRune(n.name, 0) {
			r.Add(n.field, "not a name that SQLite can hold; use UTF-8 without NUL bytes")
		}
	}
	if strings.HasPrefix(strings.ToLower(o.TableName), "sqlite_") {
		r.Add("TableName", "SQLite keeps names that begin with sqlite_ for itself; use another name")
	}
	o.Synchronous = cmp.Or(o.Synchronous, SynchronousNormal)
	if o.Synchronous != SynchronousNormal && o.Synchronous != SynchronousFull {
		r.Add("Synchronous", "%q is unknown; use %q or %q", o.Synchronous, SynchronousNormal, SynchronousFull)
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
	r := refusal.List{Package: "sqlite", Struct: "Options"}
	if o.Synchronous != "" {
		r.Add("Synchronous", "is for Open; set PRAGMA synchronous on the connections of the *sql.DB given to New")
	}
	return r.Err()
}
