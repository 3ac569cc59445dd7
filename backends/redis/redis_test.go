package redis_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/alexedwards/scs/redisstore"
	"github.com/alexedwards/scs/v2"
	redigo "github.com/gomodule/redigo/redis"

	"github.com/samesid/samesid/backends/contract"
	"github.com/samesid/samesid/backends/redis"
	"github.com/samesid/samesid/backends/storetest"
	"github.com/samesid/samesid/internal/leaktest"
	"github.com/samesid/samesid/internal/testserver"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func TestStore(t *testing.T) {
	for _, l := range redis.Backend.Layouts {
		t.Run(l.Name, func(t *testing.T) {
			t.Parallel()
			prefixes := make(map[scs.CtxStore]string)
			storetest.Run(t, storetest.Harness{
				New: func(t *testing.T) scs.CtxStore {
					opts := redis.Options{Layout: redis.Layout(l.Name), Prefix: testserver.Prefix(t)}
					s := open(t, testserver.Redis(t), opts)
					prefixes[s] = opts.Prefix
					return s
				},
				Reopen: func(t *testing.T, s scs.CtxStore) scs.CtxStore {
					opts := redis.Options{Layout: redis.Layout(l.Name), Prefix: prefixes[s]}
					again, err := redis.New(newPool(t, testserver.Redis(t)), opts)
					if err != nil {
						t.Fatal(err)
					}
					return again
				},
				Advance: func(t *testing.T, d time.Duration) {
					// BLPOP waits on the server for a list that nobody fills.
					c := dial(t, testserver.Redis(t))
					if _, err := redigo.DoWithTimeout(c, 0, "BLPOP", testserver.Prefix(t), d.Seconds()); err != nil {
						t.Fatal(err)
					}
				},
				Granularity: l.Step,
			})
		})
	}
}

func TestRedisstoreRecords(t *testing.T) {
	url := testserver.Redis(t)
	prefix := testserver.Prefix(t)
	ours := open(t, url, redis.Options{Prefix: prefix})
	theirs := redisstore.NewWithPrefix(newPool(t, url), prefix)
	data := []byte("\x00gob\xff")
	expiry := time.Now().Add(time.Hour)

	if err := theirs.Commit("theirs", data, expiry); err != nil {
		t.Fatal(err)
	}
	got, until, found, err := ours.FindExpiry(t.Context(), "theirs")
	if !found || err != nil || !bytes.Equal(got, data) || until.Sub(expiry).Abs() > 5*time.Second {
		t.Errorf("theirs, read by us: %q until %v, %t, %v", got, until, found, err)
	}
	if err := ours.Commit("ours", data, expiry); err != nil {
		t.Fatal(err)
	}
	if _, swapped, err := ours.Swap(t.Context(), "theirs", data, []byte("swapped"), expiry); !swapped || err != nil {
		t.Errorf("theirs, swapped by us: %t, %v", swapped, err)
	}
	all, err := theirs.All()
	if err != nil || len(all) != 2 || !bytes.Equal(all["ours"], data) || string(all["theirs"]) != "swapped" {
		t.Errorf("read by them: %q, %v", all, err)
	}
	if err := theirs.Delete("ours"); err != nil {
		t.Fatal(err)
	}
	if all, err := ours.All(); err != nil || len(all) != 1 {
		t.Errorf("after their delete: %q, %v", all, err)
	}
}

func TestLayouts(t *testing.T) {
	server := testserver.StartRedis(t)
	c := dial(t, server.URL)
	for _, l := range []struct {
		layout redis.Layout
		key    string
		json   bool
		least  int64 // milliseconds left
		most   int64
	}{
		{"", "scs:session:id", false, 50_000, 60_200},
		{redis.LayoutSCS, "scs:session:id", false, 50_000, 60_200},
		{redis.LayoutConnectRedis, "sess:id", true, 60_201, 61_000},
	} {
		s := open(t, server.URL, redis.Options{Layout: l.layout})
		if s.JSONRecords() != l.json {
			t.Errorf("%q: JSONRecords is %t", l.layout, s.JSONRecords())
		}
		// Rounded up to whole seconds, it is 61.
		soon := func() time.Time { return time.Now().Add(60*time.Second + 200*time.Millisecond) }
		for name, write := range map[string]func() error{
			"Commit": func() error { return s.Commit("id", []byte("{}"), soon()) },
			"touch": func() error {
				_, _, err := s.Swap(t.Context(), "id", []byte("{}"), []byte("{}"), soon())
				return err
			},
			"Move": func() error {
				_, _, err := s.Move(t.Context(), one("id", "{}"), "id", []byte("{}"), soon())
				return err
			},
			"FindTouch": func() error {
				_, _, err := s.FindTouch(t.Context(), "id", soon())
				return err
			},
			"Swap": func() error {
				_, _, err := s.Swap(t.Context(), "id", []byte("{}"), []byte("[]"), soon())
				return err
			},
		} {
			if _, err := c.Do("SET", l.key, "{}", "EX", 5); err != nil {
				t.Fatal(err)
			}
			if err := write(); err != nil {
				t.Errorf("%q: %s: %v", l.layout, name, err)
			}
			if left, err := redigo.Int64(c.Do("PTTL", l.key)); left < l.least || left > l.most || err != nil {
				t.Errorf("%q: after %s it expires in %d ms, %v", l.layout, name, left, err)
			}
		}
	}
}

func TestRecordWithoutExpiry(t *testing.T) {
	url, prefix := testserver.Redis(t), testserver.Prefix(t)
	s := open(t, url, redis.Options{Prefix: prefix})
	if _, err := dial(t, url).Do("SET", prefix+"id", "data"); err != nil {
		t.Fatal(err)
	}
	data, expiry, found, err := s.FindExpiry(t.Context(), "id")
	if string(data) != "data" || !expiry.IsZero() || !found || err != nil {
		t.Errorf("FindExpiry: %q, %v, %t, %v; want data and no expiry", data, expiry, found, err)
	}
	soon := time.Now().Add(time.Hour)
	if _, swapped, err := s.Swap(t.Context(), "id", data, data, soon); !swapped || err != nil {
		t.Errorf("touch: %t, %v", swapped, err)
	}
	if data, expiry, found, err := s.FindExpiry(t.Context(), "id"); string(data) != "data" || expiry.Sub(soon).Abs() > time.Minute || !found || err != nil {
		t.Errorf("FindExpiry, touched: %q, %v, %t, %v; want data until %v", data, expiry, found, err, soon)
	}
}

// A key of another type is not a record. MGET replies nil for it, as for a key that
// was deleted since SCAN.
func TestRangeSkipsWhatIsNoRecord(t *testing.T) {
	url, prefix := testserver.Redis(t), testserver.Prefix(t)
	s := open(t, url, redis.Options{Prefix: prefix})
	if _, err := dial(t, url).Do("SADD", prefix+"set", "member"); err != nil {
		t.Fatal(err)
	}
	if all, err := s.All(); len(all) != 0 || err != nil {
		t.Errorf("All: %q, %v", all, err)
	}
}

func TestPrefixIsNoPattern(t *testing.T) {
	url := testserver.Redis(t)
	base := testserver.Prefix(t)
	for _, glob := range []string{"*", "?", "[ab]", "[^a]", `\`, `a\*b`, "a-b", "]"} {
		s := open(t, url, redis.Options{Prefix: base + glob + ":"})
		beside := base + "a:beside"
		c := dial(t, url)
		if _, err := c.Do("SET", beside, "1"); err != nil {
			t.Fatal(err)
		}
		if err := s.Commit("id", []byte("data"), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if all, err := s.All(); len(all) != 1 || string(all["id"]) != "data" || err != nil {
			t.Errorf("%q: All: %q, %v", glob, all, err)
		}
		if n, err := s.Len(t.Context()); n != 1 || err != nil {
			t.Errorf("%q: Len: %d, %v", glob, n, err)
		}
		if err := s.Clear(t.Context()); err != nil {
			t.Errorf("%q: Clear: %v", glob, err)
		}
		if n, err := s.Len(t.Context()); n != 0 || err != nil {
			t.Errorf("%q: Len after Clear: %d, %v", glob, n, err)
		}
		if n, err := redigo.Int(c.Do("EXISTS", beside)); n != 1 || err != nil {
			t.Errorf("%q: Clear has deleted a key of somebody else", glob)
		}
	}
}

// wire is a connection that calls sent for each write, and can lose a reply.
type wire struct {
	net.Conn
	sent func()
	lose *atomic.Bool
}

func (w wire) Write(p []byte) (int, error) {
	w.sent()
	return w.Conn.Write(p)
}

func (w wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if n > 0 && w.lose.CompareAndSwap(true, false) {
		w.Close()
		return 0, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	}
	return n, err
}

// newWirePool returns a pool whose connections are wires.
func newWirePool(t *testing.T, url string, sent func(), lose *atomic.Bool) *redigo.Pool {
	pool := newPool(t, url)
	pool.Dial = func() (redigo.Conn, error) {
		return redigo.DialURL(url, redigo.DialNetDial(func(network, addr string) (net.Conn, error) {
			c, err := net.Dial(network, addr)
			return wire{c, sent, lose}, err
		}))
	}
	return pool
}

// wired returns a store, the number of its writes to the network, and a switch that
// loses the next reply.
func wired(t *testing.T, url string, opts redis.Options) (s *redis.Store, sent *atomic.Int64, lose *atomic.Bool) {
	t.Helper()
	sent, lose = new(atomic.Int64), new(atomic.Bool)
	s, err := redis.New(newWirePool(t, url, func() { sent.Add(1) }, lose), opts)
	if err != nil {
		t.Fatal(err)
	}
	return s, sent, lose
}

func TestRoundTrips(t *testing.T) {
	s, sent, _ := wired(t, testserver.Redis(t), redis.Options{Prefix: testserver.Prefix(t)})
	ctx, soon := t.Context(), time.Now().Add(time.Hour)
	one, two := []byte("one"), []byte("two")
	records := []contract.Record{{Token: "id", Data: two}, {Token: "other", Data: two}}
	// This loads the script, so that later calls need one command.
	if _, _, err := s.Swap(ctx, "id", nil, one, soon); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Move(ctx, records, "new", one, soon); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit("other", two, soon); err != nil {
		t.Fatal(err)
	}
	users := userCalls(ctx, s, "ann")
	for name, call := range users {
		if err := call(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	for _, c := range []struct {
		name string
		call func() error
	}{
		{"NoteUser", users["NoteUser"]},
		{"ForgetUser", users["ForgetUser"]},
		{"UserTokens", users["UserTokens"]},
		{"EndUser", users["EndUser"]},
		{"UserEnded", users["UserEnded"]},
		{"Find", func() error { _, _, err := s.Find("id"); return err }},
		{"FindCtx", func() error { _, _, err := s.FindCtx(ctx, "id"); return err }},
		{"FindTouch", func() error { _, _, err := s.FindTouch(ctx, "id", soon); return err }},
		{"FindTouch to the past", func() error { _, _, err := s.FindTouch(ctx, "other", time.Time{}); return err }},
		{"FindExpiry", func() error { _, _, _, err := s.FindExpiry(ctx, "id"); return err }},
		{"touch", func() error { _, _, err := s.Swap(ctx, "id", one, one, soon); return err }},
		{"Swap", func() error { _, _, err := s.Swap(ctx, "id", one, two, soon); return err }},
		{"Swap, refused", func() error { _, _, err := s.Swap(ctx, "id", one, two, soon); return err }},
		{"Move", func() error { _, _, err := s.Move(ctx, records, "new", one, soon); return err }},
		{"Move, refused", func() error { _, _, err := s.Move(ctx, records, "new", one, soon); return err }},
		{"Commit", func() error { return s.Commit("id", one, soon) }},
		{"CommitCtx", func() error { return s.CommitCtx(ctx, "id", one, soon) }},
		{"Delete", func() error { return s.Delete("id") }},
		{"DeleteCtx", func() error { return s.DeleteCtx(ctx, "id") }},
	} {
		before := sent.Load()
		if err := c.call(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if n := sent.Load() - before; n != 1 {
			t.Errorf("%s took %d round trips", c.name, n)
		}
	}
}

func TestScanCount(t *testing.T) {
	server := testserver.StartRedis(t)
	trips := func(count int) int64 {
		s, sent, _ := wired(t, server.URL, redis.Options{ScanCount: count})
		for i := range 200 {
			if err := s.Commit(fmt.Sprint(i), nil, time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
		before := sent.Load()
		if n, err := s.Len(t.Context()); n != 200 || err != nil {
			t.Errorf("Len: %d, %v", n, err)
		}
		return sent.Load() - before
	}
	if n := trips(10); n < 15 {
		t.Errorf("%d round trips for 200 keys, 10 at a time", n)
	}
	if n := trips(1000); n > 4 { // INFO before and after
		t.Errorf("%d round trips for 200 keys, 1000 at a time", n)
	}
}

func TestScriptFlushed(t *testing.T) {
	server := testserver.StartRedis(t)
	s := open(t, server.URL, redis.Options{})
	c := dial(t, server.URL)
	var old []byte
	for _, data := range []string{"a", "b", "c"} {
		if _, err := c.Do("SCRIPT", "FLUSH"); err != nil {
			t.Fatal(err)
		}
		soon := time.Now().Add(time.Hour)
		_, swapped, err := s.Swap(t.Context(), "id", old, []byte(data), soon)
		if !swapped || err != nil {
			t.Errorf("Swap by %q: %t, %v", data, swapped, err)
		}
		old = []byte(data)
		if _, err := c.Do("SCRIPT", "FLUSH"); err != nil {
			t.Fatal(err)
		}
		if _, moved, err := s.Move(t.Context(), one("id", data), "id", old, soon); !moved || err != nil {
			t.Errorf("Move of %q: %t, %v", data, moved, err)
		}
	}
}

// When a reply is lost, the command has run. Only idempotent commands are retried.
func TestLostReply(t *testing.T) {
	server := testserver.StartRedis(t)
	s, sent, lose := wired(t, server.URL, redis.Options{})
	ctx, soon := t.Context(), time.Now().Add(time.Hour)
	if _, _, err := s.Swap(ctx, "id", nil, []byte("one"), soon); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Move(ctx, one("unknown", ""), "new", nil, soon); err != nil {
		t.Fatal(err)
	}
	users := userCalls(ctx, s, "ann")
	for name, call := range users {
		if err := call(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	swap := func(old, new string, expiry time.Time) error {
		_, swapped, err := s.Swap(ctx, "id", []byte(old), []byte(new), expiry)
		if err == nil && !swapped {
			return errors.New("refused")
		}
		return err
	}
	for _, c := range []struct {
		name  string
		call  func() error
		tries int64
	}{
		{"Swap", func() error { _, _, err := s.Swap(ctx, "id", []byte("one"), []byte("two"), soon); return err }, 1},
		{"Swap, to the past", func() error { return swap("two", "two", time.Time{}) }, 1},
		{"Swap, to the past, by others", func() error { return swap("two", "one", time.Time{}) }, 1},
		{"Commit", func() error { return s.Commit("id", []byte("two"), soon) }, 1},
		{"Swap, deleting", func() error { _, _, err := s.Swap(ctx, "other", []byte("two"), nil, soon); return err }, 1},
		{"Swap, creating", func() error { _, _, err := s.Swap(ctx, "other", nil, []byte{}, soon); return err }, 1},
		{"Find", func() error { return foundTwo(s.Find("id")) }, 2},
		{"FindCtx", func() error { return foundTwo(s.FindCtx(ctx, "id")) }, 2},
		{"FindTouch", func() error { return foundTwo(s.FindTouch(ctx, "id", soon)) }, 2},
		{"FindExpiry", func() error {
			data, _, found, err := s.FindExpiry(ctx, "id")
			return foundTwo(data, found, err)
		}, 2},
		{"touch", func() error { return swap("two", "two", soon) }, 2},
		{"FindTouch to the past", func() error { _, _, err := s.FindTouch(ctx, "other", time.Time{}); return err }, 1},
		{"Move", func() error { _, _, err := s.Move(ctx, one("id", "two"), "new", []byte("two"), soon); return err }, 1},
		{"Move, to itself", func() error { _, _, err := s.Move(ctx, one("new", "two"), "new", []byte("two"), soon); return err }, 1},
		{"Delete", func() error { return s.Delete("id") }, 2},
		{"DeleteCtx", func() error { return s.DeleteCtx(ctx, "id") }, 2},
		{"NoteUser", users["NoteUser"], 2},
		{"ForgetUser", users["ForgetUser"], 2},
		{"UserTokens", users["UserTokens"], 2},
		{"EndUser", users["EndUser"], 2},
		{"UserEnded", users["UserEnded"], 2},
	} {
		before := sent.Load()
		lose.Store(true)
		err := c.call()
		if lose.Swap(false) {
			t.Fatalf("%s: no reply was lost", c.name)
		}
		if (err == nil) != (c.tries == 2) {
			t.Errorf("%s: %v, with %d tries", c.name, err, c.tries)
		}
		if n := sent.Load() - before; n != c.tries {
			t.Errorf("%s was sent %d times, want %d", c.name, n, c.tries)
		}
	}
}

func foundTwo(data []byte, found bool, err error) error {
	if err == nil && (!found || string(data) != "two") {
		return fmt.Errorf("found %q, %t", data, found)
	}
	return err
}

// A touch sends the record only once, for the comparison.
func TestTouchIsSmall(t *testing.T) {
	var sent atomic.Int64
	url := testserver.Redis(t)
	pool := newPool(t, url)
	pool.Dial = func() (redigo.Conn, error) {
		return redigo.DialURL(url, redigo.DialNetDial(func(network, addr string) (net.Conn, error) {
			c, err := net.Dial(network, addr)
			return counter{c, &sent}, err
		}))
	}
	s, err := redis.New(pool, redis.Options{Prefix: testserver.Prefix(t)})
	if err != nil {
		t.Fatal(err)
	}
	data, soon := bytes.Repeat([]byte("x"), 1<<20), time.Now().Add(time.Hour)
	if err := s.Commit("id", data, soon); err != nil {
		t.Fatal(err)
	}
	// The first call sends it twice: with the script's hash, and then with its text.
	if _, _, err := s.Swap(t.Context(), "id", data, data, soon); err != nil {
		t.Fatal(err)
	}
	before := sent.Load()
	if _, swapped, err := s.Swap(t.Context(), "id", data, bytes.Clone(data), soon); !swapped || err != nil {
		t.Errorf("touch: %t, %v", swapped, err)
	}
	if n := sent.Load() - before; n > 1<<20+2000 {
		t.Errorf("%d bytes were sent to touch a record of %d", n, len(data))
	}
}

// counter counts the bytes that are sent.
type counter struct {
	net.Conn
	sent *atomic.Int64
}

func (c counter) Write(p []byte) (int, error) {
	c.sent.Add(int64(len(p)))
	return c.Conn.Write(p)
}

// A Move that fails halfway deletes nothing.
func TestMoveFails(t *testing.T) {
	server := testserver.StartRedis(t)
	c := dial(t, server.URL)
	if _, err := c.Do("ACL", "SETUSER", "reader", "on", ">pw", "~*", "+@all", "-set"); err != nil {
		t.Fatal(err)
	}
	s := dialStore(t, "redis://reader:pw@"+server.Addr)
	soon := time.Now().Add(time.Hour)
	for _, token := range []string{"id", "other"} {
		if _, err := c.Do("SET", "scs:session:"+token, "data"); err != nil {
			t.Fatal(err)
		}
	}
	for _, from := range [][]contract.Record{one("id", "data"), append(one("id", "data"), one("other", "data")...)} {
		for _, to := range []string{"new", "id"} {
			if _, moved, err := s.Move(t.Context(), from, to, []byte("new"), soon); moved || err == nil {
				t.Errorf("Move of %d to %s without the permission to write: %t, %v", len(from), to, moved, err)
			}
			all, err := s.All()
			if len(all) != 2 || string(all["id"]) != "data" || string(all["other"]) != "data" || err != nil {
				t.Errorf("after a Move of %d to %s that has failed: %q, %v", len(from), to, all, err)
			}
		}
	}
	// A key of another type blocks a move to it, and can't be moved itself.
	if _, err := c.Do("SADD", "scs:session:set", "member"); err != nil {
		t.Fatal(err)
	}
	if current, moved, err := s.Move(t.Context(), one("id", "data"), "set", []byte("new"), soon); moved || err != nil || string(current[0]) != "data" {
		t.Errorf("Move to a set: %q, %t, %v", current, moved, err)
	}
	if _, moved, err := s.Move(t.Context(), one("set", "member"), "new", []byte("new"), soon); moved || err == nil {
		t.Errorf("Move of a set: %t, %v", moved, err)
	}
}

// On a cluster, Move needs all its keys on one node.
func TestMoveOnCluster(t *testing.T) {
	server := testserver.StartRedis(t, "--cluster-enabled", "yes")
	c := dial(t, server.URL)
	slots := []any{"ADDSLOTS"}
	for i := range 16384 {
		slots = append(slots, i)
	}
	if _, err := c.Do("CLUSTER", slots...); err != nil {
		t.Fatal(err)
	}
	testserver.Until(t, "the cluster", func() bool {
		info, err := redigo.String(c.Do("CLUSTER", "INFO"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(info, "cluster_state:ok")
	})
	soon := time.Now().Add(time.Hour)
	for prefix, can := range map[string]bool{"sess:": false, "{sess}:": true} {
		s := open(t, server.URL, redis.Options{Prefix: prefix, Mode: "cluster"})
		if err := s.Commit("id", []byte("data"), soon); err != nil {
			t.Fatal(err)
		}
		_, moved, err := s.Move(t.Context(), one("id", "data"), "new", []byte("data"), soon)
		if moved != can || (err == nil) != can || errors.Is(err, errors.ErrUnsupported) == can {
			t.Errorf("%s: Move: %t, %v", prefix, moved, err)
		}
		if err != nil && (strings.Contains(err.Error(), "new") || !strings.HasPrefix(err.Error(), "redis: move: ")) {
			t.Errorf("%s: Move: %v", prefix, err)
		}
		if _, found, err := s.Find("id"); found == can || err != nil {
			t.Errorf("%s: the old record is there: %t, %v", prefix, found, err)
		}
		token := "id"
		if can {
			token = "new"
		}
		if _, moved, err := s.Move(t.Context(), one(token, "data"), token, nil, soon); !moved || err != nil {
			t.Errorf("%s: Move to itself: %t, %v", prefix, moved, err)
		}
	}
}

func TestString(t *testing.T) {
	for want, opts := range map[string]redis.Options{
		`redis store, keys "scs:session:*"`: {},
		`redis store, keys "sess:*"`:        {Layout: redis.LayoutConnectRedis},
		`redis store, keys "my\nown*"`:      {Prefix: "my\nown"},
	} {
		s, err := redis.New(newPool(t, "redis://user:hunter2@127.0.0.1:1"), opts)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(s); got != want {
			t.Errorf("String gave %s, want %s", got, want)
		}
	}
}

// one is a record for Move.
func one(token, data string) []contract.Record {
	return []contract.Record{{Token: token, Data: []byte(data)}}
}

func TestRestart(t *testing.T) {
	server := testserver.StartRedis(t)
	ctx, soon := t.Context(), time.Now().Add(time.Hour)
	for name, first := range map[string]func(s *redis.Store) error{
		"Find":      func(s *redis.Store) error { _, _, err := s.Find("id"); return err },
		"FindTouch": func(s *redis.Store) error { _, _, err := s.FindTouch(ctx, "id", soon); return err },
		"Delete":    func(s *redis.Store) error { return s.Delete("id") },
	} {
		s := open(t, server.URL, redis.Options{})
		// While the server is paused, concurrent calls need a connection each.
		// These are idle afterwards.
		if _, err := dial(t, server.URL).Do("CLIENT", "PAUSE", 200, "ALL"); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if err := s.Ping(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		server.Kill()
		if err := s.Commit("id", nil, soon); err == nil {
			t.Errorf("%s: a commit while the server is gone is no error", name)
		}
		server.Start()
		if err := first(s); err != nil {
			t.Errorf("%s, the first call after the restart: %v", name, err)
		}
		// The other idle connections are broken too, and none of them is used.
		for range 5 {
			if err := s.Commit("id", nil, soon); err != nil {
				t.Errorf("%s, then Commit: %v", name, err)
			}
		}
	}
}

// After a failover the old primary, now a replica, answers the old connections.
func TestFailover(t *testing.T) {
	old, promoted := testserver.StartRedis(t), testserver.StartRedis(t)
	front := newProxy(t, old.Addr)
	s := open(t, "redis://"+front.addr, redis.Options{})
	soon := time.Now().Add(time.Hour)
	if err := dialStore(t, promoted.URL).Commit("id", []byte("data"), soon); err != nil {
		t.Fatal(err)
	}

	front.target.Store(promoted.Addr)
	if _, err := dial(t, old.URL).Do("REPLICAOF", "127.0.0.1", "1"); err != nil {
		t.Fatal(err)
	}
	if data, found, err := s.FindTouch(t.Context(), "id", soon); string(data) != "data" || !found || err != nil {
		t.Errorf("the first read after the failover: %q, %t, %v", data, found, err)
	}
	if err := s.Commit("id", []byte("new"), soon); err != nil {
		t.Errorf("a write after the failover: %v", err)
	}
}

// A cursor of SCAN means nothing to another server, nor to the same one after a restart.
func TestListingBeginsAnew(t *testing.T) {
	for name, dies := range map[string]bool{"the server dies": true, "the connection ends by its age": false} {
		t.Run(name, func(t *testing.T) {
			old, promoted := testserver.StartRedis(t), testserver.StartRedis(t)
			soon := time.Now().Add(time.Hour)
			for _, server := range []*testserver.Server{old, promoted} {
				s := dialStore(t, server.URL)
				for i := range 200 {
					if err := s.Commit(fmt.Sprint(i), []byte("data"), soon); err != nil {
						t.Fatal(err)
					}
				}
			}
			front := newProxy(t, old.Addr)
			s := open(t, "redis://"+front.addr, redis.Options{ScanCount: 10, ConnMaxLifetime: 200 * time.Millisecond})
			var failover sync.Once
			seen := make(map[string]bool)
			err := s.Range(t.Context(), func(token string, _ []byte) error {
				failover.Do(func() {
					front.target.Store(promoted.Addr)
					if dies {
						old.Kill()
					} else {
						time.Sleep(200 * time.Millisecond) // the age of the connection
					}
					clear(seen)
				})
				seen[token] = true
				return nil
			})
			if len(seen) != 200 || err != nil {
				t.Errorf("of 200 sessions of the new server, a listing saw %d: %v", len(seen), err)
			}
		})
	}
}

func TestReadOnlyReplica(t *testing.T) {
	server := testserver.StartRedis(t)
	s := open(t, server.URL, redis.Options{})
	c := dial(t, server.URL)
	if _, err := c.Do("REPLICAOF", "127.0.0.1", "1"); err != nil {
		t.Fatal(err)
	}
	soon := time.Now().Add(time.Hour)
	if _, _, err := s.Swap(t.Context(), "id", nil, []byte("data"), soon); err == nil || !strings.Contains(err.Error(), "READONLY") {
		t.Errorf("Swap on a replica: %v", err)
	}
	if _, err := redis.Open(t.Context(), server.URL, redis.Options{}); err == nil || !strings.Contains(err.Error(), "is a replica; give the address of its master") {
		t.Errorf("Open on a replica: %v", err)
	}
	if _, err := c.Do("REPLICAOF", "NO", "ONE"); err != nil {
		t.Fatal(err)
	}
	if _, swapped, err := s.Swap(t.Context(), "id", nil, []byte("data"), soon); !swapped || err != nil {
		t.Errorf("Swap on the primary that it has become: %t, %v", swapped, err)
	}
}

func TestDeadlines(t *testing.T) {
	// A server that accepts connections and never answers.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	var dialled atomic.Int64
	mute := func(opts redis.Options) *redis.Store {
		pool := &redigo.Pool{Dial: func() (redigo.Conn, error) {
			dialled.Add(1)
			return redigo.Dial("tcp", silent.Addr().String())
		}}
		t.Cleanup(func() { pool.Close() })
		s, err := redis.New(pool, opts)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	// A pool whose only connection is in use.
	full := newPool(t, testserver.Redis(t))
	full.MaxActive, full.Wait = 1, true
	taken := full.Get()
	defer taken.Close()
	if _, err := taken.Do("PING"); err != nil {
		t.Fatal(err)
	}
	waiting := func(opts redis.Options) *redis.Store {
		s, err := redis.New(full, opts)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}

	const short, long = 50 * time.Millisecond, time.Hour
	for _, c := range []struct {
		name  string
		store *redis.Store
		ctx   time.Duration // 0 for a context without a deadline
		want  string
	}{
		{"reply, the context's", mute(redis.Options{Timeout: long}), short, "context deadline exceeded"},
		{"reply, Timeout", mute(redis.Options{Timeout: short}), 0, "i/o timeout"},
		{"reply, Timeout before the context's", mute(redis.Options{Timeout: short}), long, "i/o timeout"},
		{"pool, the context's", waiting(redis.Options{ConnectTimeout: long}), short, "no connection in time: context deadline exceeded"},
		{"pool, ConnectTimeout", waiting(redis.Options{ConnectTimeout: short}), 0, "no connection in time: context deadline exceeded"},
		{"pool, ConnectTimeout before the context's", waiting(redis.Options{ConnectTimeout: short}), long, "no connection in time: context deadline exceeded"},
	} {
		for name, call := range map[string]func(ctx context.Context) error{
			"FindCtx":    func(ctx context.Context) error { _, _, err := c.store.FindCtx(ctx, "id"); return err },
			"FindExpiry": func(ctx context.Context) error { _, _, _, err := c.store.FindExpiry(ctx, "id"); return err },
			"CommitCtx":  func(ctx context.Context) error { return c.store.CommitCtx(ctx, "id", nil, time.Now().Add(time.Hour)) },
			"Swap": func(ctx context.Context) error {
				_, _, err := c.store.Swap(ctx, "id", nil, nil, time.Time{})
				return err
			},
		} {
			ctx, cancel := t.Context(), context.CancelFunc(func() {})
			if c.ctx != 0 {
				ctx, cancel = context.WithTimeout(ctx, c.ctx)
			}
			start := time.Now()
			err := call(ctx)
			cancel()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %s: %v; want %q", c.name, name, err, c.want)
			}
			if c.ctx == short && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %s: %v is no DeadlineExceeded", c.name, name, err)
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("%s: %s took %v", c.name, name, took)
			}
		}
	}
	if n := dialled.Load(); n != 3*4 {
		t.Errorf("%d connections for 12 calls: waiting was done twice", n)
	}
	if _, err := redis.Open(t.Context(), "redis://"+silent.Addr().String(), redis.Options{Timeout: short, ConnectTimeout: short}); err == nil {
		t.Error("Open: a server that says nothing is no error")
	}
	if _, err := redis.Open(t.Context(), "rediss://"+silent.Addr().String(), redis.Options{ConnectTimeout: short}); err == nil {
		t.Error("Open, TLS: a server that says nothing is no error")
	}
}

// A method without a context obeys the timeouts of Open.
func TestTimeoutWithoutContext(t *testing.T) {
	server := testserver.StartRedis(t)
	s := open(t, server.URL, redis.Options{Timeout: 50 * time.Millisecond})
	if _, err := dial(t, server.URL).Do("CLIENT", "PAUSE", 4000, "ALL"); err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func() error{
		"Find":   func() error { _, _, err := s.Find("id"); return err },
		"Commit": func() error { return s.Commit("id", nil, time.Now().Add(time.Hour)) },
		"Delete": func() error { return s.Delete("id") },
		"All":    func() error { _, err := s.All(); return err },
	} {
		if err := call(); err == nil || !strings.Contains(err.Error(), "i/o timeout") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Cancelling while a reply is awaited keeps the connection.
func TestCancelKeepsConnection(t *testing.T) {
	server := testserver.StartRedis(t)
	ctx, cancel := context.WithCancel(t.Context())
	pool := newWirePool(t, server.URL, cancel, new(atomic.Bool))
	s, err := redis.New(pool, redis.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dial(t, server.URL).Do("CLIENT", "PAUSE", 100, "ALL"); err != nil {
		t.Fatal(err)
	}
	if err := s.Ping(ctx); err != nil || ctx.Err() == nil || pool.IdleCount() != 1 {
		t.Errorf("cancelled (%v) on the way: %v, and %d connections left", ctx.Err(), err, pool.IdleCount())
	}
	if err := s.Ping(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: %v", err)
	}
}

func TestClose(t *testing.T) {
	url := testserver.Redis(t)
	opts := redis.Options{Prefix: testserver.Prefix(t)}

	s, err := redis.Open(t.Context(), url, opts)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if err := s.Ping(t.Context()); err == nil {
		t.Error("a closed store answers")
	}

	pool := newPool(t, url)
	s, err = redis.New(pool, opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	c := pool.Get()
	defer c.Close()
	if _, err := c.Do("PING"); err != nil {
		t.Errorf("Close has closed the caller's pool: %v", err)
	}
}

func TestOptionErrors(t *testing.T) {
	url := "redis://127.0.0.1:1"
	for _, c := range []struct {
		opts redis.Options
		url  string
		want []string
	}{
		{redis.Options{Layout: "conect-redis"}, url, []string{`Options.Layout: "conect-redis" is unknown; use scs or connect-redis`}},
		{redis.Options{ScanCount: -1}, url, []string{"Options.ScanCount: is negative; 0 is the default"}},
		{
			redis.Options{Timeout: -1, ConnectTimeout: -1, ConnMaxIdleTime: -1, MaxIdleConns: -1, MaxConns: -1},
			url,
			[]string{"Timeout: is negative", "ConnectTimeout: is negative", "ConnMaxIdleTime: is negative", "MaxIdleConns: is negative", "MaxConns: is negative"},
		},
		{redis.Options{MaxConns: 2, MaxIdleConns: 3}, url, []string{"Options.MaxIdleConns and Options.MaxConns: no more connections can stay open (3) than there may be (2)"}},
		{redis.Options{MaxIdleConns: 65}, url, []string{"Options.MaxIdleConns and Options.MaxConns: no more connections can stay open (65) than there may be (by default 64)"}},
		{redis.Options{TLS: redis.TLS{CertFile: "c"}}, "rediss://h", []string{"Options.TLS.CertFile and Options.TLS.KeyFile: go together"}},
		{redis.Options{TLS: redis.TLS{ServerName: "n"}}, url, []string{"Options.TLS.ServerName and url: a connection of redis:// has no TLS; make it rediss://, or drop the first"}},
		{redis.Options{TLS: redis.TLS{CAFile: "none.pem"}}, "rediss://h", []string{"Options.TLS.CAFile: the file can't be read: no such file"}},
		{redis.Options{TLS: redis.TLS{CAFile: "redis.go"}}, "rediss://h", []string{"Options.TLS.CAFile: the file has no certificate"}},
		{redis.Options{TLS: redis.TLS{CertFile: "none.pem", KeyFile: "none.pem"}}, "rediss://h", []string{"Options.TLS.CertFile and Options.TLS.KeyFile: the file can't be read: no such file"}},
	} {
		_, err := redis.Open(t.Context(), c.url, c.opts)
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Open, %+v: %v; want %q", c.opts, err, want)
			}
		}
	}

	pool := newPool(t, url)
	for _, c := range []struct {
		opts redis.Options
		want string
	}{
		{redis.Options{Layout: "x"}, "Options.Layout"},
		{redis.Options{MaxConns: 1}, "Options.MaxConns: is for Open; set it up on the pool given to New"},
		{redis.Options{MaxIdleConns: 1}, "Options.MaxIdleConns: is for Open"},
		{redis.Options{ConnMaxIdleTime: 1}, "Options.ConnMaxIdleTime: is for Open"},
		{redis.Options{TLS: redis.TLS{ServerName: "n"}}, "Options.TLS: is for Open"},
	} {
		if _, err := redis.New(pool, c.opts); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("New, %+v: %v; want %q", c.opts, err, c.want)
		}
	}
	if _, err := redis.New(nil, redis.Options{}); err == nil {
		t.Error("New takes a nil pool")
	}
}

// A record that the server refuses for its size is the application's mistake, and not a
// failure of the store. The next calls have a connection that works.
func TestTooLarge(t *testing.T) {
	server := testserver.StartRedis(t, "--proto-max-bulk-len", "1mb")
	s := open(t, server.URL, redis.Options{})
	soon := time.Now().Add(time.Hour)
	if err := s.Commit("id", []byte("old"), soon); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1<<20 + 1, 4 << 20, 64 << 20} {
		data := bytes.Repeat([]byte("secret"), size/6+1)
		for name, err := range map[string]error{
			"Commit": s.CommitCtx(t.Context(), "id", data, soon),
			"Swap":   func() error { _, _, err := s.Swap(t.Context(), "id", []byte("old"), data, soon); return err }(),
			"Move":   func() error { _, _, err := s.Move(t.Context(), one("id", "old"), "new", data, soon); return err }(),
		} {
			if !errors.Is(err, contract.ErrRejected) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s of %d bytes: %v", name, size, err)
			}
		}
		for range 5 {
			if _, swapped, err := s.Swap(t.Context(), "id", []byte("old"), []byte("old"), soon); !swapped || err != nil {
				t.Errorf("after %d bytes: %t, %v", size, swapped, err)
			}
		}
	}
}

// A server older than 6.2 replies to GETEX with its arguments.
func TestOldServer(t *testing.T) {
	server := testserver.StartRedis(t, "--rename-command", "GETEX", "")
	_, err := redis.Open(t.Context(), server.URL, redis.Options{})
	want := "redis: open: ERR unknown command 'GETEX' (Redis 6.2 or later, or Valkey, is required)"
	if err == nil || err.Error() != want {
		t.Errorf("Open: %v; want %s", err, want)
	}
	_, _, err = dialStore(t, server.URL).FindTouch(t.Context(), "the-session-id", time.Now().Add(time.Hour))
	if err == nil || strings.Contains(err.Error(), "the-session-id") {
		t.Errorf("FindTouch: %v", err)
	}
}

func open(t *testing.T, url string, opts redis.Options) *redis.Store {
	t.Helper()
	s, err := redis.Open(t.Context(), url, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// dialStore returns a store made by New.
func dialStore(t *testing.T, url string) *redis.Store {
	t.Helper()
	s, err := redis.New(newPool(t, url), redis.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newPool(t *testing.T, url string) *redigo.Pool {
	pool := &redigo.Pool{MaxIdle: 8, Dial: func() (redigo.Conn, error) { return redigo.DialURL(url) }}
	t.Cleanup(func() { pool.Close() })
	return pool
}

func dial(t *testing.T, url string) redigo.Conn {
	t.Helper()
	c, err := redigo.DialURL(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
