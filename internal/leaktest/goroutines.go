package leaktest

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// toEnd is the time that goroutines have to end after what they belong to.
const toEnd = 10 * time.Second

// Goroutines returns a function that fails the test if a goroutine runs that did not run
// when Goroutines was called.
//
//	defer leaktest.Goroutines(t)()
func Goroutines(tb testing.TB) (check func()) {
	before := goroutines()
	return func() {
		tb.Helper()
		if stacks := left(toEnd, before); stacks != "" {
			tb.Errorf("goroutines are left:\n%s", stacks)
		}
	}
}

// Main runs the tests of a package, and fails if a goroutine is left after them.
func Main(m *testing.M) {
	before := goroutines()
	code := m.Run()
	if stacks := left(toEnd, before); code == 0 && stacks != "" {
		fmt.Fprintf(os.Stderr, "goroutines are left:\n%s\n", stacks)
		code = 1
	}
	os.Exit(code)
}

// left returns the stacks of the goroutines that still run after the given time and that
// are not in before, or "" as soon as there are none.
func left(within time.Duration, before map[string]string) (stacks string) {
	for end := time.Now().Add(within); ; time.Sleep(5 * time.Millisecond) {
		stacks = ""
		for id, stack := range goroutines() {
			if _, ok := before[id]; !ok {
				stacks += stack + "\n\n"
			}
		}
		if stacks == "" || time.Now().After(end) {
			return stacks
		}
	}
}

// goroutines returns the stacks of all goroutines by their number. The runtime's own are
// not among them, nor the one that receives signals once a program has asked for one.
func goroutines() map[string]string {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	stacks := map[string]string{}
	for stack := range strings.SplitSeq(string(buf), "\n\n") {
		number, _, _ := strings.Cut(strings.TrimPrefix(stack, "goroutine "), " ")
		if !strings.Contains(stack, "os/signal.loop") {
			stacks[number] = stack
		}
	}
	return stacks
}
