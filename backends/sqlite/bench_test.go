package sqlite

import (
	"context"
	"database/sql"
	"strings"
	"testing"

	"github.com/samesid/samesid/backends/storetest"
)

// BenchmarkStore measures the store beside the statement that each call needs at least,
// with the driver's own database/sql package on the same table, with connections and
// pragmas as Open's.
func BenchmarkStore(b *testing.B) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	path := newPath(b)
	s := open(b, path, quiet(LayoutSCS))
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

	storetest.Benchmark(b, s,
		storetest.Floor{Name: "driver/select", Call: func(token string) error {
			var got []byte
			return selects.QueryRowContext(ctx, token).Scan(&got)
		}},
		storetest.Floor{Name: "driver/update", Call: func(token string) error {
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
		storetest.Floor{Name: "driver/upsert", Call: func(token string) error {
			_, err := upserts.ExecContext(ctx, token, []byte(strings.Repeat("x", 200)), until())
			return err
		}})
}
