package memory_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/samesid/samesid/backends/contract"
	"github.com/samesid/samesid/backends/memory"
)

// tokens returns n ids of 43 characters, the length of scs's.
func tokens(n int) []string {
	list := make([]string, n)
	b := make([]byte, 32)
	for i := range list {
		_, _ = rand.Read(b)
		list[i] = base64.RawURLEncoding.EncodeToString(b)
	}
	return list
}

func fill(tb testing.TB, s *memory.Store, list []string, expiry time.Time) {
	data := make([]byte, 200)
	for _, token := range list {
		if err := s.Commit(token, data, expiry); err != nil {
			tb.Fatal(err)
		}
	}
}

func BenchmarkStore(b *testing.B) {
	for _, size := range []int{1_000, 1_000_000} {
		s, list := open(b, memory.Options{CleanupInterval: -1}), tokens(size)
		late, data, ctx := time.Now().Add(time.Hour), make([]byte, 200), context.Background()
		same := make([]byte, 200)
		fill(b, s, list, late)
		for _, bb := range []struct {
			name string
			call func(token string) error
		}{
			{"find", func(token string) error { _, _, err := s.FindCtx(ctx, token); return err }},
			{"findtouch", func(token string) error { _, _, err := s.FindTouch(ctx, token, late); return err }},
			{"commit", func(token string) error { return s.CommitCtx(ctx, token, data, late) }},
			{"touch", func(token string) error { _, _, err := s.Swap(ctx, token, data, same, late); return err }},
			{"move", func(token string) error {
				_, _, err := s.Move(ctx, []contract.Record{{Token: token, Data: data}}, token, data, late)
				return err
			}},
		} {
			b.Run(fmt.Sprintf("%s/sessions=%d", bb.name, size), func(b *testing.B) {
				var worker atomic.Int64
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					// Each size has the same number of sessions in rotation.
					for i := int(worker.Add(1)) * 487; pb.Next(); i++ {
						if err := bb.call(list[i%1000]); err != nil {
							b.Fatal(err)
						}
					}
				})
			})
		}
	}
}

// BenchmarkFull measures the cost of a rejected session in a full store.
func BenchmarkFull(b *testing.B) {
	s := open(b, memory.Options{CleanupInterval: -1})
	late := time.Now().Add(time.Hour)
	fill(b, s, tokens(1_000_000), late)
	for b.Loop() {
		if s.Commit("new", nil, late) == nil {
			b.Fatal("the store is not full")
		}
	}
}

// BenchmarkMemory reports the bytes that each of a million sessions takes, with an
// id of 43 characters and 200 bytes of data.
func BenchmarkMemory(b *testing.B) {
	const n = 1_000_000
	list := tokens(n)
	for b.Loop() {
		s := open(b, memory.Options{CleanupInterval: -1})
		before := heap()
		fill(b, s, list, time.Now().Add(time.Hour))
		b.ReportMetric(float64(heap()-before)/n, "B/session")
		runtime.KeepAlive(s)
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkCleanup reads while a million sessions are cleaned up, and reports the
// maximum and the 99.99th percentile of a read's time. "idle" is the same without a
// clean-up: it shows what the machine's scheduling adds, which is milliseconds on
// busy processors.
func BenchmarkCleanup(b *testing.B) {
	const n = 1_000_000
	for _, bb := range []struct {
		name    string
		run     func(*memory.Store)
		expired int
	}{
		{"idle", func(*memory.Store) { time.Sleep(200 * time.Millisecond) }, 0},
		{"expired=none", (*memory.Store).RemoveExpired, 0},
		{"expired=half", (*memory.Store).RemoveExpired, n / 2},
		{"expired=all", (*memory.Store).RemoveExpired, n},
	} {
		b.Run(bb.name, func(b *testing.B) {
			list := tokens(n)
			s := open(b, memory.Options{CleanupInterval: -1})
			reads := make([]time.Duration, 0, 10*n)
			for b.Loop() {
				b.StopTimer()
				fill(b, s, list, time.Now().Add(time.Hour))
				for _, token := range list[:bb.expired] {
					s.Expire(token)
				}
				runtime.GC()
				b.StartTimer()
				var done atomic.Bool
				go func() {
					bb.run(s)
					done.Store(true)
				}()
				for i := 0; i == 0 || !done.Load(); i++ {
					start := time.Now()
					if _, _, err := s.Find(list[i*7%n]); err != nil {
						b.Fatal(err)
					}
					reads = append(reads, time.Since(start))
				}
			}
			slices.Sort(reads)
			b.ReportMetric(float64(reads[len(reads)-1].Microseconds()), "worst-µs")
			b.ReportMetric(float64(reads[len(reads)*9999/10000].Microseconds()), "p99.99-µs")
		})
	}
}
