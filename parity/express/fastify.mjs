// The scripted session server on @fastify/session, as far as the tests of it need: ../README.md
// has the protocol.
//
// The configuration's "fastify" are options for @fastify/session; the rest is as for
// server.mjs.
import { readFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'

import cookie from '@fastify/cookie'
import session from '@fastify/session'
import fastify from 'fastify'

import { openStore } from './stores.mjs'

const { values: flags } = parseArgs({ options: { addr: { type: 'string' }, config: { type: 'string' } } })
const { store: storeConfig, fastify: options, secret, cookie: attributes } = JSON.parse(await readFile(flags.config, 'utf8'))
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
app.register(cookie)
app.register(session, { ...options, secret, cookie: attributes, store })
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
