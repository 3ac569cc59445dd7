package refusal_test

import (
	"errors"
	"io"
	"slices"
	"testing"
	"time"

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

func TestChecks(t *testing.T) {
	type options struct {
		Layout   string
		Interval time.Duration
		Timeout  time.Duration
		Max      int
		Pool     struct{ Idle int }
		Conns    int                     `for:"Open"`
		TLS      struct{ CAFile string } `for:"Open"`
	}
	o := options{Layout: "x", Interval: -1, Timeout: 90, Max: -1, Conns: -2}
	o.Pool.Idle, o.TLS.CAFile = -3, "f"
	l := refusal.List{Package: "p", Struct: "O"}
	l.Numbers(o, "Max")
	l.OnlyOpen(o, "set it up elsewhere")
	l.OneOf("Layout", "x", []string{"a", "b", "c"})
	l.OneOf("Layout", "b", []string{"a", "b", "c"})
	for _, p := range [][2]int{{0, 0}, {3, 3}, {5, 0}, {6, 0}, {4, 3}} {
		l.Pool(p[0], p[1], 5)
	}
	l.Pair("c", "")
	l.Pair("", "")
	l.Pair("c", "k")
	l.Add("Layout url", "do not go together")
	const want = `p: O.Interval: is negative; 0 is the default
p: O.Timeout: 90ns is too short: a number without a unit is in nanoseconds; did you mean 90*time.Second (if it is in seconds) or 90*time.Millisecond (in milliseconds, as in Express)?
p: O.Pool.Idle: is negative; 0 is the default
p: O.Conns: is negative; 0 is the default
p: O.Conns: is for Open; set it up elsewhere
p: O.TLS: is for Open; set it up elsewhere
p: O.Layout: "x" is unknown; use a, b or c
p: O.MaxIdleConns and O.MaxConns: no more connections can stay open (6) than there may be (by default 5); lower the first or give the second
p: O.MaxIdleConns and O.MaxConns: no more connections can stay open (4) than there may be (3); lower the first or raise the second
p: O.TLS.CertFile and O.TLS.KeyFile: go together; give both or neither
p: O.Layout and url: do not go together`
	if got := l.Err().Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
