//go:build unix

package eachstore

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gomodule/redigo/redis"

	"github.com/samesid/samesid/backends"
)

// Records is access to the records of a place as another program would have it: past the
// store, but in memory.
type Records struct {
	*Table // nil if there is none

	p     *Place
	store backends.Store
}

// Table is the table of a place, with its names quoted.
type Table struct {
	*sql.DB
	Name, ID, Data, Expiry string
	DataType, ExpiryType   string

	// Others are the columns that no layout reads, each after a comma.
	Others string
}

// Records returns access to the records of an open store.
func (p *Place) Records(tb testing.TB, store backends.Store) *Records {
	tb.Helper()
	r := &Records{p: p, store: store}
	if p.HasTable() {
		r.Table = p.table(tb)
	}
	return r
}

// table finds the names by what all layouts have in common: the id is the first column,
// and the expiry begins with exp.
func (p *Place) table(tb testing.TB) *Table {
	tb.Helper()
	t := &Table{DB: p.DB(tb)}
	rows, err := t.Query(p.home().columns)
	if err != nil {
		tb.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var column, typ string
		if err := rows.Scan(&t.Name, &column, &typ); err != nil {
			tb.Fatal(err)
		}
		quoted := `"` + column + `"`
		switch {
		case t.ID == "":
			t.ID = quoted
		case strings.HasPrefix(column, "exp"):
			t.Expiry, t.ExpiryType = quoted, typ
		case strings.HasSuffix(column, "At"):
			t.Others += ", " + quoted
		default:
			t.Data, t.DataType = quoted, typ
		}
	}
	t.Name = `"` + t.Name + `"`
	if rows.Err() != nil || t.Data == "" || t.Expiry == "" {
		tb.Fatalf("the columns of %s: %v, %+v", p, rows.Err(), t)
	}
	return t
}

// IsText reports whether a text can hold data.
func IsText(data []byte) bool { return utf8.Valid(data) && bytes.IndexByte(data, 0) < 0 }

// Takes reports whether the place can hold these bytes as a record.
func (r *Records) Takes(data []byte) bool {
	switch {
	case r.Table == nil || !r.p.HasServer():
		return true // in SQLite a column of any type can
	case strings.HasPrefix(r.DataType, "json"):
		return json.Valid(data)
	case r.DataType == "text":
		return IsText(data)
	}
	return true
}

// value returns data as the store would hold it.
func (r *Records) value(data []byte) any {
	if r.p.Layout.Express && IsText(data) {
		return string(data)
	}
	return data
}

// Put writes a record that lives for an hour.
func (r *Records) Put(tb testing.TB, id string, data []byte) {
	tb.Helper()
	var err error
	switch {
	case r.p.Backend.Type == "redis":
		r.p.Redis(tb, "SET", r.key(id), data, "EX", 3600)
	case r.Table == nil:
		err = r.store.CommitCtx(tb.Context(), id, data, time.Now().Add(time.Hour))
	default:
		if err = r.store.CommitCtx(tb.Context(), id, []byte(`{"cookie":{}}`), time.Now().Add(time.Hour)); err == nil {
			_, err = r.Exec(fmt.Sprintf("UPDATE %s SET %s = $1 WHERE %s = $2", r.Name, r.Data, r.ID), r.value(data), id)
		}
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// Get returns a record, or nil if it is gone.
func (r *Records) Get(tb testing.TB, id string) (data []byte) {
	tb.Helper()
	var err error
	switch {
	case r.p.Backend.Type == "redis":
		data, _ = r.p.Redis(tb, "GET", r.key(id)).([]byte)
	case r.Table == nil:
		data, _, err = r.store.FindCtx(tb.Context(), id)
	default:
		err = r.QueryRow(fmt.Sprintf("SELECT %s FROM %s WHERE %s = $1", r.Data, r.Name, r.ID), id).Scan(&data)
		if err == nil && data == nil {
			data = []byte{}
		}
	}
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		tb.Fatal(err)
	}
	return data
}

// Count counts the records, including expired ones. In memory it counts the live ones, and
// on a Redis server of the test's own all keys.
func (r *Records) Count(tb testing.TB) (n int) {
	tb.Helper()
	var err error
	switch {
	case r.p.Backend.Type == "redis" && r.p.Server != nil:
		n, err = redis.Int(r.p.Redis(tb, "DBSIZE"), nil)
	case r.p.Backend.Type == "redis":
		n, err = redis.Int(r.script(tb, "return #redis.call('KEYS', ARGV[1]..'*')"), nil)
	case r.Table == nil:
		n, err = r.store.Len(context.Background())
	default:
		err = r.QueryRow("SELECT count(*) FROM " + r.Name).Scan(&n)
	}
	if err != nil {
		tb.Error(err)
	}
	return n
}

// Fill writes n records with the same data, whose ids begin with prefix. They expire at
// the same time, which may be past.
func (r *Records) Fill(tb testing.TB, prefix string, n int, data []byte, expiry time.Time) {
	tb.Helper()
	if r.p.Backend.Type == "redis" {
		// Each script writes a thousand keys, so that the server can do other work between
		// two scripts.
		for i := 0; i < n; i += 1000 {
			r.script(tb, "for i = ARGV[2], ARGV[3] do redis.call('SET', ARGV[1]..ARGV[4]..string.format('%d', i), ARGV[5], 'PXAT', ARGV[6]) end",
				i, min(i+1000, n)-1, prefix, data, max(expiry.UnixMilli(), time.Now().UnixMilli()+1))
		}
		return
	}
	first := prefix + "0"
	if err := r.store.CommitCtx(tb.Context(), first, data, expiry); err != nil {
		tb.Fatal(err)
	}
	if r.Table == nil {
		for i := 1; i < n; i++ {
			if err := r.store.CommitCtx(tb.Context(), prefix+fmt.Sprint(i), data, expiry); err != nil {
				tb.Fatal(err)
			}
		}
		return
	}
	if _, err := r.Exec(fmt.Sprintf(`WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i WHERE n < %d)
		INSERT INTO %s (%s, %s, %s%s) SELECT '%s' || n, %[4]s, %[5]s%[6]s FROM i, %[2]s WHERE %[3]s = '%[8]s'`,
		n-1, r.Name, r.ID, r.Data, r.Expiry, r.Others, prefix, first)); err != nil {
		tb.Fatal(err)
	}
}

func (r *Records) key(id string) string { return r.p.Settings["prefix"].(string) + id }

// script runs a script of Redis, whose first argument is the prefix.
func (r *Records) script(tb testing.TB, text string, args ...any) any {
	tb.Helper()
	return r.p.Redis(tb, "EVAL", slices.Concat([]any{text, 0, r.key("")}, args)...)
}
