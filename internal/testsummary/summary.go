package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// event is one line of go test -json; cmd/test2json and go help buildjson
// describe its fields.
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
	Elapsed    float64
}

// summary collects the events of any number of go test runs.
type summary struct {
	w        io.Writer
	packages map[string]*pkg // those that have begun but not ended

	// A package that failed outside its tests counts as one failed test.
	passed, failed, skipped int
}

// pkg is the state of a package's run.
type pkg struct {
	output  strings.Builder  // the output outside of any test
	tests   map[string]*test // those that have not ended, have failed, were skipped or hold the report of a data race
	passed  int
	failed  int
	skipped int
}

type test struct {
	ended  bool
	output strings.Builder
}

func newSummary(w io.Writer) *summary {
	return &summary{w: w, packages: map[string]*pkg{}}
}

// read processes events up to the end of r. It prints lines that are not events
// unchanged.
func (s *summary) read(r io.Reader) error {
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) == nil && e.Action != "" {
				s.add(e)
			} else {
				fmt.Fprintf(s.w, "%s\n", strings.TrimRight(string(line), "\n"))
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("testsummary: read: %w", err)
		}
	}
}

func (s *summary) add(e event) {
	if e.Action == "build-output" {
		fmt.Fprint(s.w, e.Output)
		return
	}
	if e.Package == "" {
		return
	}
	p := s.packages[e.Package]
	if p == nil {
		p = &pkg{tests: map[string]*test{}}
		s.packages[e.Package] = p
	}
	if e.Test == "" {
		s.addPackage(p, e)
		return
	}
	t := p.tests[e.Test]
	if t == nil {
		t = &test{}
		p.tests[e.Test] = t
	}
	switch e.Action {
	case "output":
		t.output.WriteString(e.Output)
	case "pass":
		p.passed++
		t.ended = true
		// The report of a race can be in the output of another test than the one that fails.
		if !strings.Contains(t.output.String(), "WARNING: DATA RACE") {
			delete(p.tests, e.Test)
		}
	case "fail":
		p.failed++
		t.ended = true
	case "skip":
		p.skipped++
		t.ended = true
	}
}

func (s *summary) addPackage(p *pkg, e event) {
	switch e.Action {
	case "output":
		p.output.WriteString(e.Output)
	case "pass", "fail", "skip":
		s.end(e.Package, p, e)
	}
}

// end prints and counts a package whose run has ended.
func (s *summary) end(name string, p *pkg, e event) {
	delete(s.packages, name)

	// A test that a panic or a timeout has interrupted has no end event.
	for _, t := range p.tests {
		if !t.ended {
			p.failed++
		}
	}
	s.passed += p.passed
	s.failed += p.failed
	s.skipped += p.skipped

	for _, name := range slices.Sorted(maps.Keys(p.tests)) {
		fmt.Fprint(s.w, p.tests[name].output.String())
	}
	switch {
	case e.Action == "fail":
		if p.failed == 0 {
			s.failed++
		}
		fmt.Fprint(s.w, p.output.String())
		fmt.Fprintf(s.w, "FAIL  %s  %d passed, %d failed, %d skipped\n", name, p.passed, p.failed, p.skipped)
	case e.Action == "skip":
		fmt.Fprintf(s.w, "-     %s  no test files\n", name)
	case p.passed+p.skipped == 0:
		s.failed++
		fmt.Fprintf(s.w, "FAIL  %s  no test ran\n", name)
	case p.skipped > 0:
		fmt.Fprintf(s.w, "SKIP  %s  %d passed, %d skipped\n", name, p.passed, p.skipped)
	default:
		fmt.Fprintf(s.w, "ok    %s  %d passed  %.1fs\n", name, p.passed, e.Elapsed)
	}
}

// endAll ends the packages without an end event.
func (s *summary) endAll() {
	for _, name := range slices.Sorted(maps.Keys(s.packages)) {
		s.packages[name].output.WriteString("go test ended before the package did\n")
		s.end(name, s.packages[name], event{Action: "fail"})
	}
}

// finish prints the counts and reports whether everything passed.
func (s *summary) finish() bool {
	s.endAll()
	if s.skipped > 0 {
		fmt.Fprintln(s.w, "A skipped test fails this run: let it run, or don't begin it.")
	}
	fmt.Fprintf(s.w, "%d passed, %d failed, %d skipped\n", s.passed, s.failed, s.skipped)
	return s.passed > 0 && s.failed == 0 && s.skipped == 0
}
