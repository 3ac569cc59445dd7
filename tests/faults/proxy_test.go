//go:build unix

package faults

import (
	"bytes"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/Shopify/toxiproxy/v2/toxics"
	"github.com/rs/zerolog"

	"github.com/samesid/samesid/internal/testserver"
)

// proxy stands between the app and the server of its store.
type proxy struct {
	*toxiproxy.Proxy
	t *testing.T
}

func newProxy(t *testing.T, upstream string) *proxy {
	t.Helper()
	p := &proxy{t: t}
	p.listen(testserver.FreeAddr(t), upstream)
	t.Cleanup(func() { p.Stop() })
	return p
}

func (p *proxy) listen(address, upstream string) {
	p.t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	p.Proxy = toxiproxy.NewProxy(server, p.t.Name(), address, upstream)
	p.start()
}

func (p *proxy) start() {
	p.t.Helper()
	if err := p.Start(); err != nil {
		p.t.Fatal(err)
	}
}

// mend ends all connections and faults by replacing the proxy. Removing a fault from a
// connection that is just closing can block forever.
func (p *proxy) mend() {
	p.t.Helper()
	p.Stop()
	p.listen(p.Listen, p.Upstream)
}

// lead directs new connections to another server, and closes those to the old one.
func (p *proxy) lead(upstream string) {
	p.t.Helper()
	if err := p.Update(&toxiproxy.Proxy{Listen: p.Listen, Upstream: upstream, Enabled: true}); err != nil {
		p.t.Fatal(err)
	}
}

// url returns rawURL with the proxy's address.
func (p *proxy) url(rawURL string) string {
	p.t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		p.t.Fatal(err)
	}
	u.Host = p.Listen
	return u.String()
}

// add begins a fault in one direction, "upstream" to the server or "downstream" from it,
// on open and on new connections.
func (p *proxy) add(kind, direction, attributes string) toxics.Toxic {
	p.t.Helper()
	text := fmt.Sprintf(`{"type":%q,"stream":%q,"attributes":{%s}}`, kind, direction, attributes)
	toxic, err := p.Toxics.AddToxicJson(strings.NewReader(text))
	if err != nil {
		p.t.Fatal(err)
	}
	return toxic.Toxic
}

// loseAcks loses every third acknowledgement of a write, and nothing else. It closes the
// connection instead or, with Hold, sends no more data.
type loseAcks struct {
	Hold bool `json:"hold"`

	acks, lost atomic.Int64
}

func init() { toxics.Register("lose_acks", new(loseAcks)) }

func (l *loseAcks) Pipe(stub *toxics.ToxicStub) {
	silent := false
	for {
		select {
		case <-stub.Interrupt:
			return
		case c := <-stub.Input:
			switch {
			case c == nil:
				stub.Close()
				return
			case silent:
				continue
			case isAck(c) && l.acks.Add(1)%3 == 0:
				l.lost.Add(1)
				if !l.Hold {
					stub.Close()
					return
				}
				silent = true
				continue
			}
			stub.Output <- c
		}
	}
}

// isAck reports whether a chunk is a server's acknowledgement of a write. Redis answers
// a swap and a deletion with the number 1. Postgres answers with the number of rows
// affected, and sends no row before it.
func isAck(c *stream.StreamChunk) bool {
	const parsed, bound, noRows = "1\x00\x00\x00\x04", "2\x00\x00\x00\x04", "n\x00\x00\x00\x04"
	return bytes.Equal(c.Data, []byte(":1\r\n")) ||
		bytes.HasPrefix(c.Data, []byte(parsed+bound+noRows+"C")) && bytes.Contains(c.Data, []byte(" 1\x00"))
}
