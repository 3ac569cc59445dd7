package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/samesid/samesid/adapter/config"
	"github.com/samesid/samesid/backends"
	"github.com/samesid/samesid/backends/postgres"
	"github.com/samesid/samesid/backends/redis"
)

// certificate makes one that ends after a while.
func certificate(t *testing.T, left time.Duration) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "store"}, NotBefore: now.Add(-100 * 24 * time.Hour), NotAfter: now.Add(left)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// listen accepts connections and hands each to serve.
func listen(t *testing.T, serve func(net.Conn)) (host string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serve(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

// The certificate of the server, and those in files, are looked at before they end.
func TestCertificates(t *testing.T) {
	for name, c := range map[string]struct {
		left time.Duration
		want string
	}{
		"good":  {90 * 24 * time.Hour, "ok       certificate  the server's is good until "},
		"soon":  {10 * 24 * time.Hour, "warning  certificate  the server's ends on "},
		"ended": {-24 * time.Hour, "error    certificate  the server's has ended on "},
	} {
		t.Run(name, func(t *testing.T) {
			cert := certificate(t, c.left)
			handshake := func(conn net.Conn) {
				_ = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert}}).HandshakeContext(t.Context())
			}
			asked := make([]byte, 8)
			ssl := listen(t, func(conn net.Conn) {
				if _, err := io.ReadFull(conn, asked); err == nil {
					_, _ = conn.Write([]byte("S"))
					handshake(conn)
				}
			})
			file := filepath.Join(t.TempDir(), "ca.pem")
			if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, store := range []backends.Config{
				{URL: "rediss://user:hunter2@" + listen(t, handshake), Options: redis.Options{TLS: redis.TLS{CAFile: file}}},
				{URL: "postgres://user:hunter2@" + ssl + "/db", Options: postgres.Options{TLS: postgres.TLS{CAFile: file}}},
			} {
				var out bytes.Buffer
				check := &checking{app: &app{out: &out}}
				cfg := &config.Config{Store: store}
				check.server(t.Context(), cfg)
				check.files(cfg)
				text := out.String()
				inFile := strings.Replace(c.want, "the server's", "that of CN=store in caFile", 1)
				if !strings.Contains(text, c.want) || !strings.Contains(text, inFile) || strings.Contains(text, "hunter2") {
					t.Errorf("got\n%swant %q and %q", text, c.want, inFile)
				}
				if fails := check.errors > 0; fails != (c.left < 0) {
					t.Errorf("%d errors", check.errors)
				}
			}
		})
	}
	// Servers without TLS, or that are not there, are no finding here: Open says what is wrong.
	var out bytes.Buffer
	check := &checking{app: &app{out: &out}}
	plain := listen(t, func(conn net.Conn) {
		if _, err := io.ReadFull(conn, make([]byte, 8)); err == nil {
			_, _ = conn.Write([]byte("N"))
		}
	})
	for _, url := range []string{"postgres://" + plain + "/db", "rediss://127.0.0.1:1", "redis://" + plain, "host=/tmp", ""} {
		check.server(t.Context(), &config.Config{Store: backends.Config{URL: url}})
	}
	if out.Len() > 0 {
		t.Errorf("got %s", &out)
	}
}

// docs/command.md has each command, and no other.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/command.md")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if code := (&app{out: &out, err: &out}).run(t.Context(), []string{"--help"}); code != 0 {
		t.Fatal(code)
	}
	_, list, _ := strings.Cut(out.String(), "Available Commands:\n")
	list, _, _ = strings.Cut(list, "\n\n")
	n := 0
	for line := range strings.Lines(list) {
		name := strings.Fields(line)[0]
		if n++; name == "help" {
			n--
		} else if !bytes.Contains(text, []byte("\n| `samesid "+name)) {
			t.Errorf("the page lacks samesid %s", name)
		}
	}
	if rows := bytes.Count(text, []byte("\n| `samesid ")); rows != n {
		t.Errorf("the page has %d commands, and there are %d", rows, n)
	}
}
