package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"unicode/utf8"
)

// credentials is the content of a login request.
type credentials struct {
	username, password string
	returnTo           string // not validated yet
	browser            bool   // a form from a client that prefers HTML
}

// removedFrom returns an error's text without the credentials, in case a Verifier
// has put them there.
func (c credentials) removedFrom(err error) string {
	return strings.NewReplacer(c.password, "[password]", c.username, "[username]").Replace(err.Error())
}

// A badLogin is the answer to a malformed login. The message never quotes the body.
type badLogin struct {
	status  int
	message string
}

func badRequest(format string, args ...any) *badLogin {
	return &badLogin{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// readCredentials reads a login's body.
func (a *Auth[U]) readCredentials(w http.ResponseWriter, r *http.Request) (c credentials, bad *badLogin) {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		mediaType = ""
	}
	switch mediaType {
	case "application/json":
		body, bad := a.readBody(w, r)
		if bad != nil {
			return c, bad
		}
		c, bad = a.fromJSON(body)
		if bad != nil {
			return c, bad
		}
	case "application/x-www-form-urlencoded":
		form := r.PostForm
		if form == nil { // otherwise a middleware, such as one for tokens, has read the body
			body, bad := a.readBody(w, r)
			if bad != nil {
				return c, bad
			}
			if form, err = url.ParseQuery(string(body)); err != nil {
				return c, badRequest("The body is not a valid form")
			}
		}
		c, bad = a.fromForm(form)
		if bad != nil {
			return c, bad
		}
		c.browser = prefersHTML(r.Header)
		if c.returnTo == "" {
			c.returnTo = r.URL.Query().Get(returnToField)
		}
	default:
		return c, &badLogin{http.StatusUnsupportedMediaType, "Send application/json or application/x-www-form-urlencoded"}
	}
	for _, s := range []string{c.username, c.password} {
		// Databases reject such text, and C libraries truncate it at a NUL.
		if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
			return c, badRequest("The fields must be UTF-8 text")
		}
	}
	return c, nil
}

func (a *Auth[U]) readBody(w http.ResponseWriter, r *http.Request) ([]byte, *badLogin) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, a.opts.MaxBody))
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		return nil, &badLogin{http.StatusRequestEntityTooLarge, fmt.Sprintf("The body must be at most %d bytes long", a.opts.MaxBody)}
	case err != nil:
		return nil, badRequest("The body could not be read")
	}
	return body, nil
}

// fromJSON reads an object with the two fields, each once. It reads token by token
// because Unmarshal accepts duplicate fields and ignores the case of their names.
func (a *Auth[U]) fromJSON(body []byte) (c credentials, bad *badLogin) {
	if !json.Valid(body) || !utf8.Valid(body) {
		return c, badRequest("The body is not valid JSON")
	}
	shape := badRequest("The body must be a JSON object with the text fields %q and %q, each once, and no others", a.opts.UsernameField, a.opts.PasswordField)
	dec := json.NewDecoder(bytes.NewReader(body))
	token := func() json.Token {
		t, err := dec.Token()
		if err != nil {
			return nil
		}
		return t
	}
	if token() != json.Delim('{') {
		return c, shape
	}
	values := map[string]string{}
	for dec.More() {
		name, _ := token().(string)
		value, isText := token().(string)
		if _, again := values[name]; again || !isText {
			return c, shape
		}
		values[name] = value
	}
	var hasUsername, hasPassword bool
	c.username, hasUsername = values[a.opts.UsernameField]
	c.password, hasPassword = values[a.opts.PasswordField]
	if len(values) != 2 || !hasUsername || !hasPassword {
		return c, shape
	}
	return c, nil
}

// fromForm reads the two fields, each once.
func (a *Auth[U]) fromForm(form url.Values) (c credentials, bad *badLogin) {
	username, password, returnTo := form[a.opts.UsernameField], form[a.opts.PasswordField], form[returnToField]
	if len(username) != 1 || len(password) != 1 || len(returnTo) > 1 {
		return c, badRequest("The form must have the fields %q and %q, each once", a.opts.UsernameField, a.opts.PasswordField)
	}
	c.username, c.password = username[0], password[0]
	if len(returnTo) == 1 {
		c.returnTo = returnTo[0]
	}
	return c, nil
}

// clientAddr returns the address by which attempts are counted: an IPv4 address,
// or the /64 of an IPv6 address, as one client can have all of a /64.
func (a *Auth[U]) clientAddr(r *http.Request) string {
	addr := r.RemoteAddr
	if a.opts.ClientAddr != nil {
		addr = a.opts.ClientAddr(r)
	}
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		host, err := netip.ParseAddrPort(addr)
		if err != nil {
			return addr
		}
		ip = host.Addr()
	}
	if ip = ip.Unmap(); ip.Is4() {
		return ip.String()
	}
	prefix, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return addr
	}
	return prefix.String()
}
