package main

import (
	"fmt"
	"path/filepath"
	"slices"
)

// ratio is one that is followed from run to run, as the rates themselves say nothing on
// another machine or day.
type ratio struct {
	title     string
	role, per string // names of roles
	workload  string
}

var ratios = []ratio{
	{"memory: read, of the bare handler", "samesid-memory-json", "bare", read},
	{"memory: change, of scs", "samesid-memory-json", "scs-memory", change},
	{"Redis: read, of one GETEX", "samesid-redis-connect", "floor-getex", read},
	{"Redis: change, of scs", "samesid-redis-connect", "scs-redis", change},
	{"Postgres: read, of one SELECT", "samesid-postgres-touchafter", "floor-select", read},
	{"Postgres: touched each time, of one UPDATE", "samesid-postgres", "floor-update", read},
	{"Postgres: change, of scs", "samesid-postgres-touchafter", "scs-postgres", change},
}

// keep saves the report beside those of earlier runs, in a file named after its time.
func (r *report) keep(dir string) error {
	return r.save(filepath.Join(dir, r.Date.Format("2006-01-02T15-04")+".json"))
}

// history returns the ratios of each run that was kept in a folder, the oldest first.
func history(dir string) (grid, error) {
	files, err := filepath.Glob(filepath.Join(dir, "2*.json"))
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	g := grid{{""}}
	for _, ratio := range ratios {
		g = append(g, []string{ratio.title})
	}
	for _, file := range files {
		r, err := loadReport(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Base(file), err)
		}
		g[0] = append(g[0], r.Date.Format("2 Jan 2006 15:04"))
		for i, ratio := range ratios {
			cell := ""
			one, ok1 := r.find(ratio.role, ratio.workload)
			per, ok2 := r.find(ratio.per, ratio.workload)
			if ok1 && ok2 && per.RPS > 0 {
				cell = fmt.Sprintf("%.2f", one.RPS/per.RPS)
			}
			g[i+1] = append(g[i+1], cell)
		}
	}
	return g, nil
}
