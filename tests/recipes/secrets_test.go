//go:build unix

package recipes

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends/memory"
	"github.com/samesid/samesid/internal/leaktest"
)

// instances are two programs on one store. Each has a file of its own, as a deployment reaches
// one after the other.
type instances struct {
	t        *testing.T
	sessions [2]*adapter.Manager
	files    [2]string
	browser  [2]func() browser
}

func newInstances(t *testing.T, secrets string) *instances {
	t.Helper()
	in := &instances{t: t}
	store := memory.New(memory.Options{})
	t.Cleanup(func() { _ = store.Close() })
	for i := range in.sessions {
		in.files[i] = filepath.Join(t.TempDir(), "secrets")
		m, err := adapter.New(adapter.Options{Secrets: []string{"one that is replaced at the start"}, Store: store, Cookie: adapter.Cookie{Secure: adapter.SecureAlways}})
		if err != nil {
			t.Fatal(err)
		}
		in.sessions[i] = m
		in.set(i, secrets)
		in.browser[i] = serve(t, m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				m.Put(r.Context(), "user", "ada")
			} else if m.GetString(r.Context(), "user") == "" {
				w.WriteHeader(http.StatusUnauthorized)
			}
		})))
	}
	return in
}

func (in *instances) set(i int, secrets string) {
	in.t.Helper()
	if err := os.WriteFile(in.files[i], []byte(secrets), 0o600); err != nil {
		in.t.Fatal(err)
	}
	if err := ReloadSecrets(in.sessions[i], in.files[i]); err != nil {
		in.t.Error(err)
	}
}

// agree reports whether each instance knows the sessions that begin on the other.
func (in *instances) agree() bool {
	in.t.Helper()
	ok := true
	for i := range in.sessions {
		here, there := in.browser[i](), in.browser[1-i]()
		here.send("POST", "/", "")
		there.client.Jar = here.client.Jar // the cookies of 127.0.0.1 are the same on every port
		ok = there.send("GET", "/", "").status == http.StatusOK && ok
	}
	return ok
}

func TestRotation(t *testing.T) {
	old, next := "old-0123456789abcdef0123456789ab", "new-0123456789abcdef0123456789ab"
	leaktest.Note(old, next)
	in := newInstances(t, old)
	early := in.browser[0]()
	early.send("POST", "/", "")
	for _, step := range []string{old + "\n" + next + "\n", next + "\n" + old, next} {
		for i := range in.sessions {
			in.set(i, step)
			if !in.agree() {
				t.Errorf("with instance %d ahead, a session is not known", i)
			}
		}
		// A visit has the cookie signed by the first secret.
		early.want(http.StatusOK, "", "GET", "/", "")
	}
	if err := ReloadSecrets(in.sessions[0], in.files[0]+"-gone"); err == nil {
		t.Error("a file that is not there is no error")
	}
	if err := os.WriteFile(in.files[0], nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ReloadSecrets(in.sessions[0], in.files[0]); err == nil {
		t.Error("an empty file is no error")
	}
	early.want(http.StatusOK, "", "GET", "/", "")

	// In another order, users are logged out.
	for _, first := range []string{next + "\n" + old, next} {
		in := newInstances(t, old)
		in.set(0, first)
		if in.agree() {
			t.Error("the order does not matter")
		}
	}
}

func TestOldSecretIsUsed(t *testing.T) {
	in := newInstances(t, secret)
	b := in.browser[0]()
	b.send("POST", "/", "")
	in.set(0, "new-0123456789abcdef0123456789ab "+secret)
	b.want(http.StatusOK, "", "GET", "/", "")
	b.want(http.StatusOK, "", "GET", "/", "")
	if uses := in.sessions[0].SecretUses(); len(uses) != 2 || uses[0] != 1 || uses[1] != 1 {
		t.Errorf("the secrets are used %v times, want once each", uses)
	}
}
