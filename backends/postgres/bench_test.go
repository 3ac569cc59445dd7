package postgres

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/samesid/samesid/backends/contract"
	"github.com/samesid/samesid/internal/testserver"
)

// BenchmarkStore measures the calls of a request, 32 concurrently over 5,000
// sessions, on a server that waits for its disk. "floor" is the one prepared
// statement that each call needs at least.
func BenchmarkStore(b *testing.B) {
	server := testserver.StartPostgres(b, "fsync=on", "full_page_writes=on")
	ctx, late := context.Background(), inAnHour()
	s, err := Open(ctx, server.URL, Options{CreateTable: true, CleanupInterval: -1, MaxConns: 32})
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
	prepare := func(query string) *sql.Stmt {
		stmt, err := s.db.PrepareContext(ctx, query)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { stmt.Close() })
		return stmt
	}
	selects := prepare("SELECT data FROM sessions WHERE token = $1")
	updates := prepare("UPDATE sessions SET expiry = $2 WHERE token = $1 RETURNING data")

	for _, bb := range []struct {
		name string
		call func(token string) error
	}{
		{"floor/select", func(token string) (err error) {
			var got []byte
			return selects.QueryRowContext(ctx, token).Scan(&got)
		}},
		{"find", func(token string) error { _, _, err := s.FindCtx(ctx, token); return err }},
		{"findexpiry", func(token string) error { _, _, _, err := s.FindExpiry(ctx, token); return err }},
		{"floor/update", func(token string) (err error) {
			var got []byte
			return updates.QueryRowContext(ctx, token, late).Scan(&got)
		}},
		{"findtouch", func(token string) error { _, _, err := s.FindTouch(ctx, token, late); return err }},
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
