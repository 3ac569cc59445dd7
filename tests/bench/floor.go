package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// The floors are servers without sessions. They show the cost of a request when a session
// costs nothing, or only one command to the store. They verify no cookie and decode
// nothing.

// floor is a server that finds the user's name by the cookie's value.
type floor struct {
	find func(ctx context.Context, id string) (name string, err error)
	put  func(ctx context.Context, id string, data []byte) error

	counts *sync.Map // by id, for the workload change; nil without it
}

func (f floor) app() *app { return onHTTP(f, nil) }

func (f floor) read(_ http.ResponseWriter, r *http.Request) (user, bool, error) {
	c, err := r.Cookie("id")
	if err != nil {
		return user{}, false, nil
	}
	name, err := f.find(r.Context(), c.Value)
	return user{Name: name}, err == nil, err
}

func (f floor) login(w http.ResponseWriter, r *http.Request, u user) error {
	data, err := json.Marshal(u)
	if err != nil {
		return err
	}
	http.SetCookie(w, &http.Cookie{Name: "id", Value: u.Name})
	return f.put(r.Context(), u.Name, data)
}

// change writes the record with a counter that it has not read.
func (f floor) change(_ http.ResponseWriter, r *http.Request) (user, int, error) {
	c, err := r.Cookie("id")
	if err != nil || f.counts == nil {
		return user{}, 0, errors.ErrUnsupported
	}
	count, _ := f.counts.LoadOrStore(c.Value, new(atomic.Int64))
	n := count.(*atomic.Int64).Add(1)
	u := user{Name: c.Value}
	data, err := json.Marshal(map[string]any{"user": u, "n": n})
	if err == nil {
		err = f.put(r.Context(), c.Value, data)
	}
	return u, int(n), err
}

func bareFloor(context.Context, string) (*app, error) {
	return floor{
		find: func(_ context.Context, id string) (string, error) { return id, nil },
		put:  func(context.Context, string, []byte) error { return nil },
	}.app(), nil
}

func redisFloor(_ context.Context, url string) (*app, error) {
	pool := newRedisPool(url)
	return floor{
		find: func(_ context.Context, id string) (string, error) {
			c := pool.Get()
			defer c.Close()
			data, err := redigo.Bytes(c.Do("GETEX", id, "EX", int(lifetime.Seconds())))
			return nameIn(data), err
		},
		put: func(_ context.Context, id string, data []byte) error {
			c := pool.Get()
			defer c.Close()
			_, err := c.Do("SET", id, data, "EX", int(lifetime.Seconds()))
			return err
		},
	}.app(), nil
}

// postgresFloor reads with a prepared statement from a table of connect-pg-simple's
// layout.
func postgresFloor(find string) opener {
	return func(ctx context.Context, url string) (*app, error) {
		db, err := openPostgres(url)
		if err != nil {
			return nil, err
		}
		if _, err := db.ExecContext(ctx, `CREATE TABLE session (
				sid varchar PRIMARY KEY, sess json NOT NULL, expire timestamp(6) NOT NULL);
			CREATE INDEX ON session (expire)`); err != nil {
			return nil, err
		}
		row := func(ctx context.Context, id string) *sql.Row { return db.QueryRowContext(ctx, find, id) }
		if !strings.Contains(url, unnamed) {
			stmt, err := db.PrepareContext(ctx, find) //nolint:sqlclosecheck // it lives as long as the process
			if err != nil {
				return nil, err
			}
			row = func(ctx context.Context, id string) *sql.Row { return stmt.QueryRowContext(ctx, id) }
		}
		return floor{
			find: func(ctx context.Context, id string) (string, error) {
				var data []byte
				err := row(ctx, id).Scan(&data)
				return nameIn(data), err
			},
			put: func(ctx context.Context, id string, data []byte) error {
				_, err := db.ExecContext(ctx, `INSERT INTO session VALUES ($1, $2, now() + interval '1 day')
					ON CONFLICT (sid) DO UPDATE SET sess = excluded.sess`, id, string(data))
				return err
			},
		}.app(), nil
	}
}

// unnamed in a URL has lib/pq send a statement and its arguments at once, without a name,
// as PgBouncer needs it.
const unnamed = "binary_parameters=yes"

// sqliteFloor reads with a prepared statement from a table of connect-sqlite3's layout, with
// the connections that samesid has.
func sqliteFloor(find string, writes bool) opener {
	return func(ctx context.Context, path string) (*app, error) {
		open := func(conns int) (*sql.DB, error) {
			db, err := sql.Open("sqlite3", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=busy_timeout(10000)")
			if err == nil {
				db.SetMaxOpenConns(conns)
				db.SetMaxIdleConns(conns)
			}
			return db, err
		}
		writer, err := open(1)
		if err != nil {
			return nil, err
		}
		reader, err := open(max(4, runtime.GOMAXPROCS(0)))
		if err != nil {
			return nil, err
		}
		if _, err := writer.ExecContext(ctx, "CREATE TABLE sessions (sid PRIMARY KEY, expired, sess)"); err != nil {
			return nil, err
		}
		of := reader
		if writes {
			of = writer
		}
		stmt, err := of.PrepareContext(ctx, find) //nolint:sqlclosecheck // it lives as long as the process
		if err != nil {
			return nil, err
		}
		upsert, err := writer.PrepareContext(ctx, //nolint:sqlclosecheck // it lives as long as the process
			"INSERT INTO sessions VALUES (?, ?, ?) ON CONFLICT (sid) DO UPDATE SET sess = excluded.sess, expired = excluded.expired")
		if err != nil {
			return nil, err
		}
		return floor{
			counts: new(sync.Map),
			find: func(ctx context.Context, id string) (string, error) {
				var data []byte
				args := []any{id, time.Now().UnixMilli()}
				if writes {
					args = []any{time.Now().Add(lifetime).UnixMilli(), id, time.Now().UnixMilli()}
				}
				err := stmt.QueryRowContext(ctx, args...).Scan(&data)
				return nameIn(data), err
			},
			put: func(ctx context.Context, id string, data []byte) error {
				_, err := upsert.ExecContext(ctx, id, time.Now().Add(lifetime).UnixMilli(), string(data))
				return err
			},
		}.app(), nil
	}
}

const (
	sqliteSelect = "SELECT sess FROM sessions WHERE sid = ? AND expired >= ?"
	sqliteUpdate = "UPDATE sessions SET expired = ? WHERE sid = ? AND expired >= ? RETURNING sess"
)

// Like samesid in this table, the updates round the expiry up to whole seconds, so that a
// row that was used in the same second needs no new index entry.
const (
	floorSelect = `SELECT sess FROM session WHERE sid = $1 AND expire > now()`
	floorUpdate = `UPDATE session SET expire = date_trunc('second', now() + interval '1 day 1 second')
		WHERE sid = $1 AND expire > now() RETURNING sess`
	floorUnsynced = `UPDATE session SET expire = date_trunc('second', now() + interval '1 day 1 second')
		WHERE sid = $1 AND expire > now() AND set_config('synchronous_commit', 'off', true) = 'off' RETURNING sess`
)

// nameIn returns the user's name in a record, without decoding it.
func nameIn(data []byte) string {
	_, rest, _ := bytes.Cut(data, []byte(`"name":"`))
	name, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(name)
}
