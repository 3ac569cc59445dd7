//go:build unix

// Package eachstore gives tests each layout of each store, as the stores themselves list
// them, so that a new layout is tested without a further edit. It opens stores, and gives
// access to their records past them. It is for tests.
package eachstore

import (
	"encoding/json"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/samesid/samesid/backends"
	"github.com/samesid/samesid/backends/driver"
	"github.com/samesid/samesid/backends/sqlite"
	"github.com/samesid/samesid/internal/testserver"
)

// Kind is a layout of a kind of store.
type Kind struct {
	Backend driver.Backend
	Layout  driver.Layout // the zero Layout if the store has none
}

// All returns the layouts of all stores.
func All() (all []Kind) {
	for _, b := range backends.All(sqlite.Backend) {
		layouts := b.Layouts
		if len(layouts) == 0 {
			layouts = []driver.Layout{{}}
		}
		for _, l := range layouts {
			all = append(all, Kind{b, l})
		}
	}
	return all
}

func (k Kind) String() string { return strings.TrimSpace(k.Backend.Type + " " + k.Layout.Name) }

// Lasts reports whether sessions outlive the process, and several processes can share them.
func (k Kind) Lasts() bool { return !k.Backend.Transient }

// HasServer reports whether a network is between the store and its records.
func (k Kind) HasServer() bool { return k.home().start != nil }

// HasTable reports whether the records are rows.
func (k Kind) HasTable() bool { return k.home().columns != "" }

// IsOf returns a condition for Run.
func IsOf(typ string) func(Kind) bool {
	return func(k Kind) bool { return k.Backend.Type == typ }
}

// meet returns the layouts that meet all conditions.
func meet(t *testing.T, conditions []func(Kind) bool) []Kind {
	t.Helper()
	all := slices.DeleteFunc(All(), func(k Kind) bool {
		return slices.ContainsFunc(conditions, func(is func(Kind) bool) bool { return !is(k) })
	})
	if len(all) == 0 {
		t.Fatal("no store meets the conditions")
	}
	return all
}

// Run runs a test on each layout of each store that meets all conditions.
func Run(t *testing.T, test func(*testing.T, Kind), conditions ...func(Kind) bool) {
	t.Helper()
	run(t, meet(t, conditions), test)
}

// RunSome is Run for what does not depend on the layout: on one of each store, or on all
// if testserver.Full.
func RunSome(t *testing.T, test func(*testing.T, Kind), conditions ...func(Kind) bool) {
	t.Helper()
	run(t, slices.Concat(testserver.Sample(t, meet(t, conditions), Kind.typ)...), test)
}

// RunOwn is RunSome with a server, which the test may stop, for each kind of store that
// has one. The layouts of a store share it, one after the other.
func RunOwn(t *testing.T, parallel bool, test func(*testing.T, *Place), conditions ...func(Kind) bool) {
	t.Helper()
	for _, of := range testserver.Sample(t, meet(t, conditions), Kind.typ) {
		t.Run(of[0].typ(), func(t *testing.T) {
			if parallel {
				t.Parallel()
			}
			var s *testserver.Server
			if of[0].HasServer() {
				s = of[0].Start(t)
			}
			run(t, of, func(t *testing.T, k Kind) { test(t, k.On(t, s)) })
		})
	}
}

func run(t *testing.T, on []Kind, test func(*testing.T, Kind)) {
	t.Helper()
	for _, k := range on {
		t.Run(k.String(), func(t *testing.T) { test(t, k) })
	}
}

func (k Kind) typ() string { return k.Backend.Type }

// Settings are options of a store, by their keys in a configuration file, with values of
// the options' types. Each store takes those that it has.
type Settings map[string]any

// Place is where one test's sessions are: a store with a prefix, a schema or a file of
// its own.
type Place struct {
	Kind
	URL      string
	Settings Settings
	Server   *testserver.Server // of the test's own; nil for a shared one
}

// Place returns a new place, on the shared server if there is one.
func (k Kind) Place(tb testing.TB) *Place {
	tb.Helper()
	return k.On(tb, nil)
}

// On returns a new place on a server.
func (k Kind) On(tb testing.TB, s *testserver.Server) *Place {
	tb.Helper()
	p := &Place{Kind: k, Settings: Settings{"layout": k.Layout.Name, "createTable": true}, Server: s}
	k.home().settle(tb, p)
	return p
}

// Start starts a server of the test's own, which loses nothing in a crash.
func (k Kind) Start(tb testing.TB) *testserver.Server {
	tb.Helper()
	return k.home().start(tb)
}

// Host returns the host and port of the server.
func (p *Place) Host(tb testing.TB) string {
	tb.Helper()
	u, err := url.Parse(p.URL)
	if err != nil {
		tb.Fatal(err)
	}
	return u.Host
}

// Config describes the store, with more settings, the later ones of which count.
func (p *Place) Config(more ...Settings) backends.Config {
	o := reflect.New(reflect.TypeOf(p.Backend.Options)).Elem()
	p.each(more, func(s driver.Setting, value any) {
		o.FieldByIndex(s.Index).Set(reflect.ValueOf(value).Convert(s.Type))
	})
	return backends.Config{Type: p.Backend.Type, URL: p.URL, Options: o.Interface()}
}

// Open opens the store, and closes it when the test ends.
func (p *Place) Open(tb testing.TB, more ...Settings) backends.Store {
	tb.Helper()
	s, err := backends.Open(tb.Context(), p.Config(more...), sqlite.Backend)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// File writes a configuration file with this store, and returns its path. config are
// further keys, also of the section store.
func (p *Place) File(tb testing.TB, config map[string]any, more ...Settings) string {
	tb.Helper()
	store := map[string]any{"type": p.Backend.Type, "url": p.URL}
	p.each(more, func(s driver.Setting, value any) {
		if d, ok := value.(time.Duration); ok {
			value = d.String()
		}
		store[s.Key] = value
	})
	all := maps.Clone(config)
	further, _ := config["store"].(map[string]any)
	maps.Copy(store, further)
	all["store"] = store
	text, err := json.Marshal(all)
	if err != nil {
		tb.Fatal(err)
	}
	path := filepath.Join(tb.TempDir(), "session.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

// each calls set for each setting that this store has. A key that no store has panics.
func (p *Place) each(more []Settings, set func(driver.Setting, any)) {
	all := Settings{}
	for _, m := range append([]Settings{p.Settings}, more...) {
		maps.Copy(all, m)
	}
	known := map[string]bool{}
	for _, b := range backends.All(sqlite.Backend) {
		for _, s := range b.Settings() {
			known[s.Key] = true
		}
	}
	for key := range all {
		if !known[key] {
			panic("eachstore: no store has the setting " + key)
		}
	}
	for _, s := range p.Backend.Settings() {
		if value, ok := all[s.Key]; ok {
			set(s, value)
		}
	}
}
