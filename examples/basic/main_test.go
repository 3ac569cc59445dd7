package main

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"testing"
)

func Test(t *testing.T) {
	handler, err := newHandler(strings.Repeat("secret", 8))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(handler)
	defer srv.Close()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	ann, ben := &http.Client{Jar: jar}, &http.Client{}
	visit := func(c *http.Client, want string) {
		t.Helper()
		res, err := c.Get(srv.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if b, err := io.ReadAll(res.Body); string(b) != want || err != nil {
			t.Errorf("got %q, %v, want %q", b, err, want)
		}
	}
	visit(ann, "visit 1\n")
	visit(ann, "visit 2\n")
	visit(ben, "visit 1\n") // without a jar
	res, err := ann.Post(srv.URL+"/reset", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	visit(ann, "visit 1\n")
}
