package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/samesid/samesid/adapter"
)

// The events that go to the Manager's Options.Audit, beside its own. The names are from
// OWASP's Application Logging Vocabulary, as far as it has them.
const (
	// EventLogin: a user has signed in. "methods" are SignInOptions.Methods.
	EventLogin = "authn_login_success"
	// EventLoginFailed: a login has failed, for a "reason". "account" is a hash of the name
	// that was typed, with a key of this process: the same account has the same one.
	EventLoginFailed = "authn_login_fail"
	// EventLoginLocked: a login was not verified, as too many went before it.
	EventLoginLocked = "authn_login_lock"
	// EventLogout: a user has signed out. The Manager tells that the session is destroyed.
	EventLogout = "authn_logout"
	// EventRefused: Restricted or Fresh has refused a request, or Logout one that the user
	// did not intend, for a "reason".
	EventRefused = "authz_fail"
)

// reasons are the words for errors. Others could quote what a client has sent.
var reasons = []struct {
	err  error
	text string
}{
	{ErrInvalid, "unknown user or wrong password"},
	{ErrCrossOrigin, "cross-origin request"},
	{ErrMalformed, "malformed login"},
	{ErrNotSignedIn, "nobody is signed in"},
	{ErrStale, "the user signed in too long ago"},
	{ErrMethod, "the user has not signed in with a method that is asked for"},
	{ErrUnproven, "the request does not prove that it comes from the session's browser"},
	{ErrTooManySessions, "the user has too many sessions"},
	{adapter.ErrUserEnded, "all sessions of the user were ended meanwhile"},
}

// clientName returns the client's address as it is written down.
func (a *core) clientName(r *http.Request) string {
	text := a.clientAddr(r)
	if addr, ok := parseAddr(text); ok {
		return addr.String()
	}
	return text
}

func reasonOf(err error) string {
	for _, r := range reasons {
		if errors.Is(err, r.err) {
			return r.text
		}
	}
	return "the server has failed"
}

// accountKey makes the hashes of names worthless outside of this process: people type
// passwords in the place of their name.
var accountKey = func() (key [32]byte) {
	_, _ = rand.Read(key[:]) // never fails
	return key
}()

func accountOf(username string) string {
	if username == "" {
		return ""
	}
	h := hmac.New(sha256.New, accountKey[:])
	_, _ = h.Write([]byte(strings.ToLower(strings.TrimSpace(username))))
	return hex.EncodeToString(h.Sum(nil)[:6])
}

// auditFailure tells of a login that has failed.
func (a *core) auditFailure(r *http.Request, username string, err error) {
	event, args := EventLoginFailed, []any{"client", a.clientName(r)}
	if account := accountOf(username); account != "" {
		args = append(args, "account", account)
	}
	if tooMany := (*TooManyError)(nil); errors.As(err, &tooMany) {
		event = EventLoginLocked
		args = append(args, "retryAfter", tooMany.RetryAfter)
	} else {
		args = append(args, "reason", reasonOf(err))
	}
	a.m.Audit(r.Context(), slog.LevelWarn, event, args...)
}

// auditLogin tells of a user who has signed in.
func (a *core) auditLogin(ctx context.Context, opts SignInOptions) {
	var args []any
	if opts.From != nil {
		args = append(args, "client", a.clientName(opts.From))
	}
	if len(opts.Methods) > 0 {
		args = append(args, "methods", strings.Join(opts.Methods, " "))
	}
	a.m.Audit(ctx, slog.LevelInfo, EventLogin, args...)
}

// auditRefusal tells of a request that is refused, and is no login.
func (a *core) auditRefusal(r *http.Request, err error) {
	level := slog.LevelWarn
	if errors.Is(err, ErrNotSignedIn) {
		level = slog.LevelInfo
	}
	a.m.Audit(r.Context(), level, EventRefused, "client", a.clientName(r), "reason", reasonOf(err))
}
