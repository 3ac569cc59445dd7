package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ticks is the number of units per second in which Linux counts processor time for
// programs, on every architecture.
const ticks = 100

// cpuSeconds returns the processor time of a process and of its children, as the operating
// system counts it, in seconds. It returns 0 where there is no /proc.
func cpuSeconds(pid int) float64 {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	total := 0.0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// The name before ")" may have spaces in it.
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		const parent, user, system = 1, 11, 12
		if len(fields) <= system {
			continue
		}
		if filepath.Base(filepath.Dir(file)) != strconv.Itoa(pid) && fields[parent] != strconv.Itoa(pid) {
			continue
		}
		for _, i := range []int{user, system} {
			n, _ := strconv.ParseFloat(fields[i], 64)
			total += n / ticks
		}
	}
	return total
}
