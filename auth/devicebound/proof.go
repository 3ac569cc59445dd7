package devicebound

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
)

// A proof is the JWT in the header Secure-Session-Response: "DBSC Proof JWT" in the draft.
//
// It is read with the standard library. A general JWT library chooses the algorithm and the
// key by what the token says, and has to be told not to; here the two algorithms are fixed,
// the key is the caller's, and all of it can be read on this page.
type proof struct {
	alg       string
	challenge string          // the claim "jti"
	jwk       json.RawMessage // the header's key, nil without; only a registration reads it
	signed    string          // what the signature is of
	signature []byte
}

// maxProof is the maximum length of a header's value, in bytes. A proof with an RSA key of
// 4096 bits has about 2300.
const maxProof = 4096

var errMalformed = errors.New("devicebound: malformed proof")

// headerValue returns the value of a header that a browser sends once: an sf-string (RFC
// 9651) of the draft, or without quotes, as Chromium 156 sends it. ok is false for anything
// else. Both are "" without the header.
func headerValue(h http.Header, name string) (value string, ok bool) {
	values := h[name]
	if len(values) == 0 {
		return "", true
	}
	if len(values) > 1 || len(values[0]) > maxProof {
		return "", false
	}
	value = values[0]
	if rest, quoted := strings.CutPrefix(value, `"`); quoted {
		var after string
		value, after, ok = strings.Cut(rest, `"`)
		if !ok || after != "" && after[0] != ';' { // parameters are to be ignored
			return "", false
		}
	}
	for i := range len(value) {
		if c := value[i]; !isToken(c) {
			return "", false
		}
	}
	return value, value != ""
}

// isToken reports whether a byte can be in base64url, or is the dot of a JWT.
func isToken(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.'
}

var base64url = base64.RawURLEncoding.Strict()

// parseProof reads a proof, and verifies nothing: isSignedBy alone decides by its algorithm.
func parseProof(token string) (*proof, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errMalformed
	}
	var raw [3][]byte
	for i, part := range parts {
		b, err := base64url.DecodeString(part)
		if err != nil {
			return nil, errMalformed
		}
		raw[i] = b
	}
	header, err := object(raw[0])
	if err != nil {
		return nil, err
	}
	claims, err := object(raw[1])
	if err != nil {
		return nil, err
	}
	p := &proof{jwk: header["jwk"], signed: parts[0] + "." + parts[1], signature: raw[2]}
	var typ string
	if typ, err = text(header, "typ"); err != nil || typ != "dbsc+jwt" {
		return nil, errMalformed
	}
	if p.alg, err = text(header, "alg"); err != nil {
		return nil, err
	}
	if _, critical := header["crit"]; critical { // RFC 7515, 4.1.11
		return nil, errMalformed
	}
	if p.challenge, err = text(claims, "jti"); err != nil {
		return nil, err
	}
	return p, nil
}

// object reads a JSON object. Unlike encoding/json, it takes names as they are written, and
// refuses one that is there twice.
func object(b []byte) (map[string]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errMalformed
	}
	members := map[string]json.RawMessage{}
	for dec.More() {
		t, err := dec.Token()
		name, ok := t.(string)
		if _, twice := members[name]; err != nil || !ok || twice {
			return nil, errMalformed
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, errMalformed
		}
		members[name] = value
	}
	if _, err := dec.Token(); err != nil {
		return nil, errMalformed
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errMalformed
	}
	return members, nil
}

// text returns the member of a name, which must be a string.
func text(members map[string]json.RawMessage, name string) (s string, err error) {
	raw := members[name]
	if len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &s) != nil {
		return "", errMalformed
	}
	return s, nil
}

// ownKey returns the key that a registration's proof has in its header: a JWK (RFC 7517) of
// one of the two kinds.
func (p *proof) ownKey() (crypto.PublicKey, error) {
	jwk, err := object(p.jwk)
	if err != nil {
		return nil, err
	}
	kty, err := text(jwk, "kty")
	if err != nil {
		return nil, err
	}
	part := func(name string) []byte {
		s, textErr := text(jwk, name)
		b, decodeErr := base64url.DecodeString(s)
		err = errors.Join(err, textErr, decodeErr)
		return b
	}
	var key crypto.PublicKey
	switch kty {
	case "EC":
		crv, _ := text(jwk, "crv")
		x, y := part("x"), part("y")
		if err != nil || crv != "P-256" || len(x) != 32 || len(y) != 32 {
			return nil, errMalformed
		}
		// This refuses what is no point of the curve.
		key, err = ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, x...), y...))
	case "RSA":
		n, e := part("n"), part("e")
		if err != nil || !bytes.Equal(e, []byte{1, 0, 1}) {
			return nil, errMalformed
		}
		key = &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 1<<16 + 1}
	default:
		return nil, errMalformed
	}
	if err != nil || !usable(key) {
		return nil, errMalformed
	}
	return key, nil
}

// usable reports whether a key is of one of the two algorithms.
func usable(key crypto.PublicKey) bool {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		return key.Curve == elliptic.P256()
	case *rsa.PublicKey:
		bits := key.N.BitLen()
		return bits >= 2048 && bits <= 4096 && key.E == 1<<16+1
	}
	return false
}

// isSignedBy reports whether the key has signed the proof. The key's type decides the
// algorithm, and the proof must name the same.
func (p *proof) isSignedBy(key crypto.PublicKey) bool {
	sum := sha256.Sum256([]byte(p.signed))
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		if p.alg != "ES256" || len(p.signature) != 64 { // RFC 7518, 3.4
			return false
		}
		r, s := new(big.Int).SetBytes(p.signature[:32]), new(big.Int).SetBytes(p.signature[32:])
		return ecdsa.Verify(key, sum[:], r, s)
	case *rsa.PublicKey:
		return p.alg == "RS256" && rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], p.signature) == nil
	}
	return false
}

// encodeKey returns a key as a session has it: PKIX, in base64url.
func encodeKey(key crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("devicebound: %w", err)
	}
	return base64url.EncodeToString(der), nil
}

// decodeKey is the inverse of encodeKey. ok is false for anything else.
func decodeKey(s string) (key crypto.PublicKey, ok bool) {
	der, err := base64url.DecodeString(s)
	if err != nil {
		return nil, false
	}
	key, err = x509.ParsePKIXPublicKey(der)
	return key, err == nil && usable(key)
}
