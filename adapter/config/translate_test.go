package config

import (
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends"
	"github.com/samesid/samesid/internal/refusal"
)

// Whichever package rejects a field, the error has the place of its value, and wraps the
// refusal.
func TestRefusals(t *testing.T) {
	long := strings.Repeat("x", 64)
	for _, test := range []struct {
		name, file string
		want       string // the beginning of the error
		refusal    refusal.Error
		cause      error
	}{
		{
			"adapter", "secret: s\ncookie:\n  path: app\n",
			`session.yaml:3:9: cookie.path: "app" does not start with "/"`,
			refusal.Error{Package: "adapter", Fields: []string{"Options.Cookie.Path"}},
			nil,
		},
		{
			"backends", "secret: s\nstore:\n  url: redis://h\n  tableName: t\n",
			"session.yaml:4:14: store.tableName and store.url: a redis store has no use for the first",
			refusal.Error{Package: "config", Fields: []string{"store.tableName", "store.url"}},
			nil,
		},
		{
			"redis", "secret: s\nstore:\n  url: rediss://h\n  caFile: /nowhere/ca.pem\n",
			"session.yaml:4:11: store.caFile: the file can't be read: ",
			refusal.Error{Package: "redis", Fields: []string{"Options.TLS.CAFile"}},
			fs.ErrNotExist,
		},
		{
			"redis, two fields", "secret: s\nstore:\n  url: rediss://h\n  keyFile: /nowhere/key.pem\n  certFile: /nowhere/KeyFile\n",
			"session.yaml:5:13: store.certFile and store.keyFile: the file can't be read: ",
			refusal.Error{Package: "redis", Fields: []string{"Options.TLS.CertFile", "Options.TLS.KeyFile"}},
			fs.ErrNotExist,
		},
		{
			"postgres", "secret: s\nstore:\n  url: postgres://h\n  tableName: " + long + "\n",
			"session.yaml:4:14: store.tableName: longer than 63 bytes, and Postgres would cut it; use a shorter name",
			refusal.Error{Package: "postgres", Fields: []string{"Options.TableName"}},
			nil,
		},
		{
			"postgres, in another layout", "secret: s\nstore:\n  type: postgres\n  layout: connect-session-knex\n  sidFieldName: sess\n",
			`session.yaml:5:17: store.sidFieldName: "sess" is another column of the table; use another name`,
			refusal.Error{Package: "postgres", Fields: []string{"Options.SIDFieldName"}},
			nil,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			write(t, "session.yaml", test.file)
			_, _, err := Open(t.Context(), "session.yaml")
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Fatalf("got\n%v\nwant\n%s", err, test.want)
			}
			var got *refusal.Error
			if !errors.As(err, &got) {
				t.Fatalf("%v holds no refusal", err)
			}
			if got.Package != test.refusal.Package || !slices.Equal(got.Fields, test.refusal.Fields) {
				t.Errorf("the refusal is of %s, %q", got.Package, got.Fields)
			}
			if test.cause != nil && !errors.Is(err, test.cause) {
				t.Errorf("%v is not %v", err, test.cause)
			}
		})
	}
}

// Each refusal gets its place, even if it is joined, wrapped, or beside another error.
func TestPlaceInATree(t *testing.T) {
	s := newSource(builtin(t), "session.yaml", nil)
	s.parse([]byte("name: a\nrolling: true\nstore:\n  url: redis://h\n"))
	list := refusal.List{Package: "adapter", Struct: "Options"}
	list.Add("Rolling", "is wrong")
	list.Add("Name GenID Rolling", `Name is wrong: %w; "Name" and /Name are not names of keys, and Options.Cookie.MaxAge is one`, io.EOF)
	s.place(errors.Join(errors.Join(io.ErrClosedPipe), errors.Join(list.Err())))
	err := s.err()
	const want = `session.yaml:1:7: name, Options.GenID and rolling: name is wrong: EOF; "Name" and /Name are not names of keys, and cookie.maxAge is one
    1 | name: a
      |       ^
session.yaml:2:10: rolling: is wrong
    2 | rolling: true
      |          ^
session.yaml:4:8: store.url: io: read/write on closed pipe
    4 |   url: ***
      |        ^`
	if err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	if !errors.Is(err, io.EOF) || !errors.Is(err, io.ErrClosedPipe) {
		t.Error("a cause is lost")
	}
}

// Every field that can be rejected has a key, except those that only code can set.
func TestFieldsHaveKeys(t *testing.T) {
	onlyCode := []string{
		"adapter.Options.Store", "adapter.Options.GenID", "adapter.Options.CookieFunc", "adapter.Options.Observe",
		"backends.Config.Options", "postgres.Options.Credentials", "redis.Options.Credentials",
	}
	table := builtin(t)
	var walk func(pkg, field string, typ reflect.Type)
	walk = func(pkg, field string, typ reflect.Type) {
		k := table.keyOf(pkg, field)
		name := pkg + "." + field
		switch {
		case k != nil && slices.Contains(onlyCode, name):
			t.Errorf("%s has the key %s", name, k.path)
		case k != nil, slices.Contains(onlyCode, name), typ == reflect.TypeFor[*slog.Logger]():
		case typ.Kind() == reflect.Struct:
			for i := range typ.NumField() {
				walk(pkg, field+"."+typ.Field(i).Name, typ.Field(i).Type)
			}
		default:
			t.Errorf("%s has no key", name)
		}
	}
	walk("adapter", "Options", reflect.TypeFor[adapter.Options]())
	walk("backends", "Config", reflect.TypeFor[backends.Config]())
	for _, b := range table.backends {
		walk(b.Type, "Options", reflect.TypeOf(b.Options))
	}
}

func builtin(t *testing.T) *table {
	t.Helper()
	table, err := newTable(nil)
	if err != nil {
		t.Fatal(err)
	}
	return table
}
