package redis_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/samesid/samesid/backends/contract"
	"github.com/samesid/samesid/backends/redis"
	"github.com/samesid/samesid/internal/testserver"
)

// BenchmarkStore measures the calls of a request, 32 concurrently over 5,000
// sessions. "floor" is the one command that a read needs at least.
func BenchmarkStore(b *testing.B) {
	server := testserver.StartRedis(b)
	ctx, late := context.Background(), time.Now().Add(time.Hour)
	s, err := redis.Open(ctx, server.URL, redis.Options{MaxConns: 32, MaxIdleConns: 32})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	data, other := bytes.Repeat([]byte("x"), 200), bytes.Repeat([]byte("y"), 200)
	tokens := make([]string, 5000)
	for i := range tokens {
		tokens[i] = fmt.Sprintf("%043d", i)
		if err := s.CommitCtx(ctx, tokens[i], data, late); err != nil {
			b.Fatal(err)
		}
	}
	pool := &redigo.Pool{MaxIdle: 32, MaxActive: 32, Wait: true, Dial: func() (redigo.Conn, error) { return redigo.DialURL(server.URL) }}
	defer pool.Close()

	for _, bb := range []struct {
		name string
		call func(token string) error
	}{
		{"floor/getex", func(token string) error {
			c := pool.Get()
			defer c.Close()
			_, err := c.Do("GETEX", "scs:session:"+token, "PX", 3600000)
			return err
		}},
		{"find", func(token string) error { _, _, err := s.FindCtx(ctx, token); return err }},
		{"findtouch", func(token string) error { _, _, err := s.FindTouch(ctx, token, late); return err }},
		{"findexpiry", func(token string) error { _, _, _, err := s.FindExpiry(ctx, token); return err }},
		{"touch", func(token string) error { _, _, err := s.Swap(ctx, token, data, data, late); return err }},
		{"swap there and back", func(token string) error {
			_, _, err := s.Swap(ctx, token, data, other, late)
			_, _, backErr := s.Swap(ctx, token, other, data, late)
			return errors.Join(err, backErr)
		}},
		{"move there and back", func(token string) error {
			_, _, err := s.Move(ctx, []contract.Record{{Token: token, Data: data}}, token+"x", data, late)
			_, _, backErr := s.Move(ctx, []contract.Record{{Token: token + "x", Data: data}}, token, data, late)
			return errors.Join(err, backErr)
		}},
		{"commit", func(token string) error { return s.CommitCtx(ctx, token, data, late) }},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := bb.call(tokens[rand.IntN(len(tokens))]); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
