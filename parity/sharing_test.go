package parity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/adapter/config"
	"github.com/samesid/samesid/auth"
	"github.com/samesid/samesid/backends/sqlite"
	"github.com/samesid/samesid/internal/testserver"
)

// shared is one store with a server of each side on it. Its method start restarts a
// server.
type shared struct {
	*arena
	at map[side]*runner
}

// share gives each side a server on one store, one after the other. The first one
// creates the table.
func share(tb testing.TB, of store, first side, options string) *shared {
	tb.Helper()
	return shareAt(tb, of, of.place(tb), first, options, nil)
}

func shareAt(tb testing.TB, of store, at place, first side, options string, env map[side][]string) *shared {
	tb.Helper()
	need(tb)
	sh := &shared{
		arena: &arena{tb: tb, store: of, places: map[side]place{node: at, gos: at}},
		at:    map[side]*runner{},
	}
	sh.start(first, options, env[first]...)
	sh.start(first.other(), options, env[first.other()]...)
	return sh
}

func (s side) other() side {
	if s == node {
		return gos
	}
	return node
}

// start gives a side a server with this configuration, in place of the one before.
func (sh *shared) start(s side, config string, env ...string) {
	sh.tb.Helper()
	o := parseOptions(complete(config))
	if old := sh.at[s]; old != nil {
		old.done()
	}
	var srv *server
	var err error
	if env == nil {
		srv, err = serve(sh.tb, s, sh.store, sh.config(s, o))
	} else {
		srv, err = start(sh.tb, s, sh.store, sh.config(s, o), env...)
	}
	if err != nil {
		sh.tb.Fatal(err)
	}
	sh.at[s] = &runner{server: srv, options: &o, records: sh.places[s].records}
}

// open returns samesid's sessions on the same store, in this process.
func (sh *shared) open(options string) *adapter.Manager {
	sh.tb.Helper()
	file := filepath.Join(sh.tb.TempDir(), "session.json")
	if err := os.WriteFile(file, []byte(sh.config(gos, parseOptions(complete(options)))), 0o600); err != nil {
		sh.tb.Fatal(err)
	}
	sessions, store, err := config.Open(sh.tb.Context(), file, sqlite.Backend)
	if err != nil {
		sh.tb.Fatal(err)
	}
	sh.tb.Cleanup(func() {
		if err := store.Close(); err != nil {
			sh.tb.Error(err)
		}
	})
	return sessions
}

// stored returns the sessions that a side lists: their data by id.
func (sh *shared) stored(s side) (map[string]any, error) {
	var listing struct{ Sessions map[string]any }
	err := sh.at[s].call(http.MethodGet, "/store", &listing)
	return listing.Sessions, err
}

// agree fails the test unless both sides list the wanted sessions.
func (sh *shared) agree(t *testing.T, want map[string]any) {
	t.Helper()
	for s := range sh.at {
		got, err := sh.stored(s)
		if err != nil {
			t.Fatal(err)
		}
		if text(got) != text(want) {
			t.Errorf("%s lists %s, want %s", s, text(got), text(want))
		}
	}
}

// clear empties the store.
func (sh *shared) clear(t *testing.T) {
	t.Helper()
	if err := sh.at[gos].clear(); err != nil {
		t.Fatal(err)
	}
}

// left returns the time that a session has left on the store's server.
func (sh *shared) left(t *testing.T, id string) time.Duration {
	t.Helper()
	_, left, err := sh.places[gos].records.get(id)
	if err != nil {
		t.Fatal(err)
	}
	return left
}

// age sets the time that each session has left.
func (sh *shared) age(t *testing.T, left time.Duration) {
	t.Helper()
	if err := sh.places[gos].records.age(left); err != nil {
		t.Fatal(err)
	}
}

// visitor is a client that uses both sides with one cookie.
type visitor struct {
	*shared
	id     string
	cookie []string
	set    *setCookie // the last cookie that it was sent
}

func (sh *shared) visitor() *visitor { return &visitor{shared: sh} }

// ask sends a request. It also returns an error for an answer other than 200, and for a
// cookie that is not signed correctly.
func (b *visitor) ask(s side, ops ...op) ([]any, error) {
	out, err := b.at[s].send(run(ops...), b.cookie)
	if err != nil {
		return nil, err
	}
	return out.results, b.take(s, out)
}

// take keeps the cookie of an answer.
func (b *visitor) take(s side, out outcome) error {
	if out.status != http.StatusOK {
		return fmt.Errorf("%s answers %d", s, out.status)
	}
	switch c := out.cookie; {
	case c == nil:
	case c.cleared():
		b.id, b.cookie = "", nil
	case c.form != wellFormed && (s != fastify || c.form != notEncoded):
		return fmt.Errorf("%s sends a cookie that is %s", s, c.form)
	default:
		b.id, b.set = c.id, c
		b.cookie = []string{b.at[s].options.Name + "=" + c.value}
	}
	return nil
}

// run calls ask, and ends the test if that fails.
func (b *visitor) run(t *testing.T, s side, ops ...op) []any {
	t.Helper()
	results, err := b.ask(s, ops...)
	if err != nil {
		t.Fatal(err)
	}
	return results
}

// handOvers are what one side does with a session that began on the other, with the data
// {"n":1,"user":"bob"} and an age of a minute.
var handOvers = []struct {
	name    string
	ops     []op
	results []any
	want    map[string]any // the data afterwards on both sides; nil: the session is gone
	id      bool           // it has a new id
	left    time.Duration  // the time left afterwards; it was 20 seconds before
	ends    bool           // by its expiry
}{
	{
		name: "read", ops: []op{get("user"), keys, original},
		results: []any{"bob", []any{"n", "user"}, 60000.0},
		want:    map[string]any{"n": 1, "user": "bob"}, left: time.Minute,
	},
	{
		name: "change", ops: []op{set("user", "eve"), set("new", []any{1}), del("n")},
		results: []any{true, true, true},
		want:    map[string]any{"new": []any{1}, "user": "eve"}, left: time.Minute,
	},
	{
		name: "touch", ops: []op{touch},
		results: []any{true},
		want:    map[string]any{"n": 1, "user": "bob"}, left: time.Minute,
	},
	{
		name: "save and reload", ops: []op{set("n", 2), save, set("n", 3), reload, get("n")},
		results: []any{true, true, true, true, 2.0},
		want:    map[string]any{"n": 2, "user": "bob"}, left: time.Minute,
	},
	{
		name: "set the maxAge", ops: []op{set("n", 2), setMaxAge(600000)},
		results: []any{true, true},
		want:    map[string]any{"n": 2, "user": "bob"}, left: 10 * time.Minute,
	},
	{
		name: "make it end with the browser", ops: []op{set("n", 2), setMaxAge(nil)},
		results: []any{true, true},
		want:    map[string]any{"n": 2, "user": "bob"}, left: 24 * time.Hour,
	},
	{
		name: "regenerate", ops: []op{regenerate, keys, set("user", "eve")},
		results: []any{true, []any{}, true},
		want:    map[string]any{"user": "eve"}, id: true, left: time.Minute,
	},
	{name: "destroy", ops: []op{destroy}, results: []any{true}},
	{name: "unset", ops: []op{unset}, results: []any{true}}, // the configuration says destroy
	{name: "end it by its maxAge", ops: []op{set("n", 2), setMaxAge(-1000)}, results: []any{true, true}, ends: true},
}

// A session that began on one side continues, changes and ends on the other.
func TestSharingOperations(t *testing.T) {
	t.Parallel()
	forEach(t, store.recorded, testHandOvers)
}

func testHandOvers(t *testing.T, of store) {
	sh := share(t, of, node, `"unset":"destroy",`+minute)
	for _, born := range []side{node, gos} {
		for _, h := range handOvers {
			t.Run("born on "+string(born)+"/"+h.name, func(t *testing.T) {
				b := sh.visitor()
				b.run(t, born, set("user", "bob"), set("n", 1))
				first, cookie, attrs := b.id, b.cookie, b.set.attrs
				sh.age(t, 20*time.Second)

				if results := b.run(t, born.other(), h.ops...); !sameResults(h.ops, results, h.results) {
					t.Errorf("results %s, want %s", text(results), text(h.results))
				}
				want := map[string]any{}
				if h.want != nil {
					want[b.id] = h.want
					if (b.id != first) != h.id {
						t.Errorf("a new id: %v, want %v", b.id != first, h.id)
					}
					if left := sh.left(t, b.id); (left - h.left).Abs() > tolerance {
						t.Errorf("%v left, want %v", left, h.left)
					}
				}
				sh.agree(t, want)
				for _, attr := range []string{"Path", "HttpOnly", "Domain", "SameSite", "Secure"} {
					if b.set.attrs[attr] != attrs[attr] {
						t.Errorf("the cookie's %s is %q, and was %q", attr, b.set.attrs[attr], attrs[attr])
					}
				}

				// Both on the side where it began and on the side that has used it.
				for s := range sh.at {
					if results := b.run(t, s, get("user")); h.want != nil && results[0] != h.want["user"] {
						t.Errorf("%s has the user %v, want %v", s, results[0], h.want["user"])
					}
					if of.FindsExpired && s == node && h.ends {
						continue // see "expired"
					}
					before := &visitor{shared: sh, id: first, cookie: cookie}
					if results := before.run(t, s, get("user"), id); (results[0] != nil) != (h.want != nil && !h.id) {
						t.Errorf("%s has the user %v under the first id", s, results[0])
					} else if results[0] == nil && results[1] == first {
						t.Errorf("%s takes up an id that is not in the store", s)
					}
				}
				sh.clear(t)
			})
		}
	}
	for s := range sh.at {
		t.Run("expired/"+string(s), func(t *testing.T) {
			b := sh.visitor()
			b.run(t, s.other(), set("user", "bob"))
			sh.age(t, -time.Second)
			want, stored := any(nil), map[string]any{}
			if of.FindsExpired && s == node { // and prolongs it
				want, stored[b.id] = "bob", map[string]any{"user": "bob"}
			}
			if results := b.run(t, s, get("user")); results[0] != want {
				t.Errorf("%s has the user %v, want %v", s, results[0], want)
			}
			sh.agree(t, stored)
			sh.clear(t)
		})
	}
}

// TestSharingHandOvers sends random requests to random sides.
//
// PARITY_HANDOVERS is the number of steps on each store, and PARITY_SEED repeats a failed
// run.
func TestSharingHandOvers(t *testing.T) {
	t.Parallel()
	steps := fromEnv(t, "PARITY_HANDOVERS", 80)
	seed := fromEnv(t, "PARITY_SEED", rand.Uint64())
	t.Logf("PARITY_SEED=%d", seed)
	forSome(t, store.recorded, func(t *testing.T, of store) {
		g := generator{rand.New(rand.NewPCG(seed, 0)), of.endsInTime()}
		sh := share(t, of, pick(g, node, gos), tenMinutes)
		// The expected content of the store, by visitor.
		models := []*model{{visitor: sh.visitor()}, {visitor: sh.visitor()}, {visitor: sh.visitor()}}
		for i := range steps {
			m := pick(g, models...)
			s := pick(g, node, gos)
			if g.IntN(10) == 0 {
				sh.age(t, 5*time.Minute)
			}
			ops, want := m.step(g)
			results, err := m.visitor.ask(s, ops...)
			if err != nil {
				t.Error(err)
			} else if !sameResults(ops, results, want) {
				t.Errorf("results %s, want %s", text(results), text(want))
			}
			all := map[string]any{}
			for _, m := range models {
				if m.stored != nil {
					all[m.visitor.id] = m.stored.data
				}
			}
			sh.agree(t, all)
			// There are two differences on purpose: some stores don't touch a session
			// without a maxAge, and samesid slides the expiry before an unset.
			if m.stored != nil && ops[len(ops)-1][0] != "unset" && (!of.TouchNeedsMaxAge || m.stored.age != nil) {
				if left := sh.left(t, m.visitor.id); (left - m.stored.left()).Abs() > time.Minute {
					t.Errorf("%v left, want %v", left, m.stored.left())
				}
			}
			if t.Failed() {
				t.Fatalf("step %d: %s on %s\nPARITY_SEED=%d PARITY_HANDOVERS=%d go test -run '%s' ./parity", i+1, text(ops), s, seed, steps, t.Name())
			}
		}
	})
}

const tenMinutes = `"cookie":{"maxAge":600000}`

// model is a visitor with its expected session.
type model struct {
	visitor *visitor
	stored  *state // nil: none in the store
	count   int
}

// state is a session's data and its originalMaxAge, nil for a browser's session.
type state struct {
	data map[string]any
	age  any
}

func (s *state) clone() *state { return &state{maps.Clone(s.data), s.age} }

func (s *state) left() time.Duration {
	if ms, ok := s.age.(float64); ok {
		return time.Duration(ms) * time.Millisecond
	}
	return 24 * time.Hour
}

// step generates the operations of one request and applies them to the model. It omits
// what TestRandom omits, and also saving a new session that has no data, or that is then
// emptied or unset, because its cookie is not sent.
func (m *model) step(g generator) (ops []op, want []any) {
	do := func(o op, result any) {
		ops, want = append(ops, o), append(want, result)
	}
	now := &state{map[string]any{}, 600000.0}
	renewed := m.stored == nil
	if m.stored != nil {
		now = m.stored.clone()
	}
	unseen := func() bool { return renewed && m.stored != nil }
	for range 1 + g.IntN(4) {
		key := pick(g, "a", "b", "c", "", "a key", "ключ")
		switch g.IntN(18) {
		default:
			value := plainJSON(pick(g, values...))
			do(set(key, value), true)
			now.data[key] = value
		case 0, 1, 2:
			do(get(key), now.data[key])
		case 3, 4:
			if !unseen() {
				do(del(key), true)
				delete(now.data, key)
			}
		case 5:
			do(regenerate, true)
			m.stored, now, renewed = nil, &state{map[string]any{}, 600000.0}, true
		case 6:
			if len(now.data) > 0 {
				do(save, true)
				m.stored = now.clone()
			}
		case 7:
			if m.stored != nil {
				do(reload, true)
				now = m.stored.clone()
			}
		case 8:
			do(touch, true)
		case 9, 10:
			// This changes data together with maxAge.
			m.count++
			do(set(withMaxAge, m.count), true)
			now.data[withMaxAge] = float64(m.count)
			now.age = pick[any](g, nil, 1800000.0, 3600000.0)
			do(setMaxAge(now.age), true)
		case 11:
			do(original, now.age)
		case 12:
			do(keys, plainJSON(append([]string{}, slices.Sorted(maps.Keys(now.data))...)))
		case 13:
			do(destroy, true)
			m.stored = nil
			return ops, want
		case 14:
			if !unseen() {
				do(unset, true)
				return ops, want
			}
		}
	}
	if len(ops) == 0 {
		do(keys, plainJSON(append([]string{}, slices.Sorted(maps.Keys(now.data))...)))
	}
	regenerated := slices.ContainsFunc(ops, func(o op) bool { return o[0] == "regenerate" })
	if !renewed || regenerated || len(now.data) > 0 {
		m.stored = now
	}
	return ops, want
}

// sameResults compares the results of operations. It allows a small difference where
// Express subtracts two readings of the clock.
func sameResults(ops []op, results, want []any) bool {
	if len(results) != len(want) {
		return false
	}
	for i, o := range ops {
		a, ok1 := results[i].(float64)
		b, ok2 := want[i].(float64)
		if o[0] == "originalMaxAge" && ok1 && ok2 {
			if max(a-b, b-a) > float64(ageTolerance.Milliseconds()) {
				return false
			}
		} else if !reflect.DeepEqual(results[i], want[i]) {
			return false
		}
	}
	return true
}

// plainJSON returns a value after a round trip through JSON.
func plainJSON(v any) (plain any) {
	if err := json.Unmarshal([]byte(text(v)), &plain); err != nil {
		panic(err)
	}
	return plain
}

// oddities are values that are known to cause errors between languages.
var oddities = map[string]string{
	"date":           `"2026-01-02T03:04:05.678Z"`,
	"negative":       `-12345678`,
	"fraction":       `0.1`,
	"small":          `-1.5e-300`,
	"smallest":       `5e-324`,
	"largest":        `1.7976931348623157e308`,
	"exponent":       `1e21`,
	"before":         `1e20`,
	"safe":           `9007199254740991`,
	"unsafe":         `9007199254740992`,
	"rounded":        `9007199254740993`,
	"int64":          `-9223372036854775808`,
	"beyond int64":   `18446744073709551615`,
	"minus zero":     `-0`,
	"emoji":          `"😀👩‍👩‍👧 e\u0301 שלום"`,
	"escapes":        `"\u0000\u0001\b\t\"\\\/\u2028\u2029</script>&"`,
	"half a pair":    `"a\ud83d"`,
	"other half":     `"\ude00b"`,
	"null":           `null`,
	"nested nulls":   `{"a":null,"b":[null,{"c":null},[null]]}`,
	"empty":          `["",[],{},[[]],{"a":{}}]`,
	"empty key":      `{"":{"":1}}`,
	"names":          `{"__proto__":{"admin":true},"constructor":{"prototype":1},"toString":null,"hasOwnProperty":1,"toJSON":2,"length":3}`,
	"a cookie":       `{"cookie":{"originalMaxAge":1,"expires":"1999-01-01T00:00:00.000Z","path":"/no"}}`,
	"arrays":         `[{"a":[1,{"b":[2]}]},{"0":1,"1":2}]`,
	"deep":           strings.Repeat(`[{"a":`, 100) + "1" + strings.Repeat("}]", 100),
	"Buffer":         `{"type":"Buffer","data":[0,127,255]}`,
	"":               `"an empty key"`,
	"0":              `"a key that looks like a number"`,
	"a.b $c \u2028ü": `"a key with symbols"`,
	"__defineX__":    `"a key with underlines"`,
	"large":          text(large),
}

// Odd data works in both directions, and survives the other side's save.
func TestSharingOddData(t *testing.T) {
	t.Parallel()
	forEach(t, store.recorded, func(t *testing.T, of store) {
		sh := share(t, of, gos, minute)
		names := slices.Sorted(maps.Keys(oddities))
		var write, read []op
		for _, name := range names {
			write = append(write, set(name, json.RawMessage(oddities[name])))
			read = append(read, get(name))
		}
		for _, born := range []side{node, gos} {
			t.Run("born on "+string(born), func(t *testing.T) {
				v := sh.visitor()
				v.run(t, born, write...)
				for i, s := range []side{born.other(), born, born.other()} {
					results := v.run(t, s, append(slices.Clone(read), keys, set("n", i))...)
					for j, name := range names {
						if want := plainJSON(json.RawMessage(oddities[name])); !reflect.DeepEqual(results[j], want) {
							t.Errorf("after %d saves %s has %.200s for %q, want %.200s", i, s, text(results[j]), name, text(want))
						}
					}
					if keys := len(results[len(names)].([]any)); keys != len(names)+min(i, 1) {
						t.Errorf("after %d saves %s has %d keys, want %d", i, s, keys, len(names)+min(i, 1))
					}
				}
				// Half a surrogate pair is not valid text in Go, and remains unchanged.
				body, _, err := sh.places[gos].records.get(v.id)
				if err != nil {
					t.Fatal(err)
				}
				for _, half := range []string{`a\ud83d`, `\ude00b`} {
					if born == node && !strings.Contains(body, half) {
						t.Errorf("%s is no longer in the record", half)
					}
				}
			})
		}
		t.Run("types", func(t *testing.T) { testTypes(t, sh) })
		t.Run("names of Session", func(t *testing.T) {
			sh.clear(t)
			testNamesOfSession(t, sh)
		})
	})
}

// testTypes tests types that Go has and JSON lacks.
func testTypes(t *testing.T, sh *shared) {
	sessions := sh.open(minute)
	type user struct {
		Name  string
		Roles []string
	}
	when := time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC)
	raw := func(text string) any { return json.RawMessage(text) }

	// Go reads what Express has set.
	v := sh.visitor()
	v.run(t, node,
		set("date", "2026-01-02T03:04:05.678Z"), set("safe", raw(`9007199254740991`)), set("exponent", raw(`1e21`)),
		set("bytes", raw(`{"type":"Buffer","data":[0,255]}`)), set("user", user{"bob", []string{"a"}}))
	ctx, err := sessions.LoadID(t.Context(), v.id)
	if err != nil {
		t.Fatal(err)
	}
	if got := sessions.GetTime(ctx, "date"); !got.Equal(when.Truncate(time.Millisecond)) {
		t.Errorf("date: %v", got)
	}
	if got := sessions.GetInt64(ctx, "safe"); got != 1<<53-1 {
		t.Errorf("safe: %v", got)
	}
	if got := sessions.GetFloat(ctx, "exponent"); got != 1e21 {
		t.Errorf("exponent: %v", got)
	}
	if got := sessions.GetBytes(ctx, "bytes"); !slices.Equal(got, []byte{0, 255}) {
		t.Errorf("bytes: %v", got)
	}
	if got, err := adapter.Get[user](ctx, sessions, "user"); err != nil || got.Name != "bob" || !slices.Equal(got.Roles, []string{"a"}) {
		t.Errorf("user: %v, %v", got, err)
	}

	// Express reads what Go has set.
	sessions.Put(ctx, "date", when)
	sessions.Put(ctx, "unsafe", int64(1<<53+1))
	sessions.Put(ctx, "bytes", []byte{0, 255})
	if err := adapter.Put(ctx, sessions, "user", user{"eve", nil}); err != nil {
		t.Fatal(err)
	}
	if err := sessions.Save(ctx); err != nil {
		t.Fatal(err)
	}
	got := v.run(t, node, get("date"), get("unsafe"), get("bytes"), get("user"), set("n", 1))
	want := []any{
		"2026-01-02T03:04:05.678901234Z", float64(1 << 53), "AP8=", map[string]any{"Name": "eve", "Roles": nil}, true,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s has %s, want %s", node, text(got), text(want))
	}

	// Express has saved the values meanwhile.
	if ctx, err = sessions.LoadID(t.Context(), v.id); err != nil {
		t.Fatal(err)
	}
	if got := sessions.GetTime(ctx, "date"); !got.Equal(when) {
		t.Errorf("date: %v", got)
	}
	if got := sessions.GetBytes(ctx, "bytes"); !slices.Equal(got, []byte{0, 255}) {
		t.Errorf("bytes: %v", got)
	}
	// This can't work: JavaScript has no such number.
	if got := sessions.GetInt64(ctx, "unsafe"); got != 1<<53 {
		t.Errorf("unsafe: %v", got)
	}
}

// testNamesOfSession tests keys that are names of Express's own. Express does not load
// them, regards the session as changed, and saves it without them.
func testNamesOfSession(t *testing.T, sh *shared) {
	names := []string{
		"id", "req", "save", "touch", "reload", "destroy", "regenerate", "resetMaxAge",
		"__proto__", "constructor", "toString", "valueOf", "hasOwnProperty",
	}
	v := sh.visitor()
	ops := []op{set("user", "bob")}
	for _, name := range names {
		ops = append(ops, set(name, "of Go"))
	}
	v.run(t, gos, ops...)
	if got := v.run(t, gos, keys)[0].([]any); len(got) != len(names)+1 {
		t.Errorf("%s has the keys %s", gos, text(got))
	}
	if got := text(v.run(t, node, get("user"), keys)); got != `["bob",["user"]]` {
		t.Errorf("%s has %s", node, got)
	}
	sh.agree(t, map[string]any{v.id: map[string]any{"user": "bob"}})

	// A key that would overwrite the record's own one is rejected.
	if _, err := v.ask(gos, set("cookie", 1)); err == nil {
		t.Errorf("%s accepts the key cookie", gos)
	}
	sh.agree(t, map[string]any{v.id: map[string]any{"user": "bob"}})
}

// Both sides use the same sessions under load.
func TestSharingUnderLoad(t *testing.T) {
	t.Parallel()
	forSome(t, store.recorded, func(t *testing.T, of store) {
		// Node's log must be of this test alone, so its server is a new one.
		sh := shareAt(t, of, of.place(t), node, tenMinutes, map[side][]string{node: {}})
		seed := fromEnv(t, "PARITY_SEED", rand.Uint64())
		t.Logf("PARITY_SEED=%d", seed)
		t.Run("few sessions", func(t *testing.T) { testLoad(t, sh, seed, 2) })
		t.Run("many sessions", func(t *testing.T) { testLoad(t, sh, seed, 40) })
		t.Run("Express only reads", func(t *testing.T) { testLoadOfReads(t, sh) })
		for s, r := range sh.at {
			r.stop()
			log := r.log.String()
			if s == gos { // by design, the log tells that a session was ended meanwhile
				log = strings.Join(slices.DeleteFunc(strings.Split(log, "\n"), func(line string) bool {
					return strings.Contains(line, "the session was ended while this request ran") ||
						strings.Contains(line, "the store does not have its session (said once")
				}), "\n")
			}
			if log != "" {
				t.Errorf("%s logs %s", s, log)
			}
		}
	})
}

const workers, requests = 8, 40

// testLoad runs workers, half of them on each side, on the given number of sessions. With
// few sessions they only change them; with many they also end them.
func testLoad(t *testing.T, sh *shared, seed uint64, sessions int) {
	var mu sync.Mutex // guards pool
	pool := make([]visitor, sessions)
	for i := range pool {
		v := sh.visitor()
		v.run(t, []side{node, gos}[i%2], set("i", i))
		pool[i] = *v
	}
	var wg sync.WaitGroup
	for w := range workers {
		s := []side{node, gos}[w%2]
		g := generator{rand.New(rand.NewPCG(seed, uint64(w))), true}
		wg.Go(func() {
			for range requests {
				i := g.IntN(len(pool))
				mu.Lock()
				v := pool[i]
				mu.Unlock()
				ops := []op{get("i"), set(fmt.Sprint("by ", w), pick(g, values...))}
				switch g.IntN(8) {
				case 0:
					ops = append(ops, save, set("saved", w))
				case 1:
					ops = append(ops, set(withMaxAge, g.Uint32()), setMaxAge(pick[any](g, nil, 600000, 3600000)))
				case 2:
					ops = []op{get("i"), touch, keys, original}
				case 3:
					ops = append(ops, reload)
				case 4:
					ops = append(ops, del(fmt.Sprint("by ", g.IntN(workers))))
				case 5:
					if sessions > workers {
						ops = append(ops, regenerate, set("i", i))
					}
				case 6:
					if sessions > workers {
						ops = []op{destroy}
					}
				}
				results, err := v.ask(s, ops...)
				if err != nil {
					t.Error(err)
					return
				}
				// Saving or reloading a session that was ended meanwhile fails.
				if failed := slices.ContainsFunc(results, isError); failed && sessions <= workers {
					t.Errorf("%s on %s: %s", text(ops), s, text(results))
				}
				mu.Lock()
				pool[i] = v
				mu.Unlock()
			}
		})
	}
	wg.Wait()

	byNode, err := sh.stored(node)
	if err != nil {
		t.Fatal(err)
	}
	if len(byNode) == 0 || sessions <= workers && len(byNode) != sessions {
		t.Errorf("%d sessions are left of %d", len(byNode), sessions)
	}
	sh.agree(t, byNode) // both sides can read every session
	for i := range pool {
		for s := range sh.at {
			pool[i].run(t, s, get("i"))
		}
	}
	sh.clear(t)
}

func isError(result any) bool {
	m, ok := result.(map[string]any)
	return ok && m["error"] != nil
}

// testLoadOfReads tests that no change in Go is lost while Node only reads.
func testLoadOfReads(t *testing.T, sh *shared) {
	v := sh.visitor()
	v.run(t, node, set("user", "bob"))
	want := map[string]any{"user": "bob"}
	var wg sync.WaitGroup
	for w := range workers {
		key := fmt.Sprint("by ", w)
		if w%2 == 1 {
			want[key] = requests - 1
		}
		wg.Go(func() {
			v := *v
			for i := range requests {
				s, ops := node, []op{get("user"), touch}
				if w%2 == 1 {
					s, ops = gos, []op{get("user"), set(key, i)}
				}
				results, err := v.ask(s, ops...)
				if err != nil || results[0] != "bob" {
					t.Errorf("%s: %v, %v", s, results, err)
					return
				}
			}
		})
	}
	wg.Wait()
	sh.agree(t, map[string]any{v.id: want})
}

// A process may keep a file locked for longer than the others wait. This is not
// guaranteed, and Go can't help it: connect-sqlite3 loses the change without a word to the
// client, and connect-session-knex ends the process.
func TestSharingLockedFile(t *testing.T) {
	t.Parallel()
	forEach(t, func(s store) bool { return s.Type == "sqlite" }, func(t *testing.T, of store) {
		sh := shareAt(t, of, of.place(t), node, minute, map[side][]string{node: {}}) // its log must be its own
		v := sh.visitor()
		v.run(t, node, set("a", 1))
		locker, err := sh.places[gos].records.(sqlRecords).db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		lock := func(statement string) {
			t.Helper()
			if _, err := locker.ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		lock("BEGIN IMMEDIATE")
		// Both wait at once.
		answered := make(chan string, 1)
		go func() {
			out, err := sh.at[node].send(run(set("a", 2)), v.cookie)
			answered <- fmt.Sprint(out.status, err)
		}()
		if out, err := sh.at[gos].send(run(set("a", 2)), v.cookie); err != nil || out.status != http.StatusServiceUnavailable {
			t.Errorf("%s answers %d, %v", gos, out.status, err)
		}
		answer := <-answered
		lock("ROLLBACK")
		stored, err := sh.stored(gos)
		if got := data(stored, v.id); got != `{"a":1}` || err != nil {
			t.Errorf("%s has %s, %v", gos, got, err)
		}
		sh.at[node].stop()
		log := sh.at[node].log.String()
		if !strings.Contains(log, "database is locked") {
			t.Errorf("%s logs %q", node, log)
		}
		ends := of.Layout == "connect-session-knex"
		if ended := strings.Contains(log, "Node.js v"); ended != ends {
			t.Errorf("%s has ended: %t, want %t", node, ended, ends)
		}
		if !ends && answer != "200 <nil>" {
			t.Errorf("%s answers %s", node, answer)
		}
	})
}

// interleavings are the outcomes for a session, with the data {"a":1}, that one side has
// loaded when the other side uses it, before the first side continues.
//
// Go's guarantees hold whoever else writes. samesid can't guarantee anything for
// Express's writes; those cases verify what the page says about them.
var interleavings = []struct {
	name    string
	holds   bool
	resave  bool // Express's resave, which is false otherwise
	slow    side // the side that loads first and does ops
	ops     []op
	quick   []op   // what the other side does meanwhile
	want    string // the data under the session's id afterwards, or gone
	renewed string // the data under the id that the other side has given it
	fails   bool   // the result of the last of ops is an error
}{
	{
		name: "a change in Go does not bring back what Express destroyed", holds: true,
		slow: gos, ops: []op{set("go", 1)}, quick: []op{destroy}, want: gone,
	},
	{
		name: "save in Go does not bring back what Express destroyed", holds: true,
		slow: gos, ops: []op{set("go", 1), save}, quick: []op{destroy}, want: gone, fails: true,
	},
	{
		name: "reading in Go does not bring back what Express destroyed", holds: true,
		slow: gos, ops: []op{get("a")}, quick: []op{destroy}, want: gone,
	},
	{
		name: "touch in Go does not bring back what Express destroyed", holds: true,
		slow: gos, ops: []op{touch}, quick: []op{destroy}, want: gone, fails: true,
	},
	{
		name: "a change in Go does not bring back what Express regenerated", holds: true,
		slow: gos, ops: []op{set("go", 1)}, quick: []op{regenerate, set("user", "bob")}, want: gone, renewed: `{"user":"bob"}`,
	},
	{
		name: "a change in Go keeps another that Express made", holds: true,
		slow: gos, ops: []op{set("go", 1)}, quick: []op{set("node", 1)}, want: `{"a":1,"go":1,"node":1}`,
	},
	{
		name: "a removal in Go keeps a change that Express made", holds: true,
		slow: gos, ops: []op{del("a")}, quick: []op{set("node", 1)}, want: `{"node":1}`,
	},
	{
		name: "a change in Go keeps a removal that Express made", holds: true,
		slow: gos, ops: []op{set("go", 1)}, quick: []op{set("node", 1), del("a")}, want: `{"go":1,"node":1}`,
	},
	{
		name: "reading in Go keeps a change that Express made", holds: true,
		slow: gos, ops: []op{get("a")}, quick: []op{set("a", 2)}, want: `{"a":2}`,
	},
	{
		name: "of two changes to one key the later counts", holds: true,
		slow: gos, ops: []op{set("a", "go")}, quick: []op{set("a", "node")}, want: `{"a":"go"}`,
	},
	{
		name: "destroy in Go ends what Express changed", holds: true,
		slow: gos, ops: []op{destroy}, quick: []op{set("node", 1)}, want: gone,
	},
	{
		name: "destroy in Express ends what Go changed", holds: true,
		slow: node, ops: []op{destroy}, quick: []op{set("go", 1)}, want: gone,
	},
	{
		name: "reading in Express does not bring back what Go destroyed", holds: true,
		slow: node, ops: []op{get("a")}, quick: []op{destroy}, want: gone,
	},
	{
		name: "reading in Express keeps a change that Go made", holds: true,
		slow: node, ops: []op{get("a")}, quick: []op{set("go", 1)}, want: `{"a":1,"go":1}`,
	},
	{
		name: "reload in Express, before its change, keeps the one that Go made", holds: true,
		slow: node, ops: []op{reload, set("node", 1)}, quick: []op{set("go", 1)}, want: `{"a":1,"go":1,"node":1}`,
	},
	{
		name: "reload in Express fails on what Go destroyed", holds: true,
		slow: node, ops: []op{reload}, quick: []op{destroy}, want: gone, fails: true,
	},

	{
		name: "a change in Express brings back what Go destroyed",
		slow: node, ops: []op{set("node", 1)}, quick: []op{destroy}, want: `{"a":1,"node":1}`,
	},
	{
		name: "a change in Express brings back the old id that Go regenerated",
		slow: node, ops: []op{set("node", 1)}, quick: []op{regenerate, set("user", "bob")}, want: `{"a":1,"node":1}`, renewed: `{"user":"bob"}`,
	},
	{
		name: "a change in Express drops another that Go made",
		slow: node, ops: []op{set("node", 1)}, quick: []op{set("go", 1)}, want: `{"a":1,"node":1}`,
	},
	{
		name: "a change in Express brings back a key that Go removed",
		slow: node, ops: []op{set("node", 1)}, quick: []op{set("go", 1), del("a")}, want: `{"a":1,"node":1}`,
	},
	{
		name: "with resave, reading in Express brings back what Go destroyed", resave: true,
		slow: node, ops: []op{get("a")}, quick: []op{destroy}, want: `{"a":1}`,
	},
	{
		name: "with resave, reading in Express drops a change that Go made", resave: true,
		slow: node, ops: []op{get("a")}, quick: []op{set("go", 1)}, want: `{"a":1}`,
	},
}

const gone = "gone"

// TestSharingMeanwhile tests concurrent requests.
func TestSharingMeanwhile(t *testing.T) {
	t.Parallel()
	forSome(t, store.recorded, func(t *testing.T, of store) {
		sh := share(t, of, node, minute)
		for _, resave := range []bool{false, true} {
			if resave {
				sh.start(node, `"resave":true,`+minute)
			}
			for _, in := range interleavings {
				if in.resave != resave {
					continue
				}
				t.Run(in.name, func(t *testing.T) {
					slow := sh.visitor()
					slow.run(t, in.slow.other(), set("a", 1))
					quick := *slow
					end := slow.begin(t, in.slow, in.ops...)
					quick.run(t, in.slow.other(), in.quick...)
					a := end()
					if a.status != http.StatusOK {
						t.Fatal(a.status)
					}
					if in.slow == gos && in.want == gone && !run(in.ops...).did("destroy") && a.cookie != nil {
						t.Error("a cookie for a session that has ended")
					}
					if failed := isError(a.results[len(a.results)-1]); failed != in.fails {
						t.Errorf("results %s, failing should be %v", text(a.results), in.fails)
					}
					for s := range sh.at {
						stored, err := sh.stored(s)
						if err != nil {
							t.Fatal(err)
						}
						if got := data(stored, slow.id); got != in.want {
							t.Errorf("%s has %s, want %s", s, got, in.want)
						}
						if got := data(stored, quick.id); in.renewed != "" && got != in.renewed {
							t.Errorf("%s has %s under the new id, want %s", s, got, in.renewed)
						}
					}
				})
			}
		}
	})
}

// data returns the data stored under an id, or gone.
func data(stored map[string]any, id string) string {
	if d, ok := stored[id]; ok {
		return text(d)
	}
	return gone
}

// begin sends a request that holds once it has loaded its session. end lets it do the
// operations, and returns its outcome.
func (v *visitor) begin(t *testing.T, s side, ops ...op) (end func() outcome) {
	t.Helper()
	r, cookie := v.at[s], v.cookie
	var out outcome
	answered := make(chan error, 1)
	go func() {
		var err error
		out, err = r.send(run(append([]op{hold}, ops...)...), cookie)
		answered <- err
	}()
	if err := r.held(); err != nil {
		t.Fatal(err)
	}
	return func() outcome {
		t.Helper()
		if err := errors.Join(r.release(), <-answered); err != nil {
			t.Fatal(err)
		}
		return out
	}
}

// A change that Go has shown to a client is already stored for the other side.
func TestSharingSavedBeforeSeen(t *testing.T) {
	t.Parallel()
	forSome(t, store.recorded, func(t *testing.T, of store) {
		sh := share(t, of, gos, minute)
		for s, want := range map[side]string{
			gos:  `{"a":1}`,
			node: gone, // not guaranteed: Express saves at the end of its response
		} {
			r := sh.at[s]
			resp, err := r.begin(run(set("a", 1), flush, hold), nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.held(); err != nil {
				t.Fatal(err)
			}
			stored, err := sh.stored(s.other())
			if err != nil {
				t.Fatal(err)
			}
			if err := r.release(); err != nil {
				t.Fatal(err)
			}
			out, err := r.read(resp)
			if err != nil {
				t.Fatal(err)
			}
			id := out.sid.(string)
			if got := data(stored, id); got != want {
				t.Errorf("when %s has begun its response %s has %s, want %s", s, s.other(), got, want)
			}
			if stored, err = sh.stored(s.other()); err != nil || data(stored, id) != `{"a":1}` {
				t.Errorf("when %s has ended its response %s has %s, %v", s, s.other(), data(stored, id), err)
			}
		}
	})
}

// The signing secret is rotated without a logout, in the order that the page describes.
func TestSharingSecrets(t *testing.T) {
	t.Parallel()
	const before, after = "old old old old old old old old!", "new new new new new new new new!"
	options := func(secrets ...string) string { return `"secret":` + text(secrets) + "," + minute }

	t.Run("one side at a time", func(t *testing.T) {
		t.Parallel()
		sh := share(t, storeNamed(t, oneStore), gos, options(before))
		away := sh.visitor() // it only reads
		away.run(t, node, set("user", "away"))
		gone := sh.visitor() // it keeps its first cookie
		gone.run(t, node, set("user", "gone"))
		var visitors []*visitor
		for i, phase := range []struct {
			side    side
			secrets []string
		}{
			{gos, []string{before}},
			{gos, []string{before, after}},
			{node, []string{before, after}},
			{gos, []string{after, before}},
			{node, []string{after, before}},
			{gos, []string{after}},
			{node, []string{after}},
		} {
			sh.start(phase.side, options(phase.secrets...))
			for s := range sh.at {
				for _, v := range visitors {
					if user := v.run(t, s, get("user"))[0]; user != "bob" {
						t.Errorf("phase %d: %s has the user %v", i, s, user)
					}
				}
			}
			for s := range sh.at {
				v := sh.visitor()
				v.run(t, s, set("user", "bob"))
				visitors = append(visitors, v)
			}
			// A change sends the cookie again, signed with the side's first secret.
			for j, v := range visitors {
				s := []side{node, gos}[(i+j)%2]
				v.run(t, s, set("phase", i))
				if user := v.run(t, s.other(), get("user"))[0]; user != "bob" {
					t.Errorf("phase %d: %s has the user %v of a cookie that %s has just sent", i, s.other(), user, s)
				}
			}
			// Who only reads is not logged out either: Go signs a cookie of the old secret anew.
			for _, s := range []side{node, gos} {
				if user := away.run(t, s, get("user"))[0]; user != "away" {
					t.Errorf("phase %d: %s has the user %v of one who only reads", i, s, user)
				}
			}
			// What cannot hold: a cookie of the old secret does not outlast it.
			for s, r := range sh.at {
				want := slices.Contains(r.options.secrets(), before)
				old := *gone // which is not sent another
				if user := old.run(t, s, get("user"))[0]; (user == "gone") != want {
					t.Errorf("phase %d: %s has the user %v of a cookie with the old signature", i, s, user)
				}
			}
		}
	})

	// This is not guaranteed: if the new secret is first on one side before the other
	// side knows it, the other side rejects the cookies that are signed meanwhile.
	t.Run("the new one first too early", func(t *testing.T) {
		t.Parallel()
		sh := share(t, storeNamed(t, oneStore), gos, options(before))
		reads, changes := sh.visitor(), sh.visitor()
		for _, v := range []*visitor{reads, changes} {
			v.run(t, node, set("user", "bob"))
		}
		sh.start(gos, options(after, before))
		reads.run(t, gos, get("user"))
		changes.run(t, gos, set("n", 1))
		for _, v := range []*visitor{reads, changes} {
			if user := v.run(t, node, get("user"))[0]; user != nil {
				t.Errorf("%s has the user %v of a cookie with the new signature", node, user)
			}
		}
		sh.start(node, options(after, before))
		if user := changes.run(t, node, get("user"))[0]; user != "bob" {
			t.Errorf("%s has the user %v once it knows the new secret", node, user)
		}
		for s := range sh.at {
			sh.start(s, options(after))
			if user := changes.run(t, s, get("user"))[0]; user != "bob" {
				t.Errorf("%s has the user %v once the old secret is gone", s, user)
			}
		}
	})
}

// The two processes run in different time zones, and Postgres in a third.
func TestSharingTimeZones(t *testing.T) {
	t.Parallel()
	need(t)
	db := testserver.StartPostgres(t, "timezone=Asia/Kathmandu")
	zones := map[side][]string{node: {"TZ=Pacific/Kiritimati"}, gos: {"TZ=America/St_Johns"}}
	forEach(t, store.recorded, func(t *testing.T, of store) {
		at := func(query string) place {
			if of.Type == "postgres" {
				return publicPlace(t, db.URL+query, of)
			}
			return of.place(t)
		}
		sh := shareAt(t, of, at(""), node, minute, zones)
		for s := range sh.at {
			v := sh.visitor()
			v.run(t, s.other(), set("user", "bob"))
			if left := sh.left(t, v.id); (left - time.Minute).Abs() > tolerance {
				t.Errorf("%s gives a session %v, want a minute", s.other(), left)
			}
			if left, ok := v.set.expiresIn(); !ok || (left-time.Minute).Abs() > tolerance {
				t.Errorf("%s gives a cookie %v, want a minute", s.other(), left)
			}
			sh.age(t, 20*time.Second)
			ops := []op{get("user"), original, touch, maxAge}
			results := v.run(t, s, ops...)
			if left := results[3].(float64); !sameResults(ops[:3], results[:3], []any{"bob", 60000.0, true}) || time.Minute.Milliseconds()-int64(left) > tolerance.Milliseconds() {
				t.Errorf("%s has %s", s, text(results))
			}
			if left := sh.left(t, v.id); (left - time.Minute).Abs() > tolerance {
				t.Errorf("%s slides a session to %v, want a minute", s, left)
			}
			sh.agree(t, map[string]any{v.id: map[string]any{"user": "bob"}})
			sh.age(t, -time.Second)
			for s := range sh.at {
				if of.FindsExpired && s == node {
					continue // it goes by no clock
				}
				if user := v.run(t, s, get("user"))[0]; user != nil {
					t.Errorf("%s has the user %v after the end", s, user)
				}
			}
			sh.agree(t, map[string]any{})
		}

		// This is not guaranteed: connect-pg-simple's column has no zone, so a
		// zone that only one side's connections set changes the time.
		if of.Layout != "connect-pg-simple" {
			return
		}
		v := sh.visitor()
		v.run(t, node, set("user", "bob"))
		sh.places[gos] = at("&TimeZone=Pacific/Kiritimati")
		sh.start(gos, minute)
		if user := v.run(t, gos, get("user"))[0]; user != nil {
			t.Errorf("%s has the user %v with a zone of its own for Postgres", gos, user)
		}
		sh.at[gos].stop()
		if log := sh.at[gos].log.String(); !strings.Contains(log, "time zone") {
			t.Errorf("%s logs %q, and should warn of its zone", gos, log)
		}
	})
}

// publicPlace returns a place on a Postgres server that the test owns.
func publicPlace(tb testing.TB, url string, s store) place {
	return place{
		store:   s.block(map[string]any{"url": url, "createTable": true}),
		records: newPostgresRecords(tb, url, "", s),
	}
}

// A login through Passport is valid in Go, and vice versa.
func TestSharingPassport(t *testing.T) {
	t.Parallel()
	forSome(t, store.recorded, func(t *testing.T, of store) {
		sh := share(t, of, node, minute)
		sessions := sh.open(minute)
		t.Run("user object", func(t *testing.T) {
			type user struct {
				ID   int    `json:"id"`
				Name string `json:"name"`
			}
			testPassport(t, sh, sessions, user{7, "bob"}, user{8, "eve"})
		})
		t.Run("user id", func(t *testing.T) { testPassport(t, sh, sessions, "bob", "eve") })
		t.Run("user number", func(t *testing.T) { testPassport(t, sh, sessions, 7, 8) })
	})
}

func testPassport[U comparable](t *testing.T, sh *shared, sessions *adapter.Manager, bob, eve U) {
	verify := func(context.Context, string, string) (U, error) { return eve, nil }
	a, err := auth.New(sessions, verify, auth.Options{Key: "passport.user"})
	if err != nil {
		t.Fatal(err)
	}
	// do sends a request that this process serves with samesid.
	do := func(v *visitor, serve func(w http.ResponseWriter, r *http.Request)) int {
		t.Helper()
		req := httptest.NewRequest(http.MethodPost, "/", nil)
		req.Header["Cookie"] = v.cookie
		w := httptest.NewRecorder()
		sessions.LoadAndSave(http.HandlerFunc(serve)).ServeHTTP(w, req)
		out := outcome{status: http.StatusOK}
		if header := w.Header().Get("Set-Cookie"); header != "" {
			if out.cookie, err = parseSetCookie(header, sh.at[gos].options); err != nil {
				t.Fatal(err)
			}
		}
		if err := v.take(gos, out); err != nil {
			t.Fatal(err)
		}
		return w.Code
	}
	page := a.Restricted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, err := a.User(r.Context()); err != nil || user != bob {
			t.Errorf("%s has the user %v, %v", gos, user, err)
		}
	}))

	// Passport's login begins a new session, puts the user into it, and saves.
	v := sh.visitor()
	v.run(t, node, set("messages", []any{}))
	if code := do(v, page.ServeHTTP); code != http.StatusUnauthorized {
		t.Errorf("%s answers %d before the login", gos, code)
	}
	v.run(t, node, regenerate, set("passport", map[string]any{"user": bob}), save)
	if code := do(v, page.ServeHTTP); code != http.StatusOK {
		t.Errorf("%s answers %d after the login", gos, code)
	}

	// The same browser logs in on Go.
	first := v.id
	do(v, func(_ http.ResponseWriter, r *http.Request) {
		if err := a.SignIn(r.Context(), eve); err != nil {
			t.Error(err)
		}
	})
	if got, want := v.run(t, node, get("passport"))[0], plainJSON(map[string]any{"user": eve}); !reflect.DeepEqual(got, want) {
		t.Errorf("%s has the passport %s, want %s", node, text(got), text(want))
	}
	if stored, err := sh.stored(node); err != nil || v.id == first || data(stored, first) != gone {
		t.Errorf("after the login in Go the session before is %s, %v", data(stored, first), err)
	}

	// Passport's logout removes the user, saves, and begins a new session.
	out := *v
	v.run(t, node, set("passport", map[string]any{}), save, regenerate)
	for _, v := range []*visitor{v, &out} {
		if code := do(v, page.ServeHTTP); code != http.StatusUnauthorized {
			t.Errorf("%s answers %d after the logout in Express", gos, code)
		}
	}

	// The browser logs out on Go.
	v.run(t, node, set("passport", map[string]any{"user": bob}))
	out = *v
	do(v, func(_ http.ResponseWriter, r *http.Request) {
		if err := a.SignOut(r.Context()); err != nil {
			t.Error(err)
		}
	})
	if got := out.run(t, node, get("passport"))[0]; got != nil {
		t.Errorf("%s has the passport %s after the logout in Go", node, text(got))
	}
	sh.agree(t, map[string]any{})
}

// The page describes every tested case, and every test that it names exists.
func TestSharingPage(t *testing.T) {
	page, err := os.ReadFile("../docs/sharing.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range interleavings {
		name := "`TestSharingMeanwhile/*/" + in.name + "`"
		holds, cannot, _ := strings.Cut(string(page), "\n## What cannot hold\n")
		if !in.holds {
			holds, cannot = cannot, holds
		}
		if !strings.Contains(holds, name) || strings.Contains(cannot, name) {
			t.Errorf("%s is not where it should be", name)
		}
	}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var source []byte
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source = append(source, b...)
	}
	for _, m := range regexp.MustCompile("`(Test\\w+)(?:/[^`]*?([^`/]+))?`").FindAllSubmatch(page, -1) {
		if !strings.Contains(string(source), "func "+string(m[1])+"(") {
			t.Errorf("there is no %s", m[1])
		}
		if sub := string(m[2]); sub != "" && !strings.Contains(string(source), `"`+sub+`"`) {
			t.Errorf("there is no %s", m[0])
		}
	}
}
