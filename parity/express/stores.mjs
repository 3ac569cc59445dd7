// Express's stores: the one place that says which package serves which layout of samesid.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename, dirname } from 'node:path'
import { promisify } from 'node:util'

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
    open(config, session) {
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
  pgSimple('connect-pg-simple'),
  knexPostgres('connect-session-knex'),
  { ...knexSQLite('connect-session-knex'), name: 'connect-session-knex on SQLite' },
  sequelize('connect-session-sequelize'),
  sqlite3('connect-sqlite3')
]

// The releases of packages in the table of docs/migrating-from-express.md that the stores
// above are not. Each also has
//   packages   the releases: the store's, its client's, if there is a choice, and express-session's
//   fails      Node itself can't save a session with them
const ioredis = (name) => async ({ url }) => {
  const { default: Redis } = await import(name)
  const client = new Redis(url)
  return [client, () => client.disconnect()]
}
const nodeRedis = (name, options) => async ({ url }) => {
  const { createClient } = await import(name)
  const client = createClient({ url, ...options })
  await client.connect?.() // 3 connects by itself
  return [client, () => (client.destroy ?? client.disconnect ?? client.quit).call(client)]
}
const v17 = 'express-session-1.17'
const v18 = 'express-session-1.18'
const v19 = 'express-session'
const versions = [
  version(olderRedis, 'connect-redis-6', v17, 'redis-3', nodeRedis),
  version(olderRedis, 'connect-redis-6', v17, 'redis-4', nodeRedis, { legacyMode: true }),
  version(olderRedis, 'connect-redis-6', v17, 'ioredis-4', ioredis),
  version(olderRedis, 'connect-redis-7', v18, 'redis-4', nodeRedis),
  version(olderRedis, 'connect-redis-7', v18, 'redis-5', nodeRedis),
  version(olderRedis, 'connect-redis-7', v18, 'ioredis', ioredis),
  version(olderRedis, 'connect-redis-8', v18, 'redis-4', nodeRedis),
  version(olderRedis, 'connect-redis-8', v18, 'redis-5', nodeRedis),
  version(olderRedis, 'connect-redis-8', v18, 'ioredis', ioredis),
  version(olderRedis, 'connect-redis', v19, 'redis-5', nodeRedis),
  { ...version(olderRedis, 'connect-redis', v19, 'ioredis', ioredis), fails: true },
  version(olderRedis, 'connect-redis-10', v19, 'redis-5', nodeRedis),
  version(pgSimple, 'connect-pg-simple-8', v17, 'pg'),
  version(pgSimple, 'connect-pg-simple-9', v18, 'pg'),
  version(knexPostgres, 'connect-session-knex-3', v17, 'knex'),
  version(knexSQLite, 'connect-session-knex-3', v17, 'knex'),
  version(knexPostgres, 'connect-session-knex-4', v18, 'knex'),
  version(knexSQLite, 'connect-session-knex-4', v18, 'knex'),
  version(sequelize, 'connect-session-sequelize-6', v17, 'sequelize-5', (name) => name),
  { ...version(sequelize, 'connect-session-sequelize-6', v17, 'sequelize'), fails: true },
  version(sequelize, 'connect-session-sequelize-8', v19, 'sequelize'),
  version(sqlite3, 'connect-sqlite3-0.9.13', v17, 'sqlite3'),
  version(sqlite3, 'connect-sqlite3-0.9.16', v18, 'sqlite3')
]

function version(store, name, express, client, open, options) {
  const described = store(name, open?.(client, options))
  const packages = [name, client, express].map((pkg) => release(pkg, name))
  return { ...described, name: [packages.join(', '), described.type].join(' on '), packages, express }
}

// requireBy returns the require of a package.
function requireBy(name) {
  return createRequire(createRequire(import.meta.url).resolve(name))
}

// release returns the name and version of a package that npm has installed for another.
function release(pkg, user) {
  for (const dir of requireBy(user).resolve.paths(pkg)) {
    try {
      const { name, version } = JSON.parse(readFileSync(`${dir}/${pkg}/package.json`))
      return `${name} ${version}`
    } catch {}
  }
}

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

// olderRedis is a store of connect-redis with a client of its own. What is listed and cleared
// goes by the newest, as some releases fail at it with some clients.
function olderRedis(name, connect) {
  const newest = redis('connect-redis')
  return {
    ...newest,
    name,
    async open(config, session) {
      const { default: exported, RedisStore = exported } = await import(name)
      const Store = RedisStore.length === 1 && !RedisStore.prototype?.set ? RedisStore(session) : RedisStore
      const [client, close] = await connect(config)
      const others = await newest.open(config)
      return {
        ...others,
        store: new Store({ client, prefix: config.prefix, ttl: config.ttl }),
        async close() {
          await close()
          others.close()
        }
      }
    }
  }
}

function pgSimple(name) {
  return {
    name,
    type: 'postgres',
    layout: 'connect-pg-simple',
    table: 'session',
    data: 'sess',
    expiry: 'expire',
    async open({ url, schemaName, tableName = 'session', createTable, ttl }, session) {
      const { default: pg } = await import('pg')
      const { default: connectPgSimple } = await import(name)
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
  }
}

function sequelize(name, library = 'sequelize') {
  return {
    name,
    type: 'postgres',
    layout: 'connect-session-sequelize',
    table: 'Sessions',
    data: 'data',
    expiry: 'expires',
    findsExpired: true,
    async open({ url, schemaName: schema, tableName = 'Sessions', createTable, ttl: expiration = 86400000 }, session) {
      const { Sequelize } = await import(library)
      const { default: connectSessionSequelize } = await import(name)
      const db = new Sequelize(url, { logging: false, define: { schema } })
      const Store = connectSessionSequelize(session.Store)
      const store = new Store({ db, tableName, expiration, checkExpirationInterval: 0 })
      if (createTable) {
        await store.sync()
      }
      return {
        store,
        async list() {
          const rows = await store.sessionModel.findAll({ where: { expires: { [Sequelize.Op.gte]: new Date() } } })
          return byID(rows.map(({ sid, data }) => ({ sid, sess: data })))
        },
        clear: () => store.sessionModel.destroy({ where: {} }),
        close: () => db.close()
      }
    }
  }
}

function sqlite3(name) {
  return {
    name,
    type: 'sqlite',
    layout: 'connect-sqlite3',
    table: 'sessions',
    data: 'sess',
    expiry: 'expired',
    touchNeedsMaxAge: true,
    async open({ url, tableName: table }, session) {
      const SQLiteStore = (await import(name)).default({ session })
      const store = new SQLiteStore({ dir: dirname(url), db: basename(url), table })
      store.db.configure('busyTimeout', 5000) // the default is 1000
      store.db.serialize()                    // one statement at a time
      const all = promisify(store.db.all.bind(store.db))
      await all('SELECT 1') // which waits for the table, and for ever if serialize comes first
      return {
        store,
        list: async () => byID(await all(`SELECT sid, sess FROM ${store.table} WHERE expired >= ?`, Date.now())),
        clear: promisify(store.clear.bind(store)),
        close: promisify(store.db.close.bind(store.db))
      }
    }
  }
}

function knexPostgres(name) {
  return knex(name, 'postgres', 'expired >= now()', ({ url, schemaName }) => ({
    client: 'pg', connection: url, searchPath: schemaName, pool: { min: 0, max: 10 }
  }))
}

function knexSQLite(name) {
  return knex(name, 'sqlite', "datetime(expired) >= datetime('now')", ({ url }) => ({
    client: 'better-sqlite3', connection: { filename: url }, useNullAsDefault: true
  }))
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
    async open({ tableName = 'sessions', sidFieldName = 'sid', createTable = false, ...config }, session) {
      const { default: older, ConnectSessionKnexStore: Store = older(session) } = await import(name)
      const db = requireBy(name)('knex')(connect(config)) // of the release that the store is for
      const store = new Store({
        knex: db, tableName, sidFieldName, createTable, cleanupInterval: 0,
        tablename: tableName, sidfieldname: sidFieldName, createtable: createTable, disableDbCleanup: true // until 4
      })
      await store.ready
      while (createTable && !await db.schema.hasTable(tableName)) {} // until 5, ready does not wait for it
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

// described returns what the tests need to know of each store, and of older releases.
export const described = () => [...stores, ...versions].map(({ open, ...description }) => description)

// openStore opens the store of a configuration's block: the one of that name, or else the
// first of that type and layout. It returns its express-session too.
export async function openStore(config = { type: 'memory' }, name) {
  const fits = (store) => (name ? store.name === name : store.type === config.type && store.layout === config.layout)
  const { express = v19, open } = [...stores, ...versions].find(fits)
  const { default: session } = await import(express)
  const opened = await open(config, session)
  if (express !== v19) {
    // npm gives a store that imports express-session by itself the newest.
    Object.setPrototypeOf(Object.getPrototypeOf(opened.store), session.Store.prototype)
  }
  return { ...opened, session }
}
