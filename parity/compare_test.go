package parity

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// tolerance is how far apart two times may be: both sides are slow, and cookies,
// connect-redis and connect-pg-simple use whole seconds.
const tolerance = 5 * time.Second

// ageTolerance is for an age that is set rather than measured. Express computes it from
// two readings of the clock, between which a busy machine may run something else.
const ageTolerance = 500 * time.Millisecond

// difference is one difference between the two sides.
type difference struct {
	*comparison
	field     string
	node, gos any
}

func (d difference) String() string {
	return fmt.Sprintf("step %d, %s: %s has %v, %s has %v", d.at+1, d.field, node, d.node, gos, d.gos)
}

// comparison compares the two sides' outcomes of one step.
type comparison struct {
	*pair
	at    int
	step  step
	node  outcome
	gos   outcome
	found []difference
}

func (c *comparison) differ(field string, node, gos any) {
	c.found = append(c.found, difference{c, field, node, gos})
}

func (c *comparison) same(field string, node, gos any) {
	if !reflect.DeepEqual(node, gos) {
		c.differ(field, node, gos)
	}
}

func (c *comparison) near(field string, node, gos any, within time.Duration) {
	a, ok1 := node.(float64)
	b, ok2 := gos.(float64)
	if !ok1 || !ok2 || math.Abs(a-b) > float64(within.Milliseconds()) {
		c.same(field, node, gos)
	}
}

func (c *comparison) compare() {
	c.same("status", c.node.status, c.gos.status)
	c.same("sid", c.node.sid, c.gos.sid)
	c.same("number of results", len(c.node.results), len(c.gos.results))
	for i := range min(len(c.node.results), len(c.gos.results)) {
		within := time.Duration(0)
		switch c.step.Ops[i][0] {
		case "maxAge":
			within = tolerance
		case "originalMaxAge":
			within = c.ageTolerance()
		}
		c.near("result of "+text(c.step.Ops[i]), c.node.results[i], c.gos.results[i], within)
	}
	c.same("Vary", c.node.vary, c.gos.vary)
	c.same("Cache-Control", c.node.caching, c.gos.caching)
	c.cookies(c.node.cookie, c.gos.cookie)
	c.same("cookie without Domain", c.node.hostOnly, c.gos.hostOnly)
	c.same("store", text(c.node.stored), text(c.gos.stored))
	for _, name := range slices.Sorted(maps.Keys(c.node.records)) {
		if theirs, ok := c.gos.records[name]; ok {
			c.record(name, c.node.records[name], theirs)
		}
	}
}

func (c *comparison) ageTolerance() time.Duration {
	if c.options.Cookie.Expires != "" {
		return tolerance // measured from the start of the session
	}
	return ageTolerance
}

func (c *comparison) cookies(a, b *setCookie) {
	if kind(a) != kind(b) {
		c.differ("Set-Cookie", kind(a), kind(b))
	}
	if a == nil || b == nil {
		return
	}
	c.same("Set-Cookie: id", a.id, b.id)
	c.same("Set-Cookie: value", a.form, b.form)
	for _, attr := range union(a.attrs, b.attrs) {
		x, inNode := a.attrs[attr]
		y, inGo := b.attrs[attr]
		left1, ok1 := a.expiresIn()
		left2, ok2 := b.expiresIn()
		switch {
		case inNode != inGo:
			c.differ("Set-Cookie: "+attr, present(x, inNode), present(y, inGo))
		// Express rounds down to a second, samesid up.
		case attr == "Expires" && ok1 && ok2 && (left1-left2).Abs() <= tolerance+time.Second:
		default:
			c.same("Set-Cookie: "+attr, x, y)
		}
	}
}

func kind(c *setCookie) string {
	switch {
	case c == nil:
		return "none"
	case c.cleared():
		return "one that clears"
	case c.form != wellFormed:
		return c.form
	}
	return "one"
}

func present(value string, is bool) string {
	if !is {
		return "none"
	}
	return strconv.Quote(value)
}

func union[V any](a, b map[string]V) []string {
	all := map[string]bool{}
	for k := range a {
		all[k] = true
	}
	for k := range b {
		all[k] = true
	}
	return slices.Sorted(maps.Keys(all))
}

func (c *comparison) record(name string, a, b record) {
	for _, attr := range union(a.cookie, b.cookie) {
		field := "record: cookie." + attr
		x, y := plain(attr, a.cookie[attr]), plain(attr, b.cookie[attr])
		switch attr {
		case "expires":
			x, y = milliseconds(x), milliseconds(y)
			c.near(field, x, y, tolerance)
		case "originalMaxAge":
			c.near(field, x, y, c.ageTolerance())
		default:
			c.same(field, x, y)
		}
	}
	if (a.left - b.left).Abs() > tolerance {
		c.differ(timeLeft+name, a.left, b.left)
	}
}

// timeLeft is the prefix of the field for a record's expiry; the record's name follows.
const timeLeft = "record: time left of "

// plain returns the canonical form of an attribute.
func plain(attr string, v any) any {
	switch {
	case v == false || v == "":
		return nil
	case attr == "sameSite" && v == true:
		return "strict"
	}
	return v
}

func milliseconds(date any) any {
	if s, ok := date.(string); ok {
		if t, err := time.Parse(time.RFC3339, s); err == nil {
			return float64(t.UnixMilli())
		}
	}
	return date
}

// undeclared returns the differences that no entry of the table allows. shows names the
// entry that the script demonstrates, if any. It is a failure if the script does not
// demonstrate it.
func undeclared(found []difference, shows string) (left []string) {
	used := map[string]bool{"": true}
	for _, d := range found {
		if name := d.declared(shows); name != "" {
			used[name] = true
		} else {
			left = append(left, d.String())
		}
	}
	if !used[shows] {
		left = append(left, fmt.Sprintf("the difference %q does not show", shows))
	}
	return left
}

// declared returns the name of the entry that allows the difference, or "".
func (d difference) declared(shows string) string {
	for i := range onPurpose {
		e := &onPurpose[i]
		if (e.always || e.name == shows) && e.allows != nil && e.allows(d) {
			e.seen.Store(true)
			return e.name
		}
	}
	return ""
}

// shown records that a dedicated test has demonstrated a difference on purpose.
func shown(t *testing.T, name string) {
	t.Helper()
	for i := range onPurpose {
		if onPurpose[i].name == name {
			onPurpose[i].seen.Store(true)
			return
		}
	}
	t.Errorf("%q is not in the table of differences", name)
}

// within reports whether the difference is in one of the fields, or in a part of one.
func (d difference) within(fields ...string) bool {
	return slices.ContainsFunc(fields, func(f string) bool { return strings.HasPrefix(d.field, f) })
}
