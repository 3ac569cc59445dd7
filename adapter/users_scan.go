package adapter

import (
	"context"
	"sync"
	"time"
)

// scanned is contract.UserIndex for a store without it. What it notes is known to this
// Manager alone.
type scanned struct {
	store  *guardedStore
	userIn func(data []byte) string

	mu    sync.Mutex
	ended map[string]time.Time
}

func (*scanned) IndexUsers(context.Context, []string) (looks bool, err error) { return true, nil }

func (*scanned) NoteUser(context.Context, string, string, time.Duration) error { return nil }

func (*scanned) ForgetUser(context.Context, string, string, time.Duration) error { return nil }

func (x *scanned) UserTokens(ctx context.Context, user string) (tokens []string, err error) {
	err = x.store.each(ctx, func(token string, data []byte) error {
		if x.userIn(data) == user {
			tokens = append(tokens, token)
		}
		return nil
	})
	return tokens, err
}

func (x *scanned) EndUser(_ context.Context, user string, ttl time.Duration) (at time.Time, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for other, at := range x.ended {
		if time.Since(at) > ttl {
			delete(x.ended, other)
		}
	}
	if x.ended == nil {
		x.ended = make(map[string]time.Time)
	}
	at = time.Now()
	if last := x.ended[user]; !at.After(last) {
		at = last.Add(1)
	}
	x.ended[user] = at
	return at, nil
}

func (x *scanned) UserEnded(_ context.Context, user string) (at time.Time, ago time.Duration, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	at = x.ended[user]
	return at, time.Since(at), nil
}
