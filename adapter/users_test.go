package adapter_test

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends/contract"
	"github.com/samesid/samesid/backends/memory"
	"github.com/samesid/samesid/internal/interleave"
	"github.com/samesid/samesid/internal/leaktest"
)

// lookingStore finds the users in its records, as a database that can look into JSON.
type lookingStore struct {
	*memory.Store
	path []string
}

func (s *lookingStore) IndexUsers(_ context.Context, path []string) (bool, error) {
	s.path = path
	return true, nil
}

func (s *lookingStore) NoteUser(context.Context, string, string, time.Duration) error {
	return errors.New("it need not be told")
}

func (s *lookingStore) ForgetUser(context.Context, string, string, time.Duration) error { return nil }

func (s *lookingStore) UserTokens(ctx context.Context, user string) (tokens []string, err error) {
	err = s.Range(ctx, func(token string, data []byte) error {
		var v any
		if err := json.Unmarshal(data, &v); err != nil {
			return err
		}
		for _, key := range s.path {
			object, _ := v.(map[string]any)
			v = object[key]
		}
		if fmt.Sprint(v) == user {
			tokens = append(tokens, token)
		}
		return nil
	})
	return tokens, err
}

// userStores are the kinds of stores that differ in how the sessions of a user are found.
var userStores = map[string]func() (store scs.Store, codec scs.Codec){
	"lists":       func() (scs.Store, scs.Codec) { return memory.New(memory.Options{}), scs.GobCodec{} },
	"lists, JSON": func() (scs.Store, scs.Codec) { return memory.New(memory.Options{}), adapter.JSONCodec{} },
	"looks": func() (scs.Store, scs.Codec) {
		return &lookingStore{Store: memory.New(memory.Options{})}, adapter.JSONCodec{}
	},
	"no index": func() (scs.Store, scs.Codec) { return fullStore{newMapStore()}, scs.GobCodec{} },
}

func eachUserStore(t *testing.T, o adapter.Options, test func(t *testing.T, m *adapter.Manager)) {
	for name, open := range userStores {
		t.Run(name, func(t *testing.T) {
			o := o
			o.Store, o.Codec = open()
			if o.Logger == nil {
				o.Logger = (&leaktest.Log{}).Logger()
			}
			test(t, newManager(t, o))
		})
	}
}

// signUserIn begins a session of a user and returns its cookie.
func signUserIn(t *testing.T, m *adapter.Manager, user any) string {
	t.Helper()
	w := serve(m, "", func(w http.ResponseWriter, r *http.Request) {
		if err := adapter.Put(r.Context(), m, "user", map[string]any{"id": user, "name": "x"}); err != nil {
			t.Error(err)
		}
	})
	cookie, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";")
	if cookie == "" {
		t.Fatalf("no session was made: status %d", w.Code)
	}
	return cookie
}

// userIn returns the user of the session with a cookie, nil if there is none.
func userIn(m *adapter.Manager, cookie string) (user any) {
	serve(m, cookie, func(w http.ResponseWriter, r *http.Request) {
		if v, ok := m.Get(r.Context(), "user").(map[string]any); ok {
			user = v["id"]
		}
	})
	return user
}

func handles(t *testing.T, m *adapter.Manager, ctx context.Context, user string) (all []adapter.Info) {
	t.Helper()
	if err := m.IterateUser(ctx, user, func(ctx context.Context) error {
		if got := m.Get(ctx, "user").(map[string]any)["id"]; fmt.Sprint(got) != user {
			t.Errorf("a session of %v is one of %s", got, user)
		}
		all = append(all, m.Info(ctx))
		return nil
	}); err != nil {
		t.Error(err)
	}
	return all
}

func TestSessionsOfAUser(t *testing.T) {
	eachUserStore(t, adapter.Options{UserPath: "user.id", Cookie: adapter.Cookie{MaxAge: time.Hour}}, func(t *testing.T, m *adapter.Manager) {
		laptop, phone, tablet := signUserIn(t, m, "ann"), signUserIn(t, m, "ann"), signUserIn(t, m, "ann")
		bob, seven := signUserIn(t, m, "bob"), signUserIn(t, m, 7)
		begin(t, m, map[string]any{"cart": 1})

		var of map[string]string // handles, by cookie
		serve(m, laptop, func(w http.ResponseWriter, r *http.Request) {
			all := handles(t, m, r.Context(), "ann")
			current := slices.IndexFunc(all, func(i adapter.Info) bool { return i.Current })
			if len(all) != 3 || current < 0 {
				t.Fatalf("the sessions of ann are %+v", all)
			}
			of = map[string]string{laptop: all[current].Handle}
			for _, i := range all {
				if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(i.Handle) || i.Current != (i.Handle == of[laptop]) || strings.Contains(laptop+phone+tablet, i.Handle) {
					t.Errorf("the handle %q, current %t", i.Handle, i.Current)
				}
				if time.Since(i.LastUsed) > time.Minute || time.Until(i.Expires) > time.Hour || time.Until(i.Expires) < 59*time.Minute {
					t.Errorf("last used %v, expires %v", i.LastUsed, i.Expires)
				}
			}
		})
		serve(m, phone, func(w http.ResponseWriter, r *http.Request) {
			if of[phone] = m.Info(r.Context()).Handle; of[phone] == of[laptop] {
				t.Error("two sessions have one handle")
			}
		})
		if all := handles(t, m, t.Context(), "7"); len(all) != 1 || all[0].Current {
			t.Errorf("the sessions of 7 are %+v", all)
		}

		for handle, want := range map[string]bool{of[phone]: true, "": false, "another": false} {
			if ended, err := m.DestroyHandle(t.Context(), "ann", handle); ended != want || err != nil {
				t.Errorf("DestroyHandle: %t, %v, want %t", ended, err, want)
			}
		}
		if ended, err := m.DestroyHandle(t.Context(), "bob", of[laptop]); ended || err != nil {
			t.Errorf("DestroyHandle for another user: %t, %v", ended, err)
		}
		if ended, err := m.DestroyHandle(t.Context(), "ann", of[phone]); ended || err != nil {
			t.Errorf("DestroyHandle once more: %t, %v", ended, err)
		}
		if userIn(m, phone) != nil || userIn(m, laptop) != "ann" || userIn(m, tablet) != "ann" || userIn(m, bob) != "bob" {
			t.Error("DestroyHandle has ended another session")
		}

		serve(m, laptop, func(w http.ResponseWriter, r *http.Request) {
			if n, err := m.DestroyOthers(r.Context(), "ann"); n != 1 || err != nil {
				t.Errorf("DestroyOthers: %d, %v", n, err)
			}
		})
		if userIn(m, tablet) != nil || userIn(m, laptop) != "ann" || userIn(m, bob) != "bob" {
			t.Error("DestroyOthers has not ended the others, or more")
		}
		again := signUserIn(t, m, "ann")
		if userIn(m, again) != "ann" {
			t.Error("nobody can sign in after DestroyOthers")
		}
		w := serve(m, laptop, func(w http.ResponseWriter, r *http.Request) {
			if n, err := m.DestroyUser(r.Context(), "ann"); n != 2 || err != nil {
				t.Errorf("DestroyUser: %d, %v", n, err)
			}
		})
		if c := w.Header().Get("Set-Cookie"); !strings.Contains(c, "1970") {
			t.Errorf("the cookie of a session that ends itself is %q", c)
		}
		if userIn(m, again) != nil || userIn(m, laptop) != nil || userIn(m, bob) != "bob" || userIn(m, seven) == nil {
			t.Error("DestroyUser has not ended all, or more")
		}
		if all := handles(t, m, t.Context(), "ann"); len(all) != 0 {
			t.Errorf("after DestroyUser there are %+v", all)
		}
		if userIn(m, signUserIn(t, m, "ann")) != "ann" {
			t.Error("nobody can sign in after DestroyUser")
		}
	})
}

// Whoever changes a password ends all sessions, and signs in anew by the same request.
func TestSignInAfterEndByTheSameRequest(t *testing.T) {
	eachUserStore(t, adapter.Options{UserPath: "user.id"}, func(t *testing.T, m *adapter.Manager) {
		phone := signUserIn(t, m, "ann")
		w := serve(m, signUserIn(t, m, "ann"), func(w http.ResponseWriter, r *http.Request) {
			_, err := m.DestroyUser(r.Context(), "ann")
			if err == nil {
				err = m.Regenerate(r.Context())
			}
			if err == nil {
				err = adapter.Put(r.Context(), m, "user", map[string]string{"id": "ann"})
			}
			if err != nil {
				t.Error(err)
			}
		})
		cookie, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";")
		if w.Code != http.StatusOK || userIn(m, cookie) != "ann" || userIn(m, phone) != nil {
			t.Errorf("%d, and signed in as %v, on the phone as %v", w.Code, userIn(m, cookie), userIn(m, phone))
		}
	})
}

// A request that has ended all sessions of several users, as one that makes one account of two
// does, may sign in any of them.
func TestSignInAfterEndOfSeveral(t *testing.T) {
	eachUserStore(t, adapter.Options{UserPath: "user"}, func(t *testing.T, m *adapter.Manager) {
		for _, user := range []string{"ann", "bob"} {
			ctx, err := m.LoadID(t.Context(), "")
			for _, ended := range []string{"ann", "bob"} {
				if err == nil {
					_, err = m.DestroyUser(ctx, ended)
				}
			}
			m.Put(ctx, "user", user)
			if err == nil {
				_, _, err = m.Commit(ctx)
			}
			if err != nil {
				t.Errorf("%s: %v", user, err)
			}
		}
	})
}

// A session that is listed can be given another user, and another id. What a request lists,
// it signs in as it does itself.
func TestIterateSignsIn(t *testing.T) {
	eachUserStore(t, adapter.Options{UserPath: "user"}, func(t *testing.T, m *adapter.Manager) {
		for _, c := range []struct {
			lists, ends string // in which context; no ends: nowhere
			want        error
		}{
			{"job", "", nil},
			{"job", "request", nil},
			{"request", "", nil},
			{"request", "request", nil},
			{"request", "job", adapter.ErrUserEnded},
		} {
			begin := func() context.Context {
				t.Helper()
				ctx, err := m.LoadID(t.Context(), "")
				if err != nil {
					t.Fatal(err)
				}
				return ctx
			}
			ann := begin()
			m.Put(ann, "user", "ann")
			if _, _, err := m.Commit(ann); err != nil {
				t.Fatal(err)
			}
			in := map[string]context.Context{"job": t.Context(), "request": begin()}
			if c.ends != "" {
				if _, err := m.DestroyUser(in[c.ends], "bob"); err != nil {
					t.Fatal(err)
				}
			}
			err := m.IterateUser(in[c.lists], "ann", func(ctx context.Context) error {
				m.Put(ctx, "user", "bob")
				if err := m.Save(ctx); err != nil {
					return err
				}
				return errors.Join(m.RenewToken(ctx), m.Save(ctx))
			})
			n, _ := m.DestroyUser(t.Context(), "bob")
			if want := map[bool]int{true: 1}[c.want == nil]; !errors.Is(err, c.want) || n != want {
				t.Errorf("listed by the %s, all ended by the %q: %v, want %v; bob has %d sessions, want %d", c.lists, c.ends, err, c.want, n, want)
			}
		}
	})
}

// The end of all by a request itself is told from one by another in the same instant.
func TestSignInAfterTwoEndsAtOnce(t *testing.T) {
	for name, open := range userStores {
		for _, c := range []struct {
			own, other string
			want       error
		}{
			{"ann", "bob", nil},
			{"ann", "ann", adapter.ErrUserEnded},
			{"bob", "ann", adapter.ErrUserEnded},
		} {
			synctest.Test(t, func(t *testing.T) {
				store, codec := open()
				m := newManager(t, adapter.Options{Store: store, Codec: codec, UserPath: "user", Logger: (&leaktest.Log{}).Logger()})
				ctx, err := m.LoadID(t.Context(), "")
				if err != nil {
					t.Fatal(err)
				}
				var wg sync.WaitGroup
				end := func(ctx context.Context, user string) {
					wg.Go(func() {
						if _, err := m.DestroyUser(ctx, user); err != nil {
							t.Error(err)
						}
					})
					synctest.Wait() // it is noted, and no time has passed
				}
				end(ctx, c.own)
				end(t.Context(), c.other)
				wg.Wait()
				m.Put(ctx, "user", "ann")
				if _, _, err := m.Commit(ctx); !errors.Is(err, c.want) {
					t.Errorf("%s: %s ended by the request, then %s: Commit returned %v, want %v", name, c.own, c.other, err, c.want)
				}
			})
		}
	}
}

// A login whose credentials were verified before all sessions were ended does not succeed.
func TestSignInBesideEnd(t *testing.T) {
	ways := map[string]func(m *adapter.Manager, ctx context.Context) error{
		"at the end":           func(m *adapter.Manager, ctx context.Context) error { return nil },
		"with Save":            func(m *adapter.Manager, ctx context.Context) error { return m.Save(ctx) },
		"with Save, not asked": func(m *adapter.Manager, ctx context.Context) error { _ = m.Save(ctx); return nil },
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			var log leaktest.Log
			eachUserStore(t, adapter.Options{UserPath: "user.id", Logger: log.Logger()}, func(t *testing.T, m *adapter.Manager) {
				for _, newID := range []bool{true, false} {
					cookie := cookieFor(begin(t, m, map[string]any{"cart": 1}))
					w := serve(m, cookie, func(w http.ResponseWriter, r *http.Request) {
						if newID {
							if err := m.Regenerate(r.Context()); err != nil {
								t.Error(err)
							}
						}
						if n, err := m.DestroyUser(context.Background(), "ann"); n != 0 || err != nil {
							t.Errorf("DestroyUser: %d, %v", n, err)
						}
						if err := adapter.Put(r.Context(), m, "user", map[string]string{"id": "ann"}); err != nil {
							t.Error(err)
						}
						if err := way(m, r.Context()); err != nil {
							if !errors.Is(err, adapter.ErrUserEnded) {
								t.Errorf("Save: %v", err)
							}
							m.RespondError(w, r, err)
						}
					})
					if w.Code != http.StatusUnauthorized && name != "with Save, not asked" || strings.Contains(w.Header().Get("Set-Cookie"), "s%3A") {
						t.Errorf("new id %t: %d, cookie %q", newID, w.Code, w.Header().Get("Set-Cookie"))
					}
					if all := handles(t, m, t.Context(), "ann"); len(all) != 0 {
						t.Errorf("new id %t: ann has %d sessions", newID, len(all))
					}
				}
				if !strings.Contains(log.String(), "was ended while this request ran: it does not begin") {
					t.Errorf("the log has no line about it: %s", log.String())
				}
			})
		})
	}
}

// A session that is given a new id just before it is read, so that it is seen neither there
// nor here, is ended still; one that goes on so for ever is an error.
func TestRenewalsBesideEnd(t *testing.T) { synctest.Test(t, testRenewalsBesideEnd) }

func testRenewalsBesideEnd(t *testing.T) {
	for _, renewals := range []int{1, 2, 3, 10_000} {
		store := &elusive{Store: memory.New(memory.Options{})}
		m := newManager(t, adapter.Options{Store: store, UserPath: "user.id", Logger: (&leaktest.Log{}).Logger()})
		store.move = func(bool) {}
		cookie := signUserIn(t, m, "ann")
		left := renewals
		store.move = func(there bool) {
			if left == 0 || renewals > 10 && !there {
				return
			}
			left--
			time.Sleep(time.Millisecond) // a request that arrives in the instant of the end signs nobody in
			w := serve(m, cookie, func(w http.ResponseWriter, r *http.Request) {
				if err := m.RenewToken(r.Context()); err != nil {
					t.Error(err)
				}
			})
			if c, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";"); c != "" {
				cookie = c
			}
		}
		n, err := m.DestroyUser(t.Context(), "ann")
		alive := userIn(m, cookie) != nil
		if renewals < 10 && (n != 1 || err != nil || alive) {
			t.Errorf("after %d renewals: %d, %v, alive %t", renewals, n, err, alive)
		}
		if renewals > 10 && (err == nil || !alive) {
			t.Errorf("with renewals for ever: %d, %v, alive %t", n, err, alive)
		}
	}
}

// elusive moves a session before a token is read.
type elusive struct {
	*memory.Store
	move func(there bool)
}

func (s *elusive) UserTokens(ctx context.Context, user string) ([]string, error) {
	tokens, err := s.Store.UserTokens(ctx, user)
	// What is empty comes first.
	slices.SortFunc(tokens, func(a, b string) int {
		_, there, _ := s.FindCtx(ctx, a)
		_, other, _ := s.FindCtx(ctx, b)
		switch {
		case there == other:
			return 0
		case other:
			return -1
		}
		return 1
	})
	return tokens, err
}

func (s *elusive) FindExpiry(ctx context.Context, token string) ([]byte, time.Time, bool, error) {
	_, there, _ := s.FindCtx(ctx, token)
	s.move(there)
	return s.Store.FindExpiry(ctx, token)
}

// A login that begins after the end of all is not taken for one that was under way because
// the store's answer takes long.
func TestSlowAnswerAfterEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &slowIndex{Store: memory.New(memory.Options{})}
		m := newManager(t, adapter.Options{Store: store, UserPath: "user", Logger: (&leaktest.Log{}).Logger()})
		for _, c := range []struct {
			delays []time.Duration
			want   error
		}{
			{nil, nil},
			{[]time.Duration{4 * time.Millisecond}, nil},
			{[]time.Duration{time.Second, time.Second}, nil},
			{[]time.Duration{time.Second, time.Second, time.Second}, adapter.ErrUserEnded},
		} {
			early, err := m.LoadID(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := m.DestroyUser(t.Context(), "ann"); err != nil {
				t.Fatal(err)
			}
			late, err := m.LoadID(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			for ctx, want := range map[context.Context]error{early: adapter.ErrUserEnded, late: c.want} {
				store.delays = c.delays
				m.Put(ctx, "user", "ann")
				if _, _, err := m.Commit(ctx); !errors.Is(err, want) {
					t.Errorf("delays %v: Commit returned %v, want %v", c.delays, err, want)
				}
			}
		}
	})
}

// slowIndex answers UserEnded with delays.
type slowIndex struct {
	*memory.Store
	delays []time.Duration
}

func (s *slowIndex) UserEnded(ctx context.Context, user string) (time.Time, time.Duration, error) {
	at, ago, err := s.Store.UserEnded(ctx, user)
	if len(s.delays) > 0 {
		time.Sleep(s.delays[0])
		s.delays = s.delays[1:]
	}
	return at, ago, err
}

// A store that fails while a login asks whether all were ended lets nobody in.
func TestSignInOnAFailingIndex(t *testing.T) {
	store := &failingIndex{Store: memory.New(memory.Options{})}
	m := newManager(t, adapter.Options{Store: store, UserPath: "user.id", Logger: (&leaktest.Log{}).Logger()})
	ann := signUserIn(t, m, "ann")
	for _, call := range []string{"NoteUser", "UserEnded"} {
		store.fail = call
		w := serve(m, "", func(w http.ResponseWriter, r *http.Request) {
			if err := adapter.Put(r.Context(), m, "user", map[string]string{"id": "ann"}); err != nil {
				t.Error(err)
			}
		})
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Set-Cookie") != "" {
			t.Errorf("%s fails: %d, cookie %q", call, w.Code, w.Header().Get("Set-Cookie"))
		}
	}
	store.fail = ""
	if userIn(m, ann) != "ann" || len(handles(t, m, t.Context(), "ann")) != 1 {
		t.Error("ann has another number of sessions than the one from before")
	}
	for n, call := range []string{"UserTokens", "EndUser"} { // what can be ended is
		store.fail = call
		if ended, err := m.DestroyUser(t.Context(), "ann"); ended != n || err == nil {
			t.Errorf("%s fails: DestroyUser returned %d, %v", call, ended, err)
		}
	}
	if _, err := adapter.New(adapter.Options{Store: &failingIndex{Store: memory.New(memory.Options{}), fail: "IndexUsers"}, Secrets: []string{secret}, UserPath: "user"}); err == nil || !strings.Contains(err.Error(), "Options.UserPath: IndexUsers") {
		t.Errorf("New with an index that can't be made: %v", err)
	}
}

type failingIndex struct {
	*memory.Store
	fail string
}

func (s *failingIndex) err(call string) error {
	if s.fail == call {
		return errors.New(call + " fails")
	}
	return nil
}

func (s *failingIndex) IndexUsers(ctx context.Context, path []string) (bool, error) {
	return false, s.err("IndexUsers")
}

func (s *failingIndex) NoteUser(ctx context.Context, user, token string, ttl time.Duration) error {
	return errors.Join(s.err("NoteUser"), s.Store.NoteUser(ctx, user, token, ttl))
}

func (s *failingIndex) UserTokens(ctx context.Context, user string) ([]string, error) {
	tokens, err := s.Store.UserTokens(ctx, user)
	return tokens, errors.Join(s.err("UserTokens"), err)
}

func (s *failingIndex) EndUser(ctx context.Context, user string, ttl time.Duration) (time.Time, error) {
	at, err := s.Store.EndUser(ctx, user, ttl)
	return at, errors.Join(s.err("EndUser"), err)
}

func (s *failingIndex) UserEnded(ctx context.Context, user string) (time.Time, time.Duration, error) {
	at, ago, err := s.Store.UserEnded(ctx, user)
	return at, ago, errors.Join(s.err("UserEnded"), err)
}

// A store that keeps lists is told of each session once, and again before that is
// forgotten, also of one that another program has begun.
func TestNotesOfUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &countingIndex{Store: memory.New(memory.Options{CleanupInterval: -1})}
		o := adapter.Options{Store: store, Codec: adapter.JSONCodec{}, UserPath: "user.id", Cookie: adapter.Cookie{MaxAge: time.Hour}}
		m := newManager(t, o)
		plain := o
		plain.UserPath = ""
		express := newManager(t, plain)
		want := func(what string, notes int) {
			t.Helper()
			if len(store.notes) != notes {
				t.Errorf("%s: the store was told %q, want %d", what, store.notes, notes)
			}
			store.notes = nil
		}
		ann := signUserIn(t, m, "ann")
		want("a login", 1)
		for range 3 {
			userIn(m, ann)
		}
		want("reads", 0)
		serve(m, ann, func(w http.ResponseWriter, r *http.Request) { m.Put(r.Context(), "n", 1) })
		want("a change", 0)
		serve(m, ann, func(w http.ResponseWriter, r *http.Request) { m.SetMaxAge(r.Context(), 48*time.Hour) })
		want("a longer age", 1)
		serve(m, ann, func(w http.ResponseWriter, r *http.Request) {
			if err := m.RenewToken(r.Context()); err != nil {
				t.Error(err)
			}
		})
		want("a new id", 1)

		foreign := signUserIn(t, express, "ann")
		nobody := cookieFor(begin(t, express, map[string]any{"cart": 1}))
		want("another program", 0)
		userIn(m, foreign)
		want("first seen", 1)
		for range 3 {
			userIn(m, foreign)
			userIn(m, nobody)
		}
		want("seen again", 0)

		// In use for days, it stays on the list; used no more, it goes.
		for range 100 {
			time.Sleep(50 * time.Minute)
			userIn(m, foreign)
			if tokens, err := store.UserTokens(t.Context(), "ann"); len(tokens) == 0 || err != nil {
				t.Fatalf("a session in use is not on its user's list: %v", err)
			}
		}
		time.Sleep(100 * time.Hour)
		if tokens, err := store.UserTokens(t.Context(), "ann"); len(tokens) != 0 || err != nil {
			t.Errorf("long after the last use there are %q, %v", tokens, err)
		}
	})
}

type countingIndex struct {
	*memory.Store
	notes []string
}

func (s *countingIndex) NoteUser(ctx context.Context, user, token string, ttl time.Duration) error {
	s.notes = append(s.notes, user)
	return s.Store.NoteUser(ctx, user, token, ttl)
}

// Tokens on a list whose sessions are gone, or another's by now, are dropped.
func TestListsAreTidied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(memory.Options{CleanupInterval: -1})
		m := newManager(t, adapter.Options{Store: store, UserPath: "user.id", Cookie: adapter.Cookie{MaxAge: 100 * time.Hour}})
		var cookies []string
		for range 3 {
			cookies = append(cookies, signUserIn(t, m, "ann"))
		}
		serve(m, cookies[0], func(w http.ResponseWriter, r *http.Request) {
			if err := adapter.Put(r.Context(), m, "user", map[string]string{"id": "bob"}); err != nil {
				t.Error(err)
			}
		})
		serve(m, cookies[1], func(w http.ResponseWriter, r *http.Request) {
			if err := m.Destroy(r.Context()); err != nil {
				t.Error(err)
			}
		})
		for _, want := range []int{3, 1} {
			if all := handles(t, m, t.Context(), "ann"); len(all) != 1 {
				t.Errorf("ann has %d sessions, want 1", len(all))
			}
			if tokens, _ := store.UserTokens(t.Context(), "ann"); len(tokens) != want {
				t.Errorf("her list has %d tokens, want %d", len(tokens), want)
			}
			time.Sleep(11 * time.Minute)
		}
		if all := handles(t, m, t.Context(), "bob"); len(all) != 1 {
			t.Errorf("bob has %d sessions, want 1", len(all))
		}
	})
}

// An id that can't be one, and that another program has written, does not keep a request from
// changing something else.
func TestOddIDOfAnotherProgram(t *testing.T) {
	for _, key := range []adapter.StoreKey{adapter.StoreKeyID, adapter.StoreKeyMigrating} {
		store := memory.New(memory.Options{})
		o := adapter.Options{Store: store, Codec: adapter.JSONCodec{}, Logger: (&leaktest.Log{}).Logger()}
		cookie := signUserIn(t, newManager(t, o), map[string]any{"not": "an id"})
		o.UserPath, o.StoreKey = "user.id", key
		m := newManager(t, o)
		for range 2 {
			if w := serve(m, cookie, func(w http.ResponseWriter, r *http.Request) {
				m.Put(r.Context(), "n", m.GetInt(r.Context(), "n")+1)
			}); w.Code != http.StatusOK {
				t.Errorf("%s: a change of something else: %d", key, w.Code)
			}
		}
	}
}

// A request that makes the session another user's for a while, and then the first one's again,
// signs that one in again.
func TestUserAndBack(t *testing.T) {
	eachUserStore(t, adapter.Options{UserPath: "user.id"}, func(t *testing.T, m *adapter.Manager) {
		cookie := signUserIn(t, m, "ann")
		w := serve(m, cookie, func(w http.ResponseWriter, r *http.Request) {
			for i, user := range []string{"bob", "ann"} {
				if err := adapter.Put(r.Context(), m, "user", map[string]string{"id": user, "name": "x"}); err != nil {
					t.Error(err)
				}
				if err := m.Save(r.Context()); (err != nil) != (i == 1) {
					t.Errorf("Save as %s: %v", user, err)
				}
				if i == 0 {
					if n, err := m.DestroyUser(context.Background(), "ann"); n != 0 || err != nil {
						t.Errorf("DestroyUser: %d, %v", n, err)
					}
				}
			}
		})
		if userIn(m, cookie) != nil || len(handles(t, m, t.Context(), "ann")) != 0 {
			t.Errorf("%d, and ann is signed in", w.Code)
		}
	})
}

type registeredUser struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
}

func TestUserPath(t *testing.T) {
	type in struct {
		path  string
		key   string
		value any
		want  string // "" for nobody
		fails bool
	}
	for name, c := range map[string]in{
		"a text":              {path: "user", key: "user", value: "ann", want: "ann"},
		"a number":            {path: "user", key: "user", value: 42, want: "42"},
		"a large number":      {path: "user", key: "user", value: int64(1) << 60, want: "1152921504606846976"},
		"in an object":        {path: "user.id", key: "user", value: map[string]any{"id": "ann"}, want: "ann"},
		"of Passport":         {path: "passport.user", key: "passport", value: map[string]any{"user": 7}, want: "7"},
		"three keys":          {path: "a.b.c", key: "a", value: map[string]any{"b": map[string]any{"c": "d"}}, want: "d"},
		"a struct":            {path: "user.id", key: "user", value: registeredUser{ID: 5}, want: "5"},
		"nobody":              {path: "user", key: "other", value: "ann"},
		"null":                {path: "user.id", key: "user", value: map[string]any{"id": nil}},
		"no text":             {path: "user", key: "user", value: ""},
		"false":               {path: "user", key: "user", value: false},
		"no such key":         {path: "user.id", key: "user", value: map[string]any{"name": "ann"}},
		"no object":           {path: "user.id", key: "user", value: "ann"},
		"an object":           {path: "user", key: "user", value: map[string]any{"id": "ann"}, fails: true},
		"true":                {path: "user", key: "user", value: true, fails: true},
		"too long":            {path: "user", key: "user", value: strings.Repeat("x", 257), fails: true},
		"long":                {path: "user", key: "user", value: strings.Repeat("x", 256), want: strings.Repeat("x", 256)},
		"a control character": {path: "user", key: "user", value: "a\x00b", fails: true},
		"no UTF-8":            {path: "user", key: "user", value: "a\xffb", fails: true},
		"odd":                 {path: "user", key: "user", value: `a"b\c<&>é🙂`, want: `a"b\c<&>é🙂`},
	} {
		t.Run(name, func(t *testing.T) {
			for _, codec := range []scs.Codec{scs.GobCodec{}, adapter.JSONCodec{}} {
				m := newManager(t, adapter.Options{Store: memory.New(memory.Options{}), Codec: codec, UserPath: c.path, Logger: (&leaktest.Log{}).Logger()})
				w := serve(m, "", func(w http.ResponseWriter, r *http.Request) {
					if err := adapter.Put(r.Context(), m, c.key, c.value); err != nil {
						t.Error(err)
					}
					if err := m.Save(r.Context()); c.fails && (err == nil || !strings.Contains(err.Error(), "the user's id, "+c.path+", is neither")) || !c.fails && err != nil {
						t.Errorf("%T: Save: %v", codec, err)
					}
				})
				if c.fails {
					if w.Code != http.StatusInternalServerError {
						t.Errorf("%T: %d", codec, w.Code)
					}
					continue
				}
				if c.want == "" {
					c.want = "somebody else"
					defer func() { c.want = "" }()
				}
				n := 0
				if err := m.IterateUser(t.Context(), c.want, func(context.Context) error { n++; return nil }); err != nil || n != 1 && c.want != "somebody else" {
					t.Errorf("%T: IterateUser found %d: %v", codec, n, err)
				}
			}
		})
	}
	for _, path := range []string{".", "user.", ".id", "a..b", "a.b.c.d", "cookie", "cookie.x", "__deadline"} {
		if err := (adapter.Options{Secrets: []string{secret}, UserPath: path}).Validate(); err == nil || !strings.Contains(err.Error(), "UserPath") {
			t.Errorf("UserPath %q: %v", path, err)
		}
	}
	without := newManager(t, adapter.Options{})
	with := newManager(t, adapter.Options{Store: memory.New(memory.Options{}), UserPath: "user"})
	for _, err := range []error{
		func() error { _, err := without.DestroyUser(t.Context(), "ann"); return err }(),
		func() error { _, err := without.DestroyHandle(t.Context(), "ann", "x"); return err }(),
		without.IterateUser(t.Context(), "ann", nil),
		func() error { _, err := with.DestroyUser(t.Context(), ""); return err }(),
		func() error { _, err := with.DestroyHandle(t.Context(), "a\n", "x"); return err }(),
		with.IterateUser(t.Context(), strings.Repeat("x", 257), nil),
	} {
		if err == nil || !strings.Contains(err.Error(), "UserPath") && !strings.Contains(err.Error(), "a user's id is") {
			t.Errorf("the error is %v", err)
		}
	}
}

// flakyStore fails at random, before a call has been done or after it.
type flakyStore struct {
	interleave.UserStore
	random *rand.Rand // nil: it does not
}

var errFlaky = errors.New("the connection is broken")

// fails runs a call, unless it fails before.
func (s *flakyStore) fails(call func() error) error {
	if s.random == nil {
		return call()
	}
	switch s.random.IntN(24) {
	case 0:
		return errFlaky
	case 1:
		return cmp.Or(call(), errFlaky)
	}
	return call()
}

func (s *flakyStore) FindCtx(ctx context.Context, token string) (data []byte, found bool, err error) {
	err = s.fails(func() error { data, found, err = s.UserStore.FindCtx(ctx, token); return err })
	return data, found, err
}

func (s *flakyStore) FindTouch(ctx context.Context, token string, expiry time.Time) (data []byte, found bool, err error) {
	err = s.fails(func() error { data, found, err = s.UserStore.FindTouch(ctx, token, expiry); return err })
	return data, found, err
}

func (s *flakyStore) FindExpiry(ctx context.Context, token string) (data []byte, expiry time.Time, found bool, err error) {
	err = s.fails(func() error { data, expiry, found, err = s.UserStore.FindExpiry(ctx, token); return err })
	return data, expiry, found, err
}

func (s *flakyStore) DeleteCtx(ctx context.Context, token string) error {
	return s.fails(func() error { return s.UserStore.DeleteCtx(ctx, token) })
}

func (s *flakyStore) Swap(ctx context.Context, token string, old, new []byte, expiry time.Time) (current []byte, swapped bool, err error) {
	err = s.fails(func() error { current, swapped, err = s.UserStore.Swap(ctx, token, old, new, expiry); return err })
	if err != nil {
		return nil, false, err
	}
	return current, swapped, nil
}

func (s *flakyStore) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) (current [][]byte, moved bool, err error) {
	err = s.fails(func() error { current, moved, err = s.UserStore.Move(ctx, from, to, data, expiry); return err })
	if err != nil {
		return nil, false, err
	}
	return current, moved, nil
}

func (s *flakyStore) NoteUser(ctx context.Context, user, token string, ttl time.Duration) error {
	return s.fails(func() error { return s.UserStore.NoteUser(ctx, user, token, ttl) })
}

func (s *flakyStore) UserTokens(ctx context.Context, user string) (tokens []string, err error) {
	err = s.fails(func() error { tokens, err = s.UserStore.UserTokens(ctx, user); return err })
	return tokens, err
}

func (s *flakyStore) EndUser(ctx context.Context, user string, ttl time.Duration) (at time.Time, err error) {
	err = s.fails(func() error { at, err = s.UserStore.EndUser(ctx, user, ttl); return err })
	return at, err
}

func (s *flakyStore) UserEnded(ctx context.Context, user string) (at time.Time, ago time.Duration, err error) {
	err = s.fails(func() error { at, ago, err = s.UserStore.UserEnded(ctx, user); return err })
	return at, ago, err
}

// TestEndOfAUserIsFinal runs DestroyUser beside logins, renewals and whatever else puts a
// session of the user under another id, in random orders of their store calls. Afterwards
// the user has none. MODEL_SCRIPTS has more of them run.
func TestEndOfAUserIsFinal(t *testing.T) {
	for name, c := range map[string]endOfAUser{
		"lists":     {open: func() interleave.UserStore { return memory.New(memory.Options{}) }},
		"looks":     {open: func() interleave.UserStore { return &lookingStore{Store: memory.New(memory.Options{})} }},
		"migrating": {open: func() interleave.UserStore { return memory.New(memory.Options{}) }, key: adapter.StoreKeyMigrating},
		"failing":   {open: func() interleave.UserStore { return &flakyStore{UserStore: memory.New(memory.Options{})} }},
	} {
		t.Run(name, func(t *testing.T) {
			runs := schedulesOfEnds(t)
			for i, script := range interleave.SignIns {
				ends := []interleave.Script{interleave.EndUser, interleave.EndSelf}
				if name == "failing" {
					ends = ends[:1]
				}
				for n, end := range ends {
					synctest.Test(t, func(t *testing.T) { c.run(t, runs, end, script) })
					other := interleave.SignIns[(i+5+n)%len(interleave.SignIns)]
					synctest.Test(t, func(t *testing.T) { c.run(t, runs, end, script, other) })
				}
			}
		})
	}
}

type endOfAUser struct {
	open func() interleave.UserStore
	key  adapter.StoreKey
}

// run runs the requests in so many random orders.
func (c endOfAUser) run(t *testing.T, runs int, requests ...interleave.Script) {
	const first, anonymous = "the-first-session", "an-anonymous-one"
	store, turns := c.open(), &interleave.Turns{Settle: func() {
		time.Sleep(10 * time.Millisecond) // longer than DestroyUser does
		synctest.Wait()
	}}
	o := adapter.Options{
		Store: turns.ScheduledUsers(store), Codec: adapter.JSONCodec{}, StoreKey: c.key, UserPath: "user", GenID: interleave.GenID,
		Logger: (&leaktest.Log{}).Logger(),
	}
	random := rand.New(rand.NewPCG(1, uint64(len(requests))))
	flaky, _ := store.(*flakyStore)
	var failed error // to end the user
	if flaky != nil {
		requests[0] = interleave.EndUserTelling(&failed)
	}
	for i := range runs {
		time.Sleep(2 * time.Hour) // the end before it is forgotten
		m := newManager(t, o)     // ids are used again, which no Manager expects
		for id, data := range map[string]string{first: `"user":"ann"`, interleave.Other: `"user":"ann"`, anonymous: `"cart":1`} {
			data = `{"cookie":{"path":"/","httpOnly":true,"originalMaxAge":null,"expires":null},` + data + `}`
			if err := store.CommitCtx(t.Context(), id, []byte(data), time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			if _, looks := store.(*lookingStore); !looks && strings.Contains(data, "ann") {
				if err := store.NoteUser(t.Context(), "ann", id, time.Hour); err != nil {
					t.Fatal(err)
				}
			}
		}
		if flaky != nil {
			flaky.random, failed = random, errFlaky // as if the request does not get that far
		}
		// A request that goes on alone for a while meets more of what can happen.
		turn := 0
		run := turns.Do(requests, []*adapter.Manager{m}, cookieFor([]string{first, anonymous}[i%2]), func(_ int, can []int) int {
			if !slices.Contains(can, turn) || random.IntN(3) == 0 {
				turn = can[random.IntN(len(can))]
			}
			return turn
		}, func() bool { return true })
		if flaky != nil {
			if flaky.random = nil; failed != nil { // DestroyUser says that some may be left
				continue
			}
		}
		if err := m.Iterate(t.Context(), func(ctx context.Context) error {
			if by, _ := strconv.Atoi(interleave.Name(m.ID(ctx))); flaky != nil && by > 0 && run.Codes[by] != http.StatusOK {
				return nil // nobody has been told its id
			}
			if m.GetString(ctx, "user") == "ann" {
				var names []string
				for _, r := range requests {
					names = append(names, r.Name)
				}
				return fmt.Errorf("%s in the order %v: %s is alive", strings.Join(names, " | "), run.Chosen, m.ID(ctx))
			}
			return nil
		}); err != nil {
			t.Error(err)
			return
		}
	}
}

// schedulesOfEnds is how many random orders each set of requests has.
func schedulesOfEnds(t *testing.T) int {
	text := os.Getenv("MODEL_SCRIPTS")
	switch {
	case text != "":
	case raceDetector:
		return 3
	default:
		return 12
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("MODEL_SCRIPTS: %v", err)
	}
	return n / 10
}

// When a session that ends at its deadline was last used is not known, by however little the
// store's rounding moves its expiry.
func TestLastUsedBeforeTheDeadline(t *testing.T) {
	for _, rounding := range []time.Duration{-500 * time.Millisecond, 0, 500 * time.Millisecond} {
		store := newMapStore()
		m := newManager(t, adapter.Options{Store: fullStore{store}, UserPath: "user.id", Cookie: adapter.Cookie{MaxAge: time.Hour}})
		id := begin(t, m, map[string]any{"user": map[string]any{"id": "ann"}})
		end := time.Now().Add(10 * time.Minute)
		serve(m, cookieFor(id), func(_ http.ResponseWriter, r *http.Request) { m.SetDeadline(r.Context(), end) })
		r := store.records[id]
		store.put(id, r.data, end.Add(rounding))
		if all := handles(t, m, t.Context(), "ann"); len(all) != 1 || !all[0].LastUsed.IsZero() || all[0].Expires.IsZero() {
			t.Errorf("rounded by %v: %+v", rounding, all)
		}
	}
}

// A session that this program can't read is its user's still: another version of the app may
// know its types. Listing leaves it out and drops no note on it, and the end of all is its end.
func TestEndsWhatCantBeRead(t *testing.T) {
	for _, kind := range []string{"lists", "lists, JSON"} {
		for how, end := range map[string]func(m *adapter.Manager, handle string) (int, error){
			"DestroyUser": func(m *adapter.Manager, _ string) (int, error) { return m.DestroyUser(t.Context(), "ann") },
			"DestroyHandle": func(m *adapter.Manager, handle string) (n int, err error) {
				ended, err := m.DestroyHandle(t.Context(), "ann", handle)
				if ended {
					n = 1
				}
				return n, err
			},
			"DestroyAll": func(m *adapter.Manager, _ string) (int, error) { return m.DestroyAll(t.Context()) },
		} {
			t.Run(kind+", "+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var log, audit leaktest.Log
					o := adapter.Options{UserPath: "user.id", Cookie: adapter.Cookie{MaxAge: time.Hour}, Logger: log.Logger(), Audit: audit.Logger()}
					store := memory.New(memory.Options{})
					defer store.Close()
					_, o.Codec = userStores[kind]()
					o.Store = store
					m := newManager(t, o)
					id, _ := strings.CutPrefix(signUserIn(t, m, "ann"), "connect.sid=s%3A")
					id, _, _ = strings.Cut(id, ".")
					handle := handles(t, m, t.Context(), "ann")[0].Handle
					if err := store.CommitCtx(t.Context(), id, []byte("of another version's"), time.Now().Add(time.Hour)); err != nil {
						t.Fatal(err)
					}
					time.Sleep(20 * time.Minute)
					if all := handles(t, m, t.Context(), "ann"); len(all) != 0 || !strings.Contains(log.String(), "can't be read") {
						t.Errorf("%d sessions, and the log has %q", len(all), &log)
					}
					if n, err := end(m, handle); n != 1 || err != nil {
						t.Errorf("%d have ended, %v", n, err)
					}
					if n, err := store.Len(t.Context()); n != 0 || err != nil {
						t.Errorf("%d are left, %v", n, err)
					}
					if text := audit.String(); !strings.Contains(text, adapter.EventDestroyed) || !strings.Contains(text, "session="+nameOf(id)) {
						t.Errorf("the audit's log has %s", text)
					}
				})
			})
		}
	}
}

func nameOf(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:6])
}
