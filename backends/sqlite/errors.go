package sqlite

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/samesid/samesid/backends/contract"
)

// faults are SQLite's own texts for what an operator can mend. Each driver adds
// something to them, and has an error type of its own.
var faults = []struct{ text, fix string }{
	{"database or disk is full", "the disk is full; free some space"},
	{"attempt to write a readonly database", "the file can't be written; let this process's user write to it and to its folder, where SQLite keeps two more files"},
	{"unable to open database file", "the file can't be opened; let this process's user write to it and to its folder, where SQLite keeps two more files"},
	{"file is not a database", "the file is no SQLite database, or an encrypted one; give the path of another file, or move this one away"},
	{"malformed", "the file is corrupt; stop all processes that use it, and restore a copy, or save what is left with the .recover command of the program sqlite3"},
	{"disk I/O error", "the disk has failed; see the operating system's log"},
}

// refused are SQLite's texts for a record that the table or the library does not take.
var refused = []string{"constraint failed", "string or blob too big", "malformed JSON"}

// isLocked reports whether a statement was not run because another connection holds a
// lock.
func isLocked(err error) bool {
	return strings.Contains(err.Error(), "database is locked") || strings.Contains(err.Error(), "database table is locked")
}

// explain returns the error of a call, with what an operator can do about it. SQLite's
// own errors hold no ids and no data.
func (s *Store) explain(ctx context.Context, op string, err error) error {
	ctxErr := ctx.Err()
	switch {
	case ctxErr != nil && isLocked(err):
		return fmt.Errorf("sqlite: %s: another connection holds the write lock of %s: %w", op, s.path, ctxErr)
	case ctxErr != nil && (errors.Is(err, ctxErr) || strings.Contains(err.Error(), "interrupt")):
		return fmt.Errorf("sqlite: %s: %w", op, ctxErr)
	}
	for _, text := range refused {
		if strings.Contains(err.Error(), text) {
			return fmt.Errorf("sqlite: %s: %w: %w", op, contract.ErrRejected, err)
		}
	}
	for _, f := range faults {
		if strings.Contains(err.Error(), f.text) {
			return fmt.Errorf("sqlite: %s: %s: %s: %w", op, s.path, f.fix, err)
		}
	}
	return fmt.Errorf("sqlite: %s: %w", op, err)
}
