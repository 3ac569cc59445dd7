package config

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/samesid/samesid/internal/refusal"
)

// scalar is one value as the file or the environment gives it.
type scalar struct {
	text string
	// tag is YAML's: !!str, !!int, …; "" if the text is from the environment, where
	// no quotes can mark a number as text.
	tag  string
	dir  string     // the directory to which a path is relative
	node *yaml.Node // nil if not from the file
}

func (v scalar) is(tag string) bool { return v.tag == tag || v.tag == "" }

// kind is the type of a key's value, as an error describes it, as an editor's schema
// does, and as the loader reads it. The errors of read don't quote the value.
type kind struct {
	want   string
	schema map[string]any
	list   bool // a list of values is allowed too
	null   bool // null means the same as leaving the key out
	read   func(c *Config, v scalar) error
}

func (k kind) wrong() error { return errors.New("must be " + k.want) }

// text is any text except an empty one, which would silently mean the default.
func text[T ~string](to func(*Config) *T) kind {
	return textKind("text", func(c *Config, v scalar) error {
		*to(c) = T(v.text)
		return nil
	})
}

func textKind(want string, set func(*Config, scalar) error) kind {
	k := kind{want: want, schema: map[string]any{"type": "string", "minLength": 1}}
	k.read = func(c *Config, v scalar) error {
		switch {
		case !v.is("!!str"):
			return fmt.Errorf("%w, so put it in quotes", k.wrong())
		case v.text == "":
			return errors.New("is empty; leave it out, or give it a value")
		}
		return set(c, v)
	}
	return k
}

// texts are one or more texts.
func texts(to func(*Config) *[]string) kind {
	k := textKind("text", func(c *Config, v scalar) error {
		all := to(c)
		*all = append(slices.Clip(*all), v.text)
		return nil
	})
	k.want, k.list = "text or a list of texts", true
	return k
}

// path is the path of a file, made absolute or relative to the working directory.
func path(to func(*Config) *string) kind {
	return textKind("the path of a file", func(c *Config, v scalar) error {
		*to(c) = v.path()
		return nil
	})
}

func (v scalar) path() string {
	if filepath.IsAbs(v.text) {
		return v.text
	}
	return filepath.Join(v.dir, v.text)
}

// secrets are one or more secrets.
func secrets() kind {
	return texts(func(c *Config) *[]string { return &c.Options.Secrets })
}

// secretFiles are the paths of one or more files that hold a secret each.
func secretFiles() kind {
	k := textKind("the path of a file", func(c *Config, v scalar) error {
		secret, err := readSecret(v.path())
		if err != nil {
			return err
		}
		c.Options.Secrets = append(c.Options.Secrets, secret)
		c.secretFiles = append(c.secretFiles, v.path())
		return nil
	})
	k.want, k.list = "the path of a file or a list of them", true
	return k
}

func readSecret(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", refusal.Unnamed(err)
	}
	secret := strings.TrimRight(string(data), "\r\n")
	if secret == "" {
		return "", errors.New("the file is empty")
	}
	return secret, nil
}

// choice is one of several texts and booleans. set is called with the chosen one.
func choice(set func(*Config, any), of ...any) kind {
	k := kind{schema: map[string]any{"enum": of}}
	for i, word := range of {
		switch {
		case i == 0:
		case i == len(of)-1:
			k.want += " or "
		default:
			k.want += ", "
		}
		k.want += fmt.Sprint(word)
	}
	k.read = func(c *Config, v scalar) error {
		for _, word := range of {
			tag := "!!bool"
			if _, ok := word.(string); ok {
				tag = "!!str"
			}
			if v.is(tag) && v.text == fmt.Sprint(word) {
				set(c, word)
				return nil
			}
		}
		if v.tag == "!!str" && (v.text == "true" || v.text == "false") {
			return fmt.Errorf("%w, without quotes", k.wrong())
		}
		return k.wrong()
	}
	return k
}

func boolean(to func(*Config) *bool) kind {
	return choice(func(c *Config, v any) { *to(c) = v.(bool) }, true, false)
}

func word[T ~string](to func(*Config) *T, of ...any) kind {
	return choice(func(c *Config, v any) { *to(c) = T(v.(string)) }, of...)
}

// named is choice for a string type. zero is the file's name for the empty value.
func named[T ~string](to func(*Config) *T, zero string, of ...T) kind {
	words := []any{zero}
	for _, w := range of {
		if w != "" {
			words = append(words, string(w))
		}
	}
	return choice(func(c *Config, v any) {
		if v == zero {
			v = ""
		}
		*to(c) = T(v.(string))
	}, words...)
}

// orCapital adds the capitalized texts, as Express accepts Lax for lax.
func orCapital(k kind) kind {
	read, words := k.read, k.schema["enum"].([]any)
	plain := make(map[string]string)
	for _, w := range words {
		if s, ok := w.(string); ok {
			capital := strings.ToUpper(s[:1]) + s[1:]
			plain[capital] = s
			words = append(words, capital)
		}
	}
	k.schema = map[string]any{"enum": words}
	k.read = func(c *Config, v scalar) error {
		if s, ok := plain[v.text]; ok {
			v.text = s
		}
		return read(c, v)
	}
	return k
}

// decimal matches a number of JSON. It rejects YAML's 010, 0x10 and 1_000, because
// YAML parsers disagree about them.
var decimal = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

func (v scalar) number() (float64, bool) {
	if v.tag == "!!str" || !decimal.MatchString(v.text) {
		return 0, false
	}
	n, err := strconv.ParseFloat(v.text, 64)
	return n, err == nil
}

// count is a positive whole number.
func count(to func(*Config) *int) kind {
	k := kind{
		want:   "a whole number from 1 up",
		schema: map[string]any{"type": "integer", "minimum": 1, "maximum": math.MaxInt32},
	}
	k.read = func(c *Config, v scalar) error {
		n, ok := v.number()
		if !ok || n != math.Trunc(n) || n < 1 || n > math.MaxInt32 {
			return k.wrong()
		}
		*to(c) = int(n)
		return nil
	}
	return k
}

// units are the units of a duration as text.
var units = map[string]time.Duration{
	"ms": time.Millisecond,
	"s":  time.Second,
	"m":  time.Minute,
	"h":  time.Hour,
	"d":  24 * time.Hour,
	"w":  7 * 24 * time.Hour,
}

const durationPattern = `^([0-9]+(\.[0-9]+)?(ms|s|m|h|d|w))+$`

var (
	durationText = regexp.MustCompile(durationPattern)
	durationPart = regexp.MustCompile(`([0-9.]+)([a-z]+)`)
)

var errTooLong = errors.New("is longer than 292 years")

// parseDuration parses a duration such as 90m, 1h30m or 7d.
func parseDuration(text string) (time.Duration, error) {
	sum := 0.0
	for _, part := range durationPart.FindAllStringSubmatch(text, -1) {
		n, err := strconv.ParseFloat(part[1], 64)
		if err != nil {
			return 0, errTooLong
		}
		sum += n * float64(units[part[2]])
	}
	return nanoseconds(sum)
}

func nanoseconds(n float64) (time.Duration, error) {
	if n >= math.MaxInt64 {
		return 0, errTooLong
	}
	return time.Duration(math.Round(n)), nil
}

// never is the duration that turns a setting off.
const never = -1

// duration is a text, or a bare number if there is a unit for one.
type duration struct {
	unit time.Duration
	// unitBy, if not nil, returns the unit if that depends on other keys, which
	// must come before this one; 0 means none.
	unitBy func(*Config) time.Duration
	off    []any // which of 0 and false mean never
	null   bool
	zero   string        // what an error adds if 0 is not allowed
	least  time.Duration // what is shorter lacks its unit
}

func (d duration) kind(to func(*Config) *time.Duration) kind {
	var k kind
	number := map[string]any{"type": "number", "exclusiveMinimum": 0}
	if d.least > 0 && d.unit > 0 {
		number = map[string]any{"type": "number", "minimum": int(d.least / d.unit)}
	}
	var anyOf []any
	switch {
	case d.unit == time.Millisecond:
		k.want = "milliseconds as a number, or text such as 90m or 7d"
	case d.unit == time.Second:
		k.want = "seconds as a number, or text such as 90m or 7d"
	case d.unitBy != nil:
		k.want = "text such as 90m or 7d, or a number in the layout's own unit"
	default:
		k.want = "text with a unit, such as 10s, 90m or 7d"
		number = nil
	}
	if number != nil {
		anyOf = append(anyOf, number)
	}
	anyOf = append(anyOf, map[string]any{"type": "string", "pattern": durationPattern})
	for _, off := range d.off {
		anyOf = append(anyOf, map[string]any{"const": off})
	}
	switch len(d.off) {
	case 1:
		k.want += fmt.Sprintf(", or %v for never", d.off[0])
	case 2:
		k.want += fmt.Sprintf(", or %v or %v for never", d.off[0], d.off[1])
	}
	if d.null {
		k.null = true
		k.want += ", or null"
	}
	k.schema = map[string]any{"anyOf": anyOf}
	k.read = func(c *Config, v scalar) error {
		for _, off := range d.off {
			if isOff(v, off) {
				*to(c) = never
				return nil
			}
		}
		unit := d.unit
		if d.unitBy != nil {
			unit = d.unitBy(c)
		}
		var age time.Duration
		var err error
		n, isNumber := v.number()
		switch {
		case isNumber && unit > 0 && n >= 0:
			age, err = nanoseconds(n * float64(unit))
		case isNumber && d.unitBy != nil:
			return errors.New("must have a unit, such as 24h: only the connect-* layouts say what a bare number counts")
		case v.is("!!str") && durationText.MatchString(v.text):
			age, err = parseDuration(v.text)
		default:
			return k.wrong()
		}
		if err == nil && age == 0 {
			err = errors.New("must be above 0" + d.zero)
		}
		if err == nil && age < d.least {
			err = fmt.Errorf("is %v, which is too short; give it with its unit, such as 90m or 7d", age)
		}
		*to(c) = age
		return err
	}
	return k
}

func isOff(v scalar, off any) bool {
	switch off {
	case false:
		return v.is("!!bool") && v.text == "false"
	case 0:
		n, ok := v.number()
		return ok && n == 0
	}
	return false
}

// date is an instant in the future.
func date(to func(*Config) *time.Time) kind {
	k := kind{
		want:   "a date, such as 2030-01-31 (in UTC) or 2030-01-31T12:00:00Z, or null",
		schema: map[string]any{"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2}))?$"},
		null:   true,
	}
	k.read = func(c *Config, v scalar) error {
		when, err := time.Parse(time.DateOnly, v.text)
		if err != nil {
			when, err = time.Parse(time.RFC3339, v.text)
		}
		switch {
		case err != nil || !v.is("!!str"):
			return k.wrong()
		case !when.After(time.Now()):
			return errors.New("has passed, so every session would have ended before it begins")
		}
		*to(c) = when
		return nil
	}
	return k
}
