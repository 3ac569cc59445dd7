// Package storetest tests a session store against its contract. With a store that
// passes in adapter.Options.Store, every guarantee of the Manager holds.
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, storetest.Harness{New: func(t *testing.T) scs.CtxStore {
//			store := memory.New(memory.Options{}) // yours
//			t.Cleanup(func() { _ = store.Close() })
//			return store
//		}})
//	}
//
// # The contract
//
// The methods of scs.CtxStore and of the optional interfaces in package contract
// do what their comments say. In addition:
//
//   - A record whose expiry has passed is absent to every method. Committing,
//     swapping, moving or touching a record to an expiry in the past succeeds and
//     leaves no record. An expiry is an instant, whatever its Location, up to the
//     year 9999.
//   - FindTouch, and a Swap whose new bytes equal the old ones, never create or
//     restore a record, and never overwrite a concurrent write.
//   - Swap is atomic. A record that Delete has removed stays removed, whatever ran
//     concurrently.
//   - Move is atomic, for one record and for several: of two calls that compare the
//     same record and change it, one wins. No other call sees a moved record under
//     both its tokens or under neither. Later calls find nothing under the old
//     token. A Move that is refused leaves each record and its expiry unchanged.
//   - Data is returned byte for byte as it was written. Empty or nil data is a record
//     too, and is returned as an empty slice that is not nil.
//   - The caller owns every slice that the store returns. A store neither keeps nor
//     changes a slice that it was given.
//   - No id can make a store fail: Find, FindTouch, FindExpiry, Delete, a Swap of a
//     known record, and a Move from any token to one of them or to an id that can be
//     stored, accept any string without an error. Ids are compared exactly: an id is
//     neither a pattern nor a prefix, and is neither trimmed nor case-folded.
//   - An id of 1 to 128 bytes of printable ASCII, or 1 to Harness.MaxID, can be stored.
//     For any other id, Commit may return an error, and a Swap that creates it or a
//     Move to it may return an error or report that it has not swapped or moved. Then
//     there is no such record: a failed write never looks like a successful one.
//   - Range and All see every record that exists from start to end. While the store
//     changes, Range may see a record twice, and a record that is moved meanwhile
//     under either token, both or neither. It reads pages of at most 1,000 records,
//     and checks its context at least between two pages.
//   - With a context that is done, a method does nothing and returns an error that
//     wraps the context's.
//   - UserTokens has each token that was noted for a user before the call, or that the
//     record of an earlier write has under the path, whoever wrote it. Users are compared
//     exactly.
//   - Ping succeeds while the store works, and not after Close.
//   - Every method is safe for concurrent use.
package storetest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/backends/contract"
)

// Harness describes the store under test, and how to open one.
type Harness struct {
	// New returns an empty store that shares no data with any other, and closes
	// it with t.Cleanup. Required.
	New func(t *testing.T) scs.CtxStore

	// Reopen returns a second handle on the data of a store that New returned, as
	// another process would open it, and closes it with t.Cleanup. Zero value: the
	// tests that need two handles use the same one twice.
	Reopen func(t *testing.T, store scs.CtxStore) scs.CtxStore

	// Advance returns when at least d has passed on the clock by which the store
	// expires records. It is called twice in a Run, for a few seconds; a server
	// should wait by its own clock. Zero value: each test runs in a bubble of
	// testing/synctest and uses the bubble's clock, which suits a store that does
	// not leave its process.
	Advance func(t *testing.T, d time.Duration)

	// Granularity is by how much a store may round an expiry up: a second for a
	// store of whole seconds. Zero value: the store does not round.
	Granularity time.Duration

	// JSON limits the tests to data that is a JSON text. Zero value: any bytes can
	// be stored.
	JSON bool

	// MaxID is the length of the longest id that the store can hold, if that is less
	// than 128 bytes. Zero value: 128.
	MaxID int

	// Without names the optional methods that the store does not have:
	// "FindTouch", "FindExpiry", "Swap", "Move", "Range", "All", "AllCtx", "Len",
	// "Clear", "Ping" or "UserTokens" (contract.UserIndex). Their tests do not run. Zero value: it has them all.
	Without []string
}

// lener, clearer, pinger and closer are methods that the stores of this module have beyond package
// contract.
type (
	lener interface {
		Len(ctx context.Context) (int, error)
	}
	clearer interface {
		Clear(ctx context.Context) error
	}
	pinger interface {
		Ping(ctx context.Context) error
	}
	closer interface {
		Close() error
	}
)

var optional = map[string]func(scs.CtxStore) bool{
	"FindTouch":  is[contract.FindToucher],
	"FindExpiry": is[contract.FindExpirer],
	"Swap":       is[contract.Swapper],
	"Move":       is[contract.Mover],
	"Range":      is[contract.Ranger],
	"All":        is[scs.IterableStore],
	"AllCtx":     is[scs.IterableCtxStore],
	"Len":        is[lener],
	"Clear":      is[clearer],
	"Ping":       is[pinger],
	"UserTokens": is[contract.UserIndex],
}

func is[T any](s scs.CtxStore) bool {
	_, ok := s.(T)
	return ok
}

// test is a test of the suite. It runs only if the store has the methods in needs, and
// if only, when set, returns true.
type test struct {
	name  string
	run   func(*env)
	needs []string
	only  func(Harness) bool
}

func (c test) applies(h Harness) bool {
	lacks := func(method string) bool { return slices.Contains(h.Without, method) }
	return !slices.ContainsFunc(c.needs, lacks) && (c.only == nil || c.only(h))
}

func anyBytes(h Harness) bool { return !h.JSON }

// exact reports whether the clock stands still between sleeps and the store does not
// round.
func exact(h Harness) bool { return h.Advance == nil && h.Granularity == 0 }

var topics = []struct {
	name  string
	tests []test
}{
	{"find", findTests},
	{"commit", commitTests},
	{"delete", deleteTests},
	{"expiry", expiryTests},
	{"touch", touchTests},
	{"findtouch", findTouchTests},
	{"findexpiry", findExpiryTests},
	{"swap", swapTests},
	{"move", slices.Concat(moveTests, moveRaceTests)},
	{"iterate", iterateTests},
	{"concurrency", concurrencyTests},
	{"cancellation", cancellationTests},
	{"odd", oddTests},
	{"users", userTests},
	{"ping", pingTests},
}

// Run tests a store against the contract. Each test is a subtest under its topic's
// name and has a store of its own.
func Run(t *testing.T, h Harness) {
	t.Helper()
	if h.New == nil {
		t.Fatal("storetest: Harness.New is required")
	}
	for _, name := range h.Without {
		if optional[name] == nil {
			t.Fatalf("storetest: Harness.Without names %q, which is no optional method", name)
		}
	}
	if !h.subtest(t, test{name: "methods", run: methods}) {
		return
	}
	for _, topic := range topics {
		t.Run(topic.name, func(t *testing.T) {
			for _, c := range topic.tests {
				if c.applies(h) {
					h.subtest(t, c)
				}
			}
		})
	}
}

func (h Harness) subtest(t *testing.T, c test) bool {
	body := func(t *testing.T) { c.run(&env{T: t, Harness: h, store: h.New(t)}) }
	if h.Advance != nil {
		return t.Run(c.name, body)
	}
	return t.Run(c.name, func(t *testing.T) { synctest.Test(t, body) })
}

// methods verifies that Without names exactly the methods that the store lacks, so
// that no test is skipped silently.
func methods(e *env) {
	for name, has := range optional {
		switch without := slices.Contains(e.Without, name); {
		case without && has(e.store):
			e.Errorf("Harness.Without names %s, but the store has it", name)
		case !without && !has(e.store):
			e.Errorf("the store has no method %s as the contract wants it, and Harness.Without does not name it", name)
		}
	}
}

// env is one test with its store.
type env struct {
	*testing.T
	Harness
	store scs.CtxStore
}

func (e *env) has(method string) bool { return !slices.Contains(e.Without, method) }

// second returns another handle on the store's data if the harness can open one.
func (e *env) second() scs.CtxStore {
	e.Helper()
	if e.Reopen == nil {
		return e.store
	}
	return e.Reopen(e.T, e.store)
}

func (e *env) advance(d time.Duration) {
	e.Helper()
	if e.Advance == nil {
		time.Sleep(d) // in a bubble, this advances the clock at once
		return
	}
	e.Advance(e.T, d)
}

func (e *env) ok(err error, call string) {
	e.Helper()
	if err != nil {
		e.Fatalf("%s: %v", call, err)
	}
}

func (e *env) commit(token string, data []byte, expiry time.Time) {
	e.Helper()
	e.ok(e.store.CommitCtx(e.Context(), token, data, expiry), "CommitCtx")
}

func (e *env) findTouch(token string, expiry time.Time) ([]byte, bool) {
	e.Helper()
	data, found, err := e.store.(contract.FindToucher).FindTouch(e.Context(), token, expiry)
	e.ok(err, "FindTouch")
	return data, found
}

func (e *env) findExpiry(token string) ([]byte, time.Time, bool) {
	e.Helper()
	data, expiry, found, err := e.store.(contract.FindExpirer).FindExpiry(e.Context(), token)
	e.ok(err, "FindExpiry")
	return data, expiry, found
}

func (e *env) swap(token string, old, data []byte, expiry time.Time) ([]byte, bool) {
	e.Helper()
	current, swapped, err := e.store.(contract.Swapper).Swap(e.Context(), token, old, data, expiry)
	e.ok(err, "Swap")
	return current, swapped
}

// touch calls Swap to set only the expiry.
func (e *env) touch(token string, data []byte, expiry time.Time) bool {
	e.Helper()
	_, swapped := e.swap(token, data, data, expiry)
	return swapped
}

// wantSwapped and wantRefused check the two outcomes of a Swap. A nil current means
// that the record is gone.
func (e *env) wantSwapped(token string, old, data []byte, expiry time.Time, what string) {
	e.Helper()
	if current, swapped := e.swap(token, old, data, expiry); !swapped {
		e.Errorf("%s: Swap was refused, current %s", what, show(current))
	}
}

func (e *env) wantRefused(token string, old, data []byte, expiry time.Time, current []byte, what string) {
	e.Helper()
	got, swapped := e.swap(token, old, data, expiry)
	if swapped {
		e.Errorf("%s: swapped, want refused", what)
	}
	if !same(got, current) {
		e.Errorf("%s: Swap gave current %s, want %s", what, show(got), show(current))
	}
}

// wantFound checks that every method that only reads finds the record.
func (e *env) wantFound(token string, data []byte, what string) {
	e.Helper()
	e.read(token, what, func(method string, got []byte, found bool) {
		if !found {
			e.Errorf("%s: %s found nothing under %s", what, method, show([]byte(token)))
		} else if !same(got, data) {
			e.Errorf("%s: %s gave %s, want %s", what, method, show(got), show(data))
		}
	})
}

func (e *env) wantAbsent(token, what string) {
	e.Helper()
	e.read(token, what, func(method string, got []byte, found bool) {
		if found {
			e.Errorf("%s: %s found %s under %s, want nothing", what, method, show(got), show([]byte(token)))
		}
	})
}

func (e *env) read(token, what string, check func(method string, data []byte, found bool)) {
	e.Helper()
	data, found, err := e.store.Find(token)
	e.ok(err, what+": Find")
	check("Find", data, found)
	data, found, err = e.store.FindCtx(e.Context(), token)
	e.ok(err, what+": FindCtx")
	check("FindCtx", data, found)
	if e.has("FindExpiry") {
		data, _, found := e.findExpiry(token)
		check("FindExpiry", data, found)
	}
}

// wantExpiry checks the expiry that the store holds. In real time the store may use
// its own clock, so a small difference is allowed.
func (e *env) wantExpiry(token string, want time.Time, what string) {
	e.Helper()
	_, got, found := e.findExpiry(token)
	if !found {
		e.Fatalf("%s: FindExpiry found nothing", what)
	}
	var slack time.Duration
	if e.Advance != nil {
		slack = 10 * time.Second
	}
	if got.Before(want.Add(-slack)) || got.After(want.Add(e.Granularity+slack)) {
		e.Errorf("%s: FindExpiry gave expiry %v, want %v", what, got.UTC(), want.UTC())
	}
}

// wantEverything checks the results of every method that lists or counts records.
func (e *env) wantEverything(want map[string][]byte, what string) {
	e.Helper()
	if e.has("Range") {
		got := make(map[string][]byte)
		e.ok(e.store.(contract.Ranger).Range(e.Context(), func(token string, data []byte) error {
			got[token] = data
			return nil
		}), "Range")
		e.wantSame(got, want, what+": Range")
	}
	if e.has("All") {
		got, err := e.store.(scs.IterableStore).All()
		e.ok(err, "All")
		e.wantSame(got, want, what+": All")
	}
	if e.has("AllCtx") {
		got, err := e.store.(scs.IterableCtxStore).AllCtx(e.Context())
		e.ok(err, "AllCtx")
		e.wantSame(got, want, what+": AllCtx")
	}
	if e.has("Len") {
		n, err := e.store.(lener).Len(e.Context())
		e.ok(err, "Len")
		if n != len(want) {
			e.Errorf("%s: Len is %d, want %d", what, n, len(want))
		}
	}
}

func (e *env) wantSame(got, want map[string][]byte, what string) {
	e.Helper()
	if got == nil {
		e.Errorf("%s: the map is nil", what)
	}
	for token, data := range want {
		if d, ok := got[token]; !ok {
			e.Errorf("%s: %s is missing", what, show([]byte(token)))
		} else if !same(d, data) {
			e.Errorf("%s: %s has %s, want %s", what, show([]byte(token)), show(d), show(data))
		}
	}
	for token := range got {
		if _, ok := want[token]; !ok {
			e.Errorf("%s: %s should not be there", what, show([]byte(token)))
		}
	}
}

// body returns a record that any store can hold.
func body(n int) []byte { return fmt.Appendf(nil, `{"n":%d}`, n) }

func inAnHour() time.Time { return time.Now().Add(time.Hour) }

// justPast returns the latest expiry that the store must treat as past.
func (e *env) justPast() time.Time { return time.Now().Add(-e.Granularity - time.Millisecond) }

// same reports whether a and b are equal; as for Swap, nil and empty differ.
func same(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

// scribble overwrites a slice up to its capacity.
func scribble(b []byte) {
	b = b[:cap(b)]
	for i := range b {
		b[i] = '!'
	}
}

func show(b []byte) string {
	switch {
	case b == nil:
		return "nil"
	case len(b) > 80:
		return fmt.Sprintf("%q… (%d bytes)", b[:80], len(b))
	}
	return fmt.Sprintf("%q", b)
}
