//go:build unix

package recipes

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/samesid/samesid/auth"
)

func TestDevices(t *testing.T) {
	p, sessions, users := newPeople(t, auth.Options{NoteDevice: true})
	mux := http.NewServeMux()
	mux.Handle("POST /login", users.Login())
	mux.Handle("GET /me", hello(users))
	Devices(mux, sessions, users)
	mux.HandleFunc("POST /yesterday", func(w http.ResponseWriter, r *http.Request) {
		user, _ := p.byID(r.Context(), 1)
		if err := users.SignInWith(r.Context(), user, auth.SignInOptions{At: time.Now().Add(-24 * time.Hour)}); err != nil {
			sessions.ErrorFunc(w, r, err)
		}
	})
	visitor := serve(t, sessions.LoadAndSave(mux))
	signedIn := func(name, agent string) browser {
		b := visitor()
		b.login(http.StatusOK, name, password, "User-Agent", agent)
		return b
	}
	devices := func(b browser) (all []auth.Session) {
		t.Helper()
		if err := json.Unmarshal([]byte(b.want(http.StatusOK, "", "GET", "/devices", "")), &all); err != nil {
			t.Fatal(err)
		}
		return all
	}
	visitor().want(http.StatusUnauthorized, "", "GET", "/devices", "")
	visitor().want(http.StatusUnauthorized, "", "POST", "/devices/end-all", "")
	phone, laptop, tablet, bob := signedIn("ada", "phone"), signedIn("ada", "laptop"), signedIn("ada", "tablet"), signedIn("bob", "bob's")

	all := devices(phone)
	if len(all) != 3 || !all[0].Current || all[0].UserAgent != "phone" || all[0].Addr == "" {
		t.Fatalf("the devices are %+v", all)
	}
	handle := map[string]string{}
	for _, s := range all {
		handle[s.UserAgent] = s.Handle
	}
	end := "/devices/" + handle["tablet"] + "/end"
	phone.want(http.StatusForbidden, "", "POST", end, "", "Sec-Fetch-Site", "cross-site")
	bob.want(http.StatusOK, "false", "POST", end, "")
	tablet.want(http.StatusOK, "hello ada", "GET", "/me", "")
	phone.want(http.StatusOK, "true", "POST", end, "")
	phone.want(http.StatusOK, "false", "POST", end, "")
	tablet.want(http.StatusUnauthorized, "", "GET", "/me", "")

	old := visitor()
	old.want(http.StatusOK, "", "POST", "/yesterday", "")
	old.want(http.StatusUnauthorized, "Sign In Again", "POST", "/devices/end-others", "")
	old.want(http.StatusOK, "phone", "GET", "/devices", "")

	phone.want(http.StatusOK, "2", "POST", "/devices/end-others", "")
	laptop.want(http.StatusUnauthorized, "", "GET", "/me", "")
	phone.want(http.StatusOK, "hello ada", "GET", "/me", "")
	laptop = signedIn("ada", "laptop")
	phone.want(http.StatusOK, "2", "POST", "/devices/end-all", "")
	phone.want(http.StatusUnauthorized, "", "GET", "/me", "")
	laptop.want(http.StatusUnauthorized, "", "GET", "/me", "")
	bob.want(http.StatusOK, "hello bob", "GET", "/me", "")
}
