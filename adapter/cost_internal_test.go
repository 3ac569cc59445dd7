package adapter

import (
	"context"
	"encoding/gob"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"

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

// What a request allocates beside its handler alone, on the memory store. A change that needs
// more has to say what for.
func TestAllocations(t *testing.T) {
	type user struct{ ID, Name, Email, Role string }
	gob.Register(user{})
	ann := user{"42", "Ann Example", "ann@example.com", "admin"}
	allocs := func(h http.Handler, cookie string) float64 {
		r := httptest.NewRequest("GET", "/", nil)
		if cookie != "" {
			r.Header.Set("Cookie", cookie)
		}
		return testing.AllocsPerRun(200, func() { h.ServeHTTP(httptest.NewRecorder(), r) })
	}
	pool := sync.Pool{New: func() any { return new([64]byte) }}
	slack := 1.0
	if testing.AllocsPerRun(10, func() {
		for range 100 {
			pool.Put(pool.Get())
		}
	}) > 10 {
		slack = 4 // the race detector drops at random what is in a pool
	}
	bare := allocs(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }), "")

	const secret = "a secret of at least thirty-two bytes"
	leaktest.Note(secret)
	for name, tt := range map[string]struct {
		codec                          scs.Codec
		read, change, login, anonymous float64
	}{
		"json": {JSONCodec{}, 17, 59, 54, 8},    // encoding/json of Go 1.26 needs 3 fewer for a login
		"gob":  {scs.GobCodec{}, 40, 90, 60, 8}, // a collection empties the pools
	} {
		store := memory.New(memory.Options{})
		t.Cleanup(func() { _ = store.Close() })
		m := MustNew(Options{Secrets: []string{secret}, Store: store, Codec: tt.codec, Cookie: Cookie{MaxAge: time.Hour}})
		serve := func(handle func(ctx context.Context)) http.Handler {
			return m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				handle(r.Context())
				w.WriteHeader(http.StatusNoContent)
			}))
		}
		put := func(ctx context.Context) { m.Put(ctx, "user", ann) }
		get := func(ctx context.Context) user { return m.Get(ctx, "user").(user) }
		if name == "json" {
			put = func(ctx context.Context) { _ = Put(ctx, m, "user", ann) }
			get = func(ctx context.Context) user { u, _ := Get[user](ctx, m, "user"); return u }
		}
		w := httptest.NewRecorder()
		serve(put).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		cookie, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";")
		n := 1000 // a small one would not be allocated
		for op, c := range map[string]struct {
			most   float64
			cookie string
			handle func(ctx context.Context)
		}{
			"read": {tt.read, cookie, func(ctx context.Context) {
				if get(ctx) != ann {
					t.Error("another user")
				}
			}},
			"change":    {tt.change, cookie, func(ctx context.Context) { n++; m.Put(ctx, "n", n) }},
			"login":     {tt.login, "", put},
			"anonymous": {tt.anonymous, "", func(context.Context) {}},
		} {
			if got := allocs(serve(c.handle), c.cookie) - bare; got > slack*c.most {
				t.Errorf("%s, %s: %v allocations, want %v at most", name, op, got, c.most)
			}
		}
	}
}
