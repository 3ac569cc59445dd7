package auth

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/samesid/samesid/adapter"
)

// returnToField is the query parameter and form field that holds the page to
// return to after the login.
const returnToField = "returnTo"

// The messages of the handlers. Express apps send the first three.
const (
	textLoggedIn        = "You are logged in"
	textLoggedOut       = "You are logged out"
	textInvalid         = "Invalid Credentials"
	textStale           = "Sign In Again"
	textTooMany         = "Too Many Attempts"
	textTooManySessions = "Too Many Sessions"
	textCrossSite       = "Cross-origin request refused"
)

// warnOfProxy logs once that all clients behind a proxy count as one.
func (a *core) warnOfProxy(r *http.Request) {
	if a.opts.ClientAddr != nil {
		return
	}
	if a.isProxy(r.RemoteAddr) {
		if r.Header.Get(a.opts.ClientHeader) == "" {
			a.proxyWarning.Do(func() {
				a.opts.Logger.WarnContext(r.Context(), "auth: a trusted proxy does not name its client, so all clients share one limit of attempts: have it set the header of Options.ClientHeader (logged once)", "header", a.opts.ClientHeader)
			})
		}
		return
	}
	if r.Header.Get("X-Forwarded-For") == "" && r.Header.Get("Forwarded") == "" && r.Header.Get("X-Real-Ip") == "" {
		return
	}
	ip, ok := parseAddr(r.RemoteAddr)
	if ok && !ip.IsLoopback() && !ip.IsPrivate() {
		return // a public address: the client may have sent the header itself
	}
	a.proxyWarning.Do(func() {
		a.opts.Logger.WarnContext(r.Context(), "auth: logins come through a proxy, so all clients share one limit of attempts: set Options.ClientHeader and TrustedProxies (logged once)", "proxy", ip)
	})
}

func (a *core) logFailure(r *http.Request, c credentials, err error) {
	level := slog.LevelError
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		level = slog.LevelDebug // the client has gone
	}
	a.opts.Logger.Log(r.Context(), level, "auth: the credentials could not be verified", "error", c.removedFrom(err))
}

// failedPage returns the page to which a browser is redirected after a login that failed,
// "" for a program.
func (a *core) failedPage(c credentials, err error) string {
	query := url.Values{"error": {"1"}}
	var tooMany *TooManyError
	if errors.As(err, &tooMany) {
		query.Set("wait", tooMany.seconds())
	} else if !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrTooManySessions) && !errors.Is(err, adapter.ErrUserEnded) {
		return ""
	}
	if !c.browser || a.opts.LoginPage == "" {
		return ""
	}
	return a.loginPage(query, c.returnTo)
}

// checkOrigin returns ErrCrossOrigin if another origin has sent the request, and logs both
// origins: it may be the same one behind a proxy.
func (a *core) checkOrigin(r *http.Request) error {
	// CrossOriginProtection allows every GET as safe; a login or logout has an effect.
	post := *r
	post.Method = http.MethodPost
	if a.origin.Check(&post) == nil {
		return nil
	}
	if a.originWarning.next(time.Now()) {
		fix := "a page of another origin that may sign users in and out is one of Options.TrustedOrigins"
		if r.Header.Get("Sec-Fetch-Site") == "" {
			fix = "if both are this server, the proxy in front must pass the name on (nginx: proxy_set_header Host $http_host); " + fix
		}
		scheme := "http"
		if r.TLS != nil {
			scheme = "https"
		}
		a.opts.Logger.WarnContext(r.Context(), "auth: a login or logout from another origin was refused: "+fix,
			"origin", shortened(r.Header.Get("Origin")), "here", shortened(scheme+"://"+r.Host), "site", shortened(r.Header.Get("Sec-Fetch-Site")))
	}
	return ErrCrossOrigin
}

// shortened truncates what a client has sent, for the log.
func shortened(s string) string {
	const most = 200
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// bounded bounds the lines that clients can cause in the log: five at once, and then one
// a minute.
type bounded struct {
	mu   sync.Mutex
	full time.Time // when there are five again
}

func (b *bounded) next(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	full := b.full
	if full.Before(now) {
		full = now
	}
	if full = full.Add(time.Minute); full.Sub(now) > 5*time.Minute {
		return false
	}
	b.full = full
	return true
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
// nuisance but no more. Images, scripts and frames can't, of whatever site, nor can a
// browser's prefetch. Browsers tell them from links by Sec-Fetch headers, and on plain
// HTTP, where they send none, by an Accept that prefers HTML; a frame has that too. A
// page's own script that uses GET must be on HTTPS or localhost. Route only POST to the
// handler to rule links out.
func (a *Auth[U]) Logout() http.Handler { return http.HandlerFunc(a.logout) }

func (a *core) logout(w http.ResponseWriter, r *http.Request) {
	a.needSession(r.Context())
	setHeaders(w)
	if !allowMethods(w, r, http.MethodGet, http.MethodPost) {
		return
	}
	if !a.mayLogout(r) {
		a.auditRefusal(r, ErrCrossOrigin)
		a.refuse(w, r, Refusal{Reason: ErrCrossOrigin}, "")
		return
	}
	if err := a.signOut(r.Context()); err != nil {
		a.m.ErrorFunc(w, r, err)
		return
	}
	if a.opts.Binding != nil {
		a.opts.Binding.End(w, r)
	}
	// Chromium keeps pages for the back button despite no-store.
	w.Header().Set("Clear-Site-Data", `"cache"`)
	if prefersHTML(r.Header) {
		redirect(w, a.opts.AfterLogout)
		return
	}
	respond(w, http.StatusOK, textLoggedOut)
}

// mayLogout reports whether the request's headers show a logout that the user
// intended.
func (a *core) mayLogout(r *http.Request) bool {
	h := r.Header
	if strings.Contains(h.Get("Sec-Purpose"), "prefetch") {
		return false
	}
	if r.Method == http.MethodGet {
		switch dest := h.Get("Sec-Fetch-Dest"); {
		case h.Get("Sec-Fetch-Mode") == "navigate" && dest == "document":
			return true
		case dest != "" && dest != "empty": // not a page's script that asks for data
			return false
		case h.Get("Sec-Fetch-Site") != "" || prefersHTML(h):
		case h.Get("Accept") != "" && strings.HasPrefix(h.Get("User-Agent"), "Mozilla/"):
			return false // a browser that is not following a link
		}
	}
	return a.checkOrigin(r) == nil
}

// Restricted is the middleware that admits only signed-in users. It answers
// anybody else with 401 {"message":"Invalid Credentials"}, or redirects a browser
// that wants a page (a GET or HEAD that prefers text/html) to Options.LoginPage,
// with the page's path in the query parameter returnTo. A signed-in user's request that
// Options.Binding refuses is answered so too, with the message "Sign In Again".
// Options.Refused can answer otherwise.
//
// The handler's response gets "Cache-Control: no-store", which it may replace, so
// that no cache keeps it (OWASP ASVS 14.3.2).
func (a *Auth[U]) Restricted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { a.restrict(w, r, next) })
}

func (a *Auth[U]) restrict(w http.ResponseWriter, r *http.Request, next http.Handler) {
	user, err := a.User(r.Context())
	switch {
	case errors.Is(err, ErrNotSignedIn):
		a.noteKeys(r.Context())
		a.askForLogin(w, r, err)
		return
	case err != nil:
		a.m.ErrorFunc(w, r, err)
		return
	}
	if !a.proven(w, r) {
		return
	}
	if a.with != nil {
		r = r.WithContext(a.with(r.Context(), user))
	}
	w.Header().Set("Cache-Control", "no-store")
	next.ServeHTTP(w, r)
}

// noteKeys says once that a session which is not signed in has values, and none under the
// user's key: another app may keep its users elsewhere.
func (a *core) noteKeys(ctx context.Context) {
	if a.m.Exists(ctx, a.outer) {
		return
	}
	if keys := a.m.Keys(ctx); len(keys) > 0 {
		a.keyNote.Do(func() {
			a.opts.Logger.InfoContext(ctx, "auth: a session has values, and none under the user's key, so nobody is signed in (said once): "+
				"if another app has signed its user in, set Options.Key to where that app keeps the user", "key", a.opts.Key, "keys", keys)
		})
	}
}

// Fresh returns a middleware that admits only users who gave their credentials
// within that time, and with all of the methods: it compares them with the session's
// "amr", as SignInOptions.Methods says. It protects sensitive operations, such as changing
// a password (OWASP ASVS 7.5.1), and asks for a second factor (7.5.3), as
// Fresh(5*time.Minute, "mfa"). It answers anybody else as Restricted does, with the
// message "Sign In Again" for a signed-in user. A session from an Express app counts as
// old unless the app sets auth_time. Fresh panics if within is not positive.
func (a *Auth[U]) Fresh(within time.Duration, methods ...string) func(http.Handler) http.Handler {
	if within <= 0 {
		panic("auth: Fresh needs a positive duration")
	}
	return func(next http.Handler) http.Handler {
		return a.Restricted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := a.fresh(r.Context(), within, methods); err != nil {
				a.askForLogin(w, r, err)
				return
			}
			next.ServeHTTP(w, r)
		}))
	}
}

// fresh returns why the session is not one that Fresh admits.
func (a *core) fresh(ctx context.Context, within time.Duration, methods []string) error {
	at := time.Unix(int64(a.m.GetFloat(ctx, timeKey)), 0)
	// A time that far in the future comes from another server's wrong clock.
	if time.Since(at).Abs() > within {
		return ErrStale
	}
	if len(methods) == 0 {
		return nil
	}
	used, _ := adapter.Get[[]string](ctx, a.m, methodsKey) // what is no list has none
	for _, method := range methods {
		if !slices.Contains(used, method) {
			return ErrMethod
		}
	}
	return nil
}

// askForLogin refuses a request that needs a login first. A browser that wants a page is
// redirected to the form.
func (a *core) askForLogin(w http.ResponseWriter, r *http.Request, reason error) {
	setHeaders(w)
	page := ""
	if a.opts.LoginPage != "" && (r.Method == http.MethodGet || r.Method == http.MethodHead) && prefersHTML(r.Header) {
		page = a.loginPage(url.Values{}, requestURI(r))
	}
	a.auditRefusal(r, reason)
	a.refuse(w, r, Refusal{Reason: reason}, page)
}

// loginPage returns the login page's address with these parameters, and with
// returnTo if that is a path on this server.
func (a *core) loginPage(query url.Values, returnTo string) string {
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
