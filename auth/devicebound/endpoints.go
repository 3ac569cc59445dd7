package devicebound

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/samesid/samesid/adapter"
)

// The reasons of EventProofFailed, beside ErrNoProof and ErrBadProof.
var (
	errCrossOrigin = errors.New("devicebound: cross-origin request")
	errNoSession   = errors.New("devicebound: there is no session, or it is not bound")
	errOtherID     = errors.New("devicebound: the session is bound otherwise")
	errIsBound     = errors.New("devicebound: the session is bound already")
	errNotOffered  = errors.New("devicebound: the registration was not offered to this session, or too long ago")
	errSignature   = errors.New("devicebound: the proof is not signed by the session's key")
	errChallenge   = errors.New("devicebound: the proof is of a challenge that is used up, too old, or not this session's")
)

// ServeHTTP serves the two endpoints that browsers call, below Options.Path: a POST to
// "/register", and one to "/refresh". Their requests have no body. No other origin may call
// them, and no response lets one read it.
func (b *Binding) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	var endpoint http.HandlerFunc
	switch {
	case strings.HasSuffix(r.URL.Path, "/register"):
		endpoint = b.register
	case strings.HasSuffix(r.URL.Path, "/refresh"):
		endpoint = b.refresh
	default:
		respond(w, http.StatusNotFound, "Not Found")
		return
	}
	if r.Method != http.MethodPost {
		h.Set("Allow", http.MethodPost)
		respond(w, http.StatusMethodNotAllowed, "Method Not Allowed")
		return
	}
	if b.origin.Check(r) != nil {
		b.fail(w, r, http.StatusForbidden, "Cross-origin request refused", errCrossOrigin)
		return
	}
	endpoint(w, r)
}

// register stores the key of a browser that Offer has asked for it.
func (b *Binding) register(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	p, err := proofOf(r.Header)
	if err != nil {
		b.fail(w, r, http.StatusBadRequest, "Malformed Proof", err)
		return
	}
	if b.m.Exists(ctx, sessionKey) { // so an offer is good for one registration
		b.fail(w, r, http.StatusUnauthorized, textRefused, errIsBound)
		return
	}
	now := time.Now()
	at, ok := b.stamped(forRegistration, b.m.ID(ctx), p.challenge)
	if b.opts.Off || !ok || !inTime(at, now) {
		b.fail(w, r, http.StatusUnauthorized, textRefused, errNotOffered)
		return
	}
	key, err := p.ownKey()
	if err != nil {
		b.fail(w, r, http.StatusBadRequest, "Malformed Proof", err)
		return
	}
	if !p.isSignedBy(key) {
		b.fail(w, r, http.StatusUnauthorized, textRefused, errSignature)
		return
	}
	encoded, err := encodeKey(key)
	if err != nil {
		b.m.ErrorFunc(w, r, err)
		return
	}
	is := binding{ID: rand.Text(), Key: encoded, At: now.UnixMilli()}
	if b.save(w, r, is) {
		b.m.Audit(ctx, slog.LevelInfo, EventBound, "algorithm", p.alg)
		b.admit(w, is, now)
	}
}

// refresh gives the browser a challenge, or the cookie for the proof that answers one.
//
// An answer of 401 has the browser end its binding, and one of 403 has it answer the
// challenge that comes along, a few times at most.
func (b *Binding) refresh(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	id, ok := headerValue(r.Header, "Sec-Secure-Session-Id")
	if !ok || id == "" { // a page's script can't send it
		b.fail(w, r, http.StatusBadRequest, "Malformed Request", errMalformed)
		return
	}
	is, _ := b.load(ctx)
	if is.key == nil {
		b.fail(w, r, http.StatusUnauthorized, textRefused, errNoSession)
		return
	}
	if subtle.ConstantTimeCompare([]byte(id), []byte(is.ID)) != 1 {
		b.fail(w, r, http.StatusUnauthorized, textRefused, errOtherID)
		return
	}
	if b.opts.Off {
		b.m.Remove(ctx, sessionKey)
		b.setCookie(w, "", -1)
		writeJSON(w, http.StatusOK, instructions{ID: is.ID, Continue: new(bool)})
		return
	}
	if len(r.Header["Secure-Session-Response"]) == 0 {
		b.challenge(w, is)
		return
	}
	p, err := proofOf(r.Header)
	if err != nil {
		b.fail(w, r, http.StatusBadRequest, "Malformed Proof", err)
		return
	}
	if !p.isSignedBy(is.key) {
		b.fail(w, r, http.StatusUnauthorized, textRefused, errSignature)
		return
	}
	now := time.Now()
	at, ok := b.stamped(forChallenge, is.ID, p.challenge)
	if !ok || !answers(at, is.Last, now) {
		// The browser has the key. It may have answered twice, or be slow: it gets another.
		b.m.Audit(ctx, slog.LevelInfo, EventProofFailed, "reason", reason(errChallenge))
		b.challenge(w, is)
		return
	}
	is.Last = at
	if b.save(w, r, is) {
		b.admit(w, is, now)
	}
}

// challenge asks for a proof. Challenges of a binding come one after the other, and the
// session has the time of the last one that was answered: each is good for one proof, and
// for challengeLife, and costs no write before there is a proof.
func (b *Binding) challenge(w http.ResponseWriter, is binding) {
	at := max(time.Now().UnixMilli(), is.Last+1)
	w.Header().Set("Secure-Session-Challenge", `"`+b.stamp(forChallenge, is.ID, at)+`";id="`+is.ID+`"`)
	respond(w, http.StatusForbidden, "Proof Required")
}

// answers reports whether a challenge of a time may be answered, after the last one that was.
func answers(at, last int64, now time.Time) bool {
	// What another server, or a clock that was set back since, has put into the future.
	ahead := at == last+1 && at > now.UnixMilli()
	return at > last && (inTime(at, now) || ahead)
}

// inTime reports whether something of a time can still be answered.
func inTime(at int64, now time.Time) bool {
	age := now.Sub(time.UnixMilli(at))
	return age >= -skew && age <= challengeLife
}

// save stores a binding, so that the browser has no cookie of one that the store has not.
func (b *Binding) save(w http.ResponseWriter, r *http.Request, is binding) (ok bool) {
	err := adapter.Put(r.Context(), b.m, sessionKey, is)
	if err == nil {
		err = b.m.Save(r.Context())
	}
	switch {
	case errors.Is(err, adapter.ErrGone):
		b.fail(w, r, http.StatusUnauthorized, textRefused, errNoSession)
	case err != nil:
		b.m.ErrorFunc(w, r, err)
	}
	return err == nil
}

// instructions are the "JSON Session Instruction Format" of the draft.
type instructions struct {
	ID          string       `json:"session_identifier"`
	RefreshURL  string       `json:"refresh_url,omitempty"`
	Continue    *bool        `json:"continue,omitempty"`
	Scope       *scope       `json:"scope,omitempty"`
	Credentials []credential `json:"credentials,omitempty"`
}

// scope is this origin, and no other of its site.
type scope struct {
	IncludeSite bool `json:"include_site"`
}

type credential struct {
	Type       string `json:"type"`
	Name       string `json:"name"`
	Attributes string `json:"attributes"`
}

// admit gives the browser the cookie that a proof is for.
func (b *Binding) admit(w http.ResponseWriter, is binding, now time.Time) {
	b.setCookie(w, b.stamp(forCookie, is.ID, now.Add(b.opts.Age+skew).UnixMilli()), int(b.opts.Age/time.Second))
	writeJSON(w, http.StatusOK, instructions{
		ID:          is.ID,
		RefreshURL:  b.opts.Path + "/refresh",
		Scope:       &scope{},
		Credentials: []credential{{"cookie", b.cookie, "Path=/; Secure; HttpOnly; SameSite=Lax"}},
	})
}

// proofOf reads the proof of a request.
func proofOf(h http.Header) (*proof, error) {
	token, ok := headerValue(h, "Secure-Session-Response")
	if !ok {
		return nil, errMalformed
	}
	return parseProof(token)
}

const textRefused = "Proof Refused"

// fail refuses a request.
func (b *Binding) fail(w http.ResponseWriter, r *http.Request, status int, message string, err error) {
	b.m.Audit(r.Context(), slog.LevelWarn, EventProofFailed, "reason", reason(err))
	respond(w, status, message)
}

func reason(err error) string { return strings.TrimPrefix(err.Error(), "devicebound: ") }

// respond answers with a message, in the form of package auth.
func respond(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, struct {
		Message string `json:"message"`
	}{message})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // texts always encode
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
