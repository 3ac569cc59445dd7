//go:build !386

package adapter_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSCSOwnTests runs the tests of scs itself, as they lie in the module cache, on a
// Manager that Wrap has made. testdata/scs stands for the package that they test.
func TestSCSOwnTests(t *testing.T) {
	run := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Env = append(os.Environ(), "GOFLAGS=")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", cmd, err, out)
		}
		return string(out)
	}
	dir := strings.TrimSpace(run("go", "list", "-m", "-f", "{{.Dir}}", "github.com/alexedwards/scs/v2"))
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	// The tests sleep by the clock, with tens of milliseconds to spare: too few for a
	// busy machine.
	slower := strings.NewReplacer("time.Millisecond", "(5 * time.Millisecond)", "time.Second", "(5 * time.Second)")
	temp, replace := t.TempDir(), map[string]string{}
	for _, name := range []string{"session_test.go", "session_go120_test.go"} {
		code, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		slow := filepath.Join(temp, name)
		if err := os.WriteFile(slow, []byte(slower.Replace(string(code))), 0o600); err != nil {
			t.Fatal(err)
		}
		replace[filepath.Join(here, "testdata/scs", name)] = slow
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(temp, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := filepath.Join(temp, "scs.test")
	run("go", "test", "-c", "-o", tests, "-overlay", file, "./testdata/scs")
	for name, unsigned := range map[string]string{"signed": "", "unsigned": "1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), tests, "-test.v")
			cmd.Env = append(os.Environ(), "SCS_UNSIGNED="+unsigned)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			passed := strings.Count(string(out), "--- PASS: Test")
			if want := 9; passed != want {
				t.Errorf("%d tests of scs passed, want %d:\n%s", passed, want, out)
			}
		})
	}
}
