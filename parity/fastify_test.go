package parity

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

// fastify is @fastify/session, which samesid shares sessions with as with Express.
const fastify side = "@fastify/session"

// shareWithFastify gives Go and Fastify a server each on one store. options are in place of those
// of the guide.
func shareWithFastify(t *testing.T, of store, options, cookie string) *shared {
	t.Helper()
	sh := share(t, of, gos, `"cookie":`+cookie)
	o := *sh.at[gos].options
	o.text = strings.TrimSuffix(o.text, "}") + `,"fastify":{` + options + `}}`
	sh.places[fastify] = sh.places[gos]
	srv, err := start(t, fastify, of, sh.config(fastify, o))
	if err != nil {
		t.Fatal(err)
	}
	sh.at[fastify] = &runner{server: srv, options: &o}
	return sh
}

const fastifyCookie = `{"secure":false,"maxAge":60000}`

// A session of one side is read, changed, renewed and ended on the other.
func TestFastify(t *testing.T) {
	t.Parallel()
	forEach(t, func(s store) bool { return s.Name == oneStore || s.Layout == "connect-pg-simple" }, func(t *testing.T, of store) {
		sh := shareWithFastify(t, of, "", fastifyCookie)
		for _, born := range []side{fastify, gos} {
			other := map[side]side{fastify: gos, gos: fastify}[born]
			begin := func(t *testing.T) *visitor {
				v := sh.visitor()
				v.run(t, born, set("user", map[string]any{"name": "bob"}), set("n", 1))
				sh.age(t, 20*time.Second)
				return v
			}
			is := func(t *testing.T, v *visitor, want ...any) {
				t.Helper()
				for _, s := range []side{other, born} {
					if got := v.run(t, s, get("user"), get("n")); text(got) != text(want) {
						t.Errorf("%s has %s, want %s", s, text(got), text(want))
					}
				}
			}
			bob := map[string]any{"name": "bob"}
			t.Run("born on "+string(born)+"/read", func(t *testing.T) {
				v := begin(t)
				is(t, v, bob, 1)
				if got := v.run(t, other, original)[0]; got != 60000.0 {
					t.Errorf("%s has the maxAge %v", other, got)
				}
			})
			t.Run("born on "+string(born)+"/change", func(t *testing.T) {
				v := begin(t)
				v.run(t, other, set("n", 2))
				if left := sh.left(t, v.id); (left - time.Minute).Abs() > tolerance {
					t.Errorf("%v left", left)
				}
				is(t, v, bob, 2)
			})
			t.Run("born on "+string(born)+"/regenerate", func(t *testing.T) {
				v := begin(t)
				before := *v
				v.run(t, other, regenerate, set("n", 3))
				if v.id == before.id {
					t.Error("the id stays")
				}
				is(t, v, nil, 3)
				is(t, &before, nil, nil)
			})
			t.Run("born on "+string(born)+"/destroy", func(t *testing.T) {
				v := begin(t)
				before := *v
				v.run(t, other, destroy)
				is(t, &before, nil, nil)
			})
			t.Run("born on "+string(born)+"/expired", func(t *testing.T) {
				v := begin(t)
				sh.age(t, -time.Second)
				if got := v.run(t, other, get("user"))[0]; got != nil {
					t.Errorf("%s has the user %v", other, got)
				}
			})
		}
	})
}

// What cannot hold, and what the page says to do about it.
func TestFastifyLimits(t *testing.T) {
	t.Parallel()
	of := storeNamed(t, oneStore)
	begin := func(t *testing.T, sh *shared, s side) *visitor {
		v := sh.visitor()
		v.run(t, s, set("user", "bob"))
		return v
	}

	// Fastify goes by the date in the record, which a request that only reads leaves as it is.
	t.Run("Fastify ends what Go has only touched", func(t *testing.T) {
		t.Parallel()
		for _, resave := range []bool{false, true} {
			sh := shareWithFastify(t, of, "", fastifyCookie)
			if resave {
				sh.start(gos, `"resave":true,"cookie":`+fastifyCookie)
			}
			v := begin(t, sh, gos)
			outdate(t, sh, v.id)
			v.run(t, gos, get("user"))
			if left := sh.left(t, v.id); left < 50*time.Second {
				t.Errorf("after a request in Go, %v left", left)
			}
			if got := v.run(t, fastify, get("user"))[0]; (got == "bob") != resave {
				t.Errorf("resave %v: %s has the user %v", resave, fastify, got)
			}
		}
	})

	t.Run("reading in Fastify does not touch", func(t *testing.T) {
		t.Parallel()
		sh := shareWithFastify(t, of, "", fastifyCookie)
		v := begin(t, sh, gos)
		sh.age(t, 20*time.Second)
		v.run(t, fastify, get("user"))
		if left := sh.left(t, v.id); left > 20*time.Second {
			t.Errorf("%v left", left)
		}
	})

	t.Run("rolling writes the whole session", func(t *testing.T) {
		t.Parallel()
		sh := shareWithFastify(t, of, `"rolling":true`, fastifyCookie)
		v := begin(t, sh, gos)
		before, _, err := sh.places[gos].records.get(v.id)
		if err != nil {
			t.Fatal(err)
		}
		v.run(t, fastify, get("user"))
		if after, _, err := sh.places[gos].records.get(v.id); err != nil || after == before {
			t.Errorf("after reading in Fastify the record is as before, %v", err)
		}
	})

	t.Run("without cookiePrefix", func(t *testing.T) {
		t.Parallel()
		sh := shareWithFastify(t, of, `"cookiePrefix":""`, fastifyCookie)
		out, err := sh.at[fastify].send(run(set("user", "bob")), nil)
		if err != nil || out.cookie == nil || out.cookie.form == wellFormed || out.cookie.form == notEncoded {
			t.Fatalf("%v, %v", out.cookie, err)
		}
		got, err := sh.at[gos].send(run(get("user")), []string{"connect.sid=" + out.cookie.value})
		if err != nil || got.results[0] != nil {
			t.Errorf("%s has the user %v, %v", gos, got.results, err)
		}
	})
}

// outdate puts the date in a record into the past, as a request that only touches leaves it.
func outdate(t *testing.T, sh *shared, id string) {
	t.Helper()
	body, _, err := sh.places[gos].records.get(id)
	if err != nil {
		t.Fatal(err)
	}
	past := regexp.MustCompile(`"expires":"20\d\d`).ReplaceAllString(body, `"expires":"2020`)
	if past == body {
		t.Fatalf("no date in %s", body)
	}
	if err := sh.places[gos].records.replace(past); err != nil {
		t.Fatal(err)
	}
}
