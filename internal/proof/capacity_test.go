//go:build unix

package proof

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
	"github.com/samesid/samesid/backends"
	"github.com/samesid/samesid/internal/eachstore"
	"github.com/samesid/samesid/internal/leaktest"
	"github.com/samesid/samesid/internal/rig"
	"github.com/samesid/samesid/internal/testserver"
)

// holder is what a session of the table of capacity holds.
type holder struct {
	name     string
	userPath string
	fill     func(ctx context.Context, m *adapter.Manager, users *auth.Auth[person], n int) error
}

type person struct {
	ID    int      `json:"id"`
	Name  string   `json:"name"`
	Roles []string `json:"roles"`
}

var holders = []holder{
	{"no values", "", func(context.Context, *adapter.Manager, *auth.Auth[person], int) error { return nil }},
	{"3 values", "", func(ctx context.Context, m *adapter.Manager, _ *auth.Auth[person], n int) error {
		m.Put(ctx, "theme", "dark")
		m.Put(ctx, "visits", n)
		m.Put(ctx, "csrf", "0123456789abcdef0123456789abcdef")
		return nil
	}},
	{"a user, with userPath", "user.id", func(ctx context.Context, _ *adapter.Manager, users *auth.Auth[person], n int) error {
		return users.SignIn(ctx, person{ID: 1000000 + n, Name: "ada.lovelace@example.com", Roles: []string{"editor"}})
	}},
}

// The table of capacity in docs/operations.md says what a session takes, to within a third.
// With -v, the test prints the rows as they are now.
func TestCapacity(t *testing.T) {
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	leaktest.Note(rig.Secret)
	eachstore.Run(t, func(t *testing.T, k eachstore.Kind) {
		if k.Lasts() {
			t.Parallel()
		}
		row := "| " + k.String()
		for _, h := range holders {
			var s *testserver.Server
			if k.HasServer() && !k.HasTable() {
				s = k.Start(t) // which nobody else fills meanwhile
			}
			row += fmt.Sprintf(" | %d", taken(t, k.On(t, s), h))
		}
		t.Log(row + " |")
		documented := regexp.MustCompile(`(?m)^\| ` + k.String() + ` \|.*`).FindString(string(page))
		want, got := numbers(documented), numbers(row)
		for i := range holders {
			if len(want) != len(holders) || got[i] > want[i]*4/3 || got[i] < want[i]*2/3 {
				t.Fatalf("docs/operations.md has %q; it is %q", documented, row+" |")
			}
		}
	})
}

func numbers(row string) (all []int) {
	for _, cell := range strings.Split(row, "|") {
		if n, err := strconv.Atoi(strings.TrimSpace(cell)); err == nil {
			all = append(all, n)
		}
	}
	return all
}

// taken returns the bytes that a session takes at a place.
func taken(t *testing.T, p *eachstore.Place, h holder) int {
	n := 400
	if !p.Lasts() {
		n = 1000 // the heap is measured, which has other things too
	}
	// Postgres extends a table for several connections at once by more than they need.
	store := p.Open(t, eachstore.Settings{"maxConnections": 1})
	m, err := adapter.New(adapter.Options{Secrets: []string{rig.Secret}, Store: store, SaveUninitialized: true, UserPath: h.userPath, Cookie: adapter.Cookie{MaxAge: time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	users, err := auth.New(m, func(context.Context, string, string) (person, error) { return person{}, auth.ErrInvalid }, auth.Options{Unlimited: true})
	if err != nil {
		t.Fatal(err)
	}
	fill := func(from, to int) {
		var wg sync.WaitGroup
		for worker := range 8 {
			wg.Go(func() {
				for i := from + worker; i < to; i += 8 {
					w := httptest.NewRecorder()
					m.LoadAndSave(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
						if err := h.fill(r.Context(), m, users, i); err != nil {
							t.Error(err)
						}
					})).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/", nil))
					if w.Header().Get("Set-Cookie") == "" {
						t.Error("a session was not stored")
					}
				}
			})
		}
		wg.Wait()
	}
	fill(0, 50) // what is there once, such as connections and notes
	before := size(t, p, store)
	fill(50, 50+n)
	each := (size(t, p, store) - before + n/2) / n
	// Noted before, they would be in the heap too.
	if err := m.Iterate(t.Context(), func(ctx context.Context) error { leaktest.Note(m.ID(ctx)); return nil }); err != nil {
		t.Error(err)
	}
	return each
}

// size returns the bytes of all sessions.
func size(t *testing.T, p *eachstore.Place, store backends.Store) (bytes int) {
	t.Helper()
	switch {
	case p.HasTable() && p.HasServer():
		err := p.DB(t).QueryRow(`SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace`).Scan(&bytes)
		if err != nil {
			t.Fatal(err)
		}
	case p.HasTable():
		var pages, free int
		if err := p.DB(t).QueryRow("SELECT p.page_count, f.freelist_count, s.page_size FROM pragma_page_count p, pragma_freelist_count f, pragma_page_size s").Scan(&pages, &free, &bytes); err != nil {
			t.Fatal(err)
		}
		bytes *= pages - free
	case p.HasServer():
		info := string(p.Redis(t, "INFO", "memory").([]byte))
		used := regexp.MustCompile(`used_memory:(\d+)`).FindStringSubmatch(info)
		bytes, _ = strconv.Atoi(used[1])
	default:
		runtime.GC()
		runtime.GC()
		var heap runtime.MemStats
		runtime.ReadMemStats(&heap)
		bytes = int(heap.HeapAlloc)
		runtime.KeepAlive(store)
	}
	return bytes
}
