package redis_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/samesid/samesid/backends/redis"
	"github.com/samesid/samesid/internal/testserver"
)

func TestURLs(t *testing.T) {
	const password = "p:a/s@s?w#o%rd"
	server := testserver.StartRedis(t)
	admin := dial(t, server.URL)
	for _, acl := range []string{
		// The permissions that a user needs at least.
		"app reset on >" + password + " ~scs:session:* -@all +ping +select +get +set +del +unlink +getex +getdel +pexpire +pttl +multi +exec +scan +mget +eval +evalsha +exists",
		"default off", // open connections stay logged in
	} {
		args := []any{"SETUSER"}
		for _, arg := range strings.Fields(acl) {
			args = append(args, arg)
		}
		if _, err := admin.Do("ACL", args...); err != nil {
			t.Fatal(err)
		}
	}
	user := url.UserPassword("app", password).String()

	for rawURL, database := range map[string]int{
		"redis://" + user + "@" + server.Addr:                  0,
		"redis://" + user + "@" + server.Addr + "/3":           3,
		"valkey://" + user + "@" + server.Addr + "/4":          4,
		"unix://" + user + "@" + server.Socket:                 0,
		"redis+unix://" + user + "@" + server.Socket + "?db=5": 5,
	} {
		s, err := redis.Open(t.Context(), rawURL, redis.Options{})
		if err != nil {
			t.Errorf("%s: %v", rawURL, err)
			continue
		}
		soon := time.Now().Add(time.Hour)
		if _, swapped, err := s.Swap(t.Context(), "id", nil, []byte("a"), soon); !swapped || err != nil {
			t.Errorf("%s: Swap: %t, %v", rawURL, swapped, err)
		}
		if err := s.Commit("id", []byte("b"), soon); err != nil {
			t.Errorf("%s: %v", rawURL, err)
		}
		if all, err := s.All(); len(all) != 1 || err != nil {
			t.Errorf("%s: All: %d, %v", rawURL, len(all), err)
		}
		if _, _, _, err := s.FindExpiry(t.Context(), "id"); err != nil {
			t.Errorf("%s: %v", rawURL, err)
		}
		if _, err := admin.Do("SELECT", database); err != nil {
			t.Fatal(err)
		}
		if n, err := redigo.Int(admin.Do("EXISTS", "scs:session:id")); n != 1 || err != nil {
			t.Errorf("%s: it is not in database %d: %v", rawURL, database, err)
		}
		if err := s.Clear(t.Context()); err != nil {
			t.Errorf("%s: %v", rawURL, err)
		}
		s.Close()
	}

	for rawURL, want := range map[string]string{
		"redis://app:hunter2@" + server.Addr:                      "redis: open: connect to " + server.Addr + ": WRONGPASS",
		"redis://:hunter2@" + server.Addr:                         "redis: open: connect to " + server.Addr + ": ",
		"redis://" + server.Addr:                                  "redis: open: NOAUTH",
		"rediss://app:hunter2@" + server.Addr:                     "redis: url: the server at " + server.Addr + " has no TLS on this port; make the scheme redis://",
		"redis://" + user + "@" + server.Addr + "/99":             "DB index is out of range",
		"redis://app:hunter2@" + server.Addr + "/0?password=hunt": "parameter password",
	} {
		// A server without TLS waits for the end of a command when it gets a handshake.
		_, err := redis.Open(t.Context(), rawURL, redis.Options{ConnectTimeout: 500 * time.Millisecond})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %s", rawURL, err, want)
		} else if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), password) {
			t.Errorf("%s: the password is in %q", rawURL, err)
		}
	}
	// Open reports a missing permission.
	if _, err := redis.Open(t.Context(), "redis://"+user+"@"+server.Addr, redis.Options{Prefix: "other:"}); err == nil ||
		err.Error() != `redis: open: NOPERM the user may not use keys that begin with "other:"; allow them by ~other:*` {
		t.Errorf("a prefix that the user may not use: %v", err)
	}
	for lacks, want := range map[string]string{
		"-evalsha":        "NOPERM the user may not run EVALSHA; allow it by +evalsha",
		"-getex -unlink":  "NOPERM the user may not run GETEX, UNLINK; allow it by +getex +unlink",
		"-multi":          "NOPERM the user may not run MULTI; allow it by +multi",
		"-exec":           "NOPERM the user may not run EXEC; allow it by +exec",
		"-exists":         "NOPERM the user's scripts may not run EXISTS; allow it by +exists",
		"-set -eval":      "NOPERM the user may not run SET, EVAL; allow it by +set +eval",
		"-scan":           "NOPERM the user may not run SCAN; allow it by +scan",
		"-ping":           "NOPERM the user may not run PING; allow it by +ping",
		"-get":            "NOPERM the user may not run GET; allow it by +get",
		"-pexpire -pttl":  "NOPERM the user may not run PEXPIRE, PTTL; allow it by +pexpire +pttl",
		"-mget":           "NOPERM the user may not run MGET; allow it by +mget",
		"-getdel -del":    "NOPERM the user may not run DEL, GETDEL; allow it by +del +getdel",
		"-wait (of WAIT)": "NOPERM the user may not run WAIT; allow it by +wait",
	} {
		acl, _, ofWait := strings.Cut(lacks, " (")
		opts := redis.Options{}
		if ofWait {
			opts.WaitReplicas = 1
		}
		change := func(rules string) {
			args := []any{"SETUSER", "app"}
			for _, rule := range strings.Fields(rules) {
				args = append(args, rule)
			}
			if _, err := admin.Do("ACL", args...); err != nil {
				t.Fatal(err)
			}
		}
		change(acl)
		if _, err := redis.Open(t.Context(), "redis://"+user+"@"+server.Addr, opts); err == nil || err.Error() != "redis: open: "+want {
			t.Errorf("%s: %v; want %s", lacks, err, want)
		}
		change(strings.ReplaceAll(acl, "-", "+"))
	}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	newCert(t, dir, "ca", nil)
	newCert(t, dir, "other-ca", nil)
	newCert(t, dir, "server", []string{"ca", "sessions.example"})
	newCert(t, dir, "client", []string{"ca"})
	file := func(name string) string { return filepath.Join(dir, name) }
	port := freePort(t)
	testserver.StartRedis(t, "--tls-port", port,
		"--tls-ca-cert-file", file("ca.pem"), "--tls-auth-clients", "yes",
		"--tls-cert-file", file("server.pem"), "--tls-key-file", file("server.key"))
	rawURL := "rediss://127.0.0.1:" + port

	good := redis.TLS{CAFile: file("ca.pem"), CertFile: file("client.pem"), KeyFile: file("client.key"), ServerName: "sessions.example"}
	s := open(t, rawURL, redis.Options{TLS: good})
	if err := s.Commit("id", []byte("data"), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if data, _, err := s.FindCtx(t.Context(), "id"); string(data) != "data" || err != nil {
		t.Errorf("FindCtx: %q, %v", data, err)
	}

	for want, change := range map[string]func(*redis.TLS){
		"x509: certificate signed by unknown authority": func(c *redis.TLS) { c.CAFile = file("other-ca.pem") },
		"certificate is not trusted|signed by unknown":  func(c *redis.TLS) { c.CAFile = "" },
		"127.0.0.1":         func(c *redis.TLS) { c.ServerName = "" },
		"not other.example": func(c *redis.TLS) { c.ServerName = "other.example" },
		"certificate required|peer|broken pipe|EOF|refused": func(c *redis.TLS) { c.CertFile, c.KeyFile = "", "" },
	} {
		bad := good
		change(&bad)
		_, err := redis.Open(t.Context(), rawURL, redis.Options{TLS: bad})
		if err == nil || !containsAny(err.Error(), strings.Split(want, "|")) {
			t.Errorf("Open: %v; want %s", err, want)
		}
	}
}

func containsAny(s string, of []string) bool {
	for _, o := range of {
		if strings.Contains(s, o) {
			return true
		}
	}
	return false
}

// newCert writes a certificate to name.pem and name.key in dir. by holds the CA that
// signs it and then its DNS names; with a nil by, the certificate is a CA itself.
func newCert(t *testing.T, dir, name string, by []string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
	parent, signer := cert, key
	if by == nil {
		cert.IsCA, cert.BasicConstraintsValid, cert.KeyUsage = true, true, x509.KeyUsageCertSign
	} else {
		cert.DNSNames = by[1:]
		if parent, err = x509.ParseCertificate(readPEM(t, dir, by[0]+".pem")); err != nil {
			t.Fatal(err)
		}
		if signer, err = x509.ParseECPrivateKey(readPEM(t, dir, by[0]+".key")); err != nil {
			t.Fatal(err)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		name + ".pem": {Type: "CERTIFICATE", Bytes: der},
		name + ".key": {Type: "EC PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func readPEM(t *testing.T, dir, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	return block.Bytes
}

func freePort(t *testing.T) string {
	t.Helper()
	_, port, err := net.SplitHostPort(testserver.FreeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// proxy forwards each new connection to its current target.
type proxy struct {
	addr   string
	target atomic.Value
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: l.Addr().String()}
	p.target.Store(target)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", p.target.Load().(string))
			if err != nil {
				in.Close()
				continue
			}
			for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
				wg.Go(func() {
					_, _ = io.Copy(pair[0], pair[1])
					pair[0].Close()
					pair[1].Close()
				})
			}
		}
	})
	// The store is opened later, so it and its connections are closed before.
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return p
}
