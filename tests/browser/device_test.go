package browser

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

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
	newTab := func() *tab {
		ctx, cancel := chromedp.NewContext(root, chromedp.WithNewBrowserContext())
		t.Cleanup(cancel)
		if err := chromedp.Do(ctx); err != nil {
			t.Fatal(err)
		}
		ctx, cancel = context.WithTimeout(ctx, 3*time.Minute)
		t.Cleanup(cancel)
		return &tab{T: t, ctx: ctx, url: address}
	}

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
	for thief.visit("/protected") == http.StatusOK { // until the registration is over, which takes ten seconds
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
