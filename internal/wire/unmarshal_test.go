package wire

import (
	"encoding/json"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"
)

type (
	plainUser struct {
		ID    int    `json:"id"`
		Name  string `json:"name,omitempty"`
		Email string
		Admin bool     `json:"admin,omitzero"`
		Roles []string `json:"roles"`
		Score float64
		Small float32
		Byte  int8
		Wide  uint64
		note  string
		Skip  string `json:"-"`
		Home  struct {
			Street string
			Rooms  [][]uint16
		}
		Past []plainVisit
	}
	plainVisit struct {
		At   string
		Took int
	}
	// mixedUser has parts that encoding/json reads.
	mixedUser struct {
		Since   time.Time
		Age     *int
		Any     any
		Tags    map[string]string
		Raw     json.RawMessage
		Key     []byte
		Number  json.Number
		Upper   upperText
		Big     big.Int
		Pair    [2]int
		Inner   *plainUser
		Friends []mixedUser
		Level   levelName
		Name    string
	}
	upperText string
	levelName int
	embeds    struct {
		plainVisit
		Name string
	}
	quoted struct {
		N int `json:",string"`
		S string
	}
	odd struct {
		A int `json:"é"`
		B int `json:"b c"`
		C int `json:"k"`
	}
	tree struct {
		Name string
		Kids []tree
	}
)

// twice has two fields of one name, which vet would report in a type of the source.
var twice = reflect.StructOf([]reflect.StructField{
	{Name: "A", Type: reflect.TypeFor[int](), Tag: `json:"a"`},
	{Name: "B", Type: reflect.TypeFor[int](), Tag: `json:"a"`},
	{Name: "C", Type: reflect.TypeFor[int]()},
})

// dash has a field that is called "-", which staticcheck takes for a mistake.
var dash = reflect.StructOf([]reflect.StructField{{Name: "Dash", Type: reflect.TypeFor[int](), Tag: `json:"-,"`}})

func (u *upperText) UnmarshalText(b []byte) error {
	*u = upperText(strings.ToUpper(string(b)))
	return nil
}

func (l *levelName) UnmarshalJSON(b []byte) error {
	if string(b) == `"bad"` {
		return fmt.Errorf("a bad level")
	}
	*l = levelName(len(b))
	return nil
}

// unmarshalTargets are new values of each kind of type that Unmarshal treats in a way of its own.
func unmarshalTargets() []any {
	return []any{
		new(plainUser), reflect.New(dash).Interface(), new(mixedUser), new(embeds), new(quoted), reflect.New(twice).Interface(), new(odd), new(tree), new([]plainVisit), new([]string),
		new(string), new(int), new(uint8), new(float32), new(float64), new(bool), new(any), new(*plainUser), new(map[string]plainUser),
		new(json.Number), new([]byte), new(upperText), new([3]int),
	}
}

var unmarshalInputs = []string{
	`{"id":42,"name":"Ada","Email":"ada@example.com","admin":true,"roles":["a","b"],"Score":1.5e3,"Small":0.1,"Byte":-128,"Wide":18446744073709551615,"-":5,` +
		`"Home":{"Street":"é\n\ud83d\ude00 \ud800","Rooms":[[1,2],[],null,[3]]},"Past":[{"At":"now","Took":3},{},null]}`,
	`{"Since":"2026-11-26T00:00:00Z","Age":7,"Any":{"a":[1,null]},"Tags":{"a":"b"},"Raw":{"x": 1},"Key":"aGk=","Number":1e400,"Upper":"abc","Big":123456789012345678901234567890,` +
		`"Pair":[1,2,3],"Inner":{"id":1},"Friends":[{"Name":"B","Friends":[]},null],"Level":"ten","Name":"A"}`,
	`{"Since":null,"Age":null,"Any":null,"Tags":null,"Raw":null,"Key":null,"Number":null,"Upper":null,"Big":null,"Pair":null,"Inner":null,"Friends":null,"Level":null,"Name":null}`,
	`{"id":null,"name":null,"Email":null,"admin":null,"roles":null,"Score":null,"Small":null,"Byte":null,"Wide":null,"Home":null,"Past":null}`,
	`{"ID":1,"NAME":"a","email":"b"}`, `{"id":1,"id":2,"roles":["a","b"],"roles":["c"]}`, `{"Home":{"Street":"a"},"Home":{"Rooms":[[1]]}}`,
	`{"\u0069d":3,"n\u0061me":"x"}`, `{"na` + "\u017f" + `e":1,"\u212a":2,"k":3,"K":4}`, "{\"name\":\"a\xffb\",\"i\xffd\":1}", `{"name":"\ud800\u0041","x":"\udc00"}`,
	`{"id":1.0}`, `{"id":1e2}`, `{"id":99999999999999999999}`, `{"Byte":128}`, `{"Byte":-129}`, `{"Wide":-1}`, `{"Small":1e40}`, `{"Score":1e400}`, `{"id":"1"}`, `{"name":1}`,
	`{"admin":1}`, `{"admin":false}`, `{"roles":"a"}`, `{"roles":{}}`, `{"roles":[1]}`, `{"Home":[]}`, `{"Past":[1]}`, `{"Past":[{"Took":"x"}]}`, `{"Level":"bad","Name":"after"}`,
	`{"unknown":{"a":[1,{"b":null}]},"id":5}`, `{"note":"x","Skip":"y","-":7}`, ` {"id" : 1 , "roles" : [ "a" , "b" ] } `, `{}`, `[]`, `null`, `true`, `"text"`, `"aGk="`, `12`, `-0`, `1.25`,
	`[{"At":"a"},{"Took":1}]`, `["a",null,"b"]`, `{"Name":"r","Kids":[{"Name":"k","Kids":[{"Kids":null}]}]}`, `{"At":"x","Took":1,"Name":"n"}`, `{"N":"5","S":"\"x\""}`, `{"a":1,"C":2}`,
	`{"é":1,"b c":2,"B":3}`, ``, ` `, `{`, `{"id":}`, `{"id":1,}`, `{"id":01}`, `{"id":1}x`, `{"name":"a` + "\n" + `"}`, `{"name":"\x"}`, `nul`, `[1,]`, `{"roles":["a",]}`, `{"roles":["a"`,
	`{"x":` + strings.Repeat("[", 10001) + strings.Repeat("]", 10001) + `}`, strings.Repeat(`{"Kids":[`, 5001) + strings.Repeat(`]}`, 5001), strings.Repeat(`{"Kids":[`, 4999) + strings.Repeat(`]}`, 4999),
	`{"roles":["a"],"roles":null}`, `{"Past":[{"At":"a"},{"At":"b"}],"Past":[{"Took":1}]}`,
	`{"name":"` + strings.Repeat("x", 3000) + `","Email":"` + strings.Repeat("é", 2000) + `"}`,
}

// checkUnmarshal compares Unmarshal with encoding/json.
func checkUnmarshal(t *testing.T, in []byte) {
	t.Helper()
	wants := unmarshalTargets()
	for i, got := range unmarshalTargets() {
		want := wants[i]
		b := []byte(string(in))
		wantErr, err := json.Unmarshal(in, want), Unmarshal(b, got)
		if fmt.Sprint(err) != fmt.Sprint(wantErr) || !reflect.DeepEqual(got, want) {
			t.Fatalf("%.300q as %T:\ngot  %.300v, %v\nwant %.300v, %v", in, got, reflect.ValueOf(got).Elem(), err, reflect.ValueOf(want).Elem(), wantErr)
		}
	}
}

func TestUnmarshalIsEncodingJSONs(t *testing.T) {
	for _, in := range unmarshalInputs {
		checkUnmarshal(t, []byte(in))
	}
	for _, v := range []any{nil, plainUser{}, (*plainUser)(nil), 1} {
		if got, want := Unmarshal([]byte(`{}`), v), json.Unmarshal([]byte(`{}`), v); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("into %T: %v, want %v", v, got, want)
		}
	}
}

// A struct of plain parts is read without encoding/json: its strings are one allocation,
// beside the reader and a slice's.
func TestUnmarshalAllocations(t *testing.T) {
	in := []byte(`{"id":42,"name":"Ada","Email":"ada@example.com","admin":true,"roles":["a","b"],"Score":1.5,"unknown":[{}],"Home":{"Street":"Main"}}`)
	var u plainUser
	if n := testing.AllocsPerRun(100, func() {
		u = plainUser{}
		if err := Unmarshal(in, &u); err != nil {
			t.Fatal(err)
		}
	}); n > 4 {
		t.Errorf("%v allocations", n)
	}
	if u.Home.Street != "Main" || len(u.Roles) != 2 || u.note != "" {
		t.Errorf("got %+v", u)
	}
}

// A long text is scanned in a way of its own: whatever stands in it, wherever, is read as by
// encoding/json, and written so that it is read again.
func TestLongTexts(t *testing.T) {
	for _, special := range []string{"", "é", "\xff", "\n", "\x00", "\x1f", "\x7f", `"`, `\`, `\n`, `\"`, `\u00e9`, `\x`, "\u2028"} {
		for before := 60; before < 90; before++ {
			text := strings.Repeat("x", before) + special + strings.Repeat("y", 70)
			checkUnmarshal(t, []byte(`{"name":"`+text+`"}`))
			b := appendText([]byte("dst"), text)
			var got string
			if err := json.Unmarshal(b[3:], &got); err != nil || got != strings.ToValidUTF8(text, "\ufffd") || string(b[:3]) != "dst" {
				t.Errorf("%q is written as %q: %v", text, b, err)
			}
		}
	}
}

func FuzzUnmarshal(f *testing.F) {
	for _, in := range unmarshalInputs {
		if len(in) < 5000 {
			f.Add([]byte(in))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) { checkUnmarshal(t, in) })
}
