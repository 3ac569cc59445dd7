// Package browser tests the demo in a real headless browser.
//
// CHROME names the browser; without it, chromium or google-chrome in PATH is used.
// SCREENSHOTS names a folder for the screenshots.
package browser

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"image/png"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/samesid/samesid/internal/testserver"
)

var (
	browser context.Context // nil: this machine has none
	missing string          // why there is no browser
	demo    string          // the path of the program
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "samesid-browser-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	chrome, err := findChrome()
	if err != nil {
		missing = err.Error()
		return m.Run()
	}
	demo = filepath.Join(dir, "demo")
	build := exec.Command("go", "build", "-o", demo, "./demo")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v: %v\n%s", build, err, out)
		return 1
	}

	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chrome), chromedp.UserDataDir(filepath.Join(dir, "profile")))
	// Without smooth scrolling, a click does not miss a moving target.
	opts = append(opts, chromedp.Flag("force-prefers-reduced-motion", true))
	if os.Geteuid() == 0 {
		opts = append(opts, chromedp.NoSandbox) // the sandbox does not work for root
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(), opts...)
	defer stop()
	var cancel context.CancelFunc
	browser, cancel = chromedp.NewContext(allocator)
	defer cancel()
	if err := chromedp.Do(browser); err != nil {
		fmt.Fprintf(os.Stderr, "%s does not start: %v\n", chrome, err)
		return 1
	}
	return m.Run()
}

func findChrome() (string, error) {
	if path := os.Getenv("CHROME"); path != "" {
		found, err := exec.LookPath(path)
		if err != nil {
			err = fmt.Errorf("CHROME names no program: %w", err)
		}
		return found, err
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("no chromium or google-chrome in PATH; install one, or set CHROME")
}

// tab is a window of a new browser, with cookies of its own.
type tab struct {
	*testing.T
	ctx context.Context
	url string
}

// open opens a demo of its own.
func open(t *testing.T) *tab {
	t.Helper()
	return openAt(t, "")
}

// openAt opens the demo at an address, or starts one if that is "".
func openAt(t *testing.T, address string) *tab {
	t.Helper()
	if browser == nil {
		testserver.Missing(t, missing)
	}
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil { // opens the tab before its context gets a deadline
		t.Fatal(err)
	}
	ctx, cancel = context.WithTimeout(ctx, 3*time.Minute)
	t.Cleanup(cancel)
	if address == "" {
		address = startDemo(t)
	}
	b := &tab{T: t, ctx: ctx, url: address}
	// Only the log shows what the browser refuses to load, such as a style that the
	// Content-Security-Policy forbids.
	if err := chromedp.Listen(ctx, func(ev any) {
		if e, ok := ev.(*log.EventEntryAdded); ok && e.Entry.Source != log.EntrySourceNetwork && e.Entry.Level != log.EntryLevelInfo {
			t.Errorf("the browser complains: %s", e.Entry.Text)
		}
	}); err != nil {
		t.Fatal(err)
	}
	call(b, log.Enable, cdp.Empty{})
	b.visit("/")
	return b
}

// startDemo runs the demo until the test ends, and returns its address.
func startDemo(t *testing.T) string {
	t.Helper()
	cmd := exec.Command(demo, "-addr", "127.0.0.1:0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
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
			t.Errorf("the demo ended with %v\n%s", err, &stderr)
		}
	})
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("the demo says no address: %v\n%s", err, &stderr)
		}
		if rest, ok := strings.CutPrefix(line, "Open "); ok {
			address, _, _ := strings.Cut(rest, " ")
			return address
		}
	}
}

// get runs an action and returns its value.
func get[T any](b *tab, action chromedp.Action[T]) T {
	b.Helper()
	v, err := chromedp.Run(b.ctx, action)
	if err != nil {
		b.Fatal(err)
	}
	return v
}

// call runs a command of the browser's protocol.
func call[P, R any](b *tab, command cdp.Command[P, R], params P) R {
	b.Helper()
	r, err := chromedp.Call(b.ctx, command, params)
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// load runs actions that make the browser load a page, waits for the page, and returns
// its status.
func (b *tab) load(actions ...chromedp.Action[chromedp.Void]) int64 {
	b.Helper()
	res, err := chromedp.RunResponse(b.ctx, actions...)
	if err != nil {
		b.Fatal(err)
	}
	return res.Status
}

func (b *tab) visit(path string) int64 {
	b.Helper()
	return b.load(chromedp.Navigate(b.url + path))
}

func (b *tab) click(selector string) int64 {
	b.Helper()
	return b.load(chromedp.Click(chromedp.CSS(selector)))
}

// back presses the back button. It fails unless the browser loads the page again rather
// than from its cache.
func (b *tab) back() {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.NavigateBack()); err != nil {
		b.Fatalf("the back button loads no page: %v", err)
	}
}

func (b *tab) signIn() {
	b.Helper()
	if status := b.click("form[action='/login'] button"); status != http.StatusOK {
		b.Fatalf("signing in leads to a page with status %d", status)
	}
}

// text returns the visible text of an element.
func (b *tab) text(selector string) string {
	b.Helper()
	return get(b, chromedp.Text(chromedp.CSS(selector)))
}

func (b *tab) has(selector string, want ...string) {
	b.Helper()
	got := b.text(selector)
	for _, w := range want {
		if !strings.Contains(got, w) {
			b.Errorf("%s does not say %q; it says\n%s", selector, w, got)
		}
	}
}

func (b *tab) hasNot(selector string, unwanted ...string) {
	b.Helper()
	got := b.text(selector)
	for _, w := range unwanted {
		if strings.Contains(got, w) {
			b.Errorf("%s says %q", selector, w)
		}
	}
}

// cookie returns the session cookie that the browser keeps, or nil.
func (b *tab) cookie() *network.Cookie {
	b.Helper()
	for _, c := range call(b, network.GetCookies, network.GetCookiesParams{URLs: []string{b.url}}).Cookies {
		if c.Name == "connect.sid" {
			return c
		}
	}
	return nil
}

func TestSession(t *testing.T) {
	b := open(t)
	b.has(".who", "Signed out")
	if c := b.cookie(); c != nil {
		t.Error("there is a cookie before there is a session")
	}

	b.signIn()
	b.has(".who", "Signed in as demo")
	b.has(".story", `"username": "demo"`, "Set-Cookie: connect.sid=", "The session is new and has data")
	b.hasNot(".story", "refused", "not yet")
	c := b.cookie()
	if c == nil {
		t.Fatal("the browser keeps no cookie")
	}
	if !c.HTTPOnly || c.SameSite != network.CookieSameSiteLax || c.Session {
		t.Errorf("the cookie is kept with httpOnly %t, sameSite %q, until the browser ends %t", c.HTTPOnly, c.SameSite, c.Session)
	}

	b.load(chromedp.Reload())
	b.has(".who", "Signed in as demo")
	if again := b.cookie(); again == nil || again.Value != c.Value {
		t.Error("a reload changed the cookie")
	}

	b.click("#count")
	b.click("#count")
	b.has(".story", `"count": 2`, "The session has changed")

	if status := b.click("#protected"); status != http.StatusOK {
		t.Errorf("the protected page has status %d", status)
	}
	b.has("h1", "You are authorized")

	b.click("#back")
	b.click("#logout")
	b.has(".who", "Signed out")
	b.has(".story", "The session was destroyed", "Max-Age=0")
	if c := b.cookie(); c != nil {
		t.Error("the cookie outlives the logout")
	}
	if status := b.visit("/protected"); status != http.StatusUnauthorized {
		t.Errorf("after the logout, the protected page has status %d", status)
	}
}

func TestBackButton(t *testing.T) {
	b := open(t)
	b.signIn()
	b.visit("/protected")
	b.has("h1", "You are authorized")
	b.click("#logout")
	b.has(".who", "Signed out")

	b.back()
	b.has("h1", "Invalid Credentials")
	b.back()
	b.has(".who", "Signed out")
	b.hasNot(".story", `"username": "demo"`)
}

// The session ends in the store, while the browser keeps its cookie.
func TestEndedSession(t *testing.T) {
	b := open(t)
	b.signIn()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url+"/logout", nil)
	if err != nil {
		t.Fatal(err)
	}
	c := b.cookie()
	if c == nil {
		t.Fatal("the browser keeps no cookie")
	}
	r.Header.Set("Cookie", c.Name+"="+c.Value)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()

	b.load(chromedp.Reload())
	b.has(".who", "Signed out")
	b.has(".story", "names a session that the store does not have", "the store does not know its session")
	if status := b.click("#protected"); status != http.StatusUnauthorized {
		t.Errorf("the protected page has status %d", status)
	}
	b.has("main", "its session has ended")

	b.signIn()
	b.has("h1", "You are authorized")
	if again := b.cookie(); again == nil || again.Value == c.Value {
		t.Error("signing in again did not give the browser a new cookie")
	}
}

// The record and the page show at once that a session has an age of its own.
func TestShortAge(t *testing.T) {
	b := open(t)
	b.signIn()
	b.click("#expire")
	b.has(".left", "10 s left")
	b.has(".story", `"originalMaxAge": 10000`)
}

func TestWrongPassword(t *testing.T) {
	b := open(t)
	if status := b.load(
		chromedp.SetValue(chromedp.CSS("#password"), "open sesame"),
		chromedp.Submit(chromedp.CSS("#password")),
	); status != http.StatusOK {
		t.Errorf("the login page has status %d", status)
	}
	b.has("[role=alert]", "Invalid credentials")
	b.has(".who", "Signed out")
	b.has(".story li:nth-child(2)", "refused")
	if b.cookie() != nil {
		t.Error("a failed login set a cookie")
	}
	b.signIn()
	b.has(".who", "Signed in as demo")
}

func TestMaskedUntilAsked(t *testing.T) {
	b := open(t)
	b.signIn()
	value := b.cookie().Value
	id, err := url.QueryUnescape(value)
	if err != nil {
		t.Fatal(err)
	}
	id, _, _ = strings.Cut(strings.TrimPrefix(id, "s:"), ".")
	source := func() string {
		return get(b, chromedp.OuterHTML(chromedp.CSS("html")))
	}
	if html := source(); strings.Contains(html, value) || strings.Contains(html, id) {
		t.Error("the page has the cookie in it")
	}
	b.click("#reveal")
	b.has("#sent", value)
	b.click("#reveal")
	if html := source(); strings.Contains(html, value) || strings.Contains(html, id) {
		t.Error("the page still has the cookie in it")
	}
}

// Two browsers of one user: each sees both sessions, and ends the other's.
func TestYourSessions(t *testing.T) {
	for name, off := range map[string]bool{"with JavaScript": false, "without JavaScript": true} {
		t.Run(name, func(t *testing.T) {
			a := open(t)
			b := openAt(t, a.url)
			for _, one := range []*tab{a, b} {
				call(one, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: off})
				one.signIn()
			}
			// listed checks that a page has so many sessions, the first of which is its own.
			listed := func(one *tab, want int) {
				t.Helper()
				one.has("h1", "Your sessions")
				cards := get(one, chromedp.Evaluate[[]string]("[...document.querySelectorAll('.sessions > li')].map(e => e.innerText)"))
				if len(cards) != want {
					t.Fatalf("%d sessions are listed, want %d", len(cards), want)
				}
				for i, card := range cards {
					if !strings.Contains(card, "Chrome on Linux") || strings.Contains(card, "this device") != (i == 0) {
						t.Errorf("session %d of %d is\n%s", i, want, card)
					}
				}
			}
			if status := a.click("#sessions"); status != http.StatusOK {
				t.Errorf("the list has status %d", status)
			}
			listed(a, 2)
			b.click("#sessions")
			listed(b, 2)

			a.click(".sessions form[action$='/end'] button")
			a.has("[role=status]", "1 other session has ended")
			listed(a, 1)
			if status := b.click(".sessions form[action$='/end'] button"); status != http.StatusUnauthorized {
				t.Errorf("the click of a session that has ended leads to a page with status %d", status)
			}
			b.has(".who", "Signed out")
			b.has("main", "its session has ended", "ended from another device")
			a.load(chromedp.Reload())
			listed(a, 1) // the click did not end it

			b.signIn()
			listed(b, 2)
			a.click("#reload")
			listed(a, 2)
			a.click("#end-others")
			a.has("[role=status]", "1 other session has ended")
			listed(a, 1)
			if status := b.visit("/protected"); status != http.StatusUnauthorized {
				t.Errorf("the protected page of a session that has ended has status %d", status)
			}
			a.click("#logout")
			a.has(".who", "Signed out")
		})
	}
}

// A session ends by the keyboard alone, and the focus can be seen.
func TestYourSessionsByKeyboard(t *testing.T) {
	a := open(t)
	b := openAt(t, a.url)
	a.signIn()
	b.signIn()
	a.visit("/sessions")
	const focused = "document.activeElement.closest(\".sessions form[action$='/end']\") !== null"
	for n := 0; !get(a, chromedp.Evaluate[bool](focused)); n++ {
		if n > 20 {
			t.Fatal("the Tab key does not get to the button")
		}
		get(a, chromedp.KeyEvent(kb.Tab))
	}
	if style := get(a, chromedp.Evaluate[string]("getComputedStyle(document.activeElement).outlineStyle")); style != "solid" {
		t.Errorf("the button in focus has the outline %q", style)
	}
	a.load(chromedp.KeyEvent(kb.Enter))
	a.has("[role=status]", "1 other session has ended")
	if status := b.visit("/sessions"); status != http.StatusUnauthorized {
		t.Errorf("the list of a session that has ended has status %d", status)
	}
}

// On every page, light and dark, on a phone and on a desktop, nothing overflows and all
// text has the contrast of WCAG 2 AA.
func TestLooks(t *testing.T) {
	b := open(t)
	looks := func(name string) {
		t.Helper()
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int64{360, 768, 1280} {
				b.look(fmt.Sprintf("%s-%s-%d", name, scheme, width), scheme, width)
			}
		}
	}
	looks("signed-out")
	b.load(chromedp.SetValue(chromedp.CSS("#password"), "open sesame"), chromedp.Submit(chromedp.CSS("#password")))
	looks("wrong-password")
	b.visit("/protected")
	looks("unauthorized")
	b.visit("/no/such/" + strings.Repeat("page", 30))
	looks("not-found")
	b.visit("/")
	b.signIn()
	get(b, chromedp.Evaluate[chromedp.Void]("document.querySelectorAll('details').forEach(d => { d.open = true })"))
	looks("signed-in")
	b.click("#reveal")
	looks("revealed")
	b.visit("/protected")
	looks("protected")
	b.visit("/device")
	looks("device")
	b.visit("/sessions")
	looks("one-session")
	for _, userAgent := range []string{
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1",
		"curl/8.5.0",
		strings.Repeat("unknown", 30),
		"",
	} {
		signInElsewhere(t, b.url, userAgent)
	}
	b.visit("/sessions?ended=1")
	looks("sessions")
}

// signInElsewhere signs the user of the demo in from another device.
func signInElsewhere(t *testing.T, address, userAgent string) {
	t.Helper()
	form := url.Values{"username": {"demo"}, "password": {"same-session-everywhere"}}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address+"/login", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("User-Agent", userAgent)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("signing in elsewhere: %s", res.Status)
	}
}

func (b *tab) look(name, scheme string, width int64) {
	b.Helper()
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	get(b, chromedp.EmulateViewport(width, 800))
	for _, p := range get(b, chromedp.Evaluate[[]string](findProblems)) {
		b.Errorf("%s: %s", name, p)
	}
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" && width > 360 {
		return // the smallest picture shows the colors
	}
	shot := get(b, chromedp.FullScreenshot(100))
	if dir != "" {
		if err := os.WriteFile(filepath.Join(dir, name+".png"), shot, 0o600); err != nil {
			b.Error(err)
		}
	}
	img, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		b.Fatalf("%s: the screenshot: %v", name, err)
	}
	if got := int64(img.Bounds().Dx()); got != width {
		b.Errorf("%s: the screenshot is %d wide", name, got)
	}
	// The corner shows the background.
	r, g, blue, _ := img.At(0, 0).RGBA()
	if light := r+g+blue > 3*0x8000; light != (scheme == "light") {
		b.Errorf("%s: the paper has the color %x %x %x", name, r>>8, g>>8, blue>>8)
	}
}

// findProblems lists elements that overflow the window and text with too little
// contrast.
const findProblems = `(() => {
	const problems = [];
	const wide = document.documentElement.scrollWidth;
	if (wide > innerWidth) problems.push("the page is " + wide + " wide in a window of " + innerWidth);
	const c = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
	const known = {};
	const rgba = text => {
		if (known[text]) return known[text];
		c.clearRect(0, 0, 1, 1);
		c.fillStyle = text;
		c.fillRect(0, 0, 1, 1);
		const [r, g, b, a] = c.getImageData(0, 0, 1, 1).data;
		return known[text] = { rgb: [r, g, b], a: a / 255 };
	};
	const luminance = rgb => rgb.map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
		.reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
	const behind = el => {
		for (; el; el = el.parentElement) {
			const c = rgba(getComputedStyle(el).backgroundColor);
			if (c.a === 1) return c.rgb;
			if (c.a > 0) problems.push("a background that can be seen through: the contrast can't be told");
		}
		return [255, 255, 255];
	};
	let texts = 0;
	for (const el of document.querySelectorAll("body *")) {
		const box = el.getBoundingClientRect();
		const label = el.tagName.toLowerCase() + " " + JSON.stringify((el.textContent || el.value || "").trim().slice(0, 40));
		if (box.width > 0 && box.right > innerWidth + .5) problems.push(label + " ends at " + box.right);
		if (el.scrollWidth > el.clientWidth + 1 && el.clientWidth > 0 && getComputedStyle(el).display !== "inline" && el.tagName !== "INPUT") {
			problems.push(label + " is " + el.scrollWidth + " wide in a box of " + el.clientWidth);
		}
		const own = [...el.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || el.tagName === "INPUT" && el.type !== "hidden";
		if (!own || !el.checkVisibility()) continue;
		texts++;
		const [x, y] = [rgba(getComputedStyle(el).color).rgb, behind(el)].map(luminance).sort((a, b) => b - a);
		const ratio = (x + .05) / (y + .05);
		if (ratio < 4.5) problems.push(label + " has a contrast of " + ratio.toFixed(2));
	}
	if (texts < 5) problems.push("there are only " + texts + " texts");
	return problems;
})()`
