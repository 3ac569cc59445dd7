// Package interleave runs concurrent requests of one session with a given schedule of
// their store calls. Its model computes the permitted outcomes: those of running the
// requests in some serial order. It is for tests.
package interleave

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends/contract"
)

// Short is the number of Scripts, from the first, that are meant for three concurrent
// requests.
const Short = 4

// Store holds the methods that a store needs in order to be scheduled.
type Store interface {
	scs.CtxStore
	scs.IterableCtxStore
	contract.FindToucher
	contract.FindExpirer
	contract.Swapper
	contract.Mover
}

// Turns makes the store calls of requests wait for their turn. Outside of Do, no call
// waits.
type Turns struct {
	// Settle, if not nil, waits until no request can go on without a turn: it is
	// synctest.Wait. Without it, no request may wait for another one, as for a lock.
	Settle func()

	of   []chan struct{} // nil outside a run
	wait chan int        // i when request i waits for its turn, -1-i when it is done
}

// Scheduled returns store with calls that wait for their turn.
func (t *Turns) Scheduled(store Store) Store { return &scheduled{store, t} }

// ScheduledPlain returns store with the methods of scs alone, whose calls wait for their
// turn. It needs Settle.
func (t *Turns) ScheduledPlain(store Store) scs.CtxStore {
	s := &scheduled{store, t}
	return struct {
		scs.CtxStore
		scs.IterableCtxStore
	}{s, s}
}

// GenID returns a session id made from the number of the request that begins the
// session. It is for adapter.Options, since the tests must know the ids.
func GenID(r *http.Request) string {
	return fmt.Sprintf("%s%v", prefix, r.Context().Value(requestKey{}))
}

const prefix = "session-of-request-"

// Name returns the name that the session with this id has in an Outcome.
func Name(id string) string {
	if name, ok := strings.CutPrefix(id, prefix); ok {
		return name
	}
	if id == Other {
		return "other"
	}
	return ""
}

// Run is the record of a run.
type Run struct {
	Chosen   []int   // the request that had each turn
	Enabled  [][]int // the requests that could have had each turn
	Found    []bool  // which requests found the session when they loaded it
	Codes    []int   // the statuses of the answers
	CameBack bool    // the session was in the store again after it had ended
	Late     bool    // a request that had found the session must have noticed its end
}

// Do runs the requests, which take the managers in turn. choose selects the request that
// makes the next store call. there reports whether the session is in the store.
func (t *Turns) Do(requests []Script, managers []*adapter.Manager, cookie string, choose func(step int, can []int) int, there func() bool) (run Run) {
	t.of, t.wait = make([]chan struct{}, len(requests)), make(chan int)
	defer func() { t.of = nil }()
	waiting, done := map[int]bool{}, 0
	note := func(n int) {
		if n >= 0 {
			waiting[n] = true
		} else {
			done++
		}
	}
	settle := func() { note(<-t.wait) }
	if t.Settle != nil {
		settle = func() {
			for t.Settle(); ; t.Settle() {
				select {
				case n := <-t.wait:
					note(n)
				default:
					return
				}
			}
		}
	}
	run.Codes = make([]int, len(requests))
	for i, req := range requests {
		t.of[i] = make(chan struct{})
		go func() {
			run.Codes[i] = Serve(managers[i%len(managers)], req, i, cookie).Code
			t.wait <- -1 - i
		}()
		settle()
	}
	ended, by := false, 0
	run.Found = make([]bool, len(requests))
	begun := make([]bool, len(requests))
	for len(waiting) > 0 {
		can := slices.Sorted(maps.Keys(waiting))
		turn := choose(len(run.Chosen), can)
		run.Chosen, run.Enabled = append(run.Chosen, turn), append(run.Enabled, can)
		delete(waiting, turn)
		if !begun[turn] {
			begun[turn] = true
			run.Found[turn] = there()
		} else if ended && by != turn && run.Found[turn] && requests[turn].notices() {
			run.Late = true
		}
		t.of[turn] <- struct{}{}
		settle()
		is := there()
		run.CameBack = run.CameBack || ended && is
		if !ended && !is {
			ended, by = true, turn
		}
	}
	if done < len(requests) {
		panic("interleave: the requests wait for each other")
	}
	return run
}

// Serve runs request i through the Manager's middleware.
func Serve(m *adapter.Manager, s Script, i int, cookie string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r = r.WithContext(context.WithValue(r.Context(), requestKey{}, i))
	r.Header.Set("Cookie", cookie)
	w := httptest.NewRecorder()
	m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.run(m, r.Context(), fmt.Sprint(i))
	})).ServeHTTP(w, r)
	return w
}

// requestKey is the context key of a request's number.
type requestKey struct{}

// scheduled is a Store whose calls wait for their turn.
type scheduled struct {
	Store
	turns *Turns
}

func (s *scheduled) turn(ctx context.Context) {
	i, ok := ctx.Value(requestKey{}).(int)
	if s.turns.of == nil || !ok {
		return
	}
	s.turns.wait <- i
	<-s.turns.of[i]
}

func (s *scheduled) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	s.turn(ctx)
	return s.Store.FindCtx(ctx, token)
}

func (s *scheduled) CommitCtx(ctx context.Context, token string, b []byte, expiry time.Time) error {
	s.turn(ctx)
	return s.Store.CommitCtx(ctx, token, b, expiry)
}

func (s *scheduled) AllCtx(ctx context.Context) (map[string][]byte, error) {
	s.turn(ctx)
	return s.Store.AllCtx(ctx)
}

func (s *scheduled) DeleteCtx(ctx context.Context, token string) error {
	s.turn(ctx)
	return s.Store.DeleteCtx(ctx, token)
}

func (s *scheduled) FindTouch(ctx context.Context, token string, expiry time.Time) ([]byte, bool, error) {
	s.turn(ctx)
	return s.Store.FindTouch(ctx, token, expiry)
}

func (s *scheduled) FindExpiry(ctx context.Context, token string) ([]byte, time.Time, bool, error) {
	s.turn(ctx)
	return s.Store.FindExpiry(ctx, token)
}

func (s *scheduled) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	s.turn(ctx)
	return s.Store.Swap(ctx, token, old, data, expiry)
}

func (s *scheduled) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	s.turn(ctx)
	return s.Store.Move(ctx, from, to, data, expiry)
}

// JSONRecords returns the store's own answer.
func (s *scheduled) JSONRecords() bool {
	j, ok := s.Store.(contract.JSONRecorder)
	return ok && j.JSONRecords()
}
