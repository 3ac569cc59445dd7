//go:build unix

package proof

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/samesid/samesid/adapter/config"
	"github.com/samesid/samesid/backends/sqlite"
	"github.com/samesid/samesid/internal/eachstore"
	"github.com/samesid/samesid/internal/leaktest"
	"github.com/samesid/samesid/internal/rig"
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
	sessions, _, err := config.Open(context.Background(), file, sqlite.Backend)
	if err != nil {
		return err
	}
	handler, err := rig.Handler(sessions)
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

// configFile writes a configuration of the app.
func configFile(t *testing.T, p *eachstore.Place, more ...eachstore.Settings) string {
	t.Helper()
	leaktest.Note(rig.Secret, rig.Password)
	return p.File(t, map[string]any{"secret": rig.Secret, "cookie": map[string]any{"maxAge": "1h"}}, more...)
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
