package samesidfiber

import (
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v3"
)

// Fiber uses a request's memory for the next one: nothing that a session keeps, such as its
// id, must lie in it.
func TestRequestSharesNoMemory(t *testing.T) {
	app := fiber.New()
	app.Post("/*", func(c fiber.Ctx) error {
		body := c.BodyRaw()
		r, err := requestWithBody(c)
		if err != nil {
			return err
		}
		text := func() string {
			return fmt.Sprint(r.Method, r.URL, r.RequestURI, r.Host, r.RemoteAddr, r.Header)
		}
		want := text()
		if !strings.Contains(want, "sid=abc") || !strings.Contains(want, "/path?q=1") || !strings.Contains(want, "example.com") {
			t.Errorf("the request is %s", want)
		}
		overwrite := func(b []byte) {
			for i := range b {
				b[i] = 'x'
			}
		}
		in := c.Request()
		overwrite(in.Header.Peek("X-Text"))
		overwrite(in.Header.RequestURI())
		overwrite(body)
		if got := text(); got != want {
			t.Errorf("once its memory is used again, the request is %s", got)
		}
		if b, err := io.ReadAll(r.Body); string(b) != "body" || err != nil || r.ContentLength != 4 {
			t.Errorf("the body is %q, %v", b, err)
		}
		return nil
	})
	r := httptest.NewRequest("POST", "/path?q=1", strings.NewReader("body"))
	r.Header.Set("X-Text", "sid=abc")
	res, err := app.Test(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
}
