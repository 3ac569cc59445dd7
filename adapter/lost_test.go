package adapter_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/scs/postgresstore"
	"github.com/alexedwards/scs/redisstore"
	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends/contract"
	"github.com/samesid/samesid/backends/memory"
	"github.com/samesid/samesid/internal/leaktest"
)

// Whatever fails when a session is saved, gets a new id or takes over another one, the old
// sessions stay, under their old ids, and the client is told.
func TestWhatCantBeWrittenLeavesTheOldSession(t *testing.T) {
	moves := map[string]func(m *adapter.Manager, ctx context.Context, other string) error{
		"no move":    func(*adapter.Manager, context.Context, string) error { return nil },
		"renew":      func(m *adapter.Manager, ctx context.Context, _ string) error { return m.RenewToken(ctx) },
		"regenerate": func(m *adapter.Manager, ctx context.Context, _ string) error { return m.Regenerate(ctx) },
		"merge":      func(m *adapter.Manager, ctx context.Context, other string) error { return m.MergeSession(ctx, other) },
		"merge and renew": func(m *adapter.Manager, ctx context.Context, other string) error {
			return errors.Join(m.MergeSession(ctx, other), m.RenewToken(ctx))
		},
	}
	down := errors.New("down")
	refused := fmt.Errorf("no NUL bytes: %w", contract.ErrRejected)
	failures := map[string]struct {
		do     func(m *adapter.Manager, ctx context.Context, s *mapStore)
		status int
	}{
		"too large": {func(m *adapter.Manager, ctx context.Context, _ *mapStore) {
			m.Put(ctx, "big", strings.Repeat("x", 20_000))
		}, http.StatusInternalServerError},
		"not encodable": {func(m *adapter.Manager, ctx context.Context, _ *mapStore) {
			m.Put(ctx, "f", func() {})
		}, http.StatusInternalServerError},
		"panic": {func(m *adapter.Manager, ctx context.Context, _ *mapStore) { panic("of the handler") }, 0},
		"store down": {func(m *adapter.Manager, ctx context.Context, s *mapStore) {
			m.Put(ctx, "k", 1)
			s.fail = map[string]error{"move": down, "create": down, "replace": down, "commit": down}
		}, http.StatusServiceUnavailable},
		"store refuses the record": {func(m *adapter.Manager, ctx context.Context, s *mapStore) {
			m.Put(ctx, "k", 1)
			s.fail = map[string]error{"move": refused, "create": refused, "replace": refused, "commit": refused}
		}, http.StatusInternalServerError},
		"store can't delete": {func(m *adapter.Manager, ctx context.Context, s *mapStore) {
			s.fail = map[string]error{"move": down, "take": down, "delete": down}
		}, http.StatusServiceUnavailable},
	}
	for move, begins := range moves {
		for failure, fails := range failures {
			if move == "no move" && failure == "store can't delete" {
				continue // it need not
			}
			t.Run(move+"/"+failure, func(t *testing.T) {
				everyStore(t, adapter.Options{MaxRecordSize: 10_000}, func(t *testing.T, m *adapter.Manager, store *mapStore) {
					clear(store.records)
					id := begin(t, m, map[string]any{"user": "u"})
					other := begin(t, m, map[string]any{"cart": 1})
					cookies := []string{cookieFor(id)}
					if move == "no move" {
						cookies = append(cookies, "") // a new session
					}
					for _, cookie := range cookies {
						w := httptest.NewRecorder()
						func() {
							defer func() { _ = recover() }()
							r := httptest.NewRequest("GET", "/", nil)
							r.Header.Set("Cookie", cookie)
							m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
								if err := begins(m, r.Context(), other); err != nil {
									t.Error(err)
								}
								fails.do(m, r.Context(), store)
							})).ServeHTTP(w, r)
						}()
						store.fail = nil
						if fails.status != 0 && w.Code != fails.status || w.Header().Get("Set-Cookie") != "" {
							t.Errorf("status %d, Set-Cookie %q", w.Code, w.Header().Get("Set-Cookie"))
						}
						if cookie == "" && len(store.records) != 2 {
							t.Errorf("%d records, want the two from before", len(store.records))
						}
					}
					if got := read(t, m, id); !reflect.DeepEqual(got, map[string]any{"user": "u"}) {
						t.Errorf("the old session has %v", got)
					}
					if got := read(t, m, other); !reflect.DeepEqual(got, map[string]any{"cart": 1}) {
						t.Errorf("the other session has %v", got)
					}
					within(t, m, id, func(ctx context.Context) {
						if m.GetString(ctx, "user") != "u" {
							t.Error("the user is signed out")
						}
					})
				})
			})
		}
	}
}

type namedUser struct {
	ID   int
	Name string
}

type userName string

// A text is a text, whatever it looks like, under either codec: whoever can choose a
// text that an app keeps must not become a user by it.
func TestTextIsNeverTakenForJSON(t *testing.T) {
	bothCodecs(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager) {
		id := begin(t, m, map[string]any{"user": `{"ID":1,"Name":"admin"}`, "name": `"admin"`})
		within(t, m, id, func(ctx context.Context) {
			if u, err := adapter.Get[namedUser](ctx, m, "user"); err == nil {
				t.Errorf("the text is read as %+v", u)
			}
			if u, err := adapter.Get[userName](ctx, m, "name"); err != nil || u != `"admin"` {
				t.Errorf("the name is read as %q, %v", u, err)
			}
		})
		for _, name := range []userName{"admin", `"admin"`, "é\u2028\xff"} {
			var id string
			serve(m, "", func(w http.ResponseWriter, r *http.Request) {
				if err := adapter.Put(r.Context(), m, "name", name); err != nil {
					t.Error(err)
				}
				id = m.ID(r.Context())
			})
			want := userName(strings.ToValidUTF8(string(name), "\ufffd"))
			within(t, m, id, func(ctx context.Context) {
				if u, err := adapter.Get[userName](ctx, m, "name"); err != nil || u != want && u != name {
					t.Errorf("%q is read as %q, %v", name, u, err)
				}
			})
		}
	})
}

// A record that was written under gob is the same after the move to JSON, what Put wrote
// and the session's own age included.
func TestPutSurvivesTheMoveFromGob(t *testing.T) {
	store := newMapStore()
	before := newManager(t, adapter.Options{Store: fullStore{store}})
	ann := user{"Ann", []string{"admin"}, time.Date(2026, 11, 22, 1, 2, 3, 4, time.UTC), 1 << 60}
	var id string
	serve(before, "", func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		if err := errors.Join(
			adapter.Put(ctx, before, "name", userName("alice")),
			adapter.Put(ctx, before, "user", namedUser{1, "é\U0001F600"}),
			adapter.Put(ctx, before, "ann", ann),
			adapter.Put(ctx, before, "list", []string{"a"}),
		); err != nil {
			t.Error(err)
		}
		before.Put(ctx, "units", []uint16{0x7b, 0x7d})
		before.Put(ctx, "n", int64(5))
		before.Put(ctx, "text", "text")
		before.SetMaxAge(ctx, time.Minute)
		id = before.ID(ctx)
	})
	check := func(m *adapter.Manager) {
		t.Helper()
		within(t, m, id, func(ctx context.Context) {
			name, err1 := adapter.Get[userName](ctx, m, "name")
			named, err2 := adapter.Get[namedUser](ctx, m, "user")
			list, err3 := adapter.Get[[]string](ctx, m, "list")
			units, err4 := adapter.Get[[]uint16](ctx, m, "units")
			got, err5 := adapter.Get[user](ctx, m, "ann")
			if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
				t.Error(err)
			}
			if name != "alice" || named != (namedUser{1, "é\U0001F600"}) || !reflect.DeepEqual(list, []string{"a"}) || !reflect.DeepEqual(units, []uint16{0x7b, 0x7d}) {
				t.Errorf("%q, %+v, %v, %v", name, named, list, units)
			}
			if !reflect.DeepEqual(got, ann) || m.GetInt64(ctx, "n") != 5 || m.GetString(ctx, "text") != "text" {
				t.Errorf("%+v, %d, %q", got, m.GetInt64(ctx, "n"), m.GetString(ctx, "text"))
			}
			if age, _ := m.OriginalMaxAge(ctx); age != time.Minute {
				t.Errorf("maxAge %v", age)
			}
			m.Put(ctx, "again", time.Now().String())
		})
	}
	check(before)
	check(before)
	after := newManager(t, adapter.Options{Store: fullStore{store}, Codec: adapter.JSONCodec{}})
	check(after)
	if got := string(store.records[id].data); !strings.HasPrefix(got, `{"cookie":{"originalMaxAge":60000,`) {
		t.Errorf("record %s", got)
	}
	check(after)
}

// Numbers come out as they went in, whatever a machine's int holds.
func TestNumbersStayExact(t *testing.T) {
	type account struct {
		ID uint64
		N  int64
		F  float64
	}
	bothCodecs(t, adapter.Options{AbsoluteLifetime: time.Hour}, func(t *testing.T, m *adapter.Manager) {
		want := account{12345678901234567891, -1 << 63, 0.1}
		var id string
		serve(m, "", func(w http.ResponseWriter, r *http.Request) {
			ctx := r.Context()
			if err := errors.Join(
				adapter.Put(ctx, m, "account", want),
				adapter.Put(ctx, m, "id", want.ID),
				adapter.Put(ctx, m, "n", want.N),
			); err != nil {
				t.Error(err)
			}
			id = m.ID(ctx)
		})
		for range 2 {
			within(t, m, id, func(ctx context.Context) {
				got, err := adapter.Get[account](ctx, m, "account")
				if err != nil || got != want {
					t.Errorf("%+v, %v", got, err)
				}
				if got, err := adapter.Get[uint64](ctx, m, "id"); err != nil || got != want.ID {
					t.Errorf("%d, %v", got, err)
				}
				if got := m.GetInt64(ctx, "n"); got != want.N {
					t.Errorf("GetInt64 is %d", got)
				}
				m.Put(ctx, "other", time.Now().String())
			})
		}
	})
}

// What another program wrote, and nobody has changed, stays byte for byte, the cookie's
// attributes included.
func TestWhatIsNotChangedStaysByteForByte(t *testing.T) {
	store := newMapStore()
	m := newManager(t, adapter.Options{Store: fullStore{store}, Codec: adapter.JSONCodec{}})
	const cookie = `{"cookie":{"originalMaxAge":null,"expires":null,"secure":false,"httpOnly":false,"domain":"example.com","path":"/","sameSite":"strict"},`
	foreign := `"e":1e2,"f":0.10,"half":"\ud83d","html":"\u003c","n":12345678901234567891234,"nest":{"z":1.50,"a":[null,{"__proto__":1}]},` +
		`"num":1e+21,"o":{"b":1.0,"a":"<\u2028` + "\u2028" + `>"},"s":"\ud800\u00e9/"`
	store.records["id"] = mapRecord{[]byte(cookie + foreign + `,"t":1}`), time.Now().Add(time.Hour)}
	for range 2 {
		z := time.Now().String()
		within(t, m, "id", func(ctx context.Context) {
			m.Get(ctx, "o")
			m.Put(ctx, "num", m.Get(ctx, "num"))
			m.Put(ctx, "z", z)
			m.Remove(ctx, "t")
		})
		if got, want := string(store.records["id"].data), cookie+foreign+`,"z":"`+z+`"}`; got != want {
			t.Errorf("stored\n%s, want\n%s", got, want)
		}
	}
}

// A list or map that a handler changes in place is saved with the session, as in Express,
// when something else is put.
func TestChangedInPlace(t *testing.T) {
	bothCodecs(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager) {
		var id string
		serve(m, "", func(w http.ResponseWriter, r *http.Request) {
			if err := adapter.Put(r.Context(), m, "cart", map[string]any{"n": 1}); err != nil {
				t.Error(err)
			}
			id = m.ID(r.Context())
		})
		within(t, m, id, func(ctx context.Context) {
			m.Get(ctx, "cart").(map[string]any)["n"] = 2
			m.Put(ctx, "other", true)
		})
		within(t, m, id, func(ctx context.Context) {
			if got := m.Get(ctx, "cart").(map[string]any)["n"]; got != 2 {
				t.Errorf("n is %v", got)
			}
		})
	})
}

// What a sweep has matched is ended, although its users get new ids, or the hashes of
// them, while it runs.
func TestSweepEndsWhatMoves(t *testing.T) {
	for name, o := range map[string]adapter.Options{
		"plain":   {},
		"migrate": {StoreKey: adapter.StoreKeyMigrating},
	} {
		t.Run(name, func(t *testing.T) {
			store := memory.New(memory.Options{})
			defer store.Close()
			before := newManager(t, adapter.Options{Store: store})
			const users = 60
			ids := make([]string, users)
			for i := range ids {
				ids[i] = begin(t, before, map[string]any{"user": "mallory"})
			}
			innocent := begin(t, before, map[string]any{"user": "ann"})

			o.Store = store
			m := newManager(t, o)
			started, done := make(chan struct{}, users), make(chan struct{})
			var wg sync.WaitGroup
			for _, id := range ids {
				wg.Go(func() {
					for first := true; ; first = false {
						select {
						case <-done:
							return
						default:
						}
						next, in := id, false
						within(t, m, id, func(ctx context.Context) {
							if in = m.GetString(ctx, "user") == "mallory"; in && name == "plain" {
								_ = m.RenewToken(ctx)
								next = m.ID(ctx)
							}
						})
						if first {
							started <- struct{}{}
						}
						if !in {
							return
						}
						id = next
					}
				})
			}
			if name == "plain" {
				for range users {
					<-started
				}
			}
			n, err := m.DestroyWhere(t.Context(), func(ctx context.Context) bool { return m.GetString(ctx, "user") == "mallory" })
			close(done)
			wg.Wait()
			if err != nil || n > 10*users {
				t.Errorf("%d ended, %v", n, err)
			}
			left := 0
			if err := m.Iterate(t.Context(), func(ctx context.Context) error {
				if m.GetString(ctx, "user") == "mallory" {
					left++
				}
				return nil
			}); err != nil || left != 0 {
				t.Errorf("%d of %d are left, %v", left, users, err)
			}
			within(t, m, innocent, func(ctx context.Context) {
				if m.GetString(ctx, "user") != "ann" {
					t.Error("another user is signed out")
				}
			})
		})
	}
}

// A move that is under way when a sweep begins, and puts the session where the sweep has
// been already, ends it: under a new id, or under the hash of its id.
func TestSweepEndsWhatMovesPastIt(t *testing.T) {
	for name, tt := range map[string]struct {
		storeKey adapter.StoreKey
		do       func(m *adapter.Manager, ctx context.Context) error
	}{
		"renew":   {adapter.StoreKeyID, (*adapter.Manager).RenewToken},
		"migrate": {adapter.StoreKeyMigrating, func(*adapter.Manager, context.Context) error { return nil }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { sweepEndsWhatMovesPastIt(t, tt.storeKey, tt.do) })
		})
	}
}

func sweepEndsWhatMovesPastIt(t *testing.T, storeKey adapter.StoreKey, do func(m *adapter.Manager, ctx context.Context) error) {
	store := &overtakenStore{fullStore: fullStore{newMapStore()}, moving: make(chan bool), swept: make(chan bool), moved: make(chan bool)}
	id := begin(t, newManager(t, adapter.Options{Store: store.fullStore}), map[string]any{"user": "mallory"})
	m := newManager(t, adapter.Options{Store: store, StoreKey: storeKey})
	done := make(chan *httptest.ResponseRecorder)
	go func() {
		done <- serve(m, cookieFor(id), func(w http.ResponseWriter, r *http.Request) {
			if err := do(m, r.Context()); err != nil {
				t.Error(err)
			}
		})
	}()
	<-store.moving
	if _, err := m.DestroyWhere(t.Context(), func(ctx context.Context) bool { return m.GetString(ctx, "user") == "mallory" }); err != nil {
		t.Error(err)
	}
	w := <-done
	if len(store.records) != 0 || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("%d records are left, Set-Cookie %q", len(store.records), w.Header().Get("Set-Cookie"))
	}
}

// overtakenStore lets a move be done in the middle of a listing, which sees neither of its
// records.
type overtakenStore struct {
	fullStore
	moving, swept, moved chan bool
}

func (s *overtakenStore) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	s.moving <- true
	<-s.swept
	defer func() {
		s.moved <- true
		time.Sleep(time.Second) // the sweep goes on before this request does
	}()
	return s.fullStore.Move(ctx, from, to, data, expiry)
}

func (s *overtakenStore) Range(context.Context, func(string, []byte) error) error {
	s.swept <- true
	<-s.moved
	return nil
}

// In a request, too, each session of a listing has its own values, and what is put into one
// is stored in that one.
func TestListingInARequest(t *testing.T) {
	everyStore(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager, store *mapStore) {
		clear(store.records)
		users := map[string]string{}
		for _, user := range []string{"ann", "ann", "bob", "eve"} {
			users[begin(t, m, map[string]any{"user": user})] = user
		}
		own := idOf(users, "ann")
		within(t, m, own, func(ctx context.Context) {
			m.Put(ctx, "own", true)
			if err := m.Iterate(ctx, func(ctx context.Context) error {
				if got, want := m.GetString(ctx, "user"), users[m.ID(ctx)]; got != want {
					t.Errorf("the session of %s has the user %q", want, got)
				}
				m.Put(ctx, "seen", users[m.ID(ctx)])
				return m.Save(ctx)
			}); err != nil {
				t.Error(err)
			}
			other, err := m.LoadID(ctx, idOf(users, "bob"))
			if err != nil || m.GetString(other, "user") != "bob" || m.GetString(ctx, "user") != "ann" {
				t.Errorf("LoadID in a request: %q, %v", m.GetString(other, "user"), err)
			}
		})
		for id, user := range users {
			got := read(t, m, id)
			if got["user"] != user || got["seen"] != user || (got["own"] != nil) != (id == own) {
				t.Errorf("the session of %s has %v", user, got)
			}
		}
	})
}

// idOf returns the id of a session of a user's.
func idOf(users map[string]string, name string) string {
	for id, user := range users {
		if user == name {
			return id
		}
	}
	return ""
}

// A request that ends its own session by a sweep, beside others of the user's, has its
// cookie cleared, and the sessions of other users stay.
func TestSweepOfOnesOwn(t *testing.T) {
	for name, sweep := range map[string]func(m *adapter.Manager, ctx context.Context, match func(context.Context) bool) error{
		"Iterate": func(m *adapter.Manager, ctx context.Context, match func(context.Context) bool) error {
			return m.Iterate(ctx, func(ctx context.Context) error {
				if !match(ctx) {
					return nil
				}
				return m.Destroy(ctx)
			})
		},
		"DestroyWhere": func(m *adapter.Manager, ctx context.Context, match func(context.Context) bool) error {
			n, err := m.DestroyWhere(ctx, match)
			if n != 2 {
				err = errors.Join(err, fmt.Errorf("%d were ended, want 2", n))
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			everyStore(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager, store *mapStore) {
				clear(store.records)
				users := map[string]string{}
				for _, user := range []string{"ann", "ann", "bob", "eve"} {
					users[begin(t, m, map[string]any{"user": user})] = user
				}
				w := within(t, m, idOf(users, "ann"), func(ctx context.Context) {
					user := m.GetString(ctx, "user")
					if err := sweep(m, ctx, func(ctx context.Context) bool { return m.GetString(ctx, "user") == user }); err != nil {
						t.Error(err)
					}
					if m.Exists(ctx, "user") {
						t.Error("the request is still signed in")
					}
					other, err := m.LoadID(ctx, idOf(users, "bob"))
					if err != nil || m.GetString(other, "user") != "bob" || m.Exists(ctx, "user") {
						t.Errorf("LoadID afterwards: %q, %v", m.GetString(other, "user"), err)
					}
				})
				if got := w.Header().Get("Set-Cookie"); !strings.HasPrefix(got, "connect.sid=;") || len(store.records) != 2 {
					t.Errorf("Set-Cookie %q, %d records", got, len(store.records))
				}
				for id, user := range users {
					if got := read(t, m, id); (got == nil) != (user == "ann") {
						t.Errorf("the session of %s has %v", user, got)
					}
				}
			})
		})
	}
}

// What a store can't promise across processes is a warning when the Manager is made, with
// the way out of it. A wrapper that hides what the store inside can do is told from one
// that does not.
func TestGuaranteesThatAStoreCantKeep(t *testing.T) {
	full := fullStore{newMapStore()}
	for name, tt := range map[string]struct {
		store  scs.Store
		advice string // "": no warning
	}{
		"full":          {full, ""},
		"default":       {nil, ""},
		"scs, memory":   {memstore.NewWithCleanupInterval(0), ""}, // one process alone
		"plain":         {plainStore{newMapStore()}, "use a store of package backends, or give yours the methods of package backends/contract"},
		"hiding":        {struct{ scs.CtxStore }{full}, "a store that wraps another one: Unwrap"},
		"unwrapped":     {wrapping{plainStore{full.mapStore}, full}, ""},
		"scs, Redis":    {redisstore.New(nil), "use redis.New of package backends/redis on the same pool"},
		"scs, Postgres": {postgresstore.NewWithCleanupInterval(nil, 0), "use postgres.New of package backends/postgres on the same database"},
	} {
		out := &leaktest.Log{}
		if _, err := adapter.New(adapter.Options{Store: tt.store, Logger: out.Logger(), Secrets: []string{secret}}); err != nil {
			t.Fatal(err)
		}
		got := out.String()
		if tt.advice == "" && got != "" {
			t.Errorf("%s: %s", name, got)
		}
		if tt.advice != "" && (strings.Count(got, "\n") != 1 || !strings.Contains(got, "level=WARN ") ||
			!strings.Contains(got, "has no compare-and-set") || !strings.Contains(got, tt.advice) || !strings.Contains(got, fmt.Sprintf("%T", tt.store))) {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// One write that hangs holds up nobody but those of the same session, and those no longer
// than their context.
func TestHungCommitHoldsUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &hangingStore{plainStore: plainStore{newMapStore()}, release: make(chan struct{})}
		m := newManager(t, adapter.Options{Store: store})
		id := begin(t, m, map[string]any{"user": "u"})
		others := make([]string, 200)
		for i := range others {
			others[i] = begin(t, m, map[string]any{"n": i})
		}
		store.hang = id
		change := func(id, key string) *httptest.ResponseRecorder {
			return serve(m, cookieFor(id), func(w http.ResponseWriter, r *http.Request) { m.Put(r.Context(), key, 1) })
		}
		go change(id, "k")
		synctest.Wait()
		start := time.Now()
		for _, other := range others {
			if w := change(other, "k"); w.Code != http.StatusOK {
				t.Fatalf("another user: status %d", w.Code)
			}
		}
		if took := time.Since(start); took > 0 {
			t.Errorf("the others took %v", took)
		}
		w := change(id, "l")
		if took := time.Since(start); w.Code != http.StatusServiceUnavailable || took > 11*time.Second {
			t.Errorf("the same session: status %d after %v", w.Code, took)
		}
		close(store.release)
	})
}

type hangingStore struct {
	plainStore
	hang    string
	release chan struct{}
}

func (s *hangingStore) Commit(token string, b []byte, expiry time.Time) error {
	if token == s.hang {
		<-s.release
	}
	return s.plainStore.Commit(token, b, expiry)
}

type wrapping struct {
	plainStore
	inside fullStore
}

func (w wrapping) Unwrap() scs.Store { return w.inside }

// An age that was shortened stays so, although a request that had loaded the session
// before it touches it afterwards.
func TestShortenedAgeStays(t *testing.T) {
	for name, o := range map[string]adapter.Options{
		"touch":      {Cookie: adapter.Cookie{MaxAge: 30 * 24 * time.Hour}},
		"touchAfter": {Cookie: adapter.Cookie{MaxAge: 30 * 24 * time.Hour}, TouchAfter: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			for _, own := range []time.Duration{0, 60 * 24 * time.Hour} {
				everyStore(t, o, func(t *testing.T, m *adapter.Manager, store *mapStore) {
					id := begin(t, m, map[string]any{"user": "u"})
					if own != 0 {
						within(t, m, id, func(ctx context.Context) { m.SetMaxAge(ctx, own) })
					}
					r := store.records[id]
					store.records[id] = mapRecord{r.data, time.Now().Add(24 * time.Hour)} // a touch is due
					within(t, m, id, func(ctx context.Context) {
						within(t, m, id, func(ctx context.Context) { m.SetMaxAge(ctx, 5*time.Minute) })
					})
					if left := time.Until(store.records[id].expiry); left > 5*time.Minute {
						t.Errorf("the session lives for another %v", left)
					}
				})
			}
		})
	}
}

// A panic is seen however far the response is written from it, and none is seen in a deep
// stack without one.
func TestPanicIsSeenAtAnyDepth(t *testing.T) {
	m := newManager(t, adapter.Options{})
	for depth := range 50 {
		for _, panics := range []bool{true, false} {
			var deep func(n int, do func())
			deep = func(n int, do func()) {
				if n == 0 {
					do()
					return
				}
				deep(n-1, do)
			}
			w := serve(m, "", func(w http.ResponseWriter, r *http.Request) {
				write := func() {
					m.Put(r.Context(), "n", 1)
					deep(depth, func() { w.WriteHeader(http.StatusOK) })
				}
				if !panics {
					write()
					return
				}
				defer func() { _ = recover() }()
				defer write()
				panic("of the handler")
			})
			if sent := w.Header().Get("Set-Cookie") != ""; sent == panics {
				t.Errorf("depth %d, panics: %v: a cookie was sent: %v", depth, panics, sent)
			}
		}
	}
}

// A handler that panics, or ends by runtime.Goexit, saves nothing and sends no cookie,
// whoever recovers, inside of the middleware or outside, and whatever is then written.
func TestPanicSavesNothingWhoeverRecovers(t *testing.T) {
	const oops = "of the handler"
	sorry := func(w http.ResponseWriter) { http.Error(w, "sorry", http.StatusInternalServerError) }
	recoverer := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() {
				if recover() != nil {
					sorry(w)
				}
			}()
			next.ServeHTTP(w, r)
		})
	}
	for name, tt := range map[string]struct {
		chain func(t *testing.T, m *adapter.Manager, h http.Handler) http.Handler
		end   func() // nil: a panic
	}{
		"inside": {chain: func(_ *testing.T, m *adapter.Manager, h http.Handler) http.Handler {
			return m.LoadAndSave(recoverer(h))
		}},
		"outside": {chain: func(_ *testing.T, m *adapter.Manager, h http.Handler) http.Handler {
			return recoverer(m.LoadAndSave(h))
		}},
		"the panic comes through": {chain: func(t *testing.T, m *adapter.Manager, h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				spy := &spyWriter{w, func(what string) { t.Errorf("%s reached the client before anyone had recovered", what) }}
				defer func() {
					if got := recover(); got != oops {
						t.Errorf("the panic came through as %v", got)
					}
					sorry(w)
				}()
				m.LoadAndSave(h).ServeHTTP(spy, r)
			})
		}},
		"outside, by the inner writer": {chain: func(_ *testing.T, m *adapter.Manager, h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var inner http.ResponseWriter
				defer func() {
					if recover() != nil {
						sorry(inner)
					}
				}()
				m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					inner = w
					h.ServeHTTP(w, r)
				})).ServeHTTP(w, r)
			})
		}},
		"outside, by the inner writer, later": {chain: func(_ *testing.T, m *adapter.Manager, h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var inner http.ResponseWriter
				func() {
					defer func() { _ = recover() }()
					m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						inner = w
						h.ServeHTTP(w, r)
					})).ServeHTTP(w, r)
				}()
				sorry(inner)
			})
		}},
		"a panic in another goroutine": {chain: func(_ *testing.T, m *adapter.Manager, h http.Handler) http.Handler {
			return inAGoroutine(m.LoadAndSave(recoverer(h)))
		}},
		"Goexit": {
			chain: func(_ *testing.T, m *adapter.Manager, h http.Handler) http.Handler {
				return inAGoroutine(m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					defer sorry(w)
					h.ServeHTTP(w, r)
				})))
			},
			end: runtime.Goexit,
		},
	} {
		t.Run(name, func(t *testing.T) {
			end := tt.end
			if end == nil {
				end = func() { panic(oops) }
			}
			for do, handle := range map[string]func(m *adapter.Manager, ctx context.Context){
				"put":        func(m *adapter.Manager, ctx context.Context) { m.Put(ctx, "k", 1) },
				"regenerate": func(m *adapter.Manager, ctx context.Context) { _ = m.Regenerate(ctx) },
				"setMaxAge":  func(m *adapter.Manager, ctx context.Context) { m.SetMaxAge(ctx, time.Minute) },
			} {
				store := newMapStore()
				m := newManager(t, adapter.Options{Store: fullStore{store}, Cookie: adapter.Cookie{MaxAge: time.Hour}})
				id := begin(t, m, map[string]any{"user": "u"})
				before := string(store.records[id].data)
				for _, cookie := range []string{cookieFor(id), ""} {
					r := httptest.NewRequest("GET", "/", nil)
					r.Header.Set("Cookie", cookie)
					w := httptest.NewRecorder()
					tt.chain(t, m, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						handle(m, r.Context())
						end()
					})).ServeHTTP(w, r)
					if w.Code != http.StatusInternalServerError || w.Body.String() != "sorry\n" || w.Header().Get("Set-Cookie") != "" {
						t.Errorf("%s: status %d, body %q, Set-Cookie %q", do, w.Code, w.Body, w.Header().Get("Set-Cookie"))
					}
					if len(store.records) != 1 || string(store.records[id].data) != before {
						t.Errorf("%s: the store has changed", do)
					}
				}
			}
		})
	}
}

// inAGoroutine serves each request in a goroutine of its own, and waits for its end.
func inAGoroutine(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			h.ServeHTTP(w, r)
		}()
		<-done
	})
}

// A handler that recovers from a panic of its own, and goes on, is no handler that
// panics.
func TestRecoveredInTheHandler(t *testing.T) {
	m := newManager(t, adapter.Options{})
	w := serve(m, "", func(w http.ResponseWriter, r *http.Request) {
		func() {
			defer func() { _ = recover() }()
			panic("of a library")
		}()
		m.Put(r.Context(), "k", 1)
		w.WriteHeader(http.StatusOK)
	})
	if w.Header().Get("Set-Cookie") == "" {
		t.Error("the session is not saved")
	}
}

// The line about a change that came too late names the handler and the keys; a stream
// that ends with a logout is no warning.
func TestLateChangesAreNamed(t *testing.T) {
	out := &leaktest.Log{}
	m := newManager(t, adapter.Options{Logger: out.Logger()})
	id := begin(t, m, map[string]any{"user": "u"})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /items/{id}", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		m.Put(r.Context(), "late", 1)
	})
	r := httptest.NewRequest("GET", "/items/a-secret-of-the-path", nil)
	r.Header.Set("Cookie", cookieFor(id))
	m.LoadAndSave(mux).ServeHTTP(httptest.NewRecorder(), r)
	got := out.String()
	for _, part := range []string{"level=ERROR", "keys=[late]", "method=GET", "route=", "/items/"} {
		if !strings.Contains(got, part) {
			t.Errorf("%q is not in %s", part, got)
		}
	}
	if strings.Contains(got, "error=<nil>") || strings.Contains(got, "a-secret-of-the-path") {
		t.Errorf("log: %s", got)
	}

	out.Reset()
	serve(m, cookieFor(id), func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		within(t, m, id, func(ctx context.Context) { _ = m.Destroy(ctx) })
		if err := m.Touch(r.Context()); !errors.Is(err, adapter.ErrGone) {
			t.Errorf("Touch: %v", err)
		}
	})
	if got := out.String(); strings.Contains(got, "WARN") || strings.Contains(got, "ERROR") {
		t.Errorf("log: %s", got)
	}
}

// A response that went around the middleware's writer is an error in the log, not a
// silent loss. Gin's and Negroni's writers say that they have written, chi's has a status.
func TestAnswerAroundTheWriter(t *testing.T) {
	for name, writer := range map[string]func() http.ResponseWriter{
		"Written": func() http.ResponseWriter { return &tellingWriter{ResponseRecorder: httptest.NewRecorder()} },
		"Status":  func() http.ResponseWriter { return &chiWriter{ResponseWriter: httptest.NewRecorder()} },
	} {
		t.Run(name, func(t *testing.T) {
			out, store := &leaktest.Log{}, newMapStore()
			m := newManager(t, adapter.Options{Store: fullStore{store}, Logger: out.Logger()})
			id := begin(t, m, map[string]any{"user": "u"})
			run := func(cookie string, around bool) {
				r := httptest.NewRequest("GET", "/", nil)
				r.Header.Set("Cookie", cookie)
				w := writer()
				m.LoadAndSave(http.HandlerFunc(func(ours http.ResponseWriter, r *http.Request) {
					m.Put(r.Context(), "k", 1)
					if around {
						w.WriteHeader(http.StatusOK) // the framework's own writer
					}
				})).ServeHTTP(w, r)
				for _, c := range (&http.Response{Header: w.Header()}).Cookies() {
					leaktest.Note(c.Value)
				}
				if sent := w.Header().Get("Set-Cookie") != ""; sent != (cookie == "" && !around) {
					t.Errorf("a cookie is set: %t", sent)
				}
			}
			run(cookieFor(id), true)
			if got := read(t, m, id); got["k"] != 1 || !strings.Contains(out.String(), "level=ERROR") || !strings.Contains(out.String(), "LoadAndSave hands on") {
				t.Errorf("stored %v, log %s", got, out)
			}
			out.Reset()
			run("", true)
			if len(store.records) != 1 || !strings.Contains(out.String(), "level=ERROR") {
				t.Errorf("%d records, log %s", len(store.records), out)
			}
			out.Reset()
			run(cookieFor(id), false)
			run("", false) // the writer has not begun, so the cookie is sent
			serve(m, cookieFor(id), func(http.ResponseWriter, *http.Request) {})
			if got := out.String(); got != "" || len(store.records) != 2 {
				t.Errorf("%d records, log: %s", len(store.records), got)
			}
		})
	}
}

// chiWriter has the status as chi's does: 0 until it is written.
type chiWriter struct {
	http.ResponseWriter
	status, bytes int
}

func (w *chiWriter) Status() int       { return w.status }
func (w *chiWriter) BytesWritten() int { return w.bytes }

func (w *chiWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *chiWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += n
	return n, err
}

type tellingWriter struct {
	*httptest.ResponseRecorder
	written bool
}

func (w *tellingWriter) Written() bool { return w.written }
func (w *tellingWriter) WriteHeader(status int) {
	w.written = true
	w.ResponseRecorder.WriteHeader(status)
}

// A user who ends all other sessions keeps the own one, also if another tab moves it to the
// hash of its id meanwhile.
func TestEndAllOthersWhileIDsMove(t *testing.T) {
	for name, meanwhile := range map[string]bool{"before the sweep": false, "in the sweep": true} {
		t.Run(name, func(t *testing.T) {
			store := newMapStore()
			before := newManager(t, adapter.Options{Store: fullStore{store}})
			own := begin(t, before, map[string]any{"user": "u"})
			begin(t, before, map[string]any{"user": "u"})
			m := newManager(t, adapter.Options{Store: fullStore{store}, StoreKey: adapter.StoreKeyMigrating})
			w := within(t, m, own, func(ctx context.Context) {
				otherTab := func() { within(t, m, own, func(context.Context) {}) }
				if !meanwhile {
					otherTab()
				}
				if _, err := m.DestroyWhere(ctx, func(c context.Context) bool {
					if meanwhile {
						meanwhile = false
						otherTab()
					}
					return m.ID(c) != m.ID(ctx)
				}); err != nil {
					t.Error(err)
				}
			})
			if got := userOf(m, cookieFor(own)); got != "u" {
				t.Errorf("signed in as %q; Set-Cookie %q", got, w.Header().Get("Set-Cookie"))
			}
		})
	}
}

// A record that the store can't hold is the handler's mistake: the error names the keys
// that were changed, and no value.
func TestRejectedRecordNamesItsKeys(t *testing.T) {
	everyStore(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager, store *mapStore) {
		id := begin(t, m, map[string]any{"user": "secret", "cart": "secret"})
		within(t, m, id, func(ctx context.Context) {
			m.Put(ctx, "note", "secret")
			m.Put(ctx, "user", "secret too")
			refused := fmt.Errorf("no NUL bytes: %w", contract.ErrRejected)
			store.fail = map[string]error{"replace": refused, "commit": refused}
			defer func() { store.fail = nil }()
			err := m.Save(ctx)
			var failure *adapter.StoreError
			if !errors.Is(err, contract.ErrRejected) || errors.As(err, &failure) || strings.Contains(err.Error(), "secret") ||
				!strings.HasPrefix(err.Error(), `session: save: the keys ["note" "user"] were changed: `) {
				t.Errorf("Save gave %v", err)
			}
		})
	})
}
