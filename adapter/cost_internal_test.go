package adapter

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/samesid/samesid/backends/memory"
	"github.com/samesid/samesid/internal/leaktest"
	"github.com/samesid/samesid/internal/wire"
)

// countingCodec counts what a Manager has its codec do.
type countingCodec struct {
	recordCodec
	encoded, decoded int
}

func (c *countingCodec) encode(r record) ([]byte, error) {
	c.encoded++
	return c.recordCodec.encode(r)
}

func (c *countingCodec) decode(b []byte) (record, error) {
	c.decoded++
	return c.recordCodec.decode(b)
}

// serving returns a Manager with JSON records on a store that has one, and a function that
// serves a request of its session.
func serving(t *testing.T, values string) (m *Manager, serve func(handle func(ctx context.Context))) {
	t.Helper()
	const secret = "a secret of at least thirty-two bytes"
	leaktest.Note(secret)
	store := memory.New(memory.Options{})
	t.Cleanup(func() { _ = store.Close() })
	if err := store.Commit("id", []byte(`{"cookie":{"originalMaxAge":null,"path":"/"},`+values+`}`), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	m = MustNew(Options{Secrets: []string{secret}, Store: store, Codec: JSONCodec{}})
	cookie := "connect.sid=" + wire.EncodeURIComponent(wire.NewSigner([]string{secret}).Sign("id"))
	return m, func(handle func(ctx context.Context)) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Cookie", cookie)
		w := httptest.NewRecorder()
		m.LoadAndSave(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { handle(r.Context()) })).ServeHTTP(w, r)
		if w.Code != http.StatusOK || m.Stats().UnreadableRecords != 0 || m.Stats().UnknownSessions != 0 {
			t.Fatalf("status %d, %+v", w.Code, m.Stats())
		}
	}
}

// A request decodes its record once, and encodes it once if it has changed it.
func TestRecordsAreEncodedOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		handle  func(m *Manager, ctx context.Context)
		encoded int
	}{
		"a read":             {func(m *Manager, ctx context.Context) { m.Get(ctx, "user") }, 0},
		"nothing changed":    {func(m *Manager, ctx context.Context) { m.Put(ctx, "n", 1) }, 0},
		"a change":           {func(m *Manager, ctx context.Context) { m.Put(ctx, "n", 2) }, 1},
		"a change of a list": {func(m *Manager, ctx context.Context) { m.Put(ctx, "list", []any{1}) }, 1},
		"many changes": {func(m *Manager, ctx context.Context) {
			for i := range 10 {
				m.Put(ctx, fmt.Sprint(i), i)
			}
		}, 1},
		"a new id": {func(m *Manager, ctx context.Context) { _ = m.RenewToken(ctx) }, 1},
		"a change that is saved": {func(m *Manager, ctx context.Context) {
			m.Put(ctx, "n", 2)
			_ = m.Save(ctx)
		}, 1},
	} {
		m, serve := serving(t, `"n":1,"list":[],"user":{"name":"Ann"}`)
		c := &countingCodec{recordCodec: m.cfg.codec}
		m.cfg.codec = c
		serve(func(ctx context.Context) { tt.handle(m, ctx) })
		if c.encoded != tt.encoded || c.decoded != 1 {
			t.Errorf("%s: encoded %d times, want %d; decoded %d times", name, c.encoded, tt.encoded, c.decoded)
		}
	}
}

// A nested object of a JSON record costs the same whatever is in it, as long as no handler
// looks at it: it is not decoded, whether the session is read or changed.
func TestNestedObjectsAreNotDecoded(t *testing.T) {
	const members = 2000
	large := strings.TrimSuffix(strings.Repeat(`{"a":"b","c":[1,2]},`, members), ",")
	look := func(m *Manager, ctx context.Context) { m.Get(ctx, "o") }
	for name, tt := range map[string]struct {
		handle  func(m *Manager, ctx context.Context)
		decodes bool
	}{
		"a read":       {func(m *Manager, ctx context.Context) { m.Get(ctx, "n") }, false},
		"a change":     {func(m *Manager, ctx context.Context) { m.Put(ctx, "n", time.Now().UnixNano()) }, false},
		"a look at it": {look, true}, // the measure works
	} {
		allocs := func(nested string) float64 {
			m, serve := serving(t, `"n":1,"o":{"list":[`+nested+`]}`)
			return testing.AllocsPerRun(10, func() { serve(func(ctx context.Context) { tt.handle(m, ctx) }) })
		}
		if more := allocs(large) - allocs(""); more > members/10 != tt.decodes {
			t.Errorf("%s: %v more allocations for %d more members", name, more, members)
		}
	}
}
