package main

import (
	"fmt"
	"html"
	"slices"
	"strings"
)

// chartStyle adapts the text to the reader's colour scheme, so that a chart is readable on
// light and dark pages. The bars stand out on both.
const chartStyle = `<style>
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 15px }
.quiet { fill: #59636e }
.samesid { fill: #1a7f5a } .peer { fill: #7d8fa3 } .floor { fill: none; stroke: #7d8fa3; stroke-dasharray: 3 2 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .quiet { fill: #9198a1 } .samesid { fill: #2ea97a } }
</style>
`

// chart draws one workload's rates as bars, the fastest first, in a panel for each store
// with its own scale.
func (r *report) chart(workload, title string) string {
	const (
		width   = 860
		left    = 300 // the width of the labels
		bar     = 18
		step    = 26
		longest = width - left - 160
	)
	var b strings.Builder
	y := 28
	fmt.Fprintf(&b, `<text class="title" x="0" y="%d">%s</text>`+"\n", y, html.EscapeString(title))
	for _, store := range stores {
		var bars []result
		top := 0.0
		for _, server := range r.servers(store) {
			if one, ok := r.find(server.Role, workload); ok {
				bars = append(bars, one)
				top = max(top, one.RPS)
			}
		}
		if len(bars) == 0 {
			continue
		}
		slices.SortStableFunc(bars, func(a, b result) int { return int(b.RPS - a.RPS) })
		y += 36
		fmt.Fprintf(&b, `<text class="title" x="0" y="%d">%s</text>`+"\n", y, storeTitles[store])
		y += 12
		for _, one := range bars {
			length := one.RPS / top * longest
			fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`, left-10, y+bar-5, html.EscapeString(one.Label))
			fmt.Fprintf(&b, `<rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>`, one.Kind, left, y, length, bar)
			fmt.Fprintf(&b, `<text x="%.1f" y="%d">%s <tspan class="quiet">p99 %s</tspan></text>`+"\n",
				left+length+8, y+bar-5, thousands(one.RPS), milliseconds(one.P99))
			y += step
		}
	}
	y += 22
	fmt.Fprintf(&b, `<text class="quiet" x="0" y="%d">requests per second; each store has its own scale; dashed: the floor, without sessions</text>`+"\n", y)
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s">`+"\n%s%s</svg>\n",
		width, y+16, width, y+16, html.EscapeString(title), chartStyle, b.String())
}
