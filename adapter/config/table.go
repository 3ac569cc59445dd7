package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/samesid/samesid/backends"
	"github.com/samesid/samesid/backends/driver"
	"github.com/samesid/samesid/internal/refusal"
)

// table has the keys that a file may have: the fixed ones, and those of the options of the
// backends that it may choose from.
type table struct {
	backends []driver.Backend
	keys     []*key          // in the order in which values are read
	byPath   map[string]*key // paths in all spellings
	byField  map[string]*key // fields of all packages, as refusals name them
	// unavailable maps the paths of Express's options that a file can't set to the
	// reason.
	unavailable map[string]string
}

// storeField is a field of the Options of a backend.
type storeField struct {
	backend driver.Backend
	driver.Setting
}

// newTable returns an error if two backends describe an option of the same name in
// different ways.
func newTable(more []driver.Backend) (*table, error) {
	t := &table{
		backends: backends.All(more...),
		byPath:   make(map[string]*key), byField: make(map[string]*key), unavailable: maps.Clone(unavailable),
	}
	fixed, options := t.fixed(), t.options()
	ttl := slices.IndexFunc(fixed, func(k *key) bool { return k.path == "store.ttl" })
	t.keys = slices.Insert(fixed, ttl, options...)
	var errs []error
	for _, k := range t.keys {
		section, name := split(k.path)
		for _, name := range append([]string{name}, k.also...) {
			if t.byPath[join(section, name)] != nil {
				errs = append(errs, fmt.Errorf("config: two options have the key %s", join(section, name)))
			}
			t.byPath[join(section, name)] = k
		}
		for _, f := range k.in {
			if first := k.in[0]; k.isMain() && !alike(f, first) {
				errs = append(errs, fmt.Errorf("config: %s describes the key %s differently from %s", f.backend.Type, k.path, first.backend.Type))
			}
		}
		t.addFields(k)
	}
	for _, b := range t.backends {
		for name, why := range b.Unavailable {
			t.unavailable[join("store", name)] = why
		}
	}
	return t, errors.Join(errs...)
}

// addFields adds the names of the key's field in refusals.
func (t *table) addFields(k *key) {
	t.byField["config."+k.path] = k
	switch {
	case strings.HasPrefix(k.field, "Config."):
		t.byField["backends."+k.field] = k
		for _, b := range t.backends {
			// A backend has Type and URL as arguments.
			t.byField[b.Type+"."+strings.ToLower(strings.TrimPrefix(k.field, "Config."))] = k
		}
	case k.field != "":
		t.byField["adapter."+k.field] = k
	case k.in != nil && k.isMain():
		for _, f := range k.in {
			t.byField[f.backend.Type+".Options."+f.Field] = k
		}
	}
}

// isMain reports whether a key of the stores' options is not an alternative to another.
func (k *key) isMain() bool { return k.in[0].Key == nameOf(k) }

func nameOf(k *key) string {
	_, name := split(k.path)
	return name
}

// alike reports whether two backends want the same values for an option. What one
// allows of several choices, another need not.
func alike(a, b storeField) bool {
	return a.Type.Kind() == b.Type.Kind() && (a.Type == durationType) == (b.Type == durationType) &&
		a.Path == b.Path && a.Unit == b.Unit && slices.Equal(a.Never, b.Never) && (a.OneOf == nil) == (b.OneOf == nil)
}

// options returns the keys of the backends' options. An option that several have is one
// key.
func (t *table) options() (keys []*key) {
	byName := make(map[string]*key)
	add := func(at int, f storeField, s, or driver.Spelling) {
		k := byName[s.Key]
		if k == nil {
			k = &key{path: join("store", s.Key)}
			byName[s.Key] = k
			keys = slices.Insert(keys, at, k)
		}
		for _, name := range s.Also {
			if !slices.Contains(k.also, name) {
				k.also = append(k.also, name)
			}
		}
		if or.Key != "" {
			k.or = join("store", or.Key)
		}
		k.in = append(k.in, f)
	}
	for _, b := range t.backends {
		for _, s := range b.Settings() {
			add(len(keys), storeField{b, s}, s.Spelling, s.Or)
		}
	}
	// An alternative key counts for all that have the main one.
	for _, k := range slices.Clone(keys) {
		i := slices.IndexFunc(k.in, func(f storeField) bool { return f.Or.Key != "" })
		if i < 0 {
			continue
		}
		or := k.in[i].Or
		for _, f := range k.in {
			f.Or = or
			add(slices.Index(keys, k)+1, f, or, f.Spelling)
		}
	}
	for _, k := range keys {
		k.kind = optionKind(k)
	}
	return keys
}

var durationType = reflect.TypeFor[time.Duration]()

// optionKind returns the kind of a store's option. It follows from the type of the field.
func optionKind(k *key) kind {
	f := k.in[0]
	spelling := f.Spelling
	if !k.isMain() {
		spelling = f.Or
	}
	put := func(c *Config, v any) {
		for _, f := range k.in {
			c.set(f, v)
		}
	}
	switch {
	case f.Type == durationType:
		d := duration{unit: spelling.Unit, off: spelling.Never}
		if len(d.off) > 0 && !slices.Contains(d.off, any(0)) {
			d.zero = fmt.Sprintf("; %v is never", d.off[0])
		}
		return scratch(d.kind, put)
	case f.Type.Kind() == reflect.Bool:
		return scratch(boolean, put)
	case f.Type.Kind() == reflect.Int:
		return scratch(count, put)
	case f.Path:
		return scratch(path, put)
	case f.Type == reflect.TypeFor[[]string]():
		return texts(func(c *Config) *[]string { return c.list(f) })
	case f.OneOf != nil:
		var words []any
		for _, f := range k.in {
			for _, w := range f.OneOf {
				if !slices.Contains(words, any(w)) {
					words = append(words, w)
				}
			}
		}
		return scratch(func(to func(*Config) *string) kind { return word(to, words...) }, put)
	case f.Type.Kind() == reflect.String:
		return scratch(text[string], put)
	}
	panic(fmt.Sprintf("config: the option %s of %s has the type %s, which a file can't set", f.Field, f.backend.Type, f.Type))
}

// scratch returns the kind that make returns for a variable of its own, whose value it
// passes to put.
func scratch[T any](make func(to func(*Config) *T) kind, put func(*Config, any)) kind {
	v := new(T)
	k := make(func(*Config) *T { return v })
	read := k.read
	k.read = func(c *Config, s scalar) error {
		err := read(c, s)
		if err == nil {
			put(c, *v)
		}
		return err
	}
	return k
}

// set sets a field of a backend's options. Until all values are read, c has the options of
// every backend.
func (c *Config) set(f storeField, v any) {
	if c.options == nil {
		c.options = make(map[string]reflect.Value)
	}
	o, ok := c.options[f.backend.Type]
	if !ok {
		o = reflect.New(reflect.TypeOf(f.backend.Options)).Elem()
		c.options[f.backend.Type] = o
	}
	o.FieldByIndex(f.Index).Set(reflect.ValueOf(v).Convert(f.Type))
}

// list returns the value of a field that has a list.
func (c *Config) list(f storeField) *[]string {
	if c.settings(f.backend) == nil {
		c.set(f, []string(nil))
	}
	return c.options[f.backend.Type].FieldByIndex(f.Index).Addr().Interface().(*[]string)
}

// settings returns the options of a backend as read so far, or nil.
func (c *Config) settings(b driver.Backend) any {
	if o, ok := c.options[b.Type]; ok {
		return o.Interface()
	}
	return nil
}

// has returns the field of a backend that the key sets.
func (k *key) has(b driver.Backend) (storeField, bool) {
	i := slices.IndexFunc(k.in, func(f storeField) bool { return f.backend.Type == b.Type })
	if i < 0 {
		return storeField{}, false
	}
	return k.in[i], true
}

// choose sets the options of the store that the file has chosen, and reports those that
// it has no use for.
func (s *source) choose(c *Config) {
	b, err := c.Store.Backend(s.table.backends...)
	if err != nil {
		return // validate reports it
	}
	c.Store.Options = c.settings(b)
	said := ""
	for _, path := range []string{"store.url", "store.type"} {
		if _, ok := s.given[s.byPath[path]]; ok {
			said = path
		}
	}
	for _, k := range s.keys {
		g, ok := s.given[k]
		if !ok || k.in == nil || s.bad[k] {
			continue
		}
		f, has := k.has(b)
		switch {
		case !has && said == "":
			s.refuse(k, "", "the store is %s, as neither store.type nor store.url says otherwise, and has no use for it; "+
				"drop it, or give the store.url of a %s server", b.Type, refusal.Either(k.backends()))
		case !has:
			s.refuse(k, said, "a %s store has no use for the first; drop it, or use %s", b.Type, refusal.Either(k.backends()))
		case f.OneOf != nil && len(g.scalars) == 1:
			if value := reflect.ValueOf(c.Store.Options).FieldByIndex(f.Index).String(); !slices.Contains(f.OneOf, value) {
				other := k.allows(value)
				s.refuse(k, said, "%s is for %s and the store is %s, where it can be %s; change one of the two",
					value, other, b.Type, refusal.Either(f.OneOf))
				s.bad[k] = true
			}
		}
	}
}

// refuse reports a problem with a key that is about the store, and so about the key that
// has said which one it is.
func (s *source) refuse(k *key, said, format string, args ...any) {
	fields := []string{k.path}
	if said != "" {
		fields = append(fields, said)
	}
	s.place(&refusal.Error{Package: "config", Fields: fields, Reason: fmt.Sprintf(format, args...)})
}

// backends returns the types that have the option.
func (k *key) backends() (types []string) {
	for _, f := range k.in {
		types = append(types, f.backend.Type)
	}
	return types
}

// allows returns the types for which a value is one of the choices.
func (k *key) allows(value string) string {
	var types []string
	for _, f := range k.in {
		if slices.Contains(f.OneOf, value) {
			types = append(types, f.backend.Type)
		}
	}
	return refusal.Either(types)
}

// types is the kind of store.type.
func (t *table) types() kind {
	var words []any
	for _, b := range t.backends {
		words = append(words, b.Type)
	}
	k := word(func(c *Config) *string { return &c.Store.Type }, words...)
	read := k.read
	k.read = func(c *Config, v scalar) error {
		err := read(c, v)
		if where := backends.Elsewhere(v.text); err != nil && where != "" {
			return errors.New(where)
		}
		return err
	}
	return k
}

// urlDoc is the text about store.url.
func (t *table) urlDoc() string {
	doc := "The server: " + refusal.Either(backends.Schemes(t.backends...)) + "."
	for _, b := range t.backends {
		if b.URLDoc != "" {
			doc += " " + b.URLDoc
		}
	}
	return doc
}

// ttlUnit returns the unit of ttl in the Express store that has the layout; 0 if none has.
func (t *table) ttlUnit(c *Config) time.Duration {
	for _, b := range t.backends {
		if o := c.settings(b); o != nil && b.Layout(o).TTLUnit > 0 {
			return b.Layout(o).TTLUnit
		}
	}
	return 0
}

// ttlUnits says what the units are.
func (t *table) ttlUnits() string {
	byUnit := make(map[time.Duration][]string)
	for _, l := range t.layouts() {
		if l.TTLUnit > 0 {
			byUnit[l.TTLUnit] = append(byUnit[l.TTLUnit], l.Name)
		}
	}
	var texts []string
	for _, unit := range slices.SortedFunc(maps.Keys(byUnit), func(a, b time.Duration) int { return cmp.Compare(b, a) }) {
		name := map[time.Duration]string{time.Second: "seconds", time.Millisecond: "milliseconds"}[unit]
		texts = append(texts, name+" with "+list(byUnit[unit]))
	}
	return strings.Join(texts, ", ")
}

// layouts returns those of all backends, each name once.
func (t *table) layouts() (all []driver.Layout) {
	for _, b := range t.backends {
		for _, l := range b.Layouts {
			if !slices.ContainsFunc(all, func(other driver.Layout) bool { return other.Name == l.Name }) {
				all = append(all, l)
			}
		}
	}
	return all
}
