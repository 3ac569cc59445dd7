package backends_test

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/samesid/samesid/backends"
	"github.com/samesid/samesid/backends/memory"
	"github.com/samesid/samesid/backends/postgres"
	"github.com/samesid/samesid/backends/redis"
	"github.com/samesid/samesid/internal/testserver"
)

func TestOpen(t *testing.T) {
	for name, test := range map[string]struct {
		config func(*testing.T) backends.Config
		is     func(backends.Store) bool
	}{
		"nothing": {
			func(*testing.T) backends.Config { return backends.Config{} },
			func(s backends.Store) bool { _, ok := s.(*memory.Store); return ok },
		},
		"memory": {
			func(*testing.T) backends.Config {
				return backends.Config{URL: "memory://", MaxSessions: 5, CleanupInterval: -1}
			},
			func(s backends.Store) bool { _, ok := s.(*memory.Store); return ok },
		},
		"redis": {
			func(t *testing.T) backends.Config {
				return backends.Config{URL: testserver.Redis(t), Prefix: testserver.Prefix(t), MaxConns: 2, MaxIdleConns: 1, Timeout: time.Minute}
			},
			func(s backends.Store) bool { _, ok := s.(*redis.Store); return ok },
		},
		"postgres": {
			func(t *testing.T) backends.Config {
				dsn, schema := testserver.Schema(t)
				return backends.Config{
					Type: backends.Postgres, URL: dsn, Layout: "connect-session-knex", CreateTable: true,
					SchemaName: schema, TableName: "Web", SIDFieldName: "id", CleanupInterval: time.Hour, MaxConns: 2,
				}
			},
			func(s backends.Store) bool { _, ok := s.(*postgres.Store); return ok },
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := test.config(t)
			s, err := backends.Open(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if !test.is(s) {
				t.Errorf("it is a %T", s)
			}
			j, ok := s.(interface{ JSONRecords() bool })
			if is := ok && j.JSONRecords(); is != c.JSONRecords() {
				t.Errorf("the Config says %v of JSON records and the store %v", c.JSONRecords(), is)
			}
			// A record that its layout can hold.
			if err := s.CommitCtx(t.Context(), "token", []byte(`{"cookie":{}}`), time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			if n, err := s.Len(t.Context()); n != 1 || err != nil {
				t.Errorf("%d sessions, %v", n, err)
			}
			if err := s.Clear(t.Context()); err != nil {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// The bounds in a Config reach the store.
func TestOpenBounds(t *testing.T) {
	s, err := backends.Open(t.Context(), backends.Config{MaxSessions: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.CommitCtx(t.Context(), "a", nil, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := s.CommitCtx(t.Context(), "b", nil, time.Now().Add(time.Hour)); !errors.Is(err, memory.ErrFull) {
		t.Errorf("the second of at most one session: %v", err)
	}
}

func TestOpenFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	l.Close()
	for _, url := range []string{"redis://u:hunter2@" + nobody, "postgres://u:hunter2@" + nobody + "/d?sslmode=disable"} {
		s, err := backends.Open(t.Context(), backends.Config{URL: url})
		if s != nil {
			t.Errorf("a store that is not open: %T", s)
		}
		if !errors.Is(err, syscall.ECONNREFUSED) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("got %v", err)
		}
	}
	if _, err := backends.Open(t.Context(), backends.Config{Prefix: "x"}); err == nil {
		t.Error("a Config that Validate refuses is opened")
	}
}

func TestValidate(t *testing.T) {
	const (
		redisURL    = "redis://u:hunter2@localhost"
		postgresURL = "postgres://u:hunter2@localhost"
	)
	unused := func(field, kind, instead string) string {
		return field + " and Config.URL: a " + kind + " store has no use for the first; drop it, or use " + instead
	}
	for _, test := range []struct {
		config backends.Config
		want   string // without "backends: Config."; "" for none
	}{
		{backends.Config{}, ""},
		{backends.Config{URL: "memory://", MaxSessions: -1, CleanupInterval: -1}, ""},
		{backends.Config{URL: "unix:///run/redis.sock", Layout: "connect-redis"}, ""},
		{backends.Config{URL: "valkeys://localhost", TLS: backends.TLS{CAFile: "a", CertFile: "b", KeyFile: "c", ServerName: "d"}}, ""},
		{backends.Config{URL: "postgresql://localhost", SSLMode: "disable", CleanupInterval: -1, ConnMaxLifetime: 1}, ""},
		{backends.Config{Type: backends.Postgres}, ""},
		{backends.Config{Type: backends.Postgres, URL: "host=localhost password=x://y"}, ""},

		{backends.Config{Type: "mysql"}, `Type: "mysql" is not a store; use memory, redis or postgres`},
		{backends.Config{URL: "hunter2"}, "URL: does not begin with redis://, rediss://, unix://, postgres:// or memory://, so it names no store; mend it, or give Config.Type"},
		{backends.Config{URL: "redis"}, "URL: does not begin with redis://, rediss://, unix://, postgres:// or memory://, so it names no store; mend it, or give Config.Type"},
		{backends.Config{Type: backends.Redis, URL: postgresURL}, "Type and Config.URL: the first says redis, the second postgres; change one of the two"},
		{backends.Config{Type: backends.Memory, URL: "hunter2"}, "Type and Config.URL: a memory store has no server; drop the second, or say in the first which store it is for"},
		{backends.Config{URL: "memory://hunter2"}, "URL: nothing can follow memory://"},
		{backends.Config{Type: backends.Redis}, "URL: a redis store needs one, such as redis://localhost:6379/0"},

		{backends.Config{Prefix: "x"}, "Prefix: the store is memory, as neither Config.Type nor Config.URL says otherwise, and has no use for it; drop it, or give the Config.URL of a redis server"},
		{backends.Config{Type: backends.Postgres, Prefix: "x"}, "Prefix and Config.Type: a postgres store has no use for the first; drop it, or use redis"},
		{backends.Config{URL: "memory://", Layout: "scs"}, unused("Layout", "memory", "redis or postgres")},
		{backends.Config{URL: postgresURL, Prefix: "x"}, unused("Prefix", "postgres", "redis")},
		{backends.Config{URL: postgresURL, ScanCount: 1}, unused("ScanCount", "postgres", "redis")},
		{backends.Config{URL: redisURL, SchemaName: "x"}, unused("SchemaName", "redis", "postgres")},
		{backends.Config{URL: redisURL, TableName: "x"}, unused("TableName", "redis", "postgres")},
		{backends.Config{URL: redisURL, SIDFieldName: "x"}, unused("SIDFieldName", "redis", "postgres")},
		{backends.Config{URL: redisURL, CreateTable: true}, unused("CreateTable", "redis", "postgres")},
		{backends.Config{URL: redisURL, MaxSessions: 1}, unused("MaxSessions", "redis", "memory")},
		{backends.Config{URL: redisURL, CleanupInterval: 1}, unused("CleanupInterval", "redis", "memory or postgres")},
		{backends.Config{URL: "memory://", MaxConns: 1}, unused("MaxConns", "memory", "redis or postgres")},
		{backends.Config{URL: "memory://", MaxIdleConns: 1}, unused("MaxIdleConns", "memory", "redis or postgres")},
		{backends.Config{URL: "memory://", ConnMaxIdleTime: 1}, unused("ConnMaxIdleTime", "memory", "redis or postgres")},
		{backends.Config{URL: redisURL, ConnMaxLifetime: 1}, unused("ConnMaxLifetime", "redis", "postgres")},
		{backends.Config{URL: "memory://", ConnectTimeout: 1}, unused("ConnectTimeout", "memory", "redis or postgres")},
		{backends.Config{URL: "memory://", Timeout: 1}, unused("Timeout", "memory", "redis or postgres")},
		{backends.Config{URL: redisURL, SSLMode: "require"}, unused("SSLMode", "redis", "postgres")},
		{backends.Config{URL: "memory://", TLS: backends.TLS{CAFile: "x"}}, unused("TLS.CAFile", "memory", "redis or postgres")},
		{backends.Config{URL: "memory://", TLS: backends.TLS{CertFile: "x"}}, unused("TLS.CertFile", "memory", "redis or postgres")},
		{backends.Config{URL: "memory://", TLS: backends.TLS{KeyFile: "x"}}, unused("TLS.KeyFile", "memory", "redis or postgres")},
		{backends.Config{URL: postgresURL, TLS: backends.TLS{ServerName: "x"}}, unused("TLS.ServerName", "postgres", "redis")},

		{backends.Config{URL: redisURL, Layout: "connect-mongo"}, `Layout: "connect-mongo" is unknown; use connect-redis or scs`},
		{backends.Config{URL: redisURL, Layout: "connect-pg-simple"}, "Layout and Config.URL: connect-pg-simple is for postgres and the store is redis, where it can be connect-redis or scs; change one of the two"},
		{backends.Config{Type: backends.Postgres, Layout: "connect-redis"}, "Layout and Config.Type: connect-redis is for redis and the store is postgres, where it can be connect-pg-simple, connect-session-knex or scs; change one of the two"},
		{backends.Config{URL: postgresURL, SIDFieldName: "id"}, "SIDFieldName and Config.Layout: only connect-session-knex lets its column be renamed; drop the first or change the second"},
		{backends.Config{URL: redisURL, ScanCount: -1}, "ScanCount: is negative; 0 is the default"},
		{backends.Config{URL: redisURL, MaxConns: -1}, "MaxConns: is negative; 0 is the default\nbackends: Config.MaxIdleConns and Config.MaxConns: no more connections can stay open (0) than there may be (-1); lower the first or raise the second"},
		{backends.Config{URL: redisURL, MaxIdleConns: -1}, "MaxIdleConns: is negative; 0 is the default"},
		{backends.Config{URL: redisURL, ConnMaxIdleTime: -1}, "ConnMaxIdleTime: is negative; 0 is the default"},
		{backends.Config{URL: postgresURL, ConnMaxLifetime: -1}, "ConnMaxLifetime: is negative; 0 is the default"},
		{backends.Config{URL: redisURL, ConnectTimeout: -1}, "ConnectTimeout: is negative; 0 is the default"},
		{backends.Config{URL: redisURL, Timeout: -1}, "Timeout: is negative; 0 is the default"},
		{backends.Config{URL: redisURL, MaxIdleConns: 1}, "MaxIdleConns and Config.MaxConns: the first needs the second; give both"},
		{backends.Config{URL: redisURL, MaxIdleConns: 2, MaxConns: 1}, "MaxIdleConns and Config.MaxConns: no more connections can stay open (2) than there may be (1); lower the first or raise the second"},
		{backends.Config{URL: postgresURL, TLS: backends.TLS{CertFile: "x"}}, "TLS.CertFile and Config.TLS.KeyFile: go together; give both or neither"},
		{backends.Config{URL: redisURL, TLS: backends.TLS{CAFile: "x"}}, "TLS.CAFile and Config.URL: a connection of redis:// has no TLS; make it rediss://, or drop the first"},
		{backends.Config{URL: redisURL, TLS: backends.TLS{ServerName: "x"}}, "TLS.ServerName and Config.URL: a connection of redis:// has no TLS; make it rediss://, or drop the first"},

		// The store's own package rejects these.
		{backends.Config{URL: postgresURL, TableName: "\xff"}, "postgres: Options.TableName: not a name that Postgres can hold; use UTF-8 without NUL bytes"},

		// Several errors are reported together.
		{backends.Config{URL: redisURL, Timeout: -1, TableName: "x"}, unused("TableName", "redis", "postgres") + "\nbackends: Config.Timeout: is negative; 0 is the default"},
	} {
		got := ""
		if err := test.config.Validate(); err != nil {
			got = strings.TrimPrefix(err.Error(), "backends: Config.")
		}
		if got != test.want {
			t.Errorf("%+v:\ngot  %s\nwant %s", test.config, got, test.want)
		}
	}
}

func TestPrintingAConfigHidesTheURL(t *testing.T) {
	c := backends.Config{URL: "redis://:hunter2@localhost", Prefix: "app:"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(verb, c); strings.Contains(got, "hunter2") || !strings.Contains(got, "app:") {
			t.Errorf("printed by %s: %s", verb, got)
		}
	}
}
