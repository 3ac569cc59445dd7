package devicebound_test

import (
	"crypto"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
	"github.com/samesid/samesid/auth/devicebound"
	"github.com/samesid/samesid/backends/memory"
)

// A browser registers, and renews its proof for as long as it uses the app.
func TestFlow(t *testing.T) {
	for name, key := range map[string]crypto.Signer{"ES256": ecKey(), "RS256": rsaKey()} {
		for codec, c := range map[string]scs.Codec{"gob": scs.GobCodec{}, "json": adapter.JSONCodec{}} {
			t.Run(name+" "+codec, func(t *testing.T) {
				inTime(t, func(t *testing.T) {
					c := newApp(t, adapter.Options{Codec: c, TTL: 24 * time.Hour}, devicebound.Options{}).client(key)
					c.bind()
					for range 3 {
						c.get("/protected", 200)
						c.get("/fresh", 200)
						c.get("/required", 200)
						time.Sleep(10*time.Minute - 11*time.Second)
						if _, ok := c.cookies[deviceSID]; !ok {
							t.Fatal("the cookie was cleared")
						}
						time.Sleep(11 * time.Second) // the browser's cookie ends
						c.get("/protected", 401)
						c.refresh()
					}
					c.get("/protected", 200)
				})
			})
		}
	}
}

// A browser without DBSC notices nothing, but where a proof is required of all.
func TestBrowserWithoutDBSC(t *testing.T) {
	inTime(t, func(t *testing.T) {
		c := newApp(t, adapter.Options{}, devicebound.Options{}).client(nil)
		c.signIn()
		for range 2 {
			c.get("/protected", 200)
			c.get("/fresh", 200)
			if w := c.get("/required", 403); w.Body.String() != `{"message":"Device Bound Session Required"}` {
				t.Errorf("required: %s", w.Body)
			}
			time.Sleep(59 * time.Minute)
		}
		if names := slices.Collect(maps.Keys(c.cookies)); !slices.Equal(names, []string{sessionSID}) {
			t.Errorf("it has the cookies %q", names)
		}
		c.do(http.MethodPost, "/logout")
		c.get("/protected", 401)
	})
}

// What Express finds in req.session.
func TestRecord(t *testing.T) {
	inTime(t, func(t *testing.T) {
		store := memory.New(memory.Options{})
		c := newApp(t, adapter.Options{Codec: adapter.JSONCodec{}, Store: store}, devicebound.Options{}).client(ecKey())
		defer store.Close()
		c.bind()
		all, err := store.All()
		check(t, err)
		for _, data := range all {
			var record struct {
				Binding map[string]any `json:"auth_binding"`
			}
			check(t, json.Unmarshal(data, &record))
			names := slices.Sorted(maps.Keys(record.Binding))
			if !slices.Equal(names, []string{"at", "id", "key", "last"}) || record.Binding["id"] != c.id {
				t.Errorf("the session has %v", names)
			}
		}
		if len(all) != 1 {
			t.Errorf("there are %d sessions", len(all))
		}
	})
}

// What the browser sends while it gets the answer to its registration is admitted; a proof
// that is required is required at once.
func TestRequestsDuringRegistration(t *testing.T) {
	inTime(t, func(t *testing.T) {
		c := newApp(t, adapter.Options{}, devicebound.Options{}).client(ecKey())
		c.signIn()
		c.register()
		under := c.thief(sessionSID) // a request without the new cookie
		under.get("/protected", 200)
		under.get("/required", 403)
		old := c.thief(sessionSID) // and one with that of the last session
		old.cookies[deviceSID] = cookie{value: "1.x"}
		old.get("/protected", 200)
		time.Sleep(10*time.Second - time.Millisecond)
		under.get("/protected", 200)
		time.Sleep(time.Millisecond)
		under.get("/protected", 401)
		c.get("/protected", 200)

		// The server that registered may have been ahead, but a clock that was far off and
		// has been set right opens nothing for longer.
		c.mux.HandleFunc("/ahead", func(_ http.ResponseWriter, r *http.Request) {
			is, err := adapter.Get[map[string]any](r.Context(), c.m, "auth_binding")
			check(t, err)
			by, err := time.ParseDuration(r.URL.RawQuery)
			check(t, err)
			is["at"] = time.Now().Add(by).UnixMilli()
			check(t, adapter.Put(r.Context(), c.m, "auth_binding", is))
		})
		for by, want := range map[string]int{"30s": 200, "31s": 401, "24h": 401} {
			c.get("/ahead?"+by, 200)
			under.get("/protected", want)
		}
	})
}

// A link from another origin finds a browser without the cookie, which renews it for the
// page's own request.
func TestLinkFromAnotherOrigin(t *testing.T) {
	inTime(t, func(t *testing.T) {
		c := newApp(t, adapter.Options{}, devicebound.Options{}).client(ecKey())
		c.bind()
		time.Sleep(10 * time.Minute)
		navigation := []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Accept", "text/html", "Sec-Fetch-Site"}
		for _, site := range []string{"cross-site", "same-site"} {
			for _, path := range []string{"/protected", "/fresh", "/required"} {
				w := c.get(path, 401, append(navigation, site)...)
				if w.Header().Get("Refresh") != "0" || w.Header().Get("Location") != "" || w.Header().Get("Cache-Control") != "no-store" {
					t.Errorf("%s: %v", site, w.Header())
				}
			}
		}
		for _, site := range []string{"same-origin", "none", ""} { // a second time, it would go round and round
			if w := c.get("/protected", 303, append(navigation, site)...); w.Header().Get("Refresh") != "" || w.Header().Get("Location") != "/login?returnTo=%2Fprotected" {
				t.Errorf("%q: %v", site, w.Header())
			}
		}
		for _, header := range [][]string{
			{"Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Sec-Fetch-Site", "cross-site"},
			{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe", "Sec-Fetch-Site", "cross-site"},
		} {
			if w := c.get("/protected", 401, header...); w.Header().Get("Refresh") != "" {
				t.Errorf("%v: %v", header, w.Header())
			}
		}
		if w := c.do(http.MethodPost, "/protected", append(navigation, "cross-site")...); w.Code != 401 || w.Header().Get("Refresh") != "" {
			t.Errorf("POST: %d %v", w.Code, w.Header())
		}
		c.refresh()
		c.get("/protected", 200)

		unbound := c.app.client(nil) // there is nothing to renew
		unbound.signIn()
		if w := unbound.get("/required", 403, append(navigation, "cross-site")...); w.Header().Get("Refresh") != "" {
			t.Errorf("unbound: %v", w.Header())
		}
	})
}

// It is switched on, off and on again, and nobody is logged out.
func TestOnAndOff(t *testing.T) {
	inTime(t, func(t *testing.T) {
		store := memory.New(memory.Options{})
		defer store.Close()
		with := func(o devicebound.Options) *app {
			return newApp(t, adapter.Options{Store: store, TTL: 24 * time.Hour}, o)
		}
		on, off := with(devicebound.Options{}), with(devicebound.Options{Off: true})
		before := off.client(ecKey())
		before.signIn()
		if before.offer != "" {
			t.Error("it is off, and offers")
		}
		before.app = on
		before.get("/protected", 200)

		uses, renews, registers, sleeps := on.client(ecKey()), on.client(ecKey()), on.client(ecKey()), on.client(ecKey())
		uses.bind()
		renews.bind()
		sleeps.bind()
		time.Sleep(10 * time.Minute)
		registers.signIn()

		for _, c := range []*client{uses, renews, registers} {
			c.app = off
		}
		uses.get("/protected", 200)
		uses.get("/required", 200)
		w := renews.do(http.MethodPost, "/device-bound/refresh", "Sec-Secure-Session-Id", renews.id)
		if w.Code != 200 || w.Body.String() != `{"session_identifier":"`+renews.id+`","continue":false}` {
			t.Errorf("refresh: %d %s", w.Code, w.Body)
		}
		if w := registers.register(); w.Code != 401 {
			t.Errorf("register: %d", w.Code)
		}
		registers.get("/protected", 200)

		for _, c := range []*client{uses, renews, registers} {
			c.app = on
			c.get("/protected", 200)
			c.get("/required", 403)
		}
		sleeps.get("/protected", 401) // it was not there meanwhile, and has its key still
		sleeps.refresh()
		sleeps.get("/protected", 200)

		// Without the package, the browser's renewals find nothing, and it gives up.
		sleeps.mux = http.NewServeMux()
		if w := sleeps.do(http.MethodPost, "/device-bound/refresh", "Sec-Secure-Session-Id", sleeps.id); w.Code != 404 {
			t.Errorf("without the handler: %d", w.Code)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	for want, c := range map[string]struct {
		m adapter.Options
		o devicebound.Options
	}{
		"devicebound: manager: has SignatureNone":             {m: adapter.Options{Signature: adapter.SignatureNone}},
		"devicebound: manager: has Cookie.Domain \"a.io\"":    {m: adapter.Options{Cookie: adapter.Cookie{Domain: "a.io"}}},
		"devicebound: manager: has Cookie.Path \"/a\"":        {m: adapter.Options{Cookie: adapter.Cookie{Path: "/a"}}},
		"devicebound: manager: has a cookie for frames":       {m: adapter.Options{Cookie: adapter.Cookie{SameSite: adapter.SameSiteNone, Secure: adapter.SecureAlways}}},
		"devicebound: manager: has a cookie for frames in":    {m: adapter.Options{Cookie: adapter.Cookie{Partitioned: true, Secure: adapter.SecureAlways}}},
		"devicebound: Options.Age: is 4m59s":                  {o: devicebound.Options{Age: 5*time.Minute - time.Second}},
		"devicebound: Options.Age: is -1ns":                   {o: devicebound.Options{Age: -1}},
		"devicebound: Options.Path: \"device\" is not":        {o: devicebound.Options{Path: "device"}},
		"devicebound: Options.Path: \"/\" is not":             {o: devicebound.Options{Path: "/"}},
		"devicebound: Options.Path: \"/a/\" is not":           {o: devicebound.Options{Path: "/a/"}},
		"devicebound: Options.Path: \"//a\" is not":           {o: devicebound.Options{Path: "//a"}},
		"devicebound: Options.Path: \"/../a\" is not":         {o: devicebound.Options{Path: "/../a"}},
		"devicebound: Options.Path: \"/a\\\";x=\\\"\" is not": {o: devicebound.Options{Path: `/a";x="`}},
		"devicebound: Options.Path: \"/a?b\" is not":          {o: devicebound.Options{Path: "/a?b"}},
	} {
		if c.m.Signature != adapter.SignatureNone {
			c.m.Secrets = []string{secret}
		}
		m := adapter.MustNew(c.m)
		if _, err := devicebound.New(m, c.o); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := devicebound.New(nil, devicebound.Options{Age: -1}); err == nil || !strings.Contains(err.Error(), "manager: is nil") || !strings.Contains(err.Error(), "Age") {
		t.Errorf("without a Manager: %v", err)
	}
	m := adapter.MustNew(adapter.Options{Secrets: []string{secret}})
	// A planted session can't bring its binding along.
	if err := (auth.Options{Keep: []string{"auth_binding"}}).Validate(); err == nil {
		t.Error("auth keeps a visitor's binding")
	}
	if _, err := devicebound.New(m, devicebound.Options{Path: "/a/b-1", Age: 5 * time.Minute}); err != nil {
		t.Error(err)
	}
}

// The second cookie is named after the session's, so that two apps on a host have two.
func TestCookieName(t *testing.T) {
	for name, want := range map[string]string{"": deviceSID, "sid": "__Host-sid.device", "__Host-sid": "__Host-sid.device", "__Secure-sid": "__Host-sid.device"} {
		a := newApp(t, adapter.Options{Name: name, Cookie: adapter.Cookie{Secure: adapter.SecureAlways}}, devicebound.Options{})
		c := a.client(ecKey())
		c.signIn()
		w := c.do(http.MethodPost, "/device-bound/register", "Secure-Session-Response", c.registration(c.offer))
		if _, ok := c.cookies[want]; !ok || w.Code != 200 {
			t.Errorf("%q: %d, cookies %v", name, w.Code, slices.Collect(maps.Keys(c.cookies)))
		}
	}
}
