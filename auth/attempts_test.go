package auth

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// try makes one attempt, and returns how long to wait if none was left.
func (l *limits) try(username, address string, r result) time.Duration {
	a, wait := l.begin(username, address)
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
			for range 1000 {
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
			synctest.Test(t, func(t *testing.T) { tt.test(t, newLimits(10, window, maxCounters)) })
		})
	}
}

// Memory is bounded, and a client can't evict its own counter by filling it.
func TestLimitsUnderFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const bound = 1000
		l := newLimits(10, 15*time.Minute, bound)
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
			"addresses": len(l.addresses.byKey),
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
		if len(l.known) != 1 {
			t.Error("failures pushed a known address out")
		}
		for i := range 2 * bound {
			l.try("owner", fmt.Sprint(i), succeeded)
		}
		if len(l.known) != bound {
			t.Errorf("%d known addresses, want %d", len(l.known), bound)
		}
	})
}

// A counter with a pending attempt is not evicted.
func TestPendingSurvivesFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const bound = 1000
		l := newLimits(10, 15*time.Minute, bound)
		var begun []*attempt
		for range 10 {
			a, _ := l.begin("ada", "a")
			begun = append(begun, a)
		}
		for i := range 2 * bound {
			name := fmt.Sprint(i)
			l.try(name, name, failed)
		}
		for _, a := range begun {
			a.end(failed)
		}
		if n := l.left("ada", "a"); n != 0 {
			t.Errorf("%d more attempts, want 0", n)
		}
	})
}
