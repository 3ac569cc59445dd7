// The scripted session server on express-session: ../README.md has the protocol.
//
//   node parity/express/server.mjs --addr 127.0.0.1:3000 --config session.yaml
//
// It passes the options of the configuration file unchanged to express-session and its
// stores. Keys of samesid only have no effect here.
//
// --store NAME chooses one of several packages with the same records, as does ?store=NAME of
// a later configuration, and --stores prints what stores.mjs has.
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs, promisify } from 'node:util'

import express from 'express'
import { parse } from 'yaml'

import { described, openStore } from './stores.mjs'

const { values: flags } = parseArgs({
  options: {
    addr: { type: 'string', default: '127.0.0.1:3000' },
    config: { type: 'string' },
    store: { type: 'string' },
    stores: { type: 'boolean' }
  }
})
if (flags.stores) {
  console.log(JSON.stringify(described()))
  process.exit(0)
}

// configure makes the server one of this configuration, with a new store.
let current
async function configure(text, name) {
  const { store: storeConfig, ...options } = parse(text) // JSON is YAML
  if (options.cookie?.expires) {
    options.cookie.expires = new Date(options.cookie.expires)
  }
  await current?.close()
  const opened = await openStore(storeConfig, name)
  current = { ...opened, session: opened.session({ ...options, store: opened.store }) }
}
await configure(await readFile(flags.config, 'utf8'), flags.store)

const app = express()

app.post('/configure', express.text(), async (req, res) => {
  await configure(req.body, req.query.store)
  res.json(true)
})

app.get('/store', async (req, res) => {
  const sessions = await current.list()
  for (const data of Object.values(sessions)) {
    delete data.cookie
  }
  res.json({ count: Object.keys(sessions).length, sessions })
})

app.post('/store/clear', async (req, res) => {
  await current.clear()
  res.json(true)
})

app.post(/^(\/.*)?\/run$/, (...args) => current.session(...args), express.json({ limit: '64mb' }), async (req, res) => {
  res.type('json')
  const results = []
  for (const [op, ...args] of req.body.ops) {
    try {
      results.push(await operations[op](req, res, ...args) ?? null)
    } catch (err) {
      results.push({ error: err.message })
      break
    }
  }
  res.end(JSON.stringify({ sid: req.session?.id ?? null, results }))
})

function deferred() {
  const d = {}
  d.promise = new Promise((resolve) => { d.resolve = resolve })
  return d
}

// A request that holds waits until it is released. /held answers when there is one.
const newHold = () => ({ reached: deferred(), released: deferred() })
let hold = newHold()
app.get('/held', async (req, res) => {
  await hold.reached.promise
  res.json(true)
})
app.post('/release', (req, res) => {
  hold.released.resolve()
  hold = newHold()
  res.json(true)
})

// The methods of a session take a callback.
const call = async (req, method) => {
  await promisify(req.session[method]).call(req.session)
  return true
}

const operations = {
  set(req, res, key, value) {
    req.session[key] = value
    return true
  },
  get: (req, res, key) => req.session[key],
  delete: (req, res, key) => delete req.session[key],
  keys: (req) => Object.keys(req.session).filter((key) => key !== 'cookie').sort(),
  id: (req) => req.session.id,
  regenerate: (req) => call(req, 'regenerate'),
  destroy: (req) => call(req, 'destroy'),
  save: (req) => call(req, 'save'),
  reload: (req) => call(req, 'reload'),
  touch(req) {
    req.session.touch()
    return true
  },
  unset(req) {
    req.session = null
    return true
  },
  setMaxAge(req, res, ms) {
    req.session.cookie.maxAge = ms
    return true
  },
  maxAge: (req) => req.session.cookie.maxAge,
  originalMaxAge: (req) => req.session.cookie.originalMaxAge,
  async sleep(req, res, ms) {
    await sleep(ms)
    return true
  },
  async hold() {
    const { reached, released } = hold
    reached.resolve()
    await released.promise
    return true
  },
  flush(req, res) {
    res.write(' ')
    return true
  }
}

const colon = flags.addr.lastIndexOf(':')
const server = app.listen(Number(flags.addr.slice(colon + 1)), flags.addr.slice(0, colon))
await once(server, 'listening')
const { address, port } = server.address()
console.log(`listening on ${address}:${port}`)

await once(process, 'SIGTERM')
server.close()
server.closeAllConnections()
await current.close()
process.exit(0)
