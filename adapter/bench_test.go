package adapter_test

import (
	"net/http"
	"net/http/httptest"
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
