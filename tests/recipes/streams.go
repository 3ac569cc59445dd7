package recipes

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
)

// Streams end with the session that began them.
type Streams struct {
	Sessions *adapter.Manager
	Users    *auth.Auth[User]
	Every    time.Duration // how long an idle stream may outlive its session
}

// check returns an error unless a user is signed in, as the store has the session now.
func (s Streams) check(id string) error {
	ctx, err := s.Sessions.LoadID(context.Background(), id) // a copy, which no other goroutine has
	if err == nil {
		_, err = s.Users.User(ctx)
	}
	return err
}

// Events sends messages as server-sent events.
func (s Streams) Events(messages <-chan string) http.Handler {
	return s.Users.Restricted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, rc := s.Sessions.ID(r.Context()), http.NewResponseController(w)
		tick := time.NewTicker(s.Every)
		defer tick.Stop()
		w.Header().Set("Content-Type", "text/event-stream")
		for text := ": hello\n\n"; ; {
			if s.check(id) != nil {
				return // EventSource comes back, and its 401 stops it
			}
			if _, err := io.WriteString(w, text); err != nil || rc.Flush() != nil {
				return
			}
			select {
			case <-r.Context().Done():
				return
			case <-tick.C:
				text = ": still here\n\n" // keeps proxies from closing the connection
			case m := <-messages:
				text = "data: " + m + "\n\n"
			}
		}
	}))
}

// Socket answers the messages of a websocket. Only pages of this host can open one.
func (s Streams) Socket(answer func(message []byte) []byte) http.Handler {
	return s.Users.Restricted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := s.Sessions.ID(r.Context())
		conn, err := websocket.Accept(w, r, nil) // OriginPatterns would admit others
		if err != nil {
			return // it has answered
		}
		defer func() { _ = conn.CloseNow() }()
		ctx, end := context.WithCancel(r.Context())
		defer end()
		go func() {
			tick := time.NewTicker(s.Every)
			defer tick.Stop()
			for s.check(id) == nil {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
			}
			_ = conn.Close(websocket.StatusPolicyViolation, "signed out")
		}()
		for {
			kind, message, err := conn.Read(ctx)
			if err != nil {
				return
			}
			if s.check(id) != nil {
				_ = conn.Close(websocket.StatusPolicyViolation, "signed out")
				return
			}
			if conn.Write(ctx, kind, answer(message)) != nil {
				return
			}
		}
	}))
}
