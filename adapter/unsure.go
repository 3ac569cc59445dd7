package adapter

import (
	"bytes"
	"context"
	"slices"

	"github.com/samesid/samesid/backends/contract"
)

// unsure is what writes leave behind whose replies were lost.
type unsure struct {
	tried   []*attempt // the writes, until it is known which was done
	perhaps []*version // what one may have written, if others have changed the session since
}

// attempt is a write whose reply was lost, so that it may have been done.
type attempt struct {
	from    []contract.Record
	key     string
	private bool // nobody else can have written under the key
	data    []byte
	version *version // nil: of a session that Regenerate has ended since
}

// tookOver reports whether a write whose reply was lost has put a merged session, which is
// gone, into what the store has.
func (s *session) tookOver(m merged) (bool, error) {
	if len(s.perhaps) == 0 {
		return false, nil
	}
	theirs, err := s.stored.record()
	if err != nil {
		return false, err
	}
	base, err := s.base.record()
	if err != nil {
		return false, err
	}
	other, err := s.version(m.Data).record()
	if err != nil {
		return false, err
	}
	for k := range m.put {
		v := plain(other.values[k])
		if equal(plain(theirs.values[k]), v) && !equal(plain(base.values[k]), v) {
			return true, nil
		}
	}
	return false, nil
}

// wasDone reports whether an earlier write, whose reply was lost, has been done after all,
// and goes on from it.
func (s *session) wasDone(ctx context.Context) (bool, error) {
	for _, t := range s.tried {
		if t.key == s.at {
			continue
		}
		data, there, err := s.m.cfg.store.find(ctx, t.key)
		if err != nil {
			return false, storeError("save", err)
		}
		if there && (t.private || bytes.Equal(data, t.data)) { // by GenID it may be another session's
			return true, s.adoptStored(t.key, data)
		}
	}
	return false, nil
}

// settle finds out which of the writes that were tried under the session's key, or under the
// one it had been moved from, was done, by the data that the store has now.
func (s *session) settle(data []byte, was string) {
	var here, elsewhere []*attempt
	for _, t := range s.tried {
		switch {
		case t.key != s.at && t.key != was:
			elsewhere = append(elsewhere, t)
		case t.version != nil:
			here = append(here, t)
		}
	}
	s.tried = elsewhere
	for _, t := range here {
		if bytes.Equal(data, t.data) {
			s.wasWritten(t)
			return
		}
	}
	// One of them may have been done, and be changed by another request since.
	written := false
	for _, t := range here {
		if !written && s.at != was && t.key == s.at && t.private { // one of them was
			s.wasWritten(t)
			written = true
			continue
		}
		s.perhaps = append(s.perhaps, t.version)
	}
}

// wasWritten goes on from a write that has been done although its reply was lost: it is
// what this request's changes are relative to.
func (s *session) wasWritten(t *attempt) {
	others := s.merged
	s.base, s.perhaps, s.fresh, s.merged = t.version, nil, false, nil
	for _, r := range t.from { // perhaps it was done by halves
		if r.Token != s.at {
			s.merged = append(s.merged, merged{Record: r})
		}
	}
	for _, m := range others { // merged since
		if !slices.ContainsFunc(t.from, func(r contract.Record) bool { return r.Token == m.Token }) {
			s.merged = append(s.merged, m)
		}
	}
}

// removeTried deletes what the writes whose replies were lost may have stored.
func (s *session) removeTried(ctx context.Context) error {
	for _, t := range s.tried {
		if err := s.m.cfg.store.delete(ctx, t.key); err != nil {
			return storeError("delete", err)
		}
	}
	s.tried = nil
	return nil
}
