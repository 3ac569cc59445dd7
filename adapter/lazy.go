package adapter

import (
	"encoding/json"
	"sync"

	"github.com/samesid/samesid/internal/wire"
)

// lazyValue is a value kept as JSON, which is decoded when a handler asks for it. It
// stands in scs's data for an object or array of a JSON record, and for what Put made
// JSON of. It is safe for concurrent use.
type lazyValue struct {
	raw wire.Raw

	mu      sync.Mutex
	handed  bool // value was decoded and handed out, and may have changed in place
	decoded any
}

// reveal returns what a handler is to see of a value in scs's data.
func reveal(v any) any {
	if lazy, ok := v.(*lazyValue); ok {
		return lazy.get()
	}
	return v
}

// get decodes the value, once.
func (v *lazyValue) get() any {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.handed {
		v.handed = true
		v.decoded, _ = wire.DecodeValue(v.raw) // it was checked when it came in
	}
	return v.decoded
}

// untouched reports whether nobody can have changed the value in place.
func (v *lazyValue) untouched() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return !v.handed
}

// json returns the value as JSON, with what was changed in place.
func (v *lazyValue) json() (wire.Raw, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.handed {
		return v.raw, nil
	}
	was, err := wire.DecodeValue(v.raw)
	if err == nil && equal(was, v.decoded) {
		return v.raw, nil
	}
	return marshal(v.decoded)
}

// marshal returns a value of any kind as JSON.
func marshal(v any) (wire.Raw, error) {
	e, err := wire.EncodeValue(v)
	if err != nil {
		return nil, err
	}
	if raw, ok := e.(wire.Raw); ok {
		return raw, nil
	}
	return json.Marshal(e)
}

// String returns the JSON, for code that prints what the embedded SessionManager
// returns.
func (v *lazyValue) String() string {
	raw, err := v.json()
	if err != nil {
		return ""
	}
	return string(raw)
}

// MarshalJSON implements json.Marshaler.
func (v *lazyValue) MarshalJSON() ([]byte, error) { return v.json() }
