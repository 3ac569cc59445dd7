package auth

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"github.com/samesid/samesid/internal/refusal"
)

// networks returns what a client's attempts are counted by: an IPv4 address, or the /64
// of an IPv6 address, as one client can have all of a /64, and then the /56 and the /48
// around it, which one client can have too.
func networks(addr string) []string {
	ip, ok := parseAddr(addr)
	switch {
	case !ok:
		return []string{addr}
	case ip.Is4():
		return []string{ip.String()}
	}
	var all []string
	for _, bits := range []int{64, 56, 48} {
		all = append(all, netip.PrefixFrom(ip, bits).Masked().String())
	}
	return all
}

// parseAddr reads an address, with or without a port, brackets and a zone.
func parseAddr(s string) (netip.Addr, bool) {
	ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	if err != nil {
		host, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}, false
		}
		ip = host.Addr()
	}
	return ip.Unmap().WithZone(""), true
}

// clientAddr returns the address of a request's client, as Options says.
func (a *core) clientAddr(r *http.Request) string {
	switch {
	case a.opts.ClientAddr != nil:
		return a.opts.ClientAddr(r)
	case a.opts.ClientHeader == "" || !a.isProxy(r.RemoteAddr):
		return r.RemoteAddr
	}
	// From right to left, as each proxy appends the address that it has seen, and what is
	// left of them a client may have sent.
	client := r.RemoteAddr
	all := strings.Join(r.Header.Values(a.opts.ClientHeader), ",")
	list := strings.Split(all, ",")
	if strings.EqualFold(a.opts.ClientHeader, "Forwarded") {
		list = forwardedFor(all)
	}
	for i := len(list) - 1; i >= 0; i-- {
		addr := strings.TrimSpace(list[i])
		if _, ok := parseAddr(addr); !ok {
			return client // the last one that is known
		}
		if client = addr; !a.isProxy(addr) {
			return client
		}
	}
	return client
}

// isProxy reports whether an address is of TrustedProxies.
func (a *core) isProxy(addr string) bool {
	ip, ok := parseAddr(addr)
	if !ok {
		return false
	}
	for _, p := range a.proxies {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// forwardedFor returns the for parameter of each element of a Forwarded header (RFC 7239),
// "" for one without. In quotes there are neither commas nor semicolons in an address.
func forwardedFor(header string) []string {
	var list []string
	for element := range strings.SplitSeq(header, ",") {
		addr := ""
		for pair := range strings.SplitSeq(element, ";") {
			if name, value, _ := strings.Cut(strings.TrimSpace(pair), "="); strings.EqualFold(name, "for") {
				addr = strings.Trim(value, `"`)
			}
		}
		list = append(list, addr)
	}
	return list
}

// proxies returns TrustedProxies. It adds what is invalid, there and in ClientHeader, to r.
func (o Options) proxies(r *refusal.List) []netip.Prefix {
	switch {
	case o.ClientHeader == "" && len(o.TrustedProxies) > 0:
		r.Add("TrustedProxies", "without ClientHeader they have no effect; name the header that they set")
	case o.ClientHeader == "":
	case o.ClientAddr != nil:
		r.Add("ClientHeader ClientAddr", "both say what the client's address is; drop one or the other")
	case strings.Trim(strings.ToLower(o.ClientHeader), "abcdefghijklmnopqrstuvwxyz0123456789-_") != "":
		r.Add("ClientHeader", "%q is not the name of a header, such as X-Real-IP", o.ClientHeader)
	case len(o.TrustedProxies) == 0:
		r.Add("ClientHeader TrustedProxies", "a client can send the header too; name the proxies that may, such as 127.0.0.1 or 10.0.0.0/8")
	}
	var all []netip.Prefix
	for i, text := range o.TrustedProxies {
		field := fmt.Sprintf("TrustedProxies[%d]", i)
		p, err := netip.ParsePrefix(text)
		if ip, addrErr := netip.ParseAddr(text); addrErr == nil && ip.Zone() == "" {
			p, err = netip.PrefixFrom(ip, ip.BitLen()), nil
		}
		switch {
		case err != nil:
			r.Add(field, "%q is neither an address nor a prefix, such as 10.0.0.0/8", text)
		case p.Bits() == 0:
			r.Add(field, "%q is everybody, so each client could choose its address", text)
		case p.Addr().Is4In6():
			r.Add(field, "%q is an IPv4 address; write it as one", text)
		default:
			all = append(all, p)
		}
	}
	return all
}
