package testserver

import (
	"context"
	"testing"
	"time"
)

// InTime calls f with ever longer time limits, from 100 ms up to some seconds, until it has no
// error. On a busy machine, a short time can be over before f has tried.
func InTime(tb testing.TB, f func(context.Context) error) {
	tb.Helper()
	for limit := 100 * time.Millisecond; ; limit *= 2 {
		ctx, cancel := context.WithTimeout(tb.Context(), limit)
		err := f(ctx)
		cancel()
		if err == nil {
			return
		}
		if limit > 5*time.Second {
			tb.Error(err)
			return
		}
	}
}

// Until polls until ok returns true, and ends the test if that takes longer than any machine
// needs. It is for what other programs do, which tell nobody.
func Until(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(startTimeout)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			tb.Fatalf("waited %v in vain for %s", startTimeout, what)
		}
	}
}

// Late returns a context whose deadline is over once a channel is closed, in place of a short
// one, which could be over before the call that it is for has begun.
func Late(ctx context.Context, over <-chan struct{}) context.Context { return late{ctx, over} }

type late struct {
	context.Context
	over <-chan struct{}
}

func (l late) Done() <-chan struct{} { return l.over }

func (l late) Err() error {
	select {
	case <-l.over:
		return context.DeadlineExceeded
	default:
		return nil
	}
}
