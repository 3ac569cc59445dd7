package postgres

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lib/pq"
)

// The lengths of what a rehearsal writes: of an id as the Manager or scs makes them, and
// of a record that is not large.
const (
	expressID    = 32
	scsID        = 43
	recordLength = 1000
)

// rehearse does with a row of its own what the store will do with sessions, in a
// transaction that it rolls back. Its error names what is wrong with the table or the
// role, and the SQL to run.
func (s *Store) rehearse(ctx context.Context) error {
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return explain(cleanStart(ctx, err))
	}
	defer tx.Rollback()
	act, err := s.acts(ctx, tx)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return explain(ctx.Err())
	}
	// The rest asks the server, which a failed transaction can't.
	if err := tx.Rollback(); err != nil {
		return explain(cleanStart(ctx, err))
	}
	return s.blame(ctx, act, err)
}

var errNoTransactions = errors.New("the pooler ends the connection when a transaction begins; " +
	"moves of several sessions need one: set its pool_mode to transaction or session")

// errNoRow is the reason of an act that the server accepted and did not do.
var errNoRow = errors.New("nothing was done")

// errOther is the reason of a row that is not as it was written.
var errOther = errors.New("the row is not as it was written")

// acts rehearses the store's statements. After an error, act says which of them failed.
func (s *Store) acts(ctx context.Context, tx *sql.Tx) (act string, err error) {
	q, late := s.stmts.Load(), time.Hour.Microseconds()
	filler := strings.Repeat("x", recordLength)
	first, second := []byte(filler), []byte(filler+"x")
	if s.table.Express {
		first = []byte(`{"cookie":{"originalMaxAge":null},"samesid":"` + filler + `"}`)
		second = []byte(`{"cookie":{"originalMaxAge":null},"samesid":"` + filler + `x"}`)
	}
	length := s.idLength()
	id := (rand.Text() + rand.Text())[:length]
	to := (rand.Text() + rand.Text())[:length]

	exec := func(st statement, args ...any) error {
		result, err := q.execTx(ctx, tx, st, args...)
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, errNoRow)
		}
		return nil
	}
	read := func(st statement, args ...any) (data []byte, err error) {
		var age int64
		dest := []any{&data, &age}
		if st == sqlFindTouch {
			dest = dest[:1]
		}
		err = q.queryRowTx(ctx, tx, st, args...).Scan(dest...)
		if errors.Is(err, sql.ErrNoRows) {
			err = errNoRow
		}
		return data, err
	}

	if err := exec(sqlCommit, id, late, first); err != nil {
		return "INSERT", err
	}
	stored, err := read(sqlFindExpiry, id)
	if err != nil {
		return "SELECT", err
	}
	if q.dataType != typeJSONB && !bytes.Equal(stored, first) {
		return "INSERT", errOther
	}
	if _, err := read(sqlFindTouch, id, late); err != nil {
		return "UPDATE", err
	}
	for _, step := range []struct {
		act  string
		st   statement
		args []any
	}{
		{"UPDATE", sqlSwapTouch, []any{id, stored, late}},
		{"UPDATE", sqlSwapReplace, []any{id, stored, second, late}},
		{"UPDATE", sqlLock, []any{id, second}},
		{"UPDATE", sqlMove, []any{id, second, first, late, to}},
		{"DELETE", sqlSwapDelete, []any{to, first}},
		{"INSERT", sqlSwapCreate, []any{id, late, first}},
		{"DELETE", sqlDelete, []any{id}},
	} {
		if err := exec(step.st, step.args...); err != nil {
			return step.act, err
		}
	}
	return "", nil
}

// blame returns the error of a rehearsal whose act failed.
func (s *Store) blame(ctx context.Context, act string, reason error) error {
	var role string
	var secured, restricted bool
	var missing, triggers []string
	err := s.db.QueryRowContext(ctx, `SELECT current_user,
			ARRAY(SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) p WHERE NOT has_table_privilege(t.oid, p)),
			row_security_active(t.oid),
			EXISTS (SELECT FROM pg_policy WHERE polrelid = t.oid AND NOT polpermissive),
			ARRAY(SELECT tgname::text FROM pg_trigger WHERE tgrelid = t.oid AND NOT tgisinternal AND tgenabled <> 'D' ORDER BY 1)
				|| ARRAY(SELECT rulename::text FROM pg_rewrite WHERE ev_class = t.oid ORDER BY 1)
		FROM pg_class t WHERE t.oid = to_regclass($1)`, s.table.q).
		Scan(&role, pq.Array(&missing), &secured, &restricted, pq.Array(&triggers))
	if err != nil {
		return explain(errors.Join(reason, cleanStart(ctx, err)))
	}
	quoted := pq.QuoteIdentifier(role)
	fault := func(what, fix string) error {
		text := "postgres: table " + s.table.q + ": " + what
		if fix != "" {
			text += "; run:\n\n" + fix + "\n"
		}
		return errors.New(text)
	}

	code := sqlState(reason)
	var pqErr *pq.Error
	if !errors.As(reason, &pqErr) {
		pqErr = &pq.Error{}
	}
	const policy = "row-level security"
	switch {
	case code == codeInsufficientPrivilege && len(missing) > 0 && !strings.Contains(pqErr.Message, policy):
		return fault("role "+quoted+" may not "+strings.Join(missing, ", "),
			fmt.Sprintf("GRANT %s ON %s TO %s;", strings.Join(missing, ", "), s.table.q, quoted))

	case secured && (strings.Contains(pqErr.Message, policy) || errors.Is(reason, errNoRow)):
		fix := fmt.Sprintf("CREATE POLICY %s ON %s TO %s USING (true) WITH CHECK (true);",
			pq.QuoteIdentifier(derivedName("", s.table.table, "_samesid")), s.table.q, quoted)
		if restricted {
			fix = fmt.Sprintf("ALTER TABLE %s DISABLE ROW LEVEL SECURITY;", s.table.q)
		}
		return fault("row security keeps role "+quoted+" from the sessions: "+act+" was refused or did nothing", fix)

	case code == "22001":
		idType, dataType := s.table.idType, s.table.dataType
		if s.table.Express && s.table.MaxID == 0 {
			idType = "varchar(255)"
		}
		return fault(fmt.Sprintf("column %s or %s is too short for an id of %d characters or a record of %d",
			s.table.qID, s.table.qData, s.idLength(), recordLength),
			fmt.Sprintf("ALTER TABLE %[1]s ALTER COLUMN %[2]s TYPE %[3]s, ALTER COLUMN %[4]s TYPE %[5]s;",
				s.table.q, s.table.qID, idType, s.table.qData, dataType))

	case errors.Is(reason, errNoRow), errors.Is(reason, errOther):
		what := act + " was accepted and did nothing"
		if errors.Is(reason, errOther) {
			what = "what was written is not what is there"
		}
		if len(triggers) > 0 {
			quotedNames := slices.Clone(triggers)
			for i := range quotedNames {
				quotedNames[i] = pq.QuoteIdentifier(quotedNames[i])
			}
			what += "; it has triggers or rules: " + strings.Join(quotedNames, ", ")
		}
		return fault(what, "")
	}
	return fmt.Errorf("postgres: table %s: the %s of a session is refused: %w", s.table.q, act, reason)
}

func (s *Store) idLength() int {
	if s.table.Express {
		return expressID
	}
	return scsID
}
