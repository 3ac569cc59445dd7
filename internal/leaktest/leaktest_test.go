package leaktest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	id     = "0123456789abcdefABCDEF_-01234567"
	sig    = "q+/0123456789abcdefghijklmnopqrstuvwxyz0123"
	cookie = "s:" + id + "." + sig
)

// line returns a line of go test -json.
func line(pkg, test, output string) string {
	b, err := json.Marshal(map[string]string{"Action": "output", "Package": pkg, "Test": test, "Output": output})
	if err != nil {
		panic(err)
	}
	return string(b) + "\n"
}

func search(t *testing.T, output string, values ...string) *Result {
	t.Helper()
	dir := t.TempDir()
	(&notes{dir: dir, pkg: "p"}).add(values)
	if err := os.WriteFile(filepath.Join(dir, OutputFile), []byte(output), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Search(dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSearch(t *testing.T) {
	for name, tt := range map[string]struct {
		noted  string
		output string
		leaks  bool
	}{
		"as it is":                  {id, "session " + id + " saved\n", true},
		"nothing":                   {id, "session saved\n", false},
		"all but its end":           {id, id[:31] + "\n", false},
		"all but its start":         {id, id[1:] + "\n", false},
		"at the very end":           {id, "x" + id, true},
		"a cookie":                  {cookie, cookie + "\n", true},
		"a cookie's id":             {cookie, "session=" + id + "\n", true},
		"a cookie's signature":      {cookie, "signature=" + sig + "\n", true},
		"an encoded cookie":         {cookie, "s%3A" + id + ".q%2B%2F0123456789abcdefghijklmnopqrstuvwxyz0123\n", true},
		"a cookie noted as encoded": {"s%3A" + id + ".q%2B%2F0123456789abcdefghijklmnopqrstuvwxyz0123", "the id is " + id + "\n", true},
		"quoted":                    {"a \"secret\" of\nsome length", `secret="a \"secret\" of\nsome length"` + "\n", true},
		"in a form":                 {"a secret of some length", "password=a+secret+of+some+length\n", true},
		"in an address":             {"a secret of some length", "postgres://u:a%20secret%20of%20some%20length@h\n", true},
		"as numbers":                {"a secret of some length", "[97 32 115 101 99 114 101 116 32 111 102 32 115 111 109 101 32 108 101 110 103 116 104]\n", true},
		"in hexadecimal":            {id, "303132333435363738396162636465664142434445465f2d3031323334353637\n", true},
		"in base64":                 {id, "MDEyMzQ1Njc4OWFiY2RlZkFCQ0RFRl8tMDEyMzQ1Njc=\n", true},
		"a word":                    {"connect.sid", "connect.sid\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			r := search(t, line("p", "TestA", "fine\n")+line("p", "TestB", tt.output), tt.noted)
			if got := len(r.Leaks) > 0; got != tt.leaks {
				t.Fatalf("a leak is found: %t, want %t", got, tt.leaks)
			}
			if tt.leaks && (len(r.Leaks) != 1 || r.Leaks[0] != Place{"p", "TestB"}) {
				t.Errorf("it is found in %v", r.Leaks)
			}
		})
	}
}

// The output of parallel tests is interleaved, and long lines are split.
func TestSearchPutsLinesTogether(t *testing.T) {
	output := line("p", "TestB", "id="+id[:20]) + line("p", "TestA", "meanwhile\n") + line("p", "TestB", id[20:]+"\n") +
		line("p", "", id+"\n") + "panic: " + id + "\n"
	r := search(t, output, id)
	var got []string
	for _, place := range r.Leaks {
		got = append(got, place.String())
		if strings.Contains(place.String(), id) {
			t.Error("the value itself is in the report")
		}
	}
	want := []string{"(no package)  (outside of its tests)", "p  (outside of its tests)", "p  TestB"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("found in %q, want %q", got, want)
	}
}

func TestSearchCounts(t *testing.T) {
	r := search(t, line("p", "TestA", "time=x level=WARN msg=y\n")+line("p", "TestA", "other\n")+line("q", "", "2026/01/02 ERROR z\n"),
		id, id, sig, "too short")
	if p, q := r.Packages["p"], r.Packages["q"]; p != (Count{Values: 2, Logged: 1}) || q != (Count{Logged: 1}) {
		t.Errorf("p: %+v, q: %+v", p, q)
	}
}

func TestSearchFails(t *testing.T) {
	dir := t.TempDir()
	if _, err := Search(dir); err == nil {
		t.Error("no error without any output")
	}
	for name, text := range map[string]string{OutputFile: "", notesPrefix + "1": id} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Search(dir); err == nil || strings.Contains(err.Error(), id) {
		t.Errorf("notes that can't be read: %v", err)
	}
}

func TestNotesThatCantBeWritten(t *testing.T) {
	defer func() {
		if v, _ := recover().(string); v == "" || strings.Contains(v, id) {
			t.Errorf("panic %q", v)
		}
	}()
	(&notes{dir: filepath.Join(t.TempDir(), "missing")}).add([]string{id})
}
