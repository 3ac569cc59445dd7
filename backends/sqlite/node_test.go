package sqlite

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/samesid/samesid/internal/testserver"
)

// nodeModules has the Node packages; scripts/with-servers.sh installs them.
const nodeModules = "../../parity/express"

// node is a Node process that has a file open through the package of a layout. It
// answers one line of JSON with another.
type node struct {
	mu  sync.Mutex
	in  io.Writer
	out *bufio.Scanner
}

func startNode(t *testing.T, path string, layout Layout) *node {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		testserver.Missing(t, "node is not installed")
	}
	if _, err := os.Stat(filepath.Join(nodeModules, "node_modules/better-sqlite3/build/Release/better_sqlite3.node")); err != nil {
		testserver.Missing(t, "better-sqlite3 is not installed: run npm ci in parity/express")
	}
	script, err := filepath.Abs("testdata/node.mjs")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", script, path, string(layout))
	cmd.Dir, cmd.Stderr = nodeModules, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("node: %v", err)
		}
	})
	n := &node{in: in, out: bufio.NewScanner(out)}
	n.out.Buffer(nil, 1<<20)
	return n
}

// call returns node's answer. An error ends the test.
func (n *node) call(t *testing.T, op string, args ...any) string {
	t.Helper()
	answer, err := n.ask(op, args...)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func (n *node) ask(op string, args ...any) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	line, err := json.Marshal(append([]any{op}, args...))
	if err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(n.in, "%s\n", line); err != nil {
		return "", err
	}
	if !n.out.Scan() {
		return "", fmt.Errorf("node has not answered %s: %w", op, cmp.Or(n.out.Err(), io.ErrUnexpectedEOF))
	}
	answer := n.out.Text()
	if strings.HasPrefix(answer, `{"error"`) {
		return "", fmt.Errorf("node: %s: %s", op, answer)
	}
	return answer, nil
}

// Each reads what the other has written, whoever made the file, while both have it
// open. When Node made it, it is not in WAL mode until Open changes that.
func TestNode(t *testing.T) {
	for layout := range express {
		for _, first := range []string{"Node", "Go"} {
			t.Run(string(layout)+" of "+first, func(t *testing.T) {
				t.Parallel()
				path := newPath(t)
				opts := quiet(layout)
				var s *Store
				if first == "Go" {
					s = open(t, path, opts)
				}
				n := startNode(t, path, layout)
				sess := map[string]any{"cookie": map[string]any{"originalMaxAge": 3600000, "maxAge": 3600000, "expires": inAnHour().UTC().Format(time.RFC3339Nano)}, "name": "é😀"}
				n.call(t, "set", "theirs", sess)
				if s == nil {
					opts.CreateTable = false
					s = open(t, path, opts)
				}

				data, expiry, found, err := s.FindExpiry(t.Context(), "theirs")
				if left := time.Until(expiry); !found || err != nil || left < 59*time.Minute || left > 61*time.Minute {
					t.Fatalf("Node's session: %q, %v, %t, %v", data, expiry, found, err)
				}
				if got := n.call(t, "get", "theirs"); got != string(data) {
					t.Errorf("Go reads %s, and Node %s", data, got)
				}
				changed := []byte(`{"cookie":{"originalMaxAge":3600000},"n":1}`)
				if _, swapped, err := s.Swap(t.Context(), "theirs", data, changed, inAnHour()); !swapped || err != nil {
					t.Errorf("Swap of Node's session gave %t, %v", swapped, err)
				}
				if got := n.call(t, "get", "theirs"); got != string(changed) {
					t.Errorf("Node reads %s, want %s", got, changed)
				}
				if _, moved, err := s.Move(t.Context(), one("theirs", string(changed)), "moved", changed, inAnHour()); !moved || err != nil {
					t.Errorf("Move of Node's session gave %t, %v", moved, err)
				}
				if got := n.call(t, "get", "theirs"); got != "null" {
					t.Errorf("Node reads %s under the old id", got)
				}
				if got := n.call(t, "get", "moved"); got != string(changed) {
					t.Errorf("Node reads %s, want %s", got, changed)
				}
				n.call(t, "touch", "moved", map[string]any{"cookie": map[string]any{"expires": time.Now().Add(2 * time.Hour).UTC().Format(time.RFC3339Nano)}})
				if _, expiry, _, err := s.FindExpiry(t.Context(), "moved"); err != nil || time.Until(expiry) < 110*time.Minute {
					t.Errorf("after Node's touch the expiry is %v, %v", expiry, err)
				}
				commit(t, s, "expired", changed, time.Now().Add(-2*time.Second))
				if got := n.call(t, "get", "expired"); got != "null" {
					t.Errorf("Node reads the expired %s", got)
				}
				n.call(t, "destroy", "moved")
				wantAbsent(t, s, "moved")
				if _, swapped, err := s.Swap(t.Context(), "moved", changed, body, inAnHour()); swapped || err != nil {
					t.Errorf("Swap of what Node destroyed gave %t, %v", swapped, err)
				}
				if got := n.call(t, "journal"); got != `"wal"` {
					t.Errorf("Node's journal mode is %s", got)
				}
			})
		}
	}
}

// Node, with each library in a process of its own, and Go together increment a record
// 1,600 times, and none is lost.
func TestNodeIncrements(t *testing.T) {
	for layout := range express {
		t.Run(string(layout), func(t *testing.T) {
			t.Parallel()
			path := newPath(t)
			opts := quiet(layout)
			opts.Timeout = time.Minute
			s := open(t, path, opts)
			commit(t, s, "counter", []byte("0"), inAnHour())
			libraries := map[string]*node{"better-sqlite3": nil, "sqlite3": nil}
			for library := range libraries {
				libraries[library] = startNode(t, path, "none")
				libraries[library].call(t, "ready")
			}
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					if err := increment(t.Context(), s, "counter", 200); err != nil {
						t.Error(err)
					}
				})
			}
			for library, n := range libraries {
				wg.Go(func() {
					if _, err := n.ask("increment", library, "counter", 400); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			wantFound(t, s, "counter", []byte("1600"))
		})
	}
}
