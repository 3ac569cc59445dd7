package recipes

import (
	"context"
	"html/template"
	"net/http"

	"github.com/samesid/samesid/adapter"
)

// Flash has the next page show a text. It is kept as connect-flash does, so that the page
// can be one of Express's.
func Flash(ctx context.Context, sessions *adapter.Manager, kind, text string) error {
	all, _ := adapter.Get[map[string][]string](ctx, sessions, "flash")
	if all == nil {
		all = map[string][]string{}
	}
	all[kind] = append(all[kind], text)
	return adapter.Put(ctx, sessions, "flash", all)
}

// PopFlashes returns the texts by kind, once.
func PopFlashes(ctx context.Context, sessions *adapter.Manager) map[string][]string {
	all, _ := adapter.Get[map[string][]string](ctx, sessions, "flash")
	sessions.Remove(ctx, "flash")
	return all
}

// Page shows a template with the texts.
func Page(sessions *adapter.Manager, page *template.Template) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		flashes := PopFlashes(r.Context(), sessions) // before the first byte of the page
		if err := page.Execute(w, flashes); err != nil {
			panic(http.ErrAbortHandler) // half a page must not look like a whole one
		}
	})
}
