package interleave

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/samesid/samesid/adapter"
)

// A Script is what one request does with its session, and the effect that this has when
// the request runs alone.
type Script struct {
	Name string
	run  func(m *adapter.Manager, ctx context.Context, key string)

	keys  []string // put before the session's id changes, if it does
	after []string // put after that
	does  effect
	parts []Script // the steps of a script that also saves in the middle
}

type effect int

const (
	changes effect = iota
	removes
	destroys
	regenerates
	renews
	merges
	sweeps
)

// Other is the id of a second session, with the key "other", which some of the Scripts
// merge into theirs.
const Other = "the-other-session"

// model applies the script to the sessions. "" names the one with which all requests
// began, and n one that this request begins. found reports whether the request found the
// first session when it loaded it. lost reports whether it has lost the session since,
// and must have noticed.
func (s Script) model(sessions map[string]map[string]any, n string, found bool) (lost bool) {
	if s.does == sweeps {
		clear(sessions)
		return false
	}
	first, there := sessions[""]
	add := func(to map[string]any, keys []string) {
		for _, k := range keys {
			to[n+k] = true
		}
	}
	if !found { // the request has a session of its own from the start
		own := sessions[n]
		if own == nil {
			own = map[string]any{}
		}
		if s.does != regenerates && s.does != destroys {
			add(own, s.keys)
		}
		if _, there := sessions["other"]; there && s.does == merges {
			own["other"] = true
			delete(sessions, "other")
		}
		add(own, s.after)
		if len(own) > 0 {
			sessions[n] = own
		}
		return false
	}
	if there {
		add(first, s.keys)
	}
	switch s.does {
	case removes:
		delete(first, "user")
	case destroys:
		delete(sessions, "")
	case merges:
		if _, free := sessions["other"]; free && there {
			first["other"] = true
			delete(sessions, "other")
		}
	case regenerates:
		delete(sessions, "")
		sessions[n] = map[string]any{}
		add(sessions[n], s.after)
	case renews:
		delete(sessions, "")
		if !there {
			first = map[string]any{} // another request has ended it: its data stays gone
		}
		sessions[n] = first
		add(first, s.after)
	}
	return !there && s.notices()
}

// notices reports whether the script notices that another request has ended its session.
func (s Script) notices() bool {
	return s.does != destroys && s.does != regenerates && s.does != sweeps && s.Name != "read"
}

// Scripts holds all scripts.
var Scripts = []Script{
	{Name: "put", keys: []string{"1"}, run: func(m *adapter.Manager, ctx context.Context, key string) {
		m.Put(ctx, key+"1", true)
	}},
	{Name: "destroy", does: destroys, run: func(m *adapter.Manager, ctx context.Context, key string) {
		_ = m.Destroy(ctx)
	}},
	{Name: "regenerate", keys: []string{"1"}, does: regenerates, after: []string{"2"}, run: func(m *adapter.Manager, ctx context.Context, key string) {
		m.Put(ctx, key+"1", true)
		_ = m.Regenerate(ctx)
		m.Put(ctx, key+"2", true)
	}},
	{Name: "renew", keys: []string{"1"}, does: renews, after: []string{"2"}, run: func(m *adapter.Manager, ctx context.Context, key string) {
		m.Put(ctx, key+"1", true)
		_ = m.RenewToken(ctx)
		m.Put(ctx, key+"2", true)
	}},
	{Name: "read", run: func(m *adapter.Manager, ctx context.Context, key string) { m.Get(ctx, "user") }},
	{Name: "remove", does: removes, run: func(m *adapter.Manager, ctx context.Context, key string) { m.Remove(ctx, "user") }},
	{Name: "save", parts: []Script{{keys: []string{"1"}}, {keys: []string{"2"}}}, run: func(m *adapter.Manager, ctx context.Context, key string) {
		m.Put(ctx, key+"1", true)
		_ = m.Save(ctx)
		m.Put(ctx, key+"2", true)
	}},
	{Name: "save and renew", parts: []Script{{keys: []string{"1"}}, {does: renews, after: []string{"2"}}}, run: func(m *adapter.Manager, ctx context.Context, key string) {
		m.Put(ctx, key+"1", true)
		_ = m.Save(ctx)
		_ = m.RenewToken(ctx)
		m.Put(ctx, key+"2", true)
	}},
	{Name: "merge", keys: []string{"1"}, does: merges, run: func(m *adapter.Manager, ctx context.Context, key string) {
		m.Put(ctx, key+"1", true)
		_ = m.MergeSession(ctx, Other)
	}},
	{Name: "reload", keys: []string{"1"}, run: func(m *adapter.Manager, ctx context.Context, key string) {
		_ = m.Reload(ctx)
		m.Put(ctx, key+"1", true)
	}},
	{Name: "maxAge", run: func(m *adapter.Manager, ctx context.Context, key string) { m.SetMaxAge(ctx, time.Hour) }},
	{Name: "touch", run: func(m *adapter.Manager, ctx context.Context, key string) { _ = m.Touch(ctx) }},
}

// Sweep ends all sessions. One that begins meanwhile may be ended too. It waits for requests
// that move a session, so it needs Turns.Settle.
var Sweep = Script{Name: "sweep", does: sweeps, parts: []Script{{does: sweeps}, {does: sweeps}}, run: func(m *adapter.Manager, ctx context.Context, key string) {
	_, _ = m.DestroyWhere(ctx, func(context.Context) bool { return true })
}}

// Outcome is the outcome of requests that ran in a serial order.
type Outcome struct {
	Sessions map[string]map[string]any // by name: "" is the first one, n that of request n
	Lost     bool                      // a loss is in the log
}

// Outcomes returns the outcomes of all serial orders of the requests in which the
// session has ended before each request that did not find it. A request that saves twice
// is two steps, and others may run between them.
func Outcomes(requests []Script, found []bool) (all []Outcome) {
	type step struct {
		Script
		request, at int
	}
	var steps []step
	for i, r := range requests {
		if len(r.parts) == 0 {
			steps = append(steps, step{r, i, 0})
			continue
		}
		for at, part := range r.parts {
			steps = append(steps, step{part, i, at})
		}
	}
	var order func(done, left []step)
	order = func(done, left []step) {
		if len(left) == 0 {
			sessions := map[string]map[string]any{"": {"user": "u"}, "other": {"other": true}}
			lost := false
			for _, s := range done {
				if _, there := sessions[""]; there && !found[s.request] {
					return
				}
				lost = s.model(sessions, fmt.Sprint(s.request), found[s.request]) || lost
			}
			all = append(all, Outcome{sessions, lost})
			return
		}
		for i, s := range left {
			if s.at == 0 || slices.ContainsFunc(done, func(d step) bool { return d.request == s.request }) {
				order(append(slices.Clone(done), s), slices.Delete(slices.Clone(left), i, i+1))
			}
		}
	}
	order(nil, steps)
	return all
}

// Next returns the schedule that follows one in a depth-first search, or nil after the
// last.
func Next(chosen []int, enabled [][]int) []int {
	for i := len(chosen) - 1; i >= 0; i-- {
		at := slices.Index(enabled[i], chosen[i])
		if at+1 < len(enabled[i]) {
			return append(slices.Clone(chosen[:i]), enabled[i][at+1])
		}
	}
	return nil
}
