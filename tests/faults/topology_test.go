//go:build unix

package faults

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/samesid/samesid/internal/eachstore"
	"github.com/samesid/samesid/internal/rig"
	"github.com/samesid/samesid/internal/testserver"
)

// onServers runs a test on layouts of Redis (eachstore.RunSome), with servers of its own. A
// logout waits for a replica.
func onServers(t *testing.T, test func(*testing.T, func(url string) *system)) {
	t.Parallel()
	eachstore.RunSome(t, func(t *testing.T, k eachstore.Kind) {
		t.Parallel()
		test(t, func(url string) *system {
			p := &eachstore.Place{Kind: k, URL: url, Settings: eachstore.Settings{
				"layout": k.Layout.Name, "waitReplicas": 1,
			}}
			return &system{Place: p, url: serve(t, limits{}.config(p))}
		})
	}, eachstore.IsOf("redis"))
}

// Slots move and masters hand over under load, and nothing that was acknowledged is lost.
// A new id moves a session to another node, in two steps. Then a master dies: what its
// replica has not heard of may be lost with it, but no logout that was acknowledged.
func TestRedisCluster(t *testing.T) {
	onServers(t, func(t *testing.T, on func(string) *system) {
		cluster := testserver.StartCluster(t, 3)
		s := on("redis-cluster://" + strings.Join(cluster.Addrs, ","))
		l := s.run(t)
		u := rig.NewUser(t, "renewing", s.url)
		u.Login()
		masters := cluster.Masters()
		for slot := range 30 {
			from, to := masters[0], masters[1]
			cluster.Open(slot, from, to)
			for cluster.Move(slot, from, to, 10) > 0 {
			}
			old := *u
			if a := u.Do("POST", "/renew", ""); a.Status != http.StatusOK || u.Cookie == old.Cookie {
				t.Fatalf("a new id: %v", a)
			}
			u.Put("slot", fmt.Sprint(slot))
			u.Sees(fmt.Sprintf("slot=%d", slot))
			old.IsOut()
			cluster.Done(slot, from, to)
		}
		l.Next(false)
		cluster.Failover(cluster.Replica(masters[0]))
		cluster.Ready()
		l.Await("answers", rig.Each(func(c rig.Tally) bool { return c.Pages >= 1 && c.Writes >= 20 }))
		l.Recover()

		l = s.run(t)
		victim := cluster.Masters()[0]
		heir := cluster.Replica(victim)
		l.Forget() // to the end: the old master takes writes for a moment when it is back
		cluster.Node(victim).Kill()
		cluster.Promoted(heir)
		cluster.Node(victim).Start()
		cluster.Ready()
		l.Recover()
	})
}

// The Sentinels promote the replica of a master that dies.
func TestRedisSentinel(t *testing.T) {
	onServers(t, func(t *testing.T, on func(string) *system) {
		sentinels := testserver.StartSentinels(t, "")
		l := on("redis-sentinel://" + strings.Join(sentinels.Addrs, ",") + "/mymaster").run(t)
		l.Next(false)
		l.Await("answers", rig.Each(func(c rig.Tally) bool { return c.Pages >= 1 && c.Writes >= 20 }))
		l.Forget() // to the end: the old master takes writes for a moment when it is back
		sentinels.Master.Kill()
		sentinels.Promoted(sentinels.Other, "")
		sentinels.Master.Start()
		l.Recover()
	})
}
