//go:build unix

package proof

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/backends"
	"github.com/samesid/samesid/backends/contract"
	"github.com/samesid/samesid/backends/postgres"
	"github.com/samesid/samesid/backends/redis"
	"github.com/samesid/samesid/internal/leaktest"
)

// hotApp is an app, over HTTP, whose users increment counters.
//
//	/begin          begins the session
//	/add?key=k      adds one to the counter k, and answers with it
//	/logout         ends the session
//
// Two Managers serve it in turns, as two processes would. What synchronizes requests
// within one Manager must not be necessary for correctness between two.
type hotApp struct {
	*adapter.Manager
	urls   []string
	turn   atomic.Int64
	cookie string
}

func newHotApp(t *testing.T, store scs.Store) *hotApp {
	t.Helper()
	managers := 2
	if _, ok := store.(contract.Swapper); !ok {
		managers = 1 // such a store is safe within one process only
	}
	a := &hotApp{}
	for range managers {
		m, err := adapter.New(adapter.Options{
			Secrets: []string{foreignSecret},
			Store:   store,
			Cookie:  adapter.Cookie{MaxAge: time.Hour},
			Logger:  slog.New(slog.NewTextHandler(leaktest.Copy(io.Discard), nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewServer(m.LoadAndSave(hotHandler(t, m)))
		t.Cleanup(srv.Close)
		a.Manager, a.urls = m, append(a.urls, srv.URL)
	}
	return a
}

func hotHandler(t *testing.T, m *adapter.Manager) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/begin", func(w http.ResponseWriter, r *http.Request) { m.Put(r.Context(), "user", "ada") })
	mux.HandleFunc("/add", func(w http.ResponseWriter, r *http.Request) {
		if !m.Exists(r.Context(), "user") {
			http.Error(w, "nobody is signed in", http.StatusUnauthorized)
			return
		}
		key := r.FormValue("key")
		n := m.GetInt(r.Context(), key) + 1
		m.Put(r.Context(), key, n)
		fmt.Fprint(w, n)
	})
	mux.HandleFunc("/logout", func(w http.ResponseWriter, r *http.Request) {
		if err := m.Destroy(r.Context()); err != nil {
			t.Error(err)
		}
	})
	return mux
}

// hotClient returns a client with a connection for each of n concurrent requests.
func hotClient(t *testing.T, n int) *http.Client {
	tr := &http.Transport{MaxIdleConnsPerHost: n}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func (a *hotApp) get(t *testing.T, c *http.Client, path string) (status int, body string) {
	url := a.urls[int(a.turn.Add(1))%len(a.urls)]
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+path, nil)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	if a.cookie != "" {
		r.Header.Set("Cookie", a.cookie)
	}
	res, err := c.Do(r)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Error(err)
	}
	if path == "/begin" {
		set := res.Cookies()[0]
		a.cookie = set.Name + "=" + set.Value
		leaktest.Note(set.Value)
	}
	return res.StatusCode, string(b)
}

// values returns the values of the only session in the store, or nil if there is none.
func (a *hotApp) values(t *testing.T) map[string]any {
	t.Helper()
	var values map[string]any
	err := a.Iterate(t.Context(), func(ctx context.Context) error {
		values = map[string]any{}
		for _, k := range a.Keys(ctx) {
			values[k] = a.Get(ctx, k)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// hotStores runs a test on every layout, and on a store with only the methods of
// scs.Store.
func hotStores(t *testing.T, test func(t *testing.T, store scs.Store)) {
	inEachLayout(t, func(c *backends.Config) {
		switch o := c.Options.(type) {
		case redis.Options:
			o.MaxConns = 16
			c.Options = o
		case postgres.Options:
			o.MaxConns = 16
			c.Options = o
		}
	}, func(t *testing.T, p *foreignPlace) { test(t, p.store) })
	t.Run("memstore", func(t *testing.T) { test(t, memstore.NewWithCleanupInterval(0)) })
}

// A hundred concurrent requests on one session, repeatedly: each is answered, and every
// change is kept.
func TestHotSession(t *testing.T) {
	const clients, rounds = 100, 3
	hotStores(t, func(t *testing.T, store scs.Store) {
		a := newHotApp(t, store)
		c := hotClient(t, clients)
		a.get(t, c, "/begin")
		took := make([]time.Duration, clients*rounds)
		var wg sync.WaitGroup
		for i := range clients {
			wg.Go(func() {
				for n := range rounds {
					start := time.Now()
					status, body := a.get(t, c, fmt.Sprintf("/add?key=k%d", i))
					took[i*rounds+n] = time.Since(start)
					if status != http.StatusOK || body != fmt.Sprint(n+1) {
						t.Errorf("client %d, round %d: %d %s", i, n+1, status, body)
					}
				}
			})
		}
		wg.Wait()
		values := a.values(t)
		for i := range clients {
			if key := fmt.Sprintf("k%d", i); values[key] != rounds {
				t.Errorf("%s is %v, want %d", key, values[key], rounds)
			}
		}
		slices.Sort(took)
		t.Logf("latency: half within %v, 99%% within %v", took[len(took)/2], took[len(took)*99/100])
	})
}

// A logout amid the requests of fifty clients: all of them are answered, those that begin
// after it find nobody signed in, and no write restores the session.
func TestHotLogout(t *testing.T) {
	const clients = 50
	hotStores(t, func(t *testing.T, store scs.Store) {
		a := newHotApp(t, store)
		c := hotClient(t, clients)
		a.get(t, c, "/begin")
		begun := make(chan struct{}, clients)
		out := make(chan struct{})
		var wg sync.WaitGroup
		for i := range clients {
			wg.Go(func() {
				for n := 0; ; n++ {
					after := false
					select {
					case <-out:
						after = true
					default:
					}
					status, body := a.get(t, c, fmt.Sprintf("/add?key=k%d", i))
					if n == 0 {
						begun <- struct{}{}
					}
					switch {
					case after && status != http.StatusUnauthorized:
						t.Errorf("client %d, after the logout: %d %s", i, status, body)
						return
					case status == http.StatusUnauthorized:
						return
					case status != http.StatusOK:
						t.Errorf("client %d: %d %s", i, status, body)
						return
					}
				}
			})
		}
		for range clients {
			<-begun
		}
		if status, _ := a.get(t, c, "/logout"); status != http.StatusOK {
			t.Errorf("logout: %d", status)
		}
		close(out)
		wg.Wait()
		if values := a.values(t); values != nil {
			t.Errorf("the session is back: %v", values)
		}
	})
}
