package adapter_test

import (
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/internal/leaktest"
)

// jsonStore is a store that Express reads too.
type jsonStore struct{ fullStore }

func (jsonStore) JSONRecords() bool { return true }

func TestBadOptions(t *testing.T) {
	for want, change := range map[string]func(o *adapter.Options){
		`Secrets: none given, so cookies can't be signed; give at least one, of 32 random bytes`: func(o *adapter.Options) { o.Secrets = nil },
		`Secrets[1]: is empty; drop it or give it 32 random bytes`: func(o *adapter.Options) {
			o.Secrets = []string{secret, ""}
		},
		`Secrets and Options.Signature: a secret signs the cookie and SignatureNone does not; drop one of the two`: func(o *adapter.Options) {
			o.Signature = adapter.SignatureNone
		},
		`Signature: "x" is unknown; use SignatureRequired, SignatureMigrating or SignatureNone`: func(o *adapter.Options) { o.Signature = "x" },
		`Unset: "discard" is unknown; use UnsetKeep or UnsetDestroy`:                            func(o *adapter.Options) { o.Unset = "discard" },
		`Proxy: "auto" is unknown; use ProxyUnset, ProxyTrusted or ProxyIgnored`:                func(o *adapter.Options) { o.Proxy = "auto" },
		`Cookie and Options.CookieFunc: both are given; drop one of the two`: func(o *adapter.Options) {
			o.Cookie.Domain = "example.com"
			o.CookieFunc = func(*http.Request) adapter.Cookie { return adapter.Cookie{} }
		},
		`Cookie.MaxAge: is negative (-1s); 0 is a cookie that ends with the browser`: func(o *adapter.Options) { o.Cookie.MaxAge = -time.Second },
		`Cookie.MaxAge and Options.Cookie.Expires: both are given; drop one of the two`: func(o *adapter.Options) {
			o.Cookie.MaxAge, o.Cookie.Expires = time.Hour, time.Now()
		},
		`Cookie.Path: "app" does not start with "/"`:                                    func(o *adapter.Options) { o.Cookie.Path = "app" },
		`Cookie.Secure: "true" is unknown; use SecureNever, SecureAlways or SecureAuto`: func(o *adapter.Options) { o.Cookie.Secure = "true" },
		`Cookie.SameSite: "relaxed" is not one of lax, strict, none, auto`:              func(o *adapter.Options) { o.Cookie.SameSite = "relaxed" },
		`Cookie.Priority: "urgent" is not one of low, medium, high`:                     func(o *adapter.Options) { o.Cookie.Priority = "urgent" },
		`Cookie.SameSite and Options.Cookie.Secure: browsers drop a SameSite=None cookie that is not secure; set Secure`: func(o *adapter.Options) {
			o.Cookie.SameSite = "None"
		},
		`Cookie.SameSite and Options.Cookie.Secure: auto is None on a secure connection, and browsers drop such a cookie if it is not secure; set Secure to SecureAuto`: func(o *adapter.Options) {
			o.Cookie.SameSite = adapter.SameSiteAuto
		},
		`Cookie.Partitioned and Options.Cookie.Secure: browsers drop a partitioned cookie that is not secure; set Secure`: func(o *adapter.Options) {
			o.Cookie.Partitioned = true
		},
		`Cookie.Secure: must be SecureAlways for a cookie named __Secure-sid`: func(o *adapter.Options) { o.Name = "__Secure-sid" },
		`Cookie.Secure and Options.Cookie.Path and Options.Cookie.Domain: a cookie named __Host-sid needs Secure: SecureAlways, Path "/" and no Domain`: func(o *adapter.Options) {
			o.Name, o.Cookie.Secure, o.Cookie.Path = "__Host-sid", adapter.SecureAlways, "/app"
		},
		`StoreKey: "x" is unknown; use StoreKeyID, StoreKeyMigrating or StoreKeyHash`: func(o *adapter.Options) { o.StoreKey = "x" },
		`StoreKey: can't be hashed in this store: Express looks for the id itself; use another layout`: func(o *adapter.Options) {
			o.Store, o.StoreKey = jsonStore{}, adapter.StoreKeyHash
		},
		`StoreKey and Options.Signature: StoreKeyMigrating would take a hash in an unsigned cookie for an id; use SignatureRequired`: func(o *adapter.Options) {
			o.Signature, o.StoreKey = adapter.SignatureMigrating, adapter.StoreKeyMigrating
		},
		`Cookie.MaxAge: 604.8µs is too short: a number without a unit is in nanoseconds; did you mean 7*24*time.Hour (if it is in seconds) or 604800*time.Millisecond (in milliseconds, as in Express)?`: func(o *adapter.Options) {
			o.Cookie.MaxAge = 604800
		},
		`Cookie.MaxAge: 604.8ms is too short: a number without a unit is in nanoseconds; did you mean 7000*24*time.Hour (if it is in seconds) or 7*24*time.Hour (in milliseconds, as in Express)?`: func(o *adapter.Options) {
			o.Cookie.MaxAge = 604800000
		},
		`TTL: 30ns is too short: a number without a unit is in nanoseconds; did you mean 30*time.Second (if it is in seconds) or 30*time.Millisecond (in milliseconds, as in Express)?`: func(o *adapter.Options) {
			o.TTL = 30
		},
		`AbsoluteLifetime: 30ns is too short: a number without a unit is in nanoseconds; did you mean 30*time.Second (if it is in seconds) or 30*time.Millisecond (in milliseconds, as in Express)?`: func(o *adapter.Options) {
			o.AbsoluteLifetime = 30
		},
		`ResendAfter and Options.Rolling: the second sends the cookie with each response anyway; drop one of the two`: func(o *adapter.Options) {
			o.ResendAfter, o.Rolling = time.Hour, true
		},
		`ResendAfter and Options.Cookie.MaxAge: a cookie in use would end before it is sent again (1h0m0s, 1h0m0s); lower the first`: func(o *adapter.Options) {
			o.ResendAfter, o.Cookie.MaxAge = time.Hour, time.Hour
		},
		`TTL: is negative (-1ns); 0 is the default`:              func(o *adapter.Options) { o.TTL = -1 },
		`AbsoluteLifetime: is negative (-1ns); 0 is the default`: func(o *adapter.Options) { o.AbsoluteLifetime = -1 },
		`TouchAfter: is negative (-1ns); 0 is the default`:       func(o *adapter.Options) { o.TouchAfter = -1 },
		`AbsoluteLifetime and Options.Cookie.MaxAge: a session can't be unused for 2h0m0s and end 1h0m0s after it began; raise the first or lower the second`: func(o *adapter.Options) {
			o.AbsoluteLifetime, o.Cookie.MaxAge = time.Hour, 2*time.Hour
		},
		`TouchAfter and Options.Cookie.MaxAge: a session in use would end before it is touched (1h0m0s, 1h0m0s); lower the first`: func(o *adapter.Options) {
			o.TouchAfter, o.Cookie.MaxAge = time.Hour, time.Hour
		},
		`TouchAfter and Options.TTL: a session in use would end before it is touched (48h0m0s, 24h0m0s); lower the first`: func(o *adapter.Options) {
			o.TouchAfter = 48 * time.Hour
		},
	} {
		t.Run(want, func(t *testing.T) {
			o := adapter.Options{Secrets: []string{secret}}
			change(&o)
			m, err := adapter.New(o)
			if m != nil || err == nil || !strings.Contains("\n"+err.Error()+"\n", "\nadapter: Options."+want+"\n") {
				t.Errorf("New gives %v, and the error\n%v", m, err)
			}
		})
	}
}

func TestBadNamesAndDomains(t *testing.T) {
	for field, o := range map[string]adapter.Options{
		"Options.Name: ":          {Name: "a b"},
		"Options.Cookie.Domain: ": {Cookie: adapter.Cookie{Domain: "example.com; Secure"}},
		"Options.Cookie.Path: ":   {Cookie: adapter.Cookie{Path: "/\r\nSet-Cookie: x=y"}},
	} {
		o.Secrets = []string{secret}
		if _, err := adapter.New(o); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s%v", field, err)
		}
	}
}

func TestEveryProblemIsNamedAtOnce(t *testing.T) {
	_, err := adapter.New(adapter.Options{Unset: "x", Cookie: adapter.Cookie{MaxAge: -1, Priority: "x"}})
	for _, field := range []string{"Secrets", "Unset", "Cookie.MaxAge", "Cookie.Priority"} {
		if err == nil || !strings.Contains(err.Error(), "Options."+field+": ") {
			t.Errorf("%s is not in %v", field, err)
		}
	}
}

func TestShortSecretIsWarnedAbout(t *testing.T) {
	out := &leaktest.Log{}
	newManager(t, adapter.Options{Secrets: []string{secret, "keyboard cat"}, Logger: out.Logger()})
	if got := out.String(); !strings.Contains(got, "Secrets[1] is 12 bytes long") || strings.Contains(got, "keyboard") || strings.Contains(got, "Secrets[0]") {
		t.Errorf("log: %s", got)
	}
}

func TestOptionsAreCopied(t *testing.T) {
	secrets := []string{secret}
	m := newManager(t, adapter.Options{Secrets: secrets})
	secrets[0] = ""
	begin(t, m, map[string]any{"k": 1})
}

func TestStoreSharedWithExpress(t *testing.T) {
	if m := newManager(t, adapter.Options{Store: jsonStore{}}); m.Codec != (adapter.JSONCodec{}) {
		t.Errorf("the codec is %T", m.Codec)
	}
	_, err := adapter.New(adapter.Options{Secrets: []string{secret}, Store: jsonStore{}, Codec: scs.GobCodec{}})
	if err == nil || !strings.Contains(err.Error(), "Options.Codec: scs.GobCodec can't be used with this store") {
		t.Error(err)
	}
}

// A field of scs's that is set after New or Wrap has no effect, and that is said once.
func TestFieldsSetAfterwards(t *testing.T) {
	type M = adapter.Manager
	makes := map[string]func(t *testing.T, o adapter.Options) *M{
		"New": func(t *testing.T, o adapter.Options) *M { return newManager(t, o) },
		"Wrap": func(t *testing.T, o adapter.Options) *M {
			sm := scs.New()
			sm.Store, sm.Cookie.Name = o.Store, "connect.sid"
			m, err := adapter.Wrap(sm, adapter.Options{Logger: o.Logger, Secrets: []string{secret}})
			if err != nil {
				t.Fatal(err)
			}
			return m
		},
	}
	for name, set := range map[string]func(m *M){
		"Cookie":           func(m *M) { m.Cookie.Secure = true },
		"IdleTimeout":      func(m *M) { m.IdleTimeout = 20 * time.Minute },
		"Lifetime":         func(m *M) { m.Lifetime = time.Hour },
		"Store":            func(m *M) { m.Store = plainStore{newMapStore()} },
		"Codec":            func(m *M) { m.Codec = adapter.JSONCodec{} },
		"HashTokenInStore": func(m *M) { m.HashTokenInStore = true },
	} {
		for made, manager := range makes {
			t.Run(name+"/"+made, func(t *testing.T) {
				out, store := &leaktest.Log{}, newMapStore()
				m := manager(t, adapter.Options{Logger: out.Logger(), Store: fullStore{store}})
				first := begin(t, m, map[string]any{"k": "v"})
				if out.String() != "" {
					t.Errorf("log before: %s", out)
				}
				set(m)
				for range 2 {
					id := begin(t, m, map[string]any{"k": "v"})
					if _, ok := store.records[id]; !ok {
						t.Error("the session is not in the store")
					}
					was, is := store.records[first], store.records[id]
					if apart := is.expiry.Sub(was.expiry).Abs(); apart > time.Minute {
						t.Errorf("the session ends %v from what it was before", apart)
					}
				}
				want := "level=ERROR msg=\"session: the Manager's field " + name + " was changed"
				if strings.Count(out.String(), want) != 1 || !strings.Contains(out.String(), "Options.") || !strings.Contains(out.String(), "before Wrap") {
					t.Errorf("log: %s", out)
				}
			})
		}
	}
}

func TestCookieAttributes(t *testing.T) {
	week := 7 * 24 * time.Hour
	for name, tt := range map[string]struct {
		o      adapter.Options
		proto  string
		target string
		want   string // after the value; "-": no cookie
	}{
		"defaults":        {want: "; Path=/; HttpOnly"},
		"maxAge":          {o: adapter.Options{Cookie: adapter.Cookie{MaxAge: week}}, want: "; Max-Age=604800; Path=/; Expires=Sat, 08 Jan 2000 00:00:00 GMT; HttpOnly"},
		"expires":         {o: adapter.Options{Cookie: adapter.Cookie{Expires: time.Date(2000, 1, 3, 0, 0, 0, 0, time.UTC)}}, want: "; Max-Age=172800; Path=/; Expires=Mon, 03 Jan 2000 00:00:00 GMT; HttpOnly"},
		"a short age":     {o: adapter.Options{Cookie: adapter.Cookie{MaxAge: 1001 * time.Millisecond}}, want: "; Max-Age=2; Path=/; Expires=Sat, 01 Jan 2000 00:00:02 GMT; HttpOnly"},
		"script access":   {o: adapter.Options{Cookie: adapter.Cookie{ScriptAccess: true}}, want: "; Path=/"},
		"everything":      {o: adapter.Options{Proxy: adapter.ProxyTrusted, Cookie: adapter.Cookie{Domain: "example.com", Path: "/a", Secure: adapter.SecureAlways, SameSite: "Strict", Partitioned: true, Priority: "High"}}, proto: "https", target: "/a/b", want: "; Domain=example.com; Path=/a; HttpOnly; Secure; Partitioned; Priority=High; SameSite=Strict"},
		"secure, plain":   {o: adapter.Options{Cookie: adapter.Cookie{Secure: adapter.SecureAlways}}, want: "-"},
		"secure, TLS":     {o: adapter.Options{Cookie: adapter.Cookie{Secure: adapter.SecureAlways}}, target: "https://example.com/", want: "; Path=/; HttpOnly; Secure"},
		"auto, plain":     {o: adapter.Options{Cookie: adapter.Cookie{Secure: adapter.SecureAuto, SameSite: adapter.SameSiteAuto}}, want: "; Path=/; HttpOnly; SameSite=Lax"},
		"auto, TLS":       {o: adapter.Options{Cookie: adapter.Cookie{Secure: adapter.SecureAuto, SameSite: adapter.SameSiteAuto}}, target: "https://example.com/", want: "; Path=/; HttpOnly; Secure; SameSite=None"},
		"function":        {o: adapter.Options{CookieFunc: func(r *http.Request) adapter.Cookie { return adapter.Cookie{Domain: r.Host} }}, target: "http://a.example.com/", want: "; Domain=a.example.com; Path=/; HttpOnly"},
		"function's path": {o: adapter.Options{CookieFunc: func(*http.Request) adapter.Cookie { return adapter.Cookie{Path: "/app"} }}, target: "/other", want: "-"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newManager(t, tt.o)
			synctest.Test(t, func(t *testing.T) { // the clock stands at midnight, 1 January 2000
				if tt.target == "" {
					tt.target = "/"
				}
				r := httptest.NewRequest("GET", tt.target, nil)
				r.Header.Set("X-Forwarded-Proto", tt.proto)
				w := httptest.NewRecorder()
				m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					m.Put(r.Context(), "k", "v")
				})).ServeHTTP(w, r)
				got := w.Header().Get("Set-Cookie")
				if _, attributes, ok := strings.Cut(got, ";"); ok {
					got = ";" + attributes
				} else if got == "" {
					got = "-"
				}
				if got != tt.want {
					t.Errorf("Set-Cookie\n%s, want\n%s", got, tt.want)
				}
			})
		})
	}
}

func TestCookieFuncThatIsWrong(t *testing.T) {
	m := newManager(t, adapter.Options{CookieFunc: func(*http.Request) adapter.Cookie { return adapter.Cookie{Domain: "a b"} }})
	w := serve(m, "", func(http.ResponseWriter, *http.Request) { t.Error("the handler ran") })
	if w.Code != http.StatusInternalServerError || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("status %d, Set-Cookie %q", w.Code, w.Header().Get("Set-Cookie"))
	}
}

func TestSecureCookieOnPlainHTTPIsLoggedOnce(t *testing.T) {
	out := &leaktest.Log{}
	m := newManager(t, adapter.Options{Logger: out.Logger(), Cookie: adapter.Cookie{Secure: adapter.SecureAlways}})
	for range 3 {
		serve(m, "", func(w http.ResponseWriter, r *http.Request) { m.Put(r.Context(), "k", "v") })
	}
	if got := strings.Count(out.String(), "set Options.Proxy to ProxyTrusted"); got != 1 {
		t.Errorf("logged %d times: %s", got, out)
	}
}

func TestGenID(t *testing.T) {
	for name, tt := range map[string]struct {
		id   string
		code int
	}{
		"good": {"an-id.of/our+own", 200}, "empty": {"", 500}, "too long": {strings.Repeat("x", 129), 500},
		"with a line break": {"a\nb", 500}, "not ASCII": {"ä", 500},
	} {
		t.Run(name, func(t *testing.T) {
			out := &leaktest.Log{}
			m := newManager(t, adapter.Options{Logger: out.Logger(), GenID: func(r *http.Request) string {
				if r.URL.Path != "/" {
					t.Error("another request")
				}
				return tt.id
			}})
			w := serve(m, "", func(w http.ResponseWriter, r *http.Request) {
				m.Put(r.Context(), "k", "v")
				if tt.code == 200 && m.ID(r.Context()) != tt.id {
					t.Errorf("ID %q", m.ID(r.Context()))
				}
			})
			if w.Code != tt.code {
				t.Errorf("status %d", w.Code)
			}
			if tt.code == 200 {
				if got := read(t, m, tt.id); !reflect.DeepEqual(got, map[string]any{"k": "v"}) {
					t.Errorf("record %v", got)
				}
			} else if !strings.Contains(out.String(), "GenID returned") {
				t.Errorf("log: %s", out)
			}
		})
	}
}

// An id that is taken must not give one client the session of another.
func TestGenIDThatRepeats(t *testing.T) {
	m := newManager(t, adapter.Options{GenID: func(*http.Request) string { return "always-this" }})
	begin(t, m, map[string]any{"user": "first"})
	w := serve(m, "", func(w http.ResponseWriter, r *http.Request) { m.Put(r.Context(), "user", "second") })
	if w.Code != http.StatusInternalServerError || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("status %d, Set-Cookie %q", w.Code, w.Header().Get("Set-Cookie"))
	}
	if got := read(t, m, "always-this"); got["user"] != "first" {
		t.Errorf("record %v", got)
	}
}
