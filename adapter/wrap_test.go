package adapter_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/internal/leaktest"
)

// client makes requests of one browser, on scs's own manager or on ours.
type client struct {
	handler func(http.Handler) http.Handler
	cookie  string
}

// do returns the Set-Cookie header without the cookie's value.
func (c *client) do(f http.HandlerFunc) string {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Cookie", c.cookie)
	w := httptest.NewRecorder()
	c.handler(f).ServeHTTP(w, r)
	noteCookies(w)
	set := w.Header().Get("Set-Cookie")
	if set == "" {
		return ""
	}
	pair, attributes, _ := strings.Cut(set, ";")
	c.cookie = pair
	// The order of the attributes is npm's here, and net/http's there.
	sorted := strings.Split(strings.TrimPrefix(attributes, " "), "; ")
	slices.Sort(sorted)
	return strings.Join(sorted, "; ")
}

// sessionAPI is what scs and we both have.
type sessionAPI interface {
	LoadAndSave(http.Handler) http.Handler
	Put(context.Context, string, any)
	Exists(context.Context, string) bool
	RememberMe(context.Context, bool)
	SetDeadline(context.Context, time.Time)
	RenewToken(context.Context) error
	Destroy(context.Context) error
	Deadline(context.Context) time.Time
	Status(context.Context) scs.Status
	Token(context.Context) string
}

// A wrapped manager sends the cookies that scs's own would, at the same moments, ends
// sessions when scs does, and shows a middleware written for scs the same.
func TestWrapIsLikeSCS(t *testing.T) {
	type step struct {
		wait time.Duration
		do   func(m sessionAPI, ctx context.Context)
	}
	put := func(m sessionAPI, ctx context.Context) { m.Put(ctx, "user", "u") }
	read := func(sessionAPI, context.Context) {}
	for name, set := range map[string]func(sm *scs.SessionManager){
		"defaults":   func(*scs.SessionManager) {},
		"30 days":    func(sm *scs.SessionManager) { sm.Lifetime = 30 * 24 * time.Hour },
		"12 hours":   func(sm *scs.SessionManager) { sm.Lifetime = 12 * time.Hour },
		"no persist": func(sm *scs.SessionManager) { sm.Cookie.Persist = false },
		"idle":       func(sm *scs.SessionManager) { sm.IdleTimeout = 20 * time.Minute },
		"idle, no persist": func(sm *scs.SessionManager) {
			sm.IdleTimeout, sm.Cookie.Persist = 20*time.Minute, false
		},
		"idle near the end":      func(sm *scs.SessionManager) { sm.IdleTimeout, sm.Lifetime = 20*time.Minute, 30*time.Minute },
		"secure, behind a proxy": func(sm *scs.SessionManager) { sm.Cookie.Secure = true },
		"json":                   func(sm *scs.SessionManager) { sm.Codec = adapter.JSONCodec{} },
		"hashed":                 func(sm *scs.SessionManager) { sm.HashTokenInStore = true },
		"attributes": func(sm *scs.SessionManager) {
			sm.Cookie.Domain, sm.Cookie.SameSite, sm.Cookie.HttpOnly = "example.com", http.SameSiteStrictMode, false
		},
	} {
		for story, steps := range map[string][]step{
			"reads":             {{0, put}, {time.Minute, read}, {15 * time.Minute, read}, {15 * time.Minute, read}, {24 * time.Hour, read}},
			"changes":           {{0, put}, {time.Minute, func(m sessionAPI, ctx context.Context) { m.Put(ctx, "k", time.Now().String()) }}, {12 * time.Hour, read}},
			"same again":        {{0, put}, {time.Minute, put}, {19 * time.Minute, put}},
			"remembers":         {{0, put}, {time.Minute, func(m sessionAPI, ctx context.Context) { m.RememberMe(ctx, true) }}, {time.Minute, put}, {time.Minute, func(m sessionAPI, ctx context.Context) { m.RememberMe(ctx, false) }}},
			"deadline":          {{0, put}, {time.Minute, func(m sessionAPI, ctx context.Context) { m.SetDeadline(ctx, time.Now().Add(time.Hour).UTC()) }}, {time.Minute, read}, {time.Hour, read}},
			"renews":            {{0, put}, {10 * time.Minute, func(m sessionAPI, ctx context.Context) { _ = m.RenewToken(ctx) }}, {time.Minute, read}},
			"destroys":          {{0, put}, {time.Minute, func(m sessionAPI, ctx context.Context) { _ = m.Destroy(ctx) }}, {time.Minute, read}, {time.Minute, put}, {time.Minute, read}},
			"destroys and puts": {{0, put}, {time.Minute, func(m sessionAPI, ctx context.Context) { _ = m.Destroy(ctx); put(m, ctx) }}, {time.Minute, read}},
			"renews first":      {{0, func(m sessionAPI, ctx context.Context) { _ = m.RenewToken(ctx); put(m, ctx) }}, {time.Minute, read}},
			"never saved":       {{0, read}, {time.Minute, read}},
		} {
			t.Run(name+"/"+story, func(t *testing.T) {
				theirs, wrapped := scs.New(), scs.New() // outside of the bubble, as they leave goroutines
				synctest.Test(t, func(t *testing.T) {
					stores := map[*scs.SessionManager]*memstore.MemStore{}
					for _, sm := range []*scs.SessionManager{theirs, wrapped} {
						stores[sm] = memstore.NewWithCleanupInterval(0)
						sm.Store = stores[sm]
						set(sm)
					}
					ours, err := adapter.Wrap(wrapped, adapter.Options{Secrets: []string{secret}})
					if err != nil {
						t.Fatal(err)
					}
					a, b := client{handler: theirs.LoadAndSave}, client{handler: ours.LoadAndSave}
					for i, s := range steps {
						time.Sleep(s.wait)
						type seen struct {
							in       bool
							status   scs.Status
							token    bool
							deadline time.Time
						}
						type step struct {
							before, after seen // the handler's work
							newToken      bool
						}
						look := func(m sessionAPI, c *client) (set string, saw step) {
							set = c.do(func(w http.ResponseWriter, r *http.Request) {
								ctx := r.Context()
								look := func() seen {
									return seen{m.Exists(ctx, "user"), m.Status(ctx), m.Token(ctx) != "", m.Deadline(ctx)}
								}
								token := m.Token(ctx)
								saw.before = look()
								s.do(m, ctx)
								saw.after, saw.newToken = look(), m.Token(ctx) != token
							})
							return set, saw
						}
						want, wantSaw := look(theirs, &a)
						want = aSecondLess(t, want)
						got, gotSaw := look(ours, &b)
						if got != want {
							t.Errorf("step %d: Set-Cookie\n%q, want\n%q", i, got, want)
						}
						if gotSaw != wantSaw {
							t.Errorf("step %d: the handler sees\n%+v, want\n%+v", i, gotSaw, wantSaw)
						}
						there, err1 := stores[theirs].All()
						here, err2 := stores[wrapped].All()
						if err := errors.Join(err1, err2); err != nil || len(here) != len(there) {
							t.Errorf("step %d: %d sessions are stored, want %d; %v", i, len(here), len(there), err)
						}
					}
				})
			})
		}
	}
}

// aSecondLess is a Set-Cookie header of scs's as we send it: scs adds a second to each age,
// also to one that is whole.
func aSecondLess(t *testing.T, set string) string {
	parts := strings.Split(set, "; ")
	for i, part := range parts {
		name, value, _ := strings.Cut(part, "=")
		switch {
		case name == "Max-Age" && value != "0":
			n, err := strconv.Atoi(value)
			if err != nil {
				t.Fatal(err)
			}
			parts[i] = "Max-Age=" + strconv.Itoa(n-1)
		case name == "Expires" && !strings.Contains(value, " 1970 "):
			at, err := http.ParseTime(value)
			if err != nil {
				t.Fatal(err)
			}
			parts[i] = "Expires=" + at.Add(-time.Second).Format(http.TimeFormat)
		}
	}
	return strings.Join(parts, "; ")
}

func TestWrapRefuses(t *testing.T) {
	week := 7 * 24 * time.Hour
	for want, tt := range map[string]struct {
		set func(sm *scs.SessionManager)
		o   adapter.Options
	}{
		"Options.Name: Wrap takes the SessionManager's Cookie.Name":   {o: adapter.Options{Name: "sid"}},
		"Options.Store: Wrap takes the SessionManager's Store":        {o: adapter.Options{Store: plainStore{}}},
		"Options.Codec: Wrap takes":                                   {o: adapter.Options{Codec: adapter.JSONCodec{}}},
		"Options.Cookie: Wrap takes":                                  {o: adapter.Options{Cookie: adapter.Cookie{MaxAge: week}}},
		"Options.CookieFunc: Wrap takes":                              {o: adapter.Options{CookieFunc: func(*http.Request) adapter.Cookie { return adapter.Cookie{} }}},
		"Options.TTL: Wrap takes the SessionManager's IdleTimeout":    {o: adapter.Options{TTL: week}},
		"Options.AbsoluteLifetime: Wrap takes":                        {o: adapter.Options{AbsoluteLifetime: week}},
		"Options.Rolling: Wrap takes":                                 {o: adapter.Options{Rolling: true}},
		"Options.ResendAfter: Wrap takes":                             {o: adapter.Options{ResendAfter: time.Hour}},
		"Options.TouchAfter: must be less than":                       {o: adapter.Options{TouchAfter: time.Hour}},
		"Options.Secrets: none given":                                 {o: adapter.Options{Secrets: []string{}}},
		"SessionManager.Store: is nil; begin with scs.New()":          {set: func(sm *scs.SessionManager) { sm.Store = nil }},
		"SessionManager.Codec: is nil":                                {set: func(sm *scs.SessionManager) { sm.Codec = nil }},
		"SessionManager.ErrorFunc: is nil":                            {set: func(sm *scs.SessionManager) { sm.ErrorFunc = nil }},
		"SessionManager.IdleTimeout: is neg":                          {set: func(sm *scs.SessionManager) { sm.IdleTimeout = -1 }},
		"SessionManager.Lifetime: 604.8µs is too short":               {set: func(sm *scs.SessionManager) { sm.Lifetime = 604800 }},
		"SessionManager.Lifetime and SessionManager.IdleTimeout: are": {set: func(sm *scs.SessionManager) { sm.Lifetime = 0 }},
		"SessionManager.Cookie.Path: is empty; use":                   {set: func(sm *scs.SessionManager) { sm.Cookie.Path = "" }},
		"Options.Name: ":                                              {set: func(sm *scs.SessionManager) { sm.Cookie.Name = "a;b" }},
		"Options.Codec: scs.GobCodec can't be used with this store":   {set: func(sm *scs.SessionManager) { sm.Store = jsonStore{} }},
		"Options.StoreKey: can't be hashed in this store": {set: func(sm *scs.SessionManager) {
			sm.Store, sm.Codec, sm.HashTokenInStore = jsonStore{}, adapter.JSONCodec{}, true
		}},
	} {
		sm := scs.New()
		if tt.set != nil {
			tt.set(sm)
		}
		if tt.o.Secrets == nil {
			tt.o.Secrets = []string{secret}
		}
		m, err := adapter.Wrap(sm, tt.o)
		if m != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Wrap gives the error\n%v, want\n%s", err, want)
		}
	}
	if _, err := adapter.Wrap(nil, adapter.Options{}); err == nil {
		t.Error("Wrap takes nil")
	}
	m := newManager(t, adapter.Options{})
	if _, err := adapter.Wrap(m.SessionManager, adapter.Options{Secrets: []string{secret}}); err == nil || !strings.Contains(err.Error(), "SessionManager.Store: is a Manager's already") {
		t.Errorf("Wrap of a Manager's: %v", err)
	}
}

// The methods of the embedded manager that would go around ours fail.
func TestEmbeddedMethodsFail(t *testing.T) {
	m := newManager(t, adapter.Options{})
	id := begin(t, m, map[string]any{"user": "u"})
	sm := m.SessionManager
	within(t, m, id, func(ctx context.Context) {
		_, err := sm.Load(context.Background(), id)
		_, _, commit := sm.Commit(ctx)
		for name, err := range map[string]error{
			"Load": err, "Commit": commit, "RenewToken": sm.RenewToken(ctx), "Destroy": sm.Destroy(ctx),
			"MergeSession": sm.MergeSession(ctx, "other"), "Iterate": sm.Iterate(ctx, func(context.Context) error { return nil }),
		} {
			if err == nil || !strings.Contains(err.Error(), "call the Manager's methods") {
				t.Errorf("%s: %v", name, err)
			}
		}
		if sm.GetString(ctx, "user") != "u" {
			t.Error("its data methods do not work")
		}
	})
	within(t, m, id, func(ctx context.Context) {
		if m.GetString(ctx, "user") != "u" {
			t.Error("the session has ended")
		}
	})
}

// Managers leave no goroutine behind, with a store of their own or without, and their data
// is apart.
func TestManagersLeaveNoGoroutines(t *testing.T) {
	defer leaktest.Goroutines(t)()
	for range 100 {
		newManager(t, adapter.Options{})
		m := adapter.MustNew(adapter.Options{Secrets: []string{secret}})
		within(t, m, "", func(ctx context.Context) { m.Put(ctx, "k", 1) })
	}

	a := newManager(t, adapter.Options{Name: "a"})
	b := newManager(t, adapter.Options{Name: "b"})
	a.LoadAndSave(b.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.Put(r.Context(), "k", 1)
		if b.Exists(r.Context(), "k") {
			t.Error("two Managers share their data")
		}
	}))).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
}

func TestMust(t *testing.T) {
	for name, f := range map[string]func(){
		"MustNew":  func() { adapter.MustNew(adapter.Options{}) },
		"MustWrap": func() { adapter.MustWrap(scs.New(), adapter.Options{}) },
	} {
		func() {
			defer func() {
				if err, ok := recover().(error); !ok || !strings.Contains(err.Error(), "Options.Secrets") {
					t.Errorf("%s panics with %v", name, err)
				}
			}()
			f()
			t.Errorf("%s does not panic", name)
		}()
	}
	adapter.MustWrap(scs.New(), adapter.Options{Secrets: []string{secret}})
}
