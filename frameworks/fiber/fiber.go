// Package samesidfiber gives the handlers of Fiber 3 their sessions:
//
//	app := fiber.New()
//	app.Use(recover.New(), samesidfiber.Sessions(sessions))
//	app.Get("/", func(c fiber.Ctx) error {
//		n := sessions.GetInt(c, "visits") + 1
//		sessions.Put(c, "visits", n)
//		return c.SendString(fmt.Sprint("visit ", n))
//	})
//
// Methods of the Manager take the fiber.Ctx, or its Context.
package samesidfiber

import (
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"net/url"

	"github.com/gofiber/fiber/v3"
	"github.com/valyala/fasthttp"

	"github.com/samesid/samesid/adapter"
)

// Sessions is the Manager's LoadAndSave for Fiber. A response is buffered, so that the session
// is saved before a client sees it. What a stream's writer changes after its handler has
// returned is not saved unless it calls Save.
//
// A handler that panics saves nothing if the recover middleware is outside, before this one: inside,
// it makes an error of the panic, and an error that a handler returns saves the session, as
// one that next gets does in Express.
func Sessions(m *adapter.Manager) fiber.Handler {
	return func(c fiber.Ctx) error {
		r, err := request(c)
		if err != nil {
			return err
		}
		if r.Context().Value(m) != nil { // used twice
			return c.Next()
		}
		ctx, err := m.Begin(r)
		if err != nil {
			fail(c, m, r, err)
			return nil
		}
		c.SetContext(ctx)
		c.Locals(m, ctx.Value(m)) // so that c does for a context
		var before fasthttp.ResponseHeader
		c.Response().Header.CopyTo(&before)
		returned := c.Next()
		header, err := m.End(ctx)
		if err != nil {
			c.Response().Reset()
			before.CopyTo(&c.Response().Header)
			fail(c, m, r, err)
			return nil
		}
		add(c, header)
		return returned
	}
}

// fail has the Manager's ErrorFunc answer in place of what was written until then.
func fail(c fiber.Ctx, m *adapter.Manager, r *http.Request, err error) {
	w := &recorder{header: http.Header{"Vary": {"Cookie"}}}
	m.ErrorFunc(w, r, err)
	w.send(c)
}

// Handler makes a handler for Fiber of one for net/http, such as Login or Logout of an
// auth.Auth. It has the session, and its response is buffered.
func Handler(h http.Handler) fiber.Handler {
	return func(c fiber.Ctx) error {
		r, err := requestWithBody(c)
		if err != nil {
			return err
		}
		w := &recorder{header: http.Header{}}
		h.ServeHTTP(w, r)
		w.send(c)
		return nil
	}
}

// Wrap makes a handler for Fiber of a middleware for net/http, such as Restricted or Fresh of an
// auth.Auth:
//
//	app.Get("/protected", samesidfiber.Wrap(users.Restricted), protected)
//
// If the middleware answers by itself, the handlers that follow are not run. One that hands a
// writer of its own to the next handler panics, as Fiber's handlers write to none: Sessions is
// LoadAndSave, and Fiber has middlewares that compress.
func Wrap(middleware func(http.Handler) http.Handler) fiber.Handler {
	return func(c fiber.Ctx) error {
		r, err := requestWithBody(c)
		if err != nil {
			return err
		}
		w, next, returned := &recorder{header: http.Header{}}, false, error(nil)
		middleware(http.HandlerFunc(func(given http.ResponseWriter, r *http.Request) {
			if given != http.ResponseWriter(w) {
				panic("samesidfiber: Wrap: this middleware has a writer of its own, which Fiber's handlers do not write to; in place of LoadAndSave, use Sessions")
			}
			next = true
			add(c, w.header)
			c.SetContext(r.Context())
			returned = c.Next()
		})).ServeHTTP(w, r)
		if !next {
			w.send(c)
		}
		return returned
	}
}

// request returns Fiber's request as one of net/http, without the body. It shares no memory with
// it, as Fiber uses that of a request for the next one, and a session's id outlives its request.
func request(c fiber.Ctx) (*http.Request, error) {
	in := c.Request()
	uri := string(in.Header.RequestURI())
	u, err := url.ParseRequestURI(uri)
	if err != nil {
		return nil, fiber.NewError(fiber.StatusBadRequest, "the request's URI can't be read")
	}
	r := &http.Request{
		Method: string(in.Header.Method()), URL: u, RequestURI: uri,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Host: string(in.Host()), RemoteAddr: c.RequestCtx().RemoteAddr().String(),
		Header: make(http.Header), Body: http.NoBody,
	}
	for key, value := range in.Header.All() {
		r.Header.Add(string(key), string(value))
	}
	r.Header.Del("Host") // net/http has it in r.Host alone
	if c.RequestCtx().IsTLS() {
		r.TLS = c.RequestCtx().TLSConnectionState()
		if r.TLS == nil {
			r.TLS = &tls.ConnectionState{}
		}
	}
	return r.WithContext(c.Context()), nil
}

// requestWithBody adds the body as it came, since decoding what anybody may send is up to the handler. One that
// Fiber streams is read as far as the handler reads it.
func requestWithBody(c fiber.Ctx) (*http.Request, error) {
	r, err := request(c)
	if err != nil {
		return nil, err
	}
	if in := c.Request(); in.IsBodyStream() {
		r.Body, r.ContentLength = io.NopCloser(in.BodyStream()), max(-1, int64(in.Header.ContentLength()))
	} else if body := bytes.Clone(c.BodyRaw()); len(body) > 0 {
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	return r, nil
}

// add adds headers to the response.
func add(c fiber.Ctx, header http.Header) {
	for key, values := range header {
		for _, value := range values {
			c.Response().Header.Add(key, value)
		}
	}
}

// recorder is a response of net/http that is kept.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
}

func (w *recorder) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}

// send makes it Fiber's response.
func (w *recorder) send(c fiber.Ctx) {
	w.WriteHeader(http.StatusOK)
	if w.header.Get("Content-Type") == "" && w.body.Len() > 0 {
		w.header.Set("Content-Type", http.DetectContentType(w.body.Bytes()))
	}
	add(c, w.header)
	c.Status(w.status).Response().SetBody(w.body.Bytes())
}
