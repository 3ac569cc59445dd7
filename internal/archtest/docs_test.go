package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The tests that these pages name exist. A page names a test as `TestX`, `TestX/case` or
// `folder.TestX`, in backquotes.
func TestNamedTestsExist(t *testing.T) {
	tests := testNames(t)
	named := regexp.MustCompile("`(?:(\\w+)\\.)?(Test[A-Z]\\w*)(?:/[^`]*)?`")
	for page, least := range map[string]int{"SECURITY.md": 50, "ARCHITECTURE.md": 5, "docs/sharing.md": 10, "docs/operations.md": 15, "docs/deployments.md": 10, "docs/migrating-from-express.md": 4, "docs/recipes.md": 15, "docs/device-bound.md": 15} {
		names := named.FindAllStringSubmatch(read(t, page), -1)
		if len(names) < least {
			t.Errorf("%s names %d tests; does it still name them as this test reads it?", page, len(names))
		}
		for _, m := range names {
			if !slices.ContainsFunc(tests[m[2]], func(folder string) bool { return m[1] == "" || folder == m[1] }) {
				t.Errorf("%s names %s, which is not there; such a test is in %q", page, m[0], tests[m[2]])
			}
			if page == "SECURITY.md" && m[1] == "" {
				t.Errorf("%s names %s without its package", page, m[0])
			}
		}
	}
}

// asvs are the sections of OWASP ASVS 5.0 that SECURITY.md covers, with the number of
// requirements in each.
var asvs = []struct {
	section string
	n       int
}{{"7.1", 3}, {"7.2", 4}, {"7.3", 2}, {"7.4", 5}, {"7.5", 3}, {"7.6", 2}, {"3.3", 5}, {"16.2", 5}, {"16.3", 4}}

// SECURITY.md lists each requirement once, with a test for each that is met.
func TestSecurityTable(t *testing.T) {
	var want []string
	for _, s := range asvs {
		for i := range s.n {
			want = append(want, s.section+"."+string(rune('1'+i)))
		}
	}
	var got []string
	for line := range strings.Lines(read(t, "SECURITY.md")) {
		cells := strings.Split(strings.Trim(line, "|\n"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if !regexp.MustCompile(`^\d+\.\d+\.\d+$`).MatchString(cells[0]) {
			continue
		}
		got = append(got, cells[0])
		if len(cells) != 6 {
			t.Errorf("%s has %d cells", cells[0], len(cells))
			continue
		}
		status, tests := cells[3], cells[5]
		met := status == "met" || strings.HasPrefix(status, "met with `")
		if !met && status != "yours" {
			t.Errorf("%s is %q, which is none of met, met with a setting, and yours", cells[0], status)
		}
		if met != strings.Contains(tests, ".Test") {
			t.Errorf("%s is %q, and its tests are %q", cells[0], status, tests)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("SECURITY.md has %q, want %q", got, want)
	}
}

// allTests is what testNames has found.
var allTests map[string][]string

// testNames maps the name of each test to the folders that have such a test.
func testNames(t *testing.T) map[string][]string {
	t.Helper()
	if allTests != nil {
		return allTests
	}
	tests := map[string][]string{}
	eachFile(t, func(name string) {
		if !strings.HasSuffix(name, "_test.go") {
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root(t), name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				tests[f.Name.Name] = append(tests[f.Name.Name], path.Base(path.Dir(name)))
			}
		}
	})
	allTests = tests
	return tests
}

// eachFile calls fn with the name of each file of the project, relative to the root and with
// slashes, but for those in testdata and what is installed or built.
func eachFile(t *testing.T, fn func(name string)) {
	t.Helper()
	dir := root(t)
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".")) && d.Name() != ".github" {
			return filepath.SkipDir
		}
		if d.IsDir() {
			return nil
		}
		name, err := filepath.Rel(dir, file)
		if err == nil {
			fn(filepath.ToSlash(name))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root(t), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
