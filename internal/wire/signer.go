package wire

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"hash"
	"strings"
	"sync"
)

const signedPrefix = "s:"

// base64.RawStdEncoding.EncodedLen(sha256.Size), which is no constant.
const signatureLen = 43

// Signer signs session ids and verifies them, with HMAC-SHA256 as npm
// cookie-signature 1.0.7 does. Make it with NewSigner; it is safe for
// concurrent use.
type Signer struct {
	keys []*sync.Pool // of *mac
}

// NewSigner returns a Signer for the secrets, whose bytes are the keys as they
// are. The first one signs and all of them verify. Without any, Unsign accepts
// nothing and Sign panics.
func NewSigner(secrets []string) *Signer {
	s := &Signer{keys: make([]*sync.Pool, len(secrets))}
	for i, secret := range secrets {
		// The secret is held by the closure alone, where printing a Signer
		// does not reach it.
		s.keys[i] = &sync.Pool{New: func() any {
			return &mac{hash: hmac.New(sha256.New, []byte(secret))}
		}}
	}
	return s
}

// Sign returns the cookie value for id, before it is percent-encoded: "s:", the
// id, "." and its signature by the first secret.
func (s *Signer) Sign(id string) string {
	m := s.keys[0].Get().(*mac)
	defer s.keys[0].Put(m)
	return signedPrefix + id + "." + string(m.sign(id))
}

// Unsign returns the id in a cookie value, percent-decoded, that Sign could
// have made with one of the secrets. ok is false for any other value, and for
// an empty id. The time it takes does not depend on how much of a signature is
// right.
func (s *Signer) Unsign(value string) (id string, ok bool) {
	signed, ok := strings.CutPrefix(value, signedPrefix)
	dot := strings.LastIndexByte(signed, '.')
	if !ok || dot < 1 || len(signed)-dot-1 != signatureLen {
		return "", false
	}
	id = signed[:dot]

	// The text is compared, not the bytes it stands for: base64 has more than
	// one text for the same bytes, and only one of them is the signature.
	var got [signatureLen]byte
	copy(got[:], signed[dot+1:])
	for _, key := range s.keys {
		m := key.Get().(*mac)
		equal := subtle.ConstantTimeCompare(m.sign(id), got[:])
		key.Put(m)
		if equal == 1 {
			return id, true
		}
	}
	return "", false
}

// mac is a keyed hash with the room it needs, so that using it again allocates
// nothing.
type mac struct {
	hash hash.Hash
	buf  [2 * sha256.Size]byte
	text [signatureLen]byte
}

// sign returns the signature of id, valid until the next call.
func (m *mac) sign(id string) []byte {
	m.hash.Reset()
	for id != "" {
		n := copy(m.buf[:], id)
		m.hash.Write(m.buf[:n])
		id = id[n:]
	}
	base64.RawStdEncoding.Encode(m.text[:], m.hash.Sum(m.buf[:0]))
	return m.text[:]
}
