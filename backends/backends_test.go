package backends_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/samesid/samesid/backends"
	"github.com/samesid/samesid/backends/driver"
	"github.com/samesid/samesid/backends/memory"
	"github.com/samesid/samesid/backends/postgres"
	"github.com/samesid/samesid/backends/redis"
	"github.com/samesid/samesid/internal/refusal"
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
				return backends.Config{URL: "memory://", Options: memory.Options{MaxSessions: 5, CleanupInterval: -1}}
			},
			func(s backends.Store) bool { _, ok := s.(*memory.Store); return ok },
		},
		"redis": {
			func(t *testing.T) backends.Config {
				return backends.Config{URL: testserver.Redis(t), Options: redis.Options{
					Layout: redis.LayoutConnectRedis, Prefix: testserver.Prefix(t), MaxConns: 2, MaxIdleConns: 1, Timeout: time.Minute,
				}}
			},
			func(s backends.Store) bool { _, ok := s.(*redis.Store); return ok },
		},
		"postgres": {
			func(t *testing.T) backends.Config {
				dsn, schema := testserver.Schema(t)
				return backends.Config{Type: "postgres", URL: dsn, Options: postgres.Options{
					Layout: postgres.LayoutConnectSessionKnex, CreateTable: true,
					SchemaName: schema, TableName: "Web", SIDFieldName: "id", CleanupInterval: time.Hour, MaxConns: 2,
				}}
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
			if err := s.Ping(t.Context()); err != nil {
				t.Error(err)
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
	s, err := backends.Open(t.Context(), backends.Config{Options: memory.Options{MaxSessions: 1}})
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
	nobody := testserver.FreeAddr(t)
	for _, url := range []string{"redis://u:hunter2@" + nobody, "postgres://u:hunter2@" + nobody + "/d?sslmode=disable"} {
		// A store may wait for its server until its context ends.
		// On a busy machine, a short time can be over before it has tried.
		for limit := 200 * time.Millisecond; ; limit *= 2 {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			s, err := backends.Open(ctx, backends.Config{URL: url})
			cancel()
			if s != nil {
				t.Errorf("a store that is not open: %T", s)
			}
			refused := errors.Is(err, syscall.ECONNREFUSED)
			if !refused && errors.Is(err, context.DeadlineExceeded) && limit < 5*time.Second {
				continue
			}
			if !refused || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v", err)
			}
			break
		}
	}
	if _, err := backends.Open(t.Context(), backends.Config{Options: redis.Options{}}); err == nil {
		t.Error("a Config that Validate refuses is opened")
	}
}

func TestValidate(t *testing.T) {
	const (
		redisURL    = "redis://u:hunter2@localhost"
		postgresURL = "postgres://u:hunter2@localhost"
		sqlite      = `a sqlite store is linked only by a program that asks for it; import "github.com/samesid/samesid/backends/sqlite" and give sqlite.Backend to Open`
	)
	noScheme := "backends: Config.URL: does not begin with " + refusal.Either(backends.Schemes()) + ", so it names no store; mend it, or give Config.Type"
	type c = backends.Config
	for _, test := range []struct {
		config backends.Config
		want   string // "" for none
	}{
		{c{}, ""},
		{c{URL: "memory://", Options: memory.Options{MaxSessions: -1, CleanupInterval: -1}}, ""},
		{c{URL: "unix:///run/redis.sock", Options: redis.Options{Layout: "connect-redis"}}, ""},
		{c{URL: "valkeys://localhost", Options: redis.Options{TLS: redis.TLS{CAFile: "a", CertFile: "b", KeyFile: "c", ServerName: "d"}}}, ""},
		{c{URL: "postgresql://localhost", Options: postgres.Options{SSLMode: "disable", CleanupInterval: -1, ConnMaxLifetime: time.Hour}}, ""},
		{c{Type: "postgres"}, ""},
		{c{Type: "postgres", URL: "host=localhost password=x://y"}, ""},

		{c{Type: "mysql"}, `backends: Config.Type: "mysql" is not a store; use ` + types()},
		{c{URL: "hunter2"}, noScheme},
		{c{URL: "redis"}, noScheme},
		{c{Type: "sqlite", URL: "hunter2"}, "backends: Config.Type: " + sqlite},
		{c{URL: "sqlite:hunter2.db"}, "backends: Config.URL: " + sqlite},
		{c{Type: "redis", URL: postgresURL}, "backends: Config.Type and Config.URL: the first says redis, the second postgres; change one of the two"},
		{c{Type: "memory", URL: "hunter2"}, "memory: type and url: a memory store has no server; drop the second, or say in the first which store it is for"},
		{c{URL: "memory://hunter2"}, "memory: url: nothing can follow memory://"},
		{c{Type: "redis"}, "redis: url: a redis store needs one, such as redis://localhost:6379/0"},
		{c{Type: "redis", URL: "hunter2:6379"}, "redis: url: a redis store needs one, such as redis://localhost:6379/0"},

		{c{Options: redis.Options{}}, "backends: Config.Options: the store is memory, as neither Config.Type nor Config.URL says otherwise, and has no use for redis.Options; drop them, or say which store they are for"},
		{c{Type: "postgres", Options: redis.Options{}}, "backends: Config.Options and Config.Type: a postgres store has no use for redis.Options; give postgres.Options"},
		{c{URL: redisURL, Options: memory.Options{}}, "backends: Config.Options and Config.URL: a redis store has no use for memory.Options; give redis.Options"},
		{c{URL: redisURL, Options: &redis.Options{}}, "backends: Config.Options: is a pointer; give the redis.Options themselves"},

		// The store's own package rejects these.
		{c{URL: redisURL, Options: redis.Options{Layout: "connect-mongo"}}, `redis: Options.Layout: "connect-mongo" is unknown; use scs or connect-redis`},
		{c{URL: postgresURL, Options: postgres.Options{SIDFieldName: "id"}}, "postgres: Options.SIDFieldName and Options.Layout: only connect-session-knex lets its column be renamed; drop the first or change the second"},
		{c{URL: redisURL, Options: redis.Options{ScanCount: -1}}, "redis: Options.ScanCount: is negative; 0 is the default"},
		{c{URL: redisURL, Options: redis.Options{MaxIdleConns: 2, MaxConns: 1}}, "redis: Options.MaxIdleConns and Options.MaxConns: no more connections can stay open (2) than there may be (1); lower the first or raise the second"},
		{c{URL: postgresURL, Options: postgres.Options{TLS: postgres.TLS{CertFile: "x"}}}, "postgres: Options.TLS.CertFile and Options.TLS.KeyFile: go together; give both or neither"},
		{c{URL: redisURL, Options: redis.Options{TLS: redis.TLS{CAFile: "x"}}}, "redis: Options.TLS.CAFile and url: a connection of redis:// has no TLS; make it rediss://, or drop the first"},
		{c{URL: redisURL, Options: redis.Options{TLS: redis.TLS{ServerName: "x"}}}, "redis: Options.TLS.ServerName and url: a connection of redis:// has no TLS; make it rediss://, or drop the first"},
		{c{URL: postgresURL, Options: postgres.Options{TableName: "\xff"}}, "postgres: Options.TableName: not a name that Postgres can hold; use UTF-8 without NUL bytes"},

		// Several errors are reported together.
		{c{URL: redisURL, Options: redis.Options{Timeout: -1, MaxConns: -1}}, "redis: Options.Timeout: is negative; 0 is the default\nredis: Options.MaxConns: is negative; 0 is the default"},
	} {
		got := ""
		if err := test.config.Validate(); err != nil {
			got = err.Error()
			if !errors.As(err, new(*refusal.Error)) {
				t.Errorf("%+v: %T is no refusal", test.config, err)
			}
		}
		if got != test.want {
			t.Errorf("%+v:\ngot  %s\nwant %s", test.config, got, test.want)
		}
	}
}

// types lists those of all backends.
func types(more ...driver.Backend) string {
	var types []string
	for _, b := range backends.All(more...) {
		types = append(types, b.Type)
	}
	return refusal.Either(types)
}

// diskOptions and disk are a backend of somebody else's.
type diskOptions struct {
	Layout string `key:"layout"`
	Sync   bool   `key:"sync"`
}

var disk = driver.New(driver.Backend{
	Type: "disk", Title: "Disk", Schemes: []string{"disk:"},
	Layouts: []driver.Layout{{Name: "raw"}, {Name: "session-file-store", Express: true}},
}, func(url string, o diskOptions) error {
	if url == "" {
		return errors.New("disk: a disk store needs a path")
	}
	return nil
}, func(_ context.Context, url string, o diskOptions, logger *slog.Logger) (*memory.Store, error) {
	return nil, fmt.Errorf("disk: %s, %v, %v", url, o.Sync, logger != nil)
})

// A backend that is handed in is chosen by its type or its scheme, gets its own options,
// and is unknown without.
func TestHandedIn(t *testing.T) {
	for _, c := range []backends.Config{
		{URL: "disk:a.db", Options: diskOptions{Sync: true}},
		{Type: "disk", URL: "disk:a.db", Options: diskOptions{Sync: true}, Logger: slog.Default()},
		{Type: "disk", URL: "a.db"},
	} {
		s, err := backends.Open(t.Context(), c, disk)
		o, _ := c.Options.(diskOptions)
		if want := fmt.Sprintf("disk: %s, %v, %v", c.URL, o.Sync, c.Logger != nil); s != nil || err == nil || err.Error() != want {
			t.Errorf("%+v: %v, %v, want %s", c, s, err, want)
		}
		if c.Validate() == nil {
			t.Errorf("%+v is valid without its backend", c)
		}
	}
	if err := (backends.Config{Type: "disk"}).Validate(disk); err == nil || err.Error() != "disk: a disk store needs a path" {
		t.Errorf("without a path: %v", err)
	}
	want := `backends: Config.Type: "tape" is not a store; use ` + types(disk)
	if err := (backends.Config{Type: "tape"}).Validate(disk); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	for layout, want := range map[string]bool{"": false, "raw": false, "session-file-store": true, "other": false} {
		c := backends.Config{URL: "disk:a.db", Options: diskOptions{Layout: layout}}
		if got := c.JSONRecords(disk); got != want {
			t.Errorf("layout %q: JSONRecords is %v", layout, got)
		}
	}
	if got := len(backends.All(disk, disk)); got != len(backends.All())+1 {
		t.Errorf("a backend that is handed in twice makes %d", got)
	}
}

// Every backend describes itself as texts and files need it, and its scheme and type are
// its own.
func TestDescriptions(t *testing.T) {
	seen := make(map[string]bool)
	for _, b := range backends.All() {
		for _, name := range append([]string{b.Type}, slices.Concat(b.Schemes, b.MoreSchemes)...) {
			if name == "" || seen[name] {
				t.Errorf("%s: the type or scheme %q is empty, or another's", b.Type, name)
			}
			seen[name] = true
		}
		if b.Title == "" || len(b.Schemes) == 0 || len(b.Settings()) == 0 {
			t.Errorf("%s has no title, schemes or settings", b.Type)
		}
		for i, l := range b.Layouts {
			if l.Name == "" || l.Doc == "" || (l.TTLUnit > 0) != l.Express || (i == 0) != (l.Name == "scs") {
				t.Errorf("%s: the layout %+v is not well described", b.Type, l)
			}
		}
		for _, s := range b.Settings() {
			if ok := s.Key == "layout"; ok != (s.Field == "Layout") || ok && len(s.OneOf) != len(b.Layouts) {
				t.Errorf("%s: %+v", b.Type, s)
			}
		}
	}
}

func TestPrintingAConfigHidesTheURL(t *testing.T) {
	c := backends.Config{URL: "redis://:hunter2@localhost", Options: redis.Options{Prefix: "app:"}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(verb, c); strings.Contains(got, "hunter2") || !strings.Contains(got, "app:") {
			t.Errorf("printed by %s: %s", verb, got)
		}
	}
}
