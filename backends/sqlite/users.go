package sqlite

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// usersIndex is how the sessions of a user are found.
type usersIndex struct {
	path []string
	// value is the SQL of the user in a record; "" in a layout that has no JSON.
	value string
	// lists is the table of what was noted: the tokens of users, in such a layout, and when
	// the sessions of users were ended, with no token.
	lists string
}

// IndexUsers implements contract.UserIndex. In the connect-* layouts it looks into the
// records, by an index over the user's id, which needs SQLite's JSON functions in each
// program that writes to the table, Node's too. In scs's it keeps lists in a table beside,
// which also has when the sessions of a user were ended. With Options.CreateTable, it
// creates what is missing.
func (s *Store) IndexUsers(ctx context.Context, path []string) (looks bool, err error) {
	const op = "index users"
	if was := s.users.Load(); was != nil && !slices.Equal(was.path, path) {
		return false, fmt.Errorf("sqlite: %s: this store already finds users under %s: Managers on one store need the same path", op, strings.Join(was.path, "."))
	}
	x, err := s.table.users(path)
	if err != nil {
		return false, fmt.Errorf("sqlite: %s: %w", op, err)
	}
	err = s.do(ctx, op, func(ctx context.Context) error {
		missing, err := s.usersMissing(ctx, x)
		if err == nil && s.createTable {
			for _, text := range missing {
				if _, err := s.writer.ExecContext(ctx, text); err != nil {
					return err
				}
			}
			missing, err = s.usersMissing(ctx, x)
		}
		if err == nil && len(missing) > 0 {
			err = fmt.Errorf("the index of users is missing; set Options.CreateTable, or run:\n\n%s;", strings.Join(missing, ";\n"))
		}
		return err
	})
	if err != nil {
		return false, err
	}
	s.users.Store(x)
	return x.value != "", nil
}

// usersMissing returns the SQL of what is not there. Each statement is atomic, so that
// other processes may do the same.
func (s *Store) usersMissing(ctx context.Context, x *usersIndex) (missing []string, err error) {
	var n int
	err = s.writer.QueryRowContext(ctx, "SELECT count(*) FROM pragma_table_list WHERE schema = 'main' AND name = ? COLLATE NOCASE", s.table.table+"_users").Scan(&n)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		missing = append(missing, s.table.createLists(x)...)
	} else if err := s.writer.QueryRowContext(ctx, "SELECT count(*) FROM "+x.lists+" WHERE user_id = '' AND token = '' AND noted + until < 0").Scan(&n); err != nil {
		return nil, err
	}
	if x.value == "" {
		return missing, nil
	}
	indexed := false
	err = each(ctx, s.writer, "EXPLAIN QUERY PLAN "+s.userTokens(x), []any{"x"}, func(scan func(...any) error) error {
		var id, parent, unused int
		var detail string
		err := scan(&id, &parent, &unused, &detail)
		indexed = indexed || strings.HasPrefix(detail, "SEARCH ")
		return err
	})
	if err != nil {
		return nil, err
	}
	if !indexed {
		missing = append(missing, s.table.createUserIndex(x))
	}
	return missing, nil
}

// users returns the index for a path, which is not there yet.
func (t table) users(path []string) (*usersIndex, error) {
	if strings.ContainsAny(strings.Join(path, ""), `"\`) {
		return nil, errors.New(`a key has a " or a \, which SQLite's paths can't have`)
	}
	x := &usersIndex{path: slices.Clone(path), lists: quote(t.table + "_users")}
	if t.Express {
		x.value = fmt.Sprintf(`CASE WHEN typeof(%[1]s) = 'text' AND json_valid(%[1]s) THEN substr(CAST(json_extract(%[1]s, '$."%[2]s"') AS TEXT), 1, 256) END`,
			t.qData, strings.ReplaceAll(strings.Join(path, `"."`), "'", "''"))
	}
	return x, nil
}

// createLists returns the SQL of the table beside.
func (t table) createLists(x *usersIndex) []string {
	return []string{
		"CREATE TABLE IF NOT EXISTS " + x.lists + " (\n  user_id TEXT NOT NULL,\n  token TEXT NOT NULL,\n  noted INTEGER NOT NULL,\n  until INTEGER NOT NULL,\n  PRIMARY KEY (user_id, token)\n) WITHOUT ROWID",
		fmt.Sprintf("CREATE INDEX IF NOT EXISTS %s ON %s (until)", quote(t.table+"_users_until"), x.lists),
	}
}

// createUserIndex returns the SQL of the index over x.value.
func (t table) createUserIndex(x *usersIndex) string {
	name := fmt.Sprintf("%s_user_%.8x", t.table, sha256.Sum256([]byte(strings.Join(x.path, "\x00"))))
	return fmt.Sprintf("CREATE INDEX IF NOT EXISTS %s ON %s (%s)", quote(name), t.q, x.value)
}

func (s *Store) userTokens(x *usersIndex) string {
	if x.value != "" {
		return s.table.sql("SELECT {id} FROM {table} WHERE " + x.value + " = ? AND {live}")
	}
	return "SELECT token FROM " + x.lists + " WHERE user_id = ? AND token <> '' AND until > " + nowMillis
}

// withUsers runs fn with the index of users.
func (s *Store) withUsers(ctx context.Context, op string, fn func(ctx context.Context, x *usersIndex) error) error {
	x := s.users.Load()
	if x == nil {
		return fmt.Errorf("sqlite: %s: IndexUsers has not been called", op)
	}
	return s.do(ctx, op, func(ctx context.Context) error { return fn(ctx, x) })
}

// NoteUser implements contract.UserIndex.
func (s *Store) NoteUser(ctx context.Context, user, token string, ttl time.Duration) error {
	return s.withUsers(ctx, "note user", func(ctx context.Context, x *usersIndex) error {
		if x.value != "" {
			return nil
		}
		_, err := s.writer.ExecContext(ctx, "INSERT INTO "+x.lists+" (user_id, token, noted, until) VALUES (?, ?, "+nowMillis+", "+nowMillis+" + ?) "+
			"ON CONFLICT (user_id, token) DO UPDATE SET noted = excluded.noted, until = max(until, excluded.until)", user, token, ttl.Milliseconds())
		return err
	})
}

// ForgetUser implements contract.UserIndex.
func (s *Store) ForgetUser(ctx context.Context, user, token string, age time.Duration) error {
	return s.withUsers(ctx, "forget user", func(ctx context.Context, x *usersIndex) error {
		if x.value != "" {
			return nil
		}
		_, err := s.writer.ExecContext(ctx, "DELETE FROM "+x.lists+" WHERE user_id = ? AND token = ? AND noted <= "+nowMillis+" - ?", user, token, age.Milliseconds())
		return err
	})
}

// UserTokens implements contract.UserIndex.
func (s *Store) UserTokens(ctx context.Context, user string) (tokens []string, err error) {
	err = s.withUsers(ctx, "user tokens", func(ctx context.Context, x *usersIndex) error {
		tokens = nil
		return each(ctx, s.reader, s.userTokens(x), []any{user}, func(scan func(...any) error) error {
			var token string
			err := scan(&token)
			tokens = append(tokens, token)
			return err
		})
	})
	return tokens, err
}

// EndUser implements contract.UserIndex.
func (s *Store) EndUser(ctx context.Context, user string, ttl time.Duration) (at time.Time, err error) {
	err = s.withUsers(ctx, "end user", func(ctx context.Context, x *usersIndex) error {
		var millis int64
		err := s.writer.QueryRowContext(ctx, "INSERT INTO "+x.lists+" (user_id, token, noted, until) VALUES (?, '', "+nowMillis+", "+nowMillis+" + ?) "+
			"ON CONFLICT (user_id, token) DO UPDATE SET until = max(until, excluded.until), "+
			"noted = CASE WHEN noted BETWEEN excluded.noted AND excluded.noted + 1000 THEN noted + 1 ELSE excluded.noted END "+
			"RETURNING noted", user, ttl.Milliseconds()).Scan(&millis)
		at = time.UnixMilli(millis)
		return err
	})
	return at, err
}

// UserEnded implements contract.UserIndex.
func (s *Store) UserEnded(ctx context.Context, user string) (at time.Time, ago time.Duration, err error) {
	err = s.withUsers(ctx, "user ended", func(ctx context.Context, x *usersIndex) error {
		var noted, since int64
		err := s.reader.QueryRowContext(ctx, "SELECT noted, "+nowMillis+" - noted FROM "+x.lists+" WHERE user_id = ? AND token = '' AND until > "+nowMillis, user).Scan(&noted, &since)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		at, ago = time.UnixMilli(noted), max(0, time.Duration(since-1)*time.Millisecond) // both were rounded
		return err
	})
	return at, ago, err
}

// deleteExpiredNotes deletes, in batches, what is noted no longer.
func (s *Store) deleteExpiredNotes(ctx context.Context) error {
	if s.users.Load() == nil {
		return nil
	}
	for n := int64(s.batch); n == int64(s.batch); {
		if err := s.withUsers(ctx, "clean-up", func(ctx context.Context, x *usersIndex) error {
			result, err := s.writer.ExecContext(ctx, "DELETE FROM "+x.lists+" WHERE (user_id, token) IN (SELECT user_id, token FROM "+x.lists+" WHERE until <= "+nowMillis+" LIMIT ?)", s.batch)
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
