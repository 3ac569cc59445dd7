package main

import (
	"context"
	"database/sql"
	"net/http"
	"time"

	"github.com/alexedwards/scs/postgresstore"
	"github.com/alexedwards/scs/redisstore"
	"github.com/alexedwards/scs/sqlite3store"
	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"
	redigo "github.com/gomodule/redigo/redis"
	_ "github.com/lib/pq"                    // the driver
	_ "github.com/ncruces/go-sqlite3/driver" // the driver
)

func scsMemory(idle time.Duration) opener {
	return func(context.Context, string) (*app, error) {
		store := memstore.New()
		return onSCS(store, idle, storeCopies(store)), nil
	}
}

func scsRedis(idle time.Duration) opener {
	return func(_ context.Context, url string) (*app, error) {
		store := redisstore.New(newRedisPool(url))
		return onSCS(store, idle, storeCopies(store)), nil
	}
}

// newRedisPool returns a pool like samesid's own, which does not PING a connection before
// each use: that would be one more round trip.
func newRedisPool(url string) *redigo.Pool {
	return &redigo.Pool{
		Dial:      func() (redigo.Conn, error) { return redigo.DialURL(url) },
		MaxActive: redisPool, MaxIdle: redisPool, Wait: true,
	}
}

func scsPostgres(idle time.Duration) opener {
	return func(ctx context.Context, url string) (*app, error) {
		db, err := openPostgres(url)
		if err != nil {
			return nil, err
		}
		if _, err := db.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS sessions (
				token TEXT PRIMARY KEY, data BYTEA NOT NULL, expiry TIMESTAMPTZ NOT NULL);
			CREATE INDEX IF NOT EXISTS sessions_expiry_idx ON sessions (expiry)`); err != nil {
			return nil, err
		}
		return onSCS(postgresstore.New(db), idle, tableCopies(url, "sessions", "token", "data", "expiry")), nil
	}
}

func scsSQLite(idle time.Duration) opener {
	return func(ctx context.Context, path string) (*app, error) {
		db, err := sql.Open("sqlite3", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=busy_timeout(10000)&_txlock=immediate")
		if err != nil {
			return nil, err
		}
		if _, err := db.ExecContext(ctx, `CREATE TABLE sessions (token TEXT PRIMARY KEY, data BLOB NOT NULL, expiry REAL NOT NULL);
			CREATE INDEX sessions_expiry_idx ON sessions (expiry)`); err != nil {
			return nil, err
		}
		return onSCS(sqlite3store.New(db), idle, nil), nil
	}
}

func openPostgres(url string) (*sql.DB, error) {
	db, err := sql.Open("postgres", url)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(postgresPool)
	db.SetMaxIdleConns(postgresPool)
	return db, nil
}

// onSCS serves with scs and its defaults. An idle of 0 means a fixed expiry.
func onSCS(store scs.Store, idle time.Duration, copies func(context.Context, string, int, int) error) *app {
	m := scs.New()
	m.Store = store
	m.IdleTimeout = idle
	m.Lifetime = 7 * lifetime
	if idle == 0 {
		m.Lifetime = lifetime
	}
	a := onHTTP(scsSessions{m}, m.LoadAndSave)
	a.filler = &filler{
		cookie: func(id string) string { return m.Cookie.Name + "=" + id },
		create: func(ctx context.Context, u user) (id string, err error) {
			if ctx, err = m.Load(ctx, ""); err != nil {
				return "", err
			}
			m.Put(ctx, "user", u)
			id, _, err = m.Commit(ctx)
			return id, err
		},
		copies: copies,
	}
	return a
}

type scsSessions struct{ m *scs.SessionManager }

func (s scsSessions) read(_ http.ResponseWriter, r *http.Request) (user, bool, error) {
	u, ok := s.m.Get(r.Context(), "user").(user)
	return u, ok, nil
}

func (s scsSessions) login(_ http.ResponseWriter, r *http.Request, u user) error {
	if err := s.m.RenewToken(r.Context()); err != nil {
		return err
	}
	s.m.Put(r.Context(), "user", u)
	return nil
}

func (s scsSessions) change(_ http.ResponseWriter, r *http.Request) (user, int, error) {
	ctx := r.Context()
	n := s.m.GetInt(ctx, "n") + 1
	s.m.Put(ctx, "n", n)
	u, _ := s.m.Get(ctx, "user").(user)
	return u, n, nil
}
