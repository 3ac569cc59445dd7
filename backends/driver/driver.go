// Package driver is what a store says of itself, so that packages backends and
// adapter/config can open it without naming its options: it is to them what
// database/sql/driver is to database/sql. Programs use package backends, or a store's own
// package.
//
// A store's package exports one variable:
//
//	var Backend = driver.New(driver.Backend{
//		Type: "redis", Title: "Redis",
//		…
//	}, validate, func(ctx context.Context, url string, o Options, logger *slog.Logger) (*Store, error) {
//		…
//	})
//
// where validate and the other function take the package's own Options, a struct. The struct is the
// only description of the store's options: a tag of a field names its key in a
// configuration file, as Option says, and the first paragraph of its comment is the text
// in docs/configuration.md and in the JSON Schema.
package driver

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/alexedwards/scs/v2"
)

// Store has the methods that all stores have in common. Each store also implements the
// interfaces of package contract that package adapter looks for. A Store is safe for
// concurrent use.
type Store interface {
	scs.CtxStore

	// Len counts the live sessions. Express: store.length.
	Len(ctx context.Context) (int, error)

	// Range calls fn for each live session, in no particular order. It reads the
	// sessions in pages, and stops at fn's first error, which it returns. Express:
	// store.all.
	Range(ctx context.Context, fn func(token string, data []byte) error) error

	// Clear deletes the sessions of this store, and nothing else. Express:
	// store.clear.
	Clear(ctx context.Context) error

	// Ping returns an error if the store can't serve calls now, because its server
	// does not answer or Close has been called. It suits a readiness probe.
	Ping(ctx context.Context) error

	// Close stops the store's background work and closes its connections.
	Close() error
}

// Backend describes a kind of store. Make one with New.
type Backend struct {
	// Type is the name in a configuration, "redis", and that of the package, with
	// which the errors of Validate begin.
	Type string

	// Title is the name in texts: "Redis".
	Title string

	// Schemes are the beginnings of its URLs, such as "redis://": those that texts
	// name. MoreSchemes are accepted too.
	Schemes, MoreSchemes []string

	// URLDoc is a sentence about what else its URL may be. Zero value: nothing else.
	URLDoc string

	// Layouts are the formats of its records; the first one is the default. A store
	// that has them has an option with the key "layout". Zero value: it has one
	// format, of its own.
	Layouts []Layout

	// Transient reports that the sessions end with the process.
	Transient bool

	// Unavailable maps the keys of Express's stores that a file can't set to the
	// reason, the rest of a sentence: "is a function; set Options.Logger in code".
	Unavailable map[string]string

	// Options is the zero value of the store's Options. New sets it.
	Options any

	// Validate returns an error that names every option that Open would reject, and
	// the fix, without connecting to a server or reading a file. options has the type
	// of Options. The error contains no part of the URL. Those of this module's stores
	// name the fields, so that a loader can show their place in a file; another error
	// counts as one about the URL. New sets it.
	Validate func(url string, options any) error

	// Open opens a store. ctx limits only the start. logger, if not nil, is for
	// options without a Logger of their own. New sets it.
	Open func(ctx context.Context, url string, options any, logger *slog.Logger) (Store, error)
}

// Layout describes a format of records.
type Layout struct {
	// Name is its name in a configuration: that of the package whose format it is.
	Name string

	// Express reports whether Express reads the records too.
	Express bool

	// TTLUnit is the unit of the option ttl in Express's store. Zero value: it has
	// no such option.
	TTLUnit time.Duration

	// Step is what an expiry is rounded up to a multiple of. Zero value: it is not
	// rounded.
	Step time.Duration

	// MaxID is the length in characters of the longest id that can be stored. Zero
	// value: any id of up to 128 can.
	MaxID int

	// Doc says what the format is, in a few words: "keys sess:<id>".
	Doc string
}

// Names returns the names of layouts.
func Names(layouts []Layout) (names []string) {
	for _, l := range layouts {
		names = append(names, l.Name)
	}
	return names
}

// New completes the description of a backend with functions that take its Options, O.
func New[O any, S Store](b Backend, validate func(url string, o O) error, open func(ctx context.Context, url string, o O, logger *slog.Logger) (S, error)) Backend {
	var zero O
	b.Options = zero
	b.Validate = func(url string, options any) error { return validate(url, options.(O)) }
	b.Open = func(ctx context.Context, url string, options any, logger *slog.Logger) (Store, error) {
		s, err := open(ctx, url, options.(O), logger)
		if err != nil {
			return nil, err // not a Store that holds a nil pointer
		}
		return s, nil
	}
	return b
}

// Accepts reports whether a URL begins with one of the backend's schemes.
func (b Backend) Accepts(url string) bool {
	begins := func(scheme string) bool { return strings.HasPrefix(url, scheme) }
	return slices.ContainsFunc(b.Schemes, begins) || slices.ContainsFunc(b.MoreSchemes, begins)
}

// Layout returns the layout that options select. It is the zero Layout if the backend has
// none of that name.
func (b Backend) Layout(options any) Layout {
	for _, o := range b.Settings() {
		if o.Key != layoutKey {
			continue
		}
		name := reflect.ValueOf(options).FieldByIndex(o.Index).String()
		for i, l := range b.Layouts {
			if l.Name == name || name == "" && i == 0 {
				return l
			}
		}
	}
	return Layout{}
}

const layoutKey = "layout"

// Setting is a field of a backend's Options that a configuration file can set. Its tag
// has the key and, separated by spaces, what its type does not say:
//
//	MaxConns        int           `key:"maxConnections"`
//	SSLMode         string        `key:"sslMode oneof=disable|require|verify-full"`
//	CAFile          string        `key:"caFile path"`
//	Password        string        `key:"password secret"`
//	Addresses       []string      `key:"addresses"`
//	CleanupInterval time.Duration `key:"cleanupInterval also=clearInterval unit=ms never=0|false"`
//
// The type is string, bool, int, time.Duration or []string, or has one of them as its
// underlying type. A struct without a tag contains further settings.
type Setting struct {
	Field string // its name, with those of its structs: "TLS.CAFile"
	Index []int  // for reflect.Value.FieldByIndex
	Type  reflect.Type

	Spelling

	// Or is an alternative key that the tag "or" describes: the same option in the
	// words of another Express store. Its key is "" if there is none.
	Or Spelling

	OneOf  []string // the allowed values; of the key "layout", the names of the layouts
	Path   bool     // the value is the path of a file, relative to the configuration file
	Secret bool     // error messages must not show the value
}

// Spelling is a key, with what its values may be.
type Spelling struct {
	Key   string
	Also  []string      // other names of it
	Unit  time.Duration // of a bare number; 0 if a duration needs a unit
	Never []any         // which of 0 and false turn a duration off, as a negative value does
	Of    string        // the Express store whose name it is; "" for the main key
}

// Settings returns the settings in the order of the struct. It panics if a tag is
// malformed.
func (b Backend) Settings() []Setting {
	var all []Setting
	var walk func(t reflect.Type, name string, index []int)
	walk = func(t reflect.Type, name string, index []int) {
		for i := range t.NumField() {
			f := t.Field(i)
			s := Setting{Field: name + f.Name, Index: append(slices.Clone(index), i), Type: f.Type}
			tag, ok := f.Tag.Lookup("key")
			switch {
			case ok:
				s.parse(&s.Spelling, tag)
				if or, ok := f.Tag.Lookup("or"); ok {
					s.parse(&s.Or, or)
				}
				if s.Key == layoutKey {
					s.OneOf = Names(b.Layouts)
				}
				all = append(all, s)
			case f.Type.Kind() == reflect.Struct:
				walk(f.Type, s.Field+".", s.Index)
			}
		}
	}
	walk(reflect.TypeOf(b.Options), "", nil)
	return all
}

func (s *Setting) parse(to *Spelling, tag string) {
	words := strings.Fields(tag)
	bad := func(why string) { panic(fmt.Sprintf("driver: the tag of %s: %s: %q", s.Field, why, tag)) }
	if len(words) == 0 {
		bad("it has no key")
	}
	to.Key = words[0]
	for _, word := range words[1:] {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "also":
			to.Also = strings.Split(value, "|")
		case "of":
			to.Of = value
		case "oneof":
			s.OneOf = strings.Split(value, "|")
		case "path":
			s.Path = true
		case "secret":
			s.Secret = true
		case "unit":
			switch value {
			case "ms":
				to.Unit = time.Millisecond
			case "s":
				to.Unit = time.Second
			default:
				bad("a unit is ms or s")
			}
		case "never":
			for _, off := range strings.Split(value, "|") {
				switch off {
				case "0":
					to.Never = append(to.Never, 0)
				case "false":
					to.Never = append(to.Never, false)
				default:
					bad("never is 0, false or both")
				}
			}
		default:
			bad("unknown word " + name)
		}
	}
}
