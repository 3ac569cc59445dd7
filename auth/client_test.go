package auth

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/samesid/samesid/internal/leaktest"
)

func TestClientHeader(t *testing.T) {
	trusted := []string{"127.0.0.1", "10.0.0.0/8", "2001:db8:ffff::/48"}
	for _, tt := range []struct {
		name, header, from string
		values             []string
		want               string // parsed
	}{
		{"X-Real-IP", "X-Real-IP", "10.0.0.1:80", []string{"192.0.2.1"}, "192.0.2.1"},
		{"in small letters", "x-real-ip", "10.0.0.1:80", []string{"192.0.2.1"}, "192.0.2.1"},
		{"not from a proxy", "X-Real-IP", "192.0.2.9:80", []string{"192.0.2.1"}, "192.0.2.9"},
		{"an IPv6 proxy", "X-Real-IP", "[2001:db8:ffff::1]:80", []string{"2001:db8::1"}, "2001:db8::1"},
		{"a mapped proxy", "X-Real-IP", "[::ffff:10.0.0.1]:80", []string{"192.0.2.1"}, "192.0.2.1"},
		{"no header", "X-Real-IP", "10.0.0.1:80", nil, "10.0.0.1"},
		{"empty", "X-Real-IP", "10.0.0.1:80", []string{""}, "10.0.0.1"},
		{"two of them", "X-Real-IP", "10.0.0.1:80", []string{"198.51.100.1", "192.0.2.1"}, "192.0.2.1"},
		{"X-Forwarded-For", "X-Forwarded-For", "10.0.0.1:80", []string{"198.51.100.1, 192.0.2.1, 10.0.0.2"}, "192.0.2.1"},
		{"in two lines", "X-Forwarded-For", "10.0.0.1:80", []string{"198.51.100.1", "192.0.2.1,10.0.0.2"}, "192.0.2.1"},
		{"with ports", "X-Forwarded-For", "10.0.0.1:80", []string{"198.51.100.1, [2001:db8::1]:5, 10.0.0.2:3"}, "2001:db8::1"},
		{"proxies alone", "X-Forwarded-For", "10.0.0.1:80", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"garbage of the client's", "X-Forwarded-For", "10.0.0.1:80", []string{"%&, 192.0.2.1"}, "192.0.2.1"},
		{"garbage of a proxy's", "X-Forwarded-For", "10.0.0.1:80", []string{"198.51.100.1, unknown, 10.0.0.2"}, "10.0.0.2"},
		{"Forwarded", "Forwarded", "10.0.0.1:80", []string{`for=198.51.100.1, FOR="[2001:db8::1]:4711";proto=https;by=10.0.0.1, proto=http; for=10.0.0.2`}, "2001:db8::1"},
		{"Forwarded, hidden", "Forwarded", "10.0.0.1:80", []string{`for=198.51.100.1, for=_hidden`}, "10.0.0.1"},
		{"Forwarded, without for", "Forwarded", "10.0.0.1:80", []string{`for=198.51.100.1, proto=https`}, "10.0.0.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := Options{ClientHeader: tt.header, TrustedProxies: trusted}
			if err := o.Validate(); err != nil {
				t.Fatal(err)
			}
			a := &core{opts: o, proxies: o.proxies(nil)}
			r := httptest.NewRequest("POST", "/", nil)
			r.RemoteAddr = tt.from
			for _, v := range tt.values {
				r.Header.Add(tt.header, v)
			}
			if got, _ := parseAddr(a.clientAddr(r)); got.String() != tt.want {
				t.Errorf("got %v, want %s", got, tt.want)
			}
		})
	}
}

func TestNetworks(t *testing.T) {
	for addr, want := range map[string][]string{
		"192.0.2.1:80":              {"192.0.2.1"},
		"[::ffff:192.0.2.1]:80":     {"192.0.2.1"},
		"2001:db8:1:2345::1":        {"2001:db8:1:2345::/64", "2001:db8:1:2300::/56", "2001:db8:1::/48"},
		"[2001:db8:1:2345::1%e]:80": {"2001:db8:1:2345::/64", "2001:db8:1:2300::/56", "2001:db8:1::/48"},
		"@":                         {"@"},
		"":                          {""},
	} {
		if got := networks(addr); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", addr, got, want)
		}
	}
}

// A login that a proxy has taken for another origin's names both, and the fix. Clients
// can't flood the log with it.
func TestOtherOriginsAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(leaktest.Log)
		a := &core{opts: Options{Logger: l.Logger()}, origin: http.NewCrossOriginProtection()}
		send := func(header ...string) error {
			r := httptest.NewRequest("POST", "http://backend:8080/login", nil)
			for i := 0; i < len(header); i += 2 {
				r.Header.Set(header[i], header[i+1])
			}
			return a.checkOrigin(r)
		}
		if send("Origin", "http://backend:8080") != nil || l.String() != "" {
			t.Errorf("the same origin: %s", l)
		}
		if send("Origin", "https://app.example") == nil {
			t.Error("another origin passes")
		}
		for _, want := range []string{"origin=https://app.example", "here=http://backend:8080", "proxy_set_header Host $http_host", "TrustedOrigins"} {
			if !strings.Contains(l.String(), want) {
				t.Errorf("the log does not have %s: %s", want, l)
			}
		}
		_ = send("Origin", "https://"+strings.Repeat("x", 10_000), "Sec-Fetch-Site", "cross-site")
		if strings.Contains(l.String(), strings.Repeat("x", 1000)) || strings.Count(l.String(), "proxy_set_header") != 1 {
			t.Errorf("log: %s", l)
		}
		for range 100 {
			_ = send("Origin", "https://evil.example")
		}
		if n := strings.Count(l.String(), "\n"); n != 5 {
			t.Errorf("%d lines at once, want 5", n)
		}
		time.Sleep(time.Minute)
		_, _ = send("Origin", "https://evil.example"), send("Origin", "https://evil.example")
		if n := strings.Count(l.String(), "\n"); n != 6 {
			t.Errorf("%d lines after a minute, want 6", n)
		}
	})
}
