package sqlite_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/samesid/samesid/backends/sqlite"
)

func ExampleOpen() {
	folder, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	ctx := context.Background()

	// The file of an Express app that uses connect-session-knex; here it is new.
	file := filepath.Join(folder, "connect-session-knex.sqlite")
	store, err := sqlite.Open(ctx, file, sqlite.Options{
		Layout:      sqlite.LayoutConnectSessionKnex,
		CreateTable: true,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	record := []byte(`{"cookie":{"originalMaxAge":3600000},"user":"alice"}`)
	if err := store.CommitCtx(ctx, "id", record, time.Now().Add(time.Hour)); err != nil {
		log.Fatal(err)
	}
	data, found, err := store.FindCtx(ctx, "id")
	fmt.Println(string(data), found, err)
	// Output: {"cookie":{"originalMaxAge":3600000},"user":"alice"} true <nil>
}
