package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

func TestParseURL(t *testing.T) {
	tcp := func(addrs ...string) target { return target{network: "tcp", addrs: addrs} }
	with := func(t target, change func(*target)) target { change(&t); return t }
	for url, want := range map[string]target{
		"redis://":                     tcp(),
		"redis://h":                    tcp("h:6379"),
		"redis://h:1/":                 tcp("h:1"),
		"redis://[::1]:7/3":            with(tcp("[::1]:7"), func(t *target) { t.database = 3 }),
		"redis://:p@h":                 with(tcp("h:6379"), func(t *target) { t.password = "p" }),
		"redis://p@h":                  with(tcp("h:6379"), func(t *target) { t.password = "p" }),
		"redis://u:p%3A%2F%40%23@h/15": with(tcp("h:6379"), func(t *target) { t.username, t.password, t.database = "u", "p:/@#", 15 }),
		"valkey://u:p@h":               with(tcp("h:6379"), func(t *target) { t.username, t.password = "u", "p" }),
		"rediss://h:2":                 with(tcp("h:2"), func(t *target) { t.tls = true }),
		"valkeys://h":                  with(tcp("h:6379"), func(t *target) { t.tls = true }),
		"unix:///tmp/r.sock":           {mode: "single", network: "unix", addrs: []string{"/tmp/r.sock"}},
		"redis+unix://u:p@/tmp/a%20b.sock?db=4": {
			mode: "single", network: "unix", addrs: []string{"/tmp/a b.sock"}, username: "u", password: "p", database: 4,
		},
		"redis://h?db=1":            with(tcp("h:6379"), func(t *target) { t.database = 1 }),
		"redis://h?family=0":        tcp("h:6379"),
		"redis://h/2?family=6":      with(tcp("h:6379"), func(t *target) { t.network, t.database = "tcp6", 2 }),
		"redis://h?family=4":        with(tcp("h:6379"), func(t *target) { t.network = "tcp4" }),
		"redis://u:p@a:1,b,[::1]:3": with(tcp("a:1", "b:6379", "[::1]:3"), func(t *target) { t.username, t.password = "u", "p" }),
		"redis-cluster://a,b:2":     with(tcp("a:6379", "b:2"), func(t *target) { t.mode = "cluster" }),
		"rediss+cluster://a":        with(tcp("a:6379"), func(t *target) { t.mode, t.tls = "cluster", true }),
		"redis-sentinel://u:p@a,b:2/3#mymaster": with(tcp("a:26379", "b:2"), func(t *target) {
			t.mode, t.username, t.password, t.database, t.master = "sentinel", "u", "p", 3, "mymaster"
		}),
		"redis+sentinel://a/mymaster/3": with(tcp("a:26379"), func(t *target) { t.mode, t.database, t.master = "sentinel", 3, "mymaster" }),
		"rediss-sentinel://a/mymaster":  with(tcp("a:26379"), func(t *target) { t.mode, t.tls, t.master = "sentinel", true, "mymaster" }),
	} {
		got, err := parseURL(url)
		if !reflect.DeepEqual(got, want) || err != nil {
			t.Errorf("%s: %+v, %v; want %+v", url, got, err, want)
		}
	}

	for url, want := range map[string]string{
		"":                                 "begin with redis://",
		"localhost:6379":                   "begin with redis://",
		"http://u:hunter2@h":               "begin with redis://",
		"redis:hunter2":                    "slashes",
		"redis://u:hunter2/x@h":            "percent-encoded",
		"redis://u:%zzhunter2@h":           "percent-encoded",
		"redis://a,hunter2 x":              "percent-encoded",
		"redis://u:1/hunter2@h":            "number",
		"redis://h/-1":                     "number",
		"redis://h/0/hunter2":              "number",
		"redis-sentinel://h/m/hunter2":     "number",
		"redis://u:1?hunter2@h":            "parameters",
		"redis://h?db=hunter2":             "number",
		"redis://h/1?db=1":                 "parameters",
		"redis://h?family=hunter2":         "family= with something else than 0, 4 or 6",
		"redis://h?ssl=true":               "the parameter ssl, which is another client's: make the scheme rediss://",
		"redis://h?tls=hunter2":            "the parameter tls",
		"rediss://h?ssl_cert_reqs=none":    "the parameter ssl_cert_reqs, which is another client's: give Options.TLS",
		"redis://h?password=hunter2":       "the parameter password, which is another client's: put the password in front of the host",
		"redis://h?hunter2=1&keyPrefix=hu": "the parameter keyPrefix",
		"unix:///r.sock?db=1&hunter2=1":    "parameters",
		"unix:///r.sock?db=hunter2":        "number",
		"unix:///r.sock?family=4":          "parameters",
		"redis://u:1#hunter2@h":            "#",
		"redis://hunter2:@h":               "empty password",
		"unix://u:hunter2@host/tmp/sock":   "no host",
		"unix://":                          "path of a socket",
	} {
		_, err := parseURL(url)
		if err == nil || !strings.HasPrefix(err.Error(), "redis: the URL ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q in it", url, err, want)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the password is in %q", url, err)
		}
	}
}

// The URL and the options together say where the sessions are, or an error which of them
// contradict each other.
func TestResolve(t *testing.T) {
	for _, c := range []struct {
		url   string
		o     Options
		mode  string
		addrs []string
	}{
		{"redis://", Options{}, "single", []string{"localhost:6379"}},
		{"redis-sentinel:///m", Options{}, "sentinel", []string{"localhost:26379"}},
		{"redis://a:1,b", Options{}, "cluster", []string{"a:1", "b:6379"}},
		{"redis://a", Options{Mode: "cluster"}, "cluster", []string{"a:6379"}},
		{"redis-cluster://a", Options{Mode: "cluster"}, "cluster", []string{"a:6379"}},
		{"", Options{Addresses: []string{"a"}}, "single", []string{"a:6379"}},
		{"", Options{Addresses: []string{"a", "b:1"}, Mode: "cluster"}, "cluster", []string{"a:6379", "b:1"}},
		{"redis://u:p@", Options{Addresses: []string{"a", "[::1]:2"}, Mode: "sentinel", MasterName: "m"}, "sentinel", []string{"a:26379", "[::1]:2"}},
	} {
		got, err := resolve(c.url, c.o)
		if got.mode != c.mode || !slices.Equal(got.addrs, c.addrs) || err != nil {
			t.Errorf("%s %+v: %s, %q, %v", c.url, c.o, got.mode, got.addrs, err)
		}
	}
	token := func(context.Context) (string, string, error) { return "", "", nil }
	for _, c := range []struct {
		url  string
		o    Options
		want string
	}{
		{"", Options{}, "the URL must begin with redis://"},
		{"redis://a,b", Options{Mode: "single"}, "Options.Mode and url: a single server has one address, and there are 2"},
		{"", Options{Addresses: []string{"a", "b"}}, "Options.Addresses and Options.Mode: 2 servers can be those of a cluster, or Sentinels"},
		{"redis://h", Options{Addresses: []string{"a"}}, "Options.Addresses and url: both have hosts"},
		{"", Options{Addresses: []string{"a:b"}}, `Options.Addresses: number 1 is not host:port`},
		{"", Options{Addresses: []string{"redis://a"}}, `Options.Addresses: number 1 is not host:port`},
		{"", Options{Addresses: []string{"a:1", "redis://:password@b"}}, `Options.Addresses: number 2 is not host:port; user and password belong in the url`},
		{"redis-sentinel://a/m", Options{Mode: "cluster"}, "Options.Mode and url: the first says cluster, the second sentinel"},
		{"redis://a/1", Options{Mode: "cluster"}, "url: a cluster has no database but 0"},
		{"redis-cluster://a/1", Options{}, "url: a cluster has no database but 0"},
		{"redis://a", Options{Mode: "sentinel"}, "Options.MasterName: is the name by which the Sentinels know the master"},
		{"redis-sentinel://a/m", Options{MasterName: "n"}, "Options.MasterName and url: the two have different names"},
		{"redis://a", Options{MasterName: "n"}, "Options.MasterName and Options.Mode: there is no Sentinel"},
		{"redis://a", Options{SentinelPassword: "hunter2"}, "Options.SentinelPassword and Options.Mode: there is no Sentinel"},
		{"redis://a", Options{SentinelUsername: "n"}, "Options.SentinelUsername and Options.Mode: there is no Sentinel"},
		{"redis://:p@a", Options{PasswordFile: "f"}, "Options.PasswordFile and url: both have a password"},
		{"redis://:p@a", Options{Credentials: token}, "Options.Credentials and Options.PasswordFile and url: the first gives user and password"},
		{"redis://a", Options{Credentials: token, PasswordFile: "f"}, "Options.Credentials and Options.PasswordFile and url: the first gives user and password"},
		{"redis://a", Options{TLS: TLS{InsecureSkipVerify: true}}, "Options.TLS.InsecureSkipVerify and url: a connection of redis:// has no TLS"},
		{"redis-sentinel://a/m", Options{TLS: TLS{Fingerprint: "x"}}, "Options.TLS.Fingerprint and url: a connection of redis-sentinel:// has no TLS"},
		{"", Options{Addresses: []string{"a"}, TLS: TLS{CAFile: "f"}}, "Options.TLS and url: give the second as rediss://"},
	} {
		_, err := resolve(c.url, c.o)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %+v: %v; want %q", c.url, c.o, err, c.want)
		} else if strings.Contains(err.Error(), "hunter2") || strings.Contains(fmt.Sprintf("%v %+v", c.o, c.o), "hunter2") {
			t.Errorf("%s: the password is shown: %v, %+v", c.url, err, c.o)
		}
	}
}

// The slots are those that Redis computes.
func TestSlot(t *testing.T) {
	for key, want := range map[string]int{
		"": 0, "123456789": 12739, "foo": 12182, "{foo}bar": 12182, "a{foo}b{bar}": 12182,
		"foo{}{bar}": 8363, "foo{{bar}}zap": 4015,
	} {
		if got := slot(key); got != want {
			t.Errorf("%q: %d, want %d", key, got, want)
		}
	}
}

// An error reply may quote what the server was sent.
func TestScrub(t *testing.T) {
	for said, want := range map[string]string{
		"ERR unknown command 'GETEX', with args beginning with: 'sess:secret-id' ":          "ERR unknown command 'GETEX' (Redis 6.2 or later, or Valkey, is required)",
		"ERR unknown command `GETEX`, with args beginning with: `sess:secret-id`, ":         "ERR unknown command 'GETEX' (Redis 6.2 or later, or Valkey, is required)",
		"ERR unknown command 'secret-id'":                                                   "ERR unknown command (Redis 6.2 or later, or Valkey, is required)",
		"NOPERM User app has no permissions to access the 'sess:secret-id' key":             "NOPERM (the user lacks a permission)",
		"ERR bad argument 'se'cret-id' here":                                                "ERR bad argument …",
		"ERR Error running script (call to f_1): @user_script:2: secret-id":                 "ERR Error running script",
		"ERR Error running script (call to f_1): @user_script: 7: -OOM command not allowed": "OOM (the server has reached its maxmemory, and evicts too little)",
		"MOVED 3999 127.0.0.1:6381":                                                         "MOVED (the server is a node of a cluster; give Options.Mode cluster, in a file store.mode)",
		"LOADING Redis is loading the dataset in memory":                                    "LOADING (the server is still reading its data from disk)",
		"ERR max number of clients reached":                                                 "ERR max number of clients reached",
	} {
		if got := scrub(redigo.Error(said)).Error(); got != want {
			t.Errorf("%s\ngives %s\nwant  %s", said, got, want)
		}
	}
}

func TestTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			left         time.Duration
			scs, connect int64
		}{
			{-time.Hour, 0, 0},
			{0, 0, 0},
			{1, 1, 1000},
			{time.Millisecond, 1, 1000},
			{time.Millisecond + 1, 2, 1000},
			{time.Second, 1000, 1000},
			{time.Second + 1, 1001, 2000},
			{90*time.Minute + 3*time.Millisecond, 5400003, 5401000},
		} {
			expiry := time.Now().Add(c.left)
			for step, want := range map[time.Duration]int64{time.Millisecond: c.scs, time.Second: c.connect} {
				if got := (&Store{step: step}).ttl(expiry); got != want {
					t.Errorf("%v left, in steps of %v: %d, want %d", c.left, step, got, want)
				}
			}
		}
		if got := (&Store{step: time.Second}).ttl(time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)); got < 250*365*24*3600*1000 {
			t.Errorf("the year 9999 is %d ms away", got)
		}
	})
}

// A store that is closed, as a node of a cluster is after a failover, ends the calls that
// wait for a connection with an error, also when their contexts end at that moment.
func TestCloseBesideWaitingCalls(t *testing.T) {
	for range 100 {
		opts, err := Options{MaxConns: 1}.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		s := newStore(opts)
		n := newNode("", opts, func(context.Context) (redigo.Conn, error) { return idleConn{}, nil })
		held, release := make(chan struct{}), make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			_, _ = s.try(context.Background(), n, false, false, func(conn) (any, error) {
				close(held)
				<-release
				return nil, nil
			})
		})
		<-held
		ctx, cancel := context.WithCancel(t.Context())
		for range 8 {
			wg.Go(func() {
				if _, err := s.try(ctx, n, false, false, func(conn) (any, error) { return nil, nil }); err == nil {
					t.Error("a call got a connection that is in use")
				}
			})
		}
		runtime.Gosched()
		n.pool.Close()
		cancel()
		close(release)
		wg.Wait()
	}
}

// idleConn is a connection that answers nothing.
type idleConn struct{ redigo.Conn }

func (idleConn) Close() error                                           { return nil }
func (idleConn) Err() error                                             { return nil }
func (idleConn) Do(string, ...any) (any, error)                         { return nil, nil }
func (idleConn) DoContext(context.Context, string, ...any) (any, error) { return nil, nil }

// Sentinels that accept connections and say nothing cost a call no more than its deadline.
func TestSilentSentinels(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := &sentinels{master: "m", addrs: []string{l.Addr().String()}, limit: time.Hour}
	s.dial = func(ctx context.Context, addr string) (redigo.Conn, error) {
		return redigo.DialContext(ctx, "tcp", addr)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	found := make(chan error, 1)
	go func() { _, err := s.find(ctx); found <- err }()
	select {
	case err := <-found:
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("find: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("find waits longer than its context")
	}
}

// A panic of what the caller gave, such as Credentials, is that of the call alone.
func TestPanicWhileDialling(t *testing.T) { synctest.Test(t, testPanicWhileDialling) }

func testPanicWhileDialling(t *testing.T) {
	opts, err := Options{MaxConns: 1}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	panics := true
	s := newStore(opts)
	s.single = newNode("", opts, func(context.Context) (redigo.Conn, error) {
		if panics {
			panic("no credentials")
		}
		return idleConn{}, nil
	})
	find := func() (p any) {
		defer func() { p = recover() }()
		_, _, _ = s.FindCtx(t.Context(), "a")
		return nil
	}
	if p := find(); p != "no credentials" {
		t.Errorf("alone, the panic is %v", p)
	}
	began, _ := s.single.shared.Enter()
	sent := make(chan any)
	go func() { sent <- find() }()
	synctest.Wait()
	s.single.shared.Leave(began, false)
	if p := fmt.Sprint(<-sent); !strings.Contains(p, "no credentials") {
		t.Errorf("in a batch, the panic is %v", p)
	}
	synctest.Wait() // until the batch has ended; else the next call can be in another one
	panics = false
	if p := find(); p != nil {
		t.Errorf("a call after them panics: %v", p)
	}
	if len(s.single.free) != 0 {
		t.Error("the place of a connection that was not made is taken")
	}
}
