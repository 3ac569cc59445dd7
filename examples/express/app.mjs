// The Express app: login, and the pages that have not moved yet. PORT is 3000.
import express from 'express'
import session from 'express-session'
import { RedisStore } from 'connect-redis'
import { createClient } from 'redis'

const client = await createClient({ url: process.env.REDIS_URL ?? 'redis://127.0.0.1:6379/0' }).connect()

const app = express()
app.set('trust proxy', 1)
app.use(session({
  name: 'sid',
  secret: process.env.SESSION_SECRET,
  resave: false,
  saveUninitialized: false,
  cookie: { maxAge: 7 * 24 * 3600 * 1000, sameSite: 'lax', secure: 'auto' },
  store: new RedisStore({ client })
}))

app.post('/login', express.urlencoded({ extended: false }), (req, res, next) => {
  // A stand-in: a real one checks a password.
  req.session.regenerate((err) => {
    if (err) return next(err)
    req.session.user = { id: 7, name: req.body.name }
    res.send(`Signed in by Express: ${req.body.name}\n`)
  })
})

app.get('/', (req, res) => {
  req.session.views = (req.session.views ?? 0) + 1
  res.send(`Express: ${req.session.user?.name ?? 'nobody'}, ${req.session.views} views\n`)
})

process.once('SIGTERM', () => server.close(() => client.close()))

const server = app.listen(process.env.PORT ?? 3000, '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${server.address().port}`)
})
