package wire

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDepth is as in encoding/json.
const maxDepth = 10000

// reader reads a record in one pass, in about half the time of encoding/json
// and with a third of its allocations: every request of a signed-in user waits
// for it. What it returns are parts of s where that can be. Escapes and numbers
// are left to encoding/json, and FuzzRecord holds all of it against that.
//
// At the first error bad is set and the rest is passed over, so that only the
// end of a reading has to look.
type reader struct {
	s     string
	i     int
	depth int
	bad   bool
}

func (r *reader) fail() {
	r.bad = true
	r.i = len(r.s)
}

// next passes white space and returns the byte that follows, 0 at the end.
func (r *reader) next() byte {
	for ; r.i < len(r.s); r.i++ {
		switch c := r.s[r.i]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

func (r *reader) accept(c byte) bool {
	ok := r.next() == c
	if ok {
		r.i++
	}
	return ok
}

func (r *reader) expect(c byte) {
	if !r.accept(c) {
		r.fail()
	}
}

// list reads what is between two brackets, calling element for each part.
func (r *reader) list(opening, closing byte, element func()) {
	r.expect(opening)
	if r.depth++; r.depth > maxDepth {
		r.fail()
	}
	if !r.accept(closing) {
		element()
		for r.accept(',') {
			element()
		}
		r.expect(closing)
	}
	r.depth--
}

// object reads an object. member reads the value of each key.
func (r *reader) object(member func(key string)) {
	r.list('{', '}', func() {
		key := r.text()
		r.expect(':')
		member(key)
	})
}

// value reads a value of any kind. Numbers are as Record says.
func (r *reader) value() any {
	switch r.next() {
	case '{':
		object := map[string]any{}
		r.object(func(key string) { object[key] = r.value() })
		return object
	case '[':
		array := make([]any, 0, 4)
		r.list('[', ']', func() { array = append(array, r.value()) })
		return array
	case '"':
		return r.text()
	}
	switch tok := r.scalar(); tok {
	case "true":
		return true
	case "false":
		return false
	case "null":
		return nil
	default:
		return number(tok)
	}
}

// token passes a value of any kind. It returns how it is written and, if it is
// a string, what that stands for.
func (r *reader) token() (raw, text string) {
	c := r.next()
	start := r.i
	switch c {
	case '{', '[':
		r.value()
	case '"':
		text = r.text()
	default:
		r.scalar()
	}
	return r.s[start:r.i], text
}

func (r *reader) text() string {
	r.expect('"')
	start := r.i
	escaped, ascii := false, true
	for r.i = skipPlain(r.s, r.i); r.i < len(r.s); r.i++ {
		switch c := r.s[r.i]; {
		case c == '"':
			plain := r.s[start:r.i]
			r.i++
			if escaped || !ascii && !utf8.ValidString(plain) {
				return r.unescape(r.s[start-1 : r.i])
			}
			return plain
		case c == '\\':
			escaped = true
			// What follows may be a quote.
			r.i = skipPlain(r.s, min(r.i+2, len(r.s))) - 1
		case c < ' ':
			r.fail()
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	r.fail()
	return ""
}

// skipPlain passes what text needs no look at, eight bytes at a time: ASCII without
// quotes, backslashes and control characters.
func skipPlain(s string, i int) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for ; i+8 <= len(s); i += 8 {
		b := s[i : i+8]
		w := uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
			uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
		quote, backslash := w^ones*'"', w^ones*'\\'
		if (w|(w-ones*' ')|(quote-ones)|(backslash-ones))&highs != 0 {
			break // perhaps: a byte below may have borrowed from one above
		}
	}
	return i
}

func (r *reader) unescape(quoted string) (s string) {
	if json.Unmarshal([]byte(quoted), &s) != nil {
		r.fail()
	}
	return s
}

// scalar passes a number, true, false or null and returns it.
func (r *reader) scalar() string {
	rest := r.s[r.i:]
	for _, word := range [...]string{"true", "false", "null"} {
		if strings.HasPrefix(rest, word) {
			r.i += len(word)
			return word
		}
	}
	n := 0
	for n < len(rest) && strings.IndexByte("0123456789-+.eE", rest[n]) >= 0 {
		n++
	}
	r.i += n
	if !json.Valid([]byte(rest[:n])) {
		r.fail()
	}
	return rest[:n]
}

func number(tok string) any {
	if n, err := strconv.Atoi(tok); err == nil {
		return n
	}
	if f, err := strconv.ParseFloat(tok, 64); err == nil {
		if f == math.Trunc(f) && f >= math.MinInt && f < -math.MinInt {
			return int(f) // it is written with digits alone, and read as such again
		}
		return f
	}
	return json.Number(tok)
}
