// Package config makes a session Manager and its store from a file, in YAML or
// JSON, and from the environment. Its keys are those of express-session and of
// its stores, and their meaning is the same.
//
//	name: sid
//	secret: ${SESSION_SECRET}
//	cookie:
//	  maxAge: 7d
//	  secure: auto
//	store: redis://localhost:6379/0
//
// docs/configuration.md lists the keys, and schema.json is a JSON Schema for
// editors.
//
// # The environment
//
// ${VAR} in a value stands for an environment variable, which must be set;
// ${VAR:-text} for text if the variable is not set, or empty; and $$ for a
// dollar sign. What is put in is not looked at again.
//
// A variable named after a key overrides the file: SAMESID_ and the key in
// capitals, with _ for the dot, such as SAMESID_SECRET, SAMESID_COOKIE_MAXAGE
// or SAMESID_STORE_URL. Its value is what the file would have without quotes;
// several secrets are a JSON list. An empty variable counts as not set.
//
// # Errors
//
// The error of Load has every problem of the file: where it is, the line, and
// what would be right. No secret, password or URL is shown.
package config

//go:generate go test -run "Generated|TestErrors|TestLoad$" -update

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends"
)

// Config is what a file and the environment say. What only code can say can be
// added before Open: Options.Logger, GenID, CookieFunc.
type Config struct {
	// Options for adapter.New, without the Store.
	Options adapter.Options

	// Store describes the store. Its Logger is that of Options if it has none.
	Store backends.Config

	production bool
	source     *source
}

// Load reads the file at path and the environment. Without a path, the
// environment alone is read. It does not connect to the store.
//
// The file must be UTF-8. It is JSON if its name ends in .json, and YAML if not.
func Load(path string) (*Config, error) {
	var data []byte
	if path != "" {
		var err error
		if data, err = os.ReadFile(path); err != nil {
			return nil, fmt.Errorf("config: %w", err)
		}
	}
	return load(path, data, os.Environ())
}

func load(path string, data []byte, environ []string) (*Config, error) {
	s := newSource(path, environ)
	c := &Config{source: s}
	if s.parse(data) {
		s.override()
		s.alternatives()
		s.fill(c)
		s.check(c)
	}
	if err := s.err(); err != nil {
		return nil, err
	}
	c.production = s.env["NODE_ENV"] == "production" || s.env["APP_ENV"] == "production"
	return c, nil
}

// Sessions is a Manager with the store that was opened for it.
type Sessions struct {
	*adapter.Manager

	// Backend is the store, to list, count and clear the sessions in it.
	Backend backends.Store
}

// Open is Load, and then Open of what it read.
func Open(ctx context.Context, path string) (*Sessions, error) {
	c, err := Load(path)
	if err != nil {
		return nil, err
	}
	return c.Open(ctx)
}

// Open opens the store and makes the Manager. ctx limits the start alone.
//
// With NODE_ENV or APP_ENV set to "production" it warns in the log about what is
// fit for development only.
func (c *Config) Open(ctx context.Context) (*Sessions, error) {
	opts, store := c.Options, c.Store
	if opts.Store != nil {
		return nil, errors.New("config: Options.Store: Open opens the store that Config.Store describes; give one of your own to adapter.New")
	}
	if store.Logger == nil {
		store.Logger = opts.Logger
	}
	backend, err := backends.Open(ctx, store)
	if err != nil {
		return nil, c.explain(err)
	}
	opts.Store = backend
	m, err := adapter.New(opts)
	if err != nil {
		return nil, errors.Join(c.explain(err), backend.Close())
	}
	if c.production {
		c.warn(backend)
	}
	return &Sessions{m, backend}, nil
}

// Close closes the store. Requests that come later fail.
func (s *Sessions) Close() error { return s.Backend.Close() }
