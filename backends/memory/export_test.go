package memory

import "unsafe"

// Stored counts the records, the expired ones included.
func (s *Store) Stored() int {
	stored := 0
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		stored += len(sh.records)
		sh.mu.Unlock()
	}
	return stored
}

// Count is the number of records that the bound goes by.
func (s *Store) Count() int { return int(s.count.Load()) }

// Keeps says if the key of a record is this very string.
func (s *Store) Keeps(token string) bool {
	sh := s.shard(token)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for key := range sh.records {
		if unsafe.StringData(key) == unsafe.StringData(token) {
			return true
		}
	}
	return false
}

// Reserve takes a place of those that the bound allows.
func (s *Store) Reserve() bool { return s.reserve() }

// Release gives a place back.
func (s *Store) Release() { s.count.Add(-1) }

// HoldLast locks the shard that a clean-up comes to last, and makes the records of
// all others expire. It says how many are in the last.
func (s *Store) HoldLast() (release func(), records int) {
	last := &s.shards[shards-1]
	last.mu.Lock()
	for i := range s.shards[:shards-1] {
		sh := &s.shards[i]
		sh.mu.Lock()
		for token, r := range sh.records {
			sh.records[token] = record{text: r.text}
		}
		sh.mu.Unlock()
	}
	return last.mu.Unlock, len(last.records)
}

// RemoveExpired is one clean-up.
func (s *Store) RemoveExpired() { s.removeExpired() }
