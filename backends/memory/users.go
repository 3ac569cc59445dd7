package memory

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"
)

// users are the lists of the tokens of each user, and when their sessions were ended.
type users struct {
	mu    sync.Mutex
	lists map[string]map[string]noted
	ended map[string]noted
}

// noted is when something was noted, and until when it is kept.
type noted struct{ at, until time.Time }

// forgotten is the age of a note on a token without a record from which a clean-up drops
// it. Before, the record may still be about to be written.
const forgotten = 10 * time.Minute

// IndexUsers implements contract.UserIndex. The store keeps lists beside its records.
func (s *Store) IndexUsers(ctx context.Context, _ []string) (looks bool, err error) {
	return false, live(ctx, "index users")
}

// NoteUser implements contract.UserIndex.
func (s *Store) NoteUser(ctx context.Context, user, token string, ttl time.Duration) error {
	if err := live(ctx, "note user"); err != nil {
		return err
	}
	u := &s.users
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.lists == nil {
		u.lists = make(map[string]map[string]noted)
	}
	list := u.lists[user]
	if list == nil {
		list = make(map[string]noted)
		u.lists[strings.Clone(user)] = list // not a part of a whole request
	}
	now := time.Now()
	until := now.Add(ttl)
	was, ok := list[token]
	if !ok {
		token = strings.Clone(token)
	} else if was.until.After(until) {
		until = was.until
	}
	list[token] = noted{now, until}
	s.arm()
	return nil
}

// ForgetUser implements contract.UserIndex.
func (s *Store) ForgetUser(ctx context.Context, user, token string, age time.Duration) error {
	if err := live(ctx, "forget user"); err != nil {
		return err
	}
	u := &s.users
	u.mu.Lock()
	defer u.mu.Unlock()
	if n, ok := u.lists[user][token]; ok && time.Since(n.at) >= age {
		u.drop(user, token)
	}
	return nil
}

// drop removes a token from a list. The caller holds mu.
func (u *users) drop(user, token string) {
	delete(u.lists[user], token)
	if len(u.lists[user]) == 0 {
		delete(u.lists, user)
	}
}

// UserTokens implements contract.UserIndex.
func (s *Store) UserTokens(ctx context.Context, user string) ([]string, error) {
	if err := live(ctx, "user tokens"); err != nil {
		return nil, err
	}
	u := &s.users
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	tokens := make([]string, 0, len(u.lists[user]))
	for token, n := range u.lists[user] {
		if n.until.After(now) {
			tokens = append(tokens, token)
		}
	}
	return tokens, nil
}

// EndUser implements contract.UserIndex.
func (s *Store) EndUser(ctx context.Context, user string, ttl time.Duration) (at time.Time, err error) {
	if err := live(ctx, "end user"); err != nil {
		return time.Time{}, err
	}
	u := &s.users
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended == nil {
		u.ended = make(map[string]noted)
	}
	at = time.Now()
	if last, ok := u.ended[user]; ok && !at.After(last.at) {
		at = last.at.Add(1)
	}
	u.ended[strings.Clone(user)] = noted{at, at.Add(ttl)}
	s.arm()
	return at, nil
}

// UserEnded implements contract.UserIndex.
func (s *Store) UserEnded(ctx context.Context, user string) (at time.Time, ago time.Duration, err error) {
	if err := live(ctx, "user ended"); err != nil {
		return time.Time{}, 0, err
	}
	u := &s.users
	u.mu.Lock()
	defer u.mu.Unlock()
	n, ok := u.ended[user]
	if now := time.Now(); ok && n.until.After(now) {
		return n.at, max(0, now.Sub(n.at)), nil
	}
	return time.Time{}, 0, nil
}

// any reports whether anything is noted.
func (u *users) any() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.lists)+len(u.ended) > 0
}

// removeExpired removes what is kept no longer, and the tokens without a record, for which
// has reports false.
func (u *users) removeExpired(has func(token string) bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now, seen := time.Now(), 0
	pause := func() {
		if seen++; seen%batch == 0 {
			u.mu.Unlock()
			runtime.Gosched()
			u.mu.Lock()
		}
	}
	for user, list := range u.lists {
		for token, n := range list {
			pause()
			if !n.until.After(now) || now.Sub(n.at) >= forgotten && !has(token) {
				u.drop(user, token)
			}
		}
	}
	for user, n := range u.ended {
		pause()
		if !n.until.After(now) {
			delete(u.ended, user)
		}
	}
}

func live(ctx context.Context, operation string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("memory: %s: %w", operation, err)
	}
	return nil
}
