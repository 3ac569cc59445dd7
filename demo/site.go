package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/samesid/samesid/auth"
	"github.com/samesid/samesid/auth/devicebound"
	"github.com/samesid/samesid/internal/wire"
)

type user struct {
	Username string `json:"username"`
	Name     string `json:"name"`
}

// The users have the same password. It is no secret: the page and the terminal show it.
var (
	demoUser  = user{Username: "demo", Name: "Demo User"}
	guestUser = user{Username: "guest", Name: "Guest User"}
)

const demoPassword = "same-session-everywhere"

// shortAge is the age that the page's button gives a session.
const shortAge = 10 * time.Second

//go:embed pages.html app.css favicon.svg
var files embed.FS

type site struct {
	*sessions
	tracer *tracer
	auth   *auth.Auth[user]
	bound  *devicebound.Binding // nil: see unbound
	signer *wire.Signer
	pages  *template.Template
	logger *slog.Logger
	url    string
	hash   string // of the users' password
	css    asset
	// unbound is why sessions of this configuration can't be bound to a browser.
	unbound error
	icon    asset
}

type asset struct {
	Path        string // contains a hash of the content, so that it can be cached forever
	contentType string
	content     []byte
}

// newSite returns the demo's handler. url is its address.
func newSite(s *sessions, url string, logger *slog.Logger) (http.Handler, error) {
	x := &site{sessions: s, tracer: &tracer{m: s.Manager}, signer: wire.NewSigner(s.secrets), logger: logger, url: url}
	var err error
	if x.hash, err = auth.HashPassword(demoPassword); err != nil {
		return nil, err
	}
	options := auth.Options{LoginPage: "/", NoteDevice: true, Refused: x.copied, Logger: logger}
	if x.bound, x.unbound = devicebound.New(s.Manager, devicebound.Options{}); x.unbound == nil {
		options.Binding = x.bound
	}
	x.auth, err = auth.New(s.Manager, x.verifier(), options)
	if err != nil {
		return nil, err
	}
	x.pages, err = template.New("").Funcs(template.FuncMap{
		"clock":  clock,
		"short":  shortDuration,
		"ago":    ago,
		"until":  until,
		"device": device,
	}).ParseFS(files, "pages.html")
	if err != nil {
		return nil, err
	}
	if x.css, err = loadAsset("app.css", "text/css; charset=utf-8"); err != nil {
		return nil, err
	}
	if x.icon, err = loadAsset("favicon.svg", "image/svg+xml"); err != nil {
		return nil, err
	}

	sameOrigin := http.NewCrossOriginProtection()
	sameOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusForbidden, message{"Cross-origin request refused"}) // as Login
	}))
	app := http.NewServeMux()
	app.HandleFunc("GET /{$}", x.home)
	app.Handle("POST /login", x.auth.Login())
	app.Handle("GET /protected", x.signedIn(x.protected))
	app.Handle("GET /sessions", x.signedIn(x.listSessions))
	app.Handle("POST /sessions/{handle}/end", sameOrigin.Handler(x.signedIn(x.endSession)))
	app.Handle("POST /sessions/end-others", sameOrigin.Handler(x.signedIn(x.endOthers)))
	app.Handle("GET /device", x.signedIn(x.showDevice))
	app.Handle("POST /device/forget", sameOrigin.Handler(http.HandlerFunc(x.forgetProof)))
	if x.bound != nil {
		app.Handle("POST /device-bound/", x.bound)
	}
	app.Handle("POST /logout", x.auth.Logout())
	app.Handle("GET /logout", x.auth.Logout())
	app.Handle("POST /count", sameOrigin.Handler(http.HandlerFunc(x.count)))
	app.Handle("POST /expire", sameOrigin.Handler(http.HandlerFunc(x.expire)))
	app.HandleFunc("/", x.notFound)

	mux := http.NewServeMux()
	mux.Handle("GET "+x.css.Path, x.css)
	mux.Handle("GET "+x.icon.Path, x.icon)
	mux.Handle("/", noStore(x.tracer.observe(app)))
	return secured(mux), nil
}

// verifier returns a Verifier that checks a user's password and records the outcome for
// the page.
func (x *site) verifier() auth.Verifier[user] {
	verify := auth.Passwords(func(_ context.Context, username string) (user, string, error) {
		for _, u := range []user{demoUser, guestUser} {
			if u.Username == username {
				return u, x.hash, nil
			}
		}
		return user{}, "", auth.ErrInvalid
	})
	return func(ctx context.Context, username, password string) (user, error) {
		start := time.Now()
		u, err := verify(ctx, username, password)
		if e := exchangeOf(ctx); err == nil || errors.Is(err, auth.ErrInvalid) {
			e.SignIn = &attempt{
				Method: e.Method, Path: e.Path, At: e.At,
				Username: shortened(username),
				OK:       err == nil,
				Took:     time.Since(start),
			}
		}
		return u, err
	}
}

func (x *site) protected(w http.ResponseWriter, r *http.Request) {
	if !wantsPage(r) {
		writeJSON(w, http.StatusOK, message{"You are authorized"})
		return
	}
	x.render(w, r, http.StatusOK, "protected")
}

// signedIn admits only users who are signed in.
func (x *site) signedIn(handler http.HandlerFunc) http.Handler {
	restricted := x.auth.Restricted(handler)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Restricted would redirect a browser to the login page. The demo is clearer
		// if it shows the 401 itself, with the form.
		if _, err := x.auth.User(r.Context()); err != nil && wantsPage(r) {
			x.render(w, r, http.StatusUnauthorized, "unauthorized")
			return
		}
		restricted.ServeHTTP(w, r)
	})
}

func (x *site) home(w http.ResponseWriter, r *http.Request) {
	if wantsPage(r) {
		x.render(w, r, http.StatusOK, "home")
		return
	}
	u, err := x.auth.User(r.Context())
	status := struct {
		SignedIn bool  `json:"signedIn"`
		User     *user `json:"user"`
		Count    int   `json:"count"`
	}{SignedIn: err == nil, Count: x.GetInt(r.Context(), "count")}
	if err == nil {
		status.User = &u
	}
	writeJSON(w, http.StatusOK, status)
}

// count changes the session, whether signed in or not.
func (x *site) count(w http.ResponseWriter, r *http.Request) {
	n := x.GetInt(r.Context(), "count") + 1
	x.Put(r.Context(), "count", n)
	if wantsPage(r) {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	writeJSON(w, http.StatusOK, struct {
		Count int `json:"count"`
	}{n})
}

// expire gives the session a short age of its own.
func (x *site) expire(w http.ResponseWriter, r *http.Request) {
	if x.Token(r.Context()) != "" {
		x.SetMaxAge(r.Context(), shortAge)
	}
	if wantsPage(r) {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	writeJSON(w, http.StatusOK, message{fmt.Sprintf("The session ends %s after its last request", shortDuration(shortAge))})
}

func (x *site) notFound(w http.ResponseWriter, r *http.Request) {
	if wantsPage(r) {
		x.render(w, r, http.StatusNotFound, "notFound")
		return
	}
	writeJSON(w, http.StatusNotFound, message{"Not Found"})
}

// render sends the headers before it executes the template. The session is then saved
// and the cookie set, so the page shows what has happened. add completes the page.
func (x *site) render(w http.ResponseWriter, r *http.Request, status int, name string, add ...func(*page)) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	p := x.page(r)
	for _, f := range add {
		f(p)
	}
	var body bytes.Buffer
	if err := x.pages.ExecuteTemplate(&body, name, p); err != nil {
		x.logger.ErrorContext(r.Context(), "demo: the page can't be rendered", "error", err)
		return
	}
	_, _ = body.WriteTo(w) // it fails only if the client has gone
}

type message struct {
	Message string `json:"message"`
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // it fails only if the client has gone
}

// wantsPage reports whether the client is a browser: it accepts HTML by name, and does
// not prefer JSON.
func wantsPage(r *http.Request) bool {
	accept := strings.Join(r.Header["Accept"], ",")
	html := quality(accept, "text/html")
	return html > 0 && html >= quality(accept, "application/json")
}

// quality returns the weight that an Accept header gives to a media type by its full
// name.
func quality(accept, mediaType string) float64 {
	for entry := range strings.SplitSeq(accept, ",") {
		name, params, _ := strings.Cut(entry, ";")
		if !strings.EqualFold(strings.TrimSpace(name), mediaType) {
			continue
		}
		for param := range strings.SplitSeq(params, ";") {
			if k, v, _ := strings.Cut(strings.TrimSpace(param), "="); strings.EqualFold(k, "q") {
				q, err := strconv.ParseFloat(v, 64)
				if err != nil {
					return 0
				}
				return q
			}
		}
		return 1
	}
	return 0
}

// noStore keeps caches from storing a signed-in user's page, so that it is not shown
// again after the logout.
func noStore(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Add("Vary", "Accept")
		next.ServeHTTP(w, r)
	})
}

// secured sets the security headers of every response. Referrer-Policy is not
// no-referrer, because that would blank the Origin header, which proves that a form was
// posted from this site.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		next.ServeHTTP(w, r)
	})
}

func loadAsset(name, contentType string) (asset, error) {
	b, err := files.ReadFile(name)
	if err != nil {
		return asset{}, err
	}
	sum := sha256.Sum256(b)
	return asset{Path: "/" + hex.EncodeToString(sum[:4]) + "/" + name, contentType: contentType, content: b}, nil
}

func (a asset) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", a.contentType)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(a.content) // it fails only if the client has gone
}

// clock formats a time for people, with the date if it is not today.
func clock(t time.Time) string {
	t = t.UTC()
	if y, m, d := time.Now().UTC().Date(); t.Truncate(24*time.Hour) != time.Date(y, m, d, 0, 0, 0, 0, time.UTC) {
		return t.Format("2 Jan 2006, 15:04:05 UTC")
	}
	return t.Format("15:04:05 UTC")
}

// shortDuration formats a duration for people, in its two largest units.
func shortDuration(d time.Duration) string {
	if d < 0 {
		d = 0
	}
	days, rest := d/(24*time.Hour), d%(24*time.Hour)
	h, m, s := rest/time.Hour, rest%time.Hour/time.Minute, rest%time.Minute/time.Second
	switch {
	case days > 0:
		return strings.TrimSuffix(fmt.Sprintf("%d d %d h", days, h), " 0 h")
	case h > 0:
		return strings.TrimSuffix(fmt.Sprintf("%d h %d min", h, m), " 0 min")
	case m > 0:
		return strings.TrimSuffix(fmt.Sprintf("%d min %d s", m, s), " 0 s")
	case s > 0:
		return fmt.Sprintf("%d s", s)
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}

// shortened truncates a user name for the journal.
func shortened(s string) string {
	const most = 40
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}
