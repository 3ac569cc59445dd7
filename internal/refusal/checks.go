package refusal

import (
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Numbers rejects each number of a struct of options that is below zero, except those of
// the fields to which a negative value means something, and each duration that is too
// short to be meant.
func (l *List) Numbers(options any, except ...string) {
	each(reflect.ValueOf(options), "", func(name string, _ reflect.StructField, v reflect.Value) {
		if !v.CanInt() {
			return
		}
		if v.Int() < 0 {
			if !slices.Contains(except, name) {
				l.Add(name, "is negative; 0 is the default")
			}
		} else if v.Type() == reflect.TypeFor[time.Duration]() {
			l.Age(name, time.Duration(v.Int()), time.Millisecond)
		}
	})
}

// Age rejects a duration that is negative, or shorter than the least that can be meant.
func (l *List) Age(field string, age, least time.Duration) {
	switch {
	case age < 0:
		l.Add(field, "is negative (%v); 0 is the default", age)
	case age > 0 && age < least:
		l.Add(field, "%s", WithoutUnit(age))
	}
}

// WithoutUnit says what may have been meant by an age that is too short to be one.
func WithoutUnit(age time.Duration) string {
	n := int64(age)
	return fmt.Sprintf("%v is too short: a number without a unit is in nanoseconds; did you mean %s (if it is in seconds) or %s (in milliseconds, as in Express)?",
		age, inGo(time.Duration(n)*time.Second), inGo(time.Duration(n)*time.Millisecond))
}

// inGo returns an age as one writes it in Go.
func inGo(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d <= 0:
		return d.String()
	case d%day == 0:
		return fmt.Sprintf("%d*24*time.Hour", d/day)
	case d%time.Hour == 0:
		return fmt.Sprintf("%d*time.Hour", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%d*time.Minute", d/time.Minute)
	case d%time.Second == 0:
		return fmt.Sprintf("%d*time.Second", d/time.Second)
	}
	return fmt.Sprintf("%d*time.Millisecond", d/time.Millisecond)
}

// OnlyOpen rejects the fields that are set and have the tag for:"Open": they are about
// connections, and New has been given those.
func (l *List) OnlyOpen(options any, fix string) {
	each(reflect.ValueOf(options), "", func(name string, f reflect.StructField, v reflect.Value) {
		if f.Tag.Get("for") == "Open" && !v.IsZero() {
			l.Add(name, "is for Open; %s", fix)
		}
	})
}

// each calls fn with the fields of a struct, and of the structs in it that have no tag.
func each(v reflect.Value, prefix string, fn func(name string, f reflect.StructField, v reflect.Value)) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Type.Kind() == reflect.Struct && f.Tag == "" {
			each(v.Field(i), prefix+f.Name+".", fn)
			continue
		}
		fn(prefix+f.Name, f, v.Field(i))
	}
}

// Pool rejects more idle connections than there may be connections, of which byDefault
// is the number that most being 0 stands for.
func (l *List) Pool(idle, most, byDefault int) {
	switch {
	case most == 0 && idle > byDefault:
		l.Add("MaxIdleConns MaxConns", "no more connections can stay open (%d) than there may be (by default %d); "+
			"lower the first or give the second", idle, byDefault)
	case most > 0 && idle > most:
		l.Add("MaxIdleConns MaxConns", "no more connections can stay open (%d) than there may be (%d); "+
			"lower the first or raise the second", idle, most)
	}
}

// Pair rejects half of a client certificate: a certificate without its private key, or
// the other way around.
func (l *List) Pair(certFile, keyFile string) {
	if (certFile == "") != (keyFile == "") {
		l.Add("TLS.CertFile TLS.KeyFile", "go together; give both or neither")
	}
}

// OneOf rejects a value that is not one of those listed.
func (l *List) OneOf(field, value string, of []string) {
	if !slices.Contains(of, value) {
		l.Add(field, "%q is unknown; use %s", value, Either(of))
	}
}

// Either joins alternatives: "a, b or c".
func Either(of []string) string {
	last := len(of) - 1
	if last < 1 {
		return strings.Join(of, "")
	}
	return strings.Join(of[:last], ", ") + " or " + of[last]
}

// Unnamed returns the error of opening or reading a file without the file's name, and any
// other error as it is: someone may have given a secret in the place of the name of the file
// that holds it.
func Unnamed(err error) error {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return fmt.Errorf("the file can't be read: %w", p.Err)
	}
	return err
}
