//go:build unix

package proof

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/samesid/samesid/internal/eachstore"
	"github.com/samesid/samesid/internal/rig"
	"github.com/samesid/samesid/internal/testserver"
)

// A column without a time zone, as connect-pg-simple's, holds local time in the zone of
// Express's role. That may be any zone, and each process may run in a different one.
func TestTimeZones(t *testing.T) {
	t.Parallel()
	server := testserver.StartPostgres(t, "timezone=America/St_Johns")
	eachstore.Run(t, func(t *testing.T, k eachstore.Kind) {
		for i, zone := range []string{"Pacific/Chatham", "Asia/Kathmandu", "Etc/GMT+12"} {
			p := k.On(t, server)
			db := p.DB(t)
			role := fmt.Sprintf("%s %d", k, i)
			if _, err := db.Exec(strings.ReplaceAll("CREATE ROLE r LOGIN SUPERUSER; ALTER ROLE r SET TimeZone = '"+zone+"'", " r ", ` "`+role+`" `)); err != nil {
				t.Fatal(err)
			}
			p.URL = strings.Replace(p.URL, "postgres@", url.PathEscape(role)+"@", 1)
			p.Open(t) // creates the table
			if table := p.Records(t, nil).Table; strings.Contains(table.ExpiryType, "without time zone") || i == 0 {
				t.Run(zone, func(t *testing.T) { inZone(t, p, table) })
			}
		}
	}, eachstore.IsOf("postgres"))
}

// inZone reads and writes the table as Express does, on connections of the role's.
func inZone(t *testing.T, p *eachstore.Place, table *eachstore.Table) {
	t.Parallel()
	table.DB = p.DB(t)
	a := startApp(t, configFile(t, p), "TZ=Asia/Tokyo")
	b := startApp(t, p.File(t, map[string]any{
		"secret": rig.Secret, "cookie": map[string]any{"maxAge": "1h"}, "store": map[string]any{"touchAfter": "30m"},
	}), "TZ=America/New_York")

	expiry := func() (at time.Time) {
		t.Helper()
		if err := table.QueryRow(fmt.Sprintf("SELECT %s::timestamptz FROM %s", table.Expiry, table.Name)).Scan(&at); err != nil {
			t.Fatal(err)
		}
		return at.UTC()
	}
	setExpiry := func(left time.Duration) {
		t.Helper()
		at := float64(time.Now().Add(left).UnixMilli()) / 1000
		if _, err := table.Exec(fmt.Sprintf("UPDATE %s SET %s = to_timestamp($1)", table.Name, table.Expiry), at); err != nil {
			t.Fatal(err)
		}
	}
	slides := func(what string, request func()) {
		t.Helper()
		// Expiries are rounded to the layout's steps of up to a second.
		from := time.Now().UTC().Add(time.Hour - time.Millisecond)
		request()
		if at, to := expiry(), time.Now().UTC().Add(time.Hour+time.Second); at.Before(from) || at.After(to) {
			t.Errorf("%s: the session expires at %v, want a time between %v and %v", what, at, from, to)
		}
	}

	ada := rig.NewUser(t, "ada", a.url)
	slides("a login", ada.Login)
	slides("a read of what Express lets live for a minute", func() {
		setExpiry(time.Minute)
		ada.Sees("")
	})
	ada.On(b.url)
	slides("a read when a touch is due", func() {
		setExpiry(29 * time.Minute)
		ada.Sees("")
	})
	slides("a change", func() {
		setExpiry(time.Minute)
		ada.Put("a", "1")
	})
	setExpiry(31 * time.Minute)
	before := expiry()
	ada.Sees("a=1")
	if at := expiry(); !at.Equal(before) {
		t.Errorf("a read when no touch is due: the session expires at %v, want %v", at, before)
	}
	setExpiry(-time.Second)
	ada.On(a.url).IsOut()
	ada.On(b.url).IsOut()
}
