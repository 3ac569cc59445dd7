package archtest

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The names of Go's in a page's text, such as `adapter.Options.UserPath` or `Options.UserPath`,
// are in the code of that package, or of one.
func TestPagesNameWhatIsThere(t *testing.T) {
	comment := regexp.MustCompile(`(?m)//.*$`)
	packages := map[string]string{} // their code
	eachFile(t, func(name string) {
		top, _, _ := strings.Cut(name, "/")
		if path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") || slices.Contains([]string{"internal", "parity", "tests"}, top) {
			return
		}
		code := comment.ReplaceAllString(read(t, name), "")
		_, clause, _ := strings.Cut(code, "package ")
		is, _, _ := strings.Cut(clause, "\n")
		packages[strings.TrimSpace(is)] += code
	})
	delete(packages, "main")

	span := regexp.MustCompile("`([^`\n]+)`")
	dotted := regexp.MustCompile(`(?:^|[^\w./@:*-])([A-Za-z]\w*)((?:\.[A-Z]\w*)+)`)
	names := 0
	eachFile(t, func(page string) {
		if path.Ext(page) != ".md" || page == "CHANGELOG.md" { // which has names that are gone
			return
		}
		for _, s := range span.FindAllStringSubmatch(fence.ReplaceAllString(read(t, page), "\n"), -1) {
			for _, m := range dotted.FindAllStringSubmatch(s[1], -1) {
				of, parts := []string{m[1]}, strings.Split(m[2][1:], ".")
				if strings.HasPrefix(parts[0], "Test") {
					continue // TestNamedTestsExist has it
				}
				if packages[m[1]] == "" {
					if !slices.Contains([]string{"Options", "Manager", "Stats", "Cookie", "Auth"}, m[1]) {
						continue // another project's
					}
					of = []string{"adapter", "auth"}
				}
				names++
				if !slices.ContainsFunc(of, func(p string) bool {
					return !slices.ContainsFunc(parts, func(part string) bool {
						return !regexp.MustCompile(`\b` + part + `\b`).MatchString(packages[p])
					})
				}) {
					t.Errorf("%s names %s, which %s does not have", page, m[0], strings.Join(of, " or "))
				}
			}
		}
	})
	if names < 100 {
		t.Errorf("the pages have %d names; does the test still find them?", names)
	}
}
