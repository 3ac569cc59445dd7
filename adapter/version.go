package adapter

import (
	"bytes"
	"maps"
	"reflect"
	"slices"

	"github.com/samesid/samesid/internal/wire"
)

// version is one state of a session's data, which never changes: as the store has it,
// or as this request has made it. nil is a session without data.
type version struct {
	codec recordCodec
	data  []byte         // the record; nil for a version in JSON that was made here
	live  map[string]any // the values as they were encoded, if it was made here; what they hold may change later
	rec   *record        // decoded when it is needed
	basic map[string]any // those of the values that are basic, if decoding again takes long
}

// record decodes the version. Its values are never handed out.
func (v *version) record() (*record, error) {
	if v == nil {
		return &record{}, nil
	}
	if v.rec == nil {
		r, err := v.codec.decodeVerbatim(v.data)
		if err != nil {
			return nil, err
		}
		v.rec = &r
	}
	return v.rec, nil
}

// differs reports whether the value under a key is another than was, which is a
// value of another version's record.
func (v *version) differs(key string, was any) (bool, error) {
	if v.live != nil && v.rec == nil {
		// What is equal before it is encoded needs no decoding to be compared.
		now := v.live[key]
		switch {
		case v.codec.basic(now) && v.codec.basic(was):
			return now != was, nil
		case equal(plain(now), plain(was)):
			return false, nil
		}
	}
	r, err := v.record()
	if err != nil {
		return false, err
	}
	return !equal(plain(r.values[key]), plain(was)), nil
}

// plain is a value without the wrapping of lazyValue.
func plain(v any) any {
	if lazy, ok := v.(*lazyValue); ok {
		raw, err := lazy.json()
		if err == nil {
			return raw
		}
	}
	return v
}

// keys returns the keys of the version.
func (v *version) keys() (map[string]any, error) {
	if v != nil && v.rec == nil && v.live != nil {
		return v.live, nil
	}
	r, err := v.record()
	if err != nil {
		return nil, err
	}
	return r.values, nil
}

// changes calls fn for each key that is new, changed or gone in v, compared with an
// older version, until fn returns false.
func (v *version) changes(older *version, fn func(key string) (more bool)) error {
	if v == older {
		return nil
	}
	now, err := v.keys()
	if err != nil {
		return err
	}
	was, err := older.record()
	if err != nil {
		return err
	}
	for k := range was.values {
		if _, ok := now[k]; !ok && !fn(k) {
			return nil
		}
	}
	for k := range now {
		w, ok := was.values[k]
		changed := !ok
		if ok {
			if changed, err = v.differs(k, w); err != nil {
				return err
			}
		}
		if changed && !fn(k) {
			return nil
		}
	}
	return nil
}

// sameAs reports whether two versions have the same keys and values, as they come out
// of the store.
func (v *version) sameAs(older *version) (bool, error) {
	if v != nil && older != nil && older.rec == nil {
		// A basic value that differs settles it without decoding.
		for k, was := range older.basic {
			if now, ok := v.live[k]; ok && v.codec.basic(now) && now != was {
				return false, nil
			}
		}
	}
	same := true
	err := v.changes(older, func(string) bool { same = false; return false })
	return same, err
}

// holds reports whether values are the very ones that the version was made of. False may
// be wrong.
func (v *version) holds(values map[string]any) bool {
	if v == nil || v.live == nil {
		return v == nil && len(values) == 0
	}
	for k, now := range values {
		was, ok := v.live[k]
		if lazy, isLazy := now.(*lazyValue); isLazy {
			ok = ok && lazy.untouched()
		}
		if !ok || !identical(reflect.ValueOf(was), reflect.ValueOf(now)) {
			return false
		}
	}
	return len(values) == len(v.live)
}

// merge is a three-way merge: it returns the values of theirs, with what v has changed
// since base, their common ancestor, put over them.
func (v *version) merge(base, theirs *version) (map[string]any, error) {
	mine, err := v.record()
	if err != nil {
		return nil, err
	}
	there, err := theirs.record()
	if err != nil {
		return nil, err
	}
	merged := maps.Clone(there.unchanged())
	if merged == nil {
		merged = make(map[string]any, len(mine.values))
	}
	return merged, v.putOver(merged, base)
}

// putOver puts what v has changed since base over values.
func (v *version) putOver(values map[string]any, base *version) error {
	mine, err := v.record()
	if err != nil {
		return err
	}
	return v.changes(base, func(key string) bool {
		if value, ok := mine.unchanged()[key]; ok {
			values[key] = value
		} else {
			delete(values, key)
		}
		return true
	})
}

// equal is reflect.DeepEqual, at a fraction of its cost for what comes out of JSON.
// JSON text is compared by what it stands for.
func equal(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) || (a == nil) != (b == nil) {
			return false
		}
		for k, v := range a {
			if w, ok := b[k]; !ok || !equal(v, w) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		return ok && (a == nil) == (b == nil) && slices.EqualFunc(a, b, equal)
	case nil, bool, string, int, float64:
		return a == b
	case wire.Raw:
		b, ok := b.(wire.Raw)
		return ok && (bytes.Equal(a, b) || equalJSON(a, b))
	}
	return reflect.DeepEqual(a, b)
}

func equalJSON(a, b wire.Raw) bool {
	v, errA := wire.DecodeValue(a)
	w, errB := wire.DecodeValue(b)
	return errA == nil && errB == nil && equal(v, w)
}

// identical reports whether two values are one and the same, one that was changed in
// place since included. False may be wrong.
func identical(a, b reflect.Value) bool {
	if !a.IsValid() || !b.IsValid() {
		return a.IsValid() == b.IsValid()
	}
	if a.Type() != b.Type() {
		return false
	}
	switch a.Kind() {
	case reflect.Map, reflect.Pointer:
		return a.UnsafePointer() == b.UnsafePointer()
	case reflect.Slice:
		return a.UnsafePointer() == b.UnsafePointer() && a.Len() == b.Len()
	case reflect.Struct:
		for i := range a.NumField() {
			if !identical(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	}
	return a.Comparable() && a.Equal(b)
}
