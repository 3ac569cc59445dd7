package redis

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// Layout says what the keys are called and how their expiry is counted. The
// value of a key is the session's bytes in both.
type Layout string

// The layouts. The zero value is LayoutSCS.
const (
	// LayoutSCS is that of scs's redisstore: scs:session:<token>, which expires
	// to the millisecond.
	LayoutSCS Layout = "scs"

	// LayoutConnectRedis is that of Express's connect-redis: sess:<id>, which
	// expires after whole seconds, rounded up. Its records are Express's JSON,
	// and Express may read and write them at the same time.
	LayoutConnectRedis Layout = "connect-redis"
)

// Options of a store. The zero value is scs's layout with sane limits.
type Options struct {
	// Layout of the keys. Zero value: LayoutSCS.
	Layout Layout

	// Prefix of the keys. Whatever begins with it is taken for a session of
	// this store, by Clear too. Zero value: the layout's own, "scs:session:" or
	// "sess:". connect-redis: prefix.
	Prefix string

	// ScanCount is about how many keys Range, All, Len and Clear ask for at a
	// time. Zero value: 100. connect-redis: scanCount.
	ScanCount int

	// ReadTimeout limits the wait for a reply, if the context's deadline does
	// not end it earlier. Zero value: 3 seconds.
	ReadTimeout time.Duration

	// DialTimeout limits the wait for a connection, if the context's deadline
	// does not end it earlier: until one is free, or a new one is dialled, has
	// TLS and is logged in. Zero value: 5 seconds.
	DialTimeout time.Duration

	// The fields below are for Open alone.

	// WriteTimeout limits how long it takes to send a command. Zero value: 3
	// seconds.
	WriteTimeout time.Duration

	// MaxActive is how many connections may be open at a time. Zero value: 64.
	MaxActive int

	// MaxIdle is how many connections stay open without work. Zero value: as
	// many as MaxActive, since dialling one costs more than keeping it.
	MaxIdle int

	// IdleTimeout closes a connection that had no work for this long. It should
	// be shorter than the server's own timeout. Zero value: 4 minutes.
	IdleTimeout time.Duration

	// TLS is for a rediss URL. Zero value: the system's roots, and no
	// certificate of our own.
	TLS TLS
}

// TLS says whom a TLS connection trusts and who we are. Files are PEM, and read
// once, by Open.
type TLS struct {
	// CAFile holds the certificates that the server's must be signed by. Zero
	// value: the system's roots.
	CAFile string

	// CertFile and KeyFile are our own certificate, for a server that asks for
	// one, and its key. Zero value: none.
	CertFile, KeyFile string

	// ServerName that the server's certificate must be for. Zero value: the
	// URL's host.
	ServerName string
}

// check returns o with its defaults, or an error that names each bad field.
func (o Options) check() (Options, error) {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("redis: Options."+format, args...))
	}
	prefix := ""
	switch o.Layout = cmp.Or(o.Layout, LayoutSCS); o.Layout {
	case LayoutSCS:
		prefix = "scs:session:"
	case LayoutConnectRedis:
		prefix = "sess:"
	default:
		bad("Layout: %q is unknown; use %q or %q", o.Layout, LayoutSCS, LayoutConnectRedis)
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
			bad("%s: negative; leave it 0 for the default", f.field)
		}
	}
	o.MaxActive = cmp.Or(o.MaxActive, 64)
	if o.MaxIdle > o.MaxActive {
		bad("MaxIdle: %d is more than Options.MaxActive, %d; lower it or raise that", o.MaxIdle, o.MaxActive)
	}
	if (o.TLS.CertFile == "") != (o.TLS.KeyFile == "") {
		bad("TLS: CertFile and KeyFile go together; set both or neither")
	}
	if err := errors.Join(errs...); err != nil {
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

// openOnly returns an error that names each set field that New can't honour.
func (o Options) openOnly() error {
	var errs []error
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
			errs = append(errs, fmt.Errorf("redis: Options.%s: is for Open; set it up on the pool given to New", f.field))
		}
	}
	return errors.Join(errs...)
}
