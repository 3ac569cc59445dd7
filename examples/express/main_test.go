//go:build unix

package main

import (
	"bufio"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/samesid/samesid/adapter/config"
	"github.com/samesid/samesid/internal/testserver"
)

// startApp runs app.mjs, with the packages of the demo, which are the same, until the test
// ends, and returns its address.
func startApp(t *testing.T) string {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		testserver.Missing(t, "node is not in PATH: install Node.js")
	}
	packages, err := filepath.Abs("../../demo/express/node_modules")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(packages); err != nil {
		testserver.Missing(t, "the packages of the Express half are missing: npm ci --prefix demo/express")
	}
	dir := t.TempDir()
	code, err := os.ReadFile("app.mjs")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "app.mjs"), code, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(packages, filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	// It ends when standard input does, and so with the test, however that ends.
	cmd := exec.Command("/bin/sh", "-c", `"$@" </dev/null & exec >&-; read _; kill -TERM $! 2>/dev/null; wait $!`, "sh", node, filepath.Join(dir, "app.mjs"))
	cmd.Env = append(os.Environ(), "PORT=0")
	cmd.Stderr = os.Stderr
	leash, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = leash.Close()
		_ = cmd.Wait() // ended by a signal
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal("app.mjs has not started: ", err)
	}
	return strings.TrimSpace(line)
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

// A user signs in on Express, uses pages of both halves behind one nginx, and logs out on Go.
func TestBehindNginx(t *testing.T) {
	t.Setenv("REDIS_URL", testserver.Redis(t))
	t.Setenv("SESSION_SECRET", "a secret of at least thirty-two bytes")
	express := startApp(t)
	sessions, store, err := config.Open(t.Context(), "session.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	handler, err := newHandler(sessions)
	if err != nil {
		t.Fatal(err)
	}
	goHalf := httptest.NewServer(handler)
	defer goHalf.Close()

	conf, err := os.ReadFile("nginx.conf")
	if err != nil {
		t.Fatal(err)
	}
	forCert := httptest.NewTLSServer(nil)
	defer forCert.Close()
	front := testserver.StartNginx(t, forCert.TLS.Certificates[0],
		strings.NewReplacer("http://127.0.0.1:8080", goHalf.URL, "http://127.0.0.1:3000", express).Replace(string(conf)))
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	trust := forCert.Client().Transport.(*http.Transport).TLSClientConfig
	browser := &http.Client{Jar: jar, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: trust.RootCAs, MinVersion: tls.VersionTLS12},
	}}
	// answer gets a page, or posts a form to it.
	answer := func(path string, form url.Values) string {
		t.Helper()
		method := http.MethodGet
		if form != nil {
			method = http.MethodPost
		}
		r, err := http.NewRequest(method, front.URL+path, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		res, err := browser.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
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
