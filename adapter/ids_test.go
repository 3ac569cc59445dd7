package adapter_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/samesid/samesid/adapter"
)

// With hashed ids, who reads the store has nothing that a cookie could carry:
// neither the id, nor a hash that passes for one.
func TestHashedIDs(t *testing.T) {
	for _, form := range []adapter.StoreKey{adapter.StoreKeyHash, adapter.StoreKeyMigrating} {
		store := newMapStore()
		m := newManager(t, adapter.Options{Store: fullStore{store}, StoreKey: form})
		id := begin(t, m, map[string]any{"user": "u"})
		key := onlyKey(t, store)
		if key == id {
			t.Fatal("the id itself is in the store")
		}
		cookies := []string{"connect.sid=" + key, "connect.sid=s%3A" + key, "connect.sid=" + id}
		if form == adapter.StoreKeyHash {
			cookies = append(cookies, cookieFor(key)) // by someone who has the secret too
		}
		for i, cookie := range cookies {
			serve(m, cookie, func(w http.ResponseWriter, r *http.Request) {
				if m.Exists(r.Context(), "user") {
					t.Errorf("cookie %d is taken for the session's", i)
				}
			})
		}
		serve(m, cookieFor(id), func(w http.ResponseWriter, r *http.Request) {
			if !m.Exists(r.Context(), "user") {
				t.Error("the session is not found by its cookie")
			}
		})
	}
}

// A hash from the store, in an unsigned cookie where those are accepted, is no id.
func TestHashInAnUnsignedCookie(t *testing.T) {
	for _, form := range []adapter.Signature{adapter.SignatureNone, adapter.SignatureMigrating} {
		store := newMapStore()
		m := newManager(t, adapter.Options{Store: fullStore{store}, StoreKey: adapter.StoreKeyHash, Signature: form})
		id := begin(t, m, map[string]any{"user": "u"})
		for value, want := range map[string]bool{id: true, onlyKey(t, store): false} {
			serve(m, "connect.sid="+value, func(w http.ResponseWriter, r *http.Request) {
				if got := m.Exists(r.Context(), "user"); got != want {
					t.Errorf("signed in: %t, want %t", got, want)
				}
			})
		}
	}
}

// Sessions that were stored under their id live on under its hash from their
// next request, and a logout of one is final.
func TestMigrateIDs(t *testing.T) {
	store := newMapStore()
	before := newManager(t, adapter.Options{Store: fullStore{store}, Cookie: adapter.Cookie{MaxAge: time.Hour}})
	id := begin(t, before, map[string]any{"user": "u"})
	left := begin(t, before, map[string]any{"user": "v"})

	m := newManager(t, adapter.Options{Store: fullStore{store}, Cookie: adapter.Cookie{MaxAge: time.Hour}, StoreKey: adapter.StoreKeyMigrating})
	store.takeCalls()
	w := serve(m, cookieFor(id), func(w http.ResponseWriter, r *http.Request) {
		if m.GetString(r.Context(), "user") != "u" {
			t.Error("logged out by the change")
		}
		// Meanwhile another request, and a change in it.
		serve(m, cookieFor(id), func(w http.ResponseWriter, r *http.Request) { m.Put(r.Context(), "a", 1) })
		m.Put(r.Context(), "b", 2)
	})
	if w.Code != http.StatusOK || w.Header().Get("Set-Cookie") == "" {
		t.Errorf("status %d, Set-Cookie %q", w.Code, w.Header().Get("Set-Cookie"))
	}
	if got, want := store.takeCalls(), "findtouch find findtouch find move move find replace"; got != want {
		t.Errorf("calls %q, want %q", got, want)
	}
	if _, ok := store.records[id]; ok {
		t.Error("the session is still stored under its id")
	}
	serve(m, cookieFor(id), func(w http.ResponseWriter, r *http.Request) {
		if m.GetInt(r.Context(), "a") != 1 || m.GetInt(r.Context(), "b") != 2 {
			t.Error("an update is lost")
		}
		if err := m.Destroy(r.Context()); err != nil {
			t.Error(err)
		}
	})
	if len(store.records) != 1 {
		t.Errorf("%d records, want the other session's alone", len(store.records))
	}

	// A session that is renewed before anything else was read of it.
	serve(m, cookieFor(left), func(w http.ResponseWriter, r *http.Request) {
		if err := m.RenewToken(r.Context()); err != nil || m.GetString(r.Context(), "user") != "v" {
			t.Errorf("renewed: %v", err)
		}
	})
	if _, ok := store.records[left]; ok || len(store.records) != 1 {
		t.Error("the renewed session is not stored under a hash alone")
	}
}

// Of two requests that come at once, the later one finds what the other has
// renamed between its own two calls.
func TestMigrateIDsAtOnce(t *testing.T) {
	store := newMapStore()
	before := newManager(t, adapter.Options{Store: fullStore{store}})
	id := begin(t, before, map[string]any{"user": "u"})
	var m *adapter.Manager
	slow := &renamedMeanwhile{fullStore: fullStore{store}, other: func() {
		within(t, m, id, func(context.Context) {})
	}}
	m = newManager(t, adapter.Options{Store: slow, StoreKey: adapter.StoreKeyMigrating})
	within(t, m, id, func(ctx context.Context) {
		if !m.Exists(ctx, "user") {
			t.Error("logged out by the change")
		}
	})
}

type renamedMeanwhile struct {
	fullStore
	other func()
}

func (s *renamedMeanwhile) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	if other := s.other; other != nil {
		s.other = nil
		other()
	}
	return s.fullStore.FindCtx(ctx, token)
}

// A logout ends a session that another request has moved to its hash meanwhile.
func TestMigrateIDsBesideLogout(t *testing.T) {
	store := newMapStore()
	before := newManager(t, adapter.Options{Store: fullStore{store}})
	id := begin(t, before, map[string]any{"user": "u"})
	m := newManager(t, adapter.Options{Store: fullStore{store}, StoreKey: adapter.StoreKeyMigrating})
	within(t, m, id, func(ctx context.Context) {
		within(t, m, id, func(context.Context) {})
		if err := m.Destroy(ctx); err != nil {
			t.Error(err)
		}
	})
	if len(store.records) != 0 {
		t.Error("the session lives on under its hash")
	}
}

// A session that can't be moved stays where it is, and the request has an error.
func TestMigrateIDsFailsClosed(t *testing.T) {
	store := newMapStore()
	before := newManager(t, adapter.Options{Store: fullStore{store}})
	id := begin(t, before, map[string]any{"user": "u"})
	m := newManager(t, adapter.Options{Store: fullStore{store}, StoreKey: adapter.StoreKeyMigrating})
	store.fail = map[string]error{"move": errors.New("down")}
	w := serve(m, cookieFor(id), func(http.ResponseWriter, *http.Request) {})
	if w.Code != http.StatusServiceUnavailable || onlyKey(t, store) != id {
		t.Errorf("status %d", w.Code)
	}
	store.fail = nil
	within(t, m, id, func(ctx context.Context) {
		if !m.Exists(ctx, "user") {
			t.Error("logged out by the failure")
		}
	})
}

func onlyKey(t *testing.T, store *mapStore) string {
	t.Helper()
	if len(store.records) != 1 {
		t.Fatalf("%d records, want one", len(store.records))
	}
	for key := range store.records {
		return key
	}
	return ""
}

func TestRecordSizeLimit(t *testing.T) {
	everyStore(t, adapter.Options{MaxRecordSize: 1000}, func(t *testing.T, m *adapter.Manager, store *mapStore) {
		id := begin(t, m, map[string]any{"small": strings.Repeat("x", 500)})
		put := func(id, value string) *httptest.ResponseRecorder {
			return serve(m, cookieFor(id), func(w http.ResponseWriter, r *http.Request) { m.Put(r.Context(), "big", value) })
		}
		w := put(id, strings.Repeat("x", 500))
		if w.Code != http.StatusInternalServerError || w.Header().Get("Set-Cookie") != "" {
			t.Errorf("status %d, Set-Cookie %q", w.Code, w.Header().Get("Set-Cookie"))
		}
		within(t, m, id, func(ctx context.Context) {
			m.Put(ctx, "big", strings.Repeat("x", 500))
			err := m.Save(ctx)
			if !errors.Is(err, adapter.ErrRecordTooLarge) || !strings.Contains(err.Error(), "Options.MaxRecordSize is 1000") {
				t.Errorf("Save: %v", err)
			}
			m.Remove(ctx, "big")
		})
		if got := read(t, m, id); len(got) != 1 || got["small"] == nil {
			t.Errorf("stored: %v", got)
		}
		before := len(store.records)
		if w := put("", strings.Repeat("x", 1000)); w.Code != http.StatusInternalServerError || len(store.records) != before {
			t.Errorf("a new one: status %d, %d records more", w.Code, len(store.records)-before)
		}
	})
	store := newMapStore()
	id := begin(t, newManager(t, adapter.Options{Store: fullStore{store}}), map[string]any{"k": "v"})
	size := len(store.records[id].data)
	for limit, want := range map[int]int{size: http.StatusOK, size - 1: http.StatusInternalServerError} {
		m := newManager(t, adapter.Options{MaxRecordSize: limit})
		w := serve(m, "", func(w http.ResponseWriter, r *http.Request) { m.Put(r.Context(), "k", "v") })
		if w.Code != want {
			t.Errorf("a record of %d bytes, limit %d: status %d, want %d", size, limit, w.Code, want)
		}
	}
	for limit, want := range map[int]int{0: http.StatusInternalServerError, -1: http.StatusOK} {
		m := newManager(t, adapter.Options{MaxRecordSize: limit})
		w := serve(m, "", func(w http.ResponseWriter, r *http.Request) { m.Put(r.Context(), "k", strings.Repeat("x", 4<<20)) })
		if w.Code != want {
			t.Errorf("limit %d: status %d, want %d", limit, w.Code, want)
		}
	}
}

func TestStats(t *testing.T) {
	store := newMapStore()
	m := newManager(t, adapter.Options{Store: fullStore{store}})
	want := adapter.Stats{}
	check := func(what string) {
		t.Helper()
		if got := m.Stats(); got != want {
			t.Errorf("after %s: %+v, want %+v", what, got, want)
		}
	}
	id := begin(t, m, map[string]any{"user": "u"})
	within(t, m, id, func(ctx context.Context) { m.Put(ctx, "k", 1) })
	check("saves")

	within(t, m, id, func(ctx context.Context) {
		within(t, m, id, func(ctx context.Context) { m.Put(ctx, "a", 1) })
		m.Put(ctx, "b", 1)
	})
	want.Conflicts++
	check("two changes at once")

	serve(m, cookieFor(id), func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		m.Put(r.Context(), "late", 1)
	})
	want.LostChanges++
	check("a late change")

	for _, use := range []func(context.Context){
		func(ctx context.Context) { m.Put(ctx, "c", 1) },
		func(ctx context.Context) { _ = m.RenewToken(ctx) },
	} {
		id := begin(t, m, map[string]any{"user": "u"})
		within(t, m, id, func(ctx context.Context) {
			within(t, m, id, func(ctx context.Context) { _ = m.Destroy(ctx) })
			use(ctx)
		})
		want.DroppedWrites++
		check("a change to a session that was ended")
	}

	store.records[id] = mapRecord{[]byte("junk"), time.Now().Add(time.Hour)}
	within(t, m, id, func(context.Context) {})
	want.UnreadableRecords++
	check("an unreadable record")
}
