package auth

import (
	"hash/maphash"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// wider is the factor by which the limits of one address (at all accounts) and
	// of one account (from all addresses) exceed Attempts.
	wider = 10

	// maxCounters bounds the number of counters of each kind, and of known addresses.
	maxCounters = 1 << 16

	// knownFor is how long an address stays known after a login from it.
	knownFor = 30 * 24 * time.Hour

	// sample is how many entries dropOne considers.
	sample = 16
)

// limits counts failed logins.
type limits struct {
	mu        sync.Mutex
	seed      maphash.Seed
	pairs     counters // one address at one account
	addresses counters // one address at all accounts
	accounts  counters // one account from all addresses
	// known maps a pair to the time of its last successful login. It is
	// separate from the counters so that failures can't evict its entries.
	known map[uint64]time.Time
	bound int // of known
}

// newLimits returns limits that hold up to bound entries of each kind.
func newLimits(attempts int, window time.Duration, bound int) *limits {
	return &limits{
		seed:      maphash.MakeSeed(),
		pairs:     newCounters(attempts, window, bound),
		addresses: newCounters(wider*attempts, window, bound),
		accounts:  newCounters(wider*attempts, window, bound),
		known:     map[uint64]time.Time{},
		bound:     bound,
	}
}

// An attempt is a login that is being verified.
type attempt struct {
	limits *limits
	pair   uint64
	uses   []*counter
}

// A result is the outcome of an attempt.
type result int

const (
	failed    result = iota // counts against the limits
	succeeded               // does not count, and makes the address known
	undecided               // does not count: the Verifier itself failed
)

// begin reserves one attempt at an account from an address. It returns nil and
// the time to wait if none is left. The caller must end the attempt. It counts as
// pending until then, so that concurrent attempts can't exceed the limit.
func (l *limits) begin(username, address string) (*attempt, time.Duration) {
	// Many systems ignore case and surrounding spaces in a username.
	account := strings.ToLower(strings.TrimSpace(username))
	// Hashed keys have a fixed size, however long the username is. The secret
	// seed keeps clients from finding collisions.
	a := &attempt{limits: l, pair: maphash.Comparable(l.seed, [2]string{account, address})}

	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	type use struct {
		in  *counters
		key uint64
	}
	uses := []use{{&l.pairs, a.pair}}
	if at, ok := l.known[a.pair]; !ok || now.Sub(at) > knownFor {
		uses = append(uses,
			use{&l.addresses, maphash.String(l.seed, address)},
			use{&l.accounts, maphash.String(l.seed, account)})
	}
	var wait time.Duration
	for _, u := range uses {
		wait = max(wait, u.in.wait(u.key, now))
	}
	if wait > 0 {
		return nil, wait
	}
	for _, u := range uses {
		c := u.in.counter(u.key, now)
		c.pending++
		a.uses = append(a.uses, c)
	}
	return a, 0
}

func (a *attempt) end(r result) {
	l := a.limits
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for _, c := range a.uses {
		c.pending--
		if r == failed {
			c.AllowN(now, 1)
		}
	}
	if r != succeeded {
		return
	}
	if _, ok := l.known[a.pair]; !ok && len(l.known) >= l.bound {
		dropOne(l.known, func(at time.Time) float64 { return now.Sub(at).Seconds() })
	}
	l.known[a.pair] = now
}

// A counter is a token bucket with one token for each attempt that is left.
type counter struct {
	*rate.Limiter
	pending int // attempts that have begun but not ended
}

// counters holds the counters of one kind, by hashed key. A key without a counter
// has all its attempts left.
type counters struct {
	burst int
	every rate.Limit
	bound int
	byKey map[uint64]*counter
}

func newCounters(attempts int, window time.Duration, bound int) counters {
	return counters{
		burst: attempts,
		every: rate.Every(window / time.Duration(attempts)),
		bound: bound,
		byKey: map[uint64]*counter{},
	}
}

// wait returns the time until a key has an attempt, or 0 if it has one now.
func (cs *counters) wait(key uint64, now time.Time) time.Duration {
	c, ok := cs.byKey[key]
	if !ok {
		return 0
	}
	tokens := c.TokensAt(now)
	switch {
	case tokens < 1:
		return max(1, time.Duration((1-tokens)/float64(cs.every)*float64(time.Second)))
	case tokens-float64(c.pending) < 1:
		return time.Second // the pending attempts may still succeed
	}
	return 0
}

// counter returns a key's counter. To make room for a new one, it evicts the
// counter with the most attempts left from a small sample. A client that has none
// left can't evict its own counter by filling the memory with others.
func (cs *counters) counter(key uint64, now time.Time) *counter {
	c, ok := cs.byKey[key]
	if !ok {
		if len(cs.byKey) >= cs.bound {
			dropOne(cs.byKey, func(c *counter) float64 {
				if c.pending > 0 {
					return -1
				}
				return c.TokensAt(now)
			})
		}
		c = &counter{Limiter: rate.NewLimiter(cs.every, cs.burst)}
		cs.byKey[key] = c
	}
	return c
}

// dropOne deletes the entry with the highest score in a small sample, unless that
// score is negative.
func dropOne[V any](m map[uint64]V, score func(V) float64) {
	var (
		worst   uint64
		highest = -1.0
		seen    int
	)
	for k, v := range m { // the order is random, so the first entries are a sample
		if s := score(v); s > highest {
			worst, highest = k, s
		}
		if seen++; seen == sample {
			break
		}
	}
	if highest >= 0 {
		delete(m, worst)
	}
}
