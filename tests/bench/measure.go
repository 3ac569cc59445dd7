package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// defaultSize is the size of a session's user as JSON, in bytes.
const defaultSize = 200

// settings are the settings of a run. README.md documents each with its environment
// variable.
type settings struct {
	Time     time.Duration `json:"-"`
	Seconds  float64       // Time, in the report
	Rounds   int
	Sessions int
	Conns    int
	Sweeps   bool
	Full     bool
	Only     string

	only *regexp.Regexp
}

func readSettings() (s settings, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("environment: %w", err)
		}
	}()
	if s.Time, err = time.ParseDuration(cmp.Or(os.Getenv("BENCH_TIME"), "1s")); err != nil {
		return s, err
	}
	for _, v := range []struct {
		n     *int
		name  string
		usual string
	}{
		{&s.Rounds, "BENCH_ROUNDS", "3"},
		{&s.Sessions, "BENCH_SESSIONS", "5000"},
		{&s.Conns, "BENCH_CONNS", "32"},
	} {
		if *v.n, err = strconv.Atoi(cmp.Or(os.Getenv(v.name), v.usual)); err != nil {
			return s, err
		}
		if *v.n < 1 {
			return s, fmt.Errorf("%s: it must be 1 or more", v.name)
		}
	}
	s.Seconds = s.Time.Seconds()
	s.Sweeps = os.Getenv("BENCH_SWEEPS") != "0"
	s.Full = os.Getenv("BENCH_SCALE") == "full"
	s.Only = os.Getenv("BENCH_ONLY")
	s.only, err = regexp.Compile(s.Only)
	return s, err
}

// bench is one run of all benchmarks.
type bench struct {
	settings
	*backend
	results []result
}

func (b *bench) run(ctx context.Context) error {
	for _, store := range stores {
		var chosen, swept, byNumber []role
		for _, r := range rolesOf(store) {
			if b.only.MatchString(r.name) {
				chosen = append(chosen, r)
				if r.sweep {
					swept = append(swept, r)
				}
				if r.sweep || r.kind == ground || r.conns {
					byNumber = append(byNumber, r)
				}
			}
		}
		if len(chosen) == 0 {
			continue
		}
		if err := b.main(ctx, store, chosen); err != nil {
			return err
		}
		if !b.Sweeps {
			continue
		}
		if err := b.sweepConns(ctx, byNumber); err != nil {
			return err
		}
		if b.addr(chosen[0]) != "" {
			if err := b.sweepDistance(ctx, byNumber); err != nil {
				return err
			}
		}
		for _, sweep := range []func(context.Context, []role) error{b.sweepSizes, b.sweepScale} {
			if err := sweep(ctx, swept); err != nil {
				return err
			}
		}
	}
	return nil
}

// main runs every workload on every server of a store.
func (b *bench) main(ctx context.Context, store string, chosen []role) error {
	turns := make(map[string]map[string]float64)
	for _, r := range chosen {
		t, err := b.countTurns(ctx, r)
		if err != nil {
			return err
		}
		turns[r.name] = t
	}

	children, err := b.startAll(ctx, chosen, nil)
	defer stopAll(children)
	if err != nil {
		return err
	}
	visitors := make([][]*visitor, len(children))
	for i, c := range children {
		if visitors[i], err = b.seed(ctx, c, b.Sessions, defaultSize); err != nil {
			return err
		}
	}
	for _, workload := range workloads {
		log.Printf("%s: %s", store, workload)
		var loads []contender
		for i, c := range children {
			if c.has(workload) {
				loads = append(loads, contender{c, b.load(c, workload, visitors[i])})
			}
		}
		results, err := b.compare(ctx, loads, b.Time)
		if err != nil {
			return err
		}
		for i := range results {
			if t, ok := turns[results[i].Role][workload]; ok {
				results[i].RoundTrips = &t
			}
			results[i].Sweep = mainRun
		}
		b.results = append(b.results, results...)
	}
	return nil
}

func (b *bench) load(c *child, workload string, visitors []*visitor) load {
	return load{addr: c.addr, workload: workload, size: defaultSize, conns: b.Conns, visitors: visitors, noID: c.noID}
}

// startAll starts the servers, each behind the proxy to its store, if there is one.
func (b *bench) startAll(ctx context.Context, chosen []role, behind *proxy) ([]*child, error) {
	var children []*child
	for _, r := range chosen {
		url, err := b.empty(ctx, r)
		if err != nil {
			return children, err
		}
		if behind != nil {
			url = strings.Replace(url, b.addr(r), behind.addr(), 1)
		}
		c, err := startChild(ctx, r, url)
		if err != nil {
			return children, err
		}
		children = append(children, c)
	}
	return children, nil
}

func stopAll(children []*child) {
	for _, c := range children {
		c.stop()
	}
}

// seed signs n users in, and returns their visitors.
func (b *bench) seed(ctx context.Context, c *child, n, size int) ([]*visitor, error) {
	visitors := newVisitors(n)
	l := b.load(c, login, visitors)
	l.size = size
	if _, err := l.run(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", c.name, err)
	}
	return visitors, nil
}

// contender is a server with its load.
type contender struct {
	*child
	load load
}

// compare runs the contenders in turns, so that other work of the machine affects them
// equally. It returns the median of each figure over the rounds.
func (b *bench) compare(ctx context.Context, contenders []contender, d time.Duration) ([]result, error) {
	measured := make([][]figures, len(contenders))
	for round := -1; round < b.Rounds; round++ {
		for i := range contenders {
			i := (i + max(round, 0)) % len(contenders)
			c := contenders[i]
			c.load.duration = d
			if round < 0 {
				c.load.duration = d / 4 // the warm-up
			}
			f, err := b.measure(ctx, c)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			if round >= 0 {
				measured[i] = append(measured[i], f)
			}
		}
	}
	var results []result
	for i, c := range contenders {
		r := result{
			Store: c.store, Role: c.name, Label: c.label, Kind: c.kind, Workload: c.load.workload,
			Conns: c.load.conns, Size: c.load.size, Sessions: len(c.load.visitors), Distance: int(c.load.distance.Microseconds()),
			RPS: median(measured[i], func(f figures) float64 { return f.rps() }),
			P50: median(measured[i], func(f figures) float64 { return f.p50.Seconds() * 1e3 }),
			P99: median(measured[i], func(f figures) float64 { return f.p99.Seconds() * 1e3 }),
		}
		if c.control != "" {
			n := median(measured[i], func(f figures) float64 { return f.allocs })
			r.Allocs = &n
		}
		if c.store == inPostgres {
			n := median(measured[i], func(f figures) float64 { return f.wal })
			r.WAL = &n
		}
		if own := median(measured[i], func(f figures) float64 { return f.cpu }); own > 0 {
			r.CPU = &own
			if b.storePID(c.role) > 0 {
				n := median(measured[i], func(f figures) float64 { return f.storeCPU })
				r.StoreCPU = &n
			}
		}
		for _, f := range measured[i] {
			r.Rounds = append(r.Rounds, f.rps())
		}
		results = append(results, r)
	}
	return results, nil
}

// figures are the figures of one round, per request.
type figures struct {
	sample
	allocs, wal   float64
	cpu, storeCPU float64 // microseconds
}

func median(rounds []figures, of func(figures) float64) float64 {
	values := make([]float64, len(rounds))
	for i, f := range rounds {
		values[i] = of(f)
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

func (b *bench) measure(ctx context.Context, c contender) (f figures, err error) {
	var before, after stats
	var walBefore, walAfter int64
	var own, store [2]float64
	look := func(i int, s *stats, wal *int64) (err error) {
		own[i] = cpuSeconds(c.cmd.Process.Pid)
		if pid := b.storePID(c.role); pid > 0 {
			store[i] = cpuSeconds(pid)
		}
		if c.control != "" {
			if *s, err = c.stats(ctx); err != nil {
				return err
			}
		}
		if c.store == inPostgres {
			*wal, err = b.walBytes(ctx)
		}
		return err
	}
	if err := look(0, &before, &walBefore); err != nil {
		return f, err
	}
	if f.sample, err = c.load.run(ctx); err != nil {
		return f, err
	}
	if err := look(1, &after, &walAfter); err != nil {
		return f, err
	}
	f.allocs = float64(after.Mallocs-before.Mallocs) / float64(f.requests)
	f.wal = float64(walAfter-walBefore) / float64(f.requests)
	f.cpu = (own[1] - own[0]) * 1e6 / float64(f.requests)
	f.storeCPU = (store[1] - store[0]) * 1e6 / float64(f.requests)
	return f, nil
}

// countTurns returns the number of round trips to the store for a request of each
// workload. It runs a separate server behind a counting proxy, with one request at a time.
// The result is empty for a server with an in-process store.
func (b *backend) countTurns(ctx context.Context, r role) (map[string]float64, error) {
	turns := make(map[string]float64)
	addr := b.addr(r)
	if addr == "" {
		return turns, nil
	}
	p, err := newProxy(addr)
	if err != nil {
		return nil, err
	}
	defer p.close()
	url, err := b.empty(ctx, r)
	if err != nil {
		return nil, err
	}
	c, err := startChild(ctx, r, strings.Replace(url, addr, p.addr(), 1))
	if err != nil {
		return nil, err
	}
	defer c.stop()

	visitors := newVisitors(10)
	for _, workload := range append([]string{login}, workloads...) {
		if workload != login && !r.has(workload) {
			continue
		}
		l := load{addr: c.addr, workload: workload, size: defaultSize, conns: 1, visitors: visitors, noID: c.noID}
		// The first round prepares statements and loads scripts.
		for range 2 {
			before := p.turns.Load()
			if _, err := l.run(ctx); err != nil {
				return nil, fmt.Errorf("%s: %w", r.name, err)
			}
			if r.has(workload) {
				turns[workload] = float64(p.turns.Load()-before) / float64(len(visitors))
			}
		}
	}
	return turns, nil
}

// A sweep varies one parameter, for the read workload of samesid and of scs. Each point
// takes half the usual time.

func (b *bench) sweepConns(ctx context.Context, swept []role) error {
	children, err := b.startAll(ctx, swept, nil)
	defer stopAll(children)
	if err != nil {
		return err
	}
	visitors := make([][]*visitor, len(children))
	for i, c := range children {
		if visitors[i], err = b.seed(ctx, c, b.Sessions, defaultSize); err != nil {
			return err
		}
	}
	for _, conns := range []int{1, 4, 32, 128} {
		var loads []contender
		for i, c := range children {
			l := b.load(c, read, visitors[i])
			l.conns = conns
			loads = append(loads, contender{c, l})
		}
		if err := b.point(ctx, byConns, loads); err != nil {
			return err
		}
	}
	return nil
}

// sweepDistance is over a network on which a round trip takes longer.
func (b *bench) sweepDistance(ctx context.Context, swept []role) error {
	for _, distance := range []time.Duration{0, time.Millisecond} {
		if len(swept) == 0 {
			return nil
		}
		p, err := newProxy(b.addr(swept[0]))
		if err != nil {
			return err
		}
		p.delay = distance
		err = func() error {
			defer p.close()
			children, err := b.startAll(ctx, swept, p)
			defer stopAll(children)
			if err != nil {
				return err
			}
			var loads []contender
			for _, c := range children {
				visitors, err := b.seed(ctx, c, min(b.Sessions, 1000), defaultSize)
				if err != nil {
					return err
				}
				l := b.load(c, read, visitors)
				l.distance = distance
				loads = append(loads, contender{c, l})
			}
			return b.point(ctx, byDistance, loads)
		}()
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) sweepSizes(ctx context.Context, swept []role) error {
	children, err := b.startAll(ctx, swept, nil)
	defer stopAll(children)
	if err != nil {
		return err
	}
	for _, size := range []int{200, 1_000, 10_000, 100_000} {
		var loads []contender
		for _, c := range children {
			visitors, err := b.seed(ctx, c, min(b.Sessions, 320), size)
			if err != nil {
				return err
			}
			l := b.load(c, read, visitors)
			l.size = size
			loads = append(loads, contender{c, l})
		}
		if err := b.point(ctx, bySize, loads); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) sweepScale(ctx context.Context, swept []role) error {
	children, err := b.startAll(ctx, swept, nil)
	defer stopAll(children)
	if err != nil {
		return err
	}
	visitors := make([][]*visitor, len(children))
	points := []int{1_000, 10_000, 100_000}
	if b.Full {
		points = append(points, 1_000_000)
	}
	for _, n := range points {
		var loads []contender
		for i, c := range children {
			more, err := c.fill(ctx, len(visitors[i]), n)
			if err != nil {
				return err
			}
			visitors[i] = append(visitors[i], more...)
			// A random order, which the store can't exploit, but the same in each run.
			order := rand.New(rand.NewPCG(1, 2))
			order.Shuffle(n, func(a, b int) {
				visitors[i][a], visitors[i][b] = visitors[i][b], visitors[i][a]
			})
			loads = append(loads, contender{c, b.load(c, read, visitors[i])})
		}
		if err := b.point(ctx, byScale, loads); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) point(ctx context.Context, sweep string, loads []contender) error {
	if len(loads) == 0 {
		return nil
	}
	l := loads[0].load
	log.Printf("%s: read by %s: %d connections, %d bytes, %d sessions", loads[0].store, sweep, l.conns, l.size, len(l.visitors))
	results, err := b.compare(ctx, loads, b.Time/2)
	if err != nil {
		return err
	}
	for i := range results {
		results[i].Sweep = sweep
	}
	b.results = append(b.results, results...)
	return nil
}
