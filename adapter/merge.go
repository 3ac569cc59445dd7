package adapter

import "github.com/samesid/samesid/backends/contract"

// mergeIn puts the values of another session over this one's. The other ends when this
// one is saved.
func (s *session) mergeIn(r contract.Record, values map[string]any) {
	m := merged{Record: r, put: values, was: make(map[string]any, len(values))}
	for k, v := range values {
		if s.data.has(k) {
			m.was[k] = s.data.get(k)
		}
		s.data.put(k, v)
	}
	s.merged = append(s.merged, m)
}

// unmerge undoes mergeIn: the other session was changed, or has ended. What the handler
// has put or removed since stays so, by a later merge too: those keys are returned.
func (s *session) unmerge(token string, cur *version) (changed map[string]bool, err error) {
	for i, m := range s.merged {
		if m.Token != token {
			continue
		}
		r, err := s.version(m.Data).record()
		if err != nil {
			return nil, err
		}
		s.merged = append(s.merged[:i:i], s.merged[i+1:]...)
		changed = map[string]bool{}
		for k := range m.put {
			changed[k] = s.putLater(i, k, m.was)
			if !changed[k] {
				if changed[k], err = cur.differs(k, r.values[k]); err != nil {
					return nil, err
				}
			}
			if changed[k] {
				continue
			}
			if was, ok := m.was[k]; ok {
				s.data.put(k, was)
			} else {
				s.data.remove(k)
			}
		}
		break
	}
	return changed, nil
}

// putLater reports whether a merge from the i-th on has put a key too, and hands it what
// was there before.
func (s *session) putLater(i int, key string, was map[string]any) bool {
	for _, later := range s.merged[i:] {
		if _, ok := later.put[key]; !ok {
			continue
		}
		delete(later.was, key)
		if v, ok := was[key]; ok {
			later.was[key] = v
		}
		return true
	}
	return false
}
