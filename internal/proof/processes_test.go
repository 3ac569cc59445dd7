//go:build unix

package proof

import (
	"net/http"
	"testing"

	"github.com/samesid/samesid/internal/eachstore"
	"github.com/samesid/samesid/internal/rig"
)

// Two processes on one store share a session, whatever the layout. It outlives a crash of
// either process and of the server.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	eachstore.RunOwn(t, true, twoProcesses, eachstore.Kind.Lasts)
}

func twoProcesses(t *testing.T, p *eachstore.Place) {
	file := configFile(t, p)
	a, b := startApp(t, file), startApp(t, file)
	ada := rig.NewUser(t, "ada", a.url)

	ada.Login()
	ada.On(b.url).Sees("")
	ada.Put("a", "1")
	ada.On(a.url).Sees("a=1")

	// Both of two concurrent changes, one in each process, are kept.
	slow := ada.Slow(t.Context(), "a", "2")
	ada.On(b.url).Put("b", "2")
	slow.Finish()
	for _, url := range []string{a.url, b.url} {
		ada.On(url).Sees("a=2 b=2")
	}

	// A process is killed amid the requests of many users. Whatever it has acknowledged
	// is there, and they go on in the other one, and in its successor.
	users := rig.Start(t, []string{a.url, b.url}, rig.Options{})
	users.Down(a.url)
	a.kill()
	ada.On(b.url).Sees("a=2 b=2")
	a = startApp(t, file)
	users.Move("", a.url)
	users.Recover()
	ada.On(a.url).Sees("a=2 b=2")

	if s := p.Server; s != nil {
		for _, end := range []func(){s.Stop, s.Kill} {
			end()
			if got := ada.Do(http.MethodGet, "/me", ""); got.Status != http.StatusServiceUnavailable {
				t.Errorf("with the server down: %v, want a 503", got)
			}
			s.Start()
			// Both processes still hold connections to the server that crashed.
			for _, url := range []string{a.url, b.url} {
				ada.On(url).Sees("a=2 b=2")
			}
			ada.Put("b", "2")
		}
	}

	// A logout in one process is final in the other, even for a running request.
	slow = ada.On(a.url).Slow(t.Context(), "a", "3")
	stolen := rig.NewUser(t, "ada", a.url)
	stolen.Cookie = ada.Cookie
	stolen.Sees("a=2 b=2")
	ada.On(b.url).Logout()
	if got := slow.Finish(); got.Cookie() != "" {
		t.Errorf("the request that ran during the logout: %v, want no cookie", got)
	}
	for _, url := range []string{a.url, b.url} {
		ada.On(url).IsOut()
		stolen.On(url).IsOut()
	}
	id := rig.ID(stolen.Cookie)
	if data := p.Records(t, p.Open(t)).Get(t, id); data != nil {
		t.Error("after the logout the session is in the store")
	}
}
