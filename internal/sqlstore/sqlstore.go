// Package sqlstore has what the stores on database/sql have in common.
package sqlstore

import (
	"context"
	"database/sql"
	"log/slog"
	"math/rand/v2"
	"time"
)

// Do runs fn, one statement or transaction, within the store's limits, as the operation
// op names it in errors.
type Do func(ctx context.Context, op string, fn func(context.Context) error) error

// Page runs a statement that takes a token and a number of rows, and returns that many
// tokens and data, in the order of the tokens, from the token on.
type Page func(ctx context.Context, args ...any) (*sql.Rows, error)

// Range calls fn for each record that page returns, in no particular order, and stops at
// its first error. No connection is held while fn runs.
func Range(ctx context.Context, do Do, page Page, size int, fn func(token string, data []byte) error) error {
	type record struct {
		token string
		data  []byte
	}
	records := make([]record, 0, size)
	last := ""
	for first := true; first || len(records) == size; first = false {
		err := do(ctx, "range", func(ctx context.Context) error {
			records = records[:0]
			rows, err := page(ctx, last, size)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var r record
				if err := rows.Scan(&r.token, &r.data); err != nil {
					return err
				}
				records = append(records, r)
			}
			return rows.Err()
		})
		if err != nil {
			return err
		}
		for _, r := range records {
			// A page begins with the last record of the previous one.
			if !first && r.token == last {
				continue
			}
			if err := fn(r.token, r.data); err != nil {
				return err
			}
		}
		if len(records) > 0 {
			last = records[len(records)-1].token
		}
	}
	return nil
}

// All returns the records that a store's Range lists, by token.
func All(ctx context.Context, list func(context.Context, func(token string, data []byte) error) error) (map[string][]byte, error) {
	all := make(map[string][]byte)
	err := list(ctx, func(token string, data []byte) error {
		all[token] = data
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// CleanUp deletes expired sessions periodically until ctx ends. Each pause is random, from
// 0.5 to 1.5 times the interval, so that instances don't run at once.
func CleanUp(ctx context.Context, interval time.Duration, logger *slog.Logger, table string, deleteExpired func(context.Context) (int64, error)) {
	timer := time.NewTimer(jitter(interval))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		deleted, err := deleteExpired(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			logger.Error("clean-up of expired sessions failed", "table", table, "error", err)
		case deleted > 0:
			logger.Debug("expired sessions deleted", "table", table, "count", deleted)
		}
		timer.Reset(jitter(interval))
	}
}

func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) }
