package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/backends/contract"
)

// A Floor is a call by the store's own client that does the least that a call of the
// store can do, to measure beside it.
type Floor struct {
	Name string
	Call func(token string) error
}

// Benchmark measures the calls of a request on a store that has all of the optional
// interfaces, and the floors, 16 calls at a time for each processor, over 5,000 records
// of 200 bytes that it writes first.
func Benchmark(b *testing.B, s interface {
	scs.CtxStore
	contract.FindToucher
	contract.FindExpirer
	contract.Swapper
	contract.Mover
}, floors ...Floor,
) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	late := func() time.Time { return time.Now().Add(time.Hour) }
	data, other := bytes.Repeat([]byte("x"), 200), bytes.Repeat([]byte("y"), 200)
	tokens := make([]string, 5000)
	for i := range tokens {
		tokens[i] = fmt.Sprintf("%043d", i)
		if err := s.CommitCtx(ctx, tokens[i], data, late()); err != nil {
			b.Fatal(err)
		}
	}
	swap := func(token string, old, new []byte) error {
		_, _, err := s.Swap(ctx, token, old, new, late())
		return err
	}
	move := func(from, to string) error {
		_, _, err := s.Move(ctx, []contract.Record{{Token: from, Data: data}}, to, data, late())
		return err
	}
	for _, c := range append(floors,
		Floor{"find", func(token string) error { _, _, err := s.FindCtx(ctx, token); return err }},
		Floor{"findexpiry", func(token string) error { _, _, _, err := s.FindExpiry(ctx, token); return err }},
		Floor{"findtouch", func(token string) error { _, _, err := s.FindTouch(ctx, token, late()); return err }},
		Floor{"touch", func(token string) error { return swap(token, data, data) }},
		Floor{"commit", func(token string) error { return s.CommitCtx(ctx, token, data, late()) }},
		Floor{"swap there and back", func(token string) error {
			return errors.Join(swap(token, data, other), swap(token, other, data))
		}},
		Floor{"move there and back", func(token string) error {
			return errors.Join(move(token, token+"x"), move(token+"x", token))
		}},
	) {
		b.Run(c.Name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := c.Call(tokens[rand.IntN(len(tokens))]); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
