package adapter

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/samesid/samesid/internal/refusal"
	"github.com/samesid/samesid/internal/wire"
)

// signer signs cookies and verifies them by the secrets of the moment.
type signer struct {
	*wire.Signer
	secrets []*secretUse // in the order of the secrets
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
	next := &signer{Signer: wire.NewSigner(secrets)}
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
