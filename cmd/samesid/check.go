package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/adapter/config"
	"github.com/samesid/samesid/backends/sqlite"
)

func (a *app) check() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Check the configuration, and that its store can do all that the app needs",
		Long: `check reads the configuration, opens the store as the app does, and lets one session begin, change,
get a new id and end in it. It prints what is wrong with the file, the secrets, the server, the
role's rights, the table, its indexes, the clocks and the certificates, and what is not for
production. If createTable is set, it creates the table, as the app would.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := &checking{app: a}
			if err := c.run(cmd.Context()); err != nil {
				return err
			}
			if c.errors > 0 {
				return errors.New(plural(c.errors, "error", "errors"))
			}
			return nil
		},
	}
}

// checking is a run of check.
type checking struct {
	*app
	errors int
	failed error // to print
}

// finding is what check prints.
type finding struct {
	Level string `json:"level"` // "ok", "warning" or "error"
	Of    string `json:"of"`
	Text  string `json:"text"`
}

func (c *checking) say(level, of, text string, args ...any) {
	if level == "error" {
		c.errors++
	}
	f := finding{level, of, fmt.Sprintf(text, args...)}
	c.failed = errors.Join(c.failed, c.print(f, "%-8s %-12s %s", f.Level, f.Of, f.Text))
}

func (c *checking) run(ctx context.Context) error {
	for _, name := range []string{"NODE_ENV", "APP_ENV"} {
		if err := os.Setenv(name, "production"); err != nil { // so that what is not for it is named
			return err
		}
	}
	cfg, err := c.load(c.config)
	if err != nil {
		c.say("error", "file", "%v", err)
		return c.failed
	}
	c.say("ok", "file", "its settings can be used; %s", plural(len(cfg.Options.Secrets), "secret", "secrets"))
	c.files(cfg)

	cfg.Options.Logger = slog.New(&warnings{c})
	cfg.Options.Audit = nil
	s, err := openConfig(ctx, cfg)
	if err != nil {
		c.say("error", "store", "%v", err)
		return c.failed
	}
	c.say("ok", "store", "%v is open: the server, the role's rights and what is there are right", s.store)
	c.server(ctx, cfg)
	if err := c.session(ctx, s); err != nil {
		c.say("error", "session", "%v", err)
	} else {
		c.say("ok", "session", "one has begun, changed, got a new id and ended")
	}
	return errors.Join(c.failed, s.store.Close())
}

// warnings is a log whose warnings are findings.
type warnings struct{ c *checking }

func (w *warnings) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }
func (w *warnings) WithAttrs([]slog.Attr) slog.Handler               { return w }
func (w *warnings) WithGroup(string) slog.Handler                    { return w }
func (w *warnings) Handle(_ context.Context, r slog.Record) error {
	level := "warning"
	if r.Level >= slog.LevelError {
		level = "error"
	}
	of, text, _ := strings.Cut(r.Message, ": ")
	r.Attrs(func(a slog.Attr) bool {
		text += fmt.Sprintf("; %s: %v", a.Key, a.Value)
		return true
	})
	w.c.say(level, of, "%s", text)
	return nil
}

// session lets a session live in the store.
func (c *checking) session(ctx context.Context, s *sessions) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := s.store.Ping(ctx); err != nil {
		return err
	}
	ctx, err := s.LoadID(ctx, "")
	if err != nil {
		return err
	}
	user := "samesid-check"
	if path := s.UserPath(); path != "" {
		s.put(ctx, path, user)
	}
	s.Put(ctx, "samesid-check", 1)
	s.SetMaxAge(ctx, time.Minute) // should it not come to its end
	if err := s.Save(ctx); err != nil {
		return err
	}
	ended := false
	defer func() {
		if !ended {
			_ = s.Destroy(context.WithoutCancel(ctx))
		}
	}()
	s.Put(ctx, "samesid-check", 2)
	for _, step := range []func(context.Context) error{s.Save, s.Touch, s.RenewToken, s.Save, s.Reload} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if s.GetInt(ctx, "samesid-check") != 2 {
		return errors.New("the session does not have what was put into it")
	}
	if s.UserPath() != "" {
		n := 0
		if err := s.IterateUser(ctx, user, func(context.Context) error { n++; return nil }); err != nil {
			return err
		}
		if n == 0 {
			return errors.New("the session is not found as its user's")
		}
	}
	ended = true
	return s.Destroy(ctx)
}

// put puts a user's id where userPath says.
func (s *sessions) put(ctx context.Context, path, user string) {
	keys := strings.Split(path, ".")
	var v any = user
	for i := len(keys) - 1; i > 0; i-- {
		v = map[string]any{keys[i]: v}
	}
	_ = adapter.Put(ctx, s.Manager, keys[0], v)
}

// soon is how long before a certificate's end it is a warning.
const soon = 30 * 24 * time.Hour

// certificate says when a certificate ends soon.
func (c *checking) certificate(what string, cert *x509.Certificate) {
	level, text := "ok", "is good until"
	switch left := time.Until(cert.NotAfter); {
	case left < 0:
		level, text = "error", "has ended on"
	case left < soon:
		level, text = "warning", "ends on"
	}
	c.say(level, "certificate", "%s %s %s", what, text, cert.NotAfter.Format(time.DateOnly))
}

// files looks at the certificates in the files that the store's options name.
func (c *checking) files(cfg *config.Config) {
	b, err := cfg.Store.Backend(sqlite.Backend)
	if err != nil || cfg.Store.Options == nil {
		return
	}
	options := reflect.ValueOf(cfg.Store.Options)
	for _, setting := range b.Settings() {
		if !setting.Path || setting.Type.Kind() != reflect.String {
			continue
		}
		file := options.FieldByIndex(setting.Index).String()
		text, err := os.ReadFile(file) //nolint:gosec // it is the operator's own file
		if file == "" || err != nil {
			continue // what can't be read is an error when the store opens
		}
		for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
			if cert, err := x509.ParseCertificate(block.Bytes); err == nil && block.Type == "CERTIFICATE" {
				c.certificate("that of "+cert.Subject.String()+" in "+setting.Key, cert)
			}
		}
	}
}

// server looks at the certificate that the server shows, if one URL leads to it and it speaks
// TLS. The store has verified it, as its options say.
func (c *checking) server(ctx context.Context, cfg *config.Config) {
	u, err := url.Parse(cfg.Store.URL)
	if err != nil || u.Hostname() == "" {
		return
	}
	ports := map[string]string{"rediss": "6379", "postgres": "5432", "postgresql": "5432"}
	port, ok := ports[u.Scheme]
	if !ok {
		return
	}
	if u.Port() != "" {
		port = u.Port()
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return
	}
	defer conn.Close()
	if end, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(end)
	}
	if u.Scheme != "rediss" {
		// The SSLRequest of PostgreSQL's protocol. The answer is S, or N.
		answer := []byte{0}
		if _, err := conn.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}); err != nil {
			return
		}
		if _, err := io.ReadFull(conn, answer); err != nil || answer[0] != 'S' {
			return
		}
	}
	t := tls.Client(conn, &tls.Config{ServerName: u.Hostname(), InsecureSkipVerify: true}) //nolint:gosec // only its dates are looked at
	if err := t.HandshakeContext(ctx); err != nil {
		return
	}
	c.certificate("the server's", t.ConnectionState().PeerCertificates[0])
}
