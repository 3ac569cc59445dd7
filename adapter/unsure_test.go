package adapter_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends/contract"
)

// failing makes the store refuse to write until the function that it returns is called.
func failing(store *mapStore) (mend func()) {
	store.fail = map[string]error{"create": errDown, "replace": errDown, "move": errDown, "commit": errDown}
	return func() { store.fail = nil }
}

var errDown = errors.New("connection refused")

// A move to the hash of the id that failed is not taken for done because another request
// has made it since.
func TestMigrationThatFailedBesideAnother(t *testing.T) {
	bothCodecs(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager) {
		store := newMapStore()
		id := begin(t, newManager(t, adapter.Options{Store: fullStore{store}, Codec: m.Codec}), map[string]any{"user": "u"})
		m = newManager(t, adapter.Options{Store: fullStore{store}, Codec: m.Codec, StoreKey: adapter.StoreKeyMigrating})
		within(t, m, id, func(ctx context.Context) {
			m.Put(ctx, "a", 1)
			mend := failing(store)
			if err := m.Save(ctx); err == nil {
				t.Error("no error")
			}
			mend()
			within(t, m, id, func(ctx context.Context) { m.Put(ctx, "b", 1) })
			if err := m.Save(ctx); err != nil {
				t.Error(err)
			}
		})
		within(t, m, id, func(ctx context.Context) {
			if got := m.Keys(ctx); !reflect.DeepEqual(got, []string{"a", "b", "user"}) {
				t.Errorf("the session has %v", got)
			}
		})
	})
}

// After Reload, a write that failed before it counts no more.
func TestReloadAfterAFailedSave(t *testing.T) {
	bothCodecs(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager) {
		store := newMapStore()
		m = newManager(t, adapter.Options{Store: fullStore{store}, Codec: m.Codec})
		id := begin(t, m, map[string]any{"k": 1})
		within(t, m, id, func(ctx context.Context) {
			m.Put(ctx, "y", 1)
			mend := failing(store)
			if err := m.Save(ctx); err == nil {
				t.Error("no error")
			}
			mend()
			within(t, m, id, func(ctx context.Context) { m.Put(ctx, "k", 2) })
			if err := m.Reload(ctx); err != nil {
				t.Error(err)
			}
			within(t, m, id, func(ctx context.Context) { m.Put(ctx, "k", 3) })
			m.Put(ctx, "x", 1)
		})
		if got := read(t, m, id); !reflect.DeepEqual(got, map[string]any{"k": 3, "x": 1}) {
			t.Errorf("the session has %v", got)
		}
	})
}

// What was put before RenewToken into a session that has ended since does not come back
// under the new id, although a write of it has lost its reply.
func TestRenewAfterALostReplyAndALogout(t *testing.T) {
	bothCodecs(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager) {
		store := &deafStore{fullStore: fullStore{newMapStore()}}
		m = newManager(t, adapter.Options{Store: store, Codec: m.Codec})
		id := begin(t, m, map[string]any{"user": "u"})
		var next string
		within(t, m, id, func(ctx context.Context) {
			m.Put(ctx, "a", 1)
			store.deaf = true
			_ = m.Save(ctx)
			store.deaf = false
			m.Put(ctx, "b", 1)
			within(t, m, id, func(ctx context.Context) { m.Put(ctx, "theirs", 1) })
			if err := m.RenewToken(ctx); err != nil {
				t.Error(err)
			}
			within(t, m, id, func(ctx context.Context) {
				if err := m.Destroy(ctx); err != nil {
					t.Error(err)
				}
			})
			m.Put(ctx, "after", 1)
			next = m.ID(ctx)
		})
		if got := read(t, m, next); !reflect.DeepEqual(got, map[string]any{"after": 1}) {
			t.Errorf("the new session has %v", got)
		}
	})
}

// A save that can't send the cookie does not put off the next time that it is sent.
func TestResendAfterBesideMuteSaves(t *testing.T) {
	for name, save := range map[string]func(m *adapter.Manager, ctx context.Context, id string) error{
		"after the response has begun": func(m *adapter.Manager, ctx context.Context, _ string) error {
			m.Put(ctx, "n", m.GetInt(ctx, "n")+1)
			return m.Save(ctx)
		},
		"a job": func(m *adapter.Manager, _ context.Context, id string) error {
			ctx, err := m.LoadID(context.Background(), id)
			if err == nil {
				m.Put(ctx, "n", m.GetInt(ctx, "n")+1)
				err = m.Save(ctx)
			}
			return err
		},
		"a listing": func(m *adapter.Manager, _ context.Context, _ string) error {
			return m.Iterate(context.Background(), func(ctx context.Context) error {
				m.Put(ctx, "n", m.GetInt(ctx, "n")+1)
				return m.Save(ctx)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			bothCodecs(t, adapter.Options{ResendAfter: time.Hour, Cookie: adapter.Cookie{MaxAge: 24 * time.Hour}}, func(t *testing.T, m *adapter.Manager) {
				synctest.Test(t, func(t *testing.T) {
					id := begin(t, m, map[string]any{"user": "u"})
					sent := 0
					for range 24 {
						time.Sleep(30 * time.Minute)
						w := serve(m, cookieFor(id), func(w http.ResponseWriter, r *http.Request) {
							w.WriteHeader(http.StatusOK)
							if err := save(m, r.Context(), id); err != nil {
								t.Error(err)
							}
						})
						if w.Header().Get("Set-Cookie") != "" {
							sent++
						}
					}
					if sent != 12 {
						t.Errorf("the cookie was sent %d times in 12 hours, want 12", sent)
					}
				})
			})
		})
	}
}

// A sweep that a move overtakes ends what was moved also if the move's reply is lost, or the
// move can't delete what it has moved.
func TestSweepBesideAMoveThatFails(t *testing.T) {
	for name, lost := range map[string]bool{"reply lost": true, "not deleted": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &hastyStore{
					fullStore: fullStore{newMapStore()}, lost: lost,
					moving: make(chan bool), swept: make(chan bool), moved: make(chan bool),
				}
				m := newManager(t, adapter.Options{Store: store})
				id := begin(t, m, map[string]any{"user": "mallory"})
				done := make(chan *httptest.ResponseRecorder)
				go func() {
					done <- serve(m, cookieFor(id), func(w http.ResponseWriter, r *http.Request) {
						if err := m.RenewToken(r.Context()); err != nil {
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
			})
		})
	}
}

// hastyStore lets a move be done in the middle of the first listing, which sees neither of
// its records. The move then fails, or what it has moved can't be deleted at once.
type hastyStore struct {
	fullStore
	lost                 bool
	moving, swept, moved chan bool
	listings, deletions  int
}

func (s *hastyStore) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool, error) {
	s.moving <- true
	<-s.swept
	current, moved, err := s.fullStore.Move(ctx, from, to, data, expiry)
	s.moved <- true
	time.Sleep(time.Second) // the sweep goes on before this request does
	if s.lost {
		return nil, false, errDown
	}
	return current, moved, err
}

func (s *hastyStore) DeleteCtx(ctx context.Context, token string) error {
	if s.deletions++; !s.lost && s.deletions == 1 {
		return errDown
	}
	return s.fullStore.DeleteCtx(ctx, token)
}

func (s *hastyStore) Range(ctx context.Context, fn func(string, []byte) error) error {
	if s.listings++; s.listings > 1 {
		all, err := s.AllCtx(ctx)
		for token, data := range all {
			err = errors.Join(err, fn(token, data))
		}
		return err
	}
	s.swept <- true
	<-s.moved
	return nil
}

// A new session whose cookie can't be sent is not stored.
func TestResponseAroundTheWriterOfAnEmptySession(t *testing.T) {
	store := newMapStore()
	m := newManager(t, adapter.Options{Store: fullStore{store}, SaveUninitialized: true})
	w := &tellingWriter{ResponseRecorder: httptest.NewRecorder()}
	m.LoadAndSave(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		w.WriteHeader(http.StatusOK)
	})).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if len(store.records) != 0 {
		t.Errorf("%d sessions are stored", len(store.records))
	}
}

// Of several saves that have failed, it is known which was done: nothing that came later is
// lost, and nothing that was taken back stays.
func TestSavesThatFailOneAfterTheOther(t *testing.T) {
	for name, renew := range map[string]bool{"same id": false, "new id": true} {
		t.Run(name, func(t *testing.T) {
			bothCodecs(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager) {
				store := &deafStore{fullStore: fullStore{newMapStore()}}
				m = newManager(t, adapter.Options{Store: store, Codec: m.Codec})
				id := begin(t, m, map[string]any{"user": "u"})
				within(t, m, id, func(ctx context.Context) {
					if renew {
						if err := m.RenewToken(ctx); err != nil {
							t.Error(err)
						}
					}
					m.Put(ctx, "a", 1)
					store.deaf = true
					_ = m.Save(ctx) // done
					store.deaf = false
					m.Remove(ctx, "a")
					m.Put(ctx, "b", 1)
					mend := failing(store.mapStore)
					_ = m.Save(ctx) // not done
					mend()
					if err := m.Save(ctx); err != nil {
						t.Error(err)
					}
					id = m.ID(ctx)
				})
				if got := read(t, m, id); len(store.records) != 1 || !reflect.DeepEqual(got, map[string]any{"user": "u", "b": 1}) {
					t.Errorf("%d records, the session has %v", len(store.records), got)
				}
			})
		})
	}
}

// A session whose last save has lost its reply gets a new id, or is ended, wherever that
// has put it.
func TestNewIDAfterALostReply(t *testing.T) {
	for name, first := range map[string]string{"create": "", "renew": "user"} {
		for last, want := range map[string]int{"renew": 1, "destroy": 0} {
			t.Run(name+" and "+last, func(t *testing.T) {
				bothCodecs(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager) {
					store := &deafStore{fullStore: fullStore{newMapStore()}}
					m = newManager(t, adapter.Options{Store: store, Codec: m.Codec})
					cookie := ""
					if first != "" {
						cookie = cookieFor(begin(t, m, map[string]any{first: "u"}))
					}
					var id string
					serve(m, cookie, func(w http.ResponseWriter, r *http.Request) {
						ctx := r.Context()
						m.Put(ctx, "a", 1)
						if err := m.RenewToken(ctx); err != nil {
							t.Error(err)
						}
						store.deaf = true
						_ = m.Save(ctx) // done
						store.deaf = false
						if err := m.RenewToken(ctx); err != nil {
							t.Error(err)
						}
						id = m.ID(ctx)
						if last == "destroy" {
							mend := failing(store.mapStore)
							_ = m.Save(ctx) // not done
							mend()
							if err := m.Destroy(ctx); err != nil {
								t.Error(err)
							}
						}
					})
					got := read(t, m, id)
					if len(store.records) != want || want == 1 && (got["a"] != 1 || first != "" && got[first] != "u") {
						t.Errorf("%d records, the session has %v", len(store.records), got)
					}
				})
			})
		}
	}
}

// What a save has stored although its reply was lost, and what was then taken back, is
// not there at the end of the request.
func TestTakenBackAfterALostReply(t *testing.T) {
	bothCodecs(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager) {
		store := &deafStore{fullStore: fullStore{newMapStore()}}
		m = newManager(t, adapter.Options{Store: store, Codec: m.Codec})
		id := begin(t, m, map[string]any{"user": "u"})
		for _, cookie := range []string{cookieFor(id), ""} {
			serve(m, cookie, func(w http.ResponseWriter, r *http.Request) {
				m.Put(r.Context(), "admin", true)
				store.deaf = true
				_ = m.Save(r.Context())
				store.deaf = false
				m.Remove(r.Context(), "admin")
			})
			if got := read(t, m, id); len(store.records) != 1 || !reflect.DeepEqual(got, map[string]any{"user": "u"}) {
				t.Errorf("%d records, the session has %v", len(store.records), got)
			}
		}
	})
}

// A store with Swap and without Move does not make a session again that has ended, also
// if the reply to that is lost.
func TestMoveOfAnEndedSession(t *testing.T) {
	for _, key := range []adapter.StoreKey{adapter.StoreKeyID, adapter.StoreKeyMigrating} {
		bothCodecs(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager) {
			s := newMapStore()
			store := &deafStore{fullStore: fullStore{s}}
			id := begin(t, newManager(t, adapter.Options{Store: fullStore{s}, Codec: m.Codec}), map[string]any{"user": "u"})
			m = newManager(t, adapter.Options{Store: swapStore{s, s, store}, Codec: m.Codec, StoreKey: key})
			serve(m, cookieFor(id), func(w http.ResponseWriter, r *http.Request) {
				if key == adapter.StoreKeyID {
					_ = m.RenewToken(r.Context())
				}
				within(t, m, id, func(ctx context.Context) {
					if err := m.Destroy(ctx); err != nil {
						t.Error(err)
					}
				})
				store.deaf = true
			})
			store.deaf = false
			for key := range s.records {
				if got := read(t, newManager(t, adapter.Options{Store: fullStore{s}, Codec: m.Codec}), key); got["user"] != nil {
					t.Errorf("after the logout there is %v", got)
				}
			}
		})
	}
}

// A look for a merged session that fails does not undo the merge.
func TestMergeAfterALookThatFailed(t *testing.T) {
	store := newMapStore()
	before := newManager(t, adapter.Options{Store: fullStore{store}})
	id := begin(t, before, map[string]any{"user": "u"})
	other := begin(t, before, map[string]any{"cart": 1})
	m := newManager(t, adapter.Options{Store: fullStore{store}, StoreKey: adapter.StoreKeyMigrating})
	within(t, m, id, func(ctx context.Context) {
		if err := m.MergeSession(ctx, other); err != nil {
			t.Error(err)
		}
		within(t, m, other, func(ctx context.Context) {}) // moves it
		store.fail = map[string]error{"find": errDown}
		if err := m.Save(ctx); err == nil {
			t.Error("no error")
		}
		store.fail = nil
		if err := m.Save(ctx); err != nil {
			t.Error(err)
		}
	})
	within(t, m, id, func(ctx context.Context) {
		if m.Get(ctx, "cart") != 1 || len(store.records) != 1 {
			t.Errorf("the session has %v, and there are %d records", m.Keys(ctx), len(store.records))
		}
	})
}

// Regenerate ends no other session before the new one is saved.
func TestRegenerateAfterAMergeThatFailed(t *testing.T) {
	everyStore(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager, store *mapStore) {
		other := begin(t, m, map[string]any{"cart": 1})
		serve(m, "", func(w http.ResponseWriter, r *http.Request) {
			if err := m.MergeSession(r.Context(), other); err != nil {
				t.Error(err)
			}
			mend := failing(store)
			_ = m.Save(r.Context())
			mend()
			if err := m.Regenerate(r.Context()); err != nil {
				t.Error(err)
			}
			if read(t, m, other) == nil {
				t.Error("the other session has ended")
			}
		})
	})
}

// A merge whose reply was lost has its values still, although another request has changed
// the session before the next save.
func TestMergeWhoseReplyWasLostBesideAnother(t *testing.T) {
	bothCodecs(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager) {
		store := &deafStore{fullStore: fullStore{newMapStore()}}
		m = newManager(t, adapter.Options{Store: store, Codec: m.Codec})
		id := begin(t, m, map[string]any{"user": "u", "lang": "de"})
		other := begin(t, m, map[string]any{"cart": 1, "lang": "en"})
		within(t, m, id, func(ctx context.Context) {
			if err := m.MergeSession(ctx, other); err != nil {
				t.Error(err)
			}
			store.deaf = true
			_ = m.Save(ctx)
			store.deaf = false
			within(t, m, id, func(ctx context.Context) { m.Put(ctx, "theirs", 1) })
		})
		if got := read(t, m, id); !reflect.DeepEqual(got, map[string]any{"user": "u", "cart": 1, "lang": "en", "theirs": 1}) {
			t.Errorf("the session has %v", got)
		}
	})
}

// What a save has stored although its reply was lost, and was then taken back, goes also if
// another request has moved the session to the hash of its id in between.
func TestTakenBackFromWhatHasMoved(t *testing.T) {
	store := &deafStore{fullStore: fullStore{newMapStore()}}
	id := begin(t, newManager(t, adapter.Options{Store: store}), map[string]any{"user": "u"})
	m := newManager(t, adapter.Options{Store: store, StoreKey: adapter.StoreKeyMigrating})
	if err := m.Iterate(t.Context(), func(ctx context.Context) error {
		m.Put(ctx, "admin", true)
		store.deaf = true
		_ = m.Save(ctx)
		store.deaf = false
		within(t, m, id, func(context.Context) {}) // moves it
		m.Remove(ctx, "admin")
		return m.Save(ctx)
	}); err != nil {
		t.Error(err)
	}
	within(t, m, id, func(ctx context.Context) {
		if got := m.Keys(ctx); !reflect.DeepEqual(got, []string{"user"}) {
			t.Errorf("the session has %v", got)
		}
	})
}

// A move to the hash of the id that ended half way, on a store without Move, leaves nothing
// that a logout does not end.
func TestLogoutAfterHalfAMove(t *testing.T) {
	store := newMapStore()
	id := begin(t, newManager(t, adapter.Options{Store: plainStore{store}}), map[string]any{"user": "u"})
	old := store.records[id]
	m := newManager(t, adapter.Options{Store: plainStore{store}, StoreKey: adapter.StoreKeyMigrating})
	within(t, m, id, func(context.Context) {})
	store.records[id] = old // it was not deleted
	within(t, m, id, func(ctx context.Context) {
		if err := m.Destroy(ctx); err != nil {
			t.Error(err)
		}
	})
	if got := userOf(m, cookieFor(id)); got != "" || len(store.records) != 0 {
		t.Errorf("still signed in as %q, %d records", got, len(store.records))
	}
}
