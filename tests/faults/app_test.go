//go:build unix

package faults

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends"
	"github.com/samesid/samesid/backends/sqlite"
	"github.com/samesid/samesid/internal/eachstore"
	"github.com/samesid/samesid/internal/leaktest"
	"github.com/samesid/samesid/internal/rig"
	"github.com/samesid/samesid/internal/testserver"
)

const (
	// timeout is the timeout of the stores under test, for a connection and for an
	// answer. It is short to keep the tests short.
	timeout = 500 * time.Millisecond

	// pace is the pause of the clients. They mostly wait, so tests can run in parallel.
	pace = 100 * time.Millisecond

	// late is how late answers are in TestLateAnswers.
	late = 800 * time.Millisecond

	// utmost is the maximum time of an answer there: the 10 seconds in which a session must
	// be saved, and two statements, the one that loads it and the last one that begins
	// within the 10 seconds. Each has its timeout, and one more second, in which a Postgres
	// server may answer a cancellation.
	utmost = 10*time.Second + 2*(late*5/4+time.Second)
)

// Of more tests at a time, each would be late for the others' load.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// system is an app, reached over HTTP, and the proxy to its store's server, if it has one.
type system struct {
	*eachstore.Place
	proxy *proxy
	url   string
}

// limits are options of the stores. Zero value of wait: timeout.
type limits struct {
	conns int
	wait  time.Duration // for a connection, and for an answer
	share bool          // else calls that wait for one of conns don't share it
}

// newSystem starts an app on a place, with a proxy before its server, if it has one.
func newSystem(t *testing.T, p *eachstore.Place, l limits) *system {
	t.Helper()
	cfg := l.config(p)
	var proxy *proxy
	if p.HasServer() {
		proxy = newProxy(t, p.Host(t))
		cfg.URL = proxy.url(p.URL)
	}
	return &system{Place: p, proxy: proxy, url: serve(t, cfg)}
}

func (l limits) config(p *eachstore.Place) backends.Config {
	wait := cmp.Or(l.wait, timeout)
	settings := eachstore.Settings{
		"maxConnections": l.conns, "timeout": wait, "connectTimeout": wait, "cleanupInterval": time.Duration(-1),
	}
	if l.conns > 0 && !l.share {
		settings["noBatching"] = true // else a few connections serve many calls
	}
	return p.Config(settings)
}

// serve starts an app on a store, and returns its URL.
func serve(t *testing.T, cfg backends.Config) string {
	t.Helper()
	cfg.Logger = slog.New(slog.NewTextHandler(leaktest.Copy(io.Discard), nil))
	var store backends.Store
	testserver.Until(t, "the store is open", func() bool { // on a busy machine, its timeouts are too short at times
		var err error
		store, err = backends.Open(t.Context(), cfg, sqlite.Backend)
		if err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		return err == nil
	})
	t.Cleanup(func() { store.Close() })
	_, server := rig.Serve(t, adapter.Options{Store: store, Logger: cfg.Logger})
	return server.URL
}

// run starts the load. sizes are the sizes of its groups; without any, they are the
// default.
func (s *system) run(t *testing.T, sizes ...int) *rig.Load {
	t.Helper()
	return rig.Start(t, []string{s.url}, rig.Options{Sizes: sizes, Stays: true, Pace: pace})
}

// onNetwork runs a test on layouts (eachstore.RunSome) of the stores with a server that meet
// all conditions, in parallel.
func onNetwork(t *testing.T, l limits, test func(*testing.T, *system), conditions ...func(eachstore.Kind) bool) {
	t.Parallel()
	eachstore.RunSome(t, func(t *testing.T, k eachstore.Kind) {
		t.Parallel()
		test(t, newSystem(t, k.Place(t), l))
	}, append(conditions, eachstore.Kind.HasServer)...)
}

// onOwn runs a test on layouts (eachstore.RunOwn) of the stores that meet all conditions, with
// servers of the test's own.
func onOwn(t *testing.T, l limits, test func(*testing.T, *system), conditions ...func(eachstore.Kind) bool) {
	t.Parallel()
	eachstore.RunOwn(t, true, func(t *testing.T, p *eachstore.Place) { test(t, newSystem(t, p, l)) }, conditions...)
}

// out waits until all clients have failed, now that the store is out.
func out(l *rig.Load, enough func([]*rig.Group) bool) {
	l.Next(true)
	l.Await("failures", enough)
	l.Next(false)
}

var (
	allFail      = rig.Each(func(c rig.Tally) bool { return c.Failed >= 1 })
	allFailTwice = rig.Each(func(c rig.Tally) bool { return c.Failed >= 2 })
	someFail     = rig.Sum(func(c rig.Tally) bool { return c.Failed >= 16 })
)
