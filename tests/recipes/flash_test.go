//go:build unix

package recipes

import (
	"fmt"
	"html/template"
	"net/http"
	"testing"

	"github.com/samesid/samesid/adapter"
)

func TestFlash(t *testing.T) {
	sessions, err := adapter.New(adapter.Options{Secrets: []string{secret}, Cookie: adapter.Cookie{Secure: adapter.SecureAlways}})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /note", func(w http.ResponseWriter, r *http.Request) {
		for _, text := range []string{"saved", "<b>"} {
			if err := Flash(r.Context(), sessions, "info", text); err != nil {
				sessions.ErrorFunc(w, r, err)
				return
			}
		}
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})
	mux.Handle("GET /", Page(sessions, template.Must(template.New("").Parse(`page{{range .info}} {{.}}{{end}}.`))))
	mux.HandleFunc("GET /late", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "page")
		_ = http.NewResponseController(w).Flush()
		fmt.Fprint(w, PopFlashes(r.Context(), sessions))
	})
	b := serve(t, sessions.LoadAndSave(mux))()

	b.want(http.StatusOK, "page.", "GET", "/", "")
	b.want(http.StatusSeeOther, "", "POST", "/note", "")
	b.want(http.StatusOK, "page saved &lt;b&gt;.", "GET", "/", "")
	b.want(http.StatusOK, "page.", "GET", "/", "")
	if n := sessions.Stats().LostChanges; n != 0 {
		t.Errorf("%d changes are lost", n)
	}

	b.want(http.StatusSeeOther, "", "POST", "/note", "")
	b.want(http.StatusOK, "saved", "GET", "/late", "")
	b.want(http.StatusOK, "saved", "GET", "/late", "") // it is shown again
	if n := sessions.Stats().LostChanges; n != 2 {
		t.Errorf("%d changes are lost, want 2", n)
	}
}
