//go:build unix

package proof

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends"
	"github.com/samesid/samesid/backends/sqlite"
	"github.com/samesid/samesid/internal/eachstore"
	"github.com/samesid/samesid/internal/leaktest"
	"github.com/samesid/samesid/internal/rig"
	"github.com/samesid/samesid/internal/testserver"
)

const (
	// soakBrief is the default and the minimum duration.
	soakBrief = 8 * time.Second

	// soakAge is how long a session lives. Sessions expire every few seconds instead
	// of after hours.
	soakAge = time.Second

	soakIdle     = time.Second // after which an idle connection is closed
	soakConns    = 6           // of each store with a server
	soakVisitors = 6           // of each store at a time, or half as many for soakBrief
	soakUsers    = 100

	// soakHeap is by how much the live heap may differ between two drained states,
	// in bytes.
	soakHeap = 1 << 20
)

// soakSite is an app on one store.
type soakSite struct {
	place    *eachstore.Place
	store    backends.Store
	sessions *adapter.Manager
	server   *httptest.Server
	client   *http.Client
	records  *eachstore.Records
}

// soakErrors is a log handler that counts errors.
type soakErrors struct {
	slog.Handler
	count *atomic.Int64
}

func (l soakErrors) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelError {
		l.count.Add(1)
	}
	return l.Handler.Handle(ctx, r)
}

// soakWait waits for d, or until ctx ends.
func soakWait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// soakVisits are the kinds of visit. Each begins with a signed-in user.
var soakVisits = []struct {
	name string
	pay  func(ctx context.Context, s *soakSite, u *rig.User)
}{
	{"ordinary", func(_ context.Context, _ *soakSite, u *rig.User) { u.Visit(4) }},
	{"abandoned", func(_ context.Context, _ *soakSite, u *rig.User) { u.Put("a", strings.Repeat("x", 500)) }},
	{"expired", func(ctx context.Context, _ *soakSite, u *rig.User) {
		u.Put("a", "1")
		soakWait(ctx, soakAge+1100*time.Millisecond) // one layout rounds up to whole seconds
		u.IsOut()
	}},
	{"rolling", func(ctx context.Context, _ *soakSite, u *rig.User) {
		for range 4 {
			soakWait(ctx, soakAge*2/5)
			u.Sees("")
		}
	}},
	{"side by side", func(ctx context.Context, _ *soakSite, u *rig.User) {
		slow := u.Slow(ctx, "a", "1")
		u.Put("b", "2")
		slow.Finish()
		u.Sees("a=1 b=2")
	}},
	{"logout amid a request", func(ctx context.Context, _ *soakSite, u *rig.User) {
		slow := u.Slow(ctx, "a", "1")
		u.Logout()
		slow.Finish()
		u.IsOut()
	}},
	{"hung up", func(ctx context.Context, _ *soakSite, u *rig.User) {
		u.HangUp(ctx, "a", "1", nil)
		u.Sees("a=1")
	}},
	{"listing", func(ctx context.Context, s *soakSite, u *rig.User) {
		mark, own := fmt.Sprint(rand.Uint64()), false
		u.Put("mark", mark)
		err := s.sessions.Iterate(ctx, func(ctx context.Context) error {
			own = own || s.sessions.GetString(ctx, rig.Note+"mark") == mark
			return nil
		})
		switch {
		case err != nil:
			u.Fail(err)
		case !own && time.Since(u.Used) < soakAge*3/4:
			u.Fail(errors.New("the visitor's session is not there"))
		}
	}},
}

// soakLoad runs visits at each site until ctx ends and the running visits are over. It
// counts the visits by kind.
func soakLoad(ctx context.Context, t *testing.T, visitors int, sites []*soakSite, visits []atomic.Int64) {
	t.Helper()
	var all sync.WaitGroup
	for at, site := range sites {
		for i := range visitors {
			all.Go(func() {
				for n := at + i*len(soakVisits)/visitors; ctx.Err() == nil; n++ {
					kind := n % len(soakVisits)
					u := &rig.User{Name: fmt.Sprintf("user%d", rand.N(soakUsers)), URL: site.server.URL, Client: site.client, Age: soakAge}
					u.Login()
					soakVisits[kind].pay(t.Context(), site, u)
					switch {
					case u.Err == nil:
						visits[kind].Add(1)
					case !errors.Is(u.Err, rig.ErrExpired):
						t.Errorf("%s: %s: %v", site.place, soakVisits[kind].name, u.Err)
						return
					}
				}
			})
		}
	}
	all.Wait()
}

// soakUse holds the numbers of goroutines, and of connections to each server, in use at
// one time.
type soakUse struct {
	goroutines int
	conns      map[string]int
	heap       int64
}

// An app that runs for long uses no more resources at the end than at the beginning. The
// test puts every kind of load on all stores together, with expiries after seconds
// instead of hours. SOAK sets its duration.
func TestSoak(t *testing.T) {
	length := soakBrief
	if text := os.Getenv("SOAK"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil || length < soakBrief {
			t.Fatalf("SOAK is %q, want a duration from %v up", text, soakBrief)
		}
	}
	t.Cleanup(leaktest.Goroutines(t)) // runs after the others, which close the connections to the servers
	var wrong atomic.Int64
	log := slog.New(soakErrors{slog.NewTextHandler(leaktest.Copy(io.Discard), nil), &wrong})

	sites, most, conns := newSoakSites(t, log)
	use := func() soakUse { return soakUse{runtime.NumGoroutine(), conns(), soakLive()} }
	visitors := soakVisitors
	if length == soakBrief {
		visitors /= 2
	}
	visits := make([]atomic.Int64, len(soakVisits))
	round := max(length/20, soakBrief/2)
	var first soakUse
	rounds := int(length / round)
	for n := range rounds {
		ctx, stop := context.WithTimeout(t.Context(), round)
		peak := make(chan map[string]int)
		go func() { peak <- soakWatch(ctx, conns) }()
		soakLoad(ctx, t, visitors, sites, visits)
		stop()
		for name, n := range <-peak {
			if n > most[name] {
				t.Errorf("up to %d connections to %s, want at most %d", n, name, most[name])
			}
		}
		if t.Failed() {
			break
		}

		for _, s := range sites {
			s.client.CloseIdleConnections()
			testserver.Until(t, s.place.String()+": all sessions have ended and are gone", func() bool { return s.records.Count(t) == 0 })
		}
		if n == 0 {
			least, atRest := soakRest()
			testserver.Until(t, "all is at rest", atRest)
			first = use()
			first.goroutines = *least
			t.Logf("after the first round: %+v", first)
			continue
		}
		// A pool without connections has no goroutine that closes idle ones.
		testserver.Until(t, fmt.Sprintf("not many more than %d goroutines", first.goroutines), func() bool {
			return runtime.NumGoroutine() <= first.goroutines+len(sites)
		})
		now := use()
		t.Logf("after round %d: %+v", n+1, now)
		if grown := now.heap - first.heap; grown > soakHeap {
			t.Errorf("the heap has grown by %d KiB", grown>>10)
		}
	}

	var stats adapter.Stats
	for _, s := range sites {
		got := s.sessions.Stats()
		stats.Conflicts += got.Conflicts
		stats.DroppedWrites += got.DroppedWrites
		stats.LostChanges += got.LostChanges
		stats.UnreadableRecords += got.UnreadableRecords
		s.server.Close()
		s.client.CloseIdleConnections()
		if err := s.store.Close(); err != nil {
			t.Error(err)
		}
	}
	for i := range visits {
		t.Logf("%s: %d visits", soakVisits[i].name, visits[i].Load())
		if visits[i].Load() == 0 {
			t.Errorf("%s: no visit has come to its end", soakVisits[i].name)
		}
	}
	t.Logf("%+v", stats)
	if stats.Conflicts == 0 || stats.DroppedWrites == 0 || stats.LostChanges != 0 || stats.UnreadableRecords != 0 {
		t.Errorf("%+v, want conflicts and dropped writes, and nothing else", stats)
	}
	if n := wrong.Load(); n != 0 {
		t.Errorf("%d errors were logged", n)
	}
	testserver.Until(t, "no connection is left", func() bool {
		for _, n := range conns() {
			if n > 0 {
				return false
			}
		}
		return true
	})
	runtime.KeepAlive(sites) // otherwise the garbage collector could close what Close has not
}

// soakWatch returns the maximum numbers of connections until ctx ends.
func soakWatch(ctx context.Context, conns func() map[string]int) map[string]int {
	most := map[string]int{}
	for ctx.Err() == nil {
		for name, n := range conns() {
			most[name] = max(most[name], n)
		}
		soakWait(ctx, 200*time.Millisecond)
	}
	return most
}

// soakRest returns a function that reports whether the least number of goroutines has not
// fallen for as long as a connection may be idle, and that number. Now and then there are
// more, for each clean-up.
func soakRest() (least *int, atRest func() bool) {
	least = new(int)
	*least = runtime.NumGoroutine()
	since := time.Now()
	return least, func() bool {
		if n := runtime.NumGoroutine(); n < *least {
			*least, since = n, time.Now()
		}
		return time.Since(since) > soakIdle
	}
}

// newSoakSites opens a site on each layout of every store, with a variety of options. conns
// returns how many connections they have to each kind of server, and most how many they may
// have.
func newSoakSites(t *testing.T, log *slog.Logger) (sites []*soakSite, most map[string]int, conns func() map[string]int) {
	t.Helper()
	servers := map[string]*testserver.Server{}
	most = map[string]int{}
	for i, k := range eachstore.All() {
		s := &soakSite{}
		if typ := k.Backend.Type; k.HasServer() {
			if servers[typ] == nil {
				servers[typ] = k.Start(t)
			}
			s.place = k.On(t, servers[typ])
			most[typ] += soakConns
		} else {
			s.place = k.Place(t)
		}
		cfg := s.place.Config(eachstore.Settings{
			"maxConnections": soakConns, "connectionMaxIdleTime": soakIdle, "connectionMaxLifetime": time.Second,
			"cleanupInterval": 200 * time.Millisecond,
		})
		cfg.Logger = log
		var err error
		if s.store, err = backends.Open(t.Context(), cfg, sqlite.Backend); err != nil {
			t.Fatal(err)
		}
		s.records = s.place.Records(t, s.store)
		if s.records.Table != nil {
			s.records.SetMaxOpenConns(1)
		}
		o := []adapter.Options{
			{Rolling: true},
			{StoreKey: adapter.StoreKeyHash, AbsoluteLifetime: time.Hour},
			{},
			{Resave: true},
			{TouchAfter: soakAge / 10},
		}[i%5]
		if k.Layout.MaxID > 0 {
			o.StoreKey = adapter.StoreKeyID // the hash is too long
		}
		o.Store, o.Logger, o.Cookie.MaxAge = s.store, log, soakAge
		s.sessions, s.server = rig.Serve(t, o)
		s.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: soakVisitors}, Timeout: rig.Patience}
		sites = append(sites, s)
	}
	return sites, most, func() map[string]int {
		now := map[string]int{}
		for _, s := range sites {
			if typ := s.place.Backend.Type; s.place.Server != nil && now[typ] == 0 {
				now[typ] = s.place.Conns(t, s.records)
			}
		}
		return now
	}
}

// soakLive returns the size of the live heap.
func soakLive() int64 {
	runtime.GC()
	runtime.GC() // a sync.Pool is empty only after the second run
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
