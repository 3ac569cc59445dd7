package devicebound_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
	"github.com/samesid/samesid/auth/devicebound"
	"github.com/samesid/samesid/backends/memory"
	"github.com/samesid/samesid/internal/leaktest"
)

const (
	secret     = "a secret of at least thirty-two bytes"
	sessionSID = "connect.sid"
	deviceSID  = "__Host-connect.sid.device"
)

// inTime runs a test in a bubble, where time passes only when all wait.
func inTime(t *testing.T, test func(*testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}

// An app is one with device-bound sessions.
type app struct {
	*testing.T
	m     *adapter.Manager
	auth  *auth.Auth[string]
	bound *devicebound.Binding
	audit *leaktest.Log
	mux   *http.ServeMux
}

// newApp returns an app whose sessions are in a store, nil for one of its own.
func newApp(t *testing.T, m adapter.Options, o devicebound.Options) *app {
	t.Helper()
	leaktest.Note(secret)
	a := &app{T: t, audit: new(leaktest.Log)}
	if m.Store == nil {
		store := memory.New(memory.Options{})
		t.Cleanup(func() { _ = store.Close() })
		m.Store = store
	}
	if m.Secrets == nil {
		m.Secrets = []string{secret}
	}
	m.Audit = slog.New(slog.NewTextHandler(leaktest.Copy(a.audit), nil))
	m.Logger = a.audit.Logger()
	var err error
	if a.m, err = adapter.New(m); err != nil {
		t.Fatal(err)
	}
	if a.bound, err = devicebound.New(a.m, o); err != nil {
		t.Fatal(err)
	}
	anybody := func(_ context.Context, username, _ string) (string, error) { return username, nil }
	a.auth, err = auth.New(a.m, anybody, auth.Options{Binding: a.bound, Unlimited: true, LoginPage: "/login", Logger: a.audit.Logger()})
	if err != nil {
		t.Fatal(err)
	}
	ok := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("in")) })
	a.mux = http.NewServeMux()
	a.mux.Handle("/login", a.auth.Login())
	a.mux.Handle("/logout", a.auth.Logout())
	a.mux.Handle("/device-bound/", a.bound)
	a.mux.Handle("/protected", a.auth.Restricted(ok))
	a.mux.Handle("/fresh", a.auth.Fresh(time.Hour)(ok))
	a.mux.Handle("/required", a.auth.Restricted(a.bound.Require(ok)))
	a.mux.HandleFunc("/renew", func(_ http.ResponseWriter, r *http.Request) { check(t, a.m.RenewToken(r.Context())) })
	a.mux.HandleFunc("/regenerate", func(_ http.ResponseWriter, r *http.Request) {
		check(t, a.m.Regenerate(r.Context()))
		a.m.Put(r.Context(), "user", "ada")
	})
	return a
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A client is a browser: it keeps cookies as long as they last, and has a key.
type client struct {
	*app
	cookies map[string]cookie
	key     crypto.Signer // nil: it has no DBSC
	offer   string        // the challenge of the last offer
	id      string        // what the server calls the binding
}

type cookie struct {
	value string
	until time.Time // zero: until the browser ends
}

func (a *app) client(key crypto.Signer) *client {
	return &client{app: a, cookies: map[string]cookie{}, key: key}
}

// thief returns a client with copies of the cookies, those that are named or all, and with
// a key of its own.
func (c *client) thief(names ...string) *client {
	t := c.app.client(ecKey())
	t.id = c.id
	if names == nil {
		names = []string{sessionSID, deviceSID}
	}
	for _, name := range names {
		if stolen, ok := c.cookies[name]; ok {
			t.cookies[name] = cookie{value: stolen.value} // it does not let go of them
		}
	}
	return t
}

// do sends a request. Each pair in header is a field and its value.
func (c *client) do(method, path string, header ...string) *httptest.ResponseRecorder {
	c.Helper()
	r := httptest.NewRequest(method, "https://app.test"+path, nil)
	if path == "/login" {
		r = httptest.NewRequest(method, "https://app.test"+path, strings.NewReader(url.Values{"username": {"ada"}, "password": {"correct horse"}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, k := range c.cookies {
		if k.until.IsZero() || time.Now().Before(k.until) {
			r.AddCookie(&http.Cookie{Name: name, Value: k.value})
		}
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	c.m.LoadAndSave(c.mux).ServeHTTP(w, r)
	for _, k := range w.Result().Cookies() {
		leaktest.Note(k.Value)
		until := time.Time{}
		if k.MaxAge > 0 {
			until = time.Now().Add(time.Duration(k.MaxAge) * time.Second)
		}
		if c.cookies[k.Name] = (cookie{k.Value, until}); k.MaxAge < 0 {
			delete(c.cookies, k.Name)
		}
	}
	if offer := w.Header().Get("Secure-Session-Registration"); offer != "" {
		m := regexp.MustCompile(`^\(ES256 RS256\);path="/device-bound/register";challenge="([^"]+)"$`).FindStringSubmatch(offer)
		if m == nil {
			c.Fatalf("the offer is %s", offer)
		}
		c.offer = m[1]
	}
	return w
}

// get expects a page's status.
func (c *client) get(path string, want int, header ...string) *httptest.ResponseRecorder {
	c.Helper()
	w := c.do(http.MethodGet, path, header...)
	if w.Code != want {
		c.Errorf("%s: %d %s, want %d", path, w.Code, w.Body, want)
	}
	return w
}

// signIn logs in, as a program.
func (c *client) signIn() {
	c.Helper()
	if w := c.do(http.MethodPost, "/login", "Accept", "application/json"); w.Code != http.StatusOK {
		c.Fatalf("login: %d %s", w.Code, w.Body)
	}
}

// bind logs in and registers, and waits until that no longer counts as just now.
func (c *client) bind() {
	c.Helper()
	c.signIn()
	if w := c.register(); w.Code != http.StatusOK {
		c.Fatalf("registration: %d %s", w.Code, w.Body)
	}
	time.Sleep(11 * time.Second)
}

// register answers the last offer.
func (c *client) register() *httptest.ResponseRecorder {
	c.Helper()
	w := c.do(http.MethodPost, "/device-bound/register", "Secure-Session-Response", c.registration(c.offer))
	if w.Code == http.StatusOK {
		c.id = c.instructions(w)
	}
	return w
}

func (c *client) registration(challenge string) string {
	return sign(c.key, map[string]any{"typ": "dbsc+jwt", "alg": algorithm(c.key), "jwk": jwk(c.key.Public())}, map[string]any{"jti": challenge})
}

func (c *client) proof(challenge string) string {
	return sign(c.key, map[string]any{"typ": "dbsc+jwt", "alg": algorithm(c.key)}, map[string]any{"jti": challenge})
}

// instructions reads those of a response, as the draft has them.
func (c *client) instructions(w *httptest.ResponseRecorder) (id string) {
	c.Helper()
	var got struct {
		ID      string `json:"session_identifier"`
		Refresh string `json:"refresh_url"`
		Scope   struct {
			Site *bool `json:"include_site"`
		} `json:"scope"`
		Credentials []map[string]string `json:"credentials"`
	}
	check(c, json.Unmarshal(w.Body.Bytes(), &got))
	attributes := "Path=/; Secure; HttpOnly; SameSite=Lax"
	if got.ID == "" || got.Refresh != "/device-bound/refresh" || got.Scope.Site == nil || *got.Scope.Site || len(got.Credentials) != 1 ||
		got.Credentials[0]["type"] != "cookie" || got.Credentials[0]["name"] != deviceSID || got.Credentials[0]["attributes"] != attributes {
		c.Errorf("the instructions are %s", w.Body)
	}
	// The cookie is as the instructions say: a browser looks for one with these attributes.
	for _, line := range w.Result().Header["Set-Cookie"] {
		if rest, ok := strings.CutPrefix(line, deviceSID+"="); ok {
			for _, attribute := range strings.Split(attributes, "; ") {
				if !strings.Contains(rest, "; "+attribute) {
					c.Errorf("the cookie lacks %s", attribute)
				}
			}
		}
	}
	return got.ID
}

// challenge asks for one.
func (c *client) challenge() string {
	c.Helper()
	return c.challengeIn(c.do(http.MethodPost, "/device-bound/refresh", "Sec-Secure-Session-Id", c.id))
}

// challengeIn returns the one in a response.
func (c *client) challengeIn(w *httptest.ResponseRecorder) string {
	c.Helper()
	m := regexp.MustCompile(`^"([^"]+)";id="` + regexp.QuoteMeta(c.id) + `"$`).FindStringSubmatch(w.Header().Get("Secure-Session-Challenge"))
	if w.Code != http.StatusForbidden || m == nil {
		c.Fatalf("no challenge: %d %s %v", w.Code, w.Body, w.Header())
	}
	return m[1]
}

// answer sends a proof.
func (c *client) answer(proof string) *httptest.ResponseRecorder {
	c.Helper()
	return c.do(http.MethodPost, "/device-bound/refresh", "Sec-Secure-Session-Id", c.id, "Secure-Session-Response", proof)
}

// refresh does what a browser does before a request for which it lacks the cookie.
func (c *client) refresh() {
	c.Helper()
	if w := c.answer(c.proof(c.challenge())); w.Code != http.StatusOK || c.instructions(w) != c.id {
		c.Errorf("refresh: %d %s", w.Code, w.Body)
	}
}

var encode = base64.RawURLEncoding.EncodeToString

func ecKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey { return rsaKeyOf(2048) })

func rsaKeyOf(bits int) *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return key
}

func algorithm(key crypto.Signer) string {
	if _, ok := key.(*rsa.PrivateKey); ok {
		return "RS256"
	}
	return "ES256"
}

func jwk(key crypto.PublicKey) map[string]any {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		b, err := key.Bytes()
		if err != nil {
			panic(err)
		}
		half := len(b) / 2
		return map[string]any{"kty": "EC", "crv": key.Curve.Params().Name, "x": encode(b[1 : 1+half]), "y": encode(b[1+half:])}
	case *rsa.PublicKey:
		return map[string]any{"kty": "RSA", "n": encode(key.N.Bytes()), "e": encode(big.NewInt(int64(key.E)).Bytes())}
	}
	panic("no key")
}

// sign returns a JWT with these parts, signed as the key does.
func sign(key crypto.Signer, header, claims map[string]any) string {
	h, err := json.Marshal(header)
	if err != nil {
		panic(err)
	}
	c, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	return signText(key, encode(h)+"."+encode(c))
}

func signText(key crypto.Signer, text string) string {
	sum := sha256.Sum256([]byte(text))
	if key, ok := key.(*rsa.PrivateKey); ok {
		b, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
		if err != nil {
			panic(err)
		}
		return text + "." + encode(b)
	}
	ec := key.(*ecdsa.PrivateKey)
	r, s, err := ecdsa.Sign(rand.Reader, ec, sum[:])
	if err != nil {
		panic(err)
	}
	size := (ec.Curve.Params().BitSize + 7) / 8
	return text + "." + encode(append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...))
}
