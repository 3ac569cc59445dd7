// Package config creates a session Manager and its store from a file, in YAML or
// JSON, and from the environment. The keys have the same names and meanings as in
// express-session and its stores.
//
//	name: sid
//	secret: ${SESSION_SECRET}
//	cookie:
//	  maxAge: 7d
//	  secure: auto
//	store: redis://localhost:6379/0
//
// docs/configuration.md lists the keys, and schema.json is a JSON Schema for
// editors. The options of a store are described in its own package alone: the keys, with
// their texts, checks and errors, come from there.
//
// # The environment
//
// ${VAR} in a value is replaced by an environment variable, which must be set;
// ${VAR:-text} by text if the variable is unset or empty; and $$ by a dollar sign.
// The result is not expanded again.
//
// A variable named after a key overrides the file. Its name is SAMESID_ and the key in
// capitals, with _ for the dot, such as SAMESID_SECRET, SAMESID_COOKIE_MAXAGE
// or SAMESID_STORE_URL. Its value is that of the file, without quotes;
// several secrets are a JSON list. An empty variable counts as not set.
//
// # Errors
//
// The error of Load lists every problem of the file, with its line and column, the text
// of the line, and the fix. It contains no secret, password or URL.
package config

//go:generate go test -run "Generated|TestErrors|TestLoad$" -update

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"weak"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends"
	"github.com/samesid/samesid/backends/driver"
)

// Config holds the settings of a file and the environment. Those that only code can set
// can be added before Open: Options.Logger, GenID, CookieFunc,
// Observe.
type Config struct {
	// Options are those for adapter.New. Store must be nil: Open sets it.
	Options adapter.Options

	// Store describes the store. Its Options are nil if none of them is given. If its
	// Logger is nil, Open uses that of Options.
	Store backends.Config

	production  bool
	secretFiles []string
	source      *source
	backends    []driver.Backend         // handed to Load
	options     map[string]reflect.Value // of every type of store, as the file has them
}

// Load reads the file at path, and the environment. If path is empty, it reads only the
// environment. It validates the settings, and does not connect to the store.
//
// The file must be UTF-8. It is JSON if its name ends in .json, and YAML otherwise.
//
// The store is one that package backends links, or one of more, such as sqlite.Backend.
func Load(path string, more ...driver.Backend) (*Config, error) {
	var data []byte
	if path != "" {
		var err error
		if data, err = os.ReadFile(path); err != nil {
			return nil, fmt.Errorf("config: %w", err)
		}
	}
	return load(path, data, os.Environ(), more...)
}

func load(path string, data []byte, environ []string, more ...driver.Backend) (*Config, error) {
	t, err := newTable(more)
	if err != nil {
		return nil, err
	}
	s := newSource(t, path, environ)
	c := &Config{source: s, backends: more}
	if s.parse(data) {
		s.override()
		s.alternatives()
		s.fill(c)
		s.validate(c)
	}
	if err := s.err(); err != nil {
		return nil, err
	}
	c.production = s.env["NODE_ENV"] == "production" || s.env["APP_ENV"] == "production"
	return c, nil
}

// Open calls Load, and then Open of the Config.
func Open(ctx context.Context, path string, more ...driver.Backend) (*adapter.Manager, backends.Store, error) {
	c, err := Load(path, more...)
	if err != nil {
		return nil, nil, err
	}
	return c.Open(ctx)
}

// Open opens the store and creates the Manager on it. ctx limits only the start. Close
// the store when the program ends; it can also list, count and clear the sessions, and
// Ping tells a health check whether it answers.
//
// The files of secretFile are read every few seconds for as long as the Manager is in use. When
// they change, the Manager uses their secrets; what can't be used is an error in the log, and
// the secrets stay.
//
// The store is one that package backends links, or one of those that Load was given, or of
// more.
//
// If NODE_ENV or APP_ENV is "production", Open logs warnings about settings that are only
// for development.
func (c *Config) Open(ctx context.Context, more ...driver.Backend) (*adapter.Manager, backends.Store, error) {
	more = slices.Concat(c.backends, more)
	opts, store := c.Options, c.Store
	if opts.Store != nil {
		return nil, nil, errors.New("config: Options.Store: Open opens the store that Config.Store describes; give one of your own to adapter.New")
	}
	if store.Logger == nil {
		store.Logger = opts.Logger
	}
	opened, err := backends.Open(ctx, store, more...)
	if err != nil {
		return nil, nil, c.explain(err)
	}
	opts.Store = opened
	m, err := adapter.New(opts)
	if err != nil {
		return nil, nil, errors.Join(c.explain(err), opened.Close())
	}
	if c.production {
		c.warn(more)
	}
	if len(c.secretFiles) > 0 {
		r := &reloader{files: c.secretFiles, manager: weak.Make(m), log: cmp.Or(opts.Logger, slog.Default()), current: slices.Clone(opts.Secrets)}
		r.watch()
	}
	return m, opened, nil
}
