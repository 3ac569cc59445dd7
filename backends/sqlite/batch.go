package sqlite

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/samesid/samesid/backends/contract"
	"github.com/samesid/samesid/internal/batch"
)

// ask is a statement that writes, which may share a transaction with others.
type ask struct {
	ctx  context.Context
	stmt *sql.Stmt
	args []any

	answered bool // else it has to be run by itself
	changed  bool
	data     []byte // of a statement that returns a record
}

// shareCommits lets the writes that wait for the writer's connection share transactions.
func (s *Store) shareCommits() {
	s.writes = batch.New(1, 24*time.Hour, nil, s.together) // each call has its own limit
}

// grouped runs a statement that writes: by itself if no other one runs, or else with those
// that wait. data is the record that it returns, if it returns one.
func (s *Store) grouped(ctx context.Context, op string, stmt *sql.Stmt, args []any, alone func() (bool, error)) (changed bool, data []byte, err error) {
	if err := ctx.Err(); err != nil {
		return false, nil, fmt.Errorf("sqlite: %s: %w", op, err)
	}
	if s.writes == nil {
		changed, err = alone()
		return changed, nil, err
	}
	if began, ok := s.writes.Enter(); ok {
		defer s.writes.Leave(began, false) // there is no distance
		changed, err = alone()
		return changed, nil, err
	}
	if s.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.timeout)
		defer cancel()
	}
	// It may run after its caller has left.
	x := &ask{ctx: ctx, stmt: stmt, args: make([]any, len(args))}
	for i, arg := range args {
		if b, ok := arg.([]byte); ok {
			arg = bytes.Clone(b)
		}
		x.args[i] = arg
	}
	switch err := s.writes.Wait(ctx, x); {
	case errors.Is(err, batch.ErrClosed):
		return false, nil, fmt.Errorf("sqlite: %s: the store is closed", op)
	case err != nil:
		return false, nil, fmt.Errorf("sqlite: %s: other writes, or another connection's lock, took too long: %w", op, err)
	case !x.answered:
		contract.Together(ctx, 1)
		changed, err = alone()
		return changed, nil, err
	}
	return x.changed, x.data, nil
}

// together runs statements in one transaction, in their order, each as if it were by itself.
// If one of them fails, or the commit does, nothing is written, and each is run by itself: the
// error is that of one record, or that of the file.
func (s *Store) together(asks []*ask) error {
	ctx, cancel := context.WithTimeout(context.Background(), cmp.Or(max(s.timeout, 0), defaultTimeout))
	defer cancel()
	run := make([]*ask, 0, len(asks))
	err := s.write(ctx, "write", func(ctx context.Context, tx *sql.Tx) (bool, error) {
		run = run[:0]
		for _, x := range asks {
			if x.ctx.Err() != nil {
				continue // its caller has given up
			}
			run = append(run, x)
			stmt := tx.StmtContext(ctx, x.stmt) //nolint:sqlclosecheck // ends with the transaction
			var err error
			if x.stmt == s.stmts.findTouch {
				x.changed, err = scan(ctx, stmt, true, x.args, &x.data)
			} else {
				x.changed, err = affected(stmt.ExecContext(ctx, x.args...))
			}
			if err != nil {
				return false, err
			}
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, x := range run {
		x.answered = true
	}
	return nil
}
