// The page of the Express half. It loads nothing from other origins.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'

const icon = readFileSync(new URL('../favicon.svg', import.meta.url), 'base64')

const style = `
:root { color-scheme: light dark; --paper: #f7f6f3; --card: #fff; --sunk: #f1efea; --ink: #1d1c1a; --soft: #5d5a54; --line: #dedad2; --edge: #8a857b; --accent: #4338ca; --accent-ink: #fff; --accent-soft: #e4e3fb; --bad: #a3231a; --bad-soft: #fbe6e3 }
@media (prefers-color-scheme: dark) {
  :root { --paper: #141513; --card: #1c1e1b; --sunk: #151614; --ink: #edece7; --soft: #a9a69d; --line: #32342f; --edge: #7d7f77; --accent: #a5b4fc; --accent-ink: #12143a; --accent-soft: #2a2b55; --bad: #ff9d92; --bad-soft: #3a1d1a }
}
*, ::before, ::after { box-sizing: border-box }
body { max-width: 40rem; margin: 0 auto; padding: 1.25rem clamp(1rem, 4vw, 2.5rem) 3rem; background: var(--paper); color: var(--ink); font: 1rem/1.6 ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", Arial, sans-serif; overflow-wrap: break-word }
h1, h2, p, pre { margin: 0 }
h1 { font-size: clamp(2rem, 1.4rem + 2.6vw, 3.1rem); line-height: 1.1; letter-spacing: -.028em; text-wrap: balance }
h2 { font-size: 1.125rem; line-height: 1.35 }
a { color: var(--accent); text-underline-offset: .18em }
code, pre { font: .9375rem/1.5 ui-monospace, "SF Mono", "Cascadia Code", Menlo, Consolas, "DejaVu Sans Mono", monospace }
pre { padding: .75rem .875rem; border: 1px solid var(--line); border-radius: .5rem; background: var(--sunk); white-space: pre-wrap; overflow-wrap: anywhere }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; border-radius: .25rem }
header { display: flex; flex-wrap: wrap; align-items: center; justify-content: space-between; gap: .5rem 1rem }
.brand { color: inherit; font-weight: 700; text-decoration: none }
.brand span, .hint, .lede, footer { color: var(--soft) }
.brand span { font-weight: 400 }
.who { padding: .2rem .75rem; border: 1px solid var(--line); border-radius: 99rem; background: var(--card); font-size: .875rem }
.in { border-color: transparent; background: var(--accent-soft) }
main { display: grid; grid-template-columns: minmax(0, 1fr); gap: 1.25rem; padding: clamp(2rem, 6vw, 4rem) 0 2rem }
.lede { font-size: 1.125rem; text-wrap: pretty }
.card, form { display: grid; grid-template-columns: minmax(0, 1fr); gap: .75rem }
.card { padding: 1.25rem; border: 1px solid var(--line); border-radius: .875rem; background: var(--card) }
label { display: block; margin-bottom: .25rem; font-size: .875rem; font-weight: 600 }
input, button, .button { display: block; width: 100%; padding: .6rem .75rem; border: 1px solid var(--edge); border-radius: .5rem; background: var(--paper); color: inherit; font: inherit }
button, .button { background: transparent; font-weight: 600; text-align: center; text-decoration: none; cursor: pointer }
button:hover, .button:hover { border-color: var(--ink); background: var(--sunk) }
.primary { border-color: var(--accent); background: var(--accent); color: var(--accent-ink) }
.primary:hover { border-color: var(--ink); background: var(--ink); color: var(--paper) }
.quiet { border-color: transparent; color: var(--bad) }
.quiet:hover { border-color: var(--bad); background: var(--bad-soft) }
.alert { padding: .625rem .875rem; border-left: 4px solid var(--bad); border-radius: .375rem; background: var(--bad-soft) }
.hint, footer { font-size: .875rem }
`

// The Content-Security-Policy allows only the style above.
const styleHash = createHash('sha256').update(style).digest('base64')
export const contentSecurityPolicy =
  `default-src 'none'; style-src 'sha256-${styleHash}'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'`

const escape = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`)

// page shows who is signed in, with the session as the store holds it. failed means that
// the last sign-in failed.
export function page({ title, failed, session, demoUser, guestUser, demoPassword }) {
  const { user, count = 0 } = session
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title} – samesid demo on Express</title>
<link rel="icon" href="data:image/svg+xml;base64,${icon}">
<style>${style}</style>
</head>
<body>
<header>
<a class="brand" href="/">samesid <span>demo, the Express half</span></a>
<p class="who${user ? ' in' : ''}">${user ? `Signed in as <b>${escape(user.username)}</b>` : 'Signed out'}</p>
</header>
<main>
<h1>${title}</h1>
<p class="lede">This is Express. The Go half on the same store has the same sessions: sign in on either, and you are signed in on both. Log out on either, and you are out on both.</p>
<section class="card">
${user ? account(user) : form(failed, demoUser, guestUser, demoPassword)}
<form method="post" action="/count"><button id="count">Put count = ${escape(count + 1)} in the session</button></form>
${user ? '<form method="post" action="/logout"><button class="quiet" id="logout">Log out</button></form>' : ''}
</section>
${user || count ? record(session) : ''}
</main>
<footer>
<p>The Go half is at <a href="http://127.0.0.1:8080/">http://127.0.0.1:8080</a>, if it was started without an address of its own. A cookie is for a host name, whatever the port: use 127.0.0.1 with both.</p>
</footer>
</body>
</html>
`
}

const account = (user) => `<h2>Hello, ${escape(user.name)}</h2>
<a class="button primary" id="protected" href="/protected">Open the protected page</a>`

const form = (failed, demoUser, guestUser, demoPassword) => `<h2>Sign in</h2>
<form method="post" action="/login">
${failed ? '<p class="alert" role="alert"><b>Invalid credentials.</b> An unknown user and a wrong password get the same answer, after the same time.</p>' : ''}
<div><label for="username">User name</label>
<input id="username" name="username" value="${demoUser.username}" autocomplete="username" autocapitalize="none" spellcheck="false" required></div>
<div><label for="password">Password</label>
<input id="password" name="password" type="password" value="${demoPassword}" autocomplete="current-password" aria-describedby="hint" required></div>
<p class="hint" id="hint">The password is <code>${demoPassword}</code>, filled in already. A second user, <code>${guestUser.username}</code>, has the same.</p>
<button class="primary">Sign in</button>
</form>
<a class="button" id="protected" href="/protected">Try the protected page</a>`

const record = (session) => `<section class="card">
<h2>The session, as both halves have it</h2>
<pre id="record">${escape(JSON.stringify(session, null, 2))}</pre>
</section>`
