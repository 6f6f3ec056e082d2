package web

import (
	"bytes"
	"net/netip"
	"time"
	"unsafe"

	"github.com/erlmcp/erlmcp/internal/http1"
	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
)

// origin is who asks for something, and counts as its source. A connection has one, and so has each
// request: they differ when the connection is that of a trusted proxy.
type origin struct {
	addr    netip.Addr
	source  board.SlotID
	exempt  bool // from limits
	secure  bool // came over TLS
	relayed bool // said by a trusted proxy
}

// identify finds out who asks. Of a trusted proxy's requests that is who it says; those that name nobody
// are its own.
func (x *exchange) identify(r *http1.Request) {
	c, w := x.client, x.client.w
	x.origin = c.origin
	if !policy.Contains(w.Limits.Proxies, c.addr) {
		return
	}
	x.relayed = true
	b := &w.belief
	b.read(r, w.Limits.Proxies)
	if b.scheme != nil {
		x.secure = http1.EqualFold(b.scheme, "https") || http1.EqualFold(b.scheme, "wss")
	}
	if n := len(b.chain); n > 0 {
		x.addr = b.chain[n-1]
		x.source = w.Board.Sources().Find(x.addr, w.Loop.Now())
		x.exempt = policy.Contains(w.Limits.Exempt, x.addr)
	}
}

// enter counts a request that came through a proxy as a connection of its source, or refuses it: the
// connection it came on is none of the client's. Of a banned source, only sessions go on.
func (x *exchange) enter(r *http1.Request) (no policy.Refusal) {
	w := x.client.w
	if !x.relayed || x.entered {
		return policy.Refusal{}
	}
	sources, now := w.Board.Sources(), w.Loop.Now()
	if until := sources.BannedUntil(x.source); until > now && !x.exempt && !w.hasSession(r) {
		return w.RefusalTo(x.source, board.ReasonBan, time.Duration(until-now))
	}
	if !x.exempt && w.HasShare(x.source) {
		return policy.RefusalOf(board.ReasonPerSource, 0)
	}
	x.entered = true
	sources.Enter(w.Index, x.source)
	return policy.Refusal{}
}

// hasSession reports whether a request names a session with a node that is there.
func (w *Frontend) hasSession(r *http1.Request) bool {
	_, slot, _, _ := w.ring.Session(r.Get("mcp-session-id"))
	return slot != affinity.Unknown
}

// exit undoes enter.
func (x *exchange) exit() {
	if x.entered {
		x.entered = false
		w := x.client.w
		w.Board.Sources().Leave(w.Index, x.source, w.Loop.Now())
	}
}

// belief is what is believed of the fields in which proxies say where a request came from. The texts are
// parts of the request.
type belief struct {
	chain  []netip.Addr // who passed it on to whom, the last ones first: at the end is the client
	scheme []byte       // by which the client came; nil: not said
	host   []byte       // that it asked for; nil: likewise
}

// read looks at what a trusted peer has sent. Each proxy adds itself behind what it was told, so that only
// the end of the list is known to be true: its entries are believed from the last one on, up to the first
// that is not a proxy to be trusted. That is the client, and what it says itself stands before it.
//
//	X-Forwarded-For: 10.0.0.5, 192.0.2.7, 10.1.1.1     from 10.1.1.2
//	                 forged    client     trusted      trusted
//
// An entry that is no address (unknown, an obfuscated identifier of RFC 7239) ends the search too: the
// client is then the proxy that wrote it. Where there is X-Forwarded-For, Forwarded is not looked at: a
// proxy that writes the one lets its client's other pass.
func (b *belief) read(r *http1.Request, proxies []netip.Prefix) {
	*b = belief{chain: b.chain[:0]}
	if r.Get("x-forwarded-for") != nil {
		for l := (backwards{r: r, name: "x-forwarded-for"}); l.next(); {
			if !b.passedBy(addressOf(l.element), proxies) {
				break
			}
		}
	} else if r.Get("forwarded") != nil {
		b.readForwarded(r, proxies)
	}
	if b.scheme == nil {
		b.scheme = schemeOf(saidOf(r, "x-forwarded-proto", len(b.chain)))
	}
	if b.host == nil {
		b.host = hostOf(saidOf(r, "x-forwarded-host", len(b.chain)))
	}
}

// readForwarded reads RFC 7239. Scheme and host are those of the element nearest to the client that has
// them.
func (b *belief) readForwarded(r *http1.Request, proxies []netip.Prefix) {
	for l := (backwards{r: r, name: "forwarded"}); l.next(); {
		e, ok := parseForwarded(l.element)
		if !ok {
			return
		}
		if scheme := schemeOf(e.proto); scheme != nil {
			b.scheme = scheme
		}
		if host := hostOf(e.host); host != nil {
			b.host = host
		}
		if !b.passedBy(addressOf(e.from), proxies) {
			return
		}
	}
}

// passedBy adds an entry and reports whether the one before it is to be believed.
func (b *belief) passedBy(addr netip.Addr, proxies []netip.Prefix) bool {
	if !addr.IsValid() {
		return false
	}
	b.chain = append(b.chain, addr)
	return policy.Contains(proxies, addr)
}

// saidOf is the element of a list field that belongs to the client: proxies that add one each have it as
// far from the end as its address; others have a single one.
func saidOf(r *http1.Request, name string, hops int) (element []byte) {
	l := backwards{r: r, name: name}
	for range max(hops, 1) {
		if !l.next() {
			break
		}
		element = l.element
	}
	return element
}

// backwards goes over the elements of a list field, all its lines, from the last one on. Empty ones are
// left out.
type backwards struct {
	r       *http1.Request
	name    string // in lower case
	passed  int    // lines from the end
	rest    []byte // of the line, before element
	element []byte
}

func (l *backwards) next() bool {
	for {
		for len(l.rest) == 0 {
			i := len(l.r.Fields) - 1 - l.passed
			if i < 0 {
				return false
			}
			l.passed++
			if f := &l.r.Fields[i]; http1.EqualFold(f.Name, l.name) {
				l.rest = f.Value
			}
		}
		if l.rest, l.element = cutLast(l.rest); len(l.element) > 0 {
			return true
		}
	}
}

// cutLast cuts the last element off a list. Commas in quotes do not separate. Read from its end the list
// cannot be mistaken by what a client has put at its beginning.
func cutLast(list []byte) (rest, element []byte) {
	quoted := false
	for i := len(list) - 1; i >= 0; i-- {
		switch {
		case list[i] == '"':
			quoted = !quoted
		case list[i] == ',' && !quoted:
			return list[:i], bytes.Trim(list[i+1:], " \t")
		}
	}
	return nil, bytes.Trim(list, " \t")
}

// forwarded is an element of Forwarded; what it does not have is nil.
type forwarded struct{ from, proto, host []byte }

// parseForwarded reads one (RFC 7239 section 4). Values with a backslash are malformed: neither address,
// scheme nor host has any.
func parseForwarded(element []byte) (e forwarded, ok bool) {
	for rest := element; len(rest) > 0; {
		equals := bytes.IndexByte(rest, '=')
		if equals <= 0 {
			return forwarded{}, false
		}
		name, value := bytes.Trim(rest[:equals], " \t"), rest[equals+1:]
		if len(value) > 0 && value[0] == '"' {
			end := bytes.IndexByte(value[1:], '"') + 1
			if end == 0 || bytes.IndexByte(value[:end], '\\') >= 0 {
				return forwarded{}, false
			}
			value, rest = value[1:end], bytes.TrimLeft(value[end+1:], " \t")
			if len(rest) > 0 && rest[0] != ';' {
				return forwarded{}, false
			}
			rest = rest[min(1, len(rest)):]
		} else {
			value, rest, _ = bytes.Cut(value, []byte(";"))
			value = bytes.Trim(value, " \t")
		}
		into := e.member(name)
		switch {
		case into == nil:
		case *into != nil: // twice
			return forwarded{}, false
		default:
			*into = value
		}
	}
	return e, true
}

// member is where the value of a parameter goes, nil for one that is of no interest.
func (e *forwarded) member(name []byte) *[]byte {
	switch {
	case http1.EqualFold(name, "for"):
		return &e.from
	case http1.EqualFold(name, "proto"):
		return &e.proto
	case http1.EqualFold(name, "host"):
		return &e.host
	}
	return nil
}

// addressOf reads an address as proxies write it: alone, with a port, IPv6 also in brackets. The zero Addr
// is none.
func addressOf(text []byte) netip.Addr {
	const longest = len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255")
	if len(text) > 0 && text[0] == '[' {
		end := bytes.IndexByte(text, ']')
		if end < 0 || end+1 < len(text) && text[end+1] != ':' {
			return netip.Addr{}
		}
		text = text[1:end]
	} else if colon := bytes.IndexByte(text, ':'); colon >= 0 && bytes.IndexByte(text[colon+1:], ':') < 0 {
		text = text[:colon]
	}
	if len(text) == 0 || len(text) > longest {
		return netip.Addr{}
	}
	for _, c := range text {
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') && c != ':' && c != '.' {
			return netip.Addr{}
		}
	}
	// Without a copy: only the error keeps the text, and nobody keeps the error.
	addr, err := netip.ParseAddr(unsafe.String(&text[0], len(text)))
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap()
}

// schemeOf is a scheme that MCP can be reached by, or nil.
func schemeOf(text []byte) []byte {
	for _, scheme := range [...]string{"https", "http", "wss", "ws"} {
		if http1.EqualFold(text, scheme) {
			return text
		}
	}
	return nil
}

// hostOf is what can be a Host, or nil.
func hostOf(text []byte) []byte {
	if http1.IsAuthority(text) {
		return text
	}
	return nil
}

// appendOrigin appends the fields that tell a node where a request came from. Nobody else's are among
// them but what a trusted proxy has said.
func (x *exchange) appendOrigin(dst []byte, r *http1.Request) []byte {
	c, w := x.client, x.client.w
	b := &w.belief
	*b = belief{chain: b.chain[:0]}
	if x.relayed {
		b.read(r, w.Limits.Proxies)
	}
	if b.scheme == nil {
		b.scheme = plainScheme
		if c.secure {
			b.scheme = secureScheme
		}
	}
	if b.host == nil {
		b.host = r.Host
	}
	dst = append(dst, "X-Forwarded-For: "...)
	for i := len(b.chain) - 1; i >= 0; i-- {
		dst = append(b.chain[i].AppendTo(dst), ", "...)
	}
	dst = c.addr.AppendTo(dst)
	dst = append(append(dst, "\r\nX-Forwarded-Proto: "...), b.scheme...)
	dst = append(dst, "\r\n"...)
	if b.host != nil {
		dst = append(append(dst, "X-Forwarded-Host: "...), b.host...)
		dst = append(dst, "\r\n"...)
	}
	dst = append(dst, "X-Real-IP: "...)
	dst = append(x.addr.AppendTo(dst), "\r\n"...)
	if x.relayed && r.Get("forwarded") != nil {
		dst = b.appendForwarded(dst, c.addr)
	}
	return dst
}

var plainScheme, secureScheme = []byte("http"), []byte("https")

// appendForwarded says the same as Forwarded, which the proxy has sent and the node may read.
func (b *belief) appendForwarded(dst []byte, peer netip.Addr) []byte {
	dst = append(dst, "Forwarded: "...)
	for i := len(b.chain) - 1; i >= -1; i-- {
		addr := peer
		if i >= 0 {
			addr = b.chain[i]
		}
		dst = append(dst, "for="...)
		if addr.Is4() {
			dst = addr.AppendTo(dst)
		} else {
			dst = append(addr.AppendTo(append(dst, `"[`...)), `]"`...)
		}
		if i == len(b.chain)-1 { // the first
			dst = append(append(dst, ";proto="...), b.scheme...)
			if b.host != nil {
				dst = append(append(append(dst, `;host="`...), b.host...), '"')
			}
		}
		if i >= 0 {
			dst = append(dst, ", "...)
		}
	}
	return append(dst, "\r\n"...)
}
