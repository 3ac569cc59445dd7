//go:build !unix

package redis

import (
	"net"

	redigo "github.com/gomodule/redigo/redis"
)

// link is a connection that Open made.
type link struct {
	redigo.ConnWithTimeout
	raw net.Conn
}

// closed is for systems that can be asked whether a connection has been closed.
func (*link) closed() error { return nil }
