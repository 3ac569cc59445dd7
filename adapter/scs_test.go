package adapter_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"

	"github.com/samesid/samesid/adapter"
)

// scsAPI is what code written for scs calls. Its methods must stay scs's.
type scsAPI interface {
	LoadAndSave(http.Handler) http.Handler
	Load(context.Context, string) (context.Context, error)
	Commit(context.Context) (string, time.Time, error)
	Destroy(context.Context) error
	Put(context.Context, string, any)
	Get(context.Context, string) any
	Pop(context.Context, string) any
	Remove(context.Context, string)
	Clear(context.Context) error
	Exists(context.Context, string) bool
	Keys(context.Context) []string
	RenewToken(context.Context) error
	MergeSession(context.Context, string) error
	Status(context.Context) scs.Status
	GetString(context.Context, string) string
	GetBool(context.Context, string) bool
	GetInt(context.Context, string) int
	GetInt64(context.Context, string) int64
	GetInt32(context.Context, string) int32
	GetFloat(context.Context, string) float64
	GetBytes(context.Context, string) []byte
	GetTime(context.Context, string) time.Time
	PopString(context.Context, string) string
	PopBool(context.Context, string) bool
	PopInt(context.Context, string) int
	PopFloat(context.Context, string) float64
	PopBytes(context.Context, string) []byte
	PopTime(context.Context, string) time.Time
	RememberMe(context.Context, bool)
	Iterate(context.Context, func(context.Context) error) error
	Deadline(context.Context) time.Time
	SetDeadline(context.Context, time.Time)
	Token(context.Context) string
	WriteSessionCookie(context.Context, http.ResponseWriter, string, time.Time)
}

var (
	_ scsAPI = (*scs.SessionManager)(nil)
	_ scsAPI = (*adapter.Manager)(nil)
)

// TestLikeSCS has what scs's own tests, which TestSCSOwnTests runs, and TestWrapIsLikeSCS
// leave out: the data methods, signed and unsigned, under either codec.
func TestLikeSCS(t *testing.T) {
	for name, o := range map[string]adapter.Options{
		"signed gob":   {Secrets: []string{secret}},
		"unsigned gob": {Signature: adapter.SignatureNone},
		"signed json":  {Secrets: []string{secret}, Codec: adapter.JSONCodec{}},
	} {
		t.Run(name, func(t *testing.T) {
			sm := scs.New()
			sm.Store = memstore.NewWithCleanupInterval(0)
			if o.Codec != nil {
				sm.Codec, o.Codec = o.Codec, nil
			}
			m, err := adapter.Wrap(sm, o)
			if err != nil {
				t.Fatal(err)
			}
			t.Run("values", func(t *testing.T) { likeSCSValues(t, m) })
			t.Run("types", func(t *testing.T) { likeSCSTypes(t, m) })
		})
	}
}

func likeSCSValues(t *testing.T, m *adapter.Manager) {
	visit := visitor(m)
	wants := func(want string) {
		t.Helper()
		visit(func(ctx context.Context) {
			if got := m.GetString(ctx, "foo"); got != want || m.Exists(ctx, "foo") != (want != "") {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
	put := func(ctx context.Context) { m.Put(ctx, "foo", "bar") }
	visit(put)
	wants("bar")
	visit(func(ctx context.Context) {
		if got := m.PopString(ctx, "foo"); got != "bar" {
			t.Errorf("popped %q", got)
		}
	})
	wants("")
	visit(put)
	visit(func(ctx context.Context) {
		if err := m.Clear(ctx); err != nil {
			t.Error(err)
		}
	})
	wants("")
	visit(put)
	visit(func(ctx context.Context) {
		if err := m.RenewToken(ctx); err != nil {
			t.Error(err)
		}
	})
	wants("bar")

	stop := errors.New("stop")
	if err := m.Iterate(t.Context(), func(context.Context) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("error %v", err)
	}
}

func likeSCSTypes(t *testing.T, m *adapter.Manager) {
	when := time.Date(2026, 11, 22, 20, 52, 8, 665_000_000, time.UTC)
	visit := visitor(m)
	visit(func(ctx context.Context) {
		m.Put(ctx, "string", "text")
		m.Put(ctx, "bool", true)
		m.Put(ctx, "int", -42)
		m.Put(ctx, "int64", int64(1)<<40)
		m.Put(ctx, "int32", int32(7))
		m.Put(ctx, "float", 2.5)
		m.Put(ctx, "whole float", 3.0)
		m.Put(ctx, "bytes", []byte("raw\xff"))
		m.Put(ctx, "time", when)
	})
	for range 2 {
		visit(func(ctx context.Context) {
			for what, ok := range map[string]bool{
				"string":      m.GetString(ctx, "string") == "text",
				"bool":        m.GetBool(ctx, "bool"),
				"int":         m.GetInt(ctx, "int") == -42,
				"int64":       m.GetInt64(ctx, "int64") == 1<<40,
				"int32":       m.GetInt32(ctx, "int32") == 7,
				"float":       m.GetFloat(ctx, "float") == 2.5,
				"whole float": m.GetFloat(ctx, "whole float") == 3,
				"bytes":       bytes.Equal(m.GetBytes(ctx, "bytes"), []byte("raw\xff")),
				"time":        m.GetTime(ctx, "time").Equal(when),
				"missing":     m.GetInt(ctx, "x") == 0 && m.GetTime(ctx, "x").IsZero() && m.GetBytes(ctx, "x") == nil && m.GetFloat(ctx, "x") == 0,
				"other types": m.GetInt(ctx, "string") == 0 && m.GetFloat(ctx, "bool") == 0 && m.GetTime(ctx, "string").IsZero() && m.GetInt32(ctx, "int64") == 0,
			} {
				if !ok {
					t.Errorf("%s does not come back", what)
				}
			}
		})
	}
	visit(func(ctx context.Context) {
		if m.PopInt(ctx, "int") != -42 || m.PopFloat(ctx, "whole float") != 3 || m.PopString(ctx, "string") != "text" ||
			!m.PopBool(ctx, "bool") || !m.PopTime(ctx, "time").Equal(when) || len(m.PopBytes(ctx, "bytes")) != 4 {
			t.Error("Pop gives another value than Get")
		}
	})
	visit(func(ctx context.Context) {
		if got := m.Keys(ctx); !reflect.DeepEqual(got, []string{"float", "int32", "int64"}) {
			t.Errorf("left: %v", got)
		}
	})
}

// visitor makes requests of one client, without a network.
func visitor(m *adapter.Manager) func(do func(ctx context.Context)) {
	cookie := ""
	return func(do func(ctx context.Context)) {
		w := serve(m, cookie, func(w http.ResponseWriter, r *http.Request) { do(r.Context()) })
		for _, c := range w.Result().Cookies() {
			cookie = c.Name + "=" + c.Value
		}
	}
}

// What plain scs has stored is read, and the reverse.
func TestRecordsOfPlainSCS(t *testing.T) {
	store := newMapStore()
	plain := scs.New()
	plain.Store = store
	ctx, err := plain.Load(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	plain.Put(ctx, "user", "u")
	token, _, err := plain.Commit(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for name, codec := range map[string]scs.Codec{"gob": scs.GobCodec{}, "json": adapter.JSONCodec{}} {
		m := newManager(t, adapter.Options{Store: fullStore{store}, Codec: codec, Signature: adapter.SignatureMigrating})
		w := serve(m, "connect.sid="+token, func(w http.ResponseWriter, r *http.Request) {
			if m.GetString(r.Context(), "user") != "u" {
				t.Errorf("%s: the session of scs is not read", name)
			}
			if !m.Deadline(r.Context()).Equal(plain.Deadline(ctx)) {
				t.Errorf("%s: deadline %v, want %v", name, m.Deadline(r.Context()), plain.Deadline(ctx))
			}
		})
		if !strings.HasPrefix(w.Header().Get("Set-Cookie"), cookieFor(token)) {
			t.Errorf("%s: Set-Cookie %q", name, w.Header().Get("Set-Cookie"))
		}
	}

	m := newManager(t, adapter.Options{Store: fullStore{store}, Signature: adapter.SignatureNone})
	id := begin(t, m, map[string]any{"user": "v"})
	back, err := plain.Load(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if plain.GetString(back, "user") != "v" || time.Until(plain.Deadline(back)) < 23*time.Hour {
		t.Errorf("scs reads user %q, deadline %v", plain.GetString(back, "user"), plain.Deadline(back))
	}
	plain.Put(back, "more", 1)
	if _, _, err := plain.Commit(back); err != nil {
		t.Fatal(err)
	}
	if got := read(t, m, id); got["user"] != "v" || got["more"] != 1 {
		t.Errorf("after scs wrote: %v", got)
	}
}
