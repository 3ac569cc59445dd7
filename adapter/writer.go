package adapter

import (
	"bufio"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
)

// errDropped is what a handler's writes return after ErrorFunc has answered in
// its place.
var errDropped = errors.New("session: the session could not be saved, so this response was replaced by an error")

// responseWriter saves the session before the first byte of the response.
type responseWriter struct {
	http.ResponseWriter
	session *session
	request *http.Request
	before  http.Header // the headers from before the handler
	begun   bool        // the session was saved, or ErrorFunc has answered
	dropped bool        // ErrorFunc has answered
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
			w.session.m.fail(w.ResponseWriter, w.request, err)
			return errDropped
		}
		w.dropped = false
		if setCookie != "" {
			addCookie(w.Header(), setCookie)
		}
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

// Unwrap lets http.ResponseController reach the rest.
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
