package main

import (
	"context"
	"net/http"

	"github.com/boj/redistore"
	gorilla "github.com/gorilla/sessions"
)

func gorillaCookie(context.Context, string) (*app, error) {
	store := gorilla.NewCookieStore([]byte(secret))
	store.MaxAge(int(lifetime.Seconds()))
	return onHTTP(gorillaSessions{store, false}, nil), nil
}

func gorillaRedis(_ context.Context, url string) (*app, error) {
	store, err := redistore.NewRediStoreWithURL(redisPool, url, []byte(secret))
	if err != nil {
		return nil, err
	}
	store.SetMaxAge(int(lifetime.Seconds()))
	store.SetMaxLength(0) // no limit
	return onHTTP(gorillaSessions{store, true}, nil), nil
}

// gorillaSessions slides the expiry by saving, as gorilla/sessions has no touch.
type gorillaSessions struct {
	store  gorilla.Store
	stored bool // the session is in a store, rather than in the cookie
}

// session returns the request's session. For a cookie that does not verify, gorilla returns
// an error with a new, empty session, so the user is not signed in.
func (g gorillaSessions) session(r *http.Request) *gorilla.Session {
	s, _ := g.store.Get(r, "session")
	return s
}

func (g gorillaSessions) read(w http.ResponseWriter, r *http.Request) (user, bool, error) {
	s := g.session(r)
	u, ok := s.Values["user"].(user)
	if !ok {
		return user{}, false, nil
	}
	return u, true, s.Save(r, w)
}

// login deletes the stored session and begins a new one, as gorilla/sessions has no
// regenerate.
func (g gorillaSessions) login(w http.ResponseWriter, r *http.Request, u user) error {
	s := g.session(r)
	if g.stored && !s.IsNew {
		maxAge := s.Options.MaxAge
		s.Options.MaxAge = -1
		if err := s.Save(r, w); err != nil {
			return err
		}
		w.Header().Del("Set-Cookie")
		s.Options.MaxAge, s.ID = maxAge, ""
	}
	clear(s.Values)
	s.Values["user"] = u
	return s.Save(r, w)
}

func (g gorillaSessions) change(w http.ResponseWriter, r *http.Request) (user, int, error) {
	s := g.session(r)
	n, _ := s.Values["n"].(int)
	n++
	s.Values["n"] = n
	u, _ := s.Values["user"].(user)
	return u, n, s.Save(r, w)
}
