package memory_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/backends/contract"
	"github.com/samesid/samesid/backends/memory"
	"github.com/samesid/samesid/backends/storetest"
	"github.com/samesid/samesid/internal/leaktest"
	"github.com/samesid/samesid/internal/testserver"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// open returns a store that is closed when the test ends.
func open(tb testing.TB, opts memory.Options) *memory.Store {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	s := memory.New(opts)
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func commit(tb testing.TB, s *memory.Store, token string, ttl time.Duration) {
	tb.Helper()
	if err := s.Commit(token, []byte(token), time.Now().Add(ttl)); err != nil {
		tb.Fatal(err)
	}
}

func found(tb testing.TB, s *memory.Store, token string) bool {
	tb.Helper()
	_, found, err := s.Find(token)
	if err != nil {
		tb.Fatal(err)
	}
	return found
}

func TestContract(t *testing.T) {
	for name, opts := range map[string]memory.Options{
		"defaults":      {},
		"no bound":      {MaxSessions: -1},
		"no clean-up":   {CleanupInterval: -1},
		"much clean-up": {CleanupInterval: 300 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, storetest.Harness{New: func(t *testing.T) scs.CtxStore { return open(t, opts) }})
		})
	}
}

func TestContractAfterClose(t *testing.T) {
	storetest.Run(t, storetest.Harness{New: func(t *testing.T) scs.CtxStore {
		s := memory.New(memory.Options{})
		for range 2 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Ping(t.Context()); err == nil {
			t.Error("Ping succeeds after Close")
		}
		return unpinged{s}
	}, Without: []string{"Ping"}})
}

// unpinged hides Ping, which alone says that a store is closed.
type unpinged struct{ *memory.Store }

func (unpinged) Ping() {}

func TestCloseEndsCleanup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New(memory.Options{CleanupInterval: time.Second})
		commit(t, s, "before", time.Millisecond)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		commit(t, s, "after", time.Millisecond)
		time.Sleep(time.Hour)
		commit(t, s, "much later", time.Hour)
		time.Sleep(time.Minute)
		if n := s.Stored(); n != 3 {
			t.Errorf("%d records are stored, want all 3: the store is closed", n)
		}
	})
}

// A store has no goroutine except while a clean-up runs, and an empty store has no
// timer, so nobody has to close it.
func TestNoGoroutineStays(t *testing.T) {
	check := leaktest.Goroutines(t)
	goroutines := runtime.NumGoroutine()
	var freed atomic.Int64
	for i := range 100 {
		interval := 20 * time.Millisecond
		if i%4 == 1 {
			interval = time.Hour
		}
		s := memory.New(memory.Options{CleanupInterval: interval})
		runtime.AddCleanup(s, func(int) { freed.Add(1) }, i)
		switch i % 4 {
		case 0:
			continue // never used
		case 1:
			// A closed store has no timer, whatever it holds.
			if i%8 == 1 {
				commit(t, s, "before", time.Hour)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			commit(t, s, "after", time.Hour)
			continue
		}
		commit(t, s, "expires", time.Millisecond)
		commit(t, s, "deleted", time.Hour)
		if err := s.Delete("deleted"); err != nil {
			t.Fatal(err)
		}
	}
	if n := runtime.NumGoroutine(); n > goroutines+50 {
		t.Errorf("%d goroutines for 100 stores", n-goroutines)
	}
	testserver.Until(t, "the collection of 100 stores, of which most are not closed", func() bool {
		runtime.GC()
		return freed.Load() == 100
	})
	check()
}

func TestCleanupStopsAndStartsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, memory.Options{CleanupInterval: time.Minute})
		unused := s.Armed()
		time.Sleep(time.Hour)
		synctest.Wait()
		if unused || s.Armed() {
			t.Error("a store that never had a record has a timer")
		}
		for round := range 3 {
			commit(t, s, "short", 30*time.Second)
			commit(t, s, "long", 150*time.Second)
			for n, want := range []int{2, 1, 1, 0} {
				if got := s.Stored(); got != want || !s.Armed() {
					t.Errorf("round %d, after %d minutes: %d records are stored, want %d; a timer: %t", round, n, got, want, s.Armed())
				}
				if n == 2 {
					time.Sleep(time.Minute - time.Nanosecond)
					synctest.Wait()
					if got := s.Stored(); got != 1 || !s.Armed() {
						t.Errorf("round %d, before the last clean-up: %d records are stored; a timer: %t", round, got, s.Armed())
					}
					time.Sleep(time.Nanosecond)
					synctest.Wait()
					break
				}
				time.Sleep(time.Minute)
				synctest.Wait()
			}
			if s.Stored() != 0 || s.Armed() {
				t.Errorf("round %d: %d records are left; a timer: %t", round, s.Stored(), s.Armed())
			}
			time.Sleep(time.Hour)
			synctest.Wait()
			if s.Armed() {
				t.Errorf("round %d: an empty store has a timer", round)
			}
		}
	})
}

// A record is cleaned up whichever method wrote it to an empty store.
func TestEveryWriteIsCleanedUp(t *testing.T) {
	for name, write := range map[string]func(s *memory.Store, soon time.Time) error{
		"Commit": func(s *memory.Store, soon time.Time) error { return s.Commit("id", nil, soon) },
		"Swap": func(s *memory.Store, soon time.Time) error {
			_, _, err := s.Swap(context.Background(), "id", nil, []byte("data"), soon)
			return err
		},
		"Move": func(s *memory.Store, soon time.Time) error {
			err := s.Commit("old", nil, soon)
			_, _, moveErr := s.Move(context.Background(), []contract.Record{{Token: "old", Data: []byte{}}}, "id", nil, soon)
			return errors.Join(err, moveErr)
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := open(t, memory.Options{})
			for range 3 {
				if err := write(s, time.Now().Add(time.Second)); err != nil {
					t.Fatal(err)
				}
				if n := s.Stored(); n != 1 {
					t.Errorf("%s: %d records are stored, want 1", name, n)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if n := s.Stored(); n != 0 {
					t.Errorf("%s: %d records are stored after the clean-up", name, n)
				}
				time.Sleep(time.Hour)
			}
		})
	}
}

// A store that holds records has a timer, even if a clean-up runs concurrently.
func TestTimerBesideWriters(t *testing.T) {
	s := open(t, memory.Options{CleanupInterval: time.Nanosecond})
	for round := range 500_000 {
		commit(t, s, "id", time.Hour)
		// Between two clean-ups there is none for a moment.
		for deadline := time.Now().Add(time.Second); !s.Armed(); runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Fatalf("round %d: a record is stored, and no clean-up is to come", round)
			}
		}
		if err := s.Delete("id"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestExpiryAtTheInstant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, memory.Options{})
		commit(t, s, "id", time.Second)
		time.Sleep(time.Second - 1)
		if !found(t, s, "id") {
			t.Error("expired a nanosecond early")
		}
		time.Sleep(time.Nanosecond)
		if found(t, s, "id") {
			t.Error("still there at its expiry")
		}
	})
}

func TestCleanupFreesRoom(t *testing.T) {
	for name, tt := range map[string]struct {
		interval, wait time.Duration
		stored         int
	}{
		"by default, before a minute": {0, 59 * time.Second, 1000},
		"by default, after a minute":  {0, 61 * time.Second, 500},
		"each second":                 {time.Second, 31 * time.Second, 500},
		"none":                        {-1, 24 * time.Hour, 1000},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := open(t, memory.Options{CleanupInterval: tt.interval})
				for i := range 1000 {
					ttl := 30 * time.Second
					if i%2 == 0 {
						ttl = 48 * time.Hour
					}
					commit(t, s, fmt.Sprint(i), ttl)
				}
				time.Sleep(tt.wait)
				synctest.Wait()
				if n := s.Stored(); n != tt.stored {
					t.Errorf("%d records are stored, want %d", n, tt.stored)
				}
				if n, err := s.Len(t.Context()); n != 500 && name != "by default, before a minute" || err != nil {
					t.Errorf("Len is %d, %v", n, err)
				}
			})
		})
	}
}

func TestCloseWaitsForCleanup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New(memory.Options{CleanupInterval: time.Second})
		for i := range 10_000 {
			commit(t, s, fmt.Sprint(i), time.Hour)
		}
		release, last := s.HoldLast()
		time.Sleep(time.Second)
		for s.Count() > last {
			runtime.Gosched()
		}
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}()
		for range 10_000 {
			runtime.Gosched()
		}
		select {
		case <-closed:
			t.Error("Close has returned in the middle of a clean-up")
		default:
		}
		release()
		<-closed
	})
}

func TestCloseCutsCleanupShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 10 {
			s := open(t, memory.Options{CleanupInterval: time.Second})
			for i := range 50_000 {
				commit(t, s, fmt.Sprint(i), time.Second)
			}
			time.Sleep(time.Second) // a clean-up has begun, or is about to
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if s.Stored() > 0 {
				return
			}
		}
		t.Error("Close has waited for each clean-up to get through")
	})
}

// A visit releases a shard's lock repeatedly. Concurrent writes must neither be undone
// nor counted wrong.
func TestCleanupBesideWriters(t *testing.T) {
	s := open(t, memory.Options{CleanupInterval: time.Microsecond})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 20_000 {
				token := fmt.Sprint(w, "-", i)
				ttl := time.Hour
				if i%2 == 0 {
					ttl = time.Microsecond
				}
				if err := s.Commit(token, nil, time.Now().Add(ttl)); err != nil {
					t.Error(err)
				}
				if i%2 == 1 {
					continue
				}
				if err := s.Commit(token, nil, time.Now().Add(time.Hour)); err != nil {
					t.Error(err)
				}
				if i%4 == 0 {
					if err := s.Delete(token); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	want := 4 * 15_000
	if n, err := s.Len(t.Context()); n != want || err != nil {
		t.Errorf("Len is %d, %v, want %d", n, err, want)
	}
	if stored, count := s.Stored(), s.Count(); stored != want || count != want {
		t.Errorf("%d records are stored and %d counted, want %d", stored, count, want)
	}
	if err := s.Clear(t.Context()); err != nil {
		t.Error(err)
	}
	if stored, count := s.Stored(), s.Count(); stored != 0 || count != 0 {
		t.Errorf("%d records are stored and %d counted after Clear", stored, count)
	}
}

func TestBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 300
		s := open(t, memory.Options{MaxSessions: limit})
		ctx, late := t.Context(), time.Now().Add(time.Hour)
		for i := range limit {
			commit(t, s, fmt.Sprint(i), time.Hour)
		}

		if err := s.Commit("new", nil, late); !errors.Is(err, memory.ErrFull) || err.Error() != "memory: commit: the store is full" {
			t.Errorf("Commit of a new session to a full store: %v", err)
		}
		if _, swapped, err := s.Swap(ctx, "new", nil, []byte("data"), late); swapped || !errors.Is(err, memory.ErrFull) {
			t.Errorf("Swap of a new session into a full store: %t, %v", swapped, err)
		}
		if found(t, s, "new") {
			t.Error("a refused session is there")
		}

		for i := range limit {
			token := fmt.Sprint(i)
			if !found(t, s, token) {
				t.Fatal("a session was pushed out")
			}
			if err := s.Commit(token, []byte("more"), late); err != nil {
				t.Fatalf("Commit of a session that is there: %v", err)
			}
			if _, swapped, err := s.Swap(ctx, token, []byte("more"), []byte("most"), late); !swapped || err != nil {
				t.Fatalf("Swap of a session that is there: %t, %v", swapped, err)
			}
		}

		if err := s.Commit("new", nil, time.Now().Add(-time.Second)); err != nil {
			t.Errorf("Commit to the past needs no room: %v", err)
		}
		if _, swapped, err := s.Swap(ctx, "new", []byte("old"), []byte("data"), late); swapped || err != nil {
			t.Errorf("Swap of what is gone needs no room: %t, %v", swapped, err)
		}

		// A move works in a full store: it takes the place of an old record.
		token := "299"
		for n := range 10 {
			to := fmt.Sprint("moved", n)
			if err := move(s, token, "most", to, late); err != nil {
				t.Fatal(err)
			}
			token = to
		}
		if stored, count := s.Stored(), s.Count(); stored != limit || count != limit {
			t.Errorf("%d records are stored and %d counted after moves, want %d", stored, count, limit)
		}
		if err := s.Commit("new", nil, late); !errors.Is(err, memory.ErrFull) {
			t.Errorf("a move has made room: %v", err)
		}

		for n, free := range []func() error{
			func() error { return s.Delete("0") },
			func() error { return s.Commit("1", nil, time.Now()) },
			func() error { _, _, err := s.Swap(ctx, "2", []byte("most"), nil, late); return err },
			func() error { _, _, err := s.Swap(ctx, "3", []byte("most"), []byte("most"), time.Now()); return err },
			func() error { return move(s, "4", "most", "new", time.Now()) },
			func() error { return move(s, "5", "most", "5", time.Now()) },
			func() error { return merge(s, "new", late, "6", "7") },
			func() error { return merge(s, "9", late, "8", "9") },
		} {
			if err := free(); err != nil {
				t.Fatal(err)
			}
			commit(t, s, fmt.Sprint("new", n), time.Hour)
			if err := s.Commit("another", nil, late); !errors.Is(err, memory.ErrFull) {
				t.Errorf("%d: one place was free, and a second session took it: %v", n, err)
			}
		}
	})
}

// A move replaces an expired record of its target.
func TestBoundMoveToExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, memory.Options{MaxSessions: 3, CleanupInterval: -1})
		late := time.Now().Add(time.Hour)
		commit(t, s, "id", time.Hour)
		commit(t, s, "expired", time.Second)
		commit(t, s, "beside", time.Hour)
		time.Sleep(2 * time.Second)
		if err := move(s, "id", "id", "expired", late); err != nil {
			t.Fatal(err)
		}
		if stored, count := s.Stored(), s.Count(); stored != 2 || count != 2 {
			t.Errorf("%d records are stored and %d counted, want 2", stored, count)
		}
	})
}

// A concurrent new session must not take the place that a move frees for a moment;
// otherwise the moved session would be lost.
func TestBoundBesideMoves(t *testing.T) {
	const limit = 8
	s := open(t, memory.Options{MaxSessions: limit})
	late := time.Now().Add(time.Hour)
	for i := range limit {
		commit(t, s, fmt.Sprint(i), time.Hour)
	}
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			for range 100 {
				if s.Reserve() {
					t.Error("a session could take the place of one that was moved")
					return
				}
			}
			if n := s.Count(); n != limit {
				t.Errorf("%d places are taken, want all %d", n, limit)
				return
			}
		}
	})
	var movers sync.WaitGroup
	for w := range 2 {
		movers.Go(func() {
			for i := range 20_000 {
				from, to := fmt.Sprint(w), fmt.Sprint("moved", w)
				if i%2 == 1 {
					from, to = to, from
				}
				if err := move(s, from, fmt.Sprint(w), to, late); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	movers.Wait()
	close(done)
	wg.Wait()
}

// Moves that need the same shards, in every order, wait for each other and not for
// ever.
func TestMovesDoNotDeadlock(t *testing.T) {
	s := open(t, memory.Options{})
	late := time.Now().Add(time.Hour)
	var from []contract.Record
	for _, token := range []string{"a", "b", "c"} {
		commit(t, s, token, time.Hour)
		from = append(from, contract.Record{Token: token, Data: []byte(token)})
	}
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			two := []contract.Record{from[w], from[(w+1)%3]}
			for range 100_000 {
				if _, moved, err := s.Move(context.Background(), two, from[(w+2)%3].Token, nil, late); moved || err != nil {
					t.Error("moved to what was there all the time", err)
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		wg.Wait()
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("the moves wait for each other")
	}
}

func move(s *memory.Store, token, data, to string, expiry time.Time) error {
	from := []contract.Record{{Token: token, Data: []byte(data)}}
	current, moved, err := s.Move(context.Background(), from, to, []byte(data), expiry)
	if err == nil && !moved {
		return fmt.Errorf("%s was not moved to %s, current %q", token, to, current)
	}
	return err
}

// merge moves sessions, all with the data "most", to one.
func merge(s *memory.Store, to string, expiry time.Time, tokens ...string) error {
	var from []contract.Record
	for _, token := range tokens {
		from = append(from, contract.Record{Token: token, Data: []byte("most")})
	}
	current, moved, err := s.Move(context.Background(), from, to, []byte("most"), expiry)
	if err == nil && !moved {
		return fmt.Errorf("%q were not moved to %s, current %q", tokens, to, current)
	}
	return err
}

func TestString(t *testing.T) {
	if got := fmt.Sprint(open(t, memory.Options{})); got != "memory store" {
		t.Errorf("String gave %q", got)
	}
}

func TestBoundDefault(t *testing.T) {
	s := open(t, memory.Options{})
	for i := range 1_000_000 - 1 {
		if !s.Reserve() {
			t.Fatalf("there is no place for session %d", i)
		}
	}
	commit(t, s, "the last", time.Hour)
	if err := s.Commit("one more", nil, time.Now().Add(time.Hour)); !errors.Is(err, memory.ErrFull) {
		t.Errorf("session 1,000,001: %v", err)
	}
}

func TestNoBound(t *testing.T) {
	s := open(t, memory.Options{MaxSessions: -1})
	for i := range 10_000 {
		commit(t, s, fmt.Sprint(i), time.Hour)
	}
}

// Without clean-up, a full store still finds expired records to remove.
func TestBoundLooksForExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 900
		s := open(t, memory.Options{MaxSessions: limit, CleanupInterval: -1})
		for i := range limit - 1 {
			commit(t, s, fmt.Sprint("stays", i), time.Hour)
		}
		for i := range 3 {
			commit(t, s, fmt.Sprint("short", i), time.Second)
			if err := s.Commit("new", nil, time.Now().Add(time.Second)); !errors.Is(err, memory.ErrFull) {
				t.Fatalf("a full store: %v", err)
			}
			time.Sleep(time.Second)
		}
		if _, swapped, err := s.Swap(t.Context(), "swapped", nil, []byte("data"), time.Now().Add(time.Hour)); !swapped || err != nil {
			t.Errorf("Swap where one has expired: %t, %v", swapped, err)
		}
		for i := range limit - 1 {
			if !found(t, s, fmt.Sprint("stays", i)) {
				t.Fatal("a live session was removed")
			}
		}
	})
}

func TestBoundIsExact(t *testing.T) {
	s := open(t, memory.Options{MaxSessions: 1})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range 2_000_000 {
				if !s.Reserve() {
					continue
				}
				if n := s.Count(); n > 1 {
					t.Errorf("%d places are taken, the limit is 1", n)
				}
				s.Release()
			}
		})
	}
	wg.Wait()
	if n := s.Count(); n != 0 {
		t.Errorf("%d places are taken after all were given back", n)
	}
}

func TestRefusalIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := open(t, memory.Options{MaxSessions: 1, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		commit(t, s, "there", 24*time.Hour)
		for _, tt := range []struct {
			wait  time.Duration
			lines int
		}{{0, 1}, {0, 1}, {59 * time.Second, 1}, {time.Second, 2}, {time.Second, 2}, {time.Hour, 3}} {
			time.Sleep(tt.wait)
			if err := s.Commit("secret-id", nil, time.Now().Add(time.Hour)); !errors.Is(err, memory.ErrFull) {
				t.Fatal(err)
			}
			if n := strings.Count(log.String(), "\n"); n != tt.lines {
				t.Errorf("%d lines are logged, want %d", n, tt.lines)
			}
		}
		want := `level=WARN msg="memory: the store is full, so new sessions are refused" max_sessions=1`
		if !strings.Contains(log.String(), want) || strings.Contains(log.String(), "secret-id") {
			t.Errorf("logged %s", log.String())
		}
	})
}

func TestRangeOnce(t *testing.T) {
	s := open(t, memory.Options{})
	const n = 100_000
	for i := range n {
		commit(t, s, fmt.Sprint(i), time.Hour)
	}
	seen := make(map[string]bool, n)
	if err := s.Range(t.Context(), func(token string, data []byte) error {
		if seen[token] {
			t.Errorf("%s is seen twice", token)
		}
		seen[token] = true
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(seen) != n {
		t.Errorf("%d sessions are seen, want %d", len(seen), n)
	}
}

// Range sees the records of its current page, and none of those that were cleared
// beyond it.
func TestRangeBesideClear(t *testing.T) {
	s := open(t, memory.Options{})
	for i := range 200_000 {
		commit(t, s, fmt.Sprint(i), time.Hour)
	}
	calls := 0
	if err := s.Range(t.Context(), func(string, []byte) error {
		if calls++; calls == 1 {
			return s.Clear(t.Context())
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if calls > 128 {
		t.Errorf("%d sessions are seen after Clear", calls-1)
	}
}

// An expiry that does not fit in nanoseconds is stored as the last one that does.
func TestFindExpiryClamps(t *testing.T) {
	s := open(t, memory.Options{})
	for _, far := range []time.Time{
		time.Date(2262, 4, 12, 0, 0, 0, 0, time.UTC),
		time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		time.Unix(1<<60, 0),
	} {
		if err := s.Commit("id", nil, far); err != nil {
			t.Fatal(err)
		}
		_, expiry, found, err := s.FindExpiry(t.Context(), "id")
		if err != nil || !found || expiry.Year() != 2262 {
			t.Errorf("expiry %v: FindExpiry gave %v, %t, %v", far, expiry, found, err)
		}
	}
}

func TestErrorTexts(t *testing.T) {
	s := open(t, memory.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	now := time.Now()
	for want, call := range map[string]func() error{
		"memory: find: context canceled":           func() error { _, _, err := s.FindCtx(ctx, "id"); return err },
		"memory: find expiry: context canceled":    func() error { _, _, _, err := s.FindExpiry(ctx, "id"); return err },
		"memory: find and touch: context canceled": func() error { _, _, err := s.FindTouch(ctx, "id", now); return err },
		"memory: move: context canceled": func() error {
			_, _, err := s.Move(ctx, []contract.Record{{Token: "id", Data: []byte("data")}}, "new", nil, now)
			return err
		},
		"memory: commit: context canceled": func() error { return s.CommitCtx(ctx, "id", nil, now) },
		"memory: swap: context canceled":   func() error { _, _, err := s.Swap(ctx, "id", nil, nil, now); return err },
		"memory: delete: context canceled": func() error { return s.DeleteCtx(ctx, "id") },
		"memory: range: context canceled":  func() error { _, err := s.AllCtx(ctx); return err },
		"memory: len: context canceled":    func() error { _, err := s.Len(ctx); return err },
		"memory: clear: context canceled":  func() error { return s.Clear(ctx) },
	} {
		if err := call(); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

func TestAllocations(t *testing.T) {
	s := open(t, memory.Options{})
	ctx, late := t.Context(), time.Now().Add(time.Hour)
	token, data, other := strings.Repeat("k", 43), make([]byte, 200), make([]byte, 201)
	swap := func(old, new []byte) error { _, _, err := s.Swap(ctx, token, old, new, late); return err }
	for _, tt := range []struct {
		name string
		want float64
		call func() error
	}{
		{"Commit", 1, func() error { return s.CommitCtx(ctx, token, data, late) }},
		{"Find", 1, func() error { _, _, err := s.FindCtx(ctx, token); return err }},
		{"FindTouch", 1, func() error { _, _, err := s.FindTouch(ctx, token, late); return err }},
		{"FindExpiry", 1, func() error { _, _, _, err := s.FindExpiry(ctx, token); return err }},
		{"Touch", 0, func() error { return swap(data, data) }},
		{"Swap", 2, func() error { return errors.Join(swap(data, other), swap(other, data)) }},
		{"Move", 1, func() error {
			_, moved, err := s.Move(ctx, []contract.Record{{Token: token, Data: data}}, token, data, late)
			if !moved {
				t.Error("Move has not moved")
			}
			return err
		}},
		{"Delete", 0, func() error { return s.DeleteCtx(ctx, "unknown") }},
		{"Find nothing", 0, func() error { _, _, err := s.FindCtx(ctx, "unknown"); return err }},
	} {
		if got := testing.AllocsPerRun(100, func() {
			if err := tt.call(); err != nil {
				t.Fatal(err)
			}
		}); got != tt.want {
			t.Errorf("%s: %v allocations, want %v", tt.name, got, tt.want)
		}
	}
}

// A store must not retain its caller's string, which may be a small part of a
// request, nor let its caller retain the memory of a record.
func TestTokenIsNotKept(t *testing.T) {
	s := open(t, memory.Options{})
	ctx, late, data := t.Context(), time.Now().Add(time.Hour), []byte("data")
	calls := []func(token string) error{
		func(token string) error { return s.Commit(token, data, late) },
		func(token string) error { return s.Commit(token, data, late) },
		func(token string) error { _, _, err := s.FindTouch(ctx, token, late); return err },
		func(token string) error { _, _, err := s.Swap(ctx, token, data, data, late); return err },
		func(token string) error { _, _, err := s.Swap(ctx, token, data, []byte("other"), late); return err },
		func(token string) error { return move(s, token, "other", "new", late) },
		func(token string) error { return move(s, "new", "other", token, late) },
		func(token string) error { return move(s, token, "other", token, late) },
		func(token string) error { return s.Delete(token) },
		func(token string) error { _, _, err := s.Swap(ctx, token, nil, data, late); return err },
	}
	for i, call := range calls {
		token := strings.Clone("id")
		if err := call(token); err != nil {
			t.Fatal(err)
		}
		if s.Keeps(token) {
			t.Errorf("call %d: the store keeps the caller's token", i)
		}
	}
	if err := s.Range(ctx, func(token string, _ []byte) error {
		if s.Keeps(token) {
			t.Error("Range gives away a part of a record, which the caller may keep")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
