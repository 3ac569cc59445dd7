package postgres

import (
	"context"
	"net"
	"sync/atomic"
	"time"
)

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
