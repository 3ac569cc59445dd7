package adapter

import (
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/samesid/samesid/internal/refusal"
	"github.com/samesid/samesid/internal/wire"
)

// signer signs cookies and verifies them by the secrets of the moment.
type signer struct {
	*wire.Signer
	secrets []*secretUse // in the order of the secrets
	// derive returns a signer with keys of its own for a purpose. Only the closure holds the
	// secrets, so that printing a signer does not reveal them.
	derive  func(purpose string) *wire.Signer
	derived sync.Map // purpose → *wire.Signer
}

// of returns the signer for a purpose.
func (s *signer) of(purpose string) *wire.Signer {
	if d, ok := s.derived.Load(purpose); ok {
		return d.(*wire.Signer)
	}
	d, _ := s.derived.LoadOrStore(purpose, s.derive(purpose))
	return d.(*wire.Signer)
}

// deriving returns a signer's derive.
func deriving(secrets []string) func(purpose string) *wire.Signer {
	secrets = slices.Clone(secrets)
	return func(purpose string) *wire.Signer {
		keys := make([]string, len(secrets))
		for i, secret := range secrets {
			key, err := hkdf.Key(sha256.New, []byte(secret), []byte("samesid"), purpose, sha256.Size)
			if err != nil {
				panic("session: " + err.Error()) // HMAC refuses such a secret too
			}
			keys[i] = string(key)
		}
		return wire.NewSigner(keys)
	}
}

// Sign signs a text for a purpose of the app's own, such as a second cookie beside the
// session's, with the first of the secrets: 43 characters of unpadded base64. The text must
// not be empty. Each purpose has keys of its own (HKDF, RFC 5869), so that no signature is
// worth anything for another purpose, nor for a session's cookie. A purpose is a constant of
// the program: its keys are kept. Sign panics with SignatureNone, which has no secrets.
func (m *Manager) Sign(purpose, text string) string {
	signed := m.signer.Load().of(purpose).Sign(text)
	return signed[strings.LastIndexByte(signed, '.')+1:]
}

// Verify reports whether one of the secrets has signed the text for the purpose. Its time
// does not depend on how much of the signature is right. It panics with SignatureNone.
func (m *Manager) Verify(purpose, text, signature string) bool {
	signed, ok := m.signer.Load().of(purpose).Unsign("s:" + text + "." + signature)
	return ok && signed == text // a signature with a dot would be one of a longer text
}

// secretUse counts the cookies that a secret has verified.
type secretUse struct {
	hash     [sha256.Size]byte // tells the secret from others, and does not show it
	verified atomic.Uint64
}

// SetSecrets replaces Options.Secrets for all requests from then on, without a restart; a
// request that is under way may still use those from before. The rules and the order
// for a rotation are those of Options.Secrets: with several instances, append the new secret
// on each of them before one puts it first. An error names the secret that can't be used by its index, and
// the secrets stay as they were. It is safe for concurrent use.
func (m *Manager) SetSecrets(secrets []string) error {
	if m.cfg.Signature == SignatureNone {
		return errors.New("adapter: SetSecrets: Options.Signature is SignatureNone, so that no cookie is signed; drop the call, or sign the cookies")
	}
	r := refusal.List{Package: "adapter", Struct: "Options"}
	validateSecrets(&r, secrets)
	if err := r.Err(); err != nil {
		return err
	}
	m.setSecrets(secrets)
	return nil
}

func validateSecrets(r *refusal.List, secrets []string) {
	if len(secrets) == 0 {
		r.Add("Secrets", "none given, so cookies can't be signed; give at least one, of 32 random bytes")
	}
	for i, s := range secrets {
		if s == "" {
			r.Add(fmt.Sprintf("Secrets[%d]", i), "is empty; drop it or give it 32 random bytes")
		}
	}
}

func (m *Manager) setSecrets(secrets []string) {
	next := &signer{Signer: wire.NewSigner(secrets), derive: deriving(secrets)}
	for i, s := range secrets {
		if len(s) < 32 {
			m.cfg.Logger.Warn(fmt.Sprintf("session: Secrets[%d] is %d bytes long: use 32 random bytes or more", i, len(s)))
		}
		next.secrets = append(next.secrets, &secretUse{hash: sha256.Sum256([]byte(s))})
	}
	m.secretsMu.Lock() // so that no count is lost between two calls
	defer m.secretsMu.Unlock()
	if last := m.signer.Load(); last != nil {
		for i, s := range next.secrets {
			if j := slices.IndexFunc(last.secrets, func(l *secretUse) bool { return l.hash == s.hash }); j >= 0 {
				next.secrets[i] = last.secrets[j]
			}
		}
	}
	m.signer.Store(next)
}

// SecretUses returns how many cookies each secret has verified since this Manager was given
// it, in the order of the secrets; nil with SignatureNone. An old secret whose count no
// longer grows, for as long as a cookie lasts, can be dropped. Most browsers get a cookie that the
// first one has signed with their first request.
func (m *Manager) SecretUses() []uint64 {
	s := m.signer.Load()
	if s == nil {
		return nil
	}
	uses := make([]uint64, len(s.secrets))
	for i, u := range s.secrets {
		uses[i] = u.verified.Load()
	}
	return uses
}
