//go:build unix

package redis_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/samesid/samesid/backends/redis"
	"github.com/samesid/samesid/internal/testserver"
)

// A server of another kind than Options.Mode says is refused, whichever of its nodes Open
// meets, and the error names the option.
func TestWrongMode(t *testing.T) {
	t.Parallel()
	cluster := testserver.StartCluster(t, 3)
	sentinels := testserver.StartSentinels(t, "")
	plain := sentinels.Master
	for _, c := range []struct {
		url  string
		opts redis.Options
		want string
	}{
		{sentinels.Other.URL, redis.Options{}, "redis: url: the server at " + sentinels.Other.Addr + " is a replica; give the address of its master, or Options.Mode with the Sentinels"},
		{"redis://" + sentinels.Addrs[0], redis.Options{}, "redis: Options.Mode: the server at " + sentinels.Addrs[0] + " is a Sentinel, which has no sessions; make it sentinel, with Options.MasterName"},
		{"redis-cluster://" + sentinels.Addrs[0], redis.Options{}, "redis: Options.Mode: the server at " + sentinels.Addrs[0] + " does not know the command CLUSTER"},
		{plain.URL, redis.Options{Mode: "cluster"}, "redis: Options.Mode: the server at " + plain.Addr + " is no node of a cluster; drop the mode"},
		{plain.URL + "," + sentinels.Other.Addr, redis.Options{}, " is no node of a cluster; drop the mode"},
		{"redis-sentinel://" + plain.Addr + "/mymaster", redis.Options{}, "redis: Options.Mode: the server at " + plain.Addr + " is no Sentinel; give the address of one, usually with port 26379"},
		{"redis-sentinel://" + sentinels.Addrs[0] + "/other", redis.Options{}, "redis: Options.MasterName: the Sentinel at " + sentinels.Addrs[0] + " does not watch a master of this name, but mymaster"},
		{"redis://" + cluster.Addrs[0] + "/1", redis.Options{}, "ERR SELECT is not allowed in cluster mode"},
	} {
		if _, err := redis.Open(t.Context(), c.url, c.opts); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %+v: %v; want %s", c.url, c.opts, err, c.want)
		}
	}
	for _, addr := range cluster.Addrs {
		for _, prefix := range []string{"sess:", "{sess}:"} {
			want := "redis: Options.Mode: the server at " + addr + " is a node of a Redis Cluster; make it cluster"
			if _, err := redis.Open(t.Context(), "redis://"+addr, redis.Options{Prefix: prefix}); err == nil || err.Error() != want {
				t.Errorf("%s, a node of a cluster, keys %s: %v", addr, prefix, err)
			}
		}
	}
	// A user that may not ask INFO.
	for _, addr := range cluster.Addrs {
		cluster.Do(addr, "ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all", "-info")
	}
	for _, addr := range cluster.Addrs {
		if _, err := redis.Open(t.Context(), "redis://app:pw@"+addr, redis.Options{}); err == nil || !strings.Contains(err.Error(), "is a node of a Redis Cluster; make it cluster") {
			t.Errorf("%s, a node of a cluster, without INFO: %v", addr, err)
		}
	}
	// The permissions that the guide lists are enough, and each is missed.
	permissions := guidePermissions(t)
	acl := func(rules string) {
		for _, addr := range append([]string{plain.Addr}, cluster.Addrs...) {
			c := dial(t, "redis://"+addr)
			if _, err := c.Do("ACL", redigo.Args{"SETUSER", "app"}.AddFlat(strings.Fields(rules))...); err != nil {
				t.Fatal(err)
			}
		}
	}
	acl("reset on >pw ~scs:session:* " + permissions + " +cluster|slots +cluster|nodes +asking +role +wait")
	byCluster, bySentinel := "redis-cluster://app:pw@"+cluster.Addrs[0], "redis-sentinel://app:pw@"+sentinels.Addrs[0]+"/mymaster"
	for _, url := range []string{byCluster, bySentinel} {
		s := open(t, url, redis.Options{WaitReplicas: 1})
		soon := time.Now().Add(time.Hour)
		for i := range 20 {
			token := fmt.Sprint(i)
			if _, swapped, err := s.Swap(t.Context(), token, nil, []byte("data"), soon); !swapped || err != nil {
				t.Errorf("Swap: %t, %v", swapped, err)
			}
			if _, _, _, err := s.FindExpiry(t.Context(), token); err != nil {
				t.Error(err)
			}
		}
		if n, err := s.Len(t.Context()); n != 20 || err != nil {
			t.Errorf("Len: %d, %v", n, err)
		}
		if err := s.Clear(t.Context()); err != nil {
			t.Error(err)
		}
	}
	for _, c := range []struct{ lacks, url, want string }{
		{"-asking", byCluster, "NOPERM the user may not run ASKING; allow it by +asking"},
		{"-cluster", byCluster, "NOPERM the user may not run CLUSTER SLOTS and CLUSTER NODES; allow them by +cluster|slots +cluster|nodes"},
		{"-role", bySentinel, "NOPERM"},
	} {
		acl(c.lacks)
		if _, err := redis.Open(t.Context(), c.url, redis.Options{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %s", c.lacks, err, c.want)
		}
		acl("+@all")
	}
}

// Open waits for a server that is not there yet, or still reads its data.
func TestOpenWaits(t *testing.T) {
	server := testserver.StartRedis(t)
	addr := server.Addr
	server.Stop()
	log := new(syncBuffer)
	var opts redis.Options
	want := "redis: open: context deadline exceeded while waiting for the server: dial tcp " + addr + ": connect: connection refused"
	testserver.InTime(t, func(ctx context.Context) error {
		log = new(syncBuffer)
		opts.Logger = slog.New(slog.NewTextHandler(log, nil))
		_, err := redis.Open(ctx, "redis://u:hunter2@"+addr, opts)
		if err == nil || err.Error() != want || !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("Open: %w; want %s", err, want)
		}
		return nil
	})
	if n := strings.Count(log.String(), "redis: the server is not ready; waiting for it"); n != 1 || strings.Contains(log.String(), "hunter2") {
		t.Errorf("%d lines in the log: %s", n, log.String())
	}
	opened := make(chan error)
	go func() {
		s, err := redis.Open(t.Context(), "redis://"+addr, opts)
		if err == nil {
			err = s.Close()
		}
		opened <- err
	}()
	testserver.Until(t, "Open's second try", func() bool { return strings.Count(log.String(), "waiting for it") >= 2 })
	server.Start()
	if err := <-opened; err != nil {
		t.Errorf("Open, of a server that starts meanwhile: %v", err)
	}

	for reply, want := range map[string]string{
		"-LOADING Redis is loading the dataset in memory":                                               "LOADING (the server is still reading its data from disk)",
		"-BUSY Redis is busy running a script":                                                          "BUSY (a script or a module keeps the server from answering)",
		"-NOREPLICAS Not enough good replicas to write.":                                                "NOREPLICAS (fewer replicas are connected",
		"-MISCONF Errors writing to the AOF file: No space left on device":                              "",
		"-ERR max number of clients reached":                                                            "",
		"-NOAUTH Authentication required.":                                                              "",
		"-ERR unknown command `GETEX`, with args beginning with: `scs:session:hunter2`, `hunter2`":      "",
		"-NOPERM User app has no permissions to access the 'scs:session:hunter2' key, but it is secret": "",
	} {
		fake := newFake(t, func(string) string { return reply + "\r\n" })
		testserver.InTime(t, func(ctx context.Context) error {
			fake.conns.Store(0)
			_, err := redis.Open(ctx, "redis://"+fake.addr, opts)
			if waited := errors.Is(err, context.DeadlineExceeded); err == nil || waited != (want != "") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
				return fmt.Errorf("%s: %w; want %q", reply, err, want)
			}
			if fake.conns.Load() < 2 && want != "" {
				return fmt.Errorf("%s: Open has not tried again", reply)
			}
			return nil
		})
	}
}

// fake is a server that answers what answer says.
type fake struct {
	addr  string
	conns atomic.Int64
}

func newFake(t *testing.T, answer func(command string) string) *fake {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{addr: l.Addr().String()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.conns.Add(1)
			wg.Go(func() {
				defer c.Close()
				buf := make([]byte, 1<<16)
				for {
					n, err := c.Read(buf)
					if err != nil {
						return
					}
					// A command begins with the number of its parts.
					for _, command := range strings.Split(string(buf[:n]), "*")[1:] {
						if _, err := io.WriteString(c, answer(command)); err != nil {
							return
						}
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return f
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// Idle connections that a server or a proxy has closed make no call fail: not even a write,
// which could not be repeated once it was sent.
func TestIdleConnections(t *testing.T) {
	for name, proxy := range map[string]bool{"redis-server --timeout": false, "HAProxy timeout client": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var server *testserver.Server
			var url string
			if proxy {
				server = testserver.StartRedis(t)
				url = testserver.StartHAProxy(t, server, "timeout client 500ms", "timeout server 500ms").URL
			} else {
				server = testserver.StartRedis(t, "--timeout", "1")
				url = server.URL
			}
			s := open(t, url, redis.Options{})
			soon := func() time.Time { return time.Now().Add(time.Hour) }
			calls := map[string]func(token string) error{
				"Swap": func(token string) error {
					_, swapped, err := s.Swap(t.Context(), token, nil, []byte("new"), soon())
					if err == nil && !swapped {
						return errors.New("refused")
					}
					return err
				},
				"Commit": func(token string) error { return s.CommitCtx(t.Context(), token, []byte("new"), soon()) },
				"Move": func(token string) error {
					_, _, err := s.Move(t.Context(), one(token, "old"), token+"-moved", []byte("new"), soon())
					return err
				},
				"FindTouch": func(token string) error { _, _, err := s.FindTouch(t.Context(), token, soon()); return err },
			}
			// A connection for each call, which all are idle afterwards.
			all := func(round int) {
				var wg sync.WaitGroup
				for name, call := range calls {
					for i := range 4 {
						wg.Go(func() {
							if err := call(fmt.Sprint(name, i, "-", round)); err != nil {
								t.Errorf("%s, round %d: %v", name, round, err)
							}
						})
					}
				}
				wg.Wait()
			}
			all(0)
			testserver.Until(t, "the end of the idle connections", func() bool {
				c, err := redigo.DialURL(server.URL)
				if err != nil {
					t.Fatal(err)
				}
				list, err := redigo.String(c.Do("CLIENT", "LIST"))
				c.Close()
				if err != nil {
					t.Fatal(err)
				}
				return strings.Count(list, "\n") == 1
			})
			all(1)
		})
	}
}

// An error says which of the two sides lacks TLS.
func TestTLSMismatch(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	newCert(t, dir, "ca", nil)
	newCert(t, dir, "server", []string{"ca", "sessions.example"})
	newCert(t, dir, "other", []string{"ca", "sessions.example"})
	file := func(name string) string { return filepath.Join(dir, name) }
	port := freePort(t)
	server := testserver.StartRedis(t, "--tls-port", port, "--tls-auth-clients", "no",
		"--tls-ca-cert-file", file("ca.pem"), "--tls-cert-file", file("server.pem"), "--tls-key-file", file("server.key"))
	tlsAddr := "127.0.0.1:" + port
	for url, want := range map[string]string{
		"redis://:hunter2@" + tlsAddr:      "redis: url: the server at " + tlsAddr + " wants TLS; make the scheme rediss://",
		"rediss://:hunter2@" + server.Addr: "redis: url: the server at " + server.Addr + " has no TLS on this port; make the scheme redis://, or give the port that has",
	} {
		if _, err := redis.Open(t.Context(), url, redis.Options{ConnectTimeout: 500 * time.Millisecond}); err == nil || err.Error() != want {
			t.Errorf("%s: %v; want %s", url, err, want)
		}
	}

	// A server whose certificate no CA has signed for its name.
	pin := func(name string) string { return fmt.Sprintf("%X", sha256.Sum256(readPEM(t, dir, name))) }
	colons := func(s string) string {
		var parts []string
		for i := 0; i < len(s); i += 2 {
			parts = append(parts, s[i:i+2])
		}
		return strings.Join(parts, ":")
	}
	var log syncBuffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	open(t, "rediss://"+tlsAddr, redis.Options{Logger: logger, TLS: redis.TLS{Fingerprint: colons(pin("server.pem"))}})
	open(t, "rediss://"+tlsAddr, redis.Options{Logger: logger, TLS: redis.TLS{Fingerprint: strings.ToLower(pin("server.pem"))}})
	if log.String() != "" {
		t.Errorf("a warning about a pinned certificate: %s", log.String())
	}
	_, err := redis.Open(t.Context(), "rediss://"+tlsAddr, redis.Options{TLS: redis.TLS{Fingerprint: pin("other.pem")}})
	if err == nil || !strings.Contains(err.Error(), "the server's certificate has the SHA-256 "+strings.ToLower(pin("server.pem"))+", which is not that of Options.TLS.Fingerprint") {
		t.Errorf("another certificate than the pinned one: %v", err)
	}
	open(t, "rediss://"+tlsAddr, redis.Options{Logger: logger, TLS: redis.TLS{InsecureSkipVerify: true}})
	if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "the server's certificate is not verified") {
		t.Errorf("no warning about a certificate that is not verified: %s", log.String())
	}
}

// The user and the password are asked for at each dial, and ConnMaxLifetime makes new ones
// count.
func TestCredentials(t *testing.T) {
	server := testserver.StartRedis(t)
	admin := dial(t, server.URL)
	set := func(password string) {
		t.Helper()
		if _, err := admin.Do("ACL", "SETUSER", "app", "reset", "on", ">"+password, "~*", "+@all"); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "password")
	write := func(password string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var token atomic.Value
	failing := errors.New("no token")
	for name, opts := range map[string]redis.Options{
		"PasswordFile": {PasswordFile: file},
		"Credentials": {Credentials: func(ctx context.Context) (string, string, error) {
			if ctx == nil || token.Load() == "" {
				return "", "", failing
			}
			return "app", token.Load().(string), nil
		}},
	} {
		set("first")
		write("first")
		token.Store("first")
		opts.ConnMaxLifetime = 20 * time.Millisecond
		url := server.URL
		if opts.PasswordFile != "" {
			url = "redis://app:@" + server.Addr
			url = strings.Replace(url, "app:@", "", 1)
			if _, err := admin.Do("ACL", "SETUSER", "default", "resetpass", ">first"); err != nil {
				t.Fatal(err)
			}
		}
		s := open(t, url, opts)
		if opts.PasswordFile != "" {
			if _, err := admin.Do("ACL", "SETUSER", "default", "resetpass", ">second"); err != nil {
				t.Fatal(err)
			}
		}
		set("second")
		// An open connection stays signed in, a new one needs the new password.
		var err error
		for err == nil {
			err = s.Ping(t.Context())
		}
		if !strings.Contains(err.Error(), "WRONGPASS") {
			t.Errorf("%s: with the old password: %v", name, err)
		}
		write("second")
		token.Store("second")
		if err := s.Ping(t.Context()); err != nil {
			t.Errorf("%s: with the new password: %v", name, err)
		}
		if opts.Credentials != nil {
			token.Store("")
			for err = nil; err == nil; {
				err = s.Ping(t.Context())
			}
			if !errors.Is(err, failing) {
				t.Errorf("Credentials that fail: %v", err)
			}
		}
	}
	if _, err := redis.Open(t.Context(), server.URL, redis.Options{PasswordFile: file + "x"}); err == nil || !strings.Contains(err.Error(), "redis: Options.PasswordFile: the file can't be read: ") {
		t.Errorf("without the file: %v", err)
	}
	write("")
	if _, err := redis.Open(t.Context(), server.URL, redis.Options{PasswordFile: file}); err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("with an empty file: %v", err)
	}
}

// guidePermissions returns the permissions for every server of docs/deployments.md.
func guidePermissions(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/deployments.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rules, found := strings.Cut(string(page), "ACL SETUSER app on >password ~sess:* ")
	rules, _, closed := strings.Cut(rules, "\n\n")
	if !found || !closed {
		t.Fatal("the guide lists no permissions")
	}
	return strings.Join(strings.Fields(rules), " ")
}
