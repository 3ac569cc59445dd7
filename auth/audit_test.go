package auth_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
	"github.com/samesid/samesid/internal/leaktest"
)

func TestAudit(t *testing.T) {
	var out bytes.Buffer
	m := newManager(t, adapter.Options{
		UserPath: "user.id", Logger: (&leaktest.Log{}).Logger(),
		Audit: slog.New(slog.NewJSONHandler(leaktest.Copy(&out), nil)),
	})
	a := newAuth(t, m, verifyAda, auth.Options{
		Attempts: 2, MaxSessions: 5, Logger: (&leaktest.Log{}).Logger(),
		ClientAddr: func(r *http.Request) string { return "[2001:db8::7]:1234" },
	})
	mux := routes(m, a)
	mux.Handle("/fresh", a.Fresh(time.Nanosecond)(http.NotFoundHandler()))
	mux.HandleFunc("/second", func(w http.ResponseWriter, r *http.Request) {
		if err := a.SignInWith(r.Context(), ada, auth.SignInOptions{From: r, Methods: []string{"pwd", "otp"}}); err != nil {
			t.Error(err)
		}
	})
	// Not over a connection, so that out is written by this goroutine.
	cookie := ""
	send := func(method, path, body string, header ...string) (all []map[string]any) {
		t.Helper()
		out.Reset()
		w := do(m, mux, method, path, body, append(header, "Cookie", cookie)...)
		if c := w.Result().Cookies(); len(c) > 0 {
			cookie = "connect.sid=" + c[0].Value
		}
		for line := range strings.Lines(out.String()) {
			var event map[string]any
			if err := json.Unmarshal([]byte(line), &event); err != nil {
				t.Fatal(err)
			}
			all = append(all, event)
		}
		return all
	}
	want := func(what string, got []map[string]any, want ...string) {
		t.Helper()
		var lines []string
		for _, e := range got {
			line := fmt.Sprint(e["msg"])
			for _, key := range []string{"reason", "user", "methods"} {
				if e[key] != nil {
					line += fmt.Sprintf(" %s=%v", key, e[key])
				}
			}
			lines = append(lines, line)
			if e["msg"].(string)[:5] != "sessi" && e["client"] != "2001:db8::7" && e["msg"] != "authn_logout" {
				t.Errorf("%s: the client of %v", what, e)
			}
		}
		if fmt.Sprintf("%q", lines) != fmt.Sprintf("%q", want) {
			t.Errorf("%s: %q, want %q", what, lines, want)
		}
	}
	const json, wrong = "application/json", `{"username":"ada","password":"wrong"}`
	want("nobody", send("GET", "/protected", ""), "authz_fail reason=nobody is signed in")
	want("another origin", send("POST", "/login", goodJSON, "Content-Type", json, "Sec-Fetch-Site", "cross-site"), "authn_login_fail reason=cross-origin request")
	want("no JSON", send("POST", "/login", "{", "Content-Type", json), "authn_login_fail reason=malformed login")
	first := send("POST", "/login", wrong, "Content-Type", json)
	want("wrong", first, "authn_login_fail reason=unknown user or wrong password")
	again := send("POST", "/login", strings.Replace(wrong, "ada", " ADA", 1), "Content-Type", json)
	if first[0]["account"] == nil || first[0]["account"] != again[0]["account"] || strings.Contains(fmt.Sprint(first), "ada") {
		t.Errorf("the accounts are %v and %v", first[0]["account"], again[0]["account"])
	}
	want("too many", send("POST", "/login", goodJSON, "Content-Type", json), "authn_login_lock")
	typed := send("POST", "/login", fmt.Sprintf(`{"username":%q,"password":"x"}`, password), "Content-Type", json)
	if want("a password for a name", typed, "authn_login_fail reason=unknown user or wrong password"); strings.Contains(fmt.Sprint(typed), password) {
		t.Error("the event has the password")
	}
	want("SignInWith", send("GET", "/second", ""), "session_created user=7", "authn_login_success user=7 methods=pwd otp")
	want("a page", send("GET", "/protected", ""))
	want("a stale login", send("GET", "/fresh", ""), "authz_fail reason=the user signed in too long ago user=7")
	want("another site's image", send("GET", "/logout", "", "Sec-Fetch-Site", "cross-site"), "authz_fail reason=cross-origin request user=7")
	want("a logout", send("POST", "/logout", ""), "session_destroyed user=7", "authn_logout user=7")
	want("a logout of nobody", send("POST", "/logout", ""))
}
