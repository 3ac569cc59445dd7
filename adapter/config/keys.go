package config

import (
	"strings"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends"
)

// key is one setting of a file. The table of keys is their only definition: the loader,
// the names of environment variables, schema.json and docs/configuration.md are derived
// from it.
type key struct {
	path string // section.name
	kind kind
	also []string // other spellings
	// or is the path of an alternative to this key. If a file has both, the last one
	// counts if lastWins; otherwise it is an error.
	or       string
	lastWins bool
	field    string // the field it sets, as refusals name it: of adapter.Options or backends.Config
	doc      string
}

// env returns the name of the environment variable.
func (k *key) env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(k.path, ".", "_"))
}

const envPrefix = "SAMESID_"

// sections maps the keys that contain other keys to their docs.
var sections = map[string]string{
	"cookie": "The session cookie.",
	"store":  "Where the sessions are: these keys, or the url alone. Without it, in memory.",
}

// schemaKey is the key with which a JSON file names its schema, for editors.
const schemaKey = "$schema"

// keys is the table, in the order in which values are read.
var keys = []*key{
	{
		path: "name", also: []string{"key"}, field: "Options.Name",
		kind: text(func(c *Config) *string { return &c.Options.Name }),
		doc:  "The cookie's name. Default: connect.sid.",
	},
	{
		path: "secret", or: "secretFile", field: "Options.Secrets",
		kind: secrets(),
		doc:  "Signs the cookie: 32 random bytes or more. In a list, the first signs and all verify. To rotate: append the new one on every instance, then put it first, and drop the old one when its last cookie has expired. Required, unless signature is none.",
	},
	{
		path: "secretFile", or: "secret",
		kind: secretFiles(),
		doc:  "A file that holds the secret, or a list of files with one each; a line break at the end is ignored. Relative to the configuration file.",
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
		path: "resendAfter", field: "Options.ResendAfter",
		kind: duration{}.kind(func(c *Config) *time.Duration { return &c.Options.ResendAfter }),
		doc:  "Send a lasting cookie again, its maxAge begun anew, once this much time has passed since it was last sent. Default: only when the session changes, so that a user who changes nothing is logged out maxAge after the login.",
	},
	{
		path: "unset", field: "Options.Unset",
		kind: named(func(c *Config) *adapter.UnsetMode { return &c.Options.Unset }, "keep", adapter.UnsetKeep, adapter.UnsetDestroy),
		doc:  "What unsetting a session does to the stored one. Default: keep.",
	},
	{
		path: "proxy", field: "Options.Proxy",
		kind: choice(func(c *Config, v any) {
			c.Options.Proxy = map[any]adapter.Proxy{true: adapter.ProxyTrusted, false: adapter.ProxyIgnored}[v]
		}, true, false),
		doc: "Whether X-Forwarded-Proto says if the connection is secure. Default: as the connection or a proxy-header middleware says.",
	},
	{
		path: "codec", field: "Options.Codec",
		kind: choice(func(c *Config, v any) {
			c.Options.Codec = map[any]scs.Codec{"json": adapter.JSONCodec{}, "gob": scs.GobCodec{}}[v]
		}, "json", "gob"),
		doc: "How a session is stored: json is Express's record, gob keeps Go's types. Default: json with the connect-* layouts, gob with the others.",
	},
	{
		path: "signature", field: "Options.Signature",
		kind: named(func(c *Config) *adapter.Signature { return &c.Options.Signature }, "required", adapter.SignatureRequired, adapter.SignatureMigrating, adapter.SignatureNone),
		doc:  "Whether cookies are signed: required as Express's are, none as plain scs's, or migrating, which accepts both and sends signed ones. Default: required.",
	},
	{
		path: "storeKey", field: "Options.StoreKey",
		kind: named(func(c *Config) *adapter.StoreKey { return &c.Options.StoreKey }, "id", adapter.StoreKeyID, adapter.StoreKeyMigrating, adapter.StoreKeyHash),
		doc:  "The store key of a session: its id, or a hash of it; migrating moves those that are stored under their id as their users come back. Not id: only with the layout scs. Default: id.",
	},
	{
		path: "maxRecordSize", field: "Options.MaxRecordSize",
		kind: count(func(c *Config) *int { return &c.Options.MaxRecordSize }),
		doc:  "The maximum size of a stored session, in bytes; saving a larger one is an error. Default: 4194304.",
	},
	{
		path: "absoluteLifetime", field: "Options.AbsoluteLifetime",
		kind: duration{least: time.Second}.kind(func(c *Config) *time.Duration { return &c.Options.AbsoluteLifetime }),
		doc:  "The time after which a session ends, even if it is in use. Default: no limit.",
	},

	{
		path: "cookie.maxAge", or: "cookie.expires", lastWins: true, field: "Options.Cookie.MaxAge",
		kind: duration{unit: time.Millisecond, least: time.Second, null: true, zero: "; null is a cookie that ends with the browser"}.
			kind(func(c *Config) *time.Duration { return &c.Options.Cookie.MaxAge }),
		doc: "The time for which the store keeps a session after its last use, and the browser the cookie after it was last sent: see resendAfter. Default: null, a cookie that ends with the browser. If maxAge and expires are both given, the last one counts.",
	},
	{
		path: "cookie.expires", or: "cookie.maxAge", lastWins: true, field: "Options.Cookie.Expires",
		kind: date(func(c *Config) *time.Time { return &c.Options.Cookie.Expires }),
		doc:  "A date in place of maxAge. The time from a session's beginning to the date is its maxAge; each use restarts it.",
	},
	{
		path: "cookie.httpOnly", field: "Options.Cookie.ScriptAccess",
		kind: choice(func(c *Config, v any) { c.Options.Cookie.ScriptAccess = v == false }, true, false),
		doc:  "Keep scripts from reading the cookie. Default: true.",
	},
	{
		path: "cookie.secure", field: "Options.Cookie.Secure",
		kind: choice(func(c *Config, v any) {
			c.Options.Cookie.Secure = map[any]adapter.Secure{true: adapter.SecureAlways, "auto": adapter.SecureAuto}[v]
		}, true, false, "auto"),
		doc: "Send the cookie on secure connections alone; auto: if the session began on one. Default: false.",
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
		doc:  "The cookie is sent to this host and its subdomains. Default: only to the host that set it.",
	},
	{
		path: "cookie.partitioned", field: "Options.Cookie.Partitioned",
		kind: boolean(func(c *Config) *bool { return &c.Options.Cookie.Partitioned }),
		doc:  "Give the cookie separate storage for each top-level site (CHIPS). Default: false.",
	},
	{
		path: "cookie.priority", field: "Options.Cookie.Priority",
		kind: orCapital(word(func(c *Config) *string { return &c.Options.Cookie.Priority }, "low", "medium", "high")),
		doc:  "The attribute of that name. Default: none.",
	},

	{
		path: "store.type", field: "Config.Type",
		kind: word(func(c *Config) *backends.Type { return &c.Store.Type }, string(backends.Memory), string(backends.Redis), string(backends.Postgres)),
		doc:  "The kind of the store. Default: the url's scheme decides; without a url, memory.",
	},
	{
		path: "store.url", also: []string{"conString"}, field: "Config.URL",
		kind: text(func(c *Config) *string { return &c.Store.URL }),
		doc:  "The server: redis://, rediss://, unix://, postgres:// or memory://. With type postgres it may also be key=value pairs, or be left out for the PG* variables.",
	},
	{
		path: "store.layout", field: "Config.Layout",
		kind: word(func(c *Config) *string { return &c.Store.Layout }, layoutSCS, layoutConnectRedis, layoutConnectPgSimple, layoutConnectSessionKnex),
		doc:  "The names and the format of the records. Redis: scs or connect-redis; Postgres: scs, connect-pg-simple or connect-session-knex. Default: scs.",
	},
	{
		path: "store.prefix", field: "Config.Prefix",
		kind: text(func(c *Config) *string { return &c.Store.Prefix }),
		doc:  "Redis: the beginning of each key. Default: the layout's own, scs:session: or sess:.",
	},
	{
		path: "store.schemaName", field: "Config.SchemaName",
		kind: text(func(c *Config) *string { return &c.Store.SchemaName }),
		doc:  "Postgres: the table's schema. Default: the table is resolved through the search_path.",
	},
	{
		path: "store.tableName", also: []string{"tablename"}, field: "Config.TableName",
		kind: text(func(c *Config) *string { return &c.Store.TableName }),
		doc:  "Postgres: the table. Default: sessions; with connect-pg-simple, session.",
	},
	{
		path: "store.sidFieldName", also: []string{"sidfieldname"}, field: "Config.SIDFieldName",
		kind: text(func(c *Config) *string { return &c.Store.SIDFieldName }),
		doc:  "Postgres with the layout connect-session-knex: the column of the session id. Default: sid.",
	},
	{
		path: "store.createTable", also: []string{"createtable", "createTableIfMissing"}, field: "Config.CreateTable",
		kind: boolean(func(c *Config) *bool { return &c.Store.CreateTable }),
		doc:  "Postgres: create the table and its index if they are missing. Default: false; the error then has the SQL to run.",
	},
	{
		path: "store.ttl", field: "Options.TTL",
		kind: duration{unitBy: ttlUnit, least: time.Second}.kind(func(c *Config) *time.Duration { return &c.Options.TTL }),
		doc:  "How long the store keeps a session whose cookie ends with the browser. A bare number counts seconds with connect-redis and connect-pg-simple, milliseconds with connect-session-knex. Default: 24h.",
	},
	{
		path: "store.touchAfter", field: "Options.TouchAfter",
		kind: duration{}.kind(func(c *Config) *time.Duration { return &c.Options.TouchAfter }),
		doc:  "The minimum time between two updates of a session's expiry. Default: each request updates it.",
	},
	{
		path: "store.cleanupInterval", also: []string{"clearInterval"}, or: "store.pruneSessionInterval", field: "Config.CleanupInterval",
		kind: duration{unit: time.Millisecond, off: []any{0, false}}.kind(func(c *Config) *time.Duration { return &c.Store.CleanupInterval }),
		doc:  "Memory and Postgres: the time between two deletions of expired sessions. Default: 1m and 15m.",
	},
	{
		path: "store.pruneSessionInterval", or: "store.cleanupInterval",
		kind: duration{unit: time.Second, off: []any{false}, zero: "; false is never"}.kind(func(c *Config) *time.Duration { return &c.Store.CleanupInterval }),
		doc:  "The name of cleanupInterval in connect-pg-simple.",
	},
	{
		path: "store.scanCount", field: "Config.ScanCount",
		kind: count(func(c *Config) *int { return &c.Store.ScanCount }),
		doc:  "Redis: the approximate number of keys per page of a listing. Default: 100.",
	},
	{
		path: "store.maxSessions", field: "Config.MaxSessions",
		kind: count(func(c *Config) *int { return &c.Store.MaxSessions }),
		doc:  "Memory: the maximum number of sessions. Default: 1000000.",
	},
	{
		path: "store.maxConnections", field: "Config.MaxConns",
		kind: count(func(c *Config) *int { return &c.Store.MaxConns }),
		doc:  "Redis and Postgres: the maximum number of open connections. Default: 64 and 20.",
	},
	{
		path: "store.maxIdleConnections", field: "Config.MaxIdleConns",
		kind: count(func(c *Config) *int { return &c.Store.MaxIdleConns }),
		doc:  "Redis and Postgres: the maximum number of idle connections; it requires maxConnections. Default: maxConnections.",
	},
	{
		path: "store.connectionMaxIdleTime", field: "Config.ConnMaxIdleTime",
		kind: duration{}.kind(func(c *Config) *time.Duration { return &c.Store.ConnMaxIdleTime }),
		doc:  "Redis and Postgres: the time after which an idle connection is closed. Default: 4m and 5m.",
	},
	{
		path: "store.connectionMaxLifetime", field: "Config.ConnMaxLifetime",
		kind: duration{}.kind(func(c *Config) *time.Duration { return &c.Store.ConnMaxLifetime }),
		doc:  "Postgres: the age at which a connection is closed. Default: 1h.",
	},
	{
		path: "store.connectTimeout", field: "Config.ConnectTimeout",
		kind: duration{}.kind(func(c *Config) *time.Duration { return &c.Store.ConnectTimeout }),
		doc:  "Redis and Postgres: limits the wait for a connection. Default: 5s.",
	},
	{
		path: "store.timeout", field: "Config.Timeout",
		kind: duration{}.kind(func(c *Config) *time.Duration { return &c.Store.Timeout }),
		doc:  "Redis and Postgres: limits the wait for an answer. Default: 3s and 5s.",
	},
	{
		path: "store.sslMode", field: "Config.SSLMode",
		kind: word(func(c *Config) *string { return &c.Store.SSLMode }, "disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
		doc:  "Postgres: overrides the url's sslmode. Default: the url's, or require.",
	},
	{
		path: "store.caFile", field: "Config.TLS.CAFile",
		kind: path(func(c *Config) *string { return &c.Store.TLS.CAFile }),
		doc:  "Redis (rediss://) and Postgres: a PEM file with the CA certificates that the server's certificate is verified against. Default: the system's CAs.",
	},
	{
		path: "store.certFile", field: "Config.TLS.CertFile",
		kind: path(func(c *Config) *string { return &c.Store.TLS.CertFile }),
		doc:  "Redis and Postgres: a PEM file with the client certificate.",
	},
	{
		path: "store.keyFile", field: "Config.TLS.KeyFile",
		kind: path(func(c *Config) *string { return &c.Store.TLS.KeyFile }),
		doc:  "Redis and Postgres: a PEM file with the private key of the client certificate.",
	},
	{
		path: "store.serverName", field: "Config.TLS.ServerName",
		kind: text(func(c *Config) *string { return &c.Store.TLS.ServerName }),
		doc:  "Redis: the name that the server's certificate must have. Default: the url's host.",
	},
}

// storeFields maps the fields of redis.Options and postgres.Options to those of
// backends.Config, where the names differ.
var storeFields = map[string]string{
	"redis.Options.DialTimeout":     "Config.ConnectTimeout",
	"redis.Options.ReadTimeout":     "Config.Timeout",
	"redis.Options.WriteTimeout":    "Config.Timeout",
	"redis.Options.MaxActive":       "Config.MaxConns",
	"redis.Options.MaxIdle":         "Config.MaxIdleConns",
	"redis.Options.IdleTimeout":     "Config.ConnMaxIdleTime",
	"postgres.Options.MaxOpenConns": "Config.MaxConns",
	"postgres.Options.SSLRootCert":  "Config.TLS.CAFile",
	"postgres.Options.SSLCert":      "Config.TLS.CertFile",
	"postgres.Options.SSLKey":       "Config.TLS.KeyFile",
}

// goWords maps the names of values in refusals to those in a file.
var goWords = map[string]string{
	"SignatureRequired": "required", "SignatureMigrating": "migrating", "SignatureNone": "none",
	"UnsetKeep": "keep", "UnsetDestroy": "destroy",
	"StoreKeyID": "id", "StoreKeyMigrating": "migrating", "StoreKeyHash": "hash",
	"SecureAlways": "true", "SecureAuto": "auto", "SecureNever": "false",
	"scs.GobCodec": "gob", "JSONCodec": "json",
}

// unavailable maps Express's options that a file can't set to the reason.
var unavailable = map[string]string{
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

// ttlUnit returns the unit of ttl in the Express store that has the layout; 0 if none has.
func ttlUnit(c *Config) time.Duration {
	switch c.Store.Layout {
	case layoutConnectRedis, layoutConnectPgSimple:
		return time.Second
	case layoutConnectSessionKnex:
		return time.Millisecond
	}
	return 0
}

// byPath maps paths, in all spellings, to their keys.
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

// near returns the known path that is most similar to an unknown one, or "".
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

// nearEnv does the same for the name of an environment variable.
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

// limit returns the largest distance at which names count as similar.
func limit(name string) int { return (len(name) + 2) / 3 }

// plain returns a name in lower case and without separators.
func plain(name string) string { return strings.ToLower(separators.Replace(name)) }

var separators = strings.NewReplacer("_", "", "-", "", ".", "")

// distance returns the Levenshtein distance.
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
