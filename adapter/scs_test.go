package adapter_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
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

// TestLikeSCS runs the behaviours that scs's own suite checks on a Manager,
// with scs's memory store, signed and unsigned, under either codec.
func TestLikeSCS(t *testing.T) {
	for name, o := range map[string]adapter.Options{
		"signed gob":   {Secrets: []string{secret}},
		"unsigned gob": {Signature: adapter.SignatureNone},
		"signed json":  {Secrets: []string{secret}, Codec: adapter.JSONCodec{}},
	} {
		t.Run(name, func(t *testing.T) { likeSCS(t, o) })
	}
}

// browser is a client that keeps its cookies.
type browser struct {
	t      *testing.T
	client *http.Client
	url    string
}

func newBrowser(t *testing.T, m *adapter.Manager, handlers map[string]http.HandlerFunc) *browser {
	t.Helper()
	mux := http.NewServeMux()
	for path, h := range handlers {
		mux.HandleFunc(path, h)
	}
	srv := httptest.NewServer(m.LoadAndSave(mux))
	t.Cleanup(srv.Close)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t, &http.Client{Jar: jar}, srv.URL}
}

func (b *browser) get(path string) (setCookie, body string) {
	b.t.Helper()
	res, err := b.client.Get(b.url + path)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return res.Header.Get("Set-Cookie"), string(text)
}

func (b *browser) wants(path, body string) string {
	b.t.Helper()
	set, got := b.get(path)
	if got != body {
		b.t.Errorf("%s: %q, want %q", path, got, body)
	}
	return set
}

// wrapped wraps a manager of scs's after its fields were set.
func wrapped(t *testing.T, o adapter.Options, set func(*scs.SessionManager)) *adapter.Manager {
	t.Helper()
	sm := scs.New()
	sm.Store = memstore.NewWithCleanupInterval(0)
	if o.Codec != nil {
		sm.Codec, o.Codec = o.Codec, nil
	}
	set(sm)
	m, err := adapter.Wrap(sm, o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func likeSCS(t *testing.T, o adapter.Options) {
	manager := func(t *testing.T) *adapter.Manager {
		t.Helper()
		return wrapped(t, o, func(*scs.SessionManager) {})
	}
	handlers := func(t *testing.T, m *adapter.Manager) map[string]http.HandlerFunc {
		text := func(f func(ctx context.Context) string) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, f(r.Context())) }
		}
		check := func(f func(ctx context.Context) error) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if err := f(r.Context()); err != nil {
					t.Error(err)
				}
			}
		}
		return map[string]http.HandlerFunc{
			"/put":     func(w http.ResponseWriter, r *http.Request) { m.Put(r.Context(), "foo", "bar") },
			"/get":     text(func(ctx context.Context) string { return m.GetString(ctx, "foo") }),
			"/pop":     text(func(ctx context.Context) string { return m.PopString(ctx, "foo") }),
			"/clear":   check(m.Clear),
			"/destroy": check(m.Destroy),
			"/renew":   check(m.RenewToken),
			"/remember": func(w http.ResponseWriter, r *http.Request) {
				m.RememberMe(r.Context(), r.URL.Query().Get("me") == "true")
			},
			"/flush": func(w http.ResponseWriter, r *http.Request) {
				m.Put(r.Context(), "foo", "flushed")
				if err := http.NewResponseController(w).Flush(); err != nil {
					t.Error(err)
				}
				_, _ = io.WriteString(w, "ok")
			},
		}
	}
	open := func(t *testing.T, m *adapter.Manager) *browser { return newBrowser(t, m, handlers(t, m)) }

	t.Run("put and get", func(t *testing.T) {
		b := open(t, manager(t))
		if set := b.wants("/put", ""); set == "" {
			t.Error("no cookie")
		}
		if set := b.wants("/get", "bar"); set != "" {
			t.Errorf("a read sets the cookie %q", set)
		}
	})
	t.Run("pop", func(t *testing.T) {
		b := open(t, manager(t))
		b.get("/put")
		b.wants("/pop", "bar")
		b.wants("/get", "")
	})
	t.Run("clear", func(t *testing.T) {
		b := open(t, manager(t))
		b.get("/put")
		b.get("/clear")
		b.wants("/get", "")
	})
	t.Run("destroy", func(t *testing.T) {
		b := open(t, manager(t))
		b.get("/put")
		set := b.wants("/destroy", "")
		for _, part := range []string{"session=;", "Expires=Thu, 01 Jan 1970 00:00:01 GMT", "Max-Age=0"} {
			if !strings.Contains(set, part) {
				t.Errorf("Set-Cookie %q, want %q in it", set, part)
			}
		}
		b.wants("/get", "")
	})
	t.Run("renew", func(t *testing.T) {
		b := open(t, manager(t))
		first := b.wants("/put", "")
		second := b.wants("/renew", "")
		if first == "" || second == "" || strings.Split(first, ";")[0] == strings.Split(second, ";")[0] {
			t.Errorf("cookies %q and %q", first, second)
		}
		b.wants("/get", "bar")
	})
	t.Run("remember me", func(t *testing.T) {
		m := wrapped(t, o, func(sm *scs.SessionManager) { sm.Cookie.Persist = false })
		b := open(t, m)
		expires := func(set string) bool { return strings.Contains(set, "Max-Age=") && strings.Contains(set, "Expires=") }
		if set := b.wants("/put", ""); set == "" || expires(set) {
			t.Errorf("before: %q", set)
		}
		if set := b.wants("/remember?me=true", ""); !expires(set) {
			t.Errorf("remembered: %q", set)
		}
		if set := b.wants("/remember?me=false", ""); expires(set) {
			t.Errorf("forgotten: %q", set)
		}
	})
	t.Run("flush", func(t *testing.T) {
		b := open(t, manager(t))
		if set := b.wants("/flush", "ok"); set == "" {
			t.Error("no cookie")
		}
		b.wants("/get", "flushed")
	})
	t.Run("iterate", func(t *testing.T) {
		m := manager(t)
		for i := range 3 {
			b := newBrowser(t, m, map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, r *http.Request) {
				m.Put(r.Context(), "foo", strconv.Itoa(i))
			}})
			b.get("/")
		}
		var got []string
		if err := m.Iterate(t.Context(), func(ctx context.Context) error {
			got = append(got, m.GetString(ctx, "foo"))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		sort.Strings(got)
		if !reflect.DeepEqual(got, []string{"0", "1", "2"}) {
			t.Errorf("got %v", got)
		}
		stop := errors.New("stop")
		if err := m.Iterate(t.Context(), func(context.Context) error { return stop }); !errors.Is(err, stop) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("lifetime", func(t *testing.T) {
		m := wrapped(t, o, func(sm *scs.SessionManager) { sm.Lifetime = 500 * time.Millisecond })
		synctest.Test(t, func(t *testing.T) {
			visit := visitor(m)
			visit(func(ctx context.Context) { m.Put(ctx, "foo", "bar") })
			for _, want := range []string{"bar", "bar", ""} {
				time.Sleep(200 * time.Millisecond) // 200, 400, 600
				visit(func(ctx context.Context) {
					if got := m.GetString(ctx, "foo"); got != want {
						t.Errorf("%q, want %q", got, want)
					}
				})
			}
		})
	})
	t.Run("idle timeout", func(t *testing.T) {
		m := wrapped(t, o, func(sm *scs.SessionManager) { sm.IdleTimeout, sm.Lifetime = 200*time.Millisecond, time.Second })
		synctest.Test(t, func(t *testing.T) {
			visit := visitor(m)
			visit(func(ctx context.Context) { m.Put(ctx, "foo", "bar") })
			for _, step := range []struct {
				wait time.Duration
				want string
			}{{100, "bar"}, {150, "bar"}, {210, ""}} {
				time.Sleep(step.wait * time.Millisecond)
				visit(func(ctx context.Context) {
					if got := m.GetString(ctx, "foo"); got != step.want {
						t.Errorf("after %v: %q, want %q", step.wait, got, step.want)
					}
				})
			}
		})
	})
	t.Run("set deadline", func(t *testing.T) {
		m := manager(t)
		synctest.Test(t, func(t *testing.T) {
			visit := visitor(m)
			end := time.Now().Add(time.Minute).UTC()
			visit(func(ctx context.Context) {
				m.Put(ctx, "foo", "bar")
				m.SetDeadline(ctx, end)
			})
			time.Sleep(59 * time.Second)
			visit(func(ctx context.Context) {
				if m.GetString(ctx, "foo") != "bar" || !m.Deadline(ctx).Equal(end) {
					t.Errorf("deadline %v, want %v", m.Deadline(ctx), end)
				}
			})
			time.Sleep(2 * time.Second)
			visit(func(ctx context.Context) {
				if m.Exists(ctx, "foo") {
					t.Error("the session outlives its deadline")
				}
			})
		})
	})
	t.Run("typed values", func(t *testing.T) {
		m := manager(t)
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
