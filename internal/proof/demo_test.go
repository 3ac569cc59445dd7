//go:build unix

package proof

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/samesid/samesid/internal/testserver"
)

const authorized = `{"message":"You are authorized"}` + "\n"

// With the demo's own files, users stay signed in, however the process ends.
func TestDemo(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "demo")
	build := func(flags ...string) {
		cmd := exec.CommandContext(t.Context(), "go", append([]string{"build", "-buildvcs=false", "-o", bin}, append(flags, "./demo")...)...)
		cmd.Dir = "../.."
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", cmd, err, out)
		}
	}
	build()

	t.Run("redis", func(t *testing.T) {
		t.Setenv("REDIS_URL", testserver.Redis(t))
		t.Setenv("SAMESID_STORE_PREFIX", testserver.Prefix(t))
		outlives(t, bin, "redis.yaml")
	})
	t.Run("postgres", func(t *testing.T) {
		dsn, _ := testserver.Schema(t)
		t.Setenv("DATABASE_URL", dsn)
		outlives(t, bin, "postgres.yaml")
	})
	t.Run("sqlite", func(t *testing.T) {
		build("-tags", "sqlite")
		t.Setenv("SESSION_FILE", filepath.Join(t.TempDir(), "sessions.sqlite"))
		outlives(t, bin, "sqlite.yaml")
	})
}

func outlives(t *testing.T, bin, file string) {
	t.Setenv("SESSION_SECRET", "") // selects the file's own
	demo := func() *program {
		t.Helper()
		cmd := exec.Command(bin, "-addr", "127.0.0.1:0", "-config", "demo/"+file)
		cmd.Dir = "../.."
		return startProgram(t, cmd, func(line string) (string, bool) {
			rest, ok := strings.CutPrefix(line, "Open ")
			url, _, _ := strings.Cut(rest, " ")
			return url, ok
		})
	}
	guest := newBrowser(t)
	login := credentials("demo", "same-session-everywhere")

	p := demo()
	guest.get(p.url+"/protected", "")
	guest.post(p.url+"/login", login)
	guest.get(p.url+"/protected", authorized)
	p.kill()
	p = demo()
	guest.get(p.url+"/protected", authorized)
	guest.post(p.url+"/logout", "")
	guest.get(p.url+"/protected", "")

	// A login whose body is still being read when the process is told to stop
	// succeeds, and is valid in the next process.
	late := newBrowser(t)
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
	late.setCookies(p.url, res.Cookies())
	late.get(p.url+"/protected", authorized)
}
