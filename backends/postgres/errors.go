package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/lib/pq"
)

// The SQLSTATEs that a store handles.
const (
	codeSerializationFailure = "40001"
	codeDeadlockDetected     = "40P01"
	codeUniqueViolation      = "23505"
	codeDuplicateTable       = "42P07"
	codeDuplicateObject      = "42710"
	codeInvalidSchemaName    = "3F000"

	codeInsufficientPrivilege = "42501"
)

// outdated reports whether the server's code can be due to a change of the table after
// its statements were made.
func outdated(code string) bool {
	const (
		planChanged   = "0A000" // cached plan must not change result type
		noSuchName    = "26000" // a named statement is gone
		notNull       = "23502" // perhaps a new column
		names         = "42"    // tables, columns, types and operators
		lengthOfClass = 2
	)
	switch code {
	case planChanged, noSuchName, notNull:
		return true
	case "", codeInsufficientPrivilege:
		return false
	}
	return code[:lengthOfClass] == names
}

// sqlState returns the server's code for err, or "".
func sqlState(err error) string {
	var state interface{ SQLState() string }
	if errors.As(err, &state) {
		return state.SQLState()
	}
	return ""
}

// clean returns an error without session data, so that it can be logged. If ctx has
// ended, it returns ctx's error, because the driver reports only the server's answer
// to the cancellation.
func clean(ctx context.Context, err error) error {
	if ctxErr := ctx.Err(); ctxErr != nil {
		return ctxErr
	}
	var pqErr *pq.Error
	if errors.As(err, &pqErr) {
		// These may contain the row's key and parts of its data.
		pqErr.Detail, pqErr.Where = "", ""
	}
	return err
}

// dsnError describes what is wrong with a DSN. It quotes none of the DSN's values, as
// any of them may be part of an unescaped password.
func dsnError(err error) error {
	text, ok := strings.CutPrefix(err.Error(), "pq: ")
	if !ok {
		return errors.New("postgres: open: the DSN is neither a URL, postgres://user:password@host:port/database, nor key=value pairs; " +
			"special characters of a password must be percent-encoded in the one and quoted in the other")
	}
	text, _, _ = strings.Cut(text, ": ")
	return fmt.Errorf("postgres: open: DSN: %s", text)
}
