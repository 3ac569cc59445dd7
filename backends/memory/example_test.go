package memory_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/samesid/samesid/backends/memory"
)

func ExampleNew() {
	store := memory.New(memory.Options{MaxSessions: 1})
	defer store.Close()

	tomorrow := time.Now().Add(24 * time.Hour)
	fmt.Println(store.Commit("first", []byte("data"), tomorrow))
	err := store.Commit("second", []byte("data"), tomorrow)
	fmt.Println(err, errors.Is(err, memory.ErrFull))
	// Output:
	// <nil>
	// memory: commit: the store is full true
}
