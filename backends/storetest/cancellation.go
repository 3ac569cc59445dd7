package storetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/backends/contract"
)

type call struct {
	name string
	fn   func(context.Context) error
}

// calls returns a call of every method that takes a context, for one id.
func (e *env) calls(token string) []call {
	expiry := inAnHour().Add(time.Hour)
	calls := []call{
		{"FindCtx", func(ctx context.Context) error {
			_, _, err := e.store.FindCtx(ctx, token)
			return err
		}},
		{"CommitCtx", func(ctx context.Context) error {
			return e.store.CommitCtx(ctx, token, body(2), expiry)
		}},
		{"DeleteCtx", func(ctx context.Context) error {
			return e.store.DeleteCtx(ctx, token)
		}},
	}
	add := func(method string, fn func(context.Context) error) {
		if e.has(method) {
			calls = append(calls, call{method, fn})
		}
	}
	add("FindTouch", func(ctx context.Context) error {
		_, _, err := e.store.(contract.FindToucher).FindTouch(ctx, token, expiry)
		return err
	})
	add("FindExpiry", func(ctx context.Context) error {
		_, _, _, err := e.store.(contract.FindExpirer).FindExpiry(ctx, token)
		return err
	})
	for _, s := range [][2][]byte{{nil, body(2)}, {body(1), body(2)}, {body(1), body(1)}, {body(1), nil}} {
		add("Swap", func(ctx context.Context) error {
			_, _, err := e.store.(contract.Swapper).Swap(ctx, token, s[0], s[1], expiry)
			return err
		})
	}
	for _, m := range []struct {
		from []contract.Record
		to   string
	}{
		{records(record(token, body(1))), "moved"},
		{records(record(token, body(1))), token},
		{records(record("beside", body(1)), record(token, body(1))), "beside"},
		{records(record("beside", body(1)), record(token, body(1))), "moved"},
	} {
		add("Move", func(ctx context.Context) error {
			_, _, err := e.store.(contract.Mover).Move(ctx, m.from, m.to, body(2), expiry)
			return err
		})
	}
	add("Range", func(ctx context.Context) error {
		return e.store.(contract.Ranger).Range(ctx, func(string, []byte) error { return nil })
	})
	add("AllCtx", func(ctx context.Context) error {
		_, err := e.store.(scs.IterableCtxStore).AllCtx(ctx)
		return err
	})
	add("Len", func(ctx context.Context) error {
		_, err := e.store.(lener).Len(ctx)
		return err
	})
	add("Clear", func(ctx context.Context) error {
		return e.store.(clearer).Clear(ctx)
	})
	add("Ping", func(ctx context.Context) error {
		return e.store.(pinger).Ping(ctx)
	})
	return calls
}

var cancellationTests = []test{
	{name: "cancelled", run: func(e *env) {
		ctx, cancel := context.WithCancel(e.Context())
		cancel()
		e.done(ctx, context.Canceled)
	}},
	{name: "past its deadline", run: func(e *env) {
		ctx, cancel := context.WithDeadline(e.Context(), time.Now().Add(-time.Second))
		defer cancel()
		e.done(ctx, context.DeadlineExceeded)
	}},
	{name: "live", run: func(e *env) {
		ctx, cancel := context.WithTimeout(e.Context(), time.Hour)
		defer cancel()
		for _, c := range e.calls("id") {
			e.ok(c.fn(ctx), c.name)
		}
	}},
	{name: "range is ended by its context", needs: []string{"Range"}, run: func(e *env) {
		e.fill("id", many)
		ctx, cancel := context.WithCancel(e.Context())
		defer cancel()
		calls := 0
		err := e.store.(contract.Ranger).Range(ctx, func(string, []byte) error {
			calls++
			cancel()
			return nil
		})
		if !errors.Is(err, context.Canceled) {
			e.Errorf("Range returned %v after its context was cancelled, and %d calls", err, calls)
		}
	}},
}

// done checks that no method does anything with ctx, which is done.
func (e *env) done(ctx context.Context, want error) {
	e.Helper()
	expiry := inAnHour()
	e.commit("id", body(1), expiry)
	e.commit("beside", body(1), expiry)
	for _, token := range []string{"id", "unknown"} {
		for _, c := range e.calls(token) {
			if err := c.fn(ctx); !errors.Is(err, want) {
				e.Errorf("%s returned %v, want an error that wraps %q", c.name, err, fmt.Sprint(want))
			}
			e.wantFound("id", body(1), "after "+c.name)
			if e.has("FindExpiry") {
				e.wantExpiry("id", expiry, "after "+c.name)
			}
			e.wantAbsent("unknown", "after "+c.name)
			e.wantAbsent("moved", "after "+c.name)
			e.wantFound("beside", body(1), "after "+c.name)
		}
	}
}
