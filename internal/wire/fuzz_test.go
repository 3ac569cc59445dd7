package wire

import (
	"bytes"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestFuzzSeeds(t *testing.T) {
	for _, target := range []string{"FuzzCookieValue", "FuzzUnsign", "FuzzRecord", "FuzzDecodeValue"} {
		seeds, err := filepath.Glob(filepath.Join("testdata", "fuzz", target, "seed-*"))
		if err != nil || len(seeds) < 5 {
			t.Errorf("%s has %d seeds, %v", target, len(seeds), err)
		}
		for _, seed := range seeds {
			if b, err := os.ReadFile(seed); err != nil || !bytes.HasPrefix(b, []byte("go test fuzz v1\n")) {
				t.Errorf("%s is no seed: %v", seed, err)
			}
		}
	}
}

// CookieValue gives the same result as an index-by-index translation of npm cookie's
// parse.
func FuzzCookieValue(f *testing.F) {
	f.Fuzz(func(t *testing.T, first, second, name string) {
		headers := []string{first, second}
		got, ok := CookieValue(headers, name)
		if ValidateName(name) != nil {
			return // Express never uses such a name
		}
		want, wantOK := parseByIndex(first+"; "+second, name)
		if strings.IndexByte(want, '%') >= 0 && isASCII(want) {
			if u, err := url.PathUnescape(want); err == nil && utf8.ValidString(u) {
				want = u
			}
		} else if !isASCII(want) {
			want = decode(want) // url.PathUnescape can't handle raw bytes like this
		}
		if got != want || ok != wantOK {
			t.Errorf("CookieValue(%q, %q) = %q, %v, want %q, %v", headers, name, got, ok, want, wantOK)
		}
	})
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

func parseByIndex(str, name string) (value string, found bool) {
	at := func(i int) byte {
		if i < 0 || i >= len(str) {
			return 0
		}
		return str[i]
	}
	indexFrom := func(c byte, from int) int {
		if i := strings.IndexByte(str[from:], c); i >= 0 {
			return from + i
		}
		return -1
	}
	blank := func(i int) bool { return at(i) == ' ' || at(i) == '\t' }
	start := func(i, limit int) int {
		for i < limit && blank(i) {
			i++
		}
		return i
	}
	end := func(i, limit int) int {
		for i > limit && blank(i-1) {
			i--
		}
		return i
	}
	for i := 0; i < len(str); {
		equals := indexFrom('=', i)
		if equals < 0 {
			break
		}
		stop := indexFrom(';', i)
		if stop < 0 {
			stop = len(str)
		} else if equals > stop {
			i = strings.LastIndexByte(str[:equals], ';') + 1
			continue
		}
		keyStart := start(i, equals)
		if str[keyStart:end(equals, keyStart)] == name {
			from := start(equals+1, stop)
			to := end(stop, from)
			if at(from) == '"' && at(to-1) == '"' {
				from, to = from+1, to-1
			}
			return str[from:max(from, to)], true
		}
		i = stop + 1
	}
	return "", false
}

// Unsign accepts exactly the values that one of the secrets signs.
func FuzzUnsign(f *testing.F) {
	signers := []*Signer{NewSigner([]string{"first"}), NewSigner([]string{"second"})}
	both := NewSigner([]string{"first", "second"})
	f.Fuzz(func(t *testing.T, text string) {
		id, ok := both.Unsign(text)
		if ok != (id != "") {
			t.Errorf("Unsign(%q) = %q, %v", text, id, ok)
		}
		if ok && signers[0].Sign(id) != text && signers[1].Sign(id) != text {
			t.Errorf("Unsign(%q) accepts what no secret signs", text)
		}
		for _, s := range signers {
			value := s.Sign(text)
			if id, ok := both.Unsign(value); id != text || ok != (text != "") {
				t.Errorf("Unsign(%q) = %q, %v", value, id, ok)
			}
			// A browser sends the value back like this.
			header := "a=b; sid=" + EncodeURIComponent(value) + "; c=d"
			if got, _ := CookieValue([]string{header}, "sid"); utf8.ValidString(value) && got != value {
				t.Errorf("%q comes back as %q", value, got)
			}
		}
	})
}

// A record has the values that encoding/json finds in it, and survives a round trip.
func FuzzRecord(f *testing.F) {
	f.Fuzz(func(t *testing.T, in []byte) {
		before := bytes.Clone(in)
		rec, err := checkDecode(t, in)
		if !bytes.Equal(in, before) {
			t.Fatal("the record was changed")
		}
		if err != nil {
			return
		}

		raw, err := AppendRecord(nil, rec.Cookie, rec.Raw)
		if err != nil {
			t.Fatal(err)
		}
		again, err := DecodeRecord(raw)
		if err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		if !reflect.DeepEqual(again.Cookie, rec.Cookie) || !reflect.DeepEqual(again.Values, rec.Values) {
			t.Errorf("%q\nis written back as\n%s", in, raw)
		}
		if !reflect.DeepEqual(again.Raw, rec.Raw) {
			t.Errorf("%q\nis not written back byte for byte:\n%q", in, raw)
		}

		// Values that are written must be read back as the same; otherwise a request
		// would seem to have changed what it only read.
		b, err := AppendRecord(nil, rec.Cookie, rec.Values)
		if err != nil {
			t.Fatal(err)
		}
		again, err = DecodeRecord(b)
		if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		if !sameValue(again.Values, rec.Values) {
			t.Errorf("%q\nis %#v\nand written as\n%s\nis %#v", in, rec.Values, b, again.Values)
		}
	})
}

// A value is decoded as by encoding/json, and EncodeValue returns what a round trip
// through a record returns.
func FuzzDecodeValue(f *testing.F) {
	f.Fuzz(func(t *testing.T, in []byte) {
		before := bytes.Clone(in)
		v := checkDecodeValue(t, in)
		if !bytes.Equal(in, before) {
			t.Fatal("the value was changed")
		}
		checkEncodeValue(t, v)
		checkEncodeValue(t, string(in))
	})
}

// checkEncodeValue compares EncodeValue with a round trip through a record.
func checkEncodeValue(t *testing.T, v any) any {
	t.Helper()
	encoded, err := EncodeValue(v)
	b, err2 := AppendRecord(nil, Cookie{}, map[string]any{"v": v})
	if (err != nil) != (err2 != nil) {
		t.Fatalf("EncodeValue(%#v): %v, AppendRecord: %v", v, err, err2)
	}
	if err != nil {
		return nil
	}
	stored := decodeRecord(t, string(b))
	if !sameValue(stored.Values["v"], encoded) {
		t.Errorf("%#v is said to be %#v and stored as %#v", v, encoded, stored.Values["v"])
	}
	if raw, ok := encoded.(Raw); ok {
		if decoded, err := DecodeValue(raw); err != nil || !sameValue(decoded, checkDecodeValue(t, stored.Raw["v"].(Raw))) {
			t.Errorf("%#v is said to be %s, %v", v, raw, err)
		}
	}
	return encoded
}
