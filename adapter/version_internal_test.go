package adapter

import (
	"fmt"
	"maps"
	"reflect"
	"testing"
	"time"

	"github.com/samesid/samesid/internal/wire"
)

var codecs = map[string]recordCodec{"json": jsonRecords{}, "gob": scsRecords{gobCodec{}}}

// storedVersion is a version as the store has it.
func storedVersion(t *testing.T, codec recordCodec, values map[string]any) *version {
	t.Helper()
	if values == nil {
		return nil
	}
	v := liveVersion(t, codec, values)
	if v.data == nil {
		data, err := codec.encode(*v.rec)
		if err != nil {
			t.Fatal(err)
		}
		v.data = data
	}
	return &version{codec: codec, data: v.data}
}

// liveVersion is one that a request has made.
func liveVersion(t *testing.T, codec recordCodec, values map[string]any) *version {
	t.Helper()
	v := &version{codec: codec, live: maps.Clone(values)}
	var err error
	if _, ok := codec.(jsonRecords); ok {
		v.rec = &record{cookie: wire.Cookie{Path: "/"}}
		v.rec.values, err = encodeValues(values)
	} else {
		v.data, err = codec.encode(record{expiry: time.Now(), values: values})
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestThreeWayMerge(t *testing.T) {
	type m = map[string]any
	list := func(n ...any) []string {
		var all []string
		for _, x := range n {
			all = append(all, fmt.Sprint(x))
		}
		return all
	}
	for name, tt := range map[string]struct{ base, mine, theirs, want m }{
		"nothing":           {m{"a": 1}, m{"a": 1}, m{"a": 1}, m{"a": 1}},
		"new":               {nil, m{"a": 1}, nil, m{"a": 1}},
		"mine":              {m{"a": 1}, m{"a": 2}, m{"a": 1}, m{"a": 2}},
		"theirs":            {m{"a": 1}, m{"a": 1}, m{"a": 2}, m{"a": 2}},
		"different keys":    {m{"a": 1, "b": 1}, m{"a": 2, "b": 1}, m{"a": 1, "b": 2}, m{"a": 2, "b": 2}},
		"one key":           {m{"a": 1}, m{"a": 2}, m{"a": 3}, m{"a": 2}},
		"both add":          {m{}, m{"a": 1}, m{"b": 1}, m{"a": 1, "b": 1}},
		"I remove":          {m{"a": 1, "b": 1}, m{"b": 1}, m{"a": 1, "b": 2}, m{"b": 2}},
		"they remove":       {m{"a": 1, "b": 1}, m{"a": 1, "b": 2}, m{"b": 1}, m{"b": 2}},
		"I change, removed": {m{"a": 1}, m{"a": 2}, m{}, m{"a": 2}},
		"I remove, changed": {m{"a": 1}, m{}, m{"a": 2}, m{}},
		"ended":             {m{"a": 1, "b": 1}, m{"a": 2, "b": 1}, nil, m{"a": 2}},
		"lists":             {m{"a": list(1), "b": list(1)}, m{"a": list(1), "b": list(2)}, m{"a": list(3), "b": list(1)}, m{"a": list(3), "b": list(2)}},
	} {
		for kind, codec := range codecs {
			t.Run(name+"/"+kind, func(t *testing.T) {
				merged, err := liveVersion(t, codec, tt.mine).merge(storedVersion(t, codec, tt.base), storedVersion(t, codec, tt.theirs))
				if err != nil {
					t.Fatal(err)
				}
				got := map[string]string{}
				for k, v := range merged {
					if raw, ok := v.(wire.Raw); ok {
						if v, err = wire.DecodeValue(raw); err != nil {
							t.Fatal(err)
						}
					}
					got[k] = fmt.Sprint(v)
				}
				want := map[string]string{}
				for k, v := range tt.want {
					want[k] = fmt.Sprint(v)
				}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("got %v, want %v", got, want)
				}
			})
		}
	}
}

func TestSameAs(t *testing.T) {
	type m = map[string]any
	at := time.Now().UTC() // with a monotonic clock, which no store keeps
	for name, tt := range map[string]struct {
		a, b m
		same bool
	}{
		"empty":         {m{}, nil, true},
		"equal":         {m{"a": 1, "b": "x"}, m{"a": 1, "b": "x"}, true},
		"basic":         {m{"a": 1}, m{"a": 2}, false},
		"more":          {m{"a": 1, "b": 1}, m{"a": 1}, false},
		"fewer":         {m{"a": 1}, m{"a": 1, "b": 1}, false},
		"another key":   {m{"a": 1}, m{"b": 1}, false},
		"list":          {m{"a": []string{"x"}}, m{"a": []string{"x"}}, true},
		"other list":    {m{"a": []string{"x"}}, m{"a": []string{"y"}}, false},
		"time":          {m{"a": at}, m{"a": at}, true},
		"other time":    {m{"a": at}, m{"a": at.Add(time.Second)}, false},
		"zero is there": {m{"a": 0}, m{}, false},
	} {
		for kind, codec := range codecs {
			mine, theirs := liveVersion(t, codec, tt.a), storedVersion(t, codec, tt.b)
			if c, ok := codec.(scsRecords); ok && theirs != nil {
				theirs.basic = c.basics(tt.b)
			}
			if same, err := mine.sameAs(theirs); err != nil || same != tt.same {
				t.Errorf("%s, %s: %t, %v", name, kind, same, err)
			}
		}
	}
}

// What was saved is compared with what it was then, although the handler has changed it in
// place since.
func TestHolds(t *testing.T) {
	values := map[string]any{"a": 1, "l": []any{1}, "j": &lazyValue{raw: wire.Raw(`{"n":1}`)}}
	v := liveVersion(t, jsonRecords{}, values)
	if !v.holds(values) || v.holds(map[string]any{"a": 1}) || (*version)(nil).holds(values) || !(*version)(nil).holds(nil) {
		t.Error("the very values are not told from others")
	}
	values["a"] = 2
	if v.holds(values) {
		t.Error("a change is not seen")
	}
	values["a"] = 1
	values["j"].(*lazyValue).get()
	if v.holds(values) {
		t.Error("a value that may have changed in place counts as the same")
	}
}
