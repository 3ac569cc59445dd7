//go:build unix

package rig

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Slowest is the maximum time of an answer, unless a test allows more: the store calls
// of a request, each within its timeouts, and some time for a busy machine.
const Slowest = 5 * time.Second

// Load is clients that repeatedly read, write, log out and log in. It records the
// answers, and so knows what must be in the store.
type Load struct {
	t      testing.TB
	client *http.Client
	pace   time.Duration
	halt   chan struct{}
	wg     sync.WaitGroup

	mu      sync.Mutex // also guards the fields of the groups and sessions
	Groups  []*Group
	urls    []string
	turn    int
	changed chan struct{}
	phase   int  // the number of calls of Next
	out     bool // nothing can succeed
	forgets bool // the store may lose sessions
	longest time.Duration
	limit   time.Duration // the maximum of longest
}

// Group is a number of clients that share one session at a time.
type Group struct {
	User    string
	size    int
	stays   bool // its clients never log out
	login   sync.Mutex
	current *session
	past    []*session
	Tally   Tally // counts this phase; see Load.Do
}

// Tally counts answers.
type Tally struct{ Pages, Writes, Failed, Logouts int }

// OK is the number of requests that have succeeded.
func (t Tally) OK() int { return t.Pages + t.Writes }

// session is what the clients know about a session.
type session struct {
	cookie    string   // as it was last signed
	sent      []string // the writes' ids
	acked     []string // those that were answered with 200
	leaving   bool     // a logout was sent
	ended     bool     // a logout was answered with 200
	forgotten bool     // the store may have lost it
	final     bool     // the logout has ended it in the store: it was not lost before
}

// Options are those of a Load.
type Options struct {
	// Sizes are the numbers of clients of each group. Zero value: 10 clients of six
	// sessions.
	Sizes []int

	// Stays means that the first group never logs out.
	Stays bool

	// Pace is the mean pause of a client between two requests. Zero value: none.
	Pace time.Duration

	// Limit is the maximum time of an answer. Zero value: Slowest.
	Limit time.Duration

	// Dial connects to an app. Zero value: over TCP.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Start starts the load, which sends its requests to the apps at urls in turn, and returns
// once all clients have had answers.
func Start(t testing.TB, urls []string, o Options) *Load {
	t.Helper()
	if o.Sizes == nil {
		o.Sizes = []int{1, 1, 1, 1, 2, 4}
	}
	if o.Limit == 0 {
		o.Limit = Slowest
	}
	clients := 0
	for _, size := range o.Sizes {
		clients += size
	}
	transport := &http.Transport{MaxIdleConnsPerHost: clients, DialContext: o.Dial}
	l := &Load{
		t:      t,
		client: &http.Client{Transport: transport, Timeout: Patience},
		urls:   slices.Clone(urls), pace: o.Pace, limit: o.Limit,
		halt: make(chan struct{}), changed: make(chan struct{}),
	}
	t.Cleanup(transport.CloseIdleConnections)
	t.Cleanup(l.Stop)
	for i, size := range o.Sizes {
		g := &Group{User: fmt.Sprintf("user-%d", i), size: size, stays: i == 0 && o.Stays}
		l.Groups = append(l.Groups, g)
	}
	for i, g := range l.Groups {
		for j := range g.size {
			random := rand.New(rand.NewPCG(uint64(i), uint64(j)))
			l.wg.Go(func() { l.use(g, random, fmt.Sprintf("%d-", j)) })
		}
	}
	l.Await("the first answers", Each(func(c Tally) bool { return c.OK() >= 3 }))
	return l
}

// Stop ends the load, once the running requests are over.
func (l *Load) Stop() {
	select {
	case <-l.halt:
	default:
		close(l.halt)
	}
	l.wg.Wait()
}

// use runs one client.
func (l *Load) use(g *Group, random *rand.Rand, prefix string) {
	for n := 0; ; n++ {
		pause := time.NewTimer(time.Duration(random.Int64N(int64(2*l.pace + 1))))
		select {
		case <-l.halt:
			return
		case <-pause.C:
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

// Cookie returns the cookie of the group's session.
func (l *Load) Cookie(g *Group) string {
	for {
		if s := l.session(g); s != nil {
			l.mu.Lock()
			defer l.mu.Unlock()
			return s.cookie
		}
	}
}

// session returns the group's session. It logs in if there is none, and returns nil if
// that fails.
func (l *Load) session(g *Group) *session {
	g.login.Lock()
	defer g.login.Unlock()
	l.mu.Lock()
	s, forgets := g.current, l.forgets
	l.mu.Unlock()
	if s != nil {
		return s
	}
	a := l.send(g, nil, "POST", "/login", Credentials(g.User, Password))
	if a.Status != http.StatusOK {
		l.unexpected("POST /login", a)
		return nil
	}
	if a.Cookie() == "" {
		l.t.Error("a login without a cookie was answered with 200")
		return nil
	}
	s = &session{cookie: a.Cookie()}
	l.Do(func() {
		s.forgotten = forgets || l.forgets
		g.current, g.past = s, append(g.past, s)
		g.Tally.Writes++
	})
	return s
}

func (l *Load) page(g *Group, s *session) {
	switch a := l.send(g, s, "GET", "/page", ""); {
	case a.Status == http.StatusOK && a.Body == "":
		l.nobody(g, s, "GET /page: nobody, with 200")
	case a.Status == http.StatusOK && a.Body != g.User:
		l.t.Errorf("GET /page: %q for %s", a.Body, g.User)
	case a.Status == http.StatusOK:
		l.Do(func() { g.Tally.Pages++ })
	default:
		l.unexpected("GET /page", a)
	}
}

func (l *Load) write(g *Group, s *session, id string) {
	l.Do(func() { s.sent = append(s.sent, id) })
	switch a := l.send(g, s, "POST", "/count/"+id, ""); a.Status {
	case http.StatusOK:
		l.Do(func() {
			g.Tally.Writes++
			s.acked = append(s.acked, id)
		})
	case http.StatusUnauthorized:
		l.nobody(g, s, "POST /count: 401")
	default:
		l.unexpected("POST /count", a)
	}
}

func (l *Load) logout(g *Group, s *session) {
	l.Do(func() { s.leaving = true })
	a := l.send(g, s, "POST", "/logout", "")
	if a.Status != http.StatusOK {
		l.unexpected("POST /logout", a)
		return
	}
	l.Do(func() {
		g.Tally.Writes++
		g.Tally.Logouts++
		s.ended, s.final = true, !s.forgotten
		g.drop(s)
	})
}

// nobody records that a client was told that nobody is signed in, which is an error
// unless the session has ended.
func (l *Load) nobody(g *Group, s *session, what string) {
	l.Do(func() {
		if !s.leaving && !s.forgotten {
			l.t.Errorf("%s for a client that is signed in", what)
		}
		g.drop(s)
	})
}

func (g *Group) drop(s *session) {
	if g.current == s {
		g.current = nil
	}
}

// Do calls fn, which may read and change the fields.
func (l *Load) Do(fn func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fn()
	close(l.changed)
	l.changed = make(chan struct{})
}

// unexpected fails the test unless the answer is one of a store that fails.
func (l *Load) unexpected(what string, a Answer) {
	if a.Status != http.StatusServiceUnavailable && a.Status != 0 {
		l.t.Errorf("%s: %v", what, a)
	}
}

// send sends a request, and checks what must hold for every answer.
func (l *Load) send(g *Group, s *session, method, path, form string) Answer {
	var url, cookie string
	var phase int
	var ended bool
	l.Do(func() {
		for i := 0; url == "" && i < len(l.urls); i++ {
			l.turn++
			url = l.urls[l.turn%len(l.urls)]
		}
		phase = l.phase
		if s != nil {
			cookie, ended = s.cookie, s.final
		}
	})
	began := time.Now()
	a := Do(context.Background(), l.client, method, url+path, cookie, form)
	took := time.Since(began)

	l.Do(func() {
		if s != nil && ID(a.Cookie()) == ID(cookie) {
			s.cookie = a.Cookie() // signed anew
		}
		l.longest = max(l.longest, took)
		switch {
		case a.Err != nil && !slices.Contains(l.urls, url): // Down
			a = Answer{}
		case a.Err != nil:
			l.t.Errorf("%s %s: %v", method, path, a.Err)
		case took > l.limit:
			l.t.Errorf("%s %s: answered after %v, may take %v", method, path, took, l.limit)
		case a.Status == http.StatusOK && l.out && l.phase == phase:
			l.t.Errorf("%s %s: answered with 200 and %q while the store was out", method, path, a.Body)
		case a.Status == http.StatusOK && ended && (path != "/page" || a.Body != "") && path != "/logout":
			l.t.Errorf("%s %s: %v after the logout", method, path, a)
		case a.Status == http.StatusServiceUnavailable:
			if a.Header.Get("Retry-After") == "" || a.Cookie() != "" {
				l.t.Errorf("%s %s: 503 with Retry-After %q and %d cookies", method, path, a.Header["Retry-After"], len(a.Header["Set-Cookie"]))
			}
			if l.phase == phase {
				g.Tally.Failed++
			}
		}
	})
	return a
}

// Next begins a new phase and resets the tallies. With out, no request that begins in
// the phase may succeed.
func (l *Load) Next(out bool) {
	l.Do(func() {
		l.phase++
		l.out = out
		for _, g := range l.Groups {
			g.Tally = Tally{}
		}
	})
}

// Down stops sending requests to an app, whose running requests may have no answer.
func (l *Load) Down(url string) { l.Move(url, "") }

// Move sends requests to another app instead.
func (l *Load) Move(from, to string) {
	l.Do(func() { l.urls[slices.Index(l.urls, from)] = to })
}

// Forget records that the store may lose all that is written until its end is called.
func (l *Load) Forget() (end func()) {
	l.Do(func() {
		l.forgets = true
		for _, g := range l.Groups {
			for _, s := range g.past {
				s.forgotten = true
			}
		}
	})
	return func() { l.Do(func() { l.forgets = false }) }
}

// Await waits until enough has happened in this phase.
func (l *Load) Await(what string, enough func([]*Group) bool) {
	l.t.Helper()
	deadline := time.After(Patience)
	for {
		l.mu.Lock()
		ok, changed := enough(l.Groups), l.changed
		l.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			l.mu.Lock()
			defer l.mu.Unlock()
			var all []Tally
			for _, g := range l.Groups {
				all = append(all, g.Tally)
			}
			l.t.Fatalf("%s: not within %v; %+v", what, Patience, all)
		}
	}
}

// Each requires enough for the clients of each session.
func Each(enough func(Tally) bool) func([]*Group) bool {
	return func(groups []*Group) bool {
		return !slices.ContainsFunc(groups, func(g *Group) bool { return !enough(g.Tally) })
	}
}

// Sum requires enough for the sum over all clients.
func Sum(enough func(Tally) bool) func([]*Group) bool {
	return func(groups []*Group) bool {
		var sum Tally
		for _, g := range groups {
			sum.Pages += g.Tally.Pages
			sum.Writes += g.Tally.Writes
			sum.Failed += g.Tally.Failed
			sum.Logouts += g.Tally.Logouts
		}
		return enough(sum)
	}
}

// Recover waits until all clients are served again, without a restart of the app, and
// verifies everything that they were told.
func (l *Load) Recover() {
	l.t.Helper()
	l.Next(false)
	began := time.Now()
	l.Await("the recovery", Each(func(c Tally) bool { return c.Pages >= 1 && c.Writes >= 2 }))
	recovery := time.Since(began)
	l.Stop()
	l.Verify()
	l.t.Logf("the longest answer took %v, the recovery %v", l.longest.Round(time.Millisecond), recovery.Round(time.Millisecond))
}

// Verify compares the sessions with what their clients were told. The load has stopped.
func (l *Load) Verify() {
	l.t.Helper()
	var acked, sent, found, ended int
	for _, g := range l.Groups {
		for _, s := range g.past {
			found += l.verify(g, s)
			sent += len(s.sent)
			acked += len(s.acked)
			if s.ended {
				ended++
			}
		}
	}
	l.t.Logf("%d writes sent, %d acknowledged, %d found in the sessions that live, %d logouts acknowledged", sent, acked, found, ended)
}

func (l *Load) verify(g *Group, s *session) (n int) {
	l.t.Helper()
	a := l.send(g, s, "GET", "/me", "")
	for began := time.Now(); a.Status == http.StatusServiceUnavailable && time.Since(began) < Patience; {
		a = l.send(g, s, "GET", "/me", "")
	}
	switch {
	case s.forgotten && !s.final:
		return 0
	case s.ended && a.Status == http.StatusUnauthorized, s.leaving && a.Status == http.StatusUnauthorized:
		return 0
	case s.ended:
		l.t.Errorf("%s: a session that was logged out of is alive: %v", g.User, a)
		return 0
	case a.Status != http.StatusOK:
		l.t.Errorf("%s: a session has become %v", g.User, a)
		return 0
	}
	var ids []string
	count := "count=0"
	for _, field := range strings.Fields(a.Body)[1:] {
		if id, ok := strings.CutSuffix(field, "="); ok { // written by /count, without a value
			ids = append(ids, id)
		} else {
			count = field
		}
	}
	missing := func(of, in []string) (ids []string) {
		for _, id := range of {
			if !slices.Contains(in, id) {
				ids = append(ids, id)
			}
		}
		return ids
	}
	if ids := missing(s.acked, ids); len(ids) > 0 {
		l.t.Errorf("%s: acknowledged and lost: %q", g.User, ids)
	}
	if ids := missing(ids, s.sent); len(ids) > 0 {
		l.t.Errorf("%s: never sent: %q", g.User, ids)
	}
	if want := fmt.Sprintf("count=%d", len(ids)); g.size == 1 && count != want {
		l.t.Errorf("%s: %d writes have counted as %s", g.User, len(ids), count)
	}
	return len(ids)
}
