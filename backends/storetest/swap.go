package storetest

import (
	"time"

	"github.com/samesid/samesid/backends/contract"
)

var swapTests = []test{
	{name: "create", needs: []string{"Swap"}, run: func(e *env) {
		e.wantSwapped("id", nil, body(1), inAnHour(), "creating")
		e.wantFound("id", body(1), "created")
		e.wantRefused("id", nil, body(2), inAnHour(), body(1), "creating what is there")
		e.wantFound("id", body(1), "after a refused creation")
		e.ok(e.store.Delete("id"), "Delete")
		e.wantSwapped("id", nil, body(3), inAnHour(), "creating what was deleted")
		e.wantFound("id", body(3), "created again")
	}},
	{name: "replace", needs: []string{"Swap"}, run: func(e *env) {
		e.commit("id", body(1), inAnHour())
		e.commit("beside", body(1), inAnHour())
		e.wantSwapped("id", body(1), body(2), inAnHour(), "replacing")
		e.wantFound("id", body(2), "replaced")
		e.wantRefused("id", body(1), body(3), inAnHour(), body(2), "replacing what was replaced")
		e.wantFound("id", body(2), "after a refused replacement")
		e.wantSwapped("id", body(2), body(2), inAnHour(), "replacing by the same")
		e.wantFound("id", body(2), "replaced by the same")
		e.wantFound("beside", body(1), "beside all that")
	}},
	{name: "compares every byte", needs: []string{"Swap"}, run: func(e *env) {
		e.commit("id", []byte(`{"a":1,"b":"x"}`), inAnHour())
		for _, near := range []string{`{"a":1,"b":"X"}`, `{"a":1, "b":"x"}`, `{"b":"x","a":1}`, `{"a":1.0,"b":"x"}`, `{"a":1,"b":"x"} `, `{}`} {
			e.wantRefused("id", []byte(near), body(1), inAnHour(), []byte(`{"a":1,"b":"x"}`), "replacing "+near)
		}
		e.wantFound("id", []byte(`{"a":1,"b":"x"}`), "after refused replacements")
	}},
	{name: "replace the gone", needs: []string{"Swap"}, run: func(e *env) {
		e.wantRefused("never", body(1), body(2), inAnHour(), nil, "replacing what never was")
		e.wantAbsent("never", "after a refused replacement")
		e.commit("id", body(1), inAnHour())
		e.ok(e.second().DeleteCtx(e.Context(), "id"), "DeleteCtx")
		e.wantRefused("id", body(1), body(2), inAnHour(), nil, "replacing what was deleted")
		e.wantAbsent("id", "deleted, then swapped")
	}},
	{name: "delete", needs: []string{"Swap"}, run: func(e *env) {
		e.commit("id", body(1), inAnHour())
		e.commit("beside", body(1), inAnHour())
		e.wantRefused("id", body(2), nil, time.Time{}, body(1), "deleting what has changed")
		e.wantFound("id", body(1), "after a refused deletion")
		e.wantSwapped("id", body(1), nil, time.Time{}, "deleting")
		e.wantAbsent("id", "deleted by Swap")
		e.wantRefused("id", body(1), nil, time.Time{}, nil, "deleting what is gone")
		e.wantFound("beside", body(1), "beside all that")
		e.wantSwapped("beside", body(1), nil, inAnHour(), "deleting, with an expiry to come")
		e.wantAbsent("beside", "deleted by Swap with an expiry")
	}},
	{name: "nothing by nothing", needs: []string{"Swap"}, run: func(e *env) {
		e.swap("id", nil, nil, inAnHour())
		e.wantAbsent("id", "after a Swap of nil by nil")
		e.commit("id", body(1), inAnHour())
		e.wantRefused("id", nil, nil, inAnHour(), body(1), "swapping nil by nil")
		e.wantFound("id", body(1), "after a refused Swap of nil by nil")
	}},
	{name: "no bytes", needs: []string{"Swap"}, only: anyBytes, run: func(e *env) {
		empty := []byte{}
		e.wantRefused("id", empty, body(1), inAnHour(), nil, "replacing no bytes where there is no record")
		e.wantAbsent("id", "after a refused Swap of no bytes")
		e.wantSwapped("id", nil, empty, inAnHour(), "creating a record of no bytes")
		e.wantFound("id", empty, "created without bytes")
		e.wantRefused("id", nil, body(1), inAnHour(), empty, "creating over a record of no bytes")
		e.wantRefused("id", body(1), body(2), inAnHour(), empty, "replacing other bytes than none")
		e.wantSwapped("id", empty, body(1), inAnHour(), "replacing no bytes")
		e.wantRefused("id", empty, body(2), inAnHour(), body(1), "replacing no bytes where there are some")
		e.wantSwapped("id", body(1), empty, inAnHour(), "replacing by no bytes")
		e.wantFound("id", empty, "replaced by no bytes")
		e.wantSwapped("id", empty, nil, time.Time{}, "deleting a record of no bytes")
		e.wantAbsent("id", "deleted without bytes")
		e.commit("nil", nil, inAnHour())
		e.wantSwapped("nil", empty, body(1), inAnHour(), "replacing what was committed as nil")
	}},
	{name: "to the past", needs: []string{"Swap"}, run: func(e *env) {
		for _, past := range []time.Time{e.justPast(), time.Now().Add(-time.Hour), {}} {
			e.wantSwapped("new", nil, body(1), past, "creating in the past")
			e.wantAbsent("new", "created in the past")
			e.commit("id", body(1), inAnHour())
			e.wantRefused("id", body(2), body(3), past, body(1), "replacing what is not there, in the past")
			e.wantFound("id", body(1), "after a refused replacement in the past")
			e.wantSwapped("id", body(1), body(2), past, "replacing in the past")
			e.wantAbsent("id", "replaced in the past")
		}
	}},
	{name: "slices", needs: []string{"Swap"}, run: func(e *env) {
		old, data := body(1), append(make([]byte, 0, 64), body(1)...)
		e.wantSwapped("id", nil, data, inAnHour(), "creating")
		scribble(data)
		e.wantFound("id", body(1), "after changing what Swap was given to create")
		data = append(make([]byte, 0, 64), body(2)...)
		e.wantSwapped("id", old, data, inAnHour(), "replacing")
		if !same(old, body(1)) || !same(data, body(2)) {
			e.Error("Swap has changed what it was given")
		}
		scribble(old)
		scribble(data)
		e.wantFound("id", body(2), "after changing what Swap was given to replace")
		for range 2 {
			current, _ := e.swap("id", body(7), body(8), inAnHour())
			scribble(current)
			e.wantFound("id", body(2), "after changing what a refused Swap returned")
		}
		current, _ := e.swap("id", nil, body(8), inAnHour())
		scribble(current)
		e.wantFound("id", body(2), "after changing what a refused creation returned")
	}},
	{name: "by a second handle", needs: []string{"Swap"}, run: func(e *env) {
		other := e.second().(contract.Swapper)
		e.commit("id", body(1), inAnHour())
		_, swapped, err := other.Swap(e.Context(), "id", body(1), body(2), inAnHour())
		e.ok(err, "Swap")
		if !swapped {
			e.Error("the other handle's Swap was refused")
		}
		e.wantRefused("id", body(1), body(3), inAnHour(), body(2), "replacing what the other handle has replaced")
		e.wantSwapped("id", body(2), body(3), inAnHour(), "replacing what the other handle has written")
		_, swapped, err = other.Swap(e.Context(), "id", body(3), nil, time.Time{})
		e.ok(err, "Swap")
		if !swapped {
			e.Error("the other handle's deletion by Swap was refused")
		}
		e.wantRefused("id", body(3), body(4), inAnHour(), nil, "replacing what the other handle has deleted")
	}},
}
