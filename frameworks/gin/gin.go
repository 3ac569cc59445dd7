// Package samesidgin gives the handlers of Gin their sessions:
//
//	r := gin.New()
//	r.Use(gin.Logger(), gin.CustomRecoveryWithWriter(nil, recovered))
//	r.Use(samesidgin.Sessions(sessions))
//	r.GET("/", func(c *gin.Context) {
//		n := sessions.GetInt(c.Request.Context(), "visits") + 1
//		sessions.Put(c.Request.Context(), "visits", n)
//		c.String(http.StatusOK, "visit %d", n)
//	})
//
// recovered, in the example, answers after a panic. gin.Recovery, which gin.Default uses, does too, but
// it can log the request's cookies.
//
// The session is in the request's context. A *gin.Context itself does for one if the Engine's
// ContextWithFallback is set.
package samesidgin

import (
	"bufio"
	"io"
	"net"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/samesid/samesid/adapter"
)

// Sessions is the Manager's LoadAndSave for Gin, for an Engine or for a group of routes. Both
// at once do no harm.
//
// A recovery belongs outside, before it: a handler that panics then saves nothing. So does what
// changes the body, such as gzip.
func Sessions(m *adapter.Manager) gin.HandlerFunc { return Wrap(m.LoadAndSave) }

// Wrap makes a handler for Gin of a middleware for net/http, such as Restricted or Fresh of an
// auth.Auth:
//
//	r.GET("/protected", samesidgin.Wrap(users.Restricted), protected)
//
// If the middleware answers by itself, the handlers that follow are not run.
func Wrap(middleware func(http.Handler) http.Handler) gin.HandlerFunc {
	return func(c *gin.Context) {
		outer, next := c.Writer, false
		defer func() { c.Writer = outer }()
		middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next = true
			c.Request = r
			if w == http.ResponseWriter(outer) {
				c.Next()
				return
			}
			inner := &writer{ResponseWriter: outer, w: w, status: outer.Status()}
			c.Writer = inner
			c.Next()
			inner.finish()
		})).ServeHTTP(outer, c.Request)
		if !next {
			c.Abort()
		}
	}
}

// writer is Gin's for the handlers inside of a middleware that has a writer of its own. As
// Gin's, it keeps the status back until the first byte of the body.
type writer struct {
	gin.ResponseWriter                     // the one outside, which says what was written
	w                  http.ResponseWriter // the middleware's
	status             int
}

// WriteHeader implements http.ResponseWriter.
func (w *writer) WriteHeader(status int) {
	if status > 0 && !w.Written() {
		w.status = status
	}
}

// Status returns the status that was written, or is to be.
func (w *writer) Status() int {
	if w.Written() {
		return w.ResponseWriter.Status()
	}
	return w.status
}

// WriteHeaderNow begins the response.
func (w *writer) WriteHeaderNow() {
	if !w.Written() {
		w.w.WriteHeader(w.status)
		w.ResponseWriter.WriteHeaderNow()
	}
}

// finish hands on a status without a body. Gin writes it when all handlers have returned.
func (w *writer) finish() {
	if !w.Written() && w.status != w.ResponseWriter.Status() {
		w.w.WriteHeader(w.status)
	}
}

// Write implements http.ResponseWriter.
func (w *writer) Write(b []byte) (int, error) {
	w.WriteHeaderNow()
	return w.w.Write(b)
}

// WriteString implements io.StringWriter.
func (w *writer) WriteString(s string) (int, error) {
	w.WriteHeaderNow()
	return io.WriteString(w.w, s)
}

// Flush implements http.Flusher.
func (w *writer) Flush() {
	w.WriteHeaderNow()
	_ = http.NewResponseController(w.w).Flush() // a writer that can't has nothing to flush
}

// Hijack implements http.Hijacker.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(w.w).Hijack()
}

// Unwrap lets http.ResponseController reach the rest.
func (w *writer) Unwrap() http.ResponseWriter { return w.w }
