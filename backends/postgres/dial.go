package postgres

import (
	"context"
	"net"
	"sync/atomic"
	"time"
)

// dialer makes connections on which no answer is awaited forever. When a context
// ends, the driver asks the server to cancel the statement and waits for its
// answer, which from a server that can't be reached any more would never come.
type dialer struct {
	net.Dialer
	limit atomic.Int64 // from a statement to the end of its answer, a time.Duration; 0 is none
}

func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := d.Dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, dialer: d}, nil
}

// DialTimeout is what the driver requires, and leaves for DialContext.
func (d *dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}

type conn struct {
	net.Conn
	dialer *dialer
	ready  bool // the driver has ended its own deadline, that of connecting
}

func (c *conn) SetDeadline(t time.Time) error {
	c.ready = t.IsZero()
	return c.Conn.SetDeadline(t)
}

// Write begins the time for the whole answer. A read does not begin it anew, or
// an answer that comes in drops would have no end.
func (c *conn) Write(b []byte) (int, error) {
	if limit := time.Duration(c.dialer.limit.Load()); c.ready && limit > 0 {
		// If it fails, so does the write.
		_ = c.Conn.SetDeadline(time.Now().Add(limit))
	}
	return c.Conn.Write(b)
}
