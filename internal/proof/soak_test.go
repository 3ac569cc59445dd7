//go:build unix

package proof

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
	"github.com/samesid/samesid/backends"
	"github.com/samesid/samesid/backends/memory"
	"github.com/samesid/samesid/backends/postgres"
	"github.com/samesid/samesid/backends/redis"
	"github.com/samesid/samesid/internal/leaktest"
	"github.com/samesid/samesid/internal/testserver"
)

const (
	// soakBrief is the default and the minimum duration.
	soakBrief = 4 * time.Second

	// soakAge is how long a session lives. Sessions expire every few seconds instead
	// of after hours.
	soakAge = time.Second

	soakConns    = 6 // of each store with a server
	soakVisitors = 6 // of each store at a time
	soakUsers    = 100
	soakSecret   = "a secret of an app that runs for very long"
	soakPassword = "the password of every user of the soak"

	// soakHeap is by how much the live heap may differ between two drained states,
	// in bytes.
	soakHeap = 1 << 20
)

// soakSite is an app on one store, served over the network.
type soakSite struct {
	name     string
	store    backends.Store
	sessions *adapter.Manager
	server   *httptest.Server
	client   *http.Transport
	user     func(context.Context) (string, bool)
	records  func() int // the number of stored records, including expired ones
}

// soakErrors is a log handler that counts errors.
type soakErrors struct {
	slog.Handler
	count *atomic.Int64
}

func (l soakErrors) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelError {
		l.count.Add(1)
	}
	return l.Handler.Handle(ctx, r)
}

func newSoakSite(t *testing.T, log *slog.Logger, name string, cfg backends.Config, options func(*adapter.Options)) *soakSite {
	t.Helper()
	s := &soakSite{name: name, client: &http.Transport{MaxIdleConnsPerHost: soakVisitors}}
	cfg.Logger = log
	var err error
	if s.store, err = backends.Open(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	opts := adapter.Options{
		Secrets: []string{soakSecret},
		Store:   s.store,
		Cookie:  adapter.Cookie{MaxAge: soakAge},
		Logger:  log,
	}
	options(&opts)
	if s.sessions, err = adapter.New(opts); err != nil {
		t.Fatal(err)
	}
	verify := func(_ context.Context, user, password string) (string, error) {
		if password != soakPassword {
			return "", auth.ErrInvalid
		}
		return user, nil
	}
	users, err := auth.New(s.sessions, verify, auth.Options{Unlimited: true})
	if err != nil {
		t.Fatal(err)
	}
	s.user = users.User
	put := func(r *http.Request) { s.sessions.Put(r.Context(), r.PathValue("key"), r.PathValue("value")) }
	mux := http.NewServeMux()
	mux.Handle("POST /login", users.Login())
	mux.Handle("POST /logout", users.Logout())
	mux.Handle("GET /me", users.Restricted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := users.User(r.Context())
		fmt.Fprintf(w, "%s a=%s b=%s", user, s.sessions.GetString(r.Context(), "a"), s.sessions.GetString(r.Context(), "b"))
	})))
	mux.HandleFunc("POST /put/{key}/{value}", func(_ http.ResponseWriter, r *http.Request) { put(r) })
	mux.HandleFunc("POST /slow/{key}/{value}", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		soakWait(r.Context(), 50*time.Millisecond)
		put(r)
	})
	s.server = httptest.NewServer(s.sessions.LoadAndSave(mux))
	return s
}

// soakWait waits for d, or until ctx ends.
func soakWait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// soakVisitor is a user with a browser.
type soakVisitor struct {
	site   *soakSite
	user   string
	cookie string
	used   time.Time // when the last request that found the session was sent
	err    error
}

// errSoakExpired ends a visit that a busy machine has delayed for longer than a session
// lives.
var errSoakExpired = errors.New("the session has expired")

// send sends a request, and fails the visit unless a signed-in user gets a good answer.
// It keeps the answer's cookie.
func (v *soakVisitor) send(ctx context.Context, method, path string) string {
	if v.err != nil {
		return ""
	}
	status, body, cookie, err := v.do(ctx, method, path)
	switch {
	case err != nil:
		v.err = fmt.Errorf("%s %s: %w", method, path, err)
	case status == http.StatusUnauthorized && time.Since(v.used) > soakAge*3/4:
		v.err = errSoakExpired
	case status != http.StatusOK:
		v.err = fmt.Errorf("%s %s: %d %s", method, path, status, body)
	case cookie != "":
		v.cookie = cookie
	}
	return body
}

func (v *soakVisitor) do(ctx context.Context, method, path string) (status int, body, cookie string, err error) {
	form := ""
	if path == "/login" {
		form = credentials(v.user, soakPassword)
	}
	r, err := http.NewRequestWithContext(ctx, method, v.site.server.URL+path, strings.NewReader(form))
	if err != nil {
		return 0, "", "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if v.cookie != "" {
		r.Header.Set("Cookie", v.cookie)
	}
	sent := time.Now()
	res, err := v.site.client.RoundTrip(r)
	if err != nil {
		return 0, "", "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if res.StatusCode == http.StatusOK {
		v.used = sent
	}
	cookie, _, _ = strings.Cut(res.Header.Get("Set-Cookie"), ";")
	return res.StatusCode, string(text), cookie, err
}

// is fails the visit unless the user's page shows want.
func (v *soakVisitor) is(ctx context.Context, want string) {
	if body := v.send(ctx, http.MethodGet, "/me"); v.err == nil && body != v.user+" "+want {
		v.err = fmt.Errorf("the page says %q, want %q", body, v.user+" "+want)
	}
}

// isOut fails the visit if the session is still alive.
func (v *soakVisitor) isOut(ctx context.Context) {
	if v.err != nil {
		return
	}
	if status, _, _, err := v.do(ctx, http.MethodGet, "/me"); status != http.StatusUnauthorized && v.err == nil {
		v.err = fmt.Errorf("the page of a session that has ended: %w", soakAnswer(status, err))
	}
}

// slow begins a slow request, and returns when the request has loaded its session. ended
// waits for its status and error.
func (v *soakVisitor) slow(ctx context.Context, path string) (ended func() (int, error)) {
	running, done := make(chan struct{}), make(chan struct{})
	var status int
	var err error
	trace := &httptrace.ClientTrace{Got1xxResponse: func(int, textproto.MIMEHeader) error {
		close(running)
		return nil
	}}
	other := *v // a copy, as the two requests may end in any order
	go func() {
		defer close(done)
		status, _, _, err = other.do(httptrace.WithClientTrace(ctx, trace), http.MethodPost, path)
	}()
	select {
	case <-running:
	case <-done:
	}
	return func() (int, error) {
		<-done
		return status, err
	}
}

// soakAnswer returns the error of an unexpected answer.
func soakAnswer(status int, err error) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("status %d", status)
}

// soakVisits are the kinds of visit. Each begins with a signed-in user.
var soakVisits = []struct {
	name string
	pay  func(ctx context.Context, v *soakVisitor)
}{
	{"ordinary", func(ctx context.Context, v *soakVisitor) {
		for i := range 4 {
			v.send(ctx, http.MethodPost, fmt.Sprintf("/put/a/%d", i))
			v.is(ctx, fmt.Sprintf("a=%d b=", i))
		}
		v.send(ctx, http.MethodPost, "/logout")
		v.isOut(ctx)
	}},
	{"abandoned", func(ctx context.Context, v *soakVisitor) {
		v.send(ctx, http.MethodPost, "/put/a/"+strings.Repeat("x", 500))
	}},
	{"expired", func(ctx context.Context, v *soakVisitor) {
		v.send(ctx, http.MethodPost, "/put/a/1")
		soakWait(ctx, soakAge+1100*time.Millisecond) // one layout rounds up to whole seconds
		v.isOut(ctx)
	}},
	{"rolling", func(ctx context.Context, v *soakVisitor) {
		for range 4 {
			soakWait(ctx, soakAge*2/5)
			v.is(ctx, "a= b=")
		}
	}},
	{"side by side", func(ctx context.Context, v *soakVisitor) {
		ended := v.slow(ctx, "/slow/a/1")
		v.send(ctx, http.MethodPost, "/put/b/2")
		if status, err := ended(); status != http.StatusOK && v.err == nil {
			v.err = fmt.Errorf("the slow request: %w", soakAnswer(status, err))
		}
		v.is(ctx, "a=1 b=2")
	}},
	{"logout amid a request", func(ctx context.Context, v *soakVisitor) {
		ended := v.slow(ctx, "/slow/a/1")
		out := *v
		out.send(ctx, http.MethodPost, "/logout")
		if status, err := ended(); status != http.StatusOK && out.err == nil {
			out.err = fmt.Errorf("the slow request: %w", soakAnswer(status, err))
		}
		v.err = out.err
		v.isOut(ctx)
	}},
	{"hung up", func(ctx context.Context, v *soakVisitor) {
		gone, hangUp := context.WithCancel(ctx)
		ended := v.slow(gone, "/slow/a/1")
		hangUp()
		_, _ = ended()
		// The client disconnected, so only the session shows when the server has
		// saved it.
		for deadline := time.Now().Add(10 * time.Second); v.err == nil; soakWait(ctx, 20*time.Millisecond) {
			if v.send(ctx, http.MethodGet, "/me") == v.user+" a=1 b=" {
				return
			}
			if time.Now().After(deadline) && v.err == nil {
				v.err = errors.New("what a client changed that hung up is not saved")
			}
		}
	}},
	{"listing", func(ctx context.Context, v *soakVisitor) {
		own := false
		err := v.site.sessions.Iterate(ctx, func(ctx context.Context) error {
			user, _ := v.site.user(ctx)
			own = own || user == v.user
			return nil
		})
		switch {
		case v.err != nil:
		case err != nil:
			v.err = err
		case !own && time.Since(v.used) < soakAge*3/4:
			v.err = errors.New("the visitor's session is not there")
		}
	}},
}

// soakLoad runs visits at each site until ctx ends and the running visits are over. It
// counts the visits by kind.
func soakLoad(ctx context.Context, t *testing.T, sites []*soakSite, visits []atomic.Int64) {
	t.Helper()
	var all sync.WaitGroup
	for _, site := range sites {
		for i := range soakVisitors {
			all.Go(func() {
				for n := i; ctx.Err() == nil; n++ {
					kind := n % len(soakVisits)
					v := &soakVisitor{site: site, user: fmt.Sprintf("user%d", rand.N(soakUsers))}
					v.send(t.Context(), http.MethodPost, "/login")
					leaktest.Note(strings.TrimPrefix(v.cookie, "connect.sid="))
					soakVisits[kind].pay(t.Context(), v)
					switch {
					case v.err == nil:
						visits[kind].Add(1)
					case !errors.Is(v.err, errSoakExpired):
						t.Errorf("%s: %s: %v", site.name, soakVisits[kind].name, v.err)
						return
					}
				}
			})
		}
	}
	all.Wait()
}

// soakUse holds the numbers of goroutines and connections in use at one time.
type soakUse struct {
	goroutines, redis, postgres int
	heap                        int64
}

// An app that runs for long uses no more resources at the end than at the beginning. The
// test puts every kind of load on all stores together, with expiries after seconds
// instead of hours. SOAK sets its duration.
func TestSoak(t *testing.T) {
	length := soakBrief
	if text := os.Getenv("SOAK"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil || length < soakBrief {
			t.Fatalf("SOAK is %q, want a duration from %v up", text, soakBrief)
		}
	}
	leaktest.Note(soakSecret, soakPassword)
	t.Cleanup(leaktest.Goroutines(t)) // runs after the others, which close the connections to the servers
	var wrong atomic.Int64
	log := slog.New(soakErrors{slog.NewTextHandler(leaktest.Copy(io.Discard), nil), &wrong})

	sites, use := newSoakSites(t, log)
	visits := make([]atomic.Int64, len(soakVisits))
	round := max(length/20, soakBrief/2)
	var first soakUse
	rounds := int(length / round)
	for n := range rounds {
		ctx, stop := context.WithTimeout(t.Context(), round)
		most := make(chan soakUse)
		go func() { most <- soakWatch(ctx, use) }()
		soakLoad(ctx, t, sites, visits)
		stop()
		inRedis, inPostgres := len(redisLayouts)*soakConns, len(postgresLayouts)*soakConns
		if peak := <-most; peak.redis > inRedis || peak.postgres > inPostgres {
			t.Errorf("up to %d connections to Redis and %d to Postgres, want at most %d and %d", peak.redis, peak.postgres, inRedis, inPostgres)
		}
		if t.Failed() {
			break
		}

		for _, s := range sites {
			s.client.CloseIdleConnections()
			soakAwait(t, s.name+": all sessions have ended and are gone", func() bool { return s.records() == 0 })
		}
		if n == 0 {
			soakAwait(t, "all is at rest", soakRest())
			first = use()
			t.Logf("after the first round: %+v", first)
			continue
		}
		// A pool without connections has no goroutine that closes idle ones.
		soakAwait(t, fmt.Sprintf("not many more than %d goroutines", first.goroutines), func() bool {
			return runtime.NumGoroutine() <= first.goroutines+len(postgresLayouts)
		})
		now := use()
		t.Logf("after round %d: %+v", n+1, now)
		if grown := now.heap - first.heap; grown > soakHeap {
			t.Errorf("the heap has grown by %d KiB", grown>>10)
		}
	}

	var stats adapter.Stats
	for _, s := range sites {
		got := s.sessions.Stats()
		stats.Conflicts += got.Conflicts
		stats.DroppedWrites += got.DroppedWrites
		stats.LostChanges += got.LostChanges
		stats.UnreadableRecords += got.UnreadableRecords
		s.server.Close()
		s.client.CloseIdleConnections()
		if err := s.store.Close(); err != nil {
			t.Error(err)
		}
	}
	for i := range visits {
		t.Logf("%s: %d visits", soakVisits[i].name, visits[i].Load())
		if visits[i].Load() == 0 {
			t.Errorf("%s: no visit has come to its end", soakVisits[i].name)
		}
	}
	t.Logf("%+v", stats)
	if stats.Conflicts == 0 || stats.DroppedWrites == 0 || stats.LostChanges != 0 || stats.UnreadableRecords != 0 {
		t.Errorf("%+v, want conflicts and dropped writes, and nothing else", stats)
	}
	if n := wrong.Load(); n != 0 {
		t.Errorf("%d errors were logged", n)
	}
	soakAwait(t, "no connection is left", func() bool {
		left := use()
		return left.redis == 0 && left.postgres == 0
	})
	runtime.KeepAlive(sites) // otherwise the garbage collector could close what Close has not
}

// soakWatch returns the maximum use until ctx ends.
func soakWatch(ctx context.Context, use func() soakUse) (most soakUse) {
	for ctx.Err() == nil {
		now := use()
		most.redis, most.postgres = max(most.redis, now.redis), max(most.postgres, now.postgres)
		soakWait(ctx, 200*time.Millisecond)
	}
	return most
}

// soakRest returns a function that reports whether the number of goroutines has been
// constant for a while.
func soakRest() func() bool {
	last, since := 0, time.Now()
	return func() bool {
		if n := runtime.NumGoroutine(); n != last {
			last, since = n, time.Now()
		}
		return time.Since(since) > 300*time.Millisecond
	}
}

// soakAwait polls until done returns true, and fails the test if that takes too long.
func soakAwait(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	for !done() {
		if ctx.Err() != nil {
			t.Errorf("waited in vain: %s", what)
			return
		}
		soakWait(ctx, 20*time.Millisecond)
	}
}

// newSoakSites opens a site on each layout of every store, with a variety of options. use
// returns what the sites use; it does not count its own connections.
func newSoakSites(t *testing.T, log *slog.Logger) (sites []*soakSite, use func() soakUse) {
	t.Helper()
	// These come first, as they may skip the test.
	redisURL := testserver.StartRedis(t).URL
	dsn, schema := testserver.Schema(t)

	inMemory := newSoakSite(t, log, "memory", backends.Config{Options: memory.Options{CleanupInterval: 100 * time.Millisecond}}, func(o *adapter.Options) { o.Rolling = true })
	inMemory.records = func() int {
		n, err := inMemory.store.Len(t.Context())
		if err != nil {
			t.Error(err)
		}
		return n
	}
	sites = append(sites, inMemory)

	conn, err := redigo.DialURL(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	var mu sync.Mutex // guards conn
	ask := func(command string, args ...any) any {
		mu.Lock()
		defer mu.Unlock()
		reply, err := conn.Do(command, args...)
		if err != nil {
			t.Error(err)
		}
		return reply
	}
	for _, layout := range redisLayouts {
		s := newSoakSite(t, log, "redis "+layout, backends.Config{URL: redisURL, Options: redis.Options{
			Layout: redis.Layout(layout), MaxConns: soakConns, ConnMaxIdleTime: time.Second,
		}},
			func(o *adapter.Options) {
				if layout == "scs" {
					o.StoreKey, o.AbsoluteLifetime = adapter.StoreKeyHash, time.Hour
				}
			})
		s.records = func() int {
			n, err := redigo.Int(ask("DBSIZE"), nil) // counts the keys of both layouts
			if err != nil {
				t.Error(err)
			}
			return n
		}
		sites = append(sites, s)
	}

	db, err := sql.Open("postgres", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1)
	count := func(query string, args ...any) (n int) {
		if err := db.QueryRow(query, args...).Scan(&n); err != nil {
			t.Error(err)
		}
		return n
	}
	for i, layout := range postgresLayouts {
		table := "soak" + layout
		s := newSoakSite(t, log, "postgres "+layout, backends.Config{
			URL: dsn + "&application_name=" + schema,
			Options: postgres.Options{
				Layout: postgres.Layout(layout), TableName: table, CreateTable: true,
				MaxConns: soakConns, ConnMaxLifetime: time.Second, CleanupInterval: 200 * time.Millisecond,
			},
		}, func(o *adapter.Options) {
			o.Resave, o.Rolling = i == 0, i == 1
			if i == 2 {
				o.TouchAfter = soakAge / 10
			}
		})
		s.records = func() int { return count(`SELECT count(*) FROM "` + table + `"`) }
		sites = append(sites, s)
	}

	return sites, func() soakUse {
		clients, err := redigo.String(ask("CLIENT", "LIST"), nil)
		if err != nil {
			t.Error(err)
		}
		return soakUse{
			goroutines: runtime.NumGoroutine(),
			redis:      strings.Count(clients, "\n") - 1,
			postgres:   count("SELECT count(*) FROM pg_stat_activity WHERE application_name = $1", schema),
			heap:       soakLive(),
		}
	}
}

// soakLive returns the size of the live heap.
func soakLive() int64 {
	runtime.GC()
	runtime.GC() // a sync.Pool is empty only after the second run
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
