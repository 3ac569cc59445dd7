package browser

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
	"github.com/samesid/samesid/auth/devicebound"
	"github.com/samesid/samesid/internal/testserver"
)

const deviceCookie = "__Host-connect.sid.device"

// The browser registers a key, and proves it has it whenever the second cookie is missing: also
// for a link from another site, for which it does not hold back the request. A second browser
// with the stolen cookie is refused. A logout ends it all.
func TestDeviceBound(t *testing.T) {
	if browser == nil {
		testserver.Missing(t, missing)
	}
	address, pin := startHTTPS(t)
	newTab := boundBrowser(t, address, pin)

	owner := newTab()
	owner.visit("/")
	owner.signIn()
	owner.visit("/device")
	for !strings.Contains(owner.text("main"), "bound to this browser") { // it registers beside the page
		owner.visit("/device")
	}
	if c := owner.named(deviceCookie); c == nil || !c.Secure || !c.HTTPOnly || c.SameSite != network.CookieSameSiteLax {
		t.Errorf("the second cookie is %+v", c)
	}

	thief := newTab()
	stolen := owner.named("connect.sid")
	call(thief, network.SetCookie, network.SetCookieParams{Name: stolen.Name, Value: stolen.Value, URL: address})
	// The registration takes ten seconds to be over, for which a browser is much work.
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer client.CloseIdleConnections()
	testserver.Until(t, "the end of the registration", func() bool {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address+"/protected", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.AddCookie(&http.Cookie{Name: stolen.Name, Value: stolen.Value})
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		return res.StatusCode != http.StatusOK
	})
	if status := thief.visit("/protected"); status != http.StatusUnauthorized {
		t.Errorf("the thief's protected page has status %d", status)
	}
	thief.has("h1", "Not from the browser that signed in")
	if status := thief.visit("/device"); status != http.StatusUnauthorized {
		t.Errorf("the thief's page has status %d", status)
	}
	if status := owner.visit("/protected"); status != http.StatusOK {
		t.Errorf("the owner's page has status %d", status)
	}

	owner.visit("/device")
	owner.has("#last", "none since")
	owner.look("bound-light-1280", "light", 1280)
	owner.look("bound-dark-360", "dark", 360)
	old := owner.named(deviceCookie).Value
	owner.click("#forget")
	owner.hasNot("#last", "none since")
	owner.has("#proven", "has the second cookie")
	if c := owner.named(deviceCookie); c == nil || c.Value == old {
		t.Error("the browser did not renew the cookie")
	}

	// From the plain demo, which is another site as its scheme is another.
	elsewhere := startDemo(t)
	if status := owner.load(chromedp.Navigate(elsewhere)); status != http.StatusOK {
		t.Fatalf("the other site has status %d", status)
	}
	call(owner, network.DeleteCookies, network.DeleteCookiesParams{Name: deviceCookie, URL: address})
	get(owner, chromedp.Evaluate[string]("location.href = '"+address+"/protected'"))
	for !strings.Contains(get(owner, chromedp.Evaluate[string]("document.body ? document.body.innerText : ''")), "You are authorized") {
	}
	if owner.named(deviceCookie) == nil {
		t.Error("the browser did not renew the cookie for a link")
	}

	owner.click("#logout")
	owner.has(".who", "Signed out")
	if c := owner.named(deviceCookie); c != nil {
		t.Error("the second cookie outlives the logout")
	}
	owner.visit("/")
	if status := thief.visit("/protected"); status != http.StatusUnauthorized {
		t.Errorf("after the logout, the thief's page has status %d", status)
	}
	thief.has("main", "its session has ended")

	// The next login is bound anew.
	owner.signIn()
	for owner.visit("/device"); !strings.Contains(owner.text("main"), "bound to this browser"); {
		owner.visit("/device")
	}
}

// A service worker's requests are held back for a renewal as a page's are, and a login by a
// script is offered the key too.
func TestDeviceBoundServiceWorker(t *testing.T) {
	if browser == nil {
		testserver.Missing(t, missing)
	}
	m := adapter.MustNew(adapter.Options{Secrets: []string{rand.Text() + rand.Text()}})
	bound, err := devicebound.New(m, devicebound.Options{})
	if err != nil {
		t.Fatal(err)
	}
	verify := func(_ context.Context, username, _ string) (string, error) { return username, nil }
	a, err := auth.New(m, verify, auth.Options{Binding: bound})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("POST /device-bound/", bound)
	mux.Handle("POST /login", a.Login())
	mux.Handle("GET /proven", a.Restricted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%t", bound.Proven(r))
	})))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<!doctype html><link rel=icon href=data:,><h1>page</h1>")
	})
	mux.HandleFunc("GET /worker.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = io.WriteString(w, `
			self.addEventListener("install", () => self.skipWaiting())
			self.addEventListener("activate", e => e.waitUntil(clients.claim()))
			self.addEventListener("fetch", e => e.respondWith(fetch(e.request).then(async r => new Response("worker " + await r.text()))))`)
	})
	server := httptest.NewTLSServer(m.LoadAndSave(mux))
	t.Cleanup(server.Close)
	sum := sha256.Sum256(server.Certificate().RawSubjectPublicKeyInfo)
	b := boundBrowser(t, server.URL, base64.StdEncoding.EncodeToString(sum[:]))()
	await := func(script string) string {
		t.Helper()
		return get(b, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise))
	}

	b.visit("/")
	if got := await(`fetch("/login", {method: "POST", headers: {"Content-Type": "application/json"}, body: '{"username":"ada","password":"x"}'}).then(r => r.text())`); !strings.Contains(got, "logged in") {
		t.Fatalf("login: %s", got)
	}
	const proven = `fetch("/proven").then(r => r.text())`
	for await(proven) != "true" {
	}
	await(`navigator.serviceWorker.register("/worker.js").then(() => navigator.serviceWorker.controller ? "" : new Promise(done => navigator.serviceWorker.addEventListener("controllerchange", () => done(""))))`)
	call(b, network.DeleteCookies, network.DeleteCookiesParams{Name: deviceCookie, URL: b.url})
	if got := await(proven); got != "worker true" {
		t.Errorf("the worker's request: %s", got)
	}
}

// boundBrowser starts a browser that trusts the certificate with this hash, and has keys in
// software. It returns a function that opens a window with cookies and keys of its own.
func boundBrowser(t *testing.T, address, pin string) (newTab func() *tab) {
	t.Helper()
	chrome, err := findChrome()
	if err != nil {
		t.Fatal(err)
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chrome), chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("enable-features", "DeviceBoundSessions:ForceEnableForTesting/true/RequireOriginTrialTokens/false,EnableBoundSessionCredentialsSoftwareKeysForManualTesting"),
		chromedp.Flag("ignore-certificate-errors-spki-list", pin))
	if os.Geteuid() == 0 {
		opts = append(opts, chromedp.NoSandbox)
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(stop)
	root, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	if err := chromedp.Do(root); err != nil {
		t.Fatalf("%s does not start: %v", chrome, err)
	}
	return func() *tab {
		ctx, cancel := chromedp.NewContext(root, chromedp.WithNewBrowserContext())
		t.Cleanup(cancel)
		if err := chromedp.Do(ctx); err != nil {
			t.Fatal(err)
		}
		ctx, cancel = context.WithTimeout(ctx, 3*time.Minute)
		t.Cleanup(cancel)
		return &tab{T: t, ctx: ctx, url: address}
	}
}

// named returns a cookie that the browser has for the demo, or nil.
func (b *tab) named(name string) *network.Cookie {
	b.Helper()
	for _, c := range call(b, network.GetCookies, network.GetCookiesParams{URLs: []string{b.url}}).Cookies {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// startHTTPS runs the demo with its own certificate until the test ends, and returns its
// address and the hash by which Chromium trusts it.
func startHTTPS(t *testing.T) (address, pin string) {
	t.Helper()
	cmd := exec.Command(demo, "-addr", "127.0.0.1:0", "-https")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_, _ = io.Copy(io.Discard, lines)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the demo ended with %v", err)
		}
	})
	command := regexp.MustCompile(`--ignore-certificate-errors-spki-list=(\S+) .* (https://\S+)/device`)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("the demo prints no command: %v", err)
		}
		if m := command.FindStringSubmatch(line); m != nil {
			return m[2], m[1]
		}
	}
}
