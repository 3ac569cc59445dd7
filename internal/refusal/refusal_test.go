package refusal_test

import (
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/samesid/samesid/internal/refusal"
)

func TestList(t *testing.T) {
	l := refusal.List{Package: "adapter", Struct: "Options"}
	if err := l.Err(); err != nil {
		t.Errorf("an empty list is the error %v", err)
	}
	l.Add("Name", "is empty: %w", io.EOF)
	l.Add("Cookie.MaxAge TTL", "both are given; drop one")
	err := l.Err()
	if got, want := err.Error(), "adapter: Options.Name: is empty: EOF\nadapter: Options.Cookie.MaxAge and Options.TTL: both are given; drop one"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !errors.Is(err, io.EOF) {
		t.Error("the cause is lost")
	}
	var first *refusal.Error
	if !errors.As(err, &first) || !slices.Equal(first.Fields, []string{"Options.Name"}) {
		t.Errorf("the first refusal is %+v", first)
	}
}

func TestSeveralCauses(t *testing.T) {
	l := refusal.List{Package: "redis", Struct: "Options"}
	l.Add("TLS.CertFile TLS.KeyFile", "%w and %w", io.EOF, io.ErrNoProgress)
	for _, cause := range []error{io.EOF, io.ErrNoProgress} {
		if !errors.Is(l.Err(), cause) {
			t.Errorf("%v is lost", cause)
		}
	}
}
