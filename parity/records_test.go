package parity

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	_ "github.com/lib/pq"                    // the driver of Postgres
	_ "github.com/ncruces/go-sqlite3/driver" // that of SQLite
)

// records accesses a store's server directly, bypassing both sides.
type records interface {
	// get returns a record and the time it has left.
	get(id string) (body string, left time.Duration, err error)
	// age sets the time left of each record that has not expired.
	age(left time.Duration) error
	// replace gives each record this body.
	replace(body string) error
}

// record is one stored session.
type record struct {
	cookie map[string]any
	left   time.Duration
}

func readRecord(r records, id string) (record, error) {
	body, left, err := r.get(id)
	if err != nil {
		return record{}, err
	}
	var parsed struct{ Cookie map[string]any }
	if err := json.Unmarshal([]byte(body), &parsed); err != nil {
		return record{}, fmt.Errorf("stored record: %w", err)
	}
	return record{cookie: parsed.Cookie, left: left}, nil
}

type redisRecords struct {
	pool   *redis.Pool
	prefix string
}

func newRedisRecords(tb testing.TB, url, prefix string) redisRecords {
	pool := &redis.Pool{Dial: func() (redis.Conn, error) { return redis.DialURL(url) }, MaxIdle: 1}
	tb.Cleanup(func() { pool.Close() })
	return redisRecords{pool, prefix}
}

func (r redisRecords) get(id string) (string, time.Duration, error) {
	c := r.pool.Get()
	defer c.Close()
	body, err := redis.String(c.Do("GET", r.prefix+id))
	if err != nil {
		return "", 0, err
	}
	ms, err := redis.Int64(c.Do("PTTL", r.prefix+id))
	return body, time.Duration(ms) * time.Millisecond, err
}

func (r redisRecords) age(left time.Duration) error {
	return r.each("PEXPIRE", left.Milliseconds())
}

func (r redisRecords) replace(body string) error { return r.each("SET", body, "KEEPTTL") }

// each sends a command for each record.
func (r redisRecords) each(command string, args ...any) error {
	c := r.pool.Get()
	defer c.Close()
	keys, err := redis.Strings(c.Do("KEYS", r.prefix+"*"))
	for _, key := range keys {
		if _, err := c.Do(command, append([]any{key}, args...)...); err != nil {
			return err
		}
	}
	return err
}

// sqlRecords reads a table of Postgres or SQLite.
type sqlRecords struct {
	db          *sql.DB
	table, data string
	left        string // the seconds left
	expiry      string // the column
	in          string // its value for a number of seconds left, the first argument
}

func newPostgresRecords(tb testing.TB, url, schema string, s store) sqlRecords {
	r := newSQLRecords(tb, "postgres", url, s)
	if schema != "" {
		r.table = schema + "." + r.table
	}
	// Either type of a timestamp can be cast, in the connection's time zone.
	r.left = "extract(epoch FROM " + r.expiry + "::timestamptz - now())"
	r.in = "now() + $1 * interval '1 second'"
	return r
}

func newSQLiteRecords(tb testing.TB, path string, s store) sqlRecords {
	r := newSQLRecords(tb, "sqlite3", "file:"+path, s)
	// A text is a date, and a number is in milliseconds since 1970.
	const now = "(julianday('now') - 2440587.5) * 86400"
	r.left = "CASE typeof(" + r.expiry + ") WHEN 'text' THEN (julianday(" + r.expiry + ") - 2440587.5) * 86400 ELSE " + r.expiry + " / 1000.0 END - " + now
	r.in = "CASE typeof(" + r.expiry + ") WHEN 'text' THEN strftime('%Y-%m-%dT%H:%M:%fZ', julianday('now') + $1 / 86400) ELSE CAST((" + now + " + $1) * 1000 AS INTEGER) END"
	return r
}

func newSQLRecords(tb testing.TB, driver, source string, s store) sqlRecords {
	db, err := sql.Open(driver, source)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { db.Close() })
	return sqlRecords{db: db, table: `"` + s.Table + `"`, data: s.Data, expiry: s.Expiry}
}

func (r sqlRecords) get(id string) (body string, left time.Duration, err error) {
	var seconds float64
	err = r.db.QueryRow("SELECT CAST("+r.data+" AS text), "+r.left+" FROM "+r.table+" WHERE sid = $1", id).Scan(&body, &seconds)
	return body, time.Duration(seconds * float64(time.Second)), err
}

func (r sqlRecords) age(left time.Duration) error {
	_, err := r.db.Exec("UPDATE "+r.table+" SET "+r.expiry+" = "+r.in+" WHERE "+r.left+" > 0", left.Seconds())
	return err
}

func (r sqlRecords) replace(body string) error {
	_, err := r.db.Exec("UPDATE "+r.table+" SET "+r.data+" = $1", body)
	return err
}
