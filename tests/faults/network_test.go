//go:build unix

package faults

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"testing"

	"github.com/samesid/samesid/backends/driver"
	"github.com/samesid/samesid/backends/postgres"
	"github.com/samesid/samesid/backends/redis"
	"github.com/samesid/samesid/internal/testserver"
)

var (
	redisLayouts    = driver.Names(redis.Backend.Layouts)
	postgresLayouts = driver.Names(postgres.Backend.Layouts)
)

// onEach runs a test on each layout of both servers, in parallel.
func onEach(t *testing.T, l limits, test func(t *testing.T, s *system)) {
	for _, layout := range redisLayouts {
		t.Run("redis "+layout, func(t *testing.T) {
			t.Parallel()
			url := testserver.Redis(t)
			test(t, newSystem(t, host(t, url), url, redis.Options{Layout: redis.Layout(layout), Prefix: testserver.Prefix(t)}, l))
		})
	}
	for _, layout := range postgresLayouts {
		t.Run("postgres "+layout, func(t *testing.T) {
			t.Parallel()
			url, _ := testserver.Schema(t)
			test(t, newSystem(t, host(t, url), url, postgres.Options{Layout: postgres.Layout(layout)}, l))
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
	onEach(t, limits{}, func(t *testing.T, s *system) {
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

// Each connection closes after the first bytes of a reply.
func TestReplyCut(t *testing.T) {
	during(t, allFailTwice, func(p *proxy) { p.add("limit_data", "downstream", `"bytes":3`) })
}

func TestLatency(t *testing.T) {
	during(t, allFail, func(p *proxy) { p.add("latency", "downstream", `"latency":3000`) })
}

// Answers come after the timeout, but Postgres's not too late: it has one more second to
// answer a cancellation, and an answer in that time counts. Concurrent requests of one
// session conflict, and each conflict costs two more answers. Without a limit, some
// requests would take half a minute.
func TestLateAnswers(t *testing.T) {
	t.Parallel() // with TestUnknownOutcome, which takes as long
	onEach(t, limits{}, func(t *testing.T, s *system) {
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

// No data arrives in either direction, and no connection is closed.
func TestBlackHole(t *testing.T) {
	during(t, allFail, func(p *proxy) {
		p.add("timeout", "upstream", `"timeout":0`)
		p.add("timeout", "downstream", `"timeout":0`)
	})
}

// during runs the load during a fault with which nothing can succeed.
func during(t *testing.T, enough func([]*group) bool, begin func(*proxy)) {
	onEach(t, limits{}, func(t *testing.T, s *system) {
		l := s.run(t)
		begin(s.proxy)
		l.next(true)
		l.await("failures", enough)
		l.next(false)
		s.proxy.mend()
		l.recover()
	})
}

// Data arrives in tiny pieces, and closing a connection takes a while.
func TestSlowNetwork(t *testing.T) {
	onEach(t, limits{}, func(t *testing.T, s *system) {
		l := s.run(t)
		s.proxy.add("slow_close", "downstream", `"delay":1000`)
		s.proxy.add("slicer", "downstream", `"average_size":2,"delay":20000`) // microseconds
		l.next(false)
		l.await("failures", someFail)
		s.proxy.mend()
		l.recover()
	})
}

// With a slow server and fewer connections than requests, requests wait for a connection
// until they time out.
func TestPoolExhausted(t *testing.T) {
	onEach(t, limits{conns: 2}, func(t *testing.T, s *system) {
		l := s.run(t)
		s.proxy.add("latency", "downstream", `"latency":150`)
		l.next(false)
		l.await("failures", someFail)
		l.await("a request that is served", all(func(c tally) bool { return c.ok() > 0 }))
		s.proxy.mend()
		l.recover()
	})
}

// A write succeeds but its acknowledgement is lost, with or without the connection. The
// write is retried if it is idempotent, or else answered with 503. It never happens
// twice.
func TestUnknownOutcome(t *testing.T) {
	t.Parallel()
	for name, hold := range map[string]string{"closed": `"hold":false`, "silent": `"hold":true`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onEach(t, limits{}, func(t *testing.T, s *system) {
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

// A session is saved even if its client disconnects while the request runs or while it
// is being saved.
func TestClientDisconnects(t *testing.T) {
	for name, slow := range map[string]bool{"in the handler": false, "in the save": true} {
		t.Run(name, func(t *testing.T) {
			onEach(t, limits{}, func(t *testing.T, s *system) {
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
