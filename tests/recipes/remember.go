package recipes

import (
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
)

// Remember is given the app's own options: the secrets, the store.
func Remember(o adapter.Options, verify auth.Verifier[string]) (*adapter.Manager, *auth.Auth[string], error) {
	o.TTL = 12 * time.Hour         // without the tick: until the browser is closed, or unused for so long
	o.ResendAfter = 24 * time.Hour // with it, a visit prolongs the cookie, at most once a day
	sessions, err := adapter.New(o)
	if err != nil {
		return nil, nil, err
	}
	users, err := auth.New(sessions, verify, auth.Options{RememberFor: 30 * 24 * time.Hour})
	return sessions, users, err
}
