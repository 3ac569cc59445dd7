package redis

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"

	redigo "github.com/gomodule/redigo/redis"
)

// server holds the parts of a URL.
type server struct {
	network, addr      string
	tls                bool
	username, password string
	database           int
}

// parseURL parses the URL of Open. redigo's own parser has no unix sockets, and its errors
// quote the URL with the password. The errors here quote no part of the URL, because a
// password that is not percent-encoded can end up in any part.
func parseURL(raw string) (server, error) {
	bad := func(why string) (server, error) { return server{}, errors.New("redis: the URL " + why) }
	u, err := url.Parse(raw)
	if err != nil {
		return bad("cannot be read; are the special characters of the password percent-encoded?")
	}
	var s server
	database := strings.TrimPrefix(u.Path, "/")
	query := u.Query()
	switch u.Scheme {
	case "rediss", "valkeys":
		s.tls = true
		fallthrough
	case "redis", "valkey":
		s.network = "tcp"
		s.addr = net.JoinHostPort(cmp.Or(u.Hostname(), "localhost"), cmp.Or(u.Port(), "6379"))
	case "unix", "redis+unix":
		if u.Host != "" || u.Path == "" {
			return bad("must have the path of a socket and no host: unix:///path/to/redis.sock")
		}
		s.network, s.addr = "unix", u.Path
		database = query.Get("db")
		query.Del("db")
	default:
		return bad("must begin with redis://, rediss:// or unix://")
	}
	switch {
	case u.Opaque != "":
		return bad("lacks the slashes after its scheme")
	case u.Fragment != "":
		return bad("has a #, which must be percent-encoded")
	case len(query) > 0:
		return bad("has parameters that are not known; the number of the database is the path, or ?db= after the path of a socket")
	}
	if database != "" {
		if s.database, err = strconv.Atoi(database); err != nil || s.database < 0 {
			return bad("has something else than a number in the place of the database")
		}
	}
	var set bool
	s.username = u.User.Username()
	s.password, set = u.User.Password()
	switch {
	case !set:
		s.username, s.password = "", s.username
	case s.password == "" && s.username != "":
		return bad("has a user and an empty password")
	}
	return s, nil
}

// dialer returns the function with which the pool dials.
func dialer(rawURL string, o Options) (func(context.Context) (redigo.Conn, error), error) {
	s, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	dial := (&net.Dialer{Timeout: o.ConnectTimeout}).DialContext
	if s.tls {
		config, err := o.TLS.config()
		if err != nil {
			return nil, err
		}
		// redigo's own TLS handshake ignores the context.
		dial = (&tls.Dialer{NetDialer: &net.Dialer{Timeout: o.ConnectTimeout}, Config: config}).DialContext
	} else {
		scheme, _, _ := strings.Cut(rawURL, "://")
		r := refusals()
		o.TLS.refuse(&r, scheme)
		if err := r.Err(); err != nil {
			return nil, err
		}
	}
	options := []redigo.DialOption{
		redigo.DialContextFunc(dial),
		redigo.DialUsername(s.username),
		redigo.DialPassword(s.password),
		redigo.DialDatabase(s.database),
		redigo.DialReadTimeout(o.Timeout),
		redigo.DialWriteTimeout(o.Timeout),
	}
	return func(ctx context.Context) (redigo.Conn, error) {
		c, err := redigo.DialContext(ctx, s.network, s.addr, options...)
		if err == nil {
			return c, nil
		}
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" {
			return nil, err // it names the address already
		}
		return nil, fmt.Errorf("connect to %s: %w", s.addr, err)
	}, nil
}

func (t TLS) config() (*tls.Config, error) {
	r := refusals()
	config := &tls.Config{ServerName: t.ServerName, MinVersion: tls.VersionTLS12}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			r.Add("TLS.CAFile", "%w", err)
			return nil, r.Err()
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			r.Add("TLS.CAFile", "no certificate in %s", t.CAFile)
			return nil, r.Err()
		}
	}
	if t.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			r.Add("TLS.CertFile TLS.KeyFile", "%w", err)
			return nil, r.Err()
		}
		config.Certificates = []tls.Certificate{cert}
	}
	return config, nil
}
