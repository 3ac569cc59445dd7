// Options for express-session from the Go half's configuration file.
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'

import connectPgSimple from 'connect-pg-simple'
import { RedisStore } from 'connect-redis'
import session from 'express-session'
import ms from 'ms'
import { createClient } from 'redis'
import { parse } from 'yaml'

// openSessions returns the options for session(), and a function that closes the store's
// connections. The keys of the file have Express's names, so they are passed on
// unchanged. Environment variables apply only where the file names them, and a cookie's
// age may have units.
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
      // If the server goes away later, requests fail instead of waiting until it is back.
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
    // The first use creates the table, and fails if there is no server.
    await promisify(store.get.bind(store))('')
    return { store, close: () => store.close() }
  }
}

// expand replaces ${NAME} and ${NAME:-text} by the value from the environment.
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
