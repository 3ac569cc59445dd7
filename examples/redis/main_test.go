package main

import (
	"fmt"
	"net/http/httptest"
	"testing"

	"github.com/samesid/samesid/adapter/config"
	"github.com/samesid/samesid/adapter/sessiontest"
	"github.com/samesid/samesid/internal/testserver"
)

func Test(t *testing.T) {
	t.Setenv("SESSION_SECRET", "a secret of at least thirty-two bytes")
	for name, url := range map[string]string{"redis": testserver.Redis(t), "memory": "memory://"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("SAMESID_STORE_URL", url)
			file := "session.yaml"
			if name == "memory" { // which has no layouts
				file = ""
				t.Setenv("SAMESID_SECRET", "a secret of at least thirty-two bytes")
			}
			sessions, store, err := config.Open(t.Context(), file)
			if err != nil {
				t.Fatal(err)
			}
			handler := newHandler(sessions, store)
			browser := sessiontest.New(t, sessions)
			for i := range 3 {
				if w := browser.Serve(handler, httptest.NewRequest("GET", "/", nil)); w.Body.String() != fmt.Sprintf("visit %d\n", i+1) {
					t.Errorf("got %d %q", w.Code, w.Body)
				}
			}
			health := func() int {
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, httptest.NewRequest("GET", "/healthz", nil))
				return w.Code
			}
			if status := health(); status != 200 {
				t.Errorf("health: %d", status)
			}
			if err := store.Close(); err != nil {
				t.Error(err)
			}
			if status := health(); status != 503 {
				t.Errorf("health without a store: %d", status)
			}
		})
	}
}
