package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// loaded is a record as Express loads it.
type loaded struct {
	Cookie map[string]any
	Keys   []string
}

type recordVector struct {
	Record    string
	SetCookie *string
	Loaded    *loaded
}

// jsNames are names that JavaScript's sessions already have. Express drops such keys.
var jsNames = []string{"__proto__", "constructor", "toString", "hasOwnProperty", "id", "req", "save", "touch", "regenerate"}

// check compares a record with what Express makes of it.
func (v recordVector) check(t *testing.T, rec Record) {
	t.Helper()
	var want Cookie
	c := v.Loaded.Cookie
	if ms, ok := c["originalMaxAge"].(float64); ok {
		d := clamp(ms)
		want.OriginalMaxAge = &d
	}
	if s, ok := c["expires"].(string); ok {
		want.Expires = date(s)
		if want.Expires.IsZero() {
			t.Fatalf("cannot read %q", s)
		}
	}
	want.HTTPOnly, want.Secure, want.Partitioned = isTruthy(c["httpOnly"]), isTruthy(c["secure"]), isTruthy(c["partitioned"])
	want.Domain, _ = c["domain"].(string)
	want.Path, _ = c["path"].(string)
	want.Priority, _ = c["priority"].(string)
	want.Priority = strings.ToLower(want.Priority)
	want.SameSite, _ = c["sameSite"].(string)
	want.SameSite = strings.ToLower(want.SameSite)
	if c["sameSite"] == true {
		want.SameSite = "strict"
	}
	if !reflect.DeepEqual(rec.Cookie, want) {
		t.Errorf("%s\ncookie is %+v\nwant      %+v", v.Record, rec.Cookie, want)
	}

	var keys []string
	for key := range rec.Values {
		if !slices.Contains(jsNames, key) {
			keys = append(keys, key)
		}
	}
	wantKeys := slices.Sorted(slices.Values(v.Loaded.Keys))
	if slices.Sort(keys); !slices.Equal(keys, wantKeys) {
		t.Errorf("%s\nkeys are %q, want %q", v.Record, keys, wantKeys)
	}
	checkValues(t, []byte(v.Record), rec)
}

func clamp(ms float64) time.Duration {
	switch ns := ms * 1e6; {
	case ns >= math.MaxInt64:
		return math.MaxInt64
	case ns <= math.MinInt64:
		return math.MinInt64
	case ms == math.Trunc(ms):
		return time.Duration(ms) * time.Millisecond
	default:
		return time.Duration(ns)
	}
}

func isTruthy(v any) bool { return v != nil && v != false && v != 0.0 && v != "" }

func decodeValues(in []byte) (Record, error) { return DecodeValues(in, asRaw) }

// checkDecode decodes a possible record and compares the result with encoding/json.
func checkDecode(t *testing.T, in []byte) (Record, error) {
	t.Helper()
	rec, err := DecodeRecord(in)
	object := json.Valid(in) && bytes.TrimLeft(in, " \t\r\n")[0] == '{'
	if refused := err != nil && err.Error() == "session record: not a JSON object"; refused == object {
		t.Errorf("%q: %v, and encoding/json finds an object: %v", in, err, object)
	}
	values, err2 := decodeValues(in)
	if fmt.Sprint(err2) != fmt.Sprint(err) || !reflect.DeepEqual(values.Values, rec.Values) || !reflect.DeepEqual(values.Cookie, rec.Cookie) || values.Raw != nil {
		t.Errorf("%q: DecodeValues gives another record: %v", in, err2)
	}
	if err == nil {
		checkValues(t, in, rec)
	}
	return rec, err
}

// checkValues compares a record's values with those that encoding/json decodes.
func checkValues(t *testing.T, in []byte, rec Record) {
	t.Helper()
	var all map[string]json.RawMessage
	if err := json.Unmarshal(in, &all); err != nil {
		t.Fatalf("%q: decoded, and encoding/json says %v", in, err)
	}
	delete(all, "cookie")
	if len(rec.Values) != len(all) || len(rec.Raw) != len(all) {
		t.Errorf("%q: %d values, %d raw, want %d", in, len(rec.Values), len(rec.Raw), len(all))
	}
	for key, want := range all {
		raw, ok := rec.Raw[key].(Raw)
		if !ok || !bytes.Equal(raw, want) || cap(raw) != len(raw) {
			t.Errorf("%q: key %q: raw is %q, want %q", in, key, raw, want)
		}
		v := checkDecodeValue(t, raw)
		switch v.(type) {
		case map[string]any, []any:
			v = raw
		}
		if got := rec.Values[key]; !sameValue(got, v) {
			t.Errorf("%q: key %q is %#v, want %#v", in, key, got, v)
		}
		if raw, ok := rec.Values[key].(Raw); ok && cap(raw) != len(raw) {
			t.Errorf("%q: key %q: appending to the value would write over the record", in, key)
		}
	}
}

// checkDecodeValue decodes a possible value and compares the result with encoding/json.
func checkDecodeValue(t *testing.T, in []byte) any {
	t.Helper()
	got, err := DecodeValue(in)
	if !json.Valid(in) {
		if got != nil || err == nil || err.Error() != "session record: not a JSON value" {
			t.Errorf("%q is read as %#v, %v", in, got, err)
		}
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(in))
	d.UseNumber()
	var want any
	if err := d.Decode(&want); err != nil {
		t.Fatalf("%q: %v", in, err)
	}
	if want = numbers(want); err != nil || !sameValue(got, want) {
		t.Errorf("%q\nis read as %#v, %v\nwant       %#v", in, got, err, want)
	}
	return got
}

// sameValue is reflect.DeepEqual, but distinguishes 0 from -0.
func sameValue(a, b any) bool {
	return reflect.DeepEqual(a, b) && fmt.Sprintf("%#v", a) == fmt.Sprintf("%#v", b)
}

// numbers converts each json.Number as Record.Values documents, by exact arithmetic.
func numbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key := range v {
			v[key] = numbers(v[key])
		}
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case json.Number:
		mantissa, _, _ := strings.Cut(strings.ToLower(string(v)), "e")
		if !strings.ContainsAny(mantissa, "123456789") {
			if v[0] == '-' {
				return math.Copysign(0, -1)
			}
			return 0
		}
		f, err := v.Float64()
		if err != nil || f == 0 {
			return v // out of range for a float64, and too much memory for a big.Rat
		}
		exact, _ := new(big.Rat).SetString(string(v))
		if n := exact.Num(); exact.IsInt() && n.IsInt64() {
			if strconv.IntSize == 32 && (n.Int64() > math.MaxInt32 || n.Int64() < math.MinInt32) {
				return n.Int64()
			}
			return int(n.Int64())
		}
		shortest, _ := new(big.Rat).SetString(strconv.FormatFloat(f, 'g', -1, 64))
		if shortest.Cmp(exact) == 0 {
			return f
		}
	}
	return v
}

func decodeRecord(t testing.TB, s string) Record {
	t.Helper()
	rec, err := DecodeRecord([]byte(s))
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return rec
}

func appendRecord(t testing.TB, c Cookie, values map[string]any) string {
	t.Helper()
	b, err := AppendRecord(nil, c, values)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Records that express-session stored are read as it reads them, give the Set-Cookie
// header that it sent, and are written back as it wrote them.
func TestRecordVectors(t *testing.T) {
	// Where Express has several spellings of the same attribute, this package has one.
	same := strings.NewReplacer(
		`"secure":false,`, "", `"secure":"auto"`, `"secure":true`, `"partitioned":false,`, "", `"domain":"",`, "", `,"sameSite":false`, "",
		`"sameSite":true`, `"sameSite":"strict"`, `"path":""`, `"path":null`,
		"Medium", "medium", "HIGH", "high", "Strict", "strict", "NONE", "none",
	)
	signer := NewSigner([]string{"keyboard cat"})
	sent := 0
	for _, v := range vectors[recordVector](t, "record.json") {
		rec := decodeRecord(t, v.Record)
		v.check(t, rec)

		if v.SetCookie != nil {
			sent++
			c := SetCookie{
				Name: "connect.sid", Value: signer.Sign(sessionID), Domain: rec.Cookie.Domain, Path: rec.Cookie.Path, Expires: rec.Cookie.Expires,
				HTTPOnly: rec.Cookie.HTTPOnly, Secure: rec.Cookie.Secure, Partitioned: rec.Cookie.Partitioned,
				Priority: rec.Cookie.Priority, SameSite: rec.Cookie.SameSite,
			}
			if got := c.String(); got != *v.SetCookie {
				t.Errorf("%s\nSet-Cookie is %s\nwant          %s", v.Record, got, *v.SetCookie)
			}
		}

		written := appendRecord(t, rec.Cookie, rec.Raw)
		again := decodeRecord(t, written)
		if !reflect.DeepEqual(again.Cookie, rec.Cookie) || !reflect.DeepEqual(again.Raw, rec.Raw) || !reflect.DeepEqual(again.Values, rec.Values) {
			t.Errorf("%s\nis written back as\n%s", v.Record, written)
		}
		if ms, _ := v.Loaded.Cookie["originalMaxAge"].(float64); math.Abs(ms*1e6) < math.MaxInt64 {
			cookie := appendRecord(t, rec.Cookie, nil)
			stored := strings.TrimSuffix(cookiePart(t, v.Record), "}")
			if same.Replace(strings.TrimSuffix(cookie, "}}")) != same.Replace(`{"cookie":`+stored) {
				t.Errorf("%s\nthe cookie is written back as\n%s", v.Record, cookie)
			}
		}
	}
	if sent == 0 {
		t.Error("no vector has a Set-Cookie header")
	}
}

func cookiePart(t *testing.T, record string) string {
	t.Helper()
	var parts map[string]json.RawMessage
	if err := json.Unmarshal([]byte(record), &parts); err != nil {
		t.Fatal(err)
	}
	return string(parts["cookie"])
}

// Records that others wrote. The test lists those that Express loads but DecodeRecord
// rejects, or that it reads differently.
func TestFoundRecordVectors(t *testing.T) {
	refused := map[string]bool{} // Express loads them, but its next cookie fails or is nonsense
	for _, key := range []string{"domain", "path", "priority"} {
		refused[`{"cookie":{"`+key+`":true}}`] = true
	}
	differs := map[string]string{ // to a record that is read as the same
		`{"cookie":{"expires":"2026-02-30T00:00:00.000Z"}}`:    `{"cookie":{}}`, // JavaScript: 2 March
		`{"cookie":{"expires":"+010001-02-29T00:00:00.000Z"}}`: `{"cookie":{}}`, // JavaScript: 1 March
		`{"cookie":{"originalMaxAge":1e400}}`:                  `{"cookie":{"originalMaxAge":9223372036854.775807}}`,
		`{"cookie":{"originalMaxAge":-1e400}}`:                 `{"cookie":{"originalMaxAge":-9223372036854.775808}}`,
	}
	fails := 0
	for _, v := range vectors[recordVector](t, "found.json") {
		rec, err := DecodeRecord([]byte(v.Record))
		if v.Loaded == nil || refused[v.Record] {
			fails++
			delete(refused, v.Record)
			if err == nil || !reflect.DeepEqual(rec, Record{}) {
				t.Errorf("%q is read: %+v", v.Record, rec)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", v.Record, err)
			continue
		}
		if like, ok := differs[v.Record]; ok {
			delete(differs, v.Record)
			if want := decodeRecord(t, like); !reflect.DeepEqual(rec, want) {
				t.Errorf("%s\nis read as %+v\nwant       %+v", v.Record, rec, want)
			}
			continue
		}
		v.check(t, rec)
	}
	if fails == 0 || len(refused) > 0 || len(differs) > 0 {
		t.Errorf("not in the vectors: %v %v", refused, differs)
	}
}

func TestDecodeRecordValues(t *testing.T) {
	const data = `"a":"a\u0000\ud800\/","b":true,"c":false,"d":null,"e":{ "x" : [1] },"f":[ ],"g":7`
	rec := decodeRecord(t, `{"cookie":{},`+data+`}`)
	want := map[string]any{"a": "a\x00\ufffd/", "b": true, "c": false, "d": nil, "e": Raw(`{ "x" : [1] }`), "f": Raw(`[ ]`), "g": 7}
	if !reflect.DeepEqual(rec.Values, want) {
		t.Errorf("got  %#v\nwant %#v", rec.Values, want)
	}
	if written := appendRecord(t, rec.Cookie, rec.Raw); !strings.HasSuffix(written, "},"+data+"}") {
		t.Errorf("written back as %s", written)
	}
}

// An unchanged value is written back byte for byte, whatever Go's encoder would make
// of it.
func TestRecordVerbatim(t *testing.T) {
	for _, value := range []string{
		`-0`, `1.0`, `1e2`, `1E+2`, `12345678901234567890123`, `0.1000`, `1e400`,
		`"\u2028\u2029"`, "\"\u2028\u2029\"", "[\"\u2028\u2029\"]", `"\/<>&\u003c"`, `"\ud800"`, "\"\xff\xed\xa0\x80\"", "[\"\xff\"]", "\"\x7f\u0080\ufeff\"",
		"[ 1 ,\t2 ]", "{\r\n\"a\" : { } }", `{"b":1,"a":2,"b":3}`, `{"\u0061":"\u0062"}`,
	} {
		for _, in := range []string{`"v":` + value, ` "v" : ` + value + "\n"} {
			rec := decodeRecord(t, `{"cookie":{},`+in+`}`)
			if written := appendRecord(t, rec.Cookie, rec.Raw); !strings.HasSuffix(written, `},"v":`+value+`}`) {
				t.Errorf("%q is written back as %q", in, written)
			}
			again := decodeRecord(t, appendRecord(t, rec.Cookie, rec.Values))
			if !sameValue(again.Values["v"], rec.Values["v"]) {
				t.Errorf("%q is %#v, and %#v when it was written", in, rec.Values["v"], again.Values["v"])
			}
		}
	}
}

func TestDecodeRecordEmpty(t *testing.T) {
	rec := decodeRecord(t, `{"cookie":{}}`)
	if rec.Values == nil || rec.Raw == nil {
		t.Error("a nil map")
	}
	want := Cookie{HTTPOnly: true, Path: "/"}
	if !reflect.DeepEqual(rec.Cookie, want) {
		t.Errorf("cookie is %+v", rec.Cookie)
	}
}

// Strings are copies of the caller's bytes, whereas each Raw is a part of them.
func TestDecodeRecordValuesAreCopies(t *testing.T) {
	b := []byte(`{"cookie":{"domain":"example.com"},"key":"value"}`)
	rec, err := DecodeRecord(b)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		b[i] = 'x'
	}
	if rec.Values["key"] != "value" || rec.Cookie.Domain != "example.com" {
		t.Errorf("got %+v", rec)
	}
}

func TestDecodeRecordErrors(t *testing.T) {
	const noCookie = `session record: no object under "cookie": Express fails on such a record too`
	for in, want := range map[string]string{
		"":                                 "session record: not a JSON object",
		"\x0e\xff\x81\x05\x01\x02":         "session record: not a JSON object", // a gob
		`{"cookie":{}} hunter2`:            "session record: not a JSON object",
		`{"cookie":{},"password":"hunter2`: "session record: not a JSON object",
		`"hunter2"`:                        "session record: not a JSON object",
		`[{"cookie":{}}]`:                  "session record: not a JSON object",
		`null`:                             "session record: not a JSON object",
		`{}`:                               noCookie,
		`{"user":"hunter2"}`:               noCookie,
		`{"cookie":null}`:                  noCookie,
		`{"cookie":["hunter2"]}`:           noCookie,
		`{"cookie":{},"cookie":"hunter2"}`: noCookie,
		`{"cookie":{"originalMaxAge":"hunter2"}}`:  "session record: cookie.originalMaxAge: not a number of milliseconds",
		`{"cookie":{"path":["hunter2"]}}`:          "session record: cookie.path: not a text",
		`{"cookie":{"path":1,"originalMaxAge":1}}`: "session record: cookie.path: not a text",
		`{"cookie":{"sameSite":1}}`:                "session record: cookie.sameSite: not a text",
		`{"cookie":{"priority":{}}}`:               "session record: cookie.priority: not a text",
		`{"cookie":{"path":"/; Domain=evil"}}`:     `session record: cookie.path: a cookie's path must not have ';' in it (at byte 2): allowed is printable ASCII other than ";" and "<"`,
		`{"cookie":{"domain":"x\r\nX-Evil: 1"}}`:   "session record: cookie.domain: a cookie's domain must not have '\\r' in it: allowed are ASCII letters, digits, hyphens and dots (other scripts as xn--, no port)",
	} {
		if _, err := DecodeRecord([]byte(in)); err == nil || err.Error() != want {
			t.Errorf("%q\ngot  %v\nwant %s", in, err, want)
		}
	}
}

// A damaged record is rejected if and only if it is not JSON.
func TestDecodeRecordDamaged(t *testing.T) {
	const record = ` {"a":[1,-2.5e+3,{"b":"\"\u00e9é\\"}, [ ] ,{}],"cookie":{"path":"/","originalMaxAge":60000,"x":[{}]},"":null,"t":true,"f":false} `
	if _, err := checkDecode(t, []byte(record)); err != nil {
		t.Fatal(err)
	}
	for i := range record {
		before, after := record[:i], record[i+1:]
		_, _ = checkDecode(t, []byte(before))
		_, _ = checkDecode(t, []byte(before+after))
		for _, c := range "{}[]\",:\\0-+.eu tn\x00\x1f\u0080" {
			_, _ = checkDecode(t, []byte(before+string(c)+after))
			_, _ = checkDecode(t, []byte(before+string(c)+record[i:]))
		}
	}
}

func TestDecodeRecordDepth(t *testing.T) {
	for _, deep := range []int{9998, 9999, 10000} {
		array := strings.Repeat("[", deep) + strings.Repeat("]", deep)
		_, _ = checkDecode(t, []byte(`{"cookie":{},"v":`+array+`}`))
		_, _ = checkDecode(t, []byte(`{"cookie":{"v":`+array+`}}`))
		_, _ = checkDecode(t, []byte(`{"cookie":{},"v":`+strings.Repeat(`{"a":`, deep)+"1"+strings.Repeat("}", deep)+`}`))
	}
}

func TestDecodeRecordLarge(t *testing.T) {
	deep := strings.Repeat("[", 9000) + strings.Repeat("]", 9000)
	rec := decodeRecord(t, `{"cookie":{},"v":`+deep+`}`)
	if got := appendRecord(t, rec.Cookie, map[string]any{"v": rec.Values["v"]}); !strings.HasSuffix(got, `,"v":`+deep+`}`) {
		t.Error("a deep value is not written back")
	}
	for _, tooDeep := range []string{strings.Repeat("[", 1e6) + strings.Repeat("]", 1e6), strings.Repeat(`{"a":`, 1e6)} {
		if _, err := DecodeRecord([]byte(`{"cookie":{},"v":` + tooDeep + `}`)); err == nil {
			t.Error("a value a million deep is read")
		}
		if _, err := DecodeValue([]byte(tooDeep)); err == nil {
			t.Error("a value a million deep is decoded")
		}
	}

	big := strings.Repeat(`x\"é`, 1<<18)
	rec = decodeRecord(t, `{"v":"`+big+`","plain":"`+strings.Repeat("é", 1<<18)+`","cookie":{},"w":"last"}`)
	if got, want := rec.Values["v"], strings.ReplaceAll(big, `\"`, `"`); got != want {
		t.Error("a text of a megabyte is not read")
	}
	if got := rec.Values["plain"]; got != strings.Repeat("é", 1<<18) || rec.Values["w"] != "last" {
		t.Error("another text is not read")
	}
	if got := appendRecord(t, rec.Cookie, map[string]any{"v": rec.Values["v"]}); !strings.HasSuffix(got, `,"v":"`+big+`"}`) {
		t.Error("a text of a megabyte is not written")
	}

	many, err := DecodeValue([]byte("[" + strings.Repeat("1,", 1e5) + "1]"))
	if err != nil || len(many.([]any)) != 1e5+1 {
		t.Errorf("%d elements, %v", len(many.([]any)), err)
	}
}

func TestAllocations(t *testing.T) {
	small, large := []byte(signedInRecord), []byte(strings.Replace(signedInRecord, `"admin"`, `"`+strings.Repeat("x", 100000)+`"`, 1))
	for name, in := range map[string][]byte{"small": small, "large": large} {
		rec := decodeRecord(t, string(in))
		buf := make([]byte, 0, 2*len(in))
		for _, tt := range []struct {
			name string
			most float64
			do   func()
		}{
			{"DecodeValues", 4, func() { _, _ = decodeValues(in) }}, // two for the map, key, Raw
			{"DecodeRecord", 6, func() { _, _ = DecodeRecord(in) }},
			{"AppendRecord", 0, func() { _, _ = AppendRecord(buf, rec.Cookie, rec.Values) }},
		} {
			if n := testing.AllocsPerRun(100, tt.do); n > tt.most {
				t.Errorf("%s, %s: %v allocations, want %v", name, tt.name, n, tt.most)
			}
		}
	}
}

func TestAppendRecord(t *testing.T) {
	age := 7 * 24 * time.Hour
	full := Cookie{
		OriginalMaxAge: &age, Expires: time.Date(2026, 11, 29, 22, 52, 8, 665999999, time.FixedZone("", 7200)),
		HTTPOnly: true, Secure: true, Partitioned: true, Domain: "example.com", Path: `/"\`, Priority: "high", SameSite: "None",
	}
	for _, tt := range []struct {
		name   string
		cookie Cookie
		values map[string]any
		want   string
	}{
		{
			"zero",
			Cookie{},
			nil,
			`{"cookie":{"originalMaxAge":null,"expires":null,"secure":false,"httpOnly":false,"path":null}}`,
		},
		{
			"full", full,
			map[string]any{},
			`{"cookie":{"originalMaxAge":604800000,"partitioned":true,"priority":"high","expires":"2026-11-29T20:52:08.665Z","secure":true,"httpOnly":true,"domain":"example.com","path":"/\"\\","sameSite":"none"}}`,
		},
		{
			"sorted",
			Cookie{Path: "/"},
			map[string]any{"b": 1, "a": true, "": nil, "c": "x", "B": 1.5, "é\"": []any{}},
			`{"cookie":{"originalMaxAge":null,"expires":null,"secure":false,"httpOnly":false,"path":"/"},"":null,"B":1.5,"a":true,"b":1,"c":"x","é\"":[]}`,
		},
		{
			"no escaping for HTML",
			Cookie{Path: "/"},
			map[string]any{"<&>": map[string]any{"<": json.RawMessage(`"<&>"`)}, "a": "<&>"},
			`{"cookie":{"originalMaxAge":null,"expires":null,"secure":false,"httpOnly":false,"path":"/"},"<&>":{"<":"<&>"},"a":"<&>"}`,
		},
		{
			"raw",
			Cookie{Path: "/"},
			map[string]any{
				"a": Raw(" {\n\"z\" : [ 1.0 , 1e400 ] ,\t\"a\":\"\\u003c \\ud800\u2028\" } "), "b": json.RawMessage(nil), "c": json.Number("1e400"),
				"d": json.RawMessage(` { "<" : 1.0 } `), "e": map[string]any{"x": Raw(`[1.0]`)},
			},
			`{"cookie":{"originalMaxAge":null,"expires":null,"secure":false,"httpOnly":false,"path":"/"},"a": {` + "\n" + `"z" : [ 1.0 , 1e400 ] ,` + "\t" + `"a":"\u003c \ud800` + "\u2028" + `" } ,"b":null,"c":1e400,"d":{"<":1.0},"e":{"x":[1.0]}}`,
		},
		{
			"text as JavaScript writes it",
			Cookie{Path: "/"},
			map[string]any{"a": "\x00\x07\b\f\n\r\t\x1f\x7f\"\\/é\u2028\u2029\ufffd🍪", "\u2028": "a\xffb\xed\xa0\x80"},
			`{"cookie":{"originalMaxAge":null,"expires":null,"secure":false,"httpOnly":false,"path":"/"},"a":"\u0000\u0007\b\f\n\r\t\u001f` + "\x7f" + `\"\\/é` + "\u2028\u2029\ufffd🍪" + `","` + "\u2028\":\"a\ufffdb\ufffd\ufffd\ufffd\"}",
		},
		{
			"Go types",
			Cookie{Path: "/"},
			map[string]any{
				"bytes": []byte("hi"), "int64": int64(math.MaxInt64), "struct": struct {
					A int `json:"a"`
				}{1}, "time": time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
			},
			`{"cookie":{"originalMaxAge":null,"expires":null,"secure":false,"httpOnly":false,"path":"/"},"bytes":"aGk=","int64":9223372036854775807,"struct":{"a":1},"time":"2026-01-02T03:04:05.000000006Z"}`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := appendRecord(t, tt.cookie, tt.values); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestAppendRecordAppends(t *testing.T) {
	b, err := AppendRecord([]byte("before"), Cookie{Path: "/"}, map[string]any{"a": 1})
	if want := `before{"cookie":{"originalMaxAge":null,"expires":null,"secure":false,"httpOnly":false,"path":"/"},"a":1}`; err != nil || string(b) != want {
		t.Errorf("got %s, %v", b, err)
	}
}

type failingMarshaler struct{}

func (failingMarshaler) MarshalJSON() ([]byte, error) { return nil, errors.New("hunter2") }

func TestAppendRecordErrors(t *testing.T) {
	loop := map[string]any{}
	loop["hunter2"] = loop
	rawMessage := fmt.Sprintf(`session record: key "a": JSON cannot hold this %T`, json.RawMessage{}) // Go 1.27 has another name for it
	for _, tt := range []struct {
		key   string
		value any
		want  string
	}{
		{"cookie", 1, `session record: the key "cookie" is taken by the cookie's own attributes: choose another`},
		{"a", make(chan int), `session record: key "a": JSON cannot hold this chan int`},
		{"a", map[string]any{"f": func() {}}, `session record: key "a": JSON cannot hold this map[string]interface {}`},
		{"a", math.NaN(), `session record: key "a": JSON cannot hold this float64`},
		{"a", math.Inf(-1), `session record: key "a": JSON cannot hold this float64`},
		{"a", json.Number("hunter2"), `session record: key "a": JSON cannot hold this json.Number`},
		{"a", json.RawMessage("hunter2"), rawMessage},
		{"a", json.RawMessage(`1,"cookie":{}`), rawMessage},
		{"a", Raw(nil), `session record: key "a": JSON cannot hold an empty wire.Raw`},
		{"a", nested(9999), `session record: key "a": JSON cannot hold this []interface {}`},
		{"a", failingMarshaler{}, `session record: key "a": JSON cannot hold this wire.failingMarshaler`},
		{"a\n", loop, `session record: key "a\n": JSON cannot hold this map[string]interface {}`},
	} {
		b, err := AppendRecord([]byte("before"), Cookie{}, map[string]any{"": 1, tt.key: tt.value})
		if err == nil || err.Error() != tt.want || b != nil {
			t.Errorf("got  %s, %v\nwant %s", b, err, tt.want)
		}
	}
}

// nested returns an array of arrays.
func nested(depth int) any {
	var v any = 1
	for range depth + 1 {
		v = []any{v}
	}
	return v
}

func TestOriginalMaxAge(t *testing.T) {
	for in, want := range map[string]struct {
		d   time.Duration
		out string
	}{
		"0":                              {0, "0"},
		"-0":                             {0, "0"},
		"1":                              {time.Millisecond, "1"},
		"-1":                             {-time.Millisecond, "-1"},
		"0.5":                            {500 * time.Microsecond, "0.5"},
		"-0.25":                          {-250 * time.Microsecond, "-0.25"},
		"604800000.000001":               {7*24*time.Hour + 1, "604800000.000001"},
		"1500.100000":                    {1500100 * time.Microsecond, "1500.1"},
		"0.0000009":                      {0, "0"},
		"1e3":                            {time.Second, "1000"},
		"1.5E-3":                         {1500, "0.0015"},
		"9223372036854.775807":           {math.MaxInt64, "9223372036854.775807"},
		"9223372036854.775808":           {math.MaxInt64, "9223372036854.775807"},
		"9223372036855":                  {math.MaxInt64, "9223372036854.775807"},
		"-9223372036854.775808":          {math.MinInt64, "-9223372036854.775808"},
		"-9223372036855":                 {math.MinInt64, "-9223372036854.775808"},
		"1e400":                          {math.MaxInt64, "9223372036854.775807"},
		"-1e400":                         {math.MinInt64, "-9223372036854.775808"},
		"123456789012345678901234567890": {math.MaxInt64, "9223372036854.775807"},
	} {
		rec := decodeRecord(t, `{"cookie":{"originalMaxAge":`+in+`}}`)
		if got := rec.Cookie.OriginalMaxAge; got == nil || *got != want.d {
			t.Errorf("%s is %v, want %v", in, got, want.d)
			continue
		}
		if out := appendRecord(t, rec.Cookie, nil); !strings.HasPrefix(out, `{"cookie":{"originalMaxAge":`+want.out+`,`) {
			t.Errorf("%s is written as %s", in, out)
		}
	}
}

func TestExpires(t *testing.T) {
	for in, want := range map[string]string{
		"2026-11-29T20:52:08.665Z":        "2026-11-29T20:52:08.665Z",
		"2026-11-29T20:52:08.6659Z":       "2026-11-29T20:52:08.665Z",
		"2026-11-29T22:52:08+02:00":       "2026-11-29T20:52:08.000Z",
		"1969-12-31T23:59:59.9999Z":       "1969-12-31T23:59:59.999Z",
		"9999-12-31T23:59:59.999Z":        "9999-12-31T23:59:59.999Z",
		"9999-12-31T23:59:59.999-01:00":   "+010000-01-01T00:59:59.999Z",
		"+010000-02-29T00:00:00.000Z":     "+010000-02-29T00:00:00.000Z",
		"+275760-09-13T00:00:00.000Z":     "+275760-09-13T00:00:00.000Z",
		"-000001-12-31T00:00:00.001Z":     "-000001-12-31T00:00:00.001Z",
		"-000400-02-29T00:00:00.999Z":     "-000400-02-29T00:00:00.999Z",
		"0000-01-01T00:00:00.000Z":        "0000-01-01T00:00:00.000Z",
		"":                                "",
		"x":                               "",
		"2026-11-29":                      "",
		"+010001-02-29T00:00:00.000Z":     "",
		"+01000x-02-28T00:00:00.000Z":     "",
		"Sun, 29 Nov 2026 20:52:08 GMT":   "",
		"2026-11-29T20:52:08.665Z\\u0000": "",
	} {
		rec := decodeRecord(t, `{"cookie":{"expires":"`+in+`"}}`)
		wantJSON := `"expires":null,`
		if want != "" {
			wantJSON = `"expires":"` + want + `",`
		}
		if out := appendRecord(t, rec.Cookie, nil); !strings.Contains(out, wantJSON) {
			t.Errorf("%s is read as %v and written as %s", in, rec.Cookie.Expires, out)
		}
		if loc := rec.Cookie.Expires.Location(); loc != time.UTC {
			t.Errorf("%s is read in %v", in, loc)
		}
	}
}

func TestRecordLastKeyCounts(t *testing.T) {
	rec := decodeRecord(t, `{"b":1,"cookie":{},"a":2,"b":3}`)
	if got := slices.Sorted(maps.Keys(rec.Values)); !slices.Equal(got, []string{"a", "b"}) || rec.Values["b"] != 3 || string(rec.Raw["b"].(Raw)) != "3" {
		t.Errorf("got %v %s", rec.Values, rec.Raw["b"])
	}
}
