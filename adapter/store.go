package adapter

import (
	"context"
	"time"
)

// A store is any scs.Store. What makes it better is one method each, below: a
// Manager uses those that a store has, and falls back as each comment says.
//
// Two rules hold for all of them. A record whose expiry has passed is absent.
// The byte slices that a store returns belong to the caller, and a store keeps
// no slice that it was given.

// Toucher moves a record's expiry without rewriting its body, as Express's
// store.touch does. found is false when there is no such record; none is made.
//
// Without it, a touch reads the record and commits the same bytes again.
type Toucher interface {
	Touch(ctx context.Context, token string, expiry time.Time) (found bool, err error)
}

// FindToucher reads a record and moves its expiry in one round trip.
//
// Without it, a read is a Find, and a Touch follows before the response.
type FindToucher interface {
	FindTouch(ctx context.Context, token string, expiry time.Time) (data []byte, found bool, err error)
}

// FindExpirer reads a record together with the expiry that the store holds for
// it, in one round trip. Options.TouchAfter needs it to know when a touch is due.
//
// Without it, TouchAfter has no effect: every request touches.
type FindExpirer interface {
	FindExpiry(ctx context.Context, token string) (data []byte, expiry time.Time, found bool, err error)
}

// Swapper writes a record only if the store still holds the bytes the caller
// knows. It is what makes a logout final and keeps both of two updates that
// run side by side.
//
//   - old nil: write only if there is no such record.
//   - new nil: delete, if the record is still old; expiry is not used.
//   - otherwise: replace old with new, and set the expiry.
//
// When swapped is false nothing was written, and current holds the bytes that
// are there now; current is nil when the record is gone. A record of no bytes
// is not nil: it is an empty slice.
//
// Without it, the Manager reads, compares and commits under a lock of its own:
// as good inside one process, with a short gap between processes.
type Swapper interface {
	Swap(ctx context.Context, token string, old, new []byte, expiry time.Time) (current []byte, swapped bool, err error)
}

// Ranger calls fn for each live record, in no order, in pages of bounded size,
// so that listing a large store needs little memory. It stops at fn's first
// error and returns it. fn may call the store.
//
// Without it, Iterate uses AllCtx or All, which hold every record at once.
type Ranger interface {
	Range(ctx context.Context, fn func(token string, data []byte) error) error
}

// Renamer gives a live record another token, in one step, with its bytes and
// expiry as they are. renamed is false, and nothing was done, when there is no
// record of the old token or already a live one of the new, the same token
// included. Options.IDs needs it for MigrateIDs.
type Renamer interface {
	Rename(ctx context.Context, old, new string) (renamed bool, err error)
}

// JSONRecorder is implemented by a store whose records are also read by
// Express. When JSONRecords returns true, JSONCodec is the default and any
// other codec is refused.
type JSONRecorder interface {
	JSONRecords() bool
}
