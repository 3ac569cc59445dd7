package adapter

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	freeTries = 4   // conflicts that a write meets before it queues
	maxTries  = 100 // after this many conflicts, retry with random backoff
)

// backoff keeps the concurrent writes of one session out of each other's way: a few
// retry at once, and then one after the other. Without the queue, those that have just
// come would always be faster than those that retry.
type backoff struct {
	n       int
	release func() // not nil while it is first in the queue
}

func (b *backoff) done() {
	if b.release != nil {
		b.release()
	}
}

// again waits until the next try. The error is ctx's.
func (b *backoff) again(ctx context.Context, s *session) (err error) {
	switch b.n++; {
	case b.n < freeTries:
		return ctx.Err()
	case b.release == nil:
		b.release, err = s.m.cfg.store.queue(ctx, s.key(s.m.cfg))
		return err
	case b.n < maxTries:
		// Others came between. A swap is faster than a request, so this one is
		// soon faster than they are.
		return ctx.Err()
	default:
		return pause(ctx)
	}
}

// pause waits for a moment.
func pause(ctx context.Context) error {
	t := time.NewTimer(rand.N(4 * time.Millisecond))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
