package adapter

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"

	"github.com/samesid/samesid/backends/contract"
)

// identity is what a session is known by: its id in the cookie, and its key in the
// store. The two part ways where ids are hashed, and until a new id is stored.
type identity struct {
	id     string // "" until it is needed
	fixed  string // the key, where the id itself may not be known: in Iterate
	at     string // the key that the store has the session under; "": it does not have it
	random bool   // the id is 192 random bits of our own, which nobody else has

	// fresh: nothing of the record at "at" is taken over, as Regenerate asks for.
	fresh bool
	// renewed: the id is another than the request began with.
	renewed bool
	// merged are the sessions that this one takes over when it is saved.
	merged []merged
}

// merged is another session whose data was put into this one.
type merged struct {
	contract.Record
	put map[string]any // what it has put
	was map[string]any // what was there before, as far as anything was

	renewed bool // RenewToken came after it
}

// exists reports whether the store has the session, as far as this request knows.
func (i *identity) exists() bool { return i.at != "" }

// key returns the key that the session is to be stored under.
func (i *identity) key(cfg *config) string {
	switch {
	case i.fixed != "":
		return i.fixed
	case cfg.hash:
		return hashID(i.id)
	}
	return i.id
}

// renew gives the session a new id. It stays stored under its old key until the
// session is saved.
func (i *identity) renew(cfg *config, r *http.Request) error {
	i.id, i.fixed, i.renewed = "", "", true
	return i.need(cfg, r)
}

// need makes sure that the session has an id.
func (i *identity) need(cfg *config, r *http.Request) error {
	if i.id != "" {
		return nil
	}
	if cfg.GenID == nil {
		var b [24]byte
		if _, err := rand.Read(b[:]); err != nil {
			return fmt.Errorf("session: new id: %w", err)
		}
		i.id, i.random = base64.RawURLEncoding.EncodeToString(b[:]), true
		return nil
	}
	id := cfg.GenID(r)
	if err := validateID(id); err != nil {
		return fmt.Errorf("session: GenID returned %w", err)
	}
	i.id, i.random = id, false
	return nil
}

// records returns what the store holds of the session, as this request knows it: its
// own record, whose bytes are data, and those that it takes over.
func (i *identity) records(data []byte) []contract.Record {
	records := make([]contract.Record, 0, 1+len(i.merged))
	if i.exists() {
		records = append(records, contract.Record{Token: i.at, Data: data})
	}
	for _, m := range i.merged {
		records = append(records, m.Record)
	}
	return records
}

// hashID returns what scs's HashTokenInStore makes of a token.
func hashID(id string) string {
	sum := sha256.Sum256([]byte(id))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// shortHash names a session in the log without giving its id away.
func shortHash(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:6])
}

// validateID says what is wrong with an id that did not come signed.
func validateID(id string) error {
	if len(id) == 0 || len(id) > 128 {
		return fmt.Errorf("an id of %d bytes; it must have 1 to 128", len(id))
	}
	for _, c := range []byte(id) {
		if c <= ' ' || c > '~' {
			return errors.New("an id that is not printable ASCII")
		}
	}
	return nil
}
