package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
)

// deviceState is what the page "This browser's key" shows.
type deviceState struct {
	HTTPS   bool
	Refused string // why sessions of this configuration can't be bound; "" if they can
	Bound   bool
	Proven  bool // this request has the second cookie
	Since   time.Time
	Last    time.Time // when the browser last answered a challenge; zero: not yet
	Pretty  string    // what the session has
}

// showDevice shows whether the session is bound to the browser.
func (x *site) showDevice(w http.ResponseWriter, r *http.Request) {
	s := deviceState{HTTPS: strings.HasPrefix(x.url, "https:")}
	if x.bound == nil {
		s.Refused = x.unbound.Error()
	} else {
		s.Proven = x.bound.Proven(r)
	}
	// The session has it under this key for any program to see, Express too.
	if is, err := adapter.Get[map[string]any](r.Context(), x.Manager, "auth_binding"); err == nil {
		s.Bound = true
		s.Since, s.Last = milliseconds(is["at"]), milliseconds(is["last"])
		if b, err := json.MarshalIndent(is, "", "  "); err == nil {
			s.Pretty = string(b)
		}
	}
	if !wantsPage(r) {
		writeJSON(w, http.StatusOK, struct {
			Bound  bool `json:"bound"`
			Proven bool `json:"proven"`
		}{s.Bound, s.Proven})
		return
	}
	x.render(w, r, http.StatusOK, "device", func(p *page) { p.Device = &s })
}

// forgetProof has the browser drop the second cookie, so that it renews it.
func (x *site) forgetProof(w http.ResponseWriter, r *http.Request) {
	if x.bound != nil {
		x.bound.End(w, r)
	}
	http.Redirect(w, r, "/device", http.StatusSeeOther)
}

// copied answers a page's request that does not prove that it is from the session's browser.
func (x *site) copied(w http.ResponseWriter, r *http.Request, why auth.Refusal) (answered bool) {
	if !errors.Is(why.Reason, auth.ErrUnproven) || !wantsPage(r) {
		return false
	}
	x.render(w, r, why.Status, "copied")
	return true
}

func milliseconds(v any) time.Time {
	var n int64
	switch v := v.(type) {
	case int:
		n = int64(v)
	case float64:
		n = int64(v)
	}
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMilli(n)
}

// selfSigned returns a certificate for this machine, and the hash of its key by which
// Chromium can be told to trust it.
func selfSigned() (cert tls.Certificate, pin string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return cert, "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(7 * 24 * time.Hour),
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return cert, "", err
	}
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return cert, "", err
	}
	sum := sha256.Sum256(spki)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, base64.StdEncoding.EncodeToString(sum[:]), nil
}

// chromiumCommand starts a Chromium that trusts the demo's certificate, and has keys in
// software where there are none in hardware.
func chromiumCommand(url, pin string) string {
	return "chromium --user-data-dir=$(mktemp -d) --ignore-certificate-errors-spki-list=" + pin +
		" --enable-features=DeviceBoundSessions:ForceEnableForTesting/true/RequireOriginTrialTokens/false,EnableBoundSessionCredentialsSoftwareKeysForManualTesting " + url + "/device"
}
