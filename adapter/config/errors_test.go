package config

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files, schema.json and docs/configuration.md")

// Each invalid file has its exact message beside it. A first line "# NAME=value" sets an
// environment variable.
func TestErrors(t *testing.T) {
	t.Chdir("testdata/errors")
	for _, file := range samples(t, ".") {
		t.Run(file, func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = load(file, data, environ(data))
			if err == nil {
				t.Fatal("no error")
			}
			got := err.Error() + "\n"
			if strings.Contains(got, "hunter2") || strings.Contains(got, secret32[:8]) {
				t.Errorf("a secret is shown:\n%s", got)
			}
			golden(t, strings.TrimSuffix(file, filepath.Ext(file))+".golden", got)
		})
	}
}

// environ returns the environment that the first line of a sample sets.
func environ(data []byte) []string {
	first, _, _ := strings.Cut(string(data), "\n")
	if variable, ok := strings.CutPrefix(first, "# "); ok {
		return []string{variable}
	}
	return nil
}

// samples lists the configuration files in a folder.
func samples(t testing.TB, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	if files = append(files, more...); len(files) == 0 {
		t.Fatalf("no samples in %s", dir)
	}
	return files
}

// golden compares got to a file, or writes it with -update.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; go generate writes it", err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", file, got, want)
	}
}
