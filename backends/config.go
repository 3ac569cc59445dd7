package backends

import (
	"cmp"
	"fmt"
	"log/slog"
	"reflect"
	"strings"

	"github.com/samesid/samesid/backends/driver"
	"github.com/samesid/samesid/internal/refusal"
)

// Config describes a store. The zero value is a memory store.
type Config struct {
	// Type is the kind of the store: "memory", "redis", "postgres", or the Type of a
	// backend that is handed to Open. Zero value: the scheme of URL decides, and
	// without a URL it is "memory".
	Type string

	// URL is the address of the server, with user and password: what the Open of
	// the store's package takes. Memory: "memory://", or empty.
	URL string

	// Options are those of the store's package, such as redis.Options, by value.
	// Zero value: the defaults.
	Options any

	// Logger is for a store whose Options have no Logger of their own. Zero value:
	// slog.Default().
	Logger *slog.Logger
}

// Format implements fmt.Formatter. It hides the URL, as it may contain a password.
func (c Config) Format(f fmt.State, verb rune) {
	type plain Config // has no Format method
	if c.URL != "" {
		c.URL = "hidden"
	}
	fmt.Fprintf(f, fmt.FormatString(f, verb), plain(c))
}

// Backend returns the backend that Type and URL name, from among All(more...).
func (c Config) Backend(more ...driver.Backend) (driver.Backend, error) {
	r := refusal.List{Package: "backends", Struct: "Config"}
	all := All(more...)
	var ofType, ofURL *driver.Backend
	for i, b := range all {
		if b.Type == c.Type {
			ofType = &all[i]
		}
		if b.Accepts(c.URL) {
			ofURL = &all[i]
		}
	}
	switch {
	case c.Type != "" && ofType == nil:
		r.Add("Type", "%s", cmp.Or(Elsewhere(c.Type), fmt.Sprintf("%q is not a store; use %s", c.Type, refusal.Either(types(all)))))
	case ofType != nil && ofURL != nil && ofType != ofURL:
		r.Add("Type URL", "the first says %s, the second %s; change one of the two", c.Type, ofURL.Type)
	case c.Type == "" && c.URL != "" && ofURL == nil:
		r.Add("URL", "%s", cmp.Or(Elsewhere(c.URL), fmt.Sprintf("does not begin with %s, so it names no store; mend it, or give Config.Type",
			refusal.Either(Schemes(more...)))))
	case ofType != nil:
		return *ofType, nil
	case ofURL != nil:
		return *ofURL, nil
	default:
		return all[0], nil
	}
	return driver.Backend{}, r.Err()
}

// Elsewhere returns what to import if a type or a URL is of a backend of this module that
// programs hand to Open themselves. For others it returns "".
func Elsewhere(name string) string {
	for _, e := range elsewhere {
		if name == e.typ || strings.HasPrefix(name, e.scheme) {
			return fmt.Sprintf("a %s store is linked only by a program that asks for it; import %q and give %s.Backend to Open", e.typ, e.path, e.typ)
		}
	}
	return ""
}

func types(all []driver.Backend) (names []string) {
	for _, b := range all {
		names = append(names, b.Type)
	}
	return names
}

// Schemes returns the schemes of All(more...) that texts name. Those of memory, the
// default, come last.
func Schemes(more ...driver.Backend) (names []string) {
	all := All(more...)
	for _, b := range append(all[1:], all[0]) {
		names = append(names, b.Schemes...)
	}
	return names
}

// options returns Options, or the zero value of the backend's.
func (c Config) options(b driver.Backend) any {
	if c.Options == nil {
		return b.Options
	}
	return c.Options
}

// JSONRecords reports whether Express also reads the records of a valid Config's layout.
// The open store has a method of the same name with the same result.
func (c Config) JSONRecords(more ...driver.Backend) bool {
	b, err := c.Backend(more...)
	return err == nil && b.Layout(c.options(b)).Express
}

// Validate returns an error that names every field that Open would reject, and the fix.
// It neither connects to a server nor reads a file. The rules for the options are those
// of the store's package.
//
// The error contains no part of the URL.
func (c Config) Validate(more ...driver.Backend) error {
	b, err := c.Backend(more...)
	if err != nil {
		return err
	}
	if have, want := reflect.TypeOf(c.Options), reflect.TypeOf(b.Options); have != nil && have != want {
		r := refusal.List{Package: "backends", Struct: "Config"}
		switch {
		case have == reflect.PointerTo(want):
			r.Add("Options", "is a pointer; give the %s themselves", want)
		case c.Type == "" && c.URL == "":
			r.Add("Options", "the store is %s, as neither Config.Type nor Config.URL says otherwise, and has no use for %s; "+
				"drop them, or say which store they are for", b.Type, have)
		case c.Type == "":
			r.Add("Options URL", "a %s store has no use for %s; give %s", b.Type, have, want)
		default:
			r.Add("Options Type", "a %s store has no use for %s; give %s", b.Type, have, want)
		}
		return r.Err()
	}
	return b.Validate(c.URL, c.options(b))
}
