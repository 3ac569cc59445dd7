//go:build unix

package proof

import (
	"cmp"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"testing"

	"github.com/samesid/samesid/internal/eachstore"
	"github.com/samesid/samesid/internal/leaktest"
	"github.com/samesid/samesid/internal/rig"
)

// oldVar is an environment variable with the path of this package's test binary, made of
// another version of samesid: go test -c ./internal/proof. Without it, the test of a deploy
// tries this version beside itself.
const oldVar = "PROOF_OLD"

// For the time of a deploy, processes with the settings of before and of after serve the
// same users, who are handed to and fro. Nobody is logged out but by what docs/operations.md
// names.
func TestRollingDeploy(t *testing.T) {
	t.Parallel()
	scs := func(k eachstore.Kind) bool { return k.Layout.Name == "scs" && k.HasServer() }
	express := func(k eachstore.Kind) bool { return k.Layout.Express && k.HasServer() }
	for _, c := range []struct {
		name          string
		before, after map[string]any
		on            func(eachstore.Kind) bool
		logsOut       bool // whoever has been served by a new process is unknown to an old one
	}{
		{"version", nil, nil, func(k eachstore.Kind) bool { return os.Getenv(oldVar) != "" && k.Lasts() || scs(k) }, false},
		{"lifetimes", nil, map[string]any{"cookie": map[string]any{"maxAge": "2h"}, "rolling": true, "absoluteLifetime": "24h", "store": map[string]any{"touchAfter": "1m"}}, express, false},
		{"userPath", nil, map[string]any{"userPath": "user"}, express, false},
		{"storeKey from id to migrating", nil, map[string]any{"storeKey": "migrating"}, scs, true},
		{"storeKey from migrating to hash", map[string]any{"storeKey": "migrating"}, map[string]any{"storeKey": "hash"}, scs, false},
		{"codec from gob to json", map[string]any{"codec": "gob"}, map[string]any{"codec": "json"}, scs, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			eachstore.RunSome(t, func(t *testing.T, k eachstore.Kind) {
				t.Parallel()
				p := k.Place(t)
				leaktest.Note(rig.Secret, rig.Password)
				file := func(more map[string]any) string {
					all := map[string]any{"secret": rig.Secret, "cookie": map[string]any{"maxAge": "1h"}}
					maps.Copy(all, more)
					return p.File(t, all)
				}
				cmd := exec.Command(cmp.Or(os.Getenv(oldVar), os.Args[0]))
				cmd.Env = append(os.Environ(), configVar+"="+file(c.before))
				before := startProgram(t, cmd, func(line string) (string, bool) { return line, true })
				after := startApp(t, file(c.after))

				ada, bob := rig.NewUser(t, "ada", before.url), rig.NewUser(t, "bob", after.url)
				ada.Login()
				ada.Put("a", "1")
				ada.On(after.url).Sees("a=1")
				ada.Put("b", "2")
				ada.Sees("a=1 b=2")
				bob.Login()
				if c.logsOut {
					ada.On(before.url).IsOut()
					bob.On(before.url).IsOut()
					ada.On(after.url).Sees("a=1 b=2")
					return
				}
				bob.On(before.url).Sees("")
				ada.On(before.url).Sees("a=1 b=2")
				for _, url := range []string{before.url, after.url} {
					if got := ada.On(url).Do(http.MethodPost, "/renew", ""); got.Status != http.StatusOK {
						t.Errorf("a new id: %v", got)
					}
					for _, url := range []string{before.url, after.url} {
						ada.On(url).Sees("a=1 b=2")
					}
				}
				ada.On(before.url).Logout()
				ada.On(after.url).IsOut()
				bob.On(after.url).Logout()
				bob.On(before.url).IsOut()
			}, c.on)
		})
	}
}
