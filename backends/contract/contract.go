// Package contract names what a session store can do beyond scs.Store, one method
// an interface. Package adapter uses those that a store has, and falls back as each
// comment says; package backends/storetest tests them.
//
// Three rules hold for all of them. A record whose expiry has passed is absent. A
// byte slice that a store returns belongs to the caller, and a store keeps none that
// it was given. An error leaves the records as they were, or it is not known whether
// they were written: a store never reports a write that it did not make.
package contract

import (
	"context"
	"time"

	"github.com/alexedwards/scs/v2"
)

// FindToucher reads a record and moves its expiry in one round trip.
//
// Without it, a read is a Find, and the expiry is moved before the response.
type FindToucher interface {
	FindTouch(ctx context.Context, token string, expiry time.Time) (data []byte, found bool, err error)
}

// FindExpirer reads a record together with the expiry that the store holds for
// it, in one round trip.
//
// Without it, adapter.Options.TouchAfter has no effect: every request touches.
type FindExpirer interface {
	FindExpiry(ctx context.Context, token string) (data []byte, expiry time.Time, found bool, err error)
}

// Swapper writes a record only if the store still holds the bytes the caller
// knows (compare-and-set). It is what makes a logout final and keeps both of two
// updates that run side by side.
//
//   - old nil: write only if there is no such record.
//   - new nil: delete, if the record is still old; expiry is not used.
//   - new equal to old: move the expiry, if the record is still old. The store need
//     not write the body again, nor wait for its disk.
//   - otherwise: replace old with new, and set the expiry.
//
// When swapped is false nothing was written, and current holds the bytes that
// are there now; current is nil when the record is gone. A record of no bytes
// is not nil: it is an empty slice.
//
// Without it, the Manager reads, compares and commits under a lock of its own: safe
// within one process, with a short gap between processes.
type Swapper interface {
	Swap(ctx context.Context, token string, old, new []byte, expiry time.Time) (current []byte, swapped bool, err error)
}

// Record is a stored record as the caller knows it. Data is not nil.
type Record struct {
	Token string
	Data  []byte
}

// Mover replaces records by one record, in one step, only if each of them is still
// what the caller knows. It is how a session gets a new id, takes over another
// session, and is stored under the hash of its id: whatever fails, the old records
// stay.
//
// from holds at least one record, and no token twice. to must be one of their tokens,
// or a token that has no record. When moved is true, to holds data until expiry, and
// the other tokens of from hold nothing.
//
// When moved is false nothing was written, and current holds what is there now for
// each of from, nil for what is gone. If all of it is as the caller knew it, a record
// of to was in the way.
//
// A store that can't do it for these tokens, such as those of different nodes,
// returns an error that wraps errors.ErrUnsupported, and has written nothing.
//
// Without it, the Manager writes the new record before it deletes the old ones, one
// step at a time.
type Mover interface {
	Move(ctx context.Context, from []Record, to string, data []byte, expiry time.Time) (current [][]byte, moved bool, err error)
}

// Ranger calls fn for each live record, in no order, in pages of bounded size,
// so that listing a large store needs little memory. It stops at fn's first
// error and returns it. fn may call the store.
//
// Without it, Iterate uses AllCtx or All, which hold every record at once.
type Ranger interface {
	Range(ctx context.Context, fn func(token string, data []byte) error) error
}

// JSONRecorder is implemented by a store whose records are also read by
// Express. When JSONRecords returns true, adapter.JSONCodec is the default and any
// other codec is refused.
type JSONRecorder interface {
	JSONRecords() bool
}

// Unwrapper is implemented by a store that wraps another one, for metrics or tracing.
// The interfaces above that the wrapper does not have itself are then taken from
// the store inside, which the wrapper does not see.
type Unwrapper interface {
	Unwrap() scs.Store
}

// As returns s, or the first store inside of it, that has the methods of T. ok is
// false if there is none.
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
