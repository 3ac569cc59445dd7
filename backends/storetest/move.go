package storetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/samesid/samesid/backends/contract"
)

// record returns a record as the caller of a Move knows it.
func record(token string, data []byte) contract.Record {
	return contract.Record{Token: token, Data: data}
}

func records(from ...contract.Record) []contract.Record { return from }

// known returns the result current of a Move whose records have not changed.
func known(from []contract.Record) [][]byte {
	var current [][]byte
	for _, r := range from {
		current = append(current, r.Data)
	}
	return current
}

var moveTests = []test{
	{name: "moves", needs: []string{"Move"}, run: func(e *env) {
		e.commit("id", body(1), inAnHour())
		e.commit("beside", body(2), inAnHour())
		e.wantMoved(records(record("id", body(1))), "new", body(3), inAnHour(), "moving")
		e.wantFound("new", body(3), "moved")
		e.wantAbsent("id", "moved away")
		e.wantEverything(map[string][]byte{"new": body(3), "beside": body(2)}, "after Move")
		e.wantMoved(records(record("new", body(3))), "id", body(3), inAnHour(), "moving it back as it is")
		e.wantFound("id", body(3), "moved back")
		e.wantAbsent("new", "moved back")
	}},
	{name: "sets the expiry", needs: []string{"Move", "FindExpiry"}, run: func(e *env) {
		for hours := range 4 {
			token := fmt.Sprint("id", hours)
			e.commit(token, body(1), inAnHour().Add(2*time.Hour))
			expiry := inAnHour().Add(time.Duration(hours)*time.Hour + 123456789)
			e.wantMoved(records(record(token, body(1))), token+" new", body(hours), expiry, "moving")
			e.wantExpiry(token+" new", expiry, "moved")
			expiry = expiry.Add(time.Minute)
			e.wantMoved(records(record(token+" new", body(hours))), token+" new", body(hours+1), expiry, "moving to itself")
			e.wantExpiry(token+" new", expiry, "moved to itself")
			e.commit("other", body(7), inAnHour().Add(9*time.Hour))
			e.wantMoved(records(record("other", body(7)), record(token+" new", body(hours+1))), "other", body(8), expiry, "moving two")
			e.wantExpiry("other", expiry, "moved to one of two")
		}
	}},
	{name: "unknown id", needs: []string{"Move"}, run: func(e *env) {
		never := records(record("unknown", body(1)))
		e.wantNotMoved(never, "new", body(2), nil, "moving what never was")
		e.wantNotMoved(never, "unknown", body(2), nil, "moving to itself what never was")
		e.commit("id", body(1), inAnHour())
		e.wantNotMoved(never, "id", body(2), nil, "moving what never was to what is there")
		e.wantEverything(map[string][]byte{"id": body(1)}, "after moving what never was")
		e.ok(e.second().DeleteCtx(e.Context(), "id"), "DeleteCtx")
		e.wantNotMoved(records(record("id", body(1))), "new", body(2), nil, "moving what was deleted")
		e.wantNotMoved(records(record("id", body(1))), "id", body(2), nil, "moving to itself what was deleted")
		e.wantEverything(map[string][]byte{}, "after moving what was deleted")
	}},
	{name: "compares every byte", needs: []string{"Move"}, run: func(e *env) {
		expiry, data := inAnHour(), []byte(`{"a":1,"b":"x"}`)
		e.commit("id", data, expiry)
		e.commit("other", body(1), expiry)
		for _, near := range []string{`{"a":1,"b":"X"}`, `{"a":1, "b":"x"}`, `{"b":"x","a":1}`, `{"a":1.0,"b":"x"}`, `{"a":1,"b":"x"} `, `{}`} {
			from := records(record("id", []byte(near)))
			e.wantNotMoved(from, "new", body(2), [][]byte{data}, "moving "+near)
			e.wantNotMoved(from, "id", body(2), [][]byte{data}, "moving "+near+" to itself")
			e.wantNotMoved(append(from, record("other", body(1))), "other", body(2), [][]byte{data, body(1)}, "moving "+near+" to another")
		}
		e.wantUnwritten(expiry, map[string][]byte{"id": data, "other": body(1)}, "after a refused Move")
	}},
	{name: "taken", needs: []string{"Move"}, run: func(e *env) {
		expiry := inAnHour()
		e.commit("id", body(1), expiry)
		e.commit("other", body(2), expiry)
		e.commit("new", body(3), expiry)
		one := records(record("id", body(1)))
		two := records(record("other", body(2)), record("id", body(1)))
		e.wantNotMoved(one, "new", body(4), known(one), "moving to what is there")
		e.wantNotMoved(two, "new", body(4), known(two), "moving two to what is there")
		e.wantNotMoved(one, "new", body(3), known(one), "moving to what is there, with its bytes")
		e.wantUnwritten(expiry, map[string][]byte{"id": body(1), "other": body(2), "new": body(3)}, "after moving to what is there")
		e.ok(e.store.Delete("new"), "Delete")
		e.wantMoved(one, "new", body(4), inAnHour(), "moving to what was deleted")
		e.wantEverything(map[string][]byte{"new": body(4), "other": body(2)}, "moved to what was deleted")
	}},
	{name: "expired", needs: []string{"Move"}, run: func(e *env) {
		e.commit("expired", body(1), e.justPast())
		expired := records(record("expired", body(1)))
		e.wantNotMoved(expired, "new", body(2), nil, "moving an expired record")
		e.wantNotMoved(expired, "expired", body(2), nil, "moving an expired record to itself")
		e.wantEverything(map[string][]byte{}, "after moving an expired record")
		e.commit("id", body(2), inAnHour())
		e.wantNotMoved(append(expired, record("id", body(2))), "id", body(3), [][]byte{nil, body(2)}, "moving an expired record to another")
		e.wantMoved(records(record("id", body(2))), "expired", body(3), inAnHour(), "moving to what has expired")
		e.wantEverything(map[string][]byte{"expired": body(3)}, "moved to what has expired")
		e.commit("id", body(1), inAnHour())
		e.commit("expired too", body(1), e.justPast())
		e.wantMoved(records(record("id", body(1)), record("expired", body(3))), "expired too", body(4), inAnHour(), "moving two to what has expired")
		e.wantEverything(map[string][]byte{"expired too": body(4)}, "two moved to what has expired")
	}},
	{name: "to itself", needs: []string{"Move"}, run: func(e *env) {
		e.commit("id", body(1), inAnHour())
		e.wantMoved(records(record("id", body(1))), "id", body(2), inAnHour(), "moving to itself")
		e.wantFound("id", body(2), "moved to itself")
		expiry := inAnHour().Add(time.Hour)
		e.wantMoved(records(record("id", body(2))), "id", body(2), expiry, "moving to itself as it is")
		e.wantNotMoved(records(record("id", body(1))), "id", body(3), [][]byte{body(2)}, "moving to itself what was replaced")
		e.wantUnwritten(expiry, map[string][]byte{"id": body(2)}, "moved to itself")
	}},
	{name: "several", needs: []string{"Move"}, run: func(e *env) {
		for _, n := range []int{2, 3} {
			for _, to := range []string{"new", "id0", "id1", "id2"} {
				var from []contract.Record
				for i := range n {
					from = append(from, record(fmt.Sprint("id", i), body(i)))
				}
				if to == "id2" && n == 2 {
					slices.Reverse(from)
				}
				for _, r := range from {
					e.commit(r.Token, r.Data, inAnHour())
				}
				e.commit("beside", body(8), inAnHour())
				e.wantMoved(from, to, body(9), inAnHour(), fmt.Sprint("moving ", n, " to ", to))
				e.wantEverything(map[string][]byte{to: body(9), "beside": body(8)}, fmt.Sprint(n, " moved to ", to))
				e.wantFound(to, body(9), "moved")
				e.ok(e.store.Delete(to), "Delete")
			}
		}
	}},
	{name: "several, one of them another", needs: []string{"Move"}, run: func(e *env) {
		expiry := inAnHour()
		for _, n := range []int{2, 3} {
			for other := range n {
				from, stored := records(), make(map[string][]byte)
				for i := range n {
					from = append(from, record(fmt.Sprint(n-i, "-", other), body(i)))
				}
				for _, r := range from {
					e.commit(r.Token, r.Data, expiry)
					stored[r.Token] = r.Data
				}
				refused := func(what string) {
					current := known(from)
					current[other] = stored[from[other].Token]
					for _, to := range append([]string{"new"}, tokens(from)...) {
						e.wantNotMoved(from, to, body(9), current, fmt.Sprintf("moving %q to %q, one %s", tokens(from), to, what))
					}
					e.wantUnwritten(expiry, stored, "not moved, one "+what)
				}
				e.commit(from[other].Token, body(7), expiry)
				stored[from[other].Token] = body(7)
				refused("changed")
				e.commit(from[other].Token, from[other].Data, e.justPast())
				delete(stored, from[other].Token)
				refused("expired")
				e.ok(e.store.Delete(from[other].Token), "Delete")
				refused("deleted")
				for token := range stored {
					e.ok(e.store.Delete(token), "Delete")
				}
			}
		}
	}},
	{name: "no bytes", needs: []string{"Move"}, only: anyBytes, run: func(e *env) {
		empty := []byte{}
		e.wantNotMoved(records(record("id", empty)), "new", body(1), nil, "moving no bytes where there is no record")
		e.wantEverything(map[string][]byte{}, "after a refused Move of no bytes")
		e.commit("id", empty, inAnHour())
		e.wantNotMoved(records(record("id", body(1))), "new", body(1), [][]byte{empty}, "moving other bytes than none")
		e.commit("other", body(1), inAnHour())
		e.wantNotMoved(records(record("other", body(1))), "id", body(1), [][]byte{body(1)}, "moving to a record of no bytes")
		e.wantMoved(records(record("id", empty)), "new", empty, inAnHour(), "moving a record of no bytes")
		e.wantFound("new", empty, "moved without bytes")
		e.wantMoved(records(record("other", body(1)), record("new", empty)), "other", nil, inAnHour(), "moving two to a record of nil")
		e.wantFound("other", empty, "moved to nil")
		e.wantMoved(records(record("other", empty)), "new", nil, inAnHour(), "moving to nil")
		e.wantFound("new", empty, "moved to nil")
		e.wantMoved(records(record("new", empty)), "new", nil, inAnHour(), "moving to itself and nil")
		e.wantEverything(map[string][]byte{"new": empty}, "after moving no bytes")
	}},
	{name: "to the past", needs: []string{"Move"}, run: func(e *env) {
		for _, past := range []time.Time{e.justPast(), time.Now().Add(-time.Hour), {}} {
			for _, to := range []string{"new", "id", "other", "expired"} {
				from := records(record("id", body(1)), record("other", body(2)))
				if to == "id" || to == "new" {
					from = from[:1]
				}
				expiry := inAnHour()
				e.commit("id", body(1), expiry)
				e.commit("other", body(2), expiry)
				e.commit("expired", body(2), e.justPast())
				_, moved := e.move(records(record("id", body(1)), record("other", body(3))), to, body(4), past)
				if moved {
					e.Error("Move in the past has moved what has changed")
				}
				e.wantUnwritten(expiry, map[string][]byte{"id": body(1), "other": body(2)}, "after a refused Move in the past")
				e.wantMoved(from, to, body(3), past, "moving to "+to+" in the past")
				e.wantAbsent(to, "moved in the past")
				for _, token := range tokens(from) {
					e.wantAbsent(token, "moved away in the past")
				}
				e.commit("id", body(5), inAnHour())
				e.wantFound("id", body(5), "committed after a Move in the past")
			}
		}
	}},
	{name: "slices", needs: []string{"Move"}, run: func(e *env) {
		spacious := func(n int) []byte { return append(make([]byte, 0, 64), body(n)...) }
		e.commit("id", body(1), inAnHour())
		e.commit("other", body(1), inAnHour())
		for n, to := range []string{"new", "newer", "newer"} {
			token := []string{"id", "new", "newer"}[n]
			from, data := records(record(token, spacious(n+1))), spacious(n+2)
			e.wantMoved(from, to, data, inAnHour(), "moving")
			if !same(from[0].Data, body(n+1)) || from[0].Token != token || !same(data, body(n+2)) {
				e.Error("Move has changed what it was given")
			}
			scribble(from[0].Data)
			scribble(data)
			e.wantFound(to, body(n+2), "after changing what Move was given")
		}
		from, data := records(record("newer", body(4)), record("other", body(1))), spacious(5)
		order := slices.Clone(from)
		e.wantMoved(from, "newer", data, inAnHour(), "moving two")
		if !slices.Equal(tokens(from), tokens(order)) {
			e.Error("Move has changed the order of what it was given")
		}
		scribble(data)
		e.wantFound("newer", body(5), "after changing what a Move of two was given")
		for range 2 {
			for _, from := range [][]contract.Record{records(record("newer", body(7))), records(record("newer", body(7)), record("gone", body(1)))} {
				current, _ := e.move(from, "new", body(8), inAnHour())
				if len(current) > 0 {
					scribble(current[0])
				}
				e.wantFound("newer", body(5), "after changing what a refused Move returned")
			}
		}
	}},
	{name: "then swap", needs: []string{"Move", "Swap"}, run: func(e *env) {
		e.commit("id", body(1), inAnHour())
		e.wantMoved(records(record("id", body(1))), "new", body(1), inAnHour(), "moving")
		e.wantRefused("id", body(1), body(2), inAnHour(), nil, "replacing what was moved")
		e.wantRefused("id", body(1), body(1), inAnHour(), nil, "touching what was moved")
		e.wantRefused("id", body(1), nil, time.Time{}, nil, "deleting what was moved")
		e.wantAbsent("id", "moved, then swapped")
		e.wantRefused("new", nil, body(2), inAnHour(), body(1), "creating what was moved to")
		e.wantSwapped("new", body(1), body(2), inAnHour(), "replacing under the new id")
		e.wantFound("new", body(2), "replaced under the new id")
		e.wantSwapped("id", nil, body(3), inAnHour(), "creating under the old id")
		e.wantMoved(records(record("id", body(3)), record("new", body(2))), "new", body(4), inAnHour(), "moving two")
		e.wantRefused("id", body(3), body(2), inAnHour(), nil, "replacing one of two that were moved")
		e.wantRefused("new", body(2), body(3), inAnHour(), body(4), "replacing the other one")
		e.wantEverything(map[string][]byte{"new": body(4)}, "moved, then swapped")
	}},
	{name: "by a second handle", needs: []string{"Move"}, run: func(e *env) {
		other := e.second()
		moves := func(from []contract.Record, to string, data []byte) {
			e.Helper()
			_, moved, err := other.(contract.Mover).Move(e.Context(), from, to, data, inAnHour())
			e.ok(err, "Move")
			if !moved {
				e.Error("the other handle has not moved")
			}
		}
		e.commit("id", body(1), inAnHour())
		e.wantFound("id", body(1), "before the other handle's Move")
		moves(records(record("id", body(1))), "new", body(2))
		e.wantAbsent("id", "moved by the other handle")
		e.wantFound("new", body(2), "moved by the other handle")
		e.wantNotMoved(records(record("id", body(1))), "newer", body(3), nil, "moving what the other handle has moved")
		e.ok(other.DeleteCtx(e.Context(), "id"), "DeleteCtx")
		e.wantFound("new", body(2), "after a Delete of the old id")
		e.commit("id", body(3), inAnHour())
		moves(records(record("id", body(3)), record("new", body(2))), "id", body(4))
		e.wantFound("id", body(4), "two moved by the other handle")
		e.wantAbsent("new", "two moved by the other handle")
	}},
}

func (e *env) move(from []contract.Record, to string, data []byte, expiry time.Time) ([][]byte, bool) {
	e.Helper()
	current, moved, err := e.store.(contract.Mover).Move(e.Context(), from, to, data, expiry)
	e.ok(err, "Move")
	return current, moved
}

func (e *env) wantMoved(from []contract.Record, to string, data []byte, expiry time.Time, what string) {
	e.Helper()
	if current, moved := e.move(from, to, data, expiry); !moved {
		e.Errorf("%s: Move has not moved, current %s", what, showAll(current))
	}
}

// wantNotMoved checks that a Move is refused. A nil current means one record that is
// gone.
func (e *env) wantNotMoved(from []contract.Record, to string, data []byte, current [][]byte, what string) {
	e.Helper()
	if current == nil {
		current = [][]byte{nil}
	}
	got, moved := e.move(from, to, data, inAnHour().Add(time.Hour))
	if moved {
		e.Errorf("%s: Move says that it has moved", what)
		return
	}
	e.wantCurrent(answer{current: got}, current, what)
}

func (e *env) wantCurrent(a answer, want [][]byte, what string) {
	e.Helper()
	if !slices.EqualFunc(a.current, want, same) {
		e.Errorf("%s: current is %s, want %s", what, showAll(a.current), showAll(want))
	}
}

// wantUnwritten checks that the store holds these records with this expiry, and
// nothing else.
func (e *env) wantUnwritten(expiry time.Time, want map[string][]byte, what string) {
	e.Helper()
	e.wantEverything(want, what)
	for token, data := range want {
		e.wantFound(token, data, what)
		if e.has("FindExpiry") {
			e.wantExpiry(token, expiry, what)
		}
	}
}

func tokens(from []contract.Record) []string {
	var list []string
	for _, r := range from {
		list = append(list, r.Token)
	}
	return list
}

func showAll(list [][]byte) string {
	var shown []string
	for _, b := range list {
		shown = append(shown, show(b))
	}
	return fmt.Sprint(shown)
}
