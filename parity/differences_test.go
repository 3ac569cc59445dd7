package parity

import (
	"math"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// onPurpose holds the differences between Express and samesid, as in docs/differences.md.
// A test fails for a difference that is not here, and for one that no test demonstrates.
var onPurpose = []struct {
	name    string
	express string
	here    string
	why     string

	// always allows the difference in every script. Otherwise it is allowed only in
	// the scripts that demonstrate it.
	always bool
	// allows reports whether a difference is this one; nil if a dedicated test
	// demonstrates it.
	allows func(difference) bool
	seen   atomic.Bool
}{
	{
		name:    "Max-Age",
		express: "not sent",
		here:    "sent beside Expires",
		why:     "survives a wrong client clock",
		always:  true,
		allows: func(d difference) bool {
			if d.field != "Set-Cookie: Max-Age" || d.node != "none" {
				return false
			}
			left, ok := d.comparison.gos.cookie.expiresIn()
			seconds, err := strconv.Atoi(d.comparison.gos.cookie.attrs["Max-Age"])
			return ok && err == nil && math.Abs(max(0, left.Seconds())-float64(seconds)) <= tolerance.Seconds()
		},
	},
	{
		name:    "destroy",
		express: "the cookie stays in the browser",
		here:    "the cookie is cleared",
		why:     "expressjs/session#241",
		always:  true,
		allows: func(d difference) bool {
			ended := d.step.did("destroy") || d.step.did("unset") && d.options.Unset == "destroy"
			return ended && d.field == "Set-Cookie" && d.node == "none" && d.gos == "one that clears"
		},
	},
	{
		name:    "two cookies of one name",
		express: "the first one counts, also if it is from before cookie.domain was set",
		here:    "so it does; the log says it once, and the one without a domain is cleared beside a cookie that is sent",
		why:     "else the user signs in and is not",
		always:  true,
		allows: func(d difference) bool {
			return strings.HasSuffix(d.step.Forge, "one first") && d.options.Cookie.Domain != "" && d.field == "cookie without Domain" && d.gos == "cleared"
		},
	},
	{
		name:    "caching headers",
		express: "not sent",
		here:    `Vary: Cookie, and Cache-Control: no-cache="Set-Cookie" beside a cookie`,
		why:     "a shared cache must not give one user's session to another",
		always:  true,
		allows: func(d difference) bool {
			switch d.field {
			case "Vary":
				return d.node == "" && d.gos == "Cookie"
			case "Cache-Control":
				return d.node == "" && d.gos == `no-cache="Set-Cookie"` && d.comparison.gos.cookie != nil
			}
			return false
		},
	},
	{
		name:    "outside cookie.path",
		express: "no req.session: using it fails",
		here:    "an empty session that is never saved",
		why:     "a handler need not know where it is mounted",
		always:  true,
		allows: func(d difference) bool {
			return d.within("sid", "result", "number of results") &&
				d.comparison.node.sid == nil && !strings.HasPrefix(d.step.Path+"/run", d.options.Cookie.Path)
		},
	},
	{
		name:    "beside cookie.path",
		express: "/admin covers /administrator too, where browsers do not send the cookie",
		here:    "as browsers: RFC 6265, 5.1.4",
		why:     "a session there is saved and never found again",
		allows:  func(d difference) bool { return d.at == 6 && d.within("sid", "result", "number of results") },
	},
	{
		name:    "signature by an older secret",
		express: "the cookie stays as it is",
		here:    "it is sent again, signed by the first secret",
		why:     "else dropping the old secret logs out those who only read",
		always:  true,
		allows: func(d difference) bool {
			if d.step.Forge != "last secret" || len(d.options.secrets()) == 1 {
				return false
			}
			return d.node == "none" && d.gos == "one" || d.node == "" && d.gos == `no-cache="Set-Cookie"`
		},
	},
	{
		name:    "reading slides the expiry",
		express: "a touch at the end of the request",
		here:    "may be done as the session is read, in one round trip, and so before the handler unsets it",
		why:     "half the round trips",
		always:  true,
		allows: func(d difference) bool {
			return d.longerHere() && d.step.did("unset") && d.options.Unset != "destroy"
		},
	},
	{
		name:    "touch",
		express: "resets the expiry at the end of the request, if it does not unset the session",
		here:    "moves the store's expiry at once",
		why:     "a stream must be able to prolong its session",
		allows: func(d difference) bool {
			return d.within(timeLeft) && d.step.did("touch") && d.step.did("unset") && d.options.Unset != "destroy"
		},
	},
	{
		name:    "connect-session-knex and connect-sqlite3 without maxAge",
		express: "such a session is not touched: it ends a day after its last change",
		here:    "it ends a day after its last use, as with the other stores",
		why:     "a user who is there must not be logged out",
		always:  true,
		allows: func(d difference) bool {
			return d.longerHere() && d.store.TouchNeedsMaxAge && d.recorded().cookie["expires"] == nil
		},
	},
	{
		name:    "connect-session-sequelize after the expiry",
		express: "a session that has expired is found, and by that prolonged, until the next clean-up",
		here:    "it is gone, as with the other stores",
		why:     "a session ends when its cookie does",
		allows: func(d difference) bool {
			return d.at == 1 && d.within("sid", "result", "store", "record")
		},
	},
	{
		name:    "defaults",
		express: "resave and saveUninitialized left out are true, with a warning that they will not be",
		here:    "false",
		why:     "what Express itself recommends",
		allows:  func(d difference) bool { return d.within("sid", "Set-Cookie", "store") },
	},
	{
		name:    "logout is final",
		express: "a request that runs meanwhile brings the session back",
		here:    "it stays gone; save fails",
		why:     "expressjs/session#632",
		allows: func(d difference) bool {
			return d.step.Meanwhile && d.within("sid", "result of [\"save\"]", "Set-Cookie", "store")
		},
	},
	{
		name:    "no lost update",
		express: "of two requests at once, the later save drops the other's change",
		here:    "changes to different keys both stay",
		why:     "expressjs/session#361",
		allows: func(d difference) bool {
			return d.node == `{"session 1":{"a":1,"b":1}}` && d.gos == `{"session 1":{"a":1,"b":1,"c":1}}`
		},
	},
	{
		name:    "saved before seen",
		express: "stored at the end of the response: the client can be faster",
		here:    "stored before its first byte",
		why:     "expressjs/session#309",
		allows: func(d difference) bool {
			return d.at == 1 && d.field == "store" && d.node == `{}` && d.gos == `{"session 1":{"a":1}}`
		},
	},
	{
		name:    "late change",
		express: "a change after the response has begun is stored at its end",
		here:    "it needs a call of Save; else the log says that it is lost",
		why:     "follows from storing before the first byte",
		allows: func(d difference) bool {
			return d.at == 1 && d.node == `{"session 1":{"a":2,"b":1}}` && d.gos == `{"session 1":{"a":2}}` ||
				d.at == 2 && d.node == `{"session 1":{"a":3,"b":1}}` && d.gos == `{"session 1":{"a":3}}`
		},
	},
	{
		name:    "maxAge alone",
		express: "if nothing else of a session changes, every store but that in memory forgets its new maxAge after the response",
		here:    "it is kept in each store",
		why:     "as with Express's own memory store",
		allows: func(d difference) bool {
			a, ok1 := d.node.(float64)
			b, ok2 := d.gos.(float64)
			longer := ok1 && ok2 && math.Abs(b-a-540000) <= float64(tolerance.Milliseconds())
			switch d.field {
			case `result of ["originalMaxAge"]`, "record: cookie.originalMaxAge", "record: cookie.expires":
				return longer
			}
			return d.at == 2 && d.longerHere()
		},
	},
	{
		name:    "time left",
		express: "cookie.maxAge counts down from the last response until this one",
		here:    "MaxAge counts from this response",
		why:     "this request has moved the expiry already",
		allows: func(d difference) bool {
			ms, ok := d.node.(float64)
			return d.field == `result of ["maxAge"]` && ok && ms < 54000+100 && d.gos == 60000.0
		},
	},
	{
		name:    "order of keys",
		express: "keys in another order are a change",
		here:    "they are not",
		why:     "Go's maps have no order",
		allows:  func(d difference) bool { return d.at == 1 && d.field == "Set-Cookie" },
	},
	{
		name:    "names of JavaScript's",
		express: "a key that Object or Session has too is refused, or lost when the session is next loaded",
		here:    "a key like any other",
		why:     "no names are reserved in Go, but cookie",
		allows:  func(d difference) bool { return d.within("sid", "result", "Set-Cookie", "store", "record") },
	},
	{
		name:    "after destroy",
		express: "no req.session after destroy or unset: using it fails",
		here:    "what is put begins a new session after Destroy, and is not saved after Unset",
		why:     "as in scs",
		allows:  func(d difference) bool { return d.at > 0 && d.within("sid", "result", "Set-Cookie", "store") },
	},
	{
		name:    "broken record",
		express: "fails each request",
		here:    "counts as no session, with a line in the log",
		why:     "the user can sign in again",
		allows:  func(d difference) bool { return d.at == 1 && d.within("status", "sid", "number of results", "store") },
	},
	{
		name:    "no secret",
		express: "an error on every request",
		here:    "an error at start-up",
		why:     "found before users find it",
	},
	{
		name:    "contradictory cookies",
		express: "sends a cookie that browsers drop",
		here:    "an error at start-up that names both options: sameSite none or auto, or partitioned, without secure",
		why:     "found before users find it",
	},
	{
		name:    "store down",
		express: "500, or a 200 without the session saved; next() without a session if the store says so",
		here:    "503, fail closed",
		why:     "connect-redis#88, #159",
	},
	{
		name:    "secure cookie on plain HTTP",
		express: "silently not sent",
		here:    "not sent, and said once in the log with the fix",
		why:     "expressjs/session#281, #628",
	},
	{
		name:    "size",
		express: "no limit but the store's",
		here:    "a session of more than 4 MiB is not saved: 500, and the stored one stays as it was",
		why:     "each request reads all of it",
		allows: func(d difference) bool {
			return d.at == 1 && d.within("status", "sid", "number of results", "Set-Cookie", "Cache-Control", "store", "record") ||
				d.at == 2 && d.within("store", "record")
		},
	},
	{
		name:    "absolute lifetime",
		express: "none",
		here:    "optional",
		why:     "OWASP ASVS 7.3.2, expressjs/session#732",
		allows: func(d difference) bool {
			if d.field != "Set-Cookie: Expires" {
				return d.within(timeLeft) && !d.longerHere()
			}
			left, ok := d.comparison.gos.cookie.expiresIn()
			return ok && left < 58*time.Second
		},
	},
}

// longerHere reports whether this is a record that expires later on samesid's side.
func (d difference) longerHere() bool {
	return d.within(timeLeft) && d.gos.(time.Duration) > d.node.(time.Duration)
}

// recorded returns Express's version of the record whose time left differs.
func (d difference) recorded() record {
	return d.comparison.node.records[strings.TrimPrefix(d.field, timeLeft)]
}
