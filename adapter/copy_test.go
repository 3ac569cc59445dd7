package adapter_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends/contract"
	"github.com/samesid/samesid/backends/memory"
)

// pass copies once and checks the counts.
func pass(t *testing.T, from, to *adapter.Manager, want adapter.Copied) {
	t.Helper()
	var last adapter.Copied
	got, err := from.CopyTo(t.Context(), to, func(n adapter.Copied) { last = n })
	if err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	if last != got {
		t.Errorf("progress ended with %+v", last)
	}
}

// What a user has goes along, from each codec to each, and so do later changes and the logout.
func TestCopyTo(t *testing.T) {
	codecs := map[string]scs.Codec{"gob": scs.GobCodec{}, "json": adapter.JSONCodec{}}
	for from, fromCodec := range codecs {
		for to, toCodec := range codecs {
			for _, options := range []adapter.Options{
				{},
				{Cookie: adapter.Cookie{MaxAge: time.Hour}, ResendAfter: time.Minute},
				{Cookie: adapter.Cookie{MaxAge: time.Hour}, AbsoluteLifetime: 24 * time.Hour, UserPath: "user.id"},
			} {
				name := fmt.Sprintf("%s to %s, age %v, resend %v, lifetime %v", from, to, options.Cookie.MaxAge, options.ResendAfter, options.AbsoluteLifetime)
				t.Run(name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { testCopy(t, options, fromCodec, toCodec) })
				})
			}
		}
	}
}

func testCopy(t *testing.T, o adapter.Options, fromCodec, toCodec scs.Codec) {
	source, target := newMapStore(), newMapStore()
	o.Store, o.Codec = fullStore{source}, fromCodec
	a := newManager(t, o)
	o.Store, o.Codec = fullStore{target}, toCodec
	b := newManager(t, o)

	ann := begin(t, a, map[string]any{"n": 7, "name": "Ann", "user": map[string]any{"id": "ann"}})
	var bob string
	serve(a, "", func(_ http.ResponseWriter, r *http.Request) {
		bob = a.ID(r.Context())
		a.Put(r.Context(), "n", 1)
		a.SetMaxAge(r.Context(), 5*time.Hour)
		if err := adapter.Put(r.Context(), a, "cart", []string{"tea"}); err != nil {
			t.Error(err)
		}
	})
	time.Sleep(20 * time.Minute) // of the bubble's
	pass(t, a, b, adapter.Copied{Sessions: 2, Written: 2})
	pass(t, a, b, adapter.Copied{Sessions: 2})
	time.Sleep(10 * time.Minute)
	pass(t, a, b, adapter.Copied{Sessions: 2})
	for id, r := range source.records {
		if got := target.records[id]; !got.expiry.Equal(r.expiry) {
			t.Errorf("a session ends at %v, not %v", got.expiry, r.expiry)
		}
	}

	// It is the same session: its data, its own age, its cookie.
	type seen struct {
		n      int
		name   string
		cart   []string
		age    time.Duration
		ends   time.Time
		cookie string
	}
	look := func(m *adapter.Manager, id string) (s seen) {
		w := serve(m, cookieFor(id), func(_ http.ResponseWriter, r *http.Request) {
			ctx := r.Context()
			s.n, s.name = m.GetInt(ctx, "n"), m.GetString(ctx, "name")
			s.cart, _ = adapter.Get[[]string](ctx, m, "cart")
			s.age, _ = m.OriginalMaxAge(ctx)
			if o.AbsoluteLifetime > 0 {
				s.ends = m.Deadline(ctx).Truncate(time.Second)
			}
		})
		s.cookie = w.Header().Get("Set-Cookie")
		return s
	}
	for _, id := range []string{ann, bob} {
		got, want := look(b, id), look(a, id)
		if fmt.Sprint(got) != fmt.Sprint(want) || want.n == 0 {
			t.Errorf("the copy has\n%+v, not\n%+v", got, want)
		}
	}
	if o.UserPath != "" {
		if n, err := b.DestroyUser(t.Context(), "ann"); n != 1 || err != nil {
			t.Errorf("the copy has %d sessions of Ann's, %v", n, err)
		}
		if n, err := a.DestroyUser(t.Context(), "ann"); n != 1 || err != nil {
			t.Error(n, err)
		}
		time.Sleep(time.Second) // a login at the same moment would end too
		ann = begin(t, a, map[string]any{"n": 7, "name": "Ann", "user": map[string]any{"id": "ann"}})
	}
	if _, err := a.CopyTo(t.Context(), b, nil); err != nil {
		t.Error(err)
	}
	pass(t, a, b, adapter.Copied{Sessions: 2})

	// An age of its own that changes without the data.
	serve(a, cookieFor(bob), func(_ http.ResponseWriter, r *http.Request) {
		a.SetMaxAge(r.Context(), 3*time.Hour)
		if err := a.Save(r.Context()); err != nil {
			t.Error(err)
		}
	})
	if n, err := a.CopyTo(t.Context(), b, nil); n.Changes() != 1 || err != nil || look(b, bob).age != 3*time.Hour {
		t.Errorf("a new age: %+v, %v", n, err)
	}

	// What has changed since.
	serve(a, cookieFor(ann), func(_ http.ResponseWriter, r *http.Request) { a.Put(r.Context(), "n", 8) })
	serve(a, cookieFor(bob), func(_ http.ResponseWriter, r *http.Request) { _ = a.Destroy(r.Context()) })
	pass(t, a, b, adapter.Copied{Sessions: 1, Written: 1, Ended: 1})
	if got := read(t, b, ann)["n"]; got != 8 {
		t.Errorf("the copy has n = %v", got)
	}
	if read(t, b, bob) != nil {
		t.Error("a session that was logged out of is alive in the copy")
	}
	// A use slides the expiry alone.
	if o.ResendAfter == 0 {
		time.Sleep(2 * time.Minute)
		serve(a, cookieFor(ann), func(http.ResponseWriter, *http.Request) {})
		want := adapter.Copied{Sessions: 1, Moved: 1}
		if _, ok := toCodec.(adapter.JSONCodec); ok && fromCodec != toCodec && o.Cookie.MaxAge > 0 {
			want = adapter.Copied{Sessions: 1, Written: 1} // as the cookie in a JSON record has its end
		}
		pass(t, a, b, want)
	}
	// What the copy has of its own is not the app's.
	begin(t, b, map[string]any{"n": 1})
	pass(t, a, b, adapter.Copied{Sessions: 1, Ended: 1})
}

// Ids are hashed on the way, and never the other way round.
func TestCopyToStoreKeys(t *testing.T) {
	keys := []adapter.StoreKey{adapter.StoreKeyID, adapter.StoreKeyMigrating, adapter.StoreKeyHash}
	for i, from := range keys {
		for j, to := range keys {
			t.Run(fmt.Sprint(from, " to ", to), func(t *testing.T) {
				a := newManager(t, adapter.Options{StoreKey: from})
				b := newManager(t, adapter.Options{StoreKey: to})
				id := begin(t, a, map[string]any{"k": "v"})
				gone := begin(t, a, map[string]any{"k": "v"})
				if i > j && to != adapter.StoreKeyMigrating || from == adapter.StoreKeyMigrating && to == adapter.StoreKeyHash {
					if _, err := a.CopyTo(t.Context(), b, nil); err == nil || !strings.Contains(err.Error(), "Options.StoreKey") {
						t.Errorf("error %v", err)
					}
					return
				}
				pass(t, a, b, adapter.Copied{Sessions: 2, Written: 2})
				has := func(id string) (there bool) {
					serve(b, cookieFor(id), func(_ http.ResponseWriter, r *http.Request) { there = b.GetString(r.Context(), "k") == "v" })
					return there
				}
				if !has(id) || !has(gone) {
					t.Error("a session is not found in the copy")
				}
				serve(a, cookieFor(gone), func(_ http.ResponseWriter, r *http.Request) { _ = a.Destroy(r.Context()) })
				if _, err := a.CopyTo(t.Context(), b, nil); err != nil || !has(id) || has(gone) {
					t.Errorf("after a logout: the one that is left %v, the one that was ended %v, %v", has(id), has(gone), err)
				}
			})
		}
	}
}

// A store of scs's, which tells no expiry and can't compare and set.
func TestCopyFromPlainStore(t *testing.T) {
	for name, codec := range map[string]scs.Codec{"gob": scs.GobCodec{}, "json": adapter.JSONCodec{}} {
		t.Run(name, func(t *testing.T) {
			sm := scs.New() // outside of the bubble, as its store cleans up for ever
			synctest.Test(t, func(t *testing.T) {
				plain := newMapStore()
				sm.Store, sm.Lifetime = plainStore{plain}, time.Hour
				a := adapter.MustWrap(sm, adapter.Options{Secrets: []string{secret}})
				target := newMapStore()
				b := newManager(t, adapter.Options{Store: fullStore{target}, Codec: codec, AbsoluteLifetime: time.Hour})
				id := begin(t, a, map[string]any{"k": "v"})
				time.Sleep(10 * time.Minute)
				pass(t, a, b, adapter.Copied{Sessions: 1, Written: 1})
				pass(t, a, b, adapter.Copied{Sessions: 1})
				if got, want := target.records[id].expiry, plain.records[id].expiry; !got.Equal(want) {
					t.Errorf("the copy ends at %v, not %v", got, want)
				}
				if n, err := b.CopyTo(t.Context(), a, nil); err != nil || n.Sessions != 1 {
					t.Errorf("on the way back: %+v, %v", n, err) // JSON has written the age down
				}
				pass(t, b, a, adapter.Copied{Sessions: 1})
				serve(b, cookieFor(id), func(_ http.ResponseWriter, r *http.Request) { _ = b.Destroy(r.Context()) })
				pass(t, b, a, adapter.Copied{Ended: 1})
			})
		})
	}
}

// A store that keeps lists of users is told of those that come.
func TestCopyNotesUsers(t *testing.T) {
	o := adapter.Options{Store: memory.New(memory.Options{}), UserPath: "user.id"}
	a := newManager(t, o)
	o.Store = memory.New(memory.Options{})
	b := newManager(t, o)
	for range 3 {
		begin(t, a, map[string]any{"user": map[string]any{"id": "ann"}})
	}
	begin(t, a, map[string]any{"user": map[string]any{"id": "bob"}})
	pass(t, a, b, adapter.Copied{Sessions: 4, Written: 4})
	if n, err := b.DestroyUser(t.Context(), "ann"); n != 3 || err != nil {
		t.Errorf("the copy has %d sessions of Ann's, %v", n, err)
	}
}

// It is told of those too that were copied before it had userPath, and have not changed since.
func TestCopyNotesUsersAfterwards(t *testing.T) {
	a := newManager(t, adapter.Options{})
	begin(t, a, map[string]any{"user": map[string]any{"id": "ann"}})
	o := adapter.Options{Store: memory.New(memory.Options{})}
	pass(t, a, newManager(t, o), adapter.Copied{Sessions: 1, Written: 1})
	o.UserPath = "user.id"
	b := newManager(t, o)
	pass(t, a, b, adapter.Copied{Sessions: 1})
	if n, err := b.DestroyUser(t.Context(), "ann"); n != 1 || err != nil {
		t.Errorf("the copy has %d sessions of Ann's, %v", n, err)
	}
}

// The copy's settings may be others, and what a store has may be of several formats.
func TestCopyOddRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, target := newMapStore(), newMapStore()
		a := newManager(t, adapter.Options{Store: fullStore{source}, Cookie: adapter.Cookie{MaxAge: time.Hour}})
		begin(t, a, map[string]any{"k": "gob"})
		a = newManager(t, adapter.Options{Store: fullStore{source}, Cookie: adapter.Cookie{MaxAge: time.Hour}, Codec: adapter.JSONCodec{}})
		begin(t, a, map[string]any{"k": "json"})
		late, err := scs.GobCodec{}.Encode(time.Now().Add(time.Minute), map[string]any{"k": "late"})
		if err != nil {
			t.Fatal(err)
		}
		source.put("past its deadline", late, time.Now().Add(time.Hour))
		time.Sleep(5 * time.Minute)

		// To JSON: nothing of gob is left.
		b := newManager(t, adapter.Options{Store: fullStore{target}, Codec: adapter.JSONCodec{}, Cookie: adapter.Cookie{MaxAge: 2 * time.Hour}, ResendAfter: time.Minute})
		pass(t, a, b, adapter.Copied{Sessions: 2, Written: 2})
		time.Sleep(5 * time.Minute)
		pass(t, a, b, adapter.Copied{Sessions: 2})
		for _, r := range target.records {
			if r.data[0] != '{' {
				t.Error("a record in gob was copied to a store of JSON")
			}
		}

		// To gob: scs itself reads it, with the end that the store has.
		target = newMapStore()
		b = newManager(t, adapter.Options{Store: fullStore{target}})
		pass(t, a, b, adapter.Copied{Sessions: 2, Written: 2})
		for id, r := range target.records {
			deadline, values, err := scs.GobCodec{}.Decode(r.data)
			if err != nil || !deadline.Equal(source.records[id].expiry) || values["k"] == nil {
				t.Errorf("scs reads %v until %v, not %v: %v", values, deadline, source.records[id].expiry, err)
			}
		}
	})
}

// rejects is a store that can't hold what has a word in it.
type rejects struct {
	fullStore
	word string
}

func (s rejects) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	if bytes.Contains(data, []byte(s.word)) {
		return nil, false, fmt.Errorf("too much: %w", contract.ErrRejected)
	}
	return s.fullStore.Swap(ctx, token, old, data, expiry)
}

// One that can't be copied is named, and keeps none of the others back.
func TestCopyRefused(t *testing.T) {
	var log bytes.Buffer
	store := newMapStore()
	a := newManager(t, adapter.Options{Store: fullStore{store}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	b := newManager(t, adapter.Options{Store: rejects{fullStore{newMapStore()}, "huge"}, Codec: adapter.JSONCodec{}})
	begin(t, a, map[string]any{"k": "huge"})
	good := begin(t, a, map[string]any{"k": "small"})
	store.put("unreadable", []byte("neither"), time.Now().Add(time.Hour))
	pass(t, a, b, adapter.Copied{Sessions: 3, Written: 1, Refused: 2})
	if read(t, b, good) == nil {
		t.Error("the good one is not there")
	}
	if n := strings.Count(log.String(), "can't be copied"); n != 2 || strings.Contains(log.String(), "unreadable ") {
		t.Errorf("the log has it %d times:\n%s", n, &log)
	}
}

// A session that has been copied, and then ends or can't be copied any more, is not left
// there as it was.
func TestCopyKeepsNothingOld(t *testing.T) {
	for _, to := range []adapter.StoreKey{adapter.StoreKeyID, adapter.StoreKeyHash} {
		t.Run(fmt.Sprint(to), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source, target := newMapStore(), newMapStore()
				a := newManager(t, adapter.Options{Store: fullStore{source}, Logger: slog.New(slog.DiscardHandler)})
				b := newManager(t, adapter.Options{Store: rejects{fullStore{target}, "huge"}, StoreKey: to, Codec: adapter.JSONCodec{}})
				good, huge, garbled := begin(t, a, map[string]any{"k": 1}), begin(t, a, map[string]any{"k": 1}), begin(t, a, map[string]any{"k": 1})
				late, err := scs.GobCodec{}.Encode(time.Now().Add(time.Minute), map[string]any{"k": "late"})
				if err != nil {
					t.Fatal(err)
				}
				source.put("an end of its own", late, time.Now().Add(time.Hour))
				pass(t, a, b, adapter.Copied{Sessions: 4, Written: 4})

				serve(a, cookieFor(huge), func(_ http.ResponseWriter, r *http.Request) { a.Put(r.Context(), "k", "huge") })
				source.put(garbled, []byte("neither"), time.Now().Add(time.Hour))
				time.Sleep(2 * time.Minute)
				pass(t, a, b, adapter.Copied{Sessions: 3, Ended: 3, Refused: 2})
				pass(t, a, b, adapter.Copied{Sessions: 3, Refused: 2})
				serve(b, cookieFor(good), func(_ http.ResponseWriter, r *http.Request) {
					if n := b.GetInt(r.Context(), "k"); n != 1 || len(target.records) != 1 {
						t.Errorf("the copy has %d sessions, one with %d", len(target.records), n)
					}
				})
			})
		})
	}
}

// prefixed is a store whose records are those of a bigger one that begin with a prefix.
type prefixed struct {
	fullStore
	prefix string
}

func (s prefixed) Prefix() string { return s.prefix }

func (s prefixed) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	return s.fullStore.FindCtx(ctx, s.prefix+token)
}

func (s prefixed) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	return s.fullStore.Swap(ctx, s.prefix+token, old, data, expiry)
}

func (s prefixed) DeleteCtx(ctx context.Context, token string) error {
	return s.fullStore.DeleteCtx(ctx, s.prefix+token)
}

// Two stores are not copied if one has the other's records among its own.
func TestCopyBetweenPrefixes(t *testing.T) {
	one, another := newMapStore(), newMapStore()
	for _, c := range []struct {
		from, to prefixed
		want     string
	}{
		{prefixed{fullStore{one}, "sess:"}, prefixed{fullStore{one}, "sess:new:"}, "another prefix"},
		{prefixed{fullStore{one}, "sess:new:"}, prefixed{fullStore{one}, "sess:"}, "another prefix"},
		{prefixed{fullStore{one}, "sess:"}, prefixed{fullStore{one}, "sess:"}, "the same store"},
		{prefixed{fullStore{one}, "sess:"}, prefixed{fullStore{another}, "sess:new:"}, ""},
		{prefixed{fullStore{one}, "sess:new:"}, prefixed{fullStore{another}, "sess:"}, ""},
		{prefixed{fullStore{one}, "sess:"}, prefixed{fullStore{one}, "scs:"}, ""},
	} {
		_, err := newManager(t, adapter.Options{Store: c.from}).CopyTo(t.Context(), newManager(t, adapter.Options{Store: c.to}), nil)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("from %s to %s gave %v, want %q", c.from.prefix, c.to.prefix, err, c.want)
		}
		if len(one.records)+len(another.records) > 0 {
			t.Error("the record that was tried is left")
		}
	}
}

// A store that fails ends the pass with its error.
func TestCopyFails(t *testing.T) {
	down := errors.New("down")
	for _, call := range []string{"a all", "a findexpiry", "b findexpiry", "b create", "b all", "a find", "b take"} {
		t.Run(call, func(t *testing.T) {
			source, target := newMapStore(), newMapStore()
			a := newManager(t, adapter.Options{Store: fullStore{source}})
			b := newManager(t, adapter.Options{Store: fullStore{target}})
			for range 200 {
				begin(t, a, map[string]any{"k": "v"})
			}
			begin(t, b, map[string]any{"k": "v"})
			store, name := source, call[2:]
			if call[0] == 'b' {
				store = target
			}
			store.fail = map[string]error{name: down}
			if _, err := a.CopyTo(t.Context(), b, nil); !errors.Is(err, down) {
				t.Errorf("error %v", err)
			}
			store.fail = nil
			if n, err := a.CopyTo(t.Context(), b, nil); err != nil || n.Sessions != 200 {
				t.Errorf("afterwards %+v, %v", n, err)
			}
			pass(t, a, b, adapter.Copied{Sessions: 200})
		})
	}
	a := newManager(t, adapter.Options{})
	if _, err := a.CopyTo(t.Context(), a, nil); err == nil {
		t.Error("a store can be copied to itself")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.CopyTo(ctx, newManager(t, adapter.Options{}), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// canceling is a store of a copy that is interrupted while it looks there for the first time.
type canceling struct {
	fullStore
	cancel context.CancelFunc
}

func (s canceling) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	s.cancel()
	return nil, false, ctx.Err()
}

// heeding is a store that does nothing for a context that has ended.
type heeding struct{ fullStore }

func (s heeding) DeleteCtx(ctx context.Context, token string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.fullStore.DeleteCtx(ctx, token)
}

// A copy that is interrupted leaves no record that it has made for itself.
func TestCopyInterruptedAtOnce(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	target := newMapStore()
	a := newManager(t, adapter.Options{Store: canceling{fullStore{newMapStore()}, cancel}})
	b := newManager(t, adapter.Options{Store: heeding{fullStore{target}}})
	if _, err := a.CopyTo(ctx, b, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if len(target.records) > 0 {
		t.Error("the record that was tried is left")
	}
}

// loggedOut is a store whose session ends after it was listed.
type loggedOut struct{ fullStore }

func (s loggedOut) AllCtx(ctx context.Context) (map[string][]byte, error) {
	all, err := s.fullStore.AllCtx(ctx)
	for token := range all {
		_ = s.DeleteCtx(ctx, token)
	}
	return all, err
}

// A session that ends between being listed and being written is not written.
func TestCopyAfterLogout(t *testing.T) {
	a := newManager(t, adapter.Options{Store: loggedOut{fullStore{newMapStore()}}})
	b := newManager(t, adapter.Options{})
	begin(t, a, map[string]any{"k": "v"})
	pass(t, a, b, adapter.Copied{})
	if all := slices.Collect(func(yield func(string) bool) {
		_ = b.Iterate(t.Context(), func(ctx context.Context) error { yield(b.Token(ctx)); return nil })
	}); len(all) > 0 {
		t.Error("the session is alive in the copy")
	}
}
