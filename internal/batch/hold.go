package batch

import "sync"

// Hold makes all calls wait until release is called, for tests. waits has a value for each
// call that waits, once it is in the queue. It has room for a thousand.
func (q *Queue[T]) Hold() (waits <-chan struct{}, release func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.held = make(chan struct{}, 1000)
	q.taken += q.most
	return q.held, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.held = nil
		q.taken -= q.most
		q.start()
	}
}

// Together runs n calls in one batch, in the order of i, for tests. It panics if one of them
// does not wait in the queue.
func (q *Queue[T]) Together(n int, call func(i int)) {
	waits, release := q.Hold()
	var all sync.WaitGroup
	for i := range n {
		ended := make(chan struct{})
		all.Go(func() {
			defer close(ended)
			call(i)
		})
		select {
		case <-waits:
		case <-ended:
			panic("batch: a call did not wait")
		}
	}
	release()
	all.Wait()
}
