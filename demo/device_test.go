package main

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/samesid/samesid/adapter"
)

// Over plain HTTP the page says what is missing, and nothing is different.
func TestDeviceOverHTTP(t *testing.T) {
	c := newClient(t, asBrowser)
	if w := c.get("/device"); w.Code != http.StatusUnauthorized {
		t.Errorf("signed out: %d", w.Code)
	}
	c.accept = asCurl
	w := c.post("/login", credentials(demoPassword))
	if w.Code != http.StatusOK || !strings.Contains(w.Header().Get("Secure-Session-Registration"), `path="/device-bound/register"`) {
		t.Fatalf("login: %d %v", w.Code, w.Header())
	}
	c.accept = asBrowser
	says(t, c.get("/device"), "go run ./demo -https")
	c.accept = asCurl
	if w := c.get("/device"); strings.TrimSpace(w.Body.String()) != `{"bound":false,"proven":false}` {
		t.Errorf("%s", w.Body)
	}
}

// A configuration whose sessions can't be bound runs as before, and the page has the reason.
func TestDeviceOfAnotherConfiguration(t *testing.T) {
	c := newClient(t, asBrowser)
	m, err := adapter.New(adapter.Options{Secrets: c.secrets, Cookie: adapter.Cookie{Domain: "app.test"}})
	if err != nil {
		t.Fatal(err)
	}
	c.sessions.Manager = m
	if c.handler, err = newSite(c.sessions, "https://app.test", slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if w := c.signIn(); w.Header().Get("Secure-Session-Registration") != "" {
		t.Error("the login asks for a key")
	}
	says(t, c.get("/device"), "can’t be bound", "has Cookie.Domain")
}

// With -https, the demo prints how a browser can be made to trust its certificate.
func TestHTTPS(t *testing.T) {
	lines := start(t, "-https")
	address, _, _ := strings.Cut(strings.TrimPrefix(lines[1], "Open "), " ")
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" {
		t.Fatalf("the address is %q", address)
	}
	conn, err := tls.Dial("tcp", u.Host, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cert := conn.ConnectionState().PeerCertificates[0]
	if err := cert.VerifyHostname(u.Hostname()); err != nil {
		t.Error(err)
	}
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	printed := strings.Join(lines, "\n")
	if !strings.Contains(printed, "--ignore-certificate-errors-spki-list="+base64.StdEncoding.EncodeToString(sum[:])+" ") || !strings.Contains(printed, "curl -k -b cookies.txt "+address+"/protected") {
		t.Errorf("it prints\n%s", printed)
	}
}
