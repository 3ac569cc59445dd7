package leaktest

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// OutputFile is the file in the folder of TEST_NOTED in which Search expects the output
// of go test -json.
const OutputFile = "output.json"

// A Place is where a noted value was found. It does not contain the value.
type Place struct {
	Package string // "" outside of any package
	Test    string // "" outside of any test
}

func (p Place) String() string {
	return cmp.Or(p.Package, "(no package)") + "  " + cmp.Or(p.Test, "(outside of its tests)")
}

// A Count is what a package has contributed to a search.
type Count struct {
	Values int // the number of values that it has noted
	Logged int // the number of lines of its output that contain a log level
}

// A Result is the result of Search.
type Result struct {
	Leaks    []Place // sorted, without duplicates
	Packages map[string]Count
}

// Search looks for the values in a folder's notes in the output there.
func Search(dir string) (*Result, error) {
	r := &Result{Packages: map[string]Count{}}
	values, err := r.readNotes(dir)
	if err != nil {
		return nil, fmt.Errorf("leaktest: %w", err)
	}
	output, err := r.readOutput(filepath.Join(dir, OutputFile))
	if err != nil {
		return nil, fmt.Errorf("leaktest: %w", err)
	}
	ix := index{}
	for v := range values {
		for _, form := range forms(v) {
			ix.add(form)
		}
	}
	for place, text := range output {
		if ix.anyIn(text.Bytes()) {
			r.Leaks = append(r.Leaks, place)
		}
	}
	slices.SortFunc(r.Leaks, func(a, b Place) int {
		return cmp.Or(cmp.Compare(a.Package, b.Package), cmp.Compare(a.Test, b.Test))
	})
	return r, nil
}

func (r *Result) readNotes(dir string) (map[string]bool, error) {
	files, err := filepath.Glob(filepath.Join(dir, notesPrefix+"*"))
	if err != nil {
		return nil, err
	}
	values := map[string]bool{}
	for _, name := range files {
		err := eachLine(name, func(line []byte) error {
			var n note
			if err := json.Unmarshal(line, &n); err != nil {
				return fmt.Errorf("%s: a line is not a note", name) // the line may be a secret
			}
			values[n.Value] = true
			c := r.Packages[n.Package]
			c.Values++
			r.Packages[n.Package] = c
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return values, nil
}

// readOutput joins the output of each test. go test splits long lines and interleaves
// the output of parallel tests.
func (r *Result) readOutput(name string) (map[Place]*bytes.Buffer, error) {
	output := map[Place]*bytes.Buffer{}
	err := eachLine(name, func(line []byte) error {
		var e struct{ Action, Package, Test, Output string }
		if json.Unmarshal(line, &e) != nil || e.Action == "" {
			e.Output = string(line) // not from go test -json
		}
		if e.Output == "" {
			return nil
		}
		at := Place{e.Package, e.Test}
		text := output[at]
		if text == nil {
			text = new(bytes.Buffer)
			output[at] = text
		}
		text.WriteString(e.Output)
		c := r.Packages[e.Package]
		if isLogged(e.Output) {
			c.Logged++
		}
		r.Packages[e.Package] = c
		return nil
	})
	return output, err
}

func isLogged(line string) bool {
	for _, level := range []string{"DEBUG", "INFO", "WARN", "ERROR"} {
		if strings.Contains(line, level) {
			return true
		}
	}
	return false
}

func eachLine(name string, do func([]byte) error) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewReader(f)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			if err := do(line); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// forms returns the texts that would reveal a value: the parts of a cookie, in each
// encoding in which they may be written. It omits those shorter than MinLength.
func forms(value string) []string {
	parts := []string{value}
	if decoded, err := url.PathUnescape(value); err == nil && decoded != value {
		parts = append(parts, decoded)
	}
	if signed, ok := strings.CutPrefix(parts[len(parts)-1], "s:"); ok {
		if dot := strings.LastIndexByte(signed, '.'); dot >= 0 {
			parts = append(parts, signed[:dot], signed[dot+1:])
		}
	}
	all := map[string]bool{}
	for _, part := range parts {
		if len(part) < MinLength {
			continue
		}
		escaped, quoted := url.QueryEscape(part), strconv.Quote(part)
		for _, form := range []string{
			part,
			escaped, strings.ReplaceAll(escaped, "+", "%20"),
			quoted[1 : len(quoted)-1],
			hex.EncodeToString([]byte(part)),
			strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(part)), "="),
			strings.Trim(fmt.Sprintf("%d", []byte(part)), "[]"), // %v of bytes
		} {
			all[form] = true
		}
	}
	return slices.Collect(maps.Keys(all))
}

// index maps the first bytes of texts to the texts, so that one pass searches for all of
// them.
type index map[[MinLength]byte][]string

func (ix index) add(text string) {
	start := [MinLength]byte([]byte(text[:MinLength]))
	ix[start] = append(ix[start], text)
}

func (ix index) anyIn(b []byte) bool {
	for ; len(b) >= MinLength; b = b[1:] {
		for _, text := range ix[[MinLength]byte(b)] {
			if len(b) >= len(text) && string(b[:len(text)]) == text {
				return true
			}
		}
	}
	return false
}
