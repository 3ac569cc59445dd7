package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/samesid/samesid/backends/contract"
)

// indexed is a handle on a store whose users are indexed.
type indexed struct {
	*env
	contract.UserIndex
	looks bool
}

// index has a handle on the store index the users of its records.
func (e *env) index(store any) indexed {
	e.Helper()
	i := indexed{env: e, UserIndex: store.(contract.UserIndex)}
	var err error
	i.looks, err = i.IndexUsers(e.Context(), []string{"user", "id"})
	e.ok(err, "IndexUsers")
	return i
}

// of returns the record of a user's session. The id is JSON.
func of(id string) []byte {
	return fmt.Appendf(nil, `{"cookie":{"path":"/"},"user":{"name":"x","id":%s},"views":1}`, id)
}

// begin notes and writes a session of a user.
func (i indexed) begin(user, token string) {
	i.Helper()
	i.note(user, token)
	i.commit(token, of(fmt.Sprintf("%q", user)), inAnHour())
}

func (i indexed) note(user, token string) {
	i.Helper()
	i.ok(i.NoteUser(i.Context(), user, token, 2*time.Hour), "NoteUser")
}

func (i indexed) end(user string, ttl time.Duration) (at time.Time) {
	i.Helper()
	at, err := i.EndUser(i.Context(), user, ttl)
	i.ok(err, "EndUser")
	return at
}

// wantTokens checks the tokens of a user. Those that no longer are the user's may be on the
// list of a store that keeps lists.
func (i indexed) wantTokens(user string, want, former []string, what string) {
	i.Helper()
	got, err := i.UserTokens(i.Context(), user)
	i.ok(err, "UserTokens")
	if !i.looks {
		got = slices.DeleteFunc(got, func(token string) bool { return slices.Contains(former, token) })
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		i.Errorf("%s: the tokens of %q are %q, want %q", what, user, got, want)
	}
}

var userNeeds = []string{"UserTokens", "Swap"}

var userTests = []test{
	{name: "tokens of one user", needs: userNeeds, run: func(e *env) {
		i := e.index(e.store)
		i.wantTokens("ann", nil, nil, "at first")
		i.begin("ann", "a1")
		i.begin("ann", "a2")
		i.begin("bob", "b1")
		e.commit("nobody", body(1), inAnHour())
		i.note("ann", "a1") // as each process does
		i.wantTokens("ann", []string{"a1", "a2"}, nil, "begun")
		i.wantTokens("bob", []string{"b1"}, nil, "begun")
		i.wantTokens("an", nil, nil, "begun")
		i.wantTokens("ann2", nil, nil, "begun")
		i.wantTokens("Ann", nil, nil, "begun")
		e.wantEverything(map[string][]byte{"a1": of(`"ann"`), "a2": of(`"ann"`), "b1": of(`"bob"`), "nobody": body(1)}, "with users")
	}},
	{name: "follows every write", needs: append([]string{"Move"}, userNeeds...), run: func(e *env) {
		i := e.index(e.store)
		i.begin("ann", "a")
		i.note("bob", "a")
		e.wantSwapped("a", of(`"ann"`), of(`"bob"`), inAnHour(), "another user")
		i.wantTokens("bob", []string{"a"}, nil, "another user")
		i.wantTokens("ann", nil, []string{"a"}, "another user")
		i.note("bob", "moved")
		e.wantMoved(records(record("a", of(`"bob"`))), "moved", of(`"bob"`), inAnHour(), "moving")
		i.wantTokens("bob", []string{"moved"}, []string{"a"}, "moved")
		if !e.touch("moved", of(`"bob"`), inAnHour()) {
			e.Error("the touch was refused")
		}
		i.wantTokens("bob", []string{"moved"}, []string{"a"}, "touched")
		i.note("bob", "born")
		e.wantSwapped("born", nil, of(`"bob"`), inAnHour(), "a new one")
		i.wantTokens("bob", []string{"born", "moved"}, []string{"a"}, "born")
		i.note("bob", "merged")
		e.wantMoved(records(record("moved", of(`"bob"`)), record("born", of(`"bob"`))), "merged", of(`"bob"`), inAnHour(), "merging")
		i.wantTokens("bob", []string{"merged"}, []string{"a", "moved", "born"}, "merged")
		e.wantSwapped("merged", of(`"bob"`), body(1), inAnHour(), "signed out")
		i.wantTokens("bob", nil, []string{"a", "moved", "born", "merged"}, "signed out")
	}},
	{name: "leaves out what has ended", needs: userNeeds, run: func(e *env) {
		i := e.index(e.store)
		i.begin("ann", "deleted")
		i.begin("ann", "expired")
		i.begin("ann", "stays")
		e.ok(e.store.DeleteCtx(e.Context(), "deleted"), "DeleteCtx")
		e.commit("expired", of(`"ann"`), e.justPast())
		i.wantTokens("ann", []string{"stays"}, []string{"deleted", "expired"}, "ended")
	}},
	{name: "forgets", needs: userNeeds, run: func(e *env) {
		i := e.index(e.store)
		for _, token := range []string{"a", "b"} {
			i.note("ann", token)
		}
		i.note("bob", "a")
		if i.looks {
			i.wantTokens("ann", nil, nil, "noted without a record")
			e.commit("a", of(`"ann"`), inAnHour())
		}
		for _, token := range []string{"a", "b", "unknown"} {
			e.ok(i.ForgetUser(e.Context(), "ann", token, time.Minute), "ForgetUser")
		}
		if i.looks {
			e.ok(i.ForgetUser(e.Context(), "ann", "a", 0), "ForgetUser")
			i.wantTokens("ann", []string{"a"}, nil, "forgotten, and there")
			return
		}
		i.wantTokens("ann", []string{"a", "b"}, nil, "noted just now")
		e.ok(i.ForgetUser(e.Context(), "ann", "a", 0), "ForgetUser")
		e.ok(i.ForgetUser(e.Context(), "nobody", "a", 0), "ForgetUser")
		i.wantTokens("ann", []string{"b"}, nil, "forgotten")
		i.wantTokens("bob", []string{"a"}, nil, "forgotten")
		i.note("ann", "a")
		i.wantTokens("ann", []string{"a", "b"}, nil, "noted anew")
	}},
	{name: "odd users", needs: userNeeds, run: func(e *env) {
		i := e.index(e.store)
		users := []string{
			"a", "A", "a ", " a", "%", "_", "a%", "*", "a*", "?", "[a]", `\`, `\\`, `"`, "'", "''", "{a}", "a:b", "a/b", "a,b", "null", "true", "0", "00",
			"ä", "a\u0308", "日本語", "🙂", strings.Repeat("x", 256), strings.Repeat("x", 255), "$", "$.user", "#>>",
		}
		for n, user := range users {
			i.note(user, fmt.Sprint("t", n))
			e.commit(fmt.Sprint("t", n), of(quoteJSON(user)), inAnHour())
		}
		for n, user := range users {
			i.wantTokens(user, []string{fmt.Sprint("t", n)}, nil, "odd users")
		}
	}},
	{name: "records of all kinds", needs: userNeeds, run: func(e *env) {
		i := e.index(e.store)
		i.begin("ann", "ann")
		for n, data := range []string{
			of42, `{"user":null}`, `{"user":{"id":null}}`, `{"user":"42"}`, `{"user":{"id":{"id":"42"}}}`, `{"user":["42"]}`, `[]`, `{}`, `"42"`, `null`,
			`{"user":{"id":true}}`, `{"x":{"user":{"id":"42"}}}`, `{"user.id":"42"}`, `{"user":{"id":"` + strings.Repeat("long", 5000) + `"}}`,
		} {
			e.commit(fmt.Sprint("t", n), []byte(data), inAnHour())
		}
		i.note("42", "t0")
		i.wantTokens("42", []string{"t0"}, nil, "a number")
		// As JavaScript writes the halves of a character. Not all stores take them.
		err := e.store.CommitCtx(e.Context(), "halves", []byte(`{"z":"\u0001\uD83D\u0041\u0000","user":{"id":"z"},"y":"\\u000g\\\\"}`), inAnHour())
		if err == nil {
			i.note("z", "halves")
			i.wantTokens("z", []string{"halves"}, nil, "beside escapes")
		} else if !errors.Is(err, contract.ErrRejected) {
			e.Errorf("a record with halves of characters: %v", err)
		}
		i.wantTokens("ann", []string{"ann"}, nil, "beside others")
	}},
	{name: "by a second handle", needs: userNeeds, run: func(e *env) {
		e.commit("before", of(`"ann"`), inAnHour())
		i := e.index(e.store)
		i.note("ann", "before")
		second := e.index(e.second())
		second.note("ann", "late")
		_, _, err := second.env.second().(contract.Swapper).Swap(e.Context(), "late", nil, of(`"ann"`), inAnHour())
		e.ok(err, "Swap")
		i.wantTokens("ann", []string{"before", "late"}, nil, "by the first")
		second.wantTokens("ann", []string{"before", "late"}, nil, "by the second")
		noted := second.end("ann", time.Hour)
		if at, _, err := i.UserEnded(e.Context(), "ann"); !at.Equal(noted) || err != nil {
			e.Errorf("UserEnded: %v, %v, want %v, which another handle has noted", at, err, noted)
		}
	}},
	{name: "ended", needs: userNeeds, run: func(e *env) {
		i := e.index(e.store)
		i.begin("ann", "a")
		ended := func(user string, want time.Time, least, most time.Duration) {
			e.Helper()
			at, ago, err := i.UserEnded(e.Context(), user)
			if e.Advance != nil {
				most += 10 * time.Second // of real time
			}
			if !at.Equal(want) || err != nil || !want.IsZero() && (ago < least || ago > most) {
				e.Errorf("UserEnded %s: at %v, %v ago, %v; want %v, %v to %v ago", user, at, ago, err, want, least, most)
			}
		}
		var never time.Time
		ended("ann", never, 0, 0)
		noted := i.end("ann", time.Hour)
		ended("ann", noted, 0, 0)
		ended("bob", never, 0, 0)
		i.end("bob", time.Second)
		e.ok(i.NoteUser(e.Context(), "bob", "short", time.Second), "NoteUser")
		e.advance(2 * time.Second)
		ended("ann", noted, 2*time.Second, 2*time.Second)
		ended("bob", never, 0, 0)
		i.wantTokens("bob", nil, nil, "after the time that it was noted for")
		var before []time.Time
		for range 20 {
			noted = i.end("ann", time.Hour)
			if slices.ContainsFunc(before, noted.Equal) {
				e.Errorf("two calls of EndUser have the time %v", noted)
			}
			before = append(before, noted)
		}
		ended("ann", noted, 0, 0)
		i.wantTokens("ann", []string{"a"}, nil, "ended") // the Manager ends them
		e.wantEverything(map[string][]byte{"a": of(`"ann"`)}, "ended")
	}},
	{name: "side by side", needs: userNeeds, run: func(e *env) {
		i := e.index(e.store)
		var wg sync.WaitGroup
		var want []string
		for n := range 24 {
			token := fmt.Sprint("t", n)
			want = append(want, token)
			wg.Go(func() {
				err := i.NoteUser(e.Context(), "ann", token, time.Hour)
				if err == nil {
					err = e.store.CommitCtx(e.Context(), token, of(`"ann"`), inAnHour())
				}
				if err != nil {
					e.Error(err)
				}
			})
		}
		wg.Wait()
		i.wantTokens("ann", want, nil, "24 at once")
	}},
	{name: "cancelled", needs: userNeeds, run: func(e *env) {
		i := e.index(e.store)
		i.begin("ann", "a")
		ctx, cancel := context.WithCancel(e.Context())
		cancel()
		_, err1 := i.UserTokens(ctx, "ann")
		_, _, err2 := i.UserEnded(ctx, "ann")
		_, err3 := i.EndUser(ctx, "ann", time.Hour)
		errs := map[string]error{"UserTokens": err1, "UserEnded": err2, "EndUser": err3}
		if !i.looks {
			errs["NoteUser"] = i.NoteUser(ctx, "ann", "b", time.Hour)
			errs["ForgetUser"] = i.ForgetUser(ctx, "ann", "a", 0)
		}
		for call, err := range errs {
			if err == nil || !strings.Contains(err.Error(), context.Canceled.Error()) {
				e.Errorf("%s returned %v, want %v", call, err, context.Canceled)
			}
		}
		i.wantTokens("ann", []string{"a"}, nil, "after calls with a context that is done")
		if at, _, err := i.UserEnded(e.Context(), "ann"); !at.IsZero() || err != nil {
			e.Errorf("UserEnded after a call with a context that is done: %v, %v", at, err)
		}
	}},
}

const of42 = `{"cookie":{},"user":{"id":42}}`

func quoteJSON(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
