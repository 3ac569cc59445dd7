//go:build unix

package proof

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends"
	"github.com/samesid/samesid/backends/contract"
	"github.com/samesid/samesid/internal/eachstore"
	"github.com/samesid/samesid/internal/interleave"
)

// busyStore is a store with one connection, each of whose calls comes amid others of the same
// kind, so that it shares a command with them.
type busyStore struct {
	fullStore
	name  string
	known [8][]byte // the records of the others
	data  [2][]byte // of which each is one
	calls atomic.Int64
}

type fullStore interface {
	backends.Store
	interleave.Store
}

// inCrowd begins the ids of the sessions of a busyStore.
const inCrowd = "in-a-crowd-"

func (c *busyStore) id(i int) string { return fmt.Sprint(inCrowd, c.name, i) }

// fill writes the others' records.
func (c *busyStore) fill(ctx context.Context, expiry time.Time) error {
	for i := range c.known {
		c.known[i] = c.data[0]
		if err := c.CommitCtx(ctx, c.id(i), c.known[i], expiry); err != nil {
			return err
		}
	}
	return nil
}

// amid runs a call and one of each of the others at once, once there are these.
func (c *busyStore) amid(call func(), other func(i int) (done bool, err error)) {
	if c.known[0] == nil {
		call()
		return
	}
	var all sync.WaitGroup
	for i := range c.known {
		if i == len(c.known)/2 {
			all.Go(call)
		}
		all.Go(func() {
			if done, err := other(i); !done || err != nil {
				panic(fmt.Sprintf("proof: another call: %t, %v", done, err))
			}
		})
	}
	all.Wait()
	c.calls.Add(int64(1 + len(c.known)))
}

func (c *busyStore) FindCtx(ctx context.Context, token string) (data []byte, found bool, err error) {
	c.amid(func() { data, found, err = c.fullStore.FindCtx(ctx, token) }, func(i int) (bool, error) {
		_, found, err := c.fullStore.FindCtx(ctx, c.id(i))
		return found, err
	})
	return data, found, err
}

func (c *busyStore) FindTouch(ctx context.Context, token string, expiry time.Time) (data []byte, found bool, err error) {
	c.amid(func() { data, found, err = c.fullStore.FindTouch(ctx, token, expiry) }, func(i int) (bool, error) {
		_, found, err := c.fullStore.FindTouch(ctx, c.id(i), expiry)
		return found, err
	})
	return data, found, err
}

func (c *busyStore) FindExpiry(ctx context.Context, token string) (data []byte, expiry time.Time, found bool, err error) {
	c.amid(func() { data, expiry, found, err = c.fullStore.FindExpiry(ctx, token) }, func(i int) (bool, error) {
		_, _, found, err := c.fullStore.FindExpiry(ctx, c.id(i))
		return found, err
	})
	return data, expiry, found, err
}

func (c *busyStore) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) (current []byte, swapped bool, err error) {
	touch := bytes.Equal(old, data)
	c.amid(func() { current, swapped, err = c.fullStore.Swap(ctx, token, old, data, expiry) }, func(i int) (bool, error) {
		known := c.known[i]
		if !touch {
			c.known[i] = c.data[0]
			if bytes.Equal(known, c.data[0]) {
				c.known[i] = c.data[1]
			}
		}
		_, swapped, err := c.fullStore.Swap(ctx, c.id(i), known, c.known[i], time.Now().Add(time.Hour))
		return swapped, err
	})
	return current, swapped, err
}

func (c *busyStore) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) (current [][]byte, moved bool, err error) {
	c.amid(func() { current, moved, err = c.fullStore.Move(ctx, from, to, data, expiry) }, func(i int) (bool, error) {
		_, found, err := c.fullStore.FindCtx(ctx, c.id(i))
		return found, err
	})
	return current, moved, err
}

// JSONRecords returns the store's own answer.
func (c *busyStore) JSONRecords() bool {
	j, ok := c.fullStore.(contract.JSONRecorder)
	return ok && j.JSONRecords()
}

// relay has a place reached by a detour that counts how often its stores send something.
func relay(t *testing.T, p *eachstore.Place) (sent *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	to := p.Host(t)
	u, err := url.Parse(p.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = l.Addr().String()
	p.URL = u.String()
	sent = new(atomic.Int64)
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				client.Close()
				continue
			}
			go func() {
				defer server.Close()
				b := make([]byte, 1<<16)
				for {
					n, err := client.Read(b)
					if err != nil {
						return
					}
					sent.Add(1)
					if _, err := server.Write(b[:n]); err != nil {
						return
					}
				}
			}()
			go func() {
				defer client.Close()
				_, _ = io.Copy(client, server)
			}()
		}
	}()
	return sent
}

// Random schedules of requests whose store calls share commands with others.
func TestSchedulesInBatches(t *testing.T) {
	t.Parallel()
	n, seed := schedules(t)
	eachstore.RunSome(t, func(t *testing.T, k eachstore.Kind) {
		t.Parallel()
		p := k.Place(t)
		sent := relay(t, p)
		var busy []*busyStore
		var stores []backends.Store
		for i := range 2 {
			c := &busyStore{fullStore: p.Open(t, eachstore.Settings{"maxConnections": 1}).(fullStore), name: fmt.Sprint(i, "-")}
			busy, stores = append(busy, c), append(stores, c)
		}
		sp := newSchedulePlace(t, stores, adapter.Options{})
		random := rand.New(rand.NewPCG(seed, 2))
		sp.busy = busy
		var calls int64
		before := sent.Load()
		for i := range n {
			which := fmt.Sprintf("SCHEDULES_SEED=%d, schedule %d in batches", seed, i)
			sp.scheduled(t, which, pick(random, 3), func(_ int, can []int) int { return can[random.IntN(len(can))] })
		}
		for _, c := range busy {
			calls += c.calls.Load()
		}
		if sends := sent.Load() - before; sends > calls*2/3 {
			t.Errorf("%d calls were sent in %d commands: they don't share", calls, sends)
		}
	}, eachstore.Kind.HasServer)
}
