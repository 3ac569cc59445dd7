package parity

import (
	"flag"
	"slices"
	"strings"
	"testing"

	"github.com/samesid/samesid/internal/testserver"
)

// A behaviour is one behaviour of Express that samesid must have too.
type behaviour struct {
	option string // the option that it tests
	name   string
	config string // the options, except the secret, resave and saveUninitialized
	script script
	want   []string         // Express's outcome of each step, as by outcome.String
	here   []string         // samesid's outcomes, if they differ
	shows  string           // the difference on purpose that it demonstrates
	on     func(store) bool // the stores that it applies to; nil for all
}

// onEachStore are the options that involve the store. The others work the same on all
// stores, and are tested on one.
var onEachStore = []string{
	"session", "resave", "saveUninitialized", "unset", "maxAge", "expires", "destroy", "regenerate", "reload", "save", "touch", "guarantee",
}

// oneStore is a store whose records can be read.
const oneStore = "connect-redis"

// complete adds the missing options to a configuration. One in braces is complete.
func complete(config string) string {
	if strings.HasPrefix(config, "{") {
		return config
	}
	for _, option := range []string{`"secret":"parity parity parity parity pari"`, `"resave":false`, `"saveUninitialized":false`} {
		name, _, _ := strings.Cut(option, ":")
		if !strings.Contains(config, name) {
			config = option + "," + config
		}
	}
	return "{" + strings.TrimSuffix(config, ",") + "}"
}

func TestExpress(t *testing.T) {
	t.Parallel()
	need(t)
	testserver.Redis(t)
	testserver.Postgres(t)
	t.Run("behaviour", func(t *testing.T) {
		sampled := make(map[string]bool)
		for _, s := range some(t, allStores(t)) {
			sampled[s.Name] = true
		}
		forEach(t, anyStore, func(t *testing.T, s store) {
			testBehaviours(t, s, func(b *behaviour) bool {
				if !slices.Contains(onEachStore, b.option) {
					return false
				}
				// What depends on the store is tested on each.
				return b.on == nil && (sampled[s.Name] || b.shows != "") || b.on != nil && b.on(s)
			})
		})
		t.Run("options", func(t *testing.T) {
			t.Parallel()
			testBehaviours(t, storeNamed(t, oneStore), func(b *behaviour) bool { return !slices.Contains(onEachStore, b.option) })
		})
	})
	t.Run("refused", testRefused)
	t.Run("no secret", testNoSecret)
	t.Run("contradictory cookies", testContradictoryCookies)
	t.Run("store down", testStoreDown)
	t.Run("secure cookie on plain HTTP", testSecureOnPlainHTTP)
	if narrowed := flag.Lookup("test.run").Value.String(); strings.Contains(narrowed, "/") {
		return // not all tests have run
	}
	for i := range onPurpose {
		if d := &onPurpose[i]; !d.seen.Load() {
			t.Errorf("the difference %q is declared, and nothing has shown it", d.name)
		}
	}
}

// testBehaviours tests the behaviours for which here returns true.
func testBehaviours(t *testing.T, s store, here func(*behaviour) bool) {
	a := newArena(t, s)
	done := make([]bool, len(behaviours))
	// One pair of servers serves all behaviours of the same configuration.
	for i := range behaviours {
		if done[i] {
			continue
		}
		var p *pair
		for j := range behaviours {
			b := &behaviours[j]
			if b.config != behaviours[i].config {
				continue
			}
			done[j] = true
			if !here(b) {
				continue
			}
			t.Run(b.option+"/"+b.name, func(t *testing.T) {
				if p == nil {
					var err error
					if p, err = a.start(parseOptions(complete(b.config))); err != nil {
						t.Fatal(err)
					}
				}
				testBehaviour(t, p, b)
			})
		}
		if p != nil {
			p.done()
		}
	}
}

func testBehaviour(t *testing.T, p *pair, b *behaviour) {
	all, found, err := p.compare(b.script)
	if err != nil {
		t.Fatal(err)
	}
	for s, want := range map[side][]string{node: b.want, gos: b.here} {
		for i := range want {
			if got := all[s][i].String(); got != want[i] {
				t.Errorf("step %d: %s makes %q of it, and should %q", i+1, s, got, want[i])
			}
		}
	}
	for _, d := range undeclared(found, b.shows) {
		t.Error(d)
	}
}

// send sends a request as one side's only client.
func send(t *testing.T, srv *server, o options, st step, cookie ...string) outcome {
	t.Helper()
	out, err := (&runner{server: srv, options: &o}).send(st, cookie)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// testRefused tests options with which neither side starts.
func testRefused(t *testing.T) {
	for name, config := range map[string]string{
		"unset":  complete(`"unset":"bogus!"`),
		"secret": complete(`"secret":[]`),
	} {
		for _, s := range []side{node, gos} {
			if _, err := start(t, s, store{}, config); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s on %s: %v; it should name %s", s, config, err, name)
			}
		}
	}
}

func testNoSecret(t *testing.T) {
	const config = `{"resave":false,"saveUninitialized":false,"store":{"type":"memory"}}`
	srv, err := start(t, node, store{}, config)
	if err != nil {
		t.Fatal(err)
	}
	if out := send(t, srv, options{}, run()); out.status != 500 {
		t.Errorf("%s answers %d without a secret", node, out.status)
	}
	if _, err := start(t, gos, store{}, config); err == nil || !strings.Contains(err.Error(), "secret") {
		t.Errorf("%s without a secret: %v", gos, err)
	}
	shown(t, "no secret")
}

func testContradictoryCookies(t *testing.T) {
	for cookie, names := range map[string][]string{
		`{"sameSite":"none"}`:  {"sameSite", "secure"},
		`{"sameSite":"auto"}`:  {"sameSite", "secure"},
		`{"partitioned":true}`: {"partitioned", "secure"},
	} {
		o := parseOptions(complete(`"cookie":` + cookie))
		a := &arena{tb: t, places: map[side]place{node: {store: `{"type":"memory"}`}, gos: {store: `{"type":"memory"}`}}}
		srv, err := start(t, node, store{}, a.config(node, o))
		if err != nil {
			t.Fatal(err)
		}
		if out := send(t, srv, o, run(set("a", 1))); out.cookie == nil {
			t.Errorf("%s sends no cookie of %s", node, cookie)
		}
		_, err = start(t, gos, store{}, a.config(gos, o))
		for _, name := range names {
			if err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s on %s: %v; it should name %s", gos, cookie, err, name)
			}
		}
	}
	shown(t, "contradictory cookies")
}

func testStoreDown(t *testing.T) {
	db := testserver.StartRedis(t)
	a := &arena{tb: t, store: storeNamed(t, oneStore), places: map[side]place{}}
	for s, prefix := range map[side]string{node: "node:", gos: "go:"} {
		a.places[s] = place{store: a.store.block(map[string]any{"url": db.URL, "prefix": prefix})}
	}
	p, err := a.start(parseOptions(complete(minute)))
	if err != nil {
		t.Fatal(err)
	}
	cookies := map[side]string{}
	for s, srv := range p.servers {
		out := send(t, srv, p.options, run(set("user", "bob")))
		cookies[s] = p.options.Name + "=" + escaped(&p.options, out.cookie.id)
	}
	db.Stop()
	for _, c := range []struct {
		name  string
		known bool
		ops   []op
		want  map[side]string
	}{
		{"find", true, []op{get("user")}, map[side]string{node: "500 - 0", gos: "503 - 0"}},
		{"save", false, []op{set("a", 1)}, map[side]string{node: "200 cookie 0", gos: "503 - 0"}},
		{"nothing to do", false, nil, map[side]string{node: "200 - 0", gos: "200 - 0"}},
	} {
		for s, srv := range p.servers {
			var cookie []string
			if c.known {
				cookie = []string{cookies[s]}
			}
			if out := send(t, srv, p.options, run(c.ops...), cookie...); out.String() != c.want[s] {
				t.Errorf("%s: %s makes %q of it, and should %q", c.name, s, out, c.want[s])
			}
		}
	}
	db.Start()
	shown(t, "store down")
}

func testSecureOnPlainHTTP(t *testing.T) {
	a := &arena{tb: t, places: map[side]place{node: {store: `{"type":"memory"}`}, gos: {store: `{"type":"memory"}`}}}
	p, err := a.start(parseOptions(complete(`"cookie":{"secure":true}`)))
	if err != nil {
		t.Fatal(err)
	}
	for s, srv := range p.servers {
		for range 2 {
			if out := send(t, srv, p.options, run(set("a", 1))); out.cookie != nil {
				t.Errorf("%s sends a secure cookie on plain HTTP", s)
			}
		}
	}
	for _, srv := range p.servers {
		srv.stop()
	}
	if log := p.servers[node].log.String(); log != "" {
		t.Errorf("%s logs %q", node, log)
	}
	if log := p.servers[gos].log.String(); strings.Count(log, "HTTPS") != 1 {
		t.Errorf("%s logs %q, and should say once what to do", gos, log)
	}
	shown(t, "secure cookie on plain HTTP")
}
