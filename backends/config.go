package backends

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/samesid/samesid/backends/postgres"
	"github.com/samesid/samesid/backends/redis"
)

// Type says which store it is.
type Type string

// The types.
const (
	Memory   Type = "memory"
	Redis    Type = "redis" // or Valkey
	Postgres Type = "postgres"
)

// Config describes a store. The zero value is a memory store. A field that the
// store has no use for must be left zero.
type Config struct {
	// Type of the store. Zero value: as the scheme of URL says, and Memory
	// without a URL.
	Type Type

	// URL of the server, with user and password. Redis: as redis.Open takes it
	// (redis, rediss, unix, and the same for Valkey). Postgres: as
	// postgres.Open takes it; if Type is given it may be key=value pairs, or
	// left out for the PG* variables of the environment. Memory: "memory://".
	URL string

	// Layout of the records: "scs", "connect-redis", "connect-pg-simple" or
	// "connect-session-knex". Zero value: "scs". Redis and Postgres.
	Layout string

	// Prefix of the keys. Zero value: the layout's own. Redis.
	Prefix string

	// ScanCount is about how many keys a listing asks for at a time. Zero
	// value: 100. Redis.
	ScanCount int

	// SchemaName, TableName and SIDFieldName name the table and, with layout
	// "connect-session-knex", the column of the id. Zero value: the layout's
	// own, found through the search_path. Postgres.
	SchemaName, TableName, SIDFieldName string

	// CreateTable makes a table that is missing. Zero value: false, so that it
	// is an error. Postgres.
	CreateTable bool

	// MaxSessions bounds the number of sessions. Zero value: 1,000,000.
	// Negative: no bound. Memory.
	MaxSessions int

	// CleanupInterval is the time between two removals of expired sessions.
	// Zero value: a minute for Memory, 15 for Postgres. Negative: never. Memory
	// and Postgres.
	CleanupInterval time.Duration

	// MaxConns limits the connections. Zero value: 64 for Redis, 20 for
	// Postgres. Redis and Postgres.
	MaxConns int

	// MaxIdleConns is how many connections stay open without work; it needs
	// MaxConns. Zero value: as many as MaxConns. Redis and Postgres.
	MaxIdleConns int

	// ConnMaxIdleTime closes a connection that had no work for this long. Zero
	// value: 4 minutes for Redis, 5 for Postgres.
	ConnMaxIdleTime time.Duration

	// ConnMaxLifetime closes a connection at this age. Zero value: 1 hour.
	// Postgres.
	ConnMaxLifetime time.Duration

	// ConnectTimeout limits the wait for a connection. Zero value: 5 seconds.
	// Redis and Postgres.
	ConnectTimeout time.Duration

	// Timeout limits one call to the server. Zero value: 3 seconds for Redis, 5
	// for Postgres. Redis and Postgres.
	Timeout time.Duration

	// SSLMode takes the place of the URL's sslmode. Postgres.
	SSLMode string

	// TLS is whom a TLS connection trusts, and who we are. Redis needs a
	// rediss URL for it.
	TLS TLS

	// Logger gets what a store's background work has to say. Zero value:
	// slog.Default(). Memory and Postgres; Redis has none.
	Logger *slog.Logger
}

// TLS names PEM files. The zero value is the system's roots, and no certificate
// of our own.
type TLS struct {
	// CAFile holds the certificates that the server's must be signed by.
	CAFile string

	// CertFile and KeyFile are our own certificate and its key.
	CertFile, KeyFile string

	// ServerName that the server's certificate must be for. Zero value: the
	// URL's host. Redis.
	ServerName string
}

var schemes = map[string]Type{
	"memory": Memory,
	"redis":  Redis, "rediss": Redis, "valkey": Redis, "valkeys": Redis, "unix": Redis, "redis+unix": Redis,
	"postgres": Postgres, "postgresql": Postgres,
}

// layouts are those of each type, and which of them Express reads too.
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

// kind returns the type, and the field that says so: "" for the default.
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

// Format implements fmt.Formatter: a Config, printed, does not show the URL, which
// may have a password in it.
func (c Config) Format(f fmt.State, verb rune) {
	type plain Config // without this method
	if c.URL != "" {
		c.URL = "hidden"
	}
	fmt.Fprintf(f, fmt.FormatString(f, verb), plain(c))
}

// JSONRecords reports whether Express reads the records of the layout too, as
// the store itself will when it is open.
func (c Config) JSONRecords() bool {
	kind, _ := c.kind()
	return layouts[kind][c.Layout]
}

// Check returns an error that names every field that can't be used as it is, and
// the fix. It asks no server and reads no file.
//
// No error has any part of the URL in it.
func (c Config) Check() error {
	if err := c.checkServer(); err != nil {
		return err // what store it is decides about all the rest
	}
	return errors.Join(append(c.checkUse(), c.checkValues()...)...)
}

func refused(format string, args ...any) error {
	return fmt.Errorf("backends: Config."+format, args...)
}

// checkServer checks Type and URL.
func (c Config) checkServer() error {
	scheme, rest, isURL := strings.Cut(c.URL, "://")
	ofURL, known := schemes[scheme]
	known = known && isURL
	switch {
	case c.Type != "" && c.Type != Memory && layouts[c.Type] == nil:
		return refused("Type: %q is not a store; use %s, %s or %s", c.Type, Memory, Redis, Postgres)
	case c.Type == "" && c.URL != "" && !known:
		return refused("URL: does not begin with redis://, rediss://, unix://, postgres:// or memory://, so it names no store; mend it, or give Config.Type")
	case c.Type != "" && known && ofURL != c.Type:
		return refused("Type and Config.URL: the first says %s, the second %s; change one of the two", c.Type, ofURL)
	case c.Type == Memory && c.URL != "" && !known:
		return refused("Type and Config.URL: a memory store has no server; drop the second, or say in the first which store it is for")
	case ofURL == Memory && rest != "":
		return refused("URL: nothing can follow memory://")
	case c.Type == Redis && !known:
		return refused("URL: a redis store needs one, such as redis://localhost:6379/0")
	}
	return nil
}

// checkUse checks that the store has a use for each field that is set.
func (c Config) checkUse() (errs []error) {
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
			errs = append(errs, refused("%s: the store is memory, as neither Config.Type nor Config.URL says otherwise, and has no use for it; "+
				"drop it, or give the Config.URL of a %s server", f.name, either(f.of)))
		default:
			errs = append(errs, refused("%s and Config.%s: a %s store has no use for the first; drop it, or use %s", f.name, said, kind, either(f.of)))
		}
	}
	return errs
}

// checkValues checks the fields that the store has a use for.
func (c Config) checkValues() (errs []error) {
	kind, said := c.kind()
	if kind == Memory {
		return nil
	}
	if _, ok := layouts[kind][c.Layout]; !ok && c.Layout != "" {
		has := either(slices.Sorted(maps.Keys(layouts[kind])))
		other := Redis
		if kind == Redis {
			other = Postgres
		}
		if _, ok := layouts[other][c.Layout]; ok {
			errs = append(errs, refused("Layout and Config.%s: %s is for %s and the store is %s, where it can be %s; change one of the two",
				said, c.Layout, other, kind, has))
		} else {
			errs = append(errs, refused("Layout: %q is unknown; use %s", c.Layout, has))
		}
	} else if knex := string(postgres.LayoutConnectSessionKnex); c.SIDFieldName != "" && kind == Postgres && c.Layout != knex {
		errs = append(errs, refused("SIDFieldName and Config.Layout: only %s lets its column be renamed; drop the first or change the second", knex))
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
			errs = append(errs, refused("%s: is negative; 0 is the default", f.name))
		}
	}
	switch {
	case c.MaxIdleConns > 0 && c.MaxConns == 0:
		errs = append(errs, refused("MaxIdleConns and Config.MaxConns: the first needs the second; give both"))
	case c.MaxIdleConns > c.MaxConns:
		errs = append(errs, refused("MaxIdleConns and Config.MaxConns: no more connections can stay open (%d) than there may be (%d); "+
			"lower the first or raise the second", c.MaxIdleConns, c.MaxConns))
	}

	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		errs = append(errs, refused("TLS.CertFile and Config.TLS.KeyFile: go together; give both or neither"))
	}
	if scheme, _, _ := strings.Cut(c.URL, "://"); kind == Redis && scheme != "rediss" && scheme != "valkeys" {
		for _, f := range []struct{ name, value string }{
			{"CAFile", c.TLS.CAFile}, {"CertFile", c.TLS.CertFile}, {"KeyFile", c.TLS.KeyFile}, {"ServerName", c.TLS.ServerName},
		} {
			if f.value != "" {
				errs = append(errs, refused("TLS.%s and Config.URL: a connection of %s:// has no TLS; make it rediss://, or drop the first", f.name, scheme))
			}
		}
	}
	return errs
}

// either lists what there is to choose from.
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
