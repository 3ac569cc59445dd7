package redis

import (
	"cmp"
	"time"

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

// Options configure a store. The zero value is scs's layout with the default limits.
type Options struct {
	// Layout is the format of keys and records. Zero value: LayoutSCS.
	Layout Layout

	// Prefix is the beginning of each key. Every key that begins with it counts as
	// a session of this store, and Clear deletes it. Zero value: the layout's own,
	// "scs:session:" or "sess:". connect-redis: prefix.
	Prefix string

	// ScanCount is the approximate number of keys that Range, All, Len and Clear
	// request per page. Zero value: 100. connect-redis: scanCount.
	ScanCount int

	// ReadTimeout limits the wait for a reply; an earlier deadline of the context
	// takes precedence. Zero value: 3 seconds.
	ReadTimeout time.Duration

	// DialTimeout limits the wait for a connection: for a free one of the pool, or
	// for a new one, including TLS and authentication. An earlier deadline of the
	// context takes precedence. Zero value: 5 seconds.
	DialTimeout time.Duration

	// The fields below are for Open; New rejects them.

	// WriteTimeout limits the sending of a command. Zero value: 3 seconds.
	WriteTimeout time.Duration

	// MaxActive is the maximum number of open connections. Zero value: 64.
	MaxActive int

	// MaxIdle is the maximum number of idle connections. Zero value: MaxActive,
	// because dialling a connection costs more than keeping it.
	MaxIdle int

	// IdleTimeout is the time after which an idle connection is closed. It should
	// be shorter than the server's own timeout. Zero value: 4 minutes.
	IdleTimeout time.Duration

	// TLS sets the CA for the server and the client certificate. It requires a
	// rediss URL. Zero value: the system's CAs, and no client certificate.
	TLS TLS
}

// TLS sets the CA for the server and the client certificate. The files are PEM; Open
// reads them once.
type TLS struct {
	// CAFile holds the CA certificates that the server's certificate is verified
	// against. Zero value: the system's CAs.
	CAFile string

	// CertFile and KeyFile hold the client certificate, for a server that requires
	// one, and its private key. Zero value: none.
	CertFile, KeyFile string

	// ServerName is the name that the server's certificate must have. Zero value:
	// the URL's host.
	ServerName string
}

// Validate returns an error that names every field that Open would reject, and the fix.
// It neither connects to the server nor reads the files of TLS.
func (o Options) Validate() error {
	_, err := o.withDefaults()
	return err
}

// refusals returns an empty list of errors about Options.
func refusals() refusal.List { return refusal.List{Package: "redis", Struct: "Options"} }

// withDefaults returns a copy with the defaults filled in, or Validate's error.
func (o Options) withDefaults() (Options, error) {
	r := refusals()
	prefix := ""
	switch o.Layout = cmp.Or(o.Layout, LayoutSCS); o.Layout {
	case LayoutSCS:
		prefix = "scs:session:"
	case LayoutConnectRedis:
		prefix = "sess:"
	default:
		r.Add("Layout", "%q is unknown; use %q or %q", o.Layout, LayoutSCS, LayoutConnectRedis)
	}
	for _, f := range []struct {
		field string
		n     int64
	}{
		{"ScanCount", int64(o.ScanCount)},
		{"ReadTimeout", int64(o.ReadTimeout)},
		{"DialTimeout", int64(o.DialTimeout)},
		{"WriteTimeout", int64(o.WriteTimeout)},
		{"MaxActive", int64(o.MaxActive)},
		{"MaxIdle", int64(o.MaxIdle)},
		{"IdleTimeout", int64(o.IdleTimeout)},
	} {
		if f.n < 0 {
			r.Add(f.field, "negative; leave it 0 for the default")
		}
	}
	o.MaxActive = cmp.Or(o.MaxActive, 64)
	if o.MaxIdle > o.MaxActive {
		r.Add("MaxIdle", "%d is more than Options.MaxActive, %d; lower it or raise that", o.MaxIdle, o.MaxActive)
	}
	if (o.TLS.CertFile == "") != (o.TLS.KeyFile == "") {
		r.Add("TLS.CertFile TLS.KeyFile", "go together; set both or neither")
	}
	if err := r.Err(); err != nil {
		return Options{}, err
	}
	o.Prefix = cmp.Or(o.Prefix, prefix)
	o.ScanCount = cmp.Or(o.ScanCount, 100)
	o.ReadTimeout = cmp.Or(o.ReadTimeout, 3*time.Second)
	o.DialTimeout = cmp.Or(o.DialTimeout, 5*time.Second)
	o.WriteTimeout = cmp.Or(o.WriteTimeout, 3*time.Second)
	o.MaxIdle = cmp.Or(o.MaxIdle, o.MaxActive)
	o.IdleTimeout = cmp.Or(o.IdleTimeout, 4*time.Minute)
	return o, nil
}

// openOnly returns an error that names each field that is set and is only for Open.
func (o Options) openOnly() error {
	r := refusals()
	for _, f := range []struct {
		field string
		set   bool
	}{
		{"WriteTimeout", o.WriteTimeout != 0},
		{"MaxActive", o.MaxActive != 0},
		{"MaxIdle", o.MaxIdle != 0},
		{"IdleTimeout", o.IdleTimeout != 0},
		{"TLS", o.TLS != TLS{}},
	} {
		if f.set {
			r.Add(f.field, "is for Open; set it up on the pool given to New")
		}
	}
	return r.Err()
}
