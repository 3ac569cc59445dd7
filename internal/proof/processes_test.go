//go:build unix

package proof

import (
	"fmt"
	"testing"

	"github.com/samesid/samesid/adapter/config"
	"github.com/samesid/samesid/backends/driver"
	"github.com/samesid/samesid/backends/postgres"
	"github.com/samesid/samesid/backends/redis"
	"github.com/samesid/samesid/internal/testserver"
)

// Two processes on one store share a session, whatever the layout. It outlives a crash of
// either process and of the server.
func TestTwoProcesses(t *testing.T) {
	t.Run("redis", func(t *testing.T) {
		server := testserver.StartRedis(t, "--appendonly", "yes")
		for _, layout := range redisLayouts {
			t.Run(layout, func(t *testing.T) {
				twoProcesses(t, server, fmt.Sprintf("url: ${PROOF_URL}\nlayout: %s\nprefix: 'proof-%s:'", layout, layout))
			})
		}
	})
	t.Run("postgres", func(t *testing.T) {
		server := testserver.StartPostgres(t)
		for _, layout := range postgresLayouts {
			t.Run(layout, func(t *testing.T) {
				twoProcesses(t, server, fmt.Sprintf("url: ${PROOF_URL}\nlayout: %s\ntableName: proof-%s\ncreateTable: true", layout, layout))
			})
		}
	})
}

var (
	redisLayouts    = driver.Names(redis.Backend.Layouts)
	postgresLayouts = driver.Names(postgres.Backend.Layouts)
)

func twoProcesses(t *testing.T, server *testserver.Server, store string) {
	t.Setenv("PROOF_URL", server.URL)
	file := writeConfig(t, store)
	a, b := startApp(t, file), startApp(t, file)
	ada := newBrowser(t)

	ada.post(a.url+"/login", credentials("ada", adaPassword))
	ada.get(b.url+"/me", "ada a= b=")
	ada.post(b.url+"/note/a/1", "")
	ada.get(a.url+"/me", "ada a=1 b=")

	// Both of two concurrent changes, one in each process, are kept.
	slow := ada.begin(a.url + "/slow/a/2")
	ada.post(b.url+"/note/b/2", "")
	ada.post(a.url+"/finish", "")
	if res := <-slow; res.status != 200 || res.err != nil {
		t.Errorf("the slow request: %v", res)
	}
	ada.get(a.url+"/me", "ada a=2 b=2")
	ada.get(b.url+"/me", "ada a=2 b=2")

	a.kill()
	ada.get(b.url+"/me", "ada a=2 b=2")
	a = startApp(t, file)
	ada.get(a.url+"/me", "ada a=2 b=2")

	for _, end := range []func(){server.Stop, server.Kill} {
		end()
		if res := ada.send(ada.request(t.Context(), "GET", a.url+"/me", "")); res.status != 503 {
			t.Errorf("with the server down: %v, want a 503", res)
		}
		server.Start()
		// Both processes still hold connections to the server that crashed.
		ada.get(a.url+"/me", "ada a=2 b=2")
		ada.get(b.url+"/me", "ada a=2 b=2")
		ada.post(b.url+"/note/b/2", "")
	}

	// A logout in one process is final in the other, even for a running request.
	slow = ada.begin(a.url + "/slow/a/3")
	stolen := newBrowser(t)
	stolen.setCookies(a.url, ada.cookies(a.url))
	stolen.get(a.url+"/me", "ada a=2 b=2")
	ada.post(b.url+"/logout", "")
	ada.post(a.url+"/finish", "")
	if res := <-slow; res.status != 200 || res.cookie != "" || res.err != nil {
		t.Errorf("the request that ran during the logout: %v, want a 200 without a cookie", res)
	}
	for _, url := range []string{a.url, b.url} {
		ada.get(url+"/me", "")
		stolen.get(url+"/me", "")
	}
	s, err := config.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if n, err := s.Backend.Len(t.Context()); n != 0 || err != nil {
		t.Errorf("after the logout the store has %d sessions, %v", n, err)
	}
}
