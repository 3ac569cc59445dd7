package adapter

import "errors"

// ErrGone is returned by Save, Touch, Reload, Commit and MergeSession when the session
// was ended (by a logout, its expiry or an operator) after this request loaded it, or was
// unset by it.
var ErrGone = errors.New("session: the session has ended")

// ErrResponseBegun is returned by Regenerate, RenewToken, MergeSession, and by Save and
// Commit of a new session, when the cookie could no longer be sent. The session is
// left as it was.
var ErrResponseBegun = errors.New("session: the response has begun, so a new session id can't be sent")

// ErrOutsidePath is returned by Save, Commit, Regenerate, RenewToken and MergeSession for
// a request outside Options.Cookie.Path, whose session is never saved: a login
// there must not look as if it had worked.
var ErrOutsidePath = errors.New("session: the request's path is outside the cookie's, so its session can't be saved")

// ErrRecordTooLarge is returned by Save and Commit, and given to ErrorFunc at the
// end of a request, when the session has more bytes than Options.MaxRecordSize.
// What the store has is left as it was.
var ErrRecordTooLarge = errors.New("session: the session is too large to be saved")

// ErrUserEnded is returned by Save and Commit, and given to ErrorFunc at the end of a request,
// when DestroyUser has ended all sessions of a user while the request signed that user in.
// RespondError answers 401.
var ErrUserEnded = errors.New("session: all sessions of the user were ended while this request signed in")

// ErrNoUserPath is returned by IterateUser, DestroyUser, DestroyOthers and DestroyHandle of a
// Manager without Options.UserPath.
var ErrNoUserPath = errors.New("session: Options.UserPath is not set, so that the sessions of a user can't be found")

// ErrNoValue is returned by Get for a key that the session does not have.
var ErrNoValue = errors.New("session: no such key")

// errTaken is that of a new session whose id has a record.
var errTaken = errors.New("session: save: there is a session with the id of this new one: GenID must never return an id twice")

// StoreError is the failure of a store, as ErrorFunc and the Manager's methods
// see it. The session's state is unknown, so the request must not go on as if
// nobody were signed in.
type StoreError struct {
	Op  string // find, save, touch or delete
	Err error
}

// Error returns the operation and the store's own error.
func (e *StoreError) Error() string { return "session: " + e.Op + ": " + e.Err.Error() }

// Unwrap returns the store's own error.
func (e *StoreError) Unwrap() error { return e.Err }

// storeError is a *StoreError, or nil for a nil error.
func storeError(op string, err error) error {
	if err == nil {
		return nil
	}
	return &StoreError{Op: op, Err: err}
}
