package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// statement is one of the store's statements.
type statement int

const (
	sqlFind statement = iota
	sqlFindExpiry
	sqlFindTouch
	sqlCommit
	sqlDelete
	sqlSwapCreate
	sqlSwapReplace
	sqlSwapTouch
	sqlSwapDelete
	sqlMove
	sqlMakeRoom
	sqlVersion
	sqlLock
	sqlFindAll
	sqlFindExpiryAll
	sqlFindTouchAll
	sqlSwapReplaceAll
	sqlSwapTouchAll
	sqlPage
	sqlPing
	sqlCount
	sqlClear
	sqlDeleteExpired
)

// templates are the statements, with names for what depends on the table.
//
// "after" is an instant from an age in microseconds. The server's clock alone turns one
// into the other, so that the clocks of its clients don't matter.
var templates = [...]string{
	sqlFind:       `SELECT {read} FROM {table} WHERE {id} = $1 AND {expiry} > now()`,
	sqlFindExpiry: `SELECT {read}, {left} FROM {table} WHERE {id} = $1 AND {expiry} > now()`,
	sqlFindTouch: `UPDATE {table} SET {expiry} = {after $2}{, stamp}
		WHERE {id} = $1 AND {expiry} > now() AND {unsynced} RETURNING {read}`,
	sqlCommit: `INSERT INTO {table} ({id}, {expiry}, {data}{, stamps}) VALUES ($1, {after $2}, {new}{, now})
		ON CONFLICT ({id}) DO UPDATE SET {data} = excluded.{data}, {expiry} = excluded.{expiry}{, stamp}`,
	sqlDelete: `DELETE FROM {table} WHERE {id} = $1`,

	// An update or delete that has waited for another one evaluates its condition
	// again on the new row, so none of these acts on stale data.
	sqlSwapCreate: `INSERT INTO {table} AS t ({id}, {expiry}, {data}{, stamps}) VALUES ($1, {after $2}, {new}{, now})
		ON CONFLICT ({id}) DO UPDATE SET {data} = excluded.{data}, {expiry} = excluded.{expiry}{, stamp}
		WHERE t.{expiry} <= now()`,
	sqlSwapReplace: `UPDATE {table} SET {data} = {new}, {expiry} = {after $4}{, stamp}
		WHERE {id} = $1 AND {old} AND {expiry} > now()`,
	sqlSwapTouch: `UPDATE {table} SET {expiry} = {after $3}{, stamp}
		WHERE {id} = $1 AND {old} AND {expiry} > now() AND {unsynced}`,
	sqlSwapDelete: `DELETE FROM {table} WHERE {id} = $1 AND {old} AND {expiry} > now()`,

	sqlMove: `UPDATE {table} SET {id} = $5, {data} = {new}, {expiry} = {after $4}{, stamp}
		WHERE {id} = $1 AND {old} AND {expiry} > now()
		AND NOT EXISTS (SELECT FROM {table} WHERE {id} = $5 AND {expiry} > now())`,
	sqlMakeRoom: `DELETE FROM {table} WHERE {id} = $1 AND {expiry} <= now()`,
	sqlVersion:  `SELECT concat_ws(' ', tableoid, ctid, xmin) FROM {table} WHERE {id} = $1`,
	sqlLock:     `SELECT FROM {table} WHERE {id} = $1 AND {old} AND {expiry} > now() FOR UPDATE`,
	sqlFindAll:  `SELECT {id}, {read} FROM {table} WHERE {id} = ANY ($1) AND {expiry} > now()`,

	// Several of the statements above in one. A batch waits for no row, and so for no
	// other batch.
	sqlFindExpiryAll: `SELECT {id}, {read}, {left} FROM {table} WHERE {id} = ANY ($1) AND {expiry} > now()`,
	sqlFindTouchAll: `UPDATE {table} AS t SET {expiry} = {after samesid_left}{, stamp}
		FROM {free} JOIN unnest($1::text[], $2::bigint[]) AS v (samesid_id, samesid_left) ON samesid_id = samesid_k
		WHERE {id} = samesid_k AND {expiry} > now() AND {unsynced} RETURNING {id}, {read}`,
	sqlSwapReplaceAll: `UPDATE {table} AS t SET {data} = {new of samesid_new}, {expiry} = {after samesid_left}{, stamp}
		FROM {free} JOIN unnest($1::text[], $2::{texts}, $3::{texts}, $4::bigint[]) AS v (samesid_id, samesid_old, samesid_new, samesid_left) ON samesid_id = samesid_k
		WHERE {id} = samesid_k AND {old is samesid_old} AND {expiry} > now() RETURNING {id}`,
	sqlSwapTouchAll: `UPDATE {table} AS t SET {expiry} = {after samesid_left}{, stamp}
		FROM {free} JOIN unnest($1::text[], $2::{texts}, $3::bigint[]) AS v (samesid_id, samesid_old, samesid_left) ON samesid_id = samesid_k
		WHERE {id} = samesid_k AND {old is samesid_old} AND {expiry} > now() AND {unsynced} RETURNING {id}`,

	sqlPage:  `SELECT {id}, {read} FROM {table} WHERE {id} >= $1 AND {expiry} > now() ORDER BY {id} LIMIT $2`,
	sqlPing:  `SELECT 1`,
	sqlCount: `SELECT count(*) FROM {table} WHERE {expiry} > now()`,
	sqlClear: `WITH gone AS (SELECT {id} FROM {table} WHERE {id} >= $1 ORDER BY {id} LIMIT $2),
		deleted AS (DELETE FROM {table} t USING gone WHERE t.{id} = gone.{id})
		SELECT {id} FROM gone ORDER BY {id} DESC LIMIT 1`,

	// This deletes by key, as ctid is not unique in a partitioned table.
	sqlDeleteExpired: `WITH gone AS (SELECT {id}, {expiry} FROM {table}
			WHERE {expiry} <= now() AND {expiry} >= $2::text::{expiryType}
			ORDER BY {expiry} LIMIT $1 FOR UPDATE SKIP LOCKED),
		deleted AS (DELETE FROM {table} t USING gone WHERE t.{id} = gone.{id} AND t.{expiry} <= now() RETURNING 1)
		SELECT (SELECT count(*) FROM deleted), (SELECT max({expiry})::text FROM gone)`,
}

// statements are the SQL for a table as it was when it was inspected.
type statements struct {
	dataType, expiryType string   // of the table's columns
	text                 []string // by statement
	// prepared are named statements of each connection, which database/sql prepares
	// there. nil: each statement is sent with its text, without a name.
	prepared []*sql.Stmt
}

// newStatements returns the statements for a table whose columns have these types.
func newStatements(t table, dataType, expiryType string) *statements {
	read, texts, isOld, newData := t.qData, "text[]", t.qData+" = %s", "%s::json"
	switch dataType {
	case typeJSONB:
		// The parameter has type json, which the driver sends as text in every setting.
		isOld = t.qData + " = %s::json::jsonb"
	case typeJSON:
		// json has no equality, but keeps the text that was written.
		isOld = t.qData + "::text = %s"
	case typeText, typeVarchar:
		read = "coalesce(" + t.qData + ", '')" // NULL counts as an empty record
		// The server rejects what is not JSON, and keeps the text that was written.
		isOld, newData = read+" = %s", "%s::json::text"
	case typeBytea:
		texts, newData = "bytea[]", "%s"
	}
	free := "(SELECT " + t.qID + " AS samesid_k FROM " + t.q + " WHERE " + t.qID + " = ANY ($1::text[]) AND " + t.qExpiry +
		" > now() ORDER BY " + t.qID + " FOR NO KEY UPDATE SKIP LOCKED) AS k"
	left := "(date_part('epoch', least(" + t.qExpiry + "::timestamptz, '9999-12-31 00:00:00Z') - now()) * 1000000)::bigint"
	stamps, now, stamp := t.stamps()
	// This condition is always true, and its setting holds for one transaction. A
	// touch need not wait for the disk: if a crash undoes it, no data is lost.
	const unsynced = "set_config('synchronous_commit', 'off', true) = 'off'"
	after := func(param string) string {
		until := "now() + " + param + "::bigint * interval '1 microsecond'"
		if step := t.Step.Microseconds(); step > 0 { // a second
			until = fmt.Sprintf("date_trunc('second', %s + interval '%d microseconds')", until, step-1)
		}
		return "(" + until + ")"
	}
	names := strings.NewReplacer("{table}", t.q, "{id}", t.qID, "{data}", t.qData, "{expiry}", t.qExpiry,
		"{read}", read, "{left}", left, "{unsynced}", unsynced, "{free}", free, "{texts}", texts,
		"{old}", fmt.Sprintf(isOld, "$2"), "{old is samesid_old}", fmt.Sprintf(isOld, "samesid_old"),
		"{new}", fmt.Sprintf(newData, "$3"), "{new of samesid_new}", fmt.Sprintf(newData, "samesid_new"), "{expiryType}", expiryType,
		"{, stamps}", stamps, "{, now}", now, "{, stamp}", stamp,
		"{after $2}", after("$2"), "{after $3}", after("$3"), "{after $4}", after("$4"), "{after samesid_left}", after("samesid_left"))

	q := &statements{dataType: dataType, expiryType: expiryType, text: make([]string, len(templates))}
	for st, template := range templates {
		q.text[st] = names.Replace(template)
	}
	return q
}

// prepare makes named statements of all.
func (q *statements) prepare(ctx context.Context, db *sql.DB) error {
	for _, text := range q.text {
		stmt, err := db.PrepareContext(ctx, text) //nolint:sqlclosecheck // Close closes it
		if err != nil {
			return errors.Join(err, q.close())
		}
		q.prepared = append(q.prepared, stmt)
	}
	return nil
}

func (q *statements) close() error {
	var err error
	for _, stmt := range q.prepared {
		err = errors.Join(err, stmt.Close())
	}
	return err
}

func (q *statements) query(ctx context.Context, db *sql.DB, st statement, args ...any) (*sql.Rows, error) {
	if q.prepared != nil {
		return q.prepared[st].QueryContext(ctx, args...)
	}
	return db.QueryContext(ctx, q.text[st], args...)
}

func (q *statements) queryRow(ctx context.Context, db *sql.DB, st statement, args ...any) *sql.Row {
	if q.prepared != nil {
		return q.prepared[st].QueryRowContext(ctx, args...)
	}
	return db.QueryRowContext(ctx, q.text[st], args...)
}

func (q *statements) exec(ctx context.Context, db *sql.DB, st statement, args ...any) (sql.Result, error) {
	if q.prepared != nil {
		return q.prepared[st].ExecContext(ctx, args...)
	}
	return db.ExecContext(ctx, q.text[st], args...)
}

func (q *statements) execTx(ctx context.Context, tx *sql.Tx, st statement, args ...any) (sql.Result, error) {
	if q.prepared != nil {
		return tx.StmtContext(ctx, q.prepared[st]).ExecContext(ctx, args...) //nolint:sqlclosecheck // ends with the transaction
	}
	return tx.ExecContext(ctx, q.text[st], args...)
}

func (q *statements) queryRowTx(ctx context.Context, tx *sql.Tx, st statement, args ...any) *sql.Row {
	if q.prepared != nil {
		return tx.StmtContext(ctx, q.prepared[st]).QueryRowContext(ctx, args...) //nolint:sqlclosecheck // ends with the transaction
	}
	return tx.QueryRowContext(ctx, q.text[st], args...)
}

// binaryParameters returns an error if the caller's db is one of lib/pq without
// binary_parameters. It sends a statement and its arguments in two messages, between
// which a pooler may give the server's connection to another client: its statement would
// then run with these arguments.
func binaryParameters(ctx context.Context, db *sql.DB) error {
	c, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("postgres: open: %w", cleanStart(ctx, err))
	}
	defer c.Close()
	err = c.Raw(func(raw any) error {
		// Drivers that wrap another, for tracing, have this method.
		for {
			wrapper, ok := raw.(interface{ Raw() driver.Conn })
			if !ok {
				break
			}
			raw = wrapper.Raw()
		}
		t := reflect.TypeOf(raw)
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		checker, ok := raw.(driver.NamedValueChecker)
		if t.PkgPath() != "github.com/lib/pq" || !ok {
			return nil
		}
		var p probe
		// The driver asks for the binary value only in that setting.
		_ = checker.CheckNamedValue(&driver.NamedValue{Ordinal: 1, Value: &p})
		if !p.asked {
			return errors.New("postgres: New: the *sql.DB sends a statement and its arguments separately, so that behind a pooler " +
				"they may meet those of other clients: add binary_parameters=yes to its DSN, or use Open; " +
				"if there is no pooler, Options.PreparedStatements will do, too")
		}
		return nil
	})
	return err
}

// probe is an argument that notes whether the driver asks for its binary value.
type probe struct{ asked bool }

// BinaryValue is called by lib/pq with binary_parameters=yes.
func (p *probe) BinaryValue() ([]byte, error) {
	p.asked = true
	return nil, nil
}
