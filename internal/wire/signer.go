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

// signatureLen is base64.RawStdEncoding.EncodedLen(sha256.Size), as a constant.
const signatureLen = 43

// Signer signs session ids and verifies signatures, with HMAC-SHA256 like npm
// cookie-signature 1.0.7. Create it with NewSigner. It is safe for concurrent use.
type Signer struct {
	keys []*sync.Pool // of *mac
}

// NewSigner returns a Signer that uses the secrets' bytes as keys. The first one signs,
// and all of them verify. Without secrets, Unsign accepts nothing and Sign panics.
func NewSigner(secrets []string) *Signer {
	s := &Signer{keys: make([]*sync.Pool, len(secrets))}
	for i, secret := range secrets {
		// Only the closure holds the secret, so that printing a Signer does not
		// reveal it.
		s.keys[i] = &sync.Pool{New: func() any {
			return &mac{hash: hmac.New(sha256.New, []byte(secret))}
		}}
	}
	return s
}

// Sign returns the cookie value for id, not yet percent-encoded: "s:", the id, "." and
// its signature with the first secret.
func (s *Signer) Sign(id string) string {
	m := s.keys[0].Get().(*mac)
	defer s.keys[0].Put(m)
	return signedPrefix + id + "." + string(m.sign(id))
}

// Unsign returns the id in a percent-decoded cookie value that is signed with one of
// the secrets. ok is false for any other value, and for an empty id.
func (s *Signer) Unsign(value string) (id string, ok bool) {
	id, _, ok = s.Verify(value)
	return id, ok
}

// Verify is Unsign, and also returns the index of the secret. Its time does not depend
// on how much of a signature is right.
func (s *Signer) Verify(value string) (id string, secret int, ok bool) {
	signed, ok := strings.CutPrefix(value, signedPrefix)
	dot := strings.LastIndexByte(signed, '.')
	if !ok || dot < 1 || len(signed)-dot-1 != signatureLen {
		return "", 0, false
	}
	id = signed[:dot]

	// This compares the text, not the decoded bytes: several base64 texts decode to
	// the same bytes, and only one of them is the signature.
	var got [signatureLen]byte
	copy(got[:], signed[dot+1:])
	for i, key := range s.keys {
		m := key.Get().(*mac)
		equal := subtle.ConstantTimeCompare(m.sign(id), got[:])
		key.Put(m)
		if equal == 1 {
			return id, i, true
		}
	}
	return "", 0, false
}

// mac is a keyed hash with its buffers, so that reusing it allocates nothing.
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
