package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// Range calls fn for each live record: see contract.Ranger. It holds about
// Options.ScanCount records at a time, and no connection while fn runs.
//
// As SCAN guarantees, Range sees every record that exists throughout. It may see one
// of them twice if Redis resizes its table meanwhile. It may or may not see records
// that are created or deleted meanwhile. If a failover, or a move of slots in a cluster,
// could have hidden a record, Range begins anew.
func (s *Store) Range(ctx context.Context, fn func(token string, data []byte) error) error {
	const op = "list"
	return s.pages(ctx, op, nil, func(n *node, keys []string) error {
		values, err := s.values(ctx, n, keys)
		if err != nil {
			return failed(op, err)
		}
		for i, data := range values {
			if data == nil {
				continue // deleted since SCAN, or a key of another type
			}
			if err := fn(keys[i][len(s.prefix):], data); err != nil {
				return err
			}
		}
		return nil
	})
}

// values returns what the keys of a node hold, nil where there is no record.
func (s *Store) values(ctx context.Context, n *node, keys []string) ([][]byte, error) {
	if s.cluster == nil {
		return redigo.ByteSlices(s.useNode(ctx, n, twice, func(c conn) (any, error) {
			return c.do("MGET", redigo.Args{}.AddFlat(keys)...)
		}))
	}
	values := make([][]byte, len(keys))
	err := s.each(ctx, n, "GET", keys, func(i int, reply any, err error) error {
		if errors.Is(err, redigo.ErrNil) || replied(err, "WRONGTYPE") {
			return nil
		}
		values[i], err = redigo.Bytes(reply, err)
		if errors.Is(err, redigo.ErrNil) {
			return nil
		}
		return err
	})
	return values, err
}

// each runs a command on each of the keys of a cluster's node, which may have moved
// meanwhile, and calls fn with the replies. One command can't have keys of two slots.
func (s *Store) each(ctx context.Context, n *node, cmd string, keys []string, fn func(i int, reply any, err error) error) error {
	calls := make([][]any, len(keys))
	for i, key := range keys {
		calls[i] = []any{cmd, key}
	}
	replies, err := redigo.Values(s.useNode(ctx, n, twice, func(c conn) (any, error) { return c.pipe(calls) }))
	if err != nil {
		return err
	}
	for i, reply := range replies {
		var err error
		if e, ok := reply.(redigo.Error); ok {
			reply, err = nil, scrub(e)
			if !replied(err, "WRONGTYPE") {
				reply, err = s.do(ctx, twice, cmd, keys[i])
			}
		}
		if err := fn(i, reply, err); err != nil {
			return err
		}
	}
	return nil
}

// Len counts the store's keys, with the same guarantees as Range. Express:
// store.length.
func (s *Store) Len(ctx context.Context) (int, error) {
	n := 0
	err := s.pages(ctx, "count", func() { n = 0 }, func(_ *node, keys []string) error {
		n += len(keys)
		return nil
	})
	return n, err
}

// Clear deletes every record of this store, and nothing else. Express:
// store.clear.
func (s *Store) Clear(ctx context.Context) error {
	const op = "clear"
	return s.pages(ctx, op, nil, func(n *node, keys []string) error {
		if s.cluster != nil {
			return failed(op, s.each(ctx, n, "UNLINK", keys, func(_ int, _ any, err error) error { return err }))
		}
		_, err := s.useNode(ctx, n, twice, func(c conn) (any, error) {
			return c.do("UNLINK", redigo.Args{}.AddFlat(keys)...)
		})
		return failed(op, err)
	})
}

// maxPasses bounds how often a listing begins anew.
const maxPasses = 10

// pages calls fn with the keys of this store, in pages that are not empty. It calls begin,
// if not nil, before each pass over all keys.
//
// A cursor of SCAN means nothing to another server, and a key that moves from a node that
// has not been read to one that has is not seen. So all is read again if that may have
// happened. While keys are being moved, from one node to one other for each slot, two
// passes see every key: in the second one it is where it has been moved to.
func (s *Store) pages(ctx context.Context, op string, begin func(), fn func(n *node, keys []string) error) error {
	for pass := 1; pass <= maxPasses; pass++ {
		nodes, before, moving, err := s.state(ctx)
		if err != nil {
			return failed(op, err)
		}
		if begin != nil {
			begin()
		}
		for _, n := range nodes {
			if err := s.scan(ctx, op, n, fn); err != nil {
				return err
			}
		}
		_, after, _, err := s.state(ctx)
		if err != nil {
			return failed(op, err)
		}
		if after == before && (!moving || pass > 1) {
			return nil
		}
		if after != before {
			if err := sleep(ctx, time.Duration(pass)*refreshPause); err != nil {
				return failed(op, err)
			}
		}
	}
	return failed(op, fmt.Errorf("the servers have changed in each of %d passes over the keys", maxPasses))
}

// sleep returns early, with the context's error, when the context is done.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// state returns the servers that have keys, and a text that changes when they do.
func (s *Store) state(ctx context.Context) (nodes []*node, state string, moving bool, err error) {
	if s.cluster != nil {
		nodes, state, moving, err = s.cluster.state(ctx, s)
	} else {
		nodes = []*node{s.single}
	}
	for _, n := range nodes {
		// Without the permission for INFO, a server that is another one shows by its
		// connections alone, unless those were closed by their age.
		info, infoErr := s.useNode(ctx, n, twice, func(c conn) (any, error) { return c.do("INFO", "server") })
		if infoErr == nil {
			state += infos([]any{info})["run_id"] + " "
		}
		state += fmt.Sprint(n.suspect.Load(), " ")
	}
	return nodes, state, moving, err
}

// scan calls fn with the keys of one server.
func (s *Store) scan(ctx context.Context, op string, n *node, fn func(n *node, keys []string) error) error {
	cursor := "0"
	for {
		page, err := redigo.Values(s.useNode(ctx, n, twice, func(c conn) (any, error) {
			return c.do("SCAN", cursor, "MATCH", s.match, "COUNT", s.scanCount)
		}))
		if err != nil {
			return failed(op, err)
		}
		var keys []string
		if _, err := redigo.Scan(page, &cursor, &keys); err != nil {
			return failed(op, err)
		}
		if len(keys) > 0 {
			if err := fn(n, keys); err != nil {
				return err
			}
		}
		if cursor == "0" {
			return nil
		}
	}
}
