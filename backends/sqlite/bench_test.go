package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/samesid/samesid/backends/contract"
)

// BenchmarkStore measures the calls of a request, 32 concurrently over 5,000 sessions.
// "driver" is the statement that each call needs at least, with the driver's own
// database/sql package on the same table, with connections and pragmas as Open's.
func BenchmarkStore(b *testing.B) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	late := inAnHour()
	path := newPath(b)
	s := open(b, path, quiet(LayoutSCS))
	data, other := bytes.Repeat([]byte("x"), 200), bytes.Repeat([]byte("y"), 200)
	tokens := make([]string, 5000)
	for i := range tokens {
		tokens[i] = fmt.Sprintf("%043d", i)
		commit(b, s, tokens[i], data, late)
	}
	pragmas := []string{"_pragma=journal_mode(wal)", "_pragma=synchronous(normal)"}
	writer, reader := rawDB(b, path, pragmas...), rawDB(b, path, pragmas...)
	writer.SetMaxOpenConns(1)
	reader.SetMaxOpenConns(4)
	reader.SetMaxIdleConns(4)
	prepare := func(db *sql.DB, query string) *sql.Stmt {
		stmt, err := db.PrepareContext(ctx, query)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { stmt.Close() })
		return stmt
	}
	selects := prepare(reader, "SELECT data FROM sessions WHERE token = ?")
	updates := prepare(writer, "UPDATE sessions SET expiry = ? WHERE token = ? RETURNING data")
	upserts := prepare(writer, "INSERT INTO sessions (token, data, expiry) VALUES (?, ?, ?) ON CONFLICT (token) DO UPDATE SET data = excluded.data, expiry = excluded.expiry")
	until := func() any { return s.table.writeExpiry(inAnHour()) }

	for _, bb := range []struct {
		name string
		call func(token string) error
	}{
		{"driver/select", func(token string) (err error) {
			var got []byte
			return selects.QueryRowContext(ctx, token).Scan(&got)
		}},
		{"find", func(token string) error { _, _, err := s.FindCtx(ctx, token); return err }},
		{"findexpiry", func(token string) error { _, _, _, err := s.FindExpiry(ctx, token); return err }},
		{"driver/update", func(token string) error {
			rows, err := updates.QueryContext(ctx, until(), token)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() { // to the end, where SQLite moves the -wal file's pages
				var got []byte
				if err := rows.Scan(&got); err != nil {
					return err
				}
			}
			return rows.Err()
		}},
		{"findtouch", func(token string) error { _, _, err := s.FindTouch(ctx, token, inAnHour()); return err }},
		{"touch", func(token string) error { _, _, err := s.Swap(ctx, token, data, data, inAnHour()); return err }},
		{"driver/upsert", func(token string) (err error) {
			_, err = upserts.ExecContext(ctx, token, data, until())
			return err
		}},
		{"commit", func(token string) error { return s.CommitCtx(ctx, token, data, inAnHour()) }},
		{"swap there and back", func(token string) error {
			_, _, err := s.Swap(ctx, token, data, other, inAnHour())
			_, _, backErr := s.Swap(ctx, token, other, data, inAnHour())
			return errors.Join(err, backErr)
		}},
		{"move there and back", func(token string) error {
			_, _, err := s.Move(ctx, []contract.Record{{Token: token, Data: data}}, token+"x", data, inAnHour())
			_, _, backErr := s.Move(ctx, []contract.Record{{Token: token + "x", Data: data}}, token, data, inAnHour())
			return errors.Join(err, backErr)
		}},
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
