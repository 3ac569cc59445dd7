package storetest

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/backends/contract"
)

// many is larger than the largest page that Range may read, which has 1,000 records.
const many = 1100

// fill commits n records, several concurrently, since each may take a round trip.
func (e *env) fill(prefix string, n int) map[string][]byte {
	e.Helper()
	want := make(map[string][]byte, n)
	for i := range n {
		want[fmt.Sprintf("%s%05d", prefix, i)] = body(i)
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				if err := e.store.CommitCtx(e.Context(), fmt.Sprintf("%s%05d", prefix, i), body(i), inAnHour()); err != nil {
					e.Errorf("CommitCtx: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	return want
}

var iterateTests = []test{
	{name: "nothing", run: func(e *env) {
		e.wantEverything(map[string][]byte{}, "in an empty store")
		e.commit("id", body(1), inAnHour())
		e.ok(e.store.Delete("id"), "Delete")
		e.wantEverything(map[string][]byte{}, "after the only record was deleted")
	}},
	{name: "everything", run: func(e *env) {
		want := e.fill("id", many)
		e.wantEverything(want, "many records")
		e.commit("expired", body(1), time.Now().Add(-time.Hour))
		for i := range 10 {
			token := fmt.Sprintf("id%05d", i*100)
			e.ok(e.store.Delete(token), "Delete")
			delete(want, token)
		}
		e.wantEverything(want, "many records, some deleted")
	}},
	{name: "data is the caller's", run: func(e *env) {
		e.commit("id", body(1), inAnHour())
		if e.has("Range") {
			e.ok(e.store.(contract.Ranger).Range(e.Context(), func(_ string, data []byte) error {
				scribble(data)
				return nil
			}), "Range")
			e.wantFound("id", body(1), "after changing what Range passed on")
		}
		if e.has("All") {
			all, err := e.store.(scs.IterableStore).All()
			e.ok(err, "All")
			scribble(all["id"])
			delete(all, "id")
			e.wantFound("id", body(1), "after changing what All returned")
		}
		if e.has("AllCtx") {
			all, err := e.store.(scs.IterableCtxStore).AllCtx(e.Context())
			e.ok(err, "AllCtx")
			scribble(all["id"])
			delete(all, "id")
			e.wantFound("id", body(1), "after changing what AllCtx returned")
		}
	}},
	{name: "range stops at an error", needs: []string{"Range"}, run: func(e *env) {
		e.fill("id", 50)
		stop := errors.New("stop")
		calls := 0
		err := e.store.(contract.Ranger).Range(e.Context(), func(string, []byte) error {
			if calls++; calls == 7 {
				return stop
			}
			return nil
		})
		if !errors.Is(err, stop) {
			e.Errorf("Range returned %v, want the function's error", err)
		}
		if calls != 7 {
			e.Errorf("Range made %d calls, want none after the one that failed, the 7th", calls)
		}
	}},
	{name: "range lets the store be called", needs: []string{"Range"}, run: func(e *env) {
		want := e.fill("id", many)
		seen := make(map[string]bool)
		e.ok(e.store.(contract.Ranger).Range(e.Context(), func(token string, data []byte) error {
			if seen[token] {
				return nil
			}
			seen[token] = true
			if !same(data, want[token]) {
				e.Errorf("Range gave %s for %q, want %s", show(data), token, show(want[token]))
			}
			if len(seen)%2 == 0 {
				return e.store.CommitCtx(e.Context(), token, want[token], inAnHour())
			}
			return e.store.DeleteCtx(e.Context(), token)
		}), "Range")
		if len(seen) != len(want) {
			e.Errorf("Range saw %d records, want %d", len(seen), len(want))
		}
		left := make(map[string][]byte)
		e.ok(e.store.(contract.Ranger).Range(e.Context(), func(token string, data []byte) error {
			left[token] = data
			return nil
		}), "Range")
		if len(left) != len(want)/2 {
			e.Errorf("%d records are left, want the %d that were not deleted on the way", len(left), len(want)/2)
		}
	}},
	{name: "range beside writers", needs: []string{"Range"}, run: func(e *env) {
		want := e.fill("stays", many)
		done := make(chan struct{})
		var wg sync.WaitGroup
		for w := range 2 {
			wg.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-done:
						return
					default:
					}
					token := fmt.Sprintf("passing%d-%05d", w, i%many)
					if err := e.store.CommitCtx(e.Context(), token, body(i), inAnHour()); err != nil {
						e.Errorf("CommitCtx: %v", err)
						return
					}
					if i%3 == 0 {
						if err := e.store.DeleteCtx(e.Context(), token); err != nil {
							e.Errorf("DeleteCtx: %v", err)
							return
						}
					}
				}
			})
		}
		seen := make(map[string]bool)
		err := e.store.(contract.Ranger).Range(e.Context(), func(token string, _ []byte) error {
			seen[token] = true
			return nil
		})
		close(done)
		wg.Wait()
		e.ok(err, "Range")
		for token := range want {
			if !seen[token] {
				e.Errorf("Range has missed %q, which was there all the time", token)
			}
		}
	}},
	{name: "clear", needs: []string{"Clear"}, run: func(e *env) {
		e.ok(e.store.(clearer).Clear(e.Context()), "Clear of an empty store")
		e.fill("id", many)
		bystander := e.New(e.T)
		e.ok(bystander.Commit("id00000", body(1), inAnHour()), "Commit to another store")
		e.ok(e.store.(clearer).Clear(e.Context()), "Clear")
		e.wantAbsent("id00000", "after Clear")
		e.wantEverything(map[string][]byte{}, "after Clear")
		e.commit("id00000", body(2), inAnHour())
		e.wantFound("id00000", body(2), "committed after Clear")
		(&env{T: e.T, Harness: e.Harness, store: bystander}).wantFound("id00000", body(1), "in another store")
	}},
}
