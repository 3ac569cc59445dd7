// Package backends opens the session store that a configuration describes, from one of
// the packages below it. A program that always uses the same store can import that
// store's package directly, so that it links no other.
package backends

import (
	"context"
	"slices"

	"github.com/samesid/samesid/backends/driver"
	"github.com/samesid/samesid/backends/memory"
	"github.com/samesid/samesid/backends/postgres"
	"github.com/samesid/samesid/backends/redis"
)

// Store has the methods that all stores have in common.
type Store = driver.Store

// builtin are the backends that this package links.
var builtin = []driver.Backend{
	memory.Backend,
	redis.Backend,
	postgres.Backend,
}

// elsewhere are those that a program hands to Open itself, as they are heavy to link.
var elsewhere = []struct{ typ, scheme, path string }{
	{"sqlite", "sqlite:", "github.com/samesid/samesid/backends/sqlite"},
}

// All returns the backends that Open chooses from: those that this package links, and
// more, which take precedence over one of the same type.
func All(more ...driver.Backend) []driver.Backend {
	all := slices.Clone(builtin)
	for _, b := range more {
		same := func(other driver.Backend) bool { return other.Type == b.Type }
		if i := slices.IndexFunc(all, same); i >= 0 {
			all[i] = b
		} else {
			all = append(all, b)
		}
	}
	return all
}

// Open opens the store that c describes: one of this package's, or of more. ctx limits
// only the start: connecting to the server, and finding or creating the table.
//
// Open returns an error if c is invalid or the server can't be reached.
func Open(ctx context.Context, c Config, more ...driver.Backend) (Store, error) {
	if err := c.Validate(more...); err != nil {
		return nil, err
	}
	b, err := c.Backend(more...)
	if err != nil {
		return nil, err
	}
	return b.Open(ctx, c.URL, c.options(b), c.Logger)
}
