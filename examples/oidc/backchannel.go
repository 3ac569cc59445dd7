package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/samesid/samesid/adapter"
)

const (
	// maxLogout bounds the body of the provider's request, in bytes.
	maxLogout = 64 << 10

	// clockSkew is how far the provider's clock may be ahead.
	clockSkew = time.Minute
)

// backChannelLogout ends sessions as the provider asks for in a logout token: those of a
// user (sub), or those that came of one session at the provider (sid).
func (a *app) backChannelLogout(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	ctx := r.Context()
	r.Body = http.MaxBytesReader(w, r.Body, maxLogout)
	// PostForm has what came as application/x-www-form-urlencoded, and nothing else.
	if r.ParseForm() != nil {
		refuse(w, "the body is not a form, or too large")
		return
	}
	token, err := a.verifyLogout(ctx, r.PostForm.Get("logout_token"))
	if err != nil {
		slog.WarnContext(ctx, "oidc: a logout token is refused", "error", err)
		refuse(w, "the logout token is not valid")
		return
	}
	_, used, err := a.notes.get(ctx, usedToken, token.TokenID)
	if used {
		refuse(w, "the logout token was used before")
		return
	}
	if err == nil {
		err = a.end(ctx, token.Subject, token.SessionID)
	}
	// Only now, so that after a failure the provider can send the same token again.
	if err == nil {
		err = a.notes.put(ctx, usedToken, token.TokenID, "used", token.Expiry)
	}
	if err != nil {
		// 503 if a store fails. The specification asks for 400 here too, but providers
		// that try again do so after a 5xx only.
		a.sessions.ErrorFunc(w, r, err)
	}
}

// refuse answers as section 2.8 says.
func refuse(w http.ResponseWriter, description string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadRequest)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": "invalid_request", "error_description": description})
}

// logoutEvent is the event of a logout token.
const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// verifyLogout checks what section 2.6 asks for, but for repetitions. The library checks the
// signature and its algorithm, iss, aud, exp, jti, that the event is there, that a nonce is
// not, and that there is a sub or a sid.
func (a *app) verifyLogout(ctx context.Context, raw string) (*oidc.LogoutToken, error) {
	token, err := a.verifier.VerifyLogout(ctx, raw)
	if err != nil {
		return nil, err
	}
	first, _, _ := strings.Cut(raw, ".")
	var header struct {
		Type string `json:"typ"`
	}
	b, err := base64.RawURLEncoding.DecodeString(first)
	if err == nil {
		err = json.Unmarshal(b, &header)
	}
	if err != nil {
		return nil, errors.New("the token is not in the compact form")
	}
	// Section 2.4 recommends logout+jwt, and most providers have JWT or none.
	switch strings.TrimPrefix(strings.ToLower(header.Type), "application/") {
	case "logout+jwt", "jwt", "":
	default: // an access token, say
		return nil, fmt.Errorf("the token's typ is %q", header.Type)
	}
	if token.IssuedAt.IsZero() || token.IssuedAt.After(a.now().Add(clockSkew)) {
		return nil, errors.New("the token has no iat, or one in the future")
	}
	var claims struct {
		Events map[string]json.RawMessage `json:"events"`
	}
	if err := token.Claims(&claims); err != nil {
		return nil, err
	}
	if event := claims.Events[logoutEvent]; len(event) == 0 || event[0] != '{' {
		return nil, errors.New("the token's event is not an object")
	}
	return token, nil
}

// end ends the sessions of a user, or those that came of the provider's session sid. A login
// that was begun before does not succeed.
func (a *app) end(ctx context.Context, sub, sid string) error {
	if sid == "" {
		if err := a.notes.put(ctx, endedUser, sub, a.now().Format(time.RFC3339Nano), a.now().Add(endedLife)); err != nil {
			return err
		}
		_, err := a.users.AccountOf(sub).EndAll(ctx)
		return err
	}
	if err := a.notes.put(ctx, endedSession, sid, "ended", a.now().Add(endedLife)); err != nil {
		return err
	}
	if sub == "" {
		var there bool
		var err error
		if sub, there, err = a.notes.get(ctx, userOfSession, sid); err != nil || !there {
			return err // nobody has signed in with it, or not of late
		}
	}
	return a.endSessions(ctx, sub, sid)
}

// endSessions ends those of a user's sessions that came of the provider's session sid. One
// that is given a new id meanwhile can be missed under both, so it looks until there were
// none twice.
func (a *app) endSessions(ctx context.Context, sub, sid string) error {
	account := a.users.AccountOf(sub)
	for none := 0; none < 2; none++ {
		var handles []string
		err := a.sessions.IterateUser(ctx, sub, func(ctx context.Context) error {
			if user, err := a.users.User(ctx); err == nil && user.SID == sid {
				handles = append(handles, a.sessions.Info(ctx).Handle)
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, handle := range handles {
			none = -1
			if _, err := account.End(ctx, handle); err != nil {
				return err
			}
		}
	}
	return nil
}

// noteSession notes whose session at the provider it is, for a logout that has its sid alone.
func (a *app) noteSession(ctx context.Context, user User) error {
	if user.SID == "" {
		return nil
	}
	return a.notes.put(ctx, userOfSession, user.SID, user.Sub, a.now().Add(sessionLife+endedLife))
}

// checkEnded returns adapter.ErrUserEnded if the provider has ended its session, or all
// sessions of the user since the login was begun.
func (a *app) checkEnded(ctx context.Context, user User, begun time.Time) error {
	if user.SID != "" {
		if _, ended, err := a.notes.get(ctx, endedSession, user.SID); err != nil {
			return err
		} else if ended {
			return adapter.ErrUserEnded
		}
	}
	text, ended, err := a.notes.get(ctx, endedUser, user.Sub)
	if err != nil || !ended {
		return err
	}
	// EndAll has stopped what was in signIn. This is for users who were still at the provider.
	if at, err := time.Parse(time.RFC3339Nano, text); err != nil || !begun.After(at) {
		return adapter.ErrUserEnded
	}
	return nil
}

// notes are short texts that expire, kept where all processes of the app see them.
type notes struct{ scs.CtxStore }

// The kinds of notes.
const (
	userOfSession = "user"          // by sid: the user's sub
	endedSession  = "ended-session" // by sid
	endedUser     = "ended-user"    // by sub: the time of it
	usedToken     = "used-token"    // by jti
)

// key is short whatever the provider's ids are, and does not give them away.
func (notes) key(kind, id string) string {
	sum := sha256.Sum256([]byte(id))
	return kind + ":" + base64.RawURLEncoding.EncodeToString(sum[:])
}

func (n notes) put(ctx context.Context, kind, id, text string, until time.Time) error {
	if err := n.CommitCtx(ctx, n.key(kind, id), []byte(text), until); err != nil {
		return &adapter.StoreError{Op: "save", Err: err}
	}
	return nil
}

func (n notes) get(ctx context.Context, kind, id string) (text string, there bool, err error) {
	b, there, err := n.FindCtx(ctx, n.key(kind, id))
	if err != nil {
		return "", false, &adapter.StoreError{Op: "find", Err: err}
	}
	return string(b), there, nil
}
