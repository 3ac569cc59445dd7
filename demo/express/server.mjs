// The Express half of the demo: the same login as the Go half, on express-session.
// With the same configuration file, both have the same sessions.
//
//   npm ci --prefix demo/express                              # once
//   node demo/express/server.mjs -config demo/redis.yaml      # or demo/postgres.yaml
//   go run ./demo -config demo/redis.yaml                     # the Go half, in another terminal
//
// Sign in on http://127.0.0.1:8081, open http://127.0.0.1:8080: you are signed in.
// Log out there, and you are logged out here. -addr sets another address to listen on.
//
// It answers programs as the Go half does, except that it does not limit attempts.
import { randomBytes, scrypt as scryptWithCallback, timingSafeEqual } from 'node:crypto'
import { once } from 'node:events'
import { STATUS_CODES } from 'node:http'
import { parseArgs, promisify } from 'node:util'

import express from 'express'
import session from 'express-session'

import { contentSecurityPolicy, page } from './page.mjs'
import { openSessions } from './sessions.mjs'

// The users, the same as the Go half's. Their password is no secret: the page shows it.
const demoUser = { username: 'demo', name: 'Demo User' }
const guestUser = { username: 'guest', name: 'Guest User' }
const demoPassword = 'same-session-everywhere'

const scrypt = promisify(scryptWithCallback)
const salt = randomBytes(16)
const hash = await scrypt(demoPassword, salt, 32)

// verify returns the user, if there is one with this name and password. It takes as long for
// an unknown user as for a wrong password.
async function verify(username, password) {
  const same = timingSafeEqual(await scrypt(password, salt, 32), hash)
  return [demoUser, guestUser].find((user) => same && user.username === username)
}

const maxBody = 4096

function newApp(options) {
  const app = express()
  app.disable('x-powered-by')
  app.use(secured, session(options))

  app.get('/', (req, res) => {
    const { user = null, count = 0 } = req.session
    if (wantsPage(req)) {
      const failed = 'error' in req.query
      show(req, res, { title: user ? 'Signed in' : 'Signed out', failed })
      return
    }
    res.json({ signedIn: user !== null, user, count })
  })

  app.post('/login', express.json({ limit: maxBody }), express.urlencoded({ extended: false, limit: maxBody }), async (req, res) => {
    if (!req.is(['json', 'urlencoded'])) {
      answer(res, 415, 'Send application/json or application/x-www-form-urlencoded')
      return
    }
    const isForm = Boolean(req.is('urlencoded'))
    const { username, password, ...others } = req.body
    if (typeof username !== 'string' || typeof password !== 'string' || (!isForm && Object.keys(others).length > 0)) {
      answer(res, 400, isForm
        ? 'The form must have the fields "username" and "password", each once'
        : 'The body must be a JSON object with the text fields "username" and "password", each once, and no others')
      return
    }
    const browser = isForm && wantsPage(req)
    const user = await verify(username, password)
    if (!user) {
      browser ? res.redirect(303, '/?error=1') : answer(res, 401, 'Invalid Credentials')
      return
    }
    // A new id makes one that an attacker has planted useless.
    await call(req, 'regenerate')
    req.session.user = user
    req.session.auth_time = Math.floor(Date.now() / 1000)
    // The Go half shows it on its page "Your sessions".
    req.session.auth_device = { userAgent: (req.get('User-Agent') ?? '').slice(0, 256), addr: req.ip }
    // Otherwise a browser could follow the redirect before the session is saved.
    await call(req, 'save')
    browser ? res.redirect(303, '/') : answer(res, 200, 'You are logged in')
  })

  app.get('/protected', (req, res) => {
    if (!req.session.user) {
      wantsPage(req) ? show(req, res.status(401), { title: 'Invalid Credentials' }) : answer(res, 401, 'Invalid Credentials')
      return
    }
    wantsPage(req) ? show(req, res, { title: 'You are authorized' }) : answer(res, 200, 'You are authorized')
  })

  const logout = async (req, res) => {
    const { cookie } = req.session
    await call(req, 'destroy')
    res.clearCookie(options.name ?? 'connect.sid', cookie.data)
    // Chromium keeps pages for the back button despite no-store.
    res.set('Clear-Site-Data', '"cache"')
    wantsPage(req) ? res.redirect(303, '/') : answer(res, 200, 'You are logged out')
  }
  app.route('/logout').get(logout).post(logout)

  app.post('/count', async (req, res) => {
    const count = (req.session.count ?? 0) + 1
    req.session.count = count
    await call(req, 'save')
    wantsPage(req) ? res.redirect(303, '/') : res.json({ count })
  })

  app.use((req, res) => {
    wantsPage(req) ? show(req, res.status(404), { title: 'There is nothing here' }) : answer(res, 404, 'Not Found')
  })

  // Its four parameters make this an error handler.
  app.use((err, req, res, next) => {
    const status = err.status ?? 500
    if (status >= 500) {
      console.error(err.message || err.code)
    }
    answer(res, status, {
      'entity.parse.failed': 'The body is not valid JSON',
      'entity.too.large': `The body must be at most ${maxBody} bytes long`
    }[err.type] ?? STATUS_CODES[status])
  })
  return app
}

// The methods of a session take a callback.
const call = (req, method) => promisify(req.session[method]).call(req.session)

// wantsPage reports whether the client is a browser; a program gets JSON.
const wantsPage = (req) => req.accepts(['json', 'html']) === 'html'

const answer = (res, status, message) => res.status(status).json({ message })

function show(req, res, content) {
  res.type('html').send(page({ ...content, session: req.session, demoUser, guestUser, demoPassword }))
}

// secured sets the security headers of every response, and refuses cross-site posts.
function secured(req, res, next) {
  res.set({
    'Cache-Control': 'no-store',
    'Content-Security-Policy': contentSecurityPolicy,
    'Referrer-Policy': 'same-origin',
    'X-Content-Type-Options': 'nosniff'
  })
  res.vary('Accept')
  if (req.method === 'POST' && !['same-origin', 'none', undefined].includes(req.get('Sec-Fetch-Site'))) {
    answer(res, 403, 'Cross-origin request refused')
    return
  }
  next()
}

async function run(args) {
  const { values: flags } = parseArgs({
    // Like Go's flags, these may have one dash or two.
    args: args.map((arg) => arg.replace(/^-(?=[a-z]{2})/, '--')),
    options: {
      addr: { type: 'string', default: '127.0.0.1:8081' },
      config: { type: 'string' }
    }
  })
  const [, host, port] = flags.addr.match(/^(.+):(\d+)$/) ?? []
  if (flags.config === undefined || host === undefined) {
    throw new Error('usage: node demo/express/server.mjs [-addr 127.0.0.1:8081] -config demo/redis.yaml')
  }
  const { options, close } = await openSessions(flags.config)
  const server = newApp(options).listen(Number(port), host.replace(/^\[|\]$/g, ''))
  await once(server, 'listening')

  const url = `http://${host}:${server.address().port}`
  console.log(`
Open ${url} and sign in as ${demoUser.username} or ${guestUser.username} with the password ${demoPassword}
Sessions are as ${flags.config} says. The Go half has the same ones: go run ./demo -config ${flags.config}

Or from a terminal:

  curl -c cookies.txt -d username=${demoUser.username} -d password=${demoPassword} ${url}/login
  curl -b cookies.txt ${url}/protected
  curl -b cookies.txt -c cookies.txt -X POST ${url}/logout
`)

  // A second signal ends the process at once.
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.once(signal, () => server.close(close))
  }
}

run(process.argv.slice(2)).catch((err) => {
  console.error('demo:', err.message || err.code)
  process.exit(1)
})
