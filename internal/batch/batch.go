// Package batch lets calls to a server share commands while it is busy.
package batch

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/samesid/samesid/backends/contract"
)

// Queue has a few slots for calls to one server. A call that finds one free runs at once, by
// itself: see Enter. Those that come while all are taken wait, and run together when one is
// free: see Wait. It is safe for concurrent use.
type Queue[T any] struct {
	config[T]

	mu      sync.Mutex
	waiting []*call[T]  // the oldest first
	taken   int         // slots
	since   []time.Time // at which each of them was taken
	stuck   int         // of them, those that are held for so long that others stand in for them
	timer   *time.Timer
	armed   bool
	workers sync.WaitGroup
	closed  bool
	held    chan struct{} // see Hold

	// The slots follow from the shortest trip to the server of late, so that a moment in
	// which this machine is busy does not count.
	slots    int
	trips    int
	shortest time.Duration
}

type config[T any] struct {
	run      func(calls []T) error
	key      func(T) string // nil: a batch may have several calls for one key
	most     int
	patience time.Duration
}

type call[T any] struct {
	value T
	since time.Time
	done  chan error // capacity 1

	together int // the calls of its batch, once it is done
}

// panicked is a panic of run.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("%v\n\n%s", p.value, p.stack) }

const (
	// maxCalls bounds a batch, so that its first call need not wait long for the last.
	maxCalls = 64

	// tripPerSlot is about how long a call may wait for a slot before there is one more. On
	// one machine a slot or two fill batches best. Over a network, a call must not wait for the
	// reply to another one.
	tripPerSlot = 100 * time.Microsecond

	// tripsCounted is the number of trips after which the shortest one is forgotten.
	tripsCounted = 256

	// stall is how long a slot is held until another one stands in for it: perhaps its
	// connection hangs, and the others do not.
	stall = 10 * time.Millisecond

	// grace is how long a call that was sent is awaited after its context was cancelled.
	grace = time.Second
)

var (
	// ErrClosed is the error of a call after Close.
	ErrClosed = errors.New("it is closed")

	// ErrBusy is the error of a call that has not been sent in time.
	ErrBusy = fmt.Errorf("too many calls wait: %w", context.DeadlineExceeded)
)

// New returns a queue with at most so many slots. A call waits in it no longer than patience.
//
// run answers the calls of a batch, in what each value refers to. It must end by itself, as it
// knows nothing of their contexts. The time that it takes counts as that of a trip to the
// server unless it returns an error. If key is not nil, no two calls of a batch have
// the same one.
func New[T any](most int, patience time.Duration, key func(T) string, run func(calls []T) error) *Queue[T] {
	q := &Queue[T]{config: config[T]{run, key, most, patience}, slots: 1}
	q.timer = time.AfterFunc(time.Hour, q.relieve)
	q.timer.Stop()
	return q
}

// Enter takes a slot if one is free, for a call that the caller runs by itself. It must
// call Leave then, with the same time.
func (q *Queue[T]) Enter() (began time.Time, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || !q.free() {
		return time.Time{}, false
	}
	return q.hold(), true
}

// Leave gives back the slot of Enter. answered reports whether the time since then is that
// of a trip to the server.
func (q *Queue[T]) Leave(began time.Time, answered bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.release(began, answered)
	q.start()
}

// free reports whether there is a slot for another call. The caller holds mu.
func (q *Queue[T]) free() bool { return q.taken < min(q.slots+q.stuck, q.most) }

// hold takes a slot. The caller holds mu.
func (q *Queue[T]) hold() (began time.Time) {
	began = time.Now()
	q.taken++
	q.since = append(q.since, began)
	return began
}

// release gives back a slot. The caller holds mu.
func (q *Queue[T]) release(began time.Time, answered bool) {
	now := time.Now()
	if answered {
		q.count(now.Sub(began))
	}
	i := slices.Index(q.since, began)
	q.since = slices.Delete(q.since, i, i+1)
	q.taken--
	q.look(now)
}

// look counts the slots that are held for long. The caller holds mu.
func (q *Queue[T]) look(now time.Time) {
	q.stuck = 0
	for _, since := range q.since {
		if now.Sub(since) >= stall {
			q.stuck++
		}
	}
}

// Wait returns nil when a call has been answered in a batch. If ctx ends before, it returns
// its error; then the call has perhaps been sent, and run may still use the value. A call
// whose context is cancelled after it was sent is awaited for a moment. A panic of run goes
// on here, in each of its calls.
func (q *Queue[T]) Wait(ctx context.Context, value T) error {
	c := &call[T]{value: value, since: time.Now(), done: make(chan error, 1)}
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return ErrClosed
	}
	q.waiting = append(q.waiting, c)
	if q.held != nil {
		q.held <- struct{}{}
	}
	q.start()
	q.arm()
	q.mu.Unlock()

	select {
	case err := <-c.done:
		return c.end(ctx, err)
	case <-ctx.Done():
	}
	if q.remove(c) || !errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	last := time.Now().Add(grace)
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(last) {
		last = deadline
	}
	timer := time.NewTimer(time.Until(last))
	defer timer.Stop()
	select {
	case err := <-c.done:
		return c.end(ctx, err)
	case <-timer.C:
		return ctx.Err()
	}
}

// end returns the error of a call, or panics with it.
func (c *call[T]) end(ctx context.Context, err error) error {
	contract.Together(ctx, c.together)
	if p := (*panicked)(nil); errors.As(err, &p) {
		panic(p)
	}
	return err
}

// remove takes back a call that has not been sent.
func (q *Queue[T]) remove(c *call[T]) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, c)
	if i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
	}
	return i >= 0
}

// Close refuses the calls that wait and all later ones, and returns when the batches that
// run have ended, or after some seconds.
func (q *Queue[T]) Close() {
	q.mu.Lock()
	q.closed = true
	q.refuse(len(q.waiting), ErrClosed)
	q.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		q.workers.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(min(q.patience, 5*time.Second)):
	}
}

// refuse ends the oldest n calls with an error. The caller holds mu.
func (q *Queue[T]) refuse(n int, err error) {
	for _, c := range q.waiting[:n] {
		c.done <- err
	}
	q.waiting = slices.Delete(q.waiting, 0, n)
}

// start gives a free slot to the calls that wait. The caller holds mu.
func (q *Queue[T]) start() {
	if len(q.waiting) > 0 && q.free() {
		began, calls := q.hold(), q.take()
		q.workers.Go(func() { q.work(calls, began) })
	}
}

// work runs batches in one slot until no call waits.
func (q *Queue[T]) work(calls []*call[T], began time.Time) {
	var values []T
	for len(calls) > 0 {
		values = values[:0]
		for _, c := range calls {
			values = append(values, c.value)
		}
		answered, fault := q.answer(values)
		for _, c := range calls {
			c.together = len(calls)
			c.done <- fault
		}

		q.mu.Lock()
		q.release(began, answered)
		calls = nil
		if len(q.waiting) > 0 && q.free() {
			began, calls = q.hold(), q.take()
		}
		q.mu.Unlock()
	}
}

// answer runs a batch. Its error is a panic, which must not end the program, as it would not
// if the call had gone by itself in a handler's goroutine.
func (q *Queue[T]) answer(values []T) (answered bool, fault error) {
	defer func() {
		if p := recover(); p != nil {
			fault = &panicked{p, debug.Stack()}
		}
	}()
	return q.run(values) == nil, nil
}

// take removes the calls of the next batch from those that wait. Those with the same key
// keep their order. The caller holds mu.
func (q *Queue[T]) take() []*call[T] {
	if q.key == nil {
		n := min(len(q.waiting), maxCalls)
		calls := slices.Clone(q.waiting[:n])
		q.waiting = slices.Delete(q.waiting, 0, n)
		return calls
	}
	var calls, rest []*call[T]
	keys := make(map[string]bool)
	for _, c := range q.waiting {
		if key := q.key(c.value); len(calls) < maxCalls && !keys[key] {
			keys[key] = true
			calls = append(calls, c)
		} else {
			rest = append(rest, c)
		}
	}
	q.waiting = rest
	return calls
}

// arm makes sure that calls don't wait for long. The caller holds mu.
func (q *Queue[T]) arm() {
	if len(q.waiting) > 0 && !q.armed {
		q.armed = true
		q.timer.Reset(stall)
	}
}

// relieve sends calls in place of slots that are held for long, and refuses those that have
// waited for too long.
func (q *Queue[T]) relieve() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.armed = false
	late, now := 0, time.Now()
	for _, c := range q.waiting {
		if now.Sub(c.since) < q.patience {
			break
		}
		late++
	}
	if late > 0 {
		q.refuse(late, ErrBusy)
	}
	q.look(now)
	q.start()
	q.arm()
}

// count sets the number of slots by a trip to the server, which has ended. The caller holds
// mu.
func (q *Queue[T]) count(trip time.Duration) {
	if q.trips == 0 || trip < q.shortest {
		q.shortest = trip
	}
	q.trips++
	if q.trips&(q.trips-1) == 0 || q.trips == tripsCounted { // at first soon
		q.slots = min(max(1, int(q.shortest/tripPerSlot)), q.most)
	}
	if q.trips == tripsCounted {
		q.trips = 0
	}
}
