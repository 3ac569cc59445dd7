package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The load generator must reject a server that is fast because it does less.
func TestLoadRefuses(t *testing.T) {
	for _, test := range []struct {
		name, workload       string
		status               int
		body, cookie, refuse string
	}{
		{"another user", read, 200, "user-1", "", `"user-1", not "user-0"`},
		{"nobody", read, 200, anonymous, "", `"anonymous", not "user-0"`},
		{"a user without a cookie", visit, 200, "user-0", "", `"user-0", not "anonymous"`},
		{"an error", read, 503, "user-0", "", "status 503"},
		{"a counter that stands still", change, 200, "user-0 1", "", "counter of 1"},
		{"no counter", change, 200, "user-0", "", `"user-0"`},
		{"no cookie", login, 200, "user-0", "", "no new cookie"},
		{"the same cookie", login, 200, "user-0", "id=same", "no new cookie"},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if test.cookie != "" {
					w.Header().Set("Set-Cookie", test.cookie)
				}
				w.WriteHeader(test.status)
				w.Write([]byte(test.body))
			}))
			defer server.Close()
			l := load{addr: server.Listener.Addr().String(), workload: test.workload, conns: 1, visitors: newVisitors(1)}
			var err error
			for range 2 {
				_, err = l.run(t.Context())
			}
			if err == nil || !strings.Contains(err.Error(), test.refuse) {
				t.Errorf("error %v, want one with %q", err, test.refuse)
			}
		})
	}
}

// Requests of one session never overlap, and every session has its turn.
func TestLoadSharesNoSession(t *testing.T) {
	seen := make(chan string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := "user-" + r.FormValue("user")
		seen <- name
		http.SetCookie(w, &http.Cookie{Name: "id", Value: name})
		w.Write([]byte(name))
	}))
	defer server.Close()
	l := load{addr: server.Listener.Addr().String(), workload: login, conns: 4, visitors: newVisitors(10)}
	sample, err := l.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if sample.requests != 10 || sample.p50 <= 0 || sample.p99 < sample.p50 {
		t.Errorf("sample %+v of 10 requests", sample)
	}
	close(seen)
	names := make(map[string]bool)
	for name := range seen {
		names[name] = true
	}
	if len(names) != 10 {
		t.Errorf("%d users signed in, want 10", len(names))
	}
}

func TestProxyCountsTurns(t *testing.T) {
	// The store answers each dot, and reports each byte that it receives.
	got := make(chan byte)
	store, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	go func() {
		c, err := store.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		b := make([]byte, 1)
		for {
			if _, err := c.Read(b); err != nil {
				return
			}
			if b[0] == '.' {
				_, _ = c.Write(b)
			}
			got <- b[0]
		}
	}()
	p, err := newProxy(store.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	c, err := net.Dial("tcp", p.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i, request := range [][]string{{"get."}, {"in ", "pieces."}, {"two. at once."}} {
		answers := 0
		for _, piece := range request {
			if _, err := io.WriteString(c, piece); err != nil {
				t.Fatal(err)
			}
			for range piece { // so that the next piece arrives separately
				<-got
			}
			answers += strings.Count(piece, ".")
		}
		if _, err := io.ReadFull(c, make([]byte, answers)); err != nil {
			t.Fatal(err)
		}
		if turns := p.turns.Load(); turns != int64(i+1) {
			t.Errorf("%d round trips after %q, want %d", turns, request, i+1)
		}
	}
}

func testReport() *report {
	r := &report{Date: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC), Versions: map[string]string{"Go": "1.25"}}
	turns := 1.0
	for i, role := range roles {
		for _, w := range workloads {
			if !role.has(w) {
				continue
			}
			r.Results = append(r.Results, result{
				Sweep: mainRun, Store: role.store, Role: role.name, Label: role.label, Kind: role.kind, Workload: w,
				RPS: float64(1000 * (i + 1)), P99: 1.5, RoundTrips: &turns,
			})
		}
		if role.sweep {
			r.Results = append(r.Results, result{Sweep: byConns, Store: role.store, Role: role.name, Label: role.label, Workload: read, Conns: 16, RPS: 7777})
		}
	}
	return r
}

func TestWrite(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "docs"), 0o755); err != nil {
		t.Fatal(err)
	}
	readme := filepath.Join(root, "README.md")
	text := "before\n" + beginMark + "\nold\n" + endMark + "\nafter\n"
	if err := os.WriteFile(readme, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := testReport()
	for range 2 { // writing is idempotent
		if err := r.write(root, nil); err != nil {
			t.Fatal(err)
		}
	}
	want := "before\n" + beginMark + "\n" + strings.TrimSpace(r.summary()) + "\n" + endMark + "\nafter\n"
	if got := contents(t, readme); got != want {
		t.Errorf("README.md is\n%s\nwant\n%s", got, want)
	}
	for _, name := range []string{"bench-read.svg", "bench-change.svg"} {
		svg := contents(t, filepath.Join(root, "docs", name))
		d := xml.NewDecoder(strings.NewReader(svg))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	if err := os.WriteFile(readme, []byte("no marks"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.write(root, nil); err == nil || contents(t, readme) != "no marks" {
		t.Errorf("a README without marks: %v", err)
	}
}

// The documents contain every measurement.
func TestReportIsComplete(t *testing.T) {
	r := testReport()
	chart, summary, details, summed := r.chart(read, ""), r.summary(), r.details(grid{{"", "past"}}), 0
	for i, role := range roles {
		rate := thousands(float64(1000 * (i + 1)))
		texts := map[string]string{"chart": chart, "details": details}
		if slices.Contains(inSummary, role.name) {
			texts["summary"] = summary
			summed++
		}
		for what, text := range texts {
			if !strings.Contains(text, role.label) || !strings.Contains(text, rate) {
				t.Errorf("the %s lacks %s or its rate, %s", what, role.label, rate)
			}
		}
	}
	if summed != len(inSummary) {
		t.Errorf("%d roles are in the summary, want %d", summed, len(inSummary))
	}
	if !strings.Contains(details, "past") {
		t.Error("the details lack the history")
	}
	if !strings.Contains(details, "7,777") || !strings.Contains(details, sweepTitles[byConns]) {
		t.Error("the details lack the sweep")
	}
}

func TestHistory(t *testing.T) {
	r, dir := testReport(), t.TempDir()
	for _, hours := range []time.Duration{0, 5} {
		r.Date = r.Date.Add(hours * time.Hour)
		if err := r.keep(dir); err != nil {
			t.Fatal(err)
		}
	}
	g, err := history(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(g) != 1+len(ratios) || len(g[0]) != 3 {
		t.Fatalf("the history of two runs: %q", g)
	}
	for _, row := range g[1:] {
		if row[1] == "" || row[1] != row[2] {
			t.Errorf("a ratio of two equal runs: %q", row)
		}
	}
	if g[0][1] == g[0][2] {
		t.Errorf("the runs have the same name: %q", g[0])
	}
}

func TestReportIsKept(t *testing.T) {
	r := testReport()
	path := filepath.Join(t.TempDir(), "results", "latest.json")
	if err := r.save(path); err != nil {
		t.Fatal(err)
	}
	back, err := loadReport(path)
	if err != nil {
		t.Fatal(err)
	}
	if back.String() != r.String() {
		t.Error("the report came back changed")
	}
}

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		rounds []int
		want   float64
	}{
		{[]int{3}, 3}, {[]int{9, 1, 5}, 5}, {[]int{8, 2, 4, 6}, 5},
	} {
		var f []figures
		for _, n := range test.rounds {
			f = append(f, figures{wal: float64(n)})
		}
		if got := median(f, func(f figures) float64 { return f.wal }); got != test.want {
			t.Errorf("median of %v is %v, want %v", test.rounds, got, test.want)
		}
	}
}

func TestNewUserHasItsSize(t *testing.T) {
	for _, size := range []int{200, 1_000, 100_000} {
		for _, id := range []int{0, 4_999} {
			b, err := json.Marshal(newUser(id, size))
			if err != nil || len(b) != size {
				t.Errorf("user %d has %d bytes, want %d: %v", id, len(b), size, err)
			}
		}
	}
}

func TestSettings(t *testing.T) {
	for name, value := range map[string]string{"BENCH_TIME": "soon", "BENCH_ROUNDS": "0", "BENCH_CONNS": "many", "BENCH_ONLY": "("} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, value)
			if s, err := readSettings(); err == nil {
				t.Errorf("%s=%s is taken: %v", name, value, fmt.Sprint(s))
			}
		})
	}
}

func contents(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
