package redis

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Modes of Options.Mode.
const (
	modeSingle   = "single"
	modeSentinel = "sentinel"
	modeCluster  = "cluster"
)

// target is what a URL and the options say about where the sessions are.
type target struct {
	mode               string
	network            string // tcp, tcp4, tcp6 or unix
	addrs              []string
	tls                bool
	username, password string
	database           int
	master             string // the name that the Sentinels know it by
}

// kinds are the schemes of URLs.
var kinds = map[string]struct {
	mode string
	tls  bool
}{
	"redis": {}, "rediss": {tls: true},
	"valkey": {}, "valkeys": {tls: true},
	"unix": {mode: modeSingle}, "redis+unix": {mode: modeSingle},
	"redis-sentinel": {mode: modeSentinel}, "rediss-sentinel": {mode: modeSentinel, tls: true},
	"redis+sentinel": {mode: modeSentinel}, "rediss+sentinel": {mode: modeSentinel, tls: true},
	"redis+cluster": {mode: modeCluster}, "rediss+cluster": {mode: modeCluster, tls: true},
	"redis-cluster": {mode: modeCluster}, "rediss-cluster": {mode: modeCluster, tls: true},
}

const (
	redisPort    = "6379"
	sentinelPort = "26379"
)

// parameters are what the URLs of other clients have after a question mark, and what to do
// with it here. Others are not named in errors: perhaps they are a part of a password.
var parameters = map[string]string{
	"ssl":                  "make the scheme rediss://",
	"tls":                  "make the scheme rediss://",
	"ssl_cert_reqs":        "give Options.TLS, in a file store.caFile, store.fingerprint or store.insecureSkipVerify",
	"rejectUnauthorized":   "give Options.TLS, in a file store.caFile, store.fingerprint or store.insecureSkipVerify",
	"connectTimeout":       "give Options.ConnectTimeout, in a file store.connectTimeout",
	"connect_timeout":      "give Options.ConnectTimeout, in a file store.connectTimeout",
	"commandTimeout":       "give Options.Timeout, in a file store.timeout",
	"socketTimeout":        "give Options.Timeout, in a file store.timeout",
	"socket_timeout":       "give Options.Timeout, in a file store.timeout",
	"timeout":              "give Options.Timeout, in a file store.timeout",
	"keyPrefix":            "give Options.Prefix, in a file store.prefix",
	"name":                 "give Options.MasterName, in a file store.masterName",
	"sentinelPassword":     "give Options.SentinelPassword, in a file store.sentinelPassword",
	"sentinelUsername":     "give Options.SentinelUsername, in a file store.sentinelUsername",
	"role":                 "drop it: sessions are only kept on a master",
	"maxRetriesPerRequest": "drop it: what can be repeated safely is repeated once",
	"enableReadyCheck":     "drop it: Open waits until the server is ready",
	"enableOfflineQueue":   "drop it: a request is not kept for a server that is down",
	"lazyConnect":          "drop it",
	"keepAlive":            "drop it: connections are kept alive",
	"noDelay":              "drop it: what is written is sent at once",
	"allowUsernameInURI":   "drop it: the user is taken from the URL",
	"protocol":             "drop it",
	"username":             "put the user in front of the host",
	"user":                 "put the user in front of the host",
	"password":             "put the password in front of the host",
}

// parseURL parses the URL of Open. redigo's own parser has no unix sockets, and its errors
// quote the URL with the password. The errors here quote no part of the URL, because a
// password that is not percent-encoded can end up in any part.
func parseURL(raw string) (target, error) {
	bad := func(why string, args ...any) (target, error) {
		return target{}, errors.New("redis: the URL " + fmt.Sprintf(why, args...))
	}
	// url.Parse takes several hosts only if there are no ports.
	scheme, rest, slashes := strings.Cut(raw, "://")
	hosts := ""
	if slashes {
		end := len(rest)
		if i := strings.IndexAny(rest, "/?#"); i >= 0 {
			end = i
		}
		start := strings.LastIndexByte(rest[:end], '@') + 1
		hosts = rest[start:end]
		if strings.Contains(hosts, ",") {
			rest = rest[:start] + "several" + rest[end:]
		}
		raw = scheme + "://" + rest
	}
	u, err := url.Parse(raw)
	if err != nil {
		return bad("cannot be read; are the special characters of the password percent-encoded?")
	}
	kind, ok := kinds[u.Scheme]
	if !ok {
		return bad("must begin with redis://, rediss://, unix://, redis-sentinel:// or redis-cluster://")
	}
	t := target{mode: kind.mode, tls: kind.tls, network: "tcp"}
	if u.Opaque != "" {
		return bad("lacks the slashes after its scheme")
	}
	query := u.Query()
	database := strings.TrimPrefix(u.Path, "/")
	if u.Scheme == "unix" || u.Scheme == "redis+unix" {
		if u.Host != "" || u.Path == "" {
			return bad("must have the path of a socket and no host: unix:///path/to/redis.sock")
		}
		t.network, t.addrs, database = "unix", []string{u.Path}, ""
	} else if hosts != "" {
		port := redisPort
		if t.mode == modeSentinel {
			port = sentinelPort
		}
		for host := range strings.SplitSeq(hosts, ",") {
			addr, err := address(host, port)
			if err != nil {
				return bad("has a host that can't be read; are the special characters of the password percent-encoded?")
			}
			t.addrs = append(t.addrs, addr)
		}
	}
	if t.mode == modeSentinel {
		// Both spellings are common: …/name/0 and …/0#name.
		t.master = u.Fragment
		if first, rest, _ := strings.Cut(database, "/"); t.master == "" && first != "" {
			t.master, database = first, rest
		}
	} else if u.Fragment != "" {
		return bad("has a #, which must be percent-encoded")
	}
	if v, ok := query["db"]; ok && len(v) == 1 && database == "" {
		database = v[0]
		query.Del("db")
	}
	if v, ok := query["family"]; ok && len(v) == 1 && t.network == "tcp" {
		// ioredis: 4 and 6 are versions of IP, 0 is either.
		switch v[0] {
		case "0":
		case "4", "6":
			t.network += v[0]
		default:
			return bad("has ?family= with something else than 0, 4 or 6")
		}
		query.Del("family")
	}
	if len(query) > 0 {
		var names []string
		for name := range query {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			if fix := parameters[name]; fix != "" {
				return bad("has the parameter %s, which is another client's: %s", name, fix)
			}
		}
		return bad("has parameters that are not known; ?db= and ?family= are")
	}
	if database != "" {
		if t.database, err = strconv.Atoi(database); err != nil || t.database < 0 {
			return bad("has something else than a number in the place of the database")
		}
	}
	var set bool
	t.username = u.User.Username()
	t.password, set = u.User.Password()
	switch {
	case !set:
		t.username, t.password = "", t.username
	case t.password == "" && t.username != "":
		return bad("has a user and an empty password")
	}
	return t, nil
}

// address returns host:port, with the port that is usual if there is none.
func address(host, port string) (string, error) {
	u, err := url.Parse("redis://" + host)
	if err != nil || u.Hostname() == "" || u.Host != host {
		return "", errors.New("is not host:port")
	}
	return net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port)), nil
}

// resolve returns what the URL and the options say together, or an error that names the
// fields that contradict each other. The URL may be empty if there are Options.Addresses.
func resolve(raw string, o Options) (target, error) {
	r := refusals()
	t := target{network: "tcp"}
	if raw != "" || len(o.Addresses) == 0 {
		var err error
		if t, err = parseURL(raw); err != nil {
			return target{}, err
		}
	}
	switch {
	case o.Mode == "":
	case t.mode == "" || t.mode == o.Mode:
		t.mode = o.Mode
	default:
		r.Add("Mode url", "the first says %s, the second %s; drop the first", o.Mode, t.mode)
	}
	if len(o.Addresses) > 0 {
		if len(t.addrs) > 0 {
			r.Add("Addresses url", "both have hosts; leave them out of the second, as in rediss://user:password@")
		}
		port := redisPort
		if t.mode == modeSentinel {
			port = sentinelPort
		}
		t.addrs = nil
		for i, a := range o.Addresses {
			addr, err := address(a, port)
			if err != nil { // it may hold a password
				r.Add("Addresses", "number %d %w; user and password belong in the url", i+1, err)
			}
			t.addrs = append(t.addrs, addr)
		}
	}
	if t.mode == "" {
		t.mode = modeSingle
		if len(t.addrs) > 1 {
			if len(o.Addresses) > 0 {
				r.Add("Addresses Mode", "%d servers can be those of a cluster, or Sentinels; give the second, cluster or sentinel", len(t.addrs))
			}
			t.mode = modeCluster
		}
	}
	if len(t.addrs) == 0 {
		t.addrs = []string{net.JoinHostPort("localhost", redisPort)}
		if t.mode == modeSentinel {
			t.addrs[0] = net.JoinHostPort("localhost", sentinelPort)
		}
	}
	if t.mode == modeSingle && len(t.addrs) > 1 {
		r.Add("Mode url", "a single server has one address, and there are %d; make the first cluster or sentinel", len(t.addrs))
	}
	if t.mode == modeCluster && t.database != 0 {
		r.Add("url", "a cluster has no database but 0; drop the number")
	}
	if t.mode == modeSentinel {
		if o.MasterName != "" && t.master != "" && o.MasterName != t.master {
			r.Add("MasterName url", "the two have different names; drop the first")
		}
		t.master = cmp.Or(o.MasterName, t.master)
		if t.master == "" {
			r.Add("MasterName", "is the name by which the Sentinels know the master, such as mymaster; give it")
		}
	} else {
		for _, f := range []struct{ name, value string }{
			{"MasterName", o.MasterName}, {"SentinelUsername", o.SentinelUsername}, {"SentinelPassword", o.SentinelPassword},
		} {
			if f.value != "" {
				r.Add(f.name+" Mode", "there is no Sentinel to tell it to; make the second sentinel, or drop the first")
			}
		}
	}
	if !t.tls && raw != "" {
		scheme, _, _ := strings.Cut(raw, "://")
		o.TLS.refuse(&r, scheme)
	} else if raw == "" && o.TLS != (TLS{}) {
		r.Add("TLS url", "give the second as rediss:// for connections with TLS, or drop the first")
	}
	if t.password != "" && o.PasswordFile != "" {
		r.Add("PasswordFile url", "both have a password; leave it out of the second")
	}
	if o.Credentials != nil && (o.PasswordFile != "" || t.password != "") {
		r.Add("Credentials PasswordFile url", "the first gives user and password; leave them out of the others")
	}
	if err := r.Err(); err != nil {
		return target{}, err
	}
	return t, nil
}
