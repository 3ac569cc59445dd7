package postgres

import (
	"bytes"
	"cmp"
	"context"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lib/pq"

	"github.com/samesid/samesid/backends/contract"
	"github.com/samesid/samesid/internal/batch"
)

// queues have the calls that wait for a connection, to share one statement. All are nil if
// each call sends its own.
type queues struct {
	find, findExpiry, findTouch, replace, touch *batch.Queue[*ask]

	ctx  context.Context // of the batches
	stop context.CancelFunc
}

// ask is a call that may share a statement, and its answer.
type ask struct {
	token    string
	left     int64 // of its new expiry: see age
	old, new []byte

	answered bool // else it has to be sent by itself
	unsure   bool // perhaps it is written, although it is not answered
	err      error
	found    bool
	data     []byte
	expires  int64
}

// shareStatements makes the queues.
func (s *Store) shareStatements(opts Options) {
	s.ctx, s.stop = context.WithCancel(context.Background())
	if opts.NoBatching {
		return
	}
	most := cmp.Or(s.db.Stats().MaxOpenConnections, defaultMaxConns)
	patience := opts.Timeout
	if patience <= 0 { // only the context limits a call
		patience = 24 * time.Hour
	}
	queue := func(key func(*ask) string, run func([]*ask) error) *batch.Queue[*ask] {
		return batch.New(most, patience, key, run)
	}
	s.queues.find = queue(nil, func(asks []*ask) error { return s.findTogether("find", sqlFindAll, asks) })
	s.queues.findExpiry = queue(nil, func(asks []*ask) error { return s.findTogether("find", sqlFindExpiryAll, asks) })
	s.queues.findTouch = queue(nil, func(asks []*ask) error { return s.findTogether("find and touch", sqlFindTouchAll, asks) })
	// Two changes of one session have an order.
	token := func(x *ask) string { return x.token }
	s.queues.replace = queue(token, func(asks []*ask) error { return s.changeTogether(sqlSwapReplaceAll, asks) })
	s.queues.touch = queue(token, func(asks []*ask) error { return s.changeTogether(sqlSwapTouchAll, asks) })
}

// stopSharing ends the calls that wait, and the batches.
func (s *Store) stopSharing() {
	s.stop()
	q := s.queues
	for _, q := range []*batch.Queue[*ask]{q.find, q.findExpiry, q.findTouch, q.replace, q.touch} {
		if q != nil {
			q.Close()
		}
	}
}

// together sends a call with others if it had to wait otherwise. alone sends it by itself.
// After an error, x may still be written to.
func (s *Store) together(ctx context.Context, op string, q *batch.Queue[*ask], x *ask, alone func() error) error {
	if q == nil || s.large.Has(x.token) {
		return alone()
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("postgres: %s: %w", op, err)
	}
	if began, ok := q.Enter(); ok {
		err := errors.New("it panicked")
		defer func() { q.Leave(began, err == nil) }()
		err = alone()
		return err
	}
	if s.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.timeout)
		defer cancel()
	}
	// The call may be sent after its caller has left.
	x.old, x.new = bytes.Clone(x.old), bytes.Clone(x.new)
	switch err := q.Wait(ctx, x); {
	case errors.Is(err, batch.ErrClosed):
		return fmt.Errorf("postgres: %s: %w", op, errClosed)
	case err != nil:
		return fmt.Errorf("postgres: %s: %w", op, err)
	case x.err != nil:
		return x.err
	case !x.answered:
		contract.Together(ctx, 1)
		return alone()
	}
	return nil
}

// failed has each call of a batch sent by itself after an error of the server, which may be
// that of one record, or of the connection. None is sent again after a timeout.
func failed(asks []*ask, err error) {
	late := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, errClosed)
	unanswered(asks)
	for _, x := range asks {
		if late {
			x.err = err
		}
	}
}

func unanswered(asks []*ask) {
	for _, x := range asks {
		x.answered, x.found = false, false
	}
}

// findTogether answers reads, or reads that set the expiry, by one statement. A row that it
// sets is not waited for: if another one has locked it, its call is sent by itself.
func (s *Store) findTogether(op string, st statement, asks []*ask) error {
	var tokens []string
	var lefts []int64
	of := make(map[string][]*ask, len(asks))
	for _, x := range asks {
		same := of[x.token]
		of[x.token] = append(same, x)
		if len(same) > 0 { // those of one session want the same
			i := slices.Index(tokens, x.token)
			lefts[i] = max(lefts[i], x.left)
			continue
		}
		tokens, lefts = append(tokens, x.token), append(lefts, x.left)
	}
	args := []any{pq.Array(tokens)}
	if st == sqlFindTouchAll {
		args = append(args, pq.Array(lefts))
	}
	foreign := false // an id came back that differs from the one that it equals for the server
	err := s.do(s.ctx, op, func(ctx context.Context) error {
		unanswered(asks)
		foreign = false
		rows, err := s.stmts.Load().query(ctx, s.db, st, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var token string
			var data []byte
			var expires int64
			dest := []any{&token, &data, &expires}
			if st != sqlFindExpiryAll {
				dest = dest[:2]
			}
			if err := rows.Scan(dest...); err != nil {
				return err
			}
			foreign = foreign || of[token] == nil
			for i, x := range of[token] {
				if i > 0 {
					data = bytes.Clone(data)
				}
				x.answered, x.found, x.data, x.expires = true, true, data, expires
			}
		}
		return rows.Err()
	})
	if err != nil {
		failed(asks, err)
		return err
	}
	if st != sqlFindTouchAll && !foreign {
		for _, x := range asks {
			x.answered = true // the others are not there
		}
	}
	return nil
}

// changeTogether replaces records, or sets their expiry, by one statement, each if it is
// still what its caller knows. Those that are not, or that are locked, are sent by themselves.
func (s *Store) changeTogether(st statement, asks []*ask) error {
	slices.SortFunc(asks, func(a, b *ask) int { return strings.Compare(a.token, b.token) })
	var tokens []string
	var old, new [][]byte
	var lefts []int64
	of := make(map[string]*ask, len(asks))
	for _, x := range asks {
		of[x.token] = x
		tokens, lefts = append(tokens, x.token), append(lefts, x.left)
		old, new = append(old, x.old), append(new, x.new)
	}
	id := &sentAll{tokens: tokens}
	err := s.do(s.ctx, "swap", func(ctx context.Context) error {
		unanswered(asks)
		q := s.stmts.Load()
		args := []any{id, q.array(old), q.array(new), pq.Array(lefts)}
		if st == sqlSwapTouchAll {
			args = slices.Delete(args, 2, 3)
		}
		rows, err := q.query(ctx, s.db, st, args...)
		if err != nil {
			if rolledBack(err) {
				id.times--
			}
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var token string
			if err := rows.Scan(&token); err != nil {
				return err
			}
			if x := of[token]; x != nil { // a trigger may have changed the id
				x.answered = true
			}
		}
		if err := rows.Err(); err != nil {
			if rolledBack(err) {
				id.times--
			}
			return err
		}
		return nil
	})
	if err != nil {
		failed(asks, err)
	}
	// Sent once and answered, it has done what its answer says.
	unsure := id.times > 1 || err != nil && id.times > 0
	for _, x := range asks {
		x.unsure = unsure
	}
	return err
}

// rolledBack reports whether an error says that a statement has done nothing. One of a
// pooler that has lost the server, or of a server that shuts down, does not.
func rolledBack(err error) bool {
	code := sqlState(err)
	return code != "" && !strings.HasPrefix(code, "08") && !strings.HasPrefix(code, "57P") && !strings.HasPrefix(code, "58") && code != "40003"
}

// sentAll is sent for several tokens.
type sentAll struct {
	tokens []string
	times  int
}

// Value implements database/sql/driver.Valuer.
func (s *sentAll) Value() (sqldriver.Value, error) {
	s.times++
	return pq.StringArray(s.tokens).Value()
}

// array returns an argument with values of the column of the records.
func (q *statements) array(data [][]byte) any {
	if q.dataType == typeBytea {
		return pq.ByteaArray(data)
	}
	texts := make([]string, len(data))
	for i, d := range data {
		texts[i] = string(d)
	}
	return pq.Array(texts)
}
