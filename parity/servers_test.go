package parity

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
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
	node: sync.OnceValues(func() ([]string, error) {
		path, err := exec.LookPath("node")
		if err != nil {
			return nil, err
		}
		return []string{path, "express/server.mjs"}, installPackages()
	}),
}

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
		scratch = dir
		// The scripts mostly wait for the servers, so many can run in parallel.
		flag.Parse()
		if err := flag.Set("test.parallel", "8"); err != nil {
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
}

// leashed is a shell script that kills its program when standard input ends, and so
// with this process, however that ends. Only the program holds standard output.
const leashed = `"$@" </dev/null & exec >&-; read _; kill -TERM $! 2>/dev/null; wait $!`

// start runs one side's server with the text of a configuration file. It returns an error
// if the server exits before it listens.
func start(tb testing.TB, s side, config string, env ...string) (*server, error) {
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
	cmd := exec.Command("/bin/sh", append(args, "--addr", "127.0.0.1:0", "--config", f.Name())...)
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
		leash.Close()
		_, _ = io.Copy(io.Discard, stdout)
		_ = cmd.Wait() // the exit status does not matter
	})
	tb.Cleanup(srv.stop)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if err != nil || !ok {
		srv.stop()
		return nil, fmt.Errorf("%s did not start: %s%s", s, line, srv.log)
	}
	srv.url = "http://" + addr
	return srv, nil
}

// place is where one side's sessions are stored, separate from all others.
type place struct {
	store   string  // the configuration's store block
	records records // nil for a store in the server's memory
}

// stores are the stores that both Express and samesid have, by Express's names.
var stores = map[string]func(testing.TB) place{
	"memory": func(testing.TB) place { return place{store: `{"type":"memory"}`} },
	"connect-redis": func(tb testing.TB) place {
		prefix := testserver.Prefix(tb)
		return place{
			store:   block(map[string]any{"type": "redis", "layout": "connect-redis", "url": testserver.Redis(tb), "prefix": prefix}),
			records: newRedisRecords(tb, testserver.Redis(tb), prefix),
		}
	},
	"connect-pg-simple": func(tb testing.TB) place {
		return postgresPlace(tb, "connect-pg-simple", "session", "expire")
	},
	"connect-session-knex": func(tb testing.TB) place {
		return postgresPlace(tb, "connect-session-knex", "sessions", "expired")
	},
}

func postgresPlace(tb testing.TB, layout, table, expiry string) place {
	_, schema := testserver.Schema(tb)
	url := testserver.Postgres(tb)
	return place{
		store:   block(map[string]any{"type": "postgres", "layout": layout, "url": url, "schemaName": schema, "createTable": true}),
		records: newPostgresRecords(tb, url, schema+"."+table, expiry),
	}
}

func block(store map[string]any) string {
	b, err := json.Marshal(store)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// arena holds a separate place for each side, on which scripts run.
type arena struct {
	tb     testing.TB
	store  string
	places map[side]place
}

func newArena(tb testing.TB, store string) *arena {
	tb.Helper()
	need(tb)
	return &arena{tb: tb, store: store, places: map[side]place{node: stores[store](tb), gos: stores[store](tb)}}
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
			srv, err := start(a.tb, s, a.config(s, o))
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

func (p *pair) stop() {
	for _, srv := range p.servers {
		srv.stop()
	}
}
