package postgres

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lib/pq"

	"github.com/samesid/samesid/internal/refusal"
)

// connector makes the connections of a store that Open has made.
type connector struct {
	cfg  pq.Config
	dial *dialer
	opts Options
	// tls is the name under which the driver has our TLS settings, or "". It has room
	// for them in a list of the whole process alone.
	tls string
}

// newConnector reads a DSN, over which the options take precedence.
func newConnector(dsn string, opts Options) (*connector, error) {
	c, err := parseDSN(dsn)
	if err != nil {
		return nil, err
	}
	cfg, unverified := c.Config, c.noVerify
	cfg.ConnectTimeout = cmp.Or(opts.ConnectTimeout, cfg.ConnectTimeout, defaultConnectTimeout)
	// Else the driver sends a statement and its arguments separately.
	cfg.BinaryParameters = true
	if opts.SSLMode != "" {
		cfg.SSLMode, unverified = pq.SSLMode(opts.SSLMode), opts.SSLMode == noVerify
	}
	cfg.SSLRootCert = cmp.Or(opts.TLS.CAFile, cfg.SSLRootCert)
	cfg.SSLCert = cmp.Or(opts.TLS.CertFile, cfg.SSLCert)
	cfg.SSLKey = cmp.Or(opts.TLS.KeyFile, cfg.SSLKey)
	if cfg.SSLMode, err = verified(cfg, opts, unverified); err != nil {
		return nil, err
	}
	out := &connector{cfg: cfg, dial: &dialer{}, opts: opts}
	out.dial.KeepAliveConfig = c.keepAlive
	if !c.keepAlive.Enable {
		out.dial.KeepAlive = -1
	}
	if unverified || opts.TLS.Fingerprint != "" {
		out.tls = rand.Text()
		out.cfg.SSLMode, out.cfg.SSLRootCert = pq.SSLMode("pqgo-"+out.tls), ""
		if err := pq.RegisterTLSConfig(out.tls, out.pinned()); err != nil {
			return nil, fmt.Errorf("postgres: open: %w", err)
		}
		if opts.TLS.Fingerprint == "" {
			opts.Logger.Warn("postgres: sslmode no-verify: the server's certificate is not verified, so whoever is on the way can pose as it and read all sessions; " +
				"give its CA as TLS.CAFile (caFile), or pin it by TLS.Fingerprint (fingerprint)")
		}
	}
	return out, nil
}

// verified returns the mode in which the driver verifies the certificate whenever a CA is
// given. By itself it ignores one whose file is missing unless the mode is verify-ca or
// verify-full, and with prefer goes on without TLS if the verification fails.
func verified(cfg pq.Config, opts Options, unverified bool) (pq.SSLMode, error) {
	mode := cfg.SSLMode
	if opts.TLS.CAFile != "" && (unverified || slices.Contains([]pq.SSLMode{pq.SSLModeDisable, pq.SSLModeAllow, pq.SSLModePrefer}, mode)) {
		name := string(mode)
		if unverified {
			name = noVerify
		}
		r := refusals()
		r.Add("TLS.CAFile SSLMode", "with sslmode %s, or on a socket, the certificate is not verified against the CA; set sslmode=verify-full, or drop the CA", name)
		return mode, r.Err()
	}
	switch {
	case unverified, cfg.SSLRootCert == "", cfg.SSLRootCert == "system":
		return mode, nil
	case mode == "" && opts.TLS.CAFile != "":
		return pq.SSLModeVerifyFull, nil
	case mode == "", mode == pq.SSLModeRequire: // libpq's meaning
		return pq.SSLModeVerifyCA, nil
	}
	return mode, nil
}

// close removes the TLS settings from the driver's list.
func (c *connector) close() error {
	if c.tls == "" {
		return nil
	}
	return pq.RegisterTLSConfig(c.tls, nil)
}

// pinned returns settings for a server whose certificate is the pinned one, or any if none
// is pinned.
func (c *connector) pinned() *tls.Config {
	return &tls.Config{
		InsecureSkipVerify: true, //nolint:gosec // VerifyPeerCertificate does it, if there is a fingerprint
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			want, err := fingerprint(c.opts.TLS.Fingerprint)
			if err != nil || len(want) == 0 {
				return err
			}
			if len(raw) > 0 {
				if have := sha256.Sum256(raw[0]); !bytes.Equal(have[:], want) {
					return fmt.Errorf("the server's certificate has the fingerprint %x, not that of Options.TLS.Fingerprint", have)
				}
				return nil
			}
			return errors.New("the server has no certificate")
		},
	}
}

// fingerprint reads a SHA-256 in hexadecimal, with or without colons.
func fingerprint(text string) ([]byte, error) {
	sum, err := hex.DecodeString(strings.ReplaceAll(text, ":", ""))
	if err != nil || text != "" && len(sum) != sha256.Size {
		return nil, errors.New("is no SHA-256 in hexadecimal; openssl x509 -noout -fingerprint -sha256 prints it")
	}
	return sum, nil
}

// Connect implements driver.Connector.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	cfg := c.cfg.Clone()
	if c.opts.PasswordFile != "" {
		text, err := os.ReadFile(c.opts.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("Options.PasswordFile: %w", refusal.Unnamed(err))
		}
		cfg.Password = strings.TrimRight(string(text), "\r\n")
	}
	if c.opts.Credentials != nil {
		user, password, err := c.opts.Credentials(ctx)
		if err != nil {
			return nil, fmt.Errorf("Options.Credentials: %w", err)
		}
		cfg.User, cfg.Password = cmp.Or(user, cfg.User), password
	}
	inner, err := pq.NewConnectorConfig(cfg)
	if err != nil {
		return nil, dsnError(err)
	}
	inner.Dialer(c.dial)
	conn, err := inner.Connect(ctx)
	if p := (*fs.PathError)(nil); errors.As(err, &p) { // of TLS, in Options or the DSN
		return nil, fmt.Errorf("caFile, certFile or keyFile, or sslrootcert, sslcert or sslkey: %w", refusal.Unnamed(err))
	}
	return conn, err
}

// Driver implements driver.Connector.
func (c *connector) Driver() driver.Driver { return &pq.Driver{} }

// dialer makes connections with a limit on the wait for an answer. When a context ends,
// the driver asks the server to cancel the statement and waits for the answer. Without a
// limit, it would wait forever for a server that has become unreachable.
type dialer struct {
	net.Dialer
	limit atomic.Int64 // a time.Duration, from a statement to the end of its answer; 0 is no limit
}

func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := d.Dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, dialer: d}, nil
}

// DialTimeout implements pq.Dialer. The driver calls DialContext instead.
func (d *dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}

type conn struct {
	net.Conn
	dialer *dialer
	ready  bool // the driver has connected, and cleared its own deadline
}

func (c *conn) SetDeadline(t time.Time) error {
	c.ready = t.IsZero()
	return c.Conn.SetDeadline(t)
}

// Write starts the timeout for the whole answer. A read does not restart it, as an answer
// that arrives byte by byte could then take forever.
func (c *conn) Write(b []byte) (int, error) {
	if limit := time.Duration(c.dialer.limit.Load()); c.ready && limit > 0 {
		// If this fails, so does the write.
		_ = c.Conn.SetDeadline(time.Now().Add(limit))
	}
	return c.Conn.Write(b)
}
