package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// source is the file and the environment from which a Config is read: the values, their
// places, and the problems found.
type source struct {
	*table
	file     string // "" for none
	env      map[string]string
	lines    []string
	marks    []mark
	given    map[*key]given
	problems []problem
	bad      map[*key]bool // keys with a problem; problems that follow from it are not reported
}

// given is the value of a key, from the file or the environment.
type given struct {
	name    string // the key as the file spells it, or the variable
	node    *yaml.Node
	scalars []scalar
}

func newSource(t *table, file string, environ []string) *source {
	s := &source{table: t, file: file, env: make(map[string]string), given: make(map[*key]given), bad: make(map[*key]bool)}
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		s.env[name] = value
	}
	return s
}

// lineBreak matches what the parser treats as the end of a line.
var lineBreak = regexp.MustCompile("\r\n|[\r\n\u0085\u2028\u2029]")

// parse reads the text of the file. It reports whether it is a mapping, or empty.
func (s *source) parse(data []byte) bool {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if !utf8.Valid(data) {
		s.report(nil, "is not UTF-8")
		return false
	}
	s.lines = lineBreak.Split(string(data), -1)
	if filepath.Ext(s.file) == ".json" && len(bytes.TrimSpace(data)) > 0 && !s.strictJSON(data) {
		return false
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		return s.syntax(err)
	}
	var doc, second yaml.Node
	switch err := loader.Load(&doc); {
	case errors.Is(err, io.EOF):
		return true
	case err != nil:
		return s.syntax(err)
	}
	switch err := loader.Load(&second); {
	case err == nil:
		s.report(&second, "a second document begins here; a configuration is one")
		return false
	case !errors.Is(err, io.EOF):
		return s.syntax(err)
	}
	root := doc.Content[0]
	if root.ShortTag() == "!!null" {
		return true
	}
	s.walk(root, "")
	return root.Kind == yaml.MappingNode
}

// strictJSON reports whether data is JSON; the YAML parser accepts more.
func (s *source) strictJSON(data []byte) bool {
	var raw json.RawMessage
	err := json.Unmarshal(data, &raw)
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return true
	}
	lines := lineBreak.Split(string(data[:max(0, syntax.Offset-1)]), -1)
	at := &yaml.Node{Line: len(lines), Column: utf8.RuneCountInString(lines[len(lines)-1]) + 1}
	s.report(at, "not JSON: %s", withoutQuotes(syntax.Error()))
	return false
}

// hints maps the parser's messages to the most likely fix.
var hints = map[string]string{
	"found character that cannot start any token":    "a value that begins with it must be in quotes, and tabs can't indent",
	"mapping values are not allowed in this context": "a value with a colon and a space in it must be in quotes",
	"found invalid Unicode character escape code":    "write the character itself",
	"found unexpected end of stream":                 "is there a quote missing?",
}

// inQuotes matches text of the file in messages of the parser.
var inQuotes = regexp.MustCompile(`'[^']*'`)

func withoutQuotes(text string) string {
	return inQuotes.ReplaceAllStringFunc(text, func(q string) string {
		if strings.ContainsAny(q, "-,?:]}") && len(q) == 3 {
			return q // punctuation that the parser expected
		}
		return "…"
	})
}

func (s *source) syntax(err error) bool {
	var load *yaml.LoadError
	if !errors.As(err, &load) {
		s.report(nil, "not %s", s.format())
		return false
	}
	text, mark := withoutQuotes(load.Message), load.Mark
	if strings.HasPrefix(text, "unknown anchor") {
		text = noAnchors
	}
	if load.ContextMsg != "" && mark.Line >= len(s.lines) {
		mark = load.ContextMark // the beginning of the construct helps more than the file's end
	}
	if hint := hints[text]; hint != "" {
		text += "; " + hint
	}
	var at *yaml.Node
	if mark.Line > 0 {
		at = &yaml.Node{Line: mark.Line, Column: mark.Column}
	}
	s.report(at, "not %s: %s", s.format(), text)
	return false
}

const noAnchors = "anchors, aliases and tags are not for this file; a value that begins with &, * or ! must be in quotes"

func (s *source) format() string {
	if filepath.Ext(s.file) == ".json" {
		return "JSON"
	}
	return "YAML"
}

// nameable matches unknown keys that a message may show.
var nameable = regexp.MustCompile(`^[A-Za-z$][A-Za-z0-9_$-]{0,39}$`)

// walk reads the keys of a mapping.
func (s *source) walk(n *yaml.Node, section string) {
	switch {
	case n.Kind != yaml.MappingNode && n.Kind != yaml.AliasNode:
		s.mark(n, true)
		switch section {
		case "":
			s.report(n, "must be keys with values")
		case "store":
			s.report(n, "store: must be keys with values, or the url alone")
		default:
			s.report(n, "%s: must be keys with values", section)
		}
		return
	case !s.plain(n):
		s.mark(n, true)
		return
	}
	s.marks = append(s.marks, mark{n.Line, n.Column, false})
	first := make(map[string]int)
	for i := 0; i+1 < len(n.Content); i += 2 {
		at, value := n.Content[i], n.Content[i+1]
		path := join(section, at.Value)
		switch line, again := first[path]; {
		case at.Kind != yaml.ScalarNode || !nameable.MatchString(at.Value):
			s.mark(at, true)
			s.mark(value, true)
			s.report(at, "unknown key")
			continue
		case again:
			s.mark(at, false)
			s.mark(value, true)
			s.report(at, "%s is given twice, first on line %d; drop one of the two", path, line)
			continue
		}
		first[path] = at.Line
		s.mark(at, false)
		s.entry(section, at, value)
	}
}

// entry reads a key and its value.
func (s *source) entry(section string, at, value *yaml.Node) {
	path := join(section, at.Value)
	k := s.byPath[path]
	_, isSection := sections[path]
	switch {
	case isSection && (path != "store" || value.Kind != yaml.ScalarNode || value.ShortTag() == "!!null"):
		s.walk(value, path)
		return
	case isSection:
		k = s.byPath["store.url"]
	case path == schemaKey:
		s.mark(value, false)
		return
	}
	s.mark(value, k == nil || k.secret())
	if k == nil {
		why, known := s.unavailable[path]
		meant := s.near(section, at.Value)
		if section == "store" && !known {
			defer func() { s.problems[len(s.problems)-1].ofStore = true }()
		}
		switch {
		case known:
			s.report(at, "%s: %s", path, why)
		case meant != "":
			s.report(at, "unknown key %s; did you mean %s?", path, meant)
			if k := s.byPath[meant]; k != nil {
				s.bad[k] = true
			}
		default:
			s.report(at, "unknown key %s", path)
		}
		return
	}
	if other, ok := s.given[k]; ok {
		s.report(at, "%s and %s say the same; drop one of the two", other.name, path)
		s.bad[k] = true
		return
	}
	g := given{name: path, node: value}
	items := []*yaml.Node{value}
	if k.kind.list && value.Kind == yaml.SequenceNode {
		items = value.Content
		switch {
		case !s.plain(value):
			s.bad[k] = true
			return
		case len(items) == 0:
			s.wrong(k, path, value, errors.New("is an empty list"))
			return
		}
	}
	for _, item := range items {
		if item.Kind != yaml.ScalarNode && item.Kind != yaml.AliasNode {
			s.wrong(k, path, item, k.kind.wrong())
			return
		}
		if !s.plain(item) {
			s.bad[k] = true
			return
		}
		v := scalar{text: item.Value, tag: item.ShortTag(), dir: filepath.Dir(s.file), node: item}
		switch v.tag {
		case "!!timestamp":
			v.tag = "!!str" // as in YAML 1.2
		case "!!bool":
			v.text = strings.ToLower(v.text)
		}
		g.scalars = append(g.scalars, v)
	}
	s.given[k] = g
	if k.lastWins {
		delete(s.given, s.byPath[k.or])
	}
}

// plain reports whether a node has no anchor, alias or tag. Such a value is not what its
// text looks like; most likely its quotes are missing.
func (s *source) plain(n *yaml.Node) bool {
	if n.Kind == yaml.AliasNode || n.Anchor != "" || n.Style&yaml.TaggedStyle != 0 {
		s.report(n, noAnchors)
		return false
	}
	return true
}

// serviceLink matches the variables that Kubernetes sets for a service named samesid.
var serviceLink = regexp.MustCompile(`^SAMESID_(.+_)?(PORT|SERVICE_HOST|SERVICE_PORT)(_.*)?$`)

// override reads the environment variables named after keys; they override the file.
func (s *source) override() {
	byEnv := make(map[string]*key)
	for _, k := range s.keys {
		byEnv[k.env()] = k
	}
	fromEnv := make(map[*key]bool)
	for _, name := range slices.Sorted(maps.Keys(s.env)) {
		value := s.env[name]
		k := byEnv[name]
		switch {
		case !strings.HasPrefix(name, envPrefix) || value == "" || k == nil && serviceLink.MatchString(name):
			continue
		case k == nil:
			text := "is not the name of a key"
			if meant := s.nearEnv(name); meant != "" {
				text += "; did you mean " + meant + "?"
			}
			s.reportEnv("%s: %s", name, text)
			s.problems[len(s.problems)-1].ofStore = strings.HasPrefix(name, envPrefix+"STORE_")
			continue
		}
		g := given{name: name}
		values := []string{value}
		if k.kind.list && strings.HasPrefix(value, "[") {
			if err := json.Unmarshal([]byte(value), &values); err != nil || len(values) == 0 {
				s.wrong(k, name, nil, errors.New("begins with [ and is not a JSON list of texts; a single one that begins so can be put in such a list"))
				continue
			}
		}
		for _, v := range values {
			g.scalars = append(g.scalars, scalar{text: v})
		}
		s.given[k] = g
		fromEnv[k] = true
	}
	for k := range fromEnv {
		if or := s.byPath[k.or]; !fromEnv[or] {
			delete(s.given, or)
		}
	}
}

// alternatives reports keys that are given together with their alternatives.
func (s *source) alternatives() {
	for _, k := range s.keys {
		a, ok := s.given[k]
		b, both := s.given[s.byPath[k.or]]
		switch {
		case !ok || !both || k.path > k.or: // each pair is reported once
			continue
		case a.node == nil:
			s.reportEnv("%s and %s say the same; drop one of the two", a.name, b.name)
		default:
			s.report(b.node, "%s and %s say the same; drop one of the two", a.name, b.name)
		}
		s.bad[k], s.bad[s.byPath[k.or]] = true, true
	}
}

// fill reads the values into c, and reports those that can't be read.
func (s *source) fill(c *Config) {
	for _, k := range s.keys {
		g, ok := s.given[k]
		if !ok {
			continue
		}
		for _, v := range g.scalars {
			if err := s.read(c, k, v); err != nil {
				s.wrong(k, g.name, v.node, err)
			}
		}
	}
}

func (s *source) read(c *Config, k *key, v scalar) error {
	if v.node != nil && v.tag == "!!str" {
		text, variables, err := expand(v.text, s.env)
		if err != nil {
			return err
		}
		v.text = text
		if variables {
			v.tag = ""
		}
	}
	switch {
	case k.kind.null && (v.tag == "!!null" || v.tag == "" && v.text == "null"):
		return nil
	case v.tag == "!!null":
		return errors.New("has no value; leave it out, or give it one")
	}
	return k.kind.read(c, v)
}

// wrong reports a problem with a key's value.
func (s *source) wrong(k *key, name string, at *yaml.Node, err error) {
	if at == nil {
		s.reportEnv("%s: %w", name, err)
	} else {
		s.report(at, "%s: %w", name, err)
	}
	s.bad[k] = true
}
