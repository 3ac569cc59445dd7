package postgres

import (
	"database/sql"
	"testing"

	"github.com/samesid/samesid/backends/storetest"
	"github.com/samesid/samesid/internal/testserver"
)

// BenchmarkStore measures the store on a server that waits for its disk, beside the one
// prepared statement that a call needs at least.
func BenchmarkStore(b *testing.B) {
	server := testserver.StartPostgres(b, "fsync=on", "full_page_writes=on")
	for _, named := range []bool{false, true} {
		b.Run(map[bool]string{false: "unnamed", true: "named"}[named], func(b *testing.B) {
			benchmarkStore(b, server.URL, named)
		})
	}
}

func benchmarkStore(b *testing.B, url string, named bool) {
	ctx := b.Context()
	s, err := Open(ctx, url, Options{CreateTable: true, CleanupInterval: -1, MaxConns: 32, PreparedStatements: named})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
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

	storetest.Benchmark(b, s,
		storetest.Floor{Name: "floor/select", Call: func(token string) error {
			var got []byte
			return selects.QueryRowContext(ctx, token).Scan(&got)
		}},
		storetest.Floor{Name: "floor/update", Call: func(token string) error {
			var got []byte
			return updates.QueryRowContext(ctx, token, inAnHour()).Scan(&got)
		}})
}
