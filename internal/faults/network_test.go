//go:build unix

package faults

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"testing"

	"github.com/samesid/samesid/backends"
	"github.com/samesid/samesid/internal/testserver"
)

var (
	redisLayouts    = []string{"scs", "connect-redis"}
	postgresLayouts = []string{"scs", "connect-pg-simple", "connect-session-knex"}
)

// onEach runs a test on each layout of both servers, side by side.
func onEach(t *testing.T, config backends.Config, test func(t *testing.T, s *system)) {
	for _, layout := range redisLayouts {
		t.Run("redis "+layout, func(t *testing.T) {
			t.Parallel()
			c := config
			c.Type, c.URL, c.Layout, c.Prefix = backends.Redis, testserver.Redis(t), layout, testserver.Prefix(t)
			test(t, newSystem(t, host(t, c.URL), c))
		})
	}
	for _, layout := range postgresLayouts {
		t.Run("postgres "+layout, func(t *testing.T) {
			t.Parallel()
			c := config
			c.Type, c.Layout = backends.Postgres, layout
			c.URL, _ = testserver.Schema(t)
			test(t, newSystem(t, host(t, c.URL), c))
		})
	}
}

func host(t *testing.T, rawURL string) string {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

func TestConnectionRefused(t *testing.T) {
	onEach(t, backends.Config{}, func(t *testing.T, s *system) {
		l := s.run(t)
		s.proxy.Stop()
		l.next(true)
		l.await("failures", allFailTwice)
		l.next(false)
		s.proxy.start()
		l.recover()
	})
}

func TestReset(t *testing.T) {
	during(t, allFailTwice, func(p *proxy) { p.add("reset_peer", "downstream", `"timeout":0`) })
}

// Each reply ends after its first bytes.
func TestReplyCut(t *testing.T) {
	during(t, allFailTwice, func(p *proxy) { p.add("limit_data", "downstream", `"bytes":3`) })
}

func TestLatency(t *testing.T) {
	during(t, allFail, func(p *proxy) { p.add("latency", "downstream", `"latency":3000`) })
}

// Answers come late, and from Postgres not too late: it has a second more to
// answer a cancellation, and an answer that comes meanwhile is good. Requests of
// one session at once meet conflicts, each of which asks for two more answers, and
// these are so many that some would take half a minute: they have an end before.
func TestLateAnswers(t *testing.T) {
	t.Parallel() // with TestUnknownOutcome, which waits as long
	onEach(t, backends.Config{}, func(t *testing.T, s *system) {
		l := s.run(t, 1, 1, 1, 13)
		l.allow(utmost)
		s.proxy.add("latency", "downstream", `"latency":1000`)
		l.next(false)
		l.await("answers", each(func(c tally) bool { return c.ok()+c.failed >= 3 }))
		l.await("answers of the session with conflicts", func(groups []*group) bool {
			c := groups[3].tally
			return c.ok()+c.failed >= 40
		})
		s.proxy.mend()
		l.recover()
	})
}

// Nothing arrives any more on either way, and nothing is closed.
func TestBlackHole(t *testing.T) {
	during(t, allFail, func(p *proxy) {
		p.add("timeout", "upstream", `"timeout":0`)
		p.add("timeout", "downstream", `"timeout":0`)
	})
}

// during runs the load through a fault with which nothing can succeed.
func during(t *testing.T, enough func([]*group) bool, begin func(*proxy)) {
	onEach(t, backends.Config{}, func(t *testing.T, s *system) {
		l := s.run(t)
		begin(s.proxy)
		l.next(true)
		l.await("failures", enough)
		l.next(false)
		s.proxy.mend()
		l.recover()
	})
}

// Bytes come one by one, and a connection that is closed stays for a while.
func TestSlowNetwork(t *testing.T) {
	onEach(t, backends.Config{}, func(t *testing.T, s *system) {
		l := s.run(t)
		s.proxy.add("slow_close", "downstream", `"delay":1000`)
		s.proxy.add("slicer", "downstream", `"average_size":2,"delay":20000`) // microseconds
		l.next(false)
		l.await("failures", someFail)
		s.proxy.mend()
		l.recover()
	})
}

// A server that is slow, and fewer connections than requests: they wait for one
// until their time is up.
func TestPoolExhausted(t *testing.T) {
	onEach(t, backends.Config{MaxConns: 2}, func(t *testing.T, s *system) {
		l := s.run(t)
		s.proxy.add("latency", "downstream", `"latency":150`)
		l.next(false)
		l.await("failures", someFail)
		l.await("a request that is served", all(func(c tally) bool { return c.ok() > 0 }))
		s.proxy.mend()
		l.recover()
	})
}

// A write is done and the server's word of it is lost: with the connection, or in
// silence. It is tried again, if that does no harm, or answered with 503, and
// never done twice.
func TestUnknownOutcome(t *testing.T) {
	t.Parallel()
	for name, hold := range map[string]string{"closed": `"hold":false`, "silent": `"hold":true`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onEach(t, backends.Config{}, func(t *testing.T, s *system) {
				l := s.run(t)
				acks := s.proxy.add("lose_acks", "downstream", hold).(*loseAcks)
				l.next(false)
				l.await("writes whose outcome is unknown", func([]*group) bool { return acks.lost.Load() >= 8 })
				l.await("the others' success", each(func(c tally) bool { return c.pages >= 1 }))
				s.proxy.mend()
				l.recover()
			})
		})
	}
}

// A client that disconnects while its request runs, or while it is being saved,
// does not lose its save.
func TestClientDisconnects(t *testing.T) {
	for name, slow := range map[string]bool{"in the handler": false, "in the save": true} {
		t.Run(name, func(t *testing.T) {
			onEach(t, backends.Config{}, func(t *testing.T, s *system) {
				l := &load{system: s, client: http.DefaultClient, changed: make(chan struct{}), limit: slowest}
				l.system.t = t
				g := &group{user: "user-0", size: 1}
				session := l.session(g)
				if session == nil {
					t.Fatal("no login")
				}
				for _, id := range []string{"one", "two"} {
					ctx, disconnect := context.WithCancel(t.Context())
					defer disconnect()
					r, err := http.NewRequestWithContext(ctx, "POST", s.url+"/watched/"+id, nil)
					if err != nil {
						t.Fatal(err)
					}
					r.Header.Set("Cookie", session.cookie)
					hungUp := make(chan error, 1)
					go func() {
						res, err := http.DefaultClient.Do(r)
						if err == nil {
							res.Body.Close()
						}
						hungUp <- err
					}()
					<-s.running
					if slow {
						s.proxy.add("latency", "downstream", `"latency":200`)
						s.leave <- struct{}{}
					}
					disconnect()
					if err := <-hungUp; !errors.Is(err, context.Canceled) {
						t.Fatalf("the client did not disconnect: %v", err)
					}
					if !slow {
						<-s.gone
						s.leave <- struct{}{}
					}
					<-s.over
					s.proxy.mend()
					session.sent, session.acked = append(session.sent, id), append(session.acked, id)
				}
				if n := l.verify(g, session); n != 2 {
					t.Errorf("%d of 2 writes are there", n)
				}
			})
		})
	}
}
