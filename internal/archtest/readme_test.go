package archtest

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	servers "github.com/samesid/samesid/internal/testserver"
)

// The README's program builds in a module that has nothing but samesid, and answers its
// transcript as written there, but for the port.
func TestReadmeProgram(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		servers.Missing(t, "curl is not installed")
	}
	readme := read(t, "README.md")
	program := regexp.MustCompile("(?s)```go\n(package main\n.*?)```").FindStringSubmatch(readme)
	transcript := regexp.MustCompile("(?s)```console\n(.*?)```").FindStringSubmatch(readme)
	if program == nil || transcript == nil {
		t.Fatal("README.md has no program, or no transcript")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	port := func(s string) string { return strings.ReplaceAll(s, "127.0.0.1:8080", addr) }

	dir := t.TempDir()
	for name, text := range map[string]string{
		"main.go": port(program[1]),
		"go.sum":  read(t, "go.sum"),
		"go.mod": "module hello\n\ngo " + regexp.MustCompile(`(?m)^go (.*)$`).FindStringSubmatch(read(t, "go.mod"))[1] +
			"\n\nrequire github.com/samesid/samesid v0.0.0\n\nreplace github.com/samesid/samesid => " + root(t) + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-mod=mod", "-o", "hello", ".")
	build.Dir = dir
	build.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "GOPROXY=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	ctx, stop := context.WithCancel(t.Context())
	server := exec.CommandContext(ctx, filepath.Join(dir, "hello"))
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { stop(); _ = server.Wait() }()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}

	for _, step := range strings.Split(port(transcript[1]), "$ ")[1:] {
		command, want, _ := strings.Cut(step, "\n")
		sh := exec.CommandContext(t.Context(), "sh", "-c", command)
		sh.Dir = dir
		out, err := sh.CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != strings.TrimSpace(want) {
			t.Errorf("$ %s\n%s(%v), README.md has\n%s", command, out, err, want)
		}
	}
}
