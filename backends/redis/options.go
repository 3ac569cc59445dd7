package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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
}, validate, func(ctx context.Context, url string, o Options, logger *slog.Logger) (*Store, error) {
	o.Logger = cmp.Or(o.Logger, logger)
	return Open(ctx, url, o)
})

var (
	schemes     = []string{"redis://", "rediss://", "unix://"}
	moreSchemes = more()
)

func more() (all []string) {
	for scheme := range kinds {
		if scheme += "://"; !slices.Contains(schemes, scheme) {
			all = append(all, scheme)
		}
	}
	slices.Sort(all)
	return all
}

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

	// NoBatching sends each command by itself. Zero value: while the server is busy,
	// commands that wait go out together.
	//
	// They then share a connection and its round trip, in which each has its own reply. A
	// connection that breaks breaks all that are on it.
	NoBatching bool `key:"noBatching"`

	// The fields below are for Open; New rejects them.

	// MaxConns is the maximum number of open connections. Zero value: 64.
	MaxConns int `key:"maxConnections" for:"Open"`

	// MaxIdleConns is the maximum number of idle connections. Zero value: MaxConns.
	//
	// Dialling a connection costs more than keeping it.
	MaxIdleConns int `key:"maxIdleConnections" for:"Open"`

	// ConnMaxIdleTime is the time after which an idle connection is closed. Zero
	// value: 30s.
	//
	// It should be shorter than the timeouts of the server and of proxies on the way,
	// which are often a minute.
	ConnMaxIdleTime time.Duration `key:"connectionMaxIdleTime" for:"Open"`

	// ConnMaxLifetime is the age at which a connection is closed. Zero value: no limit.
	//
	// Give it with Credentials that expire, such as the tokens of a cloud's IAM.
	ConnMaxLifetime time.Duration `key:"connectionMaxLifetime" for:"Open"`

	// Mode is what the servers are: a single one, a Redis with Sentinel, or a Redis
	// Cluster. Zero value: the url says it, or single.
	//
	// With several hosts, redis:// is a cluster; redis-sentinel:// and redis-cluster://
	// say it themselves. MaxConns is for each master of a cluster.
	Mode string `key:"mode oneof=single|sentinel|cluster" for:"Open"`

	// Addresses are the servers as host:port: some nodes of a cluster, or all
	// Sentinels. Zero value: the hosts of the url.
	//
	// With Addresses the URL has the user, the password and whether there is TLS, as
	// in rediss://user:password@; it may be empty.
	Addresses []string `key:"addresses" for:"Open"`

	// MasterName is the name by which the Sentinels know the master, such as mymaster.
	// Zero value: the path or the fragment of a redis-sentinel url.
	MasterName string `key:"masterName" for:"Open"`

	// SentinelUsername is the user for the Sentinels, which have users of their own.
	// Zero value: the default user.
	SentinelUsername string `key:"sentinelUsername" for:"Open"`

	// SentinelPassword is the password for the Sentinels. Zero value: none.
	//
	// The user and the password of the URL are for the servers with the sessions.
	SentinelPassword string `key:"sentinelPassword secret" for:"Open"`

	// PasswordFile is a file with the password, which is read again for each new
	// connection. Zero value: the url's password.
	//
	// A line break at its end is ignored.
	PasswordFile string `key:"passwordFile path" for:"Open"`

	// Credentials returns the user and the password for a new connection, in place of
	// those of the URL. It is called for each, perhaps concurrently, with the context of
	// whoever waits for the connection. Zero value: the URL's, or PasswordFile.
	Credentials func(ctx context.Context) (username, password string, err error) `for:"Open"`

	// WaitReplicas is the number of replicas that must confirm the end of a session.
	// Zero value: none.
	//
	// Without it, a failover to a replica that has not yet heard of a logout undoes it:
	// Redis replicates asynchronously. With it, a deletion returns an error if fewer
	// have confirmed it within WaitTimeout, although it is done on the master; to repeat
	// it is right. So it is for the end of all sessions of a user, which a login under way
	// must notice. The old id of a session that is given a new one, what is noted in the
	// list of a user's sessions, and Clear, are not waited for. It makes the loss unlikely
	// and does not exclude it, as a failover may still choose another replica. See WAIT in
	// the documentation of Redis.
	WaitReplicas int `key:"waitReplicas"`

	// WaitTimeout limits the wait for WaitReplicas. Zero value: 1s.
	WaitTimeout time.Duration `key:"waitTimeout"`

	// Logger receives warnings when the store is opened. Zero value: slog.Default().
	Logger *slog.Logger `for:"Open"`

	// TLS sets the CA for the server and the client certificate. It requires a
	// rediss URL. Zero value: the system's CAs, and no client certificate.
	TLS TLS `for:"Open"`
}

// Format implements fmt.Formatter. It hides SentinelPassword.
func (o Options) Format(f fmt.State, verb rune) {
	type plain Options // has no Format method
	if o.SentinelPassword != "" {
		o.SentinelPassword = "hidden"
	}
	fmt.Fprintf(f, fmt.FormatString(f, verb), plain(o))
}

// TLS sets how the server's certificate is verified, and the client certificate. The
// files are PEM; Open reads them once.
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

	// Fingerprint is the SHA-256 of the server's certificate in hexadecimal, which is
	// then verified by that alone. Zero value: any certificate that a CA vouches for.
	//
	// It is for a certificate that no CA has signed. openssl x509 -noout -fingerprint
	// -sha256 prints it. Whoever renews the certificate changes it.
	Fingerprint string `key:"fingerprint"`

	// InsecureSkipVerify accepts any certificate, so that whoever is on the way to the
	// server can read and change all sessions. Zero value: false.
	//
	// It is what rejectUnauthorized: false is in Node. Open logs a warning.
	// Fingerprint is the better way to a server with a self-signed certificate.
	InsecureSkipVerify bool `key:"insecureSkipVerify"`
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
	if scheme, _, _ := strings.Cut(url, "://"); url != "" || len(o.Addresses) == 0 {
		if _, ok := kinds[scheme]; !ok {
			r.Add("url", "a redis store needs one, such as redis://localhost:6379/0")
			return r.Err()
		}
	}
	_, err := resolve(url, o)
	return errors.Join(r.Err(), err)
}

// refuse rejects the fields that are set, as the URL has a scheme without TLS.
func (t TLS) refuse(r *refusal.List, scheme string) {
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"CAFile", t.CAFile != ""},
		{"CertFile", t.CertFile != ""},
		{"KeyFile", t.KeyFile != ""},
		{"ServerName", t.ServerName != ""},
		{"Fingerprint", t.Fingerprint != ""},
		{"InsecureSkipVerify", t.InsecureSkipVerify},
	} {
		if f.set {
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
	if o.Mode != "" {
		r.OneOf("Mode", o.Mode, []string{modeSingle, modeSentinel, modeCluster})
	}
	if o.WaitTimeout != 0 && o.WaitReplicas == 0 {
		r.Add("WaitTimeout WaitReplicas", "there is nothing to wait for without the second; give it, or drop the first")
	}
	switch t := o.TLS; {
	case t.Fingerprint != "" && t.pin() == nil:
		r.Add("TLS.Fingerprint", "is not the SHA-256 of a certificate, 64 hexadecimal digits; openssl x509 -noout -fingerprint -sha256 prints it")
	case t.Fingerprint != "" && (t.CAFile != "" || t.ServerName != ""):
		r.Add("TLS.Fingerprint TLS.CAFile TLS.ServerName", "the first is one certificate, so that neither a CA nor a name is looked at; drop the others")
	case t.InsecureSkipVerify && (t.Fingerprint != "" || t.CAFile != "" || t.ServerName != ""):
		r.Add("TLS.InsecureSkipVerify TLS.Fingerprint TLS.CAFile TLS.ServerName", "the first accepts any certificate; drop it, or the others")
	}
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
	o.ConnMaxIdleTime = cmp.Or(o.ConnMaxIdleTime, 30*time.Second)
	if o.WaitReplicas > 0 {
		o.WaitTimeout = cmp.Or(o.WaitTimeout, time.Second)
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o, nil
}

// openOnly returns an error that names each field that is set and is only for Open.
func (o Options) openOnly() error {
	r := refusals()
	r.OnlyOpen(o, "set it up on the pool given to New")
	return r.Err()
}
