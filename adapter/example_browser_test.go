package adapter_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
)

// exampleBrowser makes the requests of one user in the examples: it keeps the cookie,
// and prints the answers.
type exampleBrowser struct {
	handler http.Handler
	cookie  *http.Cookie
}

func browse(h http.Handler) *exampleBrowser { return &exampleBrowser{handler: h} }

func (b *exampleBrowser) get(path string)  { b.send("GET", path) }
func (b *exampleBrowser) post(path string) { b.send("POST", path) }

func (b *exampleBrowser) send(method, path string) {
	r := httptest.NewRequest(method, path, nil)
	if b.cookie != nil {
		r.AddCookie(b.cookie)
	}
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r)
	noteCookies(w)
	for _, c := range w.Result().Cookies() {
		b.cookie = c
		if c.MaxAge < 0 { // the server has cleared it
			b.cookie = nil
		}
	}
	if body := strings.TrimSpace(w.Body.String()); body != "" {
		fmt.Println(body)
	}
}
