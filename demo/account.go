package main

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/samesid/samesid/auth"
)

// userPath is where a session has the user's name, which is the id that finds all of the
// user's sessions. The configuration files have it too.
const userPath = "user.username"

// account returns the sessions of the user who is signed in. Without one, it answers the
// request, and ok is false.
func (x *site) account(w http.ResponseWriter, r *http.Request) (a auth.Account, ok bool) {
	if x.UserPath() == "" {
		const status, why = http.StatusNotImplemented, "The sessions of a user are found by userPath: " + userPath + ", which the configuration does not have"
		if wantsPage(r) {
			x.render(w, r, status, "sessions", func(p *page) { p.Notice = why })
		} else {
			writeJSON(w, status, message{why})
		}
		return a, false
	}
	a, err := x.auth.Account(r.Context())
	if err != nil {
		x.ErrorFunc(w, r, err)
		return a, false
	}
	return a, true
}

// listSessions shows the user's sessions.
func (x *site) listSessions(w http.ResponseWriter, r *http.Request) {
	account, ok := x.account(w, r)
	if !ok {
		return
	}
	notice := ""
	if n, err := strconv.Atoi(r.URL.Query().Get("ended")); err == nil && n >= 0 {
		notice = endedOthers(n)
	}
	x.showSessions(w, r, account, http.StatusOK, notice)
}

func (x *site) showSessions(w http.ResponseWriter, r *http.Request, account auth.Account, status int, notice string) {
	list, err := account.Sessions(r.Context())
	if err != nil {
		x.ErrorFunc(w, r, err)
		return
	}
	if wantsPage(r) {
		x.render(w, r, status, "sessions", func(p *page) { p.Sessions, p.Notice = list, notice })
		return
	}
	writeJSON(w, status, struct {
		Sessions []auth.Session `json:"sessions"`
	}{append([]auth.Session{}, list...)})
}

// endSession ends one of the user's sessions, which may be this one.
func (x *site) endSession(w http.ResponseWriter, r *http.Request) {
	account, ok := x.account(w, r)
	if !ok {
		return
	}
	ended, err := account.End(r.Context(), r.PathValue("handle"))
	switch {
	case err != nil:
		x.ErrorFunc(w, r, err)
	case !ended && wantsPage(r):
		x.showSessions(w, r, account, http.StatusNotFound, "You have no such session: it may have ended before")
	case !ended:
		writeJSON(w, http.StatusNotFound, message{"Not Found"})
	case !wantsPage(r):
		writeJSON(w, http.StatusOK, message{"The session has ended"})
	case x.UserID(r.Context()) == "":
		http.Redirect(w, r, "/", http.StatusSeeOther)
	default:
		http.Redirect(w, r, "/sessions?ended=1", http.StatusSeeOther)
	}
}

// endOthers ends all of the user's sessions but this one.
func (x *site) endOthers(w http.ResponseWriter, r *http.Request) {
	account, ok := x.account(w, r)
	if !ok {
		return
	}
	n, err := account.EndOthers(r.Context())
	switch {
	case err != nil:
		x.ErrorFunc(w, r, err)
	case wantsPage(r):
		http.Redirect(w, r, fmt.Sprintf("/sessions?ended=%d", n), http.StatusSeeOther)
	default:
		writeJSON(w, http.StatusOK, message{endedOthers(n)})
	}
}

func endedOthers(n int) string {
	switch n {
	case 0:
		return "There was no other session"
	case 1:
		return "1 other session has ended"
	}
	return fmt.Sprintf("%d other sessions have ended", n)
}

// browsers and systems are the marks of a User-Agent header, and what they stand for. The
// first one counts: most browsers also name those that they descend from.
var (
	browsers = [][2]string{
		{"Edg/", "Edge"},
		{"EdgA/", "Edge"},
		{"EdgiOS/", "Edge"},
		{"OPR/", "Opera"},
		{"SamsungBrowser/", "Samsung Internet"},
		{"Firefox/", "Firefox"},
		{"FxiOS/", "Firefox"},
		{"CriOS/", "Chrome"},
		{"Chrome/", "Chrome"},
		{"Safari/", "Safari"},
	}
	systems = [][2]string{
		{"Android", "Android"},
		{"iPhone", "iPhone"},
		{"iPad", "iPad"},
		{"Windows", "Windows"},
		{"Mac OS X", "macOS"},
		{"CrOS", "ChromeOS"},
		{"Linux", "Linux"},
	}
)

// device describes a User-Agent header in words, such as "Chrome on Linux". It returns the
// header itself if it knows it not.
func device(userAgent string) string {
	browser, system := known(browsers, userAgent), known(systems, userAgent)
	if browser != "" && system != "" {
		return browser + " on " + system
	}
	return cmp.Or(strings.TrimSpace(userAgent), "Unknown device")
}

func known(marks [][2]string, userAgent string) string {
	for _, m := range marks {
		if strings.Contains(userAgent, m[0]) {
			return m[1]
		}
	}
	return ""
}

// ago and until describe a time relative to now.
func ago(t time.Time) string {
	d := time.Since(t)
	if d < time.Second {
		return "just now"
	}
	return shortDuration(d) + " ago"
}

func until(t time.Time) string {
	return "in " + shortDuration(time.Until(t).Round(time.Second))
}
