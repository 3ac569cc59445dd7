package config

import (
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/samesid/samesid/backends/memory"
	"github.com/samesid/samesid/internal/leaktest"
)

// Kubernetes mounts a secret as a symbolic link to a folder that it swaps.
func swapFolder(t *testing.T, dir, next string) {
	t.Helper()
	if err := os.Symlink(next, filepath.Join(dir, "tmp")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "tmp"), filepath.Join(dir, "data")); err != nil {
		t.Fatal(err)
	}
}

func TestSecretFilesChange(t *testing.T) {
	const next = "the next secret, of thirty-two bytes"
	leaktest.Note(secret32, next)
	dir := t.TempDir()
	t.Chdir(dir)
	for folder, files := range map[string][2]string{
		"one": {secret32, secret32}, "two": {secret32, next}, "three": {next, secret32}, "four": {next, next}, "bad": {next, ""},
	} {
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(folder, "a"), files[0]+"\n")
		write(t, filepath.Join(folder, "b"), files[1]+"\n")
	}
	swapFolder(t, dir, "one")
	write(t, "session.yaml", "secretFile: [data/a, data/b]")

	synctest.Test(t, func(t *testing.T) {
		c, err := Load("session.yaml")
		if err != nil {
			t.Fatal(err)
		}
		log := &leaktest.Log{} // which checks what it gets for secrets
		c.Options.Logger = log.Logger()
		sessions, store, err := c.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		after := func(n int) string { // n looks
			log.Reset()
			for range n {
				time.Sleep(reloadInterval)
				synctest.Wait()
			}
			return log.String()
		}
		cookies := serve(sessions, nil, func(r *http.Request) { sessions.Put(r.Context(), "user", "ann") }).Result().Cookies()
		signedIn := func() bool {
			var user string
			w := serve(sessions, cookies, func(r *http.Request) { user = sessions.GetString(r.Context(), "user") })
			if sent := w.Result().Cookies(); len(sent) > 0 {
				cookies = sent
			}
			return user == "ann"
		}

		for _, folder := range []string{"two", "three", "four"} {
			swapFolder(t, dir, folder)
			if got := after(1); got != "" {
				t.Errorf("%s: at the first look: %s", folder, got)
			}
			if got := after(1); !strings.Contains(got, "their secrets are in use") || strings.Contains(got, "count no more") {
				t.Errorf("%s: at the second look: %s", folder, got)
			}
			if !signedIn() {
				t.Errorf("%s: the user is signed out", folder)
			}
		}
		if got := after(3); got != "" {
			t.Errorf("nothing has changed: %s", got)
		}

		// What can't be used is said once, and changes nothing.
		swapFolder(t, dir, "bad")
		if got := after(3); strings.Count(got, "can't be used") != 1 || !strings.Contains(got, "file is empty") || !strings.Contains(got, filepath.Join("data", "b")) {
			t.Errorf("an empty file: %s", got)
		}
		swapFolder(t, dir, "nowhere")
		if got := after(3); strings.Count(got, "can't be used") != 1 || !strings.Contains(got, "no such file") {
			t.Errorf("no file: %s", got)
		}
		if !signedIn() {
			t.Error("with files that can't be used, the user is signed out")
		}

		// A file that is half written at a look is not used.
		swapFolder(t, dir, "four")
		after(2)
		write(t, "four/a", next[:10])
		write(t, "four/b", next[:10])
		after(1)
		write(t, "four/a", next)
		write(t, "four/b", next)
		if got := after(3); got != "" || !signedIn() {
			t.Errorf("a file that was half written has been used: %s", got)
		}

		// The secret that signs is gone.
		swapFolder(t, dir, "one")
		if got := after(2); !strings.Contains(got, "count no more") || signedIn() {
			t.Errorf("another secret: %s", got)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
}

// What Open returns is the store itself, and the files are read for as long as the Manager is in
// use: a program that opens another one has no watch left over.
func TestWatchEndsWithTheManager(t *testing.T) {
	leaktest.Note(secret32)
	dir := t.TempDir()
	t.Chdir(dir)
	write(t, "a", secret32)
	write(t, "session.yaml", "secretFile: a")
	synctest.Test(t, func(t *testing.T) {
		log := &leaktest.Log{}
		failures := func() int { // of two looks at a file that can't be used, each for another reason
			log.Reset()
			write(t, "a", "")
			time.Sleep(reloadInterval)
			synctest.Wait()
			if err := os.Remove("a"); err != nil {
				t.Error(err)
			}
			time.Sleep(reloadInterval)
			synctest.Wait()
			return strings.Count(log.String(), "can't be used")
		}
		func() {
			c, err := Load("session.yaml")
			if err != nil {
				t.Fatal(err)
			}
			c.Options.Logger = log.Logger()
			sessions, store, err := c.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			if _, ok := store.(*memory.Store); !ok {
				t.Errorf("the store is a %T", store)
			}
			runtime.GC()
			if n := failures(); n != 2 {
				t.Errorf("%d errors of a Manager in use: %s", n, log)
			}
			runtime.KeepAlive(sessions)
		}()
		runtime.GC()
		if n := failures(); n != 0 {
			t.Errorf("%d errors of a Manager that is in use no more: %s", n, log)
		}
	})
}

// A secret in the file itself is not watched: there is no goroutine to end.
func TestSecretIsNotWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := load("", nil, []string{"SAMESID_SECRET=" + secret32})
		if err != nil {
			t.Fatal(err)
		}
		sessions, store, err := c.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Close(); err != nil || sessions.SecretUses() == nil {
			t.Error(err)
		}
	})
}
