package adapter_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/gob"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends/contract"
	"github.com/samesid/samesid/internal/leaktest"
)

// TestModel runs random scripts of requests on one or two sessions, step by step in one
// goroutine, on a store that fails now and then: a call is not made, or it is made and its
// reply lost, or it is made twice. After each step the test looks into the store, so that it
// knows what was done, and compares what has changed with what the step may change.
//
// MODEL_SCRIPTS is the number of scripts. If it is set, each run has a new seed, and
// MODEL_SEED repeats a failed run. Otherwise the scripts are always the same.
func TestModel(t *testing.T) {
	scripts, seed := uint64(4000), uint64(1)
	if raceDetector {
		scripts = 1000
	}
	if os.Getenv("MODEL_SCRIPTS") != "" {
		scripts, seed = modelEnv(t, "MODEL_SCRIPTS", scripts), rand.Uint64()
	}
	seed = modelEnv(t, "MODEL_SEED", seed)
	failures := map[string]bool{}
	for i := range scripts {
		sc := generate(rand.New(rand.NewPCG(seed, i)))
		wrong := sc.run(nil)
		if wrong == "" || failures[kindOf(wrong)] {
			continue
		}
		sc, wrong = sc.shrink(wrong)
		failures[kindOf(wrong)] = true
		var trace strings.Builder
		sc.run(&trace)
		t.Errorf("%s\n%s\nMODEL_SEED=%d, script %d", wrong, trace.String(), seed, i)
		if len(failures) == 8 {
			return
		}
	}
}

// kindOf is what is wrong, without what differs from script to script.
func kindOf(wrong string) string { kind, _, _ := strings.Cut(wrong, ":"); return kind }

func modelEnv(t *testing.T, name string, otherwise uint64) uint64 {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// A modelScript is a Manager and what happens to it.
type modelScript struct {
	store, key    string
	json, genID   bool
	resave, unset bool
	steps         []modelStep
}

// modelStep is one call of a request's.
type modelStep struct {
	req    int
	do     string
	key    string
	n      int // of the step: what it puts, and whom it takes for other
	faults map[int]string
}

func (s modelStep) String() string {
	text := fmt.Sprintf("request %d: %s %s n=%d", s.req, s.do, s.key, s.n)
	for _, call := range slices.Sorted(maps.Keys(s.faults)) {
		text += fmt.Sprintf(", call %d: %s", call, s.faults[call])
	}
	return text
}

var (
	modelKeys  = []string{"a", "b", "c", "nest"}
	modelCalls = strings.Fields("put put put put back remove remove nest save save save save touch reload renew renew regenerate destroy unset merge age deadline sweep end")
	modelLoads = strings.Fields("begin begin begin begin begin id list new")
)

func init() { gob.Register(map[string]int{}) }

func generate(r *rand.Rand) modelScript {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	sc := modelScript{
		store: pick("full", "full", "swap", "plain"), key: pick("", "hash", "migrating"),
		json: r.IntN(2) == 0, genID: r.IntN(3) == 0, resave: r.IntN(4) == 0, unset: r.IntN(2) == 0,
	}
	fails := r.IntN(4)
	requests := 2 + r.IntN(2)
	for n := range 4 + r.IntN(14) {
		s := modelStep{req: r.IntN(requests), do: pick(modelCalls...), key: pick(modelKeys...), n: n + 10}
		if n < requests {
			s.req, s.do = n, pick(modelLoads...)
		}
		for range 2 {
			if r.IntN(8) < fails {
				if s.faults == nil {
					s.faults = map[int]string{}
				}
				s.faults[r.IntN(3)] = pick("fails", "fails", "is lost", "is lost", "is done twice")
			}
		}
		sc.steps = append(sc.steps, s)
	}
	if r.IntN(3) == 0 {
		sc.hard(pick(modelHard...), r)
	}
	return sc
}

// modelHard are scripts that chance alone seldom makes: ' is another request's step, ! one
// whose reply is lost, and ? one that fails.
var modelHard = []string{
	"put save! back end",
	"put save! remove end",
	"put save! put' save' reload put save",
	"put save! put' save' renew destroy' put end",
	"renew put save! put save? put end",
	"renew put save! renew save? destroy",
	"put save! put' save' remove save",
	"put save? put' save' remove save",
	"merge save! put' save' put end",
}

// hard puts the steps of a hard script between those of this one, or in their place.
func (sc *modelScript) hard(script string, r *rand.Rand) {
	loads := sc.steps[:2]
	loads[0].do, loads[1].do = "begin", "begin"
	loads[1].n = loads[0].n // of the same session
	if strings.HasPrefix(script, "renew") || r.IntN(4) == 0 {
		loads[0].do = modelLoads[r.IntN(len(modelLoads))]
	}
	loads[0].faults, loads[1].faults = nil, nil
	rest := sc.steps[2:min(len(sc.steps), 2+r.IntN(4))]
	key := modelKeys[r.IntN(len(modelKeys))]
	steps := slices.Clone(loads)
	for i, word := range strings.Fields(script) {
		s := modelStep{do: strings.TrimRight(word, "'!?"), key: key, n: 100 + i}
		switch {
		case strings.HasSuffix(word, "'"):
			s.req, s.key = 1, modelKeys[r.IntN(len(modelKeys))]
		case strings.HasSuffix(word, "!"):
			s.faults = map[int]string{0: "is lost"}
		case strings.HasSuffix(word, "?"):
			s.faults = map[int]string{0: "fails"}
		}
		if len(rest) > 0 && r.IntN(4) == 0 {
			steps, rest = append(steps, rest[0]), rest[1:]
		}
		steps = append(steps, s)
	}
	sc.steps = steps
}

// shrink drops what is not needed to fail.
func (sc modelScript) shrink(wrong string) (modelScript, string) {
	for again := true; again; {
		again = false
		for i := 0; i < len(sc.steps); i++ {
			try := func(change func(*modelScript)) bool {
				shorter := sc
				shorter.steps = slices.Clone(sc.steps)
				change(&shorter)
				if now := shorter.run(nil); kindOf(now) == kindOf(wrong) {
					sc, wrong, again = shorter, now, true
					return true
				}
				return false
			}
			if try(func(s *modelScript) { s.steps = slices.Delete(s.steps, i, i+1) }) {
				i--
				continue
			}
			for call := range sc.steps[i].faults {
				try(func(s *modelScript) {
					s.steps[i].faults = maps.Clone(s.steps[i].faults)
					delete(s.steps[i].faults, call)
				})
			}
		}
	}
	return sc, wrong
}

// stored are the values of each record, by its key. A value is a number; 0 is none.
type stored map[string]map[string]int

func (s stored) equal(other stored) bool {
	return maps.EqualFunc(s, other, func(a, b map[string]int) bool { return maps.Equal(a, b) })
}

// modelWorld is a script that runs.
type modelWorld struct {
	m       *adapter.Manager
	inner   *mapStore
	faulty  *faultyStore
	script  *modelScript
	cookies [2]string // the ids that the two browsers have
	reqs    map[int]*modelRequest
	cache   map[string]map[string]int
	trace   *strings.Builder
}

// modelRequest is what the model knows of a request.
type modelRequest struct {
	ctx          context.Context
	client       int    // whose cookie it came with; -1: none
	fixed, mute  bool   // from Iterate; no cookie goes out
	at           string // where its session is; "": it is new
	base, cur    map[string]int
	done         map[string]int // what was last written, acknowledged or not
	since        map[string]int // at RenewToken
	tries        []map[string]int
	merged       []modelMerge
	renewing     bool // its id is another than that of the record
	fresh        bool // Regenerate: nothing of the record is taken over
	ended, unset bool
	lost         bool // a write was done and not acknowledged
	begun        bool
	vague        map[string]bool // keys of which it is not known what was written
}

type modelMerge struct {
	at       string
	put, was map[string]int // nil: dropped by Regenerate
	renewed  bool           // RenewToken came after it
}

// run returns what is wrong, or "".
func (sc modelScript) run(trace *strings.Builder) (wrong string) {
	inner := newMapStore()
	w := &modelWorld{inner: inner, script: &sc, trace: trace, reqs: map[int]*modelRequest{}, cache: map[string]map[string]int{}}
	w.faulty = &faultyStore{fullStore: fullStore{inner}}
	o := adapter.Options{Secrets: []string{secret}, Resave: sc.resave, Logger: slog.New(slog.DiscardHandler), Cookie: adapter.Cookie{MaxAge: time.Hour}}
	if trace != nil {
		o.Logger = slog.New(slog.NewTextHandler(leaktest.Copy(trace), nil))
		fmt.Fprintf(trace, "%+v\n", sc.options())
	}
	switch sc.store {
	case "full":
		o.Store = w.faulty
	case "swap":
		o.Store, w.faulty.alone = swapStore{w.faulty, w.faulty, w.faulty}, true
	default:
		o.Store = plainFaulty{w.faulty}
	}
	if sc.json {
		o.Codec = adapter.JSONCodec{}
	}
	if sc.unset {
		o.Unset = adapter.UnsetDestroy
	}
	o.StoreKey = adapter.StoreKey(sc.key)
	if sc.genID {
		n := 0
		o.GenID = func(*http.Request) string { n++; return fmt.Sprintf("generated-%d", n) }
	}
	old := o
	old.Store = fullStore{inner}
	if o.StoreKey == adapter.StoreKeyMigrating {
		old.StoreKey = adapter.StoreKeyID
	}
	w.m = adapter.MustNew(o)
	first := adapter.MustNew(old)
	for i := range w.cookies {
		ctx, _ := first.Begin(httptest.NewRequest("GET", "/", nil))
		first.Put(ctx, "a", 1+2*i)
		first.Put(ctx, "nest", map[string]int{"v": 2 + 2*i})
		if _, err := first.End(ctx); err != nil {
			return err.Error()
		}
		w.cookies[i] = first.ID(ctx)
		leaktest.Note(w.cookies[i])
	}
	defer func() {
		if r := recover(); r != nil {
			wrong = fmt.Sprintf("panic: %v", r)
		}
	}()
	for _, s := range sc.steps {
		if wrong := w.step(s); wrong == "skip" {
			return ""
		} else if wrong != "" {
			return wrong
		}
	}
	for _, n := range slices.Sorted(maps.Keys(w.reqs)) {
		do := "end"
		if w.reqs[n].mute {
			do = "save"
		}
		if wrong := w.step(modelStep{req: n, do: do}); wrong == "skip" {
			return ""
		} else if wrong != "" {
			return wrong
		}
	}
	return ""
}

func (sc modelScript) options() string {
	return fmt.Sprintf("store %s, key %q, json %t, genID %t, resave %t, unset %t", sc.store, sc.key, sc.json, sc.genID, sc.resave, sc.unset)
}

// look returns what the store has.
func (w *modelWorld) look() stored {
	all := stored{}
	for key, r := range w.inner.records {
		if !time.Now().Before(r.expiry) {
			continue
		}
		v, ok := w.cache[string(r.data)]
		if !ok {
			var codec scs.Codec = scs.GobCodec{}
			if w.script.json {
				codec = adapter.JSONCodec{}
			}
			_, values, err := codec.Decode(bytes.Clone(r.data))
			if err != nil {
				panic(err)
			}
			v = numbers(func(k string) any { return values[k] })
			w.cache[string(r.data)] = v
		}
		all[key] = v
	}
	return all
}

// numbers are the values of a session.
func numbers(get func(string) any) map[string]int {
	got := map[string]int{}
	for _, k := range modelKeys {
		switch v := get(k).(type) {
		case int:
			got[k] = v
		case map[string]int:
			got[k] = v["v"]
		case map[string]any:
			got[k] = v["v"].(int)
		}
	}
	return got
}

// modelHash is the key of a session that is stored under the hash of its id.
func modelHash(id string) string {
	sum := sha256.Sum256([]byte(id))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// storeKey is where a session with this id is stored now.
func (w *modelWorld) storeKey(id string) string {
	if w.script.key == "" {
		return id
	}
	return modelHash(id)
}

// find returns the key of the session with this id, "" if there is none.
func (w *modelWorld) find(s stored, id string) string {
	if _, ok := s[w.storeKey(id)]; ok {
		return w.storeKey(id)
	}
	if _, ok := s[id]; ok && w.script.key == "migrating" {
		return id
	}
	return ""
}

// follow returns where the session that was at a key is now, "" if it has ended.
func (w *modelWorld) follow(s stored, at string) string {
	if _, ok := s[at]; ok || at == "" {
		return at
	}
	if w.script.key == "migrating" {
		if _, ok := s[modelHash(at)]; ok {
			return modelHash(at)
		}
		for key := range s {
			if modelHash(key) == at {
				return key
			}
		}
	}
	return ""
}

func (w *modelWorld) say(format string, args ...any) {
	if w.trace != nil {
		fmt.Fprintf(w.trace, format+"\n", args...)
	}
}

// step does one step and returns what is wrong.
func (w *modelWorld) step(s modelStep) string {
	before := w.look()
	r := w.reqs[s.req]
	if slices.Contains(modelLoads, s.do) != (r == nil) {
		return ""
	}
	w.say("%v", s)
	w.faulty.begin(s.faults)
	wrong := ""
	if r == nil {
		wrong = w.load(s, before)
	} else {
		wrong = w.call(r, s, before)
	}
	w.faulty.faults = nil
	after := w.look()
	w.say("    calls %v, store %v", w.faulty.made, after)
	if wrong != "" {
		return wrong
	}
	if r := w.reqs[s.req]; r != nil && r.ctx != nil && !r.begun {
		if seen := numbers(func(k string) any { return w.m.Get(r.ctx, k) }); !maps.Equal(seen, r.cur) {
			return fmt.Sprintf("the handler sees other values: %v, want %v", seen, r.cur)
		}
	}
	return ""
}

func (w *modelWorld) load(s modelStep, before stored) string {
	m := w.m
	r := &modelRequest{client: s.n % 4 / 3, vague: map[string]bool{}}
	id := w.cookies[r.client]
	var err error
	switch s.do {
	case "begin", "new":
		req := httptest.NewRequest("GET", "/", nil)
		if s.do == "new" {
			id, r.client = "", -1
		} else {
			req.Header.Set("Cookie", cookieFor(id))
		}
		r.ctx, err = m.Begin(req)
	case "id":
		r.mute = true
		for n, other := range w.reqs {
			if n == s.n%3 {
				id = m.ID(other.ctx)
			}
		}
		r.ctx, err = m.LoadID(context.Background(), id)
	case "list":
		r.mute, r.fixed = true, true
		err = m.Iterate(context.Background(), func(ctx context.Context) error {
			if m.ID(ctx) == w.find(before, id) {
				r.ctx = ctx
			}
			return nil
		})
		if r.ctx == nil {
			return ""
		}
	}
	if !before.equal(w.look()) {
		return "a load changes the store"
	}
	if err != nil {
		if w.faulty.fired == 0 {
			return "a load fails: " + err.Error()
		}
		return ""
	}
	r.at = w.find(before, id)
	if r.fixed {
		r.at = m.ID(r.ctx)
	}
	r.base, r.cur, r.done = maps.Clone(before[r.at]), maps.Clone(before[r.at]), before[r.at]
	if r.cur == nil {
		r.cur = map[string]int{}
	}
	w.reqs[s.req] = r
	return ""
}

func (w *modelWorld) call(r *modelRequest, s modelStep, before stored) string {
	m, ctx := w.m, r.ctx
	at := w.follow(before, r.at)
	over := r.ended || r.at != "" && at == ""
	var err error
	unchanged := func() string {
		if after := w.look(); !before.equal(after) {
			return fmt.Sprintf("%s changes the store: from %v to %v", s.do, before, after)
		}
		if err != nil && w.faulty.fired == 0 && !errors.Is(err, adapter.ErrGone) && !errors.Is(err, adapter.ErrResponseBegun) {
			return fmt.Sprintf("%s fails: %v", s.do, err)
		}
		return ""
	}
	if r.begun && !slices.Contains([]string{"put", "remove", "save", "touch"}, s.do) {
		return ""
	}
	switch s.do {
	case "put":
		w.put(r, s.key, s.n)
		return unchanged()
	case "back":
		if n := r.base[s.key]; n != 0 {
			w.put(r, s.key, n)
		}
		return unchanged()
	case "nest":
		switch v := m.Get(ctx, "nest").(type) {
		case map[string]int:
			v["v"] = s.n
			m.Put(ctx, "nest", v)
			r.cur["nest"] = s.n
		case map[string]any:
			v["v"] = s.n
			m.Put(ctx, "nest", v)
			r.cur["nest"] = s.n
		}
		return unchanged()
	case "remove":
		m.Remove(ctx, s.key)
		delete(r.cur, s.key)
		return unchanged()
	case "age":
		m.SetMaxAge(ctx, time.Duration(s.n)*time.Hour)
		return unchanged()
	case "deadline":
		m.SetDeadline(ctx, time.Now().Add(time.Duration(s.n)*time.Hour))
		return unchanged()
	case "touch":
		err = m.Touch(ctx)
		w.say("    %v", err)
		if over && err == nil && !r.lost && !r.renewing {
			return "Touch does not tell that the session has ended"
		}
		if errors.Is(err, adapter.ErrGone) {
			if !over {
				return "Touch says ErrGone of a session that is there"
			}
			r.ended = true
		}
		return unchanged()
	case "reload":
		err = m.Reload(ctx)
		w.say("    %v", err)
		switch {
		case err == nil && over:
			return "Reload finds an ended session"
		case err == nil:
			r.base, r.done, r.cur = maps.Clone(before[at]), before[at], maps.Clone(before[at])
			r.tries, r.merged, r.lost, r.vague, r.at = nil, nil, false, map[string]bool{}, at
		case errors.Is(err, adapter.ErrGone) && !over && !r.renewing && !r.lost && r.at != "":
			return "Reload says ErrGone of a session that is there"
		case errors.Is(err, adapter.ErrGone) && over && !r.renewing && !r.lost:
			r.ended, r.merged = true, nil
		case errors.Is(err, adapter.ErrGone) && over && r.lost:
			return "skip"
		}
		return unchanged()
	case "renew":
		if r.fixed {
			return ""
		}
		err = m.RenewToken(ctx)
		w.say("    %v", err)
		if err != nil {
			return unchanged()
		}
		switch {
		case over && r.lost:
			return "skip"
		case over && r.fresh && !r.ended:
			r.since = maps.Clone(r.cur)
		case over && r.renewing && !r.ended:
			r.at, r.base, r.done, r.tries = "", r.since, r.since, nil
		case over:
			*r = modelRequest{ctx: ctx, client: r.client, mute: r.mute, cur: map[string]int{}, vague: map[string]bool{}}
		case r.at != "":
			r.since = maps.Clone(r.cur)
		}
		for i := range r.merged {
			r.merged[i].renewed = r.since != nil
		}
		r.renewing, r.unset = true, false
		return unchanged()
	case "regenerate":
		if r.fixed {
			return ""
		}
		err = m.Regenerate(ctx)
		w.say("    %v", err)
		if err != nil {
			if r.lost {
				return "skip"
			}
			return unchanged()
		}
		wrong := unchanged()
		if r.lost {
			if _, there := w.look()[at]; !there {
				wrong, at = "", ""
			}
		}
		fresh := *r
		*r = modelRequest{ctx: ctx, client: r.client, mute: r.mute, at: at, lost: fresh.lost, cur: map[string]int{}, fresh: true, renewing: true, vague: map[string]bool{}}
		if at == "" {
			r.fresh = false
		}
		for _, o := range fresh.merged {
			r.merged = append(r.merged, modelMerge{at: o.at})
		}
		return wrong
	case "unset":
		m.Unset(ctx)
		if !r.ended {
			r.unset = true
		}
		r.cur = map[string]int{}
		return unchanged()
	case "merge":
		if r.fixed {
			return ""
		}
		id := w.cookies[s.n%2]
		if other := w.reqs[s.n%3]; other != nil && s.n%5 < 2 {
			id = m.ID(other.ctx)
		}
		from := w.find(before, id)
		err = m.MergeSession(ctx, id)
		w.say("    %v (%s)", err, from)
		if err != nil || from == "" || from == at {
			return unchanged()
		}
		for _, o := range r.merged {
			if w.follow(before, o.at) == from {
				return unchanged()
			}
		}
		if id == m.Token(ctx) {
			return unchanged()
		}
		o := modelMerge{at: from, put: before[from], was: map[string]int{}}
		for k, n := range o.put {
			o.was[k] = r.cur[k]
			r.cur[k] = n
		}
		r.merged = append(r.merged, o)
		return unchanged()
	case "destroy":
		err = m.Destroy(ctx)
		w.say("    %v", err)
		return w.destroyed(r, before, at, err)
	case "sweep":
		n, err := m.DestroyWhere(context.Background(), func(ctx context.Context) bool { return m.Exists(ctx, s.key) })
		w.say("    %d, %v", n, err)
		after := w.look()
		for key, was := range before {
			is, there := after[key]
			switch {
			case there && !maps.Equal(is, was):
				return "a sweep changes a session"
			case !there && was[s.key] == 0:
				return "a sweep ends a session that does not match"
			case there && was[s.key] != 0 && err == nil:
				return "a sweep leaves a session that matches"
			}
		}
		if len(after) > len(before) {
			return "a sweep makes a session"
		}
		if err != nil && w.faulty.fired == 0 {
			return "a sweep fails: " + err.Error()
		}
		return ""
	case "save":
		status := m.Status(ctx)
		err = m.Save(ctx)
		w.say("    %v", err)
		switch {
		case status == scs.Destroyed:
			return unchanged()
		case r.unset || r.ended:
			if err == nil {
				return "Save says that an ended session is saved"
			}
			return unchanged()
		case errors.Is(err, adapter.ErrResponseBegun):
			return unchanged()
		}
		return w.written(r, before, at, err, false)
	case "end":
		if r.mute {
			return ""
		}
		status := m.Status(ctx)
		var h http.Header
		h, err = m.End(ctx)
		w.say("    %v %v", err, h["Set-Cookie"] != nil)
		r.begun = true
		var wrong string
		switch {
		case r.unset && (r.lost || len(r.merged) > 0):
			return "skip"
		case r.unset && !r.ended && (r.fresh || w.script.unset):
			wrong = w.destroyed(r, before, at, err)
		case status == scs.Destroyed, r.unset, r.ended:
			wrong = unchanged()
		default:
			wrong = w.written(r, before, at, err, true)
		}
		if wrong == "" && err == nil && r.client >= 0 {
			for _, c := range (&http.Response{Header: h}).Cookies() {
				w.cookies[r.client] = modelIDOf(c.Value)
			}
			if found := w.find(w.look(), w.cookies[r.client]); r.at != "" && !r.ended && !r.unset && len(r.cur) > 0 && found != w.follow(w.look(), r.at) && h["Set-Cookie"] == nil {
				return "the browser does not learn the id"
			}
		}
		return wrong
	}
	panic(s.do)
}

// idOf is the id in a cookie's value.
func modelIDOf(value string) string {
	id, _, _ := strings.Cut(strings.TrimPrefix(value, "s%3A"), ".")
	return id
}

func (w *modelWorld) put(r *modelRequest, key string, n int) {
	if key == "nest" {
		w.m.Put(r.ctx, key, map[string]int{"v": n})
	} else {
		w.m.Put(r.ctx, key, n)
	}
	r.cur[key] = n
}

// destroyed compares what a deletion has done.
func (w *modelWorld) destroyed(r *modelRequest, before stored, at string, err error) string {
	after := w.look()
	may := map[string]bool{at: true}
	for _, o := range r.merged {
		may[w.follow(before, o.at)] = true
		may[o.at] = true
	}
	for key, was := range before {
		is, there := after[key]
		if there && !maps.Equal(is, was) || !there && !may[key] {
			return fmt.Sprintf("a logout changes another session: from %v to %v", before, after)
		}
	}
	for key := range after {
		if _, there := before[key]; !there {
			return "a logout makes a session"
		}
	}
	if err != nil {
		if w.faulty.fired == 0 {
			return "a logout fails: " + err.Error()
		}
		return ""
	}
	if _, there := after[at]; there {
		return fmt.Sprintf("a logout leaves the session: %s", at)
	}
	*r = modelRequest{ctx: r.ctx, client: r.client, mute: r.mute, begun: r.begun, unset: r.unset && r.begun, cur: map[string]int{}, vague: map[string]bool{}, renewing: true}
	return ""
}

// written compares what a save has done with what it may do.
func (w *modelWorld) written(r *modelRequest, before stored, at string, err error, end bool) string {
	after := w.look()
	key := w.m.ID(r.ctx)
	if !r.fixed || r.renewing {
		key = w.storeKey(key)
	} else if w.follow(before, key) != "" {
		key = w.follow(before, key)
	}
	over := r.at != "" && at == ""
	theirs := before[at]
	base, done, tries := r.base, r.done, r.tries
	if r.fresh {
		theirs = nil
	}
	if over && r.lost {
		return "skip"
	}
	if over && !r.fresh {
		if !r.renewing {
			if err == nil && !end {
				return "Save says that an ended session is saved"
			}
			if err == nil || errors.Is(err, adapter.ErrGone) {
				r.ended = true
			}
			if !before.equal(after) {
				return fmt.Sprintf("a save brings a session back: from %v to %v", before, after)
			}
			return ""
		}
		base, done, tries = r.since, r.since, nil
	}
	record, there := after[key]
	others := map[string]bool{} // the records that are to be gone
	loose := map[string][]int{}
	for _, o := range r.merged {
		from := w.follow(before, o.at)
		if from == "" || from == key || !o.renewed || !over || r.fresh {
			others[from] = from != "" && from != key
		}
		if o.put == nil {
			continue
		}
		if from == "" || !maps.Equal(before[from], o.put) || over {
			for _, k := range modelKeys {
				if (o.put[k] != 0 || before[from][k] != 0) && (o.put[k] == 0 || o.put[k] == r.cur[k]) {
					loose[k] = append(loose[k], before[from][k], o.was[k], theirs[k], r.cur[k])
				}
			}
		}
	}
	if at != "" && at != key {
		others[at] = true
	}
	// What a key may have.
	may := func(k string) []int {
		switch {
		case r.vague[k]:
			return append(loose[k], r.cur[k], theirs[k])
		case r.cur[k] != done[k]:
			return append(loose[k], r.cur[k])
		}
		may := append(loose[k], theirs[k])
		tried := r.cur[k] != base[k]
		for _, t := range tries {
			tried = tried || r.cur[k] != t[k]
		}
		if tried {
			may = append(may, r.cur[k])
		}
		return may
	}
	fits := func(record map[string]int) string {
		for _, k := range modelKeys {
			if !slices.Contains(may(k), record[k]) {
				return fmt.Sprintf("%s is %d, want one of %v", k, record[k], may(k))
			}
		}
		return ""
	}
	for k, was := range before {
		if is, ok := after[k]; k != key && !others[k] && (!ok || !maps.Equal(is, was)) {
			return fmt.Sprintf("a save changes another session: from %v to %v", before, after)
		}
	}
	for k := range after {
		if _, ok := before[k]; k != key && !ok {
			return fmt.Sprintf("a save makes another session: from %v to %v", before, after)
		}
	}
	complete := func() string {
		if wrong := fits(record); wrong != "" {
			return wrong
		}
		for k := range others {
			if _, ok := after[k]; ok && others[k] {
				return "there is still the record " + k
			}
		}
		return ""
	}
	if err == nil {
		if !there {
			if r.lost && end && len(r.cur) == 0 {
				return "skip"
			}
			if at == "" && end && fits(nil) == "" {
				if over {
					r.ended = true
				}
				return ""
			}
			return fmt.Sprintf("an acknowledged save is not in the store: from %v to %v", before, after)
		}
		if wrong := complete(); wrong != "" {
			return fmt.Sprintf("an acknowledged save is wrong: %s; from %v to %v", wrong, before, after)
		}
		for _, o := range r.merged { // whose values are not to be lost
			if from := w.follow(before, o.at); from != "" && over {
				for k, n := range before[from] {
					if !slices.Contains(slices.Collect(maps.Values(record)), n) && r.cur[k] == n && after[from] == nil && r.since[k] != n {
						return fmt.Sprintf("a merge loses what the other session had: from %v to %v", before, after)
					}
				}
			}
		}
		r.at, r.base, r.done = key, maps.Clone(r.cur), maps.Clone(r.cur)
		if len(loose) > 0 {
			r.cur = numbers(func(k string) any { return w.m.Get(r.ctx, k) })
			r.base, r.done = maps.Clone(r.cur), maps.Clone(r.cur)
		}
		r.tries, r.merged, r.since = nil, nil, nil
		r.renewing, r.fresh, r.lost = false, false, false
		r.vague = map[string]bool{}
		return ""
	}
	if w.faulty.fired == 0 {
		return fmt.Sprintf("a save fails: %v", err)
	}
	if len(loose) > 0 {
		return "skip"
	}
	if before.equal(after) {
		r.tries = append(r.tries, maps.Clone(r.cur))
		if key == at && fits(record) == "" {
			for _, k := range modelKeys {
				if r.cur[k] != r.done[k] {
					r.vague[k] = true
				}
			}
		}
		return ""
	}
	if wrong := complete(); wrong != "" {
		if w.script.store != "full" && fits(record) == "" {
			return "skip" // by halves
		}
		return fmt.Sprintf("a failed save is done by halves: %s; from %v to %v", wrong, before, after)
	}
	r.at, r.done, r.lost = key, maps.Clone(r.cur), true
	r.fresh, r.merged = false, nil
	return ""
}

// faultyStore fails as the step that runs has it.
type faultyStore struct {
	fullStore
	faults map[int]string
	calls  int
	fired  int
	made   []string
	alone  bool // Swap without Move, which must tell what it has done
}

func (s *faultyStore) begin(faults map[int]string) {
	s.faults, s.calls, s.fired, s.made = faults, 0, 0, nil
}

var errFaulty = errors.New("connection reset")

func (s *faultyStore) do(name string, call func()) error {
	fault := s.faults[s.calls]
	s.made = append(s.made, name)
	if s.calls++; s.calls > 500 {
		panic("a step does not end")
	}
	switch fault {
	case "fails":
		s.fired++
		return errFaulty
	case "is lost":
		s.fired++
		call()
		return errFaulty
	case "is done twice":
		if name != "Move" && (name != "Swap" || !s.alone) {
			call()
		}
	}
	call()
	return nil
}

func (s *faultyStore) FindCtx(ctx context.Context, token string) (b []byte, ok bool, err error) {
	down := s.do("Find", func() { b, ok, err = s.fullStore.FindCtx(ctx, token) })
	if down != nil {
		return nil, false, down
	}
	return b, ok, err
}

func (s *faultyStore) FindTouch(ctx context.Context, token string, expiry time.Time) (b []byte, ok bool, err error) {
	down := s.do("FindTouch", func() { b, ok, err = s.fullStore.FindTouch(ctx, token, expiry) })
	if down != nil {
		return nil, false, down
	}
	return b, ok, err
}

func (s *faultyStore) CommitCtx(ctx context.Context, token string, b []byte, expiry time.Time) (err error) {
	down := s.do("Commit", func() { err = s.fullStore.CommitCtx(ctx, token, b, expiry) })
	return errors.Join(down, err)
}

func (s *faultyStore) DeleteCtx(ctx context.Context, token string) (err error) {
	down := s.do("Delete", func() { err = s.fullStore.DeleteCtx(ctx, token) })
	return errors.Join(down, err)
}

func (s *faultyStore) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) (b []byte, ok bool, err error) {
	down := s.do("Swap", func() { b, ok, err = s.fullStore.Swap(ctx, token, old, data, expiry) })
	if down != nil {
		return nil, false, down
	}
	return b, ok, err
}

func (s *faultyStore) Move(ctx context.Context, from []contract.Record, to string, data []byte, expiry time.Time) (b [][]byte, ok bool, err error) {
	down := s.do("Move", func() { b, ok, err = s.fullStore.Move(ctx, from, to, data, expiry) })
	if down != nil {
		return nil, false, down
	}
	return b, ok, err
}

// plainFaulty hides all but scs.Store and listing.
type plainFaulty struct{ s *faultyStore }

func (p plainFaulty) Find(token string) ([]byte, bool, error) {
	return p.s.FindCtx(context.Background(), token)
}

func (p plainFaulty) Commit(token string, b []byte, expiry time.Time) error {
	return p.s.CommitCtx(context.Background(), token, b, expiry)
}

func (p plainFaulty) Delete(token string) error {
	return p.s.DeleteCtx(context.Background(), token)
}
func (p plainFaulty) All() (map[string][]byte, error) { return p.s.AllCtx(context.Background()) }
