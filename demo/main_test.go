package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/samesid/samesid/internal/leaktest"
	"github.com/samesid/samesid/internal/testserver"
)

// start runs the demo until the test ends. It returns the lines that the demo prints,
// up to the last command.
func start(t *testing.T, args ...string) (lines []string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, append([]string{"-addr", "127.0.0.1:0"}, args...), in, leaktest.Copy(io.Discard))
		_ = in.CloseWithError(err)
		ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		_ = out.Close()
		if err := <-ended; err != nil {
			t.Errorf("the demo ended with %v", err)
		}
	})
	scanner := bufio.NewScanner(out)
	for scanner.Scan() {
		lines = append(lines, scanner.Text())
		if strings.HasSuffix(scanner.Text(), "/logout") {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return lines
		}
	}
	t.Fatalf("the demo printed no commands: %v; it printed %q", scanner.Err(), lines)
	return nil
}

func TestCommandsWorkAsPrinted(t *testing.T) {
	lines := start(t)
	printed := strings.Join(lines, "\n")
	for _, want := range []string{"Open http://127.0.0.1:", "sign in as demo or guest with the password " + demoPassword, "random secret", "end with this process"} {
		if !strings.Contains(printed, want) {
			t.Errorf("%q is not in what is printed:\n%s", want, printed)
		}
	}
	got := testserver.Curl(t, printed)
	want := []string{`{"message":"You are logged in"}`, `{"message":"You are authorized"}`, `{"sessions":[{"handle":"`, `{"message":"You are logged out"}`}
	if !slices.EqualFunc(got, want, strings.HasPrefix) {
		t.Errorf("the commands print %q, want %q", got, want)
	}
}

func TestConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "session.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("name: banana\nsecret: 0123456789abcdef0123456789abcdef\ncookie:\n  maxAge: 1h\nstore:\n  type: memory\n")
	lines := start(t, "-config", file)
	printed := strings.Join(lines, "\n")
	if !strings.Contains(printed, file) || strings.Contains(printed, "random secret") {
		t.Errorf("it is not said where the sessions are:\n%s", printed)
	}
	url, _, _ := strings.Cut(strings.TrimPrefix(lines[1], "Open "), " ")
	res, err := http.PostForm(url+"/login", credentials(demoPassword))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	cookies := res.Cookies()
	if len(cookies) != 1 || cookies[0].Name != "banana" || cookies[0].MaxAge != 3600 {
		t.Fatalf("the cookies are not as the file says: %v", cookies)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.AddCookie(cookies[0])
	r.Header.Set("Accept", asBrowser)
	if res, err = http.DefaultClient.Do(r); err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	page, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Signed in as <b>demo</b>", "The signature is right", "gob, shown here as JSON", "banana=s%3A••••••••", "1 h"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page does not have %q", want)
		}
	}

	write("sekret: x\n")
	if err := run(t.Context(), []string{"-config", file}, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "sekret") {
		t.Errorf("a bad file: %v", err)
	}
	if err := run(t.Context(), []string{"-config", file + ".missing"}, io.Discard, io.Discard); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestAddressInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	addr := l.Addr().String()
	err = run(t.Context(), []string{"-addr", addr}, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), addr+" is in use") || !strings.Contains(err.Error(), "-addr") {
		t.Errorf("got %v", err)
	}
	if err := run(t.Context(), []string{"-addr", "nonsense"}, io.Discard, io.Discard); err == nil || strings.Contains(err.Error(), "in use") {
		t.Errorf("a bad address: %v", err)
	}
	if err := run(t.Context(), []string{"8080"}, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), `"8080"`) {
		t.Errorf("an argument that is no flag: %v", err)
	}
}

func TestReachable(t *testing.T) {
	for listens, want := range map[string]string{
		"127.0.0.1:80": "127.0.0.1:80",
		"0.0.0.0:80":   "127.0.0.1:80",
		"[::]:80":      "127.0.0.1:80",
		"[::1]:80":     "[::1]:80",
		"10.1.2.3:80":  "10.1.2.3:80",
	} {
		addr, err := net.ResolveTCPAddr("tcp", listens)
		if err != nil {
			t.Fatal(err)
		}
		if got := reachable(addr); got != want {
			t.Errorf("%s: %s, want %s", listens, got, want)
		}
	}
}

func TestShutdownFinishesRequests(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	inFlight, finish := make(chan struct{}), make(chan struct{})
	served := make(chan error, 1)
	go func() {
		served <- serve(ctx, l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			close(inFlight)
			<-finish
			_, _ = io.WriteString(w, "finished")
		}))
	}()
	answer := make(chan string, 1)
	go func() {
		res, err := http.Get("http://" + l.Addr().String())
		if err != nil {
			answer <- err.Error()
			return
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		answer <- string(b)
	}()
	<-inFlight
	cancel()
	// When connections are refused, the shutdown has begun.
	for {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			break
		}
		_ = conn.Close()
	}
	select {
	case err := <-served:
		t.Fatalf("serve returned with a request in flight: %v", err)
	default:
	}
	close(finish)
	if got := <-answer; got != "finished" {
		t.Errorf("the request in flight got %q", got)
	}
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
}
