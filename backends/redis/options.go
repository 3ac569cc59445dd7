package redis

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/samesid/samesid/backends/driver"
	"github.com/samesid/samesid/internal/refusal"
)

// Layout selects the names of the keys and the precision of their expiry. In all layouts
// the value of a key is the session's record.
type Layout string

// The layouts. The zero value is LayoutSCS.
const (
	// LayoutSCS is the layout of scs's redisstore: scs:session:<token>, with an
	// expiry in milliseconds.
	LayoutSCS Layout = "scs"

	// LayoutConnectRedis is the layout of Express's connect-redis: sess:<id>, with
	// an expiry in seconds, rounded up. Its records are Express's JSON, and Express
	// may read and write them concurrently.
	LayoutConnectRedis Layout = "connect-redis"
)

// layout describes a Layout.
type layout struct {
	driver.Layout
	prefix string
}

// layouts are all of them. The first one is the default.
var layouts = []layout{
	{
		driver.Layout{Name: string(LayoutSCS), Step: time.Millisecond, Doc: "keys `scs:session:<token>`, of scs's redisstore"},
		"scs:session:",
	},
	{
		driver.Layout{Name: string(LayoutConnectRedis), Express: true, TTLUnit: time.Second, Step: time.Second, Doc: "keys `sess:<id>`, with Express's JSON"},
		"sess:",
	},
}

// Backend describes this store to packages backends and adapter/config.
var Backend = driver.New(driver.Backend{
	Type: "redis", Title: "Redis",
	Schemes: schemes, MoreSchemes: moreSchemes,
	Layouts: described(),
	Unavailable: map[string]string{
		"client":       "is an object of Express's program; give the server as store.url",
		"serializer":   "can't be changed in a file; Express's JSON is the default with the connect-* layouts",
		"disableTouch": "would end sessions that are in use; drop it, or touch less often with store.touchAfter",
		"disableTTL":   "would keep sessions for ever; drop it, or keep them longer with store.ttl",
	},
}, validate, func(ctx context.Context, url string, o Options, _ *slog.Logger) (*Store, error) {
	return Open(ctx, url, o)
})

var (
	schemes     = []string{"redis://", "rediss://", "unix://"}
	moreSchemes = []string{"valkey://", "valkeys://", "redis+unix://"}
)

func described() (all []driver.Layout) {
	for _, l := range layouts {
		all = append(all, l.Layout)
	}
	return all
}

// Options configure a store. The zero value is scs's layout with the default limits.
type Options struct {
	// Layout is the names and the format of the records. Zero value: LayoutSCS.
	Layout Layout `key:"layout"`

	// Prefix is the beginning of each key. Zero value: the layout's own, scs:session:
	// or sess:.
	//
	// Every key that begins with it counts as a session of this store, and Clear
	// deletes it. connect-redis: prefix.
	Prefix string `key:"prefix"`

	// ScanCount is the approximate number of keys per page of a listing. Zero value:
	// 100.
	//
	// Range, All, Len and Clear list keys. connect-redis: scanCount.
	ScanCount int `key:"scanCount"`

	// Timeout limits the wait for an answer. Zero value: 3s.
	//
	// It also limits the sending of a command, on a connection that Open made. An
	// earlier deadline of the context takes precedence.
	Timeout time.Duration `key:"timeout"`

	// ConnectTimeout limits the wait for a connection. Zero value: 5s.
	//
	// That is the wait for a free one of the pool, or for a new one, including TLS
	// and authentication. An earlier deadline of the context takes precedence.
	ConnectTimeout time.Duration `key:"connectTimeout"`

	// The fields below are for Open; New rejects them.

	// MaxConns is the maximum number of open connections. Zero value: 64.
	MaxConns int `key:"maxConnections" for:"Open"`

	// MaxIdleConns is the maximum number of idle connections. Zero value: MaxConns.
	//
	// Dialling a connection costs more than keeping it.
	MaxIdleConns int `key:"maxIdleConnections" for:"Open"`

	// ConnMaxIdleTime is the time after which an idle connection is closed. Zero
	// value: 4m.
	//
	// It should be shorter than the server's own timeout.
	ConnMaxIdleTime time.Duration `key:"connectionMaxIdleTime" for:"Open"`

	// TLS sets the CA for the server and the client certificate. It requires a
	// rediss URL. Zero value: the system's CAs, and no client certificate.
	TLS TLS `for:"Open"`
}

// TLS sets the CA for the server and the client certificate. The files are PEM; Open
// reads them once.
type TLS struct {
	// CAFile is a PEM file with the CA certificates that the server's certificate is
	// verified against. Zero value: the system's CAs.
	CAFile string `key:"caFile path"`

	// CertFile is a PEM file with the client certificate. Zero value: none.
	CertFile string `key:"certFile path"`

	// KeyFile is a PEM file with the private key of the client certificate. Zero
	// value: none.
	KeyFile string `key:"keyFile path"`

	// ServerName is the name that the server's certificate must have. Zero value: the
	// url's host.
	ServerName string `key:"serverName"`
}

// Validate returns an error that names every field that Open would reject, and the fix.
// It neither connects to the server nor reads the files of TLS.
func (o Options) Validate() error {
	r := refusals()
	o.refuse(&r)
	return r.Err()
}

// validate also rejects what does not go with the URL.
func validate(url string, o Options) error {
	r := refusals()
	o.refuse(&r)
	scheme, _, _ := strings.Cut(url, "://")
	if !slices.Contains(slices.Concat(schemes, moreSchemes), scheme+"://") {
		r.Add("url", "a redis store needs one, such as redis://localhost:6379/0")
	} else if scheme != "rediss" && scheme != "valkeys" {
		o.TLS.refuse(&r, scheme)
	}
	return r.Err()
}

// refuse rejects the fields that are set, as the URL has a scheme without TLS.
func (t TLS) refuse(r *refusal.List, scheme string) {
	for _, f := range []struct{ name, value string }{
		{"CAFile", t.CAFile}, {"CertFile", t.CertFile}, {"KeyFile", t.KeyFile}, {"ServerName", t.ServerName},
	} {
		if f.value != "" {
			r.Add("TLS."+f.name+" url", "a connection of %s:// has no TLS; make it rediss://, or drop the first", scheme)
		}
	}
}

// refusals returns an empty list of errors about Options.
func refusals() refusal.List { return refusal.List{Package: "redis", Struct: "Options"} }

const defaultMaxConns = 64

func (o Options) refuse(r *refusal.List) {
	r.OneOf("Layout", string(cmp.Or(o.Layout, LayoutSCS)), driver.Names(described()))
	r.Numbers(o)
	r.Pool(o.MaxIdleConns, o.MaxConns, defaultMaxConns)
	r.Pair(o.TLS.CertFile, o.TLS.KeyFile)
}

// layout returns the description of the layout. The options must be valid.
func (o Options) layout() layout {
	for _, l := range layouts {
		if l.Name == string(o.Layout) {
			return l
		}
	}
	return layouts[0]
}

// withDefaults returns a copy with the defaults filled in, or Validate's error.
func (o Options) withDefaults() (Options, error) {
	if err := o.Validate(); err != nil {
		return Options{}, err
	}
	l := o.layout()
	o.Layout = Layout(l.Name)
	o.Prefix = cmp.Or(o.Prefix, l.prefix)
	o.ScanCount = cmp.Or(o.ScanCount, 100)
	o.Timeout = cmp.Or(o.Timeout, 3*time.Second)
	o.ConnectTimeout = cmp.Or(o.ConnectTimeout, 5*time.Second)
	o.MaxConns = cmp.Or(o.MaxConns, defaultMaxConns)
	o.MaxIdleConns = cmp.Or(o.MaxIdleConns, o.MaxConns)
	o.ConnMaxIdleTime = cmp.Or(o.ConnMaxIdleTime, 4*time.Minute)
	return o, nil
}

// openOnly returns an error that names each field that is set and is only for Open.
func (o Options) openOnly() error {
	r := refusals()
	r.OnlyOpen(o, "set it up on the pool given to New")
	return r.Err()
}
