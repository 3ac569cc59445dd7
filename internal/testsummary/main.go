// Command testsummary reads the output of go test -json and prints what matters of
// it: a line for each package, the output of tests that failed or were skipped,
// and a last line with the counts.
//
// It ends with status 1 when a test failed or was skipped, or when a package that
// has tests ran none: what did not run has not been tested. With -noted, it does so
// too when a secret that a test has noted is in what the tests have written.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	noted := flag.String("noted", "", "`folder` of the secrets and the output, as internal/leaktest has it")
	whole := flag.Bool("whole", false, "all tests were run: it is a failure if they have noted or logged too little")
	flag.Parse()

	s := newSummary(os.Stdout)
	err := s.read(os.Stdin)
	s.endAll()
	// The output of a test that fails may show anything.
	if *noted != "" && err == nil && s.failed == 0 {
		err = s.searchLeaks(*noted, *whole)
	}
	ok := s.finish()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}
