package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// cleanupBatch rows are deleted in a few milliseconds, for which others wait.
const cleanupBatch = 200

// Prune deletes the expired sessions now, and returns how many there were. The store does
// so by itself every CleanupInterval; Prune is for a job in its place, or after many have
// expired.
func (s *Store) Prune(ctx context.Context) (deleted int64, err error) {
	deleted, err = s.deleteExpired(ctx)
	return deleted, errors.Join(err, s.deleteExpiredNotes(ctx))
}

// deleteExpired deletes expired sessions in batches, until a batch is not full. It
// searches for them without the write lock, and pauses after each batch for as long as
// it has taken, so that other processes get the lock.
func (s *Store) deleteExpired(ctx context.Context) (deleted int64, err error) {
	args := []any{s.batch}
	if !s.indexed {
		args = []any{"", s.batch}
	}
	for {
		start := time.Now()
		tokens, err := s.tokens(ctx, s.stmts.expiredPage, args)
		if err != nil || len(tokens) == 0 {
			return deleted, err
		}
		var n int64
		err = s.write(ctx, "clean-up", func(ctx context.Context, tx *sql.Tx) (bool, error) {
			n = 0
			for _, token := range tokens {
				changed, err := s.changed(ctx, tx, s.stmts.deleteExpired, token)
				if err != nil {
					return false, err
				}
				if changed {
					n++
				}
			}
			return true, nil
		})
		if err != nil {
			return deleted, err
		}
		deleted += n
		if len(tokens) < s.batch || n == 0 {
			return deleted, nil
		}
		if !s.indexed {
			args[0] = tokens[len(tokens)-1]
		}
		select {
		case <-ctx.Done():
			return deleted, s.explain(ctx, "clean-up", ctx.Err())
		case <-time.After(time.Since(start)):
		}
	}
}

func (s *Store) tokens(ctx context.Context, stmt *sql.Stmt, args []any) (list []string, err error) {
	err = s.do(ctx, "clean-up", func(ctx context.Context) error {
		list = list[:0]
		rows, err := stmt.QueryContext(ctx, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var token string
			if err := rows.Scan(&token); err != nil {
				return err
			}
			list = append(list, token)
		}
		return rows.Err()
	})
	return list, err
}
