//go:build unix

package recipes

import (
	"net/http"
	"testing"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends"
	"github.com/samesid/samesid/internal/testserver"
)

func TestHealth(t *testing.T) {
	server := testserver.StartRedis(t)
	store, err := backends.Open(t.Context(), backends.Config{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	sessions, err := adapter.New(adapter.Options{Secrets: []string{secret}, Store: store})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	Health(mux, store)
	mux.Handle("/", sessions.LoadAndSave(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	b := serve(t, mux)()
	id := "connect.sid=s%3Aabc.none"
	b.want(http.StatusOK, "", "GET", "/livez", "", "Cookie", id)
	b.want(http.StatusOK, "", "GET", "/readyz", "", "Cookie", id)
	if n := sessions.Stats().BadSignatures; n != 0 {
		t.Error("the checks have a session")
	}
	server.Kill()
	b.want(http.StatusOK, "", "GET", "/livez", "")
	if got := b.want(http.StatusServiceUnavailable, "", "GET", "/readyz", ""); got != "the session store does not answer\n" {
		t.Errorf("the client is told %q", got)
	}
}
