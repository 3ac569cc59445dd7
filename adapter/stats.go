package adapter

import "sync/atomic"

// Stats counts what becomes of cookies and changes that could not be used just as they
// were. What points to a mistake has a line in the log too.
type Stats struct {
	// DroppedWrites are the requests whose changes were dropped because the
	// session had been ended (by a logout, its expiry or an operator) while they
	// ran. Some are normal: a user logs out while a page is still loading.
	DroppedWrites uint64

	// LostChanges are the requests that changed their session after the response
	// had begun. Each is a mistake in a handler.
	LostChanges uint64

	// Conflicts counts how often a session was found changed by another request
	// when it was to be saved. Both changes were kept; it cost a round trip.
	Conflicts uint64

	// UnreadableRecords counts how often a stored record could not be decoded,
	// and was taken for no session.
	UnreadableRecords uint64

	// BadSignatures are the cookies that none of the secrets has signed. Many, after a
	// change of secrets or beside another app, mean that a secret is missing.
	BadSignatures uint64

	// UnknownSessions are the cookies that could be used, as they are well signed or need
	// not be, and whose session the store does not have. Those of ended sessions are normal.
	UnknownSessions uint64
}

type counters struct {
	droppedWrites, lostChanges, conflicts, unreadable, badSignatures, unknownSessions atomic.Uint64
}

// Stats returns the counts since the Manager was made, for a metrics page. They
// only grow.
func (m *Manager) Stats() Stats {
	return Stats{
		DroppedWrites:     m.stats.droppedWrites.Load(),
		LostChanges:       m.stats.lostChanges.Load(),
		Conflicts:         m.stats.conflicts.Load(),
		UnreadableRecords: m.stats.unreadable.Load(),
		BadSignatures:     m.stats.badSignatures.Load(),
		UnknownSessions:   m.stats.unknownSessions.Load(),
	}
}
