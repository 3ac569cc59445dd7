// Express's stores, opened from the store block of a configuration file.
import session from 'express-session'
import { promisify } from 'node:util'

// openStore returns the store and functions that differ between stores: listing its
// sessions by id, clearing it, and closing its connections. It loads only the packages of
// that store.
export function openStore(config = { type: 'memory' }) {
  return openers[config.layout ?? config.type](config)
}

const openers = {
  memory() {
    const store = new session.MemoryStore()
    return {
      store,
      list: promisify(store.all.bind(store)),
      clear: promisify(store.clear.bind(store)),
      close() {}
    }
  },

  async 'connect-redis'({ url, prefix, ttl, scanCount }) {
    const { RedisStore } = await import('connect-redis')
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
  },

  async 'connect-pg-simple'({ url, schemaName, tableName = 'session', createTable, ttl }) {
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
        return Object.fromEntries(rows.map(({ sid, sess }) => [sid, sess]))
      },
      clear: () => pool.query(`DELETE FROM ${table}`),
      async close() {
        await store.close()
        await pool.end()
      }
    }
  },

  async 'connect-session-knex'({ url, schemaName, tableName = 'sessions', sidFieldName = 'sid', createTable = false }) {
    const { default: knex } = await import('knex')
    const { ConnectSessionKnexStore } = await import('connect-session-knex')
    const db = knex({ client: 'pg', connection: url, searchPath: schemaName, pool: { min: 0, max: 10 } })
    const store = new ConnectSessionKnexStore({ knex: db, tableName, sidFieldName, createTable, cleanupInterval: 0 })
    await store.ready
    return {
      store,
      async list() {
        const rows = await db(tableName).select(sidFieldName, 'sess').whereRaw('expired >= now()')
        return Object.fromEntries(rows.map(({ [sidFieldName]: sid, sess }) => [sid, sess]))
      },
      clear: () => store.clear(),
      close: () => db.destroy()
    }
  }
}
