package memory

import "unsafe"

// Stored counts the records, including expired ones.
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

// Count returns the count that is compared with MaxSessions.
func (s *Store) Count() int { return int(s.count.Load()) }

// Keeps reports whether the key of a record shares this string's memory.
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

// Reserve takes one of the places that the bound allows.
func (s *Store) Reserve() bool { return s.reserve() }

// Release undoes a Reserve.
func (s *Store) Release() { s.count.Add(-1) }

// HoldLast locks the shard that a clean-up visits last, and makes the records of all
// others expire. It returns the number of records in the last shard.
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

// RemoveExpired runs one clean-up.
func (s *Store) RemoveExpired() { s.removeExpired() }

// Armed reports whether a clean-up is scheduled or running.
func (s *Store) Armed() bool { return s.armed.Load() }

// Expire makes a record expire without removing it.
func (s *Store) Expire(token string) {
	sh := s.shard(token)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.records[token] = record{text: sh.records[token].text}
}

// Noted counts the lists of users' tokens, and the users whose sessions were ended.
func (s *Store) Noted() (lists, ended int) {
	s.users.mu.Lock()
	defer s.users.mu.Unlock()
	return len(s.users.lists), len(s.users.ended)
}
