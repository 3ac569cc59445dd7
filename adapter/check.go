package adapter

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/samesid/samesid/internal/wire"
)

// Validate returns an error that names every field that New would refuse, and
// the fix. It has no effect.
func (o Options) Validate() error {
	_, err := o.checked()
	return err
}

// checked returns a copy with the defaults filled in, or an error that names
// every field that can't be used.
func (o Options) checked() (Options, error) {
	var errs []error
	refuse := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("adapter: Options."+format, args...))
	}

	if o.Name == "" {
		o.Name = "connect.sid"
	}
	if err := wire.CheckName(o.Name); err != nil {
		refuse("Name: %w", err)
	}

	o.Secrets = append([]string(nil), o.Secrets...)
	switch {
	case o.Cookies > UnsignedCookies:
		refuse("Cookies: %d is not a form of cookie; use SignedCookies, MigrateCookies or UnsignedCookies", o.Cookies)
	case o.Cookies == UnsignedCookies && len(o.Secrets) > 0:
		refuse("Secrets and Options.Cookies: a secret signs the cookie and UnsignedCookies does not; drop one of the two")
	case o.Cookies != UnsignedCookies && len(o.Secrets) == 0:
		refuse("Secrets: none given, so cookies can't be signed; give at least one, of 32 random bytes")
	}
	for i, s := range o.Secrets {
		if s == "" {
			refuse("Secrets[%d]: is empty; drop it or give it 32 random bytes", i)
		}
	}

	switch o.Unset {
	case "":
		o.Unset = UnsetKeep
	case UnsetKeep, UnsetDestroy:
	default:
		refuse("Unset: %q is neither %q nor %q", o.Unset, UnsetKeep, UnsetDestroy)
	}
	if o.MaxRecordSize == 0 {
		o.MaxRecordSize = 4 << 20
	}
	switch _, renames := o.Store.(Renamer); {
	case o.IDs > HashedIDs:
		refuse("IDs: %d is not a form of id; use PlainIDs, MigrateIDs or HashedIDs", o.IDs)
	case o.IDs != PlainIDs && sharedWithExpress(o.Store):
		refuse("IDs: can't be hashed in this store: Express looks for the id itself; use another layout")
	case o.IDs == MigrateIDs && o.Cookies != SignedCookies:
		refuse("IDs and Options.Cookies: MigrateIDs would take a hash in an unsigned cookie for an id; use SignedCookies")
	case o.IDs == MigrateIDs && o.Store != nil && !renames:
		refuse("IDs: MigrateIDs needs a store that is a Renamer, such as Redis or Postgres; use HashedIDs, with which nobody stays signed in")
	}
	if o.Proxy > False {
		refuse("Proxy: must be Default, True or False")
	}

	if o.CookieFunc != nil && o.Cookie != (Cookie{}) {
		refuse("Cookie and Options.CookieFunc: both are given; drop one of the two")
	}
	if o.CookieFunc == nil && o.Cookie.Path == "" {
		o.Cookie.Path = "/"
	}
	if o.CookieFunc == nil { // what it returns is checked in each request
		for _, err := range o.Cookie.problems(o.Name) {
			refuse("Cookie.%w", err)
		}
	}

	for _, d := range []struct {
		name string
		age  time.Duration
	}{
		{"TTL", o.TTL},
		{"AbsoluteLifetime", o.AbsoluteLifetime},
		{"TouchAfter", o.TouchAfter},
	} {
		if d.age < 0 {
			refuse("%s: is negative (%v); 0 is the default", d.name, d.age)
		}
	}
	if age := o.Cookie.MaxAge; o.AbsoluteLifetime > 0 && age > o.AbsoluteLifetime {
		refuse("AbsoluteLifetime and Options.Cookie.MaxAge: a session can't be unused for %v and end %v after it began; raise the first or lower the second", age, o.AbsoluteLifetime)
	}
	if o.TTL == 0 {
		o.TTL = 24 * time.Hour
	}
	idle, idleName := o.Cookie.MaxAge, "Cookie.MaxAge"
	if idle <= 0 {
		idle, idleName = o.TTL, "TTL"
	}
	if o.TouchAfter > 0 && o.TouchAfter >= idle {
		refuse("TouchAfter and Options.%s: a session in use would end before it is touched (%v, %v); lower the first", idleName, o.TouchAfter, idle)
	}

	if o.Codec == nil {
		o.Codec = defaultCodec(o.Store)
	} else if _, ok := o.Codec.(JSONCodec); !ok && sharedWithExpress(o.Store) {
		refuse("Codec: %T can't be used with this store, whose records Express reads too; use JSONCodec or another layout", o.Codec)
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o, errors.Join(errs...)
}

// problems lists what is wrong with a cookie, each naming its field.
func (c Cookie) problems(name string) (errs []error) {
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if c.MaxAge < 0 {
		refuse("MaxAge: is negative (%v); 0 is a cookie that ends with the browser", c.MaxAge)
	}
	if c.MaxAge != 0 && !c.Expires.IsZero() {
		refuse("MaxAge and Cookie.Expires: both are given; drop one of the two")
	}
	if c.Domain != "" {
		if err := wire.CheckDomain(c.Domain); err != nil {
			refuse("Domain: %w", err)
		}
	}
	path := c.Path
	if path == "" {
		path = "/"
	}
	if err := wire.CheckPath(path); err != nil {
		refuse("Path: %w", err)
	} else if path[0] != '/' {
		refuse("Path: %q does not start with \"/\"", path)
	}
	if c.HTTPOnly > False {
		refuse("HTTPOnly: must be Default, True or False")
	}
	if c.Secure > Auto {
		refuse("Secure: must be Default, True, False or Auto")
	}
	switch SameSite(strings.ToLower(string(c.SameSite))) {
	case SameSiteUnset, SameSiteLax, SameSiteStrict, SameSiteNone, SameSiteAuto:
	default:
		refuse("SameSite: %q is not one of lax, strict, none, auto", c.SameSite)
	}
	switch strings.ToLower(c.Priority) {
	case "", "low", "medium", "high":
	default:
		refuse("Priority: %q is not one of low, medium, high", c.Priority)
	}

	secure := c.Secure == True || c.Secure == Auto
	switch {
	case secure:
	case strings.EqualFold(string(c.SameSite), string(SameSiteNone)):
		refuse("SameSite and Cookie.Secure: browsers drop a SameSite=None cookie that is not secure; set Secure")
	case strings.EqualFold(string(c.SameSite), string(SameSiteAuto)):
		refuse("SameSite and Cookie.Secure: auto is None on a secure connection, and browsers drop such a cookie if it is not secure; set Secure to Auto")
	}
	if c.Partitioned && !secure {
		refuse("Partitioned and Cookie.Secure: browsers drop a partitioned cookie that is not secure; set Secure")
	}
	// RFC 6265bis 4.1.3: browsers compare the prefixes without regard to case.
	lower := strings.ToLower(name)
	if strings.HasPrefix(lower, "__secure-") && c.Secure != True {
		refuse("Secure: must be True for a cookie named %s", name)
	}
	if strings.HasPrefix(lower, "__host-") && (c.Secure != True || path != "/" || c.Domain != "") {
		refuse("Secure, Path and Domain: a cookie named %s needs Secure True, Path \"/\" and no Domain", name)
	}
	return errs
}

// wire returns the cookie as it is stored with a session that begins now.
func (c Cookie) wire() wire.Cookie {
	w := wire.Cookie{
		HTTPOnly:    c.HTTPOnly != False,
		Secure:      c.Secure == True,
		Partitioned: c.Partitioned,
		Domain:      c.Domain,
		Path:        c.Path,
		Priority:    strings.ToLower(c.Priority),
		SameSite:    strings.ToLower(string(c.SameSite)),
	}
	if w.Path == "" {
		w.Path = "/"
	}
	switch {
	case c.MaxAge != 0:
		w.OriginalMaxAge = &c.MaxAge
	case !c.Expires.IsZero():
		left := time.Until(c.Expires)
		w.OriginalMaxAge = &left
	}
	return w
}

func boolOf(b bool) Bool {
	if b {
		return True
	}
	return False
}

func (s SameSite) http() http.SameSite {
	switch SameSite(strings.ToLower(string(s))) {
	case SameSiteLax:
		return http.SameSiteLaxMode
	case SameSiteStrict:
		return http.SameSiteStrictMode
	case SameSiteNone:
		return http.SameSiteNoneMode
	}
	return 0
}

func sameSiteOf(s http.SameSite) SameSite {
	switch s {
	case http.SameSiteLaxMode:
		return SameSiteLax
	case http.SameSiteStrictMode:
		return SameSiteStrict
	case http.SameSiteNoneMode:
		return SameSiteNone
	}
	return SameSiteUnset
}
