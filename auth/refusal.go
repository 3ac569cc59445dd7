package auth

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/samesid/samesid/adapter"
)

// The reasons of a Refusal, and the errors of Attempt and User. They are found with
// errors.Is.
var (
	// ErrInvalid is the error that a Verifier must return, or wrap, both for an
	// unknown user and for a wrong password. It is also that of empty credentials.
	ErrInvalid = errors.New("auth: unknown user or wrong password")

	// ErrCrossOrigin is a login or a logout that another origin has sent, or a logout that
	// the user did not ask for, such as an image's.
	ErrCrossOrigin = errors.New("auth: cross-origin request")

	// ErrMalformed is a login that can't be read.
	ErrMalformed = errors.New("auth: malformed login")

	// ErrNotSignedIn is a session, or none, in which nobody is signed in.
	ErrNotSignedIn = errors.New("auth: nobody is signed in")

	// ErrStale is a user who gave their credentials longer ago than Fresh admits.
	ErrStale = errors.New("auth: the user signed in too long ago")

	// ErrMethod is a user who has not signed in with a method that Fresh asks for.
	ErrMethod = errors.New("auth: the user has not signed in with the method that is asked for")
)

// TooManyError is a login that was not verified, as too many went before it. It is found
// with errors.As, as a *TooManyError.
type TooManyError struct {
	RetryAfter time.Duration // until the next attempt; always positive
}

// Error names the time to wait.
func (e *TooManyError) Error() string {
	return fmt.Sprintf("auth: too many attempts; the next is possible in %v", e.RetryAfter)
}

// seconds returns the time to wait, rounded up.
func (e *TooManyError) seconds() string {
	return strconv.FormatInt(int64((e.RetryAfter+time.Second-1)/time.Second), 10)
}

// A Refusal is a request that is refused.
type Refusal struct {
	// Reason is, or wraps, one of this package's errors, or is a *TooManyError. In a login,
	// any other error is the Verifier's own.
	Reason error

	// Status is the HTTP status of the answer to a program.
	Status int

	// Username is the name in a login, as it was typed, and "" elsewhere or if it was not
	// read. People type passwords there by mistake.
	Username string
}

// refuse answers a request that is refused. page is where a browser is redirected to, ""
// for nowhere. All that is refused comes here.
func (a *core) refuse(w http.ResponseWriter, r *http.Request, why Refusal, page string) {
	var message string
	var tooMany *TooManyError
	var bad *badLogin
	switch {
	case errors.As(why.Reason, &tooMany):
		why.Status, message = http.StatusTooManyRequests, textTooMany
	case errors.As(why.Reason, &bad):
		why.Status, message = bad.status, bad.message
	case errors.Is(why.Reason, ErrCrossOrigin):
		why.Status, message = http.StatusForbidden, textCrossSite
	case errors.Is(why.Reason, ErrTooManySessions):
		why.Status, message = http.StatusForbidden, textTooManySessions
	case errors.Is(why.Reason, ErrInvalid), errors.Is(why.Reason, ErrNotSignedIn), errors.Is(why.Reason, adapter.ErrUserEnded):
		why.Status, message = http.StatusUnauthorized, textInvalid
	case errors.Is(why.Reason, ErrStale), errors.Is(why.Reason, ErrMethod), errors.Is(why.Reason, ErrUnproven):
		why.Status, message = http.StatusUnauthorized, textStale
	default:
		why.Status, message = http.StatusInternalServerError, http.StatusText(http.StatusInternalServerError)
	}
	if a.opts.Refused != nil && a.opts.Refused(w, r, why) {
		return
	}
	if page != "" {
		redirect(w, page)
		return
	}
	if tooMany != nil {
		w.Header().Set("Retry-After", tooMany.seconds())
	}
	respond(w, why.Status, message)
}
