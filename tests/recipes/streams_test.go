//go:build unix

package recipes

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/samesid/samesid/auth"
)

// streams serves them; messages are what the events send.
func streams(t *testing.T, every time.Duration) (p *people, messages chan string, ends map[string]func(b browser), visitor func() browser) {
	t.Helper()
	p, sessions, users := newPeople(t, auth.Options{})
	messages = make(chan string)
	s := Streams{sessions, users, every}
	mux := http.NewServeMux()
	mux.Handle("POST /login", users.Login())
	mux.Handle("POST /logout", users.Logout())
	mux.Handle("GET /events", s.Events(messages))
	mux.Handle("GET /socket", s.Socket(bytes.ToUpper))
	return p, messages, map[string]func(browser){
		"logout": func(b browser) { b.want(http.StatusOK, "", "POST", "/logout", "") },
		"operator": func(b browser) {
			if n, err := sessions.DestroyUser(t.Context(), "1"); n == 0 || err != nil {
				t.Errorf("%d ended, %v", n, err)
			}
		},
		"stamp":                func(browser) { p.set(1, func(u *User) { u.version++ }) },
		"users' database down": func(browser) { p.fail(errors.New("down")) },
	}, serve(t, sessions.LoadAndSave(mux))
}

func (b browser) dial(headers ...string) (*websocket.Conn, error) {
	h := http.Header{}
	for i := 0; i < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	conn, res, err := websocket.Dial(b.t.Context(), b.server+"/socket", &websocket.DialOptions{HTTPClient: b.client, HTTPHeader: h}) //nolint:bodyclose // Dial has read it
	if err != nil && res != nil {
		err = errors.New(res.Status)
	}
	return conn, err
}

func TestStreamsNeedUsers(t *testing.T) {
	_, _, _, visitor := streams(t, time.Hour)
	visitor().want(http.StatusUnauthorized, "", "GET", "/events", "")
	if _, err := visitor().dial(); err == nil || err.Error() != "401 Unauthorized" {
		t.Errorf("nobody's websocket: %v", err)
	}
	b := visitor()
	b.login(http.StatusOK, "ada", password)
	for _, origin := range []string{"https://evil.example", "null"} {
		if _, err := b.dial("Origin", origin); err == nil || err.Error() != "403 Forbidden" {
			t.Errorf("a websocket from %s: %v", origin, err)
		}
	}
	conn, err := b.dial("Origin", b.server)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.CloseNow()
}

// A stream sends nothing once its session has ended, and an idle one ends soon after.
func TestEventsEndWithTheSession(t *testing.T) {
	for _, every := range []time.Duration{time.Hour, time.Millisecond} {
		p, messages, ends, visitor := streams(t, every)
		for name, end := range ends {
			p.fail(nil)
			b := visitor()
			b.login(http.StatusOK, "ada", password)
			res := b.open("GET", "/events", "")
			defer res.Body.Close()
			lines := bufio.NewReader(res.Body)
			messages <- "one"
			for line := ""; line != "data: one\n"; {
				var err error
				if line, err = lines.ReadString('\n'); err != nil {
					t.Fatal(err)
				}
			}
			end(b)
			if every == time.Hour {
				messages <- "two" // an idle stream would take an hour
			}
			rest, err := io.ReadAll(lines)
			if err != nil || strings.Contains(string(rest), "data:") {
				t.Errorf("%s, looking every %v: %q %v", name, every, rest, err)
			}
		}
	}
}

func TestSocketEndsWithTheSession(t *testing.T) {
	for _, every := range []time.Duration{time.Hour, time.Millisecond} {
		p, _, ends, visitor := streams(t, every)
		for name, end := range ends {
			p.fail(nil)
			b := visitor()
			b.login(http.StatusOK, "ada", password)
			conn, err := b.dial()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.CloseNow() }()
			write := func(text string) {
				t.Helper()
				if err := conn.Write(t.Context(), websocket.MessageText, []byte(text)); err != nil {
					t.Error(err)
				}
			}
			write("one")
			if _, got, err := conn.Read(t.Context()); err != nil || string(got) != "ONE" {
				t.Fatalf("%s %v", got, err)
			}
			end(b)
			if every == time.Hour {
				write("two")
			}
			if _, got, err := conn.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
				t.Errorf("%s, looking every %v: %s %v", name, every, got, err)
			}
		}
	}
}
