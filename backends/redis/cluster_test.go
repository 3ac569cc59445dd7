//go:build unix

package redis_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	redigo "github.com/gomodule/redigo/redis"

	"github.com/samesid/samesid/backends/contract"
	"github.com/samesid/samesid/backends/redis"
	"github.com/samesid/samesid/backends/storetest"
	"github.com/samesid/samesid/internal/testserver"
)

// withoutMove is a store without Move, which a cluster does only within a slot.
type withoutMove struct {
	scs.CtxStore
	scs.IterableStore
	scs.IterableCtxStore
	contract.FindToucher
	contract.FindExpirer
	contract.Swapper
	contract.Ranger
	contract.UserIndex
	lenClearPinger
}

type lenClearPinger interface {
	Len(ctx context.Context) (int, error)
	Clear(ctx context.Context) error
	Ping(ctx context.Context) error
	Close() error
}

// The contract holds on a cluster. With a hash tag in the prefix, all keys are in one slot,
// and Move is atomic too.
func TestStoreOnCluster(t *testing.T) {
	t.Parallel()
	cluster := testserver.StartCluster(t, 3)
	url := "redis://" + strings.Join(cluster.Addrs[:2], ",")
	// Sessions of all slots, which no listing of another prefix may see.
	other := open(t, url, redis.Options{Prefix: "other:"})
	for i := range 100 {
		if err := other.Commit(fmt.Sprint(i), []byte("other"), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	var n atomic.Int64
	for _, c := range []struct {
		name, prefix string
		without      []string
	}{
		{"keys on all nodes", "sess", []string{"Move"}},
		{"keys in one slot", "{sess}", nil},
	} {
		if c.without == nil && !testserver.Thorough() || !testserver.Full() {
			continue // as on one server, or like it
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			prefixes := make(map[scs.CtxStore]string)
			hide := func(s *redis.Store) scs.CtxStore {
				if c.without == nil {
					return s
				}
				return &withoutMove{s, s, s, s, s, s, s, s, s}
			}
			storetest.Run(t, storetest.Harness{
				New: func(t *testing.T) scs.CtxStore {
					prefix := fmt.Sprint(c.prefix, n.Add(1), ":")
					s := hide(open(t, url, redis.Options{Prefix: prefix}))
					prefixes[s] = prefix
					return s
				},
				Reopen: func(t *testing.T, s scs.CtxStore) scs.CtxStore {
					return hide(open(t, "redis://"+cluster.Addrs[2], redis.Options{Prefix: prefixes[s], Mode: "cluster"}))
				},
				Advance: func(t *testing.T, d time.Duration) {
					c := dial(t, "redis://"+cluster.Addrs[0])
					key := ""
					for i := 0; cluster.Slot(key)*3 >= 16384; i++ {
						key = fmt.Sprint(i)
					}
					if _, err := redigo.DoWithTimeout(c, 0, "BLPOP", key, d.Seconds()); err != nil {
						t.Fatal(err)
					}
				},
				Without: c.without,
			})
		})
	}
	t.Cleanup(func() {
		if n, err := other.Len(context.Background()); n != 100 || err != nil {
			t.Errorf("%d of 100 sessions beside are left, %v", n, err)
		}
	})
}

// users are clients of a store, each with a session that it changes, and ends and begins
// anew. They know what must be in the store.
type users struct {
	t    *testing.T
	s    *redis.Store
	stop chan struct{}
	wg   sync.WaitGroup

	mayLose atomic.Bool // a failover may lose what no replica had confirmed, and a master that was replaced what it still confirms

	calls, failed atomic.Int64
	mu            sync.Mutex
	failures      map[string]int
	ended         []string            // acknowledged
	must          map[string][]string // the values that each session may have; the last one was acknowledged, unless a later one failed
}

// startUsers starts n users, whose sessions have ids that begin with name.
func startUsers(t *testing.T, s *redis.Store, name string, n int) *users {
	u := &users{t: t, s: s, stop: make(chan struct{}), failures: make(map[string]int), must: make(map[string][]string)}
	for i := range n {
		u.wg.Go(func() { u.run(fmt.Sprint(name, i)) })
	}
	return u
}

// await returns when the users have made n more calls that have succeeded.
func (u *users) await(n int64) {
	u.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for want := u.calls.Load() - u.failed.Load() + n; u.calls.Load()-u.failed.Load() < want; {
		select {
		case <-tick.C:
		case <-deadline:
			u.t.Fatalf("the store does not serve its calls: %d of %d have failed, %v", u.failed.Load(), u.calls.Load(), u.failures)
		}
	}
}

var addresses = regexp.MustCompile(`[0-9.]+:[0-9]+`)

func (u *users) call(err error) bool {
	u.calls.Add(1)
	if err == nil {
		return true
	}
	u.failed.Add(1)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.failures[addresses.ReplaceAllString(err.Error(), "…")]++
	return false
}

func (u *users) run(user string) {
	ctx, soon := context.Background(), func() time.Time { return time.Now().Add(time.Hour) }
	for session := 0; ; session++ {
		token := fmt.Sprintf("%s-%d", user, session)
		may := []string{} // what the store may have; "" for nothing
		note := func(value string, err error) bool {
			if u.call(err) {
				may = []string{value}
			} else {
				may = append(may, value)
			}
			u.mu.Lock()
			u.must[token] = may
			u.mu.Unlock()
			return err == nil
		}
		may = []string{""}
		var old []byte
		for change := range 4 {
			select {
			case <-u.stop:
				return
			default:
			}
			data := fmt.Appendf(nil, `{"change":%d}`, change)
			current, swapped, err := u.s.Swap(ctx, token, old, data, soon())
			if !note(string(data), err) {
				break
			}
			if !swapped && u.mayLose.Load() {
				break
			}
			if !swapped {
				u.t.Errorf("nobody else changes %s, and a Swap from %q was refused: the store has %q", token, old, current)
				return
			}
			old = data
			got, found, err := u.s.FindTouch(ctx, token, soon())
			if u.call(err) && (!found || string(got) != string(data)) {
				if u.mayLose.Load() {
					break
				}
				u.t.Errorf("the acknowledged write to %s was not found: %q, %t", token, got, found)
				return
			}
		}
		if session%2 == 1 {
			continue // it stays
		}
		if err := u.s.DeleteCtx(ctx, token); note("", err) {
			u.mu.Lock()
			u.ended = append(u.ended, token)
			u.mu.Unlock()
		}
	}
}

// finish stops the users, and looks for all that was acknowledged. Of what one user has not
// been told, either is right.
func (u *users) finish() {
	u.t.Helper()
	close(u.stop)
	u.wg.Wait()
	live := 0
	for token, may := range u.must {
		data, _, err := u.s.FindCtx(u.t.Context(), token)
		if err != nil {
			u.t.Fatal(err)
		}
		if !slices.Contains(may, string(data)) {
			u.t.Errorf("%s has %q, and what was acknowledged is one of %q", token, data, may)
		}
		if len(data) > 0 {
			live++
		}
	}
	if n, err := u.s.Len(u.t.Context()); n != live || err != nil {
		u.t.Errorf("a listing counts %d sessions of %d, %v", n, live, err)
	}
	u.t.Logf("%d calls, %d of them failed, %d sessions ended and %d live: %v", u.calls.Load(), u.failed.Load(), len(u.ended), live, u.failures)
}

// Slots move between masters under load, and no call notices: what a node does not have is
// asked of the one that it is moved to. A listing sees every session, wherever it is.
func TestClusterSlotsMove(t *testing.T) {
	t.Parallel()
	cluster := testserver.StartCluster(t, 3)
	s := open(t, "redis-cluster://"+cluster.Addrs[0], redis.Options{})
	kept := make(map[string]int)
	for i := range 300 {
		token := fmt.Sprint("kept", i)
		if err := s.Commit(token, []byte("kept"), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		kept[token] = cluster.Slot("scs:session:" + token)
	}
	u := startUsers(t, s, "user", 8)
	done := make(chan struct{})
	var listings sync.WaitGroup
	listings.Go(func() {
		for {
			seen := make(map[string]bool)
			err := s.Range(t.Context(), func(token string, _ []byte) error {
				seen[token] = true
				return nil
			})
			if err != nil && !strings.Contains(err.Error(), "the servers have changed in each of") {
				t.Errorf("Range: %v", err)
			}
			for token := range kept {
				if err == nil && !seen[token] {
					t.Errorf("Range has missed %s", token)
				}
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	moved := 0
	for token, slot := range kept {
		if moved++; moved > 25 {
			break
		}
		var from string
		for _, addr := range cluster.Masters() {
			if n, _ := redigo.Int(cluster.Do(addr, "CLUSTER", "COUNTKEYSINSLOT", slot), nil); n > 0 {
				from = addr
			}
		}
		to := cluster.Masters()[rand.IntN(3)]
		if from == to || from == "" {
			continue
		}
		cluster.Open(slot, from, to)
		// The keys are on both sides for a while, and some are made on the new one.
		cluster.Move(slot, from, to, 1)
		if _, found, err := s.FindCtx(t.Context(), token); !found || err != nil {
			t.Errorf("while its slot moves, %s is not found: %v", token, err)
		}
		if _, swapped, err := s.Swap(t.Context(), token, []byte("kept"), []byte("kept"), time.Now().Add(time.Hour)); !swapped || err != nil {
			t.Errorf("while its slot moves, %s is not touched: %t, %v", token, swapped, err)
		}
		u.await(50)
		for cluster.Move(slot, from, to, 100) > 0 {
		}
		cluster.Done(slot, from, to)
	}
	u.await(500)
	close(done)
	listings.Wait()
	for token := range kept {
		if err := s.DeleteCtx(t.Context(), token); err != nil {
			t.Error(err)
		}
	}
	u.finish()
	if u.failed.Load() > 0 {
		t.Errorf("%d calls have failed", u.failed.Load())
	}
}

// A listing that begins while a slot is being moved sees each session, also those that move
// from a node that has not been read to one that has.
func TestClusterListsWhatMoves(t *testing.T) {
	t.Parallel()
	cluster := testserver.StartCluster(t, 3)
	s := open(t, "redis-cluster://"+cluster.Addrs[0], redis.Options{Prefix: "p{x}:", ScanCount: 1000})
	slot := cluster.Slot("p{x}:")
	for i := range 20 {
		if err := s.Commit(fmt.Sprint(i), []byte("data"), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	masters := cluster.Masters()
	home := -1
	for i, addr := range masters {
		if n, _ := redigo.Int(cluster.Do(addr, "CLUSTER", "COUNTKEYSINSLOT", slot), nil); n > 0 {
			home = i
		}
	}
	beside := open(t, "redis-cluster://"+cluster.Addrs[0], redis.Options{Prefix: "p"})
	for _, whole := range []bool{true, false} {
		for i, to := range masters {
			if i == home {
				continue
			}
			// One session on each node, at which the listing stops.
			for j := 0; j < 100; j++ {
				if err := beside.Commit(fmt.Sprint(j), nil, time.Now().Add(time.Hour)); err != nil {
					t.Fatal(err)
				}
			}
			from, stop := masters[home], sync.Once{}
			seen := make(map[string]bool)
			cluster.Open(slot, from, to)
			// A new key is for the node that the slot moves to, which does not have the script.
			cluster.Do(to, "SCRIPT", "FLUSH")
			if _, swapped, err := s.Swap(t.Context(), fmt.Sprint("new", i, whole), nil, []byte("data"), time.Now().Add(time.Hour)); !swapped || err != nil {
				t.Errorf("a new session while its slot moves: %t, %v", swapped, err)
			}
			err := beside.Range(t.Context(), func(token string, _ []byte) error {
				seen[token] = true
				stop.Do(func() {
					for cluster.Move(slot, from, to, 100) > 0 {
					}
					if whole {
						cluster.Done(slot, from, to)
					}
				})
				return nil
			})
			if err != nil {
				t.Errorf("Range: %v", err)
			}
			for i := range 20 {
				if !seen[fmt.Sprint("{x}:", i)] {
					t.Errorf("Range has missed a session that moved")
				}
			}
			cluster.Done(slot, from, to)
			cluster.Ready()
			home = i
		}
	}
}

// Masters hand over to their replicas under load, as for maintenance. Nothing that was
// acknowledged is lost, and hardly a call fails.
func TestClusterHandsOver(t *testing.T) {
	t.Parallel()
	cluster := testserver.StartCluster(t, 3)
	s := open(t, "redis-cluster://"+cluster.Addrs[0], redis.Options{})
	u := startUsers(t, s, "user", 8)
	for _, master := range cluster.Masters() {
		u.await(1000)
		cluster.Failover(cluster.Replica(master))
		cluster.Ready()
	}
	u.await(1000)
	u.finish()
}

// A master dies under load, and its replica takes over. What replicas have confirmed is not
// lost: a session that was ended stays so.
func TestClusterFailover(t *testing.T) {
	t.Parallel()
	cluster := testserver.StartCluster(t, 3)
	s := open(t, "redis-cluster://"+cluster.Addrs[0], redis.Options{WaitReplicas: 1, Timeout: time.Second, ConnectTimeout: time.Second})
	for name, pause := range map[string]bool{"killed": false, "hangs": true} {
		u := startUsers(t, s, name, 8)
		u.await(1000)
		u.mayLose.Store(true)
		master := cluster.Masters()[0]
		replica := cluster.Replica(master)
		if pause {
			cluster.Node(master).Pause() // it does not even refuse connections
		} else {
			cluster.Node(master).Kill()
		}
		for !cluster.IsMaster(replica) {
			u.await(1)
		}
		if pause {
			cluster.Node(master).Resume()
		} else {
			cluster.Node(master).Start()
		}
		cluster.Ready()
		u.await(1000)
		u.lost()
	}
}

// lost stops the users after a failover. No session may be there that was ended, as far as
// a replica has confirmed it. It logs how much else was lost.
func (u *users) lost() {
	u.t.Helper()
	close(u.stop)
	u.wg.Wait()
	for _, token := range u.ended {
		if _, found, err := u.s.FindCtx(u.t.Context(), token); found || err != nil {
			u.t.Errorf("a session that was ended is there again: %v", err)
		}
	}
	lost := 0
	for token, may := range u.must {
		data, _, err := u.s.FindCtx(u.t.Context(), token)
		if err != nil {
			u.t.Fatal(err)
		}
		if !slices.Contains(may, string(data)) {
			lost++
		}
	}
	u.t.Logf("%d calls, %d failed, %d sessions ended; lost of %d sessions: %d. %v", u.calls.Load(), u.failed.Load(), len(u.ended), len(u.must), lost, u.failures)
}

// A deletion that the replicas have not confirmed is an error, as a failover could undo it.
func TestWaitReplicas(t *testing.T) {
	server := testserver.StartRedis(t, "--repl-diskless-sync-delay", "0")
	host, port, _ := strings.Cut(server.Addr, ":")
	replica := testserver.StartRedis(t, "--replicaof", host+" "+port)
	patient := open(t, server.URL, redis.Options{WaitReplicas: 1, WaitTimeout: time.Minute})
	hasty := open(t, server.URL, redis.Options{WaitReplicas: 1, WaitTimeout: 50 * time.Millisecond})
	again := open(t, server.URL, redis.Options{WaitReplicas: 1, WaitTimeout: 50 * time.Millisecond})
	s, soon := patient, time.Now().Add(time.Hour)
	ends := map[string]func(token string) error{
		"DeleteCtx": func(token string) error { return s.DeleteCtx(t.Context(), token) },
		"Swap": func(token string) error {
			_, _, err := s.Swap(t.Context(), token, []byte("data"), nil, time.Time{})
			return err
		},
		"Swap, to the past": func(token string) error {
			_, _, err := s.Swap(t.Context(), token, []byte("data"), []byte("new"), time.Time{})
			return err
		},
	}
	for name, end := range ends {
		if err := s.Commit(name, []byte("data"), soon); err != nil {
			t.Fatal(err)
		}
		if err := end(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := s.Commit(name, []byte("data"), soon); err != nil {
			t.Fatal(err)
		}
		replica.Pause()
		s = hasty
		err := end(name)
		s = patient
		if err == nil || !strings.Contains(err.Error(), "it is done, but 0 of 1 replicas have confirmed it within 50ms, so that a failover could undo it") {
			t.Errorf("%s, without the replica: %v", name, err)
		}
		if _, found, err := s.FindCtx(t.Context(), name); found || err != nil {
			t.Errorf("%s: the master still has it, %v", name, err)
		}
		if err := again.DeleteCtx(t.Context(), name); err == nil {
			t.Errorf("%s, again on another connection, without the replica: no error", name)
		}
		replica.Resume()
		// Saying it again waits for what was done before.
		if err := s.DeleteCtx(t.Context(), name); err != nil {
			t.Errorf("%s, again: %v", name, err)
		}
	}
	// So it is for the end of all sessions of a user.
	replica.Pause()
	for range 2 {
		if _, err := hasty.EndUser(t.Context(), "ann", time.Hour); err == nil || !strings.Contains(err.Error(), "redis: end user: it is done, but 0 of 1 replicas") {
			t.Errorf("EndUser, without the replica: %v", err)
		}
	}
	if at, _, err := hasty.UserEnded(t.Context(), "ann"); at.IsZero() || err != nil {
		t.Errorf("UserEnded on the master: %v, %v", at, err)
	}
	if err := hasty.NoteUser(t.Context(), "ann", "token", time.Hour); err != nil {
		t.Errorf("NoteUser, without the replica: %v", err)
	}
	replica.Resume()
	if _, err := patient.EndUser(t.Context(), "ann", time.Hour); err != nil {
		t.Errorf("EndUser, again: %v", err)
	}
	want := "redis: open: context deadline exceeded while waiting for the server: NOREPLICAS 1 of 2 replicas that Options.WaitReplicas counts are there"
	testserver.InTime(t, func(ctx context.Context) error {
		if _, err := redis.Open(ctx, server.URL, redis.Options{WaitReplicas: 2}); err == nil || !strings.HasPrefix(err.Error(), want) || !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("Open with more replicas than there are: %w", err)
		}
		return nil
	})
}
