package main

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends/memory"
	"github.com/samesid/samesid/backends/postgres"
	"github.com/samesid/samesid/backends/redis"
	"github.com/samesid/samesid/backends/sqlite"
	"github.com/samesid/samesid/internal/wire"
)

func samesidMemory(codec scs.Codec) opener {
	return func(ctx context.Context, _ string) (*app, error) {
		// This is enough for the largest sweep.
		store := memory.New(memory.Options{MaxSessions: 2_000_000})
		return samesid(ctx, store, adapter.Options{Codec: codec}, storeCopies(store))
	}
}

func samesidRedis(opts redis.Options) opener {
	opts.MaxConns = redisPool
	return func(ctx context.Context, url string) (*app, error) {
		store, err := redis.Open(ctx, url, opts)
		if err != nil {
			return nil, err
		}
		return samesid(ctx, store, adapter.Options{}, storeCopies(store))
	}
}

func samesidPostgres(touchAfter time.Duration, opts postgres.Options) opener {
	opts.Layout, opts.CreateTable, opts.MaxConns = postgres.LayoutConnectPgSimple, true, postgresPool
	return func(ctx context.Context, url string) (*app, error) {
		store, err := postgres.Open(ctx, url, opts)
		if err != nil {
			return nil, err
		}
		return samesid(ctx, store, adapter.Options{TouchAfter: touchAfter}, tableCopies(url, "session", "sid", "sess", "expire"))
	}
}

func samesidSQLite(touchAfter time.Duration) opener {
	return func(ctx context.Context, path string) (*app, error) {
		store, err := sqlite.Open(ctx, path, sqlite.Options{Layout: sqlite.LayoutConnectSQLite3, CreateTable: true})
		if err != nil {
			return nil, err
		}
		return samesid(ctx, store, adapter.Options{TouchAfter: touchAfter}, nil)
	}
}

type usersKey struct{}

// withUsers has the sessions of each user found.
func withUsers(open opener) opener {
	return func(ctx context.Context, url string) (*app, error) {
		return open(context.WithValue(ctx, usersKey{}, "user.id"), url)
	}
}

// samesid serves with a Manager that has every guarantee on.
func samesid(ctx context.Context, store scs.Store, o adapter.Options, copies func(context.Context, string, int, int) error) (*app, error) {
	o.Store = store
	o.UserPath, _ = ctx.Value(usersKey{}).(string)
	o.Secrets = []string{secret}
	o.Cookie = adapter.Cookie{MaxAge: lifetime}
	m, err := adapter.New(o)
	if err != nil {
		return nil, err
	}
	_, isGob := m.Codec.(scs.GobCodec)
	s := samesidSessions{m, isGob}
	a := onHTTP(s, m.LoadAndSave)
	signer := wire.NewSigner(o.Secrets)
	a.filler = &filler{
		cookie: func(id string) string { return m.Cookie.Name + "=" + url.QueryEscape(signer.Sign(id)) },
		create: func(ctx context.Context, u user) (id string, err error) {
			if ctx, err = m.Load(ctx, ""); err != nil {
				return "", err
			}
			if err := s.put(ctx, u); err != nil {
				return "", err
			}
			id, _, err = m.Commit(ctx)
			return id, err
		},
		copies: copies,
	}
	return a, nil
}

// samesidSessions uses the session as a program that came from scs does if the records are
// gob, and as one that shares them with Express does if they are JSON.
type samesidSessions struct {
	m     *adapter.Manager
	isGob bool
}

func (s samesidSessions) get(ctx context.Context) (user, bool, error) {
	if s.isGob {
		u, ok := s.m.Get(ctx, "user").(user)
		return u, ok, nil
	}
	u, err := adapter.Get[user](ctx, s.m, "user")
	if errors.Is(err, adapter.ErrNoValue) {
		return user{}, false, nil
	}
	return u, err == nil, err
}

func (s samesidSessions) put(ctx context.Context, u user) error {
	if s.isGob {
		s.m.Put(ctx, "user", u)
		return nil
	}
	return adapter.Put(ctx, s.m, "user", u)
}

func (s samesidSessions) read(_ http.ResponseWriter, r *http.Request) (user, bool, error) {
	return s.get(r.Context())
}

func (s samesidSessions) login(_ http.ResponseWriter, r *http.Request, u user) error {
	if err := s.m.Regenerate(r.Context()); err != nil {
		return err
	}
	return s.put(r.Context(), u)
}

func (s samesidSessions) change(_ http.ResponseWriter, r *http.Request) (user, int, error) {
	ctx := r.Context()
	n := s.m.GetInt(ctx, "n") + 1
	s.m.Put(ctx, "n", n)
	u, _, err := s.get(ctx)
	return u, n, err
}
