//go:build unix

package proof

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/samesid/samesid/adapter/config"
	"github.com/samesid/samesid/backends/postgres"
	"github.com/samesid/samesid/internal/leaktest"
	"github.com/samesid/samesid/internal/testserver"
)

const (
	// fewest is the default number of sessions. With noteLength bytes in each, all
	// of them together exceed heapBound.
	fewest     = 20_000
	noteLength = 700

	// heapBound is the memory that listing, counting, clearing and clean-up may use
	// in addition to the requests, in bytes, however many sessions there are.
	heapBound = 8 << 20

	// largestBatch is the maximum number of rows that one statement may delete.
	largestBatch = 1000
)

// With very many sessions in the store, clean-up and listing block no request and use
// bounded memory. TEST_SESSIONS sets the number.
func TestManySessions(t *testing.T) {
	n := fewest
	if text := os.Getenv("TEST_SESSIONS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < fewest {
			t.Fatalf("TEST_SESSIONS is %q, want a number from %d up", text, fewest)
		}
	}
	t.Run("redis", func(t *testing.T) {
		for _, layout := range redisLayouts {
			t.Run(layout, func(t *testing.T) {
				server := testserver.StartRedis(t)
				t.Setenv("PROOF_URL", server.URL)
				conn, err := redigo.DialURL(server.URL)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				manyInRedis(newCrowd(t, "url: ${PROOF_URL}\nprefix: 'p:'\nlayout: "+layout, n), conn)
			})
		}
	})
	t.Run("postgres", func(t *testing.T) {
		for _, layout := range postgresLayouts {
			t.Run(layout, func(t *testing.T) {
				dsn, _ := testserver.Schema(t)
				t.Setenv("PROOF_URL", dsn)
				db, err := sql.Open("postgres", dsn)
				if err != nil {
					t.Fatal(err)
				}
				defer db.Close()
				manyInPostgres(newCrowd(t, "url: ${PROOF_URL}\ncreateTable: true\ncleanupInterval: false\nlayout: "+layout, n), db, tables[layout])
			})
		}
	})
}

func manyInRedis(c *crowd, conn redigo.Conn) {
	// Each script handles a thousand keys, so that the server can do other work between
	// two scripts.
	each := func(script string) {
		c.t.Helper()
		s := redigo.NewScript(0, "for i = ARGV[1], ARGV[2] do local key = 'p:fil-' .. redis.sha1hex(i) "+script+" end")
		for i := 0; i < c.n; i += 1000 {
			if _, err := s.Do(conn, i, min(i+1000, c.n)-1, c.record); err != nil {
				c.t.Fatal(err)
			}
		}
	}
	fill := func() { each("redis.call('SET', key, ARGV[3], 'EX', 3600)") }
	fill()
	c.list()
	c.count()
	c.clear(fill)

	// Redis itself removes expired keys.
	c.amid("expiry", fill, func() {
		each("redis.call('PEXPIRE', key, 1)")
		await(c.t, func() bool {
			keys, err := redigo.Int(conn.Do("DBSIZE"))
			if err != nil {
				c.t.Error(err)
			}
			return keys < c.n/100 || err != nil
		})
	})
}

// table is a layout's table and columns, with the type of the records' column.
type table struct {
	name, id, data, expiry, typ string
	// stamps are further columns that a row must have, and now their values, each after
	// a comma.
	stamps, now string
}

var tables = map[string]table{
	"scs":                  {name: "sessions", id: "token", data: "data", expiry: "expiry", typ: "bytea"},
	"connect-pg-simple":    {name: "session", id: "sid", data: "sess", expiry: "expire", typ: "json"},
	"connect-session-knex": {name: "sessions", id: "sid", data: "sess", expiry: "expired", typ: "json"},
	"connect-session-sequelize": {
		name: `"Sessions"`, id: "sid", data: "data", expiry: "expires", typ: "text",
		stamps: `, "createdAt", "updatedAt"`, now: ", now(), now()",
	},
}

// insert is the beginning of an INSERT: the values are the id, the record, the expiry, and
// those of now.
func (t table) insert() string {
	return fmt.Sprintf("INSERT INTO %s (%s, %s, %s%s)", t.name, t.id, t.data, t.expiry, t.stamps)
}

// value is the SQL that makes a value of the bytes $1.
func (t table) value() string {
	if t.typ == "bytea" {
		return "$1::bytea"
	}
	return "convert_from($1, 'UTF8')::" + t.typ
}

func manyInPostgres(c *crowd, db *sql.DB, table table) {
	exec := func(query string, args ...any) {
		c.t.Helper()
		if _, err := db.Exec(query, args...); err != nil {
			c.t.Fatal(err)
		}
	}
	fill := func(expiresIn string) {
		// 36 characters at most: a layout has no room for more.
		exec(table.insert()+fmt.Sprintf(" SELECT 'fil-' || md5(i::text), %s, now() + $2::interval%s FROM generate_series(1, $3) i",
			table.value(), table.now), c.record, expiresIn, c.n)
	}
	fill("1 hour")
	c.list()
	c.count()

	// From here on each batch of deletions is counted, and the test can block a batch.
	gate := int64(rand.Int32())
	exec(fmt.Sprintf(`CREATE TABLE batches (size int);
		CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS $$
		DECLARE size int := (SELECT count(*) FROM gone);
		BEGIN
			IF size > 1 THEN
				INSERT INTO batches VALUES (size);
				PERFORM pg_advisory_xact_lock_shared(%d);
			END IF;
			RETURN NULL;
		END $$;
		CREATE TRIGGER gate AFTER DELETE ON %s REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION gate()`,
		gate, table.name))
	checkBatches := func() {
		c.t.Helper()
		var sum, largest int
		if err := db.QueryRow("SELECT sum(size), max(size) FROM batches").Scan(&sum, &largest); err != nil {
			c.t.Fatal(err)
		}
		// A batch of one can't be distinguished from a logout.
		if sum < c.n-1 || largest > largestBatch {
			c.t.Errorf("%d rows were deleted in batches of up to %d, want %d in batches of up to %d", sum, largest, c.n, largestBatch)
		}
	}
	c.clear(func() { fill("1 hour") })
	checkBatches()

	// The clean-up begins once sessions have expired, and then waits at the gate, with
	// its first batch deleted but not committed.
	keeper, err := db.Conn(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	defer keeper.Close()
	keep := func(query string) {
		c.t.Helper()
		if _, err := keeper.ExecContext(c.t.Context(), query, gate); err != nil {
			c.t.Fatal(err)
		}
	}
	log := deletions{make(chan int64), c.t.Context().Done()}
	c.reopen(func(cfg *config.Config) {
		o := cfg.Store.Options.(postgres.Options)
		o.CleanupInterval = time.Millisecond
		o.Timeout = time.Minute // so that the batch does not time out at the gate
		cfg.Store.Options = o
		cfg.Options.Logger = slog.New(log)
	})
	c.amid("clean-up", func() {
		keep("SELECT pg_advisory_lock($1)")
		exec("TRUNCATE batches")
		fill("-1 minute")
		await(c.t, func() (waits bool) {
			err := db.QueryRow("SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND objid = $1 AND NOT granted", gate).Scan(&waits)
			if err != nil {
				c.t.Fatal(err)
			}
			return waits
		})
		c.visitAll()
	}, func() {
		keep("SELECT pg_advisory_unlock($1)")
		if n := <-log.counts; n != int64(c.n) {
			c.t.Errorf("a clean-up deleted %d sessions, want all %d", n, c.n)
		}
	})
	checkBatches()
}

// deletions is a log handler that sends the number of deletions that each clean-up logs,
// or -1 for an error.
type deletions struct {
	counts chan int64
	done   <-chan struct{} // closed when nobody receives any more
}

func (d deletions) Enabled(context.Context, slog.Level) bool { return true }
func (d deletions) WithAttrs([]slog.Attr) slog.Handler       { return d }
func (d deletions) WithGroup(string) slog.Handler            { return d }

func (d deletions) Handle(_ context.Context, r slog.Record) error {
	n := int64(0)
	if r.Level >= slog.LevelError {
		n = -1
	}
	r.Attrs(func(a slog.Attr) bool {
		if r.Message == "expired sessions deleted" && a.Key == "count" {
			n = a.Value.Int64()
		}
		return true
	})
	if n == 0 {
		return nil
	}
	select {
	case d.counts <- n:
	case <-d.done:
	}
	return nil
}

// await polls until done returns true.
func await(t *testing.T, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
	}
}

// crowd is an app whose store has n prepared sessions, and those of the visitors who
// come and go meanwhile.
type crowd struct {
	t        *testing.T
	file     string
	n        int
	record   []byte // the record of a signed-in session
	sessions *config.Sessions
	handler  http.Handler
}

func newCrowd(t *testing.T, store string, n int) *crowd {
	t.Helper()
	c := &crowd{t: t, file: writeConfig(t, store), n: n}
	c.reopen(func(*config.Config) {})
	v := visitor{handler: c.handler, now: new(atomic.Int32)}
	v.send("POST", "/login", http.StatusOK)
	v.send("POST", "/note/a/"+strings.Repeat("x", noteLength), http.StatusOK)
	err := c.sessions.Backend.Range(t.Context(), func(_ string, data []byte) error {
		c.record = data
		return nil
	})
	if v.err != nil || err != nil || len(c.record) < noteLength {
		t.Fatalf("the first session: %v, %v, %q", v.err, err, c.record)
	}
	v.send("POST", "/logout", http.StatusOK)
	return c
}

// reopen replaces the store with one of the same configuration as modified by change.
func (c *crowd) reopen(change func(*config.Config)) {
	c.t.Helper()
	cfg, err := config.Load(c.file)
	if err != nil {
		c.t.Fatal(err)
	}
	cfg.Options.Logger = slog.New(slog.NewTextHandler(leaktest.Copy(io.Discard), nil))
	change(cfg)
	if c.sessions, err = cfg.Open(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	opened := c.sessions
	c.t.Cleanup(func() {
		if err := opened.Close(); err != nil {
			c.t.Error(err)
		}
	})
	if c.handler, err = app(opened); err != nil {
		c.t.Fatal(err)
	}
}

// list visits the app several times during a listing, so that the listing's locks and
// connections affect the visits.
func (c *crowd) list() {
	c.amid("listing", nil, func() {
		seen := 0
		err := c.sessions.Backend.Range(c.t.Context(), func(token string, data []byte) error {
			if !strings.HasPrefix(token, "fil-") {
				return nil
			}
			if len(data) != len(c.record) {
				c.t.Errorf("a session has %d bytes, want %d", len(data), len(c.record))
			}
			if seen++; seen%(c.n/10) == 0 {
				c.visitAll()
			}
			return nil
		})
		if err != nil || seen < c.n {
			c.t.Errorf("the listing had %d sessions, want %d: %v", seen, c.n, err)
		}
	})
}

func (c *crowd) count() {
	c.amid("count", nil, func() {
		if got, err := c.sessions.Backend.Len(c.t.Context()); err != nil || got < c.n {
			c.t.Errorf("counted %d sessions, want %d: %v", got, c.n, err)
		}
	})
}

func (c *crowd) clear(fill func()) {
	first := true
	c.amid("clearing", func() {
		if !first {
			fill()
		}
		first = false
	}, func() {
		if err := c.sessions.Backend.Clear(c.t.Context()); err != nil {
			c.t.Error(err)
		}
	})
	if got, err := c.sessions.Backend.Len(c.t.Context()); err != nil || got > few {
		c.t.Errorf("there are %d sessions after clearing, %v", got, err)
	}
}

// visitAll makes one visit of each kind, synchronously.
func (c *crowd) visitAll() {
	c.t.Helper()
	v := visitor{handler: c.handler, now: new(atomic.Int32)}
	if v.visit(); v.err != nil {
		c.t.Error(v.err)
	}
}

const (
	visitors = 4
	tries    = 100

	// few is more than the number of sessions after clearing, which belong to visitors
	// who were signed out and went on.
	few = 100
)

// amid runs pass, which iterates over all sessions, while visitors come and go. Each of
// their requests must succeed. None may wait for the whole pass, and a visit of every
// kind must begin and end during it. If a pass is too short for that, amid runs another
// one.
func (c *crowd) amid(name string, prepare, pass func()) {
	c.t.Helper()
	for range tries {
		if prepare != nil {
			prepare()
		}
		if c.once(name, pass) || c.t.Failed() {
			return
		}
	}
	c.t.Errorf("%s: in each of %d passes visitors had to wait for its end", name, tries)
}

func (c *crowd) once(name string, pass func()) (undisturbed bool) {
	c.t.Helper()
	var now atomic.Int32
	var warm, done sync.WaitGroup
	stop := make(chan struct{})
	all := make([]*visitor, visitors)
	for i := range all {
		v := &visitor{handler: c.handler, now: &now, took: make([]time.Duration, 0, 1<<16), mayEnd: name == "clearing"}
		all[i] = v
		warm.Add(1)
		done.Go(func() {
			v.visit()
			warm.Done()
			for v.err == nil {
				select {
				case <-stop:
					return
				default:
					v.visit()
				}
			}
		})
	}
	warm.Wait()
	heap := watchHeap()
	start := time.Now()
	now.Store(inside)
	pass()
	now.Store(after)
	took := time.Since(start)
	grown := heap()
	close(stop)
	done.Wait()

	visits, waited := 0, false
	var latencies []time.Duration
	for _, v := range all {
		if v.err != nil {
			c.t.Errorf("%s: %v", name, v.err)
		}
		visits += v.visits
		waited = waited || v.waited
		latencies = append(latencies, v.took...)
	}
	if grown > heapBound {
		c.t.Errorf("%s: the heap grew by %d KiB, want at most %d", name, grown>>10, heapBound>>10)
	}
	if visits == 0 || waited {
		return false
	}
	slices.Sort(latencies)
	at := func(part float64) time.Duration {
		return latencies[int(part*float64(len(latencies)-1))].Round(10 * time.Microsecond)
	}
	c.t.Logf("%s of %d sessions: %v, heap +%d KiB; %d requests meanwhile: median %v, p99 %v, longest %v",
		name, c.n, took.Round(time.Millisecond), grown>>10, len(latencies), at(0.5), at(0.99), at(1))
	return true
}

// watchHeap watches the live heap, as the garbage collector measures it. The function
// that it returns ends the watch and returns the maximum growth.
func watchHeap() (grown func() int64) {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	inUse := func() int64 {
		// Memory that is allocated while the collector runs counts as live. On a busy
		// machine that can be a lot, but hardly in three runs in a row.
		least := int64(math.MaxInt64)
		for range 3 {
			runtime.GC()
			metrics.Read(live)
			least = min(least, int64(live[0].Value.Uint64()))
		}
		return least
	}
	first := inUse()
	most := first
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			most = max(most, inUse())
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	}()
	return func() int64 {
		close(stop)
		<-stopped
		return most - first
	}
}

// The states of a pass.
const (
	before int32 = iota
	inside
	after
)

// visitor signs in, reads pages, changes its session and signs out.
type visitor struct {
	handler http.Handler
	now     *atomic.Int32
	mayEnd  bool // others may end its session
	cookie  string
	err     error

	visits int             // those that began and ended during the pass
	took   []time.Duration // the times of requests that began and ended during the pass
	waited bool            // a request took as long as the whole pass
}

func (v *visitor) visit() {
	begun := v.now.Load()
	v.send("POST", "/login", http.StatusOK)
	v.send("GET", "/me", http.StatusOK)
	v.send("POST", "/note/a/1", http.StatusOK)
	v.send("GET", "/me", http.StatusOK)
	v.send("POST", "/logout", http.StatusOK)
	v.send("GET", "/me", http.StatusUnauthorized)
	if begun == inside && v.now.Load() == inside && v.err == nil {
		v.visits++
	}
}

func (v *visitor) send(method, path string, want int) {
	if v.err != nil {
		return
	}
	var body string
	if path == "/login" {
		body = credentials("ada", adaPassword)
	}
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if v.cookie != "" {
		r.Header.Set("Cookie", v.cookie)
	}
	w := httptest.NewRecorder()
	begun, start := v.now.Load(), time.Now()
	v.handler.ServeHTTP(w, r)
	switch ended := v.now.Load(); {
	case begun == inside && ended == inside:
		v.took = append(v.took, time.Since(start))
	case begun == before && ended == after:
		v.waited = true
	}
	if signedOut := v.mayEnd && w.Code == http.StatusUnauthorized; w.Code != want && !signedOut {
		v.err = fmt.Errorf("%s %s: %d %s, want %d", method, path, w.Code, w.Body, want)
	}
	if path == "/login" {
		v.cookie, _, _ = strings.Cut(w.Header().Get("Set-Cookie"), ";")
	}
}
