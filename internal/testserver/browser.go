//go:build unix

package testserver

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
)

// Browser is a client with a cookie jar.
type Browser struct {
	tb     testing.TB
	client *http.Client
}

// NewBrowser returns a Browser that trusts the certificates of a configuration, if there is one.
func NewBrowser(tb testing.TB, trust *tls.Config) *Browser {
	tb.Helper()
	jar, err := cookiejar.New(nil)
	check(tb, err)
	return &Browser{tb, &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: trust}}}
}

// Do gets a page or, with a form, posts that to it. It returns the answer's status and body.
func (b *Browser) Do(address string, form url.Values) (status int, body string) {
	b.tb.Helper()
	method := http.MethodGet
	if form != nil {
		method = http.MethodPost
	}
	r, err := http.NewRequest(method, address, strings.NewReader(form.Encode()))
	check(b.tb, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := b.client.Do(r)
	check(b.tb, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	check(b.tb, err)
	return res.StatusCode, string(text)
}

// Cookies returns the cookies that a request to an address has.
func (b *Browser) Cookies(address string) []*http.Cookie {
	b.tb.Helper()
	u, err := url.Parse(address)
	check(b.tb, err)
	return b.client.Jar.Cookies(u)
}
