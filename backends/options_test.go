package backends

import (
	"log/slog"
	"reflect"
	"testing"

	"github.com/samesid/samesid/backends/memory"
	"github.com/samesid/samesid/backends/postgres"
	"github.com/samesid/samesid/backends/redis"
)

// Each field of a Config reaches the stores that use it, and every field of their
// options is set from one.
func TestOptions(t *testing.T) {
	c := Config{
		Layout: "layout", Prefix: "prefix", ScanCount: 1,
		SchemaName: "schema", TableName: "table", SIDFieldName: "sid", CreateTable: true,
		MaxSessions: 2, CleanupInterval: 3, MaxConns: 4, MaxIdleConns: 5,
		ConnMaxIdleTime: 6, ConnMaxLifetime: 7, ConnectTimeout: 8, Timeout: 9,
		SSLMode: "ssl", TLS: TLS{CAFile: "ca", CertFile: "cert", KeyFile: "key", ServerName: "server"},
		Logger: slog.New(slog.DiscardHandler),
	}
	for _, test := range []struct{ got, want any }{
		{c.memory(), memory.Options{MaxSessions: 2, CleanupInterval: 3, Logger: c.Logger}},
		{c.redis(), redis.Options{
			Layout: "layout", Prefix: "prefix", ScanCount: 1, ReadTimeout: 9, WriteTimeout: 9, DialTimeout: 8,
			MaxActive: 4, MaxIdle: 5, IdleTimeout: 6,
			TLS: redis.TLS{CAFile: "ca", CertFile: "cert", KeyFile: "key", ServerName: "server"},
		}},
		{c.postgres(), postgres.Options{
			Layout: "layout", SchemaName: "schema", TableName: "table", SIDFieldName: "sid", CreateTable: true,
			CleanupInterval: 3, Timeout: 9, Logger: c.Logger, MaxOpenConns: 4, MaxIdleConns: 5,
			ConnMaxIdleTime: 6, ConnMaxLifetime: 7, ConnectTimeout: 8,
			SSLMode: "ssl", SSLRootCert: "ca", SSLCert: "cert", SSLKey: "key",
		}},
	} {
		if !reflect.DeepEqual(test.got, test.want) {
			t.Errorf("got\n%+v\nwant\n%+v", test.got, test.want)
		}
		v := reflect.ValueOf(test.got)
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("%T.%s has no field of Config", test.got, v.Type().Field(i).Name)
			}
		}
	}
}
