package adapter_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"log"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/adapter/config"
	"github.com/samesid/samesid/backends/memory"
	"github.com/samesid/samesid/internal/leaktest"
	"github.com/samesid/samesid/internal/wire"
)

// The cases here are attacks on the sessions of others. SECURITY.md lists them.

// userOf is who a request with this Cookie header is signed in as, "" for nobody.
func userOf(m *adapter.Manager, cookie string) string {
	var name string
	serve(m, cookie, func(w http.ResponseWriter, r *http.Request) { name = m.GetString(r.Context(), "user") })
	return name
}

// signedBy is the Cookie header for a value that these secrets sign.
func signedBy(id string, secrets ...string) string {
	return "connect.sid=" + wire.EncodeURIComponent(wire.NewSigner(secrets).Sign(id))
}

// Whatever cookie is planted before the login, the id of who signs in is a new
// one, and what was planted is worth nothing then.
func TestFixation(t *testing.T) {
	for name, change := range map[string]func(*adapter.Manager, context.Context) error{
		"Regenerate": (*adapter.Manager).Regenerate,
		"RenewToken": (*adapter.Manager).RenewToken,
	} {
		for _, form := range []adapter.Signature{adapter.SignatureRequired, adapter.SignatureMigrating, adapter.SignatureNone} {
			o := adapter.Options{Signature: form}
			bothCodecs(t, o, func(t *testing.T, m *adapter.Manager) {
				attackers := begin(t, m, map[string]any{"cart": "c"})
				sent := cookieFor
				if form == adapter.SignatureNone {
					sent = func(id string) string { return "connect.sid=" + id }
				}
				for what, planted := range map[string]string{
					"nothing":               "",
					"an unsigned id":        "connect.sid=planted-planted-planted-planted-",
					"a made-up signature":   "connect.sid=s%3Aplanted-planted-planted-planted-." + strings.Repeat("A", 43),
					"another's signature":   signedBy("planted-planted-planted-planted-", "another secret"),
					"a session of this app": sent(attackers),
				} {
					var id string
					w := serve(m, planted, func(w http.ResponseWriter, r *http.Request) {
						if err := change(m, r.Context()); err != nil {
							t.Error(err)
						}
						m.Put(r.Context(), "user", "victim")
						id = m.ID(r.Context())
					})
					if len(id) != 32 || id == attackers {
						t.Errorf("%s, %s: the id after the login is not a new one", name, what)
					}
					if set := w.Header().Get("Set-Cookie"); !strings.HasPrefix(set, sent(id)+";") {
						t.Errorf("%s, %s: the new id is not what the browser gets", name, what)
					}
					if got := userOf(m, sent(id)); got != "victim" {
						t.Errorf("%s, %s: signed in as %q", name, what, got)
					}
					if got := userOf(m, planted); got != "" {
						t.Errorf("%s, %s: what was planted is signed in as %q", name, what, got)
					}
				}
				if read(t, m, attackers) != nil {
					t.Errorf("%s: the attacker's session is still there", name)
				}
			})
		}
	}
}

// A new id at a change of privilege keeps the data, and ends the old id.
func TestNewIDAtAChangeOfPrivilege(t *testing.T) {
	bothCodecs(t, adapter.Options{}, func(t *testing.T, m *adapter.Manager) {
		old := begin(t, m, map[string]any{"user": "u"})
		var id string
		within(t, m, old, func(ctx context.Context) {
			if err := m.RenewToken(ctx); err != nil {
				t.Error(err)
			}
			m.Put(ctx, "role", "admin")
			id = m.ID(ctx)
		})
		if id == old || userOf(m, cookieFor(old)) != "" || userOf(m, cookieFor(id)) != "u" {
			t.Error("the old id goes on, or the new one does not")
		}
		if got := read(t, m, id); got["role"] != "admin" {
			t.Errorf("the session is %v", got)
		}
	})
}

// A neighbour's host may set a cookie for the whole domain. It never signs anybody
// in as the victim; Go's own cookie jar is the browser here.
func TestCookieFromANeighbour(t *testing.T) {
	at := func(raw string) *url.URL {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	m := newManager(t, adapter.Options{})
	app, neighbour := at("https://app.example.com/"), at("https://evil.example.com/")
	attackers := begin(t, m, map[string]any{"cart": "the attacker's"})
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	header := func() string {
		var pairs []string
		for _, c := range jar.Cookies(app) {
			pairs = append(pairs, c.Name+"="+c.Value)
		}
		return strings.Join(pairs, "; ")
	}
	_, planted, _ := strings.Cut(cookieFor(attackers), "=")
	jar.SetCookies(neighbour, []*http.Cookie{{Name: "connect.sid", Value: planted, Domain: "example.com", Path: "/"}})
	if header() == "" {
		t.Fatal("the jar does not send what was planted")
	}

	w := serve(m, header(), func(w http.ResponseWriter, r *http.Request) {
		if err := m.Regenerate(r.Context()); err != nil {
			t.Error(err)
		}
		m.Put(r.Context(), "user", "victim")
	})
	jar.SetCookies(app, w.Result().Cookies())
	if got := userOf(m, cookieFor(attackers)); got != "" {
		t.Errorf("the attacker is signed in as %q", got)
	}
	// Both are sent from now on, the planted one first, as it is older. It is the
	// first that counts, so the victim is signed out: a nuisance and no more.
	if strings.Count(header(), "connect.sid=") != 2 {
		t.Fatal("the jar does not send both cookies")
	}
	if got := userOf(m, header()); got != "" {
		t.Errorf("with both cookies, signed in as %q", got)
	}
}

// Of two cookies of one name the first one counts, as in Express, whatever it is:
// no later one is tried, and nothing is looked for twice. So an attacker who can
// have a cookie sent in front can have a victim work in the attacker's session;
// a name with __Host- keeps others from setting one.
func TestCookieTossing(t *testing.T) {
	store := newMapStore()
	m := newManager(t, adapter.Options{Store: fullStore{store}})
	good := cookieFor(begin(t, m, map[string]any{"user": "victim"}))
	own := cookieFor(begin(t, m, map[string]any{"user": "attacker"}))
	ended := begin(t, m, map[string]any{"user": "ended"})
	within(t, m, ended, func(ctx context.Context) {
		if err := m.Destroy(ctx); err != nil {
			t.Error(err)
		}
	})
	forged := signedBy("planted", "another secret")

	for name, tt := range map[string]struct {
		headers []string
		user    string
		calls   string
	}{
		"good, forged":                {[]string{good + "; " + forged}, "victim", "findtouch"},
		"good, forged, two headers":   {[]string{good, forged}, "victim", "findtouch"},
		"forged, good":                {[]string{forged + "; " + good}, "", ""},
		"forged, good, two headers":   {[]string{forged, good}, "", ""},
		"empty, good":                 {[]string{"connect.sid=; " + good}, "", ""},
		"no value, good":              {[]string{"connect.sid; " + good}, "victim", "findtouch"},
		"unsigned, good":              {[]string{"connect.sid=x; " + good}, "", ""},
		"ended, good":                 {[]string{cookieFor(ended) + "; " + good}, "", "findtouch"},
		"over-long, good":             {[]string{"connect.sid=" + strings.Repeat("x", 5000) + "; " + good}, "", ""},
		"good, attacker's":            {[]string{good + "; " + own}, "victim", "findtouch"},
		"attacker's, good":            {[]string{own + "; " + good}, "attacker", "findtouch"},
		"attacker's, good, 2 headers": {[]string{own, good}, "attacker", "findtouch"},
		"three":                       {[]string{"a=b; " + good + "; " + own, forged}, "victim", "findtouch"},
		"another case":                {[]string{"Connect.sid=x; " + good}, "victim", "findtouch"},
		"in another's value":          {[]string{"a=connect.sid=x; " + good}, "victim", "findtouch"},
		"in another's quotes":         {[]string{`a="connect.sid=x; ` + good + `"`}, "", ""}, // the quote is at the signature's end
		"attributes as cookies":       {[]string{"$Version=1; " + good + "; $Path=/; $Domain=evil.example.com"}, "victim", "findtouch"},
	} {
		t.Run(name, func(t *testing.T) {
			store.takeCalls()
			r := httptest.NewRequest("GET", "/", nil)
			r.Header["Cookie"] = tt.headers
			w := httptest.NewRecorder()
			m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if got := m.GetString(r.Context(), "user"); got != tt.user {
					t.Errorf("signed in as %q, want %q", got, tt.user)
				}
			})).ServeHTTP(w, r)
			if got := store.takeCalls(); got != tt.calls {
				t.Errorf("store calls %q, want %q", got, tt.calls)
			}
			if w.Code != http.StatusOK || w.Header().Get("Set-Cookie") != "" {
				t.Errorf("status %d, or a cookie was set", w.Code)
			}
		})
	}
}

// The browser accepts a __Host- cookie only from this very host, and a __Secure-
// one only over HTTPS. What it would drop is refused before it is sent, by
// whatever way it is configured.
func TestCookieNamePrefixes(t *testing.T) {
	secure := adapter.Cookie{Secure: adapter.SecureAlways}
	for name, tt := range map[string]struct {
		name   string
		cookie adapter.Cookie
		good   bool
	}{
		"host":                 {"__Host-sid", secure, true},
		"host, path":           {"__Host-sid", adapter.Cookie{Secure: adapter.SecureAlways, Path: "/app"}, false},
		"host, domain":         {"__Host-sid", adapter.Cookie{Secure: adapter.SecureAlways, Domain: "example.com"}, false},
		"host, not secure":     {"__Host-sid", adapter.Cookie{}, false},
		"host, auto":           {"__Host-sid", adapter.Cookie{Secure: adapter.SecureAuto}, false},
		"host, another case":   {"__hOST-sid", adapter.Cookie{Secure: adapter.SecureAlways, Domain: "example.com"}, false},
		"secure":               {"__Secure-sid", adapter.Cookie{Secure: adapter.SecureAlways, Path: "/app", Domain: "example.com"}, true},
		"secure, not secure":   {"__Secure-sid", adapter.Cookie{}, false},
		"secure, auto":         {"__Secure-sid", adapter.Cookie{Secure: adapter.SecureAuto}, false},
		"secure, another case": {"__SECURE-sid", adapter.Cookie{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			o := adapter.Options{Name: tt.name, Secrets: []string{secret}, Cookie: tt.cookie}
			if _, err := adapter.New(o); (err == nil) != tt.good {
				t.Errorf("New: %v", err)
			}
			put := func(m *adapter.Manager) *httptest.ResponseRecorder {
				r := httptest.NewRequest("GET", "https://example.com/app", nil)
				w := httptest.NewRecorder()
				m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					m.Put(r.Context(), "k", "v")
				})).ServeHTTP(w, r)
				noteCookies(w)
				return w
			}
			sent := func(how string, w *httptest.ResponseRecorder) {
				set := w.Header().Get("Set-Cookie")
				if (set != "") != tt.good || (w.Code == http.StatusOK) != tt.good {
					t.Errorf("%s: status %d, a cookie is set: %t", how, w.Code, set != "")
				}
				if tt.good && !strings.Contains(set, "; Secure") {
					t.Errorf("%s: the cookie is not secure", how)
				}
			}

			o.Cookie, o.CookieFunc = adapter.Cookie{}, func(*http.Request) adapter.Cookie { return tt.cookie }
			m, err := adapter.New(o)
			if err != nil {
				t.Fatal(err)
			}
			sent("CookieFunc", put(m))

			if tt.cookie.Secure == adapter.SecureAuto {
				return // scs has no such thing
			}
			sm := scs.New()
			sm.Cookie.Name, sm.Cookie.Domain, sm.Cookie.Secure = tt.name, tt.cookie.Domain, tt.cookie.Secure == adapter.SecureAlways
			if tt.cookie.Path != "" {
				sm.Cookie.Path = tt.cookie.Path
			}
			m, err = adapter.Wrap(sm, adapter.Options{Secrets: []string{secret}})
			if (err == nil) != tt.good {
				t.Errorf("Wrap: %v", err)
			}
			if err == nil {
				sent("Wrap", put(m))
			}
		})
	}
}

// No value but the one that the app has signed is taken for an id, and none that
// fails costs a store call.
func TestForgedCookies(t *testing.T) {
	store := newMapStore()
	m := newManager(t, adapter.Options{Store: fullStore{store}})
	id := begin(t, m, map[string]any{"user": "u"})
	other := begin(t, m, map[string]any{"user": "other"})
	value := wire.NewSigner([]string{secret}).Sign(id)
	sig := value[len("s:")+len(id)+1:]
	othersSig := wire.NewSigner([]string{secret}).Sign(other)[len("s:")+len(other)+1:]
	leaktest.Note(value, othersSig)

	// The 43rd character of a signature has two bits that mean nothing: others
	// stand for the same bytes.
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	last := strings.IndexByte(alphabet, sig[42])
	sameBytes := sig[:42] + string(alphabet[last^1])
	urlSafe := strings.NewReplacer("+", "-", "/", "_").Replace(sig)
	if urlSafe == sig {
		urlSafe = strings.Replace(sig, sig[:1], "-", 1)
	}

	for name, forged := range map[string]string{
		"without its last character":      "s:" + id + "." + sig[:42],
		"a character more":                "s:" + id + "." + sig + "A",
		"no signature":                    "s:" + id,
		"nothing after the dot":           "s:" + id + ".",
		"nothing before the dot":          "s:." + sig,
		"nothing at all":                  "s:.",
		"other bits, same bytes":          "s:" + id + "." + sameBytes,
		"base64url":                       "s:" + id + "." + urlSafe,
		"with padding":                    "s:" + id + "." + sig + "=",
		"with a line break":               "s:" + id + "." + sig[:42] + "\n" + sig[42:],
		"with a space":                    "s:" + id + "." + sig[:20] + " " + sig[20:],
		"other case":                      "s:" + id + "." + strings.ToLower(sig),
		"hexadecimal":                     "s:" + id + "." + fmt.Sprintf("%x", sig)[:43],
		"another session's signature":     "s:" + id + "." + othersSig,
		"another session's id":            "s:" + other + "." + sig,
		"id in another case":              "s:" + strings.ToUpper(id) + "." + sig,
		"id with a dot":                   "s:" + id + ".x." + sig,
		"id cut by a dot":                 "s:" + id[:16] + "." + id[16:] + "." + sig,
		"id with a letter more":           "s:" + id + "x." + sig,
		"signed twice":                    "s:" + value[2:] + "." + sig,
		"prefix twice":                    "s:" + value,
		"no prefix":                       value[2:],
		"another prefix":                  "j:" + value[2:],
		"prefix in another case":          "S:" + value[2:],
		"NUL after the id":                "s:" + id + "\x00." + sig,
		"full-width dot":                  "s:" + id + "．" + sig,
		"Cyrillic letter for a Latin one": "s:" + id + "." + strings.Replace(sig, sig[:1], "а", 1),
		"a zero-width space":              "s:" + id + "\u200b." + sig,
		"a byte order mark":               "\ufeff" + value,
		"surrogate bytes":                 "s:" + id + ".\xed\xa0\x80" + sig[3:],
		"all zero":                        "s:" + id + "." + strings.Repeat("A", 43),
		"4 KB of id":                      "s:" + strings.Repeat("x", 4096) + "." + sig,
		"4 KB of signature":               "s:" + id + "." + strings.Repeat(sig, 95),
		"4 KB of dots":                    "s:" + strings.Repeat(".", 4000),
	} {
		t.Run(name, func(t *testing.T) {
			for how, cookie := range map[string]string{"encoded": wire.EncodeURIComponent(forged), "as it is": forged} {
				if strings.Contains(forged, "\n") && how == "as it is" {
					continue // no server passes it on
				}
				store.takeCalls()
				if got := userOf(m, "connect.sid="+cookie); got != "" {
					t.Errorf("%s: signed in as %q", how, got)
				}
				if got := store.takeCalls(); got != "" {
					t.Errorf("%s: store calls %q", how, got)
				}
			}
		})
	}

	for name, cookie := range map[string]string{
		"another secret":           signedBy(id, "another secret of at least thirty-two"),
		"no secret":                signedBy(id, ""),
		"what hides the secrets":   signedBy(id, "hidden"), // in a Manager's Options
		"a part of the secret":     signedBy(id, secret[:len(secret)-1]),
		"the secret and more":      signedBy(id, secret+"x"),
		"encoded twice":            "connect.sid=" + wire.EncodeURIComponent(wire.EncodeURIComponent(value)),
		"another name":             "connect.sid2=" + wire.EncodeURIComponent(value),
		"another name's beginning": "connect=" + wire.EncodeURIComponent(value),
		"name in another case":     "Connect.Sid=" + wire.EncodeURIComponent(value),
		"name encoded":             "connect%2Esid=" + wire.EncodeURIComponent(value),
		"name quoted":              `"connect.sid"=` + wire.EncodeURIComponent(value),
	} {
		t.Run(name, func(t *testing.T) {
			store.takeCalls()
			if got, calls := userOf(m, cookie), store.takeCalls(); got != "" || calls != "" {
				t.Errorf("signed in as %q, store calls %q", got, calls)
			}
		})
	}
	if got := userOf(m, "connect.sid="+wire.EncodeURIComponent(value)); got != "u" {
		t.Errorf("the cookie itself: signed in as %q", got)
	}
}

// An id may have dots in it: the signature is what follows the last one.
func TestDotsInAnID(t *testing.T) {
	const id = "a.session.id.with.dots."
	m := newManager(t, adapter.Options{GenID: func(*http.Request) string { return id }})
	if got := begin(t, m, map[string]any{"user": "u"}); got != id {
		t.Fatalf("the id is %q", got)
	}
	if got := userOf(m, cookieFor(id)); got != "u" {
		t.Errorf("signed in as %q", got)
	}
}

// Each secret verifies, wherever it is in the list, and no other does.
func TestEverySecretIsTried(t *testing.T) {
	secrets := []string{"the first secret of thirty-two bytes", "the second secret of thirty-two bytes", "the third secret of thirty-two bytes"}
	store := fullStore{newMapStore()}
	m := newManager(t, adapter.Options{Store: store, Secrets: secrets})
	id := begin(t, m, map[string]any{"user": "u"})
	for i, s := range secrets {
		if userOf(m, signedBy(id, s)) != "u" {
			t.Errorf("secret %d does not verify", i)
		}
	}
	without := newManager(t, adapter.Options{Store: store, Secrets: secrets[:2]})
	if userOf(without, signedBy(id, secrets[2])) != "" {
		t.Error("a secret that was taken off the list verifies")
	}
}

// A cookie that was good once is worth nothing after the end of its session, and a
// request with it brings nothing back.
func TestReplayedCookies(t *testing.T) {
	do := func(fn func(m *adapter.Manager, ctx context.Context) error) func(t *testing.T, m *adapter.Manager, id string) {
		return func(t *testing.T, m *adapter.Manager, id string) {
			within(t, m, id, func(ctx context.Context) {
				if err := fn(m, ctx); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wait := func(step time.Duration, times int) func(t *testing.T, m *adapter.Manager, id string) {
		return func(t *testing.T, m *adapter.Manager, id string) {
			for range times {
				time.Sleep(step)
				userOf(m, cookieFor(id))
			}
		}
	}
	for name, tt := range map[string]struct {
		o   adapter.Options
		end func(t *testing.T, m *adapter.Manager, id string)
	}{
		"logout":     {end: do((*adapter.Manager).Destroy)},
		"regenerate": {end: do((*adapter.Manager).Regenerate)},
		"new id":     {end: do((*adapter.Manager).RenewToken)},
		"unset": {
			o:   adapter.Options{Unset: adapter.UnsetDestroy},
			end: do(func(m *adapter.Manager, ctx context.Context) error { m.Unset(ctx); return nil }),
		},
		"ended by an operator": {end: func(t *testing.T, m *adapter.Manager, id string) {
			if err := m.Iterate(t.Context(), func(ctx context.Context) error { return m.Destroy(ctx) }); err != nil {
				t.Error(err)
			}
		}},
		"unused for too long":        {o: adapter.Options{Cookie: adapter.Cookie{MaxAge: time.Hour}}, end: wait(time.Hour, 1)},
		"unused for too long, TTL":   {o: adapter.Options{TTL: time.Hour}, end: wait(time.Hour, 1)},
		"used for too long":          {o: adapter.Options{TTL: time.Hour, AbsoluteLifetime: 3 * time.Hour}, end: wait(30*time.Minute, 6)},
		"a maxAge that is over":      {end: do(func(m *adapter.Manager, ctx context.Context) error { m.SetMaxAge(ctx, -1); return nil })},
		"logout, rolling and resave": {o: adapter.Options{Rolling: true, Resave: true}, end: do((*adapter.Manager).Destroy)},
	} {
		t.Run(name, func(t *testing.T) {
			bothCodecs(t, tt.o, func(t *testing.T, m *adapter.Manager) {
				synctest.Test(t, func(t *testing.T) {
					id := begin(t, m, map[string]any{"user": "u"})
					if userOf(m, cookieFor(id)) != "u" {
						t.Fatal("not signed in before")
					}
					tt.end(t, m, id)
					for range 2 {
						w := serve(m, cookieFor(id), func(w http.ResponseWriter, r *http.Request) {
							if m.Exists(r.Context(), "user") || m.ID(r.Context()) == id {
								t.Error("the session goes on")
							}
							m.Put(r.Context(), "k", "v")
						})
						if strings.HasPrefix(w.Header().Get("Set-Cookie"), cookieFor(id)) {
							t.Error("the cookie is given out again")
						}
					}
					if read(t, m, id) != nil {
						t.Error("the session is back")
					}
				})
			})
		})
	}
}

// The comparison of a signature takes as long whatever is right of it, by how it
// is written: the computed one goes to subtle.ConstantTimeCompare and nowhere
// else.
func TestSignaturesAreComparedInConstantTime(t *testing.T) {
	const name = "../internal/wire/signer.go"
	file := parse(t, name)

	// Nothing else that could compare is there.
	allowed := map[string][]string{
		"crypto/hmac":     {"New"},
		"crypto/sha256":   {"New", "Size"},
		"crypto/subtle":   {"ConstantTimeCompare"},
		"encoding/base64": {"RawStdEncoding"},
		"hash":            {"Hash"},
		"strings":         {"CutPrefix", "LastIndexByte"},
		"sync":            {"Pool"},
	}
	packages := map[string]string{}
	for _, spec := range file.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := allowed[path]; !ok {
			t.Errorf("it imports %s: does that compare anything?", path)
		}
		packages[path[strings.LastIndexByte(path, '/')+1:]] = path
	}

	signed, compared := 0, 0
	var within []ast.Node // of the node that is looked at
	ast.Inspect(file, func(n ast.Node) bool {
		if n == nil {
			within = within[:len(within)-1]
			return true
		}
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && packages[x.Name] != "" && !slices.Contains(allowed[packages[x.Name]], n.Sel.Name) {
				t.Errorf("it uses %s.%s", x.Name, n.Sel.Name)
			}
		case *ast.BinaryExpr:
			if n.Op == token.EQL || n.Op == token.NEQ {
				_, x := n.X.(*ast.BasicLit)
				_, y := n.Y.(*ast.BasicLit)
				length, _ := n.Y.(*ast.Ident)
				if !x && !y && (length == nil || length.Name != "signatureLen") {
					t.Errorf("it compares something with %s, and neither side is a constant", n.Op)
				}
			}
		case *ast.SwitchStmt, *ast.TypeSwitchStmt, *ast.MapType:
			t.Errorf("it has a %T, which compares", n)
		case *ast.CallExpr:
			if selected, ok := n.Fun.(*ast.SelectorExpr); ok && selected.Sel.Name == "sign" {
				signed++
				parent, _ := within[len(within)-1].(*ast.CallExpr)
				if parent == nil {
					t.Error("a computed signature is kept")
					break
				}
				switch fun := parent.Fun.(type) {
				case *ast.SelectorExpr:
					if x, ok := fun.X.(*ast.Ident); !ok || x.Name != "subtle" || fun.Sel.Name != "ConstantTimeCompare" {
						t.Errorf("a computed signature goes to %s", fun.Sel.Name)
					}
					compared++
				case *ast.Ident:
					if in := functionOf(within); fun.Name != "string" || in != "Sign" {
						t.Errorf("a computed signature goes to %s in %s", fun.Name, in)
					}
				}
			}
		}
		within = append(within, n)
		return true
	})
	if signed != 2 || compared != 1 {
		t.Errorf("signatures are computed in %d places and compared in %d, and should be in 2 and 1", signed, compared)
	}

	// Nobody compares what Sign returns, in place of asking Unsign.
	for _, dir := range []string{".", "../internal/wire"} {
		names, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		calls := 0
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			ast.Inspect(parse(t, name), func(n ast.Node) bool {
				if b, ok := n.(*ast.BinaryExpr); ok && (callsSign(b.X) || callsSign(b.Y)) && (b.Op == token.EQL || b.Op == token.NEQ) {
					t.Errorf("%s compares what Sign returns", name)
				}
				if e, ok := n.(ast.Expr); ok && callsSign(e) {
					calls++
				}
				return true
			})
		}
		if dir == "." && calls != 2 {
			t.Errorf("there are signatures in %d places, and should be in two, cookieValue and Sign; is what Sign returns compared there?", calls)
		}
	}
}

func callsSign(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	fun, ok := call.Fun.(*ast.SelectorExpr)
	return ok && fun.Sel.Name == "Sign"
}

// functionOf is the name of the function that the last of these nodes is in.
func functionOf(within []ast.Node) string {
	for _, n := range slices.Backward(within) {
		if f, ok := n.(*ast.FuncDecl); ok {
			return f.Name.Name
		}
	}
	return ""
}

func parse(t *testing.T, name string) *ast.File {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// injections are what ends a header or an attribute, or confuses who reads it.
var injections = []string{
	"a\r\nSet-Cookie: x=y", "a\nb", "a\rb", "a;b", "a; Domain=evil.example.com", "a\x00b", "a\x1fb", "a\x7fb", "a\tb", "a\u2028b", "a\x85b", "é",
}

// Nothing that is configured can end the header, or add an attribute or another
// header to it.
func TestHeaderInjection(t *testing.T) {
	fields := map[string]struct {
		option func(o *adapter.Options, text string)
		field  func(sm *scs.SessionManager, text string)
	}{
		"Name": {
			func(o *adapter.Options, text string) { o.Name = text },
			func(sm *scs.SessionManager, text string) { sm.Cookie.Name = text },
		},
		"Domain": {
			func(o *adapter.Options, text string) { o.Cookie.Domain = text },
			func(sm *scs.SessionManager, text string) { sm.Cookie.Domain = text },
		},
		"Path": {
			func(o *adapter.Options, text string) { o.Cookie.Path = "/" + text },
			func(sm *scs.SessionManager, text string) { sm.Cookie.Path = "/" + text },
		},
		"SameSite": {func(o *adapter.Options, text string) { o.Cookie.SameSite = adapter.SameSite("lax" + text) }, nil},
		"Priority": {func(o *adapter.Options, text string) { o.Cookie.Priority = "low" + text }, nil},
	}
	put := func(m *adapter.Manager) *httptest.ResponseRecorder {
		return serve(m, "", func(w http.ResponseWriter, r *http.Request) { m.Put(r.Context(), "k", "v") })
	}
	refused := func(t *testing.T, how string, w *httptest.ResponseRecorder) {
		t.Helper()
		if w.Code != http.StatusInternalServerError || w.Header()["Set-Cookie"] != nil {
			t.Errorf("%s: status %d, Set-Cookie %q", how, w.Code, w.Header()["Set-Cookie"])
		}
	}
	for name, f := range fields {
		t.Run(name, func(t *testing.T) {
			for _, text := range injections {
				o := adapter.Options{Secrets: []string{secret}}
				f.option(&o, text)
				_, err := adapter.New(o)
				if err == nil {
					t.Errorf("New takes %q", text)
				} else if strings.ContainsAny(err.Error(), "\r\x00\x7f") || strings.Contains(err.Error(), "\nSet-Cookie") {
					t.Errorf("the error has %q as it is, for the log: %q", text, err)
				}
				if f.field != nil {
					sm := scs.New()
					f.field(sm, text)
					if _, err := adapter.Wrap(sm, adapter.Options{Secrets: []string{secret}}); err == nil {
						t.Errorf("Wrap takes %q", text)
					}
				}
				if name != "Name" {
					cookie := o.Cookie
					m := newManager(t, adapter.Options{CookieFunc: func(*http.Request) adapter.Cookie { return cookie }})
					refused(t, fmt.Sprintf("CookieFunc with %q", text), put(m))
				}
			}
		})
	}

	t.Run("GenID", func(t *testing.T) {
		for _, form := range []adapter.Signature{adapter.SignatureRequired, adapter.SignatureNone} {
			for _, id := range append([]string{"a b", `a"b`, "a,b", `a\b`, "a=b", "a%0d%0ab", "a%3Bb"}, injections...) {
				m := newManager(t, adapter.Options{Signature: form, GenID: func(*http.Request) string { return id }})
				w := put(m)
				if strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) {
					refused(t, fmt.Sprintf("the id %q", id), w)
					continue
				}
				headers := w.Header()["Set-Cookie"]
				if len(headers) != 1 {
					t.Fatalf("the id %q: %d cookies", id, len(headers))
				}
				pair, attributes, _ := strings.Cut(headers[0], "; ")
				_, value, _ := strings.Cut(pair, "=")
				if attributes != "Path=/; HttpOnly" || strings.ContainsAny(value, "\r\n\t ;,\"\\=") {
					t.Errorf("the id %q: %q", id, headers[0])
				}
				var got string
				serve(m, pair, func(w http.ResponseWriter, r *http.Request) { got = m.ID(r.Context()) })
				if got != id {
					t.Errorf("the id %q comes back as %q", id, got)
				}
			}
		}
	})

	t.Run("configuration", func(t *testing.T) {
		for _, key := range []string{"name: %s", "cookie: {domain: %s}", "cookie: {path: %s}", "cookie: {sameSite: %s}", "cookie: {priority: %s}"} {
			for _, text := range injections {
				if strings.Contains(key, "path") {
					text = "/" + text
				}
				file := filepath.Join(t.TempDir(), "session.yaml")
				yaml := "secret: " + secret + "\n" + fmt.Sprintf(key, strings.NewReplacer(`\u0085`, `\N`, `\x85`, `\N`).Replace(strconv.QuoteToASCII(text))) + "\nstore: {type: memory}\n"
				if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
					t.Fatal(err)
				}
				_, store, err := config.Open(t.Context(), file)
				if err == nil {
					t.Errorf("%s: %q is taken", key, text)
					if err := store.Close(); err != nil {
						t.Error(err)
					}
				} else if strings.ContainsAny(err.Error(), "\r\x00\x7f") || strings.Contains(err.Error(), "\nSet-Cookie") {
					t.Errorf("%s: the error has it as it is: %q", key, err)
				}
			}
		}
	})

	// Who can write to the store can sign in as anyone, but still not write headers.
	t.Run("a record", func(t *testing.T) {
		for _, key := range []string{"domain", "path", "sameSite", "priority"} {
			for _, text := range injections {
				store := newMapStore()
				m := newManager(t, adapter.Options{Store: fullStore{store}, Codec: adapter.JSONCodec{}, Rolling: true, Logger: (&leaktest.Log{}).Logger()})
				if key == "path" {
					text = "/" + text
				}
				quoted := strings.NewReplacer(`\x00`, `\u0000`, `\x1f`, `\u001f`, `\x7f`, `\u007f`, `\x85`, `\u0085`).Replace(strconv.QuoteToASCII(text))
				store.records["planted"] = mapRecord{
					[]byte(`{"cookie":{"originalMaxAge":60000,"` + key + `":` + quoted + `},"user":"u"}`),
					time.Now().Add(time.Hour),
				}
				w := serve(m, cookieFor("planted"), func(http.ResponseWriter, *http.Request) {})
				for _, header := range w.Header()["Set-Cookie"] {
					if strings.ContainsAny(header, "\r\n\x00\x7f") || strings.Contains(header, "evil") || strings.Contains(header, "a;b") {
						t.Errorf("%s %q: %q", key, text, header)
					}
				}
			}
		}
	})
}

// An id is 24 bytes from crypto/rand, and no two sessions have the same.
func TestSessionIDs(t *testing.T) {
	m := newManager(t, adapter.Options{})
	const n = 2000
	var ones [192]int
	seen := map[string]bool{}
	for range n {
		serve(m, "", func(w http.ResponseWriter, r *http.Request) {
			id := m.ID(r.Context())
			b, err := base64.RawURLEncoding.DecodeString(id)
			if err != nil || len(b) != 24 || seen[id] {
				t.Fatalf("an id of %d bytes, %v, seen before: %t", len(b), err, seen[id])
			}
			seen[id] = true
			for i := range ones {
				ones[i] += int(b[i/8] >> (i % 8) & 1)
			}
		})
	}
	// Eight standard deviations, which chance does not reach.
	for i, got := range ones {
		if got < n/2-180 || got > n/2+180 {
			t.Errorf("bit %d is set in %d of %d ids", i, got, n)
		}
	}
	for _, spec := range parse(t, "session.go").Imports {
		if strings.Contains(spec.Path.Value, "math/rand") {
			t.Error("session.go, which makes the ids, imports math/rand")
		}
	}
}

// The id is in Set-Cookie and nowhere else in a response.
func TestIDIsInTheCookieAlone(t *testing.T) {
	m := newManager(t, adapter.Options{Rolling: true})
	var id, cookie string
	for i := range 3 {
		w := serve(m, cookie, func(w http.ResponseWriter, r *http.Request) {
			m.Put(r.Context(), "i", i)
			id = m.ID(r.Context())
			_, _ = w.Write([]byte("the page"))
		})
		set := w.Header()["Set-Cookie"]
		if len(set) != 1 || !strings.HasPrefix(set[0], cookieFor(id)+"; ") || !strings.Contains(set[0], "; HttpOnly") {
			t.Fatalf("request %d: %d cookies, or not the session's", i, len(set))
		}
		cookie = cookieFor(id)
		w.Header().Del("Set-Cookie")
		if strings.Contains(fmt.Sprint(w.Header(), w.Body), id) {
			t.Errorf("request %d: the id is elsewhere in the response", i)
		}
	}
}

// Browsers drop a cookie of more than 4096 bytes, name and value together.
func TestCookieIsSmall(t *testing.T) {
	longest := strings.Repeat(`"`, 128) // three bytes each, once encoded
	m := newManager(t, adapter.Options{GenID: func(*http.Request) string { return longest }})
	w := serve(m, "", func(w http.ResponseWriter, r *http.Request) { m.Put(r.Context(), "data", strings.Repeat("x", 100_000)) })
	pair, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";")
	if n := len(pair) - len("connect.sid="); n < 3*128 || n > 518 {
		t.Errorf("the value is %d bytes long", n)
	}
}

// Who only looks costs nothing: no session, no cookie, no store call.
func TestAnonymousRequestsMakeNoSessions(t *testing.T) {
	store := newMapStore()
	m := newManager(t, adapter.Options{Store: fullStore{store}})
	for i := range 1000 {
		for _, cookie := range []string{"", signedBy(strconv.Itoa(i), "another secret"), "connect.sid=" + strconv.Itoa(i)} {
			w := serve(m, cookie, func(w http.ResponseWriter, r *http.Request) {
				if m.GetString(r.Context(), "user") != "" || m.ID(r.Context()) == "" {
					t.Error("no session to look at")
				}
			})
			if w.Header().Get("Set-Cookie") != "" {
				t.Fatal("a cookie is set")
			}
		}
	}
	if calls := store.takeCalls(); calls != "" || len(store.records) != 0 {
		t.Errorf("%d sessions, store calls %.100q", len(store.records), calls)
	}
}

// A store that is full refuses new sessions and keeps those that it has, under a new id
// too: a newcomer does not get the place of a session that is about to have one.
func TestFullStoreKeepsItsSessions(t *testing.T) {
	store := memory.New(memory.Options{MaxSessions: 3})
	t.Cleanup(func() { _ = store.Close() })
	m := newManager(t, adapter.Options{Store: store, Logger: (&leaktest.Log{}).Logger()})
	victim := begin(t, m, map[string]any{"user": "victim"})
	refused := 0
	for i := range 100 {
		w := serve(m, "", func(w http.ResponseWriter, r *http.Request) { m.Put(r.Context(), "i", i) })
		if w.Code == http.StatusServiceUnavailable && w.Header().Get("Set-Cookie") == "" {
			refused++
		}
	}
	if refused != 98 {
		t.Errorf("%d of 100 new sessions are refused, want 98", refused)
	}
	if got := userOf(m, cookieFor(victim)); got != "victim" {
		t.Errorf("signed in as %q", got)
	}
	if w := within(t, m, victim, func(ctx context.Context) { m.Put(ctx, "more", "x") }); w.Code != http.StatusOK {
		t.Errorf("a change of a session that is there: status %d", w.Code)
	}
	for name, change := range map[string]func(*adapter.Manager, context.Context) error{
		"Regenerate": (*adapter.Manager).Regenerate,
		"RenewToken": (*adapter.Manager).RenewToken,
	} {
		for range 3 {
			var next string
			w := serve(m, cookieFor(victim), func(w http.ResponseWriter, r *http.Request) {
				if err := change(m, r.Context()); err != nil {
					t.Error(err)
				}
				newcomer := serve(m, "", func(w http.ResponseWriter, r *http.Request) { m.Put(r.Context(), "i", 0) })
				if newcomer.Code != http.StatusServiceUnavailable || newcomer.Header().Get("Set-Cookie") != "" {
					t.Errorf("%s: a newcomer before it is saved: status %d", name, newcomer.Code)
				}
				if name == "Regenerate" {
					m.Put(r.Context(), "user", "victim")
				}
				next = m.ID(r.Context())
			})
			if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Set-Cookie"), cookieFor(next)+";") {
				t.Fatalf("%s: status %d", name, w.Code)
			}
			if got := userOf(m, cookieFor(next)); got != "victim" {
				t.Fatalf("%s: signed in as %q under the new id", name, got)
			}
			if got := userOf(m, cookieFor(victim)); got != "" {
				t.Errorf("%s: signed in as %q under the old id", name, got)
			}
			victim = next
		}
	}
}

// A handler that panics saves nothing, and what net/http makes of the panic has
// nothing of the session in it.
func TestPanicShowsNothing(t *testing.T) {
	out := &leaktest.Log{}
	m := newManager(t, adapter.Options{Logger: out.Logger()})
	const value = "what the session has in it"
	id := begin(t, m, map[string]any{"user": value})
	srv := httptest.NewUnstartedServer(m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.Put(r.Context(), "k", "not to be saved")
		panic(errors.New("oops"))
	})))
	srv.Config.ErrorLog = log.New(leaktest.Copy(out), "", 0)
	srv.Start()
	defer srv.Close()
	for _, cookie := range []string{"", cookieFor(id), cookieFor(id)} {
		r, err := http.NewRequestWithContext(t.Context(), "POST", srv.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Cookie", cookie)
		res, err := http.DefaultClient.Do(r)
		if err == nil {
			t.Errorf("the client gets %s", res.Status)
			res.Body.Close()
		} else if !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	}
	srv.Close() // has written its log
	if got := read(t, m, id); got["user"] != value || got["k"] != nil {
		t.Errorf("the session is %d values, and should be as it was", len(got))
	}
	got := out.String()
	if strings.Count(got, "oops") != 3 {
		t.Errorf("the panics are not in the log:\n%s", got)
	}
	_, cookie, _ := strings.Cut(cookieFor(id), "=")
	for what, text := range map[string]string{"id": id, "cookie": cookie, "secret": secret, "value": value, "change": "not to be saved"} {
		if strings.Contains(got, text) {
			t.Errorf("the %s is in the log", what)
		}
	}
}

// No error has a secret, an id or what a session holds in it, however it is
// printed.
func TestErrorsShowNothing(t *testing.T) {
	const value = "what the session has in it"
	store := newMapStore()
	m := newManager(t, adapter.Options{Store: fullStore{store}, MaxRecordSize: 1000})
	var last error
	m.ErrorFunc = func(w http.ResponseWriter, _ *http.Request, err error) {
		last = err
		w.WriteHeader(http.StatusTeapot)
	}
	id := begin(t, m, map[string]any{"user": value})
	failing := func(call string) error {
		store.fail = map[string]error{call: errors.New("connection refused")}
		defer func() { store.fail = nil }()
		last = nil
		serve(m, cookieFor(id), func(w http.ResponseWriter, r *http.Request) { m.Put(r.Context(), "k", value) })
		return last
	}
	errs := map[string]error{"find": failing("findtouch"), "save": failing("replace")}
	last = nil
	serve(m, cookieFor(id), func(w http.ResponseWriter, r *http.Request) { m.Put(r.Context(), "k", strings.Repeat(value, 100)) })
	errs["too large"], last = last, nil
	serve(m, cookieFor(id), func(w http.ResponseWriter, r *http.Request) { m.Put(r.Context(), "k", struct{ f func() }{}) })
	errs["can't be stored"] = last
	_, errs["options"] = adapter.New(adapter.Options{
		Name: "a b", Secrets: []string{secret, ""}, TTL: -1, Unset: "x", Signature: adapter.SignatureNone,
		Cookie: adapter.Cookie{Domain: "a b", MaxAge: -1},
	})
	fields := scs.New()
	fields.Cookie.Name = "a b"
	_, errs["fields"] = adapter.Wrap(fields, adapter.Options{Secrets: []string{secret}})

	for name, err := range errs {
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		shows(t, name, err, secret, id, value)
	}
}

// Printing what holds the secrets does not show them.
func TestManagersShowNothing(t *testing.T) {
	m := newManager(t, adapter.Options{Secrets: []string{secret, "another secret of thirty-two bytes"}})
	id := begin(t, m, map[string]any{"user": "what the session has in it"})
	m.Sign("a purpose", "a text")
	within(t, m, id, func(ctx context.Context) {
		shows(t, "Manager", m, secret, "another secret", id)
		shows(t, "copied Manager", *m.SessionManager, secret, "another secret", id)
	})
}

// shows fails the test if printing v shows one of these.
func shows(t *testing.T, name string, v any, hidden ...string) {
	t.Helper()
	for _, format := range []string{"%v", "%+v", "%#v"} {
		text := fmt.Sprintf(format, v)
		for i, h := range hidden {
			if strings.Contains(text, h) || strings.Contains(text, strings.Trim(fmt.Sprintf("%d", []byte(h)), "[]")) {
				t.Errorf("%s with %s shows secret %d", name, format, i)
			}
		}
	}
}
