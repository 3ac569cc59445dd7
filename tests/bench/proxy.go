package main

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// proxy is between a server and its store, and counts round trips. A round trip begins
// when the server sends data first on a connection, or after the store has answered. A
// request that is sent in pieces, or several that are sent together, count as one.
type proxy struct {
	listener net.Listener
	store    string
	turns    atomic.Int64
	delay    time.Duration // of what the store sends
}

func newProxy(store string) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: l, store: store}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.connect(c)
		}
	}()
	return p, nil
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

// close stops accepting. Connections close when their server exits.
func (p *proxy) close() { p.listener.Close() }

func (p *proxy) connect(server net.Conn) {
	defer server.Close()
	store, err := net.Dial("tcp", p.store)
	if err != nil {
		return
	}
	defer store.Close()
	var asked atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		forward(store, server, 0, func() {
			if asked.CompareAndSwap(false, true) {
				p.turns.Add(1)
			}
		})
		store.Close()
	})
	forward(server, store, p.delay, func() { asked.Store(false) })
	server.Close()
	wg.Wait()
}

// forward copies until either side closes, and calls seen before each write. What it reads
// is written after the delay; meanwhile it reads on.
func forward(to, from net.Conn, delay time.Duration, seen func()) {
	type piece struct {
		data []byte
		due  time.Time
	}
	if delay == 0 {
		buf := make([]byte, 64<<10)
		for {
			n, err := from.Read(buf)
			if n > 0 {
				seen()
				if _, err := to.Write(buf[:n]); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}
	pieces := make(chan piece, 1000)
	go func() {
		defer close(pieces)
		for {
			buf := make([]byte, 64<<10)
			n, err := from.Read(buf)
			if n > 0 {
				pieces <- piece{buf[:n], time.Now().Add(delay)}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range pieces {
		time.Sleep(time.Until(p.due))
		seen()
		if _, err := to.Write(p.data); err != nil {
			from.Close()
		}
	}
}
