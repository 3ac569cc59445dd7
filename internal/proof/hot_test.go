//go:build unix

package proof

import (
	"testing"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/internal/eachstore"
	"github.com/samesid/samesid/internal/rig"
)

// onHotSession runs many users of one session, on every layout, and on a store with only
// the methods of scs.Store. Two Managers serve them in turn, as two processes would: what
// synchronizes requests within one Manager must not be necessary for correctness.
func onHotSession(t *testing.T, o rig.Options, test func(*testing.T, *rig.Load)) {
	t.Parallel()
	run := func(t *testing.T, stores ...scs.Store) {
		var urls []string
		for _, s := range stores {
			_, app := rig.Serve(t, adapter.Options{Store: s})
			urls = append(urls, app.URL)
		}
		l := rig.Start(t, urls, o)
		l.Next(false)
		test(t, l)
		l.Stop()
		l.Verify()
		if !rig.Each(func(c rig.Tally) bool { return c.Failed == 0 })(l.Groups) {
			t.Error("requests failed")
		}
	}
	conns := eachstore.Settings{"maxConnections": 16}
	eachstore.RunSome(t, func(t *testing.T, k eachstore.Kind) {
		p := k.Place(t)
		one := p.Open(t, conns)
		if !k.Lasts() {
			run(t, one, one)
			return
		}
		run(t, one, p.Open(t, conns))
	})
	t.Run("memstore", func(t *testing.T) {
		run(t, memstore.NewWithCleanupInterval(0)) // it is safe within one process only
	})
}

// Twenty clients change one session at once: each request is answered, and every
// change is kept.
func TestHotSession(t *testing.T) {
	onHotSession(t, rig.Options{Sizes: []int{20}, Stays: true, Limit: rig.Patience}, func(t *testing.T, l *rig.Load) {
		l.Await("writes", rig.Each(func(c rig.Tally) bool { return c.Writes >= 40 }))
	})
}

// Logouts amid the requests of twenty clients: all of them are answered, those that begin
// after it find nobody signed in, and no write restores the session.
func TestHotLogout(t *testing.T) {
	onHotSession(t, rig.Options{Sizes: []int{20}, Limit: rig.Patience}, func(t *testing.T, l *rig.Load) {
		l.Await("logouts", rig.Each(func(c rig.Tally) bool { return c.Logouts >= 3 }))
	})
}
