package wire

import (
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// CookieValue returns the value of the named cookie in the Cookie headers of a
// request, like parse of npm cookie 0.7.2 over the headers that Node joins with "; ".
// The first cookie of that name wins. CookieValue drops spaces and tabs around name
// and value, then the quotes around the value, and percent-decodes the rest. It
// returns the rest unchanged if it does not decode to valid UTF-8. ok is false if
// there is no such cookie; an existing one may have an empty value.
//
// Bytes above 0x7F are returned unchanged, whereas Node reads each as a character.
// CookieValue allocates only to decode.
func CookieValue(headers []string, name string) (value string, ok bool) {
	for _, header := range headers {
		for header != "" {
			var pair string
			pair, header, _ = strings.Cut(header, ";")
			key, val, found := strings.Cut(pair, "=")
			if found && trim(key) == name {
				return decode(unquote(trim(val))), true
			}
		}
	}
	return "", false
}

// CookieCount returns how many cookies of a name a request has.
func CookieCount(headers []string, name string) (n int) {
	for _, header := range headers {
		for header != "" {
			var pair string
			pair, header, _ = strings.Cut(header, ";")
			if key, _, found := strings.Cut(pair, "="); found && trim(key) == name {
				n++
			}
		}
	}
	return n
}

// SignedCookies yields the name and the value of each cookie of a request whose value begins
// as a signed one does.
func SignedCookies(headers []string) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for _, header := range headers {
			for pair := range strings.SplitSeq(header, ";") {
				key, val, _ := strings.Cut(pair, "=")
				if value := decode(unquote(trim(val))); strings.HasPrefix(value, signedPrefix) && !yield(trim(key), value) {
					return
				}
			}
		}
	}
}

func trim(s string) string { return strings.Trim(s, " \t") }

// unquote drops the quotes around s. As in npm cookie, a lone quote counts as both.
func unquote(s string) string {
	switch {
	case s == `"`:
		return ""
	case len(s) > 1 && s[0] == '"' && s[len(s)-1] == '"':
		return s[1 : len(s)-1]
	}
	return s
}

// decode is JavaScript's decodeURIComponent, but returns s where that would throw.
func decode(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	var room [128]byte // enough for a signed id, without the heap
	out := room[:0]
	for rest := s; rest != ""; {
		// decodeURIComponent requires each run of escapes to be valid UTF-8 by
		// itself.
		run := len(out)
		for strings.HasPrefix(rest, "%") {
			if len(rest) < 3 {
				return s
			}
			b, err := strconv.ParseUint(rest[1:3], 16, 8)
			if err != nil {
				return s
			}
			out = append(out, byte(b))
			rest = rest[3:]
		}
		if !utf8.Valid(out[run:]) {
			return s
		}
		plain := strings.IndexByte(rest, '%')
		if plain < 0 {
			plain = len(rest)
		}
		out = append(out, rest[:plain]...)
		rest = rest[plain:]
	}
	return string(out)
}

// EncodeURIComponent is JavaScript's encodeURIComponent. It also percent-encodes bytes
// that are not valid UTF-8, which JavaScript's strings can't contain.
func EncodeURIComponent(s string) string {
	var room [128]byte
	return string(appendURIComponent(room[:0], s))
}

func appendURIComponent(dst []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		c := s[i]
		if isAlnum(c) || strings.IndexByte("-_.!~*'()", c) >= 0 {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
	}
	return dst
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

// SetCookie is one Set-Cookie header as serialize of npm cookie 0.7.2 writes it.
// Attributes with their zero value are not sent.
type SetCookie struct {
	Name  string // valid by ValidateName
	Value string // any text; it is sent percent-encoded

	MaxAge  *int64    // seconds
	Domain  string    // valid by ValidateDomain
	Path    string    // valid by ValidatePath
	Expires time.Time // sent in whole seconds, in GMT

	HTTPOnly    bool
	Secure      bool
	Partitioned bool

	Priority string // "low", "medium" or "high"; any other is not sent
	SameSite string // "lax", "strict" or "none"; any other is not sent
}

// String returns the header's value, with the attributes in the order and spelling of
// npm cookie. It does not validate Name, Domain and Path.
func (c *SetCookie) String() string {
	var room [512]byte
	b := append(room[:0], c.Name...)
	b = append(b, '=')
	b = appendURIComponent(b, c.Value)
	if c.MaxAge != nil {
		b = append(b, "; Max-Age="...)
		b = strconv.AppendInt(b, *c.MaxAge, 10)
	}
	if c.Domain != "" {
		b = append(b, "; Domain="...)
		b = append(b, c.Domain...)
	}
	if c.Path != "" {
		b = append(b, "; Path="...)
		b = append(b, c.Path...)
	}
	if !c.Expires.IsZero() {
		b = append(b, "; Expires="...)
		b = c.Expires.UTC().AppendFormat(b, "Mon, 02 Jan 2006 15:04:05 GMT")
	}
	if c.HTTPOnly {
		b = append(b, "; HttpOnly"...)
	}
	if c.Secure {
		b = append(b, "; Secure"...)
	}
	if c.Partitioned {
		b = append(b, "; Partitioned"...)
	}
	switch c.Priority {
	case "low":
		b = append(b, "; Priority=Low"...)
	case "medium":
		b = append(b, "; Priority=Medium"...)
	case "high":
		b = append(b, "; Priority=High"...)
	}
	switch c.SameSite {
	case "lax":
		b = append(b, "; SameSite=Lax"...)
	case "strict":
		b = append(b, "; SameSite=Strict"...)
	case "none":
		b = append(b, "; SameSite=None"...)
	}
	return string(b)
}

const nameSymbols = "!#$%&'*+-.^_`|~"

// ValidateName returns an error if a cookie's name is invalid in npm cookie, which
// requires a token of RFC 9110.
func ValidateName(name string) error {
	if name == "" {
		return errors.New("a cookie's name must not be empty")
	}
	for i, r := range name {
		if r >= utf8.RuneSelf || !isAlnum(byte(r)) && strings.IndexByte(nameSymbols, byte(r)) < 0 {
			return fmt.Errorf("a cookie's name must not have %q in it (at byte %d): allowed are ASCII letters, digits and %s", r, i+1, nameSymbols)
		}
	}
	return nil
}

// ValidateDomain returns an error if a Domain attribute is invalid in npm cookie, which
// requires a host name of RFC 1123, optionally with a leading dot. An empty domain,
// which is not sent, is valid.
func ValidateDomain(domain string) error {
	if domain == "" {
		return nil
	}
	for label := range strings.SplitSeq(strings.TrimPrefix(domain, "."), ".") {
		if label == "" {
			return errors.New("a cookie's domain must not have an empty part: one dot may be in front and one between parts, none at the end")
		}
		if len(label) > 63 {
			return fmt.Errorf("a cookie's domain must not have a part of more than 63 characters: one has %d", len(label))
		}
		for _, r := range label {
			if r >= utf8.RuneSelf || !isAlnum(byte(r)) && r != '-' {
				return fmt.Errorf("a cookie's domain must not have %q in it: allowed are ASCII letters, digits, hyphens and dots (other scripts as xn--, no port)", r)
			}
		}
		if label[0] == '-' || label[len(label)-1] == '-' {
			return fmt.Errorf("a cookie's domain must not have a hyphen at the start or end of a part: %q", label)
		}
	}
	return nil
}

// ValidatePath returns an error if a Path attribute is invalid in npm cookie, which
// requires printable ASCII without ";" and "<". An empty path, which is not sent, is
// valid.
func ValidatePath(path string) error {
	for i, r := range path {
		if r < ' ' || r > '~' || r == ';' || r == '<' {
			return fmt.Errorf("a cookie's path must not have %q in it (at byte %d): allowed is printable ASCII other than \";\" and \"<\"", r, i+1)
		}
	}
	return nil
}
