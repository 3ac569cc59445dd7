package devicebound

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/samesid/samesid/adapter"
)

// What Chromium 156 has sent.
const (
	registrationES256 = "eyJhbGciOiJFUzI1NiIsImp3ayI6eyJjcnYiOiJQLTI1NiIsImt0eSI6IkVDIiwieCI6IkZlNVJ6R0htNUxzbDhValkzQS1laUkwTGFONnZ1MVdFbXpFU19wS3h5QW8iLCJ5IjoicXdCU2UzVHdVUENrTVMxVU9TQThMdG9qSWt3OWRZUmNBM1VoQXZLTnJ5OCJ9LCJ0eXAiOiJkYnNjK2p3dCJ9.eyJqdGkiOiJyZWdjaGFsLmFiYy1fMTIzIn0.vxyv4GgDHasdyhKXeeTnODO3W-bxaAVbud1qj14xF2tZtCK3XpHabfZjxQGwNSPX_wzylmOnMrSjO5JZ013GIA"
	refreshES256      = "eyJhbGciOiJFUzI1NiIsInR5cCI6ImRic2Mrand0In0.eyJqdGkiOiJjaGFsLTIifQ.kK_VyydD0om8mC-_Nn7RXk18UC_5j7D9KaHTzfeBKDkI5dWBCcsDvzR-EBatP_yXl6YWbnMMBpP1RgnmIu3t3Q"
)

// The browser's own proofs are read as it means them.
func TestChromiumsProofs(t *testing.T) {
	p, err := parseProof(registrationES256)
	if err != nil {
		t.Fatal(err)
	}
	key, err := p.ownKey()
	if err != nil || p.challenge != "regchal.abc-_123" || !p.isSignedBy(key) {
		t.Errorf("%v, challenge %q, signed %t", err, p.challenge, err == nil && p.isSignedBy(key))
	}
	p, err = parseProof(refreshES256)
	if err != nil || p.challenge != "chal-2" || p.jwk != nil || !p.isSignedBy(key) {
		t.Errorf("%v, challenge %q", err, p.challenge)
	}
}

// A proof that is accepted is exactly one text: each of its parts is as the signature has it.
func FuzzParseProof(f *testing.F) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{registrationES256, refreshES256, "", "..", "e30.e30.", "eyJhbGciOiJub25lIn0.e30."} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		value, ok := headerValue(http.Header{"X": {token}}, "X")
		if !ok || value != token {
			return
		}
		p, err := parseProof(token)
		if err != nil {
			return
		}
		if again := p.signed + "." + base64.RawURLEncoding.EncodeToString(p.signature); again != token {
			t.Errorf("%q is read as %q", token, again)
		}
		if p.isSignedBy(&ec.PublicKey) {
			t.Errorf("%q is signed by a key that nobody knows", token)
		}
		key, err := p.ownKey()
		if err != nil {
			return
		}
		text, err := encodeKey(key)
		if err != nil {
			t.Fatal(err)
		}
		if stored, ok := decodeKey(text); !ok || !equal(stored, key) {
			t.Errorf("the key of %q does not come back", token)
		}
		if p.isSignedBy(key) && p.alg != "ES256" && p.alg != "RS256" {
			t.Errorf("%q is signed by %s", token, p.alg)
		}
	})
}

func equal(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

// A key is as it was given, and of one of the two kinds.
func FuzzKey(f *testing.F) {
	f.Add(`{"crv":"P-256","kty":"EC","x":"Fe5RzGHm5Lsl8UjY3A-eiI0LaN6vu1WEmzES_pKxyAo","y":"qwBSe3TwUPCkMS1UOSA8LtojIkw9dYRcA3UhAvKNry8"}`)
	f.Add(`{"kty":"RSA","e":"AQAB","n":"` + strings.Repeat("_", 342) + `"}`)
	f.Add(`{"kty":"RSA","e":"AQAB","n":"` + strings.Repeat("_", 341) + `w"}`)
	f.Add(`{"kty":"oct","k":"AAAA"}`)
	f.Add(`null`)
	f.Fuzz(func(t *testing.T, jwk string) {
		key, err := (&proof{jwk: []byte(jwk)}).ownKey()
		if err != nil {
			return
		}
		if !usable(key) {
			t.Errorf("%q gives a %T", jwk, key)
		}
		for _, p := range []proof{{alg: "ES256", signature: make([]byte, 64)}, {alg: "RS256", signature: make([]byte, 256)}} {
			if p.isSignedBy(key) {
				t.Errorf("zeros are a signature of %q", jwk)
			}
		}
	})
}

func FuzzHeaderValue(f *testing.F) {
	for _, seed := range []string{"abc", `"abc"`, `"abc";x=1`, `"`, `""`, `"a"b`, "", "a b", `"a\"b"`} {
		f.Add(seed, seed)
		f.Add(seed, "")
	}
	f.Fuzz(func(t *testing.T, one, two string) {
		h := http.Header{"X": {one}}
		if two != "" {
			h["X"] = append(h["X"], two)
		}
		value, ok := headerValue(h, "X")
		if !ok {
			return
		}
		if two != "" || value == "" || len(value) > maxProof || strings.ContainsFunc(value, func(r rune) bool { return r > '~' || !isToken(byte(r)) }) {
			t.Errorf("%q and %q give %q", one, two, value)
		}
		if bare, _, _ := strings.Cut(strings.TrimPrefix(one, `"`), `"`); bare != value {
			t.Errorf("%q gives %q", one, value)
		}
	})
}

// A JSON object is read as it is written, or not at all.
func FuzzObject(f *testing.F) {
	for _, seed := range []string{`{"a":1}`, `{"a":1,"a":2}`, `{"a":{"a":1}}`, `{}`, `{}x`, `[]`, `{"a"}`, `{"a":1,}`, "{\"a\":\"\xff\"}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		members, err := object(b)
		if err != nil {
			return
		}
		for name := range members {
			if s, err := text(members, name); err == nil && members[name][0] != '"' {
				t.Errorf("%q has the text %q", members[name], s)
			}
		}
	})
}

// Only what was stamped is taken, for its purpose and its id.
func FuzzStamped(f *testing.F) {
	m := adapter.MustNew(adapter.Options{Secrets: []string{"a secret of at least thirty-two bytes"}})
	b, err := New(m, Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("id", "1700000000000."+strings.Repeat("A", 43))
	f.Add("id", b.stamp(forCookie, "id", 1700000000000))
	f.Add("a.b", ".")
	f.Fuzz(func(t *testing.T, id, value string) {
		if at, ok := b.stamped(forCookie, id, value); ok && b.stamp(forCookie, id, at) != value {
			t.Errorf("%q is taken", value)
		}
		own := b.stamp(forCookie, id, 12345)
		if at, ok := b.stamped(forCookie, id, own); !ok || at != 12345 {
			t.Errorf("a stamp for %q is not taken", id)
		}
		if _, ok := b.stamped(forChallenge, id, own); ok {
			t.Error("another purpose's stamp is taken")
		}
		if _, ok := b.stamped(forCookie, id+"x", own); ok {
			t.Error("another id's stamp is taken")
		}
	})
}
