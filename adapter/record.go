package adapter

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/backends/contract"
	"github.com/samesid/samesid/internal/wire"
)

// JSONCodec stores a session as Express does: one JSON object, the cookie and
// the data's keys beside each other. Use it wherever an Express app reads the
// same store. Records that scs.GobCodec wrote earlier are read too, and become
// JSON when they are next saved.
//
// JSON has fewer types than Go. A whole number comes back as int (int64, if an int
// does not hold it), any other as float64, a number that neither holds as json.Number,
// a time and a []byte as text; Manager's typed getters convert them, and Get reads
// structs. The key "cookie" is taken by the record itself: saving a session with such
// a key is an error.
//
// As an scs.Codec of its own it writes a cookie with scs's default attributes;
// a Manager writes the session's.
type JSONCodec struct{}

// Encode implements scs.Codec.
func (JSONCodec) Encode(deadline time.Time, values map[string]any) ([]byte, error) {
	stored, err := encodeValues(values)
	if err != nil {
		return nil, err
	}
	return jsonRecords{}.encode(record{
		cookie:   wire.Cookie{Path: "/", HTTPOnly: true, Expires: deadline},
		deadline: deadline,
		values:   stored,
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
	for k, v := range r.values {
		r.values[k] = reveal(v)
	}
	return r.deadline, r.values, nil
}

// sharedWithExpress reports whether Express reads a store's records too.
func sharedWithExpress(store scs.Store) bool {
	j, ok := contract.As[contract.JSONRecorder](store)
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
	// sent is when the cookie was last sent, zero if it is not known. noteSent
	// asks for it to be encoded.
	sent     time.Time
	noteSent bool
	values   map[string]any
	// verbatim, if not nil, holds what to write for a key whose value has not
	// changed, so that what another program wrote stays byte for byte.
	verbatim map[string]any
}

// unchanged returns what to write for the keys that keep their value.
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
	// decodeVerbatim reads a record to compare with it, and to write it back with
	// changes. Its values are never handed out.
	decodeVerbatim([]byte) (record, error)
	// basic reports whether a value can't change in place and is decoded to the very
	// same as was encoded.
	basic(v any) bool
}

func recordCodecOf(c scs.Codec) recordCodec {
	if _, ok := c.(JSONCodec); ok {
		return jsonRecords{}
	}
	if _, ok := c.(scs.GobCodec); ok {
		c = gobCodec{}
	}
	return scsRecords{c}
}

// deadlineKey holds the absolute deadline in a JSON record. Express carries it
// along as a key of the session's data.
const deadlineKey = "__deadline"

// jsonRecords are Express's.
type jsonRecords struct{}

// encode takes values as encodeValues returns them.
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

func (c jsonRecords) decode(b []byte) (record, error) {
	return c.read(b, func(b []byte) (wire.Record, error) {
		return wire.DecodeValues(b, func(raw wire.Raw) any { return &lazyValue{raw: raw} })
	})
}

func (c jsonRecords) decodeVerbatim(b []byte) (record, error) {
	r, err := c.read(b, wire.DecodeRecord)
	if err == nil && !r.ownCookie { // from gob
		r.values, err = encodeValues(r.values)
	}
	return r, err
}

func (jsonRecords) read(b []byte, decode func([]byte) (wire.Record, error)) (record, error) {
	if trimmed := bytes.TrimLeft(b, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return readGob(b)
	}
	w, err := decode(b)
	if err != nil {
		return record{}, err
	}
	r := record{cookie: w.Cookie, ownCookie: true, ownAge: true, values: w.Values, verbatim: w.Raw}
	if v, ok := w.Values[deadlineKey]; ok {
		var ms int64
		switch v := v.(type) {
		case int:
			ms = int64(v)
		case int64:
			ms = v
		default:
			return record{}, fmt.Errorf("the record's %s is not a number of milliseconds", deadlineKey)
		}
		r.deadline = time.UnixMilli(ms).UTC()
		delete(w.Values, deadlineKey)
		delete(w.Raw, deadlineKey)
	}
	if age := w.Cookie.OriginalMaxAge; age != nil && !w.Cookie.Expires.IsZero() {
		// It was written when the cookie was sent. One that ends at the deadline can't be
		// sent with a later end.
		r.sent = w.Cookie.Expires
		if r.deadline.IsZero() || r.sent.Before(r.deadline) {
			r.sent = r.sent.Add(-*age)
		}
	}
	return r, nil
}

// readGob reads a record from before the change to JSON.
func readGob(b []byte) (record, error) {
	r, err := scsRecords{gobCodec{}}.decode(b)
	if err != nil {
		return record{}, errors.New("the record is neither JSON nor gob")
	}
	return r, nil
}

// basic is true for what encodeValues leaves as it is.
func (jsonRecords) basic(v any) bool {
	switch v.(type) {
	case nil, bool, int, int64, float64, string:
		return true
	}
	return false
}

// encodeValues returns the values as they are in a JSON record: scalars as they are
// read again, and all else as wire.Raw.
func encodeValues(values map[string]any) (map[string]any, error) {
	stored := make(map[string]any, len(values))
	for k, v := range values {
		if !utf8.ValidString(k) {
			k = string([]rune(k)) // as encoding/json writes it
		}
		if lazy, ok := v.(*lazyValue); ok {
			raw, err := lazy.json()
			if err == nil && raw[0] != '{' && raw[0] != '[' {
				stored[k], err = wire.DecodeValue(raw)
			} else {
				stored[k] = raw
			}
			if err != nil {
				return nil, fmt.Errorf("the key %q: %w", k, err)
			}
			continue
		}
		e, err := wire.EncodeValue(v)
		if err != nil {
			return nil, fmt.Errorf("the key %q: %w", k, err)
		}
		stored[k] = e
	}
	return stored, nil
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
	// Cookie.Secure is SecureAuto.
	secureKey = "__secure"
	// sentKey holds when the cookie was last sent, in seconds of Unix time, where
	// Options.ResendAfter needs it.
	sentKey = "__sent"
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
	if err := reserved(r.values, maxAgeKey, slidingKey, secureKey, sentKey); err != nil {
		return nil, err
	}
	values, cloned := r.values, false
	set := func(k string, v any) {
		if !cloned {
			values, cloned = make(map[string]any, len(r.values)+4), true
			maps.Copy(values, r.values)
		}
		values[k] = v
	}
	for k, v := range r.values {
		if lazy, ok := v.(*lazyValue); ok {
			stored, err := c.pack(lazy)
			if err != nil {
				return nil, fmt.Errorf("the key %q: %w", k, err)
			}
			set(k, stored)
		}
	}
	if r.ownAge {
		age := "null"
		if r.cookie.OriginalMaxAge != nil {
			age = r.cookie.OriginalMaxAge.String()
		}
		set(maxAgeKey, age)
	}
	if r.secure {
		set(secureKey, true)
	}
	if r.noteSent && !r.sent.IsZero() {
		set(sentKey, r.sent.Unix())
	}
	if r.deadline.IsZero() {
		set(slidingKey, true)
		r.deadline = r.expiry
	}
	b, err := c.codec.Encode(r.deadline, values)
	if err != nil {
		return nil, c.blame(r.deadline, values, err)
	}
	return b, nil
}

// blame names the key whose value the codec can't encode, and the way out where there is
// one.
func (c scsRecords) blame(deadline time.Time, values map[string]any, err error) error {
	for _, k := range slices.Sorted(maps.Keys(values)) {
		_, cause := c.codec.Encode(deadline, map[string]any{k: values[k]})
		if cause == nil {
			continue
		}
		err = fmt.Errorf("the key %q: %w", k, cause)
		if strings.Contains(cause.Error(), "gob: type not registered for interface") {
			err = fmt.Errorf("%w; store it with adapter.Put, which needs no gob.Register, or register its type", err)
		}
		break
	}
	return err
}

// A value that Put made JSON of is kept as UTF-16 in gob: a type that gob knows without
// gob.Register, so that plain scs reads the record too, and that no text has. Its first
// unit, which is no character, tells it from a []uint16 of the app's.
const packed = 0xFFFF

// pack returns the value as the codec is to keep it.
func (c scsRecords) pack(v *lazyValue) (any, error) {
	if _, ok := c.codec.(gobCodec); !ok {
		return v.get(), nil // a codec of the app's keeps maps and slices by itself
	}
	raw, err := v.json()
	if err != nil {
		return nil, err
	}
	return append([]uint16{packed}, utf16.Encode([]rune(string(raw)))...), nil
}

// unpack undoes pack, and leaves any other value as it is.
func unpack(v any) any {
	if units, ok := v.([]uint16); ok && len(units) > 1 && units[0] == packed {
		return &lazyValue{raw: wire.Raw(string(utf16.Decode(units[1:])))}
	}
	return v
}

func (c scsRecords) basic(v any) bool {
	switch v.(type) {
	case bool, string, int, int64, float64:
		_, ok := c.codec.(gobCodec)
		return ok
	}
	return false
}

// basics returns those of the values that are basic.
func (c scsRecords) basics(values map[string]any) map[string]any {
	basics := make(map[string]any, len(values))
	for k, v := range values {
		if c.basic(v) {
			basics[k] = v
		}
	}
	return basics
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
	if at, ok := values[sentKey]; ok {
		if at, ok := at.(int64); ok {
			r.sent = time.Unix(at, 0)
		}
		delete(values, sentKey)
	}
	if text, ok := values[maxAgeKey].(string); ok {
		r.ownAge = true
		if age, err := time.ParseDuration(text); err == nil {
			r.cookie.OriginalMaxAge = &age
		}
		delete(values, maxAgeKey)
	}
	for k, v := range values {
		if _, ok := v.([]uint16); ok {
			values[k] = unpack(v)
		}
	}
	return r, nil
}
