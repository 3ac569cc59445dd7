//go:build unix

package main

import (
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/samesid/samesid/internal/testserver"
)

func Test(t *testing.T) {
	handler, err := newHandler(strings.Repeat("secret", 8))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(handler)
	defer srv.Close()
	ann, ben := testserver.NewBrowser(t, nil), testserver.NewBrowser(t, nil)
	visit := func(b *testserver.Browser, want string) {
		t.Helper()
		if _, got := b.Do(srv.URL, nil); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	visit(ann, "visit 1\n")
	visit(ann, "visit 2\n")
	visit(ben, "visit 1\n")
	if status, body := ann.Do(srv.URL+"/reset", url.Values{}); status != 200 {
		t.Errorf("reset: %d %s", status, body)
	}
	visit(ann, "visit 1\n")
	visit(ben, "visit 2\n")
}
