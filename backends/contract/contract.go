// Package contract defines the optional methods of a session store, beyond scs.Store,
// as interfaces with one method each. Package adapter uses those that a store has,
// and otherwise falls back as each comment says. Package backends/storetest tests them.
//
// Three rules hold for all of them. A record whose expiry has passed is absent. The
// caller owns the byte slices that a store returns, and a store keeps none that it
// was given. After an error the write may or may not have happened, but a store never
// reports a write that it did not make.
package contract

import (
	"context"
	"errors"
	"time"

	"github.com/alexedwards/scs/v2"
)

// ErrRejected must be wrapped by the error of a write that the store refuses because of
// the record or its token: it would be refused again, however often it was tried. It is
// the application's mistake, and no failure of the store.
var ErrRejected = errors.New("the store can't hold this record")

// FindToucher reads a record and sets its expiry in one round trip.
//
// Without it, a read is a Find, and the expiry is set before the response.
type FindToucher interface {
	FindTouch(ctx context.Context, token string, expiry time.Time) (data []byte, found bool, err error)
}

// FindExpirer reads a record and its stored expiry in one round trip.
//
// Without it, adapter.Options.TouchAfter has no effect: every request touches.
type FindExpirer interface {
	FindExpiry(ctx context.Context, token string) (data []byte, expiry time.Time, found bool, err error)
}

// Swapper writes a record only if the store still holds the bytes that the caller
// knows (compare-and-set). It makes a logout final, and lets two concurrent updates
// both take effect.
//
//   - old nil: write only if there is no such record.
//   - new nil: delete, if the record is still old; expiry is ignored.
//   - new equal to old: set the expiry, if the record is still old. The store need
//     neither write the body again nor wait for its disk.
//   - otherwise: replace old with new, and set the expiry.
//
// When swapped is false, nothing was written, and current holds the record's present
// bytes, or nil if the record is gone. A record of no bytes is an empty slice, not nil.
//
// Without it, the Manager reads, compares and commits under a lock of its own. That is
// safe within one process, but leaves a short race between processes.
type Swapper interface {
	Swap(ctx context.Context, token string, old, new []byte, expiry time.Time) (current []byte, swapped bool, err error)
}

// Record is a stored record as the caller knows it. Data is not nil.
type Record struct {
	Token string
	Data  []byte
}

// Mover atomically replaces several records by one, only if each of them is still
// what the caller knows. The Manager uses it to give a session a new id, to merge two
// sessions, and to store a session under the hash of its id. A failure loses no session.
//
// from holds at least one record, and no token twice. to must be one of their tokens,
// or a token that has no record. When moved is true, to holds data until expiry, and
// the other tokens of from have no record.
//
// When moved is false, nothing was written, and current holds the present bytes of
// each of from, or nil if its record is gone. If all of them are what the caller knew,
// to already had a record.
//
// A store that can't move these tokens atomically, because they are on different
// nodes, say, writes nothing and returns an error that wraps errors.ErrUnsupported.
//
// Without it, the Manager writes the new record and then deletes the old ones, in
// separate steps.
type Mover interface {
	Move(ctx context.Context, from []Record, to string, data []byte, expiry time.Time) (current [][]byte, moved bool, err error)
}

// Ranger calls fn for each live record, in no particular order. It reads pages of
// bounded size, so that listing a large store needs little memory. It stops at fn's
// first error and returns it. fn may call the store.
//
// Without it, Iterate uses AllCtx or All, which hold every record at once.
type Ranger interface {
	Range(ctx context.Context, fn func(token string, data []byte) error) error
}

// JSONRecorder is implemented by a store whose records Express can also read. When
// JSONRecords returns true, adapter.JSONCodec is the default, and adapter.New rejects
// any other codec.
type JSONRecorder interface {
	JSONRecords() bool
}

// UserIndex finds the sessions of one user without reading those of all others. A user is
// the text of an id: 1 to 256 bytes of UTF-8 without control characters.
//
// There are two kinds. One looks into its records: what it finds is right by itself, and
// has what other programs have written. The other keeps lists beside them, of what the
// Manager notes before it writes: a list may have a token that has no record, or that of
// another user, and lacks none, but for those that only other programs have seen.
//
// EndUser and UserEnded let a login find out that all sessions of its user were ended
// while it was under way. They go by the store's own clock.
//
// Without it, the Manager reads all sessions to find those of a user, and a login that is
// under way in another process is missed.
type UserIndex interface {
	// IndexUsers gets ready, and is called before the other methods. path has the keys
	// that lead to the user's id in a record of JSON, such as "user" and "id"; a number
	// there counts as its text. looks reports whether the store looks into its records;
	// if so, NoteUser and ForgetUser do nothing and are not needed. The error says what
	// the store lacks, and the fix.
	IndexUsers(ctx context.Context, path []string) (looks bool, err error)

	// NoteUser notes for at least ttl that a token is a user's.
	NoteUser(ctx context.Context, user, token string, ttl time.Duration) error

	// ForgetUser undoes NoteUser, if that was longer than age ago.
	ForgetUser(ctx context.Context, user, token string, age time.Duration) error

	// UserTokens returns the tokens of a user, each once, in no particular order.
	UserTokens(ctx context.Context, user string) ([]string, error)

	// EndUser notes for at least ttl that it was called now. at is the time of the call, and
	// no other call for the user has the same.
	EndUser(ctx context.Context, user string, ttl time.Duration) (at time.Time, err error)

	// UserEnded returns the time at which EndUser was last called for a user, and how long
	// ago that was, rounded down. at is zero if it was not, or was forgotten.
	UserEnded(ctx context.Context, user string) (at time.Time, ago time.Duration, err error)
}

// Unwrapper is implemented by a store that wraps another one, for metrics or tracing.
// The Manager calls the wrapped store directly for each of the interfaces above that
// the wrapper does not implement, so the wrapper does not see those calls.
type Unwrapper interface {
	Unwrap() scs.Store
}

// As returns the first of s and the stores that it wraps that implements T. ok is
// false if none does.
func As[T any](s scs.Store) (t T, ok bool) {
	for s != nil {
		if t, ok = s.(T); ok {
			return t, true
		}
		u, isWrapper := s.(Unwrapper)
		if !isWrapper {
			break
		}
		s = u.Unwrap()
	}
	return t, false
}

// togetherKey is the key of a *int in a context.
type togetherKey struct{}

// NoteTogether returns a context for a call of a store that stores how many calls the command
// that answered it was for in n; n is left alone by a store whose calls do not share commands.
func NoteTogether(ctx context.Context, n *int) context.Context {
	return context.WithValue(ctx, togetherKey{}, n)
}

// Together is called by a store that has answered a call, with its context, by a command for n
// calls.
func Together(ctx context.Context, n int) {
	if to, ok := ctx.Value(togetherKey{}).(*int); ok {
		*to = n
	}
}
