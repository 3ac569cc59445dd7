package driver_test

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/samesid/samesid/backends/driver"
	"github.com/samesid/samesid/backends/memory"
)

type options struct {
	Layout   layout        `key:"layout"`
	Name     string        `key:"name also=nom|nome"`
	Mode     string        `key:"mode oneof=on|off"`
	File     string        `key:"file path"`
	Interval time.Duration `key:"interval unit=ms never=0|false" or:"pause unit=s never=false of=connect-x"`
	Inner    struct {
		Deep int `key:"deep"`
	}
	Logger *slog.Logger
}

type layout string

var tape = driver.New(driver.Backend{
	Type: "tape", Title: "Tape", Schemes: []string{"tape:"}, MoreSchemes: []string{"reel:"},
	Layouts: []driver.Layout{{Name: "plain"}, {Name: "connect-x", Express: true}},
}, func(url string, o options) error {
	if o.Name == "" {
		return errors.New("tape: no name")
	}
	return nil
}, func(_ context.Context, url string, o options, _ *slog.Logger) (*memory.Store, error) {
	return nil, errors.New("tape: " + url)
})

func TestSettings(t *testing.T) {
	text, span := reflect.TypeFor[string](), reflect.TypeFor[time.Duration]()
	want := []driver.Setting{
		{Field: "Layout", Index: []int{0}, Type: reflect.TypeFor[layout](), Spelling: driver.Spelling{Key: "layout"}, OneOf: []string{"plain", "connect-x"}},
		{Field: "Name", Index: []int{1}, Type: text, Spelling: driver.Spelling{Key: "name", Also: []string{"nom", "nome"}}},
		{Field: "Mode", Index: []int{2}, Type: text, Spelling: driver.Spelling{Key: "mode"}, OneOf: []string{"on", "off"}},
		{Field: "File", Index: []int{3}, Type: text, Spelling: driver.Spelling{Key: "file"}, Path: true},
		{
			Field: "Interval", Index: []int{4}, Type: span,
			Spelling: driver.Spelling{Key: "interval", Unit: time.Millisecond, Never: []any{0, false}},
			Or:       driver.Spelling{Key: "pause", Unit: time.Second, Never: []any{false}, Of: "connect-x"},
		},
		{Field: "Inner.Deep", Index: []int{5, 0}, Type: reflect.TypeFor[int](), Spelling: driver.Spelling{Key: "deep"}},
	}
	if got := tape.Settings(); !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

func TestMalformedTags(t *testing.T) {
	for why, o := range map[string]any{
		"has no key": struct {
			A int `key:""`
		}{},
		"a unit is ms or s": struct {
			A time.Duration `key:"a unit=m"`
		}{},
		"never is 0, false or both": struct {
			A time.Duration `key:"a never=no"`
		}{},
		"unknown word onof": struct {
			A string `key:"a onof=x"`
		}{},
	} {
		func() {
			defer func() {
				if text, _ := recover().(string); !strings.Contains(text, "A") || !strings.Contains(text, why) {
					t.Errorf("panics with %q, want %q", text, why)
				}
			}()
			driver.Backend{Options: o}.Settings()
			t.Errorf("%T is accepted", o)
		}()
	}
}

func TestBackend(t *testing.T) {
	for url, want := range map[string]bool{"tape:x": true, "reel://x": true, "tape": false, "x": false, "": false} {
		if tape.Accepts(url) != want {
			t.Errorf("Accepts of %q is %v", url, !want)
		}
	}
	for name, want := range map[layout]string{"": "plain", "plain": "plain", "connect-x": "connect-x", "other": ""} {
		if got := tape.Layout(options{Layout: name}).Name; got != want {
			t.Errorf("the layout of %q is %q, want %q", name, got, want)
		}
	}
	if err := tape.Validate("", tape.Options); err == nil || err.Error() != "tape: no name" {
		t.Errorf("Validate: %v", err)
	}
	// The nil store of a failed open is a nil interface.
	if s, err := tape.Open(t.Context(), "here", options{}, nil); s != nil || err == nil || err.Error() != "tape: here" {
		t.Errorf("Open: %v, %v", s, err)
	}
}
