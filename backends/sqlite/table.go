package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/samesid/samesid/backends/driver"
)

// layout describes the table of a Layout.
type layout struct {
	driver.Layout
	table, id, data, expiry         string
	create                          string     // of the table, with {table} and the columns
	idTypes, dataTypes, expiryTypes []affinity // as accepted
	positional                      bool       // Node inserts by position: id, expiry, data
	indexName                       func(table string) string
	live, expired, readExpiry       string // SQL over {expiry}: is it live, is it to be deleted, when in Unix milliseconds
	writeExpiry                     func(time.Time) any
}

// nowMillis is the clock of all connections, in Unix milliseconds. SQLite reads it when
// the statement has its lock, not before it waits.
const nowMillis = "CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)"

// layouts begins with the default.
var layouts = []layout{
	{
		Layout: driver.Layout{
			Name: string(LayoutSCS), Step: time.Millisecond,
			Doc: "table `sessions(token, data, expiry)`, of scs's sqlite3store",
		},
		table: "sessions", id: "token", data: "data", expiry: "expiry",
		create:  "CREATE TABLE {if}{table} (\n  {id} TEXT PRIMARY KEY,\n  {data} BLOB NOT NULL,\n  {expiry} REAL NOT NULL\n)",
		idTypes: []affinity{text, none}, dataTypes: []affinity{none}, expiryTypes: []affinity{real, numeric, none},
		indexName:  func(table string) string { return table + "_expiry_idx" },
		live:       "{expiry} > julianday('now')",
		expired:    "{expiry} <= julianday('now')",
		readExpiry: "CAST(round(({expiry} - 2440587.5) * 86400000) AS INTEGER)",
		// SQLite computes a Julian day in the same way, so equal times are equal numbers.
		writeExpiry: func(t time.Time) any {
			return float64(unixMilli(t, math.Ceil)+210866760000000) / 86400000
		},
	},
	{
		Layout: driver.Layout{
			Name: string(LayoutConnectSessionKnex), Express: true, TTLUnit: time.Millisecond,
			Doc: "table `sessions(sid, sess json, expired)`, with Express's JSON",
		},
		table: "sessions", id: "sid", data: "sess", expiry: "expired",
		create:  "CREATE TABLE {if}{table} (\n  {id} varchar(255),\n  {data} json NOT NULL,\n  {expiry} datetime NOT NULL,\n  PRIMARY KEY ({id})\n)",
		idTypes: []affinity{text, none}, dataTypes: []affinity{numeric, text}, expiryTypes: []affinity{numeric, text},
		// As Knex derives it.
		indexName: func(table string) string {
			return strings.ToLower(strings.NewReplacer(".", "_", "-", "_").Replace(table) + "_expired_index")
		},
		live: "datetime({expiry}) >= datetime('now')",
		// The first condition can use the index. A text without fractions sorts before
		// the others of its second.
		expired:    "{expiry} < strftime('%Y-%m-%dT%H:%M:%S', 'now') AND datetime({expiry}) < datetime('now')",
		readExpiry: "CAST(round((julianday({expiry}) - 2440587.5) * 86400000) AS INTEGER)",
		writeExpiry: func(t time.Time) any {
			return time.UnixMilli(unixMilli(t, math.Floor)).UTC().Format("2006-01-02T15:04:05.000Z")
		},
	},
	{
		Layout: driver.Layout{
			Name: string(LayoutConnectSQLite3), Express: true,
			Doc: "table `sessions(sid, expired, sess)`, with Express's JSON",
		},
		table: "sessions", id: "sid", data: "sess", expiry: "expired",
		create:  "CREATE TABLE {if}{table} (\n  {id} PRIMARY KEY,\n  {expiry},\n  {data}\n)",
		idTypes: []affinity{none, text}, dataTypes: []affinity{none, text}, expiryTypes: []affinity{none, integer},
		positional:  true,
		live:        "{expiry} >= " + nowMillis,
		expired:     "{expiry} < " + nowMillis,
		readExpiry:  "CAST({expiry} AS INTEGER)",
		writeExpiry: func(t time.Time) any { return unixMilli(t, math.Floor) },
	},
}

func described() (all []driver.Layout) {
	for _, l := range layouts {
		all = append(all, l.Layout)
	}
	return all
}

// layout returns the row of Options.Layout, or the first one.
func (o Options) layout() layout {
	for _, l := range layouts {
		if l.Name == string(o.Layout) {
			return l
		}
	}
	return layouts[0]
}

// The years that SQLite's date functions know.
var (
	minExpiry = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)
	maxExpiry = time.Date(9999, 12, 31, 23, 59, 59, int(999*time.Millisecond), time.UTC)
)

// unixMilli returns t in Unix milliseconds, rounded. A layout whose session still lives
// at the instant of its expiry rounds down, so that it lives less than a millisecond
// longer than t.
func unixMilli(t time.Time, round func(float64) float64) int64 {
	switch {
	case t.Before(minExpiry):
		t = minExpiry
	case t.After(maxExpiry):
		t = maxExpiry
	}
	return t.UnixMilli() + int64(round(float64(t.Nanosecond()%int(time.Millisecond))/float64(time.Millisecond)))
}

// affinity is the type to which SQLite converts what is written to a column.
type affinity string

const (
	text    affinity = "TEXT"
	numeric affinity = "NUMERIC"
	integer affinity = "INTEGER"
	real    affinity = "REAL"
	none    affinity = "BLOB"
)

// affinityOf follows SQLite's rules for a declared type.
func affinityOf(declared string, strict bool) affinity {
	t := strings.ToUpper(declared)
	has := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(t, p) })
	}
	switch {
	case has("INT"):
		return integer
	case has("CHAR", "CLOB", "TEXT"):
		return text
	case t == "", has("BLOB"), strict && t == "ANY":
		return none
	case has("REAL", "FLOA", "DOUB"): //nolint:misspell // as SQLite has it
		return real
	default:
		return numeric
	}
}

// table is a layout with the names from the options, and with quoted names for SQL.
type table struct {
	layout
	q, qID, qData, qExpiry   string
	createTable, createIndex string // createIndex is empty if the Node package has none
}

func newTable(o Options) table {
	t := table{layout: o.layout()}
	t.table = o.TableName
	t.id = cmp.Or(o.SIDFieldName, t.id)
	t.q, t.qID, t.qData, t.qExpiry = quote(t.table), quote(t.id), quote(t.data), quote(t.expiry)
	t.createTable = t.sql(t.create, "{if}", "")
	if t.indexName != nil {
		t.createIndex = t.sql("CREATE INDEX {if}{index} ON {table} ({expiry})", "{if}", "")
	}
	return t
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// sql replaces the names in braces, and others that are given, in a query.
func (t table) sql(query string, others ...string) string {
	index := ""
	if t.indexName != nil {
		index = quote(t.indexName(t.table))
	}
	// The conditions have names in braces themselves.
	query = strings.NewReplacer("{live}", t.live, "{expired}", t.expired, "{readExpiry}", t.readExpiry).Replace(query)
	return strings.NewReplacer(append(others, "{table}", t.q, "{id}", t.qID, "{data}", t.qData, "{expiry}", t.qExpiry, "{index}", index)...).Replace(query)
}

// column describes a column of the table as it is.
type column struct {
	name     string
	declared string
	affinity affinity
	unique   bool   // ON CONFLICT can use an index whose only key is this column
	indexed  bool   // an index begins with it
	collates string // its collation in an index, if that is not BINARY
	blocks   bool   // an insert must name it
}

// found is the table as it is.
type found struct {
	kind    string // "table", "view", "virtual" or "", if it does not exist
	columns []column
}

func (f found) column(name string) (column, bool) {
	for _, c := range f.columns {
		if strings.EqualFold(c.name, name) {
			return c, true
		}
	}
	return column{}, false
}

// inspect reads the table's columns and indexes.
func (t table) inspect(ctx context.Context, db *sql.DB) (f found, err error) {
	var strict bool
	err = db.QueryRowContext(ctx, `SELECT type, strict FROM pragma_table_list WHERE schema = 'main' AND name = ? COLLATE NOCASE`, t.table).Scan(&f.kind, &strict)
	if err != nil {
		if errors.Is(err, sql.ErrNoRows) {
			err = nil
		}
		return found{}, err
	}
	err = each(ctx, db, `SELECT name, type, "notnull" AND dflt_value IS NULL AND NOT pk FROM pragma_table_info(?)`, []any{t.table}, func(scan func(...any) error) error {
		var c column
		if err := scan(&c.name, &c.declared, &c.blocks); err != nil {
			return err
		}
		c.affinity = affinityOf(c.declared, strict)
		f.columns = append(f.columns, c)
		return nil
	})
	if err != nil {
		return found{}, err
	}
	err = each(ctx, db, `SELECT first.name, first.coll, list."unique" AND (SELECT count(*) FROM pragma_index_xinfo(list.name) WHERE key) = 1
		FROM pragma_index_list(?) list, pragma_index_xinfo(list.name) first
		WHERE NOT list.partial AND first.seqno = 0 AND first.name IS NOT NULL`, []any{t.table}, func(scan func(...any) error) error {
		var name, collation string
		var unique bool
		if err := scan(&name, &collation, &unique); err != nil {
			return err
		}
		for i := range f.columns {
			c := &f.columns[i]
			switch {
			case c.name != name:
			case collation != "BINARY":
				c.collates = collation
			default:
				c.indexed = true
				c.unique = c.unique || unique
			}
		}
		return nil
	})
	return f, err
}

// each calls fn for each row of a query.
func each(ctx context.Context, db *sql.DB, query string, args []any, fn func(scan func(...any) error) error) error {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := fn(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// complete reports whether CreateTable has nothing to do.
func (t table) complete(f found) bool {
	expiry, ok := f.column(t.expiry)
	return f.kind != "" && (!ok || expiry.indexed || t.createIndex == "")
}

// createMissing creates the table, and its index if there is none on the expiry. Each
// statement is atomic, so that other processes, Node's too, may do the same.
func (t table) createMissing(ctx context.Context, db *sql.DB) error {
	const ifMissing = "IF NOT EXISTS "
	if _, err := db.ExecContext(ctx, t.sql(t.create, "{if}", ifMissing)); err != nil {
		return err
	}
	f, err := t.inspect(ctx, db)
	if err != nil || t.complete(f) || f.kind != "table" {
		return err
	}
	_, err = db.ExecContext(ctx, t.sql("CREATE INDEX {if}{index} ON {table} ({expiry})", "{if}", ifMissing))
	return err
}

// problems returns what is wrong with the table.
func (t table) problems(f found) (list []string) {
	add := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	if f.kind != "table" {
		add("it is a %s", f.kind)
		return list
	}
	for _, want := range []struct {
		name     string
		accepted []affinity
	}{{t.id, t.idTypes}, {t.data, t.dataTypes}, {t.expiry, t.expiryTypes}} {
		have, ok := f.column(want.name)
		switch {
		case !ok:
			add("column %s is missing", quote(want.name))
		case !slices.Contains(want.accepted, have.affinity):
			add("column %s is of type %s, whose affinity is %s, not %s", quote(want.name), cmp.Or(have.declared, "none"), have.affinity, want.accepted[0])
		}
	}
	if id, ok := f.column(t.id); ok {
		switch {
		case id.collates != "":
			add("column %s takes different ids for equal (collation %s)", t.qID, id.collates)
		case !id.unique:
			add("column %s is not unique", t.qID)
		}
	}
	for _, c := range f.columns {
		if ours := strings.EqualFold(c.name, t.id) || strings.EqualFold(c.name, t.data) || strings.EqualFold(c.name, t.expiry); !ours && c.blocks {
			add("column %s has no default, so no session can be inserted", quote(c.name))
		}
	}
	if t.positional && list == nil {
		var names []string
		for _, c := range f.columns {
			names = append(names, strings.ToLower(c.name))
		}
		if want := []string{t.id, t.expiry, t.data}; !slices.Equal(names, want) {
			add("its columns are %s, and connect-sqlite3 inserts by position: they must be %s", strings.Join(names, ", "), strings.Join(want, ", "))
		}
	}
	return list
}

// ddl returns the SQL of the table and its index.
func (t table) ddl() []string {
	if t.createIndex == "" {
		return []string{t.createTable}
	}
	return []string{t.createTable, t.createIndex}
}

// validate returns an error that describes what is wrong with the table, with the fix.
func (t table) validate(f found) error {
	create := strings.Join(t.ddl(), ";\n") + ";"
	if f.kind == "" {
		return fmt.Errorf("table %s does not exist; set Options.CreateTable, or run:\n\n%s", t.q, create)
	}
	problems := t.problems(f)
	if problems == nil {
		return nil
	}
	for _, l := range layouts {
		other := t
		other.layout = l
		other.qID = quote(l.id)
		if other.problems(f) == nil {
			return fmt.Errorf("table %s is one of layout %q; set Options.Layout to it, or Options.TableName to another table", t.q, l.Name)
		}
	}
	fix := fmt.Sprintf("ALTER TABLE %s RENAME TO %s;\n", t.q, quote(t.table+"_old"))
	switch {
	case f.kind != "table":
		return fmt.Errorf("%s cannot hold sessions: %s; set Options.TableName to another name", t.q, problems[0])
	case t.createIndex != "":
		fix += t.sql("DROP INDEX IF EXISTS {index};\n")
	}
	return fmt.Errorf("table %s: %s; set Options.TableName to another table, or put this one aside and run:\n\n%s%s",
		t.q, strings.Join(problems, "; "), fix, create)
}
