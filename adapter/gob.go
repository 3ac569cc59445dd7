package adapter

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"reflect"
	"sync"
	"time"

	"github.com/alexedwards/scs/v2"
)

// gobCodec reads and writes the records of scs.GobCodec. Those hold the definitions of
// their types, which scs compiles for each record: that takes far longer than all else.
// gobCodec writes the definitions first, which scs reads too, and keeps the encoders
// and decoders that have them already. Any other record, and each error, is
// scs.GobCodec's.
type gobCodec struct{}

// gobRecord is the type that scs.GobCodec encodes.
type gobRecord = struct {
	Deadline time.Time
	Values   map[string]any
}

// Encode implements scs.Codec.
func (gobCodec) Encode(deadline time.Time, values map[string]any) ([]byte, error) {
	if b, ok := encodeGob(&gobRecord{deadline, values}); ok {
		return b, nil
	}
	return scs.GobCodec{}.Encode(deadline, values)
}

func encodeGob(r *gobRecord) (b []byte, ok bool) {
	types, ok := gobTypesOf(r.Values)
	if !ok {
		return nil, false
	}
	var key [8]byte
	binary.LittleEndian.PutUint64(key[:], types)
	pool := gobEncoders.of(key[:])
	e, ok := pool.Get().(*gobEncoder)
	if !ok {
		if e, ok = newGobEncoder(r.Values); !ok {
			return nil, false
		}
	}
	if b, ok = e.encode(r); ok {
		pool.Put(e)
	}
	return b, ok
}

// Decode implements scs.Codec.
func (gobCodec) Decode(b []byte) (time.Time, map[string]any, error) {
	if r, ok := decodeGob(b); ok {
		return r.Deadline, r.Values, nil
	}
	return scs.GobCodec{}.Decode(b)
}

func decodeGob(b []byte) (r *gobRecord, ok bool) {
	n, ok := gobDefinitions(b)
	if !ok || n > maxGobDefinitions {
		return nil, false
	}
	pool := gobDecoders.of(b[:n])
	d, ok := pool.Get().(*gobDecoder)
	if ok {
		b = b[n:]
	} else {
		d = newGobDecoder()
	}
	r, err := d.decode(b)
	if err != nil {
		return nil, false
	}
	if _, ok := gobTypesOf(r.Values); ok {
		pool.Put(d)
	}
	return r, true
}

// gobEncoder is an encoder for records of one set of types.
type gobEncoder struct {
	out         bytes.Buffer
	enc         *gob.Encoder
	definitions []byte // of all types that it has written, in front of each record
}

// newGobEncoder returns an encoder that has the definitions of the values' types: gob
// writes the one of a value in an interface, if it has not before, in the middle of the
// record.
func newGobEncoder(values map[string]any) (e *gobEncoder, ok bool) {
	e = new(gobEncoder)
	e.enc = gob.NewEncoder(&e.out)
	for _, v := range values {
		if v == nil || isBasic(v) {
			continue
		}
		if r := reflect.ValueOf(v); r.Kind() == reflect.Pointer && r.IsNil() {
			return nil, false // gob panics
		}
		if _, ok := e.message(v); !ok {
			return nil, false
		}
	}
	return e, true
}

// encode returns a whole record. If it fails, e can't be used any more.
func (e *gobEncoder) encode(r *gobRecord) (b []byte, ok bool) {
	value, ok := e.message(&r)
	if !ok {
		return nil, false
	}
	b = make([]byte, 0, len(e.definitions)+len(value))
	return append(append(b, e.definitions...), value...), true
}

// message returns a value, valid until the next call, without the definitions of its types.
func (e *gobEncoder) message(v any) (value []byte, ok bool) {
	e.out.Reset()
	if err := e.enc.Encode(v); err != nil {
		return nil, false
	}
	out := e.out.Bytes()
	n, ok := gobDefinitions(out)
	e.definitions = append(e.definitions, out[:n]...)
	return out[n:], ok
}

// gobDecoder is a decoder for records that begin with the same definitions.
type gobDecoder struct {
	in  bytes.Reader
	dec *gob.Decoder
}

func newGobDecoder() *gobDecoder {
	d := new(gobDecoder)
	d.dec = gob.NewDecoder(&d.in)
	return d
}

// decode reads a record, without its definitions if d has read them before. d can't be
// used any more if it fails, or if the record may have had definitions elsewhere too.
func (d *gobDecoder) decode(b []byte) (*gobRecord, error) {
	d.in.Reset(b)
	defer d.in.Reset(nil)
	r := new(gobRecord)
	err := d.dec.Decode(&r)
	return r, err
}

// gobDefinitions returns how many bytes of a record are the type definitions that it
// begins with. ok is false unless one message follows them: a definition in the middle would
// end it. Package gob documents the format: a message is its length, a type id, which
// is negative for a definition, and the rest.
func gobDefinitions(b []byte) (n int, ok bool) {
	for {
		size, w := gobUint(b[n:])
		if w == 0 || size > uint64(len(b)-n-w) {
			return 0, false
		}
		end := n + w + int(size)
		id, width := gobUint(b[n+w : end])
		switch {
		case width == 0:
			return 0, false
		case id&1 == 0: // not negative
			return n, end == len(b)
		}
		n = end
	}
}

// gobUint reads an unsigned integer of gob, and returns its width too; 0 if there is none.
func gobUint(b []byte) (u uint64, width int) {
	if len(b) == 0 {
		return 0, 0
	}
	if b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	width = 1 - int(int8(b[0]))
	if width > 9 || width > len(b) {
		return 0, 0
	}
	for _, c := range b[1:width] {
		u = u<<8 | uint64(c)
	}
	return u, width
}

// gobPools are pools of encoders or decoders by what they know already.
type gobPools struct {
	mu    sync.RWMutex
	pools map[string]*sync.Pool
}

var (
	gobEncoders gobPools // by the set of types of the values
	gobDecoders gobPools // by the definitions
)

// An app has few sets of types, each with short definitions, and others after it was
// built anew. What a store has beyond that is not to fill the memory.
const (
	maxGobPools       = 256
	maxGobDefinitions = 1 << 14
)

func (p *gobPools) of(key []byte) *sync.Pool {
	p.mu.RLock()
	pool := p.pools[string(key)]
	p.mu.RUnlock()
	if pool != nil {
		return pool
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if pool = p.pools[string(key)]; pool == nil {
		if p.pools == nil || len(p.pools) >= maxGobPools {
			p.pools = map[string]*sync.Pool{}
		}
		pool = new(sync.Pool)
		p.pools[string(key)] = pool
	}
	return pool
}

// gobTypesOf returns the set of the values' types, without the basic ones, which need no
// definition. ok is false if one is not definedFirst.
func gobTypesOf(values map[string]any) (set uint64, ok bool) {
	for _, v := range values {
		if v == nil || isBasic(v) {
			continue
		}
		bit := gobBit(reflect.TypeOf(v))
		if bit == 0 {
			return 0, false
		}
		set |= bit
	}
	return set, true
}

var (
	gobBits    sync.Map // reflect.Type → uint64
	gobBitsMu  sync.Mutex
	nextGobBit uint64 = 1
)

// gobBit returns a type's bit in a set, 0 if it is not definedFirst. The types that come after all
// bits are taken have none either.
func gobBit(t reflect.Type) uint64 {
	if bit, ok := gobBits.Load(t); ok {
		return bit.(uint64)
	}
	gobBitsMu.Lock()
	defer gobBitsMu.Unlock()
	if bit, ok := gobBits.Load(t); ok {
		return bit.(uint64)
	}
	var bit uint64
	if definedFirst(t, map[reflect.Type]bool{}) {
		bit = nextGobBit
		nextGobBit <<= 1 // 0 after the last
	}
	gobBits.Store(t, bit)
	return bit
}

// definedFirst reports whether all definitions that a type needs can come first: those of
// a value in an interface that is not the record's own depend on the value.
func definedFirst(t reflect.Type, seen map[reflect.Type]bool) bool {
	if seen[t] {
		return true
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Interface:
		return false
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() && !definedFirst(f.Type, seen) {
				return false
			}
		}
	case reflect.Map:
		return definedFirst(t.Key(), seen) && definedFirst(t.Elem(), seen)
	case reflect.Slice, reflect.Array, reflect.Pointer:
		return definedFirst(t.Elem(), seen)
	}
	return true
}
