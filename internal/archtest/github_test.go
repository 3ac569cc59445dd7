package archtest

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	yamlv4 "go.yaml.in/yaml/v4"
)

// Dependabot looks after each module and each package of npm's.
func TestDependabot(t *testing.T) {
	dir := root(t)
	var want []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || strings.HasPrefix(d.Name(), ".") && path != dir) {
			return filepath.SkipDir
		}
		kind := map[string]string{"go.mod": "gomod", "package.json": "npm"}[d.Name()]
		if kind == "" {
			return nil
		}
		folder, err := filepath.Rel(dir, filepath.Dir(path))
		if err != nil {
			return err
		}
		want = append(want, kind+" "+strings.TrimSuffix("/"+filepath.ToSlash(folder), "."))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, "github-actions /")
	var file struct {
		Updates []struct {
			Ecosystem string `yaml:"package-ecosystem"`
			Directory string
		}
	}
	readYAML(t, filepath.Join(dir, ".github", "dependabot.yml"), &file)
	var got []string
	for _, u := range file.Updates {
		got = append(got, u.Ecosystem+" "+u.Directory)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("dependabot.yml has\n%q\nwant\n%q", got, want)
	}
}

// What a forge reads is well-formed.
func TestForgeFiles(t *testing.T) {
	dir := root(t)
	files, err := filepath.Glob(filepath.Join(dir, ".github", "*", "*.yml"))
	if err != nil || len(files) < 4 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		var any map[string]any
		if readYAML(t, file, &any); len(any) == 0 {
			t.Errorf("%s is empty", file)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, ".devcontainer", "devcontainer.json"))
	if err != nil || !json.Valid(b) {
		t.Errorf("devcontainer.json: %v, or no JSON", err)
	}
	compose, err := os.ReadFile(filepath.Join(dir, "docker-compose.test.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var container struct {
		RemoteEnv map[string]string `json:"remoteEnv"`
	}
	if err := json.Unmarshal(b, &container); err != nil || len(container.RemoteEnv) != 2 {
		t.Fatalf("%d variables, %v", len(container.RemoteEnv), err)
	}
	for name, url := range container.RemoteEnv {
		if !strings.Contains(string(compose), name+"="+url) && !strings.Contains(string(compose), name+"='"+url+"'") {
			t.Errorf("%s is not the one of docker-compose.test.yml", name)
		}
	}
}

func readYAML(t *testing.T, path string, to any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yamlv4.Unmarshal(b, to); err != nil {
		t.Errorf("%s: %v", path, err)
	}
}
