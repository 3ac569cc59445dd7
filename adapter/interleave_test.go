package adapter_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/samesid/samesid/adapter"
)

// A script is what one request does with its session, and what that means when
// the request runs alone.
type script struct {
	name string
	run  func(m *adapter.Manager, ctx context.Context, key string)

	keys  []string // put before the session's id changes, if it does
	after []string // put after that
	does  effect
}

type effect int

const (
	changes effect = iota
	removes
	destroys
	regenerates
	renews
)

// model is what the script does to the sessions, by name: "" is the one that
// all requests began with, n one that this request begins. found says whether
// the request found that session when it loaded it. lost says that it has lost
// the session since, and must have noticed.
func (s script) model(sessions map[string]map[string]any, n string, found bool) (lost bool) {
	first, there := sessions[""]
	add := func(to map[string]any, keys []string) {
		for _, k := range keys {
			to[n+k] = true
		}
	}
	if !found { // the request has a session of its own from the start
		own := sessions[n]
		if own == nil {
			own = map[string]any{}
		}
		if s.does != regenerates && s.does != destroys {
			add(own, s.keys)
		}
		add(own, s.after)
		if len(own) > 0 {
			sessions[n] = own
		}
		return false
	}
	if there {
		add(first, s.keys)
	}
	switch s.does {
	case removes:
		delete(first, "user")
	case destroys:
		delete(sessions, "")
	case regenerates:
		delete(sessions, "")
		sessions[n] = map[string]any{}
		add(sessions[n], s.after)
	case renews:
		delete(sessions, "")
		if !there {
			first = map[string]any{} // ended by another: its data stays gone
		}
		sessions[n] = first
		add(first, s.after)
	}
	return !there && s.does != destroys && s.does != regenerates && s.name != "read"
}

var scripts = []script{
	{name: "put", keys: []string{"1"}, run: func(m *adapter.Manager, ctx context.Context, key string) {
		m.Put(ctx, key+"1", true)
	}},
	{name: "destroy", does: destroys, run: func(m *adapter.Manager, ctx context.Context, key string) {
		_ = m.Destroy(ctx)
	}},
	{name: "regenerate", keys: []string{"1"}, does: regenerates, after: []string{"2"}, run: func(m *adapter.Manager, ctx context.Context, key string) {
		m.Put(ctx, key+"1", true)
		_ = m.Regenerate(ctx)
		m.Put(ctx, key+"2", true)
	}},
	{name: "renew", keys: []string{"1"}, does: renews, after: []string{"2"}, run: func(m *adapter.Manager, ctx context.Context, key string) {
		m.Put(ctx, key+"1", true)
		_ = m.RenewToken(ctx)
		m.Put(ctx, key+"2", true)
	}},
	{name: "read", run: func(m *adapter.Manager, ctx context.Context, key string) { m.Get(ctx, "user") }},
	{name: "remove", does: removes, run: func(m *adapter.Manager, ctx context.Context, key string) { m.Remove(ctx, "user") }},
	{name: "save", keys: []string{"1", "2"}, run: func(m *adapter.Manager, ctx context.Context, key string) {
		m.Put(ctx, key+"1", true)
		_ = m.Save(ctx)
		m.Put(ctx, key+"2", true)
	}},
	{name: "reload", keys: []string{"1"}, run: func(m *adapter.Manager, ctx context.Context, key string) {
		_ = m.Reload(ctx)
		m.Put(ctx, key+"1", true)
	}},
	{name: "maxAge", run: func(m *adapter.Manager, ctx context.Context, key string) { m.SetMaxAge(ctx, time.Hour) }},
	{name: "touch", run: func(m *adapter.Manager, ctx context.Context, key string) { _ = m.Touch(ctx) }},
}

// short are the scripts of which three run at once.
var short = scripts[:4]

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
			for i, a := range scripts {
				for _, b := range scripts[:i+1] {
					runs += interleave(t, o, a, b)
				}
			}
			if name == "json" {
				for i, a := range short {
					for j, b := range short[:i+1] {
						for _, c := range short[:j+1] {
							runs += interleave(t, o, a, b, c)
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

// interleave runs every schedule of these requests and returns how many.
func interleave(t *testing.T, o adapter.Options, requests ...script) (runs int) {
	t.Helper()
	const first = "the-first-session"
	store := &scheduledStore{fullStore: fullStore{newMapStore()}, wait: make(chan int)}
	out := &logs{}
	o.Store, o.Logger = store, out.logger()
	o.GenID = func(r *http.Request) string { return fmt.Sprintf("session-of-%d", r.Context().Value(requestKey{})) }
	m := newManager(t, o)
	var seed []byte
	{
		id := begin(t, m, map[string]any{"user": "u"})
		seed = store.records[id].data
	}

	var names []string
	for _, r := range requests {
		names = append(names, r.name)
	}
	for schedule := []int{}; schedule != nil; {
		store.records = map[string]mapRecord{first: {seed, time.Now().Add(24 * time.Hour)}}
		chosen, enabled, found, cameBack := store.run(m, first, schedule, requests)
		runs++

		got := map[string]map[string]any{}
		for id := range store.records {
			name := strings.TrimPrefix(id, "session-of-")
			if id == first {
				name = ""
			}
			got[name] = read(t, m, id)
		}
		lost := strings.Contains(out.String(), "was ended while this request ran")
		out.b.Reset()
		if !slices.ContainsFunc(outcomes(requests, found), func(one serial) bool {
			// With Resave, a request that only reads notices too.
			return reflect.DeepEqual(one.sessions, got) && (one.lost == lost || o.Resave)
		}) {
			t.Errorf("%s in the order %v: %v, a loss in the log: %t", strings.Join(names, " | "), chosen, got, lost)
			return runs
		}
		if cameBack {
			t.Errorf("%s in the order %v: the session came back", strings.Join(names, " | "), chosen)
			return runs
		}
		schedule = next(chosen, enabled)
	}
	return runs
}

// next is the schedule after one that was run, depth first; nil after the last.
func next(chosen []int, enabled [][]int) []int {
	for i := len(chosen) - 1; i >= 0; i-- {
		at := slices.Index(enabled[i], chosen[i])
		if at+1 < len(enabled[i]) {
			return append(slices.Clone(chosen[:i]), enabled[i][at+1])
		}
	}
	return nil
}

// serial is the outcome of requests that ran one after the other.
type serial struct {
	sessions map[string]map[string]any
	lost     bool
}

// outcomes are those of the requests one after the other, in every order. One
// that saves twice is two steps, and another may come between them.
func outcomes(requests []script, found []bool) (all []serial) {
	type step struct {
		script
		request, at int
	}
	var steps []step
	for i, r := range requests {
		if r.name != "save" {
			steps = append(steps, step{r, i, 0})
			continue
		}
		for at, key := range r.keys {
			steps = append(steps, step{script{keys: []string{key}}, i, at})
		}
	}
	var order func(done, left []step)
	order = func(done, left []step) {
		if len(left) == 0 {
			sessions := map[string]map[string]any{"": {"user": "u"}}
			lost := false
			for _, s := range done {
				lost = s.model(sessions, fmt.Sprint(s.request), found[s.request]) || lost
			}
			all = append(all, serial{sessions, lost})
		}
		for i, s := range left {
			if s.at == 0 || slices.ContainsFunc(done, func(d step) bool { return d.request == s.request }) {
				order(append(slices.Clone(done), s), slices.Delete(slices.Clone(left), i, i+1))
			}
		}
	}
	order(nil, steps)
	return all
}

// requestKey is the context's key for a request's number.
type requestKey struct{}

// scheduledStore makes each call wait for its turn.
type scheduledStore struct {
	fullStore
	turns []chan struct{} // nil outside a run
	wait  chan int        // a request that waits for its turn, or -1-i for one that is done
}

// run runs the requests in this order of store calls, and then in any. It
// returns the order, what could have run at each step, which requests found the
// session when they loaded it, and whether it was there again after it had ended.
func (s *scheduledStore) run(m *adapter.Manager, id string, schedule []int, requests []script) (chosen []int, enabled [][]int, found []bool, cameBack bool) {
	s.turns = make([]chan struct{}, len(requests))
	defer func() { s.turns = nil }()
	waiting := map[int]bool{}
	for i, req := range requests {
		s.turns[i] = make(chan struct{})
		go func() {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r = r.WithContext(context.WithValue(r.Context(), requestKey{}, i))
			r.Header.Set("Cookie", cookieFor(id))
			m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				req.run(m, r.Context(), fmt.Sprint(i))
			})).ServeHTTP(httptest.NewRecorder(), r)
			s.wait <- -1 - i
		}()
		if n := <-s.wait; n >= 0 {
			waiting[n] = true
		}
	}
	ended := false
	found = make([]bool, len(requests))
	begun := make([]bool, len(requests))
	for len(waiting) > 0 {
		can := slices.Sorted(maps.Keys(waiting))
		turn := can[0]
		if len(chosen) < len(schedule) {
			turn = schedule[len(chosen)]
		}
		chosen, enabled = append(chosen, turn), append(enabled, can)
		delete(waiting, turn)
		if !begun[turn] {
			begun[turn] = true
			_, found[turn] = s.records[id]
		}
		s.turns[turn] <- struct{}{}
		if n := <-s.wait; n >= 0 {
			waiting[n] = true
		}
		_, there := s.records[id]
		cameBack = cameBack || ended && there
		ended = ended || !there
	}
	return chosen, enabled, found, cameBack
}

func (s *scheduledStore) turn(ctx context.Context) {
	if s.turns == nil {
		return
	}
	i := ctx.Value(requestKey{}).(int)
	s.wait <- i
	<-s.turns[i]
}

func (s *scheduledStore) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	s.turn(ctx)
	return s.fullStore.FindCtx(ctx, token)
}

func (s *scheduledStore) DeleteCtx(ctx context.Context, token string) error {
	s.turn(ctx)
	return s.fullStore.DeleteCtx(ctx, token)
}

func (s *scheduledStore) Touch(ctx context.Context, token string, expiry time.Time) (bool, error) {
	s.turn(ctx)
	return s.fullStore.Touch(ctx, token, expiry)
}

func (s *scheduledStore) FindTouch(ctx context.Context, token string, expiry time.Time) ([]byte, bool, error) {
	s.turn(ctx)
	return s.fullStore.FindTouch(ctx, token, expiry)
}

func (s *scheduledStore) FindExpiry(ctx context.Context, token string) ([]byte, time.Time, bool, error) {
	s.turn(ctx)
	return s.fullStore.FindExpiry(ctx, token)
}

func (s *scheduledStore) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	s.turn(ctx)
	return s.fullStore.Swap(ctx, token, old, data, expiry)
}
