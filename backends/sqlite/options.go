package sqlite

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/samesid/samesid/backends/driver"
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

// Backend describes this store to packages backends and adapter/config. They don't link
// it, as its driver takes long to compile: hand it to their Open.
var Backend = driver.New(driver.Backend{
	Type: "sqlite", Title: "SQLite",
	Schemes: []string{scheme},
	URLDoc:  "With sqlite:, or type sqlite, it is the path of a file, relative to the folder that the program runs in.",
	Layouts: described(),
	Unavailable: map[string]string{
		"knex": "is an object of Express's program; give its file as store.url",
		"db":   "is the name of connect-sqlite3's file; give it with its folder as store.url",
		"dir":  "is the folder of connect-sqlite3's file; give it with the file as store.url",
	},
}, validate, func(ctx context.Context, url string, o Options, logger *slog.Logger) (*Store, error) {
	o.Logger = cmp.Or(o.Logger, logger)
	return Open(ctx, strings.TrimPrefix(url, scheme), o)
})

const scheme = "sqlite:"

// validate checks a URL, which may be a path alone, and the options.
func validate(url string, o Options) error {
	r := refusals()
	path := strings.TrimPrefix(url, scheme)
	if path != url && strings.HasPrefix(path, "//") {
		r.Add("url", "with two slashes it can be read in several ways; write sqlite: and the path, such as sqlite:sessions.db or sqlite:/var/lib/app/sessions.db")
	} else if err := validatePath(path); err != nil {
		r.Add("url", "%w", err)
	}
	o.refuse(&r)
	return r.Err()
}

// Options configure a store. The zero value uses scs's table, which must exist.
type Options struct {
	// Layout is the names and the format of the records. Zero value: LayoutSCS.
	Layout Layout `key:"layout"`

	// TableName is the table. Zero value: the layout's own.
	//
	// It may contain any character, and SQLite ignores its case. connect-session-knex:
	// tableName, connect-sqlite3: table.
	TableName string `key:"tableName also=tablename|table"`

	// SIDFieldName is the column of the session id, with the layout
	// connect-session-knex. Zero value: sid.
	//
	// connect-session-knex: sidFieldName.
	SIDFieldName string `key:"sidFieldName also=sidfieldname"`

	// CreateTable creates what is missing: the file, the table and its index. Zero value:
	// false; the error then has the SQL to run.
	//
	// The file is readable by its owner alone, and the table as the Node package creates
	// it. connect-session-knex: createTable.
	CreateTable bool `key:"createTable also=createtable"`

	// CleanupInterval is the time between two deletions of expired sessions. Zero
	// value: 15m.
	//
	// It is the mean: each pause is random, from 0.5 to 1.5 times the interval, so
	// that instances don't run at once. Negative: never. connect-session-knex:
	// cleanupInterval.
	CleanupInterval time.Duration `key:"cleanupInterval also=clearInterval unit=ms never=0|false"`

	// Timeout limits the wait for an answer. Zero value: 5s.
	//
	// It counts for each call, and for each page of a call that reads pages. The wait for
	// the file's write lock, which another process may hold, counts too. Negative: only
	// the context limits a call.
	Timeout time.Duration `key:"timeout"`

	// Synchronous says which writes survive a loss of power: with full those that have
	// returned, with normal all but the last ones. Zero value: normal.
	//
	// It is for Open; New rejects it.
	Synchronous Synchronous `key:"synchronous oneof=normal|full" for:"Open"`

	// NoBatching commits each write by itself. Zero value: writes that wait for the one
	// before them share a transaction.
	//
	// None fails for another one's record: it is run by itself then. It is for Open; New
	// rejects it.
	NoBatching bool `key:"noBatching" for:"Open"`

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
	r := refusals()
	o.refuse(&r)
	return r.Err()
}

// refuse adds what is wrong with the options.
func (o Options) refuse(r *refusal.List) {
	r.OneOf("Layout", string(cmp.Or(o.Layout, LayoutSCS)), driver.Names(described()))
	r.OneOf("Synchronous", string(cmp.Or(o.Synchronous, SynchronousNormal)), []string{string(SynchronousNormal), string(SynchronousFull)})
	if l := o.layout(); o.SIDFieldName != "" {
		switch {
		case l.Name != string(LayoutConnectSessionKnex):
			r.Add("SIDFieldName Layout", "only %s lets its column be renamed; drop the first or change the second", LayoutConnectSessionKnex)
		case strings.EqualFold(o.SIDFieldName, l.data), strings.EqualFold(o.SIDFieldName, l.expiry):
			r.Add("SIDFieldName", "%q is another column of the table; use another name", o.SIDFieldName)
		}
	}
	for _, n := range []struct{ field, name string }{{"TableName", o.TableName}, {"SIDFieldName", o.SIDFieldName}} {
		if !utf8.ValidString(n.name) || strings.ContainsRune(n.name, 0) {
			r.Add(n.field, "not a name that SQLite can hold; use UTF-8 without NUL bytes")
		}
	}
	r.Numbers(o, "CleanupInterval", "Timeout")
	if strings.HasPrefix(strings.ToLower(o.TableName), "sqlite_") {
		r.Add("TableName", "SQLite keeps names that begin with sqlite_ for itself; use another name")
	}
}

// refusals returns an empty list of errors about Options.
func refusals() refusal.List { return refusal.List{Package: "sqlite", Struct: "Options"} }

// withDefaults returns a copy with the defaults filled in, or Validate's error.
func (o Options) withDefaults() (Options, error) {
	if err := o.Validate(); err != nil {
		return Options{}, err
	}
	l := o.layout()
	o.Layout = Layout(l.Name)
	o.Synchronous = cmp.Or(o.Synchronous, SynchronousNormal)
	o.TableName = cmp.Or(o.TableName, l.table)
	o.CleanupInterval = cmp.Or(o.CleanupInterval, defaultCleanupInterval)
	o.Timeout = cmp.Or(o.Timeout, defaultTimeout)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o, nil
}

// DDL returns the SQL of what a store with these options needs, in a file that has none of
// it: what CreateTable creates. users is adapter.Options.UserPath, split at its dots; nil
// for none. The error is Validate's.
func (o Options) DDL(users []string) (string, error) {
	o, err := o.withDefaults()
	if err != nil {
		return "", err
	}
	t := newTable(o)
	all := t.ddl()
	if users != nil {
		x, err := t.users(users)
		if err != nil {
			return "", fmt.Errorf("sqlite: %w", err)
		}
		all = append(all, t.createLists(x)...)
		if x.value != "" {
			all = append(all, t.createUserIndex(x))
		}
	}
	return strings.Join(all, ";\n") + ";\n", nil
}

// openOnly returns an error that names each field that is set and is only for Open.
func (o Options) openOnly() error {
	r := refusals()
	r.OnlyOpen(o, "Synchronous is PRAGMA synchronous on the connections of the *sql.DB given to New, where each write commits by itself")
	return r.Err()
}
