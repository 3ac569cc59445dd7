//go:build unix

package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/samesid/samesid/adapter/config"
	"github.com/samesid/samesid/internal/testserver"
)

// startApp runs app.mjs, with the packages of the demo, which are the same, until the test
// ends, and returns its address.
func startApp(t *testing.T) string {
	t.Helper()
	packages, err := filepath.Abs("../../demo/express")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	code, err := os.ReadFile("app.mjs")
	if err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(dir, "app.mjs")
	if err := os.WriteFile(script, code, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(packages, "node_modules"), filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PORT", "0")
	line, err := testserver.StartNode(t, packages, script).ReadString('\n')
	if err != nil {
		t.Fatal("app.mjs has not started: ", err)
	}
	return strings.TrimSpace(line)
}

// startHalves starts the two apps on one store, and returns their addresses.
func startHalves(t *testing.T) (express, goHalf string) {
	t.Helper()
	t.Setenv("REDIS_URL", testserver.Redis(t))
	t.Setenv("SESSION_SECRET", "a secret of at least thirty-two bytes")
	express = startApp(t)
	sessions, store, err := config.Open(t.Context(), "session.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	handler, err := newHandler(sessions)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return express, server.URL
}

// The packages of the demo are those of the example.
func TestPackages(t *testing.T) {
	ours, err := os.ReadFile("package.json")
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := os.ReadFile("../../demo/express/package.json")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(ours), `"dependencies": {`)
	for _, line := range strings.Split(strings.Split(list, "}")[0], "\n") {
		if line = strings.Trim(strings.TrimSpace(line), ","); line != "" && !strings.Contains(string(theirs), line) {
			t.Errorf("the demo does not have %s", line)
		}
	}
}

// The calls of README.md, without nginx, print what it says.
func TestReadme(t *testing.T) {
	express, goHalf := startHalves(t)
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for line := range strings.Lines(string(page)) {
		if command, says, _ := strings.Cut(strings.TrimSpace(line), " # "); strings.HasPrefix(command, "curl ") {
			want = append(want, says)
		}
	}
	got := testserver.Curl(t, string(page), "127.0.0.1:3000", express, "127.0.0.1:8080", goHalf)
	if len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("the calls print\n%q, and README.md has\n%q", got, want)
	}
}

// A user signs in on Express, uses pages of both halves behind one nginx, and logs out on Go.
func TestBehindNginx(t *testing.T) {
	express, goHalf := startHalves(t)

	conf, err := os.ReadFile("nginx.conf")
	if err != nil {
		t.Fatal(err)
	}
	forCert := httptest.NewTLSServer(nil)
	defer forCert.Close()
	front := testserver.StartNginx(t, forCert.TLS.Certificates[0],
		strings.NewReplacer("http://127.0.0.1:8080", goHalf, "http://127.0.0.1:3000", express).Replace(string(conf)))
	browser := testserver.NewBrowser(t, forCert.Client().Transport.(*http.Transport).TLSClientConfig)
	answer := func(path string, form url.Values) string {
		t.Helper()
		_, body := browser.Do(front.URL+path, form)
		return strings.TrimSpace(body)
	}
	for _, step := range []struct{ got, want string }{
		{answer("/account", nil), `{"message":"Invalid Credentials"}`},
		{answer("/login", url.Values{"name": {"Ann"}}), "Signed in by Express: Ann"},
		{answer("/account", nil), "Go: Ann, 1 views"},
		{answer("/", nil), "Express: Ann, 2 views"},
		{answer("/account", nil), "Go: Ann, 3 views"},
		{answer("/logout", url.Values{}), `{"message":"You are logged out"}`},
		{answer("/", nil), "Express: nobody, 1 views"},
		{answer("/account", nil), `{"message":"Invalid Credentials"}`},
	} {
		if step.got != step.want {
			t.Errorf("got %q, want %q", step.got, step.want)
		}
	}
}
