package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/backends/contract"
)

// workers is the number of concurrent goroutines.
const workers = 8

// rounds is the number of times that a race of two calls runs. The calls of a server take
// longer, and meet more often.
func (e *env) rounds() int {
	if e.Advance != nil {
		return 30
	}
	return 100
}

var concurrencyTests = []test{
	{name: "no update is lost", needs: []string{"Swap"}, run: func(e *env) {
		const each = 25
		handles := []scs.CtxStore{e.store, e.second()}
		e.commit("id", body(0), inAnHour())
		e.together(workers, func(ctx context.Context, w int) error {
			known, err := body(0), error(nil)
			for i := 0; i < each && err == nil; i++ {
				known, err = increment(ctx, handles[w%2].(contract.Swapper), "id", known)
			}
			return err
		})
		e.wantFound("id", body(workers*each), fmt.Sprintf("after %d increments", workers*each))
	}},
	{name: "one creation wins", needs: []string{"Swap"}, run: func(e *env) {
		handles := []scs.CtxStore{e.store, e.second()}
		for round := range e.rounds() {
			token := fmt.Sprint("id", round)
			var current [workers][]byte
			var won [workers]bool
			e.together(workers, func(ctx context.Context, w int) (err error) {
				current[w], won[w], err = handles[w%2].(contract.Swapper).Swap(ctx, token, nil, body(w), inAnHour())
				return err
			})
			var winner []byte
			for w := range workers {
				if won[w] && winner != nil {
					e.Fatal("two of several creations at once were told that they had won")
				}
				if won[w] {
					winner = body(w)
				}
			}
			if winner == nil {
				e.Fatal("none of several creations at once has won")
			}
			e.wantFound(token, winner, "after several creations at once")
			for w := range workers {
				if !won[w] && !same(current[w], winner) {
					e.Fatalf("a creation that lost was given %s, want the winner's %s", show(current[w]), show(winner))
				}
			}
		}
	}},
	{name: "one replacement wins", needs: []string{"Swap"}, run: func(e *env) {
		var replaced, deleted bool
		replaces := func(ctx context.Context, s scs.CtxStore, token string) (err error) {
			_, replaced, err = s.(contract.Swapper).Swap(ctx, token, body(1), body(2), inAnHour())
			return err
		}
		deletes := func(ctx context.Context, s scs.CtxStore, token string) (err error) {
			_, deleted, err = s.(contract.Swapper).Swap(ctx, token, body(1), nil, time.Time{})
			return err
		}
		e.race(replaces, deletes, func(token string) {
			switch {
			case replaced == deleted:
				e.Errorf("a replacement and a deletion of the same bytes both say swapped=%t", replaced)
			case replaced:
				e.wantFound(token, body(2), "after the replacement won")
			default:
				e.wantAbsent(token, "after the deletion won")
			}
		})
	}},
	{name: "delete is final beside swap", needs: []string{"Swap"}, run: func(e *env) {
		e.finalBeside(func(ctx context.Context, s scs.CtxStore, token string) error {
			_, _, err := s.(contract.Swapper).Swap(ctx, token, body(1), body(2), inAnHour())
			return err
		})
	}},
	{name: "delete is final beside touch", needs: []string{"Swap"}, run: func(e *env) {
		e.finalBeside(touches)
	}},
	{name: "delete is final beside findtouch", needs: []string{"FindTouch"}, run: func(e *env) {
		e.finalBeside(func(ctx context.Context, s scs.CtxStore, token string) error {
			_, _, err := s.(contract.FindToucher).FindTouch(ctx, token, inAnHour())
			return err
		})
	}},
	{name: "touch keeps an update", needs: []string{"Swap"}, run: func(e *env) {
		e.keepsUpdate(touches)
	}},
	{name: "touch keeps an update's expiry", needs: []string{"Swap", "FindExpiry"}, run: func(e *env) {
		// After the update the touch is refused, so the update's expiry remains.
		expiry := inAnHour().Add(time.Hour)
		updates := func(ctx context.Context, s scs.CtxStore, token string) error {
			_, swapped, err := s.(contract.Swapper).Swap(ctx, token, body(1), body(2), expiry)
			if err == nil && !swapped {
				return errors.New("a touch was in the way of an update")
			}
			return err
		}
		e.race(updates, touches, func(token string) {
			e.wantFound(token, body(2), "updated while it was touched")
			e.wantExpiry(token, expiry, "updated while it was touched")
		})
	}},
	{name: "touch or deletion by swap wins", needs: []string{"Swap"}, run: func(e *env) {
		var deleted answer
		e.race(swaps("", body(1), nil, &deleted), touches, func(token string) {
			if !deleted.yes {
				e.Error("a touch was in the way of a deletion by Swap")
			}
			e.wantAbsent(token, "deleted by Swap while it was touched")
		})
	}},
	{name: "findtouch keeps an update", needs: []string{"FindTouch"}, run: func(e *env) {
		e.keepsUpdate(func(ctx context.Context, s scs.CtxStore, token string) error {
			_, _, err := s.(contract.FindToucher).FindTouch(ctx, token, inAnHour())
			return err
		})
	}},
	{name: "a read is whole", run: func(e *env) {
		long := func(n int) []byte { return []byte(`"` + strings.Repeat(string(rune('a'+n)), 5000*(n+1)) + `"`) }
		e.commit("id", long(0), inAnHour())
		e.together(workers, func(ctx context.Context, w int) error {
			for range 25 {
				if w%2 == 0 {
					if err := e.store.CommitCtx(ctx, "id", long(w), inAnHour()); err != nil {
						return err
					}
					continue
				}
				data, found, err := e.store.FindCtx(ctx, "id")
				if err != nil {
					return err
				}
				if !found {
					return fmt.Errorf("a record was not there while it was replaced")
				}
				if n := int(data[1] - 'a'); !bytes.Equal(data, long(n)) {
					return fmt.Errorf("a read gave parts of two records: %s", show(data))
				}
			}
			return nil
		})
	}},
	{name: "every method at once", run: func(e *env) {
		e.together(workers, func(ctx context.Context, w int) error {
			for i := range 25 {
				calls := e.calls(fmt.Sprint("id", i%5))
				c := calls[(w+i)%len(calls)]
				if err := c.fn(ctx); err != nil {
					return fmt.Errorf("%s: %w", c.name, err)
				}
			}
			return nil
		})
	}},
}

// together runs n calls of fn concurrently, and waits for them.
func (e *env) together(n int, fn func(ctx context.Context, worker int) error) {
	e.Helper()
	start := make(chan struct{})
	var wg sync.WaitGroup
	for w := range n {
		wg.Go(func() {
			<-start
			if err := fn(e.Context(), w); err != nil {
				e.Error(err)
			}
		})
	}
	close(start)
	wg.Wait()
}

// race repeatedly runs two calls on a new record of body(1): some rounds one after the
// other, in either order, and the others concurrently. It calls check after each round.
func (e *env) race(a, b func(ctx context.Context, s scs.CtxStore, token string) error, check func(token string)) {
	e.Helper()
	first, second := e.store, e.second()
	for round := 0; round < e.rounds() && !e.Failed(); round++ {
		token := fmt.Sprint("id", round)
		e.commit(token, body(1), inAnHour())
		calls := []func(ctx context.Context, w int) error{
			func(ctx context.Context, _ int) error { return a(ctx, first, token) },
			func(ctx context.Context, _ int) error { return b(ctx, second, token) },
		}
		if round%2 == 1 {
			slices.Reverse(calls)
		}
		if round%10 < 2 {
			e.together(1, calls[0])
			e.together(1, calls[1])
		} else {
			e.together(2, func(ctx context.Context, w int) error { return calls[w](ctx, w) })
		}
		check(token)
		if round%3 == 0 {
			first, second = second, first
		}
	}
}

// finalBeside checks that a record is gone after a Delete concurrent with call.
func (e *env) finalBeside(call func(ctx context.Context, s scs.CtxStore, token string) error) {
	e.Helper()
	deletes := func(ctx context.Context, s scs.CtxStore, token string) error { return s.DeleteCtx(ctx, token) }
	e.race(deletes, call, func(token string) { e.wantAbsent(token, "deleted while it was in use") })
}

// keepsUpdate checks that call does not restore an older body.
func (e *env) keepsUpdate(call func(ctx context.Context, s scs.CtxStore, token string) error) {
	e.Helper()
	commits := func(ctx context.Context, s scs.CtxStore, token string) error {
		return s.CommitCtx(ctx, token, body(2), inAnHour())
	}
	e.race(commits, call, func(token string) { e.wantFound(token, body(2), "updated while it was touched") })
}

// touches calls Swap to set only the expiry of the race's record.
func touches(ctx context.Context, s scs.CtxStore, token string) error {
	_, _, err := s.(contract.Swapper).Swap(ctx, token, body(1), body(1), inAnHour())
	return err
}

// increment adds one to the number in a record, retrying while Swap is refused, and
// returns the new record. known, from which it begins, may be stale.
func increment(ctx context.Context, store contract.Swapper, token string, known []byte) ([]byte, error) {
	for {
		n, err := number(known)
		if err != nil {
			return nil, fmt.Errorf("a refused Swap gave current %w", err)
		}
		current, swapped, err := store.Swap(ctx, token, known, body(n+1), inAnHour())
		if swapped || err != nil {
			return body(n + 1), err
		}
		known = current
	}
}

// number returns the n of body(n).
func number(data []byte) (int, error) {
	n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(string(data), `{"n":`), `}`))
	if err != nil {
		return 0, fmt.Errorf("%s, which was never written", show(data))
	}
	return n, nil
}
