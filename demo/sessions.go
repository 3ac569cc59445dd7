package main

import (
	"context"
	"crypto/rand"
	"log/slog"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/adapter/config"
	"github.com/samesid/samesid/backends/memory"
)

// sessions is a Manager with what the page tells of it.
type sessions struct {
	*adapter.Manager
	secrets []string // the ones that the Manager signs and verifies with
	note    string   // where the sessions are and how long they last
	close   func() error
}

// maxAge is short, so that the page shows minutes and not weeks.
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
		Codec:   adapter.JSONCodec{}, // what an Express app would store
		Logger:  logger,
	})
	if err != nil {
		return nil, err
	}
	return &sessions{
		Manager: m,
		secrets: secrets,
		note:    "Sessions are kept in memory, signed with a random secret, and end with this process.",
		close:   store.Close,
	}, nil
}

func openConfigured(ctx context.Context, file string, logger *slog.Logger) (*sessions, error) {
	c, err := config.Load(file)
	if err != nil {
		return nil, err
	}
	c.Options.Logger = logger
	s, err := c.Open(ctx)
	if err != nil {
		return nil, err
	}
	return &sessions{
		Manager: s.Manager,
		secrets: c.Options.Secrets,
		note:    "Sessions are as " + file + " says.",
		close:   s.Close,
	}, nil
}
