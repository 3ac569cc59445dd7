package postgres

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lib/pq"

	"github.com/samesid/samesid/backends/driver"
	"github.com/samesid/samesid/internal/refusal"
)

// layout describes the table of a Layout.
type layout struct {
	driver.Layout
	table, id, data, expiry      string
	idType, dataType, expiryType string   // as created
	dataTypes, expiryTypes       []string // as accepted
	nullable                     bool     // data and expiry may be NULL, as created
	anyID                        bool     // Options.SIDFieldName renames the column id
	// created and updated are columns with the time of a record's first and last
	// write, which have no default; "" if there are none.
	created, updated         string
	indexPrefix, indexSuffix string
}

const (
	typeJSON        = "json"
	typeJSONB       = "jsonb"
	typeText        = "text"
	typeBytea       = "bytea"
	typeVarchar     = "character varying"
	typeTimestamp   = "timestamp without time zone"
	typeTimestamptz = "timestamp with time zone"
)

var (
	idTypes   = []string{typeVarchar, typeText}
	jsonTypes = []string{typeJSON, typeJSONB}
	timeTypes = []string{typeTimestamp, typeTimestamptz}
)

// layouts are all of them. The first one is the default.
var layouts = []layout{
	{
		Layout: driver.Layout{Name: string(LayoutSCS), Doc: "table `sessions(token, data bytea, expiry)`, of scs's postgresstore"},
		table:  "sessions", id: "token", data: "data", expiry: "expiry",
		idType: "text", dataType: "bytea", expiryType: "timestamptz",
		dataTypes: []string{typeBytea}, expiryTypes: []string{typeTimestamptz},
		indexSuffix: "_expiry_idx",
	},
	{
		Layout: driver.Layout{
			Name: string(LayoutConnectPgSimple), Express: true, TTLUnit: time.Second, Step: time.Second,
			Doc: "table `session(sid, sess json, expire)`, with Express's JSON",
		},
		table: "session", id: "sid", data: "sess", expiry: "expire",
		idType: "varchar", dataType: "json", expiryType: "timestamp(6)",
		dataTypes: jsonTypes, expiryTypes: timeTypes,
		indexPrefix: "IDX_", indexSuffix: "_expire",
	},
	{
		Layout: driver.Layout{
			Name: string(LayoutConnectSessionKnex), Express: true, TTLUnit: time.Millisecond, MaxID: 255,
			Doc: "table `sessions(sid, sess json, expired)`, with Express's JSON",
		},
		table: "sessions", id: "sid", data: "sess", expiry: "expired", anyID: true,
		idType: "varchar(255)", dataType: "json", expiryType: "timestamptz",
		dataTypes: jsonTypes, expiryTypes: timeTypes,
		indexSuffix: "_expired_index",
	},
	{
		Layout: driver.Layout{
			Name: string(LayoutConnectSessionSequelize), Express: true, TTLUnit: time.Millisecond, MaxID: 36,
			Doc: "table `Sessions(sid, expires, data text, createdAt, updatedAt)`, with Express's JSON",
		},
		table: "Sessions", id: "sid", data: "data", expiry: "expires",
		idType: "varchar(36)", dataType: "text", expiryType: "timestamptz",
		dataTypes: []string{typeText, typeVarchar}, expiryTypes: timeTypes, nullable: true,
		created: "createdAt", updated: "updatedAt",
		indexSuffix: "_expires", // the package creates none; the name is Sequelize's
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

// renamable names the layouts whose column of the id can have another name.
func renamable() string {
	var names []string
	for _, l := range layouts {
		if l.anyID {
			names = append(names, l.Name)
		}
	}
	return refusal.Either(names)
}

// columnOf is a column of a layout.
type columnOf struct {
	name, quoted, typ string
	accepted          []string // the server's names of types
	nullable          bool     // as created
	filler            string   // SQL of a value for the rows that there are
}

// columns returns the columns, with that of the id first.
func (l layout) columns() []columnOf {
	all := []columnOf{
		{name: l.id, typ: l.idType, accepted: idTypes, filler: "md5(random()::text)"},
		{name: l.data, typ: l.dataType, accepted: l.dataTypes, nullable: l.nullable, filler: "''"},
		{name: l.expiry, typ: l.expiryType, accepted: l.expiryTypes, nullable: l.nullable, filler: "now()"},
	}
	if l.Express {
		all[1].filler = `'{"cookie":{}}'`
	}
	for _, stamp := range []string{l.created, l.updated} {
		if stamp != "" {
			all = append(all, columnOf{name: stamp, typ: "timestamptz", accepted: timeTypes, filler: "now()"})
		}
	}
	for i := range all {
		all[i].quoted = pq.QuoteIdentifier(all[i].name)
	}
	return all
}

// table is a layout with the names from the options, and with quoted names for SQL.
type table struct {
	layout
	schemaName               string
	q, qID, qData, qExpiry   string
	createTable, createIndex string
}

func newTable(o Options) table {
	t := table{layout: o.layout(), schemaName: o.SchemaName}
	t.table = o.TableName
	t.id = cmp.Or(o.SIDFieldName, t.id)

	t.q = pq.QuoteIdentifier(t.table)
	if o.SchemaName != "" {
		t.q = pq.QuoteIdentifier(o.SchemaName) + "." + t.q
	}
	t.qID, t.qData, t.qExpiry = pq.QuoteIdentifier(t.id), pq.QuoteIdentifier(t.data), pq.QuoteIdentifier(t.expiry)

	var lines []string
	for _, c := range t.columns() {
		lines = append(lines, "  "+c.definition())
	}
	t.createTable = fmt.Sprintf("CREATE TABLE %s (\n%s,\n  CONSTRAINT %s PRIMARY KEY (%s)\n)",
		t.q, strings.Join(lines, ",\n"), pq.QuoteIdentifier(derivedName("", t.table, "_pkey")), t.qID)
	t.createIndex = fmt.Sprintf("CREATE INDEX %s ON %s (%s)",
		pq.QuoteIdentifier(derivedName(t.indexPrefix, t.table, t.indexSuffix)), t.q, t.qExpiry)
	return t
}

// definition returns the column in SQL.
func (c columnOf) definition() string {
	if c.nullable {
		return c.quoted + " " + c.typ
	}
	return c.quoted + " " + c.typ + " NOT NULL"
}

// stamps returns the SQL for the columns of the times of writes: their names and values
// in an INSERT, and the assignment in an UPDATE, each after a comma.
func (t table) stamps() (names, values, update string) {
	if t.created != "" {
		names += ", " + pq.QuoteIdentifier(t.created)
		values += ", now()"
	}
	if t.updated != "" {
		updated := pq.QuoteIdentifier(t.updated)
		names += ", " + updated
		values += ", now()"
		update = ", " + updated + " = now()"
	}
	return names, values, update
}

// derivedName returns the name of a constraint or index of a table. Postgres would
// truncate a long name and lose the suffix, so derivedName truncates the table's name
// instead, and adds a hash of it to keep the result unique.
func derivedName(prefix, table, suffix string) string {
	if len(prefix)+len(table)+len(suffix) <= maxName {
		return prefix + table + suffix
	}
	hash := fmt.Sprintf("_%x", sha256.Sum256([]byte(table)))[:9]
	cut := maxName - len(prefix) - len(hash) - len(suffix)
	for !utf8.RuneStart(table[cut]) {
		cut--
	}
	return prefix + table[:cut] + hash + suffix
}

// column holds the server's catalogue entry of a column.
type column struct {
	typ      string
	required bool // an INSERT must give it a value
	unique   bool // ON CONFLICT can use an index whose only key is this column
	indexed  bool // an index begins with it

	primary    string // the constraint of the table's primary key, or ""
	inPrimary  bool   // it is a part of that
	deferrable string // a deferrable constraint that makes it unique, or ""
	keyword    string // PRIMARY KEY or UNIQUE, of that
}

type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// inspect returns the table's columns, or none if the table does not exist.
func (t table) inspect(ctx context.Context, db querier) (map[string]column, error) {
	rows, err := db.QueryContext(ctx, `
		SELECT a.attname, format_type(a.atttypid, NULL),
			a.attnotnull AND NOT a.atthasdef AND a.attidentity = '',
			EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indkey[0] = a.attnum
				AND i.indisunique AND i.indimmediate AND i.indisvalid AND i.indnkeyatts = 1 AND i.indpred IS NULL),
			EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indkey[0] = a.attnum
				AND i.indisvalid AND i.indpred IS NULL),
			coalesce(p.conname, ''), coalesce(a.attnum = ANY (p.conkey), false), coalesce(d.conname, ''),
			CASE d.contype WHEN 'p' THEN 'PRIMARY KEY' ELSE 'UNIQUE' END
		FROM pg_attribute a
		LEFT JOIN pg_constraint p ON p.conrelid = a.attrelid AND p.contype = 'p'
		LEFT JOIN pg_constraint d ON d.conrelid = a.attrelid AND d.contype IN ('p', 'u') AND d.condeferrable AND d.conkey = ARRAY[a.attnum]
		WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped`, t.q)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns := make(map[string]column)
	for rows.Next() {
		var name string
		var c column
		if err := rows.Scan(&name, &c.typ, &c.required, &c.unique, &c.indexed, &c.primary, &c.inPrimary, &c.deferrable, &c.keyword); err != nil {
			return nil, err
		}
		columns[name] = c
	}
	return columns, rows.Err()
}

// createLock is the advisory lock for creating tables. The number is arbitrary, and
// the same in every process.
const createLock int64 = 0x73616d65736964

// create creates the table and its index if they are missing.
func (t table) create(ctx context.Context, db *sql.DB) error {
	// An Express process does not take our lock. If it creates the table
	// concurrently, one try fails, and the next one finds the table.
	for attempt := 1; ; attempt++ {
		err := t.createOnce(ctx, db)
		switch code := sqlState(err); {
		case err == nil:
			return nil
		case attempt < 3 && (code == codeDuplicateTable || code == codeDuplicateObject || code == codeUniqueViolation):
			continue
		case code == codeInvalidSchemaName && t.schemaName != "":
			return fmt.Errorf("postgres: create table %s: the schema is missing: run CREATE SCHEMA %s: %w",
				t.q, pq.QuoteIdentifier(t.schemaName), cleanStart(ctx, err))
		case code == codeInsufficientPrivilege:
			return t.granted(ctx, db, "USAGE, CREATE", err)
		default:
			return fmt.Errorf("postgres: create table %s: %w", t.q, cleanStart(ctx, err))
		}
	}
}

// granted returns the error of a role that lacks rights on the table's schema.
func (t table) granted(ctx context.Context, db *sql.DB, rights string, reason error) error {
	var role, schema string
	if err := db.QueryRowContext(ctx, "SELECT current_user, coalesce(current_schema(), 'public')").Scan(&role, &schema); err != nil {
		return explain(errors.Join(reason, cleanStart(ctx, err)))
	}
	return fmt.Errorf("postgres: table %s: %w; run:\n\nGRANT %s ON SCHEMA %s TO %s;", t.q, cleanStart(ctx, reason),
		rights, pq.QuoteIdentifier(cmp.Or(t.schemaName, schema)), pq.QuoteIdentifier(role))
}

func (t table) createOnce(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock($1)", createLock); err != nil {
		return err
	}
	columns, err := t.inspect(ctx, tx)
	if err != nil {
		return err
	}
	if len(columns) == 0 {
		if _, err := tx.ExecContext(ctx, t.createTable); err != nil {
			return err
		}
	}
	if expiry, ok := columns[t.expiry]; len(columns) == 0 || ok && !expiry.indexed {
		if _, err := tx.ExecContext(ctx, t.createIndex); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// complete reports whether create has nothing to do.
func (t table) complete(columns map[string]column) bool {
	expiry, ok := columns[t.expiry]
	return len(columns) > 0 && (!ok || expiry.indexed)
}

// validate returns an error that describes what is wrong with the table, with the SQL
// that fixes it.
func (t table) validate(columns map[string]column) error {
	if len(columns) == 0 {
		return fmt.Errorf("table %s does not exist; set Options.CreateTable, or run:\n\n%s;\n%s;", t.q, t.createTable, t.createIndex)
	}
	for _, other := range layouts {
		_, id := columns[other.id]
		_, data := columns[other.data]
		_, expiry := columns[other.expiry]
		if _, ours := columns[t.expiry]; !ours && id && data && expiry {
			return fmt.Errorf("table %s is one of layout %q; set Layout to it, or TableName to another table", t.q, other.Name)
		}
	}

	var problems, fixes []string
	primary := ""
	for _, c := range columns {
		primary = c.primary
	}
	for _, want := range t.columns() {
		have, ok := columns[want.name]
		switch {
		case !ok:
			problems = append(problems, fmt.Sprintf("column %s is missing", want.quoted))
			if want.nullable {
				fixes = append(fixes, fmt.Sprintf("ALTER TABLE %s ADD COLUMN %s;", t.q, want.definition()))
				continue
			}
			// There may be rows.
			fixes = append(fixes, fmt.Sprintf("ALTER TABLE %[1]s ADD COLUMN %[2]s DEFAULT %[3]s;\nALTER TABLE %[1]s ALTER COLUMN %[4]s DROP DEFAULT;",
				t.q, want.definition(), want.filler, want.quoted))
		case !slices.Contains(want.accepted, have.typ):
			problems = append(problems, fmt.Sprintf("column %s is of type %s, not %s", want.quoted, have.typ, want.typ))
			fixes = append(fixes, fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s TYPE %s USING %s;", t.q, want.quoted, want.typ, cast(want.quoted, have.typ, want.typ)))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(columns)) {
		ours := slices.ContainsFunc(t.columns(), func(c columnOf) bool { return c.name == name })
		if quoted := pq.QuoteIdentifier(name); !ours && columns[name].required {
			problems = append(problems, fmt.Sprintf("column %s needs a value that is not the session's, and has no default", quoted))
			if columns[name].inPrimary && primary != "" {
				fixes = append(fixes, fmt.Sprintf("ALTER TABLE %s DROP CONSTRAINT %s;", t.q, pq.QuoteIdentifier(primary)))
				primary = ""
			}
			fixes = append(fixes, fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s DROP NOT NULL;", t.q, quoted))
		}
	}
	switch id := columns[t.id]; {
	case id.deferrable != "":
		problems = append(problems, fmt.Sprintf("the key of column %s is deferrable", t.qID))
		fixes = append(fixes, fmt.Sprintf("ALTER TABLE %[1]s DROP CONSTRAINT %[2]s, ADD CONSTRAINT %[2]s %[3]s (%[4]s);",
			t.q, pq.QuoteIdentifier(id.deferrable), id.keyword, t.qID))
	case !id.unique && primary != "":
		problems = append(problems, fmt.Sprintf("column %s is not unique", t.qID))
		fixes = append(fixes, fmt.Sprintf("CREATE UNIQUE INDEX ON %s (%s);", t.q, t.qID))
	case !id.unique:
		problems = append(problems, fmt.Sprintf("column %s is not unique", t.qID))
		fixes = append(fixes, fmt.Sprintf("ALTER TABLE %s ADD PRIMARY KEY (%s);", t.q, t.qID))
	}
	if problems == nil {
		return nil
	}
	return errors.New("table " + t.q + ": " + strings.Join(problems, "; ") + "; run:\n\n" + strings.Join(fixes, "\n") + "\n")
}

// cast returns the SQL expression that converts a column to typ.
func cast(column, from, typ string) string {
	switch {
	case typ == "bytea":
		return "convert_to(" + column + "::text, 'UTF8')"
	case from == "bytea":
		return "convert_from(" + column + ", 'UTF8')::" + typ
	default:
		return column + "::" + typ
	}
}
