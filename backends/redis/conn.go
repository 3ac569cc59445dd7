package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// How often a command is tried when the connection turns out to be broken:
// twice is for what does no harm when it is done twice.
const (
	once  = 1
	twice = 2
)

// conn is a connection in the hands of one call.
type conn struct {
	redigo.Conn
	ctx   context.Context
	limit time.Duration
}

// do sends a command, after those that Send has queued, and waits for its reply
// until the limit or the context's deadline.
//
// It is not redigo's DoContext, which starts a goroutine for each command, and
// closes the connection when the context is cancelled.
func (c conn) do(cmd string, args ...any) (any, error) {
	limit := c.limit
	deadline, ok := c.ctx.Deadline()
	if ok {
		limit = min(limit, time.Until(deadline))
		if limit <= 0 {
			return nil, context.DeadlineExceeded
		}
	}
	reply, err := redigo.DoWithTimeout(c.Conn, limit, cmd, args...)
	var n net.Error
	if ok && errors.As(err, &n) && n.Timeout() && time.Until(deadline) <= 0 {
		err = fmt.Errorf("%w: %w", context.DeadlineExceeded, err)
	}
	return reply, err
}

// do runs one command on a connection of the pool.
func (s *Store) do(ctx context.Context, tries int, cmd string, args ...any) (any, error) {
	return s.use(ctx, tries, func(c conn) (any, error) { return c.do(cmd, args...) })
}

// use calls f with a connection of the pool.
func (s *Store) use(ctx context.Context, tries int, f func(conn) (any, error)) (any, error) {
	for {
		reply, err := s.try(ctx, f)
		if tries--; !s.broken(err) || tries == 0 {
			return reply, err
		}
	}
}

func (s *Store) try(ctx context.Context, f func(conn) (any, error)) (any, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	wait, cancel := context.WithTimeout(ctx, s.connect)
	defer cancel()
	c, err := s.pool.GetContext(wait)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("no connection in time: %w", err)
	}
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return f(conn{c, ctx, s.read})
}

// broken notes that err is the fault of a connection, and reports whether
// another one may do better. So it may when the server has closed this one, and
// when the server is a replica now: dialling again finds the new primary.
func (s *Store) broken(err error) bool {
	if err == nil {
		return false
	}
	again := true
	var op *net.OpError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), replied(err, "READONLY"):
	case errors.As(err, &op) && op.Op != "dial":
		again = !op.Timeout() // a second wait would double the first
	default:
		return false
	}
	s.suspect.Store(time.Now().UnixNano())
	return again
}

// replied reports whether err is an error reply of the server with that code.
func replied(err error, code string) bool {
	var reply redigo.Error
	// Redis 6.2 puts the code of what failed in a script further back.
	return errors.As(err, &reply) && strings.Contains(string(reply), code+" ")
}

// failed names the operation that failed. nil stays nil.
func failed(op string, err error) error {
	if err == nil {
		return nil
	}
	// To a command that it does not know the server replies with its arguments,
	// and so with the session's id.
	var reply redigo.Error
	if errors.As(err, &reply) && strings.HasPrefix(string(reply), "ERR unknown command") {
		text, _, _ := strings.Cut(string(reply), ",")
		err = fmt.Errorf("%w (Redis 6.2 or later, or Valkey, is required)", redigo.Error(text))
	}
	return fmt.Errorf("redis: %s: %w", op, err)
}
