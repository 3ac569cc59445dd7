// Package backends opens the session store that a configuration describes, from one of
// the packages below it. A program that always uses the same store can import that
// store's package directly, so that it links no other.
package backends

import (
	"context"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/backends/memory"
	"github.com/samesid/samesid/backends/postgres"
	"github.com/samesid/samesid/backends/redis"
)

// Store has the methods that all stores have in common. Each store also implements the
// interfaces of package contract that package adapter looks for. A Store is safe for
// concurrent use.
type Store interface {
	scs.CtxStore

	// Len counts the live sessions. Express: store.length.
	Len(ctx context.Context) (int, error)

	// Range calls fn for each live session, in no particular order. It reads the
	// sessions in pages, and stops at fn's first error, which it returns. Express:
	// store.all.
	Range(ctx context.Context, fn func(token string, data []byte) error) error

	// Clear deletes the sessions of this store, and nothing else. Express:
	// store.clear.
	Clear(ctx context.Context) error

	// Close stops the store's background work and closes its connections.
	Close() error
}

// Open opens the store that c describes. ctx limits only the start: connecting to the
// server, and finding or creating the table.
//
// Open returns an error if c is invalid or the server can't be reached.
func Open(ctx context.Context, c Config) (Store, error) {
	if err := c.Validate(); err != nil {
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

// opened returns a nil Store, not one that holds a nil pointer, if there is an error.
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
