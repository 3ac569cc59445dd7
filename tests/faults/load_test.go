//go:build unix

package faults

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/samesid/samesid/internal/leaktest"
)

const (
	// slowest is the maximum time of an answer, unless a test allows more: the store
	// calls of a request, each within its timeouts, and some time for a busy
	// machine.
	slowest = 5 * time.Second

	// utmost is the maximum with late answers and conflicts: the 10 seconds in which
	// a session must be saved, and two statements, the one that loads it and the last
	// one that begins within the 10 seconds. Each has one more second, in which a
	// Postgres server may answer a cancellation.
	utmost = 10*time.Second + 2*(timeout+time.Second)

	// patience is how long a test waits for an event that must come.
	patience = 30 * time.Second
)

// load is 16 clients that repeatedly read, write, log out and log in. It records the
// answers, and so knows what must be in the store.
type load struct {
	*system
	client *http.Client
	groups []*group
	halt   chan struct{}
	wg     sync.WaitGroup

	mu      sync.Mutex // also guards the fields of the groups and sessions
	changed chan struct{}
	phase   int  // the number of calls of next
	out     bool // nothing can succeed
	forgets bool // the server may lose sessions
	longest time.Duration
	limit   time.Duration // the maximum of longest
}

// group is a number of clients that share one session at a time.
type group struct {
	user    string
	size    int
	stays   bool // its clients never log out
	login   sync.Mutex
	current *session
	past    []*session
	tally   tally // counts this phase
}

type tally struct{ pages, writes, failed int }

func (t tally) ok() int { return t.pages + t.writes }

// session is what the clients know about a session.
type session struct {
	cookie    string
	sent      []string // the writes' ids
	acked     []string // those that were answered with 200
	leaving   bool     // a logout was sent
	ended     bool     // a logout was answered with 200
	forgotten bool     // the server may have lost it
}

// run starts the load and returns once all clients have had answers. sizes are the sizes
// of the groups; without any, the groups have the default sizes.
func (s *system) run(t *testing.T, sizes ...int) *load {
	t.Helper()
	if len(sizes) == 0 {
		sizes = []int{1, 1, 1, 1, 1, 1, 2, 4, 4}
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	l := &load{
		system:  s,
		client:  &http.Client{Transport: transport, Timeout: patience},
		halt:    make(chan struct{}),
		changed: make(chan struct{}),
		limit:   slowest,
	}
	l.system.t = t
	t.Cleanup(transport.CloseIdleConnections)
	t.Cleanup(l.stop)
	for i, size := range sizes {
		g := &group{user: fmt.Sprintf("user-%d", i), size: size, stays: i == 0}
		l.groups = append(l.groups, g)
		for j := range size {
			random := rand.New(rand.NewPCG(uint64(i), uint64(j)))
			l.wg.Go(func() { l.use(g, random, fmt.Sprintf("%d-", j)) })
		}
	}
	l.await("the first answers", each(func(c tally) bool { return c.ok() >= 10 }))
	return l
}

func (l *load) stop() {
	select {
	case <-l.halt:
	default:
		close(l.halt)
	}
	l.wg.Wait()
}

// use runs one client.
func (l *load) use(g *group, random *rand.Rand, prefix string) {
	for n := 0; ; n++ {
		select {
		case <-l.halt:
			return
		default:
		}
		s := l.session(g)
		if s == nil {
			continue
		}
		switch what := random.IntN(16); {
		case what == 0 && !g.stays:
			l.logout(g, s)
		case what < 6:
			l.page(g, s)
		default:
			l.write(g, s, fmt.Sprint(prefix, n))
		}
	}
}

// session returns the group's session. It logs in if there is none, and returns nil if
// that fails.
func (l *load) session(g *group) *session {
	g.login.Lock()
	defer g.login.Unlock()
	l.mu.Lock()
	s, forgets := g.current, l.forgets
	l.mu.Unlock()
	if s != nil {
		return s
	}
	form := url.Values{"username": {g.user}, "password": {password}}.Encode()
	status, header, _ := l.send(g, "POST", "/login", "", form)
	if status != http.StatusOK {
		l.unexpected("POST /login", status, http.StatusServiceUnavailable)
		return nil
	}
	cookie, _, _ := strings.Cut(header.Get("Set-Cookie"), ";")
	if cookie == "" {
		l.t.Error("a login without a cookie was answered with 200")
		return nil
	}
	leaktest.Note(strings.TrimPrefix(cookie, "connect.sid="))
	s = &session{cookie: cookie}
	l.mu.Lock()
	defer l.mu.Unlock()
	s.forgotten = forgets || l.forgets
	g.current, g.past = s, append(g.past, s)
	g.tally.writes++
	l.tell()
	return s
}

func (l *load) page(g *group, s *session) {
	status, _, body := l.send(g, "GET", "/page", s.cookie, "")
	switch {
	case status == http.StatusOK && body == "":
		l.nobody(g, s, "GET /page: nobody, with 200")
	case status == http.StatusOK && body != g.user:
		l.t.Errorf("GET /page: %q for %s", body, g.user)
	case status == http.StatusOK:
		l.succeeded(func() { g.tally.pages++ })
	default:
		l.unexpected("GET /page", status, http.StatusServiceUnavailable)
	}
}

func (l *load) write(g *group, s *session, id string) {
	l.mu.Lock()
	s.sent = append(s.sent, id)
	l.mu.Unlock()
	switch status, _, _ := l.send(g, "POST", "/write/"+id, s.cookie, ""); status {
	case http.StatusOK:
		l.succeeded(func() {
			g.tally.writes++
			s.acked = append(s.acked, id)
		})
	case http.StatusUnauthorized:
		l.nobody(g, s, "POST /write: 401")
	default:
		l.unexpected("POST /write", status, http.StatusServiceUnavailable)
	}
}

func (l *load) logout(g *group, s *session) {
	l.mu.Lock()
	s.leaving = true
	l.mu.Unlock()
	status, _, _ := l.send(g, "POST", "/logout", s.cookie, "")
	if status != http.StatusOK {
		l.unexpected("POST /logout", status, http.StatusServiceUnavailable)
		return
	}
	l.succeeded(func() {
		g.tally.writes++
		s.ended = true
		g.drop(s)
	})
}

// nobody records that a client was told that nobody is signed in, which is an error
// unless the session has ended.
func (l *load) nobody(g *group, s *session, what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !s.leaving && !s.forgotten {
		l.t.Errorf("%s for a client that is signed in", what)
	}
	g.drop(s)
}

func (g *group) drop(s *session) {
	if g.current == s {
		g.current = nil
	}
}

func (l *load) succeeded(note func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	note()
	l.tell()
}

func (l *load) tell() {
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *load) unexpected(what string, status, but int) {
	if status != but && status != 0 {
		l.t.Errorf("%s: %d", what, status)
	}
}

// send sends a request, and checks what must hold for every answer.
func (l *load) send(g *group, method, path, cookie, form string) (status int, header http.Header, body string) {
	l.mu.Lock()
	phase := l.phase
	l.mu.Unlock()
	began := time.Now()
	status, header, body, err := l.request(method, path, cookie, form)
	took := time.Since(began)

	l.mu.Lock()
	defer l.mu.Unlock()
	l.longest = max(l.longest, took)
	switch {
	case err != nil:
		l.t.Errorf("%s %s: %v", method, path, err)
	case took > l.limit:
		l.t.Errorf("%s %s: answered after %v, may take %v", method, path, took, l.limit)
	case status == http.StatusOK && l.out && l.phase == phase:
		l.t.Errorf("%s %s: answered with 200 and %q while the store was out", method, path, body)
	case status == http.StatusServiceUnavailable:
		if header.Get("Retry-After") == "" || header.Get("Set-Cookie") != "" {
			l.t.Errorf("%s %s: 503 with Retry-After %q and %d cookies", method, path, header["Retry-After"], len(header["Set-Cookie"]))
		}
		if l.phase == phase {
			g.tally.failed++
		}
		l.tell()
	}
	return status, header, body
}

func (l *load) request(method, path, cookie, form string) (status int, header http.Header, body string, err error) {
	r, err := http.NewRequest(method, l.url+path, strings.NewReader(form))
	if err != nil {
		return 0, nil, "", err
	}
	if form != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	}
	res, err := l.client.Do(r)
	if err != nil {
		return 0, nil, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, res.Header, string(b), err
}

// next begins a new phase and resets the tallies. With out, no request that begins in
// the phase may succeed.
func (l *load) next(out bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.phase++
	l.out = out
	for _, g := range l.groups {
		g.tally = tally{}
	}
}

// allow sets the maximum time of an answer.
func (l *load) allow(limit time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limit = limit
}

// forget records that the server may lose everything that was written so far.
func (l *load) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forgets = true
	for _, g := range l.groups {
		for _, s := range g.past {
			s.forgotten = true
		}
	}
}

// await waits until enough has happened in this phase.
func (l *load) await(what string, enough func([]*group) bool) {
	l.t.Helper()
	deadline := time.After(patience)
	for {
		l.mu.Lock()
		ok, changed := enough(l.groups), l.changed
		l.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			l.mu.Lock()
			defer l.mu.Unlock()
			var all []tally
			for _, g := range l.groups {
				all = append(all, g.tally)
			}
			l.t.Fatalf("%s: not within %v; {pages writes failed} of each session: %v", what, patience, all)
		}
	}
}

// each requires enough for the clients of each session.
func each(enough func(tally) bool) func([]*group) bool {
	return func(groups []*group) bool {
		return !slices.ContainsFunc(groups, func(g *group) bool { return !enough(g.tally) })
	}
}

// all requires enough for the sum over all clients.
func all(enough func(tally) bool) func([]*group) bool {
	return func(groups []*group) bool {
		var sum tally
		for _, g := range groups {
			sum.pages += g.tally.pages
			sum.writes += g.tally.writes
			sum.failed += g.tally.failed
		}
		return enough(sum)
	}
}

var (
	allFail      = each(func(c tally) bool { return c.failed >= 1 })
	allFailTwice = each(func(c tally) bool { return c.failed >= 2 })
	someFail     = all(func(c tally) bool { return c.failed >= 16 })
)

// recover waits until all clients are served again, without a restart of the app, and
// verifies everything that they were told.
func (l *load) recover() {
	l.t.Helper()
	l.next(false)
	began := time.Now()
	l.await("the recovery", each(func(c tally) bool { return c.pages >= 1 && c.writes >= 2 }))
	recovery := time.Since(began)
	l.stop()
	var acked, sent, found, ended int
	for _, g := range l.groups {
		for _, s := range g.past {
			n := l.verify(g, s)
			found += n
			sent += len(s.sent)
			acked += len(s.acked)
			if s.ended {
				ended++
			}
		}
	}
	l.t.Logf("%d writes sent, %d acknowledged, %d found in the sessions that live, %d logouts acknowledged; the longest answer took %v, the recovery %v",
		sent, acked, found, ended, l.longest.Round(time.Millisecond), recovery.Round(time.Millisecond))
}

// verify compares a session's content with what its clients were told.
func (l *load) verify(g *group, s *session) (n int) {
	l.t.Helper()
	status, _, body := l.send(g, "GET", "/written", s.cookie, "")
	for began := time.Now(); status == http.StatusServiceUnavailable && time.Since(began) < patience; {
		status, _, body = l.send(g, "GET", "/written", s.cookie, "")
	}
	switch {
	case s.forgotten && !s.ended:
		return 0
	case s.ended && status == http.StatusUnauthorized, s.leaving && status == http.StatusUnauthorized:
		return 0
	case s.ended:
		l.t.Errorf("%s: a session that was logged out of is alive: %d", g.user, status)
		return 0
	case status != http.StatusOK:
		l.t.Errorf("%s: a session has become %d", g.user, status)
		return 0
	}
	var found found
	if err := json.Unmarshal([]byte(body), &found); err != nil {
		l.t.Error(err)
	}
	missing := func(of, in []string) (ids []string) {
		for _, id := range of {
			if !slices.Contains(in, id) {
				ids = append(ids, id)
			}
		}
		return ids
	}
	if ids := missing(s.acked, found.IDs); len(ids) > 0 {
		l.t.Errorf("%s: acknowledged and lost: %q", g.user, ids)
	}
	if ids := missing(found.IDs, s.sent); len(ids) > 0 {
		l.t.Errorf("%s: never sent: %q", g.user, ids)
	}
	if g.size == 1 && found.Count != len(found.IDs) {
		l.t.Errorf("%s: %d writes have counted %d times", g.user, len(found.IDs), found.Count)
	}
	return len(found.IDs)
}
