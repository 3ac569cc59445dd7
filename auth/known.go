package auth

import "time"

const (
	// knownFor is how long an address stays known after a login from it.
	knownFor = 30 * 24 * time.Hour

	// maxKnown bounds the known addresses of one account, and maxKnownAccounts the accounts
	// that have any.
	maxKnown         = 16
	maxKnownAccounts = 1 << 18
)

// known holds the addresses from which accounts have signed in. An account's addresses
// compete among themselves alone, and accounts by their last login: to push out another
// account's address, one needs about as many accounts of one's own as bound.
type known struct {
	byAccount map[uint64][]knownAddress // the last one is that of the last login
	bound     int
}

// A knownAddress has a part of the address's hash, and the hour of the last login from it.
type knownAddress struct{ hash, hour uint32 }

func hour(at time.Duration) uint32 { return uint32(at / time.Hour) }

// has reports whether an account has signed in from an address of late.
func (k *known) has(account, address uint64, now time.Duration) bool {
	for _, a := range k.byAccount[account] {
		if a.hash == uint32(address) {
			return time.Duration(hour(now)-a.hour)*time.Hour < knownFor
		}
	}
	return false
}

// add notes a login.
func (k *known) add(account, address uint64, now time.Duration) {
	all, ok := k.byAccount[account]
	if !ok && len(k.byAccount) >= k.bound {
		dropOne(k.byAccount, func(all []knownAddress) (time.Duration, bool) {
			return time.Duration(all[len(all)-1].hour), true
		})
	}
	at := 0
	for at < len(all) && all[at].hash != uint32(address) {
		at++
	}
	switch {
	case at < len(all): // goes to the end
		copy(all[at:], all[at+1:])
		all = all[:len(all)-1]
	case len(all) == maxKnown:
		copy(all, all[1:])
		all = all[:maxKnown-1]
	}
	k.byAccount[account] = append(all, knownAddress{uint32(address), hour(now)})
}
