package redis_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/samesid/samesid/backends/redis"
	"github.com/samesid/samesid/internal/refusal"
)

// Validate rejects what Open rejects before it reads files or connects, and accepts
// the fields that are only for Open.
func TestValidate(t *testing.T) {
	good := redis.Options{
		Layout: redis.LayoutConnectRedis, Prefix: "p", ScanCount: 1, Timeout: time.Second, ConnectTimeout: time.Second,
		MaxConns: 2, MaxIdleConns: 1, ConnMaxIdleTime: time.Minute, TLS: redis.TLS{CAFile: "none.pem", CertFile: "none.pem", KeyFile: "none.pem", ServerName: "n"},
	}
	for _, o := range []redis.Options{{}, good} {
		if err := o.Validate(); err != nil {
			t.Errorf("%+v: %v", o, err)
		}
	}
	bad := redis.Options{TLS: redis.TLS{KeyFile: "k"}}
	var r *refusal.Error
	if err := bad.Validate(); !errors.As(err, &r) || !slices.Equal(r.Fields, []string{"Options.TLS.CertFile", "Options.TLS.KeyFile"}) {
		t.Errorf("a key without a certificate: %v", err)
	}
	bad.Layout, bad.MaxIdleConns = "x", 65
	want := `redis: Options.Layout: "x" is unknown; use scs or connect-redis
redis: Options.MaxIdleConns and Options.MaxConns: no more connections can stay open (65) than there may be (by default 64); lower the first or give the second
redis: Options.TLS.CertFile and Options.TLS.KeyFile: go together; give both or neither`
	if err := bad.Validate(); err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}
