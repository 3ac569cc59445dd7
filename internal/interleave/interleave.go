// Package interleave runs requests of one session in a given order of their store
// calls, and says what may come out of it: the outcome of some order in which the
// requests run one after the other. It is for tests.
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
)

// Short is how many of the Scripts are meant for three requests at once.
const Short = 4

// Store is what a store must have to be scheduled.
type Store interface {
	scs.CtxStore
	scs.IterableCtxStore
	adapter.Toucher
	adapter.FindToucher
	adapter.FindExpirer
	adapter.Swapper
}

// Turns makes the store calls of requests wait for their turn. Its zero value lets
// all of them pass.
type Turns struct {
	of   []chan struct{} // nil outside a run
	wait chan int        // a request that waits for its turn, or -1-i for one that is done
}

// Scheduled is store with its calls in turns.
func (t *Turns) Scheduled(store Store) Store { return &scheduled{store, t} }

// GenID names the session that a request begins after the request. It is for
// adapter.Options, as ids must be known.
func GenID(r *http.Request) string {
	return fmt.Sprintf("%s%v", prefix, r.Context().Value(requestKey{}))
}

const prefix = "session-of-request-"

// Name is the name, in an Outcome, of the session with this id.
func Name(id string) string {
	if name, ok := strings.CutPrefix(id, prefix); ok {
		return name
	}
	return ""
}

// Run is what a run did.
type Run struct {
	Chosen   []int   // whose turn it was
	Enabled  [][]int // whose it could have been
	Found    []bool  // which requests found the session when they loaded it
	Codes    []int   // the statuses of the answers
	CameBack bool    // the session was there again after it had ended
	Late     bool    // one that found the session must have noticed that another ended it
}

// Do runs the requests, taking the managers in turn.
// Before each store call choose says whose it is to be; there tells whether the
// session is in the store.
func (t *Turns) Do(requests []Script, managers []*adapter.Manager, cookie string, choose func(step int, can []int) int, there func() bool) (run Run) {
	t.of, t.wait = make([]chan struct{}, len(requests)), make(chan int)
	defer func() { t.of = nil }()
	waiting := map[int]bool{}
	run.Codes = make([]int, len(requests))
	for i, req := range requests {
		t.of[i] = make(chan struct{})
		go func() {
			run.Codes[i] = Serve(managers[i%len(managers)], req, i, cookie).Code
			t.wait <- -1 - i
		}()
		if n := <-t.wait; n >= 0 {
			waiting[n] = true
		}
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
		if n := <-t.wait; n >= 0 {
			waiting[n] = true
		}
		is := there()
		run.CameBack = run.CameBack || ended && is
		if !ended && !is {
			ended, by = true, turn
		}
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

// requestKey is the context's key for a request's number.
type requestKey struct{}

// scheduled makes each call wait for its turn.
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

func (s *scheduled) DeleteCtx(ctx context.Context, token string) error {
	s.turn(ctx)
	return s.Store.DeleteCtx(ctx, token)
}

func (s *scheduled) Touch(ctx context.Context, token string, expiry time.Time) (bool, error) {
	s.turn(ctx)
	return s.Store.Touch(ctx, token, expiry)
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

// JSONRecords is the store's own answer.
func (s *scheduled) JSONRecords() bool {
	j, ok := s.Store.(adapter.JSONRecorder)
	return ok && j.JSONRecords()
}
