package adapter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"github.com/alexedwards/scs/v2"
)

// guardedStore is any scs.Store with what this package needs of it: the store's
// own methods where it has them, and the next best thing otherwise.
type guardedStore struct {
	store       scs.Store
	ctxStore    scs.CtxStore // nil if the store knows no contexts
	toucher     Toucher
	findToucher FindToucher
	findExpirer FindExpirer
	swapper     Swapper
	ranger      Ranger

	seed  maphash.Seed
	locks [64]sync.Mutex    // for a store without Swap
	lines [64]chan struct{} // full: someone is at its head
}

func newGuardedStore(store scs.Store) *guardedStore {
	g := &guardedStore{store: store, seed: maphash.MakeSeed()}
	for i := range g.lines {
		g.lines[i] = make(chan struct{}, 1)
	}
	g.ctxStore, _ = store.(scs.CtxStore)
	g.toucher, _ = store.(Toucher)
	g.findToucher, _ = store.(FindToucher)
	g.findExpirer, _ = store.(FindExpirer)
	g.swapper, _ = store.(Swapper)
	g.ranger, _ = store.(Ranger)
	return g
}

// lock keeps the other requests of this process from a session while it is
// read and written back in two steps.
func (g *guardedStore) lock(token string) (unlock func()) {
	mu := &g.locks[g.stripe(token)]
	mu.Lock()
	return mu.Unlock
}

func (g *guardedStore) stripe(token string) uint64 {
	return maphash.String(g.seed, token) % uint64(len(g.locks))
}

// getInLine waits until nobody else in this process is in line for the session.
func (g *guardedStore) getInLine(ctx context.Context, token string) (leave func(), err error) {
	line := g.lines[g.stripe(token)]
	select {
	case line <- struct{}{}:
		return func() { <-line }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
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
		defer g.lock(token)()
	}
	return g.deleteLocked(ctx, token)
}

func (g *guardedStore) deleteLocked(ctx context.Context, token string) error {
	if g.ctxStore != nil {
		return g.ctxStore.DeleteCtx(ctx, token)
	}
	return g.store.Delete(token)
}

func (g *guardedStore) touch(ctx context.Context, token string, expiry time.Time) (bool, error) {
	if g.toucher != nil {
		return g.toucher.Touch(ctx, token, expiry)
	}
	if g.swapper != nil {
		return g.touchBySwap(ctx, token, expiry)
	}
	defer g.lock(token)()
	b, found, err := g.find(ctx, token)
	if err != nil || !found {
		return false, err
	}
	return true, g.commit(ctx, token, b, expiry)
}

func (g *guardedStore) touchBySwap(ctx context.Context, token string, expiry time.Time) (bool, error) {
	b, found, err := g.find(ctx, token)
	for err == nil && found {
		var swapped bool
		old := b
		if b, swapped, err = g.swapper.Swap(ctx, token, old, old, expiry); swapped || err != nil {
			return swapped, err
		}
		found = b != nil
		if err = pause(ctx); err != nil {
			break
		}
	}
	return false, err
}

func (g *guardedStore) swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	if g.swapper != nil {
		return g.swapper.Swap(ctx, token, old, data, expiry)
	}
	defer g.lock(token)()
	current, found, err := g.find(ctx, token)
	switch {
	case err != nil:
		return nil, false, err
	case !found:
		if old != nil {
			return nil, false, nil
		}
	case old == nil || !bytes.Equal(current, old):
		if current == nil {
			current = []byte{}
		}
		return current, false, nil
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
