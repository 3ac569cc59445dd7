package redis

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/samesid/samesid/internal/refusal"
)

// dialer makes connections.
type dialer struct {
	target
	o    Options
	tls  *tls.Config // nil without TLS
	plan func(ctx context.Context) (username, password string, err error)
}

func newDialer(t target, o Options) (*dialer, error) {
	d := &dialer{target: t, o: o}
	if t.tls {
		config, err := o.TLS.config()
		if err != nil {
			return nil, err
		}
		d.tls = config
	}
	d.plan = func(context.Context) (string, string, error) { return t.username, t.password, nil }
	switch {
	case o.Credentials != nil:
		d.plan = o.Credentials
	case o.PasswordFile != "":
		d.plan = func(context.Context) (string, string, error) {
			password, err := readPassword(o.PasswordFile)
			return t.username, password, err
		}
		// A file that is missing or empty is a mistake that Open reports at once.
		if _, err := readPassword(o.PasswordFile); err != nil {
			r := refusals()
			r.Add("PasswordFile", "%w", err)
			return nil, r.Err()
		}
	}
	return d, nil
}

// readPassword returns the content of a file without the line break at its end.
func readPassword(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", refusal.Unnamed(err)
	}
	password := strings.TrimRight(string(text), "\r\n")
	if password == "" {
		return "", errors.New("the file is empty")
	}
	return password, nil
}

// data connects to a server that has the sessions.
func (d *dialer) data(ctx context.Context, addr string) (redigo.Conn, error) {
	username, password, err := d.plan(ctx)
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	return d.connect(ctx, addr, username, password, d.database)
}

// sentinel connects to a Sentinel.
func (d *dialer) sentinel(ctx context.Context, addr string) (redigo.Conn, error) {
	return d.connect(ctx, addr, d.o.SentinelUsername, d.o.SentinelPassword, 0)
}

func (d *dialer) connect(ctx context.Context, addr, username, password string, database int) (redigo.Conn, error) {
	l := &link{}
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := d.raw(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		l.raw = c
		return told{c}, nil
	}
	c, err := redigo.DialContext(ctx, d.network, addr,
		redigo.DialContextFunc(dial),
		redigo.DialUsername(username),
		redigo.DialPassword(password),
		redigo.DialDatabase(database),
		redigo.DialReadTimeout(d.o.Timeout),
		redigo.DialWriteTimeout(d.o.Timeout))
	if err == nil {
		l.ConnWithTimeout = c.(redigo.ConnWithTimeout)
		return l, nil
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return nil, err // it names the address already
	}
	return nil, fmt.Errorf("connect to %s: %w", addr, scrub(err))
}

// told is a connection on which an error of a write is what the server has said before it
// closed the connection, if it has.
type told struct{ net.Conn }

func (t told) Write(p []byte) (int, error) {
	n, err := t.Conn.Write(p)
	if err == nil || isTimeout(err) {
		return n, err
	}
	said := make([]byte, 512)
	_ = t.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if n, _ := t.Read(said); n > 0 && said[0] == '-' {
		line, _, _ := strings.Cut(string(said[1:n]), "\r\n")
		err = redigo.Error(line)
	}
	return n, err
}

// raw dials, and does the handshake of TLS, as redigo's own ignores the context.
func (d *dialer) raw(ctx context.Context, network, addr string) (net.Conn, error) {
	dial := &net.Dialer{Timeout: d.o.ConnectTimeout}
	if d.tls == nil {
		return dial.DialContext(ctx, network, addr)
	}
	config := d.tls
	if host, _, err := net.SplitHostPort(addr); err == nil && config.ServerName == "" && net.ParseIP(host) != nil {
		// Clusters often announce their nodes as addresses, and have a certificate for
		// the one name that everybody is given.
		if name, _, err := net.SplitHostPort(d.addrs[0]); err == nil && d.mode == modeCluster && net.ParseIP(name) == nil {
			config = config.Clone()
			config.ServerName = name
		}
	}
	return (&tls.Dialer{NetDialer: dial, Config: config}).DialContext(ctx, network, addr)
}

func (t TLS) config() (*tls.Config, error) {
	r := refusals()
	config := &tls.Config{ServerName: t.ServerName, MinVersion: tls.VersionTLS12}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			r.Add("TLS.CAFile", "%w", refusal.Unnamed(err))
			return nil, r.Err()
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			r.Add("TLS.CAFile", "the file has no certificate")
			return nil, r.Err()
		}
	}
	if t.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			r.Add("TLS.CertFile TLS.KeyFile", "%w", refusal.Unnamed(err))
			return nil, r.Err()
		}
		config.Certificates = []tls.Certificate{cert}
	}
	config.InsecureSkipVerify = t.InsecureSkipVerify
	if pin := t.pin(); pin != nil {
		config.InsecureSkipVerify = true // for VerifyConnection alone decides
		config.VerifyConnection = func(s tls.ConnectionState) error {
			sum := sha256.Sum256(s.PeerCertificates[0].Raw)
			if string(sum[:]) != string(pin) {
				return fmt.Errorf("the server's certificate has the SHA-256 %x, which is not that of Options.TLS.Fingerprint", sum)
			}
			return nil
		}
	}
	return config, nil
}

// pin returns the hash in Fingerprint, nil if it has none.
func (t TLS) pin() []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(t.Fingerprint, ":", ""))
	if err != nil || len(b) != sha256.Size {
		return nil
	}
	return b
}

// mismatch returns an error that says so if one side uses TLS and the other does not. It is
// called after connecting has failed with err, and connects once more to find out.
func (d *dialer) mismatch(ctx context.Context, addr string, err error) error {
	var op *net.OpError
	var reply redigo.Error
	if d.network == "unix" || errors.As(err, &reply) || errors.As(err, &op) && op.Op == "dial" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, d.o.ConnectTimeout)
	defer cancel()
	c, dialErr := (&net.Dialer{}).DialContext(ctx, d.network, addr)
	if dialErr != nil {
		return nil
	}
	defer c.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(deadline)
	}
	if d.tls == nil {
		// Whether the certificate is good is not the question here.
		t := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
		err := t.HandshakeContext(ctx)
		var alert tls.AlertError
		if err == nil || errors.As(err, &alert) {
			return refused("url", "the server at %s wants TLS; make the scheme rediss://", addr)
		}
		return nil
	}
	answer := make([]byte, 1)
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return nil
	}
	if _, err := c.Read(answer); err != nil || answer[0] != '+' && answer[0] != '-' {
		return nil
	}
	return refused("url", "the server at %s has no TLS on this port; make the scheme redis://, or give the port that has", addr)
}
