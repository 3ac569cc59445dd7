// The benchmarks' server on express-session; ../README.md documents the workloads.
//
//   BENCH_SERVE=express-memory|express-redis|express-postgres BENCH_STORE=url node server.mjs
//
// It prints its address, and exits when its standard input ends.
import { once } from 'node:events'

import express from 'express'
import session from 'express-session'

const { BENCH_SERVE: role, BENCH_STORE: url, BENCH_SECRET: secret, BENCH_POOL: pool, NODE_ENV: mode } = process.env

const stores = {
  'express-memory': () => new session.MemoryStore(),

  async 'express-redis'() {
    const { RedisStore } = await import('connect-redis')
    const { createClient } = await import('redis')
    const client = createClient({ url })
    client.on('error', (err) => console.error('redis:', err.message))
    await client.connect()
    return new RedisStore({ client })
  },

  async 'express-postgres'() {
    const { default: pg } = await import('pg')
    const { default: connectPgSimple } = await import('connect-pg-simple')
    const Store = connectPgSimple(session)
    return new Store({ pool: new pg.Pool({ connectionString: url, max: Number(pool) }), createTableIfMissing: true })
  }
}

if (mode !== 'production') {
  throw new Error('NODE_ENV must be production, as Express is fastest with it')
}
const app = express()
app.disable('etag') // no other server hashes the response
app.use(session({
  store: await stores[role](),
  secret,
  resave: false,
  saveUninitialized: false,
  cookie: { maxAge: 24 * 60 * 60 * 1000 }
}))

app.get('/', (req, res) => {
  res.send(req.session.user?.name ?? 'anonymous')
})

app.post('/login', (req, res, next) => {
  const { user: id, size } = req.query
  const user = newUser(Number(id), Number(size))
  req.session.regenerate((err) => {
    if (err) {
      return next(err)
    }
    req.session.user = user
    res.send(user.name)
  })
})

app.post('/change', (req, res) => {
  req.session.n = (req.session.n ?? 0) + 1
  res.send(`${req.session.user.name} ${req.session.n}`)
})

// The same object as newUser in app.go.
function newUser(id, size) {
  const user = { id, name: `user-${id}`, email: `user-${id}@example.com`, roles: ['reader', 'writer'], note: '' }
  user.note = 'x'.repeat(Math.max(0, size - JSON.stringify(user).length))
  return user
}

const server = app.listen(0, '127.0.0.1')
server.keepAliveTimeout = 0 // only the load generator closes its connections
await once(server, 'listening')
console.log(`127.0.0.1:${server.address().port}`)
process.stdin.on('end', () => process.exit()).resume()
