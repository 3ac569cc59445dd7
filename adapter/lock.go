package adapter

import (
	"context"
	"sync"
)

// locks are those of the whole process, so that the Managers that share a store share
// them too.
var locks = keyedLocks{held: map[lockName]*keyedLock{}}

// lockName names a lock: a record of a store, and for the queue of its writers another one.
type lockName struct {
	store any
	token string
	queue bool
}

// keyedLocks is a lock for each name, which is there only while someone holds it or
// waits for it.
type keyedLocks struct {
	mu   sync.Mutex
	held map[lockName]*keyedLock
}

type keyedLock struct {
	slot  chan struct{} // capacity 1; whoever fills it holds the lock
	users int           // those that hold it or wait for it
}

// acquire waits for the lock; the error is ctx's.
func (l *keyedLocks) acquire(ctx context.Context, name lockName) (release func(), err error) {
	l.mu.Lock()
	k := l.held[name]
	if k == nil {
		k = &keyedLock{slot: make(chan struct{}, 1)}
		l.held[name] = k
	}
	k.users++
	l.mu.Unlock()

	select {
	case k.slot <- struct{}{}:
		return func() { <-k.slot; l.leave(name, k) }, nil
	case <-ctx.Done():
		l.leave(name, k)
		return nil, ctx.Err()
	}
}

func (l *keyedLocks) leave(name lockName, k *keyedLock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k.users--; k.users == 0 {
		delete(l.held, name)
	}
}
