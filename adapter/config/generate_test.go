package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/samesid/samesid/backends/driver"
	"github.com/samesid/samesid/backends/redis"
	"github.com/samesid/samesid/backends/sqlite"
)

func TestSchemaIsGenerated(t *testing.T) { golden(t, "schema.json", schema(t)) }
func TestDocsAreGenerated(t *testing.T)  { golden(t, "../../docs/configuration.md", docs(t)) }

// handedIn are the backends of this module that package backends does not link. The
// schema and the docs have their keys too.
var handedIn = []driver.Backend{sqlite.Backend}

// documented returns the keys of all backends, with the texts of the stores' options.
func documented(t *testing.T) *table {
	t.Helper()
	table, err := newTable(handedIn)
	if err != nil {
		t.Fatal(err)
	}
	comments := make(map[string]map[string]comment)
	for _, b := range table.backends {
		comments[b.Type] = readComments(t, b)
	}
	for _, k := range table.keys {
		if k.in != nil {
			k.doc = table.text(t, k, comments)
		}
	}
	return table
}

// schema returns a JSON Schema from the table of keys.
func schema(t *testing.T) string {
	t.Helper()
	table := documented(t)
	type object = map[string]any
	of := func(k *key) object {
		each := k.kind.schema
		if each["type"] != "string" || each["pattern"] != nil {
			each = anyOf(each, object{"type": "string", "pattern": `\$\{`})
		}
		value := each
		if k.kind.list {
			value = anyOf(value, object{"type": "array", "minItems": 1, "items": each})
		}
		if k.kind.null {
			value = anyOf(value, object{"type": "null"})
		}
		return maps.Clone(value)
	}
	root := object{schemaKey: object{"type": "string"}}
	properties := map[string]object{"": root}
	for name, doc := range sections {
		properties[name] = object{}
		root[name] = object{"description": doc, "type": "object", "additionalProperties": false, "properties": properties[name]}
	}
	root["store"] = anyOf(root["store"].(object), table.byPath["store.url"].kind.schema)
	for path, k := range table.byPath {
		section, name := split(path)
		value := of(k)
		value["description"] = k.doc
		if path != k.path {
			value["description"] = "The same as " + k.path + "."
		}
		properties[section][name] = value
	}
	text, err := json.MarshalIndent(object{
		"$schema":              "https://json-schema.org/draft/2020-12/schema",
		"title":                "samesid configuration",
		"type":                 []string{"object", "null"},
		"additionalProperties": false,
		"properties":           root,
	}, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	return string(text) + "\n"
}

func anyOf(a, b map[string]any) map[string]any {
	if of, ok := a["anyOf"].([]any); ok {
		return map[string]any{"anyOf": append(slices.Clone(of), b)}
	}
	return map[string]any{"anyOf": []any{a, b}}
}

// docs returns a page from the table of keys.
func docs(t *testing.T) string {
	t.Helper()
	table := documented(t)
	// Examples are samples, so they load. The first line is only for the test.
	example := func(name string) string {
		text, err := os.ReadFile("testdata/valid/docs-" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "\n")
		return "```yaml\n" + rest + "```\n"
	}
	var express []string
	for _, l := range table.layouts() {
		if l.Express {
			express = append(express, l.Name)
		}
	}
	var b strings.Builder
	b.WriteString(`# Configuration

<!-- Made from the table of keys in adapter/config, and from the comments on the stores' options, by "go generate ./adapter/config"; a change here is lost. -->

` + "`sessions, store, err := config.Open(ctx, \"session.yaml\")`" + ` reads this file, in YAML or, if its name ends in .json, in JSON, and returns
a Manager and the store that was opened for it, to be closed at the end. With "" for a path the environment alone is read. Keys are those of express-session and of
` + list(express) + `; an unknown one is an error.

- **Durations** are text: a number and ms, s, m, h, d or w, also several (` + "`1h30m`" + `). Where Express has a number it is
  taken in Express's unit.
- **Variables**: ` + "`${VAR}`" + ` in a value is an environment variable, which must be set. ` + "`${VAR:-text}`" + ` is text if it is
  not set, or empty. A dollar sign is ` + "`$$`" + `. What is put in is not looked at again;
  in a URL, what is special there, as in a password, must be percent-encoded in the variable.
- **Overrides**: an environment variable named as below takes the place of the key in the file. Its value is what the file would have,
  without quotes; several secrets are a JSON list. An empty variable counts as not set. Other names that begin with SAMESID_ are
  errors, but for those that Kubernetes sets for a service of that name.
- **Paths** in a file are relative to the file, those in the environment to the working directory.
- **YAML** is taken without anchors, aliases and tags. ` + "`yes`, `on`" + ` and the like are text.
- ` + "`adapter/config/schema.json`" + ` is a JSON Schema for editors: ` + "`# yaml-language-server: $schema=…`" + ` in the first line of a YAML
  file, or ` + "`\"$schema\": \"…\"`" + ` in a JSON one.

With NODE_ENV or APP_ENV set to production, a memory store and ` + "`cookie.secure: false`" + ` are warned about in the log; a secret of
less than 32 bytes always is.

## Examples

Redis, with the records of connect-redis:

` + example("redis") + `
Postgres, with the table of connect-pg-simple and the secrets in files, a new one and the one before it:

` + example("postgres") + `
The environment alone, with "" for a path:

` + "```sh\n" + `export SAMESID_SECRET=… # what openssl rand -base64 32 prints, once and for all
export SAMESID_COOKIE_MAXAGE=7d
export SAMESID_STORE_URL=redis://localhost:6379/0
` + "```\n" + `
To try such a file with the demo: ` + "`go run ./demo -config session.yaml`" + `. Its page of the user's sessions needs ` + "`userPath: user.username`" + `.
`)
	for _, section := range []string{"", "cookie", "store"} {
		if section != "" {
			fmt.Fprintf(&b, "\n## %s\n\n%s\n", section, sections[section])
		} else {
			b.WriteString("\n## Top level\n")
		}
		b.WriteString("\n| key | value | meaning | environment |\n|---|---|---|---|\n")
		for _, k := range table.keys {
			s, name := split(k.path)
			if s != section {
				continue
			}
			names := "`" + name + "`"
			for _, also := range k.also {
				names += ", `" + also + "`"
			}
			fmt.Fprintf(&b, "| %s | %s | %s | `%s` |\n", names, k.kind.want, k.doc, k.env())
		}
	}
	b.WriteString("\n## Layouts\n\n`store.layout` selects the names and the format of the records.\n\n" +
		"| store | layout | records | Express reads them | a bare `ttl` counts |\n|---|---|---|---|---|\n")
	for _, backend := range table.backends {
		for i, l := range backend.Layouts {
			name, reads, unit := "`"+l.Name+"`", "no", "nothing"
			if i == 0 {
				name += ", the default"
			}
			if l.Express {
				reads = "yes"
			}
			switch l.TTLUnit {
			case time.Second:
				unit = "seconds"
			case time.Millisecond:
				unit = "milliseconds"
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", backend.Title, name, l.Doc, reads, unit)
		}
	}
	b.WriteString("\n## Not in a file\n\nThese options of Express's are errors:\n\n")
	for _, path := range slices.Sorted(maps.Keys(table.unavailable)) {
		fmt.Fprintf(&b, "- `%s` %s.\n", path, table.unavailable[path])
	}
	return b.String()
}

// testdata/taken.json has, for each key, which of some values the loader takes. The tests
// of the schema, which are in a module of their own, compare it with the schema.
func TestTaken(t *testing.T) {
	values := []string{
		`null`, `true`, `false`, `0`, `1`, `1.5`, `-1`, `60000`, `""`, `"text"`, `"true"`, `"auto"`, `"Auto"`, `"Lax"`, `"lax"`, `"LAX"`, `"Low"`, `"keep"`, `"Keep"`,
		`"json"`, `"signed"`, `"memory"`, `"redis"`, `"scs"`, `"connect-redis"`, `"require"`, `"7d"`, `"1h30m"`, `"7 d"`, `"60000"`,
		`"2099-01-01"`, `"2099-01-01T00:00:00Z"`, `"2099-01-01T00:00:00"`, `"2099"`, `[]`, `["a"]`, `["a", "b"]`, `["a", 1]`, `[""]`, `[["a"]]`, `{}`, `{"a": 1}`,
	}
	file, err := filepath.Abs("testdata/taken.json")
	if err != nil {
		t.Fatal(err)
	}
	// secretFile reads its value as a path.
	t.Chdir(t.TempDir())
	for _, value := range values {
		var name string
		if json.Unmarshal([]byte(value), &name) == nil && name != "" {
			write(t, name, "secret")
		}
	}
	write(t, "a", "secret")
	write(t, "b", "secret")

	table, err := newTable(handedIn)
	if err != nil {
		t.Fatal(err)
	}
	taken := map[string][]string{}
	for path := range table.byPath {
		taken[path] = nil
		for _, value := range values {
			section, name := split(path)
			text := fmt.Sprintf("{%q: %s}", name, value)
			if section != "" {
				text = fmt.Sprintf("{%q: %s}", section, text)
			}
			s := newSource(table, "x.json", nil)
			if !s.parse([]byte(text)) {
				t.Fatalf("%s: %v", text, s.err())
			}
			s.fill(&Config{options: map[string]reflect.Value{"redis": settable(redis.Options{Layout: redis.LayoutConnectRedis})}}) // for the unit of ttl
			if s.err() == nil {
				taken[path] = append(taken[path], value)
			}
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "{\n\"values\": [%s],\n\"taken\": {", strings.Join(values, ", "))
	for i, path := range slices.Sorted(maps.Keys(taken)) {
		if i > 0 {
			b.WriteString(",")
		}
		fmt.Fprintf(&b, "\n%q: [%s]", path, strings.Join(taken[path], ", "))
	}
	b.WriteString("\n}\n}\n")
	golden(t, file, b.String())
}

func settable(v any) reflect.Value {
	to := reflect.New(reflect.TypeOf(v)).Elem()
	to.Set(reflect.ValueOf(v))
	return to
}
