package config

import (
	"strings"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/samesid/samesid/adapter"
)

// key is one setting of a file. The table of keys is their only definition: the loader,
// the names of environment variables, schema.json and docs/configuration.md are derived
// from it. The keys of the stores' options are in turn derived from the stores: see
// table.go.
type key struct {
	path string // section.name
	kind kind
	also []string // other spellings
	// or is the path of an alternative to this key. If a file has both, the last one
	// counts if lastWins; otherwise it is an error.
	or       string
	lastWins bool
	field    string // the field it sets, as refusals name it: of adapter.Options or backends.Config
	doc      string // "" for a store's option: its comment in the source is the text

	// in has the fields of the stores that have the option; nil for other keys.
	in []storeField
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

// fixed returns the keys that no store brings, in the order in which values are read.
// Those of the stores' options are read between them, before store.ttl.
func (t *table) fixed() []*key {
	return []*key{
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
			doc:  "A file that holds the secret, or a list of files with one each; a line break at the end is ignored. Relative to the configuration file. A file that changes while the program runs is used within seconds, without a restart; one that can't be read or is empty is an error in the log, and the secrets stay.",
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
			path: "userPath", field: "Options.UserPath",
			kind: text(func(c *Config) *string { return &c.Options.UserPath }),
			doc:  "Where a session has the id of its signed-in user, such as user.id or passport.user, so that the sessions of a user can be listed and ended. Default: none.",
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
			kind: t.types(),
			doc:  "The kind of the store. Default: the url's scheme decides; without a url, memory.",
		},
		{
			path: "store.url", also: []string{"conString"}, field: "Config.URL",
			kind: text(func(c *Config) *string { return &c.Store.URL }),
			doc:  t.urlDoc(),
		},
		{
			path: "store.ttl", field: "Options.TTL",
			kind: duration{unitBy: t.ttlUnit, least: time.Second}.kind(func(c *Config) *time.Duration { return &c.Options.TTL }),
			doc:  "How long the store keeps a session whose cookie ends with the browser. A bare number counts " + t.ttlUnits() + ". Default: 24h.",
		},
		{
			path: "store.touchAfter", field: "Options.TouchAfter",
			kind: duration{}.kind(func(c *Config) *time.Duration { return &c.Options.TouchAfter }),
			doc:  "The minimum time between two updates of a session's expiry. Default: each request updates it.",
		},
	}
}

// goWords maps the names of values in refusals to those in a file.
var goWords = map[string]string{
	"SignatureRequired": "required", "SignatureMigrating": "migrating", "SignatureNone": "none",
	"UnsetKeep": "keep", "UnsetDestroy": "destroy",
	"StoreKeyID": "id", "StoreKeyMigrating": "migrating", "StoreKeyHash": "hash",
	"SecureAlways": "true", "SecureAuto": "auto", "SecureNever": "false",
	"scs.GobCodec": "gob", "JSONCodec": "json",
}

// unavailable maps Express's options that a file can't set to the reason. Those of the
// stores are in their packages.
var unavailable = map[string]string{
	"genid": "is a function; set Options.GenID in code",
}
