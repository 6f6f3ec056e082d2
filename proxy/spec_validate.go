package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/erlmcp/erlmcp/healthcheck"
	"github.com/erlmcp/erlmcp/internal/http1"
	"github.com/erlmcp/erlmcp/internal/topology"
	"github.com/erlmcp/erlmcp/internal/units"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
)

// Bounds of what a Spec may ask for.
const (
	maxConnections = 10_000_000
	maxWorkers     = board.MaxWorkers / 2 // two generations of them fit a board
	maxRate        = 1_000_000            // per second
	minSources     = 1 << 10
	minMessage     = units.KiB
	maxMessage     = units.GiB
	MaxDuration    = 24 * time.Hour
	maxPatience    = 365 * 24 * time.Hour // with what is under way
	maxRoutes      = 64
	maxRoutePrefix = 256
	maxToolLimits  = 64
)

// Validate reports everything that is wrong with s, one line a field, each beginning with the
// field's path ("lb.limits.ban.for: …"). It opens no socket and looks no name up.
func (s *Spec) Validate() error {
	var p problems
	s.validateListen(&p)
	s.validateNodes(&p)
	s.validateClients(&p)
	s.validateHTTP(&p)
	s.validateLimits(&p)
	s.validateChecks(&p)
	s.validateSource(&p)
	return errors.Join(p...)
}

func (s *Spec) validateListen(p *problems) {
	if l := s.Listening(); len(l.ForClients()) == 0 {
		if s.Listen == l {
			p.add("listen", "one of tcp, http and https must be set, or nobody can connect")
		} else if served := func(n topology.Node) bool { return len(n.Ports()) > 0 }; slices.ContainsFunc(s.Nodes, served) {
			var names []string
			for _, set := range s.Listen.ForClients() {
				names = append(names, set.Name)
			}
			p.add("listen", "no node has a port for the listeners that are set (%s)", strings.Join(names, ", "))
		}
	}
	all := s.Listen.All()
	taken := make([]netip.AddrPort, len(all))
	for i, l := range all {
		if l.Address == "" {
			continue
		}
		field := "listen." + l.Name
		if l.Name == ListenHTTPS && s.TLS.Cert == "" && s.TLS.Key == "" {
			p.add(field, "needs lb.tls.cert and lb.tls.key (erlmcp lb cert --self-signed makes a pair for development)")
		}
		at, err := parseListen(l.Address)
		if err != nil {
			p.add(field, "%v", err)
			continue
		}
		for j, other := range all[:i] {
			if overlaps(at, taken[j]) {
				p.add(field, "%s is also listen.%s", l.Address, other.Name)
			}
		}
		for _, node := range s.Nodes {
			if addr, err := netip.ParseAddr(node.Host); err == nil && overlaps(at, netip.AddrPortFrom(addr, uint16(node.TCP))) {
				p.add(field, "%s is also the address of node %s", l.Address, node.Name)
			}
		}
		taken[i] = at
	}
	for i, host := range s.Admin.Hosts {
		if !isHostName(host) {
			p.add(fmt.Sprintf("admin.hosts[%d]", i), "%q is not a host name (like lb.example.org, without a port)", host)
		}
	}
	if (s.TLS.Cert == "") != (s.TLS.Key == "") {
		p.add("tls", "cert and key must be set together")
	}
	if s.TLS.HSTS != "" && !isHSTS(s.TLS.HSTS) {
		p.add("tls.hsts", "%q must be like \"max-age=63072000\", in seconds, perhaps followed by \"; includeSubDomains\" and \"; preload\"", s.TLS.HSTS)
	}
}

// isHSTS reports whether a value of Strict-Transport-Security has the directives that browsers know (RFC 6797 section
// 6.1), each once.
func isHSTS(value string) bool {
	seen := make(map[string]bool)
	for directive := range strings.SplitSeq(value, ";") {
		name, argument, has := strings.Cut(strings.TrimSpace(directive), "=")
		name = strings.ToLower(name)
		switch name {
		case "max-age":
			if _, err := strconv.ParseUint(argument, 10, 32); err != nil {
				return false
			}
		case "includesubdomains", "preload":
			if has {
				return false
			}
		default:
			return false
		}
		if seen[name] {
			return false
		}
		seen[name] = true
	}
	return seen["max-age"]
}

func (s *Spec) validateNodes(p *problems) {
	if t := &s.NodeTLS; (t.Cert == "") != (t.Key == "") {
		p.add("node_tls", "cert and key must be set together")
	}
	if name := s.NodeTLS.ServerName; name != "" && !isHostName(name) {
		if _, err := netip.ParseAddr(name); err != nil {
			p.add("node_tls.server_name", "%q is neither a host name nor an address", name)
		}
	}
	switch n := len(s.Nodes); {
	case n == 0 && s.NodesFrom != "":
		return
	case n == 0:
		p.add("nodes", "at least one node is needed")
		return
	case n > board.MaxNodes:
		p.add("nodes", "must be at most %d, are %d", board.MaxNodes, n)
	}
	if err := topology.Validate(s.Nodes); err != nil {
		*p = append(*p, fmt.Errorf("lb.nodes%w", err)) // it begins with "[1].tcp: "
	}
}

func (s *Spec) validateClients(p *problems) {
	between(p, "max_connections", s.MaxConnections, 1, maxConnections)
	between(p, "node_max_connections", s.NodeMaxConnections, 0, maxConnections)
	between(p, "workers", s.Workers, 0, maxWorkers)
	between(p, "max_message", s.MaxMessage, minMessage, maxMessage)
	oneOf(p, "balance", s.Balance, BalanceLeastConn, BalanceRoundRobin, BalanceSource, BalanceRandom2)
	oneOf(p, "sticky.tcp", s.Sticky.TCP, StickySource, StickyNone)
	oneOf(p, "sticky.http", s.Sticky.HTTP, StickyCookie, StickyNone)
	if !isCookieName(s.Sticky.Cookie) {
		p.add("sticky.cookie", "%q must be the name of a cookie: at most %d letters, digits or any of !#$%%&'*+-.^_`|~", s.Sticky.Cookie, maxCookieName)
	}
	between(p, "sticky.ttl", s.Sticky.TTL, time.Second, MaxDuration)
	between(p, "slow_start", s.SlowStart, 0, MaxDuration)
	between(p, "timeouts.connect", s.Timeouts.Connect, time.Millisecond, MaxDuration)
	between(p, "timeouts.idle", s.Timeouts.Idle, 0, maxPatience)
	between(p, "timeouts.request", s.Timeouts.Request, 0, MaxDuration)
	between(p, "timeouts.response", s.Timeouts.Response, 0, maxPatience)
	between(p, "timeouts.send", s.Timeouts.Send, 0, MaxDuration)
	between(p, "timeouts.keepalive", s.Timeouts.Keepalive, 0, MaxDuration)
	between(p, "timeouts.drain", s.Timeouts.Drain, 0, MaxDuration)
}

// maxCookieName is the longest name of a cookie, in bytes.
const maxCookieName = 64

// isCookieName reports whether s is a token (RFC 6265 section 4.1.1, RFC 9110 section 5.6.2).
func isCookieName(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		if (c < 'a' || c > 'z') && (s[i] < '0' || s[i] > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(s[i])) {
			return false
		}
	}
	return s != "" && len(s) <= maxCookieName
}

func (s *Spec) validateHTTP(p *problems) {
	if file := s.AccessLog.File; strings.HasSuffix(file, "/") || strings.ContainsRune(file, 0) {
		p.add("access_log.file", "must name a file, is %q", file)
	}
	between(p, "http.keepalive_requests", s.HTTP.KeepaliveRequests, 0, maxRate)
	if s.HTTP.SSEKeepalive != 0 {
		between(p, "http.sse_keepalive", s.HTTP.SSEKeepalive, time.Second, MaxDuration)
	}
	if host := s.HTTP.Host; !http1.IsAuthority([]byte(host)) {
		p.add("http.host", "must be %s, %s or a host with an optional port (like mcp.example.org), is %q", HostClient, HostNode, host)
	}
	if n := len(s.HTTP.Routes); n > maxRoutes {
		p.add("http.routes", "must be at most %d, are %d", maxRoutes, n)
	}
	for i, r := range s.HTTP.Routes {
		field := fmt.Sprintf("http.routes[%d]", i)
		if !topology.IsPath(r.Prefix) || len(r.Prefix) > maxRoutePrefix {
			p.add(field+".prefix", "%q must be a path that begins with / and has no query", r.Prefix)
		}
		oneOf(p, field+".to", r.To, RouteHTTP, RouteWebSocket, RouteSSE)
		same := func(other Route) bool { return TrimSlash(other.Prefix) == TrimSlash(r.Prefix) }
		if first := slices.IndexFunc(s.HTTP.Routes, same); first < i {
			p.add(field+".prefix", "%q is already the prefix of [%d]", r.Prefix, first)
		}
	}
}

// TrimSlash makes /a/ and /a the same prefix; the root is "".
func TrimSlash(prefix string) string { return strings.TrimSuffix(prefix, "/") }

func (s *Spec) validateLimits(p *problems) {
	l := &s.Limits
	between(p, "limits.connections_per_second", l.ConnectionsPerSecond, 0, maxRate)
	between(p, "limits.messages_per_second", l.MessagesPerSecond, 0, maxRate)
	oneOf(p, "limits.action", l.Action, ActionDefault, ActionThrottle, ActionReject)
	between(p, "limits.max_per_source", l.MaxPerSource, 0, maxConnections)
	between(p, "limits.share_percent", l.SharePercent, 1, 100)
	between(p, "limits.ban.violations", l.Ban.Violations, 0, maxRate)
	between(p, "limits.ban.window", l.Ban.Window, time.Second, MaxDuration)
	if most := int(l.Ban.Window / board.ViolationStep); l.Ban.Violations > most && l.Ban.Violations <= maxRate && l.Ban.Window >= time.Second {
		p.add("limits.ban.violations", "must be at most %d within %v (one in %v counts), are %d", most, l.Ban.Window, board.ViolationStep, l.Ban.Violations)
	}
	between(p, "limits.ban.for", l.Ban.For, time.Second, MaxDuration)
	if n := len(l.Tools); n > maxToolLimits {
		p.add("limits.tools", "must be at most %d, are %d", maxToolLimits, n)
	}
	for i, t := range l.Tools {
		field := fmt.Sprintf("limits.tools[%d]", i)
		if len(t.Name) == 0 || len(t.Name) > MaxToolName {
			p.add(field+".name", "must be of 1 to %d bytes, is of %d", MaxToolName, len(t.Name))
		}
		same := func(other ToolLimit) bool { return other.Name == t.Name }
		if first := slices.IndexFunc(l.Tools, same); first < i {
			p.add(field+".name", "%q is already the name of [%d]", t.Name, first)
		}
		between(p, field+".per_second", t.PerSecond, 1, maxRate)
	}
	prefixList(p, "limits.exempt", l.Exempt)
	prefixList(p, "trusted_proxies", s.TrustedProxies)
	between(p, "source_table", s.SourceTable, minSources, board.MaxSources)
}

func (s *Spec) validateChecks(p *problems) {
	c := &s.Checks
	if _, err := healthcheck.Lookup(c.Kind); err != nil {
		p.add("checks.kind", "%v", err)
	}
	switch c.Kind {
	case "icmp", "tls":
		p.add("checks.kind", "%q does not tell whether a node serves (use mcp, http or tcp)", c.Kind)
	case "http":
		for _, n := range s.Nodes {
			if n.HTTP == 0 && !n.IsService() {
				p.add("checks.kind", "%q needs the HTTP port of every node, %s has none", c.Kind, n.Name)
			}
		}
	}
	between(p, "resolve.interval", s.Resolve.Interval, 10*time.Millisecond, MaxDuration)
	between(p, "resolve.timeout", s.Resolve.Timeout, 10*time.Millisecond, time.Minute)
	for i, server := range s.Resolve.Servers {
		if _, err := ParseServer(server); err != nil {
			p.add(fmt.Sprintf("resolve.servers[%d]", i), "%v", err)
		}
	}
	if c.Path != "" && !topology.IsPath(c.Path) {
		p.add("checks.path", "%q must be a path that begins with / and has no query", c.Path)
	}
	between(p, "checks.interval", c.Interval, 10*time.Millisecond, time.Hour)
	between(p, "checks.fast_interval", c.FastInterval, 10*time.Millisecond, time.Hour)
	if c.FastInterval > c.Interval {
		p.add("checks.fast_interval", "must not be longer than checks.interval (%v), is %v", c.Interval, c.FastInterval)
	}
	between(p, "checks.timeout", c.Timeout, time.Millisecond, time.Minute)
	between(p, "checks.fall", c.Fall, 1, 100)
	between(p, "checks.rise", c.Rise, 1, 100)
	between(p, "checks.give_up", c.GiveUp, 0, MaxDuration)
}

func (s *Spec) validateSource(p *problems) {
	if s.Source != "" && s.Source != SourceAuto {
		if _, err := ParsePrefix(s.Source); err != nil {
			p.add("source", "%v, nor %q", err, SourceAuto)
		}
	}
	prefixList(p, "proxy_protocol.accept_from", s.ProxyProtocol.AcceptFrom)
}

// ParsePrefix reads an address or a prefix; an address is the prefix of all its bits.
// An IPv4 address mapped into IPv6 is read as IPv4.
func ParsePrefix(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is neither an address nor a prefix", text)
	}
	if prefix.Addr().Is4In6() && prefix.Bits() >= 96 {
		prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
	}
	return prefix.Masked(), nil
}

// parseListen reads host:port or :port. An empty host is the zero Addr: every address.
func parseListen(text string) (netip.AddrPort, error) {
	colon := strings.LastIndexByte(text, ':')
	if colon < 0 {
		return netip.AddrPort{}, fmt.Errorf("%q has no port (like 127.0.0.1:8000 or :8000)", text)
	}
	port, err := strconv.ParseUint(text[colon+1:], 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q is not a port (0 to 65535)", text[colon+1:])
	}
	switch host := text[:colon]; host {
	case "":
		return netip.AddrPortFrom(netip.Addr{}, uint16(port)), nil
	case "localhost":
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port)), nil
	default:
		at, err := netip.ParseAddrPort(text)
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("%q is not an IP address", host)
		}
		return at, nil
	}
}

// ParseServer reads the address of a DNS server.
func ParseServer(text string) (netip.AddrPort, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return netip.AddrPortFrom(addr, 53), nil
	}
	at, err := netip.ParseAddrPort(text)
	if err != nil || at.Port() == 0 {
		return at, fmt.Errorf("%q is not an IP address, with or without a port (like 10.0.0.1 or 127.0.0.1:8600)", text)
	}
	return at, nil
}

// isHostName reports whether text is what a Host header may hold for a name.
func isHostName(text string) bool {
	outside := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '.' && r != '_'
	}
	return text != "" && len(text) <= 253 && !strings.ContainsFunc(text, outside)
}

// overlaps reports whether two listeners compete for the same connections.
func overlaps(a, b netip.AddrPort) bool {
	if a.Port() != b.Port() || a.Port() == 0 {
		return false
	}
	everywhere := func(addr netip.Addr) bool { return !addr.IsValid() || addr.IsUnspecified() }
	return everywhere(a.Addr()) || everywhere(b.Addr()) || a.Addr() == b.Addr()
}

// problems collects what is wrong with a Spec.
type problems []error

func (p *problems) add(field, format string, args ...any) {
	*p = append(*p, fmt.Errorf("lb.%s: %s", field, fmt.Sprintf(format, args...)))
}

func between[T ~int | ~int64](p *problems, field string, value, low, high T) {
	if value < low || value > high {
		p.add(field, "must be from %v to %v, is %v", low, high, value)
	}
}

func oneOf[T ~string](p *problems, field string, value T, choices ...T) {
	if slices.Contains(choices, value) {
		return
	}
	var named []string
	for _, c := range choices {
		if c != "" {
			named = append(named, string(c))
		}
	}
	p.add(field, "must be one of %s, is %q", strings.Join(named, ", "), string(value))
}

func prefixList(p *problems, field string, texts []string) {
	for i, text := range texts {
		if _, err := ParsePrefix(text); err != nil {
			p.add(fmt.Sprintf("%s[%d]", field, i), "%v", err)
		}
	}
}
