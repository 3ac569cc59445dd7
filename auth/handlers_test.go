package auth_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
	"github.com/samesid/samesid/internal/leaktest"
)

func TestLoginBodies(t *testing.T) {
	const (
		notJSON   = "The body is not valid JSON"
		wrongJSON = `The body must be a JSON object with the text fields \"username\" and \"password\", each once, and no others`
		notForm   = "The body is not a valid form"
		wrongForm = `The form must have the fields \"username\" and \"password\", each once`
		notText   = "The fields must be UTF-8 text"
		notType   = "Send application/json or application/x-www-form-urlencoded"
		tooLong   = "The body must be at most 4096 bytes long"
		invalid   = "Invalid Credentials"
	)
	escaped := url.QueryEscape(password)
	for _, tt := range []struct {
		name, contentType, body string
		status                  int
		message                 string
	}{
		{"JSON", typeJSON, goodJSON, 200, "You are logged in"},
		{"JSON with a charset", "application/json; charset=utf-8", goodJSON, 200, "You are logged in"},
		{"JSON in capitals", "Application/JSON", goodJSON, 200, "You are logged in"},
		{"JSON with space", typeJSON, "\n " + goodJSON + " \n", 200, "You are logged in"},
		{"wrong password", typeJSON, badJSON, 401, invalid},
		{"unknown user", typeJSON, `{"username":"eve","password":"` + password + `"}`, 401, invalid},
		{"empty password", typeJSON, `{"username":"ada","password":""}`, 401, invalid},
		{"empty username", typeJSON, `{"username":"","password":"` + password + `"}`, 401, invalid},
		{"no password", typeJSON, `{"username":"ada"}`, 400, wrongJSON},
		{"another field", typeJSON, `{"username":"ada","password":"` + password + `","admin":"true"}`, 400, wrongJSON},
		{"another field in place", typeJSON, `{"username":"ada","passwort":"` + password + `"}`, 400, wrongJSON},
		{"the field in capitals", typeJSON, `{"username":"ada","Password":"` + password + `"}`, 400, wrongJSON},
		{"a doubled field", typeJSON, `{"username":"eve","username":"ada","password":"` + password + `"}`, 400, wrongJSON},
		{"a doubled field, escaped", typeJSON, `{"password":"x","username":"ada","p\u0061ssword":"` + password + `"}`, 400, wrongJSON},
		{"a number", typeJSON, `{"username":"ada","password":5}`, 400, wrongJSON},
		{"null", typeJSON, `{"username":"ada","password":null}`, 400, wrongJSON},
		{"an object", typeJSON, `{"username":"ada","password":{"$ne":""}}`, 400, wrongJSON},
		{"a list", typeJSON, `{"username":"ada","password":["` + password + `"]}`, 400, wrongJSON},
		{"no object", typeJSON, `["ada","` + password + `"]`, 400, wrongJSON},
		{"null alone", typeJSON, `null`, 400, wrongJSON},
		{"empty", typeJSON, ``, 400, notJSON},
		{"cut off", typeJSON, goodJSON[:len(goodJSON)-1], 400, notJSON},
		{"garbage after", typeJSON, goodJSON + "x", 400, notJSON},
		{"a second value", typeJSON, goodJSON + goodJSON, 400, notJSON},
		{"a comma too many", typeJSON, goodJSON[:len(goodJSON)-1] + ",}", 400, notJSON},
		{"no UTF-8", typeJSON, "{\"username\":\"ada\",\"password\":\"\xff\"}", 400, notJSON},
		{"NUL", typeJSON, `{"username":"ada\u0000","password":"` + password + `"}`, 400, notText},
		{"a form as JSON", typeJSON, goodForm, 400, notJSON},
		{"deep", typeJSON, strings.Repeat("[", 4000), 400, notJSON},

		{"form", typeForm, goodForm, 200, "You are logged in"},
		{"form with a charset", typeForm + ";charset=UTF-8", goodForm, 200, "You are logged in"},
		{"form with more fields", typeForm, goodForm + "&csrf=1&submit=", 200, "You are logged in"},
		{"form, wrong password", typeForm, "username=ada&password=wrong", 401, invalid},
		{"form, empty password", typeForm, "username=ada&password=", 401, invalid},
		{"form, no password", typeForm, "username=ada", 400, wrongForm},
		{"form, empty", typeForm, "", 400, wrongForm},
		{"form, a doubled field", typeForm, "username=eve&" + goodForm, 400, wrongForm},
		{"form, a doubled returnTo", typeForm, goodForm + "&returnTo=/a&returnTo=/b", 400, wrongForm},
		{"form, bad escape", typeForm, "username=%zz&password=" + escaped, 400, notForm},
		{"form, semicolon", typeForm, "username=ada;password=" + escaped, 400, notForm},
		{"form, NUL", typeForm, "username=ada&password=a%00b", 400, notText},
		{"form, no UTF-8", typeForm, "username=%ff&password=a", 400, notText},

		{"no type", "", goodJSON, 415, notType},
		{"text", "text/plain", goodJSON, 415, notType},
		{"multipart", "multipart/form-data; boundary=x", "--x--", 415, notType},
		{"no such type", "application/json;;", goodJSON, 415, notType},

		{"as long as allowed", typeJSON, goodJSON + strings.Repeat(" ", 4096-len(goodJSON)), 200, "You are logged in"},
		{"too long", typeJSON, goodJSON + strings.Repeat(" ", 4097-len(goodJSON)), 413, tooLong},
		{"form, too long", typeForm, goodForm + "&x=" + strings.Repeat("x", 5000), 413, tooLong},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := new(leaktest.Log)
			m := newManager(t, adapter.Options{Logger: l.Logger()})
			a := newAuth(t, m, verifyAda, auth.Options{Logger: l.Logger()})
			w := do(m, a.Login(), "POST", "/login", tt.body, "Content-Type", tt.contentType)
			check(t, tt.name, w.Code, w.Body.String(), tt.status, tt.message)
			if signedIn := w.Header().Get("Set-Cookie") != ""; signedIn != (tt.status == 200) {
				t.Errorf("cookie set: %t", signedIn)
			}
			if w.Header().Get("Cache-Control") != "no-store" && tt.status != 200 || w.Header().Get("Content-Type") != "application/json; charset=utf-8" {
				t.Errorf("headers %v", w.Header())
			}
			if got := w.Body.String() + l.String(); strings.Contains(got, password) || strings.Contains(got, escaped) {
				t.Errorf("the password is in the answer or the log: %s", got)
			}
		})
	}
}

// An empty password never reaches the Verifier: LDAP would treat it as an
// anonymous login.
func TestEmptyCredentials(t *testing.T) {
	m := newManager(t, adapter.Options{})
	a := newAuth(t, m, func(context.Context, string, string) (user, error) { return ada, nil }, auth.Options{})
	for _, body := range []string{"username=ada&password=", "username=&password=x"} {
		w := do(m, a.Login(), "POST", "/login", body, "Content-Type", typeForm)
		check(t, body, w.Code, w.Body.String(), 401, "Invalid Credentials")
	}
}

func TestCredentialsInQuery(t *testing.T) {
	m := newManager(t, adapter.Options{})
	a := newAuth(t, m, verifyAda, auth.Options{})
	w := do(m, a.Login(), "POST", "/login?"+goodForm, "", "Content-Type", typeForm)
	if w.Code != 400 {
		t.Errorf("credentials in the query: %d %s", w.Code, w.Body)
	}
}

func TestFieldNames(t *testing.T) {
	m := newManager(t, adapter.Options{})
	a := newAuth(t, m, verifyAda, auth.Options{UsernameField: "email", PasswordField: "pass", MaxBody: 100})
	for contentType, body := range map[string]string{
		typeJSON: `{"pass":"` + password + `","email":"ada"}`,
		typeForm: url.Values{"email": {"ada"}, "pass": {password}}.Encode(),
	} {
		w := do(m, a.Login(), "POST", "/login", body, "Content-Type", contentType)
		check(t, body, w.Code, w.Body.String(), 200, "You are logged in")
		w = do(m, a.Login(), "POST", "/login", body+strings.Repeat(" ", 100), "Content-Type", contentType)
		check(t, "too long", w.Code, w.Body.String(), 413, "The body must be at most 100 bytes long")
	}
	w := do(m, a.Login(), "POST", "/login", goodForm, "Content-Type", typeForm)
	check(t, "the usual names", w.Code, w.Body.String(), 400, `The form must have the fields \"email\" and \"pass\", each once`)
}

// An earlier middleware, such as one for tokens, may have read the form.
func TestFormReadBefore(t *testing.T) {
	m := newManager(t, adapter.Options{})
	a := newAuth(t, m, verifyAda, auth.Options{})
	w := do(m, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.PostFormValue("token")
		a.Login().ServeHTTP(w, r)
	}), "POST", "/login", goodForm+"&token=1", "Content-Type", typeForm)
	check(t, "a form that was read", w.Code, w.Body.String(), 200, "You are logged in")
}

func TestMethods(t *testing.T) {
	m := newManager(t, adapter.Options{})
	a := newAuth(t, m, verifyAda, auth.Options{})
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		w := do(m, a.Login(), method, "/login", badJSON, "Content-Type", typeJSON)
		if method == "POST" {
			check(t, method, w.Code, w.Body.String(), 401, "Invalid Credentials")
		} else if w.Code != 405 || w.Header().Get("Allow") != "POST" {
			t.Errorf("%s /login: %d, Allow %q", method, w.Code, w.Header().Get("Allow"))
		}
		w = do(m, a.Logout(), method, "/logout", "")
		if method == "POST" || method == "GET" {
			check(t, method, w.Code, w.Body.String(), 200, "You are logged out")
			if got := w.Header().Get("Clear-Site-Data"); got != `"cache"` {
				t.Errorf("Clear-Site-Data: %q", got)
			}
		} else if w.Code != 405 || w.Header().Get("Allow") != "GET, POST" {
			t.Errorf("%s /logout: %d, Allow %q", method, w.Code, w.Header().Get("Allow"))
		}
	}
}

// clients are the headers that real clients send.
var clients = []struct {
	name, accept string
	browser      bool
}{
	{"Chrome", acceptChrome, true},
	{"Firefox", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true},
	{"Firefox before 132", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/png,image/svg+xml,*/*;q=0.8", true},
	{"Safari", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true},
	{"Internet Explorer", "text/html, application/xhtml+xml, */*", true},
	{"Lynx", "text/html, text/plain, text/sgml, text/css, */*;q=0.01", true},
	{"curl", "*/*", false},
	{"fetch", "*/*", false},
	{"axios", "application/json, text/plain, */*", false},
	{"jQuery for JSON", "application/json, text/javascript, */*; q=0.01", false},
	{"Angular", "application/json, text/plain, */*", false},
	{"an image", "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", false},
	{"none", "", false},
	{"JSON", "application/json", false},
	{"JSON before HTML", "application/json, text/html", false},
	{"HTML before JSON", "text/html, application/json", true},
	{"HTML less than JSON", "text/html;q=0.8, application/json;q=0.9", false},
	{"HTML refused", "text/html;q=0, */*", false},
	{"HTML after anything", "*/*, text/html", true},
	{"any text", "text/*, */*;q=0.5", true},
	{"no number", "text/html;q=x, application/json;q=0.1", false},
	{"capitals", "TEXT/HTML", true},
	{"garbage", ",;=,/", false},
}

func TestNegotiation(t *testing.T) {
	m := newManager(t, adapter.Options{})
	a := newAuth(t, m, verifyAda, auth.Options{LoginPage: "/signin?lang=en", AfterLogin: "/home", AfterLogout: "/bye", Unlimited: true})
	mux := routes(m, a)
	for _, tt := range clients {
		t.Run(tt.name, func(t *testing.T) {
			for _, step := range []struct {
				name, method, path, contentType, body string
				status                                int
				location                              string
			}{
				{"protected", "GET", "/protected?a=1&b=2", "", "", 401, "/signin?lang=en&returnTo=%2Fprotected%3Fa%3D1%26b%3D2"},
				{"protected, HEAD", "HEAD", "/protected", "", "", 401, "/signin?lang=en&returnTo=%2Fprotected"},
				{"protected, POST", "POST", "/protected", "", "", 401, ""},
				{"wrong form", "POST", "/login", typeForm, "username=ada&password=x&returnTo=/a%3Fb", 401, "/signin?lang=en&error=1&returnTo=%2Fa%3Fb"},
				{"wrong form, bad returnTo", "POST", "/login", typeForm, "username=ada&password=x&returnTo=//a", 401, "/signin?lang=en&error=1"},
				{"wrong JSON", "POST", "/login", typeJSON, badJSON, 401, ""},
				{"form", "POST", "/login", typeForm, goodForm, 200, "/home"},
				{"form with returnTo", "POST", "/login", typeForm, goodForm + "&returnTo=/a", 200, "/a"},
				{"form with returnTo in the query", "POST", "/login?returnTo=/b", typeForm, goodForm, 200, "/b"},
				{"form with both", "POST", "/login?returnTo=/b", typeForm, goodForm + "&returnTo=/a", 200, "/a"},
				{"JSON", "POST", "/login?returnTo=/b", typeJSON, goodJSON, 200, ""},
				{"logout", "POST", "/logout", "", "", 200, "/bye"},
			} {
				var header []string
				if tt.accept != "" {
					header = append(header, "Accept", tt.accept)
				}
				if step.contentType != "" {
					header = append(header, "Content-Type", step.contentType)
				}
				status, location := step.status, ""
				if tt.browser && step.location != "" {
					status, location = 303, step.location
				}
				w := do(m, mux, step.method, step.path, step.body, header...)
				if got := w.Header().Get("Location"); w.Code != status || got != location {
					t.Errorf("%s: %d to %q, want %d to %q", step.name, w.Code, got, status, location)
				}
				if location != "" && w.Body.Len() > 0 {
					t.Errorf("%s: a redirect with a body", step.name)
				}
				if !strings.Contains(strings.Join(w.Header()["Cache-Control"], ","), "no-store") || !strings.Contains(strings.Join(w.Header()["Vary"], ","), "Accept") {
					t.Errorf("%s: Cache-Control %q, Vary %q", step.name, w.Header()["Cache-Control"], w.Header()["Vary"])
				}
			}
		})
	}
}

func TestBrowserWithoutLoginPage(t *testing.T) {
	m := newManager(t, adapter.Options{})
	a := newAuth(t, m, verifyAda, auth.Options{})
	mux := routes(m, a)
	w := do(m, mux, "GET", "/protected", "", "Accept", acceptChrome)
	check(t, "protected", w.Code, w.Body.String(), 401, "Invalid Credentials")
	w = do(m, mux, "POST", "/login", "username=ada&password=x", "Content-Type", typeForm, "Accept", acceptChrome)
	check(t, "login", w.Code, w.Body.String(), 401, "Invalid Credentials")
}

// The returnTo of a page behind StripPrefix is the path that the client requested.
func TestReturnToKeepsPrefix(t *testing.T) {
	m := newManager(t, adapter.Options{})
	a := newAuth(t, m, verifyAda, auth.Options{LoginPage: "/login"})
	h := http.StripPrefix("/app", routes(m, a))
	w := do(m, h, "GET", "/app/protected", "", "Accept", acceptChrome)
	if got := w.Header().Get("Location"); got != "/login?returnTo=%2Fapp%2Fprotected" {
		t.Errorf("Location %q", got)
	}
}

func TestOpenRedirect(t *testing.T) {
	m := newManager(t, adapter.Options{})
	a := newAuth(t, m, verifyAda, auth.Options{Unlimited: true})
	for _, tt := range []struct {
		returnTo string
		ok       bool
	}{
		{"/", true},
		{"/a/b?c=d&e=/f", true},
		{"/a?next=https://example.com//x", true},
		{"/a%2Fb", true},
		{"/%2f%2fexample.com", true}, // still a path
		{"/%5cexample.com", true},
		{"/@example.com", true},
		{"/a:b", true},
		{"/" + strings.Repeat("a", 1999), true},

		{"", false},
		{"a", false},
		{"?a", false},
		{"//example.com", false},
		{"///example.com", false},
		{`/\example.com`, false},
		{`\/example.com`, false},
		{`\\example.com`, false},
		{`/a\b`, false},
		{"/\t/example.com", false},
		{"/\n/example.com", false},
		{"/\r\nSet-Cookie: a=b", false},
		{"\t//example.com", false},
		{" //example.com", false},
		{"/ /example.com", false},
		{"/a\x00", false},
		{"/a\x7f", false},
		{"/.//example.com", false},
		{"/a/..//example.com", false},
		{"/a//b", false},
		{"https://example.com", false},
		{"https:example.com", false},
		{"https:/example.com", false},
		{"javascript:alert(1)", false},
		{"data:text/html,x", false},
		{"example.com", false},
		{"@example.com", false},
		{"/a#b", false},
		{"/%zz", false},
		{"/ä", false},
		{"/\u2028", false},
		{"／／example.com", false},
		{"%2f%2fexample.com", false},
		{"/" + strings.Repeat("a", 2000), false},
	} {
		for _, w := range []http.Header{
			do(m, a.Login(), "POST", "/login", goodForm+"&returnTo="+url.QueryEscape(tt.returnTo), "Content-Type", typeForm, "Accept", acceptChrome).Header(),
			do(m, a.Login(), "POST", "/login?returnTo="+url.QueryEscape(tt.returnTo), goodForm, "Content-Type", typeForm, "Accept", acceptChrome).Header(),
		} {
			want := "/"
			if tt.ok {
				want = tt.returnTo
			}
			if got := w.Get("Location"); got != want {
				t.Errorf("returnTo %q: sent to %q, want %q", tt.returnTo, got, want)
			}
		}
	}
}

func TestCrossOrigin(t *testing.T) {
	m := newManager(t, adapter.Options{})
	a := newAuth(t, m, verifyAda, auth.Options{TrustedOrigins: []string{"https://app.example"}})
	const refused = "Cross-origin request refused"
	for _, tt := range []struct {
		name   string
		header []string
		ok     bool
	}{
		{"no browser", nil, true},
		{"same origin", []string{"Sec-Fetch-Site", "same-origin", "Origin", "https://www.example"}, true},
		{"typed", []string{"Sec-Fetch-Site", "none"}, true},
		{"an older browser", []string{"Origin", "https://www.example"}, true},
		{"trusted", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://app.example"}, true},
		{"another site", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, false},
		{"a subdomain", []string{"Sec-Fetch-Site", "same-site", "Origin", "https://old.www.example"}, false},
		{"an older browser, another site", []string{"Origin", "https://evil.example"}, false},
		{"a sandbox", []string{"Origin", "null"}, false},
		{"another site's form", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			header := append([]string{"Host", "www.example", "Content-Type", typeJSON}, tt.header...)
			login := do(m, a.Login(), "POST", "/login", goodJSON, header...)
			logout := do(m, a.Logout(), "POST", "/logout", "", header...)
			if tt.ok {
				check(t, "login", login.Code, login.Body.String(), 200, "You are logged in")
				check(t, "logout", logout.Code, logout.Body.String(), 200, "You are logged out")
			} else {
				check(t, "login", login.Code, login.Body.String(), 403, refused)
				check(t, "logout", logout.Code, logout.Body.String(), 403, refused)
			}
		})
	}
}

func TestLogoutByGET(t *testing.T) {
	m := newManager(t, adapter.Options{})
	a := newAuth(t, m, verifyAda, auth.Options{AfterLogout: "/bye"})
	b := newBrowser(t, serve(t, m, routes(m, a)))
	for _, tt := range []struct {
		name   string
		header []string
		out    bool
	}{
		{"a program", nil, true},
		{"a link", []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, true},
		{"fetch", []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"}, true},
		{"another site's link", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, true},
		{"another site's image", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"}, false},
		{"another site's frame", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}, false},
		{"another site's fetch", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Origin", "https://evil.example"}, false},
		{"a subdomain's image", []string{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"}, false},
		{"a browser loading ahead", []string{"Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Sec-Purpose", "prefetch;prerender"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b.do("POST", "/login", goodJSON, "Content-Type", typeJSON)
			res := b.do("GET", "/logout", "", tt.header...)
			if tt.out {
				check(t, "logout", res.StatusCode, res.body, 200, "You are logged out")
			} else {
				check(t, "logout", res.StatusCode, res.body, 403, "Cross-origin request refused")
			}
			if res = b.do("GET", "/protected", ""); res.StatusCode != map[bool]int{true: 401, false: 200}[tt.out] {
				t.Errorf("protected: %d", res.StatusCode)
			}
		})
	}
	for _, tt := range []struct {
		name, accept, agent string
		header              []string
		out                 bool
	}{
		{"curl", "*/*", "curl/8.5.0", nil, true},
		{"PowerShell", "", "Mozilla/5.0 (Windows NT; Windows NT 10.0; en-US) WindowsPowerShell/5.1", nil, true},
		{"an image in Chrome", "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", "Mozilla/5.0", nil, false},
		{"an image in Firefox", "image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5", "Mozilla/5.0", nil, false},
		{"a script", "*/*", "Mozilla/5.0", nil, false},
		{"a style", "text/css,*/*;q=0.1", "Mozilla/5.0", nil, false},
		{"another site's script", acceptChrome, "Mozilla/5.0", []string{"Origin", "http://evil.example"}, false},
		{"its own site's image, on HTTPS", "image/*", "Mozilla/5.0", []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"}, false},
		{"its own site's frame, on HTTPS", acceptChrome, "Mozilla/5.0", []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}, false},
	} {
		t.Run("on plain HTTP, "+tt.name, func(t *testing.T) {
			b.do("POST", "/login", goodJSON, "Content-Type", typeJSON)
			header := append([]string{"User-Agent", tt.agent}, tt.header...)
			if tt.accept != "" {
				header = append(header, "Accept", tt.accept)
			}
			if res := b.do("GET", "/logout", "", header...); (res.StatusCode == 200) != tt.out || !tt.out && res.StatusCode != 403 {
				t.Errorf("logout: %d %s", res.StatusCode, res.body)
			}
			if res := b.do("GET", "/protected", ""); res.StatusCode != map[bool]int{true: 401, false: 200}[tt.out] {
				t.Errorf("protected: %d", res.StatusCode)
			}
		})
	}
	b.do("POST", "/login", goodJSON, "Content-Type", typeJSON)
	res := b.do("GET", "/logout", "", "Accept", acceptChrome, "User-Agent", "Mozilla/5.0")
	if got := res.Header.Get("Location"); res.StatusCode != 303 || got != "/bye" || b.cookie() != "" {
		t.Errorf("a browser: %d to %q, cookie %q", res.StatusCode, got, b.cookie())
	}
}

// The handler may set its own Cache-Control.
func TestRestrictedCaching(t *testing.T) {
	m := newManager(t, adapter.Options{})
	a := newAuth(t, m, verifyAda, auth.Options{})
	w := do(m, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := a.SignIn(r.Context(), ada); err != nil {
			t.Error(err)
		}
		a.Restricted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "private, max-age=60")
			_, _ = fmt.Fprint(w, "page")
		})).ServeHTTP(w, r)
	}), "GET", "/", "")
	if got := w.Header().Get("Cache-Control"); got != "private, max-age=60" {
		t.Errorf("Cache-Control %q", got)
	}
}

// A session whose user is under another key than Options.Key is named in the log, with the
// keys that it has.
func TestUserUnderAnotherKey(t *testing.T) {
	for _, key := range []string{"user", "passport.user"} {
		out := &leaktest.Log{}
		m := newManager(t, adapter.Options{Codec: adapter.JSONCodec{}})
		a := newAuth(t, m, verifyAda, auth.Options{Key: key, Logger: out.Logger()})
		h := a.Restricted(http.NotFoundHandler())
		do(m, h, http.MethodGet, "/", "")
		if got := out.String(); got != "" {
			t.Errorf("%s: without a session: %s", key, got)
		}
		put := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			m.Put(r.Context(), "account", map[string]any{"name": "ada"})
			m.Put(r.Context(), "cart", 1)
		})
		cookie := do(m, put, http.MethodGet, "/", "").Result().Cookies()[0]
		for range 2 {
			if w := do(m, h, http.MethodGet, "/", "", "Cookie", cookie.Name+"="+cookie.Value); w.Code != http.StatusUnauthorized {
				t.Errorf("%s: status %d", key, w.Code)
			}
		}
		got := out.String()
		if strings.Count(got, "\n") != 1 || !strings.Contains(got, "key="+key+` keys="[account cart]"`) || strings.Contains(got, "ada") {
			t.Errorf("%s: log: %s", key, got)
		}
	}
}
