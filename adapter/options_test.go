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
		`Secrets and Options.Cookies: a secret signs the cookie and UnsignedCookies does not; drop one of the two`: func(o *adapter.Options) {
			o.Cookies = adapter.UnsignedCookies
		},
		`Cookies: 3 is not a form of cookie; use SignedCookies, MigrateCookies or UnsignedCookies`: func(o *adapter.Options) { o.Cookies = 3 },
		`Unset: "discard" is neither "keep" nor "destroy"`:                                         func(o *adapter.Options) { o.Unset = "discard" },
		`Proxy: must be Default, True or False`:                                                    func(o *adapter.Options) { o.Proxy = adapter.Auto },
		`Cookie and Options.CookieFunc: both are given; drop one of the two`: func(o *adapter.Options) {
			o.Cookie.Domain = "example.com"
			o.CookieFunc = func(*http.Request) adapter.Cookie { return adapter.Cookie{} }
		},
		`Cookie.MaxAge: is negative (-1s); 0 is a cookie that ends with the browser`: func(o *adapter.Options) { o.Cookie.MaxAge = -time.Second },
		`Cookie.MaxAge and Cookie.Expires: both are given; drop one of the two`: func(o *adapter.Options) {
			o.Cookie.MaxAge, o.Cookie.Expires = time.Hour, time.Now()
		},
		`Cookie.Path: "app" does not start with "/"`:                       func(o *adapter.Options) { o.Cookie.Path = "app" },
		`Cookie.HTTPOnly: must be Default, True or False`:                  func(o *adapter.Options) { o.Cookie.HTTPOnly = adapter.Auto },
		`Cookie.Secure: must be Default, True, False or Auto`:              func(o *adapter.Options) { o.Cookie.Secure = 4 },
		`Cookie.SameSite: "relaxed" is not one of lax, strict, none, auto`: func(o *adapter.Options) { o.Cookie.SameSite = "relaxed" },
		`Cookie.Priority: "urgent" is not one of low, medium, high`:        func(o *adapter.Options) { o.Cookie.Priority = "urgent" },
		`Cookie.SameSite and Cookie.Secure: browsers drop a SameSite=None cookie that is not secure; set Secure`: func(o *adapter.Options) {
			o.Cookie.SameSite = "None"
		},
		`Cookie.SameSite and Cookie.Secure: auto is None on a secure connection, and browsers drop such a cookie if it is not secure; set Secure to Auto`: func(o *adapter.Options) {
			o.Cookie.SameSite = adapter.SameSiteAuto
		},
		`Cookie.Partitioned and Cookie.Secure: browsers drop a partitioned cookie that is not secure; set Secure`: func(o *adapter.Options) {
			o.Cookie.Partitioned = true
		},
		`Cookie.Secure: must be True for a cookie named __Secure-sid`: func(o *adapter.Options) { o.Name = "__Secure-sid" },
		`Cookie.Secure, Path and Domain: a cookie named __Host-sid needs Secure True, Path "/" and no Domain`: func(o *adapter.Options) {
			o.Name, o.Cookie.Secure, o.Cookie.Path = "__Host-sid", adapter.True, "/app"
		},
		`IDs: 3 is not a form of id; use PlainIDs, MigrateIDs or HashedIDs`: func(o *adapter.Options) { o.IDs = 3 },
		`IDs: can't be hashed in this store: Express looks for the id itself; use another layout`: func(o *adapter.Options) {
			o.Store, o.IDs = jsonStore{}, adapter.HashedIDs
		},
		`IDs and Options.Cookies: MigrateIDs would take a hash in an unsigned cookie for an id; use SignedCookies`: func(o *adapter.Options) {
			o.Cookies, o.IDs = adapter.MigrateCookies, adapter.MigrateIDs
		},
		`IDs: MigrateIDs needs a store that is a Renamer, such as Redis or Postgres; use HashedIDs, with which nobody stays signed in`: func(o *adapter.Options) {
			o.IDs = adapter.MigrateIDs
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
			if m != nil || err == nil || err.Error() != "adapter: Options."+want {
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
	out := &logs{}
	newManager(t, adapter.Options{Secrets: []string{secret, "keyboard cat"}, Logger: out.logger()})
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

// What a team sets on scs's fields after New counts, or fails each request.
func TestFieldsSetAfterNew(t *testing.T) {
	type M = adapter.Manager
	for name, tt := range map[string]struct {
		set  func(m *M)
		want string // in the Set-Cookie header of a new session
	}{
		"Cookie.Name":        {func(m *M) { m.Cookie.Name = "sid" }, "sid=s%3A"},
		"Cookie.Domain":      {func(m *M) { m.Cookie.Domain = "example.com" }, "; Domain=example.com;"},
		"Cookie.Path":        {func(m *M) { m.Cookie.Path = "/app" }, "; Path=/app;"},
		"Cookie.Partitioned": {func(m *M) { m.Cookie.Partitioned, m.Cookie.Secure = true, true }, "; Secure; Partitioned"},
		"Cookie.SameSite":    {func(m *M) { m.Cookie.SameSite = http.SameSiteStrictMode }, "; SameSite=Strict"},
		"Cookie.Persist":     {func(m *M) { m.Cookie.Persist = true }, "; Max-Age=86400;"},
		"IdleTimeout":        {func(m *M) { m.Cookie.Persist, m.IdleTimeout = true, 20*time.Minute }, "; Max-Age=1200;"},
		"Lifetime":           {func(m *M) { m.Cookie.Persist, m.Lifetime = true, time.Hour }, "; Max-Age=3600;"},
		"no IdleTimeout":     {func(m *M) { m.Cookie.Persist, m.IdleTimeout, m.Lifetime = true, 0, time.Hour }, "; Max-Age=3600;"},
		"Store":              {func(m *M) { m.Store = plainStore{newMapStore()} }, "connect.sid="},
	} {
		t.Run(name, func(t *testing.T) {
			m := newManager(t, adapter.Options{Proxy: adapter.True})
			tt.set(m)
			r := httptest.NewRequest("GET", "/app", nil)
			r.Header.Set("X-Forwarded-Proto", "https")
			w := httptest.NewRecorder()
			m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				m.Put(r.Context(), "k", "v")
			})).ServeHTTP(w, r)
			if got := w.Header().Get("Set-Cookie"); !strings.Contains(got, tt.want) {
				t.Errorf("Set-Cookie %q, want %q in it", got, tt.want)
			}
		})
	}

	t.Run("Cookie.HttpOnly", func(t *testing.T) {
		m := newManager(t, adapter.Options{})
		m.Cookie.HttpOnly = false
		w := serve(m, "", func(w http.ResponseWriter, r *http.Request) { m.Put(r.Context(), "k", "v") })
		if got := w.Header().Get("Set-Cookie"); got == "" || strings.Contains(got, "HttpOnly") {
			t.Errorf("Set-Cookie %q", got)
		}
	})
	t.Run("Codec", func(t *testing.T) {
		store := newMapStore()
		m := newManager(t, adapter.Options{Store: fullStore{store}})
		m.Codec = adapter.JSONCodec{}
		id := begin(t, m, map[string]any{"k": "v"})
		if got := store.records[id].data; !strings.HasSuffix(string(got), `"k":"v"}`) {
			t.Errorf("record %s", got)
		}
	})
	t.Run("HashTokenInStore", func(t *testing.T) {
		store := newMapStore()
		m := newManager(t, adapter.Options{Store: fullStore{store}})
		m.HashTokenInStore = true
		id := begin(t, m, map[string]any{"k": "v"})
		var key string
		for key = range store.records {
		}
		if len(store.records) != 1 || key == id {
			t.Error("the id itself is in the store")
		}
		serve(m, cookieFor(id), func(w http.ResponseWriter, r *http.Request) {
			if m.GetString(r.Context(), "k") != "v" {
				t.Error("the session is not found by its cookie")
			}
		})
		serve(m, cookieFor(key), func(w http.ResponseWriter, r *http.Request) {
			if m.Exists(r.Context(), "k") {
				t.Error("the stored hash is accepted as an id")
			}
		})
		if err := m.Iterate(t.Context(), m.Destroy); err != nil || len(store.records) != 0 {
			t.Errorf("Destroy in Iterate: %v, %d records left", err, len(store.records))
		}
	})

	cookieFunc := func(*http.Request) adapter.Cookie { return adapter.Cookie{MaxAge: time.Hour} }
	for want, tt := range map[string]struct {
		o   adapter.Options
		set func(m *M)
	}{
		"Manager.Store: is nil":                                {set: func(m *M) { m.Store = nil }},
		"Manager.Codec: is nil":                                {set: func(m *M) { m.Codec = nil }},
		"Manager.ErrorFunc: is nil":                            {set: func(m *M) { m.ErrorFunc = nil }},
		"Manager.IdleTimeout: is neg":                          {set: func(m *M) { m.IdleTimeout = -1 }},
		"Manager.IdleTimeout and Manager.Lifetime: are both 0": {set: func(m *M) { m.IdleTimeout = 0 }},
		"Manager.Cookie.Path: is empty; say":                   {set: func(m *M) { m.Cookie.Path = "" }},
		"Manager.Cookie and Manager.IdleTimeout: Options.CookieFunc makes the cookie": {adapter.Options{CookieFunc: cookieFunc}, func(m *M) { m.Cookie.Domain = "example.com" }},
		"Manager.HashTokenInStore: can't be used with this store":                     {adapter.Options{Store: jsonStore{}}, func(m *M) { m.HashTokenInStore = true }},
		"Options.Name: ": {set: func(m *M) { m.Cookie.Name = "a;b" }},
		"Options.AbsoluteLifetime and Options.Cookie.MaxAge: ": {adapter.Options{Cookie: adapter.Cookie{MaxAge: time.Hour}}, func(m *M) { m.Lifetime = time.Minute }},
		"Options.Cookie.SameSite and Cookie.Secure: ":          {set: func(m *M) { m.Cookie.SameSite = http.SameSiteNoneMode }},
	} {
		t.Run(want, func(t *testing.T) {
			out := &logs{}
			tt.o.Logger = out.logger()
			m := newManager(t, tt.o)
			tt.set(m)
			for range 2 {
				w := serve(m, "", func(http.ResponseWriter, *http.Request) { t.Error("the handler ran") })
				if w.Code != http.StatusInternalServerError {
					t.Errorf("status %d", w.Code)
				}
			}
			if strings.Count(out.String(), want) != 2 {
				t.Errorf("log: %s", out)
			}
			if _, err := m.Load(t.Context(), ""); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Load: %v", err)
			}
		})
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
		"defaults":            {want: "; Path=/; HttpOnly"},
		"maxAge":              {o: adapter.Options{Cookie: adapter.Cookie{MaxAge: week}}, want: "; Max-Age=604800; Path=/; Expires=Sat, 08 Jan 2000 00:00:00 GMT; HttpOnly"},
		"expires":             {o: adapter.Options{Cookie: adapter.Cookie{Expires: time.Date(2000, 1, 3, 0, 0, 0, 0, time.UTC)}}, want: "; Max-Age=172800; Path=/; Expires=Mon, 03 Jan 2000 00:00:00 GMT; HttpOnly"},
		"a short age":         {o: adapter.Options{Cookie: adapter.Cookie{MaxAge: time.Millisecond}}, want: "; Max-Age=1; Path=/; Expires=Sat, 01 Jan 2000 00:00:01 GMT; HttpOnly"},
		"script access":       {o: adapter.Options{Cookie: adapter.Cookie{HTTPOnly: adapter.False}}, want: "; Path=/"},
		"everything":          {o: adapter.Options{Proxy: adapter.True, Cookie: adapter.Cookie{Domain: "example.com", Path: "/a", Secure: adapter.True, SameSite: "Strict", Partitioned: true, Priority: "High"}}, proto: "https", target: "/a/b", want: "; Domain=example.com; Path=/a; HttpOnly; Secure; Partitioned; Priority=High; SameSite=Strict"},
		"secure, plain":       {o: adapter.Options{Cookie: adapter.Cookie{Secure: adapter.True}}, want: "-"},
		"secure, TLS":         {o: adapter.Options{Cookie: adapter.Cookie{Secure: adapter.True}}, target: "https://example.com/", want: "; Path=/; HttpOnly; Secure"},
		"secure, proxy unset": {o: adapter.Options{Cookie: adapter.Cookie{Secure: adapter.True}}, proto: "https", want: "-"},
		"secure, proxy false": {o: adapter.Options{Proxy: adapter.False, Cookie: adapter.Cookie{Secure: adapter.True}}, proto: "https", want: "-"},
		"secure, proxy true":  {o: adapter.Options{Proxy: adapter.True, Cookie: adapter.Cookie{Secure: adapter.True}}, proto: "HTTPS , http", want: "; Path=/; HttpOnly; Secure"},
		"secure, proxy http":  {o: adapter.Options{Proxy: adapter.True, Cookie: adapter.Cookie{Secure: adapter.True}}, proto: "http, https", want: "-"},
		"auto, plain":         {o: adapter.Options{Cookie: adapter.Cookie{Secure: adapter.Auto, SameSite: adapter.SameSiteAuto}}, want: "; Path=/; HttpOnly; SameSite=Lax"},
		"auto, TLS":           {o: adapter.Options{Cookie: adapter.Cookie{Secure: adapter.Auto, SameSite: adapter.SameSiteAuto}}, target: "https://example.com/", want: "; Path=/; HttpOnly; Secure; SameSite=None"},
		"function":            {o: adapter.Options{CookieFunc: func(r *http.Request) adapter.Cookie { return adapter.Cookie{Domain: r.Host} }}, target: "http://a.example.com/", want: "; Domain=a.example.com; Path=/; HttpOnly"},
		"outside the path":    {o: adapter.Options{Cookie: adapter.Cookie{Path: "/app"}}, target: "/other", want: "-"},
		"function's path":     {o: adapter.Options{CookieFunc: func(*http.Request) adapter.Cookie { return adapter.Cookie{Path: "/app"} }}, target: "/other", want: "-"},
		"inside the path":     {o: adapter.Options{Cookie: adapter.Cookie{Path: "/app"}}, target: "/application", want: "; Path=/app; HttpOnly"},
		"path with a query":   {o: adapter.Options{Cookie: adapter.Cookie{Path: "/app"}}, target: "/?/app", want: "-"},
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
	out := &logs{}
	m := newManager(t, adapter.Options{Logger: out.logger(), Cookie: adapter.Cookie{Secure: adapter.True}})
	for range 3 {
		serve(m, "", func(w http.ResponseWriter, r *http.Request) { m.Put(r.Context(), "k", "v") })
	}
	if got := strings.Count(out.String(), "set Options.Proxy to True"); got != 1 {
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
			out := &logs{}
			m := newManager(t, adapter.Options{Logger: out.logger(), GenID: func(r *http.Request) string {
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
