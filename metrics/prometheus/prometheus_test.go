package samesidprometheus_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/adapter/sessiontest"
	"github.com/samesid/samesid/metrics/prometheus"
)

const secret = "a secret of at least thirty-two bytes"

// page returns what Prometheus reads.
func page(t *testing.T, c prometheus.Collector) string {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	if err := r.Register(c); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	promhttp.HandlerFor(r, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	b, err := io.ReadAll(w.Body)
	if err != nil || w.Code != http.StatusOK {
		t.Fatal(w.Code, err, string(b))
	}
	return string(b)
}

func TestNumbers(t *testing.T) {
	numbers := samesidprometheus.New()
	sessions := adapter.MustNew(adapter.Options{Secrets: []string{secret}, Observe: numbers.Observe})
	numbers.Add(sessions)
	b := sessiontest.New(t, sessions, sessiontest.With("visits", 1))
	b.Serve(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { sessions.Put(r.Context(), "visits", 2) }), httptest.NewRequest("GET", "/", nil))
	forged := httptest.NewRequest("GET", "/", nil)
	forged.Header.Set("Cookie", "connect.sid=s:forged.signature")
	sessions.LoadAndSave(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), forged)

	got := page(t, numbers)
	for _, want := range []string{
		`samesid_store_call_duration_seconds_count{operation="swap",outcome="ok",store="memory"} 2`,
		`samesid_store_call_duration_seconds_count{operation="findtouch",outcome="ok",store="memory"} 1`,
		`samesid_store_call_duration_seconds_count{operation="swap",outcome="error",store="memory"} 0`,
		`samesid_store_record_bytes_count{operation="swap",store="memory"} 2`,
		`samesid_store_calls_per_command_bucket{operation="swap",store="memory",le="1"} 2`,
		`samesid_bad_signatures_total{cookie="connect.sid"} 1`,
		`samesid_lost_changes_total{cookie="connect.sid"} 0`,
		`samesid_secret_uses_total{cookie="connect.sid",place="0"} 1`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("%s is missing:\n%s", want, got)
		}
	}
	if problems, err := testutil.CollectAndLint(numbers); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

// Each number of adapter.Stats is one of Prometheus's.
func TestStats(t *testing.T) {
	numbers := samesidprometheus.New()
	numbers.Add(adapter.MustNew(adapter.Options{Secrets: []string{secret}}))
	got := page(t, numbers)
	stats := reflect.TypeFor[adapter.Stats]()
	if n := strings.Count(got, "_total{cookie=\"connect.sid\"}"); n != stats.NumField() {
		t.Errorf("%d counters for %d fields:\n%s", n, stats.NumField(), got)
	}
}

// The numbers of two Managers are apart, and those of two with one cookie are added up: a number
// that is there twice would fail the whole page.
func TestTwoManagers(t *testing.T) {
	numbers := samesidprometheus.New()
	for _, name := range []string{"a", "b", "b"} {
		m := adapter.MustNew(adapter.Options{Secrets: []string{secret}, Name: name, Logger: slog.New(slog.DiscardHandler)})
		numbers.Add(m)
		numbers.Add(m) // is the same as once
		forged := httptest.NewRequest("GET", "/", nil)
		forged.Header.Set("Cookie", name+"=s:forged.signature")
		m.LoadAndSave(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), forged)
	}
	got := page(t, numbers)
	for _, want := range []string{
		`samesid_bad_signatures_total{cookie="a"} 1`,
		`samesid_bad_signatures_total{cookie="b"} 2`,
		`samesid_secret_uses_total{cookie="b",place="0"} 0`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("%s is missing:\n%s", want, got)
		}
	}
}

// A call that has failed counts under its outcome, and no label has more of it.
func TestOutcomes(t *testing.T) {
	numbers := samesidprometheus.New()
	numbers.Observe(context.Background(), adapter.StoreCall{
		Op: "swap", Store: "redis", Outcome: adapter.OutcomeError, Err: errors.New("connection refused"), Duration: 3 * time.Second, Together: 7,
	})
	got := page(t, numbers)
	for _, want := range []string{
		`samesid_store_call_duration_seconds_sum{operation="swap",outcome="error",store="redis"} 3`,
		`samesid_store_calls_per_command_bucket{operation="swap",store="redis",le="4"} 0`,
		`samesid_store_calls_per_command_bucket{operation="swap",store="redis",le="8"} 1`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("%s is missing:\n%s", want, got)
		}
	}
	if strings.Contains(got, "refused") || strings.Contains(got, "record_bytes_count{") {
		t.Errorf("got\n%s", got)
	}
}

// The dashboard and the alarms ask for numbers that there are, and the dashboard for each of them.
func TestDashboardAndAlerts(t *testing.T) {
	there := map[string]bool{}
	descs := make(chan *prometheus.Desc, 100)
	samesidprometheus.New().Describe(descs)
	close(descs)
	for d := range descs {
		there[regexp.MustCompile(`fqName: "(\w+)"`).FindStringSubmatch(d.String())[1]] = false
	}
	for _, file := range []string{"alerts.yaml", "dashboard.json"} {
		b, err := os.ReadFile(file)
		if err != nil || strings.HasSuffix(file, ".json") && !json.Valid(b) {
			t.Fatal(err, "it is no JSON")
		}
		for name := range there {
			there[name] = false
		}
		for _, name := range regexp.MustCompile(`samesid_\w+`).FindAllString(string(b), -1) {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				name = strings.TrimSuffix(name, suffix)
			}
			if _, ok := there[name]; !ok {
				t.Errorf("%s asks for %s, which there is not", file, name)
			}
			there[name] = true
		}
	}
	for name, asked := range there {
		if !asked {
			t.Errorf("the dashboard does not ask for %s", name)
		}
	}
}
