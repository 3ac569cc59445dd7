// An Express app whose sessions the recipes read: node server.mjs REDIS_URL PREFIX SECRET
import { once } from 'node:events'

import flash from 'connect-flash'
import { RedisStore } from 'connect-redis'
import csurf from 'csurf'
import express from 'express'
import session from 'express-session'
import passport from 'passport'
import { Strategy } from 'passport-local'
import { createClient } from 'redis'

const [url, prefix, secret] = process.argv.slice(2)
const client = createClient({ url })
await client.connect()

passport.use(new Strategy((name, password, done) => done(null, name === 'ada' && { id: 1, name })))
passport.serializeUser((user, done) => done(null, user.id))
passport.deserializeUser((id, done) => done(null, id === 1 && { id, name: 'ada' }))

const app = express()
app.use(session({ store: new RedisStore({ client, prefix }), secret, resave: false, saveUninitialized: false }))
app.use(express.urlencoded({ extended: false }), passport.session(), flash())
app.post('/login', passport.authenticate('local'), (req, res) => res.send('signed in'))
app.post('/signin', (req, res, next) => req.session.regenerate((err) => {
  if (err) return next(err)
  const user = { id: 1, name: 'ada' }
  req.session.user = user
  req.session.auth_time = Math.floor(Date.now() / 1000)
  req.session.amr = ['pwd', 'otp', 'mfa']
  req.session.auth_device = { userAgent: req.get('User-Agent'), addr: req.ip } // Options.NoteDevice
  res.send('signed in')
}))
app.post('/logout', (req, res, next) => req.logout((err) => err ? next(err) : res.send('signed out')))
app.get('/me', (req, res) => req.user ? res.send(`hello ${req.user.name}`) : res.sendStatus(401))
app.post('/flash', (req, res) => res.json(req.flash('info', req.body.text)))
app.get('/flash', (req, res) => res.json(req.flash()))
app.get('/csrf', csurf(), (req, res) => res.send(req.csrfToken()))
app.post('/change', csurf(), (req, res) => res.send('changed'))
app.use((err, req, res, next) => res.status(err.status ?? 500).send(err.message))

const server = app.listen(0, '127.0.0.1')
await once(server, 'listening')
console.log(`http://127.0.0.1:${server.address().port}`)
await once(process, 'SIGTERM')
server.close()
server.closeAllConnections()
await client.close()
