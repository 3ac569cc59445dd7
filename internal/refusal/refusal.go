// Package refusal collects what is wrong with options, so that one error names every
// field that can't be used, and the fix.
package refusal

import (
	"errors"
	"fmt"
	"strings"
)

// Error is the refusal of a field, or of fields that contradict each other.
type Error struct {
	Package string   // "adapter"
	Fields  []string // "Options.Cookie.MaxAge", the one to look at first
	Reason  string   // what is wrong, and the fix; it holds no secret
	Cause   error    // what Reason quotes; nil if nothing
}

// Error returns "package: Field and Other.Field: reason".
func (e *Error) Error() string {
	return e.Package + ": " + strings.Join(e.Fields, " and ") + ": " + e.Reason
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// List collects refusals. Its zero value is usable.
type List struct {
	Package string // of each error
	Struct  string // the type that has the fields: "Options"
	errs    []error
}

// Add refuses the fields, which are separated by spaces and named without the
// type: "Cookie.MaxAge TTL". The format and what follows give the reason; %w is the
// cause.
func (l *List) Add(fields, format string, args ...any) {
	names := strings.Fields(fields)
	for i := range names {
		names[i] = l.Struct + "." + names[i]
	}
	reason := fmt.Errorf(format, args...)
	l.errs = append(l.errs, &Error{l.Package, names, reason.Error(), errors.Unwrap(reason)})
}

// Err joins the refusals; it is nil if there are none.
func (l *List) Err() error { return errors.Join(l.errs...) }
