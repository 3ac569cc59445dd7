//go:build unix

package faults

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/samesid/samesid/backends/redis"
	"github.com/samesid/samesid/internal/leaktest"
	"github.com/samesid/samesid/internal/testserver"
)

// Slots move and masters hand over under load, and nothing that was acknowledged is lost.
// A new id moves a session to another node, in two steps. Then a master dies: what its
// replica has not heard of may be lost with it, but no logout that was acknowledged.
func TestRedisCluster(t *testing.T) {
	for _, layout := range redisLayouts {
		t.Run(layout, func(t *testing.T) {
			t.Parallel()
			cluster := testserver.StartCluster(t, 3)
			o := redis.Options{Layout: redis.Layout(layout), WaitReplicas: 1}
			s := newSystem(t, "", "redis-cluster://"+strings.Join(cluster.Addrs, ","), o, limits{})
			l := s.run(t)
			status, header, _, err := l.request("POST", "/login", "", "username=renewing&password="+password)
			cookie := cookieOf(header)
			if status != http.StatusOK || cookie == "" || err != nil {
				t.Fatalf("login: %d, %v", status, err)
			}
			masters := cluster.Masters()
			for slot := range 30 {
				from, to := masters[0], masters[1]
				cluster.Open(slot, from, to)
				for cluster.Move(slot, from, to, 10) > 0 {
				}
				status, header, _, err := l.request("POST", "/renew", cookie, "")
				next := cookieOf(header)
				if status != http.StatusOK || next == "" || next == cookie || err != nil {
					t.Errorf("a new id: %d, %v", status, err)
					continue
				}
				for c, want := range map[string]string{cookie: "", next: "renewing"} {
					if status, _, body, err := l.request("GET", "/page", c, ""); status != http.StatusOK || body != want || err != nil {
						t.Errorf("after a new id, a page greets %q, want %q: %d, %v", body, want, status, err)
					}
				}
				cookie = next
				cluster.Done(slot, from, to)
			}
			l.next(false)
			cluster.Failover(cluster.Replica(masters[0]))
			cluster.Ready()
			l.await("answers", each(func(c tally) bool { return c.pages >= 1 && c.writes >= 20 }))
			l.recover()

			l = s.run(t)
			victim := cluster.Masters()[0]
			heir := cluster.Replica(victim)
			l.forget()
			cluster.Node(victim).Kill()
			until(t, "the heir", func() bool { return cluster.IsMaster(heir) })
			cluster.Node(victim).Start()
			cluster.Ready()
			l.recover()
		})
	}
}

func cookieOf(header http.Header) string {
	cookie, _, _ := strings.Cut(header.Get("Set-Cookie"), ";")
	if cookie != "" {
		leaktest.Note(strings.TrimPrefix(cookie, "connect.sid="))
	}
	return cookie
}

// The Sentinels promote the replica of a master that dies.
func TestRedisSentinel(t *testing.T) {
	for _, layout := range redisLayouts {
		t.Run(layout, func(t *testing.T) {
			t.Parallel()
			sentinels := testserver.StartSentinels(t, "")
			o := redis.Options{Layout: redis.Layout(layout), WaitReplicas: 1, WaitTimeout: 100 * time.Millisecond}
			l := newSystem(t, "", "redis-sentinel://"+strings.Join(sentinels.Addrs, ",")+"/mymaster", o, limits{}).run(t)
			l.next(false)
			l.await("answers", each(func(c tally) bool { return c.pages >= 1 && c.writes >= 20 }))
			l.forget()
			sentinels.Master.Kill()
			sentinels.Promoted(sentinels.Other, "")
			sentinels.Master.Start()
			l.recover()
		})
	}
}
