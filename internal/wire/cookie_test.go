package wire

import (
	"strings"
	"testing"
	"time"
)

func TestCookieValueVectors(t *testing.T) {
	type vector struct {
		Headers []string
		Values  map[string]*string
	}
	for _, v := range vectors[vector](t, "cookie.json") {
		for name, value := range v.Values {
			want := ""
			if value != nil {
				want = *value
			}
			// The vectors hold what Node sees: one character for each byte.
			headers := make([]string, len(v.Headers))
			for i, header := range v.Headers {
				headers[i] = latin1(header)
			}
			if !strings.Contains(strings.Join(headers, ""), "%") {
				want = latin1(want)
			}
			if got, ok := CookieValue(headers, name); got != want || ok != (value != nil) {
				t.Errorf("CookieValue(%q, %q) = %q, %v, want %q, %v", headers, name, got, ok, want, value != nil)
			}
		}
	}
}

func latin1(s string) string {
	b := make([]byte, 0, len(s))
	for _, r := range s {
		b = append(b, byte(r))
	}
	return string(b)
}

func TestCookieValueKeepsBytes(t *testing.T) {
	for _, value := range []string{"caf\xc3\xa9", "\xff\xfe", "\xff%41", "%41\xc3", "\xc3%41", "%C3\xa9"} {
		want := strings.ReplaceAll(value, "%41", "A") // a lone %C3 is unchanged
		if got, ok := CookieValue([]string{"a=" + value}, "a"); got != want || !ok {
			t.Errorf("value %q = %q, %v, want %q", value, got, ok, want)
		}
	}
}

func TestCookieValueAllocations(t *testing.T) {
	for _, tt := range []struct {
		header string
		want   float64
	}{
		{"b=2; c=3; a=\"1\"", 0},
		{"b=%41; a=1", 0},
		{"a=100%", 0},
		{"b=2", 0},
		{"a=s%3A" + sessionID + "." + strings.Repeat("x", signatureLen), 1},
	} {
		headers := []string{tt.header}
		if n := testing.AllocsPerRun(100, func() { CookieValue(headers, "a") }); n != tt.want {
			t.Errorf("%s: %v allocations, want %v", tt.header, n, tt.want)
		}
	}
}

func TestEncodeURIComponent(t *testing.T) {
	type vector struct{ Text, Encoded string }
	for _, v := range vectors[vector](t, "encode.json") {
		if got := EncodeURIComponent(v.Text); got != v.Encoded {
			t.Errorf("EncodeURIComponent(%q) = %q, want %q", v.Text, got, v.Encoded)
		}
	}
	if got := EncodeURIComponent("a\xff\xc3b\xed\xa0\x80"); got != "a%FF%C3b%ED%A0%80" {
		t.Errorf("invalid UTF-8 becomes %q", got)
	}
}

func TestSetCookieVectors(t *testing.T) {
	type vector struct {
		Name, Value string
		Options     struct {
			MaxAge                        *int64
			Domain, Path                  string
			Expires                       string
			HTTPOnly, Secure, Partitioned bool
			Priority, SameSite            string
		}
		Text string
	}
	for _, v := range vectors[vector](t, "set-cookie.json") {
		o := v.Options
		c := SetCookie{
			Name: v.Name, Value: v.Value,
			MaxAge: o.MaxAge, Domain: o.Domain, Path: o.Path,
			HTTPOnly: o.HTTPOnly, Secure: o.Secure, Partitioned: o.Partitioned,
			Priority: o.Priority, SameSite: o.SameSite,
		}
		if o.Expires != "" {
			// The header must use GMT, whatever zone Expires has.
			c.Expires = date(o.Expires).In(time.FixedZone("", -11*3600))
			if c.Expires.IsZero() {
				t.Fatalf("cannot read %q", o.Expires)
			}
		}
		if got := c.String(); got != v.Text {
			t.Errorf("%+v\n got %s\nwant %s", v.Options, got, v.Text)
		}
	}
}

func TestSetCookieSendsOnlyWhatItKnows(t *testing.T) {
	c := SetCookie{Name: "a", Value: "b", Priority: "urgent", SameSite: "auto"}
	if got := c.String(); got != "a=b" {
		t.Errorf("got %s", got)
	}
}

func TestSetCookieAllocatesOnce(t *testing.T) {
	age := int64(60)
	c := SetCookie{
		Name: "connect.sid", Value: benchSigner.Sign(sessionID), MaxAge: &age, Domain: "example.com", Path: "/", Expires: time.Unix(1, 0),
		HTTPOnly: true, Secure: true, Partitioned: true, Priority: "medium", SameSite: "strict",
	}
	if n := testing.AllocsPerRun(100, func() { _ = c.String() }); n != 1 {
		t.Errorf("%v allocations", n)
	}
}

func TestCheckVectors(t *testing.T) {
	type vector struct {
		What, Text string
		OK         bool
	}
	checks := map[string]func(string) error{"name": ValidateName, "domain": ValidateDomain, "path": ValidatePath}
	for _, v := range vectors[vector](t, "check.json") {
		if err := checks[v.What](v.Text); (err == nil) != v.OK {
			t.Errorf("%s %q: %v, and npm cookie says %v", v.What, v.Text, err, v.OK)
		}
	}
}

func TestCheckErrors(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{ValidateName(""), "a cookie's name must not be empty"},
		{ValidateName("my sid"), "a cookie's name must not have ' ' in it (at byte 3): allowed are ASCII letters, digits and !#$%&'*+-.^_`|~"},
		{ValidateName("sidé"), "a cookie's name must not have 'é' in it (at byte 4): allowed are ASCII letters, digits and !#$%&'*+-.^_`|~"},
		{ValidateName("a\xff"), "a cookie's name must not have '�' in it (at byte 2): allowed are ASCII letters, digits and !#$%&'*+-.^_`|~"},
		{ValidateDomain("example.com."), "a cookie's domain must not have an empty part: one dot may be in front and one between parts, none at the end"},
		{ValidateDomain(strings.Repeat("a", 64) + ".com"), "a cookie's domain must not have a part of more than 63 characters: one has 64"},
		{ValidateDomain("localhost:8080"), "a cookie's domain must not have ':' in it: allowed are ASCII letters, digits, hyphens and dots (other scripts as xn--, no port)"},
		{ValidateDomain("bücher.example"), "a cookie's domain must not have 'ü' in it: allowed are ASCII letters, digits, hyphens and dots (other scripts as xn--, no port)"},
		{ValidateDomain("a.-b"), `a cookie's domain must not have a hyphen at the start or end of a part: "-b"`},
		{ValidatePath("/a;b"), `a cookie's path must not have ';' in it (at byte 3): allowed is printable ASCII other than ";" and "<"`},
		{ValidatePath("/\r\n"), `a cookie's path must not have '\r' in it (at byte 2): allowed is printable ASCII other than ";" and "<"`},
	} {
		if tt.err == nil || tt.err.Error() != tt.want {
			t.Errorf("got  %v\nwant %s", tt.err, tt.want)
		}
	}
}
