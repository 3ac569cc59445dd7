package adapter

import (
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/samesid/samesid/internal/refusal"
	"github.com/samesid/samesid/internal/wire"
)

// Validate returns an error that names every field that New would refuse, and
// the fix. It has no effect.
func (o Options) Validate() error {
	_, err := o.withDefaults()
	return err
}

// withDefaults returns a copy with the defaults filled in, or an error that names
// every field that can't be used.
func (o Options) withDefaults() (Options, error) {
	r := refusal.List{Package: "adapter", Struct: "Options"}

	if o.Name == "" {
		o.Name = "connect.sid"
	}
	if err := wire.ValidateName(o.Name); err != nil {
		r.Add("Name", "%w", err)
	}

	o.Secrets = append([]string(nil), o.Secrets...)
	switch o.Signature {
	case SignatureRequired, SignatureMigrating:
		validateSecrets(&r, o.Secrets)
	case SignatureNone:
		if len(o.Secrets) > 0 {
			r.Add("Secrets Signature", "a secret signs the cookie and SignatureNone does not; drop one of the two")
		}
	default:
		r.Add("Signature", "%q is unknown; use SignatureRequired, SignatureMigrating or SignatureNone", o.Signature)
	}
	switch o.Unset {
	case UnsetKeep, UnsetDestroy:
	default:
		r.Add("Unset", "%q is unknown; use UnsetKeep or UnsetDestroy", o.Unset)
	}
	if o.MaxRecordSize == 0 {
		o.MaxRecordSize = 4 << 20
	}
	switch o.StoreKey {
	case StoreKeyID:
	case StoreKeyHash, StoreKeyMigrating:
		if sharedWithExpress(o.Store) {
			r.Add("StoreKey", "can't be hashed in this store: Express looks for the id itself; use another layout")
		}
		if o.StoreKey == StoreKeyMigrating && o.Signature != SignatureRequired {
			r.Add("StoreKey Signature", "StoreKeyMigrating would take a hash in an unsigned cookie for an id; use SignatureRequired")
		}
	default:
		r.Add("StoreKey", "%q is unknown; use StoreKeyID, StoreKeyMigrating or StoreKeyHash", o.StoreKey)
	}
	if o.UserPath != "" {
		keys := strings.Split(o.UserPath, ".")
		switch {
		case len(keys) > 3, slices.Contains(keys, ""):
			r.Add("UserPath", "%q must be one to three keys with dots between, such as user.id", o.UserPath)
		case keys[0] == "cookie" || strings.HasPrefix(keys[0], "__"):
			r.Add("UserPath", "%q begins with a key of the record's own; use that of the user, such as user.id", o.UserPath)
		}
	}
	switch o.Proxy {
	case ProxyUnset, ProxyTrusted, ProxyIgnored:
	default:
		r.Add("Proxy", "%q is unknown; use ProxyUnset, ProxyTrusted or ProxyIgnored", o.Proxy)
	}

	if o.CookieFunc != nil && o.Cookie != (Cookie{}) {
		r.Add("Cookie CookieFunc", "both are given; drop one of the two")
	}
	if o.CookieFunc == nil { // what it returns is checked in each request
		if o.Cookie.Path == "" {
			o.Cookie.Path = "/"
		}
		o.Cookie.refuse(&r, "Cookie.", o.Name)
	}
	o.refuseAges(&r)
	if o.TTL == 0 {
		o.TTL = 24 * time.Hour
	}

	if o.Codec == nil {
		o.Codec = defaultCodec(o.Store)
	} else if _, ok := o.Codec.(JSONCodec); !ok && sharedWithExpress(o.Store) {
		r.Add("Codec", "%T can't be used with this store, whose records Express reads too; use JSONCodec or another layout", o.Codec)
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o, r.Err()
}

// refuseAges checks the ages, and that they fit together.
func (o *Options) refuseAges(r *refusal.List) {
	for _, d := range []struct {
		name  string
		age   time.Duration
		least time.Duration
	}{
		{"TTL", o.TTL, time.Second},
		{"AbsoluteLifetime", o.AbsoluteLifetime, time.Second},
		{"TouchAfter", o.TouchAfter, time.Millisecond},
		{"ResendAfter", o.ResendAfter, time.Millisecond},
	} {
		r.Age(d.name, d.age, d.least)
	}
	age := o.Cookie.MaxAge
	if o.AbsoluteLifetime > 0 && age > o.AbsoluteLifetime {
		r.Add("AbsoluteLifetime Cookie.MaxAge", "a session can't be unused for %v and end %v after it began; raise the first or lower the second", age, o.AbsoluteLifetime)
	}
	idle, name := age, "Cookie.MaxAge"
	if idle <= 0 {
		idle, name = o.TTL, "TTL"
		if idle == 0 {
			idle = 24 * time.Hour
		}
	}
	if o.TouchAfter > 0 && o.TouchAfter >= idle {
		r.Add("TouchAfter "+name, "a session in use would end before it is touched (%v, %v); lower the first", o.TouchAfter, idle)
	}
	switch {
	case o.ResendAfter > 0 && o.Rolling:
		r.Add("ResendAfter Rolling", "the second sends the cookie with each response anyway; drop one of the two")
	case o.ResendAfter > 0 && age > 0 && o.ResendAfter >= age:
		r.Add("ResendAfter Cookie.MaxAge", "a cookie in use would end before it is sent again (%v, %v); lower the first", o.ResendAfter, age)
	}
}

// validate returns an error that names what is wrong with a cookie that a function of
// the app's made.
func (c Cookie) validate(name string) error {
	r := refusal.List{Package: "adapter: Options.CookieFunc", Struct: "Cookie"}
	c.refuse(&r, "", name)
	return r.Err()
}

// refuse adds what is wrong with a cookie. Its fields begin with the prefix.
func (c Cookie) refuse(r *refusal.List, prefix, name string) {
	refuse := func(fields, format string, args ...any) {
		names := strings.Fields(fields)
		for i := range names {
			names[i] = prefix + names[i]
		}
		r.Add(strings.Join(names, " "), format, args...)
	}

	switch {
	case c.MaxAge < 0:
		refuse("MaxAge", "is negative (%v); 0 is a cookie that ends with the browser", c.MaxAge)
	case c.MaxAge > 0 && c.MaxAge < time.Second:
		refuse("MaxAge", "%s", refusal.WithoutUnit(c.MaxAge))
	}
	if c.MaxAge != 0 && !c.Expires.IsZero() {
		refuse("MaxAge Expires", "both are given; drop one of the two")
	}
	if c.Domain != "" {
		if err := wire.ValidateDomain(c.Domain); err != nil {
			refuse("Domain", "%w", err)
		}
	}
	path := c.Path
	if path == "" {
		path = "/"
	}
	if err := wire.ValidatePath(path); err != nil {
		refuse("Path", "%w", err)
	} else if path[0] != '/' {
		refuse("Path", "%q does not start with \"/\"", path)
	}
	switch c.Secure {
	case SecureNever, SecureAlways, SecureAuto:
	default:
		refuse("Secure", "%q is unknown; use SecureNever, SecureAlways or SecureAuto", c.Secure)
	}
	switch SameSite(strings.ToLower(string(c.SameSite))) {
	case SameSiteUnset, SameSiteLax, SameSiteStrict, SameSiteNone, SameSiteAuto:
	default:
		refuse("SameSite", "%q is not one of lax, strict, none, auto", c.SameSite)
	}
	switch strings.ToLower(c.Priority) {
	case "", "low", "medium", "high":
	default:
		refuse("Priority", "%q is not one of low, medium, high", c.Priority)
	}

	switch {
	case c.Secure != SecureNever:
	case strings.EqualFold(string(c.SameSite), string(SameSiteNone)):
		refuse("SameSite Secure", "browsers drop a SameSite=None cookie that is not secure; set Secure")
	case strings.EqualFold(string(c.SameSite), string(SameSiteAuto)):
		refuse("SameSite Secure", "auto is None on a secure connection, and browsers drop such a cookie if it is not secure; set Secure to SecureAuto")
	}
	if c.Partitioned && c.Secure == SecureNever {
		refuse("Partitioned Secure", "browsers drop a partitioned cookie that is not secure; set Secure")
	}
	// RFC 6265bis 4.1.3: browsers compare the prefixes without regard to case.
	lower := strings.ToLower(name)
	if strings.HasPrefix(lower, "__secure-") && c.Secure != SecureAlways {
		refuse("Secure", "must be SecureAlways for a cookie named %s", name)
	}
	if strings.HasPrefix(lower, "__host-") && (c.Secure != SecureAlways || path != "/" || c.Domain != "") {
		refuse("Secure Path Domain", "a cookie named %s needs Secure: SecureAlways, Path \"/\" and no Domain", name)
	}
}

// wire returns the cookie as it is stored with a session that begins now.
func (c Cookie) wire() wire.Cookie {
	w := wire.Cookie{
		HTTPOnly:    !c.ScriptAccess,
		Secure:      c.Secure == SecureAlways,
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
