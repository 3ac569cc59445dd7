package auth

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// wider is the factor by which the limits of one address (at all accounts) and
	// of one account (from all addresses) exceed those of one address at one account.
	wider = 10

	// wideNetwork is the factor by which the limit of an IPv6 /56 exceeds that of a /64, and
	// the limit of a /48 that of a /56.
	wideNetwork = 4

	// maxCounters bounds the number of counters of each kind.
	maxCounters = 1 << 16

	// sample is how many entries dropOne considers.
	sample = 16
)

// limits counts logins.
type limits struct {
	mu    sync.Mutex
	seed  maphash.Seed
	start time.Time // times are counted from it, by the monotonic clock

	// Failed logins.
	pairs    counters    // one address at one account
	networks [3]counters // one address, or the network around it, at all accounts
	accounts counters    // one account from all addresses
	// known exempts addresses from networks and accounts. It is separate from the counters,
	// so that failures can't evict its entries.
	known known

	// Successful logins. Only who has the credentials can use these up.
	logins        counters // one address at one account
	accountLogins counters // one account from all addresses
}

// newLimits returns limits that hold up to bound counters of each kind, and the known
// addresses of up to accounts accounts.
func newLimits(attempts, logins int, window time.Duration, bound, accounts int) *limits {
	return &limits{
		seed:  maphash.MakeSeed(),
		start: time.Now(),
		pairs: newCounters(attempts, window, bound),
		networks: [3]counters{
			newCounters(wider*attempts, window, bound),
			newCounters(wider*attempts*wideNetwork, window, bound),
			newCounters(wider*attempts*wideNetwork*wideNetwork, window, bound),
		},
		accounts:      newCounters(wider*attempts, window, bound),
		known:         known{byAccount: map[uint64][]knownAddress{}, bound: accounts},
		logins:        newCounters(logins, window, bound),
		accountLogins: newCounters(wider*logins, window, bound),
	}
}

// A use is a counter that an attempt uses.
type use struct {
	in  *counters
	key uint64
}

// An attempt is a login that is being verified.
type attempt struct {
	limits  *limits
	account uint64
	address uint64
	fails   []use // to be taken from if it fails
	logs    []use // to be taken from if it succeeds
}

// A result is the outcome of an attempt.
type result int

const (
	failed    result = iota // counts against the limits of failures
	succeeded               // counts against those of logins, and makes the address known
	undecided               // does not count: the Verifier itself failed
)

// begin reserves one attempt at an account from a client, whose networks are the address
// by which it is counted, and wider ones. It returns nil and the time to wait if none is
// left. The caller must end the attempt. It counts as pending until then, so that
// concurrent attempts can't exceed the limit of failures.
func (l *limits) begin(username string, networks ...string) (*attempt, time.Duration) {
	// Many systems ignore case and surrounding spaces in a username.
	name := strings.ToLower(strings.TrimSpace(username))
	// Hashed keys have a fixed size, however long the username is. The secret
	// seed keeps clients from finding collisions.
	pair := maphash.Comparable(l.seed, [2]string{name, networks[0]})
	account := maphash.String(l.seed, name)
	a := &attempt{limits: l, account: account, address: maphash.String(l.seed, networks[0])}
	a.logs = []use{{&l.logins, pair}, {&l.accountLogins, account}}

	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Since(l.start)
	a.fails = []use{{&l.pairs, pair}}
	if !l.known.has(account, a.address, now) {
		a.fails = append(a.fails, use{&l.accounts, account})
		for i, network := range networks {
			a.fails = append(a.fails, use{&l.networks[i], maphash.String(l.seed, network)})
		}
	}
	var wait time.Duration
	for _, u := range slices.Concat(a.fails, a.logs) {
		wait = max(wait, u.in.wait(u.key, now))
	}
	if wait > 0 {
		return nil, wait
	}
	for _, u := range a.fails {
		u.in.add(u.key, 1, now)
	}
	return a, 0
}

func (a *attempt) end(r result) {
	l := a.limits
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Since(l.start)
	for _, u := range a.fails {
		u.in.add(u.key, -1, now)
		if r == failed {
			u.in.take(u.key, now)
		}
	}
	if r == succeeded {
		for _, u := range a.logs {
			u.in.take(u.key, now)
		}
		l.known.add(a.account, a.address, now)
	}
}

// A counter is a token bucket with one token for each attempt that is left, by the
// generic cell rate algorithm: full is when it has all of them again.
type counter struct {
	full    time.Duration
	pending int // attempts that have begun but not ended
}

// counters holds the counters of one kind, by hashed key. A key without a counter
// has all its attempts left.
type counters struct {
	burst int
	every time.Duration // until the next token
	bound int
	byKey map[uint64]counter
}

func newCounters(attempts int, window time.Duration, bound int) counters {
	return counters{
		burst: attempts,
		every: max(1, window/time.Duration(attempts)),
		bound: bound,
		byKey: map[uint64]counter{},
	}
}

// wait returns the time until a key has an attempt, or 0 if it has one now.
func (cs *counters) wait(key uint64, now time.Duration) time.Duration {
	c, ok := cs.byKey[key]
	if !ok {
		return 0
	}
	room := now + time.Duration(cs.burst)*cs.every - max(c.full, now) // for tokens that are left
	switch {
	case room < cs.every:
		return cs.every - room
	case room < time.Duration(c.pending+1)*cs.every:
		return time.Second // the pending attempts may still succeed
	}
	return 0
}

// add changes how many attempts are pending.
func (cs *counters) add(key uint64, pending int, now time.Duration) {
	c := cs.counter(key, now)
	c.pending += pending
	if c.pending == 0 && c.full <= now {
		delete(cs.byKey, key)
		return
	}
	cs.byKey[key] = c
}

// take takes a token.
func (cs *counters) take(key uint64, now time.Duration) {
	c := cs.counter(key, now)
	c.full = max(c.full, now) + cs.every
	cs.byKey[key] = c
}

// counter returns a key's counter. To make room for a new one, it evicts the
// counter with the most attempts left from a small sample, but none with a pending
// attempt. A client that has none left can't evict its own counter by filling the memory
// with others.
func (cs *counters) counter(key uint64, now time.Duration) counter {
	c, ok := cs.byKey[key]
	if ok {
		return c
	}
	if len(cs.byKey) >= cs.bound {
		dropOne(cs.byKey, func(c counter) (time.Duration, bool) {
			return max(c.full, now), c.pending == 0
		})
	}
	return counter{full: now} // a clock that a test has set back may be before start
}

// dropOne deletes the entry with the lowest score in a small sample, of those that may go.
func dropOne[V any](m map[uint64]V, score func(V) (score time.Duration, mayGo bool)) {
	var (
		lowest time.Duration
		victim uint64
		found  bool
		seen   int
	)
	for k, v := range m { // the order is random, so the first entries are a sample
		if s, mayGo := score(v); mayGo && (!found || s < lowest) {
			lowest, victim, found = s, k, true
		}
		if seen++; seen == sample {
			break
		}
	}
	if found {
		delete(m, victim)
	}
}
