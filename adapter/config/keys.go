package config

import (
	"strings"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends"
)

// key is one thing that a file can say. The table of them is the only place
// that knows them: the loader, the names of environment variables, schema.json
// and docs/configuration.md are made of it.
type key struct {
	path string // section.name
	kind kind
	also []string // other spellings
	// or is a key that says the same in another way. Where both are given in a
	// file the last one counts if lastWins, and else it is an error.
	or       string
	lastWins bool
	field    string // of adapter's Options or backends' Config, as their errors name it
	doc      string
}

// env is the name of the environment variable.
func (k *key) env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(k.path, ".", "_"))
}

const envPrefix = "SAMESID_"

// sections are the keys that hold keys, and what is said of them.
var sections = map[string]string{
	"cookie": "The session cookie.",
	"store":  "Where the sessions are: these keys, or the url alone. Without it, in memory.",
}

// schemaKey is where a JSON file names its schema, for editors.
const schemaKey = "$schema"

// keys is in the order in which values are read.
var keys = []*key{
	{
		path: "name", also: []string{"key"}, field: "Options.Name",
		kind: text(func(c *Config) *string { return &c.Options.Name }),
		doc:  "The cookie's name. Default: connect.sid.",
	},
	{
		path: "secret", or: "secretFile", field: "Options.Secrets",
		kind: secrets(),
		doc:  "Signs the cookie: 32 random bytes or more. Of a list the first signs and all verify, so a new one goes in front. Required, unless cookies is unsigned.",
	},
	{
		path: "secretFile", or: "secret",
		kind: secretFiles(),
		doc:  "A file that holds the secret, or a list of files with one each; a line break at the end does not count. Relative to the configuration file.",
	},
	{
		path: "resave", field: "Options.Resave",
		kind: boolean(func(c *Config) *bool { return &c.Options.Resave }),
		doc:  "Save a session that was loaded and not changed. Default: false (Express: true, deprecated).",
	},
	{
		path: "saveUninitialized", field: "Options.SaveUninitialized",
		kind: boolean(func(c *Config) *bool { return &c.Options.SaveUninitialized }),
		doc:  "Save a session that is new and has no data. Default: false (Express: true, deprecated).",
	},
	{
		path: "rolling", field: "Options.Rolling",
		kind: boolean(func(c *Config) *bool { return &c.Options.Rolling }),
		doc:  "Send the cookie on every response. Default: false.",
	},
	{
		path: "unset", field: "Options.Unset",
		kind: word(func(c *Config) *adapter.UnsetMode { return &c.Options.Unset }, "keep", "destroy"),
		doc:  "What unsetting a session does to the stored one. Default: keep.",
	},
	{
		path: "proxy", field: "Options.Proxy",
		kind: choice(func(c *Config, v any) { c.Options.Proxy = toBool(v) }, true, false),
		doc:  "Whether X-Forwarded-Proto says if the connection is secure. Default: as the connection or a proxy-header middleware says.",
	},
	{
		path: "codec", field: "Options.Codec",
		kind: choice(func(c *Config, v any) {
			c.Options.Codec = map[any]scs.Codec{"json": adapter.JSONCodec{}, "gob": scs.GobCodec{}}[v]
		}, "json", "gob"),
		doc: "How a session is stored: json is Express's record, gob keeps Go's types. Default: json with the connect-* layouts, gob with the others.",
	},
	{
		path: "cookies", field: "Options.Cookies",
		kind: choice(func(c *Config, v any) {
			c.Options.Cookies = map[any]adapter.CookieForm{
				"signed": adapter.SignedCookies, "migrate": adapter.MigrateCookies, "unsigned": adapter.UnsignedCookies,
			}[v]
		}, "signed", "migrate", "unsigned"),
		doc: "The form of the cookie: signed as Express's, unsigned as plain scs's, or migrate, which accepts both and sends signed ones. Default: signed.",
	},
	{
		path: "ids", field: "Options.IDs",
		kind: choice(func(c *Config, v any) {
			c.Options.IDs = map[any]adapter.IDForm{
				"plain": adapter.PlainIDs, "migrate": adapter.MigrateIDs, "hashed": adapter.HashedIDs,
			}[v]
		}, "plain", "migrate", "hashed"),
		doc: "By what the store knows a session: its id, or a hash of it; migrate moves those that are stored under their id as their users come back. Not plain: only with the layout scs. Default: plain.",
	},
	{
		path: "maxRecordSize", field: "Options.MaxRecordSize",
		kind: count(func(c *Config) *int { return &c.Options.MaxRecordSize }),
		doc:  "How many bytes a stored session may have; to save a larger one is an error. Default: 4194304.",
	},
	{
		path: "absoluteLifetime", field: "Options.AbsoluteLifetime",
		kind: duration{}.kind(func(c *Config) *time.Duration { return &c.Options.AbsoluteLifetime }),
		doc:  "Ends a session this long after it began, however much it is used. Default: no such limit.",
	},

	{
		path: "cookie.maxAge", or: "cookie.expires", lastWins: true, field: "Options.Cookie.MaxAge",
		kind: duration{unit: time.Millisecond, null: true, zero: "; null is a cookie that ends with the browser"}.
			kind(func(c *Config) *time.Duration { return &c.Options.Cookie.MaxAge }),
		doc: "How long a session lives after its last use. Default: null, a cookie that ends with the browser. Of maxAge and expires the last one counts.",
	},
	{
		path: "cookie.expires", or: "cookie.maxAge", lastWins: true, field: "Options.Cookie.Expires",
		kind: date(func(c *Config) *time.Time { return &c.Options.Cookie.Expires }),
		doc:  "A date in place of maxAge. A session lives as long as it had left when it began, and each use starts this time again.",
	},
	{
		path: "cookie.httpOnly", field: "Options.Cookie.HTTPOnly",
		kind: choice(func(c *Config, v any) { c.Options.Cookie.HTTPOnly = toBool(v) }, true, false),
		doc:  "Keep scripts from reading the cookie. Default: true.",
	},
	{
		path: "cookie.secure", field: "Options.Cookie.Secure",
		kind: choice(func(c *Config, v any) { c.Options.Cookie.Secure = toBool(v) }, true, false, "auto"),
		doc:  "Send the cookie on secure connections alone; auto: if the session began on one. Default: false.",
	},
	{
		path: "cookie.sameSite", field: "Options.Cookie.SameSite",
		kind: orCapital(choice(func(c *Config, v any) {
			switch v {
			case true:
				v = "strict"
			case false:
				v = ""
			}
			c.Options.Cookie.SameSite = adapter.SameSite(v.(string))
		}, true, false, "lax", "strict", "none", "auto")),
		doc: "The attribute of that name: true is strict, false none at all; auto is none on a secure connection and lax on others. Default: false.",
	},
	{
		path: "cookie.path", field: "Options.Cookie.Path",
		kind: text(func(c *Config) *string { return &c.Options.Cookie.Path }),
		doc:  "Requests outside this path have no session. Default: /.",
	},
	{
		path: "cookie.domain", field: "Options.Cookie.Domain",
		kind: text(func(c *Config) *string { return &c.Options.Cookie.Domain }),
		doc:  "The hosts that get the cookie. Default: the one that set it.",
	},
	{
		path: "cookie.partitioned", field: "Options.Cookie.Partitioned",
		kind: boolean(func(c *Config) *bool { return &c.Options.Cookie.Partitioned }),
		doc:  "Keep the cookie apart for each top-level site. Default: false.",
	},
	{
		path: "cookie.priority", field: "Options.Cookie.Priority",
		kind: orCapital(word(func(c *Config) *string { return &c.Options.Cookie.Priority }, "low", "medium", "high")),
		doc:  "The attribute of that name. Default: none.",
	},

	{
		path: "store.type", field: "Config.Type",
		kind: word(func(c *Config) *backends.Type { return &c.Store.Type }, string(backends.Memory), string(backends.Redis), string(backends.Postgres)),
		doc:  "Default: as the url says, and memory without one.",
	},
	{
		path: "store.url", also: []string{"conString"}, field: "Config.URL",
		kind: text(func(c *Config) *string { return &c.Store.URL }),
		doc:  "The server: redis://, rediss://, unix://, postgres:// or memory://. With type postgres also key=value pairs, or nothing for the PG* variables.",
	},
	{
		path: "store.layout", field: "Config.Layout",
		kind: word(func(c *Config) *string { return &c.Store.Layout }, layoutSCS, layoutConnectRedis, layoutConnectPgSimple, layoutConnectSessionKnex),
		doc:  "Whose records these are, names and format. Redis: scs or connect-redis; Postgres: scs, connect-pg-simple or connect-session-knex. Default: scs.",
	},
	{
		path: "store.prefix", field: "Config.Prefix",
		kind: text(func(c *Config) *string { return &c.Store.Prefix }),
		doc:  "Redis: the beginning of each key. Default: scs:session: or sess:, by the layout.",
	},
	{
		path: "store.schemaName", field: "Config.SchemaName",
		kind: text(func(c *Config) *string { return &c.Store.SchemaName }),
		doc:  "Postgres: the table's schema. Default: found through the search_path.",
	},
	{
		path: "store.tableName", also: []string{"tablename"}, field: "Config.TableName",
		kind: text(func(c *Config) *string { return &c.Store.TableName }),
		doc:  "Postgres: the table. Default: sessions, with connect-pg-simple session.",
	},
	{
		path: "store.sidFieldName", also: []string{"sidfieldname"}, field: "Config.SIDFieldName",
		kind: text(func(c *Config) *string { return &c.Store.SIDFieldName }),
		doc:  "Postgres, layout connect-session-knex: the column of the id. Default: sid.",
	},
	{
		path: "store.createTable", also: []string{"createtable", "createTableIfMissing"}, field: "Config.CreateTable",
		kind: boolean(func(c *Config) *bool { return &c.Store.CreateTable }),
		doc:  "Postgres: make the table and its index if they are missing. Default: false; the error then has the SQL to run.",
	},
	{
		path: "store.ttl", field: "Options.TTL",
		kind: duration{unitBy: ttlUnit}.kind(func(c *Config) *time.Duration { return &c.Options.TTL }),
		doc:  "How long a session is kept whose cookie ends with the browser. As a number: seconds with connect-redis and connect-pg-simple, milliseconds with connect-session-knex. Default: 24h.",
	},
	{
		path: "store.touchAfter", field: "Options.TouchAfter",
		kind: duration{}.kind(func(c *Config) *time.Duration { return &c.Options.TouchAfter }),
		doc:  "Move the expiry of a session in use at most this often. Default: on each request.",
	},
	{
		path: "store.cleanupInterval", also: []string{"clearInterval"}, or: "store.pruneSessionInterval", field: "Config.CleanupInterval",
		kind: duration{unit: time.Millisecond, off: []any{0, false}}.kind(func(c *Config) *time.Duration { return &c.Store.CleanupInterval }),
		doc:  "Memory and Postgres: the time between two removals of expired sessions. Default: 1m and 15m.",
	},
	{
		path: "store.pruneSessionInterval", or: "store.cleanupInterval",
		kind: duration{unit: time.Second, off: []any{false}, zero: "; false is never"}.kind(func(c *Config) *time.Duration { return &c.Store.CleanupInterval }),
		doc:  "The same, as connect-pg-simple says it.",
	},
	{
		path: "store.scanCount", field: "Config.ScanCount",
		kind: count(func(c *Config) *int { return &c.Store.ScanCount }),
		doc:  "Redis: how many keys a listing asks for at a time. Default: 100.",
	},
	{
		path: "store.maxSessions", field: "Config.MaxSessions",
		kind: count(func(c *Config) *int { return &c.Store.MaxSessions }),
		doc:  "Memory: how many sessions there may be. Default: 1000000.",
	},
	{
		path: "store.maxConnections", field: "Config.MaxConns",
		kind: count(func(c *Config) *int { return &c.Store.MaxConns }),
		doc:  "Redis and Postgres: how many connections may be open. Default: 64 and 20.",
	},
	{
		path: "store.maxIdleConnections", field: "Config.MaxIdleConns",
		kind: count(func(c *Config) *int { return &c.Store.MaxIdleConns }),
		doc:  "Redis and Postgres: how many connections stay open without work. Default: maxConnections, which it needs.",
	},
	{
		path: "store.connectionMaxIdleTime", field: "Config.ConnMaxIdleTime",
		kind: duration{}.kind(func(c *Config) *time.Duration { return &c.Store.ConnMaxIdleTime }),
		doc:  "Redis and Postgres: closes a connection that had no work for this long. Default: 4m and 5m.",
	},
	{
		path: "store.connectionMaxLifetime", field: "Config.ConnMaxLifetime",
		kind: duration{}.kind(func(c *Config) *time.Duration { return &c.Store.ConnMaxLifetime }),
		doc:  "Postgres: closes a connection at this age. Default: 1h.",
	},
	{
		path: "store.connectTimeout", field: "Config.ConnectTimeout",
		kind: duration{}.kind(func(c *Config) *time.Duration { return &c.Store.ConnectTimeout }),
		doc:  "Redis and Postgres: the longest wait for a connection. Default: 5s.",
	},
	{
		path: "store.timeout", field: "Config.Timeout",
		kind: duration{}.kind(func(c *Config) *time.Duration { return &c.Store.Timeout }),
		doc:  "Redis and Postgres: the longest wait for an answer. Default: 3s and 5s.",
	},
	{
		path: "store.sslMode", field: "Config.SSLMode",
		kind: word(func(c *Config) *string { return &c.Store.SSLMode }, "disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
		doc:  "Postgres: in place of the url's sslmode. Default: as the url says, and else require.",
	},
	{
		path: "store.caFile", field: "Config.TLS.CAFile",
		kind: path(func(c *Config) *string { return &c.Store.TLS.CAFile }),
		doc:  "Redis (rediss://) and Postgres: a PEM file of the certificates to trust. Default: the system's.",
	},
	{
		path: "store.certFile", field: "Config.TLS.CertFile",
		kind: path(func(c *Config) *string { return &c.Store.TLS.CertFile }),
		doc:  "Redis and Postgres: a PEM file of the client's certificate.",
	},
	{
		path: "store.keyFile", field: "Config.TLS.KeyFile",
		kind: path(func(c *Config) *string { return &c.Store.TLS.KeyFile }),
		doc:  "Redis and Postgres: a PEM file of that certificate's key.",
	},
	{
		path: "store.serverName", field: "Config.TLS.ServerName",
		kind: text(func(c *Config) *string { return &c.Store.TLS.ServerName }),
		doc:  "Redis: the name that the server's certificate must have. Default: the url's host.",
	},
}

// refusals are keys of Express's that can't be had in a file, and why.
var refusals = map[string]string{
	"genid":                                "is a function; set Options.GenID in code",
	"store.client":                         connectsItself,
	"store.pool":                           connectsItself,
	"store.pgPromise":                      connectsItself,
	"store.knex":                           connectsItself,
	"store.conObject":                      connectsItself,
	"store.serializer":                     "can't be changed in a file; Express's JSON is the default with the connect-* layouts",
	"store.errorLog":                       "is a function; set Options.Logger in code",
	"store.onDbCleanupError":               "is a function; set Options.Logger in code",
	"store.disableTouch":                   "would end sessions that are in use; drop it, or touch less often with store.touchAfter",
	"store.disableTTL":                     "would keep sessions for ever; drop it, or keep them longer with store.ttl",
	"store.pruneSessionRandomizedInterval": "is not needed: the pauses are never the same; drop it",
}

const connectsItself = "is an object of Express's program; give the server as store.url"

const (
	layoutSCS                = "scs"
	layoutConnectRedis       = "connect-redis"
	layoutConnectPgSimple    = "connect-pg-simple"
	layoutConnectSessionKnex = "connect-session-knex"
)

// ttlUnit is what the store that the layout is from counts its ttl in.
func ttlUnit(c *Config) time.Duration {
	switch c.Store.Layout {
	case layoutConnectRedis, layoutConnectPgSimple:
		return time.Second
	case layoutConnectSessionKnex:
		return time.Millisecond
	}
	return 0
}

func toBool(v any) adapter.Bool {
	switch v {
	case true:
		return adapter.True
	case false:
		return adapter.False
	}
	return adapter.Auto
}

// byPath has the keys by their paths in all spellings.
var byPath = func() map[string]*key {
	m := make(map[string]*key)
	for _, k := range keys {
		m[k.path] = k
		section, _ := split(k.path)
		for _, name := range k.also {
			m[join(section, name)] = k
		}
	}
	return m
}()

// near returns the path that an unknown one is most likely meant to be, or "".
func near(section, name string) string {
	best, least := "", limit(name)+1
	consider := func(path string, k *key) {
		s, n := split(path)
		d := distance(plain(n), plain(name))
		if s != section {
			if d > 0 {
				return
			}
			d = 1 // the right name in the wrong place
		}
		if k != nil {
			path = k.path
		}
		if d < least || d == least && path < best {
			best, least = path, d
		}
	}
	for path, k := range byPath {
		consider(path, k)
	}
	for path := range sections {
		consider(path, nil)
	}
	return best
}

// nearEnv is near for the name of an environment variable.
func nearEnv(name string) string {
	if name == envPrefix+"STORE" {
		return byPath["store.url"].env()
	}
	best, least := "", limit(strings.TrimPrefix(name, envPrefix))+1
	for _, k := range keys {
		if d := distance(plain(k.env()), plain(name)); d < least {
			best, least = k.env(), d
		}
	}
	return best
}

func split(path string) (section, name string) {
	if section, name, ok := strings.Cut(path, "."); ok {
		return section, name
	}
	return "", path
}

func join(section, name string) string {
	if section == "" {
		return name
	}
	return section + "." + name
}

// limit is how many letters of a name may be wrong.
func limit(name string) int { return (len(name) + 2) / 3 }

// plain leaves of a name what a typing error seldom is in.
func plain(name string) string { return strings.ToLower(separators.Replace(name)) }

var separators = strings.NewReplacer("_", "", "-", "", ".", "")

// distance is Levenshtein's: how many letters to add, drop or change.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := min(row[j], row[j+1]) + 1
			if a[i] == b[j] {
				d = min(d, diagonal)
			} else {
				d = min(d, diagonal+1)
			}
			diagonal, row[j+1] = row[j+1], d
		}
	}
	return row[len(b)]
}
