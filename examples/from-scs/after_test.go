//go:build unix

package main

import (
	"context"
	"database/sql"

	"github.com/alexedwards/scs/v2"
	"github.com/gomodule/redigo/redis"

	postgresstore "github.com/samesid/samesid/backends/postgres"
	redisstore "github.com/samesid/samesid/backends/redis"
)

// after has the stores of the same app once it has moved.
var after = stores{
	redis: func(sm *scs.SessionManager, pool *redis.Pool) (err error) {
		sm.Store, err = redisstore.New(pool, redisstore.Options{})
		return err
	},
	postgres: func(sm *scs.SessionManager, db *sql.DB) (err error) {
		ctx := context.Background()
		sm.Store, err = postgresstore.New(ctx, db, postgresstore.Options{})
		return err
	},
}
