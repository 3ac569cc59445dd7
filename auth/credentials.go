package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// credentials is the content of a login request.
type credentials struct {
	username, password string
	fields             map[string]string // those of Options.Fields that were sent
	returnTo           string            // not validated yet
	browser            bool              // a form from a client that prefers HTML
}

// removedFrom returns an error's text without the credentials, in case a Verifier
// has put them there.
func (c credentials) removedFrom(err error) string {
	return strings.NewReplacer(c.password, "[password]", c.username, "[username]").Replace(err.Error())
}

// A badLogin is a malformed login, which is ErrMalformed. The message never quotes the
// body.
type badLogin struct {
	status  int
	message string
}

func (b *badLogin) Error() string { return ErrMalformed.Error() + ": " + b.message }
func (b *badLogin) Unwrap() error { return ErrMalformed }

func badRequest(format string, args ...any) *badLogin {
	return &badLogin{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// readCredentials reads a login's body.
func (a *core) readCredentials(w http.ResponseWriter, r *http.Request) (c credentials, bad *badLogin) {
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
	for _, value := range c.fields {
		if !isText(value) {
			return c, errNotText
		}
	}
	if !isText(c.username) || !isText(c.password) {
		return c, errNotText
	}
	return c, nil
}

var errNotText = badRequest("The fields must be UTF-8 text")

// isText reports whether databases take a text, and C libraries don't truncate it at a NUL.
func isText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

func (a *core) readBody(w http.ResponseWriter, r *http.Request) ([]byte, *badLogin) {
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
func (a *core) fromJSON(body []byte) (c credentials, bad *badLogin) {
	if !json.Valid(body) || !utf8.Valid(body) {
		return c, badRequest("The body is not valid JSON")
	}
	others := "no others"
	for i, name := range a.opts.Fields {
		others = map[bool]string{true: "optionally ", false: others + ", "}[i == 0] + fmt.Sprintf("%q", name)
	}
	shape := badRequest("The body must be a JSON object with the text fields %q and %q, each once, and %s", a.opts.UsernameField, a.opts.PasswordField, others)
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
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
		further := slices.Contains(a.opts.Fields, name)
		if _, again := values[name]; again || !further && name != a.opts.UsernameField && name != a.opts.PasswordField {
			return c, shape
		}
		value := token()
		text, ok := value.(string)
		if further {
			switch v := value.(type) {
			case bool:
				text, ok = strconv.FormatBool(v), true
			case json.Number:
				text, ok = v.String(), true
			}
		}
		if !ok {
			return c, shape
		}
		values[name] = text
	}
	var hasUsername, hasPassword bool
	c.username, hasUsername = values[a.opts.UsernameField]
	c.password, hasPassword = values[a.opts.PasswordField]
	if !hasUsername || !hasPassword {
		return c, shape
	}
	delete(values, a.opts.UsernameField)
	delete(values, a.opts.PasswordField)
	c.fields = values
	return c, nil
}

// fromForm reads the two fields, each once.
func (a *core) fromForm(form url.Values) (c credentials, bad *badLogin) {
	username, password, returnTo := form[a.opts.UsernameField], form[a.opts.PasswordField], form[returnToField]
	if len(username) != 1 || len(password) != 1 || len(returnTo) > 1 {
		return c, badRequest("The form must have the fields %q and %q, each once", a.opts.UsernameField, a.opts.PasswordField)
	}
	c.username, c.password = username[0], password[0]
	c.fields = map[string]string{}
	for _, name := range a.opts.Fields {
		switch values := form[name]; len(values) {
		case 0:
		case 1:
			c.fields[name] = values[0]
		default:
			return c, badRequest("The form must have the field %q at most once", name)
		}
	}
	if len(returnTo) == 1 {
		c.returnTo = returnTo[0]
	}
	return c, nil
}
