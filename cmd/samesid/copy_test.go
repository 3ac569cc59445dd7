//go:build unix

package main

import (
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/internal/eachstore"
)

// users sign in, change something and log out.
type users struct {
	mu  sync.Mutex
	in  map[string]int // the visits of those who are signed in, by session id
	out []string       // the ids of those who have logged out
}

// run lets so many of them act, at most, until stop is called.
func (u *users) run(t *testing.T, m *adapter.Manager, steps int64) (stop func()) {
	var ended sync.WaitGroup
	var left atomic.Int64
	left.Store(steps)
	for range 4 {
		ended.Go(func() {
			for left.Add(-1) >= 0 {
				u.step(t, m)
			}
		})
	}
	return func() { left.Store(0); ended.Wait() }
}

// take removes someone who is signed in.
func (u *users) take() (id string, visits int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for id, visits = range u.in { // in a random order
		break
	}
	delete(u.in, id)
	return id, visits
}

func (u *users) put(id string, visits int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.in[id] = visits
}

func (u *users) step(t *testing.T, m *adapter.Manager) {
	if rand.IntN(3) == 0 {
		u.put(signIn(t, m, "late", 1), 1)
		return
	}
	id, visits := u.take()
	ctx, err := m.LoadID(t.Context(), id)
	if err != nil {
		t.Error(err)
		return
	}
	switch rand.IntN(3) {
	case 0:
		err = m.Destroy(ctx)
		u.mu.Lock()
		u.out = append(u.out, id)
		u.mu.Unlock()
	case 1:
		m.Put(ctx, "visits", visits+1)
		err = m.Save(ctx)
		u.put(id, visits+1)
	default: // as after a change of role
		if err = m.RenewToken(ctx); err == nil {
			err = m.Save(ctx)
		}
		u.put(m.ID(ctx), visits)
		u.mu.Lock()
		u.out = append(u.out, id)
		u.mu.Unlock()
	}
	if err != nil {
		t.Error(err)
	}
}

// Users log in and out while the sessions go from Redis to Postgres, to SQLite, and back. All
// who are signed in stay so, and nobody else is. TEST_SESSIONS is how many there are.
func TestCopyWhileInUse(t *testing.T) {
	t.Parallel()
	n := 1000
	if text := os.Getenv("TEST_SESSIONS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	place := func(name string) *eachstore.Place {
		all := eachstore.All()
		return all[slices.IndexFunc(all, func(k eachstore.Kind) bool { return k.String() == name })].Place(t)
	}
	places := []*eachstore.Place{place("redis connect-redis"), place("postgres connect-pg-simple"), place("sqlite scs"), place("redis scs")}
	u := &users{in: map[string]int{}}
	first := open(t, places[0].File(t, settings()))
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			for range n / 50 {
				u.put(signIn(t, first, strconv.Itoa(i), 1), 1)
			}
		})
	}
	all.Wait()
	for i, from := range places[:len(places)-1] {
		t.Run("to "+places[i+1].String(), func(t *testing.T) {
			source, target := from.File(t, settings()), places[i+1].File(t, settings())
			a, b := open(t, source), open(t, target)
			args := []string{"copy", "-c", source, "--to", target, "--yes"}
			stop := u.run(t, a, int64(n))
			if r := samesid(t, "", args...); r.code != notEqual && r.code != 0 {
				t.Errorf("while the app runs, it ended with %d\n%s%s", r.code, r.out, r.err)
			}
			stop()
			t.Log(want(t, 0, "", args, "both stores have the same sessions").out)

			for id, n := range u.in {
				if got := visits(t, b, id); got != n {
					t.Fatalf("a user who is signed in has %d visits, not %d", got, n)
				}
			}
			for _, id := range u.out {
				if visits(t, b, id) != 0 {
					t.Fatal("a session that was ended is alive in the copy")
				}
			}
			t.Logf("%d are signed in, %d sessions have ended", len(u.in), len(u.out))
		})
	}
}
