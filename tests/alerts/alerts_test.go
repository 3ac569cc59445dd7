package alerts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends/memory"
	"github.com/samesid/samesid/internal/leaktest"
	"github.com/samesid/samesid/metrics/prometheus"
)

const (
	secret = "a secret of at least thirty-two bytes"
	scrape = 30 * time.Second
	lasts  = time.Hour
)

var began = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// app is an app, and what Prometheus has seen of it.
type app struct {
	numbers  *samesidprometheus.Collector
	sessions *adapter.Manager
	store    *memory.Store
	registry *prometheus.Registry
	cookie   string // of a user who is signed in
	seen     map[string]*series
}

type series struct {
	labels  labels.Labels
	samples []chunks.Sample
}

func newApp(t *testing.T) *app {
	leaktest.Note(secret)
	a := &app{numbers: samesidprometheus.New(), store: memory.New(memory.Options{}), registry: prometheus.NewRegistry(), seen: map[string]*series{}}
	a.sessions = adapter.MustNew(adapter.Options{
		Secrets: []string{secret}, Store: a.store, Observe: a.numbers.Observe, Logger: slog.New(slog.DiscardHandler),
	})
	a.numbers.Add(a.sessions)
	if err := a.registry.Register(a.numbers); err != nil {
		t.Fatal(err)
	}
	a.request(t, "", func(ctx context.Context) { a.sessions.Put(ctx, "user", "ann") })
	return a
}

// request serves a request, and keeps the cookie.
func (a *app) request(t *testing.T, cookie string, do func(ctx context.Context)) {
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	}
	w := httptest.NewRecorder()
	a.sessions.LoadAndSave(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { do(r.Context()) })).ServeHTTP(w, r)
	if c := w.Header().Get("Set-Cookie"); c != "" {
		a.cookie, _, _ = strings.Cut(c, ";")
		leaktest.Note(strings.TrimPrefix(a.cookie, "connect.sid="))
	}
}

func (a *app) read(t *testing.T) { a.request(t, a.cookie, func(context.Context) {}) }

// calls notes calls of a store.
func (a *app) calls(n int, op string, outcome adapter.Outcome, takes time.Duration) {
	call := adapter.StoreCall{Store: "redis", Op: op, Outcome: outcome, Duration: takes, Bytes: 200, Together: 1}
	if outcome == adapter.OutcomeError {
		call.Err = errors.New("connection refused")
	}
	for range n {
		a.numbers.Observe(context.Background(), call)
	}
}

// scrape has Prometheus look at the numbers.
func (a *app) scrape(t *testing.T, at time.Time) {
	families, err := a.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	note := func(name string, of *dto.Metric, value float64, more ...string) {
		b := labels.NewScratchBuilder(8)
		b.Add(model.MetricNameLabel, name)
		b.Add("job", "app")
		for _, l := range of.GetLabel() {
			b.Add(l.GetName(), l.GetValue())
		}
		for i := 0; i < len(more); i += 2 {
			b.Add(more[i], more[i+1])
		}
		b.Sort()
		l := b.Labels()
		s := a.seen[l.String()]
		if s == nil {
			s = &series{labels: l}
			a.seen[l.String()] = s
		}
		s.samples = append(s.samples, sample{at.UnixMilli(), value})
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if h := m.GetHistogram(); h != nil {
				for _, bucket := range h.GetBucket() {
					note(f.GetName()+"_bucket", m, float64(bucket.GetCumulativeCount()), "le", fmt.Sprint(bucket.GetUpperBound()))
				}
				note(f.GetName()+"_bucket", m, float64(h.GetSampleCount()), "le", "+Inf")
				note(f.GetName()+"_count", m, float64(h.GetSampleCount()))
				note(f.GetName()+"_sum", m, h.GetSampleSum())
				continue
			}
			note(f.GetName(), m, m.GetCounter().GetValue())
		}
	}
}

// Each alarm fires when that happens which it is for, and no other one does; none fires in
// ordinary operation.
func TestAlerts(t *testing.T) {
	groups, problems := rulefmt.ParseFile("../../metrics/prometheus/alerts.yaml", false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	all := map[string]rulefmt.Rule{}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			all[r.Alert] = r
		}
	}
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e7, Timeout: time.Minute, Parser: parser.NewParser(parser.Options{})})

	fired := map[string]bool{}
	for what, c := range map[string]struct {
		fires string
		each  func(t *testing.T, a *app, n int) // at each look of Prometheus
	}{
		"ordinary operation": {"", func(t *testing.T, a *app, n int) {
			// The day has its failures, forgeries and old cookies.
			if n%20 == 0 {
				a.calls(1, "find", adapter.OutcomeError, 3*time.Second)
				a.request(t, "connect.sid=s%3Aforged.signature", func(context.Context) {})
			}
			a.calls(2, "swap", adapter.OutcomeConflict, time.Millisecond)
			a.calls(1, "find", adapter.OutcomeCanceled, time.Millisecond)
			a.calls(2, "range", adapter.OutcomeOK, time.Minute)
		}},
		"a store that fails at times": {"SamesidStoreFails", func(_ *testing.T, a *app, _ int) {
			a.calls(2, "find", adapter.OutcomeError, time.Millisecond)
		}},
		"a slow store": {"SamesidStoreSlow", func(_ *testing.T, a *app, _ int) {
			a.calls(2, "find", adapter.OutcomeOK, 2*time.Second)
		}},
		"another store than that of the cookies": {"SamesidUnknownSessions", func(t *testing.T, a *app, _ int) {
			cookie := a.cookie
			a.request(t, cookie, func(ctx context.Context) {
				if err := a.sessions.Destroy(ctx); err != nil {
					t.Error(err)
				}
			})
			for range 8 {
				a.request(t, cookie, func(context.Context) {})
			}
			a.request(t, "", func(ctx context.Context) { a.sessions.Put(ctx, "user", "ann") })
		}},
		"a secret that is missing": {"SamesidBadSignatures", func(t *testing.T, a *app, _ int) {
			a.request(t, "connect.sid=s%3Aof-another.secret", func(context.Context) {})
		}},
		"a handler's mistake": {"SamesidLostChanges", func(t *testing.T, a *app, n int) {
			if n != 90 { // a single one, a quarter of an hour before the end
				return
			}
			r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
			a.sessions.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusOK)
				a.sessions.Put(r.Context(), "late", true)
			})).ServeHTTP(httptest.NewRecorder(), r)
		}},
		"another program's record": {"SamesidUnreadableRecords", func(t *testing.T, a *app, n int) {
			if n != 90 {
				return
			}
			err := a.store.Range(t.Context(), func(id string, _ []byte) error {
				return a.store.CommitCtx(t.Context(), id, []byte("no record"), time.Now().Add(time.Hour))
			})
			if err != nil {
				t.Error(err)
			}
			a.read(t)
			a.request(t, "", func(ctx context.Context) { a.sessions.Put(ctx, "user", "ann") })
		}},
		"a session that many requests change": {"SamesidConflicts", func(t *testing.T, a *app, _ int) {
			for range 16 {
				a.request(t, a.cookie, func(ctx context.Context) {
					a.sessions.Put(ctx, "one", time.Now().UnixNano())
					a.request(t, a.cookie, func(ctx context.Context) { a.sessions.Put(ctx, "other", time.Now().UnixNano()) })
				})
			}
		}},
	} {
		t.Run(what, func(t *testing.T) {
			a := newApp(t)
			n := 0
			for at := began; at.Before(began.Add(lasts)); at = at.Add(scrape) {
				a.calls(20, "find", adapter.OutcomeOK, time.Millisecond)
				a.calls(18, "swap", adapter.OutcomeOK, 2*time.Millisecond)
				for range 3 {
					a.read(t)
				}
				c.each(t, a, n)
				a.scrape(t, at)
				n++
			}
			var got []string
			for name, r := range all {
				if a.fires(t, engine, r) {
					got = append(got, name)
				}
			}
			slices.Sort(got)
			want := []string{c.fires}
			if c.fires == "" {
				want = nil
			}
			if !slices.Equal(got, want) {
				t.Errorf("%q fire, want %q", got, want)
			}
		})
		fired[c.fires] = true
	}
	for name := range all {
		if !fired[name] {
			t.Errorf("nothing has %s fire", name)
		}
	}
}

// fires reports whether an alarm rings at the end: its expression has had a value at each
// evaluation for as long as it asks for.
func (a *app) fires(t *testing.T, engine *promql.Engine, r rulefmt.Rule) bool {
	end := began.Add(lasts - scrape)
	for at := end.Add(-time.Duration(r.For)); !at.After(end); at = at.Add(time.Minute) {
		q, err := engine.NewInstantQuery(t.Context(), a, nil, r.Expr, at)
		if err != nil {
			t.Fatal(r.Alert, err)
		}
		v, err := q.Exec(t.Context()).Vector()
		q.Close()
		if err != nil {
			t.Fatal(r.Alert, err)
		}
		if len(v) == 0 {
			return false
		}
	}
	return true
}

// sample is a number at a time, a chunks.Sample.
type sample struct {
	t int64
	f float64
}

func (s sample) T() int64                      { return s.t }
func (s sample) ST() int64                     { return 0 }
func (s sample) F() float64                    { return s.f }
func (s sample) H() *histogram.Histogram       { return nil }
func (s sample) FH() *histogram.FloatHistogram { return nil }
func (s sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample           { return s }

// app is a storage.Queryable and its Querier.

func (a *app) Querier(int64, int64) (storage.Querier, error) { return a, nil }
func (a *app) Close() error                                  { return nil }

func (a *app) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (a *app) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (a *app) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	set := &seriesSet{at: -1}
	for _, name := range slices.Sorted(maps.Keys(a.seen)) {
		s := a.seen[name]
		if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(s.labels.Get(m.Name)) }) {
			set.all = append(set.all, storage.NewListSeries(s.labels, s.samples))
		}
	}
	return set
}

type seriesSet struct {
	all []*storage.SeriesEntry
	at  int
}

func (s *seriesSet) Next() bool                        { s.at++; return s.at < len(s.all) }
func (s *seriesSet) At() storage.Series                { return s.all[s.at] }
func (s *seriesSet) Err() error                        { return nil }
func (s *seriesSet) Warnings() annotations.Annotations { return nil }
