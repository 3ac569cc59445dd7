package adapter_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/internal/leaktest"
	"github.com/samesid/samesid/internal/wire"
)

// Begin and End do what LoadAndSave does.
func TestBeginAndEnd(t *testing.T) {
	bothCodecs(t, adapter.Options{Cookie: adapter.Cookie{MaxAge: time.Hour}}, func(t *testing.T, m *adapter.Manager) {
		run := func(cookie string, do func(ctx context.Context)) (http.Header, error) {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Cookie", cookie)
			ctx, err := m.Begin(r)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := m.Begin(r.WithContext(ctx)); err != nil || m.ID(again) != m.ID(ctx) {
				t.Errorf("a second Begin makes another session: %v", err)
			}
			do(ctx)
			return m.End(ctx)
		}
		h, err := run("", func(ctx context.Context) { m.Put(ctx, "k", "v") })
		set := h.Get("Set-Cookie")
		if err != nil || !strings.HasPrefix(set, "connect.sid=s%3A") || !strings.Contains(set, "Max-Age=3600") || h.Get("Vary") != "Cookie" || h.Get("Cache-Control") == "" {
			t.Errorf("headers %q, %v", h, err)
		}
		cookie, _, _ := strings.Cut(set, ";")
		id := ""
		h, err = run(cookie, func(ctx context.Context) {
			id = m.ID(ctx)
			if m.GetString(ctx, "k") != "v" {
				t.Error("the session is not found")
			}
		})
		if err != nil || h.Get("Set-Cookie") != "" {
			t.Errorf("a read: headers %q, %v", h, err)
		}
		for _, forged := range []string{"connect.sid=" + id, "connect.sid=s%3A" + id + ".AAAA"} {
			if _, err := run(forged, func(ctx context.Context) {
				if m.Exists(ctx, "k") {
					t.Error("a forged cookie is accepted")
				}
			}); err != nil {
				t.Error(err)
			}
		}
		h, err = run(cookie, func(ctx context.Context) { _ = m.Destroy(ctx) })
		if err != nil || !strings.HasPrefix(h.Get("Set-Cookie"), "connect.sid=;") {
			t.Errorf("a logout: headers %q, %v", h, err)
		}
		if _, err := run(cookie, func(ctx context.Context) { m.Put(ctx, "f", func() {}) }); err == nil {
			t.Error("what can't be stored is no error")
		}
	})
	m := newManager(t, adapter.Options{})
	w := serve(m, "", func(w http.ResponseWriter, r *http.Request) {
		ctx, err := m.Begin(r)
		if err != nil {
			t.Fatal(err)
		}
		m.Put(ctx, "k", 1)
		if h, err := m.End(ctx); err != nil || len(h) != 0 {
			t.Errorf("inside of LoadAndSave: %v, %v", h, err)
		}
	})
	if got := w.Header()["Set-Cookie"]; len(got) != 1 {
		t.Errorf("inside of LoadAndSave: %d cookies", len(got))
	}

	store := newMapStore()
	m = newManager(t, adapter.Options{Store: fullStore{store}})
	id := begin(t, m, map[string]any{"k": 1})
	store.fail = map[string]error{"findtouch": errors.New("down")}
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Cookie", cookieFor(id))
	if _, err := m.Begin(r); err == nil {
		t.Error("a store that is down is no error")
	}
}

// End moves the session's expiry and sends its cookie as the end of a response does.
func TestEndSlidesAndResends(t *testing.T) {
	for name, tt := range map[string]struct {
		o    adapter.Options
		sent []int // the minutes at which the cookie is sent
	}{
		"neither":     {adapter.Options{}, nil},
		"Rolling":     {adapter.Options{Rolling: true}, []int{20, 40, 60, 80, 100}},
		"ResendAfter": {adapter.Options{ResendAfter: 30 * time.Minute}, []int{40, 80}},
	} {
		t.Run(name, func(t *testing.T) {
			tt.o.Cookie.MaxAge = time.Hour
			everyStore(t, tt.o, func(t *testing.T, m *adapter.Manager, store *mapStore) {
				synctest.Test(t, func(t *testing.T) {
					id := begin(t, m, map[string]any{"user": "u"})
					var sent []int
					for i := range 5 {
						time.Sleep(20 * time.Minute)
						r := httptest.NewRequest("GET", "/", nil)
						r.Header.Set("Cookie", cookieFor(id))
						ctx, err := m.Begin(r)
						if err != nil || m.GetString(ctx, "user") != "u" {
							t.Fatalf("request %d: the session is not found, %v", i, err)
						}
						h, err := m.End(ctx)
						if err != nil {
							t.Fatal(err)
						}
						if left := time.Until(store.records[id].expiry); left != time.Hour {
							t.Errorf("request %d: the record ends in %v", i, left)
						}
						set := h.Get("Set-Cookie")
						if set == "" {
							continue
						}
						sent = append(sent, 20*(i+1))
						if !strings.HasPrefix(set, cookieFor(id)+"; Max-Age=3600;") || h.Get("Cache-Control") == "" {
							t.Errorf("request %d: headers %q", i, h)
						}
					}
					if !slices.Equal(sent, tt.sent) {
						t.Errorf("the cookie is sent at the minutes %v, want %v", sent, tt.sent)
					}
				})
			})
		})
	}
}

// Load takes what a browser has sent, and nothing that anybody could make up.
func TestLoadIsStrict(t *testing.T) {
	for name, o := range map[string]adapter.Options{
		"plain": {}, "hashed": {StoreKey: adapter.StoreKeyMigrating},
	} {
		store := newMapStore()
		o.Store = fullStore{store}
		m := newManager(t, o)
		id := begin(t, m, map[string]any{"k": 1})
		signed := wire.NewSigner([]string{secret}).Sign(id)
		for value, want := range map[string]bool{
			id: false, onlyKey(t, store): false, signed: true, wire.EncodeURIComponent(signed): true,
			signed[2:]: false, "": false, "s:": false, signed + "x": false, signed + "; x": false,
		} {
			ctx, err := m.Load(t.Context(), value)
			if err != nil || m.Exists(ctx, "k") != want {
				t.Errorf("%s: a value that is good %t: found %t, %v", name, want, m.Exists(ctx, "k"), err)
			}
		}
		ctx, err := m.LoadID(t.Context(), id)
		if err != nil || !m.Exists(ctx, "k") {
			t.Errorf("%s: LoadID: %v", name, err)
		}
	}
	store := newMapStore()
	m := newManager(t, adapter.Options{Store: fullStore{store}, Signature: adapter.SignatureNone})
	id := begin(t, m, map[string]any{"k": 1})
	if ctx, err := m.Load(t.Context(), id); err != nil || !m.Exists(ctx, "k") {
		t.Errorf("unsigned: %v", err)
	}
}

// A cookie that a later secret has signed is signed anew, so that nobody is logged out when
// that secret is dropped.
func TestLaterSecretsAreReplaced(t *testing.T) {
	const old, next = "the old secret of thirty-two bytes", "the new secret of thirty-two bytes"
	store := newMapStore()
	manager := func(secrets ...string) *adapter.Manager {
		return newManager(t, adapter.Options{Store: fullStore{store}, Secrets: secrets, Cookie: adapter.Cookie{MaxAge: time.Hour}})
	}
	id := begin(t, manager(old), map[string]any{"user": "u"})
	cookie := "connect.sid=" + wire.EncodeURIComponent(wire.NewSigner([]string{old}).Sign(id))
	for i, secrets := range [][]string{{old}, {old, next}, {next, old}, {next}} {
		m := manager(secrets...)
		w := serve(m, cookie, func(w http.ResponseWriter, r *http.Request) {
			if m.GetString(r.Context(), "user") != "u" {
				t.Fatalf("step %d: logged out", i)
			}
		})
		set := w.Header().Get("Set-Cookie")
		if (set != "") != (i == 2) || set != "" && !strings.Contains(set, "Max-Age=3600") {
			t.Errorf("step %d: Set-Cookie %q", i, set)
		}
		if set != "" {
			cookie, _, _ = strings.Cut(set, ";")
		}
	}

	// A new id is signed by the first secret too.
	var renewed string
	m := manager(next, old)
	w := serve(m, "connect.sid="+wire.EncodeURIComponent(wire.NewSigner([]string{old}).Sign(id)), func(w http.ResponseWriter, r *http.Request) {
		if err := m.RenewToken(r.Context()); err != nil || m.GetString(r.Context(), "user") != "u" {
			t.Errorf("renewed: %v", err)
		}
		renewed = m.ID(r.Context())
	})
	want := "connect.sid=" + wire.EncodeURIComponent(wire.NewSigner([]string{next}).Sign(renewed))
	if got, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";"); got != want {
		t.Error("the new cookie is not signed by the first secret")
	}
}

// Cookies that no secret has signed, and sessions that the store does not have, are counted
// and said once, without their ids.
func TestMistakesAreNotMute(t *testing.T) {
	out, store := &leaktest.Log{}, newMapStore()
	m := newManager(t, adapter.Options{Store: namedStore{fullStore{store}}, Logger: out.Logger()})
	id := begin(t, m, map[string]any{"user": "u"})
	other := wire.EncodeURIComponent(wire.NewSigner([]string{"another secret of thirty-two bytes"}).Sign(id))
	for range 3 {
		serve(m, "connect.sid="+other, func(http.ResponseWriter, *http.Request) {})
		serve(m, "connect.sid="+id, func(http.ResponseWriter, *http.Request) {})
		serve(m, cookieFor("of-an-ended-session"), func(http.ResponseWriter, *http.Request) {})
		serve(m, "", func(http.ResponseWriter, *http.Request) {})
		serve(m, cookieFor(id), func(http.ResponseWriter, *http.Request) {})
	}
	if _, err := m.LoadID(t.Context(), "made-up"); err != nil {
		t.Error(err)
	}
	if got := m.Stats(); got != (adapter.Stats{BadSignatures: 6, UnknownSessions: 3}) {
		t.Errorf("Stats %+v", got)
	}
	got := out.String()
	for _, once := range []string{"not signed by any of the secrets", "does not have its session", `store="the map of the test"`} {
		if strings.Count(got, once) != 1 {
			t.Errorf("%q is said %d times: %s", once, strings.Count(got, once), got)
		}
	}
	if strings.Contains(got, id) || strings.Contains(got, "of-an-ended-session") {
		t.Error("an id is in the log")
	}
}

type namedStore struct{ fullStore }

func (namedStore) String() string { return "the map of the test" }

// With ResendAfter, a user who reads stays signed in; without it, as in Express, the
// browser drops the cookie MaxAge after it was sent.
func TestResendAfter(t *testing.T) {
	for _, after := range []time.Duration{0, 24 * time.Hour} {
		for _, absolute := range []time.Duration{0, 8 * 24 * time.Hour, 365 * 24 * time.Hour} {
			o := adapter.Options{Cookie: adapter.Cookie{MaxAge: 7 * 24 * time.Hour}, ResendAfter: after, AbsoluteLifetime: absolute}
			bothCodecs(t, o, func(t *testing.T, m *adapter.Manager) {
				synctest.Test(t, func(t *testing.T) {
					id := begin(t, m, map[string]any{"user": "u"})
					var sent []int
					for hours := range 24 * 6 {
						time.Sleep(time.Hour)
						w := serve(m, cookieFor(id), func(w http.ResponseWriter, r *http.Request) {
							if !m.Exists(r.Context(), "user") {
								t.Fatalf("logged out after %d hours", hours)
							}
						})
						if set := w.Header().Get("Set-Cookie"); set != "" {
							sent = append(sent, hours+1)
							if absolute != 8*24*time.Hour && !strings.Contains(set, "Max-Age=604800;") {
								t.Errorf("Set-Cookie %q", set)
							}
						}
					}
					want := []int{24, 48, 72, 96, 120, 144}
					switch {
					case after == 0:
						want = nil
					case absolute == 8*24*time.Hour: // once it ends at the deadline, it can't be sent with a later end
						want, sent = want[:1], sent[:min(1, len(sent))]
					}
					if !slices.Equal(sent, want) {
						t.Errorf("sent after %v hours", sent)
					}
				})
			})
		}
	}
}

func TestSameSiteNoneOnPlainHTTPIsLoggedOnce(t *testing.T) {
	out := &leaktest.Log{}
	m := newManager(t, adapter.Options{Logger: out.Logger(), Cookie: adapter.Cookie{Secure: adapter.SecureAuto, SameSite: adapter.SameSiteNone}})
	for range 2 {
		begin(t, m, map[string]any{"k": 1})
	}
	if got := strings.Count(out.String(), "SameSite=None and not Secure"); got != 1 {
		t.Errorf("logged %d times: %s", got, out)
	}
}
