// Package archtest tests the project's import rules: what each package may link, and
// which folder may use which. ARCHITECTURE.md is the map. It also tests what its pages and
// package comments say: code, commands, links, and the names of tests.
package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module = "github.com/samesid/samesid"

	scs = "github.com/alexedwards/scs/v2"

	adapter    = module + "/adapter"
	config     = module + "/adapter/config"
	auth       = module + "/auth"
	bound      = module + "/auth/devicebound" // of its own, so that auth links none of it
	backends   = module + "/backends"
	memory     = module + "/backends/memory"
	redis      = module + "/backends/redis"
	postgres   = module + "/backends/postgres"
	storetest  = module + "/backends/storetest"
	contract   = module + "/backends/contract"
	driver     = module + "/backends/driver"
	demo       = module + "/demo"
	parity     = module + "/parity"
	wire       = module + "/internal/wire"
	refusal    = module + "/internal/refusal"
	testserver = module + "/internal/testserver"
	leaktest   = module + "/internal/leaktest"
	eachstore  = module + "/internal/eachstore"
	rig        = module + "/internal/rig"
)

// A room is a folder and those below it that are not rooms themselves. Its rule limits
// what its packages link, directly or not, without their tests. An entry stands for a
// package and those below it.
type room struct {
	// only, if not nil, lists what may be linked beside the standard library.
	only []string
	// not lists what must not be linked.
	not []string
	// needs lists what must be linked. It proves that the rule examines the real
	// packages, and that the names here are still right.
	needs []string
}

// yaml stands for every YAML library.
const yaml = "yaml"

// rooms does not have the stores, the other folders of backends: see storeRoom.
var rooms = map[string]room{
	wire:                          {only: []string{}},
	refusal:                       {only: []string{}},
	module + "/internal/batch":    {only: []string{scs, contract}},
	module + "/internal/sqlstore": {only: []string{}},
	contract:                      {only: []string{scs}},
	driver:                        {only: []string{scs}},
	adapter:                       {only: []string{scs, wire, refusal, contract, driver, memory}, needs: []string{scs}},
	storetest:                     {only: []string{scs, contract}},
	backends:                      {not: []string{adapter, auth, backends + "/sqlite", yaml}}, // SQLite is slow to compile: it is handed in
	config:                        {not: []string{auth, demo, parity, backends + "/sqlite"}, needs: []string{adapter}},
	auth:                          {not: append(clients(), redis, postgres, config, demo, parity, yaml, bound), needs: []string{adapter}},
	bound:                         {only: []string{scs, adapter, wire, refusal, contract, driver, memory}, needs: []string{adapter}},
	demo:                          {not: []string{parity, backends + "/sqlite"}}, // without -tags sqlite
	parity:                        {},

	module + "/examples": {},

	leaktest:                         {only: []string{}},
	testserver:                       {not: []string{adapter, backends, auth}},
	module + "/internal/archtest":    {only: []string{}},
	module + "/internal/testsummary": {only: []string{leaktest}},
	module + "/internal/interleave":  {not: []string{redis, postgres, auth, demo}},
	eachstore:                        {not: []string{adapter, auth, demo}},
	rig:                              {not: []string{redis, postgres, config, demo}},
	module + "/internal/proof":       {},
}

// isStore reports whether a package is a store: a folder of backends that is not in rooms.
func isStore(path string) bool {
	name, below := strings.CutPrefix(path, backends+"/")
	_, other := rooms[path]
	return below && !other && !strings.Contains(name, "/")
}

// storeRoom returns the rule for a store: it links its own client, but no other store's,
// no other store, and nothing above it.
func storeRoom(path string, packages map[string]listed) room {
	r := room{not: []string{
		adapter, auth, yaml,
		"github.com/ncruces/go-sqlite3/driver", // registers the name of mattn/go-sqlite3
	}}
	for other := range packages {
		if isStore(other) && other != path {
			r.not = append(r.not, other)
		}
	}
	for client, user := range requirements {
		if user == strings.TrimPrefix(path, module+"/") {
			r.needs = append(r.needs, client)
		} else if strings.HasPrefix(user, "backends/") {
			r.not = append(r.not, client)
		}
	}
	return r
}

// clients returns the modules that stores alone need.
func clients() (all []string) {
	for client, user := range requirements {
		if strings.HasPrefix(user, "backends/") {
			all = append(all, client)
		}
	}
	return all
}

// requirements maps the modules that go.mod may name without "// indirect" to the
// package that needs them. Importers depend on all of them, so adding one is a
// deliberate decision, made here.
var requirements = map[string]string{
	scs:                   "adapter",
	"go.yaml.in/yaml/v4":  "adapter/config",
	"golang.org/x/crypto": "auth",

	"github.com/alexedwards/scs/redisstore":    "tests of backends/redis",
	"github.com/gomodule/redigo":               "backends/redis",
	"github.com/alexedwards/scs/postgresstore": "tests of backends/postgres",
	"github.com/lib/pq":                        "backends/postgres",
	"github.com/ncruces/go-sqlite3":            "backends/sqlite",
}

func TestRooms(t *testing.T) {
	packages := load(t)
	for _, path := range slices.Sorted(maps.Keys(packages)) {
		if p := packages[path]; p.Standard || p.DepOnly {
			continue
		}
		t.Run(strings.TrimPrefix(path, module+"/"), func(t *testing.T) {
			name, ok := roomOf(path)
			if !ok {
				t.Fatalf("%s is in no room: add it to rooms, with its rule", path)
			}
			r := rooms[name]
			if isStore(path) {
				name, r = path, storeRoom(path, packages)
			}
			linked := linkedBy(packages, path)
			for _, dep := range linked {
				if within(dep, name) && !slices.Contains(r.not, dep) {
					continue
				}
				if r.only != nil && !slices.ContainsFunc(r.only, func(e string) bool { return within(dep, e) }) {
					t.Errorf("links %s, which is none of %q", dep, r.only)
				}
				if slices.ContainsFunc(r.not, func(e string) bool { return within(dep, e) }) {
					t.Errorf("links %s", dep)
				}
			}
			if path != name {
				return // a package below the room's own
			}
			for _, e := range r.needs {
				if !slices.ContainsFunc(linked, func(dep string) bool { return within(dep, e) }) {
					t.Errorf("does not link %s: is the rule still about the right package?", e)
				}
			}
		})
	}
}

// A folder with Go files that go list does not name would escape TestRooms.
func TestRoomsAreListed(t *testing.T) {
	packages := load(t)
	for path := range rooms {
		dir := filepath.Join(root(t), strings.TrimPrefix(path, module))
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		if p, ok := packages[path]; len(files) > 0 && (!ok || p.DepOnly) {
			t.Errorf("%s has Go files, and go list does not name it", path)
		}
	}
	if _, ok := packages[adapter]; !ok {
		t.Errorf("go list does not name %s", adapter)
	}
}

// Programs must not import the servers for tests, nor what tests do with them.
func TestServersStayInTests(t *testing.T) {
	users := 0
	eachImport(t, func(file, imported string) {
		if !slices.Contains([]string{testserver, eachstore, rig}, imported) {
			return
		}
		users++
		folder := path.Base(path.Dir(file)) // the benchmarks start servers too
		if !strings.HasSuffix(file, "_test.go") && folder != "bench" && folder != "eachstore" {
			t.Errorf("%s imports %s", file, imported)
		}
	})
	if _, ok := load(t)[redis]; ok && users == 0 {
		t.Errorf("nobody imports %s: is this its name?", testserver)
	}
}

// What people copy, and what is a module of its own, must do for them: it uses the public API
// alone.
func TestExamplesUseThePublicAPI(t *testing.T) {
	users := 0
	eachImport(t, func(file, imported string) {
		top, _, _ := strings.Cut(file, "/")
		if !slices.Contains([]string{"cmd", "examples", "metrics", "frameworks"}, top) && path.Dir(file) != "tests/recipes" || strings.HasSuffix(file, "_test.go") || !within(imported, module) {
			return
		}
		users++
		if within(imported, module+"/internal") {
			t.Errorf("%s imports %s", file, imported)
		}
	})
	if users == 0 {
		t.Error("no example imports the project: are they still in this folder?")
	}
}

// eachImport calls fn for the imports of the Go files of all modules, whatever their build
// tags. A file's name is relative to the root, with slashes.
func eachImport(t *testing.T, fn func(file, imported string)) {
	t.Helper()
	eachFile(t, func(name string) {
		if path.Ext(name) != ".go" {
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root(t), name), nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range file.Imports {
			if imported, err := strconv.Unquote(spec.Path.Value); err == nil {
				fn(name, imported)
			}
		}
	})
}

func TestRequirements(t *testing.T) {
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
	}
	if err := json.Unmarshal(run(t, "go", "mod", "edit", "-json"), &mod); err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, r := range mod.Require {
		named[r.Path] = true
		if _, ok := requirements[r.Path]; !ok && !r.Indirect {
			t.Errorf("go.mod requires %s: is it worth it to every importer? Then add it to requirements", r.Path)
		}
	}
	for path, user := range requirements {
		if !named[path] {
			t.Errorf("go.mod does not require %s (for %s): take it off requirements", path, user)
		}
	}
}

// listed is the output of go list for a package.
type listed struct {
	ImportPath string
	Standard   bool
	DepOnly    bool // not of the root module
	Imports    []string
}

// load lists the packages of the root module and all their dependencies.
func load(t *testing.T) map[string]listed {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(run(t, "go", "list", "-deps", "-json=ImportPath,Standard,DepOnly,Imports", "./...")))
	packages := map[string]listed{}
	for {
		var p listed
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatal(err)
		}
		packages[p.ImportPath] = p
	}
}

// linkedBy returns what path links, without itself and the standard library.
func linkedBy(packages map[string]listed, path string) []string {
	linked := map[string]bool{}
	var visit func(string)
	visit = func(path string) {
		for _, dep := range packages[path].Imports {
			if !packages[dep].Standard && !linked[dep] {
				linked[dep] = true
				visit(dep)
			}
		}
	}
	visit(path)
	return slices.Sorted(maps.Keys(linked))
}

// roomOf returns the innermost room that contains path.
func roomOf(path string) (string, bool) {
	name := ""
	for r := range rooms {
		if within(path, r) && len(r) > len(name) {
			name = r
		}
	}
	return name, name != ""
}

// within reports whether path is entry or below it.
func within(path, entry string) bool {
	if entry == yaml {
		return strings.Contains(path, "yaml")
	}
	return path == entry || strings.HasPrefix(path, entry+"/")
}

func run(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = root(t)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, &stderr)
	}
	return out
}

// root returns the folder of the root module.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Fatal(err)
	}
	return dir
}
