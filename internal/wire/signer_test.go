package wire

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

func TestSignVectors(t *testing.T) {
	type vector struct{ Secret, ID, Value, Cookie string }
	plus, slash := false, false
	for _, v := range vectors[vector](t, "sign.json") {
		s := NewSigner([]string{v.Secret})
		value := s.Sign(v.ID)
		if value != v.Value {
			t.Errorf("Sign(%q) by %q = %q, want %q", v.ID, v.Secret, value, v.Value)
		}
		if got := EncodeURIComponent(value); got != v.Cookie {
			t.Errorf("EncodeURIComponent(%q) = %q, want %q", value, got, v.Cookie)
		}
		if id, ok := s.Unsign(v.Value); id != v.ID || !ok {
			t.Errorf("Unsign(%q) by %q = %q, %v", v.Value, v.Secret, id, ok)
		}
		signature := v.Value[strings.LastIndexByte(v.Value, '.'):]
		plus = plus || strings.Contains(signature, "+")
		slash = slash || strings.Contains(signature, "/")
	}
	if !plus || !slash {
		t.Error("no signature has a + or no signature has a / in it")
	}
}

func TestUnsignVectors(t *testing.T) {
	type vector struct {
		Secrets []string
		Value   string
		ID      *string
	}
	found := 0
	for _, v := range vectors[vector](t, "unsign.json") {
		want := ""
		if v.ID != nil {
			want = *v.ID
			found++
		}
		if id, ok := NewSigner(v.Secrets).Unsign(v.Value); id != want || ok != (v.ID != nil) {
			t.Errorf("Unsign(%q) = %q, %v, want %q", v.Value, id, ok, want)
		}
	}
	if found == 0 {
		t.Error("no value is right")
	}
}

func TestSignerRotation(t *testing.T) {
	old := NewSigner([]string{"old"})
	both := NewSigner([]string{"new", "old"})
	if id, ok := both.Unsign(old.Sign("id")); id != "id" || !ok {
		t.Error("the second secret does not verify")
	}
	if both.Sign("id") != NewSigner([]string{"new"}).Sign("id") {
		t.Error("the first secret does not sign")
	}
	if _, ok := old.Unsign(both.Sign("id")); ok {
		t.Error("a secret verifies what another one signed")
	}
	if _, ok := NewSigner(nil).Unsign(old.Sign("id")); ok {
		t.Error("a signer without secrets verifies")
	}
}

func TestSignerIsACopy(t *testing.T) {
	secrets := []string{"before"}
	s := NewSigner(secrets)
	want := s.Sign("id")
	secrets[0] = "after"
	if s.Sign("id") != want {
		t.Error("changing the slice changed the signer")
	}
}

func TestSignerPrintsNoSecret(t *testing.T) {
	s := NewSigner([]string{"hush-hush"})
	s.Sign("id")
	if text := fmt.Sprintf("%v %+v %#v", s, *s, s); strings.Contains(text, "hush") || strings.Contains(text, "104 117") {
		t.Error("printing a signer shows its secret")
	}
}

func TestSignerConcurrently(t *testing.T) {
	s := NewSigner([]string{"one", "two"})
	two := NewSigner([]string{"two"})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				want := fmt.Sprintf("%d-%d", g, i)
				for _, value := range []string{s.Sign(want), two.Sign(want)} {
					if id, ok := s.Unsign(value); id != want || !ok {
						t.Errorf("Unsign(%q) = %q, %v", value, id, ok)
					}
				}
			}
		})
	}
	wg.Wait()
}

// Under the race detector a sync.Pool sometimes drops an entry, so the bound is not
// zero. A new hash for each call would exceed it.
func TestUnsignReusesItsHash(t *testing.T) {
	s := NewSigner([]string{"secret"})
	value := s.Sign(sessionID)
	if n := testing.AllocsPerRun(500, func() { s.Unsign(value) }); n > 5 {
		t.Errorf("Unsign allocates %v times", n)
	}
}
