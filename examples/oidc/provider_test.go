package main

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"
)

// provider is an OpenID Connect provider with one user, who is signed in there.
type provider struct {
	*httptest.Server
	key   *rsa.PrivateKey
	sid   string
	codes map[string]url.Values // what a code was asked for with

	onAuthorize func()         // called before a code is given out
	changes     map[string]any // of the next ID tokens
}

// firstKey is what providers sign with, and otherKey what none does.
var firstKey, otherKey = sync.OnceValue(newKey), sync.OnceValue(newKey)

func newKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{key: firstKey(), sid: "sid-1", codes: map[string]url.Values{}, onAuthorize: func() {}}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(v); err != nil {
			t.Error(err)
		}
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		answer(w, map[string]any{
			"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
			"end_session_endpoint": p.URL + "/end?page=1", "id_token_signing_alg_values_supported": []string{"RS256"},
		})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, r *http.Request) {
		answer(w, map[string]any{"keys": []any{map[string]string{
			"kty": "RSA", "kid": "1", "use": "sig", "alg": "RS256",
			"n": b64(p.key.N.Bytes()), "e": b64(big.NewInt(int64(p.key.E)).Bytes()),
		}}})
	})
	mux.HandleFunc("GET /authorize", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if q.Get("response_type") != "code" || q.Get("client_id") != "app" || q.Get("code_challenge_method") != "S256" || q.Get("nonce") == "" {
			t.Errorf("a code is asked for with %v", q)
		}
		p.onAuthorize()
		code := rand.Text()
		p.codes[code] = q
		http.Redirect(w, r, q.Get("redirect_uri")+"?"+url.Values{"code": {code}, "state": {q.Get("state")}}.Encode(), http.StatusSeeOther)
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		asked := p.codes[r.FormValue("code")]
		delete(p.codes, r.FormValue("code"))
		client, secret, _ := r.BasicAuth()
		sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
		if asked == nil || client != "app" || secret != "secret" || r.FormValue("redirect_uri") != asked.Get("redirect_uri") || b64(sum[:]) != asked.Get("code_challenge") {
			http.Error(w, `{"error":"invalid_grant"}`, http.StatusBadRequest)
			return
		}
		now := time.Now().Unix()
		claims := map[string]any{
			"iss": p.URL, "aud": "app", "sub": "ann", "sid": p.sid, "name": "Ann", "nonce": asked.Get("nonce"),
			"iat": now, "exp": now + 60, "auth_time": now, "amr": []string{"pwd"},
		}
		maps.Copy(claims, p.changes)
		answer(w, map[string]any{"access_token": "a", "token_type": "Bearer", "id_token": p.sign(map[string]any{"alg": "RS256", "kid": "1"}, claims)})
	})
	mux.HandleFunc("GET /end", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if q.Get("id_token_hint") == "" || q.Get("post_logout_redirect_uri") == "" || q.Get("page") != "1" {
			t.Errorf("the end of the session is asked for with %v", q)
		}
		_, _ = io.WriteString(w, "signed out at the provider")
	})
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func (p *provider) sign(header, claims map[string]any) string {
	h, _ := json.Marshal(header)
	c, _ := json.Marshal(claims)
	text := b64(h) + "." + b64(c)
	if header["alg"] == "none" {
		return text + "."
	}
	sum := sha256.Sum256([]byte(text))
	signature, _ := rsa.SignPKCS1v15(nil, p.key, crypto.SHA256, sum[:])
	return text + "." + b64(signature)
}

// absent is the value of a claim that a token is not to have.
var absent any = struct{}{}

// logoutToken returns a logout token for the user, with changes to its claims, and to alg and
// typ of its header.
func (p *provider) logoutToken(changes map[string]any) string {
	now := time.Now().Unix()
	header := map[string]any{"alg": "RS256", "kid": "1", "typ": "logout+jwt"}
	claims := map[string]any{
		"iss": p.URL, "aud": "app", "iat": now, "exp": now + 120, "jti": rand.Text(), "sub": "ann",
		"events": map[string]any{logoutEvent: map[string]any{}},
	}
	for k, v := range changes {
		in := claims
		if k == "alg" || k == "typ" {
			in = header
		}
		in[k] = v
		if v == absent {
			delete(in, k)
		}
	}
	return p.sign(header, claims)
}

// kinds are the logout tokens for the session sid-1.
var kinds = map[string]map[string]any{
	"sub":         nil,
	"sub and sid": {"sid": "sid-1"},
	"sid":         {"sid": "sid-1", "sub": absent},
}
