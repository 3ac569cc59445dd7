package devicebound_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth/devicebound"
	"github.com/samesid/samesid/backends/memory"
	"github.com/samesid/samesid/internal/leaktest"
)

// The point of it: a cookie copied to another browser opens nothing. With the second cookie
// it does, until that ends, and can't be renewed; the owner stays signed in.
func TestStolenCookie(t *testing.T) {
	inTime(t, func(t *testing.T) {
		c := newApp(t, adapter.Options{TTL: 24 * time.Hour}, devicebound.Options{}).client(ecKey())
		c.bind()
		session, both := c.thief(sessionSID), c.thief()
		for _, path := range []string{"/protected", "/fresh", "/required"} {
			w := session.get(path, 401)
			if w.Body.String() != `{"message":"Sign In Again"}` {
				t.Errorf("%s: %s", path, w.Body)
			}
		}
		if !strings.Contains(c.audit.String(), "does not prove that it comes from the session's browser") {
			t.Errorf("the audit says\n%s", c.audit)
		}
		time.Sleep(10*time.Minute + 19*time.Second - 1) // the 11 s of bind are over, and 30 s are for the way
		both.get("/protected", 200)
		time.Sleep(time.Nanosecond)
		both.get("/protected", 401)
		if w := both.answer(both.proof(both.challenge())); w.Code != 401 || len(w.Result().Cookies()) > 0 {
			t.Errorf("the thief's proof: %d", w.Code)
		}
		c.refresh()
		c.get("/protected", 200)
		both.get("/protected", 401)
	})
}

// A proof is good for one answer, and a challenge for two minutes.
func TestReplayedProof(t *testing.T) {
	inTime(t, func(t *testing.T) {
		c := newApp(t, adapter.Options{TTL: 24 * time.Hour}, devicebound.Options{}).client(ecKey())
		c.bind()
		proof := c.proof(c.challenge())
		if w := c.answer(proof); w.Code != 200 {
			t.Fatalf("the first answer: %d %s", w.Code, w.Body)
		}
		for _, after := range []time.Duration{0, time.Minute, time.Hour} {
			time.Sleep(after)
			thief := c.thief(sessionSID)
			w := thief.answer(proof)
			thief.challengeIn(w) // the browser itself gets another, and may go on
			if len(w.Result().Cookies()) > 0 {
				t.Errorf("after %v, a replayed proof gives a cookie", after)
			}
		}

		slow := c.proof(c.challenge())
		time.Sleep(2 * time.Minute)
		if w := c.answer(slow); w.Code != 200 {
			t.Errorf("after two minutes: %d", w.Code)
		}
		slow = c.proof(c.challenge())
		time.Sleep(2*time.Minute + time.Millisecond)
		w := c.answer(slow)
		if w := c.answer(c.proof(c.challengeIn(w))); w.Code != 200 {
			t.Errorf("the challenge that came along: %d", w.Code)
		}

		c.refresh()
		slow = c.proof(c.challenge()) // of the millisecond after the last one's
		time.Sleep(2*time.Minute + time.Second)
		if w := c.answer(slow); w.Code != 403 {
			t.Errorf("after two minutes: %d", w.Code)
		}

		// A registration's proof is none of a refresh, nor the other way round.
		if w := c.answer(c.registration(c.offer)); w.Code != 403 {
			t.Errorf("the offer as a challenge: %d", w.Code)
		}
		other := c.app.client(ecKey())
		other.signIn()
		other.offer = c.challenge()
		if w := other.register(); w.Code != 401 {
			t.Errorf("a challenge as the offer: %d", w.Code)
		}
	})
}

// What belongs to one session is worth nothing for another, of the same user too.
func TestAnotherSessionsKey(t *testing.T) {
	inTime(t, func(t *testing.T) {
		a := newApp(t, adapter.Options{TTL: 24 * time.Hour}, devicebound.Options{})
		c, other := a.client(ecKey()), a.client(ecKey())
		c.bind()
		other.bind()

		mixed := c.thief(sessionSID)
		mixed.cookies[deviceSID] = other.cookies[deviceSID]
		mixed.get("/protected", 401)
		mixed.get("/required", 401)

		challenge := c.challenge()
		if w := c.answer(other.proof(challenge)); w.Code != 401 || len(w.Result().Cookies()) > 0 {
			t.Errorf("another key: %d", w.Code)
		}
		if w := c.answer(c.proof(other.challenge())); w.Code != 403 || len(w.Result().Cookies()) > 0 {
			t.Errorf("another session's challenge: %d", w.Code)
		}
		swapped := c.thief(sessionSID)
		swapped.id, swapped.key = other.id, other.key
		if w := swapped.answer(other.proof(other.challenge())); w.Code != 401 || len(w.Result().Cookies()) > 0 {
			t.Errorf("another binding's id: %d", w.Code)
		}
		// What is signed for one purpose is worth nothing for another.
		purposes := []string{devicebound.ForRegistration, devicebound.ForChallenge, devicebound.ForCookie}
		if purposes[0] == purposes[1] || purposes[1] == purposes[2] || purposes[2] == purposes[0] {
			t.Errorf("the purposes are %q", purposes)
		}
		for _, purpose := range purposes {
			if w := c.answer(c.proof(c.bound.Stamp(purpose, c.id, time.Now().UnixMilli()))); w.Code == 200 != (purpose == devicebound.ForChallenge) {
				t.Errorf("%s as a challenge: %d", purpose, w.Code)
			}
			mixed.cookies[deviceSID] = cookie{value: c.bound.Stamp(purpose, c.id, time.Now().Add(time.Minute).UnixMilli())}
			if w := mixed.do("GET", "/protected"); w.Code == 200 != (purpose == devicebound.ForCookie) {
				t.Errorf("%s as the cookie: %d", purpose, w.Code)
			}
			third := a.client(ecKey())
			third.signIn()
			session, _ := ownSession(third)
			id, _, _ := strings.Cut(strings.TrimPrefix(session, "s%3A"), ".")
			third.offer = third.bound.Stamp(purpose, id, time.Now().UnixMilli())
			if w := third.register(); w.Code == 200 != (purpose == devicebound.ForRegistration) {
				t.Errorf("%s as an offer: %d", purpose, w.Code)
			}
		}
		for what, text := range map[string]string{"zeros": strings.Repeat("0", 60) + "9999999999999", "letters": "9999999999999x"} {
			mixed.cookies[deviceSID] = cookie{value: text + "." + c.m.Sign(devicebound.ForCookie, text+"."+c.id)}
			if w := mixed.do("GET", "/protected"); w.Code != 401 {
				t.Errorf("a time with %s: %d", what, w.Code)
			}
		}
		c.get("/protected", 200)
	})
}

// Who has the session's cookie alone can't register, not even before the owner has: that
// takes the challenge in the response to the login.
func TestThiefCantRegister(t *testing.T) {
	inTime(t, func(t *testing.T) {
		a := newApp(t, adapter.Options{}, devicebound.Options{})
		c := a.client(ecKey())
		visitor := c.offer
		c.signIn()
		callback := httptest.NewRecorder()
		a.m.LoadAndSave(http.HandlerFunc(a.bound.Offer)).ServeHTTP(callback, httptest.NewRequest("GET", "/callback", nil))
		if !strings.Contains(strings.Join(callback.Header()["Cache-Control"], ","), "no-store") {
			t.Error("a cache may keep the offer")
		}
		thief := c.thief(sessionSID)
		own := a.client(ecKey())
		own.signIn()
		now := time.Now().UnixMilli()
		refused := func(what, challenge string) {
			t.Helper()
			thief.offer = challenge
			if w := thief.register(); w.Code != 401 || len(w.Result().Cookies()) > 0 {
				t.Errorf("%s: %d %s", what, w.Code, w.Body)
			}
		}
		refused("no challenge", visitor)
		refused("a guess", strconv.FormatInt(now, 10)+"."+strings.Repeat("A", 43))
		refused("the offer to the thief's own session", own.offer)
		refused("another time", strconv.FormatInt(now+1, 10)+strings.TrimLeft(c.offer, "0123456789"))
		// No page but the login's offers.
		for _, path := range []string{"/protected", "/device-bound/refresh", "/device-bound/register"} {
			for _, method := range []string{"GET", "POST"} {
				if w := thief.do(method, path); w.Header().Get("Secure-Session-Registration") != "" {
					t.Errorf("%s %s offers", method, path)
				}
			}
		}
		if w := c.register(); w.Code != 200 {
			t.Fatalf("the owner: %d %s", w.Code, w.Body)
		}
		refused("the offer, once it is used", c.offer)
		captured := c.registration(c.offer)
		if w := thief.do("POST", "/device-bound/register", "Secure-Session-Response", captured); w.Code != 401 || len(w.Result().Cookies()) > 0 {
			t.Errorf("the owner's own proof, replayed: %d", w.Code)
		}
		time.Sleep(11 * time.Second)
		c.get("/required", 200)

		late := a.client(ecKey())
		late.signIn()
		time.Sleep(2*time.Minute + time.Millisecond)
		if w := late.register(); w.Code != 401 {
			t.Errorf("an offer of two minutes ago: %d", w.Code)
		}
		failed := a.client(ecKey())
		if w := failed.do("GET", "/login"); w.Header().Get("Secure-Session-Registration") != "" {
			t.Error("a login that failed offers")
		}
	})
}

// The clocks of two servers may be half a minute apart, and one may be set back.
func TestClockSkew(t *testing.T) {
	inTime(t, func(t *testing.T) {
		c := newApp(t, adapter.Options{TTL: 24 * time.Hour}, devicebound.Options{}).client(ecKey())
		c.bind()
		at := func(d time.Duration) int64 { return time.Now().Add(d).UnixMilli() }
		if w := c.answer(c.proof(c.bound.Stamp(devicebound.ForChallenge, c.id, at(30*time.Second+time.Millisecond)))); w.Code != 403 {
			t.Errorf("a challenge from too far in the future: %d", w.Code)
		}
		if w := c.answer(c.proof(c.bound.Stamp(devicebound.ForChallenge, c.id, at(30*time.Second)))); w.Code != 200 {
			t.Errorf("a challenge of a server that is ahead: %d", w.Code)
		}
		c.refresh() // by a server that is behind that one: its challenges come after, nevertheless
		c.refresh()

		// A server whose clock was a day ahead has been set right.
		id, _ := ownSession(c)
		c.mux.HandleFunc("/ahead", func(_ http.ResponseWriter, r *http.Request) {
			is, err := adapter.Get[map[string]any](r.Context(), c.m, "auth_binding")
			check(t, err)
			is["last"] = at(24 * time.Hour)
			check(t, adapter.Put(r.Context(), c.m, "auth_binding", is))
		})
		c.get("/ahead", 200)
		c.refresh()
		c.refresh()
		if again, _ := ownSession(c); again != id {
			t.Error("it is another session")
		}

		// The cookie has half a minute more than the browser keeps it.
		for late, want := range map[time.Duration]int{30 * time.Second: 200, 0: 401, -time.Hour: 401} {
			thief := c.thief(sessionSID)
			thief.cookies[deviceSID] = cookie{value: c.bound.Stamp(devicebound.ForCookie, c.id, at(late))}
			thief.get("/protected", want)
		}
	})
}

// ownSession returns the value of the session's cookie.
func ownSession(c *client) (value string, ok bool) {
	k, ok := c.cookies[sessionSID]
	return k.value, ok
}

// A browser that has lost its key is asked to sign in, and is bound anew.
func TestLostKey(t *testing.T) {
	inTime(t, func(t *testing.T) {
		c := newApp(t, adapter.Options{TTL: 24 * time.Hour}, devicebound.Options{}).client(ecKey())
		c.bind()
		old := c.thief()
		lost := c.id
		c.key, c.id = ecKey(), ""
		time.Sleep(11 * time.Minute)
		if w := c.get("/protected", 303, "Accept", "text/html"); w.Header().Get("Location") != "/login?returnTo=%2Fprotected" {
			t.Errorf("%v", w.Header())
		}
		c.bind()
		if c.id == lost {
			t.Error("the new binding has the old one's id")
		}
		c.get("/required", 200)

		// What the browser still has of the old one ends, and not the new one.
		now := c.id
		c.id = lost
		if w := c.do("POST", "/device-bound/refresh", "Sec-Secure-Session-Id", lost); w.Code != 401 || len(w.Result().Cookies()) > 0 {
			t.Errorf("the old id: %d", w.Code)
		}
		c.id = now
		c.get("/required", 200)
		old.get("/protected", 401)
	})
}

// Headers that are left out lead to a refusal, or to less than there was.
func TestDowngrade(t *testing.T) {
	inTime(t, func(t *testing.T) {
		a := newApp(t, adapter.Options{}, devicebound.Options{})
		c := a.client(ecKey())
		c.bind()
		thief := c.thief(sessionSID)
		proof := c.proof(c.challenge())
		for what, w := range map[string]struct {
			want int
			res  *httptest.ResponseRecorder
		}{
			"no id":            {400, thief.do("POST", "/device-bound/refresh", "Secure-Session-Response", proof)},
			"no id, no proof":  {400, thief.do("POST", "/device-bound/refresh")},
			"two ids":          {400, thief.do("POST", "/device-bound/refresh", "Sec-Secure-Session-Id", c.id, "Sec-Secure-Session-Id", c.id, "Secure-Session-Response", proof)},
			"an empty proof":   {400, thief.do("POST", "/device-bound/refresh", "Sec-Secure-Session-Id", c.id, "Secure-Session-Response", "")},
			"two proofs":       {400, thief.do("POST", "/device-bound/refresh", "Sec-Secure-Session-Id", c.id, "Secure-Session-Response", proof, "Secure-Session-Response", proof)},
			"no proof":         {403, thief.do("POST", "/device-bound/refresh", "Sec-Secure-Session-Id", c.id)},
			"the old names":    {400, thief.do("POST", "/device-bound/refresh", "Sec-Session-Id", c.id, "Sec-Session-Response", proof)},
			"no session":       {401, a.client(nil).do("POST", "/device-bound/refresh", "Sec-Secure-Session-Id", c.id, "Secure-Session-Response", proof)},
			"no registration":  {400, thief.do("POST", "/device-bound/register")},
			"skipped":          {401, thief.do("GET", "/protected", "Secure-Session-Skipped", `quota_exceeded;session_identifier="`+c.id+`"`)},
			"skipped, Require": {401, thief.do("GET", "/required", "Secure-Session-Skipped", "unreachable")},
			"an empty cookie":  {401, thief.do("GET", "/protected", "Cookie", deviceSID+"=")},
			"another method":   {405, thief.do("GET", "/device-bound/refresh", "Sec-Secure-Session-Id", c.id, "Secure-Session-Response", proof)},
			"another endpoint": {404, thief.do("POST", "/device-bound/", "Sec-Secure-Session-Id", c.id, "Secure-Session-Response", proof)},
		} {
			for _, k := range w.res.Result().Cookies() {
				if k.MaxAge >= 0 {
					t.Errorf("%s: gets a cookie", what)
				}
			}
			if w.res.Code != w.want {
				t.Errorf("%s: %d %s, want %d", what, w.res.Code, w.res.Body, w.want)
			}
		}
		if w := c.answer(proof); w.Code != 200 {
			t.Errorf("the owner, after all that: %d", w.Code)
		}

		// Whoever strips the offer keeps the browser from registering. Require finds that.
		stripped := a.client(nil)
		stripped.signIn()
		stripped.get("/protected", 200)
		stripped.get("/required", 403)
	})
}

// Tabs and processes of one browser ask and answer in any order, and none is turned away for
// good.
func TestTabs(t *testing.T) {
	inTime(t, func(t *testing.T) {
		c := newApp(t, adapter.Options{}, devicebound.Options{}).client(ecKey())
		c.bind()
		first := c.challenge()
		time.Sleep(time.Millisecond)
		second := c.challenge()
		for _, challenge := range []string{first, second} {
			if w := c.answer(c.proof(challenge)); w.Code != 200 {
				t.Errorf("in order: %d", w.Code)
			}
		}
		first = c.challenge()
		time.Sleep(time.Millisecond)
		second = c.challenge()
		if w := c.answer(c.proof(second)); w.Code != 200 {
			t.Errorf("the second: %d", w.Code)
		}
		if w := c.answer(c.proof(c.challengeIn(c.answer(c.proof(first))))); w.Code != 200 {
			t.Errorf("the first, again: %d", w.Code)
		}
		same := c.challenge() // in the same millisecond as the last answer
		if w := c.answer(c.proof(same)); w.Code != 200 {
			t.Errorf("at once: %d", w.Code)
		}

		old := c.cookies[deviceSID] // that of a request on its way while another renews
		time.Sleep(time.Second)
		c.refresh()
		way := c.thief(sessionSID)
		way.cookies[deviceSID] = old
		way.get("/protected", 200)
	})
}

// No other origin can call the endpoints, or read an answer; a prefetch is a request like any.
func TestOtherOrigins(t *testing.T) {
	inTime(t, func(t *testing.T) {
		c := newApp(t, adapter.Options{}, devicebound.Options{}).client(ecKey())
		c.bind()
		proof := c.proof(c.challenge())
		for _, header := range [][]string{
			{"Sec-Fetch-Site", "cross-site"},
			{"Sec-Fetch-Site", "same-site"},
			{"Origin", "https://evil.test"},
			{"Origin", "null"},
		} {
			for _, path := range []string{"/device-bound/refresh", "/device-bound/register"} {
				w := c.do("POST", path, append(header, "Sec-Secure-Session-Id", c.id, "Secure-Session-Response", proof)...)
				if w.Code != 403 || w.Header().Get("Secure-Session-Challenge") != "" || len(w.Result().Cookies()) > 0 {
					t.Errorf("%v %s: %d %v", header, path, w.Code, w.Header())
				}
			}
		}
		preflight := c.do("OPTIONS", "/device-bound/refresh", "Origin", "https://evil.test", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "secure-session-response")
		own := c.do("POST", "/device-bound/refresh", "Sec-Fetch-Site", "same-origin", "Origin", "https://app.test", "Sec-Secure-Session-Id", c.id, "Secure-Session-Response", proof)
		for _, w := range []*httptest.ResponseRecorder{preflight, own} {
			for name := range w.Header() {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("an answer has %s", name)
				}
			}
			if w.Header().Get("Cache-Control") == "" || w.Header().Get("Cross-Origin-Resource-Policy") != "same-origin" {
				t.Errorf("%v", w.Header())
			}
		}
		if preflight.Code != 405 || own.Code != 200 {
			t.Errorf("the preflight: %d, the browser's own: %d", preflight.Code, own.Code)
		}

		prefetch := []string{"Sec-Purpose", "prefetch", "Sec-Fetch-Dest", "document", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", "same-origin"}
		c.get("/protected", 200, prefetch...)
		c.thief(sessionSID).get("/protected", 401, prefetch...)
	})
}

// A logout ends the session and the second cookie; the browser's end of it ends as it renews.
func TestLogoutEndsBoth(t *testing.T) {
	inTime(t, func(t *testing.T) {
		c := newApp(t, adapter.Options{}, devicebound.Options{}).client(ecKey())
		c.bind()
		thief, proof := c.thief(), c.proof(c.challenge())
		if w := c.do("POST", "/logout", "Accept", "application/json"); w.Code != 200 {
			t.Fatalf("logout: %d", w.Code)
		}
		if len(c.cookies) > 0 {
			t.Errorf("the browser has %d cookies left", len(c.cookies))
		}
		for _, who := range []*client{c, thief} {
			who.get("/protected", 401)
			if w := who.do("POST", "/device-bound/refresh", "Sec-Secure-Session-Id", c.id); w.Code != 401 || w.Header().Get("Secure-Session-Challenge") != "" {
				t.Errorf("refresh: %d", w.Code)
			}
			if w := who.answer(proof); w.Code != 401 || len(w.Result().Cookies()) > 0 {
				t.Errorf("a proof: %d", w.Code)
			}
			if w := who.do("POST", "/device-bound/register", "Secure-Session-Response", c.registration(c.offer)); w.Code != 401 || len(w.Result().Cookies()) > 0 {
				t.Errorf("register: %d", w.Code)
			}
		}
	})
}

// A logout while a proof is being checked: the session stays gone, and there is no cookie.
func TestLogoutBesideRefresh(t *testing.T) {
	inTime(t, func(t *testing.T) {
		c := newApp(t, adapter.Options{}, devicebound.Options{}).client(ecKey())
		c.bind()
		proof := c.proof(c.challenge())
		owner := c.thief()
		c.mux.HandleFunc("/slow/refresh", func(w http.ResponseWriter, r *http.Request) {
			owner.do("POST", "/logout")
			c.bound.ServeHTTP(w, r)
		})
		if w := c.do("POST", "/slow/refresh", "Sec-Secure-Session-Id", c.id, "Secure-Session-Response", proof); w.Code != 401 || len(w.Result().Cookies()) > 0 {
			t.Errorf("%d %v", w.Code, w.Header())
		}
		c.get("/protected", 401)
	})
}

// A new id keeps the binding, and a new session has none.
func TestRenewAndRegenerateWhileBound(t *testing.T) {
	inTime(t, func(t *testing.T) {
		c := newApp(t, adapter.Options{TTL: 24 * time.Hour}, devicebound.Options{}).client(ecKey())
		c.bind()
		before, _ := ownSession(c)
		proof := c.proof(c.challenge())
		c.get("/renew", 200)
		if after, _ := ownSession(c); after == before {
			t.Fatal("the session has no new id")
		}
		c.get("/required", 200)
		c.thief(sessionSID).get("/protected", 401)
		if w := c.answer(proof); w.Code != 200 {
			t.Errorf("a challenge from before: %d", w.Code)
		}
		c.refresh()

		planted := c.thief()
		c.get("/regenerate", 200)
		c.get("/protected", 200) // nobody has registered
		c.get("/required", 403)
		planted.get("/protected", 401)
		if w := c.answer(c.proof(c.bound.Stamp(devicebound.ForChallenge, c.id, time.Now().UnixMilli()))); w.Code != 401 {
			t.Errorf("the old binding in the new session: %d", w.Code)
		}

		// Between the login and the registration, a new id makes the offer void: it was for
		// the session as it was.
		c.signIn()
		c.get("/renew", 200)
		if w := c.register(); w.Code != 401 {
			t.Errorf("register after renewal: %d", w.Code)
		}
	})
}

// In the three steps of a rotation, no browser notices.
func TestSecretRotation(t *testing.T) {
	inTime(t, func(t *testing.T) {
		const next = "another secret, of thirty-two bytes"
		leaktest.Note(next)
		c := newApp(t, adapter.Options{TTL: 24 * time.Hour}, devicebound.Options{}).client(ecKey())
		c.bind()
		challenge := c.challenge()
		check(t, c.m.SetSecrets([]string{secret, next}))
		c.get("/required", 200)
		check(t, c.m.SetSecrets([]string{next, secret}))
		c.get("/required", 200)
		if w := c.answer(c.proof(challenge)); w.Code != 200 {
			t.Errorf("a challenge that the old secret has signed: %d", w.Code)
		}
		check(t, c.m.SetSecrets([]string{next}))
		c.get("/required", 200)
		c.refresh()

		// A secret that is replaced at once: the cookie is cleared, so that it is renewed.
		both := c.m
		defer func() { c.m = both }()
		stale := c.bound.Stamp(devicebound.ForCookie, c.id, time.Now().Add(time.Hour).UnixMilli())
		check(t, c.m.SetSecrets([]string{next + "2", next}))
		check(t, c.m.SetSecrets([]string{next + "2"}))
		c.cookies[deviceSID] = cookie{value: stale}
		c.cookies[sessionSID] = cookie{value: resigned(t, c.cookies[sessionSID].value, next+"2")}
		c.get("/protected", 401)
		if _, ok := c.cookies[deviceSID]; ok {
			t.Error("the browser keeps a cookie that it would not renew")
		}
		c.refresh()
		c.get("/protected", 200)
	})
}

// resigned returns the value of a session's cookie, signed by another secret.
func resigned(t *testing.T, value, secret string) string {
	t.Helper()
	value = strings.NewReplacer("%3A", ":", "%2B", "+", "%2F", "/").Replace(value)
	id := value[2:strings.LastIndexByte(value, '.')]
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(id))
	signed := "s%3A" + id + "." + strings.NewReplacer("+", "%2B", "/", "%2F").Replace(base64.RawStdEncoding.EncodeToString(mac.Sum(nil)))
	leaktest.Note(signed)
	return signed
}

// A binding that can't be read admits nothing.
func TestUnreadableBinding(t *testing.T) {
	inTime(t, func(t *testing.T) {
		long := &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 8191, 1), E: 1<<16 + 1}
		for name, change := range map[string]func(is map[string]any) any{
			"null":             func(map[string]any) any { return nil },
			"a text":           func(map[string]any) any { return "yes" },
			"a number":         func(map[string]any) any { return 1 },
			"empty":            func(map[string]any) any { return map[string]any{} },
			"no key":           func(is map[string]any) any { delete(is, "key"); return is },
			"no id":            func(is map[string]any) any { delete(is, "id"); return is },
			"another curve":    func(is map[string]any) any { is["key"] = pkix(t, elliptic.P384()); return is },
			"RSA of 8192 bits": func(is map[string]any) any { is["key"] = pkixOf(t, long); return is },
			"RSA with e = 3": func(is map[string]any) any {
				is["key"] = pkixOf(t, &rsa.PublicKey{N: rsaKey().N, E: 3})
				return is
			},
			"half of a key":  func(is map[string]any) any { is["key"] = is["key"].(string)[:40]; return is },
			"a time of text": func(is map[string]any) any { is["at"] = "now"; return is },
		} {
			c := newApp(t, adapter.Options{}, devicebound.Options{}).client(ecKey())
			c.mux.HandleFunc("/change", func(_ http.ResponseWriter, r *http.Request) {
				is, err := adapter.Get[map[string]any](r.Context(), c.m, "auth_binding")
				check(t, err)
				c.m.Remove(r.Context(), "auth_binding")
				check(t, adapter.Put(r.Context(), c.m, "auth_binding", change(is)))
			})
			c.bind()
			challenge := c.challenge()
			c.get("/change", 200)
			c.cookies[deviceSID] = cookie{value: c.bound.Stamp(devicebound.ForCookie, "", time.Now().Add(time.Hour).UnixMilli())}
			if w := c.do("POST", "/device-bound/refresh", "Sec-Secure-Session-Id", c.id); w.Code != 401 {
				t.Errorf("%s: there is a challenge, %d", name, w.Code)
			}
			for _, path := range []string{"/protected", "/required"} {
				if w := c.do("GET", path); w.Code != 401 {
					t.Errorf("%s: %s has status %d", name, path, w.Code)
				}
			}
			if w := c.answer(c.proof(challenge)); w.Code != 401 {
				t.Errorf("%s: refresh has status %d", name, w.Code)
			}
			if w := c.register(); w.Code != 401 {
				t.Errorf("%s: register has status %d", name, w.Code)
			}
		}
	})
}

func pkix(t *testing.T, curve elliptic.Curve) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	check(t, err)
	return pkixOf(t, &key.PublicKey)
}

func pkixOf(t *testing.T, key crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	check(t, err)
	return encode(der)
}

// downStore is a store that can fail to write.
type downStore struct {
	*memory.Store
	down atomic.Bool
}

func (s *downStore) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	if s.down.Load() {
		return errors.New("connection refused")
	}
	return s.Store.CommitCtx(ctx, token, data, expiry)
}

func (s *downStore) Swap(ctx context.Context, token string, old, data []byte, expiry time.Time) ([]byte, bool, error) {
	if s.down.Load() {
		return nil, false, errors.New("connection refused")
	}
	return s.Store.Swap(ctx, token, old, data, expiry)
}

// Without the store there is no cookie, and the browser, which is told 503, tries again.
func TestStoreIsDown(t *testing.T) {
	inTime(t, func(t *testing.T) {
		store := &downStore{Store: memory.New(memory.Options{})}
		defer store.Close()
		c := newApp(t, adapter.Options{Store: store}, devicebound.Options{}).client(ecKey())
		c.signIn()
		store.down.Store(true)
		if w := c.do("POST", "/device-bound/register", "Secure-Session-Response", c.registration(c.offer)); w.Code != 503 || len(w.Result().Cookies()) > 0 {
			t.Errorf("register: %d", w.Code)
		}
		store.down.Store(false)
		if w := c.register(); w.Code != 200 {
			t.Fatalf("register: %d", w.Code)
		}
		proof := c.proof(c.challenge())
		store.down.Store(true)
		if w := c.answer(proof); w.Code != 503 || len(w.Result().Cookies()) > 0 {
			t.Errorf("refresh: %d", w.Code)
		}
		store.down.Store(false)
		if w := c.answer(proof); w.Code != 200 {
			t.Errorf("refresh: %d", w.Code)
		}
	})
}

// Proofs and keys that no browser sends are refused, in a registration and in a refresh.
func TestForgedProofs(t *testing.T) {
	inTime(t, func(t *testing.T) {
		ec, rs := ecKey(), rsaKey()
		a := newApp(t, adapter.Options{TTL: 24 * time.Hour}, devicebound.Options{})
		header := func(alg string, more ...any) map[string]any {
			h := map[string]any{"typ": "dbsc+jwt", "alg": alg}
			for i := 0; i < len(more); i += 2 {
				h[more[i].(string)] = more[i+1]
			}
			return h
		}
		without := func(members map[string]any, name string) map[string]any {
			members = maps.Clone(members)
			delete(members, name)
			return members
		}
		with := func(members map[string]any, name string, value any) map[string]any {
			members = maps.Clone(members)
			members[name] = value
			return members
		}
		raw := func(h, claims string) string { return encode([]byte(h)) + "." + encode([]byte(claims)) }
		hs256 := func(key []byte, text string) string {
			mac := hmac.New(sha256.New, key)
			mac.Write([]byte(text))
			return text + "." + encode(mac.Sum(nil))
		}
		p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
		check(t, err)
		der, err := x509.MarshalPKIXPublicKey(&ec.PublicKey)
		check(t, err)
		jwks := jwk(&ec.PublicKey)
		jwkText, err := json.Marshal(jwks)
		check(t, err)

		forged := map[string]func(claims map[string]any) string{
			"alg none": func(c map[string]any) string { return strings.TrimRight(sign(ec, header("none", "jwk", jwks), c), "=") },
			"alg none, no signature": func(c map[string]any) string {
				s := sign(ec, header("none", "jwk", jwks), c)
				return s[:strings.LastIndexByte(s, '.')+1]
			},
			"no signature": func(c map[string]any) string {
				s := sign(ec, header("ES256", "jwk", jwks), c)
				return s[:strings.LastIndexByte(s, '.')+1]
			},
			"the public key as HS256's": func(c map[string]any) string {
				return hs256(der, raw(`{"typ":"dbsc+jwt","alg":"HS256","jwk":`+string(jwkText)+`}`, jsonOf(c)))
			},
			"RS256 of an EC key":  func(c map[string]any) string { return sign(ec, header("RS256", "jwk", jwks), c) },
			"ES256 of an RSA key": func(c map[string]any) string { return sign(rs, header("ES256", "jwk", jwk(&rs.PublicKey)), c) },
			"PS256":               func(c map[string]any) string { return sign(rs, header("PS256", "jwk", jwk(&rs.PublicKey)), c) },
			"es256":               func(c map[string]any) string { return sign(ec, header("es256", "jwk", jwks), c) },
			"ALG": func(c map[string]any) string {
				return sign(ec, without(header("", "ALG", "ES256", "jwk", jwks), "alg"), c)
			},
			"alg twice": func(c map[string]any) string {
				return signText(ec, raw(`{"alg":"none","typ":"dbsc+jwt","alg":"ES256","jwk":`+string(jwkText)+`}`, jsonOf(c)))
			},
			"an escaped alg twice": func(c map[string]any) string {
				return signText(ec, raw(`{"\u0061lg":"none","typ":"dbsc+jwt","alg":"ES256","jwk":`+string(jwkText)+`}`, jsonOf(c)))
			},
			"typ JWT": func(c map[string]any) string { return sign(ec, with(header("ES256", "jwk", jwks), "typ", "JWT"), c) },
			"no typ":  func(c map[string]any) string { return sign(ec, without(header("ES256", "jwk", jwks), "typ"), c) },
			"crit": func(c map[string]any) string {
				return sign(ec, header("ES256", "jwk", jwks, "crit", []string{"b64"}, "b64", true), c)
			},
			"no jti":   func(c map[string]any) string { return sign(ec, header("ES256", "jwk", jwks), without(c, "jti")) },
			"jti null": func(c map[string]any) string { return sign(ec, header("ES256", "jwk", jwks), with(c, "jti", nil)) },
			"jti in a list": func(c map[string]any) string {
				return sign(ec, header("ES256", "jwk", jwks), with(c, "jti", []any{c["jti"]}))
			},
			"jti twice": func(c map[string]any) string {
				return signText(ec, raw(jsonOf(header("ES256", "jwk", jwks)), `{"jti":"x",`+jsonOf(c)[1:]))
			},
			"a list as the header": func(c map[string]any) string {
				return signText(ec, raw(`[`+jsonOf(header("ES256", "jwk", jwks))+`]`, jsonOf(c)))
			},
			"more after the claims": func(c map[string]any) string {
				return signText(ec, raw(jsonOf(header("ES256", "jwk", jwks)), jsonOf(c)+"{}"))
			},
			"padded":        func(c map[string]any) string { return sign(ec, header("ES256", "jwk", jwks), c) + "==" },
			"a fourth part": func(c map[string]any) string { return sign(ec, header("ES256", "jwk", jwks), c) + ".e30" },
			"a signature in DER": func(c map[string]any) string {
				return derSigned(t, ec, raw(jsonOf(header("ES256", "jwk", jwks)), jsonOf(c)))
			},
			"a signature of zeros": func(c map[string]any) string {
				return raw(jsonOf(header("ES256", "jwk", jwks)), jsonOf(c)) + "." + encode(make([]byte, 64))
			},
			"too long": func(c map[string]any) string {
				return sign(ec, header("ES256", "jwk", jwks), with(c, "x", strings.Repeat("x", 3000)))
			},
			"unused bits":           func(c map[string]any) string { return withUnusedBits(sign(ec, header("ES256", "jwk", jwks), c)) },
			"a line break":          func(c map[string]any) string { return sign(ec, header("ES256", "jwk", jwks), c) + "\n" },
			"a longer s":            func(c map[string]any) string { return longer(sign(ec, header("ES256", "jwk", jwks), c)) },
			"signed by another key": func(c map[string]any) string { return sign(ecKey(), header("ES256", "jwk", jwks), c) },
			"quotes inside": func(c map[string]any) string {
				return strings.Replace(sign(ec, header("ES256", "jwk", jwks), c), ".", `".`, 1)
			},
			"one quote":             func(c map[string]any) string { return `"` + sign(ec, header("ES256", "jwk", jwks), c) },
			"more after the quotes": func(c map[string]any) string { return `"` + sign(ec, header("ES256", "jwk", jwks), c) + `",` },
			"claims altered": func(c map[string]any) string {
				s := strings.Split(sign(ec, header("ES256", "jwk", jwks), with(c, "a", 1)), ".")
				return s[0] + "." + encode([]byte(jsonOf(c))) + "." + s[2]
			},
		}
		// What only a registration reads.
		keys := map[string]func(claims map[string]any) string{
			"no jwk":        func(c map[string]any) string { return sign(ec, header("ES256"), c) },
			"jwk null":      func(c map[string]any) string { return sign(ec, header("ES256", "jwk", nil), c) },
			"a text as jwk": func(c map[string]any) string { return sign(ec, header("ES256", "jwk", string(jwkText)), c) },
			"jwk in the claims": func(c map[string]any) string {
				return sign(ec, header("ES256"), with(with(c, "jwk", jwks), "key", jwks))
			},
			"x5c": func(c map[string]any) string { return sign(ec, header("ES256", "x5c", []string{encode(der)}), c) },
			"kty twice": func(c map[string]any) string {
				return signText(ec, raw(`{"typ":"dbsc+jwt","alg":"ES256","jwk":{"kty":"EC",`+string(jwkText)[1:]+`}`, jsonOf(c)))
			},
			"P-384": func(c map[string]any) string { return sign(p384, header("ES256", "jwk", jwk(&p384.PublicKey)), c) },
			"P-384 called P-256": func(c map[string]any) string {
				return sign(p384, header("ES256", "jwk", with(jwk(&p384.PublicKey), "crv", "P-256")), c)
			},
			"no curve":              func(c map[string]any) string { return sign(ec, header("ES256", "jwk", without(jwks, "crv")), c) },
			"no y":                  func(c map[string]any) string { return sign(ec, header("ES256", "jwk", without(jwks, "y")), c) },
			"a point off the curve": func(c map[string]any) string { return sign(ec, header("ES256", "jwk", with(jwks, "y", jwks["x"])), c) },
			"the point at infinity": func(c map[string]any) string {
				zero := encode(make([]byte, 32))
				return sign(ec, header("ES256", "jwk", with(with(jwks, "x", zero), "y", zero)), c)
			},
			"x and y cut elsewhere": func(c map[string]any) string {
				b, err := ec.PublicKey.Bytes()
				check(t, err)
				return sign(ec, header("ES256", "jwk", with(with(jwks, "x", encode(b[1:32])), "y", encode(b[32:]))), c)
			},
			"a short x": func(c map[string]any) string {
				return sign(ec, header("ES256", "jwk", with(jwks, "x", jwks["x"].(string)[:42])), c)
			},
			"RSA of 1024 bits": func(c map[string]any) string {
				k := rsaKeyOf(1024)
				return sign(k, header("RS256", "jwk", jwk(k.Public())), c)
			},
			"e is 3": func(c map[string]any) string {
				return sign(rs, header("RS256", "jwk", with(jwk(&rs.PublicKey), "e", "Aw")), c)
			},
			"e is 1": func(c map[string]any) string {
				return sign(rs, header("RS256", "jwk", with(jwk(&rs.PublicKey), "e", "AQ")), c)
			},
			"n of zeros": func(c map[string]any) string {
				return sign(rs, header("RS256", "jwk", with(jwk(&rs.PublicKey), "n", encode(make([]byte, 256)))), c)
			},
			"no n": func(c map[string]any) string {
				return sign(rs, header("RS256", "jwk", without(jwk(&rs.PublicKey), "n")), c)
			},
			"oct": func(c map[string]any) string {
				return sign(ec, header("ES256", "jwk", map[string]any{"kty": "oct", "k": encode(der)}), c)
			},
		}
		maps.Copy(keys, forged)

		c := a.client(ec)
		for name, forge := range keys {
			c.signIn()
			token := forge(map[string]any{"jti": c.offer})
			if w := c.do("POST", "/device-bound/register", "Secure-Session-Response", token); w.Code != 400 && w.Code != 401 || len(w.Result().Cookies()) > 0 {
				t.Errorf("register, %s: %d", name, w.Code)
			}
		}
		c.bind()
		for name, forge := range forged {
			token := forge(map[string]any{"jti": c.challenge()})
			if w := c.answer(token); w.Code != 400 && w.Code != 401 || len(w.Result().Cookies()) > 0 {
				t.Errorf("refresh, %s: %d", name, w.Code)
			}
		}
		// A proof that brings its own key is not measured by it.
		thief := c.thief(sessionSID)
		if w := thief.answer(thief.registration(c.challenge())); w.Code != 401 || len(w.Result().Cookies()) > 0 {
			t.Errorf("a proof with its own key: %d", w.Code)
		}
		// The draft's form of the header, and members that a later draft may have.
		more := sign(ec, header("ES256", "kid", "x"), map[string]any{"jti": c.challenge(), "aud": "https://app.test", "iat": 1})
		if w := c.do("POST", "/device-bound/refresh", "Sec-Secure-Session-Id", `"`+c.id+`"`, "Secure-Session-Response", `"`+more+`";x=1`); w.Code != 200 {
			t.Errorf("the draft's form: %d %s", w.Code, w.Body)
		}
	})
}

// withUnusedBits alters the last character of a token in the bits that decode to nothing.
func withUnusedBits(token string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, token[len(token)-1])
	return token[:len(token)-1] + alphabet[last+1:last+2]
}

// longer puts a zero before the second half of a signature.
func longer(token string) string {
	dot := strings.LastIndexByte(token, '.')
	b, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
	if err != nil {
		panic(err)
	}
	return token[:dot+1] + encode(slices.Insert(b, 32, 0))
}

func jsonOf(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// derSigned signs as X.509 does, and not as JWS does.
func derSigned(t *testing.T, key *ecdsa.PrivateKey, text string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(text))
	b, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	check(t, err)
	return text + "." + encode(b)
}

// No record has a cookie, a challenge, a proof or a session's id in it.
func TestNothingInTheLog(t *testing.T) {
	inTime(t, func(t *testing.T) {
		c := newApp(t, adapter.Options{}, devicebound.Options{}).client(ecKey())
		c.bind()
		proof := c.proof(c.challenge())
		c.answer(proof)
		c.answer(proof)
		thief := c.thief(sessionSID)
		thief.answer(thief.proof(c.challenge()))
		thief.get("/protected", 401)
		thief.register()
		log := c.audit.String()
		for _, want := range []string{
			devicebound.EventBound, devicebound.EventProofFailed, "algorithm=ES256",
			"used up, too old", "not signed by the session's key", "bound already",
		} {
			if !strings.Contains(log, want) {
				t.Errorf("the log lacks %q:\n%s", want, log)
			}
		}
		session, _ := ownSession(c)
		id := strings.TrimPrefix(session, "s%3A")
		for name, secret := range map[string]string{
			"session": session, "id": id[:strings.IndexByte(id, '.')], "cookie": c.cookies[deviceSID].value,
			"proof": proof, "offer": c.offer, "binding": c.id,
		} {
			if strings.Contains(log, secret) {
				t.Errorf("the log shows the %s", name)
			}
		}
	})
}
