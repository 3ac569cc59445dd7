package postgres

import (
	"fmt"
	"os/user"
	"slices"
	"strings"
	"testing"
)

// What Node's pg-connection-string 2.14 and libpq take is taken, with their meaning, or is
// an error that names the parameter and the fix.
func TestDSN(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	show := func(c connection) string {
		mode := string(c.SSLMode)
		if c.noVerify {
			mode = noVerify
		}
		hosts := []string{fmt.Sprint(c.Host, ":", c.Port)}
		for _, m := range c.Multi {
			hosts = append(hosts, fmt.Sprint(m.Host, ":", m.Port))
		}
		text := fmt.Sprintf("%s:%s@%s/%s %s", c.User, c.Password, strings.Join(hosts, ","), c.Database, mode)
		for _, k := range []struct{ name, value string }{
			{"app", c.ApplicationName}, {"options", c.Options}, {"tsa", string(c.TargetSessionAttrs)}, {"ca", c.SSLRootCert}, {"encoding", strings.TrimPrefix(c.ClientEncoding, "UTF8")},
		} {
			if k.value != "" {
				text += " " + k.name + "=" + k.value
			}
		}
		if c.ConnectTimeout > 0 {
			text += fmt.Sprint(" timeout=", c.ConnectTimeout)
		}
		if !c.keepAlive.Enable || c.keepAlive.Idle > 0 {
			text += fmt.Sprint(" keepalive=", c.keepAlive.Enable, c.keepAlive.Idle, c.keepAlive.Interval, c.keepAlive.Count)
		}
		var runtime []string
		for k, v := range c.Runtime {
			runtime = append(runtime, k+"="+v)
		}
		slices.Sort(runtime)
		return strings.Join(strings.Fields(text+" "+strings.Join(runtime, " ")), " ")
	}
	const unreadable = "postgres: open: the DSN is neither a URL, postgres://user:password@host:port/database, nor key=value pairs; " +
		"special characters of a password must be percent-encoded in the one and quoted in the other"
	for dsn, want := range map[string]string{
		// Hosts, names and sockets.
		"postgres://u:p@h/d":                     "u:p@h:5432/d",
		"postgresql://u:p%40%2F%3A@h:6543/d%20b": "u:p@/:@h:6543/d b",
		"postgres://u:a@b@h/d":                   "u:a@b@h:5432/d",
		"postgres://u@h":                         "u:@h:5432/",
		"postgres://":                            me.Username + ":@localhost:5432/",
		"postgres://u@[::1]:6543/d":              "u:@::1:6543/d",
		"postgres://u@a:1,b:2/d?target_session_attrs=read-write": "u:@a:1,b:2/d tsa=read-write",
		"postgres://u@a,b:2/d":                         "u:@a:5432,b:2/d",
		"postgres://u@a,b/d":                           "u:@a:5432,b:5432/d",
		"postgres://u@%2Fvar%2Frun/d":                  "u:@/var/run:5432/d disable",
		"postgres://u@/d?host=/var/run":                "u:@/var/run:5432/d disable",
		"postgres:///d?host=/var/run&port=6543&user=u": "u:@/var/run:6543/d disable",
		"postgres://u:p@h/d?user=v&password=q":         "v:q@h:5432/d",
		"socket:/var/run?db=d&encoding=utf8":           me.Username + ":@/var/run:5432/d disable",
		"socket://u:p@/var/run?db=d":                   "u:p@/var/run:5432/d disable",
		"/var/run d":                                   me.Username + ":@/var/run:5432/d disable",
		"host=a,b port=1,2 user=u dbname='my d'":       "u:@a:1,b:2/my d",
		`user = u  password='it\'s \\' host=h`:         `u:it's \@h:5432/`,
		"user=u password= host=h":                      "u:host=h@localhost:5432/",

		// TLS, in Node's meaning.
		"postgres://u@h/d?sslmode=disable":                            "u:@h:5432/d disable",
		"postgres://u@h/d?sslmode=allow":                              "u:@h:5432/d verify-full",
		"postgres://u@h/d?sslmode=prefer":                             "u:@h:5432/d verify-full",
		"postgres://u@h/d?sslmode=require":                            "u:@h:5432/d verify-full",
		"postgres://u@h/d?sslmode=verify-ca&sslrootcert=f":            "u:@h:5432/d verify-full ca=f",
		"postgres://u@h/d?sslmode=verify-full":                        "u:@h:5432/d verify-full",
		"postgres://u@h/d?sslmode=no-verify":                          "u:@h:5432/d no-verify",
		"postgres://u@h/d?sslrootcert=f":                              "u:@h:5432/d verify-full ca=f",
		"postgres://u@h/d?ssl=true":                                   "u:@h:5432/d verify-full",
		"postgres://u@h/d?ssl=1":                                      "u:@h:5432/d verify-full",
		"postgres://u@h/d?ssl=0":                                      "u:@h:5432/d disable",
		"postgres://u@h/d?ssl=false":                                  "postgres: open: DSN: ssl: node-postgres takes false for true, as it is a text; set sslmode=disable in its place",
		"postgres://u@h/d?ssl=no-verify":                              "u:@h:5432/d no-verify",
		"postgres://u@h/d?ssl=0&sslmode=require":                      "u:@h:5432/d verify-full",
		"postgres://u@h/d?ssl=maybe":                                  "postgres: open: DSN: ssl: is not one of true, 1, 0, no-verify",
		"postgres://u@h/d?sslmode=require&sslmode=disable":            "u:@h:5432/d disable",
		"postgres://u@h/d?sslmode=require&channel_binding=require":    "u:@h:5432/d verify-full",
		"postgres://u@h/d?sslmode=verify-full&channel_binding=prefer": "u:@h:5432/d verify-full",
		"postgres://u@h/d?channel_binding=require&sslmode=no-verify":  "postgres: open: DSN: channel_binding: the driver has none, and a verified certificate does the same: set sslmode=verify-full",
		"postgres://u@h/d?channel_binding=maybe":                      "postgres: open: DSN: channel_binding: the value is not one of disable, prefer",
		"postgres://u@h/d?sslmode=on":                                 "postgres: open: DSN: sslmode: is not one of disable, allow, prefer, require, verify-ca, verify-full, no-verify",
		"postgres://u@h/d?sslmode=require&sslaccept=strict":           "u:@h:5432/d verify-full",
		"postgres://u@h/d?sslaccept=accept_invalid_certs":             "postgres: open: DSN: sslaccept: set sslmode=no-verify in its place, or give the CA as TLS.CAFile",
		// In libpq's.
		"postgres://u@h/d?uselibpqcompat=true&sslmode=require":                 "u:@h:5432/d require",
		"postgres://u@h/d?uselibpqcompat=true&sslmode=prefer":                  "u:@h:5432/d prefer",
		"postgres://u@h/d?uselibpqcompat=true&sslmode=verify-ca&sslrootcert=f": "u:@h:5432/d verify-ca ca=f",
		"host=h user=u sslmode=allow":                                          "u:@h:5432/ allow",
		"host=h user=u sslmode=require":                                        "u:@h:5432/ require",
		"host=h user=u sslmode=verify-ca":                                      "u:@h:5432/ verify-ca",
		"host=h user=u sslmode=no-verify":                                      "u:@h:5432/ no-verify",

		// Prisma's, and those of pools.
		"postgres://u@h/d?schema=public":                                              "u:@h:5432/d",
		"postgres://u@h/d?schema=app":                                                 "postgres: open: DSN: schema: node-postgres ignores it; set Options.SchemaName, or drop it",
		"postgres://u@h/d?pgbouncer=true&connection_limit=1":                          "u:@h:5432/d",
		"postgres://u@h/d?max=5":                                                      "postgres: open: DSN: max: set Options.MaxConns in its place",
		"postgres://u@h/d?query_timeout=5":                                            "postgres: open: DSN: query_timeout: set Options.Timeout in its place",
		"postgres://u@h/d?keepalives=1":                                               "u:@h:5432/d",
		"postgres://u@h/d?keepalives=0":                                               "u:@h:5432/d keepalive=false 0s 0s 0",
		"postgres://u@h/d?keepalives_idle=5&keepalives_interval=6&keepalives_count=7": "u:@h:5432/d keepalive=true 5s 6s 7",
		"postgres://u@h/d?keepalives=yes":                                             "postgres: open: DSN: keepalives: is no whole number",

		// The server's.
		"postgres://u@h/d?application_name=a%20b&connect_timeout=7":           "u:@h:5432/d app=a b timeout=7s",
		"postgres://u@h/d?options=-c%20search_path%3Dapp":                     "u:@h:5432/d options=-c search_path=app",
		"postgres://u@h/d?options=project%3Dname":                             "u:@h:5432/d options=project=name",
		"postgres://u@h/d?statement_timeout=1000&search_path=a,b":             "u:@h:5432/d search_path=a,b statement_timeout=1000",
		"postgres://u@h/d?target_session_attrs=primary":                       "u:@h:5432/d tsa=primary",
		"postgres://u@h/d?target_session_attrs=any&load_balance_hosts=random": "u:@h:5432/d tsa=any",
		"postgres://u@h/d?client_encoding=utf-8":                              "u:@h:5432/d",
		"postgres://u@h/d?client_encoding=SJIS":                               `postgres: open: DSN: unsupported client_encoding "SJIS"`,
		"postgres://u@h/d?gssencmode=disable&sslcompression=0":                "u:@h:5432/d",
		"postgres://u@h/d?gssencmode=require":                                 "postgres: open: DSN: gssencmode: the driver has no encryption by GSS; drop it, and set sslmode=verify-full",
		"postgres://u@h/d?replication=database":                               "postgres: open: DSN: replication: sessions need a connection for statements; drop it",
		"postgres://u@h/d?sslcrl=f":                                           "postgres: open: DSN: sslcrl: the driver reads no revocation lists; drop it",
		"postgres://u@h/d?connect_timeout=&sslmode=":                          "u:@h:5432/d",

		// What may be a password that is not escaped is not quoted.
		"postgres://u:hunter2/x@h/d":             unreadable,
		"postgres://u:hunter2?x@h/d":             unreadable,
		"postgres://u:1?hunter2@h/d":             unreadable,
		"postgres://u:hunter2#x@h/d":             unreadable,
		"postgres://u:1234#hunter2@h/d":          unreadable,
		"postgres://u:1234/hunter2@h/d":          unreadable,
		"host=h password=a hunter-2=b":           unreadable,
		"postgres://u:hunter2%zz@h/d":            unreadable,
		"postgres://u:p@h:hunter2/d":             unreadable,
		"host=h password=x hunter2 user=u":       unreadable,
		"host=h password='hunter2":               unreadable,
		"host=h password=hunter2\\":              unreadable,
		"hunter2":                                unreadable,
		"postgres://u:hunter2@h/d?sslmode=x\x00": unreadable,
	} {
		got := ""
		c, err := parseDSN(dsn)
		if err != nil {
			got = err.Error()
		} else {
			got = show(c)
		}
		if got != want {
			t.Errorf("%s\ngives %s\nwant  %s", dsn, got, want)
		}
	}
}
