// Writes the vectors in ../vectors. To run it, with Node 18 or later:
//
//     npm ci && npm run make-vectors && rm -rf node_modules
//
// Every answer in the vectors comes from the npm packages in package.json; the
// clock stands still, so that two runs write the same bytes.

import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import cookie from 'cookie'
import signature from 'cookie-signature'
import session from 'express-session'

const require = createRequire(import.meta.url)
const now = Date.parse('2026-11-22T20:52:08.665Z')
Date.now = () => now

for (const [name, version] of Object.entries(JSON.parse(readFileSync(new URL('package.json', import.meta.url))).dependencies)) {
  // express-session must use the same copies.
  for (const from of [import.meta.url, require.resolve('express-session')]) {
    const found = createRequire(from)(`${name}/package.json`).version
    if (found !== version) throw new Error(`${name} is ${found}, not ${version}`)
  }
}

// One vector a line, so that a change shows as one.
function write(file, vectors) {
  const lines = vectors.map((v) => '  ' + JSON.stringify(v))
  writeFileSync(new URL(`../vectors/${file}`, import.meta.url), `[\n${lines.join(',\n')}\n]\n`)
}

// What f returns, or null if it throws.
function attempt(f) {
  try {
    return f()
  } catch {
    return null
  }
}

const sid = '4Fn7xQ0Yb3ZkUuT1sJcVw2R9aEoLhGiD'

// Signatures: what signing gives, as a value and as a cookie.
const secrets = ['keyboard cat', 's', 'a.b', '0123456789abcdef'.repeat(4), 'x'.repeat(64), 'x'.repeat(65), 'пароль', '🔑 key', ' leading and trailing ', 'nul\u0000inside', 'line\nfeed']
const ids = [sid, 'a', '.', '..', 'a.b', 'a.b.c', '.a', 'a.', '-_', 's:', 's:a', ' ', 'with space', 'tab\t', 'é', 'ключ', '日本語', '🍪', 'a+b/c=', '%41', '100%', '"quoted"', 'semi;colon', 'nul\u0000', 'x'.repeat(63), 'x'.repeat(64), 'x'.repeat(65), 'x'.repeat(1000)]
for (let i = 0; i < 24; i++) ids.push(`session-${i}`) // enough for each character of base64, "+" and "/" too
write('sign.json', secrets.flatMap((secret) => ids.map((id) => {
  const value = 's:' + signature.sign(id, secret)
  return { secret, id, value, cookie: encodeURIComponent(value) }
})))

// Values and the id that express-session finds in them, null for none. It
// takes the secrets in turn, and an empty id for none.
const signed = signature.sign(sid, 'second')
const flipped = signed.slice(0, -1) + (signed.endsWith('A') ? 'B' : 'A')
const unsign = [
  's:' + signed, signed, 'S:' + signed, 's' + signed, ':' + signed, 's:s:' + signed, '', 's', 's:', 's:.', 's:' + sid, `s:${sid}.`, 's:' + flipped,
  's:' + signed + '=', 's:' + signed + ' ', ' s:' + signed, 's:' + signed.slice(0, -1), 's:' + signed + 'A', 's:' + signed + '.', 's:' + signed.replace('.', '..'),
  's:' + signed.toLowerCase(), 's:x' + signed, 's:' + signature.sign('', 'second'), 's:' + signature.sign(sid, 'fourth'), 's:' + signature.sign(sid, 'first'),
  's:' + signature.sign(sid, 'third'), 's:' + signature.sign('a.b.c', 'second'), 's:' + signature.sign('日本語', 'third'), 's:' + signature.sign('.', 'first'),
  's:' + signed.replaceAll('+', '-').replaceAll('/', '_'), 's:' + 'x'.repeat(43), 's:.' + 'x'.repeat(43), 's:' + signature.sign('x'.repeat(5000), 'first'),
  // Other base64 of the same bytes: the last character has two bits to spare.
  ...[...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'].map((c) => 's:' + signed.slice(0, -1) + c),
]
const trio = ['first', 'second', 'third']
write('unsign.json', unsign.map((value) => {
  let id = null
  if (value.startsWith('s:')) {
    for (const secret of trio) id ??= signature.unsign(value.slice(2), secret) || null
  }
  return { secrets: trio, value, id }
}))

// Cookie headers and what is found in them under each name.
const headers = [
  [], [''], [' '], [';'], ['='], ['=='], ['a'], ['a='], ['a=1'], ['a=1;'], [';a=1'], [';;a=1;;'], ['a=1; b=2'], ['a=1;b=2'], ['a=1;  b=2'], ['a=1 ;b=2'], ['a=1,b=2'],
  ['a=1; a=2'], ['a=; a=2'], ['a=1', 'a=2'], ['b=1', 'a=2'], ['a', 'a=2'], ['a=1;', ';b=2'], ['', 'a=1'], ['a=%', 'a=2'],
  [' a=1'], ['a =1'], ['a= 1'], ['a=1 '], ['\ta\t=\t1\t'], [' \t a \t = \t 1 \t ; b=2'], ['a=1 2'], ['a b=1; b=2'], ['a=\u00a01'], ['a=\u000b1'],
  ['a="1"'], ['a= "1" '], ['a="1'], ['a=1"'], ['a="'], ['a=""'], ['a="""'], ['a=" 1 "'], ['a="1;b=2"'], ['a="%41"'], ['a=\'1\''], ['"a"=1; a=2'], ['a=1"2"3'], ['a=" ; b=2'],
  ['a=%41'], ['a=%4'], ['a=%'], ['a=%%'], ['a=%zz'], ['a=1%'], ['a=%41%'], ['a=%0x'], ['a=%+1'], ['a=%-1'], ['a=% 1'], ['a=%u0041'], ['a=%00'], ['a=%0A'], ['a=%22'], ['a=%22x%22'], ['a=%3B'], ['a=%3D'], ['a=+'], ['a=%2B'], ['a=%2f'], ['a=%2F'], ['a=%25'], ['a=%2541'],
  ['a=%C3%A9'], ['a=%c3%a9'], ['a=%C3'], ['a=%C3x'], ['a=%C3%'], ['a=%C3%41'], ['a=%A9'], ['a=%80'], ['a=%FF'], ['a=%C0%80'], ['a=%C1%BF'], ['a=%E0%80%80'], ['a=%ED%9F%BF'], ['a=%ED%A0%80'], ['a=%ED%BF%BF'], ['a=%EE%80%80'], ['a=%EF%BF%BD'], ['a=%EF%BB%BF'],
  ['a=%F0%9F%8D%AA'], ['a=%F0%9F%8D'], ['a=%F0%9F%8D%AAx%C3%A9'], ['a=%F4%8F%BF%BF'], ['a=%F4%90%80%80'], ['a=%F5%80%80%80'], ['a=%F8%80%80%80%80'], ['a=%E2%82%AC%E2%82'],
  ['a==1'], ['a=1=2'], ['=1'], ['=1; a=2'], ['a; b=2'], ['a; b; c=3; a=1'], ['x;a=1'], ['x; ;a=1'], ['A=1; a=2'], ['aa=1; a=2'], ['a.b=1; b=2'], ['b=a=1'], ['x=1; b=%zz; a=%41'], ['%61=1; a=2'], ['$Version=1; a=2'], ['__Host-a=1; a=2'],
  ['connect.sid=s%3A' + encodeURIComponent(signed)], ['connect.sid=s:' + signed], ['theme=dark; connect.sid="s%3A' + encodeURIComponent(signed) + '"; x=1'], ['Connect.sid=1'], ['connect.sid=j%3A%7B%7D'],
  ['a=' + 'x'.repeat(5000) + '; b=2'], ['a=1; '.repeat(200) + 'b=2'],
]
const names = ['a', 'b', 'connect.sid']
write('cookie.json', headers.map((list) => {
  const found = cookie.parse(list.join('; ')) // as Node joins them
  return { headers: list, values: Object.fromEntries(names.map((n) => [n, found[n] ?? null])) }
}))

// encodeURIComponent.
const texts = ['', 'abc', 's:' + signed, 'a b', 'é', 'ж', '€', '日本語', '🍪', '\ufeff', '\uffff', '\u{10ffff}', '\u0080', '\u07ff', '\u0800', 'a\u0000b']
for (let c = 0; c < 128; c++) texts.push(String.fromCharCode(c))
write('encode.json', texts.map((text) => ({ text, encoded: encodeURIComponent(text) })))

// Set-Cookie: each value of each attribute alone, each two together, and all.
const attributes = {
  maxAge: [0, 1, 604800, -1, 2 ** 53 - 1],
  domain: ['example.com', '.Example.com'],
  path: ['/', '/a b/"c"\\'],
  expires: ['2026-11-29T20:52:08.665Z', '1970-01-01T00:00:00.000Z', '1969-12-31T23:59:59.999Z', '9999-12-31T23:59:59.000Z', '+033715-01-02T03:04:05.000Z', '0099-03-01T00:00:00.000Z'],
  httpOnly: [true],
  secure: [true],
  partitioned: [true],
  priority: ['low', 'medium', 'high'],
  sameSite: ['lax', 'strict', 'none'],
}
const each = Object.entries(attributes).map(([key, values]) => values.map((v) => ({ [key]: v })))
const all = (pick) => Object.assign({}, ...each.map(pick))
const options = [
  {},
  ...each.flat(),
  ...each.flatMap((ones, i) => each.slice(i + 1).flatMap((others) => ones.flatMap((a) => others.map((b) => ({ ...a, ...b }))))),
  all((values) => values[0]),
  all((values) => values.at(-1)),
]
const values = ['', 's:' + signed, 'a;b', '"', 'é', '🍪', ' ', 'line\nfeed']
const cookieText = ({ name, value, options }) => cookie.serialize(name, value, { ...options, expires: options.expires && new Date(options.expires) })
write('set-cookie.json', [
  ...options.map((options) => ({ name: 'connect.sid', value: 's:' + sid, options })),
  ...values.map((value) => ({ name: '__Host-a', value, options: { path: '/' } })),
].map((v) => ({ ...v, text: cookieText(v) })))

// Names, domains and paths, and whether npm cookie takes them.
const characters = texts.slice(-128).concat('é', '\u0130', '\u017f', '\u212a', '日', '🍪')
const around = characters.flatMap((c) => [c, 'a' + c + 'b'])
const label = 'a'.repeat(63)
const domains = ['', 'localhost', 'example.com', '.example.com', '..example.com', 'example.com.', 'example..com', '.', '..', 'EXAMPLE.com', 'xn--bcher-kva.example', 'bücher.example', '-a.com', 'a-.com', 'a--b.com', 'a.-b', 'a.b-', '127.0.0.1', '[::1]', 'example.com:80', 'https://example.com', '*.example.com', 'a_b.com', ' example.com', 'example.com ', 'example.com\n', label, label + 'a', label + '.com', label + 'a.com', '.' + label, `${label}.${label}.${label}.${label}.${label}`, '1', '1.2', '-', 'a.-', '.-a']
const takes = (name, options) => attempt(() => cookie.serialize(name, '', options)) !== null
write('check.json', [
  ...['', 'connect.sid', '__Host-sid', 'a b', 'sid\n', ...around].map((text) => ({ what: 'name', text, ok: takes(text) })),
  ...[...domains, ...around].map((text) => ({ what: 'domain', text, ok: takes('a', { domain: text }) })),
  ...['', '/', '/app', '/a;b', '/a\n', '/é', 'app', ...around].map((text) => ({ what: 'path', text, ok: takes('a', { path: text }) })),
])

// Sessions as the middleware itself stores them in its MemoryStore, with the
// header it sends, null when it fails to make one: run it on a request without a
// cookie and let change() be the handler.
function store(cookieOptions, change = () => {}) {
  const memory = new session.MemoryStore()
  const request = new IncomingMessage(new Socket())
  request.url = '/'
  request.connection.encrypted = true
  const response = new ServerResponse(request)
  session({ secret: 'keyboard cat', store: memory, genid: () => sid, resave: false, saveUninitialized: true, cookie: cookieOptions })(request, response, () => change(request.session))
  response.end()
  return new Promise((resolve) => setImmediate(() => setImmediate(() => {
    resolve({ record: memory.sessions[sid], setCookie: response.getHeader('set-cookie')?.[0] ?? null })
  })))
}

// What Express makes of a record: the cookie, and the keys it keeps; or null
// when it fails.
function load(record) {
  return attempt(() => {
    const { cookie: c, ...rest } = new session.Store().createSession({ sessionID: sid }, JSON.parse(record))
    const expires = c.expires instanceof Date && !isNaN(c.expires) ? c.expires.toISOString() : null
    // What it will use: touch() sets the cookie's age from the original one.
    const originalMaxAge = c.originalMaxAge ?? null
    c.maxAge = originalMaxAge
    return { cookie: { ...c.data, originalMaxAge, expires }, keys: Object.keys(rest) }
  })
}

const day = 24 * 3600 * 1000
const cookies = [
  undefined, {}, { maxAge: null }, { maxAge: 7 * day }, { maxAge: 0 }, { maxAge: 1 }, { maxAge: -1 }, { maxAge: -day }, { maxAge: 1500.5 }, { maxAge: 0.1 }, { maxAge: 365 * day }, { maxAge: 1e15 }, { maxAge: Number.MAX_SAFE_INTEGER }, { maxAge: 1e21 },
  { expires: new Date(now + day) }, { expires: new Date(now - day) }, { expires: new Date(0) }, { expires: new Date('9999-12-31T23:59:59.999Z') }, { expires: new Date('+010000-02-29T00:00:00.000Z') }, { expires: new Date(8.64e15) },
  { maxAge: day, expires: new Date(now + 2 * day) }, { expires: new Date(now + 2 * day), maxAge: day },
  { httpOnly: false }, { secure: false }, { secure: true }, { secure: 'auto' }, { partitioned: true, secure: true }, { partitioned: false }, { domain: 'example.com' }, { domain: '' }, { path: '/' }, { path: '' }, { path: null },
  { priority: 'low' }, { priority: 'Medium' }, { priority: 'HIGH' }, { sameSite: true }, { sameSite: false }, { sameSite: 'lax' }, { sameSite: 'Strict' }, { sameSite: 'NONE' }, { sameSite: 'auto' },
  { maxAge: 7 * day, httpOnly: true, secure: true, partitioned: true, domain: 'example.com', path: '/', priority: 'high', sameSite: 'none' },
  () => ({ secure: 'auto', maxAge: day }),
]
const changes = [
  (s) => { s.user = { id: 42, name: 'Ada Lovelace', email: 'ada@example.com', roles: ['admin', 'editor'], address: null } },
  (s) => { s.passport = { user: 42 }; s.views = 3; s.returnTo = '/a?b=c&d=<e>' },
  (s) => { s.at = new Date(now); s.invalid = new Date(NaN); s.bytes = Buffer.from('hi'); s.nothing = undefined; s.f = () => {} },
  (s) => { s.numbers = [0, -0, 1, -1, 255, 256, 2 ** 31, -(2 ** 31), 2 ** 53 - 1, 2 ** 53, -(2 ** 53), 2 ** 63, -(2 ** 63), 2 ** 64, 1e20, 1e21, 123456789012345680000, 0.1, -0.5, 1.5, 1e-6, 1e-7, 5e-324, 1.7976931348623157e308, Infinity, NaN, Math.PI] },
  (s) => { s.text = ['', 'é', 'ж', '日本語', '🍪', '\ud83c', '\udf6a', '\udf6a\ud83c', '\u0000', '\u0007\b\f\n\r\t\u001f\u007f\u0080', '"quoted" \\ /', '<script>&amp;', '\u2028\u2029', '\ufeff', '\uffff', '\\u0041'] },
  (s) => { s.nested = { a: { b: { c: [null, [], {}, [[null]], { d: null }] } }, list: [true, false, null] } },
  (s) => { s[''] = 1; s.constructor = 2; Object.defineProperty(s, '__proto__', { value: 3, enumerable: true }); s.toString = 4; s['with space'] = 5; s['ключ'] = 6; s['"'] = 7; s['\u0000'] = 8; s['1'] = 9; s.Cookie = 10; s['🍪'] = 11 },
  (s) => { s.cookies = {}; s.data = { cookie: { path: '/x' } } },
  (s) => { s.cookie.maxAge = 30 * day; s.user = 1 },
  (s) => { s.cookie.expires = new Date(now + 1); s.user = 1 },
  (s) => { s.cookie.originalMaxAge = 1234; s.user = 1 },
  (s) => { s.big = 'x'.repeat(20000) },
  (s) => { for (let i = 0; i < 40; i++) s['key' + i] = i },
]
const records = []
for (const c of cookies) records.push(await store(c))
for (const change of changes) records.push(await store({ maxAge: 7 * day }, change))
write('record.json', records.map((r) => ({ ...r, loaded: load(r.record) })))

// Records by other hands, and what Express makes of them.
const bare = '{"cookie":{"originalMaxAge":null,"expires":null,"httpOnly":true,"path":"/"}'
const found = [
  '{"cookie":{}}', ' {\n\t"cookie" : { } ,\r\n "a" : [ 1 , 2 ] } ', '{"a":1,"cookie":{},"b":2}', '{"\\u0063ookie":{"path":"/x"}}', '{"cookie":{"\\u0070ath":"/x"}}',
  '{}', '{"a":1}', '{"cookie":null}', '{"cookie":1}', '{"cookie":"x"}', '{"cookie":true}', '{"Cookie":{}}', 'null', '[]', '1', '"x"', '', ' ', '{', '{"cookie":{}', '{"cookie":{}}}', '{"cookie":{}} x', "{'cookie':{}}", '{cookie:{}}', '{"cookie":{},}', '{"cookie":{},"a":01}', '{"cookie":{},"a":+1}', '{"cookie":{},"a":.5}', '{"cookie":{},"a":1.}', '{"cookie":{},"a":NaN}', '{"cookie":{},"a":"\t"}', '{"cookie":{},"a":"\\x"}', '{"cookie":{},"a":tru}', '\ufeff{"cookie":{}}',
  '{"cookie":{"path":"/a"},"cookie":{}}', '{"cookie":1,"cookie":{"path":"/a"}}', '{"cookie":{},"cookie":1}', '{"cookie":{"path":"/a","path":"/b"}}',
  ...['originalMaxAge', 'expires', 'httpOnly', 'secure', 'partitioned', 'domain', 'path', 'priority', 'sameSite'].flatMap((key) => ['null', 'true', 'false', '0', '""', '"x"'].map((v) => `{"cookie":{"${key}":${v}}}`)),
  ...['1', '-1', '0.5', '1e3', '1E3', '1.5e-3', '-0', '1e400', '-1e400', '"60000"', '{}', '123456789012345678901234567890'].map((v) => `{"cookie":{"originalMaxAge":${v}}}`),
  ...['2026-11-29T20:52:08.665Z', '2026-11-29T20:52:08Z', '2026-11-29T22:52:08.665+02:00', '2026-11-29T20:52:08.665999Z', '2026-02-30T00:00:00.000Z', '2026-13-01T00:00:00.000Z', 'never', '+010000-01-01T00:00:00.000Z', '-000001-01-01T00:00:00.000Z', '+12-01-01T00:00:00.000Z', '+00x000-01-01T00:00:00.000Z', '+010001-02-29T00:00:00.000Z', '\\u0032026-11-29T20:52:08.665Z'].map((v) => `{"cookie":{"expires":"${v}"}}`),
  '{"cookie":{"unknown":{"path":"/x","a":[1,"]}"]},"path":"/y"}}', '{"cookie":{"sameSite":"LAX","priority":"LOW","domain":"Example.COM"}}', '{"cookie":{"secure":"auto","sameSite":"auto"}}',
  ...['1', '-0', '0.0', '1.0', '1e2', '9223372036854775807', '-9223372036854775808', '9223372036854775808', '1e308', '1e400', '-1e400', '1e-400', '"\\ud800"', '"\\ud83c\\udf6a"', '"\\udf6a\\ud83c"', '"\\u0000"', '"\\/"', '"\\u00e9"', '{"a":1,"a":2}', '{"__proto__":1}', '"caf\u00e9"', '[[[[[[[[[[]]]]]]]]]]', '" \\" , : ] } "', 'true', 'false', 'null'].map((v) => `${bare},"v":${v}}`),
  ...['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'id', 'req', 'save', 'touch', 'regenerate', '', 'a.b', '\\u0000', 'caf\u00e9', '\\u0061'].map((k) => `${bare},"${k}":1}`),
  `${bare},"a":1,"a":2}`, `${bare},"a":{"b":1},"a":2,"\\u0061":3}`,
]
write('found.json', found.map((record) => ({ record, loaded: load(record) })))
