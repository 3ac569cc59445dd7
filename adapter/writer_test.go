package adapter_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/internal/leaktest"
)

// spyWriter is a response writer that looks at the store when something
// reaches the client.
type spyWriter struct {
	http.ResponseWriter
	reached func(what string)
}

func (w *spyWriter) WriteHeader(code int) {
	w.reached(fmt.Sprintf("status %d", code))
	w.ResponseWriter.WriteHeader(code)
}

func (w *spyWriter) Write(b []byte) (int, error) {
	w.reached("body")
	return w.ResponseWriter.Write(b)
}

func (w *spyWriter) ReadFrom(r io.Reader) (int64, error) {
	w.reached("file")
	return io.Copy(w.ResponseWriter, r)
}

func (w *spyWriter) FlushError() error {
	w.reached("flush")
	return http.NewResponseController(w.ResponseWriter).Flush()
}

func (w *spyWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.reached("hijack")
	return nil, nil, nil
}

func TestSavedBeforeTheFirstByte(t *testing.T) {
	for name, tt := range map[string]struct {
		respond func(w http.ResponseWriter) error
		reaches string
	}{
		"WriteHeader": {func(w http.ResponseWriter) error { w.WriteHeader(http.StatusFound); return nil }, "status 302"},
		"Write":       {func(w http.ResponseWriter) error { _, err := w.Write([]byte("x")); return err }, "body"},
		"WriteString": {func(w http.ResponseWriter) error { _, err := io.WriteString(w, "x"); return err }, "body"},
		"Flush":       {func(w http.ResponseWriter) error { w.(http.Flusher).Flush(); return nil }, "flush"},
		"FlushError":  {func(w http.ResponseWriter) error { return http.NewResponseController(w).Flush() }, "flush"},
		"Hijack":      {func(w http.ResponseWriter) error { _, _, err := http.NewResponseController(w).Hijack(); return err }, "hijack"},
		"ReadFrom": {func(w http.ResponseWriter) error {
			_, err := w.(io.ReaderFrom).ReadFrom(struct{ io.Reader }{strings.NewReader("x")})
			return err
		}, "file"},
		"nothing": {func(http.ResponseWriter) error { return nil }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			store := newMapStore()
			m := newManager(t, adapter.Options{Store: fullStore{store}})
			var reached []string
			spy := &spyWriter{httptest.NewRecorder(), nil}
			spy.reached = func(what string) {
				reached = append(reached, what)
				if len(store.records) != 1 {
					t.Errorf("%s reached the client before the session was saved", what)
				}
				if spy.Header().Get("Set-Cookie") == "" {
					t.Errorf("%s reached the client without the cookie", what)
				}
			}
			m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				m.Put(r.Context(), "k", "v")
				if err := tt.respond(w); err != nil {
					t.Error(err)
				}
			})).ServeHTTP(spy, httptest.NewRequest("GET", "/", nil))
			if got := strings.Join(reached, " "); got != tt.reaches {
				t.Errorf("%q reached the client, want %q", got, tt.reaches)
			}
			if len(store.records) != 1 || spy.Header().Get("Set-Cookie") == "" {
				t.Error("not saved")
			}
		})
	}
}

func TestInformationalStatusIsNotTheResponse(t *testing.T) {
	m := newManager(t, adapter.Options{})
	var codes []string
	spy := &spyWriter{httptest.NewRecorder(), func(what string) { codes = append(codes, what) }}
	m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		if c := w.Header().Get("Set-Cookie"); c != "" {
			t.Errorf("the cookie %q is in the early hints", c)
		}
		m.Put(r.Context(), "k", "v")
		w.WriteHeader(http.StatusOK)
	})).ServeHTTP(spy, httptest.NewRequest("GET", "/", nil))
	if got := strings.Join(codes, ", "); got != "status 103, status 200" {
		t.Errorf("statuses %q", got)
	}
	if spy.Header().Get("Set-Cookie") == "" {
		t.Error("what was put after the early hints is not saved")
	}
}

func TestFailedSaveReplacesTheResponse(t *testing.T) {
	for name, respond := range map[string]func(w http.ResponseWriter) error{
		"WriteHeader": func(w http.ResponseWriter) error { w.WriteHeader(http.StatusFound); return nil },
		"Write": func(w http.ResponseWriter) error {
			_, err := w.Write([]byte("welcome"))
			if err == nil {
				t.Error("Write gives no error")
			}
			return nil
		},
		"Early hints after it": func(w http.ResponseWriter) error {
			w.WriteHeader(http.StatusOK)
			w.WriteHeader(http.StatusEarlyHints)
			return nil
		},
		"ReadFrom": func(w http.ResponseWriter) error {
			_, err := io.Copy(w, strings.NewReader("welcome"))
			if err == nil {
				t.Error("ReadFrom gives no error")
			}
			return nil
		},
		"Hijack": func(w http.ResponseWriter) error {
			if c, _, err := http.NewResponseController(w).Hijack(); err == nil || c != nil {
				t.Error("Hijack gives a connection")
			}
			return nil
		},
		"Flush":   func(w http.ResponseWriter) error { w.(http.Flusher).Flush(); return nil },
		"nothing": func(http.ResponseWriter) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			store := newMapStore()
			store.fail = map[string]error{"create": errors.New("connection refused")}
			out := &leaktest.Log{}
			m := newManager(t, adapter.Options{Store: fullStore{store}, Logger: out.Logger()})
			w := httptest.NewRecorder()
			w.Header().Set("X-Outer", "kept")
			m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				m.Put(r.Context(), "k", "v")
				w.Header().Del("Vary")
				w.Header().Set("Location", "/welcome")
				w.Header().Set("Content-Length", "7")
				_ = respond(w)
				_, _ = io.WriteString(w, "welcome")
			})).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
			if w.Code != http.StatusServiceUnavailable || w.Body.String() != "Service Unavailable\n" {
				t.Errorf("status %d, body %q", w.Code, w.Body)
			}
			for header, want := range map[string]string{
				"Set-Cookie": "", "Location": "", "Content-Length": "", "X-Outer": "kept", "Vary": "Cookie", "Retry-After": "5",
			} {
				if got := w.Header().Get(header); got != want {
					t.Errorf("%s: %q, want %q", header, got, want)
				}
			}
			if !strings.Contains(out.String(), "session: save: connection refused") {
				t.Errorf("log: %s", out)
			}
		})
	}
}

func TestFailedLoadDoesNotReachTheHandler(t *testing.T) {
	store := newMapStore()
	m := newManager(t, adapter.Options{Store: fullStore{store}})
	id := begin(t, m, map[string]any{"user": "u"})
	store.fail = map[string]error{"findtouch": errors.New("down")}
	w := serve(m, cookieFor(id), func(http.ResponseWriter, *http.Request) { t.Error("the handler ran") })
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("status %d", w.Code)
	}
}

// ErrorFunc is the one field of a Manager that can be set after New.
func TestErrorFuncIsTheTeams(t *testing.T) {
	store, out := newMapStore(), &leaktest.Log{}
	store.fail = map[string]error{"create": errors.New("down")}
	for name, tt := range map[string]struct {
		o     adapter.Options
		wants func(err error) bool
	}{
		"store": {adapter.Options{Store: fullStore{store}}, func(err error) bool {
			var s *adapter.StoreError
			return errors.As(err, &s) && s.Op == "save" && s.Err.Error() == "down"
		}},
		"too large": {adapter.Options{MaxRecordSize: 1}, func(err error) bool { return errors.Is(err, adapter.ErrRecordTooLarge) }},
	} {
		tt.o.Logger = out.Logger()
		m := newManager(t, tt.o)
		m.ErrorFunc = func(w http.ResponseWriter, r *http.Request, err error) {
			if !tt.wants(err) {
				t.Errorf("%s: error %v", name, err)
			}
			http.Error(w, "try again", http.StatusTeapot)
		}
		w := serve(m, "", func(w http.ResponseWriter, r *http.Request) { m.Put(r.Context(), "k", "v") })
		if w.Code != http.StatusTeapot || w.Body.String() != "try again\n" {
			t.Errorf("%s: status %d, body %q", name, w.Code, w.Body)
		}
	}
	if got := out.String(); got != "" {
		t.Errorf("log: %s", got)
	}
}

func TestLateChangeIsLogged(t *testing.T) {
	for name, tt := range map[string]struct {
		late func(m *adapter.Manager, ctx context.Context) error
		lost bool
	}{
		"put":               {func(m *adapter.Manager, ctx context.Context) error { m.Put(ctx, "late", 1); return nil }, true},
		"put and save":      {func(m *adapter.Manager, ctx context.Context) error { m.Put(ctx, "late", 1); return m.Save(ctx) }, false},
		"put what is there": {func(m *adapter.Manager, ctx context.Context) error { m.Put(ctx, "k", "v"); return nil }, false},
		"put another":       {func(m *adapter.Manager, ctx context.Context) error { m.Put(ctx, "k", "w"); return nil }, true},
		"put another type":  {func(m *adapter.Manager, ctx context.Context) error { m.Put(ctx, "k", 1); return nil }, true},
		"put nil":           {func(m *adapter.Manager, ctx context.Context) error { m.Put(ctx, "k", nil); return nil }, true},
		"put another map": {func(m *adapter.Manager, ctx context.Context) error {
			m.Put(ctx, "map", map[string]any{"a": 2})
			return nil
		}, true},
		"put an equal map": {func(m *adapter.Manager, ctx context.Context) error {
			m.Put(ctx, "map", map[string]any{"a": 1})
			return nil
		}, false},
		"put another struct": {func(m *adapter.Manager, ctx context.Context) error {
			m.Put(ctx, "struct", struct{ A, B any }{1, []int{2}})
			return nil
		}, true},
		"put a shorter list": {func(m *adapter.Manager, ctx context.Context) error {
			list, _ := m.Get(ctx, "list").([]any)
			m.Put(ctx, "list", list[:1])
			return nil
		}, true},
		"SetMaxAge": {func(m *adapter.Manager, ctx context.Context) error { m.SetMaxAge(ctx, time.Minute); return nil }, true},
		"SetDeadline": {func(m *adapter.Manager, ctx context.Context) error {
			m.SetDeadline(ctx, time.Now().Add(time.Minute))
			return nil
		}, true},
		"remove":  {func(m *adapter.Manager, ctx context.Context) error { m.Remove(ctx, "k"); return nil }, true},
		"destroy": {func(m *adapter.Manager, ctx context.Context) error { return m.Destroy(ctx) }, false},
		"nothing": {func(m *adapter.Manager, ctx context.Context) error { return nil }, false},
	} {
		t.Run(name, func(t *testing.T) {
			out := &leaktest.Log{}
			m := newManager(t, adapter.Options{Logger: out.Logger(), Codec: adapter.JSONCodec{}, Cookie: adapter.Cookie{MaxAge: time.Hour}})
			before := map[string]any{"k": "v", "map": map[string]any{"a": 1}, "list": []any{1, 2}, "struct": struct{ A, B any }{1, 2}}
			for kind, cookie := range map[string]string{"a new session": "", "one that is there": cookieFor(begin(t, m, before))} {
				out.Reset()
				serve(m, cookie, func(w http.ResponseWriter, r *http.Request) {
					if cookie == "" {
						for k, v := range before {
							m.Put(r.Context(), k, v)
						}
					}
					w.WriteHeader(http.StatusOK)
					if err := tt.late(m, r.Context()); err != nil {
						t.Error(err)
					}
				})
				if got := strings.Contains(out.String(), "is lost"); got != tt.lost {
					t.Errorf("%s: logged: %t, want %t: %s", kind, got, tt.lost, out)
				}
			}
		})
	}
}

func TestNewIDAfterTheHeaderIsRefused(t *testing.T) {
	m := newManager(t, adapter.Options{})
	id := begin(t, m, map[string]any{"k": "v"})
	serve(m, cookieFor(id), func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		if err := m.Regenerate(r.Context()); !errors.Is(err, adapter.ErrResponseBegun) {
			t.Errorf("Regenerate: %v", err)
		}
		if err := m.RenewToken(r.Context()); !errors.Is(err, adapter.ErrResponseBegun) {
			t.Errorf("RenewToken: %v", err)
		}
	})
	if read(t, m, id) == nil {
		t.Error("the session is gone, and its client could not be told the new id")
	}
}

func TestServerSentEvents(t *testing.T) {
	m := newManager(t, adapter.Options{})
	next := make(chan struct{})
	srv := httptest.NewServer(m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.Put(r.Context(), "stream", true)
		w.Header().Set("Content-Type", "text/event-stream")
		for range 3 {
			fmt.Fprint(w, "data: tick\n\n")
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
			<-next
		}
	})))
	defer srv.Close()
	res, err := http.Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.Header.Get("Set-Cookie") == "" {
		t.Error("no cookie with the first event")
	}
	lines := bufio.NewScanner(res.Body)
	for range 3 {
		lines.Scan()
		if lines.Text() != "data: tick" {
			t.Fatalf("got %q", lines.Text())
		}
		lines.Scan()
		next <- struct{}{}
	}
}

func TestUpgrade(t *testing.T) {
	m := newManager(t, adapter.Options{})
	srv := httptest.NewServer(m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.Put(r.Context(), "socket", true)
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "echo")
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		line, err := rw.ReadString('\n')
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(conn, "echo %s", line)
	})))
	defer srv.Close()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	in := bufio.NewReader(conn)
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("Set-Cookie") == "" {
		t.Errorf("status %d, Set-Cookie %q", res.StatusCode, res.Header.Get("Set-Cookie"))
	}
	fmt.Fprintf(conn, "hello\n")
	if line, err := in.ReadString('\n'); err != nil || line != "echo hello\n" {
		t.Errorf("got %q, %v", line, err)
	}
}

// A file must reach the connection's own ReadFrom, where sendfile is.
func TestFileReachesReadFrom(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := newManager(t, adapter.Options{})
	var reached []string
	spy := &spyWriter{httptest.NewRecorder(), func(what string) { reached = append(reached, what) }}
	m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, path)
	})).ServeHTTP(spy, httptest.NewRequest("GET", "/file", nil))
	if got := strings.Join(reached, ", "); got != "status 200, file" {
		t.Errorf("reached: %s", got)
	}
}

func TestMiddlewareTwice(t *testing.T) {
	store := newMapStore()
	m := newManager(t, adapter.Options{Store: fullStore{store}})
	w := serve(m, "", func(w http.ResponseWriter, r *http.Request) {
		m.Put(r.Context(), "outer", 1)
		m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			m.Put(r.Context(), "inner", m.GetInt(r.Context(), "outer")+1)
		})).ServeHTTP(w, r)
	})
	if got := w.Header()["Set-Cookie"]; len(got) != 1 {
		t.Errorf("Set-Cookie %q", got)
	}
	for id := range store.records {
		if got := read(t, m, id); got["outer"] != 1 || got["inner"] != 2 {
			t.Errorf("session %v", got)
		}
	}
}

func TestTwoManagersOnOneRequest(t *testing.T) {
	users := newManager(t, adapter.Options{Name: "users"})
	carts := newManager(t, adapter.Options{Name: "carts"})
	h := users.LoadAndSave(carts.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		users.Put(r.Context(), "k", "user")
		carts.Put(r.Context(), "k", "cart")
		if err := carts.Regenerate(r.Context()); err != nil {
			t.Error(err)
		}
		if users.GetString(r.Context(), "k") != "user" || carts.Exists(r.Context(), "k") {
			t.Error("one session has the other's data")
		}
	})))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	cookies := w.Result().Cookies()
	if len(cookies) != 2 || cookies[0].Name == cookies[1].Name {
		t.Errorf("cookies %v", w.Header()["Set-Cookie"])
	}
}

func TestClientThatLeavesDoesNotLoseItsSave(t *testing.T) {
	store := newMapStore()
	m := newManager(t, adapter.Options{Store: ctxStore{fullStore{store}}})
	ctx, cancel := context.WithCancel(t.Context())
	r := httptest.NewRequest("GET", "/", nil).WithContext(ctx)
	m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.Put(r.Context(), "k", "v")
		cancel()
	})).ServeHTTP(httptest.NewRecorder(), r)
	if len(store.records) != 1 {
		t.Error("not saved")
	}
}

// ctxStore refuses to write on a context that is done.
type ctxStore struct{ fullStore }

func (s ctxStore) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	if ctx.Err() != nil {
		return nil, false, ctx.Err()
	}
	if _, ok := ctx.Deadline(); !ok {
		return nil, false, errors.New("no deadline")
	}
	return s.fullStore.Swap(ctx, token, old, data, expiry)
}

// A framework from before contexts learns that a client has left.
func TestCloseNotify(t *testing.T) {
	m := newManager(t, adapter.Options{})
	started, left := make(chan struct{}), make(chan struct{})
	srv := httptest.NewServer(m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		gone := w.(interface{ CloseNotify() <-chan bool }).CloseNotify()
		close(started)
		<-gone
		close(left)
	})))
	defer srv.Close()
	ctx, leave := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		<-started
		leave()
	}()
	if res, err := srv.Client().Do(r); err == nil {
		res.Body.Close()
		t.Error("the request has been answered")
	}
	<-left
}
