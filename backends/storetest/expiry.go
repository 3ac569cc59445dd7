package storetest

import (
	"time"

	"github.com/samesid/samesid/backends/contract"
)

var expiryTests = []test{
	{name: "in the past", run: func(e *env) {
		for name, past := range map[string]time.Time{
			"a moment ago": e.justPast(),
			"an hour ago":  time.Now().Add(-time.Hour),
			"1970":         time.Unix(0, 0),
			"the year 1":   {},
		} {
			e.commit("new "+name, body(1), past)
			e.wantAbsent("new "+name, "committed to "+name)
			e.commit("live "+name, body(1), inAnHour())
			e.commit("live "+name, body(2), past)
			e.wantAbsent("live "+name, "live, then committed to "+name)
		}
		e.wantEverything(map[string][]byte{}, "committed to the past")
	}},
	{name: "in any location", run: func(e *env) {
		for _, hours := range []int{-12, -5, 0, 5, 14} {
			zone := time.FixedZone("there", hours*3600+1800)
			e.commit("past", body(1), time.Now().Add(-time.Minute).In(zone))
			e.wantAbsent("past", "expired, given in "+zone.String())
			expiry := time.Now().Add(time.Minute).In(zone)
			e.commit("live", body(1), expiry)
			e.wantFound("live", body(1), "live, given in "+zone.String())
			if e.has("FindExpiry") {
				e.wantExpiry("live", expiry, "given in another location")
			}
		}
	}},
	{name: "far off", run: func(e *env) {
		for _, years := range []int{50, 200, 290, 300, 9998 - time.Now().Year()} {
			far := time.Now().AddDate(years, 0, 0)
			e.commit("id", body(years), far)
			e.wantFound("id", body(years), "committed to "+far.Format(time.DateOnly))
			if e.has("Swap") && !e.touch("id", body(years), far) {
				e.Errorf("a touch to %s was refused", far.Format(time.DateOnly))
			}
			e.wantFound("id", body(years), "touched to "+far.Format(time.DateOnly))
			if e.has("Move") {
				e.wantMoved(records(record("id", body(years))), "id", body(years), far, "moving to itself until "+far.Format(time.DateOnly))
				e.wantMoved(records(record("id", body(years))), "new", body(years), far, "moving until "+far.Format(time.DateOnly))
				e.wantMoved(records(record("new", body(years))), "id", body(years), far, "moving back until "+far.Format(time.DateOnly))
			}
			if e.has("FindExpiry") {
				if _, expiry, _ := e.findExpiry("id"); expiry.Before(time.Now().AddDate(40, 0, 0)) {
					e.Errorf("FindExpiry gave expiry %v for %v", expiry, far)
				}
			}
		}
	}},
	{name: "passes", run: expiryPasses},
	{name: "to the nanosecond", only: exact, run: func(e *env) {
		e.commit("id", body(1), time.Now().Add(time.Second))
		e.advance(time.Second - 1)
		e.wantFound("id", body(1), "a nanosecond before the expiry")
		e.advance(2)
		e.wantAbsent("id", "a nanosecond after the expiry")
	}},
}

// expiryPasses sets up every change of an expiry before it lets time pass once, since
// on a real server that takes real time.
func expiryPasses(e *env) {
	span := max(2*time.Second, 2*e.Granularity)
	start := time.Now()
	soon, late := start.Add(span), start.Add(time.Hour)

	e.commit("short", body(1), soon)
	e.commit("long", body(2), late)
	e.commit("shortened by Commit", body(3), late)
	e.commit("shortened by Commit", body(3), soon)
	e.commit("extended by Commit", body(4), soon)
	e.commit("extended by Commit", body(4), late)
	gone := []string{"short", "shortened by Commit"}
	stays := map[string][]byte{"long": body(2), "extended by Commit": body(4)}

	moved := func(method string, move func(token string, expiry time.Time)) {
		if !e.has(method) {
			return
		}
		e.commit("shortened by "+method, body(5), late)
		move("shortened by "+method, soon)
		gone = append(gone, "shortened by "+method)
		e.commit("extended by "+method, body(5), soon)
		move("extended by "+method, late)
		stays["extended by "+method] = body(5)
	}
	moved("FindTouch", func(token string, expiry time.Time) { e.findTouch(token, expiry) })
	moved("Swap", func(token string, expiry time.Time) {
		e.wantSwapped(token, body(5), body(6), expiry, "replacing")
		e.wantSwapped(token, body(6), body(5), expiry, "replacing it back")
	})
	if e.has("Swap") {
		e.commit("shortened by touch", body(5), late)
		e.touch("shortened by touch", body(5), soon)
		e.commit("extended by touch", body(5), soon)
		e.touch("extended by touch", body(5), late)
		gone = append(gone, "shortened by touch")
		stays["extended by touch"] = body(5)
		e.wantSwapped("created by Swap", nil, body(7), soon, "creating")
		gone = append(gone, "created by Swap")
	}
	moved("Move", func(token string, expiry time.Time) {
		e.wantMoved(records(record(token, body(5))), token, body(6), expiry, "moving to itself")
		e.wantMoved(records(record(token, body(6))), "on its way", body(7), late, "moving")
		e.wantMoved(records(record("on its way", body(7))), token, body(5), expiry, "moving back")
	})
	if e.has("Move") {
		for to, expiry := range map[string]time.Time{"merged, soon": soon, "merged, late": late} {
			e.commit("merged", body(5), late)
			e.commit(to, body(5), soon)
			e.wantMoved(records(record("merged", body(5)), record(to, body(5))), to, body(10), expiry, "moving two")
		}
		gone = append(gone, "merged, soon", "merged")
		stays["merged, late"] = body(10)
	}
	for _, id := range []string{"t", "ft", "s", "sd", "sc", "m", "mt", "mm", "c", "d"} {
		e.commit("gone "+id, body(8), soon)
		gone = append(gone, "gone "+id)
	}

	if took := time.Since(start); took >= span {
		e.Fatalf("the store took %v for a few dozen calls: the first records have expired already", took)
	}
	e.advance(span + e.Granularity + time.Second/2)

	for _, token := range gone {
		e.wantAbsent(token, "expired")
	}
	for token, data := range stays {
		e.wantFound(token, data, token)
	}
	e.wantEverything(stays, "after some expired")

	if e.has("FindTouch") {
		if data, found := e.findTouch("gone ft", late); found {
			e.Errorf("FindTouch found %s, which has expired", show(data))
		}
		e.wantAbsent("gone ft", "expired, then touched by FindTouch")
	}
	if e.has("Swap") {
		e.wantRefused("gone t", body(8), body(8), late, nil, "touching an expired record")
		e.wantAbsent("gone t", "expired, then touched")
		e.wantRefused("gone s", body(8), body(9), late, nil, "replacing an expired record")
		e.wantAbsent("gone s", "expired, then swapped")
		e.wantRefused("gone sd", body(8), nil, late, nil, "deleting an expired record by Swap")
		e.wantSwapped("gone sc", nil, body(9), late, "creating over an expired record")
		e.wantFound("gone sc", body(9), "created over an expired record")
	}
	if e.has("Move") {
		expired := records(record("gone m", body(8)))
		e.wantNotMoved(expired, "moved", body(9), nil, "moving an expired record")
		e.wantNotMoved(expired, "gone m", body(9), nil, "moving an expired record to itself")
		e.wantNotMoved(append(expired, record("long", body(2))), "long", body(9), [][]byte{nil, body(2)}, "moving an expired record to another")
		e.wantAbsent("moved", "expired, then moved")
		e.wantAbsent("gone m", "expired, then moved")
		e.wantFound("long", body(2), "beside an expired record that was not moved")
		e.wantMoved(records(record("long", body(2))), "gone mt", body(10), late, "moving to an expired record")
		e.wantFound("gone mt", body(10), "moved to an expired record")
		two := records(record("gone mt", body(10)), record("merged, late", body(10)))
		e.wantMoved(two, "gone mm", body(11), late, "moving two to an expired record")
		e.wantFound("gone mm", body(11), "two moved to an expired record")
		e.wantAbsent("gone mt", "moved to an expired record")
	}
	e.commit("gone c", body(9), late)
	e.wantFound("gone c", body(9), "committed over an expired record")
	e.ok(e.store.Delete("gone d"), "Delete of an expired record")
	e.wantAbsent("gone d", "expired, then deleted")
}

// A touch is a Swap whose new bytes equal the old ones.
var touchTests = []test{
	{name: "unknown id", needs: []string{"Swap"}, run: func(e *env) {
		e.wantRefused("id", body(1), body(1), inAnHour(), nil, "touching what never was")
		e.wantAbsent("id", "touched before it was made")
		e.commit("id", body(1), inAnHour())
		e.ok(e.store.Delete("id"), "Delete")
		e.wantRefused("id", body(1), body(1), inAnHour(), nil, "touching what was deleted")
		e.wantEverything(map[string][]byte{}, "deleted, then touched")
	}},
	{name: "body stays", needs: []string{"Swap"}, run: func(e *env) {
		expiry := inAnHour()
		e.commit("id", body(1), expiry)
		e.commit("beside", body(2), expiry)
		e.wantSwapped("id", body(1), body(1), expiry.Add(time.Hour), "touching")
		e.wantEverything(map[string][]byte{"id": body(1), "beside": body(2)}, "after a touch")
		e.wantFound("id", body(1), "after a touch")
		if e.has("FindExpiry") {
			e.wantExpiry("id", expiry.Add(time.Hour), "after a touch")
			e.wantExpiry("beside", expiry, "beside a touch")
		}
		e.wantSwapped("id", body(1), body(3), expiry, "replacing what was touched")
		e.wantFound("id", body(3), "touched, then replaced")
	}},
	{name: "changed", needs: []string{"Swap"}, run: func(e *env) {
		expiry, data := inAnHour(), []byte(`{"a":1,"b":"x"}`)
		e.commit("id", data, expiry)
		for _, near := range []string{`{"a":1,"b":"X"}`, `{"a":1, "b":"x"}`, `{"b":"x","a":1}`, `{"a":1.0,"b":"x"}`, `{"a":1,"b":"x"} `, `{}`} {
			e.wantRefused("id", []byte(near), []byte(near), expiry.Add(time.Hour), data, "touching "+near)
		}
		e.wantUnwritten(expiry, map[string][]byte{"id": data}, "after refused touches")
	}},
	{name: "no bytes", needs: []string{"Swap"}, only: anyBytes, run: func(e *env) {
		e.wantRefused("id", []byte{}, []byte{}, inAnHour(), nil, "touching no bytes where there is no record")
		e.wantAbsent("id", "after a refused touch of no bytes")
		expiry := inAnHour()
		e.commit("id", []byte{}, expiry)
		e.wantSwapped("id", []byte{}, []byte{}, expiry.Add(time.Hour), "touching a record of no bytes")
		e.wantUnwritten(expiry.Add(time.Hour), map[string][]byte{"id": {}}, "touched without bytes")
	}},
	{name: "to the past", needs: []string{"Swap"}, run: func(e *env) {
		for _, past := range []time.Time{e.justPast(), time.Now().Add(-time.Hour), {}} {
			expiry := inAnHour()
			e.commit("id", body(1), expiry)
			e.wantRefused("id", body(2), body(2), past, body(1), "touching what has changed, to the past")
			e.wantUnwritten(expiry, map[string][]byte{"id": body(1)}, "after a refused touch to the past")
			e.wantSwapped("id", body(1), body(1), past, "touching to the past")
			e.wantAbsent("id", "touched to the past")
		}
	}},
	{name: "slices", needs: []string{"Swap"}, run: func(e *env) {
		e.commit("id", body(1), inAnHour())
		for range 2 {
			data := append(make([]byte, 0, 64), body(1)...)
			e.wantSwapped("id", data, data, inAnHour(), "touching")
			if !same(data, body(1)) {
				e.Error("a touch has changed what it was given")
			}
			scribble(data)
			e.wantFound("id", body(1), "after changing what a touch was given")
			current, _ := e.swap("id", body(2), body(2), inAnHour())
			scribble(current)
			e.wantFound("id", body(1), "after changing what a refused touch returned")
		}
	}},
	{name: "by a second handle", needs: []string{"Swap", "FindExpiry"}, run: func(e *env) {
		other := e.second()
		e.commit("id", body(1), inAnHour())
		expiry := inAnHour().Add(time.Hour)
		_, swapped, err := other.(contract.Swapper).Swap(e.Context(), "id", body(1), body(1), expiry)
		e.ok(err, "Swap")
		if !swapped {
			e.Error("the other handle's touch was refused")
		}
		e.wantExpiry("id", expiry, "after the other handle's touch")
	}},
}

var findTouchTests = []test{
	{name: "unknown id", needs: []string{"FindTouch"}, run: func(e *env) {
		if data, found := e.findTouch("id", inAnHour()); found {
			e.Errorf("FindTouch found %s under an unknown id", show(data))
		}
		e.wantAbsent("id", "touched before it was made")
		e.commit("id", body(1), inAnHour())
		e.ok(e.store.Delete("id"), "Delete")
		if data, found := e.findTouch("id", inAnHour()); found {
			e.Errorf("FindTouch found %s, which is deleted", show(data))
		}
		e.wantAbsent("id", "deleted, then touched")
	}},
	{name: "reads", needs: []string{"FindTouch"}, run: func(e *env) {
		e.commit("id", body(1), inAnHour())
		for range 2 {
			data, found := e.findTouch("id", inAnHour().Add(time.Hour))
			if !found || !same(data, body(1)) {
				e.Errorf("FindTouch gave %s, %t, want %s", show(data), found, show(body(1)))
			}
			scribble(data)
			e.wantFound("id", body(1), "after changing what FindTouch returned")
		}
	}},
	{name: "no bytes", needs: []string{"FindTouch"}, only: anyBytes, run: func(e *env) {
		e.commit("id", []byte{}, inAnHour())
		if data, found := e.findTouch("id", inAnHour()); !found || !same(data, []byte{}) {
			e.Errorf("FindTouch gave %s, %t for a record of no bytes", show(data), found)
		}
	}},
	{name: "to the past", needs: []string{"FindTouch"}, run: func(e *env) {
		for _, past := range []time.Time{e.justPast(), time.Now().Add(-time.Hour), {}} {
			e.commit("id", body(1), inAnHour())
			e.findTouch("id", past)
			e.wantAbsent("id", "touched to the past by FindTouch")
		}
	}},
}

var findExpiryTests = []test{
	{name: "follows every write", needs: []string{"FindExpiry"}, run: func(e *env) {
		expiry := inAnHour()
		next := func() time.Time {
			expiry = expiry.Add(time.Hour + 123456789)
			return expiry
		}
		e.commit("id", body(1), next())
		e.wantExpiry("id", expiry, "after Commit")
		e.commit("id", body(1), next())
		e.wantExpiry("id", expiry, "after a second Commit")
		if e.has("FindTouch") {
			e.findTouch("id", next())
			e.wantExpiry("id", expiry, "after FindTouch")
		}
		if e.has("Swap") {
			e.wantSwapped("id", body(1), body(1), next(), "touching")
			e.wantExpiry("id", expiry, "after a touch")
			e.wantSwapped("id", body(1), body(2), next(), "replacing")
			e.wantExpiry("id", expiry, "after Swap")
			e.wantSwapped("created", nil, body(2), next(), "creating")
			e.wantExpiry("created", expiry, "after Swap has created it")
			kept := expiry
			e.wantRefused("created", body(3), body(4), next(), body(2), "replacing what is not there")
			e.wantExpiry("created", kept, "after a refused Swap")
		}
	}},
	{name: "reads", needs: []string{"FindExpiry"}, run: func(e *env) {
		expiry := inAnHour()
		e.commit("id", body(1), expiry)
		data, _, _ := e.findExpiry("id")
		scribble(data)
		e.wantFound("id", body(1), "after changing what FindExpiry returned")
		e.wantExpiry("id", expiry, "after reading it")
	}},
}
