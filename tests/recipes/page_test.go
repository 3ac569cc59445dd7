//go:build unix

package recipes

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// docs/recipes.md has the code of each recipe, whole.
func TestPage(t *testing.T) {
	read := func(name string) string {
		t.Helper()
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	var blocks []string
	for _, m := range regexp.MustCompile("(?s)```go\n(.*?)\n```").FindAllStringSubmatch(read("../../docs/recipes.md"), -1) {
		blocks = append(blocks, m[1])
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	recipes := 0
	for _, file := range files {
		// The code of a recipe is what follows its imports.
		if _, code, ok := strings.Cut(read(file), "\n)\n"); ok && !strings.HasSuffix(file, "_test.go") {
			code = strings.TrimSpace(code)
			if recipes++; !slices.Contains(blocks, code) {
				t.Errorf("the page does not have the code of %s as it is", file)
			}
		}
	}
	if recipes < 10 {
		t.Errorf("there are %d recipes; does the test still find them?", recipes)
	}
}
