//go:build unix

package proof

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/samesid/samesid/internal/eachstore"
	"github.com/samesid/samesid/internal/rig"
)

const authorized = `{"message":"You are authorized"}` + "\n"

// With the demo's own files, users stay signed in, however the process ends.
func TestDemo(t *testing.T) {
	t.Parallel()
	bin := filepath.Join(t.TempDir(), "demo")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-tags", "sqlite", "-o", bin, "./demo")
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	seen := map[string]bool{}
	eachstore.Run(t, func(t *testing.T, k eachstore.Kind) {
		if seen[k.Backend.Type] {
			return // the file says which layout
		}
		seen[k.Backend.Type] = true
		t.Parallel()
		p := k.Place(t)
		env := []string{"REDIS_URL=" + p.URL, "DATABASE_URL=" + p.URL, "SESSION_FILE=" + strings.TrimPrefix(p.URL, "sqlite:")}
		if prefix, ok := p.Settings["prefix"].(string); ok {
			env = append(env, "SAMESID_STORE_PREFIX="+prefix)
		}
		outlives(t, bin, k.Backend.Type+".yaml", env...)
	}, eachstore.Kind.Lasts)
}

func outlives(t *testing.T, bin, file string, env ...string) {
	demo := func() *program {
		t.Helper()
		cmd := exec.Command(bin, "-addr", "127.0.0.1:0", "-config", "demo/"+file)
		cmd.Dir = "../.."
		// The empty secret selects the file's own.
		cmd.Env = append(append(os.Environ(), "SESSION_SECRET="), env...)
		return startProgram(t, cmd, func(line string) (string, bool) {
			rest, ok := strings.CutPrefix(line, "Open ")
			url, _, _ := strings.Cut(rest, " ")
			return url, ok
		})
	}
	login := rig.Credentials("demo", "same-session-everywhere")
	wants := func(u *rig.User, method, path, form string, status int, body string) {
		t.Helper()
		if got := u.Do(method, path, form); got.Status != status || body != "" && got.Body != body {
			t.Errorf("%s %s: %v, want %d %s", method, path, got, status, body)
		}
	}

	p := demo()
	guest := rig.NewUser(t, "demo", p.url)
	wants(guest, "GET", "/protected", "", 401, "")
	wants(guest, "POST", "/login", login, 200, "")
	wants(guest, "GET", "/protected", "", 200, authorized)
	p.kill()
	p = demo()
	guest.On(p.url)
	wants(guest, "GET", "/protected", "", 200, authorized)
	wants(guest, "POST", "/logout", "", 200, "")
	wants(guest, "GET", "/protected", "", 401, "")

	// A login whose body is still being read when the process is told to stop
	// succeeds, and is valid in the next process.
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /login HTTP/1.1\r\nHost: demo\r\nContent-Type: application/x-www-form-urlencoded\r\n"+
		"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n", len(login))
	in := bufio.NewReader(conn)
	// The server requests the body when the handler reads it.
	for _, want := range []string{"HTTP/1.1 100 Continue\r\n", "\r\n"} {
		if line, err := in.ReadString('\n'); line != want {
			t.Fatalf("the login did not begin: %q, %v", line, err)
		}
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for {
		c, err := net.Dial("tcp", conn.RemoteAddr().String())
		if err != nil {
			break // the shutdown has begun
		}
		c.Close()
	}
	fmt.Fprint(conn, login)
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatalf("the login in flight: %v", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK || len(res.Cookies()) != 1 {
		t.Errorf("the login in flight: %s, cookies %v", res.Status, res.Cookies())
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("the demo ended with %v", err)
	}
	p = demo()
	late := rig.NewUser(t, "demo", p.url)
	late.Cookie = rig.Answer{Header: res.Header}.Cookie()
	wants(late, "GET", "/protected", "", 200, authorized)
}
