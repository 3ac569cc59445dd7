package postgres

import (
	"context"
	"database/sql"
	"math/rand/v2"
	"time"
)

// cleanupBatch is small enough for a statement that holds nobody up.
const cleanupBatch = 1000

// runCleanup deletes expired sessions now and then until ctx ends.
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

// deleteExpired deletes in batches, the oldest first, until there is no full one
// left. Rows that somebody else has locked, such as another instance's clean-up,
// are left to them, so that nobody waits for anybody.
//
// Each batch begins where the last one ended: beside a long transaction, such as
// a backup, the index still has all that was deleted, and to pass it each time
// would take time that grows with the square of its number.
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
