package main

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"math/big"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// provider is an OpenID Connect provider with one user, who is signed in there.
type provider struct {
	*httptest.Server
	key     *rsa.PrivateKey
	sid     string
	codes   map[string]url.Values // what a code was asked for with
	onToken func()                // called before a token is given out
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{key: key, sid: "sid-1", codes: map[string]url.Values{}}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(v); err != nil {
			t.Error(err)
		}
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		answer(w, map[string]any{
			"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
			"end_session_endpoint": p.URL + "/end", "id_token_signing_alg_values_supported": []string{"RS256"},
		})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, r *http.Request) {
		answer(w, map[string]any{"keys": []any{map[string]string{
			"kty": "RSA", "kid": "1", "use": "sig", "alg": "RS256",
			"n": b64(p.key.N.Bytes()), "e": b64(big.NewInt(int64(p.key.E)).Bytes()),
		}}})
	})
	mux.HandleFunc("GET /authorize", func(w http.ResponseWriter, r *http.Request) {
		code := rand.Text()
		p.codes[code] = r.URL.Query()
		http.Redirect(w, r, r.FormValue("redirect_uri")+"?"+url.Values{"code": {code}, "state": {r.FormValue("state")}}.Encode(), http.StatusSeeOther)
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		asked := p.codes[r.FormValue("code")]
		delete(p.codes, r.FormValue("code"))
		if sum := sha256.Sum256([]byte(r.FormValue("code_verifier"))); asked == nil || b64(sum[:]) != asked.Get("code_challenge") {
			http.Error(w, `{"error":"invalid_grant"}`, http.StatusBadRequest)
			return
		}
		if p.onToken != nil {
			p.onToken()
		}
		now := time.Now().Unix()
		answer(w, map[string]any{"access_token": "a", "token_type": "Bearer", "id_token": p.sign(map[string]any{"alg": "RS256", "kid": "1"}, map[string]any{
			"iss": p.URL, "aud": "app", "sub": "ann", "sid": p.sid, "name": "Ann", "nonce": asked.Get("nonce"), "iat": now, "exp": now + 60, "auth_time": now, "amr": []string{"pwd"},
		})})
	})
	mux.HandleFunc("GET /end", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("id_token_hint") == "" || r.FormValue("post_logout_redirect_uri") == "" {
			t.Errorf("the end of the session is asked for with %v", r.URL.Query())
		}
		_, _ = io.WriteString(w, "signed out at the provider")
	})
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func (p *provider) sign(header, claims map[string]any) string {
	h, _ := json.Marshal(header)
	c, _ := json.Marshal(claims)
	text := b64(h) + "." + b64(c)
	if header["alg"] == "none" {
		return text + "."
	}
	sum := sha256.Sum256([]byte(text))
	signature, _ := rsa.SignPKCS1v15(nil, p.key, crypto.SHA256, sum[:])
	return text + "." + b64(signature)
}

// logoutToken returns a logout token with changes; nil leaves a claim out.
func (p *provider) logoutToken(changes map[string]any) string {
	now := time.Now().Unix()
	header := map[string]any{"alg": "RS256", "kid": "1", "typ": "logout+jwt"}
	claims := map[string]any{
		"iss": p.URL, "aud": "app", "iat": now, "exp": now + 120, "jti": rand.Text(), "sub": "ann",
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}
	for k, v := range changes {
		switch {
		case k == "alg":
			header[k] = v
		case v == nil:
			delete(claims, k)
		default:
			claims[k] = v
		}
	}
	return p.sign(header, claims)
}

// newTestApp returns an app with this provider, and its address.
func newTestApp(t *testing.T, p *provider) string {
	t.Helper()
	var handler http.Handler
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(s.Close)
	a, err := newApp(t.Context(), config{p.URL, "app", "secret", s.URL, strings.Repeat("a secret of the app ", 2)})
	if err != nil {
		t.Fatal(err)
	}
	handler = a
	return s.URL
}

type browser struct {
	*http.Client
	t *testing.T
}

func newBrowser(t *testing.T) browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return browser{&http.Client{Jar: jar}, t}
}

func (b browser) open(r *http.Request) (status int, body string) {
	b.t.Helper()
	r.Header.Set("Accept", "text/html")
	res, err := b.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

func (b browser) get(url string) (status int, body string) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, url, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.open(r)
}

// isSignedIn reports whether the app knows the browser's user, without signing in.
func (b browser) isSignedIn(url string) bool {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, url, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	res, err := (&http.Client{Jar: b.Jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// signIn signs a browser in, by way of the provider.
func signIn(t *testing.T, url string) browser {
	t.Helper()
	b := newBrowser(t)
	if status, body := b.get(url + "/login"); status != http.StatusOK || !strings.Contains(body, "Hello, Ann.") {
		t.Fatalf("signing in: %d %s", status, body)
	}
	return b
}

// backChannel sends a logout token as the provider does.
func backChannel(t *testing.T, url, token string) (status int, body string) {
	t.Helper()
	res, err := http.PostForm(url+"/backchannel-logout", map[string][]string{"logout_token": {token}})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control is %q", res.Header.Get("Cache-Control"))
	}
	return res.StatusCode, string(text)
}

func TestLoginAndLogout(t *testing.T) {
	p := newProvider(t)
	url := newTestApp(t, p)
	b := signIn(t, url)
	if !b.isSignedIn(url) {
		t.Fatal("nobody is signed in")
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/logout", nil)
	if err != nil {
		t.Fatal(err)
	}
	if status, body := b.open(r); status != http.StatusOK || body != "signed out at the provider" {
		t.Errorf("signing out: %d %s", status, body)
	}
	if b.isSignedIn(url) {
		t.Error("still signed in")
	}
}

func TestForgedCallback(t *testing.T) {
	p := newProvider(t)
	url := newTestApp(t, p)
	b := newBrowser(t)
	for _, query := range []string{"", "?code=x&state=", "?code=x&state=y"} {
		if status, _ := b.get(url + "/callback" + query); status != http.StatusBadRequest {
			t.Errorf("callback%s: %d", query, status)
		}
	}
}

func TestBackChannelLogout(t *testing.T) {
	p := newProvider(t)
	url := newTestApp(t, p)
	laptop := signIn(t, url)
	p.sid = "sid-2"
	phone := signIn(t, url)
	p.sid = "sid-3"
	tablet := signIn(t, url)

	if status, body := backChannel(t, url, p.logoutToken(map[string]any{"sid": "sid-2"})); status != http.StatusOK {
		t.Errorf("by sub and sid: %d %s", status, body)
	}
	if phone.isSignedIn(url) || !laptop.isSignedIn(url) || !tablet.isSignedIn(url) {
		t.Error("by sub and sid: the wrong sessions have ended")
	}
	if status, body := backChannel(t, url, p.logoutToken(map[string]any{"sid": "sid-3", "sub": nil})); status != http.StatusOK {
		t.Errorf("by sid: %d %s", status, body)
	}
	if tablet.isSignedIn(url) || !laptop.isSignedIn(url) {
		t.Error("by sid: the wrong sessions have ended")
	}
	p.sid = "sid-4"
	phone = signIn(t, url)
	token := p.logoutToken(nil)
	if status, body := backChannel(t, url, token); status != http.StatusOK {
		t.Errorf("by sub: %d %s", status, body)
	}
	if laptop.isSignedIn(url) || phone.isSignedIn(url) {
		t.Error("by sub: not all have ended")
	}
	laptop = signIn(t, url)
	if status, body := backChannel(t, url, token); status != http.StatusBadRequest || !strings.Contains(body, "used before") || !laptop.isSignedIn(url) {
		t.Errorf("the same token again: %d %s, signed in: %t", status, body, laptop.isSignedIn(url))
	}
}

// Each claim that section 2.6 asks for is checked.
func TestBadLogoutTokens(t *testing.T) {
	p := newProvider(t)
	url := newTestApp(t, p)
	b := signIn(t, url)
	other := newProvider(t)
	now := time.Now().Unix()
	good := p.logoutToken(nil)
	for name, token := range map[string]string{
		"none":              "",
		"no token":          "x.y.z",
		"not signed":        p.logoutToken(map[string]any{"alg": "none"}),
		"another algorithm": p.logoutToken(map[string]any{"alg": "HS256"}),
		"another key":       other.sign(map[string]any{"alg": "RS256", "kid": "1"}, map[string]any{"iss": p.URL, "aud": "app"}),
		"changed":           good[:len(good)-8] + "AAAAAAAA",
		"another issuer":    p.logoutToken(map[string]any{"iss": other.URL}),
		"another app":       p.logoutToken(map[string]any{"aud": "another"}),
		"expired":           p.logoutToken(map[string]any{"exp": now - 3600}),
		"no expiry":         p.logoutToken(map[string]any{"exp": nil}),
		"no event":          p.logoutToken(map[string]any{"events": nil}),
		"another event":     p.logoutToken(map[string]any{"events": map[string]any{"x": map[string]any{}}}),
		"a nonce":           p.logoutToken(map[string]any{"nonce": "n"}),
		"no jti":            p.logoutToken(map[string]any{"jti": nil}),
		"nobody":            p.logoutToken(map[string]any{"sub": nil}),
	} {
		status, body := backChannel(t, url, token)
		var answer struct {
			Error string `json:"error"`
		}
		if err := json.Unmarshal([]byte(body), &answer); status != http.StatusBadRequest || err != nil || answer.Error != "invalid_request" {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	res, err := http.Post(url+"/backchannel-logout", "application/json", strings.NewReader(`{"logout_token":"`+good+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusBadRequest || !b.isSignedIn(url) {
		t.Errorf("no form: %d; signed in: %t", res.StatusCode, b.isSignedIn(url))
	}
}

// A login that the provider has confirmed before it asks for the logout does not succeed.
func TestLogoutDuringALogin(t *testing.T) {
	for name, changes := range map[string]map[string]any{"sub": nil, "sub and sid": {"sid": "sid-1"}, "sid": {"sid": "sid-1", "sub": nil}} {
		p := newProvider(t)
		url := newTestApp(t, p)
		p.onToken = func() {
			if status, body := backChannel(t, url, p.logoutToken(changes)); status != http.StatusOK {
				t.Errorf("%s: %d %s", name, status, body)
			}
		}
		b := newBrowser(t)
		if status, _ := b.get(url + "/login"); status != http.StatusUnauthorized || b.isSignedIn(url) {
			t.Errorf("%s: %d, signed in: %t", name, status, b.isSignedIn(url))
		}
	}
}
