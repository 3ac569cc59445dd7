package backends_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/samesid/samesid/backends"
	"github.com/samesid/samesid/backends/memory"
)

// The store is chosen by its URL, which may come from the environment. Its options are those
// of its own package; for Redis they would be redis.Options.
func ExampleOpen() {
	ctx := context.Background()
	store, err := backends.Open(ctx, backends.Config{
		URL:     "memory://",
		Options: memory.Options{MaxSessions: 1000},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	if err := store.CommitCtx(ctx, "token", []byte("data"), time.Now().Add(time.Hour)); err != nil {
		log.Fatal(err)
	}
	fmt.Println(store.Len(ctx))
	fmt.Println(store.Ping(ctx))
	// Output:
	// 1 <nil>
	// <nil>
}
