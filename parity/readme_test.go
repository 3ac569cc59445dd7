package parity

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

// docs/differences.md's table is the same as the tests'.
func TestDifferencesHasTheSameTable(t *testing.T) {
	page, err := os.ReadFile("../docs/differences.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows, table []string
	for _, m := range regexp.MustCompile(`(?m)^\| ([^|]+?) \| [^|]+ \| [^|]+ \| [^|]+ \|$`).FindAllSubmatch(page, -1) {
		rows = append(rows, string(m[1]))
	}
	for i := range onPurpose {
		table = append(table, onPurpose[i].name)
	}
	slices.Sort(rows)
	slices.Sort(table)
	if !slices.Equal(rows, table) {
		t.Errorf("docs/differences.md: %q\ntests:  %q", rows, table)
	}
}
