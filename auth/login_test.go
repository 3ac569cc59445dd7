package auth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2/memstore"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
	"github.com/samesid/samesid/internal/leaktest"
)

// A Hook that answers keeps the user out, and the session as it is; one that does not may
// say how the session begins.
func TestLoginHooks(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			m := newManager(t, adapter.Options{Codec: v.codec})
			a := newAuth(t, m, verifyAda, auth.Options{Key: v.key})
			var called []string
			first := func(w http.ResponseWriter, r *http.Request, u user, opts *auth.SignInOptions) bool {
				if _, err := a.User(r.Context()); r.Header.Get("Code") == "" && err == nil || u.ID != ada.ID {
					t.Errorf("the first Hook: %+v, signed in already: %t", u, err == nil)
				}
				called = append(called, "first")
				opts.Methods = []string{"pwd", "otp", "mfa"}
				if r.Header.Get("Code") == "" {
					m.Put(r.Context(), "pending", u.Name)
					w.WriteHeader(http.StatusAccepted)
					_, _ = w.Write([]byte("code?"))
					return true
				}
				return false
			}
			second := func(http.ResponseWriter, *http.Request, user, *auth.SignInOptions) bool {
				called = append(called, "second")
				return false
			}
			mux := routes(m, a)
			mux.Handle("/login2", a.Login(first, second))
			mux.Handle("/mfa", a.Fresh(time.Minute, "mfa", "pwd")(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
			mux.Handle("/hardware", a.Fresh(time.Minute, "pwd", "hwk")(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
			mux.HandleFunc("/pending", func(w http.ResponseWriter, r *http.Request) {
				_, _ = w.Write([]byte(m.GetString(r.Context(), "pending")))
			})
			b := newBrowser(t, serve(t, m, mux))

			b.do("GET", "/cart?add=apple", "")
			res := b.do("POST", "/login2", goodJSON, "Content-Type", typeJSON)
			if res.StatusCode != 202 || res.body != "code?" {
				t.Errorf("the Hook's answer: %d %s", res.StatusCode, res.body)
			}
			if res = b.do("GET", "/protected", ""); res.StatusCode != 401 {
				t.Errorf("signed in although a Hook has answered: %d", res.StatusCode)
			}
			if cart, pending := b.do("GET", "/cart", "").body, b.do("GET", "/pending", "").body; cart != "apple" || pending != "Ada" {
				t.Errorf("the session has the cart %q and the user %q", cart, pending)
			}
			res = b.do("POST", "/login2", badJSON, "Content-Type", typeJSON, "Code", "1")
			check(t, "wrong password", res.StatusCode, res.body, 401, "Invalid Credentials")
			if !reflect.DeepEqual(called, []string{"first"}) {
				t.Errorf("called %q", called)
			}

			b.do("POST", "/login", goodJSON, "Content-Type", typeJSON)
			res = b.do("GET", "/mfa", "")
			check(t, "without a second factor", res.StatusCode, res.body, 401, "Sign In Again")
			res = b.do("POST", "/login2", goodJSON, "Content-Type", typeJSON, "Code", "1")
			check(t, "login", res.StatusCode, res.body, 200, "You are logged in")
			if !reflect.DeepEqual(called, []string{"first", "first", "second"}) {
				t.Errorf("called %q", called)
			}
			if res = b.do("GET", "/mfa", ""); res.StatusCode != 200 {
				t.Errorf("with a second factor: %d", res.StatusCode)
			}
			res = b.do("GET", "/hardware", "")
			check(t, "one method of two", res.StatusCode, res.body, 401, "Sign In Again")
		})
	}
}

// The stored session has OpenID Connect's names, for Express.
func TestSignInWith(t *testing.T) {
	store := memstore.NewWithCleanupInterval(0)
	m := newManager(t, adapter.Options{Codec: adapter.JSONCodec{}, Store: store})
	a := newAuth(t, m, verifyAda, auth.Options{})
	at := time.Now().Add(-30 * time.Minute)
	do(m, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if err := a.SignInWith(r.Context(), ada, auth.SignInOptions{At: at, Methods: []string{"hwk"}}); err != nil {
			t.Error(err)
		}
		for within, want := range map[time.Duration]int{time.Hour: 200, time.Minute: 401} {
			w := httptest.NewRecorder()
			a.Fresh(within)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, r)
			if w.Code != want {
				t.Errorf("Fresh(%v): %d, want %d", within, w.Code, want)
			}
		}
	}), "GET", "/", "")
	all, err := store.All()
	if err != nil || len(all) != 1 {
		t.Fatalf("%d records, %v", len(all), err)
	}
	for _, b := range all {
		var got struct {
			AuthTime int64    `json:"auth_time"`
			AMR      []string `json:"amr"`
		}
		if err := json.Unmarshal(b, &got); err != nil || got.AuthTime != at.Unix() || !reflect.DeepEqual(got.AMR, []string{"hwk"}) {
			t.Errorf("stored %s, %v", b, err)
		}
	}
}

func TestRememberMe(t *testing.T) {
	m := newManager(t, adapter.Options{})
	a := newAuth(t, m, verifyAda, auth.Options{RememberFor: 30 * 24 * time.Hour})
	yes := strings.TrimSuffix(goodJSON, "}") + `,"remember":`
	for _, tt := range []struct {
		contentType, body string
		remembered        bool
	}{
		{typeJSON, goodJSON, false},
		{typeJSON, yes + "true}", true},
		{typeJSON, yes + "false}", false},
		{typeJSON, yes + `"on"}`, true},
		{typeForm, goodForm, false},
		{typeForm, goodForm + "&remember=on", true},
		{typeForm, goodForm + "&remember=1", true},
		{typeForm, goodForm + "&remember=", false},
		{typeForm, goodForm + "&remember=0", false},
	} {
		w := do(m, a.Login(), "POST", "/login", tt.body, "Content-Type", tt.contentType)
		check(t, tt.body, w.Code, w.Body.String(), 200, "You are logged in")
		if got := strings.Contains(w.Header().Get("Set-Cookie"), "Max-Age=2592000"); got != tt.remembered {
			t.Errorf("%s: remembered %t", tt.body, got)
		}
	}
}

func TestFields(t *testing.T) {
	m := newManager(t, adapter.Options{})
	var code string
	var terms bool
	a := newAuth(t, m, func(ctx context.Context, username, pw string) (user, error) {
		code, terms = auth.Field[string](ctx, "code"), auth.Field[bool](ctx, "terms")
		return verifyAda(ctx, username, pw)
	}, auth.Options{Fields: []string{"code", "terms"}})
	json := strings.TrimSuffix(goodJSON, "}")
	const shape = `The body must be a JSON object with the text fields \"username\" and \"password\", each once, and optionally \"code\", \"terms\"`
	for _, tt := range []struct {
		contentType, body string
		message           string // "" for none
		code              string
		terms             bool
	}{
		{typeJSON, goodJSON, "", "", false},
		{typeJSON, json + `,"code":"007","terms":true}`, "", "007", true},
		{typeJSON, json + `,"code":123456}`, "", "123456", false},
		{typeJSON, json + `,"terms":"true"}`, "", "", true},
		{typeForm, goodForm + "&code=007&terms=yes&csrf=1", "", "007", true},
		{typeJSON, json + `,"code":"1","code":"2"}`, shape, "", false},
		{typeJSON, json + `,"code":null}`, shape, "", false},
		{typeJSON, json + `,"code":[1]}`, shape, "", false},
		{typeJSON, json + `,"codes":"1"}`, shape, "", false},
		{typeJSON, `{"username":true,"password":"x"}`, shape, "", false},
		{typeJSON, json + `,"code":"\u0000"}`, "The fields must be UTF-8 text", "", false},
		{typeForm, goodForm + "&code=1&code=2", `The form must have the field \"code\" at most once`, "", false},
	} {
		code, terms = "", false
		w := do(m, a.Login(), "POST", "/login", tt.body, "Content-Type", tt.contentType)
		if tt.message != "" {
			check(t, tt.body, w.Code, w.Body.String(), 400, tt.message)
		} else {
			check(t, tt.body, w.Code, w.Body.String(), 200, "You are logged in")
		}
		if code != tt.code || terms != tt.terms {
			t.Errorf("%s: code %q, terms %t", tt.body, code, terms)
		}
	}

	if auth.Field[string](t.Context(), "code") != "" {
		t.Error("a field outside of a login")
	}
	defer func() {
		if got := fmt.Sprint(recover()); !strings.Contains(got, `"cod"`) {
			t.Errorf("a field that is not declared: %s", got)
		}
	}()
	do(m, a.Login(func(_ http.ResponseWriter, r *http.Request, _ user, _ *auth.SignInOptions) bool {
		return auth.Field[bool](r.Context(), "cod")
	}), "POST", "/login", goodJSON, "Content-Type", typeJSON)
}

// What Keep names survives a login as it was stored, but not another user's.
func TestKeep(t *testing.T) {
	type cart struct{ Items []string }
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			m := newManager(t, adapter.Options{Codec: v.codec})
			a := newAuth(t, m, verifyAnyone, auth.Options{Key: v.key, Keep: []string{"cart", "seen", "count", "none"}})
			mux := names(m, a)
			mux.HandleFunc("/put", func(_ http.ResponseWriter, r *http.Request) {
				if err := adapter.Put(r.Context(), m, "cart", cart{[]string{"apple"}}); err != nil {
					t.Error(err)
				}
				m.Put(r.Context(), "seen", time.Unix(1, 0).UTC())
				m.Put(r.Context(), "count", 7)
				m.Put(r.Context(), "other", "x")
			})
			mux.HandleFunc("/get", func(w http.ResponseWriter, r *http.Request) {
				c, _ := adapter.Get[cart](r.Context(), m, "cart")
				fmt.Fprintf(w, "%v %v %d %q", c.Items, m.GetTime(r.Context(), "seen").Year(), m.GetInt(r.Context(), "count"), m.GetString(r.Context(), "other"))
				if m.Exists(r.Context(), "none") {
					t.Error("a key that was not there")
				}
			})
			b := newBrowser(t, serve(t, m, mux))
			b.do("GET", "/put", "")
			for _, step := range []struct{ user, want string }{
				{"ada", `[apple] 1970 7 ""`},
				{"ada", `[apple] 1970 7 ""`}, // signs in again
				{"eve", `[] 1 0 ""`},
			} {
				b.signIn(step.user)
				if got := b.do("GET", "/get", "").body; got != step.want {
					t.Errorf("after the login of %s: %q, want %q", step.user, got, step.want)
				}
			}
		})
	}
}

// Refused hears of everything that is refused, and may answer.
func TestRefused(t *testing.T) {
	m := newManager(t, adapter.Options{})
	var got []auth.Refusal
	answers := false
	broken := errors.New("no database")
	a := newAuth(t, m, func(ctx context.Context, username, pw string) (user, error) {
		if username == "broken" {
			return user{}, broken
		}
		return verifyAda(ctx, username, pw)
	}, auth.Options{
		Attempts: 2, LoginPage: "/login", Logger: new(leaktest.Log).Logger(),
		Refused: func(w http.ResponseWriter, _ *http.Request, why auth.Refusal) bool {
			got = append(got, why)
			if answers {
				w.WriteHeader(http.StatusTeapot)
			}
			return answers
		},
	})
	mux := routes(m, a)
	mux.Handle("/fresh", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := a.SignInWith(r.Context(), ada, auth.SignInOptions{At: time.Now().Add(-time.Hour)}); err != nil {
			t.Error(err)
		}
		a.Fresh(time.Minute)(http.NotFoundHandler()).ServeHTTP(w, r)
	}))
	mux.Handle("/factor", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := a.SignIn(r.Context(), ada); err != nil {
			t.Error(err)
		}
		a.Fresh(time.Minute, "otp")(http.NotFoundHandler()).ServeHTTP(w, r)
	}))
	wrong := `{"username":"Eve ","password":"x"}`
	for _, tt := range []struct {
		method, path, body string
		header             []string
		reason             error // nil: a *TooManyError
		status, answer     int
		username           string
	}{
		{"POST", "/login", wrong, nil, auth.ErrInvalid, 401, 401, "Eve "},
		{"POST", "/login", wrong, nil, auth.ErrInvalid, 401, 401, "Eve "},
		{"POST", "/login", wrong, nil, nil, 429, 429, "Eve "},
		{"POST", "/login", `{"username":"ada","password":""}`, nil, auth.ErrInvalid, 401, 401, "ada"},
		{"POST", "/login", `{"username":"broken","password":"x"}`, nil, broken, 500, 500, "broken"},
		{"POST", "/login", `{`, nil, auth.ErrMalformed, 400, 400, ""},
		{"POST", "/login", wrong, []string{"Content-Type", "text/plain"}, auth.ErrMalformed, 415, 415, ""},
		{"POST", "/login", wrong, []string{"Origin", "https://evil.example"}, auth.ErrCrossOrigin, 403, 403, ""},
		{"POST", "/logout", "", []string{"Origin", "https://evil.example"}, auth.ErrCrossOrigin, 403, 403, ""},
		{"GET", "/protected", "", nil, auth.ErrNotSignedIn, 401, 401, ""},
		{"GET", "/protected", "", []string{"Accept", acceptChrome}, auth.ErrNotSignedIn, 401, 303, ""},
		{"GET", "/fresh", "", nil, auth.ErrStale, 401, 401, ""},
		{"GET", "/factor", "", nil, auth.ErrMethod, 401, 401, ""},
	} {
		for _, answers = range []bool{false, true} {
			if tt.username == "Eve " && tt.reason != nil && answers {
				continue // it would use up an attempt
			}
			got = nil
			w := do(m, mux, tt.method, tt.path, tt.body, append([]string{"Content-Type", typeJSON}, tt.header...)...)
			want := tt.answer
			if answers {
				want = http.StatusTeapot
			}
			if w.Code != want || w.Header().Get("Cache-Control") == "" {
				t.Errorf("%s %s: %d, want %d, headers %v", tt.method, tt.path, w.Code, want, w.Header())
			}
			if len(got) != 1 || got[0].Status != tt.status || got[0].Username != tt.username {
				t.Errorf("%s %s %s: %+v", tt.method, tt.path, tt.body, got)
				continue
			}
			var tooMany *auth.TooManyError
			if tt.reason == nil {
				if !errors.As(got[0].Reason, &tooMany) || tooMany.RetryAfter <= 0 {
					t.Errorf("%s %s: %v", tt.method, tt.path, got[0].Reason)
				}
			} else if !errors.Is(got[0].Reason, tt.reason) {
				t.Errorf("%s %s: %v, want %v", tt.method, tt.path, got[0].Reason, tt.reason)
			}
		}
	}
}

// Attempt has Login's limits and its check of the origin.
func TestAttempt(t *testing.T) {
	m := newManager(t, adapter.Options{})
	a := newAuth(t, m, verifyAda, auth.Options{Attempts: 2, Logger: new(leaktest.Log).Logger()})
	request := func(header ...string) *http.Request {
		r := httptest.NewRequest("POST", "/own", nil)
		setHeader(r, header)
		return r
	}
	if u, err := a.Attempt(request(), "ada", password); err != nil || u.ID != ada.ID {
		t.Errorf("%+v, %v", u, err)
	}
	for _, method := range []string{"POST", "GET"} {
		r := request("Origin", "https://evil.example")
		r.Method = method
		if _, err := a.Attempt(r, "ada", password); !errors.Is(err, auth.ErrCrossOrigin) {
			t.Errorf("from another origin: %v", err)
		}
	}
	for _, pw := range []string{"a\x00", "\xff"} {
		if _, err := a.Attempt(request(), "ada", pw); !errors.Is(err, auth.ErrMalformed) {
			t.Errorf("%q: %v", pw, err)
		}
	}
	if _, err := a.Attempt(request(), "ada", ""); !errors.Is(err, auth.ErrInvalid) {
		t.Errorf("an empty password: %v", err)
	}
	if _, err := a.Attempt(request(), "ada", "wrong"); !errors.Is(err, auth.ErrInvalid) {
		t.Errorf("a wrong password: %v", err)
	}
	do(m, a.Login(), "POST", "/login", badJSON, "Content-Type", typeJSON)
	_, err := a.Attempt(request(), "ada", password)
	var tooMany *auth.TooManyError
	if !errors.As(err, &tooMany) || tooMany.RetryAfter <= 0 {
		t.Errorf("one too many: %v", err)
	}
}

// Passport stores the user's id. A user who is gone is nobody; users that can't be
// reached fail the request.
func TestNewByID(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			l := new(leaktest.Log)
			m := newManager(t, adapter.Options{Codec: v.codec, Logger: l.Logger()})
			loads := 0
			var fails error
			a, err := auth.NewByID(m, verifyAda, func(u user) int { return u.ID }, func(_ context.Context, id int) (user, error) {
				loads++
				if fails != nil || id != ada.ID {
					return user{}, fails
				}
				return ada, nil
			}, auth.Options{Key: v.key, Logger: l.Logger()})
			if err != nil {
				t.Fatal(err)
			}
			ids := newAuth(t, m, func(context.Context, string, string) (int, error) { return 0, nil }, auth.Options{Key: v.key})
			mux := routes(m, a)
			mux.Handle("/twice", a.Fresh(time.Minute)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				for range 2 {
					if u, err := a.User(r.Context()); err != nil || u.Name != ada.Name {
						t.Errorf("%+v, %v", u, err)
					}
				}
				if err := a.SignOut(r.Context()); err != nil {
					t.Error(err)
				}
				if _, err := a.User(r.Context()); !errors.Is(err, auth.ErrNotSignedIn) {
					t.Errorf("after SignOut: %v", err)
				}
			})))
			mux.HandleFunc("/id", func(w http.ResponseWriter, r *http.Request) {
				id, err := ids.User(r.Context())
				fmt.Fprint(w, id, err)
			})
			mux.HandleFunc("/open", func(w http.ResponseWriter, r *http.Request) {
				_, err := a.User(r.Context())
				fmt.Fprint(w, errors.Is(err, auth.ErrNotSignedIn), errors.Is(err, errDown))
			})
			b := newBrowser(t, serve(t, m, mux))
			b.do("POST", "/login", goodJSON, "Content-Type", typeJSON)
			if got := b.do("GET", "/id", "").body; got != "7 <nil>" {
				t.Errorf("the session holds %s, want the id 7", got)
			}
			if res := b.do("GET", "/protected", ""); res.StatusCode != 200 || !strings.Contains(res.body, "Ada") {
				t.Errorf("protected: %d %s", res.StatusCode, res.body)
			}

			fails = errDown
			if res := b.do("GET", "/protected", "", "Accept", acceptChrome); res.StatusCode != 500 {
				t.Errorf("users that can't be reached: %d %s", res.StatusCode, res.body)
			}
			if got := b.do("GET", "/open", "").body; got != "false true" {
				t.Errorf("users that can't be reached, elsewhere: %s", got)
			}
			if !strings.Contains(l.String(), errDown.Error()) {
				t.Errorf("the log does not say why: %s", l)
			}
			fails = fmt.Errorf("no row: %w", auth.ErrInvalid)
			res := b.do("GET", "/protected", "")
			check(t, "a user who is gone", res.StatusCode, res.body, 401, "Invalid Credentials")
			if !strings.Contains(l.String(), "there is no user with the session's id") {
				t.Errorf("nobody is told: %s", l)
			}
			if got := b.do("GET", "/open", "").body; got != "true false" {
				t.Errorf("a user who is gone, elsewhere: %s", got)
			}
			fails, loads = nil, 0
			if b.do("GET", "/twice", ""); loads != 1 {
				t.Errorf("%d loads for one request", loads)
			}
		})
	}
	m := newManager(t, adapter.Options{})
	if _, err := auth.NewByID[user, int](m, verifyAda, nil, nil, auth.Options{}); err == nil || !strings.Contains(err.Error(), "id and load") {
		t.Errorf("NewByID without functions: %v", err)
	}
}

func TestNewRefusesFields(t *testing.T) {
	for _, tt := range []struct {
		opts auth.Options
		want string
	}{
		{auth.Options{Fields: []string{"code", "username"}}, "Options.Fields[1]"},
		{auth.Options{Fields: []string{"code", "code"}}, "Options.Fields[1]"},
		{auth.Options{Fields: []string{"returnTo"}}, "Options.Fields[0]"},
		{auth.Options{Fields: []string{""}}, "Options.Fields[0]"},
		{auth.Options{Fields: []string{"remember"}, RememberFor: time.Hour}, "Options.Fields[1]"},
		{auth.Options{RememberFor: -1}, "Options.RememberFor"},
		{auth.Options{RememberFor: 2592000}, "Options.RememberFor"}, // seconds
		{auth.Options{UsernameField: "remember", RememberFor: time.Hour}, "Options.RememberFor"},
		{auth.Options{Keep: []string{"cart", "user"}}, "Options.Keep[1]"},
		{auth.Options{Keep: []string{"passport"}, Key: "passport.user"}, "Options.Keep[0]"},
		{auth.Options{Keep: []string{"cookie"}}, "Options.Keep[0]"},
		{auth.Options{Keep: []string{"amr"}}, "Options.Keep[0]"},
		{auth.Options{Key: "amr"}, "Options.Key"},
	} {
		if err := tt.opts.Validate(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: error %v, want one that names %s", tt.opts, err, tt.want)
		}
	}
	shared := make([]string, 1, 4)
	shared[0] = "code"
	if err := (auth.Options{Fields: shared, RememberFor: time.Hour}).Validate(); err != nil || shared[:2][1] != "" {
		t.Errorf("error %v, the caller's slice is %q", err, shared[:2])
	}
}
