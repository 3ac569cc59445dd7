package adapter

import (
	"bytes"
	"fmt"
	"maps"
	"time"
	"unicode/utf8"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/internal/wire"
)

// JSONCodec stores a session as Express does: one JSON object, the cookie and
// the data's keys beside each other. Use it wherever an Express app reads the
// same store. Records that scs.GobCodec wrote earlier are read too, and become
// JSON when they are next saved.
//
// JSON has fewer types than Go. A whole number comes back as int, any other as
// float64, a time and a []byte as text; Manager's typed getters convert them,
// and Get reads structs. The key "cookie" is taken by the record itself:
// saving a session with such a key is an error.
//
// As an scs.Codec of its own it writes a cookie with scs's default attributes;
// a Manager writes the session's.
type JSONCodec struct{}

// Encode implements scs.Codec.
func (JSONCodec) Encode(deadline time.Time, values map[string]any) ([]byte, error) {
	return jsonRecords{}.encode(record{
		cookie:   wire.Cookie{Path: "/", HTTPOnly: true, Expires: deadline},
		deadline: deadline,
		values:   values,
	})
}

// Decode implements scs.Codec.
func (JSONCodec) Decode(b []byte) (time.Time, map[string]any, error) {
	r, err := jsonRecords{}.decode(b)
	if err != nil {
		return time.Time{}, nil, err
	}
	if r.deadline.IsZero() {
		r.deadline = r.cookie.Expires
	}
	return r.deadline, r.values, nil
}

// sharedWithExpress tells whether Express reads a store's records too.
func sharedWithExpress(store scs.Store) bool {
	j, ok := store.(JSONRecorder)
	return ok && j.JSONRecords()
}

// defaultCodec is the codec for a store when Options has none.
func defaultCodec(store scs.Store) scs.Codec {
	if sharedWithExpress(store) {
		return JSONCodec{}
	}
	return scs.GobCodec{}
}

// record is one stored session, whatever its codec.
type record struct {
	cookie wire.Cookie
	// ownCookie: the attributes are the record's, not the configuration's.
	// ownAge: OriginalMaxAge is.
	ownCookie, ownAge bool
	secure            bool      // it began on a secure connection, where that decides
	deadline          time.Time // zero: no absolute lifetime
	expiry            time.Time // to encode: when the store is to drop the record
	values            map[string]any
	// verbatim, if not nil, has what to write for a key whose value has not
	// changed, so that what another program wrote survives to the byte.
	verbatim map[string]any
}

// unchanged has what to write for the keys that keep their value.
func (r *record) unchanged() map[string]any {
	if r.verbatim != nil {
		return r.verbatim
	}
	return r.values
}

// recordCodec turns records into bytes and back.
type recordCodec interface {
	encode(record) ([]byte, error)
	// decode reads a record to hand its values out.
	decode([]byte) (record, error)
	// decodeVerbatim reads it to write it back, changed.
	decodeVerbatim([]byte) (record, error)
	// verbatim tells whether what is not changed is written back as it was.
	verbatim() bool
	// keeps tells whether a value, or a key, can't change in place and is decoded
	// to the very same as was encoded.
	keeps(v any) bool
}

func recordCodecOf(c scs.Codec) recordCodec {
	if _, ok := c.(JSONCodec); ok {
		return jsonRecords{}
	}
	return scsRecords{c}
}

// deadlineKey holds the absolute deadline in a JSON record. Express carries it
// along as a key of the session's data.
const deadlineKey = "__deadline"

// jsonRecords are Express's.
type jsonRecords struct{}

func (jsonRecords) encode(r record) ([]byte, error) {
	if err := reserved(r.values, deadlineKey); err != nil {
		return nil, err
	}
	if !r.deadline.IsZero() {
		r.values = maps.Clone(r.values)
		if r.values == nil {
			r.values = make(map[string]any, 1)
		}
		r.values[deadlineKey] = r.deadline.UnixMilli()
	}
	return wire.AppendRecord(nil, r.cookie, r.values)
}

func (c jsonRecords) decode(b []byte) (record, error) { return c.read(b, wire.DecodeValues) }

func (c jsonRecords) decodeVerbatim(b []byte) (record, error) { return c.read(b, wire.DecodeRecord) }

func (jsonRecords) read(b []byte, decode func([]byte) (wire.Record, error)) (record, error) {
	if trimmed := bytes.TrimLeft(b, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		r, err := scsRecords{scs.GobCodec{}}.decode(b)
		if err != nil {
			return record{}, fmt.Errorf("the record is neither JSON nor gob")
		}
		return r, nil
	}
	w, err := decode(b)
	if err != nil {
		return record{}, err
	}
	r := record{cookie: w.Cookie, ownCookie: true, ownAge: true, values: w.Values, verbatim: w.Raw}
	if v, ok := w.Values[deadlineKey]; ok {
		ms, ok := v.(int)
		if !ok {
			return record{}, fmt.Errorf("the record's %s is not a number of milliseconds", deadlineKey)
		}
		r.deadline = time.UnixMilli(int64(ms)).UTC()
		delete(w.Values, deadlineKey)
		delete(w.Raw, deadlineKey)
	}
	return r, nil
}

func (jsonRecords) verbatim() bool { return true }

func (jsonRecords) keeps(v any) bool {
	switch v := v.(type) {
	case nil, bool, int:
		return true
	case string:
		return utf8.ValidString(v)
	}
	return false
}

// Keys that a record of an scs codec has beside the session's own.
const (
	// maxAgeKey holds a session's own maxAge, as "90m0s", or "null" for a cookie
	// that ends with the browser. Without it the configuration's counts.
	maxAgeKey = "__originalMaxAge"
	// slidingKey says that the record's deadline is only the expiry at the
	// time it was written: scs needs one, and the session has none.
	slidingKey = "__sliding"
	// secureKey says that the session began on a secure connection, where
	// Cookie.Secure is Auto.
	secureKey = "__secure"
)

// reserved refuses keys that are the codec's own.
func reserved(values map[string]any, keys ...string) error {
	for _, k := range keys {
		if _, ok := values[k]; ok {
			return fmt.Errorf("the key %q is reserved: choose another", k)
		}
	}
	return nil
}

// scsRecords are those of scs.GobCodec, or any other codec for scs.
type scsRecords struct{ codec scs.Codec }

func (c scsRecords) encode(r record) ([]byte, error) {
	if err := reserved(r.values, maxAgeKey, slidingKey, secureKey); err != nil {
		return nil, err
	}
	values := r.values
	if r.ownAge || r.secure || r.deadline.IsZero() {
		values = make(map[string]any, len(r.values)+3)
		maps.Copy(values, r.values)
	}
	if r.ownAge {
		values[maxAgeKey] = "null"
		if age := r.cookie.OriginalMaxAge; age != nil {
			values[maxAgeKey] = age.String()
		}
	}
	if r.secure {
		values[secureKey] = true
	}
	if r.deadline.IsZero() {
		values[slidingKey] = true
		r.deadline = r.expiry
	}
	return c.codec.Encode(r.deadline, values)
}

func (scsRecords) verbatim() bool { return false }

// plain returns those of the values that the codec keeps.
func (c scsRecords) plain(values map[string]any) map[string]any {
	kept := make(map[string]any, len(values))
	for k, v := range values {
		if c.keeps(v) {
			kept[k] = v
		}
	}
	return kept
}

func (c scsRecords) keeps(v any) bool {
	switch v.(type) {
	case bool, string, int, int64, float64:
		_, ok := c.codec.(scs.GobCodec)
		return ok
	}
	return false
}

func (c scsRecords) decodeVerbatim(b []byte) (record, error) { return c.decode(b) }

func (c scsRecords) decode(b []byte) (record, error) {
	deadline, values, err := c.codec.Decode(b)
	if err != nil {
		return record{}, err
	}
	if values == nil {
		values = make(map[string]any)
	}
	r := record{deadline: deadline, values: values}
	if _, ok := values[slidingKey]; ok {
		r.deadline = time.Time{}
		delete(values, slidingKey)
	}
	if _, ok := values[secureKey]; ok {
		r.secure = true
		delete(values, secureKey)
	}
	if text, ok := values[maxAgeKey].(string); ok {
		r.ownAge = true
		if age, err := time.ParseDuration(text); err == nil {
			r.cookie.OriginalMaxAge = &age
		}
		delete(values, maxAgeKey)
	}
	return r, nil
}
