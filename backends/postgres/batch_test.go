package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/samesid/samesid/backends/contract"
	"github.com/samesid/samesid/internal/batch"
	"github.com/samesid/samesid/internal/testserver"
)

func asks(tokens ...string) (all []*ask) {
	for _, token := range tokens {
		all = append(all, &ask{token: token, left: time.Hour.Microseconds()})
	}
	return all
}

func answers(all []*ask) string {
	var text []string
	for _, x := range all {
		switch {
		case x.err != nil:
			text = append(text, x.err.Error())
		case !x.answered:
			text = append(text, "alone")
		case !x.found:
			text = append(text, "none")
		default:
			text = append(text, string(x.data))
		}
	}
	return strings.Join(text, ", ")
}

// Each statement for several sessions answers them at once, on each layout and each type
// of column, with names and without. A row that is locked is left out.
func TestStatementsForSeveralSessions(t *testing.T) {
	t.Parallel()
	types := map[Layout][]string{LayoutConnectPgSimple: {"json", "jsonb"}, LayoutConnectSessionSequelize: {"text"}}
	for _, layout := range allLayouts {
		for i, typ := range append([]string{""}, types[layout]...) {
			t.Run(fmt.Sprint(layout, " ", typ), func(t *testing.T) {
				t.Parallel()
				dsn, _ := testserver.Schema(t)
				opts := quiet(layout)
				opts.PreparedStatements = i%2 == 1
				s := open(t, dsn, opts)
				if typ != "" {
					exec(t, s.db, fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s TYPE %s USING %s::%s", s.table.q, s.table.qData, typ, s.table.qData, typ))
				}
				s.large.Note("f", 1<<20) // goes alone, and notices the other type
				for _, token := range []string{"a", "b", "c", "d", "e", "f"} {
					commit(t, s, token, fmt.Appendf(nil, `{"is": "%s\\\"'"}`, token), inAnHour())
				}
				commit(t, s, "expired", []byte(`{}`), time.Now().Add(-time.Hour))
				tx, err := s.db.BeginTx(t.Context(), nil)
				if err != nil {
					t.Fatal(err)
				}
				defer tx.Rollback()
				if _, err := tx.Exec(fmt.Sprintf("SELECT FROM %s WHERE %s = 'c' FOR UPDATE", s.table.q, s.table.qID)); err != nil {
					t.Fatal(err)
				}
				is := func(token string) string { return fmt.Sprintf(`{"is": "%s\\\"'"}`, token) }
				tokens := []string{"b", "a", "none", "c", "expired", "a"}

				for name, find := range map[string]statement{"find": sqlFindAll, "find with expiry": sqlFindExpiryAll} {
					all := asks(tokens...)
					if err := s.findTogether(name, find, all); err != nil {
						t.Error(err)
					}
					if got, want := answers(all), strings.Join([]string{is("b"), is("a"), "none", is("c"), "none", is("a")}, ", "); got != want {
						t.Errorf("%s: %s, want %s", name, got, want)
					}
					if left := time.Duration(all[1].expires) * time.Microsecond; find == sqlFindExpiryAll && (left > time.Hour+time.Second || left < 59*time.Minute) {
						t.Errorf("%s: the record expires in %v", name, left)
					}
					if all[1].data[0] = '['; all[5].data[0] == '[' {
						t.Errorf("%s: two callers share the bytes of a record", name)
					}
				}

				all := asks(tokens...)
				for _, x := range all {
					x.left = (2 * time.Hour).Microseconds()
				}
				all[5].left /= 2 // the longer one counts
				if err := s.findTogether("find and touch", sqlFindTouchAll, all); err != nil {
					t.Error(err)
				}
				if got, want := answers(all), strings.Join([]string{is("b"), is("a"), "alone", "alone", "alone", is("a")}, ", "); got != want {
					t.Errorf("find and touch: %s, want %s", got, want)
				}
				for token, want := range map[string]time.Duration{"a": 2 * time.Hour, "b": 2 * time.Hour, "c": time.Hour, "d": time.Hour} {
					if _, at, _, err := s.FindExpiry(t.Context(), token); time.Until(at) > want+time.Second || time.Until(at) < want-time.Minute || err != nil {
						t.Errorf("find and touch: %s expires in %v, want %v; %v", token, time.Until(at), want, err)
					}
				}

				all = asks("d", "none", "expired", "c", "a", "e")
				for _, x := range all {
					x.old, x.left = []byte(is(x.token)), (3 * time.Hour).Microseconds()
				}
				all[4].old = []byte(`{"is":"another"}`)
				if err := s.changeTogether(sqlSwapTouchAll, all); err != nil {
					t.Error(err)
				}
				for _, x := range all {
					if want := x.token == "d" || x.token == "e"; x.answered != want || x.unsure || x.err != nil {
						t.Errorf("touch %s: %t, %t, %v", x.token, x.answered, x.unsure, x.err)
					}
				}
				for token, want := range map[string]time.Duration{"a": 2 * time.Hour, "c": time.Hour, "d": 3 * time.Hour, "e": 3 * time.Hour} {
					if data, at, _, err := s.FindExpiry(t.Context(), token); time.Until(at) > want+time.Second || time.Until(at) < want-time.Minute || string(data) != is(token) || err != nil {
						t.Errorf("touch: %s is %s and expires in %v, want %v; %v", token, data, time.Until(at), want, err)
					}
				}

				all = asks("d", "b", "none", "c", "a", "e")
				for _, x := range all {
					x.old, x.new = []byte(is(x.token)), fmt.Appendf(nil, `{"new": "%s\\\"'"}`, x.token)
				}
				all[4].old = []byte(`{"is":"another"}`)
				if err := s.changeTogether(sqlSwapReplaceAll, all); err != nil {
					t.Error(err)
				}
				for _, x := range all {
					if want := x.token == "b" || x.token == "d" || x.token == "e"; x.answered != want || x.unsure || x.err != nil {
						t.Errorf("replace %s: %t, %t, %v", x.token, x.answered, x.unsure, x.err)
					}
					data, _, err := s.FindCtx(t.Context(), x.token)
					switch {
					case err != nil:
						t.Error(err)
					case x.answered && string(data) != string(x.new):
						t.Errorf("replace %s: there is %s", x.token, data)
					case !x.answered && x.token != "none" && string(data) != is(x.token):
						t.Errorf("replace %s, which was not to be: there is %s", x.token, data)
					}
				}
			})
		}
	}
}

// Calls that wait share statements, and each gets its own answer, whatever the others' is.
func TestCallsShareAStatement(t *testing.T) {
	t.Parallel()
	dsn, _ := testserver.Schema(t)
	s := open(t, dsn, quiet(LayoutConnectPgSimple))
	is := func(i int) string { return fmt.Sprintf(`{"is":%d}`, i) }
	for i := range 8 {
		commit(t, s, fmt.Sprint(i), []byte(is(i)), inAnHour())
	}
	s.queues.find.Together(9, func(i int) {
		n := 0 // which whoever observes a call is told
		if data, found, err := s.FindCtx(contract.NoteTogether(t.Context(), &n), fmt.Sprint(i)); n != 9 || found != (i < 8) || found && string(data) != is(i) || err != nil {
			t.Errorf("Find %d: %q, %t, %v", i, data, found, err)
		}
	})
	s.queues.findExpiry.Together(9, func(i int) {
		if data, at, found, err := s.FindExpiry(t.Context(), fmt.Sprint(i)); found != (i < 8) || found && (string(data) != is(i) || time.Until(at) < 59*time.Minute) || err != nil {
			t.Errorf("FindExpiry %d: %q, %v, %t, %v", i, data, at, found, err)
		}
	})
	s.queues.findTouch.Together(9, func(i int) {
		if data, found, err := s.FindTouch(t.Context(), fmt.Sprint(i), inAnHour()); found != (i < 8) || found && string(data) != is(i) || err != nil {
			t.Errorf("FindTouch %d: %q, %t, %v", i, data, found, err)
		}
	})
	s.queues.touch.Together(9, func(i int) {
		old, current := is(i), ""
		if i == 2 {
			old, current = `{"is":"another"}`, is(2)
		}
		now, swapped, err := s.Swap(t.Context(), fmt.Sprint(i), []byte(old), []byte(old), inAnHour())
		if string(now) != current || swapped != (i != 2 && i != 8) || err != nil {
			t.Errorf("Swap that touches %d: %q, %t, %v", i, now, swapped, err)
		}
	})
	s.queues.replace.Together(9, func(i int) {
		token, old, new := fmt.Sprint(i), []byte(is(i)), []byte(`{"new":1}`)
		switch i {
		case 2:
			old = []byte(`{"is":"another"}`)
		case 3:
			new = []byte(`{"not JSON"`) // fails the statement
		case 4:
			token = "3"
			old = []byte(is(3))
		}
		current, swapped, err := s.Swap(t.Context(), token, old, new, inAnHour())
		switch i {
		case 2:
			if string(current) != is(2) || swapped || err != nil {
				t.Errorf("Swap from another: %q, %t, %v", current, swapped, err)
			}
		case 3:
			if swapped || err == nil {
				t.Errorf("Swap to what is not JSON: %t, %v", swapped, err)
			}
		case 8:
			if current != nil || swapped || err != nil {
				t.Errorf("Swap of none: %q, %t, %v", current, swapped, err)
			}
		default:
			if !swapped || err != nil {
				t.Errorf("Swap %d: %q, %t, %v", i, current, swapped, err)
			}
		}
	})

	// Of two changes of one session, one is refused.
	for i := range 10 {
		token := fmt.Sprint("two", i)
		commit(t, s, token, []byte(`{}`), inAnHour())
		var won [2]bool
		s.queues.replace.Together(2, func(i int) {
			var err error
			if _, won[i], err = s.Swap(t.Context(), token, []byte(`{}`), []byte(is(i)), inAnHour()); err != nil {
				t.Error(err)
			}
		})
		if data, _, err := s.FindCtx(t.Context(), token); won[0] == won[1] || won[0] != (string(data) == is(0)) || err != nil {
			t.Errorf("of two changes of one session, these were made: %t; there is %s, %v", won, data, err)
		}
	}

	opts := quiet(LayoutConnectPgSimple)
	opts.NoBatching = true
	if s := open(t, dsn, opts); s.queues.find != nil || s.queues.replace != nil {
		t.Error("with NoBatching, calls share")
	}
}

// Calls with a row that another client has locked wait for it by themselves.
func TestLockedRowHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	dsn, _ := testserver.Schema(t)
	opts := quiet(LayoutConnectPgSimple)
	opts.Timeout = time.Minute
	s := open(t, dsn, opts)
	for i := range 8 {
		commit(t, s, fmt.Sprint(i), []byte(`{}`), inAnHour())
	}
	tx, err := rawDB(t, dsn).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec(`SELECT FROM session WHERE sid = '3' FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	var others sync.WaitGroup
	others.Add(2 * 7)
	var done sync.WaitGroup
	call := func(q *batch.Queue[*ask], call func(token string) (bool, error)) {
		done.Go(func() {
			q.Together(8, func(i int) {
				if found, err := call(fmt.Sprint(i)); !found || err != nil {
					t.Errorf("%d: %t, %v", i, found, err)
				}
				if i != 3 {
					others.Done()
				}
			})
		})
	}
	call(s.queues.findTouch, func(token string) (bool, error) {
		_, found, err := s.FindTouch(t.Context(), token, inAnHour())
		return found, err
	})
	call(s.queues.replace, func(token string) (bool, error) {
		_, swapped, err := s.Swap(t.Context(), token, []byte(`{}`), []byte(`{"n":1}`), inAnHour())
		return swapped, err
	})
	others.Wait() // while the row is locked
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	done.Wait()
}

// Batches of several processes don't deadlock, in whatever order their sessions are, and no
// change is lost.
func TestBatchesOfSeveralProcesses(t *testing.T) {
	t.Parallel()
	dsn, _ := testserver.Schema(t)
	opts := quiet(LayoutConnectPgSimple)
	opts.MaxConns = 2
	const sessions, workers, rounds = 6, 8, 40
	stores := []*Store{open(t, dsn, opts), open(t, dsn, opts)}
	for i := range sessions {
		commit(t, stores[0], fmt.Sprint(i), []byte(`{"n":0}`), inAnHour())
	}
	var wg sync.WaitGroup
	for w := range 2 * workers {
		s := stores[w%2]
		wg.Go(func() {
			for range rounds {
				token := fmt.Sprint(rand.IntN(sessions))
				current, found, err := s.FindTouch(t.Context(), token, inAnHour())
				if !found || err != nil {
					t.Errorf("FindTouch: %t, %v", found, err)
					return
				}
				for swapped := false; !swapped; {
					var n int
					if _, err := fmt.Sscanf(string(current), `{"n":%d}`, &n); err != nil {
						t.Errorf("%q: %v", current, err)
						return
					}
					now, ok, err := s.Swap(t.Context(), token, current, fmt.Appendf(nil, `{"n":%d}`, n+1), inAnHour())
					if err != nil {
						t.Error(err)
						return
					}
					current, swapped = now, ok
				}
			}
		})
	}
	wg.Wait()
	sum := 0
	for i := range sessions {
		data, _, err := stores[0].FindCtx(t.Context(), fmt.Sprint(i))
		var n int
		if _, scanErr := fmt.Sscanf(string(data), `{"n":%d}`, &n); err != nil || scanErr != nil {
			t.Fatal(err, scanErr)
		}
		sum += n
	}
	if want := 2 * workers * rounds; sum != want {
		t.Errorf("%d increments are there, want %d", sum, want)
	}
}

// A caller that leaves, leaves alone, and may use its bytes again.
func TestOneCallerOfABatchLeaves(t *testing.T) {
	t.Parallel()
	dsn, _ := testserver.Schema(t)
	opts := quiet(LayoutSCS)
	opts.MaxConns = 1
	s := open(t, dsn, opts)
	for i := range 8 {
		commit(t, s, fmt.Sprint(i), []byte(`{}`), inAnHour())
	}
	conn, err := s.db.Conn(t.Context()) // the batch has to wait for it
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	late := testserver.Late(t.Context(), over)
	go func() {
		defer close(over)
		testserver.Until(t, "a batch that waits for the connection", func() bool { return s.db.Stats().WaitCount > 0 })
	}()
	s.queues.replace.Together(8, func(i int) {
		data := fmt.Appendf(nil, `{"new":%d}`, i)
		if i == 0 {
			if _, swapped, err := s.Swap(late, "0", []byte(`{}`), data, inAnHour()); swapped || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a late Swap: %t, %v", swapped, err)
			}
			clear(data)
			conn.Close()
			return
		}
		if _, swapped, err := s.Swap(t.Context(), fmt.Sprint(i), []byte(`{}`), data, inAnHour()); !swapped || err != nil {
			t.Errorf("Swap %d: %t, %v", i, swapped, err)
		}
	})
	for i := range 8 {
		if data, _, err := s.FindCtx(t.Context(), fmt.Sprint(i)); string(data) != fmt.Sprintf(`{"new":%d}`, i) || err != nil {
			t.Errorf("after Swap %d there is %q, %v", i, data, err)
		}
	}
}

// A caller that is cancelled while it waits returns at once, and nothing of it is sent.
func TestCancelledBeforeABatch(t *testing.T) {
	t.Parallel()
	dsn, _ := testserver.Schema(t)
	s := open(t, dsn, quiet(LayoutSCS))
	for i := range 8 {
		commit(t, s, fmt.Sprint(i), []byte(`{}`), inAnHour())
	}
	ctx, cancel := context.WithCancel(t.Context())
	waits, release := s.queues.replace.Hold()
	var errs []chan error
	for i := range 8 {
		errs = append(errs, make(chan error, 1))
		of := t.Context()
		if i == 3 {
			of = ctx
		}
		go func() {
			_, swapped, err := s.Swap(of, fmt.Sprint(i), []byte(`{}`), []byte(`{"new":1}`), inAnHour())
			if !swapped && err == nil {
				err = errors.New("refused")
			}
			errs[i] <- err
		}()
		<-waits
	}
	cancel()
	if err := <-errs[3]; !errors.Is(err, context.Canceled) {
		t.Errorf("the one that was cancelled: %v", err)
	}
	release()
	for i := range 8 {
		want := `{}`
		if i != 3 {
			want = `{"new":1}`
			if err := <-errs[i]; err != nil {
				t.Errorf("Swap %d: %v", i, err)
			}
		}
		if data, _, err := s.FindCtx(t.Context(), fmt.Sprint(i)); string(data) != want || err != nil {
			t.Errorf("after Swap %d there is %q, %v", i, data, err)
		}
	}
}

// However many changes of one session wait, one of another session is in the next batch.
func TestFloodHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	dsn, _ := testserver.Schema(t)
	opts := quiet(LayoutConnectPgSimple)
	opts.MaxConns, opts.Timeout = 1, time.Minute
	s := open(t, dsn, opts)
	commit(t, s, "flood", []byte(`{"n":0}`), inAnHour())
	commit(t, s, "other", []byte(`{}`), inAnHour())
	db := rawDB(t, dsn)
	// The change of the other session keeps what the flood has done by then.
	exec(t, db, `CREATE TABLE kept (data json)`)
	exec(t, db, `CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN INSERT INTO kept SELECT sess FROM session WHERE sid = 'flood'; RETURN NULL; END $$`)
	exec(t, db, `CREATE TRIGGER keep AFTER UPDATE ON session FOR EACH ROW WHEN (NEW.sid = 'other') EXECUTE FUNCTION keep()`)

	const before, after = 100, 100
	var answered atomic.Bool
	var changes atomic.Int64
	s.queues.replace.Together(before+1+after, func(i int) {
		if i == before {
			_, swapped, err := s.Swap(t.Context(), "other", []byte(`{}`), []byte(`{"new":1}`), inAnHour())
			if answered.Store(true); !swapped || err != nil {
				t.Errorf("the other's change: %t, %v", swapped, err)
			}
			return
		}
		for known := []byte(`{"n":0}`); ; {
			var n int
			if _, err := fmt.Sscanf(string(known), `{"n":%d}`, &n); err != nil {
				t.Errorf("%q: %v", known, err)
				return
			}
			next := fmt.Appendf(nil, `{"n":%d}`, n+1)
			current, swapped, err := s.Swap(t.Context(), "flood", known, next, inAnHour())
			if err != nil {
				t.Error(err)
				return
			}
			if known = current; swapped {
				changes.Add(1)
				known = next
			}
			if answered.Load() {
				return
			}
		}
	})
	var n int64
	if err := db.QueryRow(`SELECT data->>'n' FROM kept`).Scan(&n); err != nil || n > 1 {
		t.Errorf("%d changes of the flood went before the other's; %v", n, err)
	}
	if data, _, err := s.FindCtx(t.Context(), "flood"); string(data) != fmt.Sprintf(`{"n":%d}`, changes.Load()) || err != nil {
		t.Errorf("after %d changes there is %s, %v", changes.Load(), data, err)
	}
}

// Large records go by themselves, once the store has written or read them.
func TestLargeRecordsGoAlone(t *testing.T) {
	t.Parallel()
	dsn, _ := testserver.Schema(t)
	s := open(t, dsn, quiet(LayoutConnectPgSimple))
	large := []byte(`"` + strings.Repeat("x", 1<<20) + `"`)
	commit(t, s, "large", large, inAnHour())
	commit(t, s, "small", []byte(`{}`), inAnHour())
	if _, swapped, err := s.Swap(t.Context(), "created", nil, large, inAnHour()); !swapped || err != nil {
		t.Fatalf("Swap: %t, %v", swapped, err)
	}
	if _, moved, err := s.Move(t.Context(), []contract.Record{{Token: "small", Data: []byte(`{}`)}}, "moved", large, inAnHour()); !moved || err != nil {
		t.Fatalf("Move: %t, %v", moved, err)
	}
	exec(t, s.db, `INSERT INTO session SELECT 'found', sess, expire FROM session WHERE sid = 'large'`)
	if data, _, err := s.FindCtx(t.Context(), "found"); !bytes.Equal(data, large) || err != nil {
		t.Errorf("Find: %d bytes, %v", len(data), err)
	}
	s.stopSharing()
	if _, _, err := s.FindCtx(t.Context(), "small"); !errors.Is(err, errClosed) {
		t.Errorf("a small record did not go to the queue: %v", err)
	}
	for _, token := range []string{"large", "created", "moved", "found", "found"} {
		if data, found, err := s.FindTouch(t.Context(), token, inAnHour()); !bytes.Equal(data, large) || !found || err != nil {
			t.Errorf("FindTouch of %s: %d bytes, %t, %v", token, len(data), found, err)
		}
	}
	if _, swapped, err := s.Swap(t.Context(), "large", large, []byte(`{}`), inAnHour()); !swapped || err != nil {
		t.Errorf("Swap: %t, %v", swapped, err)
	}
}

// When a batch is late, its calls are not sent again by themselves.
func TestLateBatch(t *testing.T) {
	t.Parallel()
	dsn, _ := testserver.Schema(t)
	opts := quiet(LayoutConnectPgSimple)
	opts.MaxConns, opts.Timeout = 1, time.Second
	s := open(t, dsn, opts)
	commit(t, s, "0", []byte(`{}`), inAnHour())
	conn, err := s.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	began := time.Now()
	s.queues.find.Together(4, func(i int) {
		if _, _, err := s.FindCtx(t.Context(), "0"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Find %d: %v", i, err)
		}
	})
	if took := time.Since(began); took >= 2*opts.Timeout {
		t.Errorf("the calls took %v, with a timeout of %v", took, opts.Timeout)
	}
}
