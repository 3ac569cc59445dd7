package parity

import (
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/samesid/samesid/backends"
	"github.com/samesid/samesid/backends/sqlite"
	"github.com/samesid/samesid/internal/testserver"
)

// store is one of Express's stores that samesid has too, as express/stores.mjs describes
// it.
type store struct {
	Name, Type, Layout  string
	Table, Data, Expiry string
	FindsExpired        bool
	TouchNeedsMaxAge    bool

	// Packages is set for older releases, which TestVersions alone is about.
	Packages []string
	Fails    bool
}

// format is what samesid calls a store.
type format struct{ typ, layout string }

// readByExpress returns the formats that Express has too, as the backends
// themselves say.
func readByExpress() (formats []format) {
	for _, b := range backends.All(sqlite.Backend) {
		if b.Layouts == nil && b.Transient { // the sessions of a process of its own
			formats = append(formats, format{typ: b.Type})
		}
		for _, l := range b.Layouts {
			if l.Express {
				formats = append(formats, format{b.Type, l.Name})
			}
		}
	}
	return formats
}

// described returns what express/stores.mjs has.
var described = sync.OnceValues(func() (all []store, err error) {
	command, err := nodeProgram()
	if err != nil {
		return nil, err
	}
	out, err := exec.Command(command[0], append(command[1:], "--stores")...).Output()
	if err != nil {
		return nil, err
	}
	return all, json.Unmarshal(out, &all)
})

// older reports whether the store is one of older releases.
func (s store) older() bool { return s.Packages != nil }

// match returns the stores of each format. It returns an error for a format without a
// store, and for a store of no format.
func match(formats []format, all []store) (matched []store, err error) {
	for _, k := range formats {
		found := false
		for _, s := range all {
			if s.Type == k.typ && s.Layout == k.layout {
				matched, found = append(matched, s), true
			}
		}
		if !found {
			return nil, fmt.Errorf("Express reads the layout %q of %s, and express/stores.mjs has no store for it", k.layout, k.typ)
		}
	}
	for _, s := range all {
		if !slices.Contains(formats, format{s.Type, s.Layout}) {
			return nil, fmt.Errorf("express/stores.mjs has %s, and no store of samesid has its layout", s.Name)
		}
	}
	return matched, nil
}

// allStores returns each store that both sides have.
func allStores(tb testing.TB) []store {
	tb.Helper()
	need(tb)
	all, err := described()
	if err == nil {
		all, err = match(readByExpress(), slices.DeleteFunc(slices.Clone(all), store.older))
	}
	if err != nil {
		tb.Fatal(err)
	}
	return all
}

// storeNamed returns a store by its name.
func storeNamed(tb testing.TB, name string) store {
	tb.Helper()
	all := allStores(tb)
	i := slices.IndexFunc(all, func(s store) bool { return s.Name == name })
	if i < 0 {
		tb.Fatalf("express/stores.mjs has no %s", name)
	}
	return all[i]
}

// forEach runs a test on each store of which on returns true.
func forEach(t *testing.T, on func(store) bool, test func(t *testing.T, s store)) {
	forAll(t, those(t, on), test)
}

// forSome runs a test of what does not depend on the layout on some of the stores of which
// on returns true.
func forSome(t *testing.T, on func(store) bool, test func(t *testing.T, s store)) {
	forAll(t, some(t, those(t, on)), test)
}

// some returns one store of each type, or all if testserver.Full.
func some(tb testing.TB, all []store) []store {
	tb.Helper()
	return slices.Concat(testserver.Sample(tb, all, func(s store) string { return s.Type })...)
}

func forAll(t *testing.T, stores []store, test func(t *testing.T, s store)) {
	for _, s := range stores {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			test(t, s)
		})
	}
}

func those(tb testing.TB, on func(store) bool) []store {
	tb.Helper()
	return slices.DeleteFunc(allStores(tb), func(s store) bool { return !on(s) })
}

func anyStore(store) bool { return true }

// recorded reports whether the tests can read the store's records.
func (s store) recorded() bool { return s.Type != "memory" }

func inMemory(s store) bool { return !s.recorded() }

// endsInTime reports whether Express ends a session at its expiry, and not at the next
// clean-up.
func (s store) endsInTime() bool { return !s.FindsExpired }

// place is where one side's sessions are stored, separate from all others.
type place struct {
	store   string  // the configuration's store block
	records records // nil for a store in the server's memory
}

// places make a place of a store, by the store's type.
var places = map[string]func(testing.TB, store) place{
	"memory": func(_ testing.TB, s store) place { return place{store: s.block(nil)} },
	"redis": func(tb testing.TB, s store) place {
		prefix := testserver.Prefix(tb)
		return place{
			store:   s.block(map[string]any{"url": testserver.Redis(tb), "prefix": prefix}),
			records: newRedisRecords(tb, testserver.Redis(tb), prefix),
		}
	},
	"postgres": func(tb testing.TB, s store) place {
		_, schema := testserver.Schema(tb)
		url := testserver.Postgres(tb)
		return place{
			store:   s.block(map[string]any{"url": url, "schemaName": schema, "createTable": true}),
			records: newPostgresRecords(tb, url, schema, s),
		}
	},
	"sqlite": func(tb testing.TB, s store) place {
		path := filepath.Join(tb.TempDir(), "sessions.db")
		return place{
			store:   s.block(map[string]any{"url": path, "createTable": true}),
			records: newSQLiteRecords(tb, path, s),
		}
	},
}

func (s store) place(tb testing.TB) place {
	tb.Helper()
	make, ok := places[s.Type]
	if !ok {
		tb.Fatalf("the tests have no place for the type %s", s.Type)
	}
	return make(tb, s)
}

// block returns the configuration's store block.
func (s store) block(settings map[string]any) string {
	all := map[string]any{"type": s.Type}
	if s.Layout != "" {
		all["layout"] = s.Layout
	}
	maps.Copy(all, settings)
	return text(all)
}

// A layout that Express reads fails the tests if no package of npm's is tested with it.
func TestStores(t *testing.T) {
	t.Parallel()
	all := allStores(t)
	known := readByExpress()
	if _, err := match(append(known, format{"redis", "connect-new"}), all); err == nil {
		t.Error("a new layout is not missed")
	}
	for i := range known {
		if _, err := match(slices.Delete(slices.Clone(known), i, i+1), all); err == nil {
			t.Errorf("express/stores.mjs may have a store for %v, which samesid does not have", known[i])
		}
	}
}
