// Package leaktest finds secrets in what tests write. A test notes the secrets
// that it uses and shows the logs that it collects; once all tests have run,
// Search looks for each noted value in all that they have written.
//
// It is for tests, and does nothing unless TEST_NOTED names a folder, which
// scripts/test.sh sets.
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

// MinLength is the least number of bytes of a value that is noted. What is
// shorter, such as the name of an option, is also in the output by chance.
const MinLength = 16

// Note writes down secrets that a test uses: the values of cookies, session ids,
// the secrets that sign, passwords. Values shorter than MinLength are left out. It
// panics if they can't be written, and is safe for concurrent use.
func Note(values ...string) {
	if n := fromEnv(); n != nil {
		n.add(values)
	}
}

// Copy returns a writer to w that also shows the output to Search: by way of
// standard error, where go test finds it and knows whose it is. It is for logs that
// a test collects or throws away.
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

// notes are the values of one process, in a file of its own.
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
		// Nobody else may read them; and the name is free, whatever ran before.
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
