package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The files are recordings of go test -json. In race.json the report was moved to
// another test, where a report of tests that run in parallel may be.
func TestSummary(t *testing.T) {
	tests := []struct {
		files []string
		ok    bool
		last  string
		holds []string
		lacks []string
	}{
		{
			files: []string{"pass"}, ok: true,
			last:  "5 passed, 0 failed, 0 skipped",
			holds: []string{"ok    m/ok  5 passed"},
			lacks: []string{"chatter", "RUN"},
		},
		{
			files: []string{"pass", "nofiles"}, ok: true,
			last:  "5 passed, 0 failed, 0 skipped",
			holds: []string{"-     m/none  no test files"},
		},
		{
			files: []string{"nofiles"},
			last:  "0 passed, 0 failed, 0 skipped",
		},
		{
			files: nil,
			last:  "0 passed, 0 failed, 0 skipped",
		},
		{
			files: []string{"pass", "skip"},
			last:  "6 passed, 0 failed, 1 skipped",
			holds: []string{"a_test.go:3: no server", "SKIP  m/skip  1 passed, 1 skipped", "A skipped test fails this run"},
		},
		{
			files: []string{"subtest", "pass"},
			last:  "6 passed, 2 failed, 0 skipped",
			holds: []string{"got b, want a", "FAIL  m/sub  1 passed, 2 failed, 0 skipped"},
		},
		{
			files: []string{"notests", "pass"},
			last:  "5 passed, 1 failed, 0 skipped",
			holds: []string{"FAIL  m/empty  no test ran"},
		},
		{
			files: []string{"build"}, // m/build and m/ok in one run
			last:  "5 passed, 1 failed, 0 skipped",
			holds: []string{"undefined: undefinedName", "FAIL  m/build", "ok    m/ok"},
		},
		{
			files: []string{"testmain", "pass"},
			last:  "5 passed, 1 failed, 0 skipped",
			holds: []string{"cannot start", "FAIL  m/exit"},
		},
		{
			files: []string{"panic"},
			last:  "1 passed, 2 failed, 0 skipped",
			holds: []string{"assignment to entry in nil map", "FAIL  m/panic"},
		},
		{
			files: []string{"timeout"},
			last:  "0 passed, 1 failed, 0 skipped",
			holds: []string{"test timed out", "FAIL  m/hang"},
		},
		{
			files: []string{"race"},
			last:  "3 passed, 1 failed, 0 skipped",
			holds: []string{"WARNING: DATA RACE", "m/race.TestB.func1()", "race detected during execution of test"},
			lacks: []string{"a_test.go:11: y"},
		},
		{
			files: []string{"cut"},
			last:  "0 passed, 2 failed, 0 skipped",
			holds: []string{"RUN   TestA/x", "go test ended before the package did"},
		},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.files, "+"), func(t *testing.T) {
			var out strings.Builder
			s := newSummary(&out)
			for _, name := range tt.files {
				f, err := os.Open(filepath.Join("testdata", name+".json"))
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				if err := s.read(f); err != nil {
					t.Fatal(err)
				}
			}
			if ok := s.finish(); ok != tt.ok {
				t.Errorf("finish() = %t, want %t", ok, tt.ok)
			}
			lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
			if last := lines[len(lines)-1]; last != tt.last {
				t.Errorf("last line %q, want %q", last, tt.last)
			}
			for _, want := range tt.holds {
				if !strings.Contains(out.String(), want) {
					t.Errorf("output lacks %q:\n%s", want, &out)
				}
			}
			for _, not := range tt.lacks {
				if strings.Contains(out.String(), not) {
					t.Errorf("output has %q:\n%s", not, &out)
				}
			}
		})
	}
}

func TestOtherLinesPassThrough(t *testing.T) {
	var out strings.Builder
	s := newSummary(&out)
	long := strings.Repeat("x", 1<<20)
	if err := s.read(strings.NewReader("go: downloading\n{}\n" + long)); err != nil {
		t.Fatal(err)
	}
	if want := "go: downloading\n{}\n" + long + "\n"; out.String() != want {
		t.Errorf("got %d bytes, want %d", out.Len(), len(want))
	}
}

func TestReadError(t *testing.T) {
	cause := errors.New("broken pipe")
	err := newSummary(io.Discard).read(failingReader{cause})
	if !errors.Is(err, cause) {
		t.Errorf("got %v, want %v", err, cause)
	}
}

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }
