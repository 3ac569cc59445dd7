package redis

import (
	"context"
	"errors"
	"slices"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/samesid/samesid/internal/batch"
)

// exchange is a command and the reply to it.
type exchange struct {
	ctx    context.Context
	before [][]any // commands that go before it, of whose replies only errors matter
	name   string
	args   []any

	reply any
	err   error
}

// share lets the node's commands go out together.
func (n *node) share(o Options) {
	if !o.NoBatching {
		n.shared = batch.New(o.MaxConns, o.ConnectTimeout, nil, func(calls []*exchange) error { return n.pipe(o, calls) })
	}
}

// stopSharing returns when no commands are on their way together.
func (n *node) stopSharing() {
	if n.shared != nil {
		n.shared.Close()
	}
}

// together sends a command with those of other calls, and returns the reply to it.
func (c conn) together(x exchange) (any, error) {
	// The command may be sent after its caller has left.
	x.args = slices.Clone(x.args)
	for i, arg := range x.args {
		if b, ok := arg.([]byte); ok {
			x.args[i] = slices.Clone(b)
		}
	}
	x.ctx = c.ctx
	switch err := c.shared.Wait(c.ctx, &x); {
	case errors.Is(err, batch.ErrBusy), errors.Is(err, batch.ErrClosed):
		return nil, &unsentError{err}
	case err != nil:
		return nil, err
	}
	return x.reply, x.err
}

// pipe sends commands over one connection, and awaits their replies. Its error is that of
// the connection.
func (n *node) pipe(o Options, calls []*exchange) error {
	c, err := n.borrow(context.Background(), o.ConnectTimeout)
	if err == nil {
		defer n.giveBack(c)
		// What its caller has given up is not sent: others may have ended the session since.
		calls = slices.DeleteFunc(calls, func(x *exchange) bool {
			x.err = x.ctx.Err()
			return x.err != nil
		})
		err = sendAll(c, calls)
	}
	end := time.Now().Add(o.Timeout)
	receive := func() (any, error) {
		if err != nil {
			return nil, err
		}
		reply, replyErr := redigo.ReceiveWithTimeout(c, max(time.Until(end), 1))
		if said := redigo.Error(""); replyErr != nil && !errors.As(replyErr, &said) {
			err = replyErr // all that come after have the same reason
		}
		return reply, replyErr
	}
	for _, x := range calls {
		var first error // such as MOVED, for which EXEC only says that it has not run
		for range x.before {
			if _, err := receive(); first == nil {
				first = err
			}
		}
		x.reply, x.err = receive()
		if first != nil {
			x.reply, x.err = nil, first
		}
	}
	return err
}

func sendAll(c redigo.Conn, calls []*exchange) error {
	for _, x := range calls {
		if err := (conn{Conn: c}).queue(x.before); err != nil {
			return err
		}
		if err := c.Send(x.name, x.args...); err != nil {
			return err
		}
	}
	return c.Flush()
}
