//go:build unix

package testserver

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// leashed is a shell script that kills its program when standard input ends, and so
// with the test, however that ends. Only the program holds standard output.
const leashed = `"$@" </dev/null & exec >&-; read _; kill -TERM $! 2>/dev/null; wait $!`

// Node returns the path of Node, for scripts that need the node_modules in a folder.
func Node(tb testing.TB, packages string) string {
	tb.Helper()
	path, err := exec.LookPath("node")
	if err != nil {
		Missing(tb, "node is not in PATH: install Node.js")
	}
	if _, err := os.Stat(filepath.Join(packages, "node_modules")); errors.Is(err, os.ErrNotExist) {
		Missing(tb, "packages of Node are missing: npm ci --prefix "+packages)
	}
	return path
}

// StartNode runs a script by Node until the test ends, and returns its standard output. The
// script must end well on SIGTERM, without a word on standard error.
func StartNode(tb testing.TB, packages, script string, args ...string) *bufio.Reader {
	tb.Helper()
	cmd := exec.Command("/bin/sh", append([]string{"-c", leashed, "sh", Node(tb, packages), script}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	leash, err := cmd.StdinPipe()
	check(tb, err)
	stdout, err := cmd.StdoutPipe()
	check(tb, err)
	check(tb, cmd.Start())
	out := bufio.NewReader(stdout)
	tb.Cleanup(func() {
		_ = leash.Close()
		_, _ = io.Copy(io.Discard, out)
		if err := cmd.Wait(); err != nil || stderr.Len() > 0 {
			tb.Errorf("%s ended with %v\n%s", script, err, &stderr)
		}
	})
	return out
}
