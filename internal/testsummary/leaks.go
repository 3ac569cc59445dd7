package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/samesid/samesid/internal/leaktest"
)

const module = "github.com/samesid/samesid/"

// atLeast holds lower bounds, with a wide margin, for what packages contribute to a
// search for leaks. A smaller contribution means that the search misses their output.
var atLeast = map[string]leaktest.Count{
	module + "adapter":        {Values: 5000, Logged: 1000},
	module + "auth":           {Values: 100, Logged: 20},
	module + "demo":           {Values: 20, Logged: 3},
	module + "parity":         {Values: 1500, Logged: 50},
	module + "internal/proof": {Values: 8, Logged: 5},
}

// searchLeaks counts each test whose output contains a noted secret as failed. If all
// tests were run, it also counts each package that has contributed too little.
func (s *summary) searchLeaks(dir string, whole bool) error {
	r, err := leaktest.Search(dir)
	if err != nil {
		return err
	}
	for _, place := range r.Leaks {
		s.failed++
		fmt.Fprintf(s.w, "LEAK  %s  a cookie, session id, secret or password of the tests is in the output\n", place)
	}
	if whole {
		for _, pkg := range slices.Sorted(maps.Keys(atLeast)) {
			if got, want := r.Packages[pkg], atLeast[pkg]; got.Values < want.Values || got.Logged < want.Logged {
				s.failed++
				fmt.Fprintf(s.w, "FAIL  %s  noted %d secrets and logged %d lines; at least %d and %d are to be searched\n",
					pkg, got.Values, got.Logged, want.Values, want.Logged)
			}
		}
	}
	var values, logged int
	for _, c := range r.Packages {
		values += c.Values
		logged += c.Logged
	}
	fmt.Fprintf(s.w, "%d noted secrets, %d lines logged, %d leaks\n", values, logged, len(r.Leaks))
	return nil
}
