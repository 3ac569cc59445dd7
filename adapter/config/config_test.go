package config

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2/memstore"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends"
	"github.com/samesid/samesid/backends/redis"
	"github.com/samesid/samesid/internal/leaktest"
	"github.com/samesid/samesid/internal/testserver"
)

const secret32 = "0123456789abcdef0123456789abcdef"

// Each valid file has its resulting Config beside it.
func TestLoad(t *testing.T) {
	t.Chdir("testdata/valid")
	for _, file := range samples(t, ".") {
		t.Run(file, func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c, err := load(file, data, environ(data))
			if err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(file, filepath.Ext(file))+".golden", dump(c))
		})
	}
}

// dump lists the fields that are not zero.
func dump(c *Config) string {
	var b strings.Builder
	var list func(name string, v reflect.Value)
	list = func(name string, v reflect.Value) {
		_, isText := v.Interface().(fmt.Stringer)
		switch {
		case v.IsZero():
		case v.Kind() == reflect.Struct && !isText:
			for i := range v.NumField() {
				list(name+"."+v.Type().Field(i).Name, v.Field(i))
			}
		case v.Kind() == reflect.Interface && v.Elem().Kind() == reflect.Struct && v.Elem().NumField() > 0:
			list(name, v.Elem())
		case v.Kind() == reflect.Interface:
			fmt.Fprintf(&b, "%s = %T\n", name, v.Interface())
		case v.Kind() == reflect.String || v.Kind() == reflect.Slice:
			fmt.Fprintf(&b, "%s = %q\n", name, v.Interface())
		default:
			fmt.Fprintf(&b, "%s = %v\n", name, v.Interface())
		}
	}
	list("Options", reflect.ValueOf(c.Options))
	list("Store", reflect.ValueOf(c.Store))
	return b.String()
}

func TestLoadReadsFileAndEnvironment(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "secret"), "of the file\n")
	file := filepath.Join(dir, "session.yaml")
	write(t, file, "secretFile: secret\nstore: {url: rediss://localhost, caFile: ca.pem}\n")
	t.Setenv("SAMESID_NAME", "of-the-environment")

	c, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(c.Options.Name, c.Options.Secrets); got != "of-the-environment[of the file]" {
		t.Errorf("name and secrets: %s", got)
	}
	if got, want := c.Store.Options.(redis.Options).TLS.CAFile, filepath.Join(dir, "ca.pem"); got != want {
		t.Errorf("the path of a file is %q, want %q", got, want)
	}
	if _, err := Load(filepath.Join(dir, "none.yaml")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestEnvironment(t *testing.T) {
	for _, test := range []struct {
		name, file string // the file's text
		env        []string
		want       string // of dump, or of the error
	}{
		{
			name: "alone",
			env: []string{
				"SAMESID_SECRET=" + secret32, "SAMESID_NAME=5", "SAMESID_ROLLING=true", "SAMESID_UNSET=destroy", "SAMESID_COOKIE_MAXAGE=60000",
				"SAMESID_COOKIE_SECURE=auto", "SAMESID_COOKIE_SAMESITE=Lax", "SAMESID_STORE_URL=redis://:pa$$word@localhost/0",
				"SAMESID_STORE_LAYOUT=connect-redis", "SAMESID_STORE_TTL=60", "SAMESID_STORE_SCANCOUNT=7", "SAMESID_STORE_CAFILE=",
			},
			want: `Options.Name = "5"
Options.Secrets = ["` + secret32 + `"]
Options.Rolling = true
Options.Unset = "destroy"
Options.Cookie.MaxAge = 1m0s
Options.Cookie.Secure = "auto"
Options.Cookie.SameSite = "lax"
Options.TTL = 1m0s
Store.URL = "redis://:pa$$word@localhost/0"
Store.Options.Layout = "connect-redis"
Store.Options.ScanCount = 7
`,
		},
		{
			name: "over the file, where it is not even right",
			file: "name: 1\nsecret: ${NOT_SET}\nrolling: 1\ncookie: {maxAge: soon, path: /a}\nstore: 1\n",
			env: []string{
				"SAMESID_NAME=a", "SAMESID_SECRET=b", "SAMESID_ROLLING=false",
				"SAMESID_COOKIE_MAXAGE=1h", "SAMESID_STORE_URL=memory://",
			},
			want: `Options.Name = "a"
Options.Secrets = ["b"]
Options.Cookie.MaxAge = 1h0m0s
Options.Cookie.Path = "/a"
Store.URL = "memory://"
`,
		},
		{
			name: "over another key of the file that says the same",
			file: "secret: [a, b]\nsecretFile: none\ncookie: {expires: 2001-01-01}\nstore: {cleanupInterval: 1h, pruneSessionInterval: 5}\n",
			env:  []string{"SAMESID_SECRETFILE=testdata/valid/secret.txt", "SAMESID_COOKIE_MAXAGE=null", "SAMESID_STORE_CLEANUPINTERVAL=false"},
			want: `Options.Secrets = ["from a file"]
Store.Options.CleanupInterval = -1ns
`,
		},
		{
			name: "of which the file's own keys come to nothing",
			file: "secret: ${A:-x}${B}$$${C:-}\nname: ${EMPTY:-sid}\n",
			env:  []string{"A=${B}", "B=$y$$", "EMPTY="},
			want: `Options.Name = "sid"
Options.Secrets = ["${B}$y$$$"]
`,
		},
		{
			name: "list of secrets",
			env:  []string{`SAMESID_SECRET=["[new]", "old"]`},
			want: "Options.Secrets = [\"[new]\" \"old\"]\n",
		},
		{
			name: "without secret",
			want: "environment: SAMESID_SECRET: none given, so cookies can't be signed; give at least one, of 32 random bytes",
		},
		{
			name: "list that is none",
			env:  []string{"SAMESID_SECRET=[hunter2"},
			want: "environment: SAMESID_SECRET: begins with [ and is not a JSON list of texts; a single one that begins so can be put in such a list",
		},
		{
			name: "empty list",
			env:  []string{"SAMESID_SECRET=[]"},
			want: "environment: SAMESID_SECRET: begins with [ and is not a JSON list of texts; a single one that begins so can be put in such a list",
		},
		{
			name: "wrong values",
			file: "secret: a\n",
			env:  []string{"SAMESID_COOKIE_MAXAGE=soon", "SAMESID_ROLLING=yes", "SAMESID_STORE_MAXSESSIONS=-1"},
			want: `environment: SAMESID_ROLLING: must be true or false
environment: SAMESID_COOKIE_MAXAGE: must be milliseconds as a number, or text such as 90m or 7d, or null
environment: SAMESID_STORE_MAXSESSIONS: must be a whole number from 1 up`,
		},
		{
			name: "unknown names",
			file: "secret: a\n",
			env: []string{
				"SAMESID_COOKIE_MAX_AGE=5", "SAMESID_STORE=redis://hunter2", "SAMESID_COLOUR=hunter2", "OTHER=hunter2",
				"SAMESID_SERVICE_HOST=10.0.0.1", "SAMESID_PORT=tcp://10.0.0.1:80", "SAMESID_PORT_80_TCP_ADDR=10.0.0.1", "SAMESID_WEB_SERVICE_PORT=80",
			},
			want: `environment: SAMESID_COLOUR: is not the name of a key
environment: SAMESID_COOKIE_MAX_AGE: is not the name of a key; did you mean SAMESID_COOKIE_MAXAGE?
environment: SAMESID_STORE: is not the name of a key; did you mean SAMESID_STORE_URL?`,
		},
		{
			name: "two that say the same",
			env:  []string{"SAMESID_SECRET=a", "SAMESID_SECRETFILE=b", "SAMESID_COOKIE_MAXAGE=1h", "SAMESID_COOKIE_EXPIRES=2099-01-01"},
			want: `environment: SAMESID_SECRET and SAMESID_SECRETFILE say the same; drop one of the two
environment: SAMESID_COOKIE_EXPIRES and SAMESID_COOKIE_MAXAGE say the same; drop one of the two
environment: SAMESID_SECRETFILE: the file can't be read: no such file or directory`,
		},
		{
			name: "against the file",
			file: "secret: a\nstore:\n  url: redis://:hunter2@localhost\n  prefix: x\n",
			env:  []string{"SAMESID_STORE_TABLENAME=t", "SAMESID_STORE_TYPE=redis"},
			want: "environment: SAMESID_STORE_TABLENAME and SAMESID_STORE_TYPE: a redis store has no use for the first; drop it, or use postgres",
		},
		{
			name: "against which the file is",
			file: "secret: a\nstore:\n  url: redis://:hunter2@localhost\n  prefix: x\n",
			env:  []string{"SAMESID_STORE_URL=postgres://u:hunter2@localhost"},
			want: `session.yaml:4:11: store.prefix and SAMESID_STORE_URL: a postgres store has no use for the first; drop it, or use redis
    4 |   prefix: x
      |           ^`,
		},
		{
			name: "empty file",
			file: "# nothing\n",
			want: "session.yaml: secret: none given, so cookies can't be signed; give at least one, of 32 random bytes",
		},
		{
			name: "file with a byte order mark, and empty but for it",
			file: "\ufeff---\n",
			env:  []string{"SAMESID_SECRET=a"},
			want: "Options.Secrets = [\"a\"]\n",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := ""
			if test.file != "" {
				file = "session.yaml"
			}
			c, err := load(file, []byte(test.file), test.env)
			got := ""
			if err != nil {
				got = err.Error()
			} else {
				got = dump(c)
			}
			if got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

// A session's values survive Close if the store outlives the process.
func TestOpen(t *testing.T) {
	for name, test := range map[string]struct {
		store func(t *testing.T) string
		keeps bool
	}{
		"memory": {func(*testing.T) string { return "memory://" }, false},
		"redis": {func(t *testing.T) string {
			return fmt.Sprintf("{url: %q, prefix: %q, layout: connect-redis}", testserver.Redis(t), testserver.Prefix(t))
		}, true},
		"postgres": {func(t *testing.T) string {
			dsn, _ := testserver.Schema(t)
			return fmt.Sprintf("{url: %q, createTable: true, layout: connect-pg-simple}", dsn)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "session.yaml")
			write(t, file, "secret: "+secret32+"\nname: banana\ncookie: {maxAge: 1h}\nstore: "+test.store(t)+"\n")

			sessions, store := open(t, file)
			w := serve(sessions, nil, func(r *http.Request) { sessions.Put(r.Context(), "user", "ann") })
			if err := store.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := store.Len(t.Context()); test.keeps && err == nil {
				t.Error("the store is still open")
			}
			cookies := w.Result().Cookies()
			if len(cookies) != 1 || cookies[0].Name != "banana" || cookies[0].MaxAge != 3600 {
				t.Fatalf("cookies: %v", cookies)
			}

			sessions, store = open(t, file)
			defer store.Close()
			var user string
			serve(sessions, cookies, func(r *http.Request) { user = sessions.GetString(r.Context(), "user") })
			if kept := user == "ann"; kept != test.keeps {
				t.Errorf("after a restart the user is %q", user)
			}
			if n, err := store.Len(t.Context()); err != nil || (n == 1) != test.keeps {
				t.Errorf("%d sessions, %v", n, err)
			}
		})
	}
}

func open(t *testing.T, file string) (*adapter.Manager, backends.Store) {
	t.Helper()
	sessions, store, err := Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	return sessions, store
}

func serve(s *adapter.Manager, cookies []*http.Cookie, do func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", "/", nil)
	for _, c := range cookies {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	s.LoadAndSave(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { do(r) })).ServeHTTP(w, r)
	return w
}

// The error about an unusable server has the place of its URL.
func TestOpenFails(t *testing.T) {
	nobody := testserver.FreeAddr(t)

	for _, test := range []struct {
		name, file string
		want       []string
		cause      error
	}{
		{
			name: "redis is not there",
			file: "secret: s\nstore:\n  url: redis://u:hunter2@" + nobody + "\n",
			want: []string{
				"session.yaml:3:8: store.url: redis: open: ",
				nobody + ": connect: connection refused\n    3 |   url: ***\n      |        ^",
			},
			cause: syscall.ECONNREFUSED,
		},
		{
			name: "postgres is not there",
			file: "secret: s\nstore: postgres://u:hunter2@" + nobody + "/d?sslmode=disable\n",
			want: []string{
				"session.yaml:2:8: store: postgres: open: ",
				nobody + ": connect: connection refused\n    2 | store: ***\n      |        ^",
			},
			cause: syscall.ECONNREFUSED,
		},
		{
			name: "bad redis URL",
			file: "secret: s\nstore: redis://u:hunter2%zz@localhost\n",
			want: []string{"session.yaml:2:8: store: redis: the URL cannot be read;"},
		},
		{
			name: "bad postgres URL",
			file: "secret: s\nstore: postgres://u:hunter2%zz@localhost\n",
			want: []string{"session.yaml:2:8: store: postgres: open: the DSN is neither"},
		},
		{
			name: "name that is too long",
			file: "secret: s\nstore:\n  url: postgres://" + nobody + "\n  tableName: " + strings.Repeat("x", 64) + "\n",
			want: []string{"session.yaml:4:14: store.tableName: longer than 63 bytes, and Postgres would cut it; use a shorter name\n"},
		},
		{
			name:  "no certificate",
			file:  "secret: s\nstore: {url: rediss://localhost, caFile: /nowhere/ca.pem}\n",
			want:  []string{"session.yaml:2:42: store.caFile: the file can't be read: no such file or directory\n"},
			cause: fs.ErrNotExist,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			write(t, "session.yaml", test.file)
			// A store may wait for its server until its context ends.
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, _, err := Open(ctx, "session.yaml")
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got\n%v\nwant\n%s", err, want)
				}
			}
			if test.cause != nil && !errors.Is(err, test.cause) {
				t.Errorf("%v is not %v", err, test.cause)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("a password is shown: %v", err)
			}
		})
	}
}

func TestOpenWithoutTable(t *testing.T) {
	dsn, _ := testserver.Schema(t)
	t.Chdir(t.TempDir())
	write(t, "session.json", fmt.Sprintf(`{"secret": "s", "store": %q}`, dsn))
	_, _, err := Open(t.Context(), "session.json")
	if err == nil || !strings.HasPrefix(err.Error(), "session.json:1:26: store: postgres: ") || !strings.Contains(err.Error(), "; set store.createTable, or run:\n\nCREATE TABLE") {
		t.Errorf("got %v", err)
	}
}

// The errors of a Config that was not loaded from a file have no place.
func TestOpenConfig(t *testing.T) {
	c := Config{Store: backends.Config{Options: redis.Options{}}}
	if _, _, err := c.Open(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "backends: Config.Options") {
		t.Errorf("bad store: %v", err)
	}
	c = Config{}
	if _, _, err := c.Open(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "adapter: Options.Secrets") {
		t.Errorf("bad options: %v", err)
	}
	c.Options.Secrets = []string{secret32}
	c.Options.Store = memstore.NewWithCleanupInterval(0)
	if _, _, err := c.Open(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "config: Options.Store") {
		t.Errorf("a store of one's own: %v", err)
	}
	c.Options.Store = nil
	_, store, err := c.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	store.Close()
}

func TestWarnings(t *testing.T) {
	const inMemory, insecure, short = "the sessions are in memory", "cookie.secure is false", "Secrets[0] is 5 bytes long"
	for _, test := range []struct {
		name, env, file string
		want            []string
	}{
		{"development", "NODE_ENV=development", "secret: " + secret32, nil},
		{"NODE_ENV", "NODE_ENV=production", "secret: short", []string{inMemory, insecure, short}},
		{"APP_ENV", "APP_ENV=production", "secret: short\ncookie: {secure: false}", []string{inMemory, insecure, short}},
		{"secure", "NODE_ENV=production", "secret: " + secret32 + "\ncookie: {secure: true}", []string{inMemory}},
		{"auto", "NODE_ENV=production", "secret: " + secret32 + "\ncookie: {secure: auto}", []string{inMemory}},
		{"redis", "NODE_ENV=production", "secret: " + secret32 + "\ncookie: {secure: auto}\nstore: redis", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := test.file
			if strings.HasSuffix(file, "redis") {
				file = strings.TrimSuffix(file, "redis") + testserver.Redis(t)
			}
			c, err := load("session.yaml", []byte(file), []string{test.env})
			if err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			c.Options.Logger = slog.New(slog.NewTextHandler(&log, nil))
			_, store, err := c.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			for _, warning := range []string{inMemory, insecure, short} {
				want := false
				for _, w := range test.want {
					want = want || w == warning
				}
				if got := strings.Contains(log.String(), warning); got != want {
					t.Errorf("%q is in the log: %v, want %v:\n%s", warning, got, want, &log)
				}
			}
			if strings.Contains(log.String(), "secret: short") {
				t.Errorf("the secret is in the log:\n%s", &log)
			}
		})
	}
}

// The store writes to the Manager's log.
func TestLogger(t *testing.T) {
	c, err := load("", nil, []string{"SAMESID_SECRET=" + secret32, "SAMESID_STORE_MAXSESSIONS=1"})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	c.Options.Logger = slog.New(slog.NewTextHandler(&log, nil))
	_, store, err := c.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	for _, token := range []string{"a", "b"} {
		_ = store.CommitCtx(t.Context(), token, nil, time.Now().Add(time.Hour))
	}
	if !strings.Contains(log.String(), "full") {
		t.Errorf("no warning of a full store in the log:\n%s", &log)
	}
}

// An error with two causes is still one error.
func TestEach(t *testing.T) {
	a, b := errors.New("a"), errors.New("b")
	two := fmt.Errorf("redis: open: %w: %w", a, b)
	if got := each(errors.Join(two, errors.Join(a, b))); !reflect.DeepEqual(got, []error{two, a, b}) {
		t.Errorf("got %q", got)
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"500ms":  500 * time.Millisecond,
		"90m":    90 * time.Minute,
		"1h30m":  90 * time.Minute,
		"7d":     7 * 24 * time.Hour,
		"1w1d":   8 * 24 * time.Hour,
		"1.5h":   90 * time.Minute,
		"0.1s":   100 * time.Millisecond,
		"10000d": 10000 * 24 * time.Hour,
		"365d":   365 * 24 * time.Hour,
	} {
		if got, err := parseDuration(text); got != want || err != nil || !durationText.MatchString(text) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "7", "7 d", "7D", "d", "-7d", "+7d", "1.d", ".5h", "7days", "1h 30m", "1µs", "1ns"} {
		if durationText.MatchString(text) {
			t.Errorf("%q is taken for a duration", text)
		}
	}
}

func FuzzLoad(f *testing.F) {
	for _, dir := range []string{"testdata/errors", "testdata/valid"} {
		for _, file := range samples(f, dir) {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data, strings.HasSuffix(file, ".json"))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, isJSON bool) {
		name := "x.yaml"
		if isJSON {
			name = "x.json"
		}
		if bytes.Contains(data, []byte("File")) {
			return // the file may name a secret file to read
		}
		c, err := load(name, data, []string{"A=1"})
		if err == nil && len(c.Options.Secrets) == 0 && c.Options.Signature == "" {
			t.Error("a configuration without a secret")
		}
	})
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Whoever gives a secret in the place of the file that holds it does not find it in the
// error, whichever key it is.
func TestSecretInPlaceOfAFile(t *testing.T) {
	const given = "the-secret-itself-and-no-file"
	leaktest.Note(given)
	for _, text := range []string{
		"secretFile: ${GIVEN}\nstore: memory:\n",
		"secret: s\nstore:\n  url: redis://127.0.0.1:1\n  passwordFile: ${GIVEN}\n",
		"secret: s\nstore:\n  url: rediss://127.0.0.1:1\n  caFile: ${GIVEN}\n",
		"secret: s\nstore:\n  url: rediss://127.0.0.1:1\n  certFile: ${GIVEN}\n  keyFile: ${GIVEN}\n",
		"secret: s\nstore:\n  url: postgres://127.0.0.1:1/db\n  passwordFile: ${GIVEN}\n",
		"secret: s\nstore:\n  url: postgres://127.0.0.1:1/db\n  caFile: ${GIVEN}\n",
		"secret: s\nstore:\n  url: postgres://127.0.0.1:1/db\n  certFile: ${GIVEN}\n  keyFile: ${GIVEN}\n",
	} {
		t.Setenv("GIVEN", given)
		file := filepath.Join(t.TempDir(), "session.yaml")
		write(t, file, text)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		_, _, err := Open(ctx, file)
		cancel()
		if err == nil || strings.Contains(err.Error(), given) || !strings.Contains(err.Error(), "File") {
			t.Errorf("%s%v", text, err)
		}
	}
}
