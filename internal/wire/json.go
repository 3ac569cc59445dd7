package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/bits"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth is the same limit as in encoding/json.
const maxDepth = 10000

// The functions below read JSON with the grammar of encoding/json, several times as
// fast: every request of a signed-in user waits for them. FuzzRecord and
// FuzzDecodeValue compare them with encoding/json.
//
// b is the JSON text, i is the index at which to read, and depth is the number of open
// objects and arrays around it. The functions return the index after what they have
// read, or invalid.
const invalid = -1

// next skips white space. It returns the next byte, or 0 at the end, and its index.
func next(b []byte, i int) (byte, int) {
	for ; i < len(b); i++ {
		if c := b[i]; c > ' ' || c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return c, i
		}
	}
	return 0, i
}

// skipValue validates the value that starts at i.
func skipValue(b []byte, i, depth int) int {
	if i >= len(b) {
		return invalid
	}
	switch b[i] {
	case '"':
		return scanText(b, i).end
	case '{', '[':
		return skipContainer(b, i, depth)
	case 't':
		return skipWord(b, i, "true")
	case 'f':
		return skipWord(b, i, "false")
	case 'n':
		return skipWord(b, i, "null")
	}
	return skipNumber(b, i)
}

func skipContainer(b []byte, i, depth int) int {
	if depth >= maxDepth {
		return invalid
	}
	object, closing := b[i] == '{', b[i]+2 // in ASCII, '}' is '{'+2 and ']' is '['+2
	c, i := next(b, i+1)
	if c == closing {
		return i + 1
	}
	for {
		if object {
			if c != '"' {
				return invalid
			}
			if i = scanText(b, i).end; i == invalid {
				return invalid
			}
			if c, i = next(b, i); c != ':' {
				return invalid
			}
			_, i = next(b, i+1)
		}
		if i = skipValue(b, i, depth+1); i == invalid {
			return invalid
		}
		switch c, i = next(b, i); c {
		case ',':
			c, i = next(b, i+1)
		case closing:
			return i + 1
		default:
			return invalid
		}
	}
}

func skipWord(b []byte, i int, word string) int {
	if end := i + len(word); end <= len(b) && string(b[i:end]) == word {
		return end
	}
	return invalid
}

func skipNumber(b []byte, i int) int {
	if i < len(b) && b[i] == '-' {
		i++
	}
	if i < len(b) && b[i] == '0' {
		i++
	} else if i = skipDigits(b, i); i == invalid {
		return invalid
	}
	if i < len(b) && b[i] == '.' {
		if i = skipDigits(b, i+1); i == invalid {
			return invalid
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		return skipDigits(b, i)
	}
	return i
}

// skipDigits skips one or more digits.
func skipDigits(b []byte, i int) int {
	start := i
	for i < len(b) && isDigit(b[i]) {
		i++
	}
	if i == start {
		return invalid
	}
	return i
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// span is the position of a string, including its quotes.
type span struct {
	start, end int
	plain      bool // the string is ASCII without escapes
}

// scanText validates the string whose quote is at i, eight bytes at a time. As in
// encoding/json, its bytes need not be UTF-8.
func scanText(b []byte, i int) span {
	start := i
	var seen uint64 // all bytes ORed together, and perhaps some after the string
	escaped := false
	for i++; i < len(b); {
		for i+8 <= len(b) {
			w := binary.LittleEndian.Uint64(b[i:])
			seen |= w
			quote, backslash := w^ones*'"', w^ones*'\\'
			// The lowest bit set marks the first control character, quote or
			// backslash; borrows reach only bits above it.
			stop := ((w-ones*' ')&^w | (quote-ones)&^quote | (backslash-ones)&^backslash) & highs
			if stop != 0 {
				i += bits.TrailingZeros64(stop) / 8
				break
			}
			if i += 8; i-start == 1+long {
				i += plainRun(b[i:])
			}
		}
		if i == len(b) {
			break
		}
		switch c := b[i]; {
		case c == '"':
			return span{start, i + 1, !escaped && seen&highs == 0}
		case c == '\\':
			escaped = true
			if i = skipEscape(b, i+1); i == invalid {
				return span{end: invalid}
			}
		case c < ' ':
			return span{end: invalid}
		default: // among the last seven bytes of b
			seen |= uint64(c)
			i++
		}
	}
	return span{end: invalid}
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// long is the length in bytes from which on plainRun is worth its start.
const long = 64

// plainRun returns how many bytes at the start of b are ASCII that needs no escape, or
// up to seven fewer.
func plainRun(b []byte) int {
	for _, special := range []byte{'"', '\\'} {
		if n := bytes.IndexByte(b, special); n >= 0 {
			b = b[:n]
		}
	}
	i := 0
	for ; i+8 <= len(b); i += 8 {
		// A byte with its high bit set is not ASCII, or was below a space.
		if w := binary.LittleEndian.Uint64(b[i:]); (w-ones*' '|w)&highs != 0 {
			break
		}
	}
	return i
}

// skipEscape validates what follows a backslash.
func skipEscape(b []byte, i int) int {
	switch {
	case i >= len(b):
	case b[i] == 'u':
		if i+5 <= len(b) && hex4(b[i+1:]) >= 0 {
			return i + 5
		}
	case strings.IndexByte(`"\/bfnrt`, b[i]) >= 0:
		return i + 1
	}
	return invalid
}

// hex4 returns the value of b's first four hexadecimal digits, or -1 if they are not.
func hex4(b []byte) rune {
	var r rune
	for _, c := range b[:4] {
		switch {
		case isDigit(c):
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// unescape returns the value of a validated string, given without its quotes. Half a
// surrogate pair and a byte that is not UTF-8 each become U+FFFD.
func unescape(b []byte) string {
	var out strings.Builder
	out.Grow(len(b))
	for i := 0; i < len(b); {
		switch c := b[i]; {
		case c == '\\' && b[i+1] == 'u':
			r := hex4(b[i+2:])
			i += 6
			if utf16.IsSurrogate(r) {
				low := rune(-1)
				if i+6 <= len(b) && b[i] == '\\' && b[i+1] == 'u' {
					low = hex4(b[i+2:])
				}
				if r = utf16.DecodeRune(r, low); r != unicode.ReplacementChar {
					i += 6
				}
			}
			out.WriteRune(r)
		case c == '\\':
			out.WriteByte(unescaped[b[i+1]])
			i += 2
		case c < utf8.RuneSelf:
			out.WriteByte(c)
			i++
		default:
			r, size := utf8.DecodeRune(b[i:])
			out.WriteRune(r)
			i += size
		}
	}
	return out.String()
}

var unescaped = [...]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// reader decodes b to Go values.
type reader struct {
	b []byte

	// copied is a copy of b[base:] that the strings share, so that all of them
	// take one allocation. It begins at the first string that text is called for,
	// so text must be called in the order in which the strings stand in b.
	copied string
	base   int
}

// maxShared bounds the part of a record that one of its strings keeps in memory. In a
// longer record each string is allocated separately, and skipped values are not copied.
const maxShared = 1024

// text returns a string's value, or "" for the zero span.
func (r *reader) text(t span) string {
	if t.end == 0 {
		return ""
	}
	from, to := t.start+1, t.end-1
	if inside := r.b[from:to]; !t.plain && (bytes.IndexByte(inside, '\\') >= 0 || !utf8.Valid(inside)) {
		return unescape(inside)
	}
	if r.copied == "" {
		if len(r.b)-from > maxShared {
			return string(r.b[from:to])
		}
		r.copied, r.base = string(r.b[from:]), from
	}
	return r.copied[from-r.base : to-r.base]
}

// bytes returns the same as text, as a part of b if possible.
func (r *reader) bytes(t span) []byte {
	if t.plain {
		return r.b[t.start+1 : t.end-1]
	}
	return []byte(r.text(t))
}

// member reads the key of an object's next member, and returns the index of its value.
// i is the index after the object's brace if first, and otherwise after the previous
// value. more is false at the end of the object, with the index after it, and for
// invalid JSON.
func (r *reader) member(i int, first bool) (key span, value int, more bool) {
	if i == invalid {
		return span{}, invalid, false
	}
	c, i := next(r.b, i)
	switch {
	case c == '}':
		return span{}, i + 1, false
	case first:
	case c == ',':
		c, i = next(r.b, i+1)
	default:
		return span{}, invalid, false
	}
	if c != '"' {
		return span{}, invalid, false
	}
	if key = scanText(r.b, i); key.end == invalid {
		return span{}, invalid, false
	}
	if c, i = next(r.b, key.end); c != ':' {
		return span{}, invalid, false
	}
	_, i = next(r.b, i+1)
	return key, i, true
}

// scalar reads a value that is neither an object nor an array.
func (r *reader) scalar(i int) (any, int) {
	if i < len(r.b) && r.b[i] == '"' {
		t := scanText(r.b, i)
		if t.end == invalid {
			return nil, invalid
		}
		return r.text(t), t.end
	}
	end := skipValue(r.b, i, maxDepth)
	if end == invalid {
		return nil, invalid
	}
	switch r.b[i] {
	case 't':
		return true, end
	case 'f':
		return false, end
	case 'n':
		return nil, end
	}
	return number(r.b[i:end]), end
}

// value reads a value, including nested ones.
func (r *reader) value(i, depth int) (any, int) {
	if i < len(r.b) && depth < maxDepth {
		switch r.b[i] {
		case '{':
			return r.object(i, depth)
		case '[':
			return r.array(i, depth)
		}
	}
	return r.scalar(i)
}

func (r *reader) object(i, depth int) (any, int) {
	object := map[string]any{}
	key, i, more := r.member(i+1, true)
	for ; more; key, i, more = r.member(i, false) {
		var v any
		v, i = r.value(i, depth+1)
		object[r.text(key)] = v
	}
	return object, i
}

func (r *reader) array(i, depth int) (any, int) {
	c, i := next(r.b, i+1)
	if c == ']' {
		return []any{}, i + 1
	}
	array := make([]any, 0, 4)
	for {
		var v any
		if v, i = r.value(i, depth+1); i == invalid {
			return nil, invalid
		}
		array = append(array, v)
		switch c, i = next(r.b, i); c {
		case ',':
			_, i = next(r.b, i+1)
		case ']':
			return array, i + 1
		default:
			return nil, invalid
		}
	}
}

// DecodeValue decodes one JSON value, including nested ones: objects to
// map[string]any, arrays to []any, the rest as in Record.Values. Its strings share one
// copy of raw: clone a string to keep it for long. No error quotes the data.
func DecodeValue(raw []byte) (any, error) {
	r := reader{b: raw, copied: string(raw)}
	_, i := next(raw, 0)
	v, i := r.value(i, 0)
	if i != invalid {
		_, i = next(raw, i)
	}
	if i != len(raw) {
		return nil, errors.New("session record: not a JSON value")
	}
	return v, nil
}
