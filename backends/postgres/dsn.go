package postgres

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lib/pq"
)

// noVerify is node-postgres's sslmode for TLS with any certificate.
const noVerify = "no-verify"

var sslModes = []string{"disable", "allow", "prefer", "require", "verify-ca", "verify-full", noVerify}

// connection is how to connect: what a DSN says, in the driver's terms.
type connection struct {
	pq.Config
	noVerify  bool
	keepAlive net.KeepAliveConfig
}

// parseDSN reads a DSN as node-postgres 8 and libpq do. They differ in what sslmode means.
// A URL that both could read has node-postgres's meaning, which is the stricter one, unless
// it has uselibpqcompat=true; key=value pairs have libpq's. No error contains a value of
// the DSN, as any may be a part of an unescaped password, but for those of a few words.
func parseDSN(dsn string) (connection, error) {
	params, node, err := splitDSN(dsn)
	if err != nil {
		return connection{}, err
	}
	c := connection{keepAlive: net.KeepAliveConfig{Enable: true}}
	if err := c.take(params, node); err != nil {
		return connection{}, err
	}
	c.Config, err = pq.NewConfig(pairs(params))
	if err != nil {
		return connection{}, dsnError(err)
	}
	return c, nil
}

// pairs returns parameters as key=value pairs.
func pairs(params map[string]string) string {
	quote := strings.NewReplacer(`'`, `\'`, `\`, `\\`)
	var all []string
	for _, k := range slices.Sorted(maps.Keys(params)) {
		all = append(all, k+"='"+quote.Replace(params[k])+"'")
	}
	return strings.Join(all, " ")
}

// splitDSN returns the parameters of a DSN. node reports whether node-postgres reads it,
// too.
func splitDSN(dsn string) (params map[string]string, node bool, err error) {
	if !utf8.ValidString(dsn) || strings.ContainsRune(dsn, 0) {
		return nil, false, errUnreadable
	}
	switch rest, isURL := cutScheme(dsn); {
	case isURL:
		params, err = splitURL(rest)
	case strings.HasPrefix(dsn, "socket:"): // socket:/folder?db=name&encoding=UTF8
		path, query, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(dsn, "socket:"), "//"), "?")
		user, folder, ok := strings.Cut(path, "@")
		if !ok {
			user, folder = "", path
		}
		if params, err = splitQuery(query); err == nil {
			err = userinfo(params, user)
		}
		set(params, "host", folder)
		rename(params, "db", "dbname")
		rename(params, "encoding", "client_encoding")
	case strings.HasPrefix(dsn, "/"): // /folder name
		folder, name, _ := strings.Cut(dsn, " ")
		params = map[string]string{"host": folder}
		set(params, "dbname", name)
	default:
		params, err = splitPairs(dsn)
		return params, false, err
	}
	return params, true, err
}

func cutScheme(dsn string) (rest string, ok bool) {
	for _, scheme := range []string{"postgres://", "postgresql://"} {
		if rest, ok = strings.CutPrefix(dsn, scheme); ok {
			return rest, true
		}
	}
	return dsn, false
}

// splitURL reads user:password@host:port,host:port/dbname?key=value. The driver's own
// reader takes one host with a port, and no socket.
func splitURL(rest string) (map[string]string, error) {
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, rest := rest[:end], rest[end:]
	tail, _, _ := strings.Cut(rest, "?")
	if strings.Contains(rest, "#") || !strings.Contains(authority, "@") && strings.Contains(tail, "@") {
		return nil, errUnreadable // perhaps of a password that is not escaped
	}
	path, query, _ := strings.Cut(rest, "?")
	params, err := splitQuery(query)
	if err != nil {
		return nil, err
	}
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		if err := userinfo(params, authority[:at]); err != nil {
			return nil, err
		}
		authority = authority[at+1:]
	}
	var hosts, ports []string
	for address := range strings.SplitSeq(authority, ",") {
		host, port := address, ""
		if i := strings.LastIndexByte(address, ':'); i > strings.LastIndexByte(address, ']') {
			host, port = address[:i], address[i+1:]
		}
		host, err := url.PathUnescape(strings.Trim(host, "[]"))
		if err != nil {
			return nil, errUnreadable
		}
		if _, err := strconv.ParseUint(cmp.Or(port, "0"), 10, 16); err != nil {
			return nil, errUnreadable
		}
		hosts, ports = append(hosts, host), append(ports, port)
	}
	if strings.Join(hosts, "") != "" {
		set(params, "host", strings.Join(hosts, ","))
	}
	if strings.Join(ports, "") != "" {
		for i := range ports {
			ports[i] = cmp.Or(ports[i], "5432")
		}
		set(params, "port", strings.Join(ports, ","))
	}
	name, err := url.PathUnescape(strings.TrimPrefix(path, "/"))
	if err != nil {
		return nil, errUnreadable
	}
	set(params, "dbname", name)
	return params, nil
}

// nameRunes are those of the name of a parameter. Another may be of a password that is not
// escaped.
const nameRunes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_."

// splitQuery returns the last value of each key, as both worlds do.
func splitQuery(query string) (map[string]string, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, errUnreadable
	}
	params := make(map[string]string)
	for k, v := range values {
		if strings.Trim(k, nameRunes) != "" {
			return nil, errUnreadable
		}
		set(params, k, v[len(v)-1])
	}
	return params, nil
}

func userinfo(params map[string]string, info string) error {
	user, password, _ := strings.Cut(info, ":")
	for key, value := range map[string]string{"user": user, "password": password} {
		value, err := url.PathUnescape(value)
		if err != nil {
			return errUnreadable
		}
		set(params, key, value)
	}
	return nil
}

// set sets a parameter that the query does not have.
func set(params map[string]string, key, value string) {
	if params[key] == "" && value != "" {
		params[key] = value
	}
}

func rename(params map[string]string, from, to string) {
	set(params, to, params[from])
	delete(params, from)
}

// splitPairs reads key=value pairs, as libpq does.
func splitPairs(text string) (map[string]string, error) {
	params := make(map[string]string)
	for {
		text = strings.TrimLeft(text, " \t\r\n")
		if text == "" {
			return params, nil
		}
		key, rest, ok := strings.Cut(text, "=")
		key = strings.TrimRight(key, " \t\r\n")
		if !ok || key == "" || strings.Trim(key, nameRunes) != "" {
			return nil, errUnreadable
		}
		rest = strings.TrimLeft(rest, " \t\r\n")
		var value strings.Builder
		quoted := strings.HasPrefix(rest, "'")
		i, closed := 0, !quoted
		if quoted {
			i = 1
		}
		for ; i < len(rest); i++ {
			switch c := rest[i]; {
			case c == '\\':
				if i++; i == len(rest) {
					return nil, errUnreadable
				}
				value.WriteByte(rest[i])
				continue
			case quoted && c == '\'':
				closed = true
			case !quoted && strings.IndexByte(" \t\r\n", c) >= 0:
			default:
				value.WriteByte(c)
				continue
			}
			i++
			break
		}
		if !closed {
			return nil, errUnreadable
		}
		params[key] = value.String()
		text = rest[i:]
	}
}

// ignored are parameters without which the connection is no other one: those of Prisma's
// pool, and those that ask for what is so anyway.
var ignored = map[string][]string{
	"pgbouncer":            nil,
	"connection_limit":     nil,
	"pool_timeout":         nil,
	"statement_cache_size": nil,
	"keepAlive":            {"true", "1"},
	"schema":               {"public"},
	"sslaccept":            {"strict"},
	"gssencmode":           {"disable", "prefer"},
	"sslcompression":       {"0"},
	"sslcertmode":          {"allow"},
	"requiressl":           {"0"},
	"replication":          {"false", "off", "no", "0"},
	"channel_binding":      {"disable", "prefer"},
}

// insteadOf are the parameters that can't be had, and what can.
var insteadOf = map[string]string{
	"schema":                  "node-postgres ignores it; set Options.SchemaName, or drop it",
	"sslaccept":               "set sslmode=no-verify in its place, or give the CA as TLS.CAFile",
	"keepAlive":               "set keepalives=0 in its place",
	"query_timeout":           "set Options.Timeout in its place",
	"socket_timeout":          "set Options.Timeout in its place",
	"tcp_user_timeout":        "set Options.Timeout in its place",
	"max":                     "set Options.MaxConns in its place",
	"min":                     "drop it: connections are made when they are needed",
	"idleTimeoutMillis":       "set Options.ConnMaxIdleTime in its place",
	"connectionTimeoutMillis": "set Options.ConnectTimeout in its place",
	"gssencmode":              "the driver has no encryption by GSS; drop it, and set sslmode=verify-full",
	"sslcompression":          "TLS is never compressed; drop it",
	"sslcertmode":             "drop it: the client certificate is sent if the server asks for it",
	"sslcrl":                  "the driver reads no revocation lists; drop it",
	"sslcrldir":               "the driver reads no revocation lists; drop it",
	"sslpassword":             "the driver reads no encrypted keys; drop it, and decrypt the key",
	"requiressl":              "set sslmode=require in its place",
	"requirepeer":             "the driver can't find out the user of a socket's server; drop it",
	"require_auth":            "the driver uses what the server asks for; drop it, and set sslmode=verify-full",
	"replication":             "sessions need a connection for statements; drop it",
}

// take translates the parameters that the driver doesn't know, and removes them.
func (c *connection) take(params map[string]string, node bool) error {
	mode, err := sslMode(params, node)
	if err != nil {
		return err
	}
	if params["channel_binding"] == "require" {
		// It keeps away whoever poses as the server. So does a verified certificate.
		if mode != string(pq.SSLModeVerifyFull) {
			return paramError("channel_binding", "the driver has none, and a verified certificate does the same: set sslmode=verify-full")
		}
		delete(params, "channel_binding")
	}
	if mode == noVerify {
		c.noVerify, mode = true, string(pq.SSLModeRequire)
	}
	if mode != "" {
		params["sslmode"] = mode
	}
	rename(params, "encoding", "client_encoding")

	for key, field := range map[string]*time.Duration{"keepalives_idle": &c.keepAlive.Idle, "keepalives_interval": &c.keepAlive.Interval} {
		n, ok, err := number(params, key)
		if err != nil {
			return err
		}
		if ok {
			*field = time.Duration(n) * time.Second
		}
	}
	if c.keepAlive.Count, _, err = number(params, "keepalives_count"); err != nil {
		return err
	}
	n, ok, err := number(params, "keepalives")
	if err != nil {
		return err
	}
	c.keepAlive.Enable = !ok || n != 0

	for _, key := range slices.Sorted(maps.Keys(params)) {
		fine, known := ignored[key]
		if known && (fine == nil || slices.Contains(fine, params[key])) {
			delete(params, key)
		} else if fix, ok := insteadOf[key]; ok {
			return paramError(key, fix)
		} else if known {
			return paramError(key, "the value is not one of "+strings.Join(fine, ", "))
		}
	}
	return nil
}

// number takes a whole number out of the parameters.
func number(params map[string]string, key string) (n int, ok bool, err error) {
	text, ok := params[key]
	delete(params, key)
	if !ok {
		return 0, false, nil
	}
	if n, err = strconv.Atoi(text); err != nil {
		return 0, false, paramError(key, "is no whole number")
	}
	return n, true, nil
}

func paramError(key, fix string) error {
	return fmt.Errorf("postgres: open: DSN: %s: %s", key, fix)
}

// sslMode takes the parameters of the TLS mode, and returns libpq's word for it, or
// no-verify, or "" if there are none.
func sslMode(params map[string]string, node bool) (string, error) {
	mode, ssl, compat := params["sslmode"], params["ssl"], params["uselibpqcompat"] == "true"
	delete(params, "sslmode")
	delete(params, "ssl")
	delete(params, "uselibpqcompat")
	if mode == "" {
		switch ssl {
		case "":
			if node && !compat && (params["sslrootcert"] != "" || params["sslcert"] != "" || params["sslkey"] != "") {
				mode = string(pq.SSLModeVerifyFull)
			}
		case "true", "1":
			mode = string(pq.SSLModeVerifyFull)
		case "0":
			mode = string(pq.SSLModeDisable)
		case "false":
			return "", paramError("ssl", "node-postgres takes false for true, as it is a text; set sslmode=disable in its place")
		case noVerify:
			mode = noVerify
		default:
			return "", paramError("ssl", "is not one of true, 1, 0, no-verify")
		}
	}
	if mode != "" && !slices.Contains(sslModes, mode) {
		return "", paramError("sslmode", "is not one of "+strings.Join(sslModes, ", "))
	}
	if node && !compat && slices.Contains([]string{"allow", "prefer", "require", "verify-ca"}, mode) {
		mode = string(pq.SSLModeVerifyFull)
	}
	return mode, nil
}
