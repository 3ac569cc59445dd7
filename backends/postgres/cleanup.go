package postgres

import (
	"context"
	"database/sql"
	"math/rand/v2"
	"time"
)

// cleanupBatch keeps each statement short, so that it blocks nobody for long.
const cleanupBatch = 1000

// runCleanup deletes expired sessions periodically until ctx ends.
func (s *Store) runCleanup(ctx context.Context, interval time.Duration) {
	defer close(s.cleanupDone)
	timer := time.NewTimer(jitter(interval))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		deleted, err := s.deleteExpired(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.logger.Error("clean-up of expired sessions failed", "table", s.table.q, "error", err)
		case deleted > 0:
			s.logger.Debug("expired sessions deleted", "table", s.table.q, "count", deleted)
		}
		timer.Reset(jitter(interval))
	}
}

// deleteExpired deletes expired sessions in batches, oldest first, until a batch is
// not full. It skips rows that another transaction, such as another instance's
// clean-up, has locked, so that neither waits for the other.
//
// Each batch begins where the last one ended. During a long transaction, such as a
// backup, the index keeps all deleted rows, and scanning them again for each batch
// would take quadratic time.
func (s *Store) deleteExpired(ctx context.Context) (deleted int64, err error) {
	from := "-infinity"
	for {
		var n int64
		var last sql.NullString
		if _, err := s.row(ctx, "clean-up", s.stmts.deleteExpired, []any{s.batch, from}, &n, &last); err != nil {
			return deleted, err
		}
		deleted += n
		if n < int64(s.batch) {
			return deleted, nil
		}
		from = last.String
	}
}

// jitter returns half to one and a half of d, as connect-pg-simple does.
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d)
}
