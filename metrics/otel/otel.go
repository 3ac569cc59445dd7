// Package samesidotel gives OpenTelemetry a span and the numbers of each call of the store that
// a samesid Manager makes, by the semantic conventions for database clients:
//
//	telemetry, err := samesidotel.New(samesidotel.Options{})
//	sessions, err := adapter.New(adapter.Options{Observe: telemetry.Observe, …})
//	err = telemetry.Add(sessions)
//
// With a configuration file, set Options.Observe between config.Load and Open. Neither spans nor
// numbers have the id of a session or a user, nor the text of a query, as keys are ids.
package samesidotel

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/samesid/samesid/adapter"
)

// scope is the instrumentation scope.
const scope = "github.com/samesid/samesid/metrics/otel"

// Options say where spans and numbers go.
type Options struct {
	// TracerProvider makes the spans. Zero value: otel.GetTracerProvider(). A request
	// that is not sampled costs no span.
	TracerProvider trace.TracerProvider

	// MeterProvider takes the numbers. Zero value: otel.GetMeterProvider().
	MeterProvider metric.MeterProvider
}

// Telemetry reports calls of a store. Make one with New. It is safe for concurrent use, and
// can be that of several Managers.
type Telemetry struct {
	tracer                    trace.Tracer
	meter                     metric.Meter
	duration                  metric.Float64Histogram
	recordSize, callsTogether metric.Int64Histogram
}

// New returns a Telemetry. The error is that of the provider.
func New(opts Options) (*Telemetry, error) {
	if opts.TracerProvider == nil {
		opts.TracerProvider = otel.GetTracerProvider()
	}
	if opts.MeterProvider == nil {
		opts.MeterProvider = otel.GetMeterProvider()
	}
	t := &Telemetry{tracer: opts.TracerProvider.Tracer(scope), meter: opts.MeterProvider.Meter(scope)}
	var errs [3]error
	t.duration, errs[0] = t.meter.Float64Histogram("db.client.operation.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of a call of the session store, with all that it has waited."),
		metric.WithExplicitBucketBoundaries(.0001, .0005, .001, .005, .01, .05, .1, .5, 1, 5, 10))
	t.recordSize, errs[1] = t.meter.Int64Histogram("samesid.record.size", metric.WithUnit("By"),
		metric.WithDescription("Size of the record that a call has read or written."),
		metric.WithExplicitBucketBoundaries(128, 512, 2048, 8192, 32768, 131072, 524288, 2097152))
	t.callsTogether, errs[2] = t.meter.Int64Histogram("samesid.calls_per_command", metric.WithUnit("{call}"),
		metric.WithDescription("Number of calls that the command was for which answered a call."),
		metric.WithExplicitBucketBoundaries(1, 2, 4, 8, 16, 32, 64))
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("samesidotel: %w", err)
	}
	return t, nil
}

// systems are the names of the conventions where they are not those of samesid's packages.
var systems = map[string]string{"postgres": "postgresql", "postgresstore": "postgresql", "redisstore": "redis", "sqlite3store": "sqlite"}

// Observe is for adapter.Options.Observe. The span is a child of the one in ctx, if that is
// recorded.
func (t *Telemetry) Observe(ctx context.Context, call adapter.StoreCall) {
	system := call.Store
	if s, ok := systems[system]; ok {
		system = s
	}
	attrs := make([]attribute.KeyValue, 0, 6)
	attrs = append(attrs, attribute.String("db.system.name", system), attribute.String("db.operation.name", call.Op))
	plain := metric.WithAttributes(attrs...)
	attrs = append(attrs, attribute.String("samesid.outcome", string(call.Outcome)))
	failure := errorType(call)
	if failure != "" {
		attrs = append(attrs, attribute.String("error.type", failure))
	}
	t.duration.Record(ctx, call.Duration.Seconds(), metric.WithAttributes(attrs...))
	if call.Bytes > 0 {
		t.recordSize.Record(ctx, int64(call.Bytes), plain)
	}
	t.callsTogether.Record(ctx, int64(call.Together), plain)

	if !trace.SpanFromContext(ctx).IsRecording() {
		return
	}
	attrs = append(attrs, attribute.Int("samesid.calls_per_command", call.Together))
	_, span := t.tracer.Start(ctx, call.Op+" session", trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(call.Start), trace.WithAttributes(attrs...))
	if failure != "" {
		span.SetStatus(codes.Error, failure) // the text of a store of the app's own may have a key in it
	}
	span.End(trace.WithTimestamp(call.Start.Add(call.Duration)))
}

// errorType is a failure's error.type, of which there are few; "" for what is none.
func errorType(call adapter.StoreCall) string {
	switch {
	case call.Err == nil:
		return ""
	case call.Outcome == adapter.OutcomeCanceled:
		return "canceled"
	case errors.Is(call.Err, context.DeadlineExceeded):
		return "timeout"
	}
	return "_OTHER"
}

// counters are those of adapter.Stats.
var counters = []struct {
	name, unit, description string
	value                   func(adapter.Stats) uint64
}{
	{"samesid.dropped_writes", "{request}", "Requests whose changes were dropped, as the session had been ended meanwhile.", func(s adapter.Stats) uint64 { return s.DroppedWrites }},
	{"samesid.lost_changes", "{request}", "Requests that changed their session after the response had begun: mistakes in handlers.", func(s adapter.Stats) uint64 { return s.LostChanges }},
	{"samesid.conflicts", "{conflict}", "Saves that found the session changed by another request. Both changes were kept.", func(s adapter.Stats) uint64 { return s.Conflicts }},
	{"samesid.unreadable_records", "{record}", "Stored records that could not be decoded, and count as no session.", func(s adapter.Stats) uint64 { return s.UnreadableRecords }},
	{"samesid.bad_signatures", "{cookie}", "Cookies that none of the secrets has signed.", func(s adapter.Stats) uint64 { return s.BadSignatures }},
	{"samesid.unknown_sessions", "{cookie}", "Cookies that are well signed, and whose session the store does not have.", func(s adapter.Stats) uint64 { return s.UnknownSessions }},
}

// Add reports a Manager's Stats and SecretUses too, from then on. The numbers of several
// Managers are told apart by their cookie's name. The error is that of the provider.
func (t *Telemetry) Add(m *adapter.Manager) error {
	cookie := attribute.String("samesid.cookie", m.Cookie.Name)
	for _, c := range counters {
		if _, err := t.meter.Int64ObservableCounter(c.name, metric.WithUnit(c.unit), metric.WithDescription(c.description),
			metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
				o.Observe(int64(c.value(m.Stats())), metric.WithAttributes(cookie))
				return nil
			})); err != nil {
			return fmt.Errorf("samesidotel: %w", err)
		}
	}
	_, err := t.meter.Int64ObservableCounter("samesid.secret_uses", metric.WithUnit("{cookie}"),
		metric.WithDescription("Cookies that a secret has verified, by its place in Options.Secrets. A secret that is moved to another place takes its number along."),
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			for place, uses := range m.SecretUses() {
				o.Observe(int64(uses), metric.WithAttributes(cookie, attribute.Int("samesid.place", place)))
			}
			return nil
		}))
	if err != nil {
		return fmt.Errorf("samesidotel: %w", err)
	}
	return nil
}
