//go:build unix

package proof

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/samesid/samesid/adapter/config"
	"github.com/samesid/samesid/backends/sqlite"
	"github.com/samesid/samesid/internal/eachstore"
	"github.com/samesid/samesid/internal/leaktest"
	"github.com/samesid/samesid/internal/rig"
	"github.com/samesid/samesid/internal/testserver"
)

// copiesAtOnce has redis-cli --rdb not wait for others who ask for a copy.
var copiesAtOnce = []string{"--repl-diskless-sync-delay", "0"}

// A backup that is made while two processes serve requests brings back the sessions of its
// time, those that were logged out of later too. The processes go on, and what
// docs/operations.md says to do next ends the sessions that must not live.
func TestBackup(t *testing.T) {
	t.Parallel()
	eachstore.RunSome(t, func(t *testing.T, k eachstore.Kind) {
		t.Parallel()
		var server *testserver.Server
		if k.HasServer() && !k.HasTable() {
			server = testserver.StartRedis(t, copiesAtOnce...) // without an append-only file, which would count instead
		}
		p := k.On(t, server)
		leaktest.Note(rig.Secret, rig.Password)
		file := p.File(t, map[string]any{"secret": rig.Secret, "userPath": "user", "cookie": map[string]any{"maxAge": "1h"}})
		a, b := startApp(t, file), startApp(t, file)
		ada, bob, carl := rig.NewUser(t, "ada", a.url), rig.NewUser(t, "bob", a.url), rig.NewUser(t, "carl", a.url)
		ada.Login()
		ada.Put("a", "1")
		bob.Login()

		load := rig.Start(t, []string{a.url, b.url}, rig.Options{})
		restore := backup(t, p)
		load.Stop()
		load.Verify()

		ada.Put("a", "2")
		bob.Logout()
		bob.IsOut()
		carl.Login()
		if p.HasServer() {
			restore()
		} else { // no process may have the file open
			a.kill()
			b.kill()
			restore()
			a, b = startApp(t, file), startApp(t, file)
		}
		for _, url := range []string{a.url, b.url} {
			ada.On(url).Sees("a=1")
			bob.On(url).Sees("") // has logged out, and is in again
			carl.On(url).IsOut()
		}

		sessions, store, err := config.Open(t.Context(), file, sqlite.Backend)
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		if n, err := sessions.DestroyUser(t.Context(), "bob"); n != 1 || err != nil {
			t.Errorf("DestroyUser: %d, %v", n, err)
		}
		for _, url := range []string{a.url, b.url} {
			bob.On(url).IsOut()
			ada.On(url).Sees("a=1")
		}
		if _, err := sessions.DestroyWhere(t.Context(), func(context.Context) bool { return true }); err != nil {
			t.Error(err)
		}
		for _, url := range []string{a.url, b.url} {
			ada.On(url).IsOut()
		}
		carl.Login()
		carl.Put("c", "3")
		carl.On(a.url).Sees("c=3")
	}, eachstore.Kind.Lasts)
}

// A Redis with an append-only file does not look at a dump that was put in its place, even if
// it has no such file yet: docs/operations.md warns of it.
func TestRedisBackupAndAppendOnlyFile(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t, append(copiesAtOnce, "--appendonly", "yes")...)
	for _, k := range eachstore.All() {
		if !k.HasServer() || k.HasTable() {
			continue
		}
		p := k.On(t, server)
		p.Redis(t, "SET", p.Settings["prefix"].(string)+"x", "a session", "EX", "3600")
		restore := backup(t, p)
		if err := os.RemoveAll(filepath.Join(server.Dir, "appendonlydir")); err != nil {
			t.Fatal(err)
		}
		restore()
		if n := p.Redis(t, "DBSIZE"); n != int64(0) {
			t.Errorf("%v keys are there: docs/operations.md need not warn any more", n)
		}
	}
}

// backup makes a backup as docs/operations.md says, and returns what restores it.
func backup(t *testing.T, p *eachstore.Place) (restore func()) {
	t.Helper()
	run := func(program string, args ...string) {
		t.Helper()
		if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", filepath.Base(program), err, out)
		}
	}
	copyOf := filepath.Join(t.TempDir(), "backup")
	switch {
	case p.HasTable() && p.HasServer():
		url := testserver.Postgres(t)
		run(testserver.PostgresProgram(t, "pg_dump"), "--format=custom", "--schema="+p.Schema(t), "--file="+copyOf, url)
		return func() {
			run(testserver.PostgresProgram(t, "pg_restore"), "--clean", "--if-exists", "--single-transaction", "--dbname="+url, copyOf)
		}
	case p.HasTable():
		file := strings.TrimPrefix(p.URL, "sqlite:")
		db := p.DB(t)
		if _, err := db.ExecContext(t.Context(), "VACUUM INTO ?", copyOf); err != nil {
			t.Fatal(err)
		}
		db.Close()
		return func() {
			for _, of := range []string{"-wal", "-shm"} {
				if err := os.Remove(file + of); err != nil && !os.IsNotExist(err) {
					t.Fatal(err)
				}
			}
			if err := os.Rename(copyOf, file); err != nil {
				t.Fatal(err)
			}
		}
	}
	host, port, _ := strings.Cut(p.Host(t), ":")
	run(testserver.RedisCLI(t), "-h", host, "-p", port, "--rdb", copyOf)
	return func() {
		p.Server.Stop()
		if err := os.Rename(copyOf, filepath.Join(p.Server.Dir, "dump.rdb")); err != nil {
			t.Fatal(err)
		}
		p.Server.Start()
	}
}
