package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

// visitor is one user with a session, as the load generator knows it.
type visitor struct {
	user   int
	name   string
	cookie []byte // the Cookie header's value; nil before the first login
	count  int    // the value of the counter, -1 if unknown
}

func newVisitor(user int) *visitor {
	return &visitor{user: user, name: userName(user), count: -1}
}

func newVisitors(n int) []*visitor {
	s := make([]*visitor, n)
	for i := range s {
		s[i] = newVisitor(i)
	}
	return s
}

// load is one run of the generator. Each of its connections sends one request after the
// other, and no two of them share a session.
type load struct {
	distance time.Duration // of the store, beside what the machine adds
	addr     string
	workload string
	size     int // the size of a user's JSON at a login
	conns    int
	visitors []*visitor
	duration time.Duration // 0: one request for each session
	noID     bool          // a login need not change the cookie
}

// sample is the measurement of one run.
type sample struct {
	requests int
	seconds  float64
	p50, p99 time.Duration
}

func (s sample) rps() float64 { return float64(s.requests) / s.seconds }

// run stops with an error at the first wrong response.
func (l load) run(ctx context.Context) (sample, error) {
	conns := min(l.conns, len(l.visitors))
	clients := make([]*client, conns)
	defer func() {
		for _, c := range clients {
			if c != nil {
				c.conn.Close()
			}
		}
	}()
	for i := range clients {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", l.addr)
		if err != nil {
			return sample{}, err
		}
		clients[i] = &client{load: l, conn: conn, reader: bufio.NewReaderSize(conn, 16<<10)}
	}

	begin := time.Now()
	errs := make([]error, conns)
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() { errs[i] = c.run(ctx, i, conns, begin) })
	}
	wg.Wait()
	took := time.Since(begin)

	var all []time.Duration
	for _, c := range clients {
		all = append(all, c.times...)
	}
	for _, err := range errs {
		if err != nil { // the first error suffices
			return sample{}, err
		}
	}
	slices.Sort(all)
	return sample{
		requests: len(all), seconds: took.Seconds(),
		p50: all[len(all)/2], p99: all[len(all)*99/100],
	}, nil
}

// client is one connection. It formats its requests itself, to leave most of the shared
// machine's time to the server.
type client struct {
	load
	conn     net.Conn
	reader   *bufio.Reader
	request  []byte
	want     []byte
	response fasthttp.Response
	times    []time.Duration
}

func (c *client) run(ctx context.Context, first, step int, begin time.Time) error {
	for i := first; ; i += step {
		if i >= len(c.visitors) {
			if c.duration == 0 {
				return nil
			}
			i = first
		}
		start := time.Now()
		if c.duration > 0 && start.Sub(begin) >= c.duration && len(c.times) > 0 {
			return nil
		}
		if err := c.do(c.visitors[i]); err != nil {
			return fmt.Errorf("%s: %w", c.workload, err)
		}
		c.times = append(c.times, time.Since(start))
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// do sends one request and checks the response.
func (c *client) do(s *visitor) error {
	c.build(s)
	if err := c.conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	if _, err := c.conn.Write(c.request); err != nil {
		return err
	}
	c.response.Reset()
	if err := c.response.Read(c.reader); err != nil {
		return err
	}
	body := c.response.Body()
	if status := c.response.StatusCode(); status != fasthttp.StatusOK {
		return fmt.Errorf("status %d: %s", status, body)
	}
	if c.workload == change {
		if err := s.counted(body); err != nil {
			return err
		}
	} else if !bytes.Equal(body, c.want) {
		return fmt.Errorf("the response is %q, not %q", body, c.want)
	}
	if c.workload == visit {
		return nil
	}
	return c.takeCookie(s)
}

func (c *client) build(s *visitor) {
	b := c.request[:0]
	c.want = append(c.want[:0], s.name...)
	switch c.workload {
	case read:
		b = append(b, "GET / HTTP/1.1\r\nHost: bench\r\n"...)
	case visit:
		b = append(b, "GET / HTTP/1.1\r\nHost: bench\r\n\r\n"...)
		c.request = b
		c.want = append(c.want[:0], anonymous...)
		return
	case change:
		b = append(b, "POST /change HTTP/1.1\r\nHost: bench\r\nContent-Length: 0\r\n"...)
	case login:
		b = append(b, "POST /login?user="...)
		b = strconv.AppendInt(b, int64(s.user), 10)
		b = append(b, "&size="...)
		b = strconv.AppendInt(b, int64(c.size), 10)
		b = append(b, " HTTP/1.1\r\nHost: bench\r\nContent-Length: 0\r\n"...)
	}
	if s.cookie != nil {
		b = append(b, "Cookie: "...)
		b = append(b, s.cookie...)
		b = append(b, "\r\n"...)
	}
	c.request = append(b, "\r\n"...)
}

// counted checks the response to a change. As nobody else uses the session, its counter
// must be one more than before.
func (s *visitor) counted(body []byte) error {
	name, number, _ := bytes.Cut(body, []byte(" "))
	n, err := strconv.Atoi(string(number))
	if err != nil || string(name) != s.name || s.count >= 0 && n != s.count+1 {
		return fmt.Errorf("the response is %q, for %s with a counter of %d", body, s.name, s.count)
	}
	s.count = n
	return nil
}

// takeCookie keeps a cookie as a browser does, and requires a new one after a login.
func (c *client) takeCookie(s *visitor) error {
	var got []byte
	for _, cookie := range c.response.Header.Cookies() {
		got, _, _ = bytes.Cut(cookie, []byte(";"))
	}
	if c.workload == login {
		if got == nil || !c.noID && bytes.Equal(got, s.cookie) {
			return fmt.Errorf("%s signed in and got no new cookie", s.name)
		}
		s.count = -1
	}
	if got != nil && !bytes.Equal(got, s.cookie) {
		s.cookie = append(s.cookie[:0], got...)
	}
	return nil
}
