//go:build unix

package proof

import (
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends"
	"github.com/samesid/samesid/internal/eachstore"
	"github.com/samesid/samesid/internal/leaktest"
	"github.com/samesid/samesid/internal/rig"
	"github.com/samesid/samesid/internal/wire"
)

// What someone can do with what has leaked, and that the step of docs/operations.md ends it.
func TestLeaked(t *testing.T) {
	t.Parallel()
	const next = "fedcba9876543210fedcba9876543210"
	leaktest.Note(rig.Secret, rig.Password, next)
	serve := func(t *testing.T, store backends.Store, o adapter.Options) string {
		o.Store, o.Cookie.MaxAge, o.Logger = store, time.Hour, (&leaktest.Log{}).Logger()
		m, err := adapter.New(o)
		if err != nil {
			t.Fatal(err)
		}
		h, err := rig.Handler(m)
		if err != nil {
			t.Fatal(err)
		}
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return s.URL
	}
	// A thief has made a cookie of a session's key in the store.
	cookie := func(key, secret string) string {
		value := key
		if secret != "" {
			value = wire.NewSigner([]string{secret}).Sign(key)
		}
		leaktest.Note(value)
		return "connect.sid=" + url.QueryEscape(value)
	}
	keys := func(t *testing.T, store backends.Store) (all []string) {
		if err := store.Range(t.Context(), func(key string, _ []byte) error {
			all = append(all, key)
			return nil
		}); err != nil || len(all) != 1 {
			t.Fatal(len(all), err)
		}
		return all
	}

	eachstore.RunSome(t, func(t *testing.T, k eachstore.Kind) {
		t.Parallel()
		store := k.Place(t).Open(t)
		before := serve(t, store, adapter.Options{Secrets: []string{rig.Secret}})
		ada := rig.NewUser(t, "ada", before)
		ada.Login()
		key := keys(t, store)[0]
		thief := rig.NewUser(t, "ada", before)
		for _, secret := range []string{"", next} { // the dump alone is of no use
			thief.Cookie = cookie(key, secret)
			thief.IsOut()
		}
		thief.Cookie = cookie(key, rig.Secret) // the dump and the secret are
		thief.Sees("")

		after := serve(t, store, adapter.Options{Secrets: []string{next}})
		thief.Cookie = cookie(key, rig.Secret)
		thief.On(after).IsOut()
		ada.On(after).IsOut()
		ada.Login()
		ada.Sees("")

		// In the steps of a rotation, a thief's cookie is signed anew as well.
		thief.Cookie = cookie(key, rig.Secret)
		thief.On(serve(t, store, adapter.Options{Secrets: []string{next, rig.Secret}})).Sees("")
		thief.On(after).Sees("")
	})
	t.Run("hashed keys", func(t *testing.T) {
		eachstore.RunSome(t, func(t *testing.T, k eachstore.Kind) {
			t.Parallel()
			store := k.Place(t).Open(t)
			at := serve(t, store, adapter.Options{Secrets: []string{rig.Secret}, StoreKey: adapter.StoreKeyHash})
			rig.NewUser(t, "ada", at).Login()
			thief := rig.NewUser(t, "ada", at)
			thief.Cookie = cookie(keys(t, store)[0], rig.Secret) // not even both
			thief.IsOut()
		}, func(k eachstore.Kind) bool { return k.Layout.Name == "scs" || !k.Lasts() })
	})
	t.Run("unsigned cookies", func(t *testing.T) {
		store := eachstore.All()[0].Place(t).Open(t)
		at := serve(t, store, adapter.Options{Signature: adapter.SignatureNone})
		rig.NewUser(t, "ada", at).Login()
		thief := rig.NewUser(t, "ada", at)
		thief.Cookie = cookie(keys(t, store)[0], "")
		thief.Sees("") // the dump alone is enough
	})
}
