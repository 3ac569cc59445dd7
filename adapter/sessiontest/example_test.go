package sessiontest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/adapter/sessiontest"
)

// A test of the handler that counts visits. t is the test's *testing.T.
func Example() {
	t := new(testing.T)
	sessions := adapter.MustNew(adapter.Options{Secrets: []string{"0123456789abcdef0123456789abcdef"}})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := sessions.GetInt(r.Context(), "visits") + 1
		sessions.Put(r.Context(), "visits", n)
		fmt.Fprintf(w, "visit %d", n)
	})

	browser := sessiontest.New(t, sessions, sessiontest.With("visits", 41))
	w := browser.Serve(handler, httptest.NewRequest("GET", "/", nil))

	fmt.Println(w.Code, sessions.GetInt(browser.Session(), "visits"))
	// Output: 200 42
}
