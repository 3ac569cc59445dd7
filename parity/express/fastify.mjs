// The scripted session server on @fastify/session, as far as the tests of it need: ../README.md
// has the protocol.
//
// The configuration's "fastify" are options in place of those that the guide,
// docs/migrating-from-express.md, has; the rest is as for server.mjs.
import { readFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'

import fastifyCookie from '@fastify/cookie'
import fastifySession from '@fastify/session'
import fastify from 'fastify'

import { openStore } from './stores.mjs'

const { values: flags } = parseArgs({ options: { addr: { type: 'string' }, config: { type: 'string' } } })
const { store: storeConfig, fastify: options, secret, cookie } = JSON.parse(await readFile(flags.config, 'utf8'))
const { store, close } = await openStore(storeConfig)

const operations = {
  set(req, key, value) {
    req.session.set(key, value)
    return true
  },
  get: (req, key) => req.session.get(key),
  delete: (req, key) => delete req.session[key],
  keys: (req) => Object.keys(req.session).filter((key) => key !== 'cookie').sort(),
  id: (req) => req.session.sessionId,
  originalMaxAge: (req) => req.session.cookie.originalMaxAge,
  async call(req, method) {
    await req.session[method]()
    return true
  }
}
for (const method of ['regenerate', 'destroy', 'save', 'reload', 'touch']) {
  operations[method] = (req) => operations.call(req, method)
}

const app = fastify()
app.register(fastifyCookie)
app.register(fastifySession, {
  secret,                    // Go's, of 32 characters or more
  store,                     // connect-redis's, or another of the tables above
  cookie,                    // secure is true by default; { secure: 'auto', maxAge: 604800000 }, say
  cookieName: 'connect.sid', // else "sessionId"
  cookiePrefix: 's:',        // else there is none, and Go does not take the signature for one
  saveUninitialized: false,
  rolling: false,
  ...options
})
app.post('/run', async (req) => {
  const results = []
  for (const [op, ...args] of req.body.ops) {
    results.push(await operations[op](req, ...args) ?? null)
  }
  return { sid: req.session?.sessionId ?? null, results }
})

const [host, port] = flags.addr.split(':')
console.log(`listening on ${(await app.listen({ host, port: Number(port) })).replace('http://', '')}`)
process.once('SIGTERM', async () => {
  await app.close()
  await close()
  process.exit(0)
})
