package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestBackChannelLogout(t *testing.T) {
	w := newWorld(t)
	laptop, phone, tablet, tv := w.signIn("sid-1"), w.signIn("sid-2"), w.signIn("sid-3"), w.signIn("sid-3")

	w.mustLogout(w.provider.logoutToken(map[string]any{"sid": "sid-2"}))
	if phone.isSignedIn() || !laptop.isSignedIn() || !tablet.isSignedIn() || !tv.isSignedIn() {
		t.Error("by sub and sid: the wrong sessions have ended")
	}
	w.mustLogout(w.provider.logoutToken(map[string]any{"sid": "sid-3", "sub": absent}))
	if tablet.isSignedIn() || tv.isSignedIn() || !laptop.isSignedIn() {
		t.Error("by sid: the wrong sessions have ended")
	}
	w.mustLogout(w.provider.logoutToken(map[string]any{"sid": "sid-1", "sub": "bob"}))
	w.mustLogout(w.provider.logoutToken(map[string]any{"sid": "unknown", "sub": absent}))
	w.mustLogout(w.provider.logoutToken(map[string]any{"sub": "bob"}))
	if !laptop.isSignedIn() {
		t.Error("by the ids of others: the wrong sessions have ended")
	}
	phone = w.signIn("sid-4")
	w.mustLogout(w.provider.logoutToken(nil))
	if laptop.isSignedIn() || phone.isSignedIn() {
		t.Error("by sub: not all have ended")
	}
	if !w.signIn("sid-5").isSignedIn() {
		t.Error("nobody can sign in after a logout")
	}
}

// A token serves once, on whichever process.
func TestReplayedToken(t *testing.T) {
	for name, changes := range kinds {
		w := newWorld(t)
		token := w.provider.logoutToken(changes)
		w.mustLogout(token)
		b := w.signIn("sid-2")
		w.otherURL = w.url
		if got := w.backChannel(token); got.status != http.StatusBadRequest || !strings.Contains(got.body, "used before") || !b.isSignedIn() {
			t.Errorf("%s: %d %s, signed in: %t", name, got.status, got.body, b.isSignedIn())
		}
	}
}

// Each claim that section 2.6 asks for is checked.
func TestBadLogoutTokens(t *testing.T) {
	w := newWorld(t)
	p, forged := w.provider, *w.provider
	forged.key = otherKey()
	b := w.signIn("sid-1")
	now := time.Now().Unix()
	event := func(v any) map[string]any { return map[string]any{"events": map[string]any{logoutEvent: v}} }
	tampered := strings.Split(p.logoutToken(map[string]any{"sub": "bob"}), ".")
	tampered[1] = strings.Split(p.logoutToken(nil), ".")[1]
	for name, token := range map[string]string{
		"none":              "",
		"no token":          "x.y.z",
		"not compact":       `{"payload":"` + tampered[1] + `","signatures":[]}`,
		"not signed":        p.logoutToken(map[string]any{"alg": "none"}),
		"another algorithm": p.logoutToken(map[string]any{"alg": "HS256"}),
		"another key":       forged.logoutToken(nil),
		"changed":           strings.Join(tampered, "."),
		"another kind":      p.logoutToken(map[string]any{"typ": "at+jwt"}),
		"another issuer":    p.logoutToken(map[string]any{"iss": "https://id.example.com"}),
		"another app":       p.logoutToken(map[string]any{"aud": []string{"another"}}),
		"no app":            p.logoutToken(map[string]any{"aud": absent}),
		"expired":           p.logoutToken(map[string]any{"exp": now - 1}),
		"no expiry":         p.logoutToken(map[string]any{"exp": absent}),
		"no iat":            p.logoutToken(map[string]any{"iat": absent}),
		"iat to come":       p.logoutToken(map[string]any{"iat": now + 3600, "exp": now + 7200}),
		"no event":          p.logoutToken(map[string]any{"events": absent}),
		"another event":     p.logoutToken(map[string]any{"events": map[string]any{"x": map[string]any{}}}),
		"a null event":      p.logoutToken(event(nil)),
		"a text as event":   p.logoutToken(event("{}")),
		"a nonce":           p.logoutToken(map[string]any{"nonce": "n"}),
		"a null nonce":      p.logoutToken(map[string]any{"nonce": nil}),
		"no jti":            p.logoutToken(map[string]any{"jti": absent}),
		"nobody":            p.logoutToken(map[string]any{"sub": absent}),
	} {
		got := w.backChannel(token)
		mustBeRefusal(t, name, got)
		if !b.isSignedIn() {
			t.Fatalf("%s: signed out", name)
		}
	}
}

func mustBeRefusal(t *testing.T, name string, got answer) {
	t.Helper()
	var content struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	err := json.Unmarshal([]byte(got.body), &content)
	if got.status != http.StatusBadRequest || got.header.Get("Content-Type") != "application/json" || err != nil ||
		content.Error != "invalid_request" || content.Description == "" {
		t.Errorf("%s: %d %s", name, got.status, got.body)
	}
}

func TestGoodLogoutTokens(t *testing.T) {
	w := newWorld(t)
	for name, changes := range map[string]map[string]any{
		"no typ":              {"typ": absent},
		"JWT":                 {"typ": "JWT"},
		"a whole media type":  {"typ": "application/logout+jwt"},
		"several apps":        {"aud": []string{"another", "app"}},
		"an event with more":  {"events": map[string]any{logoutEvent: map[string]any{"x": 1}, "y": 2}},
		"a claim of its own":  {"trace": "x"},
		"a clock that is off": {"iat": time.Now().Unix() + 30},
	} {
		b := w.signIn("sid-1")
		if got := w.backChannel(w.provider.logoutToken(changes)); got.status != http.StatusOK || b.isSignedIn() {
			t.Errorf("%s: %d %s, signed in: %t", name, got.status, got.body, b.isSignedIn())
		}
	}
}

func TestLogoutRequests(t *testing.T) {
	w := newWorld(t)
	b := w.signIn("sid-1")
	token := w.provider.logoutToken(nil)
	form := url.Values{"logout_token": {token}}.Encode()
	var parts bytes.Buffer
	m := multipart.NewWriter(&parts)
	if err := errors.Join(m.WriteField("logout_token", token), m.Close()); err != nil {
		t.Fatal(err)
	}
	const kind = "application/x-www-form-urlencoded"
	for name, r := range map[string]struct{ kind, body string }{
		"JSON":        {"application/json", `{"logout_token":"` + token + `"}`},
		"parts":       {m.FormDataContentType(), parts.String()},
		"no kind":     {"", form},
		"no form":     {kind, "logout_token=%zz"},
		"no token":    {kind, "token=" + token},
		"a long form": {kind, form + "&more=" + strings.Repeat("x", maxLogout)},
	} {
		got := w.post(r.kind, r.body)
		mustBeRefusal(t, name, got)
	}
	address := w.otherURL
	w.otherURL += "/backchannel-logout?" + form + "#"
	got := w.post(kind, "")
	mustBeRefusal(t, "in the address", got)
	w.otherURL = address
	if !b.isSignedIn() {
		t.Error("signed out")
	}
	if got := w.post(kind+"; charset=utf-8", form); got.status != http.StatusOK || b.isSignedIn() {
		t.Errorf("with a charset: %d %s, signed in: %t", got.status, got.body, b.isSignedIn())
	}
}

// A user who is still at the provider when it asks for the logout has to begin again.
func TestLogoutBeforeTheCallback(t *testing.T) {
	for name, changes := range kinds {
		w := newWorld(t)
		w.provider.onAuthorize = func() { w.mustLogout(w.provider.logoutToken(changes)) }
		b := w.browser()
		if status, _ := b.open(http.MethodGet, w.url+"/login"); status != http.StatusUnauthorized || b.isSignedIn() {
			t.Errorf("%s: %d, signed in: %t", name, status, b.isSignedIn())
		}
		w.provider.onAuthorize = func() {}
		if !w.signIn("sid-2").isSignedIn() {
			t.Errorf("%s: no login succeeds afterwards", name)
		}
	}
}

// Nobody is signed in after a login and a logout, at whichever call of one to a store the
// other comes.
func TestLogoutDuringALogin(t *testing.T) {
	for name, changes := range kinds {
		for _, within := range []string{"the logout within the login", "the login within the logout"} {
			moments, refused := 0, 0
			for ; moments < 100; moments++ {
				w := newWorld(t)
				b := w.browser()
				_, authorize := b.step(w.url + "/login")
				_, callback := b.step(authorize)
				outer, inner := func() {
					if status, _ := b.step(callback); status == http.StatusUnauthorized {
						refused++
					}
				}, func() { w.mustLogout(w.provider.logoutToken(changes)) }
				if within == "the login within the logout" {
					outer, inner = inner, outer
				}
				left := moments
				at := func(string) error {
					if left--; left == -1 {
						inner()
					}
					return nil
				}
				w.store.before, w.noteStore.before = at, at
				outer()
				if left >= 0 {
					break // it has no more calls
				}
				w.store.before = func(string) error { return nil }
				if n, err := w.store.Len(t.Context()); n != 0 || err != nil || b.isSignedIn() {
					t.Errorf("%s: %s, at call %d, leaves %d sessions, %v; signed in: %t", name, within, moments, n, err, b.isSignedIn())
				}
			}
			if moments < 4 || moments == 100 || refused == 0 {
				t.Errorf("%s: %s: %d moments, and at %d of them the login was refused", name, within, moments, refused)
			}
		}
	}
}

// A session that is given a new id while it is looked for is found under that one.
func TestLogoutOfWhatMoves(t *testing.T) {
	for name, changes := range kinds {
		for _, moments := range [][]int{{1}, {2}, {1, 3}, {2, 4}} { // listings after which it moves
			w := newWorld(t)
			id, listings := w.id(w.signIn("sid-1")), 0
			w.store.before = func(op string) error {
				if op == "UserTokens" {
					if listings++; slices.Contains(moments, listings) {
						id = w.renew(id)
					}
				}
				return nil
			}
			w.mustLogout(w.provider.logoutToken(changes))
			if n, err := w.store.Len(t.Context()); n != 0 || err != nil || listings < moments[len(moments)-1] {
				t.Errorf("%s, %v: after %d listings %d sessions are left, %v", name, moments, listings, n, err)
			}
		}
	}
}

// id returns the id of a browser's session.
func (w *world) id(b browser) string {
	w.t.Helper()
	ctx, err := w.app.sessions.Load(w.t.Context(), b.cookie())
	if err != nil {
		w.t.Fatal(err)
	}
	return w.app.sessions.ID(ctx)
}

// renew gives a session a new id, as another request may.
func (w *world) renew(id string) string {
	ctx, err := w.app.sessions.LoadID(w.t.Context(), id)
	if err != nil {
		w.t.Error(err)
		return id
	}
	if !w.app.sessions.Exists(ctx, userKey) {
		return id
	}
	renewed := ""
	if err = w.app.sessions.RenewToken(ctx); err == nil {
		renewed, _, err = w.app.sessions.Commit(ctx)
	}
	if err != nil {
		w.t.Error(err)
	}
	return renewed
}

// The provider can send the same token again when a store has failed.
func TestStoreDown(t *testing.T) {
	for name, changes := range kinds {
		for _, notes := range []bool{false, true} {
			w := newWorld(t)
			b := w.signIn("sid-1")
			failing := w.store
			if notes {
				failing = w.noteStore
			}
			token := w.provider.logoutToken(changes)
			// Each call in turn is the first that fails.
			tries := 0
			for ; tries < 100; tries++ {
				left := tries
				failing.before = func(string) error {
					if left--; left < 0 {
						return errors.New("the store is down")
					}
					return nil
				}
				got := w.backChannel(token)
				if got.status == http.StatusOK {
					break
				}
				if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
					t.Fatalf("%s, notes %t, after %d calls: %d %s", name, notes, tries, got.status, got.body)
				}
			}
			failing.before = func(string) error { return nil }
			if tries == 0 || b.isSignedIn() {
				t.Errorf("%s, notes %t: after %d failures, signed in: %t", name, notes, tries, b.isSignedIn())
			}
			if got := w.backChannel(token); got.status != http.StatusBadRequest {
				t.Errorf("%s, notes %t: the token serves again", name, notes)
			}
		}
	}
}
