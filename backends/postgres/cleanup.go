package postgres

import (
	"context"
	"database/sql"
)

// cleanupBatch keeps each statement short, so that it blocks nobody for long.
const cleanupBatch = 1000

// Prune deletes the expired sessions now, and returns how many there were. The store does
// so by itself every CleanupInterval; Prune is for a job in its place, or after many have
// expired. It deletes batches, oldest first, until one is not full, and skips rows that
// another transaction, such as another instance's clean-up, has locked, so that neither
// waits for the other.
//
// Each batch begins where the last one ended. During a long transaction, such as a
// backup, the index keeps all deleted rows, and scanning them again for each batch
// would take quadratic time.
func (s *Store) Prune(ctx context.Context) (deleted int64, err error) {
	from := "-infinity"
	for {
		var n int64
		var last sql.NullString
		if _, err := s.row(ctx, "clean-up", sqlDeleteExpired, []any{s.batch, from}, &n, &last); err != nil {
			return deleted, err
		}
		deleted += n
		if n < int64(s.batch) {
			return deleted, s.deleteExpiredNotes(ctx)
		}
		from = last.String
	}
}
