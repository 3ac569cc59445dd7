package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"html"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends/memory"
	"github.com/samesid/samesid/internal/leaktest"
)

const (
	asBrowser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
	asCurl    = "*/*"
)

// client is a browser or a program, with the cookie that it keeps.
type client struct {
	t       *testing.T
	handler http.Handler
	*sessions
	accept string
	cookie string // the Cookie header, or ""
	log    *bytes.Buffer
}

func newClient(t *testing.T, accept string) *client {
	t.Helper()
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(leaktest.Copy(&log), nil))
	s, err := openSessions(t.Context(), "", logger)
	if err != nil {
		t.Fatal(err)
	}
	leaktest.Note(s.secrets...)
	leaktest.Note(demoPassword)
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	handler, err := newSite(s, "http://127.0.0.1:8080", logger)
	if err != nil {
		t.Fatal(err)
	}
	return &client{t: t, handler: handler, sessions: s, accept: accept, log: &log}
}

func (c *client) do(r *http.Request) *httptest.ResponseRecorder {
	c.t.Helper()
	r.Host = "127.0.0.1:8080"
	if r.Header.Get("Accept") == "" {
		r.Header.Set("Accept", c.accept)
	}
	if c.cookie != "" {
		r.Header.Set("Cookie", c.cookie)
	}
	w := httptest.NewRecorder()
	c.handler.ServeHTTP(w, r)
	for _, set := range w.Result().Cookies() {
		leaktest.Note(set.Value)
		c.cookie = set.Name + "=" + set.Value
		if set.MaxAge < 0 {
			c.cookie = ""
		}
	}
	return w
}

func (c *client) get(path string) *httptest.ResponseRecorder {
	c.t.Helper()
	return c.do(httptest.NewRequest(http.MethodGet, path, nil))
}

// post sends a form and, as a browser does, follows a redirect.
func (c *client) post(path string, form url.Values) *httptest.ResponseRecorder {
	c.t.Helper()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := c.do(r)
	if to := w.Header().Get("Location"); to != "" {
		return c.get(to)
	}
	return w
}

func (c *client) signIn() *httptest.ResponseRecorder {
	c.t.Helper()
	return c.post("/login", credentials(demoPassword))
}

func credentials(password string) url.Values {
	return url.Values{"username": {demoUser.Username}, "password": {password}}
}

// secretsOf returns the texts that would reveal the session's cookie.
func (c *client) secretsOf() []string {
	c.t.Helper()
	_, raw, _ := strings.Cut(c.cookie, "=")
	value, err := url.PathUnescape(raw)
	if err != nil || !strings.HasPrefix(value, "s:") {
		c.t.Fatalf("not the cookie of a session: %v", err)
	}
	id, signature, _ := strings.Cut(value[2:], ".")
	rawSignature := raw[strings.LastIndex(raw, ".")+1:]
	return []string{raw, value, id, signature, rawSignature}
}

// text returns a page without its tags, with white space collapsed.
func text(w *httptest.ResponseRecorder) string {
	s := regexp.MustCompile(`<[^>]*>`).ReplaceAllString(w.Body.String(), " ")
	return strings.Join(strings.Fields(html.UnescapeString(s)), " ")
}

func says(t *testing.T, w *httptest.ResponseRecorder, want ...string) {
	t.Helper()
	got := text(w)
	for _, s := range want {
		if !strings.Contains(got, s) {
			t.Errorf("the page does not say %q; it says\n%s", s, got)
		}
	}
}

func saysNot(t *testing.T, w *httptest.ResponseRecorder, unwanted ...string) {
	t.Helper()
	for _, s := range unwanted {
		if strings.Contains(text(w), s) {
			t.Errorf("the page says %q", s)
		}
	}
}

func TestPrograms(t *testing.T) {
	for _, accept := range []string{asCurl, "application/json", ""} {
		c := newClient(t, accept)
		steps := []struct {
			method, path, body string
			status             int
			want               string
		}{
			{"GET", "/", "", 200, `{"signedIn":false,"user":null,"count":0}`},
			{"GET", "/protected", "", 401, `{"message":"Invalid Credentials"}`},
			{"POST", "/login", `{"username":"demo","password":"wrong"}`, 401, `{"message":"Invalid Credentials"}`},
			{"POST", "/login", `{"username":"nobody","password":"` + demoPassword + `"}`, 401, `{"message":"Invalid Credentials"}`},
			{"GET", "/protected", "", 401, `{"message":"Invalid Credentials"}`},
			{"POST", "/login", `{"username":"demo","password":"` + demoPassword + `"}`, 200, `{"message":"You are logged in"}`},
			{"GET", "/protected", "", 200, `{"message":"You are authorized"}`},
			{"POST", "/count", "", 200, `{"count":1}`},
			{"POST", "/count", "", 200, `{"count":2}`},
			{"GET", "/", "", 200, `{"signedIn":true,"user":{"username":"demo","name":"Demo User"},"count":2}`},
			{"POST", "/expire", "", 200, `{"message":"The session ends 10 s after its last request"}`},
			{"GET", "/nothing", "", 404, `{"message":"Not Found"}`},
			{"POST", "/logout", "", 200, `{"message":"You are logged out"}`},
			{"GET", "/protected", "", 401, `{"message":"Invalid Credentials"}`},
			{"POST", "/login", `{"username":"demo","password":"` + demoPassword + `"}`, 200, `{"message":"You are logged in"}`},
			{"GET", "/logout", "", 200, `{"message":"You are logged out"}`},
			{"GET", "/protected", "", 401, `{"message":"Invalid Credentials"}`},
		}
		for i, s := range steps {
			r := httptest.NewRequest(s.method, s.path, strings.NewReader(s.body))
			if s.body != "" {
				r.Header.Set("Content-Type", "application/json")
			}
			w := c.do(r)
			if w.Code != s.status || strings.TrimSpace(w.Body.String()) != s.want {
				t.Errorf("Accept %q, %d: %s %s: got %d %s, want %d %s", accept, i, s.method, s.path, w.Code, w.Body, s.status, s.want)
			}
			if got := w.Header().Get("Content-Type"); !strings.HasPrefix(got, "application/json") {
				t.Errorf("Accept %q, %d: %s %s: Content-Type %q", accept, i, s.method, s.path, got)
			}
		}
	}
}

func TestBrowser(t *testing.T) {
	c := newClient(t, asBrowser)
	steps := []struct {
		name   string
		do     func() *httptest.ResponseRecorder
		status int
		says   []string
		not    []string
	}{
		{
			"start", func() *httptest.ResponseRecorder { return c.get("/") }, 200,
			[]string{"Signed out", demoPassword, "Credentials sent not yet", "This request came without a session cookie", "curl -b cookies.txt http://127.0.0.1:8080/protected"},
			[]string{"refused", "done"},
		},
		{
			"protected", func() *httptest.ResponseRecorder { return c.get("/protected") }, 401,
			[]string{"Invalid Credentials", "Your browser sent no session cookie"},
			nil,
		},
		{
			"wrong password", func() *httptest.ResponseRecorder { return c.post("/login", credentials("wrong")) }, 200,
			[]string{"Signed out", "Invalid credentials.", "Credentials sent done", "User name demo", "Credentials verified refused", "What led here POST /login → 303", "No Set-Cookie"},
			nil,
		},
		{
			"count", func() *httptest.ResponseRecorder { return c.post("/count", nil) }, 200,
			[]string{"Signed out", "Session created done", `"count": 1`, "Nobody is signed in, and the session has data", "Put count = 2", "What led here POST /count → 303", "Access granted refused"},
			[]string{"Invalid credentials."},
		},
		{
			"protected, not signed in", func() *httptest.ResponseRecorder { return c.get("/protected") }, 401,
			[]string{"nobody has signed in to it"},
			nil,
		},
		{
			"sign in", c.signIn, 200,
			[]string{"Signed in as demo", "10 min left", "$argon2id$", "POST /login → 303", "Set-Cookie: connect.sid=••••••••; Max-Age=600; Path=/; Expires=", "got a new id", "The store knows its session", `"username": "demo"`, "Put count = 1 "},
			[]string{"refused", "not yet"},
		},
		{
			"reload", func() *httptest.ResponseRecorder { return c.get("/") }, 200,
			[]string{"What last set this cookie POST /login → 303", "Credentials verified done", "User name demo", "data not changed"},
			nil,
		},
		{
			"protected, signed in", func() *httptest.ResponseRecorder { return c.get("/protected") }, 200,
			[]string{"You are authorized", "Demo User"},
			[]string{"fingerprint"}, // the page shows none
		},
		{
			"count again", func() *httptest.ResponseRecorder { return c.post("/count", nil) }, 200,
			[]string{`"count": 1`, "What led here POST /count → 303", "The session has changed"},
			nil,
		},
		{
			"reload again", func() *httptest.ResponseRecorder { return c.get("/") }, 200,
			[]string{"What last set this cookie POST /count → 303", "Credentials verified done", "User name demo"},
			nil,
		},
		{
			"nothing", func() *httptest.ResponseRecorder { return c.get("/nothing") }, 404,
			[]string{"404 · GET /nothing", "There is nothing here", "POST /login"},
			nil,
		},
		{
			"expire", func() *httptest.ResponseRecorder { return c.post("/expire", nil) }, 200,
			[]string{"10 s left", `"originalMaxAge": 10000`, "What led here POST /expire → 303"},
			nil,
		},
		{
			"log out", func() *httptest.ResponseRecorder { return c.post("/logout", nil) }, 200,
			[]string{"Signed out", "What led here POST /logout → 303", "Set-Cookie: connect.sid=; Max-Age=0;", "The session was destroyed", "over at once"},
			nil,
		},
		{
			"after", func() *httptest.ResponseRecorder { return c.get("/") }, 200,
			[]string{"Signed out", "Session created not yet"},
			[]string{"/logout → 303"},
		},
	}
	for _, s := range steps {
		t.Run(s.name, func(t *testing.T) {
			w := s.do()
			if w.Code != s.status {
				t.Errorf("status %d, want %d", w.Code, s.status)
			}
			if got := w.Header().Get("Content-Type"); got != "text/html; charset=utf-8" {
				t.Errorf("Content-Type %q", got)
			}
			says(t, w, s.says...)
			saysNot(t, w, s.not...)
		})
	}
	if c.log.Len() > 0 {
		t.Errorf("in the log: %s", c.log)
	}
}

func TestWantsPage(t *testing.T) {
	for accept, want := range map[string]bool{
		asBrowser:                               true,
		"text/html":                             true,
		"TEXT/HTML; level=1":                    true,
		"text/html;q=0.9, application/json":     false,
		"application/json, text/html;q=0.9":     false,
		"application/json;q=0.1, text/html":     true,
		"text/html;q=0":                         false,
		"text/html;q=much":                      false,
		"text/html, application/json; q=0.5":    true,
		"application/json":                      false,
		"application/xhtml+xml":                 false,
		asCurl:                                  false,
		"":                                      false,
		"application/json, text/plain, */*":     false,
		"text/*;q=0.3, text/html;q=0.7, */*":    true,
		"application/json;q=0.7,text/html;q=.7": true,
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Accept", accept)
		if got := wantsPage(r); got != want {
			t.Errorf("Accept %q: a page is wanted: %t, want %t", accept, got, want)
		}
	}
}

func TestSecretsAreMasked(t *testing.T) {
	c := newClient(t, asBrowser)
	pages := map[string]*httptest.ResponseRecorder{"after signing in": c.signIn()}
	secrets := c.secretsOf()
	for _, path := range []string{"/", "/?show=0", "/?show=", "/protected", "/protected?show=1", "/nothing?show=1", "/nothing", "/sessions", "/sessions?show=1"} {
		pages[path] = c.get(path)
	}
	pages["after a change"] = c.post("/count", nil)
	pages["after another age"] = c.post("/expire", nil)
	for name, w := range pages {
		for i, secret := range secrets {
			if strings.Contains(html.UnescapeString(w.Body.String()), secret) {
				t.Errorf("%s: the page has secret %d in it", name, i)
			}
		}
	}

	shown := html.UnescapeString(c.get("/?show=1").Body.String())
	for i, secret := range secrets {
		if i != 1 && !strings.Contains(shown, secret) {
			t.Errorf("asked to, the page does not show secret %d", i)
		}
	}
	if want := "Set-Cookie: connect.sid=" + secrets[0] + "; "; !strings.Contains(shown, want) {
		t.Error("asked to, the page does not show the header that set the cookie")
	}
	c.post("/logout", nil)
	for i, secret := range secrets {
		if strings.Contains(c.log.String(), secret) {
			t.Errorf("the log has secret %d in it", i)
		}
	}
}

// The journal must contain nothing that helps an attacker who reads it.
func TestJournalHasNoSecrets(t *testing.T) {
	m, err := adapter.New(adapter.Options{Secrets: []string{strings.Repeat("x", 32)}, Cookie: adapter.Cookie{MaxAge: time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	tr := &tracer{m: m}
	w := httptest.NewRecorder()
	tr.observe(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.Put(r.Context(), "k", "v")
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", nil))
	c := &client{t: t, cookie: strings.Split(w.Header().Get("Set-Cookie"), ";")[0]}
	if len(tr.journal.entries) != 2 {
		t.Fatalf("%d entries, want one by the cookie and one by the step", len(tr.journal.entries))
	}
	for key, e := range tr.journal.entries {
		b, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		kept := fmt.Sprintf("%s %s %+v", key, b, e.SetCookie)
		for i, secret := range c.secretsOf() {
			if strings.Contains(kept, secret) {
				t.Errorf("secret %d is kept", i)
			}
		}
	}
}

func TestJournalIsBounded(t *testing.T) {
	var j journal
	for i := range 3 * journalSize {
		j.put(fmt.Sprint(i), &exchange{})
		j.put("again", &exchange{Status: i})
	}
	if len(j.entries) != journalSize || len(j.order) != journalSize {
		t.Errorf("%d entries in an order of %d, want %d", len(j.entries), len(j.order), journalSize)
	}
	if j.find(fmt.Sprint(3*journalSize-1)) == nil {
		t.Error("the newest entry is gone")
	}
}

func TestRecordIsTheStores(t *testing.T) {
	c := newClient(t, asBrowser)
	c.signIn()
	w := c.post("/count", nil)
	id := c.secretsOf()[2]
	b, found, err := c.backend.Find(id)
	if err != nil || !found {
		t.Fatal(found, err)
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, b, "", "  "); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(html.UnescapeString(w.Body.String()), ">"+pretty.String()+"<") {
		t.Errorf("the page does not have the record as it is stored:\n%s", &pretty)
	}
	says(t, w, fmt.Sprintf("%d bytes of JSON", len(b)), fingerprint(id))

	// The page must also show what another program has changed in the record.
	if err := c.backend.Commit(id, bytes.Replace(b, []byte("Demo User"), []byte("Someone Else"), 1), time.Now().Add(2*time.Minute)); err != nil {
		t.Fatal(err)
	}
	says(t, c.get("/"), `"name": "Someone Else"`)
}

func TestCookies(t *testing.T) {
	signedIn := newClient(t, asBrowser)
	signedIn.signIn()
	good := signedIn.cookie
	for _, tt := range []struct {
		name, cookie, says, protected string
	}{
		{"none", "", "There is no cookie to check", "Your browser sent no session cookie"},
		{"another", "theme=dark", "There is no cookie to check", "Your browser sent no session cookie"},
		{"good", good, "The signature is right", ""},
		{"beside another", "theme=dark; " + good, "The signature is right", ""},
		{"wrong signature", good[:strings.LastIndexByte(good, '.')+1] + strings.Repeat("A", 43), "The signature is wrong", "not one that this server has signed"},
		{"no signature", "connect.sid=s%3Aabc", "The signature is wrong", "not one that this server has signed"},
		{"unsigned", "connect.sid=abc", "This is not a signed cookie", "not one that this server has signed"},
		{"empty", "connect.sid=", "There is no cookie to check", "Your browser sent no session cookie"},
		{"odd", "connect.sid=s%3", "This is not a signed cookie", "not one that this server has signed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := *signedIn
			c.t, c.cookie = t, tt.cookie
			says(t, c.get("/"), tt.says)
			c.cookie = tt.cookie
			w := c.get("/protected")
			if tt.protected == "" {
				says(t, w, "You are authorized")
			} else {
				says(t, w, tt.protected)
			}
		})
	}
}

func TestExpiry(t *testing.T) {
	// The demo is opened outside the bubble, where its clean-up runs.
	c := newClient(t, asBrowser)
	synctest.Test(t, func(t *testing.T) {
		c.t = t
		c.signIn()
		time.Sleep(maxAge - time.Second)
		says(t, c.get("/"), "Signed in as demo", "10 min left", "This request started the time anew", "has been moved since")
		time.Sleep(maxAge + time.Second)
		ended := "names a session that the store does not have"
		says(t, c.get("/"), "Signed out", "Credentials verified done", ended, "Cookie set done", "But the store does not know its session")
		says(t, c.get("/protected"), "its session has ended")

		c.signIn()
		says(t, c.post("/expire", nil), "Signed in as demo", "10 s left")
		time.Sleep(shortAge - time.Second)
		says(t, c.get("/"), "Signed in as demo", "10 s left", "Wait until the time is over")
		time.Sleep(shortAge + time.Second)
		says(t, c.get("/"), "Signed out", ended)
	})
}

func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // its clock begins at midnight, 1 January 2000
		for after, want := range map[time.Duration]string{
			0:                      "00:00:00 UTC",
			24*time.Hour - 1:       "23:59:59 UTC",
			24 * time.Hour:         "2 Jan 2000, 00:00:00 UTC",
			-time.Second:           "31 Dec 1999, 23:59:59 UTC",
			366*24*time.Hour + 1e9: "1 Jan 2001, 00:00:01 UTC",
		} {
			if got := clock(time.Now().Add(after)); got != want {
				t.Errorf("%v from now: %q, want %q", after, got, want)
			}
		}
	})
}

func TestShortDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second:                           "0 ms",
		48 * time.Millisecond:                  "48 ms",
		10 * time.Second:                       "10 s",
		10 * time.Minute:                       "10 min",
		9*time.Minute + 59*time.Second:         "9 min 59 s",
		time.Hour:                              "1 h",
		time.Hour + time.Minute:                "1 h 1 min",
		7 * 24 * time.Hour:                     "7 d",
		7*24*time.Hour - time.Second:           "6 d 23 h",
		10*time.Hour + 30*time.Minute + 999999: "10 h 30 min",
	} {
		if got := shortDuration(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

func TestReturnTo(t *testing.T) {
	for returnTo, want := range map[string]string{
		"/protected":           "/protected?step=",
		"":                     "/?step=",
		"https://evil.example": "/?step=",
		"//evil.example":       "/?step=",
	} {
		c := newClient(t, asBrowser)
		form := credentials(demoPassword)
		form.Set("returnTo", returnTo)
		r := httptest.NewRequest(http.MethodPost, "/login", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := c.do(r)
		if got := w.Header().Get("Location"); w.Code != http.StatusSeeOther || !strings.HasPrefix(got, want) {
			t.Errorf("returnTo %q: %d to %q, want 303 to %s…", returnTo, w.Code, got, want)
		}
	}
	// The form of the 401 page returns to that page.
	c := newClient(t, asBrowser)
	if w := c.get("/protected"); !strings.Contains(w.Body.String(), `name="returnTo" value="/protected"`) {
		t.Error("the form of the 401 page has no returnTo")
	}
}

func TestCrossOrigin(t *testing.T) {
	for _, path := range []string{"/login", "/logout", "/count", "/expire", "/sessions/any/end", "/sessions/end-others"} {
		c := newClient(t, asBrowser)
		other := c.another()
		c.signIn()
		other.signIn()
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(credentials(demoPassword).Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		if w := c.do(r); w.Code != http.StatusForbidden || strings.TrimSpace(w.Body.String()) != `{"message":"Cross-origin request refused"}` {
			t.Errorf("POST %s from another site: %d %s", path, w.Code, w.Body)
		}
		says(t, c.get("/"), "Signed in as demo", "Put count = 1 ", "10 min left")
		says(t, other.get("/"), "Signed in as demo")
	}
}

func TestHeaders(t *testing.T) {
	c := newClient(t, asBrowser)
	link := regexp.MustCompile(`href="(/[0-9a-f]{8}/[^"]+)"`).FindAllStringSubmatch(c.get("/").Body.String(), -1)
	if len(link) != 2 {
		t.Fatalf("links to a style and an icon: %v", link)
	}
	for path, cached := range map[string]bool{
		"/": false, "/protected": false, "/sessions": false, "/logout": false, "/nothing": false,
		link[0][1]: true, link[1][1]: true,
	} {
		for _, accept := range []string{asBrowser, asCurl} {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.Header.Set("Accept", accept)
			h := c.do(r).Header()
			for name, want := range map[string]string{
				"Content-Security-Policy":      "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
				"X-Content-Type-Options":       "nosniff",
				"X-Frame-Options":              "DENY",
				"Referrer-Policy":              "same-origin",
				"Cross-Origin-Opener-Policy":   "same-origin",
				"Cross-Origin-Resource-Policy": "same-origin",
			} {
				if got := h.Get(name); got != want {
					t.Errorf("%s: %s: %q, want %q", path, name, got, want)
				}
			}
			cache := h.Get("Cache-Control")
			if cached && cache != "public, max-age=31536000, immutable" || !cached && cache != "no-store" {
				t.Errorf("%s: Cache-Control: %q", path, cache)
			}
			if got := h.Get("Clear-Site-Data"); (got == `"cache"`) != (path == "/logout") {
				t.Errorf("%s: Clear-Site-Data: %q", path, got)
			}
			if vary := strings.Join(h["Vary"], ","); !cached && (!strings.Contains(vary, "Accept") || !strings.Contains(vary, "Cookie")) {
				t.Errorf("%s: Vary: %q", path, vary)
			}
		}
	}
}

// The Content-Security-Policy allows no inline scripts or styles, and nothing from
// other origins.
func TestPagesKeepToThePolicy(t *testing.T) {
	c := newClient(t, asBrowser)
	forbidden := regexp.MustCompile(`(?i)<script|<style|<iframe|\sstyle=|\son[a-z]+=|javascript:|(?:src|href|action)="(?:[a-z]+:|//)`)
	check := func(name string, w *httptest.ResponseRecorder) {
		t.Helper()
		if found := forbidden.FindString(w.Body.String()); found != "" {
			t.Errorf("%s has %q", name, found)
		}
	}
	check("start", c.get("/"))
	check("401", c.get("/protected"))
	check("404", c.get(`/<script>alert(1)</script>`))
	check("wrong password", c.post("/login", url.Values{"username": {`<script src="//evil.example">`}, "password": {"x"}}))
	check("signed in", c.signIn())
	check("shown", c.get("/?show=1"))
	check("protected", c.get("/protected"))
	check("sessions", c.get("/sessions"))
	check("returnTo", c.get(`/?error=1&returnTo="><script>`))
	if css, err := files.ReadFile("app.css"); err != nil || bytes.Contains(css, []byte("url(")) || bytes.Contains(css, []byte("@import")) {
		t.Error("the style asks for another file", err)
	}
}

func TestStoreDown(t *testing.T) {
	store := &fickleStore{Store: memory.New(memory.Options{})}
	t.Cleanup(func() { _ = store.Close() })
	secrets := []string{strings.Repeat("x", 32)}
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(leaktest.Copy(&log), nil))
	m, err := adapter.New(adapter.Options{Secrets: secrets, Store: store, Codec: adapter.JSONCodec{}, Logger: logger, UserPath: userPath})
	if err != nil {
		t.Fatal(err)
	}
	s := &sessions{Manager: m, secrets: secrets, backend: store}
	handler, err := newSite(s, "", logger)
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, handler: handler, sessions: s, accept: asBrowser}
	c.signIn()
	says(t, c.get("/"), "Signed in as demo", "The cookie itself ends with the browser")

	store.failExpiry = true
	if w := c.get("/"); w.Code != 200 {
		t.Errorf("status %d when the page can't read the record", w.Code)
	} else {
		says(t, w, "The store could not be read just now")
	}
	for _, w := range []*httptest.ResponseRecorder{c.get("/sessions"), c.post("/sessions/any/end", nil), c.post("/sessions/end-others", nil)} {
		if w.Code != http.StatusServiceUnavailable {
			t.Errorf("status %d when the user's sessions can't be read", w.Code)
		}
	}
	store.failAll = true
	if w := c.get("/"); w.Code != http.StatusServiceUnavailable {
		t.Errorf("status %d when the store is down", w.Code)
	}
}

// fickleStore is a store that can be made to fail.
type fickleStore struct {
	*memory.Store
	failExpiry, failAll bool
}

func (s *fickleStore) FindExpiry(ctx context.Context, token string) ([]byte, time.Time, bool, error) {
	if s.failExpiry {
		return nil, time.Time{}, false, context.DeadlineExceeded
	}
	return s.Store.FindExpiry(ctx, token)
}

func (s *fickleStore) FindTouch(ctx context.Context, token string, expiry time.Time) ([]byte, bool, error) {
	if s.failAll {
		return nil, false, context.DeadlineExceeded
	}
	return s.Store.FindTouch(ctx, token, expiry)
}
