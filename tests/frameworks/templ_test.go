package frameworks

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/a-h/templ"
	chimiddleware "github.com/go-chi/chi/v5/middleware"

	"github.com/samesid/samesid/auth"
	"github.com/samesid/samesid/tests/frameworks/pages"
)

func newTempl(d *deps) http.Handler {
	sessions, users := d.sessions, d.users

	mux := http.NewServeMux()
	mux.HandleFunc("GET /visit", func(w http.ResponseWriter, r *http.Request) {
		flash := sessions.PopString(r.Context(), "flash") // before the page is written
		templ.Handler(pages.Visits(d.visit(r.Context()), flash)).ServeHTTP(w, r)
	})
	mux.Handle("POST /login", users.Login())
	mux.Handle("POST /logout", users.Logout())
	mux.Handle("GET /protected", users.Restricted(http.HandlerFunc(d.protected)))
	handler := sessions.LoadAndSave(mux)

	mux.HandleFunc("GET /panic", func(_ http.ResponseWriter, r *http.Request) { d.visit(r.Context()); panic("a mistake") })
	mux.HandleFunc("GET /error", func(w http.ResponseWriter, r *http.Request) {
		d.visit(r.Context())
		http.Error(w, "in conflict", http.StatusConflict)
	})
	return chimiddleware.Recoverer(handler)
}

// A flash message that is popped in a component is lost only where the page is streamed and
// templ's buffer of 4 KB is full by then. The log says so.
func TestTemplPopsLate(t *testing.T) {
	for _, c := range []struct {
		name   string
		stream bool
		before int
		lost   bool
	}{
		{"a small page", true, 1000, false},
		{"a large page", true, 5000, true},
		{"a large page in templ.Handler's buffer", false, 5000, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, log := newDeps(t)
			mux := http.NewServeMux()
			mux.HandleFunc("GET /put", func(_ http.ResponseWriter, r *http.Request) {
				d.sessions.Put(r.Context(), "flash", "Saved!")
			})
			mux.HandleFunc("GET /page", func(w http.ResponseWriter, r *http.Request) {
				h := templ.Handler(pages.Late(strings.Repeat("x", c.before), func() string {
					return d.sessions.PopString(r.Context(), "flash")
				}))
				h.StreamResponse = c.stream
				h.ServeHTTP(w, r)
			})
			b := browse(t, d.sessions.LoadAndSave(mux))
			b.do("GET", "/put", "")
			if _, page, _ := b.do("GET", "/page", ""); !strings.Contains(page, "Saved!") {
				t.Error("the first page does not show it")
			}
			if _, page, _ := b.do("GET", "/page", ""); strings.Contains(page, "Saved!") != c.lost {
				t.Errorf("the second page shows it: %v", !c.lost)
			}
			got := log.String()
			if c.lost && (!strings.Contains(got, lateChange) || !strings.Contains(got, "keys=[flash]") || !strings.Contains(got, "/page")) || !c.lost && got != "" {
				t.Errorf("log: %s", got)
			}
		})
	}
}

// htmxOptions has htmx go to the login page where a fetch would get a 401, which htmx drops.
var htmxOptions = auth.Options{
	LoginPage: "/login",
	Refused: func(w http.ResponseWriter, r *http.Request, why auth.Refusal) bool {
		if r.Header.Get("HX-Request") == "" || !errors.Is(why.Reason, auth.ErrNotSignedIn) {
			return false
		}
		w.Header().Set("HX-Redirect", "/login")
		w.WriteHeader(http.StatusUnauthorized)
		return true
	},
}

func TestHTMX(t *testing.T) {
	d, _ := newDepsWith(t, htmxOptions)
	mux := http.NewServeMux()
	mux.Handle("POST /login", d.users.Login())
	mux.Handle("GET /protected", d.users.Restricted(http.HandlerFunc(d.protected)))
	b := browse(t, d.sessions.LoadAndSave(mux))
	b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	get := func(header, value string) (int, http.Header) {
		t.Helper()
		r, err := http.NewRequest("GET", b.url+"/protected", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set(header, value)
		status, h, _ := b.answer(r)
		return status, h
	}
	if status, h := get("HX-Request", "true"); status != 401 || h.Get("HX-Redirect") != "/login" {
		t.Errorf("htmx: %d %v", status, h)
	}
	if status, h := get("Accept", "text/html"); status != 303 || !strings.HasPrefix(h.Get("Location"), "/login") {
		t.Errorf("a browser: %d %v", status, h)
	}
	if status, h := get("Accept", "*/*"); status != 401 || h.Get("HX-Redirect") != "" {
		t.Errorf("a program: %d %v", status, h)
	}

	// Another site's page can't send a login.
	r, err := http.NewRequest("POST", b.url+"/login", strings.NewReader(`{"username":"ann","password":"correct"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("HX-Request", "true")
	r.Header.Set("Origin", "https://example.org")
	if status, body := b.send(r); status != 403 {
		t.Errorf("from another origin: %d %s", status, body)
	}
	b.do("POST", "/login", `{"username":"ann","password":"correct"}`)
	if status, _ := get("HX-Request", "true"); status != 200 {
		t.Errorf("signed in: %d", status)
	}
}
