//go:build unix

package recipes

import (
	"encoding/json"
	"expvar"
	"net/http"
	"sync"
	"testing"

	"github.com/samesid/samesid/adapter"
)

// published is the Manager of the numbers: a name can be published once.
var published = sync.OnceValue(func() *adapter.Manager {
	sessions := adapter.MustNew(adapter.Options{Secrets: []string{secret}})
	PublishStats(sessions)
	return sessions
})

func TestPublishStats(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle("GET /debug/vars", expvar.Handler())
	mux.Handle("/", published().LoadAndSave(http.NotFoundHandler()))
	b := serve(t, mux)()
	type numbers struct {
		Stats      adapter.Stats `json:"stats"`
		SecretUses []uint64      `json:"secretUses"`
	}
	read := func() numbers {
		var vars struct {
			Sessions numbers `json:"sessions"`
		}
		if err := json.Unmarshal([]byte(b.want(http.StatusOK, "", "GET", "/debug/vars", "")), &vars); err != nil {
			t.Fatal(err)
		}
		return vars.Sessions
	}
	before := read()
	b.want(http.StatusNotFound, "", "GET", "/", "", "Cookie", "connect.sid=s%3Ax.forged")
	if after := read(); after.Stats.BadSignatures != before.Stats.BadSignatures+1 || len(after.SecretUses) != 1 {
		t.Errorf("the numbers were %+v and are %+v", before, after)
	}
}
