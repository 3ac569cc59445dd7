package config

import (
	"cmp"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/samesid/samesid/internal/refusal"
)

// place reports errors of the other packages, in terms of keys, at the values that they
// are about.
func (s *source) place(err error) {
	for _, err := range each(err) {
		fields, text := s.translate(err)
		if slices.ContainsFunc(fields, func(k *key) bool { return s.bad[k] || s.bad[s.byPath[k.or]] }) {
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

// explain returns an error of Open with its place in the file, if there is a file.
func (c *Config) explain(err error) error {
	if c.source == nil {
		return err
	}
	s := *c.source
	s.problems = nil
	s.place(err)
	return s.err()
}

// each returns the errors that errors.Join has joined, or the error itself. An error with
// several causes is not a join: its text is more than theirs.
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
		return []error{err}
	}
	return all
}

// translated is an error with a text in terms of keys.
type translated struct {
	text string
	err  error
}

func (t translated) Error() string { return t.text }
func (t translated) Unwrap() error { return t.err }

// translate returns the keys of the fields that an error rejects, and the error's text
// with the names of keys instead of fields. An error that rejects no field comes from the
// store, and is thus about its url; it may name a field to set.
func (s *source) translate(err error) (fields []*key, text string) {
	var r *refusal.Error
	if !errors.As(err, &r) {
		pkg, _, _ := strings.Cut(err.Error(), ":")
		text := s.inKeys(pkg, err.Error(), nil)
		url := s.byPath["store.url"]
		if _, ok := s.given[url]; ok {
			return []*key{url}, s.name(url) + ": " + text
		}
		return nil, text
	}
	words := maps.Clone(goWords)
	var names []string
	for _, field := range r.Fields {
		k := s.keyOf(r.Package, field)
		if k == nil { // a field that only code can set
			names = append(names, field)
			continue
		}
		fields = append(fields, k)
		names = append(names, s.name(k))
		_, words[lastName(field)] = split(k.path)
	}
	if len(fields) == 0 {
		return nil, err.Error()
	}
	return fields, list(names) + ": " + s.inKeys(r.Package, r.Reason, words)
}

// inKeys returns a text of a package's with the names of keys in place of its fields, and with
// other words replaced.
func (s *source) inKeys(pkg, text string, words map[string]string) string {
	return token.ReplaceAllStringFunc(text, func(w string) string {
		if k := s.keyOf(pkg, w); k != nil {
			return s.name(k)
		}
		return cmp.Or(words[w], w)
	})
}

// token matches possible names in a reason. It matches quoted text and paths as a whole,
// since they contain no names.
var token = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|[\w/-]+(?:\.[\w/-]+)*`)

// list joins names: "a, b and c".
func list(names []string) string {
	last := len(names) - 1
	if last == 0 {
		return names[0]
	}
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// lastName returns the name of a field without those of its structs.
func lastName(field string) string {
	field, _, _ = strings.Cut(field, "[")
	return field[strings.LastIndexByte(field, '.')+1:]
}

// keyOf returns the key of a field, named as in the package's refusals, or nil.
func (t *table) keyOf(pkg, field string) *key {
	field, _, _ = strings.Cut(field, "[") // an element of a list
	return t.byField[pkg+"."+field]
}

// name returns the key's name as given, or else its variable or its path.
func (s *source) name(k *key) string {
	if g, ok := s.lookup(k); ok {
		return g.name
	}
	if s.file == "" {
		return k.env()
	}
	return k.path
}

// lookup returns the value given for the key, or for its alternative.
func (s *source) lookup(k *key) (given, bool) {
	if g, ok := s.given[k]; ok {
		return g, true
	}
	g, ok := s.given[s.byPath[k.or]]
	return g, ok
}
