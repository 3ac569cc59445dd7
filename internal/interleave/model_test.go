package interleave

import (
	"slices"
	"testing"
)

// A request that did not find the session must follow one that ended it.
func TestNotFound(t *testing.T) {
	script := func(name string) Script {
		return Scripts[slices.IndexFunc(Scripts, func(s Script) bool { return s.Name == name })]
	}
	for _, c := range []struct {
		requests []string
		found    []bool
		want     int
	}{
		{[]string{"put"}, []bool{true}, 1},
		{[]string{"put"}, []bool{false}, 0},
		{[]string{"regenerate"}, []bool{false}, 0},
		{[]string{"put", "destroy"}, []bool{true, true}, 2},
		{[]string{"put", "destroy"}, []bool{false, true}, 1},
		{[]string{"put", "destroy"}, []bool{true, false}, 0},
		{[]string{"destroy", "renew"}, []bool{false, false}, 0},
	} {
		var requests []Script
		for _, name := range c.requests {
			requests = append(requests, script(name))
		}
		if got := len(Outcomes(requests, c.found)); got != c.want {
			t.Errorf("%v, found %v: %d outcomes, want %d", c.requests, c.found, got, c.want)
		}
	}
}
