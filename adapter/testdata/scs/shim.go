// Package scs stands for scs in scs's own tests: its SessionManager is a Manager, made by
// Wrap when the test first uses it, after it has set the fields.
package scs

import (
	"context"
	"net/http"
	"os"
	"sync"
	"time"

	real "github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/adapter"
)

type SessionManager struct {
	*real.SessionManager
	once sync.Once
	m    *adapter.Manager
}

func New() *SessionManager { return &SessionManager{SessionManager: real.New()} }

func (s *SessionManager) wrapped() *adapter.Manager {
	s.once.Do(func() {
		o := adapter.Options{Secrets: []string{"a secret of at least thirty-two bytes"}}
		if os.Getenv("SCS_UNSIGNED") != "" {
			o = adapter.Options{Signature: adapter.SignatureNone}
		}
		s.m = adapter.MustWrap(s.SessionManager, o)
	})
	return s.m
}

func (s *SessionManager) LoadAndSave(h http.Handler) http.Handler { return s.wrapped().LoadAndSave(h) }
func (s *SessionManager) Load(ctx context.Context, token string) (context.Context, error) {
	return s.wrapped().Load(ctx, token)
}
func (s *SessionManager) Commit(ctx context.Context) (string, time.Time, error) {
	return s.wrapped().Commit(ctx)
}
func (s *SessionManager) Destroy(ctx context.Context) error        { return s.wrapped().Destroy(ctx) }
func (s *SessionManager) RenewToken(ctx context.Context) error     { return s.wrapped().RenewToken(ctx) }
func (s *SessionManager) Put(ctx context.Context, k string, v any) { s.wrapped().Put(ctx, k, v) }
func (s *SessionManager) Get(ctx context.Context, k string) any    { return s.wrapped().Get(ctx, k) }
func (s *SessionManager) RememberMe(ctx context.Context, b bool)   { s.wrapped().RememberMe(ctx, b) }
func (s *SessionManager) Status(ctx context.Context) real.Status   { return s.wrapped().Status(ctx) }
func (s *SessionManager) Token(ctx context.Context) string         { return s.wrapped().Token(ctx) }
func (s *SessionManager) Iterate(ctx context.Context, f func(context.Context) error) error {
	return s.wrapped().Iterate(ctx, f)
}
