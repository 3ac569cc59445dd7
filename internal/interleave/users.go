package interleave

import (
	"context"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends/contract"
)

// UserStore is a Store that also finds the sessions of a user.
type UserStore interface {
	Store
	contract.UserIndex
}

// ScheduledUsers is Scheduled for a store that finds the sessions of a user.
func (t *Turns) ScheduledUsers(store UserStore) UserStore {
	return &scheduledUsers{scheduled{store, t}, store}
}

type scheduledUsers struct {
	scheduled
	users contract.UserIndex
}

func (s *scheduledUsers) IndexUsers(ctx context.Context, path []string) (bool, error) {
	return s.users.IndexUsers(ctx, path)
}

func (s *scheduledUsers) NoteUser(ctx context.Context, user, token string, ttl time.Duration) error {
	s.turn(ctx)
	return s.users.NoteUser(ctx, user, token, ttl)
}

func (s *scheduledUsers) ForgetUser(ctx context.Context, user, token string, age time.Duration) error {
	return s.users.ForgetUser(ctx, user, token, age) // it only tidies up
}

func (s *scheduledUsers) UserTokens(ctx context.Context, user string) ([]string, error) {
	s.turn(ctx)
	return s.users.UserTokens(ctx, user)
}

func (s *scheduledUsers) EndUser(ctx context.Context, user string, ttl time.Duration) (at time.Time, err error) {
	s.turn(ctx)
	return s.users.EndUser(ctx, user, ttl)
}

func (s *scheduledUsers) UserEnded(ctx context.Context, user string) (at time.Time, ago time.Duration, err error) {
	s.turn(ctx)
	return s.users.UserEnded(ctx, user)
}

// Ann is the user whose sessions EndUser ends, and that SignIns sign in. The session of
// Other may be hers too.
const Ann = "ann"

// EndUser ends all sessions of Ann, as an operator does: the request has none of them.
var EndUser = Script{Name: "end user", run: func(m *adapter.Manager, ctx context.Context, key string) {
	_ = endUser(m, ctx)
}}

// EndUserTelling is EndUser, which also tells its error.
func EndUserTelling(err *error) Script {
	return Script{Name: "end user", run: func(m *adapter.Manager, ctx context.Context, key string) {
		*err = endUser(m, ctx)
	}}
}

func endUser(m *adapter.Manager, ctx context.Context) error {
	operator := context.WithValue(context.Background(), requestKey{}, ctx.Value(requestKey{}))
	_, err := m.DestroyUser(operator, Ann)
	return err
}

// EndSelf is EndUser by Ann herself, on a request with a session of hers.
var EndSelf = Script{Name: "end self", run: func(m *adapter.Manager, ctx context.Context, key string) {
	_, _ = m.DestroyUser(ctx, Ann)
}}

// SignIns are what can go on beside EndUser so that a session of Ann's begins, or goes on
// under another id. After EndUser and one that was begun before, Ann has no session.
var SignIns = []Script{
	{Name: "sign in", run: func(m *adapter.Manager, ctx context.Context, key string) {
		_ = m.Regenerate(ctx)
		m.Put(ctx, "user", Ann)
	}},
	{Name: "sign in as with scs", run: func(m *adapter.Manager, ctx context.Context, key string) {
		_ = m.RenewToken(ctx)
		m.Put(ctx, "user", Ann)
	}},
	{Name: "sign in without a new id", run: func(m *adapter.Manager, ctx context.Context, key string) {
		m.Put(ctx, "user", Ann)
	}},
	{Name: "sign in and save", run: func(m *adapter.Manager, ctx context.Context, key string) {
		_ = m.Regenerate(ctx)
		m.Put(ctx, "user", Ann)
		_ = m.Save(ctx)
		m.Put(ctx, key, true)
	}},
	{Name: "sign in twice", run: func(m *adapter.Manager, ctx context.Context, key string) {
		for range 2 {
			_ = m.Regenerate(ctx)
			m.Put(ctx, "user", Ann)
			_ = m.Save(ctx)
		}
	}},
	{Name: "renew", run: func(m *adapter.Manager, ctx context.Context, key string) { _ = m.RenewToken(ctx) }},
	{Name: "renew and save twice", run: func(m *adapter.Manager, ctx context.Context, key string) {
		for range 2 {
			_ = m.RenewToken(ctx)
			_ = m.Save(ctx)
		}
	}},
	{Name: "put", run: func(m *adapter.Manager, ctx context.Context, key string) { m.Put(ctx, key, true) }},
	{Name: "merge", run: func(m *adapter.Manager, ctx context.Context, key string) { _ = m.MergeSession(ctx, Other) }},
	{Name: "merge and renew", run: func(m *adapter.Manager, ctx context.Context, key string) {
		_ = m.MergeSession(ctx, Other)
		_ = m.RenewToken(ctx)
	}},
	{Name: "touch", run: func(m *adapter.Manager, ctx context.Context, key string) { _ = m.Touch(ctx) }},
}
