package parity

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	_ "github.com/lib/pq" // the driver
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

type postgresRecords struct {
	db            *sql.DB
	table, expiry string
}

func newPostgresRecords(tb testing.TB, url, table, expiry string) postgresRecords {
	db, err := sql.Open("postgres", url)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { db.Close() })
	return postgresRecords{db, table, expiry}
}

func (r postgresRecords) get(id string) (body string, left time.Duration, err error) {
	var seconds float64
	err = r.db.QueryRow("SELECT sess, extract(epoch FROM "+r.expiry+" - now()::"+r.zone()+") FROM "+r.table+" WHERE sid = $1", id).Scan(&body, &seconds)
	return body, time.Duration(seconds * float64(time.Second)), err
}

// zone returns the type of the expiry's column.
func (r postgresRecords) zone() string {
	if r.expiry == "expire" {
		return "timestamp"
	}
	return "timestamptz"
}

func (r postgresRecords) age(left time.Duration) error {
	_, err := r.db.Exec("UPDATE "+r.table+" SET "+r.expiry+" = now() + $1 * interval '1 second' WHERE "+r.expiry+" > now()::"+r.zone(), left.Seconds())
	return err
}

func (r postgresRecords) replace(body string) error {
	_, err := r.db.Exec("UPDATE "+r.table+" SET sess = $1", body)
	return err
}
