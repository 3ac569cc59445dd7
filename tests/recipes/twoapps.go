package recipes

import (
	"errors"
	"net/http"

	"github.com/samesid/samesid/adapter"
)

// TwoApps makes the sessions of a shop at / and of its administration at /admin/. Each is given
// a secret and a store of its own, such as another prefix or table.
func TwoApps(shop, admin adapter.Options) (shopSessions, adminSessions *adapter.Manager, err error) {
	shop.Name, admin.Name = "__Host-shop", "__Secure-admin"
	shop.Cookie = adapter.Cookie{Secure: adapter.SecureAlways, SameSite: adapter.SameSiteLax}
	admin.Cookie = adapter.Cookie{Secure: adapter.SecureAlways, SameSite: adapter.SameSiteStrict, Path: "/admin"}
	shopSessions, err = adapter.New(shop)
	adminSessions, err2 := adapter.New(admin)
	return shopSessions, adminSessions, errors.Join(err, err2)
}

// Mount gives each handler the sessions of its own app.
func Mount(mux *http.ServeMux, shopSessions, adminSessions *adapter.Manager, shop, admin http.Handler) {
	mux.Handle("/admin/", adminSessions.LoadAndSave(admin))
	mux.Handle("/", shopSessions.LoadAndSave(shop))
}
