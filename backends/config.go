package backends

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/samesid/samesid/backends/postgres"
	"github.com/samesid/samesid/backends/redis"
	"github.com/samesid/samesid/internal/refusal"
)

// Type is the kind of a store.
type Type string

// The types.
const (
	Memory   Type = "memory"
	Redis    Type = "redis" // or Valkey
	Postgres Type = "postgres"
)

// Config describes a store. The zero value is a memory store. A field that the
// store does not use must be zero.
type Config struct {
	// Type is the kind of the store. Zero value: the scheme of URL decides, and
	// without a URL it is Memory.
	Type Type

	// URL is the address of the server, with user and password. Redis: the URL of
	// redis.Open (redis, rediss, unix, and the same for Valkey). Postgres: the DSN
	// of postgres.Open; if Type is given it may be key=value pairs, or empty for
	// the PG* variables of the environment. Memory: "memory://".
	URL string

	// Layout is the format of the records: "scs", "connect-redis", "connect-pg-simple" or
	// "connect-session-knex". Zero value: "scs". Redis and Postgres.
	Layout string

	// Prefix is the beginning of each key. Zero value: the layout's own. Redis.
	Prefix string

	// ScanCount is the approximate number of keys per page of a listing. Zero
	// value: 100. Redis.
	ScanCount int

	// SchemaName, TableName and SIDFieldName name the table and, with the layout
	// "connect-session-knex", the column of the session id. Zero value: the
	// layout's own names, resolved through the search_path. Postgres.
	SchemaName, TableName, SIDFieldName string

	// CreateTable creates the table if it is missing. Zero value: false; a missing
	// table is an error. Postgres.
	CreateTable bool

	// MaxSessions bounds the number of sessions. Zero value: 1,000,000.
	// Negative: no bound. Memory.
	MaxSessions int

	// CleanupInterval is the time between two deletions of expired sessions. Zero
	// value: 1 minute for Memory, 15 minutes for Postgres. Negative: never. Memory
	// and Postgres.
	CleanupInterval time.Duration

	// MaxConns is the maximum number of open connections. Zero value: 64 for Redis, 20 for
	// Postgres. Redis and Postgres.
	MaxConns int

	// MaxIdleConns is the maximum number of idle connections; it requires
	// MaxConns. Zero value: MaxConns. Redis and Postgres.
	MaxIdleConns int

	// ConnMaxIdleTime is the time after which an idle connection is closed. Zero
	// value: 4 minutes for Redis, 5 minutes for Postgres.
	ConnMaxIdleTime time.Duration

	// ConnMaxLifetime is the age at which a connection is closed. Zero value: 1 hour.
	// Postgres.
	ConnMaxLifetime time.Duration

	// ConnectTimeout limits the wait for a connection. Zero value: 5 seconds.
	// Redis and Postgres.
	ConnectTimeout time.Duration

	// Timeout limits one call to the server. Zero value: 3 seconds for Redis, 5
	// seconds for Postgres. Redis and Postgres.
	Timeout time.Duration

	// SSLMode overrides the URL's sslmode. Zero value: the URL's. Postgres.
	SSLMode string

	// TLS sets the CA for the server and the client certificate. With Redis it
	// requires a rediss URL.
	TLS TLS

	// Logger receives the errors and warnings of a store's background work. Zero
	// value: slog.Default(). Memory and Postgres; Redis has no background work.
	Logger *slog.Logger
}

// TLS names PEM files. The zero value trusts the system's CAs and presents no client
// certificate.
type TLS struct {
	// CAFile holds the CA certificates that the server's certificate is verified
	// against.
	CAFile string

	// CertFile and KeyFile hold the client certificate and its private key.
	CertFile, KeyFile string

	// ServerName is the name that the server's certificate must have. Zero value:
	// the URL's host. Redis.
	ServerName string
}

var schemes = map[string]Type{
	"memory": Memory,
	"redis":  Redis, "rediss": Redis, "valkey": Redis, "valkeys": Redis, "unix": Redis, "redis+unix": Redis,
	"postgres": Postgres, "postgresql": Postgres,
}

// layouts maps each type to its layouts; the value reports whether Express also reads
// the records.
var layouts = map[Type]map[string]bool{
	Redis: {
		string(redis.LayoutSCS):          false,
		string(redis.LayoutConnectRedis): true,
	},
	Postgres: {
		string(postgres.LayoutSCS):                false,
		string(postgres.LayoutConnectPgSimple):    true,
		string(postgres.LayoutConnectSessionKnex): true,
	},
}

// kind returns the type, and the name of the field that decides it: "" for the default.
func (c Config) kind() (Type, string) {
	if c.Type != "" {
		return c.Type, "Type"
	}
	if c.URL == "" {
		return Memory, ""
	}
	scheme, _, _ := strings.Cut(c.URL, "://")
	return schemes[scheme], "URL"
}

// Format implements fmt.Formatter. It hides the URL, as it may contain a password.
func (c Config) Format(f fmt.State, verb rune) {
	type plain Config // has no Format method
	if c.URL != "" {
		c.URL = "hidden"
	}
	fmt.Fprintf(f, fmt.FormatString(f, verb), plain(c))
}

// JSONRecords reports whether Express also reads the layout's records. The open store
// has a method of the same name with the same result.
func (c Config) JSONRecords() bool {
	kind, _ := c.kind()
	return layouts[kind][c.Layout]
}

// Validate returns an error that names every field that Open would reject, and the
// fix. It neither connects to a server nor reads a file. The store's own rules, those of
// redis.Options and postgres.Options, apply only if the others find nothing.
//
// The error contains no part of the URL.
func (c Config) Validate() error {
	r := refusal.List{Package: "backends", Struct: "Config"}
	c.refuseServer(&r)
	if err := r.Err(); err != nil {
		return err // the other rules depend on the type of the store
	}
	c.refuseUnused(&r)
	c.refuseValues(&r)
	if err := r.Err(); err != nil {
		return err
	}
	switch kind, _ := c.kind(); kind {
	case Redis:
		return c.redis().Validate()
	case Postgres:
		return c.postgres().Validate()
	}
	return nil
}

// refuseServer checks Type and URL.
func (c Config) refuseServer(r *refusal.List) {
	scheme, rest, isURL := strings.Cut(c.URL, "://")
	ofURL, known := schemes[scheme]
	known = known && isURL
	switch {
	case c.Type != "" && c.Type != Memory && layouts[c.Type] == nil:
		r.Add("Type", "%q is not a store; use %s, %s or %s", c.Type, Memory, Redis, Postgres)
	case c.Type == "" && c.URL != "" && !known:
		r.Add("URL", "does not begin with redis://, rediss://, unix://, postgres:// or memory://, so it names no store; mend it, or give Config.Type")
	case c.Type != "" && known && ofURL != c.Type:
		r.Add("Type URL", "the first says %s, the second %s; change one of the two", c.Type, ofURL)
	case c.Type == Memory && c.URL != "" && !known:
		r.Add("Type URL", "a memory store has no server; drop the second, or say in the first which store it is for")
	case ofURL == Memory && rest != "":
		r.Add("URL", "nothing can follow memory://")
	case c.Type == Redis && !known:
		r.Add("URL", "a redis store needs one, such as redis://localhost:6379/0")
	}
}

// refuseUnused rejects fields that are set but that this type of store does not use.
func (c Config) refuseUnused(r *refusal.List) {
	kind, said := c.kind()
	for _, f := range []struct {
		name string
		set  bool
		of   []Type
	}{
		{"Layout", c.Layout != "", []Type{Redis, Postgres}},
		{"Prefix", c.Prefix != "", []Type{Redis}},
		{"ScanCount", c.ScanCount != 0, []Type{Redis}},
		{"SchemaName", c.SchemaName != "", []Type{Postgres}},
		{"TableName", c.TableName != "", []Type{Postgres}},
		{"SIDFieldName", c.SIDFieldName != "", []Type{Postgres}},
		{"CreateTable", c.CreateTable, []Type{Postgres}},
		{"MaxSessions", c.MaxSessions != 0, []Type{Memory}},
		{"CleanupInterval", c.CleanupInterval != 0, []Type{Memory, Postgres}},
		{"MaxConns", c.MaxConns != 0, []Type{Redis, Postgres}},
		{"MaxIdleConns", c.MaxIdleConns != 0, []Type{Redis, Postgres}},
		{"ConnMaxIdleTime", c.ConnMaxIdleTime != 0, []Type{Redis, Postgres}},
		{"ConnMaxLifetime", c.ConnMaxLifetime != 0, []Type{Postgres}},
		{"ConnectTimeout", c.ConnectTimeout != 0, []Type{Redis, Postgres}},
		{"Timeout", c.Timeout != 0, []Type{Redis, Postgres}},
		{"SSLMode", c.SSLMode != "", []Type{Postgres}},
		{"TLS.CAFile", c.TLS.CAFile != "", []Type{Redis, Postgres}},
		{"TLS.CertFile", c.TLS.CertFile != "", []Type{Redis, Postgres}},
		{"TLS.KeyFile", c.TLS.KeyFile != "", []Type{Redis, Postgres}},
		{"TLS.ServerName", c.TLS.ServerName != "", []Type{Redis}},
	} {
		switch {
		case !f.set || slices.Contains(f.of, kind):
		case said == "":
			r.Add(f.name, "the store is memory, as neither Config.Type nor Config.URL says otherwise, and has no use for it; "+
				"drop it, or give the Config.URL of a %s server", either(f.of))
		default:
			r.Add(f.name+" "+said, "a %s store has no use for the first; drop it, or use %s", kind, either(f.of))
		}
	}
}

// refuseValues checks the values of the fields that this type of store uses.
func (c Config) refuseValues(r *refusal.List) {
	kind, said := c.kind()
	if kind == Memory {
		return
	}
	if _, ok := layouts[kind][c.Layout]; !ok && c.Layout != "" {
		has := either(slices.Sorted(maps.Keys(layouts[kind])))
		other := Redis
		if kind == Redis {
			other = Postgres
		}
		if _, ok := layouts[other][c.Layout]; ok {
			r.Add("Layout "+said, "%s is for %s and the store is %s, where it can be %s; change one of the two",
				c.Layout, other, kind, has)
		} else {
			r.Add("Layout", "%q is unknown; use %s", c.Layout, has)
		}
	} else if knex := string(postgres.LayoutConnectSessionKnex); c.SIDFieldName != "" && kind == Postgres && c.Layout != knex {
		r.Add("SIDFieldName Layout", "only %s lets its column be renamed; drop the first or change the second", knex)
	}

	for _, f := range []struct {
		name string
		n    int64
	}{
		{"ScanCount", int64(c.ScanCount)},
		{"MaxConns", int64(c.MaxConns)},
		{"MaxIdleConns", int64(c.MaxIdleConns)},
		{"ConnMaxIdleTime", int64(c.ConnMaxIdleTime)},
		{"ConnMaxLifetime", int64(c.ConnMaxLifetime)},
		{"ConnectTimeout", int64(c.ConnectTimeout)},
		{"Timeout", int64(c.Timeout)},
	} {
		if f.n < 0 {
			r.Add(f.name, "is negative; 0 is the default")
		}
	}
	switch {
	case c.MaxIdleConns > 0 && c.MaxConns == 0:
		r.Add("MaxIdleConns MaxConns", "the first needs the second; give both")
	case c.MaxIdleConns > c.MaxConns:
		r.Add("MaxIdleConns MaxConns", "no more connections can stay open (%d) than there may be (%d); "+
			"lower the first or raise the second", c.MaxIdleConns, c.MaxConns)
	}

	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		r.Add("TLS.CertFile TLS.KeyFile", "go together; give both or neither")
	}
	if scheme, _, _ := strings.Cut(c.URL, "://"); kind == Redis && scheme != "rediss" && scheme != "valkeys" {
		for _, f := range []struct{ name, value string }{
			{"CAFile", c.TLS.CAFile}, {"CertFile", c.TLS.CertFile}, {"KeyFile", c.TLS.KeyFile}, {"ServerName", c.TLS.ServerName},
		} {
			if f.value != "" {
				r.Add("TLS."+f.name+" URL", "a connection of %s:// has no TLS; make it rediss://, or drop the first", scheme)
			}
		}
	}
}

// either joins the alternatives: "a, b or c".
func either[S ~string](of []S) string {
	var b strings.Builder
	for i, s := range of {
		switch {
		case i == 0:
		case i == len(of)-1:
			b.WriteString(" or ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(string(s))
	}
	return b.String()
}
