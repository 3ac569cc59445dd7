// Command testsummary reads the output of go test -json and prints a summary: a line for
// each package, the output of tests that failed or were skipped, and a last line with
// the counts.
//
// It exits with status 1 if a test failed or was skipped, or if a package with tests ran
// none. With -noted, it also does so if the output contains a secret that a test has
// noted.
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
	// The output of a failed test may contain secrets.
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
