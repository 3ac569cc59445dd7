package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/lib/pq"
)

// startWait is how long Open waits for a server that is not up yet, if its context has
// no deadline.
const startWait = time.Minute

// The pauses between two tries to connect.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = time.Second
)

// await returns when the server accepts a connection. While it is not up yet, await tries
// again until ctx ends, and then returns the last reason.
func await(ctx context.Context, db *sql.DB, logger *slog.Logger) error {
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, startWait)
		defer cancel()
	}
	var last error
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		c, err := db.Conn(ctx)
		if err == nil {
			return c.Close()
		}
		if ctx.Err() != nil {
			if last == nil {
				last = ctx.Err()
			}
			return explain(last)
		}
		if !passing(err) {
			return explain(err)
		}
		if last == nil {
			logger.Warn("postgres: the server can't be reached yet, waiting for it", "error", explain(err))
		}
		if last == nil || !timedOut(err) { // perhaps it was the end of ctx
			last = err
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return explain(last)
		case <-timer.C:
		}
	}
}

// passing reports whether an error of connecting may be over soon.
func passing(err error) bool {
	var dns *net.DNSError
	var dial *net.OpError
	switch {
	case errors.As(err, &dns):
		return true // a container's name may have no address before it runs
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		errors.As(err, &dial) && errors.Is(err, os.ErrNotExist), // a socket
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, sqldriver.ErrBadConn):
		return true
	case timedOut(err):
		return true
	}
	const (
		shutdown, crashed, starting = "57P01", "57P02", "57P03"
		tooMany                     = "53300"
		protocol                    = "08P01" // PgBouncer's for everything
		connection                  = "08"
	)
	switch code := sqlState(err); code {
	case shutdown, crashed, starting, tooMany:
		return true
	case protocol:
		text := err.Error()
		if strings.Contains(text, "authentication failed") || strings.Contains(text, "does not exist") {
			return false
		}
		return strings.Contains(text, "server") || strings.Contains(text, "timeout")
	default:
		return strings.HasPrefix(code, connection)
	}
}

func timedOut(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

const noWrites = "the server takes no writes; give the primary's address, or all addresses and target_session_attrs=read-write"

// explain returns the error of a start that failed for this reason, with what to do about
// it. No session is known yet, so the server's own words hold nothing of one.
func explain(err error) error {
	var unknown x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	code, text := sqlState(err), err.Error()
	hint := ""
	switch {
	case errors.Is(err, pq.ErrSSLNotSupported):
		hint = "the server has no TLS; if the way to it is safe without, set sslmode=disable"
	case code == "28000" && (strings.Contains(text, "no encryption") || strings.Contains(text, "SSL off")):
		hint = "the server refuses this user without TLS; set sslmode=verify-full"
	case errors.As(err, &record):
		hint = "the server did not answer in TLS; drop sslnegotiation=direct"
	case errors.As(err, &unknown), errors.As(err, &invalid):
		hint = "the server's certificate can't be verified; give its CA (TLS.CAFile, sslrootcert) or pin it (TLS.Fingerprint)"
	case errors.As(err, &hostname):
		hint = "the server's certificate is for another name; connect by that name, pin the certificate (TLS.Fingerprint), " +
			"or give its CA (TLS.CAFile, sslrootcert) and set sslMode: verify-ca"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		hint = "the connection was closed before an answer: either the server is not up behind its proxy, or this is the port of something else, " +
			"such as one that takes TLS alone (sslmode=verify-full and sslnegotiation=direct)"
	case strings.Contains(text, "unrecognized configuration parameter"):
		hint = "the server has no such parameter, and node-postgres ignores it; drop it from the url"
	case code == "25006":
		hint = noWrites
	}
	if _, param, ok := strings.Cut(text, "unsupported startup parameter: "); ok {
		param, _, _ = strings.Cut(param, " (")
		hint = "the pooler does not take the parameter " + param + "; drop it from the url, and " + instead(param)
	}
	if hint == "" {
		return fmt.Errorf("postgres: open: %w", err)
	}
	return fmt.Errorf("postgres: open: %s: %w", hint, err)
}

// instead says how to have a parameter that a pooler does not take.
func instead(param string) string {
	if param == "search_path" {
		return "set Options.SchemaName"
	}
	return "set it for the role, by ALTER ROLE … SET, or in the pooler"
}
