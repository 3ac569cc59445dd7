// The Go half's configuration file, as options for express-session.
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'

import connectPgSimple from 'connect-pg-simple'
import { RedisStore } from 'connect-redis'
import session from 'express-session'
import ms from 'ms'
import { createClient } from 'redis'
import { parse } from 'yaml'

// openSessions returns the options for session(), and what ends the store's
// connections. The keys of the file have Express's names, so they go on to Express
// as they are. Environment variables count where the file names them, and a cookie's
// age may be in words.
export async function openSessions(file) {
  const options = parse(await readFile(file, 'utf8'), (key, value) => {
    if (typeof value !== 'string') {
      return value
    }
    const text = expand(value)
    return key === 'maxAge' ? milliseconds(text) : text
  })
  const layout = options.store?.layout
  if (!Object.hasOwn(openers, layout)) {
    throw new Error(`${file}: store.layout is ${layout}; Express shares ${Object.keys(openers).join(' and ')}`)
  }
  const { store, close } = await openers[layout](options.store)
  return { options: { resave: false, saveUninitialized: false, ...options, store }, close }
}

const openers = {
  async 'connect-redis'({ url, ...options }) {
    let connected = false
    const client = createClient({
      url,
      // A server that goes away later is an error and not a wait, until it is back.
      disableOfflineQueue: true,
      socket: { reconnectStrategy: (retries, cause) => connected ? Math.min(100 * retries, 2000) : cause }
    })
    client.on('error', (err) => connected && console.error('redis:', err.message || err.code))
    await client.connect()
    connected = true
    return { store: new RedisStore({ ...options, client }), close: () => client.close() }
  },

  async 'connect-pg-simple'({ url, createTable, ...options }) {
    const Store = connectPgSimple(session)
    const store = new Store({ createTableIfMissing: createTable, ...options, conString: url })
    // It makes its table, and tells if there is no server, at its first use.
    await promisify(store.get.bind(store))('')
    return { store, close: () => store.close() }
  }
}

// expand replaces ${NAME} and ${NAME:-text} by what the environment has.
function expand(text) {
  return text.replace(/\$\$|\$\{(\w+)(?::-([^}]*))?\}/g, (match, name, instead) => {
    if (match === '$$') {
      return '$'
    }
    const value = instead === undefined ? process.env[name] : process.env[name] || instead
    if (value === undefined) {
      throw new Error(`the environment variable ${name} is not set`)
    }
    return value
  })
}

function milliseconds(text) {
  const age = ms(text)
  if (age === undefined) {
    throw new Error(`cookie.maxAge is ${text}; write a number and one unit, such as 10m or 7d`)
  }
  return age
}
