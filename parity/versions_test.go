package parity

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// olderStores returns the older releases that express/stores.mjs has.
func olderStores(t *testing.T) (older []store) {
	t.Helper()
	need(t)
	all, err := described()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.older() {
			older = append(older, s)
		}
	}
	return older
}

// Sessions are handed over from and to older releases of the packages just as with the newest.
func TestVersions(t *testing.T) {
	t.Parallel()
	for _, s := range some(t, olderStores(t)) { // one at a time: they share a Node process
		t.Run(s.Name, func(t *testing.T) {
			if s.Fails {
				testFails(t, s)
			} else {
				testHandOvers(t, s)
			}
		})
	}
}

// testFails shows that Node can't save a session with these releases.
func testFails(t *testing.T, s store) {
	at := s.place(t)
	a := &arena{tb: t, store: s, places: map[side]place{gos: at, node: at}}
	o := parseOptions(complete(minute))
	if _, err := start(t, gos, s, a.config(gos, o)); err != nil { // it creates the table
		t.Fatal(err)
	}
	srv, err := start(t, node, s, a.config(node, o)) // a process of its own, which may not outlive it
	if err != nil {
		t.Fatal(err)
	}
	out, err := (&runner{server: srv, options: &o}).send(run(set("user", "bob"), save), nil)
	if err == nil && out.status == http.StatusOK && out.results[1] == true {
		t.Error("Node saves a session")
	}
}

// The page's table of releases is the tests'.
func TestVersionsPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/migrating-from-express.md")
	if err != nil {
		t.Fatal(err)
	}
	section := regexp.MustCompile(`(?s)\n## Older releases.*?\n## `).Find(page)
	var rows, tested []string
	for _, m := range regexp.MustCompile(`(?m)^\| (\S+ [\d.]+) \| (\S+ [\d.]+) \| ([\d.]+) \| ?(.*) \|$`).FindAllSubmatch(section, -1) {
		row := fmt.Sprintf("%s, %s, express-session %s", m[1], m[2], m[3])
		if bytes.HasPrefix(m[4], []byte("does not work")) {
			row += " fails"
		}
		rows = append(rows, row)
	}
	for _, s := range olderStores(t) {
		row := strings.Join(s.Packages, ", ")
		if s.Fails {
			row += " fails"
		}
		tested = append(tested, row)
	}
	slices.Sort(rows)
	slices.Sort(tested)
	if tested = slices.Compact(tested); !slices.Equal(rows, tested) {
		t.Errorf("page:\n%s\ntests:\n%s", strings.Join(rows, "\n"), strings.Join(tested, "\n"))
	}
}
