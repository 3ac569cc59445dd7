package parity

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/adapter/config"
	"github.com/samesid/samesid/auth"
	"github.com/samesid/samesid/backends/sqlite"
	"github.com/samesid/samesid/internal/leaktest"
)

// A trouble is a reason why Go finds no user in a session of Express's. Its name and its line
// are those of the page.
type trouble struct {
	name  string
	line  string                     // what the log says; "": nothing
	store string                     // where Express keeps it; "": oneStore
	wrong func(*goSide)              // what is wrong
	stats func(adapter.Stats) uint64 // what counts it; or nil
}

// goSide is what a Go app is made of, and one request to it.
type goSide struct {
	config  map[string]any // without the secret
	store   map[string]any // of the config
	auth    auth.Options
	byID    bool // the session holds a user's id
	login   bool // the user signs in on Go first
	records records
	request *http.Request
}

func (g *goSide) cookie(change func(name, value string) string) {
	name, value, _ := strings.Cut(g.request.Header.Get("Cookie"), "=")
	g.request.Header.Set("Cookie", change(name, value))
}

func (g *goSide) value(change func(string) string) {
	g.cookie(func(name, value string) string {
		raw, err := url.QueryUnescape(value)
		if err != nil {
			panic(err)
		}
		return name + "=" + change(raw)
	})
}

func badSignatures(s adapter.Stats) uint64   { return s.BadSignatures }
func unknownSessions(s adapter.Stats) uint64 { return s.UnknownSessions }
func unreadable(s adapter.Stats) uint64      { return s.UnreadableRecords }

const (
	notSigned = "a cookie was not signed by any of the secrets"
	notThere  = "the store does not have its session"
	notRead   = "a stored record can't be read"
)

var troubles = []trouble{
	{"another secret", notSigned, "", func(g *goSide) { g.config["secret"] = "another another another another " }, badSignatures},
	{"a cookie that is not signed", notSigned, "", func(g *goSide) {
		g.value(func(v string) string { id, _, _ := strings.Cut(strings.TrimPrefix(v, "s:"), "."); return id })
	}, badSignatures},
	{"a cookie that was changed on the way", notSigned, "", func(g *goSide) {
		g.cookie(func(name, value string) string { return name + "=" + url.QueryEscape(value) })
	}, badSignatures},
	{"a cookie that need not be signed", "that app signs its cookies", "", func(g *goSide) {
		g.config["signature"] = "none"
		delete(g.config, "secret")
	}, unknownSessions},
	{"another cookie name", "a cookie that the secrets have signed came under another name", "", func(g *goSide) { g.config["name"] = "sid" }, nil},
	{"a path outside of the cookie's", "a cookie came with a request outside of Options.Cookie.Path", "", func(g *goSide) {
		g.config["cookie"] = map[string]any{"path": "/app"}
	}, nil},
	{"two cookies of one name", "a request has several cookies of the session's name", "", func(g *goSide) {
		g.cookie(func(name, value string) string { return name + "=; " + name + "=" + value })
	}, nil},
	{"another Redis prefix", notThere, "", func(g *goSide) { g.store["prefix"] = "other:" }, unknownSessions},
	{"another Redis database", notThere, "", func(g *goSide) { g.store["url"] = otherDatabase(g.store["url"].(string)) }, unknownSessions},
	{"another table", notThere, "connect-pg-simple", func(g *goSide) { g.store["tableName"] = "other" }, unknownSessions},
	{"another layout", notThere, "connect-pg-simple", func(g *goSide) { g.store["layout"] = "connect-session-knex" }, unknownSessions},
	{"a serializer of the app's own", notRead, "", func(g *goSide) { must(g.records.replace("\x82\xa6cookie\x80\xa4user\x81")) }, unreadable},
	{"a session that has expired", notThere, "", func(g *goSide) { must(g.records.age(-time.Second)) }, unknownSessions},
	{"a user under another key", "none under the user's key", "", func(g *goSide) { g.auth.Key = "account" }, nil},
	{"a user of another type", "the session's user can't be decoded", "", func(g *goSide) { g.byID = true }, nil},
	{"a user who is not found", "there is no user with the session's id", "", func(g *goSide) { g.byID, g.auth.Key = true, "passport.user" }, nil},
	{"a secure cookie of Go's on plain HTTP", "the cookie is secure and this connection is not", "", func(g *goSide) {
		g.login, g.config["cookie"] = true, map[string]any{"secure": true}
	}, nil},
	{"a cookie of Go's for other sites on plain HTTP", "the cookie is SameSite=None and not Secure", "", func(g *goSide) {
		g.login, g.config["cookie"] = true, map[string]any{"secure": "auto", "sameSite": "none"}
	}, nil},
	{"a request without the cookie", "", "", func(g *goSide) { g.request.Header.Del("Cookie") }, nil},
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// otherDatabase returns a Redis URL with another database.
func otherDatabase(address string) string {
	u, err := url.Parse(address)
	must(err)
	u.Path = "/9"
	return u.String()
}

// Each reason on the page for a 401 to a user of Express's is provoked: the log has the page's
// line, once, and the counter counts.
func TestTroubleshooting(t *testing.T) {
	t.Parallel()
	all := t
	stores := map[string]*shared{}
	for _, trouble := range append([]trouble{{name: "none", wrong: func(*goSide) {}}}, troubles...) {
		t.Run(trouble.name, func(t *testing.T) {
			name := trouble.store
			if name == "" {
				name = oneStore
			}
			if stores[name] == nil {
				stores[name] = share(all, storeNamed(t, name), gos, minute)
			}
			testTrouble(t, stores[name], trouble)
		})
	}
}

func testTrouble(t *testing.T, sh *shared, trouble trouble) {
	v := sh.visitor()
	v.run(t, node, set("user", map[string]any{"name": "bob"}), set("passport", map[string]any{"user": 7}))
	g := &goSide{
		config:  map[string]any{"secret": v.at[node].options.secrets()},
		store:   map[string]any{},
		records: sh.places[gos].records,
		request: httptest.NewRequest(http.MethodGet, "/reports", nil),
	}
	leaktest.Note(v.id)
	must(json.Unmarshal([]byte(sh.places[gos].store), &g.store))
	g.request.Header["Cookie"] = v.cookie
	trouble.wrong(g)
	g.config["store"] = g.store

	file := filepath.Join(t.TempDir(), "session.json")
	must(os.WriteFile(file, []byte(text(g.config)), 0o600))
	cfg, err := config.Load(file, sqlite.Backend)
	if err != nil {
		t.Fatal(err)
	}
	out := &leaktest.Log{}
	cfg.Options.Logger, g.auth.Logger = out.Logger(), out.Logger()
	sessions, store, err := cfg.Open(t.Context(), sqlite.Backend)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	out.Reset() // of what is said at the start
	restricted := restrict(t, sessions, g)
	want := http.StatusUnauthorized
	if trouble.name == "none" {
		want = http.StatusOK
	}
	if g.login {
		w := httptest.NewRecorder()
		sessions.LoadAndSave(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			sessions.Put(r.Context(), "user", "bob")
		})).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/login", nil))
		if c := w.Header().Get("Set-Cookie"); w.Code != http.StatusOK || c != "" && !strings.Contains(c, "SameSite=None") {
			t.Errorf("the login: status %d, Set-Cookie %q", w.Code, c)
		}
		g.request.Header.Del("Cookie") // as a browser does
	}
	w := httptest.NewRecorder()
	sessions.LoadAndSave(restricted).ServeHTTP(w, g.request)
	if w.Code != want {
		t.Errorf("status %d, want %d", w.Code, want)
	}
	lines := 0
	if trouble.line != "" {
		lines = 1
	}
	if got := out.String(); strings.Count(got, "\n") != lines || !strings.Contains(got, trouble.line) {
		t.Errorf("log, want %q:\n%s", trouble.line, got)
	}
	if trouble.stats != nil && trouble.stats(sessions.Stats()) != 1 {
		t.Errorf("%+v", sessions.Stats())
	}
}

// restrict returns a page for those who are signed in.
func restrict(t *testing.T, sessions *adapter.Manager, g *goSide) http.Handler {
	page := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	if g.byID {
		byID := func(context.Context, int) (map[string]any, error) { return nil, auth.ErrInvalid }
		a, err := auth.NewByID(sessions, nil, func(map[string]any) int { return 0 }, byID, g.auth)
		if err != nil {
			t.Fatal(err)
		}
		return a.Restricted(page)
	}
	type account struct{ Name string }
	a, err := auth.New[account](sessions, nil, g.auth)
	if err != nil {
		t.Fatal(err)
	}
	return a.Restricted(page)
}

// The page has each trouble, with its line.
func TestTroubleshootingPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/migrating-from-express.md")
	if err != nil {
		t.Fatal(err)
	}
	section := regexp.MustCompile(`(?s)\n## 401 on the Go side.*?\n## `).Find(page)
	rows := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^\| ([^|]+?) \| ([^|]+) \| ([^|]+) \| [^|]+ \|$`).FindAllSubmatch(section, -1) {
		if name := string(m[1]); name != "what is wrong" && !strings.HasPrefix(name, "-") {
			rows[name] = string(m[2])
		}
	}
	for _, trouble := range troubles {
		line, ok := rows[trouble.name]
		switch {
		case !ok:
			t.Errorf("the page has no row %q", trouble.name)
		case trouble.line != "" && !strings.Contains(line, "`"+trouble.line+"`"):
			t.Errorf("%s: the page has the line %q, want %q", trouble.name, line, trouble.line)
		case trouble.line == "" && line != "nothing":
			t.Errorf("%s: the page has the line %q, and there is none", trouble.name, line)
		}
		delete(rows, trouble.name)
	}
	for name := range rows {
		t.Errorf("no test shows %q", name)
	}
}
