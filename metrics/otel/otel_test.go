package samesidotel_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
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
	if err := r.Add(sessions); err != nil {
		t.Fatal(err)
	}
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
		if span.Parent().SpanID() != parent.SpanContext().SpanID() || span.SpanKind() != trace.SpanKindClient || span.Status().Code != codes.Unset {
			t.Errorf("%s: parent %v, kind %v, status %v", span.Name(), span.Parent().SpanID(), span.SpanKind(), span.Status())
		}
		if got := fmt.Sprint(span.Attributes()); !strings.Contains(got, `{"db.system.name":"memory"}`) || !strings.Contains(got, `{"samesid.calls_per_command":1}`) {
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

func TestFailures(t *testing.T) {
	r := newRig(t)
	ctx, parent := r.tracer.Start(t.Context(), "request")
	began := time.Now()
	for failure, call := range map[string]adapter.StoreCall{
		"timeout":  {Outcome: adapter.OutcomeError, Err: fmt.Errorf("redis: find: %w", context.DeadlineExceeded)},
		"canceled": {Outcome: adapter.OutcomeCanceled, Err: context.Canceled},
		"_OTHER":   {Outcome: adapter.OutcomeError, Err: errors.New("refused")},
	} {
		call.Op, call.Store, call.Start, call.Duration = "find", "postgres", began, time.Second
		r.Observe(ctx, call)
		span := r.spans.Ended()[len(r.spans.Ended())-1]
		if span.Status() != (sdktrace.Status{Code: codes.Error, Description: failure}) || span.EndTime().Sub(span.StartTime()) != time.Second {
			t.Errorf("%s: status %v, %v long", failure, span.Status(), span.EndTime().Sub(span.StartTime()))
		}
		want := "db.client.operation.duration{db.operation.name=find,db.system.name=postgresql,error.type=" + failure
		if got := r.numbers(t); !strings.Contains(got, want) {
			t.Errorf("%s is missing:\n%s", want, got)
		}
	}
	parent.End()
}
