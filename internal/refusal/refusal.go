// Package refusal builds the errors of Validate methods, which name every invalid field
// and the fix. The fields can be read from the error, so that a loader of configuration
// files need not parse its text.
package refusal

import (
	"errors"
	"fmt"
	"strings"
)

// Error rejects a field, or fields that contradict each other.
type Error struct {
	Package string   // "adapter"
	Fields  []string // such as "Options.Cookie.MaxAge"; the most likely culprit is the first. A small letter begins an argument, such as "url"
	Reason  string   // what is wrong, and the fix; it holds no secret
	Cause   error    // the error that Reason quotes, or nil
}

// Error returns the text "package: Options.Field and Options.Other: reason".
func (e *Error) Error() string {
	return e.Package + ": " + strings.Join(e.Fields, " and ") + ": " + e.Reason
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// List collects refusals. A List without refusals is no error.
type List struct {
	Package string // of each error
	Struct  string // the type that has the fields: "Options"
	errs    []error
}

// Add rejects the fields, which are separated by spaces and named without the type:
// "Cookie.MaxAge TTL". A name that begins with a small letter is that of an argument.
// The format and args give the reason, as for fmt.Errorf. The operand of %w is the
// cause, which errors.Is and errors.As find.
func (l *List) Add(fields, format string, args ...any) {
	names := strings.Fields(fields)
	for i := range names {
		if first := names[i][0]; first < 'a' || first > 'z' {
			names[i] = l.Struct + "." + names[i]
		}
	}
	reason := fmt.Errorf(format, args...)
	cause := errors.Unwrap(reason)
	if _, several := reason.(interface{ Unwrap() []error }); several {
		cause = reason
	}
	l.errs = append(l.errs, &Error{l.Package, names, reason.Error(), cause})
}

// Err returns the refusals, joined as by errors.Join, or nil if there are none.
func (l *List) Err() error { return errors.Join(l.errs...) }
