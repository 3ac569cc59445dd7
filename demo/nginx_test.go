package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
	"github.com/samesid/samesid/internal/leaktest"
	"github.com/samesid/samesid/internal/testserver"
)

// guideLines returns the lines for nginx of the guide, with these addresses in the place of
// Go's and Express's, and another path for Go.
func guideLines(t *testing.T, path, goHalf, expressHalf string) string {
	t.Helper()
	page, err := os.ReadFile("../docs/migrating-from-express.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "```nginx\n")
	lines, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		t.Fatal("the guide has no lines for nginx")
	}
	return strings.NewReplacer("/reports ", path+" ", "http://127.0.0.1:8080", goHalf, "http://127.0.0.1:3000", expressHalf).Replace(lines)
}

// certificate returns one that httptest's clients trust, for 127.0.0.1.
func certificate(t *testing.T) (tls.Certificate, *tls.Config) {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	return s.TLS.Certificates[0], s.Client().Transport.(*http.Transport).TLSClientConfig
}

// TestNginx puts both halves behind one nginx, by the lines of the guide: login in Express,
// a page in Go, and then all in Go. Both see that the client has HTTPS.
func TestNginx(t *testing.T) {
	t.Setenv("REDIS_URL", testserver.StartRedis(t).URL)
	text, err := os.ReadFile("redis.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "session.yaml")
	text = []byte(strings.Replace("proxy: true\n"+string(text), "  sameSite: lax\n", "  sameSite: lax\n  secure: auto\n", 1))
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	goHalf, expressHalf := halves(t, file)
	cert, trust := certificate(t)
	both := testserver.StartNginx(t, cert, guideLines(t, "/protected", goHalf, expressHalf))
	goAlone := testserver.StartNginx(t, cert, guideLines(t, "/login", goHalf, goHalf))

	for name, front := range map[string]string{"login in Express": both.URL, "login in Go": goAlone.URL} {
		t.Run(name, func(t *testing.T) {
			c := visitor(t)
			c.Transport = &http.Transport{DisableKeepAlives: true, TLSClientConfig: trust}
			login := func(origin string) (status int, cookies []*http.Cookie) {
				r, err := http.NewRequestWithContext(t.Context(), "POST", front+"/login", strings.NewReader(credentials(demoPassword).Encode()))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Content-Type", typeForm)
				r.Header.Set("Accept", asCurl)
				r.Header.Set("Origin", origin) // and no Sec-Fetch-Site, as old browsers
				res, err := c.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				return res.StatusCode, res.Cookies()
			}
			if front == goAlone.URL {
				if status, _ := login("https://elsewhere.example"); status != http.StatusForbidden {
					t.Errorf("a login from another origin: %d", status)
				}
			}
			status, cookies := login(front)
			if status != http.StatusOK || len(cookies) != 1 || !cookies[0].Secure {
				t.Fatalf("login: %d, %d cookies, want 200 with a secure one", status, len(cookies))
			}
			for path, want := range map[string]string{
				"/protected": `{"message":"You are authorized"}`,
				"/":          `{"signedIn":true,"user":{"username":"demo","name":"Demo User"},"count":0}`,
			} {
				if got := ask(t, c, asCurl, "GET", front+path, "", ""); got.body != want {
					t.Errorf("GET %s: %d %s, want %s", path, got.status, got.body, want)
				}
			}
		})
	}
}

// Behind nginx wrong passwords lock their own client out, and nobody else.
func TestNginxAndAttempts(t *testing.T) {
	m := adapter.MustNew(adapter.Options{Secrets: []string{"a secret for the tests alone, of enough bytes"}, Proxy: adapter.ProxyTrusted})
	verify := func(_ context.Context, name, password string) (string, error) {
		if password != demoPassword {
			return "", auth.ErrInvalid
		}
		return name, nil
	}
	users, err := auth.New(m, verify, auth.Options{
		Logger:         new(leaktest.Log).Logger(),
		ClientHeader:   "X-Real-IP",
		TrustedProxies: []string{"127.0.0.1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	app := httptest.NewServer(m.LoadAndSave(users.Login()))
	defer app.Close()
	cert, trust := certificate(t)
	front := testserver.StartNginx(t, cert, guideLines(t, "/login", app.URL, app.URL))

	from := func(address, password string) int {
		dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
		c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: trust, DialContext: dialer.DialContext}}
		res, err := c.Post(front.URL+"/login", "application/json", strings.NewReader(fmt.Sprintf(`{"username":"ann","password":%q}`, password)))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		_, _ = io.Copy(io.Discard, res.Body)
		return res.StatusCode
	}
	for n := 0; from("127.0.0.1", "wrong") != http.StatusTooManyRequests; n++ {
		if n > 1000 {
			t.Fatal("nobody is ever locked out")
		}
	}
	if status := from("127.0.0.2", demoPassword); status != http.StatusOK {
		t.Errorf("another client's login: %d", status)
	}
}
