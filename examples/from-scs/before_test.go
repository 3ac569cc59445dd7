//go:build unix

package main

import (
	"database/sql"
	"time"

	"github.com/alexedwards/scs/postgresstore"
	"github.com/alexedwards/scs/redisstore"
	"github.com/alexedwards/scs/v2"
	"github.com/gomodule/redigo/redis"
)

// application is the app on scs.
type application struct {
	sessionManager *scs.SessionManager
}

func newApplication() *application {
	sm := scs.New()
	sm.Lifetime = 12 * time.Hour

	app := &application{
		sessionManager: sm,
	}
	return app
}

// before has the stores of an app on scs, as docs/migrating-from-scs.md shows them.
var before = stores{
	redis: func(sm *scs.SessionManager, pool *redis.Pool) error {
		sm.Store = redisstore.New(pool)
		return nil
	},
	postgres: func(sm *scs.SessionManager, db *sql.DB) error {
		sm.Store = postgresstore.New(db)
		return nil
	},
}
