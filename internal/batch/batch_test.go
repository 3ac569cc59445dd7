package batch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/samesid/samesid/backends/contract"
)

// server answers batches when it is told to.
type server struct {
	*Queue[*ask]
	got  chan []string // the keys of each batch
	give chan time.Duration
}

type ask struct{ key, reply string }

func newServer(t *testing.T, most int, distinct bool) *server {
	s := &server{got: make(chan []string, 100), give: make(chan time.Duration, 100)}
	var key func(*ask) string
	if distinct {
		key = func(a *ask) string { return a.key }
	}
	s.Queue = New(most, 5*time.Second, key, func(asks []*ask) error {
		var keys []string
		for _, a := range asks {
			keys = append(keys, a.key)
		}
		s.got <- keys
		time.Sleep(<-s.give)
		for _, a := range asks {
			a.reply = a.key + "!"
		}
		return nil
	})
	t.Cleanup(s.Close)
	return s
}

// waits sends calls, each after the one before it has reached the queue.
func (s *server) waits(t *testing.T, ctx context.Context, keys ...string) (errs []chan error) {
	for _, key := range keys {
		done := make(chan error, 1)
		errs = append(errs, done)
		go func() {
			a := &ask{key: key}
			err := s.Wait(ctx, a)
			if err == nil && a.reply != key+"!" {
				t.Errorf("%s: the reply is %q", key, a.reply)
			}
			done <- err
		}()
		synctest.Wait()
	}
	return errs
}

// occupy takes the only slot, and returns a function that gives it back.
func (s *server) occupy(t *testing.T) (leave func()) {
	t.Helper()
	began, ok := s.Enter()
	if !ok {
		t.Fatal("no slot was free")
	}
	return func() { s.Leave(began, false) }
}

func wantKeys(t *testing.T, s *server, want ...string) {
	t.Helper()
	synctest.Wait()
	select {
	case got := <-s.got:
		if !slices.Equal(got, want) {
			t.Errorf("the batch has %q, want %q", got, want)
		}
	default:
		t.Errorf("there is no batch, want %q", want)
	}
}

func wantNone(t *testing.T, s *server) {
	t.Helper()
	synctest.Wait()
	select {
	case got := <-s.got:
		t.Errorf("the batch %q was run", got)
	default:
	}
}

func wantErr(t *testing.T, done chan error, want error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-done:
		if !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("the error is %v, want %v", err, want)
		}
	default:
		t.Errorf("a call waits, want the error %v", want)
	}
}

func wantWaiting(t *testing.T, done chan error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-done:
		t.Errorf("a call that should wait has ended: %v", err)
	default:
	}
}

func TestOneGoesAloneAndThoseThatWaitTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 1, false)
		leave := s.occupy(t)
		if _, ok := s.Enter(); ok {
			t.Error("a slot was given twice")
		}
		first := s.waits(t, t.Context(), "a", "b", "b")
		wantNone(t, s)
		leave()
		wantKeys(t, s, "a", "b", "b")
		second := s.waits(t, t.Context(), "c", "d")
		if _, ok := s.Enter(); ok {
			t.Error("the slot of a batch was given away")
		}
		s.give <- 0
		for _, done := range first {
			wantErr(t, done, nil)
		}
		wantKeys(t, s, "c", "d")
		s.give <- 0
		for _, done := range second {
			wantErr(t, done, nil)
		}
		s.occupy(t)()
	})
}

// Whoever observes a call learns how many shared its command.
func TestTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 1, false)
		leave := s.occupy(t)
		var shared [3]int
		for i, n := range []string{"a", "b", "c"} {
			s.waits(t, contract.NoteTogether(t.Context(), &shared[i]), n)
		}
		leave()
		wantKeys(t, s, "a", "b", "c")
		s.give <- 0
		synctest.Wait()
		if shared != [3]int{3, 3, 3} {
			t.Errorf("the calls were answered together with %d", shared)
		}
	})
}

// A call whose context ends leaves alone, whether it was sent or not.
func TestOneLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 1, false)
		leave := s.occupy(t)
		ctx, cancel := context.WithCancel(t.Context())
		stays := s.waits(t, t.Context(), "stays")
		leaves := s.waits(t, ctx, "leaves")
		cancel()
		wantErr(t, leaves[0], context.Canceled)
		leave()
		wantKeys(t, s, "stays")

		// On their way.
		ctx, cancel = context.WithCancel(t.Context())
		late, end := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer end()
		cancelled, late1, stays2 := s.waits(t, ctx, "cancelled"), s.waits(t, late, "late"), s.waits(t, t.Context(), "stays")
		s.give <- 0
		wantErr(t, stays[0], nil)
		wantKeys(t, s, "cancelled", "late", "stays")
		cancel()
		wantWaiting(t, cancelled[0]) // for a moment
		time.Sleep(5 * time.Millisecond)
		wantErr(t, late1[0], context.DeadlineExceeded)
		wantWaiting(t, cancelled[0])
		time.Sleep(grace)
		wantErr(t, cancelled[0], context.Canceled)
		wantWaiting(t, stays2[0])
		s.give <- 0
		wantErr(t, stays2[0], nil)
	})
}

func TestCancelledCallKeepsItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 1, false)
		late, end := context.WithTimeout(t.Context(), grace/2)
		defer end()
		ctx, cancel := context.WithCancel(late)
		sent := s.waits(t, ctx, "sent")
		wantKeys(t, s, "sent")
		cancel()
		wantWaiting(t, sent[0])
		time.Sleep(grace / 2)
		wantErr(t, sent[0], context.Canceled)
		s.give <- 0
	})
}

func TestCancelledCallGetsItsReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 1, false)
		ctx, cancel := context.WithCancel(t.Context())
		sent := s.waits(t, ctx, "sent")
		wantKeys(t, s, "sent")
		cancel()
		s.give <- grace / 2
		time.Sleep(grace / 2)
		wantErr(t, sent[0], nil)
	})
}

// Calls for the same key are in different batches, and in order. They hold up no others.
func TestDistinctKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 1, true)
		leave := s.occupy(t)
		var all []chan error
		for range 100 {
			all = append(all, s.waits(t, t.Context(), "flood")...)
		}
		others := s.waits(t, t.Context(), "a", "b")
		leave()
		wantKeys(t, s, "flood", "a", "b")
		s.give <- 0
		wantErr(t, others[0], nil)
		wantErr(t, others[1], nil)
		wantErr(t, all[0], nil)
		late := s.waits(t, t.Context(), "c")
		wantKeys(t, s, "flood")
		s.give <- 0
		wantKeys(t, s, "flood", "c")
		for range 98 {
			s.give <- 0
		}
		for _, done := range append(all[1:], late...) {
			wantErr(t, done, nil)
		}
	})
}

func TestBatchesAreBounded(t *testing.T) {
	for _, distinct := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, 1, distinct)
			leave := s.occupy(t)
			var keys []string
			for i := range maxCalls + 1 {
				keys = append(keys, fmt.Sprint(i))
			}
			all := s.waits(t, t.Context(), keys...)
			leave()
			wantKeys(t, s, keys[:maxCalls]...)
			s.give <- 0
			wantKeys(t, s, keys[maxCalls])
			s.give <- 0
			for _, done := range all {
				wantErr(t, done, nil)
			}
		})
	}
}

// A connection that hangs holds up no others.
func TestHangingBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 2, false)
		began, _ := s.Enter()
		time.Sleep(10 * time.Microsecond)
		s.Leave(began, true) // the server is near, so there is one slot
		hangs := s.waits(t, t.Context(), "hangs")
		wantKeys(t, s, "hangs")
		next := s.waits(t, t.Context(), "next")
		wantNone(t, s)
		time.Sleep(stall)
		wantKeys(t, s, "next")
		s.give <- time.Minute // that waits for longer takes it
		s.give <- 0
		wantErr(t, next[0], nil)
		// Meanwhile there is another slot in its place, and no call waits for it.
		s.occupy(t)()
		third := s.waits(t, t.Context(), "third")
		wantKeys(t, s, "third")
		s.give <- 0
		wantErr(t, third[0], nil)
		time.Sleep(time.Minute)
		wantErr(t, hangs[0], nil)
		leave := s.occupy(t)
		if _, ok := s.Enter(); ok {
			t.Error("the slot in place of one that hung is there for good")
		}
		leave()

		// The slot more that it took is none for good.
		s.waits(t, t.Context(), "1")
		wantKeys(t, s, "1")
		s.waits(t, t.Context(), "2")
		time.Sleep(stall)
		wantKeys(t, s, "2")
		s.waits(t, t.Context(), "3")
		s.give <- 0
		wantNone(t, s)
		s.give <- 0
		wantKeys(t, s, "3")
		s.give <- 0
		synctest.Wait()

		// Those for which there is no slot at all are refused in time.
		s.waits(t, t.Context(), "hangs 1")
		wantKeys(t, s, "hangs 1")
		s.waits(t, t.Context(), "hangs 2")
		time.Sleep(stall)
		wantKeys(t, s, "hangs 2")
		late := s.waits(t, t.Context(), "late")
		time.Sleep(5*time.Second - 1)
		wantWaiting(t, late[0])
		time.Sleep(2 * stall)
		wantErr(t, late[0], ErrBusy)
		s.give <- 0
		s.give <- 0
	})
}

// Over a network, calls need not wait for the reply to others.
func TestSlotsFollowTheDistance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 16, false)
		free := func() (n int) {
			for {
				began, ok := s.Enter()
				if !ok {
					return n
				}
				n++
				defer s.Leave(began, false)
			}
		}
		trip := func(d time.Duration) {
			t.Helper()
			began, ok := s.Enter()
			if !ok {
				t.Fatal("no slot is free")
			}
			time.Sleep(d)
			s.Leave(began, true)
		}
		for _, c := range []struct {
			trip time.Duration
			want int
		}{{time.Millisecond, 10}, {time.Second, 16}, {30 * time.Microsecond, 1}, {250 * time.Microsecond, 2}} {
			for range 2 * tripsCounted {
				trip(c.trip)
			}
			if n := free(); n != c.want {
				t.Errorf("at a distance of %v there are %d slots, want %d", c.trip, n, c.want)
			}
		}
		// A moment in which the machine is busy does not count.
		for i := range 2 * tripsCounted {
			trip(250*time.Microsecond + time.Duration(i%100)*time.Millisecond)
		}
		if n := free(); n != 2 {
			t.Errorf("%d slots, want 2", n)
		}
		// Nor does a call that fails at once.
		for range 2 * tripsCounted {
			trip(time.Second)
			s.occupy(t)()
		}
		if n := free(); n != 16 {
			t.Errorf("%d slots, want 16", n)
		}
	})
}

// A batch that fails at once says nothing of the distance, and one that panics does so in
// its callers' goroutines alone.
func TestBatchThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		panics := false
		q := New(16, time.Minute, nil, func([]*ask) error {
			if panics {
				panic("a mistake")
			}
			return errors.New("the server is down")
		})
		defer q.Close()
		began, _ := q.Enter()
		time.Sleep(time.Second)
		q.Leave(began, true)
		for range 2 * tripsCounted {
			if err := q.Wait(t.Context(), &ask{}); err != nil {
				t.Fatal(err)
			}
		}
		panics = true
		for range 2 {
			func() {
				defer func() {
					if p := fmt.Sprint(recover()); !strings.Contains(p, "a mistake") || !strings.Contains(p, "TestBatchThatFails") {
						t.Errorf("the panic is %q, want the mistake and where it was made", p)
					}
				}()
				_ = q.Wait(t.Context(), &ask{})
			}()
		}
		synctest.Wait()
		for range 10 {
			began, ok := q.Enter()
			if !ok {
				t.Fatal("a call that failed or panicked holds its slot, or counts as a short trip")
			}
			defer q.Leave(began, false)
		}
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 1, false)
		sent := s.waits(t, t.Context(), "sent")
		waits := s.waits(t, t.Context(), "waits")
		var closed atomic.Bool
		go func() {
			s.Close()
			closed.Store(true)
		}()
		wantErr(t, waits[0], ErrClosed)
		if closed.Load() {
			t.Error("Close has not waited for a batch")
		}
		wantErr(t, s.waits(t, t.Context(), "later")[0], ErrClosed)
		s.give <- 0
		wantErr(t, sent[0], nil)
		synctest.Wait()
		if !closed.Load() {
			t.Error("Close still waits")
		}
		if _, ok := s.Enter(); ok {
			t.Error("a slot was given after Close")
		}
	})
}

// Under load, each call gets its own reply, once.
func TestLoad(t *testing.T) {
	var calls, batches atomic.Int64
	q := New(2, time.Minute, nil, func(asks []*ask) error {
		batches.Add(1)
		for _, a := range asks {
			calls.Add(1)
			a.reply = a.key + "!"
		}
		return nil
	})
	const callers, each = 32, 200
	done := make(chan error)
	for c := range callers {
		go func() {
			var err error
			for i := range each {
				if began, ok := q.Enter(); ok {
					calls.Add(1)
					q.Leave(began, true)
					continue
				}
				a := &ask{key: fmt.Sprint(c, " ", i)}
				if err = q.Wait(t.Context(), a); err == nil && a.reply != a.key+"!" {
					err = fmt.Errorf("%q was answered by %q", a.key, a.reply)
				}
				if err != nil {
					break
				}
			}
			done <- err
		}()
	}
	for range callers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	q.Close()
	if calls.Load() != callers*each {
		t.Errorf("%d calls were run, want %d", calls.Load(), callers*each)
	}
}

func TestLarge(t *testing.T) {
	var l Large
	l.Note("a", largest)
	if l.Has("a") || l.Has("b") {
		t.Error("it has a key that is not large")
	}
	l.Note("a", largest+1)
	if !l.Has("a") || l.Has("b") {
		t.Error("it has other keys than the large one")
	}
	l.Note("a", 1)
	if l.Has("a") {
		t.Error("it has a key that is no longer large")
	}
	// It remembers most of some hundred, and is bounded.
	known := 0
	for i := range 200 {
		l.Note(fmt.Sprint(i), largest+1)
	}
	for i := range 200 {
		if l.Has(fmt.Sprint(i)) {
			known++
		}
	}
	if known < 150 {
		t.Errorf("%d of 200 large keys are remembered", known)
	}
	for i := range 10_000 {
		l.Note(fmt.Sprint(i), largest+1)
	}
}
