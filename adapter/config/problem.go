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
	"github.com/samesid/samesid/backends/memory"
)

// problem is one thing that is wrong, and where.
type problem struct {
	file         string
	line, column int    // 0: nowhere in the file
	shown        string // the line, and a mark below it
	err          error
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

// report adds a problem at a node, or with nil of the file as a whole.
func (s *source) report(at *yaml.Node, format string, args ...any) {
	p := problem{file: s.file, err: fmt.Errorf(format, args...)}
	if at != nil {
		p.line, p.column = at.Line, at.Column
	}
	s.problems = append(s.problems, p)
}

// reportEnv adds a problem of the environment.
func (s *source) reportEnv(format string, args ...any) {
	s.problems = append(s.problems, problem{err: fmt.Errorf("environment: "+format, args...)})
}

// err returns all problems in the order of the file, or nil.
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

// mark is where a node begins. What follows, up to the next one, is shown to
// nobody if it is hidden.
type mark struct {
	line, column int
	hidden       bool
}

func (m mark) before(line, column int) bool {
	return m.line < line || m.line == line && m.column <= column
}

// mark notes a node and those in it.
func (s *source) mark(n *yaml.Node, hidden bool) {
	s.marks = append(s.marks, mark{n.Line, n.Column, hidden})
	for _, inner := range n.Content {
		s.mark(inner, hidden)
	}
}

// secret reports whether the key's value must not be shown.
func (k *key) secret() bool { return k.path == "secret" || k.path == "store.url" }

const (
	mask = "***"

	// What is shown of a long line: so much on each side of the column.
	shownBefore, shownAfter = 70, 50
)

// show returns a line of the file, without what is hidden, and a mark below the
// column.
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

// indentation can be shown of any line.
var indentation = regexp.MustCompile(`^\s*(- )?`)

// beginning is that of a line with a key.
var beginning = regexp.MustCompile(`^[\s{,-]*["']?([A-Za-z]+)["']?\s*:\s*`)

// hidden returns which columns of a line must not be shown. Where there are no
// marks because the text can't be read, all but a known key at its beginning is.
func (s *source) hidden(line int) func(column int) bool {
	if len(s.marks) == 0 {
		visible := 0
		if m := beginning.FindStringSubmatch(s.lines[line-1]); m != nil && isName(m[1]) {
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
func isName(name string) bool {
	for path := range byPath {
		if _, n := split(path); n == name {
			return true
		}
	}
	_, ok := sections[name]
	return ok
}

// check reports what the packages that the Config is for say of it.
func (s *source) check(c *Config) {
	if !s.bad[byPath["store.type"]] && !s.bad[byPath["store.url"]] {
		s.place(c.Store.Check())
	}
	opts := c.Options
	opts.Logger = slog.New(slog.DiscardHandler)
	opts.Store = stub{json: c.Store.JSONRecords()}
	s.place(opts.Validate())
}

// stub stands for a store that is not open yet. What it cannot do, Open says.
type stub struct {
	scs.Store
	adapter.Renamer
	json bool
}

func (s stub) JSONRecords() bool { return s.json }

// place reports errors of adapter and backends in the words of the file.
func (s *source) place(err error) {
	for _, err := range each(err) {
		fields, text := s.translate(err)
		if slices.ContainsFunc(fields, func(k *key) bool { return s.bad[k] || s.bad[byPath[k.or]] }) {
			continue
		}
		inFile := s.file != ""
		var at *yaml.Node
		for _, k := range fields {
			if g, ok := s.lookup(k); ok {
				at, inFile = g.node, g.node != nil
				break
			}
		}
		if inFile {
			s.report(at, "%w", translated{text, err})
		} else {
			s.reportEnv("%w", translated{text, err})
		}
	}
}

// explain is place for an error of Open.
func (c *Config) explain(err error) error {
	if c.source == nil {
		return err
	}
	s := *c.source
	s.problems = nil
	s.place(err)
	return s.err()
}

// each returns the errors that were joined, or the one error.
func each(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		if err == nil {
			return nil
		}
		return []error{err}
	}
	var all []error
	var texts []string
	for _, err := range joined.Unwrap() {
		all = append(all, each(err)...)
		texts = append(texts, err.Error())
	}
	if strings.Join(texts, "\n") != err.Error() {
		return []error{err} // one error with several causes
	}
	return all
}

// translated is an error in the words of the file.
type translated struct {
	text string
	err  error
}

func (t translated) Error() string { return t.text }
func (t translated) Unwrap() error { return t.err }

var (
	fieldError = regexp.MustCompile(`(?s)^(adapter|backends|redis|postgres): (?:Options|Manager|Config)\.(.+?): (.+)$`)
	separator  = regexp.MustCompile(`, | and `)
	qualifier  = regexp.MustCompile(`^(Options|Manager|Config)\.`)
	index      = regexp.MustCompile(`\[\d+\]$`)
	qualified  = regexp.MustCompile(`\b(?:Options|Manager|Config)\.([A-Z][A-Za-z]*(?:\.[A-Z][A-Za-z]*)?)`)
	goWords    = strings.NewReplacer("UnsignedCookies", "unsigned", "SignedCookies", "signed", "MigrateCookies", "migrate",
		"PlainIDs", "plain", "MigrateIDs", "migrate", "HashedIDs", "hashed",
		"scs.GobCodec", "gob", "JSONCodec", "json", "True", "true", "False", "false", "Default, ", "")
)

// translate turns the names of fields in an error into those of keys, which it
// returns too. An error that names none is about the store, and so its url.
func (s *source) translate(err error) (fields []*key, text string) {
	m := fieldError.FindStringSubmatch(err.Error())
	if m == nil {
		url := byPath["store.url"]
		if _, ok := s.given[url]; ok {
			return []*key{url}, s.name(url) + ": " + err.Error()
		}
		return nil, err.Error()
	}
	kind, prefix, body := "Config.", "", goWords.Replace(m[3])
	if m[1] == "adapter" {
		kind = "Options."
	}
	var names []string
	for _, field := range separator.Split(m[2], -1) {
		field = index.ReplaceAllString(qualifier.ReplaceAllString(field, ""), "")
		outer, _, nested := strings.Cut(field, ".")
		switch {
		case nested:
			prefix = outer + "."
		case byField[kind+prefix+field] != nil:
			field = prefix + field
		}
		k := byField[kind+field]
		if k == nil {
			return nil, err.Error()
		}
		fields = append(fields, k)
		names = append(names, s.name(k))
		_, name := split(k.path)
		last := field[strings.LastIndexByte(field, '.')+1:]
		body = regexp.MustCompile(`(^|[^.\w])`+last+`\b`).ReplaceAllString(body, "${1}"+name)
	}
	body = qualified.ReplaceAllStringFunc(body, func(field string) string {
		if k := byField[kind+qualifier.ReplaceAllString(field, "")]; k != nil {
			return s.name(k)
		}
		return field
	})
	return fields, strings.Join(names, " and ") + ": " + body
}

// name is what the reader knows the key by.
func (s *source) name(k *key) string {
	if g, ok := s.lookup(k); ok {
		return g.name
	}
	if s.file == "" {
		return k.env()
	}
	return k.path
}

// lookup returns what was given for the key, or for the one that says the same.
func (s *source) lookup(k *key) (given, bool) {
	if g, ok := s.given[k]; ok {
		return g, true
	}
	g, ok := s.given[byPath[k.or]]
	return g, ok
}

var byField = func() map[string]*key {
	m := make(map[string]*key)
	for _, k := range keys {
		if k.field != "" {
			m[k.field] = k
		}
	}
	return m
}()

// warn says in the log what is not fit for production. A short secret adapter.New
// warns about itself.
func (c *Config) warn(store backends.Store) {
	log := c.Options.Logger
	if log == nil {
		log = slog.Default()
	}
	if _, ok := store.(*memory.Store); ok {
		log.Warn("config: the sessions are in memory, in production: they end with the process, and no other process sees them; give the store a redis:// or postgres:// url")
	}
	if secure := c.Options.Cookie.Secure; c.Options.CookieFunc == nil && (secure == adapter.Default || secure == adapter.False) {
		log.Warn("config: cookie.secure is false, in production: the cookie is sent over connections that can be read; make it true, or auto")
	}
}
