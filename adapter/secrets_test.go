package adapter_test

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/internal/leaktest"
	"github.com/samesid/samesid/internal/wire"
)

const newSecret = "another secret, of thirty-two bytes"

// A rotation in three steps, on a Manager that serves all the while: no request loses its
// session, and the counts tell when the old secret can go.
func TestSetSecrets(t *testing.T) {
	leaktest.Note(newSecret)
	m := newManager(t, adapter.Options{})
	id := begin(t, m, map[string]any{"user": "u"})
	old := cookieFor(id)

	user := func(cookie string) (user, sent string) {
		w := serve(m, cookie, func(_ http.ResponseWriter, r *http.Request) { user = m.GetString(r.Context(), "user") })
		if c := w.Result().Cookies(); len(c) > 0 {
			sent = c[0].Name + "=" + c[0].Value
		}
		return user, sent
	}
	for _, step := range [][]string{{secret, newSecret}, {newSecret, secret}} {
		if err := m.SetSecrets(step); err != nil {
			t.Fatal(err)
		}
		if got, _ := user(old); got != "u" {
			t.Fatalf("with %d secrets the user is %q", len(step), got)
		}
	}
	_, fresh := user(old)
	if fresh == "" || fresh == old {
		t.Fatal("a cookie that the old secret has signed is not sent again")
	}
	for range 3 {
		if got, sent := user(fresh); got != "u" || sent != "" {
			t.Errorf("with the new cookie the user is %q, and a cookie is sent: %v", got, sent != "")
		}
	}
	// The first two were verified by the old one while it was the first, the others after.
	if got := m.SecretUses(); !slices.Equal(got, []uint64{3, 3}) {
		t.Errorf("the secrets have verified %d cookies", got)
	}
	if err := m.SetSecrets([]string{newSecret}); err != nil {
		t.Fatal(err)
	}
	if got, _ := user(fresh); got != "u" {
		t.Errorf("without the old secret the user is %q", got)
	}
	if got, _ := user(old); got != "" {
		t.Errorf("a secret that was dropped still verifies: the user is %q", got)
	}
	if got := m.SecretUses(); !slices.Equal(got, []uint64{4}) {
		t.Errorf("the secret has verified %d cookies", got)
	}
}

// What can't be used changes nothing, and is named without being shown.
func TestSetSecretsRefused(t *testing.T) {
	m := newManager(t, adapter.Options{})
	cookie := cookieFor(begin(t, m, map[string]any{"user": "u"}))
	for want, secrets := range map[string][]string{
		"Options.Secrets: none given":        nil,
		"Options.Secrets[1]: is empty; drop": {newSecret, ""},
	} {
		if err := m.SetSecrets(secrets); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), newSecret) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	serve(m, cookie, func(_ http.ResponseWriter, r *http.Request) {
		if m.GetString(r.Context(), "user") != "u" {
			t.Error("the secrets have changed")
		}
	})
	none := newManager(t, adapter.Options{Signature: adapter.SignatureNone})
	if err := none.SetSecrets([]string{newSecret}); err == nil || !strings.Contains(err.Error(), "SignatureNone") {
		t.Errorf("without signatures: %v", err)
	}
	if none.SecretUses() != nil {
		t.Error("without signatures there are secrets")
	}
}

// Secrets change while requests run: none of them fails, and no count is lost.
func TestSetSecretsUnderLoad(t *testing.T) {
	m := newManager(t, adapter.Options{})
	cookie := cookieFor(begin(t, m, map[string]any{"user": "u"}))
	const clients, requests = 4, 200
	var wg, swapping sync.WaitGroup
	stop := make(chan struct{})
	swapping.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				if err := m.SetSecrets([][]string{{secret, newSecret}, {newSecret, secret}}[i%2]); err != nil {
					t.Error(err)
				}
			}
		}
	})
	before := m.SecretUses()[0]
	for range clients {
		wg.Go(func() {
			for range requests {
				w := serve(m, cookie, func(_ http.ResponseWriter, r *http.Request) {
					if m.GetString(r.Context(), "user") != "u" {
						t.Error("a request has lost its session")
					}
				})
				if w.Code != http.StatusOK {
					t.Errorf("status %d", w.Code)
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	swapping.Wait()
	if err := m.SetSecrets([]string{secret}); err != nil {
		t.Fatal(err)
	}
	if got := m.SecretUses()[0] - before; got != clients*requests {
		t.Errorf("%d cookies were counted, want %d", got, clients*requests)
	}
}

// Sign is HMAC-SHA256 with a key that HKDF derives from the first secret.
func TestSign(t *testing.T) {
	leaktest.Note(newSecret)
	m := newManager(t, adapter.Options{})
	key, err := hkdf.Key(sha256.New, []byte(secret), []byte("samesid"), "a purpose", 32)
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("a.text"))
	want := base64.RawStdEncoding.EncodeToString(mac.Sum(nil))
	got := m.Sign("a purpose", "a.text")
	if got != want {
		t.Fatalf("Sign returns %q, want %q", got, want)
	}
	dotted := m.Sign("a purpose", "a.text.more")
	for _, c := range []struct {
		what, purpose, text, signature string
		want                           bool
	}{
		{"what was signed", "a purpose", "a.text", got, true},
		{"another purpose", "another", "a.text", got, false},
		{"another text", "a purpose", "a.test", got, false},
		{"another signature", "a purpose", "a.text", m.Sign("a purpose", "a.test"), false},
		{"a longer text's end in the signature", "a purpose", "a.text", "more." + dotted, false},
		{"no signature", "a purpose", "a.text", "", false},
		{"no text", "a purpose", "", m.Sign("a purpose", ""), false},
		{"a text that begins as a cookie does", "a purpose", "s:a.text", got, false},
	} {
		if ok := m.Verify(c.purpose, c.text, c.signature); ok != c.want {
			t.Errorf("%s: Verify is %t", c.what, ok)
		}
	}

	// A rotation: all secrets verify, and the first one signs.
	for _, step := range []struct {
		secrets []string
		old     bool
	}{{[]string{secret, newSecret}, true}, {[]string{newSecret, secret}, true}, {[]string{newSecret}, false}} {
		if err := m.SetSecrets(step.secrets); err != nil {
			t.Fatal(err)
		}
		if ok := m.Verify("a purpose", "a.text", got); ok != step.old {
			t.Errorf("with %d secrets, the old signature verifies: %t", len(step.secrets), ok)
		}
	}
	if m.Sign("a purpose", "a.text") == got {
		t.Error("the new secret signs as the old one")
	}
}

// No signature is worth anything as a session's cookie, nor the other way round.
func TestSignIsApartFromCookies(t *testing.T) {
	m := newManager(t, adapter.Options{})
	id := begin(t, m, map[string]any{"user": "u"})
	for _, purpose := range []string{"", "samesid", "connect.sid"} {
		serve(m, "connect.sid="+wire.EncodeURIComponent("s:"+id+"."+m.Sign(purpose, id)), func(_ http.ResponseWriter, r *http.Request) {
			if m.Token(r.Context()) != "" {
				t.Errorf("a signature for the purpose %q opens a session", purpose)
			}
		})
		signature := strings.TrimPrefix(wire.NewSigner([]string{secret}).Sign(id), "s:"+id+".")
		if m.Verify(purpose, id, signature) {
			t.Errorf("the signature of a session's cookie verifies for the purpose %q", purpose)
		}
	}
}
