package auth

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"golang.org/x/crypto/bcrypt"
)

func TestHashPassword(t *testing.T) {
	hash, err := HashPassword("secret")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("hash %s", hash)
	}
	again, err := HashPassword("secret")
	if err != nil || again == hash {
		t.Error("two hashes of one password are the same")
	}
	for pw, want := range map[string]bool{"secret": true, "Secret": false, "secret ": false, "": false} {
		if ok, err := compareHash(hash, pw); ok != want || err != nil {
			t.Errorf("%q: %t, %v, want %t", pw, ok, err, want)
		}
	}
	if _, err := HashPassword(""); err == nil {
		t.Error("an empty password was hashed")
	}
}

func TestCompareHash(t *testing.T) {
	ours, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	b := string(ours)
	for _, tt := range []struct {
		name, hash, password string
		want                 bool
	}{
		// Made by the reference implementation (argon2 -id -t 2 -k 65536 -p 1).
		{"argon2id", "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "password", true},
		{"argon2id, wrong", "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "Password", false},
		{"bcrypt", b, "secret", true},
		{"bcrypt, wrong", b, "Secret", false},
		{"bcrypt 2b", "$2b$" + b[4:], "secret", true},
		{"bcrypt 2y", "$2y$" + b[4:], "secret", true},
		// The test vector of OpenBSD's own suite.
		{"bcrypt of OpenBSD", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U", true},
		{
			"bcrypt, longer than it reads", "$2a$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui",
			"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789chars after 72 are ignored", true,
		},
	} {
		if ok, err := compareHash(tt.hash, tt.password); ok != tt.want || err != nil {
			t.Errorf("%s: %t, %v, want %t", tt.name, ok, err, tt.want)
		}
	}
}

func TestDamagedHash(t *testing.T) {
	const salt, key = "c29tZXNhbHQ", "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	for _, hash := range []string{
		"secret",
		"5ebe2294ecd0e0f08eab7690d2a6ee69",
		"$",
		"$$$$$",
		"$1$salt$hash",
		"$2",
		"$2a$",
		"$2b$10$short",
		"$2b$99$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
		"$argon2i$v=19$m=64,t=2,p=1$" + salt + "$" + key,
		"$argon2id$v=16$m=64,t=2,p=1$" + salt + "$" + key,
		"$argon2id$m=64,t=2,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=64,t=0,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=64,t=2,p=0$" + salt + "$" + key,
		"$argon2id$v=19$m=64,t=2,p=256$" + salt + "$" + key,
		"$argon2id$v=19$m=64,t=4294967295,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=4294967295,t=2,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=64,t=2$" + salt + "$" + key,
		"$argon2id$v=19$m=64,t=2,p=1$" + salt,
		"$argon2id$v=19$m=64,t=2,p=1$" + salt + "$",
		"$argon2id$v=19$m=64,t=2,p=1$$" + key,
		"$argon2id$v=19$m=64,t=2,p=1$" + salt + "$" + key + "=",
		"$argon2id$v=19$m=64,t=2,p=1$" + salt + "$!" + key,
		"$argon2id$v=19$m=64,t=2,p=1$" + salt + "$" + key + "$",
		"x$argon2id$v=19$m=64,t=2,p=1$" + salt + "$" + key,
	} {
		ok, err := compareHash(hash, "secret")
		if ok || err == nil {
			t.Errorf("%s: %t, %v, want an error", hash, ok, err)
		}
		if err != nil && len(hash) > 2 && strings.Contains(err.Error(), hash) {
			t.Errorf("the error has the hash in it: %v", err)
		}
	}
}

func TestPasswords(t *testing.T) {
	hash, err := HashPassword("secret")
	if err != nil {
		t.Fatal(err)
	}
	errDown := errors.New("connection refused")
	verify := Passwords(func(_ context.Context, username string) (string, string, error) {
		switch username {
		case "ada":
			return "Ada", hash, nil
		case "oauth":
			return "OAuth", "", nil
		case "damaged":
			return "Damaged", "plain", nil
		case "down":
			return "", "", errDown
		}
		return "", "", fmt.Errorf("%s: %w", username, ErrInvalid)
	})
	for _, tt := range []struct {
		username, password, want string
		err                      error
	}{
		{"ada", "secret", "Ada", nil},
		{"ada", "wrong", "", ErrInvalid},
		{"nobody", "secret", "", ErrInvalid}, // although the password matches Ada's hash
		{"oauth", "secret", "", ErrInvalid},
		{"oauth", "", "", ErrInvalid},
		{"damaged", "plain", "", errHash},
		{"down", "secret", "", errDown},
	} {
		got, err := verify(t.Context(), tt.username, tt.password)
		if got != tt.want || !errors.Is(err, tt.err) || errors.Is(err, ErrInvalid) != errors.Is(tt.err, ErrInvalid) {
			t.Errorf("%s, %s: %q, %v, want %q, %v", tt.username, tt.password, got, err, tt.want, tt.err)
		}
	}
}

// An unknown user costs one hash of the same kind and cost as a wrong password.
func TestSameWork(t *testing.T) {
	stored := "$2b$12$the hash of a user"
	var compared []string
	verify := passwordsBy(func(_ context.Context, username string) (string, string, error) {
		switch username {
		case "ada":
			return "Ada", stored, nil
		case "oauth":
			return "OAuth", "", nil
		}
		return "", "", ErrInvalid
	}, func(hash, password string) (bool, error) {
		compared = append(compared, hash)
		return password == "secret", nil
	})
	work := func(username, password string) string {
		t.Helper()
		compared = nil
		_, _ = verify(t.Context(), username, password)
		if len(compared) != 1 {
			t.Fatalf("%s: %d hashes were computed, want 1", username, len(compared))
		}
		return compared[0]
	}

	if got := work("nobody", "wrong"); !strings.HasPrefix(got, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("before any user was seen: compared with %s", got)
	}
	if ok, err := compareHash(work("nobody", "wrong"), "wrong"); ok || err != nil {
		t.Errorf("what an unknown user is compared with can't be computed: %v", err)
	}
	if got := work("ada", "wrong"); got != stored {
		t.Errorf("a wrong password: compared with %s", got)
	}
	for _, name := range []string{"nobody", "oauth"} {
		if got := work(name, "wrong"); got != stored {
			t.Errorf("%s: compared with %s, want the kind of the stored ones", name, got)
		}
		if got, err := verify(t.Context(), name, "secret"); got != "" || !errors.Is(err, ErrInvalid) {
			t.Errorf("%s signed in by another user's password: %q, %v", name, got, err)
		}
	}
}

// The number of concurrent hashes is bounded, and so is their memory.
func TestHashesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		running, most := 0, 0
		goOn := make(chan struct{})
		verify := passwordsBy(func(context.Context, string) (string, string, error) {
			return "Ada", "hash", nil
		}, func(string, string) (bool, error) {
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			<-goOn
			mu.Lock()
			running--
			mu.Unlock()
			return true, nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var wg sync.WaitGroup
		for range 4 * runtime.GOMAXPROCS(0) {
			wg.Go(func() { _, _ = verify(t.Context(), "ada", "secret") })
		}
		synctest.Wait()
		left := make(chan error)
		go func() {
			_, err := verify(ctx, "ada", "secret")
			left <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("a login whose client has gone: %v", err)
		}
		close(goOn)
		wg.Wait()
		if most != runtime.GOMAXPROCS(0) {
			t.Errorf("%d hashes at once, want %d", most, runtime.GOMAXPROCS(0))
		}
	})
}
