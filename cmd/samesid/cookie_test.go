package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"strings"
	"testing"

	"github.com/samesid/samesid/adapter"
)

// sign is cookie-signature's, for what the package under test is not to be trusted with.
func sign(id, secret string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(id))
	return "s:" + id + "." + strings.TrimRight(base64.StdEncoding.EncodeToString(mac.Sum(nil)), "=")
}

func TestDecodeCookie(t *testing.T) {
	const id, old, other = "abcdefghijklmnopqrstuvwxyz012345", "an old secret of thirty-two bytes!", "another app's secret"
	o := adapter.Options{Name: "connect.sid", Secrets: []string{secret, old}}
	escape := url.QueryEscape
	good := sign(id, secret)
	// One whose signature has a plus, which a form's decoding makes a space of.
	plus := id
	for i := 0; !strings.Contains(sign(plus, secret), "+"); i++ {
		plus = id + strings.Repeat("x", i)
	}
	for name, c := range map[string]struct {
		text   string
		secret int
		note   string // "": the app takes it as it is
		why    string // it is signed by none
	}{
		"value":             {text: escape(good), secret: 1},
		"decoded":           {text: good, secret: 1},
		"pair":              {text: "connect.sid=" + escape(good), secret: 1},
		"header":            {text: "Cookie: a=b; connect.sid=" + escape(good) + "; c=d\r\n", secret: 1},
		"Set-Cookie":        {text: "set-cookie: connect.sid=" + escape(good) + "; Path=/; HttpOnly", secret: 1},
		"old secret":        {text: escape(sign(id, old)), secret: 2},
		"encoded twice":     {text: escape(escape(good)), secret: 1, note: "encoded twice"},
		"quoted":            {text: `connect.sid="` + escape(good) + `"`, secret: 1, note: ""},
		"padded":            {text: escape(good + "="), secret: 1, note: "padded"},
		"form":              {text: strings.ReplaceAll(sign(plus, secret), "+", " "), secret: 1, note: "as a form is"},
		"newline":           {text: escape(sign(id, old+"\n")), secret: 2, note: "a newline at the end of the secret"},
		"quotes in secret":  {text: escape(sign(id, `"`+secret+`"`)), secret: 1, note: "quotation marks around the secret"},
		"another app":       {text: escape(sign(id, other)), why: "none of the 2 secrets has signed it"},
		"changed":           {text: escape(strings.Replace(good, "abc", "abd", 1)), why: "none of the 2 secrets"},
		"cut off":           {text: escape(good)[:60], why: "it was cut off"},
		"cut in an escape":  {text: escape(good)[:2], why: "percent-encoding is broken"},
		"unsigned":          {text: id, why: "it is not signed"},
		"JSON":              {text: `j:{"a":1}`, why: "a JSON cookie"},
		"no signature":      {text: "s:" + id, why: "no signature"},
		"another name":      {text: "sid=" + escape(good), why: "of the names sid"},
		"nothing":           {text: " \n", why: "no cookie on standard input"},
		"signed, no cookie": {text: "Cookie: a=b", why: "it is not signed"},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := decode(o, c.text)
			if c.why != "" {
				if err == nil || !strings.Contains(err.Error(), c.why) {
					t.Errorf("%+v, %v, want %q", v, err, c.why)
				}
				if err != nil && (strings.Contains(err.Error(), id) || strings.Contains(err.Error(), secret)) {
					t.Error("the error has a secret")
				}
				return
			}
			if err != nil || v.Secret != c.secret || v.Of != 2 || (v.Note == "") != (c.note == "") || !strings.Contains(v.Note, c.note) || len(v.Session) != 12 {
				t.Errorf("%+v, %v, want secret %d, %q", v, err, c.secret, c.note)
			}
		})
	}
	// A name that a browser takes with Secure alone.
	for _, name := range []string{"__Host-sid", "__Secure-sid"} {
		o.Name = name
		if v, err := decode(o, name+"="+escape(good)); err != nil || v.Secret != 1 || v.Note != "" {
			t.Errorf("%s: %+v, %v", name, v, err)
		}
	}
}
