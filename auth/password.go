package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// The argon2id parameters for new hashes are the first choice of OWASP's Password
// Storage Cheat Sheet.
const (
	memoryKiB  = 19 * 1024
	passes     = 2
	threads    = 1
	saltLength = 16
	keyLength  = 32
)

// errHash never quotes the hash.
var errHash = errors.New("auth: the stored hash is neither argon2id nor bcrypt, or is damaged")

// HashPassword returns an argon2id hash of a password for storage, as a PHC
// string: $argon2id$v=19$m=19456,t=2,p=1$salt$key (RFC 9106, with OWASP's
// parameters). Node's argon2 package verifies it. An empty password is an error,
// as Login refuses one. The caller decides how strong a password must be.
func HashPassword(password string) (string, error) {
	if password == "" {
		return "", errors.New("auth: hash: the password is empty")
	}
	salt := random(saltLength)
	return phc(salt, argon2.IDKey([]byte(password), salt, passes, memoryKiB, threads, keyLength)), nil
}

func phc(salt, key []byte) string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, memoryKiB, passes, threads,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key))
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// Passwords returns a Verifier that looks users up and verifies their password
// hashes: argon2id in PHC form, as HashPassword returns, and bcrypt ($2a$, $2b$,
// $2y$), as Express apps often have. bcrypt reads at most 72 bytes of a password.
//
// lookup must return ErrInvalid, or wrap it, for an unknown user. An empty hash
// means that the user has no password and signs in another way. Both cases take as
// much work as a wrong password: the Verifier computes a hash of the kind and cost
// that lookup returned last. The times are therefore equal as long as all stored
// hashes have the same kind and cost. Any other kind of hash is an error, and so a
// 500.
//
// As each argon2id hash takes 19 MiB of memory, at most GOMAXPROCS are computed at
// once. Other calls wait until their context ends.
func Passwords[U any](lookup func(ctx context.Context, username string) (user U, hash string, err error)) Verifier[U] {
	return passwordsBy(lookup, compareHash)
}

func passwordsBy[U any](
	lookup func(ctx context.Context, username string) (user U, hash string, err error),
	compare func(hash, password string) (bool, error),
) Verifier[U] {
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	var last atomic.Pointer[string] // what an unknown user's password is compared with
	dummy := phc(random(saltLength), random(keyLength))
	last.Store(&dummy)

	return func(ctx context.Context, username, password string) (U, error) {
		var nobody U
		user, hash, err := lookup(ctx, username)
		if err != nil && !errors.Is(err, ErrInvalid) {
			return nobody, err
		}
		known := err == nil && hash != ""
		if !known {
			hash = *last.Load()
		}

		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nobody, ctx.Err()
		}
		defer func() { <-slots }()
		same, err := compare(hash, password)
		if err != nil {
			return nobody, err
		}
		if !known {
			return nobody, ErrInvalid
		}
		last.Store(&hash)
		if !same {
			return nobody, ErrInvalid
		}
		return user, nil
	}
}

// compareHash reports whether a password has this hash. The comparison takes
// constant time.
func compareHash(hash, password string) (bool, error) {
	if strings.HasPrefix(hash, "$2a$") || strings.HasPrefix(hash, "$2b$") || strings.HasPrefix(hash, "$2y$") {
		switch err := bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)); {
		case err == nil:
			return true, nil
		case errors.Is(err, bcrypt.ErrMismatchedHashAndPassword):
			return false, nil
		}
		return false, errHash
	}

	var version int
	var memory, time uint32
	var parallel uint8
	fields := strings.Split(hash, "$")
	if len(fields) != 6 || fields[0] != "" || fields[1] != "argon2id" {
		return false, errHash
	}
	if _, err := fmt.Sscanf(fields[2], "v=%d", &version); err != nil || version != argon2.Version {
		return false, errHash
	}
	if _, err := fmt.Sscanf(fields[3], "m=%d,t=%d,p=%d", &memory, &time, &parallel); err != nil {
		return false, errHash
	}
	// A damaged hash must neither panic nor exhaust memory.
	const maxMemoryKiB, maxTime = 1 << 20, 100
	if time < 1 || time > maxTime || parallel < 1 || memory > maxMemoryKiB {
		return false, errHash
	}
	salt, err := base64.RawStdEncoding.Strict().DecodeString(fields[4])
	if err != nil || len(salt) < 8 {
		return false, errHash
	}
	key, err := base64.RawStdEncoding.Strict().DecodeString(fields[5])
	if err != nil || len(key) < 16 || len(key) > 128 {
		return false, errHash
	}
	got := argon2.IDKey([]byte(password), salt, time, memory, parallel, uint32(len(key)))
	return subtle.ConstantTimeCompare(got, key) == 1, nil
}
