//go:build unix

package recipes

import (
	"net/http"
	"net/http/cookiejar"
	"testing"

	"github.com/samesid/samesid/adapter"
)

func TestTwoApps(t *testing.T) {
	shop, admin, err := TwoApps(
		adapter.Options{Secrets: []string{"shop-0123456789abcdef0123456789ab"}},
		adapter.Options{Secrets: []string{"admin-0123456789abcdef0123456789"}})
	if err != nil {
		t.Fatal(err)
	}
	app := func(sessions *adapter.Manager) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				sessions.Put(r.Context(), "user", "ada")
			} else if sessions.GetString(r.Context(), "user") == "" {
				w.WriteHeader(http.StatusUnauthorized)
			}
		})
	}
	mux := http.NewServeMux()
	Mount(mux, shop, admin, app(shop), app(admin))
	visitor := serve(t, mux)

	b := visitor()
	b.want(http.StatusOK, "", "POST", "/", "")
	b.want(http.StatusOK, "", "GET", "/", "")
	b.want(http.StatusUnauthorized, "", "GET", "/admin/", "")
	stolen := b.cookie("/", "__Host-shop")
	if stolen == "" || b.cookie("/admin/", "__Secure-admin") != "" {
		t.Fatal("the shop's cookie is missing, or it is the administration's")
	}
	visitor().want(http.StatusUnauthorized, "", "GET", "/admin/", "", "Cookie", "__Secure-admin="+stolen)
	b.want(http.StatusOK, "", "POST", "/admin/users", "")
	b.want(http.StatusOK, "", "GET", "/admin/", "")
	if b.cookie("/", "__Secure-admin") != "" {
		t.Error("the shop is sent the administration's cookie")
	}
	// Without the administration's cookie, the shop's session is there and the other is not.
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	b.client.Jar = jar
	b.want(http.StatusOK, "", "GET", "/", "", "Cookie", "__Host-shop="+stolen)
	b.want(http.StatusUnauthorized, "", "GET", "/admin/", "", "Cookie", "__Host-shop="+stolen)
}
