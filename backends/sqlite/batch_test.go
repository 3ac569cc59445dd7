package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/samesid/samesid/backends/contract"
)

// Writes that wait share a commit, and each gets its own answer.
func TestWritesShareACommit(t *testing.T) {
	for _, layout := range allLayouts {
		t.Run(string(layout), func(t *testing.T) {
			s := open(t, newPath(t), quiet(layout))
			is := func(i int) []byte { return fmt.Appendf(nil, `{"is":%d}`, i) }
			for i := range 8 {
				if err := s.CommitCtx(t.Context(), fmt.Sprint(i), is(i), inAnHour()); err != nil {
					t.Fatal(err)
				}
			}
			commits := func(calls int, call func(i int)) {
				t.Helper()
				before := dataVersion(t, s)
				s.writes.Together(calls, call)
				if n := dataVersion(t, s) - before; n != 1 {
					t.Errorf("%d calls made %d commits", calls, n)
				}
			}
			later := inAnHour().Add(time.Hour)
			commits(9, func(i int) {
				n := 0 // which whoever observes a call is told
				if data, found, err := s.FindTouch(contract.NoteTogether(t.Context(), &n), fmt.Sprint(i), later); n != 9 || found != (i < 8) || found && !bytes.Equal(data, is(i)) || err != nil {
					t.Errorf("FindTouch %d: %q, %t, %v", i, data, found, err)
				}
			})
			commits(9, func(i int) {
				old, new := is(i), []byte(`{"new":1}`)
				switch i {
				case 2:
					old = []byte(`{"is":"another"}`)
				case 3:
					new = nil
				case 4:
					new = old // a touch
				}
				current, swapped, err := s.Swap(t.Context(), fmt.Sprint(i), old, new, later)
				if want := i != 2 && i != 8; swapped != want || err != nil || i == 2 && !bytes.Equal(current, is(2)) {
					t.Errorf("Swap %d: %q, %t, %v", i, current, swapped, err)
				}
			})
			for i, want := range []string{`{"new":1}`, `{"new":1}`, `{"is":2}`, "", `{"is":4}`} {
				if data, _, err := s.FindCtx(t.Context(), fmt.Sprint(i)); string(data) != want || err != nil {
					t.Errorf("%d is %q, %v, want %q", i, data, err, want)
				}
			}
			// Of two changes of one session, in one commit too, one is refused.
			won := [2]bool{}
			commits(2, func(i int) {
				var err error
				if _, won[i], err = s.Swap(t.Context(), "5", []byte(`{"new":1}`), is(i), inAnHour()); err != nil {
					t.Error(err)
				}
			})
			if data, _, err := s.FindCtx(t.Context(), "5"); !won[0] || won[1] || !bytes.Equal(data, is(0)) || err != nil {
				t.Errorf("of two changes these were made: %t; there is %s, %v", won, data, err)
			}

			opts := quiet(layout)
			opts.NoBatching = true
			if s := open(t, newPath(t), opts); s.writes != nil {
				t.Error("with NoBatching, writes share a commit")
			}
		})
	}
}

// dataVersion counts the commits of a store, as another connection sees them.
func dataVersion(t *testing.T, s *Store) (n int) {
	t.Helper()
	if s.reader.Stats().MaxOpenConnections != 1 {
		s.reader.SetMaxOpenConns(1) // the count is that of one connection
	}
	if err := s.reader.QueryRow("PRAGMA data_version").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// A write that fails, fails alone, and one whose caller has left is not done.
func TestOneWriteOfACommitFails(t *testing.T) {
	s := open(t, newPath(t), quiet(LayoutConnectSessionKnex))
	run(t, s.writer, "CREATE TRIGGER refuse BEFORE INSERT ON sessions WHEN NEW.sid = '3' BEGIN SELECT RAISE(ABORT, 'not this one'); END")
	gone, leave := context.WithCancel(t.Context())
	s.writes.Together(6, func(i int) {
		ctx := t.Context()
		if i == 5 { // all wait by now
			leave()
		}
		if i == 1 {
			ctx = gone
		}
		err := s.CommitCtx(ctx, fmt.Sprint(i), body, inAnHour())
		switch {
		case i == 1 && !errors.Is(err, context.Canceled), i == 3 && (err == nil || !strings.Contains(err.Error(), "not this one")), i != 1 && i != 3 && err != nil:
			t.Errorf("CommitCtx %d: %v", i, err)
		}
	})
	for i := range 6 {
		if _, found, err := s.FindCtx(t.Context(), fmt.Sprint(i)); found != (i != 1 && i != 3) || err != nil {
			t.Errorf("%d is there: %t, %v", i, found, err)
		}
	}
}

// While another connection has the write lock, calls that wait end by their own deadlines.
func TestWritesThatWaitKeepTheirDeadlines(t *testing.T) {
	file := newPath(t)
	s := open(t, file, quiet(LayoutConnectSessionKnex))
	tx, err := rawDB(t, file, "_txlock=immediate").BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	s.writes.Together(4, func(i int) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(50+50*i)*time.Millisecond)
		defer cancel()
		if err := s.CommitCtx(ctx, fmt.Sprint(i), body, inAnHour()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("CommitCtx %d: %v", i, err)
		}
	})
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := s.CommitCtx(t.Context(), "after", body, inAnHour()); err != nil {
		t.Error(err)
	}
}
