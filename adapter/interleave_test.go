package adapter_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/internal/interleave"
	"github.com/samesid/samesid/internal/leaktest"
)

// TestInterleavings runs requests of one session in every order that their
// store calls can come in, and wants the outcome of some order in which they
// run one after the other, with one freedom: what a request does to a session that
// was ended after it had loaded it has no effect.
func TestInterleavings(t *testing.T) {
	for name, o := range map[string]adapter.Options{
		"gob":    {},
		"json":   {Codec: adapter.JSONCodec{}},
		"resave": {Codec: adapter.JSONCodec{}, Resave: true, Rolling: true},
		"touch":  {Codec: adapter.JSONCodec{}, TouchAfter: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			runs := 0
			for i, a := range interleave.Scripts {
				for _, b := range interleave.Scripts[:i+1] {
					runs += everyOrder(t, o, a, b)
				}
			}
			if name == "json" {
				for i, a := range interleave.Scripts[:interleave.Short] {
					for j, b := range interleave.Scripts[:i+1] {
						for _, c := range interleave.Scripts[:j+1] {
							runs += everyOrder(t, o, a, b, c)
						}
					}
				}
			}
			t.Logf("%d schedules", runs)
			if runs < 500 {
				t.Errorf("only %d schedules were run", runs)
			}
		})
	}
}

// everyOrder runs every schedule of these requests and returns how many.
func everyOrder(t *testing.T, o adapter.Options, requests ...interleave.Script) (runs int) {
	t.Helper()
	const first = "the-first-session"
	store, turns, out := fullStore{newMapStore()}, &interleave.Turns{}, &leaktest.Log{}
	o.Store, o.Logger, o.GenID = turns.Scheduled(store), out.Logger(), interleave.GenID
	m := newManager(t, o)
	id := begin(t, m, map[string]any{"user": "u"})
	seed := store.records[id].data
	delete(store.records, id) // GenID has the same id for the next
	id = begin(t, m, map[string]any{"other": true})
	other := store.records[id].data

	var names []string
	for _, r := range requests {
		names = append(names, r.Name)
	}
	for schedule := []int{}; schedule != nil; {
		store.records = map[string]mapRecord{
			first:            {seed, time.Now().Add(24 * time.Hour)},
			interleave.Other: {other, time.Now().Add(24 * time.Hour)},
		}
		run := turns.Do(requests, []*adapter.Manager{m}, cookieFor(first), func(step int, can []int) int {
			if step < len(schedule) {
				return schedule[step]
			}
			return can[0]
		}, func() bool { _, ok := store.records[first]; return ok })
		runs++

		got := interleave.Outcome{Sessions: map[string]map[string]any{}}
		for id := range store.records {
			got.Sessions[interleave.Name(id)] = read(t, m, id)
		}
		got.Lost = strings.Contains(out.String(), "was ended while this request ran")
		out.Reset()
		if !slices.ContainsFunc(interleave.Outcomes(requests, run.Found), func(one interleave.Outcome) bool {
			// With Resave, a request that only reads notices too.
			return reflect.DeepEqual(one.Sessions, got.Sessions) && (one.Lost == got.Lost || o.Resave)
		}) {
			t.Errorf("%s in the order %v: %+v", strings.Join(names, " | "), run.Chosen, got)
			return runs
		}
		if run.CameBack {
			t.Errorf("%s in the order %v: the session came back", strings.Join(names, " | "), run.Chosen)
			return runs
		}
		if run.Late && !got.Lost {
			t.Errorf("%s in the order %v: nobody has noticed that the session was ended", strings.Join(names, " | "), run.Chosen)
			return runs
		}
		schedule = interleave.Next(run.Chosen, run.Enabled)
	}
	return runs
}
