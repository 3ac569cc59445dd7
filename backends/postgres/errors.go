package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

	"github.com/samesid/samesid/backends/contract"
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

const (
	planChanged = "0A000" // cached plan must not change result type
	noSuchName  = "26000" // a named statement is gone
)

// outdated reports whether the server's code can be due to a change of the table after
// its statements were made.
func outdated(code string) bool {
	const (
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

// clean returns the error of a statement without session data, so that it can be logged.
// If ctx has ended, it returns ctx's error, because the driver reports only the server's
// answer to the cancellation.
func clean(ctx context.Context, err error) error {
	if ctxErr := ctx.Err(); ctxErr != nil {
		return ctxErr
	}
	var pqErr *pq.Error
	if errors.As(err, &pqErr) {
		return newServerError(pqErr)
	}
	return err
}

// cleanStart is clean for statements that contain nothing of a session, whose errors keep
// the server's message.
func cleanStart(ctx context.Context, err error) error {
	if ctxErr := ctx.Err(); ctxErr != nil {
		return ctxErr
	}
	var pqErr *pq.Error
	if errors.As(err, &pqErr) {
		return &serverError{code: pqErr.Code, text: pqErr.Error()}
	}
	return err
}

// serverError is an error of the server that holds no value of a session.
type serverError struct {
	code pqerror.Code
	text string
}

func (e *serverError) Error() string    { return e.text }
func (e *serverError) SQLState() string { return string(e.code) }

// Is reports whether the server refuses the record, and would refuse it again.
func (e *serverError) Is(target error) bool {
	if target != contract.ErrRejected {
		return false
	}
	switch e.code.Class() {
	case pqerror.ClassDataException, pqerror.ClassIntegrityConstraintViolation, pqerror.ClassWithCheckOptionViolation,
		pqerror.ClassProgramLimitExceeded, pqerror.ClassPLpgSQLError, pqerror.ClassTriggeredDataChangeViolation,
		pqerror.ClassTriggeredActionException, pqerror.ClassSQLRoutineException, pqerror.ClassExternalRoutineException,
		pqerror.ClassExternalRoutineInvocationException:
		return true
	}
	return false
}

// newServerError returns e without what may be a value. Any message may be: an expression
// of an index or a generated column fails with the value, and a trigger says what it likes,
// under any code. It is trusted where the server itself has made it of names: while it
// parsed the statement, which holds no values, and for its own state. What a trigger
// raises has a context.
func newServerError(e *pq.Error) *serverError {
	own := e.Where == "" && e.InternalQuery == ""
	parsing := e.Position != "" && e.Code.Class() == pqerror.ClassSyntaxErrorOrAccessRuleViolation
	state := false
	switch e.Code.Class() {
	case pqerror.ClassConnectionException, pqerror.ClassTransactionRollback, pqerror.ClassInsufficientResources,
		pqerror.ClassObjectNotInPrerequisiteState, pqerror.ClassOperatorIntervention, pqerror.ClassInvalidTransactionState:
		state = true
	}
	if own && (parsing || state) {
		return &serverError{e.Code, e.Error()}
	}
	text := "pq: " + cmp.Or(strings.ReplaceAll(e.Code.Name(), "_", " "), "error")
	if own {
		for _, n := range []struct{ what, name string }{
			{"constraint", e.Constraint}, {"column", e.Column}, {"type", e.DataTypeName},
		} {
			if n.name != "" {
				text += ", " + n.what + " " + pq.QuoteIdentifier(n.name)
			}
		}
	} else {
		text += ", in a trigger or function"
	}
	return &serverError{e.Code, text + " (" + string(e.Code) + ")"}
}

// errUnreadable is the error of a DSN that can't be taken apart.
var errUnreadable = errors.New("postgres: open: the DSN is neither a URL, postgres://user:password@host:port/database, nor key=value pairs; " +
	"special characters of a password must be percent-encoded in the one and quoted in the other")

// dsnError describes what is wrong with a DSN. It quotes none of the DSN's values, as
// any of them may be part of an unescaped password.
func dsnError(err error) error {
	text, ok := strings.CutPrefix(err.Error(), "pq: ")
	if !ok {
		return errUnreadable
	}
	text, _, _ = strings.Cut(text, ": ")
	return fmt.Errorf("postgres: open: DSN: %s", text)
}
