package adapter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"

	"github.com/samesid/samesid/backends/contract"
)

// guardedStore is any scs.Store with what this package needs of it: the store's
// own methods where it has them, and the next best thing otherwise.
type guardedStore struct {
	store       scs.Store
	ctxStore    scs.CtxStore // nil if the store knows no contexts
	findToucher contract.FindToucher
	findExpirer contract.FindExpirer
	swapper     contract.Swapper
	mover       contract.Mover
	ranger      contract.Ranger

	// name stands for the store in the locks of this process: it is the store itself,
	// without what wraps it, so that all Managers on it share them.
	name any
}

func newGuardedStore(store scs.Store) *guardedStore {
	inside := store
	for {
		u, ok := inside.(contract.Unwrapper)
		if !ok || u.Unwrap() == nil {
			break
		}
		inside = u.Unwrap()
	}
	g := &guardedStore{store: store, name: inside}
	if !reflect.ValueOf(inside).Comparable() {
		g.name = g
	}
	g.ctxStore, _ = store.(scs.CtxStore)
	g.findToucher, _ = contract.As[contract.FindToucher](store)
	g.findExpirer, _ = contract.As[contract.FindExpirer](store)
	g.swapper, _ = contract.As[contract.Swapper](store)
	g.mover, _ = contract.As[contract.Mover](store)
	g.ranger, _ = contract.As[contract.Ranger](store)
	return g
}

// warn says in the log which guarantees the store can't keep across processes.
func (g *guardedStore) warn(logger *slog.Logger) {
	if _, ok := g.store.(*memstore.MemStore); ok || g.swapper != nil {
		return // the first is of one process alone
	}
	fix := "use a store of package backends"
	switch typ := fmt.Sprintf("%T", g.store); typ {
	case "*redisstore.RedisStore":
		fix = "use redis.New of package backends/redis on the same pool"
	case "*postgresstore.PostgresStore":
		fix = "use postgres.New of package backends/postgres on the same database"
	default:
		fix += ", or give yours the methods of package backends/contract (a store that wraps another one: Unwrap)"
	}
	logger.Warn("session: the store has no compare-and-set, so that with more than one process a logout can be undone and an update lost: "+fix,
		"store", fmt.Sprintf("%T", g.store))
}

// lock keeps the other requests of this process from records while they are read and
// written in two steps.
func (g *guardedStore) lock(ctx context.Context, tokens ...string) (unlock func(), err error) {
	held := make([]func(), 0, len(tokens))
	unlock = func() {
		for _, release := range held {
			release()
		}
	}
	slices.Sort(tokens) // so that two never wait for each other
	for _, token := range slices.Compact(tokens) {
		release, err := locks.acquire(ctx, lockName{g.name, token, false})
		if err != nil {
			unlock()
			return nil, err
		}
		held = append(held, release)
	}
	return unlock, nil
}

// queue waits until nobody else in this process is first in the queue for a record.
func (g *guardedStore) queue(ctx context.Context, token string) (release func(), err error) {
	return locks.acquire(ctx, lockName{g.name, token, true})
}

func (g *guardedStore) find(ctx context.Context, token string) ([]byte, bool, error) {
	if g.ctxStore != nil {
		return g.ctxStore.FindCtx(ctx, token)
	}
	return g.store.Find(token)
}

func (g *guardedStore) commit(ctx context.Context, token string, b []byte, expiry time.Time) error {
	if g.ctxStore != nil {
		return g.ctxStore.CommitCtx(ctx, token, b, expiry)
	}
	return g.store.Commit(token, b, expiry)
}

func (g *guardedStore) delete(ctx context.Context, token string) error {
	if g.swapper == nil {
		unlock, err := g.lock(ctx, token)
		if err != nil {
			return err
		}
		defer unlock()
	}
	return g.deleteLocked(ctx, token)
}

func (g *guardedStore) deleteLocked(ctx context.Context, token string) error {
	if g.ctxStore != nil {
		return g.ctxStore.DeleteCtx(ctx, token)
	}
	return g.store.Delete(token)
}

// swap is contract.Swapper's.
func (g *guardedStore) swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	if g.swapper != nil {
		return g.swapper.Swap(ctx, token, old, data, expiry)
	}
	unlock, err := g.lock(ctx, token)
	if err != nil {
		return nil, false, err
	}
	defer unlock()
	current, err := g.findLocked(ctx, token)
	switch {
	case err != nil:
		return nil, false, err
	case (current == nil) != (old == nil) || !bytes.Equal(current, old):
		return current, false, nil
	case data == nil:
		return nil, true, g.deleteLocked(ctx, token)
	}
	return nil, true, g.commit(ctx, token, data, expiry)
}

// findLocked returns a record's bytes, nil if there is none.
func (g *guardedStore) findLocked(ctx context.Context, token string) ([]byte, error) {
	b, found, err := g.find(ctx, token)
	if err != nil || !found {
		return nil, err
	}
	if b == nil {
		b = []byte{}
	}
	return b, nil
}

// replace puts data under the token to, in the place of the records from, if they are
// what the caller knows; data nil deletes them. If not, it returns what the store has in
// their place: nil for what is gone; without from, the one record that was in the way.
func (g *guardedStore) replace(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) (current [][]byte, done bool, err error) {
	swap := func(token string, old []byte) ([][]byte, bool, error) {
		there, done, err := g.swap(ctx, token, old, data, expiry)
		return [][]byte{there}, done, err
	}
	switch {
	case len(from) == 0:
		return swap(to, nil)
	case len(from) == 1 && (from[0].Token == to || data == nil):
		return swap(from[0].Token, from[0].Data)
	case data == nil:
		return g.drop(ctx, from)
	}
	if g.mover != nil {
		current, done, err = g.mover.Move(ctx, from, to, data, expiry)
		if !errors.Is(err, errors.ErrUnsupported) {
			return current, done, err
		}
	}
	return g.move(ctx, from, to, data, expiry)
}

// drop deletes records one after the other.
func (g *guardedStore) drop(ctx context.Context, from []contract.Record) ([][]byte, bool, error) {
	current, done := known(from), true
	for i, r := range from {
		there, swapped, err := g.swap(ctx, r.Token, r.Data, nil, time.Time{})
		if err != nil {
			return nil, false, err
		}
		if !swapped && there != nil {
			current[i], done = there, false
		}
	}
	return current, done, nil
}

func known(from []contract.Record) [][]byte {
	current := make([][]byte, len(from))
	for i, r := range from {
		current[i] = r.Data
	}
	return current
}

// move is contract.Mover's for a store without it. What is new is written before what
// it replaces is deleted, so that whatever fails leaves the old records; a process that
// ends in between leaves both. In a store without Swap it is one step for this process.
func (g *guardedStore) move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	// The old record of the token to, nil if it is none of from.
	var over []byte
	tokens := []string{to}
	for _, r := range from {
		if r.Token == to {
			over = r.Data
		}
		tokens = append(tokens, r.Token)
	}
	swap := g.swap
	if g.swapper == nil {
		unlock, err := g.lock(ctx, tokens...)
		if err != nil {
			return nil, false, err
		}
		defer unlock()
		swap = g.swapLocked
	}
	look := func() (current [][]byte, same bool, err error) {
		current, same = make([][]byte, len(from)), true
		for i, r := range from {
			if current[i], err = g.findLocked(ctx, r.Token); err != nil {
				return nil, false, err
			}
			same = same && current[i] != nil && bytes.Equal(current[i], r.Data)
		}
		return current, same, nil
	}
	// A session that has ended is not to be there again, not even for a moment.
	current, same, err := look()
	if err != nil || !same {
		return current, false, err
	}
	_, done, err := swap(ctx, to, over, data, expiry)
	if err != nil {
		return nil, false, err
	}
	if !done { // someone has come between
		current, _, err = look()
		return current, false, err
	}
	var deleted []contract.Record
	for i, r := range from {
		if r.Token == to {
			continue
		}
		there, done, err := swap(ctx, r.Token, r.Data, nil, time.Time{})
		if err == nil && done {
			deleted = append(deleted, r)
			continue
		}
		if err != nil {
			deleted = append(deleted, r) // perhaps
		}
		// Take back what was written, once the old records are there again. If that
		// fails there are two records, and nobody has been told the new one's id.
		for _, d := range deleted {
			if _, _, undo := swap(ctx, d.Token, nil, d.Data, expiry); undo != nil {
				return nil, false, errors.Join(err, undo)
			}
		}
		_, _, undo := swap(ctx, to, data, over, expiry)
		if err = errors.Join(err, undo); err != nil {
			return nil, false, err
		}
		current[i] = there
		return current, false, nil
	}
	return nil, true, nil
}

// swapLocked is swap for a caller that has locked and compared.
func (g *guardedStore) swapLocked(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	if old == nil {
		there, err := g.findLocked(ctx, token)
		if err != nil || there != nil {
			return there, false, err
		}
	}
	if data == nil {
		return nil, true, g.deleteLocked(ctx, token)
	}
	return nil, true, g.commit(ctx, token, data, expiry)
}

// each calls fn for every live record.
func (g *guardedStore) each(ctx context.Context, fn func(token string, data []byte) error) error {
	if g.ranger != nil {
		return g.ranger.Range(ctx, fn)
	}
	var all map[string][]byte
	var err error
	if s, ok := g.store.(scs.IterableCtxStore); ok {
		all, err = s.AllCtx(ctx)
	} else if s, ok := g.store.(scs.IterableStore); ok {
		all, err = s.All()
	} else {
		return fmt.Errorf("a %T can't list its sessions: %w", g.store, errors.ErrUnsupported)
	}
	if err != nil {
		return err
	}
	for token, data := range all {
		if err := fn(token, data); err != nil {
			return err
		}
	}
	return nil
}
