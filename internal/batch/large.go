package batch

import (
	"hash/maphash"
	"sync/atomic"
)

// Large remembers the keys of some large records, so that they are read and written by
// themselves, and no small one has to wait for their bytes. The zero value is empty.
type Large struct {
	hashes [1024]atomic.Uint64
}

// largest is the size in bytes of a record that is not large.
const largest = 16 << 10

var seed = maphash.MakeSeed()

// Has reports whether the record of a key was large when it was last noted. It may forget.
func (l *Large) Has(key string) bool {
	h := maphash.String(seed, key)
	return l.hashes[h%uint64(len(l.hashes))].Load() == h
}

// Note notes the size of a key's record.
func (l *Large) Note(key string, size int) {
	h := maphash.String(seed, key)
	slot := &l.hashes[h%uint64(len(l.hashes))]
	if size > largest {
		slot.Store(h)
	} else if slot.Load() == h {
		slot.CompareAndSwap(h, 0)
	}
}
