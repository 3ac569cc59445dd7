package main

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/samesid/samesid/internal/leaktest"
)

func TestSearchLeaks(t *testing.T) {
	const secret = "a secret that a test has noted"
	one := map[string]leaktest.Count{"m/a": {Values: 1, Logged: 1}}
	for name, tt := range map[string]struct {
		output  string
		whole   bool
		atLeast map[string]leaktest.Count
		failed  int
		holds   string
	}{
		"no leak":              {output: "level=WARN msg=fine", whole: true, atLeast: one, holds: "1 noted secrets, 1 lines logged, 0 leaks"},
		"a leak":               {output: "level=WARN msg=" + secret, failed: 1, holds: "LEAK  m/a  TestA"},
		"nothing logged":       {output: "fine", whole: true, atLeast: one, failed: 1, holds: "FAIL  m/a  noted 1 secrets and logged 0 lines; at least 1 and 1"},
		"nothing noted":        {output: "fine", whole: true, atLeast: map[string]leaktest.Count{"m/b": {Values: 1}}, failed: 1, holds: "FAIL  m/b  noted 0 secrets"},
		"some tests, no lines": {output: "fine", atLeast: one},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range map[string]string{
				"values-1":          `{"Package":"m/a","Value":"` + secret + `"}`,
				leaktest.OutputFile: `{"Action":"output","Package":"m/a","Test":"TestA","Output":"` + tt.output + `\n"}`,
			} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			before := maps.Clone(atLeast)
			clear(atLeast)
			maps.Copy(atLeast, tt.atLeast)
			defer func() { clear(atLeast); maps.Copy(atLeast, before) }()

			var out strings.Builder
			s := newSummary(&out)
			if err := s.searchLeaks(dir, tt.whole); err != nil {
				t.Fatal(err)
			}
			if s.failed != tt.failed || !strings.Contains(out.String(), tt.holds) {
				t.Errorf("%d failures, want %d, and %q in\n%s", s.failed, tt.failed, tt.holds, &out)
			}
			if strings.Contains(out.String(), secret) {
				t.Error("the secret itself is printed")
			}
		})
	}
	if err := newSummary(new(strings.Builder)).searchLeaks(t.TempDir(), false); err == nil {
		t.Error("no error without any output to search")
	}
}
