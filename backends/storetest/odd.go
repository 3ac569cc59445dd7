package storetest

import (
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/samesid/samesid/backends/contract"
)

// oddIDs are ids that have a special meaning somewhere, and ids that are nearly equal.
var oddIDs = []string{
	"",
	" ", "a", "A", "a ", " a", "ab", "aa",
	"\x00", "a\x00", "a\x00b", "\t", "\n", "a\n", "a\r\nb", "\x1b[2J", "\x7f",
	"é", "e\u0301", "ß", "ss", "😀", "日本", "\u200b", "\ufeff", "a\u202eb",
	"\xff", "a\xffb", "\xc3\x28", "\xed\xa0\x80", "a\ufffdb",
	"%", "a%", "%00", "%61", "_", "a_", "__proto__",
	"*", "a*", "?", "a?", "[", "[a]", "[^b]", "[a-z]", "]", "{a}", "\\", "\\*", "a\\",
	"'", "''", "\"", "`", "a' OR '1'='1", "a';--", "$1", "$$", "a;b",
	"sess:", "sess:a", "scs:session:", "scs:session:a", ":", "::", "a:b",
	".", "..", "../a", "/", "a/b", "-1", "0", "00", "null", "NULL", "true", "{}", "s:a.b",
	strings.Repeat("k", 128), strings.Repeat("k", 255), strings.Repeat("k", 256),
	strings.Repeat("k", 1024), strings.Repeat("k", 1023) + "l", strings.Repeat("\xff", 1024),
}

// mustStore reports whether the contract requires the store to accept an id.
func (e *env) mustStore(token string) bool {
	most := 128
	if e.MaxID > 0 {
		most = min(most, e.MaxID)
	}
	return len(token) >= 1 && len(token) <= most && strings.IndexFunc(token, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}

var oddTests = []test{
	{name: "unknown ids", run: func(e *env) {
		e.commit("known", body(1), inAnHour())
		for _, token := range oddIDs {
			what := "the unknown id " + show([]byte(token))
			e.wantAbsent(token, what)
			e.ok(e.store.Delete(token), what+": Delete")
			e.ok(e.store.DeleteCtx(e.Context(), token), what+": DeleteCtx")
			if e.has("FindTouch") {
				if _, found := e.findTouch(token, inAnHour()); found {
					e.Errorf("%s: FindTouch found it", what)
				}
			}
			if e.has("Swap") {
				e.wantRefused(token, body(1), body(2), inAnHour(), nil, what)
				e.wantRefused(token, body(1), body(1), inAnHour(), nil, what)
				e.wantRefused(token, body(1), nil, inAnHour(), nil, what)
			}
			if e.has("Move") {
				from := records(record(token, body(1)))
				e.wantNotMoved(from, "moved", body(2), nil, what)
				e.wantNotMoved(from, "known", body(2), nil, what)
				e.wantNotMoved(from, token, body(2), nil, what)
				two, current := append(from, record("known", body(1))), [][]byte{nil, body(1)}
				e.wantNotMoved(two, "moved", body(2), current, what)
				e.wantNotMoved(two, "known", body(2), current, what)
				e.wantNotMoved(two, token, body(2), current, what)
			}
		}
		e.wantEverything(map[string][]byte{"known": body(1)}, "after asking for odd ids")
	}},
	{name: "ids", run: func(e *env) {
		e.changeOddIDs(e.oddIDs(func(token string, data []byte) bool {
			return e.store.CommitCtx(e.Context(), token, data, inAnHour()) == nil
		}))
	}},
	{name: "ids by swap", needs: []string{"Swap"}, run: func(e *env) {
		e.oddIDs(func(token string, data []byte) bool {
			_, swapped, err := e.store.(contract.Swapper).Swap(e.Context(), token, nil, data, inAnHour())
			return err == nil && swapped
		})
	}},
	{name: "ids by move", needs: []string{"Move"}, run: func(e *env) {
		e.oddIDs(func(token string, data []byte) bool {
			return e.moveTo(token, data, record("plain", body(1)))
		})
	}},
	{name: "ids by move of two", needs: []string{"Move"}, run: func(e *env) {
		e.oddIDs(func(token string, data []byte) bool {
			return e.moveTo(token, data, record("plain", body(1)), record("plain too", body(2)))
		})
	}},
	{name: "bytes", run: func(e *env) {
		odd := oddJSON()
		if !e.JSON {
			odd = append(odd, oddBytes()...)
		}
		previous := body(1)
		e.commit("swapped", previous, inAnHour())
		for _, data := range odd {
			want := map[string][]byte{"committed": data, "swapped": body(1)}
			e.commit("committed", data, inAnHour())
			e.wantFound("committed", data, "committed")
			if e.has("FindTouch") {
				if got, _ := e.findTouch("committed", inAnHour()); !same(got, data) {
					e.Errorf("FindTouch gave %s, want %s", show(got), show(data))
				}
			}
			if e.has("Swap") {
				e.wantRefused("committed", body(1), body(2), inAnHour(), data, "replacing other bytes")
				e.wantSwapped("swapped", previous, data, inAnHour(), "replacing "+show(previous)+" by "+show(data))
				e.wantFound("swapped", data, "swapped")
				e.wantSwapped("swapped", data, data, inAnHour(), "touching "+show(data))
				want["swapped"] = data
			}
			if e.has("Move") {
				e.commit("moved", previous, inAnHour())
				e.wantMoved(records(record("moved", previous)), "one", data, inAnHour(), "moving "+show(previous)+" to "+show(data))
				e.wantFound("one", data, "moved")
				e.commit("moved", previous, inAnHour())
				two := records(record("moved", previous), record("one", data))
				e.wantNotMoved(two, "committed", body(1), known(two), "moving odd bytes to what is there")
				e.wantMoved(two, "two", data, inAnHour(), "moving "+show(previous)+" and "+show(data))
				want["two"] = data
			}
			previous = data
			e.wantEverything(want, "odd bytes")
			e.ok(e.store.Delete("two"), "Delete")
		}
	}},
	{name: "a megabyte", run: func(e *env) {
		data := []byte(`"` + strings.Repeat("x", 1<<20) + `"`)
		e.commit("id", data, inAnHour())
		e.wantFound("id", data, "a megabyte")
		if e.has("Swap") {
			longer := slices.Concat([]byte(" "), data)
			e.wantSwapped("id", data, longer, inAnHour(), "replacing a megabyte")
			e.wantFound("id", longer, "a megabyte by Swap")
		}
	}},
}

// oddIDs writes a record under each id, checks that the records are separate, and returns
// what is stored.
func (e *env) oddIDs(write func(token string, data []byte) bool) (stored map[string][]byte) {
	e.Helper()
	stored = make(map[string][]byte)
	for i, token := range oddIDs {
		if write(token, body(i)) {
			stored[token] = body(i)
		} else if e.mustStore(token) {
			e.Errorf("the id %s was refused", show([]byte(token)))
		}
	}
	e.wantOddIDs(stored, "written under odd ids")
	return stored
}

// wantOddIDs checks that there are these records, and no others.
func (e *env) wantOddIDs(stored map[string][]byte, what string) {
	e.Helper()
	for _, token := range oddIDs {
		if data, ok := stored[token]; ok {
			e.wantFound(token, data, what)
		} else {
			e.wantAbsent(token, what)
		}
	}
	e.wantEverything(stored, what)
}

// changeOddIDs touches, replaces, moves and deletes the records under odd ids.
func (e *env) changeOddIDs(stored map[string][]byte) {
	e.Helper()
	for i, token := range oddIDs {
		data, ok := stored[token]
		if !ok {
			continue
		}
		if e.has("FindTouch") {
			if got, _ := e.findTouch(token, inAnHour()); !same(got, data) {
				e.Errorf("FindTouch gave %s for the id %s, want %s", show(got), show([]byte(token)), show(data))
			}
		}
		if e.has("Swap") {
			e.wantSwapped(token, data, data, inAnHour(), "touching the id "+show([]byte(token)))
			e.wantSwapped(token, data, body(1000+i), inAnHour(), "under the id "+show([]byte(token)))
			stored[token] = body(1000 + i)
		}
		if e.has("Move") {
			e.wantMoved(records(record(token, stored[token])), "plain", body(1), inAnHour(), "from the id "+show([]byte(token)))
			e.wantAbsent(token, "moved away")
			e.wantMoved(records(record("plain", body(1))), token, body(2), inAnHour(), "back to the id "+show([]byte(token)))
			e.commit("plain", body(1), inAnHour())
			e.wantMoved(records(record("plain", body(1)), record(token, body(2))), token, body(2000+i), inAnHour(), "to the one id of two "+show([]byte(token)))
			stored[token] = body(2000 + i)
		}
	}
	e.wantOddIDs(stored, "replaced under odd ids")

	for i, token := range oddIDs {
		if i%2 == 0 {
			e.ok(e.store.Delete(token), "Delete of an odd id")
			delete(stored, token)
		}
	}
	e.wantOddIDs(stored, "after some odd ids were deleted")
}

// moveTo creates records and moves them to a token.
func (e *env) moveTo(token string, data []byte, from ...contract.Record) bool {
	e.Helper()
	for _, r := range from {
		e.commit(r.Token, r.Data, inAnHour())
	}
	_, moved, err := e.store.(contract.Mover).Move(e.Context(), from, token, data, inAnHour())
	for _, r := range from {
		if moved && err == nil {
			e.wantAbsent(r.Token, "moved to "+show([]byte(token)))
			continue
		}
		e.wantFound(r.Token, r.Data, "not moved to "+show([]byte(token)))
		e.ok(e.store.Delete(r.Token), "Delete")
	}
	return moved && err == nil
}

// oddJSON returns texts that a store changes if it parses them.
func oddJSON() [][]byte {
	return [][]byte{
		[]byte(`{"b": 1,  "a":[ ], "b":2}`),
		[]byte(" {\"a\":\t1}\n"),
		[]byte(`{"n":[1.0,1e400,-0,9007199254740993,0.1000]}`),
		[]byte(`{"s":"\u0000\u00e9é\ud83d\ude00😀\/\ud800\u2028"}`),
		[]byte(`{"__proto__":{"cookie":null},"":"","'":"\\x41"}`),
		[]byte(`null`), []byte(`"text"`), []byte(`[]`), []byte(`0`), []byte(`{}`),
		[]byte(strings.Repeat("[", 500) + strings.Repeat("]", 500)),
		[]byte(`{"big":"` + strings.Repeat("x", 1<<17) + `"}`),
	}
}

func oddBytes() [][]byte {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	big := make([]byte, 1<<17)
	random := rand.NewChaCha8([32]byte{})
	_, _ = random.Read(big)
	return [][]byte{
		every, big,
		{},
		{0},
		[]byte("\xff\xfe"), []byte(`\x41`), []byte(`\\000`), []byte("'\"; --"),
		[]byte("\r\n"), []byte(" "), []byte("nil"), []byte("$-1\r\n"),
	}
}
