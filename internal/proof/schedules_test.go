//go:build unix

package proof

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends"
	"github.com/samesid/samesid/internal/eachstore"
	"github.com/samesid/samesid/internal/interleave"
	"github.com/samesid/samesid/internal/leaktest"
	"github.com/samesid/samesid/internal/wire"
)

// fewSchedules is the default number of random schedules on each layout.
const fewSchedules = 10

// schedules returns the number of random schedules of each kind to run on each layout:
// SCHEDULES, or fewSchedules. SCHEDULES_SEED repeats the run of a failure, which logs its
// seed.
func schedules(t *testing.T) (n int, seed uint64) {
	t.Helper()
	n, seed = fewSchedules, 1
	if text := os.Getenv("SCHEDULES"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatalf("SCHEDULES: %v", err)
		}
		seed = rand.Uint64()
	}
	if text := os.Getenv("SCHEDULES_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("SCHEDULES_SEED: %v", err)
		}
	}
	return n, seed
}

const scheduledID = "the-first-session"

// schedulePlace is a store that two Managers share as two processes would, each with its
// own connections. Their calls are scheduled.
type schedulePlace struct {
	backends.Store
	defaults bool // of the Managers' options
	resave   bool
	managers []*adapter.Manager
	turns    interleave.Turns
	cookie   string
	seed     []byte
	other    []byte       // the record of interleave.Other
	busy     []*busyStore // of the stores, if their calls are to share commands
	log      leaktest.Log
}

func newSchedulePlace(t *testing.T, stores []backends.Store, o adapter.Options) *schedulePlace {
	t.Helper()
	p := &schedulePlace{Store: stores[0], resave: o.Resave}
	signed := wire.NewSigner([]string{foreignSecret}).Sign(scheduledID)
	p.cookie = "connect.sid=" + wire.EncodeURIComponent(signed)
	leaktest.Note(signed)
	o.Secrets, o.GenID, o.Logger = []string{foreignSecret}, interleave.GenID, p.log.Logger()
	for _, store := range stores {
		o.Store = p.turns.Scheduled(store.(interleave.Store))
		m, err := adapter.New(o)
		if err != nil {
			t.Fatal(err)
		}
		p.managers = append(p.managers, m)
	}
	// The records are encoded as the Managers encode them.
	record := func(key string, value any) []byte {
		ctx, err := p.managers[0].LoadID(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		p.managers[0].Put(ctx, key, value)
		id, _, err := p.managers[0].Commit(ctx)
		if err != nil {
			t.Fatal(err)
		}
		data, _, err := p.FindCtx(t.Context(), id)
		if err == nil {
			err = p.DeleteCtx(t.Context(), id)
		}
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	p.seed, p.other = record("user", "u"), record("other", true)
	return p
}

func (p *schedulePlace) reset(t *testing.T) {
	t.Helper()
	if err := p.Clear(t.Context()); err != nil {
		t.Fatal(err)
	}
	for id, data := range map[string][]byte{scheduledID: p.seed, interleave.Other: p.other} {
		if err := p.CommitCtx(t.Context(), id, data, time.Now().Add(24*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range p.busy {
		c.data = [2][]byte{p.seed, p.other}
		if err := c.fill(t.Context(), time.Now().Add(24*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	p.log.Reset()
}

// outcome returns the outcome of a run, from the store and the log.
func (p *schedulePlace) outcome(t *testing.T) interleave.Outcome {
	t.Helper()
	got := interleave.Outcome{Sessions: map[string]map[string]any{}}
	m := p.managers[0]
	err := m.Iterate(t.Context(), func(ctx context.Context) error {
		if strings.HasPrefix(m.Token(ctx), inCrowd) {
			return nil
		}
		values := map[string]any{}
		for _, k := range m.Keys(ctx) {
			values[k] = m.Get(ctx, k)
		}
		got.Sessions[interleave.Name(m.Token(ctx))] = values
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	got.Lost = strings.Contains(p.log.String(), "was ended while this request ran")
	return got
}

func names(requests []interleave.Script) string {
	var all []string
	for _, r := range requests {
		all = append(all, r.Name)
	}
	return strings.Join(all, " | ")
}

// pick returns between 2 and most random requests.
func pick(random *rand.Rand, most int) []interleave.Script {
	requests := make([]interleave.Script, 2+random.IntN(most-1))
	for i := range requests {
		requests[i] = interleave.Scripts[random.IntN(len(interleave.Scripts))]
	}
	return requests
}

func inEachSchedulePlace(t *testing.T, test func(t *testing.T, p *schedulePlace)) {
	t.Parallel()
	for name, o := range map[string]adapter.Options{
		"defaults":   {},
		"resave":     {Resave: true, Rolling: true, Cookie: adapter.Cookie{MaxAge: time.Hour}},
		"touchAfter": {TouchAfter: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			eachstore.RunSome(t, func(t *testing.T, k eachstore.Kind) {
				t.Parallel()
				p := k.Place(t)
				stores := []backends.Store{p.Open(t), nil}
				if stores[1] = stores[0]; k.Lasts() {
					stores[1] = p.Open(t)
				}
				sp := newSchedulePlace(t, stores, o)
				sp.defaults = name == "defaults"
				test(t, sp)
			})
		})
	}
}

// possible reports whether the requests can have this outcome. unsure means that requests in
// found may in fact not have found the session.
func (p *schedulePlace) possible(requests []interleave.Script, found []bool, unsure bool, got interleave.Outcome) bool {
	masks := 1
	if unsure {
		masks <<= len(found)
	}
	some := make([]bool, len(found))
	for mask := range masks {
		for i := range found {
			some[i] = found[i] && mask&(1<<i) == 0
		}
		if slices.ContainsFunc(interleave.Outcomes(requests, some), func(one interleave.Outcome) bool {
			return reflect.DeepEqual(one.Sessions, got.Sessions) && (one.Lost == got.Lost || p.resave)
		}) {
			return true
		}
	}
	return false
}

// scheduled runs requests in two processes, whose store calls come in the order that choose
// chooses. The outcome must be that of some serial order of the requests.
func (p *schedulePlace) scheduled(t *testing.T, which string, requests []interleave.Script, choose func(step int, can []int) int) interleave.Run {
	t.Helper()
	p.reset(t)
	run := p.turns.Do(requests, p.managers, p.cookie, choose, func() bool {
		_, found, err := p.FindCtx(t.Context(), scheduledID)
		if err != nil {
			t.Error(err)
		}
		return found
	})
	got := p.outcome(t)
	// A session with an age of its own is read and touched in two calls, between
	// which it may end.
	unsure := slices.ContainsFunc(requests, func(r interleave.Script) bool { return r.Name == "maxAge" })
	failed := ""
	switch {
	case slices.ContainsFunc(run.Codes, func(code int) bool { return code != http.StatusOK }):
		failed = fmt.Sprint("answered ", run.Codes)
	case run.CameBack:
		failed = "the session came back"
	case run.Late && !got.Lost && !unsure:
		failed = "nobody has noticed that the session was ended"
	case !p.possible(requests, run.Found, unsure, got):
		failed = fmt.Sprintf("%+v", got)
	}
	if failed != "" {
		t.Fatalf("%s in the order %v: %s (%s)", names(requests), run.Chosen, failed, which)
	}
	return run
}

// Requests of one session, in two processes, make their store calls in random orders, up to
// three of any kind, and, with the default options, in every order: for pairs of the first
// few kinds, or of all with SCHEDULES.
func TestSchedules(t *testing.T) {
	n, seed := schedules(t)
	scripts := interleave.Scripts
	if n <= fewSchedules {
		scripts = scripts[:interleave.Short]
	}
	inEachSchedulePlace(t, func(t *testing.T, p *schedulePlace) {
		for i, a := range scripts {
			if !p.defaults {
				break
			}
			for _, b := range scripts[:i+1] {
				for schedule := []int{}; schedule != nil; {
					run := p.scheduled(t, "every order", []interleave.Script{a, b}, func(step int, can []int) int {
						if step < len(schedule) && slices.Contains(can, schedule[step]) {
							return schedule[step]
						}
						return can[0]
					})
					schedule = interleave.Next(run.Chosen, run.Enabled)
				}
			}
		}
		random := rand.New(rand.NewPCG(seed, 0))
		for i := range n {
			which := fmt.Sprintf("SCHEDULES_SEED=%d, schedule %d", seed, i)
			p.scheduled(t, which, pick(random, 3), func(_ int, can []int) int { return can[random.IntN(len(can))] })
		}
	})
}

// The same with real concurrency instead of a schedule, and up to four requests.
func TestRaces(t *testing.T) {
	n, seed := schedules(t)
	inEachSchedulePlace(t, func(t *testing.T, p *schedulePlace) {
		random := rand.New(rand.NewPCG(seed, 1))
		for i := range n {
			requests := pick(random, 4)
			p.reset(t)
			var wg sync.WaitGroup
			for i, r := range requests {
				wg.Go(func() {
					if w := interleave.Serve(p.managers[i%2], r, i, p.cookie); w.Code != http.StatusOK {
						t.Errorf("%s: %d", r.Name, w.Code)
					}
				})
			}
			wg.Wait()
			got := p.outcome(t)
			if !p.possible(requests, slices.Repeat([]bool{true}, len(requests)), true, got) {
				t.Fatalf("%s: %+v (SCHEDULES_SEED=%d, race %d)", names(requests), got, seed, i)
			}
		}
	})
}
