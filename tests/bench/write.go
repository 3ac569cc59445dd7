package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	beginMark = "<!-- bench:begin -->"
	endMark   = "<!-- bench:end -->"
)

// write puts the report into the documents of the project at root: it writes the charts,
// and replaces the text between the marks. It skips missing documents. past is the history.
func (r *report) write(root string, past grid) error {
	for name, svg := range map[string]string{
		"docs/bench-read.svg":   r.chart(read, "Read a signed-in session, and slide its expiry"),
		"docs/bench-change.svg": r.chart(change, "Change a signed-in session"),
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(svg), 0o644); err != nil {
			return err
		}
	}
	for name, block := range map[string]string{
		"README.md":           r.summary(),
		"docs/performance.md": r.details(past),
	} {
		if err := replaceBlock(filepath.Join(root, name), block); err != nil {
			return err
		}
	}
	return nil
}

func replaceBlock(path, block string) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	before, rest, ok1 := strings.Cut(string(b), beginMark)
	_, after, ok2 := strings.Cut(rest, endMark)
	if !ok1 || !ok2 {
		return fmt.Errorf("%s: it must have the lines %s and %s", path, beginMark, endMark)
	}
	text := before + beginMark + "\n" + strings.TrimSpace(block) + "\n" + endMark + after
	return os.WriteFile(path, []byte(text), 0o644)
}

// inSummary are the roles that the README has: docs/performance.md has all.
var inSummary = []string{
	"bare", "samesid-memory-json", "scs-memory-fixed", "express-memory",
	"floor-getex", "samesid-redis-connect", "scs-redis-fixed", "fiber-redis", "express-redis",
	"floor-select", "samesid-postgres-touchafter", "scs-postgres-fixed", "express-postgres",
	"floor-sqlite-select", "samesid-sqlite-touchafter", "scs-sqlite-fixed",
}

// summary returns the README's part: one chart, and a table of the usual requests.
func (r *report) summary() string {
	g := grid{{"requests per second (p99)", "read, expiry slides", "change", "round trips: read, change"}}
	for _, store := range stores {
		for _, server := range r.servers(store) {
			if !slices.Contains(inSummary, server.Role) {
				continue
			}
			row := []string{storeTitles[store] + ": " + server.Label}
			var turns []string
			for _, w := range []string{read, change} {
				one, ok := r.find(server.Role, w)
				if !ok {
					row = append(row, "")
					continue
				}
				row = append(row, fmt.Sprintf("%s (%s)", thousands(one.RPS), milliseconds(one.P99)))
				if one.RoundTrips != nil {
					turns = append(turns, optional(one.RoundTrips))
				}
			}
			g = append(g, append(row, strings.Join(turns, ", ")))
		}
	}
	return "![Requests per second that read a signed-in session](docs/bench-read.svg)\n\n" + g.String() + "\n" + r.about() + "\n"
}

// details returns the part of docs/performance.md: all results.
func (r *report) details(past grid) string {
	var b strings.Builder
	b.WriteString("![Requests per second that read a signed-in session](bench-read.svg)\n\n")
	b.WriteString("![Requests per second that change a signed-in session](bench-change.svg)\n\n")
	b.WriteString(r.String())
	fmt.Fprintf(&b, "\nThe same ratios of rates in each run that was kept:\n\n%s", past)
	return b.String()
}
