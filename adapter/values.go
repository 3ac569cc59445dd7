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

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/internal/wire"
)

// Put stores a value of any type under a key: a struct, a map, a slice or a
// basic value. Unlike Manager.Put, it needs no gob.Register: what is not a
// basic value is kept as JSON, under either codec, so its type must survive
// encoding/json. An Express app sees a plain object. Read it with Get.
func Put[T any](ctx context.Context, m *Manager, key string, value T) error {
	d := &m.mustSession(ctx).data
	if isBasic(value) {
		d.put(key, value)
		return nil
	}
	stored, err := wire.EncodeValue(value)
	if err != nil {
		return fmt.Errorf("session: put %q: %w", key, err)
	}
	switch v := stored.(type) {
	case wire.Raw:
		stored = &lazyValue{raw: v}
	case nil, json.Number: // gob has no name for these
		raw, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("session: put %q: %w", key, err)
		}
		stored = &lazyValue{raw: raw}
	}
	d.put(key, stored)
	return nil
}

// Get reads the value under a key as a T, whatever codec and program wrote it:
// Put, Manager.Put or an Express app. A text is a text: it is never read as JSON. The
// error is ErrNoValue if the session has no such key, and otherwise says why the value
// is not a T.
func Get[T any](ctx context.Context, m *Manager, key string) (T, error) {
	var v T
	d := &m.mustSession(ctx).data
	stored := d.get(key)
	if stored == nil && !d.has(key) {
		return v, ErrNoValue
	}
	lazy, isLazy := stored.(*lazyValue)
	switch any(&v).(type) {
	case *any, *map[string]any, *[]any:
		stored, isLazy = reveal(stored), false // as Manager.Get returns it
	}
	if t, ok := stored.(T); ok && !isLazy {
		return t, nil
	}
	var b []byte
	var err error
	if isLazy {
		b, err = lazy.json()
	} else {
		b, err = json.Marshal(stored)
	}
	if err != nil {
		return v, fmt.Errorf("session: get %q: %w", key, err)
	}
	if err := wire.Unmarshal(b, &v); err != nil {
		var zero T
		return zero, fmt.Errorf("session: get %q as %T: %w", key, v, withoutValue(err))
	}
	return v, nil
}

// withoutValue keeps what is in the session out of an error's text.
func withoutValue(err error) error {
	var t *json.UnmarshalTypeError
	if errors.As(err, &t) {
		return fmt.Errorf("it holds JSON of another type than %v", t.Type)
	}
	return errors.New("its JSON does not fit")
}

// Registered so that a time.Time that was put under gob comes back for GetTime.
func init() { gob.Register(time.Time{}) }

// isBasic reports whether gob knows the value's type without gob.Register.
func isBasic(v any) bool {
	switch v.(type) {
	case bool, string, []byte, time.Time,
		int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64, float32, float64:
		return true
	}
	return false
}

// The methods below are scs's own. Each is here so that a context without a session is a
// panic that says what to do.

// values returns what scs holds the session's values with.
func (m *Manager) values(ctx context.Context) (*scs.SessionManager, context.Context) {
	d := &m.mustSession(ctx).data
	return &d.scs, d.ctx
}

// Put sets the value under a key. With scs.GobCodec, a type of the app's must be registered
// with gob.Register; with JSONCodec it comes back as a map[string]any or a []any in the next
// request. The function Put stores any type.
func (m *Manager) Put(ctx context.Context, key string, value any) {
	sm, ctx := m.values(ctx)
	sm.Put(ctx, key, value)
}

// Exists reports whether the session has a key.
func (m *Manager) Exists(ctx context.Context, key string) bool {
	sm, ctx := m.values(ctx)
	return sm.Exists(ctx, key)
}

// Keys returns the session's keys, sorted.
func (m *Manager) Keys(ctx context.Context) []string {
	sm, ctx := m.values(ctx)
	return sm.Keys(ctx)
}

// Remove removes a key. One that is not there is no change.
func (m *Manager) Remove(ctx context.Context, key string) {
	sm, ctx := m.values(ctx)
	sm.Remove(ctx, key)
}

// Clear removes all keys. The session stays, under its id. The error is always nil.
func (m *Manager) Clear(ctx context.Context) error {
	sm, ctx := m.values(ctx)
	return sm.Clear(ctx)
}

// GetString returns a text, "" for any other value.
func (m *Manager) GetString(ctx context.Context, key string) string {
	sm, ctx := m.values(ctx)
	return sm.GetString(ctx, key)
}

// GetBool returns a bool, false for any other value.
func (m *Manager) GetBool(ctx context.Context, key string) bool {
	sm, ctx := m.values(ctx)
	return sm.GetBool(ctx, key)
}

// PopString is GetString, and removes the key.
func (m *Manager) PopString(ctx context.Context, key string) string {
	sm, ctx := m.values(ctx)
	return sm.PopString(ctx, key)
}

// PopBool is GetBool, and removes the key.
func (m *Manager) PopBool(ctx context.Context, key string) bool {
	sm, ctx := m.values(ctx)
	return sm.PopBool(ctx, key)
}

// RememberMe decides whether the browser keeps the session's cookie when it is closed, for a
// Manager that Wrap has made of one without Cookie.Persist. With New, use SetMaxAge.
func (m *Manager) RememberMe(ctx context.Context, val bool) {
	sm, ctx := m.values(ctx)
	sm.RememberMe(ctx, val)
}

// Deadline returns when the session ends whatever its use.
func (m *Manager) Deadline(ctx context.Context) time.Time {
	sm, ctx := m.values(ctx)
	return sm.Deadline(ctx)
}

// SetDeadline sets when the session ends whatever its use. See Options.AbsoluteLifetime for all
// sessions.
func (m *Manager) SetDeadline(ctx context.Context, end time.Time) {
	sm, ctx := m.values(ctx)
	sm.SetDeadline(ctx, end)
}

// The getters below are scs's, for values that may have come back from JSON
// as a neighbouring type. A value that does not fit is 0, as with scs.

// Get returns the value under a key, nil if there is none. An object that came from
// JSON, or that Put has stored, is a map[string]any, an array a []any; to read it into
// a struct use the function Get.
func (m *Manager) Get(ctx context.Context, key string) any {
	return reveal(m.mustSession(ctx).data.get(key))
}

// Pop is Get, and removes the key.
func (m *Manager) Pop(ctx context.Context, key string) any {
	return reveal(m.mustSession(ctx).data.pop(key))
}

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
	return m.toBytes(m.Get(ctx, key))
}

// GetTime returns a time; from JSON, the text that Go or a JavaScript Date
// makes of it.
func (m *Manager) GetTime(ctx context.Context, key string) time.Time {
	return m.toTime(m.Get(ctx, key))
}

// PopInt is GetInt, and removes the key.
func (m *Manager) PopInt(ctx context.Context, key string) int { return toInt[int](m.Pop(ctx, key)) }

// PopFloat is GetFloat, and removes the key.
func (m *Manager) PopFloat(ctx context.Context, key string) float64 { return toFloat(m.Pop(ctx, key)) }

// PopBytes is GetBytes, and removes the key.
func (m *Manager) PopBytes(ctx context.Context, key string) []byte {
	return m.toBytes(m.Pop(ctx, key))
}

// PopTime is GetTime, and removes the key.
func (m *Manager) PopTime(ctx context.Context, key string) time.Time {
	return m.toTime(m.Pop(ctx, key))
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
	case json.Number:
		f, _ := v.Float64() // beyond a float64: infinite
		return f
	}
	return 0
}

func (m *Manager) toBytes(v any) []byte {
	if b, ok := v.([]byte); ok || !m.cfg.isJSON {
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

func (m *Manager) toTime(v any) time.Time {
	t, ok := v.(time.Time)
	if text, isText := v.(string); !ok && isText && m.cfg.isJSON {
		t, _ = time.Parse(time.RFC3339Nano, text)
	}
	return t
}
