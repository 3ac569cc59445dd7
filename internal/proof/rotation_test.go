//go:build unix

package proof

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/adapter/config"
	"github.com/samesid/samesid/backends/driver"
	"github.com/samesid/samesid/backends/memory"
	"github.com/samesid/samesid/internal/leaktest"
	"github.com/samesid/samesid/internal/rig"
	"github.com/samesid/samesid/internal/wire"
)

// instance is one of two processes behind a load balancer: its Manager, and how it learns of
// other secrets.
type instance struct {
	sessions *adapter.Manager
	change   func(secrets ...string)
}

// learns is longer than an instance takes to use what was changed.
const learns = 15 * time.Second

// rotation is how the secrets of two instances are changed, one after the other: what each
// round puts into both, from the secret that signs and the next one.
type rotation struct {
	name    string
	steps   func(current, next string) [][]string
	toldOff bool // clients are logged out, in this order
}

var rotations = []rotation{
	// The order of docs/operations.md.
	{"behind, in front, alone", func(current, next string) [][]string {
		return [][]string{{current, next}, {next, current}, {next}}
	}, false},
	{"in front at once", func(current, next string) [][]string {
		return [][]string{{next, current}, {next}}
	}, true},
	{"dropped at once", func(current, next string) [][]string {
		return [][]string{{current, next}, {next}}
	}, true},
}

// Clients sign in, read, change and log out by two instances in turn while the secret is
// replaced, and that one too, and the instances learn of it at different times. In the order that
// the documentation names, each request succeeds and nobody is logged out. In another one,
// the clients notice.
func TestSecretsChangeUnderLoad(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T, *memory.Store, string) instance{
		"secretFile": fromFiles, "SetSecrets": fromCode,
	} {
		for _, r := range rotations {
			t.Run(name+", "+r.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { rotate(t, open, r) })
			})
		}
	}
}

func rotate(t *testing.T, open func(*testing.T, *memory.Store, string) instance, r rotation) {
	secret := func(n int) string {
		s := fmt.Sprintf("secret %d of thirty-two bytes or so", n)
		leaktest.Note(s)
		return s
	}
	leaktest.Note(rig.Password)
	store := memory.New(memory.Options{})
	defer store.Close()
	hosts := map[string]chan net.Conn{}
	var all []instance
	var urls []string
	for _, host := range []string{"one.test:80", "two.test:80"} {
		i := open(t, store, secret(0))
		handler, err := rig.Handler(i.sessions)
		if err != nil {
			t.Fatal(err)
		}
		l := pipes(make(chan net.Conn))
		server := &http.Server{Handler: handler}
		go func() { _ = server.Serve(l) }()
		defer server.Close()
		hosts[host] = l
		all, urls = append(all, i), append(urls, "http://"+host)
	}

	watched := &watchedTB{TB: t}
	load := rig.Start(watched, urls, rig.Options{Stays: true, Pace: 3 * time.Second, Dial: func(ctx context.Context, _, addr string) (net.Conn, error) {
		client, server := net.Pipe()
		select {
		case hosts[addr] <- server:
			return client, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}})
	load.Next(false)
	times := 2
	if r.toldOff {
		times = 1
	}
	for n := range times {
		current, next := secret(n), secret(n+1)
		for _, secrets := range r.steps(current, next) {
			if len(secrets) == 1 && !r.toldOff {
				allSignedBy(t, load, next)
			}
			for _, i := range rand.Perm(len(all)) {
				all[i].change(secrets...)
				time.Sleep(learns/3 + rand.N(learns))
			}
			time.Sleep(learns)
		}
	}
	load.Stop()
	load.Verify()
	if !rig.Each(func(c rig.Tally) bool { return c.Failed == 0 && c.Pages > times && c.Writes > times })(load.Groups) {
		t.Error("requests failed, or there were few")
	}
	if failed := watched.errors.Load() > 0; failed != r.toldOff {
		t.Errorf("%d errors of clients; they are to see some: %t", watched.errors.Load(), r.toldOff)
	}
	for _, i := range all {
		if uses := i.sessions.SecretUses(); uses[0] == 0 {
			t.Errorf("the last secret has verified nothing: %d", uses)
		}
	}
}

// allSignedBy waits, as an operator does for the age of a cookie, until each client's cookie
// is signed by a secret.
func allSignedBy(t *testing.T, load *rig.Load, secret string) {
	signer := wire.NewSigner([]string{secret})
	began := time.Now()
	for _, g := range load.Groups {
		for signed := false; !signed; {
			if time.Since(began) > time.Hour {
				t.Fatal("cookies are not signed anew")
			}
			time.Sleep(time.Second)
			_, value, _ := strings.Cut(load.Cookie(g), "=")
			value, _ = url.QueryUnescape(strings.ReplaceAll(value, "+", "%2B"))
			_, signed = signer.Unsign(value)
		}
	}
}

// fromFiles is an instance with a configuration file. Its secrets are in two files, which are
// replaced as a folder, as Kubernetes does.
func fromFiles(t *testing.T, store *memory.Store, secret string) instance {
	dir, n := t.TempDir(), 0
	i := instance{change: func(secrets ...string) {
		n++
		next := filepath.Join(dir, fmt.Sprint(n))
		err := os.Mkdir(next, 0o700)
		for file, at := range map[string]int{"first": 0, "second": len(secrets) - 1} {
			if err == nil {
				err = os.WriteFile(filepath.Join(next, file), []byte(secrets[at]+"\n"), 0o600)
			}
		}
		if err == nil {
			err = os.Symlink(next, filepath.Join(dir, "new"))
		}
		if err == nil {
			err = os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "secrets"))
		}
		if err != nil {
			t.Fatal(err)
		}
	}}
	i.change(secret)
	file := filepath.Join(dir, "session.json")
	if err := os.WriteFile(file, []byte(`{"secretFile": ["secrets/first", "secrets/second"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	shared := memory.Backend
	shared.Open = func(context.Context, string, any, *slog.Logger) (driver.Store, error) { return store, nil }
	c, err := config.Load(file, shared)
	if err != nil {
		t.Fatal(err)
	}
	c.Options.Logger = (&leaktest.Log{}).Logger()
	if i.sessions, _, err = c.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	return i
}

// fromCode is an instance that is told by SetSecrets.
func fromCode(t *testing.T, store *memory.Store, secret string) instance {
	m, err := adapter.New(adapter.Options{
		Secrets: []string{secret}, Store: store, Logger: (&leaktest.Log{}).Logger(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return instance{m, func(secrets ...string) {
		if err := m.SetSecrets(secrets); err != nil {
			t.Error(err)
		}
	}}
}

// watchedTB counts errors, and does not fail.
type watchedTB struct {
	testing.TB
	errors atomic.Int64
}

func (w *watchedTB) Errorf(format string, args ...any) {
	w.errors.Add(1)
	w.TB.Logf(format, args...)
}

// pipes is a listener whose connections stay within a testing/synctest bubble.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }
