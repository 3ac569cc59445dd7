package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/adapter/config"
	"github.com/samesid/samesid/backends/driver"
	"github.com/samesid/samesid/backends/memory"
)

// sessions is a Manager with the details that the page shows.
type sessions struct {
	*adapter.Manager
	secrets []string // the Manager's own
	backend scs.CtxStore
	note    string // where the sessions are stored and how long they last
	close   func() error
}

// maxAge is short, so that the page shows minutes rather than weeks.
const maxAge = 10 * time.Minute

func openSessions(ctx context.Context, file string, logger *slog.Logger) (*sessions, error) {
	if file != "" {
		return openConfigured(ctx, file, logger)
	}
	store := memory.New(memory.Options{Logger: logger})
	secrets := []string{rand.Text() + rand.Text()}
	m, err := adapter.New(adapter.Options{
		Secrets: secrets,
		Store:   store,
		Cookie:  adapter.Cookie{MaxAge: maxAge, SameSite: adapter.SameSiteLax},
		Codec:   adapter.JSONCodec{}, // as an Express app stores it
		Logger:  logger,

		UserPath: userPath,
	})
	if err != nil {
		return nil, err
	}
	return &sessions{
		Manager: m,
		secrets: secrets,
		backend: store,
		note:    "Sessions are kept in memory, signed with a random secret, and end with this process.",
		close:   store.Close,
	}, nil
}

// backends are those that a file can name beside the ones that config links.
var backends []driver.Backend

func openConfigured(ctx context.Context, file string, logger *slog.Logger) (*sessions, error) {
	c, err := config.Load(file, backends...)
	if err != nil {
		return nil, err
	}
	if path := c.Options.UserPath; path != "" && path != userPath {
		return nil, fmt.Errorf("%s: userPath is %q, and the demo's users have their id under %q", file, path, userPath)
	}
	c.Options.Logger = logger
	m, store, err := c.Open(ctx, backends...)
	if err != nil {
		return nil, err
	}
	return &sessions{
		Manager: m,
		secrets: c.Options.Secrets,
		backend: store,
		note:    "Sessions are as " + file + " says.",
		close:   store.Close,
	}, nil
}
