package parity

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

// The README's table of differences is the same as the tests'.
func TestReadmeHasTheSameTable(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	section := regexp.MustCompile(`(?s)\n## Where it differs.*?\n## `).Find(readme)
	var rows, table []string
	for _, m := range regexp.MustCompile(`(?m)^\| ([^|]+?) \| [^|]+ \| [^|]+ \| [^|]+ \|$`).FindAllSubmatch(section, -1) {
		rows = append(rows, string(m[1]))
	}
	for i := range onPurpose {
		table = append(table, onPurpose[i].name)
	}
	slices.Sort(rows)
	slices.Sort(table)
	if !slices.Equal(rows, table) {
		t.Errorf("README: %q\ntests:  %q", rows, table)
	}
}
