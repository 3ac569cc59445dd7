package archtest

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	servers "github.com/samesid/samesid/internal/testserver"
)

// The README's program builds in a new module by the README's commands, and answers its
// transcript as written there, but for the port.
func TestReadmeProgram(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		servers.Missing(t, "curl is not installed")
	}
	readme := read(t, "README.md")
	steps := regexp.MustCompile("(?s)```go\n(package main\n.*?)```.*?\n((?:    go .*\n)+)    go run \\.\n.*?```console\n(.*?)```").FindStringSubmatch(readme)
	if steps == nil {
		t.Fatal("README.md has no program, or no commands, or no transcript")
	}
	addr := servers.FreeAddr(t)
	port := func(s string) string { return strings.ReplaceAll(s, "127.0.0.1:8080", addr) }

	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(port(steps[1])), 0o600); err != nil {
		t.Fatal(err)
	}
	commands := strings.Split(strings.TrimSpace(steps[2]), "\n")
	// This checkout stands for the release, and "go run ." is a build, so that it can be stopped.
	commands = slices.Insert(commands, 1, "go mod edit -replace "+module+"="+root(t))
	for _, command := range append(commands, "go build -o hello .") {
		words := strings.Fields(command)
		cmd := exec.CommandContext(t.Context(), words[0], words[1:]...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	server := exec.CommandContext(ctx, filepath.Join(dir, "hello"))
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { stop(); _ = server.Wait() }()
	servers.Until(t, "the program", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})

	for _, step := range strings.Split(port(steps[3]), "$ ")[1:] {
		command, want, _ := strings.Cut(step, "\n")
		sh := exec.CommandContext(t.Context(), "sh", "-c", command)
		sh.Dir = dir
		out, err := sh.CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != strings.TrimSpace(want) {
			t.Errorf("$ %s\n%s(%v), README.md has\n%s", command, out, err, want)
		}
	}
}
