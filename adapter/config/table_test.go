package config

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends/driver"
	"github.com/samesid/samesid/backends/memory"
	"github.com/samesid/samesid/internal/refusal"
)

// Each option of a store can be given to the stores that have it, reaches their Options,
// and is refused for the others.
func TestStoreOptions(t *testing.T) {
	table := builtin(t)
	url := func(b driver.Backend) string {
		switch {
		case b.Transient:
			return b.Schemes[0]
		case b.Type == "redis":
			return "rediss://localhost" // its other schemes have no TLS
		}
		return b.Schemes[0] + "localhost"
	}
	for _, k := range table.keys {
		if k.in == nil {
			continue
		}
		for _, b := range table.backends {
			f, has := k.has(b)
			value := map[reflect.Kind]string{reflect.Bool: "true", reflect.Int: "7", reflect.Int64: "90m", reflect.String: "text", reflect.Slice: "[text]"}[k.in[0].Type.Kind()]
			if first := k.in[0]; first.OneOf != nil {
				value = first.OneOf[0]
			}
			at := url(b)
			switch {
			case k.path == "store.addresses" && b.Type == "redis":
				at = b.Schemes[0] // it has the host
			case k.path == "store.fingerprint":
				value = strings.Repeat("0a:", 31) + "0a"
			}
			file := fmt.Sprintf("secret: s\nstore:\n  url: %s\n  %s: %s\n", at, nameOf(k), value)
			switch k.path {
			case "store.certFile":
				file += "  keyFile: text\n"
			case "store.keyFile":
				file += "  certFile: text\n"
			case "store.masterName":
				file += "  mode: sentinel\n"
			case "store.sentinelUsername", "store.sentinelPassword":
				file += "  mode: sentinel\n  masterName: text\n"
			case "store.waitTimeout":
				file += "  waitReplicas: 1\n"
			case "store.sidFieldName":
				file += "  layout: connect-session-knex\n"
			case "store.maxIdleConnections":
				file += "  maxConnections: 7\n"
			}
			c, err := load("session.yaml", []byte(file), nil)
			if !has {
				want := fmt.Sprintf("session.yaml:4:%d: %s and store.url: a %s store has no use for the first; drop it, or use %s\n",
					len(nameOf(k))+5, k.path, b.Type, refusal.Either(k.backends()))
				if err == nil || !strings.HasPrefix(err.Error(), want) {
					t.Errorf("%s: got\n%v\nwant\n%s", file, err, want)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			o := reflect.ValueOf(c.Store.Options)
			if o.Type() != reflect.TypeOf(b.Options) || o.FieldByIndex(f.Index).IsZero() {
				t.Errorf("%s: the options are %+v", file, c.Store.Options)
			}
		}
	}
}

// diskOptions and disk are a backend of somebody else's.
type diskOptions struct {
	Layout          string        `key:"layout"`
	BusyTimeout     time.Duration `key:"busyTimeout unit=ms"`
	Journal         string        `key:"journal oneof=wal|delete"`
	CleanupInterval time.Duration `key:"cleanupInterval unit=ms never=0|false"`
	Keys            struct {
		File string `key:"encryptionKeyFile path"`
	}
	Logger *slog.Logger
}

func disk(o *diskOptions, at *string) driver.Backend {
	return driver.New(driver.Backend{
		Type: "disk", Title: "Disk", Schemes: []string{"disk:"}, URLDoc: "With type disk it is a path.",
		Layouts:     []driver.Layout{{Name: "raw"}, {Name: "session-file-store", Express: true, TTLUnit: time.Second}},
		Unavailable: map[string]string{"path": "is called url"},
	}, func(url string, o diskOptions) error {
		r := refusal.List{Package: "disk", Struct: "Options"}
		if url == "" {
			r.Add("url", "a disk store needs a path")
		}
		if o.Journal == "delete" && o.BusyTimeout > time.Minute {
			r.Add("BusyTimeout Journal", "Options.BusyTimeout is too long for the second")
		}
		return r.Err()
	}, func(_ context.Context, url string, given diskOptions, _ *slog.Logger) (*memory.Store, error) {
		*o, *at = given, url
		return memory.New(memory.Options{}), nil
	})
}

// A backend that is handed in brings its keys, its types of values, and its errors.
func TestHandedIn(t *testing.T) {
	var given diskOptions
	var at string
	disk := disk(&given, &at)
	dir := t.TempDir()
	t.Chdir(dir)
	write(t, "good.yaml", `secret: s
store:
  type: disk
  url: sessions.db
  layout: session-file-store
  busyTimeout: 5000
  journal: wal
  pruneSessionInterval: false
  encryptionKeyFile: key
  ttl: 60
`)
	s, store, err := Open(t.Context(), "good.yaml", disk)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	want := diskOptions{Layout: "session-file-store", BusyTimeout: 5 * time.Second, Journal: "wal", CleanupInterval: -1}
	want.Keys.File = "key"
	if given != want || at != "sessions.db" {
		t.Errorf("opened %q with %+v, want %+v", at, given, want)
	}
	if _, ok := s.Codec.(adapter.JSONCodec); ok {
		t.Error("the store does not report its records, and the codec is JSON")
	}
	c, err := Load("good.yaml", disk)
	if err != nil || c.Options.TTL != time.Minute {
		t.Errorf("a ttl of %v, %v", c.Options.TTL, err)
	}
	if _, store, err := c.Open(t.Context()); err != nil { // Load has been given disk
		t.Error(err)
	} else {
		store.Close()
	}

	write(t, "bad.yaml", `secret: s
store:
  url: disk:a.db
  busyTimout: 5s
  journal: off
  prefix: x
  path: a.db
`)
	_, err = Load("bad.yaml", disk)
	wantError(t, err, `bad.yaml:4:3: unknown key store.busyTimout; did you mean store.busyTimeout?
    4 |   busyTimout: ***
      |   ^
bad.yaml:5:12: store.journal: must be wal or delete
    5 |   journal: off
      |            ^
bad.yaml:6:11: store.prefix and store.url: a disk store has no use for the first; drop it, or use redis
    6 |   prefix: x
      |           ^
bad.yaml:7:3: store.path: is called url
    7 |   path: ***
      |   ^`)

	write(t, "contradiction.yaml", "secret: s\nstore: {url: 'disk:a', journal: delete, busyTimeout: 2m, layout: connect-redis}\n")
	_, err = Load("contradiction.yaml", disk)
	wantError(t, err, `contradiction.yaml:2:54: store.busyTimeout and store.journal: store.busyTimeout is too long for the second
    2 | store: {url: ***, journal: delete, busyTimeout: 2m, layout: connect-redis}
      |                                                 ^
contradiction.yaml:2:66: store.layout and store.url: connect-redis is for redis and the store is disk, where it can be raw or session-file-store; change one of the two
    2 | store: {url: ***, journal: delete, busyTimeout: 2m, layout: connect-redis}
      |                                                             ^`)
	_, err = load("", nil, []string{"SAMESID_SECRET=s", "SAMESID_STORE_TYPE=disk", "SAMESID_STORE_JOURNAL=wal"}, disk)
	wantError(t, err, "environment: SAMESID_STORE_URL: a disk store needs a path")
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

// Two backends may not mean different things by a key, and a key of the file's own is not
// free.
func TestBackendsThatDisagree(t *testing.T) {
	for want, options := range map[string]any{
		"config: tape describes the key store.timeout differently from redis": struct {
			A string `key:"timeout"`
		}{},
		"config: tape describes the key store.cleanupInterval differently from memory": struct {
			A time.Duration `key:"cleanupInterval unit=s"`
		}{},
		"config: two options have the key store.ttl": struct {
			A time.Duration `key:"ttl"`
		}{},
		"config: two options have the key store.tablename": struct {
			A string `key:"tablename"`
		}{},
	} {
		tape := driver.Backend{Type: "tape", Title: "Tape", Schemes: []string{"tape:"}, Options: options}
		if _, err := Load("", tape); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// The unknown keys of a store that was not handed in are not what is wrong, but others
// are.
func TestElsewhere(t *testing.T) {
	_, err := load("", nil, []string{"SAMESID_SECRET=s", "SAMESID_STORE_TYPE=sqlite", "SAMESID_STORE_BUSYTIMEOUT=5s", "SAMESID_COLOUR=red"})
	wantError(t, err, `environment: SAMESID_COLOUR: is not the name of a key
environment: SAMESID_STORE_TYPE: a sqlite store is linked only by a program that asks for it; import "github.com/samesid/samesid/backends/sqlite" and give sqlite.Backend to Open`)

	_, err = load("session.yaml", []byte("secret: s\ncolour: red\nstore:\n  url: sqlite:a.db\n  busyTimeout: 5s\n  knex: x\n"), nil)
	var r *refusal.Error
	if !errors.As(err, &r) || r.Package != "backends" {
		t.Errorf("%v holds no refusal of backends", err)
	}
	wantError(t, err, `session.yaml:2:1: unknown key colour
    2 | colour: ***
      | ^
session.yaml:4:8: store.url: a sqlite store is linked only by a program that asks for it; import "github.com/samesid/samesid/backends/sqlite" and give sqlite.Backend to Open
    4 |   url: ***
      |        ^
session.yaml:6:3: store.knex: is an object of Express's program; give the server as store.url
    6 |   knex: ***
      |   ^`)
}
