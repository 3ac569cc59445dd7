package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/samesid/samesid/auth"
	"github.com/samesid/samesid/backends/contract"
	"github.com/samesid/samesid/internal/wire"
)

// page is the data of the templates: this request's session as it is once the response
// has begun.
type page struct {
	URL, CSS, Icon string
	Path           string
	Method         string
	DemoUser       user
	GuestUser      user
	Password       string
	Commands       []string
	Note           string
	ShortAge       time.Duration
	Error          bool   // the last sign-in failed
	Wait           int    // seconds until the next sign-in is allowed; 0: no wait
	ReturnTo       string // where to go after signing in

	User      *user // nil: not signed in
	NextCount int

	Show      bool // show the secret values too
	This      *exchange
	Last      *exchange // an earlier one that explains this page, or nil
	LastTitle string
	SignIn    *attempt // nil: this process has not seen it
	Record    *record  // nil: no session in the store
	// StoreFailed is true if there is no Record because reading it failed.
	StoreFailed bool
	Received    *received // nil: no cookie
	Hash        string    // the parameters of the password hash, without salt and hash

	Sessions []auth.Session // the user's, on the page that lists them
	Notice   string         // what was done there, or can't be

	Device *deviceState // on the page of the browser's key
}

// record is a session as the store holds it.
type record struct {
	Fingerprint string
	Pretty      string
	Bytes       int
	Format      string
	Expiry      time.Time // the store's own; zero if unknown
	Left        time.Duration
	Total       time.Duration // the whole age, of which Left remains
	Percent     int
	Stale       bool // the expiry inside the record differs from the store's
	Browser     bool // the cookie ends with the browser
	Short       bool // it has the age of the page's button
	Renewed     bool // this request has extended the expiry to the full age
}

// received is the cookie that the browser sent.
type received struct {
	Name      string
	Value     string // as sent; dots hide it and the next two unless Show is set
	ID        string
	Signature string
	IDLen     int
	SigLen    int
	Signed    bool // it has the form of a signed cookie
	Valid     bool // its signature is valid
	Known     bool // the store knew the session when the request came
}

const dots = "••••••••"

func (x *site) page(r *http.Request) *page {
	ctx := r.Context()
	p := &page{
		URL: x.url, CSS: x.css.Path, Icon: x.icon.Path,
		Path: r.URL.Path, Method: r.Method,
		DemoUser: demoUser, GuestUser: guestUser, Password: demoPassword,
		Commands: curlCommands(x.url), Note: x.note, ShortAge: shortAge,
		Error: r.URL.Query().Has("error"),
		Show:  r.URL.Query().Get("show") == "1",
		This:  exchangeOf(ctx),
		Hash:  hashParams(x.hash),

		NextCount: x.GetInt(ctx, "count") + 1,
	}
	p.Wait, _ = strconv.Atoi(r.URL.Query().Get("wait"))
	if to := r.URL.Query().Get("returnTo"); to != "" {
		p.ReturnTo = to // Login checks that it is local
	} else if p.Path == "/protected" || p.Path == "/device" {
		p.ReturnTo = p.Path
	} else if strings.HasPrefix(p.Path, "/sessions") {
		p.ReturnTo = "/sessions"
	}
	if u, err := x.auth.User(ctx); err == nil {
		p.User = &u
	}

	raw := receivedCookie(r, x.Cookie.Name)
	if raw != "" {
		p.Received = x.readCookie(r, raw, p.Show)
		p.Last, p.LastTitle = x.tracer.journal.find(cookieKey(raw)), "What last set this cookie"
		if p.Last != nil {
			p.SignIn = p.Last.SignIn
		}
	}
	if step := x.tracer.journal.step(r); step != nil {
		p.Last, p.LastTitle = step, "What led here"
		if step.SignIn != nil {
			p.SignIn = step.SignIn
		}
	}
	if id := x.Token(ctx); id != "" {
		var err error
		if p.Record, err = x.readRecord(ctx, id); err != nil {
			x.logger.ErrorContext(ctx, "demo: the record can't be read", "error", err)
			p.StoreFailed = true
		}
	}
	return p
}

// readCookie parses the cookie as the Manager does, with the Manager's secrets.
func (x *site) readCookie(r *http.Request, raw string, show bool) *received {
	c := &received{Name: x.Cookie.Name, Known: exchangeOf(r.Context()).Before != ""}
	value, _ := wire.CookieValue(r.Header["Cookie"], c.Name)
	id, signature := value, ""
	if signed, ok := strings.CutPrefix(value, "s:"); ok {
		c.Signed = true
		_, c.Valid = x.signer.Unsign(value)
		if i := strings.LastIndexByte(signed, '.'); i >= 0 {
			id, signature = signed[:i], signed[i+1:]
		}
	}
	c.IDLen, c.SigLen = len(id), len(signature)
	switch {
	case show:
		c.Value, c.ID, c.Signature = raw, id, signature
	case c.Signed:
		c.Value, c.ID, c.Signature = "s%3A"+dots+"."+dots, dots, dots
	default:
		c.Value = dots
	}
	return c
}

// readRecord reads the session directly from the store.
func (x *site) readRecord(ctx context.Context, id string) (*record, error) {
	var (
		b     []byte
		found bool
		err   error
		rec   = &record{Fingerprint: fingerprint(id)}
	)
	switch store := x.backend.(type) {
	case contract.FindExpirer:
		b, rec.Expiry, found, err = store.FindExpiry(ctx, id)
	default:
		b, found, err = store.FindCtx(ctx, id)
	}
	if err != nil || !found {
		return nil, err
	}
	rec.Bytes = len(b)
	if rec.Pretty, rec.Format, err = x.pretty(b); err != nil {
		return nil, err
	}
	if age, ok := x.OriginalMaxAge(ctx); ok {
		rec.Total, rec.Short = age, age == shortAge
	} else {
		rec.Browser = true
	}
	now := time.Now()
	if rec.Expiry.IsZero() {
		if left, ok := x.MaxAge(ctx); ok {
			rec.Expiry = now.Add(left)
		}
	}
	if !rec.Expiry.IsZero() {
		rec.Left = rec.Expiry.Sub(now).Round(time.Second)
		rec.Renewed = rec.Left >= rec.Total.Round(time.Second)
		rec.Total = max(rec.Total, rec.Left)
		rec.Percent = int(100 * rec.Left / max(rec.Total, 1))
		if wrote, err := wire.DecodeRecord(b); err == nil && !wrote.Cookie.Expires.IsZero() {
			rec.Stale = rec.Expiry.Sub(wrote.Cookie.Expires).Abs() > time.Second
		}
	}
	return rec, nil
}

// pretty formats a record as JSON, whatever its codec.
func (x *site) pretty(b []byte) (text, format string, err error) {
	var out bytes.Buffer
	if json.Indent(&out, b, "", "  ") == nil {
		return out.String(), "JSON, as Express stores it", nil
	}
	_, values, err := x.Codec.Decode(b)
	if err != nil {
		return "", "", err
	}
	decoded, err := json.MarshalIndent(values, "", "  ")
	return string(decoded), "gob, shown here as JSON", err
}

// hashParams returns the parameters of a password hash, without salt and hash.
func hashParams(hash string) string {
	parts := strings.Split(hash, "$")
	for i := len(parts) - 1; i > 0 && len(parts[i]) > 20; i-- {
		parts[i] = "…"
	}
	return strings.Join(parts, "$")
}

// The states of a step. The page also shows them in words.
const (
	done    = "done"
	waiting = "waiting"
	refused = "refused"
)

func (p *page) StateSent() string {
	if p.SignIn != nil || p.User != nil {
		return done
	}
	return waiting
}

func (p *page) StateVerified() string {
	switch {
	case p.SignIn != nil && !p.SignIn.OK:
		return refused
	case p.SignIn != nil, p.User != nil:
		return done
	}
	return waiting
}

func (p *page) StateStored() string {
	switch {
	case p.Record != nil:
		return done
	case p.Received != nil && p.Received.Valid:
		return refused
	}
	return waiting
}

func (p *page) StateSet() string {
	if p.Record != nil || p.Last != nil && p.Last.SetCookie != nil && !p.Last.SetCookie.Cleared {
		return done
	}
	return waiting
}

func (p *page) StateReceived() string {
	if p.Received != nil {
		return done
	}
	return waiting
}

func (p *page) StateSigned() string {
	switch {
	case p.Received == nil:
		return waiting
	case p.Received.Valid, p.Received.Known:
		return done
	}
	return refused
}

func (p *page) StateAccess() string {
	switch {
	case p.User != nil:
		return done
	case p.Received != nil:
		return refused
	}
	return waiting
}

// CookieLine returns a Set-Cookie header as it was sent. It shows the value only if
// that is wanted and known.
func (p *page) CookieLine(c *setCookie) string {
	value := dots
	switch {
	case c.Cleared:
		value = ""
	case p.Received != nil && cookieKey(p.Received.Value) == c.key:
		value = p.Received.Value
	}
	return strings.Join(append([]string{c.Name + "=" + value}, c.Attrs...), "; ")
}

// attribute is one attribute of a cookie, with its meaning in words.
type attribute struct{ Text, Meaning string }

var meanings = map[string]string{
	"max-age":         "how many seconds the browser keeps it",
	"expires":         "the same, as a date",
	"path":            "sent with requests for this path and below",
	"domain":          "sent to this host and those below it",
	"httponly":        "scripts on the page can't read it",
	"secure":          "sent over HTTPS alone",
	"partitioned":     "kept apart for each site that embeds this one",
	"priority":        "which cookies a full browser drops first",
	"samesite=lax":    "not sent with what other sites post here",
	"samesite=none":   "sent with requests from other sites too",
	"samesite=strict": "sent only with requests from this site",
}

// Attributes returns the attributes of a cookie with their meanings.
func (c *setCookie) Attributes() []attribute {
	var list []attribute
	for _, text := range c.Attrs {
		key := strings.ToLower(text)
		name, _, _ := strings.Cut(key, "=")
		meaning, ok := meanings[key]
		if !ok {
			meaning = meanings[name]
		}
		if c.Cleared && (name == "max-age" || name == "expires") {
			meaning = "over at once: the browser drops it"
		}
		list = append(list, attribute{text, meaning})
	}
	return list
}

// Seconds returns the duration of the progress bar's animation.
func (r *record) Seconds() string { return strconv.Itoa(int(max(r.Left, time.Second) / time.Second)) }

// response is an exchange under a heading.
type response struct {
	*exchange
	Title string
	Line  string // the Set-Cookie header's value; "" if there is none
}

// Responses returns the responses that the page shows, the earlier one first.
func (p *page) Responses() []response {
	var list []response
	if p.Last != nil {
		list = append(list, response{exchange: p.Last, Title: p.LastTitle})
	}
	list = append(list, response{exchange: p.This, Title: "This page"})
	for i := range list {
		if c := list[i].SetCookie; c != nil {
			list[i].Line = p.CookieLine(c)
		}
	}
	return list
}
