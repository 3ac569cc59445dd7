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

func (x *scanned) EndUser(_ context.Context, user string, ttl time.Duration) error {
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
	x.ended[user] = time.Now()
	return nil
}

func (x *scanned) UserEnded(_ context.Context, user string) (ago time.Duration, ended bool, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	at, ended := x.ended[user]
	return time.Since(at), ended, nil
}
