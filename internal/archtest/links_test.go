package archtest

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// Each link of a page to a file of the project leads there, and to a heading that is there, and
// each page that other text names exists.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^()\s]+)\)`)
	named := regexp.MustCompile(`\b(?:docs|examples|parity|tests)/[\w/-]+\.md\b`)
	links := 0
	eachFile(t, func(name string) {
		exists := func(target string) bool {
			_, err := os.Stat(filepath.Join(root(t), target))
			return err == nil
		}
		ext := path.Ext(name)
		if slices.Contains([]string{".go", ".md", ".yaml", ".mjs", ".sh"}, ext) {
			for _, page := range named.FindAllString(read(t, name), -1) {
				if !exists(page) && !exists(path.Join(path.Dir(name), page)) {
					t.Errorf("%s names %s, which is not there", name, page)
				}
			}
		}
		if ext != ".md" {
			return
		}
		for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(read(t, name), "\n"), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, ":") {
				continue // another site
			}
			links++
			if target = path.Join(path.Dir(name), target); m[1][0] == '#' {
				target = name
			}
			switch {
			case !exists(target):
				t.Errorf("%s links to %s, which is not there", name, m[1])
			case anchor != "" && !slices.Contains(anchors(read(t, target)), anchor):
				t.Errorf("%s links to %s, and %s has no such heading", name, m[1], target)
			}
		}
	})
	if links < 50 {
		t.Errorf("the pages have %d links; does the test still find them?", links)
	}
}

// anchors returns what GitHub names the headings of a page.
func anchors(page string) (all []string) {
	for _, m := range regexp.MustCompile(`(?m)^#+ +(.*)$`).FindAllStringSubmatch(fence.ReplaceAllString(page, "\n"), -1) {
		all = append(all, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, strings.TrimSpace(m[1])))
	}
	return all
}
