package config

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/alexedwards/scs/v2"
	"go.yaml.in/yaml/v4"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends"
	"github.com/samesid/samesid/backends/driver"
)

// problem is an error with its place in the file.
type problem struct {
	file         string
	line, column int    // from 1; 0 if it has no place in the file
	shown        string // the line of the file, and a caret below it
	err          error
	ofStore      bool // an unknown key, which may be one of a store that was not handed in
}

func (p problem) Error() string {
	switch {
	case p.line > 0:
		return fmt.Sprintf("%s:%d:%d: %v%s", p.file, p.line, p.column, p.err, p.shown)
	case p.file != "":
		return fmt.Sprintf("%s: %v", p.file, p.err)
	}
	return p.err.Error()
}

func (p problem) Unwrap() error { return p.err }

// report adds a problem at a node; nil stands for the whole file.
func (s *source) report(at *yaml.Node, format string, args ...any) {
	p := problem{file: s.file, err: fmt.Errorf(format, args...)}
	if at != nil {
		p.line, p.column = at.Line, at.Column
	}
	s.problems = append(s.problems, p)
}

// reportEnv adds a problem with an environment variable.
func (s *source) reportEnv(format string, args ...any) {
	s.problems = append(s.problems, problem{err: fmt.Errorf("environment: "+format, args...)})
}

// err joins the problems, sorted by their place in the file; it is nil if there are none.
func (s *source) err() error {
	slices.SortStableFunc(s.problems, func(a, b problem) int {
		return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.column, b.column))
	})
	var errs []error
	for _, p := range s.problems {
		if p.line > 0 {
			p.shown = s.show(p.line, p.column)
		}
		errs = append(errs, p)
	}
	return errors.Join(errs...)
}

// mark is the place where a node begins. If it is hidden, error messages mask the text
// from there to the next mark.
type mark struct {
	line, column int
	hidden       bool
}

func (m mark) before(line, column int) bool {
	return m.line < line || m.line == line && m.column <= column
}

// mark adds marks for a node and its descendants.
func (s *source) mark(n *yaml.Node, hidden bool) {
	s.marks = append(s.marks, mark{n.Line, n.Column, hidden})
	for _, inner := range n.Content {
		s.mark(inner, hidden)
	}
}

// secret reports whether the key's value must not be shown.
func (k *key) secret() bool {
	return k.path == "secret" || k.path == "store.url" || slices.ContainsFunc(k.in, func(f storeField) bool { return f.Secret })
}

const (
	mask = "***"

	// The number of columns shown of a long line, before and after the place.
	shownBefore, shownAfter = 70, 50
)

// show returns a line of the file, with hidden text masked, and a caret below the column.
func (s *source) show(line, column int) string {
	if line > len(s.lines) {
		return ""
	}
	text := []rune(s.lines[line-1])
	hidden := s.hidden(line)
	indent := len([]rune(indentation.FindString(s.lines[line-1])))
	first, end := max(0, column-1-shownBefore), min(len(text), column-1+shownAfter)
	var out, below strings.Builder
	put := func(r string, at int) {
		out.WriteString(r)
		switch {
		case at < column && r == "\t":
			below.WriteByte('\t')
		case at < column:
			below.WriteString(strings.Repeat(" ", utf8.RuneCountInString(r)))
		}
	}
	if first > 0 && !hidden(first+1) {
		put("…", first)
	}
	for i := first; i < end; i++ {
		if i < indent || !hidden(i+1) {
			put(string(text[i]), i+1)
			continue
		}
		begin := i + 1
		for i+1 < end && hidden(i+2) {
			i++
		}
		if i+1 >= column && begin < column {
			column = begin
		}
		put(mask, begin)
		if i+1 < end {
			put(", ", i+1)
		}
	}
	if end < len(text) && !hidden(end) {
		put("…", end+1)
	}
	number := fmt.Sprintf("%5d", line)
	return fmt.Sprintf("\n%s | %s\n%s | %s^", number, out.String(), strings.Repeat(" ", len(number)), below.String())
}

// indentation matches the beginning of a line that is never masked.
var indentation = regexp.MustCompile(`^\s*(- )?`)

// beginning matches the key at the beginning of a line.
var beginning = regexp.MustCompile(`^[\s{,-]*["']?([A-Za-z]+)["']?\s*:\s*`)

// hidden returns a function that reports whether a column of a line must be masked. If
// the file could not be parsed, so that there are no marks, everything is masked except
// a known key at the beginning.
func (s *source) hidden(line int) func(column int) bool {
	if len(s.marks) == 0 {
		visible := 0
		if m := beginning.FindStringSubmatch(s.lines[line-1]); m != nil && s.isName(m[1]) {
			visible = len([]rune(m[0]))
		}
		return func(column int) bool { return column > visible }
	}
	return func(column int) bool {
		i, _ := slices.BinarySearchFunc(s.marks, mark{line, column, false}, func(m, at mark) int {
			if m.before(at.line, at.column) {
				return -1
			}
			return 1
		})
		return i > 0 && s.marks[i-1].hidden
	}
}

// isName reports whether a key of any section has the name.
func (t *table) isName(name string) bool {
	for path := range t.byPath {
		if _, n := split(path); n == name {
			return true
		}
	}
	_, ok := sections[name]
	return ok
}

// forget drops the unknown keys of the store if the file asks for one that was not handed
// in: the error that says so comes first.
func (s *source) forget() {
	for _, path := range []string{"store.type", "store.url"} {
		g := s.given[s.byPath[path]]
		if len(g.scalars) == 1 && backends.Elsewhere(g.scalars[0].text) != "" {
			s.problems = slices.DeleteFunc(s.problems, func(p problem) bool { return p.ofStore })
		}
	}
}

// validate reports what adapter and backends reject.
func (s *source) validate(c *Config) {
	s.forget()
	if !s.bad[s.byPath["store.type"]] && !s.bad[s.byPath["store.url"]] {
		s.choose(c)
		s.place(c.Store.Validate(s.backends...))
	}
	opts := c.Options
	opts.Logger = slog.New(slog.DiscardHandler)
	opts.Store = stub{json: c.Store.JSONRecords(s.backends...)}
	s.place(opts.Validate())
}

// stub takes the place of a store that is not open yet.
type stub struct {
	scs.Store
	json bool
}

func (s stub) JSONRecords() bool { return s.json }

// warn logs warnings about settings that are unsafe in production. adapter.New itself
// warns about short secrets.
func (c *Config) warn(more []driver.Backend) {
	log := c.Options.Logger
	if log == nil {
		log = slog.Default()
	}
	if b, err := c.Store.Backend(more...); err == nil && b.Transient {
		log.Warn("config: the sessions are in memory, in production: they end with the process, and no other process sees them; give the store a redis:// or postgres:// url")
	}
	if secure := c.Options.Cookie.Secure; c.Options.CookieFunc == nil && secure == adapter.SecureNever {
		log.Warn("config: cookie.secure is false, in production: the cookie is sent over connections that can be read; make it true, or auto")
	}
}
