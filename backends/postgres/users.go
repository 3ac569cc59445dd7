package postgres

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lib/pq"
)

// usersIndex is how the sessions of a user are found.
type usersIndex struct {
	path []string
	// lists is the table of what was noted: the tokens of users, in a layout whose records
	// the server can't look into, and when the sessions of users were ended, with no token.
	lists string
}

// users is nil until IndexUsers.
type users struct{ index atomic.Pointer[usersIndex] }

// IndexUsers implements contract.UserIndex. In a column of type json or jsonb it looks into
// the records, by an index over the user's id. In the other layouts it keeps lists in a
// table beside, which also has when the sessions of a user were ended. With
// Options.CreateTable, it creates what is missing.
func (s *Store) IndexUsers(ctx context.Context, path []string) (looks bool, err error) {
	const op = "index users"
	if was := s.users.index.Load(); was != nil && !slices.Equal(was.path, path) {
		return false, fmt.Errorf("postgres: %s: this store already finds users under %s: Managers on one store need the same path", op, strings.Join(was.path, "."))
	}
	x := &usersIndex{path: slices.Clone(path), lists: s.table.beside()}
	looks = s.looksAt(x) != ""
	var failed error // to create it: another process may have been faster
	for attempt := 1; ; attempt++ {
		missing, err := s.usersMissing(ctx, x)
		if err == nil && len(missing) == 0 {
			break
		}
		if err == nil && s.createTable && attempt < 4 {
			failed = s.runAll(ctx, missing)
			switch sqlState(failed) {
			case codeDuplicateTable, codeDuplicateObject, codeUniqueViolation:
				continue
			}
			if failed == nil {
				continue
			}
		}
		if err = cmp.Or(err, failed); err != nil {
			err = explain(cleanStart(ctx, err))
		} else {
			err = errors.New("the index of users is missing; set Options.CreateTable")
		}
		if len(missing) > 0 {
			err = fmt.Errorf("%w, or run:\n\n%s;", err, strings.Join(missing, ";\n"))
		}
		return false, fmt.Errorf("postgres: %s: %w", op, err)
	}
	s.users.index.Store(x)
	return looks, nil
}

// beside returns the name of the table of lists.
func (t table) beside() string {
	name := pq.QuoteIdentifier(derivedName("", t.table, "_users"))
	if t.schemaName != "" {
		name = pq.QuoteIdentifier(t.schemaName) + "." + name
	}
	return name
}

// looksAt returns the SQL of the user in a record, "" if the server can't look into it. It
// never fails, whatever the record has: if it did, the index would refuse the writes of
// Express's store.
func (s *Store) looksAt(x *usersIndex) string {
	return s.table.looksAt(x.path, s.stmts.Load().dataType)
}

func (t table) looksAt(users []string, dataType string) string {
	path, _ := pq.Array(users).Value() // of texts, which never fails
	doc := t.qData
	switch dataType {
	case typeJSONB:
	case typeJSON:
		// The type takes escapes that no text of the server can hold, such as that of NUL or
		// of half a character. They are left out. Each pair of a backslash and what it
		// escapes is looked at once, from the left.
		doc = `(CASE WHEN strpos(` + doc + `::text, E'\\u') > 0 THEN regexp_replace(` + doc +
			`::text, E'(\\\\[^u])|\\\\u[0-9a-fA-F]{4}', E'\\1', 'g')::json ELSE ` + doc + ` END)`
	default:
		return ""
	}
	// A longer text would not fit into the index.
	return fmt.Sprintf("left(%s #>> %s, 256)", doc, strings.TrimSpace(pq.QuoteLiteral(path.(string))))
}

// usersMissing returns the SQL of what is not there. The error is that of what can't be used.
func (s *Store) usersMissing(ctx context.Context, x *usersIndex) (missing []string, err error) {
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return nil, err
	}
	defer tx.Rollback()
	var there bool
	if err := tx.QueryRowContext(ctx, "SELECT to_regclass($1) IS NOT NULL", x.lists).Scan(&there); err != nil {
		return nil, err
	}
	if !there {
		missing = append(missing, s.table.createLists()...)
	}
	if value := s.looksAt(x); value != "" {
		// With no other way, the plan uses an index over the expression if there is one.
		if _, err := tx.ExecContext(ctx, "SET LOCAL enable_seqscan = off"); err != nil {
			return nil, err
		}
		indexed, err := s.isIndexed(ctx, tx, value)
		if err != nil {
			return nil, err
		}
		if !indexed {
			missing = append(missing, s.table.createUserIndex(x.path, value))
		}
	}
	if there {
		for _, call := range []struct {
			text string
			args []any
		}{
			{x.note(), []any{"rehearsal", "", 0}}, {x.tokens(), []any{"rehearsal"}}, {x.forget(), []any{"rehearsal", "", 0}},
		} {
			if _, err := tx.ExecContext(ctx, call.text, call.args...); err != nil {
				if sqlState(err) == codeInsufficientPrivilege {
					err = s.table.grantLists(ctx, s.db, x.lists, err)
				}
				return missing, err
			}
		}
	}
	return missing, nil
}

// createLists returns the SQL of the table beside.
func (t table) createLists() []string {
	return []string{
		fmt.Sprintf("CREATE TABLE %s (\n  user_id text NOT NULL,\n  token text NOT NULL,\n  noted timestamptz NOT NULL,\n  until timestamptz NOT NULL,\n  PRIMARY KEY (user_id, token)\n)", t.beside()),
		fmt.Sprintf("CREATE INDEX ON %s (until)", t.beside()),
	}
}

// createUserIndex returns the SQL of the index over value, which looksAt has returned.
func (t table) createUserIndex(path []string, value string) string {
	suffix := fmt.Sprintf("_user_%x", sha256.Sum256([]byte(strings.Join(path, "\x00"))))[:len("_user_")+8]
	return fmt.Sprintf("CREATE INDEX %s ON %s ((%s))", pq.QuoteIdentifier(derivedName("", t.table, suffix)), t.q, value)
}

// isIndexed reports whether the server has an index over a value of the table's.
func (s *Store) isIndexed(ctx context.Context, tx *sql.Tx, value string) (indexed bool, err error) {
	rows, err := tx.QueryContext(ctx, fmt.Sprintf("EXPLAIN SELECT %s FROM %s WHERE %s = 'x'", s.table.qID, s.table.q, value))
	if err != nil {
		return false, err
	}
	defer rows.Close()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return false, err
		}
		indexed = indexed || strings.Contains(line, "Index Cond:")
	}
	return indexed, rows.Err()
}

// grantLists returns the error of a role that lacks rights on the table of lists.
func (t table) grantLists(ctx context.Context, db *sql.DB, lists string, reason error) error {
	var role string
	if err := db.QueryRowContext(ctx, "SELECT current_user").Scan(&role); err != nil {
		return errors.Join(reason, err)
	}
	return fmt.Errorf("table %s: %w; run:\n\nGRANT SELECT, INSERT, UPDATE, DELETE ON %s TO %s;", lists, cleanStart(ctx, reason), lists, pq.QuoteIdentifier(role))
}

// runAll creates what is missing, in one transaction that no other process of ours does at
// the same time.
func (s *Store) runAll(ctx context.Context, all []string) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for _, text := range append([]string{fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", createLock)}, all...) {
		if _, err := tx.ExecContext(ctx, text); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func (x *usersIndex) note() string {
	return "INSERT INTO " + x.lists + " AS l (user_id, token, noted, until) VALUES ($1, $2, now(), now() + $3::bigint * interval '1 microsecond') " +
		"ON CONFLICT (user_id, token) DO UPDATE SET noted = now(), until = greatest(l.until, excluded.until)"
}

// end notes that the sessions of a user were ended, at a time that no call before has had.
func (x *usersIndex) end() string {
	return "INSERT INTO " + x.lists + " AS l (user_id, token, noted, until) VALUES ($1, '', now(), now() + $2::bigint * interval '1 microsecond') " +
		"ON CONFLICT (user_id, token) DO UPDATE SET until = greatest(l.until, excluded.until), " +
		"noted = CASE WHEN l.noted BETWEEN now() AND now() + interval '1 second' THEN l.noted + interval '1 microsecond' ELSE now() END " +
		"RETURNING " + micros("noted")
}

// micros returns SQL for a time, or an interval, in microseconds.
func micros(value string) string { return "floor(extract(epoch FROM " + value + ") * 1000000)::bigint" }

func (x *usersIndex) forget() string {
	return "DELETE FROM " + x.lists + " WHERE user_id = $1 AND token = $2 AND noted <= now() - $3::bigint * interval '1 microsecond'"
}

func (x *usersIndex) tokens() string {
	return "SELECT token FROM " + x.lists + " WHERE user_id = $1 AND token <> '' AND until > now()"
}

func (x *usersIndex) ended() string {
	return "SELECT " + micros("noted") + ", " + micros("now() - noted") + " FROM " + x.lists + " WHERE user_id = $1 AND token = '' AND until > now()"
}

func (x *usersIndex) cleanUp() string {
	return "WITH gone AS (SELECT user_id, token FROM " + x.lists + " WHERE until <= now() ORDER BY until LIMIT $1 FOR UPDATE SKIP LOCKED) " +
		"DELETE FROM " + x.lists + " l USING gone WHERE l.user_id = gone.user_id AND l.token = gone.token AND l.until <= now()"
}

// indexed runs fn with the index of users.
func (s *Store) indexed(ctx context.Context, op string, fn func(ctx context.Context, x *usersIndex) error) error {
	x := s.users.index.Load()
	if x == nil {
		return fmt.Errorf("postgres: %s: IndexUsers has not been called", op)
	}
	return s.do(ctx, op, func(ctx context.Context) error { return fn(ctx, x) })
}

// NoteUser implements contract.UserIndex.
func (s *Store) NoteUser(ctx context.Context, user, token string, ttl time.Duration) error {
	return s.indexed(ctx, "note user", func(ctx context.Context, x *usersIndex) error {
		if s.looksAt(x) != "" {
			return nil
		}
		_, err := s.db.ExecContext(ctx, x.note(), user, token, ttl.Microseconds())
		return err
	})
}

// ForgetUser implements contract.UserIndex.
func (s *Store) ForgetUser(ctx context.Context, user, token string, age time.Duration) error {
	return s.indexed(ctx, "forget user", func(ctx context.Context, x *usersIndex) error {
		if s.looksAt(x) != "" {
			return nil
		}
		_, err := s.db.ExecContext(ctx, x.forget(), user, token, age.Microseconds())
		return err
	})
}

// UserTokens implements contract.UserIndex.
func (s *Store) UserTokens(ctx context.Context, user string) (tokens []string, err error) {
	err = s.indexed(ctx, "user tokens", func(ctx context.Context, x *usersIndex) error {
		text := x.tokens()
		if value := s.looksAt(x); value != "" {
			text = fmt.Sprintf("SELECT %s FROM %s WHERE %s = $1 AND %s > now()", s.table.qID, s.table.q, value, s.table.qExpiry)
		}
		rows, err := s.db.QueryContext(ctx, text, user)
		if err != nil {
			return err
		}
		defer rows.Close()
		tokens = nil
		for rows.Next() {
			var token string
			if err := rows.Scan(&token); err != nil {
				return err
			}
			tokens = append(tokens, token)
		}
		return rows.Err()
	})
	return tokens, err
}

// EndUser implements contract.UserIndex.
func (s *Store) EndUser(ctx context.Context, user string, ttl time.Duration) (at time.Time, err error) {
	err = s.indexed(ctx, "end user", func(ctx context.Context, x *usersIndex) error {
		var micros int64
		err := s.db.QueryRowContext(ctx, x.end(), user, ttl.Microseconds()).Scan(&micros)
		at = time.UnixMicro(micros)
		return err
	})
	return at, err
}

// UserEnded implements contract.UserIndex.
func (s *Store) UserEnded(ctx context.Context, user string) (at time.Time, ago time.Duration, err error) {
	err = s.indexed(ctx, "user ended", func(ctx context.Context, x *usersIndex) error {
		var noted, since int64
		err := s.db.QueryRowContext(ctx, x.ended(), user).Scan(&noted, &since)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		at, ago = time.UnixMicro(noted), max(0, time.Duration(since-1)*time.Microsecond) // both were rounded
		return err
	})
	return at, ago, err
}

// deleteExpiredNotes deletes, in batches, what is noted no longer.
func (s *Store) deleteExpiredNotes(ctx context.Context) error {
	if s.users.index.Load() == nil {
		return nil
	}
	for n := int64(s.batch); n == int64(s.batch); {
		if err := s.indexed(ctx, "clean-up", func(ctx context.Context, x *usersIndex) error {
			result, err := s.db.ExecContext(ctx, x.cleanUp(), s.batch)
			if err != nil {
				return err
			}
			n, err = result.RowsAffected()
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}
