//go:build unix

package faults

import (
	"fmt"
	"testing"

	"github.com/samesid/samesid/internal/rig"
)

func TestConnectionRefused(t *testing.T) {
	onNetwork(t, limits{}, func(t *testing.T, s *system) {
		l := s.run(t)
		s.proxy.Stop()
		out(l, allFailTwice)
		s.proxy.start()
		l.Recover()
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

// Answers come shortly before the timeout. Concurrent requests of one session conflict, and
// each conflict costs two more answers. Without a limit, some requests would take half a
// minute.
func TestLateAnswers(t *testing.T) {
	onNetwork(t, limits{wait: late * 5 / 4}, func(t *testing.T, s *system) {
		// The first group never logs out: logins would follow each other, not conflict.
		l := rig.Start(t, []string{s.url}, rig.Options{Sizes: []int{13, 1}, Stays: true, Limit: utmost})
		s.proxy.add("latency", "downstream", fmt.Sprintf(`"latency":%d`, late.Milliseconds()))
		l.Next(false)
		l.Await("answers", rig.Each(func(c rig.Tally) bool { return c.OK()+c.Failed >= 3 }))
		l.Await("answers of the session with conflicts", func(groups []*rig.Group) bool {
			return groups[0].Tally.OK()+groups[0].Tally.Failed >= 40
		})
		s.proxy.mend()
		l.Recover()
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
func during(t *testing.T, enough func([]*rig.Group) bool, begin func(*proxy)) {
	onNetwork(t, limits{}, func(t *testing.T, s *system) {
		l := s.run(t)
		begin(s.proxy)
		out(l, enough)
		s.proxy.mend()
		l.Recover()
	})
}

// Data arrives in tiny pieces, and closing a connection takes a while.
func TestSlowNetwork(t *testing.T) {
	onNetwork(t, limits{}, func(t *testing.T, s *system) {
		l := s.run(t)
		s.proxy.add("slow_close", "downstream", `"delay":1000`)
		s.proxy.add("slicer", "downstream", `"average_size":2,"delay":20000`) // microseconds
		l.Next(false)
		l.Await("failures", someFail)
		s.proxy.mend()
		l.Recover()
	})
}

// With a slow server and fewer connections than requests, requests wait for a connection
// until they time out.
func TestPoolExhausted(t *testing.T) {
	onNetwork(t, limits{conns: 2}, func(t *testing.T, s *system) {
		l := s.run(t)
		s.proxy.add("latency", "downstream", `"latency":150`)
		l.Next(false)
		l.Await("failures", someFail)
		l.Await("a request that is served", rig.Sum(func(c rig.Tally) bool { return c.OK() > 0 }))
		s.proxy.mend()
		l.Recover()
	})
}

// A write succeeds but its acknowledgement is lost, with or without the connection. The
// write is retried if it is idempotent, or else answered with 503. It never happens
// twice.
func TestUnknownOutcome(t *testing.T) {
	t.Parallel()
	for name, hold := range map[string]string{"closed": `"hold":false`, "silent": `"hold":true`} {
		t.Run(name, func(t *testing.T) {
			onNetwork(t, limits{}, func(t *testing.T, s *system) {
				l := s.run(t)
				acks := s.proxy.add("lose_acks", "downstream", hold).(*loseAcks)
				l.Next(false)
				l.Await("writes whose outcome is unknown", func([]*rig.Group) bool { return acks.lost.Load() >= 4 })
				l.Await("the others' success", rig.Each(func(c rig.Tally) bool { return c.Pages >= 1 }))
				s.proxy.mend()
				l.Recover()
			})
		})
	}
}

// A session is saved even if its client disconnects while the request runs or while it
// is being saved.
func TestClientDisconnects(t *testing.T) {
	onNetwork(t, limits{}, func(t *testing.T, s *system) {
		u := rig.NewUser(t, "ada", s.url)
		u.Login()
		u.HangUp(t.Context(), "in-the-handler", "1", nil)
		u.HangUp(t.Context(), "in-the-save", "2", func() { s.proxy.add("latency", "downstream", `"latency":200`) })
		s.proxy.mend()
		u.Sees("in-the-handler=1 in-the-save=2")
	})
}
