package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// The environment variables of a child process.
const (
	envServe  = "BENCH_SERVE" // the name of its role
	envStore  = "BENCH_STORE" // the URL of its store
	envSecret = "BENCH_SECRET"
	envPool   = "BENCH_POOL"
)

// child is a server under test in a separate process.
type child struct {
	role
	addr    string
	control string // the address of its controls; "" on Node
	cmd     *exec.Cmd
}

// startChild starts the role's server: Node, or this program as a child process.
func startChild(ctx context.Context, r role, storeURL string) (*child, error) {
	c := &child{role: r}
	if r.open == nil {
		c.cmd = exec.CommandContext(ctx, "node", "node/server.mjs")
	} else {
		exe, err := os.Executable()
		if err != nil {
			return nil, err
		}
		c.cmd = exec.CommandContext(ctx, exe)
	}
	c.cmd.Env = append(os.Environ(), envServe+"="+r.name, envStore+"="+storeURL, envSecret+"="+secret,
		envPool+"="+strconv.Itoa(postgresPool), "NODE_ENV=production")
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var stderr bytes.Buffer
	c.cmd.Stderr = io.MultiWriter(os.Stderr, &stderr)
	if _, err := c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", r.name, err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		c.stop()
		return nil, fmt.Errorf("%s did not start: %s", r.name, strings.TrimSpace(stderr.String()))
	}
	c.addr, c.control, _ = strings.Cut(strings.TrimSpace(line), " ")
	return c, nil
}

// stop kills the process. If this process is killed, the child exits when its standard
// input ends.
func (c *child) stop() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// stats holds the counters that a Go server reports.
type stats struct {
	Mallocs uint64
}

func (c *child) stats(ctx context.Context) (s stats, err error) {
	return s, c.ask(ctx, "/stats", &s)
}

// fill puts the sessions with numbers in [from, to) into the store, and returns their
// visitors.
func (c *child) fill(ctx context.Context, from, to int) ([]*visitor, error) {
	var cookies []string
	if err := c.ask(ctx, fmt.Sprintf("/fill?from=%d&to=%d", from, to), &cookies); err != nil {
		return nil, err
	}
	filled := make([]*visitor, len(cookies))
	for i, cookie := range cookies {
		filled[i] = newVisitor(0)
		filled[i].cookie = []byte(cookie)
	}
	return filled, nil
}

func (c *child) ask(ctx context.Context, path string, answer any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.control+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("%s: %s: %s", c.name, path, text)
	}
	return json.NewDecoder(resp.Body).Decode(answer)
}

// serveChild runs this program as a child process. It returns only on an error.
func serveChild(ctx context.Context, name string) error {
	r, ok := roleNamed(name)
	if !ok || r.open == nil {
		return fmt.Errorf("%s=%s: there is no such server", envServe, name)
	}
	a, err := r.open(ctx, os.Getenv(envStore))
	if err != nil {
		return err
	}
	service, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	control, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() {
		log.Fatal(http.Serve(control, a.controls()))
	}()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	fmt.Println(service.Addr(), control.Addr())
	return a.serve(service)
}

// controls returns the handler of the controls. They have a separate listener, so that no
// middleware handles them.
func (a *app) controls() http.Handler {
	answer := func(w http.ResponseWriter, v any, err error) {
		if err == nil {
			err = json.NewEncoder(w).Encode(v)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/stats", func(w http.ResponseWriter, _ *http.Request) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		answer(w, stats{m.Mallocs}, nil)
	})
	mux.HandleFunc("/fill", func(w http.ResponseWriter, r *http.Request) {
		from, err1 := strconv.Atoi(r.FormValue("from"))
		to, err2 := strconv.Atoi(r.FormValue("to"))
		err := errors.Join(err1, err2)
		var cookies []string
		if err == nil && a.filler == nil {
			err = errors.ErrUnsupported
		}
		if err == nil {
			cookies, err = a.filler.fill(r.Context(), from, to)
		}
		answer(w, cookies, err)
	})
	return mux
}
