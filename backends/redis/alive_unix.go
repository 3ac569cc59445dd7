//go:build unix

package redis

import (
	"errors"
	"io"
	"net"
	"syscall"

	redigo "github.com/gomodule/redigo/redis"
)

// link is a connection that Open made.
type link struct {
	redigo.ConnWithTimeout
	raw net.Conn
}

// closed returns an error if the other side has closed the connection, as servers and
// proxies do with one that has been idle for some time. It asks the kernel, and sends
// nothing: so a command is not sent that would certainly fail, and could not be repeated,
// as nobody knows whether it has run.
func (l *link) closed() error {
	raw := l.raw
	if t, ok := raw.(interface{ NetConn() net.Conn }); ok { // TLS
		raw = t.NetConn()
	}
	s, ok := raw.(syscall.Conn)
	if !ok {
		return nil
	}
	sc, err := s.SyscallConn()
	if err != nil {
		return err
	}
	var n int
	var got error
	// Control, unlike Read, does not mind that the deadline of the last reply has passed.
	err = sc.Control(func(fd uintptr) {
		var b [1]byte
		n, _, got = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	switch {
	case err != nil:
		return err
	case errors.Is(got, syscall.EAGAIN), errors.Is(got, syscall.EINTR):
		return nil
	case got != nil:
		return got
	case n == 0:
		return io.EOF
	}
	return errors.New("bytes that nobody has asked for") // such as the end of TLS
}
