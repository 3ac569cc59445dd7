package auth

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// try makes one attempt, and returns how long to wait if none was left.
func (l *limits) try(username, address string, r result, wider ...string) time.Duration {
	a, wait := l.begin(username, append([]string{address}, wider...)...)
	if a != nil {
		a.end(r)
	}
	return wait
}

// left uses up the attempts that are left, and returns how many there were.
func (l *limits) left(username, address string) int {
	n := 0
	for l.try(username, address, failed) == 0 {
		n++
	}
	return n
}

func TestLimits(t *testing.T) {
	const window = 15 * time.Minute
	for _, tt := range []struct {
		name string
		test func(*testing.T, *limits)
	}{
		{"a client at an account", func(t *testing.T, l *limits) {
			if n := l.left("ada", "a"); n != 10 {
				t.Errorf("%d attempts, want 10", n)
			}
			if wait := l.try("ada", "a", failed); wait != window/10 {
				t.Errorf("wait %v, want %v", wait, window/10)
			}
			time.Sleep(window / 10)
			if n := l.left("ada", "a"); n != 1 {
				t.Errorf("%d attempts after the wait, want 1", n)
			}
			time.Sleep(window)
			if n := l.left("ada", "a"); n != 10 {
				t.Errorf("%d attempts after the window, want 10", n)
			}
		}},
		{"others are not concerned", func(t *testing.T, l *limits) {
			l.left("ada", "a")
			if n := l.left("ada", "b"); n != 10 {
				t.Errorf("%d attempts from another address, want 10", n)
			}
			if n := l.left("bob", "a"); n != 10 {
				t.Errorf("%d attempts at another account, want 10", n)
			}
		}},
		{"spellings of a name", func(t *testing.T, l *limits) {
			l.left("ada", "a")
			if n := l.left(" ADA ", "a"); n != 0 {
				t.Errorf("%d more attempts by another spelling", n)
			}
		}},
		{"a client at all accounts", func(t *testing.T, l *limits) {
			n := 0
			for i := range 1000 {
				if l.try(fmt.Sprint("user", i), "a", failed) == 0 {
					n++
				}
			}
			if n != 100 {
				t.Errorf("%d attempts, want 100", n)
			}
			if len(l.pairs.byKey) != 100 || len(l.accounts.byKey) != 100 {
				t.Error("refused attempts took memory")
			}
		}},
		{"all clients at an account", func(t *testing.T, l *limits) {
			n := 0
			for i := range 1000 {
				if l.try("ada", fmt.Sprint(i), failed) == 0 {
					n++
				}
			}
			if n != 100 {
				t.Errorf("%d attempts, want 100", n)
			}
			if n := l.left("bob", "0"); n != 10 {
				t.Errorf("%d attempts at another account, want 10", n)
			}
		}},
		{"the owner is not locked out", func(t *testing.T, l *limits) {
			l.try("ada", "home", succeeded)
			time.Sleep(29 * 24 * time.Hour)
			for i := range 1000 {
				l.try("ada", fmt.Sprint(i), failed)
				l.try(fmt.Sprint("user", i), "home", failed)
			}
			if wait := l.try("ada", "hotel", succeeded); wait == 0 {
				t.Error("the account's own limit is not reached")
			}
			if n := l.left("ada", "home"); n != 10 {
				t.Errorf("%d attempts from a known address, want 10", n)
			}
		}},
		{"known for 30 days", func(t *testing.T, l *limits) {
			l.try("ada", "home", succeeded)
			time.Sleep(31 * 24 * time.Hour)
			for i := range 1000 {
				l.try("ada", fmt.Sprint(i), failed)
			}
			if n := l.left("ada", "home"); n != 0 {
				t.Errorf("%d attempts from an address known long ago", n)
			}
		}},
		{"a success does not count", func(t *testing.T, l *limits) {
			for range 99 {
				l.try("ada", "a", succeeded)
				l.try("ada", "b", undecided)
			}
			if n := l.left("ada", "a"); n != 10 {
				t.Errorf("%d attempts after successes, want 10", n)
			}
			if n := l.left("ada", "b"); n != 10 {
				t.Errorf("%d attempts after a failing Verifier, want 10", n)
			}
		}},
		{"successes from one address", func(t *testing.T, l *limits) {
			for i := range 100 {
				if l.try("ada", "a", succeeded) != 0 {
					t.Fatalf("login %d was refused", i)
				}
			}
			if wait := l.try("ada", "a", succeeded); wait != window/100 {
				t.Errorf("wait %v, want %v", wait, window/100)
			}
			if l.try("ada", "b", succeeded) != 0 || l.try("bob", "a", succeeded) != 0 {
				t.Error("another address, or another account, was refused")
			}
			time.Sleep(window / 100)
			if l.try("ada", "a", succeeded) != 0 || l.try("ada", "a", succeeded) == 0 {
				t.Error("after the wait there is not one login")
			}
		}},
		{"successes from all addresses", func(t *testing.T, l *limits) {
			n := 0
			for i := range 5000 {
				if l.try("ada", fmt.Sprint(i), succeeded) == 0 {
					n++
				}
			}
			if n != 1000 {
				t.Errorf("%d logins, want 1000", n)
			}
		}},
		{"the networks around an address", func(t *testing.T, l *limits) {
			// user i is guessed at from /64 number i of /56 number i/256, all of one /48.
			spray := func(from, to int) (n int) {
				for i := from; i < to; i++ {
					if l.try(fmt.Sprint("user", i), fmt.Sprint("64-", i), failed, fmt.Sprint("56-", i/256), "48") == 0 {
						n++
					}
				}
				return n
			}
			for i := range 1000 { // as many as one /56 has
				l.try(fmt.Sprint("first", i), fmt.Sprint("64-first", i), failed, "56-first", "48")
			}
			if n := len(l.networks[0].byKey); n != 400 {
				t.Errorf("%d attempts from one /56, want 400", n)
			}
			if n := spray(0, 4096); n != 1200 {
				t.Errorf("%d more attempts from one /48, want 1200", n)
			}
			if l.try("ada", "64-else", failed, "56-else", "48-else") != 0 {
				t.Error("another network was refused")
			}
			time.Sleep(window)
			l.try("ada", "64-0", succeeded, "56-0", "48")
			spray(0, 4096)
			if l.try("ada", "64-0", succeeded, "56-0", "48") != 0 {
				t.Error("a known address was refused because of its network")
			}
		}},
		{"a success gives nothing back", func(t *testing.T, l *limits) {
			for range 9 {
				l.try("ada", "a", failed)
			}
			l.try("ada", "a", succeeded)
			if n := l.left("ada", "a"); n != 1 {
				t.Errorf("%d attempts, want 1", n)
			}
		}},
		{"at the same time", func(t *testing.T, l *limits) {
			var begun []*attempt
			for range 100 {
				a, wait := l.begin("ada", "a")
				if a == nil {
					if wait != time.Second {
						t.Errorf("wait %v, want a second", wait)
					}
					break
				}
				begun = append(begun, a)
			}
			if len(begun) != 10 {
				t.Fatalf("%d attempts at the same time, want 10", len(begun))
			}
			for _, a := range begun {
				a.end(undecided)
			}
			if n := l.left("ada", "a"); n != 10 {
				t.Errorf("%d attempts afterwards, want 10", n)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { tt.test(t, newLimits(10, 100, window, maxCounters, maxKnownAccounts)) })
		})
	}
}

// Memory is bounded, and a client can't evict its own counter by filling it.
func TestLimitsUnderFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const bound = 1000
		l := newLimits(10, 100, 15*time.Minute, bound, bound)
		l.left("ada", "attacker")
		for i := range 100 {
			l.try(fmt.Sprint("user", i), "spray", failed)
		}
		l.try("owner", "home", succeeded)
		for i := range 3 * bound {
			name := fmt.Sprint(i)
			l.try(name, name, failed)
		}
		for kind, n := range map[string]int{
			"pairs":     len(l.pairs.byKey),
			"addresses": len(l.networks[0].byKey),
			"accounts":  len(l.accounts.byKey),
		} {
			if n != bound {
				t.Errorf("%d %s, want %d", n, kind, bound)
			}
		}
		if n := l.left("ada", "attacker"); n != 0 {
			t.Errorf("%d more attempts after a flood", n)
		}
		if wait := l.try("someone", "spray", failed); wait == 0 {
			t.Error("the address has attempts again after a flood")
		}
		if len(l.known.byAccount) != 1 {
			t.Error("failures pushed a known address out")
		}
	})
}

// A counter with a pending attempt is not evicted.
func TestPendingSurvivesFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const bound = 1000
		l := newLimits(10, 100, 15*time.Minute, bound, bound)
		var begun []*attempt
		for range 10 {
			a, _ := l.begin("ada", "a")
			begun = append(begun, a)
		}
		for i := range 2 * bound {
			name := fmt.Sprint(i)
			l.try(name, name, failed)
		}
		if l.try("ada", "a", failed) == 0 {
			t.Error("a flood has made room for one more attempt at the same time")
		}
		for _, a := range begun {
			a.end(failed)
		}
		if n := l.left("ada", "a"); n != 0 {
			t.Errorf("%d more attempts, want 0", n)
		}
	})
}

// Logins of one's own, however many and from wherever, push no other account's address
// out.
func TestKnownAddressesOfOthersStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const window, bound = 15 * time.Minute, 1000
		l := newLimits(10, 100, window, bound, bound)
		l.try("ada", "home", succeeded)
		own := 0
		for round := range 3 {
			for i := range 1000 {
				if l.try("mallory", fmt.Sprintf("2001:db8:%d:%d::/64", round, i), succeeded) == 0 {
					own++
				}
			}
			time.Sleep(window)
		}
		if own != 3*bound {
			t.Fatalf("%d logins of mallory's, want %d", own, 3*bound)
		}
		for i := range 1000 {
			l.try("ada", fmt.Sprint(i), failed)
		}
		if n := l.left("ada", "home"); n != 10 {
			t.Errorf("%d attempts at home, want 10", n)
		}
	})
}

// An account has its last 16 addresses, in the order of their last use.
func TestKnownAddressesOfOneAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimits(10, 100, 15*time.Minute, maxCounters, maxKnownAccounts)
		for i := range 16 {
			l.try("ada", fmt.Sprint("place", i), succeeded)
		}
		l.try("ada", "place0", succeeded)
		l.try("ada", "hotel", succeeded)
		for i := range 1000 {
			l.try("ada", fmt.Sprint(i), failed)
		}
		for i := range 16 {
			if got, want := l.try("ada", fmt.Sprint("place", i), failed) == 0, i != 1; got != want {
				t.Errorf("place %d is known: %t, want %t", i, got, want)
			}
		}
		if l.try("ada", "hotel", failed) != 0 {
			t.Error("the last address is not known")
		}
	})
}

// entries returns how many counters and known addresses there is memory for.
func (l *limits) entries() (counters, accounts, addresses int) {
	for _, cs := range []map[uint64]counter{
		l.pairs.byKey, l.networks[0].byKey, l.networks[1].byKey, l.networks[2].byKey,
		l.accounts.byKey, l.logins.byKey, l.accountLogins.byKey,
	} {
		counters += len(cs)
	}
	for _, all := range l.known.byAccount {
		addresses += cap(all)
	}
	return counters, len(l.known.byAccount), addresses
}

// More accounts than there is room for, which sign in, and which others guess at, take
// bounded memory.
func TestMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const bound, known = 1 << 12, 1 << 14
		const users = known + known/2
		l := newLimits(10, 100, 15*time.Minute, bound, known)
		for i := range users {
			name, at := fmt.Sprint("user", i), fmt.Sprint(i)
			l.try(name, at, succeeded, "56-"+at, "48-"+at)
			if i < bound+1000 {
				l.try(name, "x"+at, failed, "56-x"+at, "48-x"+at)
			}
		}
		for i := range 100 { // those with most addresses
			for place := range 100 {
				l.try(fmt.Sprint("user", users-1-i), fmt.Sprint("place", place), succeeded)
			}
		}
		counters, accounts, addresses := l.entries()
		if counters > 7*bound || accounts > known || addresses > known*2+100*maxKnown {
			t.Errorf("%d counters, %d accounts with %d addresses", counters, accounts, addresses)
		}
		if counters < 6*bound || accounts < known {
			t.Errorf("%d counters and %d accounts: the bounds were not reached", counters, accounts)
		}
		for _, all := range l.known.byAccount {
			if cap(all) > maxKnown {
				t.Fatalf("an account with %d addresses", cap(all))
			}
		}
	})
}
