package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/samesid/samesid/auth"
	"github.com/samesid/samesid/backends/sqlite"
	"github.com/samesid/samesid/internal/testserver"
)

const (
	jsonInvalid  = `{"message":"Invalid Credentials"}`
	jsonNotFound = `{"message":"Not Found"}`
	jsonEnded    = `{"message":"The session has ended"}`
)

// program is a client of a demo that runs.
type program struct {
	t *testing.T
	*http.Client
	url string
}

func newProgram(t *testing.T, url string) program {
	t.Helper()
	return program{t, visitor(t), url}
}

func (p program) ask(method, path string) answer {
	p.t.Helper()
	return ask(p.t, p.Client, asCurl, method, p.url+path, "", "")
}

func (p program) wants(method, path string, status int, body string) {
	p.t.Helper()
	if got, want := p.ask(method, path), (answer{status, body}); got != want {
		p.t.Errorf("%s %s: %+v, want %+v", method, path, got, want)
	}
}

func (p program) signIn(u user) {
	p.t.Helper()
	form := url.Values{"username": {u.Username}, "password": {demoPassword}}
	if got := ask(p.t, p.Client, asCurl, "POST", p.url+"/login", typeForm, form.Encode()); got.status != 200 {
		p.t.Fatalf("the login of %s: %+v", u.Username, got)
	}
}

// sessions returns what GET /sessions lists, and the session of this client.
func (p program) sessions() (all []auth.Session, own auth.Session) {
	p.t.Helper()
	got := p.ask("GET", "/sessions")
	var list struct{ Sessions []auth.Session }
	if err := json.Unmarshal([]byte(got.body), &list); err != nil || got.status != 200 {
		p.t.Fatalf("GET /sessions: %+v: %v", got, err)
	}
	n := 0
	for _, s := range list.Sessions {
		if s.Current {
			n, own = n+1, s
		}
	}
	if n != 1 {
		p.t.Errorf("%d of %d sessions are that of the request, want 1", n, len(list.Sessions))
	}
	return list.Sessions, own
}

// The sessions of a user, on each store that the demo has a file for.
func TestSessionsOnEachStore(t *testing.T) {
	for _, tt := range []struct {
		file  string // "" for none
		serve func(*testing.T)
	}{
		{"", func(*testing.T) {}},
		{"redis.yaml", func(t *testing.T) { t.Setenv("REDIS_URL", testserver.StartRedis(t).URL) }},
		{"postgres.yaml", func(t *testing.T) { t.Setenv("DATABASE_URL", testserver.StartPostgres(t).URL) }},
		{"sqlite.yaml", func(t *testing.T) {
			t.Setenv("SESSION_FILE", filepath.Join(t.TempDir(), "sessions.sqlite"))
			if len(backends) == 0 { // without -tags sqlite
				backends = append(backends, sqlite.Backend)
			}
		}},
	} {
		t.Run(tt.file, func(t *testing.T) {
			tt.serve(t)
			t.Setenv("SESSION_SECRET", "")
			var args []string
			if tt.file != "" {
				args = []string{"-config", tt.file}
			}
			address, _, _ := strings.Cut(strings.TrimPrefix(start(t, args...)[1], "Open "), " ")
			a, b, c, guest := newProgram(t, address), newProgram(t, address), newProgram(t, address), newProgram(t, address)

			a.wants("GET", "/sessions", 401, jsonInvalid)
			a.wants("POST", "/sessions/end-others", 401, jsonInvalid)
			a.wants("POST", "/sessions/any/end", 401, jsonInvalid)

			before := time.Now().Truncate(time.Second)
			for _, p := range []program{a, b, c} {
				p.signIn(demoUser)
			}
			guest.signIn(guestUser)

			all, ownOfA := a.sessions()
			if len(all) != 3 || !all[0].Current {
				t.Errorf("the user's sessions: %+v, want 3, the current one first", all)
			}
			for _, s := range all {
				if s.UserAgent != "Go-http-client/1.1" || s.Addr != "127.0.0.1" {
					t.Errorf("the device is %q at %q", s.UserAgent, s.Addr)
				}
				// A store may keep whole seconds.
				if s.SignedIn.Before(before) || s.LastUsed.Before(before) || s.Expires.Before(before.Add(maxAge)) || s.Expires.After(time.Now().Add(maxAge+time.Second)) {
					t.Errorf("the times since %v: %+v", before, s)
				}
			}
			all, ownOfGuest := guest.sessions()
			if len(all) != 1 {
				t.Errorf("the other user's sessions: %+v, want 1", all)
			}

			a.wants("POST", "/sessions/"+ownOfGuest.Handle+"/end", 404, jsonNotFound)
			guest.wants("GET", "/protected", 200, `{"message":"You are authorized"}`)
			a.wants("POST", "/sessions/nothing/end", 404, jsonNotFound)

			_, ownOfB := b.sessions()
			a.wants("POST", "/sessions/"+ownOfB.Handle+"/end", 200, jsonEnded)
			b.wants("GET", "/protected", 401, jsonInvalid)
			a.wants("POST", "/sessions/"+ownOfB.Handle+"/end", 404, jsonNotFound)
			c.wants("GET", "/protected", 200, `{"message":"You are authorized"}`)

			b.signIn(demoUser)
			a.wants("POST", "/sessions/end-others", 200, `{"message":"2 other sessions have ended"}`)
			a.wants("POST", "/sessions/end-others", 200, `{"message":"There was no other session"}`)
			b.wants("GET", "/protected", 401, jsonInvalid)
			c.wants("GET", "/protected", 401, jsonInvalid)
			guest.wants("GET", "/protected", 200, `{"message":"You are authorized"}`)
			if all, own := a.sessions(); len(all) != 1 || own.Handle != ownOfA.Handle {
				t.Errorf("what is left: %+v, want the session that ended the others", all)
			}

			a.wants("POST", "/sessions/"+ownOfA.Handle+"/end", 200, jsonEnded)
			a.wants("GET", "/sessions", 401, jsonInvalid)
			home, err := url.Parse(address)
			if err != nil {
				t.Fatal(err)
			}
			if left := a.Jar.Cookies(home); len(left) != 0 {
				t.Errorf("the end of the own session leaves a cookie: %s", left[0].Name)
			}
		})
	}
}

// another returns a second browser of the same demo.
func (c *client) another() *client {
	other := *c
	other.cookie = ""
	return &other
}

func TestSessionsPage(t *testing.T) {
	a := newClient(t, asBrowser)
	b := a.another()
	for _, path := range []string{"/sessions", "/sessions/end-others", "/sessions/any/end"} {
		w := a.post(path, nil)
		if path == "/sessions" {
			w = a.get(path)
		}
		says(t, w, "401", path, "Invalid Credentials", "Your browser sent no session cookie")
		if w.Code != 401 || !strings.Contains(w.Body.String(), `name="returnTo" value="/sessions"`) {
			t.Errorf("%s of nobody: status %d, or a form that does not return to the list", path, w.Code)
		}
	}

	says(t, a.signIn(), "Your sessions")
	says(t, a.get("/protected"), "Your sessions")
	w := a.get("/sessions")
	says(t, w, "200 · GET /sessions", "You are signed in as Demo User here alone", "Unknown device this device", "192.0.2.1", "UTC, in 10 min", "Log out")
	saysNot(t, w, "End this session", "End all others")

	linux := httptest.NewRequest(http.MethodPost, "/login", strings.NewReader(credentials(demoPassword).Encode()))
	linux.Header.Set("Content-Type", typeForm)
	linux.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
	b.do(linux)
	w = a.get("/sessions")
	says(t, w, "Unknown device this device", "Firefox on Linux", "End this session", "End all others")
	says(t, b.get("/sessions"), "Firefox on Linux this device")

	// The form of the page ends the other session.
	_, form, _ := strings.Cut(w.Body.String(), `action="/sessions/`)
	handle, _, _ := strings.Cut(form, `/end"`)
	r := httptest.NewRequest(http.MethodPost, "/sessions/"+handle+"/end", nil)
	w = a.do(r)
	if to := w.Header().Get("Location"); w.Code != http.StatusSeeOther || !strings.HasPrefix(to, "/sessions?ended=1&") {
		t.Errorf("ending a session: %d to %q, want 303 to the list", w.Code, to)
	}
	says(t, a.get("/sessions?ended=1"), "1 other session has ended. You are signed in")
	says(t, b.get("/sessions"), "401", "ended from another device")
	w = a.post("/sessions/"+handle+"/end", nil)
	says(t, w, "You have no such session: it may have ended before. You are signed in", "this device")
	if w.Code != http.StatusNotFound {
		t.Errorf("ending a session that has ended: %d, want 404", w.Code)
	}
	saysNot(t, a.get("/sessions?ended=no"), "ended.", "other")

	b.signIn()
	says(t, a.post("/sessions/end-others", nil), "GET /sessions", "1 other session has ended")
	says(t, a.post("/sessions/end-others", nil), "There was no other session")
	says(t, b.get("/"), "Signed out")

	_, form, _ = strings.Cut(a.get("/sessions").Body.String(), `id="session-`)
	handle, _, _ = strings.Cut(form, `"`)
	says(t, a.post("/sessions/"+handle+"/end", nil), "Signed out", "The session was destroyed")
	if log := a.log.String(); strings.Contains(log, "level=WARN") || strings.Contains(log, "level=ERROR") {
		t.Errorf("in the log: %s", log)
	}
}

// What a browser calls itself is text on the page.
func TestDeviceIsEscaped(t *testing.T) {
	c := newClient(t, asBrowser)
	r := httptest.NewRequest(http.MethodPost, "/login", strings.NewReader(credentials(demoPassword).Encode()))
	r.Header.Set("Content-Type", typeForm)
	r.Header.Set("User-Agent", `<script>alert("hi")</script>`)
	c.do(r)
	w := c.get("/sessions")
	if strings.Contains(w.Body.String(), "<script") || !strings.Contains(w.Body.String(), "&lt;script&gt;") {
		t.Errorf("the device is not escaped:\n%s", w.Body)
	}
}

// A file without userPath: the rest of the demo works, and the page says what is missing.
func TestSessionsWithoutUserPath(t *testing.T) {
	file := filepath.Join(t.TempDir(), "session.yaml")
	write := func(line string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(line+"secret: 0123456789abcdef0123456789abcdef\nstore:\n  type: memory\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("")
	address, _, _ := strings.Cut(strings.TrimPrefix(start(t, "-config", file)[1], "Open "), " ")
	p := newProgram(t, address)
	p.wants("GET", "/sessions", 401, jsonInvalid)
	p.signIn(demoUser)
	p.wants("GET", "/protected", 200, `{"message":"You are authorized"}`)
	const why = "The sessions of a user are found by userPath: user.username, which the configuration does not have"
	for _, request := range []string{"GET /sessions", "POST /sessions/any/end", "POST /sessions/end-others"} {
		method, path, _ := strings.Cut(request, " ")
		p.wants(method, path, 501, `{"message":"`+why+`"}`)
		if got := ask(t, p.Client, asBrowser, method, address+path, "", ""); got.status != 501 || !strings.Contains(got.body, why) {
			t.Errorf("%s in a browser: %+v", request, got)
		}
	}

	// Under another path the users of the demo have no id, so that none could sign in.
	write("userPath: user.id\n")
	ended, cancel := context.WithCancel(t.Context())
	cancel() // a demo that starts ends at once
	if err := run(ended, []string{"-config", file}, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), `userPath is "user.id"`) {
		t.Errorf("another userPath: %v", err)
	}
}

func TestDevice(t *testing.T) {
	for userAgent, want := range map[string]string{
		"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36":                                     "Chrome on Linux",
		"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/140.0.0.0 Safari/537.36":                             "Chrome on Linux",
		"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36":                            "Chrome on ChromeOS",
		"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36":                           "Chrome on Android",
		"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36":       "Samsung Internet on Android",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0":             "Edge on Windows",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36 OPR/122.0.0.0":             "Opera on Windows",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:143.0) Gecko/20100101 Firefox/143.0":                                                          "Firefox on Windows",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15":                     "Safari on macOS",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1":   "Safari on iPhone",
		"Mozilla/5.0 (iPad; CPU OS 17_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/140.0.7339.101 Mobile/15E148 Safari/604.1":    "Chrome on iPad",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) FxiOS/143.0 Mobile/15E148 Safari/605.1.15": "Firefox on iPhone",
		"curl/8.5.0":            "curl/8.5.0",
		"Chrome/140.0.0.0":      "Chrome/140.0.0.0",
		" Linux, and a browser": "Linux, and a browser",
		"":                      "Unknown device",
		" ":                     "Unknown device",
	} {
		if got := device(userAgent); got != want {
			t.Errorf("%q: %q, want %q", userAgent, got, want)
		}
	}
}

func TestAgoAndUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		for d, want := range map[time.Duration]string{
			-time.Minute:           "just now", // by the clock of another server
			999 * time.Millisecond: "just now",
			time.Second:            "1 s ago",
			90 * time.Second:       "1 min 30 s ago",
		} {
			if got := ago(now.Add(-d)); got != want {
				t.Errorf("%v ago: %q, want %q", d, got, want)
			}
		}
		if got, want := until(now.Add(10*time.Minute-time.Millisecond)), "in 10 min"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

// Sessions that Express has begun are listed, with their device, and end on both halves: in
// Redis once Go has seen them, in Postgres at once.
func TestExpressSessions(t *testing.T) {
	for _, tt := range []struct {
		file   string
		serve  func(*testing.T)
		atOnce bool
	}{
		{"redis.yaml", func(t *testing.T) { t.Setenv("REDIS_URL", testserver.StartRedis(t).URL) }, false},
		{"postgres.yaml", func(t *testing.T) { t.Setenv("DATABASE_URL", testserver.StartPostgres(t).URL) }, true},
	} {
		t.Run(tt.file, func(t *testing.T) {
			tt.serve(t)
			goHalf, expressHalf := halves(t, tt.file)
			inGo := newProgram(t, goHalf)
			inGo.signIn(demoUser)
			inExpress, guest := newProgram(t, expressHalf), newProgram(t, expressHalf)
			inExpress.signIn(demoUser)
			guest.signIn(guestUser)

			all, _ := inGo.sessions()
			if atOnce := len(all) == 2; atOnce != tt.atOnce || len(all) > 2 {
				t.Errorf("before Go has seen the session of Express, it lists %d", len(all))
			}
			seen := program{t, inExpress.Client, goHalf}
			all, own := seen.sessions()
			if len(all) != 2 {
				t.Errorf("%d sessions are listed, want 2", len(all))
			}
			if own.SignedIn.IsZero() || own.UserAgent != "Go-http-client/1.1" || own.Addr != "127.0.0.1" {
				t.Errorf("the session of Express is %+v", own)
			}

			inGo.wants("POST", "/sessions/"+own.Handle+"/end", 200, jsonEnded)
			inExpress.wants("GET", "/protected", 401, jsonInvalid)
			guest.wants("GET", "/", 200, `{"signedIn":true,"user":{"username":"guest","name":"Guest User"},"count":0}`)
			if all, _ := (program{t, guest.Client, goHalf}).sessions(); len(all) != 1 {
				t.Errorf("the other user has %d sessions, want 1", len(all))
			}
		})
	}
}
