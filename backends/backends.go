// Package backends opens a session store by its configuration: one of the stores
// in the packages below this one. A program that knows its store when it is
// written can use that package directly, and link no other.
package backends

import (
	"context"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/backends/memory"
	"github.com/samesid/samesid/backends/postgres"
	"github.com/samesid/samesid/backends/redis"
)

// Store is what the stores have in common. Each of them also has the optional
// methods that package adapter knows. It is safe for concurrent use.
type Store interface {
	scs.CtxStore

	// Len counts the live sessions. Express: store.length.
	Len(ctx context.Context) (int, error)

	// Range calls fn for each live session, in no order and in pages, and ends
	// with fn's first error. Express: store.all.
	Range(ctx context.Context, fn func(token string, data []byte) error) error

	// Clear deletes the sessions of this store and nothing else. Express:
	// store.clear.
	Clear(ctx context.Context) error

	// Close closes what Open opened.
	Close() error
}

// Open opens the store that c describes. ctx limits the start alone: the way to
// the server, and finding or making the table.
//
// What c.Check refuses is an error, and so is a server that is not there.
func Open(ctx context.Context, c Config) (Store, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	kind, _ := c.kind()
	switch kind {
	case Redis:
		return opened(redis.Open(ctx, c.URL, c.redis()))
	case Postgres:
		return opened(postgres.Open(ctx, c.URL, c.postgres()))
	default:
		return memory.New(c.memory()), nil
	}
}

// opened keeps a nil pointer from becoming a Store that is not nil.
func opened[S Store](s S, err error) (Store, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (c Config) memory() memory.Options {
	return memory.Options{
		MaxSessions:     c.MaxSessions,
		CleanupInterval: c.CleanupInterval,
		Logger:          c.Logger,
	}
}

func (c Config) redis() redis.Options {
	return redis.Options{
		Layout:       redis.Layout(c.Layout),
		Prefix:       c.Prefix,
		ScanCount:    c.ScanCount,
		ReadTimeout:  c.Timeout,
		DialTimeout:  c.ConnectTimeout,
		WriteTimeout: c.Timeout,
		MaxActive:    c.MaxConns,
		MaxIdle:      c.MaxIdleConns,
		IdleTimeout:  c.ConnMaxIdleTime,
		TLS:          redis.TLS(c.TLS),
	}
}

func (c Config) postgres() postgres.Options {
	return postgres.Options{
		Layout:          postgres.Layout(c.Layout),
		SchemaName:      c.SchemaName,
		TableName:       c.TableName,
		SIDFieldName:    c.SIDFieldName,
		CreateTable:     c.CreateTable,
		CleanupInterval: c.CleanupInterval,
		Timeout:         c.Timeout,
		Logger:          c.Logger,
		MaxOpenConns:    c.MaxConns,
		MaxIdleConns:    c.MaxIdleConns,
		ConnMaxIdleTime: c.ConnMaxIdleTime,
		ConnMaxLifetime: c.ConnMaxLifetime,
		ConnectTimeout:  c.ConnectTimeout,
		SSLMode:         c.SSLMode,
		SSLRootCert:     c.TLS.CAFile,
		SSLCert:         c.TLS.CertFile,
		SSLKey:          c.TLS.KeyFile,
	}
}
