package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// Cookie is the "cookie" object inside Express's session record.
type Cookie struct {
	// OriginalMaxAge is how long the session lives after its last use; it may be
	// negative. Nil is null: as long as the browser runs. The record holds it in
	// milliseconds. It is clamped to the range of a Duration, some 292 years, and
	// truncated to nanoseconds. Records share it, so what it points to must not change.
	OriginalMaxAge *time.Duration

	// Expires is stored in whole milliseconds. The zero time is null. It can be
	// stale, because Express's stores touch a record without rewriting it. The
	// store's own expiry is authoritative.
	Expires time.Time

	HTTPOnly    bool
	Secure      bool
	Partitioned bool

	Domain   string // "" is none
	Path     string // "" is none, written as null
	Priority string // in lower case; "" is none
	SameSite string // in lower case; "" is none
}

// Raw is the JSON text of one value, exactly as in the record.
type Raw []byte

// MarshalJSON returns r, so that a Raw inside another value is encoded as JSON.
func (r Raw) MarshalJSON() ([]byte, error) { return r, nil }

// Record is one stored session in Express's JSON.
type Record struct {
	Cookie Cookie

	// Values are the session's data. Text is a string, true and false are a
	// bool, null is nil. An object or array is a Raw, which is valid JSON and is
	// decoded only on demand, by DecodeValue. Values is never nil.
	//
	// A whole number, however it is written, is an int if that can hold it, and
	// otherwise an int64 if that can. Any other number is a float64 if it is the
	// shortest decimal that parses to that float64, as are all numbers that Go and
	// JavaScript write for a float64. The rest are json.Numbers, so that no digit
	// is lost. A negative zero is a float64.
	//
	// As in encoding/json, the last of two equal keys counts; half a surrogate pair
	// and a byte that is not UTF-8 become U+FFFD. Strings may share up to a
	// kilobyte of memory: clone one to keep it for long.
	//
	// Names of JavaScript's Object or of Express's Session ("__proto__",
	// "constructor", "id", "save", …) are ordinary keys here. Express ignores them
	// when it loads a record.
	Values map[string]any

	// Raw holds the stored bytes of each of Values, as a Raw, so that AppendRecord
	// can write unchanged values back byte for byte. DecodeValues leaves it nil.
	Raw map[string]any
}

// DecodeRecord decodes a record. It returns an error unless b is a JSON object with an
// object under "cookie", anywhere in it, and for a cookie that Express could not use.
// No error quotes the session's data.
//
// Missing attributes of "cookie" have the defaults of Express's Cookie: the path is
// "/", httpOnly is true and the others are unset. An expires that is not a date is
// null. Dates are ISO 8601 as JavaScript writes them, including years of six digits.
//
// Each Raw is a part of b, which must not change while one is in use.
func DecodeRecord(b []byte) (Record, error) {
	return readRecord(b, map[string]any{}, asRaw)
}

// DecodeValues is DecodeRecord without Record.Raw, for callers that only read. Values
// has what nested returns in the place of each object and array.
func DecodeValues(b []byte, nested func(Raw) any) (Record, error) {
	return readRecord(b, nil, nested)
}

// asRaw leaves an object or array as it is.
func asRaw(nested Raw) any { return nested }

func readRecord(b []byte, raws map[string]any, nested func(Raw) any) (Record, error) {
	rec := Record{Values: map[string]any{}, Raw: raws}
	end, found, err := rec.read(b, nested)
	switch {
	case end != len(b):
		return Record{}, errors.New("session record: not a JSON object")
	case !found:
		return Record{}, errors.New(`session record: no object under "cookie": Express fails on such a record too`)
	case err != nil:
		return Record{}, fmt.Errorf("session record: cookie.%w", err)
	}
	return rec, nil
}

// read decodes a record. It returns the index after it, whether it has a cookie, and
// the error of the cookie.
func (rec *Record) read(b []byte, nested func(Raw) any) (end int, found bool, err error) {
	c, i := next(b, 0)
	if c != '{' {
		return invalid, false, nil
	}
	r := reader{b: b}
	key, i, more := r.member(i+1, true)
	for ; more; key, i, more = r.member(i, false) {
		start := i
		switch {
		case string(r.bytes(key)) != "cookie":
			name := r.text(key)
			var v any
			if v, i = r.shallow(i, nested); i == invalid {
				continue
			}
			rec.Values[name] = v
			if rec.Raw != nil {
				if _, ok := v.(Raw); !ok {
					v = Raw(b[start:i:i])
				}
				rec.Raw[name] = v
			}
		case i < len(b) && b[i] == '{':
			found = true
			rec.Cookie, i, err = r.cookie(i)
		default:
			found = false
			i = skipValue(b, i, 1)
		}
	}
	if i != invalid {
		_, i = next(b, i)
	}
	return i, found, err
}

// shallow reads a value of the record. It validates objects and arrays without decoding
// them, and returns what nested makes of them.
func (r *reader) shallow(i int, nested func(Raw) any) (any, int) {
	if i == len(r.b) || r.b[i] != '{' && r.b[i] != '[' {
		return r.scalar(i)
	}
	end := skipContainer(r.b, i, 1)
	if end == invalid {
		return nil, invalid
	}
	return nested(r.b[i:end:end]), end
}

func (r *reader) cookie(i int) (c Cookie, end int, err error) {
	c = Cookie{HTTPOnly: true, Path: "/"}
	key, i, more := r.member(i+1, true)
	for ; more; key, i, more = r.member(i, false) {
		start := i
		var text span
		if i < len(r.b) && r.b[i] == '"' {
			text = scanText(r.b, i)
			i = text.end
		} else {
			i = skipValue(r.b, i, 2)
		}
		if i == invalid || err != nil {
			continue
		}
		name := r.bytes(key)
		if err = r.attribute(&c, name, r.b[start:i], text); err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		}
	}
	return c, i, err
}

// attribute sets one attribute of c. text is the position of raw if that is a string.
func (r *reader) attribute(c *Cookie, name, raw []byte, text span) (err error) {
	switch string(name) {
	case "originalMaxAge":
		c.OriginalMaxAge, err = maxAge(raw)
	case "expires":
		c.Expires = date(string(r.bytes(text)))
	case "httpOnly":
		c.HTTPOnly = truthy(raw)
	case "secure":
		c.Secure = truthy(raw)
	case "partitioned":
		c.Partitioned = truthy(raw)
	case "domain":
		c.Domain = r.text(text)
		if err = validateText(raw); err == nil {
			err = ValidateDomain(c.Domain)
		}
	case "path":
		c.Path = r.text(text)
		if err = validateText(raw); err == nil {
			err = ValidatePath(c.Path)
		}
	case "priority":
		c.Priority = strings.ToLower(r.text(text))
		err = validateText(raw)
	case "sameSite":
		c.SameSite = strings.ToLower(r.text(text))
		if string(raw) == "true" {
			c.SameSite = "strict"
		} else {
			err = validateText(raw)
		}
	}
	return err
}

// truthy reports whether JavaScript treats a value as true, which is how npm cookie
// reads these attributes. express-session, for example, stores "auto" when its cookie
// option is a function.
func truthy(raw []byte) bool {
	switch string(raw) {
	case "null", "false", "0", `""`:
		return false
	}
	return true
}

// validateText returns an error for a value that is neither a string nor falsy in
// JavaScript.
func validateText(raw []byte) error {
	if raw[0] != '"' && truthy(raw) {
		return errors.New("not a text")
	}
	return nil
}

func maxAge(raw []byte) (*time.Duration, error) {
	if string(raw) != "0" && !truthy(raw) {
		return nil, nil
	}
	if c := raw[0]; c != '-' && (c < '0' || c > '9') {
		return nil, errors.New("not a number of milliseconds")
	}
	if ms, err := strconv.ParseInt(string(raw), 10, 64); err == nil && ms == int64(time.Duration(ms)*time.Millisecond/time.Millisecond) {
		return shared(time.Duration(ms) * time.Millisecond), nil
	}
	// ParseDuration is exact, but rejects exponents and values out of range.
	d, err := time.ParseDuration(string(raw) + "ms")
	if err != nil {
		ms, _ := strconv.ParseFloat(string(raw), 64) // infinite if out of range
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

// lastAge is the age that was read last.
var lastAge atomic.Pointer[time.Duration]

// shared returns a pointer to d, which is not allocated for each record: nearly all
// sessions of a site have the same age.
func shared(d time.Duration) *time.Duration {
	if last := lastAge.Load(); last != nil && *last == d {
		return last
	}
	fresh := d
	lastAge.Store(&fresh)
	return &fresh
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

// date parses a date. It returns the zero time if iso is not a date.
func date(iso string) time.Time {
	years := 0
	if len(iso) > 7 && (iso[0] == '+' || iso[0] == '-') && iso[7] == '-' {
		// The calendar repeats every 400 years: parse the same date in a year that
		// the time package accepts, and then shift it.
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

// AppendRecord appends a record to dst, as express-session would write it except for
// the order: the cookie comes first, with its keys in Express's order, and then the
// values, sorted by key. A Raw, which must come from this package, is written byte for
// byte, and a string as JavaScript writes it. Any other value is written as by
// encoding/json, without escaping for HTML.
//
// AppendRecord returns an error if a value can't be encoded as JSON or a key is
// "cookie". The error names the key and never quotes the value.
func AppendRecord(dst []byte, c Cookie, values map[string]any) ([]byte, error) {
	dst = appendCookie(append(dst, `{"cookie":`...), c)
	var room [16]string
	keys := room[:0]
	for key := range values {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		if key == "cookie" {
			return nil, errors.New(`session record: the key "cookie" is taken by the cookie's own attributes: choose another`)
		}
		dst = append(dst, ',')
		dst = appendText(dst, key)
		dst = append(dst, ':')
		var err error
		if dst, err = appendValue(dst, values[key]); err != nil {
			return nil, fmt.Errorf("session record: key %q: %w", key, err)
		}
	}
	return append(dst, '}'), nil
}

func appendCookie(dst []byte, c Cookie) []byte {
	dst = append(dst, `{"originalMaxAge":`...)
	if c.OriginalMaxAge != nil {
		dst = appendMaxAge(dst, *c.OriginalMaxAge)
	} else {
		dst = append(dst, "null"...)
	}
	if c.Partitioned {
		dst = append(dst, `,"partitioned":true`...)
	}
	dst = appendOptional(dst, `,"priority":`, c.Priority)
	if c.Expires.IsZero() {
		dst = append(dst, `,"expires":null`...)
	} else {
		dst = append(dst, `,"expires":"`...)
		dst = appendDate(dst, c.Expires)
		dst = append(dst, '"')
	}
	dst = append(dst, `,"secure":`...)
	dst = strconv.AppendBool(dst, c.Secure)
	dst = append(dst, `,"httpOnly":`...)
	dst = strconv.AppendBool(dst, c.HTTPOnly)
	dst = appendOptional(dst, `,"domain":`, c.Domain)
	if c.Path == "" {
		dst = append(dst, `,"path":null`...) // without it, Express would use "/"
	}
	dst = appendOptional(dst, `,"path":`, c.Path)
	dst = appendOptional(dst, `,"sameSite":`, strings.ToLower(c.SameSite))
	return append(dst, '}')
}

func appendOptional(dst []byte, key, s string) []byte {
	if s == "" {
		return dst
	}
	return appendText(append(dst, key...), s)
}

// EncodeValue returns v as it is after a round trip through a record: as one of the
// types of Record.Values. Structs, maps, slices and other types become what
// encoding/json makes of them. EncodeValue returns an error if JSON can't hold v; the
// error names the type and never quotes the value.
func EncodeValue(v any) (any, error) {
	switch x := v.(type) {
	case nil, bool, int, Raw:
		return v, nil
	case int64:
		return integer(x), nil
	case string:
		if utf8.ValidString(x) {
			return v, nil
		}
		return string([]rune(x)), nil // each byte that is not UTF-8 becomes U+FFFD
	}
	b, err := encode(v)
	if err != nil {
		return nil, fmt.Errorf("session record: %w", err)
	}
	if b[0] == '{' || b[0] == '[' {
		return Raw(b), nil
	}
	r := reader{b: b}
	v, _ = r.scalar(0)
	return v, nil
}

func appendValue(dst []byte, v any) ([]byte, error) {
	switch x := v.(type) {
	case nil:
		return append(dst, "null"...), nil
	case bool:
		return strconv.AppendBool(dst, x), nil
	case int:
		return strconv.AppendInt(dst, int64(x), 10), nil
	case int64:
		return strconv.AppendInt(dst, x, 10), nil
	case string:
		return appendText(dst, x), nil
	case Raw:
		if len(x) == 0 {
			return nil, fmt.Errorf("JSON cannot hold an empty %T", v)
		}
		return append(dst, x...), nil
	}
	b, err := encode(v)
	return append(dst, b...), err
}

// encode returns v as encoding/json writes it, without escaping for HTML. It returns an
// error for a value that is nested too deep to be read again in a record.
func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	b := bytes.TrimSuffix(buf.Bytes(), []byte("\n")) // the encoder adds it
	if err != nil || skipValue(b, 0, 1) != len(b) {
		// The error omits the cause, which may quote the value.
		return nil, fmt.Errorf("JSON cannot hold this %T", v)
	}
	return b, nil
}

// appendText appends a string as JavaScript's JSON.stringify writes it.
func appendText(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0 // of the part that needs no escaping and is not yet written
	if len(s) >= long {
		at := len(dst)
		dst = append(dst, s...)
		start = plainRun(dst[at:])
		dst = dst[:at+start]
	}
	for i := start; i < len(s); {
		if c := s[i]; c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(append(dst, s[start:i]...), "\ufffd"...)
				start = i + 1
			}
			i += size
			continue
		} else if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		dst = append(dst, s[start:i]...)
		dst = appendEscape(dst, s[i])
		i++
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}

func appendEscape(dst []byte, c byte) []byte {
	const hex = "0123456789abcdef"
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\b':
		return append(dst, `\b`...)
	case '\f':
		return append(dst, `\f`...)
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	}
	return append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
}
