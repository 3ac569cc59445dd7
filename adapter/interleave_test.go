package adapter_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
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
	for name, c := range map[string]*interleaving{
		"gob":       {},
		"json":      {o: adapter.Options{Codec: adapter.JSONCodec{}}},
		"resave":    {o: adapter.Options{Codec: adapter.JSONCodec{}, Resave: true, Rolling: true}},
		"touch":     {o: adapter.Options{Codec: adapter.JSONCodec{}, TouchAfter: time.Minute}},
		"migrating": {o: adapter.Options{StoreKey: adapter.StoreKeyMigrating}},
		"plain":     {plain: true},
	} {
		t.Run(name, func(t *testing.T) {
			scripts := interleave.Scripts
			if name == "migrating" { // each request makes twice as many calls
				scripts = slices.DeleteFunc(slices.Clone(scripts), func(s interleave.Script) bool {
					return slices.Contains([]string{"save", "save and renew", "reload", "remove", "maxAge"}, s.Name)
				})
			}
			runs := 0
			for i, a := range scripts {
				for _, b := range scripts[:i+1] {
					runs += c.everyOrder(t, a, b)
				}
			}
			if name == "json" {
				for i, a := range interleave.Scripts[:interleave.Short] {
					for j, b := range interleave.Scripts[:i+1] {
						for _, d := range interleave.Scripts[:j+1] {
							runs += c.everyOrder(t, a, b, d)
						}
					}
				}
			}
			t.Logf("%d schedules", runs)
			if runs < 500 && !raceDetector || runs == 0 {
				t.Errorf("only %d schedules were run", runs)
			}
		})
	}
}

// Beside DestroyWhere, too, on each kind of store.
func TestInterleavingsWithASweep(t *testing.T) {
	for name, c := range map[string]*interleaving{
		"full":      {},
		"migrating": {o: adapter.Options{StoreKey: adapter.StoreKeyMigrating}},
		"plain":     {plain: true},
	} {
		t.Run(name, func(t *testing.T) {
			scripts := append(slices.Clone(interleave.Scripts), interleave.Sweep)
			if name == "migrating" { // each request makes twice as many calls
				scripts = interleave.Scripts[:interleave.Short+1]
			}
			runs := 0
			for _, script := range scripts {
				runs += c.everyOrder(t, interleave.Sweep, script)
			}
			t.Logf("%d schedules", runs)
			if runs < 500 && !raceDetector || runs == 0 {
				t.Errorf("only %d schedules were run", runs)
			}
		})
	}
}

// interleaving is what requests are interleaved on.
type interleaving struct {
	o     adapter.Options
	plain bool // the store has scs's methods alone
	tried int  // how many sets of requests
}

// everyOrder runs every schedule of these requests and returns how many. Under the race
// detector it does so for every third set of requests.
func (c *interleaving) everyOrder(t *testing.T, requests ...interleave.Script) (runs int) {
	t.Helper()
	if c.tried++; raceDetector && c.tried%3 != 0 {
		return 0
	}
	synctest.Test(t, func(t *testing.T) { runs = c.everyOrderInBubble(t, requests) })
	return runs
}

func (c *interleaving) everyOrderInBubble(t *testing.T, requests []interleave.Script) (runs int) {
	const first = "the-first-session"
	store, turns, out := fullStore{newMapStore()}, &interleave.Turns{Settle: synctest.Wait}, &leaktest.Log{}
	o := c.o
	o.Store, o.Logger, o.GenID = turns.Scheduled(store), out.Logger(), interleave.GenID
	if c.plain {
		o.Store = turns.ScheduledPlain(store)
	}
	m := newManager(t, o)
	o.StoreKey, o.Store = adapter.StoreKeyID, store // as it was before any migration
	before := newManager(t, o)
	out.Reset()
	id := begin(t, before, map[string]any{"user": "u"})
	seed := store.records[id].data
	delete(store.records, id) // GenID has the same id for the next
	id = begin(t, before, map[string]any{"other": true})
	other := store.records[id].data

	migrating := c.o.StoreKey == adapter.StoreKeyMigrating
	var names []string
	nameOf := map[string]string{}
	for i, r := range append([]interleave.Script{{}, {}}, requests...) {
		id := []string{first, interleave.Other}[min(i, 1)]
		if i >= 2 {
			names = append(names, r.Name)
			id = "session-of-request-" + strconv.Itoa(i-2)
		}
		hash := sha256.Sum256([]byte(id))
		nameOf[id], nameOf[base64.RawURLEncoding.EncodeToString(hash[:])] = interleave.Name(id), interleave.Name(id)
	}
	there := func() bool {
		for key := range store.records {
			if name, ok := nameOf[key]; ok && name == "" {
				return true
			}
		}
		return false
	}
	// With Resave, a change of store keys or a touch in a step of its own, a request that
	// only reads notices the end of its session too, and so does one whose session is
	// swept while it moves.
	anyLost := o.Resave || migrating || c.plain || slices.Contains(names, interleave.Sweep.Name)
	for schedule := []int{}; schedule != nil; {
		store.records = map[string]mapRecord{
			first:            {seed, time.Now().Add(24 * time.Hour)},
			interleave.Other: {other, time.Now().Add(24 * time.Hour)},
		}
		run := turns.Do(requests, []*adapter.Manager{m}, cookieFor(first), func(step int, can []int) int {
			if step < len(schedule) && slices.Contains(can, schedule[step]) {
				return schedule[step]
			}
			return can[0]
		}, there)
		runs++

		got := interleave.Outcome{Sessions: map[string]map[string]any{}}
		for key := range store.records {
			got.Sessions[nameOf[key]] = read(t, m, key)
		}
		got.Lost = strings.Contains(out.String(), "was ended while this request ran")
		out.Reset()
		// A load looks twice or more where keys change: what was there at its first look
		// may have ended by the next.
		possible := false
		for _, found := range subsets(run.Found, migrating) {
			possible = possible || slices.ContainsFunc(interleave.Outcomes(requests, found), func(one interleave.Outcome) bool {
				return reflect.DeepEqual(one.Sessions, got.Sessions) && (one.Lost == got.Lost || anyLost)
			})
		}
		failed := ""
		switch {
		case !possible:
			failed = fmt.Sprintf("%+v", got)
		case run.CameBack:
			failed = "the session came back"
		case run.Late && !got.Lost && !migrating:
			failed = "nobody has noticed that the session was ended"
		}
		if failed != "" {
			t.Errorf("%s in the order %v: %s", strings.Join(names, " | "), run.Chosen, failed)
			return runs
		}
		schedule = interleave.Next(run.Chosen, run.Enabled)
	}
	return runs
}

// subsets returns found alone, or with each choice of those that were not found after all.
func subsets(found []bool, all bool) [][]bool {
	sets := [][]bool{slices.Clone(found)}
	for i := range found {
		if !all || !found[i] {
			continue
		}
		for _, set := range sets {
			less := slices.Clone(set)
			less[i] = false
			sets = append(sets, less)
		}
	}
	return sets
}
