package main

import (
	"context"
	"slices"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends/postgres"
	"github.com/samesid/samesid/backends/redis"
)

// opener returns a server that keeps its sessions in the store at a URL.
type opener func(ctx context.Context, storeURL string) (*app, error)

// The stores.
const (
	inMemory   = "memory"
	inRedis    = "redis"
	inPostgres = "postgres"
	inSQLite   = "sqlite"
)

var stores = []string{inMemory, inRedis, inPostgres, inSQLite}

// The workloads.
const (
	read   = "read"      // GET / by a signed-in user
	change = "change"    // POST /change increments the session's counter
	visit  = "anonymous" // GET / without a cookie
	login  = "login"     // POST /login in a session gives it a new id, and saves
)

var workloads = []string{read, change, visit, login}

// role is one server of the comparison.
type role struct {
	name  string // also the name of its database
	label string // in tables and charts
	store string
	kind  string // product, peer or floor
	open  opener // nil for a server on Node

	only   []string // its workloads; nil for all
	noID   bool     // a login need not change the cookie, which holds the session or the user
	signed bool     // it rejects a cookie that was changed
	slides bool     // a read slides the store's expiry
	sweep  bool     // it takes part in the sweeps
	conns  bool     // it takes part in those by connections and by distance

	pooled bool // by PgBouncer, in transaction mode

	// In Postgres and SQLite.
	table, expiry string
}

const (
	product = "samesid"
	peer    = "peer"
	ground  = "floor"
)

var roles = []role{
	{name: "bare", label: "handler without sessions", store: inMemory, kind: ground, noID: true, open: bareFloor, only: []string{read, visit}},
	{name: "samesid-memory-json", label: "samesid, JSON", store: inMemory, kind: product, open: samesidMemory(adapter.JSONCodec{}), signed: true, slides: true, sweep: true},
	{name: "samesid-memory-gob", label: "samesid, gob", store: inMemory, kind: product, open: samesidMemory(scs.GobCodec{}), signed: true, slides: true},
	{name: "scs-memory", label: "scs", store: inMemory, kind: peer, open: scsMemory(lifetime), slides: true, sweep: true},
	{name: "scs-memory-fixed", label: "scs, expiry fixed", store: inMemory, kind: peer, open: scsMemory(0)},
	{name: "gorilla-cookie", label: "gorilla, cookie store", store: inMemory, kind: peer, open: gorillaCookie, noID: true, signed: true, slides: true},
	{name: "fiber-memory", label: "Fiber", store: inMemory, kind: peer, open: fiberMemory, slides: true},
	{name: "express-memory", label: "express-session", store: inMemory, kind: peer, signed: true, slides: true},

	{name: "floor-getex", label: "one GETEX", store: inRedis, kind: ground, noID: true, open: redisFloor, only: []string{read}, slides: true},
	{name: "samesid-redis-connect", label: "samesid, connect-redis layout", store: inRedis, kind: product, open: samesidRedis(redis.Options{Layout: redis.LayoutConnectRedis}), signed: true, slides: true, sweep: true},
	{name: "samesid-redis-alone", label: "samesid, connect-redis layout, noBatching", store: inRedis, kind: product, open: samesidRedis(redis.Options{Layout: redis.LayoutConnectRedis, NoBatching: true}), signed: true, slides: true, conns: true},
	{name: "samesid-redis-users", label: "samesid, connect-redis layout, userPath", store: inRedis, kind: product, open: withUsers(samesidRedis(redis.Options{Layout: redis.LayoutConnectRedis})), signed: true, slides: true},
	{name: "samesid-redis-scs", label: "samesid, scs layout", store: inRedis, kind: product, open: samesidRedis(redis.Options{}), signed: true, slides: true},
	{name: "scs-redis", label: "scs + redisstore", store: inRedis, kind: peer, open: scsRedis(lifetime), slides: true, sweep: true},
	{name: "scs-redis-fixed", label: "scs + redisstore, expiry fixed", store: inRedis, kind: peer, open: scsRedis(0)},
	{name: "gorilla-redis", label: "gorilla + boj/redistore", store: inRedis, kind: peer, open: gorillaRedis, signed: true, slides: true},
	{name: "fiber-redis", label: "Fiber + storage/redis", store: inRedis, kind: peer, open: fiberRedis, slides: true},
	{name: "express-redis", label: "express-session + connect-redis", store: inRedis, kind: peer, signed: true, slides: true},

	{name: "floor-select", label: "one SELECT", store: inPostgres, kind: ground, noID: true, open: postgresFloor(floorSelect), only: []string{read}, table: "session", expiry: "expire"},
	{name: "floor-update", label: "one UPDATE … RETURNING", store: inPostgres, kind: ground, noID: true, open: postgresFloor(floorUpdate), only: []string{read}, slides: true, table: "session", expiry: "expire"},
	{name: "floor-unsynced", label: "one UPDATE, disk not awaited", store: inPostgres, kind: ground, noID: true, open: postgresFloor(floorUnsynced), only: []string{read}, slides: true, table: "session", expiry: "expire"},
	{name: "samesid-postgres-touchafter", label: "samesid, touchAfter", store: inPostgres, kind: product, open: samesidPostgres(touchAfter, postgres.Options{}), signed: true, slides: true, sweep: true, table: "session", expiry: "expire"},
	{name: "samesid-postgres", label: "samesid, touched each time", store: inPostgres, kind: product, open: samesidPostgres(0, postgres.Options{}), signed: true, slides: true, conns: true, table: "session", expiry: "expire"},
	{name: "samesid-postgres-named", label: "samesid, touchAfter, prepared statements", store: inPostgres, kind: product, open: samesidPostgres(touchAfter, postgres.Options{PreparedStatements: true}), signed: true, slides: true, conns: true, table: "session", expiry: "expire"},
	{name: "samesid-postgres-alone", label: "samesid, touchAfter, noBatching", store: inPostgres, kind: product, open: samesidPostgres(touchAfter, postgres.Options{NoBatching: true}), signed: true, slides: true, conns: true, table: "session", expiry: "expire"},
	{name: "samesid-postgres-users", label: "samesid, touchAfter, userPath", store: inPostgres, kind: product, open: withUsers(samesidPostgres(touchAfter, postgres.Options{})), signed: true, slides: true, table: "session", expiry: "expire"},
	{name: "samesid-postgres-users-touch", label: "samesid, touched each time, userPath", store: inPostgres, kind: product, open: withUsers(samesidPostgres(0, postgres.Options{})), signed: true, slides: true, table: "session", expiry: "expire"},
	{name: "floor-select-pooled", label: "one SELECT without a name, PgBouncer", store: inPostgres, kind: ground, noID: true, open: postgresFloor(floorSelect), only: []string{read}, pooled: true, table: "session", expiry: "expire"},
	{name: "samesid-postgres-pooled", label: "samesid, touchAfter, PgBouncer", store: inPostgres, kind: product, open: samesidPostgres(touchAfter, postgres.Options{}), signed: true, slides: true, pooled: true, table: "session", expiry: "expire"},
	{name: "samesid-postgres-pooled-touch", label: "samesid, touched each time, PgBouncer", store: inPostgres, kind: product, open: samesidPostgres(0, postgres.Options{}), signed: true, slides: true, pooled: true, table: "session", expiry: "expire"},
	{name: "samesid-postgres-pooled-alone", label: "samesid, touchAfter, PgBouncer, noBatching", store: inPostgres, kind: product, open: samesidPostgres(touchAfter, postgres.Options{NoBatching: true}), signed: true, slides: true, pooled: true, table: "session", expiry: "expire"},
	{name: "scs-postgres", label: "scs + postgresstore", store: inPostgres, kind: peer, open: scsPostgres(lifetime), slides: true, sweep: true, table: "sessions", expiry: "expiry"},
	{name: "scs-postgres-fixed", label: "scs + postgresstore, expiry fixed", store: inPostgres, kind: peer, open: scsPostgres(0), table: "sessions", expiry: "expiry"},
	{name: "express-postgres", label: "express-session + connect-pg-simple", store: inPostgres, kind: peer, signed: true, slides: true, table: "session", expiry: "expire"},

	{name: "floor-sqlite-select", label: "one SELECT; one upsert", store: inSQLite, kind: ground, noID: true, open: sqliteFloor(sqliteSelect, false), only: []string{read, change}, table: "sessions", expiry: "expired"},
	{name: "floor-sqlite-update", label: "one UPDATE … RETURNING", store: inSQLite, kind: ground, noID: true, open: sqliteFloor(sqliteUpdate, true), only: []string{read}, slides: true, table: "sessions", expiry: "expired"},
	{name: "samesid-sqlite-touchafter", label: "samesid, touchAfter", store: inSQLite, kind: product, open: samesidSQLite(touchAfter), signed: true, slides: true, conns: true, table: "sessions", expiry: "expired"},
	{name: "samesid-sqlite", label: "samesid, touched each time", store: inSQLite, kind: product, open: samesidSQLite(0), signed: true, slides: true, table: "sessions", expiry: "expired"},
	{name: "scs-sqlite", label: "scs + sqlite3store", store: inSQLite, kind: peer, open: scsSQLite(lifetime), slides: true, table: "sessions", expiry: "expiry"},
	{name: "scs-sqlite-fixed", label: "scs + sqlite3store, expiry fixed", store: inSQLite, kind: peer, open: scsSQLite(0), table: "sessions", expiry: "expiry"},
}

func (r role) has(workload string) bool { return r.only == nil || slices.Contains(r.only, workload) }

func roleNamed(name string) (role, bool) {
	i := slices.IndexFunc(roles, func(r role) bool { return r.name == name })
	if i < 0 {
		return role{}, false
	}
	return roles[i], true
}

func rolesOf(store string) []role {
	return slices.DeleteFunc(slices.Clone(roles), func(r role) bool { return r.store != store })
}
