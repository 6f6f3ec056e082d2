package web

import (
	"bytes"

	"github.com/erlmcp/erlmcp/internal/http1"
	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
	"github.com/erlmcp/erlmcp/proxy/internal/coding"
)

// appendRequest appends the head of r as the node gets it: the client's fields without those of its
// connection, and where it came from.
func (x *exchange) appendRequest(dst []byte, r *http1.Request) []byte {
	c := x.client
	dst = append(append(dst, r.Method...), ' ')
	if x.endpoint {
		end := endOfTarget(r)
		*end = untagged(*end)
	}
	dst = c.w.appendPath(dst, x.port, r.Path)
	if r.Query != nil {
		dst = append(append(dst, '?'), r.Query...)
	}
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	switch host := x.port.host; {
	case host != "":
		dst = append(dst, host...)
	case r.Host != nil:
		dst = append(dst, r.Host...)
	default: // HTTP/1.0
		dst = x.port.Address.AppendTo(dst)
	}
	dst = append(dst, "\r\n"...)
	for i := range r.Fields {
		f := &r.Fields[i]
		if r.Hop(i) || r.Stamp(i) || r.Claim(i) && !x.relayed {
			continue
		}
		switch len(f.Name) {
		case len("host"):
			if http1.EqualFold(f.Name, "host") {
				continue
			}
		case len("cookie"):
			if http1.EqualFold(f.Name, "cookie") && c.w.Spec.Sticky.HTTP == proxy.StickyCookie {
				dst = appendOtherCookies(dst, f.Name, f.Value, c.w.cookie)
				continue
			}
		case len("sec-websocket-extensions"):
			if x.verb == verbUpgrade && x.limited() && http1.EqualFold(f.Name, "sec-websocket-extensions") {
				continue // none is needed, and what they compress cannot be counted
			}
		case len("mcp-session-id"):
			if x.session && http1.EqualFold(f.Name, "mcp-session-id") {
				dst = http1.AppendField(dst, f.Name, untagged(f.Value))
				continue
			}
		}
		dst = http1.AppendField(dst, f.Name, f.Value)
	}
	if r.Body == http1.Chunked {
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	if x.verb == verbUpgrade {
		dst = append(dst, "Connection: Upgrade\r\nUpgrade: websocket\r\n"...)
	}
	return append(x.appendOrigin(dst, r), "\r\n"...)
}

// appendResponse appends the head of r as the client gets it.
func (x *exchange) appendResponse(dst []byte, r *http1.Response) []byte {
	w := x.client.w
	dst = r.AppendStatusLine(dst)
	told := !x.varies || coding.SaysVary(r)
	weak := x.zipped || x.revalidated(r)
	for i := range r.Fields {
		f := &r.Fields[i]
		switch {
		case r.Hop(i):
		case http1.EqualFold(f.Name, "mcp-session-id") && w.Spec.Sticky.MCPSession:
			dst = append(append(dst, f.Name...), ": "...)
			x.date()
			dst = w.ring.AppendSession(dst, f.Value, x.backend.Slot, x.since)
			dst = append(dst, "\r\n"...)
		case x.varies:
			dst = x.appendVariantField(dst, f, weak, &told)
		default:
			dst = http1.AppendField(dst, f.Name, f.Value)
		}
	}
	if x.zipped {
		dst = append(dst, "Content-Encoding: gzip\r\n"...)
	}
	if !told {
		dst = append(dst, "Vary: Accept-Encoding\r\n"...)
	}
	if w.Spec.Sticky.HTTP == proxy.StickyCookie && x.wantsCookie() {
		dst = x.appendCookie(dst, r)
	}
	if x.framing == http1.Chunked {
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	if x.client.secure && r.Get("strict-transport-security") == nil {
		dst = append(dst, w.hsts...)
	}
	switch {
	case x.phase == tunnelling:
		dst = append(dst, "Connection: Upgrade\r\nUpgrade: websocket\r\n"...)
	case !x.keep:
		dst = append(dst, "Connection: close\r\n"...)
	case x.old:
		dst = append(dst, "Connection: keep-alive\r\n"...)
	}
	dst = append(dst, "X-Served-By: "...)
	dst = append(dst, x.backend.Name...)
	return append(dst, "\r\n\r\n"...)
}

// untagged is text that has the tag of a node, without it.
func untagged(text []byte) []byte { return text[:len(text)-affinity.TagLen-1] }

// wantsCookie reports whether the client shall come back to the node for no other reason than that it
// was here.
func (x *exchange) wantsCookie() bool {
	return x.kind == plainHTTP && !x.stateless && !x.session && !x.endpoint && int(x.cookie) != x.backend.Slot
}

// appendCookie appends the cookie that leads to the node, unless the response is meant for shared caches:
// they would give one client's cookie to all. One that they may keep, as nothing is said about it, is kept
// from them.
func (x *exchange) appendCookie(dst []byte, r *http1.Response) []byte {
	w := x.client.w
	shared, private := caching(r)
	if shared && !private {
		return dst
	}
	if x.verb != verbOther && x.verb != verbOptions && !private {
		dst = append(dst, "Cache-Control: private\r\n"...)
	}
	dst = append(append(dst, "Set-Cookie: "...), w.cookie...)
	dst = w.ring.AppendCookie(dst, x.backend.Slot)
	dst = append(dst, "; Path=/; HttpOnly; SameSite=Lax"...)
	if x.secure {
		dst = append(dst, "; Secure"...)
	}
	return append(dst, "\r\n"...)
}

// caching is what a response says to shared caches (RFC 9111 section 5.2.2): that they may keep it and give
// it out unasked, or that they must not.
func caching(r *http1.Response) (shared, private bool) {
	if r.Get("cache-control") == nil {
		return false, false
	}
	for i := range r.Fields {
		if !http1.EqualFold(r.Fields[i].Name, "cache-control") {
			continue
		}
		for list := r.Fields[i].Value; len(list) > 0; {
			var directive []byte
			directive, list, _ = bytes.Cut(list, []byte(","))
			name, value, _ := bytes.Cut(bytes.TrimSpace(directive), []byte("="))
			switch name = bytes.TrimSpace(name); {
			case http1.EqualFold(name, "public"), http1.EqualFold(name, "s-maxage"):
				shared = true
			case http1.EqualFold(name, "max-age"):
				shared = shared || len(bytes.Trim(value, "0\" ")) > 0
			case http1.EqualFold(name, "no-store"), http1.EqualFold(name, "private") && value == nil:
				private = true // with a value, it speaks of some fields only
			}
		}
	}
	return shared, private
}

// worthParsing reports whether a head of which seen bytes were looked at in vain may be whole now: an
// empty line has come, or so much that looking again costs no more than what came.
func worthParsing(p []byte, seen uint32) bool {
	if seen == 0 || len(p) >= 2*int(seen) || len(p) >= http1.MaxHead {
		return true
	}
	tail := p[max(0, int(seen)-3):]
	return bytes.Contains(tail, []byte("\n\r\n")) || bytes.Contains(tail, []byte("\n\n"))
}
