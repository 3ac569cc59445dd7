package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/samesid/samesid/backends/contract"
	"github.com/samesid/samesid/internal/batch"
	"github.com/samesid/samesid/internal/testserver"
)

// shared is a store on a server of its own, whose connections count what is sent and can be cut.
type shared struct {
	*Store
	t      *testing.T
	writes atomic.Int64
	left   atomic.Int64                  // bytes of replies until the connection is cut, if positive
	hang   atomic.Pointer[chan struct{}] // the next read waits for it
	borrow atomic.Pointer[chan struct{}] // the next use of an idle connection waits for it
}

type sharedConn struct {
	net.Conn
	s   *shared
	cut bool
}

func (c *sharedConn) Write(p []byte) (int, error) {
	c.s.writes.Add(1)
	return c.Conn.Write(p)
}

func (c *sharedConn) Read(p []byte) (int, error) {
	if hang := c.s.hang.Swap(nil); hang != nil {
		<-*hang
	}
	left := c.s.left.Load()
	switch {
	case c.cut:
		return 0, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	case left <= 0:
		return c.Conn.Read(p)
	}
	n, err := c.Conn.Read(p[:min(len(p), int(left))])
	c.cut = c.s.left.Add(-int64(n)) <= 0
	return n, err
}

func newShared(t *testing.T, opts Options) *shared {
	t.Helper()
	server := testserver.StartRedis(t)
	s := &shared{t: t}
	pool := &redigo.Pool{MaxIdle: 8, Dial: func() (redigo.Conn, error) {
		return redigo.DialURL(server.URL, redigo.DialNetDial(func(network, addr string) (net.Conn, error) {
			c, err := net.Dial(network, addr)
			return &sharedConn{Conn: c, s: s}, err
		}))
	}, TestOnBorrow: func(redigo.Conn, time.Time) error {
		if wait := s.borrow.Swap(nil); wait != nil {
			<-*wait
		}
		return nil
	}}
	t.Cleanup(func() { pool.Close() })
	store, err := New(pool, opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Store = store
	filler, err := New(pool, Options{}) // patient, whatever opts.Timeout is
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if err := filler.Commit(fmt.Sprint(i), fmt.Append(nil, "data ", i), soon()); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// taken returns once something waits for the channel.
func taken(t *testing.T, where *atomic.Pointer[chan struct{}]) {
	t.Helper()
	testserver.Until(t, "a call that waits", func() bool { return where.Load() == nil })
}

func soon() time.Time { return time.Now().Add(time.Hour) }

// Calls that wait go out in one write, and each gets its own reply.
func TestCallsShareAPipeline(t *testing.T) {
	s := newShared(t, Options{})
	ctx := t.Context()
	_, _, _ = s.Swap(ctx, "script", nil, []byte("x"), soon()) // loads it
	s.writes.Store(0)
	calls := []func(){
		func() {
			if data, found, err := s.FindCtx(ctx, "0"); string(data) != "data 0" || !found || err != nil {
				t.Errorf("Find: %q, %t, %v", data, found, err)
			}
		},
		func() {
			if data, found, err := s.FindTouch(ctx, "1", soon()); string(data) != "data 1" || !found || err != nil {
				t.Errorf("FindTouch: %q, %t, %v", data, found, err)
			}
		},
		func() {
			if data, expiry, found, err := s.FindExpiry(ctx, "2"); string(data) != "data 2" || time.Until(expiry) < 59*time.Minute || !found || err != nil {
				t.Errorf("FindExpiry: %q, %v, %t, %v", data, expiry, found, err)
			}
		},
		func() {
			if _, found, err := s.FindCtx(ctx, "none"); found || err != nil {
				t.Errorf("Find of none: %t, %v", found, err)
			}
		},
		func() {
			if _, swapped, err := s.Swap(ctx, "3", []byte("data 3"), []byte("new"), soon()); !swapped || err != nil {
				t.Errorf("Swap: %t, %v", swapped, err)
			}
		},
		func() {
			if current, swapped, err := s.Swap(ctx, "4", []byte("other"), []byte("new"), soon()); string(current) != "data 4" || swapped || err != nil {
				t.Errorf("Swap, refused: %q, %t, %v", current, swapped, err)
			}
		},
		func() {
			if err := s.DeleteCtx(ctx, "5"); err != nil {
				t.Error(err)
			}
		},
		func() {
			if err := s.CommitCtx(ctx, "6", []byte("new"), soon()); err != nil {
				t.Error(err)
			}
		},
		func() { // the order of one session's calls is kept
			if data, _, err := s.FindCtx(ctx, "6"); string(data) != "new" || err != nil {
				t.Errorf("Find after Commit: %q, %v", data, err)
			}
		},
	}
	s.single.shared.Together(len(calls), func(i int) { calls[i]() })
	if n := s.writes.Load(); n != 1 {
		t.Errorf("%d writes to the network, want 1", n)
	}

	s = newShared(t, Options{NoBatching: true})
	if s.single.shared != nil {
		t.Error("with NoBatching, calls share")
	}
}

// Whoever observes a call learns how many shared its pipeline.
func TestTogetherIsNoted(t *testing.T) {
	s := newShared(t, Options{})
	s.single.shared.Together(8, func(i int) {
		n := 0
		if _, _, err := s.FindTouch(contract.NoteTogether(t.Context(), &n), fmt.Sprint(i), soon()); n != 8 || err != nil {
			t.Errorf("FindTouch %d shares its command with %d, %v", i, n, err)
		}
	})
}

// The server may forget scripts at any time.
func TestScriptFlushedBeforeABatch(t *testing.T) {
	s := newShared(t, Options{})
	if _, err := s.do(t.Context(), once, "SCRIPT", "FLUSH"); err != nil {
		t.Fatal(err)
	}
	s.single.shared.Together(8, func(i int) {
		token, old := fmt.Sprint(i), fmt.Append(nil, "data ", i)
		if _, swapped, err := s.Swap(t.Context(), token, old, []byte("new"), soon()); !swapped || err != nil {
			t.Errorf("Swap %d: %t, %v", i, swapped, err)
		}
	})
}

// Those in the middle of a batch that find their script forgotten are sent again, the others
// are not.
func TestScriptFlushedInABatch(t *testing.T) {
	s := newShared(t, Options{})
	ctx := t.Context()
	from := func(i int) []contract.Record {
		return []contract.Record{{Token: fmt.Sprint(i), Data: fmt.Append(nil, "data ", i)}}
	}
	_, _, _ = s.Swap(ctx, "script", nil, []byte("x"), soon())
	_, _, _ = s.Move(ctx, from(9), "script 2", []byte("x"), soon())
	s.single.shared.Together(9, func(i int) {
		var done bool
		var err error
		switch {
		case i == 4:
			_, err = s.do(ctx, once, "SCRIPT", "FLUSH")
			done = true
		case i%2 == 0:
			_, done, err = s.Swap(ctx, fmt.Sprint(i), fmt.Append(nil, "data ", i), []byte("new"), soon())
		default:
			_, done, err = s.Move(ctx, from(i), fmt.Sprint("moved ", i), []byte("new"), soon())
		}
		if !done || err != nil {
			t.Errorf("call %d: %t, %v", i, done, err)
		}
	})
	for i := range 9 {
		token, want := fmt.Sprint(i), "new"
		if i%2 == 1 {
			if _, found, err := s.FindCtx(ctx, token); found || err != nil {
				t.Errorf("%d, which was moved: %t, %v", i, found, err)
			}
			token = fmt.Sprint("moved ", i)
		}
		if i == 4 {
			want = "data 4"
		}
		if data, _, err := s.FindCtx(ctx, token); string(data) != want || err != nil {
			t.Errorf("%s: %q, %v", token, data, err)
		}
	}
}

// However many calls wait, one of another session goes out after those before it.
func TestFloodHoldsUpNoOther(t *testing.T) {
	s, err := Open(t.Context(), testserver.Redis(t), Options{Prefix: testserver.Prefix(t), MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	flood := s.prefix + "flood"
	const before, after = 100, 100
	var answered atomic.Bool
	s.single.shared.Together(before+1+after, func(i int) {
		if i == before {
			n, err := redigo.Int(s.do(t.Context(), once, "GET", flood))
			if answered.Store(true); n != before || err != nil {
				t.Errorf("%d calls went out before it, want %d; %v", n, before, err)
			}
			return
		}
		for ok := true; ok; ok = !answered.Load() {
			if _, err := s.do(t.Context(), once, "INCR", flood); err != nil {
				t.Error(err)
			}
		}
	})
}

// A caller that is cancelled while it waits returns at once, and nothing of it is sent.
func TestCancelledBeforeABatch(t *testing.T) {
	s := newShared(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	waits, release := s.single.shared.Hold()
	var errs []chan error
	for i := range 8 {
		errs = append(errs, make(chan error, 1))
		of := t.Context()
		if i == 3 {
			of = ctx
		}
		go func() { errs[i] <- s.CommitCtx(of, fmt.Sprint(i), []byte("new"), soon()) }()
		<-waits
	}
	cancel()
	if err := <-errs[3]; !errors.Is(err, context.Canceled) {
		t.Errorf("the one that was cancelled: %v", err)
	}
	release()
	for i := range 8 {
		want := "data 3"
		if i != 3 {
			want = "new"
			if err := <-errs[i]; err != nil {
				t.Errorf("Commit %d: %v", i, err)
			}
		}
		if data, _, err := s.FindCtx(t.Context(), fmt.Sprint(i)); string(data) != want || err != nil {
			t.Errorf("after Commit %d there is %q, %v", i, data, err)
		}
	}
}

// An error that the server gives one command is no other's.
func TestErrorInABatch(t *testing.T) {
	s := newShared(t, Options{})
	if _, err := s.do(t.Context(), once, "LPUSH", s.prefix+"list", "x"); err != nil {
		t.Fatal(err)
	}
	s.single.shared.Together(8, func(i int) {
		if i == 3 {
			if _, _, err := s.FindCtx(t.Context(), "list"); err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
				t.Errorf("Find of a list: %v", err)
			}
			return
		}
		if data, found, err := s.FindCtx(t.Context(), fmt.Sprint(i)); string(data) != fmt.Sprint("data ", i) || !found || err != nil {
			t.Errorf("Find %d: %q, %t, %v", i, data, found, err)
		}
	})
}

// A connection that is cut in the middle of a batch: what is idempotent is done again, and
// each other write is an error, and is not done twice.
func TestConnectionCutInABatch(t *testing.T) {
	s := newShared(t, Options{})
	ctx := t.Context()
	_, _, _ = s.Swap(ctx, "script", nil, []byte("x"), soon())
	reply := int64(len("$6\r\ndata 0\r\n"))
	s.left.Store(3*reply + 2)
	s.single.shared.Together(8, func(i int) {
		if data, found, err := s.FindCtx(ctx, fmt.Sprint(i)); string(data) != fmt.Sprint("data ", i) || !found || err != nil {
			t.Errorf("Find %d: %q, %t, %v", i, data, found, err)
		}
	})

	s.left.Store(3*int64(len(":1\r\n")) + 2)
	s.single.shared.Together(8, func(i int) {
		_, swapped, err := s.Swap(ctx, fmt.Sprint(i), fmt.Append(nil, "data ", i), []byte("new"), soon())
		if i < 3 && (!swapped || err != nil) {
			t.Errorf("Swap %d, which was answered: %t, %v", i, swapped, err)
		}
		if i >= 3 && (swapped || err == nil) {
			t.Errorf("Swap %d, which was not answered: %t, %v", i, swapped, err)
		}
	})
	for i := range 8 {
		if data, _, err := s.FindCtx(ctx, fmt.Sprint(i)); string(data) != "new" || err != nil {
			t.Errorf("after Swap %d there is %q, %v", i, data, err)
		}
	}
}

// A caller that leaves, leaves alone, and may use its bytes again.
func TestOneCallerOfABatchLeaves(t *testing.T) {
	s := newShared(t, Options{})
	for _, c := range []struct {
		name  string
		where *atomic.Pointer[chan struct{}]
		first string // what there is then in place of what the caller that left has written
	}{
		{"before it is sent", &s.borrow, "data 0"}, // which it is not: its session may have ended since
		{"before the reply", &s.hang, "new 0"},
	} {
		name, where := c.name, c.where
		over := make(chan struct{})
		late := testserver.Late(t.Context(), over)
		wait := make(chan struct{})
		where.Store(&wait)
		go func() {
			defer close(over)
			taken(t, where)
		}()
		s.single.shared.Together(8, func(i int) {
			data := fmt.Append(nil, "new ", i)
			if i == 0 {
				if err := s.CommitCtx(late, "0", data, soon()); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%s: a late Commit: %v", name, err)
				}
				clear(data)
				close(wait)
				return
			}
			if err := s.CommitCtx(t.Context(), fmt.Sprint(i), data, soon()); err != nil {
				t.Errorf("%s: Commit %d: %v", name, i, err)
			}
		})
		for i := range 8 {
			want := fmt.Sprint("new ", i)
			if i == 0 {
				want = c.first
			}
			if data, _, err := s.FindCtx(t.Context(), fmt.Sprint(i)); string(data) != want || err != nil {
				t.Errorf("%s: after Commit %d there is %q, %v", name, i, data, err)
			}
		}
	}
}

// A connection that hangs holds up no other call.
func TestHangingConnection(t *testing.T) {
	s := newShared(t, Options{Timeout: time.Minute})
	hang, hangs := make(chan struct{}), make(chan error)
	s.hang.Store(&hang)
	go func() {
		_, _, err := s.FindCtx(t.Context(), "0")
		hangs <- err
	}()
	taken(t, &s.hang)
	for i := range 8 {
		if data, _, err := s.FindCtx(t.Context(), fmt.Sprint(i)); string(data) != fmt.Sprint("data ", i) || err != nil {
			t.Errorf("Find %d: %q, %v", i, data, err)
		}
	}
	close(hang)
	if err := <-hangs; err != nil {
		t.Error(err)
	}
}

// The error of a transaction is the first one, such as MOVED, in a batch too.
func TestErrorOfATransactionInABatch(t *testing.T) {
	s := newShared(t, Options{})
	calls := [][]any{{"MULTI"}, {"NO-SUCH-COMMAND"}}
	transact := func(int) {
		_, err := s.use(t.Context(), "key", once.shared(), func(c conn) (any, error) { return c.transact(calls) })
		if err == nil || strings.Contains(err.Error(), "EXECABORT") {
			t.Errorf("the error is %v", err)
		}
	}
	transact(0)
	s.single.shared.Together(2, transact)
}

// When a server does not answer in time, this is the error of each call.
func TestLateBatch(t *testing.T) {
	s := newShared(t, Options{Timeout: 50 * time.Millisecond})
	wait := make(chan struct{})
	s.hang.Store(&wait)
	go func() {
		defer close(wait)
		taken(t, &s.hang)
		time.Sleep(100 * time.Millisecond) // longer than Timeout, which the connection has as a deadline
	}()
	s.single.shared.Together(8, func(i int) {
		if err := s.CommitCtx(t.Context(), fmt.Sprint(i), []byte("new"), soon()); !isTimeout(err) {
			t.Errorf("Commit %d: %v", i, err)
		}
	})
}

// Large records go by themselves, once the store has written or read them.
func TestLargeRecordsGoAlone(t *testing.T) {
	s := newShared(t, Options{})
	large := bytes.Repeat([]byte("x"), 1<<20)
	if err := s.Commit("large", large, soon()); err != nil {
		t.Fatal(err)
	}
	for i := range 400 {
		if err := s.NoteUser(t.Context(), "ann", fmt.Sprintf("%050d", i), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.UserTokens(t.Context(), "ann"); err != nil {
		t.Fatal(err)
	}
	small := []contract.Record{{Token: "9", Data: []byte("data 9")}}
	if _, moved, err := s.Move(t.Context(), small, "moved", large, soon()); !moved || err != nil {
		t.Fatalf("Move: %t, %v", moved, err)
	}
	s.single.shared.Close()
	if tokens, err := s.UserTokens(t.Context(), "ann"); len(tokens) != 400 || err != nil {
		t.Errorf("UserTokens: %d, %v", len(tokens), err)
	}
	if _, err := s.UserTokens(t.Context(), "bob"); !errors.Is(err, batch.ErrClosed) {
		t.Errorf("a short list did not go to the queue: %v", err)
	}
	if _, _, err := s.FindCtx(t.Context(), "0"); !errors.Is(err, batch.ErrClosed) {
		t.Errorf("a small record did not go to the queue: %v", err)
	}
	for _, token := range []string{"large", "moved"} {
		if data, found, err := s.FindCtx(t.Context(), token); !bytes.Equal(data, large) || !found || err != nil {
			t.Errorf("Find of %s: %d bytes, %t, %v", token, len(data), found, err)
		}
	}
	if err := s.Commit("large", large, soon()); err != nil {
		t.Error(err)
	}
	if _, swapped, err := s.Swap(t.Context(), "large", large, []byte("small"), soon()); !swapped || err != nil {
		t.Errorf("Swap: %t, %v", swapped, err)
	}
}

// WAIT is about the writes of one connection.
func TestConfirmedDeletionsGoAlone(t *testing.T) {
	s := newShared(t, Options{WaitReplicas: 1, WaitTimeout: time.Millisecond})
	s.single.shared.Close()
	var unconfirmed *unconfirmedError
	if _, err := s.EndUser(t.Context(), "ann", time.Hour); !errors.As(err, &unconfirmed) {
		t.Errorf("EndUser: %v", err)
	}
	if err := s.DeleteCtx(t.Context(), "0"); !errors.As(err, &unconfirmed) {
		t.Errorf("Delete: %v", err)
	}
	if _, _, err := s.Swap(t.Context(), "1", []byte("data 1"), nil, time.Time{}); !errors.As(err, &unconfirmed) {
		t.Errorf("Swap: %v", err)
	}
}
