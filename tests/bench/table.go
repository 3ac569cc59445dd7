package main

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// grid is a table in Markdown, padded so that it is readable as plain text.
type grid [][]string

func (g grid) String() string {
	if len(g) == 0 {
		return ""
	}
	widths := make([]int, len(g[0]))
	for _, row := range g {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell), 3)
		}
	}
	var b strings.Builder
	for n, row := range g {
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				fmt.Fprintf(&b, "| %s%s ", cell, pad)
			} else {
				fmt.Fprintf(&b, "| %s%s ", pad, cell)
			}
		}
		b.WriteString("|\n")
		if n == 0 {
			for i, w := range widths {
				if i == 0 {
					b.WriteString("|" + strings.Repeat("-", w+2))
				} else {
					b.WriteString("|" + strings.Repeat("-", w+1) + ":")
				}
			}
			b.WriteString("|\n")
		}
	}
	return b.String()
}

var storeTitles = map[string]string{inMemory: "Memory", inRedis: "Redis", inPostgres: "Postgres", inSQLite: "SQLite"}

// table is the main run's results on one store.
func (r *report) table(store string) grid {
	g := grid{append([]string{storeTitles[store]}, workloads...)}
	g[0] = append(g[0], "allocations", "CPU µs")
	overNetwork := store == inRedis || store == inPostgres
	if overNetwork {
		g[0] = append(g[0], "round trips")
	}
	if store == inPostgres {
		g[0] = append(g[0], "WAL bytes")
	}
	for _, server := range r.servers(store) {
		row := []string{server.Label}
		var allocs, cpu, turns, wal []string
		for _, w := range workloads {
			one, ok := r.find(server.Role, w)
			if !ok {
				row = append(row, "")
				allocs, cpu, turns, wal = append(allocs, "–"), append(cpu, "–"), append(turns, "–"), append(wal, "–")
				continue
			}
			row = append(row, fmt.Sprintf("%s (%s)", thousands(one.RPS), milliseconds(one.P99)))
			allocs = append(allocs, optional(one.Allocs))
			used := optional(one.CPU)
			if one.StoreCPU != nil {
				used += "+" + optional(one.StoreCPU)
			}
			cpu = append(cpu, used)
			turns = append(turns, optional(one.RoundTrips))
			wal = append(wal, optional(one.WAL))
		}
		row = append(row, join(allocs), join(cpu))
		if overNetwork {
			row = append(row, join(turns))
		}
		if store == inPostgres {
			row = append(row, join(wal))
		}
		g = append(g, row)
	}
	return g
}

// join returns one cell with the figures of the workloads, in order.
func join(cells []string) string {
	if !slices.ContainsFunc(cells, func(c string) bool { return c != "–" }) {
		return ""
	}
	return strings.Join(cells, " / ")
}

// sweepTable returns the read workload's rate for each value of the varied parameter.
func (r *report) sweepTable(sweep string) grid {
	varied := func(one result) int {
		switch sweep {
		case byConns:
			return one.Conns
		case bySize:
			return one.Size
		case byDistance:
			return one.Distance
		default:
			return one.Sessions
		}
	}
	columns := make(map[int]bool)
	rates := make(map[string]map[int]string)
	var rows []result
	for _, one := range r.Results {
		if one.Sweep != sweep {
			continue
		}
		n := varied(one)
		columns[n] = true
		if rates[one.Role] == nil {
			rates[one.Role] = make(map[int]string)
			rows = append(rows, one)
		}
		late := one.P99
		if sweep == byDistance {
			late = one.P50
		}
		rates[one.Role][n] = fmt.Sprintf("%s (%s)", thousands(one.RPS), milliseconds(late))
	}
	if len(rows) == 0 {
		return nil
	}
	order := slices.Sorted(maps.Keys(columns))
	g := grid{{""}}
	for _, n := range order {
		g[0] = append(g[0], thousands(float64(n)))
	}
	for _, one := range rows {
		row := []string{storeTitles[one.Store] + ": " + one.Label}
		for _, n := range order {
			row = append(row, rates[one.Role][n])
		}
		g = append(g, row)
	}
	return g
}

// thousands formats a number as 12,345.
func thousands(f float64) string {
	s := fmt.Sprintf("%.0f", f)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func milliseconds(f float64) string {
	if f < 10 {
		return fmt.Sprintf("%.1f ms", f)
	}
	return fmt.Sprintf("%.0f ms", f)
}

// optional formats a figure, with a decimal if that matters.
func optional(f *float64) string {
	switch {
	case f == nil:
		return "–"
	case *f < 10 && math.Abs(*f-math.Round(*f)) >= 0.05:
		return fmt.Sprintf("%.1f", *f)
	default:
		return thousands(*f)
	}
}

// String returns the whole report, as the terminal shows it.
func (r *report) String() string {
	var b strings.Builder
	b.WriteString(r.about() + "\n")
	for _, store := range stores {
		if g := r.table(store); len(g) > 1 {
			fmt.Fprintf(&b, "\n%s", g)
		}
	}
	b.WriteString("\n" + legend + "\n")
	for _, sweep := range sweeps {
		if g := r.sweepTable(sweep); g != nil {
			fmt.Fprintf(&b, "\n%s\n\n%s", sweepTitles[sweep], g)
		}
	}
	return b.String()
}

const legend = "Requests per second, and in brackets the time within which 99 of 100 are answered. Allocations in the server, processor time of\n" +
	"the server and of its store, round trips to it and bytes in Postgres's log are per request: read / change / anonymous / login."

var sweeps = []string{byConns, byDistance, bySize, byScale}

var sweepTitles = map[string]string{
	byConns:    "Reads by the number of connections:",
	byDistance: "Reads by the distance of the store, in microseconds that a proxy adds to a round trip; in brackets the median:",
	bySize:     "Reads by the size of what a session holds, in bytes of JSON:",
	byScale:    "Reads by the number of sessions in the store:",
}

// about describes where and how the figures were measured.
func (r *report) about() string {
	cpu := r.Machine.CPU
	if cpu != "" {
		cpu = " (" + cpu + ")"
	}
	return fmt.Sprintf("%s, %d CPUs%s, %s/%s; Go %s, Node %s, Redis %s, Postgres %s.\n"+
		"%s sessions in rotation, %d connections, the load generator on the same machine; the median of %d rounds of %gs.",
		r.Date.Format("2 January 2006"), r.Machine.CPUs, cpu, r.Machine.OS, r.Machine.Arch,
		r.Versions["Go"], r.Versions["Node"], r.Versions["Redis"], r.Versions["Postgres"],
		thousands(float64(r.Settings.Sessions)), r.Settings.Conns, r.Settings.Rounds, r.Settings.Seconds)
}
