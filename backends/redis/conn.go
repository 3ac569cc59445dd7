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

// The number of tries for a command whose connection turns out to be broken: twice
// is for idempotent commands.
const (
	once  = 1
	twice = 2
)

// conn is a connection of the pool that one call uses.
type conn struct {
	redigo.Conn
	ctx   context.Context
	limit time.Duration
}

// do sends the commands that Send has queued and then cmd, and waits for the reply
// until the limit or the context's deadline.
//
// redigo's DoContext is not used, because it starts a goroutine for each command, and
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

// use calls f with a connection of the pool, up to tries times.
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

// broken records it if err means that a connection is broken, and reports whether
// another connection may succeed. That is so when the server has closed this one, and
// when the server is now a replica: dialling again finds the new primary.
func (s *Store) broken(err error) bool {
	if err == nil {
		return false
	}
	again := true
	var op *net.OpError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), replied(err, "READONLY"):
	case errors.As(err, &op) && op.Op != "dial":
		again = !op.Timeout() // a second try would double the wait
	default:
		return false
	}
	s.suspect.Store(time.Now().UnixNano())
	return again
}

// replied reports whether err is an error reply with that code.
func replied(err error, code string) bool {
	var reply redigo.Error
	// Redis 6.2 puts the code of an error in a script after other text.
	return errors.As(err, &reply) && strings.Contains(string(reply), code+" ")
}

// failed adds the operation's name to err, and returns nil for nil.
func failed(op string, err error) error {
	if err == nil {
		return nil
	}
	// The reply to an unknown command quotes its arguments, and so the session's id.
	var reply redigo.Error
	if errors.As(err, &reply) && strings.HasPrefix(string(reply), "ERR unknown command") {
		text, _, _ := strings.Cut(string(reply), ",")
		err = fmt.Errorf("%w (Redis 6.2 or later, or Valkey, is required)", redigo.Error(text))
	}
	return fmt.Errorf("redis: %s: %w", op, err)
}
