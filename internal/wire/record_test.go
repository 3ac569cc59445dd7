package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// loaded is what Express makes of a record.
type loaded struct {
	Cookie map[string]any
	Keys   []string
}

type recordVector struct {
	Record    string
	SetCookie *string
	Loaded    *loaded
}

// What sessions have of their own in JavaScript: Express drops such keys.
var jsNames = []string{"__proto__", "constructor", "toString", "hasOwnProperty", "id", "req", "save", "touch", "regenerate"}

// check holds a record against what Express makes of it.
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

// checkDecode decodes what may be a record and holds that against encoding/json.
func checkDecode(t *testing.T, in []byte) (Record, error) {
	t.Helper()
	rec, err := DecodeRecord(in)
	object := json.Valid(in) && bytes.TrimLeft(in, " \t\r\n")[0] == '{'
	if refused := err != nil && err.Error() == "session record: not a JSON object"; refused == object {
		t.Errorf("%q: %v, and encoding/json finds an object: %v", in, err, object)
	}
	values, err2 := DecodeValues(in)
	if fmt.Sprint(err2) != fmt.Sprint(err) || !reflect.DeepEqual(values.Values, rec.Values) || !reflect.DeepEqual(values.Cookie, rec.Cookie) || values.Raw != nil {
		t.Errorf("%q: DecodeValues gives another record: %v", in, err2)
	}
	if err == nil {
		checkValues(t, in, rec)
	}
	return rec, err
}

// checkValues holds a record's values against encoding/json's own decoding.
func checkValues(t *testing.T, in []byte, rec Record) {
	t.Helper()
	var all map[string]any
	d := json.NewDecoder(bytes.NewReader(in))
	d.UseNumber()
	if err := d.Decode(&all); err != nil {
		t.Fatalf("%q: decoded, and encoding/json says %v", in, err)
	}
	delete(all, "cookie")
	if want := numbers(all); !reflect.DeepEqual(rec.Values, want) {
		t.Errorf("%q\nvalues are %#v\nwant       %#v", in, rec.Values, want)
	}
	if len(rec.Raw) != len(rec.Values) {
		t.Errorf("%q: %d raw keys, %d values", in, len(rec.Raw), len(rec.Values))
	}
	for key := range rec.Raw {
		raw := rec.Raw[key].(json.RawMessage)
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber()
		var v any
		if err := d.Decode(&v); err != nil || !reflect.DeepEqual(numbers(v), rec.Values[key]) {
			t.Errorf("%q: key %q: raw is %s", in, key, raw)
		}
		if cap(raw) != len(raw) {
			t.Errorf("%q: key %q: appending to raw would write over the record", in, key)
		}
	}
}

// numbers turns each json.Number into what Record says.
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
		if n, err := strconv.ParseInt(string(v), 10, strconv.IntSize); err == nil {
			return int(n)
		}
		if f, err := v.Float64(); err == nil {
			if n := int(f); f >= math.MinInt && f < -math.MinInt && float64(n) == f {
				return n
			}
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

// Records that express-session stored: they are read as it reads them, they
// give the Set-Cookie header that it sent, and they are written back as it
// wrote them.
func TestRecordVectors(t *testing.T) {
	// Where Express has more than one way to say a thing, this has one.
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

// Records by other hands. Where Express loads what DecodeRecord refuses or reads
// otherwise, it is listed here.
func TestFoundRecordVectors(t *testing.T) {
	refused := map[string]bool{} // Express loads them, and fails or sends nonsense with the next cookie
	for _, key := range []string{"domain", "path", "priority"} {
		refused[`{"cookie":{"`+key+`":true}}`] = true
	}
	differs := map[string]string{ // to the record that it is read like
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
	rec := decodeRecord(t, `{"cookie":{},"values":[0,-0,7,-7,1.5,1.0,1e2,9007199254740993,1e400,-1e999,1e-400,"a\u0000\ud800\/",null,true]}`)
	values := rec.Values["values"].([]any)
	beyond32 := int64(9007199254740993)
	want := []any{0, 0, 7, -7, 1.5, 1, 100, int(beyond32), json.Number("1e400"), json.Number("-1e999"), 0, "a\x00\ufffd/", nil, true}
	if strconv.IntSize == 32 {
		want[7] = float64(beyond32)
	}
	if !reflect.DeepEqual(values, want) {
		t.Errorf("got  %#v\nwant %#v", values, want)
	}
	// What is not changed keeps what a Go value has no place for.
	written := appendRecord(t, rec.Cookie, rec.Raw)
	if !strings.HasSuffix(written, `,"values":[0,-0,7,-7,1.5,1.0,1e2,9007199254740993,1e400,-1e999,1e-400,"a\u0000\ud800\/",null,true]}`) {
		t.Errorf("written back as %s", written)
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

// The record belongs to the caller: raw shows it, and the values do not.
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
		"\x0e\xff\x81\x05\x01\x02":         "session record: not a JSON object", // as gob begins
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

// A record that is damaged anywhere is refused if and only if it is no JSON.
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
	}

	big := strings.Repeat(`x\"é`, 1<<18)
	rec = decodeRecord(t, `{"v":"`+big+`","cookie":{}}`)
	if got, want := rec.Values["v"], strings.ReplaceAll(big, `\"`, `"`); got != want {
		t.Error("a text of a megabyte is not read")
	}
	if got := appendRecord(t, rec.Cookie, rec.Values); !strings.HasSuffix(got, `,"v":"`+big+`"}`) {
		t.Error("a text of a megabyte is not written")
	}

	many := decodeRecord(t, `{"cookie":{},"v":[`+strings.Repeat("1,", 1e5)+`1]}`)
	if n := len(many.Values["v"].([]any)); n != 1e5+1 {
		t.Errorf("%d elements", n)
	}
}

func TestDecodeRecordAllocations(t *testing.T) {
	in := []byte(signedInRecord)
	if n := testing.AllocsPerRun(100, func() { _, _ = DecodeRecord(in) }); n > 16 {
		t.Errorf("DecodeRecord: %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = DecodeValues(in) }); n > 12 {
		t.Errorf("DecodeValues: %v allocations", n)
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
				"a": json.RawMessage(" {\n\"z\" : [ 1.0 , 1e400 ] ,\t\"a\":\"\\u003c \\ud800\u2028\" } "), "b": json.RawMessage(nil), "c": json.Number("1e400"),
			},
			`{"cookie":{"originalMaxAge":null,"expires":null,"secure":false,"httpOnly":false,"path":"/"},"a":{"z":[1.0,1e400],"a":"\u003c \ud800` + "\u2028" + `"},"b":null,"c":1e400}`,
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
		{"a", json.RawMessage("hunter2"), `session record: key "a": JSON cannot hold this json.RawMessage`},
		{"a", json.RawMessage(`1,"cookie":{}`), `session record: key "a": JSON cannot hold this json.RawMessage`},
		{"a", failingMarshaler{}, `session record: key "a": JSON cannot hold this wire.failingMarshaler`},
		{"a\n", loop, `session record: key "a\n": JSON cannot hold this map[string]interface {}`},
	} {
		b, err := AppendRecord([]byte("before"), Cookie{}, map[string]any{"": 1, tt.key: tt.value})
		if err == nil || err.Error() != tt.want || b != nil {
			t.Errorf("got  %s, %v\nwant %s", b, err, tt.want)
		}
	}
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
	if got := slices.Sorted(maps.Keys(rec.Values)); !slices.Equal(got, []string{"a", "b"}) || rec.Values["b"] != 3 || string(rec.Raw["b"].(json.RawMessage)) != "3" {
		t.Errorf("got %v %s", rec.Values, rec.Raw["b"])
	}
}
