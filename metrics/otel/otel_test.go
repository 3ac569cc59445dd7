package samesidotel_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/dbconv"
	"go.opentelemetry.io/otel/trace"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/adapter/sessiontest"
	"github.com/samesid/samesid/metrics/otel"
)

const secret = "a secret of at least thirty-two bytes"

// rig is a Telemetry and what it reports.
type rig struct {
	*samesidotel.Telemetry
	spans  *tracetest.SpanRecorder
	tracer trace.Tracer
	reader *metric.ManualReader
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{spans: tracetest.NewSpanRecorder(), reader: metric.NewManualReader()}
	traces := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r.spans))
	r.tracer = traces.Tracer("app")
	var err error
	r.Telemetry, err = samesidotel.New(samesidotel.Options{
		TracerProvider: traces,
		MeterProvider:  metric.NewMeterProvider(metric.WithReader(r.reader)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// numbers returns each point as "name{attributes} value": a histogram's value is its count.
func (r *rig) numbers(t *testing.T) string {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := r.reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch d := m.Data.(type) {
			case metricdata.Histogram[float64]:
				for _, p := range d.DataPoints {
					fmt.Fprintf(&b, "%s{%s} %d\n", m.Name, p.Attributes.Encoded(encoder{}), p.Count)
				}
			case metricdata.Histogram[int64]:
				for _, p := range d.DataPoints {
					fmt.Fprintf(&b, "%s{%s} %d\n", m.Name, p.Attributes.Encoded(encoder{}), p.Count)
				}
			case metricdata.Sum[int64]:
				for _, p := range d.DataPoints {
					fmt.Fprintf(&b, "%s{%s} %d\n", m.Name, p.Attributes.Encoded(encoder{}), p.Value)
				}
			}
		}
	}
	return b.String()
}

func TestTelemetry(t *testing.T) {
	r := newRig(t)
	sessions := adapter.MustNew(adapter.Options{Secrets: []string{secret}, Observe: r.Observe})
	r.Add(sessions)
	b := sessiontest.New(t, sessions, sessiontest.With("visits", 1))
	if n := len(r.spans.Ended()); n != 0 {
		t.Errorf("%d spans of a request that is not traced", n)
	}
	ctx, parent := r.tracer.Start(t.Context(), "request")
	b.Serve(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { sessions.Put(r.Context(), "visits", 2) }),
		httptest.NewRequestWithContext(ctx, "GET", "/", nil))
	parent.End()

	var names []string
	for _, span := range r.spans.Ended() {
		if span.Name() == "request" {
			continue
		}
		names = append(names, span.Name())
		if span.Parent().SpanID() != parent.SpanContext().SpanID() || span.SpanKind() != trace.SpanKindInternal || span.Status().Code != codes.Unset {
			t.Errorf("%s: parent %v, kind %v, status %v", span.Name(), span.Parent().SpanID(), span.SpanKind(), span.Status())
		}
		if got := fmt.Sprint(span.Attributes()); !strings.Contains(got, `{"db.system.name":"memory"}`) || !strings.Contains(got, `{"db.query.summary":"`+span.Name()+`"}`) || !strings.Contains(got, `{"samesid.calls_per_command":1}`) {
			t.Errorf("%s has %s", span.Name(), got)
		}
	}
	if got := strings.Join(names, ", "); got != "findtouch session, swap session" {
		t.Errorf("spans: %s", got)
	}
	got := r.numbers(t)
	for _, want := range []string{
		"db.client.operation.duration{db.operation.name=swap,db.system.name=memory,samesid.outcome=ok} 2",
		"samesid.record.size{db.operation.name=findtouch,db.system.name=memory} 1",
		"samesid.calls_per_command{db.operation.name=swap,db.system.name=memory} 2",
		"samesid.bad_signatures{samesid.cookie=connect.sid} 0",
		"samesid.secret_uses{samesid.cookie=connect.sid,samesid.place=0} 1",
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("%s is missing:\n%s", want, got)
		}
	}
	stats := reflect.TypeFor[adapter.Stats]()
	if n := strings.Count(got, "{samesid.cookie=connect.sid} "); n != stats.NumField() {
		t.Errorf("%d counters for %d fields of adapter.Stats", n, stats.NumField())
	}
}

type stateError string

func (e stateError) Error() string    { return "postgres: swap: too many connections" }
func (e stateError) SQLState() string { return string(e) }

func TestFailures(t *testing.T) {
	r := newRig(t)
	ctx, parent := r.tracer.Start(t.Context(), "request")
	began := time.Now()
	for _, c := range []struct {
		failure, store, system string
		outcome                adapter.Outcome
		err                    error
		status                 bool
	}{
		{"timeout", "redis", "redis", adapter.OutcomeError, fmt.Errorf("redis: find: %w", context.DeadlineExceeded), false},
		{"canceled", "postgres", "postgresql", adapter.OutcomeCanceled, context.Canceled, false},
		{"_OTHER", "sqlite", "sqlite", adapter.OutcomeError, errors.New("refused"), false},
		{"53300", "postgres", "postgresql", adapter.OutcomeError, fmt.Errorf("postgres: find: %w", stateError("53300")), true},
		{"_OTHER", "postgres", "postgresql", adapter.OutcomeError, stateError(""), false},
		{"OOM", "redis", "redis", adapter.OutcomeError, fmt.Errorf("redis: find: %w", errors.New("OOM command not allowed")), true},
		{"_OTHER", "redis", "redis", adapter.OutcomeError, fmt.Errorf("redis: find: %w", io.EOF), false},
		{"_OTHER", "redis", "redis", adapter.OutcomeError, errors.New("dial tcp: connection refused"), false},
		{"_OTHER", "mystore", "mystore", adapter.OutcomeError, errors.New("OOM is not Redis's here"), false},
	} {
		r.Observe(ctx, adapter.StoreCall{Op: "find", Store: c.store, Outcome: c.outcome, Err: c.err, Start: began, Duration: time.Second, Together: 1})
		span := r.spans.Ended()[len(r.spans.Ended())-1]
		if span.Status() != (sdktrace.Status{Code: codes.Error, Description: c.failure}) || span.EndTime().Sub(span.StartTime()) != time.Second || span.SpanKind() != trace.SpanKindClient {
			t.Errorf("%v: status %v, %v long, kind %v", c.err, span.Status(), span.EndTime().Sub(span.StartTime()), span.SpanKind())
		}
		status := ""
		if c.status {
			status = "db.response.status_code=" + c.failure + ","
		}
		want := fmt.Sprintf("db.client.operation.duration{db.operation.name=find,%sdb.system.name=%s,error.type=%s,samesid.outcome=%s} ", status, c.system, c.failure, c.outcome)
		if got := r.numbers(t); !strings.Contains(got, want) {
			t.Errorf("%s is missing:\n%s", want, got)
		}
	}
	parent.End()
}

// What has a name in the conventions is as they say.
func TestConventions(t *testing.T) {
	r := newRig(t)
	r.Observe(t.Context(), adapter.StoreCall{Op: "find", Store: "redis", Outcome: adapter.OutcomeOK, Together: 1})
	var all metricdata.ResourceMetrics
	if err := r.reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	want, err := dbconv.NewClientOperationDuration(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, scope := range all.ScopeMetrics {
		if scope.Scope.SchemaURL != semconv.SchemaURL {
			t.Errorf("the schema is %q", scope.Scope.SchemaURL)
		}
		for _, m := range scope.Metrics {
			d, ok := m.Data.(metricdata.Histogram[float64])
			if ok && (m.Name != want.Name() || m.Unit != want.Unit() || m.Description != want.Description() ||
				!slices.Equal(d.DataPoints[0].Bounds, []float64{.001, .005, .01, .05, .1, .5, 1, 5, 10})) {
				t.Errorf("%s, %s, %q, %v", m.Name, m.Unit, m.Description, d.DataPoints[0].Bounds)
			}
		}
	}
}

// The numbers of two Managers are apart, and those of two with one cookie are added up.
func TestTwoManagers(t *testing.T) {
	r := newRig(t)
	for _, name := range []string{"a", "b", "b"} {
		m := adapter.MustNew(adapter.Options{Secrets: []string{secret}, Name: name, Logger: slog.New(slog.DiscardHandler)})
		r.Add(m)
		r.Add(m) // is the same as once
		forged := httptest.NewRequest("GET", "/", nil)
		forged.Header.Set("Cookie", name+"=s:forged.signature")
		m.LoadAndSave(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), forged)
	}
	for range 2 { // a second look counts nothing twice
		got := r.numbers(t)
		for _, want := range []string{"samesid.bad_signatures{samesid.cookie=a} 1\n", "samesid.bad_signatures{samesid.cookie=b} 2\n"} {
			if !strings.Contains(got, want) {
				t.Errorf("%s is missing:\n%s", want, got)
			}
		}
	}
}
