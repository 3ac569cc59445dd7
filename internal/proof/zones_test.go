//go:build unix

package proof

import (
	"database/sql"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/samesid/samesid/internal/testserver"
)

// connect-pg-simple's column has no time zone: it holds local time in the zone of
// Express's role. That may be any zone, and each process may run in a different one.
func TestTimeZones(t *testing.T) {
	server := testserver.StartPostgres(t, "timezone=America/St_Johns")
	admin, err := sql.Open("postgres", server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	for i, zone := range []string{"Pacific/Chatham", "Asia/Kathmandu", "Etc/GMT+12"} {
		t.Run(zone, func(t *testing.T) {
			role := fmt.Sprintf("team%d", i)
			if _, err := admin.Exec(fmt.Sprintf("CREATE ROLE %s LOGIN; ALTER ROLE %s SET TimeZone = '%s'; CREATE SCHEMA %s AUTHORIZATION %s",
				role, role, zone, role, role)); err != nil {
				t.Fatal(err)
			}
			dsn, err := url.Parse(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			dsn.User = url.User(role)
			t.Setenv("PROOF_URL", dsn.String())
			inZone(t, dsn.String())
		})
	}
}

func inZone(t *testing.T, dsn string) {
	store := "url: ${PROOF_URL}\nlayout: connect-pg-simple\ncreateTable: true\n"
	a := startApp(t, writeConfig(t, store), "TZ=Asia/Tokyo")
	b := startApp(t, writeConfig(t, store+"touchAfter: 30m"), "TZ=America/New_York")

	// This connection reads and writes as Express's does.
	express, err := sql.Open("postgres", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer express.Close()
	expiry := func() (at time.Time) {
		t.Helper()
		if err := express.QueryRow("SELECT expire::timestamptz FROM session").Scan(&at); err != nil {
			t.Fatal(err)
		}
		return at.UTC()
	}
	setExpiry := func(left time.Duration) {
		t.Helper()
		at := float64(time.Now().Add(left).UnixMilli()) / 1000
		if _, err := express.Exec("UPDATE session SET expire = to_timestamp($1)", at); err != nil {
			t.Fatal(err)
		}
	}
	slides := func(what string, request func()) {
		t.Helper()
		// Expiries are rounded up to whole seconds.
		from := time.Now().UTC().Add(time.Hour)
		request()
		if at, to := expiry(), time.Now().UTC().Add(time.Hour+time.Second); at.Before(from) || at.After(to) {
			t.Errorf("%s: the session expires at %v, want a time between %v and %v", what, at, from, to)
		}
	}

	ada := newBrowser(t)
	const page = "ada a= b="
	slides("a login", func() { ada.post(a.url+"/login", credentials("ada", adaPassword)) })
	slides("a read of what Express lets live for a minute", func() {
		setExpiry(time.Minute)
		ada.get(a.url+"/me", page)
	})
	slides("a read when a touch is due", func() {
		setExpiry(29 * time.Minute)
		ada.get(b.url+"/me", page)
	})
	slides("a change", func() {
		setExpiry(time.Minute)
		ada.post(b.url+"/note/a/1", "")
	})
	setExpiry(31 * time.Minute)
	before := expiry()
	ada.get(b.url+"/me", "ada a=1 b=")
	if at := expiry(); !at.Equal(before) {
		t.Errorf("a read when no touch is due: the session expires at %v, want %v", at, before)
	}
	setExpiry(-time.Second)
	ada.get(a.url+"/me", "")
	ada.get(b.url+"/me", "")
}
