package wire

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// CookieValue finds the named cookie in the Cookie headers of a request, as
// parse of npm cookie 0.7.2 does over the headers that Node joins with "; ".
// The first one wins. Spaces and tabs around name and value are dropped, then
// the quotes around the value, and the rest is percent-decoded; it stays as it
// is when it cannot be decoded to valid UTF-8. ok is false when there is no
// such cookie; the value of one that is there may be empty.
//
// Bytes above 0x7F are returned as they are, where Node has each of them as a
// character of its own. Only a value that needs decoding is allocated.
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

func trim(s string) string { return strings.Trim(s, " \t") }

// unquote drops a quote at either end. A lone quote is both ends at once, as it
// is in npm cookie.
func unquote(s string) string {
	switch {
	case s == `"`:
		return ""
	case len(s) > 1 && s[0] == '"' && s[len(s)-1] == '"':
		return s[1 : len(s)-1]
	}
	return s
}

// decode is JavaScript's decodeURIComponent, but returns s where that throws.
func decode(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	var room [128]byte // enough for a signed id, and not on the heap
	out := room[:0]
	for rest := s; rest != ""; {
		// A character is escaped as a whole or not at all, so each run of
		// escapes must be valid UTF-8 by itself.
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

// EncodeURIComponent is JavaScript's function of that name. A byte that is not
// valid UTF-8, for which JavaScript has no such thing, is percent-encoded too.
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

// SetCookie is one Set-Cookie header as serialize of npm cookie 0.7.2 writes
// it. Attributes left to their zero value are not sent.
type SetCookie struct {
	Name  string // as CheckName allows
	Value string // any text: it is sent percent-encoded

	MaxAge  *int64    // seconds
	Domain  string    // as CheckDomain allows
	Path    string    // as CheckPath allows
	Expires time.Time // sent in whole seconds, in GMT

	HTTPOnly    bool
	Secure      bool
	Partitioned bool

	Priority string // "low", "medium" or "high"; any other is not sent
	SameSite string // "lax", "strict" or "none"; any other is not sent
}

// String returns the header's value, with the attributes in the order and the
// spelling of npm cookie. It writes Name, Domain and Path as they are: check
// them before.
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

// CheckName returns an error that says what is wrong with a cookie's name, by
// the rule of npm cookie: a token of RFC 9110.
func CheckName(name string) error {
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

// CheckDomain returns an error that says what is wrong with a Domain attribute,
// by the rule of npm cookie: a host name of RFC 1123, and a dot in front of it
// if need be. An empty domain, which is not sent, is right.
func CheckDomain(domain string) error {
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

// CheckPath returns an error that says what is wrong with a Path attribute, by
// the rule of npm cookie: printable ASCII without ";" and "<". An empty path,
// which is not sent, is right.
func CheckPath(path string) error {
	for i, r := range path {
		if r < ' ' || r > '~' || r == ';' || r == '<' {
			return fmt.Errorf("a cookie's path must not have %q in it (at byte %d): allowed is printable ASCII other than \";\" and \"<\"", r, i+1)
		}
	}
	return nil
}
