package redis_test

import (
	"testing"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/samesid/samesid/backends/redis"
	"github.com/samesid/samesid/backends/storetest"
	"github.com/samesid/samesid/internal/testserver"
)

// BenchmarkStore measures the store beside the one command that a read needs at least.
func BenchmarkStore(b *testing.B) {
	server := testserver.StartRedis(b)
	s, err := redis.Open(b.Context(), server.URL, redis.Options{MaxConns: 32, MaxIdleConns: 32})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	pool := &redigo.Pool{MaxIdle: 32, MaxActive: 32, Wait: true, Dial: func() (redigo.Conn, error) { return redigo.DialURL(server.URL) }}
	defer pool.Close()

	storetest.Benchmark(b, s, storetest.Floor{Name: "floor/getex", Call: func(token string) error {
		c := pool.Get()
		defer c.Close()
		_, err := c.Do("GETEX", "scs:session:"+token, "PX", 3600000)
		return err
	}})
}
