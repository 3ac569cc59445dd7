// Command testsummary reads the output of go test -json and prints what matters of
// it: a line for each package, the output of tests that failed or were skipped,
// and a last line with the counts.
//
// It ends with status 1 when a test failed or was skipped, or when a package that
// has tests ran none: what did not run has not been tested.
package main

import (
	"fmt"
	"os"
)

func main() {
	s := newSummary(os.Stdout)
	err := s.read(os.Stdin)
	ok := s.finish()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}
