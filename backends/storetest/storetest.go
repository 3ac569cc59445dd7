// Package storetest is the contract of a session store, as tests. A store that
// passes can be given to adapter.Options.Store with every guarantee intact.
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, storetest.Harness{New: func(t *testing.T) scs.CtxStore {
//			store := mystore.New()
//			t.Cleanup(store.Close)
//			return store
//		}})
//	}
//
// # The contract
//
// The methods of scs.CtxStore and of the optional interfaces in package adapter
// do what their comments say. Beyond that:
//
//   - A record whose expiry has passed is absent to every method. Committing,
//     swapping or touching a record to an expiry in the past leaves no record.
//     An expiry is a point in time whatever its Location, up to the year 9999.
//   - Touch and FindTouch create nothing and revive nothing, and leave a body
//     alone that another call writes at the same moment.
//   - Swap's comparison and write are one step. A record that Delete has removed
//     stays removed, whatever else was running.
//   - Rename is one step: no other call sees the record under both tokens or
//     under none. What is done to the old token after it finds nothing there. A
//     token is not free for itself: renaming a record to it renames nothing.
//   - What comes back is byte for byte what was written. Data of no bytes, nil
//     included, is a record too, and comes back as an empty slice that is not nil.
//   - A slice that the store returns belongs to the caller, and a store keeps no
//     slice that it was given.
//   - Nobody can make a store fail by the id they send: Find, FindTouch,
//     FindExpiry, Touch, Delete, a Swap of a known record and a Rename to an id that
//     can be stored answer any string without an error. An id is itself alone: no pattern, no prefix, neither
//     trimmed nor folded.
//   - An id of 1 to 128 bytes of printable ASCII can be stored. Commit may refuse
//     any other with an error, and a Swap that creates or a Rename to it with an
//     error or by saying that it has not swapped or renamed. Then no record is
//     there: a save that failed never looks like one that succeeded.
//   - Range and All see every record that is there from start to end. Range may
//     meet a record twice while the store changes, and one that is renamed
//     meanwhile under either token, both or neither. It reads in pages of at most
//     1,000 records, and looks at its context between two pages at least.
//   - With a context that is done, a method does nothing and returns an error
//     that wraps the context's.
//   - Every method can be called from several goroutines at once.
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
)

// Harness says how to make the store under test and what is true of it.
type Harness struct {
	// New makes an empty store that shares no data with any other, and closes
	// it with t.Cleanup. Required.
	New func(t *testing.T) scs.CtxStore

	// Reopen opens the data of a store that New made for a second time, as
	// another process would, and closes it with t.Cleanup. Zero value: the tests
	// that call for two handles use one.
	Reopen func(t *testing.T, store scs.CtxStore) scs.CtxStore

	// Advance returns when at least d has passed on the clock that the store
	// expires records by. It is called once in a Run, for a few seconds: let a
	// server wait by its own clock. Zero value: each test runs in a bubble of
	// testing/synctest and the clock is the bubble's, which suits a store that
	// talks to nobody outside its process.
	Advance func(t *testing.T, d time.Duration)

	// Granularity is how much later than asked a record may expire: a second
	// for a store that rounds up to whole seconds. Zero value: no later.
	Granularity time.Duration

	// JSON says that data must be a JSON text, so no other is written. Zero
	// value: any bytes can be stored.
	JSON bool

	// Without names the optional methods that the store does not have: "Touch",
	// "FindTouch", "FindExpiry", "Swap", "Rename", "Range", "All", "AllCtx",
	// "Len" or "Clear". Their tests are left out. Zero value: it has them all.
	Without []string
}

type (
	toucher interface {
		Touch(ctx context.Context, token string, expiry time.Time) (bool, error)
	}
	findToucher interface {
		FindTouch(ctx context.Context, token string, expiry time.Time) ([]byte, bool, error)
	}
	findExpirer interface {
		FindExpiry(ctx context.Context, token string) ([]byte, time.Time, bool, error)
	}
	swapper interface {
		Swap(ctx context.Context, token string, old, new []byte, expiry time.Time) ([]byte, bool, error)
	}
	renamer interface {
		Rename(ctx context.Context, old, new string) (bool, error)
	}
	ranger interface {
		Range(ctx context.Context, fn func(token string, data []byte) error) error
	}
	lener interface {
		Len(ctx context.Context) (int, error)
	}
	clearer interface {
		Clear(ctx context.Context) error
	}
)

var optional = map[string]func(scs.CtxStore) bool{
	"Touch":      is[toucher],
	"FindTouch":  is[findToucher],
	"FindExpiry": is[findExpirer],
	"Swap":       is[swapper],
	"Rename":     is[renamer],
	"Range":      is[ranger],
	"All":        is[scs.IterableStore],
	"AllCtx":     is[scs.IterableCtxStore],
	"Len":        is[lener],
	"Clear":      is[clearer],
}

func is[T any](s scs.CtxStore) bool {
	_, ok := s.(T)
	return ok
}

// test is left out where the store lacks a method that it needs, or where the
// harness is not one that it is for.
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

// exact harnesses have a clock that stands still and a store that rounds nothing.
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
	{"rename", renameTests},
	{"iterate", iterateTests},
	{"concurrency", concurrencyTests},
	{"cancellation", cancellationTests},
	{"odd", oddTests},
}

// Run holds a store to the contract. Each test is a subtest named after its
// topic and has a store of its own.
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

// methods keeps a harness honest: a topic is left out only where it says so.
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

// second is another handle on the store's data where the harness can open one.
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
		time.Sleep(d) // in a bubble: moves its clock and takes no time
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

func (e *env) touch(token string, expiry time.Time) bool {
	e.Helper()
	found, err := e.store.(toucher).Touch(e.Context(), token, expiry)
	e.ok(err, "Touch")
	return found
}

func (e *env) findTouch(token string, expiry time.Time) ([]byte, bool) {
	e.Helper()
	data, found, err := e.store.(findToucher).FindTouch(e.Context(), token, expiry)
	e.ok(err, "FindTouch")
	return data, found
}

func (e *env) findExpiry(token string) ([]byte, time.Time, bool) {
	e.Helper()
	data, expiry, found, err := e.store.(findExpirer).FindExpiry(e.Context(), token)
	e.ok(err, "FindExpiry")
	return data, expiry, found
}

func (e *env) swap(token string, old, data []byte, expiry time.Time) ([]byte, bool) {
	e.Helper()
	current, swapped, err := e.store.(swapper).Swap(e.Context(), token, old, data, expiry)
	e.ok(err, "Swap")
	return current, swapped
}

// wantSwapped and wantRefused check the two outcomes of a Swap; current nil is
// the answer for a record that is gone.
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

func (e *env) rename(old, new string) bool {
	e.Helper()
	renamed, err := e.store.(renamer).Rename(e.Context(), old, new)
	e.ok(err, "Rename")
	return renamed
}

func (e *env) wantRenamed(old, new, what string) {
	e.Helper()
	if !e.rename(old, new) {
		e.Errorf("%s: Rename has not renamed", what)
	}
}

func (e *env) wantNotRenamed(old, new, what string) {
	e.Helper()
	if e.rename(old, new) {
		e.Errorf("%s: Rename says that it has renamed", what)
	}
}

// wantFound checks that the record is there by every method that reads and
// changes nothing.
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

// wantExpiry checks the expiry that the store holds. Where time really passes,
// the store may count from its own clock, so a little is allowed either way.
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

// wantEverything checks what the store lists, by each method that lists it.
func (e *env) wantEverything(want map[string][]byte, what string) {
	e.Helper()
	if e.has("Range") {
		got := make(map[string][]byte)
		e.ok(e.store.(ranger).Range(e.Context(), func(token string, data []byte) error {
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

// body is a record that any store can hold.
func body(n int) []byte { return fmt.Appendf(nil, `{"n":%d}`, n) }

func inAnHour() time.Time { return time.Now().Add(time.Hour) }

// justPast is the latest expiry that the store must take for past.
func (e *env) justPast() time.Time { return time.Now().Add(-e.Granularity - time.Millisecond) }

// same tells nil from empty, as Swap does.
func same(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

// scribble overwrites all that a slice gives access to.
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
