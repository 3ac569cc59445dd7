package postgres

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lib/pq"

	"github.com/samesid/samesid/internal/testserver"
)

// withTLS gives the server a certificate of its own making, and sends it the lines of
// pg_hba.conf.
func withTLS(t *testing.T, server *testserver.Server, hba string, names ...string) (certPEM []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "db.example"}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	db := rawDB(t, server.URL)
	for name, text := range map[string]string{
		"server.crt": string(certPEM), "pg_hba.conf": hba,
		"server.key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})),
	} {
		// The server writes its files itself, so that they are its own.
		exec(t, db, fmt.Sprintf("COPY (SELECT unnest(string_to_array('%s', E'\\n'))) TO PROGRAM 'umask 077 && cat > %s'", text, name))
	}
	exec(t, db, "ALTER SYSTEM SET ssl = on")
	server.Stop()
	server.Start()
	return certPEM
}

// A certificate that signs itself, and names its server as a common name alone, can be
// pinned, or given as the CA; or it is taken unseen, with a warning.
func TestSelfSignedCertificate(t *testing.T) {
	t.Parallel()
	server := testserver.StartPostgres(t)
	cert := withTLS(t, server, "local all all trust\nhostssl all all all trust\n")
	block, _ := pem.Decode(cert)
	sum := fmt.Sprintf("%X", sha256.Sum256(block.Bytes))
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, cert, 0o600); err != nil {
		t.Fatal(err)
	}
	base := strings.TrimSuffix(server.URL, "?sslmode=disable")

	for name, c := range map[string]struct {
		query string
		opts  Options
		want  string // the beginning of the error, or of the warning
	}{
		"not verified":           {query: "?sslmode=require", want: "postgres: open: the server's certificate is for another name; connect by that name, pin the certificate (TLS.Fingerprint), "},
		"verified":               {query: "?ssl=true", want: "postgres: open: the server's certificate is for another name; "},
		"another name":           {query: "?sslmode=require", opts: Options{TLS: TLS{CAFile: caFile}}, want: "postgres: open: the server's certificate is for another name; connect by that name, pin the certificate (TLS.Fingerprint), "},
		"no TLS":                 {query: "?sslmode=disable", want: "postgres: open: the server refuses this user without TLS; set sslmode=verify-full: pq: no pg_hba.conf entry"},
		"another fingerprint":    {opts: Options{TLS: TLS{Fingerprint: strings.Repeat("0", 64)}}, want: "postgres: open: the server's certificate has the fingerprint " + strings.ToLower(sum)},
		"fingerprint":            {opts: Options{TLS: TLS{Fingerprint: sum}}},
		"fingerprint in a URL's": {query: "?sslmode=verify-full", opts: Options{TLS: TLS{Fingerprint: sum[:2] + ":" + sum[2:]}}},
		"CA":                     {query: "?uselibpqcompat=true&sslmode=verify-ca", opts: Options{TLS: TLS{CAFile: caFile}}},
		"CA, by the option":      {opts: Options{SSLMode: "verify-ca", TLS: TLS{CAFile: caFile}}},
		"CA that is not there":   {opts: Options{TLS: TLS{CAFile: caFile + "x"}}, want: "postgres: open: caFile, certFile or keyFile, or sslrootcert, sslcert or sslkey: the file can't be read: no such file"},
		"CA, require, not there": {opts: Options{SSLMode: "require", TLS: TLS{CAFile: caFile + "x"}}, want: "postgres: open: caFile, certFile or keyFile, or "},
		"CA alone, another name": {opts: Options{TLS: TLS{CAFile: caFile}}, want: "postgres: open: the server's certificate is for another name; "},
		"CA, require":            {opts: Options{SSLMode: "require", TLS: TLS{CAFile: caFile}}},
		"CA, prefer":             {opts: Options{SSLMode: "prefer", TLS: TLS{CAFile: caFile}}, want: "postgres: Options.TLS.CAFile and Options.SSLMode: with sslmode prefer, "},
		"CA, disable":            {query: "?sslmode=disable", opts: Options{TLS: TLS{CAFile: caFile}}, want: "postgres: Options.TLS.CAFile and Options.SSLMode: with sslmode disable, "},
		"CA, no-verify":          {query: "?sslmode=no-verify", opts: Options{TLS: TLS{CAFile: caFile}}, want: "postgres: Options.TLS.CAFile and Options.SSLMode: with sslmode no-verify, "},
		"no-verify":              {query: "?sslmode=no-verify", want: "postgres: sslmode no-verify: the server's certificate is not verified"},
		"no-verify, the option":  {query: "?sslmode=require", opts: Options{SSLMode: "no-verify"}, want: "postgres: sslmode no-verify: the server's certificate is not verified"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLogs()
			c.opts.CreateTable, c.opts.CleanupInterval, c.opts.Logger = true, -1, slog.New(l)
			s, err := Open(t.Context(), base+c.query, c.opts)
			if err != nil {
				if c.want == "" || !strings.HasPrefix(err.Error(), c.want) {
					t.Errorf("Open gave %v\nwant %s", err, c.want)
				}
				return
			}
			defer s.Close()
			use(t, s)
			var encrypted bool
			if err := s.db.QueryRow("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").Scan(&encrypted); err != nil || !encrypted {
				t.Errorf("the connection is not encrypted: %v", err)
			}
			warned := ""
			if len(l.records) > 0 {
				warned = attrs(<-l.records)
			}
			if (c.want == "") != (warned == "") || !strings.HasPrefix(warned, c.want) {
				t.Errorf("logged %q, want %q", warned, c.want)
			}
		})
	}
}

// Credentials are asked for each connection, and a password's file is read for each.
func TestCredentials(t *testing.T) {
	t.Parallel()
	server := testserver.StartPostgres(t)
	exec(t, rawDB(t, server.URL), "CREATE ROLE app LOGIN SUPERUSER PASSWORD 'first'")
	withTLS(t, server, "local all all trust\nhost all app all scram-sha-256\nhost all all all trust\n")
	url := strings.Replace(server.URL, "postgres@", "app@", 1)
	file := filepath.Join(t.TempDir(), "password")
	change := func(to string) {
		t.Helper()
		exec(t, rawDB(t, server.URL), "ALTER ROLE app PASSWORD '"+to+"'")
		if err := os.WriteFile(file, []byte(to+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	secret := ""
	down := errors.New("no token")
	for name, opts := range map[string]Options{
		"file": {PasswordFile: file},
		"function": {Credentials: func(context.Context) (string, string, error) {
			if secret == "" {
				return "", "", down
			}
			return "", secret, nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			opts.CreateTable, opts.CleanupInterval, opts.MaxConns = true, -1, 1
			if name == "function" {
				secret = ""
				if _, err := Open(t.Context(), url, opts); !errors.Is(err, down) {
					t.Errorf("Open gave %v", err)
				}
			}
			secret = "second"
			change(secret)
			s := open(t, url, opts)
			use(t, s)
			secret = "third"
			change(secret)
			exec(t, rawDB(t, server.URL), "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'app'")
			use(t, s)

			// A password that is wrong is said at once, and not shown.
			exec(t, rawDB(t, server.URL), "ALTER ROLE app PASSWORD 'fourth'")
			const want = `postgres: open: pq: password authentication failed for user "app" (28P01)`
			if _, err := Open(t.Context(), url, opts); err == nil || err.Error() != want {
				t.Errorf("Open gave %v\nwant %s", err, want)
			}
		})
	}
}

// What an error of connecting means, and whether waiting may help.
func TestExplain(t *testing.T) {
	for _, c := range []struct {
		err    error
		want   string
		passes bool
	}{
		{&pq.Error{Severity: "FATAL", Code: "57P03", Message: "the database system is starting up"}, "postgres: open: pq: the database system is starting up (57P03)", true},
		{&pq.Error{Code: "53300", Message: "sorry, too many clients already"}, "postgres: open: pq: sorry, too many clients already (53300)", true},
		{&pq.Error{Code: "08P01", Message: "client_login_timeout (server down)"}, "postgres: open: pq: client_login_timeout (server down) (08P01)", true},
		{&pq.Error{Code: "08P01", Message: "no such user: u"}, "postgres: open: pq: no such user: u (08P01)", false},
		{&pq.Error{Code: "28P01", Message: "password authentication failed"}, "postgres: open: pq: password authentication failed (28P01)", false},
		{&pq.Error{Code: "42704", Message: `unrecognized configuration parameter "foo"`}, `postgres: open: the server has no such parameter, and node-postgres ignores it; drop it from the url: pq: unrecognized configuration parameter "foo" (42704)`, false},
		{x509.UnknownAuthorityError{}, "postgres: open: the server's certificate can't be verified; give its CA (TLS.CAFile, sslrootcert) or pin it (TLS.Fingerprint): x509: certificate signed by unknown authority", false},
		{tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, "postgres: open: the server did not answer in TLS; drop sslnegotiation=direct: tls: first record does not look like a TLS handshake", false},
		{&net.DNSError{Err: "no such host", Name: "db", IsNotFound: true}, "postgres: open: lookup db: no such host", true},
		{os.ErrNotExist, "postgres: open: file does not exist", false},
		{&net.OpError{Op: "dial", Net: "unix", Err: os.ErrNotExist}, "postgres: open: dial unix: file does not exist", true},
	} {
		if got := explain(c.err); got.Error() != c.want || !errors.Is(got, c.err) {
			t.Errorf("got  %v\nwant %s", got, c.want)
		}
		if got := passing(c.err); got != c.passes {
			t.Errorf("%v: passing gave %t", c.err, got)
		}
	}
}

// The port of something that takes TLS alone.
func TestPlainToTLS(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close() // as after anything that is no handshake
		}
	}()
	opts := quiet(LayoutSCS)
	opts.Logger = slog.New(slog.DiscardHandler)
	const want = "postgres: open: the connection was closed before an answer: either the server is not up behind its proxy, or this is the port of something else, "
	testserver.InTime(t, func(ctx context.Context) error {
		if _, err := Open(ctx, "postgres://u@"+l.Addr().String()+"/d?sslmode=disable", opts); err == nil || !strings.HasPrefix(err.Error(), want) {
			return fmt.Errorf("Open gave %w\nwant %s", err, want)
		}
		return nil
	})
}
