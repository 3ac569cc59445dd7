package adapter_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/internal/leaktest"
	"github.com/samesid/samesid/internal/wire"
)

// A cookie that is not one of ours makes a new session: no error page, no
// store call, and its id is never used.
func TestBadCookies(t *testing.T) {
	store := newMapStore()
	m := newManager(t, adapter.Options{Store: fullStore{store}})
	id := begin(t, m, map[string]any{"user": "u"})
	good := strings.TrimPrefix(cookieFor(id), "connect.sid=")
	signed := wire.NewSigner([]string{secret}).Sign(id)
	other := wire.EncodeURIComponent(wire.NewSigner([]string{"another secret"}).Sign(id))
	unknown := strings.TrimPrefix(cookieFor("never-given-out"), "connect.sid=")

	for name, tt := range map[string]struct {
		cookie string
		calls  string
		found  bool
	}{
		"good":                    {"connect.sid=" + good, "findtouch", true},
		"good among others":       {"a=b; connect.sid=" + good + "; c=d", "findtouch", true},
		"good, not encoded":       {"connect.sid=" + signed, "findtouch", true},
		"good, quoted":            {`connect.sid="` + good + `"`, "findtouch", true},
		"good, then forged":       {"connect.sid=" + good + "; connect.sid=s%3Ax.y", "findtouch", true},
		"forged, then good":       {"connect.sid=s%3Ax.y; connect.sid=" + good, "", false},
		"unknown id":              {"connect.sid=" + unknown, "findtouch", false},
		"none":                    {"", "", false},
		"another name":            {"sid=" + good, "", false},
		"unsigned":                {"connect.sid=" + id, "", false},
		"unsigned, with a prefix": {"connect.sid=s%3A" + id, "", false},
		"signed by another":       {"connect.sid=" + other, "", false},
		"truncated":               {"connect.sid=" + good[:len(good)-4], "", false},
		"longer":                  {"connect.sid=" + good + "A", "", false},
		"padded":                  {"connect.sid=" + good + "%3D", "", false},
		"empty signature":         {"connect.sid=s%3A" + id + ".", "", false},
		"empty id":                {cookieFor(""), "", false},
		"prefix alone":            {"connect.sid=s%3A", "", false},
		"over-long":               {cookieFor(strings.Repeat("x", 5000)), "", false},
		"megabyte":                {"connect.sid=s%3A" + strings.Repeat("x", 1<<20), "", false},
		"not UTF-8":               {"connect.sid=s%3A\xff\xfe." + good, "", false},
		"not UTF-8, encoded":      {"connect.sid=s%3A%ff%fe.x", "", false},
		"bad encoding":            {"connect.sid=s%3A%zz.x", "", false},
		"NUL":                     {"connect.sid=s%3A\x00.x", "", false},
		"no equals sign":          {"connect.sid", "", false},
		"semicolons":              {";;;;", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			store.takeCalls()
			var inside string
			w := serve(m, tt.cookie, func(w http.ResponseWriter, r *http.Request) {
				inside = m.ID(r.Context())
				if got := m.Exists(r.Context(), "user"); got != tt.found {
					t.Errorf("signed in: %t, want %t", got, tt.found)
				}
			})
			if w.Code != http.StatusOK || w.Header().Get("Set-Cookie") != "" {
				t.Errorf("status %d, Set-Cookie %q", w.Code, w.Header().Get("Set-Cookie"))
			}
			if got := store.takeCalls(); got != tt.calls {
				t.Errorf("store calls %q, want %q", got, tt.calls)
			}
			if (inside == id) != tt.found || inside == "never-given-out" || len(inside) != 32 {
				t.Errorf("the session's id is %q", inside)
			}
		})
	}

	t.Run("several Cookie headers", func(t *testing.T) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Cookie"] = []string{"a=b", "connect.sid=" + good}
		m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !m.Exists(r.Context(), "user") {
				t.Error("not signed in")
			}
		})).ServeHTTP(httptest.NewRecorder(), r)
	})
}

func TestUnsignedCookies(t *testing.T) {
	store := fullStore{newMapStore()}
	plain := newManager(t, adapter.Options{Store: store, Signature: adapter.SignatureNone})
	id := begin(t, plain, map[string]any{"user": "u"})
	signedIn := func(m *adapter.Manager, cookie string) (bool, string) {
		var ok bool
		w := serve(m, cookie, func(w http.ResponseWriter, r *http.Request) { ok = m.Exists(r.Context(), "user") })
		return ok, w.Header().Get("Set-Cookie")
	}
	if ok, _ := signedIn(plain, "connect.sid="+id); !ok {
		t.Error("a bare token is refused")
	}

	migrating := newManager(t, adapter.Options{Store: store, Signature: adapter.SignatureMigrating})
	ok, set := signedIn(migrating, "connect.sid="+id)
	if !ok || !strings.HasPrefix(set, cookieFor(id)+";") {
		t.Errorf("signed in %t, Set-Cookie %q", ok, set)
	}
	if ok, set := signedIn(migrating, cookieFor(id)); !ok || set != "" {
		t.Errorf("with a signed cookie: signed in %t, Set-Cookie %q", ok, set)
	}
	if ok, set := signedIn(migrating, "connect.sid=unknown"); ok || set != "" {
		t.Errorf("with an unknown token: signed in %t, Set-Cookie %q", ok, set)
	}
	if ok, _ := signedIn(migrating, "connect.sid=s%3A"+id+".AAAA"); ok {
		t.Error("a bad signature is accepted")
	}

	signed := newManager(t, adapter.Options{Store: store})
	if ok, _ := signedIn(signed, "connect.sid="+id); ok {
		t.Error("a bare token is accepted")
	}
}

// A record that can't be read is no session, and stays where it is.
func TestForeignRecord(t *testing.T) {
	for name, o := range map[string]adapter.Options{"gob": {}, "json": {Codec: adapter.JSONCodec{}}} {
		t.Run(name, func(t *testing.T) {
			store, out := newMapStore(), &leaktest.Log{}
			o.Store, o.Logger = fullStore{store}, out.Logger()
			m := newManager(t, o)
			for id, data := range map[string]string{"empty": "", "text": "hello", "html": "<p>", "json": `{"a":1}`, "array": "[]"} {
				store.records[id] = mapRecord{[]byte(data), time.Now().Add(time.Hour)}
				w := serve(m, cookieFor(id), func(w http.ResponseWriter, r *http.Request) {
					if m.ID(r.Context()) == id {
						t.Error("the id is used")
					}
				})
				if w.Code != http.StatusOK {
					t.Errorf("%s: status %d", id, w.Code)
				}
				if string(store.records[id].data) != data {
					t.Errorf("%s: the record was changed", id)
				}
			}
			if n := strings.Count(out.String(), "can't be read"); n != 5 {
				t.Errorf("%d lines in the log: %s", n, out)
			}
		})
	}
}

func TestSkippedPathHasASessionThatIsNotSaved(t *testing.T) {
	store := newMapStore()
	m := newManager(t, adapter.Options{Store: fullStore{store}, Cookie: adapter.Cookie{Path: "/app"}})
	r := httptest.NewRequest("GET", "/other", nil)
	r.Header.Set("Cookie", cookieFor("some-id"))
	w := httptest.NewRecorder()
	m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		m.Put(ctx, "k", "v")
		if m.GetString(ctx, "k") != "v" {
			t.Error("the session can't be used")
		}
		for _, err := range []error{m.Save(ctx), m.RenewToken(ctx), m.Regenerate(ctx)} {
			if !errors.Is(err, adapter.ErrOutsidePath) {
				t.Errorf("error %v", err)
			}
		}
		if err := errors.Join(m.Touch(ctx), m.Destroy(ctx)); err != nil {
			t.Error(err)
		}
	})).ServeHTTP(w, r)
	if w.Header().Get("Set-Cookie") != "" || store.takeCalls() != "" {
		t.Errorf("Set-Cookie %q", w.Header().Get("Set-Cookie"))
	}
}

// The path is the client's, whatever a router strips from it.
func TestPathBeforeStripPrefix(t *testing.T) {
	m := newManager(t, adapter.Options{Cookie: adapter.Cookie{Path: "/app"}})
	srv := httptest.NewServer(http.StripPrefix("/app", m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.Put(r.Context(), "k", "v")
	}))))
	defer srv.Close()
	res, err := http.Get(srv.URL + "/app/x")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.Header.Get("Set-Cookie") == "" {
		t.Error("no cookie")
	}
}

// What reaches the log names sessions by a hash.
func TestNoSecretsInTheLog(t *testing.T) {
	out := &leaktest.Log{}
	store := newMapStore()
	m := newManager(t, adapter.Options{Store: fullStore{store}, Logger: out.Logger()})
	id := begin(t, m, map[string]any{"user": "u"})
	serve(m, cookieFor(id), func(w http.ResponseWriter, r *http.Request) {
		delete(store.records, id)
		m.Put(r.Context(), "k", "v")
	})
	store.records[id] = mapRecord{[]byte("?"), time.Now().Add(time.Hour)}
	serve(m, cookieFor(id), func(http.ResponseWriter, *http.Request) {})
	got := out.String()
	if strings.Count(got, "session=") != 2 || strings.Contains(got, id) || strings.Contains(got, secret) {
		t.Errorf("log: %s", got)
	}
}
