package adapter

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"runtime"
	"sync"

	"github.com/alexedwards/scs/v2"
)

// errDropped is what a handler's writes return after ErrorFunc has answered in
// its place.
var errDropped = errors.New("session: the session could not be saved, so this response was replaced by an error")

// responseWriter saves the session before the first byte of the response.
type responseWriter struct {
	http.ResponseWriter
	session *session
	request *http.Request
	before  http.Header // the headers from before LoadAndSave, which stay if the handler's response is dropped
	begun   bool        // begin was called
	dropped bool        // ErrorFunc has answered

	panicked bool // the handler has panicked: nothing is saved
}

// begin saves the session and sets its cookie, once. It returns errDropped if
// that failed and the handler's response is not to be sent.
func (w *responseWriter) begin() error {
	if !w.begun {
		w.begun, w.dropped = true, true // also if the store panics
		setCookie, err := w.session.finish()
		if err != nil {
			h := w.Header()
			clear(h)
			maps.Copy(h, w.before)
			w.session.addVary(h)
			w.session.m.fail(w.ResponseWriter, w.request, err)
			return errDropped
		}
		w.dropped = false
		w.session.addCookies(w.Header(), setCookie)
	}
	if w.dropped {
		return errDropped
	}
	return nil
}

// WriteHeader implements http.ResponseWriter. An informational status other
// than 101 leaves the session alone: the response itself is yet to come.
func (w *responseWriter) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		if w.begin() != nil {
			return
		}
	}
	if !w.dropped {
		w.ResponseWriter.WriteHeader(status)
	}
}

// Write implements http.ResponseWriter.
func (w *responseWriter) Write(b []byte) (int, error) {
	if err := w.begin(); err != nil {
		return 0, err
	}
	return w.ResponseWriter.Write(b)
}

// WriteString implements io.StringWriter.
func (w *responseWriter) WriteString(s string) (int, error) {
	if err := w.begin(); err != nil {
		return 0, err
	}
	return io.WriteString(w.ResponseWriter, s)
}

// ReadFrom implements io.ReaderFrom, so that a file can go out by sendfile.
func (w *responseWriter) ReadFrom(r io.Reader) (int64, error) {
	if err := w.begin(); err != nil {
		return 0, err
	}
	return io.Copy(w.ResponseWriter, r)
}

// FlushError is what http.ResponseController's Flush calls.
func (w *responseWriter) FlushError() error {
	if err := w.begin(); err != nil {
		return err
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Flush implements http.Flusher.
func (w *responseWriter) Flush() { _ = w.FlushError() }

// Hijack implements http.Hijacker. The cookie is in the headers by then, but a
// connection that was hijacked before WriteHeader does not send them.
func (w *responseWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if err := w.begin(); err != nil {
		return nil, nil, err
	}
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// CloseNotify implements http.CloseNotifier, which some frameworks take every writer for.
func (w *responseWriter) CloseNotify() <-chan bool {
	gone := make(chan bool, 1)
	context.AfterFunc(w.request.Context(), func() { gone <- true })
	return gone
}

// Unwrap lets http.ResponseController reach the rest.
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// errorWriter notices whether ErrorFunc answers.
type errorWriter struct {
	http.ResponseWriter
	begun bool
}

func (w *errorWriter) WriteHeader(status int) {
	w.begun = w.begun || status >= 200
	w.ResponseWriter.WriteHeader(status)
}

func (w *errorWriter) Write(b []byte) (int, error) {
	w.begun = true
	return w.ResponseWriter.Write(b)
}

func (w *errorWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// panicking reports whether the caller runs in a deferred function of a goroutine that
// panics, or ends by runtime.Goexit: it answers for a handler inside of which someone has
// recovered.
func panicking() bool {
	var pcs [16]uintptr
	for skip := 2; ; skip += len(pcs) {
		n := runtime.Callers(skip, pcs[:])
		for _, pc := range pcs[:n] {
			switch frameAt(pc) {
			case panicFrame:
				return true
			case serveFrame:
				return false // what is below is none of this handler's
			}
		}
		if n < len(pcs) {
			return false
		}
	}
}

// frame says what a stack frame means to panicking.
type frame int

const (
	otherFrame frame = iota
	panicFrame       // of runtime.gopanic or runtime.Goexit
	serveFrame       // of responseWriter.serve
)

// frames remembers the frame of each return address, as looking for its function's name
// would take longer than all else that the end of a request does. There are only as many as
// the program has calls.
var frames sync.Map // uintptr → frame

func frameAt(pc uintptr) frame {
	if f, ok := frames.Load(pc); ok {
		return f.(frame)
	}
	found := otherFrame
	if f := runtime.FuncForPC(pc); f != nil {
		switch f.Name() {
		case "runtime.gopanic", "runtime.Goexit":
			found = panicFrame
		case "github.com/samesid/samesid/adapter.(*responseWriter).serve":
			found = serveFrame
		}
	}
	frames.Store(pc, found)
	return found
}

// discard drops what a handler that has panicked did to the session.
func (s *session) discard() {
	if s.phase == live {
		s.phase = ended
	}
}

// responseBegun reports whether the response has begun, as far as its writer can tell: those of
// Gin, Negroni, chi and others can.
func responseBegun(w http.ResponseWriter) bool {
	switch w := w.(type) {
	case interface{ Written() bool }:
		return w.Written()
	case interface {
		Status() int
		BytesWritten() int
	}:
		return w.Status() != 0 // chi's is 0 until then
	}
	return false
}

// finishAround ends a request whose response went around this package's writer. The
// cookie can't be sent any more: what the store has is saved, a new session is not, and
// none gets a new id.
func (s *session) finishAround() {
	s.mu.Lock()
	modified := s.data.status() == scs.Modified
	saves := s.phase == unset || !s.renewed && s.exists() || !modified && !s.m.cfg.SaveUninitialized
	s.begun, s.mute = true, true
	s.mu.Unlock()
	var cookie string
	var err error
	if saves {
		cookie, err = s.finish()
	}
	if saves && cookie == "" && err == nil && !modified {
		return
	}
	s.m.stats.lostChanges.Add(1)
	args := s.route()
	if err != nil {
		args = append(args, "error", err)
	}
	s.log(slog.LevelError, "the response was not written by the writer that LoadAndSave hands on, so the session's cookie is not sent: "+
		"give the framework that writer, or use Begin and End (docs/frameworks.md)", args...)
}
