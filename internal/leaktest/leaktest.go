// Package leaktest finds secrets in the output of tests. A test notes the secrets that
// it uses, and copies the logs that it collects to its output. After all tests have run,
// Search looks for each noted value in their output.
//
// The package is for tests, and does nothing unless TEST_NOTED names a folder;
// scripts/test.sh sets it.
package leaktest

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
)

// MinLength is the minimum length of a noted value, in bytes. A shorter one, such as the
// name of an option, may be in the output by chance.
const MinLength = 16

// Note records secrets that a test uses: values of cookies, session ids, signing
// secrets, passwords. It ignores values shorter than MinLength, and panics if it can't
// write to its file. It is safe for concurrent use.
func Note(values ...string) {
	if n := fromEnv(); n != nil {
		n.add(values)
	}
}

// Copy returns a writer that writes to w, and also to standard error, where go test
// attributes the output to a test and Search finds it. It is for logs that a test
// collects or discards.
func Copy(w io.Writer) io.Writer {
	if fromEnv() == nil {
		return w
	}
	return io.MultiWriter(w, os.Stderr)
}

var fromEnv = sync.OnceValue(func() *notes {
	dir := os.Getenv("TEST_NOTED")
	if dir == "" {
		return nil
	}
	pkg := filepath.Base(os.Args[0])
	if info, ok := debug.ReadBuildInfo(); ok {
		pkg = info.Path
	}
	return &notes{dir: dir, pkg: strings.TrimSuffix(pkg, ".test")}
})

// notes holds the values of one process, in a separate file.
type notes struct {
	dir, pkg string

	mu    sync.Mutex
	noted map[string]bool
	file  *os.File
}

// note is one line of the file.
type note struct{ Package, Value string }

const notesPrefix = "values-"

func (n *notes) add(values []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, v := range values {
		if len(v) < MinLength || n.noted[v] {
			continue
		}
		if err := n.write(v); err != nil {
			panic(fmt.Sprintf("leaktest: %v", err))
		}
		n.noted[v] = true
	}
}

func (n *notes) write(value string) (err error) {
	if n.file == nil {
		// CreateTemp makes a file that only this user can read, with an unused name.
		if n.file, err = os.CreateTemp(n.dir, notesPrefix); err != nil {
			return err
		}
		n.noted = map[string]bool{}
	}
	b, err := json.Marshal(note{n.pkg, value})
	if err == nil {
		_, err = n.file.Write(append(b, '\n'))
	}
	return err
}
