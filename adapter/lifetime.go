package adapter

import "time"

// lifetime is how long a session lives: how long after each use, until when at most,
// and what the store knows of it.
type lifetime struct {
	maxAge   *time.Duration // after each use; nil is a cookie that ends with the browser
	deadline time.Time      // the end whatever its use; zero: none
	expiry   time.Time      // when the store drops it; zero: not known
	sent     time.Time      // when the cookie was last sent; zero: not known
	touched  bool           // expiry was moved by this request
	own      bool           // maxAge is this session's own, not the configuration's

	// What this request has changed, and is to be stored.
	changedAge, changedDeadline bool
}

// adopt takes over what a record says, but for what this request has changed.
func (l *lifetime) adopt(r *record, byDefault *time.Duration) {
	if !l.changedAge {
		l.maxAge, l.own = byDefault, r.ownAge
		if r.ownAge {
			l.maxAge = r.cookie.OriginalMaxAge
		}
	}
	if !l.changedDeadline {
		l.deadline = r.deadline
	}
	l.sent = r.sent
}

// setDeadline takes over the deadline that scs has for the session.
func (l *lifetime) setDeadline(at time.Time) {
	if !at.Equal(l.deadline) {
		l.deadline, l.changedDeadline = at, true
	}
}

// saved notes that the store has the session as it is now.
func (l *lifetime) saved(expiry time.Time) {
	l.expiry, l.touched = expiry, true
	l.changedAge, l.changedDeadline = false, false
}

// slides reports whether each use moves the expiry.
func (l *lifetime) slides(idle time.Duration) bool { return idle > 0 || l.maxAge != nil }

// end returns when a session that is used now, and not again, ends. idle is the
// configuration's age for one without its own; 0: none, it ends at its deadline.
func (l *lifetime) end(idle time.Duration, now time.Time) time.Time {
	return endOf(l.maxAge, idle, l.deadline, now)
}

func endOf(maxAge *time.Duration, idle time.Duration, deadline, now time.Time) time.Time {
	end := now.Add(forever) // stores have a last date
	switch {
	case maxAge != nil:
		end = earlier(end, now.Add(*maxAge))
	case idle > 0:
		end = earlier(end, now.Add(idle))
	}
	if !deadline.IsZero() {
		end = earlier(end, deadline)
	}
	return end.UTC()
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// due reports whether the store's expiry is to be moved to end. It moves at most every
// touchAfter.
func (l *lifetime) due(end, now time.Time, touchAfter time.Duration) bool {
	switch {
	case l.touched:
		return false
	case l.expiry.IsZero(): // the store has not told
		return true
	}
	// Half of what is left at most, or a session in use could end.
	after := min(touchAfter, end.Sub(now)/2)
	moved := end.Sub(l.expiry)
	return differs(end, l.expiry, now) && (moved < 0 || moved >= after)
}

// differs reports whether two expiries are apart by more than Express's clock
// leaves between a maxAge and the originalMaxAge it stores.
func differs(want, got, now time.Time) bool {
	return want.Sub(got).Abs() > want.Sub(now)/100
}
