package main

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// report is the content of results/latest.json.
type report struct {
	Date     time.Time
	Machine  machine
	Versions map[string]string
	Settings settings
	Results  []result
}

type machine struct {
	CPUs        int
	CPU         string `json:",omitempty"`
	OS, Arch    string
	GOMAXPROCS  int
	LoadAverage string `json:",omitempty"` // before the run, over 1, 5 and 15 minutes
}

// result is one server under one load. Its figures are medians over the rounds.
type result struct {
	Sweep    string // the parameter that is varied
	Store    string
	Role     string
	Label    string
	Kind     string
	Workload string

	Conns    int
	Size     int // the size of a session's user as JSON, in bytes
	Sessions int // the number of sessions in rotation
	Distance int `json:",omitempty"` // what is added to a round trip to the store, in microseconds

	RPS        float64
	P50, P99   float64  // milliseconds
	Allocs     *float64 `json:",omitempty"` // per request, in the server; nil on Node
	RoundTrips *float64 `json:",omitempty"` // per request, to the store; nil for an in-process one
	WAL        *float64 `json:",omitempty"` // bytes per request in Postgres's write-ahead log
	CPU        *float64 `json:",omitempty"` // processor time of the server per request, in microseconds
	StoreCPU   *float64 `json:",omitempty"` // the same of the store's processes
	Rounds     []float64
}

// The values of a result's Sweep.
const (
	mainRun    = "main"
	byConns    = "connections"
	byDistance = "distance"
	bySize     = "size"
	byScale    = "sessions"
)

func newMachine() machine {
	m := machine{CPUs: runtime.NumCPU(), OS: runtime.GOOS, Arch: runtime.GOARCH, GOMAXPROCS: runtime.GOMAXPROCS(0)}
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if name, value, _ := strings.Cut(lines.Text(), ":"); strings.TrimSpace(name) == "model name" {
				m.CPU = strings.TrimSpace(value)
				break
			}
		}
	}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		if f := strings.Fields(string(b)); len(f) >= 3 {
			m.LoadAverage = strings.Join(f[:3], " ")
		}
	}
	return m
}

// versions returns the versions of the servers, the languages and the peers.
func (b *backend) versions(ctx context.Context) (map[string]string, error) {
	v := map[string]string{"Go": strings.TrimPrefix(runtime.Version(), "go")}

	var postgres string
	if err := b.admin.QueryRowContext(ctx, "SHOW server_version").Scan(&postgres); err != nil {
		return nil, err
	}
	v["Postgres"], _, _ = strings.Cut(postgres, " ")

	c, err := redigo.DialContext(ctx, "tcp", b.redis.Addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	info, err := redigo.String(c.Do("INFO", "server"))
	if err != nil {
		return nil, err
	}
	_, info, _ = strings.Cut(info, "redis_version:")
	v["Redis"], _, _ = strings.Cut(info, "\r")

	node, err := exec.CommandContext(ctx, "node", "--version").Output()
	if err != nil {
		return nil, err
	}
	v["Node"] = strings.TrimPrefix(strings.TrimSpace(string(node)), "v")

	build, _ := debug.ReadBuildInfo()
	for _, dep := range build.Deps {
		switch dep.Path {
		case "github.com/alexedwards/scs/v2", "github.com/gorilla/sessions", "github.com/boj/redistore",
			"github.com/gofiber/fiber/v3", "github.com/gofiber/storage/redis/v3",
			"github.com/gomodule/redigo", "github.com/lib/pq":
			v[strings.TrimPrefix(dep.Path, "github.com/")] = strings.TrimPrefix(dep.Version, "v")
		}
	}

	text, err := os.ReadFile(filepath.Join("node", "package.json"))
	if err != nil {
		return nil, err
	}
	var npm struct{ Dependencies map[string]string }
	if err := json.Unmarshal(text, &npm); err != nil {
		return nil, err
	}
	for name, version := range npm.Dependencies {
		v["npm "+name] = version
	}
	return v, nil
}

const latest = "results/latest.json"

func (r *report) save(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

func loadReport(path string) (*report, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := &report{}
	return r, json.Unmarshal(b, r)
}

// find returns the result of a server in the main run.
func (r *report) find(role, workload string) (result, bool) {
	for _, one := range r.Results {
		if one.Sweep == mainRun && one.Role == role && one.Workload == workload {
			return one, true
		}
	}
	return result{}, false
}

// servers returns the results of a store's servers in the main run, in order.
func (r *report) servers(store string) []result {
	var servers []result
	for _, one := range r.Results {
		if one.Sweep == mainRun && one.Store == store && one.Workload == read {
			servers = append(servers, one)
		}
	}
	return servers
}
