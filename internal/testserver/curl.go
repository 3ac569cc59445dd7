package testserver

import (
	"os/exec"
	"strings"
	"testing"
)

// Curl runs those lines of a text that are calls of curl, in their order and in one folder, and
// returns what each prints, without its comment. replace has pairs of texts, such as the address
// on a page and that of the test's own server.
func Curl(tb testing.TB, text string, replace ...string) (printed []string) {
	tb.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		Missing(tb, "curl is not installed")
	}
	dir := tb.TempDir()
	for line := range strings.Lines(strings.NewReplacer(replace...).Replace(text)) {
		command, isCurl := strings.CutPrefix(strings.TrimSpace(line), "curl ")
		if !isCurl {
			continue
		}
		run := exec.CommandContext(tb.Context(), "sh", "-c", "curl -sS --noproxy '*' "+command)
		run.Dir = dir
		out, err := run.CombinedOutput()
		if err != nil {
			tb.Fatalf("%s: %v\n%s", line, err, out)
		}
		printed = append(printed, strings.TrimSpace(string(out)))
	}
	return printed
}
