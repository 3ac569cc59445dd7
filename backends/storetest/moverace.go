package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/backends/contract"
)

var moveRaceTests = []test{
	{name: "one of two wins", needs: []string{"Move"}, run: func(e *env) {
		var a, b answer
		e.race(moves(" a", body(2), &a), moves(" b", body(3), &b), func(token string) {
			winner, loser, data, lost := token+" a", token+" b", body(2), b
			if a.yes == b.yes {
				e.Fatalf("two moves of one record both say moved=%t", a.yes)
			} else if b.yes {
				winner, loser, data, lost = loser, winner, body(3), a
			}
			e.wantFound(winner, data, "the id that won")
			e.wantAbsent(loser, "the id that lost")
			e.wantAbsent(token, "moved twice at once")
			e.wantCurrent(lost, [][]byte{nil}, "the move that lost")
		})
	}},
	{name: "one of two to an id wins", needs: []string{"Move"}, run: func(e *env) {
		e.movers(2, func(round, w int) ([]contract.Record, string) {
			return records(record(fmt.Sprint("ab"[w:w+1], round), body(w))), fmt.Sprint("new", round)
		}, func(round int, from [][]contract.Record, answers []answer) {
			if answers[0].yes == answers[1].yes {
				e.Fatalf("two moves to one id both say moved=%t", answers[0].yes)
			}
			for w, a := range answers {
				if a.yes {
					e.wantFound(fmt.Sprint("new", round), body(100+w), "the id of the record that won")
					e.wantAbsent(from[w][0].Token, "moved")
				} else {
					e.wantFound(from[w][0].Token, body(w), "the record that lost")
					e.wantCurrent(a, known(from[w]), "the record that lost")
				}
			}
		})
	}},
	{name: "one of two merges wins", needs: []string{"Move"}, run: func(e *env) {
		// Both move the shared record b, in different order and to different ids.
		e.movers(2, func(round, w int) ([]contract.Record, string) {
			a, b, c := fmt.Sprint("a", round), fmt.Sprint("b", round), fmt.Sprint("c", round)
			if w == 0 {
				return records(record(a, body(1)), record(b, body(2))), []string{a, b, "new " + a}[round%3]
			}
			return records(record(c, body(3)), record(b, body(2))), []string{c, b, "new " + c}[round/3%3]
		}, func(round int, from [][]contract.Record, answers []answer) {
			if answers[0].yes == answers[1].yes {
				e.Fatalf("two merges of one record both say moved=%t", answers[0].yes)
			}
			for w, a := range answers {
				others := from[w][:1]
				if !a.yes {
					e.wantFound(others[0].Token, others[0].Data, "the record that only the loser had")
					continue
				}
				for _, r := range from[w] {
					if r.Token != a.to {
						e.wantAbsent(r.Token, "merged")
					}
				}
				e.wantFound(a.to, body(100+w), "the id that won")
			}
			for w, a := range answers {
				if !a.yes && a.to != answers[1-w].to && a.to != from[w][0].Token {
					e.wantAbsent(a.to, "the id that lost")
				}
			}
		})
	}},
	{name: "one of two orders wins", needs: []string{"Move"}, run: func(e *env) {
		// A Move that locks the records in the order given deadlocks here.
		e.movers(2, func(round, w int) ([]contract.Record, string) {
			from := records(record(fmt.Sprint("a", round), body(1)), record(fmt.Sprint("b", round), body(2)), record(fmt.Sprint("c", round), body(3)))
			if w == 1 {
				slices.Reverse(from)
			}
			return from, []string{from[0].Token, from[2].Token, fmt.Sprint("new", w, " ", round)}[round%3]
		}, func(_ int, from [][]contract.Record, answers []answer) {
			if answers[0].yes == answers[1].yes {
				e.Fatalf("two merges of the same records both say moved=%t", answers[0].yes)
			}
			for w, a := range answers {
				if !a.yes {
					continue
				}
				for _, r := range from[w] {
					if r.Token != a.to {
						e.wantAbsent(r.Token, "merged")
					}
				}
				e.wantFound(a.to, body(100+w), "the id that won")
				current := [][]byte{nil, nil, nil}
				if i := slices.Index(tokens(from[1-w]), a.to); i >= 0 {
					current[i] = body(100 + w)
				}
				e.wantCurrent(answers[1-w], current, "the merge that lost")
			}
		})
	}},
	{name: "none is in the way of itself", needs: []string{"Move"}, run: func(e *env) {
		// Each moves to an id that another one holds. None can, and none must wait
		// forever.
		e.movers(4, func(round, w int) ([]contract.Record, string) {
			id := func(i int) contract.Record { return record(fmt.Sprint("id", i, " of ", round), body(i)) }
			switch w {
			case 0:
				return records(id(0), id(1)), id(2).Token
			case 1:
				return records(id(3), id(2)), id(0).Token
			case 2:
				return records(id(4)), id(5).Token
			default:
				return records(id(5)), id(4).Token
			}
		}, func(_ int, from [][]contract.Record, answers []answer) {
			for w, a := range answers {
				if a.yes {
					e.Error("a move to an id that was there all the time has moved")
				} else {
					e.wantCurrent(a, known(from[w]), "a move to an id that was there")
				}
				for _, r := range from[w] {
					e.wantFound(r.Token, r.Data, "not moved")
				}
			}
		})
	}},
	{name: "delete is final", needs: []string{"Move"}, run: func(e *env) {
		// This order deletes the record under either id, whenever it is moved.
		deletes := func(ctx context.Context, s scs.CtxStore, token string) error {
			return errors.Join(s.DeleteCtx(ctx, token), s.DeleteCtx(ctx, token+" new"))
		}
		e.race(deletes, moves(" new", body(2), new(answer)), func(token string) {
			e.wantAbsent(token, "deleted while it was moved")
			e.wantAbsent(token+" new", "deleted under both ids while it was moved")
		})
	}},
	{name: "delete is final beside a merge", needs: []string{"Move"}, run: func(e *env) {
		deletes := func(ctx context.Context, s scs.CtxStore, token string) error { return s.DeleteCtx(ctx, token) }
		var a answer
		e.race(deletes, merges("", &a), func(token string) {
			e.wantAbsent(token, "deleted while another was merged into it")
			switch {
			case a.yes:
				e.wantAbsent(token+" other", "merged before the other was deleted")
			default:
				e.wantFound(token+" other", body(2), "not merged into what was deleted")
				e.wantCurrent(a, [][]byte{body(2), nil}, "merging into what was deleted")
			}
		})
		e.race(deletes, merges(" other", &a), func(token string) {
			e.wantAbsent(token, "deleted or merged")
			data := body(2)
			if a.yes {
				data = body(3)
			}
			e.wantFound(token+" other", data, "beside what was deleted")
		})
	}},
	{name: "deletion by swap is final", needs: []string{"Move", "Swap"}, run: func(e *env) {
		var moved, deleted answer
		e.race(swaps("", body(1), nil, &deleted), moves(" new", body(2), &moved), func(token string) {
			e.wantAbsent(token, "deleted by Swap while it was moved")
			switch {
			case moved.yes == deleted.yes:
				e.Errorf("Move and a deletion by Swap of one record both say %t", moved.yes)
			case moved.yes:
				e.wantFound(token+" new", body(2), "moved before it was deleted by Swap")
				e.wantCurrent(deleted, [][]byte{nil}, "deleting what was moved")
			default:
				e.wantAbsent(token+" new", "deleted by Swap before it was moved")
				e.wantCurrent(moved, [][]byte{nil}, "moving what was deleted")
			}
		})
	}},
	{name: "or an update wins", needs: []string{"Move", "Swap"}, run: func(e *env) {
		var moved, swapped answer
		e.race(swaps("", body(1), body(2), &swapped), moves(" new", body(3), &moved), func(token string) {
			switch {
			case moved.yes == swapped.yes:
				e.Errorf("Move and a Swap of one record both say %t", moved.yes)
			case moved.yes:
				e.wantAbsent(token, "moved before it was replaced")
				e.wantFound(token+" new", body(3), "moved before it was replaced")
				e.wantCurrent(swapped, [][]byte{nil}, "replacing what was moved")
			default:
				e.wantFound(token, body(2), "replaced before it was moved")
				e.wantAbsent(token+" new", "replaced before it was moved")
				e.wantCurrent(moved, [][]byte{body(2)}, "moving what was replaced")
			}
		})
	}},
	{name: "a merge or an update wins", needs: []string{"Move", "Swap"}, run: func(e *env) {
		for _, to := range []string{"", " other"} {
			var merged, swapped answer
			e.race(swaps("", body(1), body(9), &swapped), merges(to, &merged), func(token string) {
				switch {
				case merged.yes == swapped.yes:
					e.Errorf("a merge and a Swap of one of its records both say %t", merged.yes)
				case merged.yes:
					e.wantFound(token+to, body(3), "merged before one was replaced")
				default:
					e.wantFound(token, body(9), "replaced before it was merged")
					e.wantFound(token+" other", body(2), "not merged with what was replaced")
					e.wantCurrent(merged, [][]byte{body(2), body(9)}, "merging with what was replaced")
				}
			})
		}
	}},
	{name: "or creation wins", needs: []string{"Move", "Swap"}, run: func(e *env) {
		var moved, created answer
		e.race(swaps(" new", nil, body(2), &created), moves(" new", body(3), &moved), func(token string) {
			switch {
			case moved.yes == created.yes:
				e.Errorf("Move and a creation of the new id both say %t", moved.yes)
			case created.yes:
				e.wantFound(token+" new", body(2), "created before Move")
				e.wantFound(token, body(1), "not moved")
				e.wantCurrent(moved, [][]byte{body(1)}, "moving to what was created")
			default:
				e.wantFound(token+" new", body(3), "moved before the creation")
				e.wantAbsent(token, "moved before the creation")
				e.wantCurrent(created, [][]byte{body(3)}, "creating what was moved to")
			}
		})
	}},
	{name: "or commit is last", needs: []string{"Move"}, run: func(e *env) {
		var moved answer
		commits := func(ctx context.Context, s scs.CtxStore, token string) error {
			return s.CommitCtx(ctx, token, body(2), inAnHour())
		}
		e.race(commits, moves(" new", body(3), &moved), func(token string) {
			e.wantFound(token, body(2), "committed while it was moved")
			if moved.yes {
				e.wantFound(token+" new", body(3), "moved before the commit")
			} else {
				e.wantAbsent(token+" new", "committed before the move")
				e.wantCurrent(moved, [][]byte{body(2)}, "moving what was committed")
			}
		})
	}},
	{name: "is final beside touch", needs: []string{"Move", "Swap"}, run: func(e *env) {
		e.movedBeside(func(ctx context.Context, s scs.CtxStore, token string) error {
			_, _, err := s.(contract.Swapper).Swap(ctx, token, body(1), body(1), inAnHour())
			return err
		})
	}},
	{name: "is final beside findtouch", needs: []string{"Move", "FindTouch"}, run: func(e *env) {
		e.movedBeside(func(ctx context.Context, s scs.CtxStore, token string) error {
			_, _, err := s.(contract.FindToucher).FindTouch(ctx, token, inAnHour())
			return err
		})
	}},
	{name: "is seen under one id", needs: []string{"Move"}, run: func(e *env) {
		// A read of the old id and then the new one must find the record; a read of
		// the new id and then the old one must not find it twice.
		reads := func(ctx context.Context, s scs.CtxStore, token string) error {
			for range 6 {
				time.Sleep(time.Nanosecond) // in a bubble, this lets the other call run
				_, old, err := s.FindCtx(ctx, token)
				if err != nil {
					return err
				}
				_, moved, err := s.FindCtx(ctx, token+" new")
				if err != nil {
					return err
				}
				if !old && !moved {
					return errors.New("a record that was moved was under none of its ids")
				}
				_, old, err = s.FindCtx(ctx, token)
				if err != nil {
					return err
				}
				if moved && old {
					return errors.New("a record that was moved was under both of its ids")
				}
			}
			return nil
		}
		e.race(reads, moves(" new", body(1), new(answer)), func(string) {})
	}},
	{name: "nothing is lost", needs: []string{"Move", "Swap"}, run: nothingIsLost},
}

// nothingIsLost concurrently moves, merges and increments numbers. The invariant is
// that their sum grows exactly by what was added.
func nothingIsLost(e *env) {
	const ids, start, each = 6, 10, 25
	handles := []scs.CtxStore{e.store, e.second()}
	id := func(n int) string { return fmt.Sprint("id", n) }
	for n := range ids {
		e.commit(id(n), body(start), inAnHour())
	}
	var mu sync.Mutex
	sum := ids * start
	e.together(workers, func(ctx context.Context, w int) error {
		random := rand.New(rand.NewPCG(uint64(w), 0))
		store := handles[w%2]
		for range each {
			picked := random.Perm(ids)
			var from []contract.Record
			total := 0
			for _, n := range picked[:1+random.IntN(3)] {
				data, found, err := store.FindCtx(ctx, id(n))
				if err != nil {
					return err
				}
				if found {
					value, err := number(data)
					if err != nil {
						return err
					}
					total += value
					from = append(from, record(id(n), data))
				}
			}
			if len(from) == 0 {
				continue
			}
			time.Sleep(time.Nanosecond) // in a bubble, this lets the others run
			add, done, err := 0, false, error(nil)
			if random.IntN(3) == 0 {
				value, _ := number(from[0].Data)
				add = 1
				_, done, err = store.(contract.Swapper).Swap(ctx, from[0].Token, from[0].Data, body(value+add), inAnHour())
			} else {
				to := []string{from[0].Token, from[len(from)-1].Token, id(picked[ids-1])}[random.IntN(3)]
				add = random.IntN(2)
				_, done, err = store.(contract.Mover).Move(ctx, from, to, body(total+add), inAnHour())
			}
			if err != nil {
				return err
			}
			if done {
				mu.Lock()
				sum += add
				mu.Unlock()
			}
		}
		return nil
	})
	got := 0
	for n := range ids {
		data, found, err := e.store.Find(id(n))
		e.ok(err, "Find")
		if found {
			value, err := number(data)
			e.ok(err, "the sum of what was moved about")
			got += value
		}
	}
	if got != sum {
		e.Errorf("the records that were moved about add up to %d, want %d", got, sum)
	}
}

// answer holds the result of a Swap or a Move.
type answer struct {
	current [][]byte
	yes     bool
	to      string
}

// moves, merges and swaps return calls for a race, which store their result in a. The
// suffix makes the target from the record's token. merges also creates a second record
// to merge.
func moves(suffix string, data []byte, a *answer) func(ctx context.Context, s scs.CtxStore, token string) error {
	return func(ctx context.Context, s scs.CtxStore, token string) (err error) {
		a.current, a.yes, err = s.(contract.Mover).Move(ctx, records(record(token, body(1))), token+suffix, data, inAnHour())
		return err
	}
}

func merges(suffix string, a *answer) func(ctx context.Context, s scs.CtxStore, token string) error {
	return func(ctx context.Context, s scs.CtxStore, token string) (err error) {
		if err := s.CommitCtx(ctx, token+" other", body(2), inAnHour()); err != nil {
			return err
		}
		from := records(record(token+" other", body(2)), record(token, body(1)))
		a.current, a.yes, err = s.(contract.Mover).Move(ctx, from, token+suffix, body(3), inAnHour())
		return err
	}
}

func swaps(suffix string, old, data []byte, a *answer) func(ctx context.Context, s scs.CtxStore, token string) error {
	return func(ctx context.Context, s scs.CtxStore, token string) error {
		current, swapped, err := s.(contract.Swapper).Swap(ctx, token+suffix, old, data, inAnHour())
		a.current, a.yes = [][]byte{current}, swapped
		return err
	}
}

// movers repeatedly runs n concurrent moves, and calls check after each round. of
// returns the records that worker w moves, which movers creates first. Worker w writes
// body(100+w).
func (e *env) movers(n int, of func(round, w int) (from []contract.Record, to string), check func(round int, from [][]contract.Record, answers []answer)) {
	e.Helper()
	handles := []scs.CtxStore{e.store, e.second()}
	for round := 0; round < e.rounds() && !e.Failed(); round++ {
		from, answers := make([][]contract.Record, n), make([]answer, n)
		for w := range n {
			from[w], answers[w].to = of(round, w)
			for _, r := range from[w] {
				e.commit(r.Token, r.Data, inAnHour())
			}
		}
		e.together(n, func(ctx context.Context, w int) (err error) {
			a := &answers[w]
			a.current, a.yes, err = handles[(w+round)%2].(contract.Mover).Move(ctx, from[w], a.to, body(100+w), inAnHour())
			return err
		})
		check(round, from, answers)
	}
}

// movedBeside checks that a record is only under its new id after a Move concurrent
// with call, which does not change its bytes.
func (e *env) movedBeside(call func(ctx context.Context, s scs.CtxStore, token string) error) {
	e.Helper()
	var moved answer
	e.race(moves(" new", body(2), &moved), call, func(token string) {
		if !moved.yes {
			e.Error("Move has not moved what was in use")
		}
		e.wantAbsent(token, "moved while it was in use")
		e.wantFound(token+" new", body(2), "moved while it was in use")
	})
}
