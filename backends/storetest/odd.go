package storetest

import (
	"math/rand/v2"
	"strings"
)

// oddIDs are ids that mean something to somebody, and ids that are nearly equal.
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

// mustStore tells the ids that the contract obliges a store to take.
func mustStore(token string) bool {
	return len(token) >= 1 && len(token) <= 128 && strings.IndexFunc(token, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}

var oddTests = []test{
	{name: "unknown ids", run: func(e *env) {
		e.commit("known", body(1), inAnHour())
		for _, token := range oddIDs {
			what := "the unknown id " + show([]byte(token))
			e.wantAbsent(token, what)
			e.ok(e.store.Delete(token), what+": Delete")
			e.ok(e.store.DeleteCtx(e.Context(), token), what+": DeleteCtx")
			if e.has("Touch") && e.touch(token, inAnHour()) {
				e.Errorf("%s: Touch found it", what)
			}
			if e.has("FindTouch") {
				if _, found := e.findTouch(token, inAnHour()); found {
					e.Errorf("%s: FindTouch found it", what)
				}
			}
			if e.has("Swap") {
				e.wantRefused(token, body(1), body(2), inAnHour(), nil, what)
				e.wantRefused(token, body(1), nil, inAnHour(), nil, what)
			}
			if e.has("Rename") {
				e.wantNotRenamed(token, "renamed", what)
				e.wantNotRenamed(token, "known", what)
			}
		}
		e.wantEverything(map[string][]byte{"known": body(1)}, "after asking for odd ids")
	}},
	{name: "ids", run: func(e *env) {
		e.oddIDs(func(token string, data []byte) bool {
			return e.store.CommitCtx(e.Context(), token, data, inAnHour()) == nil
		})
	}},
	{name: "ids by swap", needs: []string{"Swap"}, run: func(e *env) {
		e.oddIDs(func(token string, data []byte) bool {
			_, swapped, err := e.store.(swapper).Swap(e.Context(), token, nil, data, inAnHour())
			return err == nil && swapped
		})
	}},
	{name: "ids by rename", needs: []string{"Rename"}, run: func(e *env) {
		e.oddIDs(func(token string, data []byte) bool {
			e.commit("plain", data, inAnHour())
			renamed, err := e.store.(renamer).Rename(e.Context(), "plain", token)
			if renamed && err == nil {
				return true
			}
			e.wantFound("plain", data, "not renamed to "+show([]byte(token)))
			e.ok(e.store.Delete("plain"), "Delete")
			return false
		})
	}},
	{name: "bytes", run: func(e *env) {
		records := oddJSON()
		if !e.JSON {
			records = append(records, oddBytes()...)
		}
		previous := body(1)
		e.commit("swapped", previous, inAnHour())
		for _, data := range records {
			want := map[string][]byte{"committed": data, "swapped": previous}
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
				previous, want["swapped"] = data, data
			}
			e.wantEverything(want, "odd bytes")
		}
	}},
}

// oddIDs writes a record under each id and checks that each is on its own.
func (e *env) oddIDs(write func(token string, data []byte) bool) {
	e.Helper()
	stored := make(map[string][]byte)
	for i, token := range oddIDs {
		if write(token, body(i)) {
			stored[token] = body(i)
		} else if mustStore(token) {
			e.Errorf("the id %s was refused", show([]byte(token)))
		}
	}
	check := func(what string) {
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
	check("written under odd ids")

	for i, token := range oddIDs {
		data, ok := stored[token]
		if !ok {
			continue
		}
		if e.has("Touch") && !e.touch(token, inAnHour()) {
			e.Errorf("Touch does not find the id %s", show([]byte(token)))
		}
		if e.has("FindTouch") {
			if got, _ := e.findTouch(token, inAnHour()); !same(got, data) {
				e.Errorf("FindTouch gave %s for the id %s, want %s", show(got), show([]byte(token)), show(data))
			}
		}
		if e.has("Swap") {
			e.wantSwapped(token, data, body(1000+i), inAnHour(), "under the id "+show([]byte(token)))
			stored[token] = body(1000 + i)
		}
		if e.has("Rename") {
			e.wantRenamed(token, "plain", "from the id "+show([]byte(token)))
			e.wantAbsent(token, "renamed away")
			e.wantRenamed("plain", token, "back to the id "+show([]byte(token)))
		}
	}
	check("replaced under odd ids")

	for i, token := range oddIDs {
		if i%2 == 0 {
			e.ok(e.store.Delete(token), "Delete of an odd id")
			delete(stored, token)
		}
	}
	check("after some odd ids were deleted")
}

// oddJSON are texts that come back changed from a store that parses them.
func oddJSON() [][]byte {
	return [][]byte{
		[]byte(`{"b": 1,  "a":[ ], "b":2}`),
		[]byte(" {\"a\":\t1}\n"),
		[]byte(`{"n":[1.0,1e400,-0,9007199254740993,0.1000]}`),
		[]byte(`{"s":"\u0000\u00e9é\ud83d\ude00😀\/\ud800\u2028"}`),
		[]byte(`{"__proto__":{"cookie":null},"":"","'":"\\x41"}`),
		[]byte(`null`), []byte(`"text"`), []byte(`[]`), []byte(`0`), []byte(`{}`),
		[]byte(strings.Repeat("[", 500) + strings.Repeat("]", 500)),
		[]byte(`{"big":"` + strings.Repeat("x", 1<<20) + `"}`),
	}
}

func oddBytes() [][]byte {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	big := make([]byte, 1<<20)
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
