package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/samesid/samesid/backends/contract"
	"github.com/samesid/samesid/internal/testserver"
)

// Whatever the table does with a record, no error holds a value of it, or its id. One that
// is due to the value says so.
func TestErrorsHoldNoValue(t *testing.T) {
	t.Parallel()
	const record = `{"cookie":{},"name":"SECRET","n":"SECRET-2","nul":"x"}`
	plain := `CREATE FUNCTION complain() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN %s END$$;
		CREATE TRIGGER complain BEFORE INSERT OR UPDATE ON session FOR EACH ROW EXECUTE FUNCTION complain();`
	for name, c := range map[string]struct {
		sql, data, code string
		want            string // a part of the text
		failure         bool   // not due to the value
	}{
		"check":             {sql: `ALTER TABLE session ADD CONSTRAINT small CHECK (length(sess::text) < 10)`, code: "23514", want: `check violation, constraint "small" (23514)`},
		"check by cast":     {sql: `ALTER TABLE session ADD CHECK ((sess->>'n')::int > 0)`, code: "22P02", want: "invalid text representation"},
		"expression index":  {sql: `CREATE INDEX ON session (((sess->>'n')::int))`, code: "22P02"},
		"date index":        {sql: `CREATE FUNCTION day(text) RETURNS date IMMUTABLE LANGUAGE sql AS 'SELECT $1::date'; CREATE INDEX ON session (day(sess->>'name'))`, code: "22007", want: "in a trigger or function"},
		"generated":         {sql: `ALTER TABLE session ADD COLUMN n int GENERATED ALWAYS AS ((sess->>'n')::int) STORED`, code: "22P02"},
		"generated of id":   {sql: `ALTER TABLE session ADD COLUMN n int GENERATED ALWAYS AS (sid::int) STORED`, code: "22P02"},
		"unique index":      {sql: `CREATE UNIQUE INDEX twice ON session ((sess->>'name')); INSERT INTO session VALUES ('other', '{"name":"SECRET"}', now() + interval '1 hour')`, code: "23505", want: `unique violation, constraint "twice" (23505)`},
		"foreign key":       {sql: `CREATE TABLE users (name text PRIMARY KEY); ALTER TABLE session ADD COLUMN name text GENERATED ALWAYS AS (sess->>'name') STORED REFERENCES users`, code: "23503"},
		"trigger":           {sql: fmt.Sprintf(plain, `RAISE EXCEPTION 'no % %', NEW.sid, NEW.sess;`), code: "P0001", want: "raise exception, in a trigger or function (P0001)"},
		"trigger, code":     {sql: fmt.Sprintf(plain, `RAISE EXCEPTION 'no % %', NEW.sid, NEW.sess USING ERRCODE = '53100';`), code: "53100", failure: true},
		"trigger, relation": {sql: fmt.Sprintf(plain, `EXECUTE format('SELECT FROM %I', NEW.sess->>'name'); RETURN NEW;`), code: "42P01", failure: true},
		"trigger, column":   {sql: fmt.Sprintf(plain, `RAISE EXCEPTION 'no' USING ERRCODE = '23502', COLUMN = NEW.sid, CONSTRAINT = NEW.sess->>'name', HINT = NEW.sess;`), code: "23502"},
		"large key":         {sql: `CREATE INDEX ON session ((sess->>'large'))`, data: `{"cookie":{},"name":"SECRET","large":"` + noise(20000) + `"}`, code: "54000"},
		"NUL in jsonb":      {sql: `ALTER TABLE session ALTER COLUMN sess TYPE jsonb`, data: `{"cookie":{},"name":"SECRET\u0000"}`, code: "22P05"},
		"surrogate":         {sql: `ALTER TABLE session ALTER COLUMN sess TYPE jsonb`, data: `{"cookie":{},"name":"SECRET\ud800"}`, code: "22P02"},
		"no JSON":           {data: `SECRET`, code: "22P02"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn, _ := testserver.Schema(t)
			s := open(t, dsn, quiet(LayoutConnectPgSimple))
			id := "SECRET-id"
			if c.sql != "" {
				exec(t, s.db, c.sql)
			}
			data := []byte(record)
			if c.data != "" {
				data = []byte(c.data)
			}
			commitErr := s.CommitCtx(t.Context(), id, data, inAnHour())
			_, _, swapErr := s.Swap(t.Context(), id, nil, data, inAnHour())
			for _, err := range []error{commitErr, swapErr} {
				if err == nil {
					t.Fatal("the record was taken")
				}
				for _, text := range []string{err.Error(), fmt.Sprintf("%+v %#v", err, err), deep(err)} {
					if strings.Contains(text, "SECRET") {
						t.Errorf("the error holds a value: %s", text)
					}
				}
				if sqlState(err) != c.code || errors.Is(err, contract.ErrRejected) == c.failure || !strings.Contains(err.Error(), c.want) {
					t.Errorf("the error is %v with code %s; want %s, %q, due to the value: %t", err, sqlState(err), c.code, c.want, !c.failure)
				}
			}
		})
	}
}

// deep returns an error and all that it wraps, in full.
func deep(err error) string {
	text := ""
	for err != nil {
		text += fmt.Sprintf("%#v\n", err)
		err = errors.Unwrap(err)
	}
	return text
}

// noise returns a text that can't be compressed to much less.
func noise(n int) string {
	var b strings.Builder
	for i := uint64(1); b.Len() < n; i++ {
		fmt.Fprintf(&b, "%x", i*0x9e3779b97f4a7c15)
	}
	return b.String()
}

// What the server says of itself is kept, as an operator needs it.
func TestErrorsOfTheServer(t *testing.T) {
	t.Parallel()
	server := testserver.StartPostgres(t)
	s := open(t, server.URL, quiet(LayoutSCS))
	exec(t, rawDB(t, server.URL), "ALTER SYSTEM SET default_transaction_read_only = on")
	exec(t, rawDB(t, server.URL), "SELECT pg_reload_conf()")
	for {
		// A connection may not have read the setting yet.
		err := s.CommitCtx(context.Background(), "id", body, inAnHour())
		if err == nil {
			continue
		}
		const want = "postgres: commit: pq: cannot execute INSERT in a read-only transaction (25006)"
		if err.Error() != want || errors.Is(err, contract.ErrRejected) {
			t.Errorf("got %v\nwant %s", err, want)
		}
		break
	}
}
