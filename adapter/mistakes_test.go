package adapter_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/internal/leaktest"
	"github.com/samesid/samesid/internal/wire"
)

// Each method that needs a session says what to do when the context has none, those of scs
// among them.
func TestNoSessionInTheContext(t *testing.T) {
	m := newManager(t, adapter.Options{UserPath: "user"})
	without := map[string]bool{ // a session
		"Audit": true, "DestroyUser": true, "DestroyWhere": true, "DestroyAll": true, "Iterate": true, "IterateUser": true, "Load": true, "LoadID": true,
		"DestroyHandle": true, "CopyTo": true,
	}
	tried := 0
	v := reflect.ValueOf(m)
	for i := range v.NumMethod() {
		name, method := v.Type().Method(i).Name, v.Method(i)
		ft := method.Type()
		if ft.NumIn() == 0 || ft.In(0) != reflect.TypeFor[context.Context]() || without[name] {
			continue
		}
		args := []reflect.Value{reflect.ValueOf(t.Context())}
		for j := 1; j < ft.NumIn(); j++ {
			args = append(args, reflect.Zero(ft.In(j)))
		}
		tried++
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, "adapter: no session in the context") || !strings.Contains(got, "LoadAndSave") {
					t.Errorf("%s: panic %q", name, got)
				}
			}()
			method.Call(args)
		}()
	}
	if tried < 40 {
		t.Errorf("only %d methods were tried", tried)
	}
}

// What a handler puts as a struct comes back from JSON as a map: the log says so at the
// first Put, not a panic in the request after.
func TestTypesThatJSONLoses(t *testing.T) {
	type account struct{ ID int }
	const line = "asserting it panics"
	for name, test := range map[string]struct {
		codec bool
		put   func(ctx context.Context, m *adapter.Manager)
		want  string
	}{
		"struct":      {true, func(ctx context.Context, m *adapter.Manager) { m.Put(ctx, "user", account{7}) }, "type=adapter_test.account"},
		"strings":     {true, func(ctx context.Context, m *adapter.Manager) { m.Put(ctx, "user", []string{"a"}) }, "type=[]string"},
		"named text":  {true, func(ctx context.Context, m *adapter.Manager) { m.Put(ctx, "user", http.SameSite(1)) }, "type=http.SameSite"},
		"basic":       {true, func(ctx context.Context, m *adapter.Manager) { m.Put(ctx, "user", 7); m.Put(ctx, "at", time.Now()) }, ""},
		"map":         {true, func(ctx context.Context, m *adapter.Manager) { m.Put(ctx, "user", map[string]any{"a": []any{1}}) }, ""},
		"adapter.Put": {true, func(ctx context.Context, m *adapter.Manager) { _ = adapter.Put(ctx, m, "user", account{7}) }, ""},
		"gob":         {false, func(ctx context.Context, m *adapter.Manager) { m.Put(ctx, "user", []string{"a"}) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			out := &leaktest.Log{}
			o := adapter.Options{Logger: out.Logger()}
			if test.codec {
				o.Codec = adapter.JSONCodec{}
			}
			m := newManager(t, o)
			for range 2 {
				serve(m, "", func(_ http.ResponseWriter, r *http.Request) { test.put(r.Context(), m) })
			}
			got := out.String()
			want := 0
			if test.want != "" {
				want = 1
			}
			if strings.Count(got, line) != want || !strings.Contains(got, test.want) {
				t.Errorf("log, want %q once:\n%s", test.want, got)
			}
		})
	}
}

// After Cookie.Domain has been set, a browser sends the cookie from before and the one
// from after, and the older one first. It goes with the first cookie that is sent.
func TestTwoCookiesOfOneName(t *testing.T) {
	out := &leaktest.Log{}
	m := newManager(t, adapter.Options{Cookie: adapter.Cookie{Domain: "example.com", Priority: "high"}, Logger: out.Logger()})
	old, live := begin(t, m, map[string]any{"user": "old"}), begin(t, m, map[string]any{"user": "u"})
	within(t, m, old, func(ctx context.Context) { _ = m.Destroy(ctx) })
	both := cookieFor(old) + "; other=1; " + cookieFor(live)

	visit := func(cookies string, handler http.HandlerFunc) []string {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Cookie", cookies)
		w := httptest.NewRecorder()
		m.LoadAndSave(handler).ServeHTTP(w, r)
		noteCookies(w)
		return w.Header()["Set-Cookie"]
	}
	hostOnly := func(sent []string) (n int) {
		for _, c := range sent {
			if strings.HasPrefix(c, "connect.sid=;") && !strings.Contains(c, "Domain") && strings.Contains(c, "Path=/;") && strings.Contains(c, "Max-Age=0") {
				n++
			}
		}
		return n
	}

	if sent := visit(both, func(_ http.ResponseWriter, r *http.Request) {
		if got := m.GetString(r.Context(), "user"); got != "" {
			t.Errorf("the first cookie does not count: the user is %q", got)
		}
	}); len(sent) != 0 {
		t.Errorf("a read sends %d cookies", len(sent))
	}
	login := func(_ http.ResponseWriter, r *http.Request) { m.Put(r.Context(), "user", "u") }
	if sent := visit(both, login); len(sent) != 2 || hostOnly(sent) != 1 {
		t.Errorf("a login sends %d cookies, %d of them clear the old one", len(sent), hostOnly(sent))
	}
	logout := func(_ http.ResponseWriter, r *http.Request) { _ = m.Destroy(r.Context()) }
	if sent := visit(cookieFor(live)+"; "+cookieFor(old), logout); len(sent) != 2 || hostOnly(sent) != 1 {
		t.Errorf("a logout sends %d cookies, %d of them clear the old one", len(sent), hostOnly(sent))
	}
	if sent := visit(cookieFor(old)+"; connect.sid2=1", login); len(sent) != 1 {
		t.Errorf("with one cookie of the name, a login sends %d", len(sent))
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Cookie", both)
	ctx, err := m.Begin(r)
	if err != nil {
		t.Fatal(err)
	}
	m.Put(ctx, "user", "u")
	h, err := m.End(ctx)
	if err != nil || hostOnly(h["Set-Cookie"]) != 1 {
		t.Errorf("End: %v, %d cookies clear the old one", err, hostOnly(h["Set-Cookie"]))
	}
	if n := strings.Count(out.String(), "several cookies of the session's name"); n != 1 {
		t.Errorf("the log has it %d times:\n%s", n, out.String())
	}

	// Without a Domain nothing can be cleared: the log alone says it.
	out = &leaktest.Log{}
	m = newManager(t, adapter.Options{Logger: out.Logger()})
	if sent := visit("connect.sid=a; connect.sid=b", login); len(sent) != 1 {
		t.Errorf("without a Domain, a login sends %d cookies", len(sent))
	}
	if !strings.Contains(out.String(), "several cookies of the session's name") {
		t.Errorf("log: %s", out.String())
	}
}

// A session in JSON keeps the attributes that it began with: one from before Cookie.Domain was
// set has a cookie without it for as long as it lives, which must not be cleared as it is sent.
func TestSessionFromBeforeTheDomain(t *testing.T) {
	store := newMapStore()
	options := adapter.Options{Store: fullStore{store}, Codec: adapter.JSONCodec{}, Cookie: adapter.Cookie{MaxAge: time.Hour}, Logger: (&leaktest.Log{}).Logger()}
	before := newManager(t, options)
	options.Cookie.Domain = "example.com"
	m := newManager(t, options)
	old := begin(t, before, map[string]any{"user": "u"})
	both := cookieFor(old) + "; " + cookieFor(begin(t, m, map[string]any{"user": "u"}))

	sent := func(handler func(ctx context.Context)) (set, cleared []string) {
		w := serve(m, both, func(_ http.ResponseWriter, r *http.Request) { handler(r.Context()) })
		for _, c := range w.Result().Cookies() {
			if c.MaxAge < 0 {
				cleared = append(cleared, c.Domain)
			} else {
				set = append(set, c.Domain)
			}
		}
		return set, cleared
	}
	if set, cleared := sent(func(ctx context.Context) { m.Put(ctx, "n", 1) }); !slices.Equal(set, []string{""}) || len(cleared) != 0 {
		t.Errorf("a change sets cookies with the domains %q, and clears %q", set, cleared)
	}
	// A logout leaves no cookie of the name.
	if set, cleared := sent(func(ctx context.Context) { _ = m.Destroy(ctx) }); len(set) != 0 || !slices.Equal(cleared, []string{"", "example.com"}) {
		t.Errorf("a logout sets cookies with the domains %q, and clears %q", set, cleared)
	}
}

// A cookie that can't lead to its session is named in the log, whatever keeps it from that: its
// name, the request's path, or the form that is expected of it.
func TestCookiesThatLeadNowhere(t *testing.T) {
	const otherName, outside, signed = "under another name", "outside of Options.Cookie.Path", "Options.Signature is SignatureNone"
	const unknown = "does not have its session"
	id := "an-id-of-express"
	good := cookieFor(id)
	leaktest.Note(id)
	for name, test := range map[string]struct {
		options adapter.Options
		cookie  string
		want    string // in the one line; "": no line
	}{
		"another name":                {cookie: "sid" + strings.TrimPrefix(good, "connect.sid"), want: otherName},
		"another name, not encoded":   {cookie: "a=b; sid=s:" + wireSigned(id), want: otherName},
		"another name and secret":     {cookie: "sid=s%3A" + id + ".AAAA; other=" + id},
		"its own, and another's":      {cookie: good + "; sid=s:" + wireSigned(id), want: unknown},
		"outside":                     {options: adapter.Options{Cookie: adapter.Cookie{Path: "/app"}}, cookie: good, want: outside},
		"outside, of another secret":  {options: adapter.Options{Cookie: adapter.Cookie{Path: "/app"}}, cookie: "connect.sid=s%3A" + id + ".AAAA"},
		"outside, unsigned":           {options: adapter.Options{Cookie: adapter.Cookie{Path: "/app"}, Signature: adapter.SignatureNone}, cookie: "connect.sid=" + id, want: outside},
		"signed, and none is wanted":  {options: adapter.Options{Signature: adapter.SignatureNone}, cookie: good, want: signed},
		"unknown, and none is signed": {options: adapter.Options{Signature: adapter.SignatureNone}, cookie: "connect.sid=" + id, want: unknown},
		"unknown, not signed yet":     {options: adapter.Options{Signature: adapter.SignatureMigrating}, cookie: "connect.sid=" + id, want: unknown},
	} {
		t.Run(name, func(t *testing.T) {
			out := &leaktest.Log{}
			test.options.Logger = out.Logger()
			m := newManager(t, test.options)
			serve(m, "", func(http.ResponseWriter, *http.Request) {})
			if got := out.String(); got != "" {
				t.Errorf("without a cookie: %s", got)
			}
			for range 3 {
				serve(m, test.cookie, func(http.ResponseWriter, *http.Request) {})
			}
			got, lines := out.String(), 0
			if test.want != "" {
				lines = 1
			}
			if strings.Count(got, "\n") != lines || !strings.Contains(got, test.want) || strings.Contains(got, id) {
				t.Errorf("log, want %q once:\n%s", test.want, got)
			}
		})
	}
}

func wireSigned(id string) string {
	return strings.TrimPrefix(wire.NewSigner([]string{secret}).Sign(id), "s:")
}

// Cookies of other apps are looked at for a while only, so that nobody can make them cost much.
func TestOtherCookiesAreNotVerifiedForEver(t *testing.T) {
	out := &leaktest.Log{}
	m := newManager(t, adapter.Options{Logger: out.Logger()})
	foreign := strings.Repeat("sid=s:another-id.AAAA; ", 100)
	for range 20 {
		serve(m, foreign, func(http.ResponseWriter, *http.Request) {})
	}
	serve(m, "sid=s:"+wireSigned("an-id-of-express"), func(http.ResponseWriter, *http.Request) {})
	if got := out.String(); got != "" {
		t.Errorf("after %d cookies of others, one more is verified: %s", 20*100, got)
	}
}
