package adapter_test

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends/contract"
)

// The cases here are writes that were done, or may have been, although their reply was lost.

// A Save whose reply was lost may have been done, and the next one goes on from it.
func TestSaveWhoseReplyWasLost(t *testing.T) {
	for name, change := range map[string]func(m *adapter.Manager, ctx context.Context) error{
		"create": func(m *adapter.Manager, ctx context.Context) error { return nil },
		"renew":  func(m *adapter.Manager, ctx context.Context) error { return m.RenewToken(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			store := &deafStore{fullStore: fullStore{newMapStore()}}
			bothCodecs(t, adapter.Options{Store: store}, func(t *testing.T, m *adapter.Manager) {
				cookie := ""
				if name != "create" {
					cookie = cookieFor(begin(t, m, map[string]any{"user": "u"}))
				}
				var id string
				w := serve(m, cookie, func(w http.ResponseWriter, r *http.Request) {
					ctx := r.Context()
					m.Put(ctx, "a", 1)
					m.Put(ctx, "b", 1)
					if err := change(m, ctx); err != nil {
						t.Error(err)
					}
					store.deaf = true
					if err := m.Save(ctx); err == nil {
						t.Error("no error")
					}
					store.deaf = false
					m.Remove(ctx, "b")
					m.Put(ctx, "c", 1)
					if err := m.Save(ctx); err != nil {
						t.Error(err)
					}
					id = m.ID(ctx)
				})
				got := read(t, m, id)
				if delete(got, "user"); w.Code != http.StatusOK || !reflect.DeepEqual(got, map[string]any{"a": 1, "c": 1}) {
					t.Errorf("status %d, stored %v", w.Code, got)
				}
			})
		})
	}
}

// A write whose reply was lost is not taken for done because another session has the id
// that GenID has returned.
func TestLostReplyAndAnIDInUse(t *testing.T) {
	const id = "not-random-at-all"
	bothCodecs(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager) {
		store := newMapStore()
		genID := func(*http.Request) string { return id }
		m = newManager(t, adapter.Options{Store: fullStore{store}, Codec: m.Codec, GenID: genID})
		var other string
		w := serve(m, "", func(w http.ResponseWriter, r *http.Request) {
			m.Put(r.Context(), "user", "mine")
			store.fail = map[string]error{"create": errors.New("connection refused")}
			if m.Save(r.Context()) == nil {
				t.Error("no error")
			}
			store.fail = nil
			begin(t, m, map[string]any{"user": "other"})
			other = string(store.records[id].data)
		})
		if w.Code != http.StatusInternalServerError || w.Header().Get("Set-Cookie") != "" {
			t.Errorf("status %d, Set-Cookie %q", w.Code, w.Header().Get("Set-Cookie"))
		}
		if got := string(store.records[id].data); got != other {
			t.Errorf("the other session's record was %q and is %q", other, got)
		}
	})
}

// A session that Regenerate ends is ended wherever a write whose reply was lost has put it.
func TestRegenerateAfterALostReply(t *testing.T) {
	for name, first := range map[string]func(m *adapter.Manager, ctx context.Context) error{
		"create": func(m *adapter.Manager, ctx context.Context) error { return nil },
		"renew":  func(m *adapter.Manager, ctx context.Context) error { return m.RenewToken(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			bothCodecs(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager) {
				store := &deafStore{fullStore: fullStore{newMapStore()}}
				m = newManager(t, adapter.Options{Store: store, Codec: m.Codec})
				cookie := ""
				if name != "create" {
					cookie = cookieFor(begin(t, m, map[string]any{"user": "u"}))
				}
				var id string
				serve(m, cookie, func(w http.ResponseWriter, r *http.Request) {
					ctx := r.Context()
					m.Put(ctx, "a", 1)
					if err := first(m, ctx); err != nil {
						t.Error(err)
					}
					store.deaf = true
					_ = m.Save(ctx)
					store.deaf = false
					if err := m.Regenerate(ctx); err != nil {
						t.Error(err)
					}
					m.Put(ctx, "b", 1)
					id = m.ID(ctx)
				})
				if got := read(t, m, id); len(store.records) != 1 || !reflect.DeepEqual(got, map[string]any{"b": 1}) {
					t.Errorf("%d records, the new one has %v", len(store.records), got)
				}
			})
		})
	}
}

// Once a Save was done and its reply lost, what was removed since stays removed, and a
// session that was merged since ends.
func TestSaveAfterALostReply(t *testing.T) {
	bothCodecs(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager) {
		store := &deafStore{fullStore: fullStore{newMapStore()}}
		m = newManager(t, adapter.Options{Store: store, Codec: m.Codec})
		id := begin(t, m, map[string]any{"user": "u"})
		other := begin(t, m, map[string]any{"cart": 1})
		within(t, m, id, func(ctx context.Context) {
			m.Put(ctx, "a", 1)
			store.deaf = true
			_ = m.Save(ctx)
			store.deaf = false
			m.Remove(ctx, "a")
			if err := m.MergeSession(ctx, other); err != nil {
				t.Error(err)
			}
			within(t, m, id, func(ctx context.Context) { m.Put(ctx, "theirs", 1) })
		})
		got := read(t, m, id)
		if !reflect.DeepEqual(got, map[string]any{"user": "u", "theirs": 1, "cart": 1}) || read(t, m, other) != nil {
			t.Errorf("the session has %v, the other one %v", got, read(t, m, other))
		}
	})
}

// A move whose reply was lost is known to Touch too.
func TestTouchAfterALostMove(t *testing.T) {
	store := &deafStore{fullStore: fullStore{newMapStore()}}
	m := newManager(t, adapter.Options{Store: store})
	id := begin(t, m, map[string]any{"user": "u"})
	var next string
	within(t, m, id, func(ctx context.Context) {
		if err := m.RenewToken(ctx); err != nil {
			t.Error(err)
		}
		store.deaf = true
		_ = m.Save(ctx)
		store.deaf = false
		m.Put(ctx, "a", 1)
		if err := m.Touch(ctx); err != nil {
			t.Errorf("Touch: %v", err)
		}
		next = m.ID(ctx)
	})
	if got := read(t, m, next); got["user"] != "u" || got["a"] != 1 {
		t.Errorf("the session has %v", got)
	}
}

// A merge whose reply was lost has its values still after the next save, and leaves one
// record, on a store with Move and on one without.
func TestMergeWhoseReplyWasLost(t *testing.T) {
	for name, deaf := range map[string]func(*deafStore) scs.Store{
		"move": func(s *deafStore) scs.Store { return s },
		"swap": func(s *deafStore) scs.Store { return swapStore{s.mapStore, s.mapStore, s} },
	} {
		t.Run(name, func(t *testing.T) {
			bothCodecs(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager) {
				store := &deafStore{fullStore: fullStore{newMapStore()}}
				m = newManager(t, adapter.Options{Store: deaf(store), Codec: m.Codec})
				other := begin(t, m, map[string]any{"cart": 1})
				var id string
				w := serve(m, "", func(w http.ResponseWriter, r *http.Request) {
					ctx := r.Context()
					if err := m.MergeSession(ctx, other); err != nil {
						t.Error(err)
					}
					store.deaf = true
					if err := m.Save(ctx); err == nil {
						t.Error("no error")
					}
					store.deaf = false
					m.Put(ctx, "user", "u")
					if err := m.Save(ctx); err != nil {
						t.Error(err)
					}
					id = m.ID(ctx)
				})
				got := read(t, m, id)
				if w.Code != http.StatusOK || len(store.records) != 1 || !reflect.DeepEqual(got, map[string]any{"cart": 1, "user": "u"}) {
					t.Errorf("status %d, %d records, the session has %v", w.Code, len(store.records), got)
				}
			})
		})
	}
}

// A store without Move, whose delete is done and says that it failed, loses no session.
func TestMoveWhoseDeleteIsLost(t *testing.T) {
	for name, do := range map[string]func(m *adapter.Manager, ctx context.Context, other string) error{
		"renew":      func(m *adapter.Manager, ctx context.Context, _ string) error { return m.RenewToken(ctx) },
		"regenerate": func(m *adapter.Manager, ctx context.Context, _ string) error { return m.Regenerate(ctx) },
		"merge":      func(m *adapter.Manager, ctx context.Context, other string) error { return m.MergeSession(ctx, other) },
		"migrate":    func(m *adapter.Manager, ctx context.Context, _ string) error { return nil },
	} {
		for kind, swaps := range map[string]bool{"plain": false, "swap": true} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				s := newMapStore()
				before := newManager(t, adapter.Options{Store: fullStore{s}})
				id := begin(t, before, map[string]any{"user": "u"})
				other := begin(t, before, map[string]any{"cart": 1})
				lost := false
				var store scs.Store = &deafDelete{plainStore{s}, &lost}
				if swaps {
					store = swapStore{s, s, deafTake{fullStore{s}, &lost}}
				}
				o := adapter.Options{Store: store}
				if name == "migrate" {
					o.StoreKey = adapter.StoreKeyMigrating
				}
				m := newManager(t, o)
				w := serve(m, cookieFor(id), func(w http.ResponseWriter, r *http.Request) {
					if err := do(m, r.Context(), other); err != nil {
						t.Error(err)
					}
					lost = true
				})
				if w.Code != http.StatusServiceUnavailable || lost {
					t.Errorf("status %d", w.Code)
				}
				serve(m, cookieFor(id), func(w http.ResponseWriter, r *http.Request) {
					if m.GetString(r.Context(), "user") != "u" {
						t.Error("the session is lost")
					}
				})
				if _, ok := s.records[other]; !ok {
					t.Error("the other session is lost")
				}
			})
		}
	}
}

type deafDelete struct {
	plainStore
	lost *bool
}

func (s *deafDelete) Delete(token string) error {
	err := s.plainStore.Delete(token)
	if *s.lost {
		*s.lost = false
		return errors.New("the reply was lost")
	}
	return err
}

type deafTake struct {
	fullStore
	lost *bool
}

func (s deafTake) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	current, swapped, err := s.fullStore.Swap(ctx, token, old, data, expiry)
	if *s.lost && data == nil {
		*s.lost = false
		return nil, false, errors.New("the reply was lost")
	}
	return current, swapped, err
}

// A driver that runs a write again because the first reply was lost finds its
// own bytes: that is a success, and no conflict with someone else.
func TestWriteThatWasRunTwice(t *testing.T) {
	store := newMapStore()
	m := newManager(t, adapter.Options{Store: twiceStore{fullStore{store}}})
	id := begin(t, m, map[string]any{"k": 0})
	store.takeCalls()
	within(t, m, id, func(ctx context.Context) { m.Put(ctx, "k", 1) })
	if got := store.takeCalls(); got != "findtouch replace replace" {
		t.Errorf("store calls %q", got)
	}
	if got := read(t, m, id); got["k"] != 1 {
		t.Errorf("record %v", got)
	}
}

type twiceStore struct{ fullStore }

func (s twiceStore) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	if _, _, err := s.fullStore.Swap(ctx, token, old, data, expiry); err != nil {
		return nil, false, err
	}
	return s.fullStore.Swap(ctx, token, old, data, expiry)
}

// deafStore does a write and reports that its reply was lost.
type deafStore struct {
	fullStore
	deaf bool
}

func (s *deafStore) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	current, swapped, err := s.fullStore.Swap(ctx, token, old, data, expiry)
	if s.deaf {
		return nil, false, errors.New("the reply was lost")
	}
	return current, swapped, err
}

func (s *deafStore) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	current, moved, err := s.fullStore.Move(ctx, from, to, data, expiry)
	if s.deaf {
		return nil, false, errors.New("the reply was lost")
	}
	return current, moved, err
}
