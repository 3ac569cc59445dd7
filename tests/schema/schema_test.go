// Package schema contains only tests. They compare the JSON Schema of the configuration
// file, which editors use, with what the loader takes.
package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"
)

const config = "../../adapter/config/"

// A valid sample is valid in an editor too, and both reject an unknown key or a wrong
// type.
func TestSamples(t *testing.T) {
	editor := compile(t)
	for _, file := range samples(t, "valid") {
		if err := editor.Validate(document(t, file)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	for _, file := range samples(t, "errors") {
		name := filepath.Base(file)
		if !strings.HasPrefix(name, "unknown-") && !strings.HasPrefix(name, "type-") {
			continue
		}
		if name == "unknown-no-name.yaml" {
			continue // has a key that JSON can't have
		}
		if editor.Validate(document(t, file)) == nil {
			t.Errorf("%s is good to an editor", file)
		}
	}
}

// The schema and the loader agree on each key with each of many values. The loader's own
// tests write down what it takes.
func TestKeys(t *testing.T) {
	var loader struct {
		Values []json.RawMessage
		Taken  map[string][]json.RawMessage
	}
	if err := json.Unmarshal(read(t, config+"testdata/taken.json"), &loader); err != nil {
		t.Fatal(err)
	}
	if len(loader.Values) < 40 || len(loader.Taken) < 40 {
		t.Fatalf("%d keys, %d values", len(loader.Taken), len(loader.Values))
	}
	editor := compile(t)
	for path, taken := range loader.Taken {
		for _, value := range loader.Values {
			text := fmt.Sprintf("{%q: %s}", path, value)
			if section, name, ok := strings.Cut(path, "."); ok {
				text = fmt.Sprintf("{%q: {%q: %s}}", section, name, value)
			}
			loads := slices.ContainsFunc(taken, func(v json.RawMessage) bool { return bytes.Equal(v, value) })
			if err := editor.Validate(parse(t, []byte(text))); loads != (err == nil) {
				t.Errorf("%s: the loader takes it: %v; editor: %v", text, loads, err)
			}
		}
	}
}

func compile(t *testing.T) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", parse(t, read(t, config+"schema.json"))); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// samples returns the loader's samples in a folder.
func samples(t *testing.T, dir string) (files []string) {
	t.Helper()
	for _, pattern := range []string{"*.yaml", "*.json"} {
		found, err := filepath.Glob(filepath.Join(config, "testdata", dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) < 2 {
		t.Fatalf("no samples in %s", dir)
	}
	return files
}

// document returns a sample as an editor's schema support sees it.
func document(t *testing.T, file string) any {
	t.Helper()
	var root yaml.Node
	if err := yaml.Unmarshal(read(t, file), &root); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	untime(&root)
	var value any
	if err := root.Decode(&value); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return parse(t, text)
}

// untime turns dates into texts, which they are in YAML 1.2.
func untime(n *yaml.Node) {
	if n.ShortTag() == "!!timestamp" {
		n.Tag = "!!str"
	}
	for _, inner := range n.Content {
		untime(inner)
	}
}

func parse(t *testing.T, text []byte) any {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
