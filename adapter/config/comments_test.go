package config

import (
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/samesid/samesid/backends/driver"
	"github.com/samesid/samesid/internal/refusal"
)

// comment is what the source of a store says of an option.
type comment struct {
	meaning string // a sentence, without the name of the field and the stop
	zero    string // what the zero value means, without the stop
}

// readComments returns the comments on the fields of a backend's Options.
func readComments(t *testing.T, b driver.Backend) map[string]comment {
	t.Helper()
	dir := filepath.Join("../../backends", filepath.Base(reflect.TypeOf(b.Options).PkgPath()))
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no source of %s in %s: %v", b.Type, dir, err)
	}
	structs := make(map[string]*ast.StructType)
	words := make(map[string]string) // constants, and their values
	for _, s := range b.Settings() {
		words[s.Field] = s.Key
	}
	for _, file := range files {
		f, err := parser.ParseFile(gotoken.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.TypeSpec:
				if s, ok := n.Type.(*ast.StructType); ok {
					structs[n.Name.Name] = s
				}
			case *ast.ValueSpec:
				for i, v := range n.Values {
					if lit, ok := v.(*ast.BasicLit); ok && lit.Kind == gotoken.STRING && n.Names[i].IsExported() {
						words[n.Names[i].Name], _ = strconv.Unquote(lit.Value)
					}
				}
			}
			return true
		})
	}
	comments := make(map[string]comment)
	var walk func(s *ast.StructType, prefix string)
	walk = func(s *ast.StructType, prefix string) {
		for _, f := range s.Fields.List {
			typ, _ := f.Type.(*ast.Ident)
			for _, name := range f.Names {
				field := prefix + name.Name
				if typ != nil && structs[typ.Name] != nil {
					walk(structs[typ.Name], field+".")
				}
				if slices.ContainsFunc(b.Settings(), func(s driver.Setting) bool { return s.Field == field }) {
					comments[field] = parseComment(t, b.Type+": "+field, name.Name, f.Doc.Text(), words)
				}
			}
		}
	}
	walk(structs[reflect.TypeOf(b.Options).Name()], "")
	return comments
}

var goName = regexp.MustCompile(`[A-Z]\w+`)

// parseComment reads the first paragraph of a comment: "Name is the … Zero value: ….", or
// "Name limits …".
func parseComment(t *testing.T, where, name, text string, words map[string]string) comment {
	t.Helper()
	first, _, _ := strings.Cut(text, "\n\n")
	first = strings.Join(strings.Fields(first), " ")
	meaning, zero, ok := strings.Cut(first, " Zero value: ")
	rest, named := strings.CutPrefix(meaning, name+" ")
	if !ok || !named || !strings.HasSuffix(zero, ".") {
		t.Fatalf("%s: the comment must begin with the name and end its first paragraph with the zero value: %q", where, first)
	}
	translate := func(text string) string {
		return goName.ReplaceAllStringFunc(strings.TrimSuffix(text, "."), func(w string) string {
			if word, ok := words[w]; ok {
				return word
			}
			return w
		})
	}
	return comment{translate(strings.TrimPrefix(rest, "is ")), translate(zero)}
}

// text says what a store's option means, and its default, for all stores that have it.
func (table *table) text(t *testing.T, k *key, comments map[string]map[string]comment) string {
	t.Helper()
	if f := k.in[0]; !k.isMain() {
		return "The name of " + f.Key + " in " + f.Or.Of + "."
	}
	type group struct {
		meaning       string
		titles, zeros []string
	}
	var groups []*group
	for _, f := range k.in {
		c := comments[f.backend.Type][f.Field]
		title := f.backend.Title
		i := slices.IndexFunc(groups, func(g *group) bool { return g.meaning == c.meaning })
		if i < 0 {
			i = len(groups)
			groups = append(groups, &group{meaning: c.meaning})
		}
		g := groups[i]
		g.titles, g.zeros = append(g.titles, title), append(g.zeros, c.zero)
	}
	var texts []string
	for _, g := range groups {
		zero := g.zeros[0]
		if slices.ContainsFunc(g.zeros, func(z string) bool { return z != zero }) {
			var each []string
			for i, title := range g.titles {
				each = append(each, g.zeros[i]+" for "+title)
			}
			zero = strings.Join(each, "; ")
		}
		texts = append(texts, list(g.titles)+": "+g.meaning+". Default: "+zero+".")
	}
	if k.path == "store.layout" {
		var each []string
		for _, f := range k.in {
			each = append(each, f.backend.Title+": "+refusal.Either(f.OneOf))
		}
		texts = append(texts, strings.Join(each, "; ")+".")
	}
	return strings.Join(texts, " ")
}
