// Package samesidotel gives OpenTelemetry a span and the numbers of each call of the store that
// a samesid Manager makes, by the semantic conventions for database clients, 1.43:
//
//	telemetry, err := samesidotel.New(samesidotel.Options{})
//	…
//	sessions, err := adapter.New(adapter.Options{
//		…
//		Observe: telemetry.Observe,
//	})
//	…
//	telemetry.Add(sessions)
//
// With a configuration file, set Options.Observe between config.Load and Open. Neither spans nor
// numbers have the id of a session or a user, nor the text of a query, as keys are ids; nor the
// server's address, which a Manager does not know.
//
// db.operation.name is StoreCall.Op: a call may take several commands, and several calls may share one.
// error.type is db.response.status_code if the server has sent one, such as Postgres's "53300" or
// Redis's "OOM"; else "timeout", "canceled" or "_OTHER".
package samesidotel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
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

	mu       sync.Mutex
	managers []*adapter.Manager
}

// New returns a Telemetry. The error is that of the provider.
func New(opts Options) (*Telemetry, error) {
	if opts.TracerProvider == nil {
		opts.TracerProvider = otel.GetTracerProvider()
	}
	if opts.MeterProvider == nil {
		opts.MeterProvider = otel.GetMeterProvider()
	}
	t := &Telemetry{
		tracer: opts.TracerProvider.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL)),
		meter:  opts.MeterProvider.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL)),
	}
	var errs [3]error
	// The conventions' name, text and boundaries: other clients of databases in the process have the
	// same, and can be added up with it. A View can have finer ones.
	t.duration, errs[0] = t.meter.Float64Histogram("db.client.operation.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of database client operations."),
		metric.WithExplicitBucketBoundaries(.001, .005, .01, .05, .1, .5, 1, 5, 10))
	t.recordSize, errs[1] = t.meter.Int64Histogram("samesid.record.size", metric.WithUnit("By"),
		metric.WithDescription("Size of the record that a call has read or written."),
		metric.WithExplicitBucketBoundaries(128, 512, 2048, 8192, 32768, 131072, 524288, 2097152))
	t.callsTogether, errs[2] = t.meter.Int64Histogram("samesid.calls_per_command", metric.WithUnit("{call}"),
		metric.WithDescription("Number of calls that the command was for which answered a call."),
		metric.WithExplicitBucketBoundaries(1, 2, 4, 8, 16, 32, 64))
	if err := errors.Join(append(errs[:], t.observeManagers())...); err != nil {
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
	attrs := make([]attribute.KeyValue, 0, 7)
	attrs = append(attrs, semconv.DBSystemNameKey.String(system), semconv.DBOperationName(call.Op))
	plain := metric.WithAttributes(attrs...)
	attrs = append(attrs, attribute.String("samesid.outcome", string(call.Outcome)))
	failure, status := errorType(call)
	if failure != "" {
		attrs = append(attrs, semconv.ErrorTypeKey.String(failure))
	}
	if status {
		attrs = append(attrs, semconv.DBResponseStatusCode(failure))
	}
	t.duration.Record(ctx, call.Duration.Seconds(), metric.WithAttributes(attrs...))
	if call.Bytes > 0 {
		t.recordSize.Record(ctx, int64(call.Bytes), plain)
	}
	t.callsTogether.Record(ctx, int64(call.Together), plain)

	if !trace.SpanFromContext(ctx).IsRecording() {
		return
	}
	kind := trace.SpanKindClient
	if system == "memory" {
		kind = trace.SpanKindInternal // nothing else is called
	}
	summary := call.Op + " session"
	attrs = append(attrs, semconv.DBQuerySummary(summary), attribute.Int("samesid.calls_per_command", call.Together))
	_, span := t.tracer.Start(ctx, summary, trace.WithSpanKind(kind), trace.WithTimestamp(call.Start), trace.WithAttributes(attrs...))
	if failure != "" {
		span.SetStatus(codes.Error, failure) // the text of a store of the app's own may have a key in it
	}
	span.End(trace.WithTimestamp(call.Start.Add(call.Duration)))
}

// errorType is a failure's error.type, of which there are few; "" for what is none. status reports
// whether it is the server's own code.
func errorType(call adapter.StoreCall) (failure string, status bool) {
	var postgres interface{ SQLState() string }
	switch {
	case call.Err == nil:
		return "", false
	case call.Outcome == adapter.OutcomeCanceled:
		return "canceled", false
	case errors.Is(call.Err, context.DeadlineExceeded):
		return "timeout", false
	case errors.As(call.Err, &postgres) && postgres.SQLState() != "":
		return postgres.SQLState(), true
	case strings.HasPrefix(call.Store, "redis"):
		if code := redisCode(call.Err); code != "" {
			return code, true
		}
	}
	return semconv.ErrorTypeOther.Value.AsString(), false
}

// redisCode returns the prefix of an error that a Redis server has replied: "OOM", "READONLY".
func redisCode(err error) string {
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	code, _, more := strings.Cut(err.Error(), " ")
	if !more || strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return ""
	}
	return code
}

// counters are those of adapter.Stats.
var counters = [...]struct {
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
// Managers are told apart by their cookie's name, and added up if that is the same.
func (t *Telemetry) Add(m *adapter.Manager) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.Contains(t.managers, m) {
		t.managers = append(t.managers, m)
	}
}

// observeManagers makes the counters of all Managers that are added. Each is made once: a second
// instrument of the same name is not asked for its numbers.
func (t *Telemetry) observeManagers() error {
	all := make([]metric.Observable, 0, len(counters)+1)
	made := make([]metric.Int64ObservableCounter, len(counters))
	for i, c := range counters {
		var err error
		if made[i], err = t.meter.Int64ObservableCounter(c.name, metric.WithUnit(c.unit), metric.WithDescription(c.description)); err != nil {
			return err
		}
		all = append(all, made[i])
	}
	secretUses, err := t.meter.Int64ObservableCounter("samesid.secret_uses", metric.WithUnit("{cookie}"),
		metric.WithDescription("Cookies that a secret has verified, by its place in Options.Secrets. A secret that is moved to another place takes its number along."))
	if err != nil {
		return err
	}
	type secret struct {
		cookie string
		place  int
	}
	_, err = t.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		t.mu.Lock()
		defer t.mu.Unlock()
		sums, uses := map[string]*[len(counters)]int64{}, map[secret]int64{}
		for _, m := range t.managers {
			name, stats := m.Cookie.Name, m.Stats()
			if sums[name] == nil {
				sums[name] = new([len(counters)]int64)
			}
			for i, c := range counters {
				sums[name][i] += int64(c.value(stats))
			}
			for place, n := range m.SecretUses() {
				uses[secret{name, place}] += int64(n)
			}
		}
		for name, sum := range sums {
			for i, n := range sum {
				o.ObserveInt64(made[i], n, metric.WithAttributes(attribute.String("samesid.cookie", name)))
			}
		}
		for of, n := range uses {
			o.ObserveInt64(secretUses, n, metric.WithAttributes(attribute.String("samesid.cookie", of.cookie), attribute.Int("samesid.place", of.place)))
		}
		return nil
	}, append(all, secretUses)...)
	return err
}
