//go:build unix

package proof

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/samesid/samesid/adapter/config"
	"github.com/samesid/samesid/auth"
	"github.com/samesid/samesid/internal/leaktest"
)

// configVar is the environment variable that makes this test binary run as an app. Its
// value is the configuration file.
const configVar = "PROOF_CONFIG"

func TestMain(m *testing.M) {
	if file := os.Getenv(configVar); file != "" {
		fmt.Fprintln(os.Stderr, "app:", serve(file))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// serve runs the app until the process is killed. The first line that it prints
// is its address.
func serve(file string) error {
	sessions, err := config.Open(context.Background(), file)
	if err != nil {
		return err
	}
	handler, err := app(sessions)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("http://" + listener.Addr().String())
	return http.Serve(listener, handler)
}

// adaPassword is long enough for the search for secrets in the logs.
const adaPassword = "analytical-engine-of-lovelace"

// app returns a typical app: a login, a page for signed-in users, pages that change the
// session, and a logout.
func app(s *config.Sessions) (http.Handler, error) {
	verify := func(_ context.Context, username, password string) (string, error) {
		if username != "ada" || password != adaPassword {
			return "", auth.ErrInvalid
		}
		return username, nil
	}
	users, err := auth.New(s.Manager, verify, auth.Options{Unlimited: true})
	if err != nil {
		return nil, err
	}
	note := func(r *http.Request) { s.Put(r.Context(), r.PathValue("key"), r.PathValue("value")) }
	finish := make(chan struct{})

	mux := http.NewServeMux()
	mux.Handle("POST /login", users.Login())
	mux.Handle("POST /logout", users.Logout())
	mux.Handle("GET /me", users.Restricted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := users.User(r.Context())
		fmt.Fprintf(w, "%s a=%s b=%s", user, s.GetString(r.Context(), "a"), s.GetString(r.Context(), "b"))
	})))
	mux.HandleFunc("POST /note/{key}/{value}", func(_ http.ResponseWriter, r *http.Request) { note(r) })
	// This request has changed its session, and ends only when another request
	// tells it to. The client learns from the 103 that it runs.
	mux.HandleFunc("POST /slow/{key}/{value}", func(w http.ResponseWriter, r *http.Request) {
		note(r)
		w.WriteHeader(http.StatusEarlyHints)
		<-finish
	})
	mux.HandleFunc("POST /finish", func(http.ResponseWriter, *http.Request) { finish <- struct{}{} })
	return s.LoadAndSave(mux), nil
}

// writeConfig writes a configuration file whose store section is store.
func writeConfig(t *testing.T, store string) (file string) {
	t.Helper()
	const secret = "0123456789abcdef0123456789abcdef"
	t.Setenv("PROOF_SECRET", secret)
	leaktest.Note(secret, adaPassword)
	file = filepath.Join(t.TempDir(), "session.yaml")
	text := "secret: ${PROOF_SECRET}\ncookie:\n  maxAge: 1h\nstore:\n"
	for line := range strings.Lines(store) {
		text += "  " + line
	}
	if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// program is a running process that answers at url.
type program struct {
	cmd *exec.Cmd
	url string
}

// startApp starts the app in a separate process, which ends with the test.
func startApp(t *testing.T, file string, env ...string) *program {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), configVar+"="+file), env...)
	return startProgram(t, cmd, func(line string) (string, bool) { return line, true })
}

// startProgram starts cmd and returns once address has found the program's address in a
// line of its output.
func startProgram(t *testing.T, cmd *exec.Cmd, address func(line string) (string, bool)) *program {
	t.Helper()
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &program{cmd: cmd}
	t.Cleanup(p.kill)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if at, ok := address(lines.Text()); ok {
			p.url = at
			return p
		}
	}
	t.Fatalf("%s ended before it answered", cmd)
	return nil
}

// kill sends SIGKILL to the process, and waits until it has exited.
func (p *program) kill() {
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	_ = p.cmd.Wait()
}

// browser sends the same cookies to every process, since a cookie has no port.
type browser struct {
	t      *testing.T
	client *http.Client
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &browser{t, &http.Client{Jar: jar, Transport: transport}}
}

type response struct {
	status int
	body   string
	cookie string // Set-Cookie
	err    error
}

func (r response) String() string {
	return fmt.Sprintf("%d %q, Set-Cookie %q, error %v", r.status, r.body, r.cookie, r.err)
}

func (b *browser) send(r *http.Request) response {
	res, err := b.client.Do(r)
	if err != nil {
		return response{err: err}
	}
	defer res.Body.Close()
	for _, c := range res.Cookies() {
		leaktest.Note(c.Value)
	}
	body, err := io.ReadAll(res.Body)
	return response{res.StatusCode, string(body), res.Header.Get("Set-Cookie"), err}
}

func (b *browser) request(ctx context.Context, method, url, body string) *http.Request {
	b.t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return r
}

// get expects the page of a signed-in user; want is "" if nobody is signed in.
func (b *browser) get(url, want string) {
	b.t.Helper()
	res := b.send(b.request(b.t.Context(), http.MethodGet, url, ""))
	ok := res.status == http.StatusOK && res.body == want
	if want == "" {
		ok = res.status == http.StatusUnauthorized
	}
	if !ok || res.err != nil {
		b.t.Errorf("GET %s: %v, want %q", url, res, want)
	}
}

// post expects a 200.
func (b *browser) post(url, body string) response {
	b.t.Helper()
	res := b.send(b.request(b.t.Context(), http.MethodPost, url, body))
	if res.status != http.StatusOK || res.err != nil {
		b.t.Errorf("POST %s: %v", url, res)
	}
	return res
}

// begin starts a request to /slow, and returns when the request has changed its session.
func (b *browser) begin(url string) (ended <-chan response) {
	b.t.Helper()
	running, done := make(chan struct{}), make(chan response, 1)
	trace := &httptrace.ClientTrace{Got1xxResponse: func(int, textproto.MIMEHeader) error {
		close(running)
		return nil
	}}
	r := b.request(httptrace.WithClientTrace(b.t.Context(), trace), http.MethodPost, url, "")
	go func() { done <- b.send(r) }()
	select {
	case <-running:
	case res := <-done:
		b.t.Fatalf("POST %s ended before it ran: %v", url, res)
	}
	return done
}

// credentials is the form that signs in.
func credentials(username, password string) string {
	return url.Values{"username": {username}, "password": {password}}.Encode()
}

func (b *browser) setCookies(address string, cookies []*http.Cookie) {
	b.t.Helper()
	b.client.Jar.SetCookies(b.request(b.t.Context(), http.MethodGet, address, "").URL, cookies)
}

func (b *browser) cookies(address string) []*http.Cookie {
	b.t.Helper()
	return b.client.Jar.Cookies(b.request(b.t.Context(), http.MethodGet, address, "").URL)
}
