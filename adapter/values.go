package adapter

import (
	"context"
	"encoding/base64"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"
)

// ErrNoValue is returned by Get for a key that the session does not have.
var ErrNoValue = errors.New("session: no such key")

// Put stores a value of any type under a key: a struct, a map, a slice or a
// basic value. Unlike Manager.Put, it needs no gob.Register: what is not a
// basic value is kept as JSON, under either codec, so its type must survive
// encoding/json. An Express app sees a plain object. Read it with Get.
func Put[T any](ctx context.Context, m *Manager, key string, value T) error {
	s := m.mustSession(ctx)
	var stored any = value
	if !isBasic(value) {
		b, err := json.Marshal(value)
		if err != nil {
			return fmt.Errorf("session: put %q: %w", key, err)
		}
		if !s.isJSON() {
			stored = string(b)
		}
	}
	m.SessionManager.Put(ctx, key, stored)
	return nil
}

// Get reads the value under a key as a T, whatever codec and program wrote it:
// Put, Manager.Put or an Express app. The error is ErrNoValue if the session
// has no such key, and otherwise says why the value is not a T.
func Get[T any](ctx context.Context, m *Manager, key string) (T, error) {
	var v T
	raw := m.SessionManager.Get(ctx, key)
	if raw == nil && !m.Exists(ctx, key) {
		return v, ErrNoValue
	}
	if t, ok := raw.(T); ok {
		return t, nil
	}
	b, err := json.Marshal(raw)
	if err != nil {
		return v, fmt.Errorf("session: get %q: %w", key, err)
	}
	forms := [][]byte{b}
	if text, ok := raw.(string); ok && json.Valid([]byte(text)) {
		// Put has stored JSON as text, in this record or before it was moved
		// from gob to JSON.
		forms = [][]byte{b, []byte(text)}
		if !m.mustSession(ctx).isJSON() {
			forms[0], forms[1] = forms[1], forms[0]
		}
	}
	for _, b := range forms {
		var t T
		if err = json.Unmarshal(b, &t); err == nil {
			return t, nil
		}
	}
	return v, fmt.Errorf("session: get %q as %T: %w", key, v, withoutValue(err))
}

// withoutValue keeps what is in the session out of an error's text.
func withoutValue(err error) error {
	var t *json.UnmarshalTypeError
	if errors.As(err, &t) {
		return fmt.Errorf("it holds JSON of another type than %v", t.Type)
	}
	return errors.New("its JSON does not fit")
}

// GetTime and PopTime are to work under gob without more ado.
func init() { gob.Register(time.Time{}) }

// isBasic tells whether gob knows the value's type without gob.Register.
func isBasic(v any) bool {
	switch v.(type) {
	case nil, bool, string, []byte, time.Time,
		int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64, float32, float64:
		return true
	}
	return false
}

// The getters below are scs's, for values that may have come back from JSON
// as a neighbouring type. A value that does not fit is 0, as with scs.

// GetInt returns a whole number as an int.
func (m *Manager) GetInt(ctx context.Context, key string) int { return toInt[int](m.Get(ctx, key)) }

// GetInt64 returns a whole number as an int64.
func (m *Manager) GetInt64(ctx context.Context, key string) int64 {
	return toInt[int64](m.Get(ctx, key))
}

// GetInt32 returns a whole number as an int32.
func (m *Manager) GetInt32(ctx context.Context, key string) int32 {
	return toInt[int32](m.Get(ctx, key))
}

// GetFloat returns a number as a float64.
func (m *Manager) GetFloat(ctx context.Context, key string) float64 { return toFloat(m.Get(ctx, key)) }

// GetBytes returns bytes; from JSON, the base64 text that Go makes of them, or
// a Buffer of Node's.
func (m *Manager) GetBytes(ctx context.Context, key string) []byte {
	return m.toBytes(ctx, m.Get(ctx, key))
}

// GetTime returns a time; from JSON, the text that Go or a JavaScript Date
// makes of it.
func (m *Manager) GetTime(ctx context.Context, key string) time.Time {
	return m.toTime(ctx, m.Get(ctx, key))
}

// PopInt is GetInt, and removes the key.
func (m *Manager) PopInt(ctx context.Context, key string) int { return toInt[int](m.Pop(ctx, key)) }

// PopFloat is GetFloat, and removes the key.
func (m *Manager) PopFloat(ctx context.Context, key string) float64 { return toFloat(m.Pop(ctx, key)) }

// PopBytes is GetBytes, and removes the key.
func (m *Manager) PopBytes(ctx context.Context, key string) []byte {
	return m.toBytes(ctx, m.Pop(ctx, key))
}

// PopTime is GetTime, and removes the key.
func (m *Manager) PopTime(ctx context.Context, key string) time.Time {
	return m.toTime(ctx, m.Pop(ctx, key))
}

// isJSON tells whether values may have come from JSON.
func (s *session) isJSON() bool {
	_, ok := s.cfg.codec.(jsonRecords)
	return ok
}

func toInt[T int | int32 | int64](v any) T {
	var i int64
	switch v := v.(type) {
	case int:
		i = int64(v)
	case int32:
		i = int64(v)
	case int64:
		i = v
	case float64:
		if v != math.Trunc(v) || math.Abs(v) > 1<<53 {
			return 0
		}
		i = int64(v)
	}
	if int64(T(i)) != i {
		return 0
	}
	return T(i)
}

func toFloat(v any) float64 {
	switch v := v.(type) {
	case float64:
		return v
	case int:
		return float64(v)
	case int64:
		return float64(v)
	}
	return 0
}

func (m *Manager) toBytes(ctx context.Context, v any) []byte {
	if b, ok := v.([]byte); ok || !m.mustSession(ctx).isJSON() {
		return b
	}
	switch v := v.(type) {
	case string:
		if b, err := base64.StdEncoding.DecodeString(v); err == nil {
			return b
		}
	case map[string]any:
		data, ok := v["data"].([]any)
		if v["type"] != "Buffer" || !ok {
			return nil
		}
		b := make([]byte, len(data))
		for i, x := range data {
			n, ok := x.(int)
			if !ok || n < 0 || n > 255 {
				return nil
			}
			b[i] = byte(n)
		}
		return b
	}
	return nil
}

func (m *Manager) toTime(ctx context.Context, v any) time.Time {
	t, ok := v.(time.Time)
	if text, isText := v.(string); !ok && isText && m.mustSession(ctx).isJSON() {
		t, _ = time.Parse(time.RFC3339Nano, text)
	}
	return t
}
