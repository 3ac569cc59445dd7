package auth

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/samesid/samesid/adapter"
)

// deviceKey is the session's key for what Options.NoteDevice notes.
const deviceKey = "auth_device"

// device is where a user has signed in from.
type device struct {
	UserAgent string `json:"userAgent"`
	Addr      string `json:"addr"`
}

// orderKey is the session's key for its place among those of its user, with
// Options.MaxSessions: the time of the login in milliseconds since 1970, or more, so that it
// is after each login that had ended before, whatever the clocks of two servers say.
const orderKey = "auth_order"

// maxUserAgent is how much of a User-Agent header is noted, in bytes.
const maxUserAgent = 256

// ErrTooManySessions is the reason of a Refusal, and the error of SignIn, when the user has
// as many sessions as Options.MaxSessions allows, and they stay.
var ErrTooManySessions = errors.New("auth: the user has too many sessions")

// Account is a user's sessions in the store: a page "your devices", an operator's tool, or
// what ends all of them once a password has changed. The Manager needs its
// Options.UserPath. The sessions of other users are not read. An Account is safe for
// concurrent use.
//
// Its errors are the Manager's: pass them to its ErrorFunc. Without UserPath, they are
// adapter.ErrNoUserPath.
type Account struct {
	m    *adapter.Manager
	user string
}

// Session is one of a user's sessions.
type Session struct {
	// Handle names the session for End. It does not give its id away.
	Handle string `json:"handle"`

	// Current reports whether it is the session of the request that asks.
	Current bool `json:"current"`

	// SignedIn is when the user gave their credentials ("auth_time"). Zero: it is not
	// known, as in a session of an Express app that does not set it.
	SignedIn time.Time `json:"signedIn,omitzero"`

	// Methods are how they gave them ("amr").
	Methods []string `json:"methods,omitempty"`

	// LastUsed is when the session was last used, to within Options.TouchAfter of the
	// Manager's. Zero: it is not known.
	LastUsed time.Time `json:"lastUsed,omitzero"`

	// Expires is when it ends unless it is used. Zero: it is not known.
	Expires time.Time `json:"expires,omitzero"`

	// UserAgent and Addr are what Options.NoteDevice has noted, as the browser sent it:
	// escape them. Empty without it.
	UserAgent string `json:"userAgent,omitempty"`
	Addr      string `json:"addr,omitempty"`

	order int64 // see orderKey; of a session without it, by SignedIn
}

// Account returns the sessions of the user who is signed in. The error is ErrNotSignedIn if
// nobody is, and adapter.ErrNoUserPath if the Manager has no Options.UserPath.
func (a *Auth[U]) Account(ctx context.Context) (Account, error) {
	if _, err := a.User(ctx); err != nil {
		return Account{}, err
	}
	return a.account(ctx)
}

func (a *core) account(ctx context.Context) (Account, error) {
	if a.m.UserPath() == "" {
		return Account{}, adapter.ErrNoUserPath
	}
	user := a.m.UserID(ctx)
	if user == "" {
		return Account{}, fmt.Errorf("auth: the session has no user's id under the Manager's Options.UserPath (%q)", a.m.UserPath())
	}
	return Account{a.m, user}, nil
}

// AccountOf returns the sessions of the user with an id, for an operator, or for a request
// on which the user is not signed in, such as a reset of a password. The id is the text of
// what the session has under the Manager's Options.UserPath.
func (a *Auth[U]) AccountOf(id string) Account { return Account{a.m, id} }

// Sessions returns the user's sessions: the current one first, then those that signed in
// last.
func (a Account) Sessions(ctx context.Context) ([]Session, error) {
	all := []Session{} // in JSON, none is no null
	err := a.m.IterateUser(ctx, a.user, func(ctx context.Context) error {
		all = append(all, describe(ctx, a.m))
		return nil
	})
	slices.SortFunc(all, func(a, b Session) int {
		switch {
		case a.Current != b.Current && a.Current:
			return -1
		case a.Current != b.Current:
			return 1
		}
		return b.compare(a)
	})
	return all, err
}

// compare orders sessions by when they signed in.
func (s Session) compare(other Session) int {
	return cmp.Or(s.SignedIn.Compare(other.SignedIn), strings.Compare(s.Handle, other.Handle))
}

// describe returns the session of ctx.
func describe(ctx context.Context, m *adapter.Manager) Session {
	info := m.Info(ctx)
	s := Session{Handle: info.Handle, Current: info.Current, LastUsed: info.LastUsed, Expires: info.Expires}
	if at := m.GetFloat(ctx, timeKey); at > 0 {
		s.SignedIn = time.Unix(int64(at), 0)
		s.order = s.SignedIn.UnixMilli()
	}
	if order := int64(m.GetFloat(ctx, orderKey)); order > 0 {
		s.order = order
	}
	// What is not as SignIn writes it counts as unknown.
	s.Methods, _ = adapter.Get[[]string](ctx, m, methodsKey)
	from, _ := adapter.Get[device](ctx, m, deviceKey)
	s.UserAgent, s.Addr = from.UserAgent, from.Addr
	return s
}

// End ends the session with a handle. ended is false if the user has none with it: it has
// ended before, or has another id by now. If it is that of ctx, User returns ErrNotSignedIn from
// then on.
func (a Account) End(ctx context.Context, handle string) (ended bool, err error) {
	return a.m.DestroyHandle(ctx, a.user, handle)
}

// EndOthers ends all of the user's sessions but that of ctx, and returns how many.
func (a Account) EndOthers(ctx context.Context) (n int, err error) {
	return a.m.DestroyOthers(ctx, a.user)
}

// EndAll ends all of the user's sessions, that of ctx too, and returns how many. A login of
// theirs that is under way does not succeed. The request itself may sign in anew, as one
// that has changed a password does. See Manager.DestroyUser.
func (a Account) EndAll(ctx context.Context) (n int, err error) {
	return a.m.DestroyUser(ctx, a.user)
}

// noteDevice notes where a user signs in from.
func (a *core) noteDevice(ctx context.Context, r *http.Request) error {
	if !a.opts.NoteDevice || r == nil {
		return nil
	}
	agent := r.UserAgent()
	agent = strings.ToValidUTF8(agent[:min(len(agent), maxUserAgent)], "")
	return adapter.Put(ctx, a.m, deviceKey, device{agent, a.clientName(r)})
}

// A Stamper is a user, of a NewByID, whose sessions end when something about the user
// changes. SessionStamp returns a text of that: the hash of the password, say, or a version
// that the app counts up. SignIn keeps a hash of it in the session, under "auth_stamp"; a
// session with another one, or with none, counts as that of nobody. It costs no look into
// the store, as NewByID loads the user anyway, and so holds for logins and sessions that
// no Manager has seen. An Express app that signs users in sets it too:
//
//	req.session.auth_stamp = crypto.createHash('sha256').update(stamp).digest('base64url')
type Stamper interface{ SessionStamp() string }

// A Revoker is a user, of a NewByID, whose sessions from before a time don't count.
// SessionsSince returns the time, or zero for none. The sign-in ("auth_time") is known to
// the second, and one within the same second is before it.
type Revoker interface{ SessionsSince() time.Time }

// stampKey is the session's key for the hash of SessionStamp.
const stampKey = "auth_stamp"

func stampOf(s Stamper) string {
	sum := sha256.Sum256([]byte(s.SessionStamp()))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// counts reports whether the session is one that the user, as loaded now, still has.
func (a *core) counts(ctx context.Context, user any) bool {
	if s, ok := user.(Stamper); ok {
		stamp := a.m.GetString(ctx, stampKey)
		if stamp == "" {
			a.stampWarning.Do(func() {
				a.opts.Logger.WarnContext(ctx, "auth: a session has a user and no auth_stamp, and the type of the user has SessionStamp, so nobody is signed in (logged once): "+
					"if an Express app has signed the user in, have it set req.session.auth_stamp, as the comment on auth.Stamper shows; if the session is older than SessionStamp, its user logs in anew")
			})
		}
		if stamp != stampOf(s) {
			return false
		}
	}
	r, ok := user.(Revoker)
	if !ok {
		return true
	}
	since := r.SessionsSince()
	return since.IsZero() || !time.Unix(int64(a.m.GetFloat(ctx, timeKey)), 0).Before(since)
}

// bound ends sessions of a user who has just signed in, so that there are no more than
// Options.MaxSessions.
//
// Each login looks at all sessions after its own is stored, and all agree on which ones
// are to stay. So however many of them run side by side, no more are left.
func (a *core) bound(ctx context.Context) error {
	if a.m.UserPath() == "" {
		return nil
	}
	account, err := a.account(ctx)
	if err != nil { // their sessions would not be found
		return errors.Join(err, a.m.Destroy(ctx))
	}
	if a.opts.MaxSessions > 0 {
		before, err := account.Sessions(ctx)
		if err != nil {
			return err
		}
		order := time.Now().UnixMilli()
		for _, s := range before {
			order = max(order, s.order+1)
		}
		a.m.Put(ctx, orderKey, order)
	}
	// The error may be that all sessions were ended meanwhile.
	if err := a.m.Save(ctx); err != nil || a.opts.MaxSessions == 0 {
		return err
	}
	all, err := account.Sessions(ctx)
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b Session) int {
		return cmp.Or(cmp.Compare(a.order, b.order), strings.Compare(a.Handle, b.Handle))
	})
	if !a.opts.KeepSessions {
		slices.Reverse(all)
	}
	for _, s := range all[min(len(all), a.opts.MaxSessions):] {
		if s.Current {
			if err := a.m.Destroy(ctx); err != nil {
				return err
			}
			return ErrTooManySessions
		}
		if _, err := account.End(ctx, s.Handle); err != nil {
			return err
		}
	}
	return nil
}
