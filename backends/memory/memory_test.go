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
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/scs/v2"
	"go.uber.org/goleak"

	"github.com/samesid/samesid/backends/memory"
	"github.com/samesid/samesid/backends/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open makes a store that is closed with the test.
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
			storetest.Run(t, storetest.Harness{
				New:     func(t *testing.T) scs.CtxStore { return open(t, opts) },
				Without: []string{"Rename"},
			})
		})
	}
}

func TestContractAfterClose(t *testing.T) {
	storetest.Run(t, storetest.Harness{Without: []string{"Rename"}, New: func(t *testing.T) scs.CtxStore {
		s := memory.New(memory.Options{})
		for range 2 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		return s
	}})
}

func TestCloseEndsCleanup(t *testing.T) {
	before := goleak.IgnoreCurrent()
	s := memory.New(memory.Options{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	goleak.VerifyNone(t, before)
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

// A visit lets go of a shard's lock while it is at it, and what happens meanwhile
// must neither be undone nor counted wrong.
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

		for n, free := range []func() error{
			func() error { return s.Delete("0") },
			func() error { return s.Commit("1", nil, time.Now()) },
			func() error { _, _, err := s.Swap(ctx, "2", []byte("most"), nil, late); return err },
		} {
			if err := free(); err != nil {
				t.Fatal(err)
			}
			commit(t, s, fmt.Sprint("new", n), time.Hour)
			if err := s.Commit("another", nil, late); !errors.Is(err, memory.ErrFull) {
				t.Errorf("one place was free, and a second session took it: %v", err)
			}
		}
	})
}

func TestBoundDefault(t *testing.T) {
	s := open(t, memory.Options{})
	late := time.Now().Add(time.Hour)
	for i := range 1_000_000 {
		if err := s.Commit(fmt.Sprint(i), nil, late); err != nil {
			t.Fatalf("session %d: %v", i, err)
		}
	}
	if err := s.Commit("one more", nil, late); !errors.Is(err, memory.ErrFull) {
		t.Errorf("session 1,000,001: %v", err)
	}
}

func TestNoBound(t *testing.T) {
	s := open(t, memory.Options{MaxSessions: -1})
	for i := range 10_000 {
		commit(t, s, fmt.Sprint(i), time.Hour)
	}
}

// Without clean-up the expired records are still found when their room is needed.
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

// What a page holds is seen; what was cleared behind it is not.
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

// An expiry that does not fit in nanoseconds is kept as the last one that does.
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
		"memory: touch: context canceled":          func() error { _, err := s.Touch(ctx, "id", now); return err },
		"memory: commit: context canceled":         func() error { return s.CommitCtx(ctx, "id", nil, now) },
		"memory: swap: context canceled":           func() error { _, _, err := s.Swap(ctx, "id", nil, nil, now); return err },
		"memory: delete: context canceled":         func() error { return s.DeleteCtx(ctx, "id") },
		"memory: range: context canceled":          func() error { _, err := s.AllCtx(ctx); return err },
		"memory: len: context canceled":            func() error { _, err := s.Len(ctx); return err },
		"memory: clear: context canceled":          func() error { return s.Clear(ctx) },
	} {
		if err := call(); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

func TestAllocations(t *testing.T) {
	s := open(t, memory.Options{})
	ctx, late := t.Context(), time.Now().Add(time.Hour)
	token, data := strings.Repeat("k", 43), make([]byte, 200)
	for _, tt := range []struct {
		name string
		want float64
		call func() error
	}{
		{"Commit", 1, func() error { return s.CommitCtx(ctx, token, data, late) }},
		{"Find", 1, func() error { _, _, err := s.FindCtx(ctx, token); return err }},
		{"FindTouch", 1, func() error { _, _, err := s.FindTouch(ctx, token, late); return err }},
		{"FindExpiry", 1, func() error { _, _, _, err := s.FindExpiry(ctx, token); return err }},
		{"Touch", 0, func() error { _, err := s.Touch(ctx, token, late); return err }},
		{"Swap", 1, func() error { _, _, err := s.Swap(ctx, token, data, data, late); return err }},
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

// A store must not hold on to the string it is called with, which may be a small
// part of a request, nor let its caller hold on to a record.
func TestTokenIsNotKept(t *testing.T) {
	s := open(t, memory.Options{})
	ctx, late, data := t.Context(), time.Now().Add(time.Hour), []byte("data")
	calls := []func(token string) error{
		func(token string) error { return s.Commit(token, data, late) },
		func(token string) error { return s.Commit(token, data, late) },
		func(token string) error { _, err := s.Touch(ctx, token, late); return err },
		func(token string) error { _, _, err := s.FindTouch(ctx, token, late); return err },
		func(token string) error { _, _, err := s.Swap(ctx, token, data, data, late); return err },
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
