// Express's stores: the one place that says which package serves which layout of samesid.
import { basename, dirname } from 'node:path'
import { promisify } from 'node:util'

import session from 'express-session'

// Each store has
//   name              its name in the tests, and of the flag --store
//   type, layout      what samesid calls it in a configuration
//   table, data, expiry   what the tests read its records by, past both sides
//   findsExpired      it returns a session that has expired, until its clean-up
//   touchNeedsMaxAge  it does not touch a session without a maxAge
//   open              returns the store of express-session, and functions that differ between
//                     stores: listing the live sessions by id, clearing, and closing. It
//                     loads the packages of that store alone: two libraries of SQLite in one
//                     process would release each other's locks.
const stores = [
  {
    name: 'memory',
    type: 'memory',
    open() {
      const store = new session.MemoryStore()
      return {
        store,
        list: promisify(store.all.bind(store)),
        clear: promisify(store.clear.bind(store)),
        close() {}
      }
    }
  },
  redis('connect-redis'),
  redis('connect-redis-10'), // which asks for Node 22, and runs on 20
  {
    name: 'connect-pg-simple',
    type: 'postgres',
    layout: 'connect-pg-simple',
    table: 'session',
    data: 'sess',
    expiry: 'expire',
    async open({ url, schemaName, tableName = 'session', createTable, ttl }) {
      const { default: pg } = await import('pg')
      const { default: connectPgSimple } = await import('connect-pg-simple')
      const pool = new pg.Pool({ connectionString: url })
      pool.on('error', (err) => console.error('postgres:', err.message))
      const Store = connectPgSimple(session)
      const store = new Store({
        pool, schemaName, tableName, ttl, createTableIfMissing: createTable, pruneSessionInterval: false
      })
      // The first use creates the table.
      await promisify(store.get.bind(store))('')
      const table = [schemaName, tableName].filter(Boolean).map((name) => pg.escapeIdentifier(name)).join('.')
      return {
        store,
        async list() {
          const { rows } = await pool.query(`SELECT sid, sess FROM ${table} WHERE expire >= now()`)
          return byID(rows)
        },
        clear: () => pool.query(`DELETE FROM ${table}`),
        async close() {
          await store.close()
          await pool.end()
        }
      }
    }
  },
  knex('connect-session-knex', 'postgres', 'expired >= now()', ({ url, schemaName }) => ({
    client: 'pg', connection: url, searchPath: schemaName, pool: { min: 0, max: 10 }
  })),
  knex('connect-session-knex on SQLite', 'sqlite', "datetime(expired) >= datetime('now')", ({ url }) => ({
    client: 'better-sqlite3', connection: { filename: url }, useNullAsDefault: true
  })),
  {
    name: 'connect-session-sequelize',
    type: 'postgres',
    layout: 'connect-session-sequelize',
    table: 'Sessions',
    data: 'data',
    expiry: 'expires',
    findsExpired: true,
    async open({ url, schemaName: schema, tableName = 'Sessions', createTable, ttl: expiration = 86400000 }) {
      const { Sequelize, Op } = await import('sequelize')
      const { default: connectSessionSequelize } = await import('connect-session-sequelize')
      const db = new Sequelize(url, { logging: false, define: { schema } })
      const Store = connectSessionSequelize(session.Store)
      const store = new Store({ db, tableName, expiration, checkExpirationInterval: 0 })
      if (createTable) {
        await store.sync()
      }
      return {
        store,
        async list() {
          const rows = await store.sessionModel.findAll({ where: { expires: { [Op.gte]: new Date() } } })
          return byID(rows.map(({ sid, data }) => ({ sid, sess: data })))
        },
        clear: () => store.sessionModel.destroy({ where: {} }),
        close: () => db.close()
      }
    }
  },
  {
    name: 'connect-sqlite3',
    type: 'sqlite',
    layout: 'connect-sqlite3',
    table: 'sessions',
    data: 'sess',
    expiry: 'expired',
    touchNeedsMaxAge: true,
    async open({ url, tableName: table }) {
      const { default: connectSqlite3 } = await import('connect-sqlite3')
      const store = new (connectSqlite3({ session }))({ dir: dirname(url), db: basename(url), table })
      // By itself, a write waits a second for another process's, and fails at once if the
      // file has changed since a read on the same connection that has not ended.
      store.db.configure('busyTimeout', 5000)
      store.db.serialize()
      await new Promise((resolve) => store.client.once('connect', resolve))
      const all = promisify(store.db.all.bind(store.db))
      return {
        store,
        list: async () => byID(await all(`SELECT sid, sess FROM ${store.table} WHERE expired >= ?`, Date.now())),
        clear: promisify(store.clear.bind(store)),
        close: promisify(store.db.close.bind(store.db))
      }
    }
  }
]

function redis(name) {
  return {
    name,
    type: 'redis',
    layout: 'connect-redis',
    async open({ url, prefix, ttl, scanCount }) {
      const { RedisStore } = await import(name)
      const { createClient } = await import('redis')
      // Without the queue, requests fail instead of waiting while the server is down.
      const client = createClient({ url, disableOfflineQueue: true })
      client.on('error', (err) => console.error('redis:', err.message))
      await client.connect()
      const store = new RedisStore({ client, prefix, ttl, scanCount })
      return {
        store,
        async list() {
          const sessions = await store.all()
          return Object.fromEntries(sessions.map(({ id, ...data }) => [id, data]))
        },
        clear: () => store.clear(),
        close: () => client.destroy()
      }
    }
  }
}

function knex(name, type, live, connect) {
  return {
    name,
    type,
    layout: 'connect-session-knex',
    table: 'sessions',
    data: 'sess',
    expiry: 'expired',
    touchNeedsMaxAge: true,
    async open({ tableName = 'sessions', sidFieldName = 'sid', createTable = false, ...config }) {
      const { default: knex } = await import('knex')
      const { ConnectSessionKnexStore } = await import('connect-session-knex')
      const db = knex(connect(config))
      const store = new ConnectSessionKnexStore({ knex: db, tableName, sidFieldName, createTable, cleanupInterval: 0 })
      await store.ready
      return {
        store,
        list: async () => byID(await db(tableName).select({ sid: sidFieldName }, 'sess').whereRaw(live)),
        clear: () => store.clear(),
        close: () => db.destroy()
      }
    }
  }
}

const byID = (rows) =>
  Object.fromEntries(rows.map(({ sid, sess }) => [sid, typeof sess === 'string' ? JSON.parse(sess) : sess]))

// described returns what the tests need to know of each store.
export const described = () => stores.map(({ open, ...description }) => description)

// openStore opens the store of a configuration's block: the one of that name, or else the
// first of that type and layout.
export function openStore(config = { type: 'memory' }, name) {
  const fits = (store) => (name ? store.name === name : store.type === config.type && store.layout === config.layout)
  return stores.find(fits).open(config)
}
