package adapter

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/samesid/samesid/internal/wire"
)

func managerFor(t *testing.T, o Options) *Manager {
	t.Helper()
	m, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// What a request's cookie says, for each of what a Manager may accept.
func TestCookieRead(t *testing.T) {
	first, second := strings.Repeat("1", 32), strings.Repeat("2", 32)
	signed := func(secret string) string { return wire.NewSigner([]string{secret}).Sign("an-id") }
	type want struct {
		id                        string
		present, signed, outdated bool
	}
	for name, tt := range map[string]struct {
		form   Signature
		cookie string
		want   want
	}{
		"none":                      {SignatureRequired, "other=1", want{}},
		"signed":                    {SignatureRequired, "connect.sid=" + signed(first), want{"an-id", true, true, false}},
		"by a later secret":         {SignatureRequired, "connect.sid=" + signed(second), want{"an-id", true, true, true}},
		"forged":                    {SignatureRequired, "connect.sid=s%3Aan-id.forged", want{present: true}},
		"bare":                      {SignatureRequired, "connect.sid=an-id", want{present: true}},
		"bare, migrating":           {SignatureMigrating, "connect.sid=an-id", want{"an-id", true, false, true}},
		"signed, migrating":         {SignatureMigrating, "connect.sid=" + signed(first), want{"an-id", true, true, false}},
		"forged, migrating":         {SignatureMigrating, "connect.sid=s%3Aan-id.forged", want{present: true}},
		"bare, unsigned":            {SignatureNone, "connect.sid=an-id", want{"an-id", true, false, false}},
		"not printable, unsigned":   {SignatureNone, "connect.sid=a%0Ab", want{present: true}},
		"longer than browsers send": {SignatureNone, "connect.sid=" + strings.Repeat("a", maxCookieValue+1), want{present: true}},
		"empty":                     {SignatureNone, "connect.sid=", want{present: true}},
	} {
		o := Options{Signature: tt.form}
		if tt.form != SignatureNone {
			o.Secrets = []string{first, second}
		}
		var c cookie
		c.read(managerFor(t, o), http.Header{"Cookie": {tt.cookie}})
		if got := (want{c.id, c.present, c.signed, c.outdated}); got != tt.want {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
}

// The attributes of a new session's cookie are the configuration's, those of a stored one
// the record's, and the cookie that the browser has is cleared with its own.
func TestCookieAttributesOfASession(t *testing.T) {
	m := managerFor(t, Options{
		Secrets: []string{strings.Repeat("1", 32)},
		Cookie:  Cookie{Path: "/app", Secure: SecureAuto, SameSite: SameSiteAuto, MaxAge: time.Hour},
	})
	c := cookie{given: &m.cfg.Cookie}
	for secure, sameSite := range map[bool]SameSite{false: SameSiteLax, true: SameSiteNone} {
		if w := c.fresh(m.cfg, secure); w.Path != "/app" || w.Secure != secure || w.SameSite != string(sameSite) || *w.OriginalMaxAge != time.Hour {
			t.Errorf("a new one: %+v", w)
		}
	}

	c.adopt(m.cfg, &record{ownCookie: true, cookie: wire.Cookie{Path: "/old"}}, false)
	if !c.known || c.attrs.Path != "/old" || c.cleared != nil {
		t.Errorf("a record with attributes: %+v", c)
	}
	c.adopt(m.cfg, &record{secure: true}, false) // began on a secure connection
	if !c.attrs.Secure || c.attrs.Path != "/app" || c.cleared == nil || c.cleared.Path != "/old" {
		t.Errorf("a record without: %+v, cleared by %+v", c.attrs, c.cleared)
	}
	c.adopt(m.cfg, &record{}, false)
	if c.attrs.Secure || c.cleared.Path != "/old" {
		t.Errorf("not the first cookie is cleared: %+v", c.cleared)
	}
	if age := c.age(m.cfg); *age != time.Hour {
		t.Errorf("age %v", *age)
	}
}
