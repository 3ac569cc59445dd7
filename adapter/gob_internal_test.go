package adapter

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"math"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
)

type (
	gobUser struct {
		ID      int
		Name    string
		Roles   []string
		Since   time.Time
		Address *gobAddress
		Next    *gobUser
		Limits  map[string]gobColor
		note    string
	}
	gobAddress struct{ Street string }
	gobColor   string
	gobAny     struct{ V any }
	gobHidden  struct {
		gobAddress
		Name string
	}
	// gobKeeper keeps the bytes that it is decoded from.
	gobKeeper struct{ b []byte }
)

func (k gobKeeper) GobEncode() ([]byte, error) { return k.b, nil }
func (k *gobKeeper) GobDecode(b []byte) error  { k.b = b; return nil }

func init() {
	for _, v := range []any{gobUser{}, &gobAddress{}, gobColor(""), gobAny{}, gobHidden{}, gobKeeper{}, map[string]any{}, []any{}, map[string]int{}} {
		gob.Register(v)
	}
}

func gobSamples() []map[string]any {
	user := gobUser{
		ID: 42, Name: "Ann", Roles: []string{"admin", ""}, Since: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
		Address: &gobAddress{"Main"}, Next: &gobUser{Name: "Bob"}, Limits: map[string]gobColor{"a": "red"}, note: "not kept",
	}
	return []map[string]any{
		nil,
		{},
		{"n": 1, "text": "a", "yes": true, "f": math.Inf(1), "b": []byte("x"), "t": time.Unix(5, 0).UTC(), "u": uint16(3)},
		{"nil": nil, "n": 1},
		{"user": user},
		{"user": gobUser{}, "n": 2},
		{"user": user, "address": &gobAddress{"Side"}, "color": gobColor("blue"), "units": []uint16{packed, 1}, "hidden": gobHidden{Name: "h"}},
		{"keeper": gobKeeper{[]byte("kept")}, "other": gobKeeper{[]byte("too")}},
		{"any": gobAny{user}, "user": user},
		{"any": gobAny{V: gobAny{}}},
		{"any": gobAny{1}},
		{"any": gobAny{user}}, // the same types as before, as far as they are seen
		{"map": map[string]any{"user": user, "n": 1}},
		{"list": []any{user, 1, gobColor("red")}, "map": map[string]int{"a": 1}},
	}
}

// Records of gobCodec are those of scs.GobCodec: either reads what the other has written,
// whatever the encoders and decoders have seen before.
func TestGobCodecIsSCSs(t *testing.T) {
	deadline := time.Date(2026, 11, 26, 1, 2, 3, 4, time.UTC)
	check := func() {
		for _, values := range gobSamples() {
			for _, at := range []time.Time{deadline, {}} {
				want, err := scs.GobCodec{}.Encode(at, values)
				if err != nil {
					t.Error(err)
					return
				}
				_, wantValues, err := scs.GobCodec{}.Decode(want)
				if err != nil {
					t.Error(err)
					return
				}
				b, err := gobCodec{}.Encode(at, values)
				if err != nil {
					t.Errorf("%v: %v", values, err)
					return
				}
				var all []map[string]any
				for name, decode := range map[string]func([]byte) (time.Time, map[string]any, error){
					"scs": scs.GobCodec{}.Decode, "own": gobCodec{}.Decode,
				} {
					for by, record := range map[string][]byte{"scs": want, "own": b} {
						gotAt, got, err := decode(record)
						if err != nil || !gotAt.Equal(at) {
							t.Errorf("%v, written by %s, read by %s: %v, %v", values, by, name, gotAt, err)
						}
						all = append(all, got)
					}
				}
				for _, got := range all { // also after later ones were decoded
					if !reflect.DeepEqual(got, wantValues) {
						t.Errorf("got %v, want %v", got, wantValues)
					}
				}
			}
		}
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 5 {
				check()
			}
		})
	}
	wg.Wait()
}

// What scs.GobCodec refuses is refused with its error, and spoils nothing.
func TestGobCodecFailsAsSCSs(t *testing.T) {
	type unregistered struct{ A int }
	type late struct{ F func() }
	gob.Register(late{})
	var noAddress *gobAddress
	good := gobSamples()[4]
	for name, values := range map[string]map[string]any{
		"unregistered":    {"a": unregistered{1}, "user": good["user"]},
		"nil pointer":     {"a": noAddress, "user": good["user"]},
		"a function":      {"a": late{func() {}}},
		"a bad time":      {"t": time.Date(2026, 1, 1, 0, 0, 0, 0, time.FixedZone("", 40*24*3600))},
		"inside of any":   {"a": gobAny{unregistered{1}}},
		"a bad time zone": {"user": gobUser{Since: time.Date(2026, 1, 1, 0, 0, 0, 0, time.FixedZone("", 40*24*3600))}},
	} {
		for range 3 {
			gobEncoders.mu.Lock()
			gobEncoders.pools = nil // so that it is the first record of its types
			gobEncoders.mu.Unlock()
			_, want := scs.GobCodec{}.Encode(time.Now(), values)
			_, err := gobCodec{}.Encode(time.Now(), values)
			if want == nil || fmt.Sprint(err) != fmt.Sprint(want) {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
			b, err := gobCodec{}.Encode(time.Now(), map[string]any{"n": 1})
			if _, _, err2 := (scs.GobCodec{}).Decode(b); errors.Join(err, err2) != nil {
				t.Errorf("after %s: %v, %v", name, err, err2)
			}
			b, err = gobCodec{}.Encode(time.Now(), good)
			_, got, err2 := scs.GobCodec{}.Decode(b)
			if err := errors.Join(err, err2); err != nil || !reflect.DeepEqual(got["user"].(gobUser).Roles, good["user"].(gobUser).Roles) {
				t.Errorf("after %s: %v, %v", name, got, err)
			}
		}
	}
}

// A record that is read again and again, and one that is written so, cost no new
// encoder or decoder.
func TestGobDefinitionsAreReadOnce(t *testing.T) {
	values := gobSamples()[4]
	b, err := gobCodec{}.Encode(time.Now(), values)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ own, scs func() }{
		"decode": {func() { _, _, _ = gobCodec{}.Decode(b) }, func() { _, _, _ = scs.GobCodec{}.Decode(b) }},
		"encode": {func() { _, _ = gobCodec{}.Encode(time.Now(), values) }, func() { _, _ = scs.GobCodec{}.Encode(time.Now(), values) }},
	} {
		// The race detector lets a sync.Pool drop one value in four at random.
		if own, scs := testing.AllocsPerRun(1000, tt.own), testing.AllocsPerRun(100, tt.scs); own > scs*2/3 {
			t.Errorf("%s: %v allocations, scs has %v", name, own, scs)
		}
	}
}

// The pools have a bound, and are usable beyond it.
func TestGobPoolsAreBounded(t *testing.T) {
	var p gobPools
	for i := range 3 * maxGobPools {
		key := fmt.Append(nil, i)
		if p.of(key) == nil || p.of(key) != p.of(bytes.Clone(key)) || len(p.pools) > maxGobPools {
			t.Fatalf("%d: %d pools", i, len(p.pools))
		}
	}
}

// LongForGob reports whether a number in a record would be a long length of a map: package
// gob takes it as it stands, and makes room for that many values.
func LongForGob(b []byte) bool {
	for i := range b {
		if u, width := gobUint(b[i:]); width > 3 && u > 1<<20 {
			return true
		}
	}
	return false
}

// FuzzGobCodec compares the two on any bytes.
func FuzzGobCodec(f *testing.F) {
	for _, values := range gobSamples() {
		for _, codec := range []scs.Codec{scs.GobCodec{}, gobCodec{}} {
			b, err := codec.Encode(time.Unix(1, 0), values)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if LongForGob(b) {
			return
		}
		wantAt, want, wantErr := scs.GobCodec{}.Decode(b)
		for range 2 {
			at, got, err := gobCodec{}.Decode(b)
			if fmt.Sprint(err) != fmt.Sprint(wantErr) || !at.Equal(wantAt) || len(got) != len(want) || (got == nil) != (want == nil) {
				t.Fatalf("%x: %v, %v, %v; want %v, %v, %v", b, at, got, err, wantAt, want, wantErr)
			}
			for k, v := range want {
				if w, ok := got[k]; !ok || reflect.TypeOf(v) != reflect.TypeOf(w) {
					t.Fatalf("%x: %v, want %v", b, got, want)
				}
			}
		}
	})
}
