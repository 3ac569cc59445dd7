//go:build unix

package proof

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"os"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends"
	"github.com/samesid/samesid/backends/sqlite"
	"github.com/samesid/samesid/internal/eachstore"
	"github.com/samesid/samesid/internal/rig"
	"github.com/samesid/samesid/internal/testserver"
)

const (
	// fewest is the default number of sessions, and leastNote the least bytes in each. All
	// of them together exceed heapBound.
	fewest    = 2000
	leastNote = 700

	// heapBound is the memory that listing, counting, clearing and clean-up may use
	// in addition to the requests, in bytes, however many sessions there are.
	heapBound = 4 << 20
)

// With very many sessions in the store, clean-up and listing block no request and use
// bounded memory. TEST_SESSIONS sets the number.
func TestManySessions(t *testing.T) {
	n := fewest
	if text := os.Getenv("TEST_SESSIONS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < fewest {
			t.Fatalf("TEST_SESSIONS is %q, want a number from %d up", text, fewest)
		}
	}
	eachstore.RunOwn(t, false, func(t *testing.T, p *eachstore.Place) {
		c := newCrowd(t, p, n)
		c.fill(time.Hour)
		c.list()
		c.count()
		c.clear()

		if !p.HasTable() {
			return // Redis itself removes what has expired, mostly before fill returns
		}
		// Another process cleans up.
		c.amid("clean-up", func() { c.fill(-time.Minute) }, func() {
			cleaner, err := backends.Open(t.Context(), p.Config(eachstore.Settings{"cleanupInterval": time.Millisecond}), sqlite.Backend)
			if err != nil {
				t.Fatal(err)
			}
			c.bitByBit()
			if err := cleaner.Close(); err != nil {
				t.Error(err)
			}
		})
	}, eachstore.Kind.Lasts)
}

// crowd is an app whose store has n prepared sessions, and those of the visitors who
// come and go meanwhile.
type crowd struct {
	t       *testing.T
	n       int
	record  []byte // the record of a signed-in session
	store   backends.Store
	records *eachstore.Records
	url     string
	fills   int

	// pass is odd while a pass runs.
	pass atomic.Int32
	mu   sync.Mutex
	// inParts reports whether the records of a pass were deleted in parts.
	inParts bool
	in      map[string][]time.Duration // the times of the requests that began and ended during one pass, by kind
}

func newCrowd(t *testing.T, p *eachstore.Place, n int) *crowd {
	t.Helper()
	c := &crowd{t: t, n: n, store: p.Open(t, eachstore.Settings{
		"cleanupInterval": time.Duration(-1), "timeout": time.Minute, // to fill a file takes its lock
	})}
	_, server := rig.Serve(t, adapter.Options{Store: c.store})
	c.url, c.records = server.URL, p.Records(t, c.store)
	u := rig.NewUser(t, "ada", c.url)
	u.Login()
	note := max(leastNote, heapBound*5/4/n)
	u.Put("a", strings.Repeat("x", note))
	if c.record = c.records.Get(t, rig.ID(u.Cookie)); len(c.record) < note {
		t.Fatalf("the first session has %d bytes", len(c.record))
	}
	u.Logout()
	return c
}

// filled begins the ids of the prepared sessions.
const filled = "fil-"

func (c *crowd) fill(age time.Duration) {
	c.fills++ // a pass may have left some
	c.records.Fill(c.t, fmt.Sprintf("%s%d-", filled, c.fills), c.n, c.record, time.Now().Add(age))
}

// list visits the app several times during a listing, so that the listing's locks and
// connections affect the visits.
func (c *crowd) list() {
	c.amid("listing", nil, func() {
		seen := 0
		err := c.store.Range(c.t.Context(), func(token string, data []byte) error {
			if !strings.HasPrefix(token, filled) {
				return nil
			}
			if len(data) != len(c.record) {
				c.t.Errorf("a session has %d bytes, want %d", len(data), len(c.record))
			}
			if seen++; seen%(c.n/4) == 0 {
				u := rig.NewUser(c.t, "ada", c.url)
				u.Login()
				u.Visit(1)
			}
			return nil
		})
		if err != nil || seen < c.n {
			c.t.Errorf("the listing had %d sessions, want %d: %v", seen, c.n, err)
		}
	})
}

func (c *crowd) count() {
	c.amid("count", nil, func() {
		// To count a few takes hardly longer than a request.
		for i := 0; i == 0 || i < 20*fewest/c.n && !c.served(); i++ {
			if got, err := c.store.Len(c.t.Context()); err != nil || got < c.n {
				c.t.Errorf("counted %d sessions, want %d: %v", got, c.n, err)
			}
		}
	})
}

func (c *crowd) clear() {
	first := true
	c.amid("clearing", func() {
		if !first {
			c.fill(time.Hour)
		}
		first = false
	}, func() {
		done := make(chan error)
		go func() { done <- c.store.Clear(c.t.Context()) }()
		c.bitByBit()
		if err := <-done; err != nil {
			c.t.Error(err)
		}
	})
}

// bitByBit waits until the prepared sessions are gone. They must go in small parts, between
// which others can write. Of a few sessions, it is enough to see some parts go.
func (c *crowd) bitByBit() {
	testserver.Until(c.t, "the end of the prepared sessions", func() bool {
		left := c.records.Count(c.t)
		c.inParts = c.inParts || c.n/10 < left && left < c.n*9/10
		return left <= few || c.n == fewest && c.inParts && c.served() || c.t.Failed()
	})
}

const (
	visitors = 2
	tries    = 100

	// few is more than the number of sessions after clearing, which belong to visitors
	// who were signed out and went on.
	few = 100
)

// amid runs pass, which iterates over all sessions, while visitors come and go. Each of
// their requests must succeed, and some of every kind must begin and end during a pass. If a
// pass is too short for that, amid runs another one.
func (c *crowd) amid(name string, prepare, pass func()) {
	c.t.Helper()
	c.in, c.inParts = map[string][]time.Duration{}, name == "listing" || name == "count"
	stop := make(chan struct{})
	var done sync.WaitGroup
	for range visitors {
		done.Go(func() {
			u := rig.NewUser(c.t, "ada", c.url)
			u.TB, u.Client.Transport = nil, timed{c, u.Client.Transport}
			if name == "clearing" {
				u.Age = 1 // its session may end at any time
			}
			for {
				select {
				case <-stop:
					return
				default:
				}
				u.Cookie, u.Err = "", nil
				u.Login()
				u.Visit(1)
				if u.Err != nil && !errors.Is(u.Err, rig.ErrExpired) {
					c.t.Errorf("%s: %v", name, u.Err)
					return
				}
			}
		})
	}
	defer done.Wait()
	defer close(stop)
	for n := range tries {
		if prepare != nil {
			prepare()
		}
		heap := watchHeap()
		start := time.Now()
		c.pass.Add(1)
		pass()
		c.pass.Add(1)
		took := time.Since(start)
		if grown := heap(); grown > heapBound {
			c.t.Errorf("%s: the heap grew by %d KiB, want at most %d", name, grown>>10, heapBound>>10)
		}
		if c.t.Failed() {
			return
		}
		if !c.served() || !c.inParts {
			continue
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		all := slices.Sorted(slices.Values(slices.Concat(slices.Collect(maps.Values(c.in))...)))
		c.t.Logf("%s of %d sessions: %v; %d requests meanwhile, in %d passes: median %v, p99 %v, longest %v", name, c.n,
			took.Round(time.Millisecond), len(all), n+1, all[len(all)/2], all[len(all)*99/100], all[len(all)-1])
		return
	}
	c.t.Errorf("%s: in each of %d passes visitors had to wait for its end; in parts: %t", name, tries, c.inParts)
}

// served reports whether requests of every kind were served during a pass.
func (c *crowd) served() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.in) == 4
}

// timed notes the requests that begin and end during one pass.
type timed struct {
	c *crowd
	http.RoundTripper
}

func (t timed) RoundTrip(r *http.Request) (*http.Response, error) {
	pass, start := t.c.pass.Load(), time.Now()
	res, err := t.RoundTripper.RoundTrip(r)
	if pass%2 == 1 && t.c.pass.Load() == pass && err == nil && res.StatusCode == http.StatusOK {
		kind, _, _ := strings.Cut(r.URL.Path[1:], "/")
		t.c.mu.Lock()
		defer t.c.mu.Unlock()
		t.c.in[kind] = append(t.c.in[kind], time.Since(start))
	}
	return res, err
}

// watchHeap watches the live heap, as the garbage collector measures it. The function
// that it returns ends the watch and returns the maximum growth.
func watchHeap() (grown func() int64) {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	inUse := func() int64 {
		// Memory that is allocated while the collector runs counts as live. On a busy
		// machine that can be a lot, but hardly in three runs in a row.
		least := int64(math.MaxInt64)
		for range 3 {
			runtime.GC()
			metrics.Read(live)
			least = min(least, int64(live[0].Value.Uint64()))
		}
		return least
	}
	first := inUse()
	most := first
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			most = max(most, inUse())
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	}()
	return func() int64 {
		close(stop)
		<-stopped
		return most - first
	}
}
