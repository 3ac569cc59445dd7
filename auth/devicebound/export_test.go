package devicebound

// Stamp is what another server, with the same secrets and another clock, would sign.
func (b *Binding) Stamp(purpose, id string, at int64) string { return b.stamp(purpose, id, at) }

// The purposes of a Stamp.
const (
	ForRegistration = forRegistration
	ForChallenge    = forChallenge
	ForCookie       = forCookie
)
