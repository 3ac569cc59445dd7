package adapter_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends/memory"
)

// BenchmarkRequest measures a request in process, for benchstat; "bare" is the
// handler alone and "scs" scs as it ships.
func BenchmarkRequest(b *testing.B) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) })
	measure := func(name string, h http.Handler, cookie string) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			if cookie != "" {
				r.Header.Set("Cookie", cookie)
			}
			for b.Loop() {
				h.ServeHTTP(httptest.NewRecorder(), r)
			}
		})
	}
	measure("bare", handler, "")

	value := map[string]any{"id": "42", "name": "Ann Example", "email": "ann@example.com", "role": "admin"}
	for name, codec := range map[string]scs.Codec{"json": adapter.JSONCodec{}, "gob": scs.GobCodec{}} {
		store := memory.New(memory.Options{})
		defer store.Close()
		m := newManager(b, adapter.Options{Store: store, Codec: codec, Cookie: adapter.Cookie{MaxAge: time.Hour}})
		var id string
		serve(m, "", func(w http.ResponseWriter, r *http.Request) {
			if err := adapter.Put(r.Context(), m, "user", value); err != nil {
				b.Fatal(err)
			}
			id = m.ID(r.Context())
		})
		measure(name+"/read", m.LoadAndSave(handler), cookieFor(id))
		measure(name+"/anonymous", m.LoadAndSave(handler), "")
		n := 0
		measure(name+"/change", m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n++
			m.Put(r.Context(), "n", n)
			w.WriteHeader(http.StatusNoContent)
		})), cookieFor(id))
	}

	plain := scs.New()
	plain.IdleTimeout = time.Hour
	ctx, err := plain.Load(b.Context(), "")
	if err != nil {
		b.Fatal(err)
	}
	plain.Put(ctx, "user", `{"id":"42","name":"Ann Example","email":"ann@example.com","role":"admin"}`)
	token, _, err := plain.Commit(ctx)
	if err != nil {
		b.Fatal(err)
	}
	measure("scs/read", plain.LoadAndSave(handler), "session="+token)
}

// BenchmarkWire measures requests over a connection, handler included: the client writes
// bytes that are ready, and allocates nothing. samesid is beside scs as it ships, with its
// fixed expiry. The user is a struct; "10k" and "100k" have a text of that size beside it.
func BenchmarkWire(b *testing.B) {
	type user struct{ ID, Name, Email, Role string }
	gob.Register(user{})
	ann := user{"42", "Ann Example", "ann@example.com", "admin"}
	measure := func(name string, h http.Handler, cookie string) {
		b.Run(name, func(b *testing.B) {
			server := httptest.NewServer(h)
			defer server.Close()
			conn, err := net.Dial("tcp", server.Listener.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			request := []byte("GET / HTTP/1.1\r\nHost: localhost\r\nCookie: " + cookie + "\r\n\r\n")
			answer := make([]byte, 4096)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := conn.Write(request); err != nil {
					b.Fatal(err)
				}
				if n, err := conn.Read(answer); err != nil || !bytes.HasPrefix(answer[:n], []byte("HTTP/1.1 204")) {
					b.Fatalf("%s, %v", answer[:n], err)
				}
			}
		})
	}
	done := func(w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) }
	measure("bare", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { done(w) }), "a=b")

	for size, text := range map[string]string{"small": "", "10k": strings.Repeat("x", 10_000), "100k": strings.Repeat("x", 100_000)} {
		n := 0
		for name, codec := range map[string]scs.Codec{"json": adapter.JSONCodec{}, "gob": scs.GobCodec{}} {
			store := memory.New(memory.Options{})
			defer store.Close()
			m := newManager(b, adapter.Options{Store: store, Codec: codec, Cookie: adapter.Cookie{MaxAge: time.Hour}})
			put, get := adapter.Put[user], adapter.Get[user]
			if name == "gob" { // a team that comes from scs, no option changed
				sm := scs.New()
				sm.Store = store
				m = adapter.MustWrap(sm, adapter.Options{Secrets: []string{secret}})
				put = func(ctx context.Context, m *adapter.Manager, key string, u user) error {
					m.Put(ctx, key, u)
					return nil
				}
				get = func(ctx context.Context, m *adapter.Manager, key string) (user, error) {
					return m.Get(ctx, key).(user), nil
				}
			}
			login := func(w http.ResponseWriter, r *http.Request) {
				if err := put(r.Context(), m, "user", ann); err != nil {
					b.Fatal(err)
				}
				m.Put(r.Context(), "text", text)
				done(w)
			}
			w := serve(m, "", login)
			cookie, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";")
			for op, h := range map[string]http.HandlerFunc{
				"text": func(w http.ResponseWriter, r *http.Request) {
					if m.GetString(r.Context(), "text") != text {
						b.Error("another text")
					}
					done(w)
				},
				"read": func(w http.ResponseWriter, r *http.Request) {
					if u, err := get(r.Context(), m, "user"); err != nil || u != ann {
						b.Errorf("%+v, %v", u, err)
					}
					done(w)
				},
				"change": func(w http.ResponseWriter, r *http.Request) {
					n++
					m.Put(r.Context(), "n", n)
					done(w)
				},
			} {
				measure(size+"/"+op+"/"+name, m.LoadAndSave(h), cookie)
			}
			measure(size+"/login/"+name, m.LoadAndSave(http.HandlerFunc(login)), "")
		}

		sm := scs.New()
		store := memory.New(memory.Options{})
		defer store.Close()
		sm.Store = store
		login := func(w http.ResponseWriter, r *http.Request) {
			sm.Put(r.Context(), "user", ann)
			sm.Put(r.Context(), "text", text)
			done(w)
		}
		w := httptest.NewRecorder()
		sm.LoadAndSave(http.HandlerFunc(login)).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		cookie, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";")
		for op, h := range map[string]http.HandlerFunc{
			"read": func(w http.ResponseWriter, r *http.Request) {
				if u := sm.Get(r.Context(), "user").(user); u != ann {
					b.Errorf("%+v", u)
				}
				done(w)
			},
			"change": func(w http.ResponseWriter, r *http.Request) {
				n++
				sm.Put(r.Context(), "n", n)
				done(w)
			},
		} {
			measure(size+"/"+op+"/scs", sm.LoadAndSave(h), cookie)
		}
		measure(size+"/login/scs", sm.LoadAndSave(http.HandlerFunc(login)), "")
	}
}
