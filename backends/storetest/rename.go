package storetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/alexedwards/scs/v2"
)

var renameTests = []test{
	{name: "moves", needs: []string{"Rename"}, run: func(e *env) {
		e.commit("id", body(1), inAnHour())
		e.commit("beside", body(2), inAnHour())
		e.wantRenamed("id", "new", "renaming")
		e.wantFound("new", body(1), "renamed")
		e.wantAbsent("id", "renamed away")
		e.wantEverything(map[string][]byte{"new": body(1), "beside": body(2)}, "after Rename")
		e.wantRenamed("new", "id", "renaming it back")
		e.wantFound("id", body(1), "renamed back")
		e.wantAbsent("new", "renamed back")
	}},
	{name: "keeps the expiry", needs: []string{"Rename", "FindExpiry"}, run: func(e *env) {
		for hours := range 3 {
			token := fmt.Sprint("id", hours)
			e.commit(token, body(1), inAnHour().Add(time.Duration(hours)*time.Hour+123456789))
			_, expiry, _ := e.findExpiry(token)
			e.wantRenamed(token, token+" new", "renaming")
			e.wantExpiry(token+" new", expiry, "renamed")
		}
	}},
	{name: "unknown id", needs: []string{"Rename"}, run: func(e *env) {
		e.wantNotRenamed("unknown", "new", "renaming what never was")
		e.commit("id", body(1), inAnHour())
		e.wantNotRenamed("unknown", "id", "renaming what never was to what is there")
		e.wantEverything(map[string][]byte{"id": body(1)}, "after renaming what never was")
		e.ok(e.second().DeleteCtx(e.Context(), "id"), "DeleteCtx")
		e.wantNotRenamed("id", "new", "renaming what was deleted")
		e.wantEverything(map[string][]byte{}, "after renaming what was deleted")
	}},
	{name: "taken", needs: []string{"Rename"}, run: func(e *env) {
		early, late := inAnHour(), inAnHour().Add(time.Hour)
		e.commit("id", body(1), early)
		e.commit("new", body(2), late)
		e.wantNotRenamed("id", "new", "renaming to what is there")
		e.wantFound("id", body(1), "not renamed")
		e.wantFound("new", body(2), "in the way of Rename")
		if e.has("FindExpiry") {
			e.wantExpiry("id", early, "not renamed")
			e.wantExpiry("new", late, "in the way of Rename")
		}
		e.ok(e.store.Delete("new"), "Delete")
		e.wantRenamed("id", "new", "renaming to what was deleted")
		e.wantFound("new", body(1), "renamed to what was deleted")
	}},
	{name: "expired", needs: []string{"Rename"}, run: func(e *env) {
		e.commit("expired", body(1), e.justPast())
		e.wantNotRenamed("expired", "new", "renaming an expired record")
		e.wantNotRenamed("expired", "expired", "renaming an expired record to itself")
		e.wantEverything(map[string][]byte{}, "after renaming an expired record")
		e.commit("id", body(2), inAnHour())
		e.wantRenamed("id", "expired", "renaming to what has expired")
		e.wantEverything(map[string][]byte{"expired": body(2)}, "renamed to what has expired")
	}},
	{name: "to itself", needs: []string{"Rename"}, run: func(e *env) {
		e.wantNotRenamed("unknown", "unknown", "renaming to itself what never was")
		e.wantAbsent("unknown", "renamed to itself")
		expiry := inAnHour()
		e.commit("id", body(1), expiry)
		e.wantNotRenamed("id", "id", "renaming to itself")
		e.wantFound("id", body(1), "renamed to itself")
		if e.has("FindExpiry") {
			e.wantExpiry("id", expiry, "renamed to itself")
		}
	}},
	{name: "no bytes", needs: []string{"Rename"}, only: anyBytes, run: func(e *env) {
		e.commit("empty", []byte{}, inAnHour())
		e.wantRenamed("empty", "new", "renaming a record of no bytes")
		e.wantFound("new", []byte{}, "renamed without bytes")
		e.commit("id", body(1), inAnHour())
		e.wantNotRenamed("id", "new", "renaming to a record of no bytes")
		e.wantFound("new", []byte{}, "in the way of Rename")
	}},
	{name: "then swap", needs: []string{"Rename", "Swap"}, run: func(e *env) {
		e.commit("id", body(1), inAnHour())
		e.wantRenamed("id", "new", "renaming")
		e.wantRefused("id", body(1), body(2), inAnHour(), nil, "replacing what was renamed")
		e.wantRefused("id", body(1), nil, time.Time{}, nil, "deleting what was renamed")
		e.wantAbsent("id", "renamed, then swapped")
		e.wantRefused("new", nil, body(2), inAnHour(), body(1), "creating what was renamed to")
		e.wantSwapped("new", body(1), body(2), inAnHour(), "replacing under the new name")
		e.wantFound("new", body(2), "replaced under the new name")
		e.wantSwapped("id", nil, body(3), inAnHour(), "creating under the old name")
		e.wantFound("id", body(3), "created under the old name")
		e.wantFound("new", body(2), "beside the old name")
	}},
	{name: "by a second handle", needs: []string{"Rename"}, run: func(e *env) {
		other := e.second()
		e.commit("id", body(1), inAnHour())
		e.wantFound("id", body(1), "before the other handle's Rename")
		renamed, err := other.(renamer).Rename(e.Context(), "id", "new")
		e.ok(err, "Rename")
		if !renamed {
			e.Error("the other handle has not renamed")
		}
		e.wantAbsent("id", "renamed by the other handle")
		e.wantFound("new", body(1), "renamed by the other handle")
		e.wantNotRenamed("id", "newer", "renaming what the other handle has renamed")
		e.ok(other.DeleteCtx(e.Context(), "id"), "DeleteCtx")
		e.wantFound("new", body(1), "after a Delete of the old name")
	}},
	{name: "one of two wins", needs: []string{"Rename"}, run: func(e *env) {
		var a, b bool
		e.race(renames(" a", &a), renames(" b", &b), func(token string) {
			winner, loser := token+" a", token+" b"
			if a == b {
				e.Fatalf("two renames of one record both say renamed=%t", a)
			} else if b {
				winner, loser = loser, winner
			}
			e.wantFound(winner, body(1), "the name that won")
			e.wantAbsent(loser, "the name that lost")
			e.wantAbsent(token, "renamed twice at once")
		})
	}},
	{name: "one of two to a name wins", needs: []string{"Rename"}, run: func(e *env) {
		handles := []scs.CtxStore{e.store, e.second()}
		for round := 0; round < rounds && !e.Failed(); round++ {
			tokens := [2]string{fmt.Sprint("a", round), fmt.Sprint("b", round)}
			var renamed [2]bool
			for i, token := range tokens {
				e.commit(token, body(i), inAnHour())
			}
			name := fmt.Sprint("new", round)
			e.together(2, func(ctx context.Context, w int) (err error) {
				renamed[w], err = handles[w].(renamer).Rename(ctx, tokens[w], name)
				return err
			})
			if renamed[0] == renamed[1] {
				e.Fatalf("two renames to one name both say renamed=%t", renamed[0])
			}
			for i, token := range tokens {
				if renamed[i] {
					e.wantFound(name, body(i), "the name of the record that won")
					e.wantAbsent(token, "renamed")
				} else {
					e.wantFound(token, body(i), "the record that lost")
				}
			}
		}
	}},
	{name: "delete is final", needs: []string{"Rename"}, run: func(e *env) {
		// In this order, whichever name the record has when each begins.
		deletes := func(ctx context.Context, s scs.CtxStore, token string) error {
			return errors.Join(s.DeleteCtx(ctx, token), s.DeleteCtx(ctx, token+" new"))
		}
		e.race(deletes, renames(" new", new(bool)), func(token string) {
			e.wantAbsent(token, "deleted while it was renamed")
			e.wantAbsent(token+" new", "deleted under both names while it was renamed")
		})
	}},
	{name: "deletion by swap is final", needs: []string{"Rename", "Swap"}, run: func(e *env) {
		var renamed, swapped bool
		var current []byte
		e.race(swaps("", body(1), nil, &current, &swapped), renames(" new", &renamed), func(token string) {
			e.wantAbsent(token, "deleted by Swap while it was renamed")
			switch {
			case renamed == swapped:
				e.Errorf("Rename and a deletion by Swap of one record both say %t", renamed)
			case renamed:
				e.wantFound(token+" new", body(1), "renamed before it was deleted by Swap")
				e.wantGone(current)
			default:
				e.wantAbsent(token+" new", "deleted by Swap before it was renamed")
			}
		})
	}},
	{name: "keeps an update", needs: []string{"Rename", "Swap"}, run: func(e *env) {
		var renamed, swapped bool
		var current []byte
		e.race(swaps("", body(1), body(2), &current, &swapped), renames(" new", &renamed), func(token string) {
			if !renamed {
				e.Error("Rename has not renamed what was replaced meanwhile")
			}
			e.wantAbsent(token, "replaced while it was renamed")
			if swapped {
				e.wantFound(token+" new", body(2), "replaced before it was renamed")
			} else {
				e.wantFound(token+" new", body(1), "renamed before it was replaced")
				e.wantGone(current)
			}
		})
	}},
	{name: "or creation wins", needs: []string{"Rename", "Swap"}, run: func(e *env) {
		var renamed, created bool
		var current []byte
		e.race(swaps(" new", nil, body(2), &current, &created), renames(" new", &renamed), func(token string) {
			switch {
			case renamed == created:
				e.Errorf("Rename and a creation of the new name both say %t", renamed)
			case created:
				e.wantFound(token+" new", body(2), "created before Rename")
				e.wantFound(token, body(1), "not renamed")
			default:
				e.wantFound(token+" new", body(1), "renamed before the creation")
				e.wantAbsent(token, "renamed before the creation")
				if !same(current, body(1)) {
					e.Errorf("a creation of what was renamed to gave current %s, want %s", show(current), show(body(1)))
				}
			}
		})
	}},
	{name: "is final beside touch", needs: []string{"Rename", "Touch"}, run: func(e *env) {
		e.renamedBeside(func(ctx context.Context, s scs.CtxStore, token string) error {
			_, err := s.(toucher).Touch(ctx, token, inAnHour())
			return err
		})
	}},
	{name: "is final beside findtouch", needs: []string{"Rename", "FindTouch"}, run: func(e *env) {
		e.renamedBeside(func(ctx context.Context, s scs.CtxStore, token string) error {
			_, _, err := s.(findToucher).FindTouch(ctx, token, inAnHour())
			return err
		})
	}},
}

// renames and swaps are calls for a race, on its record's token with a suffix,
// and put the answer where the check finds it.
func renames(suffix string, renamed *bool) func(ctx context.Context, s scs.CtxStore, token string) error {
	return func(ctx context.Context, s scs.CtxStore, token string) (err error) {
		*renamed, err = s.(renamer).Rename(ctx, token, token+suffix)
		return err
	}
}

func swaps(suffix string, old, data []byte, current *[]byte, swapped *bool) func(ctx context.Context, s scs.CtxStore, token string) error {
	return func(ctx context.Context, s scs.CtxStore, token string) (err error) {
		*current, *swapped, err = s.(swapper).Swap(ctx, token+suffix, old, data, inAnHour())
		return err
	}
}

// renamedBeside checks that a record is under its new name alone after a Rename
// that ran beside call.
func (e *env) renamedBeside(call func(ctx context.Context, s scs.CtxStore, token string) error) {
	e.Helper()
	var renamed bool
	e.race(renames(" new", &renamed), call, func(token string) {
		if !renamed {
			e.Error("Rename has not renamed what was in use")
		}
		e.wantAbsent(token, "renamed while it was in use")
		e.wantFound(token+" new", body(1), "renamed while it was in use")
	})
}

func (e *env) wantGone(current []byte) {
	e.Helper()
	if current != nil {
		e.Errorf("a Swap of what was renamed gave current %s, want nil", show(current))
	}
}
