package main

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/samesid/samesid/internal/testserver"
)

// backend holds the servers of one run.
type backend struct {
	redis, postgres, bouncer *testserver.Server
	admin                    *sql.DB // a superuser's pool on Postgres
	files                    string  // the folder of SQLite's
}

func startBackend() (_ *backend, err error) {
	b := &backend{}
	defer func() {
		if err != nil {
			b.stop()
		}
	}()
	// The servers have their default settings except those that isolate them from others.
	if b.redis, err = testserver.LaunchRedis("--databases", strconv.Itoa(len(roles)), "--save", "3600 1 300 100 60 10000"); err != nil {
		return nil, err
	}
	if b.postgres, err = testserver.LaunchPostgres("fsync=on", "full_page_writes=on", "max_connections=300"); err != nil {
		return nil, err
	}
	if b.bouncer, err = testserver.LaunchPgBouncer(b.postgres, "pool_mode = transaction", "default_pool_size = "+strconv.Itoa(postgresPool)); err != nil {
		return nil, err
	}
	if b.files, err = os.MkdirTemp("", "bench"); err != nil {
		return nil, err
	}
	b.admin, err = sql.Open("postgres", b.postgres.URL)
	return b, err
}

func (b *backend) stop() {
	if b.admin != nil {
		b.admin.Close()
	}
	for _, s := range []*testserver.Server{b.redis, b.bouncer, b.postgres} {
		if s != nil {
			s.Close()
		}
	}
	if b.files != "" {
		os.RemoveAll(b.files)
	}
}

// addr returns the address of the role's store, or "" if it is in the process.
func (b *backend) addr(r role) string {
	switch {
	case r.store == inRedis:
		return b.redis.Addr
	case r.pooled:
		return b.bouncer.Addr
	case r.store == inPostgres:
		return b.postgres.Addr
	default:
		return ""
	}
}

// storePID returns the process of the role's store, or 0 if it is in the server's.
func (b *backend) storePID(r role) int {
	switch r.store {
	case inRedis:
		return b.redis.PID()
	case inPostgres:
		return b.postgres.PID()
	default:
		return 0
	}
}

// empty creates or empties the role's own database, and returns its URL.
func (b *backend) empty(ctx context.Context, r role) (string, error) {
	switch r.store {
	case inRedis:
		number := slices.IndexFunc(roles, func(o role) bool { return o.name == r.name })
		url := "redis://" + b.redis.Addr + "/" + strconv.Itoa(number)
		c, err := redigo.DialURLContext(ctx, url)
		if err != nil {
			return "", err
		}
		defer c.Close()
		_, err = c.Do("FLUSHDB")
		return url, err
	case inPostgres:
		name := strings.ReplaceAll(r.name, "-", "_")
		for _, query := range []string{"DROP DATABASE IF EXISTS " + name + " WITH (FORCE)", "CREATE DATABASE " + name} {
			if _, err := b.admin.ExecContext(ctx, query); err != nil {
				return "", err
			}
		}
		url := strings.Replace(b.postgres.URL, "/postgres?", "/"+name+"?", 1)
		if r.pooled {
			url = "postgres://postgres@" + b.bouncer.Addr + "/" + name + "?sslmode=disable&" + unnamed
		}
		return url, nil
	case inSQLite:
		path := filepath.Join(b.files, r.name+".db")
		for _, name := range []string{path, path + "-wal", path + "-shm"} {
			if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
				return "", err
			}
		}
		return path, nil
	default:
		return "", nil
	}
}

// walBytes returns how many bytes Postgres has written to its write-ahead log so far.
func (b *backend) walBytes(ctx context.Context) (n int64, err error) {
	err = b.admin.QueryRowContext(ctx, "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn").Scan(&n)
	return n, err
}
