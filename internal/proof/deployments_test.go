//go:build unix

package proof

import (
	"strings"
	"testing"

	"github.com/samesid/samesid/internal/eachstore"
	"github.com/samesid/samesid/internal/rig"
	"github.com/samesid/samesid/internal/testserver"
)

// requests is how many requests the users of these tests have answered at least: 20,000 if
// thorough.
func requests() int {
	if testserver.Thorough() {
		return 20000
	}
	return 1000
}

func answered(n int) func([]*rig.Group) bool {
	return rig.Sum(func(c rig.Tally) bool { return c.OK() >= n })
}

// Two processes share sessions through a PgBouncer that gives each transaction another
// connection. Nothing is lost, and nobody sees another's page.
func TestTwoProcessesBehindPgBouncer(t *testing.T) {
	t.Parallel()
	eachstore.RunOwn(t, true, func(t *testing.T, p *eachstore.Place) {
		pooler := testserver.StartPgBouncer(t, p.Server, "pool_mode=transaction", "default_pool_size=3")
		p.Settings["schemaName"] = strings.Trim(p.Schema(t), `"`) // a pooler has no search_path
		p.URL = pooler.URL
		file := configFile(t, p)
		load := rig.Start(t, []string{startApp(t, file).url, startApp(t, file).url}, rig.Options{})
		load.Next(false)
		for i := range 10 {
			load.Await("answers", answered(requests()*(i+1)/10))
		}
		load.Stop()
		load.Verify()
	}, eachstore.IsOf("postgres"))
}

// Two processes share sessions on a Redis Cluster whose masters hand over to their replicas,
// and then die. What was acknowledged before a hand-over is there; no logout is undone by a death.
func TestTwoProcessesOnACluster(t *testing.T) {
	t.Parallel()
	eachstore.RunSome(t, func(t *testing.T, k eachstore.Kind) {
		cluster := testserver.StartCluster(t, 3)
		p := &eachstore.Place{Kind: k, URL: "redis-cluster://" + strings.Join(cluster.Addrs, ","), Settings: eachstore.Settings{
			"layout": k.Layout.Name, "waitReplicas": 1,
		}}
		file := configFile(t, p)
		load := rig.Start(t, []string{startApp(t, file).url, startApp(t, file).url}, rig.Options{})
		load.Next(false)
		for i, master := range cluster.Masters() {
			cluster.Failover(cluster.Replica(master))
			cluster.Ready()
			load.Await("answers", answered(requests()*(i+1)/4))
		}
		master := cluster.Masters()[0]
		heir := cluster.Replica(master)
		load.Forget() // to the end: the old master takes writes for a moment when it is back
		cluster.Node(master).Kill()
		cluster.Promoted(heir)
		cluster.Node(master).Start()
		cluster.Ready()
		load.Await("answers", answered(requests()))
		load.Recover()
	}, eachstore.IsOf("redis"))
}
