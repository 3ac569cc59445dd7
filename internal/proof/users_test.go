//go:build unix

package proof

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends"
	"github.com/samesid/samesid/internal/eachstore"
	"github.com/samesid/samesid/internal/interleave"
	"github.com/samesid/samesid/internal/leaktest"
	"github.com/samesid/samesid/internal/wire"
)

// TestEndOfAUser runs DestroyUser beside logins, renewals, saves, merges and touches in
// another process, on each store: with a schedule of their store calls, and all at once.
// Afterwards the user has no session.
func TestEndOfAUser(t *testing.T) {
	n, seed := schedules(t)
	t.Parallel()
	eachstore.RunSome(t, func(t *testing.T, k eachstore.Kind) {
		t.Parallel()
		p := k.Place(t)
		stores := []backends.Store{p.Open(t), nil}
		if stores[1] = stores[0]; k.Lasts() {
			stores[1] = p.Open(t)
		}
		var turns interleave.Turns
		var log leaktest.Log
		var managers []*adapter.Manager
		for _, store := range stores {
			m, err := adapter.New(adapter.Options{
				Secrets: []string{foreignSecret}, GenID: interleave.GenID, Logger: log.Logger(), UserPath: "user",
				Store: turns.ScheduledUsers(store.(interleave.UserStore)),
			})
			if err != nil {
				t.Fatal(err)
			}
			managers = append(managers, m)
		}
		random := rand.New(rand.NewPCG(seed, 2))
		reset := func() (cookie string) {
			if err := stores[0].Clear(t.Context()); err != nil {
				t.Fatal(err)
			}
			ids := []string{scheduledID, interleave.Other, "an-anonymous-one"}
			for i, id := range ids {
				ctx, err := managers[0].LoadID(t.Context(), "")
				if err != nil {
					t.Fatal(err)
				}
				if i < 2 {
					managers[0].Put(ctx, "user", interleave.Ann)
				} else {
					managers[0].Put(ctx, "cart", 1)
				}
				made, expiry, err := managers[0].Commit(ctx)
				if err != nil {
					t.Fatal(err)
				}
				data, _, err := stores[0].FindCtx(t.Context(), made)
				if err == nil {
					err = stores[0].DeleteCtx(t.Context(), made)
				}
				if err == nil && i < 2 {
					err = stores[0].(interleave.UserStore).NoteUser(t.Context(), interleave.Ann, id, time.Hour)
				}
				if err == nil {
					err = stores[0].CommitCtx(t.Context(), id, data, expiry)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			signed := wire.NewSigner([]string{foreignSecret}).Sign(ids[2*random.IntN(2)])
			leaktest.Note(signed)
			return "connect.sid=" + wire.EncodeURIComponent(signed)
		}
		check := func(requests []interleave.Script, which string) {
			t.Helper()
			if err := managers[0].Iterate(t.Context(), func(ctx context.Context) error {
				if managers[0].GetString(ctx, "user") == interleave.Ann {
					return fmt.Errorf("%s: %s is alive (SCHEDULES_SEED=%d, %s)", names(requests), interleave.Name(managers[0].Token(ctx)), seed, which)
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 3 * n {
			requests := []interleave.Script{interleave.EndUser}
			for range 1 + random.IntN(3) {
				requests = append(requests, interleave.SignIns[random.IntN(len(interleave.SignIns))])
			}
			cookie := reset()
			run := turns.Do(requests, managers, cookie, func(_ int, can []int) int { return can[random.IntN(len(can))] }, func() bool { return true })
			check(requests, fmt.Sprintf("schedule %d: %v", i, run.Chosen))

			cookie = reset()
			var wg sync.WaitGroup
			for i, r := range requests {
				wg.Go(func() {
					if i == 0 { // so that the others are under way
						time.Sleep(time.Duration(random.IntN(1000)) * time.Microsecond)
					}
					interleave.Serve(managers[i%2], r, i, cookie)
				})
			}
			wg.Wait()
			// A request that began after the end has signed in.
			if _, err := managers[0].DestroyUser(t.Context(), interleave.Ann); err != nil {
				t.Fatal(err)
			}
			check(requests, fmt.Sprintf("race %d", i))
		}
	})
}

// TestSignInAfterTheEnd signs a user in by the request that has ended all sessions of the
// user, as after a new password, and by one that begins right afterwards. Neither is taken
// for a login that was under way, however long the store's answers take. One that was, is.
func TestSignInAfterTheEnd(t *testing.T) {
	t.Parallel()
	eachstore.RunSome(t, func(t *testing.T, k eachstore.Kind) {
		t.Parallel()
		m, err := adapter.New(adapter.Options{
			Secrets: []string{foreignSecret}, UserPath: "user", Store: k.Place(t).Open(t), Logger: (&leaktest.Log{}).Logger(),
		})
		if err != nil {
			t.Fatal(err)
		}
		var user string
		load := func(id string) context.Context {
			t.Helper()
			ctx, err := m.LoadID(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			return ctx
		}
		signIn := func(ctx context.Context, want error, what string) (id string) {
			t.Helper()
			m.Put(ctx, "user", user)
			if _, _, err := m.Commit(ctx); !errors.Is(err, want) {
				t.Fatalf("%s: %v, want %v", what, err, want)
			}
			return m.ID(ctx)
		}
		ended := func(_ int, err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		for i := range 20 {
			user = fmt.Sprint("user", i)
			early := load("")
			own := load(signIn(load(""), nil, "at first"))
			ended(m.DestroyOthers(own, user))
			if err := m.RenewToken(own); err != nil {
				t.Fatal(err)
			}
			signIn(own, nil, "the request that has ended the others, with a new id")

			own = load("")
			ended(m.DestroyUser(own, user))
			signIn(own, nil, "the request that has ended all")
			signIn(load(""), nil, "another one, afterwards")
			signIn(early, adapter.ErrUserEnded, "one from before")

			own = load("")
			ended(m.DestroyUser(own, user))
			ended(m.DestroyUser(t.Context(), user))
			signIn(own, adapter.ErrUserEnded, "the request that has ended all, and was followed by another end")
		}
	})
}

// The sessions of one user are found among those of many others. TEST_SESSIONS sets how
// many there are.
func TestUserAmongMany(t *testing.T) {
	n := fewest
	if text := os.Getenv("TEST_SESSIONS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatalf("TEST_SESSIONS is %q, want a number", text)
		}
	}
	eachstore.RunOwn(t, false, func(t *testing.T, p *eachstore.Place) {
		store := p.Open(t, eachstore.Settings{"timeout": time.Minute})
		var log leaktest.Log
		m, err := adapter.New(adapter.Options{Secrets: []string{foreignSecret}, Store: store, UserPath: "user.id", Logger: log.Logger()})
		if err != nil {
			t.Fatal(err)
		}
		begin := func(user string) (id string) {
			ctx, err := m.LoadID(t.Context(), "")
			if err == nil {
				err = adapter.Put(ctx, m, "user", map[string]string{"id": user, "name": "somebody"})
			}
			if err == nil {
				id, _, err = m.Commit(ctx)
			}
			if err != nil {
				t.Fatal(err)
			}
			leaktest.Note(id)
			return id
		}
		records := p.Records(t, store)
		records.Fill(t, filled, n, records.Get(t, begin("another")), time.Now().Add(time.Hour))
		for range 3 {
			begin("ann")
		}
		before, err := store.Len(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		start, found := time.Now(), 0
		if err := m.IterateUser(t.Context(), "ann", func(context.Context) error { found++; return nil }); err != nil {
			t.Fatal(err)
		}
		listed := time.Since(start)
		start = time.Now()
		ended, err := m.DestroyUser(t.Context(), "ann")
		if err != nil {
			t.Fatal(err)
		}
		took := time.Since(start)
		after, err := store.Len(t.Context())
		if found != 3 || ended != 3 || before-after != 3 || err != nil {
			t.Errorf("found %d, ended %d of 3 sessions; there were %d, and are %d; %v", found, ended, before, after, err)
		}
		if strings.Contains(log.String(), "no index of users") {
			t.Error("all sessions are read")
		}
		t.Logf("among %d sessions of others, 3 were listed in %v and ended in %v", n, listed, took)
	})
}
