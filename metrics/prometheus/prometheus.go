// Package samesidprometheus gives Prometheus the numbers of a samesid Manager and its store:
//
//	numbers := samesidprometheus.New()
//	sessions, err := adapter.New(adapter.Options{
//		…
//		Observe: numbers.Observe,
//	})
//	…
//	numbers.Add(sessions)
//	prometheus.MustRegister(numbers)
//
// With a configuration file, set Options.Observe between config.Load and Open. docs/operations.md
// says what each number means; in this folder, dashboard.json is a dashboard for Grafana, and
// alerts.yaml has rules for when to be woken.
package samesidprometheus

import (
	"context"
	"slices"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/samesid/samesid/adapter"
)

// Collector is a prometheus.Collector. Make one with New. It is safe for concurrent use, and
// can be that of several Managers.
type Collector struct {
	duration, bytes, together *prometheus.HistogramVec

	mu       sync.Mutex
	managers []*adapter.Manager
}

// New returns a Collector without numbers. No label has the id of a session or a user.
func New() *Collector {
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "samesid", Subsystem: "store", Name: name, Help: help, Buckets: buckets,
		}, append([]string{"store", "operation"}, labels...))
	}
	return &Collector{
		duration: histogram("call_duration_seconds", "Duration of a call of the store, with all that it has waited.",
			[]float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}, "outcome"),
		bytes: histogram("record_bytes", "Size of the record that a call has read or written.",
			prometheus.ExponentialBuckets(128, 4, 8)), // to 2 MiB
		together: histogram("calls_per_command", "Number of calls that the command was for which answered a call.",
			prometheus.ExponentialBuckets(1, 2, 7)), // to 64
	}
}

// Observe is for adapter.Options.Observe.
func (c *Collector) Observe(_ context.Context, call adapter.StoreCall) {
	c.duration.WithLabelValues(call.Store, call.Op, string(call.Outcome)).Observe(call.Duration.Seconds())
	// There is a 0 before the first failure: rate and increase don't see a series begin.
	c.duration.WithLabelValues(call.Store, call.Op, string(adapter.OutcomeError))
	if call.Bytes > 0 {
		c.bytes.WithLabelValues(call.Store, call.Op).Observe(float64(call.Bytes))
	}
	c.together.WithLabelValues(call.Store, call.Op).Observe(float64(call.Together))
}

// Add has the Collector give a Manager's Stats and SecretUses too. The numbers of several
// Managers are told apart by their cookie's name, and added up if that is the same.
func (c *Collector) Add(m *adapter.Manager) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(c.managers, m) {
		c.managers = append(c.managers, m)
	}
}

// counters are those of adapter.Stats.
var counters = [...]struct {
	desc  *prometheus.Desc
	value func(adapter.Stats) uint64
}{
	{counter("dropped_writes_total", "Requests whose changes were dropped, as the session had been ended meanwhile."), func(s adapter.Stats) uint64 { return s.DroppedWrites }},
	{counter("lost_changes_total", "Requests that changed their session after the response had begun: mistakes in handlers."), func(s adapter.Stats) uint64 { return s.LostChanges }},
	{counter("conflicts_total", "Saves that found the session changed by another request. Both changes were kept."), func(s adapter.Stats) uint64 { return s.Conflicts }},
	{counter("unreadable_records_total", "Stored records that could not be decoded, and count as no session."), func(s adapter.Stats) uint64 { return s.UnreadableRecords }},
	{counter("bad_signatures_total", "Cookies that none of the secrets has signed."), func(s adapter.Stats) uint64 { return s.BadSignatures }},
	{counter("unknown_sessions_total", "Cookies that are well signed, and whose session the store does not have."), func(s adapter.Stats) uint64 { return s.UnknownSessions }},
}

var secretUses = counter("secret_uses_total", "Cookies that a secret has verified, by its place in Options.Secrets. "+
	"A secret that is moved to another place takes its number along.", "place")

func counter(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("samesid_"+name, help, append([]string{"cookie"}, labels...), nil)
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(to chan<- *prometheus.Desc) {
	c.duration.Describe(to)
	c.bytes.Describe(to)
	c.together.Describe(to)
	for _, n := range counters {
		to <- n.desc
	}
	to <- secretUses
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	c.duration.Collect(to)
	c.bytes.Collect(to)
	c.together.Collect(to)
	c.mu.Lock()
	defer c.mu.Unlock()
	type secret struct {
		cookie string
		place  int
	}
	sums, uses := map[string]*[len(counters)]uint64{}, map[secret]uint64{}
	for _, m := range c.managers {
		name, stats := m.Cookie.Name, m.Stats()
		if sums[name] == nil {
			sums[name] = new([len(counters)]uint64)
		}
		for i, n := range counters {
			sums[name][i] += n.value(stats)
		}
		for place, n := range m.SecretUses() {
			uses[secret{name, place}] += n
		}
	}
	for name, sum := range sums {
		for i, n := range sum {
			to <- prometheus.MustNewConstMetric(counters[i].desc, prometheus.CounterValue, float64(n), name)
		}
	}
	for of, n := range uses {
		to <- prometheus.MustNewConstMetric(secretUses, prometheus.CounterValue, float64(n), of.cookie, strconv.Itoa(of.place))
	}
}
