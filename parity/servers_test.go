package parity

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/samesid/samesid/internal/leaktest"
	"github.com/samesid/samesid/internal/testserver"
)

// side is one of the two implementations.
type side string

const (
	node side = "express-session"
	gos  side = "samesid"
)

// need skips or fails the test if this machine has no Node.
func need(tb testing.TB) {
	tb.Helper()
	for _, program := range programs {
		_, err := program()
		if errors.Is(err, exec.ErrNotFound) {
			testserver.Missing(tb, err.Error()+": install Node.js")
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
}

// programs build or install each side's program once, and return its command.
var programs = map[side]func() ([]string, error){
	gos: sync.OnceValues(func() ([]string, error) {
		path := filepath.Join(scratch, "goserver")
		out, err := exec.Command("go", "build", "-buildvcs=false", "-o", path, "./goserver").CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("go build: %w\n%s", err, out)
		}
		return []string{path}, nil
	}),
	node:    nodeProgram,
	fastify: sync.OnceValues(func() ([]string, error) { return nodeScript("express/fastify.mjs") }),
}

var nodeProgram = sync.OnceValues(func() ([]string, error) { return nodeScript("express/server.mjs") })

func nodeScript(script string) ([]string, error) {
	path, err := exec.LookPath("node")
	if err != nil {
		return nil, err
	}
	return []string{path, script}, installed()
}

var installed = sync.OnceValue(installPackages)

// installPackages installs the Node packages of the lock file, if they are missing or
// from an older lock file.
func installPackages() error {
	lock, err := os.Stat("express/package-lock.json")
	if err != nil {
		return err
	}
	if has, err := os.Stat("express/node_modules/.package-lock.json"); err == nil && !has.ModTime().Before(lock.ModTime()) {
		return nil
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		return err
	}
	if out, err := exec.Command(npm, "ci", "--silent", "--no-audit", "--no-fund", "--prefix", "express").CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return nil
}

// scratch is a folder for the tests' files.
var scratch string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "samesid-parity-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		defer stopIdle()
		scratch = dir
		// The scripts mostly wait for the servers, so many can run in parallel.
		flag.Parse()
		if err := flag.Set("test.parallel", "4"); err != nil {
			panic(err)
		}
		return m.Run()
	}())
}

// server is a running scripted server.
type server struct {
	side side
	url  string
	log  *bytes.Buffer // its standard error; read it only after the server has exited
	stop func()
	done func() // stops it, or keeps it for the next test of its store

	stopped atomic.Bool
}

// died adds what the program has said to the error of a request, if the program has ended.
func (srv *server) died(err error) error {
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	srv.stop()
	return fmt.Errorf("%w; the program has ended, and said: %s", err, srv.log)
}

// leashed is a shell script that kills its program when standard input ends, and so
// with this process, however that ends. Only the program holds standard output.
const leashed = `"$@" </dev/null & exec >&-; read _; kill -TERM $! 2>/dev/null; wait $!`

// start runs one side's server with the text of a configuration file, until the test
// ends. It returns an error if the server exits before it listens.
func start(tb testing.TB, s side, of store, config string, env ...string) (*server, error) {
	srv, err := launch(s, of, config, env)
	if err == nil {
		tb.Cleanup(srv.stop)
	}
	return srv, err
}

// idle are Node's servers that no test uses, by process. Starting one takes longer than
// most tests.
var idle struct {
	sync.Mutex
	servers map[string][]*server
}

// serve is like start, but gives a Node server that is running another configuration.
func serve(tb testing.TB, s side, of store, config string) (*server, error) {
	if s != node {
		return start(tb, s, of, config)
	}
	srv := takeIdle(of.process())
	if srv == nil {
		var err error
		if srv, err = launch(s, of, config, nil); err != nil {
			return nil, err
		}
	} else if err := srv.configure(config, of); err != nil {
		srv.stop()
		return nil, err
	}
	srv.done = sync.OnceFunc(func() {
		if srv.stopped.Load() {
			return
		}
		idle.Lock()
		defer idle.Unlock()
		idle.servers[of.process()] = append(idle.servers[of.process()], srv)
	})
	tb.Cleanup(func() { srv.done() })
	return srv, nil
}

// process names the Node process that may have the store: one of its own, as two libraries
// of SQLite can't have one file open, but the older releases take turns.
func (s store) process() string {
	if s.older() {
		return "older"
	}
	return s.Name
}

func takeIdle(name string) *server {
	idle.Lock()
	defer idle.Unlock()
	if idle.servers == nil {
		idle.servers = map[string][]*server{}
	}
	all := idle.servers[name]
	if len(all) == 0 {
		return nil
	}
	idle.servers[name] = all[:len(all)-1]
	return all[len(all)-1]
}

func stopIdle() {
	for _, all := range idle.servers {
		for _, srv := range all {
			srv.stop()
		}
	}
}

// configure gives a Node server another configuration, and with it a new store.
func (srv *server) configure(config string, of store) error {
	return (&runner{server: srv}).post("/configure?store="+url.QueryEscape(of.Name), config)
}

func launch(s side, of store, config string, env []string) (*server, error) {
	command, err := programs[s]()
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(scratch, "*.json")
	if err != nil {
		return nil, err
	}
	_, err = f.WriteString(config)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	args := append([]string{"-c", leashed, "sh"}, command...)
	args = append(args, "--addr", "127.0.0.1:0", "--config", f.Name())
	if s == node && of.Name != "" {
		args = append(args, "--store", of.Name)
	}
	cmd := exec.Command("/bin/sh", args...)
	srv := &server{side: s, log: new(bytes.Buffer)}
	cmd.Stderr = srv.log
	if s == gos {
		cmd.Stderr = leaktest.Copy(srv.log) // only samesid's log must be free of secrets
	}
	cmd.Env = append(os.Environ(), "NO_DEPRECATION=express-session")
	cmd.Env = append(cmd.Env, env...)
	leash, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	srv.stop = sync.OnceFunc(func() {
		srv.stopped.Store(true)
		leash.Close()
		_, _ = io.Copy(io.Discard, stdout)
		_ = cmd.Wait() // the exit status does not matter
	})
	srv.done = srv.stop
	line, err := bufio.NewReader(stdout).ReadString('\n')
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if err != nil || !ok {
		srv.stop()
		return nil, fmt.Errorf("%s did not start: %s%s", s, line, srv.log)
	}
	srv.url = "http://" + addr
	return srv, nil
}

// arena holds a separate place for each side, on which scripts run.
type arena struct {
	tb     testing.TB
	store  store
	places map[side]place
}

func newArena(tb testing.TB, s store) *arena {
	tb.Helper()
	need(tb)
	return &arena{tb: tb, store: s, places: map[side]place{node: s.place(tb), gos: s.place(tb)}}
}

// pair is both sides' servers with one configuration.
type pair struct {
	*arena
	options options
	servers map[side]*server
}

// options are the parts of a configuration that the comparison needs.
type options struct {
	text   string // the whole configuration, except the store
	Name   string
	Secret any
	Unset  string
	Cookie struct {
		Path    string
		Domain  string
		Expires string
	}
}

// secrets returns the configuration's secrets, the signing one first.
func (o *options) secrets() (all []string) {
	switch s := o.Secret.(type) {
	case string:
		return []string{s}
	case []any:
		for _, x := range s {
			all = append(all, x.(string))
		}
	}
	return all
}

func parseOptions(text string) options {
	o := options{text: text, Name: "connect.sid"}
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		panic(err)
	}
	if o.Cookie.Path == "" {
		o.Cookie.Path = "/"
	}
	leaktest.Note(o.secrets()...)
	return o
}

// config returns the text of a side's configuration file.
func (a *arena) config(s side, o options) string {
	// The scripts' values require the JSON codec, which is the default only if
	// Express can also read the records.
	return strings.TrimSuffix(o.text, "}") + `,"codec":"json","store":` + a.places[s].store + "}"
}

// start runs both servers with one configuration, until the arena's test ends.
func (a *arena) start(o options) (*pair, error) {
	p := &pair{arena: a, options: o, servers: map[side]*server{}}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs error
	for s := range a.places {
		wg.Go(func() {
			srv, err := serve(a.tb, s, a.store, a.config(s, o))
			mu.Lock()
			defer mu.Unlock()
			p.servers[s], errs = srv, errors.Join(errs, err)
		})
	}
	wg.Wait()
	if errs != nil {
		return nil, fmt.Errorf("%w\nconfiguration: %s", errs, o.text)
	}
	return p, nil
}

// done ends the pair's use of its servers.
func (p *pair) done() {
	for _, srv := range p.servers {
		srv.done()
	}
}
