package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
)

// output is where text goes that users may have written some of: what would move a terminal's
// cursor, or hide or turn around other text, is written as JSON escapes it, so that JSON stays
// what it was.
type output struct {
	io.Writer
	failed error // the first error
}

func (o *output) Write(b []byte) (int, error) {
	var text strings.Builder
	for _, r := range string(b) {
		switch {
		case strconv.IsPrint(r), r == '\n', r == '\t':
			text.WriteRune(r)
		case r > 0xFFFF:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&text, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&text, `\u%04x`, r)
		}
	}
	if _, err := io.WriteString(o.Writer, text.String()); err != nil {
		if o.failed == nil {
			o.failed = err
		}
		return 0, err
	}
	return len(b), nil
}
