package auth

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// returnToField is the query parameter and form field that holds the page to
// return to after the login.
const returnToField = "returnTo"

// The messages of the handlers. Express apps send the first three.
const (
	textLoggedIn  = "You are logged in"
	textLoggedOut = "You are logged out"
	textInvalid   = "Invalid Credentials"
	textStale     = "Sign In Again"
	textTooMany   = "Too Many Attempts"
	textCrossSite = "Cross-origin request refused"
)

// Login returns the handler that signs a user in. It takes a POST of JSON,
//
//	{"username":"…","password":"…"}
//
// or of an urlencoded form with these fields. Other fields are an error in JSON
// and ignored in a form. Credentials in the query are ignored.
//
// A program gets {"message":"…"} and one of these statuses: 200 signed in; 400
// malformed body; 401 wrong credentials, whether the user exists or not, or an
// empty field; 403 cross-origin request; 405 not a POST; 413 longer than
// Options.MaxBody; 415 neither JSON nor a form; 429 too many attempts, with
// Retry-After; 500 the Verifier failed. When the store fails, the Manager's
// ErrorFunc answers.
//
// A browser is a client that sends a form and prefers HTML. After a login it is
// redirected to the returnTo of the form or else of the query, if that is a path
// on this server, and otherwise to Options.AfterLogin. If the credentials are
// wrong, it is redirected to Options.LoginPage with the query parameters error=1
// and returnTo, and after too many attempts also wait, in seconds.
//
// A failed login leaves the session unchanged. A successful one begins a new
// session, as SignIn does.
func (a *Auth[U]) Login() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.needSession(r.Context())
		setHeaders(w)
		if !allowMethods(w, r, http.MethodPost) {
			return
		}
		if a.origin.Check(r) != nil {
			respond(w, http.StatusForbidden, textCrossSite)
			return
		}
		c, bad := a.readCredentials(w, r)
		if bad != nil {
			respond(w, bad.status, bad.message)
			return
		}
		if c.username == "" || c.password == "" {
			// Some verifiers, such as LDAP, treat an empty password as an anonymous login.
			a.refuseLogin(w, r, c, 0)
			return
		}

		user, wait, err := a.check(r, c)
		switch {
		case wait > 0:
			a.refuseLogin(w, r, c, wait)
			return
		case errors.Is(err, ErrInvalid):
			a.refuseLogin(w, r, c, 0)
			return
		case err != nil:
			a.logFailure(r, c, err)
			respond(w, http.StatusInternalServerError, http.StatusText(http.StatusInternalServerError))
			return
		}
		if err := a.SignIn(r.Context(), user); err != nil {
			a.m.ErrorFunc(w, r, err)
			return
		}
		switch {
		case !c.browser:
			respond(w, http.StatusOK, textLoggedIn)
		case isLocal(c.returnTo):
			redirect(w, c.returnTo)
		default:
			redirect(w, a.opts.AfterLogin)
		}
	})
}

// check verifies credentials. A positive wait means that no attempts are left and
// that the credentials were not verified.
func (a *Auth[U]) check(r *http.Request, c credentials) (user U, wait time.Duration, err error) {
	if a.limits == nil {
		user, err = a.verify(r.Context(), c.username, c.password)
		return user, 0, err
	}
	a.warnOfProxy(r)
	addr := a.clientAddr(r)
	begun, wait := a.limits.begin(c.username, addr)
	if begun == nil {
		a.opts.Logger.WarnContext(r.Context(), "auth: a login was refused: too many failed attempts", "client", addr)
		return user, wait, nil
	}
	outcome := failed // a panic counts as a failure
	defer func() { begun.end(outcome) }()
	user, err = a.verify(r.Context(), c.username, c.password)
	switch {
	case err == nil:
		outcome = succeeded
	case !errors.Is(err, ErrInvalid):
		outcome = undecided
	}
	return user, 0, err
}

// warnOfProxy logs once that all clients behind a proxy count as one.
func (a *Auth[U]) warnOfProxy(r *http.Request) {
	if a.opts.ClientAddr != nil || r.Header.Get("X-Forwarded-For") == "" && r.Header.Get("Forwarded") == "" {
		return
	}
	if host, err := netip.ParseAddrPort(r.RemoteAddr); err == nil && !host.Addr().IsLoopback() && !host.Addr().IsPrivate() {
		return // a public address: the client may have sent the header itself
	}
	a.proxyWarning.Do(func() {
		a.opts.Logger.WarnContext(r.Context(), "auth: logins come through a proxy, so all clients share one limit of attempts: set Options.ClientAddr (logged once)")
	})
}

func (a *Auth[U]) logFailure(r *http.Request, c credentials, err error) {
	level := slog.LevelError
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		level = slog.LevelDebug // the client has gone
	}
	a.opts.Logger.Log(r.Context(), level, "auth: the credentials could not be verified", "error", c.removedFrom(err))
}

// refuseLogin answers a login whose credentials are wrong or, if wait is positive,
// were not verified.
func (a *Auth[U]) refuseLogin(w http.ResponseWriter, r *http.Request, c credentials, wait time.Duration) {
	seconds := strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10)
	if c.browser && a.opts.LoginPage != "" {
		query := url.Values{"error": {"1"}}
		if wait > 0 {
			query.Set("wait", seconds)
		}
		redirect(w, a.loginPage(query, c.returnTo))
		return
	}
	if wait > 0 {
		w.Header().Set("Retry-After", seconds)
		respond(w, http.StatusTooManyRequests, textTooMany)
		return
	}
	respond(w, http.StatusUnauthorized, textInvalid)
}

// Logout returns the handler that signs the user out, as SignOut does. A program
// gets {"message":"You are logged out"}; a browser is redirected to
// Options.AfterLogout. The answer is the same if nobody was signed in. When the
// store fails, the Manager's ErrorFunc answers, as the session may still exist.
// The response has the browser clear its cache, so that the back button shows no
// page of a signed-in user (OWASP ASVS 14.3.1). Browsers do so on HTTPS and
// localhost only.
//
// It takes a POST, which another origin can't send, and a GET, so that a plain
// link works. With GET, another site's link can sign a user out, which is a
// nuisance but no more. Another site's images and scripts can't, nor can a
// browser's prefetch. Route only POST to the handler to rule links out.
func (a *Auth[U]) Logout() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.needSession(r.Context())
		setHeaders(w)
		if !allowMethods(w, r, http.MethodGet, http.MethodPost) {
			return
		}
		if !a.mayLogout(r) {
			respond(w, http.StatusForbidden, textCrossSite)
			return
		}
		if err := a.SignOut(r.Context()); err != nil {
			a.m.ErrorFunc(w, r, err)
			return
		}
		// Chromium keeps pages for the back button despite no-store.
		w.Header().Set("Clear-Site-Data", `"cache"`)
		if prefersHTML(r.Header) {
			redirect(w, a.opts.AfterLogout)
			return
		}
		respond(w, http.StatusOK, textLoggedOut)
	})
}

// mayLogout reports whether the request's headers show a logout that the user
// intended.
func (a *Auth[U]) mayLogout(r *http.Request) bool {
	h := r.Header
	if strings.Contains(h.Get("Sec-Purpose"), "prefetch") {
		return false
	}
	if r.Method == http.MethodGet {
		if h.Get("Sec-Fetch-Mode") == "navigate" && h.Get("Sec-Fetch-Dest") == "document" {
			return true
		}
		// CrossOriginProtection allows every GET as safe; this one has an effect.
		post := *r
		post.Method = http.MethodPost
		r = &post
	}
	return a.origin.Check(r) == nil
}

// Restricted is the middleware that admits only signed-in users. It answers
// anybody else with 401 {"message":"Invalid Credentials"}, or redirects a browser
// that wants a page (a GET or HEAD that prefers text/html) to Options.LoginPage,
// with the page's path in the query parameter returnTo.
//
// The handler's response gets "Cache-Control: no-store", which it may replace, so
// that no cache keeps it (OWASP ASVS 14.3.2).
func (a *Auth[U]) Restricted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := a.User(r.Context()); !ok {
			a.refuse(w, r, textInvalid)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// Fresh returns a middleware that admits only users who gave their credentials
// within that time. It protects sensitive operations, such as changing a password
// (OWASP ASVS 7.5.1). It answers anybody else as Restricted does, with the message
// "Sign In Again" for a signed-in user. A session from an Express app counts as
// old unless the app sets auth_time. Fresh panics if within is not positive.
func (a *Auth[U]) Fresh(within time.Duration) func(http.Handler) http.Handler {
	if within <= 0 {
		panic("auth: Fresh needs a positive duration")
	}
	return func(next http.Handler) http.Handler {
		return a.Restricted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			at := time.Unix(int64(a.m.GetFloat(r.Context(), timeKey)), 0)
			// A time that far in the future comes from another server's wrong clock.
			if time.Since(at).Abs() > within {
				a.refuse(w, r, textStale)
				return
			}
			next.ServeHTTP(w, r)
		}))
	}
}

// refuse answers a request that needs a login first.
func (a *Auth[U]) refuse(w http.ResponseWriter, r *http.Request, message string) {
	setHeaders(w)
	wantsPage := (r.Method == http.MethodGet || r.Method == http.MethodHead) && prefersHTML(r.Header)
	if wantsPage && a.opts.LoginPage != "" {
		redirect(w, a.loginPage(url.Values{}, requestURI(r)))
		return
	}
	respond(w, http.StatusUnauthorized, message)
}

// loginPage returns the login page's address with these parameters, and with
// returnTo if that is a path on this server.
func (a *Auth[U]) loginPage(query url.Values, returnTo string) string {
	if isLocal(returnTo) {
		query.Set(returnToField, returnTo)
	}
	if len(query) == 0 {
		return a.opts.LoginPage
	}
	separator := "?"
	if strings.Contains(a.opts.LoginPage, "?") {
		separator = "&"
	}
	return a.opts.LoginPage + separator + query.Encode()
}

// requestURI returns the path and query that the client sent, before any StripPrefix.
func requestURI(r *http.Request) string {
	if strings.HasPrefix(r.RequestURI, "/") {
		return r.RequestURI
	}
	return r.URL.RequestURI()
}

// maxLocal is the maximum length of a redirect's address: all browsers and proxies
// accept it.
const maxLocal = 2000

// isLocal reports whether a redirect to s stays on this server, however a browser
// parses it. Browsers treat "\" as "/", and drop tabs and line breaks.
func isLocal(s string) bool {
	if len(s) > maxLocal || !strings.HasPrefix(s, "/") {
		return false
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' || c == '\\' || c == '#' {
			return false
		}
	}
	path, _, _ := strings.Cut(s, "?")
	if strings.Contains(path, "//") {
		return false // anywhere, as browsers remove "/./" and "/../" before it
	}
	_, err := url.Parse(s)
	return err == nil
}

func allowMethods(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	for _, m := range methods {
		if r.Method == m {
			return true
		}
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	respond(w, http.StatusMethodNotAllowed, http.StatusText(http.StatusMethodNotAllowed))
	return false
}

// setHeaders keeps caches from storing an answer that concerns one user.
func setHeaders(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Add("Vary", "Accept")
}

// respond answers with a message as JSON.
func respond(w http.ResponseWriter, status int, message string) {
	b, err := json.Marshal(struct {
		Message string `json:"message"`
	}{message})
	if err != nil {
		panic(err) // a string always encodes
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

// redirect sends the browser to an address that the caller has validated.
// http.Redirect would rewrite it.
func redirect(w http.ResponseWriter, to string) {
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
}
