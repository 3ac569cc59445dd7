package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/internal/wire"
)

// exchange describes one request and its response. It holds no secret: neither a
// cookie's value nor a session's id can be recovered from it.
type exchange struct {
	Method, Path string
	At           time.Time
	Status       int

	Before, After string // fingerprints of the sessions, "" for none
	SetCookie     *setCookie
	Why           string   // why the cookie was set or not
	SignIn        *attempt // the verifier's result, if it was called
}

// setCookie is the session's Set-Cookie header without the cookie's value.
type setCookie struct {
	Name    string
	Attrs   []string // as they were sent
	Cleared bool
	key     string // cookieKey of the value
}

// attempt is one call of the verifier.
type attempt struct {
	Method, Path string
	Username     string
	OK           bool
	At           time.Time
	Took         time.Duration
}

// sighting is a snapshot of the session as a handler sees it.
type sighting struct {
	id     string // "" if it is not in the store
	values map[string]any
}

func see(ctx context.Context, m *adapter.Manager) sighting {
	s := sighting{id: m.Token(ctx), values: map[string]any{}}
	for _, k := range m.Keys(ctx) {
		s.values[k] = m.Get(ctx, k)
	}
	return s
}

// tracer observes what the Manager does to a request's session and to the response. It
// wraps the Manager in one middleware, and runs another one inside it.
type tracer struct {
	m       *adapter.Manager
	journal journal
}

type exchangeKey struct{}

// exchangeOf returns the exchange of this request. It holds nothing about the response
// before that has begun.
func exchangeOf(ctx context.Context) *exchange {
	e, _ := ctx.Value(exchangeKey{}).(*exchange)
	return e
}

// observe wraps handler in LoadAndSave, and records what LoadAndSave does.
func (t *tracer) observe(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e := &exchange{Method: r.Method, Path: r.URL.Path, At: time.Now().UTC()}
		r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, e))

		var session context.Context // set if the session was loaded
		var before sighting
		inside := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			session, before = r.Context(), see(r.Context(), t.m)
			handler.ServeHTTP(w, r)
		})
		tw := &tracingWriter{ResponseWriter: w}
		tw.begin = func(status int) {
			e.Status = status
			if session == nil {
				return
			}
			after := see(session, t.m)
			e.Before, e.After = fingerprint(before.id), fingerprint(after.id)
			c := t.sessionCookie(w.Header())
			e.SetCookie = keepCookie(c)
			_, lasting := t.m.OriginalMaxAge(session)
			e.Why = facts{
				before: before, after: after, cookie: c, lasting: lasting,
				received: receivedCookie(r, t.m.Cookie.Name),
				outside:  !strings.HasPrefix(r.URL.EscapedPath()+"/", strings.TrimSuffix(t.m.Cookie.Path, "/")+"/"),
			}.why()
			t.journal.add(e, w.Header())
		}
		t.m.LoadAndSave(inside).ServeHTTP(tw, r)
		if !tw.begun {
			tw.WriteHeader(http.StatusOK)
		}
	})
}

// sessionCookie returns the session's cookie in a response's headers, or nil.
func (t *tracer) sessionCookie(h http.Header) *http.Cookie {
	for _, line := range h["Set-Cookie"] {
		if c, err := http.ParseSetCookie(line); err == nil && c.Name == t.m.Cookie.Name {
			return c
		}
	}
	return nil
}

func keepCookie(c *http.Cookie) *setCookie {
	if c == nil {
		return nil
	}
	kept := &setCookie{Name: c.Name, Cleared: c.MaxAge < 0 || c.Value == "", key: cookieKey(c.Value)}
	if _, attrs, ok := strings.Cut(c.Raw, ";"); ok {
		for attr := range strings.SplitSeq(attrs, ";") {
			kept.Attrs = append(kept.Attrs, strings.TrimSpace(attr))
		}
	}
	return kept
}

// facts are the observations of a request from which why infers the rule that applied.
// It does not read the configuration, so that a reason must fit what happened.
type facts struct {
	before, after sighting
	cookie        *http.Cookie // in the response
	received      string       // in the request, as sent
	lasting       bool         // the session's cookie has an expiry
	outside       bool         // the path is outside cookie.path
}

func (f facts) why() string {
	changed := !reflect.DeepEqual(f.before.values, f.after.values)
	switch isNew := f.after.id != f.before.id; {
	case f.cookie == nil && f.outside:
		return "The path is outside cookie.path, so this request has no session."
	case f.cookie == nil && f.before.id == "" && f.after.id == "":
		return "There is no session to name: a new one without data is not saved and gets no cookie (saveUninitialized is off)."
	case f.cookie == nil && f.after.id == "":
		return "The session was ended by another request while this one ran."
	case f.cookie == nil && (isNew || changed && f.lasting):
		return "The cookie is for secure connections alone (cookie.secure), and this one is not secure."
	case f.cookie == nil && changed:
		return "The session has changed, but its cookie ends with the browser, so there is no expiry to renew."
	case f.cookie == nil:
		return "The session was loaded and its data not changed, so the cookie that the browser has stays right."
	case f.cookie.Value == "":
		return "The session was destroyed, so the browser is told to forget the cookie."
	case isNew && len(f.after.values) == 0:
		return "The session is new and saved although it is empty (saveUninitialized is on)."
	case isNew && f.before.id != "":
		return "The session got a new id, so that the old one is worth nothing from here on."
	case isNew:
		return "The session is new and has data, so it was saved and the browser gets its name."
	case !strings.HasPrefix(f.received, "s%3A") && !strings.HasPrefix(f.received, "s:"):
		return "The cookie came without a signature and is replaced by a signed one."
	case changed && f.lasting:
		return "The session has changed, and its cookie has an expiry, which moves with each change."
	}
	return "The cookie is sent on every response (rolling is on)."
}

// tracingWriter calls begin when the headers are final. The Manager, which is between
// it and the handler, has then saved the session and set the cookie.
type tracingWriter struct {
	http.ResponseWriter
	begin func(status int)
	begun bool
}

func (w *tracingWriter) WriteHeader(status int) {
	if status >= 200 && !w.begun {
		w.begun = true
		w.begin(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *tracingWriter) Write(b []byte) (int, error) {
	if !w.begun {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *tracingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// journalSize is the number of exchanges that the journal keeps.
const journalSize = 1024

// journal keeps the exchanges that a later page shows. The key of an exchange that set
// a cookie is the cookie. The key of one that redirects is an id that it adds to the
// address, since after a logout there is no cookie.
type journal struct {
	mu      sync.Mutex
	entries map[string]*exchange
	order   []string
}

func (j *journal) add(e *exchange, h http.Header) {
	if e.SetCookie != nil && !e.SetCookie.Cleared {
		// The page also shows the sign-in, which an earlier cookie may have recorded.
		kept := *e
		if old := j.find(e.SetCookie.key); old != nil && kept.SignIn == nil {
			kept.SignIn = old.SignIn
		}
		j.put(e.SetCookie.key, &kept)
	}
	if e.Status != http.StatusSeeOther {
		return
	}
	to, err := url.Parse(h.Get("Location"))
	if err != nil || to.IsAbs() || to.Host != "" {
		return
	}
	step := rand.Text()[:10]
	q := to.Query()
	q.Set("step", step)
	to.RawQuery = q.Encode()
	h.Set("Location", to.String())
	j.put("step "+step, e)
}

func (j *journal) put(key string, e *exchange) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.entries == nil {
		j.entries = map[string]*exchange{}
	}
	if j.entries[key] == nil {
		j.order = append(j.order, key)
	}
	j.entries[key] = e
	if len(j.order) > journalSize {
		delete(j.entries, j.order[0])
		j.order = j.order[1:]
	}
}

func (j *journal) find(key string) *exchange {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.entries[key]
}

// step returns the exchange that redirected to this request, or nil.
func (j *journal) step(r *http.Request) *exchange {
	return j.find("step " + r.URL.Query().Get("step"))
}

// cookieKey returns the journal's key for a cookie's value, which is a hash.
func cookieKey(value string) string {
	sum := sha256.Sum256([]byte(value))
	return "cookie " + string(sum[:])
}

// fingerprint identifies a session without revealing its id. The Manager's log lines
// contain the same fingerprint.
func fingerprint(id string) string {
	if id == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:6])
}

// receivedCookie returns the first cookie of this name as the browser sent it,
// still percent-encoded, or "".
func receivedCookie(r *http.Request, name string) string {
	if _, ok := wire.CookieValue(r.Header["Cookie"], name); !ok {
		return ""
	}
	for _, line := range r.Header["Cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			if k, v, ok := strings.Cut(pair, "="); ok && strings.TrimSpace(k) == name {
				return strings.TrimSpace(v)
			}
		}
	}
	return ""
}
