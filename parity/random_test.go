package parity

import (
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/samesid/samesid/internal/testserver"
)

// TestRandom runs random scripts with random options.
//
// PARITY_CONFIGS is the number of sets of options for each store. If it is set, each run
// has a new seed, and PARITY_SEED repeats a failed run. Otherwise each store's scripts are
// always the same, so that only a change of the code can make the test fail.
func TestRandom(t *testing.T) {
	t.Parallel()
	few := uint64(1)
	if testserver.Full() {
		few = 2
	}
	configs := fromEnv(t, "PARITY_CONFIGS", few)
	seed := uint64(1)
	if os.Getenv("PARITY_CONFIGS") != "" {
		seed = rand.Uint64()
	}
	seed = fromEnv(t, "PARITY_SEED", seed)
	forSome(t, anyStore, func(t *testing.T, s store) {
		a := newArena(t, s)
		own := fnv.New64()
		own.Write([]byte(s.Name))
		for i := range configs {
			g := generator{rand.New(rand.NewPCG(seed, own.Sum64()+i)), s.endsInTime()}
			p, err := a.start(parseOptions(complete(g.config())))
			if err != nil {
				t.Fatal(err)
			}
			const scripts = 25
			for range scripts {
				sc := g.script()
				left, err := p.try(sc)
				if err != nil {
					t.Fatalf("%v\nPARITY_SEED=%d\n%s", err, seed, p.print(sc))
				}
				if left == nil {
					continue
				}
				short, left := p.shrink(sc, left)
				t.Errorf("%s\n%s\nPARITY_SEED=%d PARITY_CONFIGS=%d go test -run '%s' ./parity",
					strings.Join(left, "\n"), p.print(short), seed, i+1, t.Name())
				break
			}
			p.done()
		}
	})
}

func fromEnv(t *testing.T, name string, otherwise uint64) uint64 {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// try runs a script and returns the undeclared differences.
func (p *pair) try(sc script) ([]string, error) {
	_, found, err := p.compare(sc)
	return undeclared(found, ""), err
}

// shrink removes the parts of a script without which it still fails.
func (p *pair) shrink(sc script, left []string) (script, []string) {
	for again := true; again; {
		again = false
		for _, shorter := range shorter(sc) {
			if !shorter.fair() {
				continue
			}
			if now, err := p.try(shorter); err == nil && now != nil {
				sc, left, again = shorter, now, true
				break
			}
		}
	}
	return sc, left
}

// fair reports whether a script never changes only maxAge, which is a difference on
// purpose.
func (sc script) fair() bool {
	for _, st := range sc {
		for i, o := range st.Ops {
			if o[0] == "setMaxAge" && (i == 0 || st.Ops[i-1][0] != "set" || st.Ops[i-1][1] != withMaxAge) {
				return false
			}
		}
	}
	return true
}

// withMaxAge is a key that is changed together with maxAge.
const withMaxAge = "with maxAge"

// shorter returns the scripts that are minimally shorter than this one, the shortest
// first.
func shorter(sc script) (all []script) {
	for i := range sc {
		all = append(all, slices.Delete(slices.Clone(sc), i, i+1))
	}
	with := func(i int, st step) { all = append(all, slices.Replace(slices.Clone(sc), i, i+1, st)) }
	for i, st := range sc {
		for j := range st.Ops {
			less := st
			less.Ops = slices.Delete(slices.Clone(st.Ops), j, j+1)
			with(i, less)
		}
		plain := step{Ops: st.Ops}
		for _, part := range []struct{ is, without step }{
			{step{Client: st.Client}, step{Path: st.Path, Proto: st.Proto, Forge: st.Forge, Age: st.Age}},
			{step{Path: st.Path}, step{Client: st.Client, Proto: st.Proto, Forge: st.Forge, Age: st.Age}},
			{step{Proto: st.Proto}, step{Client: st.Client, Path: st.Path, Forge: st.Forge, Age: st.Age}},
			{step{Forge: st.Forge}, step{Client: st.Client, Path: st.Path, Proto: st.Proto, Age: st.Age}},
			{step{Age: st.Age}, step{Client: st.Client, Path: st.Path, Proto: st.Proto, Forge: st.Forge}},
		} {
			if text(part.is) == text(step{}) {
				continue
			}
			part.without.Ops = plain.Ops
			with(i, part.without)
		}
	}
	return all
}

// print returns a script as text, so that it can be run again.
func (p *pair) print(sc script) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s on %s:\n", p.options.text, p.store.Name)
	for _, st := range sc {
		fmt.Fprintf(&b, "\t%s\n", text(st))
	}
	return b.String()
}

// generator generates scripts and options.
type generator struct {
	*rand.Rand
	ends bool // it ends sessions by their maxAge
}

func pick[T any](g generator, from ...T) T { return from[g.IntN(len(from))] }

// config returns random options. It omits those with which Go refuses to start.
func (g generator) config() string {
	var options, cookie []string
	add := func(to *[]string, values ...string) {
		if v := pick(g, values...); v != "" {
			*to = append(*to, v)
		}
	}
	add(&options, `"resave":true`, `"resave":false`)
	add(&options, `"saveUninitialized":true`, `"saveUninitialized":false`)
	add(&options, "", `"rolling":true`, `"rolling":false`)
	add(&options, "", `"unset":"keep"`, `"unset":"destroy"`, `"unset":"destroy"`)
	add(&options, "", `"proxy":true`, `"proxy":true`, `"proxy":false`)
	add(&options, "", `"name":"sid"`, `"name":"__a.b!#%&'*+-^|~"`)
	add(&options, "", `"secret":["a new secret of thirty-two bytes!","old"]`)
	add(&cookie, "", `"maxAge":null`, `"maxAge":60000`, `"maxAge":60000`, `"maxAge":3600000`, `"maxAge":86400000.5`, `"expires":"2099-01-02T03:04:05.678Z"`)
	add(&cookie, "", "", `"path":"/"`, `"path":"/app"`)
	add(&cookie, "", `"httpOnly":true`, `"httpOnly":false`)
	add(&cookie, "", "", `"domain":"example.com"`, `"domain":".a-b.example"`)
	add(&cookie, "", "", `"priority":"low"`, `"priority":"high"`)
	secure := pick(g, "", "", `"secure":false`, `"secure":true`, `"secure":"auto"`)
	add(&cookie, secure)
	sameSite := []string{"", `"sameSite":true`, `"sameSite":false`, `"sameSite":"lax"`, `"sameSite":"strict"`}
	if strings.HasSuffix(secure, "true") || strings.HasSuffix(secure, `"auto"`) {
		add(&cookie, "", `"partitioned":true`)
		sameSite = append(sameSite, `"sameSite":"none"`, `"sameSite":"auto"`, `"sameSite":"auto"`)
	}
	add(&cookie, sameSite...)
	return strings.Join(append(options, `"cookie":{`+strings.Join(cookie, ",")+`}`), ",")
}

func (g generator) script() script {
	sc := make(script, 2+g.IntN(6))
	for i := range sc {
		sc[i] = step{
			Client: pick(g, "a", "a", "b"),
			Path:   pick(g, "/app", "/app", "/app", "/app/x", "/app/x/y", "", "/other/app"),
			Proto:  pick(g, "https", "https", "https", "", "http", "HTTPS, http", "http, https"),
			Ops:    g.ops(),
		}
		if g.IntN(8) == 0 {
			sc[i].Forge = pick(g, slices.Sorted(maps.Keys(forgeries))...)
		}
		if g.IntN(4) == 0 {
			sc[i].Age = 30
		}
		if sc[i].did("unset") {
			// A touch of only one side may also remain invisible until later steps.
			sc[i].Ops = slices.DeleteFunc(sc[i].Ops, func(o op) bool { return o[0] == "touch" })
		}
	}
	if slices.ContainsFunc(sc, func(st step) bool { return st.did("unset") }) {
		// Reading slides the expiry, which may remain invisible until later steps.
		for i := range sc {
			sc[i].Age = 0
		}
	}
	return sc
}

var values = []any{
	nil, true, false, 0, 1, -7, 1.5, 1e21, 1e-7, 9007199254740991.0, "", "text", "ü \"\\\u2028</script>", "2026-01-02T03:04:05.678Z",
	[]any{},
	[]any{1, nil, "x"},
	map[string]any{},
	map[string]any{"a": map[string]any{"b": nil}},
	map[string]any{"cookie": 1},
}

// ops returns random operations. It omits the differences on purpose: using a session
// after its end, changing only maxAge, changing it after the first byte, and the order
// of keys.
func (g generator) ops() []op {
	var ops []op
	deleted := map[string]bool{}
	for range g.IntN(6) {
		key := pick(g, "a", "b", "c", "a key")
		switch g.IntN(20) {
		default:
			if !deleted[key] {
				ops = append(ops, set(key, pick(g, values...)))
			}
		case 4, 5:
			ops = append(ops, get(key))
		case 6:
			deleted[key] = true
			ops = append(ops, del(key))
		case 7:
			ops = append(ops, keys)
		case 8:
			ops = append(ops, id)
		case 9:
			ops = append(ops, regenerate)
		case 10:
			ops = append(ops, save)
		case 11:
			ops = append(ops, reload)
		case 12:
			ops = append(ops, touch)
		case 13, 14:
			ops = append(ops, set(withMaxAge, g.Uint32()), setMaxAge(pick[any](g, nil, 30000, 60000, 7200000.25, 3000000000.0)))
		case 3:
			if g.IntN(4) == 0 && g.ends {
				return append(ops, set(withMaxAge, g.Uint32()), setMaxAge(-60000))
			}
		case 15:
			ops = append(ops, original)
		case 16:
			ops = append(ops, maxAge)
		case 17, 18, 19:
			return append(ops, pick(g, destroy, unset, flush))
		}
	}
	return ops
}
