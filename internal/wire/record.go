package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Cookie is the "cookie" object inside Express's session record.
type Cookie struct {
	// OriginalMaxAge is how long the session lives after its last use; it may
	// be negative. Nil is null: as long as the browser runs. In the record it
	// is in milliseconds; what a Duration cannot hold becomes the longest that
	// it can, some 292 years, and what is finer than a nanosecond is cut off.
	OriginalMaxAge *time.Duration

	// Expires is kept in whole milliseconds. The zero time is null. It goes
	// stale, because Express's stores touch a record without rewriting it: the
	// expiry that the store itself holds is the truth.
	Expires time.Time

	HTTPOnly    bool
	Secure      bool
	Partitioned bool

	Domain   string // "" is none
	Path     string // "" is none, written as null
	Priority string // in lower case; "" is none
	SameSite string // in lower case; "" is none
}

// Record is one stored session in Express's JSON.
type Record struct {
	Cookie Cookie

	// Values are the session's data: objects as map[string]any, arrays as
	// []any, whole numbers that an int holds as int, however they are written,
	// others as float64, and as json.Number what a float64 does not hold either.
	// What AppendRecord makes of them is read as the same values again. Never nil. As in any JSON, the last of two equal keys
	// counts; half a surrogate pair and a byte that is not UTF-8 become U+FFFD.
	// Its strings share one copy of the record: clone one to keep it for long.
	//
	// Keys that are names of JavaScript's Object or of Express's Session
	// ("__proto__", "constructor", "id", "save", …) are data like any other
	// here. Express ignores them when it loads a record.
	Values map[string]any

	// Raw has the bytes of each of Values as they are stored, so that what was
	// not changed can be written back byte for byte: a json.RawMessage each, as
	// AppendRecord takes it, and part of the slice given to DecodeRecord.
	Raw map[string]any
}

// DecodeRecord reads a record. It returns an error for anything but a JSON
// object with an object under "cookie", wherever that is, and for a cookie that
// Express could not use. No error has any of the session's data in it.
//
// What "cookie" leaves out is as in Express's Cookie: the path is "/", httpOnly
// is true and the rest is none. An expires that is no date is null. Dates are
// ISO 8601 as JavaScript writes them, years of six digits included.
//
// b must not be changed as long as Raw is in use.
func DecodeRecord(b []byte) (Record, error) {
	return readRecord(b, map[string]any{})
}

// DecodeValues is DecodeRecord without Raw, for one who only reads.
func DecodeValues(b []byte) (Record, error) { return readRecord(b, nil) }

func readRecord(b []byte, raws map[string]any) (Record, error) {
	rec := Record{Values: map[string]any{}, Raw: raws}
	found := false
	var err error
	r := reader{s: string(b)}
	r.object(func(key string) {
		first := r.next()
		start := r.i
		switch {
		case key != "cookie":
			rec.Values[key] = r.value()
			if raws != nil {
				raws[key] = json.RawMessage(b[start:r.i:r.i])
			}
		case first != '{':
			found = false
			r.token()
		default:
			found = true
			rec.Cookie, err = r.cookie()
		}
	})
	switch r.next(); {
	case r.bad || r.i < len(b):
		return Record{}, errors.New("session record: not a JSON object")
	case !found:
		return Record{}, errors.New(`session record: no object under "cookie": Express fails on such a record too`)
	case err != nil:
		return Record{}, fmt.Errorf("session record: cookie.%w", err)
	}
	return rec, nil
}

func (r *reader) cookie() (c Cookie, err error) {
	c = Cookie{HTTPOnly: true, Path: "/"}
	r.object(func(key string) {
		raw, text := r.token()
		if r.bad || err != nil {
			return
		}
		switch key {
		case "originalMaxAge":
			c.OriginalMaxAge, err = maxAge(raw)
		case "expires":
			c.Expires = date(text)
		case "httpOnly":
			c.HTTPOnly = truthy(raw)
		case "secure":
			c.Secure = truthy(raw)
		case "partitioned":
			c.Partitioned = truthy(raw)
		case "domain":
			c.Domain = text
			if err = checkText(raw); err == nil {
				err = CheckDomain(text)
			}
		case "path":
			c.Path = text
			if err = checkText(raw); err == nil {
				err = CheckPath(text)
			}
		case "priority":
			c.Priority = strings.ToLower(text)
			err = checkText(raw)
		case "sameSite":
			c.SameSite = strings.ToLower(text)
			if raw == "true" {
				c.SameSite = "strict"
			} else {
				err = checkText(raw)
			}
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", key, err)
		}
	})
	return c, err
}

// truthy is what JavaScript makes of a value in a condition, which is how npm
// cookie takes these: express-session stores "auto" when its cookie option is a
// function, for one.
func truthy(raw string) bool {
	switch raw {
	case "null", "false", "0", `""`:
		return false
	}
	return true
}

// checkText refuses a value that is neither a string nor one of JavaScript's
// ways to say that there is none.
func checkText(raw string) error {
	if raw[0] != '"' && truthy(raw) {
		return errors.New("not a text")
	}
	return nil
}

func maxAge(raw string) (*time.Duration, error) {
	if raw != "0" && !truthy(raw) {
		return nil, nil
	}
	if c := raw[0]; c != '-' && (c < '0' || c > '9') {
		return nil, errors.New("not a number of milliseconds")
	}
	if ms, err := strconv.ParseInt(raw, 10, 64); err == nil && ms == int64(time.Duration(ms)*time.Millisecond/time.Millisecond) {
		d := time.Duration(ms) * time.Millisecond
		return &d, nil
	}
	// ParseDuration is exact, but knows neither exponents nor an end.
	d, err := time.ParseDuration(raw + "ms")
	if err != nil {
		ms, _ := strconv.ParseFloat(raw, 64) // infinite beyond a float64
		switch ns := ms * 1e6; {
		case ns >= math.MaxInt64:
			d = math.MaxInt64
		case ns <= math.MinInt64:
			d = math.MinInt64
		default:
			d = time.Duration(ns)
		}
	}
	return &d, nil
}

func appendMaxAge(dst []byte, d time.Duration) []byte {
	ns := uint64(d)
	if d < 0 {
		dst = append(dst, '-')
		ns = -ns
	}
	dst = strconv.AppendUint(dst, ns/1e6, 10)
	if frac := ns % 1e6; frac != 0 {
		dst = fmt.Appendf(dst, ".%06d", frac)
		for dst[len(dst)-1] == '0' {
			dst = dst[:len(dst)-1]
		}
	}
	return dst
}

// date reads a date. It returns the zero time for what is none.
func date(iso string) time.Time {
	years := 0
	if len(iso) > 7 && (iso[0] == '+' || iso[0] == '-') && iso[7] == '-' {
		// The calendar repeats every 400 years: read the same date in a year
		// that the time package reads, and move it.
		year, err := strconv.Atoi(iso[:7])
		if err != nil {
			return time.Time{}
		}
		near := 2000 + year%400
		years = year - near
		iso = strconv.Itoa(near) + iso[7:]
	}
	t, err := time.Parse(time.RFC3339, iso)
	if err != nil {
		return time.Time{}
	}
	if years != 0 {
		t = t.AddDate(years, 0, 0)
	}
	return t.UTC().Truncate(time.Millisecond)
}

func appendDate(dst []byte, t time.Time) []byte {
	t = t.UTC()
	if year := t.Year(); year < 0 || year > 9999 {
		dst = fmt.Appendf(dst, "%+07d", year)
		return t.AppendFormat(dst, "-01-02T15:04:05.000Z")
	}
	return t.AppendFormat(dst, "2006-01-02T15:04:05.000Z")
}

// AppendRecord appends a record to dst, as express-session would write it but
// for the order of the data: the cookie comes first, its keys in Express's
// order, then the values sorted by key. A value is written as encoding/json
// does, without escaping for HTML; a json.RawMessage keeps its bytes, less the
// white space between them.
//
// It returns an error, which names the key and never the value, when a value
// cannot be JSON and when a key is "cookie".
func AppendRecord(dst []byte, c Cookie, values map[string]any) ([]byte, error) {
	w := writer{b: dst}
	w.enc = json.NewEncoder(&w)
	w.enc.SetEscapeHTML(false)
	w.cookie(c)
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if key == "cookie" {
			return nil, errors.New(`session record: the key "cookie" is taken by the cookie's own attributes: choose another`)
		}
		w.raw(",")
		w.text(key)
		w.raw(":")
		if err := w.value(values[key]); err != nil {
			// The cause is left out, as it may quote the value.
			return nil, fmt.Errorf("session record: key %q: JSON cannot hold this %T", key, values[key])
		}
	}
	w.raw("}")
	return w.b, nil
}

func (w *writer) cookie(c Cookie) {
	w.raw(`{"cookie":{"originalMaxAge":`)
	if c.OriginalMaxAge != nil {
		w.b = appendMaxAge(w.b, *c.OriginalMaxAge)
	} else {
		w.raw("null")
	}
	if c.Partitioned {
		w.raw(`,"partitioned":true`)
	}
	w.optional(`,"priority":`, c.Priority)
	if c.Expires.IsZero() {
		w.raw(`,"expires":null`)
	} else {
		w.raw(`,"expires":"`)
		w.b = appendDate(w.b, c.Expires)
		w.raw(`"`)
	}
	w.raw(`,"secure":`)
	w.b = strconv.AppendBool(w.b, c.Secure)
	w.raw(`,"httpOnly":`)
	w.b = strconv.AppendBool(w.b, c.HTTPOnly)
	w.optional(`,"domain":`, c.Domain)
	if c.Path == "" {
		w.raw(`,"path":null`) // left out, it would be read as "/"
	}
	w.optional(`,"path":`, c.Path)
	w.optional(`,"sameSite":`, strings.ToLower(c.SameSite))
	w.raw("}")
}

// writer appends JSON to b.
type writer struct {
	b   []byte
	enc *json.Encoder // writes to this writer
}

func (w *writer) Write(p []byte) (int, error) {
	w.b = append(w.b, p...)
	return len(p), nil
}

func (w *writer) raw(s string) { w.b = append(w.b, s...) }

func (w *writer) optional(key, s string) {
	if s != "" {
		w.raw(key)
		w.text(s)
	}
}

// text appends a string, which cannot fail.
func (w *writer) text(s string) {
	for _, c := range []byte(s) {
		if c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			_ = w.value(s)
			return
		}
	}
	w.b = append(append(append(w.b, '"'), s...), '"')
}

func (w *writer) value(v any) error {
	if err := w.enc.Encode(v); err != nil {
		return err
	}
	w.b = w.b[:len(w.b)-1] // the encoder ends each value with a line feed
	return nil
}
