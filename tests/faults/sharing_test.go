//go:build unix

package faults

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2/toxics"

	"github.com/samesid/samesid/backends"
	"github.com/samesid/samesid/backends/sqlite"
	"github.com/samesid/samesid/internal/eachstore"
	"github.com/samesid/samesid/internal/interleave"
	"github.com/samesid/samesid/internal/rig"
	"github.com/samesid/samesid/internal/testserver"
)

// callers is the number of sessions in these tests. Each has a caller of its own.
const callers = 24

// shared is a store whose calls share commands, as it has fewer connections than callers.
type shared struct {
	*system
	interleave.Store
	known [callers][]byte // the records
	tries [callers]int
}

// onShared runs a test on layouts (eachstore.RunSome) of the stores with a server.
func onShared(t *testing.T, conns int, test func(*testing.T, *shared), conditions ...func(eachstore.Kind) bool) {
	t.Parallel()
	eachstore.RunSome(t, func(t *testing.T, k eachstore.Kind) {
		t.Parallel()
		place := k.Place(t)
		p := newProxy(t, place.Host(t))
		cfg := limits{conns: conns, wait: rig.Patience, share: true}.config(place)
		cfg.URL = p.url(place.URL)
		store, err := backends.Open(t.Context(), cfg, sqlite.Backend)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { store.Close() })
		s := &shared{system: &system{Place: place, proxy: p}, Store: store.(interleave.Store)}
		for i := range callers {
			s.known[i] = record(0, 0)
			if err := s.CommitCtx(t.Context(), token(i), s.known[i], soon()); err != nil {
				t.Fatal(err)
			}
		}
		test(t, s)
	}, append(conditions, eachstore.Kind.HasServer)...)
}

func token(i int) string { return fmt.Sprint("session-", i) }

func soon() time.Time { return time.Now().Add(time.Hour) }

// record returns a record that has been changed n times. No other try makes the same.
func record(n, try int) []byte { return fmt.Appendf(nil, `{"cookie":{},"n":%d,"try":%d}`, n, try) }

// count returns the number of changes.
func count(t *testing.T, data []byte) (n int) {
	if _, err := fmt.Sscanf(string(data), `{"cookie":{},"n":%d,`, &n); err != nil {
		t.Errorf("the record %q: %v", data, err)
	}
	return n
}

// each calls fn for each caller at once.
func each(fn func(i int)) {
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() { fn(i) })
	}
	all.Wait()
}

// reads has each caller read its session.
func (s *shared) reads(t *testing.T, times int) {
	t.Helper()
	each(func(i int) {
		for n := range times {
			var data []byte
			var found bool
			var err error
			if n%2 == 0 {
				data, found, err = s.FindCtx(t.Context(), token(i))
			} else {
				data, found, err = s.FindTouch(t.Context(), token(i), soon())
			}
			if !found || !bytes.Equal(data, s.known[i]) || err != nil {
				t.Errorf("a read gave %q, %t, %v, want %q", data, found, err, s.known[i])
			}
		}
	})
}

// changes has each caller change its session, and find out what has become of a change whose
// outcome is unknown. It returns the number of these.
func (s *shared) changes(t *testing.T, times int) (unknown int) {
	t.Helper()
	var errs atomic.Int64
	each(func(i int) {
		var late [][]byte // what the server may still write
		for range times {
			old, n := s.known[i], count(t, s.known[i])
			s.tries[i]++
			next := record(n+1, s.tries[i])
			current, swapped, err := s.Swap(t.Context(), token(i), old, next, soon())
			switch {
			case swapped:
				s.known[i] = next
			case err == nil && slices.ContainsFunc(late, func(l []byte) bool { return bytes.Equal(l, current) }):
				s.known[i] = current
			case err == nil:
				t.Errorf("the change of %q to %q was refused: there is %q", old, next, current)
				return
			default:
				errs.Add(1)
				data, found, err := s.FindCtx(t.Context(), token(i))
				if !found || err != nil || !bytes.Equal(data, old) && !bytes.Equal(data, next) {
					t.Errorf("after a change of %q to %q there is %q, %t, %v", old, next, data, found, err)
					return
				}
				if s.known[i] = data; !bytes.Equal(data, next) {
					late = append(late, next)
				}
			}
		}
	})
	records := s.Records(t, nil)
	for i := range callers {
		if data := records.Get(t, token(i)); !bytes.Equal(data, s.known[i]) {
			t.Errorf("on the server there is %q, want %q", data, s.known[i])
		}
	}
	return int(errs.Load())
}

// cut closes a connection in the middle of a batch, or of the answer to it.
type cut struct {
	armed   atomic.Bool // for the next batch
	batches atomic.Int64
}

func init() { toxics.Register("cut", new(cut)) }

// Pipe implements toxics.Toxic.
func (c *cut) Pipe(stub *toxics.ToxicStub) {
	for {
		select {
		case <-stub.Interrupt:
			return
		case chunk := <-stub.Input:
			if chunk == nil {
				stub.Close()
				return
			}
			if isBatch(chunk.Data) {
				if c.batches.Add(1); c.armed.CompareAndSwap(true, false) {
					chunk.Data = chunk.Data[:len(chunk.Data)/2]
					stub.Output <- chunk
					stub.Close()
					return
				}
			}
			stub.Output <- chunk
		}
	}
}

// isBatch reports whether a chunk has several commands of Redis, a statement of Postgres for
// several sessions, or an answer with several records or acknowledgements.
func isBatch(data []byte) bool {
	for _, of := range []struct {
		begin, text string
		times       int
	}{
		{"*", "\r\n*", 1}, {"$", "\r\n$", 1}, {":", ":1\r\n", 2}, // of Redis
		{"P", "unnest(", 1}, {"P", "ANY (", 1}, {"1", "D\x00\x00\x00", 2},
	} {
		if bytes.HasPrefix(data, []byte(of.begin)) && bytes.Count(data, []byte(of.text)) >= of.times {
			return true
		}
	}
	return false
}

// The connection is cut in the middle of a batch. Each read is answered all the same, and
// each write is done once, or its caller can find out whether it was.
func TestConnectionCutInABatch(t *testing.T) {
	for _, direction := range []string{"upstream", "downstream"} {
		t.Run(direction, func(t *testing.T) {
			onShared(t, 1, func(t *testing.T, s *shared) {
				c := s.proxy.add("cut", direction, "").(*cut)
				for range 3 {
					for what, do := range map[string]func(){
						"reads":   func() { s.reads(t, 10) },
						"changes": func() { s.changes(t, 10) },
					} {
						c.armed.Store(true)
						do()
						if c.armed.Swap(false) {
							t.Errorf("no batch of %s was cut", what)
						}
					}
				}
			})
		})
	}
}

// The server forgets its scripts while batches need them. Each change is done, once.
func TestScriptsFlushedUnderBatches(t *testing.T) {
	onShared(t, 1, func(t *testing.T, s *shared) {
		c := s.proxy.add("cut", "downstream", "").(*cut)
		done, flushed := make(chan struct{}), make(chan int)
		go func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					flushed <- n
					return
				default:
					s.Redis(t, "SCRIPT", "FLUSH")
				}
			}
		}()
		unknown := s.changes(t, 20)
		close(done)
		if n := <-flushed; unknown > 0 || n < 5 {
			t.Errorf("of the changes, %d have failed; the scripts were flushed %d times", unknown, n)
		}
		if c.batches.Load() == 0 {
			t.Error("there was no batch")
		}
	}, eachstore.IsOf("redis"))
}

// dam lets no more than half a megabyte through.
type dam struct{ full atomic.Bool }

func init() { toxics.Register("dam", new(dam)) }

// Pipe implements toxics.Toxic.
func (d *dam) Pipe(stub *toxics.ToxicStub) {
	for n := 0; ; {
		select {
		case <-stub.Interrupt:
			return
		case chunk := <-stub.Input:
			if chunk == nil {
				stub.Close()
				return
			}
			if n += len(chunk.Data); n < 1<<19 {
				stub.Output <- chunk
			} else {
				d.full.Store(true)
			}
		}
	}
}

// Nobody waits for the bytes of a large record but those who want it.
func TestLargeRecordHoldsUpNoOther(t *testing.T) {
	onShared(t, 4, func(t *testing.T, s *shared) {
		large := []byte(`{"cookie":{},"a":"` + strings.Repeat("x", 1<<20) + `"}`)
		if err := s.CommitCtx(t.Context(), "large", large, soon()); err != nil {
			t.Fatal(err)
		}
		d := s.proxy.add("dam", "downstream", "").(*dam)
		var wg sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		inTime, end := context.WithTimeout(t.Context(), rig.Patience/3) // before a large one gives up
		defer end()
		begin := sync.OnceFunc(func() {
			for range 3 {
				wg.Go(func() { _, _, _ = s.FindCtx(ctx, "large") })
			}
		})
		each(func(i int) {
			for n := 0; n < 20 || !d.full.Load(); n++ {
				if n == 5 {
					begin()
				}
				if data, found, err := s.FindCtx(inTime, token(i)); !bytes.Equal(data, s.known[i]) || !found || err != nil {
					t.Errorf("a read gave %q, %t, %v", data, found, err)
					return
				}
			}
		})
		cancel()
		s.proxy.mend()
		wg.Wait()
	})
}

// The connection is cut in the middle of batches of a busy app: see TestUnknownOutcome.
func TestUnknownOutcomeOfABatch(t *testing.T) {
	onNetwork(t, limits{conns: 1, share: true}, func(t *testing.T, s *system) {
		// A request can meet a cut as it reads and another as it writes, and wait for the one
		// connection behind others that do.
		l := rig.Start(t, []string{s.url}, rig.Options{Sizes: []int{4, 4, 4, 4}, Stays: true, Limit: 2 * rig.Slowest})
		for _, direction := range []string{"upstream", "downstream"} {
			c := s.proxy.add("cut", direction, "").(*cut)
			for range 2 {
				c.armed.Store(true)
				testserver.Until(t, "a batch is cut", func() bool { return !c.armed.Load() })
				l.Next(false)
				l.Await("answers", rig.Each(func(c rig.Tally) bool { return c.Pages >= 1 && c.Writes >= 1 }))
			}
		}
		s.proxy.mend()
		l.Recover()
	})
}
