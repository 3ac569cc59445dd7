package main

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/samesid/samesid/internal/testserver"
)

// startExpress runs the Express half until the test ends, and returns its address.
func startExpress(t *testing.T, file string) string {
	t.Helper()
	out := testserver.StartNode(t, "express", "express/server.mjs", "-addr", "127.0.0.1:0", "-config", file)
	for {
		line, err := out.ReadString('\n')
		if err != nil {
			t.Fatalf("the Express half did not start: %v", err)
		}
		if rest, ok := strings.CutPrefix(line, "Open "); ok {
			address, _, _ := strings.Cut(rest, " ")
			return address
		}
	}
}

// halves runs both halves of the demo on one of its files.
func halves(t *testing.T, file string) (goHalf, expressHalf string) {
	t.Helper()
	t.Setenv("SESSION_SECRET", "") // selects the file's own
	expressHalf = startExpress(t, file)
	goHalf, _, _ = strings.Cut(strings.TrimPrefix(start(t, "-config", file)[1], "Open "), " ")
	return goHalf, expressHalf
}

// visitor returns a client with a cookie jar. The cookies of 127.0.0.1 are the same on
// every port.
func visitor(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{
		Jar:           jar,
		Transport:     &http.Transport{DisableKeepAlives: true}, // so that the servers stop at once
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

type answer struct {
	status int
	body   string // the target of a redirect
}

// ask sends a request, with body if contentType is not empty.
func ask(t *testing.T, c *http.Client, accept, method, address, contentType, body string) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", accept)
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	res, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if to := res.Header.Get("Location"); to != "" {
		return answer{res.StatusCode, to}
	}
	return answer{res.StatusCode, strings.TrimSpace(string(b))}
}

const typeForm = "application/x-www-form-urlencoded"

// TestExpressShares runs both halves with the demo's own files. Whoever signs in on one
// half is signed in on the other, and signs out of both.
func TestExpressShares(t *testing.T) {
	for _, tt := range []struct {
		file  string
		serve func(*testing.T)
	}{
		{"redis.yaml", func(t *testing.T) { t.Setenv("REDIS_URL", testserver.StartRedis(t).URL) }},
		{"postgres.yaml", func(t *testing.T) { t.Setenv("DATABASE_URL", testserver.StartPostgres(t).URL) }},
	} {
		t.Run(tt.file, func(t *testing.T) {
			tt.serve(t)
			goHalf, expressHalf := halves(t, tt.file)
			for name, half := range map[string]struct{ own, other string }{
				"login in Go":      {goHalf, expressHalf},
				"login in Express": {expressHalf, goHalf},
			} {
				t.Run(name, func(t *testing.T) {
					c := visitor(t)
					steps := func(steps ...[3]string) {
						t.Helper()
						for _, s := range steps {
							method, path, _ := strings.Cut(s[1], " ")
							got := ask(t, c, asCurl, method, s[0]+path, typeForm, credentials(demoPassword).Encode())
							if got.body != s[2] {
								t.Fatalf("%s of %s: %d %s, want %s", s[1], s[0], got.status, got.body, s[2])
							}
						}
					}
					const (
						in    = `{"message":"You are logged in"}`
						open  = `{"message":"You are authorized"}`
						shut  = `{"message":"Invalid Credentials"}`
						out   = `{"message":"You are logged out"}`
						whole = `{"signedIn":true,"user":{"username":"demo","name":"Demo User"},"count":2}`
					)
					steps([3]string{half.other, "POST /login", in}) // the next login ends it
					address, err := url.Parse(half.own)
					if err != nil {
						t.Fatal(err)
					}
					before := c.Jar.Cookies(address)
					steps(
						[3]string{half.own, "POST /login", in},
						[3]string{half.other, "GET /protected", open},
						[3]string{half.other, "POST /count", `{"count":1}`},
						[3]string{half.own, "POST /count", `{"count":2}`},
						[3]string{half.own, "GET /", whole},
						[3]string{half.other, "GET /", whole},
					)
					after := c.Jar.Cookies(address)
					planted := visitor(t)
					planted.Jar.SetCookies(address, before)
					for _, address := range []string{half.own, half.other} {
						if got := ask(t, planted, asCurl, "GET", address+"/protected", "", ""); got.body != shut {
							t.Errorf("the session from before the login: %+v", got)
						}
					}
					steps(
						[3]string{half.other, "POST /logout", out},
						[3]string{half.own, "GET /protected", shut},
						[3]string{half.other, "GET /protected", shut},
					)
					if left := c.Jar.Cookies(address); len(left) != 0 {
						t.Errorf("the logout leaves a cookie: %s", left[0].Name)
					}
					c.Jar.SetCookies(address, after) // a cookie that was kept is useless, too
					steps(
						[3]string{half.own, "GET /protected", shut},
						[3]string{half.other, "GET /protected", shut},
					)
				})
			}
		})
	}
}

// TestGuideCommands runs the calls of curl in docs/migrating-from-express.md: those that share a
// login, and the one that asks Go with a cookie of Express's.
func TestGuideCommands(t *testing.T) {
	t.Setenv("REDIS_URL", testserver.StartRedis(t).URL)
	goHalf, expressHalf := halves(t, "redis.yaml")
	page, err := os.ReadFile("../docs/migrating-from-express.md")
	if err != nil {
		t.Fatal(err)
	}
	c := visitor(t)
	ask(t, c, asCurl, "POST", expressHalf+"/login", typeForm, credentials(demoPassword).Encode())
	address, err := url.Parse(expressHalf)
	if err != nil {
		t.Fatal(err)
	}
	got := testserver.Curl(t, string(page), "http://127.0.0.1:8080/reports", goHalf+"/protected",
		"http://127.0.0.1:8080", goHalf, "http://127.0.0.1:8081", expressHalf, "$COOKIE", c.Jar.Cookies(address)[0].Value)
	want := []string{
		`{"message":"You are logged in"}`, `{"message":"You are authorized"}`, `{"message":"You are logged out"}`, `{"message":"Invalid Credentials"}`,
		`{"message":"You are authorized"}`,
	}
	if !slices.EqualFunc(got, want, strings.HasSuffix) { // the last one has headers too
		t.Errorf("the commands print %q, want %q", got, want)
	}
}

// TestExpressAnswers compares the answers of both halves.
func TestExpressAnswers(t *testing.T) {
	t.Setenv("REDIS_URL", testserver.StartRedis(t).URL)
	goHalf, expressHalf := halves(t, "redis.yaml")
	const (
		typeJSON = "application/json"
		goodJSON = `{"username":"demo","password":"` + demoPassword + `"}`
	)
	goodForm := credentials(demoPassword).Encode()
	for _, tt := range []struct{ name, accept, request, contentType, body string }{
		{"home", asCurl, "GET /", "", ""},
		{"protected", asCurl, "GET /protected", "", ""},
		{"logout", asCurl, "POST /logout", "", ""},
		{"logout by a link", asCurl, "GET /logout", "", ""},
		{"JSON", asCurl, "POST /login", typeJSON, goodJSON},
		{"JSON in a browser", asBrowser, "POST /login", typeJSON, goodJSON},
		{"form", asCurl, "POST /login", typeForm, goodForm},
		{"form with more fields", asCurl, "POST /login", typeForm, goodForm + "&more=1"},
		{"wrong password", asCurl, "POST /login", typeJSON, `{"username":"demo","password":"x"}`},
		{"wrong password in a form", asCurl, "POST /login", typeForm, "username=demo&password=x"},
		{"unknown user", asCurl, "POST /login", typeJSON, `{"username":"eve","password":"` + demoPassword + `"}`},
		{"empty password", asCurl, "POST /login", typeJSON, `{"username":"demo","password":""}`},
		{"no password", asCurl, "POST /login", typeJSON, `{"username":"demo"}`},
		{"no password in a form", asCurl, "POST /login", typeForm, "username=demo"},
		{"two passwords", asCurl, "POST /login", typeForm, goodForm + "&password=x"},
		{"another field", asCurl, "POST /login", typeJSON, `{"username":"demo","password":"x","admin":true}`},
		{"an object", asCurl, "POST /login", typeJSON, `{"username":"demo","password":{}}`},
		{"a list", asCurl, "POST /login", typeJSON, `["demo"]`},
		{"cut off", asCurl, "POST /login", typeJSON, goodJSON[:20]},
		{"too long", asCurl, "POST /login", typeJSON, goodJSON + strings.Repeat(" ", 4096)},
		{"text", asCurl, "POST /login", "text/plain", goodJSON},
		{"count", asCurl, "POST /count", "", ""},
		{"no such route", asCurl, "GET /nothing", "", ""},
		{"no such method", asCurl, "GET /login", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			method, path, _ := strings.Cut(tt.request, " ")
			want := ask(t, visitor(t), tt.accept, method, goHalf+path, tt.contentType, tt.body)
			got := ask(t, visitor(t), tt.accept, method, expressHalf+path, tt.contentType, tt.body)
			if got != want {
				t.Errorf("Express answers %+v, Go %+v", got, want)
			}
		})
	}
}

// TestExpressPage tests the page of the Express half.
func TestExpressPage(t *testing.T) {
	t.Setenv("REDIS_URL", testserver.StartRedis(t).URL)
	t.Setenv("SESSION_SECRET", "")
	address, c := startExpress(t, "redis.yaml"), visitor(t)
	for _, step := range []struct {
		request, body string
		status        int
		want          string
	}{
		{"GET /", "", 200, "Signed out"},
		{"GET /protected", "", 401, "<h1>Invalid Credentials</h1>"},
		{"GET /nothing", "", 404, "<h1>There is nothing here</h1>"},
		{"POST /login", "username=demo&password=x", 303, "/?error=1"},
		{"GET /?error=1", "", 200, "<b>Invalid credentials.</b>"},
		{"POST /login", credentials(demoPassword).Encode(), 303, "/"},
		{"GET /", "", 200, "Signed in as <b>demo</b>"},
		{"GET /protected", "", 200, "<h1>You are authorized</h1>"},
		{"POST /count", "", 303, "/"},
		{"GET /", "", 200, "&#34;count&#34;: 1"},
		{"GET /", "", 200, "&#34;auth_time&#34;: "},
		{"GET /", "", 200, "&#34;originalMaxAge&#34;: 600000,"},
		{"GET /", "", 200, "&#34;sameSite&#34;: &#34;lax&#34;"},
		{"POST /logout", "", 303, "/"},
		{"GET /", "", 200, "Signed out"},
	} {
		method, path, _ := strings.Cut(step.request, " ")
		got := ask(t, c, asBrowser, method, address+path, typeForm, step.body)
		// Express sets an age by two readings of the clock, between which a busy machine may
		// do something else.
		got.body = regexp.MustCompile(`\b599\d{3}\b`).ReplaceAllString(got.body, "600000")
		if got.status != step.status || !strings.Contains(got.body, step.want) {
			t.Fatalf("%s: %d, want %d with %q\n%s", step.request, got.status, step.status, step.want, got.body)
		}
	}
}

// Another site's page can't sign a visitor in, on either half.
func TestExpressCrossSite(t *testing.T) {
	t.Setenv("REDIS_URL", testserver.StartRedis(t).URL)
	goHalf, expressHalf := halves(t, "redis.yaml")
	for _, address := range []string{goHalf, expressHalf} {
		for site, want := range map[string]int{"same-origin": 200, "none": 200, "same-site": 403, "cross-site": 403} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address+"/login", strings.NewReader(credentials(demoPassword).Encode()))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", typeForm)
			r.Header.Set("Sec-Fetch-Site", site)
			res, err := visitor(t).Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if res.StatusCode != want {
				t.Errorf("%s to %s: %d, want %d", site, address, res.StatusCode, want)
			}
		}
	}
}

func TestExpressStart(t *testing.T) {
	for name, tt := range map[string]struct{ file, want string }{
		"no layout":        {"secret: x\nstore:\n  url: redis://127.0.0.1:1\n", "store.layout is undefined; Express shares connect-redis and connect-pg-simple"},
		"no such variable": {"secret: ${SAMESID_TEST_NOT_SET}\n", "SAMESID_TEST_NOT_SET is not set"},
		"no such age":      {"secret: x\ncookie:\n  maxAge: soon\n", "maxAge is soon"},
		"no server":        {"secret: x\nstore:\n  url: redis://127.0.0.1:1\n  layout: connect-redis\n", "ECONNREFUSED"},
	} {
		t.Run(name, func(t *testing.T) {
			file := t.TempDir() + "/session.yaml"
			if err := os.WriteFile(file, []byte(tt.file), 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			out, err := exec.CommandContext(ctx, testserver.Node(t, "express"), "express/server.mjs", "-addr", "127.0.0.1:0", "-config", file).CombinedOutput()
			if err == nil || !strings.Contains(string(out), tt.want) || strings.Contains(string(out), "\n    at ") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
