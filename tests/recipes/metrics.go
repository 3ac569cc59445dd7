package recipes

import (
	"expvar"

	"github.com/samesid/samesid/adapter"
)

// PublishStats adds the numbers of the sessions to those of expvar.Handler. Call it once.
func PublishStats(sessions *adapter.Manager) {
	expvar.Publish("sessions", expvar.Func(func() any {
		return map[string]any{"stats": sessions.Stats(), "secretUses": sessions.SecretUses()}
	}))
}
