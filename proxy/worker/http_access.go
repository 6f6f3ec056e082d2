package worker

import (
	"net/netip"
	"strconv"

	"github.com/erlmcp/erlmcp/proxy/internal/accesslog"
	"github.com/erlmcp/erlmcp/proxy/internal/http1"
	"github.com/erlmcp/erlmcp/proxy/internal/policy"
)

// Longest texts of a line, in bytes as JSON has them. All of them fit into accesslog.MaxLine.
const (
	longestWord  = 64 // method, protocol version
	longestName  = 128
	longestAgent = 256
	longestPath  = 1024
)

// beginEntry returns the entry of a request. No query, no session id and no cookie gets into the log:
// who has them is the client.
func (w *webFrontend) beginEntry(client netip.Addr, r *http1.Request) *accessEntry {
	e := w.access.begin(client, w.loop.Now())
	if e == nil {
		return nil
	}
	b := e.request
	b = accesslog.AppendString(append(b, `,"method":`...), r.Method, longestWord)
	b = accesslog.AppendString(append(b, `,"path":`...), w.loggedPath(r), longestPath)
	b = strconv.AppendBool(append(b, `,"session":`...), r.Get("mcp-session-id") != nil)
	b = appendMember(b, `,"version":`, r.Get("mcp-protocol-version"), longestWord)
	b = appendMember(b, `,"mcp_method":`, r.Get("mcp-method"), longestName)
	b = appendMember(b, `,"mcp_name":`, r.Get("mcp-name"), longestName)
	b = appendMember(b, `,"user_agent":`, r.Get("user-agent"), longestAgent)
	e.request = b
	return e
}

// loggedPath is what of a path may be known: of an endpoint of a legacy event stream, which may have its
// session id anywhere, only the prefix of its route. Where a node named an endpoint outside of the
// routes of such streams, its tag tells.
func (w *webFrontend) loggedPath(r *http1.Request) []byte {
	route := w.routeOf(r.Path)
	if route == nil || route.kind != legacySSE {
		if _, _, tagged := w.ring.Endpoint(*endOfTarget(r)); !tagged {
			return r.Path
		}
	}
	shown := 1 // the slash
	if route != nil {
		shown = max(shown, len(route.prefix))
	}
	return r.Path[:min(shown, len(r.Path))]
}

// appendMember appends a member, unless there is no value.
func appendMember(dst []byte, name string, value []byte, limit int) []byte {
	if value == nil {
		return dst
	}
	return accesslog.AppendString(append(dst, name...), value, limit)
}

// frontend is by which the client came.
func (c *httpClient) frontend() string {
	if c.secure {
		return frontendHTTPS
	}
	return frontendHTTP
}

// logRefusal notes an answer of the balancer itself. One without a request that could be read is a
// line of its own.
func (c *httpClient) logRefusal(r policy.Refusal, length int) {
	w := c.w
	var e *accessEntry
	if c.x != nil {
		e = c.x.access
	} else {
		e = w.access.begin(c.addr, w.loop.Now())
	}
	e.refused(r.Reason)
	e.answered(r.Status, w.loop.Now())
	e.sent(length)
	if c.x == nil {
		w.access.end(e, c.frontend(), w.loop.Now())
	}
}
