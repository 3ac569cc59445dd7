// Serves a session file as an Express app would: the arguments are the file and the
// layout, or "none" for increments alone. Each line on standard input is a call, ["op", ...arguments], and is answered
// by one line of JSON. It is run in the folder that has the packages.
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'

const require = createRequire(process.cwd() + '/')
const [path, layout] = process.argv.slice(2)

const stores = {
  async none() {
    return { close() {} }
  },
  async 'connect-session-knex'() {
    const { ConnectSessionKnexStore } = require('connect-session-knex')
    const knex = require('knex')({ client: 'better-sqlite3', connection: { filename: path }, useNullAsDefault: true })
    const store = new ConnectSessionKnexStore({ knex, cleanupInterval: 0 })
    await store.ready
    return { store, close: () => knex.destroy() }
  },
  async 'connect-sqlite3'() {
    const session = require('express-session')
    const sqlite3 = require('sqlite3')
    const connection = new sqlite3.Database(path)
    connection.configure('busyTimeout', 60000)
    const store = new (require('connect-sqlite3')({ session }))({ db: connection })
    await new Promise((resolve) => store.client.once('connect', resolve))
    return { store, close: promisify(connection.close.bind(connection)) }
  }
}
const { store, close } = await stores[layout]()
const call = (method, ...args) =>
  new Promise((resolve, reject) => {
    const result = store[method](...args, (err, value) => (err ? reject(err) : resolve(value ?? null)))
    result?.catch?.(reject)
  })

// Each library adds 1 to a record n times, each in a transaction that begins with the lock.
//
// No other SQLite library may have the file open in this process, as each of them would
// release the other's locks: connect-sqlite3's deletes expired sessions when it has begun.
const find = 'SELECT sess FROM sessions WHERE sid = ?'
const replace = 'UPDATE sessions SET sess = ? WHERE sid = ?'
const increments = {
  'better-sqlite3'(sid, n) {
    const db = new (require('better-sqlite3'))(path, { timeout: 60000 })
    const add = db.transaction(() => {
      const { sess } = db.prepare(find).get(sid)
      db.prepare(replace).run(String(Number(sess) + 1), sid)
    })
    for (let i = 0; i < n; i++) add.immediate()
    db.close()
  },
  async sqlite3(sid, n) {
    const db = new (require('sqlite3')).Database(path)
    db.configure('busyTimeout', 60000)
    const [run, get, close] = ['run', 'get', 'close'].map((method) => promisify(db[method].bind(db)))
    for (let i = 0; i < n; i++) {
      await run('BEGIN IMMEDIATE')
      const { sess } = await get(find, sid)
      await run(replace, String(Number(sess) + 1), sid)
      await run('COMMIT')
    }
    await close()
  }
}
const increment = (library, sid, n) => increments[library](sid, n)

const journal = () => {
  const db = new (require('better-sqlite3'))(path)
  const mode = db.pragma('journal_mode', { simple: true })
  db.close()
  return mode
}

const ops = {
  ready: () => null,
  get: (sid) => call('get', sid),
  set: (sid, sess) => call('set', sid, sess),
  touch: (sid, sess) => call('touch', sid, sess),
  destroy: (sid) => call('destroy', sid).then(() => null),
  journal,
  increment
}
for await (const line of createInterface({ input: process.stdin })) {
  const [op, ...args] = JSON.parse(line)
  let answer
  try {
    answer = await ops[op](...args)
  } catch (err) {
    answer = { error: err.stack }
  }
  process.stdout.write(JSON.stringify(answer ?? null) + '\n')
}
await close()
