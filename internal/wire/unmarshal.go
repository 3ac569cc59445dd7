package wire

import (
	"bytes"
	"encoding"
	"encoding/json"
	"math"
	"reflect"
	"strconv"
	"strings"
	"sync"
)

// Unmarshal is json.Unmarshal for a v that points to a zero value, and reads the plain
// parts of structs several times as fast: strings, booleans, numbers, slices and structs of
// those, under the exact names of the fields. All else, and each error, is encoding/json's.
func Unmarshal(b []byte, v any) error {
	p := reflect.ValueOf(v)
	if p.Kind() == reflect.Pointer && !p.IsNil() {
		if decode := decoderOf(p.Type().Elem()); decode != nil {
			r := reader{b: b}
			_, i := next(b, 0)
			if i = decode(&r, p.Elem(), i, 0); i != invalid {
				_, i = next(b, i)
			}
			if i == len(b) {
				return nil
			}
			p.Elem().SetZero()
		}
	}
	return json.Unmarshal(b, v)
}

// decoder reads the value at i into v, which is zero. It returns the index after it, or
// invalid for what encoding/json is to decide.
type decoder func(r *reader, v reflect.Value, i, depth int) (end int)

var decoders sync.Map // reflect.Type → decoder

// decoderOf returns the decoder of a type, nil if encoding/json is to read all of it.
func decoderOf(t reflect.Type) decoder {
	if d, ok := decoders.Load(t); ok {
		return d.(decoder)
	}
	d := newDecoder(t, nil)
	decoders.Store(t, d)
	return d
}

// newDecoder makes the decoder of a type inside of others.
func newDecoder(t reflect.Type, inside []reflect.Type) decoder {
	for _, outer := range inside {
		if t == outer {
			return nil
		}
	}
	for _, own := range []reflect.Type{reflect.TypeFor[json.Unmarshaler](), reflect.TypeFor[encoding.TextUnmarshaler]()} {
		if t.Implements(own) || reflect.PointerTo(t).Implements(own) {
			return nil
		}
	}
	switch t.Kind() {
	case reflect.String:
		if t != reflect.TypeFor[json.Number]() {
			return decodeString
		}
	case reflect.Bool:
		return decodeBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return decodeInt
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return decodeUint
	case reflect.Float32, reflect.Float64:
		return decodeFloat
	case reflect.Slice:
		if t.Elem().Kind() != reflect.Uint8 { // base64
			return sliceDecoder(t, inside)
		}
	case reflect.Struct:
		return structDecoder(t, inside)
	}
	return nil
}

// isNull returns the index after a null, which leaves what it is read into as it is.
func isNull(r *reader, i int) int {
	return skipWord(r.b, i, "null")
}

func decodeString(r *reader, v reflect.Value, i, _ int) int {
	if i >= len(r.b) || r.b[i] != '"' {
		return isNull(r, i)
	}
	t := scanText(r.b, i)
	if t.end != invalid {
		v.SetString(r.text(t))
	}
	return t.end
}

func decodeBool(r *reader, v reflect.Value, i, _ int) int {
	if end := skipWord(r.b, i, "true"); end != invalid {
		v.SetBool(true)
		return end
	}
	if end := skipWord(r.b, i, "false"); end != invalid {
		return end
	}
	return isNull(r, i)
}

func decodeInt(r *reader, v reflect.Value, i, _ int) int {
	end := skipNumber(r.b, i)
	if end == invalid {
		return isNull(r, i)
	}
	n, err := strconv.ParseInt(string(r.b[i:end]), 10, 64)
	if err != nil || v.OverflowInt(n) {
		return invalid
	}
	v.SetInt(n)
	return end
}

func decodeUint(r *reader, v reflect.Value, i, _ int) int {
	end := skipNumber(r.b, i)
	if end == invalid {
		return isNull(r, i)
	}
	n, err := strconv.ParseUint(string(r.b[i:end]), 10, 64)
	if err != nil || v.OverflowUint(n) {
		return invalid
	}
	v.SetUint(n)
	return end
}

func decodeFloat(r *reader, v reflect.Value, i, _ int) int {
	end := skipNumber(r.b, i)
	if end == invalid {
		return isNull(r, i)
	}
	f, err := strconv.ParseFloat(string(r.b[i:end]), v.Type().Bits())
	if err != nil || v.OverflowFloat(f) {
		return invalid
	}
	v.SetFloat(f)
	return end
}

// decodeOther has encoding/json read the value.
func decodeOther(r *reader, v reflect.Value, i, depth int) int {
	end := skipValue(r.b, i, depth)
	if end == invalid || json.Unmarshal(r.b[i:end], v.Addr().Interface()) != nil {
		return invalid
	}
	return end
}

// partDecoder returns the decoder of a part of the types that it is inside of.
func partDecoder(t reflect.Type, inside []reflect.Type) decoder {
	if d := newDecoder(t, inside); d != nil {
		return d
	}
	return decodeOther
}

func sliceDecoder(t reflect.Type, inside []reflect.Type) decoder {
	element := partDecoder(t.Elem(), append(inside, t))
	return func(r *reader, v reflect.Value, i, depth int) int {
		if i >= len(r.b) || r.b[i] != '[' || depth >= maxDepth {
			return isNull(r, i)
		}
		c, i := next(r.b, i+1)
		if c == ']' {
			v.Set(reflect.MakeSlice(t, 0, 0))
			return i + 1
		}
		for n := 0; ; n++ {
			v.Grow(1)
			v.SetLen(n + 1)
			if i = element(r, v.Index(n), i, depth+1); i == invalid {
				return invalid
			}
			switch c, i = next(r.b, i); c {
			case ',':
				_, i = next(r.b, i+1)
			case ']':
				return i + 1
			default:
				return invalid
			}
		}
	}
}

type field struct {
	name   []byte
	index  int
	decode decoder
}

// structDecoder returns nil for a struct with a field whose name or reading is not plain.
func structDecoder(t reflect.Type, inside []reflect.Type) decoder {
	var fields []field
	names := map[string]bool{}
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		if f.Anonymous {
			return nil
		}
		if !f.IsExported() || tag == "-" {
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		if name == "" {
			name = f.Name
		}
		plain := !strings.ContainsFunc(name, func(c rune) bool { return c > '~' || !isAlnum(byte(c)) && c != '_' && c != '-' && c != '.' })
		if !plain || names[name] || options != "" && options != "omitempty" && options != "omitzero" {
			return nil
		}
		names[name] = true
		fields = append(fields, field{[]byte(name), i, partDecoder(f.Type, append(inside, t))})
	}
	if len(fields) > 64 {
		return nil
	}
	return func(r *reader, v reflect.Value, i, depth int) int {
		if i >= len(r.b) || r.b[i] != '{' || depth >= maxDepth {
			return isNull(r, i)
		}
		var seen uint64
		key, i, more := r.member(i+1, true)
		for ; more; key, i, more = r.member(i, false) {
			f := findField(fields, r.bytes(key))
			switch {
			case f == math.MaxInt:
				i = skipValue(r.b, i, depth+1)
			case f < 0 || seen&(1<<f) != 0:
				return invalid
			default:
				seen |= 1 << f
				i = fields[f].decode(r, v.Field(fields[f].index), i, depth+1)
			}
		}
		return i
	}
}

// findField returns the index of the field with a name, MaxInt for a name of none, and -1
// for one that encoding/json takes for a field's although it is spelt otherwise.
func findField(fields []field, name []byte) int {
	for i := range fields {
		if bytes.Equal(name, fields[i].name) {
			return i
		}
	}
	for i := range fields {
		if bytes.EqualFold(name, fields[i].name) {
			return -1
		}
	}
	return math.MaxInt
}
