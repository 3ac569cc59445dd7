package wire

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"testing"
	"time"
)

// whole returns a whole number as this machine decodes it.
func whole(n int64) any {
	if strconv.IntSize == 32 && (n > math.MaxInt32 || n < math.MinInt32) {
		return n
	}
	return int(n)
}

func TestNumbers(t *testing.T) {
	negativeZero := math.Copysign(0, -1)
	for literal, want := range map[string]any{
		"0": 0, "0.0": 0, "0e5": 0, "0e-5": 0, "0E99999999999999999999": 0, "0.000": 0,
		"-0": negativeZero, "-0.0": negativeZero, "-0e9": negativeZero,
		"7": 7, "-7": -7, "1.0": 1, "1e2": 100, "1E+2": 100, "12.50e1": 125, "1200e-2": 12, "0.001e3": 1, "-100.000": -100,
		"2147483647": 2147483647, "-2147483648": -2147483648, "2147483648": whole(2147483648), "-2147483649": whole(-2147483649), "3e9": whole(3e9),
		"9007199254740993":    whole(9007199254740993),
		"9223372036854775807": whole(math.MaxInt64), "-9223372036854775808": whole(math.MinInt64),
		"922337203685477580.7e1": whole(math.MaxInt64), "9223372036854775807.00": whole(math.MaxInt64),
		"1000000000000000000": whole(1e18), "1e18": whole(1e18),

		"9223372036854775808": json.Number("9223372036854775808"), "-9223372036854775809": json.Number("-9223372036854775809"),
		"12345678901234567891": json.Number("12345678901234567891"), "18446744073709551615": json.Number("18446744073709551615"),
		"18446744073709551616":  json.Number("18446744073709551616"), // 0 in a uint64
		"9223372036854775807.5": json.Number("9223372036854775807.5"), "1.00000000000000000001": json.Number("1.00000000000000000001"),
		"9223372036854776000": 9223372036854776000.0, "10000000000000000000": 1e19, "1e19": 1e19, "1e30": 1e30, "-1e30": -1e30,
		"1" + strings.Repeat("0", 30): 1e30, "1" + strings.Repeat("0", 30) + ".0": 1e30, "1" + strings.Repeat("0", 400): json.Number("1" + strings.Repeat("0", 400)),
		"0.1": 0.1, "-0.25": -0.25, "0.10": 0.1, "1e-1": 0.1, "0." + strings.Repeat("0", 200) + "1": 1e-201, "1.5e+300": 1.5e300,
		"0.1000000000000000055511151231257827": json.Number("0.1000000000000000055511151231257827"), // the exact value of the float64 0.1
		"0.30000000000000004":                  0.30000000000000004, "0.30000000000000003": json.Number("0.30000000000000003"),
		"123456789012345.6": 123456789012345.6, "1234567890123456.7": json.Number("1234567890123456.7"), "1234567890123456.8": 1234567890123456.8,
		"1.7976931348623157e308": math.MaxFloat64, "1.7976931348623158e308": json.Number("1.7976931348623158e308"),
		"1e400": json.Number("1e400"), "-1e999": json.Number("-1e999"), "1e-400": json.Number("1e-400"), "1e99999999999999999999": json.Number("1e99999999999999999999"),
		"1e-99999999999999999999": json.Number("1e-99999999999999999999"),
		"5e-324":                  5e-324, "4.9e-324": json.Number("4.9e-324"), "3e-324": json.Number("3e-324"), "2.2250738585072014e-308": 2.2250738585072014e-308,
		"2.225073858507201e-308": 2.225073858507201e-308, "1.5e-310": 1.5e-310,
	} {
		got := checkDecodeValue(t, []byte(literal))
		if !sameValue(got, want) {
			t.Errorf("%s is %T %v, want %T %v", literal, got, got, want, want)
		}
		rec := decodeRecord(t, `{"cookie":{},"n":`+literal+`}`)
		if !sameValue(rec.Values["n"], want) {
			t.Errorf("%s in a record is %T %v, want %T %v", literal, rec.Values["n"], rec.Values["n"], want, want)
		}
		if written := appendRecord(t, rec.Cookie, rec.Raw); !strings.HasSuffix(written, `"n":`+literal+"}") {
			t.Errorf("%s is written back as %s", literal, written)
		}
		// Writing the Go value loses nothing.
		written := appendRecord(t, rec.Cookie, rec.Values)
		_, written, _ = strings.Cut(written, `"n":`)
		written = strings.TrimSuffix(written, "}")
		if _, ok := want.(json.Number); ok {
			if written != literal {
				t.Errorf("%s is written as %s", literal, written)
			}
		} else if mantissa, _, _ := strings.Cut(strings.ToLower(literal), "e"); strings.ContainsAny(mantissa, "123456789") && rat(t, written).Cmp(rat(t, literal)) != 0 {
			t.Errorf("%s is written as %s", literal, written)
		}
		if again := checkEncodeValue(t, got); !sameValue(again, got) {
			t.Errorf("%T %v is stored as %T %v", got, got, again, again)
		}
	}
}

func rat(t *testing.T, s string) *big.Rat {
	t.Helper()
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		t.Fatalf("%s is no number", s)
	}
	return r
}

func TestDecodeValue(t *testing.T) {
	for in, want := range map[string]any{
		` null `: nil, `true`: true, "\tfalse\n": false, `""`: "", `"a\u0000\ud800\/\ud83c\udf6a"`: "a\x00\ufffd/🍪", "\"a\xff\"": "a\ufffd",
		`{}`: map[string]any{}, `[]`: []any{}, `[ ]`: []any{}, `{ }`: map[string]any{},
		`{"a":1,"b":[1.5,{"c":null}],"a":"last"}`: map[string]any{"a": "last", "b": []any{1.5, map[string]any{"c": nil}}},
		`[12345678901234567891,-0,1e2]`:           []any{json.Number("12345678901234567891"), math.Copysign(0, -1), 100},
		`"\ud800\ud83c\udf6a"`:                    "\ufffd🍪", `"\ud800\ud800"`: "\ufffd\ufffd", `"\ud800\n"`: "\ufffd\n", `"\udf6a\uD83C"`: "\ufffd\ufffd", `"\ud800\ufffd"`: "\ufffd\ufffd",
	} {
		if got := checkDecodeValue(t, []byte(in)); !sameValue(got, want) {
			t.Errorf("%s is %#v, want %#v", in, got, want)
		}
	}
	for _, in := range []string{
		``, ` `, `hunter2`, `"hunter2`, `{"hunter2"}`, `{"hunter2":}`, `["hunter2",]`, `"hunter2" 1`, `1 2`, `{}}`, `[1`, `{"a":1`, `{"a"`, `{,"a":1}`, `{"a":1,}`, `{"a" 1}`, `[,]`,
		`01`, `-`, `+1`, `1.`, `.5`, `1e`, `1e+`, `--1`, `1a`, `tru`, `truE`, `nul`, `True`, `NaN`, `-Infinity`, `"\x"`, `"\u12"`, `"\u12g4"`, `"\`, `"\u`, "\"\t\"", "\"a long text before \x1f\"", "\x00", "\ufeff1",
	} {
		checkDecodeValue(t, []byte(in))
	}
}

// A string's bytes are validated at every position within a word of eight.
func TestTextAnywhere(t *testing.T) {
	for n := range 20 {
		for after := range 20 {
			for _, what := range []string{"", `\"`, `\\`, `\u00e9`, `\ud83c\udf6a`, "é", "\xff", "\x7f", "\x80", "\x1f", "\x00", " ", "!", "#", "[", "]", `\`, `"`} {
				in := `"` + strings.Repeat("x", n) + what + strings.Repeat("y", after) + `"`
				checkDecodeValue(t, []byte(in))
				_, _ = checkDecode(t, []byte(`{"cookie":{},`+in+`:[`+in+`]}`))
			}
		}
	}
}

func TestDecodeRecordCorruptNested(t *testing.T) {
	for _, nested := range []string{
		`hunter2`, `tru`, `01`, `1.`, `-`, `"`, `"\x"`, `"\u12"`, "\"\x01\"", `[`, `[1`, `[1,]`, `[1 2]`, `[1}`, `{`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{a:1}`, `{"a":1]`, `{"\x":1}`, `{1:1}`, `{"a" 1}`, `,`,
	} {
		for _, in := range []string{`[%s]`, `{"k":%s}`, `[[],{"x":[%s]}]`} {
			record := `{"cookie":{},"v":` + fmt.Sprintf(in, nested) + `}`
			for _, decode := range []func([]byte) (Record, error){DecodeRecord, decodeValues} {
				if _, err := decode([]byte(record)); err == nil || err.Error() != "session record: not a JSON object" {
					t.Errorf("%q: %v", record, err)
				}
			}
			_, _ = checkDecode(t, []byte(record))
		}
	}
}

type text string

func TestEncodeValue(t *testing.T) {
	type point struct{ X, Y int }
	for _, tt := range []struct{ v, want any }{
		{nil, nil},
		{true, true},
		{false, false},
		{"", ""},
		{"é<&>\u2028", "é<&>\u2028"},
		{"a\xff\xfe\xed\xa0\x80b", "a\ufffd\ufffd\ufffd\ufffd\ufffdb"},
		{text("x\xff"), "x\ufffd"},
		{0, 0},
		{-7, -7},
		{math.MaxInt, math.MaxInt},
		{int64(5), 5},
		{int64(math.MaxInt64), whole(math.MaxInt64)},
		{int64(math.MinInt64), whole(math.MinInt64)},
		{uint8(5), 5},
		{uint64(math.MaxInt64), whole(math.MaxInt64)},
		{uint64(12345678901234567891), json.Number("12345678901234567891")},
		{uint64(1e19), 1e19},
		{time.Hour, whole(3600000000000)},
		{0.1, 0.1},
		{2.0, 2},
		{1e18, whole(1e18)},
		{1e30, 1e30},
		{math.Copysign(0, -1), math.Copysign(0, -1)},
		{math.MaxFloat64, math.MaxFloat64},
		{float32(0.1), 0.1},
		{json.Number("1e2"), 100},
		{json.Number("1e400"), json.Number("1e400")},
		{json.Number(""), 0},
		{(*point)(nil), nil},
		{map[string]any(nil), nil},
		{[]byte("hi"), "aGk="},
		{time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), "2026-01-02T03:04:05Z"},
		{point{1, 2}, Raw(`{"X":1,"Y":2}`)},
		{map[string]any{"b": "<", "a": []int{}}, Raw(`{"a":[],"b":"<"}`)},
		{[]any{Raw(`{"a":1.0}`)}, Raw(`[{"a":1.0}]`)},
		{json.RawMessage(` 1.0 `), 1},
		{json.RawMessage(` { "a" : 1.0 } `), Raw(`{"a":1.0}`)},
		{Raw(` [1.0] `), Raw(` [1.0] `)},
	} {
		got, err := EncodeValue(tt.v)
		if err != nil || !sameValue(got, tt.want) {
			t.Errorf("%#v is %#v, %v, want %#v", tt.v, got, err, tt.want)
		}
		if _, ok := tt.v.(Raw); ok {
			continue // its white space is part of the Raw, but not of the decoded value
		}
		if again := checkEncodeValue(t, tt.v); !sameValue(again, tt.want) {
			t.Errorf("%#v is %#v the second time", tt.v, again)
		}
	}
}

func TestEncodeValueErrors(t *testing.T) {
	for _, tt := range []struct {
		v    any
		want string
	}{
		{make(chan int), "session record: JSON cannot hold this chan int"},
		{math.NaN(), "session record: JSON cannot hold this float64"},
		{math.Inf(1), "session record: JSON cannot hold this float64"},
		{json.Number("hunter2"), "session record: JSON cannot hold this json.Number"},
		{map[string]any{"hunter2": Raw("hunter2")}, "session record: JSON cannot hold this map[string]interface {}"},
		{[]any{Raw(nil)}, "session record: JSON cannot hold this []interface {}"},
		{failingMarshaler{}, "session record: JSON cannot hold this wire.failingMarshaler"},
		{nested(9999), "session record: JSON cannot hold this []interface {}"},
	} {
		if got, err := EncodeValue(tt.v); got != nil || err == nil || err.Error() != tt.want {
			t.Errorf("got  %v, %v\nwant %s", got, err, tt.want)
		}
	}
	if _, err := EncodeValue(nested(9998)); err != nil {
		t.Error(err)
	}
}

func TestEncodeValueAllocations(t *testing.T) {
	for _, v := range []any{nil, true, "a text", 1234567, Raw(`{}`)} {
		if n := testing.AllocsPerRun(100, func() { _, _ = EncodeValue(v) }); n > 0 {
			t.Errorf("%T: %v allocations", v, n)
		}
	}
}
