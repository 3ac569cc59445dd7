package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/samesid/samesid/adapter"
)

func (a *app) decodeCookie() *cobra.Command {
	return &cobra.Command{
		Use:   "decode-cookie",
		Short: "Say which secret has signed a cookie, or why none has",
		Long: `decode-cookie reads a session cookie from standard input, where no shell's history keeps it: the
value, name=value, or the whole header Cookie or Set-Cookie. It says which of the configured
secrets has signed it, and the session's name, for show. If none has, it says why. It does not
connect to the store.`,
		Example: "  samesid decode-cookie <cookie.txt\n  samesid decode-cookie    # paste it, then Ctrl-D",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.load(a.config)
			if err != nil {
				return err
			}
			if c.Options.Signature == adapter.SignatureNone {
				return errors.New("the configuration has no signature, so that a cookie is the session's id alone")
			}
			text, err := a.read(cmd.Context(), func() (string, error) {
				b, err := io.ReadAll(io.LimitReader(a.in, 64<<10))
				return string(b), err
			})
			if err != nil {
				return err
			}
			v, err := decode(c.Options, text)
			if err != nil {
				return status{err, notFound}
			}
			of := ""
			if v.Secret > 1 {
				of = ", and not the first one, which signs: it is sent again with the next request"
			}
			if v.Note != "" {
				of = ", but only " + v.Note
			}
			err = a.print(v, "secret %d of %d has signed it%s\nsession %s", v.Secret, v.Of, of, v.Session)
			if err == nil && v.Note != "" {
				err = status{errors.New("the app does not accept it as it is"), notFound}
			}
			return err
		},
	}
}

// verdict is what is known of a cookie that a secret has signed.
type verdict struct {
	Secret  int    `json:"secret"` // the first one is 1
	Of      int    `json:"of"`
	Session string `json:"session"`        // its name in the log
	Note    string `json:"note,omitempty"` // what has to be changed for it to count
}

// decode finds the secret that has signed a cookie.
func decode(o adapter.Options, text string) (verdict, error) {
	value, err := cookieValue(o.Name, text)
	if err != nil {
		return verdict{}, err
	}
	for _, change := range []struct {
		of   func(string) string
		note string
	}{
		{func(v string) string { return v }, ""},
		{func(v string) string { u, _ := url.PathUnescape(v); return u }, "once it is percent-decoded: it was encoded twice"},
		{func(v string) string { return strings.ReplaceAll(v, " ", "+") }, `with + in the place of its spaces: it was decoded as a form is`},
		{func(v string) string { u, _ := url.PathUnescape(v); return strings.TrimRight(u, "=") }, "without the = at its end: the signature was padded"},
	} {
		for _, secrets := range []struct {
			of   func(string) string
			note string
		}{
			{func(s string) string { return s }, ""},
			{func(s string) string { return s + "\n" }, "with a newline at the end of the secret: the other app has read it from a file with that"},
			{strings.TrimSpace, "without the white space around the secret: the other app has it without"},
			{func(s string) string { return `"` + s + `"` }, "with quotation marks around the secret: the other app has them in it"},
			{func(s string) string { return strings.Trim(s, `"'`) }, "without the quotation marks around the secret: the other app has it without"},
		} {
			v := verdict{Of: len(o.Secrets)}
			if change.note != "" || secrets.note != "" {
				v.Note = strings.TrimSuffix(change.note+", and "+secrets.note, ", and ")
				v.Note = strings.TrimPrefix(v.Note, ", and ")
			}
			for i, secret := range o.Secrets {
				changed := secrets.of(secret)
				if changed == "" || secrets.note != "" && changed == secret {
					continue
				}
				if name, ok := verify(changed, change.of(value)); ok {
					v.Secret, v.Session = i+1, name
					return v, nil
				}
			}
		}
	}
	return verdict{}, errors.New(whyNot(value, len(o.Secrets)))
}

// cookieValue takes the session's cookie out of what was pasted.
func cookieValue(name, text string) (string, error) {
	text = strings.TrimSpace(text)
	for _, header := range []string{"set-cookie:", "cookie:"} {
		if len(text) > len(header) && strings.EqualFold(text[:len(header)], header) {
			text = strings.TrimSpace(text[len(header):])
		}
	}
	if text == "" {
		return "", errors.New("there is no cookie on standard input")
	}
	var others []string
	for pair := range strings.SplitSeq(text, ";") {
		key, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
		switch {
		case ok && key == name:
			return value, nil
		case ok && (strings.HasPrefix(value, "s:") || strings.HasPrefix(value, "s%3A")):
			others = append(others, key)
		}
	}
	if others != nil {
		return "", fmt.Errorf("there is no cookie of the name %s, but signed ones of the names %s: set name to the one of the other app's sessions", name, strings.Join(others, ", "))
	}
	return text, nil
}

// verify asks a Manager with this secret, on a store without sessions. The cookie's own name
// does not count, and may be one that only a secure cookie can have.
func verify(secret, value string) (session string, ok bool) {
	const cookie = "connect.sid"
	seen := &sessionName{}
	m, err := adapter.New(adapter.Options{Name: cookie, Secrets: []string{secret}, Logger: slog.New(slog.DiscardHandler), Audit: slog.New(seen)})
	if err != nil {
		return "", false
	}
	r := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/"}, Header: http.Header{"Cookie": {cookie + "=" + value}}}
	if _, err := m.Begin(r); err != nil {
		return "", false
	}
	return seen.name, m.SecretUses()[0] == 1
}

// sessionName is an audit's log that keeps the name of the session.
type sessionName struct{ name string }

func (s *sessionName) Enabled(context.Context, slog.Level) bool { return true }
func (s *sessionName) WithAttrs([]slog.Attr) slog.Handler       { return s }
func (s *sessionName) WithGroup(string) slog.Handler            { return s }
func (s *sessionName) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "session" {
			s.name = a.Value.String()
		}
		return true
	})
	return nil
}

// whyNot says what is wrong with a cookie's value that no secret has signed.
func whyNot(value string, secrets int) string {
	decoded, err := url.PathUnescape(value)
	if err != nil {
		return "its percent-encoding is broken: it was cut off, or changed"
	}
	switch rest, signed := strings.CutPrefix(decoded, "s:"); {
	case strings.HasPrefix(decoded, "j:"):
		return "it is a JSON cookie of Express, not a session's"
	case !signed:
		return `it is not signed: Express's session cookies begin with "s:". If the other app does not sign them, set signature to migrating or none`
	case !strings.Contains(rest, "."):
		return `it has no signature after a ".": it was cut off`
	default:
		signature := rest[strings.LastIndex(rest, ".")+1:]
		if len(signature) != 43 {
			return fmt.Sprintf("its signature has %d characters, not the 43 of a SHA-256 in base64: it was cut off, or changed", len(signature))
		}
	}
	return fmt.Sprintf("none of the %d secrets has signed it: the app that did has another one, or the cookie was changed", secrets)
}
