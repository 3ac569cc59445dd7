package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/samesid/samesid/backends/contract"
	"github.com/samesid/samesid/internal/batch"
)

// way is how a call goes to a server.
type way struct {
	tries int  // of a command whose connection turns out to be broken
	share bool // its commands may go with those of other calls, over any connection
}

// twice is for idempotent commands.
var (
	once  = way{tries: 1}
	twice = way{tries: 2}
)

func (w way) shared() way { return way{w.tries, true} }

// maxRedirects bounds how often one call follows a cluster from node to node.
const maxRedirects = 8

// node is a server, and the connections to it. With Sentinel it is whichever server is
// the master when a connection is made.
type node struct {
	addr string // "" for the pool of New
	pool *redigo.Pool

	// free has a place for each connection that may be in use. nil for the pool of New.
	//
	// The pool's own limit is not used: a call whose context is done can panic while it
	// waits for a pool that is then closed, which happens in each failover.
	free chan struct{}

	// shared has the commands that wait to go out together. nil: each goes by itself.
	shared *batch.Queue[*exchange]

	// suspect is the time, in Unix nanoseconds, at which a connection was last found
	// broken, or its server a replica. The connections that were idle at that time
	// are probably broken too, and are not used again.
	suspect atomic.Int64
}

// newNode returns a node whose connections dial makes.
func newNode(addr string, o Options, dial func(context.Context) (redigo.Conn, error)) *node {
	n := &node{addr: addr, free: make(chan struct{}, o.MaxConns)}
	n.share(o)
	n.pool = &redigo.Pool{
		DialContext:     dial,
		MaxIdle:         o.MaxIdleConns,
		IdleTimeout:     o.ConnMaxIdleTime,
		MaxConnLifetime: o.ConnMaxLifetime,
	}
	n.pool.TestOnBorrow = func(c redigo.Conn, lastUsed time.Time) error {
		if lastUsed.UnixNano() <= n.suspect.Load() {
			return errors.New("it may be broken")
		}
		// A connection that is in constant use is not worth a system call.
		if l, ok := c.(*link); ok && time.Since(lastUsed) > idleEnough {
			err := l.closed()
			if err != nil {
				n.suspect.Store(time.Now().UnixNano()) // a listing begins anew
			}
			return err
		}
		return nil
	}
	return n
}

// idleEnough is the time after which a connection is asked whether it has been closed.
const idleEnough = 10 * time.Millisecond

// use calls f with a connection to the server of a key, again if the connection turns out
// to be broken and the way allows it. A reply that says that the command has not run, and
// where to run it, is followed in any case.
func (s *Store) use(ctx context.Context, key string, w way, f func(conn) (any, error)) (reply any, err error) {
	w.share = w.share && !s.large.Has(key)
	if s.cluster == nil {
		reply, err = s.useNode(ctx, s.single, w, f)
	} else {
		reply, err = s.cluster.use(ctx, s, key, w, f)
	}
	if data, ok := reply.([]byte); ok {
		s.large.Note(key, len(data))
	}
	return reply, err
}

// useNode is use for a given node.
func (s *Store) useNode(ctx context.Context, n *node, w way, f func(conn) (any, error)) (any, error) {
	demoted := false
	for {
		reply, err := s.try(ctx, n, false, w.share, f)
		switch n.after(err) {
		case fine:
			return reply, err
		case notMaster:
			// The command has not run. Dialling again finds the new master.
			if demoted {
				return reply, err
			}
			demoted = true
		case broken:
			if w.tries--; w.tries == 0 {
				return reply, err
			}
		}
	}
}

func (s *Store) try(ctx context.Context, n *node, asking, share bool, f func(conn) (any, error)) (reply any, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if share && !asking && n.shared != nil {
		began, ok := n.shared.Enter()
		if !ok {
			return f(conn{ctx: ctx, limit: s.read, shared: n.shared})
		}
		defer func() { n.shared.Leave(began, err == nil) }()
	}
	c, err := n.borrow(ctx, s.connect)
	if err != nil {
		return nil, err
	}
	defer n.giveBack(c)
	if err := ctx.Err(); err != nil { // what is queued would still be sent
		return nil, err
	}
	mine := conn{Conn: c, ctx: ctx, limit: s.read, asking: asking}
	if err := mine.ask(); err != nil {
		return nil, err
	}
	return f(mine)
}

// borrow returns a connection, for giveBack.
func (n *node) borrow(ctx context.Context, limit time.Duration) (c redigo.Conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if n.free != nil {
		select {
		case n.free <- struct{}{}:
		case <-ctx.Done():
			return nil, &unsentError{fmt.Errorf("no connection in time: %w", ctx.Err())}
		}
	}
	got := false
	defer func() {
		if !got { // also after a panic, in the caller's Credentials, say
			n.leave()
		}
	}()
	if c, err = n.pool.GetContext(ctx); err == nil {
		got = true
		return c, nil
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no connection in time: %w", err)
	}
	return nil, &unsentError{err}
}

func (n *node) giveBack(c redigo.Conn) {
	c.Close()
	n.leave()
}

func (n *node) leave() {
	if n.free != nil {
		<-n.free
	}
}

// unsentError is the failure to get a connection: nothing was sent.
type unsentError struct{ err error }

func (e *unsentError) Error() string { return e.err.Error() }
func (e *unsentError) Unwrap() error { return e.err }

// outcome is what an error says about a connection and its server.
type outcome int

const (
	fine      outcome = iota // trying again on another connection is of no use
	broken                   // the connection was closed, and the command may have run
	notMaster                // the server is a replica, and the command has not run
)

// after records what err says about the node, and returns it.
func (n *node) after(err error) outcome {
	var op *net.OpError
	result := fine
	switch {
	case err == nil:
		return fine
	case replied(err, "READONLY"), replied(err, "MASTERDOWN"):
		result = notMaster
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		result = broken
	case errors.As(err, &op) && op.Op != "dial":
		if !op.Timeout() { // a second try would double the wait
			result = broken
		}
	default:
		return fine
	}
	n.suspect.Store(time.Now().UnixNano())
	return result
}

// conn is a connection of the pool that one call uses.
type conn struct {
	redigo.Conn // nil: the commands go by shared
	ctx         context.Context
	limit       time.Duration
	asking      bool // the node is still importing the key's slot
	shared      *batch.Queue[*exchange]
}

// ask precedes each command to a node that is still importing the key's slot.
func (c conn) ask() error {
	if !c.asking {
		return nil
	}
	return c.Send("ASKING")
}

// do sends the commands that Send has queued and then cmd, and waits for the reply
// until the limit or the context's deadline.
func (c conn) do(cmd string, args ...any) (any, error) {
	return c.send(exchange{name: cmd, args: args})
}

// transact sends MULTI and the commands after it, and returns the replies of EXEC.
func (c conn) transact(calls [][]any) (any, error) {
	return c.send(exchange{before: calls, name: "EXEC"})
}

// send sends a command and waits for the reply until the limit or the context's deadline.
//
// redigo's DoContext is not used, because it starts a goroutine for each command, and
// closes the connection when the context is cancelled.
func (c conn) send(x exchange) (any, error) {
	limit := c.limit
	deadline, ok := c.ctx.Deadline()
	if ok {
		limit = min(limit, time.Until(deadline))
		if limit <= 0 {
			return nil, context.DeadlineExceeded
		}
	}
	var reply any
	var err error
	if c.Conn == nil {
		reply, err = c.together(x)
	} else {
		if err := c.queue(x.before); err != nil {
			return nil, err
		}
		reply, err = redigo.DoWithTimeout(c.Conn, limit, x.name, x.args...)
	}
	var n net.Error
	if ok && errors.As(err, &n) && n.Timeout() && time.Until(deadline) <= 0 {
		err = fmt.Errorf("%w: %w", context.DeadlineExceeded, err)
	}
	if replied(err, "MOVED") || replied(err, "ASK") {
		return reply, err // the cluster needs the address
	}
	if c.Conn != nil && tooLarge(err) {
		// The server closes the connection after this, so that it must not be used again.
		_, _ = redigo.DoWithTimeout(c.Conn, limit, "PING")
		return nil, fmt.Errorf("%w: it is larger than the server's proto-max-bulk-len", contract.ErrRejected)
	}
	return reply, scrub(err)
}

// tooLarge reports whether the server refuses an argument because of its length.
func tooLarge(err error) bool {
	var reply redigo.Error
	return errors.As(err, &reply) && strings.HasPrefix(string(reply), "ERR Protocol error: invalid bulk length")
}

// pipe sends commands at once, and returns their replies, of which some may be errors.
func (c conn) pipe(calls [][]any) ([]any, error) {
	if err := c.queue(calls); err != nil {
		return nil, err
	}
	return redigo.Values(c.do(""))
}

// queue has commands sent with the next one.
func (c conn) queue(calls [][]any) error {
	for _, call := range calls {
		if err := c.Send(call[0].(string), call[1:]...); err != nil {
			return err
		}
	}
	return nil
}

// do runs a command on one key.
func (s *Store) do(ctx context.Context, w way, cmd, key string, args ...any) (any, error) {
	all := append([]any{key}, args...)
	return s.use(ctx, key, w.shared(), func(c conn) (any, error) { return c.do(cmd, all...) })
}
