package storetest

import "time"

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
			if e.has("Touch") && !e.touch("id", far) {
				e.Errorf("Touch to %s found nothing", far.Format(time.DateOnly))
			}
			e.wantFound("id", body(years), "touched to "+far.Format(time.DateOnly))
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

// expiryPasses sets up everything that can happen to an expiry and lets time
// pass once, since on a real server it takes that long.
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
	moved("Touch", func(token string, expiry time.Time) { e.touch(token, expiry) })
	moved("FindTouch", func(token string, expiry time.Time) { e.findTouch(token, expiry) })
	moved("Swap", func(token string, expiry time.Time) {
		e.wantSwapped(token, body(5), body(6), expiry, "replacing")
		e.wantSwapped(token, body(6), body(5), expiry, "replacing it back")
	})
	if e.has("Swap") {
		e.wantSwapped("created by Swap", nil, body(7), soon, "creating")
		gone = append(gone, "created by Swap")
	}
	if e.has("Rename") {
		e.commit("unrenamed", body(10), soon)
		e.wantRenamed("unrenamed", "short, renamed", "renaming")
		gone = append(gone, "short, renamed")
		e.commit("unrenamed", body(10), late)
		e.wantRenamed("unrenamed", "long, renamed", "renaming")
		stays["long, renamed"] = body(10)
	}
	for _, id := range []string{"t", "ft", "s", "sd", "sc", "r", "rt", "c", "d"} {
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

	if e.has("Touch") {
		if e.touch("gone t", late) {
			e.Error("Touch found an expired record")
		}
		e.wantAbsent("gone t", "expired, then touched")
	}
	if e.has("FindTouch") {
		if data, found := e.findTouch("gone ft", late); found {
			e.Errorf("FindTouch found %s, which has expired", show(data))
		}
		e.wantAbsent("gone ft", "expired, then touched by FindTouch")
	}
	if e.has("Swap") {
		e.wantRefused("gone s", body(8), body(9), late, nil, "replacing an expired record")
		e.wantAbsent("gone s", "expired, then swapped")
		e.wantRefused("gone sd", body(8), nil, late, nil, "deleting an expired record by Swap")
		e.wantSwapped("gone sc", nil, body(9), late, "creating over an expired record")
		e.wantFound("gone sc", body(9), "created over an expired record")
	}
	if e.has("Rename") {
		e.wantNotRenamed("gone r", "renamed", "renaming an expired record")
		e.wantAbsent("renamed", "expired, then renamed")
		e.wantRenamed("long, renamed", "gone rt", "renaming to an expired record")
		e.wantFound("gone rt", body(10), "renamed to an expired record")
	}
	e.commit("gone c", body(9), late)
	e.wantFound("gone c", body(9), "committed over an expired record")
	e.ok(e.store.Delete("gone d"), "Delete of an expired record")
	e.wantAbsent("gone d", "expired, then deleted")
}

var touchTests = []test{
	{name: "unknown id", needs: []string{"Touch"}, run: func(e *env) {
		if e.touch("id", inAnHour()) {
			e.Error("Touch found an unknown id")
		}
		e.wantAbsent("id", "touched before it was made")
		e.commit("id", body(1), inAnHour())
		e.ok(e.store.Delete("id"), "Delete")
		if e.touch("id", inAnHour()) {
			e.Error("Touch found a deleted id")
		}
		e.wantAbsent("id", "deleted, then touched")
	}},
	{name: "body stays", needs: []string{"Touch"}, run: func(e *env) {
		e.commit("id", body(1), inAnHour())
		e.commit("beside", body(2), inAnHour())
		if !e.touch("id", inAnHour().Add(time.Hour)) {
			e.Error("Touch found nothing")
		}
		e.wantFound("id", body(1), "after Touch")
		e.wantFound("beside", body(2), "beside Touch")
	}},
	{name: "to the past", needs: []string{"Touch"}, run: func(e *env) {
		for _, past := range []time.Time{e.justPast(), time.Now().Add(-time.Hour), {}} {
			e.commit("id", body(1), inAnHour())
			e.touch("id", past)
			e.wantAbsent("id", "touched to the past")
		}
	}},
	{name: "by a second handle", needs: []string{"Touch", "FindExpiry"}, run: func(e *env) {
		other := e.second()
		e.commit("id", body(1), inAnHour())
		expiry := inAnHour().Add(time.Hour)
		found, err := other.(toucher).Touch(e.Context(), "id", expiry)
		e.ok(err, "Touch")
		if !found {
			e.Error("Touch by the other handle found nothing")
		}
		e.wantExpiry("id", expiry, "after the other handle's Touch")
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
		if e.has("Touch") {
			e.touch("id", next())
			e.wantExpiry("id", expiry, "after Touch")
		}
		if e.has("FindTouch") {
			e.findTouch("id", next())
			e.wantExpiry("id", expiry, "after FindTouch")
		}
		if e.has("Swap") {
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
